"""The page: complete, safe, the same each time, and whole where data are missing."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from archipelago.base.images import ImageSet
from archipelago.base.losses import LOSS_COLUMNS, no_losses
from archipelago.candidates.combine import read_calibration
from archipelago.candidates.ranking import gather_evidence, rank_candidates
from archipelago.candidates.recall import RECALL_COLUMNS
from archipelago.report.page import ReportData, render_report

CALIBRATION = Path(__file__).resolve().parents[2] / "data" / "calibration.csv"
BANDS = ["g", "r", "i", "z", "Y", "J", "K", "W1", "W2"]
#: Fluxes [uJy] of an object of J = 20: rough colours of each class.
SHAPES = {
    "star": np.array([0.02, 0.1, 1.5, 14, 19, 36, 33, 22, 17]),
    "galaxy": np.array([1, 3, 7, 14, 17, 25, 45, 55, 60]),
    "quasar": np.array([0.001, 0.02, 1.0, 24, 25, 28, 33, 36, 40]),
    "lensed": np.array([0.8, 2.2, 5.0, 30, 32, 36, 42, 44, 47]),
}


def _image(rng: np.random.Generator, fluxes: np.ndarray, kind: str) -> np.ndarray:
    y, x = np.mgrid[:28, :28] - 13.5
    planes = []
    for flux in fluxes[:5]:
        counts = flux * 10 ** (0.4 * (30 - 23.9))
        point = np.exp(-((x - 0.3) ** 2 + (y + 0.4) ** 2) / (2 * 1.7**2)) / (2 * np.pi * 1.7**2)
        if kind == "lensed":
            point = 0.6 * np.roll(point, 3, axis=1) + 0.4 * np.roll(point, -3, axis=1)
            wide = np.exp(-(x**2 + y**2) / (2 * 3.0**2)) / (2 * np.pi * 9)
            share = 0.9 if flux < 10 else 0.2
            point = share * wide + (1 - share) * point
        planes.append(counts * point + rng.normal(0, 2.5, x.shape))
    return np.array(planes)


def sample(n: int, seed: int = 1, n_cards: int = 50, **changes: Any) -> ReportData:
    """Make a report's data with ``n`` objects, in the form that the stages write."""
    rng = np.random.default_rng(seed)
    names = list(SHAPES)
    kinds = rng.choice(names, n, p=[0.72, 0.22, 0.04, 0.02])
    ids = 1_000_000_007 + 13 * np.arange(n, dtype=np.int64)
    tile = rng.choice(["order3-700", "order3-701", "order3-702"], n)
    catalogue = pd.DataFrame(
        {
            "id": ids,
            "ra_deg": rng.uniform(15, 40, n),
            "dec_deg": rng.uniform(-55, -40, n),
            "tile": tile,
        }
    )
    fluxes = np.array([SHAPES[kind] for kind in kinds]).reshape(n, 9)
    fluxes = fluxes * rng.lognormal(0, 0.35, (n, 1)) * rng.lognormal(0, 0.1, (n, 9))
    depth = np.array([0.1, 0.13, 0.2, 0.35, 1.2, 3.5, 7, 10, 14])
    errors = np.hypot(depth, 0.02 * fluxes)
    measured = fluxes + rng.normal(0, errors)
    for k, band in enumerate(BANDS):
        seen = measured[:, k] > 2 * errors[:, k]
        flux = np.where(seen, measured[:, k], 0.0)
        catalogue[f"flux_ujy_{band}"] = flux
        catalogue[f"flux_err_ujy_{band}"] = errors[:, k]
        with np.errstate(divide="ignore"):
            catalogue[f"mag_ab_{band}"] = np.where(seen, 23.9 - 2.5 * np.log10(flux), 99.0)
        catalogue[f"mag_err_{band}"] = np.where(seen, 1.0857 * errors[:, k] / measured[:, k], 99.0)
        catalogue[f"detected_{band}"] = seen
    logits = rng.normal(0, 1.6, (n, 4)) - 2
    logits[np.arange(n), [names.index(kind) for kind in kinds]] += 6
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    p = np.hstack([p * 0.98, np.full((n, 1), 0.02)])
    verdicts = pd.DataFrame({"id": ids})
    for k, name in enumerate([*names, "other"]):
        verdicts[f"p_{name}"] = p[:, k]
        if name != "other":
            verdicts[f"chi2_{name}"] = 9 - 2 * np.log(p[:, k])
            verdicts[f"bic_{name}"] = 14 - 2 * np.log(p[:, k])
    verdicts["z_quasar"] = rng.uniform(5.7, 6.5, n)
    verdicts["z_quasar_lo"] = verdicts["z_quasar"] - 0.05
    verdicts["z_quasar_hi"] = verdicts["z_quasar"] + 0.06
    is_known = (kinds == "quasar") & (rng.random(n) < 0.5)
    known = pd.DataFrame({"id": ids[is_known]})
    known["known_name"] = [f"DES J{k:04d} <b>" for k in range(len(known))]
    known["known_redshift"] = 6.0
    centre = {"star": (0, 0), "galaxy": (5, 2), "quasar": (-4, 5), "lensed": (-2, 6)}
    xy = np.array([centre[kind] for kind in kinds]).reshape(n, 2) + rng.normal(0, 1.0, (n, 2))
    wanted = np.isin(kinds, ["quasar", "lensed"])
    islands = pd.DataFrame(
        {
            "id": ids,
            "map_x": xy[:, 0],
            "map_y": xy[:, 1],
            "island": np.where(wanted, 2, np.where(xy[:, 0] > 3.5, 1, -1)),
            "island_stability": rng.uniform(0.6, 1, n),
            "similarity_known": np.where(wanted, 0.9, 0.4) + rng.normal(0, 0.1, n),
            "similarity_known_std": 0.02,
        }
    )
    unlike = -islands["similarity_known"].where(~islands["id"].isin(known["id"]))
    islands["similarity_rank"] = unlike.rank().fillna(3.0)
    islands = islands.iloc[: max(n - n // 20, 0)]
    candidates = rank_candidates(
        gather_evidence(catalogue, verdicts, known, islands), read_calibration(CALIBRATION)
    )
    images = ImageSet(
        np.array(
            [_image(rng, f, k) for f, k in zip(fluxes, kinds, strict=True)], dtype=np.float32
        ).reshape(n, 5, 28, 28)[: len(islands)],
        ids[: len(islands)],
        tuple(BANDS[:5]),
        0.263,
        30.0,
    )
    enrichment = pd.DataFrame(
        {
            "island": [-1, 1, 2],
            "n": [900, 300, 60],
            "n_known": [1, 0, 14],
            "expected": [9.1, 3.0, 0.6],
            "p_value": [0.9, 1.0, 3e-17],
            "p_value_corrected": [1.0, 1.0, 9e-17],
            "mean_z": [5.9, np.nan, 6.04],
        }
    )
    cutflow = pd.DataFrame(
        {
            "stage": ["match", "match", "photometry", "photometry", "photometry"],
            "cut": [
                "within 1.0 arcsec of allwise",
                "within 1.0 arcsec of vhs",
                "W1 - W2 > 0.5 (Vega)",
                "J present",
                "W2 detected",
            ],
            "rows_in": [12034, 8110, 6420, 2100, 1800],
            "rows_out": [8110, 6420, 2100, 1800, n],
        }
    )
    losses = no_losses()
    if n:
        losses = pd.DataFrame(
            {
                "id": np.arange(40),
                "ra_deg": 20.0,
                "dec_deg": -50.0,
                "tile": "order3-700",
                "stage": ["match"] * 25 + ["photometry"] * 12 + ["images"] * 3,
                "reason": ["no partner in allwise"] * 20
                + ["no partner in vhs"] * 5
                + ["cut: W1 - W2 > 0.5 (Vega)"] * 12
                + ["empty file in band Y"] * 3,
                "detail": "HTTP 200 with 0 bytes",
            }
        )[list(LOSS_COLUMNS)]
    scale = {name: measured[:, 5] / shape[5] for name, shape in SHAPES.items()}
    models = {
        int(i): {name: scale[name][k] * SHAPES[name] for name in names} for k, i in enumerate(ids)
    }
    epochs = np.arange(1, 31)
    first = candidates["id"].head(2).to_numpy()
    posteriors = pd.DataFrame(
        {
            "id": np.repeat(first, 2),
            "class": ["quasar", "lensed"] * len(first),
            "ln_evidence": [101.2, 96.0] * len(first),
            "ln_evidence_err": 0.2,
            "median_redshift": 6.01,
            "lo_redshift": 5.98,
            "hi_redshift": 6.05,
            "median_ebv_mag": 0.03,
            "lo_ebv_mag": 0.01,
            "hi_ebv_mag": 0.06,
            "median_lens_redshift": [np.nan, 0.8] * len(first),
            "lo_lens_redshift": [np.nan, 0.6] * len(first),
            "hi_lens_redshift": [np.nan, 1.1] * len(first),
        }
    )
    recall = pd.DataFrame(
        [
            (
                group,
                kind,
                top,
                top,
                min(top // 3, size),
                size,
                size + 3,
                min(top // 3, size) / size,
                min(top // 3, size) / (size + 3),
                14.2,
                11.0,
                61.0,
                "match: 2; photometry: 1",
            )
            for group, size in (("ordinary", 16), ("lensed", 11))
            for kind in ("unknown", "all")
            for top in (10, 20, 30, 50, 100)
        ],
        columns=list(RECALL_COLUMNS),
    )
    values: dict[str, Any] = {
        "run": "demo",
        "candidates": candidates,
        "catalogue": catalogue,
        "cutflow": cutflow,
        "losses": losses,
        "known": known.assign(name="x", ra_deg=0.0, dec_deg=0.0),
        "bands": BANDS,
        "config": {
            "run": "demo",
            "survey": {
                "name": "embedded survey",
                "query": "data/queries/des_dr2.adql",
                "footprint": "data/footprints/demo.json",
                "tile_order": 3,
            },
            "match": [
                {"name": "allwise", "radius_arcsec": 1.0},
                {"name": "vhs", "radius_arcsec": 1.0},
            ],
            "images": {"source": "service"},
            "known_quasars": {"min_redshift": 5.5},
        },
        "left_out": {"LePHARE": "lephare.data is not set"},
        "images": images,
        "models": models,
        "enrichment": enrichment,
        "maps": {
            "seed 1": pd.DataFrame({"id": ids, "x": xy[:, 0], "y": xy[:, 1]}),
            "seed 2": pd.DataFrame({"id": ids, "x": -xy[:, 1], "y": xy[:, 0]}),
        },
        "histories": {
            f"seed {s}": pd.DataFrame(
                {
                    "epoch": epochs,
                    "loss": 2 + 2.5 * np.exp(-epochs / 6) + 0.02 * s * np.sin(epochs),
                    "alignment": 0.2 + np.exp(-epochs / 8),
                    "uniformity": -3.0 + np.exp(-epochs / 4),
                    "rank_me": 20.0 + epochs + s,
                    "learning_rate": 1e-3 / epochs,
                }
            )
            for s in (1, 2)
        },
        "posteriors": posteriors,
        "recall": recall,
        "retrieval": pd.DataFrame(
            {
                "known_name": ["J0100+0000 <b>", "Q2"],
                "id": [1, 2],
                "known_redshift": [6.01, np.nan],
                "rank_images": [3, 41],
                "rank_images_std": [0.5, 7.0],
                "rank_images_lo": [2.4, 33.0],
                "rank_images_hi": [3.6, 47.0],
                "rank_photometry": [1234, 2],
                "n_objects": 7321,
                "island": [2, -1],
                "island_stability": [0.93, 0.4],
                "n_seeds": 2,
            }
        ),
        "stability": pd.DataFrame(
            {
                "island": [1, 2],
                "mean_stability": [0.77, 0.91],
                "share_of_seeds": [0.5, 1.0],
                "n_min": [210, 55],
                "n_max": [333, 61],
            }
        ),
        "agreement": pd.DataFrame({"seed_a": [1], "seed_b": [2], "adjusted_rand": [0.834]}),
        "n_cards": n_cards,
    }
    return ReportData(**(values | changes))


class _Page(HTMLParser):
    """Elements, their attributes, and whether every one is closed in order."""

    VOID = frozenset({"meta", "link", "img", "input", "br"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words = ""
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.words += data

    def count(self, tag: str, class_: str) -> int:
        return sum(t == tag and class_ in (a.get("class") or "").split() for t, a in self.elements)


@pytest.fixture(scope="module")
def page() -> str:
    return render_report(sample(120, n_cards=5))


def _without_scripts(page: str) -> str:
    return re.sub(r"<script[^>]*>.*?</script>", "", page, flags=re.DOTALL)


def test_page_loads_nothing_and_runs_only_scripts_that_its_policy_names(page: str) -> None:
    parsed = _Page(page)
    for tag, attributes in parsed.elements:
        assert not [name for name in attributes if name.startswith("on")]
        assert "xlink:href" not in attributes
        if tag != "a":
            for name in ("src", "href", "data", "action"):
                assert (attributes.get(name) or "data:").startswith("data:"), (tag, attributes)
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    blocks = re.findall(r"<script[ ]([^>]*)>", page)
    # BokehJS, its interface, and ours; data that is no script.
    assert len(scripts) == 3 and blocks == ['type="application/json" id="data"']
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    assert policy
    named = re.search(r"script-src ([^;]*);", policy[1])
    assert named and named[1].split() == [
        f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
        for text in scripts
    ]
    assert policy[1].startswith("default-src 'none'; img-src data:;")
    rest = _without_scripts(page)
    assert "@import" not in rest and "url(" not in rest


def test_dark_is_the_same_by_system_and_by_choice(page: str) -> None:
    values = []
    for rule in (':root:not([data-theme="light"]) {', ':root[data-theme="dark"] {'):
        block = page.split(rule, 1)[1].split("}", 1)[0]
        values.append(dict(re.findall(r"(--[a-z0-9-]+):\s*([^;]+);", block)))
    assert len(values[0]) > 30 and values[0] == values[1]


def test_every_section_is_there(page: str) -> None:
    parsed = _Page(page)
    for words in (
        "Cut flow",
        "within 1.0 arcsec of allwise",
        "8,110",
        "empty file in band Y",
        "Islands",
        "lephare.data is not set",
        "Recall against the truth",
        "unknown lensed quasars",
        "lost before the ranking: match: 2",
        "Posteriors",
        "lens redshift",
        "numpy",
        "tile_order: 3",
        "Left out of this search",
        "north up, east left",
        "Evidence, piece by piece",
        "Photometry and all other columns",
    ):
        assert words in parsed.words, words
    # The known quasars that rank among the five stand beside them.
    known_cards = sum(a.get("data-known") == "1" for t, a in parsed.elements if t == "article")
    assert parsed.count("article", "card") == 5 + known_cards
    objects = json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])  # type: ignore[index]
    assert [view["label"] for view in objects["views"]] == [
        "Map of the images, seed 1",
        "Map of the images, seed 2",
        "Sky",
    ]


def test_training_retrieval_and_stability_are_shown(page: str) -> None:
    parsed = _Page(page)
    for words in (
        "Known quasars, found again",
        "7,321",
        "J0100+0000 <b>",
        "1234",
        "2–4",
        "33–47",
        "Median place: 22 by images, 618 by photometry",
        "210–333",
        "0.83 (0.83–0.83, 1 pair of seeds)",
    ):
        assert words in parsed.words, words
    drawn = [attributes.get("aria-label") for tag, attributes in parsed.elements if tag == "svg"]
    for measure in ("loss", "alignment", "uniformity", "effective rank", "learning rate"):
        assert f"{measure} against epoch" in drawn, measure
    # One line per seed in each of the five.
    assert parsed.count("path", "curve") == 2 * 5


def test_history_without_epochs_and_with_other_columns() -> None:
    histories = {
        "seed 1": pd.DataFrame({"loss": [3.0, 2.0, 2.5], "strange": 1.0}),
        "seed 2": pd.DataFrame({"epoch": [], "loss": []}),
    }
    parsed = _Page(render_report(sample(10, n_cards=1, histories=histories)))
    drawn = [attributes.get("aria-label") for tag, attributes in parsed.elements if tag == "svg"]
    assert "loss against epoch" in drawn and "strange against epoch" not in drawn
    assert parsed.count("path", "curve") == 1
    assert "Nothing was trained" in _Page(render_report(sample(10, 1, 1, histories={}))).words


def test_links_within_the_page_lead_somewhere(page: str) -> None:
    elements = _Page(page).elements
    ids = [attributes["id"] for _, attributes in elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {a["href"][1:] for t, a in elements if t == "a" and (a["href"] or "")[:1] == "#"}
    assert targets <= set(ids)


def test_same_data_same_bytes(page: str) -> None:
    assert render_report(sample(120, n_cards=5)) == page


def test_text_from_data_is_never_markup() -> None:
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'"
    data = sample(40, n_cards=3)
    assert data.recall is not None and data.retrieval is not None
    candidates = data.candidates.copy()
    for name in ("reason", "known_name", "tile"):
        candidates[name] = evil
    candidates["is_known"] = True
    posteriors = pd.DataFrame(
        {"id": candidates["id"], "class": evil, "ln_evidence": 1.0, f"median_{evil}": 2.0}
    )
    page = render_report(
        sample(
            40,
            n_cards=3,
            run=evil,
            candidates=candidates,
            left_out={evil: evil},
            config={"run": evil, "survey": {"name": evil, "query": evil, "footprint": evil}},
            losses=data.losses.assign(stage=evil, reason=evil, detail=evil),
            cutflow=data.cutflow.assign(stage=evil, cut=evil),
            catalogue=data.catalogue.assign(tile=evil),
            posteriors=posteriors,
            maps={evil: data.maps["seed 1"]},
            histories={evil: data.histories["seed 1"]},
            recall=data.recall[data.recall["group"] == "lensed"].assign(group=evil, lost=evil),
            retrieval=data.retrieval.assign(known_name=evil),
        )
    )
    parsed = _Page(page)
    assert sum(tag == "script" for tag, _ in parsed.elements) == 4
    assert evil not in page
    assert not [a for _, a in parsed.elements if "onerror" in a]
    assert parsed.words.count("alert(1)") > 10


@pytest.mark.parametrize("n", [0, 1])
def test_none_and_one(n: int) -> None:
    parsed = _Page(render_report(sample(n)))
    assert parsed.count("article", "card") == n
    assert ("No candidate" in parsed.words) == (n == 0)


def test_search_with_nothing_but_photometry() -> None:
    data = sample(60, n_cards=4)
    keep = [c for c in data.candidates.columns if not c.startswith(("map_", "similarity_known"))]
    candidates = data.candidates[keep].assign(has_images=False, island=-1, learning_term=0.0)
    parsed = _Page(
        render_report(
            ReportData(
                "half",
                candidates,
                data.catalogue,
                data.cutflow.iloc[:0],
                no_losses(),
                data.known,
                BANDS,
                left_out={"images, features and islands": "images.source is none"},
            )
        )
    )
    for words in (
        "images.source is none",
        "No map: the search went without images",
        "No cutouts of this object",
        "Nothing was trained",
        "Nothing was lost",
    ):
        assert words in parsed.words, words
    assert parsed.count("article", "card") >= 4


def test_nan_everywhere() -> None:
    data = sample(30, n_cards=3)
    candidates = data.candidates.copy()
    for name in candidates.select_dtypes("float").columns:
        candidates[name] = np.nan
    assert data.images is not None and data.enrichment is not None
    assert data.retrieval is not None and data.stability is not None
    nan_images = ImageSet(
        np.full_like(data.images.images, np.nan), data.images.ids, data.images.bands, 0.263, 30.0
    )
    models = {i: dict.fromkeys(SHAPES, np.full(9, np.nan)) for i in data.models}
    page = render_report(
        sample(
            30,
            n_cards=3,
            candidates=candidates,
            images=nan_images,
            models=models,
            enrichment=data.enrichment.assign(
                n_known=np.nan, expected=np.nan, p_value=np.nan, p_value_corrected=np.nan
            ),
            maps={"seed 1": data.maps["seed 1"].assign(x=np.nan)},
            histories={"seed 1": data.histories["seed 1"].assign(loss=np.nan)},
            retrieval=data.retrieval.assign(rank_images=np.nan, rank_images_lo=np.nan),
            stability=data.stability.assign(n_min=np.nan, share_of_seeds=np.nan),
        )
    )
    parsed = _Page(page)
    assert "nan" not in parsed.words.lower().split()
    rest = _without_scripts(page).lower()
    assert ":nan" not in rest and '"nan"' not in rest
    assert "No flux to draw" in parsed.words


def test_fluxes_of_zero_and_limits_are_drawn() -> None:
    data = sample(30, n_cards=3)
    candidates = data.candidates.copy()
    for band in BANDS:
        candidates[f"detected_{band}"] = False
        candidates[f"flux_ujy_{band}"] = 0.0
    models = {i: {"quasar": np.zeros(9)} for i in data.models}
    page = render_report(sample(30, n_cards=3, candidates=candidates, models=models))
    assert page.count('class="limit"') >= 27 and 'class="datum"' not in page


@pytest.mark.slow
def test_size_of_a_full_report() -> None:
    page = render_report(sample(1500, n_cards=100))
    assert len(page.encode()) < 20_000_000
