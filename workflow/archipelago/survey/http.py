"""One polite way to ask a server: bounded, repeated with patience, never trusting.

Every request of this library goes through `HttpClient`. It holds a session per
thread, bounds the requests under way, repeats what may pass (no connection, a
stall, a body cut short, HTTP 429 and 5xx) with exponential backoff and jitter,
waits as long as ``Retry-After`` says, and gives up when its time is spent. The
body is read piece by piece against a size cap; ``Content-Length`` is never
taken as the truth. What a body must be is for the caller to judge (`Check`).
"""

from __future__ import annotations

import email.utils
import ipaddress
import logging
import random
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http.cookiejar import DefaultCookiePolicy
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
import urllib3

from archipelago.base.errors import ServiceError
from archipelago.survey.services import Services

_LOG = logging.getLogger(__name__)

#: Wait before the first repetition [s]; each further one waits twice as long.
FIRST_WAIT_S = 1.0
#: Longest wait between two attempts, unless the server asks for more [s].
LONGEST_WAIT_S = 60.0
#: Repetitions where the server answered well but with wrong content. Fewer than
#: for other faults, as such an answer seldom changes.
CONTENT_RETRIES = 2

_PIECE_BYTES = 65_536
_MAX_REDIRECTS = 5
_PROJECT = "archipelago-survey/0.1"


class BadContentError(Exception):
    """A body is not what was asked for; ``reason`` says so in a few words."""

    def __init__(self, reason: str, detail: str = "") -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(f"{reason}: {detail}" if detail else reason)


class RequestError(ServiceError):
    """A request failed for good.

    Parameters
    ----------
    reason : the kind of failure in a few words, such as ``"http 503"``, ``"stalled"``,
        ``"truncated"``, ``"too large"``, ``"no connection"``.
    attempts : how often the request was sent.
    body : first bytes of the server's last answer, for its own words.
    """

    def __init__(
        self,
        what: str,
        *,
        url: str,
        reason: str,
        status: int | None = None,
        attempts: int = 0,
        body: bytes = b"",
        next_step: str | None = None,
    ) -> None:
        self.reason = reason
        self.attempts = attempts
        self.body = body
        super().__init__(what, url=url, status=status, next_step=next_step)


class BannedError(RequestError):
    """The service refuses this client; asking again would make it worse."""


@dataclass(frozen=True)
class Reply:
    """A complete answer.

    Parameters
    ----------
    url : address that answered, after redirections.
    status : HTTP status, 200 to 299.
    headers : the answer's headers.
    body : the whole body, decoded.
    attempts : how often the request was sent until then.
    """

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes
    attempts: int


#: Judges a body; raises `BadContentError` where the request is to be repeated.
Check = Callable[[bytes], None]


class HttpClient:
    """Sends requests politely; to be shared by the threads of a job.

    Parameters
    ----------
    contact : e-mail address or page for the User-Agent.
    connections : most requests under way at once.
    retries : repetitions beyond the first attempt.
    timeout_s : longest silence before a request counts as stalled [s].
    total_s : longest time for one request with all repetitions and waits [s].
    max_bytes : largest body read [bytes].
    sleep, clock, jitter : replaced in tests. ``sleep(seconds)``; ``clock()`` in
        seconds, monotonic; ``jitter()`` in [0, 1).
    """

    def __init__(
        self,
        *,
        contact: str = "",
        connections: int = 8,
        retries: int = 5,
        timeout_s: float = 60.0,
        total_s: float = 900.0,
        max_bytes: int = 200_000_000,
        sleep: Callable[[float], object] | None = None,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.connections = connections
        self.retries = retries
        self.timeout_s = timeout_s
        self.total_s = total_s
        self.max_bytes = max_bytes
        self.user_agent = f"{_PROJECT} ({contact})" if contact else _PROJECT
        self.sleep: Callable[[float], object] = sleep or self._interruptible_sleep
        self.clock = clock
        self._jitter = jitter
        self._slots = threading.BoundedSemaphore(connections)
        self._local = threading.local()
        self._lock = threading.Lock()
        self._sessions: list[requests.Session] = []
        self._not_before_s: dict[str, float] = {}
        self._cancelled = threading.Event()

    @classmethod
    def from_services(cls, services: Services) -> HttpClient:
        """Build a client as the configuration says."""
        return cls(
            contact=services.contact,
            connections=services.connections,
            retries=services.retries,
            timeout_s=services.timeout_s,
            total_s=services.total_s,
            max_bytes=services.max_bytes,
        )

    def __enter__(self) -> HttpClient:
        """Give itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close all sessions."""
        self.close()

    def close(self) -> None:
        """Close all sessions; the client can be used again."""
        with self._lock:
            sessions, self._sessions = self._sessions, []
            self._local = threading.local()
        for session in sessions:
            session.close()

    def cancel(self) -> None:
        """Let every request, also a waiting one, end soon with a `RequestError`."""
        self._cancelled.set()

    def request(
        self,
        method: str,
        url: str,
        *,
        params: Mapping[str, Any] | None = None,
        data: Mapping[str, Any] | None = None,
        files: Mapping[str, Any] | None = None,
        timeout_s: float | None = None,
        max_bytes: int | None = None,
        check: Check | None = None,
        banned_status: int | None = None,
        follow: bool = True,
    ) -> Reply:
        """Send a request until it succeeds, and return the whole answer.

        Only for requests that may be repeated without harm.

        Parameters
        ----------
        method, url, params, data, files : as in `requests.Session.request`. The
            URL is sent as it is given: a literal ``+`` stays.
        timeout_s, max_bytes : instead of the client's own.
        check : judges the body of a good answer.
        banned_status : status by which this service says that the client is banned.
        follow : whether redirections are followed.

        Raises
        ------
        BannedError
            At once, if the server answers with ``banned_status``.
        RequestError
            If all attempts failed, the time is spent, the answer is too large,
            or the status is one that a repetition does not change (4xx).
        """
        require_web_url(url)
        arguments = {"params": params, "data": data, "files": files, "allow_redirects": follow}
        timeout_s = self.timeout_s if timeout_s is None else timeout_s
        # A server that may be silent for long must get the time for it once.
        deadline_s = self.clock() + max(self.total_s, timeout_s)
        cap = self.max_bytes if max_bytes is None else max_bytes
        bad_contents = 0
        attempt = 0
        while True:
            attempt += 1
            self._await_turn(url, deadline_s, attempt)
            failure = None
            try:
                reply = self._once(method, url, arguments, timeout_s, deadline_s, cap, attempt)
                if banned_status is not None and reply.status == banned_status:
                    raise BannedError(
                        f"the service has banned this client: {excerpt(reply.body)}",
                        url=url,
                        reason=f"http {reply.status}",
                        status=reply.status,
                        attempts=attempt,
                        body=reply.body,
                        next_step="it does so after too many requests at once: wait some hours, "
                        "lower services.connections and the number of jobs, then ask its help desk",
                    )
                failure = _bad_status(reply, url, attempt)
                if failure is None:
                    if check is not None:
                        check(reply.body)
                    return reply
                if not _may_pass(reply.status):
                    raise failure
                asked_s = _retry_after_s(reply.headers)
                wait_s = self._backoff_s(attempt) if asked_s is None else asked_s
                if asked_s is not None and reply.status in (429, 503):
                    self._hold(url, asked_s)
            except BadContentError as error:
                bad_contents += 1
                failure = RequestError(
                    f"the server answered well but with wrong content: {error}",
                    url=url,
                    reason=error.reason,
                    status=reply.status,
                    attempts=attempt,
                    body=reply.body[:_PIECE_BYTES],
                    next_step="open the address by hand; if it persists, tell the service",
                )
                if bad_contents > CONTENT_RETRIES:
                    raise failure from error
                wait_s = self._backoff_s(attempt)
            except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
                failure = _from_exception(error, url, attempt)
                if failure.reason == "bad request":
                    raise failure from error
                wait_s = self._backoff_s(attempt)
            if attempt > self.retries:
                raise failure
            if self.clock() + wait_s >= deadline_s:
                raise RequestError(
                    f"{failure.what}; the next attempt would be in {wait_s:.0f} s, "
                    f"later than the {self.total_s:.0f} s allowed",
                    url=url,
                    reason=failure.reason,
                    status=failure.status,
                    attempts=attempt,
                    body=failure.body,
                    next_step="run again later, or raise services.total_s",
                )
            _LOG.info("attempt %d: %s; again in %.1f s", attempt, failure, wait_s)
            self.sleep(wait_s)

    def _once(
        self,
        method: str,
        url: str,
        arguments: Mapping[str, Any],
        timeout_s: float,
        deadline_s: float,
        cap: int,
        attempt: int,
    ) -> Reply:
        with self._slot(), self._open(method, url, arguments, timeout_s) as response:
            pieces: list[bytes] = []
            size = 0
            # read1 returns what has come, so that a server that drips cannot
            # hold the thread past the deadline.
            while piece := response.raw.read1(_PIECE_BYTES, decode_content=True):
                size += len(piece)
                if size > cap:
                    raise RequestError(
                        f"the answer is larger than {cap} bytes",
                        url=url,
                        reason="too large",
                        status=response.status_code,
                        attempts=attempt,
                        next_step="ask for less, or raise services.max_bytes",
                    )
                if self.clock() > deadline_s:
                    raise RequestError(
                        f"the answer was not complete after {self.total_s:.0f} s",
                        url=url,
                        reason="stalled",
                        status=response.status_code,
                        attempts=attempt,
                        next_step="run again later, or raise services.total_s",
                    )
                pieces.append(piece)
            return Reply(
                url=response.url,
                status=response.status_code,
                headers=response.headers,
                body=b"".join(pieces),
                attempts=attempt,
            )

    @contextmanager
    def _open(self, method: str, url: str, arguments: Mapping[str, Any], timeout_s: float) -> Any:
        # A site's proxy cannot reach this machine's own loopback addresses.
        local = _is_local(urlsplit(url).hostname)
        proxies: Any = {"http": None, "https": None} if local else None
        response = self._session().request(
            method,
            url,
            stream=True,
            timeout=timeout_s,
            proxies=proxies,
            hooks={"response": _judge_redirection},
            **arguments,
        )
        try:
            yield response
        finally:
            response.close()

    @contextmanager
    def _slot(self) -> Any:
        with self._slots:
            yield

    def _session(self) -> requests.Session:
        session = getattr(self._local, "session", None)
        if session is None:
            session = requests.Session()
            session.headers["User-Agent"] = self.user_agent
            session.max_redirects = _MAX_REDIRECTS
            session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
            # Without this, requests would send what ~/.netrc holds.
            session.auth = lambda prepared: prepared
            self._local.session = session
            with self._lock:
                self._sessions.append(session)
        return session

    def _interruptible_sleep(self, seconds: float) -> None:
        self._cancelled.wait(seconds)

    def _backoff_s(self, attempt: int) -> float:
        longest_s = min(FIRST_WAIT_S * 2 ** (attempt - 1), LONGEST_WAIT_S)
        return longest_s * (0.5 + 0.5 * self._jitter())

    def _hold(self, url: str, wait_s: float) -> None:
        """Keep all threads from a host that has asked for a pause."""
        host = urlsplit(url).netloc
        until_s = self.clock() + wait_s
        with self._lock:
            self._not_before_s[host] = max(until_s, self._not_before_s.get(host, until_s))

    def _await_turn(self, url: str, deadline_s: float, attempt: int) -> None:
        """Wait while the host's pause lasts; another thread may have prolonged it."""
        host = urlsplit(url).netloc
        while True:
            if self._cancelled.is_set():
                raise RequestError(
                    "cancelled, as another request failed for good",
                    url=url,
                    reason="cancelled",
                    attempts=attempt - 1,
                )
            now_s = self.clock()
            wait_s = self._not_before_s.get(host, now_s) - now_s
            if wait_s <= 0:
                return
            if now_s + wait_s >= deadline_s:
                raise RequestError(
                    f"the server asks for a pause of {wait_s:.0f} s, "
                    f"longer than the {self.total_s:.0f} s allowed",
                    url=url,
                    reason="told to wait",
                    attempts=attempt - 1,
                    next_step="run again later, or lower services.connections",
                )
            self.sleep(wait_s)


def require_web_url(url: str) -> None:
    """Raise `RequestError` unless ``url`` is http or https, with a host and no password."""
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname)
        good = good and parts.username is None and parts.password is None
    except ValueError:
        good = False
    if not good:
        raise RequestError(
            "not an address that this program opens: only http and https, without a password",
            url=url[:200],
            reason="bad address",
        )


def require_safe_link(url: str, service_url: str) -> str:
    """Return ``url``, told by the server at ``service_url``, if it may be opened.

    A relative one is completed. It must be http or https, and must not point to
    this machine or to a private address unless the service itself is there.

    Raises
    ------
    RequestError
        With the reason ``"bad address"``.
    """
    try:
        url = urljoin(service_url, url.strip())
    except ValueError:
        url = url.strip()
    require_web_url(url)
    host = urlsplit(url).hostname
    if _is_private(host) and host != urlsplit(service_url).hostname:
        raise RequestError(
            f"the service at {service_url} gives an address inside a private network",
            url=url[:200],
            reason="bad address",
        )
    return url


def _judge_redirection(response: requests.Response, **_: object) -> None:
    """Refuse a redirection to where a server must not send us, before it is followed."""
    if response.is_redirect:
        require_safe_link(response.headers["Location"], response.url)


def excerpt(body: bytes, length: int = 200) -> str:
    """Return the beginning of ``body`` as one printable line."""
    text = body[: 4 * length].decode("utf-8", errors="replace")
    text = "".join(letter if letter.isprintable() else " " for letter in text)
    text = " ".join(text.split())
    return text if len(text) <= length else text[:length] + "..."


def _is_local(host: str | None) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


def _is_private(host: str | None) -> bool:
    if _is_local(host):
        return True
    try:
        return not ipaddress.ip_address(host or "").is_global
    except ValueError:
        return False


def _may_pass(status: int) -> bool:
    return status in (408, 425, 429) or status >= 500


def _bad_status(reply: Reply, url: str, attempt: int) -> RequestError | None:
    if 200 <= reply.status < 400:
        return None
    words = excerpt(reply.body)
    return RequestError(
        f"the server refused the request: {words}" if words else "the server refused the request",
        url=url,
        reason=f"http {reply.status}",
        status=reply.status,
        attempts=attempt,
        body=reply.body[:_PIECE_BYTES],
        next_step="run again later" if _may_pass(reply.status) else "check the address",
    )


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Return the wait that ``Retry-After`` asks for: seconds, or an HTTP date."""
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        when = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return max((when - datetime.now(UTC)).total_seconds(), 0.0)


def _from_exception(error: Exception, url: str, attempt: int) -> RequestError:
    text = str(error)
    timeouts = (requests.Timeout, urllib3.exceptions.TimeoutError)
    cut = (requests.exceptions.ChunkedEncodingError, urllib3.exceptions.ProtocolError)
    unfit = (
        requests.exceptions.InvalidURL,
        requests.exceptions.InvalidSchema,
        requests.exceptions.MissingSchema,
        requests.exceptions.InvalidHeader,
        requests.exceptions.TooManyRedirects,
    )
    if isinstance(error, timeouts) or "timed out" in text.lower():
        reason, what = "stalled", "the server did not answer in time"
    elif isinstance(error, unfit):
        reason, what = "bad request", "the request cannot be sent"
    elif isinstance(error, cut):
        reason, what = "truncated", "the answer was cut short"
    elif isinstance(error, requests.ConnectionError):
        reason, what = "no connection", "the server cannot be reached"
    else:
        reason, what = "broken answer", "the answer cannot be read"
    return RequestError(
        f"{what} ({type(error).__name__}: {_cause(error)[:200]})",
        url=url,
        reason=reason,
        attempts=attempt,
        next_step="check the address and the network, then run again",
    )


def _cause(error: Exception) -> str:
    """Return the words of what lies behind an error of urllib3, which buries them."""
    inner = error.args[0] if error.args else None
    return str(getattr(inner, "reason", None) or error)
