"""Single measures of shape, each about the best point source of an object."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from archipelago.lensing.fits import Fit, quasar_images, start
from archipelago.lensing.pixels import Pixels
from archipelago.lensing.psf import PointSpread

Floats = NDArray[np.float64]

#: A centre counts where its error is below this [px].
_CENTRE_KNOWN_PX = 1.0
#: Error of a centre that neither noise nor fit tell [px]: astrometry between bands (assumed).
_CENTRE_FLOOR_PX = 0.05
#: Scale of the disc that extendedness is measured with, as a part of the FWHM.
_DISC_FWHM = 1.0 / 16.0
#: Gaussians of an exponential disc: variances [scale^2] and shares, whose mean variance is 3.
_DISC_VARIANCE, _DISC_SHARE = (0.6, 3.0, 7.5), (0.25, 0.5, 0.25)
#: Radius in which residuals are measured [FWHM].
_RESIDUAL_FWHM = 1.6


@dataclass(frozen=True)
class Centres:
    """Centre of light in each band [px], and its error; infinite where there is no light.

    All (n, band); from the place of the best point of all bands.
    """

    x_px: Floats
    y_px: Floats
    error_px: Floats


def centres(pixels: Pixels, psf: PointSpread, point: Fit) -> Centres:
    """Return the centre of light in each band, by a point whose place is free in it.

    One step of Gauss and Newton from the common place: light, and light times displacement, are
    solved for together, weighted by the pixels' errors. Error: that of the solution, with 0.05 px
    in quadrature.
    """
    unit, _, moved = quasar_images(pixels, psf, point.shape)
    stack = np.stack([unit, *moved], axis=2) * pixels.root_weight[:, :, None]
    flat = stack.reshape(*stack.shape[:3], -1)
    gram = (flat @ flat.swapaxes(2, 3)).astype(float)
    data = (pixels.light * pixels.root_weight).reshape(*flat.shape[:2], -1, 1)
    seen = (flat @ data).astype(float)
    usable = gram[:, :, 0, 0] > 0
    # A little more on the diagonal: a few pixels that count leave places undetermined.
    ridge = 1e-6 * np.einsum("nbkk->nbk", gram)[..., None] * np.eye(3)
    safe = np.where(usable[..., None, None], gram + ridge, np.eye(3)) + 1e-12 * np.eye(3)
    inverse = np.linalg.inv(safe)
    light, x, y = np.moveaxis((inverse @ seen)[..., 0], -1, 0)
    spread = np.sqrt((inverse[..., 1, 1] + inverse[..., 2, 2]) / 2)
    bright = usable & (light > 2 * np.sqrt(inverse[..., 0, 0]))
    light = np.where(bright, light, 1.0)
    error = np.where(bright, np.hypot(spread / light, _CENTRE_FLOOR_PX), np.inf)
    return Centres(
        np.where(bright, np.clip(x / light, -6.0, 6.0), 0.0),
        np.where(bright, np.clip(y / light, -6.0, 6.0), 0.0),
        error,
    )


def centroid_shift(found: Centres) -> tuple[Floats, Floats]:
    """Return how far the light's centre moves from the blue to the red [px], and its error, (n,).

    Of each way to split the bands (in their order) into bluer and redder ones, the distance between
    the weighted mean centres of both; that of the most significant one. NaN where fewer than two
    bands have a centre. A lens galaxy has its light in the blue, a quasar at high redshift in
    the red.
    """
    known = found.error_px < _CENTRE_KNOWN_PX
    weight = np.where(known, 1 / found.error_px**2, 0.0)
    n, n_bands = weight.shape
    shift, error = np.full(n, np.nan), np.full(n, np.nan)
    best = np.full(n, -np.inf)
    for split in range(1, n_bands):
        blue, red = weight[:, :split], weight[:, split:]
        both = (blue.sum(axis=1) > 0) & (red.sum(axis=1) > 0)
        total = [np.where(both, part.sum(axis=1), 1.0) for part in (blue, red)]
        dx = (blue * found.x_px[:, :split]).sum(axis=1) / total[0]
        dx -= (red * found.x_px[:, split:]).sum(axis=1) / total[1]
        dy = (blue * found.y_px[:, :split]).sum(axis=1) / total[0]
        dy -= (red * found.y_px[:, split:]).sum(axis=1) / total[1]
        distance, its_error = np.hypot(dx, dy), np.sqrt(1 / total[0] + 1 / total[1])
        chosen = both & (distance / its_error > best)
        best = np.where(chosen, distance / its_error, best)
        shift = np.where(chosen, distance, shift)
        error = np.where(chosen, its_error, error)
    return shift, error


def extendedness(pixels: Pixels, psf: PointSpread, point: Fit) -> tuple[Floats, Floats]:
    """Return how much wider than a point the light of each band is, and its error, (n, band).

    Spread-model of Desai et al. (2012, ApJ 757, 83): with phi the point spread function at the
    object's place and G the same blurred by a disc of a scale of FWHM / 16,
    (G p / phi p) - (G phi / phi phi), products being sums over the pixels p. 0 for a point, no
    unit. The disc is a sum of three Gaussians here. NaN where there is no light.
    """
    n, n_bands = pixels.light.shape[:2]
    fwhm = psf.fwhm_px[:, None]
    variance = psf.sigma_px[:, :, None] ** 2 + (_DISC_FWHM * fwhm[..., None]) ** 2 * np.array(
        _DISC_VARIANCE
    )
    weight = psf.weight[:, :, None] * np.array(_DISC_SHARE)
    wide = PointSpread(np.sqrt(variance).reshape(n_bands, -1), weight.reshape(n_bands, -1))
    shape = start(pixels, point.shape.x_px, point.shape.y_px, point.shape.share)
    phi, _, _ = quasar_images(pixels, psf, shape)
    disc, _, _ = quasar_images(pixels, wide, shape)
    good = (pixels.root_weight > 0).astype(np.float32)
    phi, disc = phi * good, disc * good

    def product(a: NDArray[np.float32], b: NDArray[np.float32]) -> Floats:
        return np.asarray((a * b).sum(axis=(2, 3), dtype=float))

    light, spread = product(phi, pixels.light), product(disc, pixels.light)
    own = np.where(product(phi, phi) > 0, product(phi, phi), 1.0)
    ratio = product(disc, phi) / own
    error_of_light = pixels.sky_noise * np.sqrt(own)
    seen = light > 3 * error_of_light
    safe = np.where(seen & (light > 0), light, 1.0)
    left = disc - ratio[..., None, None].astype(np.float32) * phi
    noise = pixels.sky_noise * np.sqrt(product(left, left))
    usable = seen & (pixels.sky_noise > 0)
    return (
        np.where(usable, spread / safe - ratio, np.nan),
        np.where(usable, noise / safe, np.nan),
    )


def psf_residual(pixels: Pixels, psf: PointSpread, point: Fit) -> tuple[Floats, Floats]:
    """Return what the best point leaves in each band, (n, band) each.

    Returns
    -------
    excess : chi2 within 1.6 FWHM over its expectation, minus 1.
    share : root of the square sum of the light left, the noise's taken off, over that of the
        point's light. NaN where the point has no light.
    """
    unit, _, _ = quasar_images(pixels, psf, point.shape)
    flux = point.flux[:, :, 0]
    model = flux[..., None, None].astype(np.float32) * unit
    left = pixels.light - model
    dx = pixels.x_px[None, None, :] - point.shape.x_px[:, :1, None]
    dy = pixels.y_px[None, :, None] - point.shape.y_px[:, :1, None]
    near = np.hypot(dx, dy)[:, None] < (_RESIDUAL_FWHM * psf.fwhm_px)[None, :, None, None]
    counted = near & (pixels.root_weight > 0)
    n_counted = counted.sum(axis=(2, 3))
    chi2 = np.where(counted, (left * pixels.root_weight) ** 2, 0.0).sum(axis=(2, 3), dtype=float)
    excess = np.where(n_counted > 4, chi2 / np.maximum(n_counted - 2, 1) - 1, np.nan)
    rest = np.where(counted, left**2, 0.0).sum(axis=(2, 3), dtype=float)
    rest = np.clip(rest - n_counted * pixels.sky_noise**2, 0.0, None)
    whole = np.where(counted, model**2, 0.0).sum(axis=(2, 3), dtype=float)
    lit = whole > 9 * pixels.sky_noise**2
    share = np.where(lit & (n_counted > 4), np.sqrt(rest / np.where(lit, whole, 1.0)), np.nan)
    return excess, share
