"""All objects against all templates, as matrix products.

For fluxes f with inverse variances w and a template m, the amplitude of least
chi2 is A = sum(w f m) / sum(w m^2) and chi2 = sum(w f^2) - A sum(w f m): two matrix
products give it for every object and template. Two non-negative amplitudes
(galaxy + quasar) follow from the 2 x 2 normal equations and the corner cases.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from archipelago.sed.priors import LN_NONE, Prior

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_LN_2PI = float(np.log(2 * np.pi))
#: Smallest amplitude that a logarithm is taken of.
_TINY = 1e-30
#: Templates worked on at once.
BLOCK = 1024
#: Objects worked on at once, at most.
_ROWS = 256


@dataclass(frozen=True)
class Photometry:
    """Fluxes ready to fit.

    Attributes
    ----------
    flux : (n, n_band) [uJy]; 0 where unused.
    variance : (n, n_band) [uJy^2], model error included; 1 where unused.
    used : (n, n_band) True where a band counts.
    """

    flux: Floats
    variance: Floats
    used: NDArray[np.bool_]

    @property
    def weight(self) -> Floats:
        """Inverse variances, 0 where a band does not count."""
        return np.where(self.used, 1 / self.variance, 0.0)

    @property
    def ln_norm(self) -> Floats:
        """Sum of ln(2 pi s^2) over the bands that count, (n,)."""
        return np.where(self.used, np.log(2 * np.pi * self.variance), 0.0).sum(axis=1)

    def rows(self, part: slice) -> Photometry:
        """Return some of the objects."""
        return Photometry(self.flux[part], self.variance[part], self.used[part])


@dataclass(frozen=True)
class SingleFit:
    """Fits of one class with one amplitude, for n objects.

    Attributes
    ----------
    chi2 : of the best template, (n,).
    index : the best template, (n,); -1 where no template has a positive amplitude.
    amplitude : of the best template, (n,).
    ln_evidence : ln of the marginal density times the expected number per deg^2, (n,).
    ln_group : the same by group of templates, (n, n_group).
    """

    chi2: Floats
    index: Ints
    amplitude: Floats
    ln_evidence: Floats
    ln_group: Floats


@dataclass(frozen=True)
class PairFit:
    """Fits of the composite, for n objects; as `SingleFit`, with two of each."""

    chi2: Floats
    index_quasar: Ints
    index_galaxy: Ints
    amplitude_quasar: Floats
    amplitude_galaxy: Floats
    ln_evidence: Floats
    ln_cell: Floats


def chunks(n_object: int, n_column: int, memory_mb: float, n_array: int = 10) -> Iterator[slice]:
    """Yield slices of objects such that ``n_array`` arrays (rows, n_column) fit into the memory."""
    rows = int(memory_mb * 1e6 / 8 / n_array / max(n_column, 1))
    size = min(max(rows, 1), _ROWS)
    for start in range(0, n_object, size):
        yield slice(start, min(start + size, n_object))


def fit_single(data: Photometry, models: Floats, prior: Prior) -> SingleFit:
    """Fit every object with every template of one class.

    The marginal likelihood sums over templates and integrates over the
    amplitude, whose likelihood is Gaussian and narrow against the prior:
    int p(A) L dA = p(A_best) L_best sqrt(2 pi) sigma_A.

    Parameters
    ----------
    data : n objects.
    models : (n_template, n_band) fluxes as the catalogue would measure them.
    prior : of the class.
    """
    weight = data.weight
    weighted = weight * data.flux
    null = (weighted * data.flux).sum(axis=1)
    n = len(null)
    rows = np.arange(n)
    best_chi2, best_amplitude = np.full(n, np.inf), np.zeros(n)
    best_index = np.full(n, -1, dtype=np.int64)
    ln_group = np.full((n, prior.table.shape[0]), -np.inf)
    constant = 0.5 * _LN_2PI - 0.5 * data.ln_norm[:, None]
    # Blocks of templates keep the arrays within the processor's cache.
    for start in range(0, len(models), BLOCK):
        block = slice(start, start + BLOCK)
        cross = weighted @ models[block].T
        square = np.maximum(weight @ (models[block] ** 2).T, _TINY)
        amplitude = np.maximum(cross / square, 0.0)
        chi2 = np.maximum(null[:, None] - amplitude * cross, 0.0)
        ln_amplitude = np.log(np.maximum(amplitude, _TINY))
        part = prior.part(block)
        ln_post = part.ln_density(ln_amplitude)
        ln_post -= ln_amplitude
        ln_post -= 0.5 * (chi2 + np.log(square))
        ln_post += constant
        ln_post[amplitude <= 0] = LN_NONE * 10
        pick = np.argmin(chi2, axis=1)
        better = chi2[rows, pick] < best_chi2
        best_chi2[better] = chi2[rows, pick][better]
        best_amplitude[better] = amplitude[rows, pick][better]
        best_index[better] = start + pick[better]
        present, local = np.unique(part.group, return_inverse=True)
        sums = log_sum_by_group(ln_post, local.astype(np.int64), len(present))
        ln_group[:, present] = np.logaddexp(ln_group[:, present], sums)
    return SingleFit(
        chi2=best_chi2,
        index=np.where(best_amplitude > 0, best_index, -1).astype(np.int64),
        amplitude=best_amplitude,
        ln_evidence=log_sum(ln_group, axis=1),
        ln_group=ln_group,
    )


def fit_pairs(
    data: Photometry,
    quasars: Floats,
    galaxies: Floats,
    allowed: NDArray[np.bool_],
    quasar_prior: Prior,
    galaxy_prior: Prior,
) -> PairFit:
    """Fit every object with every pair of a quasar and a galaxy, both amplitudes >= 0.

    Parameters
    ----------
    data : n objects.
    quasars, galaxies : (n_q, n_band) and (n_g, n_band) fluxes.
    allowed : (n_q, n_g), False where the galaxy is not in front of the quasar.
    quasar_prior, galaxy_prior : densities of either amplitude; their sum is the pair's.

    Notes
    -----
    The likelihood is a two-dimensional Gaussian in the amplitudes; where the best
    one lies on the border the missing part of its integral is neglected (a
    factor of at most about 2).
    """
    weight = data.weight
    weighted = weight * data.flux
    null = (weighted * data.flux).sum(axis=1)
    dq = weighted @ quasars.T
    dg = weighted @ galaxies.T
    qq = np.maximum(weight @ (quasars**2).T, _TINY)
    gg = np.maximum(weight @ (galaxies**2).T, _TINY)
    n = len(null)
    rows = np.arange(n)
    best_chi2 = np.full(n, np.inf)
    best_q = np.full(n, -1, dtype=np.int64)
    best_g = np.full(n, -1, dtype=np.int64)
    best_a = np.zeros(n)
    best_b = np.zeros(n)
    ln_cell = np.full((n, len(quasars)), LN_NONE * 10)
    for q in range(len(quasars)):
        g = np.flatnonzero(allowed[q])
        if not g.size:
            continue
        qg = weight @ (quasars[q] * galaxies[g]).T
        a, b, chi2, det = solve_pair(null, dq[:, [q]], dg[:, g], qq[:, [q]], gg[:, g], qg)
        # A part that is not measured counts as its own error: densities are per ln A.
        a_eff = np.log(np.maximum(a, 1 / np.sqrt(qq[:, [q]])))
        b_eff = np.log(np.maximum(b, 1 / np.sqrt(gg[:, g])))
        ln_post = -0.5 * chi2 + _LN_2PI - 0.5 * np.log(det) - a_eff - b_eff
        ln_post += quasar_prior.part(np.array([q])).ln_density(a_eff)
        ln_post += galaxy_prior.part(g).ln_density(b_eff)
        ln_cell[:, q] = log_sum(ln_post, axis=1) - 0.5 * data.ln_norm
        pick = np.argmin(chi2, axis=1)
        better = chi2[rows, pick] < best_chi2
        best_chi2 = np.where(better, chi2[rows, pick], best_chi2)
        best_q[better] = q
        best_g[better] = g[pick[better]]
        best_a = np.where(better, a[rows, pick], best_a)
        best_b = np.where(better, b[rows, pick], best_b)
    return PairFit(best_chi2, best_q, best_g, best_a, best_b, log_sum(ln_cell, axis=1), ln_cell)


def solve_pair(
    null: Floats, dq: Floats, dg: Floats, qq: Floats, gg: Floats, qg: Floats
) -> tuple[Floats, Floats, Floats, Floats]:
    """Return both amplitudes (>= 0), chi2 and the determinant of the normal equations.

    The least squares of two amplitudes under non-negativity: the free solution where both
    are positive; otherwise the better of the two fits with one of them 0 (Lawson &
    Hanson 1974, Solving Least Squares Problems, ch. 23, for two columns).

    Parameters
    ----------
    null : (n,) chi2 without a model.
    dq, dg, qq, gg, qg : sums over bands of w f q, w f g, w q^2, w g^2, w q g; (n, k) or (n, 1).
    """
    # Kept off zero: pairs of equal shape have no second dimension.
    det = np.maximum(qq * gg - qg**2, 1e-9 * qq * gg)
    a = (gg * dq - qg * dg) / det
    b = (qq * dg - qg * dq) / det
    free = (a >= 0) & (b >= 0)
    only_q = np.maximum(dq, 0.0) / qq
    only_g = np.maximum(dg, 0.0) / gg
    gain_q, gain_g = only_q * dq, only_g * dg
    q_wins = gain_q >= gain_g
    a = np.where(free, a, np.where(q_wins, only_q, 0.0))
    b = np.where(free, b, np.where(q_wins, 0.0, only_g))
    gain = np.where(free, a * dq + b * dg, np.where(q_wins, gain_q, gain_g))
    chi2 = np.maximum(null[:, None] - gain, 0.0)
    return a, b, chi2, det


def refine_pairs(
    data: Photometry,
    fit: PairFit,
    quasars: Floats,
    galaxies: Floats,
    quasar_redshift: Floats,
    galaxy_redshift: Floats,
) -> PairFit:
    """Improve each object's best pair among all templates, one part at a time.

    With the galaxy held, all quasars behind it are tried; then, with that quasar held, all
    galaxies in front of it. chi2 can only fall. Indices in ``fit`` must already
    be those of the full sets. The evidence is left as it is.
    """
    weight = data.weight
    weighted = weight * data.flux
    null = (weighted * data.flux).sum(axis=1)
    q_best, g_best = fit.index_quasar.copy(), fit.index_galaxy.copy()
    a_best, b_best = fit.amplitude_quasar.copy(), fit.amplitude_galaxy.copy()
    chi2_best = fit.chi2.copy()
    quasars_squared, galaxies_squared = quasars**2, galaxies**2
    for i in np.flatnonzero((q_best >= 0) & (g_best >= 0)):
        w, wf = weight[i], weighted[i]
        d_galaxies, gg_galaxies = galaxies @ wf, np.maximum(galaxies_squared @ w, _TINY)
        d_quasars, qq_quasars = quasars @ wf, np.maximum(quasars_squared @ w, _TINY)
        for held in ("galaxy", "quasar"):
            if held == "galaxy":
                g = g_best[i]
                tried = np.flatnonzero(quasar_redshift > galaxy_redshift[g])
                cross = quasars[tried] @ (w * galaxies[g])
                a, b, chi2, _ = solve_pair(
                    null[i : i + 1],
                    d_quasars[None, tried],
                    d_galaxies[None, [g]],
                    qq_quasars[None, tried],
                    gg_galaxies[None, [g]],
                    cross[None, :],
                )
            else:
                q = q_best[i]
                tried = np.flatnonzero(galaxy_redshift < quasar_redshift[q])
                cross = galaxies[tried] @ (w * quasars[q])
                a, b, chi2, _ = solve_pair(
                    null[i : i + 1],
                    d_quasars[None, [q]],
                    d_galaxies[None, tried],
                    qq_quasars[None, [q]],
                    gg_galaxies[None, tried],
                    cross[None, :],
                )
            pick = int(np.argmin(chi2[0]))
            if chi2[0, pick] < chi2_best[i]:
                chi2_best[i], a_best[i], b_best[i] = chi2[0, pick], a[0, pick], b[0, pick]
                if held == "galaxy":
                    q_best[i] = tried[pick]
                else:
                    g_best[i] = tried[pick]
    return PairFit(chi2_best, q_best, g_best, a_best, b_best, fit.ln_evidence, fit.ln_cell)


def log_sum(values: Floats, axis: int) -> Floats:
    """Return ln sum exp along an axis; -inf where all are -inf."""
    top = values.max(axis=axis, keepdims=True)
    safe = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        total = np.log(np.exp(values - safe).sum(axis=axis, keepdims=True)) + safe
    return np.squeeze(total, axis=axis)


def log_sum_by_group(values: Floats, group: Ints, n_group: int) -> Floats:
    """Return ln sum exp over the columns of each group, (n, n_group)."""
    top = values.max(axis=1, keepdims=True)
    scaled = np.exp(values - top)
    if np.any(np.diff(group) < 0):
        order = np.argsort(group, kind="stable")
        group, scaled = group[order], scaled[:, order]
    starts = np.searchsorted(group, np.arange(n_group))
    sums = np.add.reduceat(scaled, starts, axis=1)
    return np.log(np.maximum(sums, 1e-300)) + top
