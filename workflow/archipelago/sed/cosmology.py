"""Distances in one flat cosmology, in closed numerical form.

H0 = 70 km/s/Mpc and Omega_m = 0.3, radiation left out: the round values that the
luminosity functions used as priors were published with (Schindler et al. 2023,
ApJ 943, 67, section 1; Ilbert et al. 2013, A&A 556, A55, section 1).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

HUBBLE_KM_S_MPC = 70.0
OMEGA_MATTER = 0.3
SPEED_OF_LIGHT_KM_S = 299_792.458
#: Steradians in a square degree.
SR_PER_DEG2 = (np.pi / 180.0) ** 2

_Z = np.linspace(0.0, 20.0, 20_001)
_E = np.sqrt(OMEGA_MATTER * (1 + _Z) ** 3 + 1 - OMEGA_MATTER)
_COMOVING_MPC = (
    SPEED_OF_LIGHT_KM_S
    / HUBBLE_KM_S_MPC
    * np.concatenate([[0.0], np.cumsum((1 / _E[1:] + 1 / _E[:-1]) / 2 * np.diff(_Z))])
)


def hubble_km_s_mpc(redshift: ArrayLike) -> Floats:
    """Return H(z) [km/s/Mpc]."""
    z = np.asarray(redshift, dtype=float)
    return HUBBLE_KM_S_MPC * np.sqrt(OMEGA_MATTER * (1 + z) ** 3 + 1 - OMEGA_MATTER)


def comoving_distance_mpc(redshift: ArrayLike) -> Floats:
    """Return the line-of-sight comoving distance [Mpc], for redshifts from 0 to 20."""
    return np.asarray(np.interp(np.asarray(redshift, dtype=float), _Z, _COMOVING_MPC))


def distance_modulus_mag(redshift: ArrayLike) -> Floats:
    """Return 5 log10(d_L / 10 pc) [mag]; redshifts must be above 0."""
    z = np.asarray(redshift, dtype=float)
    return np.asarray(5 * np.log10(comoving_distance_mpc(z) * (1 + z) * 1e5))


def volume_mpc3_per_deg2(redshift: ArrayLike) -> Floats:
    """Return the comoving volume per unit redshift and square degree [Mpc^3 / deg^2]."""
    distance = comoving_distance_mpc(redshift)
    depth = SPEED_OF_LIGHT_KM_S / hubble_km_s_mpc(redshift)
    return np.asarray(distance**2 * depth * SR_PER_DEG2)


def proper_path_mpc(redshift_near: ArrayLike, redshift_far: ArrayLike) -> Floats:
    """Return the proper length of the sight line between two redshifts [Mpc], at the mean redshift.

    Good for short paths only (a few per cent in 1 + z), such as the reach of a
    quasar's own ionisation: the scale factor is taken as constant along it.
    """
    near, far = np.asarray(redshift_near, dtype=float), np.asarray(redshift_far, dtype=float)
    mean = (near + far) / 2
    return np.asarray((far - near) * SPEED_OF_LIGHT_KM_S / hubble_km_s_mpc(mean) / (1 + mean))
