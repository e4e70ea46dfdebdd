"""All measures of shape of a set of images, as one table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from archipelago.lensing.models import Models, fit_models
from archipelago.lensing.pixels import Pixels, prepare
from archipelago.lensing.psf import PointSpread
from archipelago.lensing.shapes import centres, centroid_shift, extendedness, psf_residual

Floats = NDArray[np.float64]

#: Objects fitted at once: few enough for the processor's cache, which is four times as fast.
_CHUNK = 64
#: What each column is that no band's name ends, for the table's metadata.
ABOUT = {
    "centroid_shift_arcsec": "distance of the centres of bluer and of redder light, of the split "
    "of the bands that shows it best",
    "centroid_shift_err_arcsec": "its error, per axis",
    "centroid_shift_sigma": "the distance over its error",
    "two_component_delta_bic": "the lower BIC of one point and of one galaxy, minus that of two "
    "points and a galaxy: above 0 speaks for a lens",
    "point_galaxy_delta_bic": "the BIC of one point, minus that of a point and a galaxy",
    "two_points_delta_bic": "the BIC of one point, minus that of two points of one spectrum",
    "galaxy_delta_bic": "the BIC of one point, minus that of one galaxy: above 0 speaks for a "
    "galaxy",
    "n_images_seen": "points in the model of least BIC: 0 (a galaxy), 1 or 2",
    "image_separation_arcsec": "distance of the two points that fit best, with a galaxy or "
    "without, whether or not two are seen",
    "image_flux_ratio": "light of the fainter of these over that of the brighter",
    "galaxy_share": "the galaxy's share of the light in all bands together [of signal over "
    "noise], in the model of two points and a galaxy",
    "galaxy_radius_arcsec": "half-light radius of the galaxy in the same model (mean of axes)",
}
_PER_BAND = {
    "extendedness": "spread-model: how much wider than a point the light is, 0 for a point "
    "(Desai et al. 2012)",
    "extendedness_sigma": "the same over its error",
    "psf_residual": "what the best point leaves, as a share of the point (roots of square sums)",
    "psf_residual_chi2": "chi2 per pixel that the best point leaves, minus 1",
}


def about(bands: Sequence[str]) -> dict[str, str]:
    """Return what each column of `lens_measures` is."""
    text = dict(ABOUT)
    for name, meaning in _PER_BAND.items():
        text |= {f"{name}_{band}": f"{meaning}; band {band}" for band in bands}
    return text


def lens_measures(
    images: NDArray[np.floating],
    pixel_scale_arcsec: float,
    psf: PointSpread,
    bands: Sequence[str],
) -> pd.DataFrame:
    """Measure shapes that lensed quasars have, and single ones have not.

    Parameters
    ----------
    images : (n, band, y, x) counts, from blue to red, objects near the middle.
    pixel_scale_arcsec : side of a pixel.
    psf : of these images (`archipelago.lensing.psf`).
    bands : names, in the order of the images.

    Returns
    -------
    (n) rows in the order of the images, columns of `about`. NaN for objects without light, and
    where a band shows too little.
    """
    parts = [
        _measured(np.asarray(images[first : first + _CHUNK]), pixel_scale_arcsec, psf, bands)
        for first in range(0, len(images), _CHUNK)
    ]
    if not parts:
        return pd.DataFrame({name: np.empty(0) for name in about(bands)})
    return pd.concat(parts, ignore_index=True)


def _measured(
    images: NDArray[np.floating], scale: float, psf: PointSpread, bands: Sequence[str]
) -> pd.DataFrame:
    pixels = prepare(images, scale)
    models = fit_models(pixels, psf)
    shift_px, error_px = centroid_shift(centres(pixels, psf, models.point))
    wide, wide_error = extendedness(pixels, psf, models.point)
    excess, share = psf_residual(pixels, psf, models.point)
    point_bic, galaxy_bic, point_galaxy_bic, points_bic, _ = models.bic.T
    two = models.points.shape.share
    with_galaxy = models.points_galaxy.bic < models.points.bic
    two = np.where(with_galaxy[:, None], models.points_galaxy.shape.share, two)
    columns = {
        "centroid_shift_arcsec": shift_px * scale,
        "centroid_shift_err_arcsec": error_px * scale,
        "centroid_shift_sigma": shift_px / error_px,
        "two_component_delta_bic": models.delta_bic,
        "point_galaxy_delta_bic": point_bic - point_galaxy_bic,
        "two_points_delta_bic": point_bic - points_bic,
        "galaxy_delta_bic": point_bic - galaxy_bic,
        "n_images_seen": models.n_images.astype(float),
        "image_separation_arcsec": models.separation_px * scale,
        "image_flux_ratio": two.min(axis=1) / two.max(axis=1),
        "galaxy_share": _galaxy_share(pixels, models),
        "galaxy_radius_arcsec": scale
        * np.sqrt(
            np.abs(
                models.points_galaxy.shape.galaxy[:, 2] * models.points_galaxy.shape.galaxy[:, 4]
            )
        ),
    }
    for k, band in enumerate(bands):
        columns[f"extendedness_{band}"] = wide[:, k]
        columns[f"extendedness_sigma_{band}"] = wide[:, k] / wide_error[:, k]
        columns[f"psf_residual_{band}"] = share[:, k]
        columns[f"psf_residual_chi2_{band}"] = excess[:, k]
    table = pd.DataFrame(columns)[list(about(bands))]
    table.loc[~_has_light(pixels)] = np.nan
    return table


def _galaxy_share(pixels: Pixels, models: Models) -> Floats:
    noise = np.where(pixels.sky_noise > 0, pixels.sky_noise, np.inf)
    light = (models.points_galaxy.flux / noise[:, :, None]).sum(axis=1)
    total = light.sum(axis=1)
    return np.asarray(np.where(total > 0, light[:, 1] / np.where(total > 0, total, 1.0), np.nan))


def _has_light(pixels: Pixels) -> NDArray[np.bool_]:
    return np.asarray(
        (pixels.light.max(axis=(2, 3)) > 3 * pixels.sky_noise).any(axis=1) & (pixels.n_counted > 0)
    )
