"""The embedded services, asked by the clients that real services are asked by."""

from __future__ import annotations

import concurrent.futures
import gc
import io
import json
import re
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import pyvo
import requests
import yaml
from astropy import units as u
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from pyvo.dal import DALOverflowWarning, DALQueryError
from test_demosky_images import tiny_sky

from archipelago.base.errors import ArchipelagoError, ConfigError, InputError
from archipelago.demosky import __main__ as command
from archipelago.demosky import server as server_module
from archipelago.demosky.adql import AdqlDatabase
from archipelago.demosky.faults import FaultPlan
from archipelago.demosky.images import COUNTS_PER_UJY, Painter
from archipelago.demosky.server import DemoServer
from archipelago.demosky.survey_tiles import tile_at, tiles_in_row

RA, DEC = 30.1, -42.85


@pytest.fixture(scope="module")
def served() -> Iterator[DemoServer]:
    sky = tiny_sky()
    # No neighbours: one might lie in the aperture in which an object is measured.
    with DemoServer(sky, painter=Painter(sky, neighbours=False)) as server:
        yield server


@pytest.fixture
def server(served: DemoServer) -> Iterator[DemoServer]:
    yield served
    served.set_faults(None)


def get(url: str, **kwargs: object) -> requests.Response:
    return requests.get(url, timeout=20, **kwargs)


def sia_rows(server: DemoServer, ra: float = RA, dec: float = DEC, size: float = 0.0021) -> Table:
    answer = get(f"{server.url}/sia/des_dr2?POS={ra},{dec}&SIZE={size},{size}")
    with warnings.catch_warnings():
        # The reply has the real one's irregularities, such as a width of 1 for a column.
        warnings.simplefilter("ignore")
        return Table.read(io.BytesIO(answer.content), format="votable")


def image_urls(server: DemoServer, ra: float = RA, dec: float = DEC) -> dict[str, str]:
    rows = sia_rows(server, ra, dec)
    urls = [str(url) for url in rows["access_url"]]
    wanted = [url for url in urls if re.search(r"p\d\d_[grizY]\.fits\.fz&extn=1&", url)]
    return {re.search(r"_([grizY])\.fits", url)[1]: url for url in wanted}  # type: ignore[index]


# --- ADQL ---


@pytest.fixture(scope="module")
def database() -> AdqlDatabase:
    return AdqlDatabase(
        {
            "s.t": pd.DataFrame(
                {
                    "id": np.arange(6),
                    "a": np.array([1.5, 2.5, np.nan, 4.5, 99.0, -1.0], dtype=np.float32),
                    "b": [1.0, 2.0, 3.0, 4.0, np.inf, 6.0],
                    "Name": ["x", "y", None, "it's", "X", "z_"],
                }
            ),
            "VII/294/catalog": pd.DataFrame({"z": [5.6, 6.1], "Name": ["q", "r"]}),
        }
    )


@pytest.mark.parametrize(
    ("where", "ids"),
    [
        ("a < 4", [0, 1, 5]),
        ("a BETWEEN 2 AND 5 AND b > 2", [3]),
        ("NOT (a < 4 OR b >= 6)", [3]),
        ("(a + b) * 2 > 8 AND (b - a) > 1e0 * -1", [1, 3, 4, 5]),
        ("ABS(a) = 1", [5]),
        ("a IS NULL", [2]),
        ("a IS NOT NULL and id in (2, 3)", [3]),
        ("Name = 'it''s'", [3]),
        ("name LIKE 'x%'", [0]),
        ("t.a < 0 or s.t.id = 0", "syntax"),
        ("id NOT BETWEEN 1 AND 5", [0]),
        ("((a < 4) AND (((b)) <= 1.5))", [0]),
        ("MOD(id, 2) = 1 -- odd ones", [1, 3, 5]),
    ],
)
def test_conditions(database: AdqlDatabase, where: str, ids: list[int] | str):
    query = f"SELECT id FROM s.t WHERE {where}"
    if ids == "syntax":
        with pytest.raises(InputError, match="missing FROM-clause entry"):
            database.query(query, 100)
    else:
        assert database.query(query, 100).table["id"].tolist() == ids


def test_results_keep_types_names_order_and_limits(database: AdqlDatabase):
    answer = database.query("select top 3 ID as oid, A, b-1, t.name from S.T t order by id desc", 9)
    assert list(answer.table.columns) == ["oid", "a", "col_3", "Name"]
    assert answer.table["oid"].tolist() == [5, 4, 3]
    assert answer.table["a"].dtype == np.float32
    assert not answer.overflow
    assert database.query("SELECT * FROM s.t", 5).overflow
    assert not database.query("SELECT * FROM s.t", 6).overflow
    counted = database.query("SELECT COUNT(*) AS n, MAX(b) FROM s.t WHERE b < 5", 5).table
    assert counted.to_numpy().tolist() == [[4, 4.0]]
    quoted = database.query('SELECT "Name" FROM "VII/294/catalog" WHERE z > 6', 5).table
    assert quoted["Name"].tolist() == ["r"]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("SELECT * FROM nowhere", 'relation "nowhere" does not exist'),
        ("SELECT c FROM s.t", 'column "c" does not exist'),
        ('SELECT "name" FROM s.t', 'column "name" does not exist'),
        ("SELECT id FROM s.t WHERE (c < 1)", 'column "c" does not exist'),
        ("SELECT id FROM s.t LIMIT 3", 'syntax error at or near "LIMIT"'),
        ("SELECT id FROM VII/294/catalog", 'relation "VII" does not exist'),
        ("SELECT id FROM s.t; DROP TABLE t0", 'syntax error at or near "DROP"'),
        ("SELECT id FROM s.t WHERE load_extension('x') = 1", "function load_extension"),
        ("DELETE FROM s.t", "SELECT was expected"),
        ("SELECT id, FROM s.t", 'at or near "FROM"'),
        ("SELECT id", "FROM was expected"),
        ("SELECT id FROM s.t WHERE a <", "end of query"),
        ("SELECT id FROM s.t WHERE a # 1", "syntax error"),
        (
            "SELECT id FROM s.t WHERE CONTAINS(POINT('ICRS',a,b),CIRCLE('ICRS',1,2,3))=1",
            r"function circle\(numeric, numeric, numeric\) does not exist",
        ),
    ],
)
def test_what_is_not_understood_is_an_error(database: AdqlDatabase, query: str, message: str):
    with pytest.raises(InputError, match=message):
        database.query(query, 100)


# --- TAP ---

#: pyvo leaves the sockets of streamed answers to the garbage collector.
pyvo_leaves_sockets = pytest.mark.filterwarnings(
    "ignore:unclosed:ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture
def tap(server: DemoServer) -> Iterator[pyvo.dal.TAPService]:
    yield pyvo.dal.TAPService(server.services()["tap"]["url"])
    gc.collect()


@pyvo_leaves_sockets
def test_pyvo_reads_a_table(server: DemoServer, tap: pyvo.dal.TAPService):

    table = tap.run_sync(
        "SELECT coadd_object_id, ra, mag_aper_4_z FROM des_dr2.mag WHERE dec < -42.75 ORDER BY ra",
        maxrec=100,
    ).to_table()
    assert table["coadd_object_id"].tolist() == [1000, 1001, 1002]
    assert table["ra"].tolist() == [30.0, 30.02, 30.1]
    assert "true" in get(f"{server.url}/tap/availability").text
    assert tap.maxrec == 2000
    assert "des_dr2.mag" in list(tap.tables.keys())


@pyvo_leaves_sockets
def test_pyvo_runs_a_job(tap: pyvo.dal.TAPService):

    job = tap.submit_job("SELECT ra FROM des_dr2.mag", maxrec=100)
    assert job.phase == "PENDING"
    job.run().wait(timeout=20)
    assert job.phase == "COMPLETED"
    assert len(job.fetch_result()) == 4
    url = job.url
    job.delete()
    assert get(url).status_code == 404
    assert len(tap.run_async("SELECT ra FROM des_dr2.mag", maxrec=3)) == 3


@pyvo_leaves_sockets
def test_a_failing_job_says_why(tap: pyvo.dal.TAPService):

    job = tap.submit_job("SELECT nothing FROM des_dr2.mag")
    job.run().wait(timeout=20)
    assert job.phase == "ERROR"
    with pytest.raises(DALQueryError, match='column "nothing" does not exist'):
        job.raise_if_error()
    job.delete()


@pyvo_leaves_sockets
def test_too_many_rows_overflow(tap: pyvo.dal.TAPService, monkeypatch: pytest.MonkeyPatch):

    asked = tap.run_sync("SELECT ra FROM des_dr2.mag", maxrec=2)
    assert (len(asked), asked.status[0]) == (2, "OVERFLOW")
    # A MAXREC that the client chose itself makes pyvo no warning; the server's own does.
    monkeypatch.setattr(server_module, "DEFAULT_MAXREC", 3)
    with pytest.warns(DALOverflowWarning):
        assert len(tap.run_sync("SELECT ra FROM des_dr2.mag")) == 3


def test_a_wrong_query_is_an_error_with_http_200(server: DemoServer):
    query = "SELECT ra FROM des_dr2.mag WHERE CONTAINS(POINT(ra,dec),CIRCLE(1,2,3))=1"
    answer = get(f"{server.url}/tap/sync", params={"LANG": "ADQL", "QUERY": query})
    assert answer.status_code == 200
    assert 'value="ERROR"' in answer.text
    assert "function circle(numeric, numeric, numeric) does not exist" in answer.text
    with pytest.raises(DALQueryError, match="circle"):
        pyvo.dal.TAPService(f"{server.url}/tap").run_sync(query)


def test_known_quasars_come_from_a_quoted_vizier_table(server: DemoServer):
    service = pyvo.dal.TAPService(server.services()["vizier_tap"]["url"])
    table = service.run_sync('SELECT Name, z FROM "VII/294/catalog" WHERE z > 5.5').to_table()
    assert table["Name"].tolist() == ["QSO <1003>"]
    with pytest.raises(DALQueryError, match="does not exist"):
        service.run_sync("SELECT Name FROM VII/294/catalog")


def test_csv_is_given_where_asked_for(server: DemoServer):
    answer = requests.post(
        f"{server.url}/tap/sync",
        data={"LANG": "ADQL", "FORMAT": "csv", "QUERY": "SELECT TOP 1 ra FROM des_dr2.mag"},
        timeout=20,
    )
    assert answer.text == "ra\n30.0\n"


# --- X-Match ---


def upload(ra: list[float], dec: list[float]) -> bytes:
    text = pd.DataFrame({"n": range(len(ra)), "my_ra": ra, "my_dec": dec}).to_csv(index=False)
    return text.encode()


def match(server: DemoServer, content: bytes, **more: object) -> requests.Response:
    data = {
        "request": "xmatch", "cat2": "vizier:II/328/allwise", "colRA1": "my_ra",
        "colDec1": "my_dec", "distMaxArcsec": 1, "RESPONSEFORMAT": "csv", **more,
    }  # fmt: skip
    return requests.post(
        server.services()["xmatch"]["url"], data=data, files={"cat1": content}, timeout=20
    )


def test_matches_within_the_radius(server: DemoServer):
    answer = match(server, upload([RA, 31.0, 30.0], [DEC, DEC, -42.8]))
    table = pd.read_csv(io.StringIO(answer.text))
    assert list(table.columns)[:4] == ["angDist", "n", "my_ra", "my_dec"]
    assert table["n"].tolist() == [0, 2]
    assert table["angDist"].tolist() == pytest.approx([0.3, 0.3], abs=1e-5)
    assert table["AllWISE"].tolist() == ["J1002", "J1000"]


def test_all_pairs_unless_the_best_are_asked_for(server: DemoServer):
    content = upload([30.0], [-42.8])
    assert len(pd.read_csv(io.StringIO(match(server, content, distMaxArcsec=180).text))) == 2
    best = match(server, content, distMaxArcsec=180, selection="best")
    assert pd.read_csv(io.StringIO(best.text))["AllWISE"].tolist() == ["J1000"]


def test_astroquery_drives_it(server: DemoServer):
    from astroquery.xmatch import XMatchClass

    service = XMatchClass()
    service.URL = server.services()["xmatch"]["url"]
    cat1 = Table({"my_ra": [30.0, 30.1], "my_dec": [-42.8, -42.85]})
    result = service.query(
        cat1=cat1, cat2="vizier:II/367/vhs_dr5", max_distance=1 * u.arcsec, colRA1="my_ra",
        colDec1="my_dec", cache=False, selection="best",
    )  # fmt: skip
    assert result.colnames[0] == "angDist"
    assert result["SrcID"].tolist() == [1000, 1002]
    assert np.ma.is_masked(result["Jap3"][0]) or np.isnan(result["Jap3"][0])


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"distMaxArcsec": 181}, "distMaxArcsec must be 0 to 180"),
        ({"cat2": "vizier:II/1/no"}, "is not available"),
        ({"colRA1": "ra"}, "has no column"),
        ({"selection": "nearest"}, "must be all or best"),
    ],
)
def test_wrong_matches_are_refused(server: DemoServer, more: dict[str, object], message: str):
    answer = match(server, upload([30.0], [-42.8]), **more)
    assert answer.status_code == 400
    assert message in answer.text


def test_an_upload_with_entities_is_refused(server: DemoServer):
    answer = match(server, b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "b">]><VOTABLE/>')
    assert answer.status_code == 400
    assert "document type" in answer.text


def test_an_empty_upload_matches_nothing(server: DemoServer):
    answer = match(server, b"n,my_ra,my_dec\n", RESPONSEFORMAT="votable")
    assert len(Table.read(io.BytesIO(answer.content), format="votable")) == 0


def test_many_matches_at_once_are_refused(monkeypatch: pytest.MonkeyPatch):
    with DemoServer(tiny_sky(), xmatch_parallel=2) as server:
        two_run, go_on = threading.Semaphore(0), threading.Event()
        run = server._xmatch.match

        def slow(*arguments: object) -> server_module.Reply:
            two_run.release()
            assert go_on.wait(20)
            return run(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(server._xmatch, "match", slow)
        content = upload([30.0], [-42.8])
        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            running = [pool.submit(match, server, content) for _ in range(2)]
            two_run.acquire()
            two_run.acquire()
            assert match(server, content).status_code == 403
            go_on.set()
            assert [job.result().status_code for job in running] == [200, 200]


# --- images ---


def test_a_position_has_33_rows_per_tile(server: DemoServer):
    rows = sia_rows(server)
    assert len(rows) == 33
    files = {re.search(r"siaRef=([^&]*)", str(url))[1] for url in rows["access_url"]}  # type: ignore[index]
    assert len(files) == 11
    assert sum("_nobkg" in file for file in files) == 5
    assert sorted(set(rows["prodtype"])) == ["dqmask", "image", "wtmap"]
    assert len(sia_rows(server, 100.0, 10.0)) == 0


def test_the_reply_is_like_the_recorded_one(server: DemoServer, shared_data: Path):
    recorded = pyvo_columns(shared_data / "datalab_sia_reply_nsc_dr2.xml.gz")
    answer = get(f"{server.url}/sia/des_dr2?POS={RA},{DEC}&SIZE=0.002")
    assert pyvo_columns(io.BytesIO(answer.content)) == recorded


def pyvo_columns(source: object) -> list[tuple[object, ...]]:
    from astropy.io.votable import parse

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        table = parse(source).get_first_table()
    return [(f.ID, f.name, f.datatype, f.arraysize, f.ucd, f.utype) for f in table.fields]


def test_pyvo_finds_the_images(server: DemoServer):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = pyvo.dal.SIAService(f"{server.url}/sia/des_dr2").search(
            pos=(RA, DEC), size=(0.0021, 0.0021), verbosity=2
        )
        assert len(found) == 33
        assert found[0].acref.startswith(f"{server.url}/svc/cutout?col=des_dr2&siaRef=DES")


def test_a_position_in_an_overlap_has_two_tiles():
    edge = 360.0 / tiles_in_row(-60)
    with DemoServer(tiny_sky([(edge - 0.002, -42.8), (edge + 0.002, -42.8)])) as server:
        assert len(sia_rows(server, edge, -42.8)) == 66


def test_cutouts_show_the_object_at_its_pixel_with_its_flux(server: DemoServer):
    urls = image_urls(server)
    assert sorted(urls) == ["Y", "g", "i", "r", "z"]
    answer = get(urls["z"])
    assert answer.headers.get("Transfer-Encoding") == "chunked"
    assert "Content-Length" not in answer.headers
    with fits.open(io.BytesIO(answer.content)) as hdus:
        image, header = hdus[0].data.astype(float), hdus[0].header
    assert image.shape == pytest.approx((29, 29), abs=1)
    x, y = (float(value) for value in WCS(header).all_world2pix(RA, DEC, 0))
    yy, xx = np.mgrid[: image.shape[0], : image.shape[1]]
    near = np.hypot(xx - x, yy - y) < 9.0
    assert image[near].sum() == pytest.approx(30.0 * COUNTS_PER_UJY, rel=0.1)
    assert (image * xx)[near].sum() / image[near].sum() == pytest.approx(x, abs=0.3)
    assert header["MAGZERO"] == 30.0


def test_mask_weight_background_and_detection_are_served(server: DemoServer):
    url = image_urls(server)["z"]
    shapes = set()
    for changed in (
        url.replace("extn=1", "extn=2"),
        url.replace("extn=1", "extn=3"),
        url.replace("_z.fits", "_z_nobkg.fits"),
        url.replace("_z.fits", "_det.fits"),
    ):
        with fits.open(io.BytesIO(get(changed).content)) as hdus:
            shapes.add(hdus[0].data.shape)
    assert len(shapes) == 1


def test_a_cutout_ends_with_its_tile(server: DemoServer):
    tile = server._images._painter.tiles.tiles[0]
    ra, dec = (float(value) for value in tile.sky_of(3.0, 5000.0))
    url = (
        f"{server.url}/svc/cutout?col=des_dr2&siaRef={tile.name}_{tile.run}_g.fits.fz&extn=1"
        f"&POS={ra},{dec}&SIZE=0.0021,0.0021"
    )
    with fits.open(io.BytesIO(get(url).content)) as hdus:
        assert hdus[0].data.shape == (29, 18)
    ra, dec = (float(value) for value in tile.sky_of(-300.0, 5000.0))
    beyond = get(re.sub(r"POS=[^&]*", f"POS={ra},{dec}", url))
    with fits.open(io.BytesIO(beyond.content)) as hdus:
        assert hdus[0].data is None


def test_a_plus_sign_stands_for_itself_and_its_code_fails():
    tile = tile_at(3, 7)
    assert "+" in tile.name
    with DemoServer(tiny_sky([(tile.ra_deg, tile.dec_deg)])) as server:
        urls = image_urls(server, tile.ra_deg, tile.dec_deg)
        assert "+" in urls["g"]
        assert get(urls["g"]).content.startswith(b"SIMPLE")
        coded = get(urls["g"].replace("+", "%2B"))
        assert coded.status_code == 500


def test_what_is_no_file_fails(server: DemoServer):
    url = image_urls(server)["g"]
    for old, new in (("_g.fits", "_q.fits"), ("extn=1", "extn=4"), ("POS=30.1", "POS=nan")):
        assert get(url.replace(old, new)).status_code == 500


def test_the_same_request_gives_the_same_bytes(server: DemoServer):
    url = image_urls(server)["i"]
    assert get(url).content == get(url).content


def test_requests_are_counted(server: DemoServer):
    before = server.counters.get("sia", 0)
    get(f"{server.url}/sia/des_dr2?POS=1,2&SIZE=1")
    assert server.counters["sia"] == before + 1
    assert get(f"{server.url}/control/counters").json() == server.counters


# --- faults ---


def with_fault(server: DemoServer, **rule: object) -> str:
    url = image_urls(server)["z"]
    server.set_faults({"rules": [{"endpoint": "cutout", **rule}]})
    return url


def test_errors_end_after_the_attempts_given(server: DemoServer):
    url = with_fault(server, kind="status", status=502, attempts=2)
    assert [get(url).status_code for _ in range(4)] == [502, 502, 200, 200]


def test_a_rate_limit_says_when_to_come_back(server: DemoServer):
    url = with_fault(server, kind="rate_limit", seconds=7, attempts=1)
    answer = get(url)
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "7")


@pytest.mark.parametrize("kind", ["down", "reset"])
def test_connections_break(server: DemoServer, kind: str):
    url = with_fault(server, kind=kind, requests=1)
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        get(url)
    assert get(url).status_code == 200


def test_a_stall_outlasts_the_clients_patience(server: DemoServer):
    url = with_fault(server, kind="stall", seconds=3, attempts=1)
    with pytest.raises(requests.ConnectionError, match="timed out"):
        requests.get(url, timeout=0.2)
    assert get(url).content.startswith(b"SIMPLE")


def test_content_is_wrong_with_http_200(server: DemoServer):
    good = get(image_urls(server)["z"]).content
    answers = {}
    for kind in ("truncated", "empty", "html", "wrong_band"):
        answer = get(with_fault(server, kind=kind))
        assert answer.status_code == 200
        answers[kind] = answer.content
        server.set_faults(None)
    assert answers["truncated"] == good[: len(good) // 2]
    assert answers["empty"] == b""
    assert b"Traceback" in answers["html"]
    assert len(answers["wrong_band"]) == len(good)
    assert answers["wrong_band"] != good


def test_rows_of_a_band_are_missing(server: DemoServer):
    server.set_faults({"rules": [{"endpoint": "sia", "kind": "missing_band", "bands": ["Y"]}]})
    rows = sia_rows(server)
    assert len(rows) == 27
    assert not any("_Y" in str(url) for url in rows["access_url"])


def test_faults_strike_the_same_requests_again():
    plan = {"seed": 4, "rules": [{"endpoint": "*", "kind": "html", "share": 0.3}]}
    struck = [
        [bool(p.strike("sia", f"request {k}")) for k in range(500)]
        for p in (FaultPlan.from_mapping(plan), FaultPlan.from_mapping(plan))
    ]
    assert struck[0] == struck[1]
    assert 0.2 < np.mean(struck[0]) < 0.4
    other = FaultPlan.from_mapping({**plan, "seed": 5})
    assert [bool(other.strike("sia", f"request {k}")) for k in range(500)] != struck[0]


def test_a_share_drawn_anew_strikes_that_share_of_all_attempts():
    rule = {"endpoint": "cutout", "kind": "status", "share": 0.3, "anew": True}
    plans = [FaultPlan.from_mapping({"seed": 4, "rules": [rule]}) for _ in range(2)]
    requests_sent = [f"request {k}" for k in range(50)] * 20
    struck = [bool(plans[0].strike("cutout", request)) for request in requests_sent]
    assert 0.25 < np.mean(struck) < 0.35
    # No request is struck for ever, and none is spared for ever: what a share alone does.
    of_request = np.array(struck).reshape(20, 50).mean(axis=0)
    assert of_request.min() > 0
    assert of_request.max() < 1
    # In another order of the requests, the same attempts are struck.
    order = np.argsort(np.tile(np.arange(50), 20), kind="stable")
    again = [bool(plans[1].strike("cutout", requests_sent[k])) for k in order]
    assert again == [struck[k] for k in order]


def test_a_service_is_down_for_a_while_in_mid_run():
    now_s = [100.0]
    rule = {"endpoint": "*", "kind": "down", "after": 2, "lasts": 60}
    plan = FaultPlan.from_mapping({"rules": [rule]}, clock=lambda: now_s[0])
    seen = []
    for time_s in (100.0, 150.0, 200.0, 259.0, 260.0, 400.0):
        now_s[0] = time_s
        seen.append(bool(plan.strike("sia", f"request at {time_s}")))
    assert seen == [False, False, True, True, False, False]


def test_faults_can_be_set_while_serving(server: DemoServer):
    plan = {"rules": [{"endpoint": "tap", "kind": "status", "status": 500}]}
    answer = requests.post(f"{server.url}/control/faults", data=json.dumps(plan), timeout=20)
    assert answer.json() == {"rules": 1}
    assert get(f"{server.url}/tap/availability").status_code == 500
    wrong = requests.post(f"{server.url}/control/faults", data="{'rules'", timeout=20)
    assert wrong.status_code == 400


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"endpoint": "tap", "kind": "statsu"}, "did you mean 'status'"),
        ({"endpoint": "taps", "kind": "status"}, "did you mean 'tap'"),
        ({"endpoint": "tap", "kind": "status", "rate": 1}, "no key 'rate'"),
        ({"endpoint": "tap"}, "needs the key 'kind'"),
        ({"endpoint": "tap", "kind": "status", "share": 2}, "not in 0 to 1"),
        ({"endpoint": "tap", "kind": "status", "status": 200}, "not in 400 to 599"),
        ({"endpoint": "tap", "kind": "latency", "seconds": -1}, "negative"),
        ({"endpoint": "tap", "kind": "down", "requests": 0}, "less than 1"),
        ({"endpoint": "tap", "kind": "down", "lasts": 0}, "not more than 0"),
        ({"endpoint": "tap", "kind": "down", "after": -1}, "negative"),
        ({"endpoint": "tap", "kind": "html", "anew": "often"}, "neither true nor false"),
    ],
)
def test_wrong_faults_are_named(rule: dict[str, object], message: str):
    with pytest.raises(ConfigError, match=message):
        FaultPlan.from_mapping({"rules": [rule]})


# --- life ---


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "example.org", ""])
def test_only_loopback_is_served(host: str):
    with pytest.raises(ConfigError, match="this machine only"):
        DemoServer(tiny_sky(), host=host)


def test_a_port_in_use_is_named(server: DemoServer):
    port = int(server.url.rpartition(":")[2])
    with (
        pytest.raises(ArchipelagoError, match=f"port {port} is in use.*--port"),
        DemoServer(tiny_sky(), port),
    ):
        pass


def test_a_stopped_server_frees_its_port():
    with DemoServer(tiny_sky()) as first:
        port = int(first.url.rpartition(":")[2])
    with DemoServer(tiny_sky(), port) as second:
        assert get(f"{second.url}/tap/availability").status_code == 200


# --- command line ---


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "build_sky", lambda seed: tiny_sky(seed=seed))
    monkeypatch.setattr(command, "truth_table", lambda sky: sky.truth)
    monkeypatch.setattr(command.signal, "signal", lambda *_: None)


@pytest.mark.usefixtures("small")
def test_truth_is_written_only_if_it_changes(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "truth.csv"
    assert command.main(["truth", "--seed", "1", "--out", str(out)]) == 0
    written = out.stat().st_mtime_ns
    assert command.main(["truth", "--seed", "1", "--out", str(out)]) == 0
    assert out.stat().st_mtime_ns == written
    assert command.main(["truth", "--seed", "1"]) == 0
    captured = capsys.readouterr()
    assert captured.out == out.read_text()
    assert "unchanged" in captured.err


@pytest.mark.usefixtures("small")
def test_run_tells_a_command_where_the_services_are(tmp_path: Path):
    endpoints, copy = tmp_path / "endpoints.yaml", tmp_path / "copy.txt"
    asks = (
        "import sys, urllib.request, re, pathlib\n"
        "text = pathlib.Path(sys.argv[1]).read_text()\n"
        "url = re.search(r'http://[^/]*/tap$', text, re.M)[0]\n"
        "answer = urllib.request.urlopen(url + '/availability').read()\n"
        "pathlib.Path(sys.argv[2]).write_bytes(answer)\n"
        "sys.exit(7)\n"
    )
    options = ["run", "--seed", "1", "--endpoints", str(endpoints), "--"]
    child = [sys.executable, "-c", asks, str(endpoints), str(copy)]
    assert command.main([*options, *child]) == 7
    assert "true" in copy.read_text()
    services = yaml.safe_load(endpoints.read_text())["services"]
    assert set(services) == {"tap", "xmatch", "sia", "vizier_tap"}
    assert all(list(service) == ["url"] for service in services.values())


@pytest.mark.usefixtures("small")
def test_run_says_what_is_wrong(
    tmp_path: Path, server: DemoServer, capsys: pytest.CaptureFixture[str]
):
    options = ["run", "--seed", "1", "--endpoints", str(tmp_path / "e.yaml")]
    port = server.url.rpartition(":")[2]
    assert command.main([*options, "--port", port, "--", "true"]) == 1
    assert "--port" in capsys.readouterr().err
    assert command.main([*options, "--port", "99999", "--", "true"]) == 1
    assert "not in 0 to 65535" in capsys.readouterr().err
    assert command.main([*options, "--", "no-such-command-anywhere"]) == 1
    assert "the command cannot be run" in capsys.readouterr().err
    plan = tmp_path / "faults.yaml"
    plan.write_text("rules: [{endpoint: tap}]")
    assert command.main([*options, "--faults", str(plan), "--", "true"]) == 1
    assert "faults.yaml: rule 1" in capsys.readouterr().err


def test_help_explains_the_faults():
    shown = subprocess.run(
        [sys.executable, "-m", "archipelago.demosky", "serve", "--help"],
        capture_output=True, text=True, check=True,
        env={"PYTHONPATH": str(Path(server_module.__file__).parents[2]), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert "missing_band" in shown.stdout
    assert "--port" in shown.stdout
