"""Combine all evidence into one table with one rank.

| output | one row per | holds |
|---|---|---|
| parquet | object of the catalogue | rank, score and its terms [nats], SED probabilities, redshift, similarity, island, photometry [uJy, AB mag], LePHARE, reason |
| ecsv | the same | the same, with units and descriptions |
| csv | the same | the same, plain |
"""  # noqa: E501

import pandas as pd

from archipelago.base.logs import log_to
from archipelago.base.tables import read_table
from archipelago.candidates.ranking import rank_candidates, write_candidates
from archipelago.candidates.terms import Scoring
from archipelago.known import match_known

log_to(snakemake.log[0])


def _optional(name, read=read_table):
    path = snakemake.input.get(name)
    return read(path) if path else None


catalogue = read_table(snakemake.input.catalogue)
known = match_known(
    catalogue, read_table(snakemake.input.known), snakemake.params.match_radius_arcsec
)
table = rank_candidates(
    catalogue,
    read_table(snakemake.input.verdicts),
    known,
    islands=_optional("islands"),
    enrichment=_optional("enrichment", pd.read_csv),
    lephare=_optional("lephare"),
    scoring=Scoring.from_params(snakemake.params.candidates),
)
write_candidates(table, snakemake.output.parquet, snakemake.output.ecsv, snakemake.output.csv)
