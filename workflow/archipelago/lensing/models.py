"""The models that are compared: points, a galaxy, and both; how many points are seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from archipelago.lensing.fits import Fit, Shape, better_of, fit, quasar_images, start
from archipelago.lensing.pixels import Pixels
from archipelago.lensing.psf import PointSpread

Floats = NDArray[np.float64]

#: Half-light radius that galaxies are fitted from [px].
_FIRST_WIDTH_PX = 1.5
#: Window (sigma) that the first centre is sought in [px], and its largest departure.
_WINDOW_PX, _CENTRE_MAX_PX = 2.5, 3.0
#: Distance of the second point from the first that fits are begun with [px].
_FIRST_DISTANCE_PX = 2.0
#: Distance from the first centre within which a second source is sought [px], least and most.
_SOUGHT_PX = (1.5, 7.0)


@dataclass(frozen=True)
class Models:
    """The best fits of each model, of n objects: m points, with or without a galaxy."""

    point: Fit
    galaxy: Fit
    point_galaxy: Fit
    points: Fit
    points_galaxy: Fit

    @property
    def bic(self) -> Floats:
        """Return the BIC of the five, (n, 5), in the order of the attributes."""
        return np.stack(
            [
                self.point.bic,
                self.galaxy.bic,
                self.point_galaxy.bic,
                self.points.bic,
                self.points_galaxy.bic,
            ],
            axis=1,
        )

    @property
    def delta_bic(self) -> Floats:
        """Return by how much points and a galaxy are better than one point or one galaxy, (n,).

        The lower BIC of one point and of one galaxy, minus that of two points and a galaxy.
        """
        bic = self.bic
        return np.asarray(bic[:, :2].min(axis=1) - bic[:, 4])

    @property
    def n_images(self) -> NDArray[np.int64]:
        """Return the number of points in the model of least BIC, (n,): 0 to 2."""
        return np.array([1, 0, 1, 2, 2])[self.bic.argmin(axis=1)]

    @property
    def separation_px(self) -> Floats:
        """Return the distance of the two points that fit best, with a galaxy or without, (n,)."""
        bic = self.bic
        apart = [
            np.hypot(shape.x_px[:, 0] - shape.x_px[:, 1], shape.y_px[:, 0] - shape.y_px[:, 1])
            for shape in (self.points.shape, self.points_galaxy.shape)
        ]
        return np.where(bic[:, 4] < bic[:, 3], apart[1], apart[0])


def fit_models(pixels: Pixels, psf: PointSpread) -> Models:
    """Return the best fit of each model to each object."""
    n = len(pixels)
    x0, y0 = first_centre(pixels)
    one = np.ones((n, 1))
    point = fit(pixels, psf, start(pixels, x0[:, None], y0[:, None], one))
    x, y = point.shape.x_px, point.shape.y_px
    galaxy = fit(pixels, psf, _galaxy_alone(pixels, x[:, 0], y[:, 0]))
    angle, peak_x, peak_y = _second(pixels, point, psf)
    points = better_of(
        [_along(pixels, psf, point, angle), _from_peak(pixels, psf, point, peak_x, peak_y)]
    )
    # Begun a little off the point, as derivatives vanish where both lie on each other.
    beside = _first_galaxy(0.8 * x[:, 0] + 0.2 * peak_x + 0.3, 0.8 * y[:, 0] + 0.2 * peak_y)
    point_galaxy = fit(pixels, psf, start(pixels, x, y, one, beside))
    points_galaxy = better_of([_between(pixels, psf, points), _mirrored(pixels, psf, point_galaxy)])
    return Models(point, galaxy, point_galaxy, points, points_galaxy)


def first_centre(pixels: Pixels) -> tuple[Floats, Floats]:
    """Return the windowed centre of the light of all bands [px], (n,) each."""
    noise = np.where(pixels.sky_noise > 0, pixels.sky_noise, np.inf)[:, :, None, None]
    together = np.clip((pixels.light / noise).sum(axis=1), 0.0, None)
    x0, y0 = np.zeros(len(pixels)), np.zeros(len(pixels))
    for _ in range(5):
        dx = pixels.x_px[None, None, :] - x0[:, None, None]
        dy = pixels.y_px[None, :, None] - y0[:, None, None]
        weight = together * np.exp(-0.5 * (dx**2 + dy**2) / _WINDOW_PX**2)
        total = weight.sum(axis=(1, 2)) + 1e-6
        x0 = np.clip(
            x0 + 2 * (weight * dx).sum(axis=(1, 2)) / total, -_CENTRE_MAX_PX, _CENTRE_MAX_PX
        )
        y0 = np.clip(
            y0 + 2 * (weight * dy).sum(axis=(1, 2)) / total, -_CENTRE_MAX_PX, _CENTRE_MAX_PX
        )
    return x0, y0


def residual(pixels: Pixels, psf: PointSpread, found: Fit) -> NDArray[np.float32]:
    """Return the light that a fit of points leaves, over its errors, (n, band, y, x)."""
    unit, _, _ = quasar_images(pixels, psf, found.shape)
    left = pixels.light - found.flux[:, :, 0, None, None].astype(np.float32) * unit
    return np.asarray(left * pixels.root_weight)


def _second(pixels: Pixels, point: Fit, psf: PointSpread) -> tuple[Floats, Floats, Floats]:
    """Return the direction of the light's long axis, and the place of the brightest rest."""
    left = residual(pixels, psf, point).sum(axis=1)
    x0, y0 = point.shape.x_px[:, 0], point.shape.y_px[:, 0]
    dx = pixels.x_px[None, None, :] - x0[:, None, None]
    dy = pixels.y_px[None, :, None] - y0[:, None, None]
    near = left * np.exp(-0.5 * (dx**2 + dy**2) / (1.3 * _WINDOW_PX) ** 2)
    plus = (near * (dx**2 - dy**2)).sum(axis=(1, 2))
    cross = 2 * (near * dx * dy).sum(axis=(1, 2))
    angle = 0.5 * np.arctan2(cross, plus)
    smooth = _smoothed(left)
    r2 = dx**2 + dy**2
    smooth = np.where((r2 > _SOUGHT_PX[0] ** 2) & (r2 < _SOUGHT_PX[1] ** 2), smooth, -np.inf)
    row, column = np.divmod(smooth.reshape(len(smooth), -1).argmax(axis=1), smooth.shape[2])
    return angle, pixels.x_px[column].astype(float), pixels.y_px[row].astype(float)


def _smoothed(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the mean over 3 x 3 pixels."""
    padded = np.pad(image, ((0, 0), (1, 1), (1, 1)))
    height, width = image.shape[1:]
    parts = [padded[:, j : j + height, i : i + width] for j in range(3) for i in range(3)]
    return np.asarray(np.mean(parts, axis=0))


def _along(pixels: Pixels, psf: PointSpread, point: Fit, angle: Floats) -> Fit:
    """Fit two points from places on both sides along the light's long axis."""
    half = 0.5 * _FIRST_DISTANCE_PX * np.stack([np.cos(angle), np.sin(angle)])
    return fit(
        pixels,
        psf,
        start(
            pixels,
            point.shape.x_px + np.stack([-half[0], half[0]], axis=1),
            point.shape.y_px + np.stack([-half[1], half[1]], axis=1),
            np.full((len(pixels), 2), 0.5),
        ),
    )


def _from_peak(pixels: Pixels, psf: PointSpread, point: Fit, x: Floats, y: Floats) -> Fit:
    """Fit two points from the one and the brightest rest."""
    return fit(
        pixels,
        psf,
        start(
            pixels,
            np.column_stack([point.shape.x_px, x]),
            np.column_stack([point.shape.y_px, y]),
            np.tile([0.8, 0.2], (len(pixels), 1)),
        ),
    )


def _first_galaxy(x: Floats, y: Floats) -> Floats:
    width = np.full(len(x), _FIRST_WIDTH_PX)
    return np.column_stack([x, y, width, np.zeros(len(x)), width])


def _galaxy_alone(pixels: Pixels, x: Floats, y: Floats) -> Shape:
    none = np.zeros((len(pixels), 0))
    return start(pixels, none, none, none, _first_galaxy(x, y))


def _between(pixels: Pixels, psf: PointSpread, points: Fit) -> Fit:
    """Fit two points and a galaxy, from the two points alone and a galaxy between them."""
    shape = points.shape
    x, y = shape.x_px.mean(axis=1), shape.y_px.mean(axis=1)
    return fit(pixels, psf, start(pixels, shape.x_px, shape.y_px, shape.share, _first_galaxy(x, y)))


def _mirrored(pixels: Pixels, psf: PointSpread, found: Fit) -> Fit:
    """Fit two points and a galaxy, from a point and a galaxy: the second point beyond it."""
    shape = found.shape
    dx = np.clip(shape.galaxy[:, 0] - shape.x_px[:, 0], -3.0, 3.0)
    dy = np.clip(shape.galaxy[:, 1] - shape.y_px[:, 0], -3.0, 3.0)
    return fit(
        pixels,
        psf,
        start(
            pixels,
            np.column_stack([shape.x_px, shape.galaxy[:, 0] + 0.6 * dx + 0.2]),
            np.column_stack([shape.y_px, shape.galaxy[:, 1] + 0.6 * dy]),
            np.tile([0.8, 0.2], (len(pixels), 1)),
            shape.galaxy,
        ),
    )
