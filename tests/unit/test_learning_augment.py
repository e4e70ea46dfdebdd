"""Views keep flux, colours and orientation, and depend on their generator alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from helpers.configuration import PAPER

from archipelago.base.errors import InputError
from archipelago.learning import augment
from archipelago.learning.settings import LearningSettings


def generator(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def blobs(
    n: int = 3, side: int = 28, x: float = 0.0, y: float = 0.0, sigma: float = 2.0
) -> torch.Tensor:
    """Gaussians (n, 5, side, side) at (x, y) from the centre, flux 1 to 5 per band."""
    axis = torch.arange(side, dtype=torch.float64) - (side - 1) / 2
    image = torch.exp(-0.5 * ((axis[None, :] - x) ** 2 + (axis[:, None] - y) ** 2) / sigma**2) / (
        2 * math.pi * sigma**2
    )
    flux = torch.arange(1.0, 6.0, dtype=torch.float64)
    return (flux[None, :, None, None] * image).expand(n, 5, side, side).clone()


def centroid(plane: torch.Tensor) -> tuple[float, float]:
    axis = torch.arange(plane.shape[-1], dtype=plane.dtype) - (plane.shape[-1] - 1) / 2
    total = plane.sum()
    return float((plane.sum(0) * axis).sum() / total), float((plane.sum(1) * axis).sum() / total)


def test_identity_affine_is_central_crop() -> None:
    images = torch.randn(4, 5, 28, 28, generator=generator())
    zero = torch.zeros(4)
    for crop in (24, 23, 28):
        view = augment.affine_view(images, zero, zero > 0, zero, zero, crop)
        torch.testing.assert_close(view, augment.central_crop(images, crop), rtol=0, atol=1e-5)


def test_quarter_turns_and_flips_are_exact() -> None:
    images = torch.randn(1, 5, 28, 28, generator=generator(), dtype=torch.float64)
    zero = torch.zeros(1, dtype=torch.float64)
    for quarter in range(4):
        for flipped in (False, True):
            view = augment.affine_view(
                images,
                zero + quarter * math.pi / 2,
                zero + 1 > 0 if flipped else zero > 0,
                zero,
                zero,
                28,
            )
            # From the columns to the rows is clockwise for rot90's eyes: dims (-1, -2).
            expected = torch.rot90(images.flip(-1) if flipped else images, quarter, dims=(-1, -2))
            torch.testing.assert_close(view, expected, rtol=0, atol=1e-10)


def test_shift_moves_by_parts_of_a_pixel_and_keeps_flux() -> None:
    images = blobs(1)
    zero = torch.zeros(1, dtype=torch.float64)
    view = augment.affine_view(images, zero, zero > 0, zero + 1.3, zero - 0.6, 28)
    assert centroid(view[0, 0]) == pytest.approx((1.3, -0.6), abs=1e-3)
    torch.testing.assert_close(view.sum(dim=(2, 3)), images.sum(dim=(2, 3)), rtol=1e-4, atol=0)


def test_rotation_goes_from_columns_to_rows_after_the_flip() -> None:
    images = blobs(1, x=4.0, y=1.0)
    angle = torch.full((1,), math.radians(30.0), dtype=torch.float64)
    zero = torch.zeros_like(angle)
    view = augment.affine_view(images, angle, zero == 0, zero, zero, 28)
    x, y = -4.0, 1.0
    c, s = math.cos(math.radians(30.0)), math.sin(math.radians(30.0))
    assert centroid(view[0, 2]) == pytest.approx((c * x - s * y, s * x + c * y), abs=0.02)
    torch.testing.assert_close(view.sum(dim=(2, 3)), images.sum(dim=(2, 3)), rtol=5e-3, atol=0)


@pytest.mark.parametrize("fwhm_px", [0.0, 0.5, 2.0, 4.0])
def test_blur_widens_in_quadrature_and_keeps_flux(fwhm_px: float) -> None:
    images = blobs(2, x=1.0)
    sigma = fwhm_px / 2.3548
    blurred = augment.blur(images, torch.full((2,), sigma, dtype=torch.float64))
    torch.testing.assert_close(blurred.sum(dim=(2, 3)), images.sum(dim=(2, 3)), rtol=1e-9, atol=0)
    axis = torch.arange(28, dtype=torch.float64) - 13.5
    plane = blurred[0, 0] / blurred[0, 0].sum()
    variance = float((plane.sum(0) * (axis - 1.0) ** 2).sum())
    if fwhm_px in (0.0, 2.0, 4.0):  # narrower than a pixel a sampled Gaussian is no Gaussian
        assert variance == pytest.approx(4.0 + sigma**2, rel=0.02)
    if fwhm_px == 0.0:
        torch.testing.assert_close(blurred, images)


def test_blur_is_the_images_own() -> None:
    sigma = torch.tensor([0.0, 3.0], dtype=torch.float64)
    blurred = augment.blur(blobs(2), sigma)
    assert blurred[1].max() < 0.5 * blurred[0].max()


def test_noise_keeps_its_level_and_colours_while_objects_fade() -> None:
    sky = torch.randn(64, 5, 24, 24, generator=generator(5))
    sigma = torch.full((64,), 1.5)
    shallower = augment.add_noise(sky + 100.0, sigma, generator(), noise_px=1.0)
    assert float(shallower.std()) == pytest.approx(1.0, abs=0.01)
    mean = shallower.mean(dim=(0, 2, 3))
    torch.testing.assert_close(
        mean, torch.full((5,), 100.0 / math.sqrt(1 + 1.5**2)), rtol=1e-3, atol=0
    )


def test_blur_of_an_oblong_image_is_each_axis_own() -> None:
    images = blobs(2, side=28)[..., 4:24, :]
    sigma = torch.full((2,), 1.5, dtype=torch.float64)
    turned = augment.blur(images.transpose(2, 3), sigma).transpose(2, 3)
    torch.testing.assert_close(augment.blur(images, sigma), turned, rtol=1e-12, atol=1e-15)


def test_noise_is_whole_where_images_have_none() -> None:
    removed = torch.zeros(32, 1, 24, 24, dtype=torch.bool)
    removed[:, :, :12] = True
    sigma = torch.full((32,), 0.5)
    noisy = augment.add_noise(
        torch.zeros(32, 5, 24, 24), sigma, generator(), noise_px=2.0, removed=removed
    )
    assert float(noisy[:, :, :12].std()) == pytest.approx(2.0, rel=0.02)
    assert float(noisy[:, :, 12:].std()) == pytest.approx(1.0 / math.sqrt(1.25), rel=0.02)


def test_sky_errors_are_constants_of_a_plane_and_bounded() -> None:
    images = blobs(200)
    added = augment.add_sky(images, 0.3, generator(), noise_px=2.0) - images
    offset = added.mean(dim=(2, 3))
    torch.testing.assert_close(added, offset[..., None, None].expand_as(added), rtol=0, atol=1e-9)
    assert float(offset.abs().max()) <= 0.6
    assert float(offset.std()) == pytest.approx(1.2 / math.sqrt(12.0), rel=0.05)
    between_bands = torch.corrcoef(offset.T) - torch.eye(5)
    assert float(between_bands.abs().max()) < 0.3


def test_neighbours_vanish_from_half_of_the_images_in_all_bands() -> None:
    images = torch.ones(2000, 5, 24, 24)
    zero = torch.zeros(2000)
    shown, removed = augment.without_neighbours(
        images, zero + 2.0, zero - 1.0, generator(), radius_min_px=10.0
    )
    assert torch.equal(shown == 0, removed.expand_as(shown))
    axis = torch.arange(24.0) - 11.5
    radius = torch.hypot(axis[None, :] - 2.0, axis[:, None] + 1.0)
    assert not removed[:, 0, radius <= 10.0].any()
    of_image = removed.flatten(1).any(dim=1)
    assert 0.45 < float(of_image.float().mean()) < 0.55
    # What is removed is all that is farther than some radius.
    least = torch.where(removed[:, 0], radius, math.inf).amin(dim=(1, 2))
    most = torch.where(removed[:, 0], 0.0, radius).amax(dim=(1, 2))
    assert (least > most).all()
    assert float(least.min()) < 10.5
    assert float(least[of_image].max()) > 15.5


def test_a_view_without_neighbours_keeps_the_object_and_the_noise() -> None:
    images = blobs(400, side=28, sigma=1.0).float() * 1000.0
    images[:, :, :4] += 50.0
    how = {"crop_px": 24, "shift_max_px": 2.0, "noise_max_sigma": 0.0, "blur_fwhm_max_px": 0.0}
    plain = augment.physics_view(images, generator(), noise_px=1.0, **how)
    alone = augment.physics_view(images, generator(), noise_px=1.0, mask_radius_min_px=8.0, **how)
    y, x = torch.meshgrid(torch.arange(24.0) - 11.5, torch.arange(24.0) - 11.5, indexing="ij")
    inside = torch.hypot(x, y) < 8.0 - 2.0 * math.sqrt(2.0)
    torch.testing.assert_close(alone[..., inside], plain[..., inside], rtol=1e-6, atol=1e-5)
    changed = (alone != plain).any(dim=1)  # where any band differs, all do
    assert torch.equal(changed, (alone != plain).all(dim=1))
    noise = alone.permute(0, 2, 3, 1)[changed]
    assert float(noise.std()) == pytest.approx(1.0, abs=0.02)
    assert float(noise.mean()) == pytest.approx(0.0, abs=0.02)


def test_neither_sky_nor_mask_draws_where_it_is_off() -> None:
    images = blobs(4).float()
    how = {"crop_px": 24, "shift_max_px": 2.0, "noise_max_sigma": 1.0, "blur_fwhm_max_px": 2.0}
    without = augment.physics_view(images, generator(), noise_px=1.0, **how)
    settings = LearningSettings(
        shift_max_px=2.0,
        blur_fwhm_max_arcsec=2.0,
        sky_offset_max_sigma=0.0,
        mask_radius_min_arcsec=0.0,
    )
    assert torch.equal(augment.make_augmentation(settings, 1.0)(images, generator()), without)


def test_paper_pixels_are_the_inputs_before_rotation() -> None:
    images = torch.arange(2 * 5 * 28 * 28, dtype=torch.float32).reshape(2, 5, 28, 28)
    view = augment.random_crop_shift_flip(images, generator(), crop_px=24, shift_max_px=2)
    assert view.shape == (2, 5, 24, 24)
    for one, source in zip(view, images, strict=True):
        # Every band the same place, so bands differ by a constant here.
        torch.testing.assert_close(one - one[:1], (source - source[:1])[:, :24, :24])
        values = one[0].flatten()
        assert len(values.unique()) == 24 * 24
        rows, columns = (values // 28) % 28, values % 28
        assert rows.max() - rows.min() == 23
        assert columns.max() - columns.min() == 23


def test_paper_crops_reach_all_places_and_both_parities() -> None:
    images = torch.arange(28.0 * 28).reshape(1, 1, 28, 28).expand(400, 5, 28, 28)
    view = augment.random_crop_shift_flip(images, generator(), crop_px=24, shift_max_px=0)
    corner = view[:, 0, [0, 0, -1, -1], [0, -1, 0, -1]]
    rows, columns = corner // 28, corner % 28
    assert set(rows.min(1).values.tolist()) == {0, 1, 2, 3, 4}
    assert set(columns.min(1).values.tolist()) == {0, 1, 2, 3, 4}
    assert 0.4 < float((rows[:, 0] < rows[:, 2]).float().mean()) < 0.6
    assert 0.4 < float((columns[:, 0] < columns[:, 1]).float().mean()) < 0.6


def test_random_rotation_keeps_what_lies_in_the_circle() -> None:
    images = blobs(8, side=24, x=3.0)
    view = augment.random_rotation(images, generator())
    torch.testing.assert_close(view.sum(dim=(2, 3)), images.sum(dim=(2, 3)), rtol=1e-2, atol=0)
    places = [centroid(plane[0]) for plane in view]
    np.testing.assert_allclose([math.hypot(*place) for place in places], 3.0, atol=0.05)
    assert np.ptp([math.atan2(y, x) for x, y in places]) > 1.0


@pytest.mark.parametrize("settings", [PAPER, LearningSettings()])
def test_views_follow_the_generator_alone(settings: LearningSettings) -> None:
    view = augment.make_augmentation(settings, 0.263)
    images = blobs(6).float()
    first = view(images, generator(3))
    torch.manual_seed(99)
    assert torch.equal(first, view(images, generator(3)))
    assert not torch.equal(first, view(images, generator(4)))
    assert first.shape == (6, 5, 24, 24)


LINEAR = LearningSettings(noise_max_sigma=0.0, sky_offset_max_sigma=0.0, mask_radius_min_arcsec=0.0)


@pytest.mark.parametrize("settings", [PAPER, LINEAR])
def test_views_keep_colours(settings: LearningSettings) -> None:
    view = augment.make_augmentation(settings, 0.263)(blobs(16), generator())
    flux = view.sum(dim=(2, 3))
    torch.testing.assert_close(
        flux / flux[:, :1],
        torch.arange(1.0, 6.0, dtype=torch.float64).expand(16, 5),
        rtol=1e-6,
        atol=0,
    )


def test_physics_noise_needs_a_known_noise() -> None:
    images = blobs(2)
    quiet = LearningSettings(normalisation="brightest_pixel", noise_max_sigma=5.0)
    view = augment.make_augmentation(quiet, 0.263)(images, generator())
    assert float(view.min()) >= 0.0


def test_upright_views_are_the_eight_of_a_square() -> None:
    images = torch.randn(2, 5, 6, 6, generator=generator())
    views = augment.upright_views(images, 8)
    assert len({view.numpy().tobytes() for view in views}) == 8
    assert augment.upright_views(images, 1)[0] is images


def test_crop_larger_than_the_image_is_refused() -> None:
    with pytest.raises(InputError, match="20 x 28 px are smaller than the crop of 24"):
        augment.central_crop(torch.zeros(1, 5, 20, 28), 24)
