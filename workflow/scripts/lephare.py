"""Fit every object with the official LePHARE.

Output
------
table : Parquet, one row per object of the catalogue: id, chi2_gal, chi2_qso,
    chi2_star, z_gal, z_qso (with _lo and _hi, 68 %), ebv_gal, model_gal,
    model_qso, model_star, best_class, n_bands, status.
"""

import tempfile

from archipelago.base.logs import log_to
from archipelago.base.tables import read_table, write_table
from archipelago.passbands import load_passbands
from archipelago.sed.lephare import ABOUT, LephareOptions, run_lephare

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
write_table(table, snakemake.output.table, ABOUT)
