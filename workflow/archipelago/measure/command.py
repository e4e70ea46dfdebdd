"""What the commands that measure on demo skies have in common."""

from __future__ import annotations

import argparse
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


def sky_parser(
    module: str, about: str | None, skies: str, out: str, processes: int | None = 2
) -> argparse.ArgumentParser:
    """Return a parser of the options that the commands share.

    Parameters
    ----------
    module : after ``archipelago.measure.``.
    about : the module's docstring.
    skies : of ``--skies``, where it is left out.
    out : what the file of ``--out`` holds.
    processes : of ``--processes``; None: the command has none.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m archipelago.measure.{module}",
        description=about,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--skies", default=skies, help="seeds of the skies, such as 1,3,11-14")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--cache", type=Path, default=Path(".demo/discovery"))
    parser.add_argument("--out", type=Path, help=f"CSV file for {out}")
    if processes is not None:
        text = "skies at once, a core each"
        parser.add_argument("--processes", type=int, default=processes, help=text)
    return parser


def side_by_side(
    function: Callable[..., T], jobs: Sequence[tuple[Any, ...]], processes: int
) -> Iterator[T]:
    """Call a function with the arguments of each job, so many at once; results in their order."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # a core for each process
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        for job in [pool.submit(function, *arguments) for arguments in jobs]:
            yield job.result()
