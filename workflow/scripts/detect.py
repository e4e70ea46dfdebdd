"""Detect, measure and cut out the sources of the user's own images.

Output
------
photometry : Parquet, per object kept: as of the rule photometry, with field and x_px,
    y_px [pix, from 0]
cutflow : CSV, per step: stage, cut, rows in, rows out
losses : CSV, per source lost to the field's edge or to a cut: id, reason
cutouts : npz, per object: images (n, band, y, x) float32 [counts], ids, bands, pixel
    scale, zero point
manifest : Parquet, per object and band: status, reason, bytes, checksum
image_losses : CSV, per object without complete images: id, reason, band
"""

from archipelago.base.images import save_images
from archipelago.base.logs import log_to
from archipelago.base.losses import write_losses
from archipelago.base.tables import write_table
from archipelago.own.fields import ABOUT, MANIFEST_ABOUT, DetectSettings, detect, read_fields
from archipelago.photometry.cutflow import write_cutflow
from archipelago.photometry.measure import describe

log_to(snakemake.log[0])

params = snakemake.params
found = detect(
    read_fields(list(snakemake.input.fields), list(params.bands)),
    size_px=params.size_px,
    pixel_scale_arcsec=params.pixel_scale_arcsec,
    zero_point_ab=params.zero_point_ab,
    settings=DetectSettings(**params.detect),
    depths=params.photometry["depths"],
    detection_sigma=params.photometry["detection_sigma"],
    cuts=params.photometry["cuts"],
)
about = describe(found.photometry.columns) | ABOUT
write_table(found.photometry, snakemake.output.photometry, about)
write_cutflow(found.cutflow, snakemake.output.cutflow)
write_losses(found.losses, snakemake.output.losses)
save_images(
    snakemake.output.cutouts,
    found.cutouts.images,
    found.cutouts.ids,
    found.cutouts.bands,
    found.cutouts.pixel_scale_arcsec,
    found.cutouts.zero_point_ab,
)
write_table(found.manifest, snakemake.output.manifest, MANIFEST_ABOUT)
write_losses(found.image_losses, snakemake.output.image_losses)
