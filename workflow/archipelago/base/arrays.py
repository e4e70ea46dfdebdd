"""Arrays by name in one file: written completely or not at all, read without surprises."""

from __future__ import annotations

import mmap
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
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


def map_array(path: str | Path, name: str) -> NDArray[Any]:
    """Return one array of a ``.npz`` file, left on disk and read where it is indexed (read-only).

    Parameters
    ----------
    path : the file.
    name : of the array. One that was compressed is read.

    Raises
    ------
    OSError, ValueError, KeyError, zipfile.BadZipFile
        If the file cannot be read or lacks the array; see `archipelago.base.files.reading`.
    """
    path, member = Path(path), f"{name}.npy"
    with zipfile.ZipFile(path) as archive:
        entry = archive.getinfo(member)
    if entry.compress_type != zipfile.ZIP_STORED:
        with np.load(path, allow_pickle=False) as compressed:
            return compressed[name]
    with path.open("rb") as stream:
        # A local header is 30 bytes, then the name and the extra field, whose
        # lengths it holds; the central directory's may differ (PKZIP APPNOTE 4.3.7).
        stream.seek(entry.header_offset)
        head = stream.read(30)
        stream.seek(
            entry.header_offset
            + 30
            + int.from_bytes(head[26:28], "little")
            + int.from_bytes(head[28:30], "little")
        )
        version = npy.read_magic(stream)
        read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = read_header(stream)
        offset = stream.tell()
    if dtype.hasobject:
        raise ValueError("arrays of objects are not read")
    if 0 in shape:
        return np.empty(shape, dtype)
    return np.memmap(
        path, dtype=dtype, mode="r", offset=offset, shape=shape, order="F" if fortran else "C"
    )


def forget_pages(array: NDArray[Any]) -> None:
    """Give back the memory of pages of a mapped file that were read; else do nothing.

    What is read through a map counts as the process's own memory until then. Pages that
    are read again come from the system's cache, or from the disk.
    """
    if isinstance(array.base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        array.base.madvise(mmap.MADV_DONTNEED)
