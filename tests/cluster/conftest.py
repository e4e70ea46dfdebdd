"""A real SLURM, and searches that run on it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster_search import ClusterSearch
from network_guard import NetworkGuard
from slurm_cluster import Cluster, why_not
from workflow_checkout import REPOSITORY, Checkout


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A SLURM of three nodes; skips, loudly, where there can be none."""
    beside = REPOSITORY.parent / "shared" / "slurm"
    pattern = Path(os.environ.get("ARCHIPELAGO_SLURM_PATTERN", beside))
    reason = why_not(pattern)
    if reason:
        text = f"NOT TESTED ON A CLUSTER: {reason}"
        print(text)
        pytest.skip(text)
    with Cluster(pattern) as running:
        yield running


@pytest.fixture
def make_search(cluster: Cluster, tmp_path: Path) -> Iterator[Callable[..., ClusterSearch]]:
    """Makes searches on the cluster; whatever they left behind ends with the test."""
    made = []

    def make(base: Checkout, **options: Any) -> ClusterSearch:
        guard = NetworkGuard(tmp_path / "reached.txt", options.pop("online", None))
        search = ClusterSearch.copy(base, tmp_path / "checkout", cluster, guard, **options)
        made.append(search)
        return search

    yield make
    for search in made:
        search.kill()
    cluster.cancel_all()
