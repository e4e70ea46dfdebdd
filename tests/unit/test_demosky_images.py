"""The painter of the embedded survey: fluxes, noise, tiles, and that pixels never change."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st

from archipelago.base.errors import InputError
from archipelago.demosky import images
from archipelago.demosky.images import COUNTS_PER_UJY, Painter
from archipelago.demosky.server import cutout_header, fits_file
from archipelago.demosky.sky import IMAGE_BANDS, Sky
from archipelago.demosky.survey_tiles import SurveyTiles, home_tile, tile_at, tiles_in_row


def tiny_sky(
    positions: list[tuple[float, float]] | None = None,
    *,
    seed: int = 3,
    artefacts: list[dict[str, object]] | None = None,
    galaxies: bool = False,
) -> Sky:
    """A sky of a few objects, points or galaxies of 30 uJy in z."""
    places = positions or [(30.0, -42.8), (30.02, -42.81), (30.1, -42.85), (30.2, -42.7)]
    n = len(places)
    ids = np.arange(n) + 1000
    ra, dec = np.array(places).T
    flux = np.array([0.5, 1.0, 5.0, 30.0, 40.0])
    shape = {
        "profile": "sersic" if galaxies else "point",
        "r_eff_arcsec": 0.5 if galaxies else np.nan,
        "sersic_n": 1.0 if galaxies else np.nan,
        "axis_ratio": 0.6 if galaxies else np.nan,
        "position_angle_deg": 30.0 if galaxies else np.nan,
    }
    components = pd.DataFrame(
        {
            "object_id": ids,
            "component": 0,
            "role": "galaxy" if galaxies else "star",
            "ra_deg": ra,
            "dec_deg": dec,
            **{f"flux_ujy_{band}": flux[k] for k, band in enumerate(IMAGE_BANDS)},
            **shape,
        }
    )
    truth = pd.DataFrame(
        {"id": ids, "ra_deg": ra, "dec_deg": dec, "survives_allwise": np.ones(n, bool)}
    )
    columns = [
        "object_id", "ra_deg", "dec_deg", "kind", "bands", "angle_deg", "level_ujy", "width_px",
        "offset_px",
    ]  # fmt: skip
    mags = {f"mag_aper_4_{b}": np.linspace(19.0, 20.0, n) for b in "grizy"}
    des = pd.DataFrame(
        {
            "coadd_object_id": ids,
            "ra": ra,
            "dec": dec,
            "tilename": "DES0200-4249",
            **mags,
            "flags_z": np.zeros(n, np.int32),
        }
    )
    vizier = pd.DataFrame({"RAJ2000": ra, "DEJ2000": dec + 0.3 / 3600.0})
    return Sky(
        seed=seed,
        truth=truth,
        components=components,
        artefacts=pd.DataFrame(artefacts or [], columns=columns),
        des=des,
        allwise=vizier.assign(AllWISE=[f"J{k}" for k in ids], W1mag=np.float32(15.5)),
        unwise=vizier.assign(objID=ids, FW1=100.0),
        vhs=vizier.assign(SrcID=ids, Jap3=[np.nan] + [17.0] * (n - 1)),
        milliquas=vizier.assign(Name=[f"QSO <{k}>" for k in ids], z=np.linspace(2.0, 6.5, n)),
    )


def cut(painter: Painter, band: str, ra: float, dec: float, size: int = 60) -> tuple:
    tile = painter.tiles.holding(ra, dec)[0]
    x, y = (float(value) for value in tile.pixel_of(ra, dec))
    x0, y0 = round(x) - size // 2, round(y) - size // 2
    return painter.cutout(tile, band, x0, y0, size, size), tile, x0, y0


# --- tiles ---


def test_tile_names_are_those_of_des():
    assert home_tile(324.8507, -42.589).name == "DES2138-4249"
    assert tile_at(0, 1).name == "DES0004+0001"


@settings(max_examples=60, deadline=None)
@given(ra=st.floats(0.0, 360.0), dec=st.floats(-70.0, 70.0))
def test_every_position_has_a_home_tile_that_holds_it(ra: float, dec: float):
    tile = home_tile(ra, dec)
    assert bool(tile.holds(ra, dec))
    x, y = tile.pixel_of(ra, dec)
    back_ra, back_dec = tile.sky_of(x, y)
    assert abs((float(back_ra) - ra + 180.0) % 360.0 - 180.0) < 1e-9
    assert abs(float(back_dec) - dec) < 1e-9
    assert tile in SurveyTiles([tile]).with_box_around(ra, dec)


@pytest.mark.parametrize(("row", "column"), [(-60, 0), (-60, -1), (-83, 5), (0, 0)])
def test_neighbouring_tiles_overlap_by_about_an_arcmin(row: int, column: int):
    west, east = tile_at(row, column), tile_at(row, column + 1)
    x, _ = east.pixel_of(*west.sky_of(-0.5, 4999.5))
    assert 20.0 < float(9999.5 - x) * 0.263 < 80.0
    assert tiles_in_row(row) > 100


def test_a_pixel_agrees_with_the_wcs_of_its_header():
    tile = home_tile(0.01, -42.8)
    header = cutout_header(tile, "z", 120, 340)
    wcs = WCS({key: value for key, value in header.items() if key[:2] in ("CT", "CR", "CD")})
    ra, dec = tile.sky_of(127.25, 351.5)
    x, y = wcs.all_world2pix(float(ra), float(dec), 0)
    assert (float(x), float(y)) == pytest.approx((7.25, 11.5), abs=1e-6)


def test_the_survey_ends_near_an_object_here_and_there():
    rng = np.random.default_rng(1)
    ra, dec = 30.0 + rng.random(200) * 1.5, -42.8 + rng.random(200) * 1.0
    tiles = SurveyTiles.of_positions(ra, dec, short_edges=2)
    cut_short = [tile for tile in tiles.tiles if tile.x_range[0] > 0]
    assert len(cut_short) == 2
    held = [len(tiles.holding(a, d)) for a, d in zip(ra, dec, strict=True)]
    assert 1 <= held.count(0) <= 4  # beyond the ends
    assert max(held) >= 2  # in the overlaps
    whole = SurveyTiles.of_positions(ra, dec, short_edges=0)
    assert all(whole.holding(a, d) for a, d in zip(ra, dec, strict=True))


def test_boxes_wrap_at_ra_zero():
    tiles = SurveyTiles([tile_at(-60, 0), tile_at(-60, -1)])
    assert len(tiles.with_box_around(0.001, -42.8)) == 2
    assert len(tiles.with_box_around(359.999, -42.8)) == 2
    assert tiles.with_box_around(180.0, -42.8) == []


# --- pixels ---


@pytest.mark.parametrize("galaxies", [False, True])
@pytest.mark.parametrize("band", ["g", "z"])
def test_the_light_of_a_source_adds_up_to_its_flux(galaxies: bool, band: str):
    painter = Painter(tiny_sky(galaxies=galaxies), neighbours=False, noise=False)
    image, *_ = cut(painter, band, 30.1, -42.85)
    expected = {"g": 0.5, "z": 30.0}[band] * COUNTS_PER_UJY
    assert image.sum() == pytest.approx(expected, rel=0.03)


def test_a_source_lies_on_its_pixel():
    painter = Painter(tiny_sky(), neighbours=False, noise=False)
    image, tile, x0, y0 = cut(painter, "z", 30.1, -42.85, size=61)
    yy, xx = np.mgrid[: image.shape[0], : image.shape[1]]
    x, y = (float(value) for value in tile.pixel_of(30.1, -42.85))
    assert (image * xx).sum() / image.sum() + x0 == pytest.approx(x, abs=0.02)
    assert (image * yy).sum() / image.sum() + y0 == pytest.approx(y, abs=0.02)


def test_a_galaxy_is_elongated_along_its_position_angle():
    painter = Painter(tiny_sky(galaxies=True), neighbours=False, noise=False)
    image, tile, x0, y0 = cut(painter, "z", 30.1, -42.85, size=61)
    x, y = (float(value) for value in tile.pixel_of(30.1, -42.85))
    yy, xx = np.mgrid[: image.shape[0], : image.shape[1]]
    east, north = -(xx + x0 - x), yy + y0 - y
    angle = np.radians(30.0)
    along = east * np.sin(angle) + north * np.cos(angle)
    across = east * np.cos(angle) - north * np.sin(angle)
    assert (image * along**2).sum() > 1.3 * (image * across**2).sum()
    assert abs((image * along * across).sum()) < 0.05 * (image * along**2).sum()


@pytest.mark.parametrize("n", [0.5, 1.0, 2.5, 4.0])
def test_gaussians_hold_half_the_light_within_the_half_light_radius(n: float):
    sigmas, weights = images._sersic_gaussians(round(4 * n))
    inside = sum(w * (1 - np.exp(-0.5 / s**2)) for s, w in zip(sigmas, weights, strict=True))
    assert inside == pytest.approx(0.5, abs=0.03)


def test_any_two_cutouts_agree_in_the_pixels_they_share():
    artefacts = [
        {"object_id": 1000, "ra_deg": 30.1, "dec_deg": -42.85, "kind": kind, "bands": "grizY",
         "angle_deg": 20.0, "level_ujy": 20.0, "width_px": 3.0, "offset_px": 4.0}
        for kind in ("trail", "bad column", "saturated")
    ]  # fmt: skip
    painter = Painter(tiny_sky(artefacts=artefacts, galaxies=True))
    rng = np.random.default_rng(5)
    for band in IMAGE_BANDS:
        image, tile, x0, y0 = cut(painter, band, 30.1, -42.85, size=70)
        for _ in range(8):
            dx, dy = rng.integers(0, 40, 2)
            width, height = rng.integers(3, 30, 2)
            part = painter.cutout(tile, band, x0 + dx, y0 + dy, width, height)
            np.testing.assert_array_equal(part, image[dy : dy + height, dx : dx + width])


def test_the_same_seed_gives_the_same_pixels_and_another_seed_others():
    first, *_ = cut(Painter(tiny_sky()), "i", 30.1, -42.85)
    again, *_ = cut(Painter(tiny_sky()), "i", 30.1, -42.85)
    other, *_ = cut(Painter(tiny_sky(seed=4)), "i", 30.1, -42.85)
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1.0


def test_overlapping_tiles_differ_in_noise_alone():
    edge_ra = 360.0 / tiles_in_row(-60)
    sky = tiny_sky([(edge_ra - 0.001, -42.8), (edge_ra + 0.001, -42.8)])
    painter = Painter(sky, neighbours=False)
    held = painter.tiles.holding(edge_ra, -42.8)
    assert len(held) == 2
    values = []
    for tile in held:
        x, y = (round(float(value)) for value in tile.pixel_of(edge_ra - 0.001, -42.8))
        values.append(painter.cutout(tile, "z", x - 10, y - 10, 21, 21))
    assert np.abs(values[0] - values[1]).max() > 1.0
    assert values[0].sum() == pytest.approx(values[1].sum(), rel=0.3)


def test_noise_has_the_spread_and_correlation_asked_for():
    painter = Painter(tiny_sky(), neighbours=False)
    tile = painter.tiles.tiles[0]
    for band in ("g", "Y"):
        image = painter.cutout(tile, band, 4000, 4000, 500, 500).astype(float)
        assert image.std() == pytest.approx(painter.noise_counts(tile, band), rel=0.02)
        unit = (image - image.mean()) / image.std()
        for lag, expected in enumerate(images.NOISE_CORRELATION[band], start=1):
            assert (unit[:, lag:] * unit[:, :-lag]).mean() == pytest.approx(expected, abs=0.015)
            assert (unit[lag:] * unit[:-lag]).mean() == pytest.approx(expected, abs=0.015)


def test_neighbours_are_there_but_not_on_top_of_catalogued_objects():
    sky = tiny_sky()
    with_neighbours, *_ = cut(Painter(sky, noise=False), "i", 30.1, -42.85, size=400)
    without, *_ = cut(Painter(sky, noise=False, neighbours=False), "i", 30.1, -42.85, size=400)
    assert (with_neighbours - without).sum() > 1000.0
    painter = Painter(sky)
    for cell in images._cells_around(30.1, -42.85, 50.0):
        drawn = painter._neighbours(cell)
        apart = np.hypot((drawn.ra_deg - 30.1) * np.cos(np.radians(42.85)), drawn.dec_deg + 42.85)
        assert apart.min() * 3600.0 > images.NEIGHBOUR_KEPT_OFF_ARCSEC


def test_a_saturated_star_is_clipped_bled_and_flagged():
    star = {
        "object_id": 1000, "ra_deg": 30.1, "dec_deg": -42.85, "kind": "saturated", "bands": "zY",
        "angle_deg": 0.0, "level_ujy": 5e5, "width_px": 3.0, "offset_px": 0.0,
    }  # fmt: skip
    painter = Painter(tiny_sky(artefacts=[star]))
    image, tile, x0, y0 = cut(painter, "z", 30.1, -42.85, size=60)
    full = images.SATURATION_COUNTS["z"]
    assert image.max() == pytest.approx(full)
    np.testing.assert_allclose(image[:, 30], full)  # bleeds along the whole column
    mask = painter.cutout(tile, "z", x0, y0, 60, 60, plane="mask")
    assert mask.dtype == np.int32
    assert mask[30, 30] & images.MASK_SATURATED
    assert mask[0, 30] & images.MASK_BLEED
    untouched = painter.cutout(tile, "g", x0, y0, 60, 60, plane="mask")
    assert not untouched.any()


@pytest.mark.parametrize(
    ("kind", "flag"), [("trail", images.MASK_STREAK), ("bad column", images.MASK_BAD_COLUMN)]
)
def test_lines_change_the_pixels_that_the_mask_flags(kind: str, flag: int):
    line = {
        "object_id": 1000, "ra_deg": 30.1, "dec_deg": -42.85, "kind": kind, "bands": "i",
        "angle_deg": 0.0, "level_ujy": 2.0, "width_px": 1.0, "offset_px": 5.0,
    }  # fmt: skip
    spoilt = Painter(tiny_sky(artefacts=[line]), neighbours=False, noise=False)
    clean = Painter(tiny_sky(), neighbours=False, noise=False)
    difference = cut(spoilt, "i", 30.1, -42.85)[0] - cut(clean, "i", 30.1, -42.85)[0]
    _, tile, x0, y0 = cut(spoilt, "i", 30.1, -42.85)
    mask = spoilt.cutout(tile, "i", x0, y0, 60, 60, plane="mask")
    assert np.abs(difference[mask == 0]).max() < 0.2 * np.abs(difference).max()
    assert set(np.unique(mask)) == {0, flag}


def test_cutouts_end_at_the_tile_and_nothing_lies_beyond():
    painter = Painter(tiny_sky())
    tile = painter.tiles.tiles[0]
    assert painter.cutout(tile, "z", -10, 9995, 28, 28).shape == (5, 18)
    with pytest.raises(InputError, match="beyond the tile"):
        painter.cutout(tile, "z", -40, 0, 28, 28)


def test_weight_detection_and_unsubtracted_images():
    painter = Painter(tiny_sky())
    tile = painter.tiles.tiles[0]
    window = (5000, 5000, 40, 40)
    weight = painter.cutout(tile, "z", *window, plane="weight")
    assert weight[0, 0] == pytest.approx(painter.noise_counts(tile, "z") ** -2)
    detection = painter.cutout(tile, "det", *window)
    assert detection.std() < painter.cutout(tile, "z", *window).std()
    raised = painter.cutout(tile, "z", *window, sky_left_in=True)
    assert (raised - painter.cutout(tile, "z", *window)).min() > 0


def test_fits_files_are_read_back_as_written():
    import io

    from astropy.io import fits

    pixels = np.arange(12, dtype=np.float32).reshape(3, 4)
    header = cutout_header(home_tile(30.0, -42.8), "Y", 5, 6)
    with fits.open(io.BytesIO(fits_file(pixels, header))) as hdus:
        hdus.verify("exception")
        np.testing.assert_array_equal(hdus[0].data, pixels)
        assert {key: hdus[0].header[key] for key in header} == header
    with fits.open(io.BytesIO(fits_file(None, {}))) as hdus:
        assert hdus[0].data is None


# --- calibration ---


def test_noise_measured_in_painted_fields_is_the_noise_painted():
    sky = tiny_sky()
    painter = Painter(sky)
    ra = [30.0 + 0.01 * k for k in range(4)]
    cubes = images.paint_fields(painter, ra, [-42.8] * 4, 91)
    table = images.measure_noise(cubes).set_index("band")
    tile = painter.tiles.holding(30.0, -42.8)[0]
    for band in IMAGE_BANDS:
        expected = painter.noise_counts(tile, band)
        assert table.loc[band, "noise"] == pytest.approx(expected, rel=0.12)


@pytest.mark.slow
def test_painted_fields_are_like_the_real_ones(shared_data: Path):
    def sky(seed: int) -> Sky:
        rng = np.random.default_rng(seed)
        return tiny_sky(
            [(30.0 + 40.0 * a, -42.8 + 10.0 * d) for a, d in rng.random((60, 2))], seed=seed
        )

    noise, sources = images.calibrate(shared_data / "des_fields", 2, sky=sky)
    real, demo = (noise[noise["fields_of"] == name].set_index("band") for name in ("real", "demo"))
    ratio = demo["noise"] / real["noise"]
    assert ratio.between(0.88, 1.12).all(), ratio
    for column in ("x1", "x2", "x3", "y1"):
        assert (demo[column] - real[column]).abs().max() < 0.03
    counts = sources.pivot(index="band", columns="fields_of", values="n23")
    assert (counts["demo"] / counts["real"]).between(0.6, 1.6).all(), counts


def test_missing_fields_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert images.main(["calibrate", "--fields", str(tmp_path)]) == 1
    assert "band g cannot be read" in capsys.readouterr().err
