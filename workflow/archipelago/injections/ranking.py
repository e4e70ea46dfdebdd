"""Where injected objects would stand in the run's list."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from archipelago.candidates.combine import Calibration, combine
from archipelago.candidates.terms import image_log_ratio, numbers, sed_log_odds

Floats = NDArray[np.float64]

#: Each piece of evidence that the run's list could be sorted by alone: column of the places.
EVIDENCE = ("sed", "similarity", "island", "image", "lens", "all")
#: What each column is, for the tables' metadata.
ABOUT = {
    "score": "ln odds of quasar or lensed quasar against the rest, from all evidence [nats]",
    "rank": "place that it would have among the run's objects that are not known, it alone added",
    **{
        f"rank_by_{name}": f"the same, were the list sorted by the evidence of {name} alone; none "
        "where it is absent"
        for name in EVIDENCE
        if name != "all"
    },
    **{
        f"combined_p_{name}": f"probability of {name} from all evidence"
        for name in ("star", "galaxy", "quasar", "lensed", "other")
    },
    "p_quasar": "probability of quasar from photometry",
    "p_lensed": "probability of lensed quasar from photometry",
    "log_odds_quasar": "ln of (p_quasar + p_lensed) over the rest, from photometry [nats]",
    "log_odds_lensed": "ln of p_lensed over p_quasar, from photometry [nats]",
    "z_quasar": "redshift by photometry, if quasar or lensed quasar",
}
#: Evidence that `archipelago.injections.evidence` and the lens evidence bring.
ABOUT_EVIDENCE = {
    "similarity_known": "mean cosine to the nearest known quasars, mean over seeds",
    "similarity_log_ratio": "what an unknown object of the run with that similarity has [nats]",
    "island": "island of most of its nearest objects, -1 none",
    "island_log_ratio": "what unknown objects there have [nats]",
    "image_log_odds_quasar": "ln of how much more often a quasar's images look so than an "
    "object's of the sample [nats]; mean over seeds",
    "image_log_odds_lensed": "the same for lensed quasars",
    "lens_log_odds": "ln of how much more often a lensed quasar's image has such shapes than a "
    "single quasar's [nats]",
}


def single_scores(table: pd.DataFrame) -> dict[str, Floats]:
    """Return what the list would be sorted by, for each piece of `EVIDENCE` but "all", (n,)."""
    both = [numbers(table, f"image_log_odds_{kind}") for kind in ("quasar", "lensed")]
    image = image_log_ratio(*both)
    return {
        "sed": sed_log_odds(table),
        "similarity": numbers(table, "similarity_known"),
        "island": numbers(table, "island_log_ratio"),
        "image": np.where(np.isfinite(both).any(axis=0), image, np.nan),
        "lens": numbers(table, "lens_log_odds"),
    }


def rank_injected(
    verdicts: pd.DataFrame,
    evidence: Sequence[pd.DataFrame],
    candidates: pd.DataFrame,
    calibration: Calibration,
) -> pd.DataFrame:
    """Combine the evidence on injected objects and place each in the run's list.

    Parameters
    ----------
    verdicts : (n) injected objects that passed all cuts: the SED stage's table.
    evidence : further tables by id, of some or all of them.
    candidates : the run's list: score, is_known and every evidence.
    calibration : the one that the run's list was made with.

    Returns
    -------
    (n) rows: id, columns of `ABOUT` and those of ``evidence``. Places count the unknown objects of
    the run with a higher number; without one, an injected object has none.
    """
    table = verdicts
    for part in evidence:
        new = ["id", *(name for name in part.columns if name not in table.columns)]
        table = table.merge(part[new], on="id", how="left", validate="one_to_one")
    table = table.reset_index(drop=True)
    combined = combine(table, calibration)
    table = pd.concat([table, combined.drop(columns=table.columns, errors="ignore")], axis=1)
    unknown = candidates[~candidates["is_known"].to_numpy(dtype=bool)]
    table["rank"] = places(
        table["score"].to_numpy(dtype=float), unknown["score"].to_numpy(dtype=float)
    )
    mine, theirs = single_scores(table), single_scores(unknown)
    for name, values in mine.items():
        table[f"rank_by_{name}"] = places(values, theirs[name])
    named = dict.fromkeys(name for part in evidence for name in part.columns if name != "id")
    for name in ABOUT:
        if name not in table:
            table[name] = np.nan
    return table[["id", *ABOUT, *(name for name in named if name not in ABOUT)]]


def places(values: Floats, others: Floats) -> Floats:
    """Return the place of each value (n,) beside others (m,), 1 the highest; NaN without value."""
    rising = np.sort(others[np.isfinite(others)])
    place = 1.0 + len(rising) - np.searchsorted(rising, values, side="right")
    return np.where(np.isfinite(values), place, np.nan)
