"""The catalogue's fluxes as the fits take them, and what each class adds to their errors.

One reading for the fits of the grids, the posteriors and the published models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from archipelago.base.errors import DataError
from archipelago.sed.dust import galactic_correction

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def flux_columns(catalogue: pd.DataFrame, start: str, bands: Sequence[str]) -> Floats:
    """Return columns ``start``_B of each band B, (n, n_band); NaN where it is no number."""
    columns = [pd.to_numeric(catalogue[f"{start}_{band}"], errors="coerce") for band in bands]
    return np.array(columns, dtype=float).T.reshape(len(catalogue), len(bands))


def read_fluxes(
    catalogue: pd.DataFrame, bands: Sequence[str]
) -> tuple[Floats, Floats, Bools, Bools]:
    """Return fluxes and errors [uJy], which count and which are detections, (n, n_band) each.

    Galactic extinction is taken out where the catalogue has ``ebv_sfd98`` [mag].
    """
    flux = flux_columns(catalogue, "flux_ujy", bands)
    error = flux_columns(catalogue, "flux_err_ujy", bands)
    used = np.isfinite(flux) & np.isfinite(error) & (error > 0) & (np.abs(flux) < 1e12)
    used &= error < 1e12
    detected = used.copy()
    for column, band in enumerate(bands):
        if f"detected_{band}" in catalogue:
            detected[:, column] &= catalogue[f"detected_{band}"].fillna(False).to_numpy(dtype=bool)
    flux = np.where(used & detected, flux, 0.0)
    error = np.where(used, error, 1.0)
    if "ebv_sfd98" in catalogue:
        factor = galactic_correction(catalogue["ebv_sfd98"], bands)
        flux, error = flux * factor, error * factor
    return flux, error, used, detected


def rows_of(
    catalogue: pd.DataFrame, ids: Sequence[int], *, what: str, where: str, next_step: str
) -> pd.DataFrame:
    """Return the rows of some objects, in the order of the ids, ``id`` among the columns.

    Parameters
    ----------
    catalogue : id and anything else.
    ids : objects.
    what, where, next_step : of the error: what the objects are, where they were named, what
        to do.

    Raises
    ------
    DataError
        If an object is not in the catalogue, or there twice.
    """
    chosen = catalogue[catalogue["id"].isin(list(ids))]
    counts = chosen["id"].value_counts()
    wrong = [value for value in ids if counts.get(value, 0) != 1]
    if wrong:
        raise DataError(
            f"{what} that are not exactly once in the catalogue: {wrong[:10]}",
            where=where,
            next_step=next_step,
        )
    return chosen.set_index("id", drop=False).loc[list(ids)].reset_index(drop=True)


def aperture_shares(offsets: Mapping[str, Any], name: str, bands: Sequence[str]) -> Floats:
    """Return the share of a class' total flux that the catalogue measures, (n_band,).

    Parameters
    ----------
    offsets : ``aperture_offset_mag``: per class total minus aperture [mag], in its ``bands``.
    name : of the class.
    bands : names of the bands.
    """
    share = 10 ** (-0.4 * float(offsets[name]))
    return np.array([share if band in offsets["bands"] else 1.0 for band in bands])


def class_errors(
    fit: Mapping[str, Any],
    name: str,
    bands: Sequence[str],
    flux: Floats,
    error: Floats,
    used: Bools,
) -> tuple[Floats, Floats]:
    """Return the errors of objects fitted as a class, model error included.

    Per band a fraction of the flux seen, and in every band ``floor_fraction``
    of the object's mean flux: neighbours, sky and colour terms are not
    below that even where the object is black. Bands of one of the groups in
    ``survey_error`` share another error, a fraction of the flux too.

    Parameters
    ----------
    fit : ``model_error`` (per class: fraction per band, or default), ``floor_fraction`` (per
        class), ``survey_error`` (``groups`` of bands; per class the fraction that they share).
    name : of the class.
    bands : names of the bands.
    flux, error, used : as `read_fluxes` gives them, (n, n_band).

    Returns
    -------
    variance : of each band alone, shared errors left out, (n, n_band) [uJy^2].
    shared : one sigma of what the bands of a group have in common, 0 in the other bands,
        (n_group, n, n_band) [uJy].
    """
    table = fit["model_error"][name]
    fraction = np.array([float(table.get(band, table["default"])) for band in bands])
    n_used = np.maximum(used.sum(axis=1), 1)
    mean = (np.abs(flux) * used).sum(axis=1) / n_used
    floor = float(fit["floor_fraction"][name]) * mean
    variance = error**2 + (fraction[None, :] * flux) ** 2 + floor[:, None] ** 2
    section = fit["survey_error"]
    groups = [[band in group for band in bands] for group in section["groups"].values()]
    members = np.array(groups, dtype=bool).reshape(-1, 1, len(bands))
    return variance, float(section[name]) * members * np.where(used, flux, 0.0)[None]
