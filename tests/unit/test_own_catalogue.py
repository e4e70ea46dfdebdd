"""A search from the user's own catalogue."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from astropy.table import Table
from hypothesis import given, settings
from hypothesis import strategies as st

from archipelago.base.errors import ConfigError, InputError
from archipelago.base.tables import read_any_table
from archipelago.gather import gather_catalogue
from archipelago.own.catalogue import TileOfCatalogue, ingest, whole_numbers
from archipelago.photometry.measure import describe
from archipelago.tiles import Tile, tile_of

COLUMNS = {"id": "ID", "ra_deg": "RA", "dec_deg": "DEC"}
BANDS = {"z": {"value": "z_mag", "error": "z_err", "system": "mag_ab"}}
DEPTHS = {"z": {"sigma": 10, "mag_ab": 23.1}}
HERE, THERE = (str(tile_of(ra, -50.0, 3)[0]) for ra in (10.0, 60.0))


def table(**change: Any) -> pd.DataFrame:
    values = {
        "ID": [11, 12, 13],
        "RA": [10.0, 60.0, 10.1],
        "DEC": [-50.0, -50.0, -50.0],
        "z_mag": [20.0, 99.0, 21.0],
        "z_err": [0.1, 99.0, 0.1],
    }
    return pd.DataFrame(values | change)


def run(data: pd.DataFrame, **change: Any) -> dict[str, TileOfCatalogue]:
    arguments: dict[str, Any] = {
        "columns": COLUMNS,
        "bands": BANDS,
        "depths": DEPTHS,
        "detection_sigma": 2.0,
        "tiles": [HERE, THERE],
        "tile_order": 3,
    }
    return ingest(data, **(arguments | change))


def test_rows_go_to_their_tiles() -> None:
    tiles = run(table())
    assert list(tiles) == [HERE, THERE]
    assert tiles[HERE].photometry["id"].tolist() == [11, 13]
    assert tiles[THERE].photometry["id"].tolist() == [12]
    assert tiles[THERE].photometry["mag_ab_z"].tolist() == [99.0]
    assert not any(len(one.losses) for one in tiles.values())
    assert set(tiles[HERE].photometry["tile"]) == {HERE}


def test_every_lost_row_is_told() -> None:
    nan = np.nan
    data = table(
        ID=[11, nan, 13, 14, 15, 11, 17],
        RA=[10.0, 10.0, nan, 500.0, 200.0, 60.0, -0.5],
        DEC=[-50.0, -50.0, -50.0, -50.0, 0.0, -50.0, 91.0],
        z_mag=[20.0] * 7,
        z_err=[0.1] * 7,
    )
    tiles = run(data)
    losses = pd.concat([one.losses for one in tiles.values()])
    told = dict(zip(losses["detail"], losses["reason"], strict=True))
    assert told == {
        "row 2": "no identifier",
        "row 3": "position not finite",
        "row 4": "position out of range",
        f"row 5, in tile {tile_of(200.0, 0.0, 3)[0]}": "outside the footprint",
        "row 6": "duplicate id",
        "row 7": "position out of range",
    }
    assert losses.loc[losses["reason"] == "no identifier", "id"].tolist() == [-1]
    # A duplicate counts where it lies, rows of no tile with the first.
    assert tiles[THERE].losses["reason"].tolist() == ["duplicate id"]
    assert tiles[HERE].cutflow["rows_in"].tolist() == [6, 2, 2]
    assert tiles[HERE].cutflow["rows_out"].tolist() == [2, 2, 1]
    catalogue, flow, all_losses = gather_catalogue(
        {name: one.photometry for name, one in tiles.items()},
        [one.cutflow for one in tiles.values()],
        [one.losses for one in tiles.values()],
    )
    assert catalogue["id"].tolist() == [11]
    assert flow["rows_in"].iloc[0] == 7 and len(all_losses) == 6


def test_poles_and_the_meridian() -> None:
    data = table(RA=[0.0, 360.0, -0.001], DEC=[90.0, -90.0, 0.0])
    names = [Tile(3, pixel).name for pixel in range(768)]
    tiles = run(data, tiles=names)
    kept = pd.concat([one.photometry for one in tiles.values()]).sort_values("id")
    assert kept["id"].tolist() == [11, 12, 13]
    assert kept["ra_deg"].tolist() == [0.0, 0.0, pytest.approx(359.999)]


def test_other_way_to_name_tiles() -> None:
    tiles = run(table(), tiles=["x"], name_tiles=lambda ra, dec, order: np.full(len(ra), "x"))
    assert len(tiles["x"].photometry) == 3


def test_further_columns_and_cuts() -> None:
    data = table(kind=["star", None, b"QSO"], E=[0.1, 0.2, 0.3])
    cuts = [{"name": "z there", "kind": "detected", "band": "z"}]
    tiles = run(data, columns=COLUMNS | {"ebv_sfd98": "E", "class": "kind"}, cuts=iter(cuts))
    assert tiles[HERE].photometry["class"].tolist() == ["star", "QSO"]
    assert tiles[HERE].photometry["ebv_sfd98"].tolist() == [0.1, 0.3]
    assert "ebv_sfd98" in describe(tiles[HERE].photometry.columns)
    assert tiles[THERE].losses["reason"].tolist() == ["z there"]


def test_missing_columns_with_nearest_names() -> None:
    data = table().rename(columns={"z_err": "z_errr", "RA": "ra"})
    with pytest.raises(
        InputError,
        match=r"lacks the columns RA \(ra_deg\) \(did you mean ra\?\), "
        r"z_err \(z: error\) \(did you mean z_errr\?\).*own\.csv.*map columns among ID, ra",
    ):
        run(data, where="own.csv")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"columns": {"id": "ID", "ra_deg": "RA"}}, "no column is mapped as dec_deg"),
        ({"columns": COLUMNS | {"tile": "ID"}}, "tile is a name of the project's own"),
        ({"bands": {}}, "no band is mapped"),
        ({"tiles": []}, "the search has no tile"),
        ({"depths": {}}, "no depth is given for z"),
    ],
)
def test_wrong_mapping(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run(table(), **change)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (["J0109-5424", "12", "13"], "1 are not, such as 'J0109-5424'.*column ID"),
        ([1.5, 2.0, 3.0], "one is 1.5"),
        ([1e18, 2.0, 3.0], "have lost digits"),
        ([2**63, 2, 3], "one is larger"),
    ],
)
def test_ids_must_be_whole_numbers(ids: list[Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        run(table(ID=ids))


def test_ids_as_text_and_masked() -> None:
    ids, has = whole_numbers(pd.Series([b"12", " 13 ", None, ""], dtype=object))
    assert ids.tolist() == [12, 13, -1, -1] and has.tolist() == [True, True, False, False]
    ids, has = whole_numbers(pd.Series([2**62 + 1, None], dtype="Int64"))
    assert ids.tolist() == [2**62 + 1, -1] and has.tolist() == [True, False]


def test_empty_catalogue() -> None:
    tiles = run(table().iloc[:0])
    assert [len(one.photometry) for one in tiles.values()] == [0, 0]
    assert tiles[HERE].cutflow["rows_in"].tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    "name", ["t.csv", "t.csv.gz", "t.fits", "t.vot", "t.ecsv", "t.parquet", "t.fits.gz"]
)
def test_formats_agree(tmp_path: Path, name: str) -> None:
    data, path = table(ID=[2**53 + 1, 12, 13], z_mag=[20.0, np.nan, 21.0]), tmp_path / name
    if "csv" in name and "ecsv" not in name:
        data.to_csv(path, index=False)
    elif name.endswith("parquet"):
        data.to_parquet(path)
    else:
        kind = {"t.vot": "votable", "t.ecsv": "ascii.ecsv"}.get(name, "fits")
        Table.from_pandas(data).write(path, format=kind)
    tiles = run(read_any_table(path))
    assert tiles[HERE].photometry["id"].tolist() == [13, 2**53 + 1]
    assert tiles[THERE].photometry["detected_z"].tolist() == [False]


def test_truncated_file(tmp_path: Path) -> None:
    whole = gzip.compress(table().to_csv(index=False).encode() * 50)
    (tmp_path / "t.csv.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"t\.csv\.gz"):
        read_any_table(tmp_path / "t.csv.gz")
    with pytest.raises(InputError, match="does not exist"):
        read_any_table(tmp_path / "absent.csv")


def test_published_catalogue(shared_data: Path) -> None:
    path = shared_data / "des_vhs_allwise_half.csv.gz"
    names = ["g", "r", "i", "z", "Y", "J", "K", "W1", "W2"]
    depths = {
        band: {"sigma": 10, "mag_ab": mag}
        for band, mag in zip(
            names, [24.7, 24.4, 23.8, 23.1, 21.7, 21.55, 20.75, 20.32, 20.02], strict=True
        )
    }
    half = read_any_table(path)
    tiles = [Tile(1, pixel).name for pixel in range(48)]
    results = []
    for value, error, system in (("flux", "fluxerr", "flux_ujy"), ("mag", "magerr", "mag_ab")):
        found = run(
            half,
            columns={"id": "COADD_OBJECT_ID", "ra_deg": "ra_des", "dec_deg": "dec_des"},
            bands={
                band: {"value": f"{band}_{value}", "error": f"{band}_{error}", "system": system}
                for band in names
            },
            depths=depths,
            tiles=tiles,
            tile_order=1,
        )
        results.append(pd.concat([one.photometry for one in found.values()]).set_index("id"))
    fluxes, mags = results
    assert len(fluxes) == 3717
    pd.testing.assert_frame_equal(fluxes, mags, rtol=1e-7)
    half = half.set_index("COADD_OBJECT_ID").loc[fluxes.index]
    for band in names:
        np.testing.assert_allclose(fluxes[f"flux_ujy_{band}"], half[f"{band}_flux"], rtol=1e-9)
        np.testing.assert_allclose(
            fluxes[f"flux_err_ujy_{band}"], half[f"{band}_fluxerr"], rtol=1e-7
        )
        np.testing.assert_allclose(fluxes[f"mag_ab_{band}"], half[f"{band}_mag"], rtol=1e-9)


odd = st.sampled_from([np.nan, np.inf, 99.0, -99.0, 0.0, 360.0, 1e300])
rows = st.lists(
    st.tuples(
        st.one_of(st.integers(1, 6).map(float), st.just(np.nan)),
        st.one_of(odd, st.floats(-180, 360)),
        st.one_of(odd, st.floats(-90, 90)),
        st.one_of(odd, st.floats(12, 24)),
        st.one_of(odd, st.floats(0.001, 2)),
    ),
    max_size=8,
)


@settings(max_examples=15, deadline=None)
@given(rows)
def test_rows_are_conserved(content: list[tuple[float, ...]]) -> None:
    data = pd.DataFrame(content, columns=["ID", "RA", "DEC", "z_mag", "z_err"], dtype=float)
    names = [Tile(0, pixel).name for pixel in range(11)]  # of 12
    tiles = run(data, tiles=names, tile_order=0)
    catalogue, flow, losses = gather_catalogue(
        {name: one.photometry for name, one in tiles.items()},
        [one.cutflow for one in tiles.values()],
        [one.losses for one in tiles.values()],
    )
    assert flow["rows_in"].iloc[0] == len(data) == len(catalogue) + len(losses)
    assert not catalogue["id"].duplicated().any()
    assert np.isfinite(catalogue.select_dtypes("number").to_numpy()).all()
