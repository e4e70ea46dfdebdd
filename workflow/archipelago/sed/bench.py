"""Time the SED stage: its speed, its memory, how both grow, and what other codes take.

``python -m archipelago.sed.bench [--catalogue FILE] [--lephare-data FOLDER]`` prints

- what the grid of templates takes,
- what the rule ``sed`` takes for catalogues of several sizes, once the grid is there
  (catalogue read, templates read, every object fitted as every class, table written),
- how that grows, and what it comes to for a million objects,
- LePHARE and BAGPIPES on the same objects, in turns with our own fit.

Each measurement runs in a process of its own, on no more cores than ``--threads``,
so that its peak of memory is its own.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray

from archipelago.base.errors import ArchipelagoError, InputError
from archipelago.base.tables import read_any_table, read_table, require_columns, write_table
from archipelago.passbands import load_passbands
from archipelago.sed.measure import published_catalogue
from archipelago.sed.templates import GRID_CLASSES, TemplateSet, build_templates, load_templates

Floats = NDArray[np.float64]

_REPOSITORY = Path(__file__).resolve().parents[3]

#: Sizes that are measured, and the one that they are extrapolated to.
SIZES = (7438, 30_000, 100_000)
TARGET = 1_000_000
#: What is asked of the stage: seconds and MB for the first size, seconds for the grid.
ASKED_SECONDS, ASKED_MB, ASKED_GRID_SECONDS = 60.0, 4000.0, 300.0

#: Errors of the synthetic catalogue [uJy]: round numbers near the medians of the published
#: catalogue's brighter half; they set how many bands are limits, and no timing depends on them.
_ERROR_UJY = {
    **{"g": 0.05, "r": 0.06, "i": 0.1, "z": 0.15, "Y": 0.5},
    **{"J": 1.5, "K": 2.5, "W1": 4.0, "W2": 7.0},
}
_DETECTED_SIGMA = 2.0
#: Effective draws at which a BAGPIPES fit of the comparison ends: fewer than a search
#: asks for, to the advantage of BAGPIPES.
_BAGPIPES_EFFECTIVE = 200


def repeated_catalogue(catalogue: pd.DataFrame, n: int, seed: int) -> pd.DataFrame:
    """Return ``n`` objects with the photometry of a catalogue, each as often as needed.

    Objects come in a random order, all of them before any a second time. From
    the second time on, Gaussian noise of its own error is added to each detected
    flux; what falls below 2 sigma becomes a limit: not detected, flux 0.

    Parameters
    ----------
    catalogue : id, and per band B flux_ujy_B, flux_err_ujy_B [uJy], detected_B; other
        columns are repeated as they are.
    n : number of objects.
    seed : of the order and the noise.

    Returns
    -------
    DataFrame with ids 1 to n.

    Raises
    ------
    InputError
        If the catalogue is empty.
    """
    if not len(catalogue):
        raise InputError(
            "the catalogue has no object",
            where="the catalogue of the benchmark",
            next_step="give one with objects, or none for a synthetic one",
        )
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(catalogue))
    rows = np.resize(order, n)
    again = np.arange(n) >= len(catalogue)
    table = catalogue.iloc[rows].reset_index(drop=True)
    table["id"] = np.arange(1, n + 1, dtype=np.int64)
    for column in [name for name in table if str(name).startswith("flux_ujy_")]:
        band = str(column).removeprefix("flux_ujy_")
        flux = table[column].to_numpy(dtype=float, copy=True)
        error = table[f"flux_err_ujy_{band}"].to_numpy(dtype=float)
        noise = rng.standard_normal(n)
        detected = np.isfinite(flux) & np.isfinite(error) & (error > 0)
        if f"detected_{band}" in table:
            detected &= table[f"detected_{band}"].to_numpy(dtype=bool)
        noisy = again & detected
        flux[noisy] += (noise * error)[noisy]
        lost = noisy & (flux < _DETECTED_SIGMA * error)
        flux[lost] = 0.0
        table[column] = flux
        if f"detected_{band}" in table:
            table[f"detected_{band}"] = table[f"detected_{band}"].to_numpy(dtype=bool) & ~lost
    return table


def synthetic_catalogue(templates: TemplateSet, n: int, seed: int) -> pd.DataFrame:
    """Return ``n`` objects drawn from the templates, with noise: work for a benchmark, no sky.

    A third each are stars, galaxies and quasars; the flux in the reddest DECam band that
    there is (else in the last band) is log-uniform from 10 to 300 uJy.

    Parameters
    ----------
    templates : photometry of all templates.
    n : number of objects.
    seed : of everything random.

    Returns
    -------
    DataFrame with ids 1 to n; per band B flux_ujy_B, flux_err_ujy_B [uJy] and detected_B.
    """
    rng = np.random.default_rng(seed)
    kind = rng.integers(len(GRID_CLASSES), size=n)
    flux = np.empty((n, len(templates.bands)))
    for number, name in enumerate(GRID_CLASSES):
        rows = np.flatnonzero(kind == number)
        models = templates.classes[name].fluxes
        flux[rows] = models[rng.integers(len(models), size=len(rows))]
    optical = [band for band in templates.bands if band in ("g", "r", "i", "z", "Y")]
    reference = templates.bands.index((optical or templates.bands)[-1])
    wanted = 10 ** rng.uniform(1.0, 2.5, n)
    flux *= (wanted / np.maximum(flux[:, reference], 1e-30))[:, None]
    columns: dict[str, Any] = {"id": np.arange(1, n + 1, dtype=np.int64)}
    for column, band in enumerate(templates.bands):
        error = np.full(n, _ERROR_UJY.get(band, 1.0))
        seen = flux[:, column] + error * rng.standard_normal(n)
        detected = seen > _DETECTED_SIGMA * error
        columns[f"flux_ujy_{band}"] = np.where(detected, seen, 0.0)
        columns[f"flux_err_ujy_{band}"] = error
        columns[f"detected_{band}"] = detected
    return pd.DataFrame(columns)


def power_law(sizes: Sequence[float], values: Sequence[float]) -> tuple[float, float]:
    """Return c and p of values = c sizes^p, by least squares in the logarithms.

    Raises
    ------
    InputError
        If there are fewer than two different sizes, or a number is not positive.
    """
    x, y = np.asarray(sizes, dtype=float), np.asarray(values, dtype=float)
    _check_points(x, y)
    p, ln_c = np.polyfit(np.log(x), np.log(y), 1)
    return float(np.exp(ln_c)), float(p)


def straight_line(sizes: Sequence[float], values: Sequence[float]) -> tuple[float, float]:
    """Return a and b of values = a + b sizes, by least squares in relative residuals.

    Raises
    ------
    InputError
        As `power_law`.
    """
    x, y = np.asarray(sizes, dtype=float), np.asarray(values, dtype=float)
    _check_points(x, y)
    # Weights 1 / y: timings scatter in proportion, and the largest must not rule alone.
    b, a = np.polyfit(x, y, 1, w=1 / y)
    return float(a), float(b)


def _check_points(x: Floats, y: Floats) -> None:
    if len(np.unique(x)) < 2 or x.min() <= 0 or y.min() <= 0:
        raise InputError(
            f"no line through sizes {x.tolist()} and values {y.tolist()}",
            where="--sizes",
            next_step="give two different sizes at least",
        )


def peak_mb() -> float:
    """Return the largest resident memory that this process ever had [MB].

    On Linux it is VmHWM of /proc: ``ru_maxrss`` of a process that was just started
    counts the parent's memory too, as that lives through ``exec``.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return float(line.split()[1]) * 1024 / 1e6
    factor = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, others kB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * factor / 1e6


# ----------------------------------------------------------------- steps, one process each


def _step_grid(job: Mapping[str, Any]) -> dict[str, Any]:
    sed = job["sed"]
    passbands = load_passbands(sed["passbands"])
    start_s = time.perf_counter()
    templates = build_templates(sed["models"], passbands, job["dwarf_colours"])
    templates.save(job["templates"])
    seconds = time.perf_counter() - start_s
    numbers = {name: len(group) for name, group in templates.classes.items()}
    return {"seconds": seconds, "numbers": numbers}


def _step_catalogue(job: Mapping[str, Any]) -> dict[str, Any]:
    if job["source"]:
        source = read_any_table(job["source"])
        if "COADD_OBJECT_ID" in source:
            source = published_catalogue(source)
        require_columns(source, ["id"], job["source"])
        table = repeated_catalogue(source, job["n"], job["seed"])
    else:
        table = synthetic_catalogue(load_templates(job["templates"]), job["n"], job["seed"])
    write_table(table, job["catalogue"])
    return {"seconds": 0.0}


def _step_verdicts(job: Mapping[str, Any]) -> dict[str, Any]:
    """Do what the rule ``sed`` does; ``fit_seconds`` are those of the fits alone."""
    from archipelago.sed.backend import pick_backend
    from archipelago.sed.verdict import verdicts

    start_s, start_cpu_s = time.perf_counter(), time.process_time()
    catalogue = read_table(job["catalogue"], required=["id"])
    templates = load_templates(job["templates"])
    fit = job["sed"]["fit"]
    ready_s, ready_cpu_s = time.perf_counter(), time.process_time()
    result = verdicts(
        catalogue,
        templates,
        fit,
        threads=job["threads"],
        memory_mb=float(fit["memory_mb"]),
        on=pick_backend(fit["device"]),
    )
    fitted_s, fitted_cpu_s = time.perf_counter(), time.process_time()
    write_table(result, job["out"])
    return {
        "seconds": time.perf_counter() - start_s,
        "fit_seconds": fitted_s - ready_s,
        "fit_cpu_seconds": fitted_cpu_s - ready_cpu_s,
        "cpu_seconds": time.process_time() - start_cpu_s,
        "table_mb": float(result.memory_usage(deep=True).sum() / 1e6),
        "columns": len(result.columns),
    }


def _children_cpu_s() -> float:
    """Return the CPU time of child processes that have ended [s]."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _step_lephare(job: Mapping[str, Any]) -> dict[str, Any]:
    """Run LePHARE twice: on two objects, which is its preparation, and on all."""
    from archipelago.sed.lephare import LephareOptions, data_folder, run_lephare

    catalogue = read_table(job["catalogue"])
    passbands = load_passbands(job["sed"]["passbands"])
    options = LephareOptions.from_dict(job["lephare"])
    seconds, cpu_seconds = [], []
    with tempfile.TemporaryDirectory(prefix="archipelago-bench-") as folder:
        # An archive is unpacked once, and not timed.
        data = data_folder(job["data"], Path(folder))
        for number, table in enumerate((catalogue.iloc[:2], catalogue)):
            start_s, start_cpu_s = time.perf_counter(), _children_cpu_s()
            work = Path(folder) / f"work{number}"
            done = run_lephare(table, passbands, data, work, options, job["threads"])
            seconds.append(time.perf_counter() - start_s)
            cpu_seconds.append(_children_cpu_s() - start_cpu_s)
    return {
        "seconds": seconds[1],
        "preparation_seconds": seconds[0],
        "per_object_s": (seconds[1] - seconds[0]) / (len(catalogue) - 2),
        "per_object_cpu_s": (cpu_seconds[1] - cpu_seconds[0]) / (len(catalogue) - 2),
        "fitted": int((done["status"] == "ok").sum()),
        "child_mb": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e6,
    }


def _step_bagpipes(job: Mapping[str, Any]) -> dict[str, Any]:
    """Sample one object's posterior as a galaxy; imports and the template file are not timed."""
    from archipelago.sed.galaxy import import_bagpipes
    from archipelago.sed.posterior_models import as_class, read_objects
    from archipelago.sed.posteriors import Models, PosteriorOptions, fit_object

    catalogue = read_table(job["catalogue"])
    passbands = load_passbands(job["sed"]["passbands"])
    bands = list(passbands)
    options = PosteriorOptions.from_mapping(
        {**job["posteriors"], "n_live": job["n_live"], "n_effective": _BAGPIPES_EFFECTIVE}
    )
    priors = job["sed"]["fit"]["priors"]["quasar"]
    models = Models(passbands, load_templates(job["templates"]), options, priors)
    import_bagpipes()
    start_s, start_cpu_s = time.perf_counter(), time.process_time()
    measured = read_objects(catalogue, [job["id"]], bands)[0]
    data = as_class(measured, "galaxy", bands, job["sed"]["fit"])
    posterior = fit_object(data, "galaxy", models, options)
    return {
        "seconds": time.perf_counter() - start_s,
        "cpu_seconds": time.process_time() - start_cpu_s,
        "status": posterior.status,
        "n_like": posterior.nested.n_like if posterior.nested else 0,
    }


_STEPS: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "grid": _step_grid,
    "catalogue": _step_catalogue,
    "verdicts": _step_verdicts,
    "lephare": _step_lephare,
    "bagpipes": _step_bagpipes,
}


def _child(path: Path) -> int:
    """Do the step that a job file asks for, and write beside it what it took."""
    job = json.loads(path.read_text(encoding="utf-8"))
    taken = _STEPS[job["step"]](job)
    taken["peak_mb"] = peak_mb()
    path.with_suffix(".done").write_text(json.dumps(taken), encoding="utf-8")
    return 0


# -------------------------------------------------------------------------- all of them


class Bench:
    """Runs steps in processes of their own.

    Parameters
    ----------
    work : folder for catalogues, tables, jobs and logs.
    common : what every job holds: sed, templates, threads, seed, ...
    """

    def __init__(self, work: Path, common: Mapping[str, Any]) -> None:
        self._work = work
        self._common = dict(common)
        self._number = 0

    def run(self, *jobs: Mapping[str, Any], threads: int) -> list[dict[str, Any]]:
        """Run jobs side by side and return what each took.

        Raises
        ------
        ArchipelagoError
            If a step fails; holds the end of what it said.
        """
        library = str(Path(__file__).resolve().parents[2])
        environment = dict(os.environ)
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            environment[name] = str(threads)
        environment["PYTHONPATH"] = os.pathsep.join(
            filter(None, [library, os.environ.get("PYTHONPATH")])
        )
        started = []
        for job in jobs:
            self._number += 1
            path = self._work / f"job{self._number:03d}.json"
            path.write_text(json.dumps({**self._common, **job}), encoding="utf-8")
            log = path.with_suffix(".log")
            with log.open("wb") as stream:
                process = subprocess.Popen(
                    [sys.executable, "-m", "archipelago.sed.bench", "--job", str(path)],
                    cwd=self._work,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=stream,
                    stderr=subprocess.STDOUT,
                )
            started.append((job, path, log, process))
        # All are waited for, also when one has failed.
        codes = [process.wait() for *_, process in started]
        for code, (job, _, log, _) in zip(codes, started, strict=True):
            if code:
                text = log.read_text(encoding="utf-8", errors="replace")
                tail = " | ".join(line for line in text.splitlines()[-3:] if line.strip())
                raise ArchipelagoError(
                    f"the step {job['step']} ended with code {code}: {tail}",
                    where=str(log),
                    next_step="read the log (give --work to keep it)",
                )
        return [
            json.loads(path.with_suffix(".done").read_text(encoding="utf-8"))
            for _, path, _, _ in started
        ]

    def catalogue(self, n: int, source: str | None) -> str:
        """Write a catalogue of ``n`` objects and return its path."""
        path = str(self._work / f"catalogue-{n}.parquet")
        self.run({"step": "catalogue", "n": n, "source": source, "catalogue": path}, threads=1)
        return path

    def verdicts(self, catalogue: str, threads: int) -> dict[str, Any]:
        """Fit a catalogue."""
        job = {"step": "verdicts", "catalogue": catalogue, "out": str(self._work / "v.parquet")}
        return self.run(job, threads=threads)[0]


def _say(text: str = "") -> None:
    print(text, flush=True)


def _verdict_on(value: float, limit: float) -> str:
    return "met" if value <= limit else "MISSED"


def scale(bench: Bench, options: argparse.Namespace) -> None:
    """Measure the rule ``sed`` for all sizes, and print it with its growth."""
    _say("objects   fit [s]  with files [s]  CPU [s]  ms/object  peak [MB]  table [MB]")
    rows = []
    for n in options.sizes:
        taken = bench.verdicts(bench.catalogue(n, options.catalogue), options.threads)
        rows.append((n, taken))
        _say(
            f"{n:7d}  {taken['fit_seconds']:8.1f}  {taken['seconds']:14.1f}  "
            f"{taken['cpu_seconds']:7.1f}  {1e3 * taken['fit_seconds'] / n:9.2f}  "
            f"{taken['peak_mb']:9.0f}  {taken['table_mb']:10.0f}"
        )
    n, first = rows[0]
    if n == SIZES[0]:
        _say(
            f"{n} objects: {first['seconds']:.1f} s, asked {ASKED_SECONDS:.0f} s: "
            f"{_verdict_on(first['seconds'], ASKED_SECONDS)}; {first['peak_mb']:.0f} MB, asked "
            f"{ASKED_MB:.0f} MB: {_verdict_on(first['peak_mb'], ASKED_MB)}"
        )
    if len(rows) < 2:
        _say("one size only: nothing is extrapolated")
        return
    sizes = [n for n, _ in rows]
    coefficient, exponent = power_law(sizes, [taken["seconds"] for _, taken in rows])
    start, slope = straight_line(sizes, [taken["seconds"] for _, taken in rows])
    _say(
        f"seconds grow as objects^{exponent:.3f}; {TARGET} objects: "
        f"{coefficient * TARGET**exponent:.0f} s by the power law, "
        f"{start + slope * TARGET:.0f} s by the straight line"
    )
    # CPU time says the same where other work shares the cores.
    _, exponent = power_law(sizes, [taken["cpu_seconds"] for _, taken in rows])
    _say(f"CPU seconds grow as objects^{exponent:.3f}")
    start, slope = straight_line(sizes, [taken["peak_mb"] for _, taken in rows])
    per_object = rows[-1][1]["table_mb"] / sizes[-1]
    if sizes[-1] < SIZES[1]:
        _say(f"(sizes below {SIZES[1]} are too small to extrapolate from)")
    _say(
        f"peak memory: {start:.0f} MB + {1e3 * slope:.2f} kB per object; {TARGET} objects: "
        f"{start + slope * TARGET:.0f} MB, of which {per_object * TARGET:.0f} MB the table of "
        f"{rows[-1][1]['columns']} columns itself"
    )


def compare(bench: Bench, options: argparse.Namespace, lephare: Mapping[str, Any]) -> None:
    """Measure our fit, LePHARE and BAGPIPES in turns on the same objects, and print ratios."""
    n = options.compare
    path = bench.catalogue(n, options.catalogue)
    table = read_table(path)
    detected = [name for name in table if str(name).startswith("detected_")]
    good = table[table[detected].sum(axis=1) >= 5] if detected else table
    ids = [int(value) for value in good["id"].iloc[: options.rounds * options.threads]]
    # Per code and turn: seconds and CPU seconds per object.
    ours: list[tuple[float, float]] = []
    others: dict[str, list[tuple[float, float]]] = {}
    notes: list[str] = []

    def our_turn() -> None:
        taken = bench.verdicts(path, options.threads)
        ours.append((taken["fit_seconds"] / n, taken["fit_cpu_seconds"] / n))

    our_turn()
    for number in range(options.rounds):
        if options.lephare_data:
            job = {"step": "lephare", "catalogue": path, "lephare": dict(lephare)}
            job["data"] = str(Path(options.lephare_data).resolve())
            taken = bench.run(job, threads=options.threads)[0]
            cost = (taken["per_object_s"], taken["per_object_cpu_s"])
            others.setdefault("LePHARE", []).append(cost)
            notes.append(
                f"LePHARE: {taken['preparation_seconds']:.1f} s for its libraries, not counted; "
                f"{taken['fitted']} of {n} fitted; {taken['child_mb']:.0f} MB"
            )
            our_turn()
        if options.n_live > 0:
            mine = ids[number * options.threads : (number + 1) * options.threads]
            if not mine:
                notes.append("BAGPIPES: NOT MEASURED: no further object has 5 detected bands")
                continue
            jobs = [
                {"step": "bagpipes", "catalogue": path, "id": value, "n_live": options.n_live}
                for value in mine
            ]
            done = _bagpipes(bench, jobs, notes)
            # One fit per core at once: what an object costs is the slowest, shared.
            cost = (
                max(taken["seconds"] for taken in done) / len(done),
                float(np.mean([taken["cpu_seconds"] for taken in done])),
            )
            others.setdefault("BAGPIPES", []).append(cost)
            our_turn()
    _say(f"on {n} objects, {options.threads} cores, in turns; per object [ms], each turn (CPU):")
    for name, costs in {"this search": ours, **others}.items():
        turns = " ".join(f"{1e3 * wall:.2f} ({1e3 * cpu:.2f})" for wall, cpu in costs)
        _say(f"  {name}: {turns}")
    for name, costs in others.items():
        wall, cpu = np.median(costs, axis=0) / np.median(ours, axis=0)
        _say(f"  {name} / this search: {wall:.3g} in time, {cpu:.3g} in CPU time (medians)")
    for note in notes:
        _say(f"  {note}")
    if not options.lephare_data:
        _say("  LePHARE: NOT MEASURED: give --lephare-data (or ARCHIPELAGO_LEPHARE_DATA)")
    if options.n_live <= 0:
        _say("  BAGPIPES: NOT MEASURED: --n-live is 0")


def _bagpipes(
    bench: Bench, jobs: Sequence[Mapping[str, Any]], notes: list[str]
) -> list[dict[str, Any]]:
    done = bench.run(*jobs, threads=1)
    for job, taken in zip(jobs, done, strict=True):
        notes.append(
            f"BAGPIPES: object {job['id']}, {job['n_live']} live points, "
            f"{_BAGPIPES_EFFECTIVE} effective draws: {taken['seconds']:.1f} s "
            f"on one core, {taken['n_like']} likelihoods, {taken['status']}; "
            f"{taken['peak_mb']:.0f} MB"
        )
    return done


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--catalogue", help="objects to repeat; without: drawn from the templates")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES), help="objects")
    parser.add_argument("--templates", help="use this file of templates, and do not time the grid")
    parser.add_argument("--compare", type=int, default=7438, help="objects shared with LePHARE")
    parser.add_argument("--rounds", type=int, default=2, help="turns of the other codes; 0: none")
    parser.add_argument(
        "--lephare-data",
        default=os.environ.get("ARCHIPELAGO_LEPHARE_DATA"),
        help="folder or archive of lephare-data; without, LePHARE is left out",
    )
    parser.add_argument("--n-live", type=int, default=60, help="of BAGPIPES; 0 leaves it out")
    parser.add_argument("--threads", type=int, default=2, help="cores used, by everything")
    parser.add_argument("--seed", type=int, default=1, help="of the catalogues")
    parser.add_argument("--config", default=str(_REPOSITORY / "config.yaml"))
    parser.add_argument("--work", help="folder that keeps catalogues and logs")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    return parser


def _checked(options: argparse.Namespace) -> argparse.Namespace:
    """Return the options, sizes ascending and without twins, paths absolute.

    Raises
    ------
    InputError
        If a number is too small.
    """
    if min(options.sizes) < 1 or options.threads < 1 or options.compare < 3 or options.rounds < 0:
        raise InputError(
            "a size below 1, threads below 1, fewer than 3 objects to compare, or rounds below 0",
            where="--sizes, --threads, --compare, --rounds",
            next_step="give larger numbers",
        )
    options.sizes = sorted(set(options.sizes))
    for name in ("catalogue", "templates", "lephare_data"):
        value = getattr(options, name)
        setattr(options, name, str(Path(value).resolve()) if value else None)
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    options = _parser().parse_args(arguments)
    if options.job:
        return _child(Path(options.job))
    options = _checked(options)
    if hasattr(os, "sched_setaffinity"):
        # What is started from here on inherits it.
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
    config = yaml.safe_load(Path(options.config).read_text(encoding="utf-8"))
    if options.work:
        Path(options.work).mkdir(parents=True, exist_ok=True)
    keep = nullcontext(options.work) if options.work else tempfile.TemporaryDirectory()
    with keep as folder:
        work = Path(folder).resolve()
        templates = options.templates or str(work / "templates.npz")
        common = {
            "sed": config["sed"],
            "posteriors": config["posteriors"],
            "dwarf_colours": str(_REPOSITORY / config["sed"]["dwarf_colours"]),
            "templates": templates,
            "threads": options.threads,
            "seed": options.seed,
        }
        bench = Bench(work, common)
        source = options.catalogue or "drawn from the templates"
        _say(
            f"{options.threads} of {os.cpu_count()} cores; load before: {os.getloadavg()[0]:.1f}; "
            f"objects: {source}"
        )
        if options.templates:
            _say(f"grid: NOT MEASURED, taken from {templates}")
        else:
            grid = bench.run({"step": "grid"}, threads=options.threads)[0]
            numbers = ", ".join(f"{number} {name}" for name, number in grid["numbers"].items())
            _say(
                f"grid ({numbers}): {grid['seconds']:.1f} s, asked {ASKED_GRID_SECONDS:.0f} s: "
                f"{_verdict_on(grid['seconds'], ASKED_GRID_SECONDS)}; {grid['peak_mb']:.0f} MB"
            )
        scale(bench, options)
        if options.rounds:
            compare(bench, options, config["lephare"])
        _say(f"load after: {os.getloadavg()[0]:.1f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
