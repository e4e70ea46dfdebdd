"""Bring a tile's matched catalogues to AB magnitudes and microjansky, and cut.

Output
------
photometry : Parquet, one row per object kept: id, position [deg], tile; per band flux
    and error [uJy], magnitude and error [mag, AB; 99 = not detected], detected; E(B-V),
    separations [arcsec]
cutflow : CSV, one row per step: stage, cut, rows in, rows out: selection, matches, cuts
losses : CSV, one row per object lost to a cut: id, position [deg], the cut, by what
"""

from archipelago.base.logs import log_to
from archipelago.base.losses import read_losses, write_losses
from archipelago.base.tables import read_table, write_table
from archipelago.gather import count_rows
from archipelago.photometry.cutflow import survey_cutflow, write_cutflow
from archipelago.photometry.measure import describe, measure, read_bands

log_to(snakemake.log[0])

tile = snakemake.wildcards.tile
params = snakemake.params
before = survey_cutflow(
    tile,
    count_rows(snakemake.input.sources),
    len(read_losses(snakemake.input.select_losses)),
    read_losses(snakemake.input.match_losses),
    [catalogue["name"] for catalogue in params.catalogues],
)
photometry, cutflow, losses = measure(
    read_table(snakemake.input.matched, required=["id", "ra_deg", "dec_deg"]),
    read_bands(params.bands, params.survey_bands, *(one["bands"] for one in params.catalogues)),
    params.depths,
    params.detection_sigma,
    params.cuts,
    tile,
    before=before,
)
write_table(photometry, snakemake.output.photometry, describe(photometry.columns))
write_cutflow(cutflow, snakemake.output.cutflow)
write_losses(losses, snakemake.output.losses)
