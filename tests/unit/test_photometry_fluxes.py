"""Fluxes, limits and missing values, against formulas and the published table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from archipelago.base.errors import ConfigError, InputError
from archipelago.photometry.fluxes import (
    POGSON_MAG,
    SYSTEMS,
    BandSpec,
    Depth,
    as_floats,
    flux_err_from_mag_err,
    flux_from_mag,
    is_magnitude,
    mag_err_from_flux_err,
    mag_from_flux,
    measure_band,
)

BANDS = ("g", "r", "i", "z", "Y", "J", "K", "W1", "W2")
DEPTHS = {
    "g": Depth(10, mag_ab=24.7),
    "r": Depth(10, mag_ab=24.4),
    "i": Depth(10, mag_ab=23.8),
    "z": Depth(10, mag_ab=23.1),
    "Y": Depth(10, mag_ab=21.7),
    "J": Depth(5, mag_ab=20.8),
    "K": Depth(5, mag_ab=20.0),
    "W1": Depth(5, flux_ujy=54),
    "W2": Depth(5, flux_ujy=71),
}
MISSING = [np.nan, np.inf, -np.inf, 99.0, -99.0, 999.0, 0.0, -9.99]
AB = BandSpec("m", "e")
UJY = BandSpec("f", "fe", "flux_ujy")


def test_facts_numbers() -> None:
    assert flux_from_mag(23.9) == pytest.approx(1.0)
    assert flux_from_mag(21.4) == pytest.approx(10.0)
    assert round(float(POGSON_MAG), 4) == 1.0857
    one = measure_band([20.0], [0.1], AB, DEPTHS["z"])
    assert one.flux_ujy[0] == pytest.approx(10 ** (3.9 / 2.5))
    assert one.flux_err_ujy[0] == pytest.approx(0.1 * 10 ** (3.9 / 2.5) / 1.0857, rel=1e-4)


@pytest.mark.parametrize(
    ("depth", "three_sigma_ujy"),
    [
        (Depth(10, mag_ab=24.7), 0.3 * 10 ** (-0.8 / 2.5)),
        (Depth(5, mag_ab=20.8), 0.6 * 10 ** (3.1 / 2.5)),
        (Depth(5, flux_ujy=54), 32.4),
        (Depth(3, flux_ujy=6), 6.0),
    ],
)
def test_limit_is_a_third_of_the_three_sigma_depth(depth: Depth, three_sigma_ujy: float) -> None:
    one = measure_band([99.0], [99.0], AB, depth)
    assert one.flux_err_ujy[0] == pytest.approx(three_sigma_ujy / 3)
    assert (one.flux_ujy[0], one.mag_ab[0], one.mag_err[0]) == (0.0, 99.0, 99.0)
    assert not one.detected[0]


@pytest.mark.parametrize("band", BANDS)
def test_published_table_follows(shared_data: Path, band: str) -> None:
    table = pd.read_csv(shared_data / "des_vhs_allwise_half.csv.gz")
    mag, err, flux, flux_err = (
        table[f"{band}_{name}"].to_numpy() for name in ("mag", "magerr", "flux", "fluxerr")
    )
    from_mag = measure_band(mag, err, AB, DEPTHS[band])
    np.testing.assert_allclose(from_mag.flux_ujy, flux, rtol=1e-9)
    np.testing.assert_allclose(from_mag.flux_err_ujy, flux_err, rtol=1e-7)
    from_flux = measure_band(flux, flux_err, UJY, DEPTHS[band])
    np.testing.assert_allclose(from_flux.mag_ab, mag, rtol=1e-9)
    np.testing.assert_allclose(from_flux.mag_err, err, rtol=1e-7)
    np.testing.assert_array_equal(from_flux.detected, from_mag.detected)
    np.testing.assert_array_equal(from_mag.detected, mag != 99)
    if band in "gr":  # the non-detections of the table are in these two
        assert (~from_mag.detected).sum() > 10


def test_systems_agree_on_one_source() -> None:
    mag_ab, err, offset = 19.3, 0.05, 2.699
    relative = err / POGSON_MAG
    values = {
        "mag_ab": mag_ab,
        "mag_vega": mag_ab - offset,
        "flux_ujy": float(flux_from_mag(mag_ab)),
        "flux_nmgy_ab": 10 ** ((22.5 - mag_ab) / 2.5),
        "flux_nmgy_vega": 10 ** ((22.5 - (mag_ab - offset)) / 2.5),
    }
    assert set(values) == set(SYSTEMS)
    for system, value in values.items():
        error = err if system.startswith("mag") else value * relative
        spec = BandSpec("v", "e", system, offset)
        one = measure_band([value], [error], spec, DEPTHS["W1"])
        assert one.mag_ab[0] == pytest.approx(mag_ab), system
        assert one.mag_err[0] == pytest.approx(err), system
        assert one.flux_ujy[0] == pytest.approx(values["flux_ujy"]), system
        assert one.flux_err_ujy[0] == pytest.approx(values["flux_ujy"] * relative), system
        assert one.raw_mag_vega is not None
        assert one.raw_mag_vega[0] == pytest.approx(mag_ab - offset), system


def test_vega_magnitudes_keep_the_catalogues_digits() -> None:
    spec = BandSpec("W1mag", "e_W1mag", "mag_vega", 2.699)
    one = measure_band([16.123], [0.1], spec, DEPTHS["W1"])
    assert one.raw_mag_vega is not None
    assert one.raw_mag_vega[0] == 16.123


@pytest.mark.parametrize("code", MISSING)
def test_missing_magnitudes_and_errors(code: float) -> None:
    no_value = measure_band([code], [0.1], AB, DEPTHS["z"])
    assert not no_value.present[0] and not no_value.detected[0]
    assert np.isnan(no_value.raw_mag_ab[0])
    no_error = measure_band([20.0], [code], AB, DEPTHS["z"])
    assert no_error.present[0] and not no_error.error_present[0] and not no_error.detected[0]


def test_masked_values_are_missing() -> None:
    values = np.ma.MaskedArray([20.0, 21.0], mask=[True, False])
    one = measure_band(values, pd.array([0.1, None], dtype="Float64"), AB, DEPTHS["z"])
    np.testing.assert_array_equal(one.present, [False, True])
    np.testing.assert_array_equal(one.error_present, [True, False])


def test_non_positive_flux_is_present_without_magnitude() -> None:
    spec = BandSpec("FW1", "e_FW1", "flux_nmgy_vega", 2.699)
    one = measure_band([0.0, -3.0, np.nan, 1e20], [1.0, 1.0, 1.0, 1.0], spec, DEPTHS["W1"])
    np.testing.assert_array_equal(one.present, [True, True, False, False])
    assert not one.detected.any()
    assert one.raw_mag_vega is not None and np.isnan(one.raw_mag_vega[:3]).all()
    assert (one.flux_ujy == 0).all()


def test_threshold_is_above_two_sigma() -> None:
    one = measure_band([2.0, 2.001, 1.999], [1.0, 1.0, 1.0], UJY, DEPTHS["z"])
    np.testing.assert_array_equal(one.detected, [False, True, False])
    stricter = measure_band([2.001, 5.5], [1.0, 1.0], UJY, DEPTHS["z"], detection_sigma=5)
    np.testing.assert_array_equal(stricter.detected, [False, True])


def test_text_columns() -> None:
    assert as_floats(pd.Series(["1.5", " ", None, "null"]))[0] == 1.5
    with pytest.raises(InputError, match=r"1 entries are not numbers, such as 'bright'.*g_mag"):
        as_floats(pd.Series(["1.5", "bright"]), "g_mag")


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"value": "a", "error": "b", "system": "mag_vgea"}, "did you mean mag_vega"),
        ({"value": "a"}, "lacks error"),
        ({"value": "a", "error": "b", "sytem": "mag_ab"}, "unknown key sytem .did you mean system"),
        ({"value": "a", "error": "b", "system": "mag_vega"}, "needs vega_to_ab_mag"),
    ],
)
def test_wrong_band(section: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        BandSpec.from_config("H", section)


def test_known_vega_offset_is_filled_in() -> None:
    spec = BandSpec.from_config("W2", {"value": "a", "error": "b", "system": "mag_vega"})
    assert spec.vega_to_ab_mag == 3.339


@pytest.mark.parametrize(
    "section",
    [
        {"sigma": 5},
        {"sigma": 0, "mag_ab": 20},
        {"sigma": 5, "mag_ab": 20, "flux_ujy": 3},
        {"sigma": 5, "flux_ujy": -1},
        {"mag_ab": 20},
        {"sigma": 5, "mag": 20},
    ],
)
def test_wrong_depth(section: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="depth"):
        Depth.from_config("J", section)


anything = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True, width=64),
    st.sampled_from(MISSING),
    st.floats(10, 30),
)


@given(st.floats(0.01, 89.9), st.floats(1e-6, 10))
def test_round_trip(mag: float, err: float) -> None:
    flux = flux_from_mag(mag)
    assert mag_from_flux(flux) == pytest.approx(mag, abs=1e-9)
    flux_err = flux_err_from_mag_err(err, flux)
    assert mag_err_from_flux_err(flux_err, flux) == pytest.approx(err, rel=1e-9)


@given(
    hnp.arrays(float, 6, elements=anything),
    hnp.arrays(float, 6, elements=anything),
    st.sampled_from(SYSTEMS),
)
def test_any_input_gives_finite_photometry(
    values: np.ndarray, errors: np.ndarray, system: str
) -> None:
    spec = BandSpec("v", "e", system, 1.827)
    depth = Depth(5, mag_ab=20.0)
    one = measure_band(values, errors, spec, depth)
    for array in (one.flux_ujy, one.flux_err_ujy, one.mag_ab, one.mag_err):
        assert np.isfinite(array).all()
    assert (one.flux_err_ujy > 0).all()
    off = ~one.detected
    assert (one.mag_ab[off] == 99).all() and (one.flux_ujy[off] == 0).all()
    assert (one.flux_err_ujy[off] == depth.flux_err_ujy).all()
    assert not (one.detected & ~(one.present & one.error_present)).any()
    assert is_magnitude(one.mag_ab[one.detected]).all()
    # Above threshold, give or take one rounding.
    assert (one.flux_ujy[~off] > 2 * (1 - 1e-12) * one.flux_err_ujy[~off]).all()
    # Measuring the result again changes nothing: neither by its fluxes nor its magnitudes.
    # (Numbers at the edge of the threshold, or of what a double can hold, may tip over.)
    on = one.detected & (np.abs(one.mag_err * 2 / POGSON_MAG - 1) > 1e-9)
    on &= (one.mag_ab > 1e-9) & (one.mag_ab < 89.99) & (one.mag_err > 1e-200)
    for value, error, kind in (
        (one.flux_ujy, one.flux_err_ujy, "flux_ujy"),
        (one.mag_ab, one.mag_err, "mag_ab"),
    ):
        again = measure_band(value, error, BandSpec("v", "e", kind), depth)
        np.testing.assert_array_equal(again.detected[on | off], one.detected[on | off])
        np.testing.assert_allclose(again.flux_ujy[on | off], one.flux_ujy[on | off], rtol=1e-9)
        np.testing.assert_allclose(
            again.flux_err_ujy[on | off], one.flux_err_ujy[on | off], rtol=1e-9
        )
