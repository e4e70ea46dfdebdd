"""A page of cutouts in one HTML file that opens offline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archipelago.report.stamps import colour_stamp, grey_stamp

_STYLE = """
body { font: 15px/1.4 system-ui, sans-serif; margin: 2rem; color: #1b1f24; background: #fff; }
h1 { font-size: 1.3rem; }
ol { list-style: none; padding: 0; display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fill, minmax(9.5rem, 1fr)); }
li { border: 1px solid #d0d7de; border-radius: 4px; padding: .5rem; overflow-wrap: anywhere; }
li:first-child { border-color: #0969da; border-width: 2px; }
img, .none { width: 100%; aspect-ratio: 1; image-rendering: pixelated; background: #111;
  display: block; }
p { margin: .3rem 0 0; font-size: .85rem; }
"""


@dataclass(frozen=True)
class Card:
    """One object on the page.

    Attributes
    ----------
    row : id, ra_deg, dec_deg, known_name, island, best_class; rank, similarity and
        similarity_std but for the object asked for.
    pixels : (band, y, x) its cutouts.
    bands : their names.
    """

    row: Mapping[str, Any]
    pixels: NDArray[np.float32]
    bands: tuple[str, ...]


def contact_sheet(cards: Sequence[Card]) -> str:
    """Return the page: the object asked for, then those like it by rank."""
    name = cards[0].row["id"]
    more = "" if len(cards) > 1 else "<p>No other object has an image with content.</p>"
    items = "\n".join(_item(card) for card in cards)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Objects like {name}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>Objects like {name}</h1>\n"
        "<p>By the mean cosine over seeds between the features of their images. "
        f"North is up.</p>\n{more}\n<ol>\n{items}\n</ol>\n</body>\n</html>\n"
    )


def _item(card: Card) -> str:
    row = card.row
    # A picture in grey, of the reddest band, where there are too few for colours.
    picture = colour_stamp(card.pixels, card.bands) or grey_stamp(card.pixels[-1])
    shown = (
        f'<img src="{picture}" alt="cutout of {row["id"]}">'
        if picture
        else '<div class="none"></div>'
    )
    lines = ["asked for"]
    if "rank" in row:
        lines = [f"{row['rank']}: {row['similarity']:.3f} &plusmn; {row['similarity_std']:.3f}"]
    lines.append(str(row["id"]))
    lines.append(f"{row['ra_deg']:.5f}, {row['dec_deg']:+.5f}")
    if row["known_name"]:
        lines.append(escape(row["known_name"]))
    about = [row["best_class"] or ""]
    if row["island"] is not None:
        about.append("no island" if row["island"] < 0 else f"island {row['island']}")
    lines.append(escape(", ".join(filter(None, about))))
    text = "".join(f"<p>{line}</p>" for line in lines if line)
    return f"<li>{shown}{text}</li>"
