"""Faint sources beside an object, as many and as bright as beside the sample's.

Every stamp of a survey shows some unrelated galaxies and stars. Without them a simulated object
could be told from a real one by its empty surroundings, and real quasars with a neighbour would
look like no simulated one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, maximum_filter

from archipelago.simulate.conditions import Conditions, measurable
from archipelago.simulate.light import Components, moffat_gaussians, points

Floats = NDArray[np.float64]

#: Nearer ones would be part of the object's own entry in a catalogue [arcsec] (assumed), and where
#: the object's own light no longer hides them.
_NEAREST_ARCSEC, _SEEN_FROM_ARCSEC = 1.5, 2.0
#: Signal over noise, all bands together, of what counts as a source.
_DETECTED = 4.0
#: Brightest pixel over noise of the objects whose surroundings are searched: no wings, no halo.
_FAINT_CENTRE = 60.0
#: Most are galaxies: their own full width [arcsec], added in square to the sharpness (assumed).
_OWN_WIDTH_ARCSEC = 0.6
#: Pixels at a stamp's edge in which no source is sought, and beyond it in which some are drawn.
_EDGE_PX = 2
#: At the most so many about one object.
_MOST = 5
#: Stamps that are searched at the most, evenly spread.
_MOST_SEARCHED = 3000
_FWHM_TO_SIGMA = 2.3548


@dataclass(frozen=True)
class Neighbours:
    """Sources seen beside objects: flux (m, band) [counts], number per square pixel of sky."""

    flux: Floats
    per_px2: float


def measure_neighbours(
    images: NDArray[np.float32], conditions: Conditions, scale_arcsec: float
) -> Neighbours:
    """Find the sources beside the objects of a set of images.

    The median of each ring about the middle is taken off, and what rises above the noise of all
    bands together and is 2 arcsec or more from the middle is a source. Its fluxes are
    those of a point there, in each band lessened by what noise may have added to it.

    Parameters
    ----------
    images : (n, band, y, x) counts; n may be 0. Images that are not finite do not count.
    conditions : of these images.
    scale_arcsec : side of a pixel.
    """
    images = measurable(images)
    none = Neighbours(np.empty((0, images.shape[1])), 0.0)
    noise = np.median(conditions.noise, axis=0)
    peak = (images.max(axis=(2, 3)) / noise).max(axis=1) if len(images) else np.empty(0)
    images = images[peak < _FAINT_CENTRE]
    images = images[:: max(1, -(-len(images) // _MOST_SEARCHED))]
    side = images.shape[-1]
    axis = np.arange(side) - (side - 1) / 2
    radius = np.hypot(axis[:, None], axis[None, :])
    inside = np.abs(axis) <= (side - 1) / 2 - _EDGE_PX
    searched = inside[:, None] & inside[None, :] & (radius * scale_arcsec >= _SEEN_FROM_ARCSEC)
    if not len(images) or not searched.any():
        return none
    light = _without_rings(images / noise[:, None, None], radius)
    sigma_px = _widths_px(conditions, scale_arcsec) / _FWHM_TO_SIGMA
    together = gaussian_filter(
        light.sum(axis=1), (0, sigma_px.mean(), sigma_px.mean()), mode="constant"
    )
    spread = 1.4826 * np.median(np.abs(together[:, searched]))
    if not spread > 0:
        return none
    top = (together == maximum_filter(together, (1, 5, 5))) & searched
    of, y, x = np.nonzero(top & (together > _DETECTED * spread))
    flux = _fluxes(light, of, y, x, sigma_px) * noise
    return Neighbours(flux, len(flux) / (len(images) * int(searched.sum())))


def draw_neighbours(
    neighbours: Neighbours,
    conditions: Conditions,
    n: int,
    size_px: int,
    scale_arcsec: float,
    rng: np.random.Generator,
) -> list[Components]:
    """Return the sources beside ``n`` objects, anywhere but where these are.

    Parameters
    ----------
    neighbours : to draw from.
    conditions : of the survey; the sharpness is taken as it is, without scatter.
    n, size_px, scale_arcsec : objects, side of a stamp, side of a pixel.
    """
    side = size_px + 2 * _EDGE_PX
    number = np.minimum(rng.poisson(neighbours.per_px2 * side**2, n), _MOST)
    fwhm = np.broadcast_to(_widths_px(conditions, scale_arcsec), (n, len(conditions.fwhm_px)))
    parts = []
    for k in range(int(number.max(initial=0))):
        x, y = rng.uniform(-side / 2, side / 2, (2, n))
        chosen = rng.integers(len(neighbours.flux), size=n)
        there = (number > k) & (np.hypot(x, y) * scale_arcsec >= _NEAREST_ARCSEC)
        parts.append(points(x, y, neighbours.flux[chosen] * there[:, None], fwhm))
    return parts


def _widths_px(conditions: Conditions, scale_arcsec: float) -> Floats:
    return np.hypot(conditions.fwhm_px, _OWN_WIDTH_ARCSEC / scale_arcsec)


def _without_rings(light: NDArray[np.floating], radius_px: Floats) -> Floats:
    """Return images without the median of each ring, one pixel wide, about the middle."""
    result = np.array(light, dtype=float)
    ring = radius_px.astype(int)
    for number in np.unique(ring):
        of_ring = ring == number
        result[:, :, of_ring] -= np.median(result[:, :, of_ring], axis=2, keepdims=True)
    return result


def _fluxes(
    light: Floats,
    of: NDArray[np.int64],
    y: NDArray[np.int64],
    x: NDArray[np.int64],
    sigma_px: Floats,
) -> Floats:
    """Return fluxes (m, band) of points in units of the noise per pixel."""
    half = int(np.ceil(2 * sigma_px.max()))
    padded = np.pad(light, ((0, 0), (0, 0), (half, half), (half, half)))
    steps = np.arange(-half, half + 1)
    around = padded[
        of[:, None, None], :, (y + half)[:, None, None] + steps[:, None],
        (x + half)[:, None, None] + steps
    ]  # (m, y, x, band)  # fmt: skip
    r2 = (steps[:, None] ** 2 + steps[None, :] ** 2)[:, :, None]
    window = np.exp(-0.5 * r2 / sigma_px**2)
    widths, weights = moffat_gaussians()
    variance = (_FWHM_TO_SIGMA * sigma_px * widths[:, None]) ** 2  # (k, band)
    point = (
        weights[:, None, None, None]
        * np.exp(-0.5 * r2 / variance[:, None, None, :])
        / (2 * np.pi * variance[:, None, None, :])
    ).sum(axis=0)
    seen = (window * point).sum(axis=(0, 1))
    flux = (around * window).sum(axis=(1, 2)) / seen
    error = np.sqrt((window**2).sum(axis=(0, 1))) / seen
    return np.asarray(np.clip(flux, 0, None) ** 3 / (flux**2 + error**2))
