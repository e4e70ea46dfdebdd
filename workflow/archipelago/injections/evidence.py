"""The evidence on injected objects, as the run's own objects have it.

Nothing of the run learns from injected objects: similarity, islands and likeness are what an
object of the run would get that looks so.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from archipelago.base.errors import InputError
from archipelago.base.images import ImageSet
from archipelago.lensing.evidence import Judge
from archipelago.recognise.evidence import KINDS, components, measured_in
from archipelago.recognise.judges import N_FOLDS, NETWORK_SHARE, taught
from archipelago.simulate.conditions import measure_conditions

_LOG = logging.getLogger(__name__)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
#: Numbers per object: ids (n,) and features (n, d).
Features = tuple[Ints, NDArray[np.float32]]

#: Nearest objects of the run that say which island an injected one would lie on.
_NEIGHBOURS = 5
_CHUNK = 1024


def by_id(features: Features, ids: Ints) -> NDArray[np.float32]:
    """Return the features of some objects, in their order.

    Raises
    ------
    InputError
        If one has none.
    """
    row = pd.Series(np.arange(len(features[0])), index=features[0]).reindex(ids)
    if row.isna().any():
        raise InputError(
            f"{int(row.isna().sum())} objects with images have no features",
            where="injections",
            next_step="make the features again from the same images",
        )
    return features[1][row.to_numpy(dtype=np.int64)]


def like_the_known(
    ids: Ints,
    features: Sequence[Features],
    run_features: Sequence[Features],
    candidates: pd.DataFrame,
    settings: Mapping[str, Any],
) -> pd.DataFrame:
    """Return similarity to the known quasars, and the island, of injected objects.

    Parameters
    ----------
    ids : (n,) injected objects with images.
    features, run_features : per seed, of the injected and of the run's objects.
    candidates : of the run: id, is_known, similarity_known, similarity_log_ratio, island,
        island_log_ratio.
    settings : section ``islands``: k_neighbours, centre.

    Returns
    -------
    (n) rows: id and the first four columns of `ABOUT_EVIDENCE`; NaN where an image has no content
    or the run has no known quasar.
    """
    run_ids = np.sort(run_features[0][0])
    run = candidates.drop_duplicates("id").set_index("id").reindex(run_ids)
    known = run["is_known"].fillna(False).to_numpy(dtype=bool)
    similarity, joined, run_joined = [], [], []
    for of_seed, of_run in zip(features, run_features, strict=True):
        unit, run_unit = _units(
            by_id(of_seed, ids), by_id(of_run, run_ids), centre=bool(settings["centre"])
        )
        similarity.append(_nearest_mean(unit, run_unit[known], int(settings["k_neighbours"])))
        joined.append(unit)
        run_joined.append(run_unit)
    mean = np.mean(similarity, axis=0) if len(ids) else np.empty(0)
    island, on_island = _islands(np.hstack(joined), np.hstack(run_joined), run, known)
    return pd.DataFrame(
        {
            "id": ids,
            "similarity_known": mean,
            "similarity_log_ratio": _as_the_run(
                mean,
                run["similarity_known"].to_numpy(dtype=float),
                run["similarity_log_ratio"].to_numpy(dtype=float),
                ~known,
            ),
            "island": island,
            "island_log_ratio": on_island,
        }
    )


def _units(
    rows: NDArray[np.float32], run_rows: NDArray[np.float32], *, centre: bool
) -> tuple[Floats, Floats]:
    """Return both as unit vectors, the run's mean taken off; NaN without content."""
    run = run_rows.astype(float)
    content = np.isfinite(run).all(axis=1) & (run != 0).any(axis=1)
    middle = run[content].mean(axis=0) if centre and content.any() else np.zeros(run.shape[1])
    out = []
    for values in (rows.astype(float), run):
        good = np.isfinite(values).all(axis=1) & (values != 0).any(axis=1)
        moved = np.where(good[:, None], values - middle, np.nan)
        norm = np.linalg.norm(moved, axis=1, keepdims=True)
        out.append(np.divide(moved, norm, out=np.full_like(moved, np.nan), where=norm > 1e-9))
    return out[0], out[1]


def _nearest_mean(units: Floats, known: Floats, k: int) -> Floats:
    """Return the mean cosine to the k nearest known quasars, (n,); NaN without any."""
    known = known[np.isfinite(known).all(axis=1)]
    if not len(known):
        return np.full(len(units), np.nan)
    cosines = units @ known.T
    k = min(k, len(known))
    return np.asarray(-np.partition(-cosines, k - 1, axis=1)[:, :k].mean(axis=1))


def _as_the_run(values: Floats, run: Floats, log_ratio: Floats, counted: NDArray[Any]) -> Floats:
    """Return the log ratio that the run's counted objects of such values have, (n,)."""
    good = counted & np.isfinite(run) & np.isfinite(log_ratio)
    if not good.any():
        return np.where(np.isfinite(values), 0.0, np.nan)
    order = np.argsort(run[good], kind="stable")
    result = np.interp(values, run[good][order], log_ratio[good][order])
    return np.where(np.isfinite(values), result, np.nan)


def _islands(
    joined: Floats, run_joined: Floats, run: pd.DataFrame, known: NDArray[np.bool_]
) -> tuple[Ints, Floats]:
    """Return the island of most nearest objects, and the median log ratio there, (n,) each."""
    n = len(joined)
    island, ratio = np.full(n, -1, dtype=np.int64), np.full(n, np.nan)
    usable = np.isfinite(run_joined).all(axis=1) & ~known
    content = np.flatnonzero(np.isfinite(joined).all(axis=1))
    if not usable.any() or not len(content):
        return island, ratio
    labels = np.nan_to_num(run["island"].to_numpy(dtype=float), nan=-1.0).astype(np.int64)[usable]
    terms = np.nan_to_num(run["island_log_ratio"].to_numpy(dtype=float))[usable]
    points = run_joined[usable]
    k = min(_NEIGHBOURS, len(points))
    for start in range(0, len(content), _CHUNK):
        rows = content[start : start + _CHUNK]
        near = np.argpartition(-(joined[rows] @ points.T), k - 1, axis=1)[:, :k]
        for row, others in zip(rows, near, strict=True):
            names, count = np.unique(labels[others], return_counts=True)
            island[row] = names[count.argmax()]
            ratio[row] = np.median(terms[others][labels[others] == island[row]])
    return island, ratio


def likeness(
    injected: ImageSet,
    images: ImageSet,
    simulated: ImageSet,
    about: pd.DataFrame,
    features: Sequence[Features],
    run_features: Sequence[Features],
    simulated_features: Sequence[Features],
    known: Ints,
    n_components: int,
    *,
    seeds: Sequence[int],
) -> pd.DataFrame:
    """Return how much more like quasars than like the sample injected objects look.

    As `archipelago.recognise.evidence.image_evidence` does for the run's objects, by judges that
    are taught with all unknown objects of the run and all simulated ones; none saw an injected
    one.

    Parameters
    ----------
    injected, images, simulated : n injected objects, the run's and the simulated ones.
    about : table of the simulated ones: id, kind.
    features, run_features, simulated_features : per seed, of the three sets.
    known : ids of the known quasars.
    n_components : section ``recognise``.
    seeds : of the features.

    Returns
    -------
    (n) rows: id and the likeness of `ABOUT_EVIDENCE`.
    """
    table = pd.DataFrame({"id": injected.ids})
    total = {kind: np.zeros(len(injected)) for kind in KINDS}
    if len(injected):
        noise = np.median(measure_conditions(images.images, 1.0).noise, axis=0)
        scale = images.pixel_scale_arcsec
        numbers, of_run, of_simulated = (
            measured_in(one.images, np.arange(len(one)), noise, scale)
            for one in (injected, images, simulated)
        )
        unknown = ~np.isin(images.ids, known)
        kind_of = about.set_index("id")["kind"].reindex(simulated.ids).to_numpy(dtype=str)
        for number, seed in enumerate(seeds):
            rows = by_id(features[number], injected.ids)
            run_rows = by_id(run_features[number], images.ids)
            other = by_id(simulated_features[number], simulated.ids)
            content, there = (run_rows != 0).any(axis=1), (rows != 0).any(axis=1)
            sample = content & unknown
            if sample.sum() < 2 * N_FOLDS or not len(other):
                total = {kind: np.full(len(injected), np.nan) for kind in KINDS}
                break
            middle, axes = components(run_rows[content], other, n_components)
            judged, others, like = (
                np.column_stack([(values - middle) @ axes, measured])
                for values, measured in (
                    (rows, numbers),
                    (run_rows[sample], of_run[sample]),
                    (other, of_simulated),
                )
            )
            for kind in KINDS:
                mine = like[kind_of == kind]
                if len(mine) < N_FOLDS:
                    total[kind][:] = np.nan
                    continue
                share = NETWORK_SHARE[kind]
                log_odds = taught(others, mine, judged, int(seed), network_share=share)
                total[kind] += np.where(there, log_odds, np.nan) / len(seeds)
    for kind in KINDS:
        table[f"image_log_odds_{kind}"] = total[kind]
    return table


def lens_odds(injected: ImageSet, judge: Judge, *, threads: int = 1) -> pd.DataFrame:
    """Return id and lens_log_odds of injected objects, (n) rows, by the run's own lens evidence."""
    if not len(injected):
        return pd.DataFrame({"id": injected.ids, "lens_log_odds": np.empty(0)})
    found = judge.table(injected.images, threads=threads)
    log_odds = found["lens_log_odds"].to_numpy(dtype=float)
    return pd.DataFrame({"id": injected.ids, "lens_log_odds": log_odds})
