"""Tables between stages: Parquet with units, and readers for users' files."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from zlib import error as DamagedStream

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from archipelago.base.errors import InputError
from archipelago.base.files import atomic_path, reading

#: Unit (IVOA VOUnits) of a column, from the part of its name that tells it.
#: Read in this order; the first match counts.
_UNITS: tuple[tuple[str, str], ...] = (
    ("flux_err_ujy_", "uJy"),
    ("flux_ujy_", "uJy"),
    ("mag_ab_", "mag"),
    ("mag_err_", "mag"),
    ("_arcsec", "arcsec"),
    ("_deg", "deg"),
    ("_mag", "mag"),
    ("_px", "pix"),
    ("ebv_", "mag"),
    ("av_", "mag"),
    ("m1450_", "mag"),
    ("mag_j_", "mag"),
    ("age_", "Gyr"),
)


def unit_of(column: str) -> str:
    """Return the VOUnits string that the name of ``column`` tells, or ''."""
    for part, unit in _UNITS:
        if column.startswith(part) if part.endswith("_") else part in column:
            return unit
    return ""


def write_table(
    table: pd.DataFrame,
    path: str | Path,
    about: Mapping[str, str] | None = None,
    marks: Mapping[str, str] | None = None,
) -> None:
    """Write ``table`` as Parquet, completely or not at all.

    Each column's field metadata holds its unit (from its name) and, where
    ``about`` has one, a sentence on what it is and where it comes from. ``marks`` are
    texts on the whole table, by name; see `read_mark`.
    """
    arrow = _with_units(table, about or {}, marks)
    with atomic_path(path) as temporary:
        pq.write_table(arrow, temporary)


def _with_units(
    table: pd.DataFrame, about: Mapping[str, str], marks: Mapping[str, str] | None = None
) -> pa.Table:
    unknown = sorted(set(about) - set(table.columns))
    if unknown:
        raise ValueError(f"descriptions of columns that are not in the table: {unknown}")
    arrow = pa.Table.from_pandas(table, preserve_index=False)
    fields = [
        field.with_metadata({"unit": unit_of(field.name), "description": about.get(field.name, "")})
        for field in arrow.schema
    ]
    given = {name.encode(): text.encode() for name, text in (marks or {}).items()}
    return arrow.cast(pa.schema(fields, metadata=(arrow.schema.metadata or {}) | given))


def write_table_parts(
    parts: Iterable[pd.DataFrame],
    path: str | Path,
    about: Mapping[str, str] | None = None,
    marks: Mapping[str, str] | None = None,
) -> None:
    """Write a table that comes in parts as Parquet, so that never all is in memory.

    Completely or not at all; equal parts give equal bytes.

    Parameters
    ----------
    parts : one after the other, at least one; all of the columns and types of the first.
    path : the file.
    about : as in `write_table`.
    marks : texts on the whole table, by name; see `read_mark`.
    """
    with atomic_path(path) as temporary:
        writer: pq.ParquetWriter | None = None
        try:
            for part in parts:
                arrow = _with_units(part, about or {}, marks)
                writer = writer or pq.ParquetWriter(temporary, arrow.schema)
                writer.write_table(arrow)
        finally:
            if writer is not None:
                writer.close()
        if writer is None:
            raise ValueError(f"no part of a table for {path}")


def read_mark(path: str | Path, name: str) -> str:
    """Return a text on a whole Parquet file from `write_table_parts`, '' where it has none.

    Raises
    ------
    InputError
        If the file cannot be read.
    """
    with reading("the table", path):
        metadata = pq.read_schema(path).metadata or {}
    return metadata.get(name.encode(), b"").decode("utf-8")


def write_csv(
    table: pd.DataFrame,
    path: str | Path,
    columns: Sequence[str] | None = None,
    float_format: str | None = None,
) -> None:
    """Write ``table`` as CSV, completely or not at all.

    Parameters
    ----------
    table : the rows; its index is left out.
    path : the file.
    columns : columns to write, in this order; None: all.
    float_format : such as ``"%.6g"``; None: all digits.
    """
    with atomic_path(path) as temporary:
        table.to_csv(
            temporary,
            index=False,
            columns=list(columns) if columns else None,
            float_format=float_format,
        )


def read_table(
    path: str | Path,
    required: Iterable[str] = (),
    columns: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Read a table written by `write_table`.

    Raises
    ------
    InputError
        If the file cannot be read or a column in ``required`` is absent.
    """
    with reading("the table", path):
        table = pd.read_parquet(path, columns=list(columns) if columns is not None else None)
    require_columns(table, required, path)
    return table


def read_about(path: str | Path) -> dict[str, str]:
    """Return the sentence on each column that a Parquet file's metadata hold."""
    with reading("the table", path):
        schema = pq.read_schema(path)
    texts = {field.name: (field.metadata or {}).get(b"description", b"") for field in schema}
    return {name: text.decode("utf-8") for name, text in texts.items() if text}


def require_columns(table: pd.DataFrame, required: Iterable[str], where: str | Path) -> None:
    """Raise `InputError` that lists every column of ``required`` that is absent."""
    missing = [name for name in required if name not in table.columns]
    if missing:
        raise InputError(
            f"the table lacks the columns {', '.join(missing)}; "
            f"it has {', '.join(map(str, table.columns))}",
            where=str(where),
            next_step="add them, or map their names in the configuration",
        )


def cell_number(value: Any, default: float = math.nan) -> float:
    """Return a table's cell as a number: ``default`` where it is missing, NaN or no number."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return default
    return default if math.isnan(number) else number


def read_any_table(path: str | Path) -> pd.DataFrame:
    """Read a user's table: CSV (also gzipped), FITS, VOTable, ECSV or Parquet, by its suffix.

    ``attrs["units"]`` of the result has the units, by column, that FITS, VOTable or ECSV give.

    Raises
    ------
    InputError
        If the file is absent, of an unknown kind, or unreadable.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError("the file does not exist", where=str(path), next_step="check the path")
    name = path.name.lower()
    try:
        if name.endswith((".csv", ".csv.gz")):
            return pd.read_csv(path)
        if name.endswith((".parquet", ".pq")):
            return pd.read_parquet(path)
        formats = {
            (".fits", ".fits.gz", ".fit"): "fits",
            (".vot", ".votable", ".xml", ".vot.gz"): "votable",
            (".ecsv",): "ascii.ecsv",
        }
        for suffixes, fmt in formats.items():
            if name.endswith(suffixes):
                return _read_with_astropy(path, fmt)
    except (EOFError, DamagedStream) as error:
        raise InputError(
            f"cannot read the table: it is truncated or damaged: {error}",
            where=str(path),
            next_step="copy it again from where it came",
        ) from error
    except (OSError, ValueError, KeyError, IndexError, TypeError, pa.ArrowInvalid) as error:
        raise InputError(
            f"cannot read the table: {type(error).__name__}: {error}",
            where=str(path),
            next_step="check that the file is complete and that its suffix tells its format",
        ) from error
    raise InputError(
        "unknown kind of table",
        where=str(path),
        next_step="give .csv, .csv.gz, .fits, .vot, .xml, .ecsv or .parquet",
    )


def _read_with_astropy(path: Path, fmt: str) -> pd.DataFrame:
    from astropy.table import Table

    table = Table.read(path, format=fmt)
    wide = [name for name in table.colnames if table[name].ndim > 1]
    if wide:
        table.remove_columns(wide)  # arrays in cells cannot be photometry
    table.convert_bytestring_to_unicode()  # FITS's text
    frame = table.to_pandas()
    units = {name: str(table[name].unit) for name in table.colnames if table[name].unit is not None}
    if units:
        frame.attrs["units"] = units
    return frame
