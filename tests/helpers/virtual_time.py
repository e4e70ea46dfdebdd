"""Time that passes only while all threads wait, for tests of how threads work together."""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest

import archipelago.survey.hosts as hosts


class VirtualTime:
    """A clock; it goes to the earliest end of a sleep once no thread has work."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._lock = threading.Lock()
        self._at_work = 0
        self._sleepers: list[tuple[float, int, threading.Event]] = []
        self._numbers = itertools.count()

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        event = threading.Event()
        with self._lock:
            entry = (self.now_s + seconds, next(self._numbers), event)
            heapq.heappush(self._sleepers, entry)
        self.add(-1)
        assert event.wait(10), "all threads wait for each other"

    def add(self, n: int) -> None:
        """Count threads that go to work; negative: that begin to wait, or end."""
        with self._lock:
            self._at_work += n
            if self._at_work == 0 and self._sleepers:
                self.now_s, _, event = heapq.heappop(self._sleepers)
                self._at_work += 1
                event.set()

    def run(self, work: Callable[[], None], n_threads: int) -> None:
        """Run ``work`` in that many threads until all have ended."""
        failures: list[BaseException] = []

        def ended() -> None:
            try:
                work()
            except BaseException as error:
                failures.append(error)
            finally:
                self.add(-1)

        threads = [threading.Thread(target=ended, daemon=True) for _ in range(n_threads)]
        self.add(n_threads)
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
            assert not thread.is_alive(), "all threads wait for each other"
        if failures:
            raise failures[0]


@contextmanager
def virtual_time(monkeypatch: pytest.MonkeyPatch) -> Iterator[VirtualTime]:
    """Let the hosts' threads wait in virtual time."""
    time = VirtualTime()

    class Condition(threading.Condition):
        """Tells the clock who waits; whoever is woken counts as at work at once."""

        def wait(self, timeout: float | None = None) -> bool:
            del timeout  # as long as it takes
            time.add(-1)
            return super().wait(10)

        def notify(self, n: int = 1) -> None:
            time.add(min(n, len(self._waiters)))  # type: ignore[attr-defined]
            super().notify(n)

    monkeypatch.setattr(hosts, "Condition", Condition)
    yield time


def each(items: Sequence[int], do: Callable[[int], None]) -> Callable[[], None]:
    """Return work that does the items one after the other, shared by all threads."""
    waiting = iter(items)
    lock = threading.Lock()

    def work() -> None:
        while True:
            with lock:
                item = next(waiting, None)
            if item is None:
                return
            do(item)

    return work
