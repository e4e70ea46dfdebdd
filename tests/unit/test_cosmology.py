"""Distances, volumes and ages, against independent integrals and relations."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad

from archipelago import cosmology

REDSHIFTS = np.array([0.1, 1.0, 6.0])


def rate(z: float) -> float:
    """E(z) of H0 = 70, Omega_m = 0.3 without radiation."""
    return float(np.sqrt(0.3 * (1 + z) ** 3 + 0.7))


@pytest.fixture
def comoving_mpc() -> np.ndarray:
    """Comoving distances by quadrature."""
    return np.array([299792.458 / 70 * quad(lambda x: 1 / rate(x), 0, z)[0] for z in REDSHIFTS])


def test_distances(comoving_mpc: np.ndarray) -> None:
    luminosity = comoving_mpc * (1 + REDSHIFTS)
    np.testing.assert_allclose(cosmology.comoving_distance_mpc(REDSHIFTS), comoving_mpc, rtol=1e-9)
    np.testing.assert_allclose(cosmology.luminosity_distance_mpc(REDSHIFTS), luminosity, rtol=1e-9)
    modulus = 5 * np.log10(luminosity * 1e5)
    np.testing.assert_allclose(cosmology.distance_modulus_mag(REDSHIFTS), modulus, rtol=1e-9)
    ratio = cosmology.lens_distance_ratio(1.0, 6.0)
    assert ratio == pytest.approx(1 - comoving_mpc[1] / comoving_mpc[2])


def test_volume(comoving_mpc: np.ndarray) -> None:
    depth = 299792.458 / 70 / np.array([rate(z) for z in REDSHIFTS])
    wanted = comoving_mpc**2 * depth * (np.pi / 180) ** 2
    np.testing.assert_allclose(cosmology.volume_mpc3_per_deg2(REDSHIFTS), wanted, rtol=1e-9)


def test_age() -> None:
    # 977.792 Gyr = 1 Mpc / (km/s).
    wanted = [
        977.792 / 70 * quad(lambda x: 1 / ((1 + x) * rate(x)), z, np.inf)[0] for z in REDSHIFTS
    ]
    np.testing.assert_allclose(cosmology.age_gyr(REDSHIFTS), wanted, rtol=1e-5)


def test_short_paths() -> None:
    """The light travel time between close redshifts, times c."""
    near, far = 5.95, 6.0
    time_gyr = cosmology.age_gyr(near) - cosmology.age_gyr(far)
    path = cosmology.proper_path_mpc(near, far)
    assert path == pytest.approx(float(time_gyr) * 306.6014, rel=1e-4)  # Mpc per light-Gyr
    assert cosmology.hubble_km_s_mpc(0.0) == pytest.approx(70.0)
