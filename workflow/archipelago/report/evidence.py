"""The table of evidence on a card: each piece with its unit and what it means."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from archipelago.base.tables import cell_number, unit_of
from archipelago.report.svg import number_words

#: What a column means where its table does not say; `{}` is a band, a class or the like.
MEANINGS = {
    "combined_p_*": "probability of {} by all evidence together; the five sum to 1",
    "p_*": "probability of {} by photometry alone; the five sum to 1",
    "score": "sum of the terms [nats]; the list is sorted by it",
    "image_log_odds_*": "ln of how much more often images of a simulated {} quasar look so than "
    "those of an object of the sample [nats]",
    "lens_log_odds": "ln of how much more often lensed quasars have such images than single ones "
    "[nats]",
    "centroid_shift_*": "shift of the centroid with wavelength",
    "extendedness_*": "size in {} against that of a point source there",
    "psf_residual_*": "what the best point source leaves in {}",
    "two_component_*": "point sources and a galaxy against a point source alone",
    "n_images_seen": "images of one quasar that are told apart",
    "image_separation_arcsec": "largest distance of two of them",
    "similarity_known": "mean cosine to the nearest known quasars but itself, mean over seeds",
    "similarity_percentile": "percentage of unknown objects not more similar to known quasars",
    "island": "island that the seeds agree on, -1 none",
    "island_stability": "mean share of the seeds that put it with the others of its island",
}
#: Endings of columns that go with another column, in its row.
_SPREADS = ("_lo", "_hi", "_std", "_err")
#: Units that descriptions give in brackets.
_UNITS = r"\s*\[(nats|deg|arcsec|mag|uJy|um|px|sigma|Gyr|solar masses|%)\]"


@dataclass(frozen=True)
class _Group:
    title: str
    pattern: str
    needs_images: bool
    #: What is said where the search has no such column.
    absent: str


_GROUPS = (
    _Group("Rank", r"rank(_unknown)?|score|\w+_term", False, "The object was not ranked."),
    _Group(
        "All evidence together",
        r"combined_\w+|lensed_score|evidence_used",
        False,
        "The pieces were not combined into one probability.",
    ),
    _Group(
        "Photometry",
        r"p_[a-z]+|sed_\w+|n_bands_sed|best_class|log_odds_\w+|z_(quasar|lens|galaxy)\w*|"
        r"m1450_quasar\w*|spectral_type",
        False,
        "There is no verdict on the photometry.",
    ),
    _Group(
        "Lens evidence of the images",
        r"lens_\w+|centroid_\w+|extendedness_\w+|psf_\w+|two_component_\w+|n_images_seen|"
        r"image_separation_arcsec|image_flux_ratio|galaxy_(share|radius_arcsec)|\w+_delta_bic",
        True,
        "The search measured no lens evidence in images.",
    ),
    _Group(
        "Likeness to simulated quasars",
        r"image_(log_odds|rank|log_ratio)\w*",
        True,
        "The search simulated no quasars to compare with.",
    ),
    _Group(
        "Similarity to known quasars",
        r"similarity_(?!term)\w+|outlier_score",
        True,
        "The search compared no images.",
    ),
    _Group(
        "Island", r"island(?!_seed|_term)(_\w+)?", True, "The search sought no islands of images."
    ),
    _Group("LePHARE", r"lephare_\w+", False, "LePHARE did not run."),
)


def evidence_groups(
    row: Mapping[str, Any], about: Mapping[str, str] | None = None
) -> list[dict[str, Any]]:
    """Return the evidence on one object by kind, each with its value, unit and meaning.

    Parameters
    ----------
    row : of the candidates' table. Columns that no kind claims are left out: see `other_columns`.
    about : per column what it means, as the table's own metadata say.

    Returns
    -------
    Per kind ``title``, ``pieces`` (``name``, ``value``, ``spread``, ``unit``, ``meaning``) and
    ``absent``: a sentence where there is nothing to show, else "". ``unmeasured``: columns
    without a value where others of the kind have one.
    """
    told = about or {}
    has_images = row.get("has_images")
    groups = []
    for group, names in _sorted_in(row).items():
        pieces = [_piece(name, row, told) for name in names if not _goes_with(name, row)]
        shown = [piece for piece in pieces if piece["value"] != "–"]
        absent = ""
        if not shown:
            absent = group.absent
            if group.needs_images and has_images is not None and not _flag(has_images):
                absent = "The object has no images."
            elif names:
                absent = "Nothing could be measured of this object."
        groups.append(
            {
                "title": group.title,
                "pieces": shown,
                "absent": absent,
                "unmeasured": [p["name"] for p in pieces if p["value"] == "–"] if shown else [],
            }
        )
    return groups


def other_columns(row: Mapping[str, Any], hidden: Iterable[str]) -> list[dict[str, str]]:
    """Return all columns that `evidence_groups` has no place for, but those hidden."""
    claimed = {name for names in _sorted_in(row).values() for name in names} | set(hidden)
    return [
        {"name": name, "value": _value(value), "unit": unit_of(name)}
        for name, value in row.items()
        if name not in claimed
    ]


def glossary(
    columns: Iterable[str], about: Mapping[str, str] | None = None
) -> list[dict[str, str]]:
    """Return what each column of the table of candidates means, with its unit."""
    told = about or {}
    return [
        {"name": name, "unit": unit(name, told), "meaning": meaning(name, told)}
        for name in columns
        if meaning(name, told)
    ]


def meaning(name: str, about: Mapping[str, str]) -> str:
    """Return what a column means, by its table's metadata or else by `MEANINGS`; '' if unknown.

    A unit in brackets is left out: `unit` gives it.
    """
    text = about.get(name, "")
    if not text:
        for known, sentence in MEANINGS.items():
            start = known.removesuffix("*")
            if name == known or (known.endswith("*") and name.startswith(start)):
                text = sentence.format(name[len(start) :].replace("_", " "))
                break
    return re.sub(_UNITS, "", text)


def unit(name: str, about: Mapping[str, str]) -> str:
    """Return a column's unit: as its name says, or in brackets in its description; or ''."""
    by_name = unit_of(name)
    if by_name:
        return by_name
    if "log_odds" in name or name.endswith(("_term", "_log_ratio")) or name == "score":
        return "nats"
    if name.endswith("_sigma"):
        return "sigma"
    found = re.search(_UNITS, about.get(name, ""))
    return found[1] if found else ""


def _sorted_in(row: Mapping[str, Any]) -> dict[_Group, list[str]]:
    """Columns of each kind; the first that claims a column gets it."""
    found: dict[_Group, list[str]] = {group: [] for group in _GROUPS}
    for name in row:
        group = next((g for g in _GROUPS if re.fullmatch(g.pattern, name)), None)
        if group is not None:
            found[group].append(name)
    return found


def _goes_with(name: str, row: Mapping[str, Any]) -> bool:
    """Whether a column is the spread of another: an ending, or ``_err_`` before the unit."""
    inside = "_err_" in name and name.replace("_err_", "_") in row
    return inside or any(name.endswith(end) and name[: -len(end)] in row for end in _SPREADS)


def _piece(name: str, row: Mapping[str, Any], about: Mapping[str, str]) -> dict[str, str]:
    low, high = (cell_number(row.get(f"{name}{end}")) for end in ("_lo", "_hi"))
    stem, _, last = name.rpartition("_")
    names = (f"{name}_std", f"{name}_err", f"{stem}_err_{last}")
    errors = (cell_number(row.get(error)) for error in names)
    error = next((value for value in errors if math.isfinite(value)), math.nan)
    spread = ""
    if math.isfinite(low) and math.isfinite(high):
        spread = f"({number_words(low)} to {number_words(high)})"
    elif math.isfinite(error):
        spread = f"± {number_words(error, 2)}"
    return {
        "name": name,
        "value": _value(row[name]),
        "spread": spread,
        "unit": unit(name, about),
        "meaning": meaning(name, about),
    }


def _value(value: object) -> str:
    """Write a cell: numbers briefly, flags as yes and no, nothing as an en dash."""
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, float | np.floating):
        return number_words(float(value), 5)
    if isinstance(value, int | np.integer):
        return str(value).replace("-", "\N{MINUS SIGN}")
    missing = value is None or str(value) in ("", "<NA>", "nan")
    return "–" if missing else str(value)


def _flag(value: object) -> bool:
    return isinstance(value, bool | np.bool_) and bool(value)
