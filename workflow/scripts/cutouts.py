"""Fetch the cutouts of one tile's objects.

Output
------
cutouts : per object with all bands: images (n, band, y, x) float32, ids (n,) int64,
    bands, pixel_scale_arcsec [arcsec], zero_point_ab [mag]
manifest : per object and band, also of lost objects: id, band, status, reason, url,
    bytes, sha256, attempts, n_filled_px
losses : per object without all bands: id, ra_deg, dec_deg, tile, stage, reason, detail
"""

from archipelago.base.images import save_images
from archipelago.base.logs import log_to
from archipelago.base.losses import write_losses
from archipelago.base.tables import read_table, write_table
from archipelago.survey.cutouts import MANIFEST_ABOUT, fetch_cutouts
from archipelago.survey.http import HttpClient
from archipelago.survey.services import from_environment

log_to(snakemake.log[0])

services = from_environment()
positions = ("id", "ra_deg", "dec_deg")
objects = read_table(snakemake.input.photometry, required=positions, columns=positions)
with HttpClient.from_services(services) as client:
    cutouts, manifest, losses = fetch_cutouts(
        objects,
        client,
        services.sia.url,
        bands=snakemake.params.bands,
        size_px=snakemake.params.size_px,
        pixel_scale_arcsec=snakemake.params.pixel_scale_arcsec,
        zero_point_ab=snakemake.params.zero_point_ab,
        tile=snakemake.wildcards.tile,
    )
write_losses(losses, snakemake.output.losses)
write_table(manifest, snakemake.output.manifest, about=MANIFEST_ABOUT)
save_images(
    snakemake.output.cutouts,
    images=cutouts.images,
    ids=cutouts.ids,
    bands=cutouts.bands,
    pixel_scale_arcsec=cutouts.pixel_scale_arcsec,
    zero_point_ab=cutouts.zero_point_ab,
)
