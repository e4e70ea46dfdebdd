"""Scaling keeps colours, survives bad pixels, and measures noise apart from objects."""

from __future__ import annotations

import logging
import math

import numpy as np
import pytest
import torch
from helpers.configuration import PAPER

from archipelago.learning import scaling
from archipelago.learning.settings import LearningSettings

NOISE = np.array([3.0, 4.0, 7.0, 13.0, 39.0])


def sky(n: int = 50) -> np.ndarray:
    rng = np.random.default_rng(1)
    images = rng.normal(size=(n, 5, 28, 28)) * NOISE[None, :, None, None]
    images[:, :, 12:16, 12:16] += 2000.0
    return images.astype(np.float32)


def test_noise_is_that_of_the_frame() -> None:
    np.testing.assert_allclose(scaling.noise_per_band(sky()), NOISE, rtol=0.03)


def test_noise_of_nothing_is_one() -> None:
    assert scaling.noise_per_band(np.zeros((0, 5, 28, 28), np.float32)).tolist() == [1.0] * 5
    flat = sky(3)
    flat[:, 2] = 7.0
    assert scaling.noise_per_band(flat)[2] == 1.0


def test_asinh_is_linear_below_and_shares_one_factor() -> None:
    settings = LearningSettings(softening_sigma=1000.0, sky="none", aperture_arcsec=0.0)
    images = sky(4)
    done = scaling.measure_scaling(images, settings, 0.263)
    out = done.finish(done.prepare(torch.from_numpy(images))).numpy()
    expected = images / np.array(done.noise)[None, :, None, None]
    ratio = out[:, :, 13, 13] / expected[:, :, 13, 13]
    assert np.ptp(ratio, axis=1).max() < 0.1 * ratio.mean()
    assert out.max(axis=(1, 2, 3)).tolist() == pytest.approx([1.0] * 4)


def test_colour_survives_brightness() -> None:
    settings = LearningSettings(softening_sigma=1e4, sky="none", aperture_arcsec=0.0)
    faint = sky(1)
    faint[:, :, :12] = 0.0
    done = scaling.measure_scaling(sky(), settings, 0.263)
    one = done.finish(done.prepare(torch.from_numpy(faint)))
    two = done.finish(done.prepare(torch.from_numpy(2 * faint)))
    torch.testing.assert_close(one, two, rtol=1e-2, atol=1e-4)


def test_scale_of_a_set_keeps_brightness() -> None:
    settings = LearningSettings(scale="set")
    images = sky()
    done = scaling.measure_scaling(images, settings, 0.263)
    out = done.finish(done.prepare(torch.from_numpy(images)))
    assert float(out.square().mean()) == pytest.approx(1.0, rel=1e-3)


def test_noise_alone_is_not_blown_up() -> None:
    done = scaling.measure_scaling(sky(), LearningSettings(), 0.263)
    out = done.finish(torch.full((1, 5, 24, 24), 0.01))
    assert float(out.max()) < 0.01


def test_sky_is_subtracted_per_band() -> None:
    done = scaling.measure_scaling(sky(), LearningSettings(), 0.263)
    images = torch.from_numpy(sky(3))
    offset = torch.tensor([1.0, -2.0, 30.0, 4.0, 500.0])[None, :, None, None]
    torch.testing.assert_close(
        done.prepare(images + offset), done.prepare(images), rtol=0, atol=1e-3
    )


def test_aperture_fades_what_is_far() -> None:
    done = scaling.measure_scaling(sky(), LearningSettings(aperture_arcsec=2.104), 0.263)
    window = scaling._window(torch.zeros(24, 24), done.aperture_px)
    assert window[12, 12] == 1.0
    assert window[12, 19] == 1.0
    assert window[0, 0] < 0.01


def test_paper_divides_by_the_brightest_pixel_over_all_bands() -> None:
    images = sky(3)
    done = scaling.measure_scaling(images, PAPER, 0.263)
    out = done.finish(done.prepare(torch.from_numpy(images))).numpy()
    np.testing.assert_allclose(out, images / images.max(axis=(1, 2, 3), keepdims=True), rtol=1e-6)


def test_images_without_light_stay_finite() -> None:
    for settings in (PAPER, LearningSettings()):
        done = scaling.measure_scaling(sky(), settings, 0.263)
        out = done.finish(done.prepare(torch.full((2, 5, 28, 28), -1.0)))
        assert torch.isfinite(out).all()


def test_bad_pixels_and_planes(caplog: pytest.LogCaptureFixture) -> None:
    images = sky(4)
    images[0, 1, 3, 3] = np.nan
    images[0, 2] = np.inf
    images[1] = 5.0
    images[2] = np.nan
    before = images.copy()
    with caplog.at_level(logging.WARNING):
        cleaned, usable = scaling.clean_images(images)
    np.testing.assert_array_equal(images, before)
    assert usable.tolist() == [True, False, False, True]
    assert np.isfinite(cleaned).all()
    assert cleaned[0, 1, 3, 3] == pytest.approx(np.nanmedian(before[0, 1]), abs=1e-6)
    assert (cleaned[0, 2] == 0).all()
    assert "4705 pixels in 2 images are not finite" in caplog.text
    assert "11 planes are constant" in caplog.text
    assert "2 images have no other plane" in caplog.text


@pytest.mark.parametrize("side", [21, 28])
def test_the_frames_median_is_torchs(side: int) -> None:
    images = torch.from_numpy(sky(20)[..., :side].copy())
    frame = torch.from_numpy(scaling._frame(28, side))
    expected = images[:, :, frame].median(dim=-1).values
    assert torch.equal(scaling._frame_median(images)[:, :, 0, 0], expected)


def test_asinh_is_that_of_torch_for_any_size() -> None:
    size = torch.logspace(-12, 37, 5000)
    values = torch.cat([-size, torch.zeros(1), size.clamp_max(1e19)])
    expected = torch.asinh(values.double()).clamp_min(-math.asinh(1e19))
    found = scaling._asinh(values)
    torch.testing.assert_close(found.double(), expected, rtol=3e-7, atol=3e-7)
    assert torch.equal(found[:5000].flip(0).sort().values, found[:5000].flip(0))


def test_record_goes_there_and_back() -> None:
    done = scaling.measure_scaling(sky(), LearningSettings(), 0.263)
    assert scaling.Scaling.from_dict(done.to_dict()) == done
