"""Colours of injected quasars, learnt from the run's known ones."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from archipelago.injections.colours import (
    Colours,
    about_moves,
    learn_colours,
    moves_of,
    tents,
)

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


def _table(
    flux: Floats, redshift: Floats, seed: int, name: str = "redshift", least: float = 1.35
) -> pd.DataFrame:
    """What a survey measures of them, with errors of 5 %: only the red in z - J pass its cuts.

    ``least`` J over z is the mean where it is 1.35; 84 % are above 1.1.
    """
    rng = np.random.default_rng(seed)
    flux = flux * np.exp(rng.normal(0, 0.05, flux.shape))
    table = pd.DataFrame({name: redshift})
    for j, band in enumerate(BANDS):
        table[f"flux_ujy_{band}"] = flux[:, j]
        table[f"detected_{band}"] = True
    return table[flux[:, 2] > least * flux[:, 1]].reset_index(drop=True)


def _inject(colours: Colours) -> pd.DataFrame:
    flux, redshift = _quasars(1500, 2)
    return _table(colours.applied(flux, redshift, "z"), redshift, 3)


def _corrected(offset: Floats, stretch: Sequence[float]) -> Colours:
    """Templates with offsets, per colour or per colour and knot, and scatter."""
    knots = np.ones(len(TEMPLATES.knots))
    each = np.asarray(offset, dtype=float)
    return replace(
        TEMPLATES,
        offset=each if each.ndim == 2 else each[:, None] * knots,
        stretch=np.array(stretch),
    )


def _truth(offset: float, stretch: float, n: int, seed: int = 4) -> pd.DataFrame:
    """Known quasars redder in J - W1 than templates, with another scatter."""
    made = _corrected(np.array([0.0, 0.0, offset]), [1.0, 1.0, stretch])
    flux, redshift = _quasars(n, seed)
    return _table(made.applied(flux, redshift, "z"), redshift, 5, "known_redshift")


def test_a_correction_moves_colours_about_their_mean_and_keeps_the_reference() -> None:
    flux, redshift = _quasars(2000, 6)
    moved = _corrected(np.array([0.1, -0.2, 0.3]), [1.0, 0.5, 2.0]).applied(flux, redshift, "z")
    np.testing.assert_allclose(moved[:, 1], flux[:, 1])
    before, after = (np.diff(np.log(one), axis=1) for one in (flux, moved))
    np.testing.assert_allclose((after - before).mean(axis=0), [0.1, -0.2, 0.3], atol=0.02)
    ratio = after[:, 1:].std(axis=0) / before[:, 1:].std(axis=0)
    np.testing.assert_allclose(ratio, [0.5, 2.0], atol=0.05)


def test_no_correction_changes_nothing_and_a_black_band_stays_black() -> None:
    flux, redshift = _quasars(50, 6)
    flux[:10, 0] = 0.0
    np.testing.assert_allclose(TEMPLATES.applied(flux, redshift, "z"), flux)
    made = _corrected(np.array([0.5, 0.5, 0.5]), [1.0, 1.0, 1.0])
    moved = made.applied(flux, redshift, "z")
    assert (moved[:10, 0] == 0).all() and np.isfinite(moved).all()
    assert TEMPLATES.applied(flux[:0], redshift[:0], "z").shape == (0, 4)


def test_many_known_quasars_tell_offset_and_scatter_although_the_cuts_prefer_red_ones() -> None:
    learnt = learn_colours(TEMPLATES, _inject, _truth(0.3, 0.5, 600), "z")
    near = learnt.offset[:, learnt.knots < 6.3]
    np.testing.assert_allclose(near.mean(axis=1), [0.0, 0.0, 0.3], atol=0.04)
    np.testing.assert_allclose(learnt.stretch, [1.0, 1.0, 0.5], atol=0.12)


def test_few_known_quasars_change_little(caplog: pytest.LogCaptureFixture) -> None:
    eight = learn_colours(TEMPLATES, _inject, _truth(0.3, 1.0, 400).head(8), "z")
    assert 0.1 < eight.offset[2].mean() < 0.35
    assert (eight.covariance[2].diagonal() < TEMPLATES.covariance[2].diagonal()).all()
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
    assert (learnt.offset[0] == 0.0).all() and learnt.stretch[0] == 1.0
    assert learnt.offset[2].mean() == pytest.approx(0.3, abs=0.05)


def test_nothing_is_learnt_where_no_injected_quasar_passes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO):
        learnt = learn_colours(TEMPLATES, lambda now: _inject(now).head(5), _truth(0.3, 1, 99), "z")
    assert learnt is TEMPLATES
    assert "5 injected quasars pass the cuts: too few to compare" in caplog.text


def test_an_offset_that_changes_with_redshift_is_learnt_so() -> None:
    """z - J 0.3 redder at low redshift, as templates at high."""
    slope = np.zeros_like(TEMPLATES.offset)
    slope[1] = np.linspace(0.3, 0.0, len(TEMPLATES.knots))
    flux, redshift = _quasars(900, 4)
    made = _corrected(slope, [1.0, 1.0, 1.0]).applied(flux, redshift, "z")
    known = _table(made, redshift, 5, "known_redshift")
    learnt = learn_colours(TEMPLATES, _inject, known, "z")
    np.testing.assert_allclose(learnt.offset[1], slope[1], atol=0.1)


@pytest.mark.parametrize("n", [10, 40])
def test_an_offset_is_as_uncertain_as_it_scatters_from_one_sample_to_the_next(n: int) -> None:
    """By a quarter less for many quasars at a cut, as offset and scatter go together there."""
    at = tents(np.array([6.0]), TEMPLATES.knots)[0]

    def inject(colours: Colours) -> pd.DataFrame:
        flux, redshift = _quasars(3000, 2)
        return _table(colours.applied(flux, redshift, "z"), redshift, 3, least=1.1)

    found, stated = [], []
    for seed in range(40, 80):
        flux, redshift = _quasars(2 * n, seed)
        known = _table(flux, redshift, seed, "known_redshift", 1.1).head(n)
        learnt = learn_colours(TEMPLATES, inject, known, "z")
        found.append(learnt.offset[1] @ at)
        stated.append(np.sqrt(at @ learnt.covariance[1] @ at))
    assert np.std(found) < 1.3 * np.mean(stated)
    assert np.mean(np.abs(found) < 1.645 * np.array(stated)) >= 0.8
    assert np.mean(stated) < np.sqrt(at @ TEMPLATES.covariance[1] @ at)


def test_moves_are_draws_of_what_is_not_known_and_read_back_from_a_table() -> None:
    rng = np.random.default_rng(2)
    moves = TEMPLATES.drawn(4000, np.array([0.1, 0.1, 0.1, 0.2]), rng)
    expected = np.sqrt(np.einsum("jaa->ja", TEMPLATES.covariance)) * 2.5 / np.log(10)
    np.testing.assert_allclose(moves.redder_mag.std(axis=0), expected, rtol=0.06)
    np.testing.assert_allclose(moves.ln_scatter.std(axis=0), TEMPLATES.stretch_error, rtol=0.06)
    np.testing.assert_allclose(
        moves.lens_mag.std(axis=0), np.array([0.02, 0.02, 0.05]) ** 0.5 * 1.0857, rtol=0.06
    )
    columns = moves.columns()
    again = moves_of(columns.assign(id=0))
    assert again is not None and len(again) == 4000
    np.testing.assert_allclose(again.redder_mag, moves.redder_mag)
    np.testing.assert_allclose(again.lens_mag, moves.lens_mag)
    np.testing.assert_allclose(again.knots, moves.knots, atol=1e-3)
    assert set(about_moves(list(columns))) == set(columns)
    assert moves_of(pd.DataFrame({"id": [1]})) is None
    one = moves.take(np.array([3]))
    assert one.quasar_mag(np.array([5.7, 6.0, 6.3])).shape == (3, 3)


def test_moved_quasars_and_lenses_are_that_much_redder() -> None:
    flux, redshift = _quasars(200, 6)
    moves = TEMPLATES.drawn(200, np.full(4, 0.2), np.random.default_rng(3))
    moves = replace(moves, ln_scatter=np.zeros_like(moves.ln_scatter))
    moved = TEMPLATES.applied(flux, redshift, "z", moves)
    redder = -2.5 * np.diff(np.log10(flux / moved), axis=1)
    np.testing.assert_allclose(redder, moves.quasar_mag(redshift), atol=1e-9)
    lens = moves.on_lenses(flux, "z")
    np.testing.assert_allclose(lens[:, 1], flux[:, 1])
    np.testing.assert_allclose(-2.5 * np.diff(np.log10(flux / lens), axis=1), moves.lens_mag)


def test_tents_add_up_to_one_and_hold_beyond_the_ends() -> None:
    values = np.array([-5.0, 0.0, 0.25, 0.9, 7.0])
    near = tents(values, [0.0, 0.5, 1.0])
    np.testing.assert_allclose(near.sum(axis=1), 1.0)
    np.testing.assert_allclose(near @ [0.0, 0.5, 1.0], np.clip(values, 0, 1))
