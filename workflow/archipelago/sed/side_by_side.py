"""LePHARE's result beside our own verdict, in one table."""

from __future__ import annotations

import pandas as pd

from archipelago.base.errors import DataError
from archipelago.base.tables import require_columns

#: Columns of the verdicts that stand beside LePHARE's, in order.
OWN_COLUMNS = (
    "p_star",
    "p_galaxy",
    "p_quasar",
    "p_lensed",
    "p_other",
    "log_odds_quasar",
    "log_odds_lensed",
    "z_quasar",
    "z_quasar_lo",
    "z_quasar_hi",
)


def side_by_side(lephare: pd.DataFrame, verdicts: pd.DataFrame) -> pd.DataFrame:
    """Return LePHARE's table with `OWN_COLUMNS` of the verdicts after its own columns.

    Parameters
    ----------
    lephare : one row per object: id and LePHARE's columns.
    verdicts : one row per object, in any order: id, `OWN_COLUMNS` and others.

    Returns
    -------
    The rows of ``lephare``, in its order.

    Raises
    ------
    DataError
        If the two do not hold the same objects, each once.
    InputError
        If the verdicts lack a column.
    """
    require_columns(verdicts, ["id", *OWN_COLUMNS], "the verdicts")
    for name, table in (("LePHARE's table", lephare), ("the verdicts", verdicts)):
        if table["id"].duplicated().any():
            raise DataError("an id occurs twice", where=name, next_step="remake the catalogue")
    only = set(lephare["id"]) ^ set(verdicts["id"])
    if only:
        raise DataError(
            f"{len(only)} objects have either a fit of LePHARE or a verdict, not both",
            where=f"id {min(only)}",
            next_step="remake both from the same catalogue",
        )
    return lephare.merge(verdicts[["id", *OWN_COLUMNS]], on="id", how="left", validate="one_to_one")


def without_own(table: pd.DataFrame) -> pd.DataFrame:
    """Return LePHARE's columns alone of a table of `side_by_side`."""
    return table.drop(columns=[name for name in OWN_COLUMNS if name in table])
