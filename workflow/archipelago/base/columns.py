"""Tables as plain columns, through pyarrow alone: for commands that must start fast."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from archipelago.base.errors import InputError
from archipelago.base.files import atomic_path, reading


def read_columns(path: str | Path, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Read columns of numbers of a Parquet file, by name.

    Raises
    ------
    InputError
        If the file cannot be read or lacks a column.
    """
    table = _read(path, names)
    return {name: table.column(name).to_numpy() for name in names}


def read_rows(
    path: str | Path, names: Sequence[str], ids: Sequence[int]
) -> dict[int, dict[str, Any]]:
    """Read columns of the rows of a Parquet file whose ``id`` is one of ``ids``.

    Returns
    -------
    dict
        By identifier, the values by column; None where one is missing. Identifiers that the
        file does not have are left out.

    Raises
    ------
    InputError
        If the file cannot be read or lacks a column.
    """
    table = _read(path, ["id", *names])
    rows = np.flatnonzero(np.isin(table.column("id").to_numpy(), np.asarray(ids, dtype=np.int64)))
    return {row.pop("id"): row for row in table.take(pa.array(rows)).to_pylist()}


def _read(path: str | Path, names: Sequence[str]) -> pa.Table:
    with reading("the table", path, pa.ArrowException):
        has = pq.read_schema(path).names
        missing = [name for name in names if name not in has]
        if not missing:
            # pq.read_table would import pandas.
            with pq.ParquetFile(path) as file:
                return file.read(columns=list(names))
    raise InputError(
        f"the table lacks the columns {', '.join(missing)}; it has {', '.join(has)}",
        where=str(path),
        next_step="make it again",
    )


def write_columns(
    columns: Mapping[str, pa.Array],
    path: str | Path,
    about: Mapping[str, str],
    units: Mapping[str, str],
) -> None:
    """Write columns as Parquet, completely or not at all.

    Parameters
    ----------
    columns : of equal length, by name, in this order.
    path : the file.
    about : a sentence on each column, for its metadata.
    units : unit (IVOA VOUnits) of the columns that have one.
    """
    fields = [
        pa.field(name, column.type).with_metadata(
            {"unit": units.get(name, ""), "description": about[name]}
        )
        for name, column in columns.items()
    ]
    table = pa.Table.from_arrays(list(columns.values()), schema=pa.schema(fields))
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary)


def write_columns_csv(columns: Mapping[str, pa.Array], path: str | Path) -> None:
    """Write columns as CSV with a line of names, completely or not at all; missing is empty."""
    rows = zip(*(column.to_pylist() for column in columns.values()), strict=True)
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
