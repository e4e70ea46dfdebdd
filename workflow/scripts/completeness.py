"""How complete the search is, from all shards of injected objects, and the lensed fraction.

Output
------
table : every injected object: axes, stage it was lost at, evidence, places, stages passed
completeness : CSV, per kind, axis, bin and stage: injected, passed, share, 90 % interval
fraction : CSV: lensed and ordinary quasars found, their completeness, the lensed fraction
"""

from archipelago.base.logs import log_to
from archipelago.base.tables import read_table, write_csv, write_table
from archipelago.injections.completeness import (
    completeness_table,
    describe,
    lensed_fraction,
    with_stages,
)
from archipelago.injections.files import cut_names, gathered

log_to(snakemake.log[0])
params = snakemake.params
table = with_stages(
    gathered(snakemake.input.tables),
    cut_names(snakemake.input, params),
    gathered(snakemake.input.ranked),
    params.injections,
)
write_table(table, snakemake.output.table, describe(table))
write_csv(
    completeness_table(table, int(params.injections["bins"])),
    snakemake.output.completeness,
    float_format="%.6g",
)
fraction = lensed_fraction(
    table,
    read_table(snakemake.input.candidates),
    float(params.injections["probability"]),
    float(params.expected_fraction),
)
write_csv(fraction, snakemake.output.fraction, float_format="%.6g")
