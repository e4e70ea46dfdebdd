"""Fit the first candidates, and objects named, as the published search did.

Output
------
table : Parquet, one row per object: id, status, redshift and whether it was held, and per
    model (galaxy, quasar, both) chi2, ln_likelihood, bic, k and the best parameters.
"""

from archipelago.base.logs import log_to
from archipelago.base.tables import read_table, write_table
from archipelago.known import match_known
from archipelago.passbands import load_passbands
from archipelago.sed.published import ABOUT, PublishedOptions, chosen_ids, published_fits

log_to(snakemake.log[0])

options = PublishedOptions.from_dict(snakemake.params.published_fit)
candidates = read_table(snakemake.input.candidates, ["id", "rank"], columns=["id", "rank"])
catalogue = read_table(snakemake.input.catalogue, ["id", "ra_deg", "dec_deg"])
known = match_known(
    catalogue, read_table(snakemake.input.known), snakemake.params.match_radius_arcsec
)
# Bands that the catalogue does not have take no part.
passbands = {
    band: curve
    for band, curve in load_passbands(snakemake.params.passbands).items()
    if f"flux_ujy_{band}" in catalogue
}
table = published_fits(
    catalogue,
    chosen_ids(candidates, options),
    passbands,
    dict(zip(known["id"].tolist(), known["known_redshift"].tolist(), strict=True)),
    options,
)
write_table(table, snakemake.output.table, ABOUT)
