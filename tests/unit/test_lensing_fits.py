"""Point spread function, fits of points and a galaxy, and single measures of shape."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from archipelago.lensing import fits
from archipelago.lensing.fits import Shape, fit, galaxy_images, quasar_images, start
from archipelago.lensing.measures import about, lens_measures
from archipelago.lensing.models import fit_models
from archipelago.lensing.pixels import Pixels, prepare
from archipelago.lensing.psf import PointSpread, measure_psf
from archipelago.lensing.shapes import (
    Centres,
    centres,
    centroid_shift,
    extendedness,
    psf_residual,
)
from archipelago.simulate.conditions import Conditions
from archipelago.simulate.light import Components, galaxies, points, render

BANDS = ("g", "i", "z")
SCALE = 0.263
FWHM_PX = np.array([3.8, 3.3, 3.1])
NOISE = np.array([2.0, 4.0, 8.0])
PSF = PointSpread.moffat(FWHM_PX)
#: Light of a quasar at high redshift and of a lens galaxy [counts].
QUASAR = np.array([0.0, 3000.0, 9000.0])
GALAXY = np.array([600.0, 1500.0, 2500.0])


def _point(x_px: np.ndarray, y_px: np.ndarray, flux: np.ndarray) -> Components:
    n = len(x_px)
    return points(x_px, y_px, np.tile(flux, (n, 1)), np.tile(FWHM_PX, (n, 1)))


def _galaxy(x_px: np.ndarray, y_px: np.ndarray, flux: np.ndarray) -> Components:
    n = len(x_px)
    return galaxies(
        x_px,
        y_px,
        np.tile(flux, (n, 1)),
        np.tile(FWHM_PX, (n, 1)),
        r_eff_px=np.full(n, 2.0),
        axis_ratio=np.full(n, 0.8),
        angle_rad=np.full(n, 0.5),
        index=4.0,
    )


def _shown(parts: list[Components], seed: int = 1, side: int = 28) -> np.ndarray:
    clean = render(parts, side)
    rng = np.random.default_rng(seed)
    noise = NOISE[:, None, None] * rng.normal(size=clean.shape)
    return (clean + noise).astype(np.float32)


def _places(n: int, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.random.default_rng(seed).uniform(-0.5, 0.5, (2, n))
    return x, y


def _single(n: int) -> np.ndarray:
    return _shown([_point(*_places(n), QUASAR)])


def _lensed(n: int, half_px: float = 2.2) -> np.ndarray:
    """Two images along x, the brighter with two thirds of the light, and a lens between."""
    x, y = _places(n)
    return _shown(
        [
            _point(x - half_px, y, QUASAR * 2 / 3),
            _point(x + half_px, y, QUASAR / 3),
            _galaxy(x + 0.4 * half_px, y, GALAXY),
        ]
    )


# ------------------------------------------------------------------ point spread function


def test_a_moffat_profile_has_its_width_and_holds_all_light() -> None:
    np.testing.assert_allclose(PSF.fwhm_px, FWHM_PX, rtol=0.02)
    np.testing.assert_allclose(PSF.weight.sum(axis=1), 1.0)


def test_the_profile_is_measured_in_points_and_not_in_galaxies() -> None:
    x, y = _places(60)
    images = np.concatenate([_single(60), _shown([_galaxy(x, y, 3 * QUASAR)], seed=2)])
    # A conditions object that is a little off: what counts is what the points show.
    conditions = Conditions(FWHM_PX * 1.1, np.tile(NOISE, (1, 1)), np.zeros((3, 4)))
    found = measure_psf(images, conditions)
    np.testing.assert_allclose(found.fwhm_px[1:], FWHM_PX[1:], rtol=0.05)
    np.testing.assert_allclose(found.weight.sum(axis=1), 1.0)
    # Quasars are black in g: there the width that is given stands in.
    np.testing.assert_allclose(found.fwhm_px[0], FWHM_PX[0] * 1.1, rtol=0.02)


@pytest.mark.parametrize("n", [0, 3])
def test_too_few_points_leave_the_width_that_is_given(n: int) -> None:
    conditions = Conditions(FWHM_PX, np.ones((1, 3)), np.zeros((3, 4)))
    found = measure_psf(_single(3)[:n], conditions)
    np.testing.assert_array_equal(found.weight, PSF.weight)


# ----------------------------------------------------------------------------- pixels


def test_sky_is_taken_off_and_pixels_without_a_number_do_not_count() -> None:
    images = _single(2) + 50.0
    images[0, 1, 14, 14] = np.nan
    pixels = prepare(images, SCALE)
    assert pixels.light.shape[2:] == (18, 18)
    assert pixels.root_weight[0, 1, 9, 9] == 0 and pixels.light[0, 1, 9, 9] == 0
    assert pixels.n_counted.tolist() == [3 * 18 * 18 - 1, 3 * 18 * 18]
    np.testing.assert_allclose(pixels.sky_noise, np.tile(NOISE, (2, 1)), rtol=0.15)
    np.testing.assert_allclose(prepare(_single(2), SCALE).light[1], pixels.light[1], atol=0.01)


# -------------------------------------------------------------------------------- fits


def _start(pixels: Pixels, n_points: int, with_galaxy: bool) -> Shape:
    n, rng = len(pixels), np.random.default_rng(5)
    x, y = rng.normal(0, 1.0, (2, n, n_points))
    share = np.full((n, n_points), 1 / max(n_points, 1))
    galaxy = np.tile([0.3, 0.2, 1.5, 0.3, 1.2], (n, 1)) if with_galaxy else None
    first = start(pixels, x, y, share, galaxy)
    return replace(first, seeing=rng.normal(0, 0.05, first.seeing.shape))


@pytest.mark.parametrize("component", ["quasar", "galaxy"])
def test_derivatives_are_those_of_small_steps(component: str) -> None:
    pixels = prepare(_single(2), SCALE)
    shape = _start(pixels, 2, True)
    draw = quasar_images if component == "quasar" else galaxy_images
    _, wider, moved = draw(pixels, PSF, shape)
    step = 1e-2

    def slope(name: str, column: int | slice) -> np.ndarray:
        ends = []
        for sign in (1, -1):
            values = getattr(shape, name).copy()
            values[:, column] += sign * step
            ends.append(draw(pixels, PSF, replace(shape, **{name: values}))[0].astype(float))
        return (ends[0] - ends[1]) / (2 * step)

    names: list[tuple[str, int | slice]] = (
        [("x_px", 0), ("x_px", 1), ("y_px", 0), ("y_px", 1)]
        if component == "quasar"
        else [("galaxy", k) for k in range(5)]
    )
    expected = [slope(name, column) for name, column in names]
    assert len(moved) == len(expected) + (component == "quasar")  # and the second's share
    for have, want in zip(moved, expected, strict=False):
        np.testing.assert_allclose(have, want, atol=5e-3 * np.abs(want).max())
    np.testing.assert_allclose(wider, slope("seeing", slice(None)), atol=5e-3 * np.abs(wider).max())


def test_a_point_is_found_with_its_place_light_and_sharpness() -> None:
    x, y = _places(12)
    images = _shown([_point(x, y, QUASAR)])
    pixels = prepare(images, SCALE)
    found = fit(pixels, PSF, start(pixels, x[:, None] + 1, y[:, None] - 1, np.ones((12, 1))))
    np.testing.assert_allclose(found.shape.x_px[:, 0], x, atol=0.05)
    np.testing.assert_allclose(found.shape.y_px[:, 0], y, atol=0.05)
    np.testing.assert_allclose(found.flux[:, 1:, 0], np.tile(QUASAR[1:], (12, 1)), rtol=0.05)
    assert np.abs(found.shape.seeing).max() < 0.05
    # The pixels' errors hold a part of their light, so that chi2 is a little too small.
    assert 0.8 < np.median(found.chi2 / pixels.n_counted) < 1.1


def test_two_points_and_a_galaxy_are_found_where_they_are() -> None:
    x, _ = _places(10)
    pixels = prepare(_lensed(10), SCALE)
    models = fit_models(pixels, PSF)
    assert (models.delta_bic > 50).all()
    np.testing.assert_allclose(np.median(models.separation_px), 4.4, atol=0.5)
    assert (models.n_images == 2).mean() > 0.7
    light = models.points_galaxy.flux
    # The quasar is black in g: what is seen there is the galaxy.
    assert (light[:, 0, 1] > 5 * light[:, 0, 0]).mean() > 0.7


def test_of_a_single_point_nothing_more_is_seen() -> None:
    models = fit_models(prepare(_single(12), SCALE), PSF)
    assert (models.delta_bic < 0).all()
    assert (models.n_images == 1).all()


def test_a_galaxy_is_told_from_a_point() -> None:
    x, y = _places(8)
    models = fit_models(prepare(_shown([_galaxy(x, y, QUASAR)]), SCALE), PSF)
    assert (models.galaxy.bic < models.point.bic - 50).all()


def test_light_is_never_negative() -> None:
    pixels = prepare(-_single(4), SCALE)
    found = fit(pixels, PSF, _start(pixels, 2, True))
    assert (found.flux >= 0).all() and np.isfinite(found.chi2).all()


def test_every_step_of_a_fit_is_no_worse() -> None:
    pixels = prepare(_lensed(6), SCALE)
    first = _start(pixels, 2, True)
    chi2 = [fit(pixels, PSF, first, n_steps=n).chi2 for n in (0, 1, 3, 10)]
    assert all((after <= before).all() for before, after in zip(chi2, chi2[1:], strict=False))
    assert (chi2[-1] < chi2[0]).all()


def test_the_galaxys_profile_holds_half_its_light_within_its_radius() -> None:
    sigmas, weights = fits.galaxy_gaussians()
    within = (weights * (1 - np.exp(-0.5 / sigmas**2))).sum()
    assert within == pytest.approx(0.5, abs=0.06)


# ---------------------------------------------------------------------- single measures


def test_the_centre_shifts_from_the_lens_in_the_blue_to_the_quasar_in_the_red() -> None:
    n = 10
    x, y = _places(n)
    blue, red = np.array([2000.0, 0.0, 0.0]), np.array([0.0, 3000.0, 9000.0])
    pixels = prepare(_shown([_point(x, y, red), _point(x + 2.0, y, blue)]), SCALE)
    point = fit_models(pixels, PSF).point
    shift, error = centroid_shift(centres(pixels, PSF, point))
    np.testing.assert_allclose(shift, 2.0, atol=0.35)
    assert (shift / error > 8).all()
    still = prepare(_shown([_point(x, y, red + blue)]), SCALE)
    shift, error = centroid_shift(centres(still, PSF, fit_models(still, PSF).point))
    assert (shift < 0.3).all() and np.median(shift / error) < 3


def test_a_shift_needs_two_bands_with_light() -> None:
    one = np.array([[0.0, 0.0, 0.1]])
    known = np.array([[np.inf, np.inf, 0.1], [np.inf, 0.1, 0.1]])
    twice = np.repeat(one, 2, axis=0)
    shift, error = centroid_shift(Centres(twice, twice, known))
    assert np.isnan(shift[0]) and np.isnan(error[0])
    assert shift[1] == pytest.approx(np.hypot(0.1, 0.1))
    assert error[1] == pytest.approx(np.hypot(0.1, 0.1))


def test_extendedness_is_nought_for_points_and_above_for_galaxies() -> None:
    x, y = _places(10)
    for images, wide in ((_single(10), False), (_shown([_galaxy(x, y, QUASAR)]), True)):
        pixels = prepare(images, SCALE)
        found, error = extendedness(pixels, PSF, fit_models(pixels, PSF).point)
        assert np.isnan(found[:, 0]).all()  # black in g
        sigma = found[:, 1:] / error[:, 1:]
        assert (sigma > 15).all() if wide else (np.abs(sigma) < 6).all()


def test_the_best_point_leaves_nothing_of_a_point_and_much_of_two() -> None:
    left = []
    for images in (_single(10), _lensed(10)):
        pixels = prepare(images, SCALE)
        excess, share = psf_residual(pixels, PSF, fit_models(pixels, PSF).point)
        left.append((excess, share))
    assert np.abs(left[0][0][:, 1:]).max() < 0.8 and left[0][1][:, 1:].max() < 0.1
    assert left[1][0][:, 2].min() > 1 and left[1][1][:, 2].min() > 0.1
    assert np.isnan(left[0][1][:, 0]).all()


# ---------------------------------------------------------------------------- the table


def test_the_table_has_a_row_per_image_whatever_comes_with_it() -> None:
    images = np.concatenate([_single(2), np.zeros((2, 3, 28, 28), np.float32), _lensed(1)])
    images[3] = np.nan
    with np.errstate(divide="raise", invalid="raise"):
        table = lens_measures(images, SCALE, PSF, BANDS)
    assert list(table) == list(about(BANDS)) and len(table) == 5
    assert table.iloc[2:4].isna().all(axis=None)
    assert table["two_component_delta_bic"].notna().tolist() == [True, True, False, False, True]
    alone = lens_measures(images[4:], SCALE, PSF, BANDS)
    np.testing.assert_allclose(
        alone.to_numpy(dtype=float)[0], table.to_numpy(dtype=float)[4], rtol=1e-3, atol=1e-3
    )


def test_no_image_gives_an_empty_table() -> None:
    table = lens_measures(np.empty((0, 3, 28, 28), np.float32), SCALE, PSF, BANDS)
    assert list(table) == list(about(BANDS)) and len(table) == 0


@pytest.mark.parametrize("side", [5, 12, 41])
def test_stamps_of_any_size_and_one_band_are_measured(side: int) -> None:
    x, y = _places(2)
    image = _shown([_point(x, y, QUASAR)], side=side)[:, 2:]
    table = lens_measures(image, SCALE, PointSpread.moffat(FWHM_PX[2:]), ("z",))
    assert len(table) == 2
    assert table["centroid_shift_arcsec"].isna().all()  # there is but one band
