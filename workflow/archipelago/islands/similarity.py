"""How like the known quasars each object is, and how unlike everything else."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Rows handled at once, which bounds the memory to some 2048 x n numbers.
_CHUNK = 2048


def unit_rows(features: NDArray[np.floating], *, centre: bool) -> NDArray[np.float64]:
    """Return features (n, d) as unit vectors, rows of zeros as NaN.

    Parameters
    ----------
    features : (n, d); rows of zeros have no content.
    centre : subtract the mean of the rows with content first. What all images have in
        common then does not make them alike.
    """
    rows = features.astype(np.float64)
    content = np.isfinite(rows).all(axis=1) & (rows != 0).any(axis=1)
    rows[~content] = np.nan
    if centre and content.any():
        rows[content] -= rows[content].mean(axis=0)
    norm = np.linalg.norm(rows, axis=1, keepdims=True)
    # Objects that are all the same have no direction once centred: alike in nothing.
    return np.divide(rows, norm, out=np.where(np.isnan(rows), np.nan, 0.0), where=norm > 1e-9)


@dataclass(frozen=True)
class KnownSimilarity:
    """Similarity to the known quasars of one seed.

    Attributes
    ----------
    cosines : (n, n_known) to each known quasar, NaN to itself and where an image has no
        content.
    known : (n_known,) row of each known quasar.
    """

    cosines: NDArray[np.float64]
    known: NDArray[np.int64]

    def of_objects(self, k: int, without: int | None = None) -> NDArray[np.float64]:
        """Return each object's mean cosine to its ``k`` nearest known quasars, (n,).

        A known quasar itself is left out of its own; ``without`` is the place in
        `known` of one more to do without. Where fewer than k are left, all are used;
        where none is, NaN.
        """
        cosines = self.cosines
        if without is not None:
            cosines = np.delete(cosines, without, axis=1)
        return mean_of_largest(cosines, k)


def known_similarity(units: NDArray[np.float64], known: NDArray[np.int64]) -> KnownSimilarity:
    """Return the cosines of unit rows (n, d) with those of the known quasars."""
    cosines = units @ units[known].T
    cosines[known, np.arange(len(known))] = np.nan
    return KnownSimilarity(cosines, known)


def mean_of_largest(values: NDArray[np.float64], k: int) -> NDArray[np.float64]:
    """Return the mean (n,) of the k largest finite entries per row (n, m); NaN without any."""
    if values.shape[1] == 0:
        return np.full(len(values), np.nan)
    k = min(k, values.shape[1])
    filled = np.where(np.isfinite(values), values, -np.inf)
    largest = -np.partition(-filled, k - 1, axis=1)[:, :k]
    finite = np.isfinite(largest)
    number = finite.sum(axis=1)
    total = np.where(finite, largest, 0.0).sum(axis=1)
    return np.divide(total, number, out=np.full(len(values), np.nan), where=number > 0)


def average_over_seeds(
    per_seed: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and population standard deviation over seeds of (seed, n).

    NaN where any seed has none; the deviation is 0 for one seed.
    """
    return per_seed.mean(axis=0), per_seed.std(axis=0)


def outlier_scores(units: NDArray[np.float64], k: int) -> NDArray[np.float64]:
    """Return how lonely each object is, from 0 (least) to 1 (most), (n,).

    The place of its mean distance (1 - cosine) to its k nearest neighbours among those
    of all objects. 0 where there are fewer than two, NaN without content.

    Parameters
    ----------
    units : (n, d) unit rows, NaN without content.
    k : neighbours.
    """
    content = np.isfinite(units).all(axis=1)
    rows = units[content]
    scores = np.full(len(units), np.nan)
    n = len(rows)
    if n < 2:
        scores[content] = 0.0
        return scores
    k = min(k, n - 1)
    distance = np.empty(n)
    for start in range(0, n, _CHUNK):
        cosines = rows[start : start + _CHUNK] @ rows.T
        own = np.arange(len(cosines))
        cosines[own, start + own] = -np.inf
        distance[start : start + _CHUNK] = 1.0 - mean_of_largest(cosines, k)
    # Rounded, so that the order of equal ones is not made of last digits.
    rounded = np.round(distance, 9)
    scores[content] = np.searchsorted(np.sort(rounded), rounded, side="left") / (n - 1)
    return scores
