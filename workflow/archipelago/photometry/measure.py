"""From matched catalogues to one table of photometry, with cuts, cut flow and losses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from archipelago.base.errors import ConfigError, DataError, nearest
from archipelago.base.losses import join_losses, losses_frame
from archipelago.base.tables import require_columns
from archipelago.photometry.cutflow import CutFlow
from archipelago.photometry.cuts import Cut, check_bands, read_cuts
from archipelago.photometry.fluxes import (
    BandPhotometry,
    BandSpec,
    Depth,
    as_floats,
    measure_band,
)

#: Columns of every table of photometry, before those of the bands.
OBJECT_COLUMNS = ("id", "ra_deg", "dec_deg", "tile")

#: What each group of band columns is, for the metadata of the files.
_ABOUT = {
    "flux_ujy_": "flux density, 0 where not detected",
    "flux_err_ujy_": "error of the flux; not detected: a third of the survey's 3-sigma depth",
    "mag_ab_": "AB magnitude, 99 where not detected",
    "mag_err_": "error of the magnitude, 99 where not detected",
    "detected_": "flux above the detection threshold",
    "separation_arcsec_": "distance to the partner in that catalogue",
}
_ABOUT_OBJECT = {
    "id": "identifier in the survey",
    "ra_deg": "right ascension, ICRS",
    "dec_deg": "declination, ICRS",
    "tile": "HEALPix tile, NESTED: order and pixel",
    "ebv_sfd98": "Galactic E(B-V), Schlegel et al. (1998)",
}


def read_bands(
    bands: Sequence[str], *sources: Mapping[str, Mapping[str, Any] | BandSpec]
) -> dict[str, BandSpec]:
    """Return the specification of each of ``bands``, in that order.

    Parameters
    ----------
    bands : names of the bands wanted.
    sources : sections of bands, of the survey and of each matched catalogue; where two have
        a band, the last counts.

    Raises
    ------
    ConfigError
        If a band is in none of them.
    """
    known = {band: section for source in sources for band, section in source.items()}
    for band in bands:
        if band not in known:
            raise ConfigError(
                f"no catalogue has band {band}{nearest(band, known)}",
                where="photometry.bands",
                next_step=f"use bands among {', '.join(known)}, or add it to a catalogue's bands",
            )
    return {band: BandSpec.from_config(band, known[band]) for band in bands}


def read_depths(
    bands: Iterable[str], depths: Mapping[str, Mapping[str, Any] | Depth]
) -> dict[str, Depth]:
    """Return the depth of each of ``bands``; raises `ConfigError` where one is not given."""
    wanted = list(bands)
    missing = [band for band in wanted if band not in depths]
    if missing:
        raise ConfigError(
            f"no depth is given for {', '.join(missing)}",
            where="photometry.depths",
            next_step="give sigma and one of mag_ab and flux_ujy for each: undetected objects "
            "get their flux error from it",
        )
    return {band: Depth.from_config(band, depths[band]) for band in wanted}


def measure(
    matched: pd.DataFrame,
    bands: Mapping[str, BandSpec],
    depths: Mapping[str, Mapping[str, Any] | Depth],
    detection_sigma: float,
    cuts: Iterable[Mapping[str, Any] | Cut],
    tile: str,
    *,
    before: pd.DataFrame | None = None,
    carry: Sequence[str] = (),
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Bring all bands to AB and microjansky, and apply the cuts in order.

    Parameters
    ----------
    matched : id, ra_deg, dec_deg and the raw numbers of each band B as ``value_B`` and
        ``error_B``, or as ``mag_ab_B`` and ``mag_err_B``.
    bands : what the numbers of each band are; the order of the output's columns.
    depths : depth of each band.
    detection_sigma : an object is detected where its flux exceeds this many errors.
    cuts : sections of the configuration, or `Cut` objects, applied one after the other.
    tile : name of the tile.
    before : lines of the cut flow up to here.
    carry : further columns of ``matched`` to keep. ``ebv_sfd98`` and
        ``separation_arcsec_*`` are kept in any case.

    Returns
    -------
    photometry : objects kept, sorted by id: `OBJECT_COLUMNS`, then for each band flux_ujy_B,
        flux_err_ujy_B, mag_ab_B, mag_err_B, detected_B.
    cutflow : columns `archipelago.photometry.cutflow.CUTFLOW_COLUMNS`.
    losses : one row per object lost; the reason is the cut's name.

    Raises
    ------
    ConfigError
        If a cut or a depth is wrong.
    InputError
        If a column is absent or holds no numbers.
    DataError
        If an id occurs twice, or ``before`` ends with another number of rows.
    """
    where = f"tile {tile}"
    typed_cuts = read_cuts(cuts)
    check_bands(typed_cuts, bands)
    typed_depths = read_depths(bands, depths)
    columns = {band: columns_of(matched, band) for band in bands}
    wanted = [*OBJECT_COLUMNS[:3], *(name for pair in columns.values() for name in pair), *carry]
    require_columns(matched, wanted, where)
    twice = matched["id"][matched["id"].duplicated()]
    if len(twice):
        raise DataError(
            f"the id {twice.iloc[0]} occurs twice ({len(twice)} such rows)",
            where=where,
            next_step="delete this tile's files and run the selection again",
        )
    table = matched.sort_values("id", kind="stable").reset_index(drop=True)
    measured = {
        band: measure_band(
            table[columns[band][0]],
            table[columns[band][1]],
            spec,
            typed_depths[band],
            detection_sigma,
        )
        for band, spec in bands.items()
    }
    kept, cutflow, losses = _apply_cuts(table, measured, typed_cuts, tile, before)
    separations = [name for name in table.columns if name.startswith("separation_arcsec_")]
    extras = [name for name in ("ebv_sfd98", *carry) if name in table.columns]
    photometry = photometry_frame(table, measured, tile)
    for name in dict.fromkeys([*extras, *separations]):
        photometry[name] = table[name]
    return photometry[kept].reset_index(drop=True), cutflow, losses


def photometry_frame(
    objects: pd.DataFrame, measured: Mapping[str, BandPhotometry], tile: str
) -> pd.DataFrame:
    """Return the table of photometry of ``objects`` (id, ra_deg, dec_deg), cuts aside."""
    data: dict[str, Any] = {
        "id": objects["id"].to_numpy(dtype=np.int64),
        "ra_deg": as_floats(objects["ra_deg"], "ra_deg"),
        "dec_deg": as_floats(objects["dec_deg"], "dec_deg"),
        "tile": pd.Series([tile] * len(objects), dtype="str"),
    }
    for band, one in measured.items():
        data[f"flux_ujy_{band}"] = one.flux_ujy
        data[f"flux_err_ujy_{band}"] = one.flux_err_ujy
        data[f"mag_ab_{band}"] = one.mag_ab
        data[f"mag_err_{band}"] = one.mag_err
        data[f"detected_{band}"] = one.detected
    return pd.DataFrame(data)


def describe(columns: Iterable[str]) -> dict[str, str]:
    """Return a sentence on each column of a table of photometry that has one."""
    about: dict[str, str] = {}
    for name in columns:
        if name in _ABOUT_OBJECT:
            about[name] = _ABOUT_OBJECT[name]
        for start, text in _ABOUT.items():
            if name.startswith(start):
                about[name] = f"{text} ({name.removeprefix(start)})"
    return about


def columns_of(matched: pd.DataFrame, band: str) -> tuple[str, str]:
    """Return the columns that hold a band: the survey's own, or a partner's."""
    raw, survey = (f"value_{band}", f"error_{band}"), (f"mag_ab_{band}", f"mag_err_{band}")
    return survey if raw[0] not in matched.columns and survey[0] in matched.columns else raw


def _apply_cuts(
    table: pd.DataFrame,
    measured: Mapping[str, BandPhotometry],
    cuts: Sequence[Cut],
    tile: str,
    before: pd.DataFrame | None,
) -> tuple[np.ndarray, pd.DataFrame, pd.DataFrame]:
    flow = CutFlow(tile)
    if before is not None:
        flow.extend(before)
        if flow.rows != len(table):
            raise DataError(
                f"the stages before leave {flow.rows} rows, but {len(table)} came",
                where=f"tile {tile}",
                next_step="the files of this tile do not belong together: delete them and "
                "run its rules again",
            )
    kept = np.ones(len(table), dtype=bool)
    parts = []
    for cut in cuts:
        lost = kept & ~cut.passes(measured)
        n_before = int(kept.sum())
        kept &= ~lost
        flow.add("photometry", cut.name, n_before, int(kept.sum()))
        if lost.any():
            parts.append(
                losses_frame(
                    table[lost],
                    tile=tile,
                    stage="photometry",
                    reason=cut.name,
                    detail=pd.Series(cut.details(measured, lost), index=table.index[lost]),
                )
            )
    return kept, flow.table(), join_losses(parts)
