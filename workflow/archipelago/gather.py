"""The tiles gathered: one catalogue, one set of images, one table of losses.

At every gather rows in = rows out + rows lost is checked.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.typing import NDArray

from archipelago.base.errors import DataError
from archipelago.base.files import REMAKE, reading
from archipelago.base.images import ImageSet, load_images, write_images
from archipelago.base.losses import (
    check_conservation,
    join_losses,
    losses_frame,
    read_losses,
)
from archipelago.base.marks import objects_mark
from archipelago.base.tables import read_mark, read_table
from archipelago.photometry.cutflow import CutFlow, sum_cutflows

_LOG = logging.getLogger(__name__)

#: Columns of a manifest: what became of each object and band.
MANIFEST_COLUMNS = ("id", "band", "status", "reason", "url", "bytes", "sha256", "attempts")

_MANIFEST_TYPES = {
    "id": "int64",
    "band": "str",
    "status": "str",
    "reason": "str",
    "url": "str",
    "bytes": "int64",
    "sha256": "str",
    "attempts": "int64",
}

#: Images copied at a time: 4,096 cutouts of 5 x 28 x 28 are 64 MB.
_CHUNK = 4096

_REMAKE_TILES = "delete the tiles' files and run their rules again"


def count_rows(path: str | Path) -> int:
    """Return the number of rows of a Parquet file without reading them."""
    with reading("the table", path):
        return int(pq.read_metadata(path).num_rows)


def count_images(path: str | Path) -> int:
    """Return the number of objects in a file of cutouts without reading their pixels."""
    return len(load_images(path, memory_map=True))


def empty_manifest() -> pd.DataFrame:
    """Return a manifest without rows."""
    return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in _MANIFEST_TYPES.items()})


def gather_catalogue(
    photometry: Mapping[str, pd.DataFrame],
    cutflows: Sequence[pd.DataFrame],
    losses: Sequence[pd.DataFrame],
    n_sources: Sequence[int] | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Join the photometry of all tiles into one catalogue.

    An object that two tiles hold is kept once, as the tile named first has it;
    the others become losses with the reason ``duplicate id``.

    Parameters
    ----------
    photometry : table of each tile.
    cutflows : cut flow of each tile, in the same order.
    losses : tables of losses of all stages before the images, of all tiles.
    n_sources : rows of each tile's selection; None where there was no selection.

    Returns
    -------
    catalogue : all objects, sorted by id.
    cutflow : lines of all tiles added, then one for the duplicates.
    losses : all losses, duplicates included, sorted by id.

    Raises
    ------
    DataError
        If the tiles' columns differ, or rows are unaccounted for.
    """
    tiles = list(photometry)
    if len(cutflows) != len(tiles) or (n_sources is not None and len(n_sources) != len(tiles)):
        raise DataError(
            f"{len(tiles)} tiles, but {len(cutflows)} cut flows", next_step=_REMAKE_TILES
        )
    if not tiles:
        raise DataError("there is no tile to gather", next_step="check survey.footprint")
    columns = list(photometry[tiles[0]].columns)
    for number, tile in enumerate(tiles):
        where = f"tile {tile}"
        table, flow = photometry[tile], cutflows[number]
        if list(table.columns) != columns:
            differ = sorted(set(map(str, table.columns)) ^ set(map(str, columns)))
            raise DataError(
                f"its columns differ from those of tile {tiles[0]}: {', '.join(differ) or 'order'}",
                where=where,
                next_step=_REMAKE_TILES,
            )
        left = int(flow["rows_out"].iloc[-1]) if len(flow) else 0
        check_conservation(left, len(table), 0, where=f"photometry against cut flow, {where}")
        selection = flow[flow["stage"] == "select"]
        if n_sources is not None and len(selection):
            n_selected = int(selection["rows_out"].iloc[-1])
            check_conservation(n_sources[number], n_selected, 0, where=f"selection, {where}")
    joined = pd.concat([photometry[tile] for tile in tiles], ignore_index=True)
    joined = joined.sort_values("id", kind="stable")
    again = joined["id"].duplicated()
    duplicates = [
        losses_frame(
            rows,
            tile=str(tile),
            stage="catalogue",
            reason="duplicate id",
            detail="kept once, in the first tile that has it",
        )
        for tile, rows in joined[again].groupby("tile", sort=True)
    ]
    catalogue = joined[~again].reset_index(drop=True)
    all_losses = _sort_losses(join_losses([*losses, *duplicates]))
    total = CutFlow("all")
    total.extend(sum_cutflows(cutflows))
    total.add("catalogue", "one row per id", len(joined), len(catalogue))
    summed = total.table()
    check_conservation(
        int(summed["rows_in"].iloc[0]), len(catalogue), len(all_losses), where="catalogue"
    )
    return catalogue, summed, all_losses


def gather_images(
    cutouts: Sequence[str | Path],
    manifests: Sequence[str | Path],
    losses: Sequence[str | Path],
    catalogue_ids: NDArray[np.int64],
    output: str | Path,
    *,
    asked: Mapping[str, Any] | None = None,
    tiles: Sequence[str] = (),
    positions: pd.DataFrame | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Join the cutouts of all tiles into one file, sorted by id.

    Images are copied in chunks from file to file; memory holds one chunk
    whatever their number. An object that two tiles hold takes the images of the
    first tile that has them all, and is lost only if no tile has.

    Parameters
    ----------
    cutouts, manifests, losses : files of each tile, in one order of tiles.
    catalogue_ids : ids of the catalogue.
    output : the file of images to write.
    asked : what is wanted of an image service; None: the cutouts come from elsewhere.
    tiles : names of the tiles, for errors.
    positions : ra_deg, dec_deg of the catalogue by id, to compare with those asked for.

    Returns
    -------
    manifest : one row per object and band, sorted by id; bands in the order of the images.
        Columns `MANIFEST_COLUMNS`, and others that all tiles have.
    losses : one row per object of the catalogue without images, sorted by id.

    Raises
    ------
    InputError
        If a file cannot be read.
    DataError
        If the files differ in bands, size, pixel scale or zero point, if they were made for
        something else than ``asked``, or if objects are unaccounted for.
    """
    if not (len(cutouts) == len(manifests) == len(losses) > 0):
        raise DataError(
            f"{len(cutouts)} files of cutouts, {len(manifests)} manifests and "
            f"{len(losses)} tables of losses",
            next_step=_REMAKE_TILES,
        )
    sets = [load_images(path, memory_map=True) for path in cutouts]
    if asked is not None:
        for number, (path, one) in enumerate(zip(manifests, sets, strict=True)):
            tile = tiles[number] if number < len(tiles) else Path(path).parent.name
            _require_asked(one.asked, asked, positions, None, cutouts[number], tile)
            _require_asked(read_mark(path, "asked"), asked, positions, path, path, tile)
    for path, one in zip(cutouts, sets, strict=True):
        _check_alike(one, sets[0], path, cutouts[0])
    ids = np.concatenate([one.ids for one in sets])
    tile_of_row = np.repeat(np.arange(len(sets)), [len(one) for one in sets])
    row_in_tile = np.concatenate([np.arange(len(one)) for one in sets])
    # Stable: of equal ids the one of the first tile comes first.
    order = np.argsort(ids, kind="stable")
    order = order[np.r_[True, np.diff(ids[order]) != 0]] if len(order) else order
    kept = ids[order]
    manifest = _gather_manifests(manifests, kept, tile_of_row[order], sets[0].bands)
    lost = _gather_image_losses(losses, kept)
    strangers = np.setdiff1d(np.concatenate([kept, lost["id"].to_numpy()]), catalogue_ids)
    if len(strangers):
        raise DataError(
            f"{len(strangers)} objects of the cutouts are not in the catalogue, such as "
            f"id {strangers[0]}",
            where=str(output),
            next_step="the tiles belong to different runs: " + _REMAKE_TILES,
        )
    check_conservation(len(catalogue_ids), len(kept), len(lost), where="images")
    write_images(
        output,
        _chunks(sets, tile_of_row[order], row_in_tile[order]),
        sets[0].images.shape[1:],
        kept,
        sets[0].bands,
        sets[0].pixel_scale_arcsec,
        sets[0].zero_point_ab,
    )
    _LOG.info("images of %d objects, %d without", len(kept), len(lost))
    return manifest, lost


def gather_losses(
    catalogue_losses: pd.DataFrame,
    catalogue_cutflow: pd.DataFrame,
    image_losses: pd.DataFrame | None = None,
    n_images: int | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Join all losses and finish the cut flow with the line of the images.

    Parameters
    ----------
    catalogue_losses, catalogue_cutflow : from `gather_catalogue`.
    image_losses : from `gather_images`; None for a search without images.
    n_images : objects with images; None likewise.

    Returns
    -------
    losses : in the order of the cut flow's stages, sorted by id within each.
    cutflow : summed over tiles.

    Raises
    ------
    DataError
        If rows are unaccounted for.
    """
    flow = CutFlow("all")
    flow.extend(catalogue_cutflow)
    parts = [catalogue_losses]
    if image_losses is not None and n_images is not None:
        check_conservation(flow.rows, n_images, len(image_losses), where="images")
        flow.add("images", "all images found", flow.rows, n_images)
        parts.append(image_losses)
    table = flow.table()
    losses = join_losses(parts)
    n_in = int(table["rows_in"].iloc[0]) if len(table) else 0
    check_conservation(n_in, flow.rows, len(losses), where="losses of all stages")
    return _sort_losses(losses, table["stage"].drop_duplicates().tolist()), table


def _sort_losses(losses: pd.DataFrame, stages: Sequence[str] = ()) -> pd.DataFrame:
    rank = {stage: number for number, stage in enumerate(stages)}
    stage = losses["stage"].map(rank).fillna(len(rank)).to_numpy(dtype=int)
    keys = [losses[name].astype(str).to_numpy() for name in ("reason", "tile", "stage")]
    order = np.lexsort([*keys, losses["id"].to_numpy(dtype=np.int64), stage])
    return losses.iloc[order].reset_index(drop=True)


def _check_alike(one: ImageSet, first: ImageSet, path: str | Path, first_path: str | Path) -> None:
    differ = [
        f"{name} {mine} instead of {theirs}"
        for name, mine, theirs in (
            ("bands", " ".join(one.bands), " ".join(first.bands)),
            ("size (band, y, x)", one.images.shape[1:], first.images.shape[1:]),
            ("pixel scale [arcsec]", one.pixel_scale_arcsec, first.pixel_scale_arcsec),
            ("zero point [mag AB]", one.zero_point_ab, first.zero_point_ab),
        )
        if mine != theirs
    ]
    if differ:
        raise DataError(
            f"these cutouts differ from those of {first_path}: {'; '.join(differ)}",
            where=str(path),
            next_step=_REMAKE_TILES,
        )


def _require_asked(
    record: str,
    asked: Mapping[str, Any],
    positions: pd.DataFrame | None,
    manifest: str | Path | None,
    path: str | Path,
    tile: str,
) -> None:
    """Raise `DataError` unless a file's record says that it was made for ``asked``."""
    found: dict[str, Any] = json.loads(record) if record else {}
    wanted = dict(asked)
    if manifest is not None and positions is not None and record:
        ids = read_table(manifest, required=["id"], columns=["id"])["id"].to_numpy(dtype="int64")
        known = np.isin(ids, positions.index.to_numpy())
        # Objects that the catalogue does not have are refused for that.
        wanted["objects"] = objects_mark(ids, positions) if known.all() else found.get("objects")
    differ = [
        f"{key} {found.get(key, 'unknown')!r} instead of {value!r}"
        for key, value in wanted.items()
        if key not in found or found[key] != value
    ]
    if differ:
        raise DataError(
            f"the images of tile {tile} were asked for with another query: {'; '.join(differ)}",
            where=str(path),
            next_step="snakemake --forcerun cutouts",
        )


def _chunks(
    sets: Sequence[ImageSet], tiles: NDArray[np.int64], rows: NDArray[np.int64]
) -> Iterator[NDArray[np.float32]]:
    """Yield images in the order of ``tiles`` and ``rows``, some thousands at a time."""
    for start in range(0, len(rows), _CHUNK):
        part = slice(start, start + _CHUNK)
        chunk = np.empty((len(rows[part]), *sets[0].images.shape[1:]), dtype=np.float32)
        for tile in np.unique(tiles[part]):
            here = tiles[part] == tile
            chunk[here] = sets[tile].images[rows[part][here]]
        yield chunk


def _gather_manifests(
    paths: Sequence[str | Path],
    kept: NDArray[np.int64],
    kept_tile: NDArray[np.int64],
    bands: Sequence[str],
) -> pd.DataFrame:
    """Return all rows of each object from one tile: that of its images, or the first."""
    parts = []
    for number, path in enumerate(paths):
        part = read_table(path, required=MANIFEST_COLUMNS)
        parts.append(part.astype(_MANIFEST_TYPES).assign(_tile=number))
    joined = pd.concat(parts, ignore_index=True, join="inner")
    first = joined.groupby("id")["_tile"].min()
    chosen = pd.concat([pd.Series(kept_tile, index=kept), first])
    chosen = chosen[~chosen.index.duplicated()]
    joined = joined[joined["_tile"] == joined["id"].map(chosen)]
    rank = joined["band"].map({band: number for number, band in enumerate(bands)})
    order = np.lexsort([rank.fillna(len(bands)).to_numpy(dtype=int), joined["id"].to_numpy()])
    manifest = joined.iloc[order].drop(columns="_tile").reset_index(drop=True)
    found = manifest[manifest["status"] == "ok"].groupby("id").size()
    incomplete = kept[~(pd.Series(kept).map(found).fillna(0) == len(bands)).to_numpy()]
    if len(incomplete):
        raise DataError(
            f"{len(incomplete)} objects have images, but the manifest does not say so for all "
            f"bands, such as id {incomplete[0]}",
            next_step=_REMAKE_TILES,
        )
    return manifest


def _gather_image_losses(paths: Sequence[str | Path], kept: NDArray[np.int64]) -> pd.DataFrame:
    """Return one row per object that no tile has images of, the first tile's."""
    parts = []
    for path in paths:
        part = read_losses(path)
        twice = part["id"][part["id"].duplicated()]
        if len(twice):
            raise DataError(
                f"the id {twice.iloc[0]} is lost twice", where=str(path), next_step=REMAKE
            )
        parts.append(part)
    lost = join_losses(parts)
    lost = lost[~lost["id"].isin(kept) & ~lost["id"].duplicated()]
    return _sort_losses(lost)
