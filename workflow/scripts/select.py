"""Query the survey's catalogue for one tile.

Output
------
sources : one row per object of the query: id, ra_deg, dec_deg [deg], mag_ab_B,
    mag_err_B [mag] per band (raw, 99 = missing), further columns of survey.columns
losses : one row per row of the answer that is unusable: id, ra_deg, dec_deg, tile,
    stage, reason, detail
"""

from archipelago.base.logs import log_to
from archipelago.base.losses import write_losses
from archipelago.base.tables import write_table
from archipelago.survey.adql import load_query
from archipelago.survey.http import HttpClient
from archipelago.survey.select import describe_sources, select_sources
from archipelago.survey.services import from_environment
from archipelago.survey.tap import TapClient

log_to(snakemake.log[0])

services = from_environment()
with HttpClient.from_services(services) as client:
    sources, losses = select_sources(
        TapClient(services.tap, client),
        load_query(
            snakemake.input.query,
            hpix_min=snakemake.params.hpix_min,
            hpix_max=snakemake.params.hpix_max,
        ),
        columns=snakemake.params.columns,
        bands=snakemake.params.bands,
        max_rows=snakemake.params.max_rows,
        tile=snakemake.wildcards.tile,
    )
write_losses(losses, snakemake.output.losses)
write_table(sources, snakemake.output.sources, describe_sources(sources.columns))
