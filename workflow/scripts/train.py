"""Train the network for one seed.

Output
------
model : per run and seed: weights, and the record of bands, scaling, settings and
    training set
history : per epoch: epoch, loss, alignment, uniformity, rank_me, learning_rate

Speed is in the log only. The checkpoint lies in ``params.checkpoints`` until the end.
"""

from archipelago.base.images import load_images
from archipelago.base.logs import log_to
from archipelago.base.tables import write_csv
from archipelago.learning.model import save_model
from archipelago.learning.settings import LearningSettings
from archipelago.learning.training import train

log_to(snakemake.log[0])
model, history = train(
    load_images(snakemake.input.images),
    LearningSettings.from_mapping(snakemake.params.learning),
    int(snakemake.params.seed),
    snakemake.params.checkpoints,
    threads=snakemake.threads,
)
save_model(model, snakemake.output.model)
write_csv(history, snakemake.output.history, float_format="%.6g")
