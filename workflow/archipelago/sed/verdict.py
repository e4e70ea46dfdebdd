"""A verdict for every object: star, galaxy, quasar, lensed quasar, or something else.

The probability of a class given the data is in proportion to the expected number
of its objects per square degree *and* unit volume of flux space, at the fluxes
seen. Any selection on the same data cancels between classes. What none of the
models describes falls to ``other``: a broad, heavy-tailed density.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import gammaln
from threadpoolctl import threadpool_limits

from archipelago.base.errors import InputError
from archipelago.base.progress import Progress
from archipelago.sed.dust import galactic_correction
from archipelago.sed.grid import (
    BLOCK,
    PairFit,
    Photometry,
    SingleFit,
    chunks,
    fit_pairs,
    fit_single,
    log_sum,
    refine_pairs,
)
from archipelago.sed.priors import (
    Prior,
    galaxy_prior,
    lens_galaxy_prior,
    lensed_quasar_prior,
    quasar_prior,
    star_prior,
)
from archipelago.sed.templates import GRID_CLASSES, TemplateSet

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_LOG = logging.getLogger(__name__)

CLASSES = ("star", "galaxy", "quasar", "lensed")
_PROBABILITIES = (*CLASSES, "other")
_MAG_PER_LN = 2.5 / np.log(10)
#: Log odds are kept within this, so that tables hold numbers.
_LN_LIMIT = 500.0

#: What each column of the table of verdicts is.
ABOUT = {
    "id": "identifier of the object",
    "sed_status": "ok, or what was not possible: no_usable_band, nothing_detected, few_bands",
    "n_bands_sed": "bands that counted",
    "log_odds_quasar": "ln of (p_quasar + p_lensed) over the rest",
    "log_odds_lensed": "ln of p_lensed over p_quasar",
    "z_quasar": "median of the redshift's distribution if quasar or lensed quasar",
    "z_quasar_lo": "16 % of it",
    "z_quasar_hi": "84 % of it",
    "z_galaxy": "redshift of the best galaxy",
    "z_lens_galaxy": "redshift of the galaxy of the best galaxy + quasar",
    "z_lensed_quasar": "redshift of the quasar of the best galaxy + quasar",
    "spectral_type": "of the best star",
    "type_code": "of the best star: 0 = M0, 10 = L0, 20 = T0, giants 30 + subtype",
    "ebv_quasar": "E(B-V), SMC law, of the best quasar [mag]",
    "uv_slope_quasar": "d ln f_nu / d ln nu of the best quasar",
    "m1450_quasar": "absolute AB magnitude at 1450 A of the best quasar, not demagnified",
    "m1450_lensed": "the same of the best galaxy + quasar",
    "av_galaxy": "A_V, Calzetti law, of the best galaxy [mag]",
    "log_mass_galaxy": "log10 of the mass formed of the best galaxy [solar masses]",
    "log_mass_lens_galaxy": "the same of the galaxy of the best galaxy + quasar, in the aperture",
    "best_lensed_quasar_template": "row of the quasar in the best galaxy + quasar",
    "best_lensed_galaxy_template": "row of the galaxy in the best galaxy + quasar",
    "best_lensed_quasar_amplitude": "its amplitude; 1 is M1450 = -26",
    "best_lensed_galaxy_amplitude": "its amplitude; 1 is 10^10 solar masses formed",
    **{f"chi2_{name}": f"chi2 of the best {name}, model error included" for name in CLASSES},
    **{f"ln_likelihood_{name}": f"ln L of the best {name}, fluxes in uJy" for name in CLASSES},
    **{
        f"bic_{name}": "k ln n - 2 ln L, k = parameters that vary in the grid, and amplitudes"
        for name in CLASSES
    },
    **{f"best_{name}_template": f"row of the best {name} template" for name in GRID_CLASSES},
    **{f"best_{name}_amplitude": f"amplitude of the best {name}" for name in GRID_CLASSES},
    **{f"ln_evidence_{name}": "ln of marginal likelihood times prior" for name in _PROBABILITIES},
    **{f"p_{name}": f"probability of {name}; the five sum to 1" for name in _PROBABILITIES},
}


def verdicts(
    catalogue: pd.DataFrame,
    templates: TemplateSet,
    params: Mapping[str, Any],
    threads: int = 1,
    memory_mb: float = 1500.0,
) -> pd.DataFrame:
    """Judge every object of a catalogue.

    Parameters
    ----------
    catalogue : id, and per band B flux_ujy_B, flux_err_ujy_B [uJy], detected_B
        (optional); ebv_sfd98 [mag] (optional). A band without finite flux and
        positive finite error does not count; one that is not detected is a
        Gaussian limit: flux 0 with its error.
    templates : photometry of all templates; bands that the catalogue has too are used.
    params : see the configuration: aperture_offset_mag, model_error, floor_fraction,
        priors, other.
    threads : chunks of objects worked on at once. The result does not depend on it.
    memory_mb : bound on the arrays of all threads together [MB]; from some 100 per
        thread on the size of the chunks, and so the last bits, do not depend on it.

    Returns
    -------
    One row per object, sorted by id; columns as `ABOUT` says, and per class
    chi2, ln_likelihood, bic, ln_evidence, best template and amplitude, and p.

    Raises
    ------
    InputError
        If no band of the templates is in the catalogue.
    """
    bands = [
        band
        for band in templates.bands
        if f"flux_ujy_{band}" in catalogue and f"flux_err_ujy_{band}" in catalogue
    ]
    if "id" not in catalogue or not bands:
        raise InputError(
            "the catalogue has no id, or no band that the templates have",
            where=f"columns {', '.join(map(str, catalogue.columns[:30]))}",
            next_step=f"give id and flux_ujy_B, flux_err_ujy_B for B of {templates.bands}",
        )
    catalogue = catalogue.sort_values("id", kind="stable").reset_index(drop=True)
    flux, error, used, detected = read_fluxes(catalogue, bands)
    if "ebv_sfd98" in catalogue:
        factor = galactic_correction(catalogue["ebv_sfd98"], bands)
        flux, error = flux * factor, error * factor
    judge = _Judge(templates, bands, params)
    centre, scale = colour_centre(flux, used & detected, float(params["other"]["width_mag"]))
    parts = list(chunks(len(catalogue), judge.n_column, memory_mb / threads))
    frames: list[pd.DataFrame] = []
    with (
        threadpool_limits(1),
        ThreadPoolExecutor(threads) as pool,
        Progress(len(catalogue), "verdicts") as progress,
    ):
        jobs = pool.map(
            lambda part: judge.frame(flux[part], error[part], used[part], centre, scale), parts
        )
        for frame in jobs:
            frames.append(frame)
            progress.step(len(frame))
    if not frames:
        frames = [judge.frame(flux, error, used, centre, scale)]
    result = pd.concat(frames, ignore_index=True)
    result.insert(0, "id", catalogue["id"].to_numpy(dtype=np.int64))
    result.insert(1, "sed_status", pd.Series(_status(used, detected), dtype="str"))
    result.insert(2, "n_bands_sed", used.sum(axis=1).astype(np.int64))
    nothing = (result["sed_status"] == "no_usable_band").to_numpy()
    if nothing.any():
        result = _without_data(result, nothing)
    return result


def read_fluxes(
    catalogue: pd.DataFrame, bands: Sequence[str]
) -> tuple[Floats, Floats, Bools, Bools]:
    """Return fluxes and errors [uJy], which count and which are detections, (n, n_band) each."""

    def block(start: str) -> Floats:
        columns = [pd.to_numeric(catalogue[f"{start}_{band}"], errors="coerce") for band in bands]
        return np.array(columns, dtype=float).T.reshape(len(catalogue), len(bands))

    flux, error = block("flux_ujy"), block("flux_err_ujy")
    used = np.isfinite(flux) & np.isfinite(error) & (error > 0) & (np.abs(flux) < 1e12)
    used &= error < 1e12
    detected = used.copy()
    for column, band in enumerate(bands):
        if f"detected_{band}" in catalogue:
            detected[:, column] &= catalogue[f"detected_{band}"].fillna(False).to_numpy(dtype=bool)
    flux = np.where(used & detected, flux, 0.0)
    return flux, np.where(used, error, 1.0), used, detected


def _status(used: Bools, detected: Bools) -> list[str]:
    names = []
    for n_used, n_detected in zip(used.sum(axis=1), detected.sum(axis=1), strict=True):
        if n_used == 0:
            names.append("no_usable_band")
        elif n_detected == 0:
            names.append("nothing_detected")
        else:
            names.append("few_bands" if n_used < 5 else "ok")
    return names


def _without_data(result: pd.DataFrame, rows: Bools) -> pd.DataFrame:
    """Say nothing of objects without a usable band: everything is ``other``."""
    for name in _PROBABILITIES:
        result.loc[rows, f"p_{name}"] = float(name == "other")
    result.loc[rows, "log_odds_quasar"] = -_LN_LIMIT
    result.loc[rows, "log_odds_lensed"] = 0.0
    for name in ("z_quasar", "z_quasar_lo", "z_quasar_hi"):
        result.loc[rows, name] = np.nan
    return result


def colour_centre(flux: Floats, detected: Bools, width_mag: float) -> tuple[Floats, Floats]:
    """Return the catalogue's typical magnitudes relative to the reference, and their spread.

    Medians and scaled median absolute deviations (at least ``width_mag``) of each
    band's magnitude minus the object's mean magnitude over its detected bands:
    the only thing that is learnt from the catalogue, and from no label.
    """
    n_band = flux.shape[1]
    centre, scale = np.zeros(n_band), np.full(n_band, width_mag)
    if not len(flux):
        return centre, scale
    with np.errstate(divide="ignore", invalid="ignore"):
        magnitude = np.where(detected & (flux > 0), -_MAG_PER_LN * np.log(flux), np.nan)
    reference = _reference(magnitude)
    relative = magnitude - reference[:, None]
    for band in range(n_band):
        values = relative[np.isfinite(relative[:, band]), band]
        if len(values) >= 20:
            centre[band] = np.median(values)
            spread = 1.4826 * np.median(np.abs(values - centre[band]))
            scale[band] = max(width_mag, spread)
    return centre, scale


def _reference(magnitude: Floats) -> Floats:
    """Return the median magnitude over an object's bands; 0 without any."""
    reference = np.zeros(len(magnitude))
    some = np.isfinite(magnitude).any(axis=1)
    reference[some] = np.nanmedian(magnitude[some], axis=1)
    return reference


class _Judge:
    """Templates and priors, prepared for one set of bands and parameters."""

    def __init__(
        self, templates: TemplateSet, bands: Sequence[str], params: Mapping[str, Any]
    ) -> None:
        self.bands = tuple(bands)
        self.templates = templates
        self.params = params
        columns = [templates.bands.index(band) for band in bands]
        offsets = params["aperture_offset_mag"]
        in_aperture = np.array([band in offsets["bands"] for band in bands])
        self.aperture = {
            name: np.where(in_aperture, 10 ** (-0.4 * float(offsets[name])), 1.0)
            for name in CLASSES
        }
        self.models = {
            name: templates.classes[name].fluxes[:, columns] * self.aperture[name]
            for name in GRID_CLASSES
        }
        priors = params["priors"]
        self.priors: dict[str, Prior] = {
            "star": star_prior(templates.classes["star"], priors["star"]),
            "galaxy": galaxy_prior(templates.classes["galaxy"], priors["galaxy"]),
            "quasar": quasar_prior(templates.classes["quasar"], priors["quasar"]),
        }
        self.lens_prior = lens_galaxy_prior(
            templates.classes["galaxy"], templates.lensed_galaxies, priors["lens"]
        )
        self.lensed_prior = lensed_quasar_prior(
            self.priors["quasar"], templates.lensed_quasars, float(priors["lensed_fraction"])
        )
        # In the composite both parts are seen through the composite's aperture effect.
        self.all_quasars = templates.classes["quasar"].fluxes[:, columns] * self.aperture["lensed"]
        self.all_galaxies = templates.classes["galaxy"].fluxes[:, columns] * self.aperture["lensed"]
        self.z_quasars = templates.classes["quasar"].parameters["redshift"].astype(float)
        self.z_galaxies = templates.classes["galaxy"].parameters["redshift"].astype(float)
        cells_q, cells_g = templates.lensed_quasars.index, templates.lensed_galaxies.index
        self.allowed = self.z_galaxies[cells_g][None, :] < self.z_quasars[cells_q][:, None]
        self.z_grid = np.unique(self.z_quasars)
        # Per object: a block of templates, a row of pairs, or all templates of one refinement.
        self.n_column = BLOCK + len(cells_q) + len(cells_g)

    def photometry(self, name: str, flux: Floats, error: Floats, used: Bools) -> Photometry:
        """Return fluxes with the model error of a class added in quadrature.

        Per band a fraction of the flux seen, and in every band ``floor_fraction``
        of the object's mean flux: neighbours, sky and colour terms are not
        below that even where the object is black.
        """
        table = self.params["model_error"][name]
        fraction = np.array([float(table.get(band, table["default"])) for band in self.bands])
        n_used = np.maximum(used.sum(axis=1), 1)
        mean = (np.abs(flux) * used).sum(axis=1) / n_used
        floor = float(self.params["floor_fraction"]) * mean
        variance = error**2 + (fraction[None, :] * flux) ** 2 + floor[:, None] ** 2
        return Photometry(flux, np.where(used, variance, 1.0), used)

    def frame(
        self, flux: Floats, error: Floats, used: Bools, centre: Floats, scale: Floats
    ) -> pd.DataFrame:
        """Return the verdicts of a chunk of objects."""
        columns: dict[str, Any] = {}
        ln: dict[str, Floats] = {}
        n_used = np.maximum(used.sum(axis=1), 1)
        single: dict[str, SingleFit] = {}
        for name in GRID_CLASSES:
            data = self.photometry(name, flux, error, used)
            single[name] = fit_single(data, self.models[name], self.priors[name])
            ln[name] = single[name].ln_evidence
            k = self.templates.classes[name].n_free
            self._quality(columns, name, single[name].chi2, data, k, n_used)
            columns[f"best_{name}_template"] = single[name].index
            columns[f"best_{name}_amplitude"] = single[name].amplitude
        data = self.photometry("lensed", flux, error, used)
        pair = self._pairs(data)
        ln["lensed"] = pair.ln_evidence
        k = sum(self.templates.classes[name].n_free for name in ("galaxy", "quasar"))
        self._quality(columns, "lensed", pair.chi2, data, k, n_used)
        columns["best_lensed_quasar_template"] = pair.index_quasar
        columns["best_lensed_galaxy_template"] = pair.index_galaxy
        columns["best_lensed_quasar_amplitude"] = pair.amplitude_quasar
        columns["best_lensed_galaxy_amplitude"] = pair.amplitude_galaxy
        ln["other"] = self._other(flux, error, used, centre, scale)
        columns.update(self._parameters(single, pair))
        columns.update(_probabilities(ln))
        columns.update(self._redshift(single["quasar"], pair))
        return pd.DataFrame(columns)

    def _pairs(self, data: Photometry) -> PairFit:
        cells_q = self.templates.lensed_quasars.index
        cells_g = self.templates.lensed_galaxies.index
        fit = fit_pairs(
            data,
            self.all_quasars[cells_q],
            self.all_galaxies[cells_g],
            self.allowed,
            self.lensed_prior,
            self.lens_prior,
        )
        found = (fit.index_quasar >= 0) & (fit.amplitude_quasar + fit.amplitude_galaxy > 0)
        full = PairFit(
            fit.chi2,
            np.where(found, cells_q[fit.index_quasar], -1),
            np.where(found, cells_g[fit.index_galaxy], -1),
            fit.amplitude_quasar,
            fit.amplitude_galaxy,
            fit.ln_evidence,
            fit.ln_cell,
        )
        return refine_pairs(
            data, full, self.all_quasars, self.all_galaxies, self.z_quasars, self.z_galaxies
        )

    def _quality(
        self,
        columns: dict[str, Any],
        name: str,
        chi2: Floats,
        data: Photometry,
        k: int,
        n_used: NDArray[Any],
    ) -> None:
        ln_likelihood = -0.5 * (chi2 + data.ln_norm)
        columns[f"chi2_{name}"] = chi2
        columns[f"ln_likelihood_{name}"] = ln_likelihood
        columns[f"bic_{name}"] = k * np.log(n_used) - 2 * ln_likelihood

    def _other(
        self, flux: Floats, error: Floats, used: Bools, centre: Floats, scale: Floats
    ) -> Floats:
        """Return ln of the density of what no model describes, per deg^2 and flux volume.

        A multivariate t distribution (``degrees`` of freedom) in asinh magnitudes
        (Lupton, Gunn & Szalay 1999, AJ 118, 1406; softened at each band's error) about the
        catalogue's typical colours, and flat in the mean magnitude.
        """
        section = self.params["other"]
        nu = float(section["degrees"])
        x = -_MAG_PER_LN * np.arcsinh(flux / (2 * error))
        # What the typical object of this brightness would have, softened likewise.
        with np.errstate(divide="ignore", invalid="ignore"):
            seen = used & (flux > 0)
            magnitude = np.where(seen, -_MAG_PER_LN * np.log(flux), np.nan) - centre
        level = _reference(magnitude)
        expected_flux = np.exp(-(level[:, None] + centre[None, :]) / _MAG_PER_LN)
        expected = -_MAG_PER_LN * np.arcsinh(expected_flux / (2 * error))
        ln_jacobian = np.log(_MAG_PER_LN) - 0.5 * np.log(flux**2 + 4 * error**2)
        # One combination of the bands is the magnitude: it is flat, not t.
        d = np.maximum(used.sum(axis=1) - 1, 1)
        r2 = (np.where(used, (x - expected) / scale, 0.0) ** 2).sum(axis=1)
        ln_t = (
            gammaln((nu + d) / 2)
            - gammaln(nu / 2)
            - 0.5 * d * np.log(nu * np.pi)
            - 0.5 * (nu + d) * np.log1p(r2 / nu)
        )
        ln_scale = np.where(used, np.log(scale), 0.0).sum(axis=1) - np.log(scale).mean()
        total = ln_t - ln_scale + np.where(used, ln_jacobian, 0.0).sum(axis=1)
        return np.asarray(total + np.log(float(section["density_per_deg2_mag"])))

    def _parameters(self, single: dict[str, SingleFit], pair: PairFit) -> dict[str, Any]:
        classes = self.templates.classes

        def of(name: str, parameter: str, index: NDArray[Any]) -> NDArray[Any]:
            values = classes[name].parameters[parameter][np.maximum(index, 0)]
            if values.dtype.kind in "US":
                return np.where(index >= 0, values, "")
            return np.where(index >= 0, values.astype(float), np.nan)

        def log10(amplitude: Floats) -> Floats:
            return np.log10(np.where(amplitude > 0, amplitude, np.nan))

        star, galaxy, quasar = (single[name] for name in GRID_CLASSES)
        return {
            "spectral_type": of("star", "spectral_type", star.index),
            "type_code": of("star", "type_code", star.index),
            "z_galaxy": of("galaxy", "redshift", galaxy.index),
            "av_galaxy": of("galaxy", "av_mag", galaxy.index),
            "log_mass_galaxy": 10.0 + log10(galaxy.amplitude),
            "ebv_quasar": of("quasar", "ebv", quasar.index),
            "uv_slope_quasar": of("quasar", "uv_slope", quasar.index),
            "m1450_quasar": -26.0 - 2.5 * log10(quasar.amplitude),
            "z_lensed_quasar": of("quasar", "redshift", pair.index_quasar),
            "z_lens_galaxy": of("galaxy", "redshift", pair.index_galaxy),
            "m1450_lensed": -26.0 - 2.5 * log10(pair.amplitude_quasar),
            "log_mass_lens_galaxy": 10.0 + log10(pair.amplitude_galaxy),
        }

    def _redshift(self, quasar: SingleFit, pair: PairFit) -> dict[str, Floats]:
        """Return median and 68 % range of the quasar's redshift, lensed or not."""
        grid = self.z_grid
        ln_z = quasar.ln_group
        cell_z = self.z_quasars[self.templates.lensed_quasars.index]
        slot = np.searchsorted(grid, cell_z)
        both = np.exp(ln_z - np.maximum(ln_z.max(axis=1), pair.ln_cell.max(axis=1))[:, None])
        top = np.maximum(ln_z.max(axis=1), pair.ln_cell.max(axis=1))[:, None]
        np.add.at(both.T, slot, np.exp(pair.ln_cell - top).T)
        share = np.maximum(both, 0.0)
        share = share / np.maximum(share.sum(axis=1, keepdims=True), 1e-300)
        edges = _edges(grid)
        cumulative = np.concatenate([np.zeros((len(share), 1)), np.cumsum(share, axis=1)], axis=1)
        quantiles = np.array(
            [np.interp([0.16, 0.5, 0.84], row, edges) for row in cumulative]
        ).reshape(-1, 3)
        return {
            "z_quasar": quantiles[:, 1],
            "z_quasar_lo": quantiles[:, 0],
            "z_quasar_hi": quantiles[:, 2],
        }


def _edges(grid: Floats) -> Floats:
    if len(grid) < 2:
        return np.array([grid[0], grid[0]])
    middle = (grid[1:] + grid[:-1]) / 2
    return np.concatenate([[2 * grid[0] - middle[0]], middle, [2 * grid[-1] - middle[-1]]])


def _probabilities(ln: Mapping[str, Floats]) -> dict[str, Floats]:
    """Return the probabilities of the classes and the two log odds."""
    stack = np.array([ln[name] for name in _PROBABILITIES])
    total = log_sum(stack, axis=0)
    columns = {f"ln_evidence_{name}": ln[name] for name in _PROBABILITIES}
    share = np.exp(stack - total[None, :])
    share = share / np.maximum(share.sum(axis=0, keepdims=True), 1e-300)
    for row, name in enumerate(_PROBABILITIES):
        columns[f"p_{name}"] = share[row]
    is_quasar = log_sum(np.array([ln["quasar"], ln["lensed"]]), axis=0)
    is_not = log_sum(np.array([ln["star"], ln["galaxy"], ln["other"]]), axis=0)
    columns["log_odds_quasar"] = np.clip(is_quasar - is_not, -_LN_LIMIT, _LN_LIMIT)
    columns["log_odds_lensed"] = np.clip(ln["lensed"] - ln["quasar"], -_LN_LIMIT, _LN_LIMIT)
    return columns
