"""Which images exist at a position: SIA version 1 [IVOA, Simple Image Access 1.0].

A service answers with one row per file that covers the position; the Astro Data Lab, for
example, per band with the image, the image before background subtraction (``_nobkg``), each
with its mask and weight as further extensions, and a detection image; and all of that again
for each tile that overlaps there. `choose_images` finds the few that are wanted. Columns
are recognised by their UCD, as their names differ between servers, bands as whole words
of the server's text.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import unquote, urlsplit

import pandas as pd

from archipelago.base.errors import ServiceError
from archipelago.survey.addresses import require_safe_link
from archipelago.survey.bands import band_in
from archipelago.survey.cutout_query import IMAGE_EXTENSION
from archipelago.survey.faults import RequestError
from archipelago.survey.http import HttpClient
from archipelago.survey.votable import Reply
from archipelago.survey.votable_text import TextReply, read_list

_LOG = logging.getLogger(__name__)

#: Largest list of images read [bytes]; the recorded one has 156 rows and 0.3 MB.
MAX_LIST_BYTES = 20_000_000

_FITS_NAME = re.compile(r"\.fits?(\.fz|\.gz)?$", re.IGNORECASE)
_BAND_IN_NAME = re.compile(r"[_-]([A-Za-z]+)\.fits?(?:\.fz|\.gz)?$", re.IGNORECASE)
_OTHER_IMAGE = re.compile(r"_(nobkg|det|detection|chi2|msk|mask|wgt|weight)(?=[_.])", re.IGNORECASE)

#: Ours: (UCD, names) of a column of the list.
_COLUMNS: dict[str, tuple[str, tuple[str, ...]]] = {
    "url": ("VOX:Image_AccessReference", ("access_url", "accref")),
    "band": (
        "VOX:BandPass_ID",
        ("obs_bandpass", "bandpassid", "bandpass_id", "bandpass", "band", "filter"),
    ),
    "kind": ("", ("prodtype",)),
    "format": ("VOX:Image_Format", ("access_format", "mime", "format")),
    "ra_deg": ("POS_EQ_RA_MAIN", ("s_ra",)),
    "dec_deg": ("POS_EQ_DEC_MAIN", ("s_dec",)),
}


class Table(Protocol):
    """A list of images, however it was read."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns."""

    def __len__(self) -> int:
        """Return the number of rows."""

    def name_of_ucd(self, ucd: str) -> str | None:
        """Return the first column with that UCD, or None."""

    def column(self, name: str) -> pd.Series | list[str]:
        """Return the cells of a column."""


@dataclass(frozen=True)
class Candidate:
    """A file that may hold the wanted cutout.

    Parameters
    ----------
    url : where the cutout is, checked to be an address that may be opened.
    tile : name of the survey's tile, to tell overlapping ones apart.
    """

    url: str
    tile: str


class _ListReader:
    """Judges lists as a `Check`; one that holds an error message is not worth keeping."""

    def __init__(self, worth_keeping: Callable[[Table], bool] | None) -> None:
        self.complete = False
        self._worth_keeping = worth_keeping
        self.reply: TextReply | Reply | None = None

    def __call__(self, body: bytes) -> None:
        self.complete, self.reply = False, None
        self.reply = read_list(body)
        self.complete = self.is_good and (
            self._worth_keeping is None or self._worth_keeping(self.reply)
        )

    @property
    def is_good(self) -> bool:
        """Whether the last list is one, and no error message."""
        return self.reply is not None and self.reply.status in ("OK", "OVERFLOW")


def list_images(
    client: HttpClient,
    sia_url: str,
    ra_deg: float,
    dec_deg: float,
    size_deg: float,
    *,
    keep: str | None = None,
    worth_keeping: Callable[[Table], bool] | None = None,
) -> TextReply | Reply:
    """Ask which images cover a square at a position.

    Parameters
    ----------
    client : sends the request.
    sia_url : address of the service.
    ra_deg, dec_deg : position, ICRS [deg].
    size_deg : side of the square [deg], a true angle on both axes: the
        service's SIZE is not to be divided by cos(dec).
    keep : group of the cache.
    worth_keeping : tells whether a list goes into the cache; None: all do.

    Raises
    ------
    RequestError
        If the service fails or sends what is no VOTable.
    ServiceError
        If it reports an error (also with HTTP 200).
    """
    joint = "" if sia_url.endswith(("?", "&")) else "&" if "?" in sia_url else "?"
    # Fixed point: some servers do not read exponents.
    url = (
        f"{sia_url}{joint}POS={ra_deg:.8f},{dec_deg:.8f}"
        f"&SIZE={size_deg:.8f},{size_deg:.8f}&FORMAT=ALL&VERB=2"
    )
    reader = _ListReader(worth_keeping)
    client.request(
        "GET", url, check=reader, max_bytes=min(MAX_LIST_BYTES, client.max_bytes), keep=keep
    )
    if reader.reply is None:
        raise RuntimeError("the client has not judged the answer")
    if not reader.is_good:
        raise ServiceError(
            f"the service could not answer the query: {reader.reply.status}: "
            f"{reader.reply.message}",
            url=url,
            status=200,
            next_step="correct the query, or run again if the service was busy",
        )
    return reader.reply


def choose_images(
    reply: Table,
    bands: Sequence[str],
    *,
    service_url: str,
    ra_deg: float,
    dec_deg: float,
    extension: int | None = IMAGE_EXTENSION,
    bandpass: Mapping[str, str] | None = None,
    product: str | None = None,
    kind: str | None = "image",
) -> dict[str, list[Candidate]]:
    """Return the candidates of each band, the most promising first.

    A row counts if it is an image in FITS, of the wanted product, extension and
    band. Tiles that have more of the bands come first, as then all bands share
    their pixels; then those whose centre is nearer along the farther axis, as the
    object is less likely at their edge; then by name. At most one candidate of a
    band has the name of a tile.

    Parameters
    ----------
    reply : answer of `list_images`.
    bands : names of the bands.
    service_url : to complete and judge the addresses in the answer.
    ra_deg, dec_deg : the object's position [deg].
    extension : wanted FITS extension; None takes any, where the kind of product
        tells images from masks.
    bandpass, product, kind : as in `archipelago.survey.cutout_query.CutoutQuery`.

    Raises
    ------
    RequestError
        If the answer has no column of addresses.
    """
    columns = _columns(reply, service_url)
    patterns = bandpass or {}
    found: dict[str, dict[str, _Row]] = {band: {} for band in bands}
    for address, text, own_kind, media_type, ra, dec in columns:
        if kind is not None and own_kind.strip().lower() not in ("", kind.lower()):
            continue
        if media_type and "fits" not in media_type.lower():
            continue
        parts = _url_values(address)
        if extension is not None and parts.get("extn", "") not in ("", str(extension)):
            continue
        name = next((v for v in parts.values() if _FITS_NAME.search(v)), "")
        if re.search(product, name or address) is None if product else _OTHER_IMAGE.search(name):
            continue
        if not text.strip():
            match = _BAND_IN_NAME.search(name)
            text = match[1] if match else ""
        band, same_letters = band_in(text, bands, patterns)
        if band is None:
            continue
        try:
            url = require_safe_link(address, service_url)
        except RequestError as error:
            # The band is then missing, unless another row has it.
            _LOG.warning("the list of images holds a link that is not followed: %s", error)
            continue
        offset_deg = _offset_deg(ra_deg, dec_deg, ra, dec)
        row = _Row(url, _tile_of(name, band) or url, offset_deg, same_letters)
        # By address: the same file listed twice is one candidate.
        found[band].setdefault(url, row)
    return _in_order(found)


@dataclass(frozen=True)
class _Row:
    url: str
    tile: str
    offset_deg: float
    same_letters: bool


def _in_order(found: Mapping[str, Mapping[str, _Row]]) -> dict[str, list[Candidate]]:
    chosen: dict[str, list[tuple[_Row, Candidate]]] = {}
    n_bands: dict[str, int] = {}
    for band, by_url in found.items():
        rows = sorted(by_url.values(), key=lambda row: (row.tile, row.url))
        # 'I' is not 'i' where the service has both.
        if any(row.same_letters for row in rows):
            rows = [row for row in rows if row.same_letters]
        seen: dict[str, int] = {}
        chosen[band] = []
        for row in rows:
            seen[row.tile] = seen.get(row.tile, 0) + 1
            tile = row.tile if seen[row.tile] == 1 else f"{row.tile} #{seen[row.tile]}"
            chosen[band].append((row, Candidate(row.url, tile)))
            n_bands[tile] = n_bands.get(tile, 0) + 1
    order: Callable[[tuple[_Row, Candidate]], tuple[object, ...]] = lambda pair: (  # noqa: E731
        -n_bands[pair[1].tile],
        pair[0].offset_deg,
        pair[1].tile,
        pair[1].url,
    )
    return {
        band: [candidate for _, candidate in sorted(pairs, key=order)]
        for band, pairs in chosen.items()
    }


def _columns(reply: Table, service_url: str) -> Iterable[tuple[str, ...]]:
    """Return the cells of each row as text, in the order of `_COLUMNS`, '' where absent."""
    by_lower = {name.lower(): name for name in reversed(reply.names)}
    columns: list[list[str]] = []
    for ours, (ucd, names) in _COLUMNS.items():
        theirs = reply.name_of_ucd(ucd) if ucd else None
        theirs = theirs or next((by_lower[name] for name in names if name in by_lower), None)
        if theirs is None:
            if ours == "url" and len(reply):
                raise RequestError(
                    "the list of images has no column of addresses; "
                    f"it has {', '.join(reply.names)}",
                    url=service_url,
                    reason="no addresses",
                    status=200,
                    next_step="check services.sia.url: it must be an SIA version 1 service",
                )
            columns.append([""] * len(reply))
        else:
            columns.append([str(value) for value in reply.column(theirs)])
    return zip(*columns, strict=True)


def _offset_deg(ra_deg: float, dec_deg: float, ra: str, dec: str) -> float:
    """Return how far the object is from an image's centre, along the farther axis [deg]."""
    try:
        centre_ra, centre_dec = float(ra), float(dec)
    except ValueError:
        return math.inf
    east = (ra_deg - centre_ra + 180) % 360 - 180
    east *= math.cos(math.radians(centre_dec))
    offset = max(abs(east), abs(dec_deg - centre_dec))
    return offset if math.isfinite(offset) else math.inf


def _url_values(url: str) -> dict[str, str]:
    """Return the values in an address by key, and its path's last part under ''.

    A ``+`` stays: names of tiles hold it (DES0219+0001), and it is no space there.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return {}
    pairs = (part.partition("=") for part in parts.query.split("&") if part)
    values = {key.lower(): unquote(value).rpartition("/")[2] for key, _, value in pairs}
    return values | {"": unquote(parts.path).rpartition("/")[2]}


def _tile_of(name: str, band: str) -> str:
    """Return a file's name without its band, which its images in other bands share."""
    tile = re.sub(rf"[_.-]{re.escape(band)}(?=[_.-])", "", name, flags=re.IGNORECASE)
    return _FITS_NAME.sub("", tile)
