"""Gather the known quasars, from a service, from a file, or none.

Output
------
table : one row per known quasar: name, ra_deg, dec_deg [deg], redshift, source
"""

from archipelago.base.logs import log_to
from archipelago.base.tables import write_table
from archipelago.survey.adql import load_query
from archipelago.survey.http import HttpClient
from archipelago.survey.known import (
    ABOUT,
    known_quasars_from_file,
    known_quasars_from_service,
    no_known_quasars,
)
from archipelago.survey.services import from_environment
from archipelago.survey.tap import TapClient

log_to(snakemake.log[0])

min_redshift = snakemake.params.min_redshift
if snakemake.params.source == "none":
    table = no_known_quasars()
elif snakemake.params.source == "service":
    services = from_environment()
    with HttpClient.from_services(services) as client:
        table = known_quasars_from_service(
            TapClient(services.vizier_tap, client),
            load_query(snakemake.input.query, min_redshift=min_redshift),
            min_redshift=min_redshift,
            max_rows=snakemake.params.max_rows,
        )
else:
    table = known_quasars_from_file(
        snakemake.input.file,
        min_redshift=min_redshift,
        columns=snakemake.params.columns,
    )
write_table(table, snakemake.output.table, about=ABOUT)
