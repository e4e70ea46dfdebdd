"""The pixels that shapes are measured in: sky taken off, with their weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Images = NDArray[np.float32]

#: Half the side of the window that is looked at [arcsec]: beyond it lie other objects.
_HALF_SIDE_ARCSEC = 2.37
#: Light that no model is asked to explain better: part of the light of the pixel (assumed).
_MODEL_ERROR = 0.02
#: Frame of a stamp that shows its sky, as a part of its side.
_FRAME_PART = 1.0 / 7.0
#: Standard deviation of a normal distribution over its median absolute deviation.
_MAD_TO_SIGMA = 1.4826


@dataclass(frozen=True)
class Pixels:
    """The middle of n stamps.

    Attributes
    ----------
    light : (n, band, y, x) counts above the sky; 0 where there is no number.
    root_weight : (n, band, y, x) 1 / noise [1 / counts]; 0 where there is no number.
    sky_noise : (n, band) noise of a pixel without light [counts]; 0 where it is unknown.
    x_px, y_px : (x,) and (y,) places of the pixels from the middle of the stamp.
    """

    light: Images
    root_weight: Images
    sky_noise: Floats
    x_px: NDArray[np.float32]
    y_px: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.light)

    @property
    def n_counted(self) -> NDArray[np.int64]:
        """Return how many pixels of each object count, (n,)."""
        return np.asarray((self.root_weight > 0).sum(axis=(1, 2, 3)), dtype=np.int64)


def prepare(images: NDArray[np.floating], pixel_scale_arcsec: float) -> Pixels:
    """Return the middle pixels of stamps, their sky taken off.

    Sky and noise are median and median absolute deviation of the frame, the outer seventh, per
    image. A pixel's error is that noise and a fiftieth of its light, in quadrature.

    Parameters
    ----------
    images : (n, band, y, x) counts; may hold pixels that are no numbers.
    pixel_scale_arcsec : side of a pixel.
    """
    images = np.asarray(images, dtype=np.float32)
    n, n_bands, height, width = images.shape
    margin = max(1, round(_FRAME_PART * min(height, width)))
    frame = np.concatenate(
        [
            images[:, :, :margin].reshape(n, n_bands, -1),
            images[:, :, -margin:].reshape(n, n_bands, -1),
            images[:, :, margin:-margin, :margin].reshape(n, n_bands, -1),
            images[:, :, margin:-margin, -margin:].reshape(n, n_bands, -1),
        ],
        axis=2,
    )
    sky = _median(frame)
    noise = _MAD_TO_SIGMA * _median(np.abs(frame - sky[:, :, None]))
    half = max(2, round(_HALF_SIDE_ARCSEC / pixel_scale_arcsec))
    rows, columns = _middle(height, half), _middle(width, half)
    light = images[:, :, rows, columns] - sky[:, :, None, None]
    good = np.isfinite(light) & (noise > 0)[:, :, None, None]
    light = np.where(good, light, np.float32(0.0))
    variance = noise[:, :, None, None] ** 2 + (_MODEL_ERROR * np.maximum(light, 0.0)) ** 2
    root_weight = np.where(good, 1.0 / np.sqrt(np.where(good, variance, 1.0)), 0.0)
    return Pixels(
        light,
        root_weight.astype(np.float32),
        noise.astype(float),
        _axis(width)[columns],
        _axis(height)[rows],
    )


def _median(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the median of the numbers along the last axis; 0 where there are none."""
    finite = np.isfinite(values)
    if finite.all():
        return np.asarray(np.median(values, axis=-1), dtype=np.float32)
    values = np.sort(np.where(finite, values, np.inf), axis=-1)
    count = finite.sum(axis=-1)
    last = values.shape[-1] - 1
    low = np.take_along_axis(values, np.clip((count - 1) // 2, 0, last)[..., None], axis=-1)
    high = np.take_along_axis(values, np.clip(count // 2, 0, last)[..., None], axis=-1)
    middle = np.zeros(low.shape, dtype=np.float32)
    some = (count > 0)[..., None]
    middle[some] = (low[some] + high[some]) / 2
    return np.asarray(middle[..., 0])


def _middle(side: int, half: int) -> slice:
    cut = max(0, (side - 2 * half) // 2)
    return slice(cut, side - cut)


def _axis(side: int) -> NDArray[np.float32]:
    return (np.arange(side) - (side - 1) / 2).astype(np.float32)
