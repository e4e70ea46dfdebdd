"""Compute the features of all images with the network of one seed.

Output
------
features : per object with an image: ids (n,); features (n, d) of norm 1, or 0 without
    content
"""

from archipelago.base.images import load_images
from archipelago.base.logs import log_to
from archipelago.learning.features import compute_features
from archipelago.learning.model import load_model
from archipelago.learning.store import save_features

log_to(snakemake.log[0])
images = load_images(snakemake.input.images, memory_map=True)
features = compute_features(
    load_model(snakemake.input.model),
    images,
    threads=snakemake.threads,
    where=snakemake.input.images,
)
save_features(snakemake.output.features, images.ids, features)
