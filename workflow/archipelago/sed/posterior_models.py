"""The classes that posteriors are sampled of: parameters, priors and band fluxes.

Galaxies are BAGPIPES' own fitted model; the other classes interpolate in grids of
band fluxes made once. Amplitudes have priors of the same width, seven decades, in
every class.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.interpolate import RegularGridInterpolator
from scipy.special import ndtr, ndtri

from archipelago.base.errors import DataError
from archipelago.base.tables import require_columns
from archipelago.cosmology import age_gyr
from archipelago.passbands import Passband, passband_weights, write_ascii
from archipelago.sed.dust import galactic_correction
from archipelago.sed.galaxy import REFERENCE_LOG_MASS, GalaxyModel, components, import_bagpipes
from archipelago.sed.igm import transmission
from archipelago.sed.quasar import REFERENCE_M1450, UV_SLOPE, flux_at_1450_ujy, rest_spectrum
from archipelago.sed.templates import TemplateSet
from archipelago.sed.verdict import read_fluxes

Floats = NDArray[np.float64]

#: The classes, as in the table of verdicts.
CLASSES = ("star", "galaxy", "quasar", "lensed")

#: Decades that the prior of every amplitude spans, uniform in the logarithm.
#: The same for all classes, or their evidences would differ by its logarithm.
_MASS_RANGE = (6.0, 13.0)  # log10 of the solar masses formed
_M1450_RANGE = (-33.0, -15.5)  # 17.5 mag are 7 decades
_LOG_FLUX_RANGE = (-2.0, 5.0)  # log10 of the J flux [uJy]

#: Nodes of the quasar grid. Slopes, reddenings and IGM scales as explained in
#: `archipelago.sed.quasar` and `archipelago.sed.igm`.
_SLOPES = np.array([-1.15, -0.55, 0.05, 0.65])
_SLOPE_SIGMA = 0.3
_EBV = np.array([-0.05, 0.05, 0.15, 0.3])
_IGM_SCALES = np.array([0.5, 0.7, 1.0, 1.4, 2.0])
_LINE_SCALES = (0.3, 2.0)
_LYA_SCALES = (0.0, 2.5)
_REST_WAVE_AA = np.geomspace(250.0, 15_000.0, 4100)

#: Nodes of the grid of lens galaxies: ln redshift, log10 age [Gyr], A_V [mag].
_LENS_REDSHIFTS = np.geomspace(0.05, 3.0, 26)
_LENS_LOG_AGES = np.array([-1.0, -0.5, 0.0, 0.4, 0.7, 1.0])
_LENS_AV = np.array([0.0, 0.5, 1.0, 2.0])
_LENS_TAU_GYR = 0.5

#: Parameters of the lens galaxy, after the quasar's.
LENS_NAMES = ("lens_redshift", "lens_log_mass", "lens_log_age_gyr", "lens_av_mag")

#: What each parameter is.
PARAMETERS = {
    "type_code": "spectral type, 0 = M0, 10 = L0, 20 = T0",
    "log_flux_j_ujy": "log10 of the J flux [uJy]",
    "redshift": "redshift, of the quasar where there is one",
    "m1450": "absolute AB magnitude at 1450 A as seen, magnification included [mag]",
    "uv_slope": "d ln f_nu / d ln nu of the continuum, 1000 to 3880 A",
    "ebv": "E(B-V) of the quasar, SMC law [mag]",
    "line_scale": "factor on the equivalent widths of the lines",
    "lya_scale": "the same of Lyman alpha, N V and O VI",
    "igm_scale": "factor on the optical depth of the IGM",
    "age_gyr": "time since star formation began [Gyr]",
    "log_mass": "log10 of the stellar mass formed [solar masses]",
    "metallicity": "metallicity [solar]",
    "tau_gyr": "e-folding time of star formation [Gyr]",
    "av_mag": "A_V, Calzetti law [mag]",
    "lens_redshift": "redshift of the lens galaxy",
    "lens_log_mass": "log10 of its stellar mass formed [solar masses]",
    "lens_log_age_gyr": "log10 of the time since its star formation began [Gyr]",
    "lens_av_mag": "its A_V, Calzetti law [mag]",
}

_TINY = 1e-12


@dataclass(frozen=True)
class Measured:
    """The photometry of one object, freed from Galactic extinction.

    Attributes
    ----------
    id : identifier.
    flux_ujy, error_ujy : (n_band,); a limit has flux 0, without a model error.
    used : whether a band takes part, (n_band,).
    """

    id: int
    flux_ujy: Floats
    error_ujy: Floats
    used: NDArray[np.bool_]


def read_objects(
    catalogue: pd.DataFrame, ids: Sequence[int], bands: Sequence[str]
) -> list[Measured]:
    """Return the photometry of some objects, read as the grid fit reads it.

    Raises
    ------
    InputError
        If a column is absent.
    DataError
        If an object is not in the catalogue, or there twice.
    """
    columns = [f"{start}_{band}" for band in bands for start in ("flux_ujy", "flux_err_ujy")]
    require_columns(catalogue, ["id", *columns], "catalogue for the posteriors")
    chosen = catalogue[catalogue["id"].isin(list(ids))]
    counts = chosen["id"].value_counts()
    wrong = [value for value in ids if counts.get(value, 0) != 1]
    if wrong:
        raise DataError(
            f"candidates that are not exactly once in the catalogue: {wrong[:10]}",
            where="catalogue for the posteriors",
            next_step="run the rules catalogue and candidates again",
        )
    chosen = chosen.set_index("id", drop=False).loc[list(ids)].reset_index(drop=True)
    flux, error, used, _ = read_fluxes(chosen, bands)
    if "ebv_sfd98" in chosen:
        factor = galactic_correction(chosen["ebv_sfd98"], bands)
        flux, error = flux * factor, error * factor
    return [Measured(int(value), *row) for value, *row in zip(ids, flux, error, used, strict=True)]


@dataclass(frozen=True)
class ObjectData:
    """One object as it is fitted as one class: total fluxes, model error in the errors.

    Attributes
    ----------
    id : identifier.
    flux_ujy, error_ujy : (n_band,), divided by ``aperture``.
    used : whether a band takes part, (n_band,).
    aperture : share of the class' total flux that the catalogue measures, (n_band,).
    """

    id: int
    flux_ujy: Floats
    error_ujy: Floats
    used: NDArray[np.bool_]
    aperture: Floats

    @property
    def detected(self) -> bool:
        """Whether anything is measured: a flux in any band that takes part."""
        return bool((self.used & (self.flux_ujy != 0)).any())

    @property
    def ln_jacobian(self) -> float:
        """What ln L of total fluxes lacks to be a density in the fluxes measured."""
        return float(-np.log(self.aperture[self.used]).sum())

    @property
    def ln_norm(self) -> float:
        """ln L of a model that fits perfectly [measured fluxes in uJy]."""
        norm = -0.5 * np.log(2 * np.pi * self.error_ujy[self.used] ** 2).sum()
        return float(norm) + self.ln_jacobian

    def chi2(self, model_ujy: Floats) -> Floats:
        """Return chi2 of total model fluxes, (..., n_band) to (...)."""
        residual = (self.flux_ujy - model_ujy)[..., self.used] / self.error_ujy[self.used]
        return np.asarray((residual**2).sum(axis=-1))

    def ln_likelihood(self, model_ujy: Floats) -> Floats:
        """Return the Gaussian ln L of total model fluxes."""
        return np.asarray(self.ln_norm - 0.5 * self.chi2(model_ujy))


def as_class(
    measured: Measured, name: str, bands: Sequence[str], fit: Mapping[str, Any]
) -> ObjectData:
    """Return an object's data for a class, with the conventions of the grid fit.

    Parameters
    ----------
    measured : the object.
    name : one of `CLASSES`.
    bands : names of the bands.
    fit : ``model_error`` (per class: fraction of the flux per band, or default),
        ``floor_fraction`` (of the object's mean flux, in every band) and
        ``aperture_offset_mag`` (per class, in its ``bands``), as `verdicts` takes them.
    """
    table = fit["model_error"][name]
    fraction = np.array([float(table.get(band, table["default"])) for band in bands])
    flux, used = measured.flux_ujy, measured.used
    mean = float((np.abs(flux) * used).sum() / max(int(used.sum()), 1))
    floor = float(fit["floor_fraction"]) * mean
    error = np.sqrt(measured.error_ujy**2 + (fraction * flux) ** 2 + floor**2)
    offsets = fit["aperture_offset_mag"]
    share = 10 ** (-0.4 * float(offsets[name]))
    aperture = np.array([share if band in offsets["bands"] else 1.0 for band in bands])
    return ObjectData(measured.id, flux / aperture, error / aperture, used, aperture)


class Model(Protocol):
    """One class of object."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters, as in the columns of the table."""

    def prior(self, cube: Floats) -> Floats:
        """Map the unit cube to parameters, (n, n_par) to (n, n_par)."""

    def band_fluxes(self, parameters: Floats) -> Floats:
        """Return band fluxes [uJy], (n, n_par) to (n, n_band)."""


def _uniform(u: Floats, limits: tuple[float, float]) -> Floats:
    return limits[0] + u * (limits[1] - limits[0])


def _log_uniform(u: Floats, limits: tuple[float, float]) -> Floats:
    return np.asarray(np.exp(_uniform(u, (np.log(limits[0]), np.log(limits[1])))))


def _normal(u: Floats, mean: float, sigma: float, limits: tuple[float, float]) -> Floats:
    """Normal distribution cut at limits."""
    low, high = ndtr((np.array(limits) - mean) / sigma)
    values = mean + sigma * ndtri(low + u * (high - low))
    return np.asarray(np.clip(values, *limits))


class StarModel:
    """Dwarfs M0 to T9: type and J flux. Giants and WISE blends are left to the grid fit.

    Parameters
    ----------
    type_code : types of the nodes, (n,): 0 = M0, 10 = L0, 20 = T0.
    fluxes : band fluxes of the nodes for a J flux of 1, (n, n_band).
    """

    names = ("type_code", "log_flux_j_ujy")

    def __init__(self, type_code: Floats, fluxes: Floats) -> None:
        order = np.argsort(type_code)
        self._codes = np.asarray(type_code, dtype=float)[order]
        self._ln_flux = np.log(np.maximum(np.asarray(fluxes, dtype=float)[order], _TINY))

    @classmethod
    def from_templates(cls, templates: TemplateSet, bands: Sequence[str]) -> StarModel:
        """Take the single dwarfs out of the templates of the grid fit."""
        stars = templates.classes["star"]
        codes = stars.parameters["type_code"].astype(float)
        single = (codes < 30) & (stars.parameters["wise_blend"].astype(float) == 0)
        columns = [templates.bands.index(band) for band in bands]
        return cls(codes[single], stars.fluxes[single][:, columns])

    def prior(self, cube: Floats) -> Floats:
        """Types are uniform, so is log10 of the flux."""
        limits = (float(self._codes[0]), float(self._codes[-1]))
        return np.column_stack(
            [_uniform(cube[:, 0], limits), _uniform(cube[:, 1], _LOG_FLUX_RANGE)]
        )

    def band_fluxes(self, parameters: Floats) -> Floats:
        """See `Model`: linear in magnitude between types."""
        columns = [np.interp(parameters[:, 0], self._codes, column) for column in self._ln_flux.T]
        return np.asarray(10 ** parameters[:, 1:2] * np.exp(np.column_stack(columns)))


class QuasarModel:
    """Quasars: interpolated in redshift, IGM, slope and reddening; lines added linearly.

    Continuum and lines are interpolated apart and in the logarithm, in which slope,
    reddening and optical depth are linear at any one wavelength.

    M1450 is what is seen: magnification cannot be told from luminosity.
    """

    names = ("redshift", "m1450", "uv_slope", "ebv", "line_scale", "lya_scale", "igm_scale")

    def __init__(
        self, passbands: Mapping[str, Passband], redshift: tuple[float, float], step: float = 0.02
    ) -> None:
        self._redshift = redshift
        self._n_band = len(passbands)
        n_nodes = int(np.ceil((redshift[1] - redshift[0]) / step)) + 1
        z_nodes = np.linspace(*redshift, max(n_nodes, 2))
        # The spectrum is linear in both line scales: continuum, lines, Lyman alpha.
        rest = np.empty((_SLOPES.size, _EBV.size, 3, _REST_WAVE_AA.size))
        for i, slope in enumerate(_SLOPES):
            for j, ebv in enumerate(_EBV):
                bare, lines, lya = (
                    rest_spectrum(_REST_WAVE_AA, uv_slope=slope, ebv=ebv, line_scale=a, lya_scale=b)
                    for a, b in ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0))
                )
                rest[i, j] = bare, lines - bare, lya - bare
        shape = (z_nodes.size, _IGM_SCALES.size, _SLOPES.size, _EBV.size, 3, self._n_band)
        grid = np.empty(shape)
        for k, z in enumerate(z_nodes):
            wave = _REST_WAVE_AA * (1 + z)
            weights = passband_weights(wave, passbands) * float(flux_at_1450_ujy(z))
            for m, scale in enumerate(_IGM_SCALES):
                through = transmission(wave, float(z), float(scale))
                grid[k, m] = rest @ (weights * through[:, None])
        self._interpolate = RegularGridInterpolator(
            (z_nodes, _IGM_SCALES, _SLOPES, _EBV),
            np.log(np.maximum(grid, _TINY)).reshape(*shape[:4], -1),
        )

    def prior(self, cube: Floats) -> Floats:
        """Return parameters.

        Redshift, M1450 and Lyman alpha are uniform; the slope is normal, -0.25 +- 0.3;
        E(B-V) falls exponentially with scale 0.06 from -0.05; lines are uniform in
        the logarithm; ln of the IGM scale is normal with sigma 0.35.
        """
        share = -np.expm1(-(_EBV[-1] - _EBV[0]) / 0.06)
        ebv = _EBV[0] - 0.06 * np.log1p(-cube[:, 3] * share)
        ln_igm = (float(np.log(_IGM_SCALES[0])), float(np.log(_IGM_SCALES[-1])))
        return np.column_stack(
            [
                _uniform(cube[:, 0], self._redshift),
                _uniform(cube[:, 1], _M1450_RANGE),
                _normal(cube[:, 2], UV_SLOPE, _SLOPE_SIGMA, (_SLOPES[0], _SLOPES[-1])),
                np.clip(ebv, _EBV[0], _EBV[-1]),
                _log_uniform(cube[:, 4], _LINE_SCALES),
                _uniform(cube[:, 5], _LYA_SCALES),
                np.exp(_normal(cube[:, 6], 0.0, 0.35, ln_igm)),
            ]
        )

    def band_fluxes(self, parameters: Floats) -> Floats:
        """See `Model`."""
        z, m1450, slope, ebv, line, lya, igm = parameters.T
        igm = np.clip(igm, _IGM_SCALES[0], _IGM_SCALES[-1])
        parts = np.exp(self._interpolate(np.column_stack([z, igm, slope, ebv])))
        parts = parts.reshape(-1, 3, self._n_band)
        total = parts[:, 0] + line[:, None] * parts[:, 1] + lya[:, None] * parts[:, 2]
        return np.asarray(total * 10 ** (-0.4 * (m1450 - REFERENCE_M1450))[:, None])


class LensedModel:
    """A quasar and a galaxy before it: two amplitudes, both free."""

    def __init__(self, quasar: QuasarModel, galaxy: GalaxyModel, n_band: int) -> None:
        self._quasar = quasar
        self.names = (*quasar.names, *LENS_NAMES)
        grid = np.empty((_LENS_REDSHIFTS.size, _LENS_LOG_AGES.size, _LENS_AV.size, n_band))
        for i, z in enumerate(_LENS_REDSHIFTS):
            oldest = 0.95 * float(age_gyr(z))
            for j, log_age in enumerate(_LENS_LOG_AGES):
                for k, av in enumerate(_LENS_AV):
                    grid[i, j, k] = galaxy.fluxes(
                        float(z),
                        history="delayed",
                        age_gyr=min(10.0 ** float(log_age), oldest),
                        tau_gyr=_LENS_TAU_GYR,
                        av_mag=float(av),
                    )
        # Distances make fluxes steep in redshift: smooth in logarithms of both.
        self._interpolate = RegularGridInterpolator(
            (np.log(_LENS_REDSHIFTS), _LENS_LOG_AGES, _LENS_AV), np.log(np.maximum(grid, _TINY))
        )

    def prior(self, cube: Floats) -> Floats:
        """Return parameters: the quasar's, then all uniform, redshifts from 0.05 to 3.

        Every lens lies before its quasar, as quasars begin beyond that.
        """
        n = len(self._quasar.names)
        limits = (
            (float(_LENS_REDSHIFTS[0]), float(_LENS_REDSHIFTS[-1])),
            _MASS_RANGE,
            (float(_LENS_LOG_AGES[0]), float(_LENS_LOG_AGES[-1])),
            (float(_LENS_AV[0]), float(_LENS_AV[-1])),
        )
        lens = [_uniform(cube[:, n + i], limit) for i, limit in enumerate(limits)]
        return np.column_stack([self._quasar.prior(cube[:, :n]), *lens])

    def band_fluxes(self, parameters: Floats) -> Floats:
        """See `Model`."""
        n = len(self._quasar.names)
        return self._quasar.band_fluxes(parameters[:, :n]) + self.lens_fluxes(parameters)

    def lens_fluxes(self, parameters: Floats) -> Floats:
        """Return the galaxy's share [uJy], (n, n_par) to (n, n_band)."""
        z, log_mass, log_age, av = parameters[:, len(self._quasar.names) :].T
        nodes = np.log(_LENS_REDSHIFTS)
        ln_z = np.clip(np.log(z), nodes[0], nodes[-1])
        ln_flux = self._interpolate(np.column_stack([ln_z, log_age, av]))
        return np.asarray(np.exp(ln_flux) * 10 ** (log_mass - REFERENCE_LOG_MASS)[:, None])


class BagpipesModel:
    """A galaxy for one object: BAGPIPES' fitted model, on the bands that the object has.

    Parameters
    ----------
    data : the object.
    passbands : per band a Passband, in the order of the data.
    history : ``delayed`` or ``constant`` star formation.
    redshift : range of redshifts.
    """

    _COLUMNS = {
        "redshift": "redshift",
        "massformed": "log_mass",
        "metallicity": "metallicity",
        "age": "age_gyr",
        "age_max": "age_gyr",
        "tau": "tau_gyr",
        "Av": "av_mag",
    }

    def __init__(
        self,
        data: ObjectData,
        passbands: Mapping[str, Passband],
        history: str,
        redshift: tuple[float, float],
    ) -> None:
        self._data = data
        self._redshift = redshift
        instructions = components(1.0, history=history)
        instructions["redshift"] = redshift
        instructions["dust"]["Av"] = (0.0, 4.0)
        stars = instructions[history]
        stars["massformed"] = _MASS_RANGE
        stars["metallicity"] = (0.1, 2.0)
        stars["age" if history == "delayed" else "age_max"] = (0.03, 14.0)
        if history == "delayed":
            stars["tau"] = (0.05, 10.0)
        has = dict(zip(passbands, data.used, strict=True))
        used = {band: curve for band, curve in passbands.items() if has[band]}
        values = np.column_stack([data.flux_ujy, data.error_ujy])[data.used]
        with tempfile.TemporaryDirectory(prefix="archipelago-posterior-") as folder:
            files = [str(path) for path in write_ascii(used, folder).values()]
            bagpipes = import_bagpipes()
            self._galaxy = bagpipes.galaxy(
                str(data.id),
                lambda _: values,
                spectrum_exists=False,
                filt_list=files,
                phot_units="mujy",
                out_units="mujy",
            )
            self._fitted = bagpipes.fitting.fitted_model(self._galaxy, instructions)
            # The passbands are read when the model is first updated: now, while they are there.
            self._evaluate(self.prior(np.full((1, self._fitted.ndim), 0.5))[0])
        self._met: dict[bytes, Floats] = {}

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters, in BAGPIPES' order."""
        return tuple(self._COLUMNS[name.split(":")[-1]] for name in self._fitted.params)

    def prior(self, cube: Floats) -> Floats:
        """BAGPIPES' uniform priors; ages are uniform up to the age of the universe."""
        parameters = np.array([self._fitted.prior.transform(row.copy()) for row in cube])
        age, z = self.names.index("age_gyr"), self.names.index("redshift")
        oldest = 0.99 * age_gyr(parameters[:, z])
        parameters[:, age] = _uniform(cube[:, age], (0.03, 1.0)) * oldest
        return parameters

    def _evaluate(self, parameters: Floats) -> tuple[float, Floats]:
        with contextlib.redirect_stdout(io.StringIO()):
            value = float(self._fitted.lnlike(parameters))
        photometry = np.atleast_1d(self._fitted.model_galaxy.photometry).copy()
        return value + self._data.ln_jacobian, photometry

    def ln_likelihood(self, parameters: Floats) -> Floats:
        """Return BAGPIPES' ln L, (n, n_par) to (n,); the band fluxes are kept for later."""
        values = np.empty(len(parameters))
        for row, point in enumerate(parameters):
            values[row], self._met[point.tobytes()] = self._evaluate(point)
        return values

    def band_fluxes(self, parameters: Floats) -> Floats:
        """See `Model`; NaN in bands that the object lacks."""
        fluxes = np.full((len(parameters), self._data.used.size), np.nan)
        for row, point in enumerate(parameters):
            key = point.tobytes()
            if key not in self._met:
                self._met[key] = self._evaluate(point)[1]
            fluxes[row, self._data.used] = self._met[key]
        return fluxes
