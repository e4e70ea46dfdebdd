"""The page's scripts: BokehJS and our own, with the hashes that let them run."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from bokeh.util.paths import bokehjs_path

from archipelago.base.errors import DataError

_TEMPLATES = Path(__file__).with_name("templates")
#: Parts of our script, in the order in which they are joined: each may use what stands before.
PARTS = ("base.js", "votes.js", "table.js", "map.js", "script.js")
#: Bundles of BokehJS: the plots, and the interface that scripts call. No widgets, tables,
#: MathJax or WebGL.
BUNDLES = ("bokeh.min.js", "bokeh-api.min.js")


def own_script() -> str:
    """Return our script: its parts as one function, strict, that leaves nothing global."""
    parts = "\n".join((_TEMPLATES / name).read_text(encoding="utf-8") for name in PARTS)
    return f'"use strict";\n(() => {{\n{parts}\n}})();\n'


@cache
def bokeh_scripts() -> tuple[str, ...]:
    """Return the bundles of BokehJS that the installed Bokeh brings.

    Raises
    ------
    DataError
        If a bundle holds what would end a script element, or what a parser changes: its
        hash would not be that of what runs.
    """
    found = []
    for name in BUNDLES:
        path = Path(bokehjs_path()) / "js" / name
        text = path.read_bytes().decode("utf-8")
        # Maps of the sources are only for debuggers, which would look for files that are not there.
        text = "\n".join(
            line for line in text.split("\n") if not line.startswith("//# sourceMappingURL=")
        )
        if "</script" in text.lower() or "<!--" in text or "\r" in text or "\0" in text:
            raise DataError(
                "this bundle of BokehJS cannot stand inside a page",
                where=str(path),
                next_step="install the version of bokeh that requirements.txt names",
            )
        found.append(text + "\n")
    return tuple(found)


def script_hash(text: str) -> str:
    """Return the source expression of a content security policy that lets one script run."""
    digest = base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
    return f"'sha256-{digest}'"


def script_policy(scripts: Iterable[str]) -> str:
    """Return the value of ``script-src`` that lets ``scripts`` run and nothing else."""
    return " ".join(dict.fromkeys(script_hash(text) for text in scripts))
