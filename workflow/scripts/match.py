"""Match one tile's objects with the other catalogues, one after the other.

Output
------
matched : one row per object with a partner in every catalogue: those of sources; per
    catalogue NAME id_NAME, ra_deg_NAME, dec_deg_NAME [deg], separation_arcsec_NAME
    [arcsec], value_B, error_B per band (raw)
losses : one row per object without a partner: id, ra_deg, dec_deg, tile, stage, reason,
    detail
"""

from archipelago.base.logs import log_to
from archipelago.base.losses import write_losses
from archipelago.base.tables import read_about, read_table, write_table
from archipelago.survey.http import HttpClient
from archipelago.survey.services import from_environment
from archipelago.survey.xmatch import XMatchClient, describe_partners, match_catalogues

log_to(snakemake.log[0])

services = from_environment()
sources = read_table(snakemake.input.sources, required=("id", "ra_deg", "dec_deg"))
with HttpClient.from_services(services) as client:
    matched, losses = match_catalogues(
        sources,
        snakemake.params.catalogues,
        XMatchClient(services.xmatch.url, client),
        tile=snakemake.wildcards.tile,
        max_rows=snakemake.params.max_rows,
    )
write_losses(losses, snakemake.output.losses)
about = {**read_about(snakemake.input.sources), **describe_partners(snakemake.params.catalogues)}
write_table(matched, snakemake.output.matched, about)
