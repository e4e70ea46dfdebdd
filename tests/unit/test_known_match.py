"""Positions of objects against those of known quasars."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
import pytest

from archipelago.base.errors import InputError
from archipelago.known import match_known

ARCSEC = 1.0 / 3600.0


def objects(positions: list[tuple[float, float]]) -> pd.DataFrame:
    ra, dec = zip(*positions, strict=True) if positions else ((), ())
    return pd.DataFrame(
        {
            "id": np.arange(10, 10 + len(ra)),
            "ra_deg": list(map(float, ra)),
            "dec_deg": list(map(float, dec)),
        }
    )


def quasars(positions: list[tuple[float, float]]) -> pd.DataFrame:
    table = objects(positions).rename(columns={"id": "name"})
    table["name"] = [f"Q{i}" for i in range(len(table))]
    table["redshift"] = 6.0 + 0.1 * np.arange(len(table))
    return table


def test_matches_within_the_radius() -> None:
    sky = objects([(10, -30), (20, -30), (30, -30)])
    known = quasars([(30 + 1.0 * ARCSEC, -30), (10, -30 + 1.6 * ARCSEC), (50, 0)])
    matched = match_known(sky, known, 1.5)
    assert matched["id"].tolist() == [12]
    assert matched["known_name"].tolist() == ["Q0"]
    assert matched["known_redshift"].tolist() == [6.0]
    assert str(matched["id"].dtype) == "int64"


def test_unique_in_both_directions() -> None:
    # Two objects near one quasar, and two quasars near one object.
    sky = objects([(10, 0), (10 + 0.5 * ARCSEC, 0), (40, 0)])
    known = quasars([(10 + 0.4 * ARCSEC, 0), (40, 0.3 * ARCSEC), (40, -0.1 * ARCSEC)])
    matched = match_known(sky, known, 1.5)
    assert dict(zip(matched["id"], matched["known_name"], strict=True)) == {11: "Q0", 12: "Q2"}


def test_the_second_nearest_gets_what_is_left() -> None:
    sky = objects([(10, 0), (10 + 1.0 * ARCSEC, 0)])
    known = quasars([(10 + 0.4 * ARCSEC, 0), (10 + 0.3 * ARCSEC, 0)])
    matched = match_known(sky, known, 1.5)
    assert dict(zip(matched["id"], matched["known_name"], strict=True)) == {10: "Q1", 11: "Q0"}


def test_right_ascension_zero_and_the_poles() -> None:
    sky = objects([(359.99999, -10), (0.0, -90.0), (120.0, 90.0)])
    known = quasars([(0.00001, -10), (250.0, -90.0), (300.0, 90.0)])
    assert match_known(sky, known, 1.0)["id"].tolist() == [10, 11, 12]


@pytest.mark.parametrize(("n", "m"), [(0, 0), (0, 2), (2, 0), (1, 1)])
def test_few(n: int, m: int) -> None:
    places = [(10.0, 0.0), (20.0, 0.0)]
    matched = match_known(objects(places[:n]), quasars(places[:m]), 1.0)
    assert len(matched) == min(n, m)
    assert list(matched) == ["id", "known_name", "known_redshift"]
    assert matched.dtypes.astype(str).tolist() == ["int64", "str", "float64"]


def test_order_of_rows_does_not_matter() -> None:
    rng = np.random.default_rng(2)
    places = list(zip(10 + rng.normal(size=30) * ARCSEC, rng.normal(size=30) * ARCSEC, strict=True))
    sky, known = objects(places[:15]), quasars(places[15:])
    expected = match_known(sky, known, 1.5)
    mixed = match_known(
        sky.sample(frac=1, random_state=1), known.sample(frac=1, random_state=2), 1.5
    )
    pd.testing.assert_frame_equal(mixed, expected)
    assert expected["id"].is_unique
    assert expected["known_name"].is_unique


def test_wrong_positions_match_nothing(caplog: pytest.LogCaptureFixture) -> None:
    sky = objects([(np.nan, 0), (10, 95), (np.inf, 0), (20, 0)])
    with caplog.at_level(logging.WARNING):
        matched = match_known(sky, quasars([(20, 0)]), 1.0)
    assert matched["id"].tolist() == [13]
    assert "3 objects have no valid position" in caplog.text


def test_refusals() -> None:
    with pytest.raises(InputError, match="lacks the columns dec_deg"):
        match_known(objects([]).drop(columns="dec_deg"), quasars([]), 1.0)
    with pytest.raises(ValueError, match="radius_arcsec is -1"):
        match_known(objects([]), quasars([]), -1.0)
