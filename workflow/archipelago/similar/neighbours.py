"""The objects nearest to one, in order, with how alike they are."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from archipelago.similar.directions import chunks
from archipelago.similar.index import Index

_LOG = logging.getLogger(__name__)

#: Objects that the index proposes for each one wanted, and at least.
_PROPOSED, _PROPOSED_AT_LEAST = 10, 200
#: Digits of a similarity that count for the order: the last ones are rounding.
_DIGITS = 9


@dataclass(frozen=True)
class Neighbours:
    """Objects like one, the most similar first.

    Attributes
    ----------
    places : (n,) places in the index.
    similarity : (n,) mean cosine over seeds.
    spread : (n,) its population standard deviation over seeds.
    """

    places: NDArray[np.int64]
    similarity: NDArray[np.float64]
    spread: NDArray[np.float64]


def nearest_objects(index: Index, place: int, number: int) -> Neighbours:
    """Return the objects most similar to one, itself left out; at most ``number``.

    The index proposes ten times as many as are wanted; the features of those, to all digits,
    decide. Equal similarities go by identifier.

    Parameters
    ----------
    index : of the search.
    place : of the object in the index; it has content.
    number : of objects wanted.
    """
    others = len(index.places) - 1
    wanted = min(number, others)
    if wanted < 1:
        return ranked(index, place, np.empty(0, dtype=np.int64), 0)
    # One more: the object itself is among them.
    proposed = index.propose(place, min(max(_PROPOSED * wanted, _PROPOSED_AT_LEAST), others) + 1)
    proposed = proposed[proposed != place]
    if len(proposed) < wanted:
        _LOG.warning("the index reaches %d of %d objects: all are compared", len(proposed), wanted)
        proposed = index.places[index.places != place]
    return ranked(index, place, proposed, wanted)


def ranked(index: Index, place: int, others: NDArray[np.int64], number: int) -> Neighbours:
    """Return the ``number`` most similar of some objects, compared one by one."""
    best = Neighbours(
        np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float64), np.empty(0, dtype=np.float64)
    )
    for some in chunks(others):
        cosines = index.directions.cosines(int(index.rows[place]), index.rows[some])
        places = np.concatenate([best.places, some])
        similarity = np.concatenate([best.similarity, cosines.mean(axis=0)])
        spread = np.concatenate([best.spread, cosines.std(axis=0)])
        order = np.lexsort((places, -np.round(similarity, _DIGITS)))[:number]
        best = Neighbours(places[order], similarity[order], spread[order])
    return best
