"""Queries from files, with numbers put in."""

from __future__ import annotations

import re
from pathlib import Path

from archipelago.base.errors import InputError

_PLACEHOLDER = re.compile(r"\{(\w+)\}")


def load_query(path: str | Path, **numbers: float) -> str:
    """Read an ADQL query and put ``numbers`` in for its placeholders ``{name}``.

    Lines that begin with ``--`` are comments and are not sent. Only numbers can
    be put in, so that nothing else of the query can change.

    Raises
    ------
    InputError
        If the file cannot be read, holds no query, names an unknown
        placeholder, or lacks one of ``numbers``: every tile would then ask for
        the same.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"cannot read the query: {error}", where=str(path), next_step="check the path"
        ) from error
    lines = [line.rstrip() for line in text.splitlines()]
    query = "\n".join(line for line in lines if line and not line.lstrip().startswith("--"))
    if not query:
        raise InputError("the file holds no query", where=str(path), next_step="write one in ADQL")
    found = set(_PLACEHOLDER.findall(query))
    if unknown := sorted(found - set(numbers)):
        raise InputError(
            f"unknown placeholders {', '.join(unknown)}",
            where=str(path),
            next_step=f"known are {', '.join(sorted(numbers))}",
        )
    if missing := sorted(set(numbers) - found):
        raise InputError(
            f"the query lacks the placeholders {', '.join(missing)}",
            where=str(path),
            next_step="write {" + missing[0] + "} where the number belongs",
        )
    return _PLACEHOLDER.sub(lambda match: _format(numbers[match[1]]), query)


def _format(number: float) -> str:
    return str(number) if isinstance(number, int) else repr(float(number))
