"""Find islands over all seeds, and how like the known quasars each object is.

| output | one row or item per | holds |
|---|---|---|
| islands | object with an image | island, stability, similarity to known quasars |
| enrichment | island | objects, known quasars, expected, exact p-value, corrected p-value (Holm) |
"""

from archipelago.base.logs import log_to
from archipelago.base.files import atomic_path
from archipelago.base.tables import read_table, write_table
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
with atomic_path(snakemake.output.enrichment) as temporary:
    enrichment.to_csv(temporary, index=False, float_format="%.6g")
