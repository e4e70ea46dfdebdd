from __future__ import annotations

import io
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers.loopback import (
    LAUGHS,
    Answer,
    Loopback,
    Request,
    error_votable,
    patient_client,
    votable,
)

import archipelago.survey.xmatch as xmatch
from archipelago.base.errors import ConfigError, DataError, ServiceError
from archipelago.base.tables import read_table, write_table
from archipelago.survey.cache import Cache
from archipelago.survey.faults import BannedError
from archipelago.survey.xmatch import XMatchClient, match_catalogues, separation_arcsec

ALLWISE: dict[str, Any] = {
    "name": "allwise",
    "vizier_id": "vizier:II/328/allwise",
    "radius_arcsec": 1.0,
    "columns": {"id": "AllWISE", "ra_deg": "RAJ2000", "dec_deg": "DEJ2000"},
    "bands": {"W1": {"value": "W1mag", "error": "e_W1mag", "system": "mag_vega"}},
}
VHS: dict[str, Any] = {
    "name": "vhs",
    "vizier_id": "vizier:II/367/vhs_dr5",
    "radius_arcsec": 1.0,
    "columns": {"id": "SrcID", "ra_deg": "RAJ2000", "dec_deg": "DEJ2000"},
    "bands": {
        "J": {"value": "Jpmag", "error": "e_Jpmag"},
        "K": {"value": "Kspmag", "error": "e_Kspmag"},
    },
}

WISE_FIELDS = [
    *(("upload_row", "long"), ("upload_ra", "double"), ("upload_dec", "double")),
    *(("AllWISE", "char"), ("RAJ2000", "double"), ("DEJ2000", "double")),
    *(("W1mag", "float"), ("e_W1mag", "float"), ("angDist", "double")),
]
ARCSEC = 1 / 3600


def sources(ra: Sequence[float], dec: Sequence[float]) -> pd.DataFrame:
    n = len(ra)
    ids = np.arange(n, dtype=np.int64)[::-1] + 100
    return pd.DataFrame({"id": ids, "ra_deg": ra, "dec_deg": dec, "mag_ab_z": np.full(n, 20.0)})


def uploaded(request: Request) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(request.form["cat1"]))


def shifted(request: Request, *offsets_arcsec: float, skip: Sequence[int] = ()) -> Answer:
    """Answer with partners north of each object, all of them: `selection` is ignored."""
    rows = [
        (int(row), ra, dec, f"J{i}", ra, dec + offset * ARCSEC, 15.0, None, offset)
        for row, ra, dec in uploaded(request).itertuples(index=False)
        for i, offset in enumerate(offsets_arcsec)
        if row not in skip
    ]
    return Answer(votable(WISE_FIELDS, rows))


def match(
    server: Loopback, table: pd.DataFrame, *specs: dict[str, Any], **settings: object
) -> tuple[pd.DataFrame, pd.DataFrame]:
    with patient_client(**settings) as (client, _):
        return match_catalogues(
            table, specs or (ALLWISE,), XMatchClient(server.url + "/sync", client), tile="t1"
        )


def test_nearest_partner_even_if_the_server_sends_all(server: Loopback) -> None:
    server.at("/sync", lambda request: shifted(request, 0.8, 0.3, 0.5, skip=[1]))
    matched, losses = match(server, sources([10.0, 359.99999, 0.00001], [-45.0, 89.9, -89.9]))
    assert matched["id"].to_list() == [100, 102]  # sorted by id
    assert matched["id_allwise"].to_list() == ["J1", "J1"]
    np.testing.assert_allclose(matched["separation_arcsec_allwise"], 0.3, rtol=1e-6)
    assert matched["value_W1"].to_list() == [15.0, 15.0]
    assert matched["error_W1"].isna().all()
    assert list(matched.columns) == [
        *("id", "ra_deg", "dec_deg", "mag_ab_z", "id_allwise", "ra_deg_allwise"),
        *("dec_deg_allwise", "separation_arcsec_allwise", "value_W1", "error_W1"),
    ]
    assert losses[["id", "stage", "reason", "tile"]].to_numpy().tolist() == [
        [101, "match", "no allwise partner within 1 arcsec", "t1"]
    ]
    form = server.requests[0].form
    assert {k: form[k] for k in ("request", "cat2", "selection", "distMaxArcsec")} == {
        "request": "xmatch",
        "cat2": "vizier:II/328/allwise",
        "selection": "best",
        "distMaxArcsec": "1.0",
    }
    assert (form["colRA1"], form["colDec1"]) == ("upload_ra", "upload_dec")
    assert form["RESPONSEFORMAT"] == "votable" and int(form["MAXREC"]) > 3


def test_positions_are_sent_to_the_last_digit(server: Loopback) -> None:
    server.at("/sync", lambda request: shifted(request, 0.1))
    ra = [10.123456789012345, 1e-7]
    matched, _ = match(server, sources(ra, [0.0, 0.0]))
    assert sorted(uploaded(server.requests[0])["upload_ra"]) == sorted(ra)
    assert len(matched) == 2


def test_catalogues_in_order(server: Loopback) -> None:
    def both(request: Request) -> Answer:
        if "allwise" in request.form["cat2"]:
            return shifted(request, 0.1, skip=[0])
        fields = [
            *(("upload_row", "long"), ("SrcID", "long"), ("RAJ2000", "double")),
            *(("DEJ2000", "double"), ("Jpmag", "float"), ("e_Jpmag", "float")),
            *(("Kspmag", "float"), ("e_Kspmag", "float")),
        ]
        rows = [
            (int(row), 2**60 + int(row), ra, dec, 19.0, 0.1, None, None)
            for row, ra, dec in uploaded(request).itertuples(index=False)
            if row != 1
        ]
        return Answer(votable(fields, rows))

    server.at("/sync", both)
    matched, losses = match(server, sources([1.0, 2.0, 3.0], [0.0, 0.0, 0.0]), ALLWISE, VHS)
    assert matched["id"].to_list() == [101]
    assert matched["id_vhs"].to_list() == [str(2**60)]
    assert matched["value_J"].to_list() == [19.0]
    assert losses["reason"].to_list() == [
        "no allwise partner within 1 arcsec",
        "no vhs partner within 1 arcsec",
    ]
    assert len(uploaded(server.requests[1])) == 2


def test_blocks(server: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xmatch, "BLOCK_ROWS", 2)
    server.at("/sync", lambda request: shifted(request, 0.2))
    matched, losses = match(server, sources([1.0, 2.0, 3.0, 4.0, 5.0], [0.0] * 5))
    assert len(server.requests) == 3
    assert (len(matched), len(losses)) == (5, 0)
    np.testing.assert_allclose(matched["ra_deg"], matched["ra_deg_allwise"])


def test_nothing_asks_nothing(server: Loopback, tmp_path: Path) -> None:
    matched, losses = match(server, sources([], []), ALLWISE, VHS)
    assert server.requests == []
    assert (len(matched), len(losses)) == (0, 0)
    assert matched["value_J"].dtype == "float64" and matched["id_vhs"].dtype == "str"
    write_table(matched, tmp_path / "a.parquet")
    assert list(read_table(tmp_path / "a.parquet")) == list(matched)


def test_no_partner_at_all_stops_asking(server: Loopback) -> None:
    server.at("/sync", Answer(votable(WISE_FIELDS, [])))
    matched, losses = match(server, sources([1.0], [1.0]), ALLWISE, VHS)
    assert len(server.requests) == 1
    assert (len(matched), len(losses)) == (0, 1)
    assert "value_K" in matched


def one_row(**changes: object) -> bytes:
    row: dict[str, object] = {f[0]: 15.0 for f in WISE_FIELDS}
    row |= {"upload_row": 0, "AllWISE": "J", "RAJ2000": 1.0, "DEJ2000": 1.0} | changes
    return votable(WISE_FIELDS, [[row[f[0]] for f in WISE_FIELDS]])


@pytest.mark.parametrize(
    ("body", "match_text"),
    [
        (one_row(upload_row=1), "rows that were not sent"),
        (one_row(upload_row=-1), "rows that were not sent"),
        (one_row(DEJ2000=1.0 + 1.2 * ARCSEC), "1 partners lie outside the radius"),
        (one_row(RAJ2000=None), "outside the radius"),
        (error_votable("no such table"), "no such table"),
        (votable(WISE_FIELDS, [], status="OVERFLOW"), "was cut at 0 rows"),
        (b"<html/>", "not XML"),
        (LAUGHS, "dangerous XML"),
    ],
)
def test_answers_that_cannot_be_trusted(server: Loopback, body: bytes, match_text: str) -> None:
    server.at("/sync", Answer(body))
    with pytest.raises(ServiceError, match=match_text):
        match(server, sources([1.0], [1.0]))


def test_cut_answer_is_told_from_a_full_one(server: Loopback) -> None:
    server.at("/sync", lambda request: shifted(request, *np.linspace(0.1, 0.9, 10)))
    with patient_client() as (client, _), pytest.raises(ServiceError, match="was cut at 10 rows"):
        match_catalogues(
            sources([1.0], [1.0]),
            [ALLWISE],
            XMatchClient(server.url + "/sync", client),
            tile="t",
            max_rows=10,
        )


def test_rounded_partner_just_outside_is_kept(server: Loopback) -> None:
    server.at("/sync", Answer(one_row(DEJ2000=1.0 + 1.02 * ARCSEC)))
    matched, _ = match(server, sources([1.0], [1.0]))
    assert len(matched) == 1


def test_ban_and_refusal(server: Loopback) -> None:
    server.at("/sync", Answer(b"Forbidden", 403))
    with pytest.raises(BannedError, match="banned"):
        match(server, sources([1.0], [1.0]))
    assert len(server.requests) == 1
    server.at("/sync", Answer(error_votable("unknown catalogue"), 400))
    with pytest.raises(ServiceError, match="failed: unknown catalogue.*vizier_id"):
        match(server, sources([1.0], [1.0]))


def test_second_match_asks_nothing(server: Loopback, tmp_path: Path) -> None:
    server.at("/sync", lambda request: shifted(request, 0.2, skip=[1]))
    table = sources([1.0, 2.0, 3.0], [0.0] * 3)
    first, losses = match(server, table, cache=Cache(tmp_path, 10**9))
    assert (len(first), len(losses), len(server.requests)) == (2, 1, 1)
    second, again = match(server, table, cache=Cache(tmp_path, 10**9))
    pd.testing.assert_frame_equal(first, second)
    pd.testing.assert_frame_equal(losses, again)
    assert len(server.requests) == 1
    match(server, table, {**ALLWISE, "radius_arcsec": 2.0}, cache=Cache(tmp_path, 10**9))
    match(server, sources([1.0, 2.0], [0.0] * 2), cache=Cache(tmp_path, 10**9))
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    "body",
    [
        error_votable("busy"),
        votable(WISE_FIELDS, [], status="OVERFLOW"),
        one_row(DEJ2000=1.0 + 1.2 * ARCSEC),
        votable(WISE_FIELDS[:-2], []),
    ],
)
def test_answers_that_cannot_be_trusted_are_not_kept(
    server: Loopback, tmp_path: Path, body: bytes
) -> None:
    server.at("/sync", Answer(body), Answer(one_row()))
    table = sources([1.0], [1.0])
    with pytest.raises((ServiceError, DataError)):
        match(server, table, cache=Cache(tmp_path, 10**9))
    assert len(match(server, table, cache=Cache(tmp_path, 10**9))[0]) == 1
    assert len(server.requests) == 2


def test_ban_stops_other_jobs_before_they_ask(server: Loopback, tmp_path: Path) -> None:
    server.at("/sync", Answer(b"Forbidden", 403))
    for match_text in ("has banned this client: Forbidden", "noted since.*It said: Forbidden"):
        with pytest.raises(BannedError, match=match_text):
            match(server, sources([1.0], [1.0]), cache=Cache(tmp_path, 10**9))
    assert len(server.requests) == 1


def test_one_upload_at_a_time(server: Loopback) -> None:
    lock = threading.Lock()
    now, most = 0, 0

    def count(request: Request) -> Answer:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        answer = shifted(request, 0.2)
        with lock:
            now -= 1
        return answer

    server.at("/sync", count)
    spec = xmatch.CatalogueSpec.from_mapping(ALLWISE)
    with patient_client(connections=8) as (client, _), ThreadPoolExecutor(8) as pool:
        service = XMatchClient(server.url + "/sync", client)
        one = np.array([1.0])
        parts = list(pool.map(lambda i: service.best_partners(one + i, one, spec), range(16)))
    assert [len(part) for part in parts] == [1] * 16
    assert (len(server.requests), most) == (16, 1)


def test_missing_column_and_text_for_a_number(server: Loopback) -> None:
    server.at("/sync", Answer(votable(WISE_FIELDS[:-2], [])))
    with pytest.raises(DataError, match="lacks the columns e_W1mag"):
        match(server, sources([1.0], [1.0]))
    fields = [(f[0], "char" if f[0] == "W1mag" else f[1]) for f in WISE_FIELDS]
    server.at("/sync", Answer(votable(fields, [(0, 1.0, 1.0, "J", 1.0, 1.0, "x", 0.1, 0.0)])))
    with pytest.raises(DataError, match="value_W1 of vizier:II/328/allwise holds what is no"):
        match(server, sources([1.0], [1.0]))


@pytest.mark.parametrize(
    ("specs", "match_text"),
    [
        ([ALLWISE, ALLWISE], "the name allwise comes twice"),
        ([ALLWISE, {**ALLWISE, "name": "b"}], "the band W1 comes twice"),
        ([{**ALLWISE, "radius_arcsec": 0}], "0.0 arcsec is out of range"),
        ([{**ALLWISE, "radius_arcsec": 181}], "out of range"),
        ([{"name": "a"}], "incomplete"),
        ([{**ALLWISE, "bands": {"W1": {"value": "x"}}}], "incomplete: KeyError: 'error'"),
    ],
)
def test_bad_specs(server: Loopback, specs: list[dict[str, Any]], match_text: str) -> None:
    with pytest.raises(ConfigError, match=match_text):
        match(server, sources([1.0], [1.0]), *specs)


def test_separation_is_exact_near_zero_and_the_poles() -> None:
    ra1, dec1, ra2, dec2 = np.array(
        [
            [0.0, 0.0, 360.0, 1e-7],
            [0.0, 89.9999, 180.0, 89.9999],
            [10.0, 60.0, 10.0 + 2 * ARCSEC, 60.0],
        ]
    ).T
    np.testing.assert_allclose(
        separation_arcsec(ra1, dec1, ra2, dec2), [3.6e-4, 0.72, 1.0], rtol=1e-6
    )
