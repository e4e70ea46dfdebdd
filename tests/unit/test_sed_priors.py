"""Expected numbers of quasars, galaxies and stars."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from helpers.configuration import shipped_config
from numpy.typing import NDArray

from archipelago.cosmology import volume_mpc3_per_deg2
from archipelago.sed.dust import smc_extinction
from archipelago.sed.priors import (
    LN_A_MIN,
    LN_A_N,
    LN_A_STEP,
    Prior,
    galaxy_prior,
    lensed_quasar_prior,
    quasar_prior,
    star_prior,
)
from archipelago.sed.templates import ClassTemplates, Representatives

SECTIONS: dict[str, Any] = shipped_config().sed.fit.plain(without={"memory_mb"})["priors"]
QUASAR: dict[str, Any] = SECTIONS["quasar"]
_MAG_PER_LN = 2.5 / np.log(10)


def _grid(**axes: list[float]) -> ClassTemplates:
    """Return templates over axes, without fluxes."""
    rows = np.array(list(itertools.product(*axes.values())))
    return ClassTemplates(np.zeros((len(rows), 1)), dict(zip(axes, rows.T, strict=True)))


def _quasars(**changes: list[float]) -> ClassTemplates:
    axes = {
        "redshift": [5.0, 6.0, 7.0],
        "uv_slope": [-1.0, -0.6, -0.5, 0.2],
        "line_scale": [0.6, 1.6],
        "lya_scale": [0.1, 1.0, 1.3],
        "ebv": [-0.03, 0.0, 0.05, 0.12],
        "bal_depth": [0.0, 0.4],
        "igm_scale": [0.85, 1.0, 1.18],
    }
    return _grid(**(axes | changes))


def _ln(prior: Prior, m1450: float) -> NDArray[np.float64]:
    """Return ln of the density of every template at a magnitude seen, shares left out."""
    ln_a = np.full((1, len(prior.group)), (-26 - m1450) / _MAG_PER_LN)
    return np.asarray(prior.ln_density(ln_a)[0] - prior.log_weight)


def _phi(m1450: float) -> float:
    """Return the double power law of Schindler et al. 2023, without its height."""
    return 1 / (10 ** (0.4 * (-3.84 + 1) * (m1450 + 26.38)) + 10 ** (0.4 * -0.7 * (m1450 + 26.38)))


@pytest.mark.parametrize("ln_amplitude", [2.3, 0.9, -0.95])
def test_reddened_quasars_are_rarer_at_the_magnitude_seen(ln_amplitude: float) -> None:
    seen = -26 - _MAG_PER_LN * ln_amplitude
    quasars = _quasars()
    column = quasars.parameters
    ln = _ln(quasar_prior(quasars, QUASAR), seen)
    clean = ln[(column["redshift"] == 6) & (column["ebv"] == 0)]
    assert np.ptp(clean) < 1e-12
    before = clean[0]
    for ebv in (-0.03, 0.05, 0.12):
        reddened = ln[(column["redshift"] == 6) & (column["ebv"] == ebv)]
        dimming = ebv * float(smc_extinction([1450.0])[0])
        wanted = np.log(_phi(seen - dimming) / _phi(seen))
        assert reddened[0] - before == pytest.approx(wanted, abs=1e-9)
        assert (reddened[0] < before) == (ebv > 0)


def test_numbers_follow_the_luminosity_function_in_the_volume() -> None:
    # Even steps of 0.1: each redshift but the ends stands for 0.1.
    quasars = _quasars(redshift=[5.9, 6.0, 6.1], ebv=[0.0])
    ln = _ln(quasar_prior(quasars, QUASAR | {"density_scale": 1.0}), -26.0)
    at_6 = ln[quasars.parameters["redshift"] == 6][0]
    volume = float(volume_mpc3_per_deg2(np.array([6.0]))[0]) * 0.1
    wanted = np.log(10**-8.75 * _phi(-26.0) * volume * _MAG_PER_LN)
    assert at_6 == pytest.approx(wanted, abs=0.02)


@pytest.mark.parametrize(
    "axes",
    [
        {},
        {"uv_slope": [-0.3]},
        {"ebv": [0.0], "bal_depth": [0.0]},
        {"redshift": [5.0, 5.1, 6.9], "igm_scale": [0.5, 0.9, 1.0, 1.05, 2.0]},
    ],
)
def test_shares_sum_to_1_within_a_redshift(axes: dict[str, list[float]]) -> None:
    quasars = _quasars(**axes)
    prior = quasar_prior(quasars, QUASAR)
    z = quasars.parameters["redshift"]
    for value in np.unique(z):
        assert np.exp(prior.log_weight[z == value]).sum() == pytest.approx(1, abs=1e-12)
    # Rows of the table are redshifts and reddenings.
    n_row = len(np.unique(z)) * len(np.unique(quasars.parameters["ebv"]))
    assert prior.table.shape == (n_row, LN_A_N)
    assert np.isfinite(prior.table).all()


def test_shares_do_not_depend_on_how_finely_an_axis_is_sampled() -> None:
    """Half as wide cells: half the share each, and the same below any value."""
    coarse = list(np.linspace(-1.5, 0.9, 25))
    fine = list(np.unique(np.concatenate([coarse, np.linspace(-0.6, 0.9, 31)])))
    below = []
    for axis in (coarse, fine):
        quasars = _quasars(uv_slope=axis)
        share = np.exp(quasar_prior(quasars, QUASAR).log_weight)
        kept = quasars.parameters["redshift"] == 6
        below.append(share[kept & (quasars.parameters["uv_slope"] < -0.65)].sum())
    # A Gaussian of mean -0.3 and sigma 0.35, below -0.65: 16 %.
    assert below[0] == pytest.approx(0.159, abs=0.01)
    assert below[1] == pytest.approx(below[0], abs=0.01)


@pytest.mark.parametrize("depths", [[0.0, 0.4], [0.0, 0.3, 0.6], [0.0, 0.2, 0.4, 0.8]])
@pytest.mark.parametrize("share", [0.1, 0.3, 0.47])
def test_as_many_have_broad_absorption_lines_as_configured(
    depths: list[float], share: float
) -> None:
    quasars = _quasars(bal_depth=depths, redshift=[6.0])
    prior = quasar_prior(quasars, QUASAR | {"bal_share": share})
    found = np.exp(prior.log_weight)[quasars.parameters["bal_depth"] > 0].sum()
    assert found == pytest.approx(share, abs=1e-9)


def test_without_broad_absorption_lines_in_the_grid_all_have_none() -> None:
    prior = quasar_prior(_quasars(bal_depth=[0.0]), QUASAR)
    assert np.exp(prior.log_weight).sum() == pytest.approx(3)


def test_density_scale_is_a_factor() -> None:
    one, two = (quasar_prior(_quasars(), QUASAR | {"density_scale": k}) for k in (1.0, 2.0))
    np.testing.assert_allclose(two.table - one.table, np.log(2))
    np.testing.assert_array_equal(two.log_weight, one.log_weight)


def test_lensed_quasars_are_a_fraction_of_all_quasars() -> None:
    quasars = _quasars()
    prior = quasar_prior(quasars, QUASAR)
    z = quasars.parameters["redshift"]
    cell = (np.searchsorted([5, 6, 7], z) * 2 + (quasars.parameters["ebv"] > 0)).astype(np.int64)
    index = np.array([int(np.argmax(cell == k)) for k in range(6)])
    lensed = lensed_quasar_prior(prior, Representatives(index, cell), 0.05)
    for ln_a in (-1.0, 0.0, 2.0):
        every = np.exp(prior.ln_density(np.full((1, len(z)), ln_a))[0])
        some = np.exp(lensed.ln_density(np.full((1, 6), ln_a))[0])
        for k in range(6):
            assert some[k] == pytest.approx(0.05 * every[cell == k].sum(), rel=1e-9)


def _galaxies(torus: list[float]) -> ClassTemplates:
    return _grid(
        redshift=[0.2, 0.5, 1.5], av_mag=[0.0, 1.0], torus_fraction=torus, red_quasar_ebv=[0.0]
    )


@pytest.mark.parametrize("torus", [[0.0, 1.0], [0.0, 0.5, 2.0]])
def test_as_many_galaxies_have_a_torus_as_configured(torus: list[float]) -> None:
    galaxies = _galaxies(torus)
    prior = galaxy_prior(galaxies, SECTIONS["galaxy"])
    share = np.exp(prior.log_weight)
    active = galaxies.parameters["torus_fraction"] > 0
    z = galaxies.parameters["redshift"]
    for value in (0.2, 0.5, 1.5):
        assert share[z == value].sum() == pytest.approx(1)
        assert share[(z == value) & active].sum() == pytest.approx(
            SECTIONS["galaxy"]["torus_share"]
        )


def test_as_many_stars_are_blended_as_configured() -> None:
    stars = _grid(type_code=[0.0, 12.0], wise_blend=[0.0, 0.4, 2.5])
    columns = stars.parameters
    columns["spectral_type"] = np.where(columns["type_code"] == 0, "M0", "L2")
    columns["m_j_vega_mag"] = np.where(columns["type_code"] == 0, 6.0, 12.0)
    columns["density_pc3"] = np.where(columns["type_code"] == 0, 2e-3, 1e-3)
    section = SECTIONS["star"] | {"blend_fraction": 0.08}
    share = np.exp(star_prior(stars, section).log_weight)
    for code in (0, 12):
        own = columns["type_code"] == code
        assert share[own & (columns["wise_blend"] > 0)].sum() == pytest.approx(0.08)
        assert share[own].sum() == pytest.approx(1)


def test_the_table_is_read_at_the_nearest_amplitude_and_held_at_its_ends() -> None:
    table = np.arange(2 * LN_A_N, dtype=float).reshape(2, LN_A_N)
    prior = Prior(np.array([1, 0]), np.array([0.5, 0.0]), table)
    ln_a = np.array([[LN_A_MIN + 3.4 * LN_A_STEP, LN_A_MIN + 3.6 * LN_A_STEP], [-99.0, 99.0]])
    wanted = [[LN_A_N + 3 + 0.5, 4], [LN_A_N + 0.5, LN_A_N - 1]]
    np.testing.assert_allclose(prior.ln_density(ln_a.copy()), wanted)
    part = prior.part(np.array([1]))
    np.testing.assert_allclose(part.ln_density(ln_a[:, 1:].copy()), np.array(wanted)[:, 1:])
