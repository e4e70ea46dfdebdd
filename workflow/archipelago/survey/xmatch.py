"""Cross-match with other catalogues at the CDS X-Match service.

The service is asked for the best partner of each object. That is the nearest
one to our object within the radius; two of our objects may share it, so this is
not symmetric (it equals ``match_to_catalog_sky`` of astropy). A server that
ignores the wish and sends all partners leads to the same result, as the nearest
is chosen here once more; and whatever comes back is checked.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd

from archipelago.base.errors import ConfigError, DataError, ServiceError
from archipelago.base.losses import check_conservation, join_losses, losses_frame, no_losses
from archipelago.base.progress import Progress
from archipelago.survey.faults import RequestError
from archipelago.survey.http import HttpClient
from archipelago.survey.select import find_column
from archipelago.survey.votable import Reader, require_ok, server_words

#: Name of this stage in tables of losses.
STAGE = "match"
#: Group of the answers in the cache.
CACHE_GROUP = "xmatch"
#: Rows of one upload. Far below the service's limits (100 MB up, 2,000,000 rows down).
BLOCK_ROWS = 50_000
#: Most rows that the service ever returns.
SERVICE_MAX_ROWS = 2_000_000
#: Largest radius that the service takes [arcsec].
SERVICE_MAX_RADIUS_ARCSEC = 180.0
#: How far beyond the radius a partner may lie [arcsec]: catalogues round the
#: positions that they show, by which they do not match.
POSITION_TOLERANCE_ARCSEC = 0.05

_ROW, _RA, _DEC = "upload_row", "upload_ra", "upload_dec"


@dataclass(frozen=True)
class CatalogueSpec:
    """A catalogue to be matched with.

    Parameters
    ----------
    name : its name in our columns.
    vizier_id : its name at the service, such as ``vizier:II/328/allwise``.
    radius_arcsec : largest separation [arcsec].
    id, ra_deg, dec_deg : its columns of identifier and position.
    bands : per band its columns of value and error.
    """

    name: str
    vizier_id: str
    radius_arcsec: float
    id: str
    ra_deg: str
    dec_deg: str
    bands: Mapping[str, tuple[str, str]]

    @classmethod
    def from_mapping(cls, section: Mapping[str, Any]) -> CatalogueSpec:
        """Build it from one entry of the section ``match`` of the configuration.

        Raises
        ------
        ConfigError
            If a key is absent or the radius is not within the service's limits.
        """
        try:
            columns = section["columns"]
            spec = cls(
                name=str(section["name"]),
                vizier_id=str(section["vizier_id"]),
                radius_arcsec=float(section["radius_arcsec"]),
                id=columns["id"],
                ra_deg=columns["ra_deg"],
                dec_deg=columns["dec_deg"],
                bands={b: (c["value"], c["error"]) for b, c in section["bands"].items()},
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ConfigError(
                f"an entry is incomplete: {type(error).__name__}: {error}",
                where="match",
                next_step="give name, vizier_id, radius_arcsec, columns and bands",
            ) from error
        if not 0 < spec.radius_arcsec <= SERVICE_MAX_RADIUS_ARCSEC:
            raise ConfigError(
                f"the radius of {spec.radius_arcsec} arcsec is out of range",
                where=f"match.{spec.name}.radius_arcsec",
                next_step=f"choose one in (0, {SERVICE_MAX_RADIUS_ARCSEC}]",
            )
        return spec


class Matcher(Protocol):
    """What `match_catalogues` needs of a client."""

    def best_partners(
        self, ra_deg: np.ndarray, dec_deg: np.ndarray, spec: CatalogueSpec, *, max_rows: int
    ) -> pd.DataFrame:
        """Return the nearest partner of each position; see `XMatchClient.best_partners`."""
        ...


class XMatchClient:
    """Asks a CDS X-Match service, one upload after another.

    The service bans clients that send several at once, so that the client is told to
    send one request at a time to this host. Its answers are kept in the client's cache.

    Parameters
    ----------
    url : address of its ``sync`` end.
    client : sends the requests.
    """

    def __init__(self, url: str, client: HttpClient) -> None:
        self.url = url
        self._client = client
        client.limit_host(url, 1)

    def best_partners(
        self,
        ra_deg: np.ndarray,
        dec_deg: np.ndarray,
        spec: CatalogueSpec,
        *,
        max_rows: int = SERVICE_MAX_ROWS,
    ) -> pd.DataFrame:
        """Return the nearest partner of each position.

        Parameters
        ----------
        ra_deg, dec_deg : (n,) positions, ICRS [deg]. None at all asks nothing.
        spec : the catalogue.
        max_rows : most rows accepted for one upload (MAXREC).

        Returns
        -------
        One row per position that has a partner, in order of ``row`` (0 to
        n - 1): row, id (text), ra_deg, dec_deg, separation_arcsec, and value_B
        and error_B per band; missing numbers are NaN.

        Raises
        ------
        BannedError
            If the service has banned this client (HTTP 403), now or in the last hours.
        ServiceError
            If it fails, was cut at ``max_rows``, or sends rows that are not
            ours or lie outside the radius.
        """
        parts = []
        for start in range(0, len(ra_deg), BLOCK_ROWS):
            block = slice(start, start + BLOCK_ROWS)
            partners = self._ask(ra_deg[block], dec_deg[block], spec, max_rows)
            partners["row"] += start
            parts.append(partners)
        return pd.concat(parts, ignore_index=True) if parts else _no_partners(spec)

    def _ask(
        self, ra_deg: np.ndarray, dec_deg: np.ndarray, spec: CatalogueSpec, max_rows: int
    ) -> pd.DataFrame:
        # One more than the best partners can be, so that a full answer is no cut one.
        limit = min(max(max_rows, len(ra_deg) + 1), SERVICE_MAX_ROWS)
        text = io.StringIO()
        upload = pd.DataFrame({_ROW: np.arange(len(ra_deg)), _RA: ra_deg, _DEC: dec_deg})
        upload.to_csv(text, index=False)
        reader = _PartnerReader(ra_deg, dec_deg, spec, limit, self.url)
        try:
            self._client.request(
                "POST",
                self.url,
                data={
                    "request": "xmatch",
                    "cat2": spec.vizier_id,
                    "colRA1": _RA,
                    "colDec1": _DEC,
                    "distMaxArcsec": repr(spec.radius_arcsec),
                    "selection": "best",
                    "RESPONSEFORMAT": "votable",
                    "MAXREC": str(limit),
                },
                files={"cat1": ("cat1.csv", text.getvalue().encode("ascii"), "text/csv")},
                check=reader,
                banned_status=403,
                keep=CACHE_GROUP,
            )
        except RequestError as error:
            if not error.body or not error.reason.startswith("http") or error.status == 403:
                raise
            raise ServiceError(
                f"the cross-match with {spec.vizier_id} failed: {server_words(error)}",
                url=error.url,
                status=error.status,
                next_step="check match.vizier_id, or run again if the service was busy",
            ) from error
        return reader.partners


class _PartnerReader:
    """Judges bodies as a `Check`: complete, and partners of what was sent.

    What a repetition does not change is raised as `ServiceError` or `DataError`, so
    that an answer that cannot be trusted is neither asked for twice nor kept.
    """

    def __init__(
        self,
        ra_deg: np.ndarray,
        dec_deg: np.ndarray,
        spec: CatalogueSpec,
        limit: int,
        url: str,
    ) -> None:
        self.partners = _no_partners(spec)
        self._positions = ra_deg, dec_deg
        self._spec = spec
        self._limit = limit
        self._url = url

    def __call__(self, body: bytes) -> None:
        reader = Reader()
        reader(body)
        reply = require_ok(reader.reply, self._url)
        if reply.status == "OVERFLOW" or len(reply) >= self._limit:
            raise ServiceError(
                f"the cross-match with {self._spec.vizier_id} was cut at {len(reply)} rows",
                url=self._url,
                status=200,
                next_step="raise survey.max_rows, or choose a smaller radius",
            )
        self.partners = _check(reply.frame(), *self._positions, self._spec, self._url)


def describe_partners(specs: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return a sentence on each column that `match_catalogues` adds.

    Parameters
    ----------
    specs : as of `match_catalogues`.
    """
    about: dict[str, str] = {}
    for spec in specs:
        name, source = spec["name"], spec["vizier_id"]
        about[f"id_{name}"] = f"{spec['columns']['id']} of {source}"
        about[f"ra_deg_{name}"] = f"right ascension of the partner, ICRS, from {source}"
        about[f"dec_deg_{name}"] = f"declination of the partner, ICRS, from {source}"
        about[f"separation_arcsec_{name}"] = f"distance to the partner in {source}"
        for band, column in spec["bands"].items():
            about[f"value_{band}"] = f"{column['value']} of {source}, as {column['system']}"
            about[f"error_{band}"] = f"{column['error']} of {source}, as {column['system']}"
    return about


def match_catalogues(
    sources: pd.DataFrame,
    specs: Sequence[Mapping[str, Any]],
    client: Matcher,
    *,
    tile: str,
    max_rows: int = SERVICE_MAX_ROWS,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Match objects with one catalogue after the other; only those in all remain.

    Parameters
    ----------
    sources : objects with id, ra_deg, dec_deg and any other columns.
    specs : entries of the section ``match`` of the configuration, in order.
    client : asks the service.
    tile : name of the tile, for the losses.
    max_rows : most rows accepted for one upload.

    Returns
    -------
    matched :
        ``sources``, as far as all catalogues have a partner, sorted by id; and
        per catalogue NAME id_NAME (text), ra_deg_NAME, dec_deg_NAME,
        separation_arcsec_NAME, and value_B, error_B of its bands as the
        catalogue gives them (its system is the configuration's matter).
    losses :
        One row per object without a partner, of the first catalogue without.

    Raises
    ------
    ConfigError
        If an entry is incomplete, or a name or band comes twice.
    ServiceError
        From the client.
    """
    catalogues = [CatalogueSpec.from_mapping(spec) for spec in specs]
    _require_unique(catalogues)
    matched = sources.sort_values("id", kind="stable").reset_index(drop=True)
    losses = no_losses()
    with Progress(len(catalogues), "catalogues matched") as progress:
        for spec in catalogues:
            partners = client.best_partners(
                matched["ra_deg"].to_numpy(dtype="float64"),
                matched["dec_deg"].to_numpy(dtype="float64"),
                spec,
                max_rows=max_rows,
            )
            rows = partners["row"].to_numpy(dtype="int64")
            alone = np.setdiff1d(np.arange(len(matched)), rows)
            reason = f"no {spec.name} partner within {spec.radius_arcsec:g} arcsec"
            lost = losses_frame(matched.iloc[alone], tile=tile, stage=STAGE, reason=reason)
            losses = join_losses([losses, lost])
            matched = matched.iloc[rows].reset_index(drop=True)
            for column in partners.columns.drop("row"):
                name = f"{column}_{spec.name}" if column in _COMMON else column
                matched[name] = partners[column].to_numpy()
            matched[f"id_{spec.name}"] = matched[f"id_{spec.name}"].astype("str")
            progress.step()
    check_conservation(len(sources), len(matched), len(losses), where=f"match, tile {tile}")
    return matched, losses


_COMMON = ("id", "ra_deg", "dec_deg", "separation_arcsec")


def separation_arcsec(
    ra1_deg: np.ndarray, dec1_deg: np.ndarray, ra2_deg: np.ndarray, dec2_deg: np.ndarray
) -> np.ndarray:
    """Return great-circle separations [arcsec] of positions [deg], exact also when small.

    The haversine formula; right ascensions may differ by whole turns.
    """
    ra1, dec1, ra2, dec2 = (np.radians(x) for x in (ra1_deg, dec1_deg, ra2_deg, dec2_deg))
    half = (
        np.sin((dec2 - dec1) / 2) ** 2 + np.cos(dec1) * np.cos(dec2) * np.sin((ra2 - ra1) / 2) ** 2
    )
    return np.degrees(2 * np.arcsin(np.sqrt(np.clip(half, 0, 1)))) * 3600


def _require_unique(catalogues: Sequence[CatalogueSpec]) -> None:
    names = [spec.name for spec in catalogues]
    bands = [band for spec in catalogues for band in spec.bands]
    for kind, values in (("name", names), ("band", bands)):
        if twice := sorted({value for value in values if values.count(value) > 1}):
            raise ConfigError(
                f"the {kind} {', '.join(twice)} comes twice",
                where="match",
                next_step="each catalogue needs its own name, each band one catalogue",
            )


def _no_partners(spec: CatalogueSpec) -> pd.DataFrame:
    columns: dict[str, pd.Series] = {
        "row": pd.Series(dtype="int64"),
        "id": pd.Series(dtype="str"),
    }
    numbers = ["ra_deg", "dec_deg", "separation_arcsec"]
    numbers += [f"{kind}_{band}" for band in spec.bands for kind in ("value", "error")]
    return pd.DataFrame(columns | {name: pd.Series(dtype="float64") for name in numbers})


def _check(
    answer: pd.DataFrame, ra_deg: np.ndarray, dec_deg: np.ndarray, spec: CatalogueSpec, url: str
) -> pd.DataFrame:
    """Return the answer in our columns, the nearest partner per row; raise if it lies."""
    wanted = {"row": _ROW, "id": spec.id, "ra_deg": spec.ra_deg, "dec_deg": spec.dec_deg}
    for band, (value, error) in spec.bands.items():
        wanted |= {f"value_{band}": value, f"error_{band}": error}
    found = {name: find_column(answer, column) for name, column in wanted.items()}
    if missing := [wanted[name] for name, column in found.items() if column is None]:
        raise DataError(
            f"the answer for {spec.vizier_id} lacks the columns {', '.join(missing)}; "
            f"it has {', '.join(map(str, answer.columns))}",
            where=url,
            next_step=f"correct the column names of match.{spec.name}",
        )
    partners = pd.DataFrame({name: answer[column] for name, column in found.items()})
    numbers = list(partners.columns.drop("id"))
    try:
        for name in numbers:
            column = pd.to_numeric(partners[name].replace("", None)).astype("Float64")
            partners[name] = column.to_numpy(dtype="float64", na_value=np.nan)
    except (ValueError, TypeError) as error:
        raise DataError(
            f"the column for {name} of {spec.vizier_id} holds what is no number: {error}",
            where=url,
            next_step=f"correct the column names of match.{spec.name}",
        ) from error
    identifier = partners["id"]
    partners["id"] = identifier.astype("str").where(identifier.notna(), "")
    rows = partners["row"].to_numpy()
    if not (np.isin(rows, np.arange(len(ra_deg)))).all():
        raise _untrusted(spec, url, "it holds rows that were not sent")
    rows = rows.astype(np.int64)
    partners["row"] = rows
    partners["separation_arcsec"] = separation_arcsec(
        ra_deg[rows], dec_deg[rows], partners["ra_deg"].to_numpy(), partners["dec_deg"].to_numpy()
    )
    limit = spec.radius_arcsec + POSITION_TOLERANCE_ARCSEC
    # Written so that a NaN counts as too far, too.
    far = ~(partners["separation_arcsec"] <= limit)
    if far.any():
        worst = partners.loc[far, "separation_arcsec"].iloc[0]
        raise _untrusted(
            spec, url, f"{far.sum()} partners lie outside the radius, the first at {worst:.3g}"
        )
    order = ["row", "separation_arcsec", "id"]
    partners = partners.sort_values(order, kind="stable").drop_duplicates("row")
    return partners[list(_no_partners(spec).columns)].reset_index(drop=True)


def _untrusted(spec: CatalogueSpec, url: str, what: str) -> ServiceError:
    return ServiceError(
        f"the answer for {spec.vizier_id} cannot be trusted: {what}",
        url=url,
        status=200,
        next_step="run again; if it persists, check the positions' columns and tell the service",
    )
