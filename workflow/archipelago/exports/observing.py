"""The observing list: what a telescope and its observer need of each candidate."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from archipelago.exports.choose import (
    ascii_text,
    magnitudes,
    names,
    numbers,
    priorities,
    quasar_probability,
    remarks,
    texts,
)
from archipelago.exports.positions import best_month, sexagesimal_dec, sexagesimal_ra

#: What the columns of the list mean; ``B`` stands for a band.
ABOUT = {
    "name": "after the position (IAU: digits cut off, not rounded)",
    "ra": "right ascension, J2000 (ICRS), hours:minutes:seconds",
    "dec": "declination, J2000 (ICRS), degrees:minutes:seconds",
    "priority": "1, 2 or 3: probability of a quasar, lensed or not, of 0.5 and more, 0.1 and more, "
    "or less",
    "rank": "place in the list of all objects",
    "best_month": "month in which it culminates at midnight",
    "mag_ab_B": "AB magnitude; empty where not detected",
    "mag_err_B": "its error",
    "mag_limit_B": "AB magnitude of 3 sigma, where not detected",
    "p_quasar_or_lensed": "probability of a quasar, lensed or not",
    "z_quasar": "redshift if it is a quasar, from photometry",
    "ra_deg": "right ascension, ICRS [deg]",
    "dec_deg": "declination, ICRS [deg]",
    "id": "identifier of the object in the survey",
    "remark": "known quasar, or entry in a list of known objects",
}
#: Letters of a remark in the text of fixed width, at most.
_LONGEST_REMARK = 80


def observing_table(chosen: pd.DataFrame, bands: Sequence[str]) -> pd.DataFrame:
    """Return the observing list, best first; columns: see `ABOUT`.

    Parameters
    ----------
    chosen : the candidates; see `archipelago.exports.choose.chosen`.
    bands : whose magnitudes are given.
    """
    ra_deg, dec_deg = numbers(chosen, "ra_deg"), numbers(chosen, "dec_deg")
    columns: dict[str, object] = {
        "name": names(chosen),
        "ra": [sexagesimal_ra(value) for value in ra_deg],
        "dec": [sexagesimal_dec(value) for value in dec_deg],
        "priority": np.array(priorities(chosen), dtype=np.int64),
        "rank": chosen["rank"].to_numpy(dtype=np.int64),
        "best_month": [best_month(value) for value in ra_deg],
    }
    for band in bands:
        found = magnitudes(chosen, band)
        columns[f"mag_ab_{band}"] = np.round(found.mag_ab, 3)
        columns[f"mag_err_{band}"] = np.round(found.err_mag, 3)
        columns[f"mag_limit_{band}"] = np.round(found.limit_ab, 3)
    columns["p_quasar_or_lensed"] = np.round(quasar_probability(chosen), 4)
    columns["z_quasar"] = np.round(numbers(chosen, "z_quasar"), 3)
    columns["ra_deg"] = ra_deg
    columns["dec_deg"] = dec_deg
    columns["id"] = chosen["id"].to_numpy(dtype=np.int64)
    columns["remark"] = remarks(chosen)
    return pd.DataFrame(columns)


def observing_text(chosen: pd.DataFrame, bands: Sequence[str], run: str) -> str:
    """Return the observing list as text of fixed width, in printable ASCII.

    Parameters
    ----------
    chosen, bands : as of `observing_table`.
    run : name of the search, for the head.

    Returns
    -------
    str
        Comments, a line of column names, and a line per candidate. Magnitudes are AB with their
        errors in parentheses, ``>`` a limit of 3 sigma, ``-`` nothing known.
    """
    table = observing_table(chosen, bands)
    columns = {
        "name": table["name"].tolist(),
        "RA(J2000)": [sexagesimal_ra(value, separator=" ") for value in table["ra_deg"]],
        "Dec(J2000)": [sexagesimal_dec(value, separator=" ") for value in table["dec_deg"]],
        "pri": table["priority"].astype(str).tolist(),
        "rank": table["rank"].astype(str).tolist(),
        "month": [month or "-" for month in table["best_month"]],
    }
    for band in bands:
        found = magnitudes(chosen, band)
        columns[band] = [found.text(row) for row in range(len(chosen))]
    columns["P(QSO)"] = [f"{p:.2f}" if np.isfinite(p) else "-" for p in quasar_probability(chosen)]
    columns["class"] = [ascii_text(one) or "-" for one in _classes(chosen)]
    columns["remark"] = [ascii_text(one)[:_LONGEST_REMARK] for one in table["remark"]]
    head = (
        f"# Candidates of the search {ascii_text(run)}: {len(table)}, best first\n"
        "# RA, Dec: J2000 (ICRS). Magnitudes: AB (error); >: 3 sigma limit; -: not known.\n"
        "# pri: 1 where P(QSO), the chance of a quasar, lensed or not, is at least 0.5; 2 from 0.1;"
        " else 3.\n"
        "# month: culmination at midnight.\n"
    )
    return head + _aligned(columns)


def _classes(chosen: pd.DataFrame) -> list[str]:
    combined = texts(chosen, "combined_class")
    return combined if any(combined) else texts(chosen, "best_class")


def _aligned(columns: dict[str, list[str]]) -> str:
    widths = {name: max(map(len, [name, *cells])) for name, cells in columns.items()}
    rows = [list(columns), *(list(row) for row in zip(*columns.values(), strict=True))]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths.values(), strict=True))
        for row in rows
    )
    return "".join(line.rstrip() + "\n" for line in lines)
