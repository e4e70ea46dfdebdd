"""Combine all evidence into one table with one rank.

Output
------
parquet : one row per object of the catalogue: rank, probability of each class from all
    evidence, score and its terms [nats], SED probabilities, redshift, similarity, island,
    likeness to simulated quasars, lens evidence, photometry [uJy, AB mag], LePHARE, reason
ecsv : the same, with units and descriptions
csv : the same, plain
"""

import pandas as pd

from archipelago.base.files import read_optional
from archipelago.base.logs import log_to
from archipelago.base.tables import read_about, read_table
from archipelago.candidates.combine import read_calibration
from archipelago.candidates.listed import ABOUT as ABOUT_LISTED
from archipelago.candidates.listed import mark_listed, read_lists
from archipelago.candidates.ranking import gather_evidence, rank_candidates, write_candidates
from archipelago.known import match_known
from archipelago.sed.side_by_side import without_own

log_to(snakemake.log[0])


catalogue = read_table(snakemake.input.catalogue)
known = match_known(
    catalogue, read_table(snakemake.input.known), snakemake.params.match_radius_arcsec
)
lephare = read_optional(snakemake.input.get("lephare"), read_table)
if lephare is not None:
    lephare = without_own(lephare)  # the verdicts are there already
gathered = gather_evidence(
    catalogue,
    read_table(snakemake.input.verdicts),
    known,
    islands=read_optional(snakemake.input.get("islands"), read_table),
    enrichment=read_optional(snakemake.input.get("enrichment"), pd.read_csv),
    lephare=lephare,
    evidence=read_optional(snakemake.input.get("evidence"), read_table),
    lensing=read_optional(snakemake.input.get("lensing"), read_table),
)
calibration = read_calibration(snakemake.input.calibration)
table = rank_candidates(gathered, calibration.at_rates(**snakemake.params.candidates))
table = mark_listed(
    table, read_lists(snakemake.input.get("listed", [])), snakemake.params.listed_radius_arcsec
)
about = dict(ABOUT_LISTED)
for name in ("catalogue", "verdicts", "islands", "evidence", "lensing"):
    if path := snakemake.input.get(name):
        about |= read_about(path)
if path := snakemake.input.get("lephare"):
    about |= {f"lephare_{name}": text for name, text in read_about(path).items()}
write_candidates(
    table, snakemake.output.parquet, snakemake.output.ecsv, snakemake.output.csv, about
)
