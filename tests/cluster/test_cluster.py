"""The whole search on a real SLURM gives the tables of one machine, whatever dies meanwhile.

One file, as files are what several processes share the tests by, and there is one SLURM.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
from cluster_search import ClusterSearch, assert_same
from slurm_cluster import wait_for
from workflow_checkout import Checkout

from archipelago.demosky.server import DemoServer

pytestmark = pytest.mark.slow

MakeSearch = Callable[..., ClusterSearch]
Faults = Callable[..., None]

#: Tiles of the small sky with the most objects, and with the fewest.
LARGE = ("o4-02218", "o4-02901")
SMALL_TILE = "o4-02900"
#: Requests that a job of this configuration has under way at once.
CONNECTIONS = 2
#: Few connections, answers late: downloads that last long enough to be interrupted.
UNHURRIED: dict[str, Any] = {
    "services": {"connections": CONNECTIONS, "timeout_s": 300, "total_s": 600}
}
LATE = {"endpoint": "cutout", "kind": "latency", "seconds": 0.1}
#: Answers so late that no download ends before its job is.
HELD = {**LATE, "seconds": 250.0}
#: A training of some half a minute.
LONG: dict[str, Any] = {"learning": {"seeds": [1], "epochs_max": 1000, "patience": 1000}}

#: Rules that ask the survey's services.
NETWORK = {"select", "match", "known_quasars", "cutouts"}


def photometry_of(tile: str) -> str:
    """Name of what the cutouts of a tile are fetched from."""
    return f"tiles/{tile}/photometry.parquet"


def cutouts_of(tile: str) -> set[str]:
    """Names of what the cutouts of a tile come out as."""
    return {
        f"tiles/{tile}/{name}" for name in ("cutouts.npz", "manifest.parquet", "losses_images.csv")
    }


def requests(survey: DemoServer) -> int:
    """Requests for images so far."""
    return survey.counters.get("cutout", 0) + survey.counters.get("sia", 0)


def requests_needed(finished: Checkout, *tiles: str) -> int:
    """Requests for the images of tiles where nothing fails."""

    manifests = [
        pd.read_parquet(finished.result(f"tiles/{tile}/manifest.parquet")) for tile in tiles
    ]
    return sum(int(table["attempts"].sum()) + table["id"].nunique() for table in manifests)


def test_jobs_that_are_cancelled_or_over_their_limits_are_done_again(
    make_search: MakeSearch, finished: Checkout, faults: Faults
) -> None:
    """One job is cancelled, one needs more memory than it has, one more time."""
    # The first query of the survey's table comes after the time limit of its job.
    faults(
        {"endpoint": "tap", "kind": "latency", "seconds": 200, "requests": 1},
        LATE,
    )
    search = make_search(finished, change=UNHURRIED, keep=(photometry_of(SMALL_TILE),))
    process = search.start(
        *("results/small/sed/templates.npz", f"results/small/tiles/{SMALL_TILE}/cutouts.npz"),
        f"results/small/tiles/{LARGE[0]}/sources.parquet",
        "--set-resources",
        "templates:mem_mb=200 if attempt == 1 else 2000",
        "select:runtime=1 if attempt == 1 else 10",
    )
    search.cluster.cancel(search.await_job("cutouts", "RUNNING"))
    search.finish(process)
    ended = {
        rule: sorted(job.state for job in search.jobs(rule))
        for rule in ("cutouts", "templates", "select")
    }
    assert ended["cutouts"] == ["CANCELLED", "COMPLETED"]
    assert ended["templates"] in (["COMPLETED", "FAILED"], ["COMPLETED", "OUT_OF_MEMORY"])
    assert ended["select"] == ["COMPLETED", "TIMEOUT"]
    names = {f"tiles/{LARGE[0]}/sources.parquet", "sed/templates.npz", *cutouts_of(SMALL_TILE)}
    assert_same(search, finished, names)


def test_a_node_that_dies_during_downloads(
    make_search: MakeSearch, finished: Checkout, survey: DemoServer, faults: Faults
) -> None:
    faults(LATE)
    keep = tuple(photometry_of(tile) for tile in LARGE)
    search = make_search(finished, change=UNHURRIED, keep=keep)
    before = requests(survey)
    process = search.start(*(f"results/small/tiles/{tile}/cutouts.npz" for tile in LARGE))
    wait_for("downloads are under way", lambda: requests(survey) > before + 100, 120.0)
    struck = search.cluster.jobs("RUNNING")
    node = struck[0].node
    search.cluster.kill_node(node)
    wait_for("SLURM has noticed", lambda: "down" in search.cluster.nodes()[node])
    search.cluster.start_node(node)
    search.finish(process)
    assert {job.restarts for job in search.jobs("cutouts")} >= {1}
    needed = requests_needed(finished, *LARGE)
    assert needed <= requests(survey) - before <= needed + CONNECTIONS * len(struck)
    assert_same(search, finished, cutouts_of(LARGE[0]) | cutouts_of(LARGE[1]))


def test_snakemake_killed_during_downloads_and_started_again(
    make_search: MakeSearch, finished: Checkout, survey: DemoServer, faults: Faults
) -> None:
    """Its jobs live on; the next Snakemake ends them before it starts its own."""
    faults(LATE)
    keep = tuple(photometry_of(tile) for tile in LARGE)
    search = make_search(finished, change=UNHURRIED, keep=keep)
    targets = [f"results/small/tiles/{tile}/cutouts.npz" for tile in LARGE]
    before = requests(survey)
    search.start(*targets)
    wait_for("downloads are under way", lambda: requests(survey) > before + 100, 120.0)
    faults(HELD)
    search.kill()
    left = search.jobs("cutouts", "RUNNING")
    assert left
    for name in cutouts_of(LARGE[0]) | cutouts_of(LARGE[1]):
        assert not search.checkout.result(name).exists()
    search.run("--unlock")
    process = search.start(*targets)

    def states() -> set[str]:
        now = {job.number: job.state for job in search.jobs("cutouts")}
        return {now[job.number] for job in left}

    wait_for("the jobs left are cancelled", lambda: states() == {"CANCELLED"}, 200.0)
    faults(LATE)
    search.finish(process)
    needed = requests_needed(finished, *LARGE)
    assert needed <= requests(survey) - before <= needed + CONNECTIONS * len(left)
    assert_same(search, finished, cutouts_of(LARGE[0]) | cutouts_of(LARGE[1]))


@pytest.fixture(scope="module")
def unbroken(finished: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A longer training, on this machine, that nothing interrupts."""
    folder = tmp_path_factory.mktemp("unbroken") / "checkout"
    shutil.copytree(finished.folder, folder, symlinks=True)
    checkout = Checkout(folder, finished.overlays)
    done = checkout.snakemake("results/small/learning/seed-1/features.npz", change=LONG)
    assert done.returncode == 0, done.stdout + done.stderr
    return checkout


def test_training_goes_on_after_a_cancelled_job_and_a_dead_node(
    make_search: MakeSearch, finished: Checkout, unbroken: Checkout
) -> None:
    """Here the GPU is asked for by --gres."""
    site = ("gpu: 0", "gres: ")
    search = make_search(finished, change=LONG, keep=("images.npz",), site=site)
    process = search.start("results/small/learning/seed-1/features.npz")
    search.await_log("train/seed-1", r"epoch 20:")
    first = search.await_job("train", "RUNNING")
    search.cluster.cancel(first)
    search.await_job("train", "CANCELLED")
    told = log_of(search)
    assert "TrainingInterruptedError" in told
    search.await_log("train/seed-1", r"going on (?s:.*)epoch \d+: (?s:.*)epoch \d+: ")
    search.cluster.kill_node("g1")
    broken = log_of(search)
    wait_for("SLURM has noticed", lambda: "down" in search.cluster.nodes()["g1"])
    search.cluster.start_node("g1")
    search.finish(process)
    told_again = log_of(search)
    assert last_epoch(told) > 0
    assert first_epoch(broken) in (last_epoch(told), last_epoch(told) + 1)
    assert first_epoch(told_again) in (last_epoch(broken) + 1, last_epoch(broken) + 2)
    for job in search.jobs("train"):
        assert job.node == "g1"
        assert search.cluster.describe(job)["TresPerNode"] == "gres:gpu:1"
    names = {f"learning/seed-1/{name}" for name in ("features.npz", "history.csv")}
    assert_same(search, unbroken, names)


def log_of(search: ClusterSearch) -> str:
    """Return the log of the training."""
    return search.checkout.result("logs/train/seed-1.log").read_text()


def first_epoch(log: str) -> int:
    """First epoch that a training tells of."""
    return int(re.findall(r"epoch (\d+): ", log)[0])


def last_epoch(log: str) -> int:
    """Last epoch that a training tells of."""
    return int(re.findall(r"epoch (\d+): ", log)[-1])


def test_the_search_on_a_cluster_gives_the_same_tables(
    make_search: MakeSearch, finished: Checkout
) -> None:
    """On nodes without a network, but for those of the transfer partition."""
    search = make_search(finished, online=("transfer",))
    search.run()
    assert_same(search, finished)
    assert search.guard.reached == []
    jobs = search.jobs()
    assert {job.state for job in jobs} == {"COMPLETED"}
    rules = {job.rule.split()[0]: job.partition for job in jobs}
    assert {rule for rule, partition in rules.items() if partition == "transfer"} == NETWORK
    assert {rule for rule, partition in rules.items() if partition == "gpu"} == {"train"}
    for job in search.jobs("train"):
        told = search.cluster.describe(job)
        assert job.node == "g1"
        assert told["TresPerJob"] == "gres:gpu:1"


def test_a_node_without_a_network_reaches_nothing(
    make_search: MakeSearch, finished: Checkout
) -> None:
    """What the search above did not do would have been seen."""
    once = {"services": {"retries": 0}}
    search = make_search(finished, online=("transfer",), site=(), change=once)
    process = search.start("results/small/known_quasars.parquet", "--retries", "0")
    search.await_job("known_quasars", "FAILED")
    search.kill()
    assert process.returncode != 0
    assert set(search.guard.reached) == {"127.0.0.1"}
