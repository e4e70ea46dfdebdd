"""Best parameters and their 68 % ranges, from the fits of the grids.

A parameter of a grid is ranged over the posterior shares of its values, each value standing for
the cell about it; an amplitude by the mean and standard deviation of its logarithm.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from archipelago.sed.galaxy import REFERENCE_LOG_MASS
from archipelago.sed.grid import Levels, PairFit, SingleFit
from archipelago.sed.quasar import REFERENCE_M1450
from archipelago.sed.templates import ClassTemplates, TemplateSet

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_QUANTILES = (0.16, 0.5, 0.84)
_MAG_PER_LN = 2.5 / np.log(10)
_LN_10 = float(np.log(10))

#: Per class: parameter of the grid, column of the table and what it is.
GRID_COLUMNS = {
    "star": {
        "type_code": (
            "type_code",
            "spectral type of the best star: 0 = M0, 10 = L0, 20 = T0, giants 30 + subtype",
        ),
        "wise_blend": (
            "wise_blend_star",
            "W1 flux of a neighbour in WISE's beam over the best star's",
        ),
    },
    "galaxy": {
        "redshift": ("z_galaxy", "redshift of the best galaxy"),
        "age_gyr": ("age_galaxy", "time since star formation began of the best galaxy [Gyr]"),
        "metallicity": ("metallicity_galaxy", "metallicity of the best galaxy [solar]"),
        "av_mag": ("av_galaxy", "A_V, Calzetti law, of the best galaxy [mag]"),
        "torus_fraction": (
            "torus_galaxy",
            "obscured nucleus over stars at 1.6 um of the best galaxy",
        ),
    },
    "quasar": {
        "redshift": ("z_best_quasar", "redshift of the best quasar"),
        "uv_slope": ("uv_slope_quasar", "d ln f_nu / d ln nu of the best quasar"),
        "line_scale": (
            "line_scale_quasar",
            "equivalent widths of the lines over the mean's, of the best quasar",
        ),
        "lya_scale": ("lya_scale_quasar", "the same of Lyman alpha and N V"),
        "ebv": ("ebv_quasar", "E(B-V), SMC law, of the best quasar [mag]"),
        "bal_depth": (
            "bal_depth_quasar",
            "share of the light that broad absorption lines take, of the best quasar",
        ),
        "igm_scale": (
            "igm_scale_quasar",
            "optical depth of the IGM over the mean's, of the best quasar",
        ),
    },
}
#: Amplitudes: column and what it is.
AMPLITUDE_COLUMNS = {
    "star": ("mag_j_star", "AB magnitude in J of the best star"),
    "galaxy": ("log_mass_galaxy", "log10 of the mass formed of the best galaxy [solar masses]"),
    "quasar": (
        "m1450_quasar",
        "absolute AB magnitude at 1450 A of the best quasar as seen: reddened, not demagnified",
    ),
}
#: The composite.
LENSED_COLUMNS = {
    "z_lensed_quasar": "redshift of the quasar of the best galaxy + quasar",
    "z_lens_galaxy": "redshift of the galaxy of the best galaxy + quasar",
    "m1450_lensed": "absolute AB magnitude at 1450 A of the quasar in the best galaxy + quasar, "
    "as seen: luminosity and magnification cannot be told apart",
    "log_mass_lens_galaxy": "log10 of the mass formed of the galaxy in the best galaxy + quasar, "
    "in the aperture [solar masses]",
}


def about() -> dict[str, str]:
    """Return what each column is."""
    plain = {column: text for group in GRID_COLUMNS.values() for column, text in group.values()}
    plain |= dict(AMPLITUDE_COLUMNS.values()) | LENSED_COLUMNS
    ranges = {
        f"{column}_{end}": f"{which} end of the 68 % range: {text}"
        for column, text in plain.items()
        for end, which in (("lo", "lower"), ("hi", "upper"))
    }
    return {"spectral_type": "name of the best star's type"} | plain | ranges


def levels_of(templates: ClassTemplates, name: str) -> Levels:
    """Return the levels of the parameters that a class has columns for."""
    return Levels.of(templates.parameters, list(GRID_COLUMNS[name]))


def columns_of_class(
    name: str, fit: SingleFit, templates: ClassTemplates, levels: Levels
) -> dict[str, NDArray[Any]]:
    """Return best parameters and 68 % ranges of one class, (n,) each; NaN without a fit."""
    found = fit.index >= 0
    row = np.maximum(fit.index, 0)
    columns: dict[str, NDArray[Any]] = {}
    shares = levels.split(fit.levels)
    for parameter, (column, _) in GRID_COLUMNS[name].items():
        columns[column] = _where(found, templates.parameters[parameter].astype(float)[row])
        low, _, high = quantiles(levels.values[parameter], shares[parameter])
        columns[f"{column}_lo"], columns[f"{column}_hi"] = _where(found, low), _where(found, high)
    if name == "star":
        types = templates.parameters["spectral_type"][row]
        columns["spectral_type"] = np.where(found, types, "")
    column, _ = AMPLITUDE_COLUMNS[name]
    columns |= amplitude_columns(
        name, column, fit.amplitude, (fit.ln_amplitude, fit.ln_amplitude_sigma), found
    )
    return columns


def columns_of_pair(fit: PairFit, templates: TemplateSet) -> dict[str, NDArray[Any]]:
    """Return best parameters and 68 % ranges of the composite, (n,) each; NaN without a fit.

    Parameters
    ----------
    fit : its indices are of all templates, its levels of all redshifts of the grids.
    templates : all templates.
    """
    columns: dict[str, NDArray[Any]] = {}
    for part, column, index, shares in (
        ("quasar", "z_lensed_quasar", fit.index_quasar, fit.levels_quasar),
        ("galaxy", "z_lens_galaxy", fit.index_galaxy, fit.levels_galaxy),
    ):
        z = templates.classes[part].parameters["redshift"].astype(float)
        amplitude = fit.amplitude_quasar if part == "quasar" else fit.amplitude_galaxy
        found = (index >= 0) & (amplitude > 0)
        columns[column] = _where(found, z[np.maximum(index, 0)])
        low, _, high = quantiles(np.unique(z), shares)
        columns[f"{column}_lo"] = _where(found, low)
        columns[f"{column}_hi"] = _where(found, high)
    for part, column, amplitude, ln_amplitude in (
        ("quasar", "m1450_lensed", fit.amplitude_quasar, fit.ln_amplitude_quasar),
        ("galaxy", "log_mass_lens_galaxy", fit.amplitude_galaxy, fit.ln_amplitude_galaxy),
    ):
        columns |= amplitude_columns(part, column, amplitude, ln_amplitude, fit.index_quasar >= 0)
    return columns


def amplitude_columns(
    name: str,
    column: str,
    amplitude: Floats,
    ln_amplitude: tuple[Floats, Floats],
    found: NDArray[np.bool_],
) -> dict[str, Floats]:
    """Return an amplitude as the class' magnitude or mass, and its 68 % range."""
    mean, sigma = ln_amplitude
    best = np.log(np.where(amplitude > 0, amplitude, np.nan))
    ends = np.sort([to_unit(name, mean - sigma), to_unit(name, mean + sigma)], axis=0)
    return {
        column: _where(found, to_unit(name, best)),
        f"{column}_lo": _where(found, ends[0]),
        f"{column}_hi": _where(found, ends[1]),
    }


def to_unit(name: str, ln_amplitude: Floats) -> Floats:
    """Return J magnitude (star), log10 of the mass (galaxy) or M1450 (quasar) of ln amplitudes."""
    if name == "star":
        return np.asarray(23.9 - _MAG_PER_LN * ln_amplitude)
    if name == "galaxy":
        return np.asarray(REFERENCE_LOG_MASS + ln_amplitude / _LN_10)
    return np.asarray(REFERENCE_M1450 - _MAG_PER_LN * ln_amplitude)


def quasar_redshift(quasar: SingleFit, pair: PairFit, levels: Levels) -> dict[str, Floats]:
    """Return median and 68 % range of the redshift if quasar or lensed quasar.

    Parameters
    ----------
    quasar, pair : fits; the levels of the pair are those of the class quasar's redshift.
    levels : of the class quasar.
    """
    top = np.maximum(quasar.ln_evidence, pair.ln_evidence)
    alone = levels.split(quasar.levels)["redshift"]
    both = alone * np.exp(quasar.ln_evidence - top)[:, None]
    both += pair.levels_quasar * np.exp(pair.ln_evidence - top)[:, None]
    low, middle, high = quantiles(levels.values["redshift"], both)
    return {"z_quasar": middle, "z_quasar_lo": low, "z_quasar_hi": high}


def quantiles(values: Floats, shares: Floats) -> tuple[Floats, Floats, Floats]:
    """Return 16, 50 and 84 % of distributions over the values of an axis.

    Each value stands for the cell that reaches half way to its neighbours, evenly
    filled; the outermost cells end at their values.

    Parameters
    ----------
    values : ascending, (n_value,).
    shares : not negative, (n, n_value); rows need not sum to 1.
    """
    if len(values) == 1:
        same = np.full(len(shares), values[0])
        return same, same.copy(), same.copy()
    edges = np.concatenate([values[:1], (values[1:] + values[:-1]) / 2, values[-1:]])
    cumulative = np.concatenate([np.zeros((len(shares), 1)), np.cumsum(shares, axis=1)], axis=1)
    cumulative /= np.maximum(cumulative[:, -1:], 1e-300)
    rows = np.arange(len(shares))
    found = []
    for level in _QUANTILES:
        # First edge at which the level is reached.
        right = np.clip((cumulative < level).sum(axis=1), 1, len(values))
        below, above = cumulative[rows, right - 1], cumulative[rows, right]
        inside = (level - below) / np.maximum(above - below, 1e-300)
        low, high = edges[right - 1], edges[right]
        found.append(low + np.clip(inside, 0.0, 1.0) * (high - low))
    return found[0], found[1], found[2]


def by_value(values: Floats, of_column: Floats, shares: Floats) -> Floats:
    """Sum the columns of shares by the value that each stands for, (n, n_value)."""
    member = np.eye(len(values))[np.searchsorted(values, of_column)]
    return np.asarray(shares @ member)


def _where(found: NDArray[np.bool_], values: Floats) -> Floats:
    return np.where(found, values, np.nan)
