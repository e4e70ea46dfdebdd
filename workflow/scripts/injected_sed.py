"""Verdicts on injected objects, judged as members of the run.

Output
------
verdicts : as of the rule sed, of the injected objects that pass all cuts
"""

from archipelago.base.logs import log_to
from archipelago.base.tables import read_table, write_table
from archipelago.sed.backend import pick_backend
from archipelago.sed.templates import load_templates
from archipelago.sed.verdict import ABOUT, verdicts

log_to(snakemake.log[0])

table = verdicts(
    read_table(snakemake.input.photometry, required=["id"]),
    load_templates(snakemake.input.templates),
    snakemake.params.sed,
    threads=snakemake.threads,
    memory_mb=snakemake.resources.mem_mb / 2,
    on=pick_backend(),
    among=(read_table(snakemake.input.catalogue), read_table(snakemake.input.verdicts)),
)
write_table(table, snakemake.output.verdicts, about=ABOUT)
