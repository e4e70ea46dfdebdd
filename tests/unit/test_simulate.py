"""Simulated quasars: light, lenses, the survey's sharpness and noise, and what is kept."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers.configuration import shipped_config

from archipelago.base.errors import InputError
from archipelago.base.images import ImageSet
from archipelago.sed.templates import ClassTemplates, Representatives, TemplateSet
from archipelago.simulate import objects
from archipelago.simulate.conditions import Conditions, draw_noise, measure_conditions
from archipelago.simulate.draw import draw_lens_galaxies, draw_quasars
from archipelago.simulate.lenses import find_images
from archipelago.simulate.light import galaxies, points, render
from archipelago.simulate.neighbours import Neighbours, draw_neighbours, measure_neighbours
from archipelago.simulate.objects import Known, Simulated, aperture_counts, simulate
from archipelago.simulate.tables import ABOUT, known_among, simulated_objects

PRIORS = shipped_config().sed.fit.priors.plain()
BANDS = ("g", "i", "z")
SCALE, ZERO_POINT = 0.263, 30.0


# -------------------------------------------------------------------------------- light


def _moffat(side: int, fwhm_px: float, x_px: float, y_px: float) -> np.ndarray:
    """A Moffat profile of beta 3 and light 1, at the middles of pixels: (side, side)."""
    alpha = fwhm_px / 2 / np.sqrt(2 ** (1 / 3) - 1)
    axis = np.arange(side) - (side - 1) / 2
    r2 = (axis[None, :] - x_px) ** 2 + (axis[:, None] - y_px) ** 2
    return 2 / (np.pi * alpha**2) * (1 + r2 / alpha**2) ** -3


def test_a_point_is_a_moffat_profile() -> None:
    x, y = np.array([0.3, -2.0]), np.array([-0.4, 1.0])
    flux = np.array([[100.0, 50.0], [20.0, 10.0]])
    fwhm = np.array([[4.0, 3.0], [5.0, 4.0]])
    images = render([points(x, y, flux, fwhm)], 41)
    for row in range(2):
        for band in range(2):
            true = flux[row, band] * _moffat(41, fwhm[row, band], x[row], y[row])
            got = images[row, band]
            assert got.sum() == pytest.approx(flux[row, band], rel=0.02)
            assert abs(got - true).max() < 0.02 * true.max()


def _galaxy(angle_rad: float, r_eff_px: float = 3.0, axis_ratio: float = 0.5) -> np.ndarray:
    one = np.ones(1)
    parts = galaxies(
        0 * one,
        0 * one,
        100.0 * one[:, None],
        4.0 * one[:, None],
        r_eff_px=r_eff_px * one,
        axis_ratio=axis_ratio * one,
        angle_rad=angle_rad * one,
        index=1.0,
    )
    return render([parts], 61)[0, 0].astype(float)


def test_a_galaxy_has_its_light_and_lies_as_asked() -> None:
    along_x, along_y = _galaxy(0.0), _galaxy(np.pi / 2)
    assert along_x.sum() == pytest.approx(100.0, rel=0.01)
    np.testing.assert_allclose(along_y, along_x.T, atol=1e-5)
    axis = np.arange(61) - 30.0
    x, y = np.meshgrid(axis, axis)
    assert (along_x * x**2).sum() > 1.5 * (along_x * y**2).sum()
    # Between the axes: from x towards y, so the light lies where x y > 0.
    leaning = _galaxy(np.pi / 4)
    assert (leaning * x * y).sum() > 0.2 * (leaning * (x**2 + y**2)).sum() / 2
    turned = _galaxy(np.pi / 4 + np.pi / 2)
    np.testing.assert_allclose(turned, leaning[::-1], atol=1e-5)


def test_a_tiny_galaxy_is_a_point() -> None:
    zero, one = np.zeros(1), np.ones((1, 1))
    point = render([points(zero, zero, 100.0 * one, 4.0 * one)], 61)
    np.testing.assert_allclose(_galaxy(0.3, r_eff_px=0.01), point[0, 0], atol=1e-3)


# ------------------------------------------------------------------------------- lenses


def test_images_of_an_isothermal_sphere() -> None:
    """Two images at beta +- theta_E, magnified by theta / beta."""
    einstein, beta = np.array([1.0, 0.7]), np.array([0.3, 0.2])
    zero = np.zeros(2)
    x, y, size = find_images(einstein, zero, zero, beta, zero)
    order = np.argsort(-x[:, :2], axis=1)
    x, size = np.take_along_axis(x, order, 1), np.take_along_axis(size, order, 1)
    np.testing.assert_allclose(x, np.column_stack([beta + einstein, beta - einstein]), atol=1e-3)
    np.testing.assert_allclose(y[:, :2], 0.0, atol=1e-3)
    near = np.abs(np.column_stack([1 + einstein / beta, 1 - einstein / beta]))
    np.testing.assert_allclose(size, near, rtol=1e-2)


def test_images_far_off_are_one() -> None:
    x, _, size = find_images(*(np.array([value]) for value in (1.0, 0.0, 0.0, 1.5, 0.0)))
    assert (size[0] > 0).tolist() == [True, False, False, False]
    assert x[0, 0] == pytest.approx(2.5, abs=1e-3)
    assert size[0, 0] == pytest.approx(2.5 / 1.5, rel=1e-2)


def test_images_solve_the_lens_equation_and_are_two_or_four() -> None:
    rng = np.random.default_rng(1)
    n = 300
    einstein, shear = rng.uniform(0.4, 1.5, n), rng.uniform(0.03, 0.2, n)
    angle = rng.uniform(0, np.pi, n)
    source = rng.uniform(-0.25, 0.25, (2, n)) * einstein
    x, y, size = find_images(einstein, shear, angle, *source)
    number = (size > 0).sum(axis=1)
    # Within a small circle there are always several; odd ones are cusps that the step misses.
    assert np.isin(number, (2, 4)).mean() > 0.97 and (number == 4).any() and (number == 2).any()
    assert (np.diff(size, axis=1) <= 0).all()
    gamma = shear * np.cos(2 * angle), shear * np.sin(2 * angle)
    r = np.hypot(x, y)
    with np.errstate(invalid="ignore", divide="ignore"):
        back_x = (1 - gamma[0][:, None]) * x - gamma[1][:, None] * y - einstein[:, None] * x / r
        back_y = -gamma[1][:, None] * x + (1 + gamma[0][:, None]) * y - einstein[:, None] * y / r
    real = size > 0
    np.testing.assert_allclose(back_x[real], np.repeat(source[0], 4).reshape(n, 4)[real], atol=2e-3)
    np.testing.assert_allclose(back_y[real], np.repeat(source[1], 4).reshape(n, 4)[real], atol=2e-3)


def test_no_lenses_have_no_images() -> None:
    none = np.empty(0)
    assert all(found.shape == (0, 4) for found in find_images(none, none, none, none, none))


# --------------------------------------------------------------------------- conditions


def _noise(n: int, seed: int) -> np.ndarray:
    conditions = Conditions(
        np.full(3, 4.0),
        np.array([[1.0, 2.0, 3.0]]),
        np.tile([1.0, 0.3, 0.1, 0.0], (3, 1)),
    )
    noise, sigma = draw_noise(conditions, n, 28, np.random.default_rng(seed))
    return noise * sigma[:, :, None, None]


def _sample(n: int = 300, *, fwhm_px: float = 4.0, seed: int = 1) -> ImageSet:
    """Points of many brightnesses, all redder than what one calls blue."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(-0.5, 0.5, (2, n))
    bright = 10 ** rng.uniform(2.6, 4.3, n)
    flux = bright[:, None] * np.array([0.02, 0.3, 1.0]) * np.exp(rng.normal(0, 0.1, (n, 3)))
    light = render([points(x, y, flux, np.full((n, 3), fwhm_px))], 28)
    images = (light + _noise(n, seed + 1)).astype(np.float32)
    return ImageSet(images, np.arange(100, 100 + n), BANDS, SCALE, ZERO_POINT)


@pytest.mark.parametrize("fwhm_px", [3.0, 4.5])
def test_sharpness_is_found_to_five_percent(fwhm_px: float) -> None:
    found = measure_conditions(_sample(fwhm_px=fwhm_px).images, 9.0)
    np.testing.assert_allclose(found.fwhm_px, fwhm_px, rtol=0.05)


def test_noise_and_its_correlation_are_found() -> None:
    found = measure_conditions(_noise(400, 3).astype(np.float32), 3.5)
    np.testing.assert_allclose(np.median(found.noise, axis=0), [1.0, 2.0, 3.0], rtol=0.03)
    assert found.correlation.shape == (3, 4)
    np.testing.assert_allclose(found.correlation, [[1.0, 0.3, 0.1, 0.0]] * 3, atol=0.04)
    # Nothing bright: the width is the one assumed.
    np.testing.assert_array_equal(found.fwhm_px, [3.5] * 3)


@pytest.mark.parametrize("n", [0, 1, 2])
def test_conditions_of_nothing_or_blanks_are_assumed(n: int) -> None:
    images = np.zeros((n, 3, 28, 28), dtype=np.float32)
    images[:1] = np.nan
    found = measure_conditions(images, 3.5)
    assert found.fwhm_px.tolist() == [3.5] * 3 and found.noise.tolist() == [[1.0] * 3]
    noise, sigma = draw_noise(found, 4, 28, np.random.default_rng(1))
    assert noise.shape == (4, 3, 28, 28) and sigma.shape == (4, 3)
    assert noise.std() == pytest.approx(1.0, abs=0.03)


def test_an_image_without_numbers_does_not_count() -> None:
    images = _sample(60).images
    spoilt = np.concatenate([images, np.full((1, *images.shape[1:]), np.nan, dtype=np.float32)])
    one, other = measure_conditions(images, 9.0), measure_conditions(spoilt, 9.0)
    np.testing.assert_array_equal(one.fwhm_px, other.fwhm_px)
    np.testing.assert_array_equal(one.noise, other.noise)


# --------------------------------------------------------------------------- neighbours


def _with_neighbours(share: float, n: int = 300) -> np.ndarray:
    """Faint objects of which a share has a source 2.8 arcsec away, of light 60, 300 and 900."""
    images = _noise(n, 8)
    x, y = np.full(n, 8.0), np.full(n, -7.0)
    there = (np.arange(n) < share * n).astype(float)
    beside = there[:, None] * np.array([60.0, 300.0, 900.0])
    own = np.full((n, 3), 300.0)
    fwhm = np.full((n, 3), 4.0)
    zero = np.zeros(n)
    both = [points(zero, zero, own, fwhm), points(x, y, beside, np.hypot(fwhm, 0.6 / SCALE))]
    return (images + render(both, 28)).astype(np.float32)


def test_neighbours_are_counted_and_measured() -> None:
    images = _with_neighbours(0.4)
    conditions = measure_conditions(images, 4.0)
    found = measure_neighbours(images, conditions, SCALE)
    per_stamp = len(found.flux) / 300
    assert 0.38 < per_stamp < 0.45  # noise makes a few more
    np.testing.assert_allclose(np.median(found.flux, axis=0), [60.0, 300.0, 900.0], rtol=0.15)
    # Where they are sought: within the edge of 2 px and 2 arcsec from the middle.
    axis = np.arange(28) - 13.5
    far = np.hypot(axis[:, None], axis[None, :]) * SCALE >= 2.0
    sought = int(far[2:-2, 2:-2].sum())
    assert found.per_px2 == pytest.approx(per_stamp / sought)
    assert len(measure_neighbours(_with_neighbours(0.0), conditions, SCALE).flux) < 12


def test_neighbours_are_drawn_as_often_as_seen_and_never_upon_the_object() -> None:
    conditions = Conditions(np.full(3, 4.0), np.ones((1, 3)), np.tile([1.0, 0, 0, 0], (3, 1)))
    seen = Neighbours(np.array([[1.0, 2.0, 4.0], [10.0, 20.0, 40.0]]), 1e-3)
    n = 2000
    parts = draw_neighbours(seen, conditions, n, 28, SCALE, np.random.default_rng(1))
    flux = np.array([part.flux.sum(axis=2) for part in parts])  # (part, n, band)
    near = np.array([np.hypot(part.x_px, part.y_px)[:, 0, 0] for part in parts]) * SCALE < 1.5
    assert (flux[near] == 0).all() and (flux[~near] > 0).any()
    assert (flux > 0).all(axis=2).sum() / n == pytest.approx(32**2 * 1e-3 * 0.9, abs=0.05)
    given = flux[(flux > 0).all(axis=2)]
    np.testing.assert_allclose(given[:, 2] / given[:, 0], 4.0)
    assert set(np.round(given[:, 0], 6)) == {1.0, 10.0}


@pytest.mark.parametrize("n", [0, 1])
def test_beside_nothing_there_is_nothing(n: int) -> None:
    blank = np.zeros((n, 3, 28, 28), dtype=np.float32)
    conditions = measure_conditions(blank, 4.0)
    found = measure_neighbours(blank, conditions, SCALE)
    assert found.flux.shape == (0, 3) and found.per_px2 == 0
    assert draw_neighbours(found, conditions, 5, 28, SCALE, np.random.default_rng(1)) == []
    tiny = np.random.default_rng(1).normal(size=(20, 3, 6, 6)).astype(np.float32)
    assert measure_neighbours(tiny, measure_conditions(tiny, 4.0), SCALE).per_px2 == 0


# --------------------------------------------------------------------------------- draw


def _templates() -> TemplateSet:
    """Quasars that redden with redshift and galaxies, three bands."""
    redshift, slope = (
        axis.ravel() for axis in np.meshgrid(np.linspace(5.0, 6.5, 16), [-0.6, -0.3, 0.0])
    )
    n = len(redshift)
    one = np.ones(n)
    fluxes = np.column_stack(
        [np.full(n, 0.02), 3.0 * np.exp(-(redshift - 5.0) * 1.5), 20.0 * np.exp(0.2 * slope)]
    )
    quasars = ClassTemplates(
        fluxes,
        {
            "redshift": redshift,
            "uv_slope": slope,
            **{name: one for name in ("line_scale", "lya_scale", "igm_scale")},
            **{name: 0 * one for name in ("ebv", "bal_depth")},
        },
    )
    z, dust = (axis.ravel() for axis in np.meshgrid([0.3, 0.7, 1.1, 1.5], [0.0, 1.0]))
    m = len(z)
    zero = np.zeros(m)
    galaxy = ClassTemplates(
        np.column_stack([1.0 * np.exp(-dust), 3.0 * np.exp(-0.5 * dust), np.full(m, 5.0)]),
        {
            "redshift": z,
            "av_mag": dust,
            "red_quasar_ebv": zero,
            "torus_fraction": zero,
            "age_gyr": zero + 3.0,
            "metallicity": zero + 1.0,
        },
    )
    cells = Representatives(np.arange(m), np.arange(m))
    none = Representatives(np.arange(n), np.arange(n))
    return TemplateSet(
        BANDS,
        np.array([4800.0, 7800.0, 9200.0]),
        {"star": quasars, "galaxy": galaxy, "quasar": quasars},
        none,
        cells,
        none,
    )


def _draw(n: int = 400, seed: int = 1, **changes: Any) -> Any:
    given = {"band": "z", "flux_min_ujy": 5.0, "flux_max_ujy": 60.0, "redshift_min": 5.5}
    rng = np.random.default_rng(seed)
    return draw_quasars(_templates(), PRIORS, BANDS, n, rng, **given | changes)


def test_quasars_are_within_the_limits_and_repeat() -> None:
    one = _draw()
    assert one.flux_ujy.shape == (400, 3) and one.redshift.min() >= 5.5
    z = one.flux_ujy[:, 2]
    # Cells of the prior are 3 % wide.
    assert z.min() > 5.0 * 0.97 and z.max() < 60.0 * 1.03
    # Faint ones are the more frequent.
    assert np.median(z) < 15.0
    np.testing.assert_array_equal(one.flux_ujy, _draw().flux_ujy)
    assert not np.array_equal(one.flux_ujy, _draw(seed=2).flux_ujy)


def test_bands_come_in_the_order_asked_for() -> None:
    rng = np.random.default_rng(1)
    turned = draw_quasars(
        _templates(),
        PRIORS,
        BANDS[::-1],
        20,
        rng,
        band="z",
        flux_min_ujy=5.0,
        flux_max_ujy=60.0,
        redshift_min=5.5,
    )
    np.testing.assert_array_equal(turned.flux_ujy[:, ::-1], _draw(20).flux_ujy)


@pytest.mark.parametrize(
    "changes", [{"redshift_min": 7.0}, {"flux_min_ujy": 50.0, "flux_max_ujy": 40.0}]
)
def test_no_quasar_where_none_can_be(changes: dict[str, float]) -> None:
    none = _draw(**changes)
    assert none.flux_ujy.shape == (0, 3) and none.redshift.shape == (0,)


def test_lens_galaxies_have_masses_of_the_prior() -> None:
    found = draw_lens_galaxies(_templates(), PRIORS, BANDS, 500, np.random.default_rng(1))
    assert found.flux_ujy.shape == (500, 3) and (found.flux_ujy > 0).all()
    assert found.log_mass.mean() == pytest.approx(PRIORS["lens"]["log_mass_mean"], abs=0.1)
    assert set(np.unique(found.redshift)) <= {0.3, 0.7, 1.1, 1.5}


# ------------------------------------------------------------------------------ objects


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer trials at once, as few are wanted."""
    monkeypatch.setattr(objects, "_BATCH", 250)
    monkeypatch.setattr(objects, "_ENOUGH_TRIALS", 1000)


def _simulate(images: ImageSet, known: list[int] | None = None, **changes: Any) -> Any:
    rows = np.array(known or [], dtype=np.int64)
    given: dict[str, Any] = {"n": 60, "seed": 1, "redshift_min": 5.5}
    return simulate(
        images, _templates(), PRIORS, Known(rows, np.full(len(rows), 6.1)), **given | changes
    )


def test_simulated_objects_could_be_in_the_sample() -> None:
    sample = _sample()
    light = aperture_counts(sample.images, 1.0, SCALE)[:, 2]
    low, high = np.quantile(light, [0.005, 1.0])
    quasars, lensed = _simulate(sample, [1, 2])
    for made in (quasars, lensed):
        assert isinstance(made, Simulated) and len(made) == 60
        assert made.images.shape == (60, 3, 28, 28) and made.images.dtype == np.float32
        shown = aperture_counts(made.images, 1.0, SCALE)[:, 2]
        assert shown.min() >= low and shown.max() <= high
        assert (made.redshift >= 5.5).all()
        assert set(np.unique(made.source)) <= {-1, 1, 2} and (made.source >= 0).any()
        assert (made.redshift[made.source >= 0] == 6.1).all()
    assert (quasars.separation_arcsec == 0).all() and (quasars.lens_share == 0).all()
    assert (lensed.separation_arcsec > 0).all() and (lensed.separation_arcsec < 8).all()
    assert ((lensed.lens_share > 0) & (lensed.lens_share < 1)).all()


def test_a_quasar_with_the_colours_of_a_known_one() -> None:
    sample = _sample()
    bright_one = int(aperture_counts(sample.images, 1.0, SCALE)[:, 2].argmax())
    quasars, _ = _simulate(sample, [bright_one], n=200)
    own = aperture_counts(sample.images[[bright_one]], 1.0, SCALE)[0]
    alike = aperture_counts(quasars.images[quasars.source == bright_one], 1.0, SCALE)
    assert len(alike) > 50
    # Noise scatters the colours of the faint ones by some 20 %: the median of 90 is good to 3 %.
    # The band's sharpness is known to 5 %, which moves the light in the aperture by as much.
    assert np.median(alike[:, 1] / alike[:, 2]) == pytest.approx(own[1] / own[2], rel=0.1)


def test_the_seed_fixes_the_simulated_objects() -> None:
    sample = _sample()
    for one, same, other in zip(
        _simulate(sample), _simulate(sample), _simulate(sample, seed=2), strict=True
    ):
        np.testing.assert_array_equal(one.images, same.images)
        assert not np.array_equal(one.images, other.images)
        assert (one.source == -1).all()


def _no_objects(sample: ImageSet) -> None:
    for made in _simulate(sample):
        assert len(made) == 0 and made.images.shape == (0, *sample.images.shape[1:])


@pytest.mark.parametrize("n", [0, 1, 2, 9])
def test_of_a_few_images_nothing_is_simulated(n: int) -> None:
    _no_objects(_sample(n))


def test_of_blank_or_equal_images_nothing_is_simulated() -> None:
    sample = _sample(40)
    for images in (
        np.zeros_like(sample.images),
        np.full_like(sample.images, np.nan),
        np.repeat(sample.images[:1], 40, axis=0),
    ):
        _no_objects(ImageSet(images, sample.ids, BANDS, SCALE, ZERO_POINT))


def test_of_a_sample_that_holds_no_quasar_s_light_few_or_none_come() -> None:
    """Far brighter than any quasar of the models: it ends, and with what there is."""
    sample = _sample(40)
    bright = ImageSet(sample.images * np.float32(1e7), sample.ids, BANDS, SCALE, ZERO_POINT)
    for made in _simulate(bright):
        assert len(made) <= 60


def test_a_band_without_light_is_no_obstacle() -> None:
    sample = _sample(60)
    sample.images[:, 0] = 0.0
    for made in _simulate(sample, [0]):
        assert np.isfinite(made.images).all()


def test_without_light_at_all_nothing_breaks() -> None:
    noise = ImageSet(_noise(60, 9).astype(np.float32), np.arange(60), BANDS, SCALE, ZERO_POINT)
    for made in _simulate(noise, [0]):
        assert np.isfinite(made.images).all()


def test_templates_of_other_bands_are_refused() -> None:
    sample = _sample(20)
    other = ImageSet(sample.images, sample.ids, ("g", "i", "y"), SCALE, ZERO_POINT)
    with pytest.raises(InputError, match="the templates lack the bands y"):
        _simulate(other)


# ------------------------------------------------------------------------------- tables


def test_the_table_says_what_the_images_are() -> None:
    sample = _sample()
    matched = pd.DataFrame({"id": [102, 101, 7], "known_redshift": [np.nan, 6.3, 6.0]})
    known = known_among(sample.ids, matched)
    assert known.row.tolist() == [1, 2] and known.redshift[0] == 6.3
    pixels, table = simulated_objects(
        sample, _templates(), PRIORS, known, n=40, seed=1, redshift_min=5.5
    )
    assert list(table.columns) == list(ABOUT)
    assert table["id"].tolist() == list(range(80)) and len(pixels) == 80
    assert table["kind"].tolist() == ["quasar"] * 40 + ["lensed"] * 40
    assert set(table["source_id"]) == {0, 101, 102}
    assert (table.loc[table["source_id"] == 101, "redshift"] == 6.3).all()
    # The redshift of the other known quasar is not known: that of the model it replaced.
    assert table["redshift"].between(5.5, 6.6).all()


def test_the_table_of_nothing_has_its_columns() -> None:
    none = Known(np.empty(0, dtype=np.int64), np.empty(0))
    pixels, table = simulated_objects(
        _sample(0), _templates(), PRIORS, none, n=40, seed=1, redshift_min=5.5
    )
    assert pixels.shape == (0, 3, 28, 28)
    assert list(table.columns) == list(ABOUT) and not len(table)
