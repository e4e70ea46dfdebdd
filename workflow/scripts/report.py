"""Write the report: one HTML file that opens offline.

| output | holds |
|---|---|
| html | the search, the cut flow, losses, the map, islands, candidates with cutouts, photometry [uJy] and evidence, recall where a truth is given, training, versions, configuration |
"""  # noqa: E501

import pandas as pd

from archipelago.base.files import write_text
from archipelago.base.images import load_images
from archipelago.base.logs import log_to
from archipelago.base.losses import read_losses
from archipelago.base.tables import read_table
from archipelago.report.content import shortlist
from archipelago.report.models import model_fluxes
from archipelago.report.page import ReportData, render_report
from archipelago.sed.templates import load_templates

log_to(snakemake.log[0])


def _paths(name):
    paths = snakemake.input.get(name) or []
    return [paths] if isinstance(paths, str) else list(paths)


def _csv(name):
    paths = _paths(name)
    return pd.read_csv(paths[0]) if paths else None


def _by_seed(name, read):
    """Tables by the name of their folder, such as ``seed-1``."""
    return {path.split("/")[-2].replace("-", " "): read(path) for path in _paths(name)}


sed = snakemake.params.config.get("sed", {})
options = snakemake.params.report
candidates = read_table(snakemake.input.candidates)
templates = load_templates(snakemake.input.templates)
posteriors = [read_table(path) for path in _paths("posteriors")]
images = _paths("images")
html = render_report(
    ReportData(
        run=snakemake.params.run,
        candidates=candidates,
        catalogue=read_table(snakemake.input.catalogue),
        cutflow=pd.read_csv(snakemake.input.cutflow, keep_default_na=False),
        losses=read_losses(snakemake.input.losses),
        known=read_table(snakemake.input.known),
        bands=snakemake.params.bands,
        config=snakemake.params.config,
        left_out=snakemake.params.left_out,
        images=load_images(images[0], memory_map=True) if images else None,
        models=model_fluxes(
            shortlist(candidates, options["candidates"]),
            read_table(snakemake.input.verdicts),
            templates,
            snakemake.params.bands,
            sed.get("fit", sed).get("aperture_offset_mag"),
        ),
        wavelength_um=dict(zip(templates.bands, templates.pivot_aa / 1e4, strict=True)),
        enrichment=_csv("enrichment"),
        maps=_by_seed("maps", read_table),
        histories=_by_seed("histories", pd.read_csv),
        posteriors=pd.concat(posteriors, ignore_index=True) if posteriors else None,
        recall=_csv("recall"),
        n_cards=options["candidates"],
        n_listed=options["listed"],
    )
)
write_text(snakemake.output.html, html)
