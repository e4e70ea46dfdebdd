"""The scripts of these stages, each run as its rule runs it, from tile to losses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from helpers.scripts import run_script

from archipelago.base.errors import ArchipelagoError
from archipelago.base.images import load_images, save_images
from archipelago.base.losses import losses_frame, no_losses, read_losses, write_losses
from archipelago.base.tables import write_table
from archipelago.gather import empty_manifest
from archipelago.photometry.cutflow import read_cutflow
from archipelago.tiles import tile_of

PHOTOMETRY = {
    "depths": {"z": {"sigma": 10, "mag_ab": 23.1}, "W1": {"sigma": 5, "flux_ujy": 54}},
    "detection_sigma": 2.0,
    "cuts": [{"name": "W1 detected", "kind": "detected", "band": "W1"}],
}
W1 = {"value": "W1mag", "error": "e_W1mag", "system": "mag_vega", "vega_to_ab_mag": 2.699}


def matched(ids: list[int], w1_err: float = 0.1) -> pd.DataFrame:
    table = pd.DataFrame({"id": np.array(ids, dtype=np.int64), "ra_deg": 10.0, "dec_deg": -50.0})
    values = {"mag_ab_z": 20.0, "mag_err_z": 0.1, "value_W1": 16.0, "error_W1": w1_err}
    return table.assign(**values, ebv_sfd98=0.02, separation_arcsec_allwise=0.4)


def survey_tile(folder: Path, name: str, ids: list[int], unmatched: list[int]) -> None:
    tile = folder / name
    table = matched(ids)
    table.loc[table["id"] % 10 == 0, "error_W1"] = np.nan
    write_table(matched([*ids, *unmatched]), tile / "sources.parquet")
    write_table(table, tile / "matched.parquet")
    lost = losses_frame(
        matched(unmatched), tile=name, stage="match", reason="no partner in allwise"
    )
    write_losses(lost if len(lost) else no_losses(), tile / "losses_match.csv")
    write_losses(no_losses(), tile / "losses_select.csv")
    run_script(
        "photometry",
        {
            "sources": tile / "sources.parquet",
            "matched": tile / "matched.parquet",
            "match_losses": tile / "losses_match.csv",
            "select_losses": tile / "losses_select.csv",
        },
        {
            "photometry": tile / "photometry.parquet",
            "cutflow": tile / "cutflow.csv",
            "losses": tile / "losses_photometry.csv",
        },
        {
            "survey_bands": {"z": {"value": "m", "error": "e", "system": "mag_ab"}},
            "catalogues": [{"name": "allwise", "bands": {"W1": W1}}],
            "bands": ["z", "W1"],
            **PHOTOMETRY,
        },
        tile=name,
    )
    kept = pd.read_parquet(tile / "photometry.parquet")
    has = kept["id"] != 3  # object 3 has no images
    save_images(
        tile / "cutouts.npz", np.ones((has.sum(), 2, 4, 4)), kept["id"][has], ["z", "Y"], 0.263, 30
    )
    manifest = empty_manifest()
    for band in ("z", "Y"):
        rows = kept[["id"]].assign(band=band, status="ok", reason="", url="", bytes=1, sha256="")
        manifest = pd.concat([manifest, rows.assign(attempts=1)])
    manifest.loc[manifest["id"] == 3, "status"] = "lost"
    write_table(manifest.assign(n_filled_px=0), tile / "manifest.parquet", {"id": "identifier"})
    lost = losses_frame(kept[~has], tile=name, stage="images", reason="short cutout")
    write_losses(lost if len(lost) else no_losses(), tile / "losses_images.csv")


def gather(folder: Path, tiles: list[str], losses: list[str], images: bool) -> None:
    paths = [folder / name for name in tiles]
    sources = [one / "sources.parquet" for one in paths]
    given: dict[str, Any] = {
        "photometry": [one / "photometry.parquet" for one in paths],
        "cutflows": [one / "cutflow.csv" for one in paths],
        "losses": [one / name for one in paths for name in losses],
    }
    if sources[0].exists():
        given["sources"] = sources
    run_script(
        "catalogue",
        given,
        {
            "catalogue": folder / "catalogue.parquet",
            "cutflow": folder / "catalogue_cutflow.csv",
            "losses": folder / "catalogue_losses.csv",
        },
        {"tiles": tiles},
    )
    given = {
        "catalogue_losses": folder / "catalogue_losses.csv",
        "catalogue_cutflow": folder / "catalogue_cutflow.csv",
    }
    if images:
        run_script(
            "images",
            {
                "cutouts": [one / "cutouts.npz" for one in paths],
                "manifests": [one / "manifest.parquet" for one in paths],
                "losses": [one / "losses_images.csv" for one in paths],
                "catalogue": folder / "catalogue.parquet",
            },
            {
                "images": folder / "images.npz",
                "manifest": folder / "manifest.parquet",
                "losses": folder / "image_losses.csv",
            },
            {"tiles": tiles, "asked": None},
        )
        given |= {"image_losses": folder / "image_losses.csv", "images": folder / "images.npz"}
    run_script(
        "losses", given, {"losses": folder / "losses.csv", "cutflow": folder / "cutflow.csv"}
    )


def test_survey(tmp_path: Path) -> None:
    survey_tile(tmp_path, "a", [4, 2, 10], [7, 8])
    survey_tile(tmp_path, "b", [], [])
    survey_tile(tmp_path, "c", [2, 3], [])
    names = ["losses_select.csv", "losses_match.csv", "losses_photometry.csv"]
    gather(tmp_path, ["a", "b", "c"], names, images=True)
    assert pd.read_parquet(tmp_path / "catalogue.parquet")["id"].tolist() == [2, 3, 4]
    assert load_images(tmp_path / "images.npz").ids.tolist() == [2, 4]
    manifest = pd.read_parquet(tmp_path / "manifest.parquet")
    assert manifest["n_filled_px"].dtype == np.int64 and len(manifest) == 6
    manifest_field = pq.read_schema(tmp_path / "manifest.parquet").field("id")
    assert manifest_field.metadata[b"description"] == b"identifier"
    flow = read_cutflow(tmp_path / "cutflow.csv")
    assert flow["cut"].tolist() == [
        *("selection", "match allwise", "W1 detected", "one row per id", "all images found")
    ]
    assert flow["rows_out"].tolist() == [7, 5, 4, 3, 2]
    losses = read_losses(tmp_path / "losses.csv")
    assert losses["id"].tolist() == [7, 8, 10, 2, 3]
    field = pq.read_schema(tmp_path / "catalogue.parquet").field("flux_err_ujy_z")
    assert field.metadata[b"unit"] == b"uJy" and b"3-sigma depth" in field.metadata[b"description"]


def test_own_catalogue(tmp_path: Path) -> None:
    table = matched([5, 6, 5]).drop(columns=["ebv_sfd98"])
    table.to_csv(tmp_path / "own.csv", index=False)
    tiles = [str(tile_of(ra, -50.0, 3)[0]) for ra in (10.0, 60.0)]
    run_script(
        "ingest",
        {"catalogue": tmp_path / "own.csv"},
        {
            kind: [tmp_path / tile / name for tile in tiles]
            for kind, name in (
                ("photometry", "photometry.parquet"),
                ("cutflow", "cutflow.csv"),
                ("losses", "losses_ingest.csv"),
            )
        },
        {
            "columns": {"id": "id", "ra_deg": "ra_deg", "dec_deg": "dec_deg", "ebv_sfd98": None},
            "bands": {
                "z": {"value": "mag_ab_z", "error": "mag_err_z", "system": "mag_ab"},
                "W1": W1 | {"value": "value_W1", "error": "error_W1"},
            },
            "photometry": PHOTOMETRY,
            "tiles": tiles,
            "tile_order": 3,
        },
    )
    gather(tmp_path, tiles, ["losses_ingest.csv"], images=False)
    assert pd.read_parquet(tmp_path / "catalogue.parquet")["id"].tolist() == [5, 6]
    assert read_losses(tmp_path / "losses.csv")["detail"].tolist() == ["row 3"]


def fields_job(folder: Path) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    rng = np.random.default_rng(1)
    data = rng.normal(0, 1, (2, 60, 60)).astype(np.float32)
    data[0, 30, 30] += 300
    data[1, 5:7, 30:32] += 300
    for band in "zY":
        fits.writeto(folder / f"{band}.fits", data)
    tile = folder / "fields"
    names = {
        "photometry": "photometry.parquet",
        "cutflow": "cutflow.csv",
        "losses": "losses_detect.csv",
        "cutouts": "cutouts.npz",
        "manifest": "manifest.parquet",
        "image_losses": "losses_images.csv",
    }
    params = {
        "bands": ["z", "Y"],
        "size_px": 28,
        "pixel_scale_arcsec": 0.263,
        "zero_point_ab": 30.0,
        "detect": {"threshold_sigma": 10.0, "min_area_px": 1, "aperture_diameter_arcsec": 1.95},
        "photometry": {"depths": {}, "detection_sigma": 2.0, "cuts": []},
    }
    fields = {"fields": [folder / "z.fits", folder / "Y.fits"]}
    return fields, {key: tile / name for key, name in names.items()}, params


def test_own_images(tmp_path: Path) -> None:
    run_script("detect", *fields_job(tmp_path))
    gather(tmp_path, ["fields"], ["losses_detect.csv"], images=True)
    assert load_images(tmp_path / "images.npz").images.shape == (1, 2, 28, 28)
    losses = read_losses(tmp_path / "losses.csv")
    assert losses["reason"].tolist() == ["edge"] and losses["id"].tolist() == [10000]
    assert np.isnan(losses["ra_deg"].iloc[0])


def test_full_disk_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq, "write_table", full)
    with pytest.raises(ArchipelagoError, match="the disk is full"):
        run_script("detect", *fields_job(tmp_path))
    assert list((tmp_path / "fields").iterdir()) == []
