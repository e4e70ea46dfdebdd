"""Cutouts as small PNG pictures inside the page."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

#: Red, green and blue of a colour picture: i-dropouts come out red, their lenses yellow to white.
RGB_BANDS = ("z", "i", "r")
#: Constants of Lupton et al. (2004, PASP 116, 133), eq. 2: softening Q, and the
#: linear stretch in units of the picture's noise.
_SOFTENING = 6.0
_STRETCH_SIGMA = 25.0
#: A picture whose brightest pixel is fainter than this is shown dark [sigma].
_FAINT_SIGMA = 10.0
#: Where grey pictures are black, and where they are white at the least [sigma].
_BLACK_SIGMA = -2.0
_LEAST_TOP_SIGMA = 8.0
#: Part of the brightness that is mixed into each colour: pure red hides structure.
_WHITE = 0.18


def png_uri(pixels: NDArray[np.uint8]) -> str:
    """Return a picture (y, x) or (y, x, 3) of bytes, first row at the top, as a data URI.

    Only the chunks that every PNG must have are written: no time, no software.
    """
    height, width = pixels.shape[:2]
    colour = 2 if pixels.ndim == 3 else 0
    rows = np.ascontiguousarray(pixels).reshape(height, -1)
    raw = np.hstack([np.zeros((height, 1), np.uint8), rows]).tobytes()
    header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in ((b"IHDR", header), (b"IDAT", zlib.compress(raw, 9)), (b"IEND", b""))
    )
    return "data:image/png;base64," + base64.b64encode(data).decode("ascii")


def background(image: NDArray[np.floating]) -> tuple[float, float]:
    """Median and robust standard deviation (1.4826 MAD) of the outer frame of an image (y, x).

    NaN where no pixel is finite.
    """
    edge = max(2, image.shape[-1] // 7)
    frame = np.ones(image.shape, dtype=bool)
    frame[edge:-edge, edge:-edge] = False
    values = image[frame & np.isfinite(image)]
    if not len(values):
        return np.nan, np.nan
    level = float(np.median(values))
    sigma = 1.4826 * float(np.median(np.abs(values - level)))
    return level, sigma if sigma > 0 else float(np.std(values)) or 1.0


def in_sigma(image: NDArray[np.floating]) -> NDArray[np.floating] | None:
    """Return an image (y, x) less its background, in units of its noise; None without pixels.

    Pixels that are not finite become the black of `grey_stamp`, infinite ones its white.
    """
    level, sigma = background(image)
    if not np.isfinite(level):
        return None
    return np.nan_to_num((image - level) / sigma, nan=_BLACK_SIGMA, posinf=1e6, neginf=_BLACK_SIGMA)


def common_top(images: NDArray[np.floating]) -> float:
    """Return the white of one stretch for all bands of an object [sigma of each band's noise].

    The brightest pixel of the middle half of any of the images (n_band, y, x), and at least
    8 sigma, so that empty sky stays dark.
    """
    quarter = images.shape[-1] // 4
    tops = [_LEAST_TOP_SIGMA]
    for image in images:
        clean = in_sigma(image)
        if clean is not None:
            middle = clean[quarter : len(clean) - quarter, quarter : clean.shape[1] - quarter]
            tops.append(float(middle.max(initial=0.0)))
    return max(tops)


def grey_stamp(
    image: NDArray[np.floating], top_sigma: float | None = None, *, inverse: bool = False
) -> str | None:
    """One band (y, x) as a grey picture, north (the last row) up; None without finite pixels.

    Shown from 2 sigma below the background to ``top_sigma`` above; arcsinh in between. By
    default that is the brightest pixel, and at least 8 sigma, so that empty sky stays dark;
    with `common_top` the bands of an object are shown alike. ``inverse``: dark on white.
    """
    clean = in_sigma(image)
    if clean is None:
        return None
    top = max(_LEAST_TOP_SIGMA, float(clean.max())) if top_sigma is None else top_sigma
    shown = np.arcsinh((clean - _BLACK_SIGMA) / 4.0) / np.arcsinh((top - _BLACK_SIGMA) / 4.0)
    return png_uri(_bytes(1.0 - shown[::-1] if inverse else shown[::-1]))


def all_light(images: NDArray[np.floating]) -> NDArray[np.floating] | None:
    """Return the sum of the bands (n_band, y, x), each in units of its noise; None if none is good.

    What is seen in any band is seen in it.
    """
    planes = [clean for clean in map(in_sigma, images) if clean is not None]
    return np.sum(np.clip(planes, -1e4, 1e4), axis=0) if planes else None


def rgb_bands(bands: Sequence[str]) -> tuple[str, ...]:
    """Return the bands of red, green and blue of `colour_stamp`; empty with fewer than three."""
    if len(bands) < 3:
        return ()
    return RGB_BANDS if set(RGB_BANDS) <= set(bands) else tuple(bands[-3:][::-1])


def colour_stamp(images: NDArray[np.floating], bands: Sequence[str]) -> str | None:
    """Colour picture of the bands z, i, r (or the reddest three) after Lupton et al. (2004).

    Parameters
    ----------
    images : (n_band, y, x) of one object.
    bands : their names.

    Returns
    -------
    A data URI, north (the last row) up; None with fewer than three bands or
    without finite pixels in them.
    """
    names = list(bands)
    red_first = rgb_bands(names)
    if not red_first:
        return None
    planes = []
    noise = []
    for name in red_first:
        plane = images[names.index(name)]
        level, sigma = background(plane)
        if not np.isfinite(level):
            return None
        planes.append(np.nan_to_num(plane - level, nan=0.0, posinf=0.0, neginf=0.0))
        noise.append(sigma)
    cube = np.stack(planes, axis=-1)
    sigma = float(np.mean(noise)) / np.sqrt(len(planes))
    scale = _SOFTENING / (_STRETCH_SIGMA * sigma)
    rgb = lupton(cube, scale)
    # The brightest pixel is full, but empty sky is not stretched to look like something.
    rgb /= max(float(rgb.max()), float(np.arcsinh(scale * _FAINT_SIGMA * sigma)) * len(planes))
    rgb = (1 - _WHITE) * rgb + _WHITE * rgb.max(axis=-1, keepdims=True)
    return png_uri(_bytes(rgb[::-1]))


def lupton(cube: NDArray[np.floating], scale: float) -> NDArray[np.floating]:
    """Return colours that keep their ratios while their brightness is compressed.

    Lupton et al. (2004, PASP 116, 133), eq. 2 with F = arcsinh: each of red, green and blue
    times F(scale I) / I, with I their mean.

    Parameters
    ----------
    cube : (y, x, 3) red, green, blue; background 0; what is negative is dark.
    scale : Q over the linear stretch, per unit of ``cube``.
    """
    mean = np.maximum(cube.mean(axis=-1, keepdims=True), 1e-12)
    colours: NDArray[np.floating] = np.maximum(cube, 0.0) / mean * np.arcsinh(scale * mean)
    return colours


def _bytes(values: NDArray[np.floating]) -> NDArray[np.uint8]:
    return np.round(255 * np.clip(values, 0.0, 1.0)).astype(np.uint8)
