"""More like this, at once: ``python -m archipelago.similar results/<run> <id or "ra,dec">``.

Prints the objects whose images are nearest to one of a search, and writes them with their
cutouts to ``results/<run>/similar/<target>/``, as ``snakemake similar`` does. The index is
built at the first time, if the workflow has not done so.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from archipelago.base.errors import ArchipelagoError, InputError
from archipelago.base.targets import parse_target
from archipelago.similar.answer import (
    MATCH_RADIUS_ARCSEC,
    SHOWN,
    answer,
    find_evidence,
    table_text,
    write_answer,
)
from archipelago.similar.directions import open_features
from archipelago.similar.index import Index, index_from_files, load_index, save_index, seeds_of


def open_index(run: Path, *, centre: bool) -> Index:
    """Return the index of a search, built and kept if there is none yet.

    Raises
    ------
    InputError
        If the search has no features yet, or its index is of others.
    """
    graph, objects = run / "learning/index.faiss", run / "learning/index.npz"
    if graph.is_file() and objects.is_file():
        seeds = seeds_of(objects)
    else:
        names = (path.parent.name for path in run.glob("learning/seed-*/features.npz"))
        seeds = sorted(int(name[5:]) for name in names if re.fullmatch(r"seed-\d+", name))
    if not seeds:
        raise InputError(
            "no features there", where=str(run), next_step="run the search, or check the folder"
        )
    paths = [run / f"learning/seed-{seed}/features.npz" for seed in seeds]
    if not (graph.is_file() and objects.is_file()):
        print("there is no index yet: it is built now, once", file=sys.stderr)
        built = index_from_files(paths, run / "catalogue.parquet", seeds=seeds, centre=centre)
        save_index(built, graph, objects)
    return load_index(graph, objects, open_features(paths))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m archipelago.similar",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", type=Path, help="folder of the search, such as results/demo")
    parser.add_argument("target", help='identifier, or "ra,dec" in degrees')
    parser.add_argument("-n", type=_positive, default=SHOWN, help="objects (default: %(default)s)")
    parser.add_argument(
        "--radius",
        type=float,
        default=MATCH_RADIUS_ARCSEC,
        help="largest distance from a position [arcsec] (default: %(default)s)",
    )
    parser.add_argument(
        "--no-centre",
        action="store_true",
        help="where the index is built: do not subtract the mean feature (islands.centre: false)",
    )
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    options = _parser().parse_args(arguments)
    run: Path = options.run
    try:
        target = parse_target(options.target)
        found = answer(
            target,
            open_index(run, centre=not options.no_centre),
            run / "images.npz",
            [run / "losses_catalogue.csv", run / "losses_images.csv"],
            find_evidence(run),
            number=options.n,
            match_radius_arcsec=options.radius,
        )
        out = run / "similar" / target.name
        write_answer(
            found,
            parquet=out / "similar.parquet",
            csv=out / "similar.csv",
            html=out / "similar.html",
        )
    except ArchipelagoError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(table_text(found))
    print(f"with cutouts: {out / 'similar.html'}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
