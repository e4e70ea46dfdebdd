"""Figures of the posteriors, as pictures inside the page.

A figure becomes an image of its own: browsers run no script in it and load nothing for it, and
its ids and styles touch neither the page nor another figure.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from archipelago.base.files import reading

_LOG = logging.getLogger(__name__)

#: Largest figure that is put into the page [bytes]; there it takes a third more.
MAX_BYTES = 150_000
#: All figures of the page together [bytes]: a page of 100 cards stays below 20 MB.
MAX_TOTAL_BYTES = 6_000_000


@dataclass(frozen=True)
class Figure:
    """The posteriors' figures of one object.

    Attributes
    ----------
    folder : where they lie, below the run's folder.
    uri : the spectral energy distribution as a data URI; None where it is too large.
    """

    folder: str
    uri: str | None


def posterior_figures(folders: Sequence[str | Path], ids: Iterable[int]) -> dict[int, Figure]:
    """Return the figures of some objects; those that have none are left out.

    Parameters
    ----------
    folders : of the shards, with a folder per object, as `archipelago.sed.posterior_figures`
        writes them.
    ids : objects, those first whose figures are to be in the page before others.

    Raises
    ------
    InputError
        If a figure cannot be read.
    """
    found = {}
    left = MAX_TOTAL_BYTES
    for object_id in ids:
        for shard in map(Path, folders):
            path = shard / str(int(object_id)) / "sed.svg"
            if not path.is_file():
                continue
            with reading("a figure of the posteriors", path):
                drawing = path.read_bytes()
            place = f"{shard.parent.name}/{shard.name}/{path.parent.name}"
            uri = _uri(drawing, path, left)
            found[int(object_id)] = Figure(place, uri)
            left -= 0 if uri is None else len(drawing)
            break
    return found


def _uri(drawing: bytes, path: Path, left: int) -> str | None:
    if len(drawing) > min(MAX_BYTES, left):
        _LOG.warning("%s has %d bytes: left out of the page", path, len(drawing))
        return None
    return "data:image/svg+xml;base64," + base64.b64encode(drawing).decode("ascii")
