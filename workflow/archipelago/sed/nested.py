"""Nested sampling, seeded: posterior draws and the evidence of any model.

The sampler is nautilus (Lange 2023, MNRAS 525, 3181): importance nested sampling,
with bounds drawn by neural networks.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from archipelago.base.files import atomic_path

_LOG = logging.getLogger(__name__)
Floats = NDArray[np.float64]

#: ln L that stands for "impossible": finite, as the sampler ranks its points.
IMPOSSIBLE = -1e100

#: Likelihood calls between two checkpoints: some 30 s of BAGPIPES.
CHECKPOINT_CALLS = 10_000


@dataclass(frozen=True)
class SamplerOptions:
    """How long and how carefully to sample.

    Parameters
    ----------
    n_live : live points; more find small modes and cost in proportion.
    n_effective : effective posterior draws at which sampling ends, those of the exploration
        not counted.
    n_networks : neural networks per bound; 0 draws bounds by ellipsoids only.
    n_update_factor : live sets replaced before a new bound is drawn. Bounds cost about
        0.3 s: where a likelihood costs microseconds, more calls and fewer bounds are faster.
    max_likelihoods : likelihood calls at which sampling stops, converged or not.
    draws : equally weighted draws returned.
    """

    n_live: int
    n_effective: int
    n_networks: int
    n_update_factor: int
    max_likelihoods: int
    draws: int


@dataclass(frozen=True)
class NestedResult:
    """What one run found.

    Attributes
    ----------
    samples : equally weighted draws, (draw, parameter); repeated where the run
        holds fewer effective draws than were asked for.
    ln_likelihood : of each draw, (draw,).
    best : parameters of the highest likelihood met, (parameter,).
    best_ln_likelihood : that likelihood.
    ln_evidence, ln_evidence_err : ln Z and its error, 1 / sqrt(effective draws); the scatter
        between seeds is given in docs/measurements.md.
    n_like : likelihood calls.
    converged : False where ``max_likelihoods`` ended the run; its evidence then rests on
        the points of the exploration too, and its error says too little.
    """

    samples: Floats
    ln_likelihood: Floats
    best: Floats
    best_ln_likelihood: float
    ln_evidence: float
    ln_evidence_err: float
    n_like: int
    converged: bool


def sample(
    prior: Callable[[Floats], Floats],
    ln_likelihood: Callable[[Floats], Floats],
    n_dim: int,
    seed: int,
    options: SamplerOptions,
    checkpoint: Path | None = None,
) -> NestedResult:
    """Sample a posterior.

    Parameters
    ----------
    prior : maps the unit cube to parameters, (n, n_dim) to (n, n_dim).
    ln_likelihood : of parameters, (n, n_dim) to (n,); values that are not
        finite count as impossible.
    n_dim : number of parameters, 2 at least.
    seed : of the sampler and of the draws; the same seed gives the same result.
    options : see `SamplerOptions`.
    checkpoint : file (.h5) where the state is kept every `CHECKPOINT_CALLS` calls, and
        taken up again if it is there: the result is that of an unbroken run, bit for bit.
        It is the caller's to name it after all that the result depends on, and to remove
        it when the result is safe. None keeps nothing.

    Raises
    ------
    ValueError
        If there are fewer than two parameters.
    """
    if n_dim < 2:
        raise ValueError("nautilus needs at least two parameters")

    def safe(parameters: Floats) -> Floats:
        values = np.asarray(ln_likelihood(parameters), dtype=float)
        return np.where(np.isfinite(values), np.maximum(values, IMPOSSIBLE), IMPOSSIBLE)

    # One BLAS thread: sums in another order would change the last digits, and so the path.
    with threadpool_limits(limits=1), warnings.catch_warnings():
        # Networks that stop early and shells without a point are normal, and said often.
        warnings.simplefilter("ignore")
        sampler = _sampler(prior, safe, n_dim, seed, options, checkpoint)
        converged = False
        while not converged and sampler.n_like < options.max_likelihoods:
            converged = bool(
                sampler.run(
                    n_eff=options.n_effective,
                    n_like_max=min(sampler.n_like + CHECKPOINT_CALLS, options.max_likelihoods),
                    # Points that bounds were drawn from bias the evidence, by ten times its
                    # error with few live points.
                    discard_exploration=True,
                )
            )
            if checkpoint is not None:
                # nautilus would write to the file itself, batch by batch: killed while it
                # does, it leaves a file that it reads again and that is wrong.
                with atomic_path(checkpoint) as temporary:
                    sampler.write(temporary, overwrite=True)
        if not converged:  # there may be no other points
            sampler.discard_exploration = False
        points, ln_weight, ln_like = sampler.posterior()
        n_effective = max(float(sampler.n_eff), 1.0)
        ln_evidence = float(sampler.log_z)
    chosen = _resample(np.exp(ln_weight), options.draws, np.random.default_rng(seed))
    best = int(np.argmax(ln_like))
    return NestedResult(
        samples=np.asarray(points[chosen], dtype=float),
        ln_likelihood=np.asarray(ln_like[chosen], dtype=float),
        best=np.asarray(points[best], dtype=float),
        best_ln_likelihood=float(ln_like[best]),
        ln_evidence=ln_evidence,
        ln_evidence_err=1.0 / float(np.sqrt(n_effective)),
        n_like=int(sampler.n_like),
        converged=converged,
    )


def _sampler(
    prior: Callable[[Floats], Floats],
    ln_likelihood: Callable[[Floats], Floats],
    n_dim: int,
    seed: int,
    options: SamplerOptions,
    checkpoint: Path | None,
) -> Any:
    """Return nautilus' sampler, as the checkpoint left it if there is one that can be read."""
    # Imported here: it takes a second, and only this module needs it.
    from nautilus import Sampler

    def build(filepath: Path | None) -> Any:
        return Sampler(
            prior,
            ln_likelihood,
            n_dim=n_dim,
            n_live=options.n_live,
            n_networks=options.n_networks,
            n_update=options.n_update_factor * options.n_live,
            # nautilus' own 10 for a factor of 1.
            n_like_new_bound=10 * options.n_update_factor**2 * options.n_live,
            vectorized=True,
            pass_dict=False,
            seed=seed,
            filepath=filepath,
        )

    if checkpoint is None or not checkpoint.is_file():
        return build(None)
    try:
        sampler = build(checkpoint)
    except (OSError, KeyError, ValueError) as error:
        _LOG.warning("%s cannot be read (%s): sampled from the start", checkpoint, error)
        return build(None)
    sampler.filepath = None  # or nautilus would write to it
    _LOG.info("taken up at %d likelihood calls from %s", sampler.n_like, checkpoint)
    return sampler


def _resample(weights: Floats, draws: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return indices of equally weighted draws, by systematic resampling, in random order.

    One random offset for all draws: the number of copies of a point differs from
    its share by less than one (Kitagawa 1996, J. Comput. Graph. Stat. 5, 1).
    """
    edges = np.cumsum(weights / weights.sum())
    edges[-1] = 1.0
    at = (np.arange(draws) + rng.random()) / draws
    return np.asarray(rng.permutation(np.searchsorted(edges, at)), dtype=np.int64)
