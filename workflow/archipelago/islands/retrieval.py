"""How well known quasars are found again, each left out in turn: by images and by photometry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from archipelago.base.tables import require_columns
from archipelago.islands.similarity import KnownSimilarity

#: Columns of the table of retrieval, with what they are.
ABOUT = {
    "known_name": "name of the known quasar",
    "id": "identifier of the object at its position",
    "known_redshift": "redshift of the quasar",
    "rank_images": "place by similarity of images, mean over seeds, as if it were not known; "
    "known quasars do not compete",
    "rank_images_std": "standard deviation of the places of the single seeds",
    "rank_images_lo": "16th percentile of the places of the single seeds",
    "rank_images_hi": "84th percentile of the places of the single seeds",
    "rank_photometry": "place by flux ratios alone, among the same objects and in the same way",
    "n_objects": "objects that compete for a place: not known, with images",
    "island": "island that the seeds agree on, -1 none",
    "island_stability": "mean part of the seeds that put it with the others of its island",
    "n_seeds": "seeds",
}
#: Rows handled at once, which bounds the memory of the places of the nearest.
_CHUNK = 4096


def leave_one_out_ranks(
    seeds: Sequence[KnownSimilarity], n_objects: int, k: int
) -> NDArray[np.float64]:
    """Return each object's place, (n,), in a search that starts from the known quasars.

    Objects are ordered by their mean similarity over seeds, 1 the most similar. For a known
    quasar it is the place it would have had if it were not known: all others are compared with the
    known ones but it. Known quasars do not compete. Equal similarities share the better place. NaN
    without similarity. The time grows with n rather than with n times the square of the number of
    known quasars: to leave one out changes only those objects that have it among their nearest.

    Parameters
    ----------
    seeds : of each seed, on the same objects.
    n_objects : n.
    k : nearest known quasars that count.
    """
    ranks = np.full(n_objects, np.nan)
    known = seeds[0].known
    is_unknown = np.ones(n_objects, dtype=bool)
    is_unknown[known] = False
    nearest = [_Nearest.of(seed.cosines, k) for seed in seeds]
    similarity = np.mean([one.similarity(slice(None)) for one in nearest], axis=0)
    rising = np.sort(similarity[is_unknown & np.isfinite(similarity)])
    found = np.isfinite(similarity)
    ranks[found] = 1 + len(rising) - np.searchsorted(rising, similarity[found], side="right")
    touched = [one.objects_near(len(known)) for one in nearest]
    for place, row in enumerate(known):
        own = similarity[row]
        if not np.isfinite(own):
            continue
        # Without it only those change that have it among their k nearest.
        rows = np.unique(np.concatenate([of_seed[place] for of_seed in touched]))
        rows = rows[is_unknown[rows]]
        without = np.mean([one.similarity(rows, place) for one in nearest], axis=0)
        ranks[row] += int((without > own).sum()) - int((similarity[rows] > own).sum())
    return ranks


@dataclass(frozen=True)
class _Nearest:
    """The k + 1 nearest known quasars of each object, the nearest first.

    Attributes
    ----------
    places : (n, k + 1) their places among the known quasars.
    values : (n, k + 1) similarity to them, -inf where there are no more.
    """

    places: NDArray[np.int64]
    values: NDArray[np.float64]

    @classmethod
    def of(cls, cosines: NDArray[np.float64], k: int) -> _Nearest:
        """Return the nearest by similarities (n, n_known), NaN where there is none."""
        n, n_known = cosines.shape
        places = np.full((n, k + 1), -1, dtype=np.int64)
        values = np.full((n, k + 1), -np.inf)
        kept = min(k + 1, n_known)
        if not kept:
            return cls(places, values)
        for start in range(0, n, _CHUNK):
            part = slice(start, start + _CHUNK)
            filled = np.where(np.isfinite(cosines[part]), cosines[part], -np.inf)
            best = np.argpartition(-filled, kept - 1, axis=1)[:, :kept]
            order = np.argsort(-np.take_along_axis(filled, best, axis=1), axis=1, kind="stable")
            places[part, :kept] = np.take_along_axis(best, order, axis=1)
            values[part, :kept] = np.take_along_axis(filled, places[part, :kept], axis=1)
        return cls(places, values)

    def similarity(
        self, rows: slice | NDArray[np.int64], without: int | None = None
    ) -> NDArray[np.float64]:
        """Return the mean similarity of rows to their nearest, NaN without any.

        ``without`` is the place of one known quasar to do without.
        """
        values = self.values[rows]
        if without is not None:
            values = np.where(self.places[rows] == without, -np.inf, values)
            values = -np.sort(-values, axis=1)
        values = values[:, :-1]
        finite = np.isfinite(values)
        number = finite.sum(axis=1)
        total = np.where(finite, values, 0.0).sum(axis=1)
        return np.divide(total, number, out=np.full(len(values), np.nan), where=number > 0)

    def objects_near(self, n_known: int) -> list[NDArray[np.int64]]:
        """Return, per known quasar, the rows that have it among their k nearest."""
        places = self.places[:, :-1]
        rows = np.repeat(np.arange(len(places)), places.shape[1])
        flat = places.ravel()
        order = np.argsort(flat, kind="stable")
        edges = np.searchsorted(flat[order], np.arange(n_known + 1))
        return [rows[order[a:b]] for a, b in zip(edges[:-1], edges[1:], strict=True)]


def rank_spread(
    seeds: Sequence[KnownSimilarity], n_objects: int, k: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return how far an object's place depends on the seed, (n,) each.

    Returns
    -------
    std : population standard deviation of the places that single seeds give, 0 for one seed.
    lo, hi : their 16th and 84th percentile.
    """
    per_seed = np.array([leave_one_out_ranks([seed], n_objects, k) for seed in seeds])
    lo, hi = np.percentile(per_seed, [16.0, 84.0], axis=0)
    return per_seed.std(axis=0), lo, hi


def retrieval_table(
    islands: pd.DataFrame, photometry: pd.Series | NDArray[np.float64]
) -> pd.DataFrame:
    """Return one row per known quasar with an image: how well it is found again.

    Parameters
    ----------
    islands : the table of islands.
    photometry : (n) place of each object of ``islands`` by photometry alone, in its order.

    Returns
    -------
    DataFrame
        Columns of `ABOUT`, by rank_images, then id; quasars without a rank last.

    Raises
    ------
    InputError
        If a column is absent.
    """
    columns = {
        "known_name": "known_name",
        "id": "id",
        "known_redshift": "known_redshift",
        "rank_images": "similarity_rank",
        "rank_images_std": "similarity_rank_std",
        "rank_images_lo": "similarity_rank_lo",
        "rank_images_hi": "similarity_rank_hi",
        "island": "island",
        "island_stability": "island_stability",
    }
    require_columns(islands, [*columns.values(), "outlier_score"], "the table of islands")
    known = islands["known_name"].fillna("") != ""
    table = islands.loc[known, list(columns.values())].set_axis(list(columns), axis=1)
    table["rank_photometry"] = np.asarray(photometry, dtype=float)[known.to_numpy()]
    table["n_objects"] = int((has_images(islands) & ~known).sum())
    table["n_seeds"] = sum(str(name).startswith("island_seed_") for name in islands.columns)
    ordered = table.sort_values(["rank_images", "id"], ignore_index=True)
    for name in ("rank_images", "rank_photometry"):
        ordered[name] = ordered[name].astype("Int64")
    return ordered[list(ABOUT)]


def has_images(islands: pd.DataFrame) -> pd.Series:
    """Tell which objects of the table of islands have an image with content in every seed."""
    return islands["outlier_score"].notna()
