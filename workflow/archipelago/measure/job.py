"""Run one rule's script as a job does, and tell what it took.

``python -m archipelago.measure.job JOB.json`` is started once per measurement, so that its
peak of memory is its own. It imports nothing of the library: what a script needs counts, and
no more.
"""

from __future__ import annotations

import json
import resource
import runpy
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

_SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
#: Rules with another's script.
_SCRIPT_OF = {"simulated_features": "features", "injected_features": "features"}

#: Kilobytes of /proc and of getrusage in one MB as Snakemake and SLURM count it (2^20 bytes).
_KB_PER_MB = 1024.0
#: Child processes that computed less than this did no work of their own: programs that a
#: library asks for its version, say, whose peak is a copy of their parent's [s].
_LEAST_WORK_S = 1.0


class Named(dict[str, Any]):
    """Stands in for the named lists of a rule's input, output, params and wildcards."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


def run_rule(job: Mapping[str, Any]) -> None:
    """Run a rule's script.

    Parameters
    ----------
    job : rule; input, output (paths or lists of paths by name), params, wildcards; threads,
        mem_mb (what is asked for [MB]); log (path).
    """
    stand_in = SimpleNamespace(
        input=Named(job["input"]),
        output=Named(job["output"]),
        params=Named(job["params"]),
        wildcards=Named(job["wildcards"]),
        threads=job["threads"],
        resources=SimpleNamespace(mem_mb=job["mem_mb"]),
        log=[job["log"]],
    )
    script = _SCRIPT_OF.get(job["rule"], job["rule"])
    runpy.run_path(str(_SCRIPTS / f"{script}.py"), {"snakemake": stand_in})


def taken() -> dict[str, float]:
    """Return peak memory (max_rss_mb, 2^20 bytes) and CPU time (cpu_seconds) so far.

    Child processes that did work count too, as if their peak fell together with this
    process's: a bound from above.
    """
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    of_children_s = children.ru_utime + children.ru_stime
    peak_mb = own_peak_mb()
    if of_children_s > _LEAST_WORK_S:
        peak_mb += children.ru_maxrss / _KB_PER_MB
    return {"max_rss_mb": peak_mb, "cpu_seconds": time.process_time() + of_children_s}


def own_peak_mb() -> float:
    """Return the largest resident memory that this process ever had [MB of 2^20 bytes].

    VmHWM of Linux: ``ru_maxrss`` of a process just started counts its parent's memory too.
    """
    for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").split("\n"):
        if line.startswith("VmHWM:"):
            return float(line.split()[1]) / _KB_PER_MB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _KB_PER_MB


def main(path: Path) -> int:
    """Run the job of a file, and write beside it what it took."""
    job = json.loads(path.read_text(encoding="utf-8"))
    run_rule(job)
    path.with_suffix(".done").write_text(json.dumps(taken()), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))
