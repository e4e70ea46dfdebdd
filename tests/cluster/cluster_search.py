"""A search that runs on the cluster in the background, and how its results compare."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from network_guard import NetworkGuard
from slurm_cluster import Cluster, Job, wait_for
from workflow_checkout import Checkout, users_environment

#: For jobs of seconds, on nodes with few cores.
QUICK = (
    *("--slurm-init-seconds-before-status-checks", "1"),
    *("--latency-wait", "5"),
    *("--max-threads", "2"),
    *("--max-jobs-per-timespan", "100/1s"),
)
_SNAKEMAKE = Path(__file__).with_name("quick_snakemake.py")
#: Longest that a part of a search may take here [s].
LONGEST_S = 900.0


@dataclass
class ClusterSearch:
    """A checkout whose jobs go to the cluster."""

    checkout: Checkout
    cluster: Cluster
    guard: NetworkGuard
    said: Path
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @classmethod
    def copy(
        cls,
        base: Checkout,
        folder: Path,
        cluster: Cluster,
        guard: NetworkGuard,
        *,
        change: Mapping[str, Any] | None = None,
        keep: tuple[str, ...] = (),
        site: tuple[str, ...] = ('slurm_partition: "transfer"', ": *transfer", "&transfer"),
    ) -> ClusterSearch:
        """Copy a checkout without its results, but for those named.

        Parameters
        ----------
        base : the checkout.
        folder : where the copy goes.
        cluster, guard : where its jobs run, and what they may reach.
        change : one more overlay of the configuration.
        keep : results that the copy starts with.
        site : lines of the profile that the site wants.
        """
        left_out = shutil.ignore_patterns("results", "log", "logs", "slurm_logs", "auxiliary")
        shutil.copytree(base.folder, folder, symlinks=True, ignore=left_out)
        for name in keep:
            target = folder / "results" / "small" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(base.result(name), target)
        profile = folder / "profiles" / "slurm" / "config.yaml"
        text = uncommented(profile.read_text(), *site)
        # The partitions of the test cluster give no more.
        profile.write_text(text.replace("longest_minutes=1440", "longest_minutes=60"))
        cache = {"services": {"cache": {"folder": str(folder / "cache")}}}
        (folder / "cache.yaml").write_text(yaml.safe_dump(cache))
        (folder / "change.yaml").write_text(yaml.safe_dump(dict(change or {})))
        overlays = (*base.overlays, "cache.yaml", "change.yaml")
        return cls(Checkout(folder, overlays), cluster, guard, folder / "said.txt")

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start snakemake with the profile; go on without waiting for it."""
        command = [
            *(sys.executable, str(_SNAKEMAKE), "--profile", "profiles/slurm"),
            *(*QUICK, *arguments, "--configfile", *self.checkout.overlays),
        ]
        with self.said.open("ab") as said:
            process = subprocess.Popen(
                command,
                cwd=self.checkout.folder,
                env={**users_environment(), **self.guard.environment},
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.running.append(process)
        return process

    def finish(self, process: subprocess.Popen[bytes], deadline_s: float = LONGEST_S) -> str:
        """Wait until snakemake has ended well; return all that it said."""
        try:
            code = process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            code = -1
        text = self.said.read_text(errors="replace")
        assert code == 0, f"snakemake ended with {code}\n{text}\n{self.cluster.jobs()}"
        return text

    def run(self, *arguments: str, deadline_s: float = LONGEST_S) -> str:
        """Run snakemake to its end; return all that it said."""
        return self.finish(self.start(*arguments), deadline_s)

    def kill(self) -> None:
        """Kill snakemake, and all that it started on this machine, with SIGKILL."""
        for process in self.running:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def jobs(self, rule: str = "", *states: str) -> list[Job]:
        """Jobs of this search whose rule (and wildcards) start with ``rule``."""
        return [
            job
            for job in self.cluster.jobs(*states)
            if job.folder == str(self.checkout.folder) and job.rule.startswith(rule)
        ]

    def await_job(self, rule: str, *states: str, deadline_s: float = 120.0) -> Job:
        """Wait for a job in one of the states; fail at once if snakemake has ended."""

        def look() -> list[Job]:
            found = self.jobs(rule, *states)
            ended = self.running[-1].poll() is not None
            assert found or not ended, f"no {rule}:\n{self.said.read_text(errors='replace')}"
            return found

        return wait_for(f"job {rule} is {states}", look, deadline_s)[0]

    def await_log(self, name: str, words: str, deadline_s: float = 120.0) -> str:
        """Wait until a rule's log matches ``words``; return the log."""
        path = self.checkout.result(f"logs/{name}.log")

        def look() -> str:
            text = path.read_text() if path.exists() else ""
            return text if re.search(words, text) else ""

        return wait_for(f"{name}.log says {words!r}", look, deadline_s)


def uncommented(profile: str, *parts: str) -> str:
    """Return a profile in which the comment lines that hold one of ``parts`` count."""
    lines = []
    for line in profile.splitlines():
        is_entry = re.fullmatch(r" *# +\w+: .*|# +\w+: .*", line)
        if is_entry and any(part in line for part in parts):
            line = line.replace("# ", "", 1)
        lines.append(line)
    return "\n".join(lines) + "\n"


def difference(one: Path, other: Path) -> str:
    """Return what differs in the content of two files of results, or ''."""
    if one.suffix == ".parquet":
        # How often something was asked for tells of the faults, not of the sky.
        tables = [
            pd.read_parquet(path).drop(columns="attempts", errors="ignore") for path in (one, other)
        ]
        try:
            pd.testing.assert_frame_equal(*tables, check_exact=True)
        except AssertionError as error:
            return str(error)
        return ""
    if one.suffix == ".npz":
        with np.load(one) as first, np.load(other) as second:
            if first.files != second.files:
                return f"{first.files} and {second.files}"
            differ = [
                name for name in first.files if first[name].tobytes() != second[name].tobytes()
            ]
        return f"differ in {differ}" if differ else ""
    return "" if one.read_bytes() == other.read_bytes() else "other bytes"


def tables_of(folder: Path) -> set[str]:
    """Return all tables and arrays below a folder of results."""
    return {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.suffix in (".parquet", ".csv", ".npz")
    }


def assert_same(search: ClusterSearch, reference: Checkout, names: set[str] | None = None) -> None:
    """Check that all results, or those named, are those of the reference."""
    ours, theirs = search.checkout.result(""), reference.result("")
    if names is None:
        names = tables_of(ours)
        assert names == tables_of(theirs), names ^ tables_of(theirs)
    differ = {name: difference(ours / name, theirs / name) for name in sorted(names)}
    differ = {name: how for name, how in differ.items() if how}
    assert not differ, "\n".join(f"{name}: {how}" for name, how in differ.items())
    assert_nothing_half_written(search)


def assert_nothing_half_written(search: ClusterSearch) -> None:
    """Check that no temporary file of a writer is left."""
    hidden = search.checkout.result("").rglob(".*")
    left = [path for path in hidden if path.is_file() and path.name != ".snakemake_timestamp"]
    assert left == [], left
