"""Time and cost of a search, from what Snakemake measured of each job.

The benchmarks are no inputs of the report: they are as the last run left them, and what is
measured changes nothing in the results.
"""

from __future__ import annotations

import csv
import logging
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from archipelago.base.tables import cell_number

_LOG = logging.getLogger(__name__)

#: Columns of `read_benchmarks`.
BENCHMARK_COLUMNS = ("rule", "job", "seconds", "cpu_seconds", "max_rss_mb", "gpu")
#: Snakemake's columns: wall clock [s], time on all cores [s], resident memory [2^20 bytes].
_MEASURES = {"seconds": "s", "cpu_seconds": "cpu_time", "max_rss_mb": "max_rss"}
#: What scripts write to their logs of the device they compute on.
_DEVICES = (
    re.compile(r"training on \d+ images, batches of \d+, (?P<device>[^\n]+), \w+, torch"),
    re.compile(r"fits on (?P<device>[^\n]+?) with (?:torch|numpy)"),
)
#: The device stands near the head of a log.
_HEAD_BYTES = 65_536


def read_benchmarks(folder: str | Path) -> pd.DataFrame:
    """Read what Snakemake measured of the jobs of a run.

    Parameters
    ----------
    folder : of the run, with ``benchmarks/<rule>.tsv`` or ``benchmarks/<rule>/<wildcards>.tsv``,
        and beside it ``logs``, which tell the device.

    Returns
    -------
    One row per job: rule, job (its wildcards, or ''), seconds, cpu_seconds, max_rss_mb
    [2^20 bytes], gpu (name of the device, '' where the log tells none). NaN where nothing was
    measured, as of jobs of a moment. Files that cannot be read are named in the log and left out.
    """
    root = Path(folder) / "benchmarks"
    rows = []
    for path in sorted(root.rglob("*.tsv")):
        parts = path.relative_to(root).with_suffix("").parts
        try:
            measured = _first_row(path)
        except (OSError, UnicodeDecodeError, csv.Error, StopIteration) as error:
            _LOG.warning("%s cannot be read and is left out: %s", path, error)
            continue
        rows.append(
            {
                "rule": parts[0],
                "job": "/".join(parts[1:]),
                **measured,
                "gpu": _gpu(Path(folder) / "logs" / Path(*parts).with_suffix(".log")),
            }
        )
    return pd.DataFrame(rows, columns=list(BENCHMARK_COLUMNS))


def cost_rows(
    benchmarks: pd.DataFrame | None, gpus_per_job: Mapping[str, int] | None = None
) -> dict[str, Any] | None:
    """Sum up time and memory per rule, in the order of the most expensive.

    Parameters
    ----------
    benchmarks : of `read_benchmarks`; None or empty: there are none, and the result is None.
    gpus_per_job : devices of a job of a rule; one where it is not there.

    Returns
    -------
    ``rows`` and ``total``: texts of jobs, wall clock, longest job, core-hours, GPU-hours, memory,
    and ``bar``: core-hours by those of the most expensive [%]. ``spent``: name and text of one
    line for the head of the page. ``unmeasured``: jobs whose CPU time is unknown. ``devices``.
    """
    if benchmarks is None or not len(benchmarks):
        return None
    table = benchmarks.copy()
    devices = table["rule"].map(dict(gpus_per_job or {})).fillna(1).astype(float)
    table["gpu_seconds"] = (table["seconds"].astype(float) * devices).where(table["gpu"] != "", 0.0)
    groups = table.groupby("rule", sort=False)
    sums = groups.agg(
        jobs=("seconds", "size"),
        wall=("seconds", "sum"),
        longest=("seconds", "max"),
        cpu=("cpu_seconds", "sum"),
        gpu=("gpu_seconds", "sum"),
        memory=("max_rss_mb", "max"),
    )
    most = float(sums["cpu"].max()) or 1.0
    sums = sums.sort_values(["cpu", "wall"], ascending=False)
    rows = [
        {"rule": str(rule), **_words(row), "bar": 100.0 * cell_number(row["cpu"], 0.0) / most}
        for rule, row in sums.iterrows()
    ]
    total = {
        "jobs": int(sums["jobs"].sum()),
        "wall": sums["wall"].sum(),
        "longest": sums["longest"].max(),
        "cpu": sums["cpu"].sum(),
        "gpu": sums["gpu"].sum(),
        "memory": sums["memory"].max(),
    }
    words = _words(total)
    spent = f"{words['jobs']} jobs, {words['cpu']} core-hours, {words['gpu']} GPU-hours"
    return {
        "rows": rows,
        "total": words,
        "spent": [("Time and cost", f"{spent}, at most {words['memory']}")],
        "unmeasured": int(table["cpu_seconds"].isna().sum()),
        "devices": sorted({str(name) for name in table["gpu"] if name}),
    }


def duration(seconds: object) -> str:
    """Write a time in the units that fit: seconds, minutes, hours; an en dash for none."""
    value = cell_number(seconds)
    if not math.isfinite(value):
        return "–"
    if value < 59.95:
        return f"{value:.1f} s"
    if value < 3599.5:
        return f"{int(value + 0.5) // 60} min {int(value + 0.5) % 60:02d} s"
    minutes = int(value / 60 + 0.5)
    return f"{minutes // 60:,} h {minutes % 60:02d} min"


def hours(seconds: object) -> str:
    """Write a time in hours, with as many digits as it takes to tell it from 0."""
    value = cell_number(seconds) / 3600
    if not math.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    if value < 0.0005:
        return "< 0.001"
    return f"{value:,.1f}" if value >= 100 else f"{value:.2f}" if value >= 1 else f"{value:.3f}"


def _words(row: Mapping[str, Any] | pd.Series) -> dict[str, str]:
    memory = cell_number(row["memory"])
    return {
        "jobs": f"{int(row['jobs']):,}",
        "wall": duration(row["wall"]),
        "longest": duration(row["longest"]),
        "cpu": hours(row["cpu"]),
        "gpu": hours(row["gpu"]),
        "memory": f"{memory:,.0f} MB" if math.isfinite(memory) else "–",
    }


def _first_row(path: Path) -> dict[str, float]:
    """Return the measures of a benchmark's first repeat; raises StopIteration if it has none."""
    with path.open(encoding="utf-8", newline="") as stream:
        row = next(csv.DictReader(stream, delimiter="\t"))
    return {name: _float(row.get(column)) for name, column in _MEASURES.items()}


def _float(text: str | None) -> float:
    try:
        value = float(text or "nan")
    except ValueError:  # "NA" or "-": nothing was measured
        return math.nan
    return value if math.isfinite(value) and value >= 0 else math.nan


def _gpu(log: Path) -> str:
    """Return the device that a log names, '' for the CPU and where it names none."""
    try:
        with log.open("rb") as stream:
            head = stream.read(_HEAD_BYTES).decode("utf-8", errors="replace")
    except OSError:
        return ""  # jobs without a log told nothing
    for pattern in _DEVICES:
        found = pattern.search(head)
        if found:
            device = found["device"].strip()
            return "" if "CPU" in device else device
    return ""
