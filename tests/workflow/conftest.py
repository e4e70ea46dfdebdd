"""A small sky served on loopback, and a search of it, done."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from workflow_checkout import Checkout, search_of

from archipelago.demosky.server import DemoServer
from archipelago.demosky.sky import Sky, build_sky


@pytest.fixture(scope="session")
def small_sky() -> Sky:
    """A sky of some 1,500 selected objects."""
    return build_sky(3, n_selected=1500)


@pytest.fixture(scope="session")
def survey(small_sky: Sky) -> Iterator[DemoServer]:
    """The small sky, served."""
    with DemoServer(small_sky) as server:
        yield server


@pytest.fixture(scope="session")
def finished(
    tmp_path_factory: pytest.TempPathFactory, small_sky: Sky, survey: DemoServer
) -> Checkout:
    """A search of the small sky, done."""
    checkout = search_of(tmp_path_factory.mktemp("search") / "checkout", small_sky, survey)
    done = checkout.snakemake()
    assert done.returncode == 0, done.stdout + done.stderr
    return checkout
