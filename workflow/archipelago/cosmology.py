"""Distances, volumes and ages in one flat cosmology, in plain numbers.

H0 = 70 km/s/Mpc and Omega_m = 0.3, radiation left out: the cosmology of the luminosity
function used as a prior (Schindler et al. 2023, ApJ 943, 67) and of BAGPIPES. The work is
astropy's (`astropy.cosmology.FlatLambdaCDM`); these functions name the units and take and
return numbers without them.
"""

from __future__ import annotations

import numpy as np
from astropy.cosmology import FlatLambdaCDM
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

#: The cosmology.
COSMOLOGY = FlatLambdaCDM(H0=70.0, Om0=0.3, Tcmb0=0.0)
SPEED_OF_LIGHT_KM_S = 299_792.458
#: Steradians in a square degree.
SR_PER_DEG2 = (np.pi / 180.0) ** 2


def hubble_km_s_mpc(redshift: ArrayLike) -> Floats:
    """Return H(z) [km/s/Mpc]."""
    return np.asarray(COSMOLOGY.H(_numbers(redshift)).value)


def age_gyr(redshift: ArrayLike) -> Floats:
    """Return the age of the universe [Gyr]."""
    return np.asarray(COSMOLOGY.age(_numbers(redshift)).value)


def comoving_distance_mpc(redshift: ArrayLike) -> Floats:
    """Return the line-of-sight comoving distance [Mpc]."""
    return np.asarray(COSMOLOGY.comoving_distance(_numbers(redshift)).value)


def luminosity_distance_mpc(redshift: ArrayLike) -> Floats:
    """Return the luminosity distance [Mpc]."""
    return np.asarray(COSMOLOGY.luminosity_distance(_numbers(redshift)).value)


def distance_modulus_mag(redshift: ArrayLike) -> Floats:
    """Return 5 log10(d_L / 10 pc) [mag]; redshifts must be above 0."""
    return np.asarray(COSMOLOGY.distmod(_numbers(redshift)).value)


def lens_distance_ratio(lens_redshift: ArrayLike, source_redshift: ArrayLike) -> Floats:
    """Return D_lens-source / D_source (angular diameter distances; the universe is flat)."""
    near, far = comoving_distance_mpc(lens_redshift), comoving_distance_mpc(source_redshift)
    return np.asarray(1.0 - near / far)


def volume_mpc3_per_deg2(redshift: ArrayLike) -> Floats:
    """Return the comoving volume per unit redshift and square degree [Mpc^3 / deg^2]."""
    per_sr = COSMOLOGY.differential_comoving_volume(_numbers(redshift)).value
    return np.asarray(per_sr * SR_PER_DEG2)


def proper_path_mpc(redshift_near: ArrayLike, redshift_far: ArrayLike) -> Floats:
    """Return the proper length of the sight line between two redshifts [Mpc], at the mean redshift.

    Good for short paths only (a few per cent in 1 + z), such as the reach of a
    quasar's own ionisation: the scale factor is taken as constant along it.
    """
    near, far = _numbers(redshift_near), _numbers(redshift_far)
    mean = (near + far) / 2
    return np.asarray((far - near) * SPEED_OF_LIGHT_KM_S / hubble_km_s_mpc(mean) / (1 + mean))


def _numbers(redshift: ArrayLike) -> Floats:
    return np.asarray(redshift, dtype=float)
