"""Say of each object how much more like simulated quasars than like the sample its images look.

Output
------
evidence : per object with an image: ln of that ratio for quasars and for lensed quasars, mean and
    spread over seeds [nats], and the places by it
"""

from archipelago.base.images import load_images
from archipelago.base.logs import log_to
from archipelago.base.tables import read_table, write_table
from archipelago.known import match_known_images
from archipelago.learning.store import load_features
from archipelago.recognise.evidence import ABOUT, image_evidence

log_to(snakemake.log[0])
images = load_images(snakemake.input.images, memory_map=True)
matched = match_known_images(
    images.ids,
    read_table(snakemake.input.catalogue),
    read_table(snakemake.input.known),
    float(snakemake.params.match_radius_arcsec),
)
evidence = image_evidence(
    images,
    load_images(snakemake.input.simulated),
    read_table(snakemake.input.table),
    [load_features(path) for path in snakemake.input.features],
    [load_features(path) for path in snakemake.input.simulated_features],
    matched["id"].to_numpy(),
    {"n_components": int(snakemake.params.n_components)},
    seeds=list(snakemake.params.seeds),
    threads=snakemake.threads,
)
write_table(evidence, snakemake.output.evidence, about=ABOUT)
