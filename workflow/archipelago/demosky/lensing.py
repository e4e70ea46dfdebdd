"""Images of a point source behind a singular isothermal ellipsoid with external shear.

The deflection of an isothermal lens does not depend on the distance from its centre, only on
the direction. The lens equation, beta = (1 - Gamma) theta - alpha(phi) with theta = r e(phi), is
then solved exactly by finding the roots of one function of the angle phi:
the cross product of (1 - Gamma) e(phi) with beta + alpha(phi), with r > 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Lens:
    """A singular isothermal ellipsoid at the origin, with external shear.

    Attributes
    ----------
    einstein_arcsec : radius of the circle with the critical curve's area (without shear).
    axis_ratio : of the surface density, in (0, 1).
    angle_deg : of the long axis, from x towards y.
    shear : strength of the external shear.
    shear_angle_deg : its direction, from x towards y.
    """

    einstein_arcsec: float
    axis_ratio: float
    angle_deg: float
    shear: float
    shear_angle_deg: float


@dataclass(frozen=True)
class Images:
    """Images of one source, brightest first: positions [arcsec] and |magnification|, (n,)."""

    x_arcsec: Floats
    y_arcsec: Floats
    magnification: Floats


def deflection(lens: Lens, phi: Floats) -> Floats:
    """Return the deflection [arcsec], (2, ...), in the directions ``phi`` [rad].

    Kormann, Schneider & Bartelmann (1994, A&A 284, 285), in the notation of Keeton (2001,
    astro-ph/0102341), without a core.
    """
    q = lens.axis_ratio
    turn = np.deg2rad(lens.angle_deg)
    angle = phi - turn
    eccentric = np.sqrt(1 - q**2)
    psi = np.sqrt(q**2 * np.cos(angle) ** 2 + np.sin(angle) ** 2)
    scale = lens.einstein_arcsec / np.sqrt(q) * q / eccentric
    along = scale * np.arctan(eccentric * np.cos(angle) / psi)
    across = scale * np.arctanh(eccentric * np.sin(angle) / psi)
    return np.array(
        [
            along * np.cos(turn) - across * np.sin(turn),
            along * np.sin(turn) + across * np.cos(turn),
        ]
    )


def _shear_matrix(lens: Lens) -> Floats:
    angle = 2 * np.deg2rad(lens.shear_angle_deg)
    c, s = lens.shear * np.cos(angle), lens.shear * np.sin(angle)
    return np.array([[1 - c, -s], [-s, 1 + c]])


def _cross(lens: Lens, source: Floats, phi: Floats) -> tuple[Floats, Floats]:
    ray = _shear_matrix(lens) @ np.array([np.cos(phi), np.sin(phi)])
    aim = source[:, None] + deflection(lens, phi)
    return ray[0] * aim[1] - ray[1] * aim[0], (ray * aim).sum(axis=0) / (ray * ray).sum(axis=0)


def find_images(lens: Lens, x_arcsec: float, y_arcsec: float) -> Images:
    """Return the images of a source at (x, y) [arcsec] from the lens.

    Two or four as a rule; one where the source lies outside the region of multiple images.
    """
    source = np.array([x_arcsec, y_arcsec])
    # Off the axes, where symmetric lenses have their roots: a root on a grid point has no sign.
    grid = np.linspace(-np.pi, np.pi, 361) + 1.2345e-3
    cross, _ = _cross(lens, source, grid)
    left = np.flatnonzero(cross[:-1] * cross[1:] < 0)
    low, high = grid[left], grid[left + 1]
    sign = np.sign(cross[left])
    for _ in range(26):
        middle = (low + high) / 2
        same = np.sign(_cross(lens, source, middle)[0]) == sign
        low, high = np.where(same, middle, low), np.where(same, high, middle)
    phi = (low + high) / 2
    radius = _cross(lens, source, phi)[1]
    phi, radius = phi[radius > 1e-6], radius[radius > 1e-6]
    # Jacobian: 1 - Gamma - alpha'(phi) (grad phi), as alpha depends on phi alone.
    step = 1e-5
    slope = (deflection(lens, phi + step) - deflection(lens, phi - step)) / (2 * step)
    gradient = np.array([-np.sin(phi), np.cos(phi)]) / radius
    jacobian = _shear_matrix(lens)[:, :, None] - slope[:, None, :] * gradient[None, :, :]
    determinant = jacobian[0, 0] * jacobian[1, 1] - jacobian[0, 1] * jacobian[1, 0]
    magnification = 1.0 / np.maximum(np.abs(determinant), 1e-3)  # a quasar is not a point
    order = np.argsort(-magnification, kind="stable")
    return Images(
        x_arcsec=(radius * np.cos(phi))[order],
        y_arcsec=(radius * np.sin(phi))[order],
        magnification=magnification[order],
    )


def largest_separation(images: Images) -> float:
    """Return the largest distance between two images [arcsec], 0 for fewer than two."""
    x, y = images.x_arcsec, images.y_arcsec
    return float(np.hypot(x[:, None] - x, y[:, None] - y).max()) if len(x) else 0.0
