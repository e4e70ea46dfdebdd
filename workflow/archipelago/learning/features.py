"""Features of images from a trained network."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from archipelago.base.arrays import forget_pages
from archipelago.base.errors import ArchipelagoError
from archipelago.base.images import ImageSet
from archipelago.learning.augment import central_crop, check_size, upright_views
from archipelago.learning.devices import exact, pick_device
from archipelago.learning.model import Model, check_fits
from archipelago.learning.scaling import clean_images

_LOG = logging.getLogger(__name__)

#: Images per pass; fixed, as it could change the last digits. Only a full device makes it fewer.
_BATCH = 256


def compute_features(
    model: Model,
    images: ImageSet,
    *,
    threads: int = 1,
    device: torch.device | None = None,
    where: str | Path = "",
) -> NDArray[np.float32]:
    """Return the features of each image: the encoder's output, without the head.

    Of the central part of each image, as the mean over ``feature_views`` exact
    orientations, divided by the L2 norm (arXiv:2403.17903 uses one orientation).

    Parameters
    ----------
    model : trained network; also one of another run, if its record fits.
    images : any number of images, counts.
    threads : CPU threads.
    device : None takes a GPU if there is one.
    where : name of the images' file, for error messages.

    Returns
    -------
    NDArray
        (n, n_features) float32 of norm 1. A row is all zeros where the image has no
        content (constant or without a finite pixel in every band).

    Raises
    ------
    InputError
        If the images are not of the kind the model was trained on.
    ArchipelagoError
        If the device has no memory for one image; for fewer at once the log says so.
    """
    check_fits(model, images, where)
    height, width = images.images.shape[2:]
    check_size(height, width, model.settings.crop_px)
    device = device or pick_device()
    encoder = model.network.encoder.to(device).eval()
    features = np.zeros((len(images), encoder.n_features), dtype=np.float32)
    n_empty = 0
    start, at_once = 0, _BATCH
    with exact(threads), torch.inference_mode():
        while start < len(images):
            chosen = slice(start, start + at_once)
            pixels, usable = clean_images(images.images[chosen])
            try:
                unit = _unit_features(model, torch.from_numpy(pixels).to(device))
            except torch.OutOfMemoryError as error:
                at_once = _fewer(at_once, error)
                continue
            features[chosen] = np.where(usable[:, None], unit, 0.0)
            n_empty += int((~usable).sum())
            start += at_once
            forget_pages(images.images)
    if n_empty:
        _LOG.warning("%d images have no content: their features are zeros", n_empty)
    return features


def _unit_features(model: Model, images: torch.Tensor) -> NDArray[np.float32]:
    """Return features (n, n_features) of norm 1 of cleaned images (n, band, y, x)."""
    prepared = model.scaling.prepare(images)
    ready = model.scaling.finish(central_crop(prepared, model.settings.crop_px))
    views = upright_views(ready, model.settings.feature_views)
    total = torch.stack([model.network.encoder(view) for view in views]).mean(dim=0)
    return functional.normalize(total.float(), dim=1).cpu().numpy()


def _fewer(at_once: int, error: torch.OutOfMemoryError) -> int:
    """Return half of so many images, which the device has no memory for; say so in the log.

    Raises
    ------
    ArchipelagoError
        If it has none for a single image.
    """
    if at_once == 1:
        raise ArchipelagoError(
            "the device has no memory for one image",
            next_step="free the GPU, or hide it: CUDA_VISIBLE_DEVICES= runs on the CPU",
        ) from error
    _LOG.warning("out of memory with %d images at once: going on with %d", at_once, at_once // 2)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return at_once // 2
