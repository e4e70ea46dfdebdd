"""Distances in a flat universe with H0 = 70 km/s/Mpc and Omega_m = 0.3."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

_HUBBLE_MPC = 299792.458 / 70.0


@lru_cache(maxsize=1)
def _table() -> tuple[Floats, Floats]:
    z = np.linspace(0.0, 10.0, 10001)
    rate = 1.0 / np.sqrt(0.3 * (1 + z) ** 3 + 0.7)
    comoving = np.concatenate([[0.0], np.cumsum((rate[1:] + rate[:-1]) / 2 * np.diff(z))])
    return z, _HUBBLE_MPC * comoving


def comoving_distance_mpc(redshift: ArrayLike) -> Floats:
    """Return the comoving distance [Mpc] to ``redshift`` (0 to 10; Hogg 1999, eq. 15)."""
    z, distance = _table()
    return np.interp(np.asarray(redshift, dtype=float), z, distance)


def luminosity_distance_mpc(redshift: ArrayLike) -> Floats:
    """Return the luminosity distance [Mpc] to ``redshift`` (Hogg 1999, eq. 21)."""
    return comoving_distance_mpc(redshift) * (1 + np.asarray(redshift, dtype=float))


def lens_distance_ratio(lens_redshift: ArrayLike, source_redshift: ArrayLike) -> Floats:
    """Return D_lens-source / D_source (angular diameter; Hogg 1999, eq. 19, flat)."""
    near, far = comoving_distance_mpc(lens_redshift), comoving_distance_mpc(source_redshift)
    return 1.0 - near / far
