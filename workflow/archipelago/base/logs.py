"""Where a rule's words go: its log file, traceback included."""

from __future__ import annotations

import logging
import sys
import warnings
from pathlib import Path
from types import TracebackType

_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class _RuleLog(logging.FileHandler):
    """A rule's log file, told from the handlers that others set up."""


def log_to(path: str | Path | None) -> None:
    """Send log records, warnings and an uncaught traceback to ``path``.

    With None they go to standard error. To be called first thing in a script; a
    second call closes the first file and goes on in the other. The uncaught
    exception's last line is also shown on standard error, so that the user sees it
    without opening the log.
    """
    root = logging.getLogger()
    root.setLevel(logging.INFO)
    if path is None:
        handler: logging.Handler = logging.StreamHandler()
    else:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        handler = _RuleLog(path, mode="w", encoding="utf-8")
    handler.setFormatter(logging.Formatter(_FORMAT))
    for old in root.handlers:
        if isinstance(old, _RuleLog):
            old.close()
    root.handlers[:] = [handler]
    logging.captureWarnings(True)
    warnings.simplefilter("default")
    for noisy in ("matplotlib", "numba", "urllib3", "httpx", "PIL", "faiss"):
        logging.getLogger(noisy).setLevel(logging.WARNING)

    def report(
        kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        root.critical("stopped by %s", kind.__name__, exc_info=(kind, error, trace))
        print(f"{kind.__name__}: {error}" + (f"\nsee {path}" if path else ""), file=sys.stderr)

    sys.excepthook = report
