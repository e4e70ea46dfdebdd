"""Find islands over all seeds, and how like the known quasars each object is.

Output
------
islands : per object with an image: island, stability, similarity to known quasars
enrichment : per island: objects, known quasars with the exact interval of their share,
    expected, exact p-value, corrected p-value (Holm)
retrieval : per known quasar with an image: its rank by images, each left out in turn, the
    spread of that over seeds, and its rank by photometry alone
stability : per island: in how many seeds it is found, and how large
agreement : per pair of seeds: adjusted Rand index of their islands
"""

from archipelago.base.files import read_optional
from archipelago.base.logs import log_to
from archipelago.base.tables import read_table, write_csv, write_table
from archipelago.islands.photometry_neighbours import ranks_beside_images
from archipelago.islands.retrieval import retrieval_table
from archipelago.islands.stability import agreement_table, stability_table
from archipelago.islands.summary import describe_columns, find_islands
from archipelago.learning.store import load_features

log_to(snakemake.log[0])
settings = snakemake.params.islands
catalogue = read_table(snakemake.input.catalogue)
islands, enrichment = find_islands(
    [load_features(path) for path in snakemake.input.features],
    [read_table(path) for path in snakemake.input.maps],
    catalogue,
    read_table(snakemake.input.known),
    settings,
    seeds=list(snakemake.params.seeds),
    match_radius_arcsec=float(snakemake.params.match_radius_arcsec),
    verdicts=read_optional(snakemake.input.get("verdicts"), read_table),
)
photometry = ranks_beside_images(
    islands, catalogue, int(settings["k_neighbours"]), list(snakemake.params.bands)
)
write_table(islands, snakemake.output.islands, about=describe_columns(islands))
for name, table in (
    ("enrichment", enrichment),
    ("retrieval", retrieval_table(islands, photometry)),
    ("stability", stability_table(islands)),
    ("agreement", agreement_table(islands)),
):
    write_csv(table, snakemake.output[name], float_format="%.6g")
