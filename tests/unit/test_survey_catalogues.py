"""TAP, the survey's own catalogue, and the known quasars."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from astropy.io.votable import parse
from helpers.loopback import (
    LAUGHS,
    Answer,
    Loopback,
    Request,
    error_votable,
    loopback_server,
    patient_client,
    votable,
)

from archipelago.base.errors import DataError, InputError, ServiceError
from archipelago.base.losses import LOSS_COLUMNS
from archipelago.base.tables import read_table, write_table
from archipelago.survey.adql import load_query
from archipelago.survey.cache import Cache
from archipelago.survey.faults import BadContentError
from archipelago.survey.known import known_quasars_from_file, known_quasars_from_service
from archipelago.survey.select import select_sources
from archipelago.survey.services import TapService
from archipelago.survey.tap import TapClient, TooManyRowsError
from archipelago.survey.votable import check_xml, read_reply

ROOT = Path(__file__).resolve().parents[2]
QUERIES = ROOT / "data" / "queries"


FIELDS = [("id", "long"), ("ra", "double"), ("name", "char"), ("mag", "float")]
ROWS = [(2**62 + 1, 1.5, "a", None), (-3, 359.25, None, 21.5)]


def run(server: Loopback, *answers: Answer, max_rows: int = 10, **settings: object) -> pd.DataFrame:
    server.at("/tap/sync", *answers)
    with patient_client(**settings) as (client, _):
        return TapClient(TapService(server.url + "/tap"), client).query(
            "SELECT 1", max_rows=max_rows
        )


# VOTable


def test_columns_keep_kind_and_masks() -> None:
    reply = read_reply(votable(FIELDS, [*ROWS, (None, None, "ö", 1.0)]))
    table = reply.frame()
    assert table["id"].dtype == "Int64"
    assert table["id"].to_list()[:2] == [2**62 + 1, -3]
    assert table["id"].isna().to_list() == [False, False, True]
    np.testing.assert_array_equal(table["mag"], [np.nan, 21.5, 1.0])
    assert table["ra"].dtype == "float64"
    assert table["name"].to_list() == ["a", "", "ö"]
    assert read_reply(votable(FIELDS, ROWS)).frame()["id"].dtype == "int64"


def test_empty_table_has_its_columns() -> None:
    table = read_reply(votable(FIELDS, [])).frame()
    assert len(table) == 0
    assert list(table.columns) == ["id", "ra", "name", "mag"]
    assert table["id"].dtype == "int64" and table["mag"].dtype == "float64"


def test_last_status_counts() -> None:
    reply = read_reply(votable(FIELDS, ROWS, after="OVERFLOW"))
    assert (reply.status, len(reply)) == ("OVERFLOW", 2)


@pytest.mark.parametrize(
    ("body", "match"),
    [
        (b"", "empty"),
        (b"Traceback (most recent call last)", "not XML: Traceback"),
        (b"<html><body>moved</body></html>", "not XML"),
        (b"<!DOCTYPE html><html>", "not XML"),
        (LAUGHS, "dangerous XML: it holds <!DOCTYPE"),
        (LAUGHS.decode().encode("utf-16"), "not XML"),
        (b'<?xml version="1.0" encoding="cp037"?><VOTABLE/>', "dangerous XML: encoding cp037"),
        (
            b'<VOTABLE><STREAM encoding="base64"\n href="file:///etc/passwd"/></VOTABLE>',
            "stream that lies elsewhere",
        ),
        (b'<VOTABLE><v:STREAM href="http://x/"/></VOTABLE>', "stream that lies elsewhere"),
    ],
)
def test_dangerous_or_foreign_xml_never_reaches_a_parser(body: bytes, match: str) -> None:
    with pytest.raises(BadContentError, match=match):
        check_xml(body)


def test_broken_votables() -> None:
    for body, match in (
        (votable(FIELDS, ROWS)[:-60], "not a VOTable"),
        (b"<a/>", "not a VOTable"),
        (b"<VOTABLE version='1.3'><RESOURCE type='results'/></VOTABLE>", "holds no table"),
    ):
        with pytest.raises(BadContentError, match=match):
            read_reply(body)


# TAP


def test_query_asks_for_one_row_more_than_accepted(server: Loopback) -> None:
    table = run(server, Answer(votable(FIELDS, ROWS)), max_rows=2)
    assert len(table) == 2
    form = server.requests[0].form
    assert (form["MAXREC"], form["QUERY"], form["LANG"]) == ("3", "SELECT 1", "ADQL")


@pytest.mark.parametrize(
    ("body", "max_rows"),
    [
        (votable(FIELDS, ROWS, status="OVERFLOW"), 10),
        (votable(FIELDS, ROWS, after="OVERFLOW"), 10),
        (votable(FIELDS, ROWS), 1),
    ],
)
def test_overflow_is_an_error(server: Loopback, body: bytes, max_rows: int) -> None:
    with pytest.raises(ServiceError, match="more rows than the service gives.*tile_order"):
        run(server, Answer(body), max_rows=max_rows)


@pytest.mark.parametrize("status", [200, 400])
def test_error_in_votable_gives_the_servers_words(server: Loopback, status: int) -> None:
    with pytest.raises(ServiceError, match="function circle does not exist") as caught:
        run(server, Answer(error_votable("function circle does not exist"), status))
    assert caught.value.url.startswith(server.url)
    assert caught.value.status == status
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("fault", "match"),
    [
        (Answer(b"<html>maintenance</html>"), "not XML: <html>maintenance"),
        (Answer(LAUGHS), "dangerous XML"),
        (Answer(votable(FIELDS, ROWS)[:-60]), "not a VOTable"),
        (Answer(b""), "empty"),
    ],
)
def test_wrong_content_with_200(server: Loopback, fault: Answer, match: str) -> None:
    with pytest.raises(ServiceError, match=match):
        run(server, fault)
    assert len(server.requests) == 3
    assert len(run(server, fault, Answer(votable(FIELDS, ROWS)))) == 2


def test_service_down(server: Loopback) -> None:
    with pytest.raises(ServiceError, match="query failed: down for a day.*HTTP 503"):
        run(server, Answer(b"down for a day", 503), retries=1)


def job(phase: str, error: str = "") -> bytes:
    summary = (
        f'<uws:errorSummary type="fatal"><uws:message>{error}</uws:message></uws:errorSummary>'
    )
    return (
        '<?xml version="1.0"?><uws:job xmlns:uws="http://www.ivoa.net/xml/UWS/v1.0" '
        'xmlns:xlink="http://www.w3.org/1999/xlink" version="1.1"><uws:jobId>7</uws:jobId>'
        f"<uws:phase>{phase}</uws:phase>{summary if error else ''}<uws:results>"
        '<uws:result id="result" xlink:href="/tap/async/7/results/result"/>'
        "</uws:results></uws:job>"
    ).encode()


def async_query(
    server: Loopback, phases: list[bytes], timeout_s: float = 600.0
) -> tuple[pd.DataFrame, list[float]]:
    """Return the table and the waits between looks at the job [s]."""
    server.at("/tap/async", Answer(status=303, headers={"Location": "/tap/async/7"}))

    def state(request: Request) -> Answer:
        if request.method == "DELETE":
            return Answer(status=200)
        return Answer(phases.pop(0) if len(phases) > 1 else phases[0])

    server.at("/tap/async/7", state)
    server.at("/tap/async/7/phase", Answer(status=303, headers={"Location": "/tap/async/7"}))
    server.at("/tap/async/7/results/result", Answer(votable(FIELDS, ROWS)))
    service = TapService(server.url + "/tap", "async", timeout_s)
    with patient_client() as (client, clock):
        return TapClient(service, client).query("SELECT 1", max_rows=5), clock.slept_s


def test_asynchronous_query(server: Loopback) -> None:
    # The first three are seen after the redirections and at pyvo's first look.
    phases = [job("PENDING")] * 3 + [job("QUEUED"), job("EXECUTING"), job("COMPLETED")]
    table, slept_s = async_query(server, phases)
    assert len(table) == 2
    assert server.seen("/tap/async")[0].form["MAXREC"] == "6"
    assert server.seen("/tap/async/7/phase")[0].form == {"PHASE": "RUN"}
    assert server.requests[-1].method == "DELETE"
    assert slept_s == [1.0, 1.3]


def test_asynchronous_query_that_fails_is_deleted(server: Loopback) -> None:
    with pytest.raises(ServiceError, match="ended as ERROR: relation unknown"):
        async_query(server, [job("ERROR", "relation unknown")])
    assert server.requests[-1].method == "DELETE"


def test_asynchronous_query_that_never_ends(server: Loopback) -> None:
    with pytest.raises(ServiceError, match="still EXECUTING after 60 s"):
        async_query(server, [job("EXECUTING")], timeout_s=60.0)
    assert server.requests[-1].method == "DELETE"


def test_asynchronous_refused_points_to_sync(server: Loopback) -> None:
    server.at("/tap/async", Answer(b"bad request", 400))
    with (
        patient_client() as (client, _),
        pytest.raises(ServiceError, match="bad request.*set services.tap.mode to sync"),
    ):
        TapClient(TapService(server.url + "/tap", "async"), client).query("x", max_rows=1)


def test_asynchronous_answer_that_is_no_job(server: Loopback) -> None:
    with pytest.raises(ServiceError, match="not XML"):
        async_query(server, [b"<html/>"])
    with pytest.raises(ServiceError, match="not a TAP job"):
        async_query(server, [b"<a>"])
    with pytest.raises(ServiceError, match="not a TAP job"):
        async_query(server, [job("PENDING")] * 3 + [b"<a>"])


class Tap:
    """A service with asynchronous jobs; their phases are what a test says, one per look."""

    def __init__(self, server: Loopback, phases: list[str]) -> None:
        self.server = server
        self.phases = phases
        self.submitted = 0
        self.jobs: set[int] = set()
        self.result = Answer(votable(FIELDS, ROWS))
        server.at("/tap/async", self._submit)

    def _submit(self, request: Request) -> Answer:
        self.submitted += 1
        number = self.submitted
        self.jobs.add(number)
        at = f"/tap/async/{number}"
        self.server.at(at, lambda request: self._state(number, request))
        self.server.at(at + "/phase", Answer(status=303, headers={"Location": at}))
        self.server.at(at + "/results/result", lambda _: self._if_there(number, self.result))
        return Answer(status=303, headers={"Location": at})

    def _if_there(self, number: int, answer: Answer) -> Answer:
        return answer if number in self.jobs else Answer(b"no such job", 404)

    def _state(self, number: int, request: Request) -> Answer:
        if request.method == "DELETE":
            self.jobs.discard(number)
            return Answer()
        phase = self.phases.pop(0) if len(self.phases) > 1 else self.phases[0]
        text = job(phase, "bad" if phase == "ERROR" else "").replace(b"/7/", b"/%d/" % number)
        return self._if_there(number, Answer(text))

    def query(self, folder: Path | None, adql: str = "SELECT 1", **settings: Any) -> pd.DataFrame:
        cache = Cache(folder, 10**9) if folder else None
        mode = settings.pop("mode", "async")
        service = TapService(self.server.url + "/tap", mode, settings.pop("query_s", 60.0))
        with patient_client(cache=cache, **settings) as (client, _):
            return TapClient(service, client).query(adql, max_rows=5)


def notes(folder: Path) -> list[Path]:
    return sorted((folder / "tap_jobs").glob("*"))


def test_job_that_took_too_long_is_waited_for_by_the_next_attempt(
    server: Loopback, tmp_path: Path
) -> None:
    tap = Tap(server, ["PENDING", "EXECUTING"])
    with pytest.raises(ServiceError, match="still EXECUTING.*the next attempt goes on waiting"):
        tap.query(tmp_path)
    (note,) = notes(tmp_path)
    assert json.loads(note.read_text())["url"] == server.url + "/tap/async/1"
    tap.phases = ["EXECUTING", "COMPLETED"]
    assert len(tap.query(tmp_path)) == 2
    assert (tap.submitted, tap.jobs, notes(tmp_path)) == (1, set(), [])
    n_requests = len(server.requests)
    assert len(tap.query(tmp_path)) == 2  # kept
    assert len(tap.query(tmp_path, mode="sync")) == 2  # the same in both modes
    assert len(server.requests) == n_requests


@pytest.mark.parametrize(
    "number", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
def test_job_of_an_interrupted_attempt_goes_on(
    server: Loopback, tmp_path: Path, number: int
) -> None:
    tap = Tap(server, ["PENDING", "QUEUED"])
    script = (
        "import os, sys\n"
        "from archipelago.survey.cache import Cache\n"
        "from archipelago.survey.http import HttpClient\n"
        "from archipelago.survey.services import TapService\n"
        "from archipelago.survey.tap import TapClient\n"
        "url, folder, signal = sys.argv[1:]\n"
        "end = lambda _: os.kill(os.getpid(), int(signal))\n"
        "client = HttpClient(cache=Cache(folder, 10**9), sleep=end)\n"
        "TapClient(TapService(url, 'async'), client).query('SELECT 1', max_rows=5)\n"
    )
    killed = subprocess.run(
        [sys.executable, "-c", script, server.url + "/tap", str(tmp_path), str(int(number))],
        env=os.environ | {"PYTHONPATH": str(ROOT / "workflow")},
        timeout=60,
    )
    assert killed.returncode == -number
    assert len(notes(tmp_path)) == 1
    assert (tap.submitted, tap.jobs) == (1, {1})
    tap.phases = ["COMPLETED"]
    assert len(tap.query(tmp_path)) == 2
    assert (tap.submitted, tap.jobs, notes(tmp_path)) == (1, set(), [])


@pytest.mark.parametrize("end", ["gone", "ERROR", "ABORTED", "destroyed while waited for"])
def test_job_that_is_of_no_use_is_submitted_anew(
    server: Loopback, tmp_path: Path, end: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    tap = Tap(server, ["EXECUTING"])
    with pytest.raises(ServiceError, match="still EXECUTING"):
        tap.query(tmp_path)
    if end == "gone":
        tap.jobs.clear()
        tap.phases = ["COMPLETED"]
    elif end == "destroyed while waited for":
        tap.phases = ["EXECUTING", "COMPLETED"]
        server.at("/tap/async/1/results/result", Answer(b"deleted", 410))
    else:
        tap.phases = [end, end, "COMPLETED"]
    assert len(tap.query(tmp_path)) == 2
    assert (tap.submitted, tap.jobs, notes(tmp_path)) == (2, set(), [])
    assert "earlier attempt" in caplog.text


def test_job_that_was_noted_but_never_started_is_started(server: Loopback, tmp_path: Path) -> None:
    tap = Tap(server, ["EXECUTING"])
    with pytest.raises(ServiceError, match="still EXECUTING"):
        tap.query(tmp_path)
    n_started = len(server.seen("/tap/async/1/phase"))
    tap.phases = ["PENDING", "PENDING", "PENDING", "COMPLETED"]
    tap.query(tmp_path)
    assert len(server.seen("/tap/async/1/phase")) == n_started + 1


def test_service_down_keeps_the_job_and_an_error_does_not(server: Loopback, tmp_path: Path) -> None:
    tap = Tap(server, ["COMPLETED"])
    tap.result = Answer(b"busy", 503)
    with pytest.raises(ServiceError, match="busy"):
        tap.query(tmp_path, retries=1)
    assert len(notes(tmp_path)) == 1
    tap.result = Answer(error_votable("no such column"))
    with pytest.raises(ServiceError, match="no such column"):
        tap.query(tmp_path)
    assert (tap.submitted, tap.jobs, notes(tmp_path)) == (1, set(), [])
    tap.phases = ["ERROR"]
    with pytest.raises(ServiceError, match="ended as ERROR: bad"):
        tap.query(tmp_path)
    assert (tap.submitted, tap.jobs, notes(tmp_path)) == (2, set(), [])


def test_broken_note_and_foreign_address_are_passed_over(server: Loopback, tmp_path: Path) -> None:
    tap = Tap(server, ["EXECUTING"])
    with pytest.raises(ServiceError, match="still EXECUTING"):
        tap.query(tmp_path)
    (note,) = notes(tmp_path)
    tap.phases = ["COMPLETED"]
    for n_submitted, text in enumerate(("{", '{"url": "http://10.0.0.1/job"}'), start=2):
        note.write_text(text)
        assert len(tap.query(tmp_path)) == 2
        assert (tap.submitted, notes(tmp_path)) == (n_submitted, [])
        shutil.rmtree(tmp_path / "tap")


def test_without_a_cache_no_job_is_left(server: Loopback) -> None:
    tap = Tap(server, ["EXECUTING"])
    with pytest.raises(ServiceError, match="still EXECUTING"):
        tap.query(None)
    assert tap.jobs == set()


@pytest.mark.parametrize(
    "body",
    [
        error_votable("busy"),
        votable(FIELDS, ROWS, status="OVERFLOW"),
        votable(FIELDS, ROWS, after="OVERFLOW"),
        votable(FIELDS, ROWS * 3),
        votable(FIELDS, ROWS)[:-60],
    ],
)
@pytest.mark.parametrize("mode", ["sync", "async"])
def test_only_whole_answers_are_kept(
    server: Loopback, tmp_path: Path, body: bytes, mode: str
) -> None:
    tap = Tap(server, ["COMPLETED"])
    tap.result = Answer(body)
    server.at("/tap/sync", lambda _: tap.result)
    with pytest.raises(ServiceError):
        tap.query(tmp_path, mode=mode)
    assert tap.jobs == set() and notes(tmp_path) == []
    tap.result = Answer(votable(FIELDS, ROWS))
    assert len(tap.query(tmp_path, mode=mode)) == 2
    tap.result = Answer(b"", 500)
    pd.testing.assert_frame_equal(
        tap.query(tmp_path, mode=mode), read_reply(votable(FIELDS, ROWS)).frame()
    )
    with pytest.raises(ServiceError):
        tap.query(tmp_path, adql="SELECT 3", mode=mode, retries=0)  # another query is asked


def test_too_many_rows_is_an_error_of_its_own(server: Loopback) -> None:
    with pytest.raises(TooManyRowsError, match="more rows than the service gives"):
        run(server, Answer(votable(FIELDS, ROWS)), max_rows=1)


# Other servers


@pytest.mark.parametrize("end", ["", "/", "/sync", "/async/", "//"])
def test_base_address_in_any_form(server: Loopback, end: str) -> None:
    server.at("/tap/sync", Answer(votable(FIELDS, ROWS)))
    with patient_client() as (client, _):
        table = TapClient(TapService(server.url + "/tap" + end), client).query("x", max_rows=5)
    assert len(table) == 2


def test_sync_that_sends_elsewhere(server: Loopback) -> None:
    server.at("/result", Answer(votable(FIELDS, ROWS)))
    assert len(run(server, Answer(status=303, headers={"Location": "/result"}))) == 2


def test_service_that_has_moved(server: Loopback) -> None:
    with loopback_server() as new:
        tap = Tap(new, ["COMPLETED"])
        new.at("/tap/sync", tap.result)
        for mode in ("sync", "async"):
            there = {"Location": f"{new.url}/tap/{mode}"}
            server.at(f"/tap/{mode}", Answer(status=301, headers=there))
            service = TapService(server.url + "/tap", mode)
            with patient_client() as (client, _):
                assert len(TapClient(service, client).query("x", max_rows=5)) == 2
        assert (tap.submitted, tap.jobs) == (1, set())
        assert [r.form["QUERY"] for r in new.requests if "QUERY" in r.form] == ["x", "x"]


def test_job_told_by_its_description_alone(server: Loopback) -> None:
    """Not what the standard says, but seen: no redirection, the job is the answer."""
    tap = Tap(server, ["PENDING", "COMPLETED"])
    submit = tap._submit

    def told(request: Request) -> Answer:
        submit(request)
        return Answer(job("PENDING").replace(b"<uws:jobId>7", b"<uws:jobId>1"), 200)

    server.at("/tap/async", told)
    assert len(tap.query(None)) == 2


@pytest.mark.parametrize("form", ["tabledata", "binary", "binary2"])
@pytest.mark.parametrize("says_ok", [True, False])
def test_every_serialisation_of_votable(server: Loopback, form: str, says_ok: bool) -> None:
    document = parse(io.BytesIO(votable(FIELDS, ROWS)))
    for table in document.iter_tables():
        table.format = form
    if not says_ok:
        document.resources[0].infos.clear()
    out = io.BytesIO()
    document.to_xml(out)
    assert (b"QUERY_STATUS" in out.getvalue()) == says_ok
    table = run(server, Answer(out.getvalue()))
    assert table["id"].to_list() == [2**62 + 1, -3]
    np.testing.assert_array_equal(table["mag"], [np.nan, 21.5])
    assert table["name"].to_list() == ["a", ""]


# ADQL


def test_des_query_is_the_published_cut() -> None:
    text = " ".join(load_query(QUERIES / "des_dr2.adql", hpix_min=10, hpix_max=19).split())
    assert "FROM des_dr2.mag WHERE hpix_32 BETWEEN 10 AND 19 AND" in text
    for part in (
        *("mag_aper_4_z < 21.0", "magerr_aper_4_z < 0.1", "mag_aper_4_y < 22.45"),
        *("magerr_aper_4_y < 0.1", "mag_aper_4_i - mag_aper_4_z > 1.0"),
        *(f"flags_{band} < 4" for band in "grizy"),
        *(f"imaflags_iso_{band} = 0" for band in "grizy"),
    ):
        assert part in text
    assert not any(word in text for word in ("--", "{", "CIRCLE", "LIMIT", "TOP"))


def test_milliquas_query() -> None:
    text = load_query(QUERIES / "milliquas.adql", min_redshift=5.5)
    assert '"VII/294/catalog"' in text and "z > 5.5" in text


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("SELECT {hpix_max} {hpix_min} {other}", "unknown placeholders other"),
        ("SELECT {hpix_min}", "lacks the placeholders hpix_max"),
        ("-- {hpix_min} {hpix_max}", "holds no query"),
    ],
)
def test_bad_query_files(tmp_path: Path, text: str, match: str) -> None:
    path = tmp_path / "a.adql"
    path.write_text(text)
    with pytest.raises(InputError, match=match):
        load_query(path, hpix_min=1, hpix_max=2)
    with pytest.raises(InputError, match="cannot read the query"):
        load_query(tmp_path / "none.adql")


# select


class FakeTap:
    def __init__(self, **columns: object) -> None:
        self.table = pd.DataFrame(columns)

    def query(self, adql: str, *, max_rows: int) -> pd.DataFrame:
        return self.table


COLUMNS = {"id": "coadd_object_id", "ra_deg": "ra", "dec_deg": "dec", "ebv_sfd98": "ebv_sfd98"}
BANDS = {
    "g": {"value": "mag_aper_4_g", "error": "magerr_aper_4_g", "system": "mag_ab"},
    "Y": {"value": "mag_aper_4_Y", "error": "magerr_aper_4_Y", "system": "mag_ab"},
}


def answer(ids: Any, ra: Any, dec: Any, **other: object) -> FakeTap:
    n = len(ra)
    columns = {
        "coadd_object_id": ids,
        "ra": ra,
        "dec": dec,
        "mag_aper_4_g": np.full(n, 99.0),
        "magerr_aper_4_g": np.full(n, 99.0),
        "mag_aper_4_y": np.full(n, 20.0),
        "magerr_aper_4_y": np.full(n, np.inf),
        "ebv_sfd98": np.full(n, 0.02),
    }
    return FakeTap(**(columns | other))


def select(tap: FakeTap) -> tuple[pd.DataFrame, pd.DataFrame]:
    answers = [tap.query("q", max_rows=9)]
    return select_sources(answers, columns=COLUMNS, bands=BANDS, tile="t1")


EXPECTED = ["id", "ra_deg", "dec_deg", "mag_ab_g", "mag_err_g", "mag_ab_Y", "mag_err_Y"]


def test_select_sorts_and_renames_and_keeps_raw_values() -> None:
    sources, losses = select(answer([5, 3], [0.0, 360.0], [90.0, -90.0]))
    assert list(sources.columns) == [*EXPECTED, "ebv_sfd98"]
    assert sources["id"].dtype == "int64"
    assert sources["id"].to_list() == [3, 5]
    assert sources["ra_deg"].to_list() == [0.0, 0.0]  # 360 is 0
    assert sources["mag_ab_g"].to_list() == [99.0, 99.0]
    assert np.isinf(sources["mag_err_Y"]).all()
    assert len(losses) == 0


def test_select_bad_rows_become_losses() -> None:
    ids = pd.array([1, 2, 3, 4, None, 7, 7, 7], dtype="Int64")
    ra = [1.0, np.nan, -1.0, 361.0, 5.0, 7.2, 7.1, 7.1]
    dec = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    sources, losses = select(answer(ids, ra, dec))
    assert sources["id"].to_list() == [1, 7]
    assert sources["ra_deg"].to_list() == [1.0, 7.1]
    counts = losses["reason"].value_counts().to_dict()
    assert counts == {
        "no identifier": 1,
        "position not finite": 1,
        "position out of range": 2,
        "duplicate identifier": 2,
    }
    assert set(losses["stage"]) == {"select"} and set(losses["tile"]) == {"t1"}
    assert losses.loc[losses["reason"] == "no identifier", "id"].to_list() == [-1]


def test_select_does_not_depend_on_the_servers_order() -> None:
    tap = answer([7, 1, 7, 2], [7.2, 1.0, 7.1, np.inf], [0.0, 0.0, 0.0, 1.0])
    first = select(tap)
    tap.table = tap.table.iloc[::-1].reset_index(drop=True)
    for one, other in zip(first, select(tap), strict=True):
        pd.testing.assert_frame_equal(one.sort_values("id"), other.sort_values("id"))


def test_select_empty_answer_is_a_valid_table(tmp_path: Path) -> None:
    sources, losses = select(answer(np.array([], dtype="int64"), np.array([]), np.array([])))
    assert len(sources) == 0 and len(losses) == 0
    assert sources.dtypes["id"] == "int64"
    assert all(sources.dtypes[name] == "float64" for name in sources.columns[1:])
    assert list(losses.columns) == list(LOSS_COLUMNS)
    write_table(sources, tmp_path / "a.parquet")
    pd.testing.assert_frame_equal(read_table(tmp_path / "a.parquet"), sources)


def test_select_missing_column() -> None:
    tap = answer([1], [1.0], [1.0])
    tap.table = tap.table.drop(columns=["dec", "mag_aper_4_g"])
    with pytest.raises(DataError, match="lacks the columns dec, mag_aper_4_g; it has"):
        select(tap)


@pytest.mark.parametrize(
    ("ids", "good"),
    [
        (["9007199254740993"], [9007199254740993]),
        (["1e5"], None),
        (["99999999999999999999"], None),
        (["9999999999999999999"], None),
        ([1.5], None),
        ([2.0**60], None),
        ([12.0], [12]),
    ],
)
def test_select_identifiers_lose_no_digit(ids: list[object], good: list[int] | None) -> None:
    series = pd.Series(ids, dtype="str") if isinstance(ids[0], str) else pd.Series(ids)
    tap = answer(series, [1.0], [1.0])
    if good is None:
        with pytest.raises(DataError, match="identifier"):
            select(tap)
    else:
        assert select(tap)[0]["id"].to_list() == good


def test_select_text_in_a_number_column() -> None:
    with pytest.raises(DataError, match="ebv_sfd98 holds what is no number"):
        select(answer([1], [1.0], [1.0], ebv_sfd98=pd.Series(["x"], dtype="str")))


# known quasars


def test_known_quasars_from_service() -> None:
    tap = FakeTap(
        RAJ2000=[10.0, 20.0, np.nan, 30.0, 10.0],
        DEJ2000=[-1.0, -2.0, 0.0, 0.0, -1.0],
        Name=pd.Series(["b", "a ", "c", "d", "b"], dtype="str"),
        z=[6.0, 5.9, 6.1, 5.5, 6.0],
    )
    adql = load_query(QUERIES / "milliquas.adql", min_redshift=5.5)
    table = known_quasars_from_service(tap, adql, min_redshift=5.5, max_rows=9)
    assert list(table.columns) == ["name", "ra_deg", "dec_deg", "redshift", "source"]
    assert table["name"].to_list() == ["a", "b"]
    assert set(table["source"]) == {"VII/294/catalog"}
    del tap.table["z"]
    with pytest.raises(DataError, match="lacks redshift"):
        known_quasars_from_service(tap, adql, min_redshift=5.5, max_rows=9)


def test_known_quasars_none_found(tmp_path: Path) -> None:
    tap = FakeTap(
        RAJ2000=np.array([]), DEJ2000=np.array([]), Name=pd.Series([], dtype="str"), z=np.array([])
    )
    table = known_quasars_from_service(tap, "SELECT 1 FROM a.b", min_redshift=5.5, max_rows=9)
    assert len(table) == 0
    write_table(table, tmp_path / "a.parquet")


def test_known_quasars_from_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("name,ra_deg,dec_deg,redshift,extra\nq2,1,2,6.1,x\nq1,1,2,6.2,\n,3,4,2.0,\n")
    table = known_quasars_from_file(path, min_redshift=5.5)
    assert table["name"].to_list() == ["q1", "q2"]
    assert set(table["source"]) == {"mine.csv"}
    path.write_text("name,ra_deg\nq2,1\n")
    with pytest.raises(InputError, match="lacks the columns dec_deg, redshift"):
        known_quasars_from_file(path, min_redshift=5.5)
    path.write_text("name,ra_deg,dec_deg,redshift\n")
    with pytest.raises(InputError, match="no rows"):
        known_quasars_from_file(path, min_redshift=5.5)
    path.write_text("name,ra_deg,dec_deg,redshift\nq,12:30:01,1,6\n")
    with pytest.raises(DataError, match="ra_deg of the known quasars holds what is no number"):
        known_quasars_from_file(path, min_redshift=5.5)
