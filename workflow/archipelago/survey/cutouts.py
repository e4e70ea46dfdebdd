"""Small images of each object in every band, judged by what they contain.

An answer with status 200 may hold an empty file, a broken one, a page of text,
an image cut at a tile's edge, or one of another place. So each is read, checked
and trimmed to the same square of pixels around the object before it counts.
"""

from __future__ import annotations

import hashlib
import io
import logging
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from astropy.io import fits
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_scales

from archipelago.base.errors import DataError, ServiceError
from archipelago.base.images import ImageSet
from archipelago.base.losses import (
    LOSS_COLUMNS,
    check_conservation,
    no_losses,
)
from archipelago.base.progress import Progress
from archipelago.survey.http import BadContentError, HttpClient, RequestError, excerpt
from archipelago.survey.sia import IMAGE_EXTENSION, Candidate, choose_images, list_images
from archipelago.survey.votable import parsing

_LOG = logging.getLogger(__name__)

#: Name of this stage in tables of losses.
STAGE = "images"
#: Pixels asked for beyond the stamp, for rounding at the server, the recentring,
#: and a tile that is turned by a degree or two at high declination.
MARGIN_PX = 6
#: Largest cutout read [bytes]: a hundred times what is asked for, less than a whole tile.
MAX_CUTOUT_BYTES = 4_000_000
#: Longest side of an image that is decoded [pixels].
MAX_SIDE_PX = 2_048
#: Largest relative departure of the pixel scale from the configured one.
SCALE_TOLERANCE = 0.02
#: Largest share of a stamp's pixels without a value that is filled in.
MAX_FILLED_FRACTION = 0.02
#: Pixels beyond this are damage, not light; it also keeps float32 finite.
LARGEST_PIXEL = 1e30
#: Candidates tried per band; overlapping tiles give up to four.
MAX_CANDIDATES = 6
#: Objects that may fail in a row by the service's fault before the run stops.
GIVE_UP_AFTER = 20

#: What the columns of the manifest are, for the metadata of the file.
MANIFEST_ABOUT = {
    "id": "identifier of the object",
    "band": "band of the image",
    "status": "ok or lost",
    "reason": "why it is lost, in a few words; empty where it is not",
    "url": "address asked last; empty where none was",
    "bytes": "size of the file accepted, 0 where none was",
    "sha256": "checksum of the file accepted; empty where none was",
    "attempts": "requests sent for this band's files",
    "n_filled_px": "pixels without a value that got the stamp's median",
}


@dataclass(frozen=True)
class Stamp:
    """One band of one object: (y, x) float32, and how many pixels were filled in."""

    image: np.ndarray
    n_filled_px: int


class FitsReader:
    """Judges bodies as a `Check`: a complete FITS file with an image. Keeps the last one.

    Attributes
    ----------
    data : (y, x) the image as it was sent.
    header : its header.
    """

    def __init__(self) -> None:
        self.data: np.ndarray = np.empty((0, 0))
        self.header = fits.Header()

    def __call__(self, body: bytes) -> None:
        """Raise `BadContentError` unless ``body`` is a complete FITS file with a 2-D image.

        Reasons: ``"empty"``, ``"not a FITS file"``, ``"truncated"``,
        ``"no image"``, ``"image too large"``.
        """
        if not body:
            raise BadContentError("empty")
        if not body.startswith(b"SIMPLE  ="):
            # Also keeps compressed bodies out, which could unpack without bound.
            raise BadContentError("not a FITS file", excerpt(body, 100))
        with (
            parsing("not a FITS file"),
            fits.open(io.BytesIO(body), memmap=False) as hdus,
        ):
            self.data, self.header = _first_image(hdus, len(body))


def _first_image(hdus: fits.HDUList, n_bytes: int) -> tuple[np.ndarray, fits.Header]:
    for hdu in hdus[:4]:
        if not hdu.is_image or hdu.header.get("NAXIS", 0) == 0:
            continue
        if hdu.header["NAXIS"] != 2:
            raise BadContentError("no image", f"{hdu.header['NAXIS']} axes instead of two")
        sides = hdu.header["NAXIS1"], hdu.header["NAXIS2"]
        if min(sides) < 1:
            raise BadContentError("empty", "an image without pixels")
        if max(sides) > MAX_SIDE_PX:
            raise BadContentError("image too large", f"{sides[0]} x {sides[1]} pixels")
        info = hdu.fileinfo()
        # A compressed image is larger in memory than in the file; a plain one may lack
        # the padding of its last block.
        if info["datLoc"] + min(hdu.size, info["datSpan"]) > n_bytes:
            raise BadContentError("truncated", f"{n_bytes} bytes")
        return np.array(hdu.data, dtype="float64"), hdu.header.copy()
    raise BadContentError("no image", "a FITS file without an image")


def make_stamp(
    data: np.ndarray,
    header: fits.Header,
    *,
    ra_deg: float,
    dec_deg: float,
    size_px: int,
    pixel_scale_arcsec: float,
    zero_point_ab: float,
) -> Stamp:
    """Judge an image and trim it to the square around the object.

    Whole pixels only: nothing is interpolated, so the object lies within half a
    pixel, on each axis, of the stamp's centre (for an even ``size_px`` that is
    the corner shared by the four middle pixels). An image of another zero
    point (header key MAGZERO) is brought to ``zero_point_ab``. Pixels without
    a finite value get the median of the stamp, if they are at most
    `MAX_FILLED_FRACTION` of it and none is among the middle ones.

    Parameters
    ----------
    data : (y, x) the image as sent.
    header : its FITS header with the WCS.
    ra_deg, dec_deg : the object [deg].
    size_px : side of the stamp [pixels].
    pixel_scale_arcsec : side of a pixel as configured [arcsec].
    zero_point_ab : zero point of the stamp.

    Raises
    ------
    BadContentError
        Reason ``"no WCS"``, ``"pixel scale"``, ``"wrong position"`` (the object is not
        on the image), ``"edge"`` (the image ends within the stamp),
        ``"no values"``, ``"bad pixels"`` or ``"constant"``.
    """
    x, y = _pixel_of(header, ra_deg, dec_deg, pixel_scale_arcsec)
    height, width = data.shape
    if not (-0.5 <= x <= width - 0.5 and -0.5 <= y <= height - 0.5):
        raise BadContentError(
            "wrong position", f"the object is at pixel ({x:.1f}, {y:.1f}) of {width} x {height}"
        )
    left = int(np.floor(x - (size_px - 1) / 2 + 0.5))
    low = int(np.floor(y - (size_px - 1) / 2 + 0.5))
    if left < 0 or low < 0 or left + size_px > width or low + size_px > height:
        # Here an object whose tiles all end within the stamp is given up;
        # `_first_complete` has seen every part of it by then.
        raise BadContentError(
            "edge", f"{width} x {height} pixels, the object at ({x:.1f}, {y:.1f})"
        )
    stamp = data[low : low + size_px, left : left + size_px]
    factor = _zero_point_factor(header, zero_point_ab)
    return _fill(stamp * factor)


def _pixel_of(
    header: fits.Header, ra_deg: float, dec_deg: float, pixel_scale_arcsec: float
) -> tuple[float, float]:
    """Return the object's pixel (x, y), the first pixel's centre being 0."""
    with parsing("no WCS"):
        wcs = WCS(header)
        if not wcs.has_celestial or wcs.naxis != 2:
            raise BadContentError("no WCS")
        scales_arcsec = proj_plane_pixel_scales(wcs) * 3600
        x, y = (float(v) for v in wcs.all_world2pix([[ra_deg, dec_deg]], 0)[0])
    if not (np.abs(scales_arcsec / pixel_scale_arcsec - 1) <= SCALE_TOLERANCE).all():
        raise BadContentError(
            "pixel scale",
            f"{scales_arcsec[0]:.4g} x {scales_arcsec[1]:.4g} arcsec "
            f"instead of {pixel_scale_arcsec:.4g}",
        )
    if not (np.isfinite(x) and np.isfinite(y)):
        raise BadContentError("wrong position", "the object is on the other side of the sky")
    return x, y


def require_band(header: fits.Header, band: str) -> None:
    """Raise `BadContentError` if an image says that it is of another band.

    DES coadds say so in BAND, and in FILTER as in 'g DECam SDSS c0001 4720.0
    1520.0'. An image that says nothing is taken for what was asked for. Reason
    ``"wrong band"``.
    """
    for key in ("BAND", "FILTER"):
        words = str(header.get(key) or "").split()
        if words and words[0].lower() != band.lower():
            raise BadContentError("wrong band", f"{key} is {' '.join(words)} instead of {band}")


def _zero_point_factor(header: fits.Header, zero_point_ab: float) -> float:
    own = header.get("MAGZERO")
    if isinstance(own, int | float) and not isinstance(own, bool) and np.isfinite(own):
        return float(10 ** (0.4 * (zero_point_ab - own)))
    return 1.0


def _fill(stamp: np.ndarray) -> Stamp:
    bad = ~(np.abs(stamp) < LARGEST_PIXEL)
    n_bad = int(bad.sum())
    if n_bad == stamp.size:
        raise BadContentError("no values", "no pixel has a finite value")
    middle = slice((stamp.shape[0] - 1) // 2 - 1, stamp.shape[0] // 2 + 2)
    if n_bad > MAX_FILLED_FRACTION * stamp.size or bad[middle, middle].any():
        raise BadContentError("bad pixels", f"{n_bad} of {stamp.size} have no finite value")
    values = stamp[~bad]
    if values.min() == values.max():
        raise BadContentError("constant", f"every pixel is {values[0]:g}")
    filled = np.where(bad, np.median(values), stamp).astype(np.float32)
    return Stamp(filled, n_bad)


@dataclass
class _Band:
    """What happened to one band of one object; a row of the manifest."""

    band: str
    status: str = "lost"
    reason: str = ""
    url: str = ""
    bytes: int = 0
    sha256: str = ""
    attempts: int = 0
    n_filled_px: int = 0
    detail: str = ""
    stamp: np.ndarray | None = None
    tile: str = ""


@dataclass
class _Object:
    """What happened to one object."""

    bands: list[_Band]
    reason: str = ""
    detail: str = ""
    outage: ServiceError | None = field(default=None)


def fetch_cutouts(
    objects: pd.DataFrame,
    client: HttpClient,
    sia_url: str,
    *,
    bands: Sequence[str],
    size_px: int,
    pixel_scale_arcsec: float,
    zero_point_ab: float,
    tile: str,
    extension: int | None = IMAGE_EXTENSION,
) -> tuple[ImageSet, pd.DataFrame, pd.DataFrame]:
    """Fetch the stamps of all objects, in all bands or not at all.

    Objects go in parallel, as many as the client has connections; the result
    does not depend on which answer comes first. The bands of one object go one
    after the other, and stop at the first that cannot be had.

    Parameters
    ----------
    objects : id, ra_deg, dec_deg; other columns are ignored.
    client : sends the requests. Cancelled, and of no use after that, on an error.
    sia_url : the service that lists images.
    bands : names of the bands, in the order of the stamps.
    size_px, pixel_scale_arcsec, zero_point_ab : of the stamps.
    tile : name of the tile, for the losses.
    extension : as in `archipelago.survey.sia.choose_images`.

    Returns
    -------
    cutouts : the objects that have all bands, sorted by id.
    manifest :
        One row per object and band, also of lost objects, sorted by id, bands
        in order; columns as in `MANIFEST_ABOUT`.
    losses : one row per object that lacks a band.

    Raises
    ------
    DataError
        If an identifier comes twice.
    ServiceError
        If `GIVE_UP_AFTER` objects in a row, or all there are, failed because the
        service does not work: that is an outage, not a property of the objects.
    """
    objects = objects.sort_values("id", kind="stable").reset_index(drop=True)
    twice = objects.loc[objects["id"].duplicated(), "id"]
    if len(twice):
        raise DataError(
            f"the identifier {twice.iloc[0]} comes more than once",
            where=f"objects of tile {tile}",
            next_step="delete the tile's tables and make them again",
        )
    shape = (len(objects), len(bands), size_px, size_px)
    images = np.empty(shape, dtype=np.float32)
    ids: list[int] = []
    rows: list[dict[str, Any]] = []
    lost: list[tuple[Any, ...]] = []
    fetcher = _Fetcher(
        client,
        sia_url,
        tuple(bands),
        size_px,
        pixel_scale_arcsec,
        zero_point_ab,
        extension,
    )
    outages = _OutageCounter(len(objects))
    ids_in = objects["id"].to_numpy(dtype="int64").tolist()
    ra_in, dec_in = (objects[name].to_numpy(dtype="float64") for name in ("ra_deg", "dec_deg"))
    with (
        closing(_in_order(fetcher, ra_in, dec_in)) as results,
        Progress(len(objects), "objects with cutouts") as progress,
    ):
        for place, result in enumerate(results):
            identifier, ra_deg, dec_deg = ids_in[place], ra_in[place], dec_in[place]
            outages.count(result.outage)
            rows += [{"id": identifier} | _row(band) for band in result.bands]
            if result.reason:
                lost.append(
                    (identifier, ra_deg, dec_deg, tile, STAGE, result.reason, result.detail)
                )
            else:
                images[len(ids)] = [band.stamp for band in result.bands]
                ids.append(identifier)
            progress.step(failed=bool(result.reason))
    losses = pd.DataFrame(lost, columns=list(LOSS_COLUMNS)) if lost else no_losses()
    check_conservation(len(objects), len(ids), len(losses), where=f"cutouts, tile {tile}")
    cutouts = ImageSet(
        images[: len(ids)],
        np.array(ids, dtype=np.int64),
        tuple(bands),
        pixel_scale_arcsec,
        zero_point_ab,
    )
    return cutouts, _manifest(rows), losses


@dataclass(frozen=True)
class _Fetcher:
    """Fetches one object; called from several threads."""

    client: HttpClient
    sia_url: str
    bands: tuple[str, ...]
    size_px: int
    pixel_scale_arcsec: float
    zero_point_ab: float
    extension: int | None

    def __call__(self, ra_deg: float, dec_deg: float) -> _Object:
        result = _Object([_Band(band) for band in self.bands])
        if not (np.isfinite(ra_deg) and np.isfinite(dec_deg) and abs(dec_deg) <= 90):
            return _give_up(result, "no position", "")
        size_deg = (self.size_px + MARGIN_PX) * self.pixel_scale_arcsec / 3600
        try:
            reply = list_images(self.client, self.sia_url, ra_deg, dec_deg, size_deg)
            choices = choose_images(
                reply,
                self.bands,
                service_url=self.sia_url,
                ra_deg=ra_deg,
                dec_deg=dec_deg,
                extension=self.extension,
            )
        except ServiceError as error:
            if isinstance(error, RequestError) and error.reason == "cancelled":
                raise
            reason = error.reason if isinstance(error, RequestError) else "service error"
            # Without a list nothing is known of any object, whatever came instead.
            result.outage = error
            return _give_up(result, reason, f"no list of images: {error.what}")
        missing = [band for band in self.bands if not choices[band]]
        if len(missing) == len(self.bands):
            return _give_up(result, "no image", "the service has no image of this position")
        if missing:
            for band in result.bands:
                if band.band in missing:
                    band.reason = "missing band"
            return _give_up(result, "missing band", f"no image in {', '.join(missing)}")
        tile = ""
        for band in result.bands:
            # The tile of the band before first: then all bands share their pixels.
            ordered = sorted(choices[band.band], key=lambda c: c.tile != tile)
            result.outage = self._first_complete(band, ordered, ra_deg, dec_deg)
            if band.status != "ok":
                return _give_up(result, band.reason, f"band {band.band}: {band.detail}")
            tile = band.tile
        return result

    def _first_complete(
        self, band: _Band, candidates: Sequence[Candidate], ra_deg: float, dec_deg: float
    ) -> ServiceError | None:
        """Put the first complete stamp into ``band``; return the outage that prevented one."""
        failures: list[tuple[str, str]] = []
        outage: ServiceError | None = None
        for candidate in candidates[:MAX_CANDIDATES]:
            reader = FitsReader()
            band.url = candidate.url
            try:
                reply = self.client.request(
                    "GET",
                    candidate.url,
                    check=reader,
                    max_bytes=min(MAX_CUTOUT_BYTES, self.client.max_bytes),
                )
                band.attempts += reply.attempts
                require_band(reader.header, band.band)
                stamp = make_stamp(
                    reader.data,
                    reader.header,
                    ra_deg=ra_deg,
                    dec_deg=dec_deg,
                    size_px=self.size_px,
                    pixel_scale_arcsec=self.pixel_scale_arcsec,
                    zero_point_ab=self.zero_point_ab,
                )
            except RequestError as error:
                if error.reason == "cancelled":
                    raise
                band.attempts += error.attempts
                outage = error if _is_outage(error) else outage
                failures.append((error.reason, error.what))
            except BadContentError as error:
                failures.append((error.reason, error.detail))
            else:
                band.status = "ok"
                band.bytes = len(reply.body)
                band.sha256 = hashlib.sha256(reply.body).hexdigest()
                band.stamp, band.n_filled_px = stamp.image, stamp.n_filled_px
                band.tile = candidate.tile
                return None
        # The best candidate's reason stands for all; the detail has the others.
        band.reason = failures[0][0]
        band.detail = "; ".join(f"{r}: {d}" if d else r for r, d in failures)
        return outage


def _in_order(fetcher: _Fetcher, ra_in: np.ndarray, dec_in: np.ndarray) -> Generator[_Object]:
    """Yield the result of each object in order, with a bounded number under way."""
    workers = fetcher.client.connections
    waiting: deque[Future[_Object]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="cutouts")
    complete = False
    try:
        for ra_deg, dec_deg in zip(ra_in, dec_in, strict=True):
            waiting.append(pool.submit(fetcher, float(ra_deg), float(dec_deg)))
            if len(waiting) >= 4 * workers:
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


def _is_outage(error: ServiceError) -> bool:
    """Tell whether the service, not this object's file, is to blame."""
    if isinstance(error, RequestError) and error.reason in ("bad address", "too large"):
        return False
    return error.status is None or error.status == 429 or error.status >= 500


def _give_up(result: _Object, reason: str, detail: str) -> _Object:
    """Mark the object as lost and every band without a fate as not tried."""
    result.reason, result.detail = reason, detail
    listed = any(band.reason or band.status == "ok" for band in result.bands)
    for band in result.bands:
        if band.status != "ok" and not band.reason:
            band.reason = "not tried" if listed else reason
        band.stamp = None
    return result


def _row(band: _Band) -> dict[str, Any]:
    return {name: getattr(band, name) for name in MANIFEST_ABOUT if name != "id"}


def _manifest(rows: list[dict[str, Any]]) -> pd.DataFrame:
    whole = ("id", "bytes", "attempts", "n_filled_px")
    table = pd.DataFrame(rows, columns=list(MANIFEST_ABOUT))
    return table.astype({name: "int64" if name in whole else "str" for name in table.columns})
