"""The conditions of the catalogue query that injected objects can be put to.

The selection at the survey's service is a cut like any other: of the query's ``WHERE``, the
conditions that are joined by ``AND`` and look at the columns of ``survey.bands`` alone are put to
the injected objects' measured values. Others (flags, positions) are named and left.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from archipelago.base.errors import InputError
from archipelago.base.placeholders import query_text

_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+)|(?P<name>[A-Za-z_][\w.]*)"
    r"|(?P<symbol><=|>=|<>|!=|[-+*/=<>(),]|\{\w+\}|'[^']*'))"
)
_WORDS = {"and", "or", "not", "between", "in", "is", "null", "like"}
_FUNCTIONS = {"abs", "sqrt", "power", "log10", "log", "exp", "floor", "ceiling", "round", "mod"}
_ENDS = re.compile(r"\b(ORDER\s+BY|GROUP\s+BY|HAVING|LIMIT|OFFSET)\b", re.IGNORECASE)


@dataclass(frozen=True)
class QueryCuts:
    """Conditions of a query.

    Attributes
    ----------
    used : those that look at known columns alone, in their order, as text.
    left : the others.
    """

    used: tuple[str, ...]
    left: tuple[str, ...]


def query_cuts(text: str, columns: Collection[str]) -> QueryCuts:
    """Return the conditions of an ADQL query.

    Parameters
    ----------
    text : of the query, with its placeholders and comments.
    columns : names that injected objects have values of.
    """
    match = re.search(r"\bWHERE\b(.*)", query_text(text), re.IGNORECASE | re.DOTALL)
    if match is None:
        return QueryCuts((), ())
    body = _ENDS.split(match[1])[0]
    known = {name.lower() for name in columns}
    used: list[str] = []
    left: list[str] = []
    for condition in _conditions(body):
        tokens = _tokens(condition)
        names = {
            token.lower()
            for kind, token in tokens or []
            if kind == "name" and token.lower() not in _WORDS | _FUNCTIONS
        }
        inside = tokens is not None and bool(names) and names <= known
        (used if inside else left).append(condition)
    return QueryCuts(tuple(used), tuple(left))


def passes(condition: str, values: pd.DataFrame) -> NDArray[np.bool_]:
    """Say which objects a condition of `query_cuts` keeps; a missing value is never kept.

    Parameters
    ----------
    condition : one of `QueryCuts.used`.
    values : (n) rows, the columns that it names, NaN where missing.

    Raises
    ------
    InputError
        If the condition cannot be understood.
    """
    if not len(values):
        return np.zeros(0, dtype=bool)
    with sqlite3.connect(":memory:") as connection:
        values.to_sql("t", connection, index=False)
        try:
            rows = connection.execute(f"SELECT coalesce(({condition}), 0) FROM t").fetchall()
        except sqlite3.Error as error:
            raise InputError(
                f"the condition {condition!r} cannot be put to injected objects: {error}",
                where="survey.query",
                next_step="write it with comparisons and arithmetic, or set injections.enabled "
                "to false",
            ) from error
    return np.array([bool(row[0]) for row in rows])


def _tokens(text: str) -> list[tuple[str, str]] | None:
    """Return kinds and texts; None where something is not understood."""
    tokens, position = [], 0
    text = text.strip()
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            return None
        tokens.append((str(match.lastgroup), match.group(str(match.lastgroup))))
        position = match.end()
    return tokens


def _conditions(body: str) -> list[str]:
    """Split at the ``AND`` that join conditions: not in brackets, not of a ``BETWEEN``."""
    parts, start, depth, between = [], 0, 0, False
    for match in re.finditer(r"[()]|\b(?:AND|OR|BETWEEN)\b", body, re.IGNORECASE):
        word = match[0].upper()
        if word == "(":
            depth += 1
        elif word == ")":
            depth -= 1
        elif depth == 0 and word == "OR":
            return [" ".join(body.split())]  # OR binds weaker: all of it is one condition
        elif depth == 0 and word == "BETWEEN":
            between = True
        elif depth == 0 and word == "AND" and between:
            between = False
        elif depth == 0 and word == "AND":
            parts.append(body[start : match.start()])
            start = match.end()
    return [" ".join(part.split()) for part in (*parts, body[start:]) if part.strip()]
