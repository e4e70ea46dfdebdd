"""What unit tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from helpers.loopback import Loopback, loopback_server


@pytest.fixture
def server() -> Iterator[Loopback]:
    """A server that answers as the test tells it."""
    with loopback_server() as running:
        yield running
