"""How complete a search is, from what it found of the injected objects.

    from archipelago.injections.completeness import completeness
    completeness("results/des_dr2", z_mag=20.3, redshift=6.1)
    completeness("results/des_dr2", z_mag=20.3, redshift=6.1, lens_mag=21.0, separation_arcsec=1.2)

give the value and its 90 % interval. The tables count; the function smooths: a logistic model of
the axes, fitted to the same objects. Its interval holds what the objects leave open, and what is
not known of the colours of quasars and lenses (`archipelago.injections.colours.Moves`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.stats import beta, gamma

from archipelago.base.errors import ConfigError, InputError, nearest
from archipelago.base.tables import read_table
from archipelago.injections.colours import Moves, about_moves, moves_of, tents
from archipelago.injections.design import AXES, KINDS
from archipelago.injections.inject import ABOUT as ABOUT_INJECTED
from archipelago.injections.ranking import ABOUT as ABOUT_RANKING
from archipelago.injections.ranking import ABOUT_EVIDENCE, EVIDENCE

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

#: Chance that an interval holds the true value.
LEVEL = 0.9
#: Start of the columns that say which stages an injected object passed.
PASSES = "passes: "
#: Columns of the table of completeness, with what they are.
ABOUT = {
    "kind": "quasar or lensed",
    "axis": "column of injected.parquet that the bins are of; all: everything",
    "bin_lo": "least value in the bin",
    "bin_hi": "largest value in the bin",
    "stage": "up to which they passed; a piece of evidence counts those that pass all cuts and "
    "stand among the first by it alone",
    "n": "injected objects in the bin",
    "k": "those that passed",
    "completeness": "k / n",
    "lo": "lower end of its 90 % interval (Jeffreys)",
    "hi": "upper end",
}
_TINY_N = 1e-9


def jeffreys_interval(k: float, n: float, level: float = LEVEL) -> tuple[float, float]:
    """Return the interval of a share of which k of n were seen; (0, 1) for n = 0.

    Jeffreys's: equal tails of the Beta(k + 1/2, n - k + 1/2) distribution, 0 and 1 kept where k
    is 0 or n (Brown, Cai & DasGupta 2001, Stat. Sci. 16, 101, section 4.3). k and n need not be
    whole: effective numbers of weighted objects.
    """
    if n <= 0:
        return 0.0, 1.0
    tail = (1 - level) / 2
    low = 0.0 if k <= 0 else float(beta.ppf(tail, k + 0.5, n - k + 0.5))
    high = 1.0 if k >= n else float(beta.ppf(1 - tail, k + 0.5, n - k + 0.5))
    return low, high


def with_stages(
    table: pd.DataFrame,
    cuts: Sequence[str],
    ranked: pd.DataFrame,
    settings: Mapping[str, Any],
) -> pd.DataFrame:
    """Return the injected objects with a column of yes and no per stage, evidence and ranks.

    Parameters
    ----------
    table : (n) injected objects: id, lost_at, has_images.
    cuts : names in their order, as ``lost_at`` has them.
    ranked : those that passed all cuts, by id: rank, rank_by_*, combined_p_quasar,
        combined_p_lensed and more.
    settings : section ``injections``: first (lengths of the list), probability.

    Returns
    -------
    (n) rows: ``table``, ``ranked``, then ``passes: <stage>`` in the order of the search. Cuts add
    up; pieces of evidence stand beside each other.
    """
    new = ["id", *(name for name in ranked.columns if name not in table.columns)]
    result = table.merge(ranked[new], on="id", how="left", validate="one_to_one")
    order = {name: place for place, name in enumerate(cuts)}
    lost = result["lost_at"].astype(str)
    place = lost.map(order).astype(float).fillna(float(len(cuts))).to_numpy()
    survived = (lost == "").to_numpy()
    flags: dict[str, Bools] = {name: place > number for name, number in order.items()}
    if result["has_images"].any():
        flags["all cuts, with images"] = survived & result["has_images"].to_numpy(dtype=bool)
    for number in settings["first"]:
        for name in EVIDENCE:
            column = "rank" if name == "all" else f"rank_by_{name}"
            values = result[column].to_numpy(dtype=float)
            if name != "all" and not np.isfinite(values).any():
                continue
            with np.errstate(invalid="ignore"):
                flags[_first(number, name)] = survived & (values <= number)
    chance = result["combined_p_quasar"] + result["combined_p_lensed"]
    level = float(settings["probability"])
    flags[f"combined probability above {level:g}"] = survived & (chance > level).to_numpy()
    columns = {f"{PASSES}{name}": values for name, values in flags.items()}
    return pd.concat([result, pd.DataFrame(columns, index=result.index)], axis=1)


def _first(number: int, name: str) -> str:
    return f"first {number}" if name == "all" else f"first {number} by {name}"


def stages_of(table: pd.DataFrame) -> list[str]:
    """Return the stages of a table of `with_stages`, in their order."""
    return [name.removeprefix(PASSES) for name in table.columns if name.startswith(PASSES)]


def describe(table: pd.DataFrame) -> dict[str, str]:
    """Return what each column of injected.parquet is, for its metadata."""
    known = {**ABOUT_EVIDENCE, **ABOUT_RANKING, **ABOUT_INJECTED}
    about = {name: text for name, text in known.items() if name in table.columns}
    passed = {
        f"{PASSES}{stage}": f"whether it passes: {stage}; see completeness.csv"
        for stage in stages_of(table)
    }
    return {**about, **about_moves(list(table.columns)), **passed}


def completeness_table(table: pd.DataFrame, n_bins: int) -> pd.DataFrame:
    """Count what passed each stage along each axis.

    Parameters
    ----------
    table : of `with_stages`.
    n_bins : of equal width per axis (of the logarithm, for the magnification), the last one closed.

    Returns
    -------
    Columns of `ABOUT`; per kind first a row per stage with axis ``all``.
    """
    rows: list[dict[str, Any]] = []
    for kind in KINDS:
        mine = table[(table["kind"] == kind).to_numpy()]
        bins: list[tuple[str, float, float, Bools]] = [
            ("all", np.nan, np.nan, np.ones(len(mine), dtype=bool))
        ]
        for axis in AXES[kind]:
            values = mine[axis].to_numpy(dtype=float)
            edges = bin_edges(values, axis, n_bins)
            for number, (low, high) in enumerate(zip(edges[:-1], edges[1:], strict=True)):
                last = number == len(edges) - 2
                inside = (values >= low) & ((values < high) | (last & (values <= high)))
                bins.append((axis, float(low), float(high), inside))
        for axis, low, high, inside in bins:
            for stage in stages_of(table):
                n = int(inside.sum())
                k = int(mine[f"{PASSES}{stage}"].to_numpy(dtype=bool)[inside].sum())
                bottom, top = jeffreys_interval(k, n)
                rows.append(
                    {
                        "kind": kind,
                        "axis": axis,
                        "bin_lo": low,
                        "bin_hi": high,
                        "stage": stage,
                        "n": n,
                        "k": k,
                        "completeness": k / n if n else np.nan,
                        "lo": bottom,
                        "hi": top,
                    }
                )
    return pd.DataFrame(rows, columns=list(ABOUT))


def bin_edges(values: Floats, axis: str, n_bins: int) -> Floats:
    """Return the edges of the bins of an axis, from its least to its largest value."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return np.empty(0)
    low, high = float(finite.min()), float(finite.max())
    if high <= low:
        return np.array([low, high])
    if axis == "magnification":
        return np.geomspace(low, high, n_bins + 1)
    return np.linspace(low, high, n_bins + 1)


# --- the smooth model ----------------------------------------------------------------------------

#: Where the slope of an axis may change, on the scale from -1 to 1 of its range.
_KNOTS = (-0.75, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75)
#: Width of the prior of coefficients: slopes, changes of slope, products [ln odds per half range].
#: A cut is a step within a tenth of a magnitude: slopes must be free to be as steep.
_PRIOR_LINEAR, _PRIOR_BENT, _PRIOR_PRODUCT = 10.0, 30.0, 3.0
#: Where the effect of other colours is told, on the same scale of the redshift, and the steps of
#: colour [mag] and of ln scatter that it is per.
_PLACES = (-1.0, *_KNOTS, 1.0)
_STEP_MAG, _STEP_LN = 0.1, 0.2
#: Where products of two axes are told, linear between.
_PAIR_PLACES = (-1.0, -0.5, 0.0, 0.5, 1.0)
#: Width of learnt priors to begin with [ln odds], its bounds, and how often it is learnt.
_PRIOR_LEARNT, _LEAST_LEARNT, _MOST_LEARNT, _LEARN = 1.0, 0.01, 10.0, 8
_STEPS = 200
#: Draws of the coefficients that intervals come from, and points that a missing axis is
#: averaged over.
_DRAWS, _AVERAGED = 200, 64
#: Points asked for at once.
_AT_ONCE = 32
#: Steps before the first draw, and from one to the next.
_WARM, _THIN = 200, 5


@dataclass(frozen=True)
class Value:
    """A completeness and its 90 % interval; arrays of the shape of what was asked for."""

    value: Floats
    lo: Floats
    hi: Floats


@dataclass(frozen=True)
class Smooth:
    """A logistic model of the completeness over axes.

    Attributes
    ----------
    axes : names.
    low, high : (axis,) range of each; outside nothing is said.
    coefficients : (p,) where the posterior is highest.
    drawn : (p, draw) from the posterior.
    sample : (m, axis) values that a missing axis is averaged over.
    moves : a draw each of how far all colours are from those thought most likely; None: not told.
    """

    axes: tuple[str, ...]
    low: Floats
    high: Floats
    coefficients: Floats
    drawn: Floats
    sample: Floats
    moves: Moves | None = None

    @classmethod
    def fit(
        cls, values: Floats, passed: Bools, axes: Sequence[str], moves: Moves | None = None
    ) -> Smooth:
        """Fit the model.

        ln odds = slopes that change at seven knots per axis, and surfaces over each two axes; for a
        quasar behind a lens also of the magnitude of both together and of the lens's share of the
        light. Where objects tell by how much their colours were moved, each colour of quasars,
        and its scatter, has an effect at nine redshifts, linear between, and each of lenses one
        that changes with the lens's redshift and share of the light. Coefficients have Gaussian
        priors about 0; those of each surface and of each colour's effect have a width of their own,
        which the objects tell (MacKay 1992, Neural Comput. 4, 415): most do nothing. The mode is
        found by Newton's method, and draws from the posterior by elliptical slices
        (`_posterior_draws`).

        Parameters
        ----------
        values : (n, axis).
        passed : (n,).
        axes : names, of `AXES`.
        moves : (n) of the objects; None: their colours are as if known.

        Raises
        ------
        InputError
            If there are fewer than two objects.
        """
        if len(values) < 2:
            raise InputError(
                f"{len(values)} injected objects tell no completeness",
                where="injections",
                next_step="inject more: injections.n_quasars, injections.n_lensed",
            )
        low, high = values.min(axis=0), values.max(axis=0)
        spread = values[:: max(1, len(values) // _AVERAGED)][:_AVERAGED]
        worlds = None
        if moves is not None:
            rows = np.random.default_rng(6_052).integers(len(moves), size=_DRAWS)
            worlds = moves.take(rows)
        empty = cls(tuple(axes), low, high, np.empty(0), np.empty((0, 0)), spread, worlds)
        design, width, group = empty.features(values)
        if moves is not None:
            effects, of_colour = empty.effects(values, moves)
            design = np.hstack([design, effects])
            width = np.concatenate([width, np.full(len(of_colour), _PRIOR_LEARNT)])
            group = np.concatenate([group, group.max() + 1 + of_colour])
        target, precision = passed.astype(float), width**-2.0
        coefficients, hessian = _mode(design, target, precision, np.zeros(len(precision)))
        for _ in range(_LEARN):
            precision = _relevance(coefficients, hessian, precision, group)
            coefficients, hessian = _mode(design, target, precision, coefficients)
        drawn = _posterior_draws(design, target, precision, coefficients, hessian)
        return cls(empty.axes, low, high, coefficients, drawn, spread, worlds)

    def features(self, values: Floats) -> tuple[Floats, Floats, NDArray[np.int64]]:
        """Return what the ln odds are linear in, of values (n, axis).

        Returns
        -------
        features : (n, p).
        width : (p,) of each coefficient's prior.
        group : (p,) those of one number have a width of their own, which the objects tell; -1: as
            stated.
        """
        scaled = [self._scaled(values[:, k], k) for k in range(len(self.axes))]
        linear = list(scaled)
        if "lens_mag" in self.axes:
            quasar = values[:, self.axes.index("quasar_mag")]
            lens = values[:, self.axes.index("lens_mag")]
            both = quasar - 2.5 * np.log10(1 + 10 ** (0.4 * (quasar - lens)))
            place = self.axes.index("quasar_mag")
            linear += [self._scaled(both, place), 2 * self._lens_share(values) - 1]
        bent = [np.maximum(one - knot, 0.0) for one in linear for knot in _KNOTS]
        products = [scaled[i] * scaled[j] for i in range(len(scaled)) for j in range(i)]
        near = [tents(one, _PAIR_PLACES) for one in linear]
        pairs = [
            (near[i][:, :, None] * near[j][:, None, :]).reshape(len(values), -1)
            for i in range(len(near))
            for j in range(i)
        ]
        parts = [
            (np.ones((len(values), 1)), _PRIOR_LINEAR, False),
            (np.column_stack(linear), _PRIOR_LINEAR, False),
            (np.column_stack(bent), _PRIOR_BENT, False),
            *([(np.column_stack(products), _PRIOR_PRODUCT, False)] if products else []),
            *((one, _PRIOR_LEARNT, True) for one in pairs),
        ]
        width = np.concatenate([np.full(one.shape[1], prior) for one, prior, _ in parts])
        group = np.concatenate(
            [np.full(one.shape[1], k if learnt else -1) for k, (one, _, learnt) in enumerate(parts)]
        )
        return np.hstack([one for one, _, _ in parts]), width, group

    def effects(self, values: Floats, moves: Moves) -> tuple[Floats, NDArray[np.int64]]:
        """Return what the ln odds are linear in beside `features`, (n, q), and of which colour.

        Parameters
        ----------
        values : (n, axis).
        moves : (n).
        """
        amounts = [
            moves.quasar_mag(values[:, self.axes.index("redshift")]) / _STEP_MAG,
            moves.ln_scatter / _STEP_LN,
            moves.lens_mag / _STEP_MAG,
        ]
        columns, group = [], []
        for number, (amount, shape) in enumerate(zip(amounts, self._shapes(values), strict=False)):
            columns.append((amount[:, :, None] * shape[:, None, :]).reshape(len(values), -1))
            colours = np.arange(amount.shape[1]) + number * amount.shape[1]
            group.append(np.repeat(colours, shape.shape[1]))
        return np.hstack(columns), np.concatenate(group)

    def _shapes(self, values: Floats) -> list[Floats]:
        """Return how the effects of quasars' colours, their scatter and lenses' colours change.

        Each (n, k); the last one only where there are lenses.
        """
        redshift = self.axes.index("redshift")
        near = tents(self._scaled(values[:, redshift], redshift), _PLACES)
        if "lens_mag" not in self.axes:
            return [near, near]
        lens = self.axes.index("lens_redshift")
        share = 2 * self._lens_share(values) - 1
        place = self._scaled(values[:, lens], lens)
        return [near, near, np.stack([np.ones(len(values)), place, share], axis=1)]

    def _odds_of_worlds(self, values: Floats, effects: Floats) -> Floats:
        """Return what the colours of each draw's world add to the ln odds, (n, draw).

        Parameters
        ----------
        values : (n, axis).
        effects : (q, draw) coefficients of `effects`.
        """
        assert self.moves is not None  # asked only then
        moves = self.moves
        near = tents(values[:, self.axes.index("redshift")], moves.knots)
        amounts = [
            np.einsum("nk,dck->ndc", near, moves.redder_mag) / _STEP_MAG,
            moves.ln_scatter[None] / _STEP_LN,
            moves.lens_mag[None] / _STEP_MAG,
        ]
        odds, start = np.zeros((len(values), len(moves))), 0
        for amount, shape in zip(amounts, self._shapes(values), strict=False):
            n_colours = amount.shape[2]
            part = effects[start : start + n_colours * shape.shape[1]]
            start += len(part)
            part = part.reshape(n_colours, shape.shape[1], -1)
            odds += (amount * np.einsum("nk,ckd->ndc", shape, part, optimize=True)).sum(axis=2)
        return odds

    def _lens_share(self, values: Floats) -> Floats:
        """Return the lens's share of the light of lens and quasar, (n,)."""
        quasar = values[:, self.axes.index("quasar_mag")]
        lens = values[:, self.axes.index("lens_mag")]
        return np.asarray(1 / (1 + 10 ** (0.4 * (lens - quasar))))

    def _scaled(self, values: Floats, axis: int) -> Floats:
        low, high = self.low[axis], self.high[axis]
        if self.axes[axis] == "magnification":
            values, low, high = np.log(values), np.log(low), np.log(high)
        return np.asarray(2 * (values - low) / max(float(high - low), _TINY_N) - 1)

    def chances(self, values: Floats) -> Floats:
        """Return the completeness at points (n, axis) by draws of the model, (n, draw)."""
        return self._chances(values, self.features(values)[0])

    def _chances(self, values: Floats, features: Floats) -> Floats:
        """Return `chances` at points whose `features` (n, p) are there."""
        odds = np.asarray(features @ self.drawn[: features.shape[1]])
        if self.moves is not None:
            odds += self._odds_of_worlds(values, self.drawn[features.shape[1] :])
        return _logistic(odds)

    def __call__(self, given: Mapping[str, ArrayLike | None]) -> Value:
        """Return the completeness at points.

        Parameters
        ----------
        given : per axis numbers, all to be broadcast together; None, or no entry: averaged over
            the injected objects. Outside the range of what was injected the answer is NaN.
        """
        arrays = {k: np.asarray(v, dtype=float) for k, v in given.items() if v is not None}
        shape = np.broadcast_shapes(*(one.shape for one in arrays.values()))
        flat = {name: np.broadcast_to(one, shape).ravel() for name, one in arrays.items()}
        n = int(np.prod(shape))
        missing = [name for name in self.axes if name not in flat]
        sample = self.sample if missing else self.sample[:1]
        points = np.repeat(sample[None], n, axis=0)
        inside = np.ones(n, dtype=bool)
        for name, values in flat.items():
            place = self.axes.index(name)
            points[:, :, place] = values[:, None]
            inside &= (values >= self.low[place]) & (values <= self.high[place])
        result = np.full((n, 3), np.nan)
        rows = np.flatnonzero(inside)
        for part in np.array_split(rows, -(-len(rows) // _AT_ONCE)) if len(rows) else []:
            result[part] = self._with_interval(points[part])
        return Value(*(result[:, k].reshape(shape) for k in range(3)))

    def _with_interval(self, points: Floats) -> Floats:
        """Return value, lo and hi, each of the mean over m points, (n, 3) of (n, m, axis)."""
        n, m, _ = points.shape
        flat = points.reshape(n * m, -1)
        features = self.features(flat)[0]
        each = self._chances(flat, features).reshape(n, m, -1).mean(axis=1)
        likeliest = _logistic(features @ self.coefficients[: features.shape[1]])
        middle = likeliest.reshape(n, m).mean(axis=1)
        low, high = np.quantile(each, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=1)
        return np.stack([middle, np.minimum(low, middle), np.maximum(high, middle)], axis=1)


def _mode(
    design: Floats, target: Floats, precision: Floats, start: Floats
) -> tuple[Floats, Floats]:
    """Return where a logistic model's posterior is highest (p,), and its curvature (p, p)."""
    coefficients, hessian = start, np.diag(precision)
    for _ in range(_STEPS):
        p = _logistic(design @ coefficients)
        gradient = design.T @ (target - p) - precision * coefficients
        hessian = (design * (p * (1 - p))[:, None]).T @ design + np.diag(precision)
        step = np.linalg.solve(hessian, gradient)
        step *= min(1.0, 5.0 / max(float(np.abs(step).max()), 1e-12))
        coefficients = coefficients + step
        if np.abs(step).max() < 1e-6:
            break
    return coefficients, hessian


def _relevance(
    coefficients: Floats, hessian: Floats, precision: Floats, group: NDArray[np.int64]
) -> Floats:
    """Return precisions of the priors with those of each group as its coefficients tell.

    One over the width squared becomes (number of coefficients that the objects determine) / (sum
    of their squares): MacKay (1992, Neural Comput. 4, 415, equation 4.4). Group -1 stays.
    """
    variance = np.diag(np.linalg.inv(hessian))
    result = precision.copy()
    for one in np.unique(group[group >= 0]):
        rows = group == one
        determined = float((1 - precision[rows] * variance[rows]).sum())
        width2 = float((coefficients[rows] ** 2).sum()) / max(determined, _TINY_N)
        result[rows] = np.clip(width2, _LEAST_LEARNT**2, _MOST_LEARNT**2) ** -1.0
    return result


def _posterior_draws(
    design: Floats, target: Floats, precision: Floats, mode: Floats, hessian: Floats
) -> Floats:
    """Draw coefficients of a logistic model from their posterior, (p, draw); always the same.

    Elliptical slice sampling (Murray, Adams & MacKay 2010, AISTATS 9, 541) about the Gaussian of
    the mode and its curvature, which stands for nearly all of the posterior where objects pass and
    fail; where all of them pass it is far too wide, and alone would say that anything is possible.

    Parameters
    ----------
    design, target : (n, p), and (n,) of 0 and 1.
    precision : (p,) of the priors about 0.
    mode, hessian : (p,), (p, p) of minus ln posterior at the mode.
    """
    rng = np.random.default_rng(6_051)
    # Rows of `root` times normal numbers have the covariance of the curvature.
    root = np.linalg.inv(np.linalg.cholesky(hessian))

    def ln_ratio(change: Floats, odds: Floats) -> float:
        """Return ln of posterior over Gaussian, up to a constant, at mode + change."""
        at = mode + change
        likelihood = target @ odds - np.logaddexp(0.0, odds).sum()
        gaussian = -0.5 * change @ hessian @ change
        return float(likelihood - 0.5 * precision @ at**2 - gaussian)

    change, middle = np.zeros_like(mode), design @ mode
    moved = np.zeros(len(design))
    value = ln_ratio(change, middle)
    drawn = np.empty((len(mode), _DRAWS))
    for step in range(-_WARM, _DRAWS * _THIN):
        other = rng.standard_normal(len(mode)) @ root
        other_moved = design @ other
        level = value + np.log(rng.random())
        angle = rng.uniform(0, 2 * np.pi)
        low, high = angle - 2 * np.pi, angle
        while True:
            cosine, sine = np.cos(angle), np.sin(angle)
            trial, trial_moved = (
                change * cosine + other * sine,
                moved * cosine + other_moved * sine,
            )
            value = ln_ratio(trial, middle + trial_moved)
            if value > level:
                break
            # The slice holds the point that it began from, angle 0.
            low, high = (angle, high) if angle < 0 else (low, angle)
            angle = rng.uniform(low, high)
        change, moved = trial, trial_moved
        if step >= 0 and step % _THIN == 0:
            drawn[:, step // _THIN] = mode + change
    return drawn


def _logistic(values: Floats) -> Floats:
    return np.asarray(0.5 * (1 + np.tanh(0.5 * values)))


def smooth_of(table: pd.DataFrame, kind: str, stage: str) -> Smooth:
    """Return the model of one kind and stage; see `with_stages` and `Smooth.fit`.

    Raises
    ------
    ConfigError
        If there is no such stage.
    """
    names = stages_of(table)
    if stage not in names:
        raise ConfigError(
            f"there is no stage {stage!r}{nearest(stage, names)}",
            where="completeness",
            next_step=f"use one of: {'; '.join(names)}",
        )
    mine = table[(table["kind"] == kind).to_numpy()]
    return fit_smooth(mine, mine[f"{PASSES}{stage}"].to_numpy(dtype=bool), kind)


def fit_smooth(injected: pd.DataFrame, passed: Bools, kind: str) -> Smooth:
    """Return the model of injected objects of one kind, with axes and moves; (n) that passed."""
    values = injected[list(AXES[kind])].to_numpy(dtype=float)
    return Smooth.fit(values, passed, AXES[kind], moves_of(injected))


def completeness(
    run: str | Path | pd.DataFrame,
    z_mag: ArrayLike,
    redshift: ArrayLike,
    lens_mag: ArrayLike | None = None,
    lens_redshift: ArrayLike | None = None,
    separation_arcsec: ArrayLike | None = None,
    magnification: ArrayLike | None = None,
    *,
    stage: str | None = None,
) -> Value:
    """Return how complete a search is for quasars of some kind, with its 90 % interval.

    Parameters
    ----------
    run : folder of the run (``results/<run>``), or its table of injected objects.
    z_mag : AB magnitude of all the quasar's images together, as seen, in the band of
        ``injections.band``: z as a rule.
    redshift : of the quasar.
    lens_mag, lens_redshift, separation_arcsec, magnification : of a lensed quasar: magnitude of
        the lens galaxy in the same band, its redshift, largest distance of two images
        [arcsec], magnification of all images together. None of them: an ordinary quasar. Those
        that are not given, where others are: averaged over the injected objects.
    stage : as in completeness.csv; None: its last one.

    Returns
    -------
    Value
        ``value``, ``lo``, ``hi`` of the shape that the numbers have together; NaN outside the range
        of what was injected.

    Raises
    ------
    InputError
        If the run has no injected objects.
    ConfigError
        If there is no such stage.
    """
    table = run if isinstance(run, pd.DataFrame) else _table_of(str(run))
    lens = {
        "lens_mag": lens_mag,
        "lens_redshift": lens_redshift,
        "separation_arcsec": separation_arcsec,
        "magnification": magnification,
    }
    kind = "quasar" if all(value is None for value in lens.values()) else "lensed"
    names = stages_of(table)
    if not names:
        raise InputError(
            "the table has no stages",
            where="completeness",
            next_step="give injections/injected.parquet of a run with injections.enabled",
        )
    chosen = names[-1] if stage is None else stage
    of_table = isinstance(run, pd.DataFrame)
    model = smooth_of(table, kind, chosen) if of_table else _model_of(str(run), kind, chosen)
    given = {"quasar_mag": z_mag, "redshift": redshift}
    return model({**given, **lens} if kind == "lensed" else given)


@lru_cache(maxsize=4)
def _table_of(folder: str) -> pd.DataFrame:
    return read_table(Path(folder) / "injections" / "injected.parquet", required=["id", "kind"])


@lru_cache(maxsize=16)
def _model_of(folder: str, kind: str, stage: str) -> Smooth:
    return smooth_of(_table_of(folder), kind, stage)


# --- the lensed fraction -------------------------------------------------------------------------

#: Columns of the table of the lensed fraction, with what they are.
ABOUT_FRACTION = {
    "quantity": "what is stated",
    "value": "of it; the median, where it has an interval",
    "lo": "lower end of its 90 % interval",
    "hi": "upper end",
    "about": "what it is made of",
}


def mean_completeness(table: pd.DataFrame, kind: str, stage: str) -> tuple[float, float]:
    """Return the completeness of a kind as frequent as the priors expect, and the effective n.

    The injected objects weighted by ``ln_weight``: share of the weight that passed; n = (sum of
    weights)^2 / sum of squares (Kish 1965, Survey Sampling).
    """
    mine = table[(table["kind"] == kind).to_numpy()]
    ln_weight = mine["ln_weight"].to_numpy(dtype=float)
    good = np.isfinite(ln_weight)
    if not good.any():
        return np.nan, 0.0
    weight = np.exp(ln_weight[good] - ln_weight[good].max())
    passed = mine[f"{PASSES}{stage}"].to_numpy(dtype=bool)[good]
    return float(weight[passed].sum() / weight.sum()), float(weight.sum() ** 2 / (weight**2).sum())


def lensed_fraction(
    table: pd.DataFrame,
    candidates: pd.DataFrame,
    probability: float,
    expected_fraction: float,
    draws: int = 20_000,
) -> pd.DataFrame:
    """Return the share of lensed quasars among quasars, and what it is made of.

    Found are the objects of the run whose combined probability of being a quasar, lensed or not, is
    above the level; of them, as many as their probabilities add up to are lensed, and ordinary.
    Each number over its completeness is the number there are. Intervals: the expected
    number of each kind has a gamma distribution of shape (found + 1/2) (Jeffreys's prior of a
    Poisson mean), each completeness a beta distribution of the effective number of injected
    objects; 90 % of the draws of the fraction lie inside.

    Parameters
    ----------
    table : of `with_stages`.
    candidates : of the run: combined_p_quasar, combined_p_lensed.
    probability : the level, section ``injections``.
    expected_fraction : ``sed.fit.priors.lensed_fraction``.
    draws : of the distributions; fixed seed.

    Returns
    -------
    Columns of `ABOUT_FRACTION`; NaN where a completeness is 0 or unknown.
    """
    stage = f"combined probability above {probability:g}"
    rng = np.random.default_rng(6_053)
    p_quasar = candidates["combined_p_quasar"].to_numpy(dtype=float)
    p_lensed = candidates["combined_p_lensed"].to_numpy(dtype=float)
    with np.errstate(invalid="ignore"):
        chosen = p_quasar + p_lensed > probability
    rows, there = [], {}
    for kind, chance in (("quasar", p_quasar), ("lensed", p_lensed)):
        found = float(chance[chosen].sum())
        share, n = mean_completeness(table, kind, stage)
        low, high = jeffreys_interval(share * n, n) if np.isfinite(share) else (0.0, 1.0)
        number = gamma.rvs(found + 0.5, size=draws, random_state=rng)
        k = share * n if np.isfinite(share) else 0.0
        part = beta.rvs(k + 0.5, n - k + 0.5, size=draws, random_state=rng)
        there[kind] = number / np.maximum(part, 1e-6)
        name = {"quasar": "ordinary", "lensed": "lensed"}[kind]
        rows += [
            _row(f"{name} quasars found", found, np.quantile(number, [0.05, 0.95]),
                 f"sum of combined_p_{kind} of objects above {probability:g}"),
            _row(f"completeness of {name} quasars", share, (low, high),
                 f"injected ones, weighted by the priors: effectively {n:.0f}"),
            _row(f"{name} quasars there", found / share if share else np.nan,
                 np.quantile(there[kind], [0.05, 0.95]), "found over completeness, in the range of "
                 "the injected ones"),
        ]  # fmt: skip
    fraction = there["lensed"] / (there["lensed"] + there["quasar"])
    known = all(mean_completeness(table, kind, stage)[0] > 0 for kind in KINDS)
    ends = np.quantile(fraction, [0.05, 0.95]) if known else (0.0, 1.0)
    middle = float(np.median(fraction)) if known else np.nan
    rows += [
        _row("lensed fraction", middle, ends, "lensed over all quasars there"),
        _row("lensed fraction expected", expected_fraction, (np.nan, np.nan),
             "sed.fit.priors.lensed_fraction"),
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=list(ABOUT_FRACTION))


def _row(quantity: str, value: float, ends: Sequence[float] | Floats, about: str) -> dict[str, Any]:
    return {
        "quantity": quantity,
        "value": value,
        "lo": float(ends[0]),
        "hi": float(ends[1]),
        "about": about,
    }
