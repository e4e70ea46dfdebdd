"""Where quasars are painted: real cutouts of the run, without the object that they show.

A cutout's middle is filled anew with its own sky. The object's light is confined to the middle; the
corners of the same image hold the noise of that place, with its correlation between pixels, in
every band at once. Corners with a neighbour are not used, and cutouts whose object
reaches out of the middle are no places. What lies in the frame, neighbours included, stays.
That is fair to a quasar at that place: it gets that place's noise, sharpness, sky and
neighbours; it does not get the residue of another object's light, which subtracting a model would
leave, and places are chosen by their objects' extent alone, not by what they are.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from archipelago.base.images import ImageSet
from archipelago.simulate.conditions import (
    Conditions,
    measurable,
    measure_conditions,
    point_shares,
    point_widths_px,
)

_LOG = logging.getLogger(__name__)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Images = NDArray[np.float32]

#: A pixel so far above the sky [sigma] is of a neighbour.
_NEIGHBOUR_SIGMA = 5.0
#: Mean light just outside the middle [sigma of a pixel] above which the object reaches out of it.
_OUTSIDE_SIGMA = 0.35
#: Points about a place that tell its sharpness, and the signal over noise that they need.
_N_POINTS, _BRIGHT = 12, 40.0
#: Sharpness assumed where nothing tells it [arcsec].
_FALLBACK_FWHM_ARCSEC = 0.9


@dataclass(frozen=True)
class Places:
    """Cutouts to paint into.

    Attributes
    ----------
    row : (m,) rows of the set of images that are places.
    corners : (m, 4) whether each corner is free of neighbours.
    fwhm_px : (m, band) width of points there.
    conditions : of the whole set; for noise where no cutout is a place.
    """

    row: Ints
    corners: NDArray[np.bool_]
    fwhm_px: Floats
    conditions: Conditions

    def __len__(self) -> int:
        return len(self.row)


def find_places(images: ImageSet, ra_deg: Floats, dec_deg: Floats) -> Places:
    """Return the cutouts that can be painted into.

    Parameters
    ----------
    images : of the run, n objects; may be mapped from disk.
    ra_deg, dec_deg : (n,) positions; NaN where unknown.
    """
    scale = images.pixel_scale_arcsec
    conditions = measure_conditions(images.images, _FALLBACK_FWHM_ARCSEC / scale)
    rows, free = [], []
    for start in range(0, len(images), 2048):
        chunk = np.asarray(images.images[start : start + 2048])
        good, corners = _usable(chunk)
        rows.append(start + np.flatnonzero(good))
        free.append(corners[good])
    row = np.concatenate(rows) if rows else np.empty(0, dtype=np.int64)
    corners = np.concatenate(free) if free else np.empty((0, 4), dtype=bool)
    fwhm = _local_widths(images, row, ra_deg, dec_deg, conditions)
    _LOG.info("%d of %d cutouts are places to paint into", len(row), len(images))
    return Places(row.astype(np.int64), corners, fwhm, conditions)


def _frame(side: int) -> int:
    return -(-side // 4)


def _corner_slices(height: int, width: int) -> list[tuple[slice, slice]]:
    y, x = _frame(height), _frame(width)
    ends_y, ends_x = (
        (slice(0, y), slice(height - y, height)),
        (slice(0, x), slice(width - x, width)),
    )
    return [(one, other) for one in ends_y for other in ends_x]


def _usable(images: Images) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Say which images are places, (n,), and which of their corners are free, (n, 4)."""
    n, _, height, width = images.shape
    finite = np.isfinite(images).all(axis=(1, 2, 3))
    images = np.nan_to_num(images, nan=0.0, posinf=0.0, neginf=0.0)
    slices = _corner_slices(height, width)
    corners = np.stack([images[:, :, y, x].reshape(n, images.shape[1], -1) for y, x in slices], 2)
    sky = np.median(corners, axis=(2, 3))
    noise = 1.4826 * np.median(np.abs(corners - sky[:, :, None, None]), axis=(2, 3))
    has_noise = (noise > 0).all(axis=1)
    sigma = np.where(noise > 0, noise, 1.0)[:, :, None, None]
    light = (corners - sky[:, :, None, None]) / sigma
    free = (light.max(axis=3) < _NEIGHBOUR_SIGMA).all(axis=1)
    y, x = np.arange(height) - (height - 1) / 2, np.arange(width) - (width - 1) / 2
    radius = np.hypot(y[:, None], x[None, :])
    middle = min(height, width) / 2 - _frame(min(height, width))
    ring = (radius > middle) & (radius < middle + max(2.0, middle / 3))
    around = (images[:, :, ring] - sky[:, :, None]) / sigma[:, :, 0]
    # The median: a neighbour on one side is no reason.
    dark = (np.median(around, axis=2) < _OUTSIDE_SIGMA).all(axis=1)
    return finite & has_noise & dark & free.any(axis=1), free


def cleared(images: Images, corners: NDArray[np.bool_], rng: np.random.Generator) -> Images:
    """Return images whose middle shows their own sky instead of the object.

    Each quarter of the middle becomes a free corner of the same image, of all bands alike,
    mirrored at random.

    Parameters
    ----------
    images : (n, band, y, x) counts.
    corners : (n, 4) which corners may be used; one at least per image.
    rng : source of the choice.
    """
    out = np.array(images, dtype=np.float32)
    height, width = out.shape[-2:]
    frame_y, frame_x = _frame(height), _frame(width)
    half_y, half_x = height // 2, width // 2
    quarters = [
        (slice(frame_y, half_y), slice(frame_x, half_x)),
        (slice(frame_y, half_y), slice(half_x, width - frame_x)),
        (slice(half_y, height - frame_y), slice(frame_x, half_x)),
        (slice(half_y, height - frame_y), slice(half_x, width - frame_x)),
    ]
    slices = _corner_slices(height, width)
    for row in range(len(out)):
        usable = np.flatnonzero(corners[row])
        for quarter in quarters:
            y, x = slices[int(rng.choice(usable))]
            block = images[row][:, y, x]
            block = block[:, :: int(rng.choice((-1, 1))), :: int(rng.choice((-1, 1)))]
            shape = out[row][:, quarter[0], quarter[1]].shape
            out[row][:, quarter[0], quarter[1]] = block[:, : shape[1], : shape[2]]
    return out


def _local_widths(
    images: ImageSet, row: Ints, ra_deg: Floats, dec_deg: Floats, conditions: Conditions
) -> Floats:
    """Return the width of points at places, (m, band): of the nearest bright points of the run."""
    widths = np.tile(conditions.fwhm_px, (len(row), 1))
    if not len(row):
        return widths
    spread = np.arange(len(images))[:: max(1, -(-len(images) // 20_000))]
    spread = spread[np.isfinite(ra_deg[spread]) & np.isfinite(dec_deg[spread])]
    pixels = np.asarray(images.images[spread])
    finite = np.isfinite(pixels).all(axis=(1, 2, 3))
    spread, pixels = spread[finite], measurable(pixels)
    if not len(spread):
        return widths
    core, light, noise = point_shares(pixels)
    here = _unit_vectors(ra_deg[row], dec_deg[row])
    known_place = np.isfinite(here).all(axis=1)
    for band in range(len(images.bands)):
        enough = light[:, band] > _BRIGHT * noise[:, band] * np.sqrt(np.pi) * 5.0
        share = np.where(enough, core[:, band] / np.where(enough, light[:, band], 1.0), np.nan)
        if enough.sum() < 5:
            continue
        sharp = np.nanquantile(share, 0.8)
        points = np.flatnonzero(enough & (share > 0.93 * sharp) & (share < 1.07 * sharp))
        if len(points) < _N_POINTS or not known_place.any():
            continue
        tree = cKDTree(_unit_vectors(ra_deg[spread[points]], dec_deg[spread[points]]))
        _, near = tree.query(here[known_place], k=_N_POINTS)
        widths[known_place, band] = point_widths_px(np.median(share[points][near], axis=1))
    return widths


def _unit_vectors(ra_deg: Floats, dec_deg: Floats) -> Floats:
    ra, dec = np.radians(ra_deg), np.radians(dec_deg)
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=-1)
