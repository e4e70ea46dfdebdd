"""Fit every object with the official LePHARE and put it beside our own verdict.

Output
------
table : Parquet, one row per object of the catalogue: id, chi2_gal, chi2_qso,
    chi2_star, z_gal, z_qso (with _lo and _hi, 68 %), ebv_gal, model_gal,
    model_qso, model_star, best_class, n_bands, status; chi2_star, model_star and
    best_class once more without brown dwarfs; and of our own verdict p_*,
    log_odds_quasar, log_odds_lensed and z_quasar (with _lo and _hi).
"""

import tempfile

from archipelago.base.logs import log_to
from archipelago.base.tables import read_about, read_table, write_table
from archipelago.passbands import load_passbands
from archipelago.sed.lephare import ABOUT, LephareOptions, run_lephare
from archipelago.sed.side_by_side import OWN_COLUMNS, side_by_side

log_to(snakemake.log[0])

with tempfile.TemporaryDirectory(prefix="archipelago-lephare-") as folder:
    table = run_lephare(
        read_table(snakemake.input.catalogue, required=["id"]),
        load_passbands(snakemake.params.passbands),
        snakemake.input.data,
        folder,
        LephareOptions.from_dict(snakemake.params.lephare),
        threads=snakemake.threads,
    )
own = read_about(snakemake.input.verdicts)
write_table(
    side_by_side(table, read_table(snakemake.input.verdicts)),
    snakemake.output.table,
    {**ABOUT, **{name: f"our own verdict: {own.get(name, name)}" for name in OWN_COLUMNS}},
)
