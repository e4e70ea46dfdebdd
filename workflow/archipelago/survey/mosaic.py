"""A stamp from several images, where none holds all of it.

One image gives its pixels unchanged, and with them the grid: tiles have tangent points of their
own, so that the pixels of another are shifted and turned against it. What the first lacks
is taken from the others by a cubic spline through their pixels.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.ndimage import map_coordinates

from archipelago.survey.frames import Floats
from archipelago.survey.stamps import Piece

#: A difference of background between two images counts beyond so many of its errors.
SIGNIFICANT_SIGMA = 5.0
#: Pixels in common from which a difference of background is measured at all.
MIN_COMMON_PX = 30
#: Noise of neighbouring pixels of a coadd is alike: so many count as one (assumed).
_ALIKE_PX = 2.0
#: From the median absolute deviation to sigma, and from sigma to the error of a median,
#: of a normal distribution.
_MAD_TO_SIGMA, _MEDIAN_ERROR = 1.4826, 1.2533


def grid_of(piece: Piece, size_px: int) -> tuple[Floats, Floats]:
    """Return right ascension and declination [deg] of a stamp's pixels, (y, x) each."""
    left, low = piece.corner(size_px)
    y, x = np.mgrid[low : low + size_px, left : left + size_px].astype(np.float64)
    return piece.sky_of(x, y)


def covers(piece: Piece, grid: tuple[Floats, Floats], missing: np.ndarray) -> bool:
    """Tell whether an image has a pixel where one is missing."""
    x, y = piece.pixel_of(grid[0][missing], grid[1][missing])
    return bool(_inside(piece, x, y).any())


def fill_from(
    square: Floats, grid: tuple[Floats, Floats], piece: Piece, base: Piece | None
) -> tuple[Floats, int]:
    """Fill pixels that a stamp lacks from another image of the place.

    Parameters
    ----------
    square : (y, x) the stamp, NaN where a pixel is missing.
    grid : of the stamp, from `grid_of`.
    piece : the other image, at the same zero point.
    base : the image that gives the grid, None where it has no image in this band.

    Returns
    -------
    square : with what ``piece`` could give.
    n : how many pixels it gave.
    """
    x, y = piece.pixel_of(*grid)
    other = _resampled(piece, x, y)
    if base is not None:
        # Light per pixel follows the area of a pixel.
        other = other * math.prod(base.frame.scales_arcsec) / math.prod(piece.frame.scales_arcsec)
    other = other + background_step(square, other)
    gained = np.isnan(square) & ~np.isnan(other)
    return np.where(gained, other, square), int(gained.sum())


def background_step(square: Floats, other: Floats) -> float:
    """Return what lifts ``other`` to the background of ``square``; 0 unless it is significant.

    The median of the differences where both have values, against its error from their scatter.
    """
    difference = square - other
    difference = difference[~np.isnan(difference)]
    if difference.size < MIN_COMMON_PX:
        return 0.0
    step = float(np.median(difference))
    sigma = _MAD_TO_SIGMA * float(np.median(np.abs(difference - step)))
    error = _MEDIAN_ERROR * sigma * math.sqrt(_ALIKE_PX / difference.size)
    return step if abs(step) > SIGNIFICANT_SIGMA * error else 0.0


def _inside(piece: Piece, x: Floats, y: Floats) -> np.ndarray:
    height, width = piece.values.shape
    return (x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5)


def _resampled(piece: Piece, x: Floats, y: Floats) -> Floats:
    """Return an image's values at pixels (x, y); NaN beyond it and beside its own gaps."""
    inside = _inside(piece, x, y)
    bad = np.isnan(piece.values)
    values = np.where(bad, np.nanmedian(piece.values), piece.values)
    place = np.stack([np.where(inside, y, 0.0), np.where(inside, x, 0.0)])
    result = map_coordinates(values, place, order=3, mode="mirror")
    if bad.any():
        near_bad = map_coordinates(bad.astype(np.float64), place, order=1, mode="nearest") > 0.01
        inside = inside & ~near_bad
    return np.where(inside, result, np.nan)
