"""Full posteriors of a shortlist: star, galaxy, quasar and lensed quasar, with evidences.

All classes are sampled by the same seeded sampler, with the same conventions on
data and errors as the grid fit, so that an object's evidences can be compared.

BAGPIPES' ``fit`` class is left aside on purpose: it draws its seed from the clock,
writes below the working directory and resumes a fit of the same name whatever
its data were. Its model and priors are used as they are.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from archipelago.base.arrays import save_arrays
from archipelago.base.errors import ConfigError
from archipelago.base.progress import Progress
from archipelago.base.tables import require_columns, write_table
from archipelago.passbands import Passband
from archipelago.sed.galaxy import GalaxyModel
from archipelago.sed.nested import IMPOSSIBLE, NestedResult, SamplerOptions, sample
from archipelago.sed.posterior_models import (
    CLASSES,
    LENS_NAMES,
    PARAMETERS,
    BagpipesModel,
    LensedModel,
    Measured,
    Model,
    ObjectData,
    QuasarModel,
    StarModel,
    as_class,
)
from archipelago.sed.templates import TemplateSet

_LOG = logging.getLogger(__name__)
Floats = NDArray[np.float64]

#: Packages whose version is part of a kept posterior's fingerprint.
_PACKAGES = ("bagpipes", "nautilus-sampler", "numpy", "scikit-learn", "scipy")

#: How the status of a fit begins that ended in an error; it is tried again at the next run.
_FAILED = "failed: "


@dataclass(frozen=True)
class PosteriorOptions:
    """What is sampled, and how carefully.

    Values and limits stand in ``config.yaml`` and in the configuration's schema
    (`archipelago.config.analysis`), and nowhere else.

    Parameters
    ----------
    shortlist : number of first candidates that get posteriors.
    shards : number of parts that the shortlist is split into.
    seed : of everything random.
    classes : some of `CLASSES`.
    n_live : live points of BAGPIPES galaxies (some 3 ms per likelihood).
    n_live_templates : live points of the other classes (microseconds each).
    n_effective : effective draws at which sampling ends.
    n_networks : neural networks per bound.
    max_likelihoods : calls at which sampling ends in any case.
    draws : draws kept per object and class.
    galaxy_history : ``delayed`` or ``constant`` star formation.
    galaxy_redshift : range of galaxies' redshifts; BAGPIPES ends at 10.
    quasar_redshift : range of quasars' redshifts.
    """

    shortlist: int
    shards: int
    seed: int
    classes: tuple[str, ...]
    n_live: int
    n_live_templates: int
    n_effective: int
    n_networks: int
    max_likelihoods: int
    draws: int
    galaxy_history: str
    galaxy_redshift: tuple[float, float]
    quasar_redshift: tuple[float, float]

    @classmethod
    def from_mapping(cls, section: Mapping[str, Any]) -> PosteriorOptions:
        """Return the options that a configuration's section tells; lists become tuples."""
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list | tuple) else value
            for key, value in section.items()
        }
        return cls(**values)

    def sampler(self, name: str) -> SamplerOptions:
        """Return the sampler's options for a class."""
        return SamplerOptions(
            n_live=self.n_live if name == "galaxy" else self.n_live_templates,
            n_effective=self.n_effective,
            n_networks=self.n_networks,
            n_update_factor=1 if name == "galaxy" else 2,
            max_likelihoods=self.max_likelihoods,
            draws=self.draws,
        )


class Models:
    """All classes, built when first asked for and kept for the next object.

    Parameters
    ----------
    passbands : per band a Passband, in the order of the data.
    templates : the stars are taken from them.
    options : see `PosteriorOptions`.
    quasar_priors : see `QuasarModel`.
    """

    def __init__(
        self,
        passbands: Mapping[str, Passband],
        templates: TemplateSet,
        options: PosteriorOptions,
        quasar_priors: Mapping[str, Any],
    ) -> None:
        self._passbands = passbands
        self._templates = templates
        self._options = options
        self._quasar_priors = dict(quasar_priors)

    @cached_property
    def digest(self) -> str:
        """A hash of the passbands and star templates."""
        total = hashlib.sha256()
        for name, band in self._passbands.items():
            total.update(name.encode())
            total.update(band.wavelength_aa.tobytes() + band.transmission.tobytes())
        total.update(np.ascontiguousarray(self._templates.classes["star"].fluxes).tobytes())
        return total.hexdigest()

    @cached_property
    def _star(self) -> StarModel:
        return StarModel.from_templates(self._templates, list(self._passbands))

    @cached_property
    def _quasar(self) -> QuasarModel:
        return QuasarModel(self._passbands, self._options.quasar_redshift, self._quasar_priors)

    def settings(self, name: str) -> dict[str, Any]:
        """Return what a class depends on beside options and `digest`."""
        return self._quasar_priors if name in ("quasar", "lensed") else {}

    @cached_property
    def _lensed(self) -> LensedModel:
        return LensedModel(self._quasar, GalaxyModel(self._passbands), len(self._passbands))

    def of(self, name: str, data: ObjectData) -> Model:
        """Return the model of a class for an object."""
        if name == "galaxy":
            return BagpipesModel(
                data,
                self._passbands,
                self._options.galaxy_history,
                self._options.galaxy_redshift,
            )
        if name == "star":
            return self._star
        return self._quasar if name == "quasar" else self._lensed


@dataclass(frozen=True)
class Posterior:
    """The posterior of one object as one class.

    Attributes
    ----------
    names : parameters.
    nested : what the sampler found; None where nothing could be fitted.
    fluxes_ujy : band fluxes of the draws as the catalogue would measure them, (draw, n_band).
    chi2_best : of the highest likelihood.
    status : ok, or what was not possible.
    """

    names: tuple[str, ...]
    nested: NestedResult | None
    fluxes_ujy: Floats
    chi2_best: float
    status: str


def fit_object(
    data: ObjectData,
    name: str,
    models: Models,
    options: PosteriorOptions,
    checkpoint: Path | None = None,
) -> Posterior:
    """Sample the posterior of an object as one class.

    An object without a usable band, or all of whose bands are limits, gets an
    empty posterior that says so: nothing is measured of it. One with fewer bands than
    the class has parameters is sampled, and its status says that priors decide.

    Parameters
    ----------
    data : the object.
    name : one of `CLASSES`.
    models : the classes.
    options : see `PosteriorOptions`.
    checkpoint : see `archipelago.sed.nested.sample`.
    """
    if not data.detected:
        return _empty(data, "no band is detected")
    model = models.of(name, data)
    nested = sample(
        model.prior,
        lambda parameters: data.ln_likelihood(model.band_fluxes(parameters)),
        len(model.names),
        seed_of(options.seed, data.id, name),
        options.sampler(name),
        checkpoint,
    )
    chi2 = float(data.chi2(model.band_fluxes(nested.best[None, :]))[0])
    fluxes = model.band_fluxes(nested.samples) * data.aperture
    status = _status(nested, int(data.used.sum()), len(model.names))
    return Posterior(model.names, nested, fluxes, chi2, status)


def _empty(data: ObjectData, status: str) -> Posterior:
    return Posterior((), None, np.empty((0, data.used.size)), np.nan, status)


def _status(nested: NestedResult, n_bands: int, n_parameters: int) -> str:
    if not nested.converged:
        return "stopped at max_likelihoods"
    if nested.best_ln_likelihood <= IMPOSSIBLE:
        return "no model comes near"
    return "ok" if n_bands >= n_parameters else "fewer bands than parameters: priors decide"


def seed_of(seed: int, object_id: int, name: str) -> int:
    """Return the sampler's seed: it depends on object and class, not on shard or order."""
    words = [seed, object_id & 0xFFFF_FFFF, (object_id >> 32) & 0xFFFF_FFFF, CLASSES.index(name)]
    return int(np.random.SeedSequence(words).generate_state(1)[0])


def shard_ids(candidates: pd.DataFrame, shortlist: int, shards: int, shard: int) -> list[int]:
    """Return the ids at ranks k, k + n, ... of the shortlist, counted from 0.

    Raises
    ------
    ConfigError
        If there is no such shard.
    """
    if not 0 <= shard < shards:
        raise ConfigError(
            f"there is no shard {shard} of {shards}",
            where="posteriors.shards",
            next_step=f"ask for shards 0 to {shards - 1}",
        )
    require_columns(candidates, ["id", "rank"], "candidates")
    ranked = candidates.sort_values(["rank", "id"], kind="stable")["id"].astype("int64")
    return [int(value) for value in ranked.iloc[:shortlist].iloc[shard::shards]]


def run_shard(
    objects: Sequence[Measured],
    bands: Sequence[str],
    fit: Mapping[str, Any],
    models: Models,
    options: PosteriorOptions,
    partial: Path | None = None,
    code: str = "",
) -> tuple[pd.DataFrame, dict[str, NDArray[Any]]]:
    """Sample all classes of all objects of a shard.

    Parameters
    ----------
    objects : what to fit, in the order of the table.
    bands : names of the bands of the data.
    fit : model errors and aperture effects, see `as_class`.
    models : the classes.
    options : see `PosteriorOptions`.
    partial : folder where each finished posterior is kept, and the state of an
        unfinished one, and taken up again if data, options and code are the same;
        None keeps nothing.
    code : a hash of the code, part of that comparison.

    Returns
    -------
    table : one row per object and class, see `posterior_columns`.
    arrays : what `write_samples` writes.
    """
    rows: list[dict[str, Any]] = []
    arrays: dict[str, NDArray[Any]] = {"bands": np.array(list(bands), dtype=str)}
    arrays["ids"] = np.array([data.id for data in objects], dtype=np.int64)
    with Progress(len(objects) * len(options.classes), "posteriors") as progress:
        for measured in objects:
            arrays[f"{measured.id}/flux_ujy"] = measured.flux_ujy
            arrays[f"{measured.id}/error_ujy"] = measured.error_ujy
            arrays[f"{measured.id}/used"] = measured.used
            for name in options.classes:
                data = as_class(measured, name, bands, fit)
                posterior = _kept_or_fitted(data, name, models, options, partial, code)
                rows.append(_row(data.id, name, posterior, int(data.used.sum())))
                start = f"{data.id}/{name}"
                arrays[f"{start}/parameters"] = np.array(posterior.names, dtype=str)
                arrays[f"{start}/fluxes_ujy"] = posterior.fluxes_ujy.astype(np.float32)
                if posterior.nested is not None:
                    arrays[f"{start}/samples"] = posterior.nested.samples
                    arrays[f"{start}/ln_likelihood"] = posterior.nested.ln_likelihood
                progress.step()
    return posterior_table(rows, options.classes, options.galaxy_history), arrays


def _kept_or_fitted(
    data: ObjectData,
    name: str,
    models: Models,
    options: PosteriorOptions,
    partial: Path | None,
    code: str,
) -> Posterior:
    if partial is None:
        return _fitted(data, name, models, options, None)
    start = f"{data.id}-{name}"
    path = partial / f"{start}.npz"
    mark = fingerprint(data, name, options, models, code)
    kept = _load_posterior(path, mark)
    if kept is not None:
        _LOG.info("object %d as %s: taken from %s", data.id, name, path)
        return kept
    checkpoint = partial / f"{start}-{mark[:16]}.h5"
    for stale in partial.glob(f"{start}-*.h5"):
        if stale != checkpoint:  # of other data, options or code: never to be taken up again
            stale.unlink()
    posterior = _fitted(data, name, models, options, checkpoint)
    if not posterior.status.startswith(_FAILED):
        _save_posterior(posterior, path, mark)
    checkpoint.unlink(missing_ok=True)
    return posterior


def _fitted(
    data: ObjectData,
    name: str,
    models: Models,
    options: PosteriorOptions,
    checkpoint: Path | None,
) -> Posterior:
    """Fit, and give an object that makes the models or the sampler fail a row that says so."""
    try:
        return fit_object(data, name, models, options, checkpoint)
    except (ArithmeticError, LookupError, RuntimeError, ValueError) as error:
        _LOG.exception("object %d as %s", data.id, name)
        return _empty(data, f"{_FAILED}{type(error).__name__}: {error}")


def fingerprint(
    data: ObjectData, name: str, options: PosteriorOptions, models: Models, code: str
) -> str:
    """Return a hash of all that a posterior depends on."""
    settings = asdict(options)
    for key in ("shortlist", "shards", "classes"):  # which objects are fitted, not how
        del settings[key]
    values = {
        "id": data.id,
        "class": name,
        "flux": data.flux_ujy.tolist(),
        "error": data.error_ujy.tolist(),
        "used": data.used.tolist(),
        "aperture": data.aperture.tolist(),
        "shared": data.shared_ujy.tolist(),
        "options": settings,
        "models": models.digest,
        "priors": models.settings(name),
        "code": code,
        "packages": {package: version(package) for package in _PACKAGES},
    }
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _save_posterior(posterior: Posterior, path: Path, mark: str) -> None:
    arrays: dict[str, NDArray[Any]] = {
        "mark": np.array(mark),
        "names": np.array(posterior.names, dtype=str),
        "fluxes_ujy": posterior.fluxes_ujy,
        "chi2_best": np.array(posterior.chi2_best),
        "status": np.array(posterior.status),
    }
    if posterior.nested is not None:
        for key, value in asdict(posterior.nested).items():
            arrays[f"nested/{key}"] = np.asarray(value)
    save_arrays(arrays, path)


def _load_posterior(path: Path, mark: str) -> Posterior | None:
    """Return a kept posterior, or None if there is none, it is broken, or of something else."""
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as stored:
            if str(stored["mark"]) != mark:
                return None
            nested = None
            if "nested/samples" in stored.files:
                nested = NestedResult(
                    samples=stored["nested/samples"],
                    ln_likelihood=stored["nested/ln_likelihood"],
                    best=stored["nested/best"],
                    best_ln_likelihood=float(stored["nested/best_ln_likelihood"]),
                    ln_evidence=float(stored["nested/ln_evidence"]),
                    ln_evidence_err=float(stored["nested/ln_evidence_err"]),
                    n_like=int(stored["nested/n_like"]),
                    converged=bool(stored["nested/converged"]),
                )
            return Posterior(
                names=tuple(str(name) for name in stored["names"]),
                nested=nested,
                fluxes_ujy=stored["fluxes_ujy"],
                chi2_best=float(stored["chi2_best"]),
                status=str(stored["status"]),
            )
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        _LOG.warning("%s cannot be read (%s): fitted anew", path, error)
        return None


def parameter_names(classes: Sequence[str], history: str) -> list[str]:
    """Return the parameters of some classes, each once, in a fixed order."""
    tau = ("tau_gyr",) if history == "delayed" else ()
    stars = ("age_gyr", "log_mass", "metallicity", *tau, "av_mag")
    by_class = {
        "star": StarModel.names,
        "galaxy": ("redshift", *stars),
        "quasar": QuasarModel.names,
        "lensed": (*QuasarModel.names, *LENS_NAMES),
    }
    return list(dict.fromkeys(name for key in CLASSES if key in classes for name in by_class[key]))


def posterior_table(
    rows: Sequence[Mapping[str, Any]], classes: Sequence[str], history: str
) -> pd.DataFrame:
    """Return the table of a shard; without rows it has its columns all the same."""
    columns = {
        "id": "int64",
        "class": "object",
        "status": "object",
        **dict.fromkeys(
            ("ln_evidence", "ln_evidence_err", "ln_likelihood_best", "chi2_best"), "float64"
        ),
        "n_bands": "int64",
        "n_like": "int64",
    }
    for name in parameter_names(classes, history):
        columns |= {f"{kind}_{name}": "float64" for kind in ("median", "lo", "hi", "best")}
    return pd.DataFrame(list(rows), columns=list(columns)).astype(columns)


#: What the fixed columns of the table are.
ABOUT = {
    "id": "identifier of the object",
    "class": "what it was fitted as: star, galaxy, quasar or lensed",
    "status": "ok, or what was not possible",
    "ln_evidence": "ln of the evidence, fluxes in uJy; compare within one object only",
    "ln_evidence_err": "its error from the sampling, 1 / sqrt(effective draws)",
    "ln_likelihood_best": "highest ln likelihood met",
    "chi2_best": "chi2 of the highest likelihood, model error included",
    "n_bands": "bands fitted, limits included",
    "n_like": "likelihood calls",
}


def _row(object_id: int, name: str, posterior: Posterior, n_bands: int) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": object_id,
        "class": name,
        "status": posterior.status,
        "chi2_best": posterior.chi2_best,
        "n_bands": n_bands,
        "n_like": 0,
    }
    nested = posterior.nested
    if nested is None:
        return row
    row |= {
        "ln_evidence": nested.ln_evidence,
        "ln_evidence_err": nested.ln_evidence_err,
        "ln_likelihood_best": nested.best_ln_likelihood,
        "n_like": nested.n_like,
    }
    low, middle, high = np.percentile(nested.samples, (16, 50, 84), axis=0)
    for index, parameter in enumerate(posterior.names):
        row[f"median_{parameter}"] = middle[index]
        row[f"lo_{parameter}"] = low[index]
        row[f"hi_{parameter}"] = high[index]
        row[f"best_{parameter}"] = nested.best[index]
    return row


def write_shard(
    table: pd.DataFrame,
    arrays: Mapping[str, NDArray[Any]],
    table_path: str | Path,
    samples_path: str | Path,
) -> None:
    """Write the table (Parquet) and the draws (npz) of a shard.

    The npz holds ``bands``, ``ids``; per id ``<id>/flux_ujy``, ``<id>/error_ujy`` and
    ``<id>/used`` as measured, Galactic extinction taken out, without model error;
    per id and class ``<id>/<class>/parameters`` (names), ``samples`` (draw, parameter),
    ``ln_likelihood`` (draw,) and ``fluxes_ujy`` (draw, band), float32, as the catalogue
    would measure them, in bands that were not fitted too.
    """
    about = dict(ABOUT)
    words = {
        "median": "median of the posterior",
        "lo": "16th percentile",
        "hi": "84th percentile",
        "best": "value at the highest likelihood",
    }
    for column in table.columns:
        kind, _, parameter = str(column).partition("_")
        if kind in words:
            about[str(column)] = f"{words[kind]}: {PARAMETERS[parameter]}"
    save_arrays(arrays, samples_path)
    write_table(table, table_path, about)
