"""Lists of known objects: read from any format, matched by position, marked and never removed."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import MaskedColumn, Table
from helpers.configuration import shipped_config
from hypothesis import given, settings
from hypothesis import strategies as st

from archipelago.base.errors import ConfigError, DataError, InputError
from archipelago.candidates.listed import (
    ABOUT,
    mark_listed,
    parse_sexagesimal,
    read_listed,
    read_lists,
)


def objects(*positions: tuple[float, float]) -> pd.DataFrame:
    ra, dec = np.array(positions, dtype=float).reshape(-1, 2).T
    return pd.DataFrame(
        {"id": range(len(ra)), "ra_deg": ra, "dec_deg": dec, "known_name": "", "reason": "Why."}
    )


def listed(*rows: tuple[str, str, float, float]) -> pd.DataFrame:
    return pd.DataFrame(list(rows), columns=["name", "type", "ra_deg", "dec_deg"])


# ------------------------------------------------------------------------------- reading


def test_simbad_as_csv(tmp_path: Path) -> None:
    path = tmp_path / "simbad.csv"
    path.write_text(
        'MAIN_ID,RA,DEC,OTYPE\n"V* a, ""b""",01 00 00.0,-00 30 00,BD*\n'
        "Q  2,12:30:00,+10:00:36,QSO\n"
    )
    found = read_listed(path)
    assert found["name"].tolist() == ['V* a, "b"', "Q 2"]
    assert found["type"].tolist() == ["BD*", "QSO"]
    assert found["ra_deg"].to_numpy() == pytest.approx([15.0, 187.5])
    assert found["dec_deg"].to_numpy() == pytest.approx([-0.5, 10.01])


@pytest.mark.parametrize("kind", ["fits", "vot", "ecsv", "csv", "parquet"])
@pytest.mark.parametrize("unit", [u.deg, u.rad, u.hourangle])
def test_numbers_in_the_unit_that_the_file_gives(tmp_path: Path, kind: str, unit: Any) -> None:
    if kind in ("csv", "parquet") and unit is not u.deg:
        pytest.skip("these have no units")
    if kind in ("vot", "fits") and unit is u.hourangle:
        pytest.skip("these have no such unit")
    path = tmp_path / f"list.{kind}"
    table = Table(
        {
            "name": ["a", "b"],
            "RAJ2000": ([10.0, 350.0] * u.deg).to(unit),
            "DEJ2000": [-45.0, 89.0] * u.deg,
        }
    )
    if kind == "parquet":
        table.to_pandas().to_parquet(path)
    else:
        names = {"vot": "votable", "ecsv": "ascii.ecsv", "csv": "ascii.csv", "fits": "fits"}
        table.write(path, format=names[kind])
    found = read_listed(path)
    assert found["ra_deg"].to_numpy() == pytest.approx([10.0, 350.0])
    assert found["dec_deg"].to_numpy() == pytest.approx([-45.0, 89.0])
    assert found["name"].tolist() == ["a", "b"] and found["type"].tolist() == ["", ""]


def test_a_unit_of_no_angle_is_refused(tmp_path: Path) -> None:
    Table({"name": ["a"], "ra": [1.0] * u.s, "dec": [1.0] * u.deg}).write(tmp_path / "l.fits")
    with pytest.raises(InputError, match="column ra holds numbers in 's', which is no unit"):
        read_listed(tmp_path / "l.fits")


def test_rows_without_a_position_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ra = MaskedColumn([10.0, 11.0, np.nan], mask=[False, True, False], unit="deg")
    table = Table({"main_id": ["a", "b", "c"], "ra": ra, "dec": [0.0, 0.0, 0.0] * u.deg})
    table.write(tmp_path / "l.vot", format="votable")
    with caplog.at_level(logging.WARNING):
        assert read_listed(tmp_path / "l.vot")["name"].tolist() == ["a"]
    assert "2 of 3 objects have no position" in caplog.text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("main_id,ra\na,1\n", "no column for the dec.*it has main_id, ra"),
        ("what,ra,dec\na,1,1\n", "no column for the name"),
        ("name,ra,dec\na,10,1\nb,north,1\n", r"ra holds what is no angle \(row 2: 'north'\)"),
        ("name,ra,dec\na,10 61 00,1\n", "row 1: '10 61 00'"),
        ("name,ra,dec\na,400,1\n", r"goes beyond 0 and 360 deg \(row 1: 400\)"),
        ("name,ra,dec\na,25 00 00,1\n", "goes beyond 0 and 360"),
        ("name,ra,dec\na,1,-91\n", "goes beyond -90 and 90"),
        ("name,ra,dec\n" + "a,x,1\n" * 5, "row 3: 'x' and 2 more"),
        ("", "cannot read the table"),
    ],
)
def test_bad_lists_say_what_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "list.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        read_listed(path)
    assert caught.value.where == str(path) and caught.value.next_step


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "list.fits"
    path.write_text("no FITS file")
    with pytest.raises(InputError, match="cannot read the table") as caught:
        read_listed(path)
    assert caught.value.where == str(path)


def test_an_empty_list_marks_nothing(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text("name,ra,dec,otype\n")
    marked = mark_listed(objects((1, 1)), read_lists([tmp_path / "l.csv"]), 2.0)
    assert marked["listed_name"].tolist() == [""]


def test_lists_of_one_name_are_told_apart(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "l.csv").write_text("name,ra,dec\nx,1,1\n")
    (tmp_path / "m.csv").write_text("name,ra,dec\nx,1,1\n")
    paths = [tmp_path / name for name in ("a/l.csv", "b/l.csv", "m.csv")]
    assert list(read_lists(paths)) == ["a/l.csv", "b/l.csv", "m.csv"]


def test_sexagesimal_angles() -> None:
    assert parse_sexagesimal("-00 00 36") == pytest.approx(-0.01)
    assert parse_sexagesimal("\u221201:30") == -1.5
    assert parse_sexagesimal(" +12h30m36.0s ") == pytest.approx(12.51)
    assert parse_sexagesimal("10d30'00\"") == 10.5
    for wrong in ("", "12", "a b c", "1 2 3 4", "1 60 0", "1 0 60"):
        with pytest.raises(ValueError, match="sexagesimal|60 or more"):
            parse_sexagesimal(wrong)


@settings(deadline=None)
@given(st.floats(min_value=-90, max_value=90))
def test_what_astropy_writes_is_read(dec_deg: float) -> None:
    text = SkyCoord(0 * u.deg, dec_deg * u.deg).dec.to_string(sep=" ", precision=6)
    assert parse_sexagesimal(text) == pytest.approx(dec_deg, abs=1e-9)


# ------------------------------------------------------------------------------- matching


def test_the_nearest_of_all_lists_marks_an_object() -> None:
    table = objects((10.0, 0.0), (20.0, 0.0), (359.9999, -30.0))
    lists = {
        "one.csv": listed(("far", "Star", 10.0, 1.5 / 3600), ("other", "G", 20.0, 2.9 / 3600)),
        "two.csv": listed(("near", "QSO", 10.0, -0.5 / 3600), ("edge", "X", 0.0, -30.0)),
    }
    marked = mark_listed(table, lists, 2.0)
    assert marked["listed_name"].tolist() == ["near", "", "edge"]
    assert marked["listed_in"].tolist() == ["two.csv; one.csv", "", "two.csv"]
    assert marked["listed_type"].tolist() == ["QSO", "", "X"]
    assert marked["listed_distance_arcsec"].tolist()[0] == pytest.approx(0.5, abs=1e-4)
    assert np.isnan(marked["listed_distance_arcsec"]).tolist() == [False, True, False]
    wide = mark_listed(table, lists, 3.0)
    assert wide["listed_name"].tolist() == ["near", "other", "edge"]
    assert mark_listed(table, lists, 0.4)["listed_in"].tolist() == ["", "", "two.csv"]


def test_rows_order_and_columns_stay() -> None:
    table = objects((10.0, 0.0), (20.0, 0.0)).iloc[::-1]
    marked = mark_listed(table, {"l": listed(("a", "", 10.0, 0.0))}, 2.0)
    pd.testing.assert_frame_equal(marked[table.columns], table)
    assert list(marked.columns) == [*list(table.columns)[:4], *ABOUT, "reason"]
    assert marked["listed_name"].tolist() == ["", "a"]


def test_nothing_to_mark_or_to_mark_with() -> None:
    none = objects()
    table = {"l": listed(("a", "", 10.0, 0.0))}
    assert list(mark_listed(none, table, 2.0)[list(ABOUT)].columns) == list(ABOUT)
    lost = objects((np.nan, 0.0), (10.0, np.nan))
    for lists in (table, {}, {"l": listed()}):
        marked = mark_listed(lost, lists, 2.0)
        assert (marked["listed_name"] == "").all()
        assert marked["listed_distance_arcsec"].isna().all()
        assert marked.dtypes.astype(str).tolist()[4:8] == ["str", "str", "str", "float64"]


def test_wrong_calls() -> None:
    with pytest.raises(ValueError, match="radius_arcsec is -1"):
        mark_listed(objects((1, 1)), {}, -1)
    with pytest.raises(DataError, match="columns listed_name, .* already"):
        mark_listed(mark_listed(objects((1, 1)), {}, 1), {}, 1)


@settings(max_examples=40, deadline=None)
@given(
    st.floats(min_value=0, max_value=359.999),
    st.floats(min_value=-90, max_value=90),
    st.floats(min_value=0, max_value=360),
    st.floats(min_value=0, max_value=4),
)
def test_distances_are_those_on_the_sphere(
    ra: float, dec: float, position_angle: float, distance: float
) -> None:
    centre = SkyCoord(ra * u.deg, dec * u.deg)
    other = centre.directional_offset_by(position_angle * u.deg, distance * u.arcsec)
    true = centre.separation(other).arcsec
    lists = {"l": listed(("a", "", float(other.ra.deg), float(other.dec.deg)))}
    found = mark_listed(objects((ra, dec)), lists, 2.0)["listed_distance_arcsec"].iloc[0]
    if true < 1.999:
        assert found == pytest.approx(true, abs=1e-4)
    elif true > 2.001:
        assert np.isnan(found)


# ---------------------------------------------------------------------------- configuration


def test_the_configuration_of_lists_and_exports(tmp_path: Path) -> None:
    path = tmp_path / "l.csv"
    path.write_text("name,ra,dec\n")
    config = shipped_config(known_objects={"files": [str(path)], "match_radius_arcsec": 1.0})
    assert config.known_objects.files == [str(path)]
    for changes, message in (
        ({"known_objects": {"files": ["absent.csv"]}}, "known_objects.files.*no such file"),
        ({"known_objects": {"files": [str(path), str(path)]}}, "listed once"),
        ({"known_objects": {"match_radius_arcsec": 0}}, "greater than 0"),
        ({"exports": {"bands": ["q"]}}, r"exports.bands = 'q': not in photometry.bands"),
        ({"exports": {"bands": []}}, "at least 1 item"),
        ({"exports": {"chart_band": "W1"}}, "exports.chart_band = 'W1': not in images.bands"),
        ({"exports": {"candidates": -1}}, "greater than or equal to 0"),
    ):
        with pytest.raises(ConfigError, match=message):
            shipped_config(**changes)
