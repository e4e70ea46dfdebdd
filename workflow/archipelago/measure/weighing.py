"""How the candidates' evidence is weighed, fitted to objects whose truth is known."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import minimize

from archipelago.base.errors import DataError
from archipelago.candidates.combine import (
    PARTS,
    Calibration,
    Model,
    Term,
    combine,
    log_ratios,
    parts_there,
    saturated,
    terms_of,
)
from archipelago.measure.first_places import first_found
from archipelago.measure.statistics import calibration_error

#: Objects of the other side beyond a term's limits, at least: further out there is too little to
#: learn from. Which of these numbers it is, the likelihood says.
_N_BEYOND = (2, 5, 10, 20, 40)
#: Standard deviation of the prior of each weight about 0: evidence that is independent given the
#: class, and whose ratios are right, has the weight 1.
_PRIOR_SIGMA = 1.0
#: Fewest objects of either side that a model is fitted to.
_N_LEAST = 10

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def fit_logistic(terms: Floats, true: Bools) -> tuple[float, Floats, float]:
    """Fit ln odds = base + terms @ weights with weights of 0 or more.

    Most probable values under a normal prior on the weights, by L-BFGS-B; the base is free.

    Parameters
    ----------
    terms : (n, k) [nats].
    true : (n,).

    Returns
    -------
    The base [nats], (k,) weights, and the least of -ln(likelihood x prior).
    """
    sign = np.where(true, 1.0, -1.0)

    def loss(values: Floats) -> tuple[float, Floats]:
        margin = sign * (values[0] + terms @ values[1:])
        wrong = -sign / (1 + np.exp(np.minimum(margin, 700.0)))
        total = np.logaddexp(0.0, -margin).sum() + 0.5 * (values[1:] ** 2).sum() / _PRIOR_SIGMA**2
        slope = np.concatenate([[wrong.sum()], terms.T @ wrong + values[1:] / _PRIOR_SIGMA**2])
        return float(total), slope

    share = np.clip(true.mean(), 1e-6, 1 - 1e-6)
    start = np.concatenate([[np.log(share / (1 - share))], np.full(terms.shape[1], 0.5)])
    bounds = [(None, None), *[(0.0, None)] * terms.shape[1]]
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds)
    return float(found.x[0]), np.maximum(found.x[1:], 0.0), float(found.fun)


def limits(values: Floats, true: Bools, n_beyond: int) -> tuple[float, float]:
    """Return where a log ratio saturates: the part of its range in which both sides have objects.

    From the ``n_beyond``-th lowest of the true to the ``n_beyond``-th highest of the others; where
    these do not overlap, the gap between them.
    """
    low = np.sort(values[true])[min(n_beyond, true.sum()) - 1]
    high = np.sort(values[~true])[::-1][min(n_beyond, (~true).sum()) - 1]
    low, high = min(low, high), max(low, high)
    # What the file keeps is what is fitted, and never a range of nothing.
    return round(float(low), 3), round(float(max(high, low + 0.1)), 3)


def fit_model(
    ratios: dict[tuple[str, str], Floats], model: str, parts: list[str], true: Bools, chosen: Bools
) -> Model:
    """Fit one model of one set of evidence to the chosen objects.

    Parameters
    ----------
    ratios : as `log_ratios`, (n,) each.
    model, parts : which.
    true : (n,) what the model's odds are for.
    chosen : (n,) objects that it learns from; those without the evidence are left out.

    Raises
    ------
    DataError
        If there are too few of either side.
    """
    names = terms_of(model, parts)
    values = {name: ratios[model, name] for name in names}
    use = chosen & np.logical_and.reduce([np.isfinite(one) for one in values.values()])
    n_true, n_false = int((use & true).sum()), int((use & ~true).sum())
    if min(n_true, n_false) < _N_LEAST:
        raise DataError(
            f"{'+'.join(parts)}, {model}: {n_true} objects for and {n_false} against",
            where="the calibration",
            next_step="take more skies",
        )
    given, truth = {name: one[use] for name, one in values.items()}, true[use]
    fits = []
    for n_beyond in _N_BEYOND:
        ranges = {name: limits(one, truth, n_beyond) for name, one in given.items()}
        terms = np.stack([saturated(given[name], *ranges[name]) for name in names], axis=1)
        fits.append((*fit_logistic(terms, truth), ranges))
        if 3 * n_beyond > min(n_true, n_false):
            break
    base, weights, _, ranges = min(fits, key=lambda fit: fit[2])
    return Model(
        round(base, 4),
        {
            name: Term(round(float(weight), 4), *ranges[name])
            for name, weight in zip(names, weights, strict=True)
        },
    )


def fit_calibration(table: pd.DataFrame) -> dict[str, dict[str, Model]]:
    """Fit all models to objects whose truth is known.

    Parameters
    ----------
    table : rows of `sky_tables` of any number of skies. Known quasars are left out.

    Returns
    -------
    `Calibration.cases`: every set of evidence that there is in the table.
    """
    ratios = log_ratios(table)
    there = parts_there(ratios)
    unknown = ~table["true_known"].to_numpy(dtype=bool)
    lensed = table["true_is_lensed"].to_numpy(dtype=bool)
    wanted = table["true_is_quasar"].to_numpy(dtype=bool) | lensed
    found = [part for part in PARTS if part != "sed" and there[part].any()]
    cases = {}
    for n_more in range(len(found) + 1):
        for more in combinations(found, n_more):
            parts = ["sed", *more]
            chosen = unknown & np.logical_and.reduce([there[part] for part in parts])
            cases["+".join(parts)] = {
                "quasar": fit_model(ratios, "quasar", parts, wanted, chosen),
                "lensed": fit_model(ratios, "lensed", parts, lensed, chosen & wanted),
            }
    return cases


def report(table: pd.DataFrame) -> str:
    """Say what the ranking would be on each sky by a calibration without that sky."""
    rows = []
    for seed, one in table.groupby("seed"):
        combined = combine(one, Calibration(fit_calibration(table[table["seed"] != seed])))
        unknown = ~one["true_known"].to_numpy(dtype=bool)
        wanted = one["true_is_quasar"].to_numpy(dtype=bool)
        chance = (combined["combined_p_quasar"] + combined["combined_p_lensed"]).to_numpy()
        use = unknown & np.isfinite(chance)
        rows.append(
            {
                "sky": seed,
                **first_found(one, combined["score"].to_numpy()),
                "ece": calibration_error(chance[use], wanted[use]),
                "expected": chance[use].sum(),
                "quasars": int(wanted[use].sum()),
            }
        )
    shown = pd.DataFrame(rows).set_index("sky")
    summary = pd.DataFrame({"mean": shown.mean(), "sd": shown.std(ddof=1)}).T
    return (
        "Each sky by a calibration without it (share of unknown quasars among the first 30):\n"
        + pd.concat([shown, summary]).round(3).to_string()
    )
