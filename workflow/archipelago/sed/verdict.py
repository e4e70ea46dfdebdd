"""A verdict for every object: star, galaxy, quasar, lensed quasar, or something else.

The probability of a class given the data is in proportion to the expected number
of its objects per square degree *and* unit volume of flux space, at the fluxes
seen. Any selection on the same data cancels between classes. What none of the
models describes falls to ``other``: a broad, heavy-tailed density.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from archipelago.base.errors import InputError
from archipelago.base.progress import Progress
from archipelago.sed.backend import NUMPY, Backend, in_chunks
from archipelago.sed.data import aperture_shares, class_errors, read_fluxes
from archipelago.sed.grid import (
    BLOCK,
    PairFit,
    Photometry,
    SingleFit,
    chunk_rows,
    chunks,
    fit_pairs,
    fit_single,
    log_sum,
    refine_pairs,
    replace_rows,
)
from archipelago.sed.other import (
    OtherDensity,
    covered_deg2,
    learnt_scale,
    magnitude_range,
    positions,
)
from archipelago.sed.parameters import (
    about,
    by_value,
    columns_of_class,
    columns_of_pair,
    levels_of,
    quasar_redshift,
)
from archipelago.sed.priors import (
    Prior,
    galaxy_prior,
    lens_galaxy_prior,
    lensed_quasar_prior,
    quasar_prior,
    star_prior,
)
from archipelago.sed.templates import GRID_CLASSES, Representatives, TemplateSet

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_LOG = logging.getLogger(__name__)

CLASSES = ("star", "galaxy", "quasar", "lensed")
_PROBABILITIES = (*CLASSES, "other")
#: Composites are fitted finely where they come this near to the best class [nats].
_CONTESTED = 10.0
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
    **about(),
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
    on: Backend = NUMPY,
    among: tuple[pd.DataFrame, pd.DataFrame] | None = None,
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
        survey_error, priors, other.
    threads : chunks of objects worked on at once. The result does not depend on it.
    memory_mb : bound on the arrays of all threads together [MB]; from some 100 per
        thread on the size of the chunks, and so the last bits, do not depend on it.
    on : what to compute on, see `archipelago.sed.backend.pick_backend`. A GPU takes one chunk
        at a time, of a size that its own memory bounds.
    among : catalogue and verdicts of a search that the objects are judged as members of: the
        density of ``other`` is that search's. None: it is learnt from the objects themselves.

    Returns
    -------
    One row per object, sorted by id; columns as `ABOUT` says, and per class
    chi2, ln_likelihood, bic, ln_evidence, best template and amplitude, and p.

    Raises
    ------
    InputError
        If no band of the templates is in the catalogue.
    ConfigError
        If a GPU's memory does not do for one object.
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
    judge = _Judge(templates, bands, params, on)
    members = catalogue if among is None else among[0]
    of_members = (flux, error, used, detected) if among is None else read_fluxes(members, bands)
    other = OtherDensity.learn(*of_members, params["other"])

    def work(part: slice) -> pd.DataFrame:
        return judge.frame(flux[part], error[part], used[part], other)

    frames: list[pd.DataFrame] = []
    with threadpool_limits(1), Progress(len(catalogue), "verdicts") as progress:
        for frame in _frames(work, len(catalogue), judge.n_column, threads, memory_mb, on):
            frames.append(frame)
            progress.step(len(frame))
    if not frames:
        frames = [judge.frame(flux, error, used, other)]
    result = pd.concat(frames, ignore_index=True)
    if among is None:
        result["ln_evidence_other"] += _learnt(result, catalogue, flux, used, params["other"])
    else:
        result["ln_evidence_other"] += _learnt_there(among, other, of_members, params["other"])
    result = pd.concat([result, pd.DataFrame(_probabilities(result))], axis=1)
    result.insert(0, "id", catalogue["id"].to_numpy(dtype=np.int64))
    result.insert(1, "sed_status", pd.Series(_status(used, detected), dtype="str"))
    result.insert(2, "n_bands_sed", used.sum(axis=1).astype(np.int64))
    nothing = (result["sed_status"] == "no_usable_band").to_numpy()
    if nothing.any():
        result = _without_data(result, nothing)
    return result


def _frames(
    work: Callable[[slice], pd.DataFrame],
    n_object: int,
    n_column: int,
    threads: int,
    memory_mb: float,
    on: Backend,
) -> Iterator[pd.DataFrame]:
    """Yield the verdicts of chunks of objects, in their order."""
    if on.threaded:
        with ThreadPoolExecutor(threads) as pool:
            yield from pool.map(work, chunks(n_object, n_column, memory_mb / threads))
    else:
        rows = chunk_rows(n_column, on.memory_mb(memory_mb), on.rows)
        yield from in_chunks(work, n_object, rows, on)


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


class _Judge:
    """Templates and priors, prepared for one set of bands and parameters."""

    def __init__(
        self,
        templates: TemplateSet,
        bands: Sequence[str],
        params: Mapping[str, Any],
        on: Backend = NUMPY,
    ) -> None:
        self.on = on
        self.bands = tuple(bands)
        self.templates = templates
        self.params = params
        columns = [templates.bands.index(band) for band in bands]
        offsets = params["aperture_offset_mag"]
        self.aperture = {name: aperture_shares(offsets, name, self.bands) for name in CLASSES}
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
        # In the composite both parts are seen through the composite's aperture effect.
        self.all_quasars = templates.classes["quasar"].fluxes[:, columns] * self.aperture["lensed"]
        self.all_galaxies = templates.classes["galaxy"].fluxes[:, columns] * self.aperture["lensed"]
        self.z_quasars = templates.classes["quasar"].parameters["redshift"].astype(float)
        self.z_galaxies = templates.classes["galaxy"].parameters["redshift"].astype(float)
        fraction = float(priors["lensed_fraction"])
        self.lensed_priors = {
            cells: lensed_quasar_prior(self.priors["quasar"], representatives, fraction)
            for cells, representatives in self._quasar_cells().items()
        }
        self.levels = {name: levels_of(templates.classes[name], name) for name in GRID_CLASSES}
        # Per object: a block of templates, a row of pairs, or a block of one refinement.
        n_cell = len(templates.lensed_quasars.index) + len(templates.lensed_galaxies.index)
        self.n_column = BLOCK + n_cell

    def _quasar_cells(self) -> dict[str, Representatives]:
        return {"coarse": self.templates.coarse_quasars, "fine": self.templates.lensed_quasars}

    def photometry(self, name: str, flux: Floats, error: Floats, used: Bools) -> Photometry:
        """Return fluxes with the errors of a class."""
        variance, shared = class_errors(self.params, name, self.bands, flux, error, used)
        return Photometry(flux, np.where(used, variance, 1.0), used, shared)

    def frame(self, flux: Floats, error: Floats, used: Bools, other: OtherDensity) -> pd.DataFrame:
        """Return the verdicts of a chunk of objects."""
        columns: dict[str, Any] = {}
        ln: dict[str, Floats] = {}
        n_used = np.maximum(used.sum(axis=1), 1)
        single: dict[str, SingleFit] = {}
        for name in GRID_CLASSES:
            data = self.photometry(name, flux, error, used)
            single[name] = fit_single(
                data, self.models[name], self.priors[name], self.levels[name], self.on
            )
            ln[name] = single[name].ln_evidence
            k = self.templates.classes[name].n_free
            self._quality(columns, name, single[name].chi2, data, k, n_used)
            columns[f"best_{name}_template"] = single[name].index
            columns[f"best_{name}_amplitude"] = single[name].amplitude
        density = float(self.params["other"]["density_per_deg2_mag"])
        ln["other"] = other.ln_density(flux, error, used) + np.log(density)
        data = self.photometry("lensed", flux, error, used)
        pair = self._pairs(data, ln)
        ln["lensed"] = pair.ln_evidence
        k = sum(self.templates.classes[name].n_free for name in ("galaxy", "quasar"))
        self._quality(columns, "lensed", pair.chi2, data, k, n_used)
        columns["best_lensed_quasar_template"] = pair.index_quasar
        columns["best_lensed_galaxy_template"] = pair.index_galaxy
        columns["best_lensed_quasar_amplitude"] = pair.amplitude_quasar
        columns["best_lensed_galaxy_amplitude"] = pair.amplitude_galaxy
        columns |= {f"ln_evidence_{name}": ln[name] for name in _PROBABILITIES}
        columns.update(quasar_redshift(single["quasar"], pair, self.levels["quasar"]))
        for name in GRID_CLASSES:
            columns.update(
                columns_of_class(
                    name, single[name], self.templates.classes[name], self.levels[name]
                )
            )
        columns.update(columns_of_pair(pair, self.templates))
        return pd.DataFrame(columns)

    def _pairs(self, data: Photometry, ln: Mapping[str, Floats]) -> PairFit:
        """Fit the composite: coarsely, and finely the objects that it may describe.

        Those are the ones whose composite, or quasar, comes within `_CONTESTED` of the best
        of all classes: with fewer quasars to stand for all, evidences err by a few nats.
        """
        fit = self._pairs_of(data, "coarse")
        best = np.max([*ln.values(), fit.ln_evidence], axis=0)
        near = np.maximum(fit.ln_evidence, ln["quasar"]) > best - _CONTESTED
        contested = np.flatnonzero(near)
        if contested.size:
            fine = self._pairs_of(data.rows(contested), "fine")
            fit = replace_rows(fit, contested, fine)
        return refine_pairs(
            data,
            fit,
            self.all_quasars,
            self.all_galaxies,
            self.z_quasars,
            self.z_galaxies,
            self.on,
        )

    def _pairs_of(self, data: Photometry, cells: str) -> PairFit:
        """Fit pairs of representatives; indices and levels are those of all templates."""
        cells_q = self._quasar_cells()[cells].index
        cells_g = self.templates.lensed_galaxies.index
        z_q, z_g = self.z_quasars[cells_q], self.z_galaxies[cells_g]
        fit = fit_pairs(
            data,
            self.all_quasars[cells_q],
            self.all_galaxies[cells_g],
            z_g[None, :] < z_q[:, None],
            self.lensed_priors[cells],
            self.lens_prior,
            self.on,
        )
        found = (fit.index_quasar >= 0) & (fit.amplitude_quasar + fit.amplitude_galaxy > 0)
        return replace(
            fit,
            index_quasar=np.where(found, cells_q[fit.index_quasar], -1),
            index_galaxy=np.where(found, cells_g[fit.index_galaxy], -1),
            levels_quasar=by_value(self._redshifts("quasar"), z_q, fit.levels_quasar),
            levels_galaxy=by_value(self._redshifts("galaxy"), z_g, fit.levels_galaxy),
        )

    def _redshifts(self, name: str) -> Floats:
        """Return the redshifts of a class' grid, ascending."""
        return self.levels[name].values["redshift"]

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


def _learnt(
    result: pd.DataFrame,
    catalogue: pd.DataFrame,
    flux: Floats,
    used: Bools,
    section: Mapping[str, Any],
) -> float:
    """Return ln of the factor on the density of ``other`` that the whole catalogue asks for."""
    place = positions(catalogue)
    prior_objects = float(section["prior_objects"])
    if place is None:
        _LOG.info("no positions: the density of other stays as configured")
        return 0.0
    area_deg2 = covered_deg2(*place)
    expected = float(section["density_per_deg2_mag"]) * area_deg2 * magnitude_range(flux, used)
    ln_rest = log_sum(result[[f"ln_evidence_{name}" for name in CLASSES]].to_numpy(), axis=1)
    some = used.any(axis=1)
    factor = learnt_scale(
        result["ln_evidence_other"].to_numpy()[some], ln_rest[some], expected, prior_objects
    )
    _LOG.info("about %.0f deg2; density of other: %.3g of the configured", area_deg2, factor)
    return float(np.log(factor))


def _learnt_there(
    among: tuple[pd.DataFrame, pd.DataFrame],
    other: OtherDensity,
    of_members: tuple[Floats, Floats, Bools, Bools],
    section: Mapping[str, Any],
) -> float:
    """Return ln of the factor that a search's own verdicts have, by its catalogue."""
    members, judged = among
    flux, error, used, _ = of_members
    plain = other.ln_density(flux, error, used) + np.log(float(section["density_per_deg2_mag"]))
    listed = judged.set_index("id")["ln_evidence_other"].reindex(members["id"]).to_numpy()
    difference = (listed - plain)[np.isfinite(listed - plain)]
    return float(np.median(difference)) if len(difference) else 0.0


def _probabilities(result: pd.DataFrame) -> dict[str, Floats]:
    """Return the probabilities of the classes and the two log odds."""
    ln = {name: result[f"ln_evidence_{name}"].to_numpy() for name in _PROBABILITIES}
    stack = np.array([ln[name] for name in _PROBABILITIES])
    total = log_sum(stack, axis=0)
    share = np.exp(stack - total[None, :])
    share = share / np.maximum(share.sum(axis=0, keepdims=True), 1e-300)
    columns = {f"p_{name}": share[row] for row, name in enumerate(_PROBABILITIES)}
    is_quasar = log_sum(np.array([ln["quasar"], ln["lensed"]]), axis=0)
    is_not = log_sum(np.array([ln["star"], ln["galaxy"], ln["other"]]), axis=0)
    columns["log_odds_quasar"] = np.clip(is_quasar - is_not, -_LN_LIMIT, _LN_LIMIT)
    columns["log_odds_lensed"] = np.clip(ln["lensed"] - ln["quasar"], -_LN_LIMIT, _LN_LIMIT)
    return columns
