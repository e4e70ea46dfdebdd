"""Measure memory and time of every rule at several sizes, for `archipelago.needs` and for plans.

``python -m archipelago.measure.resources`` reads what Snakemake measured in finished runs
(``results/<run>/benchmarks``), runs the rules' scripts on the demo's files and on larger ones
made of them (`archipelago.measure.enlarge`), each in a process of its own, and writes
``data/resources.csv``. With ``--plan`` it measures nothing: it prints, from that table, what
searches of several sizes cost (`archipelago.measure.plan`).

Memory is what matters most here, and does not depend on what else the machine does; times do.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from astropy.io import fits

from archipelago.base.errors import ArchipelagoError, InputError
from archipelago.base.files import write_text
from archipelago.base.tables import read_table
from archipelago.config.load import load_config
from archipelago.config.model import Config
from archipelago.demosky.votable import MEDIA_TYPE, write_votable
from archipelago.measure.cases import (
    ONCE,
    PER_TILE,
    Case,
    Run,
    lephare_case,
    tile_case,
    train_case,
)
from archipelago.measure.enlarge import enlarge, repeat_rows
from archipelago.measure.injection_cases import RULES as INJECTION_RULES
from archipelago.measure.injection_cases import SIZES as INJECTION_SIZES
from archipelago.measure.injection_cases import injection_cases
from archipelago.similar.index import index_from_files, save_index

REPOSITORY = Path(__file__).resolve().parents[3]
#: The measured table.
TABLE = REPOSITORY / "data" / "resources.csv"
#: One MB as Snakemake and SLURM count it [bytes].
MB = 1024.0 * 1024.0

#: Copies of the demo's sky that each rule is measured on. The largest are those that still
#: take less than a minute.
TIMES: dict[str, tuple[int, ...]] = {
    "select": (1, 5, 21, 70),
    "match": (1,),
    "cutouts": (1,),
    "photometry": (1, 5, 21, 70),
    "catalogue": (1, 5, 21, 70),
    "losses": (1, 5, 21, 70),
    "own_cutouts": (1, 5, 21),
    "images": (1, 5, 21),
    "train": (1, 5),
    "features": (1, 5),
    "map": (1, 5, 21),
    "islands": (1, 5, 21),
    "similar_index": (1, 5, 21),
    "similar": (1, 5, 21),
    "templates": (1,),
    "sed": (1, 5, 21),
    "simulate": (1, 5, 21),
    "simulated_features": (1,),
    "recognise": (1, 5),
    "lens_evidence": (1,),
    "candidates": (1, 5, 21),
    "exports": (1, 5, 21),
    "finding_charts": (1, 5, 21),
    "posteriors": (70,),
    "published_fit": (1, 70),
    "lephare": (1, 5),
    "recall": (1, 5, 21, 70),
    "report": (1, 5, 21),
    "ingest": (1, 5, 21, 70),
    "detect": (1, 4, 16),
}
#: Further rules: together, at the sizes of `injection_cases`.
INJECTIONS = "injections"
#: Longest that one measurement may take [s].
_LONGEST_S = 580.0


@dataclass(frozen=True)
class Measured:
    """One measurement.

    Parameters
    ----------
    rule : its name.
    n_objects : rows or objects that went through (see `archipelago.measure.cases`).
    work : epochs of a training, objects fitted one by one; else 1.
    input_mb : size of the files read, but for images left on disk [2^20 bytes].
    output_mb : size of the files written; 0 where Snakemake measured [2^20 bytes].
    max_rss_mb : largest resident memory [2^20 bytes].
    seconds, cpu_seconds : of the wall clock, and of all cores.
    threads : that the rule had.
    source : run whose benchmark it is; or ``script``, measured by this module, and the preset
        where it is not the run's configuration.
    """

    rule: str
    n_objects: int
    work: int
    input_mb: float
    output_mb: float
    max_rss_mb: float
    seconds: float
    cpu_seconds: float
    threads: int
    source: str


_DIGITS = {"input_mb": 4, "output_mb": 4, "max_rss_mb": 1, "seconds": 2, "cpu_seconds": 2}


def write_measured(rows: Iterable[Measured], path: Path) -> None:
    """Write measurements as CSV, sorted by rule, objects and source."""
    names = [one.name for one in fields(Measured)]
    lines = [",".join(names)]
    for row in sorted(rows, key=lambda row: (row.rule, row.n_objects, row.work, row.source)):
        values = ((name, getattr(row, name)) for name in names)
        lines.append(
            ",".join(
                f"{value:.{_DIGITS[name]}f}" if name in _DIGITS else str(value)
                for name, value in values
            )
        )
    write_text(path, "\n".join(lines) + "\n")


def read_measured(path: Path = TABLE) -> list[Measured]:
    """Read what `write_measured` wrote.

    Raises
    ------
    InputError
        If the file is not there, or lacks a column.
    """
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            found = list(csv.DictReader(stream))
    except OSError as error:
        raise InputError(
            f"no table of measurements: {error}", where=str(path), next_step="make bench-resources"
        ) from error
    try:
        return [
            Measured(
                rule=row["rule"],
                n_objects=int(row["n_objects"]),
                work=int(row["work"]),
                input_mb=float(row["input_mb"]),
                output_mb=float(row["output_mb"]),
                max_rss_mb=float(row["max_rss_mb"]),
                seconds=float(row["seconds"]),
                cpu_seconds=float(row["cpu_seconds"]),
                threads=int(row["threads"]),
                source=row["source"],
            )
            for row in found
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"no table of measurements: {error}", where=str(path), next_step="make bench-resources"
        ) from error


def total_mb(paths: Iterable[Path]) -> float:
    """Return the size of files [2^20 bytes], as Snakemake's ``input.size_mb``.

    A folder counts as what its own entry takes, not as what lies in it, as it does there.
    """
    return sum(path.stat().st_size for path in paths) / MB


# ------------------------------------------------------------------ measured by Snakemake


def snakemake_rows(run: Run, folder: Path, threads: int) -> Iterator[Measured]:
    """Yield what Snakemake measured of a finished run whose rules all have a case.

    Parameters
    ----------
    run : the run.
    folder : of its results, whose name tells the source.
    threads : cores that Snakemake had: no rule gets more.
    """
    for name, make in ONCE.items():
        case = make(run)
        for number, path in enumerate(sorted(_benchmarks(folder, name))):
            work = case.work
            if name == "train":
                history = folder / "learning" / path.stem / "history.csv"
                work = len(pd.read_csv(history))
            elif name == "posteriors":
                shard = folder / "posteriors" / f"shard-{path.stem}.parquet"
                work = read_table(shard)["id"].nunique()
            elif number:  # alike in all but chance
                continue
            yield _from_tsv(path, replace(case, work=work), threads, folder.name)
    for name in PER_TILE:
        for tile in run.tiles:
            path = folder / "benchmarks" / name / f"{tile}.tsv"
            if path.is_file():
                yield _from_tsv(path, tile_case(run, name, tile), threads, folder.name)


def _benchmarks(folder: Path, rule: str) -> list[Path]:
    single = folder / "benchmarks" / f"{rule}.tsv"
    return [single] if single.is_file() else list((folder / "benchmarks" / rule).glob("*.tsv"))


def _from_tsv(path: Path, case: Case, threads: int, source: str) -> Measured:
    row = pd.read_csv(path, sep="\t").iloc[0]
    return Measured(
        case.rule,
        case.n_objects,
        case.work,
        total_mb(case.counted()),
        0.0,
        float(row["max_rss"]),
        float(row["s"]),
        float(row["cpu_time"]),
        min(case.threads, threads),
        source,
    )


# ------------------------------------------------------------------- measured by ourselves


class Measurer:
    """Runs cases on a run, and on the run enlarged.

    Parameters
    ----------
    run : the finished run.
    work : folder for larger files, outputs and logs.
    """

    def __init__(self, run: Run, work: Path) -> None:
        self._run, self._work = run, work
        self._number = 0

    def measure(self, case: Case, times: int = 1, keep: Path | None = None) -> Measured:
        """Run the case on its files ``times`` as large; ``keep`` is a folder for its outputs.

        Raises
        ------
        ArchipelagoError
            If the script fails or takes too long; holds the end of what it said.
        """
        given = {
            name: [self._larger(path, case, times) for path in value]
            if isinstance(value, list)
            else self._larger(value, case, times)
            for name, value in case.input.items()
        }
        larger = replace(case, input=given, n_objects=_times(case, times))
        self._number += 1
        out = self._work / f"{self._number:03d}-{case.rule}"
        out.mkdir()
        job = {
            "rule": case.rule,
            "input": _texts(given),
            "output": {
                name: [str(out / one) for one in value]
                if isinstance(value, list)
                else str(out / value)
                for name, value in case.output.items()
            },
            "params": json.loads(json.dumps(dict(case.params)).replace("{out}", str(out))),
            "wildcards": dict(case.wildcards),
            "threads": case.threads,
            "mem_mb": 2 * self._run.config.sed.fit.memory_mb,
            "log": str(out / "log"),
        }
        path = out / "job.json"
        path.write_text(json.dumps(job), encoding="utf-8")
        seconds = self._start(path, case)
        taken = json.loads(path.with_suffix(".done").read_text(encoding="utf-8"))
        written = [file for file in out.rglob("*") if file.is_file()]
        about = {"job.json", "job.done", "job.log", "log"}
        row = Measured(
            case.rule,
            larger.n_objects,
            case.work,
            total_mb(larger.counted()),
            total_mb(file for file in written if file.name not in about),
            taken["max_rss_mb"],
            seconds,
            taken["cpu_seconds"],
            case.threads,
            "script",
        )
        if keep is not None:
            keep.mkdir(parents=True, exist_ok=True)
            for name in case.output.values():
                (out / name).rename(keep / name)
        for file in written:  # large, and not needed any more
            file.unlink(missing_ok=True)
        return row

    def _start(self, path: Path, case: Case) -> float:
        environment = dict(os.environ)
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            environment[name] = str(case.threads)
        environment["PYTHONPATH"] = os.pathsep.join(
            filter(None, [str(REPOSITORY / "workflow"), os.environ.get("PYTHONPATH")])
        )
        environment["ARCHIPELAGO_SED_DEVICE"] = "cpu"
        environment["ARCHIPELAGO_SERVICES"] = case.services
        log = path.with_suffix(".log")
        start_s = time.perf_counter()
        with log.open("wb") as stream:
            try:
                done = subprocess.run(
                    [sys.executable, "-m", "archipelago.measure.job", str(path)],
                    cwd=path.parent,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=stream,
                    stderr=subprocess.STDOUT,
                    timeout=_LONGEST_S,
                    check=False,
                )
            except subprocess.TimeoutExpired as error:
                raise ArchipelagoError(
                    f"the rule {case.rule} took more than {_LONGEST_S:.0f} s",
                    where=str(log),
                    next_step="measure smaller sizes",
                ) from error
        seconds = time.perf_counter() - start_s
        if done.returncode:
            said = [log.read_text(encoding="utf-8", errors="replace")]
            said += [
                (path.parent / "log").read_text(encoding="utf-8", errors="replace")
                if (path.parent / "log").is_file()
                else ""
            ]
            tail = " | ".join([line for text in said for line in text.splitlines()][-3:])
            raise ArchipelagoError(
                f"the rule {case.rule} ended with code {done.returncode}: {tail}",
                where=str(log),
                next_step="give --work to keep the log",
            )
        return seconds

    def _larger(self, path: Path, case: Case, times: int) -> Path:
        """Return the file ``times`` as large; made once."""
        name = path.name
        if name.startswith("losses") and case.losses_times > 1:
            times *= case.losses_times
        in_run = path.is_relative_to(self._run.folder)
        if times == 1 or not path.is_file() or not (in_run or path == self._run.truth):
            return path
        inside = path.relative_to(self._run.folder) if in_run else Path(name)
        out = self._work / f"times-{times}" / inside
        if not out.is_file():
            enlarge(path, out, times)
        return out


def _times(case: Case, times: int) -> int:
    """Objects of a case made larger; the templates have none, and stay as they are."""
    return case.n_objects * times if case.rule != "templates" else case.n_objects


def _texts(paths: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: [str(one) for one in value] if isinstance(value, list) else str(value)
        for name, value in paths.items()
    }


def ingest_case(run: Run, work: Path, times: int) -> Case:
    """Return the case of a user's own catalogue of ``times`` the run's objects, as CSV.

    Its tiles are those of the preset for published catalogues: twelve for the whole sky.
    """
    table = read_table(run.file("catalogue.parquet"))
    bands = run.config.photometry.bands
    kept = ["id", "ra_deg", "dec_deg"]
    kept += [f"{part}_{band}" for band in bands for part in ("flux_ujy", "flux_err_ujy")]
    path = work / f"own-{times}.csv"
    repeat_rows(table[kept], times).to_csv(path, index=False)
    tiles = [f"o0-{number:05d}" for number in range(12)]
    each = {"photometry": "photometry.parquet", "cutflow": "cutflow.csv", "losses": "losses.csv"}
    return Case(
        "ingest",
        {"catalogue": path},
        {name: [f"{tile}-{file}" for tile in tiles] for name, file in each.items()},
        {
            "columns": {name: name for name in kept[:3]},
            "bands": {
                band: {
                    "value": f"flux_ujy_{band}",
                    "error": f"flux_err_ujy_{band}",
                    "system": "flux_ujy",
                }
                for band in bands
            },
            "photometry": run.config.photometry.plain() | {"cuts": []},
            "tile_order": 0,
            "tiles": tiles,
        },
        len(table) * times,
    )


def similar_case(run: Run, work: Path) -> Case:
    """Return the case of the objects most like the run's first one, in an index made for it.

    Features and index stay as they are where the rest is made larger: little of them is read.
    """
    features = [work / f"similar-{seed}.npz" for seed in run.seeds]
    for seed, path in zip(run.seeds, features, strict=True):
        shutil.copyfile(run.file(f"learning/seed-{seed}/features.npz"), path)
    graph, objects = work / "index.faiss", work / "index.npz"
    index = index_from_files(
        features,
        run.file("catalogue.parquet"),
        seeds=run.seeds,
        centre=run.config.islands.centre,
    )
    save_index(index, graph, objects)
    return Case(
        "similar",
        {
            "features": features,
            "graph": graph,
            "objects": objects,
            "images": run.file("images.npz"),
            "losses": [run.file("losses_catalogue.csv"), run.file("losses_images.csv")],
            "evidence": [run.file("candidates.parquet")],
        },
        {name: f"similar.{name}" for name in ("parquet", "csv", "html")},
        {
            "target": int(index.ids[index.places[0]]),
            "similar": run.config.similar.plain(),
            "centre": run.config.islands.centre,
        },
        run.n_objects,
    )


#: Side of the smallest image that detection is measured on [px], and of a source's square.
_FIELD_PX, _SOURCE_PX = 512, 40


def detect_case(run: Run, work: Path, times: int) -> Case:
    """Return the case of images of one's own, ``times`` the smallest one's pixels.

    Noise, and a round source in every square of 40 px.
    """
    side = int(_FIELD_PX * math.sqrt(times))
    rng = np.random.default_rng(times)
    offset = (np.arange(side) % _SOURCE_PX) - _SOURCE_PX / 2
    source = np.exp(-(offset[:, None] ** 2 + offset[None, :] ** 2) / (2 * 1.7**2))
    bands = run.config.images.bands
    paths = []
    for band in bands:
        path = work / f"field-{times}-{band}.fits"
        pixels = (300.0 * source + rng.standard_normal((side, side))).astype(np.float32)
        fits.PrimaryHDU(pixels).writeto(path, overwrite=True)
        paths.append(path)
    photometry = run.config.photometry.plain()
    return Case(
        "detect",
        {"fields": paths},
        {
            "photometry": "photometry.parquet",
            "cutflow": "cutflow.csv",
            "losses": "losses_photometry.csv",
            "cutouts": "cutouts.npz",
            "manifest": "manifest.parquet",
            "image_losses": "losses_images.csv",
        },
        {
            **run.config.images.plain(without={"source", "fields"}),
            "photometry": photometry
            | {"cuts": [], "depths": {band: photometry["depths"][band] for band in bands}},
        },
        (side // _SOURCE_PX) ** 2,
    )


@contextmanager
def answering(body: bytes) -> Iterator[str]:
    """Serve one VOTable to whatever is asked, on loopback; yields the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(200)
            self.send_header("Content-Type", MEDIA_TYPE)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def select_answer(run: Run, tile: str, times: int) -> bytes:
    """Return what the survey's TAP service answers for a tile with ``times`` its rows."""
    table = repeat_rows(read_table(run.file(f"tiles/{tile}/sources.parquet")), times)
    names = dict(run.config.survey.columns.plain())
    for band, spec in run.config.survey.bands.items():
        for part, column in (("mag_ab", spec.value), ("mag_err", spec.error)):
            names[f"{part}_{band}"] = column
    return write_votable(table.rename(columns=names))


def _services(config: Config, url: str) -> str:
    section = config.services.plain()
    section["tap"] |= {"url": f"{url}/tap", "mode": "sync"}
    section["cache"] |= {"folder": None}
    return json.dumps(section)


def measure_scripts(
    measurer: Measurer,
    run: Run,
    work: Path,
    rules: Sequence[str],
    lephare: Path | None = None,
    services: str = "",
) -> Iterator[Measured]:
    """Yield measurements of the scripts of ``rules`` at the sizes of `TIMES`.

    Parameters
    ----------
    measurer : runs them.
    run : the run whose files they read.
    work : folder for further files.
    rules : names.
    lephare : folder or archive of LePHARE's data; without it the rule lephare is left out.
    services : section ``services`` that leads to the run's own survey, as JSON; without it
        match and cutouts are left out.
    """
    largest = max(run.tiles, key=lambda tile: run.rows(f"tiles/{tile}/sources.parquet"))
    for rule in rules:
        if rule == INJECTIONS:
            yield from measure_injections(measurer, run, work)
            continue
        for times in TIMES[rule]:
            if rule == "ingest":
                yield measurer.measure(ingest_case(run, work, times))
            elif rule == "similar":
                yield measurer.measure(similar_case(run, work), times)
            elif rule == "detect":
                yield measurer.measure(detect_case(run, work, times))
            elif rule == "select":
                case = tile_case(run, rule, largest)
                case = replace(case, n_objects=case.n_objects * times)
                with answering(select_answer(run, largest, times)) as url:
                    yield measurer.measure(replace(case, services=_services(run.config, url)))
            elif rule in ("match", "cutouts"):
                if services:
                    case = tile_case(run, rule, largest)
                    yield measurer.measure(replace(case, services=services), times)
            elif rule == "photometry":
                yield measurer.measure(tile_case(run, rule, largest), times)
            elif rule == "lephare":
                if lephare is not None:
                    yield measurer.measure(lephare_case(run, lephare), times)
            else:
                yield measurer.measure(ONCE[rule](run), times)
        if rule == "train":
            taken = measurer.measure(train_case(run, run.paper))
            yield replace(taken, source="script paper")


def measure_injections(measurer: Measurer, run: Run, work: Path) -> Iterator[Measured]:
    """Yield measurements of the rules of injections, which read what those before them made."""
    for n, times in INJECTION_SIZES:
        folder = work / f"injected-{n}-{times}"
        for case in injection_cases(run, n, folder):
            taken = measurer.measure(case, times, keep=folder)
            # Objects are those injected, in however large a search.
            yield replace(taken, n_objects=n)


# ------------------------------------------------------------------------------- command


def read_config(presets: Sequence[Path]) -> Config:
    """Return config.yaml under presets, checked.

    Raises
    ------
    ConfigError
        If anything in it is wrong.
    """
    raw: dict[str, Any] = {}
    for path in (REPOSITORY / "config.yaml", *presets):
        _merge(raw, yaml.safe_load(path.read_text(encoding="utf-8")))
    return load_config(raw)


def _merge(into: dict[str, Any], over: Mapping[str, Any]) -> None:
    for name, value in over.items():
        if isinstance(value, Mapping) and isinstance(into.get(name), dict):
            _merge(into[name], value)
        else:
            into[name] = value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m archipelago.measure.resources",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--plan", action="store_true", help="print costs, measure nothing")
    parser.add_argument(
        "--runs",
        type=Path,
        nargs="+",
        default=[Path("results/demo")],
        help="finished runs with images; the first one's files are enlarged",
    )
    parser.add_argument("--cores", type=int, default=2, help="that Snakemake had in those runs")
    parser.add_argument("--truth", type=Path, default=Path(".demo/truth.csv"))
    parser.add_argument("--lephare-data", type=Path, help="without, lephare is not measured")
    parser.add_argument(
        "--services",
        type=Path,
        help="addresses of the embedded survey (`python -m archipelago.demosky run`); without, "
        "match and cutouts are not measured",
    )
    parser.add_argument(
        "--rules",
        nargs="+",
        default=[*TIMES, INJECTIONS],
        choices=[*TIMES, INJECTIONS],
        metavar="RULE",
        help=f"names of rules; {INJECTIONS}: {', '.join(INJECTION_RULES)}",
    )
    parser.add_argument("--table", type=Path, default=TABLE, help="CSV that is read and written")
    parser.add_argument("--work", type=Path, help="folder that keeps larger files and logs")
    return parser


def _measure(options: argparse.Namespace) -> None:
    presets_folder = REPOSITORY / "data" / "presets"
    config = read_config([presets_folder / "demo.yaml"])
    runs = [
        Run(
            folder.resolve(),
            config,
            REPOSITORY,
            options.truth.resolve(),
            defaults=read_config([]),
            paper=read_config([presets_folder / "paper.yaml"]),
        )
        for folder in options.runs
    ]
    data = options.lephare_data.resolve() if options.lephare_data else None
    services = ""
    if options.services:
        with_addresses = read_config([presets_folder / "demo.yaml", options.services])
        services = json.dumps(with_addresses.services.plain())
    not_now = {"lephare": data is None, "match": not services, "cutouts": not services}
    # What is not measured now stays as it was.
    old = read_measured(options.table) if options.table.is_file() else []
    names = {run.folder.name for run in runs}
    measured = {*options.rules, *(INJECTION_RULES if INJECTIONS in options.rules else ())}
    kept = [
        row
        for row in old
        if not (row.source in names or (row.source.startswith("script") and row.rule in measured))
        or (row.source.startswith("script") and not_now.get(row.rule, False))
    ]
    rows = [*kept]
    for run in runs:
        rows += snakemake_rows(run, run.folder, options.cores)
    with tempfile.TemporaryDirectory(prefix="archipelago-resources-") as temporary:
        work = (options.work or Path(temporary)).resolve()
        work.mkdir(parents=True, exist_ok=True)
        measurer = Measurer(runs[0], work)
        print(f"load before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores", flush=True)
        print("rule            objects  input MB  output MB  peak MB   seconds  CPU s", flush=True)
        for row in measure_scripts(measurer, runs[0], work, options.rules, data, services):
            print(
                f"{row.rule:14s} {row.n_objects:8d} {row.input_mb:9.1f} {row.output_mb:10.1f} "
                f"{row.max_rss_mb:8.0f} {row.seconds:9.1f} {row.cpu_seconds:6.1f}",
                flush=True,
            )
            rows.append(row)
            write_measured(rows, options.table)
        print(f"load after: {os.getloadavg()[0]:.1f}", flush=True)
    write_measured(rows, options.table)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    options = _parser().parse_args(arguments)
    try:
        if options.plan:
            from archipelago.measure.plan import plan_text

            print(plan_text(read_measured(options.table)))
        else:
            _measure(options)
    except ArchipelagoError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
