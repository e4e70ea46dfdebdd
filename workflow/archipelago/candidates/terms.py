"""The terms of a candidate's score: natural logs of odds or of ratios of rates.

The score of an object is a sum of logs of Bayes factors,

    score = w_sed ln[odds of the SED]
            + clip(w_similarity S + w_island I + w_images M, -max, +max),

which is Bayes' theorem for evidence that is independent given the class. It is
not quite: the image repeats part of what the photometry says, and similarity
and islands come from the same features. Hence weights below 1 and a bound on
what the images can add or take away.

M compares images with those of simulated quasars and lensed quasars: brightness
and colours in the images are those of the photometry once more, with which the
SED was judged; what is new is the shape. Known quasars give colours to some of
the simulated ones, but never to those that they are judged by.

S and I learn from the known quasars alone, each of which is left out of its own
term. They start from a prior that says nothing and move away from 0 only as far
as the known quasars carry them: without known quasars they are 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from archipelago.base.errors import ConfigError

#: Classes of the SED stage, as in its columns.
CLASSES = ("star", "galaxy", "quasar", "lensed")

Floats = NDArray[np.float64]
#: Smallest probability whose logarithm is taken: below it a float is 0.
_TINY = 1e-300


@dataclass(frozen=True)
class Scoring:
    """How the terms are weighed.

    Attributes
    ----------
    weight_sed : factor on the log-odds of the SED.
    weight_similarity : factor on the log ratio from the similarity to known quasars.
    weight_island : factor on the log ratio from the island.
    weight_images : factor on the log ratio from likeness to simulated quasars.
    max_learning : largest absolute value of the three terms from images together [nats].
    prior_known : weight of the prior "images say nothing", as a number of known quasars.
    """

    weight_sed: float = 1.0
    weight_similarity: float = 0.5
    weight_island: float = 0.5
    weight_images: float = 0.5
    max_learning: float = 4.0
    prior_known: float = 2.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not np.isfinite(value) or value < 0:
                raise ConfigError(
                    f"{value} is no weight",
                    where=f"candidates.{field.name}",
                    next_step="give a number that is not negative",
                )
        if self.prior_known == 0:
            raise ConfigError(
                "without a prior an island without known quasars gets minus infinity",
                where="candidates.prior_known",
                next_step="give a number above 0",
            )

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> Scoring:
        """Take the weights from a rule's params; keys that are no weights are left alone."""
        names = {field.name for field in fields(cls)}
        return cls(**{name: float(value) for name, value in params.items() if name in names})


def sed_log_odds(verdicts: pd.DataFrame) -> Floats:
    """Natural log of the odds of quasar or lensed quasar against everything else.

    Taken from ``log_odds_quasar``, which the SED stage forms without the rounding
    of probabilities near 1; where that is missing, from ``p_*``.

    Parameters
    ----------
    verdicts : (n) table of the SED stage.

    Returns
    -------
    (n,) log-odds [nats]; NaN where the object has no verdict.
    """
    wanted = _numbers(verdicts, "p_quasar") + _numbers(verdicts, "p_lensed")
    rest = sum(
        (np.nan_to_num(_numbers(verdicts, f"p_{name}")) for name in ("star", "galaxy", "other")),
        np.zeros(len(verdicts)),
    )
    from_chances = np.log(np.maximum(wanted, _TINY)) - np.log(np.maximum(rest, _TINY))
    given = _numbers(verdicts, "log_odds_quasar")
    log_odds = np.where(np.isfinite(given), given, from_chances)
    if "sed_status" in verdicts.columns:
        log_odds[verdicts["sed_status"].eq("no_usable_band").to_numpy(dtype=bool)] = np.nan
    return log_odds


def similarity_log_ratio(rank: Floats, is_known: NDArray[np.bool_], prior_known: float) -> Floats:
    """Log ratio of the rate of quasars to that of all objects at an object's similarity.

    Let x be the fraction of unknown objects that are more similar to the known
    quasars: uniform in (0, 1) over unknown objects, nearly all of which are no
    quasars. Over quasars it is modelled as a x^(a-1) with 0 < a <= 1, which piles up
    at x = 0 the more, the smaller a.
    With a prior Gamma(c, rate c) on a, which has mean 1 (images say nothing) and the
    weight of c quasars, the posterior mean from K known quasars is
    a = (K + c) / (c + sum of -ln x_k); a known quasar is left out of its own a.
    The log ratio is then ln a + (a - 1) ln x.

    Parameters
    ----------
    rank : (n,) place of an object by similarity among the unknown ones, 1 the most
        similar; of a known quasar the place that it would have if it were not known.
        NaN where there is no image.
    is_known : (n,) the known quasars.
    prior_known : c.

    Returns
    -------
    (n,) log ratios [nats]; 0 where there is no rank.
    """
    has = np.isfinite(rank)
    term = np.zeros(len(rank))
    if not has.any():
        return term
    known = is_known[has]
    # Half a place keeps x inside (0, 1); a known quasar is one more among the unknown.
    fraction = (rank[has] - 0.5) / ((~known).sum() + known)
    minus_ln_x = -np.log(np.clip(fraction, _TINY, 1.0))
    n_known = known.sum() - known.astype(float)
    depth = minus_ln_x[known].sum() - np.where(known, minus_ln_x, 0.0)
    shape = np.minimum((n_known + prior_known) / (depth + prior_known), 1.0)
    term[has] = np.log(shape) + (1.0 - shape) * minus_ln_x
    return term


def island_log_ratio(
    island: NDArray[np.int64],
    stability: Floats,
    has_images: NDArray[np.bool_],
    is_known: NDArray[np.bool_],
    prior_known: float,
) -> Floats:
    """Log ratio of the rate of known quasars on an object's island to that of all objects.

    With n_k known quasars on an island where n K / N are expected by chance, and
    a prior Gamma(c, rate c) on the ratio, its posterior mean is
    (n_k + c) / (n K / N + c). The known quasar itself does not count for its own
    term. Objects on no island form a group too. The log is multiplied by the
    stability of the membership, from 0 to 1.

    Parameters
    ----------
    island : (n,) number of the island; -1 on none.
    stability : (n,) fraction of seeds that agree on the membership; NaN counts as 1.
    has_images : (n,) objects that are on the map at all.
    is_known : (n,) the known quasars.
    prior_known : c, in expected known quasars.

    Returns
    -------
    (n,) log ratios [nats]; 0 where there is no image.
    """
    term = np.zeros(len(island))
    if not has_images.any():
        return term
    known = is_known[has_images].astype(float)
    groups = pd.Series(known).groupby(island[has_images])
    n_island = groups.transform("size").to_numpy(dtype=float) - known
    n_known = groups.transform("sum").to_numpy(dtype=float) - known
    expected = n_island * (known.sum() - known) / np.maximum(len(known) - known, 1.0)
    ratio = (n_known + prior_known) / (expected + prior_known)
    steady = np.clip(np.nan_to_num(stability[has_images], nan=1.0), 0.0, 1.0)
    term[has_images] = np.log(ratio) * steady
    return term


def image_log_ratio(log_odds_quasar: Floats, log_odds_lensed: Floats) -> Floats:
    """Log ratio of the rate of quasars, lensed or not, to that of the sample at an object's looks.

    Quasar and lensed quasar are taken to be as likely before the image is seen: the ratio is the
    mean of the two.

    Parameters
    ----------
    log_odds_quasar, log_odds_lensed : (n,) of each kind [nats]; NaN where it was not judged.

    Returns
    -------
    (n,) log ratios [nats]: ln[(exp a + exp b) / 2]; that of one kind where the other is missing, 0
    where both are.
    """
    both = np.array([log_odds_quasar, log_odds_lensed], dtype=float)
    has = np.isfinite(both)
    total = np.logaddexp.reduce(np.where(has, both, -np.inf), axis=0)
    n = has.sum(axis=0)
    return np.where(n > 0, total - np.log(np.maximum(n, 1)), 0.0)


def _numbers(table: pd.DataFrame, column: str) -> Floats:
    if column not in table.columns:
        return np.full(len(table), np.nan)
    return table[column].to_numpy(dtype=float, na_value=np.nan)
