"""Known quasars: from a service, or from a file."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from archipelago.base.errors import DataError, InputError
from archipelago.base.tables import read_any_table, require_columns
from archipelago.survey.select import Tap, find_column

_LOG = logging.getLogger(__name__)

#: Columns of the table of known quasars.
COLUMNS = ("name", "ra_deg", "dec_deg", "redshift", "source")

#: What the columns are, for the metadata of the file.
ABOUT = {
    "name": "name in the source",
    "ra_deg": "right ascension, ICRS, from the source",
    "dec_deg": "declination, ICRS, from the source",
    "redshift": "redshift, from the source",
    "source": "catalogue or file that the row comes from",
}

#: Columns of Milliquas as VizieR VII/294/catalog (Flesch 2023) names them.
_MILLIQUAS = {"name": "Name", "ra_deg": "RAJ2000", "dec_deg": "DEJ2000", "redshift": "z"}


def known_quasars_from_service(
    tap: Tap, adql: str, *, min_redshift: float, max_rows: int
) -> pd.DataFrame:
    """Ask for the known quasars.

    Parameters
    ----------
    tap : client of the service that holds them.
    adql : a query that gives Name, RAJ2000, DEJ2000 and z, or these under the
        names of `COLUMNS`.
    min_redshift : rows at or below it are left out, whatever the server sends.
    max_rows : most rows accepted.

    Returns
    -------
    Columns `COLUMNS`, sorted by name and position. ``source`` names the table
    of the query.

    Raises
    ------
    ServiceError
        From the client.
    DataError
        If the answer lacks a column or a column holds no numbers.
    """
    answer = tap.query(adql, max_rows=max_rows)
    table = re.search(r'FROM\s+"?([\w/.+-]+)"?', adql, re.IGNORECASE)
    source = table[1] if table else "query"
    found = {
        name: find_column(answer, name) or find_column(answer, _MILLIQUAS[name])
        for name in COLUMNS[:4]
    }
    if missing := [name for name, column in found.items() if column is None]:
        raise DataError(
            f"the answer to the query of known quasars lacks {', '.join(missing)}; "
            f"it has {', '.join(map(str, answer.columns))}",
            where=source,
            next_step="give Name, RAJ2000, DEJ2000 and z in the query",
        )
    raw = pd.DataFrame({name: answer[column] for name, column in found.items()})
    return _clean(raw, source, min_redshift)


def known_quasars_from_file(
    path: str | Path, *, min_redshift: float, columns: Mapping[str, str] | None = None
) -> pd.DataFrame:
    """Read the known quasars from a table of a user.

    Parameters
    ----------
    path : any format of `archipelago.base.tables.read_any_table`.
    min_redshift : rows at or below it, or without a redshift, are left out.
    columns : the table's names of name, ra_deg, dec_deg and redshift; these
        themselves if None.

    Returns
    -------
    The same as `known_quasars_from_service`, ``source`` being the file's name.

    Raises
    ------
    InputError
        If the file cannot be read, lacks a column or has no rows.
    DataError
        If a column holds no numbers.
    """
    raw = read_any_table(path)
    names = dict(columns or {name: name for name in COLUMNS[:4]})
    require_columns(raw, names.values(), path)
    if not len(raw):
        raise InputError("the table has no rows", where=str(path), next_step="check the file")
    chosen = pd.DataFrame({ours: raw[theirs] for ours, theirs in names.items()})
    return _clean(chosen, Path(path).name, min_redshift)


def no_known_quasars() -> pd.DataFrame:
    """Return the table for a search that goes without known quasars."""
    return pd.DataFrame(
        {
            name: pd.Series(dtype="str" if name in ("name", "source") else "float64")
            for name in COLUMNS
        }
    )


def _clean(raw: pd.DataFrame, source: str, min_redshift: float) -> pd.DataFrame:
    name = raw["name"].map(lambda v: v.decode("utf-8", "replace") if isinstance(v, bytes) else v)
    table = pd.DataFrame({"name": name.astype("str").fillna("").str.strip()})
    for column in ("ra_deg", "dec_deg", "redshift"):
        try:
            numbers = pd.to_numeric(raw[column]).astype("Float64")
        except (ValueError, TypeError) as error:
            raise DataError(
                f"the column {column} of the known quasars holds what is no number: {error}",
                where=source,
                next_step="give degrees and plain redshifts",
            ) from error
        table[column] = numbers.to_numpy(dtype="float64", na_value=np.nan)
    table["source"] = source
    table["source"] = table["source"].astype("str")
    good = (
        table["ra_deg"].between(0, 360)
        & table["dec_deg"].between(-90, 90)
        & (table["redshift"] > min_redshift)
    )
    if not good.all():
        _LOG.warning(
            "%d of %d known quasars of %s are left out: no valid position, or redshift not > %g",
            (~good).sum(),
            len(table),
            source,
            min_redshift,
        )
    table = table[good].sort_values(["name", "ra_deg", "dec_deg", "redshift"], kind="stable")
    return table.drop_duplicates().reset_index(drop=True)[list(COLUMNS)]
