"""The light of injected objects: where the survey lists them, in its images, in its apertures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincinv

from archipelago.injections.design import Truth
from archipelago.simulate.light import Components, galaxies, points, render
from archipelago.simulate.objects import half_light_radius_arcsec

Floats = NDArray[np.float64]
Images = NDArray[np.float32]

#: Window of the centroid that a survey lists (sigma), over the FWHM of its points (assumed).
_WINDOW = 0.65
_STEPS = 8
#: FWHM of a Gaussian, in its sigma.
_FWHM_SIGMA = 2.3548
#: Sersic index of lens galaxies, and rings of equal light that they are taken as.
_INDEX, _RINGS = 4.0, (np.arange(24) + 0.5) / 24
#: How well a survey knows a position (assumed) [px], and the width of a pixel's edge in apertures.
_JITTER_PX, _EDGE_PX = 0.1, 1.0
#: Least radius within which a catalogue without a beam of its own counts light [arcsec].
_LEAST_BEAM_ARCSEC = 2.0


@dataclass(frozen=True)
class Layout:
    """Where n objects and their parts lie, from the lens [arcsec], x and y of the images.

    Attributes
    ----------
    x_arcsec, y_arcsec : (n, 5) four images and the lens.
    listed_x_arcsec, listed_y_arcsec : (n,) where the survey lists the object.
    radius_arcsec, axis_ratio, angle_rad : (n,) of the lens.
    """

    x_arcsec: Floats
    y_arcsec: Floats
    listed_x_arcsec: Floats
    listed_y_arcsec: Floats
    radius_arcsec: Floats
    axis_ratio: Floats
    angle_rad: Floats


def lay_out(
    truth: Truth, near: Sequence[int], fwhm_arcsec: float, rng: np.random.Generator
) -> Layout:
    """Say where everything lies.

    A survey lists an object at the windowed centroid of its light, starting at the part with
    the brightest peak: images nearer than the seeing are one object, of wider ones it lists the
    brightest (as a detection that does not split them would; assumed).

    Parameters
    ----------
    truth : n objects.
    near : indices of the bands that the survey detects in.
    fwhm_arcsec : typical sharpness.
    rng : source of the shapes of lenses.
    """
    n = len(truth)
    zero = np.zeros((n, 1))
    x, y = np.hstack([truth.x_arcsec, zero]), np.hstack([truth.y_arcsec, zero])
    lensed = np.isfinite(truth.log_mass)
    radius = np.full(n, 0.05)
    if lensed.any():
        radius[lensed] = half_light_radius_arcsec(
            truth.log_mass[lensed],
            truth.table["lens_redshift"].to_numpy(dtype=float)[lensed],
            rng,
        )
    quasar = np.clip(truth.quasar_ujy[:, near], 0, None).sum(axis=1)
    lens = np.clip(truth.lens_ujy[:, near], 0, None).sum(axis=1)
    light = np.hstack([truth.share * quasar[:, None], lens[:, None]])
    spot = light.copy()
    spot[:, 4] *= _peak_over_points(radius, fwhm_arcsec)
    first = spot.argmax(axis=1)
    rows = np.arange(n)
    cx, cy = x[rows, first], y[rows, first]
    sigma2 = (_WINDOW * fwhm_arcsec) ** 2
    for _ in range(_STEPS):
        distance2 = (x - cx[:, None]) ** 2 + (y - cy[:, None]) ** 2
        weight = light * np.exp(-0.5 * distance2 / sigma2)
        total = np.maximum(weight.sum(axis=1), 1e-30)
        cx, cy = (weight * x).sum(axis=1) / total, (weight * y).sum(axis=1) / total
    return Layout(
        x,
        y,
        cx,
        cy,
        radius,
        np.clip(rng.normal(0.75, 0.15, n), 0.35, 1.0),
        truth.shear_angle_rad + np.pi / 2 + rng.normal(0, 0.2, n),
    )


def _peak_over_points(radius_arcsec: Floats, fwhm_arcsec: float) -> Floats:
    """Return how bright the peaks of lens galaxies are over those of points as bright, (n,).

    In images of Gaussian sharpness: the mean of that Gaussian over the galaxy's light, whose radii
    follow from the inverse of the incomplete gamma function (Ciotti & Bertin 1999, A&A 352, 447).
    """
    b = gammaincinv(2 * _INDEX, 0.5)
    ring = (gammaincinv(2 * _INDEX, _RINGS) / b) ** _INDEX * radius_arcsec[:, None]
    return np.asarray(np.exp(-0.5 * (ring * _FWHM_SIGMA / fwhm_arcsec) ** 2).mean(axis=1))


def light_of(
    truth: Truth,
    layout: Layout,
    columns: Sequence[int],
    counts_per_ujy: Floats,
    fwhm_px: Floats,
    scale_arcsec: float,
    size_px: int,
    rng: np.random.Generator,
) -> tuple[Images, Floats, Floats]:
    """Return the light of objects in cutouts about where they are listed, without noise.

    Parameters
    ----------
    truth, layout : n objects.
    columns : of the fluxes, per band of the images.
    counts_per_ujy : (band,) counts of 1 microjansky of an object's total light.
    fwhm_px : (n, band).
    scale_arcsec, size_px : of the cutouts.
    rng : source of the places within a pixel.

    Returns
    -------
    images : (n, band, size_px, size_px) counts.
    x_px, y_px : (n,) the listed position, from the middle of the cutout.
    """
    n = len(truth)
    x_px, y_px = rng.uniform(-0.5, 0.5, (2, n))
    jitter = rng.normal(0.0, _JITTER_PX, (2, n))
    x0 = x_px + jitter[0] - layout.listed_x_arcsec / scale_arcsec
    y0 = y_px + jitter[1] - layout.listed_y_arcsec / scale_arcsec
    quasar = truth.quasar_ujy[:, columns] * counts_per_ujy
    lens = truth.lens_ujy[:, columns] * counts_per_ujy
    parts: list[Components] = [
        points(
            layout.x_arcsec[:, k] / scale_arcsec + x0,
            layout.y_arcsec[:, k] / scale_arcsec + y0,
            quasar * truth.share[:, k : k + 1],
            fwhm_px,
        )
        for k in range(truth.share.shape[1])
        if k == 0 or (truth.share[:, k] > 0).any()
    ]
    if (lens > 0).any():
        parts.append(
            galaxies(
                layout.x_arcsec[:, 4] / scale_arcsec + x0,
                layout.y_arcsec[:, 4] / scale_arcsec + y0,
                lens,
                fwhm_px,
                r_eff_px=layout.radius_arcsec / scale_arcsec,
                axis_ratio=layout.axis_ratio,
                angle_rad=layout.angle_rad,
                index=_INDEX,
            )
        )
    return render(parts, size_px), x_px, y_px


def aperture_light(
    images: Images, x_px: Floats, y_px: Floats, diameter_arcsec: float, scale_arcsec: float
) -> Floats:
    """Return the light in circles, (n, band), over the sky of each image's outer frame.

    Parameters
    ----------
    images : (n, band, y, x) counts.
    x_px, y_px : (n,) centres, from the middle of the image.
    diameter_arcsec : of the circle; a pixel on its edge counts in part.
    scale_arcsec : side of a pixel.
    """
    n, n_bands, height, width = images.shape
    result = np.zeros((n, n_bands))
    radius = diameter_arcsec / 2 / scale_arcsec
    y = (np.arange(height) - (height - 1) / 2)[None, :, None]
    x = (np.arange(width) - (width - 1) / 2)[None, None, :]
    frame = max(2, min(height, width) // 7)
    edge = np.ones((height, width), dtype=bool)
    edge[frame:-frame, frame:-frame] = False
    for start in range(0, n, 512):
        rows = slice(start, start + 512)
        distance = np.hypot(x - x_px[rows, None, None], y - y_px[rows, None, None])
        weight = np.clip(0.5 + (radius - distance) / _EDGE_PX, 0.0, 1.0)
        chunk = images[rows]
        sky = np.median(chunk[:, :, edge], axis=2)
        total = np.einsum("nbyx,nyx->nb", chunk, weight.astype(np.float32))
        result[rows] = total - sky * weight.sum(axis=(1, 2))[:, None]
    return result


def centres(images: Images, sigma_px: float) -> tuple[Floats, Floats]:
    """Return windowed centroids of the objects in the middle of images, (n,) each [px].

    From all bands together, each over its noise; within a pixel of the middle.
    """
    n, _, height, width = images.shape
    y = np.arange(height) - (height - 1) / 2
    x = np.arange(width) - (width - 1) / 2
    cx, cy = np.zeros(n), np.zeros(n)
    if not n:
        return cx, cy
    sky = np.median(images, axis=(2, 3), keepdims=True)
    noise = 1.4826 * np.median(np.abs(images - sky), axis=(2, 3), keepdims=True)
    together = ((images - sky) / np.where(noise > 0, noise, 1.0)).sum(axis=1).clip(0.0)
    for _ in range(_STEPS):
        distance2 = (x[None, None, :] - cx[:, None, None]) ** 2
        distance2 = distance2 + (y[None, :, None] - cy[:, None, None]) ** 2
        window = np.exp(-0.5 * distance2 / sigma_px**2)
        weight = together * window
        total = np.maximum(weight.sum(axis=(1, 2)), 1e-9)
        cx = np.clip((weight * x[None, None, :]).sum(axis=(1, 2)) / total, -1, 1)
        cy = np.clip((weight * y[None, :, None]).sum(axis=(1, 2)) / total, -1, 1)
    return cx, cy


def point_aperture_shares(
    fwhm_px: Floats, diameter_arcsec: float, scale_arcsec: float, size_px: int
) -> Floats:
    """Return the share of a point's light in an aperture about it, (band,), for widths (band,)."""
    zero, one = np.zeros(1), np.ones((1, len(fwhm_px)))
    image = render([points(zero, zero, one, fwhm_px[None, :])], size_px)
    return aperture_light(image, zero, zero, diameter_arcsec, scale_arcsec)[0]


def beam_light(
    truth: Truth, layout: Layout, columns: Sequence[int], beams_arcsec: Sequence[float]
) -> tuple[Floats, Floats, Floats]:
    """Return what a catalogue without images sees at the listed position, per band.

    Parameters
    ----------
    truth, layout : n objects.
    columns : of the fluxes, m bands.
    beams_arcsec : (m,) radius within which all light counts, at least 2 arcsec.

    Returns
    -------
    flux_ujy, x_arcsec, y_arcsec : (n, m) the light, and its centre from the listed position.
    """
    dx = layout.x_arcsec - layout.listed_x_arcsec[:, None]
    dy = layout.y_arcsec - layout.listed_y_arcsec[:, None]
    distance = np.hypot(dx, dy)
    flux, centre_x, centre_y = [], [], []
    for column, beam in zip(columns, beams_arcsec, strict=True):
        light = np.hstack(
            [truth.share * truth.quasar_ujy[:, column, None], truth.lens_ujy[:, column, None]]
        )
        light = np.where(distance <= max(beam, _LEAST_BEAM_ARCSEC), np.clip(light, 0, None), 0.0)
        total = light.sum(axis=1)
        safe = np.maximum(total, 1e-30)
        flux.append(total)
        centre_x.append((light * dx).sum(axis=1) / safe)
        centre_y.append((light * dy).sum(axis=1) / safe)
    shape = (len(truth), len(flux))
    return (
        np.array(flux).T.reshape(shape),
        np.array(centre_x).T.reshape(shape),
        np.array(centre_y).T.reshape(shape),
    )
