"""The posteriors' figures on the cards of the page."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from helpers.scripts import run_script
from test_report_page import _Page, sample

from archipelago.base.errors import InputError
from archipelago.report import figures
from archipelago.report.figures import Figure, posterior_figures
from archipelago.report.page import render_report

SVG = '<svg xmlns="http://www.w3.org/2000/svg"><defs><path id="a"/></defs>{}</svg>'
EVIL = SVG.format('<script>alert(1)</script><image href="http://example.org/x.png"/>')


@pytest.fixture()
def folders(tmp_path: Path) -> list[Path]:
    """Objects 7 and 8 in two shards; 9 has corner plots only."""
    shards = [tmp_path / "posteriors" / f"shard-{k}" for k in range(2)]
    for shard, object_id in zip(shards, (7, 8), strict=True):
        (shard / str(object_id)).mkdir(parents=True)
        (shard / str(object_id) / "sed.svg").write_text(SVG.format(object_id), encoding="utf-8")
    (shards[0] / "9").mkdir()
    (shards[0] / "9" / "corner_star.svg").write_text(SVG, encoding="utf-8")
    return shards


def decoded(uri: str | None) -> str:
    assert uri is not None
    start, _, data = uri.partition(",")
    assert start == "data:image/svg+xml;base64"
    return base64.b64decode(data).decode("utf-8")


def test_figures_are_found_in_any_shard(folders: list[Path]) -> None:
    found = posterior_figures(folders, [8, 9, 7, 10])
    assert list(found) == [8, 7]
    assert found[8].folder == "posteriors/shard-1/8"
    assert decoded(found[8].uri) == SVG.format(8)
    assert posterior_figures([], [7]) == {}


def test_the_page_holds_only_so_many_figures(
    folders: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of the first objects; of the others the place where they lie."""
    monkeypatch.setattr(figures, "MAX_TOTAL_BYTES", len(SVG.format(7)) + 3)
    found = posterior_figures(folders, [8, 7])
    assert found[8].uri is not None and found[7] == Figure("posteriors/shard-0/7", None)


def test_large_figures_stay_out_and_are_named(
    folders: list[Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(figures, "MAX_BYTES", len(SVG.format(7)))
    (folders[1] / "8" / "sed.svg").write_text(SVG.format("88"), encoding="utf-8")
    found = posterior_figures(folders, [7, 8])
    assert found[7].uri is not None
    assert found[8] == Figure("posteriors/shard-1/8", None)
    assert "left out of the page" in caplog.text


def test_a_figure_that_cannot_be_read_is_an_input_error(
    folders: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(self: Path) -> bytes:
        raise PermissionError("denied")

    monkeypatch.setattr(Path, "read_bytes", fails)
    with pytest.raises(InputError, match="cannot read a figure of the posteriors"):
        posterior_figures(folders, [7])


def page_with(**changes: Any) -> tuple[str, list[int]]:
    """Return a page of three cards, all objects sampled, and their ids."""
    data = sample(40, n_cards=3)
    ids = [int(i) for i in data.candidates.sort_values("rank")["id"]]
    rows = pd.DataFrame({"id": ids, "class": "quasar", "ln_evidence": 1.0, "median_redshift": 6.0})
    return render_report(sample(40, n_cards=3, posteriors=rows, **changes)), ids


def test_cards_show_figures_as_images_of_their_own() -> None:
    uri = "data:image/svg+xml;base64," + base64.b64encode(EVIL.encode()).decode()
    _, ids = page_with()
    drawn = {
        ids[0]: Figure("posteriors/shard-0/x", uri),
        ids[1]: Figure("posteriors/shard-1/y", None),
    }
    page, _ = page_with(figures=drawn)
    parsed = _Page(page)
    assert [
        a["src"] for t, a in parsed.elements if t == "img" and "image/svg" in (a["src"] or "")
    ] == [uri]
    assert parsed.count("figure", "drawn") == 2
    assert "corner plots lie in posteriors/shard-0/x" in parsed.words
    assert "too large for this page and lie in posteriors/shard-1/y" in parsed.words
    # Nothing of the drawing is markup of the page: an image runs no script and loads nothing.
    assert "alert(1)" not in page and "example.org" not in page
    assert sum(tag == "script" for tag, _ in parsed.elements) == 4
    assert re.search(r"img-src (&#39;|')?data:;", page) and "object-src" not in page


def test_cards_without_figures_are_as_before() -> None:
    page, ids = page_with()
    assert _Page(page).count("figure", "drawn") == 0
    # A figure without a card, or of an object that was not sampled, is not shown.
    assert page_with(figures={ids[-1] + 1: Figure("posteriors/shard-0/x", "data:,")})[0] == page


def test_same_figures_same_bytes(folders: list[Path]) -> None:
    _, ids = page_with()
    drawn = {ids[0]: posterior_figures(folders, [7])[7]}
    assert page_with(figures=drawn) == page_with(figures=drawn)


def test_the_script_takes_the_shards_folders(
    folders: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The script, its other inputs aside: those are of tests/unit/test_report_scripts.py."""
    seen: dict[str, Any] = {}
    monkeypatch.setattr(
        "archipelago.report.page.render_report", lambda data: seen.update(d=data) or ""
    )
    monkeypatch.setattr("archipelago.report.models.model_fluxes", lambda *_: {})
    monkeypatch.setattr("archipelago.sed.templates.load_templates", lambda _: sample_templates())
    data = sample(40)
    data.candidates.assign(id=[7, 8, *range(100, 138)]).to_parquet(tmp_path / "candidates.parquet")
    for name in ("catalogue", "known"):
        getattr(data, name).to_parquet(tmp_path / f"{name}.parquet")
    data.candidates[["id"]].to_parquet(tmp_path / "verdicts.parquet")
    data.cutflow.to_csv(tmp_path / "cutflow.csv", index=False)
    data.losses.to_csv(tmp_path / "losses.csv", index=False)
    given: dict[str, Any] = {path.stem: str(path) for path in tmp_path.glob("*.*")}
    given |= {"posteriors": [], "templates": "x", "figures": [str(folder) for folder in folders]}
    params = {
        "report": {"candidates": 40, "listed": 40},
        **{"run": "x", "bands": [], "passbands": {}, "left_out": {}},
        "config": {"sed": {"fit": {"aperture_offset_mag": {"bands": []}}}},
    }
    run_script("report", given, {"html": str(tmp_path / "r.html")}, params)
    assert set(seen["d"].figures) == {7, 8}


def sample_templates() -> Any:
    """No bands: the page takes its wavelengths from elsewhere."""

    class _Templates:
        bands = ()
        pivot_aa = pd.Series(dtype=float).to_numpy()

    return _Templates()
