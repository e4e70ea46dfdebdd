"""A search from the user's own images."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from archipelago.base.errors import ConfigError, DataError, InputError
from archipelago.own import fields as own_fields
from archipelago.own.fields import DetectedSources, DetectSettings, Fields, detect, read_fields

BANDS = ("g", "z")
SIGMA = {"g": 2.0, "z": 5.0}
STARS = [(40.0, 45.5, 3000.0), (60.3, 30.2, 1500.0), (5.0, 50.0, 3000.0)]  # x, y, counts in z


def sky(n_field: int = 2, size: int = 90, stars: list[tuple[float, ...]] = STARS) -> np.ndarray:
    """Noise and Gaussian stars, (n_band, n_field, ny, nx); field 1 has no star."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:size, :size]
    data = np.empty((2, n_field, size, size), dtype=np.float32)
    for k, band in enumerate(BANDS):
        data[k] = rng.normal(0, SIGMA[band], data[k].shape)
        for star_x, star_y, counts in stars:
            psf = np.exp(-((x - star_x) ** 2 + (y - star_y) ** 2) / (2 * 1.3**2))
            data[k, 0] += (counts if band == "z" else 0.3 * counts) * psf / psf.sum()
    return data


def run(data: np.ndarray, wcs: WCS | None = None, **change: Any) -> DetectedSources:
    arguments: dict[str, Any] = {
        "size_px": 28,
        "pixel_scale_arcsec": 0.263,
        "zero_point_ab": 30.0,
        "settings": DetectSettings(threshold_sigma=4.0),
    }
    return detect(Fields(data, BANDS, wcs), **(arguments | change))


def test_sources_are_found_measured_and_cut_out() -> None:
    data = sky()
    found = run(data)
    assert found.photometry["field"].tolist() == [0, 0]
    assert found.photometry["id"].tolist() == [0, 1]
    np.testing.assert_allclose(found.photometry["x_px"], [60.3, 40.0], atol=0.1)
    np.testing.assert_allclose(found.photometry["y_px"], [30.2, 45.5], atol=0.1)
    # Within 0.975 arcsec = 3.7 px a Gaussian of 1.3 px holds 1 - exp(-3.7^2 / (2 1.3^2)).
    radius_px = 0.975 / 0.263
    inside = 1 - np.exp(-(radius_px**2) / (2 * 1.3**2))
    in_aperture = inside * np.array([1500.0, 3000.0]) * 10 ** ((23.9 - 30.0) / 2.5)
    np.testing.assert_allclose(found.photometry["flux_ujy_z"], in_aperture, rtol=0.08)
    np.testing.assert_allclose(found.photometry["flux_ujy_g"], 0.3 * in_aperture, rtol=0.08)
    # Errors: the noise of as many uncorrelated pixels as the aperture has.
    for band in BANDS:
        expected = SIGMA[band] * np.sqrt(np.pi) * radius_px * 10 ** ((23.9 - 30.0) / 2.5)
        np.testing.assert_allclose(found.photometry[f"flux_err_ujy_{band}"], expected, rtol=0.3)
    assert found.losses["reason"].tolist() == ["edge"]
    assert found.losses["id"].tolist() == [2]
    assert found.cutflow["rows_out"].tolist() == [3, 2]
    assert found.photometry[["ra_deg", "dec_deg"]].isna().all(axis=None)
    assert set(found.photometry["tile"]) == {"fields"}
    # Centre 60.3, 30.2: the nearest middle of 28 pixels is 60.5, 30.5 or 29.5.
    np.testing.assert_array_equal(found.cutouts.images[0], data[:, 0, 17:45, 47:75])
    assert found.cutouts.bands == BANDS and found.cutouts.ids.tolist() == [0, 1]
    assert found.manifest["status"].tolist() == ["ok"] * 4
    assert set(found.manifest["url"]) == {""}
    assert found.manifest["sha256"].str.len().eq(64).all()
    assert len(found.image_losses) == 0


def test_same_images_same_tables() -> None:
    one, two = run(sky()), run(sky())
    pd.testing.assert_frame_equal(one.photometry, two.photometry)
    np.testing.assert_array_equal(one.cutouts.images, two.cutouts.images)


def test_second_field_has_its_own_ids() -> None:
    found = run(sky()[:, ::-1])
    assert found.photometry["id"].tolist() == [10000, 10001]
    assert found.photometry["field"].tolist() == [1, 1]


def test_cuts_limits_and_depths() -> None:
    depths = {"g": {"sigma": 10, "mag_ab": 24.7}, "z": {"sigma": 10, "mag_ab": 23.1}}
    cuts = [{"name": "z < 21.7", "kind": "mag_range", "band": "z", "max": 21.7}]
    data = sky()
    data[0, 0] = np.random.default_rng(5).normal(0, 2, data[0, 0].shape)  # nothing in g
    found = run(data, depths=depths, cuts=cuts)
    assert len(found.photometry) == 1
    assert found.losses["reason"].tolist() == ["edge", "z < 21.7"]
    assert found.photometry["mag_ab_g"].tolist() == [99.0]
    assert found.photometry["flux_err_ujy_g"].iloc[0] == pytest.approx(0.0478630)
    with pytest.raises(ConfigError, match="looks at band J, which is not measured"):
        run(data, cuts=[{"name": "J", "kind": "present", "band": "J"}])


def test_bad_pixels_lose_the_image_not_the_object() -> None:
    data = sky()
    data[1, 0, 50, 52] = np.nan
    found = run(data)
    assert len(found.photometry) == 2
    assert found.image_losses["id"].tolist() == [1]
    assert found.image_losses["detail"].tolist() == ["band z: 1 bad pixels"]
    assert found.cutouts.ids.tolist() == [0]
    lost = found.manifest[found.manifest["status"] == "lost"]
    assert lost[["id", "band", "reason"]].to_numpy().tolist() == [[1, "z", "bad pixels"]]


def test_bad_pixel_in_the_aperture_means_no_flux() -> None:
    data = sky()
    data[0, 0, 46, 42] = np.nan
    found = run(data)
    assert found.photometry["detected_g"].tolist() == [True, False]
    assert found.photometry["detected_z"].tolist() == [True, True]


def test_blank_band() -> None:
    data = sky()
    data[0] = 0.0
    with pytest.raises(DataError, match="band g have no noise to take a depth from"):
        run(data)
    found = run(data, depths={"g": {"sigma": 10, "mag_ab": 24.7}})
    assert found.photometry["detected_g"].tolist() == [False, False]
    assert found.image_losses["reason"].tolist() == ["blank image", "blank image"]
    assert found.cutouts.images.shape == (0, 2, 28, 28)


def test_no_source_at_all() -> None:
    found = run(sky(stars=[]), settings=DetectSettings(threshold_sigma=8.0))
    assert len(found.photometry) == len(found.manifest) == len(found.losses) == 0
    assert found.cutouts.images.shape == (0, 2, 28, 28)
    assert found.cutflow["rows_out"].tolist() == [0, 0]


def test_detection_in_one_band() -> None:
    data = sky()
    data[1] = np.random.default_rng(5).normal(0, 5, data[1].shape)  # nothing in z
    assert len(run(data, settings=DetectSettings(6.0, band="g")).photometry) == 2
    assert len(run(data, settings=DetectSettings(6.0, band="z")).photometry) == 0
    with pytest.raises(ConfigError, match="no images in band Y"):
        run(data, settings=DetectSettings(band="Y"))
    with pytest.raises(ConfigError, match="threshold_sigma is 0"):
        DetectSettings(threshold_sigma=0)


def test_too_many_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_fields, "_IDS_PER_FIELD", 2)
    with pytest.raises(DataError, match="3 sources, but a field has 2 identifiers.*field 0"):
        run(sky())


def write(path: Path, data: np.ndarray, header: fits.Header | None = None) -> Path:
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(data, header)]).writeto(path)
    return path


def test_positions_from_the_header(tmp_path: Path) -> None:
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval, wcs.wcs.crpix = [359.999, -50.0], [46.0, 46.0]
    wcs.wcs.cdelt = [-0.263 / 3600, 0.263 / 3600]
    data = sky(1)
    paths = [write(tmp_path / f"{b}.fits", data[k, 0], wcs.to_header()) for k, b in enumerate("gz")]
    fields = read_fields(paths, BANDS)
    assert fields.data.shape == (2, 1, 90, 90)
    found = run(fields.data, fields.wcs)
    first = found.photometry.iloc[0]  # 15.3 px west, 14.8 px south of the reference
    assert first["dec_deg"] == pytest.approx(-50.0 - 14.8 * 0.263 / 3600, abs=2e-5)
    offset = 15.3 * 0.263 / 3600 / np.cos(np.radians(50.0))
    assert first["ra_deg"] == pytest.approx(359.999 - offset, abs=3e-5)


def test_unreadable_images(tmp_path: Path) -> None:
    good = write(tmp_path / "g.fits", sky()[0])
    with pytest.raises(ConfigError, match="1 files for the bands g, z"):
        read_fields([good], BANDS)
    with pytest.raises(InputError, match=r"cannot read the image.*absent\.fits"):
        read_fields([good, tmp_path / "absent.fits"], BANDS)
    other = write(tmp_path / "z.fits", sky(size=80)[1])
    with pytest.raises(InputError, match=r"band z has the shape \(2, 80, 80\), band g \(2, 90"):
        read_fields([good, other], BANDS)
    empty = write(tmp_path / "nan.fits", np.full((90, 90), np.nan))
    with pytest.raises(InputError, match="band g has no valid pixel"):
        read_fields([empty], ["g"])
    line = write(tmp_path / "line.fits", np.zeros(5))
    with pytest.raises(InputError, match="no image of two or three axes"):
        read_fields([line], ["g"])
    (tmp_path / "text.fits").write_text("no FITS")
    with pytest.raises(InputError, match="cannot read the image"):
        read_fields([tmp_path / "text.fits"], ["g"])


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("share", [0.2, 0.7, 0.98])
def test_truncated_images(tmp_path: Path, packed: bool, share: float) -> None:
    whole = write(tmp_path / "g.fits", sky()[0]).read_bytes()
    whole = gzip.compress(whole) if packed else whole
    path = tmp_path / ("t.fits.gz" if packed else "t.fits")
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(InputError, match="cannot read the image"):
        read_fields([path], ["g"])


def test_real_fields(shared_data: Path) -> None:
    bands = "grizY"
    fields = read_fields([shared_data / "des_fields" / f"{b}.fits.gz" for b in bands], bands)
    assert fields.data.shape == (5, 46, 91, 91) and fields.wcs is None
    found = detect(fields, size_px=28, pixel_scale_arcsec=0.263, zero_point_ab=30.0)
    # The fields are centred on what the search found in DES: nearly each has its object there.
    middle = found.photometry[
        (np.hypot(found.photometry["x_px"] - 45, found.photometry["y_px"] - 45) < 4)
    ]
    assert middle["field"].nunique() >= 40
    # Limits of the search: z < 21, i - z > 1. Apertures of the same size.
    assert middle["mag_ab_z"].between(15, 21.2).mean() > 0.9
    assert len(found.cutouts) == len(found.photometry) > 80
    assert found.cutouts.images.shape[1:] == (5, 28, 28)
