"""The whole search on a small sky: what comes out, and that it comes out the same."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from workflow_checkout import Checkout, planned_rules, search_of

from archipelago.base.images import load_images
from archipelago.demosky.server import DemoServer
from archipelago.demosky.sky import Sky
from archipelago.injections.completeness import completeness

pytestmark = pytest.mark.slow


def test_a_finished_search_has_nothing_to_do(finished: Checkout) -> None:
    assert planned_rules(finished.snakemake("-n")) == {}


def test_the_tables_hold_what_the_sky_holds(finished: Checkout, small_sky: Sky) -> None:
    catalogue = pd.read_parquet(finished.result("catalogue.parquet"))
    expected = small_sky.truth.loc[small_sky.truth["survives_allwise"], "id"]
    assert sorted(catalogue["id"]) == sorted(expected)


def test_the_seed_preset_keeps_what_unwise_lets_through(
    tmp_path: Path, small_sky: Sky, survey: DemoServer
) -> None:
    search = search_of(tmp_path / "checkout", small_sky, survey)
    overlays = ("data/presets/demo.yaml", "data/presets/seed.yaml", "small.yaml")
    done = search.snakemake("catalogue", overlays=overlays)
    assert done.returncode == 0, done.stdout + done.stderr
    catalogue = pd.read_parquet(search.result("catalogue.parquet"))
    expected = small_sky.truth.loc[small_sky.truth["survives_unwise"], "id"]
    assert sorted(catalogue["id"]) == sorted(expected)


def test_the_paper_preset_gives_the_published_features_and_map(
    tmp_path: Path, small_sky: Sky, survey: DemoServer
) -> None:
    """All but the number of epochs is as published."""
    search = search_of(tmp_path / "checkout", small_sky, survey)
    overlays = ("data/presets/demo.yaml", "small.yaml", "data/presets/paper.yaml")
    change = {"run": "small", "learning": {"epochs_max": 1}}
    done = search.snakemake("islands", overlays=overlays, change=change)
    assert done.returncode == 0, done.stdout + done.stderr
    with np.load(search.result("learning/seed-1/features.npz")) as stored:
        assert stored["features"].shape[1] == 512
        np.testing.assert_allclose(np.linalg.norm(stored["features"], axis=1), 1.0, atol=1e-5)
    assert len(pd.read_parquet(search.result("islands/seed-1/map.parquet"))) > 50


def test_every_object_is_accounted_for(finished: Checkout, small_sky: Sky) -> None:
    losses = pd.read_csv(finished.result("losses.csv"))
    images = load_images(finished.result("images.npz"))
    selected = small_sky.truth.loc[small_sky.truth["selected"], "id"]
    lost_before = losses[losses["stage"] != "images"]
    catalogue = pd.read_parquet(finished.result("catalogue.parquet"))
    assert sorted([*catalogue["id"], *lost_before["id"]]) == sorted(selected)
    lost_images = losses[losses["stage"] == "images"]
    assert sorted([*images.ids, *lost_images["id"]]) == sorted(catalogue["id"])
    assert losses["reason"].ne("").all()


def test_the_cut_flow_is_unbroken(finished: Checkout) -> None:
    flow = pd.read_csv(finished.result("cutflow.csv"))
    assert (flow["rows_in"].to_numpy()[1:] == flow["rows_out"].to_numpy()[:-1]).all()
    losses = pd.read_csv(finished.result("losses.csv"))
    assert flow["rows_in"].iloc[0] - flow["rows_out"].iloc[-1] == len(losses)


def test_the_manifest_has_every_object_and_band(finished: Checkout) -> None:
    manifest = pd.read_parquet(finished.result("manifest.parquet"))
    catalogue = pd.read_parquet(finished.result("catalogue.parquet"))
    wanted = {(i, band) for i in catalogue["id"] for band in "grizY"}
    assert set(zip(manifest["id"], manifest["band"], strict=True)) == wanted
    good = manifest[manifest["status"] == "ok"]
    assert good["sha256"].str.len().eq(64).all()


def test_an_image_shows_its_object(finished: Checkout, small_sky: Sky) -> None:
    """The light in the middle of a z image is that of the object, within the noise of both."""
    images = load_images(finished.result("images.npz"))
    assert images.images.shape[1:] == (5, 28, 28)
    assert images.bands == ("g", "r", "i", "z", "Y")
    truth = small_sky.truth.set_index("id").loc[images.ids]
    star = truth["kind"].eq("M dwarf").to_numpy()
    z = images.images[star, 3]
    middle = z[:, 9:19, 9:19].sum(axis=(1, 2)) - 100 * np.median(z[:, :4], axis=(1, 2))
    flux_ujy = middle * 10 ** (0.4 * (23.9 - images.zero_point_ab))
    ratio = flux_ujy / truth.loc[star, "flux_ujy_z"].to_numpy()
    assert 0.85 < np.median(ratio) < 1.15


def test_an_empty_tile_passes_through(finished: Checkout) -> None:
    empty = [
        folder
        for folder in sorted((finished.result("tiles")).iterdir())
        if len(pd.read_parquet(folder / "sources.parquet")) == 0
    ]
    for folder in empty:
        assert len(pd.read_parquet(folder / "photometry.parquet")) == 0
        assert len(load_images(folder / "cutouts.npz")) == 0


def test_candidates_are_the_catalogue_ranked(finished: Checkout) -> None:
    candidates = pd.read_parquet(finished.result("candidates.parquet"))
    catalogue = pd.read_parquet(finished.result("catalogue.parquet"))
    assert candidates["rank"].tolist() == list(range(1, len(catalogue) + 1))
    assert set(candidates["id"]) == set(catalogue["id"])
    verdicts = pd.read_parquet(finished.result("sed/verdicts.parquet"))
    total = verdicts[["p_star", "p_galaxy", "p_quasar", "p_lensed", "p_other"]].sum(axis=1)
    np.testing.assert_allclose(total, 1.0, atol=1e-9)


def test_the_quasars_rank_high(finished: Checkout, small_sky: Sky) -> None:
    """Even with small models half of the ordinary quasars lead the list."""
    candidates = pd.read_parquet(finished.result("candidates.parquet"))
    ordinary = small_sky.truth.loc[small_sky.truth["kind"].eq("quasar"), "id"]
    ranks = candidates.loc[candidates["id"].isin(ordinary), "rank"]
    assert ranks.median() < 0.25 * len(candidates)


def test_the_report_stands_alone(finished: Checkout) -> None:
    page = finished.result("report.html").read_text(encoding="utf-8")
    assert "<html" in page
    # What the map's library could load, the page's policy forbids; see tests/browser.
    page = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    for outside in ('src="http', "url(http", '<link rel="stylesheet" href="http'):
        assert outside not in page


def test_twice_from_scratch_is_the_same(
    finished: Checkout, tmp_path: Path, small_sky: Sky, survey: DemoServer
) -> None:
    again = search_of(tmp_path / "checkout", small_sky, survey)
    done = again.snakemake("sed", "islands", "losses")
    assert done.returncode == 0, done.stdout + done.stderr
    for name in (
        "catalogue.parquet", "manifest.parquet", "images.npz", "losses.csv", "cutflow.csv",
        "sed/templates.npz", "sed/verdicts.parquet", "known_quasars.parquet",
    ):  # fmt: skip
        assert again.result(name).read_bytes() == finished.result(name).read_bytes(), name
    for seed in (1, 2):
        name = f"learning/seed-{seed}/features.npz"
        with np.load(again.result(name)) as one, np.load(finished.result(name)) as two:
            np.testing.assert_array_equal(one["ids"], two["ids"])
            np.testing.assert_allclose(one["features"], two["features"], atol=1e-5)


def test_injections_go_through_the_search_and_into_its_report(
    finished: Checkout, tmp_path: Path
) -> None:
    folder = shutil.copytree(finished.folder, tmp_path / "checkout", symlinks=True)
    search = Checkout(Path(folder), finished.overlays)
    change = {"injections": {"enabled": True, "n_quasars": 150, "n_lensed": 150, "shards": 2}}
    assert planned_rules(search.snakemake("-n", change=change)) == {
        "inject": 2,
        "injected_features": 4,
        "injected_sed": 2,
        "injected_rank": 2,
        "completeness": 1,
        "report": 1,
        "all": 1,
    }
    done = search.snakemake(change=change)
    assert done.returncode == 0, done.stdout + done.stderr
    table = pd.read_parquet(search.result("injections/injected.parquet"))
    assert table["id"].is_unique and len(table) > 250
    assert set(table["kind"]) == {"quasar", "lensed"}
    passed = table["lost_at"] == ""
    assert passed.any() and (table.loc[passed & table["has_images"], "rank"] >= 1).all()
    assert table.loc[~passed, "rank"].isna().all()
    counted = pd.read_csv(search.result("injections/completeness.csv"))
    whole = counted[(counted["axis"] == "all") & (counted["stage"] == "W2 detected")]
    assert whole["k"].sum() == passed.sum()
    found = completeness(search.result(""), z_mag=[18.5, 20.0], redshift=6.2, stage="W2 detected")
    assert ((found.lo <= found.value) & (found.value <= found.hi)).all()
    assert "Nothing was injected" not in search.result("report.html").read_text()
    page = (Path(__file__).parents[2] / "docs" / "outputs.md").read_text()
    kinds = {
        r"passes: .*": "passes: <stage>",
        r"(combined_p|rank_by|similarity|image_log_odds)_.*": r"\1_*",
        r"moved_quasar_.*_at_.*": "moved_quasar_<a>_<b>_at_<redshift>_mag",
        r"moved_(lens|scatter)_\w+?_\w+?(_mag)?": r"moved_\1_<a>_<b>\2",
    }
    for field in pq.read_schema(search.result("injections/injected.parquet")):
        assert (field.metadata or {}).get(b"description"), field.name
        name = field.name
        for pattern, documented in kinds.items():
            name = re.sub(f"^{pattern}$", documented, name)
        assert f"`{name}`" in page, name


def test_every_column_is_described_and_documented(finished: Checkout) -> None:
    page = (Path(__file__).parents[2] / "docs" / "outputs.md").read_text()
    documented = set(re.findall(r"`([\w(), ]+)`", page))
    documented |= {
        start + name.rpartition(")_")[2]
        for name in documented
        if ")_" in name
        for start in ("median_", "lo_", "hi_", "best_")
    }
    tables = [*finished.result("").rglob("*.parquet")]
    assert tables
    for table in tables:
        for field in pq.read_schema(table):
            name = re.sub(r"_(g|r|i|z|Y|J|K|W1|W2)$", "_B", field.name)
            name = re.sub(r"_(allwise|vhs)$", "_NAME", name)
            name = re.sub(r"island_seed_\d+", "island_seed_N", name)
            assert name in documented, f"{table.name}: {field.name} is not in docs/outputs.md"
            assert (field.metadata or {}).get(b"description"), f"{table.name}: {field.name}"
