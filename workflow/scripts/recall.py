"""Measure the ranked list against a known truth, where there is one.

Output
------
table : one row per group of true quasars, list, and number of first candidates: numbers
    found, in the catalogue, in the sky; recall [0-1]; mean, median and worst rank;
    where the others were lost
text : the same in plain words
"""

from archipelago.base.files import write_text
from archipelago.base.logs import log_to
from archipelago.base.losses import read_losses
from archipelago.base.tables import read_any_table, read_table, write_csv
from archipelago.candidates.recall import measure_recall, recall_text

log_to(snakemake.log[0])

table = measure_recall(
    read_table(snakemake.input.candidates),
    read_any_table(snakemake.input.truth),
    read_losses(snakemake.input.losses),
    read_table(snakemake.input.catalogue, columns=["id", "ra_deg", "dec_deg"]),
    top=snakemake.params.top,
)
write_csv(table, snakemake.output.table)
write_text(snakemake.output.text, recall_text(table))
