"""All colour cutouts of the page as one picture, cut up by the page's script."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from archipelago.base.images import ImageSet
from archipelago.report.stamps import RGB_BANDS

#: Most cutouts in the picture: about 1 kB each, a third more as base64.
MAX_CUTOUTS = 4000
#: Longest side that a cutout has in the picture; larger ones are averaged down [px].
MAX_SIDE_PX = 40
#: JPEG works on blocks of this side: a cutout in whole blocks does not bleed into its neighbours.
_BLOCK_PX = 8
_QUALITY = 84
_PER_ROW = 64
#: Objects that are stretched at once.
_CHUNK = 512
# Constants of the stretch of Lupton et al. (2004, PASP 116, 133), as on the cards.
_SOFTENING = 6.0
_STRETCH_SIGMA = 25.0
_FAINT_SIGMA = 10.0
_WHITE = 0.18


@dataclass(frozen=True)
class Sprite:
    """Cutouts beside and below each other.

    Attributes
    ----------
    uri : the picture as a data URI; '' without any cutout.
    step_px : distance of neighbouring cutouts [px].
    side_px : side of a cutout, from its corner at the upper left [px].
    per_row : cutouts in a row.
    place : (n,) number of each object's cutout, row by row; -1: has none.
    """

    uri: str
    step_px: int
    side_px: int
    per_row: int
    place: NDArray[np.int32]


def make_sprite(
    images: ImageSet | None, ids: NDArray[np.int64], limit: int = MAX_CUTOUTS
) -> Sprite:
    """Return the cutouts of the first ``limit`` objects of ``ids`` that have one.

    Colours are those of the cards: bands z, i, r, or the reddest three; north is up.
    Fewer than three bands are shown in grey. An image without a finite pixel has no cutout.
    """
    none = Sprite("", 1, 1, 1, np.full(len(ids), -1, dtype=np.int32))
    if images is None or not images.images.size or not len(ids):
        return none
    by_id = np.argsort(images.ids)
    slot = by_id[np.minimum(np.searchsorted(images.ids[by_id], ids), len(by_id) - 1)]
    rows = np.flatnonzero(images.ids[slot] == ids)[:limit]
    found = list(zip(rows.tolist(), slot[rows].tolist(), strict=True))
    if not found:
        return none
    planes = _planes(images.bands)
    kept: list[int] = []
    pictures: list[NDArray[np.uint8]] = []
    for start in range(0, len(found), _CHUNK):
        part = found[start : start + _CHUNK]
        cube = np.stack([np.asarray(images.images[k])[planes] for _, k in part])
        good = np.isfinite(cube).any(axis=(1, 2, 3))
        kept += [row for (row, _), fine in zip(part, good.tolist(), strict=True) if fine]
        pictures.append(_small(colours(cube[good])))
    tiles = np.concatenate(pictures)
    if not len(tiles):
        return none
    side = max(tiles.shape[1:3])
    step = math.ceil(side / _BLOCK_PX) * _BLOCK_PX
    per_row = min(_PER_ROW, len(tiles))
    n_rows = math.ceil(len(tiles) / per_row)
    canvas = np.zeros((n_rows * step, per_row * step, 3), dtype=np.uint8)
    for k, tile in enumerate(tiles):
        y, x = divmod(k, per_row)
        canvas[y * step : y * step + tile.shape[0], x * step : x * step + tile.shape[1]] = tile
    place = none.place.copy()
    place[kept] = np.arange(len(kept))
    return Sprite(_jpeg(canvas), step, side, per_row, place)


def colours(cube: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Return colour pictures (n, y, x, 3), first row north, of images (n, 3 or 1, y, x).

    The stretch of `archipelago.report.stamps.colour_stamp`, for many objects at once:
    arcsinh after Lupton et al. (2004), scaled by the noise of each image's frame. Pixels
    that are not finite are sky.
    """
    cube = cube.astype(np.float32)
    level, sigma = _frames(cube)
    light = np.nan_to_num(cube - level[..., None, None], nan=0.0, posinf=0.0, neginf=0.0)
    light = np.moveaxis(light, 1, -1)
    n_planes = light.shape[-1]
    mean = np.maximum(light.mean(axis=-1, keepdims=True), 1e-12)
    noise = sigma.mean(axis=1)[:, None, None, None] / math.sqrt(n_planes)
    scale = _SOFTENING / (_STRETCH_SIGMA * noise)
    rgb = np.maximum(light, 0.0) / mean * np.arcsinh(scale * mean)
    top = rgb.max(axis=(1, 2, 3), keepdims=True)
    rgb /= np.maximum(top, np.arcsinh(scale * _FAINT_SIGMA * noise) * n_planes)
    rgb = (1 - _WHITE) * rgb + _WHITE * rgb.max(axis=-1, keepdims=True)
    pixels = np.round(255 * np.clip(rgb[:, ::-1], 0.0, 1.0)).astype(np.uint8)
    return np.repeat(pixels, 3, axis=-1) if n_planes == 1 else pixels


def _planes(bands: Sequence[str]) -> list[int]:
    """Planes that are red, green and blue; one alone where there are fewer than three bands."""
    names = list(bands)
    if len(names) < 3:
        return [len(names) - 1]
    chosen = RGB_BANDS if set(RGB_BANDS) <= set(names) else names[-3:][::-1]
    return [names.index(name) for name in chosen]


def _frames(cube: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Median and robust standard deviation (n, plane) of the images' outer frames.

    0 and 1 where no pixel of a frame is finite.
    """
    edge = max(2, cube.shape[-1] // 7)
    frame = np.ones(cube.shape[-2:], dtype=bool)
    frame[edge:-edge, edge:-edge] = False
    values = np.ma.masked_invalid(cube[..., frame])
    level = np.ma.median(values, axis=-1)
    spread = 1.4826 * np.ma.median(abs(values - level[..., None]), axis=-1)
    sigma = np.ma.filled(spread, 0.0).astype(float)
    return np.ma.filled(level, 0.0).astype(float), np.where(sigma > 0, sigma, 1.0)


def _small(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Average pictures (n, y, x, 3) down by a whole number where they are too large."""
    factor = math.ceil(max(pixels.shape[1:3]) / MAX_SIDE_PX)
    if factor <= 1:
        return pixels
    n, ny, nx, _ = pixels.shape
    ny, nx = ny // factor, nx // factor
    blocks = pixels[:, : ny * factor, : nx * factor].reshape(n, ny, factor, nx, factor, 3)
    return np.round(blocks.mean(axis=(2, 4))).astype(np.uint8)


def _jpeg(pixels: NDArray[np.uint8]) -> str:
    stream = io.BytesIO()
    # No subsampling: colour is what tells an i-dropout in a picture of few pixels.
    Image.fromarray(pixels).save(stream, "JPEG", quality=_QUALITY, subsampling=0, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
