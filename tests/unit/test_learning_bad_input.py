"""Learning on what it was not made for: each a clear error or a correct small result."""

from __future__ import annotations

import dataclasses
import logging
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.configuration import shipped_config

from archipelago.base.errors import ArchipelagoError, DataError, InputError
from archipelago.base.images import ImageSet, load_images, save_images
from archipelago.islands.maps import make_map
from archipelago.islands.summary import find_islands
from archipelago.learning import __main__ as command
from archipelago.learning import features as features_module
from archipelago.learning import training
from archipelago.learning.features import compute_features
from archipelago.learning.model import (
    FORMAT,
    Model,
    check_fits,
    describe_record,
    load_model,
    save_model,
    write_torch,
)
from archipelago.learning.settings import LearningSettings
from archipelago.learning.store import load_features, save_features

SMALL = LearningSettings(
    channels=(4, 8, 8),
    head=(8, 8),
    batch_size=8,
    epochs_max=2,
    warmup_epochs=0,
    patience=100,
    feature_views=1,
    precision="float32",
)
CPU = torch.device("cpu")
ISLANDS = shipped_config().islands.plain()
#: Nothing is known before.
NOBODY = pd.DataFrame({"name": [], "ra_deg": [], "dec_deg": [], "redshift": []}).astype(
    {"name": "str", "ra_deg": float, "dec_deg": float, "redshift": float}
)


def make_images(n: int, seed: int = 0) -> ImageSet:
    """Noise with a source in the middle, of another colour in each."""
    rng = np.random.default_rng(seed)
    images = rng.normal(size=(n, 5, 28, 28)) * 3.0
    images[:, :, 12:16, 12:16] += rng.uniform(20, 200, size=(n, 5, 1, 1))
    ids = np.arange(100, 100 + n, dtype=np.int64)
    return ImageSet(images.astype(np.float32), ids, tuple("grizY"), 0.263, 30.0)


def with_pixels(images: ImageSet, pixels: np.ndarray) -> ImageSet:
    return dataclasses.replace(images, images=np.asarray(pixels, dtype=np.float32))


def fit(images: ImageSet, folder: Path) -> Model:
    return training.train(images, SMALL, 1, folder, threads=1, device=CPU)[0]


@dataclasses.dataclass(frozen=True)
class Searched:
    """What the stages from the images on give."""

    model: Model
    features: np.ndarray
    map: pd.DataFrame
    islands: pd.DataFrame
    enrichment: pd.DataFrame


def search(images: ImageSet, folder: Path, known: pd.DataFrame = NOBODY) -> Searched:
    """Go through train, features, map and islands, and through their files."""
    one = images
    save_images(
        folder / "images.npz",
        one.images,
        one.ids,
        one.bands,
        one.pixel_scale_arcsec,
        one.zero_point_ab,
    )
    images = load_images(folder / "images.npz")
    save_model(fit(images, folder), folder / "model.pt")
    model = load_model(folder / "model.pt")
    values = compute_features(model, images, device=CPU)
    save_features(folder / "features.npz", images.ids, values)
    ids, values = load_features(folder / "features.npz")
    settings = {**ISLANDS["map"], "method": "pca"}
    table = make_map(ids, values, settings)
    catalogue = pd.DataFrame(
        {"id": images.ids, "ra_deg": 10.0 + 0.1 * np.arange(len(images)), "dec_deg": -30.0}
    )
    islands, enrichment = find_islands(
        [(ids, values)], [table], catalogue, known, ISLANDS, seeds=[1], match_radius_arcsec=1.0
    )
    assert islands["id"].tolist() == sorted(images.ids.tolist())
    return Searched(model, values, table, islands, enrichment)


# -------------------------------------------------------------------------------- few objects


@pytest.mark.parametrize("n", [0, 1, 2, 7])
def test_few_objects_give_small_tables(tmp_path: Path, n: int) -> None:
    found = search(make_images(n), tmp_path)
    assert found.features.shape == (n, 8)
    np.testing.assert_allclose(np.linalg.norm(found.features, axis=1), 1.0, rtol=1e-5)
    assert len(found.map) == len(found.islands) == n
    assert np.isfinite(found.map[["x", "y"]].to_numpy()).all()
    assert (found.islands["island"] == -1).all()
    assert found.islands["similarity_known"].isna().all()
    assert len(found.enrichment) == 0
    assert found.model.record["n_images"] == n
    assert ("initial weights" in found.model.record["ended"]) == (n < 2)


def test_one_known_quasar_alone(tmp_path: Path) -> None:
    known = pd.DataFrame({"name": ["Q"], "ra_deg": [10.0], "dec_deg": [-30.0], "redshift": [6.1]})
    found = search(make_images(1), tmp_path, known)
    assert found.islands["known_name"].tolist() == ["Q"]
    assert found.islands["similarity_known"].isna().all()


def test_no_known_quasar_is_said_and_nothing_is_enriched(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    images = make_images(30)
    same = np.repeat(images.images[:2], 15, axis=0)  # two islands, surely
    found = search(with_pixels(images, same + 1e-3 * images.images), tmp_path)
    assert "no known quasar is among the objects" in caplog.text
    assert len(found.enrichment) >= 1
    assert (found.enrichment["p_value"] == 1.0).all()
    assert (found.islands["known_name"] == "").all()


# ------------------------------------------------------------------- images without much in them


def blank_band(images: np.ndarray) -> None:
    images[:, 1] = 0.0


def constant_band(images: np.ndarray) -> None:
    images[3:, 4] = 7.5


def nan_band(images: np.ndarray) -> None:
    images[:, 0] = np.nan


def nan_band_of_one(images: np.ndarray) -> None:
    images[5, 2] = np.nan


def scattered_bad_pixels(images: np.ndarray) -> None:
    images[:, :, 3, 4] = np.nan
    images[2, 3, 10:14] = np.inf


@pytest.mark.parametrize(
    "spoil", [blank_band, constant_band, nan_band, nan_band_of_one, scattered_bad_pixels]
)
def test_bands_without_content(tmp_path: Path, spoil: Callable[[np.ndarray], None]) -> None:
    images = make_images(20)
    spoil(images.images)
    found = search(images, tmp_path)
    assert found.model.record["n_usable"] == 20
    np.testing.assert_allclose(np.linalg.norm(found.features, axis=1), 1.0, rtol=1e-5)
    assert len(np.unique(np.round(found.features, 5), axis=0)) == 20
    assert np.isfinite(found.map[["x", "y"]].to_numpy()).all()


def test_a_bad_image_does_not_touch_the_others(tmp_path: Path) -> None:
    images = make_images(12)
    model = fit(images, tmp_path)
    before = compute_features(model, images, device=CPU)
    for value in (np.nan, np.inf, -np.inf, 0.0, 1e30):
        images.images[4] = value
        images.images[5, 2] = value
        after = compute_features(model, images, device=CPU)
        assert (after[4] == 0).all()
        others = [row for row in range(12) if row not in (4, 5)]
        np.testing.assert_allclose(after[others], before[others], atol=1e-6)
        assert np.isfinite(after).all()


def test_images_without_any_content_are_on_no_island(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    images = make_images(15)
    images.images[:3] = np.nan
    images.images[3:5] = 1.0
    found = search(images, tmp_path)
    assert "5 images have no content" in caplog.text
    assert found.model.record["n_usable"] == 10
    assert found.map["x"].isna().tolist() == [True] * 5 + [False] * 10
    assert (found.islands["island"][:5] == -1).all()


def test_no_image_has_content(tmp_path: Path) -> None:
    found = search(with_pixels(make_images(4), np.full((4, 5, 28, 28), np.nan)), tmp_path)
    assert "initial weights" in found.model.record["ended"]
    assert (found.features == 0).all()
    assert (found.islands["island"] == -1).all()


def test_duplicates_share_features_and_island(tmp_path: Path) -> None:
    images = make_images(40)
    images.images[20:] = images.images[:20]
    found = search(images, tmp_path)
    np.testing.assert_allclose(found.features[20:], found.features[:20], atol=1e-6)
    islands = found.islands["island"].to_numpy()
    np.testing.assert_array_equal(islands[20:], islands[:20])


def test_all_objects_the_same_are_one_island(tmp_path: Path) -> None:
    images = make_images(20)
    found = search(with_pixels(images, np.repeat(images.images[:1], 20, axis=0)), tmp_path)
    assert np.ptp(found.features, axis=0).max() < 1e-5
    assert np.isfinite(found.features).all()
    assert (found.islands["island"] == 0).all()


def test_an_id_given_twice_is_refused(tmp_path: Path) -> None:
    images = make_images(3)
    with pytest.raises(DataError, match="an identifier occurs twice"):
        save_images(tmp_path / "i.npz", images.images, [1, 2, 1], images.bands, 0.263, 30.0)


# ---------------------------------------------------------------------- images of another kind


def reordered(images: ImageSet) -> ImageSet:
    return dataclasses.replace(images, bands=tuple("Yzirg"))


def fewer_bands(images: ImageSet) -> ImageSet:
    return dataclasses.replace(images, images=images.images[:, :4], bands=tuple("griz"))


def smaller(images: ImageSet) -> ImageSet:
    return dataclasses.replace(images, images=images.images[:, :, :20, :26])


def coarser(images: ImageSet) -> ImageSet:
    return dataclasses.replace(images, pixel_scale_arcsec=0.5)


def other_zero_point(images: ImageSet) -> ImageSet:
    return dataclasses.replace(images, zero_point_ab=27.5)


@pytest.mark.parametrize(
    ("change", "difference", "step"),
    [
        (reordered, "bands Y z i r g, not g r i z Y", r"set images.bands: \[g, r, i, z, Y\]"),
        (fewer_bands, "bands g r i z, not g r i z Y", r"set images.bands: \[g, r, i, z, Y\]"),
        (smaller, "20 x 26 px, smaller than the crop of 24 px", "set images.size_px to 24 or more"),
        (coarser, "pixel_scale_arcsec 0.5, not 0.263", "give images of 0.263 arcsec/px"),
        (
            other_zero_point,
            "zero_point_ab 27.5, not 30 mag",
            "multiply their counts by 10 and set images.zero_point_ab: 30",
        ),
    ],
)
def test_other_images_are_refused_with_the_way_out(
    tmp_path: Path, change: Callable[[ImageSet], ImageSet], difference: str, step: str
) -> None:
    images = make_images(2)
    model = fit(images, tmp_path)
    with pytest.raises(InputError, match=f"{difference}.*mine.npz.*{step}.*or train on these"):
        compute_features(model, change(images), device=CPU, where="mine.npz")


def test_every_difference_is_listed(tmp_path: Path) -> None:
    images = make_images(2)
    model = fit(images, tmp_path)
    with pytest.raises(InputError, match="bands .*; pixel_scale.*; zero_point.*; 20 x 26"):
        check_fits(model, smaller(coarser(other_zero_point(reordered(images)))), "x")


def test_larger_images_are_cropped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    images = make_images(4)
    model = fit(images, tmp_path)
    # Zeros around: the frame that the sky is measured in is another one.
    settings = dataclasses.replace(model.scaling, sky="none")
    model = dataclasses.replace(model, scaling=settings)
    around = np.pad(images.images, ((0, 0), (0, 0), (6, 6), (6, 6)))
    with caplog.at_level(logging.INFO):
        larger = compute_features(model, with_pixels(images, around), device=CPU)
    assert "images of 40 x 40 px, trained on 28 x 28" in caplog.text
    np.testing.assert_allclose(larger, compute_features(model, images, device=CPU), atol=1e-6)


# ----------------------------------------------------------------------- files that are no model


class Code:
    """Runs a command where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def write_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("hello.txt", "hello")


def write_npz(path: Path) -> None:
    with path.open("wb") as stream:
        np.savez(stream, format=np.ones(3))


FOREIGN: dict[str, Callable[[Path], Any]] = {
    "text": lambda path: path.write_text("no model\n"),
    "empty": lambda path: path.write_bytes(b""),
    "zip": write_zip,
    "pickle with code": lambda path: path.write_bytes(pickle.dumps(Code(path.parent / "ran"))),
    "torch with code": lambda path: torch.save({"format": Code(path.parent / "ran")}, path),
    "whole network": lambda path: torch.save(torch.nn.Linear(2, 2), path),
    "tensor": lambda path: torch.save(torch.ones(3), path),
    "npz": write_npz,
    "folder": lambda path: path.mkdir(),
}


@pytest.mark.parametrize("kind", list(FOREIGN))
def test_foreign_files_are_no_models(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "model.pt"
    FOREIGN[kind](path)
    with pytest.raises(InputError, match=r"the file.*\[.*model.pt\]"):
        load_model(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("kind", ["text", "zip", "pickle with code", "torch with code"])
def test_foreign_checkpoints_are_not_taken_up(
    tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    images = make_images(10)
    expected = fit(images, tmp_path / "clean").network.state_dict()
    folder = tmp_path / "spoilt"
    folder.mkdir()
    FOREIGN[kind](folder / training.CHECKPOINT_NAME)
    found = fit(images, folder).network.state_dict()
    assert "training starts anew" in caplog.text
    assert not (folder / "ran").exists()
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_a_state_of_another_network_is_no_model(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save(torch.nn.Linear(2, 2).state_dict(), path)
    with pytest.raises(InputError, match="something else than a model.*learning.model"):
        load_model(path)


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a model's file holds."""
    folder = tmp_path_factory.mktemp("model")
    save_model(fit(make_images(4), folder), folder / "model.pt")
    return dict(torch.load(folder / "model.pt", weights_only=True))


@pytest.mark.parametrize(
    ("section", "change", "message"),
    [
        ("", {"format": FORMAT + 1}, "use the version of this program that wrote it"),
        ("", {"format": 0}, "a model of format 0.*train again"),
        ("", {"record": [1]}, "the record is a list"),
        ("", {"weights": {}}, "do not fit together.*Missing key|do not fit together"),
        ("record", {"bands": []}, r"bands is \[\]"),
        ("record", {"bands": ["g"]}, "noise of 5 bands for 1"),
        ("record", {"pixel_scale_arcsec": -1.0}, "the pixel scale or the zero point is none"),
        ("record", {"pixel_scale_arcsec": "small"}, "pixel_scale_arcsec is 'small'"),
        ("record", {"zero_point_ab": None}, "zero_point_ab is None"),
        ("record", {"scaling": {"noise": [1.0]}}, "do not fit together"),
        ("settings", {"never_heard_of": 1}, "unknown key learning.never_heard_of"),
        ("settings", {"channels": [4, 8, 9]}, "do not fit together"),
    ],
)
def test_records_that_cannot_be_used(
    tmp_path: Path, content: dict[str, Any], section: str, change: dict[str, Any], message: str
) -> None:
    record = content["record"]
    if section == "record":
        change = {"record": {**record, **change}}
    elif section == "settings":
        change = {"record": {**record, "settings": {**record["settings"], **change}}}
    write_torch({**content, **change}, tmp_path / "model.pt")
    with pytest.raises(InputError, match=message):
        load_model(tmp_path / "model.pt")


def test_a_record_without_a_part(tmp_path: Path, content: dict[str, Any]) -> None:
    record = {name: value for name, value in content["record"].items() if name != "zero_point_ab"}
    write_torch({**content, "record": record}, tmp_path / "model.pt")
    with pytest.raises(InputError, match="'zero_point_ab' is absent"):
        load_model(tmp_path / "model.pt")


def test_weights_that_are_no_numbers(tmp_path: Path, content: dict[str, Any]) -> None:
    weights = {name: value.clone() for name, value in content["weights"].items()}
    name = next(iter(weights))
    weights[name][0] = np.nan
    write_torch({**content, "weights": weights}, tmp_path / "model.pt")
    with pytest.raises(InputError, match=f"weights that are no numbers: {name}"):
        load_model(tmp_path / "model.pt")


def test_every_truncation_is_an_error(tmp_path: Path, content: dict[str, Any]) -> None:
    path = tmp_path / "model.pt"
    write_torch(content, path)
    whole = path.read_bytes()
    for part in (0.01, 0.3, 0.7, 0.99):
        path.write_bytes(whole[: int(part * len(whole))])
        with pytest.raises(InputError, match="cannot read the file"):
            load_model(path)


def test_other_libraries_are_told_only(
    tmp_path: Path, content: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "model.pt"
    write_torch(content, path)
    load_model(path)
    assert caplog.text == ""
    record = {**content["record"], "versions": {"torch": "1.0"}}
    write_torch({**content, "record": record}, path)
    load_model(path)
    assert f"trained with torch 1.0, here is {torch.__version__}" in caplog.text
    assert "trained with lightly of unknown version" in caplog.text


# ------------------------------------------------------------------------------- what it tells


def test_the_record_is_shown(
    tmp_path: Path, content: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "model.pt"
    write_torch(content, path)
    assert command.main([str(path)]) == 0
    shown = capsys.readouterr().out
    record = content["record"]
    for part in (
        *("g r i z Y", "0.263 arcsec", "30 mag AB", "28 x 28 px", record["training_set"]),
        *("seed:", "2, in batches of 4", record["ended"], "cpu, float32", "temperature: 0.1"),
        *(torch.__version__, "4 of 4 images", "normalisation: asinh_noise"),
    ):
        assert part in shown
    # Whatever else a record holds is shown too.
    model = load_model(path)
    assert "surprise:" in describe_record(
        dataclasses.replace(model, record={**record, "surprise": 1})
    )


def test_a_file_that_is_no_model_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model.pt").write_text("nothing")
    assert command.main([str(tmp_path / "model.pt")]) == 1
    assert "error: cannot read the file" in capsys.readouterr().err


# ----------------------------------------------------------------------- a device without memory


class SmallDevice:
    """Stands in for the features of a batch on a device that holds a few images."""

    def __init__(self, holds: int) -> None:
        self.holds = holds
        self.real = features_module._unit_features

    def __call__(self, model: Model, images: torch.Tensor) -> np.ndarray:
        if len(images) > self.holds:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self.real(model, images)


def test_features_go_on_with_fewer_images_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    images = make_images(300)
    model = fit(make_images(8), tmp_path)
    whole = compute_features(model, images, device=CPU)
    monkeypatch.setattr(features_module, "_unit_features", SmallDevice(100))
    found = compute_features(model, images, device=CPU)
    np.testing.assert_allclose(found, whole, atol=1e-6)
    assert "out of memory with 256 images at once: going on with 128" in caplog.text
    assert "out of memory with 128 images at once: going on with 64" in caplog.text


def test_features_without_memory_for_one_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = fit(make_images(2), tmp_path)
    monkeypatch.setattr(features_module, "_unit_features", SmallDevice(0))
    with pytest.raises(ArchipelagoError, match="no memory for one image.*CUDA_VISIBLE_DEVICES="):
        compute_features(model, make_images(2), device=CPU)
