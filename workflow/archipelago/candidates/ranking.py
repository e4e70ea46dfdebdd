"""All evidence in one table, one row per object of the catalogue, one rank."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from astropy.table import MaskedColumn, Table

from archipelago.base.errors import DataError
from archipelago.base.files import atomic_path
from archipelago.base.losses import check_conservation
from archipelago.base.tables import require_columns, unit_of, write_csv, write_table
from archipelago.base.ucds import ucd_of
from archipelago.base.votable import votable_marks
from archipelago.candidates.combine import ABOUT as ABOUT_COMBINED
from archipelago.candidates.combine import Calibration, combine
from archipelago.candidates.reasons import reason
from archipelago.candidates.terms import (
    CLASSES,
    island_log_ratio,
    numbers,
    sed_log_odds,
    similarity_log_ratio,
)

_WHERE = "candidates"

#: What a column means, beyond its name. Columns of earlier stages are described there.
ABOUT = {
    "rank": "place in the list of all objects, 1 is best; ties by id",
    "rank_unknown": "place among objects that are not known quasars; none for known ones",
    "id": "identifier of the object in the survey",
    "ra_deg": "right ascension, ICRS",
    "dec_deg": "declination, ICRS",
    "sed_log_odds": "ln odds of quasar or lensed quasar against the rest, from photometry [nats]",
    "similarity_log_ratio": "ln of the rate of known quasars at its similarity to them, over that "
    "of all objects [nats]; of a known quasar from the others",
    "island_log_ratio": "ln of the rate of known quasars on its island, over that of all objects, "
    "x island_stability [nats]; of a known quasar from the others",
    "best_class": "most probable class by photometry",
    "combined_class": "most probable class by all evidence",
    **ABOUT_COMBINED,
    "is_known": "matches a quasar known before the search",
    "known_name": "name of the known quasar at its position",
    "known_redshift": "redshift of that quasar",
    "has_sed": "the SED stage has a verdict",
    "has_images": "cutouts in all bands exist and are on the map",
    "similarity_percentile": "percentage of unknown objects not more similar to known quasars",
    "island_n": "other objects on the island",
    "island_n_known": "other known quasars on the island",
    "island_p_value": "chance of so many known quasars on the island, corrected for the islands",
    "reason": "why it stands where it does",
}
_FIRST = (
    "rank",
    "rank_unknown",
    "id",
    "ra_deg",
    "dec_deg",
    "score",
    "combined_class",
    "combined_p_star",
    "combined_p_galaxy",
    "combined_p_quasar",
    "combined_p_lensed",
    "combined_p_other",
    "base_term",
    "sed_term",
    "learning_term",
    "similarity_term",
    "island_term",
    "image_term",
    "lensed_score",
    "lensed_base_term",
    "lensed_sed_term",
    "lensed_image_term",
    "lensed_lens_term",
    "evidence_used",
    "best_class",
    "is_known",
    "known_name",
    "known_redshift",
    "has_sed",
    "has_images",
    "sed_log_odds",
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
    "similarity_known",
    "similarity_known_std",
    "similarity_log_ratio",
    "similarity_rank",
    "similarity_percentile",
    "island",
    "island_stability",
    "island_log_ratio",
    "island_n",
    "island_n_known",
    "island_p_value",
    "image_log_odds_quasar",
    "image_log_odds_quasar_std",
    "image_rank_quasar",
    "image_log_odds_lensed",
    "image_log_odds_lensed_std",
    "image_rank_lensed",
    "lens_log_odds",
    "map_x",
    "map_y",
)


def gather_evidence(
    catalogue: pd.DataFrame,
    verdicts: pd.DataFrame,
    known: pd.DataFrame,
    islands: pd.DataFrame | None = None,
    enrichment: pd.DataFrame | None = None,
    lephare: pd.DataFrame | None = None,
    evidence: pd.DataFrame | None = None,
    lensing: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Bring all evidence together, one row per object of the catalogue, by id.

    Parameters
    ----------
    catalogue : (n) objects: id, ra_deg, dec_deg and photometry.
    verdicts : SED verdicts: id, ``p_*``, log-odds, chi2, redshifts.
    known : objects that are known quasars: id, known_name, known_redshift.
    islands : id, island, island_stability, similarity_rank, ...; None where the
        search goes without images. Objects without a row have no images.
    enrichment : per island its corrected p-value, kept as evidence and not scored; or None.
    lephare : id and LePHARE's results, kept as evidence and not scored; or None.
    evidence : id, image_log_odds_quasar, image_log_odds_lensed and more: likeness to simulated
        quasars; None where none were simulated.
    lensing : id, lens_log_odds and what it is made of; None where it was not measured.

    Returns
    -------
    (n) rows by id: every column of these tables, and what they say in nats:
    ``sed_log_odds``, ``similarity_log_ratio``, ``island_log_ratio``.

    Raises
    ------
    DataError
        If an id occurs twice, or a table holds ids that the catalogue has not.
    """
    require_columns(catalogue, ("id", "ra_deg", "dec_deg"), f"{_WHERE}: the catalogue")
    require_columns(known, ("id", "known_name", "known_redshift"), f"{_WHERE}: known quasars")
    _check_ids(catalogue, catalogue, "catalogue")
    table = catalogue.sort_values("id", ignore_index=True)
    marked = known[["id", "known_name", "known_redshift"]].assign(is_known=True)
    table = _join(table, marked, "known quasars")
    table["is_known"] = table["is_known"].eq(True)
    table = _join(table, verdicts.assign(has_sed=True), "SED verdicts")
    if islands is not None:
        # Who is known was settled above, for objects without images too.
        islands = islands.drop(columns=["known_name", "known_redshift"], errors="ignore")
        require_columns(islands, ("similarity_rank", "island"), f"{_WHERE}: the islands")
        table = _join(table, islands.assign(has_images=True), "islands")
    if lephare is not None:
        table = _join(table, _prefixed(lephare, "lephare_"), "LePHARE")
    if evidence is not None:
        wanted = ("image_log_odds_quasar", "image_log_odds_lensed")
        require_columns(evidence, wanted, f"{_WHERE}: the evidence of images")
        table = _join(table, evidence, "evidence of images")
    if lensing is not None:
        require_columns(lensing, ("lens_log_odds",), f"{_WHERE}: the evidence of lensing")
        table = _join(table, lensing, "evidence of lensing")
    table = _add_log_ratios(table)
    if enrichment is not None:
        chances = enrichment.set_index("island")["p_value_corrected"]
        on_map = table["island"].where(table["has_images"])
        table["island_p_value"] = on_map.map(chances).astype(float)
    return table


def rank_candidates(gathered: pd.DataFrame, calibration: Calibration) -> pd.DataFrame:
    """Combine the evidence on each object, and rank the objects.

    Parameters
    ----------
    gathered : (n) rows of `gather_evidence`.
    calibration : how the evidence is weighed.

    Returns
    -------
    (n) table sorted by rank, with every piece of evidence in a column of its own.
    Known quasars are marked and ranked, not removed. Objects without a verdict
    come last. Columns: see `ABOUT`.
    """
    combined = combine(gathered, calibration)
    table = pd.concat([gathered, combined], axis=1)
    table["combined_class"] = _best_class(table, "combined_p_")
    table = table.sort_values(
        ["score", "id"], ascending=[False, True], na_position="last", ignore_index=True
    )
    table["rank"] = np.arange(1, len(table) + 1, dtype=np.int64)
    unknown = (~table["is_known"]).cumsum().astype("Int64")
    table["rank_unknown"] = unknown.mask(table["is_known"])
    records = table.to_dict("records")
    table["reason"] = pd.Series(
        [reason({str(k): v for k, v in row.items()}) for row in records], dtype="str"
    )
    check_conservation(len(gathered), len(table), 0, where=_WHERE)
    first = [name for name in _FIRST if name in table.columns]
    rest = [name for name in table.columns if name not in first and name != "reason"]
    return table[[*first, *rest, "reason"]]


def write_candidates(
    table: pd.DataFrame,
    parquet: str | Path,
    ecsv: str | Path,
    csv: str | Path,
    about: Mapping[str, str] | None = None,
) -> None:
    """Write the ranked table three times: Parquet and ECSV, with units and UCDs, and plain CSV.

    ``about`` has sentences on columns of earlier stages; `ABOUT` those of this one.
    """
    known = {**(about or {}), **ABOUT}
    about = {name: text for name, text in known.items() if name in table.columns}
    write_table(table, parquet, about, votable_marks(table, about, "candidates"))
    write_csv(table, csv)
    with atomic_path(ecsv) as temporary:
        _astropy_table(table, about).write(temporary, format="ascii.ecsv", overwrite=True)


def _add_log_ratios(table: pd.DataFrame) -> pd.DataFrame:
    for flag in ("has_sed", "has_images"):
        table[flag] = table[flag].eq(True) if flag in table else False
    log_odds = sed_log_odds(table)
    table["has_sed"] &= np.isfinite(log_odds)
    table["sed_log_odds"] = log_odds
    table["best_class"] = _best_class(table, "p_")
    is_known = table["is_known"].to_numpy(dtype=bool)
    has_images = table["has_images"].to_numpy(dtype=bool)
    rank = numbers(table, "similarity_rank")
    island = np.nan_to_num(numbers(table, "island"), nan=-1).astype(np.int64)
    table["island"] = island
    n_unknown = int((np.isfinite(rank) & ~is_known).sum())
    table["similarity_percentile"] = 100.0 * np.clip(1 - (rank - 1) / max(n_unknown, 1), 0, 1)
    for name, values in _company(island, has_images, is_known).items():
        table[name] = values
    table["similarity_log_ratio"] = similarity_log_ratio(rank, is_known)
    table["island_log_ratio"] = island_log_ratio(
        island, numbers(table, "island_stability"), has_images, is_known
    )
    return table


def _best_class(table: pd.DataFrame, prefix: str) -> pd.Series:
    names = [name for name in (*CLASSES, "other") if f"{prefix}{name}" in table.columns]
    best = pd.Series([""] * len(table), index=table.index, dtype="str")
    if names and len(table):
        chances = table[[f"{prefix}{name}" for name in names]].to_numpy(dtype=float)
        has = np.isfinite(chances).any(axis=1)
        top = np.argmax(np.nan_to_num(chances, nan=-1.0), axis=1)
        best[has] = np.array(names)[top[has]]
    return best


def _company(
    island: np.ndarray, has_images: np.ndarray, is_known: np.ndarray
) -> dict[str, pd.Series]:
    """Count the other objects, and the other known quasars, on the same island."""
    frame = pd.DataFrame({"island": island, "known": is_known.astype(int)})[has_images]
    groups = frame.groupby("island")["known"]
    index = pd.RangeIndex(len(island))
    return {
        "island_n": (groups.transform("size") - 1).reindex(index).astype("Int64"),
        "island_n_known": (groups.transform("sum") - frame["known"]).reindex(index).astype("Int64"),
    }


def _join(table: pd.DataFrame, other: pd.DataFrame, what: str) -> pd.DataFrame:
    """Add the columns of ``other`` by id; columns that both have stay the catalogue's."""
    require_columns(other, ("id",), f"{_WHERE}: {what}")
    _check_ids(other, table, what)
    new = ["id", *(name for name in other.columns if name not in table.columns)]
    return table.merge(other[new], on="id", how="left", validate="one_to_one")


def _check_ids(part: pd.DataFrame, catalogue: pd.DataFrame, what: str) -> None:
    twice = part.loc[part["id"].duplicated(), "id"]
    strange = part.loc[~part["id"].isin(catalogue["id"]), "id"]
    for ids, problem in ((twice, "occur twice"), (strange, "are not in the catalogue")):
        if len(ids):
            some = ", ".join(map(str, ids.head(5)))
            raise DataError(
                f"{what}: {len(ids)} ids {problem}, such as {some}",
                where=_WHERE,
                next_step="run the stage that made this table again",
            )


def _prefixed(table: pd.DataFrame, prefix: str) -> pd.DataFrame:
    return table.rename(
        columns={n: n if n == "id" or n.startswith(prefix) else prefix + n for n in table.columns}
    )


def _astropy_table(table: pd.DataFrame, about: Mapping[str, str]) -> Table:
    """Return the table with units, UCDs and descriptions; missing values are masked."""
    columns = []
    for name in table.columns:
        values = table[name]
        missing = values.isna().to_numpy()
        if pd.api.types.is_bool_dtype(values) or pd.api.types.is_float_dtype(values):
            data, mask = values.to_numpy(), None
        elif pd.api.types.is_integer_dtype(values):
            data = values.fillna(0).to_numpy(dtype=np.int64)
            mask = missing if missing.any() else None
        else:
            data, mask = values.fillna("").to_numpy(dtype=str), None
        column = MaskedColumn(data, name=name, description=about.get(name), unit=unit_of(name))
        if ucd := ucd_of(name):
            column.meta["ucd"] = ucd
        if mask is not None:
            column.mask = mask
        columns.append(column)
    return Table(columns)
