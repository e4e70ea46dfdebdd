"""How far the results from images are the same from seed to seed, drawn."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
from markupsafe import Markup

from archipelago.base.tables import cell_number
from archipelago.report.svg import Scale, figure, tag, x_axis

#: Candidates that are drawn, at most.
MOST = 40


def stability_panel(shown: pd.DataFrame) -> dict[str, Any] | None:
    """Draw where single seeds put the candidates among those most similar to known quasars.

    Parameters
    ----------
    shown : candidates: rank, id, similarity_rank, similarity_rank_lo, similarity_rank_hi (16th
        and 84th percentile over seeds) and island_stability, where there are.

    Returns
    -------
    ``chart``, ``n`` drawn, ``median_stability`` of those on an island; None where the seeds tell
    nothing, as without images or of one seed's ranks.
    """
    wanted = ("similarity_rank", "similarity_rank_lo", "similarity_rank_hi")
    if not set(wanted) <= set(shown.columns):
        return None
    ranks = shown[list(wanted)].astype(float)
    good = (ranks > 0).all(axis=1)
    if not good.any():
        return None
    rows = shown[good].head(MOST)
    stable = (
        rows.loc[rows["island"] >= 0, "island_stability"].astype(float).median()
        if {"island", "island_stability"} <= set(rows.columns)
        else math.nan
    )
    return {
        "chart": _rank_chart(rows),
        "n": len(rows),
        "median_stability": f"{stable:.2f}" if math.isfinite(cell_number(stable)) else "–",
    }


def _rank_chart(rows: pd.DataFrame) -> Markup:
    """One line per candidate: its place, and the range of the places of single seeds."""
    low = float(rows["similarity_rank_lo"].min())
    high = float(rows["similarity_rank_hi"].max())
    low, high = (
        min(low, float(rows["similarity_rank"].min())),
        max(high, float(rows["similarity_rank"].max())),
    )
    x = Scale(max(low, 0.5) * 0.8, max(high, 2.0) * 1.25, 90, 560, log=True)
    foot = 14.0 + 15 * len(rows)
    parts = [x_axis(x, foot, x.ticks(), "place by similarity to known quasars")]
    for value in x.ticks():
        parts.append(tag("line", x1=x(value), x2=x(value), y1=8, y2=foot, class_="grid"))
    for k, row in enumerate(rows.to_dict("records")):
        y = 16.0 + 15 * k
        middle, left, right = (
            cell_number(row[f"similarity_rank{end}"]) for end in ("", "_lo", "_hi")
        )
        class_ = "known" if row.get("is_known") else "datum"
        parts += [
            tag("text", f"#{row['rank']}", x=82, y=y + 4, class_="num end"),
            tag(
                "g",
                tag("title", f"{row['id']}: {middle:.0f} ({left:.0f} to {right:.0f})"),
                tag("line", x1=x.clipped(left), x2=x.clipped(right), y1=y, y2=y, class_="error"),
                tag("circle", cx=x.clipped(middle), cy=y, r=3.6, class_=class_),
            ),
        ]
    label = "Places of the candidates by similarity to known quasars, and their range over seeds"
    return figure(580, int(foot + 44), *parts, label=label)
