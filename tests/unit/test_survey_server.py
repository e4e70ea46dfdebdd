"""The server that the survey's tests run against."""

from __future__ import annotations

import requests
from helpers.loopback import Answer, loopback_server


def test_server_answers_in_turn_and_remembers() -> None:
    with loopback_server() as server:
        url = server.at("/a", Answer(b"one", 503), Answer(b"two"))
        with requests.Session() as session:
            assert [session.get(url).text for _ in range(3)] == ["one", "two", "two"]
            assert session.get(server.url + "/b").status_code == 404
        assert len(server.seen("/a")) == 3
