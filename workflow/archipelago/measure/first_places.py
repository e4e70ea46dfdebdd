"""What stands in the first places of a ranking, and how far its probabilities are shares.

Definitions:

- known quasars are skipped: they take no place and are never counted as found.
- ordinary: unknown quasars with nothing in front. Lensed: lensed quasars, none of which is known.
- quasars blended with a galaxy by chance take places, are counted as quasars where probabilities
  are judged, and are neither ordinary nor lensed.
- of objects with equal values, or none, those that are no quasars come first.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from archipelago.candidates.combine import Calibration, combine
from archipelago.candidates.terms import image_log_ratio, numbers, sed_log_odds
from archipelago.measure import statistics

#: Length of the list that is asked about.
N_FIRST = 30
#: Evidence taken away, to see what the rest is worth: columns set to NaN.
WITHOUT: dict[str, tuple[str, ...]] = {
    "all evidence": (),
    "without lens evidence": ("lens_log_odds",),
    "without likeness to simulated quasars": ("image_log_odds_quasar", "image_log_odds_lensed"),
    "without similarity and island": ("similarity_log_ratio", "island_log_ratio"),
    "photometry alone, calibrated": (
        *("lens_log_odds", "image_log_odds_quasar", "image_log_odds_lensed"),
        *("similarity_log_ratio", "island_log_ratio"),
    ),
}
#: Single evidences that objects are ranked by: columns of the candidates' table.
SINGLE: dict[str, str] = {
    "SED: p_quasar + p_lensed": "sed_log_odds",
    "SED: p_lensed": "p_lensed",
    "similarity to known quasars": "similarity_log_ratio",
    "island": "island_log_ratio",
    "images like simulated quasars": "image_log_odds_quasar",
    "images like simulated lensed quasars": "image_log_odds_lensed",
    "images like either": "image_log_ratio",
    "lens evidence": "lens_log_odds",
}

Floats = NDArray[np.float64]


def first_found(table: pd.DataFrame, score: Floats, n_first: int = N_FIRST) -> dict[str, float]:
    """Return the shares of unknown ordinary and lensed quasars among the first by a score.

    Parameters
    ----------
    table : (n) objects of one sky: true_kind, true_is_quasar, true_known.
    score : (n,), the highest first; NaN comes last.

    Returns
    -------
    ``ordinary``, ``lensed`` : shares; NaN where there are none.
    """
    unknown = ~table["true_known"].to_numpy(dtype=bool)
    values = np.where(np.isfinite(score), score, -np.inf)[unknown]
    quasar = table["true_is_quasar"].to_numpy(dtype=bool)[unknown]
    kind = table["true_kind"].to_numpy()[unknown]
    first = np.lexsort((quasar, -values))[:n_first]
    return {
        name: float(np.isin(np.flatnonzero(kind == of), first).mean())
        if (kind == of).any()
        else float("nan")
        for name, of in (("ordinary", "quasar"), ("lensed", "lensed quasar"))
    }


def measure_skies(table: pd.DataFrame, calibration: Calibration) -> pd.DataFrame:
    """Return, per sky and way of ranking, what stands among the first; see `first_found`."""
    rows = []
    for seed, one in table.groupby("seed"):
        ways = {}
        for name, columns in WITHOUT.items():
            there = [column for column in columns if column in one]
            if there or not columns:
                combined = combine(one.assign(**dict.fromkeys(there, np.nan)), calibration)
                ways[name] = combined["score"].to_numpy()
        quasar, lensed = (numbers(one, f"image_log_odds_{kind}") for kind in ("quasar", "lensed"))
        given = one.assign(
            sed_log_odds=sed_log_odds(one), image_log_ratio=image_log_ratio(quasar, lensed)
        )
        for name, column in SINGLE.items():
            values = numbers(given, column)
            if np.isfinite(values).any():
                ways[name] = values
        rows += [
            {"sky": seed, "way": name, **first_found(one, score)} for name, score in ways.items()
        ]
    return pd.DataFrame(rows)


def report(table: pd.DataFrame, calibration: Calibration) -> str:
    """Return all figures as text.

    Parameters
    ----------
    table : `sky_tables` of the skies.
    """
    found = measure_skies(table, calibration)
    unknown = table[~table["true_known"].to_numpy(dtype=bool)].reset_index(drop=True)
    kinds = unknown.groupby("seed")["true_kind"].value_counts().unstack(fill_value=0)
    shown = [kind for kind in ("quasar", "lensed quasar", "quasar-galaxy blend") if kind in kinds]
    parts = [
        f"== {len(table)} objects of {table['seed'].nunique()} skies; unknown quasars per sky",
        kinds[shown].assign(objects=unknown.groupby("seed").size()).to_string(),
        f"== Share of the unknown quasars among the first {N_FIRST}, mean and standard deviation",
        _found_text(found),
        _chances_text(unknown, combine(unknown, calibration)),
    ]
    return "\n".join(parts)


def _found_text(found: pd.DataFrame) -> str:
    per_way = found.groupby("way", sort=False)[["ordinary", "lensed"]].agg(["mean", "std"])
    per_way.columns = [" ".join(names) for names in per_way.columns]
    ours = found[found["way"] == next(iter(WITHOUT))]
    single = [
        f"  sky {row['sky']}: {row['ordinary']:.2f} ordinary, {row['lensed']:.2f} lensed"
        for row in ours.to_dict("records")
    ]
    return "\n".join([per_way.round(3).to_string(), "All evidence, by sky:", *single])


def _chances_text(unknown: pd.DataFrame, combined: pd.DataFrame) -> str:
    wanted = unknown["true_is_quasar"].to_numpy(dtype=bool)
    lensed = unknown["true_is_lensed"].to_numpy(dtype=bool)
    both = (combined["combined_p_quasar"] + combined["combined_p_lensed"]).clip(upper=1.0)
    by_sed = (unknown["p_quasar"] + unknown["p_lensed"]).clip(upper=1.0)
    lines = ["== Probability of quasar or lensed quasar, objects that are not known"]
    lines.append(statistics.reliability(both, wanted).round(3).to_string(index=False))
    groups = {
        "quasar or lensed, all evidence": (both, wanted),
        "quasar or lensed, photometry's own": (by_sed, wanted),
        "lensed, all evidence": (combined["combined_p_lensed"], lensed),
        "lensed, photometry's own": (unknown["p_lensed"], lensed),
    }
    for name, (values, true) in groups.items():
        lines.append(_errors(name, values.to_numpy(dtype=float), true, unknown["seed"]))
    return "\n".join(lines)


def _errors(name: str, p: Floats, true: NDArray[np.bool_], seed: pd.Series) -> str:
    """Return the calibration errors of a probability, of all objects and of likely ones."""
    use = np.isfinite(p)
    p, true, skies = p[use], true[use], seed.to_numpy()[use]
    lines = [f"{name}: {true.sum()} true, {p.sum():.1f} expected"]
    for label, keep in (("all objects", p >= 0), ("p > 0.01", p > 0.01), ("p > 0.1", p > 0.1)):
        chance, limit = statistics.calibration_error_by_chance(p[keep])
        each = [
            statistics.calibration_error(p[keep & (skies == one)], true[keep & (skies == one)])
            for one in np.unique(skies)
        ]
        spread = np.std(each, ddof=1) if len(each) > 1 else float("nan")
        lines.append(
            f"  {label} ({keep.sum()}): ECE, ten bins of equal width, "
            f"{statistics.calibration_error(p[keep], true[keep]):.4f} "
            f"(exact probabilities: {chance:.4f}, 95 % below {limit:.4f}); ten bins of equal "
            f"counts {statistics.calibration_error_equal_counts(p[keep], true[keep]):.4f}; "
            f"single skies {np.mean(each):.4f} (sd {spread:.4f})"
        )
    return "\n".join(lines)
