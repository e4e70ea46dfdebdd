"""The cut flow drawn: a stream that narrows at each step, with what leaves it and why."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd
from markupsafe import Markup

from archipelago.report.svg import MINUS, figure, tag

#: Height of a step, of the band with its number, and the stream's left end and width [px].
_ROW, _BAND, _LEFT, _WIDTH = 44.0, 14.0, 330.0, 330.0
#: Widths are logarithmic where the last step leaves less than this of the first.
_LINEAR_DOWN_TO = 1 / 300
#: Longest text beside the stream [letters].
_LETTERS = 46


def flow_chart(
    cutflow: pd.DataFrame, losses: pd.DataFrame, ends: Sequence[tuple[str, int]] = ()
) -> dict[str, Any] | None:
    """Draw the search from the first step to the candidates.

    Parameters
    ----------
    cutflow : stage, cut, rows_in, rows_out, in order.
    losses : stage and reason, one row per lost object.
    ends : names and numbers of what is told apart after the last step, such as those that are
        more probably a quasar than not; each is part of the one before.

    Returns
    -------
    ``chart`` and ``log`` (whether widths are logarithmic); None without any step.
    """
    if not len(cutflow):
        return None
    steps = _steps(cutflow)
    reasons = reasons_by_step(cutflow, losses)
    rows = [*steps, *({"stage": "", "cut": name, "n": n, "end": True} for name, n in ends)]
    most = max(max(row["n"] for row in rows), 1)
    least = min((row["n"] for row in steps if row["n"] > 0), default=most)
    log = least / most < _LINEAR_DOWN_TO

    def width(n: int) -> float:
        share = math.log1p(n) / math.log1p(most) if log else n / most
        return max(share * _WIDTH, 1.5) if n > 0 else 0.0

    parts: list[Markup] = []
    for k, row in enumerate(rows):
        y, wide = 12 + k * _ROW, width(row["n"])
        if k:
            parts.append(_stream(y, width(rows[k - 1]["n"]), wide, ending=row["end"]))
            if not row["end"]:
                lost = rows[k - 1]["n"] - row["n"]
                why = reasons[k - 1]
                if why == [(row["cut"], lost)]:
                    why = []  # the step's own name says it
                parts.append(_loss(y, width(rows[k - 1]["n"]), wide, lost, rows[k - 1]["n"], why))
        parts.append(_node(row, y, wide, first=not k or row["stage"] != rows[k - 1]["stage"]))
    words = f"Cut flow from {steps[0]['n']:,} objects at the start to {steps[-1]['n']:,}"
    chart = figure(1000, int(24 + len(rows) * _ROW), *parts, label=words, class_="stream-chart")
    return {"chart": chart, "log": log}


def reasons_by_step(cutflow: pd.DataFrame, losses: pd.DataFrame) -> list[list[tuple[str, int]]]:
    """Return, per step of the cut flow, the reasons of its losses with their numbers, most first.

    A table of losses names the stage and the reason, not the step. A reason goes to the step of
    its stage that it names, else to the one that lost as many, else to the only one left; a
    reason that none of it tells is left to the table of losses.
    """
    flow = list(
        zip(
            cutflow["stage"].astype("str").tolist(),
            cutflow["cut"].astype("str").tolist(),
            (cutflow["rows_in"] - cutflow["rows_out"]).astype(int).tolist(),
            strict=True,
        )
    )
    found: list[list[tuple[str, int]]] = [[] for _ in flow]
    if not len(losses):
        return found
    named = losses[["stage", "reason"]].astype("str").value_counts(sort=False).reset_index()
    named = named.sort_values(["count", "reason"], ascending=[False, True])
    for stage in dict.fromkeys(stage for stage, _, _ in flow):
        open_steps = [k for k, (name, _, lost) in enumerate(flow) if name == stage and lost > 0]
        mine = named[named["stage"] == stage]
        left = dict(zip(mine["reason"].tolist(), mine["count"].tolist(), strict=True))
        for k in open_steps:
            for reason in [r for r in left if flow[k][1] and flow[k][1] in r]:
                found[k].append((reason, left.pop(reason)))
        for k in [k for k in open_steps if not found[k]]:
            same = [reason for reason, n in left.items() if n == flow[k][2]]
            if len(same) == 1:
                found[k].append((same[0], left.pop(same[0])))
        empty = [k for k in open_steps if not found[k]]
        if len(empty) == 1:
            found[empty[0]] += list(left.items())
    return found


def _steps(cutflow: pd.DataFrame) -> list[dict[str, Any]]:
    first = int(cutflow["rows_in"].iloc[0])
    steps: list[dict[str, Any]] = [{"stage": "", "cut": "at the start", "n": first, "end": False}]
    for row in cutflow.to_dict("records"):
        n = max(int(row["rows_out"]), 0)
        steps.append({"stage": str(row["stage"]), "cut": str(row["cut"]), "n": n, "end": False})
    return steps


def _node(row: dict[str, Any], y: float, wide: float, *, first: bool) -> Markup:
    """A step: its name, the objects that it leaves, and the stream there."""
    parts = [
        tag("title", f"{row['stage']}: {row['cut']}, {row['n']:,} left".removeprefix(": ")),
        tag(
            "rect",
            x=_LEFT,
            y=y,
            width=max(wide, 0.5),
            height=_BAND,
            class_="stream end" if row["end"] else "stream",
        ),
        tag("text", f"{row['n']:,}", x=_LEFT - 10, y=y + 11, class_="num end strong"),
        tag("text", _short(row["cut"], 33), x=_LEFT - 82, y=y + 11, class_="lab end"),
    ]
    if first and row["stage"]:
        parts.append(tag("text", _short(row["stage"], 14), x=0, y=y + 11, class_="num"))
    return tag("g", *parts)


def _stream(y: float, before: float, after: float, *, ending: bool) -> Markup:
    """The stream from the step above, ``before`` wide, to this one."""
    top, middle = y - _ROW + _BAND, y - (_ROW - _BAND) / 2
    right, now = _LEFT + before, _LEFT + after
    path = (
        f"M{_LEFT:.1f} {top:.1f}H{now if not ending else right:.1f}"
        f"{'' if not ending else f'C{right:.1f} {middle:.1f} {now:.1f} {middle:.1f}'}"
        f"{' ' if ending else 'L'}{now:.1f} {y:.1f}H{_LEFT:.1f}Z"
    )
    return tag("path", d=path, class_="flowing faint" if ending else "flowing")


def _loss(
    y: float,
    before: float,
    after: float,
    lost: int,
    of: int,
    reasons: Sequence[tuple[str, int]],
) -> Markup:
    """What leaves the stream above a step: a branch to the right, with its number and reasons."""
    top = y - _ROW + _BAND
    words = f"{MINUS}{lost:,}" if lost > 0 else "none lost"
    if lost > 0 and of > 0:
        words += f"  ({100 * lost / of:.1f} %)"
    # A number of its own only where it is not that of all.
    told = "; ".join(f"{reason} {n:,}" if n != lost else reason for reason, n in reasons)
    right = _LEFT + before
    text_x = right + 34 if lost > 0 else right + 12
    parts = [tag("title", f"{words}: {told}" if told else words)]
    if lost > 0:
        thin = max(before - after, 1.0)
        path = (
            f"M{right - thin:.1f} {top:.1f}H{right:.1f}"
            f"C{right:.1f} {top + 10:.1f} {right + 8:.1f} {top + 12:.1f} "
            f"{right + 26:.1f} {top + 12:.1f}"
            f"V{top + 17:.1f}C{right - 0.3 * thin:.1f} {top + 17:.1f} {right - thin:.1f} "
            f"{top + 22:.1f} {right - thin:.1f} {top:.1f}Z"
        )
        parts.append(tag("path", d=path, class_="leaving"))
    parts.append(
        tag("text", words, x=text_x, y=top + 18, class_="num strong" if lost > 0 else "num")
    )
    if told:
        start = text_x + 7.2 * len(words)
        letters = max(int((1000 - start) / 6.4), 6)
        parts.append(tag("text", _short(told, letters), x=start, y=top + 18, class_="num"))
    return tag("g", *parts)


def _short(text: str, letters: int = _LETTERS) -> str:
    return text if len(text) <= letters else text[: letters - 1] + "…"
