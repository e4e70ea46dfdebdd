"""The query of a tile: by an index or by boxes, in pieces where there are too many rows."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from astropy import units as u
from astropy_healpix import HEALPix
from hypothesis import given, settings
from hypothesis import strategies as st

from archipelago.base.errors import InputError
from archipelago.demosky.sky import build_sky
from archipelago.measure import skies
from archipelago.survey.adql import FINEST_BOX_ORDER, TileQuery
from archipelago.survey.select import query_tile, select_sources
from archipelago.survey.tap import TooManyRowsError
from archipelago.tiles import Tile, footprint_tiles

REPOSITORY = Path(__file__).resolve().parents[2]
INDEX_ORDER = 6
BY_INDEX = TileQuery("SELECT index BETWEEN {hpix_min} AND {hpix_max}", INDEX_ORDER)
BY_BOX = TileQuery("SELECT box {ra_min} {ra_max} {dec_min} {dec_max}", None)
COLUMNS = {"id": "id", "ra_deg": "ra", "dec_deg": "dec"}


class SkyTap:
    """Answers both kinds of query on a small sky, with at most ``max_rows`` rows."""

    def __init__(self, sky: pd.DataFrame) -> None:
        self.sky = sky
        self.asked: list[str] = []
        grid = HEALPix(nside=2**INDEX_ORDER, order="nested")
        self.index = grid.lonlat_to_healpix(
            np.mod(sky["ra"].to_numpy(), 360) * u.deg, sky["dec"].to_numpy() * u.deg
        )

    def query(self, adql: str, *, max_rows: int) -> pd.DataFrame:
        self.asked.append(adql)
        numbers = [float(text) for text in re.findall(r"-?\d+(?:\.\d+)?(?:e-?\d+)?", adql)]
        if adql.startswith("SELECT index"):
            rows = (self.index >= numbers[0]) & (self.index <= numbers[1])
        else:
            ra, dec = self.sky["ra"], self.sky["dec"]
            rows = ra.between(numbers[0], numbers[1]) & dec.between(numbers[2], numbers[3])
        if rows.sum() > max_rows:
            raise TooManyRowsError("too many", url="http://127.0.0.1/tap", status=200)
        return self.sky[rows].reset_index(drop=True)


def sky_of(positions: list[tuple[float, float]]) -> pd.DataFrame:
    ra, dec = np.array(positions, dtype=float).reshape(-1, 2).T
    return pd.DataFrame({"id": np.arange(len(ra)), "ra": ra, "dec": dec, "m": 20.0, "e": 0.1})


def selected(tap: SkyTap, query: TileQuery, tile: Tile, max_rows: int) -> pd.DataFrame:
    answers = query_tile(tap, query, tile, columns=COLUMNS, max_rows=max_rows)
    sources, losses = select_sources(
        answers,
        columns=COLUMNS,
        bands={"z": {"value": "m", "error": "e"}},
        tile=tile.name,
    )
    assert len(losses) == 0
    return sources


def neighbours(sky: pd.DataFrame) -> np.ndarray:
    """How many objects lie within 2 degrees of each, itself included."""
    ra, dec = np.radians(sky["ra"].to_numpy()), np.radians(sky["dec"].to_numpy())
    places = np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)])
    return (places.T @ places > np.cos(np.radians(2.0))).sum(axis=1)


# Of any density, and where borders of tiles meet: at RA 0, at the poles, on the equator.
positions = st.tuples(
    st.one_of(st.floats(0, 359.999), st.sampled_from([0.0, 1e-9, 90.0, 359.9999999])),
    st.one_of(st.floats(-90, 90), st.sampled_from([-90.0, 90.0, 0.0, 89.999999])),
)


@settings(max_examples=20, deadline=None)
@given(
    st.lists(positions, max_size=30, unique=True),
    st.sampled_from([BY_INDEX, BY_BOX]),
    st.integers(1, 6),
)
def test_each_object_comes_once_over_all_tiles_whatever_the_pieces(
    objects: list[tuple[float, float]], query: TileQuery, max_rows: int
) -> None:
    sky = sky_of(objects)
    tap = SkyTap(sky)
    # Objects side by side, which no piece tells apart, cannot come in fewer rows than they are.
    crowd = int(neighbours(sky).max()) if objects else 0
    max_rows = max(max_rows, crowd)
    seen = []
    for tile in (Tile(0, pixel) for pixel in range(12)):
        whole = query_tile(tap, query, tile, columns=COLUMNS, max_rows=10_000)
        pieces = query_tile(tap, query, tile, columns=COLUMNS, max_rows=max_rows)
        ids = sorted(pd.concat(whole)["id"])
        assert sorted(pd.concat(pieces)["id"]) == ids
        seen += ids
    assert sorted(seen) == list(range(len(sky)))


def crowded(n: int = 64) -> pd.DataFrame:
    """Objects on a grid within one tile."""
    return sky_of([(43.0 + i % 8 * 0.5, 40.0 + i // 8 * 0.5) for i in range(n)])


@pytest.mark.parametrize("query", [BY_INDEX, BY_BOX])
def test_a_tile_with_few_rows_is_one_query(query: TileQuery) -> None:
    tap = SkyTap(crowded())
    tile = Tile(0, 0)
    selected(tap, query, tile, 64)
    assert len(tap.asked) == len(query.of(tile))


@pytest.mark.parametrize("query", [BY_INDEX, BY_BOX])
def test_a_tile_with_many_rows_is_asked_for_in_pieces(query: TileQuery) -> None:
    tap = SkyTap(crowded())
    tile = Tile(0, 0)
    expected = selected(tap, query, tile, 64)
    tap.asked.clear()
    pd.testing.assert_frame_equal(selected(tap, query, tile, 20), expected)
    assert len(tap.asked) > 4
    assert len(set(tap.asked)) == len(tap.asked)


@pytest.mark.parametrize(("query", "finest"), [(BY_INDEX, INDEX_ORDER), (BY_BOX, FINEST_BOX_ORDER)])
def test_what_cannot_be_split_is_an_error(query: TileQuery, finest: int) -> None:
    tap = SkyTap(sky_of([(44.0, 40.5)] * 3))
    tile = Tile(0, 0)
    with pytest.raises(TooManyRowsError, match="too many"):
        query_tile(tap, query, tile, columns=COLUMNS, max_rows=2)
    # One way down to the smallest piece, at most four pieces of up to two boxes on each step.
    assert finest < len(tap.asked) <= 8 * finest + 2


def test_a_query_says_in_one_way_where_the_tile_is(tmp_path: Path) -> None:
    path = tmp_path / "a.adql"
    path.write_text("-- {dec_max} of old\nSELECT {hpix_min} {hpix_max}")
    assert TileQuery.read(path, 12).of(Tile(11, 1)) == ["SELECT 4 7"]
    path.write_text("SELECT {ra_min} {ra_max} {dec_min} {dec_max}")
    query = TileQuery.read(path, 12)
    assert not query.by_index
    assert len(query.of(Tile(0, 4))) == 2
    for text, match in (
        ("SELECT 1", "lacks the placeholders hpix_max, hpix_min.*or {ra_min} and {ra_max}"),
        ("SELECT {ra_min} {ra_max} {dec_min}", "lacks the placeholders dec_max"),
        ("SELECT {hpix_min} {hpix_max} {ra_min}", "in two ways where the tile is"),
        ("SELECT {hpix_min} {hpix_max} {x}", "unknown placeholders x"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=match):
            TileQuery.read(path, 5)


def test_pieces_of_different_kinds_of_columns_join() -> None:
    one = pd.DataFrame({"id": [2], "ra": [1.0], "dec": [0.0], "m": [20], "e": [0.1]})
    none = pd.DataFrame({"id": ["7"], "ra": ["3.5"], "dec": [0.0], "m": [None], "e": [0.1]})
    sources, losses = select_sources(
        [one, none.astype({"id": "str", "ra": "str"}), one.iloc[:0]],
        columns=COLUMNS,
        bands={"z": {"value": "m", "error": "e"}},
        tile="o0-00004",
    )
    assert sources["id"].to_list() == [2, 7]
    assert sources["ra_deg"].to_list() == [1.0, 3.5]
    assert np.isnan(sources["mag_ab_z"].iloc[1])
    assert len(losses) == 0


class ServedTap:
    """The demo's sky, which lies on both sides of RA 0, as its service answers."""

    def __init__(self) -> None:
        self._tap = skies.SkyTap(build_sky(3, n_selected=1000))

    def query(self, adql: str, *, max_rows: int) -> pd.DataFrame:
        table = self._tap.query(adql, max_rows=max_rows + 1)
        if len(table) > max_rows:
            raise TooManyRowsError("too many", url="http://127.0.0.1/tap", status=200)
        return table


def test_the_query_of_a_survey_by_boxes_gives_what_it_gives_by_its_index(tmp_path: Path) -> None:
    by_index = REPOSITORY / "data" / "queries" / "des_dr2.adql"
    by_box = tmp_path / "box.adql"
    text = by_index.read_text()
    by_box.write_text(
        text.replace(
            "hpix_32 BETWEEN {hpix_min} AND {hpix_max}",
            "ra BETWEEN {ra_min} AND {ra_max} AND dec BETWEEN {dec_min} AND {dec_max}",
        ).replace("-- {hpix_min} and {hpix_max}", "--")
    )
    tap, total = ServedTap(), 0
    names = {"id": "coadd_object_id", "ra_deg": "ra", "dec_deg": "dec"}
    bands = {"z": {"value": "mag_aper_4_z", "error": "magerr_aper_4_z"}}
    for tile in footprint_tiles(REPOSITORY / "data" / "footprints" / "demo.json", 3):
        found = []
        for path, max_rows in ((by_index, 100_000), (by_box, 100_000), (by_box, 300)):
            query = TileQuery.read(path, 5)
            answers = query_tile(tap, query, tile, columns=names, max_rows=max_rows)
            found.append(select_sources(answers, columns=names, bands=bands, tile=tile.name)[0])
        pd.testing.assert_frame_equal(found[0], found[1])
        pd.testing.assert_frame_equal(found[0], found[2])
        total += len(found[0])
    assert total > 900
