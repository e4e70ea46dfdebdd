"""From measures of shape to the log ratio of lensed and single quasars, learnt from simulated ones.

A classifier that tells simulated lensed quasars from simulated single ones estimates the ratio of
the rates at which both look so: its odds, over the odds of the numbers shown [e.g. Sugiyama,
Suzuki & Kanamori 2012, Density Ratio Estimation in Machine Learning, chapter 4]. Its odds are
put right by objects that it was not taught with [Platt 1999, in Advances in Large Margin
Classifiers].
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

N_FOLDS = 5
#: Simulated objects of each kind below which nothing is learnt.
FEWEST = 50
_N_TREES, _N_BOOSTS = 200, 120
#: Probabilities are kept this far from 0 and 1: forests give both.
_EDGE = 1e-3
#: What stands for a measure that an object lacks: below all that is measured.
_LACKING = -1e3
#: No measure counts beyond this.
_LARGEST = 1e6
#: Columns that are not judged: they follow from others.
_NOT_JUDGED = ("centroid_shift_err_arcsec",)


@dataclass(frozen=True)
class LensOdds:
    """What was learnt: classifiers, and the line that puts their log-odds right.

    Attributes
    ----------
    columns : measures that are judged.
    classifiers : fitted.
    slope, offset : of the true log ratio [nats] against the classifiers' mean log-odds.
    """

    columns: tuple[str, ...]
    classifiers: tuple[Any, ...]
    slope: float
    offset: float

    def log_odds(self, measures: pd.DataFrame) -> Floats:
        """Return ln(rate among lensed quasars / among single ones) of objects (n,) [nats].

        NaN where nothing was measured.
        """
        values = _values(measures, self.columns)
        result = np.full(len(measures), np.nan)
        seen = np.isfinite(measures[list(self.columns)].to_numpy(dtype=float)).any(axis=1)
        if seen.any():
            result[seen] = self.offset + self.slope * _judged(self.classifiers, values[seen])
        return result


def learn_odds(
    measures: pd.DataFrame, lensed: Bools, *, seed: int, threads: int = 1
) -> tuple[LensOdds | None, Floats]:
    """Learn the log ratio from simulated objects.

    Parameters
    ----------
    measures : of the simulated objects, as `archipelago.lensing.measures.lens_measures` gives.
    lensed : (n,) which of them are lensed; the others are single quasars.
    seed : fixes folds and trees.
    threads : changes no result.

    Returns
    -------
    odds : None where there are fewer than 50 of either kind.
    held_out : (n,) log ratio of each simulated object, by classifiers taught with the other four
        fifths; NaN where nothing was learnt.
    """
    columns = tuple(str(name) for name in measures if name not in _NOT_JUDGED)
    seen = np.isfinite(measures[list(columns)].to_numpy(dtype=float)).any(axis=1)
    held_out = np.full(len(measures), np.nan)
    rows = np.flatnonzero(seen)
    if min(lensed[rows].sum(), (~lensed[rows]).sum()) < FEWEST:
        return None, held_out
    values, truth = _values(measures, columns)[rows], lensed[rows]
    fold = np.random.default_rng([seed, len(rows)]).permutation(np.arange(len(rows)) % N_FOLDS)
    raw = np.zeros(len(rows))

    def judge(part: int) -> None:
        others = fold != part
        raw[~others] = _judged(_taught(values[others], truth[others], seed), values[~others])

    # A thread per part: those within a classifier would wait for each other in many short loops.
    with threadpool_limits(limits=1), ThreadPoolExecutor(max(1, threads)) as pool:
        list(pool.map(judge, range(N_FOLDS)))
        classifiers = _taught(values, truth, seed)
    line = LogisticRegression(C=1e3).fit(raw[:, None], truth)
    slope = float(line.coef_[0, 0])
    # The odds of the numbers that were shown are no part of the ratio.
    offset = float(line.intercept_[0]) - float(np.log(truth.sum() / (~truth).sum()))
    held_out[rows] = offset + slope * raw
    return LensOdds(columns, classifiers, slope, offset), held_out


def calibration(log_ratio: Floats, lensed: Bools, n_bins: int = 10) -> pd.DataFrame:
    """Return how often objects are lensed in bins of the probability that the ratio gives them.

    Both kinds count the same whatever their numbers are. Columns p (mean), share, n; one row per
    bin of equal numbers.
    """
    finite = np.isfinite(log_ratio)
    p, truth = 1 / (1 + np.exp(-log_ratio[finite])), lensed[finite].astype(float)
    if not len(truth) or not 0 < truth.mean() < 1:
        return pd.DataFrame({"p": [], "share": [], "n": []})
    weight = np.where(truth > 0, 0.5 / truth.mean(), 0.5 / (1 - truth.mean()))
    rows = []
    for part in np.array_split(np.argsort(p, kind="stable"), min(n_bins, len(p))):
        total = weight[part].sum()
        rows.append(
            {
                "p": float((weight * p)[part].sum() / total),
                "share": float((weight * truth)[part].sum() / total),
                "n": len(part),
            }
        )
    return pd.DataFrame(rows)


def _values(measures: pd.DataFrame, columns: Sequence[str]) -> Floats:
    values = measures[list(columns)].to_numpy(dtype=float)
    return np.clip(np.where(np.isnan(values), _LACKING, values), -_LARGEST, _LARGEST)


def _taught(values: Floats, lensed: Bools, seed: int) -> tuple[Any, ...]:
    trees = ExtraTreesClassifier(_N_TREES, min_samples_leaf=3, random_state=seed % 2**31)
    boosted = HistGradientBoostingClassifier(
        max_iter=_N_BOOSTS,
        learning_rate=0.08,
        max_leaf_nodes=8,
        l2_regularization=5.0,
        early_stopping=False,
        random_state=seed % 2**31,
    )
    # The thread's own limit, beside that of the process.
    with threadpool_limits(limits=1):
        for classifier in (trees, boosted):
            classifier.fit(values, lensed)
    return (trees, boosted)


def _judged(classifiers: Sequence[Any], values: Floats) -> Floats:
    """Return the mean log-odds of the classifiers, (n,)."""
    total = np.zeros(len(values))
    for classifier in classifiers:
        p = np.clip(classifier.predict_proba(values)[:, 1], _EDGE, 1 - _EDGE)
        total += np.log(p / (1 - p))
    return total / len(classifiers)
