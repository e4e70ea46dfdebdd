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
from archipelago.survey.adql import TileQuery
from archipelago.survey.http import HttpClient
from archipelago.survey.select import describe_sources, query_tile, select_sources
from archipelago.survey.services import from_environment
from archipelago.survey.tap import TapClient
from archipelago.tiles import Tile

log_to(snakemake.log[0])

services = from_environment()
tile = Tile.from_name(snakemake.wildcards.tile)
query = TileQuery.read(snakemake.input.query, snakemake.params.healpix_order)
with HttpClient.from_services(services) as client:
    answers = query_tile(
        TapClient(services.tap, client),
        query,
        tile,
        columns=snakemake.params.columns,
        max_rows=snakemake.params.max_rows,
    )
sources, losses = select_sources(
    answers,
    columns=snakemake.params.columns,
    bands=snakemake.params.bands,
    tile=tile.name,
)
write_losses(losses, snakemake.output.losses)
write_table(sources, snakemake.output.sources, describe_sources(sources.columns))
