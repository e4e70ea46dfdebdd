"""Images of points and galaxies as sums of Gaussians, which convolve exactly.

A point spread function is a Moffat profile of beta = 3 [Moffat 1969, A&A 3, 455], a galaxy a Sersic
profile of index 1 or 4; both are fitted once by a few Gaussians, after Hogg & Lang
(2013, PASP 125, 719).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls
from scipy.special import gammaincinv

Floats = NDArray[np.float64]

_MOFFAT_BETA = 3.0
#: Images rendered at once, which bounds the memory.
_CHUNK = 256


@lru_cache(maxsize=8)
def moffat_gaussians() -> tuple[Floats, Floats]:
    """Return sigmas [FWHM] and weights of the Gaussians of a point; the weights add to 1."""
    alpha = 0.5 / np.sqrt(2 ** (1 / _MOFFAT_BETA) - 1)
    return _gaussians(
        lambda radius: (1 + (radius / alpha) ** 2) ** -_MOFFAT_BETA,
        np.linspace(0.005, 4.0, 400),
        np.geomspace(0.25, 2.0, 7),
    )


@lru_cache(maxsize=8)
def sersic_gaussians(index: float) -> tuple[Floats, Floats]:
    """Return sigmas [half-light radii] and weights of the Gaussians of a Sersic profile."""
    b = float(gammaincinv(2 * index, 0.5))
    return _gaussians(
        lambda radius: np.exp(-b * radius ** (1 / index)),
        np.geomspace(0.02, 6.0 if index > 2 else 4.0, 400),
        np.geomspace(0.06, 3.0 if index > 2 else 1.6, 8),
    )


def _gaussians(
    profile: Callable[[Floats], Floats], radius: Floats, sigmas: Floats
) -> tuple[Floats, Floats]:
    """Fit a profile of surface brightness, weighted by the light in rings."""
    ring = 2 * np.pi * radius
    design = np.exp(-0.5 * (radius[:, None] / sigmas) ** 2) / (2 * np.pi * sigmas**2)
    weights, _ = nnls(design * ring[:, None], profile(radius) * ring)
    used = weights > 0.01 * weights.sum()
    return sigmas[used], weights[used] / weights[used].sum()


@dataclass(frozen=True)
class Components:
    """Elliptical Gaussians, k of each object and band; all arrays (n, band, k) or to be spread so.

    Attributes
    ----------
    x_px, y_px : centres, from the middle of the stamp.
    xx_px2, yy_px2, xy_px2 : second moments, the point spread function included.
    flux : light of each, in counts.
    """

    x_px: Floats
    y_px: Floats
    xx_px2: Floats
    yy_px2: Floats
    xy_px2: Floats
    flux: Floats


def points(x_px: Floats, y_px: Floats, flux: Floats, fwhm_px: Floats) -> Components:
    """Return the Gaussians of point sources.

    Parameters
    ----------
    x_px, y_px : (n,) places, from the middle of the stamp.
    flux : (n, band) counts.
    fwhm_px : (n, band) width of the point spread function.
    """
    sigmas, weights = moffat_gaussians()
    shape = (*flux.shape, len(sigmas))
    variance = (fwhm_px[:, :, None] * sigmas) ** 2
    return Components(
        np.broadcast_to(x_px[:, None, None], shape),
        np.broadcast_to(y_px[:, None, None], shape),
        variance,
        variance,
        np.zeros(shape),
        flux[:, :, None] * weights,
    )


def galaxies(
    x_px: Floats,
    y_px: Floats,
    flux: Floats,
    fwhm_px: Floats,
    *,
    r_eff_px: Floats,
    axis_ratio: Floats,
    angle_rad: Floats,
    index: float,
) -> Components:
    """Return the Gaussians of galaxies of one Sersic index, blurred by the point spread function.

    Parameters
    ----------
    x_px, y_px, r_eff_px, axis_ratio, angle_rad : (n,) centre, half-light semi-major axis, minor
        over major axis, direction of the major axis from x towards y.
    flux, fwhm_px : (n, band), as in `points`.
    index : 1 (a disc) or 4 (de Vaucouleurs).
    """
    sigmas, weights = sersic_gaussians(index)
    blur, share = moffat_gaussians()
    major = (r_eff_px[:, None] * np.repeat(sigmas, len(blur))) ** 2  # (n, k)
    minor = major * axis_ratio[:, None] ** 2
    cosine, sine = np.cos(angle_rad)[:, None], np.sin(angle_rad)[:, None]
    psf = (fwhm_px[:, :, None] * np.tile(blur, len(sigmas))) ** 2  # (n, band, k)
    light = np.outer(weights, share).ravel()
    shape = psf.shape
    return Components(
        np.broadcast_to(x_px[:, None, None], shape),
        np.broadcast_to(y_px[:, None, None], shape),
        (major * cosine**2 + minor * sine**2)[:, None, :] + psf,
        (major * sine**2 + minor * cosine**2)[:, None, :] + psf,
        np.broadcast_to(((major - minor) * cosine * sine)[:, None, :], shape),
        flux[:, :, None] * light,
    )


def render(components: list[Components], size_px: int) -> NDArray[np.float32]:
    """Return the sum of components, without noise, (n, band, y, x) in counts."""
    n, n_bands = components[0].flux.shape[:2]
    out = np.zeros((n, n_bands, size_px, size_px), dtype=np.float32)
    axis = (np.arange(size_px) - (size_px - 1) / 2).astype(np.float32)
    for start in range(0, n, _CHUNK):
        rows = slice(start, start + _CHUNK)
        for part in components:
            for k in range(part.flux.shape[2]):
                _add(out[rows], axis, part, rows, k)
    return out


def _add(
    out: NDArray[np.float32], axis: NDArray[np.float32], part: Components, rows: slice, k: int
) -> None:
    def spread(values: Floats) -> NDArray[np.float32]:
        return values[rows, :, k].astype(np.float32)[:, :, None, None]

    flux = part.flux[rows, :, k]
    if not flux.any():
        return
    xx, yy, xy = (part.xx_px2[rows, :, k], part.yy_px2[rows, :, k], part.xy_px2[rows, :, k])
    determinant = xx * yy - xy**2
    dx = axis[None, None, None, :] - spread(part.x_px)
    dy = axis[None, None, :, None] - spread(part.y_px)
    a = (-0.5 * yy / determinant).astype(np.float32)[:, :, None, None]
    b = (xy / determinant).astype(np.float32)[:, :, None, None]
    c = (-0.5 * xx / determinant).astype(np.float32)[:, :, None, None]
    peak = (flux / (2 * np.pi * np.sqrt(determinant))).astype(np.float32)[:, :, None, None]
    out += peak * np.exp(a * dx**2 + b * dx * dy + c * dy**2)
