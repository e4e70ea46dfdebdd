"""Lay the features of one seed out in a plane.

Output
------
map : per object with an image: id, x, y (no unit; NaN where an image has no content)
"""

from archipelago.base.logs import log_to
from archipelago.base.tables import write_table
from archipelago.islands.maps import ABOUT, make_map
from archipelago.learning.store import load_features

log_to(snakemake.log[0])
ids, features = load_features(snakemake.input.features)
write_table(make_map(ids, features, snakemake.params.map), snakemake.output.map, ABOUT)
