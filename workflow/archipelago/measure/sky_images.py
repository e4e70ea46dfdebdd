"""The cutouts of a search on a demo sky, made in this process.

As the embedded survey would serve them: the same painter, tiles and pixels, without HTTP.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from archipelago.base.images import ImageSet
from archipelago.demosky.images import ZERO_POINT_AB, Painter
from archipelago.demosky.sky import IMAGE_BANDS, Sky
from archipelago.demosky.survey_tiles import PIXEL_SCALE_ARCSEC, SurveyTile

#: Side of a stamp [px], as in the configuration's default.
SIZE_PX = 28


def sky_images(sky: Sky, objects: pd.DataFrame, size_px: int = SIZE_PX) -> ImageSet:
    """Return the stamps of objects, in grizY.

    Of each object from the first tile that holds the whole stamp. Objects at the end of the
    survey, whose stamp no single tile holds, are left out (a search assembles some of them from
    several tiles).

    Parameters
    ----------
    sky : the synthetic sky.
    objects : columns id, ra_deg, dec_deg.
    size_px : side of a stamp.

    Returns
    -------
    ImageSet
        Sorted by id; images (n, 5, size_px, size_px) in counts.
    """
    painter = Painter(sky)
    ids, stamps = [], []
    objects = objects.sort_values("id")
    columns = (objects[name].to_numpy() for name in ("id", "ra_deg", "dec_deg"))
    for number, ra, dec in zip(*columns, strict=True):
        ra_deg, dec_deg = float(ra), float(dec)
        for tile in painter.tiles.holding(ra_deg, dec_deg):
            x0, y0 = _corner(tile, ra_deg, dec_deg, size_px)
            if _holds(tile, x0, y0, size_px):
                ids.append(int(number))
                stamps.append(_planes(painter, tile, x0, y0, size_px))
                break
    n = len(ids)
    shape = (n, len(IMAGE_BANDS), size_px, size_px)
    return ImageSet(
        images=np.array(stamps, dtype=np.float32).reshape(shape),
        ids=np.array(ids, dtype=np.int64),
        bands=tuple(IMAGE_BANDS),
        pixel_scale_arcsec=PIXEL_SCALE_ARCSEC,
        zero_point_ab=ZERO_POINT_AB,
    )


def _corner(tile: SurveyTile, ra_deg: float, dec_deg: float, size_px: int) -> tuple[int, int]:
    """Return the first pixel of a stamp, as `archipelago.survey.stamps.Piece.corner` does."""
    x, y = tile.pixel_of(ra_deg, dec_deg)
    half = (size_px - 1) / 2 - 0.5
    return int(np.floor(float(x) - half)), int(np.floor(float(y) - half))


def _holds(tile: SurveyTile, x0: int, y0: int, size_px: int) -> bool:
    inside_x = tile.x_range[0] <= x0 and x0 + size_px <= tile.x_range[1]
    inside_y = tile.y_range[0] <= y0 and y0 + size_px <= tile.y_range[1]
    return inside_x and inside_y


def _planes(
    painter: Painter, tile: SurveyTile, x0: int, y0: int, size_px: int
) -> NDArray[np.float32]:
    """Return the five bands of a stamp, (5, y, x)."""
    planes = [painter.cutout(tile, band, x0, y0, size_px, size_px) for band in IMAGE_BANDS]
    return np.stack(planes).astype(np.float32)
