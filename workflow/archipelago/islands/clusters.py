"""Islands of one seed by HDBSCAN, and the one answer of several seeds."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from archipelago.base.errors import ConfigError
from archipelago.islands.maps import embed, has_content, principal_components

_LOG = logging.getLogger(__name__)

#: The classes of the SED stage whose probabilities stand beside features.
_CHANCES = ("p_star", "p_galaxy", "p_quasar", "p_lensed")
#: Probability below which a class is as good as excluded (assumed).
_LEAST_CHANCE = 1e-3

#: Different combinations of islands that are clustered with each other; more than
#: these would need over 0.6 GB. The rarest of more are assigned afterwards.
LARGEST_CONSENSUS = 12_000


def seed_islands(
    features: NDArray[np.float32],
    map_xy: NDArray[np.float64],
    settings: Mapping[str, Any],
    content: NDArray[np.bool_] | None = None,
    beside: NDArray[np.float64] | None = None,
) -> NDArray[np.int64]:
    """Return the island of each object for one seed, -1 for none, (n,).

    HDBSCAN (Campello et al. 2013, PAKDD).

    Parameters
    ----------
    features : (n, d); rows of zeros have no content and are on no island.
    map_xy : (n, 2) map coordinates, used in the space ``map`` only.
    settings : min_cluster_size, min_samples, space (``features``, ``pca``, ``umap5`` or
        ``map``), n_components (of pca), n_neighbors and random_state (of umap5), selection
        (``eom``: excess of mass, few large islands; ``leaf``: the smallest ones of the tree).
    content : (n,) which rows have content; None: those that are not all zeros.
    beside : (n, k) coordinates that stand beside the features, such as those of
        `sed_coordinates`; None: none do. Not used in the space ``map``.

    Raises
    ------
    ConfigError
        If the space is unknown.
    """
    if content is None:
        content = has_content(features)
    islands = np.full(len(features), -1, dtype=np.int64)
    smallest = int(settings["min_cluster_size"])
    if content.sum() < max(smallest, 3):
        _LOG.info("%d objects with content are too few for an island", int(content.sum()))
        return islands
    if beside is not None:
        features = np.hstack([features, beside]).astype(np.float32)
    points = _in_space(features[content], map_xy[content], settings)
    if np.ptp(points, axis=0).max(initial=0.0) < 1e-9:
        _LOG.warning("all %d objects have the same features: one island", len(points))
        islands[content] = 0
        return islands
    from sklearn.cluster import HDBSCAN

    model = HDBSCAN(
        min_cluster_size=smallest,
        min_samples=min(int(settings["min_samples"]), len(points)),
        cluster_selection_method=settings["selection"],
        copy=True,
    )
    islands[content] = model.fit_predict(points)
    return islands


def _in_space(
    features: NDArray[np.float32], map_xy: NDArray[np.float64], settings: Mapping[str, Any]
) -> NDArray[np.float64]:
    space = settings["space"]
    if space == "features":
        return features.astype(np.float64)
    if space == "pca":
        return principal_components(features, min(int(settings["n_components"]), *features.shape))
    if space == "umap5":
        how = {
            "method": "umap",
            "n_neighbors": settings["n_neighbors"],
            "min_dist": 0.0,  # packs dense parts, as clustering likes it
            "metric": "euclidean",
            "random_state": settings["random_state"],
        }
        return embed(features, 5, how)
    if space == "map":
        return map_xy
    raise ConfigError(
        f"unknown space {space!r}",
        where="islands.hdbscan.space",
        next_step="use features, pca, umap5 or map",
    )


def joined_islands(
    units: Sequence[NDArray[np.float64]],
    per_seed: NDArray[np.int64],
    map_xy: NDArray[np.float64],
    settings: Mapping[str, Any],
    beside: NDArray[np.float64] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the islands of all seeds' features side by side, and how far seeds agree on them.

    Distances in the joined features are the mean over seeds (of their squares), so that
    what one seed alone brings together is outvoted before islands are sought, not after.

    Parameters
    ----------
    units : per seed unit rows (n, d), NaN without content.
    per_seed : (n_seed, n) island of each seed alone, -1 for none; for the stability.
    map_xy : (n, 2) map coordinates, used in the space ``map`` only.
    settings, beside : of `seed_islands`.

    Returns
    -------
    islands, stability : as of `consensus_islands`.
    """
    joined = np.hstack(units) / np.sqrt(len(units))
    # Not by zeros: objects that are all the same are zeros once centred.
    content = np.isfinite(joined).all(axis=1)
    islands = seed_islands(joined.astype(np.float32), map_xy, settings, content, beside)
    islands = _by_size(islands, 1)
    return islands, _stability(per_seed, islands)


def sed_coordinates(
    verdicts: pd.DataFrame, ids: NDArray[np.int64], weight: float
) -> NDArray[np.float64] | None:
    """Return the photometry's verdict as coordinates to stand beside features of unit length.

    ``weight`` x ln of the SED's probability of each class, of `_LEAST_CHANCE` at least: beyond
    that it does not matter how sure the photometry is. Objects without a verdict stand in the
    middle: equal probabilities.

    Parameters
    ----------
    verdicts : columns id, p_star, p_galaxy, p_quasar, p_lensed; ids that are absent have none.
    ids : (n,) objects.
    weight : distance per nat; 0 for none.

    Returns
    -------
    (n, 4) coordinates; None where the weight is 0.
    """
    if weight == 0:
        return None
    chances = verdicts.set_index("id")[list(_CHANCES)].reindex(ids).to_numpy(dtype=float)
    judged = np.isfinite(chances).all(axis=1, keepdims=True)
    chances = np.where(judged, chances, 1.0 / len(_CHANCES))
    return np.asarray(weight * np.log(np.maximum(chances, _LEAST_CHANCE)))


def consensus_islands(
    per_seed: NDArray[np.int64], *, threshold: float, smallest: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the islands that the seeds agree on, and how far they agree.

    Evidence accumulation (Fred & Jain 2005, IEEE TPAMI 27, 835): two objects are as
    close as the part of the seeds that puts them on one island; average linkage joins
    what is together in at least ``threshold`` of the seeds on average. Objects with the
    same islands in all seeds are handled as one, with their number as weight, so that
    memory does not grow with the square of the number of objects.

    Parameters
    ----------
    per_seed : (n_seed, n) island per seed, -1 for none.
    threshold : between 0 (exclusive) and 1.
    smallest : islands with fewer objects are dissolved.

    Returns
    -------
    islands : (n,) numbered from 0, the largest first (of equal ones the one that comes
        first); -1 for none. Members agree with their island by ``threshold`` or more.
    stability : (n,) mean co-association of an object with the other members of its
        island, from 0 to 1; for objects on none the part of the seeds that agree on that.
    """
    n_seeds, n_objects = per_seed.shape
    if n_objects == 0:
        return np.empty(0, dtype=np.int64), np.empty(0)
    tuples, which, weight = np.unique(per_seed.T, axis=0, return_inverse=True, return_counts=True)
    which = which.reshape(-1)
    somewhere = np.flatnonzero((tuples >= 0).any(axis=1))
    # The most frequent combinations first; ties by their order, which is sorted.
    linked = somewhere[np.argsort(-weight[somewhere], kind="stable")][:LARGEST_CONSENSUS]
    label_of_tuple = np.full(len(tuples), -1, dtype=np.int64)
    if len(linked):
        label_of_tuple[linked] = _average_linkage(
            _co_association(tuples[linked]), weight[linked].astype(float), threshold
        )
    islands = label_of_tuple[which]
    agreement = _agreement(per_seed, islands)
    # Combinations too rare for the linkage go where they agree best.
    left = np.flatnonzero((islands < 0) & (per_seed >= 0).any(axis=0))
    if len(left) and agreement.shape[1] and len(somewhere) > len(linked):
        islands[left] = agreement[left].argmax(axis=1)
    # Removing those who do not belong changes the agreement of the others, so the
    # number of rounds is bounded rather than run to a fixed point.
    for _ in range(10):
        islands = _by_size(islands, smallest)
        agreement = _agreement(per_seed, islands)
        on = np.flatnonzero(islands >= 0)
        weak = on[agreement[on, islands[on]] < threshold - 1e-9]
        if not len(weak):
            break
        islands[weak] = -1
    islands = _by_size(islands, smallest)
    return islands, _stability(per_seed, islands)


def _stability(per_seed: NDArray[np.int64], islands: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the mean co-association of each object with the others of its island, (n,).

    Of objects on none: the part of the seeds that agree on that.
    """
    agreement = _agreement(per_seed, islands)
    stability = (per_seed < 0).mean(axis=0)
    on = np.flatnonzero(islands >= 0)
    stability[on] = agreement[on, islands[on]]
    return stability


def _co_association(tuples: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the part of the seeds that puts two combinations on one island, (m, m)."""
    together = np.zeros((len(tuples), len(tuples)), dtype=np.float32)
    for labels in tuples.T:
        together += (labels[:, None] == labels[None, :]) & (labels[:, None] >= 0)
    return together / tuples.shape[1]


def _average_linkage(
    similarity: NDArray[np.float32], weight: NDArray[np.float64], threshold: float
) -> NDArray[np.int64]:
    """Return groups (m,) by weighted average linkage, joined down to ``threshold``.

    The nearest-neighbour chain (Murtagh 1983, Computer Journal 26, 354), which gives the
    same tree as joining the closest pair each time, in O(m^2). ``similarity`` is used up.
    """
    m = len(similarity)
    similarity = similarity.copy()
    np.fill_diagonal(similarity, -1.0)
    weight = weight.copy()
    active = np.ones(m, dtype=bool)
    parent = np.arange(m)
    chain: list[int] = []
    while active.any():
        if not chain:
            chain.append(int(np.argmax(active)))
        top = chain[-1]
        row = np.where(active, similarity[top], -1.0)
        nearest = int(np.argmax(row))
        # Of equally near ones the previous of the chain is taken, or it would never end.
        if len(chain) > 1 and row[chain[-2]] >= row[nearest]:
            nearest = chain[-2]
        if row[nearest] < threshold - 1e-6:
            # Nothing joins this one: averages of what is below stay below (reducibility).
            active[top] = False
            chain.pop()
            continue
        if len(chain) > 1 and nearest == chain[-2]:
            chain.pop()
            chain.pop()
            keep, gone = min(top, nearest), max(top, nearest)
            total = weight[keep] + weight[gone]
            joined = (weight[keep] * similarity[keep] + weight[gone] * similarity[gone]) / total
            joined[keep] = -1.0
            similarity[keep], similarity[:, keep] = joined, joined
            weight[keep] = total
            active[gone] = False
            parent[gone] = keep
        else:
            chain.append(nearest)
    for i in range(m):
        root = i
        while parent[root] != root:
            root = int(parent[root])
        parent[i] = root
    return np.unique(parent, return_inverse=True)[1].reshape(-1).astype(np.int64)


def _agreement(per_seed: NDArray[np.int64], islands: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the mean co-association of each object with each island, (n, n_island).

    An object itself does not count among the members of its island; alone on it, its
    agreement is the part of the seeds that put it on any island.
    """
    n_seeds, n_objects = per_seed.shape
    n_islands = int(islands.max(initial=-1)) + 1
    if n_islands == 0:
        return np.zeros((n_objects, 0))
    on = np.flatnonzero(islands >= 0)
    size = np.bincount(islands[on], minlength=n_islands)
    together = np.zeros((n_objects, n_islands))
    for labels in per_seed:
        counts = np.zeros((int(labels.max(initial=-1)) + 2, n_islands))
        np.add.at(counts, (labels[on], islands[on]), 1)  # -1 is the last row
        counts[-1] = 0.0
        together += counts[labels]
    others = np.broadcast_to(size.astype(float), together.shape).copy()
    alone = on[size[islands[on]] == 1]
    shared = on[size[islands[on]] > 1]
    on_any = (per_seed >= 0).sum(axis=0)
    together[shared, islands[shared]] -= on_any[shared]
    others[shared, islands[shared]] -= 1.0
    together[alone, islands[alone]] = on_any[alone]
    return together / np.maximum(others, 1.0) / n_seeds


def _by_size(islands: NDArray[np.int64], smallest: int) -> NDArray[np.int64]:
    """Number islands from the largest, dissolve those below ``smallest``."""
    labels, first, count = np.unique(islands, return_index=True, return_counts=True)
    real = (labels >= 0) & (count >= smallest)
    labels, first, count = labels[real], first[real], count[real]
    result = np.full(len(islands), -1, dtype=np.int64)
    for number, place in enumerate(np.lexsort((first, -count))):
        result[islands == labels[place]] = number
    return result


def agreement_of_seeds(per_seed: Sequence[NDArray[np.int64]]) -> float:
    """Return the mean adjusted Rand index over all pairs of seeds; 1 for one seed.

    ``per_seed`` holds each seed's island per object, (n,), -1 for none.
    """
    from sklearn.metrics import adjusted_rand_score

    pairs = [
        adjusted_rand_score(per_seed[i], per_seed[j])
        for i in range(len(per_seed))
        for j in range(i)
    ]
    return float(np.mean(pairs)) if pairs else 1.0
