"""What the search would have missed: completeness by injection and recovery, drawn."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from archipelago.base.tables import cell_number, require_columns, unit_of
from archipelago.report.charts import N_ISLAND_COLOURS
from archipelago.report.svg import Scale, figure, number_words, tag, x_axis, y_axis

#: Columns of the table of completeness; `lo` and `hi` are the 90 % interval.
COLUMNS = ("axis", "bin_lo", "bin_hi", "stage", "n", "k", "completeness", "lo", "hi")
#: The axis of the rows that count everything.
ALL = "all"
#: Stages that stand beside the search: single pieces of evidence. They are not drawn over an axis.
_BESIDE = re.compile(r"first \d+ by ")
#: Lines of a plot, at most.
_MOST_LINES = 7
#: Columns that make a table of its own, where there are any: what was injected.
_SPLITS = ("kind", "sample", "population")


def selection_panels(
    completeness: pd.DataFrame | None, lensed_fraction: pd.DataFrame | None = None
) -> dict[str, Any] | None:
    """Return the plots and tables of the selection function.

    Parameters
    ----------
    completeness : `COLUMNS`: per axis, bin and stage, of ``n`` injected objects ``k`` that were
        left, their share and its 90 % interval; or None where nothing was injected.
    lensed_fraction : any table of a few rows; or None.

    Returns
    -------
    None without either. ``overall``: per kind ``title`` and ``rows`` of all stages, of the axis
    `ALL`. ``panels``: per kind and axis ``chart``, ``title``, ``stages`` (name and class of its
    line), ``undrawn`` (number of stages without a line: those that stand beside the search or
    removed nothing), ``rows``. ``fraction``: ``head`` (name and unit) and ``rows`` of texts, or
    None.

    Raises
    ------
    InputError
        If the table of completeness lacks a column.
    """
    panels: list[dict[str, Any]] = []
    overall: list[dict[str, Any]] = []
    if completeness is not None:
        require_columns(completeness, COLUMNS, "the table of completeness")
        splits = [name for name in _SPLITS if name in completeness.columns]
        columns = [completeness[name].astype("str").tolist() for name in (*splits, "axis")]
        keys = list(zip(*columns, strict=True))
        for names in dict.fromkeys(keys):
            mine = completeness[[key == names for key in keys]]
            if names[-1] == ALL:
                overall.append({"title": " ".join(names[:-1]), "rows": _rows(mine)})
            else:
                panels.append(_panel(mine, names[-1], names[:-1]))
    fraction = _table(lensed_fraction) if lensed_fraction is not None else None
    if not (panels or overall or fraction):
        return None
    return {"overall": overall, "panels": panels, "fraction": fraction}


def _panel(table: pd.DataFrame, axis: str, split: tuple[str, ...]) -> dict[str, Any]:
    every = list(dict.fromkeys(table["stage"].astype("str")))
    stages = _drawn_stages(table, every)
    label = axis_label(axis)
    what = " ".join(split)
    return {
        "title": f"{what}: {label}" if what else label,
        "chart": _completeness_chart(table, stages, label, what),
        "stages": [
            {"name": name, "class": _line_class(k, len(stages))} for k, name in enumerate(stages)
        ],
        "undrawn": len(every) - len(stages),
        "rows": _rows(table),
    }


def _drawn_stages(table: pd.DataFrame, stages: list[str]) -> list[str]:
    """Stages that get a line: of the search, and not those that removed nothing more."""
    left = table.groupby(table["stage"].astype("str"), sort=False)["k"].sum().to_dict()
    kept: list[str] = []
    for name in stages:
        if _BESIDE.match(name):
            continue
        if kept and left[name] == left[kept[-1]]:
            kept.pop()  # the later one stands for both
        kept.append(name)
    return kept[-_MOST_LINES:]


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Numbers of a table of completeness, in words; ``bar`` is the completeness in percent."""
    return [
        {
            "bin": f"{number_words(cell_number(r['bin_lo']))} to "
            f"{number_words(cell_number(r['bin_hi']))}",
            "stage": str(r["stage"]),
            "n": number_words(cell_number(r["n"])),
            "k": number_words(cell_number(r["k"])),
            "completeness": _share(r["completeness"]),
            "interval": f"{_share(r['lo'])} to {_share(r['hi'])}",
            "bar": 100.0 * min(max(cell_number(r["completeness"], 0.0), 0.0), 1.0),
        }
        for r in table.to_dict("records")
    ]


def axis_label(axis: str) -> str:
    """Write the name of an axis with its unit, such as ``z mag  [mag]``."""
    unit = unit_of(axis)
    # "z mag": the letter alone would read as a redshift.
    words = axis.removesuffix(f"_{unit}") if unit not in ("", "mag") else axis
    return f"{words.replace('_', ' ')}  [{unit}]" if unit else words.replace("_", " ")


def _completeness_chart(
    table: pd.DataFrame, stages: list[str], label: str, what: str
) -> Markup | None:
    """Completeness over the bins of one axis, a line per stage; the last with its intervals."""
    lows = table["bin_lo"].to_numpy(dtype=float)
    highs = table["bin_hi"].to_numpy(dtype=float)
    finite = np.concatenate([lows[np.isfinite(lows)], highs[np.isfinite(highs)]])
    if not len(finite):
        return None
    pad = 0.03 * (finite.max() - finite.min()) or 0.5
    x = Scale(float(finite.min()) - pad, float(finite.max()) + pad, 56, 500)
    y = Scale(0.0, 1.0, 238, 14)
    parts = [
        y_axis(y, x.start, [0, 0.25, 0.5, 0.75, 1.0], "completeness", grid_to=x.end),
        x_axis(x, y.start, x.ticks(6), label),
        tag("path", d=f"M{x.start} {y.end}V{y.start}H{x.end}", class_="axis"),
    ]
    drawn = False
    for k, stage in enumerate(stages):
        rows = table[table["stage"].astype("str") == stage].sort_values("bin_lo")
        class_ = _line_class(k, len(stages))
        pen, path = "M", ""
        for row in rows.to_dict("records"):
            low, high, share = (cell_number(row[c]) for c in ("bin_lo", "bin_hi", "completeness"))
            low, high = _closed(low, high, x)
            if not (math.isfinite(share) and math.isfinite(low + high)):
                pen = "M"
                continue
            middle = x((low + high) / 2)
            path += f"{pen}{middle:.1f} {y.clipped(share):.1f}"
            pen, drawn = "L", True
            if k == len(stages) - 1:
                parts.append(_interval(row, middle, x(low), x(high), y, class_))
        if path:
            parts.append(tag("path", d=path, class_=f"curve {class_}"))
    words = f"Completeness against {label.replace('  ', ' ')}{f' of {what}' if what else ''}"
    return figure(520, 282, *parts, label=words) if drawn else None


def _closed(low: float, high: float, x: Scale) -> tuple[float, float]:
    """A bin without an end ends where the frame does."""
    return (
        x.low if low == -math.inf else low,
        x.high if high == math.inf else high,
    )


def _interval(
    row: Mapping[Any, Any], middle: float, left: float, right: float, y: Scale, class_: str
) -> Markup:
    low, high = cell_number(row["lo"]), cell_number(row["hi"])
    share = cell_number(row["completeness"])
    words = (
        f"{_share(share)} ({_share(low)} to {_share(high)}), {number_words(cell_number(row['k']))} "
        f"of {number_words(cell_number(row['n']))}"
    )
    marks = [
        tag("title", words),
        tag("circle", cx=middle, cy=y.clipped(share), r=3.6, class_="point"),
        tag("path", d=f"M{left:.1f} {y.clipped(share):.1f}H{right:.1f}", class_="bin"),
    ]
    if math.isfinite(low) and math.isfinite(high):
        path = f"M{middle:.1f} {y.clipped(low):.1f}V{y.clipped(high):.1f}"
        marks.append(tag("path", d=path, class_="bin strong"))
    return tag("g", *marks, class_=f"interval {class_}")


def _line_class(k: int, n: int) -> str:
    """The last stage, which is what the search finds, stands out."""
    return f"k{k % N_ISLAND_COLOURS} last" if k == n - 1 else f"k{k % N_ISLAND_COLOURS}"


def _share(value: object) -> str:
    share = cell_number(value)
    return f"{100 * share:.1f} %" if math.isfinite(share) else "–"


def _table(table: pd.DataFrame) -> dict[str, Any] | None:
    if not len(table):
        return None
    return {
        "head": [(str(name).replace("_", " "), unit_of(str(name))) for name in table.columns],
        "rows": [
            [
                number_words(float(value))
                if isinstance(value, int | float | np.number) and not isinstance(value, bool)
                else ("–" if value is None else str(value))
                for value in row
            ]
            for row in table.itertuples(index=False)
        ],
    }
