"""Cutouts of the user's own, in place of a download: one file for all objects of a search."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from archipelago.base.arrays import forget_pages, open_arrays
from archipelago.base.errors import ArchipelagoError, InputError
from archipelago.base.images import ImageSet, load_images, write_images
from archipelago.base.losses import check_conservation, join_losses, losses_frame
from archipelago.own.catalogue import whole_numbers
from archipelago.own.fields import judge

_LOG = logging.getLogger(__name__)

#: What the file must hold; see `read_cutouts`.
MEMBERS = ("images", "ids", "bands", "pixel_scale_arcsec", "zero_point_ab")
#: Why an object of the catalogue has no images, and why images have no object.
NO_CUTOUT, NO_OBJECT = "no cutout in the file", "not in the catalogue"

#: Images judged and copied at a time: 4,096 cutouts of 5 x 28 x 28 are 64 MB.
_CHUNK = 4096
_FORMAT = (
    f"write it with numpy.savez: {', '.join(MEMBERS)}; images is (n, band, y, x), ids (n,) whole "
    "numbers, each once"
)


@dataclass(frozen=True)
class TakenCutouts:
    """What a file of cutouts gives for one tile.

    Attributes
    ----------
    rows : (n,) of the file, of the objects that have good images in all bands.
    ids : (n,) of those objects.
    manifest : one row per object and band; see docs/outputs.md.
    losses : one row per object without images.
    """

    rows: NDArray[np.int64]
    ids: NDArray[np.int64]
    manifest: pd.DataFrame
    losses: pd.DataFrame


def read_cutouts(
    path: str | Path,
    *,
    bands: Sequence[str],
    size_px: int,
    pixel_scale_arcsec: float,
    zero_point_ab: float,
) -> ImageSet:
    """Read a user's file of cutouts, its images left on disk where it is not compressed.

    Parameters
    ----------
    path : ``.npz`` with ``images`` (n, band, y, x) [counts], ``ids`` (n,) of the catalogue,
        ``bands``, ``pixel_scale_arcsec`` and ``zero_point_ab`` [AB mag of one count].
    bands, size_px, pixel_scale_arcsec, zero_point_ab : what the configuration says of them.

    Raises
    ------
    InputError
        If the file cannot be read, lacks a part, contradicts itself, or holds something else
        than the configuration says; lists each difference.
    """
    try:
        with open_arrays("the cutouts", path) as archive:
            missing = [name for name in MEMBERS if name not in archive]
            if missing:
                raise InputError(f"the file of cutouts lacks {', '.join(missing)}")
            for name in MEMBERS[3:]:
                value = np.asarray(archive[name])
                if value.size != 1 or value.dtype.kind not in "iuf":
                    raise InputError(f"{name} is {value.tolist()!r}, not one number")
            ids, has_id = whole_numbers(pd.Series(archive["ids"].reshape(-1)), "ids")
            if not has_id.all():
                raise InputError(f"{int((~has_id).sum())} images have no identifier")
        loaded = load_images(path, memory_map=True)
    except ArchipelagoError as error:
        raise InputError(error.what, where=str(path), next_step=_FORMAT) from error
    given = ImageSet(
        loaded.images, ids, loaded.bands, loaded.pixel_scale_arcsec, loaded.zero_point_ab
    )
    wanted = (size_px, size_px)
    differ = []
    if given.bands != tuple(bands):
        differ.append(f"bands {' '.join(given.bands)}, not {' '.join(bands)} (images.bands)")
    if given.images.shape[2:] != wanted:
        height, width = given.images.shape[2:]
        differ.append(f"{height} x {width} px, not {size_px} x {size_px} (images.size_px)")
    for name, said in (
        ("pixel_scale_arcsec", pixel_scale_arcsec),
        ("zero_point_ab", zero_point_ab),
    ):
        if not math.isclose(getattr(given, name), said, rel_tol=1e-9):
            differ.append(f"{name} {getattr(given, name):g}, not {said:g} (images.{name})")
    if differ:
        raise InputError(
            f"the cutouts are not what the configuration says: {'; '.join(differ)}",
            where=str(path),
            next_step="set these keys to what the file holds, or make the cutouts anew",
        )
    return given


def take_cutouts(given: ImageSet, objects: pd.DataFrame, tile: str) -> TakenCutouts:
    """Take the images of a tile's objects, in the order of the objects.

    Parameters
    ----------
    given : the user's cutouts.
    objects : columns id, ra_deg, dec_deg; each id once.
    tile : its name, for the losses.

    Returns
    -------
    taken : an object is lost without a cutout, and with a pixel that is no number or a band
        that is constant.
    """
    at = pd.Series(np.arange(len(given)), index=given.ids).reindex(objects["id"])
    there = at.notna().to_numpy()
    absent = objects[~there]
    found = objects[there].reset_index(drop=True)
    rows = at[there].to_numpy(dtype=np.int64)
    manifests = [not_taken(absent["id"].to_numpy(dtype=np.int64), given.bands, NO_CUTOUT)]
    losses = [losses_frame(absent, tile=tile, stage="images", reason=NO_CUTOUT)]
    complete = np.zeros(len(rows), dtype=bool)
    for start in range(0, len(rows), _CHUNK):
        part = slice(start, start + _CHUNK)
        manifest, lost, complete[part] = judge(
            np.asarray(given.images[rows[part]]), found.iloc[part], given.bands, tile
        )
        forget_pages(given.images)
        manifests.append(manifest)
        losses.append(lost)
    taken = TakenCutouts(
        rows[complete],
        found["id"].to_numpy(dtype=np.int64)[complete],
        pd.concat(manifests, ignore_index=True),
        join_losses(losses),
    )
    check_conservation(len(objects), len(taken.ids), len(taken.losses), where=f"tile {tile}")
    return taken


def write_taken(given: ImageSet, taken: TakenCutouts, path: str | Path) -> None:
    """Write the images taken as a file of cutouts, some thousands in memory at a time."""

    def chunks() -> Iterator[NDArray[np.float32]]:
        for start in range(0, len(taken.rows), _CHUNK):
            chosen = given.images[taken.rows[start : start + _CHUNK]]
            yield np.asarray(chosen, dtype=np.float32)
            forget_pages(given.images)

    shape = given.images.shape[1:]
    write_images(
        path, chunks(), shape, taken.ids, given.bands, given.pixel_scale_arcsec, given.zero_point_ab
    )


def strangers(given: ImageSet, ids: NDArray[np.int64]) -> pd.DataFrame:
    """Return the manifest of cutouts whose object is none of ``ids``, and say how many they are.

    They are no losses: no object of the catalogue is lost with them.
    """
    others = np.sort(given.ids[~np.isin(given.ids, ids)])
    if len(others):
        _LOG.warning(
            "%d of %d cutouts belong to no object of the catalogue, such as id %d: the manifest "
            "lists them",
            len(others),
            len(given),
            others[0],
        )
    return not_taken(others, given.bands, NO_OBJECT)


def not_taken(ids: NDArray[np.int64], bands: Sequence[str], reason: str) -> pd.DataFrame:
    """Return the rows of a manifest for images that are not used, one per id and band."""
    n = len(ids) * len(bands)
    return pd.DataFrame(
        {
            "id": np.repeat(ids.astype(np.int64), len(bands)),
            "band": pd.Series(list(bands) * len(ids), dtype="str"),
            "status": pd.Series(["lost"] * n, dtype="str"),
            "reason": pd.Series([reason] * n, dtype="str"),
            "url": pd.Series([""] * n, dtype="str"),
            "bytes": np.zeros(n, dtype=np.int64),
            "sha256": pd.Series([""] * n, dtype="str"),
            "attempts": np.zeros(n, dtype=np.int64),
        }
    )
