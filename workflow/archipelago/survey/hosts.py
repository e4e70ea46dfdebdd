"""What all threads of a job know of a host: its load, its pauses, its outages.

A host that fails many times in a row is down. Then one request at a time tries it,
after growing waits, while the others wait for how that ends; so an outage costs a
host few requests, and each request few of its attempts.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Condition
from urllib.parse import urlsplit

from archipelago.survey.faults import RequestError

_LOG = logging.getLogger(__name__)

#: Failures in a row, over all threads, by which a host counts as down. Where 30 % of
#: the answers are bad by chance, that many come in a row once in 170,000 times.
DOWN_AFTER = 10
#: Failures of one request that count for that. A few addresses at which a host always
#: fails do not make it count as down.
COUNTED_ATTEMPTS = 3
#: Wait before the first request to a host that is down [s]; doubled after each.
FIRST_PROBE_S = 1.0
#: Longest wait between two requests to a host that is down [s].
LONGEST_PROBE_S = 30.0
# A clock's rounding is no reason to sleep.
_NO_WAIT_S = 1e-6


class Turn:
    """One request that waits or is under way; told how it ended.

    Parameters
    ----------
    attempt : how often it will have been sent.
    """

    def __init__(self, attempt: int) -> None:
        self.attempt = attempt
        self.failure: RequestError | None = None
        self.answered = False


class Host:
    """The state of one host, shared by threads.

    Parameters
    ----------
    name : host and port.
    limit : most requests under way at once.
    patience_s : longest outage that requests wait for [s].
    sleep, clock, jitter : as of `archipelago.survey.http.HttpClient`.
    cancelled : set when all is to end.
    """

    def __init__(
        self,
        name: str,
        limit: int,
        patience_s: float,
        *,
        sleep: Callable[[float], object],
        clock: Callable[[], float],
        jitter: Callable[[], float],
        cancelled: threading.Event,
    ) -> None:
        self.name = name
        self.limit = limit
        self._patience_s = patience_s
        self._sleep = sleep
        self._clock = clock
        self._jitter = jitter
        self._cancelled = cancelled
        self._changed = Condition()
        self._under_way = 0
        self._line: deque[Turn] = deque()
        self._not_before_s = clock()
        self._failures = 0
        self._last: RequestError | None = None
        self._down_since_s: float | None = None
        self._probe: Turn | None = None
        self._probe_at_s = 0.0
        self._probe_wait_s = FIRST_PROBE_S

    @property
    def is_down(self) -> bool:
        """Whether the host has failed many times in a row, and not answered since."""
        return self._down_since_s is not None

    def pause(self, wait_s: float) -> None:
        """Keep all threads from the host for a time that it has asked for [s]."""
        with self._changed:
            self._not_before_s = max(self._clock() + wait_s, self._not_before_s)

    def wake(self) -> None:
        """Let those who wait look again, as all is cancelled."""
        with self._changed:
            self._changed.notify_all()

    @contextmanager
    def turn(self, url: str, deadline_s: float, attempt: int) -> Iterator[Turn]:
        """Wait until a request may be sent, and hold its place until it has ended.

        Raises
        ------
        RequestError
            If it may not be sent before ``deadline_s``, or all is cancelled; before
            anything was sent.
        """
        turn = Turn(attempt)
        try:
            self._enter(turn, url, deadline_s, attempt)
        except BaseException:
            with self._changed:
                self._leave(turn)
            raise
        try:
            yield turn
        finally:
            with self._changed:
                self._under_way -= 1
                self._learn(turn)
                self._leave(turn)

    def _enter(self, turn: Turn, url: str, deadline_s: float, attempt: int) -> None:
        with self._changed:
            self._line.append(turn)
        while True:
            with self._changed:
                while self._must_queue(turn):
                    self._check(url, deadline_s, attempt)
                    self._changed.wait(max(deadline_s - self._clock(), 0.01))
                self._check(url, None, attempt)
                wait_s = self._due_s(turn) - self._clock()
                if wait_s <= _NO_WAIT_S:
                    self._under_way += 1
                    self._line.remove(turn)
                    return
                self._check_wait(wait_s, url, deadline_s, attempt)
            self._sleep(wait_s)

    def _must_queue(self, turn: Turn) -> bool:
        if self._cancelled.is_set():
            return False
        if self.is_down:
            if self._probe is None:
                # The one that has failed least: a few addresses at which a host always
                # fails must not keep the others from showing that it is at work.
                self._probe = min(self._line, key=lambda waiting: waiting.attempt)
                self._changed.notify_all()
            return self._probe is not turn
        return self._under_way >= self.limit

    def _due_s(self, turn: Turn) -> float:
        """Return when a request may be sent, by the clock."""
        if self._down_since_s is None:
            return self._not_before_s
        given_up = self._clock() > self._down_since_s + self._patience_s
        if given_up and turn.attempt == 1:
            return self._not_before_s  # it is tried once, and waits no more
        return max(self._not_before_s, self._probe_at_s)

    def _check(self, url: str, deadline_s: float | None, attempt: int) -> None:
        if self._cancelled.is_set():
            raise RequestError(
                "cancelled, as another request failed for good",
                url=url,
                reason="cancelled",
                attempts=attempt - 1,
            )
        if deadline_s is not None and self._clock() >= deadline_s:
            if self.is_down:
                raise self._outage(url, attempt)
            raise RequestError(
                "the time allowed went by while other requests to this host were under way",
                url=url,
                reason="stalled",
                attempts=attempt - 1,
                next_step="run again, or raise services.total_s",
            )

    def _check_wait(self, wait_s: float, url: str, deadline_s: float, attempt: int) -> None:
        """Raise if a wait is longer than allowed."""
        now_s = self._clock()
        if self._down_since_s is not None:
            given_up = now_s + wait_s > self._down_since_s + self._patience_s
            if given_up or now_s + wait_s >= deadline_s:
                raise self._outage(url, attempt)
        elif now_s + wait_s >= deadline_s:
            raise RequestError(
                f"the server asks for a pause of {wait_s:.0f} s, "
                f"longer than the {self._patience_s:.0f} s allowed",
                url=url,
                reason="told to wait",
                attempts=attempt - 1,
                next_step="run again later, or lower services.connections",
            )

    def _outage(self, url: str, attempt: int) -> RequestError:
        last = self._last
        down_s = self._clock() - (self._down_since_s or 0.0)
        return RequestError(
            f"the host {self.name} has been failing for {down_s:.0f} s"
            + (f", the last time: {last.what}" if last else ""),
            url=url,
            reason=last.reason if last else "no connection",
            status=last.status if last else None,
            attempts=attempt - 1,
            body=last.body if last else b"",
            next_step="run again later, or raise services.total_s",
        )

    def _learn(self, turn: Turn) -> None:
        """Draw the conclusion from how a request ended."""
        if turn.answered:
            if self._down_since_s is not None:
                down_s = self._clock() - self._down_since_s
                _LOG.info("the host %s answers again after %.0f s", self.name, down_s)
                self._changed.notify_all()
            self._failures, self._down_since_s = 0, None
            self._probe, self._probe_wait_s = None, FIRST_PROBE_S
            return
        if turn.failure is not None:
            self._failures += turn.attempt <= COUNTED_ATTEMPTS
            self._last = turn.failure
            if self._failures >= DOWN_AFTER and self._down_since_s is None:
                self._down_since_s = self._clock()
                self._plan_probe()
                _LOG.warning("the host %s is down: %s", self.name, turn.failure.what)
                self._changed.notify_all()
        if self._probe is turn:
            self._plan_probe()

    def _plan_probe(self) -> None:
        wait_s = self._probe_wait_s * (0.5 + 0.5 * self._jitter())
        self._probe_at_s = self._clock() + wait_s
        self._probe_wait_s = min(2 * self._probe_wait_s, LONGEST_PROBE_S)

    def _leave(self, turn: Turn) -> None:
        if turn in self._line:
            self._line.remove(turn)
        if self._probe is turn:
            self._probe = None
            self._changed.notify_all()
        self._changed.notify()


class Hosts:
    """All hosts that a client has to do with.

    Parameters
    ----------
    connections : most requests under way at once to one host.
    patience_s, sleep, clock, jitter, cancelled : as of `Host`.
    """

    def __init__(
        self,
        connections: int,
        patience_s: float,
        *,
        sleep: Callable[[float], object],
        clock: Callable[[], float],
        jitter: Callable[[], float],
        cancelled: threading.Event,
    ) -> None:
        self._connections = connections
        self._make = lambda name: Host(
            name,
            connections,
            patience_s,
            sleep=sleep,
            clock=clock,
            jitter=jitter,
            cancelled=cancelled,
        )
        self._lock = threading.Lock()
        self._hosts: dict[str, Host] = {}

    def of(self, url: str) -> Host:
        """Return the host of an address."""
        name = urlsplit(url).netloc.lower()
        with self._lock:
            if name not in self._hosts:
                self._hosts[name] = self._make(name)
            return self._hosts[name]

    def limit(self, url: str, connections: int) -> None:
        """Allow fewer requests at once to the host of an address."""
        host = self.of(url)
        host.limit = min(connections, host.limit)

    def wake(self) -> None:
        """Let all who wait look again."""
        with self._lock:
            hosts = list(self._hosts.values())
        for host in hosts:
            host.wake()
