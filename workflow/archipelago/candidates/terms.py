"""Evidence on an object as natural logs of odds, or of ratios of rates [nats].

Each number answers one question about one object; `archipelago.candidates.combine` weighs them.

Similarity and island learn from the known quasars alone, each of which is left out of its own
ratio. They start from a prior that says nothing and move away from 0 only as far as the known
quasars carry them: without known quasars they are 0.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

#: Classes of the SED stage, as in its columns.
CLASSES = ("star", "galaxy", "quasar", "lensed")

Floats = NDArray[np.float64]
#: Weight of the prior "known quasars tell nothing", as a number of known quasars: our choice. The
#: calibration was fitted to ratios that were formed with it.
PRIOR_KNOWN = 2.0
#: Odds of lensed against single quasar beyond which photometry's are not trusted [nats], 20 to 1:
#: assumed. A faint lens hides from colours, not always from images.
_SPLIT_MAX = 3.0
#: Smallest probability whose logarithm is taken: below it a float is 0.
_TINY = 1e-300


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
    wanted = numbers(verdicts, "p_quasar") + numbers(verdicts, "p_lensed")
    rest = sum(
        (np.nan_to_num(numbers(verdicts, f"p_{name}")) for name in ("star", "galaxy", "other")),
        np.zeros(len(verdicts)),
    )
    from_chances = np.log(np.maximum(wanted, _TINY)) - np.log(np.maximum(rest, _TINY))
    given = numbers(verdicts, "log_odds_quasar")
    log_odds = np.where(np.isfinite(given), given, from_chances)
    if "sed_status" in verdicts.columns:
        log_odds[verdicts["sed_status"].eq("no_usable_band").to_numpy(dtype=bool)] = np.nan
    return log_odds


def sed_lensed_log_odds(verdicts: pd.DataFrame) -> Floats:
    """Natural log of the odds of lensed quasar against quasar alone.

    Taken from ``log_odds_lensed``; where that is missing, from ``p_*``.

    Parameters
    ----------
    verdicts : (n) table of the SED stage.

    Returns
    -------
    (n,) log-odds [nats]; NaN where the object has no verdict.
    """
    given = numbers(verdicts, "log_odds_lensed")
    lensed, quasar = (
        np.log(np.maximum(numbers(verdicts, f"p_{name}"), _TINY)) for name in ("lensed", "quasar")
    )
    return np.where(np.isfinite(given), given, lensed - quasar)


def similarity_log_ratio(
    rank: Floats, is_known: NDArray[np.bool_], prior_known: float = PRIOR_KNOWN
) -> Floats:
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
    (n,) log ratios [nats]; NaN where there is no rank.
    """
    has = np.isfinite(rank)
    term = np.full(len(rank), np.nan)
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
    prior_known: float = PRIOR_KNOWN,
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
    (n,) log ratios [nats]; NaN where there is no image.
    """
    term = np.full(len(island), np.nan)
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


def image_log_ratio(
    log_odds_quasar: Floats, log_odds_lensed: Floats, lensed_log_odds: Floats | float = 0.0
) -> Floats:
    """Log ratio of the rate of quasars, lensed or not, to that of the sample at an object's looks.

    The mean of the two ratios, weighed by how likely each kind is before the image is seen: where
    its colours exclude a single quasar, likeness to one says nothing.

    Parameters
    ----------
    log_odds_quasar, log_odds_lensed : (n,) of each kind [nats]; NaN where it was not judged.
    lensed_log_odds : (n,) ln odds of lensed quasar against quasar before the image is seen [nats],
        such as `sed_lensed_log_odds`; trusted up to `_SPLIT_MAX`, and NaN counts as 0.

    Returns
    -------
    (n,) log ratios [nats]: ln[(1 - f) exp a + f exp b] with f the share of lensed quasars; that of
    one kind where the other is missing, NaN where both are.
    """
    split = np.clip(np.nan_to_num(lensed_log_odds, nan=0.0), -_SPLIT_MAX, _SPLIT_MAX)
    has_quasar, has_lensed = np.isfinite(log_odds_quasar), np.isfinite(log_odds_lensed)
    both = np.logaddexp(
        np.where(has_quasar, log_odds_quasar, 0.0) - np.logaddexp(0.0, split),
        np.where(has_lensed, log_odds_lensed, 0.0) - np.logaddexp(0.0, -split),
    )
    single = np.where(has_quasar, log_odds_quasar, log_odds_lensed)
    return np.asarray(np.where(has_quasar & has_lensed, both, single))


def image_lensed_log_ratio(log_odds_quasar: Floats, log_odds_lensed: Floats) -> Floats:
    """Log ratio of the rates of lensed and of single quasars at an object's looks.

    Parameters
    ----------
    log_odds_quasar, log_odds_lensed : (n,) of each kind against the same sample [nats].

    Returns
    -------
    (n,) log ratios [nats]; NaN where either is missing.
    """
    return np.asarray(log_odds_lensed - log_odds_quasar)


def numbers(table: pd.DataFrame, column: str) -> Floats:
    """Return a column as floats (n,); NaN where it is missing, or the table has no such column."""
    if column not in table.columns:
        return np.full(len(table), np.nan)
    return table[column].to_numpy(dtype=float, na_value=np.nan)
