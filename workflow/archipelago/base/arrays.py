"""Arrays by name in one file: written completely or not at all, read without surprises."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archipelago.base.files import atomic_path, reading


def save_arrays(arrays: Mapping[str, NDArray[Any]], path: str | Path) -> None:
    """Write an uncompressed ``.npz``; its bytes depend on the content only."""
    write: Any = np.savez  # typed as if the name of an array could be its option
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        write(stream, **arrays)


@contextmanager
def open_arrays(what: str, path: str | Path) -> Iterator[Mapping[str, NDArray[Any]]]:
    """Open an ``.npz`` file; never unpickles.

    Parameters
    ----------
    what : what the file holds, such as ``"the features"``.
    path : the file.

    Raises
    ------
    InputError
        If the file, or within the block one of its arrays, cannot be read.
    """
    # Opened here: numpy leaves a file open that is no archive.
    with (
        reading(what, path),
        Path(path).open("rb") as stream,
        np.load(stream, allow_pickle=False) as archive,
    ):
        yield archive
