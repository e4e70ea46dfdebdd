"""Find the objects most like one, by the mean cosine over seeds of their features.

Output
------
parquet, csv : the objects by rank, with similarity, positions [deg, ICRS] and what is known
html : their cutouts, that of the object asked for first
"""

import logging

from archipelago.base.logs import log_to
from archipelago.base.targets import parse_target
from archipelago.similar.answer import answer, table_text, write_answer
from archipelago.similar.directions import open_features
from archipelago.similar.index import check_centre, load_index

log_to(snakemake.log[0])

index = load_index(
    snakemake.input.graph, snakemake.input.objects, open_features(snakemake.input.features)
)
check_centre(index, snakemake.params.centre, snakemake.input.objects)
found = answer(
    parse_target(snakemake.params.target),
    index,
    snakemake.input.images,
    snakemake.input.losses,
    next(iter(snakemake.input.evidence), None),
    number=snakemake.params.similar["n"],
    match_radius_arcsec=snakemake.params.similar["match_radius_arcsec"],
)
write_answer(
    found,
    parquet=snakemake.output.parquet,
    csv=snakemake.output.csv,
    html=snakemake.output.html,
)
logging.info("%s", table_text(found))
