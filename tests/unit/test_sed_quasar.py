"""The quasar's spectrum: broad absorption, dust, host, lines."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from archipelago.sed.dust import smc_extinction
from archipelago.sed.igm import transmission
from archipelago.sed.quasar import flux_at_1450_ujy, quasar_f_nu, rest_spectrum

WAVE_AA = np.geomspace(900.0, 30_000.0, 20_000)
_C_KM_S = 299_792.458
_TROUGHS = ((1240.1, 0.5), (1396.8, 0.5), (1549.1, 1.0))  # N V, Si IV, C IV


def _outflow_km_s(line_aa: float) -> NDArray[np.float64]:
    return np.asarray((1 - WAVE_AA / line_aa) * _C_KM_S)


def _inside(margin_km_s: float) -> NDArray[np.bool_]:
    """Return where any trough may be, edges moved out by a margin."""
    found = np.zeros(WAVE_AA.shape, bool)
    for line_aa, _ in _TROUGHS:
        speed = _outflow_km_s(line_aa)
        found |= (speed > 3000 - margin_km_s) & (speed < 25_000 + margin_km_s)
    return found


def test_no_depth_changes_nothing() -> None:
    plain = rest_spectrum(WAVE_AA)
    np.testing.assert_array_equal(rest_spectrum(WAVE_AA, bal_depth=0.0), plain)
    observed = WAVE_AA * 7
    np.testing.assert_array_equal(
        quasar_f_nu(observed, 6.0, bal_depth=0.0), quasar_f_nu(observed, 6.0)
    )


@pytest.mark.parametrize("depth", [0.2, 0.4, 0.9])
def test_broad_absorption_takes_light_within_its_velocities_only(depth: float) -> None:
    taken = 1 - rest_spectrum(WAVE_AA, bal_depth=depth) / rest_spectrum(WAVE_AA)
    assert np.all(taken >= 0) and taken.max() < depth + 1e-9
    # Edges of 1,000 km/s: what is beyond falls by e with each.
    assert taken[~_inside(8_000.0)].max() < depth * 4e-4
    assert taken[~_inside(3_000.0)].max() < depth * 0.05
    for line_aa, share in _TROUGHS:
        speed = _outflow_km_s(line_aa)
        deep = (speed > 9_000) & (speed < 19_000)
        np.testing.assert_allclose(taken[deep], share * depth, rtol=0.01)
        at_edge = np.interp(line_aa * (1 - 3000 / _C_KM_S), WAVE_AA, taken)
        assert at_edge == pytest.approx(share * depth / 2, rel=0.01)
    # What lies redwards of C IV keeps all its light: C III], Mg II and the optical.
    assert taken[WAVE_AA > 1600].max() < 1e-3 * depth


def test_absorption_leaves_the_scale_at_1450_as_it_is() -> None:
    """1450 A lies in the trough of C IV, but M1450 is that of the unabsorbed continuum."""
    for depth in (0.0, 0.4):
        spectrum = rest_spectrum(WAVE_AA, bal_depth=depth, line_scale=0.0, lya_scale=0.0)
        assert np.interp(1750.0, WAVE_AA, spectrum) == pytest.approx(
            np.interp(1750.0, WAVE_AA, rest_spectrum(WAVE_AA, line_scale=0.0, lya_scale=0.0)),
            rel=1e-9,
        )
    assert rest_spectrum([1450.0], line_scale=0.0, lya_scale=0.0)[0] == pytest.approx(1, rel=1e-12)


def test_negative_reddening_is_bluer_and_mirrors_positive() -> None:
    plain, blue, red = (rest_spectrum(WAVE_AA, ebv=ebv) for ebv in (0.0, -0.03, 0.03))
    # All are 1 at 1450 A: redwards the blue one has less.
    redwards = WAVE_AA > 1460
    assert np.all(blue[redwards] < plain[redwards]) and np.all(red[redwards] > plain[redwards])
    np.testing.assert_allclose(blue * red, plain**2, rtol=1e-9)
    wanted = 10 ** (0.4 * 0.03 * (smc_extinction(WAVE_AA) - smc_extinction([1450.0])))
    np.testing.assert_allclose(blue / plain, wanted, rtol=1e-9)


def test_a_host_adds_red_light() -> None:
    plain, with_host = (rest_spectrum(WAVE_AA, host_fraction=share) for share in (0.0, 0.5))
    added = with_host / plain - 1
    at = {wave: float(np.interp(wave, WAVE_AA, added)) for wave in (1500.0, 3900.0, 4100.0, 8000.0)}
    assert at[1500.0] < 0.02
    assert at[1500.0] < at[3900.0] < at[4100.0] < at[8000.0]
    # The break: half of the old population's light is missing below 4000 A.
    assert at[4100.0] > 1.7 * at[3900.0]
    more = rest_spectrum(WAVE_AA, host_fraction=1.0)
    far = WAVE_AA > 5000
    assert np.all(more[far] > with_host[far])


def test_lyman_alpha_and_the_other_lines_are_scaled_apart() -> None:
    none = rest_spectrum(WAVE_AA, line_scale=0.0, lya_scale=0.0)
    lya = rest_spectrum(WAVE_AA, line_scale=0.0, lya_scale=1.0) / none
    others = rest_spectrum(WAVE_AA, line_scale=1.0, lya_scale=0.0) / none

    def at(ratio: NDArray[np.float64], wave: float) -> float:
        return float(np.interp(wave, WAVE_AA, ratio)) - 1

    assert at(lya, 1216.0) > 1 and at(lya, 1546.0) < 1e-6 and at(lya, 2800.0) < 1e-6
    assert at(others, 1546.0) > 0.5 and at(others, 2800.0) > 0.2 and at(others, 1216.0) < 1e-3
    twice = rest_spectrum(WAVE_AA, line_scale=2.0, lya_scale=0.0) / none
    np.testing.assert_allclose(twice - 1, 2 * (others - 1), atol=1e-9)


def test_the_observed_spectrum_is_the_rest_one_dimmed_and_absorbed() -> None:
    shape = {"uv_slope": -0.6, "line_scale": 0.6, "ebv": 0.05, "bal_depth": 0.4}
    for z in (4.8, 6.3):
        wave = WAVE_AA * (1 + z)
        got = quasar_f_nu(wave, z, m1450=-27.0, igm_scale=1.1, **shape)
        wanted = (
            float(flux_at_1450_ujy(z, -27.0))
            * rest_spectrum(wave / (1 + z), **shape)
            * transmission(wave, z, 1.1, 3.0)
        )
        np.testing.assert_allclose(got, wanted, rtol=1e-12)
        assert got[WAVE_AA < 905].max() < 1e-2 * got.max()
