"""The point spread function of a set of images, as a sum of round Gaussians per band."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from archipelago.simulate.conditions import Conditions

Floats = NDArray[np.float64]

#: Widths (sigma) that the light of a point is shared among, in units of the FWHM: few, as each
#: costs time, and enough for a Moffat profile to 1 % of its peak.
_SIGMAS_FWHM = np.array([0.31, 0.44, 0.68, 1.3])
_MOFFAT_BETA = 3.0
#: Radius in which points are fitted [FWHM].
_FIT_RADIUS_FWHM = 2.5
_RINGS = 25
#: Objects whose sum tells the profile: so many at the least, and at the most.
_FEWEST_POINTS, _MOST_POINTS = 20, 300
#: Images that are looked at, evenly spread over the set.
_MOST_IMAGES = 4000
#: Signal over noise of those within a radius of one FWHM: in the band that shows the set best,
#: and in each other one.
_BRIGHT, _SEEN = 40.0, 15.0
#: How concentrated points are, over the most concentrated fifth of the bright objects.
_SHARP_QUANTILE, _LEAST_SHARP, _MOST_SHARP = 0.8, 0.93, 1.07


@dataclass(frozen=True)
class PointSpread:
    """A point in each band: Gaussians whose weights add to 1.

    Attributes
    ----------
    sigma_px : (band, k) widths.
    weight : (band, k) shares of the light, at least 0.
    """

    sigma_px: Floats
    weight: Floats

    @classmethod
    def moffat(cls, fwhm_px: Floats) -> PointSpread:
        """Return Moffat profiles of beta = 3 of these widths, (band,), as `simulate` draws them."""
        fwhm = np.asarray(fwhm_px, dtype=float)[:, None]
        return cls(fwhm * _SIGMAS_FWHM, np.tile(_moffat_weights(), (len(fwhm), 1)))

    @property
    def fwhm_px(self) -> Floats:
        """Return the full width at half maximum of each band, (band,)."""
        radius = np.linspace(0.0, 4 * float(self.sigma_px.max()), 4000)
        widths = []
        for sigma, weight in zip(self.sigma_px, self.weight, strict=True):
            gaussians = np.exp(-0.5 * (radius[:, None] / sigma) ** 2)
            profile = (weight / sigma**2 * gaussians).sum(axis=1)
            widths.append(2 * np.interp(-profile[0] / 2, -profile, radius))
        return np.array(widths)


@lru_cache(maxsize=1)
def _moffat_weights() -> Floats:
    """Return the shares of the Gaussians of `_SIGMAS_FWHM` in a Moffat profile."""
    alpha = 0.5 / np.sqrt(2 ** (1 / _MOFFAT_BETA) - 1)
    radius = np.linspace(0.005, 3.0, 300)
    ring = np.sqrt(radius)
    design = np.exp(-0.5 * (radius[:, None] / _SIGMAS_FWHM) ** 2) / (2 * np.pi * _SIGMAS_FWHM**2)
    profile = (1 + (radius / alpha) ** 2) ** -_MOFFAT_BETA
    weights, _ = nnls(design * ring[:, None], profile * ring)
    return np.asarray(weights / weights.sum())


def measure_psf(images: NDArray[np.float32], conditions: Conditions) -> PointSpread:
    """Fit the profile of points from the sharpest bright objects of a set of images.

    Points are the bright objects as concentrated as the most concentrated fifth, in the band that
    shows the set best. In each band in which at least 20 of them are seen, the sum of Gaussians
    (their widths in fixed ratios, their weights not negative) is fitted that describes them best
    together, each about its own centre and of its own brightness. In other bands, a Moffat profile
    of the width in ``conditions`` stands in.

    Parameters
    ----------
    images : (n, band, y, x) counts; images with pixels that are no numbers do not count.
    conditions : of the same images.
    """
    moffat = PointSpread.moffat(conditions.fwhm_px)
    images = images[:: max(1, -(-len(images) // _MOST_IMAGES))]
    images = images[np.isfinite(images).all(axis=(1, 2, 3))]
    if len(images) < _FEWEST_POINTS:
        return moffat
    light, noise = _above_sky(images)
    best = _best_band(light, noise)
    height, width = light.shape[2:]
    x = (np.arange(width) - (width - 1) / 2)[None, None, :]
    y = (np.arange(height) - (height - 1) / 2)[None, :, None]
    fwhm = float(conditions.fwhm_px[best])
    x0, y0, seen = _centres(light[:, best], x, y, fwhm / 2.3548)
    radius = np.hypot(x - x0[:, None, None], y - y0[:, None, None])
    points = _points(light[:, best], noise[:, best], radius, fwhm, seen)
    weight = moffat.weight.copy()
    for band, width_px in enumerate(conditions.fwhm_px):
        total, snr = _within(light[points, band], noise[points, band], radius[points], width_px)
        bright = snr > _SEEN
        if bright.sum() >= _FEWEST_POINTS:
            rows = points[bright]
            weight[band] = _fitted(light[rows, band], radius[rows], total[bright], width_px)
    return PointSpread(moffat.sigma_px, weight)


def _above_sky(images: NDArray[np.float32]) -> tuple[Floats, Floats]:
    """Return light (n, band, y, x) above the median of the first and last rows, and its noise."""
    strips = np.concatenate([images[:, :, :4], images[:, :, -4:]], axis=2)
    sky = np.median(strips, axis=(2, 3), keepdims=True)
    noise = 1.4826 * np.median(np.abs(strips - sky), axis=(2, 3))
    return np.asarray(images - sky, dtype=float), np.asarray(noise, dtype=float)


def _best_band(light: Floats, noise: Floats) -> int:
    middle = light[:, :, light.shape[2] // 2, light.shape[3] // 2]
    return int(np.argmax(np.median(middle / np.where(noise > 0, noise, np.inf), axis=0)))


def _within(light: Floats, noise: Floats, radius: Floats, fwhm_px: float) -> tuple[Floats, Floats]:
    """Return light within one FWHM (n,), and that over its noise."""
    near = radius < fwhm_px
    total = np.where(near, light, 0.0).sum(axis=(1, 2))
    error = noise * np.sqrt(np.maximum(near.sum(axis=(1, 2)), 1))
    return total, total / np.where(error > 0, error, np.inf)


def _points(
    light: Floats, noise: Floats, radius: Floats, fwhm_px: float, seen: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Return the rows of objects that are points."""
    total, snr = _within(light, noise, radius, fwhm_px)
    bright = seen & (snr > _BRIGHT)
    if not bright.any():
        return np.empty(0, dtype=np.int64)
    core = (np.exp(-0.5 * (radius / (0.35 * fwhm_px)) ** 2) * light).sum(axis=(1, 2))
    sharp = np.where(bright, core / np.where(bright, total, 1.0), 0.0)
    level = np.quantile(sharp[bright], _SHARP_QUANTILE)
    points = np.flatnonzero(bright & (sharp > _LEAST_SHARP * level) & (sharp < _MOST_SHARP * level))
    return points[:: max(1, len(points) // _MOST_POINTS)]


def _fitted(light: Floats, radius: Floats, total: Floats, fwhm_px: float) -> Floats:
    """Return the shares of the Gaussians in the light of points (n, y, x).

    Fitted to the median profile in rings, which neighbours do not change.
    """
    sigmas = fwhm_px * _SIGMAS_FWHM
    edges = fwhm_px * np.linspace(0.0, _FIT_RADIUS_FWHM, _RINGS + 1)
    ring = np.searchsorted(edges, radius.ravel(), side="right") - 1
    share = (light / total[:, None, None]).ravel()
    profile, design = [], []
    for number in range(_RINGS):
        inside = ring == number
        if inside.any():
            r2 = radius.ravel()[inside][:, None] ** 2
            gaussians = np.exp(-0.5 * r2 / sigmas**2) / (2 * np.pi * sigmas**2)
            profile.append(np.median(share[inside]) * np.sqrt(inside.sum()))
            design.append(gaussians.mean(axis=0) * np.sqrt(inside.sum()))
    weights, _ = nnls(np.array(design), np.array(profile))
    return np.asarray(weights / weights.sum()) if weights.sum() > 0 else _moffat_weights()


def _centres(
    light: Floats, x: Floats, y: Floats, sigma_px: float
) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Return centres under a Gaussian window as wide as points (n,), and whether there is light."""
    x0, y0 = np.zeros(len(light)), np.zeros(len(light))
    seen = np.ones(len(light), dtype=bool)
    for _ in range(8):
        dx, dy = x - x0[:, None, None], y - y0[:, None, None]
        weighted = light * np.exp(-0.5 * (dx**2 + dy**2) / sigma_px**2)
        total = weighted.sum(axis=(1, 2))
        seen &= total > 0
        total = np.where(seen, total, 1.0)
        # Twice the mean departure: a window as wide as the object hides a half of it.
        x0 = np.clip(x0 + 2 * (weighted * dx).sum(axis=(1, 2)) / total, -3.0, 3.0)
        y0 = np.clip(y0 + 2 * (weighted * dy).sum(axis=(1, 2)) / total, -3.0, 3.0)
    return x0, y0, seen
