"""Take the objects' cutouts from the user's own file, in place of a download.

Output, each a list with one file per tile
------------------------------------------
cutouts : npz, per object with all bands: images (n, band, y, x) float32 [counts], ids,
    bands, pixel scale [arcsec], zero point [mag AB]
manifest : Parquet, per object and band: status, reason, bytes, checksum; with the first
    tile also the cutouts that belong to no object of the catalogue
losses : CSV, per object without images: id, position [deg], tile, reason, detail
"""

import numpy as np
import pandas as pd

from archipelago.base.logs import log_to
from archipelago.base.losses import write_losses
from archipelago.base.tables import read_table, write_table
from archipelago.own.cutouts import read_cutouts, strangers, take_cutouts, write_taken
from archipelago.own.fields import MANIFEST_ABOUT

log_to(snakemake.log[0])

positions = ("id", "ra_deg", "dec_deg")
given = read_cutouts(snakemake.input.images, **snakemake.params.expected)
seen = []
for number, name in enumerate(snakemake.params.tiles):
    path = snakemake.input.photometry[number]
    objects = read_table(path, required=positions, columns=positions)
    seen.append(objects["id"].to_numpy(dtype=np.int64))
    taken = take_cutouts(given, objects, name)
    write_taken(given, taken, snakemake.output.cutouts[number])
    write_losses(taken.losses, snakemake.output.losses[number])
    if number:
        write_table(taken.manifest, snakemake.output.manifest[number], MANIFEST_ABOUT)
    else:
        first = taken.manifest
manifest = pd.concat([first, strangers(given, np.concatenate(seen))], ignore_index=True)
write_table(manifest, snakemake.output.manifest[0], MANIFEST_ABOUT)
