"""Rules that tie sections of the configuration together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from archipelago.base.placeholders import (
    BOX_PLACEHOLDERS,
    INDEX_PLACEHOLDERS,
    query_text,
    wrong_placeholders,
)

#: A broken rule: path of the key, its value as text, what is allowed.
Broken = tuple[str, str | None, str]


def find_file(path: str, folder: Path) -> Path:
    """Return ``path`` if it is there from the working directory, else within ``folder``."""
    return Path(path) if Path(path).exists() else folder / path


def check_across(sections: Mapping[str, Any], folder: Path | None) -> list[Broken]:
    """Return every rule across sections that is broken.

    Parameters
    ----------
    sections : the sections that are right in themselves; a rule whose
        sections are not all there is skipped.
    folder : folder of relative file names; None: files are not looked for.
    """
    broken: list[Broken] = []
    for needs, rule in (
        (("survey", "match", "photometry", "catalogue", "images"), _bands_have_a_source),
        (("match",), _partners_differ),
        (("photometry",), _bands_of_photometry),
        (("photometry", "sed"), _bands_have_passbands),
        (("survey", "catalogue", "images"), _one_origin),
        (("images",), _fields_for_every_band),
        (("known_quasars", "catalogue"), _known_in_catalogue),
        (("survey", "photometry", "images"), _band_names),
        (("images", "sed", "recognise"), _images_have_passbands),
        (("posteriors",), _shards),
        (("injections", "photometry", "sed"), _injection_bands),
        (("exports", "photometry", "images"), _bands_of_exports),
        (("sed", "lephare"), _star_templates),
        (("learning",), _a_model_per_seed),
    ):
        if all(name in sections for name in needs):
            broken += rule(*(sections[name] for name in needs))
    if folder is not None:
        broken += _files(sections, folder)
    return broken


def _bands_have_a_source(
    survey: Any, match: Any, photometry: Any, catalogue: Any, images: Any
) -> Iterator[Broken]:
    if catalogue.file is not None:
        given, where = set(catalogue.bands), "catalogue.bands"
    elif images.source == "fields":
        given, where = set(images.bands), "images.bands"
    else:
        given = set(survey.bands).union(*(partner.bands for partner in match))
        where = "survey.bands or match"
    for band in photometry.bands:
        if band not in given:
            yield "photometry.bands", repr(band), f"no catalogue gives this band; add it to {where}"


def _star_templates(sed: Any, lephare: Any) -> Iterator[Broken]:
    if sed.models.star.lephare_list is not None and lephare.data is None:
        yield (
            "sed.models.star.lephare_list",
            repr(sed.models.star.lephare_list),
            "LePHARE's stars need lephare.data: its folder or archive",
        )


def _partners_differ(match: Any) -> Iterator[Broken]:
    names = [partner.name for partner in match]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield "match", repr(name), "two catalogues have this name; names must differ"
    seen: dict[str, str] = {}
    for partner in match:
        for band in partner.bands:
            if band in seen:
                yield (
                    f"match.{partner.name}.bands",
                    repr(band),
                    f"{seen[band]} gives this band too; a band has one source",
                )
            seen[band] = partner.name


def _bands_of_photometry(photometry: Any) -> Iterator[Broken]:
    bands = photometry.bands
    for band in sorted({band for band in bands if bands.count(band) > 1}):
        yield "photometry.bands", repr(band), "a band may be listed once"
    for band in bands:
        if band not in photometry.depths:
            yield f"photometry.depths.{band}", None, "is missing: every band needs its depth"
    for i, cut in enumerate(photometry.cuts):
        for band in getattr(cut, "bands", None) or [cut.band]:
            if band not in bands:
                yield (
                    f"photometry.cuts.{i}",
                    repr(band),
                    f"not in photometry.bands ({', '.join(bands)})",
                )


def _bands_have_passbands(photometry: Any, sed: Any) -> Iterator[Broken]:
    for band in photometry.bands:
        if band not in sed.passbands:
            yield f"sed.passbands.{band}", None, "is missing: every band needs its passband"


def _images_have_passbands(images: Any, sed: Any, recognise: Any) -> Iterator[Broken]:
    if images.source == "none" or not recognise.n_simulated:
        return
    for band in images.bands:
        if band not in sed.passbands:
            yield (
                f"sed.passbands.{band}",
                None,
                "is missing: quasars are simulated in every band of images.bands; add the "
                "passband, or set recognise.n_simulated to 0",
            )


def _one_origin(survey: Any, catalogue: Any, images: Any) -> Iterator[Broken]:
    if catalogue.file is not None and images.source == "fields":
        yield (
            "images.source",
            "'fields'",
            "objects come from catalogue.file or from images.fields, not from both",
        )


def _known_in_catalogue(known: Any, catalogue: Any) -> Iterator[Broken]:
    if known.source == "catalogue" and catalogue.file is None:
        yield "known_quasars.source", "'catalogue'", "needs catalogue.file, which is not set"


def _fields_for_every_band(images: Any) -> Iterator[Broken]:
    if images.source == "fields":
        for band in images.bands:
            if band not in images.fields:
                yield f"images.fields.{band}", None, "is missing: images.bands lists this band"
    if len(set(images.bands)) != len(images.bands):
        yield "images.bands", repr(images.bands), "a band may be listed once"


def _band_names(survey: Any, photometry: Any, images: Any) -> Iterator[Broken]:
    lower: dict[str, str] = {}
    for band in [*photometry.bands, *images.bands]:
        other = lower.setdefault(band.lower(), band)
        if other != band:
            yield "photometry.bands", repr(band), f"{other!r} differs from it by case alone"


def _bands_of_exports(exports: Any, photometry: Any, images: Any) -> Iterator[Broken]:
    for band in exports.bands or []:
        if band not in photometry.bands:
            yield (
                "exports.bands",
                repr(band),
                f"not in photometry.bands ({', '.join(photometry.bands)})",
            )
    band = exports.chart_band
    if band is not None and images.source != "none" and band not in images.bands:
        yield (
            "exports.chart_band",
            repr(band),
            f"not in images.bands ({', '.join(images.bands)})",
        )


def _injection_bands(injections: Any, photometry: Any, sed: Any) -> Iterator[Broken]:
    if not injections.enabled:
        return
    if injections.band not in photometry.bands:
        yield (
            "injections.band",
            repr(injections.band),
            f"not in photometry.bands ({', '.join(photometry.bands)})",
        )
    most = injections.n_quasars + injections.n_lensed
    if injections.shards > max(most, 1):
        yield (
            "injections.shards",
            repr(injections.shards),
            f"at most the number of injected objects ({most})",
        )
    grid = sed.models.quasar.redshift
    low, high = (grid.min, grid.max) if hasattr(grid, "min") else (min(grid), max(grid))
    if injections.axes.redshift[1] < low or injections.axes.redshift[0] > high:
        yield (
            "injections.axes.redshift",
            repr(injections.axes.redshift),
            f"sed.models.quasar.redshift has templates from {low} to {high} alone",
        )


def _shards(posteriors: Any) -> Iterator[Broken]:
    if posteriors.shards > max(posteriors.shortlist, 1):
        yield (
            "posteriors.shards",
            repr(posteriors.shards),
            f"at most the length of the shortlist ({posteriors.shortlist})",
        )


def model_file(model: str, seed: int | str) -> str:
    """Return the file of one seed's network, from ``learning.model``."""
    return model.replace("{seed}", str(seed))


def _a_model_per_seed(learning: Any) -> Iterator[Broken]:
    if learning.model is not None and "{seed}" not in learning.model and len(learning.seeds) > 1:
        yield (
            "learning.model",
            repr(learning.model),
            f"one network for {len(learning.seeds)} seeds, which would count it as often; put "
            "{seed} into the path, or set learning.seeds to the one that it was trained with",
        )


def _files(sections: Mapping[str, Any], folder: Path) -> Iterator[Broken]:
    catalogue, images = sections.get("catalogue"), sections.get("images")
    own_catalogue = catalogue.file if catalogue is not None else None
    own_images = images.fields if images is not None and images.source == "fields" else None
    wanted: list[tuple[str, str | None]] = []
    if "survey" in sections:
        survey = sections["survey"]
        if not own_images:
            wanted.append(("survey.footprint", survey.footprint))
        if not own_images and not own_catalogue:
            wanted.append(("survey.query", survey.query))
    if "known_quasars" in sections:
        known = sections["known_quasars"]
        if known.source == "service":
            wanted.append(("known_quasars.query", known.query))
        elif known.source == "file":
            wanted.append(("known_quasars.file", known.file))
    if "known_objects" in sections:
        wanted += [("known_objects.files", name) for name in sections["known_objects"].files]
    if own_catalogue:
        wanted.append(("catalogue.file", own_catalogue))
    if images is not None and images.source == "file":
        wanted.append(("images.file", images.file))
    if "learning" in sections and sections["learning"].model is not None:
        learning = sections["learning"]
        names = dict.fromkeys(model_file(learning.model, seed) for seed in learning.seeds)
        wanted += [("learning.model", name) for name in names]
    if own_images:
        wanted += [(f"images.fields.{band}", path) for band, path in own_images.items()]
    for name, file_key in (
        ("sed", "dwarf_colours"),
        ("candidates", "calibration"),
        ("truth", "file"),
        ("lephare", "data"),
    ):
        if name in sections:
            wanted.append((f"{name}.{file_key}", getattr(sections[name], file_key)))
    for key, path in wanted:
        if path is not None and not find_file(path, folder).exists():
            yield key, repr(path), f"no such file (looked for here and in {folder})"
    if "survey" in sections and not own_catalogue and not own_images:
        query = find_file(sections["survey"].query, folder)
        if query.is_file():
            wrong = wrong_placeholders(
                query_text(query.read_text(encoding="utf-8")),
                (INDEX_PLACEHOLDERS, BOX_PLACEHOLDERS),
            )
            if wrong:
                yield "survey.query", repr(sections["survey"].query), wrong
