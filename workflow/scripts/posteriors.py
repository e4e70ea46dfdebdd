"""Posteriors of one shard of the shortlist.

Output
------
table : Parquet, one row per object and class: id, class, status, ln_evidence,
    ln_evidence_err, ln_likelihood_best, chi2_best, n_bands, n_like, and per
    parameter median_, lo_ and hi_ (16 and 84 %) and best_.
samples : npz of the draws and of their band fluxes [uJy], see
    `archipelago.sed.posteriors.write_shard`.
"""

from pathlib import Path

from archipelago.base.logs import log_to
from archipelago.base.tables import read_table
from archipelago.passbands import load_passbands
from archipelago.sed.posterior_models import read_objects
from archipelago.sed.posteriors import Models, PosteriorOptions, run_shard, shard_ids, write_shard
from archipelago.sed.templates import load_templates

log_to(snakemake.log[0])

options = PosteriorOptions.from_dict(snakemake.params.posteriors)
candidates = read_table(snakemake.input.candidates, ["id", "rank"], columns=["id", "rank"])
ids = shard_ids(candidates, options.shortlist, options.shards, int(snakemake.wildcards.shard))
catalogue = read_table(snakemake.input.catalogue, ["id"])
templates = load_templates(snakemake.input.templates)
# Bands that the catalogue does not have take no part.
passbands = {
    band: curve
    for band, curve in load_passbands(snakemake.params.passbands).items()
    if f"flux_ujy_{band}" in catalogue and band in templates.bands
}
table, arrays = run_shard(
    read_objects(catalogue, ids, list(passbands)),
    list(passbands),
    snakemake.params.sed,
    Models(passbands, templates, options),
    options,
    partial=Path(snakemake.params.partial),
    code=snakemake.params.code,
)
write_shard(table, arrays, snakemake.output.table, snakemake.output.samples)
