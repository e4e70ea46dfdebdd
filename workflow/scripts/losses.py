"""Join all losses, finish the cut flow, and check that no row is unaccounted for.

Output
------
losses : CSV, one row per object lost anywhere: id, position [deg], tile, stage, reason,
    detail
cutflow : CSV, one row per step of the search: stage, cut, rows in, rows out, summed
    over tiles
"""

from archipelago.base.files import read_optional
from archipelago.base.logs import log_to
from archipelago.base.losses import read_losses, write_losses
from archipelago.gather import count_images, gather_losses
from archipelago.photometry.cutflow import read_cutflow, write_cutflow

log_to(snakemake.log[0])

losses, cutflow = gather_losses(
    read_losses(snakemake.input.catalogue_losses),
    read_cutflow(snakemake.input.catalogue_cutflow),
    read_optional(snakemake.input.get("image_losses"), read_losses),
    read_optional(snakemake.input.get("images"), count_images),
)
write_losses(losses, snakemake.output.losses)
write_cutflow(cutflow, snakemake.output.cutflow)
