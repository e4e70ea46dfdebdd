"""A small subset of ADQL, run on tables in memory.

Queries are parsed into tokens and a tree and written anew for SQLite: no text of
a query reaches the database unparsed, and values are bound. Understood are::

    SELECT [DISTINCT] [TOP n] * | expression [AS name], ...
    FROM table [AS name]
    WHERE ... ORDER BY expression [ASC | DESC], ...

with comparisons, BETWEEN, IN, LIKE, IS [NOT] NULL, AND, OR, NOT, arithmetic,
ABS, SQRT, POWER, FLOOR, CEILING, ROUND, MOD and the aggregates COUNT, MIN, MAX, AVG and SUM.
Table names may be dotted or quoted. What is not understood is an error, as are geometry
functions: the real service of the Astro Data Lab refuses those too.
"""

from __future__ import annotations

import math
import re
import sqlite3
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from archipelago.base.errors import InputError

_TOKEN = re.compile(
    r"""\s*(?:--[^\n]*(?:\n|$)\s*)*(?:
      (?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)
    | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
    | "(?P<quoted>(?:[^"]|"")+)"
    | '(?P<text>(?:[^']|'')*)'
    | (?P<symbol><=|>=|<>|!=|\|\||-(?!-)|[+*/=<>(),.;])
    )""",
    re.VERBOSE,
)
_FUNCTIONS = {
    "ABS": 1, "SQRT": 1, "POWER": 2, "FLOOR": 1, "CEILING": 1, "ROUND": 2, "MOD": 2,
    "COUNT": 1, "MIN": 1, "MAX": 1, "AVG": 1, "SUM": 1,
}  # fmt: skip
_AGGREGATES = ("COUNT", "MIN", "MAX", "AVG", "SUM")
_GEOMETRY = ("CONTAINS", "INTERSECTS", "POINT", "CIRCLE", "BOX", "POLYGON", "DISTANCE", "AREA")
_RESERVED = {
    "SELECT", "FROM", "WHERE", "TOP", "DISTINCT", "AND", "OR", "NOT", "BETWEEN", "IN", "LIKE",
    "IS", "NULL", "AS", "ORDER", "BY", "GROUP", "HAVING", "JOIN", "LIMIT", "OFFSET", "UNION",
    "ASC", "DESC",
}  # fmt: skip


@dataclass(frozen=True)
class _Token:
    kind: str
    value: str
    position: int


def _tokens(query: str) -> list[_Token]:
    tokens: list[_Token] = []
    position = 0
    query = query.rstrip()
    while position < len(query):
        match = _TOKEN.match(query, position)
        if match is None:
            if re.fullmatch(r"\s*(--[^\n]*\s*)*", query[position:]):
                break
            where = query[position : position + 20].strip()
            raise InputError(f'syntax error at or near "{where}"')
        kind = str(match.lastgroup)
        tokens.append(_Token(kind, match.group(kind), match.start(kind)))
        position = match.end()
    return [*tokens, _Token("end", "", len(query))]


@dataclass(frozen=True)
class _Table:
    """A table as the database holds it."""

    sql_name: str
    frame: pd.DataFrame

    def column(self, name: str, *, quoted: bool) -> str | None:
        """Return the column's own spelling; unquoted names match in any case."""
        for column in self.frame.columns:
            if column == name or (not quoted and column.lower() == name.lower()):
                return str(column)
        return None


@dataclass
class _Item:
    """One column of a result."""

    sql: str
    name: str
    dtype: str | None  # of the column it copies; None for an expression


class _Parser:
    """Recursive descent over the tokens of one query; writes SQL and collects its values."""

    def __init__(self, query: str, tables: Mapping[str, _Table]) -> None:
        self._tokens = _tokens(query)
        self._next = 0
        self._tables = tables
        self._table: _Table | None = None
        self._alias: str | None = None
        self.values: list[object] = []

    # -- tokens --

    def _peek(self, *words: str) -> bool:
        token = self._tokens[self._next]
        if token.kind == "name":
            return token.value.upper() in words
        return token.kind == "symbol" and token.value in words

    def _take(self, *words: str) -> str | None:
        if not self._peek(*words):
            return None
        value = self._tokens[self._next].value.upper()
        self._next += 1
        return value

    def _need(self, word: str) -> None:
        if self._take(word) is None:
            raise self._wrong(f"{word} was expected")

    def _wrong(self, why: str = "") -> InputError:
        token = self._tokens[self._next]
        near = token.value or "end of query"
        return InputError(f'syntax error at or near "{near}"' + (f": {why}" if why else ""))

    def _identifier(self) -> tuple[str, bool]:
        token = self._tokens[self._next]
        if token.kind == "quoted":
            self._next += 1
            return token.value.replace('""', '"'), True
        if token.kind == "name" and token.value.upper() not in _RESERVED:
            self._next += 1
            return token.value, False
        raise self._wrong("a name was expected")

    # -- clauses --

    def parse(self) -> tuple[str, list[_Item], int | None]:
        """Return SQL without its limit, the columns of the result, and TOP if given."""
        self._need("SELECT")
        distinct = self._take("DISTINCT") is not None
        top = None
        if self._take("TOP"):
            token = self._tokens[self._next]
            if token.kind != "number" or not token.value.isdigit():
                raise self._wrong("TOP wants a whole number")
            top = int(token.value)
            self._next += 1
        start = self._next
        self._skip_to_from()
        self._from()
        after = self._next
        self._next = start
        items = self._select_list()
        if not self._peek("FROM"):
            raise self._wrong()
        self._next = after
        where = ""
        if self._take("WHERE"):
            where = f" WHERE {self._or()}"
        order = ""
        if self._take("ORDER"):
            self._need("BY")
            order = " ORDER BY " + self._order_list([item.name for item in items])
        self._take(";")
        if self._tokens[self._next].kind != "end":
            raise self._wrong()
        assert self._table is not None
        columns = ", ".join(item.sql for item in items)
        sql = f"SELECT {'DISTINCT ' if distinct else ''}{columns} FROM {self._table.sql_name}"
        return sql + where + order, items, top

    def _skip_to_from(self) -> None:
        depth = 0
        while not (depth == 0 and self._peek("FROM")):
            if self._tokens[self._next].kind == "end":
                raise self._wrong("FROM was expected")
            depth += 1 if self._peek("(") else -1 if self._peek(")") else 0
            self._next += 1
        self._next += 1

    def _from(self) -> None:
        name, _ = self._identifier()
        while self._take("."):
            name += "." + self._identifier()[0]
        for known, table in self._tables.items():
            if known.lower() == name.lower():
                self._table = table
                break
        else:
            raise InputError(f'relation "{name}" does not exist')
        self._alias = name.split(".")[-1]
        if self._take("AS"):
            self._alias = self._identifier()[0]
        else:
            token = self._tokens[self._next]
            if token.kind == "quoted" or (
                token.kind == "name" and token.value.upper() not in _RESERVED
            ):
                self._alias = self._identifier()[0]

    def _select_list(self) -> list[_Item]:
        assert self._table is not None
        if self._take("*"):
            return [
                _Item(_quoted(str(name)), str(name), str(dtype))
                for name, dtype in self._table.frame.dtypes.items()
            ]
        items = [self._item(0)]
        while self._take(","):
            items.append(self._item(len(items)))
        return items

    def _item(self, number: int) -> _Item:
        assert self._table is not None
        start = self._next
        sql = self._sum()
        plain = next(
            (str(name) for name in self._table.frame.columns if sql == _quoted(str(name))), None
        )
        name = plain
        if name is None:
            first = self._tokens[start].value
            called = first.upper() in _FUNCTIONS
            name = first.lower() if called else f"col_{number + 1}"
        if self._take("AS"):
            name = self._identifier()[0]
        dtype = str(self._table.frame[plain].dtype) if plain is not None else None
        return _Item(sql, name, dtype)

    def _order_list(self, result_names: list[str]) -> str:
        parts = []
        while True:
            token = self._tokens[self._next]
            if token.kind == "number" and token.value.isdigit():
                if not 1 <= int(token.value) <= len(result_names):
                    raise InputError(f"ORDER BY position {token.value} is not in select list")
                self._next += 1
                sql = token.value
            else:
                sql = self._sum()
            direction = self._take("ASC", "DESC") or "ASC"
            parts.append(f"{sql} {direction}")
            if not self._take(","):
                return ", ".join(parts)

    # -- conditions --

    def _or(self) -> str:
        sql = self._and()
        while self._take("OR"):
            sql = f"({sql} OR {self._and()})"
        return sql

    def _and(self) -> str:
        sql = self._not()
        while self._take("AND"):
            sql = f"({sql} AND {self._not()})"
        return sql

    def _not(self) -> str:
        if self._take("NOT"):
            return f"(NOT {self._not()})"
        return self._predicate()

    def _predicate(self) -> str:
        if self._peek("("):
            # A bracket opens either a condition or a sum; try the condition first.
            place, values = self._next, list(self.values)
            try:
                self._next += 1
                sql = self._or()
                self._need(")")
                if not self._peek("+", "-", "*", "/", "=", "<", ">", "<=", ">=", "<>", "!=",
                                  "BETWEEN", "IN", "LIKE", "IS", "NOT"):  # fmt: skip
                    return f"({sql})"
            except InputError as error:
                if "does not exist" in error.what:
                    raise
            self._next, self.values = place, values
        left = self._sum()
        comparison = self._take("=", "<", ">", "<=", ">=", "<>", "!=")
        if comparison:
            return f"({left} {comparison} {self._sum()})"
        if self._take("IS"):
            negated = "NOT " if self._take("NOT") else ""
            self._need("NULL")
            return f"({left} IS {negated}NULL)"
        negated = "NOT " if self._take("NOT") else ""
        if self._take("BETWEEN"):
            low = self._sum()
            self._need("AND")
            return f"({left} {negated}BETWEEN {low} AND {self._sum()})"
        if self._take("LIKE"):
            return f"({left} {negated}LIKE {self._sum()})"
        if self._take("IN"):
            self._need("(")
            members = [self._sum()]
            while self._take(","):
                members.append(self._sum())
            self._need(")")
            return f"({left} {negated}IN ({', '.join(members)}))"
        raise self._wrong("a comparison was expected")

    # -- sums --

    def _sum(self) -> str:
        sql = self._product()
        while sign := self._take("+", "-"):
            sql = f"({sql} {sign} {self._product()})"
        return sql

    def _product(self) -> str:
        sql = self._factor()
        while sign := self._take("*", "/"):
            sql = f"({sql} {sign} {self._factor()})"
        return sql

    def _factor(self) -> str:
        if sign := self._take("+", "-"):
            return f"({sign}{self._factor()})"
        if self._take("("):
            sql = self._sum()
            self._need(")")
            return f"({sql})"
        token = self._tokens[self._next]
        if token.kind == "number":
            self._next += 1
            whole = token.value.isdigit()
            self.values.append(int(token.value) if whole else float(token.value))
            return "?"
        if token.kind == "text":
            self._next += 1
            self.values.append(token.value.replace("''", "'"))
            return "?"
        following = self._tokens[min(self._next + 1, len(self._tokens) - 1)]
        if token.kind == "name" and following.value == "(" and following.kind == "symbol":
            return self._call()
        return self._column()

    def _call(self) -> str:
        name = self._tokens[self._next].value.upper()
        if name in _GEOMETRY:
            # The Astro Data Lab's own words for any cone search.
            raise InputError("function circle(numeric, numeric, numeric) does not exist")
        if name not in _FUNCTIONS:
            raise InputError(f"function {name.lower()} does not exist")
        self._next += 2
        if name == "COUNT" and self._take("*"):
            self._need(")")
            return "COUNT(*)"
        arguments = [self._sum()]
        while self._take(","):
            arguments.append(self._sum())
        self._need(")")
        if len(arguments) > _FUNCTIONS[name]:
            raise InputError(f"function {name.lower()} takes {_FUNCTIONS[name]} arguments")
        return f"{name}({', '.join(arguments)})"

    def _column(self) -> str:
        assert self._table is not None
        name, quoted = self._identifier()
        if self._take("."):
            if self._alias is None or name.lower() != self._alias.lower():
                raise InputError(f'missing FROM-clause entry for table "{name}"')
            name, quoted = self._identifier()
        column = self._table.column(name, quoted=quoted)
        if column is None:
            raise InputError(f'column "{name}" does not exist')
        return _quoted(column)


def _null_if_null(function: Callable[..., float]) -> Callable[..., float | None]:
    """Let a function pass SQL's NULL through."""

    def wrapped(*arguments: float | None) -> float | None:
        return None if None in arguments else function(*arguments)

    return wrapped


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@dataclass(frozen=True)
class Answer:
    """The rows of a query; ``overflow`` says that MAXREC cut them."""

    table: pd.DataFrame
    overflow: bool


class AdqlDatabase:
    """Tables that ADQL can be asked of.

    Parameters
    ----------
    tables : name, as queries spell it without quotes, to rows. NaN is taken for NULL.

    Safe to use from several threads; queries wait for each other.
    """

    def __init__(self, tables: Mapping[str, pd.DataFrame]) -> None:
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(":memory:", check_same_thread=False)
        self._connection.execute("PRAGMA case_sensitive_like = ON")
        for name, count, function in (
            ("MOD", 2, math.fmod),
            ("POWER", 2, math.pow),
            ("SQRT", 1, math.sqrt),
            ("FLOOR", 1, math.floor),
            ("CEILING", 1, math.ceil),
        ):
            self._connection.create_function(
                name, count, _null_if_null(function), deterministic=True
            )
        self._tables: dict[str, _Table] = {}
        for number, (name, frame) in enumerate(tables.items()):
            self._tables[name] = _Table(f"t{number}", frame)
            self._load(self._tables[name])

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """The tables by name."""
        return {name: table.frame for name, table in self._tables.items()}

    def _load(self, table: _Table) -> None:
        frame = table.frame
        if frame.shape[1] == 0:
            frame = pd.DataFrame({"recno": pd.Series(dtype="int64")})
        columns = ", ".join(_quoted(str(name)) for name in frame.columns)
        self._connection.execute(f"CREATE TABLE {table.sql_name} ({columns})")
        holders = ", ".join("?" for _ in frame.columns)
        lists = [_python_values(frame.iloc[:, k]) for k in range(frame.shape[1])]
        self._connection.executemany(
            f"INSERT INTO {table.sql_name} VALUES ({holders})", zip(*lists, strict=True)
        )

    def query(self, adql: str, maxrec: int) -> Answer:
        """Run a query and return at most ``maxrec`` rows.

        TOP limits the rows without an overflow, as TAP 1.1 sec. 2.7.4 has it.

        Raises
        ------
        InputError
            If the query is not understood, or names what is not there.
        """
        parser = _Parser(adql, self._tables)
        sql, items, top = parser.parse()
        wanted = maxrec + 1 if top is None else min(top, maxrec + 1)
        try:
            with self._lock:
                rows = self._connection.execute(
                    f"{sql} LIMIT {int(wanted)}", parser.values
                ).fetchall()
        except (sqlite3.Error, OverflowError) as error:
            raise InputError(f"the query failed: {error}") from error
        overflow = len(rows) > maxrec
        rows = rows[:maxrec]
        names = _unique([item.name for item in items])
        columns: dict[str, object] = {}
        for k, (name, item) in enumerate(zip(names, items, strict=True)):
            columns[name] = _typed([row[k] for row in rows], item.dtype)
        return Answer(pd.DataFrame(columns), overflow)


def _unique(names: list[str]) -> list[str]:
    """Number names that come again."""
    seen: dict[str, int] = {}
    result = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        result.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return result


def _python_values(column: pd.Series) -> list[object]:
    values: list[object] = column.astype(object).to_numpy().tolist()
    missing = column.isna().to_numpy()
    if not missing.any():
        return values
    return [None if gone else value for value, gone in zip(values, missing, strict=True)]


def _typed(values: list[object], dtype: str | None) -> pd.Series:
    """Return values of a result with the type of the column that they come from."""
    if dtype is None:
        if values and all(isinstance(value, int) for value in values):
            return pd.Series(np.array(values, dtype=np.int64))
        if all(value is None or isinstance(value, (int, float)) for value in values):
            return pd.Series(np.array(values, dtype=np.float64))
        return pd.Series(values, dtype=object)
    if dtype.startswith(("int", "uint", "bool")):
        return pd.Series(np.array(values, dtype=dtype))
    if dtype.startswith(("Int", "UInt")):
        return pd.Series(values, dtype=object).astype(dtype)  # type: ignore[call-overload]
    if dtype.startswith("float"):
        return pd.Series(np.array(values, dtype=np.float64).astype(dtype))
    return pd.Series(values, dtype=object)
