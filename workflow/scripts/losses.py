"""Join all losses, finish the cut flow, and check that no row is unaccounted for.

| output | one row per | holds |
|---|---|---|
| losses (CSV) | object lost anywhere | id, position [deg], tile, stage, reason, detail |
| cutflow (CSV) | step of the search | stage, cut, rows in, rows out, summed over tiles |
"""

from archipelago.base.images import load_images
from archipelago.base.logs import log_to
from archipelago.base.losses import read_losses, write_losses
from archipelago.gather import gather_losses
from archipelago.photometry.cutflow import read_cutflow, write_cutflow

log_to(snakemake.log[0])

images = snakemake.input.get("images")
losses, cutflow = gather_losses(
    read_losses(snakemake.input.catalogue_losses),
    read_cutflow(snakemake.input.catalogue_cutflow),
    read_losses(snakemake.input.image_losses) if images else None,
    len(load_images(images, memory_map=True)) if images else None,
)
write_losses(losses, snakemake.output.losses)
write_cutflow(cutflow, snakemake.output.cutflow)
