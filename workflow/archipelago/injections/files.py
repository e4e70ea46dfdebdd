"""The files that the injections read, as the rules name them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from archipelago.base.images import load_images
from archipelago.base.losses import read_losses
from archipelago.base.tables import read_table
from archipelago.injections.inject import Run, stages
from archipelago.known import match_known
from archipelago.photometry.fluxes import BandSpec
from archipelago.photometry.measure import read_bands
from archipelago.sed.templates import load_templates


class _Named(Protocol):
    """A rule's input or params: names that may be there."""

    def get(self, name: str, default: Any = None) -> Any:
        """Return what has this name."""


def read_run(given: _Named, params: _Named) -> Run:
    """Return what the injection takes from a run.

    Parameters
    ----------
    given : catalogue, templates, known; where there are such: images; sources, matched,
        losses_match (a path per tile) and query.
    params : photometry, survey_bands, catalogues, own_bands, fit, match_radius_arcsec.
    """
    images = given.get("images")
    described = _described(given, params)
    catalogue = read_table(given.get("catalogue"), required=["id"])
    radius = float(params.get("match_radius_arcsec"))
    return Run(
        catalogue=catalogue,
        known=match_known(catalogue, read_table(given.get("known")), radius),
        templates=load_templates(given.get("templates")),
        images=load_images(images, memory_map=True) if images else None,
        sources=_all_tiles(given.get("sources")),
        matched=_all_tiles(given.get("matched")),
        losses=_all_losses(given.get("losses_match")),
        fit=params.get("fit"),
        **described,
    )


def _described(given: _Named, params: _Named) -> dict[str, Any]:
    """Return the parts of a run that its configuration tells."""
    photometry, partners = params.get("photometry"), params.get("catalogues")
    survey = params.get("survey_bands")
    query = given.get("query")
    if not query:
        own = params.get("own_bands") or {}
        matched = {band: section for one in partners for band, section in one["bands"].items()}
        everything = {**survey, **matched, **own}
        return {"photometry": photometry, "specs": _own_specs(photometry["bands"], everything)}
    return {
        "photometry": photometry,
        "specs": read_bands(photometry["bands"], survey, *(one["bands"] for one in partners)),
        "partners": partners,
        "query": Path(query).read_text(encoding="utf-8"),
        "query_columns": {
            section[what]: (band, what)
            for band, section in survey.items()
            for what in ("value", "error")
        },
    }


def _own_specs(bands: Sequence[str], sections: Mapping[str, Any]) -> dict[str, BandSpec]:
    """Return bands in microjansky, as the run's own catalogue has them, with their Vega offsets."""
    specs = {}
    for band in bands:
        section = {"value": f"value_{band}", "error": f"error_{band}", "system": "flux_ujy"}
        offset = (sections.get(band) or {}).get("vega_to_ab_mag")
        if offset is not None:
            section["vega_to_ab_mag"] = offset
        specs[band] = BandSpec.from_config(band, section)
    return specs


def cut_names(given: _Named, params: _Named) -> list[str]:
    """Return the cuts of a search in their order; parameters as of `read_run`, fewer needed."""
    nothing = pd.DataFrame({"id": np.empty(0, dtype=np.int64)})
    described = _described(given, params)
    some = nothing if described.get("query") else None
    return stages(
        Run(
            catalogue=nothing,
            templates=None,  # type: ignore[arg-type]  # names need none
            images=None,
            sources=some,
            matched=some,
            losses=some,
            fit={},
            **described,
        )
    )


def gathered(paths: Sequence[str | Path]) -> pd.DataFrame:
    """Return the tables of all shards, sorted by id."""
    parts = [read_table(path, required=["id"]) for path in paths]
    return pd.concat(parts, ignore_index=True).sort_values("id", ignore_index=True)


def _all_tiles(paths: Sequence[str] | None) -> pd.DataFrame | None:
    if not paths:
        return None
    return pd.concat([read_table(path) for path in paths], ignore_index=True)


def _all_losses(paths: Sequence[str] | None) -> pd.DataFrame | None:
    if not paths:
        return None
    return pd.concat([read_losses(path) for path in paths], ignore_index=True)
