"""What the report shows, section by section, as plain values for the template.

Each function takes tables of the search and returns dicts and lists of text and
numbers that are ready to print. The template escapes all of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from archipelago.base.images import ImageSet
from archipelago.base.tables import cell_number
from archipelago.report.charts import Curve, Photometry, photometry_chart
from archipelago.report.evidence import evidence_groups, other_columns
from archipelago.report.figures import Figure
from archipelago.report.finding import finding_chart
from archipelago.report.stamps import colour_stamp, common_top, grey_stamp, rgb_bands
from archipelago.report.svg import MINUS, number_words

#: Classes in the order that they are listed in, with their names.
CLASS_NAMES = {
    "star": "star or brown dwarf",
    "galaxy": "galaxy",
    "quasar": "quasar",
    "lensed": "quasar + galaxy",
    "other": "none of these",
}
_TERMS = (
    ("base_term", "where the calibration starts"),
    ("sed_term", "photometry"),
    ("similarity_term", "similarity to known quasars"),
    ("island_term", "island"),
    ("image_term", "likeness to simulated quasars"),
    ("lens_term", "lens evidence of the images"),
)
#: Terms of lensed quasars against single ones, where the ranking has them.
_LENSED_TERMS = (
    ("lensed_base_term", "where the calibration starts"),
    ("lensed_sed_term", "photometry"),
    ("lensed_image_term", "likeness to simulated lensed quasars"),
    ("lensed_lens_term", "lens evidence of the images"),
)
#: Terms of which objects without images have none.
_IMAGE_TERMS = ("similarity_term", "island_term", "image_term", "lens_term",
    "lensed_image_term", "lensed_lens_term",
)  # fmt: skip
#: Shortest and longest bar of a term, in nats: beyond it a bar is full.
_TERM_FULL = 12.0

Models = Mapping[int, Mapping[str, np.ndarray]]
#: Per id and class wavelengths [um] and fluxes [uJy].
Spectra = Mapping[int, Mapping[str, Curve]]


def number(value: object, digits: int = 4) -> str:
    """Write a value of a table: an en dash where it is missing or no number."""
    return number_words(cell_number(value), digits)


def fixed(value: object, places: int) -> str:
    """Write a value with a fixed number of decimals; an en dash where it is missing."""
    value = cell_number(value)
    if not math.isfinite(value):
        return "–"
    text = f"{value:.{places}f}"
    return f"{MINUS}{text[1:]}" if text.startswith("-") else text


def chance(value: object) -> str:
    """Write a probability; near 0 and 1 the digits that count are kept."""
    p = cell_number(value)
    if not math.isfinite(p):
        return "–"
    if p <= 0 or p >= 1:
        return "0" if p <= 0 else "1"
    if p < 0.001:
        return "< 0.001"
    return "> 0.999" if p > 0.999 else f"{p:.3f}"


def signed(value: object, places: int = 1) -> str:
    """Write a value with its sign."""
    text = fixed(value, places)
    return text if text.startswith((MINUS, "–")) else f"+{text}"


def sexagesimal(ra_deg: float, dec_deg: float) -> tuple[str, str]:
    """Right ascension in hours and declination in degrees, ICRS, to 0.01 s and 0.1 arcsec."""
    if not (math.isfinite(ra_deg) and math.isfinite(dec_deg)):
        return "–", "–"
    # Rounded as whole units first, so that 59.999 s carries over.
    hundredths = round(ra_deg % 360 / 15 * 360_000) % (24 * 360_000)
    tenths = round(abs(dec_deg) * 36_000)
    sign = MINUS if dec_deg < 0 else "+"
    ra = (
        f"{hundredths // 360_000:02d}:{hundredths // 6000 % 60:02d}:{hundredths % 6000 / 100:05.2f}"
    )
    return ra, f"{sign}{tenths // 36_000:02d}:{tenths // 600 % 60:02d}:{tenths % 600 / 10:04.1f}"


def short_name(ra_deg: float, dec_deg: float) -> str:
    """Name after the position, truncated as the IAU asks, such as J0109-5424."""
    if not (math.isfinite(ra_deg) and math.isfinite(dec_deg)):
        return "no position"
    minutes = int(ra_deg % 360 / 15 * 60 + 1e-9)
    arcmin = int(abs(dec_deg) * 60 + 1e-9)
    sign = MINUS if dec_deg < 0 else "+"
    return f"J{minutes // 60:02d}{minutes % 60:02d}{sign}{arcmin // 60:02d}{arcmin % 60:02d}"


def links(ra_deg: float, dec_deg: float) -> list[tuple[str, str]]:
    """Names and addresses of public services at a position; built from numbers alone."""
    if not (math.isfinite(ra_deg) and math.isfinite(dec_deg)):
        return []
    ra, dec = f"{ra_deg:.6f}", f"{dec_deg:.6f}"
    place = f"{ra}%20{'' if dec_deg < 0 else '%2B'}{dec}"
    return [
        (
            "Legacy Surveys",
            f"https://www.legacysurvey.org/viewer?ra={ra}&dec={dec}"
            f"&layer=ls-dr10&zoom=16&mark={ra},{dec}",
        ),
        ("Aladin Lite", f"https://aladin.cds.unistra.fr/AladinLite/?target={place}&fov=0.02"),
        (
            "SIMBAD",
            f"https://simbad.cds.unistra.fr/simbad/sim-coo?Coord={place}"
            "&CooFrame=ICRS&Radius=5&Radius.unit=arcsec",
        ),
        ("VizieR", f"https://vizier.cds.unistra.fr/viz-bin/VizieR?-c={place}&-c.rs=3"),
    ]


def shortlist(candidates: pd.DataFrame, n: int) -> pd.DataFrame:
    """Return the first ``n`` unknown candidates and the known quasars that rank among them.

    With more than ``n`` known quasars among them, the last of these are left out.
    """
    ordered = candidates.sort_values("rank", ignore_index=True)
    known = ordered["is_known"].to_numpy(dtype=bool)
    unknown_before = np.cumsum(~known)
    wanted = np.where(known, (unknown_before < n) & (np.cumsum(known) <= n), unknown_before <= n)
    return ordered[wanted].reset_index(drop=True)


def cut_flow(cutflow: pd.DataFrame) -> list[dict[str, Any]]:
    """Steps of the search with numbers, and lengths of bars in percent of the first step."""
    if not len(cutflow):
        return []
    whole = max(int(cutflow["rows_in"].max()), 1)
    first = cutflow.iloc[0]
    steps = [
        {
            "stage": "",
            "cut": "at the start",
            "left": f"{int(first['rows_in']):,}",
            "lost": "",
            "share": "",
            "bar": 100.0 * int(first["rows_in"]) / whole,
            "gone": 0.0,
        }
    ]
    for row in cutflow.to_dict("records"):
        rows_in, rows_out = int(row["rows_in"]), int(row["rows_out"])
        steps.append(
            {
                "stage": row["stage"],
                "cut": row["cut"],
                "left": f"{rows_out:,}",
                "lost": f"{MINUS}{rows_in - rows_out:,}" if rows_in > rows_out else "0",
                "share": f"{100 * rows_out / rows_in:.1f} %" if rows_in else "–",
                "bar": 100.0 * rows_out / whole,
                "gone": 100.0 * max(rows_in - rows_out, 0) / whole,
            }
        )
    return steps


def losses_by_reason(losses: pd.DataFrame) -> list[dict[str, Any]]:
    """Lost objects counted by stage and reason, in the order of the stages, most first."""
    if not len(losses):
        return []
    text = losses.assign(stage=losses["stage"].astype("str"), reason=losses["reason"].astype("str"))
    stages = {stage: k for k, stage in enumerate(text["stage"].drop_duplicates())}
    counts = text.groupby(["stage", "reason"], sort=False).agg(
        n=("id", "size"), example=("id", "min"), detail=("detail", "first")
    )
    rows = counts.reset_index()
    rows["place"] = rows["stage"].map(stages)
    rows = rows.sort_values(["place", "n", "reason"], ascending=[True, False, True])
    top = int(rows["n"].max())
    return [
        {
            "stage": r["stage"],
            "reason": r["reason"],
            "n": f"{r['n']:,}",
            "count": int(r["n"]),
            "bar": 100.0 * r["n"] / top,
            "example": r["example"],
            "detail": r["detail"],
        }
        for r in rows.to_dict("records")
    ]


def tiles(catalogue: pd.DataFrame) -> list[tuple[str, str]]:
    """Objects of the catalogue per tile."""
    if "tile" not in catalogue.columns:
        return []
    counts = catalogue["tile"].astype("str").value_counts().sort_index()
    return [(str(name), f"{n:,}") for name, n in counts.items()]


def island_rows(
    enrichment: pd.DataFrame | None,
    candidates: pd.DataFrame,
    colours: int,
    stability: pd.DataFrame | None = None,
) -> list[dict[str, Any]]:
    """Islands with their members, known quasars, p-values and stability, likeliest first."""
    if enrichment is None or not len(enrichment):
        return []
    stable = {} if stability is None else stability.set_index("island").to_dict("index")
    rows = []
    for r in enrichment.to_dict("records"):
        island = int(r["island"])
        members = candidates[candidates["island"] == island]
        best = members["rank_unknown"].dropna()
        chances = sum(
            (
                members[name].to_numpy(dtype=float)
                for name in ("p_quasar", "p_lensed")
                if name in members.columns
            ),
            np.zeros(len(members)),
        )
        corrected = cell_number(r.get("p_value_corrected"))
        rows.append(
            {
                "island": "none" if island < 0 else str(island),
                "colour": "sea" if island < 0 else f"i{island % colours}",
                "n": f"{int(r['n']):,}",
                "n_known": number(r.get("n_known")),
                "expected": fixed(r.get("expected"), 2),
                "p_value": number(r.get("p_value"), 3),
                "p_value_corrected": number(corrected, 3),
                "significant": corrected < 0.01,
                "likely": f"{int((chances > 0.5).sum()):,}" if len(members) else "–",
                "best": f"{int(best.min()):,}" if len(best) else "–",
                "order": corrected if math.isfinite(corrected) else 2.0,
                "mean_z": fixed(r.get("mean_z"), 2),
                "share": _range(r.get("known_share_lo"), r.get("known_share_hi"), 2),
                "stability": fixed(stable.get(island, {}).get("mean_stability"), 2),
                "seeds": _percent(stable.get(island, {}).get("share_of_seeds")),
                "sizes": _range(
                    stable.get(island, {}).get("n_min"), stable.get(island, {}).get("n_max"), 0
                ),
            }
        )
    return sorted(rows, key=lambda row: (row["island"] == "none", row["order"]))


def retrieval_rows(retrieval: pd.DataFrame | None) -> dict[str, Any] | None:
    """Known quasars with their ranks by images and by photometry, best first; None without any."""
    if retrieval is None or not len(retrieval):
        return None
    rows = [
        {
            "name": _text(r.get("known_name")) or _text(r.get("id")),
            "redshift": fixed(r.get("known_redshift"), 2),
            "images": fixed(r.get("rank_images"), 0),
            "spread": _range(r.get("rank_images_lo"), r.get("rank_images_hi"), 0),
            "photometry": fixed(r.get("rank_photometry"), 0),
            "island": island_words(r.get("island")),
            "stability": fixed(r.get("island_stability"), 2),
            "ahead": cell_number(r.get("rank_images")) < cell_number(r.get("rank_photometry")),
        }
        for r in retrieval.to_dict("records")
    ]
    return {
        "rows": rows,
        "n_objects": f"{int(cell_number(retrieval['n_objects'].iloc[0], 0)):,}",
        "n_seeds": int(cell_number(retrieval["n_seeds"].iloc[0], 0)),
        "median_images": fixed(retrieval["rank_images"].astype(float).median(), 0),
        "median_photometry": fixed(retrieval["rank_photometry"].astype(float).median(), 0),
    }


def agreement_words(agreement: pd.DataFrame | None) -> str:
    """Mean adjusted Rand index of the pairs of seeds, with its range; empty for one seed."""
    if agreement is None or not len(agreement):
        return ""
    values = agreement["adjusted_rand"].astype(float)
    pairs = "1 pair" if len(values) == 1 else f"{len(values)} pairs"
    return f"{fixed(values.mean(), 2)} ({_range(values.min(), values.max(), 2)}, {pairs} of seeds)"


def recall_rows(recall: pd.DataFrame | None) -> dict[str, Any] | None:
    """Recall against the truth, as rows per group and columns per number of candidates."""
    if recall is None or not len(recall):
        return None
    names = {
        "ordinary": "unknown ordinary quasars",
        "lensed": "unknown lensed quasars",
        "blend": "unknown quasars blended with a galaxy",
        "known": "known quasars",
    }
    tops = sorted(int(top) for top in recall["top"].unique())
    lists = []
    for kind, title in (
        ("unknown", "Known quasars skipped"),
        ("all", "Whole list, known quasars included"),
    ):
        rows = []
        part = recall[recall["list"] == kind]
        for group, lines in part.groupby("group", sort=False):
            found = lines.set_index("top")
            n_catalogue, n_sky = (
                int(cell_number(lines.iloc[0][c])) for c in ("n_catalogue", "n_sky")
            )
            rows.append(
                {
                    "group": names.get(str(group), str(group)),
                    "cells": [
                        {
                            "n": int(cell_number(found.loc[top, "n_found"])),
                            "percent": 100.0 * cell_number(found.loc[top, "recall_catalogue"]),
                        }
                        for top in tops
                    ],
                    "n_catalogue": n_catalogue,
                    "n_sky": n_sky,
                    "mean_rank": number(lines.iloc[0]["mean_rank"], 3),
                    "lost": _text(lines.iloc[0]["lost"]),
                }
            )
        if rows:
            lists.append({"title": title, "rows": rows})
    return {"tops": tops, "lists": lists}


def cards(
    shown: pd.DataFrame,
    images: ImageSet | None,
    bands: Mapping[str, float],
    models: Models,
    posteriors: pd.DataFrame | None,
    figures: Mapping[int, Figure],
    *,
    spectra: Spectra | None = None,
    passbands: Mapping[str, Curve] | None = None,
    about: Mapping[str, str] | None = None,
    oriented: bool = True,
) -> list[dict[str, Any]]:
    """Everything on the cards of the candidates in ``shown``, in their order.

    ``bands`` gives each band's wavelength [um], ``models`` per id and class the
    best-model fluxes [uJy], in the order of the bands, ``spectra`` those that have one,
    ``passbands`` each band's curve (wavelength [um], transmission with its peak 1), ``about``
    what the columns of the table mean; ``oriented``: north is up in the images.
    """
    place = {} if images is None else {int(i): k for k, i in enumerate(images.ids)}
    result = []
    for row in shown.to_dict("records"):
        values = {str(key): value for key, value in row.items()}
        index = place.get(int(values["id"]))
        result.append(
            card(
                values,
                images,
                index,
                bands,
                models,
                posteriors,
                figures,
                spectra=spectra,
                passbands=passbands,
                about=about,
                oriented=oriented,
            )
        )
    return result


def card(
    row: Mapping[str, Any],
    images: ImageSet | None,
    index: int | None,
    bands: Mapping[str, float],
    models: Models,
    posteriors: pd.DataFrame | None,
    figures: Mapping[int, Figure],
    *,
    spectra: Spectra | None = None,
    passbands: Mapping[str, Curve] | None = None,
    about: Mapping[str, str] | None = None,
    oriented: bool = True,
) -> dict[str, Any]:
    """Everything on the card of one candidate; ``index`` is its place in ``images``.

    The other arguments are those of `cards`.
    """
    ra_deg, dec_deg = cell_number(row["ra_deg"]), cell_number(row["dec_deg"])
    ra, dec = sexagesimal(ra_deg, dec_deg)
    fluxes = models.get(int(row["id"]), {})
    return {
        "id": int(row["id"]),
        "rank": int(row["rank"]),
        "name": short_name(ra_deg, dec_deg),
        "ra": ra,
        "dec": dec,
        "ra_deg": fixed(ra_deg, 6),
        "dec_deg": fixed(dec_deg, 6),
        "links": links(ra_deg, dec_deg),
        "is_known": bool(row["is_known"]),
        "known_name": _text(row.get("known_name")),
        "known_redshift": fixed(row.get("known_redshift"), 2),
        "lensed": _is_lensed(row),
        "tile": _text(row.get("tile")),
        "reason": _text(row.get("reason")),
        "score": fixed(row.get("score"), 1),
        "redshift": _redshift(row),
        "term_lists": _term_lists(row),
        "chances": _chances(row),
        "combined": _chances(row, "combined_p_"),
        "stamps": _stamps(images, index),
        "white_sigma": "" if index is None else _white(images, index),
        "rgb": _rgb(images, index),
        "rgb_bands": "" if images is None else " ".join(rgb_bands(images.bands)),
        "finding": _finding(images, index, oriented=oriented),
        "chart": photometry_chart(
            _photometry(
                row, bands, fluxes, (spectra or {}).get(int(row["id"]), {}), passbands or {}
            )
        ),
        "drawn": [(name, CLASS_NAMES.get(name, name)) for name in fluxes],
        "has_spectra": bool((spectra or {}).get(int(row["id"]))),
        "has_passbands": bool(passbands),
        "photometry": photometry_rows(row, bands),
        "fits": _fits(row),
        "evidence": _evidence(row, bands),
        "groups": evidence_groups(row, about),
        "posteriors": posterior_rows(posteriors, int(row["id"])),
        "figure": figures.get(int(row["id"])),
    }


def table_rows(
    shown: pd.DataFrame, images: ImageSet | None, carded: Iterable[int]
) -> list[dict[str, Any]]:
    """Rows of the sortable list: texts to read and numbers to sort by."""
    place = {} if images is None else {int(i): k for k, i in enumerate(images.ids)}
    with_card = set(carded)
    rows = []
    for raw in shown.to_dict("records"):
        row = {str(key): value for key, value in raw.items()}
        ra_deg, dec_deg = cell_number(row["ra_deg"]), cell_number(row["dec_deg"])
        ra, dec = sexagesimal(ra_deg, dec_deg)
        index = place.get(int(row["id"]))
        rows.append(
            {
                "id": int(row["id"]),
                "rank": int(row["rank"]),
                "has_card": row["id"] in with_card,
                "rgb": _rgb(images, index),
                "name": short_name(ra_deg, dec_deg),
                "ra": ra,
                "dec": dec,
                "is_known": bool(row["is_known"]),
                "known_name": _text(row.get("known_name")),
                "cells": [
                    _cell(ra_deg, ra),
                    _cell(dec_deg, dec),
                    _number_cell(_magnitude(row, "z"), 2),
                    _number_cell(_magnitude(row, "J"), 2),
                    _number_cell(row.get("z_quasar"), 2),
                    _cell(row.get("p_quasar"), chance(row.get("p_quasar"))),
                    _cell(row.get("p_lensed"), chance(row.get("p_lensed"))),
                    _cell(row.get("sed_term"), signed(row.get("sed_term"))),
                    _cell(row.get("learning_term"), signed(row.get("learning_term"), 2)),
                    _island_cell(row),
                    _number_cell(row.get("score"), 1),
                ],
            }
        )
    return rows


def photometry_rows(row: Mapping[str, Any], bands: Mapping[str, float]) -> list[dict[str, Any]]:
    """One line per band: flux, magnitude, significance."""
    lines = []
    for band in bands:  # in order
        flux, error = (cell_number(row.get(f"flux_{part}ujy_{band}")) for part in ("", "err_"))
        detected = _flag(row.get(f"detected_{band}"))
        lines.append(
            {
                "band": band,
                "wavelength": fixed(bands[band], 2),
                "flux": number(flux),
                "error": number(error, 3),
                "mag": fixed(_magnitude(row, band), 2),
                "mag_error": fixed(row.get(f"mag_err_{band}"), 2) if detected else "–",
                "significance": fixed(flux / error, 1) if error > 0 else "–",
                "detected": detected,
            }
        )
    return lines


def posterior_rows(posteriors: pd.DataFrame | None, object_id: int) -> list[dict[str, Any]]:
    """Evidence and parameters of each class of one object; empty if it was not sampled."""
    if posteriors is None or not len(posteriors):
        return []
    mine = posteriors[posteriors["id"] == object_id]
    best = mine["ln_evidence"].max() if len(mine) else math.nan
    rows = []
    for r in mine.sort_values("ln_evidence", ascending=False).to_dict("records"):
        parameters = []
        for key in map(str, r):
            name = key.removeprefix("median_")
            middle = cell_number(r[key])
            if key.startswith("median_") and math.isfinite(middle):
                low, high = (cell_number(r.get(f"{end}_{name}")) for end in ("lo", "hi"))
                parameters.append(
                    {
                        "name": name.replace("_", " "),
                        "value": number(middle),
                        "up": number(high - middle, 2),
                        "down": number(middle - low, 2),
                    }
                )
        rows.append(
            {
                "class": _text(r.get("class")),
                "label": CLASS_NAMES.get(_text(r.get("class")), _text(r.get("class"))),
                "ln_evidence": fixed(r["ln_evidence"], 1),
                "error": fixed(r.get("ln_evidence_err"), 1),
                "difference": fixed(cell_number(r["ln_evidence"]) - cell_number(best), 1),
                "parameters": parameters,
            }
        )
    return rows


def _range(low: object, high: object, places: int) -> str:
    """Two values with a dash between them; one dash where either is missing."""
    if not math.isfinite(cell_number(low) + cell_number(high)):
        return "–"
    return f"{fixed(low, places)}–{fixed(high, places)}"


def _percent(share: object) -> str:
    value = cell_number(share)
    return f"{100 * value:.0f} %" if math.isfinite(value) else "–"


def island_words(island: object) -> str:
    """Name of an island."""
    value = cell_number(island)
    return "–" if not math.isfinite(value) or value < 0 else f"{value:.0f}"


def _flag(value: object) -> bool:
    return isinstance(value, bool | np.bool_) and bool(value)


def _text(value: object) -> str:
    missing = value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value))
    return "" if missing else str(value)


def _magnitude(row: Mapping[str, Any], band: str) -> float:
    """AB magnitude; NaN where it is missing, which tables write as 99."""
    value = cell_number(row.get(f"mag_ab_{band}"))
    return value if value < 90 else math.nan


def _cell(value: object, text: str) -> dict[str, str]:
    key = cell_number(value)
    return {"sort": repr(key) if math.isfinite(key) else "", "text": text}


def _number_cell(value: object, places: int) -> dict[str, str]:
    return _cell(value, fixed(value, places))


def _island_cell(row: Mapping[str, Any]) -> dict[str, str]:
    if not _flag(row.get("has_images")):
        return _cell(math.nan, "no image")
    return _cell(row.get("island"), island_words(row.get("island")))


def _redshift(row: Mapping[str, Any]) -> str:
    middle, low, high = (cell_number(row.get(f"z_quasar{end}")) for end in ("", "_lo", "_hi"))
    if not math.isfinite(middle):
        return ""
    text = f"{middle:.2f}"
    return f"{text} ({low:.2f}–{high:.2f})" if math.isfinite(low + high) else text


def _is_lensed(row: Mapping[str, Any]) -> bool:
    """Whether a lensed quasar is more probable than all else, by all evidence or else the SED."""
    combined = cell_number(row.get("combined_p_lensed"))
    return (combined if math.isfinite(combined) else cell_number(row.get("p_lensed"))) > 0.5


def _term_lists(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Terms that add up to the score; and, where there are any, to lensed against single."""
    lists = [
        {
            "title": "Terms of the score",
            "total": fixed(row.get("score"), 1),
            "terms": _terms(row, _TERMS, ""),
        }
    ]
    lensed = _terms(row, _LENSED_TERMS, "lensed_")
    if lensed:
        lists.append(
            {
                "title": "Lensed against single quasar",
                "total": fixed(row.get("lensed_score"), 1),
                "terms": lensed,
            }
        )
    return lists


def _terms(
    row: Mapping[str, Any], named: Iterable[tuple[str, str]], prefix: str
) -> list[dict[str, Any]]:
    """Terms of a sum: those with a name first, then other ``<prefix>*_term``.

    ``learning_term`` is a sum of terms and no term.
    """
    names = {name: label for name, label in named if name in row or name == "sed_term"}
    for name in map(str, row):
        lensed = name.startswith("lensed_")
        if name.endswith("_term") and lensed == bool(prefix) and name != "learning_term":
            words = name.removeprefix(prefix).removesuffix("_term").replace("_", " ")
            names.setdefault(name, words)
    terms = []
    for name, label in names.items():
        if name == "image_term" and row.get("image_log_odds_quasar") is None:
            continue  # none were simulated
        value = cell_number(row.get(name))
        length = 50.0 * min(abs(value), _TERM_FULL) / _TERM_FULL if math.isfinite(value) else 0.0
        missing = name in _IMAGE_TERMS and not _flag(row.get("has_images"))
        terms.append(
            {
                "label": label,
                "text": "no image" if missing else signed(value, 1),
                "length": 0.0 if missing else length,
                "for": value > 0,
                "full": abs(value) > _TERM_FULL,
            }
        )
    return terms


def _chances(row: Mapping[str, Any], prefix: str = "p_") -> list[dict[str, Any]]:
    """Probability of each class; empty where there is none at all."""
    values = {name: cell_number(row.get(f"{prefix}{name}")) for name in CLASS_NAMES}
    if prefix != "p_" and not any(math.isfinite(value) for value in values.values()):
        return []
    return [
        {
            "class": name,
            "label": CLASS_NAMES[name],
            "text": chance(value),
            "width": 100.0 * min(max(value, 0.0), 1.0) if math.isfinite(value) else 0.0,
        }
        for name, value in values.items()
    ]


def _stamps(images: ImageSet | None, index: int | None) -> list[dict[str, Any]]:
    """Each band's picture, all of them on one stretch in units of the band's own noise."""
    if images is None or index is None:
        return []
    planes = images.images[index]
    top = common_top(planes)
    return [
        {"band": band, "uri": grey_stamp(planes[k], top)} for k, band in enumerate(images.bands)
    ]


def _white(images: ImageSet | None, index: int) -> str:
    return "" if images is None else number(common_top(images.images[index]), 2)


def _rgb(images: ImageSet | None, index: int | None) -> str | None:
    if images is None or index is None:
        return None
    return colour_stamp(images.images[index], images.bands)


def _finding(images: ImageSet | None, index: int | None, *, oriented: bool) -> Markup | None:
    if images is None or index is None:
        return None
    return finding_chart(images.images[index], images.pixel_scale_arcsec, oriented=oriented)


def _photometry(
    row: Mapping[str, Any],
    bands: Mapping[str, float],
    models: Mapping[str, np.ndarray],
    spectra: Mapping[str, Curve],
    passbands: Mapping[str, Curve],
) -> Photometry:
    def column(prefix: str) -> np.ndarray:
        return np.array([cell_number(row.get(f"{prefix}_{band}")) for band in bands])

    detected = np.array([_flag(row.get(f"detected_{band}")) for band in bands], dtype=bool)
    return Photometry(
        list(bands),
        np.array(list(bands.values()), dtype=float),
        column("flux_ujy"),
        column("flux_err_ujy"),
        detected,
        models,
        spectra,
        passbands,
    )


def _fits(row: Mapping[str, Any]) -> list[dict[str, str]]:
    """Goodness of the best model of each class."""
    lines = []
    for name, label in CLASS_NAMES.items():
        columns = (f"chi2_{name}", f"bic_{name}", f"p_{name}")
        if any(math.isfinite(cell_number(row.get(column))) for column in columns):
            chi2, bic, p = (row.get(column) for column in columns)
            lines.append(
                {
                    "class": name,
                    "label": label,
                    "chi2": fixed(chi2, 1),
                    "bic": fixed(bic, 1),
                    "p": chance(p),
                    "combined": chance(row.get(f"combined_p_{name}")),
                }
            )
    return lines


def _evidence(row: Mapping[str, Any], bands: Iterable[str]) -> list[dict[str, str]]:
    """All other columns of the candidate, with their units."""
    shown = {
        f"{part}_{band}"
        for band in bands
        for part in ("flux_ujy", "flux_err_ujy", "mag_ab", "mag_err", "detected")
    }
    shown |= {f"{part}_{name}" for name in CLASS_NAMES for part in ("chi2", "bic")}
    return other_columns(row, shown | {"reason", "id"})
