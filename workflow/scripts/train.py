"""Train the network for one seed.

Output
------
model : per run and seed: weights, and the record of bands, scaling, settings and
    training set
history : per epoch: epoch, loss, alignment, uniformity, rank_me, learning_rate

Speed is in the log only. The checkpoint lies in ``params.checkpoints`` until the end.
"""

from archipelago.base.logs import log_to
from archipelago.learning.launch import train_files
from archipelago.learning.settings import LearningSettings

log_to(snakemake.log[0])
train_files(
    snakemake.input.images,
    LearningSettings.from_mapping(snakemake.params.learning),
    int(snakemake.params.seed),
    snakemake.params.checkpoints,
    snakemake.output.model,
    snakemake.output.history,
    threads=snakemake.threads,
    memory_mb=snakemake.resources.mem_mb,
)
