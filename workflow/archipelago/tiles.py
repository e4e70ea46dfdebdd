"""HEALPix tiles of a footprint.

A tile is a HEALPix pixel in NESTED numbering [Gorski et al. 2005, ApJ 622, 759].
The tiles of a search are those that meet its footprint: they follow from the
configuration alone, so the workflow knows them before any job runs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.coordinates import Latitude, Longitude
from astropy.io import fits
from astropy_healpix import HEALPix
from mocpy import MOC
from numpy.typing import ArrayLike, NDArray

from archipelago.base.errors import InputError

#: Finest tiles that a search can be cut into: their names have one digit and five.
FINEST_TILES = 5

#: Finest order of all; decides which tile holds a position, so that tiles of any order agree.
FINEST_ORDER = 29

_NAME = re.compile(r"o(\d)-(\d{5})")

# Added to the boxes on all sides, so that rounding cuts nothing off [deg]: 4 milliarcsec.
_BOX_MARGIN_DEG = 1e-6


@dataclass(frozen=True)
class Box:
    """A box in right ascension and declination [deg], borders included."""

    ra_min: float
    ra_max: float
    dec_min: float
    dec_max: float


@dataclass(frozen=True, order=True)
class Tile:
    """One HEALPix pixel, NESTED: a tile of the search, or a piece of one.

    Parameters
    ----------
    order : HEALPix order, 0 to `FINEST_ORDER`; nside = 2^order.
    pixel : index within the order.
    """

    order: int
    pixel: int

    def __post_init__(self) -> None:
        if not 0 <= self.order <= FINEST_ORDER:
            raise ValueError(f"order {self.order} is not in 0 to {FINEST_ORDER}")
        if not 0 <= self.pixel < 12 * 4**self.order:
            raise ValueError(f"pixel {self.pixel} is not in order {self.order}")

    @property
    def name(self) -> str:
        """Name used in paths, such as ``o3-00412``."""
        return f"o{self.order}-{self.pixel:05d}"

    @classmethod
    def from_name(cls, name: str) -> Tile:
        """Return the tile of a search that `name` calls so; raises ValueError if none."""
        match = _NAME.fullmatch(name)
        if match is None or int(match[1]) > FINEST_TILES:
            raise ValueError(f"{name!r} is not the name of a tile")
        return cls(int(match[1]), int(match[2]))

    def index_range(self, order: int) -> tuple[int, int]:
        """First and last pixel of a finer ``order`` within the tile, both inclusive.

        Raises
        ------
        ValueError
            If ``order`` is coarser than the tile's.
        """
        if order < self.order:
            raise ValueError(f"order {order} is coarser than the tile {self.name}")
        within = 4 ** (order - self.order)
        return self.pixel * within, (self.pixel + 1) * within - 1

    @property
    def children(self) -> tuple[Tile, Tile, Tile, Tile]:
        """The four tiles of the next order that make up this one."""
        first = 4 * self.pixel
        return (
            Tile(self.order + 1, first),
            Tile(self.order + 1, first + 1),
            Tile(self.order + 1, first + 2),
            Tile(self.order + 1, first + 3),
        )

    def contains(self, ra_deg: ArrayLike, dec_deg: ArrayLike) -> NDArray[np.bool_]:
        """Return which positions [deg, ICRS] lie in the tile: each in one tile of an order.

        Parameters
        ----------
        ra_deg, dec_deg : shape (n,), finite; declination -90 to 90.
        """
        ra = np.atleast_1d(np.asarray(ra_deg, dtype=float))
        dec = np.atleast_1d(np.asarray(dec_deg, dtype=float))
        return _finest(ra, dec) >> 2 * (FINEST_ORDER - self.order) == self.pixel

    @property
    def boxes(self) -> list[Box]:
        """Boxes that together hold the tile: one, or two where it lies on both sides of RA 0.

        A pixel's extremes in right ascension and declination are its corners
        [Gorski et al. 2005, section 5.3]; a corner at a pole has no right ascension.
        """
        grid = HEALPix(nside=2**self.order, order="nested")
        lon, lat = grid.boundaries_lonlat(self.pixel, step=1)
        ra, dec = lon.to_value(u.deg)[0], lat.to_value(u.deg)[0]
        centre = float(grid.healpix_to_lonlat(self.pixel)[0].to_value(u.deg))
        off_pole = np.abs(dec) < 90 - 1e-9
        from_centre = np.mod(ra[off_pole] - centre + 180, 360) - 180
        width = _BOX_MARGIN_DEG / max(float(np.cos(np.radians(np.abs(dec).max()))), 1e-3)
        ra_min = centre + float(from_centre.min()) - width
        ra_max = centre + float(from_centre.max()) + width
        dec_min = max(float(dec.min()) - _BOX_MARGIN_DEG, -90.0)
        dec_max = min(float(dec.max()) + _BOX_MARGIN_DEG, 90.0)
        if ra_min < 0:
            sides = [(ra_min + 360, 360.0), (0.0, ra_max)]
        elif ra_max > 360:
            sides = [(ra_min, 360.0), (0.0, ra_max - 360)]
        else:
            sides = [(ra_min, ra_max)]
        return [Box(first, last, dec_min, dec_max) for first, last in sides]


def _finest(ra_deg: NDArray[np.float64], dec_deg: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the pixel of `FINEST_ORDER` that holds each position [deg]."""
    grid = HEALPix(nside=2**FINEST_ORDER, order="nested")
    pixels = grid.lonlat_to_healpix(np.mod(ra_deg, 360.0) * u.deg, dec_deg * u.deg)
    return np.atleast_1d(np.asarray(pixels, dtype=np.int64))


def tile_of(ra_deg: ArrayLike, dec_deg: ArrayLike, order: int) -> NDArray[np.str_]:
    """Return the name of the tile that holds each position.

    Parameters
    ----------
    ra_deg, dec_deg : ICRS [deg], shape (n,); any right ascension, declination -90 to 90.
    order : HEALPix order, 0 to `FINEST_TILES`.

    Returns
    -------
    names : shape (n,); '' where a position is not finite.
    """
    ra = np.atleast_1d(np.asarray(ra_deg, dtype=float))
    dec = np.atleast_1d(np.asarray(dec_deg, dtype=float))
    names = np.full(ra.shape, "", dtype="U8")
    good = np.isfinite(ra) & np.isfinite(dec) & (np.abs(dec) <= 90)
    if good.any():
        pixels = _finest(ra[good], dec[good]) >> 2 * (FINEST_ORDER - order)
        unique, inverse = np.unique(pixels, return_inverse=True)
        names[good] = np.array([Tile(order, int(p)).name for p in unique])[inverse]
    return names


def footprint_tiles(path: str | Path, order: int) -> list[Tile]:
    """Return the tiles of ``order`` that meet a footprint, sorted.

    Parameters
    ----------
    path : a MOC in FITS (IVOA MOC 2.0), or JSON with ``polygons_deg``: a list of polygons,
        each a list of [ra, dec] vertices in degrees joined by great circles; or
        ``{"all_sky": true}``.
    order : HEALPix order of the tiles.

    Raises
    ------
    InputError
        If the file is absent or is neither of the two.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(
            "the footprint does not exist",
            where=str(path),
            next_step="give survey.footprint a MOC (FITS) or a JSON file of polygons",
        )
    if path.suffix == ".json":
        return _tiles_of_json(path, order)
    try:
        fits.getheader(path)  # a readable error where it is no FITS file at all
        moc = MOC.from_fits(str(path))
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"cannot read the footprint as a MOC: {error}",
            where=str(path),
            next_step="give a MOC in FITS format, or polygons in a .json file",
        ) from error
    return _tiles_of_moc(moc, order)


def _tiles_of_json(path: Path, order: int) -> list[Tile]:
    wrong = InputError(
        "the footprint needs 'polygons_deg' (lists of three or more [ra, dec] in degrees) "
        "or 'all_sky': true",
        where=str(path),
        next_step="see data/footprints/des_dr2.json for an example",
    )
    try:
        footprint = json.loads(path.read_text(encoding="utf-8"))
        if footprint.get("all_sky") is True:
            return [Tile(order, pixel) for pixel in range(12 * 4**order)]
        polygons = [np.asarray(p, dtype=float) for p in footprint["polygons_deg"]]
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise wrong from error
    if not polygons or any(
        p.ndim != 2 or p.shape[1] != 2 or len(p) < 3 or not np.isfinite(p).all() for p in polygons
    ):
        raise wrong
    found: set[Tile] = set()
    for polygon in polygons:
        moc = MOC.from_polygon(
            Longitude(np.mod(polygon[:, 0], 360.0), u.deg),
            Latitude(polygon[:, 1], u.deg),
            max_depth=max(order, 7),
        )
        found.update(_tiles_of_moc(moc, order))
    return sorted(found)


def _tiles_of_moc(moc: MOC, order: int) -> list[Tile]:
    if moc.empty():
        return []
    coarse = moc.degrade_to_order(order) if moc.max_order > order else moc
    # A MOC at an order coarser than the tiles' is split into its children.
    cells: Iterable[int] = coarse.flatten()
    split = 4 ** (order - coarse.max_order)
    return sorted(
        Tile(order, int(cell) * split + child) for cell in cells for child in range(split)
    )
