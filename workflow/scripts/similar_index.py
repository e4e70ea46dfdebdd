"""Build the index of nearest neighbours over the features of all seeds.

Output
------
graph : faiss's index of the objects with content
objects : their identifiers and positions [deg, ICRS], and the record of what the index is of
"""

from archipelago.base.logs import log_to
from archipelago.similar.index import index_from_files, save_index

log_to(snakemake.log[0])

index = index_from_files(
    snakemake.input.features,
    snakemake.input.catalogue,
    seeds=snakemake.params.seeds,
    centre=snakemake.params.centre,
)
save_index(index, snakemake.output.graph, snakemake.output.objects)
