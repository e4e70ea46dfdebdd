"""Draw finding charts of the first candidates.

Output
------
pdf : two candidates on a page, from the search's cutouts, or of its catalogue where an object
    has none
"""

from functools import partial

from archipelago.base.files import read_optional
from archipelago.base.images import load_images
from archipelago.base.logs import log_to
from archipelago.exports.charts import ChartOptions, write_finding_charts
from archipelago.exports.choose import chosen
from archipelago.exports.read import read_candidates

log_to(snakemake.log[0])

params = snakemake.params
candidates = read_candidates(snakemake.input.candidates, params.bands)
write_finding_charts(
    snakemake.output.pdf,
    chosen(candidates, params.candidates, params.known),
    candidates,
    read_optional(snakemake.input.get("images"), partial(load_images, memory_map=True)),
    ChartOptions(params.run, params.bands, params.chart_band, params.oriented),
)
