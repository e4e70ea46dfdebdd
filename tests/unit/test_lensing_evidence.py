"""What shapes say of a lens: learnt from simulated objects, calibrated; a search's table."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from archipelago.base.errors import DataError, InputError
from archipelago.base.images import ImageSet
from archipelago.lensing import evidence, odds
from archipelago.lensing.evidence import about, learn, lens_evidence
from archipelago.lensing.odds import calibration, learn_odds
from archipelago.measure.lens_evidence import auc_interval, chosen, report
from archipelago.simulate.light import points, render

BANDS = ("i", "z")
SCALE = 0.263


@pytest.fixture(autouse=True)
def _few_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small forests and few objects, which tell what is so far apart as here."""
    monkeypatch.setattr(odds, "_N_TREES", 15)
    monkeypatch.setattr(odds, "_N_BOOSTS", 15)
    monkeypatch.setattr(odds, "FEWEST", 20)


def _numbers(n: int, seed: int = 1) -> tuple[pd.DataFrame, np.ndarray]:
    """One telling number, one that tells nothing, and gaps: of n single and n lensed quasars."""
    rng = np.random.default_rng(seed)
    lensed = np.repeat([False, True], n)
    telling = rng.normal(2.0 * lensed, 1.0)
    noise = rng.normal(size=2 * n)
    noise[rng.random(2 * n) < 0.2] = np.nan
    return pd.DataFrame({"telling": telling, "noise": noise}), lensed


def _pairs(n: int, half_px: float, seed: int) -> np.ndarray:
    """Two equal points along x, or one where ``half_px`` is 0, with noise: (n, 2, 24, 24)."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(-0.5, 0.5, (2, n))
    flux, fwhm = np.tile([1500.0, 3000.0], (n, 1)), np.full((n, 2), 3.3)
    parts = [points(x + sign * half_px, y, flux, fwhm) for sign in (-1, 1)]
    return (render(parts, 24) + rng.normal(0, 6, (n, 2, 24, 24))).astype(np.float32)


def _set(images: np.ndarray, first: int = 0, **changes: Any) -> ImageSet:
    given = {"bands": BANDS, "pixel_scale_arcsec": SCALE, "zero_point_ab": 30.0}
    return ImageSet(images, np.arange(first, first + len(images)), **(given | changes))


def _taught(n: int = 22) -> tuple[ImageSet, pd.DataFrame]:
    images = np.concatenate([_pairs(n, 0.0, 2), _pairs(n, 2.0, 3)])
    kinds = pd.DataFrame({"id": np.arange(2 * n), "kind": ["quasar"] * n + ["lensed"] * n})
    return _set(images), kinds


# -------------------------------------------------------------------------- log ratios


def test_the_ratio_is_that_of_the_densities() -> None:
    """Normal distributions two sigma apart: ln of the ratio is 2 (x - 1)."""
    numbers, lensed = _numbers(700)
    learnt, held_out = learn_odds(numbers, lensed, seed=1)
    assert learnt is not None
    at = pd.DataFrame({"telling": [0.0, 0.5, 1.0, 1.5, 2.0], "noise": np.zeros(5)})
    np.testing.assert_allclose(learnt.log_odds(at), 2 * (at["telling"] - 1), atol=0.8)
    p = 1 / (1 + np.exp(-held_out))
    assert np.abs(p.mean() - lensed.mean()) < 0.02
    bins = calibration(held_out, lensed, n_bins=5)
    np.testing.assert_allclose(bins["p"], bins["share"], atol=0.07)


def test_the_ratio_does_not_depend_on_how_many_of_each_were_shown() -> None:
    numbers, lensed = _numbers(700)
    few = ~lensed | (np.arange(len(lensed)) % 3 == 0)
    learnt, _ = learn_odds(numbers[few], lensed[few], seed=1)
    assert learnt is not None
    at = pd.DataFrame({"telling": [0.5, 1.0, 1.5], "noise": [0.0, 0.0, 0.0]})
    np.testing.assert_allclose(learnt.log_odds(at), [-1.0, 0.0, 1.0], atol=0.9)


def test_where_nothing_can_be_learnt_nothing_is_said() -> None:
    numbers, lensed = _numbers(10)
    learnt, held_out = learn_odds(numbers, lensed, seed=1)
    assert learnt is None and np.isnan(held_out).all()
    assert calibration(held_out, lensed).empty


def test_an_object_without_measures_gets_none() -> None:
    numbers, lensed = _numbers(60)
    learnt, _ = learn_odds(numbers, lensed, seed=1)
    assert learnt is not None
    at = pd.DataFrame({"telling": [3.0, np.nan, np.nan], "noise": [np.nan, np.nan, 0.0]})
    found = learnt.log_odds(at)
    assert np.isnan(found).tolist() == [False, True, False]
    assert len(learnt.log_odds(at[:0])) == 0


# --------------------------------------------------------------------------- the table


def test_pairs_are_told_from_points_whatever_the_number_of_threads() -> None:
    simulated, kinds = _taught()
    images = np.concatenate([_pairs(6, 0.0, 8), _pairs(6, 2.0, 9), np.zeros((1, 2, 24, 24))])
    search = _set(images.astype(np.float32), first=100)
    search = ImageSet(search.images[::-1], search.ids[::-1], BANDS, SCALE, search.zero_point_ab)
    tables = []
    for threads in (1, 3):
        judge = learn(search, simulated, kinds, n_taught=22, seed=1, threads=threads)
        tables.append(lens_evidence(search, judge, threads=threads))
    table = tables[0]
    pd.testing.assert_frame_equal(*tables)
    assert list(table) == list(about(BANDS))
    assert table["id"].tolist() == list(range(100, 113))
    assert (table["lens_log_odds"][:6] < 0).all() and (table["lens_log_odds"][6:12] > 0).all()
    assert table.iloc[12, 1:].isna().all()
    painted = judge.table(_pairs(2, 2.0, 10))
    assert (painted["lens_log_odds"] > 0).all() and "id" not in painted


def test_without_simulated_objects_measures_stand_alone() -> None:
    simulated, kinds = _taught(1)
    none = ImageSet(simulated.images[:0], simulated.ids[:0], BANDS, SCALE, 30.0)
    search = _set(_pairs(2, 2.0, 4))
    judge = learn(search, none, kinds[:0], n_taught=10, seed=1)
    table = lens_evidence(search, judge)
    assert table["lens_log_odds"].isna().all()
    assert table["two_points_delta_bic"].gt(0).all()


def test_no_object_gives_an_empty_table() -> None:
    simulated, kinds = _taught(1)
    search = _set(np.empty((0, 2, 24, 24), np.float32))
    table = lens_evidence(search, learn(search, simulated, kinds, n_taught=1, seed=1))
    assert len(table) == 0 and list(table) == list(about(BANDS))


def test_simulated_objects_of_another_search_are_refused() -> None:
    simulated, kinds = _taught(1)
    search = _set(_pairs(1, 0.0, 4))
    with pytest.raises(DataError, match="not those of their table"):
        learn(search, simulated, kinds.assign(id=[7, 8]), n_taught=1, seed=1)
    other = _set(_pairs(1, 0.0, 4), bands=("i", "Y"))
    with pytest.raises(InputError, match="other bands or pixels"):
        learn(other, simulated, kinds, n_taught=1, seed=1)


def test_every_column_is_described() -> None:
    text = about(BANDS)
    assert "extendedness_z" in text and "psf_residual_i" in text
    assert all(text.values()) and next(iter(text)) == "id"
    assert evidence._PART % 64 == 0  # whole chunks of the fits


# ------------------------------------------------------------------- measured on skies


def test_the_area_under_the_curve_and_its_interval() -> None:
    score = np.array([0.0, 1.0, 2.0, 3.0, np.nan])
    lensed = np.array([False, True, False, True, True])
    area, low, high = auc_interval(score, lensed, n=200)
    assert area == pytest.approx(3 / 6)  # of six pairs three are in order
    assert 0 <= low <= area <= high <= 1
    assert np.isnan(auc_interval(score, np.zeros(5, dtype=bool))).all()


def test_the_report_counts_wide_pairs_and_ordinary_quasars() -> None:
    table = pd.DataFrame(
        {
            "sky": [1, 1, 1, 2, 2, 2],
            "id": range(6),
            "true_kind": ["quasar", "lensed quasar", "quasar-galaxy blend"]
            + ["quasar", "lensed quasar", "lensed quasar"],
            "true_image_separation_arcsec": [np.nan, 1.5, np.nan, np.nan, 0.5, 1.0],
            "lens_log_odds": [-2.0, 3.0, 1.0, -1.0, -3.0, 2.0],
            "two_component_delta_bic": [-30.0, 200.0, 5.0, -20.0, -25.0, np.nan],
        }
    )
    rows, lensed = chosen(table, 0.8)
    assert rows["id"].tolist() == [0, 1, 3, 5] and lensed.tolist() == [False, True, False, True]
    text = report(table)
    assert "all skies: AUC 1.000 (1.000-1.000, 95 %), 2 lensed, 2 ordinary" in text
    assert "of any separation: AUC 0.667" in text
    assert "1 of 1 above 0" in text
    assert "two_component_delta_bic: 0.500" in text
