"""The report: one HTML file that opens offline.

Its map, list and search run on the objects inside the page (`archipelago.report.objects`);
its scripts are those that its content security policy names by their hashes
(`archipelago.report.scripts`).
"""

from __future__ import annotations

import importlib.metadata
import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from archipelago.base.images import ImageSet
from archipelago.report import charts, content
from archipelago.report.costs import cost_rows
from archipelago.report.evidence import glossary
from archipelago.report.figures import Figure
from archipelago.report.flow import flow_chart
from archipelago.report.objects import embed, to_json
from archipelago.report.scripts import bokeh_scripts, own_script, script_policy
from archipelago.report.selection import selection_panels
from archipelago.report.stability import stability_panel

_TEMPLATES = Path(__file__).with_name("templates")
#: Rows of the list that stand in the page as text.
_ROWS_WITHOUT_SCRIPT = 50
#: Packages whose versions the report states, where they are installed.
PACKAGES = (
    "archipelago-survey",
    "snakemake",
    "numpy",
    "pandas",
    "astropy",
    "bokeh",
    "pyvo",
    "scipy",
    "torch",
    "lightly",
    "umap-learn",
    "scikit-learn",
    "bagpipes",
    "nautilus-sampler",
    "lephare",
    "astro-sedpy",
)


@dataclass(frozen=True)
class ReportData:
    """Everything that the report shows; what is None or empty is said to be missing.

    Attributes
    ----------
    run : name of the search.
    candidates : the ranked table.
    catalogue : objects that reached the ranking.
    cutflow : stage, cut, rows_in, rows_out, summed over tiles.
    losses : objects that dropped out.
    known : known quasars of the sky searched.
    bands : bands of the photometry, in order.
    config : resolved configuration, without services.
    left_out : stage to the reason why it did not run.
    images : cutouts.
    models : id to class to (n_band,) best-model fluxes [uJy].
    wavelength_um : band to the wavelength where it is drawn [um]; by default `charts.BAND_UM`.
    enrichment : one row per island.
    retrieval : one row per known quasar with an image: how well it is found again.
    stability : one row per island: how far it is the same from seed to seed.
    agreement : one row per pair of seeds.
    maps : label (a seed) to id, x, y.
    histories : label to training history: epoch, loss and label-free measures.
    posteriors : one row per object and class.
    figures : id to the figures of its posteriors.
    recall : measured against a truth.
    n_cards : unknown candidates with a card.
    n_listed : first objects of the ranking that the list holds.
    about : column of ``candidates`` to a sentence on it.
    spectra : id to class to wavelengths [um] and fluxes [uJy] of the best models that have some.
    passbands : band to wavelengths [um] and transmission, its peak 1.
    benchmarks : of `archipelago.report.costs.read_benchmarks`; None: not known.
    completeness, lensed_fraction : results of the injections; None: nothing was injected.
    """

    run: str
    candidates: pd.DataFrame
    catalogue: pd.DataFrame
    cutflow: pd.DataFrame
    losses: pd.DataFrame
    known: pd.DataFrame
    bands: Sequence[str]
    config: Mapping[str, Any] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    images: ImageSet | None = None
    models: content.Models = field(default_factory=dict)
    wavelength_um: Mapping[str, float] = field(default_factory=dict)
    enrichment: pd.DataFrame | None = None
    maps: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    histories: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    posteriors: pd.DataFrame | None = None
    figures: Mapping[int, Figure] = field(default_factory=dict)
    recall: pd.DataFrame | None = None
    retrieval: pd.DataFrame | None = None
    stability: pd.DataFrame | None = None
    agreement: pd.DataFrame | None = None
    n_cards: int = 50
    n_listed: int = 5000
    about: Mapping[str, str] = field(default_factory=dict)
    spectra: content.Spectra = field(default_factory=dict)
    passbands: Mapping[str, charts.Curve] = field(default_factory=dict)
    benchmarks: pd.DataFrame | None = None
    completeness: pd.DataFrame | None = None
    lensed_fraction: pd.DataFrame | None = None


def render_report(data: ReportData) -> str:
    """Return the page. The same data give the same bytes.

    Text from data is escaped; scripts other than the page's own are refused by
    its content security policy, and nothing is loaded from elsewhere.
    """
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = "\n".join(
        (_TEMPLATES / name).read_text(encoding="utf-8") for name in ("style.css", "cards.css")
    )
    values = context(data)
    # BokehJS is left out where there is nothing to draw.
    scripts = [*(bokeh_scripts() if values["has_plot"] else ()), own_script()]
    return environment.get_template("report.html.j2").render(
        # Ours, or made safe for where they stand: the template must not escape them.
        scripts=[Markup(script) for script in scripts],
        script_policy=Markup(script_policy(scripts)),
        style=Markup(style),
        **values,
    )


def context(data: ReportData) -> dict[str, Any]:
    """Return what the template needs, section by section."""
    carded = content.shortlist(data.candidates, data.n_cards)
    places = charts.BAND_UM | dict(data.wavelength_um)
    bands = {band: places.get(band, math.nan) for band in data.bands}
    cards = content.cards(
        carded,
        data.images,
        bands,
        data.models,
        data.posteriors,
        data.figures,
        spectra=data.spectra,
        passbands=data.passbands,
        about=data.about,
        oriented=_oriented(data.config),
    )
    gpus = _get(data.config, "learning", "devices_per_seed")
    costs = cost_rows(data.benchmarks, {"train": int(gpus)} if gpus else None)
    summary = _summary(data, cards)
    ids = {int(i) for i in carded["id"]}
    points = _points(data.candidates, ids)
    objects, sprite = embed(
        data.candidates,
        data.bands,
        run=data.run,
        carded=sorted(ids),
        n_listed=data.n_listed,
        maps=data.maps,
        images=data.images,
        about=data.about,
    )
    losses = content.losses_by_reason(data.losses)
    return {
        "run": data.run,
        "summary": summary,
        "searched": _searched(data),
        "left_out": list(data.left_out.items()),
        "steps": content.cut_flow(data.cutflow),
        "stream": flow_chart(
            data.cutflow,
            data.losses,
            [("more probably a quasar, not known before", summary["n_likely"])],
        ),
        "losses": losses,
        "most_lost": sorted(losses, key=lambda loss: -loss["count"])[:4],
        "n_losses": f"{len(data.losses):,}",
        "tiles": content.tiles(data.catalogue),
        "sky": charts.sky_chart(points),
        "maps": bool(data.maps),
        "no_map": _why_no_map(data),
        "has_plot": bool(objects["views"]),
        # JSON without a character that could be markup.
        "data": Markup(to_json(objects)),
        "sprite": sprite,
        "islands": content.island_rows(
            data.enrichment, data.candidates, charts.N_ISLAND_COLOURS, data.stability
        ),
        "agreement": content.agreement_words(data.agreement),
        "retrieval": content.retrieval_rows(data.retrieval),
        # Readable without a script; with one, the list takes their place.
        "rows": content.table_rows(
            data.candidates.nsmallest(_ROWS_WITHOUT_SCRIPT, "rank"), None, ids
        ),
        "ranked_by": _ranked_by(data.candidates),
        "cards": cards,
        "top": [card for card in cards if not card["is_known"]][:4],
        "recall": content.recall_rows(data.recall),
        "training": _training(data.histories),
        "n_sampled": 0 if data.posteriors is None else int(data.posteriors["id"].nunique()),
        "versions": versions(),
        "config": yaml.safe_dump(
            _plain(data.config), sort_keys=False, allow_unicode=True, width=100
        )
        if data.config
        else "",
        "image_note": _image_note(data.images, _oriented(data.config)),
        "spent": costs["spent"] if costs else [],
        "costs": costs,
        "selection": selection_panels(data.completeness, data.lensed_fraction),
        "stability": stability_panel(carded),
        "glossary": glossary(map(str, data.candidates.columns), data.about),
    }


def versions() -> list[tuple[str, str]]:
    """Name and version of Python and of each of `PACKAGES` that is installed."""
    found = [("Python", platform.python_version())]
    for name in PACKAGES:
        try:
            found.append((name, importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _summary(data: ReportData, cards: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    table = data.candidates
    wanted = chance_wanted(table).fillna(0.0)
    unknown = ~table["is_known"].astype(bool)
    likely = int((unknown & (wanted > 0.5)).sum())
    start = int(data.cutflow["rows_in"].iloc[0]) if len(data.cutflow) else len(table)
    return {
        "start": f"{start:,}",
        "ranked": f"{len(table):,}",
        "with_images": f"{int(table['has_images'].sum()):,}",
        "has_images": data.images is not None,
        "on_islands": f"{int((table['island'] >= 0).sum()):,}",
        "known": f"{int((~unknown).sum()):,}",
        "known_sky": f"{len(data.known):,}",
        "likely": f"{likely:,}",
        "n_likely": likely,
        "cards": len(cards),
        "unknown_cards": sum(not card["is_known"] for card in cards),
        "tiles": table["tile"].nunique() if "tile" in table.columns else 0,
    }


def _searched(data: ReportData) -> list[tuple[str, str]]:
    """What was searched, in words, from the configuration; parts that it lacks are left out."""
    config = data.config
    own = _get(config, "catalogue", "file")
    lines = [("Bands", " ".join(data.bands))]
    if own:
        lines.append(("Catalogue", str(own)))
    elif _get(config, "images", "source") != "fields" and "survey" in config:
        name = _get(config, "survey", "name")
        query = _get(config, "survey", "query")
        lines.append(("Survey", f"{name}, {query}" if name else str(query)))
        lines.append(("Footprint", str(_get(config, "survey", "footprint") or "–")))
        partners = config.get("match") or []
        words = [f"{m.get('name')} ({m.get('radius_arcsec')}″)" for m in partners]
        lines.append(("Matched with", ", ".join(words) or "nothing"))
    source = {
        "service": "cutouts from the survey's image service",
        "fields": "images of one's own",
        "none": "none",
    }.get(str(_get(config, "images", "source")))
    if source:
        lines.append(("Images", source))
    redshift = _get(config, "known_quasars", "min_redshift")
    text = f"{len(data.known):,} in the reference list"
    lines.append(("Known quasars", text + (f", z > {redshift}" if redshift is not None else "")))
    return lines


def _get(config: Mapping[str, Any], section: str, name: str) -> Any:
    part = config.get(section)
    return part.get(name) if isinstance(part, Mapping) else None


def _points(candidates: pd.DataFrame, carded: set[int]) -> pd.DataFrame:
    columns = ["id", "ra_deg", "dec_deg", "rank", "island", "is_known"]
    points = candidates[columns].copy()
    points["is_known"] = points["is_known"].astype(bool)
    points["is_card"] = points["id"].isin(carded)
    points["p"] = chance_wanted(candidates)
    return points


def chance_wanted(table: pd.DataFrame) -> pd.Series:
    """Probability of a quasar, lensed or not: by all evidence, else by photometry; else NaN."""
    for start in ("combined_p_", "p_"):
        names = [f"{start}quasar", f"{start}lensed"]
        if set(names) <= set(table.columns):
            return table[names[0]].astype(float) + table[names[1]].astype(float)
    return pd.Series(math.nan, index=table.index)


def _why_no_map(data: ReportData) -> str:
    reasons = [why for stage, why in data.left_out.items() if stage.startswith("images")]
    if reasons:
        return f"the search went without images ({reasons[0]})"
    return "the search went without images" if data.images is None else "none was made"


def _ranked_by(candidates: pd.DataFrame) -> str:
    if "combined_p_quasar" in candidates.columns:
        return "Ranked by the log-odds that all evidence together gives to a quasar, lensed or not."
    return (
        "Ranked by the log-odds that the photometry gives to a quasar, lensed or not, plus a "
        "bounded term from the images."
    )


#: Columns of a training's history that are drawn, with what stands beside the axis and below.
_MEASURES = {
    "loss": ("loss", "What the training lowers; a value has no meaning of its own."),
    "alignment": (
        "alignment",
        "Mean squared distance of the two views of one image: near 0, they are alike.",
    ),
    "uniformity": (
        "uniformity",
        "How evenly images spread over the sphere: the lower, the more evenly.",
    ),
    "rank_me": (
        "effective rank",
        "Dimensions that the features fill (RankMe): a fall to 1 is a collapse.",
    ),
    "learning_rate": ("learning rate", "Size of a step."),
}


def _training(histories: Mapping[str, pd.DataFrame]) -> dict[str, Any] | None:
    """Curves over epochs of the loss and of each label-free measure, a line per seed."""
    panels = []
    for column, (label, note) in _MEASURES.items():
        curves = {
            name: (_epochs(history), history[column].to_numpy(dtype=float))
            for name, history in histories.items()
            if column in history.columns
        }
        chart = charts.curves_chart(curves, "epoch", label)
        if chart is not None:
            panels.append({"chart": chart, "note": note})
    if not panels:
        return None
    ends = [
        {
            "label": name,
            "epochs": f"{_epochs(history)[-1]:.0f}",
            "best": content.number(_lowest(history)),
            "last": [
                content.number(history[column].iloc[-1]) if column in history.columns else "–"
                for column in ("loss", "alignment", "uniformity", "rank_me")
            ],
        }
        for name, history in histories.items()
        if len(history)
    ]
    return {"panels": panels, "ends": ends}


def _epochs(history: pd.DataFrame) -> np.ndarray:
    if "epoch" in history.columns:
        return history["epoch"].to_numpy(dtype=float)
    return np.arange(1.0, len(history) + 1)


def _lowest(history: pd.DataFrame) -> float:
    losses = history["loss"].dropna() if "loss" in history.columns else pd.Series(dtype=float)
    return float(losses.min()) if len(losses) else math.nan


def _image_note(images: ImageSet | None, oriented: bool) -> str:
    if images is None or not images.images.size:
        return ""
    side = images.images.shape[-1]
    return (
        f"{side} × {side} px of {images.pixel_scale_arcsec:g}″, "
        f"{side * images.pixel_scale_arcsec:.1f}″ a side"
        + (", north up, east left" if oriented else ", orientation not known")
    )


def _oriented(config: Mapping[str, Any]) -> bool:
    """Say whether north is up: in cutouts from a service. Nobody says so of one's own images."""
    return _get(config, "images", "source") in (None, "service")


def _plain(value: Any) -> Any:
    """Turn mappings and sequences of any kind into what YAML can write."""
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(part) for part in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)
