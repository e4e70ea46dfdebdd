"""LePHARE's star templates as this project's own star class.

The SEDs are those of ``lephare-data``: Pickles 1998 (PASP 110, 863), brown dwarfs of
Chabrier et al. 2000 (ApJ 542, 464: NextGen, AMES-dusty and AMES-cond; ``BD/``) and model
stars below ``LAGET/``. Two things to know of them:

- Pickles' spectra end at 2.5 um. What ``.sed.ext`` adds beyond falls too steeply: M0V
  gets W1 - W2 = -1.9 (AB), where stars have -0.6. It is not used here.
- None looks like a T dwarf: through the DECam passbands AMES-cond has i - z below 1.3 at
  any temperature, where T dwarfs have 2.4 to 3.9.
"""

from __future__ import annotations

import logging
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from archipelago.base.errors import InputError
from archipelago.passbands import Passband, band_fluxes
from archipelago.sed.dwarf import COLOUR_BANDS, DwarfTable, load_dwarfs
from archipelago.sed.lephare import data_folder, template_lines

_LOG = logging.getLogger(__name__)

Floats = NDArray[np.float64]

_OWN_TABLE = Path(__file__).resolve().parents[3] / "data" / "templates" / "dwarf_colours.csv"

#: Type code of subtype 0 of each letter; giants of type M have 30 in place of 0.
_LETTERS = {"o": -60, "b": -50, "a": -40, "f": -30, "g": -20, "k": -10, "m": 0, "l": 10, "t": 20}
_GIANT = 30
#: Stars earlier than this (K0) are left out: the search's i - z > 1 keeps them away, and
#: our own table has no magnitudes and densities for them.
_EARLIEST = -10.0
_PICKLES = re.compile(r"[rw]?([obafgkm])(\d+(?:p\d+)?)(i{1,3}|iv|v)$")
_BROWN_DWARF = re.compile(r"lte(\d+)-")
#: Ranges of temperature that the authors of the models give for them (Allard et al. 2001,
#: ApJ 556, 357; from memory) [K]: dust that stays below, dust that has settled.
_MODEL_RANGE_K = {"AMES-dusty": (1700, 99_999), "AMES-cond": (0, 1400)}
_LAGET = re.compile(r"T(\d+)G")
#: Effective temperature [K] by type code, hottest first; from memory of E. Mamajek's table
#: of dwarfs (Pecaut & Mamajek 2013, ApJS 208, 9), rounded, not checked against it.
_TEFF_K = {
    **{-60: 45000, -50: 31000, -40: 9700, -30: 7200, -20: 5930, -15: 5660, -10: 5270},
    **{-5: 4440, -3: 4070, 0: 3850, 1: 3660, 2: 3560, 3: 3430, 4: 3210, 5: 3060},
    **{6: 2810, 7: 2680, 8: 2570, 9: 2380, 10: 2270, 11: 2160, 12: 2060, 13: 1920},
    **{14: 1870, 15: 1710, 16: 1550, 17: 1530, 18: 1420, 19: 1370, 20: 1255},
    **{25: 1160, 26: 950, 27: 825, 28: 680, 29: 560},
}
#: Bands that Pickles' spectra cover.
_SHORT = COLOUR_BANDS[: COLOUR_BANDS.index("K") + 1]
#: Least flux over that in J: models of the coldest have no light in g at all.
_LEAST_OVER_J = 1e-8
#: Over how many subtypes the density of a type is shared out [subtypes].
_SHARE_WIDTH = 1.0
#: An exponent of three digits, for which Fortran leaves no room for its letter.
_EXPONENT = re.compile(r"(?<=\d)([-+]\d{3})$")


def lephare_star_table(
    data: str | Path,
    star_list: str,
    passbands: Mapping[str, Passband],
    own_table: str | Path = _OWN_TABLE,
) -> DwarfTable:
    """Return LePHARE's star templates as a table of stars.

    Left out, and logged by name: SEDs that do not cover every passband, files without a
    type in their name (white dwarfs), supergiants and subgiants, giants earlier than M0,
    dwarfs earlier than K0, AMES-dusty below 1700 K and AMES-cond above 1400 K.

    The fluxes of Pickles' stars in W1 and W2 follow from that in K by the colours K - W1
    and W1 - W2 of our own table at the type, those of its ends beyond them.

    Absolute magnitudes are those of our own table at the type, linear between its
    types and constant beyond its ends. The density of each of its types is shared
    among the templates of nearby types, by a Gaussian of one subtype: the sum stays.

    Parameters
    ----------
    data : folder or archive of ``lephare-data``.
    star_list : list of templates, below ``sed/``, such as ``STAR/STAR_MOD_ALL.list``.
    passbands : responses of the nine bands of `COLOUR_BANDS`, by name.
    own_table : CSV with absolute magnitudes and densities by type.

    Returns
    -------
    DwarfTable sorted by type code; names are type and file, such as ``M6 m6v``. Codes
    of dwarfs: 0 = M0, 10 = L0, 20 = T0, and before M0 -10 = K0, -5 = K5; M giants
    30 + subtype. Several templates may have one code.

    Raises
    ------
    InputError
        If the data, the list, a passband or a file of the list is absent or cannot be
        read, or if no template is left.
    """
    absent = [band for band in COLOUR_BANDS if band not in passbands]
    if absent:
        raise InputError(
            f"no passbands for {', '.join(absent)}",
            where="LePHARE's star templates",
            next_step=f"give the passbands {', '.join(COLOUR_BANDS)}",
        )
    curves = {band: passbands[band] for band in COLOUR_BANDS}
    own = load_dwarfs(own_table)
    kept: list[tuple[float, str, Floats]] = []
    left_out: dict[str, list[str]] = {}
    with tempfile.TemporaryDirectory(prefix="archipelago-lephare-") as work:
        folder = data_folder(data, Path(work)) / "sed"
        lines = template_lines(folder / star_list)
        if not lines:
            raise InputError(
                "the list of star templates is absent or empty",
                where=str(folder / star_list),
                next_step="name another list of lephare-data",
            )
        for name in (line.split()[0] for line in lines):
            code, reason = type_code_of(name)
            if not reason:
                sed = read_sed(folder / "STAR" / name)
                try:
                    if name.startswith("PICKLES/"):
                        short = band_fluxes(*sed, {band: curves[band] for band in _SHORT})
                        fluxes = np.concatenate([short, short[-1] * _wise_over_k(code, own)])
                    else:
                        fluxes = band_fluxes(*sed, curves)
                except ValueError:
                    reason = "does not cover every passband"
            if reason:
                left_out.setdefault(reason, []).append(name)
            else:
                stem = Path(name).name.split(".sed")[0].removesuffix(".dat")
                kept.append((code, f"{type_name(code)} {stem}", fluxes))
    for reason, names in left_out.items():
        _LOG.info("%d star templates left out (%s): %s", len(names), reason, ", ".join(names))
    if not kept:
        raise InputError(
            "no star template can be used: "
            + "; ".join(f"{len(names)}: {reason}" for reason, names in left_out.items()),
            where=star_list,
            next_step="name a list with K or later stars, such as STAR/STAR_MOD_ALL.list",
        )
    kept.sort(key=lambda entry: entry[:2])
    codes = np.array([code for code, _, _ in kept])
    fluxes = np.array([row for _, _, row in kept])
    fluxes /= fluxes[:, [COLOUR_BANDS.index("J")]]
    m_j, density = _by_type(codes, own)
    return DwarfTable(
        spectral_type=tuple(name for _, name, _ in kept),
        type_code=codes,
        fluxes=np.maximum(fluxes, _LEAST_OVER_J),
        m_j_vega_mag=m_j,
        density_pc3=density,
    )


def type_code_of(name: str) -> tuple[float, str]:
    """Return the type code of a star template from its name, and why it is left out, or ''.

    Two digits are a range (``k34ii``: K3.5), but for M10; brown dwarfs and ``LAGET`` are
    typed by the temperature in their names.
    """
    stem = Path(name).name.split(".sed")[0]
    if match := _PICKLES.match(stem):
        letter, digits, luminosity = match.groups()
        subtype = float(digits.replace("p", "."))
        if len(digits) == 2 and digits != "10":
            subtype = (int(digits[0]) + int(digits[1])) / 2
        code = _LETTERS[letter] + subtype
        if luminosity == "iii":
            return code + _GIANT, "" if letter == "m" else "giant earlier than M0"
        if luminosity != "v":
            return code, "supergiant or subgiant"
    elif match := _BROWN_DWARF.match(stem):
        teff_k = 100 * int(match[1])
        code = _code_at(teff_k)
        for model, (low_k, high_k) in _MODEL_RANGE_K.items():
            if model in stem and not low_k <= teff_k <= high_k:
                return code, f"{model} outside {low_k}-{high_k} K"
    elif match := _LAGET.match(stem):
        code = _code_at(int(match[1]))
    else:
        return np.nan, "no spectral type in its name"
    return code, "dwarf earlier than K0" if code < _EARLIEST else ""


def type_name(code: float) -> str:
    """Return the spectral type of a code, to half a subtype: -5 is K5, 12.4 L2.5, 37 M7III."""
    giant = code >= _GIANT
    half = round(2 * (code - _GIANT if giant else code)) / 2
    letter = max(
        (name for name, start in _LETTERS.items() if start <= half and (name == "m" or not giant)),
        key=_LETTERS.__getitem__,
    )
    return f"{letter.upper()}{half - _LETTERS[letter]:g}{'III' if giant else ''}"


def read_sed(path: Path) -> tuple[Floats, Floats]:
    """Return wavelengths [Angstrom] and f_nu [any unit] of a file of wavelength and f_lambda.

    Fortran's exponents without a letter (``0.70-100``) are read as they were meant.

    Raises
    ------
    InputError
        If the file is absent, or has fewer than two rows, or a value that is not a number.
    """
    rows = []
    try:
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            words = line.split()
            if words and not words[0].startswith("#"):
                rows.append([float(_EXPONENT.sub(r"e\1", word)) for word in words[:2]])
        wave, flux = np.array(rows).T
        if wave.size < 2 or not np.isfinite(rows).all():
            raise ValueError("too few numbers")
    except (OSError, ValueError) as error:
        raise InputError(
            f"cannot read the SED: {error}",
            where=str(path),
            next_step="complete the data from lephare-photoz/lephare-data",
        ) from error
    wave, first = np.unique(wave, return_index=True)
    return wave, flux[first] * wave**2


def _code_at(teff_k: float) -> float:
    """Return the type code of a dwarf of a temperature, linear between `_TEFF_K`."""
    codes = sorted(_TEFF_K, reverse=True)
    return float(np.interp(teff_k, [_TEFF_K[code] for code in codes], codes))


def _wise_over_k(code: float, own: DwarfTable) -> Floats:
    """Return fluxes in W1 and W2 over that in K of a type, by our own table."""
    bands = ("K", "W1", "W2")
    mine = (own.type_code >= _GIANT) == (code >= _GIANT)
    logs = np.log(own.band_fluxes(bands)[mine])
    order = np.argsort(own.type_code[mine])
    codes = own.type_code[mine][order]
    k, w1, w2 = (np.interp(code, codes, column[order]) for column in logs.T)
    return np.exp([w1 - k, w2 - k])


def _by_type(codes: Floats, own: DwarfTable) -> tuple[Floats, Floats]:
    """Return absolute J magnitudes and densities of types, dwarfs and giants apart."""
    m_j = np.zeros(len(codes))
    density = np.zeros(len(codes))
    for mine, theirs in (
        (codes < _GIANT, own.type_code < _GIANT),
        (codes >= _GIANT, own.type_code >= _GIANT),
    ):
        if mine.any() and theirs.any():
            order = np.argsort(own.type_code[theirs])
            types = own.type_code[theirs][order]
            m_j[mine] = np.interp(codes[mine], types, own.m_j_vega_mag[theirs][order])
            distance = (codes[mine][:, None] - types[None, :]) / _SHARE_WIDTH
            # The nearest template of a type keeps a weight of 1, however far it is.
            nearest = np.abs(distance).min(axis=0)
            weight = np.exp(-0.5 * (distance**2 - nearest**2))
            weight /= weight.sum(axis=0)
            density[mine] = weight @ own.density_pc3[theirs][order]
    return m_j, density
