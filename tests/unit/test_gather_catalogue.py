"""Tiles gathered into a catalogue, its cut flow and its losses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from archipelago.base.errors import DataError, InputError
from archipelago.base.losses import losses_frame, no_losses
from archipelago.base.tables import write_table
from archipelago.gather import count_rows, gather_catalogue, gather_losses
from archipelago.photometry.cutflow import survey_cutflow
from archipelago.photometry.measure import measure, read_bands

CUTS = [{"name": "z < 21", "kind": "mag_range", "band": "z", "max": 21.0}]
BANDS = read_bands(["z"], {"z": {"value": "z", "error": "e", "system": "mag_ab"}})
DEPTHS = {"z": {"sigma": 10, "mag_ab": 23.1}}
Tables = tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame]


def tile(name: str, mags: dict[int, float], unmatched: int = 0) -> Tables:
    ids = np.array(list(mags), dtype=np.int64)
    matched = pd.DataFrame({"id": ids, "ra_deg": ids / 10, "dec_deg": ids / 20})
    matched["mag_ab_z"] = np.array(list(mags.values()), dtype=float)
    matched["mag_err_z"] = 0.05
    lost = pd.DataFrame({"id": range(900, 900 + unmatched), "ra_deg": 1.0, "dec_deg": 1.0})
    match_losses = losses_frame(lost, tile=name, stage="match", reason="no partner in vhs")
    n = len(matched) + unmatched
    before = survey_cutflow(name, n, 0, match_losses, ["vhs"])
    photometry, flow, losses = measure(matched, BANDS, DEPTHS, 2, CUTS, name, before=before)
    return photometry, flow, losses, match_losses


def gathered(**tiles: Tables) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    n_sources = [int(one[1]["rows_out"].iloc[0]) for one in tiles.values()]
    return gather_catalogue(
        {name: one[0] for name, one in tiles.items()},
        [one[1] for one in tiles.values()],
        [part for one in tiles.values() for part in one[2:]],
        n_sources,
    )


def test_catalogue_cutflow_and_losses() -> None:
    catalogue, flow, losses = gathered(
        a=tile("a", {5: 20.0, 3: 22.0}, unmatched=2), b=tile("b", {4: 20.0}), c=tile("c", {})
    )
    assert catalogue["id"].tolist() == [4, 5]
    assert catalogue["tile"].tolist() == ["b", "a"]
    assert flow["rows_in"].tolist() == [5, 5, 3, 2]
    assert flow["rows_out"].tolist() == [5, 3, 2, 2]
    assert flow["stage"].tolist() == ["select", "match", "photometry", "catalogue"]
    assert losses["id"].tolist() == [3, 900, 901]


def test_object_in_two_tiles() -> None:
    catalogue, flow, losses = gathered(a=tile("a", {1: 20.0, 2: 20.0}), b=tile("b", {2: 20.5}))
    assert catalogue["id"].tolist() == [1, 2]
    assert catalogue["mag_ab_z"].tolist() == [20.0, 20.0]
    assert losses["reason"].tolist() == ["duplicate id"] and losses["tile"].tolist() == ["b"]
    assert losses["stage"].tolist() == ["catalogue"]
    assert flow["rows_out"].tolist()[-2:] == [3, 2]


def test_all_tiles_empty() -> None:
    catalogue, flow, losses = gathered(a=tile("a", {}), b=tile("b", {}))
    assert len(catalogue) == len(losses) == 0
    assert catalogue["id"].dtype == np.int64 and "flux_ujy_z" in catalogue.columns
    assert flow["rows_out"].tolist() == [0, 0, 0, 0]


def test_missing_losses_are_noticed() -> None:
    photometry, flow, losses, match_losses = tile("a", {1: 20.0, 2: 22.0}, unmatched=1)
    with pytest.raises(DataError, match="3 rows in, but 1 out and 1 lost: 1 unaccounted"):
        gather_catalogue({"a": photometry}, [flow], [match_losses], [3])
    with pytest.raises(DataError, match="4 rows in, but 3 out.*selection, tile a"):
        gather_catalogue({"a": photometry}, [flow], [match_losses, losses], [4])
    with pytest.raises(DataError, match="cut flow, tile a"):
        gather_catalogue({"a": photometry[:0]}, [flow], [match_losses, losses], [3])


def test_tiles_must_have_the_same_columns() -> None:
    a, b = tile("a", {1: 20.0}), tile("b", {2: 20.0})
    b = (b[0].drop(columns="detected_z"), *b[1:])
    with pytest.raises(DataError, match=r"differ from those of tile a: detected_z.*tile b"):
        gathered(a=a, b=b)
    with pytest.raises(DataError, match="no tile to gather"):
        gather_catalogue({}, [], [])


def test_losses_with_images() -> None:
    catalogue, flow, losses = gathered(a=tile("a", {5: 20.0, 3: 22.0, 4: 19.0}, unmatched=1))
    no_image = losses_frame(catalogue[:1], tile="a", stage="images", reason="short cutout")
    everything, complete = gather_losses(losses, flow, no_image, 1)
    assert complete["cut"].tolist()[-1] == "all images found"
    assert complete["rows_out"].tolist() == [4, 3, 2, 2, 1]
    assert everything["stage"].tolist() == ["match", "photometry", "images"]
    with pytest.raises(DataError, match="2 rows in, but 2 out and 1 lost"):
        gather_losses(losses, flow, no_image, 2)


def test_losses_without_images() -> None:
    _, flow, losses = gathered(a=tile("a", {5: 20.0}))
    everything, complete = gather_losses(losses, flow)
    assert len(everything) == 0
    pd.testing.assert_frame_equal(complete, flow)
    with pytest.raises(DataError, match="losses of all stages"):
        gather_losses(no_losses(), gathered(a=tile("a", {5: 22.0}))[1])


def test_count_rows(tmp_path: Path) -> None:
    write_table(pd.DataFrame({"id": [1, 2]}), tmp_path / "t.parquet")
    assert count_rows(tmp_path / "t.parquet") == 2
    (tmp_path / "t.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match="cannot read the table"):
        count_rows(tmp_path / "t.parquet")


def test_order_of_tiles_changes_nothing_but_the_duplicates_home() -> None:
    tiles: dict[str, Any] = {name: tile(name, {k: 20.0}) for k, name in enumerate("abc")}
    forth = gathered(**tiles)
    back = gathered(**dict(reversed(tiles.items())))
    for one, other in zip(forth, back, strict=True):
        pd.testing.assert_frame_equal(one, other)
