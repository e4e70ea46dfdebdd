"""Placeholders in the text of a query, where numbers are put in."""

from __future__ import annotations

import re
from collections.abc import Sequence

#: Placeholders of a query for one tile: a range of the table's own HEALPix index (NESTED), or
#: a box on the sky [deg]. A query has all of one kind.
INDEX_PLACEHOLDERS = ("hpix_min", "hpix_max")
BOX_PLACEHOLDERS = ("ra_min", "ra_max", "dec_min", "dec_max")

PLACEHOLDER = re.compile(r"\{(\w+)\}")


def query_text(text: str) -> str:
    """Return a query as it is sent: without empty lines and those that begin with ``--``."""
    lines = [line.rstrip() for line in text.splitlines()]
    return "\n".join(line for line in lines if line and not line.lstrip().startswith("--"))


def wrong_placeholders(query: str, kinds: Sequence[tuple[str, ...]]) -> str:
    """Return what is wrong with a query's placeholders, or ''.

    They must be all those of exactly one of ``kinds``.
    """
    found = set(PLACEHOLDER.findall(query))
    if unknown := sorted(found - {name for kind in kinds for name in kind}):
        return f"unknown placeholders {', '.join(unknown)}"
    begun = [kind for kind in kinds if found & set(kind)] or list(kinds[:1])
    if len(begun) > 1:
        return "the query says in two ways where the tile is: " + ", ".join(sorted(found))
    if missing := [name for name in begun[0] if name not in found]:
        return f"the query lacks the placeholders {', '.join(sorted(missing))}"
    return ""
