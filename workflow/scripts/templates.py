"""Photometry of all SED templates, once for all catalogues.

Output
------
templates : npz: per class (star, galaxy, quasar) band fluxes [uJy] for amplitude 1 and
    the parameters of each template; representatives that the composite pairs; bands,
    pivot wavelengths, the grids asked for

Input `dwarf_colours`: table of star colours. Params `passbands`: per band a
curve's name or path; `sed`: the grids (section `sed.models`).
"""

from archipelago.base.logs import log_to
from archipelago.passbands import load_passbands
from archipelago.sed.templates import build_templates

log_to(snakemake.log[0])

build_templates(
    snakemake.params.sed,
    load_passbands(snakemake.params.passbands),
    snakemake.input.dwarf_colours,
).save(snakemake.output.templates)
