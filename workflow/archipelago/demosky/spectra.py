"""Spectra of everything on the synthetic sky, and their fluxes through the real passbands.

All spectra are f_nu on one logarithmic grid of observed wavelengths, `WAVELENGTH_AA`.
They are written for this sky alone: nothing here is shared with the models that the search
fits, so that fitting them is no tautology. What they rest on is told at each function.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import PchipInterpolator

from archipelago.cosmology import hubble_km_s_mpc, luminosity_distance_mpc
from archipelago.passbands import DES_VHS_WISE, load_passbands, passband_weights

Floats = NDArray[np.float64]

#: Names of the bands, bluest first.
BANDS: tuple[str, ...] = tuple(DES_VHS_WISE)
_STEP_LN = 0.0019
#: Observed wavelengths [Angstrom], (n_wave,): 3200 to 62000 in steps of 0.19 % (16 A at 8500 A).
WAVELENGTH_AA: Floats = 3200.0 * np.exp(_STEP_LN * np.arange(1561))
_LN_WAVE = np.log(WAVELENGTH_AA)

#: A_band / E(B-V)_SFD98: g to Y from Abbott et al. (2018, ApJS 239, 18), J and Ks as released
#: with the DES deep fields (Hartley et al. 2022, MNRAS 509, 3547), W1 and W2 from Yuan et al.
#: (2013, MNRAS 430, 2188).
GALACTIC_EXTINCTION = np.array([3.186, 2.140, 1.569, 1.196, 1.048, 0.705, 0.308, 0.18, 0.16])


@lru_cache(maxsize=1)
def _weights() -> Floats:
    return passband_weights(WAVELENGTH_AA, load_passbands(DES_VHS_WISE))


def fluxes(f_nu: ArrayLike) -> Floats:
    """Return the fluxes of spectra on `WAVELENGTH_AA`, (..., n_wave) -> (..., 9), same unit."""
    return np.asarray(f_nu, dtype=float) @ _weights()


def behind_galactic_dust(flux: Floats, ebv_sfd98: Floats) -> Floats:
    """Return fluxes (n, 9) dimmed by the Galaxy's dust, E(B-V) of SFD98 (n,)."""
    return flux * 10 ** (-0.4 * ebv_sfd98[:, None] * GALACTIC_EXTINCTION)


# --- scatter -------------------------------------------------------------------------------

#: Centres [Angstrom] and widths (in ln wavelength) of the bumps by which single spectra differ.
_BUMP_CENTRES_AA = np.array([4800, 6400, 7800, 9150, 9950, 12500, 16500, 21500, 33700, 46200.0])
_BUMP_WIDTHS_LN = np.array([0.12, 0.12, 0.12, 0.05, 0.05, 0.12, 0.12, 0.12, 0.12, 0.12])


def scatter_ln(rng: np.random.Generator, n: int, sigma_mag: float | Floats) -> Floats:
    """Return ln factors (n, n_wave) by which ``n`` spectra differ smoothly from their sequence.

    Ten Gaussian bumps in ln wavelength, one near each passband, with independent normal
    heights of ``sigma_mag`` (one number, or one per bump) [mag].
    """
    shape = np.exp(
        -0.5 * ((_LN_WAVE - np.log(_BUMP_CENTRES_AA)[:, None]) / _BUMP_WIDTHS_LN[:, None]) ** 2
    )
    heights = rng.normal(size=(n, len(_BUMP_CENTRES_AA))) * np.asarray(sigma_mag)
    return np.asarray((-0.4 * np.log(10) * heights) @ shape)


# --- dwarfs --------------------------------------------------------------------------------

#: AB colours (total magnitudes) of dwarfs along the spectral sequence, 6 = M6, 10 = L0, 20 = T0:
#: g-r, r-i, i-z, z-Y, Y-J, J-K, K-W1, W1-W2. Round numbers set by us: the shape of the sequences
#: after Skrzypek et al. (2015, A&A 574, A78) and Best et al. (2018, ApJS 234, 1), moved to the
#: DES and AllWISE systems by the medians of the dwarfs with photometric types in the catalogue
#: of Byrne et al. (2024), where they are too few by Kirkpatrick et al. (2011, ApJS 197, 19,
#: W1-W2).
_DWARF_COLOURS = np.array(
    [
        # type   g-r    r-i    i-z    z-Y    Y-J    J-K    K-W1   W1-W2
        [4.0, 1.52, 1.70, 0.70, 0.12, 0.42, -0.06, -0.76, -0.50],
        [6.0, 1.68, 2.12, 0.97, 0.20, 0.50, -0.07, -0.70, -0.47],
        [7.0, 1.82, 2.43, 1.12, 0.25, 0.57, -0.05, -0.66, -0.45],
        [8.0, 1.95, 2.70, 1.28, 0.31, 0.66, -0.02, -0.63, -0.43],
        [9.0, 1.98, 2.80, 1.41, 0.35, 0.77, 0.07, -0.59, -0.41],
        [10.0, 1.80, 2.62, 1.52, 0.39, 0.90, 0.16, -0.51, -0.39],
        [12.0, 1.80, 2.42, 1.60, 0.45, 1.06, 0.36, -0.32, -0.35],
        [14.0, 2.10, 2.28, 1.70, 0.46, 1.24, 0.58, -0.22, -0.31],
        [16.0, 2.40, 2.38, 1.90, 0.48, 1.36, 0.70, -0.05, -0.26],
        [18.0, 2.20, 2.36, 2.10, 0.50, 1.39, 0.92, 0.06, -0.18],
        [20.0, 2.10, 2.30, 2.45, 0.58, 1.28, 0.50, -0.03, -0.08],
        [22.0, 2.00, 2.20, 2.80, 0.78, 1.20, 0.08, -0.06, 0.12],
        [24.0, 1.80, 1.90, 3.40, 0.86, 1.52, -0.78, -0.50, 0.66],
        [26.0, 1.60, 1.80, 3.65, 1.00, 1.46, -0.95, -0.40, 1.05],
        [28.0, 1.50, 1.80, 3.80, 1.05, 1.42, -1.00, 0.05, 1.75],
    ]
)
#: Molecular bands: centre and width [Angstrom], depth [mag] at M7, L5 and T6 (TiO, VO, FeH,
#: CrH, H2O, CH4, CO; positions near those in Kirkpatrick 2005, ARA&A 43, 195; the rest is ours).
_MOLECULES = (
    (7100, 120, 0.5, 0.1, 0.0),
    (7650, 130, 0.5, 0.15, 0.1),
    (8500, 120, 0.2, 0.1, 0.1),
    (8650, 90, 0.05, 0.35, 0.15),
    (9350, 150, 0.2, 0.35, 0.9),
    (9950, 120, 0.1, 0.4, 0.2),
    (11400, 300, 0.1, 0.3, 1.5),
    (14200, 700, 0.4, 0.8, 2.0),
    (16700, 400, 0.0, 0.0, 1.5),
    (19200, 700, 0.3, 0.7, 2.0),
    (23500, 500, 0.2, 0.3, 1.0),
    (33000, 1500, 0.0, 0.15, 1.2),
    (45500, 1500, 0.0, 0.2, 0.5),
)
_GRID_TYPES = np.arange(4.0, 28.01, 0.5)


@lru_cache(maxsize=1)
def _dwarf_sequence() -> Floats:
    """Ln f_nu (n_type, n_wave) whose synthetic colours are those of `_DWARF_COLOURS`, z = 0."""
    types = _DWARF_COLOURS[:, 0]
    colours = PchipInterpolator(types, _DWARF_COLOURS[:, 1:])(_GRID_TYPES)
    magnitudes = np.concatenate(
        [np.zeros((len(_GRID_TYPES), 1)), -np.cumsum(colours, axis=1)], axis=1
    )
    magnitudes -= magnitudes[:, [BANDS.index("z")]]
    bands = np.zeros((len(_GRID_TYPES), len(WAVELENGTH_AA)))
    for centre, width, *depth in _MOLECULES:
        profile = np.exp(-0.5 * ((WAVELENGTH_AA - centre) / width) ** 2)
        bands += np.interp(_GRID_TYPES, [7.0, 15.0, 26.0], depth)[:, None] * profile
    nodes_ln = _LN_WAVE @ _weights()
    ends = np.array([_LN_WAVE[0], *nodes_ln, _LN_WAVE[-1]])
    target = -0.4 * magnitudes
    nodes = target.copy()
    for _ in range(12):  # fixed point: the fluxes of smooth spectra follow their nodes
        padded = np.concatenate([nodes[:, :1] - 0.3, nodes, nodes[:, -1:] - 0.1], axis=1)
        log_f = PchipInterpolator(ends, padded, axis=1)(_LN_WAVE) - 0.4 * bands
        nodes = nodes + target - np.log10(fluxes(10**log_f))
    return log_f * np.log(10)


def dwarf_ln_f_nu(spectral_type: Floats) -> Floats:
    """Return ln f_nu (n, n_wave) of dwarfs, scaled to a z-band flux near 1.

    Parameters
    ----------
    spectral_type : (n,) 4 (M4) to 28 (T8), fractions allowed.
    """
    sequence = _dwarf_sequence()
    place = np.clip((np.asarray(spectral_type, dtype=float) - 4.0) / 0.5, 0, len(sequence) - 1.001)
    left = place.astype(int)
    share = (place - left)[:, None]
    return np.asarray(sequence[left] * (1 - share) + sequence[left + 1] * share)


# --- galaxies ------------------------------------------------------------------------------

#: Rest wavelength [um] and f_nu (1 near 0.8 um) of an old population (drawn by us near the
#: colours of local ellipticals, U-B to K, of Fukugita et al. 1995, PASP 107, 945, and Mannucci
#: et al. 2001, MNRAS 326, 745, with the break of a D4000 of 2), of one about 2 Gyr old, and of a
#: young one (both drawn freely); beyond the table's ends the last value holds.
_OLD_POPULATION = np.array(
    [
        [0.09, 0.0005], [0.15, 0.002], [0.20, 0.003], [0.25, 0.0065], [0.28, 0.015],
        [0.30, 0.022], [0.33, 0.042], [0.36, 0.066], [0.385, 0.083], [0.400, 0.135],
        [0.410, 0.185], [0.44, 0.245], [0.48, 0.365], [0.55, 0.53], [0.65, 0.77], [0.79, 1.03],
        [0.90, 1.22], [1.05, 1.50], [1.235, 1.85], [1.45, 2.05], [1.65, 2.35], [1.85, 2.10],
        [2.2, 1.80], [2.6, 1.35], [3.35, 0.95], [4.6, 0.52], [6.5, 0.28],
    ]
)  # fmt: skip
_MIDDLE_POPULATION = np.array(
    [
        [0.09, 0.002], [0.15, 0.009], [0.20, 0.022], [0.25, 0.05], [0.28, 0.075], [0.30, 0.09],
        [0.33, 0.12], [0.36, 0.155], [0.385, 0.19], [0.400, 0.36], [0.410, 0.45], [0.44, 0.53],
        [0.48, 0.595], [0.55, 0.70], [0.65, 0.83], [0.79, 0.97], [0.90, 1.04], [0.97, 1.08],
        [1.05, 1.11], [1.235, 1.19], [1.45, 1.25], [1.65, 1.38], [1.85, 1.22], [2.2, 1.05],
        [2.6, 0.84], [3.35, 0.62], [4.6, 0.38], [6.5, 0.25],
    ]
)  # fmt: skip
_YOUNG_POPULATION = np.array(
    [
        [0.09, 0.25], [0.0915, 0.5], [0.12, 0.62], [0.15, 0.68], [0.20, 0.70], [0.28, 0.72],
        [0.36, 0.72], [0.385, 0.85], [0.400, 0.95], [0.44, 0.98], [0.55, 0.98], [0.65, 1.0],
        [0.79, 1.0], [0.90, 1.02], [1.05, 1.02], [1.235, 1.03], [1.45, 1.0], [1.65, 1.02],
        [1.85, 0.9], [2.2, 0.78], [2.6, 0.65], [3.2, 0.55], [3.29, 1.0], [3.4, 0.6], [4.6, 0.5],
        [6.5, 2.5],
    ]
)  # fmt: skip
#: Emission lines of the young population: rest wavelength [um], equivalent width [Angstrom].
_GALAXY_LINES = ((0.3727, 40.0), (0.4861, 12.0), (0.5007, 25.0), (0.6563, 70.0), (1.875, 40.0))
_LN_REST_UM = np.log(0.09) + _STEP_LN * np.arange(2300)


@lru_cache(maxsize=1)
def _galaxy_components() -> Floats:
    """Log f_nu (3, n) of old, middle and young stars, ln f_nu of hot dust: (4, n) together."""
    rows = []
    for table in (_OLD_POPULATION, _MIDDLE_POPULATION, _YOUNG_POPULATION):
        curve = PchipInterpolator(np.log(table[:, 0]), np.log(table[:, 1]), extrapolate=False)
        rows.append(np.exp(curve(np.clip(_LN_REST_UM, *np.log(table[[0, -1], 0])))))
    rest_um = np.exp(_LN_REST_UM)
    for line_um, width_aa in _GALAXY_LINES:
        sigma_um = line_um * 300.0 / 2.998e5 + line_um * _STEP_LN / 2
        profile = np.exp(-0.5 * ((rest_um - line_um) / sigma_um) ** 2)
        rows[2] *= 1 + width_aa * 1e-4 / (sigma_um * np.sqrt(2 * np.pi)) * profile
    # Hot dust of an active nucleus: f_nu ~ lambda^1.6 beyond its sublimation edge at 1 um
    # (set by us; roughly as in Hernan-Caballero et al. 2016, MNRAS 463, 2064).
    rows.append((rest_um / 2.0) ** 1.6 / (1 + (rest_um / 1.2) ** -6))
    return np.array(rows)


def calzetti_k(rest_um: Floats) -> Floats:
    """Return A(lambda) / E(B-V) of Calzetti et al. (2000, ApJ 533, 682), constant beyond 2.2 um."""
    x = 1.0 / np.clip(rest_um, 0.09, 2.2)
    red = 2.659 * (-1.857 + 1.040 * x) + 4.05
    blue = 2.659 * (-2.156 + 1.509 * x - 0.198 * x**2 + 0.011 * x**3) + 4.05
    return np.clip(np.where(rest_um < 0.63, blue, red), 0.0, None)


@dataclass(frozen=True)
class GalaxyParameters:
    """What decides the spectrum of each of n galaxies; every field has shape (n,).

    Attributes
    ----------
    redshift : redshift.
    middle, young : shares of the light at 0.8 um (rest) from stars of about 2 Gyr and from young
        ones; the rest is old.
    ebv_mag : E(B-V) of Calzetti dust before all stars.
    hot_dust : flux of the nucleus's hot dust at 2 um over the stars' at 0.8 um.
    """

    redshift: Floats
    middle: Floats
    young: Floats
    ebv_mag: Floats
    hot_dust: Floats


def galaxy_f_nu(parameters: GalaxyParameters) -> Floats:
    """Return observed spectra (n, n_wave) of galaxies, about 1 at 0.8 um (rest) before dust."""
    parts = _galaxy_components()
    shift = (np.log(WAVELENGTH_AA[0] / 1e4) - np.log1p(parameters.redshift)) - _LN_REST_UM[0]
    place = shift / _STEP_LN
    left = np.floor(place).astype(int)
    share = (place - left)[:, None]
    index = np.clip(left[:, None] + np.arange(len(WAVELENGTH_AA)), 0, parts.shape[1] - 2)
    old = 1.0 - parameters.middle - parameters.young
    amounts = (old, parameters.middle, parameters.young)
    dust = calzetti_k(np.exp(_LN_REST_UM))
    k = dust[index] * (1 - share) + dust[index + 1] * share
    stars = np.zeros(index.shape)
    for part, amount in zip(parts[:3], amounts, strict=True):
        stars += amount[:, None] * (part[index] * (1 - share) + part[index + 1] * share)
    stars *= np.exp(-0.4 * np.log(10) * k * parameters.ebv_mag[:, None])
    torus = parts[3]
    return stars + parameters.hot_dust[:, None] * (
        torus[index] * (1 - share) + torus[index + 1] * share
    )


def flux_at_rest(f_nu: Floats, redshift: Floats, rest_um: float) -> Floats:
    """Return f_nu (n,) of spectra (n, n_wave) at a rest wavelength (nearest grid point)."""
    place = (np.log(rest_um * 1e4) + np.log1p(redshift) - _LN_WAVE[0]) / _STEP_LN
    index = np.clip(np.round(place).astype(int), 0, len(WAVELENGTH_AA) - 1)
    return np.asarray(f_nu[np.arange(len(f_nu)), index])


# --- quasars -------------------------------------------------------------------------------

#: Broad lines: rest wavelength [Angstrom], median equivalent width [Angstrom], scatter [dex],
#: width [km/s]. Set by us: equivalent widths near those of Vanden Berk et al. (2001, AJ 122, 549,
#: table 2), Lyman alpha + N V after Banados et al. (2016, ApJS 227, 11); iron as broad bumps.
_QUASAR_LINES = (
    (1034.0, 9.0, 0.15, 2800.0),
    (1215.7, 42.0, 0.28, 2300.0),
    (1240.1, 14.0, 0.20, 3000.0),
    (1262.0, 3.0, 0.15, 3000.0),
    (1305.0, 3.0, 0.20, 2500.0),
    (1398.0, 8.0, 0.15, 3500.0),
    (1549.0, 28.0, 0.25, 3200.0),
    (1650.0, 9.0, 0.15, 5000.0),
    (1906.0, 20.0, 0.15, 4000.0),
    (2400.0, 35.0, 0.20, 15000.0),
    (2798.0, 30.0, 0.18, 2300.0),
    (3300.0, 50.0, 0.20, 20000.0),
    (4340.0, 15.0, 0.15, 2500.0),
    (4570.0, 25.0, 0.25, 6000.0),
    (4862.0, 55.0, 0.15, 2400.0),
    (5005.0, 15.0, 0.35, 700.0),
    (6563.0, 220.0, 0.15, 2300.0),
)
_C_KM_S = 299792.458


@dataclass(frozen=True)
class QuasarParameters:
    """What decides the mean spectrum of each of n quasars; every field has shape (n,).

    Attributes
    ----------
    redshift : redshift.
    absolute_mag_1450 : AB, at 1450 Angstrom (rest), before dust.
    slope : f_lambda ~ lambda^slope shortward of 5600 Angstrom (rest).
    ebv_mag : E(B-V) of SMC dust in the host.
    proximity_mpc : size of the quasar's own ionised zone [proper Mpc].
    broad_absorption : depth (0 to 1) of broad absorption troughs, 0 for none.
    """

    redshift: Floats
    absolute_mag_1450: Floats
    slope: Floats
    ebv_mag: Floats
    proximity_mpc: Floats
    broad_absorption: Floats


def forest_optical_depth(redshift: Floats) -> Floats:
    """Return the effective Lyman alpha optical depth of the intergalactic gas at ``redshift``.

    0.3 ((1 + z) / 5.8)^13.7 + 1.35 at z > 4.8 (Bosman et al. 2022, MNRAS 514, 55),
    0.751 ((1 + z) / 4.5)^2.90 - 0.132 below (Becker et al. 2013, MNRAS 430, 2067).
    """
    one_plus_z = 1.0 + np.clip(np.asarray(redshift, dtype=float), 0.0, 7.5)
    late = np.clip(0.751 * (one_plus_z / 4.5) ** 2.90 - 0.132, 0.0, None)
    early = 0.3 * (one_plus_z / 5.8) ** 13.7 + 1.35
    return np.where(one_plus_z > 5.8, early, late)


def _sight_lines(rng: np.random.Generator, parameters: QuasarParameters) -> Floats:
    """Transmission (n, n_wave) of the intergalactic gas before each quasar.

    Optical depths scatter about the mean by a factor that is lognormal (0.3 in ln) and
    correlated over 0.05 in ln wavelength (some 100 comoving Mpc: the patchy end of reionisation)
    and again over 0.004 (single gaps).
    """
    n = len(parameters.redshift)
    rest = WAVELENGTH_AA / (1 + parameters.redshift[:, None])
    patches = np.zeros((n, len(WAVELENGTH_AA)))
    for width_ln, amplitude in ((0.05, 0.25), (0.004, 0.35)):
        nodes = np.arange(_LN_WAVE[0], _LN_WAVE[0] + 1.4, width_ln)
        place = np.clip((_LN_WAVE - nodes[0]) / width_ln, 0, len(nodes) - 1.001)
        left, share = place.astype(int), place - place.astype(int)
        values = rng.normal(0.0, amplitude, (n, len(nodes)))
        patches += values[:, left] * (1 - share) + values[:, left + 1] * share
    alpha_z = WAVELENGTH_AA / 1215.67 - 1
    # Distance from the quasar along the line of sight, as c d(ln lambda) / H [proper Mpc].
    hubble = hubble_km_s_mpc(parameters.redshift)
    away = np.log(1215.67 / rest) * _C_KM_S / hubble[:, None]
    near = 1 - np.exp(-((np.clip(away, 0, None) / parameters.proximity_mpc[:, None]) ** 2))
    tau = np.where(rest < 1215.67, forest_optical_depth(alpha_z) * np.exp(patches) * near, 0.0)
    # Higher lines: effective optical depths over Lyman alpha's in the same gas after Fan et al.
    # 2006 (AJ 132, 117): 1 / 2.25 and 1 / 4.4, more than the oscillator strengths say, as
    # alpha saturates first. Their patches are those of the gas, elsewhere on the sight line.
    for line_aa, share in ((1025.72, 1 / 2.25), (972.54, 1 / 4.4)):
        gas_z = WAVELENGTH_AA / line_aa - 1
        tau += np.where(
            rest < line_aa, share * forest_optical_depth(gas_z) * np.exp(patches[:, ::-1]), 0.0
        )
    # Red damping wing of the partly neutral gas beyond the zone, of little weight at z < 6.5.
    neutral = 0.06 * np.clip(parameters.redshift - 5.6, 0, None)[:, None]
    tau += np.where(rest >= 1215.67, neutral / (0.3 - 10 * np.clip(away, -50, 0) / 10), 0.0)
    return np.where(rest < 911.8, 0.0, np.exp(-tau))


def quasar_f_nu(rng: np.random.Generator, parameters: QuasarParameters) -> Floats:
    """Return observed spectra (n, n_wave) of quasars [uJy].

    Broken power law (f_lambda ~ lambda^-0.45 beyond 5600 Angstrom, assumed: the composite of
    Vanden Berk et al. 2001 has +0.45 beyond 5000, in part the light of host galaxies), broad
    lines with scattered equivalent widths, one Baldwin-like factor per quasar and blueshifts,
    troughs of broad absorption, SMC dust (A = 1.39 lambda_um^-1.2 E(B-V), Prevot et al.
    1984, A&A 132, 389), the intergalactic gas of one sight line each.
    """
    z = parameters.redshift[:, None]
    rest = WAVELENGTH_AA / (1 + z)
    slope = np.where(rest < 5600.0, parameters.slope[:, None], -0.45)
    pivot = np.where(rest < 5600.0, 1450.0, 5600.0)
    scale = np.where(rest < 5600.0, 1.0, (5600.0 / 1450.0) ** parameters.slope[:, None])
    continuum = scale * (rest / pivot) ** slope
    strength = 10 ** rng.normal(0.0, 0.12, (len(z), 1))
    excess = np.zeros_like(rest)
    for line_aa, width_aa, scatter_dex, sigma_km_s in _QUASAR_LINES:
        equivalent = width_aa * strength * 10 ** rng.normal(0.0, scatter_dex, (len(z), 1))
        sigma = line_aa * sigma_km_s * 10 ** rng.normal(0.0, 0.08, (len(z), 1)) / _C_KM_S
        blueshift = np.abs(rng.normal(0.0, 900.0, (len(z), 1))) if line_aa < 1600 else 0.0
        centre = line_aa * (1 - blueshift / _C_KM_S)
        profile = np.exp(-0.5 * ((rest - centre) / sigma) ** 2)
        excess += equivalent / (sigma * np.sqrt(2 * np.pi)) * profile
    f_lambda = continuum * (1 + excess)
    for line_aa in (1240.1, 1398.0, 1549.0):
        speed = rng.uniform(5000.0, 15000.0, (len(z), 1))
        trough = np.exp(-(((1 - rest / line_aa) * _C_KM_S - speed) ** 2) / (2 * 3000.0**2))
        f_lambda *= 1 - parameters.broad_absorption[:, None] * trough
    f_lambda *= 10 ** (-0.4 * 1.39 * (rest / 1e4) ** -1.2 * parameters.ebv_mag[:, None])
    f_lambda *= _sight_lines(rng, parameters)
    f_nu = f_lambda * (rest / 1450.0) ** 2
    distance = luminosity_distance_mpc(parameters.redshift)
    apparent = parameters.absolute_mag_1450 + 5 * np.log10(distance * 1e5)
    apparent -= 2.5 * np.log10(1 + parameters.redshift)
    return np.asarray(f_nu * 10 ** (0.4 * (23.9 - apparent))[:, None])
