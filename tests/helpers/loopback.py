"""A small server on loopback that does what a test tells it, faults included."""

from __future__ import annotations

import email
import email.policy
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit
from xml.sax.saxutils import escape

from archipelago.survey.http import HttpClient


@dataclass(frozen=True)
class Request:
    """What a client sent."""

    method: str
    target: str  # path and query, as sent
    headers: Mapping[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        return {k: v[0] for k, v in parse_qs(urlsplit(self.target).query).items()}

    @property
    def form(self) -> dict[str, str]:
        """Fields of a form, plain or multipart, files included."""
        kind = self.headers.get("Content-Type", "")
        if not kind.startswith("multipart/"):
            return {k: v[0] for k, v in parse_qs(self.body.decode()).items()}
        head = f"Content-Type: {kind}\r\n\r\n".encode()
        message = email.message_from_bytes(head + self.body, policy=email.policy.HTTP)
        return {
            str(part.get_param("name", header="content-disposition")): part.get_payload(
                decode=True
            ).decode()
            for part in message.iter_parts()
        }


@dataclass(frozen=True)
class Answer:
    """What the server does with a request.

    Parameters
    ----------
    length : Content-Length to claim; None tells the true one, -1 tells none.
    stall : say nothing until the test ends.
    drip : send this many bytes at a time.
    """

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    length: int | None = None
    stall: bool = False
    drip: int = 0


Route = Callable[[Request], Answer]


class Loopback:
    """The server: routes by path, and every request it has seen."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.connections = 0
        self._routes: dict[str, Route] = {}
        self._lock = threading.Lock()
        self._ended = threading.Event()
        loopback = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def setup(self) -> None:
                super().setup()
                loopback.connections += 1

            def do_GET(self) -> None:
                loopback._serve(self)

            do_POST = do_DELETE = do_GET

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_: object) -> None:
                pass  # clients go away, as some tests make them do

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def at(self, path: str, *answers: Answer | Route) -> str:
        """Answer requests to ``path`` one after the other; the last answer stays."""
        waiting = list(answers)

        def route(request: Request) -> Answer:
            with self._lock:
                answer = waiting.pop(0) if len(waiting) > 1 else waiting[0]
            return answer if isinstance(answer, Answer) else answer(request)

        self._routes[path] = route
        return self.url + path

    def seen(self, path: str) -> list[Request]:
        return [request for request in self.requests if request.path == path]

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        size = int(handler.headers.get("Content-Length") or 0)
        request = Request(
            handler.command, handler.path, dict(handler.headers), handler.rfile.read(size)
        )
        with self._lock:
            self.requests.append(request)
        route = self._routes.get(request.path)
        try:
            answer = route(request) if route else Answer(b"no such thing", 404)
        except Exception:
            answer = Answer(traceback.format_exc().encode()[-300:], 400)
        if answer.stall:
            self._ended.wait(10)
            handler.close_connection = True
            return
        handler.send_response(answer.status)
        for name, value in answer.headers.items():
            handler.send_header(name, value)
        length = len(answer.body) if answer.length is None else answer.length
        if length >= 0:
            handler.send_header("Content-Length", str(length))
        if length != len(answer.body):
            handler.send_header("Connection", "close")
            handler.close_connection = True
        handler.end_headers()
        try:
            step = answer.drip or len(answer.body) or 1
            for start in range(0, len(answer.body), step):
                handler.wfile.write(answer.body[start : start + step])
                handler.wfile.flush()
        except OSError:
            handler.close_connection = True  # the client has gone away, as it may


@contextmanager
def loopback_server() -> Iterator[Loopback]:
    server = Loopback()
    try:
        yield server
    finally:
        server.close()


class Clock:
    """Time that passes only when someone sleeps."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.slept_s: list[float] = []
        self._lock = threading.Lock()

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self.now_s += seconds
            self.slept_s.append(seconds)


@contextmanager
def patient_client(**settings: Any) -> Iterator[tuple[HttpClient, Clock]]:
    """Give a client that never waits in real time."""
    clock = Clock()
    options: dict[str, Any] = {"timeout_s": 5.0, "connections": 4, **settings}
    with HttpClient(sleep=clock.sleep, clock=clock, jitter=lambda: 1.0, **options) as client:
        yield client, clock


def votable(
    fields: Sequence[tuple[str, str] | tuple[str, str, str]],
    rows: Iterable[Sequence[object]],
    *,
    status: str = "OK",
    message: str = "",
    after: str = "",
) -> bytes:
    """Write a VOTable. ``after`` is a status that comes behind the table; None is masked."""
    columns = "".join(
        f'<FIELD name="{f[0]}" datatype="{f[1]}"'
        + (' arraysize="*"' if f[1] == "char" else "")
        + (f' ucd="{f[2]}"' if len(f) > 2 else "")
        + (">" + '<VALUES null="-999"/></FIELD>' if f[1] in ("long", "int") else "/>")
        for f in fields
    )

    def cell(value: object, kind: str) -> str:
        if value is None:
            return "<TD>-999</TD>" if kind in ("long", "int") else "<TD/>"
        text = repr(value) if isinstance(value, float) else str(value)
        return f"<TD>{escape(text)}</TD>"

    body = "".join(
        "<TR>" + "".join(cell(v, f[1]) for v, f in zip(row, fields, strict=True)) + "</TR>"
        for row in rows
    )
    late = f'<INFO name="QUERY_STATUS" value="{after}"/>' if after else ""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<VOTABLE version="1.3" xmlns="http://www.ivoa.net/xml/VOTable/v1.3">'
        '<RESOURCE type="results">'
        f'<INFO name="QUERY_STATUS" value="{status}">{escape(message)}</INFO>'
        f"<TABLE>{columns}<DATA><TABLEDATA>{body}</TABLEDATA></DATA></TABLE>{late}"
        "</RESOURCE></VOTABLE>"
    ).encode()


def error_votable(message: str) -> bytes:
    return (
        '<?xml version="1.0"?><VOTABLE version="1.3"><RESOURCE type="results">'
        f'<INFO name="QUERY_STATUS" value="ERROR">{escape(message)}</INFO>'
        "</RESOURCE></VOTABLE>"
    ).encode()


LAUGHS = b"""<?xml version="1.0"?>
<!DOCTYPE VOTABLE [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;">]>
<VOTABLE><RESOURCE type="results"><DESCRIPTION>&c;</DESCRIPTION></RESOURCE></VOTABLE>"""
