"""Log ratios of how often something looks like this among simulated objects and in the sample.

A classifier that tells simulated objects from the sample estimates that ratio: its odds, over the
odds of the numbers shown [e.g. Sugiyama, Suzuki & Kanamori 2012, Density Ratio Estimation in
Machine Learning, chapter 4]. The sample is not labelled: the few quasars in it count against
themselves, so each object is judged by classifiers that it took no part in.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits

Floats = NDArray[np.float64]

#: Parts of the sample; each is judged by classifiers that were taught with the others.
N_FOLDS = 5
_N_TREES, _N_BOOSTS = 300, 150
#: Probabilities are kept this far from 0 and 1: forests give both.
_EDGE = 1e-3


def folds_of(n: int, seed: int) -> NDArray[np.int64]:
    """Return the part of each of n objects, (n,), as even as can be."""
    return np.random.default_rng([seed, n]).permutation(np.arange(n) % N_FOLDS)


def log_ratios(
    sample: NDArray[np.floating],
    simulated: NDArray[np.floating],
    *,
    known: NDArray[np.bool_],
    source: NDArray[np.int64],
    seed: int,
    threads: int = 1,
) -> Floats:
    """Return ln of (rate among simulated objects / rate in the sample) for each object, (n,).

    The mean of the log-odds of extremely randomised trees (Geurts, Ernst & Wehenkel 2006, Mach.
    Learn. 63, 3) and of boosted trees (Friedman 2001, Ann. Stat. 29, 1189).

    Parameters
    ----------
    sample : (n, m) numbers of each object.
    simulated : (k, m) the same of the simulated ones.
    known : (n,) known quasars: not among those that stand for the sample.
    source : (k,) row of the known quasar that a simulated object has its colours from, -1 for
        none. It does not judge that quasar.
    seed : fixes folds and trees.
    threads : changes no result.

    Returns
    -------
    (n,) nats; NaN for all where there are fewer objects or simulated ones than folds.
    """
    n = len(sample)
    result = np.full(n, np.nan)
    if (~known).sum() < 2 * N_FOLDS or len(simulated) < N_FOLDS:
        return result
    fold = folds_of(n, seed)
    for part in range(N_FOLDS):
        judged = fold == part
        others = sample[~judged & ~known]
        own = np.flatnonzero(judged & known)
        like = simulated[~np.isin(source, own)]
        if not judged.any() or not len(others) or not len(like):
            continue
        result[judged] = _taught(others, like, sample[judged], seed, threads)
    return result


def _taught(
    others: NDArray[np.floating],
    like: NDArray[np.floating],
    judged: NDArray[np.floating],
    seed: int,
    threads: int,
) -> Floats:
    values = np.concatenate([others, like])
    is_like = np.concatenate([np.zeros(len(others)), np.ones(len(like))])
    trees = ExtraTreesClassifier(
        _N_TREES, min_samples_leaf=2, n_jobs=threads, random_state=seed % 2**31
    )
    boosted = HistGradientBoostingClassifier(
        max_iter=_N_BOOSTS,
        learning_rate=0.08,
        max_leaf_nodes=8,
        l2_regularization=5.0,
        early_stopping=False,
        random_state=seed % 2**31,
    )
    total = np.zeros(len(judged))
    # More threads than cores would wait for each other in the boosted trees' many short loops.
    with threadpool_limits(limits=threads):
        for classifier in (trees, boosted):
            classifier.fit(values, is_like)
            if classifier is trees:
                classifier.n_jobs = 1  # several add trees up in the order in which they end
            p = np.clip(classifier.predict_proba(judged)[:, 1], _EDGE, 1 - _EDGE)
            total += np.log(p / (1 - p))
    # The odds of the numbers that were shown are no part of the ratio. Weights would do the same,
    # but make the boosted trees' binning a hundred times slower.
    return total / 2 - np.log(len(like) / len(others))
