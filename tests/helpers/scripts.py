"""Rules' scripts, run as Snakemake runs them but in this process."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from archipelago.base import logs

REPOSITORY = Path(__file__).resolve().parents[2]


class _Named(dict[str, Any]):
    """Stands in for the named lists of a rule's input, output, params and wildcards."""

    __getattr__ = dict.__getitem__


def run_script(
    rule: str,
    given: dict[str, Any],
    output: dict[str, Any],
    params: dict[str, Any] | None = None,
    **wildcards: str,
) -> None:
    """Run a rule's script on the files ``given``; paths may be `Path`, alone or in lists.

    The log is not redirected: what a script says stays with the test.
    """
    job = SimpleNamespace(
        input=_Named(_texts(given)),
        output=_Named(_texts(output)),
        params=_Named(params or {}),
        wildcards=_Named(wildcards),
        threads=1,
        log=["log"],
    )
    script = REPOSITORY / "workflow" / "scripts" / f"{rule}.py"
    with mock.patch.object(logs, "log_to", lambda path: None):
        runpy.run_path(str(script), {"snakemake": job})


def _texts(paths: dict[str, Any]) -> dict[str, Any]:
    """File names as text, as Snakemake gives them."""
    return {
        name: [str(one) for one in value] if isinstance(value, list) else str(value)
        for name, value in paths.items()
    }
