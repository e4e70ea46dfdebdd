"""Sets of cutouts: written and read safely, and gathered from tiles."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from archipelago import gather
from archipelago.base import images as base_images
from archipelago.base.errors import ArchipelagoError, DataError, InputError
from archipelago.base.images import ImageSet, load_images, save_images, write_images
from archipelago.base.losses import losses_frame, no_losses, write_losses
from archipelago.base.marks import objects_mark
from archipelago.base.spool import Spool
from archipelago.base.tables import (
    read_about,
    read_mark,
    read_table,
    write_table,
    write_table_parts,
)
from archipelago.gather import empty_manifest, gather_images

BANDS = ("g", "r", "i", "z", "Y")


def pixels(ids: list[int], size: int = 6) -> np.ndarray:
    """Images that tell by their values whose they are."""
    base = np.arange(5 * size * size, dtype=np.float32).reshape(5, size, size) / 1000
    return np.array([base + i for i in ids], dtype=np.float32).reshape(-1, 5, size, size)


def save(path: Path, ids: list[int], /, **change: Any) -> None:
    values: dict[str, Any] = {
        "images": pixels(ids),
        "ids": ids,
        "bands": BANDS,
        "pixel_scale_arcsec": 0.263,
        "zero_point_ab": 30.0,
    }
    save_images(path, **(values | change))


def test_round_trip_and_equal_bytes(tmp_path: Path) -> None:
    one, two = tmp_path / "a" / "one.npz", tmp_path / "two.npz"
    save(one, [7, 3])
    save(two, [7, 3])
    assert one.read_bytes() == two.read_bytes()
    for mapped in (False, True):
        loaded = load_images(one, memory_map=mapped)
        np.testing.assert_array_equal(loaded.images, pixels([7, 3]))
        assert loaded.images.dtype == np.float32 and loaded.ids.dtype == np.int64
        assert loaded.ids.tolist() == [7, 3] and loaded.bands == BANDS and len(loaded) == 2
        assert (loaded.pixel_scale_arcsec, loaded.zero_point_ab) == (0.263, 30.0)
    with np.load(one, allow_pickle=False) as plain:
        assert sorted(plain) == ["bands", "ids", "images", "pixel_scale_arcsec", "zero_point_ab"]


def test_reads_what_numpy_wrote(tmp_path: Path) -> None:
    parts = {"ids": [1], "bands": list(BANDS), "pixel_scale_arcsec": 0.2, "zero_point_ab": 25.0}
    for writer in (np.savez, np.savez_compressed):
        writer(tmp_path / "x.npz", images=pixels([1]).astype(float), **parts)
        for mapped in (False, True):
            loaded = load_images(tmp_path / "x.npz", memory_map=mapped)
            assert loaded.images.dtype == np.float32
            np.testing.assert_array_equal(loaded.images, pixels([1]))


def test_empty_set(tmp_path: Path) -> None:
    save(tmp_path / "x.npz", [])
    for mapped in (False, True):
        loaded = load_images(tmp_path / "x.npz", memory_map=mapped)
        assert loaded.images.shape == (0, 5, 6, 6) and len(loaded) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ids": [1]}, "2 images for 1 identifiers"),
        ({"ids": [1, 1]}, "an identifier occurs twice"),
        ({"bands": "gri"}, "5 planes for the bands g, r, i"),
        ({"images": np.zeros((2, 6, 6))}, "images have 3 axes, not 4"),
    ],
)
def test_contradictions_are_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        save(tmp_path / "x.npz", [1, 2], **change)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mapped", [False, True])
def test_truncated_and_foreign_files(tmp_path: Path, mapped: bool) -> None:
    path = tmp_path / "x.npz"
    save(path, [1, 2, 3])
    whole = path.read_bytes()
    for length in (0, 10, len(whole) // 2, len(whole) - 5):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match="cannot read the cutouts"):
            load_images(path, memory_map=mapped)
    path.write_text("id,mag\n1,2\n")
    with pytest.raises(InputError, match="cannot read the cutouts"):
        load_images(path, memory_map=mapped)
    with pytest.raises(InputError, match="cannot read the cutouts.*No such file"):
        load_images(tmp_path / "absent.npz", memory_map=mapped)
    np.savez(path, ids=np.arange(3))
    with pytest.raises(InputError, match="lacks images, bands"):
        load_images(path, memory_map=mapped)


@pytest.mark.parametrize("mapped", [False, True])
def test_nothing_is_unpickled(tmp_path: Path, mapped: bool) -> None:
    path = tmp_path / "x.npz"
    save(path, [1])
    with np.load(path) as plain:
        parts = {name: plain[name] for name in plain}
    np.savez(path, **(parts | {"images": np.array([{"a": 1}], dtype=object)}))
    with pytest.raises(InputError, match="cannot read the cutouts"):
        load_images(path, memory_map=mapped)


def test_chunks_must_add_up(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="1 images for 2 identifiers"):
        write_images(tmp_path / "x.npz", [pixels([1])], (5, 6, 6), np.arange(2), BANDS, 1, 1)
    with pytest.raises(DataError, match="a chunk of images of shape"):
        write_images(tmp_path / "x.npz", [pixels([1], 4)], (5, 6, 6), np.arange(1), BANDS, 1, 1)
    assert list(tmp_path.iterdir()) == []


def test_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(base_images.npy, "write_array", full)
    with pytest.raises(ArchipelagoError, match="the disk is full; nothing was left.*make room"):
        save(tmp_path / "x.npz", [1])
    assert list(tmp_path.iterdir()) == []


def objects(ids: list[int]) -> pd.DataFrame:
    return pd.DataFrame({"id": ids, "ra_deg": [1.0] * len(ids), "dec_deg": [2.0] * len(ids)})


class Tiles:
    """Files of tiles as the cutouts rule writes them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cutouts: list[Path] = []
        self.manifests: list[Path] = []
        self.losses: list[Path] = []

    def add(self, ok: list[int], lost: Sequence[int] = (), **change: Any) -> None:
        tile = self.folder / f"t{len(self.cutouts)}"
        save(tile / "cutouts.npz", ok, **change)
        rows = [
            {
                "id": i,
                "band": band,
                "status": "lost" if i in lost and band == "z" else "ok",
                "reason": "short" if i in lost and band == "z" else "",
                "url": f"{tile.name}/{i}{band}",
                "bytes": 4,
                "sha256": "",
                "attempts": 1,
            }
            for i in [*ok, *lost]
            for band in BANDS
        ]
        manifest = pd.DataFrame(rows) if rows else empty_manifest()
        write_table(manifest, tile / "manifest.parquet")
        losses = losses_frame(
            objects(list(lost)), tile=tile.name, stage="images", reason="short", detail="band z"
        )
        write_losses(losses if len(losses) else no_losses(), tile / "losses_images.csv")
        self.cutouts.append(tile / "cutouts.npz")
        self.manifests.append(tile / "manifest.parquet")
        self.losses.append(tile / "losses_images.csv")

    def gather(self, ids: list[int]) -> tuple[ImageSet, pd.DataFrame, pd.DataFrame]:
        output = self.folder / "images.npz"
        manifest, losses = gather_images(
            self.cutouts, self.manifests, self.losses, np.array(ids, dtype=np.int64), output
        )
        return load_images(output), manifest, losses


@pytest.fixture
def tiles(tmp_path: Path) -> Tiles:
    return Tiles(tmp_path)


@pytest.mark.parametrize("chunk", [1, 2, 4096])
def test_gather_sorts_by_id(tiles: Tiles, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(gather, "_CHUNK", chunk)
    tiles.add([5, 1], [9])
    tiles.add([])
    tiles.add([2, 8], [3])
    images, manifest, losses = tiles.gather([1, 2, 3, 5, 8, 9])
    assert images.ids.tolist() == [1, 2, 5, 8]
    np.testing.assert_array_equal(images.images, pixels([1, 2, 5, 8]))
    assert losses["id"].tolist() == [3, 9]
    assert manifest["id"].tolist() == np.repeat([1, 2, 3, 5, 8, 9], 5).tolist()
    assert manifest["band"].tolist() == list(BANDS) * 6


def test_gather_of_empty_tiles(tiles: Tiles) -> None:
    tiles.add([])
    tiles.add([])
    images, manifest, losses = tiles.gather([])
    assert images.images.shape == (0, 5, 6, 6)
    assert len(manifest) == len(losses) == 0
    assert manifest.dtypes.to_dict() == empty_manifest().dtypes.to_dict()


def test_object_in_two_tiles_is_kept_once(tiles: Tiles) -> None:
    tiles.add([1], [2, 3])
    tiles.add([1, 2], [3])
    images, manifest, losses = tiles.gather([1, 2, 3])
    assert images.ids.tolist() == [1, 2]
    assert losses["id"].tolist() == [3] and losses["tile"].tolist() == ["t0"]
    urls = manifest.groupby("id")["url"].first().to_dict()
    assert urls == {1: "t0/1g", 2: "t1/2g", 3: "t0/3g"}
    assert len(manifest) == 15


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bands": "rgizY"}, "bands r g i z Y instead of g r i z Y"),
        ({"images": pixels([2], 8)}, r"size .band, y, x. \(5, 8, 8\) instead of \(5, 6, 6\)"),
        ({"pixel_scale_arcsec": 0.2}, "pixel scale .arcsec. 0.2 instead of 0.263"),
        ({"zero_point_ab": 25}, "zero point"),
    ],
)
def test_tiles_must_agree(tiles: Tiles, change: dict[str, Any], message: str) -> None:
    tiles.add([1])
    tiles.add([2], **change)
    with pytest.raises(DataError, match=message):
        tiles.gather([1, 2])
    assert not (tiles.folder / "images.npz").exists()


def marked(tiles: Tiles, query: dict[str, Any], ids: list[int], dec_deg: float = 2.0) -> None:
    """Write the record of a query into the last tile's files."""
    positions = objects(ids).assign(dec_deg=dec_deg).set_index("id")
    record = json.dumps(query | {"objects": objects_mark(ids, positions)})
    manifest, cutouts = tiles.manifests[-1], tiles.cutouts[-1]
    write_table_parts([pd.read_parquet(manifest)], manifest, marks={"asked": record})
    one = load_images(cutouts)
    write_images(cutouts, [one.images], one.images.shape[1:], one.ids, BANDS, 0.263, 30.0, record)


ASKED = {"size_px": 6, "product": None}


@pytest.mark.parametrize(
    ("query", "dec_deg", "message"),
    [
        (ASKED, 2.0, None),
        ({"size_px": 7, "product": None}, 2.0, "tile one .*query: size_px 7 instead of 6"),
        ({"size_px": 6, "product": "x"}, 2.0, "product 'x' instead of None"),
        ({"size_px": 6}, 2.0, "product 'unknown' instead of None"),
        (ASKED, 2.5, "tile one .*: objects '[0-9a-f]{16}' instead of '[0-9a-f]{16}'"),
    ],
)
def test_tiles_of_another_query_are_refused(
    tiles: Tiles, query: dict[str, Any], dec_deg: float, message: str | None
) -> None:
    tiles.add([1, 2], [3])
    marked(tiles, query, [1, 2, 3], dec_deg)
    catalogue = objects([1, 2, 3, 4])
    arguments = (tiles.cutouts, tiles.manifests, tiles.losses)
    output = tiles.folder / "images.npz"
    given: dict[str, Any] = {
        **{"asked": ASKED, "tiles": ["one"]},
        "positions": catalogue.set_index("id"),
    }
    ids = np.array([1, 2, 3])
    if message is None:
        gather_images(*arguments, ids, output, **given)
        return
    with pytest.raises(DataError, match=message) as caught:
        gather_images(*arguments, ids, output, **given)
    assert caught.value.next_step == "snakemake --forcerun cutouts"


def test_tiles_without_a_record_are_refused(tiles: Tiles) -> None:
    tiles.add([1])
    with pytest.raises(DataError, match="size_px 'unknown' instead of 6"):
        gather_images(
            *(tiles.cutouts, tiles.manifests, tiles.losses),
            *(np.array([1]), tiles.folder / "images.npz"),
            asked=ASKED,
        )


def test_results_in_any_order_come_back_in_theirs(tmp_path: Path) -> None:
    with Spool(tmp_path / "new", 4, (5, 6, 6)) as spool:
        for item in (2, 0, 3, 1):
            spool.put(item, [item, "a\nb"], pixels([item])[0] if item != 3 else None)
        assert spool.with_array.tolist() == [0, 1, 2]
        assert spool.records(0, 4) == [[item, "a\nb"] for item in range(4)]
        np.testing.assert_array_equal(spool.arrays(np.array([2, 0])), pixels([2, 0]))
    assert list((tmp_path / "new").iterdir()) == []


def test_tables_in_parts_are_tables(tmp_path: Path) -> None:
    whole = pd.DataFrame({"id": [1, 2, 3], "name": ["a", "", "c"], "n_px": [1, 0, 2]})
    one, two = tmp_path / "one.parquet", tmp_path / "two.parquet"
    for path in (one, two):
        parts = (whole[k : k + 1] for k in range(3))
        write_table_parts(parts, path, {"id": "identifier"}, {"asked": "{}"})
    pd.testing.assert_frame_equal(read_table(one), whole)
    assert one.read_bytes() == two.read_bytes()
    assert read_mark(one, "asked") == "{}" and read_mark(one, "other") == ""
    assert read_about(one) == {"id": "identifier"}
    with pytest.raises(ValueError, match="no part of a table"):
        write_table_parts([], tmp_path / "x.parquet")
    assert not (tmp_path / "x.parquet").exists()


def test_objects_are_accounted_for(tiles: Tiles) -> None:
    tiles.add([1], [2])
    with pytest.raises(DataError, match="3 rows in, but 1 out and 1 lost: 1 unaccounted for"):
        tiles.gather([1, 2, 3])
    with pytest.raises(DataError, match="1 objects of the cutouts are not in the catalogue.*id 2"):
        tiles.gather([1])


def test_manifest_must_tell_of_every_band(tiles: Tiles) -> None:
    tiles.add([1, 2])
    manifest = pd.read_parquet(tiles.manifests[0])
    write_table(manifest[:-1], tiles.manifests[0])
    with pytest.raises(DataError, match="1 objects have images, but the manifest.*id 2"):
        tiles.gather([1, 2])


def test_unreadable_tile(tiles: Tiles) -> None:
    tiles.add([1], [2])
    whole = tiles.manifests[0].read_bytes()
    tiles.manifests[0].write_bytes(whole[:50])
    with pytest.raises(InputError, match="cannot read the table.*manifest.parquet"):
        tiles.gather([1, 2])
    tiles.manifests[0].write_bytes(whole)
    tiles.losses[0].write_text("id,tile\n2,t0\n")
    with pytest.raises(InputError, match="columns ra_deg.*are absent.*losses_images"):
        tiles.gather([1, 2])
    tiles.losses[0].write_text("")
    with pytest.raises(InputError, match="cannot read the losses"):
        tiles.gather([1, 2])


def test_object_lost_twice_in_one_tile(tiles: Tiles) -> None:
    tiles.add([1], [2])
    table = gather.read_losses(tiles.losses[0])
    write_losses(pd.concat([table, table]), tiles.losses[0])
    with pytest.raises(DataError, match="the id 2 is lost twice"):
        tiles.gather([1, 2])


def test_images_are_stored_not_compressed(tmp_path: Path) -> None:
    save(tmp_path / "x.npz", [1])
    with zipfile.ZipFile(tmp_path / "x.npz") as archive:
        assert {one.compress_type for one in archive.infolist()} == {zipfile.ZIP_STORED}
        assert {one.date_time for one in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
