"""A finished run made larger: every object repeated under new identifiers.

What rules cost at other sizes is measured on such files (`archipelago.measure.resources`).
They are no sky: positions of a copy lie beside the first, photometry and pixels are the same.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from archipelago.base.arrays import open_arrays, save_arrays
from archipelago.base.errors import InputError
from archipelago.base.images import load_images, write_images
from archipelago.base.losses import read_losses, write_losses
from archipelago.base.tables import read_about, read_table, write_csv, write_table
from archipelago.photometry.cutflow import read_cutflow, write_cutflow

#: Identifiers of one copy lie so far from those of the one before: more than the demo's span.
ID_STEP = 10_000_000_000
#: Copies are moved north by so much [deg]: farther than any match reaches.
DEC_STEP_DEG = 0.02
#: Numbers of copies differ by some 1e-7 of themselves, in columns where most rows differ: equal
#: ones would take no room in a file.
_NUMBER_NOISE = 1e-7
#: Scatter given to features of copies: equal rows would be no work for a map.
_FEATURE_NOISE = 0.02
#: Images copied at a time.
_CHUNK = 4096


#: Tables that do not grow with the objects of the search.
_AS_IT_IS = ("known_quasars.parquet", "simulated.parquet")


def repeat_rows(table: pd.DataFrame, times: int) -> pd.DataFrame:
    """Return the rows ``times`` times, copy after copy.

    Parameters
    ----------
    table : with an id; dec_deg [deg] where there are positions, and rank where it is a ranking.
    times : copies, the first included.

    Returns
    -------
    DataFrame
        Copy k has ids larger by k `ID_STEP`, and lies k `DEC_STEP_DEG` north. Ranks go on.
    """
    copies = np.repeat(np.arange(times, dtype=np.int64), len(table))
    larger = pd.concat([table] * times, ignore_index=True)
    rng = np.random.default_rng(times)
    for name in table.select_dtypes("float").columns:
        if table[name].nunique() > len(table) / 2:
            # Downwards, so that a probability stays one.
            noise = _NUMBER_NOISE * rng.random(len(larger))
            larger[name] *= np.where(copies > 0, 1.0 - noise, 1.0)
    larger["id"] = larger["id"].to_numpy(dtype=np.int64) + copies * ID_STEP
    if "dec_deg" in larger:
        larger["dec_deg"] = larger["dec_deg"] + copies * DEC_STEP_DEG
    if "rank" in larger:
        larger["rank"] = np.arange(1, len(larger) + 1)
    if "rank_unknown" in larger:
        place = (~larger["is_known"].astype(bool)).cumsum()
        larger["rank_unknown"] = place.where(larger["rank_unknown"].notna()).astype(
            table["rank_unknown"].dtype
        )
    return larger


def repeat_ids(ids: NDArray[np.int64], times: int) -> NDArray[np.int64]:
    """Return identifiers (n,) as those of `repeat_rows`, (times n,)."""
    return np.concatenate([ids + copy * ID_STEP for copy in range(times)])


def enlarge(path: Path, out: Path, times: int) -> None:
    """Write a file of a finished run with every object ``times`` times.

    Tables (Parquet, and CSV of losses or of a truth) are repeated by `repeat_rows`; numbers of
    a cut flow are multiplied; images and features are repeated, features with some scatter.
    Whatever has no objects of the search (templates, models, simulated ones, ...) is copied.

    Raises
    ------
    InputError
        If the file is not there, or not what its name says.
    """
    if not path.is_file():
        raise InputError(
            "the run has no such file", where=str(path), next_step="make demo, and measure again"
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    name = path.name
    if name.startswith("losses") and name.endswith(".csv"):
        write_losses(repeat_rows(read_losses(path), times), out)
    elif name.startswith("cutflow"):
        flow = read_cutflow(path)
        for column in ("rows_in", "rows_out"):
            flow[column] *= times
        write_cutflow(flow, out)
    elif name.startswith("truth"):
        write_csv(repeat_rows(pd.read_csv(path), times), out)
    elif name in ("images.npz", "cutouts.npz"):
        _enlarge_images(path, out, times)
    elif name == "features.npz":
        _enlarge_features(path, out, times)
    elif path.suffix == ".parquet" and name not in _AS_IT_IS and "shard" not in name:
        write_table(repeat_rows(read_table(path), times), out, read_about(path))
    else:
        shutil.copyfile(path, out)


def _enlarge_images(path: Path, out: Path, times: int) -> None:
    images = load_images(path, memory_map=True)

    def chunks() -> Iterator[NDArray[np.float32]]:
        for _ in range(times):
            for start in range(0, len(images), _CHUNK):
                yield np.asarray(images.images[start : start + _CHUNK])

    write_images(
        out,
        chunks(),
        images.images.shape[1:],
        repeat_ids(images.ids, times),
        images.bands,
        images.pixel_scale_arcsec,
        images.zero_point_ab,
    )


def _enlarge_features(path: Path, out: Path, times: int) -> None:
    with open_arrays("the features", path) as archive:
        ids, features = archive["ids"], archive["features"]
    rng = np.random.default_rng(times)
    parts = []
    for _ in range(times):
        scatter = _FEATURE_NOISE * rng.standard_normal(features.shape).astype(np.float32)
        # Images without content have features of zeros, and keep them.
        moved = np.where((features != 0).any(axis=1, keepdims=True), features + scatter, 0)
        parts.append(moved / np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), 1e-12))
    save_arrays(
        {
            "ids": repeat_ids(ids, times),
            "features": np.concatenate(parts).astype(np.float32),
        },
        out,
    )
