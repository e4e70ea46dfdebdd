"""Which candidates stand in lists of known objects: marked, never removed.

Lists are tables as SIMBAD, VizieR or a colleague give them: a name, a position, and perhaps a
type. They are evidence for the reader alone; no score sees them.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from archipelago.base.errors import DataError, InputError, nearest
from archipelago.base.tables import read_any_table, require_columns

_LOG = logging.getLogger(__name__)

#: What the columns mean.
ABOUT = {
    "listed_name": "name of the nearest object of the lists of known objects (known_objects)",
    "listed_type": "type of that object, as its list gives it",
    "listed_in": "files that list an object there, the nearest first, with semicolons between",
    "listed_distance_arcsec": "distance to that object",
}
#: Names of columns that are taken, in this order; case does not count.
ALIASES: dict[str, tuple[str, ...]] = {
    "name": ("main_id", "name", "object", "designation", "id"),
    "ra": ("ra", "ra_deg", "_raj2000", "raj2000", "ra_icrs", "ra_j2000", "ra_d", "s_ra"),
    "dec": ("dec", "dec_deg", "_dej2000", "dej2000", "de_icrs", "dec_icrs", "dec_j2000",
            "dej2000", "de", "dec_d", "s_dec"),
    "type": ("otype", "main_type", "otype_txt", "type", "class"),
}  # fmt: skip
#: Units of numbers, as files may give them, in degrees; without a unit numbers are degrees.
_DEGREES_PER: dict[str, float] = {
    "": 1.0,
    "deg": 1.0,
    "degree": 1.0,
    "degrees": 1.0,
    "rad": 180.0 / math.pi,
    "radian": 180.0 / math.pi,
    "hourangle": 15.0,
    "h": 15.0,
}
_SEXAGESIMAL = re.compile(
    r"\s*([-+]?)\s*(\d{1,3})(?:\s*[:hd°]\s*|\s+)(\d{1,2}(?:\.\d*)?)"
    r"(?:(?:\s*[:m'′]\s*|\s+)(\d{1,2}(?:\.\d*)?)?)?\s*[s\"″]?\s*"
)
#: Rows named in an error, at most.
_SHOWN = 3


def read_listed(path: str | Path) -> pd.DataFrame:
    """Read a list of known objects: CSV, VOTable, ECSV, FITS or Parquet, by its suffix.

    Parameters
    ----------
    path : the file. Columns (case does not count; see `ALIASES`): ``main_id`` or ``name``; ``ra``
        and ``dec``, ICRS: numbers in degrees (or in the unit that the file gives), or sexagesimal
        text, right ascension in hours; and perhaps ``otype``.

    Returns
    -------
    DataFrame
        name, type (text, '' where there is none), ra_deg, dec_deg. Rows without any position are
        left out, with a warning.

    Raises
    ------
    InputError
        If the file cannot be read, lacks a column, or a position is none; names the rows.
    """
    table = read_any_table(path)
    columns = {what: _find_column(table, what, path) for what in ALIASES}
    ra_column, dec_column = str(columns["ra"]), str(columns["dec"])
    units: Mapping[str, str] = table.attrs.get("units", {})
    ra_deg, dec_deg = (
        _degrees(table[name], units.get(name, ""), hours, name, path)
        for name, hours in ((ra_column, True), (dec_column, False))
    )
    found = pd.DataFrame(
        {
            "name": _texts(table, columns["name"]),
            "type": _texts(table, columns["type"]),
            "ra_deg": ra_deg,
            "dec_deg": dec_deg,
        }
    )
    _check_range(found["ra_deg"], 0.0, 360.0, ra_column, path)
    _check_range(found["dec_deg"], -90.0, 90.0, dec_column, path)
    missing = found[["ra_deg", "dec_deg"]].isna().any(axis=1)
    if missing.any():
        _LOG.warning(
            "%s: %d of %d objects have no position and mark nothing",
            path,
            int(missing.sum()),
            len(found),
        )
    return found[~missing].reset_index(drop=True)


def mark_listed(
    table: pd.DataFrame, lists: Mapping[str, pd.DataFrame], radius_arcsec: float
) -> pd.DataFrame:
    """Return a table of objects with the columns of `ABOUT`, rows and order as they were.

    Each object gets the nearest listed one, of all lists; at equal distance that of the list
    that comes first. Two objects close together may get the same.

    Parameters
    ----------
    table : columns ra_deg, dec_deg (ICRS). Objects without a position match nothing.
    lists : by the name of the list, tables of `read_listed`.
    radius_arcsec : largest distance.

    Raises
    ------
    InputError
        If a column is absent.
    DataError
        If the table has such columns already.
    ValueError
        If the radius is negative or not finite.
    """
    require_columns(table, ("ra_deg", "dec_deg"), "the candidates")
    if not (np.isfinite(radius_arcsec) and radius_arcsec >= 0):
        raise ValueError(f"radius_arcsec is {radius_arcsec}, not a number of 0 or more")
    there = [name for name in ABOUT if name in table.columns]
    if there:
        raise DataError(
            f"the candidates have columns {', '.join(there)} already", where="known objects"
        )
    n = len(table)
    best = np.full(n, np.inf)
    name, kind = np.full(n, "", dtype=object), np.full(n, "", dtype=object)
    where: list[list[tuple[float, str]]] = [[] for _ in range(n)]
    for label, listed in lists.items():
        distance, place = _nearest(table, listed, radius_arcsec)
        for row in np.flatnonzero(np.isfinite(distance)).tolist():
            where[row].append((float(distance[row]), label))
        closer = distance < best
        best[closer] = distance[closer]
        for target, column in ((name, "name"), (kind, "type")):
            target[closer] = listed[column].to_numpy(dtype=object)[place[closer]]
    marks = pd.DataFrame(
        {
            "listed_name": pd.Series(name, dtype="str"),
            "listed_type": pd.Series(kind, dtype="str"),
            "listed_in": pd.Series(
                ["; ".join(label for _, label in sorted(one, key=lambda x: x[0])) for one in where],
                dtype="str",
            ),
            "listed_distance_arcsec": np.where(np.isfinite(best), best, np.nan),
        }
    )
    marks.index = table.index
    return _insert(table, marks, after=("known_redshift", "known_name"))


def read_lists(paths: Iterable[str | Path]) -> dict[str, pd.DataFrame]:
    """Read lists of known objects, by the names of their files.

    Where two files have the same name, that of the folder comes before it.
    """
    given = [Path(path) for path in paths]
    names = [path.name for path in given]
    return {
        path.name if names.count(path.name) == 1 else f"{path.parent.name}/{path.name}": (
            read_listed(path)
        )
        for path in given
    }


def parse_sexagesimal(text: str) -> float:
    """Return a sexagesimal angle, such as ``-00 12 34.5`` or ``1:23.5``, in its first unit.

    Raises
    ------
    ValueError
        If it is none, or its minutes or seconds are 60 or more.
    """
    match = _SEXAGESIMAL.fullmatch(text.replace("\u2212", "-"))  # a minus as typeset
    if match is None:
        raise ValueError(f"{text!r} is no sexagesimal angle")
    sign, whole, minutes, seconds = match.groups()
    parts = float(minutes), float(seconds or 0.0)
    if max(parts) >= 60:
        raise ValueError(f"{text!r} has minutes or seconds of 60 or more")
    # The sign is the text's: -00 12 is south of the equator.
    return (-1.0 if sign == "-" else 1.0) * (float(whole) + parts[0] / 60 + parts[1] / 3600)


def _find_column(table: pd.DataFrame, what: str, path: str | Path) -> str | None:
    lower: dict[str, str] = {}
    for column in table.columns:
        lower.setdefault(str(column).strip().lower(), str(column))
    for alias in ALIASES[what]:
        if alias in lower:
            return lower[alias]
    if what == "type":
        return None
    raise InputError(
        f"the list has no column for the {what}{nearest(what, lower.values())}; "
        f"it has {', '.join(map(str, table.columns)) or 'none'}",
        where=str(path),
        next_step=f"name it {' or '.join(ALIASES[what][:2])}",
    )


def _texts(table: pd.DataFrame, column: str | None) -> pd.Series:
    if column is None:
        return pd.Series([""] * len(table), dtype="str")
    values = table[column]
    given = values.where(values.notna(), "").tolist()
    # Spaces and line breaks within a name count as one space.
    return pd.Series([" ".join(str(one).split()) for one in given], dtype="str")


def _degrees(
    column: pd.Series, unit: str, hours: bool, name: str, path: str | Path
) -> NDArray[np.float64]:
    """A column of angles in degrees, NaN where there is none."""
    values = [None if missing else one for one, missing in zip(column, column.isna(), strict=True)]
    numbers = pd.api.types.is_numeric_dtype(column.dtype)
    factor = _DEGREES_PER.get(unit.strip().strip("\"'").lower())
    if numbers and factor is None:
        raise InputError(
            f"the column {name} holds numbers in {unit!r}, which is no unit of angles known here",
            where=str(path),
            next_step="give degrees, or sexagesimal text",
        )
    found = np.full(len(values), np.nan)
    bad: list[str] = []
    for row, value in enumerate(values):
        if value is None or not str(value).strip():
            continue
        try:
            found[row] = _angle(value, 15.0 if hours else 1.0, factor if numbers else None)
        except ValueError:
            bad.append(f"row {row + 1}: {str(value)[:40]!r}")
    if bad:
        raise _bad_rows(bad, f"the column {name} holds what is no angle", path)
    return found


def _angle(value: object, per_sexagesimal: float, factor: float | None) -> float:
    try:
        number = float(str(value))
    except ValueError:
        return parse_sexagesimal(str(value)) * per_sexagesimal
    return number * (1.0 if factor is None else factor)


def _check_range(
    angle_deg: pd.Series, low: float, high: float, name: str, path: str | Path
) -> None:
    outside = angle_deg.notna() & ~angle_deg.between(low, high)
    if outside.any():
        bad = [f"row {row + 1}: {angle_deg[row]:g}" for row in np.flatnonzero(outside)]
        raise _bad_rows(bad, f"the column {name} goes beyond {low:g} and {high:g} deg", path)


def _bad_rows(bad: Sequence[str], problem: str, path: str | Path) -> InputError:
    more = f" and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""
    return InputError(
        f"{problem} ({'; '.join(bad[:_SHOWN])}{more})",
        where=str(path),
        next_step="correct these rows; degrees are numbers, sexagesimal right ascension is hours, "
        "minutes, seconds",
    )


def _nearest(
    table: pd.DataFrame, listed: pd.DataFrame, radius_arcsec: float
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Distance [arcsec] and row of the nearest listed object; inf where none is near enough."""
    distance = np.full(len(table), np.inf)
    place = np.zeros(len(table), dtype=np.int64)
    position = table[["ra_deg", "dec_deg"]].to_numpy(dtype=float, na_value=np.nan)
    right = np.isfinite(position).all(axis=1)
    if not right.any() or listed.empty:
        return distance, place
    tree = cKDTree(_unit_vectors(listed[["ra_deg", "dec_deg"]].to_numpy(dtype=float)))
    # Half a per mille beyond, so that rounding takes none away that the test below would keep.
    reach = 2 * math.sin(math.radians(min(radius_arcsec * 1.0005 / 3600, 180.0)) / 2) + 1e-12
    chord, row = tree.query(_unit_vectors(position[right]), distance_upper_bound=reach)
    near = np.isfinite(chord)
    arcsec = np.full(len(chord), np.inf)
    arcsec[near] = np.degrees(2 * np.arcsin(np.minimum(chord[near] / 2, 1.0))) * 3600
    arcsec[arcsec > radius_arcsec] = np.inf
    distance[right] = arcsec
    place[right] = np.where(near, row, 0)
    return distance, place


def _unit_vectors(position_deg: NDArray[np.float64]) -> NDArray[np.float64]:
    ra, dec = np.radians(position_deg).T
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=-1)


def _insert(table: pd.DataFrame, new: pd.DataFrame, after: Sequence[str]) -> pd.DataFrame:
    """Return ``table`` with the columns ``new`` behind the first of ``after`` that it has."""
    names = [str(name) for name in table.columns]
    place = next((names.index(name) + 1 for name in after if name in names), len(names))
    whole = pd.concat([table, new], axis=1)
    return whole[[*names[:place], *new.columns, *names[place:]]]
