"""The catalogue of a search on a demo sky, made in this process, and what is true of it.

The same functions as in the rules `select`, `match` and `photometry` run, with the embedded
survey asked directly instead of over HTTP: the objects and fluxes are those of ``make demo``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from archipelago.demosky.adql import AdqlDatabase
from archipelago.demosky.catalogues import nearest
from archipelago.demosky.sky import BANDS, Sky, truth_table
from archipelago.photometry.measure import measure, read_bands
from archipelago.survey.adql import load_query
from archipelago.survey.select import select_sources
from archipelago.survey.xmatch import CatalogueSpec, match_catalogues, separation_arcsec

#: HEALPix pixels of nside 32, first and last: the whole sky in one query.
_HPIX = (0, 12 * 32**2 - 1)
#: What the demo calls the tile of all objects here; only losses say it.
_TILE = "all"


class SkyTap:
    """Answers queries from a sky's own table, as its TAP service does."""

    def __init__(self, sky: Sky) -> None:
        self._database = AdqlDatabase({"des_dr2.mag": sky.des})

    def query(self, adql: str, *, max_rows: int) -> pd.DataFrame:
        """Return the rows of a query."""
        return self._database.query(adql, max_rows).table


class SkyMatcher:
    """Finds nearest partners in a sky's own tables, as its X-Match service does."""

    def __init__(self, sky: Sky) -> None:
        self._tables = {
            "vizier:II/328/allwise": sky.allwise,
            "vizier:II/363/unwise": sky.unwise,
            "vizier:II/367/vhs_dr5": sky.vhs,
        }

    def best_partners(
        self,
        ra_deg: np.ndarray,
        dec_deg: np.ndarray,
        spec: CatalogueSpec,
        *,
        max_rows: int,
    ) -> pd.DataFrame:
        """Return the nearest partner of each position; see `XMatchClient.best_partners`."""
        table = self._tables[spec.vizier_id]
        ra, dec = table[spec.ra_deg].to_numpy(), table[spec.dec_deg].to_numpy()
        found = nearest(ra_deg, dec_deg, ra, dec, spec.radius_arcsec)
        row = np.flatnonzero(found >= 0)
        partner = found[row]
        columns: dict[str, Any] = {
            "row": row,
            "id": table[spec.id].astype(str).to_numpy()[partner],
            "ra_deg": ra[partner],
            "dec_deg": dec[partner],
            "separation_arcsec": separation_arcsec(
                ra_deg[row], dec_deg[row], ra[partner], dec[partner]
            ),
        }
        for band, (value, error) in spec.bands.items():
            columns[f"value_{band}"] = table[value].to_numpy(dtype=float)[partner]
            columns[f"error_{band}"] = table[error].to_numpy(dtype=float)[partner]
        return pd.DataFrame(columns)


def sky_catalogue(sky: Sky, search: Mapping[str, Any], query: str) -> pd.DataFrame:
    """Return the table of photometry that a search makes of a sky.

    Parameters
    ----------
    sky : the synthetic sky.
    search : sections survey, match and photometry of the configuration.
    query : file of the ADQL query.

    Returns
    -------
    As `archipelago.photometry.measure.measure`: sorted by id, what passes all cuts.
    """
    survey, partners, section = search["survey"], search["match"], search["photometry"]
    _, matched, _ = sky_matches(sky, search, query)
    photometry, _, _ = measure(
        matched,
        read_bands(section["bands"], survey["bands"], *(one["bands"] for one in partners)),
        section["depths"],
        section["detection_sigma"],
        section["cuts"],
        _TILE,
    )
    return photometry


def sky_matches(
    sky: Sky, search: Mapping[str, Any], query: str
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Return what the query selects, what is left of it after the matches, and what they lost.

    Parameters as of `sky_catalogue`.
    """
    survey = search["survey"]
    adql = load_query(query, hpix_min=_HPIX[0], hpix_max=_HPIX[1])
    sources, _ = select_sources(
        [SkyTap(sky).query(adql, max_rows=survey["max_rows"])],
        columns=survey["columns"],
        bands=survey["bands"],
        tile=_TILE,
    )
    matched, losses = match_catalogues(
        sources, search["match"], SkyMatcher(sky), tile=_TILE, max_rows=survey["max_rows"]
    )
    return sources, matched, losses


def foreground_shares(sky: Sky) -> pd.DataFrame:
    """Return the foreground galaxy's flux over the quasar's, per band.

    Of the noise-free total fluxes: that of the lens over that of all images, or that of the
    galaxy over the quasar's where they only lie in one line of sight.

    Returns
    -------
    Indexed by object id, a column per band; inf where the quasar is black. Objects without
    both have no row.
    """
    names = [f"flux_ujy_{band}" for band in BANDS]
    parts = sky.components
    front = parts[parts["role"].isin(["lens", "galaxy"])].groupby("object_id")[names].sum()
    quasar = parts[parts["role"].isin(["image", "quasar"])].groupby("object_id")[names].sum()
    ratio = front.loc[front.index.intersection(quasar.index)] / quasar
    return ratio.loc[front.index.intersection(quasar.index)].set_axis(list(BANDS), axis=1)


def demo_objects(sky: Sky, search: Mapping[str, Any], query: str) -> pd.DataFrame:
    """Return the catalogue of a demo sky with its truth; parameters as of `sky_catalogue`.

    Returns
    -------
    Columns of the catalogue; then ``seed``; ``true_B`` for each further column B of the truth;
    and, where a galaxy lies before a quasar, the largest of its `foreground_shares` over all
    bands (``front_any``), over the bands in which the catalogue has a detection
    (``front_seen``), and from z to W2 (``front_red``); NaN elsewhere.
    """
    table = sky_catalogue(sky, search, query)
    truth = truth_table(sky).drop(columns=["ra_deg", "dec_deg", "ebv_sfd98", "hpix_32"])
    truth = truth.rename(columns={name: f"true_{name}" for name in truth.columns if name != "id"})
    table = table.merge(truth, on="id", how="left", validate="one_to_one")
    shares = foreground_shares(sky).reindex(table["id"]).reset_index(drop=True)
    seen = pd.DataFrame(
        {band: table[f"detected_{band}"] for band in BANDS if f"detected_{band}" in table}
    )
    table["front_any"] = shares.max(axis=1)
    table["front_seen"] = shares[list(seen.columns)].where(seen).max(axis=1)
    table["front_red"] = shares[list(BANDS[3:])].max(axis=1)
    table.insert(0, "seed", sky.seed)
    return table


def catalogue_columns(table: pd.DataFrame) -> pd.DataFrame:
    """Return what a search knows of the objects of `demo_objects`: no truth at all."""
    return table[[name for name in table.columns if not is_truth(name)]]


def is_truth(name: str) -> bool:
    """Say whether a column of `demo_objects` is unknown to a search."""
    return name == "seed" or name.startswith(("true_", "front_"))
