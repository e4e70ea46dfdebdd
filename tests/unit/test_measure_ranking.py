"""The calibration finds the weights that made the data; the measurement counts what it says."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from archipelago.base.errors import DataError
from archipelago.candidates.combine import Calibration, combine
from archipelago.measure import first_places, weighing


def _sky(seed: int, n: int = 1500, lens: bool = True) -> pd.DataFrame:
    """Objects whose evidence is independent given the class; the SED says three times too much."""
    rng = np.random.default_rng(seed)
    kind = np.full(n, "M dwarf", dtype=object)
    kind[:40], kind[40:80], kind[80:85] = "quasar", "lensed quasar", "quasar-galaxy blend"
    wanted, lensed = kind != "M dwarf", kind == "lensed quasar"
    # Normal values of unit spread, d apart, have the log ratio d x - d^2 / 2.
    sed = 2.5 * rng.normal(2.5 * wanted, 1) - 2.5**2 / 2 + np.log(85 / (n - 85))
    look = 1.5 * rng.normal(1.5 * wanted, 1) - 1.5**2 / 2
    shape = 2.0 * rng.normal(2.0 * lensed, 1) - 2.0**2 / 2
    table = pd.DataFrame(
        {
            "seed": seed,
            "id": np.arange(n),
            "true_kind": kind,
            "true_is_quasar": wanted,
            "true_is_lensed": lensed,
            "true_known": (np.arange(n) < 10),
            "p_star": 0.5,
            "p_galaxy": 0.1,
            "p_quasar": 0.2,
            "p_lensed": 0.2,
            "p_other": 0.0,
            "log_odds_quasar": 3 * sed,
            "log_odds_lensed": rng.normal(0, 1, n),
            "similarity_log_ratio": rng.normal(0, 1, n),
            "island_log_ratio": rng.normal(0, 1, n),
            "image_log_odds_quasar": look,
            "image_log_odds_lensed": look,
        }
    )
    return table.assign(lens_log_odds=shape) if lens else table


@pytest.fixture(scope="module")
def skies() -> pd.DataFrame:
    return pd.concat([_sky(seed) for seed in (1, 2, 3, 4)], ignore_index=True)


def test_logistic_fit_finds_what_made_the_data_and_never_goes_below_zero() -> None:
    rng = np.random.default_rng(1)
    terms = rng.normal(0, 2, (20_000, 3))
    true = rng.random(20_000) < 1 / (1 + np.exp(-(-1.0 + terms @ [0.8, 0.0, -0.5])))
    base, weights, _ = weighing.fit_logistic(terms, true)
    assert base == pytest.approx(-0.85, abs=0.1)
    assert weights[0] == pytest.approx(0.67, abs=0.08)  # flattened by the third term
    assert weights[1] == pytest.approx(0, abs=0.05) and weights[2] == 0


def test_limits_are_where_both_sides_have_objects() -> None:
    values = np.concatenate([np.arange(100.0), np.arange(50.0, 150.0)])
    true = np.arange(200) >= 100
    assert weighing.limits(values, true, 5) == (54.0, 95.0)
    apart = np.concatenate([np.arange(10.0), np.arange(20.0, 30.0)])
    assert weighing.limits(apart, np.arange(20) >= 10, 5) == (5.0, 24.0)
    assert weighing.limits(np.zeros(20), np.arange(20) >= 10, 2) == (0.0, 0.1)


def test_the_calibration_undoes_what_the_evidence_exaggerates(skies: pd.DataFrame) -> None:
    cases = weighing.fit_calibration(skies)
    assert len(cases) == 8 and "sed+features+image+lens" in cases
    full = cases["sed+features+image+lens"]
    assert full["quasar"].terms["sed"].weight == pytest.approx(1 / 3, rel=0.25)
    assert full["quasar"].terms["image"].weight == pytest.approx(1, rel=0.3)
    assert full["quasar"].terms["island"].weight < 0.25
    assert full["lensed"].terms["lens"].weight == pytest.approx(1, rel=0.4)
    fresh = _sky(9)
    unknown = ~fresh["true_known"]
    found = combine(fresh, Calibration(cases))[unknown]
    chance = found["combined_p_quasar"] + found["combined_p_lensed"]
    assert chance.sum() == pytest.approx(fresh.loc[unknown, "true_is_quasar"].sum(), rel=0.2)


def test_sets_of_evidence_that_nobody_has_are_left_out() -> None:
    table = pd.concat([_sky(seed, lens=False) for seed in (1, 2)], ignore_index=True)
    assert set(weighing.fit_calibration(table)) == {
        "sed",
        "sed+features",
        "sed+image",
        "sed+features+image",
    }


def test_too_few_quasars_are_refused() -> None:
    table = _sky(1)
    few = table[~table["true_is_lensed"] | (table["id"] < 45)]
    with pytest.raises(DataError, match="sed, lensed: 5 objects for and 35 against"):
        weighing.fit_calibration(few)


def test_the_report_on_skies_left_out(skies: pd.DataFrame) -> None:
    text = weighing.report(skies[skies["seed"] < 3])
    assert "Each sky by a calibration without it" in text and "mean" in text


def test_first_found_skips_the_known_and_puts_ties_last() -> None:
    table = pd.DataFrame(
        {
            "true_kind": ["quasar", "quasar", "lensed quasar", "M dwarf", "M dwarf"],
            "true_is_quasar": [True, True, True, False, False],
            "true_known": [True, False, False, False, False],
        }
    )
    score = np.array([9.0, 5.0, 1.0, 1.0, np.nan])
    assert first_places.first_found(table, score, 1) == {"ordinary": 1.0, "lensed": 0.0}
    assert first_places.first_found(table, score, 2) == {"ordinary": 1.0, "lensed": 0.0}
    assert first_places.first_found(table, score, 3) == {"ordinary": 1.0, "lensed": 1.0}
    none = table.assign(true_is_quasar=False, true_kind="M dwarf")
    assert np.isnan(list(first_places.first_found(none, score).values())).all()


def test_measured_against_each_single_evidence(skies: pd.DataFrame) -> None:
    fitted = Calibration(weighing.fit_calibration(skies))
    fresh = pd.concat([_sky(seed) for seed in (8, 9)], ignore_index=True)
    found = first_places.measure_skies(fresh, fitted)
    assert set(found["way"]) == {*first_places.WITHOUT, *first_places.SINGLE}
    assert len(found) == 2 * found["way"].nunique()
    mean = found.groupby("way")[["ordinary", "lensed"]].mean().mean(axis=1)
    assert mean["all evidence"] > mean["SED: p_quasar + p_lensed"] > mean["island"]
    text = first_places.report(fresh, fitted)
    for words in ("among the first 30", "ECE, ten bins of equal width", "photometry's own"):
        assert words in text
    bare = fresh.drop(columns=["lens_log_odds", "image_log_odds_quasar"])
    assert "lens evidence" not in set(first_places.measure_skies(bare, fitted)["way"])
