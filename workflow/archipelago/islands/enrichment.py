"""Which islands hold more known quasars than chance would put there."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import beta, hypergeom

#: Columns of the table of enrichment, with what they are.
ABOUT = {
    "island": "number of the island, 0 the largest",
    "n": "objects on it",
    "n_known": "known quasars on it",
    "known_share_lo": "lower end of the exact 95 % interval of the known quasars' share of it",
    "known_share_hi": "upper end of that interval (Clopper & Pearson)",
    "expected": "known quasars expected on it by chance",
    "p_value": "probability of n_known or more by chance (hypergeometric, exact)",
    "p_value_corrected": "p_value corrected for the number of islands (Holm)",
    "mean_known_redshift": "mean redshift of the known quasars on it",
    "mean_stability": "mean stability of its objects, 0 to 1",
    "mean_similarity_known": "mean similarity of its objects to the known quasars",
}


def enrichment(islands: pd.DataFrame) -> pd.DataFrame:
    """Test each island for an excess of known quasars.

    Drawing n objects without replacement from N of which K are known, n_known or more
    known ones have the probability of the hypergeometric distribution's tail: exact. The
    islands' tests depend on each other, as an object on one is on no other, so the
    correction is Holm's (1979, Scand. J. Stat. 6, 65), which holds however they depend.

    Parameters
    ----------
    islands : columns island, island_stability, similarity_known, known_name,
        known_redshift; one row per object with an image.

    Returns
    -------
    DataFrame
        Columns of `ABOUT`, one row per island, by number. Objects on no island count
        among the N and K but have no row. p = 1 where there is no known quasar.
    """
    known = islands["known_name"].fillna("") != ""
    n_all, n_known_all = len(islands), int(known.sum())
    rows = []
    for number, members in islands[islands["island"] >= 0].groupby("island", sort=True):
        n = len(members)
        n_known = int(known.loc[members.index].sum())
        low, high = binomial_interval(n_known, n)
        rows.append(
            {
                "island": int(str(number)),
                "n": n,
                "n_known": n_known,
                "known_share_lo": low,
                "known_share_hi": high,
                "expected": n * n_known_all / n_all,
                "p_value": tail_probability(n_all, n_known_all, n, n_known),
                "p_value_corrected": 1.0,
                "mean_known_redshift": members["known_redshift"].mean(),
                "mean_stability": members["island_stability"].mean(),
                "mean_similarity_known": members["similarity_known"].mean(),
            }
        )
    table = pd.DataFrame(rows, columns=list(ABOUT))
    table["p_value_corrected"] = holm(table["p_value"].to_numpy(dtype=float))
    return table.astype({"island": "int64", "n": "int64", "n_known": "int64"})


def tail_probability(n_all: int, n_known_all: int, n: int, n_known: int) -> float:
    """Return the probability that n of n_all objects hold n_known or more of n_known_all."""
    return float(min(1.0, hypergeom.sf(n_known - 1, n_all, n_known_all, n)))


def binomial_interval(k: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Return the exact interval of a share of which k of n were seen; (0, 1) for n = 0.

    Clopper & Pearson (1934, Biometrika 26, 404): holds the true share with a chance of
    ``level`` or more, whatever it is.
    """
    if n == 0:
        return 0.0, 1.0
    tail = (1.0 - level) / 2.0
    low = 0.0 if k == 0 else float(beta.ppf(tail, k, n - k + 1))
    high = 1.0 if k == n else float(beta.ppf(1.0 - tail, k + 1, n - k))
    return low, high


def holm(p_values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return p-values (n,) corrected for their number by Holm's step-down method, at most 1."""
    m = len(p_values)
    order = np.argsort(p_values, kind="stable")
    stepped = np.maximum.accumulate(p_values[order] * (m - np.arange(m)))
    corrected = np.empty(m)
    corrected[order] = np.minimum(stepped, 1.0)
    return corrected
