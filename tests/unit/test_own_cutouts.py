"""A user's own cutouts and trained networks: what is taken, what is told, what is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers.configuration import REPOSITORY, shipped_config
from helpers.scripts import run_script

from archipelago.base.errors import ConfigError, InputError
from archipelago.base.images import ImageSet, load_images
from archipelago.base.losses import read_losses
from archipelago.base.tables import read_table, write_table
from archipelago.config.search import Search
from archipelago.own.cutouts import NO_CUTOUT, NO_OBJECT, read_cutouts

BANDS = ("g", "r", "i")
EXPECTED: dict[str, Any] = {
    "bands": list(BANDS),
    "size_px": 8,
    "pixel_scale_arcsec": 0.2,
    "zero_point_ab": 25.0,
}


def content(ids: list[int]) -> dict[str, Any]:
    """What a file of cutouts holds: noise of its own for each id."""
    images = [np.random.default_rng(i).normal(size=(3, 8, 8)) for i in ids]
    return {
        "images": np.array(images, dtype=np.float32).reshape(-1, 3, 8, 8),
        "ids": np.array(ids, dtype=np.int64),
        "bands": list(BANDS),
        "pixel_scale_arcsec": 0.2,
        "zero_point_ab": 25.0,
    }


def write(path: Path, given: dict[str, Any], *, compressed: bool = False) -> Path:
    (np.savez_compressed if compressed else np.savez)(path, **given)
    return path


# ---------------------------------------------------------------------------------- what is read


@pytest.mark.parametrize("compressed", [False, True])
def test_a_file_written_by_numpy_is_read(tmp_path: Path, compressed: bool) -> None:
    given = content([7, 3, 5])
    read = read_cutouts(write(tmp_path / "own.npz", given, compressed=compressed), **EXPECTED)
    assert isinstance(read, ImageSet)
    assert read.ids.tolist() == [7, 3, 5]
    np.testing.assert_array_equal(read.images, given["images"])


def test_other_types_of_numbers_are_read(tmp_path: Path) -> None:
    given = content([7, 3])
    given |= {"images": given["images"].astype("<f8"), "ids": np.array(["7", "3"])}
    read = read_cutouts(write(tmp_path / "own.npz", given), **EXPECTED)
    assert (read.ids.dtype, read.images.dtype) == (np.int64, np.float32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bands": ["i", "r", "g"]}, r"bands i r g, not g r i \(images.bands\)"),
        ({"images": np.ones((2, 3, 8, 10))}, r"8 x 10 px, not 8 x 8 \(images.size_px\)"),
        ({"pixel_scale_arcsec": 0.263}, r"pixel_scale_arcsec 0.263, not 0.2 \(images"),
        ({"zero_point_ab": 30.0}, r"zero_point_ab 30, not 25 \(images"),
        (
            {"zero_point_ab": 30.0, "bands": ["g", "r", "z"]},
            "bands g r z, .*; zero_point_ab 30.*set these keys",
        ),
        ({"images": np.ones((2, 4, 8, 8))}, "4 planes for the bands g, r, i.*numpy.savez"),
        ({"images": np.ones((3, 8, 8))}, "images have 3 axes, not 4.*numpy.savez"),
        ({"images": np.ones((5, 3, 8, 8))}, "5 images for 2 identifiers"),
        ({"ids": np.array([4, 4])}, "an identifier occurs twice"),
        ({"ids": np.array([1.5, 2.0])}, "whole numbers of 64 bits, but one is 1.5"),
        ({"ids": np.array([np.nan, 2.0])}, "1 images have no identifier"),
        ({"ids": np.array(["a", "b"])}, "2 are not, such as 'a'"),
        ({"zero_point_ab": [25.0, 26.0]}, r"zero_point_ab is \[25.0, 26.0\], not one number"),
        ({"pixel_scale_arcsec": "small"}, "pixel_scale_arcsec is 'small', not one number"),
        ({"bands": None}, "the file of cutouts lacks bands.*numpy.savez"),
        ({"images": np.array([{}, {}])}, "cannot read the cutouts.*arrays of objects are not read"),
    ],
)
def test_what_cannot_be_used_is_refused(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    given = {k: v for k, v in (content([1, 2]) | change).items() if v is not None}
    with pytest.raises(InputError, match=message):
        read_cutouts(write(tmp_path / "own.npz", given), **EXPECTED)


@pytest.mark.parametrize("body", [b"", b"id,g\n1,2\n", b"PK\x03\x04half"])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, body: bytes) -> None:
    (tmp_path / "own.npz").write_bytes(body)
    with pytest.raises(InputError, match=r"cannot read the cutouts.*own.npz.*numpy.savez"):
        read_cutouts(tmp_path / "own.npz", **EXPECTED)


# --------------------------------------------------------------------------------- what is taken


def objects(folder: Path, name: str, ids: list[int]) -> Path:
    path = folder / f"{name}.parquet"
    write_table(pd.DataFrame({"id": ids, "ra_deg": 1.0, "dec_deg": 2.0}).astype({"id": int}), path)
    return path


def run(folder: Path, tiles: dict[str, list[int]], given: dict[str, Any]) -> dict[str, list[Path]]:
    """Run the rules own_cutouts and images; return the files of the first."""
    kinds = {"cutouts": "npz", "manifest": "parquet", "losses": "csv"}
    output = {
        kind: [folder / f"{kind}-{tile}.{end}" for tile in tiles] for kind, end in kinds.items()
    }
    photometry = [objects(folder, tile, ids) for tile, ids in tiles.items()]
    images = write(folder / "own.npz", given)
    run_script(
        "own_cutouts",
        {"photometry": photometry, "images": images},
        output,
        {"expected": EXPECTED, "tiles": list(tiles)},
    )
    catalogue = sorted({one for ids in tiles.values() for one in ids})
    run_script(
        "images",
        {
            **output,
            "manifests": output["manifest"],
            "catalogue": objects(folder, "catalogue", catalogue),
        },
        {
            "images": folder / "images.npz",
            "manifest": folder / "manifest.parquet",
            "losses": folder / "losses.csv",
        },
        {"tiles": list(tiles), "asked": None},
    )
    return output


def test_every_object_and_every_cutout_is_accounted_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    given = content([9, 1, 4, 2, 7, 8])
    given["images"][3, 1] = 5.0  # id 2
    given["images"][4, 0, 2, 2] = np.nan  # id 7
    # 3 and 6 have no cutout, 8 and 9 are no objects; 4 lies in two tiles.
    run(tmp_path, {"a": [1, 2, 3, 4], "b": [4, 6, 7], "c": []}, given)
    images = load_images(tmp_path / "images.npz")
    assert images.ids.tolist() == [1, 4]
    np.testing.assert_array_equal(images.images, given["images"][[1, 2]])
    losses = read_losses(tmp_path / "losses.csv").set_index("id")
    assert losses["reason"].to_dict() == {
        2: "blank image",
        3: NO_CUTOUT,
        6: NO_CUTOUT,
        7: "bad pixels",
    }
    assert losses["tile"].to_dict() == {2: "a", 3: "a", 6: "b", 7: "b"}
    assert (losses["stage"] == "images").all()
    manifest = read_table(tmp_path / "manifest.parquet")
    strangers = manifest[manifest["reason"] == NO_OBJECT]
    assert strangers["id"].tolist() == [8, 8, 8, 9, 9, 9]
    assert strangers["band"].tolist() == [*BANDS, *BANDS]
    assert (strangers["status"] == "lost").all()
    assert "2 of 6 cutouts belong to no object of the catalogue, such as id 8" in caplog.text
    assert set(manifest["id"]) == {1, 2, 3, 4, 6, 7, 8, 9}


@pytest.mark.parametrize(("ids", "given"), [([], []), ([], [5]), ([5], [])])
def test_nothing_in_common(tmp_path: Path, ids: list[int], given: list[int]) -> None:
    run(tmp_path, {"a": ids}, content(given))
    assert load_images(tmp_path / "images.npz").images.shape == (0, 3, 8, 8)
    assert read_losses(tmp_path / "losses.csv")["id"].tolist() == ids
    assert set(read_table(tmp_path / "manifest.parquet")["id"]) == {*ids, *given}


def test_more_than_are_read_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from archipelago.own import cutouts

    monkeypatch.setattr(cutouts, "_CHUNK", 3)
    ids = list(range(20, 10, -1))
    run(tmp_path, {"a": sorted(ids)}, content(ids))
    images = load_images(tmp_path / "images.npz")
    assert images.ids.tolist() == sorted(ids)
    np.testing.assert_array_equal(images.images, content(sorted(ids))["images"])


# ------------------------------------------------------------------------------ configuration


def search_of(**changes: dict[str, Any]) -> Search:
    return Search.of(shipped_config(**changes), REPOSITORY)


def test_cutouts_of_one_s_own_take_the_place_of_the_download(tmp_path: Path) -> None:
    path = write(tmp_path / "own.npz", content([1]))
    search = search_of(images={"source": "file", "file": str(path)})
    assert (search.origin, search.cutouts_rule) == ("survey", "own_cutouts")
    assert search.has_images and search.trains and not search.cutouts_from_service
    assert search.given_models == []


@pytest.mark.parametrize(
    ("section", "change", "message"),
    [
        ("images", {"source": "file"}, "source is file, but no file is named"),
        ("images", {"source": "file", "file": "no.npz"}, "images.file = 'no.npz': no such file"),
        ("learning", {"model": "no-{seed}.pt"}, "learning.model = 'no-1.pt': no such file"),
        (
            "learning",
            {"model": "LICENSE"},
            "learning.model = 'LICENSE': one network for 5 seeds.*put {seed} into the path",
        ),
        ("learning", {"model": "seed-{sed}.pt", "seeds": [1]}, "seed-{sed}.pt': no such file"),
    ],
)
def test_what_is_not_there_is_told_before_any_job(
    section: str, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        shipped_config(**{section: change})


def test_trained_networks_take_the_place_of_the_training(tmp_path: Path) -> None:
    for seed in (3, 8):
        (tmp_path / f"seed-{seed}.pt").touch()
    search = search_of(learning={"model": str(tmp_path / "seed-{seed}.pt"), "seeds": [3, 8]})
    assert not search.trains
    assert search.left_out["training"] == "learning.model is set"
    assert search.model(8) == str(tmp_path / "seed-8.pt")
    assert search.given_models == [str(tmp_path / "seed-3.pt"), str(tmp_path / "seed-8.pt")]
    assert "histories" not in search.report_input and "maps" in search.report_input
    alone = search_of(learning={"model": str(tmp_path / "seed-3.pt"), "seeds": [1]})
    assert alone.given_models == [alone.model(1)] == [str(tmp_path / "seed-3.pt")]
    without = dataclasses.replace(
        search,
        config=search.config.model_copy(
            update={"images": search.config.images.model_copy(update={"source": "none"})}
        ),
    )
    assert without.given_models == [] and not without.trains
    assert "training" not in without.left_out


def test_a_search_that_trains_has_its_own_networks() -> None:
    search = search_of()
    assert search.trains and search.given_models == []
    assert search.model(2) == "results/des_dr2/learning/seed-2/model.pt"
    assert "training" not in search.left_out
