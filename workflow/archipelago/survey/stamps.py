"""The square of pixels around an object, from one image of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from archipelago.survey.faults import BadContentError
from archipelago.survey.fits_image import Section, read_fits, require_band
from archipelago.survey.frames import Floats, Frame, Header, frame_of

#: Largest relative departure of the pixel scale from the configured one.
SCALE_TOLERANCE = 0.02
#: Largest share of a stamp's pixels without a value that is filled in.
MAX_FILLED_FRACTION = 0.02
#: Pixels beyond this are damage, not light; it also keeps float32 finite.
LARGEST_PIXEL = 1e30
#: Pixels kept around a stamp, beyond those of it, for resampling at its edges.
_AROUND_PX = 5


@dataclass(frozen=True)
class Stamp:
    """One band of one object: (y, x) float32, and how many pixels were filled in."""

    image: NDArray[np.float32]
    n_filled_px: int


@dataclass(frozen=True)
class Piece:
    """What one image shows around an object.

    Parameters
    ----------
    values : (y, x) pixels at the wanted zero point, NaN where they have no value.
    frame : where the pixels of ``values`` lie.
    x, y : the object's pixel, from 0; it may lie beyond ``values``.
    """

    values: Floats
    frame: Frame
    x: float
    y: float
    left: int = 0
    low: int = 0

    @property
    def holds_object(self) -> bool:
        """Whether a pixel of the image lies at the object."""
        height, width = self.values.shape
        return -0.5 <= self.x <= width - 0.5 and -0.5 <= self.y <= height - 0.5

    def corner(self, size_px: int) -> tuple[int, int]:
        """Return x and y of the first pixel of the stamp; whole pixels, so nothing is blurred."""
        half = (size_px - 1) / 2 - 0.5
        return int(np.floor(self.x - half)), int(np.floor(self.y - half))

    def square(self, size_px: int) -> Floats:
        """Return the stamp's pixels, NaN where there are none."""
        left, low = self.corner(size_px)
        height, width = self.values.shape
        square = np.full((size_px, size_px), np.nan)
        columns = slice(max(left, 0), min(left + size_px, width))
        rows = slice(max(low, 0), min(low + size_px, height))
        if columns.start < columns.stop and rows.start < rows.stop:
            square[
                rows.start - low : rows.stop - low, columns.start - left : columns.stop - left
            ] = self.values[rows, columns]
        return square

    def within(self, size_px: int) -> NDArray[np.bool_]:
        """Say which of the stamp's pixels lie on the image, with a value or without."""
        left, low = self.corner(size_px)
        height, width = self.values.shape
        place = np.arange(size_px)
        columns = (place + left >= 0) & (place + left < width)
        rows = (place + low >= 0) & (place + low < height)
        return rows[:, None] & columns[None, :]

    def sky_of(self, x_px: Floats, y_px: Floats) -> tuple[Floats, Floats]:
        """Return right ascension and declination [deg] of pixels of ``values``."""
        return self.frame.sky_of(x_px + self.left, y_px + self.low)

    def pixel_of(self, ra_deg: Floats, dec_deg: Floats) -> tuple[Floats, Floats]:
        """Return the pixels of ``values`` at positions [deg]."""
        x, y = self.frame.pixel_of(ra_deg, dec_deg)
        return x - self.left, y - self.low


class CutoutReader:
    """Judges bodies as a `Check`: an image in the right band that shows the object's place.

    Parameters
    ----------
    band, pattern : as in `require_band`.
    ra_deg, dec_deg : the object [deg].
    size_px, pixel_scale_arcsec, zero_point_ab : of the stamp.
    source_zero_point_ab : zero point of an image whose header names none; None: the stamp's.

    Attributes
    ----------
    piece : what the last good body shows.
    """

    def __init__(
        self,
        band: str,
        ra_deg: float,
        dec_deg: float,
        *,
        size_px: int,
        pixel_scale_arcsec: float,
        zero_point_ab: float,
        source_zero_point_ab: float | None = None,
        pattern: str | None = None,
    ) -> None:
        self._band, self._pattern = band, pattern
        self._position_deg = ra_deg, dec_deg
        self._size_px = size_px
        self._scale_arcsec = pixel_scale_arcsec
        self._zero_points = zero_point_ab, source_zero_point_ab
        self.piece: Piece | None = None

    def __call__(self, body: bytes) -> None:
        """Raise `BadContentError` unless ``body`` shows pixels near the object.

        Reasons: those of `read_fits` and `require_band`, ``"no WCS"``, ``"pixel scale"``,
        ``"wrong position"``, ``"no values"`` or ``"constant"``.
        """
        self.piece = None
        frames: list[tuple[Frame, float, float]] = []

        def around(header: Header, width: int, height: int) -> tuple[slice, slice]:
            require_band(header, self._band, self._pattern)
            frames[:] = [_place(header, *self._position_deg, self._scale_arcsec)]
            _, x, y = frames[0]
            half = self._size_px / 2 + _AROUND_PX
            columns = slice(*_clipped(x, half, width))
            rows = slice(*_clipped(y, half, height))
            if columns.start >= columns.stop or rows.start >= rows.stop:
                raise BadContentError("wrong position", _beyond(x, y, width, height))
            return rows, columns

        section: Section = around
        data, header, (left, low) = read_fits(body, section)
        frame, x, y = frames[0]
        data = data * _zero_point_factor(header, *self._zero_points)
        values = np.where(np.abs(data) < LARGEST_PIXEL, data, np.nan)
        _require_content(values)
        self.piece = Piece(values, frame, x - left, y - low, left, low)


def stamp_of(piece: Piece, size_px: int) -> Stamp:
    """Return the stamp of an image that holds all of it.

    Whole pixels only: nothing is interpolated, so the object lies within half a
    pixel, on each axis, of the stamp's centre (for an even ``size_px`` that is
    the corner shared by the four middle pixels). Pixels without a value get the median
    of the stamp, if they are at most `MAX_FILLED_FRACTION` of it and none is among
    the middle ones.

    Raises
    ------
    BadContentError
        Reason ``"wrong position"`` (the object is not on the image), ``"edge"`` (the image
        ends within the stamp), or those of `filled`.
    """
    height, width = piece.values.shape
    if not piece.holds_object:
        raise BadContentError("wrong position", _beyond(piece.x, piece.y, width, height))
    left, low = piece.corner(size_px)
    if left < 0 or low < 0 or left + size_px > width or low + size_px > height:
        raise BadContentError(
            "edge", f"{width} x {height} pixels, the object at ({piece.x:.1f}, {piece.y:.1f})"
        )
    return filled(piece.square(size_px))


def filled(square: Floats) -> Stamp:
    """Return a stamp whose few pixels without a value have the median of the others.

    Raises
    ------
    BadContentError
        Reason ``"no values"``, ``"bad pixels"`` or ``"constant"``.
    """
    bad = np.isnan(square)
    n_bad = int(bad.sum())
    if n_bad == square.size:
        raise BadContentError("no values", "no pixel has a finite value")
    middle = slice((square.shape[0] - 1) // 2 - 1, square.shape[0] // 2 + 2)
    if n_bad > MAX_FILLED_FRACTION * square.size or bad[middle, middle].any():
        raise BadContentError("bad pixels", f"{n_bad} of {square.size} have no finite value")
    values = square[~bad] if n_bad else square
    if values.min() == values.max():
        raise BadContentError("constant", f"every pixel is {values.flat[0]:g}")
    if n_bad:
        square = np.where(bad, np.median(values), square)
    return Stamp(square.astype(np.float32), n_bad)


def ends_within(square: Floats) -> bool:
    """Tell whether pixels without a value lie along the rim of a stamp, as where an image ends."""
    rim = (square[0], square[-1], square[:, 0], square[:, -1])
    return any(bool(np.isnan(line).any()) for line in rim)


def _place(
    header: Header, ra_deg: float, dec_deg: float, pixel_scale_arcsec: float
) -> tuple[Frame, float, float]:
    """Return an image's frame and the object's pixel (x, y), the first pixel's centre being 0."""
    frame = frame_of(header)
    x, y = (float(v) for v in frame.pixel_of(ra_deg, dec_deg))
    scales = frame.scales_arcsec
    if not all(abs(own / pixel_scale_arcsec - 1) <= SCALE_TOLERANCE for own in scales):
        raise BadContentError(
            "pixel scale",
            f"{scales[0]:.4g} x {scales[1]:.4g} arcsec instead of {pixel_scale_arcsec:.4g}",
        )
    if not (np.isfinite(x) and np.isfinite(y)):
        raise BadContentError("wrong position", "the object is on the other side of the sky")
    return frame, x, y


def _clipped(centre: float, half: float, length: int) -> tuple[int, int]:
    """Return first and one past the last pixel within ``half`` of ``centre``."""
    first = min(max(centre - half, 0), length)
    end = min(max(centre + half + 1, 0), length)
    return int(first), int(end)


def _beyond(x: float, y: float, width: int, height: int) -> str:
    return f"the object is at pixel ({x:.1f}, {y:.1f}) of {width} x {height}"


def _zero_point_factor(header: Header, zero_point_ab: float, default_ab: float | None) -> float:
    own = header.get("MAGZERO")
    if not isinstance(own, int | float) or isinstance(own, bool) or not np.isfinite(own):
        own = default_ab
    return 1.0 if own is None else float(10 ** (0.4 * (zero_point_ab - own)))


def _require_content(values: Floats) -> None:
    finite = values[~np.isnan(values)]
    if not finite.size:
        raise BadContentError("no values", "no pixel has a finite value")
    # A single pixel at a tile's corner is constant, and as good as any.
    if finite.size > 16 and finite.min() == finite.max():
        raise BadContentError("constant", f"every pixel is {finite[0]:g}")
