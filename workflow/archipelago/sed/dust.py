"""Dust: reddening laws of quasars, and our Galaxy's share in each band."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

#: Galactic extinction A_b / E(B-V)_SFD98 [mag] per band. DES: Abbott et al. 2018,
#: ApJS 239, 18 (R_b, for the SFD98 map as it is). VISTA J and Ks: as released with the DES deep
#: fields (Hartley et al. 2022, MNRAS 509, 3547). W1 and W2: the law of Fitzpatrick 1999, as
#: in the Legacy Surveys' catalogues (legacysurvey.org/dr10/catalogs).
GALACTIC_EXTINCTION_MAG = {
    "g": 3.186,
    "r": 2.140,
    "i": 1.569,
    "z": 1.196,
    "Y": 1.048,
    "J": 0.705,
    "K": 0.308,
    "W1": 0.184,
    "W2": 0.113,
}

#: Small Magellanic Cloud law as the sum of terms a / (x + 1/x + b), x = (lambda /
#: lambda_i)^n: Pei 1992, ApJ 395, 130 (SMC): a, lambda_i [um], b, n.
_PEI_SMC = (
    (185.0, 0.042, 90.0, 2.0),
    (27.0, 0.08, 5.50, 4.0),
    (0.005, 0.22, -1.95, 2.0),
    (0.010, 9.7, -1.95, 2.0),
    (0.012, 18.0, -1.80, 2.0),
    (0.030, 25.0, 0.0, 2.0),
)
#: R_V of the SMC, in the same paper.
_PEI_SMC_RV = 2.93


def smc_extinction(wavelength_aa: ArrayLike) -> Floats:
    """Return A(lambda) / E(B-V) of the SMC at rest wavelengths [Angstrom] (Pei 1992)."""
    wave_um = np.asarray(wavelength_aa, dtype=float) * 1e-4
    xi = np.zeros(wave_um.shape)
    for a, centre_um, b, n in _PEI_SMC:
        ratio = (wave_um / centre_um) ** n
        xi += a / (ratio + 1 / ratio + b)
    # The paper gives A(lambda)/A_B; A_B = (1 + R_V) E(B-V).
    return np.asarray(xi * (1 + _PEI_SMC_RV))


def galactic_correction(ebv_mag: ArrayLike, bands: Sequence[str]) -> Floats:
    """Return the factors that take Galactic extinction out of band fluxes.

    Parameters
    ----------
    ebv_mag : (n,) E(B-V) of the SFD98 map [mag]; NaN counts as 0.
    bands : names; one without a coefficient gets the factor 1.

    Returns
    -------
    (n, n_band) factors to multiply fluxes and errors with.
    """
    ebv = np.nan_to_num(np.asarray(ebv_mag, dtype=float), nan=0.0, posinf=0.0, neginf=0.0)
    return 10 ** (0.4 * ebv[:, None] * _coefficients(GALACTIC_EXTINCTION_MAG, bands)[None, :])


def _coefficients(table: Mapping[str, float], bands: Sequence[str]) -> Floats:
    return np.array([table.get(band, 0.0) for band in bands])
