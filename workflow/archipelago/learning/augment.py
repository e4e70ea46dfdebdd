"""Random views of images, for whole batches at once and on their device.

Every operation treats all bands alike, so that colours stay, and none of them
changes a colour, a size on the sky or removes a band. Each takes its randomness
from the generator it is given and from nothing else.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import torch
from torch.nn import functional

from archipelago.base.errors import InputError
from archipelago.learning.settings import LearningSettings

#: Full width at half maximum over standard deviation of a Gaussian.
_FWHM_TO_SIGMA = 2.0 * math.sqrt(2.0 * math.log(2.0))

#: Least length of the noise that is drawn once, where drawing is slow: 32 MB in single precision.
_NOISE_STOCK = 2**23
#: Images whose views are made at once, so that they stay in a processor's cache.
_CHUNK = 64

#: Makes one random view (n, band, crop, crop) of images (n, band, y, x).
Augmentation = Callable[[torch.Tensor, torch.Generator], torch.Tensor]


def make_augmentation(settings: LearningSettings, pixel_scale_arcsec: float) -> Augmentation:
    """Return the random view that the settings ask for.

    Blur and mask are given on the sky, so the pixel scale [arcsec] counts.
    """
    if settings.augmentation == "paper":
        return lambda images, generator: paper_view(
            images, generator, crop_px=settings.crop_px, shift_max_px=round(settings.shift_max_px)
        )
    return lambda images, generator: physics_view(
        images,
        generator,
        crop_px=settings.crop_px,
        shift_max_px=settings.shift_max_px,
        noise_max_sigma=settings.noise_max_sigma,
        sky_offset_max_sigma=settings.sky_offset_max_sigma,
        blur_fwhm_max_px=settings.blur_fwhm_max_arcsec / pixel_scale_arcsec,
        mask_radius_min_px=settings.mask_radius_min_arcsec / pixel_scale_arcsec,
        noise_px=noise_per_pixel(settings),
    )


def noise_per_pixel(settings: LearningSettings) -> float | None:
    """Return the noise of prepared images, or None where it differs between them.

    `asinh_noise` prepares images in units of their noise; the paper's brightest
    pixel knows nothing of noise, so none can be added to a given depth.
    """
    return 1.0 if settings.normalisation == "asinh_noise" else None


def central_crop(images: torch.Tensor, crop_px: int) -> torch.Tensor:
    """Return the central ``crop_px`` x ``crop_px`` of images (n, band, y, x).

    Raises
    ------
    InputError
        If the images are smaller than that.
    """
    height, width = images.shape[-2:]
    check_size(height, width, crop_px)
    top, left = (height - crop_px) // 2, (width - crop_px) // 2
    return images[..., top : top + crop_px, left : left + crop_px]


def check_size(height_px: int, width_px: int, crop_px: int) -> None:
    """Raise `InputError` where images are smaller than the crop."""
    if min(height_px, width_px) < crop_px:
        raise InputError(
            f"images of {height_px} x {width_px} px are smaller than the crop of {crop_px} px",
            next_step="set images.size_px larger or learning.crop_px smaller",
        )


def _uniform(
    n: int, low: float, high: float, generator: torch.Generator, like: torch.Tensor
) -> torch.Tensor:
    drawn = torch.rand(n, generator=generator, device=like.device, dtype=like.dtype)
    return low + (high - low) * drawn


def _coin(n: int, generator: torch.Generator, like: torch.Tensor) -> torch.Tensor:
    return torch.rand(n, generator=generator, device=like.device) < 0.5


def random_crop_shift_flip(
    images: torch.Tensor, generator: torch.Generator, *, crop_px: int, shift_max_px: int
) -> torch.Tensor:
    """Crop at a random place, flip, and shift by whole pixels that wrap round; exact.

    Parameters
    ----------
    images : (n, band, y, x).
    generator : on the images' device.
    crop_px : side of the crop.
    shift_max_px : largest shift per axis; what leaves on one side enters on the other.

    Returns
    -------
    torch.Tensor
        (n, band, crop_px, crop_px); each pixel is one of the input.
    """
    n, _, height, width = images.shape
    check_size(height, width, crop_px)
    device = images.device
    base = torch.arange(crop_px, device=device)
    indices = []
    for side in (height, width):
        start = torch.randint(0, side - crop_px + 1, (n,), generator=generator, device=device)
        shift = torch.randint(
            -shift_max_px, shift_max_px + 1, (n,), generator=generator, device=device
        )
        flip = _coin(n, generator, images)
        inside = (base[None, :] - shift[:, None]) % crop_px
        inside = torch.where(flip[:, None], crop_px - 1 - inside, inside)
        indices.append(start[:, None] + inside)
    rows, columns = indices
    batch = torch.arange(n, device=device)
    # The bands' axis is last in the indexed result and is put back to its place.
    picked = images.permute(0, 2, 3, 1)[batch[:, None, None], rows[:, :, None], columns[:, None, :]]
    return picked.permute(0, 3, 1, 2)


def affine_view(
    images: torch.Tensor,
    angle_rad: torch.Tensor,
    flip: torch.Tensor,
    shift_x_px: torch.Tensor,
    shift_y_px: torch.Tensor,
    crop_px: int,
) -> torch.Tensor:
    """Rotate, flip, shift and crop in one bilinear interpolation.

    The content is flipped in x where ``flip``, rotated about the centre by
    ``angle_rad`` (from +x, the columns, to +y, the rows), then moved by the shift.
    What comes from outside the images is 0, the sky. No scale changes.

    Parameters
    ----------
    images : (n, band, y, x).
    angle_rad, flip, shift_x_px, shift_y_px : (n,).
    crop_px : side of the central part that is returned.
    """
    n, _, height, width = images.shape
    check_size(height, width, crop_px)
    # From the output's pixels to the input's, both from the centre:
    # input = F R^-1 (output - shift), with F the flip in x. Where height - crop_px is odd,
    # `central_crop` lies half a pixel up and left.
    moved_x = shift_x_px + 0.5 * ((width - crop_px) % 2)
    moved_y = shift_y_px + 0.5 * ((height - crop_px) % 2)
    cosine, sine = torch.cos(angle_rad), torch.sin(angle_rad)
    sign = torch.where(flip, -1.0, 1.0).to(images.dtype)
    to_x = sign * torch.stack((cosine, sine, -cosine * moved_x - sine * moved_y))
    to_y = torch.stack((-sine, cosine, sine * moved_x - cosine * moved_y))
    # With align_corners=False the pixel centre at distance d from the middle is 2 d / side.
    to_input = torch.stack((to_x * (2.0 / width), to_y * (2.0 / height)), dim=-1)
    axis = torch.arange(crop_px, device=images.device, dtype=images.dtype) - (crop_px - 1) / 2
    output = torch.stack((axis.repeat(crop_px), axis.repeat_interleave(crop_px)), dim=0)
    output = torch.cat((output, torch.ones_like(output[:1])))
    # One matrix product for all images: (2 n, 3) by (3, pixels).
    grid = to_input.permute(1, 2, 0).reshape(2 * n, 3) @ output
    grid = grid.view(n, 2, crop_px, crop_px).permute(0, 2, 3, 1)
    return functional.grid_sample(
        images, grid, mode="bilinear", padding_mode="zeros", align_corners=False
    )


def random_rotation(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Rotate images (n, band, y, x) by any angles, one each; corners become 0."""
    n = len(images)
    angle = _uniform(n, 0.0, 2.0 * math.pi, generator, images)
    zero = torch.zeros_like(angle)
    return affine_view(images, angle, zero > 0, zero, zero, images.shape[-1])


def paper_view(
    images: torch.Tensor, generator: torch.Generator, *, crop_px: int, shift_max_px: int
) -> torch.Tensor:
    """Return the published random view (arXiv:2403.17903, Table B2) of images (n, band, y, x).

    In its order: random crop, flips, shift of whole pixels with wrap, rotation by any angle.
    """
    cropped = random_crop_shift_flip(images, generator, crop_px=crop_px, shift_max_px=shift_max_px)
    return random_rotation(cropped, generator)


def blur(images: torch.Tensor, sigma_px: torch.Tensor) -> torch.Tensor:
    """Convolve each image, all bands alike, with a round Gaussian.

    Done as two matrix products per plane, exact for any width. What would leave
    the image is kept inside, so that the flux of a plane is conserved.

    Parameters
    ----------
    images : (n, band, y, x).
    sigma_px : (n,) standard deviations; 0 leaves an image as it is.
    """
    along_x = _blur_weights(images.shape[-1], sigma_px)
    along_y = _blur_weights(images.shape[-2], sigma_px)
    # All bands of an image in one product over x.
    rows = images.flatten(1, 2).bmm(along_x.transpose(1, 2)).view(images.shape)
    return along_y[:, None] @ rows


def _blur_weights(side: int, sigma_px: torch.Tensor) -> torch.Tensor:
    """Return what each pixel (second) gives to each (first) along an axis, (n, side, side)."""
    distance = torch.arange(side, device=sigma_px.device)
    # A width of 0 gives exp(-huge) = 0 beside the diagonal's exp(0) = 1.
    at = -0.5 * (distance / sigma_px.clamp_min(1e-3)[:, None]).square()
    weight = torch.exp(at)[:, (distance[:, None] - distance[None, :]).abs()]
    # Columns sum to 1: the light of each input pixel is shared out completely.
    return weight / weight.sum(dim=1, keepdim=True)


def add_noise(
    images: torch.Tensor,
    sigma: torch.Tensor,
    generator: torch.Generator,
    *,
    noise_px: float,
    removed: torch.Tensor | None = None,
) -> torch.Tensor:
    """Show the images as a shallower exposure would, at the same noise.

    White noise of ``sigma`` x the image's own is added, the same factor in every
    band, and all is divided by sqrt(1 + sigma^2): the noise is then what it was,
    the object fainter, its colours unchanged.

    Parameters
    ----------
    images : (n, band, y, x) in units where each band's noise is ``noise_px``.
    sigma : (n,) added noise over own noise.
    removed : (n, 1, y, x) bool, where the images have no noise of their own: there it is
        added too.
    """
    factor = sigma[:, None, None, None]
    total = torch.sqrt(1.0 + factor.square())
    added = factor if removed is None else torch.where(removed, total, factor)
    noise = white_noise(images, generator)
    return noise.mul_(noise_px * added).add_(images).div_(total)


def white_noise(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Return Gaussian noise of unit variance, of the images' shape, type and device.

    Processors draw such numbers one by one, slower than they convolve. There an image gets a
    stretch of numbers drawn once, from a random place and with a random sign: two images in a
    thousand share part of theirs with another given one.
    """
    if images.device.type != "cpu":
        return torch.randn(
            images.shape, generator=generator, device=images.device, dtype=images.dtype
        )
    n, size = len(images), images[0].numel() if len(images) else 0
    stock = _noise_stock(max(_NOISE_STOCK, 16 * size), images.dtype)
    start = torch.randint(0, 2 * (len(stock) - size), (n,), generator=generator)
    noise = stock.unfold(0, size, 1)[start // 2] if size else images.new_empty(0, size)
    sign = (1 - 2 * (start % 2)).to(images.dtype)
    return noise.mul_(sign[:, None]).view(images.shape)


@functools.cache
def _noise_stock(length: int, dtype: torch.dtype) -> torch.Tensor:
    """Return the numbers that `white_noise` takes stretches of, (length,), always the same."""
    return torch.randn(length, generator=torch.Generator().manual_seed(1), dtype=dtype)


def add_sky(
    images: torch.Tensor, offset_max_sigma: float, generator: torch.Generator, *, noise_px: float
) -> torch.Tensor:
    """Add a constant of its own to each plane, as a sky that was subtracted a little wrong.

    What stands out from the sky, and so its colours, is unchanged.

    Parameters
    ----------
    images : (n, band, y, x) in units where each band's noise is ``noise_px``.
    offset_max_sigma : largest constant, of either sign, over the noise of a pixel.
    """
    n, bands = images.shape[:2]
    most = offset_max_sigma * noise_px
    offset = _uniform(n * bands, -most, most, generator, images)
    return images + offset.view(n, bands, 1, 1)


def without_neighbours(
    images: torch.Tensor,
    shift_x_px: torch.Tensor,
    shift_y_px: torch.Tensor,
    generator: torch.Generator,
    *,
    radius_min_px: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Remove what is far from the object in half of the images, the same in all bands.

    Parameters
    ----------
    images : (n, band, y, x), square.
    shift_x_px, shift_y_px : (n,) place of the object, from the centre.
    radius_min_px : the radius that is kept is drawn between this and that of the corners.

    Returns
    -------
    images : 0, the sky, where something was removed.
    removed : (n, 1, y, x) bool.
    """
    n, side = len(images), images.shape[-1]
    chosen = _coin(n, generator, images)
    corner = max(side / math.sqrt(2.0), radius_min_px)
    radius = _uniform(n, radius_min_px, corner, generator, images)
    radius2 = torch.where(chosen, radius.square(), math.inf)
    axis = torch.arange(side, device=images.device, dtype=images.dtype) - (side - 1) / 2
    x2 = (axis[None, :] - shift_x_px[:, None]).square()
    y2 = (axis[None, :] - shift_y_px[:, None]).square()
    removed = (x2[:, None, :] + y2[:, :, None] > radius2[:, None, None])[:, None]
    return images * ~removed, removed


def physics_view(
    images: torch.Tensor,
    generator: torch.Generator,
    *,
    crop_px: int,
    shift_max_px: float,
    noise_max_sigma: float,
    blur_fwhm_max_px: float,
    noise_px: float | None,
    sky_offset_max_sigma: float = 0.0,
    mask_radius_min_px: float = 0.0,
) -> torch.Tensor:
    """Return a view that the same object could have given on another night.

    Any orientation and parity, a position off by up to ``shift_max_px`` (parts of a
    pixel too), worse seeing, less depth, a sky subtracted a little wrong in each band;
    and, in half of the views, without its neighbours, of which it is independent.

    Parameters
    ----------
    images : (n, band, y, x), linear in flux.
    generator : on the images' device.
    crop_px : side of the result.
    shift_max_px : largest shift per axis [px].
    noise_max_sigma : largest added noise, in units of each band's own.
    blur_fwhm_max_px : largest width of the added blur [px].
    noise_px : noise of ``images`` per pixel, or None where it is not known: no noise and
        no sky is added then, and no neighbour removed, as both are told in its units.
    sky_offset_max_sigma : largest error of the sky, over the noise per pixel.
    mask_radius_min_px : least distance from the object at which neighbours are replaced
        by noise [px]; 0: they never are.
    """
    n = len(images)
    angle = _uniform(n, 0.0, 2.0 * math.pi, generator, images)
    flip = _coin(n, generator, images)
    shift_x = _uniform(n, -shift_max_px, shift_max_px, generator, images)
    shift_y = _uniform(n, -shift_max_px, shift_max_px, generator, images)
    fwhm_px = _uniform(n, 0.0, blur_fwhm_max_px, generator, images)
    sigma = _uniform(n, 0.0, noise_max_sigma, generator, images)
    chunk = _CHUNK if images.device.type == "cpu" else max(n, 1)
    views = images.new_empty(n, images.shape[1], crop_px, crop_px)
    for some in torch.arange(n).split(chunk):
        part = slice(int(some[0]), int(some[-1]) + 1)
        moved = shift_x[part], shift_y[part]
        view = affine_view(images[part], angle[part], flip[part], *moved, crop_px)
        if blur_fwhm_max_px > 0:
            view = blur(view, fwhm_px[part] / _FWHM_TO_SIGMA)
        removed = None
        if noise_px is not None and mask_radius_min_px > 0:
            view, removed = without_neighbours(
                view, *moved, generator, radius_min_px=mask_radius_min_px
            )
        if noise_px is not None and (noise_max_sigma > 0 or removed is not None):
            view = add_noise(view, sigma[part], generator, noise_px=noise_px, removed=removed)
        if noise_px is not None and sky_offset_max_sigma > 0:
            view = add_sky(view, sky_offset_max_sigma, generator, noise_px=noise_px)
        views[part] = view
    return views


def upright_views(images: torch.Tensor, n_views: int) -> list[torch.Tensor]:
    """Return the images, or all their 8 orientations by quarter turns and flips; exact.

    Parameters
    ----------
    images : (n, band, y, x), square.
    n_views : 1 or 8.
    """
    if n_views == 1:
        return [images]
    return [
        torch.rot90(source, turns, dims=(-2, -1))
        for source in (images, images.flip(-1))
        for turns in range(4)
    ]
