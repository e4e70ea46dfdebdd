"""A search that starts from the user's own catalogue, in place of query and match."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from archipelago.base.errors import ConfigError, InputError, nearest
from archipelago.base.losses import check_conservation, join_losses, losses_frame
from archipelago.photometry.cutflow import CutFlow
from archipelago.photometry.cuts import Cut, read_cuts
from archipelago.photometry.fluxes import BandSpec, Depth, as_floats
from archipelago.photometry.measure import OBJECT_COLUMNS, measure
from archipelago.tiles import tile_of

#: Name of this stage in losses and cut flow.
STAGE = "ingest"

_NO_ID = "no identifier"
_NOT_FINITE = "position not finite"
_OUT_OF_RANGE = "position out of range"
_DUPLICATE = "duplicate id"
_OUTSIDE = "outside the footprint"

#: Lines of the cut flow and the reasons of loss that each counts.
_LINES = (
    ("valid identifier and position", (_NO_ID, _NOT_FINITE, _OUT_OF_RANGE)),
    ("one row per id", (_DUPLICATE,)),
    ("inside the footprint", (_OUTSIDE,)),
)

_NEEDED = ("id", "ra_deg", "dec_deg")


@dataclass(frozen=True)
class TileOfCatalogue:
    """What a user's catalogue gives for one tile; see `archipelago.photometry.measure.measure`.

    Attributes
    ----------
    photometry, cutflow, losses : tables of the tile.
    """

    photometry: pd.DataFrame
    cutflow: pd.DataFrame
    losses: pd.DataFrame


def ingest(
    table: pd.DataFrame,
    *,
    columns: Mapping[str, str],
    bands: Mapping[str, Mapping[str, Any] | BandSpec],
    depths: Mapping[str, Mapping[str, Any] | Depth],
    detection_sigma: float,
    cuts: Iterable[Mapping[str, Any] | Cut] = (),
    tiles: Sequence[str],
    tile_order: int,
    where: str = "own catalogue",
    name_tiles: Callable[[ArrayLike, ArrayLike, int], NDArray[np.str_]] = tile_of,
) -> dict[str, TileOfCatalogue]:
    """Bring a user's catalogue to the project's photometry, tile by tile.

    Parameters
    ----------
    table : the catalogue as read.
    columns : its names of id, ra_deg and dec_deg (ICRS); under any other key, such as
        ebv_sfd98, a further column that is kept under the name of the key.
    bands : per band its columns of value and error, and their system.
    depths, detection_sigma, cuts : as in `archipelago.photometry.measure.measure`.
    tiles : names of the tiles of the search.
    tile_order : HEALPix order of the tiles.
    where : what to call the catalogue in errors.
    name_tiles : returns the name of the tile of each position.

    Returns
    -------
    tiles : one item per name in ``tiles``, in that order. Rows without a valid id (id -1)
        or position, repeated ids after the first, and positions in none of the tiles are
        losses. Those that belong to no tile of the list are counted with its first.

    Raises
    ------
    ConfigError
        If the mapping, a band, a depth or a cut is wrong.
    InputError
        If columns are absent, ids are not whole numbers, or numbers are text.
    """
    if not tiles:
        raise ConfigError(
            "the search has no tile", where="survey.footprint", next_step="name a larger footprint"
        )
    specs = {band: BandSpec.from_config(band, section) for band, section in bands.items()}
    typed_cuts = read_cuts(cuts)
    objects = _objects(table, columns, specs, where)
    reasons = _reasons(objects, name_tiles, tiles, tile_order)
    found = objects["tile"].astype(object)
    # Every row has a home, so that the sum over tiles is the whole file.
    home = np.where(found.isin(list(tiles)), found, tiles[0])
    carry = [key for key, name in columns.items() if key not in _NEEDED and name]
    arguments = (specs, depths, detection_sigma, typed_cuts, carry)
    nothing = _one_tile(objects[:0], reasons[:0], *arguments, tile="")
    result = {}
    for tile in tiles:
        here = home == tile
        if here.any():
            result[tile] = _one_tile(objects[here], reasons[here], *arguments, tile=tile)
        else:  # most tiles of a large footprint
            result[tile] = replace(nothing, cutflow=nothing.cutflow.assign(tile=tile))
    check_conservation(
        len(table),
        sum(len(one.photometry) for one in result.values()),
        sum(len(one.losses) for one in result.values()),
        where=where,
    )
    return result


def whole_numbers(column: pd.Series, name: str = "id") -> tuple[NDArray[np.int64], NDArray]:
    """Return identifiers (n,) as int64, -1 where there is none, and where there is one (n,).

    Raises
    ------
    InputError
        If an identifier is not a whole number of 64 bits, or is a float so large that it
        has lost digits.
    """

    def refuse(what: str) -> InputError:
        return InputError(
            f"identifiers must be whole numbers of 64 bits, but {what}",
            where=f"column {name}",
            next_step="map a column of whole numbers as id, or number the rows in one",
        )

    if pd.api.types.is_float_dtype(column.dtype):
        values = column.to_numpy(dtype=float, na_value=np.nan)
        has = np.isfinite(values)
        odd = values[has & (values != np.floor(np.where(has, values, 0.0)))]
        if len(odd):
            raise refuse(f"one is {odd[0]}")
        if (np.abs(values[has]) >= 2.0**53).any():
            raise refuse("they were stored as floating point and have lost digits")
        ids = np.where(has, values, -1).astype(np.int64)
        return ids, has
    has = column.notna().to_numpy(dtype=bool).copy()
    if pd.api.types.is_integer_dtype(column.dtype):
        given = [int(value) for value in column[has]]
    else:
        text = column.map(
            lambda one: one.decode("utf-8", "replace") if isinstance(one, bytes) else one
        ).astype(str)
        text = text.str.strip()
        has &= ~text.str.lower().isin(["", "nan", "none", "null", "--"]).to_numpy(dtype=bool)
        wrong = text[has & ~text.str.fullmatch(r"[+-]?\d+").to_numpy(dtype=bool)]
        if len(wrong):
            raise refuse(f"{len(wrong)} are not, such as {wrong.iloc[0]!r}")
        given = [int(value) for value in text[has]]
    bounds = np.iinfo(np.int64)
    if any(not bounds.min <= value <= bounds.max for value in given):
        raise refuse("one is larger")
    ids = np.full(len(column), -1, dtype=np.int64)
    ids[has] = given
    return ids, has


def _objects(
    table: pd.DataFrame, columns: Mapping[str, str], specs: Mapping[str, BandSpec], where: str
) -> pd.DataFrame:
    """Return the catalogue under the project's names; ``_row`` counts from 1."""
    unmapped = [key for key in _NEEDED if not columns.get(key)]
    reserved = [key for key in columns if key not in _NEEDED and _is_reserved(key)]
    if unmapped or reserved or not specs:
        problem = f"no column is mapped as {', '.join(unmapped)}" if unmapped else ""
        problem = problem or (f"{reserved[0]} is a name of the project's own" if reserved else "")
        raise ConfigError(
            problem or "no band is mapped",
            where="catalogue",
            next_step="map id, ra_deg, dec_deg, and value and error of each band",
        )
    wanted = {columns[key]: key for key in columns if columns[key]}
    for band, spec in specs.items():
        wanted |= {spec.value: f"{band}: value", spec.error: f"{band}: error"}
    missing = [name for name in wanted if name not in table.columns]
    if missing:
        said = [f"{name} ({wanted[name]}){nearest(name, table.columns)}" for name in missing]
        raise InputError(
            f"the catalogue lacks the columns {', '.join(said)}",
            where=where,
            next_step=f"map columns among {', '.join(map(str, table.columns))}",
        )
    ids, has_id = whole_numbers(table[columns["id"]], columns["id"])
    data: dict[str, Any] = {
        "id": ids,
        "_has_id": has_id,
        "ra_deg": as_floats(table[columns["ra_deg"]], columns["ra_deg"]),
        "dec_deg": as_floats(table[columns["dec_deg"]], columns["dec_deg"]),
        "_row": np.arange(1, len(table) + 1),
    }
    for key, name in columns.items():
        if key not in _NEEDED and name:
            data[key] = _plain(table[name])
    for band, spec in specs.items():
        data[f"value_{band}"] = as_floats(table[spec.value], spec.value)
        data[f"error_{band}"] = as_floats(table[spec.error], spec.error)
    return pd.DataFrame(data)


def _is_reserved(key: str) -> bool:
    starts = ("flux_ujy_", "flux_err_ujy_", "mag_ab_", "mag_err_", "detected_", "value_", "error_")
    return key in OBJECT_COLUMNS or key.startswith(("_", *starts))


def _plain(column: pd.Series) -> Any:
    """Return a column that Parquet can hold: mixed objects and bytes become text."""
    if column.dtype != object:
        return column.to_numpy() if isinstance(column.dtype, np.dtype) else column.array
    text = [
        None
        if value is None or value is pd.NA or value != value
        else (value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value))
        for value in column
    ]
    return pd.array(text, dtype="str")


def _reasons(
    objects: pd.DataFrame,
    name_tiles: Callable[[ArrayLike, ArrayLike, int], NDArray[np.str_]],
    tiles: Sequence[str],
    tile_order: int,
) -> pd.Series:
    """Return why each row is lost, '' where it is not; fills in tile and normalises ra_deg."""
    ra, dec = objects["ra_deg"].to_numpy(), objects["dec_deg"].to_numpy()
    finite = np.isfinite(ra) & np.isfinite(dec)
    with np.errstate(invalid="ignore"):
        in_range = finite & (ra >= -180.0) & (ra <= 360.0) & (np.abs(dec) <= 90.0)
    names = np.full(len(objects), "", dtype=object)
    names[in_range] = name_tiles(ra[in_range], dec[in_range], tile_order)
    objects["ra_deg"] = np.where(in_range, np.where(in_range, ra, 0.0) % 360.0, ra)
    objects["tile"] = names
    reason = pd.Series("", index=objects.index, dtype=object)
    reason[~objects["_has_id"]] = _NO_ID
    reason[(reason == "") & ~finite] = _NOT_FINITE
    reason[(reason == "") & ~in_range] = _OUT_OF_RANGE
    # The first valid row of an id is kept, even where an earlier one was unusable.
    valid = reason == ""
    again = objects.loc[valid, "id"].duplicated()
    reason[again.index[again]] = _DUPLICATE
    reason[(reason == "") & ~objects["tile"].isin(list(tiles))] = _OUTSIDE
    return reason


def _one_tile(
    objects: pd.DataFrame,
    reasons: pd.Series,
    specs: Mapping[str, BandSpec],
    depths: Mapping[str, Mapping[str, Any] | Depth],
    detection_sigma: float,
    cuts: Sequence[Cut],
    carry: Sequence[str],
    *,
    tile: str,
) -> TileOfCatalogue:
    flow = CutFlow(tile)
    left = len(objects)
    parts = []
    for line, line_reasons in _LINES:
        lost = 0
        for reason in line_reasons:
            rows = objects[reasons == reason]
            lost += len(rows)
            detail = "row " + rows["_row"].astype(str)
            if reason == _OUTSIDE:
                detail += ", in tile " + rows["tile"].astype(str)
            parts.append(losses_frame(rows, tile=tile, stage=STAGE, reason=reason, detail=detail))
        flow.add(STAGE, line, left, left - lost)
        left -= lost
    kept = objects[reasons == ""].drop(columns=["tile", "_row", "_has_id"])
    photometry, cutflow, cut_losses = measure(
        kept, specs, depths, detection_sigma, cuts, tile, before=flow.table(), carry=carry
    )
    return TileOfCatalogue(photometry, cutflow, join_losses([*parts, cut_losses]))
