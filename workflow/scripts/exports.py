"""Write the candidates for other programs and for the telescope.

Output
------
votable : all candidates, by rank, with units and UCDs, as VOTable
regions : the first candidates and the known quasars, as DS9 regions
observing_csv : the first candidates: name, position (J2000), magnitudes [AB], priority
observing_text : the same as text of fixed width
"""

from archipelago.base.files import write_text
from archipelago.base.logs import log_to
from archipelago.base.tables import read_about, write_csv
from archipelago.base.votable import write_votable
from archipelago.exports.choose import chosen
from archipelago.exports.observing import observing_table, observing_text
from archipelago.exports.read import read_candidates, table_parts
from archipelago.exports.regions import regions_text

log_to(snakemake.log[0])

path, params = snakemake.input.candidates, snakemake.params
write_votable(
    table_parts(path), snakemake.output.votable, read_about(path), f"candidates of {params.run}"
)
candidates = read_candidates(path, params.bands)
first = chosen(candidates, params.candidates, params.known)
write_text(snakemake.output.regions, regions_text(candidates, first))
write_csv(observing_table(first, params.bands), snakemake.output.observing_csv)
write_text(snakemake.output.observing_text, observing_text(first, params.bands, params.run))
