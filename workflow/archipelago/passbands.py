"""Passbands: read, cleaned, and integrated over.

A passband is the system response R(lambda), the fraction of photons counted
(detectors count photons; the WISE curves of sedpy, which are responses per
photon too, are used likewise). The flux of a source through it is the
photon-weighted mean of f_nu,

    <f_nu> = int f_nu R dlambda/lambda / int R dlambda/lambda,

which is the flux that an AB magnitude stands for (Fukugita et al. 1996, AJ 111,
1748; Bessell & Murphy 2012, PASP 124, 140, eq. 2).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from archipelago.base.errors import ConfigError, InputError
from archipelago.base.files import atomic_path

Floats = NDArray[np.float64]

#: sedpy's names of the nine bands of the DES + VHS + AllWISE search.
DES_VHS_WISE = {
    "g": "decam_g",
    "r": "decam_r",
    "i": "decam_i",
    "z": "decam_z",
    "Y": "decam_Y",
    "J": "vista_vircam_J",
    "K": "vista_vircam_Ks",
    "W1": "wise_w1",
    "W2": "wise_w2",
}

#: Below this fraction of the peak a curve is cut off, on either side of the
#: peak: what lies beyond (VISTA's curves have leaks out to 3 um) is not the
#: passband that the detector of that survey saw.
_EDGE = 5e-3


@dataclass(frozen=True)
class Passband:
    """One passband.

    Attributes
    ----------
    name : the band's name, such as ``"z"``.
    wavelength_aa : increasing wavelengths in vacuum [Angstrom].
    transmission : fraction of photons counted, its peak scaled to 1.
    pivot_aa : pivot wavelength, sqrt(int R l dl / int R dl / l) [Angstrom]
        (Bessell & Murphy 2012, appendix A.2.1).
    """

    name: str
    wavelength_aa: Floats
    transmission: Floats
    pivot_aa: float


def make_passband(name: str, wavelength_aa: ArrayLike, transmission: ArrayLike) -> Passband:
    """Return a clean passband from any two columns.

    The curve is sorted, negative values are set to 0, the peak is scaled to 1
    (so that percent and fraction are the same) and everything beyond the first
    fall under 0.5 % of the peak on either side is cut off.

    Raises
    ------
    InputError
        If there are fewer than three points, a value is not finite, a
        wavelength is not positive or comes twice, or nothing is transmitted.
    """
    wave = np.asarray(wavelength_aa, dtype=float).ravel()
    response = np.asarray(transmission, dtype=float).ravel()
    problem = ""
    if wave.size != response.size or wave.size < 3:
        problem = f"{wave.size} wavelengths and {response.size} transmissions, at least 3 needed"
    elif not (np.isfinite(wave).all() and np.isfinite(response).all()):
        problem = "values that are not finite"
    elif wave.min() <= 0 or np.unique(wave).size != wave.size:
        problem = "wavelengths that are not positive or come twice"
    elif response.max() <= 0:
        problem = "no positive transmission"
    if problem:
        raise InputError(
            f"the passband has {problem}",
            where=name,
            next_step="give two columns, wavelength in Angstrom and transmission",
        )
    order = np.argsort(wave)
    wave, response = wave[order], np.clip(response[order], 0.0, None)
    response = response / response.max()
    peak = int(np.argmax(response))
    low = np.flatnonzero(response[:peak] < _EDGE)
    high = np.flatnonzero(response[peak:] < _EDGE)
    # One point under the edge is kept on either side, as the curve's foot.
    keep = slice(low[-1] if low.size else 0, peak + high[0] + 1 if high.size else wave.size)
    wave, response = wave[keep], response[keep]
    pivot = float(
        np.sqrt(np.trapezoid(response * wave, wave) / np.trapezoid(response / wave, wave))
    )
    return Passband(name, wave, response, pivot)


def load_passbands(names: Mapping[str, str | Path]) -> dict[str, Passband]:
    """Read passbands.

    Parameters
    ----------
    names : per band, in the order wanted, the name of a curve packaged with
        astro-sedpy (such as ``decam_z``) or the path of a file of two columns,
        wavelength [Angstrom] and transmission (any scale; ``#`` comments).

    Returns
    -------
    dict of Passband, in the same order.

    Raises
    ------
    ConfigError
        If a name is neither a file nor one of sedpy's curves.
    InputError
        If a curve cannot be used.
    """
    return {band: _load(band, str(source)) for band, source in names.items()}


def _load(band: str, source: str) -> Passband:
    if Path(source).is_file():
        try:
            table = np.loadtxt(source, usecols=(0, 1), ndmin=2)
        except (ValueError, IndexError) as error:
            raise InputError(
                f"cannot read the passband: {error}",
                where=f"{band}: {source}",
                next_step="give two columns, wavelength in Angstrom and transmission",
            ) from error
        return make_passband(band, table[:, 0], table[:, 1])
    # Imported here: only curves by name need the package.
    from sedpy.observate import Filter, list_available_filters

    known = list_available_filters()
    if source not in known:
        stem = source.split("_")[0]
        near = [name for name in known if name.startswith(stem)] or ["decam_g", "wise_w1"]
        raise ConfigError(
            f"no passband {source!r}: neither a file nor a curve packaged with astro-sedpy",
            where=f"sed.passbands.{band}",
            next_step=f"give a path, or a name such as {', '.join(near[:8])}",
        )
    curve = Filter(source)
    return make_passband(band, curve.wavelength, curve.transmission)


def passband_weights(wavelength_aa: ArrayLike, passbands: Mapping[str, Passband]) -> Floats:
    """Return the matrix that turns spectra on a grid into band fluxes.

    The product f_nu R / lambda is integrated by the trapezium rule over the
    union of the spectrum's and the passband's points, with both curves linear
    between their points; that is linear in f_nu, hence a matrix.

    Parameters
    ----------
    wavelength_aa : increasing wavelengths of the spectra [Angstrom], (n_wave,).
    passbands : per band a Passband.

    Returns
    -------
    (n_wave, n_band) weights; each column sums to 1.

    Raises
    ------
    ValueError
        If the grid does not increase, or does not cover a passband.
    """
    wave = np.asarray(wavelength_aa, dtype=float)
    if wave.ndim != 1 or wave.size < 2 or np.any(np.diff(wave) <= 0):
        raise ValueError("the wavelengths of a spectrum must increase")
    weights = np.zeros((wave.size, len(passbands)))
    for column, band in enumerate(passbands.values()):
        low, high = band.wavelength_aa[[0, -1]]
        if wave[0] > low or wave[-1] < high:
            raise ValueError(
                f"the spectrum ({wave[0]:.0f}-{wave[-1]:.0f} Angstrom) does not cover "
                f"passband {band.name} ({low:.0f}-{high:.0f} Angstrom)"
            )
        inside = wave[(wave > low) & (wave < high)]
        grid = np.union1d(inside, band.wavelength_aa)
        step = np.diff(grid)
        trapezium = np.zeros(grid.size)
        trapezium[:-1] += step / 2
        trapezium[1:] += step / 2
        part = trapezium * np.interp(grid, band.wavelength_aa, band.transmission) / grid
        left = np.clip(np.searchsorted(wave, grid, side="right") - 1, 0, wave.size - 2)
        share = (grid - wave[left]) / (wave[left + 1] - wave[left])
        np.add.at(weights[:, column], left, part * (1 - share))
        np.add.at(weights[:, column], left + 1, part * share)
        weights[:, column] /= part.sum()
    return weights


def band_fluxes(
    wavelength_aa: ArrayLike, f_nu: ArrayLike, passbands: Mapping[str, Passband]
) -> Floats:
    """Return the photon-weighted mean f_nu of spectra in each passband.

    Parameters
    ----------
    wavelength_aa : increasing wavelengths [Angstrom], (n_wave,).
    f_nu : flux densities per unit frequency in any unit, (..., n_wave).
    passbands : per band a Passband.

    Returns
    -------
    (..., n_band) mean fluxes in the unit of ``f_nu``, in the passbands' order.

    Raises
    ------
    ValueError
        If the grid does not increase, or does not cover a passband.
    """
    return np.asarray(f_nu, dtype=float) @ passband_weights(wavelength_aa, passbands)


def write_ascii(passbands: Mapping[str, Passband], folder: str | Path) -> dict[str, Path]:
    """Write one two-column file per band (Angstrom, transmission), as BAGPIPES and LePHARE read.

    Returns the path per band: ``folder/<band>.dat``.
    """
    paths = {}
    for name, band in passbands.items():
        path = Path(folder) / f"{name}.dat"
        with atomic_path(path) as temporary:
            np.savetxt(
                temporary, np.column_stack([band.wavelength_aa, band.transmission]), fmt="%.6e"
            )
        paths[name] = path
    return paths
