"""How far islands are the same from seed to seed."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
from numpy.typing import NDArray

#: Columns of the table of stability, with what they are.
ABOUT = {
    "island": "number of the island that the seeds agree on",
    "n": "objects on it",
    "mean_stability": "mean stability of its objects, 0 to 1",
    "share_of_seeds": "part of the seeds with an island that matches it: Jaccard index above 0.5",
    "mean_jaccard": "mean over seeds of the Jaccard index of the island that matches best",
    "n_min": "objects on that island of a seed, fewest over seeds; 0 where a seed has none",
    "n_max": "the same, most over seeds",
}
#: Columns of the table of agreement, with what they are.
ABOUT_AGREEMENT = {
    "seed_a": "a seed",
    "seed_b": "another seed",
    "n_islands_a": "islands of the first",
    "n_islands_b": "islands of the second",
    "adjusted_rand": "adjusted Rand index of the two; objects on no island count as one group",
}
#: Two sets match where their Jaccard index is above this; no island then matches two others.
MATCH = 0.5
_SEED = "island_seed_"


def stability_table(islands: pd.DataFrame) -> pd.DataFrame:
    """Return how stable each island is over seeds.

    Jaccard's index (1901) of two sets is the number of objects in both over the number in
    either. Above 0.5 a set has one partner at most.

    Parameters
    ----------
    islands : columns island, island_stability and island_seed_<seed>, one row per object.

    Returns
    -------
    DataFrame
        Columns of `ABOUT`, one row per island, by number.
    """
    labels = islands["island"].to_numpy(dtype=np.int64)
    n_islands = int(labels.max(initial=-1)) + 1
    size = np.bincount(labels[labels >= 0], minlength=n_islands)
    total = np.zeros(n_islands)
    on = labels >= 0
    np.add.at(total, labels[on], islands["island_stability"].to_numpy(dtype=float)[on])
    best = [
        _best_match(labels, islands[name].to_numpy(dtype=np.int64), n_islands)
        for name in _seed_columns(islands)
    ]
    jaccard = np.array([one[0] for one in best]).reshape(len(best), n_islands)
    partner = np.array([one[1] for one in best]).reshape(len(best), n_islands)
    return pd.DataFrame(
        {
            "island": np.arange(n_islands, dtype=np.int64),
            "n": size.astype(np.int64),
            "mean_stability": total / np.maximum(size, 1),
            "share_of_seeds": (jaccard > MATCH).mean(axis=0) if len(best) else np.nan,
            "mean_jaccard": jaccard.mean(axis=0) if len(best) else np.nan,
            "n_min": partner.min(axis=0, initial=len(labels)).astype(np.int64),
            "n_max": partner.max(axis=0, initial=0).astype(np.int64),
        }
    )[list(ABOUT)]


def _best_match(
    islands: NDArray[np.int64], of_seed: NDArray[np.int64], n_islands: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the Jaccard index and the size of each island's best match in one seed."""
    n_seed = int(of_seed.max(initial=-1)) + 1
    both = (islands >= 0) & (of_seed >= 0)
    shared = np.zeros((n_islands, n_seed), dtype=np.int64)
    np.add.at(shared, (islands[both], of_seed[both]), 1)
    if not n_seed:
        return np.zeros(n_islands), np.zeros(n_islands, dtype=np.int64)
    one = np.bincount(islands[islands >= 0], minlength=n_islands)
    other = np.bincount(of_seed[of_seed >= 0], minlength=n_seed)
    jaccard = shared / np.maximum(one[:, None] + other[None, :] - shared, 1)
    best = jaccard.argmax(axis=1)
    rows = np.arange(n_islands)
    meets = jaccard[rows, best] > 0
    return jaccard[rows, best], np.where(meets, other[best], 0).astype(np.int64)


def agreement_table(islands: pd.DataFrame) -> pd.DataFrame:
    """Return the adjusted Rand index (Hubert & Arabie 1985, J. Classif. 2, 193) of all pairs.

    1 is the same islands under any numbers, 0 what chance gives.

    Parameters
    ----------
    islands : columns island_seed_<seed>, one row per object.

    Returns
    -------
    DataFrame
        Columns of `ABOUT_AGREEMENT`, one row per pair of seeds; none for one seed.
    """
    from sklearn.metrics import adjusted_rand_score

    rows = []
    for one, other in itertools.combinations(_seed_columns(islands), 2):
        a, b = islands[one].to_numpy(), islands[other].to_numpy()
        rows.append(
            (
                int(one.removeprefix(_SEED)),
                int(other.removeprefix(_SEED)),
                int(a.max(initial=-1)) + 1,
                int(b.max(initial=-1)) + 1,
                float(adjusted_rand_score(a, b)),
            )
        )
    return pd.DataFrame(rows, columns=list(ABOUT_AGREEMENT))


def _seed_columns(islands: pd.DataFrame) -> list[str]:
    return [str(name) for name in islands.columns if str(name).startswith(_SEED)]
