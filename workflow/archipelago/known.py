"""Which objects of a catalogue are known quasars."""

from __future__ import annotations

import logging

import astropy.units as u
import numpy as np
import pandas as pd
from astropy.coordinates import SkyCoord, search_around_sky
from numpy.typing import NDArray

from archipelago.base.tables import require_columns

_LOG = logging.getLogger(__name__)


def match_known(objects: pd.DataFrame, known: pd.DataFrame, radius_arcsec: float) -> pd.DataFrame:
    """Match a catalogue with a table of known quasars by position.

    Unique in both directions: pairs are accepted in order of their separation, as
    long as neither partner is taken.

    Parameters
    ----------
    objects : columns id, ra_deg, dec_deg (ICRS).
    known : columns name, ra_deg, dec_deg (ICRS), redshift. Redshifts may be missing.
    radius_arcsec : largest separation.

    Returns
    -------
    DataFrame
        id (int64), known_name, known_redshift, sorted by id; one row per pair.

    Raises
    ------
    InputError
        If a column is absent.
    ValueError
        If the radius is negative or not finite.
    """
    require_columns(objects, ("id", "ra_deg", "dec_deg"), "the catalogue")
    require_columns(known, ("name", "ra_deg", "dec_deg", "redshift"), "the known quasars")
    if not (np.isfinite(radius_arcsec) and radius_arcsec >= 0):
        raise ValueError(f"radius_arcsec is {radius_arcsec}, not a number of 0 or more")
    objects = _with_position(objects, "objects")
    known = _with_position(known, "known quasars")
    if objects.empty or known.empty:
        return _pairs(objects.iloc[:0], known.iloc[:0])
    index_object, index_known, separation, _ = search_around_sky(
        _coordinates(objects), _coordinates(known), radius_arcsec * u.arcsec
    )
    # Equal separations are settled by position in the tables, which are sorted.
    order = np.lexsort((index_known, index_object, separation.arcsec))
    taken_objects: set[int] = set()
    taken_known: set[int] = set()
    pairs = []
    for i, j in zip(index_object[order].tolist(), index_known[order].tolist(), strict=True):
        if i not in taken_objects and j not in taken_known:
            taken_objects.add(i)
            taken_known.add(j)
            pairs.append((i, j))
    rows = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return _pairs(objects.iloc[rows[:, 0]], known.iloc[rows[:, 1]])


def match_known_images(
    ids: NDArray[np.int64], catalogue: pd.DataFrame, known: pd.DataFrame, radius_arcsec: float
) -> pd.DataFrame:
    """Match those objects of a catalogue that have images with known quasars.

    Parameters
    ----------
    ids : (n,) of the objects with images.
    catalogue, known, radius_arcsec, and what is returned and raised : see `match_known`.
    """
    return match_known(catalogue[catalogue["id"].isin(ids)], known, radius_arcsec)


def _with_position(table: pd.DataFrame, label: str) -> pd.DataFrame:
    """Return the rows that have a position, sorted by identifier or name."""
    right = table["ra_deg"].astype(float).map(np.isfinite) & (
        table["dec_deg"].astype(float).abs() <= 90.0
    )
    if not right.all():
        _LOG.warning("%d %s have no valid position and match nothing", int((~right).sum()), label)
    return table[right].sort_values("id" if "id" in table else "name", kind="stable")


def _coordinates(table: pd.DataFrame) -> SkyCoord:
    return SkyCoord(
        table["ra_deg"].to_numpy(dtype=float) * u.deg,
        table["dec_deg"].to_numpy(dtype=float) * u.deg,
    )


def _pairs(objects: pd.DataFrame, known: pd.DataFrame) -> pd.DataFrame:
    table = pd.DataFrame(
        {
            "id": objects["id"].to_numpy(dtype="int64"),
            "known_name": known["name"].astype(str).to_numpy(dtype=object),
            "known_redshift": known["redshift"].to_numpy(dtype=float),
        }
    )
    table["known_name"] = table["known_name"].astype("str")
    return table.sort_values("id", ignore_index=True)
