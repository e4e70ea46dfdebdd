"""Photometry of all SED templates, once for all catalogues.

Output
------
templates : npz: per class (star, galaxy, quasar) band fluxes [uJy] for amplitude 1 and
    the parameters of each template; representatives that the composite pairs; bands,
    pivot wavelengths, the grids asked for

Inputs `dwarf_colours`: table of star colours; `lephare` (where its stars are configured): its
data. Params `passbands`: per band a curve's name or path; `sed`: the grids (section `sed.models`).
"""

from archipelago.base.logs import log_to
from archipelago.passbands import load_passbands
from archipelago.sed.lephare_stars import lephare_star_table
from archipelago.sed.templates import build_templates

log_to(snakemake.log[0])

passbands = load_passbands(snakemake.params.passbands)
colours = snakemake.input.dwarf_colours
stars = None
star_list = snakemake.params.sed["star"]["lephare_list"]
if star_list:
    stars = lephare_star_table(snakemake.input.lephare, star_list, passbands, colours)
build_templates(snakemake.params.sed, passbands, colours, stars).save(snakemake.output.templates)
