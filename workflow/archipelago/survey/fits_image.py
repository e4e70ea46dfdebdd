"""Images as a survey's server sends them: complete, of the right band, and where they lie.

Most bodies are one plain two-dimensional image with a gnomonic projection. Those are read
and placed here, in a tenth of a millisecond, as thousands are judged while others are
under way. Whatever is the least bit unusual (compressed, scaled, distorted, broken) goes to
astropy, whose word then counts.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from astropy.io import fits

from archipelago.survey.bands import names_band
from archipelago.survey.faults import BadContentError, excerpt
from archipelago.survey.frames import Floats, Header, PlainHeader
from archipelago.survey.votable import parsing

#: Longest side of an image, or of the section of it, that is decoded [pixels].
MAX_SIDE_PX = 2_048
#: Largest piece of a compressed image that must be unpacked at once [pixels].
MAX_PACKED_PX = 20_000_000

_BLOCK = 2_880
_CARD = 80
_KINDS = {8: "u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}
#: Longest header read here [bytes]; a longer one goes to astropy.
_MAX_HEADER = 40 * _BLOCK
#: Says which rows and columns of an image are wanted: (header, width, height) to two slices.
Section = Callable[[Header, int, int], tuple[slice, slice]]


def read_fits(
    body: bytes, section: Section | None = None
) -> tuple[Floats, Header, tuple[int, int]]:
    """Return the first image of a FITS file, or a section of it.

    Parameters
    ----------
    body : the file.
    section : says which part is wanted; None: all, up to `MAX_SIDE_PX`. Of a whole survey
        image only what the part needs is decoded.

    Returns
    -------
    data : (y, x) pixels.
    header : the image's header; its WCS is that of the whole image.
    corner : x and y of the first pixel of ``data`` within the image.

    Raises
    ------
    BadContentError
        Reason ``"empty"``, ``"not a FITS file"``, ``"truncated"``, ``"no image"``,
        ``"image too large"``, or what ``section`` raises.
    """
    if not body:
        raise BadContentError("empty")
    if not body.startswith(b"SIMPLE  ="):
        # Also keeps compressed bodies out, which could unpack without bound.
        raise BadContentError("not a FITS file", excerpt(body, 100))
    plain = _read_plain(body, section)
    if plain is not None:
        return plain
    with (
        parsing("not a FITS file"),
        fits.open(io.BytesIO(body), memmap=False) as hdus,
    ):
        return _first_image(hdus, len(body), section)


def require_band(header: Header, band: str, pattern: str | None = None) -> None:
    """Raise `BadContentError` if an image says that it is of another band.

    Coadds of DES, for example, say so in BAND, and in FILTER as in 'g DECam SDSS c0001 4720.0
    1520.0'. An image that says nothing is taken for what was asked for. Reason
    ``"wrong band"``.

    Parameters
    ----------
    header : of the image.
    band : name of the band.
    pattern : regular expression of its name at this survey, where it is not the band's own.
    """
    for key in ("BAND", "FILTER"):
        text = str(header.get(key) or "").strip()
        if text and not names_band(text, band, pattern):
            raise BadContentError("wrong band", f"{key} is {text} instead of {band}")


def _read_plain(
    body: bytes, section: Section | None
) -> tuple[Floats, Header, tuple[int, int]] | None:
    """Return the image of a file without peculiarities; None leaves the file to astropy."""
    start = 0
    for number in range(2):
        found = _plain_header(body, start)
        if found is None:
            return None
        header, start = found
        kind, n_axes = _KINDS.get(header.get("BITPIX", 0)), header.get("NAXIS")
        first_key, first = ("SIMPLE", True) if number == 0 else ("XTENSION", "IMAGE")
        if header.get(first_key) != first or kind is None:
            return None
        if number == 0 and n_axes == 0:
            continue
        return _plain_pixels(body, start, header, kind, section) if n_axes == 2 else None
    return None


def _plain_pixels(
    body: bytes, start: int, header: PlainHeader, kind: str, section: Section | None
) -> tuple[Floats, Header, tuple[int, int]] | None:
    width, height = header.get("NAXIS1"), header.get("NAXIS2")
    odd = {"BSCALE", "BZERO", "BLANK", "ZIMAGE"} & header.keys()
    if odd or type(width) is not int or type(height) is not int or min(width, height) < 1:
        return None
    if header.get("PCOUNT", 0) != 0 or header.get("GCOUNT", 1) != 1:
        return None
    if start + width * height * np.dtype(kind).itemsize > len(body):
        raise BadContentError("truncated", f"{len(body)} bytes")
    rows, columns = _wanted(header, width, height, section)
    whole = np.frombuffer(body, kind, width * height, start).reshape(height, width)
    return whole[rows, columns].astype(np.float64), header, (columns.start, rows.start)


def _plain_header(body: bytes, start: int) -> tuple[PlainHeader, int] | None:
    """Return a header that begins at ``start``, and where its data begin."""
    text = body[start : start + _MAX_HEADER].decode("latin-1")
    header = PlainHeader()
    for place in range(0, len(text) - _CARD + 1, _CARD):
        key = text[place : place + 8].rstrip()
        if key == "END":
            length = -(-(place + _CARD) // _BLOCK) * _BLOCK
            if start + length > len(body):
                return None
            header.text = text[: place + _CARD]
            return header, start + length
        if text[place + 8 : place + 10] != "= ":
            continue
        try:
            header.setdefault(key, _plain_value(text[place + 10 : place + _CARD].strip()))
        except ValueError:
            return None
    return None


def _plain_value(text: str) -> Any:
    """Return the value of a card [FITS standard 4.0, sec. 4.2]; ValueError: no such value."""
    if text.startswith("'"):
        end = text.find("'", 1)
        if end < 0 or text[end + 1 : end + 2] == "'":
            raise ValueError("a string with a quote within")
        return text[1:end].rstrip()
    text = text.partition("/")[0].strip()
    if text in ("T", "F"):
        return text == "T"
    if not text:
        return None
    try:
        return int(text)
    except ValueError:
        return float(text.upper().replace("D", "E"))


def _wanted(
    header: Header, width: int, height: int, section: Section | None
) -> tuple[slice, slice]:
    rows, columns = (
        section(header, width, height) if section else (slice(0, height), slice(0, width))
    )
    sides = columns.stop - columns.start, rows.stop - rows.start
    if max(sides) > MAX_SIDE_PX:
        raise BadContentError("image too large", f"{sides[0]} x {sides[1]} pixels")
    return rows, columns


def _first_image(
    hdus: fits.HDUList, n_bytes: int, section: Section | None
) -> tuple[Floats, Header, tuple[int, int]]:
    for hdu in hdus[:4]:
        if not hdu.is_image or hdu.header.get("NAXIS", 0) == 0:
            continue
        if hdu.header["NAXIS"] != 2:
            raise BadContentError("no image", f"{hdu.header['NAXIS']} axes instead of two")
        sides = hdu.header["NAXIS1"], hdu.header["NAXIS2"]
        if min(sides) < 1:
            raise BadContentError("empty", "an image without pixels")
        packed = getattr(hdu, "tile_shape", None)
        if packed is not None and math.prod(packed) > MAX_PACKED_PX:
            raise BadContentError("image too large", f"packed in pieces of {packed} pixels")
        info = hdu.fileinfo()
        # A compressed image is larger in memory than in the file; a plain one may lack
        # the padding of its last block.
        if info["datLoc"] + min(hdu.size, info["datSpan"]) > n_bytes:
            raise BadContentError("truncated", f"{n_bytes} bytes")
        header = hdu.header.copy()
        rows, columns = _wanted(header, *sides, section)
        data = np.array(hdu.section[rows, columns], dtype="float64")
        return data, header, (columns.start, rows.start)
    raise BadContentError("no image", "a FITS file without an image")
