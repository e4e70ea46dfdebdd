"""What is told about the objects found: a table, and a page with their cutouts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from archipelago.base.arrays import map_array, open_arrays
from archipelago.base.columns import read_rows, write_columns, write_columns_csv
from archipelago.base.errors import InputError
from archipelago.base.files import reading, write_text
from archipelago.base.targets import Target
from archipelago.similar.index import Index
from archipelago.similar.neighbours import nearest_objects
from archipelago.similar.objects import find_object
from archipelago.similar.page import Card, contact_sheet

#: Objects shown, and largest distance from a position asked for [arcsec], where nobody says
#: otherwise; as in config.yaml.
SHOWN, MATCH_RADIUS_ARCSEC = 20, 2.0

#: What each column is, for the table's metadata.
ABOUT = {
    "rank": "place by similarity, 1 the most similar",
    "id": "identifier of the object",
    "similarity": "mean cosine over seeds between its features and those of the object asked for",
    "similarity_std": "standard deviation of that over seeds",
    "ra_deg": "right ascension, ICRS",
    "dec_deg": "declination, ICRS",
    "known_name": "name of the known quasar that it is, or empty",
    "island": "island that the seeds agree on, -1 none; missing where islands were not sought",
    "best_class": "most probable class by photometry; missing before there are candidates",
}
_UNITS = {"ra_deg": "deg", "dec_deg": "deg"}
#: Columns of others' tables, and their types; missing where the table is.
_EVIDENCE = {"known_name": pa.string(), "island": pa.int64(), "best_class": pa.string()}


@dataclass(frozen=True)
class Answer:
    """Objects like the one asked for.

    Attributes
    ----------
    asked : id, ra_deg, dec_deg and evidence of the object asked for.
    rows : the same with rank, similarity and similarity_std of each found, by rank.
    cards : pictures and text of all of them, the object asked for first.
    """

    asked: dict[str, Any]
    rows: list[dict[str, Any]]
    cards: list[Card]


def answer(
    target: Target,
    index: Index,
    images: str | Path,
    losses: Sequence[str | Path],
    evidence: str | Path | None,
    *,
    number: int,
    match_radius_arcsec: float,
) -> Answer:
    """Find the objects like one, and what is known of them.

    Parameters
    ----------
    target : the object asked for.
    index : of the search.
    images : file of the cutouts.
    losses : tables of lost objects, to say what became of one that is not there.
    evidence : table of candidates, or else of islands; None where there is neither yet.
    number : of objects wanted; fewer where there are fewer.
    match_radius_arcsec : largest distance of an object from a position asked for.

    Raises
    ------
    InputError
        If the object is not there, or a file cannot be read.
    DataError
        If its image has no content.
    """
    place = find_object(target, index, losses, match_radius_arcsec)
    found = nearest_objects(index, place, number)
    places = np.concatenate([[place], found.places]).astype(np.int64)
    ids = [int(one) for one in index.ids[places]]
    facts = _evidence(evidence, ids)
    rows = [
        {
            "id": number_of,
            "ra_deg": float(index.ra_deg[at]),
            "dec_deg": float(index.dec_deg[at]),
            **{name: facts.get(number_of, {}).get(name) for name in _EVIDENCE},
        }
        for number_of, at in zip(ids, places, strict=True)
    ]
    for rank, (row, mean, spread) in enumerate(
        zip(rows[1:], found.similarity, found.spread, strict=True), start=1
    ):
        row |= {"rank": rank, "similarity": float(mean), "similarity_std": float(spread)}
    pixels, bands = cutouts(images, index.rows[places], ids)
    cards = [Card(row, picture, bands) for row, picture in zip(rows, pixels, strict=True)]
    return Answer(rows[0], rows[1:], cards)


def cutouts(
    path: str | Path, rows: NDArray[np.int64], ids: Sequence[int]
) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Return the cutouts (m, band, y, x) in some rows of a file, and the bands' names.

    Raises
    ------
    InputError
        If the file cannot be read, or the rows are of other objects than ``ids``.
    """
    with reading("the cutouts", path):
        images, of_ids = map_array(path, "images"), map_array(path, "ids")
        inside = bool((rows < len(of_ids)).all())
        same = inside and np.array_equal(of_ids[rows], np.asarray(ids, dtype=np.int64))
    if not same:
        raise InputError(
            "the cutouts are of other objects than the features",
            where=str(path),
            next_step="make the features again from these cutouts",
        )
    with open_arrays("the cutouts", path) as archive:
        bands = tuple(str(band) for band in np.atleast_1d(archive["bands"]))
    return np.asarray(images[rows], dtype=np.float32), bands


def _evidence(path: str | Path | None, ids: Sequence[int]) -> dict[int, dict[str, Any]]:
    if path is None:
        return {}
    # The table of islands has no classes.
    is_islands = Path(path).name.startswith("islands")
    names = [name for name in _EVIDENCE if not (is_islands and name == "best_class")]
    found = read_rows(path, names, ids)
    for row in found.values():
        name, island = row["known_name"], row["island"]
        row["known_name"] = name if isinstance(name, str) else ""
        row["island"] = None if island is None or island != island else int(island)
    return found


def find_evidence(run: str | Path) -> Path | None:
    """Return the fullest table of evidence that a search has so far; None if it has none."""
    for name in ("candidates.parquet", "islands/islands.parquet"):
        path = Path(run) / name
        if path.is_file():
            return path
    return None


def write_answer(found: Answer, *, parquet: str | Path, csv: str | Path, html: str | Path) -> None:
    """Write table and page, each completely or not at all."""
    types = {
        "rank": pa.int64(),
        "id": pa.int64(),
        **dict.fromkeys(("similarity", "similarity_std", "ra_deg", "dec_deg"), pa.float64()),
        **_EVIDENCE,
    }
    columns = {
        name: pa.array([row[name] for row in found.rows], type=kind) for name, kind in types.items()
    }
    write_columns(columns, parquet, ABOUT, _UNITS)
    write_columns_csv(columns, csv)
    write_text(html, contact_sheet(found.cards))


def table_text(found: Answer) -> str:
    """Return the table as lines to print."""
    asked = found.asked
    about = ", ".join(filter(None, [asked["known_name"], asked["best_class"]]))
    lines = [
        f"like {asked['id']} at {asked['ra_deg']:.6f}, {asked['dec_deg']:+.6f}"
        + (f" ({about})" if about else "")
    ]
    if not found.rows:
        return "\n".join([*lines, "no other object has an image with content"])
    width = max(len(str(row["id"])) for row in found.rows)
    lines.append(
        f"rank  {'id':>{width}}  similarity            ra         dec  island  class     known as"
    )
    for row in found.rows:
        island = "" if row["island"] is None else row["island"]
        lines.append(
            f"{row['rank']:4d}  {row['id']:{width}d}  {row['similarity']:.3f} +- "
            f"{row['similarity_std']:.3f}  {row['ra_deg']:10.6f}  {row['dec_deg']:+10.6f}  "
            f"{island:>6}  {row['best_class'] or '':8}  {row['known_name'] or ''}".rstrip()
        )
    return "\n".join(lines)
