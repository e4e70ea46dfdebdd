"""Find islands over all seeds, and how like the known quasars each object is.

Output
------
islands : per object with an image: island, stability, similarity to known quasars
enrichment : per island: objects, known quasars, expected, exact p-value, corrected
    p-value (Holm)
"""

from archipelago.base.logs import log_to
from archipelago.base.tables import read_table, write_csv, write_table
from archipelago.islands.summary import describe_columns, find_islands
from archipelago.learning.store import load_features

log_to(snakemake.log[0])
islands, enrichment = find_islands(
    [load_features(path) for path in snakemake.input.features],
    [read_table(path) for path in snakemake.input.maps],
    read_table(snakemake.input.catalogue),
    read_table(snakemake.input.known),
    snakemake.params.islands,
    seeds=list(snakemake.params.seeds),
    match_radius_arcsec=float(snakemake.params.match_radius_arcsec),
)
write_table(islands, snakemake.output.islands, about=describe_columns(islands))
write_csv(enrichment, snakemake.output.enrichment, float_format="%.6g")
