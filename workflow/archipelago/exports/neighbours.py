"""The catalogue around an object: what stands near it, how far and in which direction."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from archipelago.exports.choose import has_position, numbers

#: Neighbours looked for, at most, and how far away [arcsec].
MOST, FARTHEST_ARCSEC = 40, 3 * 3600.0
#: Radii that a chart may have [arcsec]: the smallest that holds `_WANTED` neighbours.
_RADII_ARCSEC = (30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0, 7200.0, FARTHEST_ARCSEC)
_WANTED = 3


@dataclass(frozen=True)
class Neighbours:
    """Objects around one, the nearest first.

    Attributes
    ----------
    row : (n,) of the catalogue.
    east_arcsec, north_arcsec : (n,) offsets from the object, on the plane that touches the sky
        there [arcsec].
    distance_arcsec : (n,) [arcsec].
    """

    row: NDArray[np.int64]
    east_arcsec: NDArray[np.float64]
    north_arcsec: NDArray[np.float64]
    distance_arcsec: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.row)

    def chart_radius_arcsec(self) -> float:
        """Return a round radius that holds some of them, or the largest [arcsec]."""
        for radius in _RADII_ARCSEC:
            if int((self.distance_arcsec <= radius).sum()) >= min(_WANTED, max(len(self), 1)):
                return radius
        return _RADII_ARCSEC[-1]


class Surroundings:
    """A catalogue that is asked what stands near a position.

    Parameters
    ----------
    catalogue : id, ra_deg, dec_deg (ICRS). Objects without a position are nobody's neighbours.
    """

    def __init__(self, catalogue: pd.DataFrame) -> None:
        self._row = np.flatnonzero(has_position(catalogue))
        position = np.stack([numbers(catalogue, name) for name in ("ra_deg", "dec_deg")], axis=-1)
        self._vectors = _unit_vectors(position[self._row])
        self._id = catalogue["id"].to_numpy(dtype=np.int64)
        self._tree = cKDTree(self._vectors) if len(self._row) else None

    def near(self, ra_deg: float, dec_deg: float, itself: int) -> Neighbours:
        """Return the `MOST` nearest objects within `FARTHEST_ARCSEC`, but the object ``itself``."""
        if self._tree is None:
            return Neighbours(np.empty(0, dtype=np.int64), *np.empty((3, 0)))
        centre = _unit_vectors(np.array([[ra_deg, dec_deg]]))[0]
        reach = 2 * math.sin(math.radians(FARTHEST_ARCSEC / 3600) / 2)
        chord, place = self._tree.query(
            centre, k=min(MOST + 1, len(self._row)), distance_upper_bound=reach
        )
        chord, place = np.atleast_1d(chord), np.atleast_1d(place)
        place, chord = place[np.isfinite(chord)], chord[np.isfinite(chord)]
        others = self._id[self._row[place]] != itself
        place, chord = place[others][:MOST], chord[others][:MOST]
        east, north = _tangent(self._vectors[place], ra_deg, dec_deg)
        distance = np.degrees(2 * np.arcsin(np.minimum(chord / 2, 1.0))) * 3600
        return Neighbours(self._row[place], east, north, distance)


def _unit_vectors(position_deg: NDArray[np.float64]) -> NDArray[np.float64]:
    ra, dec = np.radians(position_deg).T
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=-1)


def _tangent(
    vectors: NDArray[np.float64], ra_deg: float, dec_deg: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Offsets east and north on the tangent plane (gnomonic projection) [arcsec]."""
    ra, dec = math.radians(ra_deg), math.radians(dec_deg)
    east = np.array([-math.sin(ra), math.cos(ra), 0.0])
    north = np.array([-math.sin(dec) * math.cos(ra), -math.sin(dec) * math.sin(ra), math.cos(dec)])
    out = np.array([math.cos(dec) * math.cos(ra), math.cos(dec) * math.sin(ra), math.sin(dec)])
    depth = vectors @ out
    arcsec = math.degrees(1.0) * 3600
    return vectors @ east / depth * arcsec, vectors @ north / depth * arcsec
