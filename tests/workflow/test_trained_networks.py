"""Networks trained before: on the same images, on own cutouts, on images of another kind."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from astropy.io import fits
from workflow_checkout import SMALL, Checkout, planned_rules

from archipelago.base.images import load_images, save_images
from archipelago.base.tables import read_table
from archipelago.learning.model import write_torch
from archipelago.learning.store import load_features

pytestmark = pytest.mark.slow

SEEDS = SMALL["learning"]["seeds"]
TRAINED: dict[str, Any] = {"learning": {"model": "trained/seed-{seed}.pt"}}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, finished: Checkout) -> Checkout:
    """A copy of the finished search, with its networks beside it."""
    folder = tmp_path_factory.mktemp("trained") / "checkout"
    shutil.copytree(finished.folder, folder, symlinks=True)
    (folder / "trained").mkdir()
    for seed in SEEDS:
        network = finished.result(f"learning/seed-{seed}/model.pt")
        shutil.copy2(network, folder / "trained" / f"seed-{seed}.pt")
    return Checkout(folder, finished.overlays)


def said(checkout: Checkout, log: str, run: str = "small") -> str:
    return checkout.result(f"logs/{log}.log", run).read_text(encoding="utf-8")


def test_a_second_search_trains_nothing_and_gives_the_same_features(
    trained: Checkout, finished: Checkout
) -> None:
    plan = trained.snakemake("-n", change=TRAINED)
    rules = planned_rules(plan)
    assert rules["features"] == len(SEEDS)
    assert not {"train", "select", "cutouts", "images", "sed"} & set(rules)
    text = plan.stdout + plan.stderr
    assert "training is left out: learning.model is set" in text
    assert all(f"trained/seed-{seed}.pt" in text for seed in SEEDS)
    done = trained.snakemake(change=TRAINED)
    assert done.returncode == 0, done.stdout + done.stderr
    for seed in SEEDS:
        name = f"learning/seed-{seed}/features.npz"
        ids, features = load_features(trained.result(name))
        first_ids, first = load_features(finished.result(name))
        np.testing.assert_array_equal(ids, first_ids)
        np.testing.assert_array_equal(features, first)
    assert "learning.model is set" in trained.result("report.html").read_text(encoding="utf-8")
    assert planned_rules(trained.snakemake("-n", change=TRAINED)) == {}


def test_cutouts_of_one_s_own_without_a_training(trained: Checkout, finished: Checkout) -> None:
    """Of the objects of a user's catalogue one has no cutout; one cutout has no object."""
    images = load_images(finished.result("images.npz"))
    absent, stranger = int(images.ids[0]), 5
    save_images(
        trained.folder / "own.npz",
        np.concatenate([images.images[1:], images.images[:1]]),
        [*images.ids[1:], stranger],
        images.bands,
        images.pixel_scale_arcsec,
        images.zero_point_ab,
    )
    table = pd.read_parquet(finished.result("catalogue.parquet"))
    table.to_parquet(trained.folder / "own.parquet")
    bands = {
        band: {"value": f"flux_ujy_{band}", "error": f"flux_err_ujy_{band}", "system": "flux_ujy"}
        for band in ("g", "r", "i", "z", "Y", "J", "K", "W1", "W2")
    }
    change = {
        **TRAINED,
        "run": "own",
        "catalogue": {
            "file": "own.parquet",
            "columns": {name: name for name in ("id", "ra_deg", "dec_deg")},
            "bands": bands,
        },
        "photometry": {"cuts": []},
        "images": {"source": "file", "file": "own.npz"},
        "known_quasars": {"source": "none"},
        "truth": {"file": None},
    }
    done = trained.snakemake("islands", "losses", change=change)
    assert done.returncode == 0, done.stdout + done.stderr
    text = done.stdout + done.stderr
    assert "rule train" not in text and "rule cutouts" not in text
    ids, features = load_features(trained.result("learning/seed-1/features.npz", "own"))
    first_ids, first = load_features(finished.result("learning/seed-1/features.npz"))
    np.testing.assert_array_equal(ids, first_ids[1:])
    np.testing.assert_allclose(features, first[1:], atol=1e-6)
    losses = pd.read_csv(trained.result("losses.csv", "own"))
    assert losses.loc[losses["id"] == absent, "reason"].tolist() == ["no cutout in the file"]
    manifest = read_table(trained.result("manifest.parquet", "own"))
    assert set(manifest.loc[manifest["id"] == stranger, "reason"]) == {"not in the catalogue"}
    assert "belong to no object of the catalogue" in said(trained, "own_cutouts", "own")
    assert planned_rules(trained.snakemake("islands", "losses", "-n", change=change)) == {}


def test_fields_of_one_s_own_without_a_training(trained: Checkout, finished: Checkout) -> None:
    """The cutouts of the search, side by side in one field: detected, cut out, no training."""
    images = load_images(finished.result("images.npz"))
    rows = np.argsort(-images.images[:, :, 10:18, 10:18].sum(axis=(1, 2, 3)))[:64]
    # (y, x) of cutouts, of pixels in them
    mosaic = images.images[rows].reshape(8, 8, 5, 28, 28).transpose(2, 0, 3, 1, 4)
    for band, plane in zip(images.bands, mosaic.reshape(5, 224, 224), strict=True):
        fits.PrimaryHDU(plane).writeto(trained.folder / f"{band}.fits")
    change = {**TRAINED, "images": {"fields": {band: f"{band}.fits" for band in images.bands}}}
    overlays = ("small.yaml", "data/presets/own_images.yaml")
    target = "results/own_images/learning/seed-1/features.npz"
    done = trained.snakemake(
        target, overlays=overlays, change={**change, "run": "own_images", "truth": {"file": None}}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "learning.model is set" in done.stdout + done.stderr
    ids, features = load_features(trained.folder / target)
    assert len(ids) > 30
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1.0, rtol=1e-5)


def test_a_network_of_other_images_is_refused(trained: Checkout) -> None:
    path = trained.folder / "other.pt"
    content = torch.load(trained.folder / "trained" / "seed-1.pt", weights_only=True)
    write_torch({**content, "record": {**content["record"], "bands": list("Yzirg")}}, path)
    change = {"run": "small", "learning": {"model": "other.pt", "seeds": [1]}}
    target = str(Path("results/small/learning/seed-1/features.npz"))
    done = trained.snakemake(target, change=change)
    assert done.returncode != 0
    log = said(trained, "features/seed-1")
    assert "bands g r i z Y, not Y z i r g" in log
    assert "set images.bands: [Y, z, i, r, g]" in log
    assert not (trained.folder / target).exists()


def test_a_file_that_is_no_network_is_refused(trained: Checkout) -> None:
    (trained.folder / "other.pt").write_text("no network")
    change = {"learning": {"model": "other.pt", "seeds": [1]}}
    done = trained.snakemake("results/small/learning/seed-1/features.npz", change=change)
    assert done.returncode != 0
    assert "cannot read the file" in said(trained, "features/seed-1")
