"""UCDs (IVOA UCD1+ words for what a column means) by the name of the column, in one table.

Words are those of the UCD1+ controlled vocabulary (IVOA recommendation "The UCD1+ controlled
vocabulary", version 1.5); a test holds them against astropy's copy of it.
"""

from __future__ import annotations

import re

#: Part of the spectrum of a band, by its name: the word whose range (as the vocabulary gives it)
#: holds the band's middle. Bands of other names get none.
_SPECTRUM: dict[str, str] = {
    "u": "em.opt.U",
    "g": "em.opt.B",
    "V": "em.opt.V",
    "r": "em.opt.R",
    "i": "em.opt.I",
    "z": "em.opt.I",
    # Y and y stand between em.opt.I, which ends at 1.0 um, and em.IR.J.
    "Y": "em.IR.NIR",
    "y": "em.IR.NIR",
    "J": "em.IR.J",
    "H": "em.IR.H",
    "K": "em.IR.K",
    "Ks": "em.IR.K",
    "W1": "em.IR.3-4um",
    "W2": "em.IR.4-8um",
    "W3": "em.IR.8-15um",
    "W4": "em.IR.15-30um",
}

#: Pattern of a whole name, and its UCD; the first that fits counts. ``{em}`` is the band's part of
#: the spectrum with a semicolon before it, or nothing.
_UCDS: tuple[tuple[str, str], ...] = (
    (r"id", "meta.id;meta.main"),
    (r"ra_deg", "pos.eq.ra;meta.main"),
    (r"dec_deg", "pos.eq.dec;meta.main"),
    (r"id_\w+|source_id", "meta.id"),
    (r"ra_deg_\w+", "pos.eq.ra"),
    (r"dec_deg_\w+", "pos.eq.dec"),
    (r"tile", "pos.healpix"),
    (r"\w+_err_arcsec", "stat.error;pos.angDistance"),
    (r"(\w+_)?(separation|distance|shift|offset)_arcsec(_\w+)?", "pos.angDistance"),
    # Photometry.
    (r"flux_err_ujy_(?P<band>\w+)", "stat.error;phot.flux.density{em}"),
    (r"flux_ujy_(?P<band>\w+)", "phot.flux.density{em}"),
    (r"mag_err_(?P<band>\w+)", "stat.error;phot.mag{em}"),
    (r"mag_(ab|limit)_(?P<band>\w+)", "phot.mag{em}"),
    (r"detected_(?P<band>\w+)", "meta.code;phot.flux{em}"),
    (r"ebv_sfd98", "phot.color.excess"),
    # Rank and evidence.
    (r"(\w+_)?rank(_\w+)?", "stat.rank"),
    (r"(\w+_)?score|\w+_term|(\w+_)?log_odds(_\w+)?|\w+_log_ratio", "stat.param"),
    (r"(combined_)?p_(star|galaxy|quasar|lensed|other)", "stat.probability;src.class"),
    (r"\w+_p_value", "stat.probability"),
    (r"\w+_percentile", "stat.percentile"),
    (r"(best|combined)_class\w*|listed_type", "src.class"),
    (r"is_\w+|has_\w+", "meta.code"),
    (r"(known|listed)_name", "meta.id"),
    (r"listed_in", "meta.ref"),
    (r"known_redshift", "src.redshift"),
    (r"(\w+_)?reason|evidence_used", "meta.note"),
    (r"(\w+_)?status", "meta.code.status"),
    (r"n_\w+|\w+_n(_known)?", "meta.number"),
    # Images and islands.
    (r"island(_seed_\d+)?", "meta.code.member"),
    (r"similarity_\w+", "stat.correlation"),
    (r"island_stability|outlier_score", "stat.param"),
    (r"map_x", "pos.cartesian.x"),
    (r"map_y", "pos.cartesian.y"),
    (r"\w+_sigma(_\w+)?", "stat.snr"),
    (r"(\w+_)?flux_ratio|(galaxy|lens)_share", "phot.flux;arith.ratio"),
    (r"(\w+_)?radius_arcsec", "phys.angSize"),
    (r"(\w+_)?(bic|delta_bic)(_\w+)?", "stat.fit.goodness"),
    (r"(\w+_)?residual(_\w+)?", "stat.fit.residual"),
    (r"(\w+_)?extendedness(_\w+)?", "src.morph.param"),
    # Spectral energy distributions.
    (r"chi2(_\w+)?", "stat.fit.chi2"),
    (r"ln_(likelihood|evidence)_\w+", "stat.likelihood"),
    (r"best_\w+_template|model_\w+", "meta.id;meta.modelled"),
    (r"best_\w+_amplitude", "stat.fit.param"),
    (r"z_(quasar|galaxy|best_quasar|lensed_quasar|lens_galaxy|gal|qso)", "src.redshift.phot"),
    (r"type_code|spectral_type", "src.spType"),
    (r"wise_blend_star|torus_galaxy", "phot.flux.density;arith.ratio"),
    (r"age_\w+", "time.age"),
    (r"metallicity_\w+", "phys.abund.Z"),
    (r"av_\w+", "phys.absorption"),
    (r"ebv_\w+", "phot.color.excess"),
    (r"log_mass_\w+", "phys.mass"),
    (r"m1450_\w+", "phys.magAbs;em.UV.100-200nm"),
    (r"mag_j_\w+", "phot.mag;em.IR.J"),
    (r"uv_slope_\w+", "spect.index;em.UV"),
    (r"lya_scale_\w+", "spect.line.eqWidth;arith.ratio;em.line.Lyalpha"),
    (r"line_scale_\w+", "spect.line.eqWidth;arith.ratio"),
    (r"bal_depth_\w+", "spect.line.strength"),
    (r"igm_scale_\w+", "phys.absorption.opticalDepth;arith.ratio"),
)
_COMPILED = tuple((re.compile(pattern), ucd) for pattern, ucd in _UCDS)
#: What stands behind the name of a quantity: the range of a value, or its scatter.
_ENDS = {"_lo": "{};stat.min", "_hi": "{};stat.max", "_std": "stat.stdev"}


def ucd_of(column: str) -> str:
    """Return the UCD1+ that the name of ``column`` tells, or ''.

    ``lephare_`` before a name changes nothing; ``_lo`` and ``_hi`` behind it add ``stat.min`` and
    ``stat.max``, ``_std`` is ``stat.stdev``.
    """
    name = column.removeprefix("lephare_")
    for end, form in _ENDS.items():
        whole = _fitting(name.removesuffix(end)) if name.endswith(end) else ""
        if whole:
            return form.format(whole)
    return _fitting(name)


def _fitting(name: str) -> str:
    for pattern, ucd in _COMPILED:
        if match := pattern.fullmatch(name):
            word = _SPECTRUM.get(match.groupdict().get("band") or "", "")
            return ucd.replace("{em}", f";{word}" if word else "")
    return ""
