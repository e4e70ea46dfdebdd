"""How good probabilities and scores are, where the truth is known.

All functions take ``p`` (n,), probabilities or scores, and ``true`` (n,), bool.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

#: Bins of a reliability table: ten of equal width.
TENTHS: tuple[float, ...] = tuple(round(0.1 * k, 1) for k in range(11))
#: Normal deviate of a two-sided 95 % interval.
_Z_95 = 1.959963984540054
#: Probabilities are kept so far from 0 and 1 in the logarithmic loss.
_TINY = 1e-12


def wilson_interval(k: int, n: int, z: float = _Z_95) -> tuple[float, float]:
    """Return the interval of a share of which ``k`` of ``n`` were seen; (0, 1) without any.

    Wilson (1927, JASA 22, 209); ``z`` is the normal deviate, 95 % as a rule.
    """
    if n == 0:
        return 0.0, 1.0
    share = k / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(share * (1 - share) / n + (z / (2 * n)) ** 2)
    low = 0.0 if k == 0 else max(middle - half, 0.0)
    high = 1.0 if k == n else min(middle + half, 1.0)
    return float(low), float(high)


def reliability(p: ArrayLike, true: ArrayLike, edges: Sequence[float] = TENTHS) -> pd.DataFrame:
    """Return, per bin of probability, how many are true.

    A bin holds its lower edge; the last one holds both.

    Returns
    -------
    One row per bin: ``low``, ``high``, ``n``, ``mean_p``, ``n_true``, ``share`` (NaN where
    the bin is empty), ``share_low``, ``share_high`` (95 %, Wilson).
    """
    p, true = _pair(p, true)
    place = _bins(p, edges)
    rows = []
    for number, (low, high) in enumerate(zip(edges[:-1], edges[1:], strict=True)):
        here = place == number
        n, k = int(here.sum()), int(true[here].sum())
        bottom, top = wilson_interval(k, n)
        rows.append(
            {
                "low": low,
                "high": high,
                "n": n,
                "mean_p": p[here].mean() if n else np.nan,
                "n_true": k,
                "share": k / n if n else np.nan,
                "share_low": bottom,
                "share_high": top,
            }
        )
    return pd.DataFrame(rows)


def calibration_error(p: ArrayLike, true: ArrayLike, edges: Sequence[float] = TENTHS) -> float:
    """Return the expected calibration error; NaN without objects.

    Sum over bins of (n_bin / n) |share of true - mean p| (Guo et al. 2017, ICML, eq. 3), ten
    bins of equal width as a rule.
    """
    p, true = _pair(p, true)
    return _gap(p, true, _bins(p, edges))


def calibration_error_equal_counts(p: ArrayLike, true: ArrayLike, n_bins: int = 10) -> float:
    """Return the same error over bins that hold equally many objects (one more or less)."""
    p, true = _pair(p, true)
    place = np.empty(len(p), dtype=np.int64)
    for number, part in enumerate(np.array_split(np.argsort(p, kind="stable"), n_bins)):
        place[part] = number
    return _gap(p, true, place)


def calibration_error_by_chance(
    p: ArrayLike, draws: int = 500, seed: int = 0, edges: Sequence[float] = TENTHS
) -> tuple[float, float]:
    """Return mean and 95 % quantile of `calibration_error` if ``p`` were exactly right.

    Few objects scatter about their bin's mean: less than this cannot be expected.
    """
    p = np.asarray(p, dtype=float)
    rng, place = np.random.default_rng(seed), _bins(p, edges)
    values = [_gap(p, rng.random(len(p)) < p, place) for _ in range(draws)]
    return float(np.mean(values)), float(np.quantile(values, 0.95))


def brier(p: ArrayLike, true: ArrayLike) -> float:
    """Return the mean squared error of the probabilities (Brier 1950, MWR 78, 1)."""
    p, true = _pair(p, true)
    return float(np.mean((p - true) ** 2)) if len(p) else float("nan")


def log_loss(p: ArrayLike, true: ArrayLike) -> float:
    """Return the mean of -ln of what was given to the truth [nats], ``p`` kept off 0 and 1."""
    p, true = _pair(p, true)
    if not len(p):
        return float("nan")
    p = np.clip(p, _TINY, 1 - _TINY)
    return float(-np.mean(np.where(true, np.log(p), np.log1p(-p))))


def threshold_at(scores_of_false: ArrayLike, rate: float) -> float:
    """Return the least threshold that no more than ``rate`` of these scores exceed.

    A score is called where it is above the threshold, not at it. With n scores, floor(rate n)
    may exceed it; -inf without any score.
    """
    scores = np.sort(np.asarray(scores_of_false, dtype=float))[::-1]
    if not len(scores):
        return float("-inf")
    allowed = int(np.floor(rate * len(scores) + 1e-9))
    return float(scores[allowed]) if allowed < len(scores) else float("-inf")


def area_under_curve(scores: ArrayLike, true: ArrayLike) -> float:
    """Return the chance that a true one has a higher score than a false one (ties count half)."""
    scores, true = _pair(scores, true)
    n_true, n_false = int(true.sum()), int((~true).sum())
    if not n_true or not n_false:
        return float("nan")
    ranks = pd.Series(scores).rank().to_numpy()
    return float((ranks[true].sum() - n_true * (n_true + 1) / 2) / (n_true * n_false))


def _bins(p: Floats, edges: Sequence[float]) -> NDArray[np.int64]:
    """Return the bin of each value; -1, or the number of bins, outside all."""
    limits = np.asarray(edges, dtype=float)
    place = np.searchsorted(limits, p, side="right") - 1
    return np.where(p == limits[-1], len(limits) - 2, place)


def _gap(p: Floats, true: Bools, place: NDArray[np.int64]) -> float:
    """Return the mean of |share of true - mean p| of the objects' bins; NaN without objects."""
    if not len(p):
        return float("nan")
    return float(np.abs(np.bincount(place, true) - np.bincount(place, p)).sum() / len(p))


def _pair(p: ArrayLike, true: ArrayLike) -> tuple[Floats, Bools]:
    values, truth = np.asarray(p, dtype=float), np.asarray(true, dtype=bool)
    if values.shape != truth.shape or values.ndim != 1:
        raise ValueError(f"shapes {values.shape} and {truth.shape} are not one and the same (n,)")
    return values, truth
