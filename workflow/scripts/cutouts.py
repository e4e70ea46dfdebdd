"""Fetch the cutouts of one tile's objects.

Output
------
cutouts : per object with all bands: images (n, band, y, x) float32, ids (n,) int64,
    bands, pixel_scale_arcsec [arcsec], zero_point_ab [mag], asked (JSON)
manifest : per object and band, also of lost objects: id, band, status, reason, url,
    bytes, sha256, attempts, n_filled_px, n_other_px, other_url
losses : per object without all bands: id, ra_deg, dec_deg, tile, stage, reason, detail
"""

from archipelago.base.logs import log_to
from archipelago.base.losses import write_losses
from archipelago.base.tables import read_table
from archipelago.survey.cutout_query import CutoutQuery
from archipelago.survey.cutouts import fetch_cutouts
from archipelago.survey.http import HttpClient
from archipelago.survey.services import from_environment

log_to(snakemake.log[0])

services = from_environment()
positions = ("id", "ra_deg", "dec_deg")
objects = read_table(snakemake.input.photometry, required=positions, columns=positions)
with HttpClient.from_services(services) as client:
    losses = fetch_cutouts(
        objects,
        client,
        services.sia.url,
        CutoutQuery(**snakemake.params.asked),
        tile=snakemake.wildcards.tile,
        cutouts=snakemake.output.cutouts,
        manifest=snakemake.output.manifest,
        max_image_bytes=int(services.sia.max_image_mb * 1e6),
    )
write_losses(losses, snakemake.output.losses)
