"""A real browser for the report: Chromium, the network denied, every complaint collected."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from archipelago.measure.report import can_browse, chromium
from archipelago.report.page import ReportData, render_report

#: Longest wait for anything [ms]: a machine may be busy.
_PATIENCE_MS = 120_000
#: Told to the test by the page itself, before any of its own scripts runs.
_WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) =>
  window.violations.push(event.violatedDirective + " " + event.blockedURI));
"""
_REFUSE_STORAGE = """
Object.defineProperty(window, "localStorage", {
  get() { throw new DOMException("denied", "SecurityError"); },
});
"""


@dataclass
class Opened:
    """A page in the browser, with all that it complained about."""

    tab: Any
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def check(self) -> None:
        """Fail if anything was logged as an error, refused, asked for, or thrown."""
        assert self.complaints == []
        assert self.requests == []
        assert self.tab.evaluate("window.violations") == []
        assert self.tab.evaluate("window.ran === undefined")

    def text(self, selector: str) -> str:
        return str(self.tab.locator(selector).inner_text())

    def count(self, selector: str) -> int:
        return int(self.tab.locator(selector).count())

    def until(self, what: str, check: Callable[[], bool]) -> None:
        """Wait until something holds; the page goes on meanwhile."""
        end = time.monotonic() + _PATIENCE_MS / 1000
        while not check():
            assert time.monotonic() < end, (
                f"waited {_PATIENCE_MS / 1000:.0f} s in vain until {what}"
            )
            self.tab.evaluate("() => new Promise((done) => requestAnimationFrame(done))")

    def save(self, selector: str, folder: Path) -> Path:
        """Press a button that saves a file; return where it lies."""
        with self.tab.expect_download() as waiting:
            self.tab.locator(selector).click()
        path = folder / waiting.value.suggested_filename
        waiting.value.save_as(path)
        return path


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    if not can_browse():
        pytest.skip(
            "the browser tests of the report need Debian's chromium (apt-get install chromium) "
            "and playwright (requirements-dev.txt)"
        )
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def open_page(browser: Any, tmp_path: Path) -> Iterator[Callable[..., Opened]]:
    """Open a report, or a file, from disk."""
    contexts = []

    def opener(source: ReportData | Path, *, scheme: str = "light", storage: bool = True) -> Opened:
        path = source
        if isinstance(source, ReportData):
            path = tmp_path / f"report-{len(contexts)}.html"
            path.write_text(render_report(source), encoding="utf-8")
        # Without motion: a page that still scrolls by itself moves away from under the mouse.
        context = browser.new_context(
            offline=True,
            color_scheme=scheme,
            reduced_motion="reduce",
            viewport={"width": 1440, "height": 900},
        )
        contexts.append(context)
        context.add_init_script(_WATCH + ("" if storage else _REFUSE_STORAGE))
        context.set_default_timeout(_PATIENCE_MS)
        opened = Opened(context.new_page())
        tab = opened.tab
        tab.on(
            "console",
            lambda message: (
                opened.complaints.append(message.text)
                if message.type in ("error", "warning")
                else None
            ),
        )
        tab.on("pageerror", lambda error: opened.complaints.append(str(error)))
        tab.on("dialog", lambda dialog: opened.complaints.append(f"dialog: {dialog.message}"))
        tab.on(
            "request",
            lambda request: (
                None
                if request.url.startswith(("file:", "data:", "blob:"))
                else opened.requests.append(request.url)
            ),
        )
        tab.goto(path.resolve().as_uri())
        tab.wait_for_selector("html[data-ready]", state="attached")
        if tab.locator("#plot").count():
            tab.wait_for_selector("html[data-map]", state="attached")
        return opened

    yield opener
    for context in contexts:
        context.close()
