"""Figures and texts of the report, one by one."""

from __future__ import annotations

import base64
import io
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from archipelago.report import content
from archipelago.report.charts import (
    Photometry,
    curves_chart,
    photometry_chart,
    sky_chart,
    thin,
)
from archipelago.report.stamps import colour_stamp, grey_stamp, png_uri
from archipelago.report.svg import Scale, nice_step, number_words, tag


def _decode(uri: str | None) -> np.ndarray:
    assert uri is not None
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))


@pytest.mark.parametrize("shape", [(5, 7), (4, 6, 3)])
def test_png_holds_the_pixels(shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    np.testing.assert_array_equal(_decode(png_uri(pixels)), pixels)


def _point(flux: float, x: int = 14, y: int = 14) -> np.ndarray:
    image = np.random.default_rng(int(flux) + x).normal(0, 1, (28, 28)).astype(np.float32)
    image[y - 1 : y + 2, x - 1 : x + 2] += flux
    return image


def test_grey_stamp_has_north_up_and_the_source_bright() -> None:
    pixels = _decode(grey_stamp(_point(500, x=5, y=24)))
    row, column = np.unravel_index(np.argmax(pixels), pixels.shape)
    assert row <= 5 and 3 <= column <= 7
    assert pixels.max() == 255 and np.median(pixels) < 60


def test_empty_sky_is_not_stretched_to_look_like_something() -> None:
    assert _decode(grey_stamp(_point(0))).max() < 200


def test_stamps_of_broken_images() -> None:
    assert grey_stamp(np.full((28, 28), np.nan)) is None
    broken = _point(50)
    broken[3:9] = np.inf
    broken[20] = np.nan
    assert _decode(grey_stamp(broken)).shape == (28, 28)
    assert _decode(grey_stamp(np.zeros((28, 28)))).shape == (28, 28)
    assert colour_stamp(np.full((5, 28, 28), np.nan), list("grizY")) is None
    assert colour_stamp(np.zeros((2, 28, 28)), ["g", "r"]) is None


def test_dropout_is_red_in_the_colour_stamp() -> None:
    cube = np.stack([_point(f, 14 - k % 1) for k, f in enumerate((0, 0, 4, 200, 210))])
    red, green, blue = _decode(colour_stamp(cube, list("grizY")))[14, 14].astype(int)
    assert red > 200 and green < 90 and blue < 90


def test_colour_stamp_of_other_bands_takes_the_reddest_three() -> None:
    cube = np.stack([_point(0), _point(0), _point(300)])
    red, green, _ = _decode(colour_stamp(cube, ["u", "v", "w"]))[14, 14].astype(int)
    assert red > 2 * green


@given(st.floats(1e-12, 1e12))
def test_nice_step_is_round_and_not_below(step: float) -> None:
    nice = nice_step(step)
    assert step * (1 - 1e-8) <= nice <= 2.6 * step
    assert round(nice / 10 ** math.floor(math.log10(nice) + 1e-9), 6) in (1, 2, 5)


@pytest.mark.parametrize(
    ("scale", "ticks"),
    [
        (Scale(0, 10, 0, 1), [0, 2, 4, 6, 8, 10]),
        (Scale(26, 19, 0, 1), [20, 22, 24, 26]),
        (Scale(0.5, 200, 0, 1, log=True), [1, 10, 100]),
        (Scale(3, 3, 0, 1), [3]),
    ],
)
def test_ticks(scale: Scale, ticks: list[float]) -> None:
    np.testing.assert_allclose(scale.ticks(5), ticks)


def test_scale_clips() -> None:
    scale = Scale(1, 100, 0, 10, log=True)
    assert scale(10) == 5 and scale.clipped(1e9) == 10 and scale.clipped(0) == 0


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (math.nan, "–"),
        (0, "0"),
        (-0.25, "−0.25"),
        (12345.6, "12,346"),
        (3e-17, "3.0e−17"),
        (2.5e7, "2.5e7"),
        (999.96, "1000"),
    ],
)
def test_number_words(value: float, words: str) -> None:
    assert number_words(value) == words


def test_tag_escapes_text_and_attributes() -> None:
    assert tag("text", "<b>&", class_='"x', stroke_width=-0.01) == (
        '<text class="&#34;x" stroke-width="0">&lt;b&gt;&amp;</text>'
    )


@pytest.mark.parametrize(
    ("ra", "dec", "words", "name"),
    [
        (17.2988, -54.4079, ("01:09:11.71", "−54:24:28.4"), "J0109−5424"),
        (359.9999999, -0.00001, ("00:00:00.00", "−00:00:00.0"), "J2359−0000"),
        (14.9999999, 59.9999999, ("01:00:00.00", "+60:00:00.0"), "J0059+5959"),
        (math.nan, 1.0, ("–", "–"), "no position"),
    ],
)
def test_coordinates(ra: float, dec: float, words: tuple[str, str], name: str) -> None:
    assert content.sexagesimal(ra, dec) == words
    assert content.short_name(ra, dec) == name


def test_probabilities_keep_what_counts() -> None:
    got = [content.chance(p) for p in (0, 1e-9, 0.1234, 0.99999, 1, math.nan, None)]
    assert got == ["0", "< 0.001", "0.123", "> 0.999", "1", "–", "–"]


def test_shortlist_takes_unknown_ones_and_known_ones_between() -> None:
    known = np.array([1, 0, 1, 1, 0, 0, 1, 0], dtype=bool)
    table = pd.DataFrame({"id": range(8), "rank": range(1, 9), "is_known": known})
    assert content.shortlist(table, 2)["id"].tolist() == [0, 1, 2, 4]
    assert content.shortlist(table, 99)["id"].tolist() == list(range(8))
    assert content.shortlist(table, 0)["id"].tolist() == []


def test_cut_flow_bars_never_exceed_the_first() -> None:
    flow = pd.DataFrame({"stage": "a", "cut": "b", "rows_in": [100, 40, 0], "rows_out": [40, 0, 0]})
    steps = content.cut_flow(flow)
    assert [step["left"] for step in steps] == ["100", "40", "0", "0"]
    assert steps[1]["bar"] + steps[1]["gone"] == 100 and steps[3]["share"] == "–"


def test_links_hold_numbers_only() -> None:
    addresses = [address for _, address in content.links(10.0, 5.0)]
    assert len(addresses) == 4 and all(a.startswith("https://") for a in addresses)
    assert "%2B5.000000" in addresses[1]
    assert content.links(math.nan, 1.0) == []


def test_thinning_keeps_what_is_marked() -> None:
    n = 10_000
    points = pd.DataFrame(
        {
            "id": np.arange(n),
            "island": np.where(np.arange(n) < 500, 1, -1),
            "is_known": np.arange(n) % 1000 == 0,
            "is_card": np.arange(n) % 999 == 0,
        }
    )
    kept = thin(points, 2000)
    assert len(kept) <= 2000
    assert kept["is_known"].sum() == 10 and kept["is_card"].sum() == points["is_card"].sum()
    assert (kept["island"] == 1).sum() == 500


def _points(n: int) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "id": np.arange(n),
            "x": 1.0,
            "y": 2.0,
            "island": 0,
            "p": 0.97,
            "rank": np.arange(n) + 1,
            "is_known": False,
            "is_card": True,
            "ra_deg": 0.0,
            "dec_deg": 90.0,
        }
    )


def test_the_sky_of_nothing_and_of_one_place() -> None:
    assert sky_chart(_points(0)) is None
    assert "nan" not in (sky_chart(_points(3)) or "nan")


def test_sky_across_zero_hours_is_not_torn() -> None:
    points = _points(4).assign(ra_deg=[359.0, 359.5, 0.5, 1.0], dec_deg=[-1, 0, 1, 2])
    drawn = sky_chart(points) or ""
    assert ">359</text>" in drawn and ">1</text>" in drawn and ">180</text>" not in drawn


def test_photometry_without_any_flux_is_not_drawn() -> None:
    nan = np.full(2, np.nan)
    none = np.zeros(2, dtype=bool)
    data = Photometry(["g", "q"], np.array([0.5, 1.0]), nan, nan, none, {})
    assert photometry_chart(data) is None


def test_curves_of_one_point_and_of_none() -> None:
    one = curves_chart({"a": (np.array([1.0]), np.array([2.0]))}, "x", "y")
    assert one is not None and "nan" not in one
    assert curves_chart({"a": (np.array([1.0]), np.array([np.nan]))}, "x", "y") is None
