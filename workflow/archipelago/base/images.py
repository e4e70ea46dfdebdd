"""Sets of image cutouts in one file: written atomically, read safely, streamed where large."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from archipelago.base.arrays import map_array, open_arrays
from archipelago.base.errors import DataError, InputError
from archipelago.base.files import REMAKE, atomic_path

_MEMBERS = ("images", "ids", "bands", "pixel_scale_arcsec", "zero_point_ab")


@dataclass(frozen=True)
class ImageSet:
    """Cutouts of objects, all of one size and in one order of bands.

    Attributes
    ----------
    images : (n, n_band, ny, nx) float32, counts at ``zero_point_ab``.
    ids : (n,) int64, identifiers of the objects, in the order of ``images``.
    bands : names of the bands, in the order of the second axis.
    pixel_scale_arcsec : side of a pixel [arcsec].
    zero_point_ab : AB magnitude of one count per image.
    asked : JSON on what they were made for, '' where the file does not say.
    """

    images: NDArray[np.float32]
    ids: NDArray[np.int64]
    bands: tuple[str, ...]
    pixel_scale_arcsec: float
    zero_point_ab: float
    asked: str = ""

    def __len__(self) -> int:
        return len(self.ids)

    def check(self, where: str | Path) -> None:
        """Raise `DataError` where shapes, bands or identifiers contradict each other."""
        problem = ""
        if self.images.ndim != 4:
            problem = f"images have {self.images.ndim} axes, not 4 (object, band, y, x)"
        elif len(self.images) != len(self.ids):
            problem = f"{len(self.images)} images for {len(self.ids)} identifiers"
        elif self.images.shape[1] != len(self.bands):
            problem = f"{self.images.shape[1]} planes for the bands {', '.join(self.bands)}"
        elif len(np.unique(self.ids)) != len(self.ids):
            problem = "an identifier occurs twice"
        if problem:
            raise DataError(f"not a set of cutouts: {problem}", where=str(where), next_step=REMAKE)


def save_images(
    path: str | Path,
    images: NDArray[np.floating] | Sequence[NDArray[np.floating]],
    ids: NDArray[np.integer] | Sequence[int],
    bands: Sequence[str],
    pixel_scale_arcsec: float,
    zero_point_ab: float,
) -> None:
    """Write a set of cutouts as uncompressed ``.npz``, completely or not at all.

    Equal content gives equal bytes. An empty set must still have four axes,
    such as ``np.empty((0, 5, 28, 28))``.

    Parameters
    ----------
    path : the file; its folder is made.
    images : (n, n_band, ny, nx), stored as float32.
    ids : (n,) identifiers, stored as int64; none twice.
    bands : names in the order of the second axis.
    pixel_scale_arcsec : side of a pixel [arcsec].
    zero_point_ab : AB magnitude of one count.

    Raises
    ------
    DataError
        If shapes, bands or identifiers contradict each other.
    """
    array = np.asarray(images, dtype=np.float32)
    numbers = np.asarray(ids, dtype=np.int64).reshape(-1)
    names = tuple(str(band) for band in bands)
    ImageSet(array, numbers, names, pixel_scale_arcsec, zero_point_ab).check(path)
    write_images(path, [array], array.shape[1:], numbers, names, pixel_scale_arcsec, zero_point_ab)


def write_images(
    path: str | Path,
    chunks: Iterable[NDArray[np.float32]],
    shape: tuple[int, ...],
    ids: NDArray[np.int64],
    bands: Sequence[str],
    pixel_scale_arcsec: float,
    zero_point_ab: float,
    asked: str = "",
) -> None:
    """Write cutouts that come in chunks, so that never all are in memory.

    Parameters
    ----------
    path : the file.
    chunks : arrays (m, *shape), in the order of ``ids``; together ``len(ids)`` rows.
    shape : of one object, (n_band, ny, nx).
    ids : (n,) identifiers of all chunks.
    bands, pixel_scale_arcsec, zero_point_ab : as in `save_images`.
    asked : JSON on what they were made for; '': the file does not say.

    Raises
    ------
    DataError
        If the chunks hold more or fewer rows than ``ids``, or another shape.
    """
    small = {
        "ids": np.ascontiguousarray(ids, dtype=np.int64),
        "bands": np.array(list(bands), dtype=np.str_),
        "pixel_scale_arcsec": np.array(float(pixel_scale_arcsec)),
        "zero_point_ab": np.array(float(zero_point_ab)),
    }
    if asked:
        small["asked"] = np.array(asked)
    header = {
        "descr": npy.dtype_to_descr(np.dtype("<f4")),
        "fortran_order": False,
        "shape": (len(ids), *shape),
    }
    # Members opened by name carry the fixed date 1980-01-01: equal content, equal bytes.
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        n_written = 0
        with archive.open("images.npy", "w", force_zip64=True) as member:
            npy.write_array_header_1_0(member, header)
            for chunk in chunks:
                if chunk.shape[1:] != tuple(shape):
                    raise DataError(
                        f"a chunk of images of shape {chunk.shape[1:]} where {tuple(shape)} is due",
                        where=str(path),
                        next_step=REMAKE,
                    )
                n_written += len(chunk)
                member.write(np.ascontiguousarray(chunk, dtype="<f4").data)
        if n_written != len(ids):
            raise DataError(
                f"{n_written} images for {len(ids)} identifiers", where=str(path), next_step=REMAKE
            )
        for name, array in small.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                npy.write_array(member, array, allow_pickle=False)


def load_images(path: str | Path, *, memory_map: bool = False) -> ImageSet:
    """Read a set of cutouts written by `save_images`; never unpickles.

    Parameters
    ----------
    path : the file.
    memory_map : leave the images on disk and read what is indexed (read-only).

    Raises
    ------
    InputError
        If the file cannot be read, is truncated, or lacks a part.
    DataError
        If its parts contradict each other.
    """
    with open_arrays("the cutouts", path) as archive:
        missing = [name for name in _MEMBERS if name not in archive]
        if missing:
            raise InputError(
                f"the file of cutouts lacks {', '.join(missing)}",
                where=str(path),
                next_step=REMAKE,
            )
        small = {name: archive[name] for name in _MEMBERS[1:]}
        asked = str(archive["asked"]) if "asked" in archive else ""
        images = map_array(path, "images") if memory_map else archive["images"]
    loaded = ImageSet(
        images if images.dtype == np.float32 else images.astype(np.float32),
        small["ids"].astype(np.int64),
        tuple(str(band) for band in np.atleast_1d(small["bands"])),
        float(small["pixel_scale_arcsec"]),
        float(small["zero_point_ab"]),
        asked,
    )
    loaded.check(path)
    return loaded
