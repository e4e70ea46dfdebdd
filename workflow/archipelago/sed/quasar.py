"""Quasars: a parametric spectrum from the rest-frame far UV to the near infrared."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from archipelago.cosmology import distance_modulus_mag
from archipelago.sed.dust import smc_extinction
from archipelago.sed.igm import transmission

Floats = NDArray[np.float64]

#: Power law's break [Angstrom]: Temple, Hewett & Banerji 2021, MNRAS 508, 737 (a default of
#: their code qsogen).
BREAK_AA = 3880.0
#: Slope d ln f_nu / d ln nu redwards of the break: assumed. Temple et al. have +0.593 for the
#: disc alone, to which they add a host galaxy; Glikman et al. 2006 (below) -0.92 for the total
#: but hot dust; Vanden Berk et al. 2001, AJ 122, 549, -2.45 beyond 5000 A, in part host light.
RED_SLOPE = -0.6
#: Slope bluewards: assumed. Vanden Berk et al. 2001 (abstract) find -0.44 for the total, Temple
#: et al. -0.349; it is bluer here as the Balmer continuum and the iron bumps are added to it.
UV_SLOPE = -0.25
#: Bluewards of Lyman alpha the continuum bends: f_nu ~ nu^-1.7 (Telfer et al.
#: 2002, ApJ 565, 773: -1.76; Lusso et al. 2015, MNRAS 449, 4204: -1.70); where it bends is assumed.
FAR_UV_SLOPE = -1.70
FAR_UV_BREAK_AA = 1000.0

#: Height of the Balmer continuum over the power law at 3000 A (assumed), its temperature [K] and
#: edge [Angstrom] (Grandi 1982, ApJ 255, 25, in the form that qsogen gives it).
BALMER_FRACTION = 0.135
_BALMER_TEMPERATURE_K = 15_000.0
_BALMER_EDGE_AA = 3646.0

#: Hot dust: temperature [K] (Glikman et al. 2006, ApJ 640, 579, abstract: 1260 K) and f_nu over
#: the power law's at 2 um (assumed; qsogen's default is 4.0). At z > 4.5 W2 sees only its foot.
HOT_DUST_FRACTION = 3.0
_HOT_DUST_K = 1260.0

#: Emission lines: name, wavelength [Angstrom], rest equivalent width [Angstrom],
#: Gaussian sigma [Angstrom]. After Vanden Berk et al. 2001, table 2, rounded by us and not
#: checked line by line, but Lyman alpha with N V, whose width follows Banados et al. 2016
#: (ApJS 227, 11; mean about 35 A after absorption, hence about 70 A before the IGM took its
#: blue half). The iron complexes are Gaussian bumps set by us, after the looks of Vestergaard &
#: Wilkes 2001 (ApJS 134, 1; ultraviolet) and Veron-Cetty et al. 2004 (A&A 417, 515; optical).
LINES = (
    ("Lya", 1216.25, 70.0, 14.0),
    ("OVI", 1033.0, 9.8, 8.0),
    ("NV", 1240.1, 10.0, 8.0),
    ("OI", 1305.4, 1.7, 5.4),
    ("CII", 1336.6, 0.7, 3.9),
    ("SiIV", 1396.8, 8.1, 14.6),
    ("CIV", 1546.2, 23.8, 14.3),
    ("HeII", 1637.9, 0.5, 5.0),
    ("AlIII", 1856.8, 0.3, 5.0),
    ("CIII", 1905.9, 21.2, 23.6),
    ("FeUV1", 2080.0, 5.0, 40.0),
    ("FeUV2", 2480.0, 35.0, 95.0),
    ("MgII", 2800.3, 32.3, 35.0),
    ("FeUV3", 3250.0, 12.0, 120.0),
    ("Hdelta", 4102.7, 5.1, 19.0),
    ("Hgamma", 4346.4, 12.6, 20.0),
    ("FeOpt1", 4570.0, 20.0, 60.0),
    ("Hbeta", 4853.1, 46.2, 40.4),
    ("OIII1", 4960.4, 3.5, 4.0),
    ("OIII2", 5008.2, 13.2, 6.0),
    ("FeOpt2", 5300.0, 20.0, 80.0),
    ("HeI", 5877.4, 4.9, 23.5),
    ("Halpha", 6564.9, 194.5, 47.4),
)
#: Lines in this list follow ``lya_scale``, the others ``line_scale``.
_LYA_GROUP = ("Lya", "NV", "OVI")

#: Broad absorption lines: wavelength [Angstrom] of N V, Si IV and C IV, and the depth of each
#: over C IV's (assumed), over the velocities of outflow [km/s] that the balnicity index is
#: defined on (Weymann et al. 1991, ApJ 373, 23).
BAL_LINES = ((1240.1, 0.5), (1396.8, 0.5), (1549.1, 1.0))
_BAL_KM_S = (3_000.0, 25_000.0)
_C_KM_S = 299_792.458

#: Absolute magnitude at 1450 A that templates are made with; an amplitude A then
#: means M1450 = -26 - 2.5 log10 A.
REFERENCE_M1450 = -26.0


def rest_spectrum(
    wavelength_aa: ArrayLike,
    *,
    uv_slope: float = UV_SLOPE,
    line_scale: float = 1.0,
    lya_scale: float = 1.0,
    ebv: float = 0.0,
    balmer_fraction: float = BALMER_FRACTION,
    hot_dust_fraction: float = HOT_DUST_FRACTION,
    host_fraction: float = 0.0,
    bal_depth: float = 0.0,
) -> Floats:
    """Return f_nu at rest wavelengths, before the IGM, scaled to 1 at 1450 A.

    Parameters
    ----------
    wavelength_aa : rest wavelengths [Angstrom].
    uv_slope : d ln f_nu / d ln nu from 1000 to 3880 A; we take a spread of about 0.3
        between quasars.
    line_scale : factor on the equivalent widths of all lines but Lyman alpha,
        N V and O VI. The Baldwin effect and its scatter span some 0.3 to 2 (assumed).
    lya_scale : factor on those three; weak-line quasars, some 10 to 15 % at z ~ 6
        (Banados et al. 2016), have less than about 0.3.
    ebv : SMC-type E(B-V) [mag]; negative values, down to -0.05, stand for
        spectra bluer than the law allows for.
    balmer_fraction : Balmer continuum over power law at 3000 A.
    hot_dust_fraction : hot dust over power law at 2 um.
    host_fraction : host galaxy over power law at 5500 A, an old population drawn as
        f_nu ~ nu^-2 redwards of 4000 A with a break of a factor 2 there.
    bal_depth : share of the light that C IV takes in its broad absorption trough; N V and Si IV
        take half of that.

    Returns
    -------
    f_nu relative to the (reddened) continuum at 1450 A, lines left out of the norm.
    """
    wave = np.asarray(wavelength_aa, dtype=float)
    reference = np.array([1450.0])

    def continuum(at: Floats) -> Floats:
        level = _power_law(at, uv_slope)
        total = level + balmer_fraction * _balmer(at, uv_slope)
        two_um = float(_power_law(np.array([2e4]), uv_slope)[0])
        total = total + hot_dust_fraction * two_um * _planck_ratio(at, 2e4, _HOT_DUST_K)
        if host_fraction:
            green = float(_power_law(np.array([5500.0]), uv_slope)[0])
            old = (at / 5500.0) ** 2 * np.where(at > 4000.0, 1.0, 0.5)
            total = total + host_fraction * green * old
        return np.asarray(total)

    def dust(at: Floats) -> Floats:
        return np.asarray(10 ** (-0.4 * ebv * smc_extinction(at)))

    base = continuum(wave)
    excess = np.zeros(wave.shape)
    for name, centre, width, sigma in LINES:
        scale = lya_scale if name in _LYA_GROUP else line_scale
        if scale:
            profile = np.exp(-0.5 * ((wave - centre) / sigma) ** 2) / (sigma * np.sqrt(2 * np.pi))
            excess += scale * width * profile
    spectrum = base * (1 + excess) * dust(wave)
    if bal_depth:
        spectrum = spectrum * (1 - bal_depth * _troughs(wave))
    return np.asarray(spectrum / (continuum(reference) * dust(reference)))


def _troughs(wave: Floats) -> Floats:
    """Return the depth of broad absorption over C IV's, with edges of 1,000 km/s."""
    inside = np.zeros(wave.shape)
    for line_aa, depth in BAL_LINES:
        outflow_km_s = (1 - wave / line_aa) * _C_KM_S
        low, high = ((outflow_km_s - edge) / 1_000.0 for edge in _BAL_KM_S)
        trough = 1 / (1 + np.exp(-np.clip(low, -50.0, 50.0)))
        trough = trough / (1 + np.exp(np.clip(high, -50.0, 50.0)))
        inside = np.maximum(inside, depth * trough)
    return inside


def _power_law(wave: Floats, uv_slope: float) -> Floats:
    """Return the broken power law in f_nu, 1 at 1450 A."""
    level = (wave / 1450.0) ** -uv_slope
    red = (BREAK_AA / 1450.0) ** -uv_slope * (wave / BREAK_AA) ** -RED_SLOPE
    far = (FAR_UV_BREAK_AA / 1450.0) ** -uv_slope * (wave / FAR_UV_BREAK_AA) ** -FAR_UV_SLOPE
    level = np.where(wave > BREAK_AA, red, level)
    return np.asarray(np.where(wave < FAR_UV_BREAK_AA, far, level))


def _balmer(wave: Floats, uv_slope: float) -> Floats:
    """Return the Balmer continuum relative to the power law at 3000 A (Grandi 1982).

    Optical depth 1 at the edge, falling as (lambda / edge)^3; above the edge it
    is drowned in blended high-order lines, drawn as a smooth fall over 100 A.
    """
    level = float(_power_law(np.array([3000.0]), uv_slope)[0])

    def shape(at: Floats) -> Floats:
        inside = np.minimum(at, _BALMER_EDGE_AA)
        depth = 1 - np.exp(-((inside / _BALMER_EDGE_AA) ** 3))
        fall = np.exp(-0.5 * (np.clip(at - _BALMER_EDGE_AA, 0.0, None) / 100.0) ** 2)
        return np.asarray(_planck_ratio(inside, 3000.0, _BALMER_TEMPERATURE_K) * depth * fall)

    return np.asarray(level * shape(wave) / shape(np.array([3000.0])))


def _planck_ratio(wave: Floats, reference_aa: float, temperature_k: float) -> Floats:
    """Return B_nu(wave) / B_nu(reference) of a black body."""
    x = 1.438777e8 / (wave * temperature_k)
    x0 = 1.438777e8 / (reference_aa * temperature_k)
    ratio = (reference_aa / wave) ** 3
    # exp(x0 - x) (1 - exp(-x0)) / (1 - exp(-x)): no overflow in the Wien tail.
    return np.asarray(ratio * np.exp(x0 - x) * np.expm1(-x0) / np.expm1(-x))


def flux_at_1450_ujy(redshift: ArrayLike, m1450: float = REFERENCE_M1450) -> Floats:
    """Return the observed f_nu [uJy] at 1450 A (1 + z) of a quasar of absolute AB magnitude m1450.

    m = M + DM - 2.5 log10(1 + z), as bands shrink in frequency by 1 + z.
    """
    z = np.asarray(redshift, dtype=float)
    mag = m1450 + distance_modulus_mag(z) - 2.5 * np.log10(1 + z)
    return np.asarray(10 ** ((23.9 - mag) / 2.5))


def quasar_f_nu(
    wavelength_aa: ArrayLike,
    redshift: float,
    *,
    m1450: float = REFERENCE_M1450,
    uv_slope: float = UV_SLOPE,
    line_scale: float = 1.0,
    lya_scale: float = 1.0,
    ebv: float = 0.0,
    igm_scale: float = 1.0,
    proximity_mpc: float = 3.0,
    balmer_fraction: float = BALMER_FRACTION,
    hot_dust_fraction: float = HOT_DUST_FRACTION,
    host_fraction: float = 0.0,
    bal_depth: float = 0.0,
) -> Floats:
    """Return the observed spectrum of a quasar [uJy].

    Parameters
    ----------
    wavelength_aa : observed wavelengths [Angstrom], (n_wave,).
    redshift : of the quasar.
    m1450 : absolute AB magnitude of the continuum at 1450 A, as seen (reddened, and
        magnified if it is: magnification cannot be told from luminosity).
    igm_scale, proximity_mpc : see `archipelago.sed.igm.transmission`.
    others : see `rest_spectrum`.
    """
    wave = np.asarray(wavelength_aa, dtype=float)
    rest = rest_spectrum(
        wave / (1 + redshift),
        uv_slope=uv_slope,
        line_scale=line_scale,
        lya_scale=lya_scale,
        ebv=ebv,
        balmer_fraction=balmer_fraction,
        hot_dust_fraction=hot_dust_fraction,
        host_fraction=host_fraction,
        bal_depth=bal_depth,
    )
    through = transmission(wave, redshift, igm_scale, proximity_mpc)
    return np.asarray(flux_at_1450_ujy(redshift, m1450) * rest * through)
