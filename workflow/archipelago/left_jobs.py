"""Jobs that a killed Snakemake left on a SLURM cluster: they must end before others start.

Snakemake does not take up the jobs of a run that was killed: it starts them again. Were the old
ones still at work, both would write the same files, and fetch the same images.
"""

from __future__ import annotations

import logging
import re
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from archipelago.base.errors import ArchipelagoError

_LOG = logging.getLogger(__name__)

#: One line per job of this user that has not ended: number, name and working folder.
LIST = ("squeue", "--me", "--noheader", "--format=%A|%j|%Z")
#: Snakemake names the jobs of a run after the run: a UUID, maybe with a prefix.
_RUN = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")
#: Longest wait for cancelled jobs to end; SLURM kills them after KillWait, 30 s by default [s].
LONGEST_WAIT_S = 180.0

Run = Callable[[Sequence[str]], str]


def cancel_left_jobs(
    folder: Path,
    *,
    run: Run | None = None,
    wait: Callable[[float], None] = time.sleep,
) -> list[str]:
    """Cancel jobs that an earlier Snakemake started in a folder, and wait until they have ended.

    To be called by a Snakemake that holds the folder's lock and has started no job yet.

    Parameters
    ----------
    folder : Snakemake's working folder.
    run : runs a command and returns what it says.
    wait : waits for so many seconds.

    Returns
    -------
    Numbers of the jobs.

    Raises
    ------
    ArchipelagoError
        If SLURM does not answer, or a job does not end.
    """
    run = run or _run
    left = found = jobs_in(run(LIST), folder)
    if found:
        _LOG.warning("jobs %s of an earlier run are cancelled", ", ".join(found))
        run(("scancel", *found))
    waited_s = 0.0
    while left:
        if waited_s >= LONGEST_WAIT_S:
            raise ArchipelagoError(
                f"jobs {', '.join(left)} of an earlier run do not end",
                where=str(folder),
                next_step="scancel them, and start again when `squeue --me` no longer shows them",
            )
        wait(1.0)
        waited_s += 1.0
        left = [job for job in jobs_in(run(LIST), folder) if job in found]
    return found


def jobs_in(listing: str, folder: Path) -> list[str]:
    """Return the jobs of a listing (`LIST`) that a Snakemake started in a folder."""
    jobs = []
    for line in listing.splitlines():
        number, name, place = line.strip().split("|", 2)
        if _RUN.search(name) and Path(place).resolve() == folder.resolve():
            jobs.append(number)
    return jobs


def _run(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", None) or str(error)
        raise ArchipelagoError(
            f"{command[0]} failed: {said.strip()}",
            next_step="check that SLURM answers on this machine: squeue --me",
        ) from error
    return done.stdout
