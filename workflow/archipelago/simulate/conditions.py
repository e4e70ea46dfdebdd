"""What a survey's images are like, measured in the images themselves: sharpness and noise."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from archipelago.simulate.light import moffat_gaussians

Floats = NDArray[np.float64]

#: Width of the frame that shows the sky, as a part of the side.
_FRAME_PART = 1.0 / 7.0
#: Standard deviation of a normal distribution over its median absolute deviation.
_MAD_TO_SIGMA = 1.4826
#: Radii [px] of the two circles whose light tells the width of a point.
_INNER_PX, _OUTER_PX = 2.0, 5.0
#: Signal over noise of the objects that tell it.
_BRIGHT = 40.0
#: Widths that are tried [px], and the one assumed where nothing is bright enough.
_FWHM_PX = np.linspace(1.5, 9.0, 301)
_LAGS = (1, 2, 3)
#: Images that are measured at the most, evenly spread over the set: enough, and in memory.
_MOST_MEASURED = 20_000
#: Pixels drawn beyond the stamp, as the correlation of noise would wrap around it.
_MARGIN_PX = 4


@dataclass(frozen=True)
class Conditions:
    """Sharpness and noise of a survey's images.

    Attributes
    ----------
    fwhm_px : (band,) width of the point spread function.
    noise : (n, band) noise per pixel and image [counts], to be drawn from.
    correlation : (band, 4) correlation of the noise at 0, 1, 2 and 3 px along an axis.
    """

    fwhm_px: Floats
    noise: Floats
    correlation: Floats


def measure_conditions(images: NDArray[np.float32], fallback_fwhm_px: float) -> Conditions:
    """Measure sharpness and noise of a set of images.

    The width of points comes from the share of light within 2 px of that within 5 px, of the bright
    objects that are as sharp as the sharpest fifth in the band that shows them best; a Moffat
    profile of beta = 3 is assumed. Noise is that of the frame, the outer seventh.

    Parameters
    ----------
    images : (n, band, y, x) counts; n may be 0. Images that are not finite do not count.
    fallback_fwhm_px : width assumed where there are not five bright objects.
    """
    images = measurable(images)
    n, n_bands = images.shape[:2]
    sky, residual = _frame(images) if n else (images[:, :, :1, :1], images)
    spread = _MAD_TO_SIGMA * np.median(np.abs(residual), axis=(2, 3)) if n else sky[:, :, 0, 0]
    good = (spread > 0).all(axis=1)
    if not good.any():
        flat = np.tile([1.0, 0.0, 0.0, 0.0], (n_bands, 1))
        return Conditions(np.full(n_bands, fallback_fwhm_px), np.ones((1, n_bands)), flat)
    noise: Floats = np.asarray(spread[good], dtype=float)
    residual = residual[good]
    fwhm = _fwhm_px(images[good] - sky[good], noise, fallback_fwhm_px)
    correlation = [
        _correlation(np.asarray(residual[:, band] / noise[:, band, None, None], dtype=float))
        for band in range(n_bands)
    ]
    return Conditions(fwhm, noise, np.array(correlation))


def measurable(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the images whose pixels are all numbers, of at most 20,000 spread over the set."""
    spread = images[:: max(1, -(-len(images) // _MOST_MEASURED))]
    return np.asarray(spread[np.isfinite(spread).all(axis=(1, 2, 3))])


def _fwhm_px(images: NDArray[np.float32], noise: Floats, fallback_px: float) -> Floats:
    """Return the width of points per band, (band,), from sky-subtracted images."""
    best = int(np.argmax(_middle_signal(images, noise)))
    core, light = _core_and_light(images, best)
    bright = light > _BRIGHT * noise * np.sqrt(np.pi) * _OUTER_PX
    if bright[:, best].sum() < 5:
        return np.full(images.shape[1], fallback_px)
    share = np.where(
        bright[:, best], core[:, best] / np.where(bright[:, best], light[:, best], 1), 0
    )
    # Points lie together at the sharp end; what spoils images lies beyond it.
    sharp = np.quantile(share[bright[:, best]], 0.8)
    points = bright[:, best] & (share > 0.93 * sharp) & (share < 1.07 * sharp)
    # One number per band from all their light together, as few may be bright in it.
    together = core[points].sum(axis=0) / np.where(points.any(), light[points].sum(axis=0), 1.0)
    seen = (
        light[points].sum(axis=0)
        > 10 * np.sqrt(np.pi * (noise[points] ** 2).sum(axis=0)) * _OUTER_PX
    )
    width = point_widths_px(together)
    return np.where(seen, width, width[best])


def _middle_signal(images: NDArray[np.float32], noise: Floats) -> Floats:
    """Return the median signal over noise of the middle pixel per band, (band,)."""
    side = images.shape[-1]
    return np.asarray(np.median(images[:, :, side // 2, side // 2] / noise, axis=0))


def _core_and_light(images: NDArray[np.float32], best: int) -> tuple[Floats, Floats]:
    """Return light within 2 and within 5 px of each object, (n, band), sky subtracted."""
    side = images.shape[-1]
    axis = np.arange(side) - (side - 1) / 2
    # About the brightest of the middle pixels: objects are rarely centred to a pixel.
    middle = slice(side // 2 - 3, side // 2 + 3)
    peak = images[:, best, middle, middle].reshape(len(images), -1).argmax(axis=1)
    y0, x0 = axis[middle][peak // 6], axis[middle][peak % 6]
    x, y = axis[None, None, :] - x0[:, None, None], axis[None, :, None] - y0[:, None, None]
    r2 = x**2 + y**2
    inner, outer = (r2 < _INNER_PX**2)[:, None], (r2 < _OUTER_PX**2)[:, None]
    light = np.where(outer, images, 0.0).sum(axis=(2, 3))
    core = np.where(inner, images, 0.0).sum(axis=(2, 3))
    return core, light


def point_shares(images: NDArray[np.float32]) -> tuple[Floats, Floats, Floats]:
    """Return what tells the sharpness of each object, (n, band) each, in counts.

    Parameters
    ----------
    images : (n, band, y, x) counts, finite; n at least 1.

    Returns
    -------
    Light within 2 px of the brightest pixel, light within 5 px, noise per pixel (1 where there
    is none).
    """
    sky, residual = _frame(images)
    noise = _MAD_TO_SIGMA * np.median(np.abs(residual), axis=(2, 3))
    noise = np.where(noise > 0, noise, 1.0).astype(float)
    clean = images - sky
    return *_core_and_light(clean, int(np.argmax(_middle_signal(clean, noise)))), noise


def point_widths_px(share: Floats) -> Floats:
    """Return the FWHM [px] of points with such a share of the light of 5 px within 2 px."""
    return np.asarray(np.interp(-share, -_shares(), _FWHM_PX))


def _frame(images: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the sky (n, band, 1, 1), and the strips at the top and bottom without it."""
    height, width = images.shape[2:]
    margin = max(1, round(_FRAME_PART * min(height, width)))
    strips = np.concatenate([images[:, :, :margin], images[:, :, -margin:]], axis=2)
    sky = np.median(strips, axis=(2, 3), keepdims=True)
    return sky, strips - sky


@lru_cache(maxsize=1)
def _shares() -> Floats:
    """Return the light of a point within 2 px over that within 5 px for each width, falling.

    The mean over places within a pixel, as objects have.
    """
    sigmas, weights = moffat_gaussians()
    axis = np.arange(-8, 9)
    shares = []
    for fwhm in _FWHM_PX:
        parts = []
        for dx, dy in ((0.0, 0.0), (0.25, 0.25), (0.0, 0.4), (0.4, 0.2)):
            point2 = (axis[None, :] - dx) ** 2 + (axis[:, None] - dy) ** 2
            circle2 = axis[None, :] ** 2 + axis[:, None] ** 2
            variance = (fwhm * sigmas[:, None, None]) ** 2
            light = (weights[:, None, None] / variance * np.exp(-0.5 * point2 / variance)).sum(
                axis=0
            )
            parts.append(light[circle2 < _INNER_PX**2].sum() / light[circle2 < _OUTER_PX**2].sum())
        shares.append(np.mean(parts))
    return np.array(shares)


def _correlation(residual: Floats) -> Floats:
    """Return the correlation of noise in units of its sigma at 0 to 3 px along the rows."""
    calm = np.abs(residual) < 4.0
    values = np.where(calm, residual, 0.0)
    power = (values**2).mean()
    return np.array(
        [1.0] + [(values[..., lag:] * values[..., :-lag]).mean() / power for lag in _LAGS]
    )


def draw_noise(
    conditions: Conditions, n: int, size_px: int, rng: np.random.Generator
) -> tuple[NDArray[np.float32], Floats]:
    """Draw noise that is correlated as the survey's.

    Returns
    -------
    noise : (n, band, size_px, size_px) of unit variance.
    sigma : (n, band) of the noise [counts], that of a random image in all bands.
    """
    sigma = conditions.noise[rng.integers(len(conditions.noise), size=n)]
    side = size_px + 2 * _MARGIN_PX
    frequency = np.fft.fftfreq(side)
    half = side // 2 + 1
    inside = slice(_MARGIN_PX, _MARGIN_PX + size_px)
    noise = np.empty((n, len(conditions.fwhm_px), size_px, size_px), dtype=np.float32)
    for band, lags in enumerate(conditions.correlation):
        waves = sum(lags[lag] * np.cos(2 * np.pi * frequency * lag) for lag in _LAGS)
        power = np.clip(1 + 2 * waves, 0.02, None)
        kernel = np.sqrt(power[:, None] * power[None, :])
        kernel /= np.sqrt((kernel**2).mean())
        white = rng.standard_normal((n, side, side), dtype=np.float32)
        waves_of = scipy.fft.rfft2(white) * kernel[:, :half].astype(np.float32)
        smooth = scipy.fft.irfft2(waves_of, s=(side, side))
        noise[:, band] = smooth[:, inside, inside]
    return noise, sigma
