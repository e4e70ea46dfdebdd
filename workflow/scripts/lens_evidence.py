"""Measure shapes that tell a lensed quasar from a single one, and say how much they do.

Output
------
evidence : per object with an image: lens_log_odds [nats], and every measure of shape
"""

from archipelago.base.images import load_images
from archipelago.base.logs import log_to
from archipelago.base.tables import read_table, write_table
from archipelago.lensing.evidence import about, learn, lens_evidence

log_to(snakemake.log[0])
images = load_images(snakemake.input.images, memory_map=True)
judge = learn(
    images,
    load_images(snakemake.input.simulated, memory_map=True),
    read_table(snakemake.input.table),
    n_taught=int(snakemake.params.n_taught),
    seed=int(snakemake.params.seed),
    threads=snakemake.threads,
)
write_table(
    lens_evidence(images, judge, threads=snakemake.threads),
    snakemake.output.evidence,
    about=about(images.bands),
)
