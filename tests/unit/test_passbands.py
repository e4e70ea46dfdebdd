"""Passbands: cleaning, integration, files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archipelago.base.errors import ConfigError, InputError
from archipelago.passbands import (
    DES_VHS_WISE,
    band_fluxes,
    load_passbands,
    make_passband,
    passband_weights,
    write_ascii,
)


@pytest.fixture(scope="module")
def bands() -> dict:
    return load_passbands(DES_VHS_WISE)


def test_vista_leaks_are_trimmed_and_percent_is_scaled(bands: dict) -> None:
    for name, low, high in (("J", 11_000, 14_000), ("K", 19_000, 24_000)):
        band = bands[name]
        assert low < band.wavelength_aa[0] < band.wavelength_aa[-1] < high
        assert band.transmission.max() == 1.0


def test_pivots_are_those_of_the_surveys(bands: dict) -> None:
    expected = {"g": 4809, "z": 9169, "Y": 9893, "J": 12_525, "K": 21_520, "W1": 33_680}
    for name, pivot in expected.items():
        assert bands[name].pivot_aa == pytest.approx(pivot, rel=3e-3)


def test_flat_f_nu_keeps_its_value_and_shape(bands: dict) -> None:
    wave = np.geomspace(3000, 60_000, 500)
    flux = band_fluxes(wave, np.full((2, 3, 500), 7.0), bands)
    assert flux.shape == (2, 3, 9)
    np.testing.assert_allclose(flux, 7.0, rtol=1e-12)


@settings(max_examples=30, deadline=None)
@given(slope=st.floats(-3, 3), n=st.integers(300, 3000))
def test_power_law_against_fine_quadrature(slope: float, n: int) -> None:
    wave = np.geomspace(3000, 60_000, n)
    band = load_passbands({"z": "decam_z"})["z"]
    fine = np.linspace(band.wavelength_aa[0], band.wavelength_aa[-1], 50_000)
    response = np.interp(fine, band.wavelength_aa, band.transmission)
    wanted = np.trapezoid((fine / 9000) ** slope * response / fine, fine) / np.trapezoid(
        response / fine, fine
    )
    got = band_fluxes(wave, (wave / 9000) ** slope, {"z": band})[0]
    assert got == pytest.approx(wanted, rel=2e-4)


def test_narrow_line_between_curve_points_counts(bands: dict) -> None:
    wave = np.unique(np.concatenate([np.geomspace(3000, 6e4, 300), np.arange(9150, 9160, 0.1)]))
    line = np.exp(-0.5 * ((wave - 9155) / 0.5) ** 2)
    assert band_fluxes(wave, line, {"z": bands["z"]})[0] > 0


def test_shuffled_negative_and_percent_curves_are_repaired() -> None:
    wave = np.array([5200.0, 5000.0, 5100.0, 5300.0, 5400.0])
    band = make_passband("x", wave, [80.0, -1.0, 60.0, 40.0, 0.0])
    assert np.all(np.diff(band.wavelength_aa) > 0)
    assert band.transmission.min() == 0 and band.transmission.max() == 1


@pytest.mark.parametrize(
    ("wave", "response", "words"),
    [
        ([1, 2], [1, 1], "at least 3"),
        ([1, 2, np.nan], [1, 1, 1], "not finite"),
        ([1, 2, 2], [1, 1, 1], "twice"),
        ([1, 2, 3], [0, 0, 0], "no positive"),
    ],
)
def test_useless_curves_are_refused(wave: list, response: list, words: str) -> None:
    with pytest.raises(InputError, match=words):
        make_passband("x", wave, response)


def test_uncovered_band_and_falling_grid_are_refused(bands: dict) -> None:
    with pytest.raises(ValueError, match="does not cover passband W2"):
        passband_weights(np.linspace(3000, 50_000, 100), bands)
    with pytest.raises(ValueError, match="must increase"):
        passband_weights([2.0, 1.0], bands)


def test_unknown_name_says_what_there_is() -> None:
    with pytest.raises(ConfigError, match="decam_g"):
        load_passbands({"z": "decam_zz"})


def test_files_round_trip(bands: dict, tmp_path: Path) -> None:
    paths = write_ascii(bands, tmp_path)
    again = load_passbands({name: path for name, path in paths.items()})
    for name, band in bands.items():
        assert again[name].pivot_aa == pytest.approx(band.pivot_aa, rel=1e-5)
    (tmp_path / "bad.dat").write_text("a b\n")
    with pytest.raises(InputError, match="cannot read the passband"):
        load_passbands({"g": tmp_path / "bad.dat"})
