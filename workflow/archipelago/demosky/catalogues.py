"""What each survey measures of the population: DES, AllWISE, unWISE, VHS, and Milliquas.

Depths are those of the surveys (the medians and spreads of the flux errors in the final sample of
Byrne et al. 2024, MNRAS, arXiv:2403.17903), vary over the sky, and set both the errors that are
quoted and the scatter that is drawn.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from astropy import units as u
from astropy.coordinates import SkyCoord
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from archipelago.demosky.apertures import aperture_fraction, point_fraction
from archipelago.demosky.population import Population
from archipelago.demosky.spectra import BANDS, behind_galactic_dust

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

#: AB - Vega [mag]: VISTA after Gonzalez-Fernandez et al. (2018), WISE after Jarrett et al. (2011,
#: ApJ 735, 112).
VEGA_TO_AB = {"J": 0.916, "K": 1.827, "W1": 2.699, "W2": 3.339}

#: Median 1-sigma sky noise [uJy], relative spread over the sky (in ln), noise per root uJy of the
#: object's own light [uJy^0.5], floor of the error as a fraction of the flux, per band. Medians
#: and spreads are those of the flux errors in the catalogue of Byrne et al. (2024); the
#: object's own noise from its brightest members.
_NOISE = {
    "g": (0.046, 0.12, 0.011, 0.0),
    "r": (0.062, 0.12, 0.009, 0.0),
    "i": (0.096, 0.13, 0.020, 0.0),
    "z": (0.195, 0.13, 0.020, 0.0),
    "Y": (0.690, 0.16, 0.050, 0.0),
    "J": (5.2, 0.33, 0.09, 0.002),
    "K": (12.8, 0.24, 0.09, 0.002),
    "W1": (4.2, 0.20, 0.02, 0.022),
    "W2": (8.4, 0.18, 0.03, 0.020),
}
#: unWISE's noise over AllWISE's: more years of data, but crowding (Schlafly et al. 2019,
#: ApJS 240, 30); the number is assumed.
_UNWISE_NOISE = 0.68
#: Seeing (FWHM) [arcsec] that, with `apertures.MOFFAT_BETA`, gives the losses of DES DR2's
#: aperture 4; set by us, near the medians of Abbott et al. (2021, ApJS 255, 20, abstract).
SEEING_ARCSEC = {"g": 1.00, "r": 0.90, "i": 0.83, "z": 0.83, "Y": 0.87}
_DES_RADIUS_ARCSEC = 0.975
_DES = ("g", "r", "i", "z", "Y")
_I, _Z, _J, _K, _W1, _W2 = (BANDS.index(b) for b in ("i", "z", "J", "K", "W1", "W2"))

#: Ways in which a row of a real catalogue is spoilt, with the share of objects. The first five end
#: in the DES cut, the others in cuts on the partners.
ACCIDENTS: dict[str, float] = {
    "des flags": 0.010,
    "des imaflags": 0.008,
    "des z noisy": 0.004,
    "des Y noisy": 0.004,
    "des Y faint": 0.003,
    "W1 error missing": 0.008,
    "W1 undetected": 0.008,
    "W2 undetected": 0.006,
    "J missing": 0.008,
    "K missing": 0.006,
    "J undetected": 0.008,
    "K undetected": 0.006,
}


@dataclass(frozen=True)
class Field:
    """Smooth variations over the sky: sums of a few plane waves of 1 to 3 degrees.

    Attributes
    ----------
    waves : per quantity (n_quantity, n_wave, 3): wave vectors [1/deg] and phases.
    """

    waves: Floats

    def __call__(self, quantity: int, x_deg: Floats, y_deg: Floats) -> Floats:
        """Return the quantity, of mean 0 and variance 1 over large areas."""
        kx, ky, phase = self.waves[quantity].T
        angle = x_deg[:, None] * kx + y_deg[:, None] * ky + phase
        return np.asarray(np.sqrt(2 / len(kx)) * np.cos(angle).sum(axis=1))


def draw_field(rng: np.random.Generator, n_quantities: int) -> Field:
    """Draw the variations of ``n_quantities`` over the sky."""
    length = 2 * np.pi / rng.uniform(0.8, 3.0, (n_quantities, 5))
    angle = rng.uniform(0, 2 * np.pi, (n_quantities, 5))
    phase = rng.uniform(0, 2 * np.pi, (n_quantities, 5))
    return Field(np.stack([length * np.cos(angle), length * np.sin(angle), phase], axis=2))


@dataclass(frozen=True)
class Measured:
    """What all surveys saw of n objects at given positions, before anything is left out.

    Attributes
    ----------
    ra_deg, dec_deg : DES position [deg], (n,).
    ebv_sfd98 : Galactic reddening [mag], (n,).
    origin_east_arcsec, origin_north_arcsec : DES position from the object's origin.
    flux_total_ujy : noise-free totals behind Galactic dust, (n, 9).
    part_flux_ujy : the same per component, (n_parts, 9).
    des : columns of ``des_dr2.mag`` but ids and tile names.
    allwise, unwise, vhs : one row per object, with ``seen`` (bool) and the offset from the DES
        position ``east_arcsec``, ``north_arcsec``.
    """

    ra_deg: Floats
    dec_deg: Floats
    ebv_sfd98: Floats
    origin_east_arcsec: Floats
    origin_north_arcsec: Floats
    flux_total_ujy: Floats
    part_flux_ujy: Floats
    des: pd.DataFrame
    allwise: pd.DataFrame
    unwise: pd.DataFrame
    vhs: pd.DataFrame

    def take(self, rows: NDArray[np.int64], part_rows: NDArray[np.int64]) -> Measured:
        """Return the objects of ``rows``; ``part_rows`` are their components' rows."""
        tables = {
            name: getattr(self, name).iloc[rows].reset_index(drop=True)
            for name in ("des", "allwise", "unwise", "vhs")
        }
        arrays = {
            name: getattr(self, name)[rows]
            for name in (
                "ra_deg",
                "dec_deg",
                "ebv_sfd98",
                "origin_east_arcsec",
                "origin_north_arcsec",
                "flux_total_ujy",
            )
        }
        return replace(self, part_flux_ujy=self.part_flux_ujy[part_rows], **tables, **arrays)


def moved(
    ra_deg: Floats, dec_deg: Floats, east_arcsec: Floats, north_arcsec: Floats
) -> tuple[Floats, Floats]:
    """Return positions moved by small angles [arcsec]; right ascension within 0 to 360."""
    ra = ra_deg + east_arcsec / 3600 / np.cos(np.deg2rad(dec_deg))
    return np.mod(ra, 360.0), dec_deg + north_arcsec / 3600


def noise_ujy(band: str, flux_ujy: Floats, depth: Floats) -> Floats:
    """Return 1-sigma errors [uJy] of total or aperture fluxes, where ``depth`` scales the sky's."""
    sky, _, own, floor = _NOISE[band]
    light = np.clip(flux_ujy, 0.0, None)
    return np.sqrt((sky * depth) ** 2 + own**2 * light + (floor * light) ** 2)


def _summed(owner: NDArray[np.int64], values: Floats, n: int) -> Floats:
    """Sum over the components of each of ``n`` objects."""
    return np.bincount(owner, values, n).astype(float)


def _detection_centre(population: Population, flux: Floats) -> tuple[Floats, Floats]:
    """Where DES lists each object [arcsec from its origin]: a windowed centroid in r + i + z.

    It starts at the component that is brightest per area of the seeing disc, and weighs with
    a Gaussian of 0.55 arcsec: images and lenses nearer than about an arcsec are one object,
    wider ones leave it on the brightest.
    """
    parts = population.parts
    owner = parts["object"].to_numpy()
    x, y = parts["east_arcsec"].to_numpy(), parts["north_arcsec"].to_numpy()
    size = np.nan_to_num(parts["r_eff_arcsec"].to_numpy())
    light = flux[:, 1:4].sum(axis=1) / (1 + (size / 0.5) ** 2)
    order = np.lexsort((-light, owner))
    first = order[np.concatenate([[True], np.diff(owner[order]) > 0])]
    cx, cy = x[first].copy(), y[first].copy()
    for _ in range(8):
        weight = light * np.exp(-((x - cx[owner]) ** 2 + (y - cy[owner]) ** 2) / (2 * 0.55**2))
        total = _summed(owner, weight, len(population))
        cx = _summed(owner, weight * x, len(population)) / total
        cy = _summed(owner, weight * y, len(population)) / total
    return cx, cy


def measure(
    rng: np.random.Generator,
    population: Population,
    ra_deg: Floats,
    dec_deg: Floats,
    plane_deg: tuple[Floats, Floats],
    field: Field,
) -> Measured:
    """Let all surveys measure a population.

    Parameters
    ----------
    rng : source of the noise.
    population : n objects.
    ra_deg, dec_deg : positions of their origins [deg], (n,).
    plane_deg : the same on a tangent plane [deg], for the `field`'s variations.
    field : of ten quantities: depth in the nine bands, and Galactic dust.
    """
    n = len(population)
    ebv = 0.014 * np.exp(0.3 * field(9, *plane_deg))
    owner = population.parts["object"].to_numpy()
    part_flux = behind_galactic_dust(population.flux_ujy, ebv[owner])
    total = np.zeros((n, len(BANDS)))
    np.add.at(total, owner, part_flux)
    depth = {
        band: np.exp(_NOISE[band][1] * (0.85 * field(k, *plane_deg) + 0.5 * rng.standard_normal(n)))
        for k, band in enumerate(BANDS)
    }
    accident = _draw_accidents(rng, n)
    cx, cy = _detection_centre(population, part_flux)
    jitter = 0.03
    cx, cy = cx + rng.normal(0, jitter, n), cy + rng.normal(0, jitter, n)
    ra, dec = moved(ra_deg, dec_deg, cx, cy)
    des = _measure_des(rng, population, part_flux, (cx, cy), depth, accident)
    des["ebv_sfd98"] = ebv
    allwise, unwise = _measure_wise(rng, population, part_flux, (cx, cy), depth, accident)
    vhs = _measure_vhs(rng, population, part_flux, (cx, cy), depth, accident)
    return Measured(ra, dec, ebv, cx, cy, total, part_flux, des, allwise, unwise, vhs)


def _draw_accidents(rng: np.random.Generator, n: int) -> NDArray[np.str_]:
    names = np.array(["", *ACCIDENTS])
    share = np.array([1 - sum(ACCIDENTS.values()), *ACCIDENTS.values()])
    return names[rng.choice(len(names), n, p=share)]


def _magnitude(flux_ujy: Floats, error_ujy: Floats) -> tuple[Floats, Floats]:
    """AB magnitudes and errors, 99 where the flux is not positive."""
    good = flux_ujy > 0
    safe = np.where(good, flux_ujy, 1.0)
    magnitude = np.where(good, 23.9 - 2.5 * np.log10(safe), 99.0)
    return magnitude, np.where(good, 1.0857 * error_ujy / safe, 99.0)


def _measure_des(
    rng: np.random.Generator,
    population: Population,
    part_flux: Floats,
    centre: tuple[Floats, Floats],
    depth: dict[str, Floats],
    accident: NDArray[np.str_],
) -> pd.DataFrame:
    """Aperture-4 magnitudes, flags; no aperture correction, as in DES DR2."""
    n = len(population)
    owner = population.parts["object"].to_numpy()
    objects = population.objects
    boosted = objects["artefact_bands"].to_numpy(dtype=str)
    level = objects["artefact_level_ujy"].to_numpy(dtype=float)
    saturated = (objects["kind"] == "artefact saturated").to_numpy()
    seeing_mag = rng.normal(0, 0.02, n)
    columns: dict[str, Floats | NDArray[np.int64]] = {}
    for k, band in enumerate(_DES):
        share = aperture_fraction(
            population.parts,
            centre[0][owner],
            centre[1][owner],
            _DES_RADIUS_ARCSEC,
            SEEING_ARCSEC[band],
        )
        flux = _summed(owner, part_flux[:, k] * share, n)
        spoilt = (np.char.find(boosted, band) >= 0) & ~saturated
        flux = flux + np.where(spoilt, 0.7 * level, 0.0)
        # A full core: light is lost in every band, by very different amounts.
        flux = flux * np.where(saturated, 10 ** (-0.4 * rng.exponential(0.9, n)), 1.0)
        flux = flux * 10 ** (-0.4 * (seeing_mag + rng.normal(0, 0.012, n)))
        error = noise_ujy(band, flux, depth[band])
        error = np.where(accident == f"des {band} noisy", flux * rng.uniform(0.1, 0.3, n), error)
        flux = flux + error * rng.standard_normal(n)
        if band == "Y":
            faint = accident == "des Y faint"
            flux = np.where(faint, rng.uniform(0.5, 3.5, n), flux)
            error = np.where(faint, flux * 0.06, error)
        magnitude, magnitude_error = _magnitude(flux, error)
        name = band.lower()
        columns[f"mag_aper_4_{name}"] = magnitude.round(6)
        columns[f"magerr_aper_4_{name}"] = magnitude_error.round(7)
    hit = rng.integers(0, 5, n)
    for k, band in enumerate(_DES):
        flags = rng.choice([0, 1, 2, 3], n, p=[0.86, 0.03, 0.07, 0.04])
        bad = (accident == "des flags") & (hit == k)
        columns[f"flags_{band.lower()}"] = np.where(bad, rng.choice([4, 6, 16, 20], n), flags)
        bad = (accident == "des imaflags") & (hit == k)
        columns[f"imaflags_iso_{band.lower()}"] = np.where(bad, rng.choice([1, 2, 8, 64], n), 0)
    return pd.DataFrame(columns)


def _measure_wise(
    rng: np.random.Generator,
    population: Population,
    part_flux: Floats,
    centre: tuple[Floats, Floats],
    depth: dict[str, Floats],
    accident: NDArray[np.str_],
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """AllWISE and unWISE: everything within the 6 arcsec beam counts, unrelated sources too."""
    n = len(population)
    owner = population.parts["object"].to_numpy()
    # The brightest unrelated source within 4 arcsec: N(> S) = 0.05 (S / 20 uJy)^-1.25 per such
    # circle, from counts of some 14 000 per square degree above 20 uJy at 3.4 um.
    intruder = 20.0 * (rng.exponential(1.0, n) / 0.05) ** (-1 / 1.25)
    intruder = np.minimum(intruder, 300.0)
    radius = 4.0 * np.sqrt(rng.random(n))
    intruder *= np.exp(-(radius**2) / (2 * 3.2**2))
    angle = rng.uniform(0, 2 * np.pi, n)
    intruder_colour = rng.normal(-0.15, 0.3, n)
    flux = {}
    for band, k in (("W1", _W1), ("W2", _W2)):
        own = _summed(owner, part_flux[:, k], n)
        more = intruder * (1.0 if band == "W1" else 10 ** (0.4 * intruder_colour))
        flux[band] = own + more
    weight = part_flux[:, _W1]
    own = _summed(owner, weight, n)
    x = _summed(owner, weight * population.parts["east_arcsec"].to_numpy(), n)
    y = _summed(owner, weight * population.parts["north_arcsec"].to_numpy(), n)
    pull = 0.5 * intruder * radius
    x = (x + pull * np.cos(angle)) / (own + intruder) - centre[0]
    y = (y + pull * np.sin(angle)) / (own + intruder) - centre[1]
    first = {band: rng.standard_normal(n) for band in ("W1", "W2")}
    tables = []
    for survey, scale in (("allwise", 1.0), ("unwise", _UNWISE_NOISE)):
        value, sigma = {}, {}
        for band in ("W1", "W2"):
            sigma[band] = noise_ujy(band, flux[band], depth[band] * scale)
            # AllWISE's data are a part of unWISE's.
            draw = first[band]
            if survey == "unwise":
                draw = 0.5 * draw + np.sqrt(0.75) * rng.standard_normal(n)
            value[band] = flux[band] + sigma[band] * draw
        ratio = value["W1"] / sigma["W1"]
        seen = (ratio > 5.0) | (value["W2"] / sigma["W2"] > 5.0)
        seen &= rng.random(n) > 0.06  # merged with a brighter neighbour
        wander = 2.6 / np.clip(ratio, 4.0, 60.0)
        table = pd.DataFrame(
            {
                "seen": seen,
                "east_arcsec": x + wander * 0.5 * rng.standard_normal(n) + rng.normal(0, 0.06, n),
                "north_arcsec": y + wander * 0.5 * rng.standard_normal(n) + rng.normal(0, 0.06, n),
            }
        )
        if survey == "allwise":
            table = table.join(_allwise_columns(rng, value, sigma, accident))
        else:
            table = table.join(_unwise_columns(rng, value, sigma, accident))
        tables.append(table)
    return tables[0], tables[1]


def _allwise_columns(
    rng: np.random.Generator,
    value: dict[str, Floats],
    sigma: dict[str, Floats],
    accident: NDArray[np.str_],
) -> pd.DataFrame:
    """Vega magnitudes; under 2 sigma the 95 % upper limit and no error (Cutri et al. 2013)."""
    n = len(accident)
    columns: dict[str, object] = {}
    quality = []
    for band in ("W1", "W2"):
        ratio = value[band] / sigma[band]
        limit = (ratio < 1.9) | (accident == f"{band} error missing")
        flux = np.where(limit, np.clip(value[band], 0, None) + 2 * sigma[band], value[band])
        # A missing error without a limit: the magnitude of the first pass is kept.
        flux = np.where(accident == f"{band} error missing", np.abs(value[band]) + 1.0, flux)
        magnitude = 23.9 - 2.5 * np.log10(flux) - VEGA_TO_AB[band]
        error = np.where(limit, np.nan, 1.0857 * sigma[band] / flux)
        spoilt = accident == f"{band} undetected"
        error = np.where(spoilt & ~limit, rng.uniform(0.56, 0.9, n), error)
        columns[f"{band}mag"] = magnitude.round(3)
        columns[f"e_{band}mag"] = error.round(3)
        ratio = np.where(spoilt, 1.95, ratio)
        steps = np.select([limit, ratio < 3, ratio < 10], ["U", "C", "B"], "A")
        quality.append(steps)
    letters = rng.choice(["U", "C"], (2, n), p=[0.9, 0.1])
    columns["ccf"] = rng.choice(["0000", "000h", "d000", "00H0"], n, p=[0.96, 0.02, 0.01, 0.01])
    columns["ex"] = rng.choice([0, 1], n, p=[0.99, 0.01])
    columns["var"] = np.char.add(
        np.char.add(rng.integers(0, 6, n).astype(str), rng.integers(0, 6, n).astype(str)), "nn"
    )
    columns["qph"] = np.char.add(
        np.char.add(quality[0], quality[1]), np.char.add(letters[0], letters[1])
    )
    table = pd.DataFrame(columns)
    return table[["W1mag", "e_W1mag", "W2mag", "e_W2mag", "ccf", "ex", "var", "qph"]]


def _unwise_columns(
    rng: np.random.Generator,
    value: dict[str, Floats],
    sigma: dict[str, Floats],
    accident: NDArray[np.str_],
) -> pd.DataFrame:
    """Vega nanomaggies; NaN in a band without its own detection (Schlafly et al. 2019)."""
    n = len(accident)
    columns: dict[str, Floats] = {}
    for band in ("W1", "W2"):
        per_nmgy = 10 ** (0.4 * (VEGA_TO_AB[band] - 1.4))  # Vega nanomaggies per uJy
        none = value[band] / sigma[band] < (3.0 if band == "W1" else 2.2)
        none |= accident == f"{band} error missing"
        error = np.where(accident == f"{band} undetected", value[band] * 0.6, sigma[band])
        columns[f"FW{band[1]}"] = np.where(none, np.nan, value[band] * per_nmgy).round(3)
        columns[f"e_FW{band[1]}"] = np.where(none, np.nan, error * per_nmgy).round(3)
        columns[f"q_{band}"] = np.where(none, np.nan, 1 - rng.beta(1.0, 20.0, n)).round(3)
    table = pd.DataFrame(columns)
    return table[["FW1", "FW2", "e_FW1", "e_FW2", "q_W1", "q_W2"]]


def _measure_vhs(
    rng: np.random.Generator,
    population: Population,
    part_flux: Floats,
    centre: tuple[Floats, Floats],
    depth: dict[str, Floats],
    accident: NDArray[np.str_],
) -> pd.DataFrame:
    """Vega magnitudes: in 2 arcsec, corrected as for points (ap3), and Petrosian (total)."""
    n = len(population)
    owner = population.parts["object"].to_numpy()
    share = aperture_fraction(population.parts, centre[0][owner], centre[1][owner], 1.0, 0.95)
    share /= point_fraction(np.zeros(1), 1.0, 0.95)
    wide = aperture_fraction(population.parts, centre[0][owner], centre[1][owner], 2.5, 0.95)
    noise = rng.standard_normal((2, n))
    columns: dict[str, Floats | NDArray[np.int64]] = {}
    ratio = {}
    for j, (band, k) in enumerate((("J", _J), ("K", _K))):
        near = _summed(owner, part_flux[:, k] * share, n)
        all_light = _summed(owner, part_flux[:, k] * np.minimum(wide * 1.06, 1.0), n)
        name = "J" if band == "J" else "Ks"
        missing = accident == f"{band} missing"
        kinds = ((all_light, f"{name}pmag", 1.0), (near, f"{name}ap3", 0.95))
        for flux, column, more in kinds:
            sigma = noise_ujy(band, flux, depth[band] * more)
            drawn = flux * 10 ** (-0.4 * rng.normal(0, 0.015, n)) + sigma * noise[j]
            value = drawn / sigma
            none = (value < 1.8) | missing
            safe = np.where(none, 1.0, drawn)
            magnitude = 23.9 - 2.5 * np.log10(safe) - VEGA_TO_AB[band]
            error = 1.0857 * sigma / safe
            error = np.where(accident == f"{band} undetected", rng.uniform(0.56, 1.0, n), error)
            columns[column] = np.where(none, np.nan, magnitude).round(4)
            columns[f"e_{column}"] = np.where(none, np.nan, error).round(4)
            if column.endswith("pmag"):
                ratio[band] = value
    seen = (ratio["J"] > 4.0) | (ratio["K"] > 4.5)
    extended = np.zeros(n, dtype=bool)
    extended[owner[(population.parts["r_eff_arcsec"] > 0.25).to_numpy()]] = True
    wrong = rng.random(n) < 0.12
    table = pd.DataFrame(
        {
            "seen": seen,
            "east_arcsec": rng.normal(0, 0.08, n),
            "north_arcsec": rng.normal(0, 0.08, n),
            "Mclass": np.where(extended ^ wrong, 1, -1),
            **columns,
            "prim": np.ones(n, dtype=int),
        }
    )
    order = ["Jpmag", "e_Jpmag", "Jap3", "e_Jap3", "Kspmag", "e_Kspmag", "Ksap3", "e_Ksap3"]
    return table[["seen", "east_arcsec", "north_arcsec", "Mclass", *order, "prim"]]


# --- cuts ----------------------------------------------------------------------------------

#: The cut on DES photometry, one name per condition.
DES_CUT = (
    "z < 21",
    "z error < 0.1",
    "Y < 22.45",
    "Y error < 0.1",
    "i - z > 1",
    "flags",
    "imaflags",
)


def des_cut(des: pd.DataFrame) -> dict[str, Bools]:
    """Return, per condition of the DES cut of Byrne et al. (2024), which rows meet it."""
    flags = [f"flags_{b.lower()}" for b in _DES]
    imaflags = [f"imaflags_iso_{b.lower()}" for b in _DES]
    conditions = (
        des["mag_aper_4_z"] < 21.0,
        des["magerr_aper_4_z"] < 0.1,
        des["mag_aper_4_y"] < 22.45,
        des["magerr_aper_4_y"] < 0.1,
        des["mag_aper_4_i"] - des["mag_aper_4_z"] > 1.0,
        (des[flags] < 4).all(axis=1),
        (des[imaflags] == 0).all(axis=1),
    )
    return {name: good.to_numpy() for name, good in zip(DES_CUT, conditions, strict=True)}


def partner_cuts(wise: pd.DataFrame, vhs: pd.DataFrame) -> dict[str, Bools]:
    """Return, per later cut in order, which objects pass that cut alone.

    ``wise`` and ``vhs`` hold one row per object, NaN where it has no partner: W1, W2 (Vega
    magnitudes) and their errors ``e_W1``, ``e_W2``, and ``partner`` (bool) of each; J, K likewise.
    """
    present = {band: vhs[band].notna().to_numpy() for band in ("J", "K")}

    def detected(table: pd.DataFrame, band: str) -> Bools:
        return (1.0857 / table[f"e_{band}"] > 2.0).to_numpy()

    return {
        "no WISE partner": wise["partner"].to_numpy(dtype=bool),
        "no VHS partner": vhs["partner"].to_numpy(dtype=bool),
        "W1 - W2 <= 0.5": (wise["W1"] - wise["W2"] > 0.5).to_numpy(),
        "W1 error missing": wise["e_W1"].notna().to_numpy(),
        "W2 error missing": wise["e_W2"].notna().to_numpy(),
        "J missing": present["J"],
        "K missing": present["K"],
        "J undetected": detected(vhs, "J"),
        "K undetected": detected(vhs, "K"),
        "W1 undetected": detected(wise, "W1"),
        "W2 undetected": detected(wise, "W2"),
    }


def wise_magnitudes(table: pd.DataFrame, partner: Bools) -> pd.DataFrame:
    """Return W1, W2, e_W1, e_W2 (Vega) and ``partner`` of AllWISE or unWISE rows.

    ``table`` has one row per object; what has no partner becomes NaN.
    """
    if "FW1" in table:
        flux1, flux2 = table["FW1"].clip(lower=1e-6), table["FW2"].clip(lower=1e-6)
        values = {
            "W1": 22.5 - 2.5 * np.log10(flux1),
            "W2": 22.5 - 2.5 * np.log10(flux2),
            "e_W1": 1.0857 * table["e_FW1"] / flux1,
            "e_W2": 1.0857 * table["e_FW2"] / flux2,
        }
    else:
        values = {
            "W1": table["W1mag"],
            "W2": table["W2mag"],
            "e_W1": table["e_W1mag"],
            "e_W2": table["e_W2mag"],
        }
    return pd.DataFrame(values).where(pd.Series(partner)).assign(partner=partner)


def vhs_magnitudes(table: pd.DataFrame, partner: Bools) -> pd.DataFrame:
    """Return J, K, e_J, e_K (Vega, Petrosian) and ``partner`` of VHS rows, one per object."""
    values = table[["Jpmag", "Kspmag", "e_Jpmag", "e_Kspmag"]]
    values = values.set_axis(["J", "K", "e_J", "e_K"], axis=1)
    return values.where(pd.Series(partner)).assign(partner=partner)


def removed_by(cuts: dict[str, Bools]) -> NDArray[np.str_]:
    """Return the name of the first cut that each object fails, "" where it passes all."""
    names = np.array(["", *cuts])
    fails = ~np.array(list(cuts.values()))
    first = np.where(fails.any(axis=0), fails.argmax(axis=0) + 1, 0)
    return names[first]


def nearest(
    ra_deg: Floats,
    dec_deg: Floats,
    other_ra_deg: Floats,
    other_dec_deg: Floats,
    radius_arcsec: float = 1.0,
) -> NDArray[np.int64]:
    """Return the row of the nearest other source within ``radius_arcsec``, -1 where none is."""
    if not len(other_ra_deg):
        return np.full(len(ra_deg), -1)
    unit = _unit(ra_deg, dec_deg)
    tree = cKDTree(_unit(other_ra_deg, other_dec_deg))
    chord = 2 * np.sin(np.deg2rad(radius_arcsec / 3600) / 2)
    distance, row = tree.query(unit, distance_upper_bound=chord)
    return np.where(np.isfinite(distance), row, -1)


def _unit(ra_deg: Floats, dec_deg: Floats) -> Floats:
    ra, dec = np.deg2rad(ra_deg), np.deg2rad(dec_deg)
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=1)


# --- names ---------------------------------------------------------------------------------


def designations(ra_deg: Floats, dec_deg: Floats, prefix: str = "J") -> list[str]:
    """Return names such as ``J235959.12-445930.5`` (truncated, as the IAU asks)."""
    position = SkyCoord(ra_deg * u.deg, dec_deg * u.deg)
    hours = position.ra.to_value(u.hourangle)
    names = []
    for hour, degree in zip(hours, position.dec.deg, strict=True):
        centi = int(np.floor(hour * 360000 + 1e-6)) % 8640000
        deci = int(np.floor(abs(degree) * 36000 + 1e-6))
        names.append(
            f"{prefix}{centi // 360000:02d}{centi // 6000 % 60:02d}{centi % 6000 / 100:05.2f}"
            f"{'-' if degree < 0 else '+'}{deci // 36000:02d}{deci // 600 % 60:02d}"
            f"{deci % 600 / 10:04.1f}"
        )
    return names


def tile_names(ra_deg: Floats, dec_deg: Floats) -> list[str]:
    """Return labels of square-ish cells of 0.73 deg, in the style of DES tile names."""
    row = np.floor((dec_deg + 90) / 0.73)
    centre_dec = (row + 0.5) * 0.73 - 90
    step = 0.73 / np.cos(np.deg2rad(centre_dec))
    n = np.ceil(360 / step)
    centre_ra = (np.floor(ra_deg / 360 * n) + 0.5) * 360 / n
    minutes = np.floor(centre_ra * 4).astype(int) % 1440
    arcmin = np.floor(np.abs(centre_dec) * 60).astype(int)
    return [
        f"DES{m // 60:02d}{m % 60:02d}{'-' if d < 0 else '+'}{a // 60:02d}{a % 60:02d}"
        for m, d, a in zip(minutes, centre_dec, arcmin, strict=True)
    ]
