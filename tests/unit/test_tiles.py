"""Tiles: every position in one, every footprint covered, the table's index in ranges."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import astropy.units as u
import numpy as np
import pandas as pd
import pytest
from astropy.coordinates import Latitude, Longitude
from astropy_healpix import HEALPix
from hypothesis import given
from hypothesis import strategies as st
from mocpy import MOC

from archipelago.base.errors import InputError
from archipelago.tiles import FINEST_TILES, Tile, footprint_tiles, tile_of

REPOSITORY = Path(__file__).resolve().parents[2]
DES = REPOSITORY / "data" / "footprints" / "des_dr2.json"

positions = st.tuples(st.floats(0, 360), st.floats(-90, 90))
orders = st.integers(0, FINEST_TILES)
index_orders = st.sampled_from([5, 8, 12])


# The borders of tiles of some order: corners at the poles, at RA 0, between the polar caps and
# the equator; and everything between.
corners = st.tuples(
    st.sampled_from([0.0, 45.0, 90.0, 180.0, 270.0, 315.0, 359.9999999, 360.0]),
    st.sampled_from([-90.0, -89.9999999, -41.8103149, 0.0, 41.8103149, 89.9999999, 90.0]),
)
anywhere = st.one_of(positions, corners)


@given(positions, orders, index_orders)
def test_a_position_lies_in_the_range_of_its_own_tile(
    position: tuple[float, float], order: int, index_order: int
) -> None:
    ra, dec = position
    (name,) = tile_of(ra, dec, order)
    index = HEALPix(nside=2**index_order, order="nested").lonlat_to_healpix(
        (ra % 360) * u.deg, dec * u.deg
    )
    first, last = Tile.from_name(name).index_range(index_order)
    # On a border rounding may put it into the neighbour.
    near = {
        n for d in (-1e-9, 1e-9) for n in tile_of([ra + d, ra], [dec, dec * (1 - 1e-11)], order)
    }
    assert first <= index <= last or len(near) > 1


@given(orders, index_orders)
def test_the_ranges_of_an_order_cover_the_table_once(order: int, index_order: int) -> None:
    ranges = [Tile(order, pixel).index_range(index_order) for pixel in range(12 * 4**order)]
    assert ranges[0][0] == 0
    assert ranges[-1][1] == 12 * 4**index_order - 1
    assert all(after[0] == before[1] + 1 for before, after in zip(ranges, ranges[1:], strict=False))


def test_an_index_coarser_than_the_tile_has_no_range() -> None:
    with pytest.raises(ValueError, match="order 2 is coarser than the tile o3-00007"):
        Tile(3, 7).index_range(2)


@given(anywhere, orders)
def test_each_position_lies_in_one_tile_and_in_one_of_its_children(
    position: tuple[float, float], order: int
) -> None:
    ra, dec = position
    (name,) = tile_of(ra, dec, order)
    tile = Tile.from_name(name)
    assert tile.contains(ra, dec).all()
    assert sum(child.contains(ra, dec)[0] for child in tile.children) == 1
    if order <= 1:
        tiles = [Tile(order, pixel) for pixel in range(12 * 4**order)]
        assert [one for one in tiles if one.contains(ra, dec)[0]] == [tile]


@given(anywhere, st.integers(0, 12))
def test_the_boxes_of_a_tile_hold_all_of_it_once(position: tuple[float, float], order: int) -> None:
    ra, dec = position
    # The tile of any order, by its children.
    tile = Tile.from_name(tile_of(ra, dec, 0)[0])
    while tile.order < order:
        (tile,) = (child for child in tile.children if child.contains(ra, dec)[0])
    boxes = tile.boxes
    inside = [box.ra_min <= ra <= box.ra_max and box.dec_min <= dec <= box.dec_max for box in boxes]
    # RA 0 and 360 are the same; a table has one of the two.
    assert sum(inside) == 1 or (ra in (0.0, 360.0) and sum(inside) <= 1 and len(boxes) <= 2)
    for box in boxes:
        assert 0 <= box.ra_min < box.ra_max <= 360
        assert -90 <= box.dec_min < box.dec_max <= 90
    assert sum(box.ra_max - box.ra_min for box in boxes) < 91


def test_a_tile_on_both_sides_of_ra_0_has_two_boxes() -> None:
    first, second = Tile(0, 4).boxes
    assert (first.ra_min, first.ra_max) == (pytest.approx(315, abs=1e-4), 360.0)
    assert (second.ra_min, second.ra_max) == (0.0, pytest.approx(45, abs=1e-4))


@given(st.integers(0, 3599), st.integers(-899, 899), orders)
def test_right_ascension_wraps(ra_tenths: int, dec_tenths: int, order: int) -> None:
    # Off the pixels' edges, where 360 degrees more may round to the other side.
    ra, dec = ra_tenths / 10 + 0.03, dec_tenths / 10 + 0.03
    assert tile_of(ra, dec, order) == tile_of(ra + 360, dec, order)


@pytest.mark.parametrize("dec", [-90.0, 90.0])
def test_the_poles_have_tiles(dec: float) -> None:
    assert len(set(tile_of([0.0, 90.0, 359.9], [dec] * 3, 3)) - {""}) >= 1


def test_positions_that_are_none_have_no_tile() -> None:
    assert list(tile_of([np.nan, 1.0, np.inf, 2.0], [0.0, np.nan, 0.0, 91.0], 3)) == [""] * 4


@given(orders, st.data())
def test_a_name_is_read_back(order: int, data: st.DataObject) -> None:
    tile = Tile(order, data.draw(st.integers(0, 12 * 4**order - 1)))
    assert Tile.from_name(tile.name) == tile


@pytest.mark.parametrize("name", ["", "o9-00001", "o0-00099", "../o3-00001", "o3-1"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"is not|not in"):
        Tile.from_name(name)


def test_des_is_covered(shared_data: Path) -> None:
    objects = pd.read_csv(shared_data / "des_vhs_allwise_half.csv.gz")
    tiles = {tile.name for tile in footprint_tiles(DES, 3)}
    assert set(tile_of(objects["ra_des"], objects["dec_des"], 3)) <= tiles


def test_des_has_a_sensible_number_of_tiles() -> None:
    assert 110 <= len(footprint_tiles(DES, 3)) <= 170  # 5,000 deg2, 54 deg2 a tile, and the rim


@given(positions)
def test_a_small_polygon_meets_the_tile_of_its_centre(position: tuple[float, float]) -> None:
    ra, dec = position[0], position[1] * 0.9
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "square.json"
        half = 0.5
        width = half / np.cos(np.radians(dec))
        corners = [
            [ra - width, dec - half],
            [ra + width, dec - half],
            [ra + width, dec + half],
            [ra - width, dec + half],
        ]
        path.write_text(json.dumps({"polygons_deg": [corners]}))
        assert tile_of(ra, dec, 3)[0] in {tile.name for tile in footprint_tiles(path, 3)}


def test_a_moc_gives_the_tiles_of_its_cells(tmp_path: Path) -> None:
    moc = MOC.from_cone(
        lon=Longitude(0, u.deg), lat=Latitude(-40, u.deg), radius=2 * u.deg, max_depth=8
    )
    path = tmp_path / "cone.fits"
    moc.save(path, format="fits")
    tiles = {tile.name for tile in footprint_tiles(path, 4)}
    around = tile_of([0, 1.5, 358.5, 0], [-40, -40, -40, -41.5], 4)
    assert set(around) <= tiles
    assert len(tiles) < 12


def test_a_coarse_moc_is_split(tmp_path: Path) -> None:
    path = tmp_path / "one.fits"
    MOC.from_string("1/3").save(path, format="fits")
    assert [tile.pixel for tile in footprint_tiles(path, 2)] == [12, 13, 14, 15]


def test_the_whole_sky() -> None:
    assert len(footprint_tiles(DES.with_name("all_sky.json"), 0)) == 12


@pytest.mark.parametrize(
    "text", ["{}", "[]", "no json", '{"polygons_deg": [[[1, 2]]]}', '{"polygons_deg": []}']
)
def test_a_wrong_footprint_is_explained(tmp_path: Path, text: str) -> None:
    path = tmp_path / "wrong.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"polygons_deg.*wrong\.json"):
        footprint_tiles(path, 3)


def test_a_footprint_that_is_no_moc_is_explained(tmp_path: Path) -> None:
    path = tmp_path / "wrong.fits"
    path.write_text("not FITS")
    with pytest.raises(InputError, match="cannot read the footprint as a MOC"):
        footprint_tiles(path, 3)


def test_an_absent_footprint_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"does not exist.*none\.json"):
        footprint_tiles(tmp_path / "none.json", 3)
