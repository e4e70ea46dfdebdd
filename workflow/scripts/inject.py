"""Paint quasars into the run's cutouts, measure them, and put them to the cuts: one shard.

Output
------
table : all injected objects: axes [mag, arcsec], place, and what each was lost at
photometry : of those that pass all cuts, as of the rule photometry [uJy, AB mag]
injected : where the search has images: cutouts of those that have images [counts]
"""

from archipelago.base.images import save_images
from archipelago.base.logs import log_to
from archipelago.base.tables import write_table
from archipelago.injections.colours import about_moves
from archipelago.injections.files import read_run
from archipelago.injections.inject import ABOUT, inject
from archipelago.photometry.measure import describe

log_to(snakemake.log[0])
made = inject(
    read_run(snakemake.input, snakemake.params),
    snakemake.params.injections,
    int(snakemake.wildcards.shard),
    int(snakemake.params.injections["shards"]),
)
about = {**ABOUT, **about_moves(list(made.table.columns))}
write_table(made.table, snakemake.output.table, about)
write_table(made.photometry, snakemake.output.photometry, describe(made.photometry.columns))
if made.images is not None:
    images = made.images
    save_images(
        snakemake.output.injected,
        images.images,
        images.ids,
        images.bands,
        images.pixel_scale_arcsec,
        images.zero_point_ab,
    )
