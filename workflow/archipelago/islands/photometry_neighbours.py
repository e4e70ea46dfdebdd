"""The plain alternative to images: nearest neighbours in flux ratios."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from archipelago.base.tables import require_columns
from archipelago.islands.retrieval import has_images, leave_one_out_ranks
from archipelago.islands.similarity import KnownSimilarity

#: Scatter of a band's flux from one quasar to the next, as a part of the flux; and of the
#: whole light where a band has next to none. Of 0 to 0.3 and 0.003 to 0.04 these two gave the
#: highest sum of the average precisions of ordinary and lensed quasars on the demo skies of
#: seeds 1, 2 and 5 (0.65 and 0.22).
SCATTER_OF_FLUX = 0.2
SCATTER_OF_SUM = 0.003
#: Two objects are compared in so many bands at least: fewer leave no ratio.
FEWEST_BANDS = 2
#: Objects handled at once, which bounds the memory to some 4096 x known quasars numbers.
_CHUNK = 4096


def photometry_similarity(
    catalogue: pd.DataFrame,
    known_rows: NDArray[np.int64],
    k: int,
    bands: Sequence[str] | None = None,
) -> NDArray[np.float64]:
    """Return how like the known quasars each object is by its flux ratios alone, (n,).

    Minus the mean distance to the ``k`` nearest known quasars but itself: 0 is the same,
    a spread as expected of errors and scatter is about -1. NaN where nothing can be
    compared. See `photometry_neighbours`.
    """
    return photometry_neighbours(catalogue, known_rows, bands).of_objects(k)


def photometry_ranks(
    catalogue: pd.DataFrame,
    known_rows: NDArray[np.int64],
    k: int,
    bands: Sequence[str] | None = None,
) -> NDArray[np.float64]:
    """Return each object's place by photometry alone, (n,), each known quasar left out in turn.

    As `archipelago.islands.retrieval.leave_one_out_ranks` does by images.
    """
    neighbours = photometry_neighbours(catalogue, known_rows, bands)
    return leave_one_out_ranks([neighbours], len(catalogue), k)


def ranks_beside_images(
    islands: pd.DataFrame, catalogue: pd.DataFrame, k: int, bands: Sequence[str]
) -> NDArray[np.float64]:
    """Return each object's place by photometry alone, (n,), among those that have images.

    Parameters
    ----------
    islands : (n) the table of islands: columns id, known_name, outlier_score.
    catalogue : columns id, flux_ujy_B and flux_err_ujy_B; every id of ``islands`` once.
    k : nearest known quasars that count.
    bands : B.

    Returns
    -------
    NDArray
        In the order of ``islands``; NaN for images without content.
    """
    places = np.full(len(islands), np.nan)
    chosen = np.flatnonzero(has_images(islands).to_numpy())
    objects = islands.iloc[chosen][["id", "known_name"]]
    objects = objects.merge(catalogue, on="id", how="left", suffixes=("", "_"), validate="1:1")
    known = np.flatnonzero((objects["known_name"].fillna("") != "").to_numpy())
    places[chosen] = photometry_ranks(objects, known, k, bands)
    return places


def photometry_neighbours(
    catalogue: pd.DataFrame, known_rows: NDArray[np.int64], bands: Sequence[str] | None = None
) -> KnownSimilarity:
    """Compare the flux ratios of all objects with those of the known quasars.

    With u a flux over the sum of the object's fluxes in the bands that both have, s the
    same of its error, and i, j the two objects, the distance is the mean over bands of

        (u_i - u_j)^2 / (s_i^2 + s_j^2 + (`SCATTER_OF_FLUX` max(u_i, u_j))^2
                         + `SCATTER_OF_SUM`^2).

    Ratios to the sum rather than to one band, as any one band can be undetected: a flux of
    0 with its error says as much as any other. The sum's own error is left out; it is far
    below that of the single bands.

    Parameters
    ----------
    catalogue : (n) objects; columns flux_ujy_B and flux_err_ujy_B. A band that is NaN, or
        whose error is not above 0, was not observed and is left out of the comparison.
    known_rows : (n_known,) rows (by place) of the known quasars.
    bands : the bands compared; None: all that the catalogue has.

    Returns
    -------
    KnownSimilarity
        Minus the distance in place of the cosine; NaN of a known quasar to itself, and
        where two have fewer than `FEWEST_BANDS` bands in common or no light in them.

    Raises
    ------
    InputError
        If the catalogue lacks a column of a band.
    """
    flux, error = _fluxes(catalogue, bands)
    seen = np.isfinite(flux) & np.isfinite(error) & (error > 0)
    flux, error = np.where(seen, flux, 0.0), np.where(seen, error, 0.0)
    known = np.asarray(known_rows, dtype=np.int64)
    similarity = np.empty((len(flux), len(known)))
    for start in range(0, len(flux), _CHUNK):
        part = slice(start, start + _CHUNK)
        similarity[part] = -_distances(
            (flux[part], error[part], seen[part]), (flux[known], error[known], seen[known])
        )
    similarity[known, np.arange(len(known))] = np.nan
    return KnownSimilarity(similarity, known)


_Photometry = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]


def _fluxes(
    catalogue: pd.DataFrame, bands: Sequence[str] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return fluxes and errors (n, band) [uJy]."""
    if bands is None:
        start = "flux_ujy_"
        bands = [str(c).removeprefix(start) for c in catalogue.columns if str(c).startswith(start)]
    names = [f"flux_ujy_{band}" for band in bands]
    errors = [f"flux_err_ujy_{band}" for band in bands]
    require_columns(catalogue, [*names, *errors], "the catalogue")
    shape = (len(catalogue), len(names))
    return (
        catalogue[names].to_numpy(dtype=float).reshape(shape),
        catalogue[errors].to_numpy(dtype=float).reshape(shape),
    )


def _distances(objects: _Photometry, known: _Photometry) -> NDArray[np.float64]:
    """Return the distance of each object from each known quasar, (n, n_known), or NaN."""
    flux, error, seen = objects
    flux_known, error_known, seen_known = known
    # Sums over the bands that both have: fluxes are 0 where they were not observed.
    light = flux @ seen_known.T.astype(float)
    light_known = seen.astype(float) @ flux_known.T
    common = seen.astype(float) @ seen_known.T.astype(float)
    good = (common >= FEWEST_BANDS) & (light > 0) & (light_known > 0)
    per_light = np.divide(1.0, light, out=np.zeros_like(light), where=good)
    per_light_known = np.divide(1.0, light_known, out=np.zeros_like(light), where=good)
    total = np.zeros_like(light)
    for band in range(flux.shape[1]):
        both = seen[:, band, None] & seen_known[None, :, band]
        one = flux[:, band, None] * per_light
        other = flux_known[None, :, band] * per_light_known
        variance = (
            (error[:, band, None] * per_light) ** 2
            + (error_known[None, :, band] * per_light_known) ** 2
            + (SCATTER_OF_FLUX * np.maximum(one, other)) ** 2
            + SCATTER_OF_SUM**2
        )
        total += np.where(both, (one - other) ** 2 / variance, 0.0)
    return np.divide(total, common, out=np.full_like(total, np.nan), where=good)
