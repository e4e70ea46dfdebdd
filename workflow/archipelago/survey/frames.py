"""Where the pixels of an image lie on the sky.

Plain gnomonic projections are reckoned here, in some microseconds, as thousands of images are
judged while others are under way; every other one by astropy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_scales
from numpy.typing import ArrayLike, NDArray

from archipelago.survey.faults import BadContentError
from archipelago.survey.votable import parsing

Floats = NDArray[np.float64]
Header = Mapping[str, Any]

#: Keywords that begin so change what the others mean: scaling, distortion, other poles.
_UNUSUAL = ("PV", "PS", "A_", "B_", "AP_", "BP_", "D2IM", "CPDIS", "CQDIS", "DP", "DQ", "PROJP")


class Frame(Protocol):
    """Where pixels lie; the centre of the first pixel is 0."""

    @property
    def scales_arcsec(self) -> tuple[float, float]:
        """Side of a pixel along x and y [arcsec]."""

    def pixel_of(self, ra_deg: ArrayLike, dec_deg: ArrayLike) -> tuple[Floats, Floats]:
        """Return x and y [pixels] of positions [deg]; NaN on the other side of the sky."""

    def sky_of(self, x_px: ArrayLike, y_px: ArrayLike) -> tuple[Floats, Floats]:
        """Return right ascension and declination [deg] of pixels."""


class PlainHeader(dict[str, Any]):
    """Keywords and values of a simple header, and its text for astropy."""

    text: str = ""


@dataclass(frozen=True)
class TanFrame:
    """The gnomonic projection [Calabretta & Greisen 2002, A&A 395, 1077, sec. 5.1.3].

    Parameters
    ----------
    ra_deg, dec_deg : reference point [deg].
    x_px, y_px : its pixel, from 0.
    cd_deg : (CD1_1, CD1_2, CD2_1, CD2_2) [deg/pixel].
    """

    ra_deg: float
    dec_deg: float
    x_px: float
    y_px: float
    cd_deg: tuple[float, float, float, float]

    @property
    def scales_arcsec(self) -> tuple[float, float]:
        """Side of a pixel along x and y [arcsec]."""
        a, b, c, d = self.cd_deg
        return math.hypot(a, c) * 3600, math.hypot(b, d) * 3600

    def pixel_of(self, ra_deg: ArrayLike, dec_deg: ArrayLike) -> tuple[Floats, Floats]:
        """Return x and y [pixels] of positions [deg]; NaN on the other side of the sky."""
        east = np.radians(np.asarray(ra_deg, dtype=np.float64) - self.ra_deg)
        dec = np.radians(np.asarray(dec_deg, dtype=np.float64))
        sin0, cos0 = math.sin(math.radians(self.dec_deg)), math.cos(math.radians(self.dec_deg))
        sin_dec, cos_dec, cos_east = np.sin(dec), np.cos(dec), np.cos(east)
        depth = sin0 * sin_dec + cos0 * cos_dec * cos_east
        depth = np.where(depth > 1e-6, depth, np.nan)
        u = np.degrees(cos_dec * np.sin(east) / depth)
        v = np.degrees((cos0 * sin_dec - sin0 * cos_dec * cos_east) / depth)
        a, b, c, d = self.cd_deg
        det = a * d - b * c
        return (d * u - b * v) / det + self.x_px, (a * v - c * u) / det + self.y_px

    def sky_of(self, x_px: ArrayLike, y_px: ArrayLike) -> tuple[Floats, Floats]:
        """Return right ascension and declination [deg] of pixels."""
        x = np.asarray(x_px, dtype=np.float64) - self.x_px
        y = np.asarray(y_px, dtype=np.float64) - self.y_px
        a, b, c, d = self.cd_deg
        u, v = np.radians(a * x + b * y), np.radians(c * x + d * y)
        sin0, cos0 = math.sin(math.radians(self.dec_deg)), math.cos(math.radians(self.dec_deg))
        below = cos0 - v * sin0
        ra = np.degrees(np.arctan2(u, below)) + self.ra_deg
        dec = np.degrees(np.arctan2(sin0 + v * cos0, np.hypot(u, below)))
        return ra % 360.0, dec


class WcsFrame:
    """Any celestial WCS that astropy reads.

    Parameters
    ----------
    header : FITS header with the WCS.

    Raises
    ------
    BadContentError
        Reason ``"no WCS"``, here and in the methods, whatever goes wrong.
    """

    def __init__(self, header: Header) -> None:
        with parsing("no WCS"):
            if isinstance(header, PlainHeader):
                header = fits.Header.fromstring(header.text)
            self._wcs = WCS(header)
            if not self._wcs.has_celestial or self._wcs.naxis != 2:
                raise BadContentError("no WCS")
            x, y = (float(v) * 3600 for v in proj_plane_pixel_scales(self._wcs))
            self._scales_arcsec = x, y

    @property
    def scales_arcsec(self) -> tuple[float, float]:
        """Side of a pixel along x and y [arcsec]."""
        return self._scales_arcsec

    def pixel_of(self, ra_deg: ArrayLike, dec_deg: ArrayLike) -> tuple[Floats, Floats]:
        """Return x and y [pixels] of positions [deg]; NaN on the other side of the sky."""
        with parsing("no WCS"):
            x, y = self._wcs.all_world2pix(*np.broadcast_arrays(ra_deg, dec_deg), 0)
        return np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)

    def sky_of(self, x_px: ArrayLike, y_px: ArrayLike) -> tuple[Floats, Floats]:
        """Return right ascension and declination [deg] of pixels."""
        with parsing("no WCS"):
            ra, dec = self._wcs.all_pix2world(*np.broadcast_arrays(x_px, y_px), 0)
        return np.asarray(ra, dtype=np.float64), np.asarray(dec, dtype=np.float64)


def frame_of(header: Header) -> Frame:
    """Return where the pixels of an image lie.

    Raises
    ------
    BadContentError
        Reason ``"no WCS"``.
    """
    return _tan_frame(header) or WcsFrame(header)


def _tan_frame(header: Header) -> TanFrame | None:
    """Return the frame of a plain gnomonic projection; None leaves the header to astropy."""
    if header.get("CTYPE1") != "RA---TAN" or header.get("CTYPE2") != "DEC--TAN":
        return None
    if any(header.get(f"CUNIT{axis}", "deg") != "deg" for axis in (1, 2)):
        return None
    if header.get("WCSAXES", 2) != 2 or header.get("LONPOLE", 180.0) != 180.0:
        return None
    keys = list(header)
    if any(key.startswith(_UNUSUAL) for key in keys):
        return None
    cd = _matrix(header, "CD", (0, 0, 0, 0))
    pc = _matrix(header, "PC", (1, 0, 0, 1))
    if cd is not None and pc is not None:
        return None
    if cd is None:
        steps = _numbers(header.get("CDELT1"), header.get("CDELT2"))
        if steps is None or any(key.startswith("CROTA") for key in keys):
            return None
        a, b, c, d = pc or [1.0, 0.0, 0.0, 1.0]
        cd = [steps[0] * a, steps[0] * b, steps[1] * c, steps[1] * d]
    place = _numbers(*(header.get(key) for key in ("CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2")))
    if place is None:
        return None
    (a, b, c, d), (ra, dec, x, y) = cd, place
    # At the north pole the default of LONPOLE is another one.
    if a * d - b * c == 0 or not -90 <= dec < 90:
        return None
    return TanFrame(ra, dec, x - 1, y - 1, (a, b, c, d))


def _matrix(header: Header, name: str, defaults: tuple[int, ...]) -> list[float] | None:
    """Return the elements 1_1, 1_2, 2_1, 2_2 of a matrix; None if the header has none of them."""
    own = [header.get(f"{name}{i}_{j}") for i in (1, 2) for j in (1, 2)]
    if all(value is None for value in own):
        return None
    given = zip(own, defaults, strict=True)
    return _numbers(*(default if value is None else value for value, default in given))


def _numbers(*values: Any) -> list[float] | None:
    """Return values as floats; None unless all are finite numbers."""
    good = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    numbers = [float(value) for value in values] if good else []
    return numbers if good and all(map(math.isfinite, numbers)) else None
