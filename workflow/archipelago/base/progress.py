"""Progress of long work: a bar on a terminal, a line a minute in a log."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from types import TracebackType

from tqdm import tqdm

_LOG = logging.getLogger(__name__)


class Progress:
    """Count what is done of ``total`` and say so, rarely.

    On a terminal a bar is drawn. Elsewhere a line is logged at most once in
    ``interval_s`` seconds, and one at the end: done, failed, rate, time left.

    Parameters
    ----------
    total : number of items.
    label : what an item is, such as ``"cutouts"``.
    interval_s : least time between two lines in a log [s].
    clock : returns seconds; replaced in tests.
    """

    def __init__(
        self,
        total: int,
        label: str,
        interval_s: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.total = total
        self.label = label
        self.done = 0
        self.failed = 0
        self._interval_s = interval_s
        self._clock = clock
        self._start_s = self._last_s = clock()
        self._bar = tqdm(total=total, desc=label) if sys.stderr.isatty() else None

    def __enter__(self) -> Progress:
        """Start counting."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Say how it ended."""
        if self._bar is not None:
            self._bar.close()
        _LOG.info("%s", self.line())

    def step(self, n: int = 1, *, failed: int = 0) -> None:
        """Count ``n`` more items, ``failed`` of which failed."""
        self.done += n
        self.failed += failed
        if self._bar is not None:
            self._bar.update(n)
        now_s = self._clock()
        if now_s - self._last_s >= self._interval_s:
            self._last_s = now_s
            _LOG.info("%s", self.line())

    def line(self) -> str:
        """Return the state in one line."""
        elapsed_s = max(self._clock() - self._start_s, 1e-9)
        rate = self.done / elapsed_s
        left_s = (self.total - self.done) / rate if rate else float("nan")
        return (
            f"{self.label}: {self.done} of {self.total} done, {self.failed} failed, "
            f"{rate:.1f}/s, {left_s:.0f} s left"
        )
