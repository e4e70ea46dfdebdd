"""Galaxies: spectra and band fluxes from BAGPIPES.

BAGPIPES (Carnall et al. 2018, MNRAS 480, 4379) with its packaged stellar grids
(2016 version of Bruzual & Charlot 2003, Kroupa initial mass function), nebular
grids (Cloudy), and Calzetti et al. 2000 (ApJ 533, 682) attenuation. Amplitudes
are relative to 10^10 solar masses formed.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import io
import os
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archipelago.passbands import Passband, passband_weights, write_ascii

Floats = NDArray[np.float64]

#: log10 of the mass formed that templates are made with [solar masses].
REFERENCE_LOG_MASS = 10.0
#: Ionisation parameter log U of HII regions (assumed; usual with BAGPIPES) and lifetime of birth
#: clouds [Gyr] (BAGPIPES' default).
_LOG_U = -3.0
_BIRTH_CLOUD_GYR = 0.01
_C_AA_PER_S = 2.99792458e18


@contextlib.contextmanager
def _folder_of_its_own() -> Iterator[Path]:
    """Work in a temporary folder: BAGPIPES writes ``./pipes`` wherever it is."""
    here = Path.cwd()
    with tempfile.TemporaryDirectory(prefix="archipelago-galaxy-") as name:
        os.chdir(name)
        try:
            yield Path(name)
        finally:
            os.chdir(here)


def import_bagpipes() -> ModuleType:
    """Import BAGPIPES, one process at a time, without its greetings.

    At its first import ever it writes an IGM table into its own package folder;
    two processes doing so at once would read each other's half-written file.
    """
    lock_path = Path(tempfile.gettempdir()) / f"archipelago-bagpipes-{os.getuid()}.lock"
    with (
        lock_path.open("w") as lock,
        contextlib.redirect_stdout(io.StringIO()),
        warnings.catch_warnings(),
    ):
        fcntl.flock(lock, fcntl.LOCK_EX)
        # It leaves the FITS files of its grids open, to be closed by the collector.
        warnings.simplefilter("ignore", ResourceWarning)
        import bagpipes

        gc.collect()
        module: ModuleType = bagpipes
    return module


def components(
    redshift: float,
    *,
    history: str = "delayed",
    age_gyr: float = 1.0,
    tau_gyr: float = 1.0,
    av_mag: float = 0.0,
    metallicity: float = 1.0,
    log_mass: float = REFERENCE_LOG_MASS,
) -> dict[str, Any]:
    """Return the dictionary of model components that BAGPIPES takes.

    Parameters
    ----------
    redshift : from 0 to 10, BAGPIPES' limit.
    history : ``delayed`` (star formation ~ t exp(-t / tau)) or ``constant``.
    age_gyr : time since star formation began [Gyr].
    tau_gyr : e-folding time of the delayed history [Gyr].
    av_mag : attenuation in V [mag], Calzetti law; birth clouds have twice that (assumed).
    metallicity : in solar units.
    log_mass : log10 of the stellar mass formed [solar masses].
    """
    if history == "delayed":
        stars = {"age": age_gyr, "tau": tau_gyr}
    elif history == "constant":
        stars = {"age_max": age_gyr, "age_min": 0.0}
    else:
        raise ValueError(f"star formation history {history!r}: 'delayed' or 'constant'")
    return {
        "redshift": float(redshift),
        "t_bc": _BIRTH_CLOUD_GYR,
        history: {**stars, "massformed": log_mass, "metallicity": metallicity},
        "dust": {"type": "Calzetti", "Av": av_mag, "eta": 2.0},
        "nebular": {"logU": _LOG_U},
    }


class GalaxyModel:
    """BAGPIPES spectra and band fluxes, one model object updated again and again.

    Building takes 0.3 to 1 s, an update 1 to 3 ms; a change of star formation
    history builds anew.

    Parameters
    ----------
    passbands : per band a Passband; fluxes come in their order.
    """

    def __init__(self, passbands: Mapping[str, Passband]) -> None:
        self._passbands = dict(passbands)
        self._models: dict[str, Any] = {}
        self._weights: dict[float, Floats] = {}

    def _update(self, parts: dict[str, Any]) -> Any:
        history = "delayed" if "delayed" in parts else "constant"
        if history in self._models:
            self._models[history].update(parts)
            return self._models[history]
        with _folder_of_its_own() as folder:
            bagpipes = import_bagpipes()
            files = write_ascii(self._passbands, folder / "passbands")
            with contextlib.redirect_stdout(io.StringIO()):
                self._models[history] = bagpipes.model_galaxy(
                    parts, filt_list=[str(path) for path in files.values()]
                )
        return self._models[history]

    def spectrum(self, redshift: float, **parameters: Any) -> tuple[Floats, Floats]:
        """Return observed wavelengths [Angstrom] and f_nu [uJy] (parameters: see `components`)."""
        model = self._update(components(redshift, **parameters))
        wave = np.asarray(model.wavelengths) * (1 + redshift)
        # erg/s/cm2/A to uJy: f_nu = f_lambda lambda^2 / c, 1 uJy = 1e-29 erg/s/cm2/Hz.
        f_nu = np.asarray(model.spectrum_full) * wave**2 / _C_AA_PER_S * 1e29
        return wave, f_nu

    def fluxes(self, redshift: float, **parameters: Any) -> Floats:
        """Return band fluxes [uJy], (n_band,) (parameters: see `components`)."""
        wave, f_nu = self.spectrum(redshift, **parameters)
        if redshift not in self._weights:
            self._weights = {redshift: passband_weights(wave, self._passbands)}
        return np.asarray(f_nu @ self._weights[redshift])
