from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archipelago.demosky import apertures, spectra
from archipelago.demosky.lensing import Lens, deflection, find_images, largest_separation


def test_a_nearly_round_lens_is_an_isothermal_sphere() -> None:
    """Images at beta +- theta_E, magnified by theta / (theta - theta_E) (Schneider et al.)."""
    lens = Lens(1.0, 0.9999, 0.0, 1e-6, 0.0)
    images = find_images(lens, 0.3, 0.4)  # beta = 0.5
    radius = np.hypot(images.x_arcsec, images.y_arcsec)
    np.testing.assert_allclose(radius, [1.5, 0.5], rtol=2e-3)
    np.testing.assert_allclose(images.magnification, [3.0, 1.0], rtol=1e-2)
    assert largest_separation(images) == pytest.approx(2.0, rel=1e-3)


@settings(max_examples=60, deadline=None)
@given(
    einstein=st.floats(0.1, 1.6),
    ratio=st.floats(0.4, 0.97),
    angle=st.floats(-180, 180),
    shear=st.floats(0.001, 0.15),
    shear_angle=st.floats(0, 180),
    radius=st.floats(0.0, 1.2),
    azimuth=st.floats(0, 6.28),
)
def test_images_solve_the_lens_equation(
    einstein: float,
    ratio: float,
    angle: float,
    shear: float,
    shear_angle: float,
    radius: float,
    azimuth: float,
) -> None:
    lens = Lens(einstein, ratio, angle, shear, shear_angle)
    source = radius * einstein * np.array([np.cos(azimuth), np.sin(azimuth)])
    images = find_images(lens, *source)
    position = np.array([images.x_arcsec, images.y_arcsec])
    bend = deflection(lens, np.arctan2(position[1], position[0]))
    turn = 2 * np.deg2rad(shear_angle)
    pull = shear * np.array(
        [
            np.cos(turn) * position[0] + np.sin(turn) * position[1],
            np.sin(turn) * position[0] - np.cos(turn) * position[1],
        ]
    )
    back = position - bend - pull
    np.testing.assert_allclose(back, np.broadcast_to(source[:, None], back.shape), atol=1e-5)
    # Eight where the shear works against the ellipticity (Keeton, Mao & Witt 2000, ApJ 537, 697).
    assert len(images.magnification) <= 8
    assert (np.diff(images.magnification) <= 0).all()


def test_sources_in_the_middle_of_an_elliptic_lens_have_four_images() -> None:
    images = find_images(Lens(1.0, 0.6, 20.0, 0.05, 50.0), 0.01, 0.02)
    assert len(images.magnification) == 4
    assert len(find_images(Lens(1.0, 0.8, 0.0, 0.02, 0.0), 3.0, 0.1).magnification) == 1


def test_dwarfs_have_the_colours_of_their_sequence() -> None:
    table = spectra._DWARF_COLOURS
    magnitudes = -2.5 * np.log10(spectra.fluxes(np.exp(spectra.dwarf_ln_f_nu(table[:-1, 0]))))
    colours = magnitudes[:, :-1] - magnitudes[:, 1:]
    np.testing.assert_allclose(colours, table[:-1, 1:], atol=0.02)


def test_a_flat_spectrum_has_the_same_flux_in_every_band() -> None:
    np.testing.assert_allclose(spectra.fluxes(np.ones(len(spectra.WAVELENGTH_AA))), 1.0)


def _quasars(redshift: list[float]) -> spectra.QuasarParameters:
    z = np.array(redshift)
    return spectra.QuasarParameters(
        redshift=z,
        absolute_mag_1450=np.full(len(z), -26.5),
        slope=np.full(len(z), -1.5),
        ebv_mag=np.zeros(len(z)),
        proximity_mpc=np.full(len(z), 4.0),
        broad_absorption=np.zeros(len(z)),
    )


def test_quasars_drop_out_band_by_band() -> None:
    parameters = _quasars([5.6] * 20 + [6.0] * 20 + [6.5] * 20)
    flux = spectra.fluxes(spectra.quasar_f_nu(np.random.default_rng(1), parameters))
    i_minus_z = -2.5 * np.log10(flux[:, 2] / flux[:, 3])
    z_minus_y = -2.5 * np.log10(flux[:, 3] / flux[:, 4])
    middle = np.median(i_minus_z.reshape(3, 20), axis=1)
    assert middle[0] < 1.2 < middle[1] < middle[2]
    assert np.median(z_minus_y[40:]) > np.median(z_minus_y[:20])
    assert np.std(i_minus_z[20:40]) > 0.1  # sight lines differ
    # M_1450 = -26.5 at z = 6 is 20.2 at 1450 (1 + z) Angstrom, near Y.
    assert 19.4 < np.median(23.9 - 2.5 * np.log10(flux[20:40, 4])) < 20.5


def test_the_forest_is_that_of_bosman_and_becker() -> None:
    depth = spectra.forest_optical_depth(np.array([3.5, 4.8, 6.0]))
    np.testing.assert_allclose(depth, [0.619, 1.44, 5.29], rtol=0.02)


def test_galaxies_break_at_4000_angstrom() -> None:
    one = np.ones(1)
    parameters = spectra.GalaxyParameters(one, 0 * one, 0 * one, 0 * one, 0 * one)
    old = spectra.fluxes(spectra.galaxy_f_nu(parameters))[0]
    young = spectra.GalaxyParameters(one, 0 * one, 0.9 * one, 0 * one, 0 * one)
    blue = spectra.fluxes(spectra.galaxy_f_nu(young))[0]
    assert old[2] / old[3] < 0.55 < 0.8 < blue[2] / blue[3]
    dusty = spectra.GalaxyParameters(one, 0 * one, 0.9 * one, one, 0 * one)
    assert spectra.fluxes(spectra.galaxy_f_nu(dusty))[0][0] < 0.1 * blue[0]
    np.testing.assert_allclose(spectra.calzetti_k(np.array([0.55])), 4.05, atol=0.05)


def test_galactic_dust_dims_the_blue_most() -> None:
    flux = spectra.behind_galactic_dust(np.ones((1, 9)), np.array([0.05]))
    assert (np.diff(flux[0][:8]) > 0).all()


def _one(**values: object) -> pd.DataFrame:
    row = {
        "east_arcsec": 0.0, "north_arcsec": 0.0, "profile": "point", "r_eff_arcsec": np.nan,
        "sersic_n": np.nan, "axis_ratio": np.nan, "position_angle_deg": np.nan, **values,
    }  # fmt: skip
    return pd.DataFrame([row])


def test_apertures_miss_what_they_should() -> None:
    centre = np.zeros(1)
    point = apertures.aperture_fraction(_one(), centre, centre, 0.975, 0.83)[0]
    assert -2.5 * np.log10(point) == pytest.approx(0.27, abs=0.01)
    wide = _one(
        profile="sersic", r_eff_arcsec=0.6, sersic_n=4.0, axis_ratio=0.7, position_angle_deg=30.0
    )
    extended = apertures.aperture_fraction(wide, centre, centre, 0.975, 0.83)[0]
    assert extended < 0.8 * point
    whole = apertures.aperture_fraction(_one(), centre, centre, 6.0, 0.9)[0]
    assert whole == pytest.approx(1.0, abs=0.01)
    away = apertures.aperture_fraction(_one(), centre + 3.0, centre, 0.975, 0.83)[0]
    assert away < 0.03
