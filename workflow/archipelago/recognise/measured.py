"""Numbers measured in images: brightness, colours and shapes, in units of the noise.

A network's features are of unit length: how bright an object is in each band, and by how much
its centre and width differ between bands, is lost in them or blurred. Here it is kept.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: Widths (sigma) of the round Gaussian apertures [arcsec]: about a half to two times the seeing.
_WIDTHS_ARCSEC = (0.34, 0.58, 0.95, 1.45)
#: The one of them in which shapes are measured.
_SHAPE = 2
#: Radii of circles about the middle of the image, and of a ring [arcsec].
_CIRCLES_ARCSEC = (0.53, 1.05, 1.58)
_RING_ARCSEC = (1.05, 2.1)
#: Width of the window that the centre is sought in [arcsec], and its largest departure.
_CENTRE_ARCSEC, _CENTRE_MAX_ARCSEC = 0.66, 0.8
#: Signal over noise where the logarithmic part of brightness begins.
_SOFTENING = 2.0
#: Light [sigma of a pixel] below which shapes fade to 0 rather than being noise over noise.
_FAINT_SHAPE, _FAINT_RATIO = 60.0, 30.0
_CHUNK = 1024


def measure(
    images: NDArray[np.float32], noise: Floats, pixel_scale_arcsec: float
) -> NDArray[np.float32]:
    """Measure images.

    Parameters
    ----------
    images : (n, band, y, x) counts, finite, band by band from blue to red.
    noise : (band,) typical noise per pixel [counts]; the same for all sets that are compared.
    pixel_scale_arcsec : side of a pixel.

    Returns
    -------
    NDArray
        (n, m) float32, no unit. In this order: asinh of signal over noise in Gaussian apertures
        about the object's centre (band, width); its differences between each two bands, per
        width; concentration (band, width); asinh of signal over noise in circles and a ring
        about the image's middle (circle, band); distance between the centres in each two bands;
        size and ellipticity per band, and their differences between each two
        bands; asymmetry under a half turn, per band.
    """
    parts = [
        _measure(images[start : start + _CHUNK], noise, pixel_scale_arcsec)
        for start in range(0, len(images), _CHUNK)
    ]
    if not parts:
        blank = np.zeros((1, *images.shape[1:]), dtype=np.float32)
        return _measure(blank, noise, pixel_scale_arcsec)[:0]
    return np.concatenate(parts)


def _measure(
    images: NDArray[np.float32], noise: Floats, pixel_scale_arcsec: float
) -> NDArray[np.float32]:
    n, n_bands, height, width = images.shape
    strips = np.concatenate([images[:, :, :4], images[:, :, -4:]], axis=2)
    sky = np.median(strips, axis=(2, 3), keepdims=True)
    light = (images - sky) / noise[None, :, None, None]
    x = ((np.arange(width) - (width - 1) / 2) * pixel_scale_arcsec)[None, None, :]
    y = ((np.arange(height) - (height - 1) / 2) * pixel_scale_arcsec)[None, :, None]
    centre_x, centre_y = _centres(light, x, y)
    dx, dy = x - centre_x[:, None, None], y - centre_y[:, None, None]
    from_centre2 = dx**2 + dy**2
    windows = [np.exp(-0.5 * from_centre2 / sigma**2)[:, None] for sigma in _WIDTHS_ARCSEC]
    sums = np.stack([(light * window).sum(axis=(2, 3)) for window in windows], axis=2)
    errors = np.stack([np.sqrt((window**2).sum(axis=(2, 3))) for window in windows], axis=2)
    brightness = np.arcsinh(sums / errors / _SOFTENING)  # (n, band, width)
    pairs = list(combinations(range(n_bands), 2))
    colours = [brightness[:, p] - brightness[:, q] for p, q in pairs]
    whole = np.sqrt(sums[:, :, _SHAPE] ** 2 + _FAINT_RATIO**2)
    concentration = sums / whole[:, :, None]
    shapes = _shapes(light, windows[_SHAPE], dx[:, None], dy[:, None], pairs)
    turned = np.abs(light - light[:, :, ::-1, ::-1])
    near = np.broadcast_to(x**2 + y**2 < _CIRCLES_ARCSEC[-1] ** 2, (1, height, width))[:, None]
    asymmetry = (turned * near).sum(axis=(2, 3)) / whole
    columns = [
        brightness.reshape(n, -1),
        *colours,
        concentration.reshape(n, -1),
        _about_the_middle(light, np.sqrt(x**2 + y**2)[0]),
        *shapes,
        asymmetry,
    ]
    return np.concatenate(columns, axis=1).astype(np.float32)


def _centres(light: Floats, x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Return windowed centres of all bands together (n,), [arcsec] from the middle."""
    together = np.clip(light.sum(axis=1), 0.0, None)
    centre_x, centre_y = np.zeros(len(light)), np.zeros(len(light))
    for _ in range(4):
        dx, dy = x - centre_x[:, None, None], y - centre_y[:, None, None]
        weight = together * np.exp(-0.5 * (dx**2 + dy**2) / _CENTRE_ARCSEC**2)
        total = weight.sum(axis=(1, 2)) + 1e-6
        # Twice the mean departure undoes what a window of the object's own width hides.
        centre_x = centre_x + 2 * (weight * dx).sum(axis=(1, 2)) / total
        centre_y = centre_y + 2 * (weight * dy).sum(axis=(1, 2)) / total
        centre_x = np.clip(centre_x, -_CENTRE_MAX_ARCSEC, _CENTRE_MAX_ARCSEC)
        centre_y = np.clip(centre_y, -_CENTRE_MAX_ARCSEC, _CENTRE_MAX_ARCSEC)
    return centre_x, centre_y


def _about_the_middle(light: Floats, radius_arcsec: Floats) -> Floats:
    masks = [radius_arcsec < circle for circle in _CIRCLES_ARCSEC]
    masks.append((radius_arcsec >= _RING_ARCSEC[0]) & (radius_arcsec < _RING_ARCSEC[1]))
    return np.concatenate(
        [
            np.arcsinh(light[:, :, mask].sum(axis=-1) / np.sqrt(max(mask.sum(), 1)))
            for mask in masks
        ],
        axis=1,
    )


def _shapes(
    light: Floats, window: Floats, dx: Floats, dy: Floats, pairs: list[tuple[int, int]]
) -> list[Floats]:
    """Return offsets, sizes and ellipticities of the bands, and their differences."""
    weighted = light * window
    total = np.sqrt(weighted.sum(axis=(2, 3)) ** 2 + _FAINT_SHAPE**2)

    def mean(of: Floats) -> Floats:
        return np.asarray((weighted * of).sum(axis=(2, 3)) / total)

    x, y = mean(dx), mean(dy)
    xx, yy, xy = mean(dx**2), mean(dy**2), mean(dx * dy)
    size, plus, cross = xx + yy, xx - yy, 2 * xy
    offset = [np.hypot(x[:, p] - x[:, q], y[:, p] - y[:, q])[:, None] for p, q in pairs]
    larger = [(size[:, p] - size[:, q])[:, None] for p, q in pairs]
    rounder = [
        np.hypot(plus[:, p] - plus[:, q], cross[:, p] - cross[:, q])[:, None] for p, q in pairs
    ]
    return [*offset, size, np.hypot(plus, cross), *larger, *rounder]
