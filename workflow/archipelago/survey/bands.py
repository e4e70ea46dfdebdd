"""Which band a server's text speaks of: 'g', 'SDSS g', "g'", 'g DECam SDSS c0001 4720.0'."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

_WORD = re.compile(r"[A-Za-z0-9]+")


def names_band(text: str, band: str, pattern: str | None = None) -> bool:
    """Tell whether ``text`` names ``band`` as a whole word; capitals do not matter.

    Parameters
    ----------
    text : the server's description of a filter.
    band : name of the band.
    pattern : regular expression that finds the band in the text too.
    """
    if pattern is not None and re.search(pattern, text):
        return True
    return band.lower() in (word.lower() for word in _WORD.findall(text))


def band_in(
    text: str, bands: Iterable[str], patterns: Mapping[str, str]
) -> tuple[str | None, bool]:
    """Return the one band that a text names, and whether it does so in the same letters.

    A pattern counts before words, words in the same capitals before others ('I' and
    'i' are two bands to some surveys). A text that names several bands, as that of
    a detection image may, names none.

    Parameters
    ----------
    text : the server's description of a filter.
    bands : names of the bands.
    patterns : regular expressions of some bands' names at this survey.
    """
    bands = list(bands)
    by_pattern = [b for b in bands if b in patterns and re.search(patterns[b], text)]
    if by_pattern:
        return (by_pattern[0] if len(by_pattern) == 1 else None), True
    words = _WORD.findall(text)
    same = [band for band in bands if band in words]
    if same:
        return (same[0] if len(same) == 1 else None), True
    lower = [word.lower() for word in words]
    alike = [band for band in bands if band.lower() in lower]
    return (alike[0] if len(alike) == 1 else None), False
