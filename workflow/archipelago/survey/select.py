"""The survey's own catalogue: one query per tile, checked row by row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import numpy as np
import pandas as pd

from archipelago.base.errors import DataError
from archipelago.base.losses import check_conservation, join_losses, losses_frame

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
    """What `select_sources` needs of a TAP client."""

    def query(self, adql: str, *, max_rows: int) -> pd.DataFrame:
        """Return all rows of a query or raise `ServiceError`."""
        ...


def select_sources(
    tap: Tap,
    adql: str,
    *,
    columns: Mapping[str, str],
    bands: Mapping[str, Mapping[str, Any]],
    max_rows: int,
    tile: str,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Run the query of a tile and return its objects in the project's columns.

    Parameters
    ----------
    tap : asks the service.
    adql : the query.
    columns : the survey's name of each of id, ra_deg, dec_deg, and of any other
        number to be kept under the name of its key, such as ebv_sfd98.
    bands : per band the survey's columns of ``value`` and ``error``.
    max_rows : most rows accepted.
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
    ServiceError
        From the client.
    DataError
        If the answer lacks a column, or an identifier is no whole number of 64 bits.
    """
    answer = tap.query(adql, max_rows=max_rows)
    raw = _rename(answer, columns, bands)
    ids, has_id = _whole_numbers(raw["id"])
    table = pd.DataFrame({"id": ids})
    for name in raw.columns[1:]:
        table[name] = _numbers(raw[name], name)
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
    check_conservation(len(answer), len(table), len(losses), where=f"select, tile {tile}")
    return table, losses


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
