"""Write the report: one HTML file that opens offline.

Output
------
html : the search, the cut flow, losses, the map, islands, candidates with cutouts,
    photometry [uJy] and evidence, completeness where quasars were injected, recall where a
    truth is given, training, versions, configuration
"""

from functools import partial
from pathlib import Path

import pandas as pd

from archipelago.base.files import read_optional, write_text
from archipelago.base.images import load_images
from archipelago.base.logs import log_to
from archipelago.base.losses import read_losses
from archipelago.base.tables import read_about, read_table
from archipelago.passbands import load_passbands
from archipelago.report.content import shortlist
from archipelago.report.costs import read_benchmarks
from archipelago.report.figures import posterior_figures
from archipelago.report.models import model_fluxes, model_spectra
from archipelago.report.page import ReportData, render_report
from archipelago.sed.templates import load_templates

log_to(snakemake.log[0])


def _by_seed(name, read):
    """Tables by the name of their folder, such as ``seed-1``."""
    paths = snakemake.input.get(name, [])
    return {Path(path).parent.name.replace("-", " "): read(path) for path in paths}


options = snakemake.params.report
candidates = read_table(snakemake.input.candidates)
templates = load_templates(snakemake.input.templates)
shown = shortlist(candidates, options["candidates"])
verdicts = read_table(snakemake.input.verdicts)
passbands = load_passbands(snakemake.params.passbands)
models = model_fluxes(
    shown,
    verdicts,
    templates,
    snakemake.params.bands,
    snakemake.params.config["sed"]["fit"]["aperture_offset_mag"],
)
posteriors = [read_table(path) for path in snakemake.input.posteriors]
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
        images=read_optional(snakemake.input.get("images"), partial(load_images, memory_map=True)),
        models=models,
        spectra=model_spectra(
            shown, verdicts, templates, passbands, models, snakemake.params.bands
        ),
        passbands={
            name: (band.wavelength_aa / 1e4, band.transmission) for name, band in passbands.items()
        },
        wavelength_um=dict(zip(templates.bands, templates.pivot_aa / 1e4, strict=True)),
        enrichment=read_optional(snakemake.input.get("enrichment"), pd.read_csv),
        maps=_by_seed("maps", read_table),
        histories=_by_seed("histories", pd.read_csv),
        posteriors=pd.concat(posteriors, ignore_index=True) if posteriors else None,
        figures=posterior_figures(snakemake.input.get("figures", []), shown["id"]),
        recall=read_optional(snakemake.input.get("recall"), pd.read_csv),
        retrieval=read_optional(snakemake.input.get("retrieval"), pd.read_csv),
        stability=read_optional(snakemake.input.get("stability"), pd.read_csv),
        agreement=read_optional(snakemake.input.get("agreement"), pd.read_csv),
        n_cards=options["candidates"],
        n_listed=options["listed"],
        about=read_about(snakemake.input.candidates),
        # No inputs: they change no result, and are there once the jobs before have run.
        benchmarks=read_benchmarks(Path(snakemake.output.html).parent),
        completeness=read_optional(snakemake.input.get("completeness"), pd.read_csv),
        lensed_fraction=read_optional(snakemake.input.get("lensed_fraction"), pd.read_csv),
    )
)
write_text(snakemake.output.html, html)
