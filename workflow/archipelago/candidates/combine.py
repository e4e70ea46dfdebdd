"""One probability per class from all evidence on an object: two nested logistic models.

Both are sums of few terms, each the weight of a log ratio that saturates where the calibration's
skies hold no more objects to learn from:

    score        = ln[(P_quasar + P_lensed) / (P_star + P_galaxy + P_other)]
                 = base + w_sed s(SED) + w_similarity s(S) + w_island s(I) + w_image s(M)
    lensed_score = ln[P_lensed / P_quasar]
                 = base' + w'_sed s(SED') + w'_image s(M') + w'_lens s(L)

Weights are not negative: evidence for a quasar never counts against it. What is neither is shared
among star, galaxy and other as the SED stage shares it. The weights were fitted to demo skies, once
for each set of evidence that an object may have (no images, no lens evidence, ...), so that the
probabilities hold for each; see docs/candidates.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from archipelago.base.errors import InputError
from archipelago.base.files import atomic_path, reading
from archipelago.base.tables import require_columns
from archipelago.candidates.terms import (
    image_lensed_log_ratio,
    image_log_ratio,
    numbers,
    sed_lensed_log_odds,
    sed_log_odds,
)

Floats = NDArray[np.float64]

#: Version of the file's layout and of what its terms mean.
VERSION = 1
#: Which evidence there may be beside the SED's, and the terms that need it.
PARTS: dict[str, tuple[str, ...]] = {
    "sed": ("sed",),
    "features": ("similarity", "island"),
    "image": ("image",),
    "lens": ("lens",),
}
#: Terms of the two models.
TERMS: dict[str, tuple[str, ...]] = {
    "quasar": ("sed", "similarity", "island", "image"),
    "lensed": ("sed", "image", "lens"),
}
#: Prefix of a model's columns.
PREFIX = {"quasar": "", "lensed": "lensed_"}
_REST = ("star", "galaxy", "other")
_CLASSES = ("star", "galaxy", "quasar", "lensed", "other")
_COLUMNS = ("evidence", "model", "term", "weight", "low", "high")
_REMAKE = "take data/calibration.csv, or make one: python -m archipelago.measure.calibration"

#: What the columns of `combine` are, for a table's metadata.
ABOUT = {
    "score": "ln odds of quasar or lensed quasar against the rest, from all evidence: base_term + "
    "sed_term + learning_term [nats]; the list is sorted by it",
    "base_term": "what the calibration starts from, for the evidence that there is [nats]",
    "sed_term": "weight x saturated sed_log_odds [nats]; NaN without a verdict",
    "learning_term": "similarity_term + island_term + image_term [nats]; 0 without images",
    "similarity_term": "weight x saturated similarity_log_ratio [nats]",
    "island_term": "weight x saturated island_log_ratio [nats]",
    "image_term": "weight x saturated log ratio from likeness to simulated quasars, lensed or "
    "not [nats]",
    "lensed_score": "ln odds of lensed quasar against quasar, from all evidence: the sum of the "
    "lensed_*_term [nats]",
    "lensed_base_term": "what the calibration starts from [nats]",
    "lensed_sed_term": "weight x saturated log_odds_lensed [nats]",
    "lensed_image_term": "weight x saturated (image_log_odds_lensed - image_log_odds_quasar) "
    "[nats]; 0 without",
    "lensed_lens_term": "weight x saturated lens_log_odds [nats]; 0 without",
    "evidence_used": "evidence that score and combined probabilities are made of",
    **{
        f"combined_p_{name}": f"probability of {name} from all evidence; the five sum to 1"
        for name in _CLASSES
    },
}


@dataclass(frozen=True)
class Term:
    """One term of a model: ``weight`` x `saturated` log ratio.

    Attributes
    ----------
    weight : not negative.
    low, high : where the log ratio saturates [nats].
    """

    weight: float
    low: float
    high: float

    def __call__(self, log_ratio: Floats) -> Floats:
        """Return the term of each object, (n,) [nats]."""
        return self.weight * saturated(log_ratio, self.low, self.high)


@dataclass(frozen=True)
class Model:
    """A logistic model: ``base`` [nats] and its terms by name."""

    base: float
    terms: dict[str, Term]


@dataclass(frozen=True)
class Calibration:
    """The models of every set of evidence.

    Attributes
    ----------
    cases : by set of evidence, names of `PARTS` joined by ``+`` in their order, the models
        "quasar" (quasar or lensed against the rest) and "lensed" (lensed against quasar).
    provenance : what it was made from, by name.
    """

    cases: dict[str, dict[str, Model]]
    provenance: dict[str, str] = field(default_factory=dict)

    def at_rates(
        self, quasar_rate_factor: float = 1.0, lensed_rate_factor: float = 1.0
    ) -> Calibration:
        """Return the calibration for a survey in which classes are more or less frequent.

        Parameters
        ----------
        quasar_rate_factor : times the odds of quasar or lensed quasar against the rest.
        lensed_rate_factor : times the odds of lensed quasar against quasar.

        By Bayes' theorem the log-odds of every object shift by the factor's logarithm.
        """
        shifts = {"quasar": np.log(quasar_rate_factor), "lensed": np.log(lensed_rate_factor)}
        cases = {
            case: {
                name: Model(model.base + float(shifts[name]), model.terms)
                for name, model in models.items()
            }
            for case, models in self.cases.items()
        }
        return Calibration(cases, self.provenance)

    def case_for(self, parts: frozenset[str]) -> str:
        """Return the largest case within some parts of evidence; the first of equal ones."""
        inside = [case for case in self.cases if set(case.split("+")) <= parts]
        return max(inside, key=lambda case: case.count("+"))


def saturated(values: Floats, low: float, high: float) -> Floats:
    """Return values that grow as a logarithm only beyond ``low`` and ``high``.

    Order is kept, so that of two sure quasars the surer one still stands first.
    """
    over, under = np.maximum(values - high, 0.0), np.maximum(low - values, 0.0)
    return np.asarray(np.clip(values, low, high) + np.log1p(over) - np.log1p(under))


def log_ratios(table: pd.DataFrame) -> dict[tuple[str, str], Floats]:
    """Return the log ratio behind each term, by model and term, (n,) each [nats].

    NaN where the object lacks it. Columns that are absent count as NaN; those that matter:
    ``p_*``, ``log_odds_quasar``, ``log_odds_lensed``, ``similarity_log_ratio``,
    ``island_log_ratio``, ``image_log_odds_quasar``, ``image_log_odds_lensed``, ``lens_log_odds``.
    """
    quasar, lensed = (numbers(table, f"image_log_odds_{kind}") for kind in ("quasar", "lensed"))
    split = sed_lensed_log_odds(table)
    return {
        ("quasar", "sed"): sed_log_odds(table),
        ("quasar", "similarity"): numbers(table, "similarity_log_ratio"),
        ("quasar", "island"): numbers(table, "island_log_ratio"),
        ("quasar", "image"): image_log_ratio(quasar, lensed, split),
        ("lensed", "sed"): split,
        ("lensed", "image"): image_lensed_log_ratio(quasar, lensed),
        ("lensed", "lens"): numbers(table, "lens_log_odds"),
    }


def parts_there(ratios: Mapping[tuple[str, str], Floats]) -> dict[str, NDArray[np.bool_]]:
    """Say of which objects each of `PARTS` is there: all of its log ratios are finite."""
    return {
        part: np.logical_and.reduce(
            [np.isfinite(values) for (_, term), values in ratios.items() if term in terms]
        )
        for part, terms in PARTS.items()
    }


def combine(table: pd.DataFrame, calibration: Calibration) -> pd.DataFrame:
    """Combine the evidence on each object, by itself: rows know nothing of each other.

    Parameters
    ----------
    table : (n) objects; columns as `log_ratios` reads them.
    calibration : from `read_calibration`.

    Returns
    -------
    (n) rows, same index, columns of `ABOUT`. Without a verdict on the photometry scores and
    probabilities are NaN: images alone are no ground for a probability.
    """
    ratios = log_ratios(table)
    there = parts_there(ratios)
    names = np.zeros(len(table), dtype=np.int64)
    for bit, part in enumerate(PARTS):
        names += there[part].astype(np.int64) << bit
    result = {
        f"{PREFIX[model]}{term}_term": np.zeros(len(table))
        for model, terms in TERMS.items()
        for term in ("base", *terms)
    }
    used = np.full(len(table), "", dtype=object)
    for code in np.unique(names[there["sed"]]):
        parts = frozenset(part for bit, part in enumerate(PARTS) if code >> bit & 1)
        case = calibration.case_for(parts)
        rows = (names == code) & there["sed"]
        used[rows] = case
        for model, fitted in calibration.cases[case].items():
            result[f"{PREFIX[model]}base_term"][rows] = fitted.base
            for term, weighed in fitted.terms.items():
                values = ratios[model, term][rows]
                result[f"{PREFIX[model]}{term}_term"][rows] = weighed(values)
    without = ~there["sed"]
    for model in TERMS:
        for term in ("base", "sed"):
            result[f"{PREFIX[model]}{term}_term"][without] = np.nan
    return _with_chances(pd.DataFrame(result, index=table.index), table, used)


def _with_chances(
    result: pd.DataFrame, table: pd.DataFrame, used: NDArray[np.object_]
) -> pd.DataFrame:
    images = [f"{term}_term" for term in TERMS["quasar"] if term != "sed"]
    result["learning_term"] = result[images].sum(axis=1)
    result["score"] = result["base_term"] + result["sed_term"] + result["learning_term"]
    lensed = [f"lensed_{term}_term" for term in ("base", *TERMS["lensed"])]
    result["lensed_score"] = result[lensed].sum(axis=1, skipna=False)
    result["evidence_used"] = pd.Series(used, index=table.index, dtype="str")
    wanted, split = (_logistic(result[name].to_numpy()) for name in ("score", "lensed_score"))
    result["combined_p_quasar"] = wanted * (1 - split)
    result["combined_p_lensed"] = wanted * split
    rest = np.stack([np.nan_to_num(numbers(table, f"p_{name}")) for name in _REST])
    total = rest.sum(axis=0)
    # Where the SED leaves nothing for the three, they get equal parts of what there is.
    shares = np.where(total > 0, rest / np.where(total > 0, total, 1.0), 1 / len(_REST))
    rest_chance = _logistic(-result["score"].to_numpy())
    for name, share in zip(_REST, shares, strict=True):
        result[f"combined_p_{name}"] = rest_chance * share
    return result[list(ABOUT)]


def _logistic(log_odds: Floats) -> Floats:
    """Return probabilities of log-odds without overflow."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * log_odds)))


# --- the file ------------------------------------------------------------------------------------


def write_calibration(calibration: Calibration, path: str | Path) -> None:
    """Write a calibration as CSV, its provenance in lines that begin with ``#``."""
    head = [f"# version: {VERSION}", *(f"# {k}: {v}" for k, v in calibration.provenance.items())]
    rows = []
    for case, models in calibration.cases.items():
        for model, fitted in models.items():
            rows.append(f"{case},{model},base,{fitted.base:.4f},,")
            rows += [
                f"{case},{model},{name},{term.weight:.4f},{term.low:.3f},{term.high:.3f}"
                for name, term in fitted.terms.items()
            ]
    text = "\n".join([*head, ",".join(_COLUMNS), *rows]) + "\n"
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_calibration(path: str | Path) -> Calibration:
    """Read the calibration that `write_calibration` wrote, or that somebody wrote by hand.

    Raises
    ------
    InputError
        If the file is absent, of another version, or says what cannot be: negative weights, terms
        or evidence that do not exist, limits that are not in order, rows that are missing or twice.
    """
    with reading("the calibration of the candidates", path):
        lines = Path(path).read_text(encoding="utf-8").splitlines()
        notes = [line[1:].partition(":") for line in lines if line.startswith("#")]
        table = pd.read_csv(path, comment="#", dtype={"evidence": str, "model": str, "term": str})
    provenance = {key.strip(): value.strip() for key, _, value in notes}
    version = provenance.pop("version", "none")
    if version != str(VERSION):
        raise _wrong(path, f"it has version {version}, not {VERSION}")
    require_columns(table, _COLUMNS, str(path))
    cases: dict[str, dict[str, Model]] = {}
    for case, rows in table.groupby("evidence", sort=False):
        parts = str(case).split("+")
        if parts != [part for part in PARTS if part in parts] or "sed" not in parts:
            raise _wrong(path, f"there is no evidence {case!r}")
        cases[str(case)] = {model: _model(rows, model, parts, path) for model in TERMS}
        if len(rows) != sum(1 + len(one.terms) for one in cases[str(case)].values()):
            raise _wrong(path, f"{case}: rows that no model has, or that are there twice")
    if "sed" not in cases:
        raise _wrong(path, "it has no rows for the evidence 'sed' alone")
    return Calibration(cases, provenance)


def terms_of(model: str, parts: list[str]) -> list[str]:
    """Return the terms of a model for which some parts of evidence are enough."""
    there = {term for part in parts for term in PARTS[part]}
    return [term for term in TERMS[model] if term in there]


def _model(rows: pd.DataFrame, model: str, parts: list[str], path: str | Path) -> Model:
    where = f"{rows['evidence'].iloc[0]}, {model}"
    mine = rows[rows["model"] == model].set_index("term")
    wanted = ["base", *terms_of(model, parts)]
    if sorted(mine.index) != sorted(wanted):
        raise _wrong(path, f"{where}: terms {', '.join(mine.index)}, not {', '.join(wanted)}")
    values = mine[["weight", "low", "high"]].apply(pd.to_numeric, errors="coerce").astype(float)
    terms = {}
    for name in wanted[1:]:
        weight, low, high = values.loc[name].to_numpy()
        if not (np.isfinite([weight, low, high]).all() and weight >= 0 and low < high):
            raise _wrong(path, f"{where}, {name}: weight {weight}, from {low} to {high}")
        terms[name] = Term(weight, low, high)
    base = float(values.loc["base", "weight"])
    if not np.isfinite(base):
        raise _wrong(path, f"{where}: base {base}")
    return Model(base, terms)


def _wrong(path: str | Path, what: str) -> InputError:
    return InputError(
        f"this calibration cannot be used: {what}", where=str(path), next_step=_REMAKE
    )
