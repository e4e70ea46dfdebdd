"""What the access to a survey is worth: ``make bench-access`` (``python -m ...measure.access``).

Against servers on this machine, each in a process of its own: how fast cutouts come beside the
seed's way (one ``wget`` process per file, one after another, the same files, in the same run),
what a second run asks for, what injected failures cost, how memory grows with the number of
objects, and how many objects at tile edges are rescued. What is measured are the rules' own
scripts. Prints what is asked for beside what was measured, and writes it as CSV.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import numpy as np
import pandas as pd

from archipelago.base.errors import ArchipelagoError
from archipelago.base.tables import read_table, write_table
from archipelago.config.model import Config
from archipelago.config.search import Search
from archipelago.measure.access_server import (
    in_own_process,
    serve_any,
    serve_demo,
    serve_stored,
)
from archipelago.measure.edges import rescued_edges
from archipelago.measure.job import run_rule
from archipelago.measure.verdicts import configuration
from archipelago.survey.services import ENVIRONMENT_VARIABLE

_REPOSITORY = Path(__file__).resolve().parents[3]

#: Time before each answer of the speed's server [s], and requests that the client has at once.
LATENCY_S = 0.1
CONNECTIONS = 32
#: Requests per second that these allow.
ALLOWED_PER_S = CONNECTIONS / LATENCY_S
#: Objects fetched before the clock runs: imports and connections.
_WARM_UP = 40
#: Share of all requests that fails, and the seed by which they are drawn.
FAILED_SHARE = 0.3
_FAULTS = {
    "seed": 1,
    "rules": [
        {"endpoint": "*", "kind": "status", "status": 503, "share": FAILED_SHARE, "anew": True}
    ],
}


@dataclass(frozen=True)
class Figure:
    """One line of the table.

    Parameters
    ----------
    what : what was measured.
    asked : what is asked for, in words; empty where nothing is.
    measured : what came out, in words.
    good : whether that is what is asked for; None where nothing is.
    by_machine : whether a slow machine alone may be why it is not.
    """

    what: str
    asked: str
    measured: str
    good: bool | None = None
    by_machine: bool = False


@dataclass(frozen=True)
class Bench:
    """What all measurements share.

    Parameters
    ----------
    config : the demo's configuration.
    folder : for everything that is written.
    seed : of the demo sky.
    """

    config: Config
    folder: Path
    seed: int

    def job(
        self, rule: str, given: Mapping[str, Path], output: Mapping[str, Path], tile: str = "t1"
    ) -> dict[str, Any]:
        """Return a job of a rule of one tile, as `run_rule` takes it."""
        survey = self.config.survey
        catalogues = [partner.plain() for partner in self.config.match]
        bands = {name: band.plain() for name, band in survey.bands.items()}
        params: dict[str, dict[str, Any]] = {
            "select": {
                "columns": survey.columns.plain(),
                "bands": bands,
                "healpix_order": survey.healpix_order,
                "max_rows": survey.max_rows,
            },
            "match": {"catalogues": catalogues, "max_rows": survey.max_rows},
            "cutouts": {"asked": self.config.images.asked_of_service()},
        }
        for path in output.values():
            path.parent.mkdir(parents=True, exist_ok=True)
        return {
            "rule": rule,
            "input": {name: str(path) for name, path in given.items()},
            "output": {name: str(path) for name, path in output.items()},
            "params": params[rule],
            "wildcards": {"tile": tile},
            "threads": 1,
            "mem_mb": 2000,
            "log": str(self.folder / f"{rule}.log"),
        }

    def cutouts(self, objects: pd.DataFrame, name: str) -> tuple[dict[str, Any], Path]:
        """Return a job that fetches the cutouts of objects, and the folder that it writes to."""
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        given = folder / "photometry.parquet"
        positions = objects[["id", "ra_deg", "dec_deg"]].astype({"id": "int64"})
        write_table(positions.sort_values("id"), given, {})
        output = {
            "cutouts": folder / "cutouts.npz",
            "manifest": folder / "manifest.parquet",
            "losses": folder / "losses_images.csv",
        }
        return self.job("cutouts", {"photometry": given}, output), folder

    @contextmanager
    def services(self, url: str, sia: str, cache: Path | None = None) -> Iterator[None]:
        """Tell scripts, also of child processes, where the services are."""
        section = json.loads(self.config.services.model_dump_json()) | {
            "connections": CONNECTIONS,
            "cache": {"folder": str(cache) if cache else None, "max_gb": 10.0},
        }
        section["tap"] |= {"url": f"{url}/tap"}
        section["xmatch"] |= {"url": f"{url}/xmatch/api/v1/sync"}
        section["sia"] |= {"url": f"{url}{sia}"}
        before = os.environ.get(ENVIRONMENT_VARIABLE)
        os.environ[ENVIRONMENT_VARIABLE] = json.dumps(section)
        try:
            yield
        finally:
            os.environ.pop(ENVIRONMENT_VARIABLE)
            if before is not None:
                os.environ[ENVIRONMENT_VARIABLE] = before


# --- how fast ---


def speed(bench: Bench, n_objects: int, n_wget: int) -> list[Figure]:
    """Measure cutouts per second at `LATENCY_S`, beside a wget process per file."""
    with in_own_process(serve_stored, bench.seed, n_objects, LATENCY_S) as server:
        with bench.services(server.url, "/sia"):
            run_rule(bench.cutouts(server.objects[:_WARM_UP], "warm")[0])
            job, folder = bench.cutouts(server.objects, "speed")
            before, cpu_s, start_s = _count(server.url), time.process_time(), time.perf_counter()
            run_rule(job)
            took_s = time.perf_counter() - start_s
            cpu_s = time.process_time() - cpu_s
            n_requests = _count(server.url) - before
        manifest = read_table(folder / "manifest.parquet")
        good = manifest[manifest["status"] == "ok"]
        per_s = len(good) / took_s
        wget_per_s = _wget(good["url"].drop_duplicates().to_list()[:n_wget], bench.folder / "wget")
    # Both ways need a list of images per object; wget is timed on the cutouts alone.
    files_per_s = n_requests / took_s
    ratio, share = files_per_s / wget_per_s, files_per_s / ALLOWED_PER_S
    return [
        Figure("cutouts fetched, judged and written", "", f"{len(good)} in {took_s:.1f} s"),
        Figure("cutouts per second", "", f"{per_s:.0f}"),
        Figure("files per second, a wget process per file", "", f"{wget_per_s:.2f}"),
        Figure(
            "files (cutouts and their lists), times faster than wget",
            ">= 25",
            f"{ratio:.1f}; cutouts alone {per_s / wget_per_s:.1f}",
            ratio >= 25,
            by_machine=True,
        ),
        Figure(
            f"requests per second, share of {ALLOWED_PER_S:.0f}",
            ">= 75 % if the machine gives it",
            f"{share:.0%}",
            share >= 0.75,
            by_machine=True,
        ),
        Figure(
            "computing time per request",
            "",
            f"{1e3 * cpu_s / n_requests:.1f} ms, {cpu_s / took_s:.0%} of one core",
        ),
    ]


def _wget(urls: Sequence[str], folder: Path) -> float:
    """Fetch files as the seed did, one process after the other; return files per second."""
    wget = shutil.which("wget")
    if wget is None:
        raise ArchipelagoError("wget is not here", next_step="install it, as apt install wget does")
    folder.mkdir(parents=True, exist_ok=True)
    start_s = time.perf_counter()
    for number, url in enumerate(urls):
        subprocess.run(
            [wget, "--quiet", "--no-proxy", "-O", str(folder / f"{number}.fits"), url], check=True
        )
    return len(urls) / (time.perf_counter() - start_s)


def _count(url: str) -> int:
    with urlopen(f"{url}/count") as answer:
        return int(answer.read())


# --- requests ---


def requests_sent(bench: Bench, n_objects: int) -> list[Figure]:
    """Measure the requests of a second run with the cache kept, and with failures injected."""
    tile = Search.of(bench.config, _REPOSITORY).tiles[0]
    cache = bench.folder / "cache"
    with in_own_process(serve_demo, bench.seed) as server:
        with bench.services(server.url, "/sia/des_dr2", cache):
            first = _tile_run(bench, server.url, tile, "first", n_objects)
            second = _tile_run(bench, server.url, tile, "second", n_objects)
        _set_faults(server.url, _FAULTS)
        with bench.services(server.url, "/sia/des_dr2"):
            faulty = _tile_run(bench, server.url, tile, "faulty", n_objects)
    same = all(
        (bench.folder / name / "cutouts.npz").read_bytes()
        == (bench.folder / "first" / "cutouts.npz").read_bytes()
        for name in ("second", "faulty")
    )
    ratio = faulty["requests"] / first["requests"]
    complete = faulty["complete"] == first["complete"]
    about = f"{first['objects']} objects of tile {tile}"
    return [
        Figure(f"requests of a first run, {about}", "", f"{first['requests']}"),
        Figure(
            "requests of a second run, cache kept",
            "0",
            f"{second['requests']}",
            second["requests"] == 0,
        ),
        Figure(
            f"{FAILED_SHARE:.0%} of requests failing: complete objects",
            f"{first['complete']}",
            f"{faulty['complete']}",
            complete,
        ),
        Figure(
            f"{FAILED_SHARE:.0%} of requests failing ({faulty['faults']} did): requests, ratio",
            "<= 1.6",
            f"{ratio:.2f}",
            ratio <= 1.6,
        ),
        Figure("the three runs' cutouts are the same bytes", "yes", "yes" if same else "no", same),
    ]


def _tile_run(bench: Bench, url: str, tile: str, name: str, n_objects: int) -> dict[str, int]:
    """Select, match and fetch cutouts of a tile; return what it took."""
    folder = bench.folder / name
    before = _counters(url)
    run_rule(
        bench.job(
            "select",
            {"query": _REPOSITORY / bench.config.survey.query},
            {"sources": folder / "sources.parquet", "losses": folder / "losses_select.csv"},
            tile,
        )
    )
    run_rule(
        bench.job(
            "match",
            {"sources": folder / "sources.parquet"},
            {"matched": folder / "matched.parquet", "losses": folder / "losses_match.csv"},
            tile,
        )
    )
    matched = read_table(folder / "matched.parquet", required=("id", "ra_deg", "dec_deg"))
    # Evenly over the tile, so that its edges are there.
    places = np.unique(np.linspace(0, len(matched) - 1, n_objects).astype(int))
    run_rule(bench.cutouts(matched.iloc[places], name)[0])
    manifest = read_table(folder / "manifest.parquet")
    whole = (manifest["status"] == "ok").groupby(manifest["id"]).all()
    now = _counters(url)
    taken = {key: now[key] - before.get(key, 0) for key in now}
    faults = taken.pop("faults", 0)
    return {
        "requests": sum(taken.values()),
        "faults": faults,
        "objects": len(places),
        "complete": int(whole.sum()),
    }


def _counters(url: str) -> dict[str, int]:
    with urlopen(f"{url}/control/counters") as answer:
        return {str(name): int(count) for name, count in json.load(answer).items()}


def _set_faults(url: str, plan: Mapping[str, Any]) -> None:
    request = Request(f"{url}/control/faults", json.dumps(plan).encode(), method="POST")
    with urlopen(request) as answer:
        answer.read()


# --- memory ---


def memory(bench: Bench, sizes: Sequence[int], bands: Sequence[str]) -> list[Figure]:
    """Measure the peak memory of download jobs of so many objects."""
    peaks_mb, figures = [], []
    rng = np.random.default_rng(bench.seed)
    cache = bench.folder / "memory-cache"
    with in_own_process(serve_any) as server, bench.services(server.url, "/sia", cache):
        for size in sizes:
            # A tile of order 2 is 15 deg wide; some 10 by 10 deg of it.
            objects = pd.DataFrame(
                {
                    "id": np.arange(size),
                    "ra_deg": rng.uniform(30.0, 40.0, size),
                    "dec_deg": rng.uniform(-40.0, -30.0, size),
                }
            )
            job, folder = bench.cutouts(objects, f"memory-{size}")
            job["params"]["asked"]["bands"] = list(bands)
            file = folder / "job.json"
            file.write_text(json.dumps(job), encoding="utf-8")
            start_s = time.perf_counter()
            subprocess.run([sys.executable, "-m", "archipelago.measure.job", file], check=True)
            took_s = time.perf_counter() - start_s
            taken = json.loads(file.with_suffix(".done").read_text(encoding="utf-8"))
            manifest = read_table(folder / "manifest.parquet")
            good = int((manifest["status"] == "ok").sum())
            if good != size * len(bands):
                raise ArchipelagoError(
                    f"{good} of {size * len(bands)} cutouts came in memory's job"
                )
            peaks_mb.append(taken["max_rss_mb"])
            figures.append(
                Figure(
                    f"peak memory, {size} objects in {len(bands)} bands",
                    "",
                    f"{taken['max_rss_mb']:.0f} MB, {took_s:.0f} s",
                )
            )
    growth = max(peaks_mb) / min(peaks_mb) - 1
    return [*figures, Figure("growth of the peak", "<= 10 %", f"{growth:.1%}", growth <= 0.1)]


# --- edges ---


def edges(bench: Bench) -> list[Figure]:
    """Measure the share of objects at tile edges whose cutouts are complete."""
    layouts = {"own": "as they are", "split": "split at objects"}
    figures = []
    for layout, found in rescued_edges(bench.seed).items():
        share = found.n_rescued / max(found.n_exist, 1)
        figures.append(
            Figure(
                f"edge objects rescued, of {found.n_exist} whose pixels exist; "
                f"tiles {layouts.get(layout, layout)}",
                ">= 90 %",
                f"{found.n_rescued}, {share:.0%} ({found.n_assembled} of several tiles)",
                share >= 0.9,
            )
        )
    return figures


# --- command line ---


def table(figures: Sequence[Figure]) -> str:
    """Return the figures as text in columns."""
    rows = [("what", "asked", "measured", "")]
    marks = {None: "", True: "ok", False: "MISSED"}
    rows += [(f.what, f.asked, f.measured, marks[f.good]) for f in figures]
    widths = [max(len(row[k]) for row in rows) for k in range(3)]
    return "\n".join(
        "  ".join([*(row[k].ljust(widths[k]) for k in range(3)), row[3]]).rstrip() for row in rows
    )


_PARTS = ("speed", "requests", "memory", "edges")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m archipelago.measure.access",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(_PARTS)}")
    parser.add_argument("--seed", type=int, default=1, help="seed of the demo sky")
    parser.add_argument("--objects", type=int, default=800, help="for the speed")
    parser.add_argument("--wget", type=int, default=60, help="files fetched by wget")
    parser.add_argument("--tile-objects", type=int, default=60, help="for the requests")
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 10_000], help="for memory")
    parser.add_argument("--bands", nargs="+", default=["g", "r", "i", "z", "Y"], help="for memory")
    parser.add_argument("--out", type=Path, help="CSV to write")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the bench; returns the exit status: 1 if it fails or misses what no machine excuses."""
    options = _parser().parse_args(arguments)
    parts = options.parts or _PARTS
    if unknown := sorted(set(parts) - set(_PARTS)):
        print(f"error: no part {unknown[0]!r}; there are {', '.join(_PARTS)}", file=sys.stderr)
        return 2
    figures: list[Figure] = []
    try:
        files = [_REPOSITORY / "config.yaml", _REPOSITORY / "data" / "presets" / "demo.yaml"]
        config = configuration(files, [])
        with tempfile.TemporaryDirectory(prefix="bench-access-") as folder:
            bench = Bench(config, Path(folder), options.seed)
            steps = {
                "speed": lambda: speed(bench, options.objects, options.wget),
                "requests": lambda: requests_sent(bench, options.tile_objects),
                "memory": lambda: memory(bench, options.sizes, options.bands),
                "edges": lambda: edges(bench),
            }
            for part in parts:
                start_s = time.perf_counter()
                figures += steps[part]()
                print(f"{part}: {time.perf_counter() - start_s:.0f} s", file=sys.stderr)
    except ArchipelagoError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(table(figures))
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        pd.DataFrame(figures).to_csv(options.out, index=False)
    return 1 if any(f.good is False and not f.by_machine for f in figures) else 0


if __name__ == "__main__":
    raise SystemExit(main())
