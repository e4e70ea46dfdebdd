"""Objects that drop out, each with the stage and the reason."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from archipelago.base.errors import DataError
from archipelago.base.files import reading
from archipelago.base.tables import write_csv

#: Columns of every table of losses.
LOSS_COLUMNS = ("id", "ra_deg", "dec_deg", "tile", "stage", "reason", "detail")


def losses_frame(
    objects: pd.DataFrame, *, tile: str, stage: str, reason: str, detail: str | pd.Series = ""
) -> pd.DataFrame:
    """Return one loss row per row of ``objects`` (which has id, ra_deg, dec_deg)."""
    frame = objects[["id", "ra_deg", "dec_deg"]].copy()
    frame["tile"] = tile
    frame["stage"] = stage
    frame["reason"] = reason
    frame["detail"] = detail
    return frame[list(LOSS_COLUMNS)]


def no_losses() -> pd.DataFrame:
    """Return a table of losses without rows."""
    return pd.DataFrame(
        {
            name: pd.Series(dtype="int64" if name == "id" else "float64" if "_deg" in name else str)
            for name in LOSS_COLUMNS
        }
    )


def join_losses(parts: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Concatenate tables of losses; none at all gives the empty table."""
    full = [part for part in parts if len(part)]
    return pd.concat(full, ignore_index=True) if full else no_losses()


def write_losses(losses: pd.DataFrame, path: str | Path) -> None:
    """Write a table of losses as CSV, completely or not at all."""
    write_csv(losses, path, LOSS_COLUMNS)


def read_losses(path: str | Path) -> pd.DataFrame:
    """Read a table written by `write_losses`.

    Raises
    ------
    InputError
        If the file is unreadable or lacks a column.
    """
    with reading("the losses", path):
        table = pd.read_csv(
            path, keep_default_na=False, na_values={"ra_deg": [""], "dec_deg": [""]}
        )
        missing = [name for name in LOSS_COLUMNS if name not in table.columns]
        if missing:
            raise ValueError(f"the columns {', '.join(missing)} are absent")
        return table.astype({"id": "int64"}) if len(table) else no_losses()


def check_conservation(n_in: int, n_out: int, n_lost: int, *, where: str) -> None:
    """Raise `DataError` unless rows in = rows out + rows lost."""
    if n_in != n_out + n_lost:
        raise DataError(
            f"{n_in} rows in, but {n_out} out and {n_lost} lost: "
            f"{n_in - n_out - n_lost} unaccounted for",
            where=where,
            next_step="this is a fault of the program: please report it with the log",
        )
