"""Random quasars and lens galaxies with the colours and numbers of the SED stage's models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archipelago.sed.priors import (
    LN_A_MIN,
    LN_A_STEP,
    Prior,
    lens_galaxy_prior,
    quasar_prior,
)
from archipelago.sed.templates import TemplateSet

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Quasars:
    """Quasars without anything in front: total fluxes (n, band) [uJy] and redshifts (n,)."""

    flux_ujy: Floats
    redshift: Floats


@dataclass(frozen=True)
class LensGalaxies:
    """Deflectors: fluxes (n, band) [uJy], redshifts (n,), log10 of mass formed [solar] (n,)."""

    flux_ujy: Floats
    redshift: Floats
    log_mass: Floats


def draw_quasars(
    templates: TemplateSet,
    priors: Mapping[str, Any],
    bands: tuple[str, ...],
    n: int,
    rng: np.random.Generator,
    *,
    band: str,
    flux_min_ujy: float,
    flux_max_ujy: float,
    redshift_min: float,
) -> Quasars:
    """Draw quasars between two fluxes as often as `archipelago.sed.priors.quasar_prior` expects.

    Parameters
    ----------
    templates : of the SED stage.
    priors : section ``sed.fit.priors``; its part ``quasar`` is used.
    bands : of the result.
    n : how many.
    band : the one that the limits hold for.
    flux_min_ujy, flux_max_ujy : total flux in that band.
    redshift_min : least redshift.

    Returns
    -------
    Quasars
        ``n`` of them; none where no template is at such redshifts, or so bright.
    """
    quasars = templates.classes["quasar"]
    prior = quasar_prior(quasars, priors["quasar"])
    redshift = quasars.parameters["redshift"].astype(float)
    unit = quasars.fluxes[:, templates.bands.index(band)]
    seen = (unit > 0) & (redshift >= redshift_min)
    rows = np.flatnonzero(seen)
    ln_low, ln_high = np.log(flux_min_ujy / unit[rows]), np.log(flux_max_ujy / unit[rows])
    cumulative = _cumulative(prior)
    group = prior.group[rows]
    below, above = _at(cumulative, group, ln_low), _at(cumulative, group, ln_high)
    # Differences of sums: the last digits may go below 0.
    weight = np.exp(prior.log_weight[rows]) * np.clip(above - below, 0.0, None)
    columns = [templates.bands.index(name) for name in bands]
    if not weight.sum() > 0:
        return Quasars(np.empty((0, len(bands))), np.empty(0))
    chosen = rng.choice(len(rows), n, p=weight / weight.sum())
    wanted = below[chosen] + rng.random(n) * (above[chosen] - below[chosen])
    ln_a = np.array(
        [np.interp(w, cumulative[g], _EDGES) for w, g in zip(wanted, group[chosen], strict=True)]
    )
    template = rows[chosen]
    return Quasars(quasars.fluxes[template][:, columns] * np.exp(ln_a)[:, None], redshift[template])


#: Lower edges of the cells of ln A, and the last upper one.
_EDGES = LN_A_MIN + LN_A_STEP * (np.arange(642) - 0.5)


def _cumulative(prior: Prior) -> Floats:
    """Return the number of objects below each edge of ln A, (group, edge)."""
    number = np.exp(prior.table) * LN_A_STEP
    return np.concatenate([np.zeros((len(number), 1)), np.cumsum(number, axis=1)], axis=1)


def _at(cumulative: Floats, group: NDArray[np.int64], ln_a: Floats) -> Floats:
    """Return the number below ``ln_a`` (m,) of groups (m,), linear within a cell."""
    place = np.clip((ln_a - _EDGES[0]) / LN_A_STEP, 0, cumulative.shape[1] - 1.000001)
    cell = place.astype(int)
    part = place - cell
    return cumulative[group, cell] * (1 - part) + cumulative[group, cell + 1] * part


def draw_lens_galaxies(
    templates: TemplateSet,
    priors: Mapping[str, Any],
    bands: tuple[str, ...],
    n: int,
    rng: np.random.Generator,
) -> LensGalaxies:
    """Draw deflectors from `archipelago.sed.priors.lens_galaxy_prior`; parameters as above."""
    galaxies = templates.classes["galaxy"]
    cells = templates.lensed_galaxies
    section = priors["lens"]
    prior = lens_galaxy_prior(galaxies, cells, section)
    share = np.exp(prior.log_weight)
    chosen = rng.choice(len(cells.index), n, p=share / share.sum())
    template = cells.index[chosen]
    log_mass = rng.normal(section["log_mass_mean"], section["log_mass_sigma"], n)
    columns = [templates.bands.index(name) for name in bands]
    flux = galaxies.fluxes[template][:, columns] * 10 ** (log_mass - 10.0)[:, None]
    redshift = galaxies.parameters["redshift"].astype(float)[template]
    return LensGalaxies(flux, redshift, log_mass)
