"""VOTable documents as the embedded services write them, and tables that are uploaded to them."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape, quoteattr

import numpy as np
import pandas as pd

from archipelago.base.errors import InputError

#: Media type of a VOTable.
MEDIA_TYPE = "application/x-votable+xml"

_HEAD = (
    '<?xml version="1.0" encoding="utf-8"?>\n'
    '<VOTABLE version="1.3" xmlns="http://www.ivoa.net/xml/VOTable/v1.3">\n'
    '<RESOURCE type="results">\n'
)
_TAIL = "</RESOURCE>\n</VOTABLE>\n"


def datatype(values: pd.Series) -> tuple[str, str | None]:
    """Return the VOTable type of a column, and its arraysize where it has one."""
    if pd.api.types.is_bool_dtype(values.dtype):
        return "boolean", None
    if pd.api.types.is_integer_dtype(values.dtype):
        wide = values.dtype.name.lower() in ("int64", "uint32", "uint64")
        return ("long" if wide else "int"), None
    if values.dtype == np.float32:
        return "float", None
    if pd.api.types.is_float_dtype(values.dtype):
        return "double", None
    return "char", "*"


def _cells(values: pd.Series) -> list[str]:
    """Return the text of each cell: empty where missing, floats so that they read back the same."""
    if pd.api.types.is_bool_dtype(values.dtype):
        return ["T" if value else "F" for value in values]
    if pd.api.types.is_float_dtype(values.dtype):
        column = values.to_numpy()
        return ["" if value != value else str(value) for value in column]
    missing = values.isna().to_numpy()
    if pd.api.types.is_integer_dtype(values.dtype):
        return ["" if gone else str(value) for value, gone in zip(values, missing, strict=True)]
    return ["" if gone else escape(str(value)) for value, gone in zip(values, missing, strict=True)]


def write_votable(
    table: pd.DataFrame,
    *,
    overflow: bool = False,
    info: Mapping[str, str] | None = None,
    field_attributes: Mapping[str, Mapping[str, str]] | None = None,
) -> bytes:
    """Return a table as a VOTable with TABLEDATA.

    Parameters
    ----------
    table : the rows; NaN and None become empty cells.
    overflow : rows were left out: says QUERY_STATUS = OVERFLOW after the table, as DALI 1.1
        sec. 4.4.1 wants it.
    info : further INFO elements, name to value.
    field_attributes : attributes of columns besides name and type, such as the UCD.
    """
    parts = [_HEAD, '<INFO name="QUERY_STATUS" value="OK"/>\n']
    for name, value in (info or {}).items():
        parts.append(f"<INFO name={quoteattr(name)} value={quoteattr(value)}/>\n")
    parts.append("<TABLE>\n")
    for name in table.columns:
        attributes = "".join(
            f" {key}={quoteattr(value)}"
            for key, value in ((field_attributes or {}).get(name) or {}).items()
        )
        kind, size = datatype(table[name])
        kind = f'datatype="{kind}"' + (f' arraysize="{size}"' if size else "")
        parts.append(f"<FIELD name={quoteattr(str(name))} {kind}{attributes}/>\n")
    parts.append("<DATA>\n<TABLEDATA>\n")
    columns = [_cells(table.iloc[:, k]) for k in range(table.shape[1])]
    for row in zip(*columns, strict=True):
        parts.append("<TR><TD>" + "</TD><TD>".join(row) + "</TD></TR>\n")
    parts.append("</TABLEDATA>\n</DATA>\n</TABLE>\n")
    if overflow:
        parts.append('<INFO name="QUERY_STATUS" value="OVERFLOW"/>\n')
    parts.append(_TAIL)
    return "".join(parts).encode("utf-8")


def write_error(message: str) -> bytes:
    """Return a VOTable that holds nothing but an error (DALI 1.1, sec. 4.4)."""
    return (
        f'{_HEAD}<INFO name="QUERY_STATUS" value="ERROR">{escape(message)}</INFO>\n{_TAIL}'
    ).encode()


def read_upload(content: bytes, position: Sequence[str] = ()) -> pd.DataFrame:
    """Read an uploaded table: VOTable if it looks like one, else CSV.

    Parameters
    ----------
    content : the file as it came.
    position : names of columns that must be there and numeric.

    Raises
    ------
    InputError
        If it cannot be read, or a column of ``position`` is missing or no number.
    """
    try:
        if content.lstrip()[:1] == b"<":
            table = _read_votable(content)
        else:
            table = pd.read_csv(io.BytesIO(content), dtype_backend="numpy_nullable")
    except (ValueError, OSError, UnicodeDecodeError) as error:
        raise InputError(f"the uploaded table cannot be read: {error}") from error
    for name in position:
        if name not in table.columns:
            raise InputError(
                f"the uploaded table has no column {name!r}",
                next_step=f"its columns are {', '.join(map(str, table.columns))}",
            )
        try:
            table[name] = table[name].astype(float)
        except (ValueError, TypeError) as error:
            raise InputError(f"the uploaded column {name!r} is no number: {error}") from error
    return table


def _read_votable(content: bytes) -> pd.DataFrame:
    from astropy.io.votable import parse_single_table

    if re.search(rb"<!(DOCTYPE|ENTITY)", content):
        raise ValueError("a document type declaration is not taken")
    table = parse_single_table(io.BytesIO(content), verify="ignore").to_table(
        use_names_over_ids=True
    )
    frame: pd.DataFrame = table.to_pandas()
    return frame
