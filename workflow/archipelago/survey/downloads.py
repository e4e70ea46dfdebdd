"""Lists and images of one place, each asked for once, whether kept, shared or fetched."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from astropy_healpix import healpy

from archipelago.base.errors import ServiceError
from archipelago.survey.cutout_query import CutoutQuery
from archipelago.survey.faults import BadContentError, RequestError
from archipelago.survey.http import HttpClient
from archipelago.survey.sia import Candidate, Table, choose_images, list_images
from archipelago.survey.stamps import CutoutReader, Piece

#: Pixels asked for beyond the stamp, for rounding at the server, the recentring,
#: a tile that is turned by a degree or two at high declination, and resampling.
MARGIN_PX = 8
#: Largest cutout read [bytes]: a hundred times what is asked for, less than a whole tile.
MAX_CUTOUT_BYTES = 4_000_000
#: HEALPix order of the groups in the cache: 1.8 deg, so that a job reads its part of the sky.
_GROUP_ORDER = 5
#: Group of the cache for whole images, which many objects share; it is spread over folders.
_WHOLE_GROUP = "sia-whole"
#: What a file said that is so for good: not asked again while answers are kept.
_FINAL = ("no image", "wrong position", "no values", "constant")


@dataclass(frozen=True)
class Place:
    """A position [deg], and the group of the cache for what lies there.

    Parameters
    ----------
    ra_deg, dec_deg : the position [deg].
    group : of the cache.
    """

    ra_deg: float
    dec_deg: float
    group: str

    @classmethod
    def of(cls, ra_deg: float, dec_deg: float) -> Place:
        """Return an object's place."""
        pixel = healpy.ang2pix(2**_GROUP_ORDER, ra_deg, dec_deg, nest=True, lonlat=True)
        return cls(ra_deg, dec_deg, f"sia/{int(pixel)}")


@dataclass(frozen=True)
class Image:
    """An image of a place, as accepted.

    Parameters
    ----------
    url : where it was.
    n_bytes, sha256 : of the file.
    piece : what it shows.
    attempts : requests that were sent for it.
    """

    url: str
    n_bytes: int
    sha256: str
    piece: Piece
    attempts: int


class ImageFailedError(Exception):
    """An image cannot be had.

    Parameters
    ----------
    reason, detail : why.
    attempts : requests that were sent for it.
    outage : set where the service, not this file, is to blame.
    """

    def __init__(
        self, reason: str, detail: str, attempts: int = 0, outage: ServiceError | None = None
    ) -> None:
        self.reason, self.detail = reason, detail
        self.attempts, self.outage = attempts, outage
        super().__init__(f"{reason}: {detail}")


class Downloads:
    """Asks for lists and images; shared by the threads of a job.

    Parameters
    ----------
    client : sends the requests.
    query : what is wanted.
    max_image_bytes : largest file read.
    """

    def __init__(
        self, client: HttpClient, query: CutoutQuery, max_image_bytes: int = MAX_CUTOUT_BYTES
    ) -> None:
        self.client = client
        self._query = query
        self._max_bytes = min(max_image_bytes, client.max_bytes)
        self._shared = _SharedFiles(2 * self._max_bytes)

    def choices(self, place: Place, sia_url: str) -> dict[str, list[Candidate]]:
        """Return the candidates of each band; raises as `list_images` and `choose_images`."""
        query = self._query
        size_deg = (query.size_px + MARGIN_PX) * query.pixel_scale_arcsec / 3600

        def choices(reply: Table) -> dict[str, list[Candidate]]:
            return choose_images(
                reply,
                query.bands,
                service_url=sia_url,
                ra_deg=place.ra_deg,
                dec_deg=place.dec_deg,
                extension=query.extension,
                bandpass=query.bandpass,
                product=query.product,
                kind=query.kind,
            )

        def has_all_or_none(reply: Table) -> bool:
            # Where some bands are missing, the next run may find them.
            try:
                found = choices(reply).values()
            except RequestError:
                return False
            return all(found) or not any(found)

        reply = list_images(
            self.client,
            sia_url,
            place.ra_deg,
            place.dec_deg,
            size_deg,
            keep=place.group,
            worth_keeping=has_all_or_none if self.client.cache is not None else None,
        )
        return choices(reply)

    def image(self, place: Place, band: str, url: str) -> Image:
        """Return the image at ``url``.

        Raises
        ------
        ImageFailedError
            If it cannot be had, or is not what was asked for.
        RequestError
            If the client was cancelled.
        """
        query = self._query
        reader = CutoutReader(
            band,
            place.ra_deg,
            place.dec_deg,
            size_px=query.size_px,
            pixel_scale_arcsec=query.pixel_scale_arcsec,
            zero_point_ab=query.zero_point_ab,
            source_zero_point_ab=query.source_zero_point_ab,
            pattern=query.bandpass.get(band),
        )
        self._refuse_known(place, url)
        try:
            body, attempts = self._body(place, url, reader)
        except BadContentError as error:
            raise ImageFailedError(error.reason, error.detail) from error
        except RequestError as error:
            if error.reason == "cancelled":
                raise
            if error.reason in _FINAL:
                self._note_final(place, url, error)
            outage = error if _is_outage(error) else None
            detail = error.what
            if error.reason == "too large":
                detail += " (services.sia.max_image_mb: for services that send whole images)"
            raise ImageFailedError(error.reason, detail, error.attempts, outage) from error
        if reader.piece is None:
            raise RuntimeError("the client has not judged the answer")
        sha256 = hashlib.sha256(body).hexdigest()
        return Image(url, len(body), sha256, reader.piece, attempts)

    def _body(self, place: Place, url: str, reader: CutoutReader) -> tuple[bytes, int]:
        # The address of a cutout holds the position, that of a whole image does not.
        whole = f"{place.ra_deg:.8f}"[:-5] not in url
        if not whole:
            return self._request(url, reader, place.group)
        with self._shared.alone(url):
            body = self._shared.get(url)
            if body is not None:
                reader(body)
                return body, 0
            body, attempts = self._request(url, reader, _WHOLE_GROUP)
            self._shared.put(url, body)
            return body, attempts

    def _request(self, url: str, reader: CutoutReader, group: str) -> tuple[bytes, int]:
        reply = self.client.request("GET", url, check=reader, max_bytes=self._max_bytes, keep=group)
        return reply.body, reply.attempts

    def _final_key(self, place: Place, url: str) -> str:
        size_px = self._query.size_px
        return f"final 1 {place.ra_deg:.8f},{place.dec_deg:.8f} {size_px} {url}"

    def _refuse_known(self, place: Place, url: str) -> None:
        """Raise what a file turned out to be for good when it was asked for before."""
        if self.client.cache is None:
            return
        known = self.client.cache.get(place.group, self._final_key(place, url))
        if known is not None:
            reason, detail = json.loads(known)
            raise ImageFailedError(str(reason), str(detail))

    def _note_final(self, place: Place, url: str, error: RequestError) -> None:
        if self.client.cache is not None:
            body = json.dumps([error.reason, error.what]).encode()
            self.client.cache.put(place.group, self._final_key(place, url), body)


class _SharedFiles:
    """Large files that several objects need, the last used ones, up to a number of bytes."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._bodies: OrderedDict[str, bytes] = OrderedDict()
        self._busy: dict[str, tuple[threading.Lock, int]] = {}

    @contextmanager
    def alone(self, url: str) -> Iterator[None]:
        """Let one thread at a time ask for an address: the next finds what it fetched."""
        with self._lock:
            lock, users = self._busy.get(url, (threading.Lock(), 0))
            self._busy[url] = lock, users + 1
        try:
            with lock:
                yield
        finally:
            with self._lock:
                _, users = self._busy[url]
                if users == 1:
                    del self._busy[url]
                else:
                    self._busy[url] = lock, users - 1

    def get(self, url: str) -> bytes | None:
        with self._lock:
            body = self._bodies.get(url)
            if body is not None:
                self._bodies.move_to_end(url)
            return body

    def put(self, url: str, body: bytes) -> None:
        with self._lock:
            self._bodies[url] = body
            while sum(map(len, self._bodies.values())) > self._max_bytes and len(self._bodies) > 1:
                self._bodies.popitem(last=False)


def _is_outage(error: RequestError) -> bool:
    """Tell whether the service, not this object's file, is to blame."""
    if error.reason in ("bad address", "too large"):
        return False
    return error.status is None or error.status == 429 or error.status >= 500
