"""Measure how far evidences scatter from seed to seed, beside the error that is quoted.

``python -m archipelago.sed.measure_evidence --class quasar --seeds 8`` samples one synthetic
quasar (redshift 6, M1450 = -26.5, errors as in DES, VHS and AllWISE) with as many seeds. Class
star needs ``--templates``, the templates.npz of any run.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from archipelago.passbands import Passband, load_passbands
from archipelago.sed.galaxy import GalaxyModel
from archipelago.sed.nested import sample
from archipelago.sed.posterior_models import (
    BagpipesModel,
    LensedModel,
    Measured,
    Model,
    QuasarModel,
    StarModel,
    as_class,
)
from archipelago.sed.posteriors import PosteriorOptions
from archipelago.sed.templates import load_templates

_REPOSITORY = Path(__file__).resolve().parents[3]
#: Redshift, M1450, UV slope, E(B-V), lines, Lyman alpha, IGM, broad absorption.
_TRUTH = np.array([[6.0, -26.5, -0.3, 0.02, 1.0, 1.0, 1.0, 0.0]])
#: Errors [uJy], about those of faint objects in each band.
_ERROR_UJY = {
    **{"g": 0.10, "r": 0.15, "i": 0.25, "z": 0.45, "Y": 1.6},
    **{"J": 2.2, "K": 3.8, "W1": 5.0, "W2": 8.0},
}


def synthetic_quasar(quasars: QuasarModel, passbands: dict[str, Passband]) -> Measured:
    """Return the quasar without noise; what is below 2 sigma is a limit."""
    flux = quasars.band_fluxes(_TRUTH)[0]
    error = np.array([_ERROR_UJY[band] for band in passbands])
    return Measured(1, np.where(flux < 2 * error, 0.0, flux), error, np.ones(len(flux), bool))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--class", dest="name", required=True, choices=("star", "galaxy", "quasar", "lensed")
    )
    parser.add_argument("--templates", help="templates.npz that stars are taken from")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--n-live", type=int, help="live points, if not those of config.yaml")
    parser.add_argument("--n-effective", type=int, help="effective draws, likewise")
    given = parser.parse_args(arguments)
    if given.name == "star" and given.templates is None:
        parser.error("class star needs --templates")
    config = yaml.safe_load((_REPOSITORY / "config.yaml").read_text(encoding="utf-8"))
    options = PosteriorOptions.from_mapping(config["posteriors"])
    if given.n_live:
        options = replace(options, n_live=given.n_live, n_live_templates=given.n_live)
    if given.n_effective:
        options = replace(options, n_effective=given.n_effective)
    passbands = load_passbands(config["sed"]["passbands"])
    fit = config["sed"]["fit"]
    quasars = QuasarModel(passbands, options.quasar_redshift, fit["priors"]["quasar"], step=0.05)
    measured = synthetic_quasar(quasars, passbands)
    data = as_class(measured, given.name, list(passbands), fit)
    model: Model = quasars
    if given.name == "lensed":
        model = LensedModel(quasars, GalaxyModel(passbands), len(passbands))
    elif given.name == "star":
        model = StarModel.from_templates(load_templates(given.templates), list(passbands))
    elif given.name == "galaxy":
        model = BagpipesModel(data, passbands, options.galaxy_history, options.galaxy_redshift)
    rows: list[tuple[Any, ...]] = []
    for seed in range(given.seeds):
        start_s = time.perf_counter()
        found = sample(
            model.prior,
            lambda parameters: data.ln_likelihood(model.band_fluxes(parameters)),
            len(model.names),
            seed,
            options.sampler(given.name),
        )
        seconds = time.perf_counter() - start_s
        rows.append((found.ln_evidence, found.ln_evidence_err, found.n_like, seconds))
        print("seed {}: ln Z {:.3f} +- {:.3f}, {} calls, {:.0f} s".format(seed, *rows[-1]))
    ln_evidence, error, n_like, seconds_each = np.array(rows, dtype=float).T
    scatter = ln_evidence.std(ddof=1) if len(rows) > 1 else np.nan
    print(
        f"{given.name}: mean {ln_evidence.mean():.3f}, scatter {scatter:.3f}, quoted "
        f"{error.mean():.3f}; {n_like.mean():.0f} calls, {seconds_each.mean():.0f} s each"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
