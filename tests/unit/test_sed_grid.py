"""Fits of the grids against the same done slowly: whole covariance matrices, one by one."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy.optimize import nnls
from scipy.special import logsumexp

from archipelago.sed import grid
from archipelago.sed.grid import Levels, Marginal, PairFit, Photometry
from archipelago.sed.priors import LN_A_MIN, LN_A_N, LN_A_STEP, Prior

Floats = NDArray[np.float64]

N_BAND = 7
#: Bands of the surveys whose errors are shared.
GROUPS = ((2, 3), (4, 5, 6))


def _data(n: int, seed: int, *, positive: bool = True) -> Photometry:
    """Return random fluxes with unused bands and shared errors."""
    rng = np.random.default_rng(seed)
    flux = rng.uniform(0.5, 3.0, (n, N_BAND)) if positive else rng.normal(0.5, 2.0, (n, N_BAND))
    used = rng.uniform(size=flux.shape) < 0.8
    used[:, 0] = True
    used[0] = False
    used[0, :2] = True  # neither survey with shared errors
    flux = np.where(used, flux, 0.0)
    variance = np.where(used, rng.uniform(0.05, 0.5, flux.shape) ** 2, 1.0)
    shared = np.zeros((len(GROUPS), n, N_BAND))
    for row, group in enumerate(GROUPS):
        shared[row][:, group] = 0.2 * flux[:, group]
    return Photometry(flux, variance, used, shared)


def _whole(data: Photometry, row: int) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Return one object's fluxes, its whole covariance matrix and which bands these are."""
    used = data.used[row]
    covariance = np.diag(data.variance[row][used])
    if data.shared is not None:
        for group in data.shared[:, row]:
            covariance = covariance + np.outer(group[used], group[used])
    return data.flux[row][used], covariance, used


def _flat_prior(rng: np.random.Generator, n_template: int, n_group: int = 3) -> Prior:
    """Return densities that do not depend on the amplitude."""
    table = np.repeat(rng.uniform(-8, 0, (n_group, 1)), LN_A_N, axis=1)
    return Prior(rng.integers(0, n_group, n_template), rng.uniform(-3, 0, n_template), table)


def _values(prior: Prior) -> Floats:
    return np.asarray(prior.table[prior.group, 0] + prior.log_weight)


def _ln_amplitudes() -> Floats:
    return np.asarray(LN_A_MIN + LN_A_STEP * np.arange(LN_A_N))


def _chi2_of_pair(data: Photometry, row: int, models: Floats) -> tuple[Floats, float]:
    """Return the non-negative amplitudes of two models, (2,), and chi2."""
    flux, covariance, used = _whole(data, row)
    root = np.linalg.cholesky(np.linalg.inv(covariance)).T
    amplitudes, norm = nnls(root @ models[:, used].T, root @ flux)
    return amplitudes, float(norm**2)


# ------------------------------------------------------------------------- one amplitude


@pytest.mark.parametrize("positive", [True, False])
def test_single_fits_equal_those_with_whole_covariance_matrices(
    positive: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grid, "BLOCK", 16)  # several blocks, the last one smaller
    n, n_template = 30, 41
    data = _data(n, seed=3, positive=positive)
    rng = np.random.default_rng(4)
    models = rng.uniform(0.1, 2.0, (n_template, N_BAND))
    prior = _flat_prior(rng, n_template)
    axes = {"x": rng.integers(0, 4, n_template), "y": rng.integers(0, 2, n_template)}
    levels = Levels.of(axes, ["y", "x"])
    fit = grid.fit_single(data, models, prior, levels)
    for row in range(n):
        flux, covariance, used = _whole(data, row)
        inverse = np.linalg.inv(covariance)
        square = np.array([m @ inverse @ m for m in models[:, used]])
        best = np.array([m @ inverse @ flux for m in models[:, used]]) / square
        kept = np.maximum(best, 0)
        residual = flux - kept[:, None] * models[:, used]
        chi2 = np.array([r @ inverse @ r for r in residual])
        assert fit.chi2[row] == pytest.approx(chi2.min(), rel=1e-9, abs=1e-9)
        if not (best > 0).any():
            assert fit.index[row] == -1
            continue
        assert fit.index[row] == np.argmin(chi2)
        assert fit.amplitude[row] == pytest.approx(kept[np.argmin(chi2)], rel=1e-9)
        if not positive:
            continue
        assert (best * np.sqrt(square) > 1).all()  # all amplitudes are measured
        ln_post = (
            -0.5 * (chi2 + np.linalg.slogdet(2 * np.pi * covariance)[1])
            + 0.5 * np.log(2 * np.pi / square)
            - np.log(best)
            + _values(prior)
        )
        assert fit.ln_evidence[row] == pytest.approx(logsumexp(ln_post), abs=1e-9)
        share = np.exp(ln_post - logsumexp(ln_post))
        for name, values in levels.split(fit.levels).items():
            wanted = [share[axes[name] == value].sum() for value in levels.values[name]]
            np.testing.assert_allclose(values[row], wanted, atol=1e-5)
        mean = (share * np.log(best)).sum()
        variance = (share * (np.log(best) ** 2 + 1 / (square * best**2))).sum() - mean**2
        assert fit.ln_amplitude[row] == pytest.approx(mean, abs=1e-7)
        assert fit.ln_amplitude_sigma[row] == pytest.approx(np.sqrt(variance), abs=1e-6)


def test_no_shared_error_is_a_shared_error_of_zero() -> None:
    data = _data(12, seed=1)
    none = Photometry(data.flux, data.variance, data.used)
    zero = Photometry(data.flux, data.variance, data.used, 0 * data.shared)
    for name in ("weighted", "null_chi2", "ln_norm"):
        np.testing.assert_allclose(getattr(none, name), getattr(zero, name), rtol=1e-14)
    assert (data.null_chi2 < none.null_chi2)[1:].all()
    part = np.array([7, 2])
    np.testing.assert_array_equal(data.rows(part).weighted, data.weighted[part])
    np.testing.assert_array_equal(none.rows(part).ln_norm, none.ln_norm[part])


def test_a_template_with_negative_light_says_nothing_where_another_fits() -> None:
    """However badly the other fits: a chi2 of 10^8 is still more than no light at all."""
    flux = np.array([[100.0, 100.0, -3.0]])
    data = Photometry(flux, np.array([[1.0, 1.0, 1e-4]]) ** 2, np.ones((1, 3), bool))
    # The first one is bound to the third band, where the flux is negative.
    models = np.array([[1.0, 1.0, 1.0], [1.0, 1.0, 1e-8]])
    prior = Prior(np.zeros(2, np.int64), np.zeros(2), np.zeros((1, LN_A_N)))
    levels = Levels.of({"x": np.array([0.0, 1.0])}, ["x"])
    fit = grid.fit_single(data, models, prior, levels)
    assert fit.index[0] == 1
    np.testing.assert_allclose(fit.levels, [[0.0, 1.0]], atol=1e-6)
    assert fit.ln_amplitude[0] == pytest.approx(np.log(fit.amplitude[0]), abs=1e-3)


@pytest.mark.parametrize("level", [1e-6, 1e-12, 1e-20, 0.0])
def test_an_amplitude_that_is_not_measured_is_not_rewarded_for_being_small(level: float) -> None:
    """A template that is black in the only band with light: how black says nothing."""
    data = Photometry(np.array([[5.0, 0.0, 0.0]]), np.full((1, 3), 0.01), np.ones((1, 3), bool))
    prior = Prior(np.zeros(1, np.int64), np.zeros(1), np.zeros((1, LN_A_N)))
    levels = Levels.of({"x": np.zeros(1)}, ["x"])
    fit = grid.fit_single(data, np.array([[level, 1.0, 1.0]]), prior, levels)
    # As of no light in the amplitude's own error of 0.07.
    no_light = -0.5 * (data.null_chi2[0] + data.ln_norm[0]) + 0.5 * np.log(2 * np.pi)
    assert fit.ln_evidence[0] == pytest.approx(no_light, abs=1.0)


# ------------------------------------------------------------------------ two amplitudes

_LIGHT = arrays(float, 5, elements=st.floats(0.0, 10.0))


@settings(max_examples=150, deadline=None)
@given(
    quasar=_LIGHT,
    galaxy=_LIGHT,
    flux=arrays(float, 5, elements=st.floats(-10.0, 10.0)),
    sigma=arrays(float, 5, elements=st.floats(0.1, 3.0)),
    shared=arrays(float, 3, elements=st.floats(0.0, 5.0)),
)
def test_two_amplitudes_equal_nnls(
    quasar: Floats, galaxy: Floats, flux: Floats, sigma: Floats, shared: Floats
) -> None:
    error = np.zeros((1, 1, 5))
    error[0, 0, 2:] = shared
    data = Photometry(flux[None], sigma[None] ** 2, np.ones((1, 5), bool), error)
    models = np.array([quasar, galaxy])
    covariance = _whole(data, 0)[1]
    inverse = np.linalg.inv(covariance)
    normal = models @ inverse @ models.T
    # No light first: the determinant of next to nothing is a division by zero.
    if min(np.diag(normal)) < 1e-3 or np.linalg.det(normal) <= 1e-4 * normal[0, 0] * normal[1, 1]:
        return  # of one shape: the two amplitudes are not determined
    along = models @ data.weighted[0]
    one = np.newaxis
    a, b, chi2, det = grid.solve_pair(
        data.null_chi2,
        *(along[i : i + 1, one] for i in (0, 1)),
        *(normal[i : i + 1, j : j + 1] for i, j in ((0, 0), (1, 1), (0, 1))),
    )
    wanted, norm = nnls(*_whitened(inverse, models, flux))
    scale = 1 + np.abs(wanted).max()
    np.testing.assert_allclose([a[0, 0], b[0, 0]], wanted, atol=1e-7 * scale)
    assert chi2[0, 0] == pytest.approx(norm**2, abs=1e-7 * (1 + data.null_chi2[0]))
    assert det[0, 0] == pytest.approx(np.linalg.det(normal), rel=1e-6)


def _whitened(inverse: Floats, models: Floats, flux: Floats) -> tuple[Floats, Floats]:
    root = np.linalg.cholesky(inverse).T
    return root @ models.T, root @ flux


@pytest.fixture(scope="module")
def pairs() -> dict[str, Floats]:
    """A few quasars and galaxies, by redshift, and who is in front of whom."""
    rng = np.random.default_rng(8)
    z_q, z_g = np.sort(rng.uniform(2, 6, 9)), np.sort(rng.uniform(0.1, 4, 11))
    return {
        "quasars": rng.uniform(0.1, 2.0, (9, N_BAND)) * np.linspace(0.2, 2, N_BAND),
        "galaxies": rng.uniform(0.1, 2.0, (11, N_BAND)) * np.linspace(2, 0.4, N_BAND),
        "z_q": z_q,
        "z_g": z_g,
        "allowed": z_g[None, :] < z_q[:, None],
    }


def _fit(
    data: Photometry, pairs: dict[str, Floats], quasar_prior: Prior, galaxy_prior: Prior
) -> PairFit:
    return grid.fit_pairs(
        data, pairs["quasars"], pairs["galaxies"], pairs["allowed"], quasar_prior, galaxy_prior
    )


def _priors() -> tuple[Prior, Prior]:
    rng = np.random.default_rng(2)
    return _flat_prior(rng, 9), _flat_prior(rng, 11)


def test_pairs_equal_those_with_whole_covariance_matrices(pairs: dict[str, Floats]) -> None:
    data = _data(12, seed=5)
    q_prior, g_prior = _priors()
    assert not pairs["allowed"].all()
    fit = _fit(data, pairs, q_prior, g_prior)
    for row in range(12):
        flux, covariance, used = _whole(data, row)
        inverse = np.linalg.inv(covariance)
        chi2 = np.full(pairs["allowed"].shape, np.inf)
        ln_post = np.full(chi2.shape, -np.inf)
        amplitudes = np.zeros((*chi2.shape, 2))
        for q, g in zip(*np.nonzero(pairs["allowed"]), strict=True):
            models = np.array([pairs["quasars"][q], pairs["galaxies"][g]])
            amplitudes[q, g], chi2[q, g] = _chi2_of_pair(data, row, models)
            normal = models[:, used] @ inverse @ models[:, used].T
            floored = np.maximum(amplitudes[q, g], 1 / np.sqrt(np.diag(normal)))
            ln_post[q, g] = (
                -0.5 * (chi2[q, g] + np.linalg.slogdet(2 * np.pi * covariance)[1])
                + np.log(2 * np.pi)
                - 0.5 * np.log(np.linalg.det(normal))
                - np.log(floored).sum()
                + _values(q_prior)[q]
                + _values(g_prior)[g]
            )
        best = (fit.index_quasar[row], fit.index_galaxy[row])
        if used.sum() > 2:  # else many pairs fit exactly
            assert best == np.unravel_index(np.argmin(chi2), chi2.shape)
        assert fit.chi2[row] == pytest.approx(chi2.min(), abs=1e-8)
        got = [fit.amplitude_quasar[row], fit.amplitude_galaxy[row]]
        np.testing.assert_allclose(got, amplitudes[best], atol=1e-8)
        assert fit.ln_evidence[row] == pytest.approx(logsumexp(ln_post), abs=1e-6)
        share = np.exp(ln_post - logsumexp(ln_post))
        np.testing.assert_allclose(fit.levels_quasar[row], share.sum(axis=1), atol=1e-6)
        np.testing.assert_allclose(fit.levels_galaxy[row], share.sum(axis=0), atol=1e-6)


def test_evidence_of_a_pair_against_quadrature() -> None:
    quasar, galaxy = np.array([[0.1, 0.5, 1.0, 1.2, 1.0, 0.8, 0.7], [2, 1.8, 1.5, 1, 0.8, 0.6, 0]])
    truth = 3.0 * quasar + 5.0 * galaxy
    shared = np.zeros((1, 1, N_BAND))
    shared[0, 0, 4:6] = 0.01 * truth[4:6]
    data = Photometry(truth[None], (0.01 * truth[None]) ** 2, np.ones((1, N_BAND), bool), shared)
    # Quasars get rarer with brightness, galaxies more common.
    ln_a = _ln_amplitudes()
    one, zero = np.zeros(1, np.int64), np.zeros(1)
    q_prior, g_prior = Prior(one, zero, -1.5 * ln_a[None]), Prior(one, zero, 0.7 * ln_a[None])
    fit = grid.fit_pairs(data, quasar[None], galaxy[None], np.ones((1, 1), bool), q_prior, g_prior)
    flux, covariance, _ = _whole(data, 0)
    inverse = np.linalg.inv(covariance)
    a, b = np.log(3) + np.linspace(-0.15, 0.15, 500), np.log(5) + np.linspace(-0.15, 0.15, 500)
    model = np.exp(a)[:, None, None] * quasar + np.exp(b)[None, :, None] * galaxy
    residual = flux - model
    chi2 = np.einsum("abi,ij,abj->ab", residual, inverse, residual)
    density = np.exp(-0.5 * chi2 - 1.5 * a[:, None] + 0.7 * b[None, :])
    total = np.trapezoid(np.trapezoid(density, b, axis=1), a)
    wanted = np.log(total) - 0.5 * np.linalg.slogdet(2 * np.pi * covariance)[1]
    # Densities are tabled in steps of 0.05 in ln A: the nearest value is read.
    assert fit.ln_evidence[0] == pytest.approx(wanted, abs=0.03)
    for (mean, sigma), x, axis in (
        (fit.ln_amplitude_quasar, a, 1),
        (fit.ln_amplitude_galaxy, b, 0),
    ):
        share = density.sum(axis=axis) / density.sum()
        centre = (share * x).sum()
        assert mean[0] == pytest.approx(centre, abs=0.003)
        width = np.sqrt((share * (x - centre) ** 2).sum())
        assert sigma[0] == pytest.approx(width, rel=0.05)


def test_no_pair_is_allowed(pairs: dict[str, Floats]) -> None:
    fit = _fit(_data(3, seed=5), pairs | {"allowed": np.zeros((9, 11), bool)}, *_priors())
    assert (fit.index_quasar == -1).all() and (fit.ln_evidence < -1000).all()
    assert np.isfinite(fit.levels_quasar).all()


def test_a_quasar_without_a_galaxy_before_it_harms_no_object(pairs: dict[str, Floats]) -> None:
    """Even one that all pairs fit badly."""
    data = _data(3, seed=5)
    data = Photometry(data.flux, data.variance * 1e-6, data.used, None)
    allowed = pairs["allowed"].copy()
    allowed[0] = False
    fit = _fit(data, pairs | {"allowed": allowed}, *_priors())
    assert (fit.chi2[1:] > 1e4).all()
    np.testing.assert_allclose(fit.levels_quasar.sum(axis=1), 1, atol=1e-9)
    assert (fit.levels_quasar[:, 0] == 0).all()


# -------------------------------------------------------------------------- improvements


def _shuffled(fit: PairFit, data: Photometry, pairs: dict[str, Floats]) -> PairFit:
    """Return bad pairs, one per object, with their best amplitudes; the first has none."""
    rng = np.random.default_rng(11)
    n = len(fit.chi2)
    q, g = rng.integers(5, 9, n), rng.integers(0, 4, n)
    found = [
        _chi2_of_pair(data, row, np.array([pairs["quasars"][q[row]], pairs["galaxies"][g[row]]]))
        for row in range(n)
    ]
    q[0] = -1
    return replace(
        fit,
        index_quasar=q,
        index_galaxy=g,
        amplitude_quasar=np.array([amplitudes[0] for amplitudes, _ in found]),
        amplitude_galaxy=np.array([amplitudes[1] for amplitudes, _ in found]),
        chi2=np.array([chi2 for _, chi2 in found]),
    )


@pytest.mark.parametrize("block", [3, 256])
def test_refined_pairs_equal_a_search_one_part_after_the_other(
    block: int, pairs: dict[str, Floats], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grid, "_REFINED", block)
    data = _data(14, seed=6)
    start = _shuffled(_fit(data, pairs, *_priors()), data, pairs)
    names = ("quasars", "galaxies", "z_q", "z_g")
    fit = grid.refine_pairs(data, start, *(pairs[name] for name in names))
    assert (fit.chi2 <= start.chi2).all() and (fit.chi2 < start.chi2 - 0.1).any()
    assert fit.index_quasar[0] == -1 and fit.chi2[0] == start.chi2[0]
    np.testing.assert_array_equal(fit.ln_evidence, start.ln_evidence)
    for row in range(1, 14):
        q, g, best = start.index_quasar[row], start.index_galaxy[row], start.chi2[row]
        for quasar in np.flatnonzero(pairs["z_q"] > pairs["z_g"][g]):
            models = np.array([pairs["quasars"][quasar], pairs["galaxies"][g]])
            chi2 = _chi2_of_pair(data, row, models)[1]
            if chi2 < best - 1e-9:
                q, best = quasar, chi2
        for galaxy in np.flatnonzero(pairs["z_g"] < pairs["z_q"][q]):
            models = np.array([pairs["quasars"][q], pairs["galaxies"][galaxy]])
            chi2 = _chi2_of_pair(data, row, models)[1]
            if chi2 < best - 1e-9:
                g, best = galaxy, chi2
        assert fit.chi2[row] == pytest.approx(best, abs=1e-8)
        assert (fit.index_quasar[row], fit.index_galaxy[row]) == (q, g)
        models = np.array([pairs["quasars"][q], pairs["galaxies"][g]])
        got = [fit.amplitude_quasar[row], fit.amplitude_galaxy[row]]
        np.testing.assert_allclose(got, _chi2_of_pair(data, row, models)[0], atol=1e-8)


def test_the_best_of_all_pairs_cannot_be_refined(pairs: dict[str, Floats]) -> None:
    data = _data(14, seed=6)
    fit = _fit(data, pairs, *_priors())
    names = ("quasars", "galaxies", "z_q", "z_g")
    again = grid.refine_pairs(data, fit, *(pairs[name] for name in names))
    np.testing.assert_allclose(again.chi2, fit.chi2, atol=1e-9)
    np.testing.assert_array_equal(again.index_quasar[1:], fit.index_quasar[1:])


def test_replaced_rows_are_those_asked_for(pairs: dict[str, Floats]) -> None:
    data = _data(9, seed=6)
    coarse = _fit(data, pairs, *_priors())
    rows = np.array([7, 1, 4])
    other = _fit(data.rows(rows), pairs, *_priors()[:1], _flat_prior(np.random.default_rng(3), 11))
    mixed = grid.replace_rows(coarse, rows, other)
    rest = np.setdiff1d(np.arange(9), rows)
    for field in fields(PairFit):
        got, old, new = (np.array(getattr(fit, field.name)) for fit in (mixed, coarse, other))
        if field.name.startswith("ln_amplitude"):
            got, old, new = got.T, old.T, new.T
        np.testing.assert_array_equal(got[rows], new)
        np.testing.assert_array_equal(got[rest], old[rest])
    assert isinstance(mixed.ln_amplitude_quasar, tuple)
    assert (coarse.ln_evidence[rows] != other.ln_evidence).all()
    none = grid.replace_rows(coarse, rows[:0], _fit(data.rows(rows[:0]), pairs, *_priors()))
    np.testing.assert_array_equal(none.chi2, coarse.chi2)


# --------------------------------------------------------------------- sums over blocks


@given(
    seed=st.integers(0, 2**32 - 1),
    scale=st.sampled_from([0.1, 10.0, 3000.0]),
    sizes=st.lists(st.integers(1, 7), min_size=1, max_size=5),
)
@settings(max_examples=60, deadline=None)
def test_sums_by_blocks_equal_direct_ones(seed: int, scale: float, sizes: list[int]) -> None:
    rng = np.random.default_rng(seed)
    n, n_level, total = 4, 3, sum(sizes)
    ln_post = scale * rng.normal(size=(n, total))
    ln_a, variance = rng.normal(size=(2, n, total))
    variance = variance**2
    member = np.eye(n_level)[rng.integers(0, n_level, total)]
    marginal = Marginal(n, n_level, n_amplitude=2)
    ln_blocks = []
    for start, size in zip(np.cumsum([0, *sizes[:-1]]), sizes, strict=True):
        part = slice(start, start + size)
        weight, share, ln_block = marginal.weigh(ln_post[:, part].copy())
        marginal.add_levels(weight @ member[part], share, slice(None))
        marginal.add_amplitude(weight, share, ln_a[:, part], variance[:, part], row=1)
        ln_blocks.append(ln_block)
        np.testing.assert_allclose(ln_block, logsumexp(ln_post[:, part], axis=1), atol=1e-9)
    wanted = logsumexp(ln_post, axis=1)
    np.testing.assert_allclose(marginal.ln_sum, wanted, rtol=1e-12, atol=1e-9)
    posterior = np.exp(ln_post - wanted[:, None])
    np.testing.assert_allclose(marginal.levels, posterior @ member, atol=1e-9)
    mean, sigma = marginal.ln_amplitude(1)
    direct = (posterior * ln_a).sum(axis=1)
    np.testing.assert_allclose(mean, direct, atol=1e-9)
    second = (posterior * (ln_a**2 + variance)).sum(axis=1)
    np.testing.assert_allclose(sigma**2, second - direct**2, atol=1e-8)
    np.testing.assert_array_equal(marginal.ln_amplitude(0)[0], 0)


def test_levels_say_which_value_each_template_has() -> None:
    levels = Levels.of(
        {"z": np.array([2.0, 1.0, 2.0]), "kind": np.array([7, 7, 9]), "left": np.zeros(3)},
        ["z", "kind"],
    )
    assert list(levels.values) == ["z", "kind"]
    np.testing.assert_array_equal(levels.values["z"], [1, 2])
    np.testing.assert_array_equal(levels.member, [[0, 1, 1, 0], [1, 0, 1, 0], [0, 1, 0, 1]])
    parts = levels.split(np.arange(8.0).reshape(2, 4))
    np.testing.assert_array_equal(parts["kind"], [[2, 3], [6, 7]])


@pytest.mark.parametrize(
    ("n", "column", "memory_mb", "sizes"),
    [
        (600, 10, 1000.0, [256, 256, 88]),
        (5, 100, 0.016, [2, 2, 1]),
        (3, 10**9, 1.0, [1, 1, 1]),
        (0, 10, 10.0, []),
    ],
)
def test_chunks_cover_all_objects_within_the_memory(
    n: int, column: int, memory_mb: float, sizes: list[int]
) -> None:
    parts = list(grid.chunks(n, column, memory_mb))
    assert [part.stop - part.start for part in parts] == sizes
    assert [row for part in parts for row in range(n)[part]] == list(range(n))


def test_ln_of_a_sum() -> None:
    values = np.array([[0.0, np.log(3)], [-np.inf, -np.inf], [-5000.0, -5000.0]])
    wanted = [np.log(4), -np.inf, -5000 + np.log(2)]
    np.testing.assert_allclose(grid.log_sum(values, axis=1), wanted)
