"""A small sky served on loopback, and a search of it, done: for all tests of the workflow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

# Imported where they are used: tests that need no search pay nothing for them.
if TYPE_CHECKING:
    from workflow_checkout import Checkout

    from archipelago.demosky.server import DemoServer
    from archipelago.demosky.sky import Sky


@pytest.fixture(scope="session")
def small_sky() -> Sky:
    """A sky of some 1,500 selected objects."""
    from archipelago.demosky.sky import build_sky

    return build_sky(3, n_selected=1500)


@pytest.fixture(scope="session")
def survey(small_sky: Sky) -> Iterator[DemoServer]:
    """The small sky, served."""
    from archipelago.demosky.server import DemoServer

    with DemoServer(small_sky) as server:
        yield server


@pytest.fixture(scope="session")
def finished(
    tmp_path_factory: pytest.TempPathFactory, small_sky: Sky, survey: DemoServer
) -> Checkout:
    """A search of the small sky, done."""
    from workflow_checkout import search_of

    checkout = search_of(tmp_path_factory.mktemp("search") / "checkout", small_sky, survey)
    done = checkout.snakemake()
    assert done.returncode == 0, done.stdout + done.stderr
    return checkout


@pytest.fixture
def faults(survey: DemoServer) -> Iterator[Callable[..., None]]:
    """Lets the services commit faults, until the test ends."""

    def commit(*rules: dict[str, Any]) -> None:
        survey.set_faults({"seed": 1, "rules": list(rules)})

    yield commit
    survey.set_faults(None)
