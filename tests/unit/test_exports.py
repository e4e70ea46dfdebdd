"""Exports: VOTable with units and UCDs, DS9 regions, observing list, finding charts."""

from __future__ import annotations

import calendar
import io
import math
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from astropy import units as u
from astropy.coordinates import Angle, SkyCoord
from astropy.io.votable.ucd import check_ucd
from astropy.table import Table
from astropy.time import Time
from helpers.scripts import run_script
from hypothesis import given, settings
from hypothesis import strategies as st

from archipelago.base.errors import InputError
from archipelago.base.images import ImageSet, save_images
from archipelago.base.tables import read_mark, write_table
from archipelago.base.ucds import _UCDS, ucd_of
from archipelago.base.votable import votable_marks, write_votable
from archipelago.exports.charts import (
    ChartOptions,
    angle,
    bar_length_arcsec,
    grey,
    sky,
    write_finding_charts,
)
from archipelago.exports.choose import (
    ascii_text,
    chosen,
    magnitudes,
    names,
    one_line,
    priorities,
    quasar_probability,
    remarks,
)
from archipelago.exports.neighbours import Surroundings
from archipelago.exports.observing import ABOUT, observing_table, observing_text
from archipelago.exports.positions import best_month, iau_name, sexagesimal_dec, sexagesimal_ra
from archipelago.exports.read import read_candidates, table_parts
from archipelago.exports.regions import region_label, regions_text

BANDS = ["g", "z", "W1"]
#: What no file may take for anything but a name.
HOSTILE = 'a,b "c" {d} <script>alert(1)</script>\n\u0416\u00e9 ; # $\\alpha$ =1+1 \x0b \u202e'


def candidates(n: int = 6, **columns: Any) -> pd.DataFrame:
    """A ranked list of ``n`` objects; the second is a known quasar with a hostile name."""
    rank = np.arange(1, n + 1)
    known = rank == 2
    table = pd.DataFrame(
        {
            "rank": rank,
            "rank_unknown": pd.Series(np.where(known, 0, rank), dtype="Int64").mask(known),
            "id": 2**53 + rank.astype(np.int64),
            "ra_deg": (359.9999999 + 0.01 * rank) % 360,
            "dec_deg": -0.5 + 0.1 * rank,
            "score": -1.0 * rank,
            "is_known": known,
            "known_name": pd.Series(np.where(known, HOSTILE, ""), dtype="str"),
            "known_redshift": np.where(known, 6.0, np.nan),
            "best_class": pd.Series(["quasar"] * n, dtype="str"),
            "p_quasar": np.linspace(0.9, 0.0, n),
            "p_lensed": np.zeros(n),
            "z_quasar": np.full(n, 6.1),
        }
    )
    for place, band in enumerate(BANDS):
        seen = rank % 3 != place
        table[f"mag_ab_{band}"] = np.where(seen, 20.0 + place, 99.0)
        table[f"mag_err_{band}"] = np.where(seen, 0.05, 99.0)
        table[f"flux_err_ujy_{band}"] = 0.1
    return table.assign(**columns)


def nothing_known(n: int = 3) -> pd.DataFrame:
    """NaN in all that can be NaN."""
    table = candidates(n)
    kept = {"rank", "id", "is_known"}
    for name in table.columns:
        if pd.api.types.is_float_dtype(table[name]) and name not in kept:
            table[name] = np.nan
    return table


# ------------------------------------------------------------------------------ positions


@settings(deadline=None)
@given(st.floats(min_value=0, max_value=360), st.integers(min_value=0, max_value=4))
def test_right_ascensions_come_back_and_never_say_60(ra_deg: float, places: int) -> None:
    text = sexagesimal_ra(ra_deg, places)
    hours, minutes, seconds = text.split(":")
    assert int(hours) < 24 and int(minutes) < 60 and float(seconds) < 60
    assert len(seconds.partition(".")[2]) == places
    off_s = (Angle(text, "hourangle").deg - ra_deg) % 360 * 240
    assert min(off_s, 86400 - off_s) <= 0.5001 * 10**-places + 1e-9


@settings(deadline=None)
@given(st.floats(min_value=-90, max_value=90), st.integers(min_value=0, max_value=3))
def test_declinations_come_back_and_never_say_60(dec_deg: float, places: int) -> None:
    text = sexagesimal_dec(dec_deg, places)
    degrees, minutes, seconds = text[1:].split(":")
    assert int(degrees) <= 90 and int(minutes) < 60 and float(seconds) < 60
    assert abs(Angle(text, "deg").deg - dec_deg) * 3600 <= 0.5001 * 10**-places + 1e-9


def test_what_rounds_up_is_carried() -> None:
    assert sexagesimal_ra(359.99999999) == "00:00:00.00"
    assert sexagesimal_ra(15.0 - 1e-9) == "01:00:00.00"
    assert sexagesimal_ra(-0.25) == "23:59:00.00"
    assert sexagesimal_dec(-0.99999999) == "-01:00:00.0"
    assert sexagesimal_dec(-0.001) == "-00:00:03.6"
    assert sexagesimal_dec(-1e-9) == "+00:00:00.0"
    assert sexagesimal_dec(89.99999999, separator=" ") == "+90 00 00.0"
    assert sexagesimal_ra(1.0, places=0) == "00:04:00"


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_no_position_has_no_text(wrong: float) -> None:
    assert sexagesimal_ra(wrong) == sexagesimal_dec(wrong) == best_month(wrong) == ""
    assert iau_name(wrong, 0.0) == iau_name(0.0, wrong) == iau_name(0.0, 91.0) == ""
    assert sexagesimal_dec(90.1) == ""


def test_names_are_cut_off_not_rounded() -> None:
    assert iau_name(17.3079, -54.4014) == "J010913.89-542405.0"
    assert iau_name(359.9999999, -0.9999999) == "J235959.99-005959.9"
    assert iau_name(15.0, 10.0) == "J010000.00+100000.0"


@pytest.mark.parametrize("month", range(12))
def test_the_best_month_is_that_of_midnight(month: int) -> None:
    """Against astropy's sidereal time, in the middle of each month of another year."""
    midnight = Time(f"2031-{month + 1:02d}-15T00:00:00", scale="ut1")
    sidereal = midnight.sidereal_time("mean", 0 * u.deg, model="IAU1982")
    assert best_month(float(sidereal.deg)) == calendar.month_abbr[month + 1]


# ------------------------------------------------------------------------------- choosing


def test_the_first_are_chosen_without_the_known() -> None:
    table = candidates(6).sample(frac=1, random_state=1)
    assert chosen(table, 3, known=False)["rank"].tolist() == [1, 3, 4]
    assert chosen(table, 3, known=True)["rank"].tolist() == [1, 2, 3]
    assert chosen(table, 99, known=True)["rank"].tolist() == [1, 2, 3, 4, 5, 6]
    assert len(chosen(table, 0, known=True)) == len(chosen(table.iloc[:0], 5, known=True)) == 0
    table.loc[table["rank"] == 1, "ra_deg"] = np.nan
    assert chosen(table, 2, known=False)["rank"].tolist() == [3, 4]


def test_magnitudes_and_limits() -> None:
    table = pd.DataFrame(
        {
            "mag_ab_z": [20.0, 99.0, np.nan, 99.0, 21.0],
            "mag_err_z": [0.1, 99.0, np.nan, 99.0, np.nan],
            "flux_err_ujy_z": [1.0, 1.0, np.nan, 0.0, 1.0],
        }
    )
    found = magnitudes(table, "z")
    limit = 23.9 - 2.5 * math.log10(3.0)
    np.testing.assert_allclose(found.limit_ab, [np.nan, limit, np.nan, np.nan, np.nan])
    texts = [found.text(row) for row in range(5)]
    assert texts == ["20.00(0.10)", f">{limit:.2f}", "-", "-", "21.00"]
    none = magnitudes(table, "Q")
    assert [none.text(row) for row in range(5)] == ["-"] * 5


def test_priorities_go_by_the_combined_probability() -> None:
    table = candidates(4)
    assert priorities(table) == [1, 1, 2, 3]
    combined = table.assign(
        combined_p_quasar=[0.2, 0.05, np.nan, 0.4], combined_p_lensed=[0.2, 0.0, np.nan, 0.1]
    )
    assert priorities(combined) == [2, 3, 3, 1]
    assert np.isnan(quasar_probability(combined)[2])


def test_names_differ_even_where_positions_do_not() -> None:
    table = candidates(3, ra_deg=10.0, dec_deg=[1.0, 1.0, np.nan])
    assert len(set(names(table))) == 3 and names(table)[2] == f"id_{2**53 + 3}"


def test_remarks_are_one_line() -> None:
    table = candidates(3, listed_name=["", "x", "HD\n1"], listed_type=["", "", "Star"])
    table["listed_in"] = ["", "a.csv", "b.csv"]
    first, second, third = remarks(table)
    assert first == "" and third == "listed: HD 1 (Star)"
    assert second.startswith("known quasar a,b") and second.endswith("z = 6.000; listed: x")
    assert "\n" not in second
    table["listed_name"] = table["known_name"]
    assert remarks(table)[1].endswith("z = 6.000")


@settings(deadline=None)
@given(st.text())
def test_text_is_one_line_and_ascii(text: str) -> None:
    assert len(one_line(text).splitlines()) <= 1
    assert re.fullmatch(r"[ -~]*", ascii_text(text))


# ------------------------------------------------------------------------ units and UCDs


def columns_of_a_search() -> list[str]:
    """Every column that docs/outputs.md has for the candidates."""
    page = (Path(__file__).resolve().parents[2] / "docs" / "outputs.md").read_text()
    found: set[str] = set()
    for section in re.split(r"(?m)^## ", page):
        title = section.partition("\n")[0]
        if re.match(r"(candidates|catalogue|verdicts|islands|simulated|lephare)", title):
            for line in section.splitlines():
                if line.startswith("| `"):
                    found |= set(re.findall(r"`(\w+)`", line.split("|")[1]))
    return sorted(
        re.sub(r"_B$", "_z", name).replace("NAME", "vhs").replace("seed_N", "seed_1")
        for name in found
    )


def test_every_ucd_is_one() -> None:
    for _, ucd in _UCDS:
        for em in ("", ";em.opt.I"):
            for end in ("", ";stat.min", ";stat.max"):
                word = ucd.replace("{em}", em)
                if end and not word.startswith(("src.redshift", "phys.", "stat.rank")):
                    continue
                assert check_ucd(word + end, check_controlled_vocabulary=True), word + end


@pytest.mark.parametrize("name", columns_of_a_search())
def test_every_column_of_the_candidates_has_a_ucd(name: str) -> None:
    ucd = ucd_of(name)
    # Of simulated objects, which are not in the list.
    if name not in ("kind", "from_known", "redshift"):
        assert ucd, "add it to archipelago/base/ucds.py"
    assert not ucd or check_ucd(ucd, check_controlled_vocabulary=True), ucd


def test_ucds_by_name() -> None:
    assert ucd_of("ra_deg") == "pos.eq.ra;meta.main"
    assert ucd_of("mag_ab_W1") == "phot.mag;em.IR.3-4um"
    assert ucd_of("mag_err_i") == "stat.error;phot.mag;em.opt.I"
    assert ucd_of("flux_ujy_myband") == "phot.flux.density"
    assert ucd_of("z_quasar_lo") == "src.redshift.phot;stat.min"
    assert ucd_of("lephare_z_gal") == "src.redshift.phot"
    assert ucd_of("no_such_thing") == ""


# -------------------------------------------------------------------------------- VOTable


def rich() -> pd.DataFrame:
    """All kinds of columns, with all that is awkward."""
    table = candidates(4)
    table["score"] = [1.5, np.nan, np.inf, -np.inf]
    table["known_name"] = pd.Series([HOSTILE, None, "]]>&amp;", "\U0001f52d"], dtype="str")
    return table


def test_a_votable_comes_back(tmp_path: Path) -> None:
    table, path = rich(), tmp_path / "c.vot"
    write_votable([table.iloc[:3], table.iloc[3:]], path, {"score": "a < b & c"}, "candidates")
    back = Table.read(path, format="votable")
    assert list(back.colnames) == list(table.columns)
    assert back["id"].tolist() == table["id"].tolist()
    assert back["is_known"].tolist() == table["is_known"].tolist()
    assert back["rank_unknown"].mask.tolist() == [False, True, False, False]
    np.testing.assert_array_equal(np.ma.filled(back["score"], np.nan), table["score"])
    np.testing.assert_array_equal(back["ra_deg"], table["ra_deg"])
    assert back["score"].description == "a < b & c"
    assert back["ra_deg"].unit == u.deg and back["mag_ab_z"].unit == u.mag
    assert back["ra_deg"].meta["ucd"] == "pos.eq.ra;meta.main"
    given_name = back["known_name"].tolist()
    assert given_name[0] == HOSTILE.replace("\x0b", "?")
    assert given_name[1] in ("", None) and given_name[2] == "]]>&amp;"


def test_equal_tables_give_equal_votables(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_votable([rich()], tmp_path / name, {}, "c")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.parametrize("make", [lambda: candidates(0), lambda: nothing_known(1)])
def test_votables_of_nothing(tmp_path: Path, make: Any) -> None:
    table = make()
    write_votable([table], tmp_path / "c.vot", {}, "c")
    assert len(Table.read(tmp_path / "c.vot", format="votable")) == len(table)


def test_no_part_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no part"):
        write_votable([], tmp_path / "c.vot", {}, "c")
    assert not list(tmp_path.iterdir())


def test_parquet_tells_units_and_ucds_as_a_votable_does(tmp_path: Path) -> None:
    table, path = rich(), tmp_path / "c.parquet"
    write_table(table, path, {}, votable_marks(table, {"rank": "place"}, "c"))
    assert read_mark(path, "IVOA.VOTable-Parquet.version") == "1.0"
    columns = read_mark(path, "IVOA.VOTable-Parquet.content")
    back = Table.read(io.BytesIO(columns.encode()), format="votable")
    assert back.colnames == list(table.columns) and len(back) == 0
    assert back["dec_deg"].unit == u.deg and back["rank"].description == "place"
    assert back["dec_deg"].meta["ucd"] == "pos.eq.dec;meta.main"


def test_parquet_is_read_in_parts_with_its_types(tmp_path: Path) -> None:
    table, path = rich(), tmp_path / "c.parquet"
    write_table(table, path)
    pd.testing.assert_frame_equal(pd.concat(table_parts(path), ignore_index=True), table)
    write_table(table.iloc[:0], path)
    (none,) = table_parts(path)
    assert len(none) == 0 and list(none.columns) == list(table.columns)
    assert str(none["rank_unknown"].dtype) == "Int64"


def test_what_is_no_table_of_candidates_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.parquet"
    path.write_bytes(b"PAR1 no")
    with pytest.raises(InputError, match="cannot read the candidates"):
        read_candidates(path, BANDS)
    write_table(candidates(2).drop(columns="rank"), path)
    with pytest.raises(InputError, match="lacks the columns rank"):
        read_candidates(path, BANDS)


def stilts(*arguments: str) -> str:
    """Run a task of STILTS and return what it prints."""
    program = shutil.which("stilts")
    if program is None:
        pytest.skip("STILTS is not here: install Debian's `stilts` and `starlink-ecsv-java`")
    done = subprocess.run(
        [program, *arguments], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
def test_stilts_finds_nothing_wrong_and_reads_units_and_ucds(tmp_path: Path) -> None:
    from archipelago.candidates.ranking import write_candidates

    table = rich()
    write_votable([table], tmp_path / "c.vot", {"rank": "place"}, "candidates")
    write_candidates(table, *(tmp_path / f"c.{kind}" for kind in ("parquet", "ecsv", "csv")))
    assert stilts("votlint", f"votable={tmp_path / 'c.vot'}") == ""
    for kind, form in (("vot", "votable"), ("ecsv", "ecsv")):
        given_file = f"in={tmp_path / f'c.{kind}'}", f"ifmt={form}"
        text = stilts("tpipe", *given_file, "cmd=meta name units ucd", "ofmt=csv")
        meta = {row.split(",")[0]: row.split(",")[1:] for row in text.splitlines()}
        assert meta["ra_deg"] == ["deg", "pos.eq.ra;meta.main"]
        assert meta["mag_ab_z"] == ["mag", "phot.mag;em.opt.I"]
        assert len(meta) == len(table.columns) + 1
        counted = stilts("tpipe", *given_file, "omode=count")
        assert re.search(rf"columns: {len(table.columns)} +rows: {len(table)}", counted), counted


# -------------------------------------------------------------------------------- regions

#: A circle of a DS9 file: position, radius, label, tag.
_CIRCLE = re.compile(
    r'circle\((\d+\.\d{6}),(-?\d+\.\d{6}),([\d.]+)"\) # color=(\w+) '
    r"text=\{([ -~]*)\} tag=\{([\w ]+)\}"
)


def test_regions_hold_the_first_and_the_known() -> None:
    table = candidates(6, listed_in=["", "", "x.csv", "", "", ""], listed_name="N")
    lines = regions_text(table, chosen(table, 2, known=False)).splitlines()
    assert lines[0] == "# Region file format: DS9 version 4.1"
    assert "icrs" in lines
    circles = [_CIRCLE.fullmatch(line) for line in lines[lines.index("icrs") + 1 :]]
    assert all(circles)
    found = [one.groups() for one in circles if one]
    assert [one[5] for one in found] == ["candidate", "listed", "known quasar"]
    assert [one[3] for one in found] == ["green", "yellow", "cyan"]
    assert float(found[1][0]) == pytest.approx(table["ra_deg"][2], abs=1e-6)
    assert found[2][4].startswith("2: a,b c (d)")


@settings(deadline=None)
@given(st.text())
def test_labels_end_nothing(text: str) -> None:
    label = region_label(text)
    assert re.fullmatch(r"[ -~]{0,80}", label)
    assert not set(label) & set("{}[]\"'`;#\\|")


@pytest.mark.parametrize("table", [candidates(0), nothing_known(), candidates(1)])
def test_regions_of_little(table: pd.DataFrame) -> None:
    text = regions_text(table, chosen(table, 5, known=False))
    places = np.isfinite(table["ra_deg"]).sum()
    assert text.count("circle(") == places


# ------------------------------------------------------------------------- observing list


def test_the_observing_list_points_at_the_candidates(tmp_path: Path) -> None:
    table = candidates(6)
    found = observing_table(chosen(table, 6, known=True), BANDS)
    documented = {name.replace("_B", f"_{band}") for name in ABOUT for band in BANDS}
    assert set(found.columns) == documented
    given_position = SkyCoord(
        found["ra"].tolist(), found["dec"].tolist(), unit=("hourangle", "deg")
    )
    true = SkyCoord(table["ra_deg"].to_numpy() * u.deg, table["dec_deg"].to_numpy() * u.deg)
    assert given_position.separation(true).arcsec.max() < 0.1
    assert found["remark"][1].startswith("known quasar a,b")
    found.to_csv(tmp_path / "list.csv", index=False)
    back = pd.read_csv(tmp_path / "list.csv", keep_default_na=True)
    assert len(back) == 6 and back["id"].tolist() == table["id"].tolist()
    assert back["mag_ab_g"].isna().tolist() == back["mag_limit_g"].notna().tolist()
    documentation = (Path(__file__).resolve().parents[2] / "docs" / "exports.md").read_text()
    for name in ABOUT:
        assert f"`{name}`" in documentation


def test_the_text_has_fixed_columns(tmp_path: Path) -> None:
    table = candidates(6, best_class="\u0416 lensed", z_quasar=np.nan)
    text = observing_text(chosen(table, 6, known=True), BANDS, "my run")
    assert re.fullmatch(r"[ -~\n]*", text)
    path = tmp_path / "list.txt"
    path.write_text(text)
    back = pd.read_fwf(path, comment="#", colspecs="infer", infer_nrows=10)
    assert len(back) == 6
    assert back["RA(J2000)"].tolist()[0] == sexagesimal_ra(table["ra_deg"][0], separator=" ")
    # Of 0.1 uJy three are AB 25.21.
    assert set(back["z"]) == {"21.00(0.05)", ">25.21"}


@pytest.mark.parametrize("table", [candidates(0), nothing_known(), candidates(1)])
def test_observing_lists_of_little(table: pd.DataFrame) -> None:
    first = chosen(table, 5, known=True)
    assert len(observing_table(first, BANDS)) == len(first)
    text = observing_text(first, BANDS, "r")
    assert len(text.splitlines()) == 5 + len(first)
    empty = table.assign(ra_deg=10.0, dec_deg=0.0)
    assert len(observing_text(chosen(empty, 5, known=True), BANDS, "r").splitlines()) == 5 + len(
        table
    )


# ------------------------------------------------------------------------- finding charts


def images(n: int = 3, bands: tuple[str, ...] = ("g", "z")) -> ImageSet:
    """A point source in the middle of each image, brightest in the last band; one is all NaN."""
    rng = np.random.default_rng(1)
    pixels = rng.normal(0, 1, (n, len(bands), 28, 28)).astype(np.float32)
    pixels[:, -1, 13:15, 13:15] += 50
    pixels[-1] = np.nan
    ids = 2**53 + np.arange(1, n + 1, dtype=np.int64)
    return ImageSet(pixels, ids, bands, 0.263, 30.0)


def charts(path: Path, table: pd.DataFrame, with_images: ImageSet | None, **options: Any) -> bytes:
    first = chosen(table, 5, known=True)
    write_finding_charts(path, first, table, with_images, ChartOptions("run", BANDS, **options))
    return path.read_bytes()


def pages(content: bytes) -> int:
    return len(re.findall(rb"/Type /Page\b", content))


def test_charts_have_two_candidates_on_a_page_and_equal_bytes(tmp_path: Path) -> None:
    table = candidates(5)
    one = charts(tmp_path / "one.pdf", table, images())
    assert one.startswith(b"%PDF") and pages(one) == 3
    assert one == charts(tmp_path / "two.pdf", table, images())
    assert b"CreationDate" not in one


def test_charts_say_what_they_show(tmp_path: Path) -> None:
    program = shutil.which("pdftotext")
    if program is None:
        pytest.skip("pdftotext is not here: install Debian's package `poppler-utils`")
    charts(tmp_path / "c.pdf", candidates(3), images())
    done = subprocess.run(
        [program, "-layout", str(tmp_path / "c.pdf"), "-"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    text = "".join(done.stdout.split())
    assert "RA000002.40Dec-002400.0(J2000,ICRS)" in text
    assert "knownquasara,b" in text and "$" in text
    assert "bandz,thesearch'scutout" in text and "noimage" in text


@pytest.mark.parametrize("table", [candidates(0), candidates(1), nothing_known()])
@pytest.mark.parametrize("with_images", [None, images(2)])
def test_charts_of_little(tmp_path: Path, table: pd.DataFrame, with_images: Any) -> None:
    assert pages(charts(tmp_path / "c.pdf", table, with_images, oriented=False)) == 1


def test_without_a_magnitude_a_chart_is_drawn(tmp_path: Path) -> None:
    table = nothing_known().assign(ra_deg=[10.0, 10.001, 10.002], dec_deg=-30.0)
    assert pages(charts(tmp_path / "c.pdf", table, None)) == 2
    assert pages(charts(tmp_path / "d.pdf", table, images(), chart_band="g")) == 2


def test_grey_of_an_image() -> None:
    plane = np.asarray(images().images[0, 1], dtype=float)
    level, sigma = sky(plane)
    assert level == pytest.approx(0, abs=0.2) and sigma == pytest.approx(1, abs=0.2)
    shown = grey(plane)
    assert shown is not None and shown.min() >= 0 and shown.max() == 1
    assert shown[13:15, 13:15].min() > 0.9 > 0.6 > np.median(shown)
    assert grey(np.full((28, 28), np.nan)) is None
    flat = grey(np.zeros((28, 28)))
    assert flat is not None and np.isfinite(flat).all()


def test_scale_bars_are_round_and_fit() -> None:
    assert bar_length_arcsec(7.4) == 2 and bar_length_arcsec(60) == 10
    assert bar_length_arcsec(0.1) == 0.5 and bar_length_arcsec(1e6) == 3600


def test_angles_in_words() -> None:
    assert [angle(x) for x in (1.23, 45, 120, 3000, 7200)] == [
        '1.2"',
        '45"',
        "2.0'",
        "50'",
        "2.0 deg",
    ]


@settings(max_examples=50, deadline=None)
@given(
    st.floats(min_value=0, max_value=359.99),
    st.floats(min_value=-89, max_value=89),
    st.floats(min_value=1, max_value=3000),
    st.floats(min_value=0, max_value=360),
)
def test_neighbours_stand_where_they_are(
    ra: float, dec: float, distance: float, position_angle: float
) -> None:
    centre = SkyCoord(ra * u.deg, dec * u.deg)
    other = centre.directional_offset_by(position_angle * u.deg, distance * u.arcsec)
    table = pd.DataFrame(
        {"id": [1, 2, 3], "ra_deg": [ra, other.ra.deg, np.nan], "dec_deg": [dec, other.dec.deg, 0]}
    )
    near = Surroundings(table).near(ra, dec, 1)
    assert near.row.tolist() == [1]
    assert near.distance_arcsec[0] == pytest.approx(distance, rel=1e-6, abs=1e-4)
    angle_rad = math.radians(position_angle)
    # The plane stretches offsets: by 1e-4 at a degree.
    assert near.east_arcsec[0] == pytest.approx(distance * math.sin(angle_rad), rel=1e-4, abs=0.5)
    assert near.north_arcsec[0] == pytest.approx(distance * math.cos(angle_rad), rel=1e-4, abs=0.5)


def test_a_chart_s_radius_holds_some_neighbours() -> None:
    table = pd.DataFrame({"id": range(6), "ra_deg": 10.0, "dec_deg": np.arange(6) * 0.05})
    near = Surroundings(table).near(10.0, 0.0, 0)
    assert len(near) == 5 and near.chart_radius_arcsec() == 600
    alone = Surroundings(table.iloc[:1]).near(10.0, 0.0, 0)
    assert len(alone) == 0 and alone.chart_radius_arcsec() == 3 * 3600
    assert len(Surroundings(table.iloc[:0]).near(10.0, 0.0, 0)) == 0


# -------------------------------------------------------------------------------- scripts


def test_the_scripts_write_all(tmp_path: Path) -> None:
    table = candidates(6)
    write_table(table, tmp_path / "candidates.parquet", {"rank": "place"})
    picture = images()
    save_images(tmp_path / "images.npz", picture.images, picture.ids, picture.bands, 0.263, 30.0)
    params = {"run": "r", "candidates": 3, "known": False, "bands": BANDS}
    out = {
        "votable": tmp_path / "c.vot",
        "regions": tmp_path / "c.reg",
        "observing_csv": tmp_path / "o.csv",
        "observing_text": tmp_path / "o.txt",
    }
    run_script("exports", {"candidates": tmp_path / "candidates.parquet"}, out, params)
    assert len(Table.read(out["votable"], format="votable")) == 6
    assert pd.read_csv(out["observing_csv"])["rank"].tolist() == [1, 3, 4]
    assert out["regions"].read_text().count("circle(") == 4
    assert "rank" in out["observing_text"].read_text()
    run_script(
        "finding_charts",
        {"candidates": tmp_path / "candidates.parquet", "images": tmp_path / "images.npz"},
        {"pdf": tmp_path / "f.pdf"},
        params | {"chart_band": None, "oriented": True},
    )
    assert pages((tmp_path / "f.pdf").read_bytes()) == 2
