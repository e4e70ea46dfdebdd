"""Files of features; needs no torch, so that later stages can read them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from archipelago.base.errors import DataError, InputError
from archipelago.base.files import atomic_path


def save_features(path: str | Path, ids: NDArray[np.int64], features: NDArray[np.float32]) -> None:
    """Write ids (n,) and features (n, d) as ``.npz``, completely or not at all."""
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, ids=ids.astype(np.int64), features=features.astype(np.float32))


def load_features(path: str | Path) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Read what `save_features` wrote.

    Raises
    ------
    InputError
        If the file cannot be read or lacks a part.
    DataError
        If ids and features differ in number, or an id occurs twice.
    """
    remake = "delete the file and run the rule features again"
    try:
        with np.load(path, allow_pickle=False) as archive:
            ids, features = archive["ids"], archive["features"]
    except (OSError, ValueError, EOFError, KeyError) as error:
        raise InputError(
            f"cannot read the features: {type(error).__name__}: {error}",
            where=str(path),
            next_step=remake,
        ) from error
    if features.ndim != 2 or len(ids) != len(features) or len(np.unique(ids)) != len(ids):
        raise DataError(
            f"{len(np.unique(ids))} different ids for features of shape {features.shape}",
            where=str(path),
            next_step=remake,
        )
    return ids, features
