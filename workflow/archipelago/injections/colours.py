"""How the run's known quasars differ in colour from what the templates and their priors say.

Like is compared with like: the known quasars, as measured, with injected ones of their redshift and
brightness, painted, measured and put to the cuts, so that noise, apertures, dust and what
the cuts prefer are in both. What so few quasars leave open is drawn anew for each injected object
(`Moves`), so that the completeness can say how far it depends on it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

_LOG = logging.getLogger(__name__)

Floats = NDArray[np.float64]

#: A colour is learnt where at least this share of the known quasars is detected in both bands:
#: where quasars are black, the detected ones are no fair sample.
_DETECTED_SHARE = 0.8
#: Fewer known quasars than this tell nothing.
_FEWEST = 4
#: Known quasars that the prior of the offset, and that of the scatter, counts for (assumed).
_PRIOR_OFFSET = 2.0
_PRIOR_SCATTER = 4.0
#: Redshifts at which an offset is told are as far apart, linear between; half of its prior's
#: variance is common to all redshifts, half falls with distance as a Gaussian of this width
#: (assumed).
_KNOT_STEP, _KNOT_LENGTH = 0.2, 0.25
_ITERATIONS = 6
#: Injected objects that each known quasar stands beside, and the distance in redshift that is as
#: far as 1 in ln flux.
_NEIGHBOURS = 25
_REDSHIFT_SCALE = 0.15
#: Least variance of a colour, in that of templates.
_LEAST = 0.05
#: Magnitudes in a unit of ln flux.
_MAG = 2.5 / np.log(10)
#: Names of the columns of moves.
_QUASAR, _AT, _SCATTER, _LENS = "moved_quasar_", "_at_", "moved_scatter_", "moved_lens_"
_UNIT = "_mag"


@dataclass(frozen=True)
class Colours:
    """A correction of quasars' colours.

    Colours are ln of the flux ratio of neighbouring bands, the redder over the bluer one.

    Attributes
    ----------
    bands : of the fluxes, by wavelength.
    redshift : (m,) rising, of the templates.
    mean : (m, band - 1) mean colours of template quasars at these redshifts.
    variance : (band - 1) of template quasars' colours about these means.
    knots : (knot,) redshifts, evenly spaced.
    offset : (band - 1, knot) what quasars are redder by there; linear between.
    covariance : (band - 1, knot, knot) of what `offset` is not known better than.
    stretch : (band - 1) their scatter over that of template quasars.
    stretch_error : (band - 1) of ln stretch.
    """

    bands: tuple[str, ...]
    redshift: Floats
    mean: Floats
    variance: Floats
    knots: Floats
    offset: Floats
    covariance: Floats
    stretch: Floats
    stretch_error: Floats

    @classmethod
    def of_templates(cls, bands: Sequence[str], flux_ujy: Floats, redshift: Floats) -> Colours:
        """Return no correction, given template quasars: (n, band) [uJy] and redshifts (n,)."""
        grid = np.unique(redshift)
        mean, variance = _moments(_colours(flux_ujy), np.searchsorted(grid, redshift), len(grid))
        n = len(bands) - 1
        low, high = (float(grid[0]), float(grid[-1])) if len(grid) else (0.0, 0.0)
        steps = max(1, int(np.ceil((high - low) / _KNOT_STEP - 1e-9)))
        knots = np.linspace(low, max(high, low + _KNOT_STEP), steps + 1)
        return cls(
            tuple(bands),
            grid,
            mean,
            variance,
            knots,
            np.zeros((n, len(knots))),
            variance[:, None, None] * _prior_shape(knots)[None],
            np.ones(n),
            np.full(n, (2 * _PRIOR_SCATTER) ** -0.5),
        )

    def drawn(self, n: int, galaxy_error: Floats, rng: np.random.Generator) -> Moves:
        """Draw for each of n objects by how much all quasars, and galaxies, may be redder yet.

        ``galaxy_error``: (band,) what templates of galaxies may be wrong by, as a share of flux.
        """
        root = np.zeros_like(self.covariance)
        known = self.variance > 0
        root[known] = np.linalg.cholesky(self.covariance[known])
        quasar = np.einsum("jab,njb->nja", root, rng.standard_normal((n, *self.offset.shape)))
        scatter = self.stretch_error * rng.standard_normal((n, len(root)))
        lens = np.diff(galaxy_error * rng.standard_normal((n, len(self.bands))), axis=1)
        return Moves(self.bands, self.knots, quasar * _MAG, scatter, lens * _MAG)

    def applied(
        self, flux_ujy: Floats, redshift: Floats, reference: str, moves: Moves | None = None
    ) -> Floats:
        """Return fluxes with corrected colours, (n, band) [uJy]; ``reference`` keeps its flux.

        Bands without light stay without.
        """
        if not len(flux_ujy):
            return flux_ujy
        colour = _colours(flux_ujy)
        mean = self.mean[_nearest(self.redshift, redshift)]
        change = tents(redshift, self.knots) @ self.offset.T
        stretch: Floats = self.stretch
        if moves is not None:
            change = change + moves.quasar_mag(redshift) / _MAG
            stretch = stretch * np.exp(moves.ln_scatter)
        change = change + (stretch - 1) * (colour - mean)
        change = np.where(np.isfinite(colour) & np.isfinite(mean), change, 0.0)
        return _redder(flux_ujy, change, self.bands.index(reference))


@dataclass(frozen=True)
class Moves:
    """By how much the colours of n injected objects were made others than thought most likely.

    Each object's moves are a draw of what all quasars, or galaxies, may have in common: what the
    known quasars leave open of the correction, and templates of galaxies may be wrong by.

    Attributes
    ----------
    bands : of the fluxes, by wavelength; a colour is of two neighbours.
    knots : (knot,) redshifts.
    redder_mag : (n, band - 1, knot) of quasars at these redshifts.
    ln_scatter : (n, band - 1) how much wider quasars scatter.
    lens_mag : (n, band - 1) of lens galaxies.
    """

    bands: tuple[str, ...]
    knots: Floats
    redder_mag: Floats
    ln_scatter: Floats
    lens_mag: Floats

    def __len__(self) -> int:
        return len(self.lens_mag)

    def take(self, rows: NDArray[np.int64]) -> Moves:
        """Return those of some of the objects."""
        return Moves(
            self.bands,
            self.knots,
            self.redder_mag[rows],
            self.ln_scatter[rows],
            self.lens_mag[rows],
        )

    def quasar_mag(self, redshift: Floats) -> Floats:
        """Return what quasars of redshifts (n,) are redder by, (n, band - 1) [mag].

        One object's moves may be asked for many redshifts.
        """
        return np.asarray((self.redder_mag * tents(redshift, self.knots)[:, None, :]).sum(axis=2))

    def on_lenses(self, flux_ujy: Floats, reference: str) -> Floats:
        """Return fluxes of lens galaxies (n, band) that much redder; ``reference`` keeps its."""
        return _redder(flux_ujy, self.lens_mag / _MAG, self.bands.index(reference))

    def columns(self) -> pd.DataFrame:
        """Return them as columns of a table; `moves_of` reads these."""
        parts = {}
        for j, (a, b) in enumerate(zip(self.bands[:-1], self.bands[1:], strict=True)):
            for k, knot in enumerate(self.knots):
                parts[f"{_QUASAR}{a}_{b}{_AT}{knot:.3f}{_UNIT}"] = self.redder_mag[:, j, k]
            parts[f"{_SCATTER}{a}_{b}"] = self.ln_scatter[:, j]
            parts[f"{_LENS}{a}_{b}{_UNIT}"] = self.lens_mag[:, j]
        return pd.DataFrame(parts)


def moves_of(table: pd.DataFrame) -> Moves | None:
    """Return the moves of a table of injected objects, or None if it has none."""
    names = [name for name in table.columns if name.startswith(_SCATTER)]
    if not names:
        return None
    colours = [name.removeprefix(_SCATTER) for name in names]
    first = f"{_QUASAR}{colours[0]}{_AT}"
    places = [
        name.removeprefix(first).removesuffix(_UNIT)
        for name in table.columns
        if name.startswith(first)
    ]

    def read(columns: list[str]) -> Floats:
        return np.asarray(table[columns].to_numpy(dtype=float))

    quasar = [f"{_QUASAR}{colour}{_AT}{place}{_UNIT}" for colour in colours for place in places]
    # Names of bands may hold underscores: colours are told by their order alone.
    return Moves(
        ("", *colours),
        np.array(places, dtype=float),
        read(quasar).reshape(len(table), len(colours), len(places)),
        read(names),
        read([f"{_LENS}{colour}{_UNIT}" for colour in colours]),
    )


def about_moves(names: Sequence[str]) -> dict[str, str]:
    """Return what the columns of moves among ``names`` are."""
    texts = {}
    for name in names:
        if name.startswith(_SCATTER):
            colour = name.removeprefix(_SCATTER)
            what = "ln of how much wider than thought most likely quasars scatter in {}"
        elif name.startswith(_LENS):
            colour = name.removeprefix(_LENS).removesuffix(_UNIT)
            what = "how much redder than its template the lens galaxy was made in {} [mag]"
        elif name.startswith(_QUASAR):
            colour, place = name.removeprefix(_QUASAR).removesuffix(_UNIT).rsplit(_AT, 1)
            what = (
                f"how much redder than thought most likely quasars of redshift {float(place):g} "
                "are in {} [mag]"
            )
        else:
            continue
        texts[name] = what.format(colour.replace("_", " - ")) + ": a draw of what is not known"
    return texts


def tents(values: Floats, places: Sequence[float] | Floats) -> Floats:
    """Return how near values (n,) are to evenly spaced places, (n, place).

    1 there, 0 at the next, linear between; beyond the ends as at the ends.
    """
    at = np.asarray(places, dtype=float)
    inside = np.clip(values, at[0], at[-1])
    return np.asarray(np.maximum(1 - np.abs(inside[:, None] - at) / (at[1] - at[0]), 0.0))


def _prior_shape(knots: Floats) -> Floats:
    """Return the covariance of the prior of an offset, for colours of variance 1, (knot, knot)."""
    distance = (knots[:, None] - knots[None, :]) / _KNOT_LENGTH
    near = np.exp(-0.5 * distance**2) + 1e-6 * np.eye(len(knots))
    return np.asarray((0.5 + 0.5 * near) / _PRIOR_OFFSET)


def _redder(flux_ujy: Floats, ln_redder: Floats, reference: int) -> Floats:
    """Return fluxes (n, band) with colours (n, band - 1) redder; one band keeps its flux."""
    start = np.zeros((len(flux_ujy), 1))
    ln_factor = np.concatenate([start, np.cumsum(ln_redder, axis=1)], axis=1)
    ln_factor -= ln_factor[:, [reference]]
    return np.asarray(flux_ujy * np.exp(ln_factor))


def learn_colours(
    templates: Colours,
    inject: Callable[[Colours], pd.DataFrame],
    known: pd.DataFrame,
    reference: str,
) -> Colours:
    """Learn from a run's known quasars how far their colours lie from those of templates.

    Per colour, an offset that changes with redshift, and a scatter, are changed until injected
    quasars that pass the cuts are measured like the known ones (indirect inference: Gourieroux,
    Monfort & Renault 1993). The offset's prior is normal about 0 and counts for two quasars, the
    scatter's is the templates' own and counts for four, so that few known quasars change little.

    Parameters
    ----------
    templates : no correction (`Colours.of_templates`).
    inject : injects quasars with a correction; returns those that pass the cuts: redshift, and
        per band flux_ujy_<band> and detected_<band>. Called with the same random numbers each time.
    known : the run's known quasars: known_redshift, and the same columns of bands.
    reference : band that tells brightness.

    Returns
    -------
    Colours
        Without change where fewer than four quasars are known, or fewer than 25 injected ones pass;
        so stay colours that fewer than 80 % of the known ones are detected in.
    """
    redshift = known["known_redshift"].to_numpy(dtype=float)
    seen, brightness = _measured(known, templates.bands, reference)
    usable = np.isfinite(redshift) & np.isfinite(brightness)
    redshift, seen, brightness = redshift[usable], seen[usable], brightness[usable]
    if len(redshift) < _FEWEST:
        _LOG.info("%d known quasars: too few to tell how quasars' colours scatter", len(redshift))
        return templates
    learnt = (np.isfinite(seen).mean(axis=0) >= _DETECTED_SHARE) & (templates.variance > 0)
    result = templates
    for _ in range(_ITERATIONS):
        passed = inject(result)
        if len(passed) < _NEIGHBOURS:
            _LOG.info("%d injected quasars pass the cuts: too few to compare", len(passed))
            return templates
        colour, flux = _measured(passed, templates.bands, reference)
        z = passed["redshift"].to_numpy(dtype=float)
        near = _nearest_objects(z, flux, redshift, brightness)
        result = _moved(result, redshift, seen, colour[near], z[near] - redshift[:, None], learnt)
    _LOG.info(
        "%d known quasars are redder than templates at their median redshift %.2f by [mag]: %s; "
        "scatter over theirs: %s",
        len(redshift),
        np.median(redshift),
        _named(
            result.bands,
            (result.offset @ tents(np.array([np.median(redshift)]), result.knots)[0]) * _MAG,
        ),
        _named(result.bands, result.stretch),
    )
    return result


def _moved(
    now: Colours,
    redshift: Floats,
    seen: Floats,
    beside: Floats,
    distance: Floats,
    learnt: NDArray[np.bool_],
) -> Colours:
    """Return the next correction: a Newton step towards the likeliest one.

    A colour whose objects pass the cuts only if it is red tells less of its mean: where colours
    are normal with variance s^2 and those that pass have variance v, the mean of these moves by
    v / s^2 of what all move by, and the information is v / s^4.

    Parameters
    ----------
    redshift : (n,) of known quasars.
    seen : (n, colour) of them, NaN where not detected.
    beside : (n, neighbour, colour) of injected ones near them.
    distance : (n, neighbour) redshifts of these, from theirs.
    learnt : (colour,) those to change.
    """
    offset, stretch = now.offset.copy(), now.stretch.copy()
    covariance, stretch_error = now.covariance.copy(), now.stretch_error.copy()
    belief = np.linalg.inv(_prior_shape(now.knots))
    for j in np.flatnonzero(learnt):
        expected, variance = _local_lines(beside[:, :, j], distance)
        prior = now.variance[j]
        good = np.isfinite(seen[:, j]) & np.isfinite(expected)
        n = int(good.sum())
        if n < _FEWEST:
            continue
        residual, passing = (seen[:, j] - expected)[good], variance[good] + _LEAST * prior
        scatter = np.maximum(stretch[j] ** 2 * prior, passing)
        terms = tents(redshift[good], now.knots)
        known = (terms * (passing / scatter**2)[:, None]).T @ terms + belief / prior
        step = np.linalg.solve(known, terms.T @ (residual / scatter) - belief @ offset[j] / prior)
        # What scatters more, or less, than the neighbours do is the quasars' own.
        left = residual - passing / scatter * (terms @ step)
        own = stretch[j] ** 2 * prior + np.mean(left**2 - passing)
        own = (_PRIOR_SCATTER * prior + n * max(own, _LEAST * prior)) / (_PRIOR_SCATTER + n)
        offset[j] += step
        covariance[j] = np.linalg.inv(known)
        stretch[j] = np.sqrt(own / prior)
        stretch_error[j] = (2 * (_PRIOR_SCATTER + n)) ** -0.5
    return replace(
        now, offset=offset, covariance=covariance, stretch=stretch, stretch_error=stretch_error
    )


def _local_lines(values: Floats, x: Floats) -> tuple[Floats, Floats]:
    """Fit a line through each row (n, m); return its value at x = 0 and the variance about it.

    Colours that hold the Lyman break change by more with redshift, within a neighbourhood, than
    they scatter. NaN where fewer than six values are finite.
    """
    at, variance = np.full(len(values), np.nan), np.full(len(values), np.nan)
    for row, (value, place) in enumerate(zip(values, x, strict=True)):
        good = np.isfinite(value)
        if good.sum() < _FEWEST + 2:
            continue
        terms = np.stack([np.ones(int(good.sum())), place[good]], axis=1)
        found, _, rank, _ = np.linalg.lstsq(terms, value[good], rcond=None)
        at[row] = found[0]
        variance[row] = ((value[good] - terms @ found) ** 2).sum() / (good.sum() - rank)
    return at, variance


def _measured(table: pd.DataFrame, bands: Sequence[str], reference: str) -> tuple[Floats, Floats]:
    """Return measured colours (n, band - 1), NaN where undetected, and ln flux in a band (n,)."""
    flux = np.stack([table[f"flux_ujy_{band}"].to_numpy(dtype=float) for band in bands], axis=1)
    seen = np.stack([table[f"detected_{band}"].to_numpy(dtype=bool) for band in bands], axis=1)
    flux = np.where(seen, flux, np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        brightness = np.log(flux[:, list(bands).index(reference)])
    return _colours(flux), brightness


def _nearest_objects(
    redshift: Floats, brightness: Floats, at_redshift: Floats, at_brightness: Floats
) -> NDArray[np.int64]:
    """Return the nearest objects of each place, (place, neighbour)."""
    far = (redshift[None, :] - at_redshift[:, None]) ** 2 / _REDSHIFT_SCALE**2
    far = far + (brightness[None, :] - at_brightness[:, None]) ** 2
    order = np.argsort(np.nan_to_num(far, nan=np.inf), axis=1, kind="stable")
    return np.asarray(order[:, :_NEIGHBOURS], dtype=np.int64)


def _colours(flux: Floats) -> Floats:
    """Return ln of the ratios of neighbouring bands, (n, band - 1), NaN without light."""
    with np.errstate(divide="ignore", invalid="ignore"):
        colour = np.diff(np.log(np.where(flux > 0, flux, np.nan)), axis=1)
    return np.asarray(colour)


def _moments(colour: Floats, place: NDArray[np.int64], n: int) -> tuple[Floats, Floats]:
    """Return mean colours per redshift (n, colour), and the variance about these (colour,)."""
    finite = np.isfinite(colour)
    mean = np.full((n, colour.shape[1]), np.nan)
    variance = np.zeros(colour.shape[1])
    for j in range(colour.shape[1]):
        good = finite[:, j]
        number = np.bincount(place[good], minlength=n)
        total = np.bincount(place[good], colour[good, j], minlength=n)
        mean[:, j] = np.where(number > 0, total / np.maximum(number, 1), np.nan)
        if good.sum() > n:
            variance[j] = float(np.mean((colour[good, j] - mean[place[good], j]) ** 2))
    return mean, variance


def _nearest(grid: Floats, values: Floats) -> NDArray[np.int64]:
    return np.asarray(np.abs(grid[None, :] - values[:, None]).argmin(axis=1), dtype=np.int64)


def _named(bands: Sequence[str], values: Floats) -> str:
    pairs = zip(bands[:-1], bands[1:], values, strict=True)
    return ", ".join(f"{a} - {b} {value:+.2f}" for a, b, value in pairs)
