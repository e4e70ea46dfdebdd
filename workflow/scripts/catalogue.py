"""Join the photometry of all tiles into one catalogue.

Output
------
catalogue : Parquet, one row per object, sorted by id: as of the rule photometry
cutflow : CSV, one row per step: stage, cut, rows in, rows out, summed over tiles
losses : CSV, one row per object lost before the images: id, position [deg], tile,
    stage, reason, detail
"""

from archipelago.base.logs import log_to
from archipelago.base.losses import read_losses, write_losses
from archipelago.base.tables import read_table, write_table
from archipelago.gather import count_rows, gather_catalogue
from archipelago.photometry.cutflow import read_cutflow, write_cutflow
from archipelago.photometry.measure import OBJECT_COLUMNS, describe

log_to(snakemake.log[0])

tables = [read_table(path, required=OBJECT_COLUMNS) for path in snakemake.input.photometry]
catalogue, cutflow, losses = gather_catalogue(
    dict(zip(snakemake.params.tiles, tables, strict=True)),
    [read_cutflow(path) for path in snakemake.input.cutflows],
    [read_losses(path) for path in snakemake.input.losses],
    [count_rows(path) for path in snakemake.input.get("sources", [])] or None,
)
write_table(catalogue, snakemake.output.catalogue, describe(catalogue.columns))
write_cutflow(cutflow, snakemake.output.cutflow)
write_losses(losses, snakemake.output.losses)
