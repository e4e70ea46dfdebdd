"""Colours of injected quasars, learnt from the run's known ones."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from archipelago.injections.colours import Colours, learn_colours

BANDS = ("i", "z", "J", "W1")
Floats = NDArray[np.float64]


def _quasars(n: int, seed: int) -> tuple[Floats, Floats]:
    """Quasars whose i - z reddens with redshift, with scatter of 0.2 in each colour (ln)."""
    rng = np.random.default_rng(seed)
    redshift = np.round(rng.uniform(5.6, 6.4, n), 1)
    means = np.stack([2.0 * (redshift - 5.0), np.full(n, 0.3), np.full(n, 0.1)], axis=1)
    ln_colour = means + rng.normal(0, 0.2, (n, 3))
    ln_z = rng.uniform(2.0, 4.0, n)
    ln_flux = np.concatenate([np.zeros((n, 1)), np.cumsum(ln_colour, axis=1)], axis=1)
    return np.exp(ln_flux - ln_flux[:, [1]] + ln_z[:, None]), redshift


TEMPLATES = Colours.of_templates(BANDS, *_quasars(3000, 1))


def _table(flux: Floats, redshift: Floats, seed: int, name: str = "redshift") -> pd.DataFrame:
    """What a survey measures of them, with errors of 5 %: only the red in z - J pass its cuts."""
    rng = np.random.default_rng(seed)
    flux = flux * np.exp(rng.normal(0, 0.05, flux.shape))
    table = pd.DataFrame({name: redshift})
    for j, band in enumerate(BANDS):
        table[f"flux_ujy_{band}"] = flux[:, j]
        table[f"detected_{band}"] = True
    return table[flux[:, 2] > 1.35 * flux[:, 1]].reset_index(drop=True)


def _inject(colours: Colours) -> pd.DataFrame:
    flux, redshift = _quasars(1500, 2)
    return _table(colours.applied(flux, redshift, "z"), redshift, 3)


def _truth(offset: float, stretch: float, n: int, seed: int = 4) -> pd.DataFrame:
    """Known quasars redder in J - W1 than templates, with another scatter."""
    made = Colours(
        BANDS,
        TEMPLATES.redshift,
        TEMPLATES.mean,
        TEMPLATES.variance,
        np.array([0.0, 0.0, offset]),
        np.array([1.0, 1.0, stretch]),
    )
    flux, redshift = _quasars(n, seed)
    return _table(made.applied(flux, redshift, "z"), redshift, 5, "known_redshift")


def test_a_correction_moves_colours_about_their_mean_and_keeps_the_reference() -> None:
    flux, redshift = _quasars(2000, 6)
    made = Colours(
        BANDS, TEMPLATES.redshift, TEMPLATES.mean, TEMPLATES.variance,
        np.array([0.1, -0.2, 0.3]), np.array([1.0, 0.5, 2.0]),
    )  # fmt: skip
    moved = made.applied(flux, redshift, "z")
    np.testing.assert_allclose(moved[:, 1], flux[:, 1])
    before, after = (np.diff(np.log(one), axis=1) for one in (flux, moved))
    np.testing.assert_allclose((after - before).mean(axis=0), [0.1, -0.2, 0.3], atol=0.02)
    ratio = after[:, 1:].std(axis=0) / before[:, 1:].std(axis=0)
    np.testing.assert_allclose(ratio, [0.5, 2.0], atol=0.05)


def test_no_correction_changes_nothing_and_a_black_band_stays_black() -> None:
    flux, redshift = _quasars(50, 6)
    flux[:10, 0] = 0.0
    np.testing.assert_allclose(TEMPLATES.applied(flux, redshift, "z"), flux)
    moved = Colours(
        BANDS, TEMPLATES.redshift, TEMPLATES.mean, TEMPLATES.variance,
        np.array([0.5, 0.5, 0.5]), np.ones(3),
    ).applied(flux, redshift, "z")  # fmt: skip
    assert (moved[:10, 0] == 0).all() and np.isfinite(moved).all()
    assert TEMPLATES.applied(flux[:0], redshift[:0], "z").shape == (0, 4)


def test_many_known_quasars_tell_offset_and_scatter_although_the_cuts_prefer_red_ones() -> None:
    learnt = learn_colours(TEMPLATES, _inject, _truth(0.3, 0.5, 600), "z")
    np.testing.assert_allclose(learnt.offset, [0.0, 0.0, 0.3], atol=0.04)
    np.testing.assert_allclose(learnt.stretch, [1.0, 1.0, 0.5], atol=0.12)


def test_few_known_quasars_change_little(caplog: pytest.LogCaptureFixture) -> None:
    eight = learn_colours(TEMPLATES, _inject, _truth(0.3, 1.0, 400).head(8), "z")
    assert 0.1 < eight.offset[2] < 0.35
    assert 0.5 < eight.stretch[2] < 1.5
    with caplog.at_level(logging.INFO):
        three = learn_colours(TEMPLATES, _inject, _truth(0.3, 1.0, 400).head(3), "z")
    assert three is TEMPLATES
    assert "3 known quasars: too few to tell" in caplog.text


def test_colours_that_known_quasars_are_not_detected_in_stay() -> None:
    known = _truth(0.3, 1.0, 400)
    known["detected_i"] = np.arange(len(known)) % 2 == 0
    known["flux_ujy_i"] *= 0.2
    learnt = learn_colours(TEMPLATES, _inject, known, "z")
    assert learnt.offset[0] == 0.0 and learnt.stretch[0] == 1.0
    assert learnt.offset[2] == pytest.approx(0.3, abs=0.05)


def test_nothing_is_learnt_where_no_injected_quasar_passes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO):
        learnt = learn_colours(TEMPLATES, lambda now: _inject(now).head(5), _truth(0.3, 1, 99), "z")
    assert learnt is TEMPLATES
    assert "5 injected quasars pass the cuts: too few to compare" in caplog.text
