"""How the run's known quasars differ in colour from what the templates and their priors say.

Like is compared with like: the known quasars, as measured, with injected ones of their redshift and
brightness, painted, measured and put to the cuts, so that noise, apertures, dust and what
the cuts prefer are in both.
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
_ITERATIONS = 4
#: Injected objects that each known quasar stands beside, and the distance in redshift that is as
#: far as 1 in ln flux.
_NEIGHBOURS = 25
_REDSHIFT_SCALE = 0.15
#: Least variance of a colour, in that of templates.
_LEAST = 0.05


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
    offset : (band - 1) what quasars are redder by.
    stretch : (band - 1) their scatter over that of template quasars.
    """

    bands: tuple[str, ...]
    redshift: Floats
    mean: Floats
    variance: Floats
    offset: Floats
    stretch: Floats

    @classmethod
    def of_templates(cls, bands: Sequence[str], flux_ujy: Floats, redshift: Floats) -> Colours:
        """Return no correction, given template quasars: (n, band) [uJy] and redshifts (n,)."""
        grid = np.unique(redshift)
        mean, variance = _moments(_colours(flux_ujy), np.searchsorted(grid, redshift), len(grid))
        n = len(bands) - 1
        return cls(tuple(bands), grid, mean, variance, np.zeros(n), np.ones(n))

    def applied(self, flux_ujy: Floats, redshift: Floats, reference: str) -> Floats:
        """Return fluxes with corrected colours, (n, band) [uJy]; ``reference`` keeps its flux.

        Bands without light stay without.
        """
        if not len(flux_ujy):
            return flux_ujy
        colour = _colours(flux_ujy)
        mean = self.mean[_nearest(self.redshift, redshift)]
        change = self.offset + (self.stretch - 1) * (colour - mean)
        change = np.where(np.isfinite(colour) & np.isfinite(mean), change, 0.0)
        ln_factor = np.concatenate(
            [np.zeros((len(flux_ujy), 1)), np.cumsum(change, axis=1)], axis=1
        )
        ln_factor -= ln_factor[:, [self.bands.index(reference)]]
        return np.asarray(flux_ujy * np.exp(ln_factor))


def learn_colours(
    templates: Colours,
    inject: Callable[[Colours], pd.DataFrame],
    known: pd.DataFrame,
    reference: str,
) -> Colours:
    """Learn from a run's known quasars how far their colours lie from those of templates.

    Per colour, an offset and a scatter are changed until injected quasars that pass the cuts are
    measured like the known ones (indirect inference: Gourieroux, Monfort & Renault 1993). The
    offset's prior is normal about 0 and counts for two quasars, the scatter's is the templates'
    own and counts for four, so that few known quasars change little.

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
        result = _moved(result, seen, colour[near], z[near] - redshift[:, None], learnt)
    _LOG.info(
        "%d known quasars are redder than templates by [mag]: %s; scatter over theirs: %s",
        len(redshift),
        _named(result.bands, result.offset * 2.5 / np.log(10)),
        _named(result.bands, result.stretch),
    )
    return result


def _moved(
    now: Colours, seen: Floats, beside: Floats, distance: Floats, learnt: NDArray[np.bool_]
) -> Colours:
    """Return the next correction.

    Parameters
    ----------
    seen : (n, colour) of known quasars, NaN where not detected.
    beside : (n, neighbour, colour) of injected ones near them.
    distance : (n, neighbour) redshifts of these, from theirs.
    learnt : (colour,) those to change.
    """
    offset, stretch = now.offset.copy(), now.stretch.copy()
    for j in np.flatnonzero(learnt):
        expected, variance = _local_lines(beside[:, :, j], distance)
        prior = now.variance[j]
        good = np.isfinite(seen[:, j]) & np.isfinite(expected)
        n = int(good.sum())
        if n < _FEWEST:
            continue
        residual, scatter = (seen[:, j] - expected)[good], variance[good] + _LEAST * prior
        weight, belief = 1 / scatter, _PRIOR_OFFSET / prior
        step = ((weight * residual).sum() - belief * offset[j]) / (weight.sum() + belief)
        # What scatters more, or less, than the neighbours do is the quasars' own.
        own = stretch[j] ** 2 * prior + np.mean((residual - step) ** 2 - scatter)
        own = (_PRIOR_SCATTER * prior + n * max(own, _LEAST * prior)) / (_PRIOR_SCATTER + n)
        offset[j] += step
        stretch[j] = np.sqrt(own / prior)
    return replace(now, offset=offset, stretch=stretch)


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
