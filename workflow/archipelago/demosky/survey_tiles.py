"""The tiles that the embedded survey's images come in, laid out as DES coadd tiles.

A coadd tile of DES is a gnomonic (TAN) image of 10,000 x 10,000 px of 0.263 arcsec,
0.7306 deg on a side [Morganson et al. 2018, PASP 130, 074501; Abbott et al. 2021, ApJS 255, 20,
whose abstract has 0.534 deg^2], and its neighbours overlap, here by 1 arcmin (assumed). A position
in an overlap has two or more images of each band; a cutout at an edge is cut short.

Pixels are counted from 0 here, x to the west and y to the north; the centre of the first
pixel is at 0.0. FITS headers count from 1.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

#: Angular size of a pixel (arcsec).
PIXEL_SCALE_ARCSEC = 0.263
#: Pixels along one side of a whole tile.
TILE_SIZE_PX = 10_000
#: Distance of neighbouring tiles' centres (deg): the side less 1 arcmin of overlap (assumed).
SPACING_DEG = TILE_SIZE_PX * PIXEL_SCALE_ARCSEC / 3600.0 - 1.0 / 60.0
#: Declination of the centres of row 0 (deg), which gives rows such as DES's -4249 and -0541.
ROW_ZERO_DEC_DEG = 0.0236

_CENTRE_PX = (TILE_SIZE_PX - 1) / 2.0
_ARCSEC_PER_RADIAN = 180.0 / math.pi * 3600.0


@dataclass(frozen=True)
class SurveyTile:
    """One survey tile.

    Attributes
    ----------
    row, column : place in the grid; column counts eastward from RA 0.
    ra_deg, dec_deg : centre of projection (ICRS).
    x_range, y_range : first pixel, and one past the last, that the tile's images hold. A tile
        at the end of the survey may hold less than the full square.
    """

    row: int
    column: int
    ra_deg: float
    dec_deg: float
    x_range: tuple[int, int] = (0, TILE_SIZE_PX)
    y_range: tuple[int, int] = (0, TILE_SIZE_PX)

    @property
    def name(self) -> str:
        """Name after the centre, as ``DES2138-4249`` (RA hhmm, Dec ddmm)."""
        ra_minutes = round(self.ra_deg * 4.0) % 1440
        dec_minutes = round(abs(self.dec_deg) * 60.0)
        sign = "-" if self.dec_deg < 0 else "+"
        return (
            f"DES{ra_minutes // 60:02d}{ra_minutes % 60:02d}"
            f"{sign}{dec_minutes // 60:02d}{dec_minutes % 60:02d}"
        )

    @property
    def run(self) -> str:
        """Processing run in file names, as ``r4575p01``; one per tile."""
        number = int.from_bytes(hashlib.blake2b(self.name.encode(), digest_size=4).digest())
        return f"r{4500 + number % 500}p01"

    def pixel_of(
        self, ra_deg: ArrayLike, dec_deg: ArrayLike
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return x and y (px from 0) of positions (deg); NaN 90 deg and more from the centre.

        Gnomonic projection [Calabretta & Greisen 2002, A&A 395, 1077].
        """
        ra = np.radians(np.asarray(ra_deg, dtype=np.float64) - self.ra_deg)
        dec = np.radians(np.asarray(dec_deg, dtype=np.float64))
        sin0, cos0 = math.sin(math.radians(self.dec_deg)), math.cos(math.radians(self.dec_deg))
        sin_dec, cos_dec = np.sin(dec), np.cos(dec)
        cos_ra = np.cos(ra)
        depth = sin0 * sin_dec + cos0 * cos_dec * cos_ra
        depth = np.where(depth > 1e-6, depth, np.nan)
        east = cos_dec * np.sin(ra) / depth
        north = (cos0 * sin_dec - sin0 * cos_dec * cos_ra) / depth
        per_px = _ARCSEC_PER_RADIAN / PIXEL_SCALE_ARCSEC
        return _CENTRE_PX - east * per_px, _CENTRE_PX + north * per_px

    def sky_of(
        self, x_px: ArrayLike, y_px: ArrayLike
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return RA (0 to 360) and Dec (deg) of pixel positions; undoes `pixel_of`."""
        per_px = PIXEL_SCALE_ARCSEC / _ARCSEC_PER_RADIAN
        east = (_CENTRE_PX - np.asarray(x_px, dtype=np.float64)) * per_px
        north = (np.asarray(y_px, dtype=np.float64) - _CENTRE_PX) * per_px
        sin0, cos0 = math.sin(math.radians(self.dec_deg)), math.cos(math.radians(self.dec_deg))
        ra = np.degrees(np.arctan2(east, cos0 - north * sin0)) + self.ra_deg
        dec = np.degrees(np.arctan((sin0 + north * cos0) / np.hypot(east, cos0 - north * sin0)))
        return ra % 360.0, dec

    def holds(self, ra_deg: ArrayLike, dec_deg: ArrayLike) -> NDArray[np.bool_]:
        """Say for each position whether a pixel of this tile lies there."""
        x, y = self.pixel_of(ra_deg, dec_deg)
        return np.asarray(
            (x >= self.x_range[0] - 0.5)
            & (x < self.x_range[1] - 0.5)
            & (y >= self.y_range[0] - 0.5)
            & (y < self.y_range[1] - 0.5)
        )

    def bounding_box(self) -> tuple[float, float, float, float]:
        """Return the box around the tile: RA of its west and east ends, Dec of its south and north.

        In degrees; the RA ends are not wrapped, so the west end may be negative.
        """
        x = np.array([self.x_range[0], sum(self.x_range) / 2, self.x_range[1]]) - 0.5
        y = np.array([self.y_range[0], sum(self.y_range) / 2, self.y_range[1]]) - 0.5
        ra, dec = self.sky_of(*np.meshgrid(x, y))
        offset = (ra - self.ra_deg + 180.0) % 360.0 - 180.0
        return (
            self.ra_deg + float(offset.min()),
            self.ra_deg + float(offset.max()),
            float(dec.min()),
            float(dec.max()),
        )


def tiles_in_row(row: int) -> int:
    """Return how many tiles close the circle of a row."""
    dec = math.radians(ROW_ZERO_DEC_DEG + row * SPACING_DEG)
    return max(1, math.ceil(360.0 * math.cos(dec) / SPACING_DEG))


def tile_at(row: int, column: int) -> SurveyTile:
    """Return the tile of the grid at ``row`` and ``column`` (wrapped at RA 0)."""
    count = tiles_in_row(row)
    column %= count
    return SurveyTile(
        row=row,
        column=column,
        ra_deg=(column + 0.5) * 360.0 / count,
        dec_deg=ROW_ZERO_DEC_DEG + row * SPACING_DEG,
    )


def home_tile(ra_deg: float, dec_deg: float) -> SurveyTile:
    """Return the whole tile that a position (deg) belongs to: its own row and column."""
    row = round((dec_deg - ROW_ZERO_DEC_DEG) / SPACING_DEG)
    return tile_at(row, math.floor(ra_deg % 360.0 / (360.0 / tiles_in_row(row))))


class SurveyTiles:
    """All tiles of a survey.

    Parameters
    ----------
    tiles : the tiles; sorted here by row and column.
    """

    def __init__(self, tiles: Iterable[SurveyTile]) -> None:
        self.tiles: tuple[SurveyTile, ...] = tuple(
            sorted(tiles, key=lambda tile: (tile.row, tile.column))
        )
        self.by_name: dict[str, SurveyTile] = {tile.name: tile for tile in self.tiles}
        boxes = np.array([tile.bounding_box() for tile in self.tiles]).reshape(-1, 4)
        self._ra_min, self._ra_max, self._dec_min, self._dec_max = boxes.T

    @classmethod
    def of_positions(
        cls,
        ra_deg: ArrayLike,
        dec_deg: ArrayLike,
        *,
        wanted: ArrayLike | None = None,
        short_edges: int = 6,
    ) -> SurveyTiles:
        """Return the tiles that the objects of a survey lie in.

        Where the survey ends, some tiles are made to end within a cutout's width of an
        object, as real ones do: only a short cutout exists there, and of the few objects
        beyond none at all.

        Parameters
        ----------
        ra_deg, dec_deg : positions of the objects (deg).
        wanted : those whose images will be asked for (bool); all if not given. Tiles are cut
            short at these.
        short_edges : at most so many tiles are cut short, none that holds fewer than eight
            wanted objects.
        """
        ra, dec = (
            np.atleast_1d(np.asarray(ra_deg, float)),
            np.atleast_1d(np.asarray(dec_deg, float)),
        )
        homes = {
            (tile.row, tile.column): tile
            for tile in (home_tile(a, d) for a, d in zip(ra, dec, strict=True))
        }
        chosen = np.ones(ra.size, bool) if wanted is None else np.asarray(wanted, bool)
        tiles = dict(homes)
        left = short_edges
        for place in sorted(homes):
            row, column = place
            if left == 0:
                break
            count = tiles_in_row(row)
            if (row, (column + 1) % count) in homes:
                continue
            shorter = _cut_east_end(homes[place], ra[chosen], dec[chosen])
            if shorter is not None:
                tiles[place] = shorter
                left -= 1
        return cls(tiles.values())

    def with_box_around(self, ra_deg: float, dec_deg: float) -> list[SurveyTile]:
        """Return the tiles whose bounding box in RA and Dec holds a position (deg).

        The box is larger than the tile, as lines of constant RA converge: some of
        these tiles have no pixel there.
        """
        if not self.tiles:
            return []
        ra = self._ra_min + (ra_deg - self._ra_min) % 360.0
        inside = (ra <= self._ra_max) & (dec_deg >= self._dec_min) & (dec_deg <= self._dec_max)
        return [self.tiles[k] for k in np.flatnonzero(inside)]

    def holding(self, ra_deg: float, dec_deg: float) -> list[SurveyTile]:
        """Return the tiles that have a pixel at a position (deg)."""
        near = self.with_box_around(ra_deg, dec_deg)
        return [tile for tile in near if bool(tile.holds(ra_deg, dec_deg))]


def _cut_east_end(
    tile: SurveyTile, ra_deg: NDArray[np.float64], dec_deg: NDArray[np.float64]
) -> SurveyTile | None:
    """End a tile 5 px east of its second easternmost object, if it holds eight or more."""
    near = np.abs(dec_deg - tile.dec_deg) < 1.0
    x, y = tile.pixel_of(ra_deg[near], dec_deg[near])
    inside = (x >= 0) & (x < TILE_SIZE_PX) & (y >= 0) & (y < TILE_SIZE_PX)
    if np.count_nonzero(inside) < 8:
        return None
    second = np.sort(x[inside])[1]
    return replace(tile, x_range=(max(0, math.floor(second) - 5), TILE_SIZE_PX))
