"""The photometry of all templates, made once and kept in one file.

Every template is a row of total band fluxes in uJy for an amplitude of 1:
stars have J = 1 uJy, galaxies 10^10 solar masses formed, quasars M1450 = -26.
"""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from archipelago.base.arrays import open_arrays, save_arrays
from archipelago.base.errors import ConfigError
from archipelago.cosmology import age_gyr
from archipelago.passbands import Passband, passband_weights
from archipelago.sed.dwarf import DwarfTable, load_dwarfs
from archipelago.sed.galaxy import GalaxyModel
from archipelago.sed.igm import transmission
from archipelago.sed.quasar import flux_at_1450_ujy, quasar_f_nu, rest_spectrum

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_LOG = logging.getLogger(__name__)

#: Template classes that are grids of their own; ``lensed`` pairs two of them.
GRID_CLASSES = ("star", "galaxy", "quasar")


@dataclass(frozen=True)
class ClassTemplates:
    """Templates of one class.

    Attributes
    ----------
    fluxes : total band fluxes for amplitude 1 [uJy], (n, n_band).
    parameters : per parameter its value for each template, (n,) each.
    """

    fluxes: Floats
    parameters: dict[str, NDArray[Any]]

    def __len__(self) -> int:
        return len(self.fluxes)

    @property
    def n_free(self) -> int:
        """Number of parameters that vary between templates, and one for the amplitude."""
        derived = {"spectral_type", "m_j_vega_mag", "density_pc3"}
        varying = [
            name
            for name, values in self.parameters.items()
            if name not in derived and len(np.unique(values)) > 1
        ]
        return len(varying) + 1


@dataclass(frozen=True)
class Representatives:
    """A few templates that stand for all of a class in the composite.

    Attributes
    ----------
    index : template that represents each cell, (n_cell,).
    cell : cell of every template of the class, (n,); -1 where it is left out.
    """

    index: Ints
    cell: Ints


@dataclass(frozen=True)
class TemplateSet:
    """All templates and what they were made with.

    Attributes
    ----------
    bands : names, in the order of the fluxes' last axis.
    pivot_aa : pivot wavelengths [Angstrom], (n_band,).
    classes : per class (`GRID_CLASSES`) its templates.
    lensed_quasars, lensed_galaxies : representatives that the composite pairs.
    coarse_quasars : fewer of the quasars, for the objects that are hardly composites.
    spec : the configuration that they were made with.
    """

    bands: tuple[str, ...]
    pivot_aa: Floats
    classes: dict[str, ClassTemplates]
    lensed_quasars: Representatives
    lensed_galaxies: Representatives
    coarse_quasars: Representatives
    spec: dict[str, Any] = field(default_factory=dict)

    def save(self, path: str | Path) -> None:
        """Write to an npz file, completely or not at all; the bytes depend on the content only."""
        arrays: dict[str, NDArray[Any]] = {
            "bands": np.array(self.bands),
            "pivot_aa": self.pivot_aa,
            "spec": np.array(json.dumps(self.spec, sort_keys=True)),
        }
        for name, group in (
            ("quasar", self.lensed_quasars),
            ("galaxy", self.lensed_galaxies),
            ("coarse", self.coarse_quasars),
        ):
            arrays[f"lensed/{name}/index"] = group.index
            arrays[f"lensed/{name}/cell"] = group.cell
        for name, templates in self.classes.items():
            arrays[f"{name}/fluxes"] = templates.fluxes
            for parameter, values in templates.parameters.items():
                arrays[f"{name}/parameters/{parameter}"] = values
        save_arrays(arrays, path)


def load_templates(path: str | Path) -> TemplateSet:
    """Read what `TemplateSet.save` wrote.

    Raises
    ------
    InputError
        If the file cannot be read or is not a set of templates.
    """
    with open_arrays("the templates", path) as stored:
        arrays = dict(stored)
        classes = {}
        for name in GRID_CLASSES:
            start = f"{name}/parameters/"
            classes[name] = ClassTemplates(
                arrays[f"{name}/fluxes"],
                {key[len(start) :]: arrays[key] for key in arrays if key.startswith(start)},
            )
        groups = {
            name: Representatives(arrays[f"lensed/{name}/index"], arrays[f"lensed/{name}/cell"])
            for name in ("quasar", "galaxy", "coarse")
        }
        return TemplateSet(
            bands=tuple(str(band) for band in arrays["bands"]),
            pivot_aa=arrays["pivot_aa"],
            classes=classes,
            lensed_quasars=groups["quasar"],
            lensed_galaxies=groups["galaxy"],
            coarse_quasars=groups["coarse"],
            spec=json.loads(str(arrays["spec"])),
        )


def build_templates(
    spec: Mapping[str, Any],
    passbands: Mapping[str, Passband],
    dwarf_colours: str | Path,
    stars: DwarfTable | None = None,
) -> TemplateSet:
    """Compute the photometry of all templates.

    Parameters
    ----------
    spec : the sections ``star``, ``galaxy``, ``quasar`` and ``composite``; each
        axis is a list of values, or {min, max, step}. See `quasar_templates`,
        `galaxy_templates`, `star_templates` and `thin`.
    passbands : per band a Passband.
    dwarf_colours : table of star colours.
    stars : stars in place of that table, such as `archipelago.sed.lephare_stars` reads.

    Raises
    ------
    ConfigError
        If an axis is missing, unknown or empty.
    """
    table = load_dwarfs(dwarf_colours) if stars is None else stars
    star = star_templates(spec["star"], table, tuple(passbands))
    quasars = quasar_templates(spec["quasar"], passbands)
    galaxies = galaxy_templates(spec["galaxy"], passbands)
    pair = spec["composite"]
    step = float(pair["redshift_step"])
    z_quasar = quasars.parameters["redshift"]
    slices = np.round((z_quasar - z_quasar.min()) / step).astype(np.int64)
    z_galaxy = galaxies.parameters["redshift"]
    plain = (galaxies.parameters["torus_fraction"] <= 0) & (
        galaxies.parameters["red_quasar_ebv"] <= 0
    )
    deflector = np.where(plain & (z_galaxy <= float(pair["galaxy_redshift_max"])), 0, -1)
    result = TemplateSet(
        bands=tuple(passbands),
        pivot_aa=np.array([band.pivot_aa for band in passbands.values()]),
        classes={"star": star, "galaxy": galaxies, "quasar": quasars},
        lensed_quasars=thin(quasars.fluxes, slices, int(pair["quasars_per_redshift"])),
        lensed_galaxies=thin(galaxies.fluxes, deflector.astype(np.int64), int(pair["galaxies"])),
        coarse_quasars=thin(quasars.fluxes, slices, int(pair["coarse_quasars_per_redshift"])),
        spec=json.loads(json.dumps(dict(spec))),
    )
    _LOG.info(
        "templates: %s; composite: %d quasars x %d galaxies",
        {name: len(group) for name, group in result.classes.items()},
        len(result.lensed_quasars.index),
        len(result.lensed_galaxies.index),
    )
    return result


def axis(section: Mapping[str, Any], name: str, where: str) -> Floats:
    """Return the values of one axis of a grid: a list, or {min, max, step} (max included).

    Raises
    ------
    ConfigError
        If the axis is missing, empty, or its step not positive.
    """
    if name not in section:
        raise ConfigError(
            "an axis of the grid is missing",
            where=f"{where}.{name}",
            next_step="give a list of values, or {min, max, step}",
        )
    value = section[name]
    if isinstance(value, Mapping):
        low, high, step = (float(value[key]) for key in ("min", "max", "step"))
        values = (
            low + step * np.arange(int(np.floor((high - low) / step + 1e-6)) + 1)
            if step > 0 and high >= low
            else np.array([])
        )
    else:
        values = np.atleast_1d(np.asarray(value, dtype=float))
    if not values.size or not np.isfinite(values).all():
        raise ConfigError(
            "an axis of the grid has no values",
            where=f"{where}.{name}",
            next_step="give a list of values, or {min, max, step} with step > 0",
        )
    return np.round(values, 6)


_QUASAR_SHAPE = ("uv_slope", "line_scale", "lya_scale", "ebv", "bal_depth")


def quasar_templates(
    section: Mapping[str, Any], passbands: Mapping[str, Passband]
) -> ClassTemplates:
    """Return the grid over redshift, the spectral shape (`_QUASAR_SHAPE`) and igm_scale.

    Spectral shapes are made once at rest wavelengths; redshift, IGM and passbands
    become one matrix per redshift and sight line. Sorted by redshift first.
    """
    z_axis = axis(section, "redshift", "sed.models.quasar")
    igm_axis = axis(section, "igm_scale", "sed.models.quasar")
    shapes = list(
        itertools.product(*(axis(section, name, "sed.models.quasar") for name in _QUASAR_SHAPE))
    )
    low = min(band.wavelength_aa[0] for band in passbands.values()) / (1 + z_axis.max())
    high = max(band.wavelength_aa[-1] for band in passbands.values()) / (1 + z_axis.min())
    # Steps of 300 km/s, a few per line's sigma.
    rest = np.geomspace(low * 0.999, high * 1.001, int(np.log(high / low) / 1e-3) + 2)
    spectra = np.array(
        [rest_spectrum(rest, **dict(zip(_QUASAR_SHAPE, shape, strict=True))) for shape in shapes]
    )
    fluxes: list[Floats] = []
    rows: list[tuple[float, ...]] = []
    for z in z_axis:
        weights = passband_weights(rest * (1 + z), passbands)
        for igm_scale in igm_axis:
            through = transmission(rest * (1 + z), float(z), float(igm_scale))
            fluxes.append(flux_at_1450_ujy(z) * spectra @ (through[:, None] * weights))
            rows.extend((z, *shape, igm_scale) for shape in shapes)
    names = ("redshift", *_QUASAR_SHAPE, "igm_scale")
    columns = np.array(rows).T
    return ClassTemplates(np.concatenate(fluxes), dict(zip(names, columns, strict=True)))


def galaxy_templates(
    section: Mapping[str, Any], passbands: Mapping[str, Passband]
) -> ClassTemplates:
    """Return the BAGPIPES grid over redshift, history, age, tau, metallicity, dust and torus.

    ``constant`` and ``delayed`` hold the axis age_gyr (the latter tau_gyr too);
    combinations older than the Universe at their redshift are left out, but the
    youngest age is always kept (cut to that of the Universe). torus_fraction adds
    an obscured nucleus, by its f_nu at 1.6 um over the stars'. red_quasar (optional, axes
    redshift and ebv) adds reddened quasars below the quasar class's redshifts: they
    are foreground contaminants and hence counted as galaxies.
    """
    where = "sed.models.galaxy"
    model = GalaxyModel(passbands)
    av_axis = axis(section, "av_mag", where)
    metallicities = axis(section, "metallicity", where)
    histories: list[tuple[str, float, float]] = []
    for age in axis(section.get("constant", {}), "age_gyr", f"{where}.constant"):
        histories.append(("constant", float(age), 0.0))
    delayed = section.get("delayed", {})
    for age, tau in itertools.product(
        axis(delayed, "age_gyr", f"{where}.delayed"), axis(delayed, "tau_gyr", f"{where}.delayed")
    ):
        histories.append(("delayed", float(age), float(tau)))
    torus = axis(section, "torus_fraction", where)
    fluxes: list[Floats] = []
    rows: list[tuple[float, ...]] = []
    for z in axis(section, "redshift", where):
        limit = float(age_gyr(z))
        youngest = min(age for _, age, _ in histories)
        dust = None
        for history, age, tau in histories:
            if age > limit and age > youngest:
                continue
            used = min(age, 0.95 * limit)
            for metallicity, av in itertools.product(metallicities, av_axis):
                wave, f_nu = model.spectrum(
                    float(z),
                    history=history,
                    age_gyr=used,
                    tau_gyr=tau,
                    av_mag=float(av),
                    metallicity=float(metallicity),
                )
                if dust is None:
                    weights = passband_weights(wave, passbands)
                    dust = torus_shape(np.clip(wave / (1 + z), 100.0, None)) @ weights
                level = float(np.interp(1.6e4 * (1 + z), wave, f_nu))
                for fraction in torus:
                    fluxes.append(f_nu @ weights + fraction * level * dust)
                    rows.append(
                        (z, float(history == "delayed"), used, tau, metallicity, av, fraction, 0.0)
                    )
    red = section.get("red_quasar")
    if red:
        where = f"{where}.red_quasar"
        for z, ebv in itertools.product(axis(red, "redshift", where), axis(red, "ebv", where)):
            wave = _grid_for(passbands)
            f_nu = quasar_f_nu(wave, float(z), ebv=float(ebv))
            fluxes.append(f_nu @ passband_weights(wave, passbands))
            rows.append((z, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, ebv))
    names = (
        "redshift",
        "is_delayed",
        "age_gyr",
        "tau_gyr",
        "metallicity",
        "av_mag",
        "torus_fraction",
        "red_quasar_ebv",
    )
    return ClassTemplates(np.array(fluxes), dict(zip(names, np.array(rows).T, strict=True)))


def _grid_for(passbands: Mapping[str, Passband]) -> Floats:
    """Return observed wavelengths that cover all passbands, in steps of 300 km/s [Angstrom]."""
    low = min(band.wavelength_aa[0] for band in passbands.values())
    high = max(band.wavelength_aa[-1] for band in passbands.values())
    return np.geomspace(low * 0.999, high * 1.001, int(np.log(high / low) / 1e-3) + 2)


def torus_shape(wavelength_aa: Floats) -> Floats:
    """Return f_nu of an obscured nucleus at rest wavelengths [Angstrom], 1 at 1.6 um.

    f_nu ~ nu^-2 over 1 to 5 um (assumed, after the looks of the AGN template of Assef et al.
    2010, ApJ 713, 970), cut off bluewards by dust sublimating near 1500 K, drawn as
    exp(-(1 um / lambda)^2).
    """
    um = np.asarray(wavelength_aa, dtype=float) * 1e-4
    shape = um**2 * np.exp(-(um**-2.0))
    return np.asarray(shape / (1.6**2 * np.exp(-(1.6**-2.0))))


def star_templates(
    section: Mapping[str, Any], table: DwarfTable, bands: Sequence[str]
) -> ClassTemplates:
    """Return stars of every type, alone and blended in WISE's beam.

    ``wise_blend`` lists the flux in W1 of an unresolved neighbour (WISE's beam is
    6 arcsec wide: Wright et al. 2010, AJ 140, 1868) over the star's own; in W2 the
    neighbour has ``blend_w2_over_w1`` of its W1 flux (f_nu; we take 1, about a galaxy at
    z ~ 1). ``giants`` keeps or drops them.
    """
    keep = np.ones(len(table.type_code), bool)
    if not section.get("giants", True):
        keep = table.type_code < 30
    base = table.band_fluxes(bands)[keep]
    blends = axis(section, "wise_blend", "sed.models.star")
    ratio = float(section.get("blend_w2_over_w1", 1.0))
    wise = [bands.index(band) if band in bands else None for band in ("W1", "W2")]
    fluxes = []
    for blend in blends:
        blended = base.copy()
        if wise[0] is not None:
            own = base[:, wise[0]]
            blended[:, wise[0]] += blend * own
            if wise[1] is not None:
                blended[:, wise[1]] += blend * ratio * own
        fluxes.append(blended)
    n_type = int(keep.sum())
    tile = len(blends)
    return ClassTemplates(
        np.concatenate(fluxes),
        {
            "type_code": np.tile(table.type_code[keep], tile),
            "spectral_type": np.tile(np.array(table.spectral_type)[keep], tile),
            "wise_blend": np.repeat(blends, n_type),
            "m_j_vega_mag": np.tile(table.m_j_vega_mag[keep], tile),
            "density_pc3": np.tile(table.density_pc3[keep], tile),
        },
    )


def thin(fluxes: Floats, group: Ints, n_per_group: int) -> Representatives:
    """Choose templates that cover the colours of each group, and assign the rest to the nearest.

    Farthest-point sampling (Gonzalez 1985, Theor. Comput. Sci. 38, 293), which is
    deterministic: start at the template nearest to the mean colours, then always
    add the one farthest from all chosen.

    Parameters
    ----------
    fluxes : (n, n_band).
    group : group of each template, (n,); those with -1 are left out.
    n_per_group : representatives of a group, at most.
    """
    scaled = fluxes / np.max(fluxes, axis=1, keepdims=True)
    # 2 % of the brightest band is where faint bands stop to count.
    points = np.log(scaled + 0.02)
    points = points - points.mean(axis=1, keepdims=True)
    cell = np.full(len(fluxes), -1, dtype=np.int64)
    chosen: list[int] = []
    for value in np.unique(group[group >= 0]):
        members = np.flatnonzero(group == value)
        local = points[members]
        first = int(np.argmin(((local - local.mean(axis=0)) ** 2).sum(axis=1)))
        picks = [first]
        distance = ((local - local[first]) ** 2).sum(axis=1)
        nearest = np.zeros(len(members), dtype=np.int64)
        while len(picks) < min(n_per_group, len(members)) and distance.max() > 0:
            pick = int(np.argmax(distance))
            new = ((local - local[pick]) ** 2).sum(axis=1)
            nearest[new < distance] = len(picks)
            distance = np.minimum(distance, new)
            picks.append(pick)
        cell[members] = nearest + len(chosen)
        chosen.extend(int(members[pick]) for pick in picks)
    return Representatives(np.array(chosen, dtype=np.int64), cell)


def model_spectrum(
    templates: TemplateSet,
    name: str,
    index: int,
    passbands: Mapping[str, Passband] | None = None,
) -> tuple[Floats, Floats]:
    """Return wavelengths [Angstrom] and f_nu [uJy] of one template, for amplitude 1.

    Stars are known by their band fluxes only: those at the pivot wavelengths are
    returned. Galaxies need ``passbands`` (BAGPIPES samples wavelengths by them).
    """
    group = templates.classes[name]
    if name == "quasar":
        values = {key: float(column[index]) for key, column in group.parameters.items()}
        wave = np.geomspace(3500.0, 56_000.0, 4000)
        return wave, quasar_f_nu(wave, values.pop("redshift"), **values)
    if name == "galaxy":
        if passbands is None:
            raise ValueError("the spectrum of a galaxy needs passbands")
        values = {key: float(column[index]) for key, column in group.parameters.items()}
        z, ebv = values.pop("redshift"), values.pop("red_quasar_ebv")
        if ebv > 0:
            wave = np.geomspace(3500.0, 56_000.0, 4000)
            return wave, quasar_f_nu(wave, z, ebv=ebv)
        history = "delayed" if values.pop("is_delayed") else "constant"
        fraction = values.pop("torus_fraction")
        wave, f_nu = GalaxyModel(passbands).spectrum(z, history=history, **values)
        level = float(np.interp(1.6e4 * (1 + z), wave, f_nu))
        return wave, f_nu + fraction * level * torus_shape(np.clip(wave / (1 + z), 100.0, None))
    return templates.pivot_aa, group.fluxes[index]


def best_model_fluxes(
    verdict: Mapping[str, Any] | pd.Series, templates: TemplateSet
) -> dict[str, Floats]:
    """Return the best model's total band fluxes [uJy] per class, from a row of verdicts.

    Classes without a fit are left out. As the table says, total flux: the
    catalogue's aperture fluxes lie below it by the class's aperture offset.
    """
    models: dict[str, Floats] = {}
    for name in GRID_CLASSES:
        index = int(verdict[f"best_{name}_template"])
        if index >= 0:
            amplitude = float(verdict[f"best_{name}_amplitude"])
            models[name] = amplitude * templates.classes[name].fluxes[index]
    pair = [int(verdict[f"best_lensed_{part}_template"]) for part in ("quasar", "galaxy")]
    if min(pair) >= 0:
        models["lensed"] = (
            float(verdict["best_lensed_quasar_amplitude"])
            * templates.classes["quasar"].fluxes[pair[0]]
            + float(verdict["best_lensed_galaxy_amplitude"])
            * templates.classes["galaxy"].fluxes[pair[1]]
        )
    return models
