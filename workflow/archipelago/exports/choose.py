"""Which candidates are exported, and what observers need of each."""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from archipelago.base.tables import require_columns
from archipelago.exports.positions import iau_name

#: AB magnitude of 1 uJy.
_ZERO_POINT_UJY = 23.9
#: Magnitudes of this and more stand for "none".
_NO_MAGNITUDE = 90.0
#: Significance of the limits that are given where a band has no detection [sigma].
LIMIT_SIGMA = 3.0
#: Least probability of a quasar, lensed or not, of priority 1 and of 2; the rest has 3.
PRIORITY_LIMITS = (0.5, 0.1)


@dataclass(frozen=True)
class Magnitudes:
    """Magnitudes of objects in one band.

    Attributes
    ----------
    mag_ab : (n,) AB magnitudes, NaN where not detected.
    err_mag : (n,) their errors; NaN where there is none.
    limit_ab : (n,) where not detected, the AB magnitude of `LIMIT_SIGMA` times the flux's error;
        else NaN.
    """

    mag_ab: NDArray[np.float64]
    err_mag: NDArray[np.float64]
    limit_ab: NDArray[np.float64]

    def text(self, row: int) -> str:
        """Return one as text: ``20.31(0.02)``, ``>24.70``, or ``-`` where nothing is known."""
        mag, err, limit = (float(one[row]) for one in (self.mag_ab, self.err_mag, self.limit_ab))
        if math.isfinite(mag):
            # An error of 0.00 would be none.
            digits = 2 if err >= 0.0095 else 3
            return f"{mag:.2f}({err:.{digits}f})" if math.isfinite(err) else f"{mag:.2f}"
        return f">{limit:.2f}" if math.isfinite(limit) else "-"


def chosen(candidates: pd.DataFrame, n: int, known: bool) -> pd.DataFrame:
    """Return the first candidates of the list, best first.

    Parameters
    ----------
    candidates : table of the rule ``candidates``: rank, is_known, id, ra_deg, dec_deg, ...
    n : number of candidates, at most.
    known : whether quasars known before are among them.

    Returns
    -------
    DataFrame
        The rows, with a new index. Objects without a position are passed over: nothing can point
        at them.
    """
    require_columns(candidates, ("rank", "is_known", "id", "ra_deg", "dec_deg"), "exports")
    wanted = has_position(candidates)
    if not known:
        wanted &= ~candidates["is_known"].eq(True).to_numpy(dtype=bool)
    return candidates[wanted].sort_values("rank").head(n).reset_index(drop=True)


def has_position(table: pd.DataFrame) -> NDArray[np.bool_]:
    """Return (n,) which objects have a right ascension and a declination."""
    ra, dec = (numbers(table, name) for name in ("ra_deg", "dec_deg"))
    return np.isfinite(ra) & (np.abs(dec) <= 90.0)


def numbers(table: pd.DataFrame, column: str) -> NDArray[np.float64]:
    """Return a column as (n,) numbers; NaN where the cell is missing, or the column absent."""
    if column not in table.columns:
        return np.full(len(table), np.nan)
    return table[column].to_numpy(dtype=float, na_value=np.nan)


def texts(table: pd.DataFrame, column: str) -> list[str]:
    """Return a column as one line of text each; '' where the cell is missing or there is none."""
    if column not in table.columns:
        return [""] * len(table)
    values = table[column]
    given = values.astype(object).where(values.notna(), "").tolist()
    return [one_line(str(one)) for one in given]


def one_line(text: str) -> str:
    """Return ``text`` on one line, without characters that control a terminal or a reader."""
    plain = "".join(
        " " if unicodedata.category(one) in ("Cc", "Cf", "Cs", "Zl", "Zp") else one for one in text
    )
    return " ".join(plain.split())


def ascii_text(text: str) -> str:
    """Return ``text`` in printable ASCII: accents are dropped, what has no likeness becomes '?'."""
    apart = unicodedata.normalize("NFKD", one_line(text))
    bare = "".join(one for one in apart if not unicodedata.combining(one))
    return re.sub(r"[^ -~]", "?", bare)


def magnitudes(table: pd.DataFrame, band: str) -> Magnitudes:
    """Return the magnitudes of a band, from ``mag_ab_``, ``mag_err_`` and ``flux_err_ujy_``."""
    mag, err, flux_err = (
        numbers(table, f"{name}_{band}") for name in ("mag_ab", "mag_err", "flux_err_ujy")
    )
    seen = np.isfinite(mag) & (mag < _NO_MAGNITUDE)
    has_error = seen & np.isfinite(err) & (err < _NO_MAGNITUDE)
    usable = ~seen & np.isfinite(flux_err) & (flux_err > 0)
    limit = np.full(len(table), np.nan)
    limit[usable] = _ZERO_POINT_UJY - 2.5 * np.log10(LIMIT_SIGMA * flux_err[usable])
    return Magnitudes(np.where(seen, mag, np.nan), np.where(has_error, err, np.nan), limit)


def quasar_probability(table: pd.DataFrame) -> NDArray[np.float64]:
    """Return (n,) the probability of a quasar, lensed or not; NaN where there is no verdict.

    The combined one (``combined_p_*``) where the table has it, else that of photometry alone.
    """
    prefix = "combined_p" if "combined_p_quasar" in table.columns else "p"
    both = [numbers(table, f"{prefix}_{name}") for name in ("quasar", "lensed")]
    total = np.nansum(both, axis=0)
    return np.where(np.isfinite(both).any(axis=0), total, np.nan)


def priorities(table: pd.DataFrame) -> list[int]:
    """Return 1, 2 or 3 for each object, by `quasar_probability` and `PRIORITY_LIMITS`."""
    chance = np.nan_to_num(quasar_probability(table), nan=0.0)
    first, second = PRIORITY_LIMITS
    return np.select([chance >= first, chance >= second], [1, 2], default=3).tolist()


def names(table: pd.DataFrame) -> list[str]:
    """Return a name for each object: after its position; where two share one, with the id."""
    given = [
        iau_name(ra, dec)
        for ra, dec in zip(numbers(table, "ra_deg"), numbers(table, "dec_deg"), strict=True)
    ]
    ids = table["id"].astype(int).tolist()
    times = Counter(given)
    return [
        name if name and times[name] == 1 else f"{name or 'id'}_{number}"
        for name, number in zip(given, ids, strict=True)
    ]


def remarks(table: pd.DataFrame) -> list[str]:
    """Return what is known of each object: a quasar's name, its name and type in lists; or ''."""
    known = table["is_known"].eq(True).tolist() if "is_known" in table else [False] * len(table)
    redshifts = numbers(table, "known_redshift")
    columns = ("known_name", "listed_name", "listed_type", "listed_in")
    found = []
    for row, (name, listed, kind, where) in enumerate(
        zip(*(texts(table, column) for column in columns), strict=True)
    ):
        parts = []
        if known[row]:
            at = f" at z = {redshifts[row]:.3f}" if math.isfinite(redshifts[row]) else ""
            parts.append(f"known quasar {name}".strip() + at)
        if where and not (known[row] and listed == name):
            parts.append(f"listed: {listed or 'no name'}" + (f" ({kind})" if kind else ""))
        found.append("; ".join(parts))
    return found


def bands_or_all(bands: Sequence[str] | None, of_search: Sequence[str]) -> list[str]:
    """Return ``bands``, or all of the search where none are chosen."""
    return list(of_search if bands is None else bands)
