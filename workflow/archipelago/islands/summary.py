"""The table of islands: clusters, stability and similarity of every object with an image."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from archipelago.base.errors import ConfigError, DataError, InputError
from archipelago.base.tables import require_columns
from archipelago.islands.clusters import (
    agreement_of_seeds,
    consensus_islands,
    joined_islands,
    sed_coordinates,
    seed_islands,
)
from archipelago.islands.enrichment import enrichment
from archipelago.islands.maps import has_content
from archipelago.islands.retrieval import leave_one_out_ranks, rank_spread
from archipelago.islands.similarity import (
    average_over_seeds,
    known_similarity,
    outlier_scores,
    unit_rows,
)
from archipelago.known import match_known

_LOG = logging.getLogger(__name__)

#: What each column is, for the table's metadata; the seeds' own columns beside them.
ABOUT = {
    "id": "identifier of the object",
    "island": "island that the seeds agree on, 0 the largest, -1 none",
    "island_stability": "mean part of the seeds that put it with the others of its island",
    "similarity_known": "mean cosine to the nearest known quasars but itself, mean over seeds",
    "similarity_known_std": "standard deviation of that over seeds",
    "similarity_rank": "place by similarity among the objects not known; of a known quasar: "
    "as if it were not known",
    "similarity_rank_std": "standard deviation of the places that single seeds give",
    "similarity_rank_lo": "16th percentile of the places that single seeds give",
    "similarity_rank_hi": "84th percentile of the places that single seeds give",
    "outlier_score": "place of its distance to its neighbours, 1 the loneliest, mean over seeds",
    "known_name": "name of the known quasar at its position, or empty",
    "known_redshift": "redshift of that quasar",
    "map_x": "map of the first seed",
    "map_y": "map of the first seed",
}


def find_islands(
    features: Sequence[tuple[NDArray[np.int64], NDArray[np.float32]]],
    maps: Sequence[pd.DataFrame],
    catalogue: pd.DataFrame,
    known: pd.DataFrame,
    settings: Mapping[str, Any],
    *,
    seeds: Sequence[int],
    match_radius_arcsec: float,
    verdicts: pd.DataFrame | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Find islands, their enrichment, and each object's similarity to the known quasars.

    Objects without content (features all zero) are on no island and have no similarity.
    Known quasars steer nothing but the similarity and the enrichment: the islands are
    found without them.

    Parameters
    ----------
    features : per seed ids (n,) and features (n, d); the same ids in each.
    maps : per seed columns id, x, y.
    catalogue : columns id, ra_deg, dec_deg; every id of the features once.
    known : columns name, ra_deg, dec_deg, redshift.
    settings : hdbscan (see `seed_islands`), consensus, consensus_threshold, k_neighbours,
        centre, weight_sed (see `sed_coordinates`; counts where there are verdicts).
    seeds : of the features and maps, in their order.
    match_radius_arcsec : largest distance of an object from a known quasar that it is.
    verdicts : of the SED stage, see `sed_coordinates`; None: islands of the features alone.

    Returns
    -------
    islands : columns of `ABOUT` and island_seed_<seed>, sorted by id.
    enrichment : see `archipelago.islands.enrichment`.

    Raises
    ------
    InputError
        If the seeds do not match in number or objects.
    DataError
        If the catalogue lacks an object or has one twice.
    """
    if not seeds or not len(seeds) == len(features) == len(maps):
        raise InputError(
            f"{len(features)} sets of features and {len(maps)} maps for {len(seeds)} seeds",
            where="islands",
            next_step="give one of each per seed, and at least one seed",
        )
    ids = np.sort(features[0][0])
    vectors = [
        _in_order(of_ids, values, ids, seed)
        for (of_ids, values), seed in zip(features, seeds, strict=True)
    ]
    places = [_map_in_order(table, ids, seed) for table, seed in zip(maps, seeds, strict=True)]
    objects = _objects(catalogue, ids)

    matched = match_known(objects, known, match_radius_arcsec)
    table = pd.DataFrame({"id": ids}).merge(matched, on="id", how="left", validate="1:1")
    content = np.all([has_content(values) for values in vectors], axis=0)
    rows_known = np.flatnonzero(table["known_name"].notna().to_numpy() & content)
    if not len(rows_known):
        _LOG.warning("no known quasar is among the objects: no similarity, and enrichments are 1")

    weight = float(settings["weight_sed"])
    beside = None if verdicts is None else sed_coordinates(verdicts, ids, weight)
    per_seed = np.array(
        [
            seed_islands(values, place, settings["hdbscan"], has_content(values), beside)
            for values, place in zip(vectors, places, strict=True)
        ]
    ).reshape(len(seeds), len(ids))
    k = int(settings["k_neighbours"])
    units = [unit_rows(values, centre=bool(settings["centre"])) for values in vectors]
    table["island"], table["island_stability"] = one_answer(
        units, per_seed, places[0], settings, beside
    )
    similarities = [known_similarity(unit, rows_known) for unit in units]
    table["similarity_known"], table["similarity_known_std"] = average_over_seeds(
        np.array([one.of_objects(k) for one in similarities])
    )
    table["similarity_rank"] = leave_one_out_ranks(similarities, len(ids), k)
    std, lo, hi = rank_spread(similarities, len(ids), k)
    table["similarity_rank_std"] = std
    table["similarity_rank_lo"], table["similarity_rank_hi"] = lo, hi
    table["outlier_score"] = np.mean([outlier_scores(unit, k) for unit in units], axis=0)
    table["map_x"], table["map_y"] = places[0][:, 0], places[0][:, 1]
    table["known_name"] = table["known_name"].fillna("").astype("str")
    table["known_redshift"] = table["known_redshift"].astype("float64")
    table = table[list(ABOUT)]
    for seed, labels in zip(seeds, per_seed, strict=True):
        table[f"island_seed_{seed}"] = labels
    tested = enrichment(table)
    _say(table, tested, per_seed, rows_known)
    return table, tested


def one_answer(
    units: Sequence[NDArray[np.float64]],
    per_seed: NDArray[np.int64],
    map_xy: NDArray[np.float64],
    settings: Mapping[str, Any],
    beside: NDArray[np.float64] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the islands of all seeds together, and their stability, (n,) each.

    Parameters
    ----------
    units : per seed unit rows (n, d), NaN without content.
    per_seed : (n_seed, n) island of each seed alone, -1 for none.
    map_xy : (n, 2) map of the first seed.
    settings : consensus (``joined``: `joined_islands`, ``co_association``:
        `consensus_islands`), consensus_threshold, hdbscan.
    beside : (n, k) coordinates that stand beside the features of all seeds, or None.

    Raises
    ------
    ConfigError
        If the consensus is unknown.
    """
    if settings["consensus"] == "joined":
        return joined_islands(units, per_seed, map_xy, settings["hdbscan"], beside)
    if settings["consensus"] == "co_association":
        return consensus_islands(
            per_seed,
            threshold=float(settings["consensus_threshold"]),
            smallest=int(settings["hdbscan"]["min_cluster_size"]),
        )
    raise ConfigError(
        f"unknown consensus {settings['consensus']!r}",
        where="islands.consensus",
        next_step="use joined or co_association",
    )


def describe_columns(table: pd.DataFrame) -> dict[str, str]:
    """Return what each column of the table of islands is."""
    own = {
        name: f"island of seed {name.removeprefix('island_seed_')}, -1 none"
        for name in table.columns
        if name.startswith("island_seed_")
    }
    return {**ABOUT, **own}


def _in_order(
    of_ids: NDArray[np.int64], values: NDArray[np.float32], ids: NDArray[np.int64], seed: int
) -> NDArray[np.float32]:
    order = np.argsort(of_ids, kind="stable")
    if not np.array_equal(of_ids[order], ids):
        raise InputError(
            f"the features of seed {seed} are of other objects than the first seed's",
            where="islands",
            next_step="make the features of all seeds again from the same images",
        )
    return values[order]


def _map_in_order(table: pd.DataFrame, ids: NDArray[np.int64], seed: int) -> NDArray[np.float64]:
    require_columns(table, ("id", "x", "y"), f"map of seed {seed}")
    table = table.sort_values("id")
    if not np.array_equal(table["id"].to_numpy(), ids):
        raise InputError(
            f"the map of seed {seed} is of other objects than its features",
            where="islands",
            next_step="make the maps again",
        )
    return table[["x", "y"]].to_numpy(dtype=float)


def _objects(catalogue: pd.DataFrame, ids: NDArray[np.int64]) -> pd.DataFrame:
    require_columns(catalogue, ("id", "ra_deg", "dec_deg"), "the catalogue")
    chosen = catalogue[catalogue["id"].isin(ids)]
    if len(chosen) != len(ids) or chosen["id"].nunique() != len(ids):
        raise DataError(
            f"the catalogue has {chosen['id'].nunique()} of the {len(ids)} objects with images, "
            f"in {len(chosen)} rows",
            where="the catalogue",
            next_step="make catalogue and images again from the same tiles",
        )
    return chosen


def _say(
    table: pd.DataFrame,
    tested: pd.DataFrame,
    per_seed: NDArray[np.int64],
    rows_known: NDArray[np.int64],
) -> None:
    _LOG.info(
        "%d objects, %d known quasars: %d islands with %d objects; islands per seed %s; "
        "adjusted Rand index between seeds %.2f",
        len(table),
        len(rows_known),
        len(tested),
        int((table["island"] >= 0).sum()),
        [int(labels.max(initial=-1)) + 1 for labels in per_seed],
        agreement_of_seeds(list(per_seed)),
    )
    for row in tested[tested["p_value_corrected"] < 0.01].itertuples():
        _LOG.info(
            "island %d: %d of its %d objects are known quasars, %.2f expected, corrected p %.2g",
            row.island,
            row.n_known,
            row.n,
            row.expected,
            row.p_value_corrected,
        )
    ranks = table.loc[rows_known, "similarity_rank"].dropna().sort_values()
    _LOG.info("known quasars, each left out in turn, are found at %s", ranks.astype(int).tolist())
