"""Fits of point sources and a galaxy to the images of all bands, many objects at once.

A model is m points at places that all bands share, with the same share of the quasar's light in
each band (images of one source have one spectrum), and a galaxy whose place and shape all bands
share. The light of quasar and galaxy is free in each band, and not negative; the width of the
point spread function of each band is free within the scatter of the seeing. Everything is a sum of
Gaussians [Hogg & Lang 2013, PASP 125, 719], so that derivatives are exact. Light is solved for
exactly at each step, and the steps of the rest are those of Levenberg (1944) and Marquardt (1963)
with the light projected out [Golub & Pereyra 1973, SIAM J. Numer. Anal. 10, 413].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls
from scipy.special import gammaincinv

from archipelago.lensing.pixels import Pixels
from archipelago.lensing.psf import PointSpread

Floats = NDArray[np.float64]
Stack = NDArray[np.float32]

#: Scatter of ln(width of points) between images of a survey (assumed; as `simulate` draws it).
SEEING_SCATTER = 0.07
#: Sersic index of the galaxy: between a disc (1) and an early-type galaxy (4); seeing hides more.
_SERSIC = 2.5
#: Limits: widths [px] of the galaxy, shares of the second and further points, seeing.
_WIDTH_MIN_PX, _WIDTH_MAX_PX = 0.3, 9.0
_SHARE_MIN, _SHARE_MAX = 0.03, 0.9
_SEEING_MAX = 0.25
_TOLERANCE = 0.2


@dataclass(frozen=True)
class Shape:
    """Parameters of a model of n objects.

    Attributes
    ----------
    x_px, y_px : (n, m) places of the points, from the middle of the stamp.
    share : (n, m) of the quasar's light that each point has; adds to 1.
    galaxy : (n, 5) place x, y, and the root L of the galaxy's second moments L L^T: xx, yx, yy
        [px, of the half-light radius]; (n, 0) where the model has none.
    seeing : (n, band) ln of the width of points over the point spread function's.
    """

    x_px: Floats
    y_px: Floats
    share: Floats
    galaxy: Floats
    seeing: Floats

    @property
    def n_points(self) -> int:
        """Return the number of points."""
        return self.x_px.shape[1]

    @property
    def has_galaxy(self) -> bool:
        """Whether there is a galaxy."""
        return self.galaxy.shape[1] > 0

    def __len__(self) -> int:
        return len(self.seeing)

    def take(self, rows: NDArray[np.int64] | slice) -> Shape:
        """Return some objects."""
        return Shape(*(getattr(self, name)[rows] for name in Shape.__dataclass_fields__))

    def where(self, other: Shape, chosen: NDArray[np.bool_]) -> Shape:
        """Return this shape with ``other``'s rows where ``chosen`` (n,)."""
        return Shape(
            *(
                np.where(chosen[:, None], getattr(other, name), getattr(self, name))
                for name in Shape.__dataclass_fields__
            )
        )


@dataclass(frozen=True)
class Fit:
    """The best model of n objects.

    Attributes
    ----------
    shape : its parameters.
    flux : (n, band, c) light [counts] of quasar and galaxy, in this order, of those in the model.
    chi2 : (n,) sum of squares of the pixels' departures over their errors, and of the seeing's.
    chi2_band : (n, band) the pixels' alone.
    bic : (n,) chi2 + k ln(pixels), k the number of free parameters without the seeing
        [Schwarz 1978, Ann. Stat. 6, 461].
    """

    shape: Shape
    flux: Floats
    chi2: Floats
    chi2_band: Floats
    bic: Floats


@lru_cache(maxsize=1)
def galaxy_gaussians() -> tuple[Floats, Floats]:
    """Return sigmas [half-light radii] and weights of three Gaussians of the galaxy's profile."""
    b = float(gammaincinv(2 * _SERSIC, 0.5))
    radius = np.geomspace(0.05, 5.0, 300)
    sigmas = np.array([0.25, 0.75, 1.8])
    # Light in rings of equal steps of ln r.
    ring = radius**2
    design = np.exp(-0.5 * (radius[:, None] / sigmas) ** 2) / (2 * np.pi * sigmas**2)
    weights, _ = nnls(design * ring[:, None], np.exp(-b * radius ** (1 / _SERSIC)) * ring)
    return sigmas, weights / weights.sum()


def start(
    pixels: Pixels, x_px: Floats, y_px: Floats, share: Floats, galaxy: Floats | None = None
) -> Shape:
    """Return parameters to start from, with the seeing at its mean."""
    n, n_bands = pixels.light.shape[:2]
    none = np.zeros((n, 0))
    return Shape(x_px, y_px, share, none if galaxy is None else galaxy, np.zeros((n, n_bands)))


def fit(pixels: Pixels, psf: PointSpread, first: Shape, *, n_steps: int = 15) -> Fit:
    """Return the best model of the same make as ``first``, from there."""
    shape = first
    state = _evaluate(pixels, psf, shape)
    damping = np.full(len(shape), 1e-2)
    rows = np.arange(len(shape))
    live = np.ones(len(shape), dtype=bool)
    for _ in range(n_steps):
        rows = np.flatnonzero(live)
        if not len(rows):
            break
        some = _some(pixels, rows)
        tried = _step(shape.take(rows), state.take(rows), damping[rows], _reach(pixels))
        new = _evaluate(some, psf, tried)
        better = new.chi2 < state.chi2[rows]
        gain = state.chi2[rows] - new.chi2
        kept = rows[better]
        shape = _put(shape, kept, tried.take(np.flatnonzero(better)))
        state.put(kept, new.take(np.flatnonzero(better)))
        damping[rows] = np.clip(damping[rows] * np.where(better, 0.2, 10.0), 1e-6, 1e8)
        # Done: a step that gains next to nothing, or none to be found.
        done = (better & (gain < _TOLERANCE)) | (~better & (damping[rows] > 1e5))
        live[rows[done]] = False
    # Parameters of the model: places, shares, the galaxy's five, light per band.
    n_bands = pixels.light.shape[1]
    n_free = (3 * shape.n_points - 1 if shape.n_points else 0) + shape.galaxy.shape[1]
    n_free += n_bands * state.flux.shape[2]
    bic = state.chi2 + n_free * np.log(np.maximum(pixels.n_counted, 1))
    return Fit(shape, state.flux, state.chi2, state.chi2_band, bic)


def better_of(fits: Sequence[Fit]) -> Fit:
    """Return for each object the fit, of one make, with the least chi2."""
    best = fits[0]
    for other in fits[1:]:
        chosen = other.chi2 < best.chi2
        pick = {
            name: np.where(
                chosen.reshape(-1, *[1] * (getattr(best, name).ndim - 1)),
                getattr(other, name),
                getattr(best, name),
            )
            for name in ("flux", "chi2", "chi2_band", "bic")
        }
        best = Fit(best.shape.where(other.shape, chosen), **pick)
    return best


# --- one step ---------------------------------------------------------------------------------


@dataclass
class _State:
    """A model at some parameters: light, departure, and the products that steps follow from.

    ``gram`` (n, band, t, t) holds products of the images of which a change of parameters is
    made, over the pixels' errors: of light (c), of the seeing (1), of shared parameters (q), and
    of the departure (1).
    """

    flux: Floats
    chi2: Floats
    chi2_band: Floats
    gram: Floats

    def take(self, rows: NDArray[np.int64]) -> _State:
        return _State(self.flux[rows], self.chi2[rows], self.chi2_band[rows], self.gram[rows])

    def put(self, rows: NDArray[np.int64], new: _State) -> None:
        for name in ("flux", "chi2", "chi2_band", "gram"):
            getattr(self, name)[rows] = getattr(new, name)


def _some(pixels: Pixels, rows: NDArray[np.int64]) -> Pixels:
    if len(rows) == len(pixels):
        return pixels
    return replace(
        pixels,
        light=pixels.light[rows],
        root_weight=pixels.root_weight[rows],
        sky_noise=pixels.sky_noise[rows],
    )


def _put(shape: Shape, rows: NDArray[np.int64], new: Shape) -> Shape:
    parts = {}
    for name in Shape.__dataclass_fields__:
        values = getattr(shape, name).copy()
        values[rows] = getattr(new, name)
        parts[name] = values
    return Shape(**parts)


def _reach(pixels: Pixels) -> tuple[float, float]:
    """Return how far from the middle a component may lie, x and y [px]."""
    return 0.75 * float(pixels.x_px[-1]), 0.75 * float(pixels.y_px[-1])


def _evaluate(pixels: Pixels, psf: PointSpread, shape: Shape) -> _State:
    """Return the model at these parameters, with the light that fits best."""
    n, n_bands, height, width = pixels.light.shape
    units: list[Stack] = []  # of light 1, (n, band, y, x)
    seeing: list[Stack] = []  # their changes with ln(width of points)
    shared: list[tuple[int, Stack]] = []  # (component, change with a shared parameter)
    if shape.n_points:
        unit, wider, moved = quasar_images(pixels, psf, shape)
        shared += [(len(units), image) for image in moved]
        units.append(unit)
        seeing.append(wider)
    if shape.has_galaxy:
        unit, wider, moved = galaxy_images(pixels, psf, shape)
        shared += [(len(units), image) for image in moved]
        units.append(unit)
        seeing.append(wider)
    c, q = len(units), len(shared)
    stack = np.empty((n, n_bands, c + 1 + q + 1, height, width), dtype=np.float32)
    for k, unit in enumerate(units):
        np.multiply(unit, pixels.root_weight, out=stack[:, :, k])
    data = pixels.light * pixels.root_weight
    flux = _solve_light(stack[:, :, :c], data)
    scale = flux.astype(np.float32)[..., None, None]  # (n, band, c, 1, 1)
    departure = data - (stack[:, :, :c] * scale).sum(axis=2)
    wider = sum((scale[:, :, k] * seeing[k] for k in range(c)), np.zeros_like(data))
    np.multiply(wider, pixels.root_weight, out=stack[:, :, c])
    for k, (component, image) in enumerate(shared):
        np.multiply(scale[:, :, component] * image, pixels.root_weight, out=stack[:, :, c + 1 + k])
    stack[:, :, -1] = departure
    flat = stack.reshape(n, n_bands, c + q + 2, -1)
    gram = (flat @ flat.swapaxes(2, 3)).astype(float)
    chi2_band = np.square(departure).sum(axis=(2, 3), dtype=float)
    prior = (shape.seeing**2).sum(axis=1) / SEEING_SCATTER**2
    return _State(flux, chi2_band.sum(axis=1) + prior, chi2_band, gram)


def _solve_light(units: Stack, data: Stack) -> Floats:
    """Return the light (n, band, c), not negative, that fits best; at most two components."""
    n, n_bands, c = units.shape[:3]
    flat = units.reshape(n, n_bands, c, -1)
    gram = (flat @ flat.swapaxes(2, 3)).astype(float)
    seen = (flat @ data.reshape(n, n_bands, -1, 1)).astype(float)[..., 0]
    own = np.einsum("nbcc->nbc", gram)
    alone = np.clip(seen / np.where(own > 0, own, 1.0), 0.0, None)
    if c == 1:
        return alone
    # Both, where both are positive; else the one that explains more.
    determinant = own[..., 0] * own[..., 1] - gram[..., 0, 1] ** 2
    usable = determinant > 1e-6 * own[..., 0] * own[..., 1]
    safe = np.where(usable, determinant, 1.0)
    first = (own[..., 1] * seen[..., 0] - gram[..., 0, 1] * seen[..., 1]) / safe
    second = (own[..., 0] * seen[..., 1] - gram[..., 0, 1] * seen[..., 0]) / safe
    both = usable & (first > 0) & (second > 0)
    explained = alone * np.clip(seen, 0.0, None)
    one = explained[..., 0] >= explained[..., 1]
    return np.stack(
        [
            np.where(both, first, np.where(one, alone[..., 0], 0.0)),
            np.where(both, second, np.where(one, 0.0, alone[..., 1])),
        ],
        axis=-1,
    )


def _step(shape: Shape, state: _State, damping: Floats, reach: tuple[float, float]) -> Shape:
    """Return the parameters after a damped step."""
    c = state.flux.shape[2]
    gram = state.gram
    own = gram[:, :, : c + 1, : c + 1].copy()  # light and seeing of each band
    cross = gram[:, :, : c + 1, c + 1 : -1]
    pull_own = gram[:, :, : c + 1, -1].copy()
    own[:, :, c, c] += 1 / SEEING_SCATTER**2
    pull_own[:, :, c] -= shape.seeing / SEEING_SCATTER**2
    diagonal = np.arange(c + 1)
    # A component without light in a band leaves nothing to solve for.
    own[:, :, diagonal, diagonal] = own[:, :, diagonal, diagonal] * 1.0001 + 1e-12
    solved = np.linalg.solve(own, np.concatenate([cross, pull_own[..., None]], axis=3))
    curvature = gram[:, :, c + 1 : -1, c + 1 : -1].sum(axis=1)
    pull = gram[:, :, c + 1 : -1, -1].sum(axis=1)
    turned = cross.swapaxes(2, 3)
    curvature = curvature - (turned @ solved[..., :-1]).sum(axis=1)
    pull = pull - (turned @ solved[..., -1:]).sum(axis=1)[..., 0]
    k = np.arange(curvature.shape[1])
    diagonal_of = np.maximum(curvature[:, k, k], 1e-8)
    curvature[:, k, k] = diagonal_of * (1 + damping[:, None]) + 1e-8
    change = np.linalg.solve(curvature, pull[..., None])[..., 0]
    change_own = solved[..., -1] - (solved[..., :-1] @ change[:, None, :, None])[..., 0]
    return _moved(shape, change, change_own[:, :, c], reach)


def _moved(shape: Shape, change: Floats, seeing: Floats, reach: tuple[float, float]) -> Shape:
    m = shape.n_points
    change = np.clip(change, -2.0, 2.0)
    x = np.clip(shape.x_px + change[:, :m], -reach[0], reach[0])
    y = np.clip(shape.y_px + change[:, m : 2 * m], -reach[1], reach[1])
    share = shape.share
    if m > 1:
        further = np.clip(share[:, 1:] + change[:, 2 * m : 3 * m - 1], _SHARE_MIN, _SHARE_MAX)
        total = further.sum(axis=1, keepdims=True)
        further = further * np.minimum(1.0, (1 - _SHARE_MIN) / total)
        share = np.concatenate([1 - further.sum(axis=1, keepdims=True), further], axis=1)
    galaxy = shape.galaxy
    if shape.has_galaxy:
        galaxy = galaxy + change[:, -5:]
        galaxy[:, 0] = np.clip(galaxy[:, 0], -reach[0], reach[0])
        galaxy[:, 1] = np.clip(galaxy[:, 1], -reach[1], reach[1])
        galaxy[:, 2] = np.clip(galaxy[:, 2], _WIDTH_MIN_PX, _WIDTH_MAX_PX)
        galaxy[:, 4] = np.clip(galaxy[:, 4], _WIDTH_MIN_PX, _WIDTH_MAX_PX)
        limit = 1.5 * np.minimum(galaxy[:, 2], galaxy[:, 4])
        galaxy[:, 3] = np.clip(galaxy[:, 3], -limit, limit)
    return Shape(x, y, share, galaxy, np.clip(shape.seeing + seeing, -_SEEING_MAX, _SEEING_MAX))


# --- images of the components -----------------------------------------------------------------


def quasar_images(
    pixels: Pixels, psf: PointSpread, shape: Shape
) -> tuple[Stack, Stack, list[Stack]]:
    """Return the points of unit light, and how they change.

    Returns
    -------
    unit : (n, band, y, x) all points together.
    wider : its change with ln(width of points).
    moved : its changes with x of each point, with y of each, and with the shares of the second
        and further points.
    """
    sigma = (psf.sigma_px * np.exp(shape.seeing)[:, :, None]).astype(np.float32)  # (n, band, k)
    weight = psf.weight.astype(np.float32)
    unit: Stack = np.zeros(pixels.light.shape, dtype=np.float32)
    wider: Stack = np.zeros(pixels.light.shape, dtype=np.float32)
    along_x: list[Stack] = []
    along_y: list[Stack] = []
    alone: list[Stack] = []
    for m in range(shape.n_points):
        share = shape.share[:, m].astype(np.float32)[:, None, None, None]
        gx, tx = _profile(pixels.x_px, shape.x_px[:, m], sigma)
        gy, ty = _profile(pixels.y_px, shape.y_px[:, m], sigma)
        gy_t = (gy * weight[:, :, None]).swapaxes(2, 3)
        one: Stack = np.asarray(gy_t @ gx, dtype=np.float32)
        alone.append(one)
        slope_y = (gy * ty * weight[:, :, None] / sigma[..., None]).swapaxes(2, 3)
        along_x.append(np.asarray(share * (gy_t @ (gx * tx / sigma[..., None])), np.float32))
        along_y.append(np.asarray(share * (slope_y @ gx), np.float32))
        spread = gy_t @ (gx * tx**2) + (gy * ty**2 * weight[:, :, None]).swapaxes(2, 3) @ gx
        unit += share * one
        wider += share * (spread - 2 * one)
    further = [one - alone[0] for one in alone[1:]]
    return unit, wider, [*along_x, *along_y, *further]


def _profile(axis: NDArray[np.float32], centre: Floats, sigma: Stack) -> tuple[Stack, Stack]:
    """Return Gaussians along an axis, (n, band, k, pixel), and the places in units of sigma."""
    t = (axis - centre.astype(np.float32)[:, None])[:, None, None, :] / sigma[..., None]
    return np.exp(-0.5 * t**2) / (np.float32(np.sqrt(2 * np.pi)) * sigma[..., None]), t


def galaxy_images(
    pixels: Pixels, psf: PointSpread, shape: Shape
) -> tuple[Stack, Stack, list[Stack]]:
    """Return the galaxy of unit light and how it changes: see `quasar_images`.

    ``moved`` holds its changes with the five parameters of `Shape.galaxy`.
    """
    sigmas, weights = galaxy_gaussians()
    a, b, d = shape.galaxy[:, 2], shape.galaxy[:, 3], shape.galaxy[:, 4]
    moments = (a**2, b**2 + d**2, a * b)  # xx, yy, xy of L L^T
    blur = (psf.sigma_px * np.exp(shape.seeing)[:, :, None]) ** 2  # (n, band, k)
    dx = (pixels.x_px - shape.galaxy[:, 0, None].astype(np.float32))[:, None, None, :]
    dy = (pixels.y_px - shape.galaxy[:, 1, None].astype(np.float32))[:, None, :, None]
    size = pixels.light.shape
    unit, wider, by_x, by_y, by_xx, by_yy, by_xy = (
        np.zeros(size, dtype=np.float32) for _ in range(7)
    )

    def spread(values: Floats) -> Stack:
        return values.astype(np.float32)[:, :, None, None]

    for scale, light in zip(sigmas, weights, strict=True):
        for k in range(blur.shape[2]):
            xx = moments[0][:, None] * scale**2 + blur[:, :, k]
            yy = moments[1][:, None] * scale**2 + blur[:, :, k]
            xy = np.broadcast_to(moments[2][:, None] * scale**2, xx.shape)
            determinant = xx * yy - xy**2
            i_xx, i_yy, i_xy = yy / determinant, xx / determinant, -xy / determinant
            u_x = spread(i_xx) * dx + spread(i_xy) * dy
            u_y = spread(i_xy) * dx + spread(i_yy) * dy
            peak = light * psf.weight[:, k] / (2 * np.pi * np.sqrt(determinant))
            one = spread(peak) * np.exp(-0.5 * (u_x * dx + u_y * dy))
            unit += one
            by_x += one * u_x
            by_y += one * u_y
            # Changes with the second moments; a half of each is in the chain below.
            c_xx = one * (u_x**2 - spread(i_xx))
            c_yy = one * (u_y**2 - spread(i_yy))
            wider += spread(blur[:, :, k]) * (c_xx + c_yy)
            factor = np.float32(scale**2)
            by_xx += factor * c_xx
            by_yy += factor * c_yy
            by_xy += factor * (one * (u_x * u_y - spread(i_xy)))

    def each(values: Floats) -> Stack:
        return values.astype(np.float32)[:, None, None, None]

    # d(xx) = 2 a da; d(xy) = a db + b da; d(yy) = 2 b db + 2 d dd.
    moved = [
        by_x,
        by_y,
        each(a) * by_xx + each(b) * by_xy,
        each(a) * by_xy + each(b) * by_yy,
        each(d) * by_yy,
    ]
    return unit, wider, moved
