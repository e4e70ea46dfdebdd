"""The density of what no model describes, and how much of it a catalogue is given."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy.stats import multivariate_t

from archipelago.sed.other import (
    OtherDensity,
    covered_deg2,
    learnt_scale,
    magnitude_range,
    positions,
)

Floats = NDArray[np.float64]

SECTION = {"degrees": 3.0, "width_mag": 0.3, "width_small_mag": 1.0}
_MAG_PER_LN = 2.5 / np.log(10)
#: So small that asinh magnitudes are ordinary ones, 100 magnitudes below 1 uJy too.
_TINY_UJY = 1e-60

DENSITY = OtherDensity(
    centre=np.array([0.4, -0.1, -0.3]),
    scatter=np.array([[0.5, 0.1, 0.0], [0.1, 0.2, -0.05], [0.0, -0.05, 0.3]]),
    degrees=3.0,
)


def _flux(magnitude: Floats) -> Floats:
    return np.asarray(np.exp(-magnitude / _MAG_PER_LN))


def _ln_per_mag(density: OtherDensity, magnitude: Floats, used: NDArray[np.bool_]) -> Floats:
    """Return ln of the density per volume of magnitudes of the used bands."""
    flux = _flux(magnitude)
    ln = density.ln_density(flux, np.full(flux.shape, _TINY_UJY), used)
    # Flux volume to magnitudes: d flux / d magnitude = flux / 1.086.
    return np.asarray(ln + np.where(used, np.log(flux / _MAG_PER_LN), 0.0).sum(axis=1))


def _axis(n: int, reach: float = 300.0) -> tuple[Floats, Floats]:
    """Return values close together about 0 and far apart beyond, and their weights."""
    t = np.linspace(-1, 1, n) * np.arcsinh(reach / 0.3)
    return 0.3 * np.sinh(t), 0.3 * np.cosh(t) * (t[1] - t[0])


def test_two_bands_integrate_to_one_object_per_magnitude() -> None:
    colour, weight = _axis(2001)
    used = np.tile([True, False, True], (len(colour), 1))
    for mean in (19.0, 25.0):
        magnitude = np.column_stack([mean + colour / 2, np.zeros(len(colour)), mean - colour / 2])
        ln = _ln_per_mag(DENSITY, magnitude, used)
        # d(m1) d(m2) = d(mean) d(m1 - m2).
        assert (np.exp(ln) * weight).sum() == pytest.approx(1, abs=1e-3)


def test_three_bands_integrate_to_one_object_per_magnitude() -> None:
    one, weight = _axis(501)
    first, second = (values.ravel() for values in np.meshgrid(one, one))
    weights = np.outer(weight, weight).ravel()
    # Mean 22: d(m1) d(m2) d(m3) = d(mean) d(m1 - m3) d(m2 - m3).
    third = 22 - (first + second) / 3
    magnitude = np.column_stack([first + third, second + third, third])
    ln = _ln_per_mag(DENSITY, magnitude, np.ones(magnitude.shape, bool))
    assert (np.exp(ln) * weights).sum() == pytest.approx(1, abs=5e-3)


def test_colours_follow_a_t_distribution() -> None:
    rng = np.random.default_rng(0)
    magnitude = 21 + rng.normal(0, 1, (6, 3))
    got = _ln_per_mag(DENSITY, magnitude, np.ones((6, 3), bool))
    colours = (magnitude - DENSITY.centre) @ np.array([[1, 0], [0, 1], [-1, -1]])
    to_colours = np.array([[1.0, 0, -1], [0, 1, -1]])
    shape = to_colours @ DENSITY.scatter @ to_colours.T
    wanted = multivariate_t(np.zeros(2), shape, df=3).logpdf(colours)
    np.testing.assert_allclose(got, wanted, atol=1e-9)


def test_a_band_that_does_not_count_is_integrated_over() -> None:
    colour, weight = _axis(4001)
    two = np.array([[True, True, False]])
    for first, second in ((20.0, 20.5), (23.0, 20.0)):
        magnitude = np.column_stack([np.full((len(colour), 2), (first, second)), 21 + colour])
        whole = _ln_per_mag(DENSITY, magnitude, np.ones(magnitude.shape, bool))
        part = _ln_per_mag(DENSITY, np.array([[first, second, 99.0]]), two)[0]
        assert np.log((np.exp(whole) * weight).sum()) == pytest.approx(part, abs=2e-3)
    # One band, or none, has no colours.
    one = _ln_per_mag(DENSITY, np.array([[20.0, 25.0, 1.0]]), np.array([[False, True, False]]))
    assert one[0] == pytest.approx(0, abs=1e-9)
    none = DENSITY.ln_density(np.zeros((1, 3)), np.ones((1, 3)), np.zeros((1, 3), bool))
    assert none[0] == 0


def test_fluxes_of_zero_and_below_have_a_density() -> None:
    flux = np.array([[3.0, 0.0, -0.5], [0.0, 0.0, 0.0], [3.0, 0.1, -0.5]])
    ln = DENSITY.ln_density(flux, np.full((3, 3), 0.2), np.ones((3, 3), bool))
    assert np.isfinite(ln).all()
    # Far below what the noise allows is far less likely.
    below = DENSITY.ln_density(
        np.array([[3.0, 3.0, -1e3]]), np.full((1, 3), 0.2), np.ones((1, 3), bool)
    )
    assert below[0] < ln[0] - 5


# --------------------------------------------------------------------------- what is learnt


def _sample(n: int, seed: int = 0, spread: float = 1.0) -> tuple[Floats, Floats]:
    """Return fluxes and errors of objects whose colours are DENSITY's, but Gaussian."""
    rng = np.random.default_rng(seed)
    colours = rng.multivariate_normal(DENSITY.centre, spread**2 * DENSITY.scatter, n)
    return _flux(rng.uniform(15, 17, (n, 1)) + colours), np.full((n, 3), 1e-12)


def test_typical_colours_and_their_scatter_are_found() -> None:
    # Colours scatter less than they differ: else the level, a median of so few bands, is biased.
    flux, error = _sample(4000, spread=0.1)
    every = np.ones(flux.shape, bool)
    section = SECTION | {"degrees": 1e6, "width_mag": 0.05}
    found = OtherDensity.learn(flux, error, every, every, section)
    colours = np.array([[1.0, -1, 0], [0, 1, -1]])
    np.testing.assert_allclose(colours @ found.centre, colours @ DENSITY.centre, atol=0.01)
    wanted = colours @ (0.1**2 * DENSITY.scatter + 0.05**2 * np.eye(3)) @ colours.T
    np.testing.assert_allclose(colours @ found.scatter @ colours.T, wanted, rtol=0.1, atol=2e-4)


def test_outliers_hardly_move_what_is_learnt() -> None:
    flux, error = _sample(1000)
    every = np.ones(flux.shape, bool)
    plain = OtherDensity.learn(flux, error, every, every, SECTION)
    flux[:10] = flux[:10] * np.array([1e4, 1.0, 1e-4])
    moved = OtherDensity.learn(flux, error, every, every, SECTION)
    np.testing.assert_allclose(moved.centre, plain.centre, atol=0.05)
    np.testing.assert_allclose(moved.scatter, plain.scatter, atol=0.06)


def test_small_catalogues_have_the_scatter_configured() -> None:
    flux, error = _sample(49)
    every = np.ones(flux.shape, bool)
    few = OtherDensity.learn(flux, error, every, every, SECTION)
    np.testing.assert_array_equal(few.scatter, np.eye(3))
    flux, error = _sample(50)
    every = np.ones(flux.shape, bool)
    assert OtherDensity.learn(flux, error, every, every, SECTION).scatter[0, 1] != 0
    empty = OtherDensity.learn(flux[:0], error[:0], every[:0], every[:0], SECTION)
    np.testing.assert_array_equal(empty.centre, 0)


def test_what_is_learnt_does_not_depend_on_the_order() -> None:
    flux, error = _sample(300)
    used = np.random.default_rng(1).uniform(size=flux.shape) < 0.9
    order = np.random.default_rng(2).permutation(300)
    one = OtherDensity.learn(flux, error, used, used, SECTION)
    two = OtherDensity.learn(flux[order], error[order], used[order], used[order], SECTION)
    np.testing.assert_allclose(one.scatter, two.scatter, rtol=1e-10)
    ln = one.ln_density(flux, error, used)
    np.testing.assert_allclose(two.ln_density(flux, error, used), ln, rtol=1e-10)
    np.testing.assert_allclose(
        one.ln_density(flux[order], error[order], used[order]), ln[order], rtol=1e-12
    )


def test_range_of_magnitudes() -> None:
    flux = _flux(np.repeat(np.linspace(18, 22, 401)[:, None], 3, axis=1))
    used = np.ones(flux.shape, bool)
    assert magnitude_range(flux, used) == pytest.approx(4 * 0.99, abs=1e-6)
    flux[0] = 1e30
    assert magnitude_range(flux, used) < 4.1
    assert magnitude_range(flux[5:7], used[5:7]) == 1
    assert magnitude_range(flux[:1], used[:1]) == 1


# ------------------------------------------------------------------------- area and number


def _box(
    n: int, ra_deg: tuple[float, float], dec_deg: tuple[float, float]
) -> tuple[Floats, Floats, float]:
    """Return random positions and the area that they are from [deg^2]."""
    rng = np.random.default_rng(1)
    low, high = np.sin(np.radians(dec_deg))
    ra = np.mod(rng.uniform(*ra_deg, n), 360)
    dec = np.degrees(np.arcsin(rng.uniform(low, high, n)))
    area = np.radians(ra_deg[1] - ra_deg[0]) * (high - low) * np.degrees(1) ** 2
    return ra, dec, float(area)


@pytest.mark.parametrize(
    ("ra_deg", "dec_deg"),
    [
        ((40, 60), (-60, -40)),
        ((-10, 10), (-10, 5)),  # across RA 0 and the equator
        ((0, 360), (60, 90)),  # about a pole
        ((0, 360), (80, 90)),
        ((10, 130), (-88, -70)),  # beside a pole
        ((0, 360), (-90, 90)),
    ],
)
def test_area_of_random_positions(
    ra_deg: tuple[float, float], dec_deg: tuple[float, float]
) -> None:
    ra, dec, wanted = _box(3000, ra_deg, dec_deg)
    assert covered_deg2(ra, dec) == pytest.approx(wanted, rel=0.3)
    order = np.random.default_rng(2).permutation(3000)
    assert covered_deg2(ra[order], dec[order]) == covered_deg2(ra, dec)


@pytest.mark.parametrize(
    ("n", "ra_deg", "dec_deg", "most_deg2"),
    [
        (500, (30, 31), (-45, -44), 1.5),
        (1000, (-0.5, 0.5), (-0.5, 0.5), 1.5),
        (3000, (0, 360), (88, 90), 25),
        (40, (-0.5, 0.5), (-0.5, 0.5), 10),
        (20, (30, 31), (-45, -44), 20),
        (13, (-1, 1), (-45, -44), 50),
    ],
)
def test_a_small_field_has_no_large_area(
    n: int, ra_deg: tuple[float, float], dec_deg: tuple[float, float], most_deg2: float
) -> None:
    """Few objects say little, but not that they cover half of the sky."""
    ra, dec, _ = _box(n, ra_deg, dec_deg)
    assert covered_deg2(ra, dec) < most_deg2


def test_few_objects_cover_nothing() -> None:
    ra, dec, _ = _box(11, (30, 31), (-45, -44))
    assert covered_deg2(ra, dec) == 0
    assert covered_deg2(ra[:0], dec[:0]) == 0
    assert covered_deg2(np.repeat(ra, 9), np.full(99, np.nan)) == 0


def test_objects_without_a_position_do_not_count() -> None:
    ra, dec, _ = _box(1000, (40, 60), (-60, -40))
    more = np.concatenate([ra, [np.nan, 7.0, np.inf]]), np.concatenate([dec, [3.0, np.nan, 0.0]])
    assert covered_deg2(*more) == covered_deg2(ra, dec)


def test_two_clear_groups_are_counted() -> None:
    ln_other = np.concatenate([np.full(7, 100.0), np.full(93, -100.0)])
    factor = learnt_scale(ln_other, np.zeros(100), expected=20.0, prior_objects=1.0)
    assert factor == pytest.approx((7 + 1) / (20 + 1), rel=1e-9)


def test_doubtful_objects_settle_at_the_fixed_point() -> None:
    # 10 objects of odds r: s (E + p) = 10 s / (s + r) + p, a quadratic equation in s.
    r, expected, prior = 3.0, 4.0, 1.0
    a, b, c = expected + prior, (expected + prior) * r - 10 - prior, -prior * r
    root = (-b + np.sqrt(b * b - 4 * a * c)) / (2 * a)
    factor = learnt_scale(np.zeros(10), np.full(10, np.log(r)), expected, prior)
    assert factor == pytest.approx(root, rel=1e-3)
    assert factor * (expected + prior) == pytest.approx(10 * root / (root + r) + prior, rel=1e-3)


def test_catalogues_that_say_nothing_keep_the_density() -> None:
    nobody = np.zeros(0)
    assert learnt_scale(nobody, nobody, expected=0.0, prior_objects=1.0) == 1
    assert learnt_scale(np.full(5, -60.0), np.zeros(5), 0.01, 1.0) == pytest.approx(1, abs=0.011)
    # A large prior weight keeps it, too.
    assert learnt_scale(np.full(5, 60.0), np.zeros(5), 50.0, 1e6) == pytest.approx(1, abs=1e-4)
    # Extremes stay finite.
    ends = learnt_scale(np.array([-1e5, 1e5]), np.zeros(2), 1.0, 1.0)
    assert ends == pytest.approx(1.0, rel=1e-9)


def test_positions_of_a_catalogue() -> None:
    assert positions(pd.DataFrame({"id": [1], "ra_deg": [2.0]})) is None
    found = positions(pd.DataFrame({"ra_deg": [2], "dec_deg": [-3]}))
    assert found is not None
    assert found[0].dtype == float and found[1][0] == -3
