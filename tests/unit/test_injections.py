"""Injected quasars: design, places, light, noise, query, evidence, completeness."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers.configuration import shipped_config

from archipelago.base.errors import ConfigError, InputError
from archipelago.base.images import ImageSet
from archipelago.base.tables import write_table
from archipelago.candidates.combine import Calibration, Model, Term
from archipelago.injections import completeness as complete
from archipelago.injections import design, evidence, paint, places, query
from archipelago.injections.colours import Moves, about_moves
from archipelago.injections.files import cut_names
from archipelago.injections.inject import ABOUT, OTHER_CONDITIONS, Injected, Run, inject, stages
from archipelago.injections.noise import BandNoise, Partner, as_listed
from archipelago.injections.ranking import places as places_in_list
from archipelago.injections.ranking import rank_injected
from archipelago.photometry.fluxes import BandSpec, Depth, measure_band
from archipelago.sed.templates import ClassTemplates, Representatives, TemplateSet

CONFIG = shipped_config()
FIT = CONFIG.sed.fit.plain()
BANDS = ("i", "z", "J")
SCALE, ZERO_POINT, SIDE = 0.263, 30.0, 28
COUNTS_PER_UJY = 10 ** (0.4 * (ZERO_POINT - 23.9))
AXES = CONFIG.injections.axes.plain()
ADQL = "SELECT a FROM t WHERE hpix BETWEEN {hpix_min} AND {hpix_max} AND mz < 21.0 AND mi - mz > 1"


def _templates(redshifts: tuple[float, ...] = (5.8, 6.2)) -> TemplateSet:
    """Quasars black in i, and galaxies: unit amplitudes of about the right size."""
    z = np.array(redshifts)
    n = len(z)
    quasars = ClassTemplates(
        np.tile([1.0, 20.0, 25.0], (n, 1)).astype(np.float32),
        {
            "redshift": z.astype(np.float32),
            **{
                name: np.full(n, value, dtype=np.float32)
                for name, value in (
                    ("uv_slope", -0.3),
                    ("line_scale", 1.0),
                    ("lya_scale", 1.0),
                    ("ebv", 0.0),
                    ("bal_depth", 0.0),
                    ("igm_scale", 1.0),
                )
            },
        },
    )
    galaxies = ClassTemplates(
        np.array([[0.5, 1.0, 2.0], [0.3, 0.6, 1.5]], dtype=np.float32),
        {
            "redshift": np.array([0.5, 1.0], dtype=np.float32),
            "av_mag": np.zeros(2, dtype=np.float32),
            "age_gyr": np.full(2, 3.0, dtype=np.float32),
            "tau_gyr": np.full(2, 0.3, dtype=np.float32),
        },
    )
    cells = np.arange(2)
    own = np.arange(n)
    return TemplateSet(
        bands=BANDS,
        pivot_aa=np.array([7800.0, 9200.0, 12500.0]),
        classes={"quasar": quasars, "galaxy": galaxies},
        lensed_quasars=Representatives(own, own),
        lensed_galaxies=Representatives(cells, cells),
        coarse_quasars=Representatives(own, own),
    )


def _images(n: int = 60, seed: int = 1) -> ImageSet:
    """Points of z = 18 to 20.5 and correlated noise, centred: (n, 2, 28, 28)."""
    rng = np.random.default_rng(seed)
    flux = 10 ** (0.4 * (23.9 - np.linspace(18.0, 20.5, n))) * COUNTS_PER_UJY
    axis = np.arange(SIDE) - (SIDE - 1) / 2
    r2 = axis[None, :] ** 2 + axis[:, None] ** 2
    alpha = 3.3 / 2 / np.sqrt(2 ** (1 / 3) - 1)
    point = 2 / (np.pi * alpha**2) * (1 + r2 / alpha**2) ** -3
    light = flux[:, None, None, None] * np.array([0.4, 1.0])[None, :, None, None] * point
    noise = rng.normal(0, 1, (n, 2, SIDE, SIDE)) * np.array([4.0, 8.0])[None, :, None, None]
    images = (light + noise).astype(np.float32)
    return ImageSet(images, np.arange(1000, 1000 + n), ("i", "z"), SCALE, ZERO_POINT)


def _catalogue(n: int = 60) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    mag = np.linspace(18.0, 20.5, n)
    table: dict[str, Any] = {
        "id": np.arange(1000, 1000 + n),
        "ra_deg": rng.uniform(10, 11, n),
        "dec_deg": rng.uniform(-40, -39, n),
        "ebv_sfd98": 0.02,
    }
    total = 10 ** (0.4 * (23.9 - mag))
    for band, ratio, error in (("i", 0.4, 0.1), ("z", 1.0, 0.2), ("J", 1.5, 5.0)):
        share = 1.0 if band == "J" else 10 ** (-0.4 * 0.27)
        flux = total * ratio * share
        table |= {
            f"flux_ujy_{band}": flux,
            f"flux_err_ujy_{band}": np.hypot(error, 0.01 * flux),
            f"detected_{band}": True,
        }
    return pd.DataFrame(table)


def _run(images: ImageSet | None = None, **changes: Any) -> Run:
    photometry = {
        "bands": list(BANDS),
        "detection_sigma": 2.0,
        "depths": {band: {"sigma": 5, "mag_ab": 23.0} for band in BANDS},
        "cuts": [{"name": "J detected", "kind": "detected", "band": "J"}],
    }
    given: dict[str, Any] = {
        "catalogue": _catalogue(),
        "templates": _templates(),
        "images": images,
        "sources": None,
        "matched": None,
        "losses": None,
        "specs": {band: BandSpec(f"v{band}", f"e{band}", "flux_ujy") for band in BANDS},
        "photometry": photometry,
        "fit": FIT,
    }
    return Run(**{**given, **changes})


SETTINGS: dict[str, Any] = {
    **CONFIG.injections.plain(without={"enabled"}),
    "n_quasars": 40,
    "n_lensed": 40,
}


# ------------------------------------------------------------------------------- design


def test_the_design_fills_every_axis_evenly_and_is_the_same_each_time() -> None:
    points = design.wanted(AXES, "lensed", 200, 7)
    assert list(points) == list(design.AXES["lensed"])
    for axis in points:
        low, high = AXES[axis]
        values = points[axis].to_numpy()
        if axis == "magnification":
            values, low, high = np.log(values), np.log(low), np.log(high)
        counts, _ = np.histogram(values, bins=5, range=(low, high))
        assert counts.sum() == 200 and counts.min() >= 33, axis
    pd.testing.assert_frame_equal(points, design.wanted(AXES, "lensed", 200, 7))
    assert not design.wanted(AXES, "lensed", 200, 8).equals(points)
    assert len(design.wanted(AXES, "quasar", 0, 7)) == 0


def _truth(kind: str, n: int = 60, **templates: Any) -> design.Truth:
    points = design.wanted(AXES, kind, n, 1)
    rng = np.random.default_rng(1)
    return design.draw(_templates(**templates), FIT, BANDS, "z", points, kind, rng)


def test_fluxes_have_the_magnitudes_of_the_design() -> None:
    for kind in design.KINDS:
        truth = _truth(kind)
        assert len(truth) == 60
        mag = 23.9 - 2.5 * np.log10(truth.quasar_ujy[:, 1])
        np.testing.assert_allclose(mag, truth.table["quasar_mag"], atol=1e-9)
        assert set(truth.table["redshift"].round(3)) <= {5.8, 6.2}
        assert np.isfinite(truth.table["ln_weight"]).all()
    lens = 23.9 - 2.5 * np.log10(truth.lens_ujy[:, 1])
    np.testing.assert_allclose(lens, truth.table["lens_mag"], atol=1e-9)
    # Brighter quasars are rarer.
    plain = _truth("quasar").table
    assert np.corrcoef(plain["quasar_mag"], plain["ln_weight"])[0, 1] > 0.9


def test_wide_pairs_behind_faint_galaxies_have_old_ones() -> None:
    """An old galaxy has ten times the mass of a young one of its magnitude, and lenses wider."""
    templates = _templates()
    old, young = (np.array([[0.5, 1.0, 2.0]]) * light for light in (0.3, 3.0))
    templates.classes["galaxy"] = ClassTemplates(
        np.concatenate([old, young]).astype(np.float32),
        {
            name: np.array(values, dtype=np.float32)
            for name, values in (
                ("redshift", [0.5, 0.5]),
                ("av_mag", [0.0, 0.0]),
                ("age_gyr", [7.0, 0.1]),
                ("tau_gyr", [0.3, 1.0]),
            )
        },
    )

    def share_of_old(separation_arcsec: float, lens_mag: float) -> float:
        points = design.wanted(AXES, "lensed", 200, 1)
        points = points.assign(separation_arcsec=separation_arcsec, lens_mag=lens_mag)
        rng = np.random.default_rng(1)
        row, redshift, number = design._lens_rows(
            templates, FIT["priors"], 1, points, np.full(200, 6.2), rng
        )
        assert set(redshift) == {0.5} and np.isfinite(number).all()
        return float((row == 0).mean())

    assert share_of_old(2.0, 22.0) > 0.97
    assert share_of_old(0.5, 18.5) < 0.5
    share = np.exp(design._ln_kind(np.array([True, True, False]), np.zeros(3)))
    np.testing.assert_allclose(share, [0.45, 0.45, 0.1])
    np.testing.assert_allclose(np.exp(design._ln_kind(np.array([True]), np.zeros(1))), [1.0])


def test_lensed_images_have_the_wanted_separation_and_nearly_the_magnification() -> None:
    truth = _truth("lensed")
    real = truth.share > 0
    assert (real.sum(axis=1) >= 2).all()
    np.testing.assert_allclose(truth.share.sum(axis=1), 1.0)
    for row in range(len(truth)):
        x, y = truth.x_arcsec[row][real[row]], truth.y_arcsec[row][real[row]]
        largest = np.hypot(x[:, None] - x, y[:, None] - y).max()
        assert largest == pytest.approx(truth.table["separation_arcsec"][row], rel=1e-6)
    asked = design.wanted(AXES, "lensed", 60, 1)["magnification"]
    ratio = np.log(truth.table["magnification"] / asked.to_numpy())
    assert np.abs(ratio).median() < 0.1


def test_no_template_with_light_makes_no_quasar_and_a_missing_band_is_an_error() -> None:
    templates = _templates()
    templates.classes["quasar"].fluxes[:, 1] = 0.0
    points = design.wanted(AXES, "quasar", 10, 1)
    rng = np.random.default_rng(1)
    assert len(design.draw(templates, FIT, BANDS, "z", points, "quasar", rng)) == 0
    with pytest.raises(InputError, match="lack the bands K"):
        design.draw(_templates(), FIT, ("z", "K"), "z", points, "quasar", rng)


# ------------------------------------------------------------------------------- places


def test_a_cleared_cutout_holds_its_own_sky_and_keeps_its_frame() -> None:
    images = _images(30)
    free = np.ones((30, 4), dtype=bool)
    sky = places.cleared(images.images, free, np.random.default_rng(1))
    middle = slice(7, 21)
    assert np.abs(sky[:, :, middle, middle].mean()) < 0.3
    spread = sky[:, :, middle, middle].std(axis=(0, 2, 3))
    np.testing.assert_allclose(spread, [4.0, 8.0], rtol=0.1)
    frame = np.ones((SIDE, SIDE), dtype=bool)
    frame[middle, middle] = False
    np.testing.assert_array_equal(sky[:, :, frame], images.images[:, :, frame])


def test_places_are_without_neighbours_in_their_corners_and_objects_that_reach_out() -> None:
    images = _images(40)
    images.images[25, 1, :7, :7] += 500.0  # a neighbour in one corner
    images.images[30] += 40.0 * np.exp(-0.5 * ((np.arange(SIDE) - 13.5)[:, None] / 6) ** 2)
    images.images[31, 0, 3, 3] = np.nan
    positions = _catalogue(40)
    found = places.find_places(
        images, positions["ra_deg"].to_numpy(), positions["dec_deg"].to_numpy()
    )
    assert 25 in found.row and not {30, 31} & set(found.row)
    assert not found.corners[list(found.row).index(25)][0] and found.corners[-1].all()
    np.testing.assert_allclose(found.fwhm_px, 3.3, rtol=0.08)


# -------------------------------------------------------------------------------- light


def test_a_painted_point_is_measured_with_the_light_that_the_aperture_holds() -> None:
    truth = _truth("quasar", 20)
    rng = np.random.default_rng(2)
    layout = paint.lay_out(truth, [0, 1], 0.9, rng)
    np.testing.assert_allclose(layout.listed_x_arcsec, 0.0, atol=1e-9)
    fwhm = np.full((20, 2), 3.3)
    counts = np.full(2, COUNTS_PER_UJY)
    image, x, y = paint.light_of(truth, layout, [0, 1], counts, fwhm, SCALE, SIDE, rng)
    seen = paint.aperture_light(image, x, y, 1.95, SCALE)
    share = paint.point_aperture_shares(fwhm[0], 1.95, SCALE, SIDE)
    expected = truth.quasar_ujy[:, [0, 1]] * COUNTS_PER_UJY * share
    np.testing.assert_allclose(seen, expected, rtol=0.03)
    assert 0.7 < share[0] < 0.9


def test_a_wide_pair_is_listed_at_its_brightest_and_a_narrow_one_between() -> None:
    truth = _truth("lensed", 60)
    layout = paint.lay_out(truth, [0, 1], 0.9, np.random.default_rng(1))
    light = np.hstack([truth.share * truth.quasar_ujy[:, 1, None], truth.lens_ujy[:, 1, None]])
    x = np.hstack([truth.x_arcsec, np.zeros((60, 1))])
    y = np.hstack([truth.y_arcsec, np.zeros((60, 1))])
    near = np.hypot(x - layout.listed_x_arcsec[:, None], y - layout.listed_y_arcsec[:, None])
    near[light == 0] = np.inf
    assert (near.min(axis=1) < 0.75).all()  # always by something real
    flux, dx, _ = paint.beam_light(truth, layout, [2], [6.0])
    total = truth.quasar_ujy[:, 2] + truth.lens_ujy[:, 2]
    np.testing.assert_allclose(flux[:, 0], total, rtol=1e-6)
    assert np.abs(dx).max() > 0.2


def test_wide_pairs_are_listed_at_a_bright_lens_and_at_an_image_of_a_faint_one() -> None:
    truth = _truth("lensed", 200)
    wide = np.flatnonzero(truth.table["separation_arcsec"] > 2.2)
    wide = truth.take(wide)

    def distance_arcsec(over_quasar: float) -> Any:
        other = replace(
            wide, lens_ujy=over_quasar * wide.quasar_ujy, log_mass=wide.log_mass * 0 + 11.5
        )
        layout = paint.lay_out(other, [1], 0.9, np.random.default_rng(1))
        assert np.median(layout.radius_arcsec) > 0.5
        return np.hypot(layout.listed_x_arcsec, layout.listed_y_arcsec)

    assert len(wide) > 20
    assert np.mean(distance_arcsec(8.0) < 0.4) > 0.9
    assert np.mean(distance_arcsec(0.5) > 0.6) > 0.8


def test_the_peak_of_a_galaxy_is_that_of_its_image() -> None:
    """Against an image of 400 by 400 pixels; a point is as bright as a point."""
    from archipelago.simulate.light import galaxies, points, render

    zero, width = np.zeros(1), np.full((1, 1), 30.0)
    for radius, tolerance in ((0.0, 1e-6), (20.0, 0.12), (60.0, 0.15)):
        light = galaxies(
            zero, zero, np.ones((1, 1)), width, r_eff_px=np.full(1, radius), index=4.0,
            axis_ratio=np.ones(1), angle_rad=zero,
        ) if radius else points(zero, zero, np.ones((1, 1)), width)  # fmt: skip
        image = render([light], 401)
        point = render([points(zero, zero, np.ones((1, 1)), width)], 401)
        expected = float(image.max() / point.max())
        got = paint._peak_over_points(np.array([radius]), 30.0)[0]
        assert got == pytest.approx(expected, rel=tolerance), radius


def test_lenses_are_as_large_as_their_living_mass_says() -> None:
    """Templates are of 10^10 solar masses formed, of which 0.6 live on."""
    truth, templates = _truth("lensed"), _templates()
    mag = truth.table["lens_mag"].to_numpy(dtype=float)
    unit = templates.classes["galaxy"].fluxes[:, 1]
    formed = 10 + np.log10(10 ** (0.4 * (23.9 - mag))[:, None] / unit[None, :])
    assert (np.abs(formed - 0.22 - truth.log_mass[:, None]).min(axis=1) < 1e-5).all()


# -------------------------------------------------------------------------------- noise


def test_errors_are_those_of_objects_as_bright() -> None:
    flux = np.geomspace(1, 1000, 400)
    spec, depth = BandSpec("v", "e", "flux_ujy"), Depth.from_config("z", {"sigma": 5, "mag_ab": 23})
    measured = measure_band(flux, 0.2 + 0.01 * flux, spec, depth)
    noise = BandNoise.learn(measured, np.zeros(400, dtype=bool), 1.0)
    rng = np.random.default_rng(1)
    np.testing.assert_allclose(noise.error_of(np.full(50, 100.0), rng), 1.2, rtol=0.3)
    np.testing.assert_allclose(noise.error_of(np.full(50, 1e4), rng), 100, rtol=0.4)
    assert noise.own_error(np.array([5.0]))[0] == pytest.approx(5.0, rel=0.05)
    assert noise.own_error(np.array([0.0]))[0] == 0.0


def test_undetected_ones_are_listed_as_the_run_lists_them() -> None:
    """Half of the run's undetected objects have limits, half nothing."""
    value = np.concatenate([np.full(100, 18.0), np.full(50, 21.0), np.full(50, np.nan)])
    error = np.concatenate([np.full(100, 0.05), np.full(100, np.nan)])
    spec = BandSpec("v", "e", "mag_vega", 0.9)
    depth = Depth.from_config("J", {"sigma": 5, "mag_ab": 21.0})
    measured = measure_band(value, error, spec, depth)
    noise = BandNoise.learn(measured, np.zeros(200, dtype=bool), 1.0)
    assert (noise.limit_share, noise.absent_share) == (0.5, 0.5)
    rng = np.random.default_rng(1)
    got, err = noise.listed(np.full(4000, 1.0), np.full(4000, 5.0), spec, 2.0, rng)
    assert np.isnan(err).all()
    assert np.isfinite(got).mean() == pytest.approx(0.5, abs=0.03)
    got, err = noise.listed(np.full(10, 100.0), np.full(10, 5.0), spec, 2.0, rng)
    assert np.isfinite(err).all()
    np.testing.assert_allclose(got, 23.9 - 5.0 - 0.9)


@pytest.mark.parametrize(
    "system", ["mag_ab", "mag_vega", "flux_ujy", "flux_nmgy_ab", "flux_nmgy_vega"]
)
def test_what_is_listed_reads_back_as_it_was(system: str) -> None:
    spec = BandSpec("v", "e", system, 0.9)
    flux, error = np.array([10.0, 200.0]), np.array([1.0, 3.0])
    measured = measure_band(*as_listed(flux, error, spec), spec, Depth(5.0, 23.0))
    np.testing.assert_allclose(measured.flux_ujy, flux)
    np.testing.assert_allclose(measured.flux_err_ujy, error)


def test_a_partner_is_missed_as_often_as_bright_sources_miss_theirs() -> None:
    n = 400
    sources = pd.DataFrame({"id": np.arange(n), "mag_ab_z": np.linspace(16, 21, n)})
    partnered = np.setdiff1d(np.arange(n), np.arange(0, 100, 10))
    flux = np.full(len(partnered), 100.0)
    spec = BandSpec("v", "e", "flux_ujy")
    measured = {"J": measure_band(flux, flux / 20, spec, Depth(5.0, 23.0))}
    partner = Partner.learn(
        "vhs", ("J",), 1.0, sources, partnered, measured, np.full(len(partnered), 0.3), "z"
    )
    assert partner.lost == pytest.approx(0.1)
    assert partner.least_sigma == pytest.approx(20.0)


# -------------------------------------------------------------------------------- query


def test_conditions_on_measured_values_are_used_and_others_named() -> None:
    text = (
        "-- mz < 3\nSELECT * FROM t WHERE hpix BETWEEN {a} AND {b}\n AND mz < 21 AND (mi - mz > 1"
    )
    cuts = query.query_cuts(f"{text} OR mi > 90) AND flags_z = 0 ORDER BY mz", ["MZ", "mi"])
    assert cuts.used == ("mz < 21", "(mi - mz > 1 OR mi > 90)")
    assert cuts.left == ("hpix BETWEEN {a} AND {b}", "flags_z = 0")
    values = pd.DataFrame({"mz": [20.0, 22.0, np.nan], "mi": [22.0, 22.5, 22.0]})
    assert query.passes(cuts.used[0], values).tolist() == [True, False, False]
    assert query.passes(cuts.used[1], values).tolist() == [True, False, False]
    assert query.query_cuts("SELECT * FROM t", ["mz"]) == query.QueryCuts((), ())
    either = query.query_cuts("SELECT a FROM t WHERE mz < 2 OR b = 1 AND mi < 3", ["mz", "mi"])
    assert either.used == () and len(either.left) == 1
    with pytest.raises(InputError, match="cannot be put to injected objects"):
        query.passes("mz <", values)


# --------------------------------------------------------------------------- one shard


@pytest.fixture(scope="module")
def shard() -> Injected:
    return inject(_run(_images()), SETTINGS, 0, 1)


def test_injected_objects_are_measured_as_bright_as_they_are(shard: Injected) -> None:
    table, photometry = shard.table, shard.photometry
    assert list(table)[: len(ABOUT)] == list(ABOUT) and len(table) == 80
    moved = list(table)[len(ABOUT) :]
    assert set(moved) == set(about_moves(moved)) and table[moved].notna().all(axis=None)
    assert set(table["lost_at"]) <= {"", "J detected"}
    kept = table[table["lost_at"] == ""]
    assert sorted(kept["id"]) == sorted(photometry["id"])
    plain = kept[kept["kind"] == "quasar"].merge(photometry, on="id")
    share = 10 ** (-0.4 * 0.27)
    expected = 10 ** (0.4 * (23.9 - plain["quasar_mag"])) * share
    ratio = plain["flux_ujy_z"] / expected
    assert ratio.median() == pytest.approx(1.0, abs=0.04) and ratio.std() < 0.2
    assert shard.images is not None
    assert set(shard.images.ids) == set(table.loc[table["has_images"], "id"])
    assert np.isfinite(shard.images.images).all()


def test_shards_share_the_design(shard: Injected) -> None:
    parts = [inject(_run(_images()), SETTINGS, k, 3).table for k in range(3)]
    together = pd.concat(parts).sort_values("id", ignore_index=True)
    assert together["id"].tolist() == sorted(shard.table["id"])
    pd.testing.assert_series_equal(
        together["quasar_mag"], shard.table.sort_values("id", ignore_index=True)["quasar_mag"]
    )


def test_without_images_the_photometry_is_all_there_is() -> None:
    made = inject(_run(), SETTINGS, 0, 1)
    assert made.images is None and not made.table["has_images"].any()
    assert (made.table["lost_at"] == "").any()


@pytest.mark.parametrize("n", [0, 1])
def test_no_or_one_injected_object_is_a_right_result(n: int) -> None:
    made = inject(_run(_images()), {**SETTINGS, "n_quasars": n, "n_lensed": 0}, 0, 1)
    assert len(made.table) == n
    assert made.images is not None and made.images.images.shape[1:] == (2, SIDE, SIDE)


def test_images_without_a_place_get_drawn_sky(caplog: pytest.LogCaptureFixture) -> None:
    images = _images(30)
    for y in (2, -3):
        for x in (2, -3):
            images.images[:, :, y, x] += 900.0
    caplog.set_level("WARNING")
    made = inject(_run(images), {**SETTINGS, "n_quasars": 3, "n_lensed": 3}, 0, 1)
    assert "no cutout can be painted into" in caplog.text
    assert len(made.table) == 6


def test_the_query_and_the_matches_are_stages_too() -> None:
    catalogue = _catalogue(400)
    sources = pd.DataFrame({"id": catalogue["id"], "ra_deg": 1.0, "dec_deg": 1.0})
    matched = sources.assign(separation_arcsec_vhs=0.1)
    for band in BANDS:
        flux, error = (catalogue[f"flux{part}_ujy_{band}"] for part in ("", "_err"))
        mag, err = as_listed(flux.to_numpy(), error.to_numpy(), BandSpec("v", "e", "mag_ab"))
        matched[f"value_{band}"], matched[f"error_{band}"] = mag, err
        sources[f"mag_ab_{band}"] = mag
    losses = pd.DataFrame({"id": catalogue["id"][:4], "reason": "no vhs partner within 1 arcsec"})
    run = _run(
        sources=sources,
        matched=matched,
        losses=losses,
        specs={band: BandSpec(f"m{band}", f"e{band}", "mag_ab") for band in BANDS},
        partners=[{"name": "vhs", "bands": {"J": {}}, "radius_arcsec": 1.0}],
        query=ADQL,
        query_columns={"mz": ("z", "value"), "mi": ("i", "value")},
    )
    made = inject(run, SETTINGS, 0, 1)
    names = stages(run)
    assert names == [
        "query: mz < 21.0", "query: mi - mz > 1", OTHER_CONDITIONS, "match vhs", "J detected",
    ]  # fmt: skip
    assert set(made.table["lost_at"]) <= {"", *names}
    faint = made.table[made.table["quasar_mag"] > 21.2]
    assert (faint[faint["kind"] == "quasar"]["lost_at"] == "query: mz < 21.0").all()


# ----------------------------------------------------------------------------- evidence


def test_similarity_and_island_are_those_of_the_neighbourhood() -> None:
    rng = np.random.default_rng(1)
    middles = np.eye(4)[[0, 1]]
    rows = np.repeat(middles, 30, axis=0) + rng.normal(0, 0.05, (60, 4))
    ids = np.arange(60)
    known = np.zeros(60, dtype=bool)
    known[:4] = True
    candidates = pd.DataFrame(
        {
            "id": ids,
            "is_known": known,
            "similarity_known": np.where(ids < 30, 0.9, 0.1) + 0.001 * ids,
            "similarity_log_ratio": np.where(ids < 30, 3.0, -1.0),
            "island": np.where(ids < 30, 0, 1),
            "island_log_ratio": np.where(ids < 30, 2.0, -0.5),
        }
    )
    new = np.array([[1.0, 0.02, 0, 0], [0.02, 1.0, 0, 0], [0, 0, 0, 0]], dtype=np.float32)
    table = evidence.like_the_known(
        np.array([7, 8, 9]),
        [(np.array([7, 8, 9]), new)],
        [(ids, rows.astype(np.float32))],
        candidates,
        {"k_neighbours": 3, "centre": True},
    )
    assert table["island"].tolist() == [0, 1, -1]
    assert table["island_log_ratio"].tolist()[:2] == [2.0, -0.5]
    assert table["similarity_log_ratio"][0] == pytest.approx(3.0)
    assert table["similarity_known"][1] < 0.0
    assert table.loc[2, ["similarity_known", "similarity_log_ratio"]].isna().all()


def test_features_of_other_objects_are_refused() -> None:
    with pytest.raises(InputError, match="have no features"):
        evidence.by_id((np.array([1]), np.zeros((1, 2), dtype=np.float32)), np.array([2]))


def test_places_count_the_higher_ones_alone() -> None:
    got = places_in_list(np.array([5.0, 2.5, 0.0, np.nan]), np.array([3.0, 2.0, 1.0, np.nan]))
    np.testing.assert_array_equal(got, [1, 2, 4, np.nan])


def _calibration() -> Calibration:
    models = {
        "quasar": Model(0.0, {"sed": Term(1.0, -50.0, 50.0)}),
        "lensed": Model(0.0, {"sed": Term(1.0, -50.0, 50.0)}),
    }
    return Calibration({"sed": models})


def _verdicts(log_odds: list[float]) -> pd.DataFrame:
    p = 1 / (1 + np.exp(-np.array(log_odds)))
    columns: dict[str, Any] = {"id": np.arange(len(p)), "p_star": 1 - p, "p_quasar": p}
    columns |= {"p_lensed": 0.0, "p_galaxy": 0.0, "p_other": 0.0}
    columns |= {"log_odds_quasar": np.array(log_odds), "log_odds_lensed": -20.0}
    return pd.DataFrame(columns)


def test_an_injected_object_stands_where_its_score_puts_it() -> None:
    candidates = _verdicts([4.0, 2.0, -3.0]).assign(
        score=[4.0, 2.0, -3.0], is_known=[True, False, False]
    )
    ranked = rank_injected(_verdicts([3.0, -5.0]), [], candidates, _calibration())
    assert ranked["rank"].tolist() == [1, 3]
    assert ranked["rank_by_sed"].tolist() == [1, 3]
    assert ranked["rank_by_lens"].isna().all()
    p = ranked["combined_p_quasar"] + ranked["combined_p_lensed"]
    assert p[0] == pytest.approx(1 / (1 + np.exp(-3.0)))


# ------------------------------------------------------------------------- completeness


def test_jeffreys_intervals_are_the_published_ones() -> None:
    """95 % intervals of n = 10 in table 1 of Brown, Cai & DasGupta (2001)."""
    for k, low, high in ((0, 0.0, 0.217), (1, 0.011, 0.381), (5, 0.224, 0.776)):
        got = complete.jeffreys_interval(k, 10, 0.95)
        np.testing.assert_allclose(got, (low, high), atol=6e-4)
    assert complete.jeffreys_interval(0, 0) == (0.0, 1.0)
    assert complete.jeffreys_interval(4, 4)[1] == 1.0


def _found(n: int = 1500, seed: int = 1) -> pd.DataFrame:
    """Ordinary quasars found to 20 mag and lensed ones to 19.5, softly; half lost to a cut."""
    tables = []
    for number, (kind, limit) in enumerate((("quasar", 20.0), ("lensed", 19.5))):
        rng = np.random.default_rng([seed, number])
        table = design.wanted(AXES, kind, n, seed)
        table.insert(0, "id", number * n + np.arange(n))
        table["kind"] = kind
        chance = 1 / (1 + np.exp((table["quasar_mag"] - limit) / 0.15))
        lost = rng.random(n) > chance
        table["lost_at"] = np.where(lost, np.where(rng.random(n) < 0.5, "a", "b"), "")
        table["has_images"] = ~lost
        table["ln_weight"] = 0.0
        tables.append(table)
    return pd.concat(tables, ignore_index=True).assign(place_id=1)


def _stages(table: pd.DataFrame) -> pd.DataFrame:
    ids = table.loc[table["lost_at"] == "", "id"]
    ranked = pd.DataFrame({"id": ids, "rank": np.arange(1.0, len(ids) + 1)})
    ranked["rank_by_sed"] = ranked["rank"] * 2
    for name in ("similarity", "island", "image", "lens"):
        ranked[f"rank_by_{name}"] = np.nan
    ranked["combined_p_quasar"], ranked["combined_p_lensed"] = 0.6, 0.1
    return complete.with_stages(table, ["a", "b"], ranked, {"first": [30], "probability": 0.5})


def test_stages_add_up_and_evidence_stands_beside() -> None:
    table = _stages(_found(100))
    assert complete.stages_of(table) == [
        "a", "b", "all cuts, with images", "first 30 by sed", "first 30",
        "combined probability above 0.5",
    ]  # fmt: skip
    passed = {stage: table[f"passes: {stage}"] for stage in complete.stages_of(table)}
    assert (passed["a"] | ~passed["b"]).all()
    assert passed["b"].sum() == (table["lost_at"] == "").sum()
    assert passed["first 30"].sum() == 30 and passed["first 30 by sed"].sum() == 15
    assert (passed["combined probability above 0.5"] == passed["b"]).all()


def test_the_table_counts_each_object_once_per_axis() -> None:
    counted = complete.completeness_table(_stages(_found(200)), 4)
    assert list(counted) == list(complete.ABOUT)
    whole = counted[counted["axis"] == "all"].set_index(["kind", "stage"])
    for (kind, axis), rows in counted[counted["stage"] == "b"].groupby(["kind", "axis"]):
        assert rows["n"].sum() == 200 and rows["k"].sum() == whole.loc[(kind, "b"), "k"], axis
    assert ((counted["lo"] <= counted["completeness"]) | (counted["n"] == 0)).all()
    assert ((counted["hi"] >= counted["completeness"]) | (counted["n"] == 0)).all()


def test_the_function_gives_back_the_completeness_that_was_put_in(tmp_path: Path) -> None:
    table = _stages(_found())
    (tmp_path / "injections").mkdir()
    write_table(table, tmp_path / "injections" / "injected.parquet", {})
    mags = np.array([18.5, 19.8, 20.0, 20.2, 21.3])
    got = complete.completeness(tmp_path, z_mag=mags, redshift=6.0, stage="b")
    true = 1 / (1 + np.exp((mags - 20.0) / 0.15))
    # Hinges bend at knots, the true curve everywhere: a tenth off at the steepest.
    np.testing.assert_allclose(got.value, true, atol=0.12)
    assert (got.lo <= got.value).all() and (got.value <= got.hi).all()
    lensed = complete.completeness(tmp_path, 19.0, 6.0, lens_mag=21.0, stage="b")
    assert lensed.value.shape == () and lensed.value > 0.8
    assert np.isnan(complete.completeness(tmp_path, 25.0, 6.0).value)
    with pytest.raises(ConfigError, match="no stage 'first 31' .did you mean first 30"):
        complete.completeness(tmp_path, 19.0, 6.0, stage="first 31")


@pytest.mark.parametrize("passed", [True, False])
def test_where_all_objects_pass_completeness_is_one_and_where_none_does_nothing(
    passed: bool,
) -> None:
    """A Gaussian about the mode would say that anything is possible."""
    rng = np.random.default_rng(4)
    values = np.column_stack([rng.uniform(18, 21, 400), rng.uniform(5.5, 6.5, 400)])
    fitted = complete.Smooth.fit(values, np.full(400, passed), ("quasar_mag", "redshift"))
    got = fitted({"quasar_mag": [18.5, 19.5, 20.5], "redshift": [5.7, 6.0, 6.3]})
    np.testing.assert_allclose(got.value, float(passed), atol=0.02)
    assert (got.hi - got.lo < 0.08).all()


def test_the_interval_of_the_smooth_model_is_that_of_the_objects_near() -> None:
    """Constant completeness: 300 of 400 pass everywhere, and no slope is there to be found."""
    rng = np.random.default_rng(5)
    values = np.column_stack([rng.uniform(18, 21, 400), rng.uniform(5.5, 6.5, 400)])
    passed = rng.permutation(400) < 300
    fitted = complete.Smooth.fit(values, passed, ("quasar_mag", "redshift"))
    mean = fitted.chances(values).mean(axis=0)
    assert mean.mean() == pytest.approx(0.75, abs=0.01)
    # Binomial: sqrt(0.75 * 0.25 / 400) = 0.022.
    assert mean.std() == pytest.approx(0.022, abs=0.006)


def _moved(n: int, rng: np.random.Generator) -> Moves:
    """Moves of two colours, uncertain by 0.2 mag at all redshifts alike."""
    common = np.repeat(rng.normal(0.0, 0.2, (n, 2, 1)), 3, axis=2)
    zero = np.zeros((n, 2))
    return Moves(("i", "z", "J"), np.array([5.5, 6.0, 6.5]), common, zero, zero)


def test_the_interval_holds_what_is_not_known_of_the_colours() -> None:
    """Half of all pass a cut in the first colour, which may be 0.2 mag off; the other is free.

    Quasars scatter by 0.3 mag about the cut: all redder by 0.2 mag, the normal distribution's
    0.75 of them pass.
    """
    rng = np.random.default_rng(8)
    values = np.column_stack([rng.uniform(18, 21, 1500), rng.uniform(5.5, 6.5, 1500)])
    moves = _moved(1500, rng)
    own = rng.normal(0.0, 0.3, 1500)
    axes = ("quasar_mag", "redshift")
    fitted = complete.Smooth.fit(values, own + moves.redder_mag[:, 0, 0] > 0, axes, moves)
    mean = fitted.chances(values[:200]).mean(axis=0)
    assert mean.mean() == pytest.approx(0.5, abs=0.05)
    assert mean.std() == pytest.approx(0.24, abs=0.05)
    got = fitted({"quasar_mag": 19.5, "redshift": 6.0})
    assert got.lo < 0.25 and got.hi > 0.75
    other = complete.Smooth.fit(values, own > 0, axes, moves)
    assert other.chances(values[:200]).mean(axis=0).std() < 0.03


def test_a_cut_on_two_axes_together_is_followed() -> None:
    """Passing asks for wide pairs behind far lenses and narrow ones behind near: no sum of two."""
    rng = np.random.default_rng(9)
    axes = design.AXES["lensed"]
    low, high = np.array([18, 5.5, 18.5, 0.2, 0.3, 2]), np.array([21.5, 6.7, 24, 1.7, 3, 30])
    values = rng.uniform(low, high, (3000, 6))
    passed = (values[:, 4] > 1.2) == (values[:, 3] > 0.9)
    fitted = complete.Smooth.fit(values, passed, axes)
    test = rng.uniform(low, high, (500, 6))
    true = (test[:, 4] > 1.2) == (test[:, 3] > 0.9)
    assert np.mean((fitted.chances(test).mean(axis=1) > 0.5) == true) > 0.93


def test_too_few_objects_tell_no_completeness() -> None:
    with pytest.raises(InputError, match="1 injected objects tell no completeness"):
        complete.completeness(_stages(_found(200)).iloc[:1], 19.0, 6.0)


def test_the_lensed_fraction_comes_back() -> None:
    """30 ordinary ones of completeness 0.5 and 6 lensed ones of 0.25: 60 and 24 there are."""
    table = _stages(_found(400))
    stage = "passes: combined probability above 0.5"
    place = np.arange(len(table))
    table[stage] = np.where(table["kind"] == "quasar", place % 2 == 0, place % 4 == 0)
    p = pd.DataFrame({"combined_p_quasar": [0.99] * 30 + [0.0] * 50})
    p["combined_p_lensed"] = 0.0
    p.loc[70:75, "combined_p_lensed"] = 0.99
    got = complete.lensed_fraction(table, p, 0.5, 0.05).set_index("quantity")
    row = got.loc["lensed fraction"]
    assert row["value"] == pytest.approx(24 / 84, abs=0.03)
    assert row["lo"] < 0.22 and row["hi"] > 0.35
    assert got.loc["lensed fraction expected", "value"] == 0.05
    assert got.loc["completeness of lensed quasars", "value"] == pytest.approx(0.25)


def test_nothing_injected_leaves_right_empty_tables() -> None:
    table = _stages(_found(20)).iloc[:0]
    counted = complete.completeness_table(table, 4)
    assert (counted["n"] == 0).all() and counted["completeness"].isna().all()
    p = pd.DataFrame({"combined_p_quasar": [0.9], "combined_p_lensed": [0.05]})
    got = complete.lensed_fraction(table, p, 0.5, 0.05).set_index("quantity")
    assert np.isnan(got.loc["lensed fraction", "value"])
    assert (got.loc["lensed fraction", ["lo", "hi"]] == [0.0, 1.0]).all()


def test_cuts_are_named_from_the_configuration(tmp_path: Path) -> None:
    params = {
        "photometry": CONFIG.photometry.plain(),
        "survey_bands": {name: band.plain() for name, band in CONFIG.survey.bands.items()},
        "catalogues": [partner.plain() for partner in CONFIG.match],
    }
    path = tmp_path / "query.adql"
    path.write_text("SELECT * FROM t WHERE mag_aper_4_z < 21 AND flags_z < 4")
    names = cut_names({"query": str(path)}, params)
    assert names[:4] == [
        "query: mag_aper_4_z < 21", OTHER_CONDITIONS, "match allwise", "match vhs",
    ]  # fmt: skip
    assert names[4:] == [cut["name"] for cut in params["photometry"]["cuts"]]
    assert cut_names({}, params) == names[4:]
