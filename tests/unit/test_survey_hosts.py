"""Many threads and a host that fails: what it costs, in requests and in virtual time."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import requests
from helpers.virtual_time import VirtualTime, each, virtual_time

from archipelago.survey.faults import RequestError
from archipelago.survey.hosts import DOWN_AFTER, LONGEST_PROBE_S
from archipelago.survey.http import HttpClient, Reply

URL = "http://survey.example/"
LATENCY_S = 0.1


class Survey:
    """A client whose server is a function of the time, and what it was asked."""

    def __init__(self, time: VirtualTime, status: Callable[[float], int], **settings: Any) -> None:
        self.sent: list[tuple[float, str]] = []
        self.under_way: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        options = {"connections": 32, "retries": 8, "total_s": 900.0} | settings
        chance = random.Random(4)
        self.client = HttpClient(sleep=time.sleep, clock=time, jitter=chance.random, **options)

        def once(wanted: Any, attempt: int) -> Reply:
            host = wanted.url.split("/")[2]
            self.sent.append((time.now_s, wanted.url))
            self.under_way[host] += 1
            self.most[host] = max(self.most[host], self.under_way[host])
            answer = status(time.now_s)
            time.sleep(LATENCY_S)
            self.under_way[host] -= 1
            if answer == 0:
                raise requests.ConnectionError("Name or service not known")
            return Reply(wanted.url, answer, {}, b"", attempt)

        self.client._once = once  # type: ignore[method-assign]

    def get(self, number: int) -> None:
        assert self.client.request("GET", f"{URL}{number}").status == 200


def test_30_percent_failures_cost_little(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(1)
    with virtual_time(monkeypatch) as time:
        survey = Survey(time, lambda _: 503 if chance.random() < 0.3 else 200)
        time.run(each(range(2000), survey.get), 32)
    assert len(survey.sent) <= 1.6 * 2000
    assert len({url for _, url in survey.sent}) == 2000
    # Of a thread's time a request takes 0.14 s, and its waits 0.3 x 0.75 s + 0.09 x 1.5 s
    # + ... = 0.56 s: 44 s in all until the last is begun; it may take long itself.
    # Pauses for all threads must not add much.
    begun_s: dict[str, float] = {}
    for sent_s, url in survey.sent:
        begun_s.setdefault(url, sent_s)
    assert max(begun_s.values()) < 60


@pytest.mark.parametrize("status", [503, 500, 0])
def test_an_outage_of_two_minutes_loses_nothing(
    monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    with virtual_time(monkeypatch) as time:
        survey = Survey(time, lambda now_s: status if 2 <= now_s < 122 else 200)
        time.run(each(range(1500), survey.get), 32)
    during = [url for now_s, url in survey.sent if 2 <= now_s < 122]
    assert len({url for _, url in survey.sent}) == 1500
    # Those under way when it began, and then one at a time.
    assert len(during) < 2 * 32 + 10
    assert max(Counter(during).values()) <= 4  # far from the 9 attempts that each has
    assert time.now_s < 122 + LONGEST_PROBE_S + 15


def test_while_a_host_is_down_one_request_at_a_time_tries_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with virtual_time(monkeypatch) as time:
        survey = Survey(time, lambda now_s: 503 if now_s < 100 else 200)
        time.run(each(range(64), survey.get), 16)
    probes = sorted(now_s for now_s, _ in survey.sent if 5 < now_s < 100)
    assert len(probes) <= 8
    gaps = [after - before for before, after in zip(probes, probes[1:], strict=False)]
    assert min(gaps) > 1.0  # no two at once
    assert len({url for now_s, url in survey.sent if 5 < now_s < 100}) == len(probes)


def test_a_host_that_never_comes_back_ends_all_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    failures: list[RequestError] = []

    def get(number: int) -> None:
        with pytest.raises(RequestError, match="cannot be reached") as caught:
            survey.get(number)
        failures.append(caught.value)

    with virtual_time(monkeypatch) as time:
        survey = Survey(time, lambda _: 0, total_s=300.0, connections=8, retries=20)
        time.run(each(range(40), get), 8)
    assert len(failures) == 40
    assert {error.reason for error in failures} == {"no connection"}
    assert any("has been failing for" in error.what for error in failures)
    # Not 300 s for each: what the first have waited for, the others need not.
    assert time.now_s < 2 * 300
    assert len(survey.sent) < 40


def test_hosts_are_independent_and_one_may_have_a_lower_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def get(number: int) -> None:
        host = ("one", "two")[number % 2]
        survey.client.request("GET", f"http://{host}.example/{number}")

    with virtual_time(monkeypatch) as time:
        survey = Survey(time, lambda _: 200, connections=4)
        survey.client.limit_host("http://two.example/any", 1)
        time.run(each(range(100), get), 16)
    assert survey.most == {"one.example": 4, "two.example": 1}
    assert time.now_s == pytest.approx(50 * LATENCY_S)
    assert len(survey.sent) == 100


@pytest.mark.parametrize(("every", "longest_s"), [(100, 220), (20, 400)])
def test_addresses_that_always_fail_cost_no_other_its_answer(
    monkeypatch: pytest.MonkeyPatch, every: int, longest_s: float
) -> None:
    bad: list[int] = []

    def get(number: int) -> None:
        if number % every:
            return survey.get(number)
        with pytest.raises(RequestError, match="HTTP 500"):
            survey.client.request("GET", f"{URL}bad{number}")
        return bad.append(number)

    with virtual_time(monkeypatch) as time:
        survey = Survey(time, lambda _: 200)
        inner = survey.client._once

        def once(wanted: Any, attempt: int) -> Reply:
            reply = inner(wanted, attempt)
            status = 500 if "bad" in wanted.url else 200
            return Reply(reply.url, status, {}, b"", attempt)

        survey.client._once = once  # type: ignore[method-assign]
        time.run(each(range(400), get), 16)
    assert len(bad) == 400 // every
    good = [now_s for now_s, url in survey.sent if "bad" not in url]
    assert len(good) == 400 - len(bad)
    assert time.now_s < longest_s  # alone such an address takes 130 s


def test_cancelling_wakes_all_who_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    ends: list[str] = []

    def get(number: int) -> None:
        try:
            survey.get(number)
        except RequestError as error:
            ends.append(error.reason)
            survey.client.cancel()

    with virtual_time(monkeypatch) as time:
        survey = Survey(time, lambda _: 503, retries=1, connections=8)
        time.run(each(range(30), get), 16)
    assert len(ends) == 30
    assert ends[0] == "http 503" and ends.count("cancelled") > 10


def test_a_host_counts_as_down_after_failures_of_several_requests() -> None:
    clock = [0.0]

    def sleep(seconds: float) -> None:
        clock[0] += seconds

    client = HttpClient(sleep=sleep, clock=lambda: clock[0], retries=2, jitter=lambda: 1.0)

    def once(wanted: Any, attempt: int) -> Reply:
        raise requests.ConnectTimeout("no route")

    client._once = once  # type: ignore[method-assign]
    host = client._hosts.of(URL)
    for n_sent in range(3, DOWN_AFTER + 3, 3):
        assert not host.is_down
        with pytest.raises(RequestError, match="cannot be reached"):
            client.request("GET", URL)
        assert host.is_down == (n_sent >= DOWN_AFTER)
