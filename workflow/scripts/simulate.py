"""Simulate quasars and lensed quasars as the survey's images would show them.

Output
------
images : their cutouts, noise included, with the identifiers 0, 1, ... [counts]
table : per simulated object: kind, known quasar whose colours it has, redshift, separation of
    the images [arcsec], the lens galaxy's share of the light
"""

from archipelago.base.images import load_images, save_images
from archipelago.base.logs import log_to
from archipelago.base.tables import read_table, write_table
from archipelago.known import match_known_images
from archipelago.sed.templates import load_templates
from archipelago.simulate.tables import ABOUT, known_among, simulated_objects

log_to(snakemake.log[0])
images = load_images(snakemake.input.images, memory_map=True)
matched = match_known_images(
    images.ids,
    read_table(snakemake.input.catalogue),
    read_table(snakemake.input.known),
    float(snakemake.params.match_radius_arcsec),
)
pixels, table = simulated_objects(
    images,
    load_templates(snakemake.input.templates),
    snakemake.params.priors,
    known_among(images.ids, matched),
    n=int(snakemake.params.n_simulated),
    seed=int(snakemake.params.seed),
    redshift_min=float(snakemake.params.redshift_min),
)
save_images(
    snakemake.output.images,
    pixels,
    table["id"],
    images.bands,
    images.pixel_scale_arcsec,
    images.zero_point_ab,
)
write_table(table, snakemake.output.table, about=ABOUT)
