"""Tables as VOTables: FIELDs with units and UCDs, and rows written part by part.

The format is VOTable 1.4 (IVOA recommendation, 2019) with rows as TABLEDATA, which every reader
knows. Missing values are empty cells, as 1.3 and later have it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import pandas as pd

from archipelago.base.files import atomic_path
from archipelago.base.tables import unit_of
from archipelago.base.ucds import ucd_of

#: Characters that XML 1.0 cannot hold, not even escaped.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_OPENING = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    '<VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3">\n'
    '<RESOURCE type="results">\n'
)
_COOSYS = '<COOSYS ID="icrs" system="ICRS"/>\n'
_CLOSING = "</TABLE>\n</RESOURCE>\n</VOTABLE>\n"


def xml_text(text: str) -> str:
    """Return ``text`` with what XML would take for markup escaped; what it cannot hold is '?'."""
    return escape(_NOT_XML.sub("?", text))


def votable_head(table: pd.DataFrame, about: Mapping[str, str], name: str) -> str:
    """Return a VOTable up to and with the columns of ``table``, the rows of which do not count.

    Parameters
    ----------
    table : its columns and their types are described; positions (ra_deg, dec_deg) are ICRS.
    about : a sentence on each column that has one.
    name : of the table.
    """
    fields = "".join(
        _field(str(column), table[column].dtype, about.get(str(column), "")) for column in table
    )
    return f"{_OPENING}{_COOSYS}<TABLE name={_quoted(name)}>\n{fields}"


def votable_marks(table: pd.DataFrame, about: Mapping[str, str], name: str) -> dict[str, str]:
    """Return texts for a Parquet file's metadata that tell TOPCAT its columns' units and UCDs.

    They are those of the IVOA note on VOTable metadata in Parquet (VOParquet 1.0), as astropy 8
    writes and reads them: a VOTable of all columns and without rows.
    """
    return {
        "IVOA.VOTable-Parquet.version": "1.0",
        "IVOA.VOTable-Parquet.content": votable_head(table, about, name) + _CLOSING,
    }


def write_votable(
    parts: Iterable[pd.DataFrame], path: str | Path, about: Mapping[str, str], name: str
) -> None:
    """Write a table that comes in parts as a VOTable, so that never all is in memory.

    Completely or not at all; equal parts give equal bytes.

    Parameters
    ----------
    parts : one after the other, at least one (which may be empty), all of the same columns.
    path : the file.
    about, name : as in `votable_head`.
    """
    n_parts = 0
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as stream:
        for part in parts:
            if not n_parts:
                stream.write(votable_head(part, about, name) + "<DATA>\n<TABLEDATA>\n")
            stream.writelines(_rows(part))
            n_parts += 1
        if not n_parts:
            raise ValueError(f"no part of a table for {path}")
        stream.write("</TABLEDATA>\n</DATA>\n" + _CLOSING)


def _field(name: str, dtype: Any, description: str) -> str:
    if pd.api.types.is_bool_dtype(dtype):
        kind = 'datatype="boolean"'
    elif pd.api.types.is_integer_dtype(dtype):
        kind = 'datatype="long"'
    elif pd.api.types.is_float_dtype(dtype):
        kind = 'datatype="double"'
    else:
        kind = 'datatype="unicodeChar" arraysize="*"'
    for attribute, text in (("unit", unit_of(name)), ("ucd", ucd_of(name))):
        kind += f" {attribute}={_quoted(text)}" if text else ""
    if name in ("ra_deg", "dec_deg"):
        kind += ' ref="icrs"'
    inside = f"<DESCRIPTION>{xml_text(description)}</DESCRIPTION>" if description else ""
    return f"<FIELD name={_quoted(name)} {kind}>{inside}</FIELD>\n"


def _quoted(text: str) -> str:
    return quoteattr(_NOT_XML.sub("?", text))


def _rows(table: pd.DataFrame) -> Iterator[str]:
    if not len(table.columns):
        return
    columns = [_cells(table.iloc[:, place]) for place in range(len(table.columns))]
    for row in zip(*columns, strict=True):
        yield "<TR><TD>" + "</TD><TD>".join(row) + "</TD></TR>\n"


def _cells(column: pd.Series) -> list[str]:
    text: Callable[[Any], str]
    if pd.api.types.is_bool_dtype(column.dtype):
        text = _flag
    elif pd.api.types.is_integer_dtype(column.dtype):
        text = str
    elif pd.api.types.is_float_dtype(column.dtype):
        text = _number
    else:
        text = _words
    return [
        "" if missing else text(one)
        for one, missing in zip(column.tolist(), column.isna().tolist(), strict=True)
    ]


def _flag(value: Any) -> str:
    return "true" if value else "false"


def _words(value: Any) -> str:
    return xml_text(str(value))


def _number(value: Any) -> str:
    """Shortest text that reads as the same number."""
    value = float(value)
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return repr(value)
