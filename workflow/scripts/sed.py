"""A verdict for every object: star, galaxy, quasar, lensed quasar or something else.

Output
------
verdicts : per object and class: chi2, ln likelihood, BIC, ln evidence, best template,
    amplitude and parameters; p_star, p_galaxy, p_quasar, p_lensed, p_other;
    log_odds_quasar, log_odds_lensed; z_quasar with its 68 % range

Input `catalogue` and `templates`. Params `sed`: the fits (section `sed.fit`
without memory_mb and device, which change no result: half of the rule's memory is used,
and the device comes through the environment).
"""

from archipelago.base.logs import log_to
from archipelago.base.tables import read_table, write_table
from archipelago.sed.backend import pick_backend
from archipelago.sed.templates import load_templates
from archipelago.sed.verdict import ABOUT, verdicts

log_to(snakemake.log[0])

table = verdicts(
    read_table(snakemake.input.catalogue, required=["id"]),
    load_templates(snakemake.input.templates),
    snakemake.params.sed,
    threads=snakemake.threads,
    memory_mb=snakemake.resources.mem_mb / 2,
    on=pick_backend(),
)
write_table(table, snakemake.output.verdicts, about=ABOUT)
