"""Finding the object asked for, or saying what became of it."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from archipelago.base.errors import DataError, InputError
from archipelago.base.files import reading
from archipelago.base.targets import Target
from archipelago.similar.index import Index

#: Identifiers named where one is unknown.
_NAMED = 3


def find_object(
    target: Target, index: Index, losses: Sequence[str | Path], match_radius_arcsec: float
) -> int:
    """Return the place in the index of the object asked for.

    Parameters
    ----------
    target : by identifier, or by position.
    index : of the search.
    losses : tables of lost objects, read only where the object is not there.
    match_radius_arcsec : largest distance of an object from a position asked for.

    Raises
    ------
    InputError
        If it is not there; says why it was lost, or names what is nearest.
    DataError
        If its image has no content.
    """
    if target.id is not None:
        place = _by_id(target.id, index, losses)
    else:
        place = _by_position(target, index, losses, match_radius_arcsec)
    if not index.content[place]:
        raise DataError(
            "its image has no content (constant, or without a finite pixel, in every band), so "
            "nothing is like it",
            where=f"object {index.ids[place]}",
            next_step="ask for another object",
        )
    return place


def separation_arcsec(
    ra_deg: float, dec_deg: float, of_ra_deg: NDArray[np.float64], of_dec_deg: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the distances of one position from others [arcsec], by the haversine formula."""
    latitude, others = math.radians(dec_deg), np.radians(of_dec_deg)
    half_ra = np.radians(np.asarray(of_ra_deg) - ra_deg) / 2
    half_dec = (others - latitude) / 2
    part = np.sin(half_dec) ** 2 + math.cos(latitude) * np.cos(others) * np.sin(half_ra) ** 2
    return np.degrees(2 * np.arcsin(np.sqrt(np.minimum(part, 1.0)))) * 3600.0


def _by_id(number: int, index: Index, losses: Sequence[str | Path]) -> int:
    place = int(np.searchsorted(index.ids, number))
    if place < len(index.ids) and index.ids[place] == number:
        return place
    for row in _lost(losses):
        if row["id"] == str(number):
            raise InputError(
                f"the object was lost: {_fate(row)}",
                where=f"object {number}",
                next_step="ask for one that has images, or loosen what lost it",
            )
    first = max(0, place - _NAMED)
    around = [int(one) for one in index.ids[first : place + _NAMED]]
    around.sort(key=lambda one: (abs(one - number), one))
    known = ", ".join(map(str, around[:_NAMED])) or "none: no object has images"
    raise InputError(
        f"the search has no such object; the nearest identifiers are {known}",
        where=f"object {number}",
        next_step="check the identifier, or ask by position",
    )


def _by_position(
    target: Target, index: Index, losses: Sequence[str | Path], radius_arcsec: float
) -> int:
    where = f"position {target.ra_deg:.6f}, {target.dec_deg:+.6f}"
    distances = separation_arcsec(target.ra_deg, target.dec_deg, index.ra_deg, index.dec_deg)
    # Ties go to the smaller identifier: the first, as they ascend. NaN is no position.
    distances = np.where(np.isfinite(distances), distances, np.inf)
    place = int(np.argmin(distances)) if len(distances) else -1
    if place >= 0 and distances[place] <= radius_arcsec:
        return place
    for row in _lost(losses):
        try:
            ra_deg, dec_deg = np.array([float(row["ra_deg"])]), np.array([float(row["dec_deg"])])
        except ValueError:  # lost because it has no position
            continue
        if separation_arcsec(target.ra_deg, target.dec_deg, ra_deg, dec_deg)[0] <= radius_arcsec:
            raise InputError(
                f"the object there, {row['id']}, was lost: {_fate(row)}",
                where=where,
                next_step="ask for one that has images, or loosen what lost it",
            )
    nearest = (
        f"the nearest, {index.ids[place]}, is {_distance(float(distances[place]))} away"
        if place >= 0 and np.isfinite(distances[place])
        else "no object has images"
    )
    raise InputError(
        f"no object within {radius_arcsec:g} arcsec; {nearest}",
        where=where,
        next_step="check the position (ICRS, degrees), or raise similar.match_radius_arcsec",
    )


def _distance(arcsec: float) -> str:
    return f"{arcsec:.1f} arcsec" if arcsec < 3600 else f"{arcsec / 3600:.2f} deg"


def _lost(paths: Sequence[str | Path]) -> Iterator[dict[str, str]]:
    """Yield rows of tables of losses, one by one: there may be hundreds of millions."""
    for path in paths:
        with reading("the losses", path), Path(path).open(encoding="utf-8", newline="") as stream:
            yield from csv.DictReader(stream)


def _fate(row: dict[str, str]) -> str:
    detail = f" ({row['detail']})" if row.get("detail") else ""
    return f"stage {row['stage']}, {row['reason']}{detail}"
