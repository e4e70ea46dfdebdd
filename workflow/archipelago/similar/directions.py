"""Features of several networks as directions, read from disk only where they are asked for.

The similarity of two objects is the mean over seeds of the cosine between their features
(`archipelago.islands.similarity`). It is also the inner product of their unit vectors of all
seeds, one behind the other and divided by the root of the number of seeds: what an index of
nearest neighbours can search.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from archipelago.base.arrays import map_array
from archipelago.base.errors import DataError, InputError
from archipelago.base.files import REMAKE, reading

#: Rows handled at once: some 8 MB of float64 per seed of 256 features.
_CHUNK = 4096
#: Shorter than this, what is left of a feature without the mean has no direction
#: (as in archipelago.islands.similarity.unit_rows).
_NO_LENGTH = 1e-9
#: Rows that the mark of a file of features is made of.
_MARKED_ROWS = 64


@dataclass(frozen=True)
class Features:
    """Features of the same objects from each seed, left on disk.

    Attributes
    ----------
    ids_of_seeds : per seed (n,) int64 identifiers, in the order of its rows.
    seeds : per seed (n, d) float32; zeros where an image has no content.
    """

    ids_of_seeds: tuple[NDArray[np.int64], ...]
    seeds: tuple[NDArray[np.float32], ...]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def ids(self) -> NDArray[np.int64]:
        """Identifiers (n,), in the order of the rows."""
        return self.ids_of_seeds[0]

    def mark(self) -> str:
        """Return a digest of shapes and of some rows, to tell other features from these."""
        digest = hashlib.sha256()
        rows = np.unique(np.linspace(0, max(len(self) - 1, 0), _MARKED_ROWS).astype(np.int64))
        rows = rows[: len(self)]
        for ids, values in zip(self.ids_of_seeds, self.seeds, strict=True):
            digest.update(repr(values.shape).encode())
            digest.update(np.ascontiguousarray(ids[rows]).tobytes())
            digest.update(np.ascontiguousarray(values[rows]).tobytes())
        return digest.hexdigest()[:16]

    def check_same_objects(self) -> None:
        """Raise `InputError` unless all seeds have the same objects in the same order."""
        for number, ids in enumerate(self.ids_of_seeds):
            if not np.array_equal(ids, self.ids):
                raise _other_objects(f"the features of seed number {number + 1} of the list")


def open_features(paths: Sequence[str | Path]) -> Features:
    """Open the features of all seeds; of their identifiers, only the number is compared.

    Raises
    ------
    InputError
        If there is none, one cannot be read, or they differ in number.
    DataError
        If ids and features of a file differ in number.
    """
    if not paths:
        raise InputError("no features of any seed", where="features", next_step="make them first")
    ids: list[NDArray[np.int64]] = []
    seeds: list[NDArray[np.float32]] = []
    for path in paths:
        with reading("the features", path):
            of_ids, values = map_array(path, "ids"), map_array(path, "features")
        if values.ndim != 2 or of_ids.shape != values.shape[:1]:
            raise DataError(
                f"{of_ids.shape} ids for features of shape {values.shape}",
                where=str(path),
                next_step=REMAKE,
            )
        if seeds and values.shape != seeds[0].shape:
            raise _other_objects(str(path))
        ids.append(of_ids)
        seeds.append(values)
    return Features(tuple(ids), tuple(seeds))


def _other_objects(where: str) -> InputError:
    return InputError(
        "the features are of other objects, or others in number, than the first seed's",
        where=where,
        next_step="make the features of all seeds again from the same images",
    )


@dataclass(frozen=True)
class Directions:
    """Unit vectors of the objects, seed by seed.

    Attributes
    ----------
    features : of all seeds.
    means : (seed, d) what is subtracted first; zeros where nothing is.
    """

    features: Features
    means: NDArray[np.float64]

    def per_seed(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the unit vectors (seed, m, d) of rows (m,), zeros where there is no direction.

        Rows without content are to be left out by the caller: they would get a direction.
        """
        return np.stack(
            [
                _unit(np.asarray(values[rows], dtype=np.float64) - mean)
                for values, mean in zip(self.features.seeds, self.means, strict=True)
            ]
        )

    def combined(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return vectors (m, seed * d) whose inner product is the mean cosine over seeds."""
        units = self.per_seed(rows)
        joined = units.transpose(1, 0, 2).reshape(len(rows), -1) / np.sqrt(len(units))
        return np.ascontiguousarray(joined, dtype=np.float32)

    def cosines(self, row: int, others: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the cosines (seed, m) of one row with others (m,), to all digits."""
        one = self.per_seed(np.array([row]))[:, 0]
        return np.einsum("sd,smd->sm", one, self.per_seed(others))


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, length, out=np.zeros_like(vectors), where=length > _NO_LENGTH)


def chunks(rows: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Yield rows some thousands at a time."""
    for start in range(0, len(rows), _CHUNK):
        yield rows[start : start + _CHUNK]


def measure_directions(features: Features, *, centre: bool) -> tuple[Directions, NDArray[np.bool_]]:
    """Return the directions, and which objects (n,) have content with every seed.

    Parameters
    ----------
    features : of all seeds.
    centre : subtract each seed's mean over the objects that have content with it.
    """
    content = np.ones(len(features), dtype=bool)
    means = np.zeros((len(features.seeds), features.seeds[0].shape[1]))
    for seed, values in enumerate(features.seeds):
        number = 0
        for rows in chunks(np.arange(len(features))):
            part = np.asarray(values[rows[0] : rows[-1] + 1], dtype=np.float64)
            here = np.isfinite(part).all(axis=1) & (part != 0).any(axis=1)
            content[rows] &= here
            means[seed] += part[here].sum(axis=0)
            number += int(here.sum())
        means[seed] = means[seed] / number if centre and number else 0.0
    return Directions(features, means), content
