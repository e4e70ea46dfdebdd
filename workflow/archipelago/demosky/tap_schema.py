"""What a TAP service says of its own tables: TAP_SCHEMA and VOSI's document of tables.

TAP 1.1 sec. 4 (TAP_SCHEMA) and VOSI 1.1 sec. 4.2 with VODataService 1.1 (the document).
"""

from __future__ import annotations

from collections.abc import Mapping
from xml.sax.saxutils import escape

import pandas as pd

from archipelago.demosky.votable import datatype

_SCHEMA = "TAP_SCHEMA"
#: Schema of tables whose name holds none.
_NO_SCHEMA = "vizier"
#: The foreign keys that TAP 1.1 wants: from table and column to table and column.
_LINKS = (
    ("tables", "schema_name", "schemas", "schema_name"),
    ("columns", "table_name", "tables", "table_name"),
    ("keys", "from_table", "tables", "table_name"),
    ("keys", "target_table", "tables", "table_name"),
    ("key_columns", "key_id", "keys", "key_id"),
)


def with_tap_schema(tables: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Return the tables of a service together with those that describe them all.

    Parameters
    ----------
    tables : name, as queries spell it without quotes, to rows.
    """
    described = dict(tables)
    names = [f"key_{number}" for number in range(1, len(_LINKS) + 1)]
    described[f"{_SCHEMA}.keys"] = pd.DataFrame(
        [
            (name, f"{_SCHEMA}.{source}", f"{_SCHEMA}.{target}", None, None)
            for name, (source, _, target, _) in zip(names, _LINKS, strict=True)
        ],
        columns=["key_id", "from_table", "target_table", "description", "utype"],
    ).astype(object)
    described[f"{_SCHEMA}.key_columns"] = pd.DataFrame(
        [(name, link[1], link[3]) for name, link in zip(names, _LINKS, strict=True)],
        columns=["key_id", "from_column", "target_column"],
    ).astype(object)
    # The three tables describe themselves too: their columns first, their rows after that.
    for name, frame in _rows({}).items():
        described[f"{_SCHEMA}.{name}"] = frame
    own = _rows(described)
    return described | {f"{_SCHEMA}.{name}": frame for name, frame in own.items()}


def _rows(tables: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Return TAP_SCHEMA's tables schemas, tables and columns, of the types of TAP 1.1."""
    nothing = pd.NA
    schemas = pd.DataFrame(
        [
            (name, None, None, index)
            for index, name in enumerate(dict.fromkeys(schema_of(table) for table in tables))
        ],
        columns=["schema_name", "utype", "description", "schema_index"],
    ).astype({"schema_index": "int32"})
    listed = pd.DataFrame(
        [
            (schema_of(name), spelt(name), "table", None, None, index)
            for index, name in enumerate(tables)
        ],
        columns=["schema_name", "table_name", "table_type", "utype", "description", "table_index"],
    ).astype({"table_index": "int32"})
    columns = pd.DataFrame(
        [
            (spelt(name), _column(column), *datatype(frame[column]), None, nothing,
             *(None,) * 4, 0, 0, int(schema_of(name) == _SCHEMA), index)
            for name, frame in tables.items()
            for index, column in enumerate(frame.columns)
        ],
        columns=[
            "table_name", "column_name", "datatype", "arraysize", "xtype", "size",
            "description", "utype", "unit", "ucd", "indexed", "principal", "std", "column_index",
        ],
    )  # fmt: skip
    whole = ("indexed", "principal", "std", "column_index")
    columns = columns.astype({"size": "Int32"} | dict.fromkeys(whole, "int32"))
    frames = {"schemas": schemas, "tables": listed, "columns": columns}
    for frame in frames.values():
        for name in frame.columns:
            if frame[name].dtype.name not in ("int32", "Int32"):
                frame[name] = frame[name].astype(object).where(frame[name].notna(), None)
    return frames


def table_set(tables: Mapping[str, pd.DataFrame]) -> str:
    """Return VOSI's document of tables."""
    schemas: dict[str, list[str]] = {}
    for name, frame in tables.items():
        columns = []
        standard = ' std="true"' if schema_of(name) == _SCHEMA else ""
        for column in frame.columns:
            kind, size = datatype(frame[column])
            sized = f' arraysize="{size}"' if size else ""
            columns.append(
                f"<column{standard}><name>{escape(_column(column))}</name>"
                f'<dataType xsi:type="vs:VOTableType"{sized}>{kind}</dataType></column>'
            )
        schemas.setdefault(schema_of(name), []).append(
            f'<table type="table"><name>{escape(spelt(name))}</name>{"".join(columns)}'
            f"{_foreign_keys(name)}</table>"
        )
    content = "".join(
        f"<schema><name>{escape(schema)}</name>{''.join(listed)}</schema>"
        for schema, listed in schemas.items()
    )
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n'
        '<vosi:tableset xmlns:vosi="http://www.ivoa.net/xml/VOSITables/v1.0" '
        'xmlns:vs="http://www.ivoa.net/xml/VODataService/v1.1" '
        'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">'
        f"{content}</vosi:tableset>\n"
    )


def _foreign_keys(table: str) -> str:
    return "".join(
        f"<foreignKey><targetTable>{_SCHEMA}.{target}</targetTable><fkColumn>"
        f"<fromColumn>{column}</fromColumn><targetColumn>{other}</targetColumn>"
        "</fkColumn></foreignKey>"
        for source, column, target, other in _LINKS
        if table == f"{_SCHEMA}.{source}"
    )


def schema_of(table: str) -> str:
    """Return the schema of a table."""
    return table.split(".")[0] if "." in table else _NO_SCHEMA


def spelt(table: str) -> str:
    """Return a table's name as queries spell it: quoted where it is no plain identifier."""
    return table if "." in table else f'"{table}"'


def _column(name: object) -> str:
    """Return a column's name as queries spell it; SIZE is a reserved word of ADQL."""
    text = str(name)
    return f'"{text}"' if text.upper() == "SIZE" or not text.isidentifier() else text
