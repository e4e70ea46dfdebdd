"""What there is on the synthetic sky: kinds of objects, their parameters, and their parts.

A `Population` is a set of objects without positions, each made of one or more components (a
star; a galaxy; a lens and two or four images) at offsets [arcsec, east and north] from its
own origin. Fluxes are noise-free totals [uJy] in the nine bands, before Galactic dust.
The shapes of the distributions are ours; their numbers were set so that what the surveys
measure of them resembles the final sample of Byrne et al. (2024); see docs/demo_sky.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from archipelago.cosmology import lens_distance_ratio, luminosity_distance_mpc
from archipelago.demosky import spectra
from archipelago.demosky.lensing import Lens, find_images, largest_separation

Floats = NDArray[np.float64]
_Z_BAND = spectra.BANDS.index("z")
_I_BAND = spectra.BANDS.index("i")
_CHUNK = 4000

#: Columns of `Population.objects`, with the value where a kind has none.
OBJECT_DEFAULTS: dict[str, object] = {
    "kind": "",
    "redshift": np.nan,
    "lens_redshift": np.nan,
    "n_images": 0,
    "image_separation_arcsec": np.nan,
    "magnification": np.nan,
    "spectral_type": np.nan,
    "extinction_ebv_mag": 0.0,
    "absolute_mag_1450": np.nan,
    "artefact_bands": "",
    "artefact_level_ujy": 0.0,
}


@dataclass(frozen=True)
class Population:
    """Objects and what they are made of.

    Attributes
    ----------
    objects : n rows, columns of `OBJECT_DEFAULTS`.
    parts : one row per component: ``object`` (row of `objects`), ``role``, ``east_arcsec``,
        ``north_arcsec``, ``profile``, ``r_eff_arcsec``, ``sersic_n``, ``axis_ratio``,
        ``position_angle_deg``.
    flux_ujy : (n_parts, 9).
    """

    objects: pd.DataFrame
    parts: pd.DataFrame
    flux_ujy: Floats

    def __len__(self) -> int:
        return len(self.objects)

    @property
    def total_flux_ujy(self) -> Floats:
        """Flux of each object, all components together, (n, 9)."""
        total = np.zeros((len(self), self.flux_ujy.shape[1]))
        np.add.at(total, self.parts["object"].to_numpy(), self.flux_ujy)
        return total

    def take(self, rows: NDArray[np.int64]) -> Population:
        """Return the objects of ``rows``, in that order."""
        new_row = np.full(len(self), -1)
        new_row[rows] = np.arange(len(rows))
        target = new_row[self.parts["object"].to_numpy()]
        keep = np.flatnonzero(target >= 0)
        keep = keep[np.argsort(target[keep], kind="stable")]
        parts = self.parts.iloc[keep].assign(object=target[keep]).reset_index(drop=True)
        return Population(
            self.objects.iloc[rows].reset_index(drop=True), parts, self.flux_ujy[keep]
        )


def join(populations: Sequence[Population]) -> Population:
    """Return one population of all objects, in the order given."""
    starts = np.cumsum([0, *(len(p) for p in populations)])
    parts = [
        p.parts.assign(object=p.parts["object"] + start)
        for p, start in zip(populations, starts[:-1], strict=True)
    ]
    return Population(
        pd.concat([p.objects for p in populations], ignore_index=True),
        pd.concat(parts, ignore_index=True),
        np.concatenate([p.flux_ujy for p in populations]),
    )


def _objects(n: int, **columns: object) -> pd.DataFrame:
    return pd.DataFrame({**OBJECT_DEFAULTS, **columns}, index=np.arange(n))


def _points(n: int, role: str) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "object": np.arange(n),
            "role": role,
            "east_arcsec": 0.0,
            "north_arcsec": 0.0,
            "profile": "point",
            "r_eff_arcsec": np.nan,
            "sersic_n": np.nan,
            "axis_ratio": np.nan,
            "position_angle_deg": np.nan,
        },
        index=np.arange(n),
    )


def _extended(
    rng: np.random.Generator, n: int, role: str, r_eff_arcsec: Floats, bulge: Floats
) -> pd.DataFrame:
    """Sersic components: n = 4-ish where ``bulge``, else 1-ish."""
    parts = _points(n, role)
    index = np.where(bulge > 0.5, rng.normal(3.6, 0.6, n), rng.normal(1.2, 0.3, n))
    return parts.assign(
        profile="sersic",
        r_eff_arcsec=np.clip(r_eff_arcsec, 0.05, 2.5),
        sersic_n=np.clip(index, 0.6, 6.0),
        axis_ratio=np.clip(rng.normal(0.7, 0.17, n), 0.25, 1.0),
        position_angle_deg=rng.uniform(0.0, 180.0, n),
    )


def _in_chunks(n: int, draw: Callable[[slice], Floats]) -> Floats:
    blocks = [draw(slice(start, min(start + _CHUNK, n))) for start in range(0, n, _CHUNK)]
    return np.concatenate(blocks) if blocks else np.zeros((0, len(spectra.BANDS)))


def _scaled(flux: Floats, band: int, magnitude: Floats) -> Floats:
    """Return fluxes (n, 9) scaled to ``magnitude`` (AB) in ``band`` [uJy]."""
    return flux * (10 ** (0.4 * (23.9 - magnitude)) / flux[:, band])[:, None]


def _magnitudes(
    rng: np.random.Generator, n: int, bright: float, faint: float, slope: float
) -> Floats:
    """Draw magnitudes whose counts rise as 10^(slope m) between two limits."""
    low, high = 10 ** (slope * bright), 10 ** (slope * faint)
    return np.asarray(np.log10(rng.uniform(low, high, n)) / slope)


def _lognormal(rng: np.random.Generator, n: int, scatter_dex: float) -> Floats:
    return np.asarray(10 ** rng.normal(0.0, scatter_dex, n), dtype=float)


def _share(rng: np.random.Generator, n: int, share: float) -> Floats:
    """Return 1.0 for a random ``share`` of ``n`` objects, else 0.0."""
    return np.where(rng.random(n) < share, 1.0, 0.0)


# --- dwarfs --------------------------------------------------------------------------------


def draw_dwarfs(rng: np.random.Generator, n: int, kind: str) -> Population:
    """Draw ``n`` dwarfs of one kind ("M dwarf", "L dwarf", "T dwarf").

    Types within M fall off steeply towards later ones, as counts at fixed magnitude do; counts
    rise as 10^(0.2 m), less than in Euclidean space, because the disc is thinner
    than the depth of the survey. Each colour scatters by 0.03 to 0.1 mag.
    """
    if kind == "M dwarf":
        spectral_type = 5.9 + rng.exponential(1.05, n)
        spectral_type = np.where(spectral_type > 9.95, rng.uniform(6.0, 9.5, n), spectral_type)
        magnitude = _magnitudes(rng, n, 16.2, 20.87, 0.2)
        scatter = np.array([0.18, 0.13, 0.03, 0.03, 0.08, 0.05, 0.05, 0.07, 0.06, 0.05])
    elif kind == "L dwarf":
        spectral_type = 10.0 + np.minimum(rng.exponential(2.0, n), 9.9)
        magnitude = _magnitudes(rng, n, 17.5, 20.95, 0.5)
        scatter = np.array([0.3, 0.15, 0.06, 0.05, 0.06, 0.1, 0.1, 0.12, 0.1, 0.07])
    else:
        spectral_type = rng.uniform(20.0, 28.0, n)
        magnitude = _magnitudes(rng, n, 17.5, 20.95, 0.5)
        scatter = np.array([0.3, 0.3, 0.15, 0.06, 0.08, 0.12, 0.12, 0.18, 0.12, 0.12])

    def draw(rows: slice) -> Floats:
        types = spectral_type[rows]
        f_nu = np.exp(spectra.dwarf_ln_f_nu(types) + spectra.scatter_ln(rng, len(types), scatter))
        return _scaled(spectra.fluxes(f_nu), _Z_BAND, magnitude[rows])

    return Population(
        _objects(n, kind=kind, spectral_type=spectral_type),
        _points(n, "star"),
        _in_chunks(n, draw),
    )


# --- galaxies ------------------------------------------------------------------------------


def _galaxy_parameters(
    rng: np.random.Generator, n: int, kind: str
) -> tuple[spectra.GalaxyParameters, Floats, Floats]:
    """Parameters, half-light radii [arcsec] and bulge flags of galaxies of one kind."""
    none = np.zeros(n)
    if kind in ("galaxy old", "galaxy compact"):
        parameters = spectra.GalaxyParameters(
            redshift=np.clip(rng.normal(1.02, 0.10, n), 0.6, 1.7),
            middle=rng.beta(3.0, 1.2, n),
            young=rng.beta(0.8, 12.0, n) * 0.06,
            ebv_mag=rng.exponential(0.04, n),
            hot_dust=np.where(rng.random(n) < 0.15, rng.exponential(0.25, n), 0.02),
        )
        median = 0.13 if kind == "galaxy compact" else 0.42
        return parameters, median * _lognormal(rng, n, 0.17), none + 1.0
    if kind == "galaxy dusty":
        parameters = spectra.GalaxyParameters(
            redshift=rng.uniform(0.35, 1.6, n),
            middle=rng.uniform(0.2, 0.6, n),
            young=rng.uniform(0.05, 0.4, n),
            ebv_mag=rng.uniform(0.3, 1.3, n),
            hot_dust=rng.exponential(0.25, n),
        )
        return parameters, 0.5 * _lognormal(rng, n, 0.2), _share(rng, n, 0.3)
    parameters = spectra.GalaxyParameters(
        redshift=rng.uniform(0.5, 2.2, n),
        middle=rng.uniform(0.1, 0.7, n),
        young=rng.uniform(0.02, 0.3, n),
        ebv_mag=rng.uniform(0.1, 1.0, n),
        hot_dust=10 ** rng.uniform(-0.3, 0.9, n),
    )
    return parameters, 0.3 * _lognormal(rng, n, 0.25), _share(rng, n, 0.6)


def draw_galaxies(
    rng: np.random.Generator, n: int, kind: str, bright: float = 18.8, faint: float = 20.75
) -> Population:
    """Draw ``n`` galaxies of one kind ("galaxy old", "galaxy compact", "galaxy dusty",
    "galaxy active"), of total z magnitudes between two limits (counts rise as 10^(1.8 m)).
    """
    parameters, r_eff, bulge = _galaxy_parameters(rng, n, kind)
    magnitude = _magnitudes(rng, n, bright, faint, 1.8)

    def draw(rows: slice) -> Floats:
        f_nu = spectra.galaxy_f_nu(_rows(parameters, rows))
        f_nu *= np.exp(spectra.scatter_ln(rng, len(f_nu), 0.08))
        return _scaled(spectra.fluxes(f_nu), _Z_BAND, magnitude[rows])

    return Population(
        _objects(n, kind=kind, redshift=parameters.redshift, extinction_ebv_mag=parameters.ebv_mag),
        _extended(rng, n, "galaxy", r_eff, bulge),
        _in_chunks(n, draw),
    )


def _rows(parameters: spectra.GalaxyParameters, rows: slice) -> spectra.GalaxyParameters:
    return spectra.GalaxyParameters(
        redshift=parameters.redshift[rows],
        middle=parameters.middle[rows],
        young=parameters.young[rows],
        ebv_mag=parameters.ebv_mag[rows],
        hot_dust=parameters.hot_dust[rows],
    )


# --- quasars -------------------------------------------------------------------------------


def _quasar_parameters(
    rng: np.random.Generator, n: int, bright: float, faint: float
) -> spectra.QuasarParameters:
    """Draw quasars at z 5.6 to 6.6, counts falling towards high redshift as 10^(-0.5 z).

    Absolute magnitudes follow a power law of slope -2.7, dN/dM ~ 10^(0.68 M) (the bright end of
    Matsuoka et al. 2018, ApJ 869, 150, table 5, "standard", rounded). The rest is assumed: slopes
    scatter by 0.3 about -1.5; SMC dust falls off exponentially with 0.03 mag; one in seven has
    broad absorption; proximity zones scatter about 4.5 proper Mpc (a few Mpc are measured:
    Eilers et al. 2017, ApJ 840, 24).
    """
    redshift = 5.6 - 2.0 * np.log10(1 - rng.random(n) * (1 - 10**-0.5))
    return spectra.QuasarParameters(
        redshift=redshift,
        absolute_mag_1450=_magnitudes(rng, n, bright, faint, 0.68),
        slope=rng.normal(-1.5, 0.3, n),
        ebv_mag=rng.exponential(0.03, n),
        proximity_mpc=np.clip(4.5 * 10 ** rng.normal(0, 0.2, n), 0.5, 9.0),
        broad_absorption=np.where(rng.random(n) < 0.15, rng.uniform(0.3, 0.9, n), 0.0),
    )


def _quasar_fluxes(rng: np.random.Generator, parameters: spectra.QuasarParameters) -> Floats:
    f_nu = spectra.quasar_f_nu(rng, parameters)
    return spectra.fluxes(f_nu * np.exp(spectra.scatter_ln(rng, len(f_nu), 0.04)))


def draw_quasars(rng: np.random.Generator, n: int) -> Population:
    """Draw ``n`` quasars that nothing lies in front of."""
    parameters = _quasar_parameters(rng, n, -28.6, -25.6)
    return Population(
        _objects(
            n,
            kind="quasar",
            redshift=parameters.redshift,
            n_images=1,
            extinction_ebv_mag=parameters.ebv_mag,
            absolute_mag_1450=parameters.absolute_mag_1450,
        ),
        _points(n, "quasar"),
        _quasar_fluxes(rng, parameters),
    )


def draw_blends(rng: np.random.Generator, n: int) -> Population:
    """Draw ``n`` quasars with an unrelated galaxy 0.4 to 2.2 arcsec away, none of them lensed."""
    quasars = draw_quasars(rng, n)
    parameters = spectra.GalaxyParameters(
        redshift=rng.uniform(0.15, 1.2, n),
        middle=rng.uniform(0.1, 0.9, n),
        young=rng.uniform(0.0, 0.1, n) + 0.5 * (rng.random(n) < 0.5) * rng.random(n) * 0.2,
        ebv_mag=rng.exponential(0.15, n),
        hot_dust=np.full(n, 0.02),
    )
    f_nu = spectra.galaxy_f_nu(parameters)
    flux = _scaled(spectra.fluxes(f_nu), _I_BAND, rng.uniform(20.8, 23.2, n))
    galaxies = _extended(rng, n, "galaxy", 0.5 * _lognormal(rng, n, 0.2), _share(rng, n, 0.5))
    distance = np.sqrt(rng.uniform(0.4**2, 2.2**2, n))
    angle = rng.uniform(0, 2 * np.pi, n)
    galaxies["east_arcsec"] = distance * np.cos(angle)
    galaxies["north_arcsec"] = distance * np.sin(angle)
    parts = pd.concat([quasars.parts, galaxies], ignore_index=True)
    both = np.concatenate([quasars.flux_ujy, flux])
    order = np.argsort(parts["object"].to_numpy(), kind="stable")
    objects = quasars.objects.assign(
        kind="quasar-galaxy blend", lens_redshift=parameters.redshift, n_images=1
    )
    return Population(objects, parts.iloc[order].reset_index(drop=True), both[order])


@dataclass(frozen=True)
class _LensGalaxies:
    redshift: Floats
    dispersion_km_s: Floats
    r_eff_arcsec: Floats
    axis_ratio: Floats
    position_angle_deg: Floats
    flux_ujy: Floats


def _draw_lens_galaxies(rng: np.random.Generator, n: int) -> _LensGalaxies:
    """Draw early-type lenses: brightness from the Faber-Jackson relation, size from the light.

    M_r = -21.9 - 1.0 z - 10 log10(sigma / 200 km/s) with 0.45 mag of scatter, r_eff = 4.5 kpc
    (sigma / 200)^1.6 / (1 + z)^0.8: set by us, with Auger et al. (2010, ApJ 724, 511) and van der
    Wel et al. (2014, ApJ 788, 28) in mind.
    """
    redshift = np.clip(rng.gamma(7.0, 0.115, n), 0.2, 1.7)
    dispersion = rng.uniform(85.0, 300.0, n)
    parameters = spectra.GalaxyParameters(
        redshift=redshift,
        middle=rng.beta(1.5, 1.5, n),
        young=np.where(rng.random(n) < 0.25, rng.uniform(0, 0.15, n), 0.004),
        ebv_mag=rng.exponential(0.05, n),
        hot_dust=np.full(n, 0.02),
    )
    f_nu = spectra.galaxy_f_nu(parameters)
    at_r = spectra.flux_at_rest(f_nu, redshift, 0.62)
    distance = luminosity_distance_mpc(redshift)
    absolute = -21.9 - 1.0 * redshift - 10 * np.log10(dispersion / 200) + rng.normal(0, 0.45, n)
    apparent = absolute + 5 * np.log10(distance * 1e5) - 2.5 * np.log10(1 + redshift)
    scale = 10 ** (0.4 * (23.9 - apparent)) / at_r
    kpc_per_arcsec = distance / (1 + redshift) ** 2 * 1e3 / 206265
    size = 4.5 * (dispersion / 200) ** 1.6 / (1 + redshift) ** 0.8 * 10 ** rng.normal(0, 0.12, n)
    return _LensGalaxies(
        redshift=redshift,
        dispersion_km_s=dispersion,
        r_eff_arcsec=np.clip(size / kpc_per_arcsec, 0.08, 2.5),
        axis_ratio=np.clip(rng.normal(0.75, 0.13, n), 0.4, 0.97),
        position_angle_deg=rng.uniform(0, 180, n),
        flux_ujy=spectra.fluxes(f_nu) * scale[:, None],
    )


def draw_lensed(rng: np.random.Generator, n: int) -> Population:
    """Draw lensed quasars: ``n`` trials, of which those with 2 or 4 images 0.3 to 3 arcsec apart.

    The mass is a singular isothermal ellipsoid that follows the light (with 8 deg of scatter),
    of Einstein radius 4 pi (sigma / c)^2 D_ls / D_s (that of the singular isothermal sphere:
    Turner, Ostriker & Gott 1984, ApJ 284, 1), with external shear of 0.05; sources lie anywhere
    behind it. Fluxes of images scatter by a tenth (microlensing). Selection by a magnitude
    limit, later, brings in the magnification bias.
    """
    source = _quasar_parameters(rng, n, -27.6, -23.4)
    flux = _quasar_fluxes(rng, source)
    lenses = _draw_lens_galaxies(rng, n)
    ratio = lens_distance_ratio(lenses.redshift, source.redshift)
    einstein = 4 * np.pi * (lenses.dispersion_km_s / 299792.458) ** 2 * ratio * 206265
    # The mass follows the light, with x east and y north; position angles run from north.
    angle = 90.0 - lenses.position_angle_deg + rng.normal(0, 8, n)
    shear = np.clip(rng.rayleigh(0.04, n), 1e-3, 0.15)
    shear_angle = rng.uniform(0, 180, n)
    radius = 1.1 * einstein * np.sqrt(rng.random(n))
    azimuth = rng.uniform(0, 2 * np.pi, n)
    flicker = np.exp(rng.normal(0, 0.1, (n, 4)))
    objects: list[dict[str, Any]] = []
    parts: list[dict[str, Any]] = []
    fluxes: list[Floats] = []
    for k in range(n):
        lens = Lens(einstein[k], lenses.axis_ratio[k], angle[k], shear[k], shear_angle[k])
        images = find_images(lens, radius[k] * np.cos(azimuth[k]), radius[k] * np.sin(azimuth[k]))
        separation = largest_separation(images)
        count = len(images.magnification)
        if count not in (2, 4) or not 0.3 <= separation <= 3.0:
            continue
        amplified = images.magnification * flicker[k, :count]
        row = len(objects)
        objects.append(
            {
                "kind": "lensed quasar",
                "redshift": source.redshift[k],
                "lens_redshift": lenses.redshift[k],
                "n_images": count,
                "image_separation_arcsec": separation,
                "magnification": amplified.sum(),
                "extinction_ebv_mag": source.ebv_mag[k],
                "absolute_mag_1450": source.absolute_mag_1450[k],
            }
        )
        parts.append(
            {
                "object": row,
                "role": "lens",
                "profile": "sersic",
                "r_eff_arcsec": lenses.r_eff_arcsec[k],
                "sersic_n": 4.0,
                "axis_ratio": lenses.axis_ratio[k],
                "position_angle_deg": lenses.position_angle_deg[k],
            }
        )
        fluxes.append(lenses.flux_ujy[k])
        for j in range(count):
            parts.append(
                {
                    "object": row,
                    "role": "image",
                    "east_arcsec": images.x_arcsec[j],
                    "north_arcsec": images.y_arcsec[j],
                    "profile": "point",
                }
            )
            fluxes.append(flux[k] * amplified[j])
    table = pd.DataFrame({**OBJECT_DEFAULTS}, index=np.arange(len(objects))).astype(
        {"lens_redshift": float}
    )
    for name in objects[0]:
        table[name] = [each[name] for each in objects]
    made = pd.DataFrame(parts, columns=list(_points(0, "").columns))
    made[["east_arcsec", "north_arcsec"]] = made[["east_arcsec", "north_arcsec"]].fillna(0.0)
    return Population(table, made, np.array(fluxes))


# --- artefacts -----------------------------------------------------------------------------


def draw_artefacts(rng: np.random.Generator, n: int) -> Population:
    """Draw ``n`` objects that are not as red as they look, because an image is spoilt there.

    Trails and bad columns brighten z (and at times Y) of an ordinary galaxy, or a star
    of K to M5 type; saturated stars are so bright that the core is missing in some bands.
    """
    kinds = rng.choice(
        ["artefact trail", "artefact bad column", "artefact saturated"], n, p=[0.45, 0.45, 0.10]
    )
    saturated = kinds == "artefact saturated"
    galaxy = (rng.random(n) < 0.75) & ~saturated
    parameters = spectra.GalaxyParameters(
        redshift=rng.uniform(0.15, 1.6, n),
        middle=rng.uniform(0.1, 0.8, n),
        young=rng.uniform(0.05, 0.2, n),
        ebv_mag=rng.exponential(0.15, n),
        hot_dust=10 ** rng.uniform(-1.5, 0.1, n),
    )
    f_nu = spectra.galaxy_f_nu(parameters)
    stars = np.exp(spectra.dwarf_ln_f_nu(rng.uniform(4.0, 6.5, n)))
    f_nu = np.where(galaxy[:, None], f_nu, stars) * np.exp(spectra.scatter_ln(rng, n, 0.06))
    magnitude = np.where(saturated, rng.uniform(14.5, 16.5, n), _magnitudes(rng, n, 19.5, 22, 0.5))
    flux = _scaled(spectra.fluxes(f_nu), _Z_BAND, magnitude)
    # Light of the line within the aperture, against the object's own z flux.
    boost = 0.5 + rng.exponential(0.7, n)
    level = np.where(saturated, flux[:, _Z_BAND], boost * flux[:, _Z_BAND])
    bands = np.where(rng.random(n) < 0.75, "z", "zY")
    bands = np.where(saturated, "grizY", bands)
    parts = _extended(rng, n, "galaxy", 0.45 * _lognormal(rng, n, 0.2), _share(rng, n, 0.5))
    point = ~galaxy
    parts.loc[point, "profile"] = "point"
    parts.loc[point, "role"] = "star"
    shape = ["r_eff_arcsec", "sersic_n", "axis_ratio", "position_angle_deg"]
    parts.loc[point, shape] = np.nan
    objects = _objects(
        n,
        kind=kinds,
        redshift=np.where(galaxy, parameters.redshift, np.nan),
        artefact_bands=bands,
        artefact_level_ujy=level,
    )
    return Population(objects, parts, flux)
