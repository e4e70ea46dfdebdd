"""Candidates as regions of SAOImage DS9, which Aladin reads too."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from archipelago.exports.choose import ascii_text, has_position, numbers, texts

#: Radius of a circle [arcsec]; that of known quasars is larger, so that both can be seen.
RADIUS_ARCSEC, KNOWN_RADIUS_ARCSEC = 3.0, 4.5
#: Colour of candidates, of candidates that lists of known objects have, and of known quasars.
COLOURS = {"candidate": "green", "listed": "yellow", "known quasar": "cyan"}
_HEAD = """\
# Region file format: DS9 version 4.1
# {about}
global color=green dashlist=8 3 width=1 font="helvetica 10 normal roman" select=1 edit=1 move=0 \
delete=1 include=1 source=1
icrs
"""
#: Letters of a label, at most.
_LONGEST = 80


def region_label(text: str) -> str:
    """Return ``text`` as it can stand between the braces of a DS9 label.

    One line of printable ASCII without what ends a label, a property or a region there: braces,
    quotation marks, ``;``, ``#``, backslashes.
    """
    plain = re.sub(r"[{}\[\]]", lambda found: "(" if found[0] in "{[" else ")", ascii_text(text))
    plain = re.sub(r"[\"'`]", "", plain)
    plain = re.sub(r"[;#\\|]", ",", plain)
    return plain[:_LONGEST].strip()


def regions_text(candidates: pd.DataFrame, chosen: pd.DataFrame) -> str:
    """Return a file of DS9 regions (ICRS): the chosen candidates, and all known quasars.

    Parameters
    ----------
    candidates : the whole ranked list; of it the known quasars are taken.
    chosen : the candidates; see `archipelago.exports.choose.chosen`.

    Returns
    -------
    str
        A circle each with rank and name as its label, and its kind as a tag that DS9 selects by.
    """
    marked = candidates["is_known"].eq(True).to_numpy(dtype=bool) & has_position(candidates)
    marked &= ~candidates["id"].isin(chosen["id"]).to_numpy()
    known = candidates[marked].sort_values("rank")
    head = _HEAD.format(
        about=f"{len(chosen)} candidates (green; yellow where a list of known objects has them), "
        f"{int(marked.sum() + chosen['is_known'].eq(True).sum())} known quasars (cyan)"
    )
    return head + "".join(_circles(pd.concat([chosen, known], ignore_index=True)))


def _circles(table: pd.DataFrame) -> list[str]:
    known = table["is_known"].eq(True).to_numpy(dtype=bool)
    kinds = np.where(known, "known quasar", "candidate").astype(object)
    listed = [bool(where) for where in texts(table, "listed_in")]
    kinds[~known & np.array(listed, dtype=bool)] = "listed"
    lines = []
    for kind, ra, dec, rank, number, known_name, listed_name in zip(
        kinds.tolist(),
        numbers(table, "ra_deg").tolist(),
        numbers(table, "dec_deg").tolist(),
        table["rank"].astype(int).tolist(),
        table["id"].astype(int).tolist(),
        texts(table, "known_name"),
        texts(table, "listed_name"),
        strict=True,
    ):
        name = known_name if kind == "known quasar" else listed_name
        label = region_label(f"{rank}: {name or number}")
        radius = KNOWN_RADIUS_ARCSEC if kind == "known quasar" else RADIUS_ARCSEC
        lines.append(
            f'circle({ra:.6f},{dec:.6f},{radius}") # color={COLOURS[kind]} '
            f"text={{{label}}} tag={{{kind}}}\n"
        )
    return lines
