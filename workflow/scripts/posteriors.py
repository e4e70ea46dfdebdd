"""Posteriors of one shard of the shortlist.

Output
------
table : Parquet, one row per object and class: id, class, status, ln_evidence,
    ln_evidence_err, ln_likelihood_best, chi2_best, n_bands, n_like, and per
    parameter median_, lo_ and hi_ (16 and 84 %) and best_.
samples : npz of the draws and of their band fluxes [uJy], see
    `archipelago.sed.posteriors.write_shard`.
figures : folder of <id>/sed.svg and <id>/corner_<class>.svg, see
    `archipelago.sed.posterior_figures`.
"""

from pathlib import Path

from archipelago.base.logs import log_to
from archipelago.base.tables import read_table
from archipelago.passbands import load_passbands
from archipelago.provenance import code_hash
from archipelago.sed import posteriors
from archipelago.sed.posterior_figures import draw_shard
from archipelago.sed.posterior_models import read_objects
from archipelago.sed.templates import load_templates

log_to(snakemake.log[0])

options = posteriors.PosteriorOptions.from_mapping(snakemake.params.posteriors)
candidates = read_table(snakemake.input.candidates, ["id", "rank"], columns=["id", "rank"])
shard = int(snakemake.wildcards.shard)
ids = posteriors.shard_ids(candidates, options.shortlist, options.shards, shard)
catalogue = read_table(snakemake.input.catalogue, ["id"])
templates = load_templates(snakemake.input.templates)
# Bands that the catalogue does not have take no part.
passbands = {
    band: curve
    for band, curve in load_passbands(snakemake.params.passbands).items()
    if f"flux_ujy_{band}" in catalogue and band in templates.bands
}
objects = read_objects(catalogue, ids, list(passbands))
table, arrays = posteriors.run_shard(
    objects,
    list(passbands),
    snakemake.params.sed,
    posteriors.Models(passbands, templates, options, snakemake.params.sed["priors"]["quasar"]),
    options,
    partial=Path(snakemake.params.partial),
    # Not that of the figures: what was sampled is kept when they change.
    code=code_hash(posteriors.__file__),
)
posteriors.write_shard(table, arrays, snakemake.output.table, snakemake.output.samples)
draw_shard(
    snakemake.output.figures,
    objects,
    table,
    arrays,
    passbands,
    snakemake.params.sed,
    options.galaxy_history,
)
