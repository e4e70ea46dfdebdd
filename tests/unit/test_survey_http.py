from __future__ import annotations

import dataclasses
import gzip
import itertools
import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from helpers.configuration import shipped_config
from helpers.loopback import Answer, Loopback, Request, loopback_server, patient_client

from archipelago.base.errors import ConfigError, ServiceError
from archipelago.survey.addresses import require_safe_link
from archipelago.survey.bans import ban_path, note_ban, refuse_banned
from archipelago.survey.cache import Cache
from archipelago.survey.faults import BadContentError, BannedError, RequestError, excerpt
from archipelago.survey.http import HttpClient
from archipelago.survey.services import Services, TapService, from_environment

OK = Answer(b"good")


def test_good_answer(server: Loopback) -> None:
    url = server.at("/a", OK)
    with patient_client(contact="me@example.org") as (client, clock):
        reply = client.request("GET", url)
    assert (reply.body, reply.status, reply.attempts, reply.url) == (b"good", 200, 1, url)
    assert clock.slept_s == []
    agent = server.requests[0].headers["User-Agent"]
    assert agent.startswith("archipelago-survey/") and "me@example.org" in agent


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Answer(b"busy", 503), "http 503"),
        (Answer(b"oops", 500), "http 500"),
        (Answer(b"slow down", 429), "http 429"),
        (Answer(b"cut", length=1000), "truncated"),
        (Answer(stall=True), "stalled"),
    ],
)
def test_passing_fault_is_repeated(server: Loopback, fault: Answer, reason: str) -> None:
    url = server.at("/a", fault, fault, OK)
    with patient_client(timeout_s=0.15) as (client, clock):
        reply = client.request("GET", url)
        assert (reply.body, reply.attempts) == (b"good", 3)
        assert clock.slept_s == [1.0, 2.0]  # doubled each time
        server.at("/b", fault)
        with pytest.raises(ServiceError) as caught:
            patient = HttpClient(retries=1, timeout_s=0.15, sleep=clock.sleep, clock=clock)
            with patient:
                patient.request("GET", server.url + "/b")
    error = caught.value
    assert isinstance(error, RequestError)
    assert (error.reason, error.attempts) == (reason, 2)
    assert error.url == server.url + "/b"
    assert error.status == (fault.status if reason.startswith("http") else None)


def test_unreachable_server() -> None:
    with loopback_server() as server:
        url = server.url
    with (
        patient_client(retries=2) as (client, clock),
        pytest.raises(RequestError, match=r"cannot be reached.*Connection refused") as caught,
    ):
        client.request("GET", url)
    assert (caught.value.reason, caught.value.attempts) == ("no connection", 3)
    assert len(clock.slept_s) == 2


def test_permanent_refusal_is_not_repeated(server: Loopback) -> None:
    url = server.at("/a", Answer(b"<b>no such column</b>", 400))
    with (
        patient_client() as (client, _),
        pytest.raises(RequestError, match="no such column.*HTTP 400") as caught,
    ):
        client.request("GET", url)
    assert (caught.value.attempts, caught.value.status) == (1, 400)


def test_connections_are_kept(server: Loopback) -> None:
    url = server.at("/a", Answer(b"busy", 503), OK)
    with patient_client() as (client, _):
        for _ in range(5):
            client.request("GET", url)
    assert (len(server.requests), server.connections) == (6, 1)


def test_jitter_lies_between_half_and_whole(server: Loopback) -> None:
    url = server.at("/a", Answer(status=500), OK)
    with patient_client() as (client, clock):
        client._jitter = lambda: 0.0
        client.request("GET", url)
    assert clock.slept_s == [0.5]


def test_retry_after_in_seconds_is_honoured_by_all_threads(server: Loopback) -> None:
    url = server.at("/a", Answer(status=429, headers={"Retry-After": "17"}), OK)
    with patient_client() as (client, clock):
        client.request("GET", url)
        assert clock.slept_s == [17.0]
        client._hosts.of(server.url).pause(5.0)
        client.request("GET", url)
        assert clock.slept_s == [17.0, 5.0]


def test_retry_after_as_date_in_the_past_means_now(server: Loopback) -> None:
    headers = {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}
    url = server.at("/a", Answer(status=503, headers=headers), OK)
    with patient_client() as (client, clock):
        assert client.request("GET", url).attempts == 2
    assert clock.slept_s == [0.0]


def test_unreadable_retry_after_is_ignored(server: Loopback) -> None:
    url = server.at("/a", Answer(status=503, headers={"Retry-After": "soon"}), OK)
    with patient_client() as (client, clock):
        client.request("GET", url)
    assert clock.slept_s == [1.0]


def test_retry_after_beyond_the_budget_ends_at_once(server: Loopback) -> None:
    url = server.at("/a", Answer(status=429, headers={"Retry-After": "86400"}), OK)
    with patient_client(total_s=100) as (client, clock):
        with pytest.raises(RequestError, match="86400 s, later than the 100 s allowed"):
            client.request("GET", url)
        with pytest.raises(RequestError, match="asks for a pause of 86400 s"):
            client.request("GET", url)
    assert clock.slept_s == []
    assert len(server.requests) == 1


def test_budget_ends_repetitions(server: Loopback) -> None:
    url = server.at("/a", Answer(status=500))
    with (
        patient_client(total_s=10, retries=99) as (client, clock),
        pytest.raises(RequestError, match="10 s allowed"),
    ):
        client.request("GET", url)
    assert sum(clock.slept_s) < 10


def test_dripping_server_cannot_outlast_the_budget(server: Loopback) -> None:
    url = server.at("/a", Answer(b"x" * 400_000, drip=1000))
    with patient_client(total_s=3, timeout_s=3) as (client, _):
        client.clock = itertools.count().__next__
        with pytest.raises(RequestError, match="not complete after 3 s") as caught:
            client.request("GET", url)
    assert caught.value.reason == "stalled"


def test_size_cap_holds_whatever_the_server_claims(server: Loopback) -> None:
    bomb = gzip.compress(b"\x00" * 3_000_000)
    server.at("/plain", Answer(b"x" * 5000, length=-1))
    server.at("/bomb", Answer(bomb, headers={"Content-Encoding": "gzip"}))
    with patient_client(max_bytes=4000) as (client, _):
        for path in ("/plain", "/bomb"):
            with pytest.raises(RequestError, match="larger than 4000 bytes") as caught:
                client.request("GET", server.url + path)
            assert (caught.value.reason, caught.value.attempts) == ("too large", 1)
        assert client.request("GET", server.url + "/plain", max_bytes=5000).body == b"x" * 5000


def test_ban_stops_at_once(server: Loopback) -> None:
    url = server.at("/a", Answer(b"too many jobs", 403))
    with patient_client() as (client, clock):
        with pytest.raises(BannedError, match="banned this client: too many jobs.*wait"):
            client.request("POST", url, data={"a": 1}, banned_status=403)
        assert clock.slept_s == []


def test_wrong_content_is_repeated_twice_only(server: Loopback) -> None:
    def check(body: bytes) -> None:
        if body != b"good":
            raise BadContentError("wrong", "detail")

    server.at("/a", Answer(b"bad"), OK)
    server.at("/b", Answer(b"bad"))
    with patient_client() as (client, _):
        assert client.request("GET", server.url + "/a", check=check).attempts == 2
        with pytest.raises(RequestError, match="wrong: detail") as caught:
            client.request("GET", server.url + "/b", check=check)
    assert (caught.value.reason, caught.value.attempts) == ("wrong", 3)
    assert caught.value.body == b"bad"


def test_literal_plus_is_kept(server: Loopback) -> None:
    server.at("/cut", OK)
    with patient_client() as (client, _):
        client.request("GET", server.url + "/cut?siaRef=DES0219+0001_g.fits.fz&POS=1,2")
    assert server.requests[0].target == "/cut?siaRef=DES0219+0001_g.fits.fz&POS=1,2"


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://a/b", "http://", "http://u:p@host/", "http://[::1", ""]
)
def test_other_addresses_are_not_opened(url: str) -> None:
    with patient_client() as (client, _), pytest.raises(RequestError, match="only http and https"):
        client.request("GET", url)


def test_links_from_a_server() -> None:
    service = "https://datalab.noirlab.edu/sia/des_dr2"
    good = "https://datalab.noirlab.edu/svc/cutout?col=a"
    assert require_safe_link(good, service) == good
    assert require_safe_link("/svc/cutout", service) == "https://datalab.noirlab.edu/svc/cutout"
    for bad in ("http://127.0.0.1/x", "http://localhost/", "http://169.254.169.254/latest"):
        with pytest.raises(RequestError, match="private network"):
            require_safe_link(bad, service)
    with pytest.raises(RequestError, match="only http"):
        require_safe_link("javascript:alert(1)", service)
    assert require_safe_link("http://127.0.0.1:9/x", "http://127.0.0.1:8/sia")


def test_redirection_to_another_kind_of_address_is_refused(server: Loopback) -> None:
    server.at("/a", Answer(status=302, headers={"Location": "http://10.0.0.1/secret"}))
    server.at("/b", Answer(status=302, headers={"Location": "/c"}))
    server.at("/c", OK)
    with patient_client() as (client, _):
        with pytest.raises(RequestError, match="private network"):
            client.request("GET", server.url + "/a")
        assert client.request("GET", server.url + "/b").url == server.url + "/c"


def test_redirection_loop_ends(server: Loopback) -> None:
    server.at("/a", Answer(status=302, headers={"Location": "/a"}))
    with patient_client() as (client, _), pytest.raises(RequestError, match="cannot be sent"):
        client.request("GET", server.url + "/a")
    assert len(server.requests) < 10


def test_requests_under_way_are_bounded(server: Loopback) -> None:
    lock, gate = threading.Lock(), threading.Event()
    now, most = 0, 0

    def count(_: Request) -> Answer:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
            if now == 2:
                gate.set()
        gate.wait(5)
        with lock:
            now -= 1
        return OK

    url = server.at("/a", count)
    with patient_client(connections=2) as (client, _):
        threads = [threading.Thread(target=client.request, args=("GET", url)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(server.requests) == 8
    assert most == 2


def test_cancelled_client_sends_nothing(server: Loopback) -> None:
    url = server.at("/a", OK)
    with HttpClient() as client:
        client.cancel()
        client.sleep(1e6)  # returns at once
        with pytest.raises(RequestError, match="cancelled"):
            client.request("GET", url)
    assert server.requests == []


def test_name_that_is_not_resolved_is_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with (
        patient_client(retries=2) as (client, clock),
        pytest.raises(RequestError, match="cannot be reached.*Name or service not known") as caught,
    ):
        client.request("GET", "http://survey.example/a")
    assert (caught.value.reason, caught.value.attempts) == ("no connection", 3)
    assert caught.value.may_pass and len(clock.slept_s) == 2


def test_outage_by_many_threads_costs_few_requests(server: Loopback) -> None:
    lock = threading.Lock()
    n_bad = 14

    def fail(_: Request) -> Answer:
        nonlocal n_bad
        with lock:
            n_bad -= 1
            return Answer(b"down", 503) if n_bad >= 0 else OK

    url = server.at("/a", fail)
    with (
        patient_client(connections=8, retries=20) as (client, _),
        ThreadPoolExecutor(8) as pool,
    ):
        replies = list(pool.map(lambda i: client.request("GET", f"{url}?{i}"), range(40)))
    assert [reply.body for reply in replies] == [b"good"] * 40
    assert len(server.requests) == 40 + 14


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_post_is_repeated_where_the_whole_service_has_moved(server: Loopback, status: int) -> None:
    with loopback_server() as other:
        old = server.at("/tap", Answer(status=status, headers={"Location": other.url + "/tap"}))
        other.at("/tap", OK)
        with patient_client() as (client, _):
            reply = client.request("POST", old, data={"QUERY": "x"})
        assert reply.url == other.url + "/tap"
        assert [(r.method, r.form) for r in other.requests] == [("POST", {"QUERY": "x"})]


@pytest.mark.parametrize("status", [302, 303])
def test_post_redirected_to_its_result_is_read_there(server: Loopback, status: int) -> None:
    url = server.at("/tap", Answer(status=status, headers={"Location": "/result"}))
    server.at("/result", OK)
    with patient_client() as (client, _):
        assert client.request("POST", url, data={"QUERY": "x"}).body == b"good"
    assert [request.method for request in server.requests] == ["POST", "GET"]


# What is kept


def keeping(folder: Path) -> Any:
    return patient_client(cache=Cache(folder, 10**9))


def test_the_same_request_is_sent_once(server: Loopback, tmp_path: Path) -> None:
    url = server.at("/a", lambda request: Answer(request.target.encode() + request.body))
    ways: list[tuple[str, dict[str, Any]]] = [
        ("GET", {}),
        ("GET", {"params": {"b": 1}}),
        ("GET", {"params": {"b": 2}}),
        ("POST", {"data": {"b": 1}}),
        ("POST", {"data": {"c": 1}}),
        ("POST", {"files": {"f": ("n.csv", b"1", "text/csv")}}),
        ("POST", {"files": {"f": ("n.csv", b"2", "text/csv")}}),
    ]
    for from_cache in (False, True):
        with keeping(tmp_path) as (client, _):
            for method, arguments in ways:
                reply = client.request(method, url, keep="tap", **arguments)
                assert (reply.from_cache, reply.attempts == 0) == (from_cache, from_cache)
                assert reply.status == 200 and reply.body.startswith(b"/a")
        assert len(server.requests) == len(ways)
    with keeping(tmp_path) as (client, _):
        assert not client.request("GET", url).from_cache  # no group: asked
        assert not client.request("GET", url, keep="sia/7").from_cache  # another group
        assert client.request("GET", url, keep="sia/7").from_cache


def test_only_good_answers_are_kept(server: Loopback, tmp_path: Path) -> None:
    class Judge:
        complete = True

        def __call__(self, body: bytes) -> None:
            self.complete = body != b"error"
            if body == b"bad":
                raise BadContentError("bad")

    server.at("/a", Answer(b"bad"), Answer(b"no", 503), OK)
    server.at("/error", Answer(b"error"))
    server.at("/none", Answer(b"bad"))
    for n_requests in (3, 3):
        with keeping(tmp_path) as (client, _):
            reply = client.request("GET", server.url + "/a", check=Judge(), keep="sia/1")
            assert reply.body == b"good"
            assert len(server.seen("/a")) == n_requests
    for n_requests in (1, 2):
        with keeping(tmp_path) as (client, _):
            client.request("GET", server.url + "/error", check=Judge(), keep="sia/1")
            assert len(server.seen("/error")) == n_requests
            with pytest.raises(RequestError, match="bad"):
                client.request("GET", server.url + "/none", check=Judge(), keep="sia/1")
            assert len(server.seen("/none")) == 3 * n_requests


def test_a_kept_answer_that_no_longer_passes_is_asked_for_anew(
    server: Loopback, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    url = server.at("/a", Answer(b"old"), Answer(b"new"))

    def check(body: bytes) -> None:
        if body == b"old":
            raise BadContentError("outdated")

    with keeping(tmp_path) as (client, _):
        client.request("GET", url, keep="sia/1")
        assert client.request("GET", url, check=check, keep="sia/1").body == b"new"
        assert "not used but asked for anew" in caplog.text
    with keeping(tmp_path) as (client, _):
        assert client.request("GET", url, check=check, keep="sia/1").from_cache
    assert len(server.requests) == 2


def test_a_damaged_answer_is_asked_for_anew(server: Loopback, tmp_path: Path) -> None:
    url = server.at("/a", OK)
    with keeping(tmp_path) as (client, _):
        client.request("GET", url, keep="sia/1")
    (pack,) = tmp_path.rglob("*.pack")
    pack.write_bytes(pack.read_bytes()[:-1] + b"x")
    for n_requests in (2, 2):
        with keeping(tmp_path) as (client, _):
            assert client.request("GET", url, keep="sia/1").body == b"good"
        assert len(server.requests) == n_requests


def test_ban_is_noted_for_all_jobs(server: Loopback, tmp_path: Path) -> None:
    url = server.at("/x", Answer(b"Forbidden: too many jobs", 403))
    with keeping(tmp_path) as (client, _), pytest.raises(BannedError, match="has banned"):
        client.request("POST", url, banned_status=403)
    (note,) = (tmp_path / "banned").iterdir()
    with keeping(tmp_path) as (client, _):
        with pytest.raises(BannedError) as caught:
            client.request("POST", url, banned_status=403)
        with pytest.raises(RequestError, match="HTTP 403"):
            client.request("POST", url)  # another kind of service there is asked
    assert len(server.requests) == 2
    text = str(caught.value)
    assert str(note) in text and "too many jobs" in text and "not asked until" in text


@pytest.mark.parametrize(
    ("age_h", "refused"), [(0.1, True), (5.9, True), (6.1, False), (-1.0, False)]
)
def test_ban_holds_for_some_hours(tmp_path: Path, age_h: float, refused: bool) -> None:
    url = "http://xmatch.example:8080/sync"
    note_ban(tmp_path, url, "no", now=lambda: 1e9)
    now = 1e9 + age_h * 3600
    if refused:
        match = "since 2001-09-09 01:46 UTC; it is not asked until 2001-09-09 07:46 UTC"
        with pytest.raises(BannedError, match=match):
            refuse_banned(tmp_path, url, now=lambda: now)
    else:
        refuse_banned(tmp_path, url, now=lambda: now)
    refuse_banned(tmp_path, "http://other.example/", now=lambda: now)


def test_ban_note_that_cannot_be_read_or_written(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    url = "http://a.example/"
    note_ban(tmp_path, url, "no")
    ban_path(tmp_path, url).write_text("{")
    refuse_banned(tmp_path, url)
    assert "passed over" in caplog.text
    (tmp_path / "file").write_text("")
    note_ban(tmp_path / "file", url, "no")
    assert "cannot be written down" in caplog.text


def test_excerpt_is_one_printable_line() -> None:
    assert excerpt(b"a\n\x1b[31m  b\xff") == "a [31m b\ufffd"
    assert len(excerpt(b"x" * 10_000)) == 203


SECTION = {
    "contact": "me@example.org",
    "tap": {"url": "https://datalab.noirlab.edu/tap", "mode": "async", "timeout_s": 900},
    "xmatch": {"url": "http://cdsxmatch.u-strasbg.fr/xmatch/api/v1/sync"},
    "sia": {"url": "https://datalab.noirlab.edu/sia/des_dr2"},
    "vizier_tap": {"url": "https://tapvizier.cds.unistra.fr/TAPVizieR/tap", "mode": "sync"},
    "connections": 16,
    "retries": 5,
    "timeout_s": 60,
    "total_s": 900,
    "max_bytes": 200_000_000,
}


def services_of(section: object) -> Services:
    return from_environment({"ARCHIPELAGO_SERVICES": json.dumps(section)})


def test_services_from_environment() -> None:
    services = services_of(SECTION)
    assert services.tap == TapService("https://datalab.noirlab.edu/tap", "async", 900)
    assert services.vizier_tap.mode == "sync"
    assert services.sia.url.endswith("des_dr2")
    assert services.xmatch.url.endswith("sync")
    with HttpClient.from_services(services) as client:
        assert client.connections == 16
        assert "me@example.org" in client.user_agent


def test_services_of_the_checked_configuration() -> None:
    services = shipped_config().services
    read = from_environment({"ARCHIPELAGO_SERVICES": services.model_dump_json()})
    assert dataclasses.asdict(read) == services.plain()


def test_services_absent_or_no_json() -> None:
    with pytest.raises(ConfigError, match="not set.*ARCHIPELAGO_SERVICES.*through Snakemake"):
        from_environment({})
    with pytest.raises(ConfigError, match="as JSON: JSONDecodeError"):
        from_environment({"ARCHIPELAGO_SERVICES": "{"})
    with pytest.raises(ConfigError, match="as JSON: TypeError"):
        services_of([])


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (SECTION | {"typo": 1}, "unexpected keyword argument 'typo'"),
        (SECTION | {"sia": {"url": "https://x", "extra": 1}}, "keyword argument 'extra'"),
        (SECTION | {"sia": "https://x"}, "TypeError.*must be a mapping"),
        ({name: SECTION[name] for name in SECTION if name != "tap"}, "missing.*'tap'"),
        ({name: SECTION[name] for name in SECTION if name != "retries"}, "missing.*'retries'"),
    ],
)
def test_services_of_another_shape(section: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        services_of(section)


def test_the_site_s_proxy_is_used_except_for_this_machine(
    server: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", server.url)
    url = server.at("/direct", Answer(b"from here"))
    # Through a proxy the whole address is the target.
    server.at("/there", Answer(b"from there"))
    with patient_client() as (client, _):
        assert client.request("GET", "http://survey.example/there").body == b"from there"
        assert client.request("GET", url).body == b"from here"
    targets = [request.target for request in server.requests]
    assert targets == ["http://survey.example/there", "/direct"]
