"""The terms of the score: what they must do at their ends, and what they must not do."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from archipelago.candidates.reasons import chance_words, odds_words, reason
from archipelago.candidates.terms import (
    image_lensed_log_ratio,
    image_log_ratio,
    island_log_ratio,
    sed_lensed_log_odds,
    sed_log_odds,
    similarity_log_ratio,
)


def test_sed_log_odds_are_those_of_both_wanted_classes_against_the_rest() -> None:
    table = pd.DataFrame(
        {"p_star": [0.5], "p_galaxy": [0.1], "p_quasar": [0.1], "p_lensed": [0.2], "p_other": [0.1]}
    )
    np.testing.assert_allclose(sed_log_odds(table), np.log(0.3 / 0.7))


def test_sed_log_odds_tell_apart_what_probabilities_round_to_one() -> None:
    table = pd.DataFrame(
        {
            "p_star": 0.0,
            "p_quasar": 1.0,
            "p_lensed": 0.0,
            "log_odds_quasar": [60.0, 90.0, -500.0],
            "sed_status": ["ok", "few_bands", "no_usable_band"],
        }
    )
    np.testing.assert_array_equal(sed_log_odds(table), [60.0, 90.0, np.nan])


def test_sed_log_odds_are_finite_at_certainty_and_nan_without_verdict() -> None:
    table = pd.DataFrame(
        {
            "p_star": [0.0, 1.0, np.nan],
            "p_galaxy": [0.0, 0.0, np.nan],
            "p_quasar": [1.0, 0.0, np.nan],
            "p_lensed": [0.0, 0.0, np.nan],
        }
    )
    got = sed_log_odds(table)
    assert got[0] > 600 and got[1] < -600 and np.isnan(got[2])
    assert np.isnan(sed_log_odds(pd.DataFrame({"id": [1]}))).all()


def _ranks(known: np.ndarray) -> np.ndarray:
    """Places among the unknown of objects that are sorted by similarity, best last."""
    more = (~known)[::-1].cumsum()[::-1] - ~known
    return 1.0 + more


def _known(n: int, places: list[int]) -> np.ndarray:
    known = np.zeros(n, dtype=bool)
    known[places] = True
    return known


def test_similarity_says_nothing_without_known_quasars() -> None:
    known = _known(50, [])
    np.testing.assert_array_equal(similarity_log_ratio(_ranks(known), known, 2.0), 0.0)


def test_similarity_rises_where_the_known_quasars_are() -> None:
    known = _known(1000, [980, 985, 990, 992, 995, 998])
    term = similarity_log_ratio(_ranks(known), known, prior_known=2.0)
    assert np.all(np.diff(term[~known]) > 0)
    assert term[999] > 2.5 and -2 < term[0] < 0


def test_similarity_that_is_useless_is_not_used() -> None:
    spread = _known(1000, list(range(50, 1000, 100)))
    assert np.abs(similarity_log_ratio(_ranks(spread), spread, 2.0)).max() < 0.6
    low = _known(1000, list(range(10)))  # known quasars less like each other than all else
    np.testing.assert_allclose(similarity_log_ratio(_ranks(low), low, 2.0), 0.0, atol=1e-12)


def test_ratio_of_rates_is_normalised() -> None:
    known = _known(20_000, [19_990, 19_950, 19_999])
    term = similarity_log_ratio(_ranks(known), known, prior_known=2.0)
    # Places are discrete, and the model is steep at the first of them: a little is missing.
    assert 0.85 < np.exp(term[~known]).mean() < 1.01


def test_a_known_quasar_does_not_vouch_for_itself() -> None:
    known = _known(100, [99])
    assert similarity_log_ratio(_ranks(known), known, prior_known=2.0)[99] == 0.0
    island = np.where(np.arange(100) > 90, 0, -1)
    has = np.ones(100, dtype=bool)
    assert island_log_ratio(island, np.ones(100), has, known, prior_known=2.0)[99] == 0.0


@given(
    st.lists(st.one_of(st.integers(1, 41), st.just(float("nan"))), min_size=1, max_size=40),
    st.integers(0, 2**32 - 1),
)
def test_similarity_is_finite_for_any_input(values: list[float], seed: int) -> None:
    known = np.random.default_rng(seed).random(len(values)) < 0.3
    term = similarity_log_ratio(np.array(values, dtype=float), known, prior_known=1.0)
    np.testing.assert_array_equal(np.isfinite(term), np.isfinite(values))


def test_island_of_known_quasars_counts_for_its_members_by_stability() -> None:
    island = np.repeat([0, 1, -1], [10, 40, 50])
    known = np.zeros(100, dtype=bool)
    known[:4] = True
    stability = np.ones(100)
    stability[8] = 0.5
    term = island_log_ratio(island, stability, np.ones(100, dtype=bool), known, prior_known=1.0)
    assert term[9] == pytest.approx(np.log((4 + 1) / (0.4 + 1)))
    assert term[8] == pytest.approx(term[9] / 2)
    assert term[20] == pytest.approx(np.log(1 / 2.6)) and term[60] == pytest.approx(np.log(1 / 3))
    assert term[0] == pytest.approx(np.log((3 + 1) / (9 * 3 / 99 + 1)))


def test_island_without_images_says_nothing() -> None:
    none = np.zeros(3, dtype=bool)
    term = island_log_ratio(np.array([-1, -1, -1]), np.full(3, np.nan), none, none, 2.0)
    np.testing.assert_array_equal(term, np.nan)


@pytest.mark.parametrize(
    ("log_odds", "words"),
    [
        (0, "even odds"),
        (np.log(3), "3.0 to 1"),
        (-np.log(37), "37 to 1"),
        (np.log(5200), "5,200 to 1"),
        (np.log(1e12), "10^12 to 1"),
    ],
)
def test_odds_in_words(log_odds: float, words: str) -> None:
    assert odds_words(log_odds) == words


def test_reason_names_the_largest_term_first() -> None:
    row = {
        "has_sed": True,
        "has_images": True,
        "is_known": False,
        "best_class": "quasar",
        "sed_term": 2.0,
        "sed_log_odds": 2.0,
        "p_quasar": 0.2,
        "p_lensed": 0.6,
        "z_quasar": 6.07,
        "similarity_term": 3.0,
        "similarity_percentile": 99.94,
        "island_term": 0.01,
        "island": 3,
        "island_n": 20,
        "island_n_known": 5,
        "score": 4.5,
        "lens_log_odds": 2.0,
        "lensed_lens_term": 1.6,
        "combined_p_quasar": 0.2,
        "combined_p_lensed": 0.789,
    }
    assert reason(row) == (
        "Its image is closer to those of the known quasars than 99.94 % are; its photometry "
        "favours a quasar with a galaxy in front at z = 6.07 (7.4 to 1); its shape is that of a "
        "lensed quasar (7.4 to 1); and all in all a quasar with a probability of 99 %, lensed if "
        "so with 80 %."
    )
    row |= {"score": -3.0, "combined_p_quasar": 0.004, "combined_p_lensed": 0.0}
    assert "shape" not in reason(row)
    assert reason(row).endswith("; and all in all a quasar with a probability of 0.4 %.")


@pytest.mark.parametrize(
    ("probability", "words"),
    [
        (0.0, "less than 0.1 %"),
        (0.004, "0.4 %"),
        (0.5, "50 %"),
        (0.996, "99.6 %"),
        (1.0, "more than 99.9 %"),
    ],
)
def test_chances_in_words(probability: float, words: str) -> None:
    assert chance_words(probability) == words


def test_reason_of_an_object_without_anything() -> None:
    assert reason({"has_sed": False, "has_images": False}) == (
        "There is no verdict on its photometry; and there are no images to compare."
    )


def test_likeness_to_simulated_quasars_is_the_mean_of_both_kinds() -> None:
    quasar = np.array([2.0, 1.0, np.nan, np.nan, -800.0])
    lensed = np.array([2.0, np.nan, -3.0, np.nan, -800.0])
    got = image_log_ratio(quasar, lensed)
    np.testing.assert_allclose(got, [2.0, 1.0, -3.0, np.nan, -800.0])
    assert image_log_ratio(np.array([5.0]), np.array([-50.0]))[0] == pytest.approx(5 - np.log(2))


def test_likeness_counts_for_the_kind_that_colours_allow() -> None:
    quasar, lensed = np.full(4, -5.0), np.full(4, 1.0)
    got = image_log_ratio(quasar, lensed, np.array([50.0, 3.0, -3.0, np.nan]))
    assert got[0] == got[1] == pytest.approx(1 - np.log1p(np.exp(-3)), abs=0.001)
    assert got[2] == pytest.approx(np.log(np.exp(1) / (1 + np.exp(3)) + np.exp(-5)), abs=0.01)
    assert got[3] == pytest.approx(np.log((np.exp(1) + np.exp(-5)) / 2))


def test_reason_names_likeness_to_simulated_quasars() -> None:
    row = {
        "has_sed": True,
        "has_images": True,
        "image_term": 1.5,
        "image_log_odds_quasar": 2.0,
        "image_log_odds_lensed": 3.4,
    }
    assert reason(row) == "Its image is like those of simulated lensed quasars."
    row["image_term"] = -1.5
    assert reason(row) == "Its image is unlike those of simulated quasars."


def test_lensed_against_single() -> None:
    table = pd.DataFrame(
        {"p_quasar": [0.2, 0.2, np.nan], "p_lensed": [0.4, 0.4, np.nan], "log_odds_lensed": np.nan}
    )
    table.loc[1, "log_odds_lensed"] = -40.0
    np.testing.assert_allclose(sed_lensed_log_odds(table), [np.log(2), -40.0, np.nan])
    got = image_lensed_log_ratio(np.array([1.0, np.nan]), np.array([3.0, 3.0]))
    np.testing.assert_array_equal(got, [2.0, np.nan])
