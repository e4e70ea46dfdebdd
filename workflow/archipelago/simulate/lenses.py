"""Images of point sources behind isothermal spheres with shear, many at once.

With deflection theta_E e(phi), e(phi) being the unit vector of direction phi, the lens equation
beta = (1 - Gamma) theta - theta_E e(phi) has its solutions theta = r e(phi) where
(1 - Gamma) e(phi) is parallel to beta + theta_E e(phi), and r > 0: roots of one function of phi.
The shear stands for the lens's own ellipticity too [e.g. Kochanek 2006, in Gravitational Lensing:
Strong, Weak and Micro].
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: Angles at which roots are looked for; off the axes, where symmetric lenses have theirs.
_PHI = np.linspace(-np.pi, np.pi, 721) + 1.7e-3
_MOST_IMAGES = 4
#: No image is brighter than this many times the source, which is not a point.
_MAX_MAGNIFICATION = 100.0


def find_images(
    einstein_arcsec: Floats,
    shear: Floats,
    shear_angle_rad: Floats,
    x_arcsec: Floats,
    y_arcsec: Floats,
) -> tuple[Floats, Floats, Floats]:
    """Return the images of point sources, brightest first.

    Parameters
    ----------
    einstein_arcsec, shear, shear_angle_rad : (n,) the lenses, at the origin.
    x_arcsec, y_arcsec : (n,) the sources.

    Returns
    -------
    x_arcsec, y_arcsec, magnification : (n, 4); magnification 0 where there is no such image.
    """
    n = len(einstein_arcsec)
    gamma = (shear * np.cos(2 * shear_angle_rad), shear * np.sin(2 * shear_angle_rad))
    cosine, sine = np.cos(_PHI)[None, :], np.sin(_PHI)[None, :]
    ray_x = (1 - gamma[0])[:, None] * cosine - gamma[1][:, None] * sine
    ray_y = -gamma[1][:, None] * cosine + (1 + gamma[0])[:, None] * sine
    aim_x = x_arcsec[:, None] + einstein_arcsec[:, None] * cosine
    aim_y = y_arcsec[:, None] + einstein_arcsec[:, None] * sine
    cross = ray_x * aim_y - ray_y * aim_x
    radius = (ray_x * aim_x + ray_y * aim_y) / (ray_x**2 + ray_y**2)
    left, right = cross[:, :-1], cross[:, 1:]
    row, place = np.nonzero((left * right < 0) & (radius[:, :-1] > 1e-4))
    part = left[row, place] / (left[row, place] - right[row, place])
    phi = _PHI[place] + part * (_PHI[place + 1] - _PHI[place])
    r = radius[row, place] + part * (radius[row, place + 1] - radius[row, place])
    x, y = r * np.cos(phi), r * np.sin(phi)
    # Jacobian: 1 - Gamma - (theta_E / r) (1 - e e^T).
    bend = einstein_arcsec[row] / r
    a_xx = 1 - gamma[0][row] - bend * np.sin(phi) ** 2
    a_yy = 1 + gamma[0][row] - bend * np.cos(phi) ** 2
    a_xy = -gamma[1][row] + bend * np.cos(phi) * np.sin(phi)
    size = 1 / np.clip(np.abs(a_xx * a_yy - a_xy**2), 1 / _MAX_MAGNIFICATION, None)
    # Brightest first within each row, then the first four.
    order = np.lexsort((-size, row))
    row, x, y, size = row[order], x[order], y[order], size[order]
    rank = np.arange(len(row)) - np.searchsorted(row, row)
    found = np.zeros((3, n, _MOST_IMAGES))
    keep = rank < _MOST_IMAGES
    for values, target in zip((x, y, size), found, strict=True):
        target[row[keep], rank[keep]] = values[keep]
    return found[0], found[1], found[2]
