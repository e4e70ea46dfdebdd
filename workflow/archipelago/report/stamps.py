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


def grey_stamp(image: NDArray[np.floating]) -> str | None:
    """One band (y, x) as a grey picture, north (the last row) up; None without finite pixels.

    Shown from 2 sigma below the background to the brightest pixel, but to at
    least 8 sigma above, so that empty sky stays dark; arcsinh in between.
    """
    level, sigma = background(image)
    if not np.isfinite(level):
        return None
    clean = np.nan_to_num((image - level) / sigma, nan=-2.0, posinf=1e6, neginf=-2.0)
    top = max(8.0, float(clean.max()))
    shown = np.arcsinh((clean + 2.0) / 4.0) / np.arcsinh((top + 2.0) / 4.0)
    return png_uri(_bytes(shown[::-1]))


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
    if len(names) < 3:
        return None
    red_first = RGB_BANDS if set(RGB_BANDS) <= set(names) else names[-3:][::-1]
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
    mean = np.maximum(cube.mean(axis=-1, keepdims=True), 1e-12)
    sigma = float(np.mean(noise)) / np.sqrt(len(planes))
    scale = _SOFTENING / (_STRETCH_SIGMA * sigma)
    rgb = np.maximum(cube, 0.0) / mean * np.arcsinh(scale * mean)
    # The brightest pixel is full, but empty sky is not stretched to look like something.
    rgb /= max(float(rgb.max()), float(np.arcsinh(scale * _FAINT_SIGMA * sigma)) * len(planes))
    rgb = (1 - _WHITE) * rgb + _WHITE * rgb.max(axis=-1, keepdims=True)
    return png_uri(_bytes(rgb[::-1]))


def _bytes(values: NDArray[np.floating]) -> NDArray[np.uint8]:
    return np.round(255 * np.clip(values, 0.0, 1.0)).astype(np.uint8)
