"""Small images of each object in every band, judged by what they contain.

An answer with status 200 may hold an empty file, a broken one, a page of text,
an image cut at a tile's edge, or one of another place. So each is read, checked
and trimmed to the same square of pixels around the object before it counts. Where
no tile holds the whole square it is put together from several
(`archipelago.survey.mosaic`).
"""

from __future__ import annotations

import json
import logging
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import pandas as pd
from astropy_healpix import healpy
from numpy.typing import NDArray

from archipelago.base.errors import DataError, ServiceError
from archipelago.base.files import naming_full_disk
from archipelago.base.images import write_images
from archipelago.base.losses import LOSS_COLUMNS, check_conservation, no_losses
from archipelago.base.marks import objects_mark
from archipelago.base.progress import Progress
from archipelago.base.spool import Spool
from archipelago.base.tables import write_table_parts
from archipelago.survey.cutout_query import CutoutQuery
from archipelago.survey.downloads import MAX_CUTOUT_BYTES, Downloads
from archipelago.survey.faults import RequestError
from archipelago.survey.http import HttpClient
from archipelago.survey.one_object import Fetched, ObjectFetcher

_LOG = logging.getLogger(__name__)

#: Name of this stage in tables of losses.
STAGE = "images"
#: Objects that may fail in a row by the service's fault before the run stops.
GIVE_UP_AFTER = 20
#: Name, in the files' metadata, of the record of what was asked.
ASKED = "asked"

#: What the columns of the manifest are, for the metadata of the file.
MANIFEST_ABOUT = {
    "id": "identifier of the object",
    "band": "band of the image",
    "status": "ok or lost",
    "reason": "why it is lost, in a few words; empty where it is not",
    "url": "address of the file accepted, or asked last; empty where none was",
    "bytes": "size of the file accepted, 0 where none was",
    "sha256": "checksum of the file accepted; empty where none was",
    "attempts": "requests sent for this band's files; 0 where they were kept from before",
    "n_filled_px": "pixels without a value that got the stamp's median",
    "n_other_px": "pixels that the file accepted lacks, resampled from other_url",
    "other_url": "addresses of files that gave such pixels, with spaces between; mostly empty",
}

_WHOLE = ("id", "bytes", "attempts", "n_filled_px", "n_other_px")
#: Objects whose rows, and whose stamps, are written at a time.
_ROWS_CHUNK, _STAMPS_CHUNK = 128, 32
#: HEALPix order in which objects are neighbours: 3.4 arcmin.
_NEIGHBOURS_ORDER = 10


def fetch_cutouts(
    objects: pd.DataFrame,
    client: HttpClient,
    sia_url: str,
    query: CutoutQuery,
    *,
    tile: str,
    cutouts: str | Path,
    manifest: str | Path,
    max_image_bytes: int = MAX_CUTOUT_BYTES,
) -> pd.DataFrame:
    """Fetch the stamps of all objects, in all bands or not at all, into files.

    Objects go in parallel, as many as the client has connections, neighbours on the
    sky one after the other; the result does not depend on which answer comes
    first. The bands of one object go one after the other, and stop at the first that
    cannot be had. Memory does not grow with the number of objects, but for their
    ids, positions and losses.

    Parameters
    ----------
    objects : id, ra_deg, dec_deg; other columns are ignored.
    client : sends the requests. Cancelled, and of no use after that, on an error.
    sia_url : the service that lists images.
    query : what is wanted of each object.
    tile : name of the tile, for the losses.
    cutouts :
        File for the objects that have all bands, sorted by id; see `write_images`.
    manifest :
        Parquet file for one row per object and band, also of lost objects, sorted by id,
        bands in order; columns as in `MANIFEST_ABOUT`. Both files carry `asked_record`.
    max_image_bytes : largest file read.

    Returns
    -------
    losses : one row per object that lacks a band.

    Raises
    ------
    DataError
        If an identifier comes twice.
    ServiceError
        If `GIVE_UP_AFTER` objects in a row, or all there are, failed because the
        service does not work: that is an outage, not a property of the objects.
    """
    objects = objects[["id", "ra_deg", "dec_deg"]].sort_values("id", kind="stable")
    objects = objects.reset_index(drop=True)
    twice = objects.loc[objects["id"].duplicated(), "id"]
    if len(twice):
        raise DataError(
            f"the identifier {twice.iloc[0]} comes more than once",
            where=f"objects of tile {tile}",
            next_step="delete the tile's tables and make them again",
        )
    asked = asked_record(query, objects)
    ids = objects["id"].to_numpy(dtype=np.int64)
    shape = (len(query.bands), query.size_px, query.size_px)
    with (
        naming_full_disk(manifest),
        Spool(Path(manifest).parent, len(ids), shape) as spool,
    ):
        lost = _fetch_all(objects, client, sia_url, query, spool, max_image_bytes)
        kept = spool.with_array
        losses = _losses(objects, lost, tile)
        check_conservation(len(objects), len(kept), len(losses), where=f"cutouts, tile {tile}")
        write_table_parts(
            _manifest_parts(spool, ids, query.bands), manifest, MANIFEST_ABOUT, {ASKED: asked}
        )
        write_images(
            cutouts,
            (
                spool.arrays(kept[first : first + _STAMPS_CHUNK])
                for first in range(0, len(kept), _STAMPS_CHUNK)
            ),
            shape,
            ids[kept],
            query.bands,
            query.pixel_scale_arcsec,
            query.zero_point_ab,
            asked,
        )
    return losses


def asked_record(query: CutoutQuery, objects: pd.DataFrame) -> str:
    """Return, as JSON, what was asked for and a digest of the objects and their positions."""
    positions = objects.set_index("id")
    mark = objects_mark(objects["id"].to_numpy(dtype=np.int64), positions)
    return json.dumps(query.record() | {"objects": mark}, sort_keys=True)


def _fetch_all(
    objects: pd.DataFrame,
    client: HttpClient,
    sia_url: str,
    query: CutoutQuery,
    spool: Spool,
    max_image_bytes: int,
) -> dict[int, tuple[str, str]]:
    """Put what became of each object into ``spool``; return reason and detail of lost ones."""
    ra_deg, dec_deg = (objects[name].to_numpy(dtype=np.float64) for name in ("ra_deg", "dec_deg"))
    fetcher = ObjectFetcher(Downloads(client, query, max_image_bytes), sia_url, query)
    outages = _OutageCounter(len(objects))
    lost: dict[int, tuple[str, str]] = {}
    order = _neighbours_together(ra_deg, dec_deg)
    with (
        closing(_in_order(fetcher, ra_deg[order], dec_deg[order])) as results,
        Progress(len(objects), "objects with cutouts") as progress,
    ):
        for place, result in zip(order.tolist(), results, strict=True):
            outages.count(result.outage)
            rows = [[getattr(band, name) for name in _ROW] for band in result.bands]
            if result.reason:
                lost[place] = result.reason, result.detail
                spool.put(place, rows)
            else:
                spool.put(place, rows, np.stack([_pixels(band.stamp) for band in result.bands]))
            progress.step(failed=bool(result.reason))
    return lost


_ROW = tuple(name for name in MANIFEST_ABOUT if name != "id")


def _pixels(stamp: NDArray[np.float32] | None) -> NDArray[np.float32]:
    if stamp is None:
        raise RuntimeError("an object without a loss lacks a stamp")
    return stamp


def _losses(objects: pd.DataFrame, lost: dict[int, tuple[str, str]], tile: str) -> pd.DataFrame:
    if not lost:
        return no_losses()
    places = sorted(lost)
    losses = objects.loc[places, ["id", "ra_deg", "dec_deg"]].reset_index(drop=True)
    losses["tile"], losses["stage"] = tile, STAGE
    losses["reason"] = [lost[place][0] for place in places]
    losses["detail"] = [lost[place][1] for place in places]
    return losses[list(LOSS_COLUMNS)]


def _manifest_parts(
    spool: Spool, ids: NDArray[np.int64], bands: tuple[str, ...]
) -> Iterator[pd.DataFrame]:
    for first in range(0, max(len(ids), 1), _ROWS_CHUNK):
        part = ids[first : first + _ROWS_CHUNK]
        rows = [row for one in spool.records(first, first + len(part)) for row in one]
        table = pd.DataFrame(rows, columns=list(_ROW))
        table.insert(0, "id", np.repeat(part, len(bands)))
        kinds = {name: "int64" if name in _WHOLE else "str" for name in table.columns}
        yield table.astype(kinds)


def _neighbours_together(
    ra_deg: NDArray[np.float64], dec_deg: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Return an order in which objects that may share an image follow each other."""
    good = np.isfinite(ra_deg) & np.isfinite(dec_deg) & (np.abs(dec_deg) <= 90)
    pixel = np.full(len(ra_deg), -1, dtype=np.int64)
    if good.any():
        pixel[good] = healpy.ang2pix(
            2**_NEIGHBOURS_ORDER, ra_deg[good], dec_deg[good], nest=True, lonlat=True
        )
    return np.argsort(pixel, kind="stable")


def _in_order(
    fetcher: ObjectFetcher, ra_deg: NDArray[np.float64], dec_deg: NDArray[np.float64]
) -> Generator[Fetched]:
    """Yield the result of each object in order, with a bounded number under way."""
    workers = fetcher.client.connections
    waiting: deque[Future[Fetched]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="cutouts")
    complete = False
    try:
        for ra, dec in zip(ra_deg.tolist(), dec_deg.tolist(), strict=True):
            waiting.append(pool.submit(fetcher, ra, dec))
            if len(waiting) >= 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
        complete = True
    finally:
        if not complete:
            fetcher.client.cancel()
        pool.shutdown(wait=True, cancel_futures=True)


class _OutageCounter:
    """Tells an outage of the service from single objects that cannot be had."""

    def __init__(self, total: int) -> None:
        self._limit = min(GIVE_UP_AFTER, total)
        self._in_a_row = 0

    def count(self, outage: ServiceError | None) -> None:
        self._in_a_row = self._in_a_row + 1 if outage else 0
        if outage and self._in_a_row >= max(self._limit, 2):
            raise ServiceError(
                f"{self._in_a_row} objects in a row failed by the service's fault, "
                f"the last one: {outage.what}",
                url=outage.url,
                status=outage.status,
                next_step="run again later; the tiles that are complete are kept",
            )
        # One object alone may well be one that the server always fails at.
        unreachable = isinstance(outage, RequestError) and outage.reason == "no connection"
        if outage and unreachable and self._limit == 1:
            raise outage
