"""The profile for SLURM: explained key by key, and what it makes of a job (no SLURM needed)."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster_search import uncommented
from workflow_checkout import REPOSITORY, Checkout, copy_checkout, search_of

from archipelago.demosky.server import DemoServer
from archipelago.demosky.sky import Sky

PROFILE = REPOSITORY / "profiles" / "slurm" / "config.yaml"
TILE = "o4-01024"
#: What stands in for SLURM: it notes what it is asked for, and takes no job.
REFUSING = """#!/bin/sh
echo "$0" "$@" >> {notes}
case "$0" in *sbatch) echo refused >&2; exit 1;; esac
"""


def test_every_line_of_the_profile_is_explained() -> None:
    lines = PROFILE.read_text().splitlines()
    settings = [k for k, line in enumerate(lines) if line.strip() and line.lstrip()[0] != "#"]
    assert len(settings) > 15
    for k in settings:
        assert lines[k - 1].lstrip().startswith("#"), f"not explained: {lines[k]}"


def test_the_sites_facts_are_in_one_block() -> None:
    text = PROFILE.read_text()
    block, after = re.fullmatch(
        r".*?\n# -+ SITE\n(.*)\n# -+ end of SITE\n(.*)", text, re.DOTALL
    ).groups()  # type: ignore[union-attr]
    for fact in ("slurm_account", "slurm_partition", "gres", "longest_minutes", "max-threads"):
        assert fact in block
        assert fact not in after
    assert yaml.safe_load(block)["default-resources"]["slurm_partition"] == "cpu"


def test_every_alternative_of_the_profile_can_be_taken() -> None:
    profile = yaml.safe_load(uncommented(PROFILE.read_text(), "slurm_account"))
    assert profile["default-resources"]["slurm_account"] == "my_account"
    wanted = ('"transfer"', "&transfer", "*transfer", "*gpu")
    profile = yaml.safe_load(uncommented(PROFILE.read_text(), *wanted))
    partitions = {name: told["slurm_partition"] for name, told in profile["set-resources"].items()}
    network = dict.fromkeys(("select", "match", "known_quasars", "cutouts"), "transfer")
    assert partitions == network | {"train": "gpu", "sed": "gpu"}


def refusing_slurm(folder: Path) -> tuple[Path, dict[str, str]]:
    """Return where a SLURM that takes no job notes what it is asked, and how to meet it."""
    notes = folder / "asked.txt"
    notes.touch()
    programs = folder / "bin"
    programs.mkdir()
    for name in ("sbatch", "squeue", "sinfo", "scontrol", "scancel", "sacctmgr"):
        (programs / name).write_text(REFUSING.format(notes=notes))
        (programs / name).chmod(0o755)
    return notes, {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}


def submitted(notes: Path) -> list[list[str]]:
    """Return the command lines of sbatch."""
    lines = re.findall(r"^\S+/sbatch (.*)", notes.read_text(), flags=re.MULTILINE)
    return [line.split() for line in lines]


def run_with_profile(checkout: Checkout, environment: dict[str, str], *arguments: str) -> Any:
    return checkout.run(
        *(sys.executable, "-m", "snakemake", "--profile", "slurm", "--retries", "0"),
        *("--latency-wait", "1", "--slurm-init-seconds-before-status-checks", "1"),
        *("--max-jobs-per-timespan", "100/1s"),
        *(*arguments, "--configfile", *checkout.overlays),
        environment=environment,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("taken", "asked", "not_asked"),
    [
        ((), "--gpus=1", "--gres"),
        (("gpu: 0", "gres: "), "--gres=gpu:1", "--gpus"),
    ],
)
def test_a_gpu_is_asked_for_as_the_site_wants(
    tmp_path: Path, taken: tuple[str, ...], asked: str, not_asked: str
) -> None:
    checkout = copy_checkout(tmp_path / "checkout", "data/presets/demo.yaml")
    profile = checkout.folder / "profiles" / "slurm" / "config.yaml"
    text = re.sub(r"longest_minutes=\d+", "longest_minutes=7", profile.read_text())
    profile.write_text(uncommented(text, *taken))
    (checkout.folder / ".demo").mkdir()
    (checkout.folder / ".demo" / "truth.csv").touch()
    checkout.result("images.npz", "demo").parent.mkdir(parents=True)
    checkout.result("images.npz", "demo").write_bytes(b"1")
    notes, environment = refusing_slurm(tmp_path)
    model = "results/demo/learning/seed-1/model.pt"
    done = run_with_profile(checkout, environment, model, "--allowed-rules", "train")
    assert done.returncode != 0
    lines = submitted(notes)
    assert lines
    for line in lines:  # one for each attempt
        assert asked in line
        assert not any(part.startswith(not_asked) for part in line)
        options = shlex.join(line)
        assert " -p gpu " in options
        assert " -t 7 " in options


@pytest.mark.slow
@pytest.mark.parametrize("login_node", [True, False])
def test_on_a_login_node_the_network_jobs_run_beside_snakemake(
    tmp_path: Path, small_sky: Sky, survey: DemoServer, login_node: bool
) -> None:
    checkout = search_of(tmp_path / "checkout", small_sky, survey)
    (checkout.folder / "change.yaml").write_text(
        yaml.safe_dump({"services": {"login_node": login_node}})
    )
    checkout = Checkout(checkout.folder, (*checkout.overlays, "change.yaml"))
    notes, environment = refusing_slurm(tmp_path)
    matched = f"tiles/{TILE}/matched.parquet"
    done = run_with_profile(checkout, environment, f"results/small/{matched}")
    assert (done.returncode == 0) == login_node, done.stdout + done.stderr
    assert checkout.result(matched).exists() == login_node
    assert bool(submitted(notes)) != login_node


@pytest.mark.slow
def test_one_cross_match_at_a_time_whatever_is_asked_for(finished: Checkout) -> None:
    tiles = ("o4-01024", "o4-02900", "o4-02216")
    copy = copy_checkout_of(finished)
    done = copy.snakemake(
        *(f"results/small/tiles/{tile}/matched.parquet" for tile in tiles),
        *("--forcerun", "match", "--resources", "xmatch=5", "survey_connections=5"),
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    events = re.findall(r"(Cross-match|Finished jobid: \d+ \(Rule: match\))", said)
    assert [event[:5] for event in events] == ["Cross", "Finis"] * len(tiles)


def copy_checkout_of(finished: Checkout) -> Checkout:
    """Copy a search with its results."""
    folder = finished.folder.with_name("cross-match")
    shutil.copytree(finished.folder, folder, symlinks=True)
    return Checkout(folder, finished.overlays)
