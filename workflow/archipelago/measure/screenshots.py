"""Pictures of a report, light and dark, for the documentation."""

from __future__ import annotations

import argparse
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from PIL import Image

from archipelago.base.errors import InputError
from archipelago.base.files import atomic_path
from archipelago.measure.report import can_browse, chromium

if TYPE_CHECKING:
    from playwright.sync_api import ViewportSize

#: Parts of the page that are pictured, with the element that stands at the window's top.
PARTS = {"top": "#top", "map": "#map", "list": "#candidates", "card": "article.card"}
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
#: Size of the window [px], and most bytes of a picture.
WINDOW_PX: ViewportSize = {"width": 1280, "height": 860}
MAX_BYTES = 300_000


def take(page: Path, folder: Path) -> list[Path]:
    """Picture each of `PARTS` of a report in light and dark; return the files.

    Raises
    ------
    InputError
        If there is no such page, or no browser.
    """
    if not page.is_file():
        raise InputError("there is no report", where=str(page), next_step="make one: make demo")
    if not can_browse():
        raise InputError(
            "Chromium or playwright is missing",
            where="pictures of the report",
            next_step="apt-get install chromium, and pip install -r requirements-dev.txt",
        )
    from playwright.sync_api import sync_playwright

    folder.mkdir(parents=True, exist_ok=True)
    made = []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        for scheme in SCHEMES:
            context = browser.new_context(offline=True, color_scheme=scheme, viewport=WINDOW_PX)
            tab = context.new_page()
            tab.goto(page.resolve().as_uri())
            tab.wait_for_selector("html[data-ready]", state="attached")
            if tab.locator("#plot").count():
                tab.wait_for_selector("html[data-map]", state="attached")
                _choose(tab)
            for name, selector in PARTS.items():
                if tab.locator(selector).count():
                    _scroll(tab, selector)
                    path = folder / f"report-{name}-{scheme}.png"
                    _write(tab.screenshot(), path)
                    made.append(path)
            context.close()
        browser.close()
    return made


def _choose(tab: Any) -> None:
    """Show the first of the ranking beside the map, as a reader would."""
    tab.locator("#plot").focus()
    tab.keyboard.press("ArrowRight")


def _scroll(tab: Any, selector: str) -> None:
    tab.evaluate(
        """async (selector) => {
          const top = document.querySelector(selector).getBoundingClientRect().top;
          window.scrollTo({ top: window.scrollY + top - 56, behavior: "instant" });
          await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
        }""",
        selector,
    )


def _write(png: bytes, path: Path) -> None:
    """Write a picture in 256 colours, or fewer until it is small."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    for colours in (256, 128, 64, 32):
        stream = io.BytesIO()
        picture.quantize(colours).save(stream, "PNG", optimize=True)
        if stream.tell() <= MAX_BYTES:
            break
    with atomic_path(path) as temporary:
        Path(temporary).write_bytes(stream.getvalue())


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the pictures and name them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", type=Path, help="a report.html")
    parser.add_argument("--out", type=Path, default=Path("docs/images"), help="folder")
    options = parser.parse_args(arguments)
    for path in take(options.page, options.out):
        print(f"{path}  {path.stat().st_size / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
