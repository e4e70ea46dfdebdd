"""Bring the user's own catalogue to photometry, tile by tile, in place of query and match.

Output, each a list with one file per tile
------------------------------------------
photometry : Parquet, one row per object kept: as of the rule photometry
cutflow : CSV, one row per step: stage, cut, rows in, rows out
losses : CSV, one row per row lost: id (-1 = none), position [deg], reason, number of
    the row
"""

from archipelago.base.logs import log_to
from archipelago.base.losses import write_losses
from archipelago.base.tables import read_any_table, write_table
from archipelago.own.catalogue import ingest
from archipelago.photometry.cutflow import write_cutflow
from archipelago.photometry.measure import describe

log_to(snakemake.log[0])

params = snakemake.params
tiles = ingest(
    read_any_table(snakemake.input.catalogue),
    columns=params.columns,
    bands=params.bands,
    depths=params.photometry["depths"],
    detection_sigma=params.photometry["detection_sigma"],
    cuts=params.photometry["cuts"],
    tiles=params.tiles,
    tile_order=params.tile_order,
    where=str(snakemake.input.catalogue),
)
for number, name in enumerate(params.tiles):
    one = tiles[name]
    about = describe(one.photometry.columns)
    write_table(one.photometry, snakemake.output.photometry[number], about)
    write_cutflow(one.cutflow, snakemake.output.cutflow[number])
    write_losses(one.losses, snakemake.output.losses[number])
