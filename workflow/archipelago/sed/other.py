"""The density of what no model describes: artefacts, blends, rare types.

A broad, heavy-tailed distribution of colours about those of the catalogue itself, flat in
magnitude. Its shape and its height are learnt from the catalogue, from no label: as
many objects are expected as turn out to be described by nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from scipy.special import gammaln

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_MAG_PER_LN = 2.5 / np.log(10)
#: Fewer objects than this teach no shape.
_ENOUGH = 50
#: Steps of the expectation maximisations, which settle within some ten.
_STEPS = 50
_SKY_DEG2 = 4 * np.pi * np.degrees(1.0) ** 2
#: Rows of the finest cut of the sky: cells of about 0.003 deg^2.
_FINEST_ROWS = 4000


@dataclass(frozen=True)
class OtherDensity:
    """Colours of a catalogue, as a multivariate t distribution.

    Attributes
    ----------
    centre : typical magnitude of each band relative to the object's level, (n_band,).
    scatter : scatter matrix of the magnitudes about them, (n_band, n_band) [mag^2].
    degrees : degrees of freedom.
    """

    centre: Floats
    scatter: Floats
    degrees: float

    @classmethod
    def learn(
        cls, flux: Floats, error: Floats, used: Bools, detected: Bools, section: Mapping[str, Any]
    ) -> OtherDensity:
        """Learn the typical colours and their scatter from a catalogue.

        Medians of each band's magnitude over the level of the object, then the scatter
        matrix of a t distribution by maximum likelihood (Lange, Little & Taylor 1989, J. Am.
        Stat. Assoc. 84, 881), which outliers hardly move; ``width_mag`` is added to it in
        quadrature, band by band. Too small a catalogue has scatter ``width_small_mag``.

        Parameters
        ----------
        flux, error : (n, n_band) [uJy].
        used, detected : whether a band counts, and is detected, (n, n_band).
        section : degrees, width_mag, width_small_mag.
        """
        n_band = flux.shape[1]
        degrees = float(section["degrees"])
        centre = _centre(flux, detected)
        small = cls(centre, float(section["width_small_mag"]) ** 2 * np.eye(n_band), degrees)
        # Bands that most objects lack teach nothing, and must not hide the others.
        common = used.mean(axis=0) > 0.5 if len(used) else np.zeros(n_band, dtype=bool)
        whole = used[:, common].all(axis=1) & detected.any(axis=1)
        if whole.sum() < _ENOUGH or common.sum() < 3:
            return small
        residual = small.residual(flux[whole], error[whole], used[whole])[0][:, common]
        residual -= residual.mean(axis=1, keepdims=True)
        learnt = _scatter_of_t(residual, degrees)
        learnt += float(section["width_mag"]) ** 2 * np.eye(len(learnt))
        scatter = small.scatter.copy()
        scatter[np.ix_(common, common)] = learnt
        return cls(centre, scatter, degrees)

    def residual(self, flux: Floats, error: Floats, used: Bools) -> tuple[Floats, Floats]:
        """Return magnitudes minus those of the typical object of that brightness, and a Jacobian.

        asinh magnitudes (Lupton, Gunn & Szalay 1999, AJ 118, 1406), softened at each
        band's error; (n, n_band) each; the second is ln |d magnitude / d flux|.
        """
        magnitude = -_MAG_PER_LN * np.arcsinh(flux / (2 * error))
        level = _level(flux, used, self.centre)
        expected_flux = np.exp(-(level[:, None] + self.centre[None, :]) / _MAG_PER_LN)
        expected = -_MAG_PER_LN * np.arcsinh(expected_flux / (2 * error))
        ln_jacobian = np.log(_MAG_PER_LN) - 0.5 * np.log(flux**2 + 4 * error**2)
        return magnitude - expected, ln_jacobian

    def ln_density(self, flux: Floats, error: Floats, used: Bools) -> Floats:
        """Return ln of the density per unit flux volume, for one object per mag of brightness.

        Parameters
        ----------
        flux, error : (n, n_band) [uJy].
        used : (n, n_band).
        """
        residual, ln_jacobian = self.residual(flux, error, used)
        total = np.where(used, ln_jacobian, 0.0).sum(axis=1)
        # Objects that lack the same bands are worked on together.
        patterns, group = np.unique(used, axis=0, return_inverse=True)
        group = group.ravel()
        for number, pattern in enumerate(patterns):
            rows = np.flatnonzero(group == number)
            total[rows] += self._ln_t(residual[np.ix_(rows, pattern)], pattern)
        return np.asarray(total)

    def _ln_t(self, residual: Floats, pattern: Bools) -> Floats:
        """Return ln of the t distribution of colours, per mag of the mean magnitude."""
        n_band = int(pattern.sum())
        if n_band < 2:
            return np.zeros(len(residual))
        basis = _contrasts(n_band)
        scatter = basis @ self.scatter[np.ix_(pattern, pattern)] @ basis.T
        colours = residual @ basis.T
        distance2 = (colours * np.linalg.solve(scatter, colours.T).T).sum(axis=1)
        dim, nu = n_band - 1, self.degrees
        # Orthonormal: a unit of the mean magnitude is sqrt(n_band) along the diagonal.
        ln_norm = (
            gammaln((nu + dim) / 2)
            - gammaln(nu / 2)
            - 0.5 * dim * np.log(nu * np.pi)
            - 0.5 * np.linalg.slogdet(scatter)[1]
            - 0.5 * np.log(n_band)
        )
        return np.asarray(ln_norm - 0.5 * (nu + dim) * np.log1p(distance2 / nu))


def _contrasts(n: int) -> Floats:
    """Return an orthonormal basis of what sums to 0, (n - 1, n) (Helmert)."""
    rows = np.tril(np.ones((n - 1, n)))
    steps = np.arange(1, n)
    rows[steps - 1, steps] = -steps
    return np.asarray(rows / np.sqrt(steps * (steps + 1))[:, None])


def _scatter_of_t(residual: Floats, degrees: float) -> Floats:
    """Return the scatter matrix of residuals that sum to 0 over bands, by maximum likelihood."""
    n_band = residual.shape[1]
    basis = _contrasts(n_band)
    colours = residual @ basis.T
    scatter = np.cov(colours.T) + 1e-6 * np.eye(n_band - 1)
    for _ in range(_STEPS):
        distance2 = (colours * np.linalg.solve(scatter, colours.T).T).sum(axis=1)
        weight = (degrees + n_band - 1) / (degrees + distance2)
        scatter = (colours * weight[:, None]).T @ colours / len(colours)
        scatter += 1e-6 * np.eye(n_band - 1)
    return np.asarray(basis.T @ scatter @ basis)


def _centre(flux: Floats, detected: Bools) -> Floats:
    """Return the median magnitude of each band over the object's level; 0 where unknown."""
    n_band = flux.shape[1]
    centre = np.zeros(n_band)
    level = _level(flux, detected, centre)
    for band in range(n_band):
        seen = detected[:, band] & (flux[:, band] > 0)
        if seen.sum() >= 20:
            centre[band] = np.median(-_MAG_PER_LN * np.log(flux[seen, band]) - level[seen])
    return centre


def _level(flux: Floats, used: Bools, centre: Floats) -> Floats:
    """Return the median magnitude over an object's bands, typical colours taken off; 0 if none."""
    with np.errstate(divide="ignore", invalid="ignore"):
        magnitude = np.where(used & (flux > 0), -_MAG_PER_LN * np.log(flux), np.nan) - centre
    level = np.zeros(len(flux))
    some = np.isfinite(magnitude).any(axis=1)
    level[some] = np.nanmedian(magnitude[some], axis=1)
    return level


def magnitude_range(flux: Floats, used: Bools) -> float:
    """Return the range of magnitudes that hold 99 % of a catalogue, at least 1 [mag]."""
    level = _level(flux, used & (flux > 0), np.zeros(flux.shape[1]))[used.any(axis=1)]
    if len(level) < 2:
        return 1.0
    low, high = np.percentile(level, (0.5, 99.5))
    return max(float(high - low), 1.0)


def covered_deg2(ra_deg: Floats, dec_deg: Floats, per_cell: float = 12.0) -> float:
    """Return about how large an area a catalogue covers [deg^2].

    The sky, turned such that the catalogue lies off poles and borders, is cut into cells of
    equal size: the smallest of which those that hold an object hold ``per_cell`` of them
    on average. Their area is counted. 0 if no size does, as nothing can be said.

    Parameters
    ----------
    ra_deg, dec_deg : positions [deg], (n,).
    """
    good = np.isfinite(ra_deg) & np.isfinite(dec_deg)
    if good.sum() < per_cell:
        return 0.0
    longitude, z = _centred(ra_deg[good], dec_deg[good])
    n_row, area = 1, 0.0
    while n_row <= _FINEST_ROWS:
        # Rows of equal steps in z, pi times as many columns: equal areas, about square.
        n_column = max(round(np.pi * n_row), 1)
        row = np.minimum(((z + 1) / 2 * n_row).astype(np.int64), n_row - 1)
        column = np.minimum((longitude / 360.0 * n_column).astype(np.int64), n_column - 1)
        cells = len(np.unique(row * n_column + column))
        if len(z) / cells >= per_cell:
            area = cells * _SKY_DEG2 / (n_row * n_column)
        elif len(z) / cells < per_cell / 4:
            # Borders may cut a small field in four at a coarse size; this is no such case.
            break
        n_row = max(n_row + 1, int(n_row * 1.15))
    return area


def _centred(ra_deg: Floats, dec_deg: Floats) -> tuple[Floats, Floats]:
    """Return longitudes [deg] and z of positions turned to lie about (100, 5) deg."""
    points = _unit_vectors(ra_deg, dec_deg)
    mean = points.mean(axis=0)
    if np.linalg.norm(mean) > 1e-3:
        longitude = np.degrees(np.arctan2(mean[1], mean[0]))
        latitude = np.degrees(np.arctan2(mean[2], np.hypot(mean[0], mean[1])))
        turn = Rotation.from_euler("zyz", [-longitude, latitude - 5.0, 100.0], degrees=True)
        points = turn.apply(points)
    turned = np.mod(np.degrees(np.arctan2(points[:, 1], points[:, 0])), 360.0)
    return turned, np.clip(points[:, 2], -1.0, 1.0)


def _unit_vectors(ra_deg: Floats, dec_deg: Floats) -> Floats:
    ra, dec = np.radians(ra_deg), np.radians(dec_deg)
    return np.array([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)]).T


def learnt_scale(ln_other: Floats, ln_rest: Floats, expected: float, prior_objects: float) -> float:
    """Return the factor on the density of ``other`` that the catalogue asks for.

    Expectation maximisation of the number of such objects, with a gamma prior whose
    weight is ``prior_objects`` objects and whose mean is 1: factor = (sum of p_other +
    prior_objects) / (expected + prior_objects).

    Parameters
    ----------
    ln_other, ln_rest : ln of the densities of ``other`` and of all other classes, (n,).
    expected : number of such objects that the density as configured stands for.
    prior_objects : weight of the configured density.
    """
    scale = 1.0
    for _ in range(_STEPS):
        odds = np.clip(ln_rest - ln_other - np.log(scale), -500.0, 500.0)
        found = float((1 / (1 + np.exp(odds))).sum())
        scale = (found + prior_objects) / (expected + prior_objects)
    return scale


def positions(catalogue: pd.DataFrame) -> tuple[Floats, Floats] | None:
    """Return the positions of a catalogue, or None if it has none."""
    if not {"ra_deg", "dec_deg"} <= set(catalogue.columns):
        return None
    return catalogue["ra_deg"].to_numpy(float), catalogue["dec_deg"].to_numpy(float)
