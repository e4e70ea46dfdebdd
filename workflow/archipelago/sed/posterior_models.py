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

from archipelago.base.tables import require_columns
from archipelago.cosmology import age_gyr
from archipelago.passbands import Passband, passband_weights, write_ascii
from archipelago.sed.data import aperture_shares, class_errors, read_fluxes, rows_of
from archipelago.sed.galaxy import REFERENCE_LOG_MASS, GalaxyModel, components, import_bagpipes
from archipelago.sed.igm import transmission
from archipelago.sed.priors import LINE_LN_SIGMA, LYA_LN_SIGMA
from archipelago.sed.quasar import REFERENCE_M1450, flux_at_1450_ujy, rest_spectrum
from archipelago.sed.templates import TemplateSet

Floats = NDArray[np.float64]

#: The classes, as in the table of verdicts.
CLASSES = ("star", "galaxy", "quasar", "lensed")

#: Decades that the prior of every amplitude spans, uniform in the logarithm.
#: The same for all classes, or their evidences would differ by its logarithm.
_MASS_RANGE = (6.0, 13.0)  # log10 of the solar masses formed
_M1450_RANGE = (-33.0, -15.5)  # 17.5 mag are 7 decades
_LOG_FLUX_RANGE = (-2.0, 5.0)  # log10 of the J flux [uJy]

#: Nodes of the quasar grid in E(B-V) [mag], and the ends of its prior.
_EBV = np.array([-0.05, 0.05, 0.15, 0.3])
#: Nodes in slope and in ln of the IGM's scale, in sigma of their priors, which end there.
_SLOPE_NODES = np.linspace(-3.0, 3.0, 4)
_IGM_NODES = np.linspace(-3.0, 3.0, 9)
#: Where the scatter of the line scales is cut.
_LINE_CUT_SIGMA = 2.5
#: Depths of broad absorption are uniform up to this one (assumed).
_BAL_DEPTH_MAX = 0.8
_REST_WAVE_AA = np.geomspace(250.0, 15_000.0, 4100)

#: Nodes of the grid of lens galaxies: ln redshift, log10 age [Gyr], A_V [mag].
_LENS_REDSHIFTS = np.geomspace(0.05, 3.0, 26)
_LENS_LOG_AGES = np.array([-1.0, -0.5, 0.0, 0.4, 0.7, 1.0])
_LENS_AV = np.array([0.0, 0.5, 1.0, 2.0])
#: Their e-folding time of star formation [Gyr] (assumed: most lenses are old).
LENS_TAU_GYR = 0.5

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
    "igm_scale": "factor on the optical depth of Lyman alpha in the IGM",
    "bal_depth": "share of the light that broad absorption lines take, at C IV",
    "age_gyr": "time since star formation began [Gyr]",
    "log_mass": "log10 of the stellar mass formed [solar masses]",
    "metallicity": "metallicity [solar]",
    "tau_gyr": "e-folding time of star formation [Gyr]",
    "av_mag": "A_V, Calzetti law [mag]",
    "lens_redshift": "redshift of the lens galaxy, below the quasar's",
    "lens_log_mass": "log10 of its stellar mass formed [solar masses]",
    "lens_log_age_gyr": "log10 of the time since its star formation began [Gyr]",
    "lens_av_mag": "its A_V, Calzetti law [mag]",
}

_TINY = 1e-12
#: What `QuasarModel` takes from the priors of the grid fit.
_QUASAR_PRIORS = (
    *("uv_slope_mean", "uv_slope_sigma", "ebv_scale_mag", "igm_ln_sigma"),
    "bal_share",
)
#: BAGPIPES' ln L of what it holds to be impossible is -9.99e99.
_BAGPIPES_IMPOSSIBLE = -9e99


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
    chosen = rows_of(
        catalogue,
        ids,
        what="candidates",
        where="catalogue for the posteriors",
        next_step="run the rules catalogue and candidates again",
    )
    flux, error, used, _ = read_fluxes(chosen, bands)
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
    shared_ujy : one sigma of the error that the bands of a survey have in common,
        (n_survey, n_band), 0 in the bands of others; no band is in two surveys.
    """

    id: int
    flux_ujy: Floats
    error_ujy: Floats
    used: NDArray[np.bool_]
    aperture: Floats
    shared_ujy: Floats

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
        return float(norm - 0.5 * np.log(self._shared_norm).sum()) + self.ln_jacobian

    @cached_property
    def _shared_norm(self) -> Floats:
        """1 + v D^-1 v of each survey's shared error v, (n_survey,)."""
        ratio = self.shared_ujy[:, self.used] / self.error_ujy[self.used]
        return np.asarray(1 + (ratio**2).sum(axis=1))

    @cached_property
    def _modes(self) -> Floats:
        """u with chi2 = r r - sum of (u r)^2, r in sigma, (n_survey, n_used)."""
        ratio = self.shared_ujy[:, self.used] / self.error_ujy[self.used]
        return np.asarray(ratio / np.sqrt(self._shared_norm)[:, None])

    @property
    def total_error_ujy(self) -> Floats:
        """One sigma of each band alone, shared errors included, (n_band,)."""
        return np.asarray(np.sqrt(self.error_ujy**2 + (self.shared_ujy**2).sum(axis=0)))

    def chi2(self, model_ujy: Floats) -> Floats:
        """Return chi2 of total model fluxes, (..., n_band) to (...).

        The covariance is a diagonal and one outer product per survey, inverted by hand
        (Sherman & Morrison 1950, Ann. Math. Stat. 21, 124), as in the grid fit.
        """
        residual = (self.flux_ujy - model_ujy)[..., self.used] / self.error_ujy[self.used]
        shared = ((residual @ self._modes.T) ** 2).sum(axis=-1)
        return np.asarray((residual**2).sum(axis=-1) - shared)

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
    fit : as `archipelago.sed.data.class_errors` takes it, and ``aperture_offset_mag``.
    """
    flux, used = measured.flux_ujy, measured.used
    variance, shared = class_errors(
        fit, name, bands, flux[None], measured.error_ujy[None], used[None]
    )
    aperture = aperture_shares(fit["aperture_offset_mag"], name, bands)
    return ObjectData(
        measured.id,
        flux / aperture,
        np.sqrt(variance[0]) / aperture,
        used,
        aperture,
        shared[:, 0] / aperture,
    )


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


def _exponential(u: Floats, scale: float, limits: tuple[float, float]) -> Floats:
    """Distribution that falls as exp(-|x| / scale) on both sides of 0, cut at limits."""
    at = np.array(limits)
    low, high = np.where(at < 0, np.exp(-np.abs(at) / scale), 2 - np.exp(-np.abs(at) / scale)) / 2
    share = low + u * (high - low)
    # From the nearer tail: 1 minus a small number would lose its digits.
    tail = np.maximum(2 * np.where(share < 0.5, share, 1 - share), 1e-300)
    values = np.where(share < 0.5, 1, -1) * scale * np.log(tail)
    return np.asarray(np.clip(values, *limits))


class QuasarModel:
    """Quasars: interpolated in redshift, IGM, slope and reddening; lines added linearly.

    Continuum and lines are interpolated apart and in the logarithm, in which slope,
    reddening and optical depth are linear at any one wavelength. The light that broad
    absorption lines leave is linear in their depth.

    M1450 is what is seen: magnification cannot be told from luminosity. There is no host
    galaxy: the templates of the grid fit have none, and class lensed has a galaxy.

    Parameters
    ----------
    passbands : per band a Passband.
    redshift : range of redshifts.
    priors : ``uv_slope_mean``, ``uv_slope_sigma``, ``ebv_scale_mag``, ``igm_ln_sigma`` and
        ``bal_share``, as the grid fit takes them (`archipelago.sed.priors.quasar_prior`).
    step : of the grid's redshifts.
    """

    names = (
        *("redshift", "m1450", "uv_slope", "ebv", "line_scale", "lya_scale"),
        *("igm_scale", "bal_depth"),
    )

    def __init__(
        self,
        passbands: Mapping[str, Passband],
        redshift: tuple[float, float],
        priors: Mapping[str, Any],
        step: float = 0.02,
    ) -> None:
        self._redshift = redshift
        self._n_band = len(passbands)
        self._priors = {name: float(priors[name]) for name in _QUASAR_PRIORS}
        slopes = self._priors["uv_slope_mean"] + _SLOPE_NODES * self._priors["uv_slope_sigma"]
        self._igm_scales = np.exp(_IGM_NODES * self._priors["igm_ln_sigma"])
        n_nodes = int(np.ceil((redshift[1] - redshift[0]) / step)) + 1
        z_nodes = np.linspace(*redshift, max(n_nodes, 2))
        # The spectrum is linear in both line scales: continuum, lines, Lyman alpha; each
        # without broad absorption and with the deepest.
        depths = (0.0, _BAL_DEPTH_MAX)
        rest = np.empty((slopes.size, _EBV.size, len(depths), 3, _REST_WAVE_AA.size))
        for i, slope in enumerate(slopes):
            for j, ebv in enumerate(_EBV):
                for k, depth in enumerate(depths):
                    shape = {"uv_slope": float(slope), "ebv": float(ebv), "bal_depth": depth}
                    bare, lines, lya = (
                        rest_spectrum(_REST_WAVE_AA, line_scale=a, lya_scale=b, **shape)
                        for a, b in ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0))
                    )
                    rest[i, j, k] = bare, lines - bare, lya - bare
        parts = rest.reshape(slopes.size, _EBV.size, -1, _REST_WAVE_AA.size)
        grid = np.empty((z_nodes.size, _IGM_NODES.size, *parts.shape[:3], self._n_band))
        for k, z in enumerate(z_nodes):
            wave = _REST_WAVE_AA * (1 + z)
            weights = passband_weights(wave, passbands) * float(flux_at_1450_ujy(z))
            for m, scale in enumerate(self._igm_scales):
                through = transmission(wave, float(z), float(scale))
                grid[k, m] = parts @ (weights * through[:, None])
        self._slopes = (float(slopes[0]), float(slopes[-1]))
        self._interpolate = RegularGridInterpolator(
            (z_nodes, self._igm_scales, slopes, _EBV),
            np.log(np.maximum(grid, _TINY)).reshape(*grid.shape[:4], -1),
        )

    def prior(self, cube: Floats) -> Floats:
        """Return parameters, distributed as in the grid fit but for the counts of quasars.

        Redshift and M1450 are uniform; the slope is normal; E(B-V) falls exponentially on
        both sides of 0; line scales and the IGM's are normal in the logarithm. A share
        ``bal_share`` has broad absorption, of any depth alike; the others have depth 0.
        """
        given = self._priors
        igm_sigma, share = given["igm_ln_sigma"], given["bal_share"]
        cut = (-_LINE_CUT_SIGMA, _LINE_CUT_SIGMA)
        slope = (given["uv_slope_mean"], given["uv_slope_sigma"], self._slopes)
        igm = _normal(cube[:, 6], 0.0, 1.0, (float(_IGM_NODES[0]), float(_IGM_NODES[-1])))
        absorbed = np.clip(cube[:, 7] - (1 - share), 0.0, None)
        return np.column_stack(
            [
                _uniform(cube[:, 0], self._redshift),
                _uniform(cube[:, 1], _M1450_RANGE),
                _normal(cube[:, 2], *slope),
                _exponential(cube[:, 3], given["ebv_scale_mag"], (_EBV[0], _EBV[-1])),
                np.exp(LINE_LN_SIGMA * _normal(cube[:, 4], 0.0, 1.0, cut)),
                np.exp(LYA_LN_SIGMA * _normal(cube[:, 5], 0.0, 1.0, cut)),
                np.exp(igm_sigma * igm),
                _BAL_DEPTH_MAX * absorbed / max(share, _TINY),
            ]
        )

    def band_fluxes(self, parameters: Floats) -> Floats:
        """See `Model`."""
        z, m1450, slope, ebv, line, lya, igm, bal = parameters.T
        igm = np.clip(igm, self._igm_scales[0], self._igm_scales[-1])
        parts = np.exp(self._interpolate(np.column_stack([z, igm, slope, ebv])))
        parts = parts.reshape(-1, 2, 3, self._n_band)
        deep = (bal / _BAL_DEPTH_MAX)[:, None, None]
        part = parts[:, 0] + deep * (parts[:, 1] - parts[:, 0])
        total = part[:, 0] + line[:, None] * part[:, 1] + lya[:, None] * part[:, 2]
        return np.asarray(total * 10 ** (-0.4 * (m1450 - REFERENCE_M1450))[:, None])


def lens_age_gyr(log_age_gyr: float, redshift: float) -> float:
    """Return the age of a lens galaxy [Gyr]: as asked, but less than the universe's."""
    return float(min(10.0**log_age_gyr, 0.95 * float(age_gyr(redshift))))


class LensedModel:
    """A quasar and a galaxy before it: two amplitudes, both free and above 0.

    The galaxy's redshift lies below the quasar's. The photometry says nothing of the
    magnification: a brighter quasar looks the same, so M1450 is what is seen, and the
    intrinsic one is fainter by 2.5 log10 of the magnification.
    """

    def __init__(self, quasar: QuasarModel, galaxy: GalaxyModel, n_band: int) -> None:
        self._quasar = quasar
        self.names = (*quasar.names, *LENS_NAMES)
        grid = np.empty((_LENS_REDSHIFTS.size, _LENS_LOG_AGES.size, _LENS_AV.size, n_band))
        for i, z in enumerate(_LENS_REDSHIFTS):
            for j, log_age in enumerate(_LENS_LOG_AGES):
                for k, av in enumerate(_LENS_AV):
                    grid[i, j, k] = galaxy.fluxes(
                        float(z),
                        history="delayed",
                        age_gyr=lens_age_gyr(float(log_age), float(z)),
                        tau_gyr=LENS_TAU_GYR,
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
    """A galaxy for one object: BAGPIPES' fitted model.

    Parameters, priors and photometry are BAGPIPES'. Its likelihood knows no errors that
    bands share, nor bands that do not count, and is used to tell histories older than the
    universe only.

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
        values = np.column_stack([data.flux_ujy, data.error_ujy])
        with tempfile.TemporaryDirectory(prefix="archipelago-posterior-") as folder:
            files = [str(path) for path in write_ascii(passbands, folder).values()]
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

    def _evaluate(self, parameters: Floats) -> Floats:
        """Return BAGPIPES' photometry [uJy], (n_band,); NaN where its likelihood is 0."""
        with contextlib.redirect_stdout(io.StringIO()):
            value = float(self._fitted.lnlike(parameters))
        photometry = np.asarray(self._fitted.model_galaxy.photometry, dtype=float)
        return np.where(value > _BAGPIPES_IMPOSSIBLE, photometry, np.nan)

    def band_fluxes(self, parameters: Floats) -> Floats:
        """See `Model`. What was met once is kept."""
        for point in parameters:
            if point.tobytes() not in self._met:
                self._met[point.tobytes()] = self._evaluate(point)
        return np.array([self._met[point.tobytes()] for point in parameters]).reshape(
            len(parameters), -1
        )
