"""The index of nearest neighbours of a search: built once, read from disk where it is asked.

It is a graph of small worlds (HNSW; Malkov & Yashunin 2020, IEEE TPAMI 42, 824), as faiss
builds it: a search visits a number of objects that grows with the logarithm of all. It holds
the directions' first principal components and proposes neighbours; which they are, and how
alike, is then told by the features themselves.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archipelago.base.arrays import map_array, open_arrays, save_arrays
from archipelago.base.columns import read_columns
from archipelago.base.errors import DataError, InputError
from archipelago.base.files import atomic_path, reading
from archipelago.similar.directions import (
    Directions,
    Features,
    chunks,
    measure_directions,
    open_features,
)

_LOG = logging.getLogger(__name__)

#: Goes up when indices of an earlier version can no longer be read.
FORMAT = 1
#: Principal components that the graph holds: enough that the true neighbours are among those
#: proposed (`make bench-similar`), a tenth of the room that all features would take.
_COMPONENTS = 128
#: Links of an object in the graph, and objects looked at to find them: faiss's own choice of
#: links, and twice its 40, which was measured to cost little.
_LINKS, _LOOKED_AT = 32, 100
#: Objects that the components are found from, at most.
_SAMPLE = 20_000


@dataclass(frozen=True)
class Index:
    """An index, with the objects that it is of.

    Attributes
    ----------
    graph : faiss's index of the objects with content.
    record : plain values: format, library, seeds, centre, features (a mark), n_objects,
        n_content.
    directions : of the objects, in the order of the files of features.
    ids : (n,) identifiers of all objects with an image, ascending.
    ra_deg, dec_deg : (n,) their positions, ICRS [deg].
    rows : (n,) their rows in the files of features.
    content : (n,) whether their images have content.
    places : (m,) place in `ids` of each object of the graph.
    """

    graph: Any
    record: dict[str, Any]
    directions: Directions
    ids: NDArray[np.int64]
    ra_deg: NDArray[np.float64]
    dec_deg: NDArray[np.float64]
    rows: NDArray[np.int64]
    content: NDArray[np.bool_]
    places: NDArray[np.int64]

    def propose(self, place: int, number: int) -> NDArray[np.int64]:
        """Return places, at most ``number``, that are probably nearest to one with content."""
        import faiss

        # faiss adds the classes of parameters to its module when it is loaded.
        kinds: Any = faiss
        looked_at = kinds.SearchParametersHNSW(efSearch=2 * number)
        if isinstance(self.graph, faiss.IndexPreTransform):
            looked_at = kinds.SearchParametersPreTransform(index_params=looked_at)
        faiss.omp_set_num_threads(1)
        query = self.directions.combined(self.rows[place : place + 1])
        _, found = self.graph.search(query, number, params=looked_at)
        # -1 stands for none: not all of the graph can be reached from everywhere.
        return self.places[found[0][found[0] >= 0]]


def build_index(
    features: Features,
    positions: tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]],
    *,
    seeds: Sequence[int],
    centre: bool,
) -> Index:
    """Build the index, in one thread: equal features give equal bytes on one kind of machine.

    Parameters
    ----------
    features : of all seeds.
    positions : ids, ra_deg, dec_deg [deg] of the catalogue; more objects than features are fine.
    seeds : numbers of the seeds, for the record.
    centre : whether each seed's mean feature is subtracted.

    Raises
    ------
    InputError
        If the seeds have other objects than each other.
    DataError
        If an identifier occurs twice, or the catalogue lacks one.
    """
    features.check_same_objects()
    order = np.argsort(features.ids, kind="stable")
    ids = np.asarray(features.ids[order], dtype=np.int64)
    if (ids[1:] == ids[:-1]).any():
        raise DataError("an object occurs twice", where="features", next_step="make them again")
    ra_deg, dec_deg = _positions_of(ids, *positions)
    directions, content_of_rows = measure_directions(features, centre=centre)
    content = content_of_rows[order]
    places = np.flatnonzero(content)
    graph = _build_graph(directions, order[places])
    _LOG.info("%d objects, %d with content, are in the index", len(ids), len(places))
    record = {
        "format": FORMAT,
        "library": _library(),
        "seeds": [int(seed) for seed in seeds],
        "centre": bool(centre),
        "features": features.mark(),
        "n_objects": len(ids),
        "n_content": len(places),
    }
    return Index(graph, record, directions, ids, ra_deg, dec_deg, order, content, places)


def _positions_of(
    ids: NDArray[np.int64],
    known: NDArray[np.int64],
    ra_deg: NDArray[np.float64],
    dec_deg: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    order = np.argsort(known, kind="stable")
    found = np.searchsorted(known[order], ids)
    found[found == len(known)] = 0
    absent = ids[known[order][found] != ids] if len(known) else ids
    if len(absent):
        raise DataError(
            f"the catalogue lacks {len(absent)} of the {len(ids)} objects with features, such as "
            f"{absent[0]}",
            where="the catalogue",
            next_step="make catalogue and images again from the same tiles",
        )
    rows = order[found]
    return np.asarray(ra_deg[rows], np.float64), np.asarray(dec_deg[rows], np.float64)


def _build_graph(directions: Directions, rows: NDArray[np.int64]) -> Any:
    """Return faiss's graph of rows of the directions, in this order."""
    import faiss

    width = directions.means.size
    # With fewer objects than numbers there is nothing to find components from.
    reduced = width > _COMPONENTS and len(rows) > width
    graph: Any = faiss.IndexHNSWFlat(_COMPONENTS if reduced else width, _LINKS, faiss.METRIC_L2)
    graph.hnsw.efConstruction = _LOOKED_AT
    threads = faiss.omp_get_max_threads()
    # Several would link objects in the order in which they happen to come.
    faiss.omp_set_num_threads(1)
    try:
        if reduced:
            graph = faiss.IndexPreTransform(faiss.PCAMatrix(width, _COMPONENTS), graph)
            sample = np.linspace(0, len(rows) - 1, min(len(rows), _SAMPLE)).astype(np.int64)
            graph.train(directions.combined(rows[sample]))
        for some in chunks(rows):
            graph.add(directions.combined(some))
    finally:
        faiss.omp_set_num_threads(threads)
    return graph


def _library() -> str:
    import faiss

    return f"faiss {faiss.__version__}"


_ARRAYS = ("ids", "ra_deg", "dec_deg", "rows", "content", "places")


def save_index(index: Index, graph: str | Path, objects: str | Path) -> None:
    """Write the graph, and the objects and the record beside it, each completely or not at all."""
    import faiss

    with atomic_path(graph) as temporary:
        faiss.write_index(index.graph, str(temporary))
    arrays = {name: getattr(index, name) for name in _ARRAYS}
    record = np.array(json.dumps(index.record, sort_keys=True))
    save_arrays({"record": record, "means": index.directions.means, **arrays}, objects)


def load_index(graph: str | Path, objects: str | Path, features: Features) -> Index:
    """Open an index: graph and features stay on disk, but for what a search visits.

    Raises
    ------
    InputError
        If a file cannot be read, is of another version, or was made of other features.
    """
    import faiss

    with open_arrays("the index", objects) as archive:
        record, means = json.loads(str(archive["record"])), archive["means"]
    problem = ""
    if record.get("format") != FORMAT:
        problem = f"the index has the format {record.get('format')}, not {FORMAT}"
    elif record["features"] != features.mark():
        problem = "the index was made of other features"
    if problem:
        raise InputError(problem, where=str(objects), next_step=REBUILD)
    with reading("the index", objects):
        arrays = {name: map_array(objects, name) for name in _ARRAYS}
    with reading("the index", graph, RuntimeError):
        loaded = faiss.read_index(str(graph), faiss.IO_FLAG_MMAP_IFC)
    if loaded.ntotal != len(arrays["places"]):
        raise InputError(
            f"the graph has {loaded.ntotal} objects, its table {len(arrays['places'])}",
            where=str(graph),
            next_step=REBUILD,
        )
    return Index(graph=loaded, record=record, directions=Directions(features, means), **arrays)


def check_centre(index: Index, centre: bool, where: str | Path) -> None:
    """Raise `InputError` where an index subtracts the mean feature and should not, or reverse."""
    if index.record["centre"] != centre:
        raise InputError(
            f"the index was built with centre = {index.record['centre']}, islands.centre is "
            f"{centre}",
            where=str(where),
            next_step=REBUILD,
        )


def seeds_of(objects: str | Path) -> list[int]:
    """Return the seeds whose features an index is of.

    Raises
    ------
    InputError
        If the file cannot be read.
    """
    with open_arrays("the index", objects) as archive:
        return [int(seed) for seed in json.loads(str(archive["record"]))["seeds"]]


#: What to do about an index that does not fit.
REBUILD = "delete the index; it is made again when it is asked for"


def index_from_files(
    features: Sequence[str | Path], catalogue: str | Path, *, seeds: Sequence[int], centre: bool
) -> Index:
    """Build the index from the files of a search; see `build_index`."""
    columns = read_columns(catalogue, ("id", "ra_deg", "dec_deg"))
    positions = (columns["id"], columns["ra_deg"], columns["dec_deg"])
    return build_index(open_features(features), positions, seeds=seeds, centre=centre)
