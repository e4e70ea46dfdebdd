"""One sentence per candidate: why it stands where it does."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from archipelago.base.tables import cell_number

#: Terms smaller than this are not worth a word [nats]: odds of 1.1.
_SMALL = 0.1

_CLASS_WORDS = {
    "star": "a star or brown dwarf",
    "galaxy": "a galaxy",
    "quasar": "a quasar",
    "lensed": "a quasar with a galaxy in front",
    "other": "nothing that was modelled",
}


def odds_words(log_odds: float) -> str:
    """Write natural log-odds as odds, such as ``37 to 1`` or ``10^12 to 1`` (always >= 1)."""
    power = abs(log_odds) / math.log(10)
    if power < 0.05:
        return "even odds"
    if power < 1:
        return f"{10**power:.1f} to 1"
    if power < 4:
        return f"{10**power:,.0f} to 1"
    return f"10^{power:.0f} to 1"


def reason(row: Mapping[str, Any]) -> str:
    """Return one sentence built from the terms of a candidate, the largest first.

    Parameters
    ----------
    row : a row of the candidates' table: the terms of the score and of the lensed score [nats],
        the evidence behind them, and the combined probabilities.
    """
    parts = [
        (abs(_number(row, "sed_term")), _sed_words(row)),
        (abs(_number(row, "similarity_term")), _similarity_words(row)),
        (abs(_number(row, "island_term")), _island_words(row)),
        (abs(_number(row, "image_term")), _image_words(row)),
        (abs(_number(row, "lensed_lens_term")), _lens_words(row)),
    ]
    words = [
        text for size, text in sorted(parts, key=lambda part: -part[0]) if text and size >= _SMALL
    ]
    if not row.get("has_sed"):
        words.append("there is no verdict on its photometry")
    elif not words:
        words.append("the photometry does not decide")
    if not row.get("has_images"):
        words.append("there are no images to compare")
    if together := _together_words(row):
        words.append(together)
    sentence = _join(words)
    if row.get("is_known"):
        name = row.get("known_name")
        label = f"the known quasar {name}" if isinstance(name, str) and name else "a known quasar"
        sentence = f"{label}: {sentence}"
    return sentence[:1].upper() + sentence[1:] + "."


def _sed_words(row: Mapping[str, Any]) -> str:
    term = _number(row, "sed_log_odds")
    if not math.isfinite(term):
        return ""
    if term <= 0:
        best = str(row.get("best_class", ""))
        return f"its photometry looks like {_CLASS_WORDS.get(best, 'something else')} (" + (
            f"{odds_words(term)} against a quasar)"
        )
    lensed = _number(row, "p_lensed", 0.0) > _number(row, "p_quasar", 0.0)
    text = f"its photometry favours {_CLASS_WORDS['lensed' if lensed else 'quasar']}"
    redshift = _number(row, "z_quasar")
    if math.isfinite(redshift):
        text += f" at z = {redshift:.2f}"
    return f"{text} ({odds_words(term)})"


def _similarity_words(row: Mapping[str, Any]) -> str:
    percent = _number(row, "similarity_percentile")
    if not math.isfinite(percent):
        return ""
    closer = "closer to" if _number(row, "similarity_term", 0.0) > 0 else "farther from"
    share = percent if closer == "closer to" else 100.0 - percent
    if share >= 99.995:
        return f"no other image is {closer} those of the known quasars"
    text = f"{share:.{_places(share)}f}"
    return f"its image is {closer} those of the known quasars than {text} % are"


def _island_words(row: Mapping[str, Any]) -> str:
    n_known, n_island = _number(row, "island_n_known"), _number(row, "island_n")
    if not math.isfinite(n_known):
        return ""
    island = int(_number(row, "island", -1.0))
    where = f"lies on island {island}" if island >= 0 else "lies on no island"
    among = "with" if island >= 0 else "like"
    return (
        f"it {where}, {among} {n_known:.0f} other known quasar{'' if n_known == 1 else 's'} "
        f"among {n_island:,.0f} objects"
    )


def _image_words(row: Mapping[str, Any]) -> str:
    quasar, lensed = (
        _number(row, f"image_log_odds_{kind}", -math.inf) for kind in ("quasar", "lensed")
    )
    if max(quasar, lensed) == -math.inf:
        return ""
    if _number(row, "image_term", 0.0) < 0:
        return "its image is unlike those of simulated quasars"
    return f"its image is like those of simulated {'lensed ' if lensed > quasar else ''}quasars"


def _lens_words(row: Mapping[str, Any]) -> str:
    """Say what its shape says, where it is likely to be a quasar at all."""
    log_odds = _number(row, "lens_log_odds")
    if not math.isfinite(log_odds) or not _number(row, "score", -math.inf) > 0:
        return ""
    kind = "a lensed quasar" if log_odds > 0 else "a single quasar"
    return f"its shape is that of {kind} ({odds_words(log_odds)})"


def _together_words(row: Mapping[str, Any]) -> str:
    """Say what all evidence comes to."""
    wanted = _number(row, "combined_p_quasar") + _number(row, "combined_p_lensed")
    if not math.isfinite(wanted):
        return ""
    text = f"all in all a quasar with a probability of {chance_words(wanted)}"
    if wanted < 0.01:
        return text
    lensed = _number(row, "combined_p_lensed") / wanted
    return f"{text}, lensed if so with {chance_words(lensed)}"


def chance_words(probability: float) -> str:
    """Write a probability as a percentage that is never rounded to 0 or 100."""
    percent = 100.0 * probability
    if percent < 0.1:
        return "less than 0.1 %"
    if percent > 99.9:
        return "more than 99.9 %"
    return f"{percent:.1f} %" if percent < 1 or percent > 99 else f"{percent:.0f} %"


def _places(percent: float) -> int:
    """Decimals that keep 99.94 % from reading as 100 %."""
    return 2 if percent > 99.8 else 1 if percent > 98.5 else 0


def _join(words: list[str]) -> str:
    return words[0] if len(words) == 1 else "; ".join(words[:-1]) + "; and " + words[-1]


def _number(row: Mapping[str, Any], name: str, default: float = math.nan) -> float:
    return cell_number(row.get(name), default)
