"""The objects inside the page, as compact columns that its script reads.

The map, the list and the search work on these. Their number and their bytes are bounded:
of a large search the first of the ranking, the known quasars and the cards are always
kept, and the rest is thinned where it lies densest.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from archipelago.base.images import ImageSet
from archipelago.base.tables import unit_of
from archipelago.base.ucds import ucd_of
from archipelago.report.sprite import make_sprite

#: Most objects in the page, and most bytes of their columns: with these, a page of a
#: million objects stays below 20 MB.
MAX_OBJECTS = 20_000
MAX_BYTES = 7_000_000
#: Known quasars that are kept whatever their rank.
MAX_KNOWN = 2_000
#: Characters of a text that are kept.
MAX_TEXT = 400
#: Cells a side of the grid whose density decides on thinning.
_GRID = 96
#: Columns that come first, by the start of their names, where not all fit.
_FIRST = (
    "id",
    "ra_deg",
    "dec_deg",
    "rank",
    "rank_unknown",
    "score",
    "is_known",
    "known_name",
    "known_redshift",
    "has_images",
    "best_class",
    "island",
    "combined_p_",
    "p_",
    "z_quasar",
    "mag_ab_",
    "sed_term",
    "learning_term",
    "similarity_",
    "lens_log_odds",
    "image_log_odds",
    "outlier_score",
    "sed_log_odds",
    "tile",
    "reason",
)


def embed(
    candidates: pd.DataFrame,
    bands: Sequence[str],
    *,
    run: str,
    carded: Sequence[int] = (),
    n_listed: int = 5000,
    maps: Mapping[str, pd.DataFrame] | None = None,
    images: ImageSet | None = None,
    about: Mapping[str, str] | None = None,
    max_objects: int = MAX_OBJECTS,
    max_bytes: int = MAX_BYTES,
) -> tuple[dict[str, Any], str]:
    """Return what the page's script reads, and the picture of all cutouts as a data URI.

    Parameters
    ----------
    candidates : the ranked table, with id, ra_deg, dec_deg, rank, is_known.
    bands : bands of the photometry, in order.
    run : name of the search; votes are kept under it.
    carded : ids of objects with a card.
    n_listed : first objects of the ranking that the list shows.
    maps : label to id, x, y.
    images : cutouts.
    about : column to a sentence on it.
    max_objects, max_bytes : bounds on objects, and on the text of their columns.

    Returns
    -------
    A dict that `to_json` can write: columns (name, unit, ucd, about, type, data), views
    (places on maps and in the sky), the places of cutouts, and how much was left out; and
    the data URI, '' without cutouts. Numbers are base64 of little-endian arrays, texts are
    lists; identifiers are texts, as scripts cannot hold 64-bit integers.
    """
    # All columns of a large search are never copied: those that tell what stays come first.
    order = np.argsort(candidates["rank"].to_numpy(), kind="stable")
    ordered = candidates[["id", "ra_deg", "dec_deg", "is_known"]].iloc[order]
    cards = ordered["id"].isin(list(carded)).to_numpy()
    places = _views(ordered, maps or {})
    listed = np.arange(len(ordered)) < n_listed
    keep = chosen(ordered, listed | cards, places, max_objects)
    table = candidates.iloc[order[keep]].reset_index(drop=True)
    columns, left_out = _columns(table, about or {}, max_bytes)
    sprite = make_sprite(images, table["id"].to_numpy(dtype=np.int64))
    data = {
        "run": run,
        "n_ranked": len(ordered),
        "n": len(table),
        "n_images": 0 if images is None else len(images),
        "columns": columns,
        "left_out": left_out,
        "card": _packed(cards[keep].astype(np.uint8)),
        "listed": _packed(listed[keep].astype(np.uint8)),
        "views": [
            {
                "label": view["label"],
                "x_label": view["x_label"],
                "y_label": view["y_label"],
                "note": view["note"],
                "flipped": view["flipped"],
                "x": _packed(view["x"][keep].astype(np.float32)),
                "y": _packed(view["y"][keep].astype(np.float32)),
                "n": int(np.isfinite(view["x"] + view["y"]).sum()),
            }
            for view in places
        ],
        "magnitudes": [
            [band, f"mag_ab_{band}"] for band in bands if f"mag_ab_{band}" in table.columns
        ],
        "shown": _shown(table, bands),
        "sprite": {
            "step": sprite.step_px,
            "side": sprite.side_px,
            "per_row": sprite.per_row,
            "place": _packed(sprite.place),
        },
    }
    return data, sprite.uri


def to_json(data: Mapping[str, Any]) -> str:
    """Write JSON that is safe inside a script element: no character of it can be markup."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    # Half a pair of surrogates cannot be written as UTF-8.
    return text.encode("utf-8", "replace").decode("utf-8")


def chosen(
    ordered: pd.DataFrame,
    always: NDArray[np.bool_],
    places: Sequence[Mapping[str, Any]],
    limit: int,
) -> NDArray[np.bool_]:
    """Return which objects stay, at most ``limit``, and those that always stay.

    Parameters
    ----------
    ordered : all objects, best rank first, with is_known.
    always : (n,) objects that stay; the first `MAX_KNOWN` known quasars do too.
    places : views with x and y; the first decides where it is dense.
    limit : number of objects.
    """
    known = ordered["is_known"].to_numpy(dtype=bool)
    keep = always | (known & (np.cumsum(known) <= MAX_KNOWN))
    if len(ordered) <= limit:
        return np.ones(len(ordered), dtype=bool)
    room = limit - int(keep.sum())
    others = np.flatnonzero(~keep)
    if room <= 0 or not len(others):
        return keep
    cell = np.zeros(len(others), dtype=np.int64)
    if places:
        cell = _cells(places[0]["x"][others], places[0]["y"][others])
    # Place of each object within its cell, in an order of chance that is always the same.
    shuffled = np.random.default_rng(1).permutation(len(others))
    by_cell = shuffled[np.argsort(cell[shuffled], kind="stable")]
    starts = np.flatnonzero(np.r_[True, np.diff(cell[by_cell]) != 0])
    counts = np.diff(np.r_[starts, len(by_cell)])
    within = np.arange(len(by_cell)) - np.repeat(starts, counts)
    # The most that a cell may keep, such that all together fill the room.
    low, high = 0, int(counts.max())
    while low < high:
        middle = (low + high + 1) // 2
        if np.minimum(counts, middle).sum() <= room:
            low = middle
        else:
            high = middle - 1
    keep[others[by_cell[within < low]]] = True
    return keep


def _cells(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.int64]:
    """Number of the grid's cell of each place; those without a place share one cell."""
    cell = np.full(len(x), -1, dtype=np.int64)
    good = np.isfinite(x) & np.isfinite(y)
    if not good.any():
        return cell
    steps = []
    for values in (x[good], y[good]):
        low, high = np.percentile(values, [0.5, 99.5])
        share = (values - low) / (high - low) if high > low else np.zeros(len(values))
        steps.append(np.clip(share * _GRID, 0, _GRID - 1).astype(np.int64))
    cell[good] = steps[0] * _GRID + steps[1]
    return cell


def _views(ordered: pd.DataFrame, maps: Mapping[str, pd.DataFrame]) -> list[dict[str, Any]]:
    """Places of all objects on each map and in the sky; NaN where they have none."""
    views = []
    for label, places in maps.items():
        xy = places.drop_duplicates("id").set_index("id")[["x", "y"]].reindex(ordered["id"])
        values = xy.to_numpy(dtype=float)
        if np.isfinite(values).all(axis=1).any():
            views.append(
                {
                    "label": f"Map of the images, {label}",
                    "x_label": "",
                    "y_label": "",
                    "note": "Images that the network finds alike lie close together. "
                    "Axes have no unit, and distances between islands mean little.",
                    "flipped": False,
                    "x": values[:, 0],
                    "y": values[:, 1],
                }
            )
    ra = ordered["ra_deg"].to_numpy(dtype=float)
    dec = ordered["dec_deg"].to_numpy(dtype=float)
    if np.isfinite(ra + dec).any():
        views.append(
            {
                "label": "Sky",
                "x_label": "RA [deg]",
                "y_label": "Dec [deg]",
                "note": "Where the objects stand, ICRS; east is left.",
                "flipped": True,
                "x": _unwrapped(ra),
                "y": dec,
            }
        )
    return views


def _unwrapped(ra_deg: NDArray[np.float64]) -> NDArray[np.float64]:
    """Right ascensions moved by whole turns, so that the widest gap lies at the edges [deg]."""
    turned = np.mod(ra_deg, 360.0)
    finite = np.unique(turned[np.isfinite(turned)])
    if len(finite) < 2:
        return turned
    gaps = np.diff(np.r_[finite, finite[0] + 360.0])
    widest = int(np.argmax(gaps))
    start = finite[(widest + 1) % len(finite)]
    return np.where(turned < start, turned, turned - 360.0) if start > 0 else turned


def _columns(
    table: pd.DataFrame, about: Mapping[str, str], max_bytes: int
) -> tuple[list[dict[str, Any]], list[str]]:
    """Columns that fit, in the table's order, and the names of the others."""
    names = [str(name) for name in table.columns]
    first = sorted(names, key=lambda name: (_precedence(name), names.index(name)))
    used = 0
    kept: dict[str, dict[str, Any]] = {}
    for name in first:
        column = {
            "name": name,
            "unit": unit_of(name),
            "ucd": ucd_of(name),
            "about": about.get(name, ""),
            **_encoded(name, table[name]),
        }
        size = len(column["data"]) if isinstance(column["data"], str) else _text_size(column)
        if used + size <= max_bytes or name in ("id", "ra_deg", "dec_deg", "rank", "is_known"):
            used += size
            kept[name] = column
    return [kept[name] for name in names if name in kept], [n for n in names if n not in kept]


def _precedence(name: str) -> int:
    for place, start in enumerate(_FIRST):
        if name == start or (start.endswith("_") and name.startswith(start)):
            return place
    return len(_FIRST)


def _text_size(column: Mapping[str, Any]) -> int:
    return sum(len(text.encode("utf-8", "replace")) + 3 for text in column["data"])


def _encoded(name: str, values: pd.Series) -> dict[str, Any]:
    """Type and data of a column.

    Types: f4 and f8 (floats), i4 (integers), b1 (0, 1, and 2 where missing), id (integers
    as texts), s (texts). Missing numbers are NaN; so are magnitudes of 99.
    """
    if name == "id":
        return {"type": "id", "data": [str(int(i)) for i in values]}
    if pd.api.types.is_bool_dtype(values):
        flags = values.astype("boolean").astype("Int8").fillna(2)
        return {"type": "b1", "data": _packed(flags.to_numpy(dtype=np.uint8))}
    if pd.api.types.is_integer_dtype(values):
        if not values.isna().any():
            whole = values.to_numpy(dtype=np.int64)
            if not len(whole) or max(abs(int(whole.min())), abs(int(whole.max()))) < 2**31:
                return {"type": "i4", "data": _packed(whole.astype(np.int32))}
            if max(abs(int(whole.min())), abs(int(whole.max()))) >= 2**53:
                return {"type": "id", "data": [str(i) for i in whole.tolist()]}
        numbers = values.astype("Float64").to_numpy(dtype=float, na_value=math.nan)
        return _floats(name, np.asarray(numbers, dtype=np.float64))
    if pd.api.types.is_numeric_dtype(values):
        numbers = values.to_numpy(dtype=float, na_value=math.nan)
        return _floats(name, np.asarray(numbers, dtype=np.float64))
    gaps = values.isna()
    texts = ["" if gap else str(v)[:MAX_TEXT] for v, gap in zip(values, gaps, strict=True)]
    return {"type": "s", "data": texts}


def _floats(name: str, numbers: NDArray[np.floating]) -> dict[str, Any]:
    if name.startswith(("mag_ab_", "mag_err_")):
        numbers = np.where(numbers < 90, numbers, math.nan)
    if unit_of(name) == "deg" or np.nanmax(np.abs(numbers), initial=0.0) > 1e5:
        return {"type": "f8", "data": _packed(numbers)}
    return {"type": "f4", "data": _packed(numbers.astype(np.float32))}


def _packed(values: NDArray[Any]) -> str:
    """Return the bytes of an array, little-endian, as base64."""
    little = values.astype(values.dtype.newbyteorder("<"), copy=False)
    return base64.b64encode(np.ascontiguousarray(little).tobytes()).decode("ascii")


def _shown(table: pd.DataFrame, bands: Sequence[str]) -> list[str]:
    """Columns that the list shows at first."""
    magnitudes = [f"mag_ab_{band}" for band in ("z", "J")]
    if not set(magnitudes) <= set(table.columns):
        magnitudes = [f"mag_ab_{bands[k]}" for k in (len(bands) // 2, -1)] if len(bands) else []
    combined = "combined_p_quasar" in table.columns
    odds = [f"{'combined_' if combined else ''}p_{name}" for name in ("quasar", "lensed")]
    wanted = [
        "rank",
        "ra_deg",
        "dec_deg",
        *dict.fromkeys(magnitudes),
        "z_quasar",
        *odds,
        "sed_term",
        "learning_term",
        "island",
        "score",
    ]
    return [name for name in wanted if name in table.columns]
