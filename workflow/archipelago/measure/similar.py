"""How fast "more like this" answers, how that grows with the objects, and what it misses.

``python -m archipelago.measure.similar`` makes features of several sizes, measures the whole
command on the first one (`archipelago.similar`, start of the process included), and at each
size the time of a search in the index beside that of comparing all objects, and the share of
the true nearest that the index finds.

The features are made up: points of a mixture in 24 dimensions, which a random layer per seed
turns into features, with noise of its own. So they have groups, agree between seeds and do not
fill their space, as learnt ones do; ``--run`` measures the features of a finished search too.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from archipelago.base.columns import write_columns
from archipelago.base.errors import ArchipelagoError, InputError
from archipelago.base.files import write_text
from archipelago.base.images import write_images
from archipelago.learning.store import save_features
from archipelago.similar.directions import chunks, open_features
from archipelago.similar.index import Index, index_from_files, load_index, save_index
from archipelago.similar.neighbours import nearest_objects, ranked

#: Seeds and features per seed of the made-up search.
_SEEDS, _FEATURES = 5, 256
#: Dimensions and groups that the objects really have, and noise of the features.
_LATENT, _GROUPS, _NOISE = 24, 20, 0.3
#: Objects asked for, and those compared with the true nearest.
_WANTED = 20
_FIRST_ID = 870_000_000
_WORKFLOW = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Measured:
    """One size. Times are those of one core's work, which other work does not lengthen.

    Attributes
    ----------
    n_objects : objects in the index.
    build_s : time to build and write the index.
    graph_mb : its size on disk [10^6 bytes].
    search_ms : median time of one search, features compared included.
    exact_ms : time of one search that compares all objects.
    recall : share of the 20 nearest that is found, mean over searches.
    """

    n_objects: int
    build_s: float
    graph_mb: float
    search_ms: float
    exact_ms: float
    recall: float


def make_search(folder: Path, n_objects: int, *, with_images: bool, seed: int = 1) -> None:
    """Write the files of a search that "more like this" reads, made up.

    Parameters
    ----------
    folder : as ``results/<run>``.
    n_objects : with images.
    with_images : write cutouts too, of noise, 5 bands of 28 px.
    seed : of everything random.
    """
    rng = np.random.default_rng(seed)
    ids = _FIRST_ID + np.arange(n_objects, dtype=np.int64)
    centres = 2.0 * rng.standard_normal((_GROUPS, _LATENT), dtype=np.float32)
    latent = centres[rng.integers(0, _GROUPS, n_objects)]
    latent += rng.standard_normal(latent.shape, dtype=np.float32)
    for number in range(1, _SEEDS + 1):
        layer = rng.standard_normal((_LATENT, _FEATURES), dtype=np.float32) / np.sqrt(_LATENT)
        features = latent @ layer.astype(np.float32)
        features += _NOISE * rng.standard_normal(features.shape, dtype=np.float32)
        np.maximum(features, 0.0, out=features)
        features /= np.linalg.norm(features, axis=1, keepdims=True)
        save_features(folder / f"learning/seed-{number}/features.npz", ids, features)
    places = {
        "id": pa.array(ids),
        "ra_deg": pa.array(rng.uniform(0.0, 360.0, n_objects)),
        "dec_deg": pa.array(np.degrees(np.arcsin(rng.uniform(-1.0, 1.0, n_objects)))),
    }
    write_columns(places, folder / "catalogue.parquet", dict.fromkeys(places, "made up"), {})
    for name in ("losses_catalogue.csv", "losses_images.csv"):
        write_text(folder / name, "id,ra_deg,dec_deg,tile,stage,reason,detail\n")
    if with_images:
        shape = (5, 28, 28)
        parts = (rng.standard_normal((len(rows), *shape), dtype=np.float32) for rows in chunks(ids))
        write_images(folder / "images.npz", parts, shape, ids, "grizY", 0.263, 30.0)


def time_command(folder: Path, repeats: int) -> tuple[list[float], float]:
    """Return how long the whole command takes [s], time after time, each for another object.

    The second number is the cores' work in one of them [s]: what is more is waiting.

    Raises
    ------
    ArchipelagoError
        If it fails.
    """
    taken = []
    before = os.times()
    path = os.pathsep.join(filter(None, [str(_WORKFLOW), os.environ.get("PYTHONPATH")]))
    for number in range(repeats):
        command = [sys.executable, "-m", "archipelago.similar", str(folder)]
        command += [str(_FIRST_ID + 37 * number)]
        start = time.perf_counter()
        done = subprocess.run(
            command,
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
        taken.append(time.perf_counter() - start)
        if done.returncode:
            raise ArchipelagoError("the command failed", where=done.stderr.strip()[-300:])
    after = os.times()
    work_s = after.children_user + after.children_system
    work_s -= before.children_user + before.children_system
    return taken, work_s / repeats


def measure_size(folder: Path, n_queries: int, n_exact: int = 3) -> Measured:
    """Build the index of a search, and measure searches in it.

    Parameters
    ----------
    folder : of the search; its index is written there.
    n_queries : searches timed, and compared with the truth.
    n_exact : searches timed that compare all objects.
    """
    paths = sorted(folder.glob("learning/seed-*/features.npz"))
    if not paths:
        raise InputError("no features there", where=str(folder), next_step="run the search")
    graph, objects = folder / "learning/index.faiss", folder / "learning/index.npz"
    start = time.process_time()
    built = index_from_files(
        paths, folder / "catalogue.parquet", seeds=range(1, len(paths) + 1), centre=True
    )
    save_index(built, graph, objects)
    build_s = time.process_time() - start
    index = load_index(graph, objects, open_features(paths))
    queries = index.places[
        np.unique(np.linspace(0, len(index.places) - 1, n_queries).astype(np.int64))
    ]
    found, searches_s = [], []
    for place in queries:
        start = time.process_time()
        found.append(nearest_objects(index, int(place), _WANTED).places)
        searches_s.append(time.process_time() - start)
    exact_s = []
    for place in queries[:n_exact]:
        start = time.process_time()
        ranked(index, int(place), index.places[index.places != place], _WANTED)
        exact_s.append(time.process_time() - start)
    truth = true_nearest(index, queries, _WANTED)
    pairs = zip(found, truth, strict=True)
    recall = np.mean([len(np.intersect1d(one, true)) / len(true) for one, true in pairs])
    return Measured(
        len(index.places),
        build_s,
        graph.stat().st_size / 1e6,
        1e3 * float(np.median(searches_s)),
        1e3 * float(np.median(exact_s)),
        float(recall),
    )


def true_nearest(index: Index, queries: NDArray[np.int64], number: int) -> list[NDArray[np.int64]]:
    """Return the places of the ``number`` nearest objects of each query, all compared."""
    wanted = index.directions.combined(index.rows[queries])
    best = np.full((len(queries), number), -np.inf, dtype=np.float32)
    places = np.full((len(queries), number), -1, dtype=np.int64)
    for some in chunks(index.places):
        cosines = wanted @ index.directions.combined(index.rows[some]).T
        cosines[queries[:, None] == some[None, :]] = -np.inf
        all_cosines = np.hstack([best, cosines])
        all_places = np.hstack([places, np.broadcast_to(some, cosines.shape)])
        order = np.argsort(-all_cosines, axis=1, kind="stable")[:, :number]
        best = np.take_along_axis(all_cosines, order, axis=1)
        places = np.take_along_axis(all_places, order, axis=1)
    return [row[row >= 0] for row in places]


def _line(name: str, row: Measured) -> str:
    return (
        f"{name:12s} {row.n_objects:9,d} {row.build_s:9.1f} {row.graph_mb:9.1f} "
        f"{row.search_ms:10.2f} {row.exact_ms:9.1f} {row.recall:9.3f}"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m archipelago.measure.similar",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 30_000, 100_000])
    parser.add_argument("--queries", type=int, default=100, help="searches per size")
    parser.add_argument("--repeats", type=int, default=5, help="times that the command is run")
    parser.add_argument("--run", type=Path, nargs="*", default=[], help="finished searches too")
    options = parser.parse_args(arguments)
    try:
        with tempfile.TemporaryDirectory(prefix="archipelago-similar-") as temporary:
            print(f"load: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores", flush=True)
            print(
                "search         objects   build s  graph MB  search ms  exact ms  recall@20",
                flush=True,
            )
            for number, size in enumerate(options.sizes):
                folder = Path(temporary) / f"made-{size}"
                make_search(folder, size, with_images=number == 0)
                print(_line("made up", measure_size(folder, options.queries)), flush=True)
                if number == 0:
                    taken, work_s = time_command(folder, options.repeats)
            for run in options.run:
                print(_line(run.name, measure_size(run, options.queries)), flush=True)
            print(
                f"the whole command at {options.sizes[0]:,} objects: median "
                f"{np.median(taken):.2f} s, longest {max(taken):.2f} s of {len(taken)}; "
                f"work {work_s:.2f} s"
            )
    except ArchipelagoError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
