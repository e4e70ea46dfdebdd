"""Log ratios of how often something looks like this among simulated objects and in the sample.

A classifier that tells simulated objects from the sample estimates that ratio: its odds, over the
odds of the numbers shown [e.g. Sugiyama, Suzuki & Kanamori 2012, Density Ratio Estimation in
Machine Learning, chapter 4]. The sample is not labelled: the few quasars in it count against
themselves, so each object is judged by classifiers that it took no part in.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits

Floats = NDArray[np.float64]

#: Parts of the sample; each is judged by classifiers that were taught with the others.
N_FOLDS = 5
_N_TREES, _N_BOOSTS, _N_NETWORKS = 100, 200, 2
#: How much networks count beside trees, per kind. A quasar differs from the rest by its colours,
#: smooth sums of the numbers, which networks see best; a lensed one by shapes of many kinds, for
#: which what was simulated is too unlike what there is for them (chosen on demo skies).
NETWORK_SHARE = {"quasar": 0.5, "lensed": 0.0}
#: Passes of a network over what it is taught with, in batches, and steps at the least: small sets
#: are passed over more often. And its penalty on weights.
_N_PASSES, _BATCH, _N_STEPS = 40, 200, 1200
_PENALTY = 0.1
#: Numbers are kept within so many standard deviations before a network sees them.
_FARTHEST = 5.0
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
    network_share: float,
    threads: int = 1,
) -> Floats:
    """Return ln of (rate among simulated objects / rate in the sample) for each object, (n,).

    A mean of the log-odds of trees and of small networks. Trees are extremely randomised ones
    (Geurts, Ernst & Wehenkel 2006, Mach. Learn. 63, 3) and boosted ones (Friedman 2001, Ann.
    Stat. 29, 1189): they mind no odd number. Networks of two narrow layers see smooth sums of
    numbers, which is what colours are.

    Parameters
    ----------
    sample : (n, m) numbers of each object.
    simulated : (k, m) the same of the simulated ones.
    known : (n,) known quasars: not among those that stand for the sample.
    source : (k,) row of the known quasar that a simulated object has its colours from, -1 for
        none. It does not judge that quasar.
    seed : fixes folds, trees and networks.
    network_share : what networks count, from 0 to 1; trees the rest. See `NETWORK_SHARE`.
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

    def judge(part: int) -> None:
        judged = fold == part
        others = sample[~judged & ~known]
        own = np.flatnonzero(judged & known)
        like = simulated[~np.isin(source, own)]
        if judged.any() and len(others) and len(like):
            result[judged] = taught(others, like, sample[judged], seed, network_share=network_share)

    # A thread per part: those within a classifier would wait for each other in many short loops.
    # Some of what `taught` limits is the process's, and has to be limited until all are done.
    with threadpool_limits(limits=1), ThreadPoolExecutor(max(1, threads)) as pool:
        list(pool.map(judge, range(N_FOLDS)))
    return result


def taught(
    others: NDArray[np.floating],
    like: NDArray[np.floating],
    judged: NDArray[np.floating],
    seed: int,
    *,
    network_share: float,
) -> Floats:
    """Return ln of (rate in ``like`` / rate in ``others``) for each judged one, (n,) [nats].

    Parameters
    ----------
    others, like, judged : (k, m), (l, m) and (n, m) numbers; the first two teach.
    seed : fixes trees and networks.
    network_share : what networks count, see `log_ratios`.
    """
    values = np.concatenate([others, like])
    is_like = np.concatenate([np.zeros(len(others)), np.ones(len(like))])
    log_odds = np.zeros(len(judged))
    with threadpool_limits(limits=1):
        if network_share < 1:
            log_odds += (1 - network_share) * _by_trees(values, is_like, judged, seed)
        if network_share > 0:
            log_odds += network_share * _by_networks(values, is_like, judged, seed)
    # The odds of the numbers that were shown are no part of the ratio. Weights would do the same,
    # but make the boosted trees' binning a hundred times slower.
    return log_odds - np.log(len(like) / len(others))


def _by_trees(
    values: NDArray[np.floating],
    is_like: Floats,
    judged: NDArray[np.floating],
    seed: int,
) -> Floats:
    trees = ExtraTreesClassifier(
        _N_TREES,
        min_samples_leaf=5,
        max_features=min(40, values.shape[1]),
        random_state=seed % 2**31,
    )
    boosted = HistGradientBoostingClassifier(
        max_iter=_N_BOOSTS,
        learning_rate=0.08,
        max_leaf_nodes=6,
        max_features=0.2,
        l2_regularization=5.0,
        early_stopping=False,
        random_state=seed % 2**31,
    )
    total = np.zeros(len(judged))
    for classifier in (trees, boosted):
        classifier.fit(values, is_like)
        total += _log_odds(classifier.predict_proba(judged)[:, 1])
    return total / 2


def _by_networks(
    values: NDArray[np.floating], is_like: Floats, judged: NDArray[np.floating], seed: int
) -> Floats:
    middle, spread = values.mean(axis=0), values.std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)

    def scaled(of: NDArray[np.floating]) -> NDArray[np.float32]:
        within = np.clip((of - middle) / spread, -_FARTHEST, _FARTHEST)
        return np.asarray(within, dtype=np.float32)

    total = np.zeros(len(judged))
    shown = scaled(values)
    passes = max(_N_PASSES, math.ceil(_N_STEPS / math.ceil(len(values) / _BATCH)))
    for number in range(_N_NETWORKS):
        network = MLPClassifier(
            (32, 16),
            alpha=_PENALTY,
            batch_size=min(_BATCH, len(values)),
            # One for all passes: each has an order of its own.
            random_state=np.random.RandomState((seed * _N_NETWORKS + number) % 2**31),
        )
        for _ in range(passes):
            network.partial_fit(shown, is_like, classes=(0.0, 1.0))
        total += _log_odds(network.predict_proba(scaled(judged))[:, 1].astype(float))
    return total / _N_NETWORKS


def _log_odds(probability: Floats) -> Floats:
    within = np.clip(probability, _EDGE, 1 - _EDGE)
    return np.asarray(np.log(within / (1 - within)))
