"""Spectra of posterior draws, with the models that they were sampled with.

The sampler sees band fluxes on grids; here the spectra behind them are made anew,
draw by draw. Stars have none: their model is colours against spectral type.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from archipelago.passbands import Passband
from archipelago.sed.galaxy import GalaxyModel
from archipelago.sed.posterior_models import LENS_TAU_GYR, QuasarModel, lens_age_gyr
from archipelago.sed.quasar import quasar_f_nu

Floats = NDArray[np.float64]


def wavelength_bins(passbands: Mapping[str, Passband], n_bins: int = 160) -> Floats:
    """Return edges of bins even in the logarithm that cover all passbands [Angstrom]."""
    low = min(band.wavelength_aa[0] for band in passbands.values())
    high = max(band.wavelength_aa[-1] for band in passbands.values())
    return np.geomspace(0.9 * low, 1.1 * high, n_bins + 1)


def bin_means(wavelength_aa: Floats, f_nu: Floats, edges_aa: Floats) -> Floats:
    """Return the mean of a spectrum over each bin of wavelength; no line falls between bins.

    Parameters
    ----------
    wavelength_aa : increasing wavelengths that cover the bins [Angstrom], (n_wave,).
    f_nu : in any unit, (n_wave,), linear between its points.
    edges_aa : edges of the bins [Angstrom], (n_bin + 1,).
    """
    grid = np.union1d(wavelength_aa, edges_aa)
    flux = np.interp(grid, wavelength_aa, f_nu)
    below = np.concatenate([[0.0], np.cumsum(np.diff(grid) * (flux[1:] + flux[:-1]) / 2)])
    return np.asarray(np.diff(below[np.searchsorted(grid, edges_aa)]) / np.diff(edges_aa))


def spectra(
    name: str,
    parameters: Sequence[str],
    draws: Floats,
    edges_aa: Floats,
    galaxies: GalaxyModel,
    history: str,
) -> dict[str, Floats]:
    """Return total spectra of draws, before any aperture [uJy].

    Parameters
    ----------
    name : class: star, galaxy, quasar or lensed.
    parameters : names of the columns of ``draws``.
    draws : (n, n_par).
    edges_aa : edges of bins of observed wavelength [Angstrom], (n_bin + 1,).
    galaxies : makes the galaxies' spectra.
    history : ``delayed`` or ``constant`` star formation of class galaxy.

    Returns
    -------
    Component to f_nu, (n, n_bin), the mean over each bin. The class itself is the total;
    ``lensed`` has ``quasar`` and ``galaxy`` beside it. Empty for stars.
    """
    rows = [dict(zip(parameters, map(float, draw), strict=True)) for draw in draws]
    if name == "star":
        return {}
    if name == "galaxy":
        return {"galaxy": _stack([_galaxy(row, history, galaxies, edges_aa) for row in rows])}
    quasar = _stack([_quasar(row, edges_aa) for row in rows])
    if name == "quasar":
        return {"quasar": quasar}
    lens = _stack([_lens(row, galaxies, edges_aa) for row in rows])
    return {"lensed": quasar + lens, "quasar": quasar, "galaxy": lens}


def _stack(rows: Sequence[Floats]) -> Floats:
    return np.array(rows, dtype=float)


def _quasar(row: Mapping[str, float], edges_aa: Floats) -> Floats:
    # Three points a bin: the IGM's edges are sharp.
    steps = np.linspace(0, 1, 4)[:-1]
    inner = edges_aa[:-1, None] + np.diff(edges_aa)[:, None] * steps
    wave = np.append(inner.ravel(), edges_aa[-1])
    values = {key: row[key] for key in QuasarModel.names if key != "redshift"}
    return bin_means(wave, quasar_f_nu(wave, row["redshift"], **values), edges_aa)


def _galaxy(
    row: Mapping[str, float], history: str, galaxies: GalaxyModel, edges_aa: Floats
) -> Floats:
    values = {key: row[key] for key in ("age_gyr", "log_mass", "metallicity", "av_mag")}
    if history == "delayed":
        values["tau_gyr"] = row["tau_gyr"]
    wave, f_nu = galaxies.spectrum(row["redshift"], history=history, **values)
    return bin_means(wave, f_nu, edges_aa)


def _lens(row: Mapping[str, float], galaxies: GalaxyModel, edges_aa: Floats) -> Floats:
    z = row["lens_redshift"]
    wave, f_nu = galaxies.spectrum(
        z,
        history="delayed",
        age_gyr=lens_age_gyr(row["lens_log_age_gyr"], z),
        tau_gyr=LENS_TAU_GYR,
        av_mag=row["lens_av_mag"],
        log_mass=row["lens_log_mass"],
    )
    return bin_means(wave, f_nu, edges_aa)
