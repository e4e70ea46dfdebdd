"""How much of a known truth the ranked list holds, and where the rest was lost."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from archipelago.base.errors import InputError
from archipelago.base.tables import require_columns

#: Columns of the table that `measure_recall` returns.
RECALL_COLUMNS = (
    "group",
    "list",
    "top",
    "n_listed",
    "n_found",
    "n_catalogue",
    "n_sky",
    "recall_catalogue",
    "recall_sky",
    "mean_rank",
    "median_rank",
    "worst_rank",
    "lost",
)

#: The list without the known quasars, and the whole list.
LISTS = ("unknown", "all")
_NOT_SELECTED = "not selected by the query"


def measure_recall(
    candidates: pd.DataFrame,
    truth: pd.DataFrame,
    losses: pd.DataFrame,
    catalogue: pd.DataFrame,
    top: Sequence[int] = (10, 20, 30, 50, 100),
    radius_arcsec: float = 1.0,
) -> pd.DataFrame:
    """Count the true quasars among the first of the list.

    Parameters
    ----------
    candidates : ranked table: id, rank, rank_unknown, is_known.
    truth : what is true of each object: ra_deg, dec_deg, is_quasar, is_lensed, known,
        and optionally id (else matched by position) and kind.
    losses : table of losses, to tell where an object went that is not in the list.
    catalogue : objects that reached the ranking: id, ra_deg, dec_deg.
    top : numbers of candidates looked at.
    radius_arcsec : largest distance where truth has no id.

    Returns
    -------
    One row per group, list and number. ``list`` is "unknown", in which known quasars
    are skipped and do not count, or "all". Groups: "ordinary" and "lensed" quasars,
    "blend" where truth tells blends, all of them unknown to the search; and "known"
    (list "all" only). ``n_sky`` counts a group in truth, ``n_catalogue`` those that reached
    the ranking, ``n_found`` those among the first ``top``; ``lost`` says where the
    others went, as "stage: number" joined by semicolons.

    Raises
    ------
    InputError
        If truth lacks a column.
    """
    required = ("ra_deg", "dec_deg", "is_quasar", "is_lensed", "known")
    require_columns(truth, required, "the truth table (truth.file)")
    truth = truth.copy()
    if "id" not in truth.columns:
        truth["id"] = _ids_by_position(truth, catalogue, losses, radius_arcsec)
    rank = candidates.set_index("id")
    fates = _fates(truth, catalogue, losses)
    rows = []
    for group, member in _groups(truth).items():
        ids = truth.loc[member, "id"]
        lost = fates[member.to_numpy()].value_counts()
        lost_words = "; ".join(f"{name}: {n}" for name, n in sorted(lost.items()) if name)
        for kind in LISTS if group != "known" else LISTS[1:]:
            places = rank["rank_unknown" if kind == "unknown" else "rank"].reindex(ids)
            values = places.dropna().to_numpy(dtype=float)
            n_catalogue = int(ids.isin(catalogue["id"]).sum())
            for number in top:
                found = int((values <= number).sum())
                listed = len(rank) if kind == "all" else int((~rank["is_known"]).sum())
                rows.append(
                    {
                        "group": group,
                        "list": kind,
                        "top": int(number),
                        "n_listed": min(int(number), listed),
                        "n_found": found,
                        "n_catalogue": n_catalogue,
                        "n_sky": len(ids),
                        "recall_catalogue": _share(found, n_catalogue),
                        "recall_sky": _share(found, len(ids)),
                        "mean_rank": float(values.mean()) if len(values) else math.nan,
                        "median_rank": float(np.median(values)) if len(values) else math.nan,
                        "worst_rank": float(values.max()) if len(values) else math.nan,
                        "lost": lost_words,
                    }
                )
    return pd.DataFrame(rows, columns=list(RECALL_COLUMNS))


def recall_text(table: pd.DataFrame, headline: int = 50) -> str:
    """Say in plain words what `measure_recall` found.

    Parameters
    ----------
    table : its result.
    headline : the number of candidates that the first lines are about; the nearest in the table.
    """
    if not len(table):
        return "The truth holds no quasars: there is nothing to recall.\n"
    number = min(table["top"].unique(), key=lambda top: (abs(top - headline), top))
    lines = [
        f"Of the quasars in the sky that nobody knew, the first {number} candidates hold "
        "(known quasars skipped):"
    ]
    ours = table[table["list"] == "unknown"]
    for row in ours[ours["top"] == number].to_dict("records"):
        lines.append(f"  {_NAMES[row['group']] + ':':<36}{_found_words(row)}")
        if row["lost"]:
            lines.append(f"  {'':<36}lost before the ranking: {row['lost']}")
    for kind, title in zip(LISTS, ("Known quasars skipped", "Whole list"), strict=True):
        part = table[table["list"] == kind]
        if len(part):
            lines += ["", f"{title}: found among the first", _count_table(part)]
    return "\n".join(lines) + "\n"


_NAMES = {
    "ordinary": "ordinary quasars, unknown",
    "lensed": "lensed quasars, unknown",
    "blend": "quasars blended with a galaxy",
    "known": "known quasars",
}


def _found_words(row: Mapping[Hashable, Any]) -> str:
    found, n_catalogue, n_sky = (row[name] for name in ("n_found", "n_catalogue", "n_sky"))
    if not n_sky:
        return "none in this sky"
    text = f"{found} of {n_catalogue} that reached the ranking"
    if n_catalogue:
        text += f" ({100 * found / n_catalogue:.0f} %), mean rank {row['mean_rank']:.1f}"
    return f"{text}; {n_sky} in the sky"


def _count_table(part: pd.DataFrame) -> str:
    tops = sorted(part["top"].unique())
    lines = [f"  {'':<36}" + "".join(f"{top:>6}" for top in tops) + "   ranked  in sky"]
    for group, rows in part.groupby("group", sort=False):
        counts = rows.set_index("top")["n_found"]
        first = rows.iloc[0]
        lines.append(
            f"  {_NAMES[str(group)]:<36}"
            + "".join(f"{counts[top]:>6}" for top in tops)
            + f"{first['n_catalogue']:>9}{first['n_sky']:>8}"
        )
    return "\n".join(lines)


def _groups(truth: pd.DataFrame) -> dict[str, pd.Series]:
    quasar, lensed, known = (_flag(truth, name) for name in ("is_quasar", "is_lensed", "known"))
    wanted = quasar | lensed
    blend = pd.Series(False, index=truth.index)
    if "kind" in truth.columns:
        blend = wanted & ~lensed & truth["kind"].astype("str").str.contains("blend", na=False)
    groups = {
        "ordinary": wanted & ~lensed & ~blend & ~known,
        "lensed": lensed & ~known,
        "blend": blend & ~known,
        "known": wanted & known,
    }
    if not groups["blend"].any():
        del groups["blend"]
    return groups


def _flag(truth: pd.DataFrame, name: str) -> pd.Series:
    """Read a column of yes and no, which a CSV may hold as text or as 0 and 1."""
    words = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}
    flags = truth[name].astype("str").str.strip().str.lower().map(words)
    if flags.isna().any():
        odd = truth.loc[flags.isna(), name].iloc[0]
        raise InputError(
            f"the column {name} holds {odd!r}, which is neither true nor false",
            where="the truth table (truth.file)",
            next_step="write true or false",
        )
    return flags.astype(bool)


def _fates(truth: pd.DataFrame, catalogue: pd.DataFrame, losses: pd.DataFrame) -> pd.Series:
    """Stage that lost each object of truth; empty for those that reached the catalogue."""
    stage = losses.drop_duplicates("id").set_index("id")["stage"].astype("str")
    fates = truth["id"].map(stage).astype("object").fillna(_NOT_SELECTED)
    # An object whose image was lost is still in the catalogue, and ranked.
    return fates.mask(truth["id"].isin(catalogue["id"]), "")


def _ids_by_position(
    truth: pd.DataFrame, catalogue: pd.DataFrame, losses: pd.DataFrame, radius_arcsec: float
) -> NDArray[np.int64]:
    """Id of the nearest object of the catalogue or of the losses; -1 - row where there is none."""
    names = ["id", "ra_deg", "dec_deg"]
    # The catalogue first: at equal distance it counts.
    objects = pd.concat([catalogue[names], losses[names].dropna()]).drop_duplicates("id")
    ids = -1 - np.arange(len(truth), dtype=np.int64)
    if len(objects) and len(truth):
        chord = 2 * math.sin(math.radians(radius_arcsec / 3600) / 2)
        distance, nearest = cKDTree(_unit_vectors(objects)).query(_unit_vectors(truth))
        near = distance <= chord
        ids[near] = objects["id"].to_numpy(dtype=np.int64)[nearest[near]]
    return ids


def _unit_vectors(table: pd.DataFrame) -> NDArray[np.float64]:
    ra, dec = (np.radians(table[name].to_numpy(dtype=float)) for name in ("ra_deg", "dec_deg"))
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=-1)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else math.nan
