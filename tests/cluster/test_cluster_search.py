"""The whole search on a real SLURM: the same tables as on one machine."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from cluster_search import ClusterSearch, assert_same
from workflow_checkout import Checkout

pytestmark = pytest.mark.slow

#: Rules that ask the survey's services.
NETWORK = {"select", "match", "known_quasars", "cutouts"}


def test_the_search_on_a_cluster_gives_the_same_tables(
    make_search: Callable[..., ClusterSearch], finished: Checkout
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
    make_search: Callable[..., ClusterSearch], finished: Checkout
) -> None:
    """What the search above did not do would have been seen."""
    once = {"services": {"retries": 0}}
    search = make_search(finished, online=("transfer",), site=(), change=once)
    process = search.start("results/small/known_quasars.parquet", "--retries", "0")
    search.await_job("known_quasars", "FAILED")
    search.kill()
    assert process.returncode != 0
    assert set(search.guard.reached) == {"127.0.0.1"}
