"""All objects against all templates, as matrix products.

For fluxes f, an inverse covariance W and a template m, the amplitude of least chi2 is
A = f W m / m W m and chi2 = f W f - A f W m: a few matrix products give it for every object
and template. Two non-negative amplitudes (galaxy + quasar) follow from the 2 x 2 normal
equations and the corner cases. Fluxes that one survey measured share an error: the
covariance is a diagonal and one outer product per survey, which is inverted by hand
(Sherman & Morrison 1950, Ann. Math. Stat. 21, 124).

The fits take and return arrays of numpy; in between they compute on any `Backend`, in operations
that numpy and torch share (``xp``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archipelago.sed.backend import NUMPY, Array, Backend
from archipelago.sed.priors import LN_NONE, Prior

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_LN_2PI = float(np.log(2 * np.pi))
#: Smallest amplitude that a logarithm is taken of.
_TINY = 1e-30
#: Templates worked on at once.
BLOCK = 1024
#: Templates tried at once to improve the best pair.
_REFINED = 256


@dataclass(frozen=True)
class Photometry:
    """Fluxes ready to fit.

    Attributes
    ----------
    flux : (n, n_band) [uJy]; 0 where unused.
    variance : (n, n_band) [uJy^2], model error included; 1 where unused.
    used : (n, n_band) True where a band counts.
    shared : (n_group, n, n_band) [uJy]: one sigma of the error that the bands of a survey
        have in common, 0 in other bands; no band is in two groups. None: no such errors.
    """

    flux: Floats
    variance: Floats
    used: NDArray[np.bool_]
    shared: Floats | None = None

    @property
    def weight(self) -> Floats:
        """Inverse variances, 0 where a band does not count."""
        return np.where(self.used, 1 / self.variance, 0.0)

    def _shared_norm(self) -> Floats:
        """1 + v D^-1 v of each group of bands, (n_group, n)."""
        shared = np.zeros((0, *self.flux.shape)) if self.shared is None else self.shared
        return np.asarray(1 + (shared**2 * self.weight[None]).sum(axis=2))

    @property
    def modes(self) -> Floats:
        """u with C^-1 = D^-1 - sum of u u^T, (n_group, n, n_band)."""
        if self.shared is None:
            return np.zeros((0, *self.flux.shape))
        return np.asarray(
            self.weight[None] * self.shared / np.sqrt(self._shared_norm())[:, :, None]
        )

    @property
    def weighted(self) -> Floats:
        """C^-1 f, (n, n_band)."""
        modes = self.modes
        along = (modes * self.flux[None]).sum(axis=2)
        return np.asarray(self.weight * self.flux - (modes * along[:, :, None]).sum(axis=0))

    @property
    def null_chi2(self) -> Floats:
        """chi2 without a model, (n,)."""
        return np.asarray((self.weighted * self.flux).sum(axis=1))

    @property
    def ln_norm(self) -> Floats:
        """ln of the determinant of 2 pi C over the bands that count, (n,)."""
        diagonal = np.where(self.used, np.log(2 * np.pi * self.variance), 0.0).sum(axis=1)
        return np.asarray(diagonal + np.log(self._shared_norm()).sum(axis=0))

    def product(self, models: Floats) -> Floats:
        """Return m W m of every object and template, (n, n_template)."""
        return np.asarray(_Sums.of(self, NUMPY).product(models))

    def rows(self, part: Ints) -> Photometry:
        """Return some of the objects."""
        shared = None if self.shared is None else self.shared[:, part]
        return Photometry(self.flux[part], self.variance[part], self.used[part], shared)


@dataclass(frozen=True)
class _Sums:
    """What the fits need of the photometry, on a backend; see the names in `Photometry`."""

    weight: Array
    modes: Array
    weighted: Array
    null: Array
    on: Backend

    @classmethod
    def of(cls, data: Photometry, on: Backend) -> _Sums:
        """Compute them with numpy, and hand them over."""
        weight, modes = on.array(data.weight), on.array(data.modes)
        return cls(weight, modes, on.array(data.weighted), on.array(data.null_chi2), on)

    def product(self, models: Array) -> Array:
        """Return m W m of every object and template, (n, n_template)."""
        square = self.weight @ (models**2).T
        for mode in self.modes:
            square -= (mode @ models.T) ** 2
        return self.on.floor(square, _TINY)


@dataclass(frozen=True)
class Levels:
    """Which value of each parameter a template has.

    Attributes
    ----------
    values : per parameter its values, ascending, (n_value,).
    member : (n_template, n_level), 1 where a template has the value; the
        parameters' values side by side.
    """

    values: dict[str, Floats]
    member: Floats

    @classmethod
    def of(cls, parameters: Mapping[str, NDArray[Any]], names: Sequence[str]) -> Levels:
        """Return the levels of some parameters."""
        values, columns = {}, []
        for name in names:
            values[name], code = np.unique(parameters[name].astype(float), return_inverse=True)
            columns.append(np.eye(len(values[name]))[code])
        return cls(values, np.concatenate(columns, axis=1))

    def split(self, shares: Floats) -> dict[str, Floats]:
        """Return per parameter its part of (n, n_level)."""
        edges = np.cumsum([len(values) for values in self.values.values()])[:-1]
        return dict(zip(self.values, np.split(shares, edges, axis=1), strict=True))


class Marginal:
    """Posterior weights summed block by block, without overflow.

    Parameters
    ----------
    n : objects.
    n_level : columns that weights are summed into.
    n_amplitude : amplitudes whose mean and variance are wanted.
    on : what to compute on; arrays that come and go are its.
    """

    def __init__(self, n: int, n_level: int, n_amplitude: int = 1, on: Backend = NUMPY) -> None:
        self._on = on
        self._top = on.full(n, -np.inf)
        self._total = on.full(n, 0.0)
        self._levels = on.full((n, n_level), 0.0)
        self._moments = on.full((n_amplitude, 2, n), 0.0)

    def weigh(self, ln_post: Array) -> tuple[Array, Array, Array]:
        """Take in the ln weights of a block, (n, n_template); they are destroyed.

        Returns
        -------
        weight : (n, n_template), relative to the block's largest.
        share : factor that makes them relative to the largest of all so far, (n,).
        ln_total : ln of the block's sum, (n,).
        """
        xp = self._on.xp
        top = xp.amax(ln_post, 1)
        ln_post -= top[:, None]
        weight = xp.exp(ln_post, out=ln_post)
        total = weight.sum(axis=1)
        new = xp.maximum(self._top, top)
        old = xp.exp(self._top - new)
        share = xp.exp(top - new)
        self._top = new
        self._total = self._total * old + total * share
        self._levels *= old[:, None]
        self._moments *= old
        return weight, share, xp.log(total) + top

    def add_levels(self, part: Array, share: Array, columns: slice | Array) -> None:
        """Add sums of a block's weights to some of the levels."""
        self._levels[:, columns] += part * share[:, None]

    def add_amplitude(
        self, weight: Array, share: Array, ln_amplitude: Array, variance: Array, row: int = 0
    ) -> None:
        """Add a block's amplitudes: ln of the best ones and the variance of that."""
        vecdot = self._on.xp.linalg.vecdot
        mean = weight * ln_amplitude
        self._moments[row, 0] += share * mean.sum(axis=1)
        square = vecdot(mean, ln_amplitude) + vecdot(weight, variance)
        self._moments[row, 1] += share * square

    def _safe_total(self) -> Array:
        return self._on.floor(self._total + 0.0, _TINY)

    @property
    def ln_sum(self) -> Floats:
        """ln of the sum of all weights, (n,), of numpy."""
        return self._on.numpy(self._on.xp.log(self._safe_total()) + self._top)

    @property
    def levels(self) -> Floats:
        """Share of each level, (n, n_level), of numpy."""
        return self._on.numpy(self._levels / self._safe_total()[:, None])

    def ln_amplitude(self, row: int = 0) -> tuple[Floats, Floats]:
        """Return mean and standard deviation of ln amplitude, (n,) each, of numpy."""
        mean, square = self._moments[row] / self._safe_total()
        sigma = self._on.xp.sqrt(self._on.floor(square - mean**2, 0.0))
        return self._on.numpy(mean), self._on.numpy(sigma)


@dataclass(frozen=True)
class SingleFit:
    """Fits of one class with one amplitude, for n objects.

    Attributes
    ----------
    chi2 : of the best template, (n,).
    index : the best template, (n,); -1 where no template has a positive amplitude.
    amplitude : of the best template, (n,).
    ln_evidence : ln of the marginal density times the expected number per deg^2, (n,).
    levels : posterior share of each level of the parameters, (n, n_level).
    ln_amplitude, ln_amplitude_sigma : posterior mean and standard deviation, (n,).
    """

    chi2: Floats
    index: Ints
    amplitude: Floats
    ln_evidence: Floats
    levels: Floats
    ln_amplitude: Floats
    ln_amplitude_sigma: Floats


@dataclass(frozen=True)
class PairFit:
    """Fits of the composite, for n objects; as `SingleFit`, with two of each.

    ``levels_quasar`` and ``levels_galaxy`` hold the posterior shares of the
    representatives, (n, n_q) and (n, n_g).
    """

    chi2: Floats
    index_quasar: Ints
    index_galaxy: Ints
    amplitude_quasar: Floats
    amplitude_galaxy: Floats
    ln_evidence: Floats
    levels_quasar: Floats
    levels_galaxy: Floats
    ln_amplitude_quasar: tuple[Floats, Floats]
    ln_amplitude_galaxy: tuple[Floats, Floats]


def chunks(n_object: int, n_column: int, memory_mb: float, n_array: int = 10) -> Iterator[slice]:
    """Yield slices of objects such that ``n_array`` arrays (rows, n_column) fit into the memory."""
    size = chunk_rows(n_column, memory_mb, NUMPY.rows, n_array)
    for start in range(0, n_object, size):
        yield slice(start, min(start + size, n_object))


def chunk_rows(n_column: int, memory_mb: float, most: int, n_array: int = 10) -> int:
    """Return for how many objects, ``most`` at most, such arrays fit into the memory."""
    rows = int(memory_mb * 1e6 / 8 / n_array / max(n_column, 1))
    return min(max(rows, 1), most)


class _Best:
    """The best template, or pair, of each object so far.

    Parameters
    ----------
    chi2 : to beat, (n,).
    values : what else is kept of the best, (n,) each.
    """

    def __init__(self, on: Backend, chi2: Array, *values: Array) -> None:
        self._where = on.xp.where
        self.chi2 = chi2
        self.values = list(values)

    def update(self, chi2: Array, *values: Array) -> None:
        """Take over what has a lower chi2."""
        better = chi2 < self.chi2
        self.chi2 = self._where(better, chi2, self.chi2)
        self.values = [
            self._where(better, new, old) for new, old in zip(values, self.values, strict=True)
        ]


def fit_single(
    data: Photometry, models: Floats, prior: Prior, levels: Levels, on: Backend = NUMPY
) -> SingleFit:
    """Fit every object with every template of one class.

    The marginal likelihood sums over templates and integrates over the
    amplitude, whose likelihood is Gaussian and narrow against the prior:
    int p(A) L dA = p(A_best) L_best sqrt(2 pi) sigma_A. An amplitude below its own error,
    none or a negative one too, is not measured and counts as that error: p is per ln A.

    Parameters
    ----------
    data : n objects.
    models : (n_template, n_band) fluxes as the catalogue would measure them.
    prior : of the class.
    levels : parameters whose posterior shares are wanted.
    on : what to compute on.
    """
    xp, sums = on.xp, _Sums.of(data, on)
    n = len(data.flux)
    rows = on.array(np.arange(n))
    templates, member, density = on.array(models), on.array(levels.member), on.prior(prior)
    best = _Best(on, on.full(n, np.inf), on.full(n, -1), on.full(n, 0.0))
    marginal = Marginal(n, levels.member.shape[1], on=on)
    # Blocks of templates keep the arrays within the processor's cache.
    for start in range(0, len(models), BLOCK):
        block = slice(start, start + BLOCK)
        # sigma_A, and A / sigma_A: chi2 = null - (A / sigma_A)^2.
        sigma = 1 / xp.sqrt(sums.product(templates[block]))
        ratio = sums.weighted @ templates[block].T
        ratio *= sigma
        on.floor(ratio, 0.0)
        pick = xp.argmax(ratio, 1)
        found = ratio[rows, pick]
        best.update(sums.null - found**2, start + pick, found * sigma[rows, pick])
        # p(A_best) sigma_A = p(ln A) sigma_A / A; the rest of the likelihood comes at the end.
        gain = 0.5 * ratio**2
        on.floor(ratio, 1.0)
        ln_ratio = xp.log(ratio)
        ln_amplitude = xp.log(sigma)
        ln_amplitude += ln_ratio
        ln_post = on.ln_density(density.part(block), ln_amplitude)
        ln_post -= ln_ratio
        ln_post += gain
        posterior, share, _ = marginal.weigh(ln_post)
        marginal.add_levels(posterior @ member[block], share, slice(None))
        # sigma(ln A) = sigma_A / A.
        marginal.add_amplitude(posterior, share, ln_amplitude, 1 / ratio**2)
    index, amplitude = map(on.numpy, best.values)
    constant = 0.5 * (_LN_2PI - data.ln_norm - data.null_chi2)
    return SingleFit(
        np.maximum(on.numpy(best.chi2), 0.0),
        np.where(amplitude > 0, index, -1).astype(np.int64),
        amplitude,
        marginal.ln_sum + constant,
        marginal.levels,
        *marginal.ln_amplitude(),
    )


@dataclass(frozen=True)
class _PairBlock:
    """Pairs worked on at once: those of quasars that follow one another.

    Attributes
    ----------
    quasar, galaxy : of each pair, (n_pair,).
    q, g : the same as columns of arrays over quasars and over galaxies; one quasar is a slice of
        one column, and all galaxies are a slice: that copies nothing.
    quasars : columns of the quasars.
    of_quasar, of_galaxy : (n_pair, n_quasars) and (n_pair, n_galaxy), 1 where a pair has it; None
        where every quasar goes with every galaxy, quasar by quasar.
    """

    quasar: Array
    galaxy: Array
    q: slice | Array
    g: slice | Array
    quasars: slice
    of_quasar: Array
    of_galaxy: Array

    def sums(self, weight: Array) -> tuple[Array, Array]:
        """Return sums over the pairs of each quasar and of each galaxy."""
        if self.of_quasar is not None:
            return weight @ self.of_quasar, weight @ self.of_galaxy
        n_quasar = self.quasars.stop - self.quasars.start
        table = weight.reshape(len(weight), n_quasar, len(self.galaxy) // n_quasar)
        return table.sum(axis=2), table.sum(axis=1)


def _pair_blocks(allowed: NDArray[np.bool_], n_pair: int, on: Backend) -> Iterator[_PairBlock]:
    """Yield all pairs that are allowed, (n_q, n_g), about ``n_pair`` or one quasar's at once."""
    n_quasar, n_galaxy = allowed.shape
    step = max(n_pair // n_galaxy, 1)
    for start in range(0, n_quasar, step):
        quasars = slice(start, min(start + step, n_quasar))
        part = allowed[quasars]
        if not part.any():
            continue
        quasar, galaxy = np.nonzero(part)
        pairs = on.array(quasar + start), on.array(galaxy)
        of_quasar, of_galaxy = None, None
        if not part.all():
            of_quasar = on.array(np.eye(len(part))[quasar])
            of_galaxy = on.array(np.eye(n_galaxy)[galaxy])
        q, g = (quasars if len(part) == 1 else pairs[0]), pairs[1]
        if len(part) == 1 and part.all():
            g = slice(None)
        yield _PairBlock(*pairs, q, g, quasars, of_quasar, of_galaxy)


def fit_pairs(
    data: Photometry,
    quasars: Floats,
    galaxies: Floats,
    allowed: NDArray[np.bool_],
    quasar_prior: Prior,
    galaxy_prior: Prior,
    on: Backend = NUMPY,
) -> PairFit:
    """Fit every object with every pair of a quasar and a galaxy, both amplitudes >= 0.

    Parameters
    ----------
    data : n objects.
    quasars, galaxies : (n_q, n_band) and (n_g, n_band) fluxes.
    allowed : (n_q, n_g), False where the galaxy is not in front of the quasar.
    quasar_prior, galaxy_prior : densities of either amplitude; their product is the pair's.
    on : what to compute on.

    Notes
    -----
    The likelihood is a two-dimensional Gaussian in the amplitudes; where the best
    one lies on the border the missing part of its integral is neglected (a
    factor of at most about 2).
    """
    xp, sums = on.xp, _Sums.of(data, on)
    q_models, g_models = on.array(quasars), on.array(galaxies)
    q_prior, g_prior = on.prior(quasar_prior), on.prior(galaxy_prior)
    dq, dg = sums.weighted @ q_models.T, sums.weighted @ g_models.T
    qq, gg = sums.product(q_models), sums.product(g_models)
    # Products of the templates with the modes of shared errors, (n_group, n, n_q) and (n_g).
    uq, ug = sums.modes @ q_models.T, sums.modes @ g_models.T
    # A part that is not measured counts as its own error: densities are per ln A.
    least_a, least_b = 1 / xp.sqrt(qq), 1 / xp.sqrt(gg)
    n = len(data.flux)
    rows = on.array(np.arange(n))
    indices, amplitudes = (on.full(n, -1), on.full(n, -1)), (on.full(n, 0.0), on.full(n, 0.0))
    best = _Best(on, on.full(n, np.inf), *indices, *amplitudes)
    # Posterior weights of the quasars: relative to a block's largest, and ln of that.
    cell, ln_top = on.full((n, len(quasars)), 0.0), on.full((n, len(quasars)), LN_NONE * 10)
    marginal = Marginal(n, len(galaxies), 2, on)
    for block in _pair_blocks(allowed, on.pairs(n), on):
        q, g = block.q, block.g
        qg = sums.weight @ (q_models[q] * g_models[g]).T
        for u_quasar, u_galaxy in zip(uq, ug, strict=True):
            qg -= on.columns(u_quasar, q) * on.columns(u_galaxy, g)
        of_q, of_g = on.columns(qq, q), on.columns(gg, g)
        with_q, with_g = on.columns(dq, q), on.columns(dg, g)
        a, b, chi2, det = solve_pair(sums.null, with_q, with_g, of_q, of_g, qg, on)
        pick = xp.argmin(chi2, 1)
        found = block.quasar[pick], block.galaxy[pick], a[rows, pick], b[rows, pick]
        best.update(chi2[rows, pick], *found)
        on.floor(a, on.columns(least_a, q))
        on.floor(b, on.columns(least_b, g))
        ln_a, ln_b = xp.log(a), xp.log(b)
        ln_post = xp.log(det)
        ln_post += chi2
        ln_post *= -0.5
        ln_post -= ln_a
        ln_post -= ln_b
        ln_post += on.ln_density(q_prior.part(q), ln_a)
        ln_post += on.ln_density(g_prior.part(g), ln_b)
        posterior, share, ln_total = marginal.weigh(ln_post)
        of_quasar, of_galaxy = block.sums(posterior)
        cell[:, block.quasars] = of_quasar
        ln_top[:, block.quasars] = (ln_total - xp.log(of_quasar.sum(axis=1)))[:, None]
        marginal.add_levels(of_galaxy, share, slice(None))
        for row, (part, ln_part, other) in enumerate(((a, ln_a, of_g), (b, ln_b, of_q))):
            variance = (other / (det * part**2)).clip(None, 1.0)
            marginal.add_amplitude(posterior, share, ln_part, variance, row)
    # int L dA dB = L_best 2 pi / sqrt(det).
    constant = _LN_2PI - 0.5 * data.ln_norm
    ln_sum = marginal.ln_sum
    ln_sum = np.where(np.isfinite(ln_sum), ln_sum, LN_NONE * 10)  # where no pair is allowed
    best_q, best_g, best_a, best_b = map(on.numpy, best.values)
    return PairFit(
        chi2=on.numpy(best.chi2),
        index_quasar=best_q,
        index_galaxy=best_g,
        amplitude_quasar=best_a,
        amplitude_galaxy=best_b,
        ln_evidence=ln_sum + constant,
        levels_quasar=on.numpy(cell) * np.exp(np.minimum(on.numpy(ln_top) - ln_sum[:, None], 0.0)),
        levels_galaxy=marginal.levels,
        ln_amplitude_quasar=marginal.ln_amplitude(0),
        ln_amplitude_galaxy=marginal.ln_amplitude(1),
    )


def replace_rows(fit: PairFit, rows: Ints, better: PairFit) -> PairFit:
    """Return fits of which some objects' are replaced.

    Parameters
    ----------
    fit : of n objects.
    rows : objects that ``better`` fits, in its order.
    better : their fits, with as many levels.
    """
    changed: dict[str, Any] = {}
    for field in fields(PairFit):
        old, new = getattr(fit, field.name), getattr(better, field.name)
        # Both as one array: means and deviations are pairs of arrays.
        values, fresh = np.array(old), np.array(new)
        if isinstance(old, tuple):
            values[:, rows] = fresh
            changed[field.name] = tuple(values)
        else:
            values[rows] = fresh
            changed[field.name] = values
    return replace(fit, **changed)


def solve_pair(
    null: Array, dq: Array, dg: Array, qq: Array, gg: Array, qg: Array, on: Backend = NUMPY
) -> tuple[Array, Array, Array, Array]:
    """Return both amplitudes (>= 0), chi2 and the determinant of the normal equations.

    Least squares of two amplitudes under non-negativity. The free solution's second
    amplitude is floored at 0; then the best first one for that second is floored; then
    the best second one for that first. chi2 is convex: where one amplitude of the free solution
    is negative, the optimum lies on its edge, and this ends there (Lawson & Hanson 1974,
    Solving Least Squares Problems, ch. 23, for two columns).

    Parameters
    ----------
    null : (n,) chi2 without a model.
    dq, dg, qq, gg, qg : sums over bands of w f q, w f g, w q^2, w g^2, w q g; (n, k) or (n, 1).
    on : what the arrays are of.
    """
    xp = on.xp
    det = qq * gg
    # Kept off zero: pairs of equal shape have no second dimension.
    least = 1e-9 * det
    det -= qg * qg
    on.floor(det, least)
    b = (qq * dg - qg * dq) / det
    on.floor(b, 0.0)
    a = (dq - qg * b) / qq
    on.floor(a, 0.0)
    xp.multiply(qg, a, out=b)
    xp.subtract(dg, b, out=b)
    b /= gg
    on.floor(b, 0.0)
    chi2 = a * dq
    chi2 += b * dg
    xp.subtract(null[:, None], chi2, out=chi2)
    on.floor(chi2, 0.0)
    return a, b, chi2, det


def refine_pairs(
    data: Photometry,
    fit: PairFit,
    quasars: Floats,
    galaxies: Floats,
    quasar_redshift: Floats,
    galaxy_redshift: Floats,
    on: Backend = NUMPY,
) -> PairFit:
    """Improve each object's best pair among all templates, one part at a time.

    With the galaxy held, all quasars behind it are tried; then, with that quasar held, all
    galaxies in front of it. chi2 can only fall. Indices in ``fit`` must already
    be those of the full sets. The evidence is left as it is.
    """
    found = np.flatnonzero((fit.index_quasar >= 0) & (fit.index_galaxy >= 0))
    xp, sums = on.xp, _Sums.of(data.rows(found), on)
    names = ("chi2", "index_quasar", "index_galaxy", "amplitude_quasar", "amplitude_galaxy")
    chi2, *values = (on.array(getattr(fit, name)[found]) for name in names)
    best = _Best(on, chi2, *values)
    rows = on.array(np.arange(len(found)))
    sets = on.array(quasars), on.array(galaxies)
    redshifts = on.array(quasar_redshift), on.array(galaxy_redshift)
    for moved, held in ((0, 1), (1, 0)):
        at = best.values[held]
        other = sets[held][at]
        # m C^-1 o = m . y of every template m and the object's own o.
        y = sums.weight * other
        for mode in sums.modes:
            y -= mode * xp.linalg.vecdot(mode, other)[:, None]
        other2 = on.floor(xp.linalg.vecdot(y, other), _TINY)[:, None]
        along = xp.linalg.vecdot(sums.weighted, other)[:, None]
        z_held = redshifts[held][at][:, None]
        for start in range(0, len(sets[moved]), _REFINED):
            block = slice(start, start + _REFINED)
            models = sets[moved][block]
            cross, square = sums.weighted @ models.T, sums.product(models)
            pair = solve_pair(sums.null, along, cross, other2, square, y @ models.T, on)
            a, b, chi2, _ = pair
            z = redshifts[moved][block][None, :]
            chi2[(z <= z_held) if moved == 0 else (z >= z_held)] = np.inf
            pick = xp.argmin(chi2, 1)
            new = {moved: start + pick, held: at, 2 + moved: b[rows, pick], 2 + held: a[rows, pick]}
            best.update(chi2[rows, pick], *(new[key] for key in range(4)))
    improved: dict[str, Any] = {}
    for name, values_of in zip(names, (best.chi2, *best.values), strict=True):
        improved[name] = getattr(fit, name).copy()
        improved[name][found] = on.numpy(values_of)
    return replace(fit, **improved)


def log_sum(values: Floats, axis: int) -> Floats:
    """Return ln sum exp along an axis; -inf where all are -inf."""
    top = values.max(axis=axis, keepdims=True)
    safe = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        total = np.log(np.exp(values - safe).sum(axis=axis, keepdims=True)) + safe
    return np.squeeze(total, axis=axis)
