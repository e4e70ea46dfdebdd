"""Which images exist at a position: SIA version 1 of the Astro Data Lab's kind.

Such a service answers with one row per file that covers the position: per band
the image, the image before background subtraction (``_nobkg``), each with its
mask and weight as further extensions, and a detection image; and all of that
again for each tile that overlaps there. `choose_images` finds the few that are
wanted. Its columns are recognised by their UCD, as their names differ between
servers.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

import numpy as np
import pandas as pd

from archipelago.survey.http import HttpClient, RequestError, require_safe_link
from archipelago.survey.votable import Reader, Reply, require_ok
from archipelago.survey.xmatch import separation_arcsec

_LOG = logging.getLogger(__name__)

#: Largest list of images read [bytes]; the recorded one has 156 rows and 0.3 MB.
MAX_LIST_BYTES = 20_000_000
#: Extension of the image in a survey file; 2 is its mask, 3 its weight.
IMAGE_EXTENSION = 1

_FITS_NAME = re.compile(r"\.fits(\.fz|\.gz)?$", re.IGNORECASE)
_BAND_IN_NAME = re.compile(r"_([A-Za-z]+)\.fits(?:\.fz|\.gz)?$", re.IGNORECASE)
_OTHER_IMAGE = re.compile(r"_(nobkg|det|detection|chi2|msk|mask|wgt|weight)(?=[_.])", re.IGNORECASE)


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


def list_images(
    client: HttpClient, sia_url: str, ra_deg: float, dec_deg: float, size_deg: float
) -> Reply:
    """Ask which images cover a square at a position.

    Parameters
    ----------
    client : sends the request.
    sia_url : address of the service.
    ra_deg, dec_deg : position, ICRS [deg].
    size_deg : side of the square [deg], a true angle on both axes: the
        service's SIZE is not to be divided by cos(dec).

    Raises
    ------
    RequestError
        If the service fails or sends what is no VOTable.
    ServiceError
        If it reports an error (also with HTTP 200).
    """
    joint = "&" if "?" in sia_url else "?"
    # Fixed point: some servers do not read exponents.
    url = (
        f"{sia_url}{joint}POS={ra_deg:.8f},{dec_deg:.8f}"
        f"&SIZE={size_deg:.8f},{size_deg:.8f}&FORMAT=ALL&VERB=2"
    )
    reader = Reader()
    client.request("GET", url, check=reader, max_bytes=min(MAX_LIST_BYTES, client.max_bytes))
    return require_ok(reader.reply, url)


def choose_images(
    reply: Reply,
    bands: Sequence[str],
    *,
    service_url: str,
    ra_deg: float,
    dec_deg: float,
    extension: int | None = IMAGE_EXTENSION,
) -> dict[str, list[Candidate]]:
    """Return the candidates of each band, the most promising first.

    A row counts if it is an image in FITS (neither mask nor weight, not before
    background subtraction, no detection image), of the wanted extension and
    band. Tiles that have more of the bands come first, as then all bands share
    their pixels; then those whose centre is nearer, as the object is less
    likely at their edge; then by name.

    Parameters
    ----------
    reply : answer of `list_images`.
    bands : names of the bands; capitals do not matter.
    service_url : to complete and judge the addresses in the answer.
    ra_deg, dec_deg : the object's position [deg].
    extension : wanted FITS extension; None takes any, where the kind of product
        tells images from masks.

    Raises
    ------
    RequestError
        If the answer has no column of addresses.
    """
    table = _columns(reply, service_url)
    of_name = {band.lower(): band for band in bands}
    found: dict[str, dict[Candidate, float]] = {band: {} for band in bands}
    distances = _distances_arcsec(table, ra_deg, dec_deg)
    texts = (table[name].astype("str") for name in ("url", "band", "kind", "format"))
    for address, bandpass, kind, media_type, distance_arcsec in zip(*texts, distances, strict=True):
        parts = _url_values(address)
        name = next((v for v in parts.values() if _FITS_NAME.search(v)), "")
        band = of_name.get(_band_of(bandpass, name).lower())
        if band is None or not _is_wanted(kind, media_type, name, parts, extension):
            continue
        try:
            url = require_safe_link(address, service_url)
        except RequestError as error:
            # The band is then missing, unless another row has it.
            _LOG.warning("the list of images holds a link that is not followed: %s", error)
            continue
        candidate = Candidate(url, _BAND_IN_NAME.sub("", name) or url)
        found[band].setdefault(candidate, distance_arcsec)
    n_bands: dict[str, int] = {}
    for candidates in found.values():
        for tile in {candidate.tile for candidate in candidates}:
            n_bands[tile] = n_bands.get(tile, 0) + 1
    return {
        band: sorted(candidates, key=lambda c: (-n_bands[c.tile], candidates[c], c.tile, c.url))
        for band, candidates in found.items()
    }


def _columns(reply: Reply, service_url: str) -> pd.DataFrame:
    """Return url, band, kind, format, ra_deg, dec_deg of each row, '' or NaN where absent."""
    sources = {
        "url": ("VOX:Image_AccessReference", ("access_url", "accref")),
        "band": ("VOX:BandPass_ID", ("obs_bandpass", "bandpass", "band", "filter")),
        "kind": ("", ("prodtype",)),
        "format": ("VOX:Image_Format", ("access_format", "mime")),
        "ra_deg": ("POS_EQ_RA_MAIN", ("s_ra",)),
        "dec_deg": ("POS_EQ_DEC_MAIN", ("s_dec",)),
    }
    table = {}
    for ours, (ucd, names) in sources.items():
        theirs = reply.name_of_ucd(ucd) if ucd else None
        theirs = theirs or next((name for name in names if name in reply.names), None)
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
            empty: object = np.nan if ours.endswith("_deg") else ""
            table[ours] = pd.Series([empty] * len(reply))
        else:
            table[ours] = reply.column(theirs)
    return pd.DataFrame(table)


def _distances_arcsec(table: pd.DataFrame, ra_deg: float, dec_deg: float) -> np.ndarray:
    ra, dec = (pd.to_numeric(table[n], errors="coerce").to_numpy() for n in ("ra_deg", "dec_deg"))
    distances = separation_arcsec(np.asarray(ra_deg), np.asarray(dec_deg), ra, dec)
    return np.where(np.isfinite(distances), distances, np.inf)


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


def _band_of(bandpass: str, name: str) -> str:
    """Return the band: first word of the bandpass, such as 'VR DECam c0007', or from the name."""
    words = bandpass.split()
    if words:
        return words[0]
    match = _BAND_IN_NAME.search(name)
    return match[1] if match else ""


def _is_wanted(
    kind: str, media_type: str, name: str, parts: Mapping[str, str], extension: int | None
) -> bool:
    if kind.strip().lower() not in ("", "image"):
        return False
    if media_type and "fits" not in media_type.lower():
        return False
    if _OTHER_IMAGE.search(name):
        return False
    extn = parts.get("extn", "")
    return extension is None or extn in ("", str(extension))
