"""How long a report takes to write, how large it is, and how soon a browser shows it.

`python -m archipelago.measure.report` writes pages of synthetic searches, and opens each in
Chromium from ``file://`` with the network off, where Chromium and playwright are installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from archipelago.base.files import write_text
from archipelago.base.images import ImageSet
from archipelago.base.losses import LOSS_COLUMNS
from archipelago.report.page import ReportData, render_report

BANDS = ("g", "r", "i", "z", "Y", "J", "K", "W1", "W2")
IMAGE_BANDS = 5
#: Rough fluxes of an object of J = 20 in each class [uJy].
SHAPES = {
    "star": np.array([0.02, 0.1, 1.5, 14, 19, 36, 33, 22, 17]),
    "galaxy": np.array([1, 3, 7, 14, 17, 25, 45, 55, 60]),
    "quasar": np.array([0.001, 0.02, 1.0, 24, 25, 28, 33, 36, 40]),
    "lensed": np.array([0.8, 2.2, 5.0, 30, 32, 36, 42, 44, 47]),
}
#: What the report promises: seconds to write it, megabytes, seconds until it is shown.
PROMISE_WRITE_S, PROMISE_MB, PROMISE_OPEN_S = 60.0, 20.0, 2.0
_DEPTH_UJY = np.array([0.1, 0.13, 0.2, 0.35, 1.2, 3.5, 7, 10, 14])
#: Columns of numbers that make the table as wide as that of a real search.
_FILLERS = 90


def synthetic_report(
    n: int, n_cards: int = 50, *, seed: int = 1, side_px: int = 28, fillers: int = _FILLERS
) -> ReportData:
    """Make a report's data with ``n`` objects, ranked, on islands, with images.

    Parameters
    ----------
    n : objects.
    n_cards : unknown candidates with a card.
    seed : of everything random.
    side_px : side of the images [px]; 0: the search went without images.
    fillers : columns of numbers beside those that the page knows.
    """
    rng = np.random.default_rng(seed)
    names = list(SHAPES)
    kind = rng.choice(len(names), n, p=[0.72, 0.22, 0.04, 0.02])
    table = _candidates(rng, kind, fillers)
    images = None
    maps: dict[str, pd.DataFrame] = {}
    if side_px and n:
        fluxes = table[[f"flux_ujy_{band}" for band in BANDS[:IMAGE_BANDS]]].to_numpy()
        n_images = min(n, 20_000)
        images = ImageSet(
            _images(rng, fluxes[:n_images], table["kind"].to_numpy()[:n_images], side_px),
            table["id"].to_numpy()[:n_images],
            BANDS[:IMAGE_BANDS],
            0.263,
            30.0,
        )
        xy = table[["map_x", "map_y"]].to_numpy()
        for k in (1, 2):
            turned = xy @ np.array([[math.cos(k), -math.sin(k)], [math.sin(k), math.cos(k)]])
            maps[f"seed {k}"] = pd.DataFrame(
                {"id": table["id"], "x": turned[:, 0], "y": turned[:, 1]}
            )
    else:
        table = table.assign(has_images=False, island=-1).drop(columns=["map_x", "map_y"])
    scale = {name: table["flux_ujy_J"].to_numpy() / shape[5] for name, shape in SHAPES.items()}
    models = {
        int(i): {name: scale[name][k] * SHAPES[name] for name in names}
        for k, i in enumerate(table["id"].head(3 * n_cards))
    }
    losses = pd.DataFrame(
        {
            "id": np.arange(40),
            "ra_deg": 20.0,
            "dec_deg": -50.0,
            "tile": "order3-700",
            "stage": ["match"] * 25 + ["photometry"] * 15,
            "reason": ["no partner in allwise"] * 25 + ["cut: J present"] * 15,
            "detail": "",
        }
    )[list(LOSS_COLUMNS)]
    return ReportData(
        run=f"synthetic-{n}",
        candidates=table.drop(columns="kind"),
        catalogue=table[["id", "ra_deg", "dec_deg", "tile"]],
        cutflow=pd.DataFrame(
            {
                "stage": ["match", "photometry"],
                "cut": ["within 1.0 arcsec of allwise", "J present"],
                "rows_in": [5 * n, 2 * n],
                "rows_out": [2 * n, n],
            }
        ),
        losses=losses,
        known=table.loc[table["is_known"], ["id", "ra_deg", "dec_deg"]],
        bands=BANDS,
        config={"run": f"synthetic-{n}", "images": {"source": "service"}},
        left_out={} if images else {"images, features and islands": "images.source is none"},
        images=images,
        maps=maps,
        models=models,
        n_cards=n_cards,
        about={"ra_deg": "right ascension, ICRS", "score": "ln odds of a quasar, lensed or not"},
    )


def _candidates(rng: np.random.Generator, kind: NDArray[np.int64], fillers: int) -> pd.DataFrame:
    n = len(kind)
    names = list(SHAPES)
    shapes = np.array([SHAPES[name] for name in names])
    fluxes = shapes[kind] * rng.lognormal(0, 0.35, (n, 1)) * rng.lognormal(0, 0.1, (n, 9))
    errors = np.hypot(_DEPTH_UJY, 0.02 * fluxes)
    measured = fluxes + rng.normal(0, 1, (n, 9)) * errors
    logits = rng.normal(0, 1.6, (n, 5)) - 2
    logits[np.arange(n), kind] += 6
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    wanted = p[:, 2] + p[:, 3]
    score = np.log(wanted / (1 - wanted))
    centre = np.array([(0, 0), (5, 2), (-4, 5), (-2, 6)], dtype=float)
    xy = centre[kind] + rng.normal(0, 1, (n, 2))
    is_known = (kind == 2) & (rng.random(n) < 0.4)
    columns: dict[str, Any] = {
        # Past 2^53, where numbers of scripts are no longer exact.
        "id": 9_007_199_254_740_993 + 13 * np.arange(n, dtype=np.int64),
        "ra_deg": np.mod(355 + 25 * rng.random(n), 360.0),
        "dec_deg": rng.uniform(-55, -40, n),
        "score": score,
        "sed_term": score - 0.3,
        "learning_term": 0.3,
        "similarity_term": 0.2,
        "island_term": 0.1,
        "best_class": np.array([*names, "other"])[p.argmax(axis=1)],
        "is_known": is_known,
        "known_name": pd.Series(is_known).map({True: "Known quasar", False: None}).to_numpy(),
        "known_redshift": np.where(is_known, 6.0, np.nan),
        "has_images": np.arange(n) % 20 != 7,
        **{f"p_{name}": p[:, k] for k, name in enumerate([*names, "other"])},
        "z_quasar": rng.uniform(5.7, 6.5, n),
        "island": np.where(kind >= 2, 2, np.where(xy[:, 0] > 3.5, 1, -1)),
        "map_x": xy[:, 0],
        "map_y": xy[:, 1],
        "tile": rng.choice(["order3-700", "order3-701", "order3-702"], n),
        "kind": kind,
    }
    for k, band in enumerate(BANDS):
        seen = measured[:, k] > 2 * errors[:, k]
        flux = np.where(seen, measured[:, k], 0.0)
        columns[f"flux_ujy_{band}"] = flux
        columns[f"flux_err_ujy_{band}"] = errors[:, k]
        with np.errstate(divide="ignore"):
            columns[f"mag_ab_{band}"] = np.where(seen, 23.9 - 2.5 * np.log10(flux), 99.0)
        columns[f"detected_{band}"] = seen
    for k in range(fillers):
        columns[f"evidence_{k}"] = rng.normal(0, 1, n)
    columns["reason"] = np.where(
        kind >= 2, "Its photometry favours a quasar (10^4 to 1).", "Its photometry favours a star."
    )
    table = pd.DataFrame(columns).sort_values("score", ascending=False, ignore_index=True)
    table.insert(0, "rank", np.arange(1, n + 1))
    unknown = (~table["is_known"]).cumsum().astype("Int64")
    table.insert(1, "rank_unknown", unknown.mask(table["is_known"]))
    return table


def _images(
    rng: np.random.Generator,
    fluxes: NDArray[np.float64],
    kind: NDArray[np.int64],
    side_px: int,
) -> NDArray[np.float32]:
    """Point sources, and a wider light around the lensed ones, in noise (n, band, y, x)."""
    y, x = np.mgrid[:side_px, :side_px] - (side_px - 1) / 2
    point = np.exp(-((x - 0.3) ** 2 + (y + 0.4) ** 2) / (2 * 1.7**2)) / (2 * np.pi * 1.7**2)
    pair = 0.6 * np.roll(point, 3, axis=1) + 0.4 * np.roll(point, -3, axis=1)
    wide = np.exp(-(x**2 + y**2) / (2 * 3.0**2)) / (2 * np.pi * 9)
    shapes = np.where((kind == 3)[:, None, None], 0.5 * pair + 0.5 * wide, point)
    counts = fluxes * 10 ** (0.4 * (30 - 23.9))
    noise = rng.normal(0, 2.5, (*fluxes.shape, side_px, side_px))
    return np.asarray(counts[:, :, None, None] * shapes[:, None] + noise, dtype=np.float32)


def can_browse() -> bool:
    """Whether Chromium and playwright are there."""
    return chromium() is not None and importlib.util.find_spec("playwright") is not None


def chromium() -> str | None:
    """Path of Chromium; None where there is none."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


def open_seconds(page: Path) -> dict[str, float]:
    """Open a page in Chromium from ``file://``, the network off; return seconds since the start.

    ``loaded``: the browser's load event; ``ready``: lists and cards work; ``map``: the map
    is drawn.
    """
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        context = browser.new_context(offline=True, viewport={"width": 1440, "height": 900})
        tab = context.new_page()
        start = time.monotonic()
        tab.goto(page.resolve().as_uri(), wait_until="load", timeout=120_000)
        seconds = {"loaded": time.monotonic() - start}
        for name, sign in (("ready", "[data-ready]"), ("map", "[data-map]")):
            tab.wait_for_selector(f"html{sign}", state="attached", timeout=120_000)
            seconds[name] = time.monotonic() - start
        browser.close()
    return seconds


def main(arguments: Sequence[str] | None = None) -> int:
    """Write pages of several sizes and print their times and sizes; 1 if a promise is broken.

    The promises hold for the first size of ``--sizes``.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="1500,20000", help="objects, with commas between")
    parser.add_argument("--cards", type=int, default=100, help="candidates with a card")
    parser.add_argument("--out", type=Path, help="folder that keeps the pages")
    options = parser.parse_args(arguments)
    broken = False
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.out or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        print("objects  cards  write [s]  size [MB]  loaded [s]  ready [s]  map [s]")
        for k, size in enumerate(int(text) for text in options.sizes.split(",")):
            data = synthetic_report(size, options.cards)
            start = time.monotonic()
            html = render_report(data)
            path = folder / f"report-{size}.html"
            write_text(path, html)
            wrote = time.monotonic() - start
            megabytes = path.stat().st_size / 1e6
            seen = open_seconds(path) if can_browse() else {}
            opened = [f"{seen[name]:.2f}" if seen else "-" for name in ("loaded", "ready", "map")]
            print(
                f"{size:7d} {options.cards:6d} {wrote:10.1f} {megabytes:10.2f} "
                f"{opened[0]:>11} {opened[1]:>10} {opened[2]:>8}",
                flush=True,
            )
            slow = bool(seen) and seen["map"] > PROMISE_OPEN_S
            if k == 0:
                broken = wrote > PROMISE_WRITE_S or megabytes > PROMISE_MB or slow
    if not can_browse():
        print("Not opened: Chromium (apt-get install chromium) or playwright is missing.")
    return int(broken)


if __name__ == "__main__":
    raise SystemExit(main())
