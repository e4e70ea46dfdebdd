"""Jobs of a killed Snakemake are found and ended; those of others are left alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from archipelago.base.errors import ArchipelagoError
from archipelago.left_jobs import LIST, LONGEST_WAIT_S, cancel_left_jobs, jobs_in

RUN = "0b7ab4c1-7d3f-4f0a-9d51-2f4b8f1e2a3c"


class Slurm:
    """Answers as SLURM does; a cancelled job is listed a few times more."""

    def __init__(self, listing: str, ends_after: int) -> None:
        self.listing = listing
        self.ends_after = ends_after
        self.cancelled: list[str] = []

    def __call__(self, command: Sequence[str]) -> str:
        if command[0] == "scancel":
            self.cancelled += command[1:]
            return ""
        assert tuple(command) == LIST
        if self.cancelled:
            self.ends_after -= 1
        return self.listing if self.ends_after >= 0 else ""


def test_jobs_of_this_folder_are_told_from_others(tmp_path: Path) -> None:
    jobs = [
        (RUN, tmp_path),
        (RUN, tmp_path / "other"),
        ("wrap", tmp_path),
        (f"mine_{RUN}", tmp_path),
    ]
    listing = "".join(f"{k}|{name}|{folder}\n" for k, (name, folder) in enumerate(jobs, 1))
    assert jobs_in(listing, tmp_path) == ["1", "4"]


def test_jobs_left_are_cancelled_and_waited_for(tmp_path: Path) -> None:
    slurm = Slurm(f"1|{RUN}|{tmp_path}\n", ends_after=3)
    waits: list[float] = []
    assert cancel_left_jobs(tmp_path, run=slurm, wait=waits.append) == ["1"]
    assert slurm.cancelled == ["1"]
    assert len(waits) == 4


def test_nothing_left_costs_one_question(tmp_path: Path) -> None:
    slurm = Slurm("", ends_after=0)
    assert cancel_left_jobs(tmp_path, run=slurm, wait=pytest.fail) == []
    assert slurm.cancelled == []


def test_a_job_that_does_not_end_stops_the_search(tmp_path: Path) -> None:
    slurm = Slurm(f"1|{RUN}|{tmp_path}\n", ends_after=10**6)
    waits: list[float] = []
    with pytest.raises(ArchipelagoError, match="jobs 1 of an earlier run do not end"):
        cancel_left_jobs(tmp_path, run=slurm, wait=waits.append)
    assert sum(waits) == LONGEST_WAIT_S


def test_a_slurm_that_does_not_answer_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ArchipelagoError, match="squeue failed"):
        cancel_left_jobs(tmp_path)
