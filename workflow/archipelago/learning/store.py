"""Files of features; needs no torch, so that later stages can read them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from archipelago.base.arrays import open_arrays, save_arrays
from archipelago.base.errors import DataError
from archipelago.base.files import REMAKE


def save_features(path: str | Path, ids: NDArray[np.int64], features: NDArray[np.float32]) -> None:
    """Write ids (n,) and features (n, d) as ``.npz``, completely or not at all."""
    save_arrays({"ids": ids.astype(np.int64), "features": features.astype(np.float32)}, path)


def load_features(path: str | Path) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Read what `save_features` wrote: ids (n,) and features (n, d).

    Raises
    ------
    InputError
        If the file cannot be read or lacks a part.
    DataError
        If ids and features differ in number, or an id occurs twice.
    """
    with open_arrays("the features", path) as archive:
        ids, features = archive["ids"], archive["features"]
    if features.ndim != 2 or len(ids) != len(features) or len(np.unique(ids)) != len(ids):
        raise DataError(
            f"{len(np.unique(ids))} different ids for features of shape {features.shape}",
            where=str(path),
            next_step=REMAKE,
        )
    return ids, features
