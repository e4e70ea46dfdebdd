"""How many objects of each kind there are per square degree and magnitude.

Each class gets a table of ln dN / (dlnA deg^2) against ln A, one row per group
of templates (spectral type, or redshift), and a log weight per template within its
group. A is the amplitude of a template, see `archipelago.sed.templates`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archipelago.cosmology import SR_PER_DEG2, volume_mpc3_per_deg2
from archipelago.sed.dust import smc_extinction
from archipelago.sed.quasar import REFERENCE_M1450
from archipelago.sed.templates import ClassTemplates, Representatives

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Table of amplitudes: ln A from -14 to 18 (stars from 0.001 uJy to far beyond saturation).
LN_A_MIN, LN_A_STEP, LN_A_N = -14.0, 0.05, 641
_LN_A = LN_A_MIN + LN_A_STEP * np.arange(LN_A_N)
_MAG_PER_LN = 2.5 / np.log(10)
#: Scatter of ln of the quasars' line scales (assumed), and of Lyman alpha's: 0.39 dex (Banados et
#: al. 2016, ApJS 227, 11: log-normal equivalent widths of z > 5.6).
LINE_LN_SIGMA = 0.6
LYA_LN_SIGMA = 0.39 * float(np.log(10))
#: ln of a density that stands for "none at all".
LN_NONE = -200.0


@dataclass(frozen=True)
class Prior:
    """Expected numbers of one class of templates.

    Attributes
    ----------
    group : row of ``table`` of each template, (n,).
    log_weight : ln of each template's share of its group, (n,).
    table : ln dN / dlnA / deg^2, (n_group, LN_A_N).
    """

    group: Ints
    log_weight: Floats
    table: Floats

    def ln_density(self, ln_amplitude: Floats) -> Floats:
        """Return ln of the expected number per deg^2 and unit ln A of each template.

        Parameters
        ----------
        ln_amplitude : (n_object, n_template).
        """
        position = ln_amplitude * (1 / LN_A_STEP)
        position += 0.5 - LN_A_MIN / LN_A_STEP
        np.clip(position, 0, LN_A_N - 1, out=position)
        cell = position.astype(np.int64)
        cell += self.group[None, :] * LN_A_N
        density = self.table.ravel().take(cell)
        density += self.log_weight[None, :]
        return density

    def part(self, columns: slice | Ints) -> Prior:
        """Return the prior of some of the templates."""
        return Prior(self.group[columns], self.log_weight[columns], self.table)


def _log_sum(values: Floats, group: Ints, n_group: int) -> Floats:
    """Return ln sum exp of values by group; `LN_NONE` where a group is empty."""
    top = np.full(n_group, -np.inf)
    np.maximum.at(top, group, values)
    total = np.zeros(n_group)
    finite = np.isfinite(top)
    np.add.at(total, group, np.exp(values - np.where(finite, top, 0.0)[group]))
    return np.where(finite & (total > 0), np.log(np.clip(total, 1e-300, None)) + top, LN_NONE)


def _shares(log_weight: Floats, group: Ints) -> Floats:
    """Scale weights so that they sum to 1 within each group."""
    return np.asarray(log_weight - _log_sum(log_weight, group, int(group.max()) + 1)[group])


def star_prior(stars: ClassTemplates, section: Mapping[str, Any]) -> Prior:
    """Return star counts: local densities through a thin and a thick disc.

    Scale heights 300 and 900 pc, thick disc 12 % of the thin one locally (Juric et
    al. 2008, ApJ 673, 864, abstract), along a sight line at ``latitude_deg``
    (a survey's typical |b|). Local densities and absolute magnitudes are those of
    the table of colours. The giants (density 0 there) share ``giants_per_deg2``, flat in
    magnitude over 5 mag. ``blend_fraction`` of stars have a WISE blend, shared equally
    among the grid's blends: 1 to 2 10^4 sources per deg^2 (AllWISE lists 7.5 10^8 over the
    sky: Cutri et al. 2013) times 28 arcsec^2, a circle as wide as the beam's 6 arcsec
    (Wright et al. 2010, AJ 140, 1868), give 2 to 4 %.
    """
    # By name, not code: LePHARE has several templates of one code.
    _, first, group = np.unique(
        stars.parameters["spectral_type"], return_index=True, return_inverse=True
    )
    m_j = stars.parameters["m_j_vega_mag"][first].astype(float)
    density = stars.parameters["density_pc3"][first].astype(float)
    # Amplitude is the J flux in uJy; Vega to AB: 0.916 (photometry of the search).
    mag_vega = 23.9 - 0.916 - _MAG_PER_LN * _LN_A
    distance_pc = 10 ** ((mag_vega[None, :] - m_j[:, None]) / 5 + 1)
    height = distance_pc * np.sin(np.radians(float(section["latitude_deg"])))
    disc = (1 - 0.12) * np.exp(-height / 300.0) + 0.12 * np.exp(-height / 900.0)
    # dN/dlnA = rho d^2 dd/dlnA, d ~ A^-1/2.
    number = density[:, None] * disc * distance_pc**3 / 2 * SR_PER_DEG2
    giant = density <= 0
    if giant.any():
        number[giant] = float(section["giants_per_deg2"]) / giant.sum() / (5 / _MAG_PER_LN)
    blend = stars.parameters["wise_blend"] > 0
    n_blend = max(int(len(np.unique(stars.parameters["wise_blend"][blend]))), 1)
    fraction = float(section["blend_fraction"]) if blend.any() else 0.0
    weight = np.where(blend, fraction / n_blend, 1 - fraction)
    return Prior(
        group.astype(np.int64),
        np.log(np.clip(weight, 1e-30, None)),
        np.log(np.clip(number, np.exp(LN_NONE), None)),
    )


def galaxy_prior(galaxies: ClassTemplates, section: Mapping[str, Any]) -> Prior:
    """Return galaxy counts: a Schechter mass function in comoving volume.

    log M* = 10.9, alpha = -1.2 and phi* = 10^-2.6 (1 + z)^-1.6 per Mpc^3 and dex: our
    round description of Ilbert et al. 2013, A&A 556, A55 (z = 0.2 to 4), who fit two
    components. Mass here is mass formed, 0.2 dex above the living stars' (assumed).
    Within a redshift, templates are equally likely but for dust, whose weight
    falls as exp(-A_V / ``av_scale_mag``), and for a torus: ``torus_share`` of
    galaxies have one (assumed), shared equally among the grid's strengths. Red quasars:
    ``red_quasars_per_deg2_mag``, the shares falling as exp(-E(B-V) /
    ``red_quasar_ebv_scale_mag``); both are assumed, some tenth of the quasars of magnitude
    20 (counts: Richards et al. 2006, AJ 131, 2766; red ones: Glikman et al. 2012, ApJ 757, 51).
    """
    column = {key: values.astype(float) for key, values in galaxies.parameters.items()}
    red = column["red_quasar_ebv"] > 0
    z = np.unique(column["redshift"][~red])
    log_mass = 10.0 - 0.2 + _LN_A / np.log(10)
    x = 10 ** (log_mass - 10.9)
    per_dex = 10**-2.6 * x ** (-1.2 + 1) * np.exp(-np.clip(x, 0.0, 300.0)) * np.log(10)
    depth = volume_mpc3_per_deg2(z) * _steps(z) * (1 + z) ** -1.6
    number = depth[:, None] * per_dex[None, :] / np.log(10)
    # Red quasars are one more row, flat in magnitude.
    flat = np.full((1, LN_A_N), float(section["red_quasars_per_deg2_mag"]) * _MAG_PER_LN)
    group = np.where(red, len(z), np.searchsorted(z, np.where(red, z[0], column["redshift"])))
    active = column["torus_fraction"] > 0
    n_active = max(len(np.unique(column["torus_fraction"][active])), 1)
    share = float(section["torus_share"]) if active.any() else 0.0
    weight = (
        -column["av_mag"] / float(section["av_scale_mag"])
        - column["red_quasar_ebv"] / float(section["red_quasar_ebv_scale_mag"])
        + np.where(active, np.log(max(share, 1e-30) / n_active), np.log(1 - share))
    )
    return Prior(
        group.astype(np.int64),
        _shares(weight, group.astype(np.int64)),
        np.log(np.clip(np.concatenate([number, flat]), np.exp(LN_NONE), None)),
    )


def quasar_prior(quasars: ClassTemplates, section: Mapping[str, Any]) -> Prior:
    """Return quasar counts: a double power law luminosity function at z ~ 6.

    log phi* = -8.75 [Mpc^-3 mag^-1] at z = 6 falling as 10^(-0.7 (z - 6)), M* = -26.38,
    slopes -1.70 and -3.84 (Schindler et al. 2023, ApJ 943, 67, table 4, first row; they find the
    evolution constant from z = 4 to 7), times ``density_scale``. It is read at the magnitude
    that the quasar would have without its dust: quasars that are seen at one magnitude
    through dust are brighter, hence rarer. Shapes (assumed but where said): Gaussian in UV slope
    about ``uv_slope_mean``; ln of line scales Gaussian about 0 with 0.6; log10 of Lyman alpha's
    Gaussian with 0.39 dex (Banados et al. 2016, ApJS 227, 11: log-normal equivalent widths of
    z > 5.6); E(B-V) falls as exp(-|E| / ``ebv_scale_mag``); ln of the IGM's scale Gaussian
    with ``igm_ln_sigma``: a broad band averages over several of the 50 / h Mpc that the
    sight lines of Bosman et al. 2022 are measured in. ``bal_share`` have broad absorption lines:
    0.47 at z > 5.8, some 0.2 at lower redshift (Bischetti et al. 2022, Nature 605, 244).
    """
    column = {key: values.astype(float) for key, values in quasars.parameters.items()}
    z, slot = np.unique(column["redshift"], return_inverse=True)
    ebv, dust = np.unique(column["ebv"], return_inverse=True)
    seen_mag = REFERENCE_M1450 - _MAG_PER_LN * _LN_A
    # One row per redshift and reddening.
    magnitude = seen_mag[None, :] - (ebv * float(smc_extinction([1450.0])[0]))[:, None]
    bright = 10 ** (0.4 * (-3.84 + 1) * (magnitude + 26.38))
    faint = 10 ** (0.4 * (-1.70 + 1) * (magnitude + 26.38))
    phi = 10**-8.75 * 10 ** (-0.7 * (z - 6))[:, None, None] / (bright + faint)[None]
    depth = volume_mpc3_per_deg2(z) * _steps(z) * float(section["density_scale"])
    number = (depth[:, None, None] * phi * _MAG_PER_LN).reshape(-1, LN_A_N)
    # Those with broad absorption lines are shared equally among its depths.
    n_depth = max(len(np.unique(column["bal_depth"][column["bal_depth"] > 0])), 1)
    weight = (
        _ln_gauss(
            column["uv_slope"], float(section["uv_slope_mean"]), float(section["uv_slope_sigma"])
        )
        + _ln_gauss(_ln_scale(column["line_scale"]), 0.0, LINE_LN_SIGMA)
        + _ln_gauss(_ln_scale(column["lya_scale"]), 0.0, LYA_LN_SIGMA)
        + _ln_gauss(_ln_scale(column["igm_scale"]), 0.0, float(section["igm_ln_sigma"]))
        - np.abs(column["ebv"]) / float(section["ebv_scale_mag"])
        + _ln_share(column["bal_depth"] > 0, float(section["bal_share"]))
        - np.log(np.where(column["bal_depth"] > 0, n_depth, 1))
    )
    # What each value stands for is part of its weight: axes need not be evenly spaced.
    for name, scaled in (
        ("uv_slope", False),
        ("lya_scale", True),
        ("line_scale", True),
        ("igm_scale", True),
        ("ebv", False),
    ):
        values, at = np.unique(column[name], return_inverse=True)
        weight = weight + np.log(_steps(_ln_scale(values) if scaled else values))[at]
    return Prior(
        (slot * len(ebv) + dust).astype(np.int64),
        _shares(weight, slot.astype(np.int64)),
        np.log(np.clip(number, np.exp(LN_NONE), None)),
    )


def _ln_gauss(values: Floats, mean: float, sigma: float) -> Floats:
    """Return ln of a Gaussian, without its norm."""
    return np.asarray(-0.5 * ((values - mean) / sigma) ** 2)


def _ln_share(has: NDArray[np.bool_], share: float) -> Floats:
    """Return ln of the share of those that have something, and of those that do not."""
    return np.asarray(np.log(np.where(has, max(share, 1e-30), max(1 - share, 1e-30))))


def _ln_scale(values: Floats) -> Floats:
    """Return ln of factors on a mean, kept from -inf."""
    return np.log(np.clip(values, 0.05, None))


def lens_galaxy_prior(
    galaxies: ClassTemplates, representatives: Representatives, section: Mapping[str, Any]
) -> Prior:
    """Return the distribution of deflectors, which sums to 1 over everything.

    Mass: Gaussian in log10 of the mass formed, ``log_mass_mean`` and
    ``log_mass_sigma`` (the cross-section goes as sigma^4: massive galaxies
    dominate, Turner, Ostriker & Gott 1984, ApJ 284, 1). Redshift: Gaussian,
    ``redshift_mean`` and ``redshift_sigma`` (assumed). Dust as for galaxies.
    """
    inside = representatives.cell >= 0
    z = galaxies.parameters["redshift"].astype(float)
    grid, step = np.unique(z), _steps(np.unique(z))
    in_slice = np.bincount(np.searchsorted(grid, z[inside]), minlength=len(grid))
    weight = (
        np.log(step / np.clip(in_slice, 1, None))[np.searchsorted(grid, z)]
        - 0.5 * ((z - float(section["redshift_mean"])) / float(section["redshift_sigma"])) ** 2
        - galaxies.parameters["av_mag"].astype(float) / float(section["av_scale_mag"])
    )
    cells = _log_sum(weight[inside], representatives.cell[inside], len(representatives.index))
    zeros = np.zeros(len(cells), dtype=np.int64)
    sigma = float(section["log_mass_sigma"]) * np.log(10)
    centre = (float(section["log_mass_mean"]) - 10.0) * np.log(10)
    table = -0.5 * ((_LN_A - centre) / sigma) ** 2 - np.log(sigma * np.sqrt(2 * np.pi))
    return Prior(zeros, _shares(cells, zeros), table[None, :])


def lensed_quasar_prior(prior: Prior, representatives: Representatives, fraction: float) -> Prior:
    """Return the counts of lensed quasars at the magnitude seen: a fraction of all quasars.

    The fraction holds at the *magnified* flux, thus with magnification bias: 0.01 to
    0.06 for the brightest quasars at z ~ 6 (magnitude 19), 0.004 to 0.008 at the depth of
    surveys to magnitude 22 (Yue et al. 2022, ApJ 925, 169, abstract); earlier predictions
    are higher (Wyithe & Loeb 2002, Nature 417, 923; Pacucci & Loeb 2019, ApJL 870, L12).
    """
    n_cell = len(representatives.index)
    inside = representatives.cell >= 0
    # Rows of a cell: each template's row by its share, then the rows summed.
    table = np.full((n_cell, prior.table.shape[1]), LN_NONE)
    cell, group = representatives.cell[inside], prior.group[inside]
    weight = np.zeros((n_cell, prior.table.shape[0]))
    np.add.at(weight, (cell, group), np.exp(prior.log_weight[inside]))
    top = prior.table.max(axis=0)
    sums = weight @ np.exp(prior.table - top[None, :])
    table = np.log(np.clip(sums, 1e-300, None)) + top[None, :]
    return Prior(np.arange(n_cell, dtype=np.int64), np.full(n_cell, np.log(fraction)), table)


def _steps(values: Floats) -> Floats:
    """Return the width that each value of a sorted axis stands for (1 for a single value)."""
    if len(values) < 2:
        return np.ones(len(values))
    edges = np.concatenate([[values[0]], (values[1:] + values[:-1]) / 2, [values[-1]]])
    width = np.diff(edges)
    # The ends stand for as much beyond them as within.
    width[0] *= 2
    width[-1] *= 2
    return np.asarray(width)
