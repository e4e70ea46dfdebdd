"""The published fit: the three models, likelihood and BIC of Byrne et al. 2024 (arXiv:2403.17903).

A galaxy (BAGPIPES, constant star formation, Calzetti dust, nebular emission; 6 parameters), a
quasar (`archipelago.sed.published_quasar`; 2) and their sum (8) are fitted to the catalogue's
fluxes and errors as they stand: a limit is a flux of 0 with its error; no model error, no
aperture correction, no Galactic extinction. With f, s in Jy and n bands,

    ln L = -1/2 sum[(f - m)^2 / s^2 + ln s^2],    BIC = k ln n - 2 ln L.

The paper took the best of a chain (emcee); here galaxies all over the parameters' ranges come
first, then a seeded search about the best of them (differential evolution, as BAGPIPES' fluxes
have kinks where its grids have nodes), then least squares; the amplitudes are solved for, never
negative.

Our reading where the paper's set-up is not known:

- the galaxy's six parameters are redshift, mass formed, begin and end of the star formation,
  metallicity and A_V; log U is -3, birth clouds have no dust of their own;
- its redshift ends at 5: at z ~ 6 a young galaxy would fit such quasars far better than the
  published BICs of galaxies allow, and below 3 none would better the fit of J0122-4609 as theirs
  does;
- E(B-V) of the quasar is not negative.

``python -m archipelago.sed.published --catalogue FILE`` sets the three objects of the paper beside
its table, and the quasar's chi2 that other readings of the quasar model would give.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import differential_evolution, least_squares, nnls
from scipy.stats import qmc

from archipelago.base.errors import ConfigError, DataError, InputError
from archipelago.base.tables import read_any_table, require_columns
from archipelago.cosmology import age_gyr
from archipelago.passbands import DES_VHS_WISE, Passband, load_passbands, passband_weights
from archipelago.sed.data import flux_columns, rows_of
from archipelago.sed.galaxy import REFERENCE_LOG_MASS, GalaxyModel
from archipelago.sed.published_quasar import QuasarPhotometry
from archipelago.sed.quasar import REFERENCE_M1450

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_LOG = logging.getLogger(__name__)

#: The models, and their parameters; one more with a free redshift of the quasar.
MODELS = {"galaxy": 6, "quasar": 2, "both": 8}

#: Ranges of the galaxy's parameters, no published value: redshift, youngest begin of the star
#: formation [Gyr] (the oldest is the age of the Universe), latest end as a share of its begin,
#: metallicity [solar], A_V [mag].
GALAXY_REDSHIFT = (0.01, 5.0)
_AGE_MIN_GYR = 0.01
_END_MAX = 0.99
_METALLICITY = (0.01, 2.5)
_AV_MAG = (0.0, 4.0)
_LOG_U = -3.0
_BIRTH_CLOUD_GYR = 0.01

#: Ranges of the quasar's: redshift where it is free, E(B-V) [mag].
QUASAR_REDSHIFT = (4.5, 7.5)
_EBV_MAG = (0.0, 1.0)
#: First guesses of both.
_EBV_GRID = np.concatenate([np.arange(0.0, 0.4, 0.005), np.arange(0.4, 1.01, 0.05)])
_REDSHIFT_GRID = np.arange(4.5, 7.501, 0.05)

#: Searches per model: how many, the least distance of their centres and half the width of their
#: boxes (redshift, then the other coordinates of the unit cube), galaxies of a generation per
#: coordinate, and generations.
_SEARCHES = 5
_APART = np.array([0.06, 0.3, 0.5, 0.3, 0.3])
_HALF_BOX = np.array([0.04, 0.25, 0.5, 0.25, 0.25])
_POPULATION = 7
_GENERATIONS = 30
#: Steps of least squares, and the step of its numerical slopes.
_MAX_STEPS = 60
_SLOPE_STEP = 3e-3
#: What a galaxy that adds nothing to the quasar costs, per sigma that it is away from doing so:
#: too little to count, enough to lead the search.
_LEAD = 1e-3

#: ln of uJy per Jy, twice: sum of ln s^2 in Jy = that in uJy minus this per band.
_LN_JY2 = 2 * np.log(1e6)

_GALAXY_NAMES = ("z", "log_mass", "age_max_gyr", "age_min_gyr", "metallicity", "av")

#: What each column of `published_fits` is.
ABOUT = {
    "id": "identifier of the object",
    "status": "ok, or what was not possible: no_usable_band, nothing_detected, few_bands",
    "n_bands": "bands fitted, limits included",
    "redshift": "redshift of the quasar that the fits were held at; NaN where it was free",
    "redshift_is": "fixed, free, or empty where nothing was fitted",
    **{
        name.format(model): text.format(what)
        for model, what in (
            ("galaxy", "galaxy"),
            ("quasar", "quasar"),
            ("both", "galaxy + quasar"),
        )
        for name, text in (
            ("k_{}", "parameters of the {}"),
            ("chi2_{}", "chi2 of the best {}, no model error"),
            ("ln_likelihood_{}", "ln L of the best {}, fluxes in Jy, without 2 pi"),
            ("bic_{}", "k ln n - 2 ln L of the {}, n bands"),
        )
    },
    "z_galaxy": "redshift of the best galaxy",
    "log_mass_galaxy": "log10 of its mass formed [solar masses]",
    "age_max_gyr_galaxy": "time since its star formation began [Gyr]",
    "age_min_gyr_galaxy": "time since its star formation ended [Gyr]",
    "metallicity_galaxy": "its metallicity [solar]",
    "av_galaxy": "its A_V, Calzetti law [mag]",
    "z_quasar": "redshift of the best quasar, held or free",
    "m1450_quasar": "its absolute AB magnitude at 1450 A, unreddened, magnification included [mag]",
    "ebv_quasar": "its E(B-V) [mag]",
    "z_both_galaxy": "redshift of the galaxy of the best galaxy + quasar",
    "log_mass_both": "log10 of that galaxy's mass formed [solar masses]",
    "age_max_gyr_both": "time since its star formation began [Gyr]",
    "age_min_gyr_both": "time since its star formation ended [Gyr]",
    "metallicity_both": "its metallicity [solar]",
    "av_both": "its A_V, Calzetti law [mag]",
    "z_both_quasar": "redshift of the quasar of the best galaxy + quasar, held or free",
    "m1450_both": "that quasar's absolute AB magnitude at 1450 A, unreddened [mag]",
    "ebv_both": "that quasar's E(B-V) [mag]",
}


@dataclass(frozen=True)
class PublishedOptions:
    """Which objects get the published fit, and how.

    Attributes
    ----------
    shortlist : first candidates fitted.
    ids : objects fitted besides.
    redshift : ``known``: quasars with a known redshift are held at it, others free; or ``free``.
    starts : galaxies that local optimisations start from, the same for all objects.
    seed : of the starts.
    """

    shortlist: int = 0
    ids: Sequence[int] = ()
    redshift: str = "known"
    starts: int = 2000
    seed: int = 1

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> PublishedOptions:
        """Return the options of the section ``published_fit``; raises ConfigError if wrong."""
        options = cls(**values)
        if options.redshift not in ("known", "free"):
            raise ConfigError(
                f"the redshift is {options.redshift!r}",
                where="published_fit.redshift",
                next_step="write known or free",
            )
        if options.starts < _SEARCHES:
            raise ConfigError(
                f"{options.starts} starts are too few",
                where="published_fit.starts",
                next_step=f"give at least {_SEARCHES}",
            )
        return options


def ln_likelihood(flux_ujy: ArrayLike, error_ujy: ArrayLike, model_ujy: ArrayLike) -> float:
    """Return -1/2 sum[(f - m)^2 / s^2 + ln s^2] with f, m, s in Jy; they are given in uJy."""
    flux, error, model = (np.asarray(x, dtype=float) for x in (flux_ujy, error_ujy, model_ujy))
    return float(-0.5 * (((flux - model) / error) ** 2 + 2 * np.log(error) - _LN_JY2).sum())


def bic(n_parameters: int, n_bands: int, ln_l: float) -> float:
    """Return k ln n - 2 ln L."""
    return float(n_parameters * np.log(n_bands) - 2 * ln_l)


def best_pairs(first: Floats, second: Floats, data: Floats) -> tuple[Floats, Floats, Floats]:
    """Fit every sum a x + b y, a and b not negative, to data; all in units of the error.

    Parameters
    ----------
    first : (n, n_band) values of x.
    second : (m, n_band) values of y.
    data : (n_band,).

    Returns
    -------
    chi2, a, b : (n, m) each.
    """
    xx, yy = (first**2).sum(axis=1)[:, None], (second**2).sum(axis=1)[None, :]
    xd, yd = (first @ data)[:, None], (second @ data)[None, :]
    xy = first @ second.T
    with np.errstate(divide="ignore", invalid="ignore"):
        # One alone: the amplitude that is right without the other, or 0.
        only_a = np.nan_to_num(np.clip(xd, 0.0, None) / xx, posinf=0.0)
        only_b = np.nan_to_num(np.clip(yd, 0.0, None) / yy, posinf=0.0)
        determinant = xx * yy - xy**2
        both_a = (xd * yy - yd * xy) / determinant
        both_b = (yd * xx - xd * xy) / determinant
    # In what two proportional models explain, rounding alone would share them out.
    inside = (determinant > 1e-10 * xx * yy) & (both_a > 0) & (both_b > 0)
    a_wins = only_a * xd > only_b * yd
    a = np.where(inside, both_a, np.where(a_wins, only_a, 0.0))
    b = np.where(inside, both_b, np.where(a_wins, 0.0, only_b))
    gain = 2 * (a * xd + b * yd) - a**2 * xx - b**2 * yy - 2 * a * b * xy
    return (data**2).sum() - gain, a, b


class ConstantGalaxy(GalaxyModel):
    """Galaxies of the published fit, from a point of the unit cube.

    The five coordinates are redshift, ln of the begin and share of the end of the star formation,
    metallicity and A_V, each over its range.
    """

    def parameters(self, point: ArrayLike) -> dict[str, float]:
        """Return z, age_max_gyr, age_min_gyr, metallicity and av at a point, (5,)."""
        u = np.clip(np.asarray(point, dtype=float), 0.0, 1.0)
        redshift = float(_between(GALAXY_REDSHIFT, u[0]))
        # A little less than the age of the Universe, which BAGPIPES reckons itself.
        oldest = 0.99 * float(age_gyr(redshift))
        begin = float(np.exp(_between((np.log(_AGE_MIN_GYR), np.log(oldest)), u[1])))
        return {
            "z": redshift,
            "age_max_gyr": begin,
            "age_min_gyr": float(_END_MAX * u[2] * begin),
            "metallicity": float(_between(_METALLICITY, u[3])),
            "av": float(_between(_AV_MAG, u[4])),
        }

    def at(self, point: ArrayLike) -> Floats:
        """Return band fluxes [uJy] of 10^10 solar masses formed, (n_band,); 0 if not finite."""
        values = self.parameters(point)
        model = self._update(
            {
                "redshift": values["z"],
                "t_bc": _BIRTH_CLOUD_GYR,
                "constant": {
                    "age_max": values["age_max_gyr"],
                    "age_min": values["age_min_gyr"],
                    "massformed": REFERENCE_LOG_MASS,
                    "metallicity": values["metallicity"],
                },
                "dust": {"type": "Calzetti", "Av": values["av"], "eta": 1.0},
                "nebular": {"logU": _LOG_U},
            }
        )
        wave = np.asarray(model.wavelengths) * (1 + values["z"])
        # erg/s/cm2/A to uJy.
        f_nu = np.asarray(model.spectrum_full) * wave**2 / 2.99792458e18 * 1e29
        flux = f_nu @ passband_weights(wave, self._passbands)
        return np.nan_to_num(np.asarray(flux), nan=0.0, posinf=0.0, neginf=0.0)


def _between(limits: tuple[float, float], share: Any) -> Any:
    return limits[0] + (limits[1] - limits[0]) * share


@dataclass
class Fit:
    """The best of one model: chi2, and what it is at.

    Attributes
    ----------
    chi2 : of the bands used.
    model_ujy : (n_band,) fluxes.
    galaxy : point of the unit cube, or None.
    galaxy_amplitude : in units of 10^10 solar masses formed.
    quasar : redshift and E(B-V), or None.
    quasar_amplitude : in units of M1450 = -26.
    """

    chi2: float
    model_ujy: Floats
    galaxy: Floats | None = None
    galaxy_amplitude: float = 0.0
    quasar: tuple[float, float] | None = None
    quasar_amplitude: float = 0.0


@dataclass
class PublishedModels:
    """The galaxies to start from and the quasar, made once for all objects.

    Parameters
    ----------
    passbands : per band a Passband; fluxes come in their order.
    starts : galaxies to start from.
    seed : of these.
    """

    passbands: Mapping[str, Passband]
    starts: int = 2000
    seed: int = 1
    galaxy: ConstantGalaxy = field(init=False)
    quasar: QuasarPhotometry = field(init=False)
    points: Floats = field(init=False)
    galaxy_ujy: Floats = field(init=False)
    _free_quasars: Floats | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.galaxy = ConstantGalaxy(self.passbands)
        self.quasar = QuasarPhotometry(self.passbands)
        cube = qmc.LatinHypercube(5, rng=np.random.default_rng(self.seed))
        self.points = cube.random(self.starts)
        self.galaxy_ujy = np.array([self.galaxy.at(point) for point in self.points])

    def quasars(self, redshift: float | None) -> Floats:
        """Return fluxes [uJy] of quasars to start from, (n, n_band): a redshift's, or all."""
        if redshift is not None:
            return self.quasar.fluxes(redshift, _EBV_GRID)
        if self._free_quasars is None:
            grid = [self.quasar.fluxes(z, _EBV_GRID) for z in _REDSHIFT_GRID.tolist()]
            self._free_quasars = np.concatenate(grid)
        return self._free_quasars

    def fit(self, flux_ujy: ArrayLike, error_ujy: ArrayLike, redshift: float) -> dict[str, Fit]:
        """Fit one object with the three models.

        Parameters
        ----------
        flux_ujy, error_ujy : (n_band,); a band whose flux or error is not finite, or whose
            error is not positive, takes no part. At least one must.
        redshift : of the quasar; NaN: free.

        Returns
        -------
        One `Fit` per model of `MODELS`; galaxy + quasar is at least as good as either.
        """
        flux, error = np.asarray(flux_ujy, dtype=float), np.asarray(error_ujy, dtype=float)
        used = usable(flux, error)
        if not used.any():
            raise DataError(
                "no band can be used", where="the published fit", next_step="leave the object out"
            )
        one = _OneObject(self, flux[used], error[used], used, redshift)
        galaxy, quasar = one.fit_galaxy(), one.fit_quasar()
        both = min((one.fit_both(quasar), galaxy, quasar), key=lambda fit: fit.chi2)
        return {"galaxy": galaxy, "quasar": quasar, "both": both}


class _OneObject:
    """The fits of one object."""

    def __init__(
        self, models: PublishedModels, flux: Floats, error: Floats, used: Bools, redshift: float
    ) -> None:
        self._models = models
        self._data, self._error, self._used = flux / error, error, used
        self._galaxies = models.galaxy_ujy[:, used] / error
        self._free = not np.isfinite(redshift)
        self._redshifts = _REDSHIFT_GRID if self._free else np.array([redshift])
        self._quasars = models.quasars(None if self._free else redshift)[:, used] / error
        self._nodes = np.array([(z, e) for z in self._redshifts for e in _EBV_GRID])

    def _galaxy(self, point: Floats) -> Floats:
        return self._models.galaxy.at(point)[self._used] / self._error

    def _quasar_at(self, point: Floats) -> tuple[float, float]:
        """Redshift and E(B-V) at a point of the quasar's unit square (or line, where held)."""
        z = float(_between(QUASAR_REDSHIFT, point[0]) if self._free else self._redshifts[0])
        return z, float(_between(_EBV_MAG, point[-1]))

    def _quasar_point(self, node: Floats) -> Floats:
        z = (node[0] - QUASAR_REDSHIFT[0]) / (QUASAR_REDSHIFT[1] - QUASAR_REDSHIFT[0])
        e = (node[1] - _EBV_MAG[0]) / (_EBV_MAG[1] - _EBV_MAG[0])
        return np.array([z, e] if self._free else [e])

    def _quasar(self, point: Floats) -> Floats:
        return self._models.quasar.fluxes(*self._quasar_at(point))[self._used] / self._error

    def fit_galaxy(self) -> Fit:
        nothing = np.zeros((1, self._data.size))

        def chi2(galaxies: Floats) -> Floats:
            return best_pairs(galaxies, nothing, self._data)[0][:, 0]

        return self._result(self._search(chi2), None)

    def fit_quasar(self) -> Fit:
        chi2, _, _ = best_pairs(self._quasars, np.zeros((1, self._data.size)), self._data)
        found = [
            self._descend(lambda point: [self._quasar(point)], self._quasar_point(self._nodes[i]))
            for i in _best_apart(chi2[:, 0], self._nodes, np.array([0.2, 2.0]), 3)
        ]
        return self._result(None, min(found, key=lambda pair: pair[0])[1])

    def fit_both(self, quasar: Fit) -> Fit:
        rest = self._data - quasar.model_ujy[self._used] / self._error

        def chi2(galaxies: Floats) -> Floats:
            least = best_pairs(galaxies, self._quasars, self._data)[0].min(axis=1)
            size = np.maximum(np.sqrt((galaxies**2).sum(axis=1)), 1e-300)
            return np.asarray(least + _LEAD * np.clip(-(galaxies @ rest) / size, 0.0, None))

        point = self._search(chi2)
        galaxy = self._galaxy(point)
        least, _, _ = best_pairs(galaxy[None], self._quasars, self._data)
        start = np.concatenate([point, self._quasar_point(self._nodes[least[0].argmin()])])
        parts = lambda p: [self._galaxy(p[:5]), self._quasar(p[5:])]  # noqa: E731
        best = self._descend(parts, start)[1]
        # The galaxy held: the quasar alone follows smoothly.
        held = self._descend(lambda p: [galaxy, self._quasar(p)], start[5:])[1]
        ways = (self._result(best[:5], best[5:]), self._result(point, held))
        return min(ways, key=lambda fit: fit.chi2)

    def _search(self, chi2: Callable[[Floats], Floats]) -> Floats:
        """Return the galaxy of least chi2: searches in boxes about the best of the starts.

        Parameters
        ----------
        chi2 : of (n, n_used) fluxes of galaxies in units of the error, (n,).
        """
        points = self._models.points
        found = []
        for i in _best_apart(chi2(self._galaxies), points, _APART, _SEARCHES):
            low = np.clip(points[i] - _HALF_BOX, 0.0, 1.0)
            high = np.clip(points[i] + _HALF_BOX, 0.0, 1.0)
            end = differential_evolution(
                lambda point: float(chi2(self._galaxy(point)[None])[0]),
                list(zip(low, high, strict=True)),
                x0=points[i],
                popsize=_POPULATION,
                maxiter=_GENERATIONS,
                tol=1e-6,
                polish=False,
                rng=np.random.default_rng(self._models.seed),
            )
            found.append((float(end.fun), end.x))
        best = min(found, key=lambda pair: pair[0])
        # Once more, narrower, about the best.
        low, high = (np.clip(best[1] + sign * _HALF_BOX / 4, 0.0, 1.0) for sign in (-1, 1))
        end = differential_evolution(
            lambda point: float(chi2(self._galaxy(point)[None])[0]),
            list(zip(low, high, strict=True)),
            x0=best[1],
            popsize=_POPULATION,
            maxiter=2 * _GENERATIONS,
            tol=1e-8,
            polish=False,
            rng=np.random.default_rng(self._models.seed),
        )
        return np.asarray(end.x if end.fun < best[0] else best[1])

    def _descend(
        self, parts: Callable[[Floats], list[Floats]], start: Floats
    ) -> tuple[float, Floats]:
        """Return least chi2 and where it is, by least squares from a start, or the start itself."""

        def residual(shifted: Floats) -> Floats:
            matrix = np.array(parts(shifted - 1.0)).T
            return np.asarray(self._data - matrix @ _amplitudes(matrix, self._data))

        # Coordinates run from 1 to 2, so that relative steps are absolute ones.
        point = np.clip(start, 0.0, 1.0) + 1.0
        found = [(float((residual(point) ** 2).sum()), point)]
        for step in (_SLOPE_STEP, _SLOPE_STEP / 10):
            end = least_squares(
                residual,
                np.clip(found[-1][1], 1.0 + 1e-6, 2.0 - 1e-6),
                bounds=(1.0, 2.0),
                diff_step=step,
                max_nfev=_MAX_STEPS,
            )
            found.append((float(2 * end.cost), end.x))
        least, best = min(found, key=lambda pair: pair[0])
        return least, np.asarray(best) - 1.0

    def _result(self, galaxy: Floats | None, quasar: Floats | None) -> Fit:
        columns = [] if galaxy is None else [self._galaxy(galaxy)]
        full = [] if galaxy is None else [self._models.galaxy.at(galaxy)]
        if quasar is not None:
            columns.append(self._quasar(quasar))
            full.append(self._models.quasar.fluxes(*self._quasar_at(quasar)))
        matrix = np.array(columns).T
        amplitudes = _amplitudes(matrix, self._data)
        return Fit(
            chi2=float(((self._data - matrix @ amplitudes) ** 2).sum()),
            model_ujy=np.asarray(amplitudes @ np.array(full)),
            galaxy=galaxy,
            galaxy_amplitude=0.0 if galaxy is None else float(amplitudes[0]),
            quasar=None if quasar is None else self._quasar_at(quasar),
            quasar_amplitude=0.0 if quasar is None else float(amplitudes[-1]),
        )


def _amplitudes(matrix: Floats, data: Floats) -> Floats:
    """Return the non-negative least-squares amplitudes of the columns of a matrix."""
    scale = np.sqrt((matrix**2).sum(axis=0))
    scale[scale == 0] = 1.0
    return np.asarray(nnls(matrix / scale, data)[0]) / scale


def _best_apart(chi2: Floats, points: Floats, distance: Floats, n: int) -> list[int]:
    """Return up to n points of least chi2, each some distance from the others in a coordinate."""
    chosen: list[int] = []
    for i in np.argsort(chi2, kind="stable").tolist():
        if (np.abs(points[chosen] - points[i]) > distance).any(axis=1).all():
            chosen.append(i)
        if len(chosen) == n:
            break
    return chosen


def usable(flux_ujy: Floats, error_ujy: Floats) -> Bools:
    """Return which bands can be fitted: finite, with a positive error."""
    with np.errstate(invalid="ignore"):
        return np.isfinite(flux_ujy) & np.isfinite(error_ujy) & (error_ujy > 0)


def chosen_ids(candidates: pd.DataFrame, options: PublishedOptions) -> list[int]:
    """Return the ids of the first candidates (columns id, rank), then those named, each once."""
    require_columns(candidates, ["id", "rank"], "candidates")
    ranked = candidates.sort_values(["rank", "id"], kind="stable")["id"]
    wanted = [*ranked.iloc[: options.shortlist].tolist(), *options.ids]
    return [int(value) for value in dict.fromkeys(wanted)]


def published_fits(
    catalogue: pd.DataFrame,
    ids: Sequence[int],
    passbands: Mapping[str, Passband],
    redshifts: Mapping[int, float],
    options: PublishedOptions,
) -> pd.DataFrame:
    """Fit some objects as the paper did.

    Parameters
    ----------
    catalogue : id, and flux_ujy_B, flux_err_ujy_B [uJy] of each passband.
    ids : objects, each once in the catalogue.
    passbands : per band a Passband.
    redshifts : known redshifts of quasars, by id; they count where ``options.redshift`` is known.
    options : how; its ``shortlist`` and ``ids`` are not looked at.

    Returns
    -------
    DataFrame with one row per id, in their order; columns as in `ABOUT`. A model with more
    parameters than an object has bands is not fitted (NaN; status few_bands).

    Raises
    ------
    InputError
        If a column is absent.
    DataError
        If an id is not exactly once in the catalogue.
    """
    bands = list(passbands)
    columns = [f"{start}_{band}" for band in bands for start in ("flux_ujy", "flux_err_ujy")]
    require_columns(catalogue, ["id", *columns], "catalogue for the published fit")
    chosen = rows_of(
        catalogue,
        ids,
        what="objects",
        where="published_fit.ids, or the candidates",
        next_step="correct the ids, or run the rule candidates again",
    )
    flux = flux_columns(chosen, "flux_ujy", bands)
    error = flux_columns(chosen, "flux_err_ujy", bands)
    models: PublishedModels | None = None
    rows = []
    for object_id, f, s in zip(ids, flux, error, strict=True):
        known = redshifts.get(object_id, np.nan) if options.redshift == "known" else np.nan
        row = _empty_row(object_id, f, s, known)
        if row["status"] in ("ok", "few_bands"):
            if models is None:
                models = PublishedModels(passbands, options.starts, options.seed)
            fits = models.fit(f, s, known)
            row |= _row_of(fits, f, s, known, models.galaxy)
            _LOG.info("object %d: BIC %s", object_id, {m: row[f"bic_{m}"] for m in MODELS})
        rows.append(row)
    table = pd.DataFrame(rows, columns=list(ABOUT))
    for name in ABOUT:
        if name in ("id", "n_bands") or name.startswith("k_"):
            table[name] = table[name].astype("int64")
        elif name in ("status", "redshift_is"):
            table[name] = table[name].astype("str")
        else:
            table[name] = table[name].astype(float)
    return table


def _parameter_count(model: str, redshift: float) -> int:
    return MODELS[model] + int(model != "galaxy" and not np.isfinite(redshift))


def _empty_row(object_id: int, flux: Floats, error: Floats, redshift: float) -> dict[str, Any]:
    """Return the row of an object before any fit, with its status."""
    used = usable(flux, error)
    row: dict[str, Any] = {name: np.nan for name in ABOUT}
    row |= {"id": object_id, "n_bands": int(used.sum()), "redshift": redshift}
    row |= {f"k_{model}": _parameter_count(model, redshift) for model in MODELS}
    if not used.any():
        status = "no_usable_band"
    elif not (flux[used] > 0).any():
        status = "nothing_detected"
    else:
        needed = max(row[f"k_{model}"] for model in MODELS)
        status = "ok" if used.sum() >= needed else "few_bands"
    fixed = "fixed" if np.isfinite(redshift) else "free"
    return row | {
        "status": status,
        "redshift_is": fixed if status in ("ok", "few_bands") else "",
    }


def _row_of(
    fits: Mapping[str, Fit],
    flux: Floats,
    error: Floats,
    redshift: float,
    galaxies: ConstantGalaxy,
) -> dict[str, Any]:
    """Return the columns of the models that the bands suffice for."""
    used = usable(flux, error)
    n_bands = int(used.sum())
    row: dict[str, Any] = {}
    for model, fit in fits.items():
        k = _parameter_count(model, redshift)
        if n_bands < k:
            continue
        ln_l = ln_likelihood(flux[used], error[used], fit.model_ujy[used])
        row |= {
            f"chi2_{model}": fit.chi2,
            f"ln_likelihood_{model}": ln_l,
            f"bic_{model}": bic(k, n_bands, ln_l),
        }
        if fit.galaxy is not None and fit.galaxy_amplitude > 0:
            values = galaxies.parameters(fit.galaxy)
            values["log_mass"] = REFERENCE_LOG_MASS + float(np.log10(fit.galaxy_amplitude))
            for name in _GALAXY_NAMES:
                column = "z_both_galaxy" if (name, model) == ("z", "both") else f"{name}_{model}"
                row[column] = values[name]
        if fit.quasar is not None and fit.quasar_amplitude > 0:
            row["z_both_quasar" if model == "both" else "z_quasar"] = fit.quasar[0]
            row[f"ebv_{model}"] = fit.quasar[1]
            magnitude = REFERENCE_M1450 - 2.5 * np.log10(fit.quasar_amplitude)
            row[f"m1450_{model}"] = float(magnitude)
    return row


#: BIC of galaxy, quasar and galaxy + quasar in the paper, by id: name and BICs.
PUBLISHED_BIC = {
    1143273115: ("J0109-5424", {"galaxy": 3676, "quasar": -33, "both": -191}),
    1599741416: ("J0603-3923", {"galaxy": 1469, "quasar": 33, "both": 41}),
    1695974542: ("J0122-4609", {"galaxy": 3494, "quasar": 79, "both": 91}),
}


def comparison(table: pd.DataFrame) -> tuple[str, bool]:
    """Set fits of the paper's three objects beside its table.

    Parameters
    ----------
    table : of `published_fits`, redshifts held.

    Returns
    -------
    The comparison as text, and whether all holds: signs and order of all BICs as published, and
    no ln L below the published one, which follows from its BIC with k = 6, 2, 8 and 9 bands
    (rounded to 0.5 in -2 ln L).
    """
    lines = [
        f"{'object':12} {'model':8} {'BIC':>8} {'paper':>6} {'ln L':>9} {'paper':>9} "
        f"{'chi2':>8} {'paper':>8}  ln L at least as good"
    ]
    right = True
    for _, row in table.iterrows():
        name, published = PUBLISHED_BIC[int(row["id"])]
        ours = {model: float(row[f"bic_{model}"]) for model in MODELS}
        for model, k in MODELS.items():
            ln_l, chi2 = float(row[f"ln_likelihood_{model}"]), float(row[f"chi2_{model}"])
            paper = 0.5 * (k * np.log(9) - published[model])
            good = ln_l >= paper - 0.25
            right &= bool(good)
            lines.append(
                f"{name:12} {model:8} {ours[model]:8.1f} {published[model]:6d} {ln_l:9.2f} "
                f"{paper:9.2f} {chi2:8.1f} {chi2 + 2 * (ln_l - paper):8.1f}  "
                f"{'yes' if good else 'NO'}"
            )
        signs = all(np.sign(ours[m]) == np.sign(published[m]) for m in MODELS)
        order = sorted(MODELS, key=ours.__getitem__) == sorted(MODELS, key=published.__getitem__)
        right &= signs and order
        lines.append(
            f"{name:12} signs {'as published' if signs else 'DIFFER'}, "
            f"order {'as published' if order else 'DIFFERS'}"
        )
    return "\n".join(lines), right


#: Other readings of the quasar model, for comparison.
READINGS: dict[str, dict[str, float]] = {
    "ours": {},
    "with O VI of 9.8 A": {"o_vi_aa": 9.8},
    "with qsogen's host galaxy (0.058)": {"host_fraction": 0.058},
    "with qsogen's fall below 1200 A": {"far_uv_steepening": 1.0},
    "with all three": {"o_vi_aa": 9.8, "host_fraction": 0.058, "far_uv_steepening": 1.0},
}


def quasar_readings(
    catalogue: pd.DataFrame, redshifts: Mapping[int, float], passbands: Mapping[str, Passband]
) -> pd.DataFrame:
    """Return the quasar's least chi2, over a fine grid of E(B-V), in each of `READINGS`.

    Returns
    -------
    DataFrame with one row per reading, after one of the paper's own; one column per object of
    the paper that is in the catalogue, with a redshift.
    """
    ebv = np.arange(0.0, 0.4, 0.001)
    table: dict[str, dict[str, float]] = {}
    for object_id, (name, published) in PUBLISHED_BIC.items():
        rows = catalogue[catalogue["id"] == object_id]
        if rows.empty or object_id not in redshifts:
            continue
        flux, error = (
            rows[[f"{start}_{band}" for band in passbands]].to_numpy(dtype=float)[0]
            for start in ("flux_ujy", "flux_err_ujy")
        )
        paper = published["quasar"] - MODELS["quasar"] * np.log(len(flux))
        column = {"paper": paper + 2 * ln_likelihood(flux, error, flux)}
        for reading, changes in READINGS.items():
            quasars = QuasarPhotometry(passbands, **changes).fluxes(redshifts[object_id], ebv)
            nothing = np.zeros((1, len(flux)))
            column[reading] = float(best_pairs(quasars / error, nothing, flux / error)[0].min())
        table[name] = column
    return pd.DataFrame(table)


def read_published(path: str) -> tuple[pd.DataFrame, dict[int, float]]:
    """Read the published catalogue: its photometry in our columns, and its redshifts by id.

    Raises
    ------
    InputError
        If the file cannot be read or lacks a column.
    """
    table = read_any_table(path)
    names = [f"{band}_{end}" for band in DES_VHS_WISE for end in ("flux", "fluxerr")]
    require_columns(table, ["COADD_OBJECT_ID", "redshift", *names], path)
    columns: dict[str, Any] = {"id": table["COADD_OBJECT_ID"].to_numpy(dtype=np.int64)}
    for band in DES_VHS_WISE:
        columns[f"flux_ujy_{band}"] = table[f"{band}_flux"].to_numpy(dtype=float)
        columns[f"flux_err_ujy_{band}"] = table[f"{band}_fluxerr"].to_numpy(dtype=float)
    known = table[table["redshift"].notna()]
    redshifts = dict(zip(known["COADD_OBJECT_ID"].tolist(), known["redshift"], strict=True))
    return pd.DataFrame(columns), {int(key): float(z) for key, z in redshifts.items()}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns 1 where our fits contradict the paper's table."""
    parser = argparse.ArgumentParser(description="Set the published fit beside the paper's table.")
    parser.add_argument("--catalogue", required=True, help="the published catalogue (CSV, ...)")
    parser.add_argument("--starts", type=int, default=2000, help="galaxies to start from")
    parser.add_argument("--seed", type=int, default=1, help="of the starts")
    options = parser.parse_args(arguments)
    catalogue, redshifts = read_published(options.catalogue)
    ids = [value for value in PUBLISHED_BIC if (catalogue["id"] == value).any()]
    if not ids:
        raise InputError(
            "none of the paper's three objects is in the catalogue",
            where=options.catalogue,
            next_step="give the catalogue of Byrne et al. 2024",
        )
    passbands = load_passbands(DES_VHS_WISE)
    table = published_fits(
        catalogue,
        ids,
        passbands,
        redshifts,
        PublishedOptions.from_dict({"starts": options.starts, "seed": options.seed}),
    )
    text, right = comparison(table)
    print(text)
    shown = [name for name in ABOUT if name.startswith(("id", "z_", "log", "age", "met", "av"))]
    shown += [name for name in ABOUT if name.startswith(("m1450", "ebv"))]
    print(table[shown].round(3).T.to_string(header=False))
    print("chi2 of the quasar in other readings of its model:")
    print(quasar_readings(catalogue, redshifts, passbands).round(1).to_string())
    print("all as published" if right else "NOT all as published")
    return 0 if right else 1


if __name__ == "__main__":
    raise SystemExit(main())
