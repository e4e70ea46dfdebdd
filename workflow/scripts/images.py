"""Join the cutouts of all tiles into one set of images.

Output
------
images : npz, per object, sorted by id: images (n, band, y, x) float32 [counts], ids,
    bands, pixel scale [arcsec], zero point [mag AB]
manifest : Parquet, per object and band: status, reason, url, bytes, sha256, attempts,
    n_filled_px, n_other_px, other_url
losses : CSV, per object of the catalogue without images: id, position [deg], tile,
    reason, detail
"""

from archipelago.base.logs import log_to
from archipelago.base.losses import write_losses
from archipelago.base.tables import read_about, read_table, write_table
from archipelago.gather import gather_images
from archipelago.survey.cutout_query import CutoutQuery

log_to(snakemake.log[0])

catalogue = read_table(snakemake.input.catalogue, columns=["id", "ra_deg", "dec_deg"])
wanted = snakemake.params.asked
manifest, losses = gather_images(
    list(snakemake.input.cutouts),
    list(snakemake.input.manifests),
    list(snakemake.input.losses),
    catalogue["id"].to_numpy(dtype="int64"),
    snakemake.output.images,
    asked=CutoutQuery(**wanted).record() if wanted else None,
    tiles=snakemake.params.tiles,
    positions=catalogue.set_index("id"),
)
about = read_about(snakemake.input.manifests[0])
about = {name: text for name, text in about.items() if name in manifest.columns}
write_table(manifest, snakemake.output.manifest, about)
write_losses(losses, snakemake.output.losses)
