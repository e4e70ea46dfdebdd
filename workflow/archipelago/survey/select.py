"""The survey's own catalogue: one query per tile, checked row by row."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import pandas as pd

from archipelago.base.errors import DataError
from archipelago.base.losses import check_conservation, join_losses, losses_frame
from archipelago.survey.adql import TileQuery
from archipelago.survey.tap import TooManyRowsError
from archipelago.tiles import Tile

_LOG = logging.getLogger(__name__)

#: Name of this stage in tables of losses.
STAGE = "select"

#: What the columns of `sources` are, for the metadata of the file.
ABOUT = {
    "id": "identifier in the survey",
    "ra_deg": "right ascension, ICRS, in the survey",
    "dec_deg": "declination, ICRS, in the survey",
    "ebv_sfd98": "Galactic E(B-V), Schlegel et al. (1998), in the survey",
}

_ABOUT_BANDS = {
    "mag_ab_": "magnitude as the survey gives it, 99 where missing",
    "mag_err_": "error of the magnitude as the survey gives it, 99 where missing",
    "flux_ujy_": "flux as the survey gives it",
    "flux_err_ujy_": "error of the flux as the survey gives it",
    "value_": "magnitude or flux as the survey gives it",
    "error_": "its error as the survey gives it",
}

_INT64_MAX = np.iinfo(np.int64).max


def describe_sources(columns: Iterable[str]) -> dict[str, str]:
    """Return a sentence on each column of `sources`."""
    about = {name: text for name, text in ABOUT.items() if name in columns}
    for name in columns:
        for start, text in _ABOUT_BANDS.items():
            if name.startswith(start):
                about[name] = f"{text} ({name.removeprefix(start)})"
    return about


class Tap(Protocol):
    """What `query_tile` needs of a TAP client."""

    def query(self, adql: str, *, max_rows: int) -> pd.DataFrame:
        """Return all rows of a query, or raise `TooManyRowsError` or another `ServiceError`."""
        ...


def query_tile(
    tap: Tap, query: TileQuery, tile: Tile, *, columns: Mapping[str, str], max_rows: int
) -> list[pd.DataFrame]:
    """Ask for all rows of a tile; in smaller and smaller pieces where there are too many.

    Parameters
    ----------
    tap : asks the service.
    query : the query.
    tile : the tile.
    columns : the survey's name of ra_deg and dec_deg, to drop what a box holds of the tiles
        beside it: those ask for it themselves.
    max_rows : most rows accepted in one answer. What is returned does not depend on it.

    Returns
    -------
    One answer or more, which together have each row of the tile once.

    Raises
    ------
    TooManyRowsError
        If a piece that cannot be made smaller has too many rows.
    ServiceError
        From the client.
    """
    todo, answers = [tile], []
    while todo:
        piece = todo.pop()
        try:
            rows = [tap.query(adql, max_rows=max_rows) for adql in query.of(piece)]
        except TooManyRowsError:
            if piece.order >= query.finest_order:
                raise
            _LOG.info("%s has more than %d rows: asked for in four pieces", piece, max_rows)
            todo.extend(piece.children)
            continue
        answers += rows if query.by_index else [_inside(one, piece, columns) for one in rows]
    return answers


def _inside(answer: pd.DataFrame, piece: Tile, columns: Mapping[str, str]) -> pd.DataFrame:
    """Return the rows that lie in ``piece``, and those without a position, to be lost later."""
    names = [find_column(answer, columns[name]) for name in ("ra_deg", "dec_deg")]
    if None in names:
        return answer  # `select_sources` says what it lacks
    ra, dec = (_numbers(answer[name], str(name)) for name in names)
    known = np.isfinite(ra) & np.isfinite(dec) & (np.abs(dec) <= 90)
    inside = ~known
    inside[known] = piece.contains(ra[known], dec[known])
    return answer[inside].reset_index(drop=True)


def select_sources(
    answers: Sequence[pd.DataFrame],
    *,
    columns: Mapping[str, str],
    bands: Mapping[str, Mapping[str, Any]],
    tile: str,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the objects of a tile in the project's columns.

    Parameters
    ----------
    answers : what `query_tile` returned.
    columns : the survey's name of each of id, ra_deg, dec_deg, and of any other
        number to be kept under the name of its key, such as ebv_sfd98.
    bands : per band the survey's columns of ``value`` and ``error``.
    tile : name of the tile, for the losses.

    Returns
    -------
    sources :
        Sorted by id: id (int64), ra_deg in [0, 360), dec_deg, then mag_ab_B and
        mag_err_B per band, then further columns; raw values of the survey, NaN
        where it gives none. Valid without rows.
    losses :
        One row for each row without a usable identifier (id -1) or position,
        and for each repetition of an identifier; the first in order of
        position is kept.

    Raises
    ------
    DataError
        If an answer lacks a column, or an identifier is no whole number of 64 bits.
    """
    table = pd.concat([_read(answer, columns, bands) for answer in answers], ignore_index=True)
    count = len(table)
    has_id = table.pop("has_id").to_numpy(dtype=bool)
    lost = [losses_frame(table[~has_id], tile=tile, stage=STAGE, reason="no identifier")]
    table = table[has_id]
    ra, dec = table["ra_deg"], table["dec_deg"]
    finite = np.isfinite(ra) & np.isfinite(dec)
    in_range = ra.between(0, 360) & dec.between(-90, 90)
    for reason, bad in (
        ("position not finite", ~finite),
        ("position out of range", finite & ~in_range),
    ):
        lost.append(losses_frame(table[bad], tile=tile, stage=STAGE, reason=reason))
    table = table[finite & in_range]
    # A whole row, not its position alone, decides between repetitions: the
    # server's order must not.
    table = table.sort_values(list(table.columns), kind="stable")
    again = table["id"].duplicated()
    lost.append(losses_frame(table[again], tile=tile, stage=STAGE, reason="duplicate identifier"))
    table = table[~again].reset_index(drop=True)
    table["ra_deg"] = table["ra_deg"].where(table["ra_deg"] < 360.0, 0.0)
    losses = join_losses(lost)
    check_conservation(count, len(table), len(losses), where=f"select, tile {tile}")
    return table, losses


def _read(
    answer: pd.DataFrame, columns: Mapping[str, str], bands: Mapping[str, Mapping[str, Any]]
) -> pd.DataFrame:
    """Return an answer as numbers in the project's columns, and whether each has_id."""
    raw = _rename(answer, columns, bands)
    ids, has_id = _whole_numbers(raw["id"])
    numbers = {name: _numbers(raw[name], name) for name in raw.columns[1:]}
    return pd.DataFrame({"id": ids, **numbers, "has_id": has_id})


def _rename(
    answer: pd.DataFrame, columns: Mapping[str, str], bands: Mapping[str, Mapping[str, Any]]
) -> pd.DataFrame:
    wanted = {name: columns[name] for name in ("id", "ra_deg", "dec_deg")}
    for band, band_columns in bands.items():
        wanted[f"mag_ab_{band}"] = band_columns["value"]
        wanted[f"mag_err_{band}"] = band_columns["error"]
    wanted |= {name: column for name, column in columns.items() if name not in wanted}
    found = {name: find_column(answer, column) for name, column in wanted.items()}
    missing = [wanted[name] for name, column in found.items() if column is None]
    if missing:
        raise DataError(
            f"the answer to the query lacks the columns {', '.join(missing)}; "
            f"it has {', '.join(map(str, answer.columns))}",
            where="survey.columns and survey.bands",
            next_step="name them in the query of survey.query, or correct their names",
        )
    return pd.DataFrame({name: answer[column] for name, column in found.items()})


def find_column(table: pd.DataFrame, name: str) -> str | None:
    """Return the column of that name; capitals count only if two differ in nothing else."""
    if name in table.columns:
        return name
    near = [column for column in table.columns if str(column).lower() == name.lower()]
    return near[0] if len(near) == 1 else None


def _numbers(column: pd.Series, name: str) -> np.ndarray:
    try:
        numbers = pd.to_numeric(column.replace("", None) if column.dtype == "str" else column)
        return numbers.astype("Float64").to_numpy(dtype="float64", na_value=np.nan)
    except (ValueError, TypeError) as error:
        raise DataError(
            f"the column for {name} holds what is no number: {error}",
            where="survey.columns and survey.bands",
            next_step="correct the column's name",
        ) from error


def _whole_numbers(column: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Return identifiers as int64 (-1 where absent), and where there is one."""
    if column.dtype == "str":
        text = column.str.strip()
        has = text.ne("").to_numpy(dtype=bool)
        good = text[has].str.fullmatch(r"[+-]?\d{1,19}")
        if good.all():
            numbers = [int(value) for value in text[has]]
            if all(-_INT64_MAX - 1 <= number <= _INT64_MAX for number in numbers):
                ids = np.full(len(column), -1, dtype=np.int64)
                ids[has] = numbers
                return ids, has
        raise DataError(
            "an identifier is no whole number of 64 bits",
            where="survey.columns.id",
            next_step="choose a numeric column",
        )
    if column.dtype.kind == "f":
        has = np.isfinite(column.to_numpy(dtype="float64", na_value=np.nan))
        values = column[has].to_numpy(dtype="float64")
        # Beyond 2^53 a float no longer tells neighbouring whole numbers apart.
        if (values != np.floor(values)).any() or (np.abs(values) > 2.0**53).any():
            raise DataError(
                "identifiers come as fractions or lose digits",
                where="survey.columns.id",
                next_step="choose a column of whole numbers",
            )
    else:
        has = column.notna().to_numpy(dtype=bool)
        values = column[has].to_numpy(dtype="int64")
    ids = np.full(len(column), -1, dtype=np.int64)
    ids[has] = values.astype(np.int64)
    return ids, has
