"""The table of what images alone say of each object."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from archipelago.base.errors import DataError, InputError
from archipelago.base.images import ImageSet
from archipelago.recognise.judges import NETWORK_SHARE, log_ratios
from archipelago.recognise.measured import measure
from archipelago.simulate.conditions import measure_conditions

_LOG = logging.getLogger(__name__)

#: Images measured at once: a multiple of what `measure` takes, which bounds the memory.
_CHUNK = 4096

Floats = NDArray[np.float64]
#: Numbers per object: ids (n,) and features (n, d).
Features = tuple[NDArray[np.int64], NDArray[np.float32]]

#: Kinds of simulated objects, in the order of the columns.
KINDS = ("quasar", "lensed")

#: What each column is, for the table's metadata.
ABOUT = {
    "id": "identifier of the object",
    "image_log_odds_quasar": "ln of how much more often a quasar's images look so than an object's "
    "of the sample [nats]; mean over seeds",
    "image_log_odds_quasar_std": "standard deviation of that over seeds",
    "image_rank_quasar": "place by it among the objects not known; of a known quasar: as if it "
    "were not known",
    "image_log_odds_lensed": "the same for lensed quasars",
    "image_log_odds_lensed_std": "standard deviation of that over seeds",
    "image_rank_lensed": "place by it, as for quasars",
}


def image_evidence(
    images: ImageSet,
    simulated: ImageSet,
    about: pd.DataFrame,
    features: Sequence[Features],
    simulated_features: Sequence[Features],
    known: NDArray[np.int64],
    settings: Mapping[str, Any],
    *,
    seeds: Sequence[int],
    threads: int = 1,
) -> pd.DataFrame:
    """Return how much more like quasars, and like lensed ones, than like the sample objects look.

    Per seed of the networks: a few principal components of the features, and the numbers
    measured in the images (`archipelago.recognise.measured`), are judged by
    `archipelago.recognise.judges`. Objects without content get NaN.

    Parameters
    ----------
    images : of the search, n objects.
    simulated : of `archipelago.simulate.objects`; ids are rows of ``about``.
    about : columns id, kind (of `KINDS`), from_known and source_id (whether a known quasar gave the
        colours, and which).
    features, simulated_features : per seed, of the same objects.
    known : ids of the known quasars.
    settings : n_components.
    seeds : of the features, in their order.
    threads : changes no result.

    Returns
    -------
    (n) rows by id, columns of `ABOUT`.

    Raises
    ------
    InputError
        If features and images are of different objects.
    DataError
        If the simulated objects do not fit their table.
    """
    if not np.array_equal(about["id"].to_numpy(), simulated.ids):
        raise DataError(
            "the simulated images are not those of their table",
            where="recognise",
            next_step="remove them and run the rule simulate",
        )
    order = np.argsort(images.ids, kind="stable")
    ids = images.ids[order]
    noise = np.median(measure_conditions(images.images, 1.0).noise, axis=0)
    scale = images.pixel_scale_arcsec
    numbers = measured_in(images.images, order, noise, scale)
    everyone = np.arange(len(simulated))
    simulated_numbers = measured_in(simulated.images, everyone, noise, scale)
    is_known = np.isin(ids, known)
    row_of = pd.Series(np.arange(len(ids)), index=ids)
    source = row_of.reindex(about["source_id"]).fillna(-1).to_numpy(dtype=np.int64)
    source = np.where(about["from_known"].to_numpy(dtype=bool), source, -1)
    per_kind: dict[str, list[Floats]] = {kind: [] for kind in KINDS}
    for seed, of_seed, of_simulated in zip(seeds, features, simulated_features, strict=True):
        rows = _in_order(of_seed, ids, seed)
        others = _in_order(of_simulated, simulated.ids, seed)
        content = (rows != 0).any(axis=1)
        if not content.any() or not len(others):
            for kind in KINDS:
                per_kind[kind].append(np.full(len(ids), np.nan))
            continue
        sample, like = _joined(
            rows[content], numbers[content], others, simulated_numbers, settings["n_components"]
        )
        place = np.full(len(ids) + 1, -1)
        place[np.flatnonzero(content)] = np.arange(content.sum())
        for kind in KINDS:
            chosen = (about["kind"] == kind).to_numpy()
            values = np.full(len(ids), np.nan)
            values[content] = log_ratios(
                sample,
                like[chosen],
                known=is_known[content],
                source=place[source[chosen]],
                seed=int(seed),
                network_share=NETWORK_SHARE[kind],
                threads=threads,
            )
            per_kind[kind].append(values)
    table = pd.DataFrame({"id": ids})
    for kind in KINDS:
        each = np.array(per_kind[kind])
        mean = each.mean(axis=0)
        table[f"image_log_odds_{kind}"] = mean
        table[f"image_log_odds_{kind}_std"] = each.std(axis=0)
        table[f"image_rank_{kind}"] = ranks(mean, is_known)
        found = np.sort(table.loc[is_known, f"image_rank_{kind}"].dropna().to_numpy(dtype=int))
        _LOG.info("known quasars, each left out in turn, as %s: places %s", kind, found.tolist())
    return table[list(ABOUT)]


def ranks(score: Floats, known: NDArray[np.bool_]) -> Floats:
    """Return each object's place (n,) among the unknown ones, 1 the highest score; NaN for NaN.

    A known quasar gets the place that it would have were it not known. Equal scores share the
    better place.
    """
    places = np.full(len(score), np.nan)
    finite = np.isfinite(score)
    rising = np.sort(score[finite & ~known])
    places[finite] = 1 + len(rising) - np.searchsorted(rising, score[finite], side="right")
    return places


def measured_in(
    images: NDArray[np.float32], rows: NDArray[np.int64], noise: Floats, scale: float
) -> NDArray[np.float32]:
    """Return what `archipelago.recognise.measured.measure` finds in the images of some rows.

    Parameters
    ----------
    images : (n, band, y, x) counts; pixels that are no numbers count as sky.
    rows : (m,) in the order wanted.
    noise, scale : typical noise per band and side of a pixel, as there.
    """
    starts = range(0, max(len(rows), 1), _CHUNK)
    chunks = (_finite(images[rows[start : start + _CHUNK]]) for start in starts)
    return np.concatenate([measure(chunk, noise, scale) for chunk in chunks])


def _finite(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return images with 0, the sky, where pixels are no numbers."""
    return np.nan_to_num(images, nan=0.0, posinf=0.0, neginf=0.0)


def _joined(
    rows: NDArray[np.float32],
    numbers: NDArray[np.float32],
    others: NDArray[np.float32],
    other_numbers: NDArray[np.float32],
    n_components: int,
) -> tuple[Floats, Floats]:
    """Return principal components of the features beside the measured numbers, of both sets."""
    middle, axes = components(rows, others, n_components)
    return (
        np.column_stack([(rows - middle) @ axes, numbers]),
        np.column_stack([(others - middle) @ axes, other_numbers]),
    )


def components(
    rows: NDArray[np.float32], others: NDArray[np.float32], n_components: int
) -> tuple[Floats, Floats]:
    """Return the middle (d,) and the first principal axes (d, m) of two sets of features (n, d)."""
    together = np.concatenate([rows, others]).astype(float)
    middle = together.mean(axis=0)
    _, vectors = np.linalg.eigh((together - middle).T @ (together - middle))
    axes = vectors[:, ::-1][:, :n_components]
    # Eigenvectors have no sign; trees do not mind, results must not depend on it.
    signs = np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    return middle, np.asarray(axes * signs)


def _in_order(features: Features, ids: NDArray[np.int64], seed: int) -> NDArray[np.float32]:
    of_ids, values = features
    order = np.argsort(of_ids, kind="stable")
    wanted = np.argsort(ids, kind="stable")
    if not np.array_equal(of_ids[order], ids[wanted]):
        raise InputError(
            f"the features of seed {seed} are of other objects than the images",
            where="recognise",
            next_step="make the features of all seeds again from the same images",
        )
    result = np.empty_like(values)
    result[wanted] = values[order]
    return result
