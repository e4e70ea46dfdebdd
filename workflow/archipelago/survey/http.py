"""One polite way to ask a server: bounded, repeated with patience, never trusting.

Every request of this library goes through `HttpClient`. It holds a session per
thread, bounds the requests under way to each host, repeats what may pass (no
connection, a stall, a body cut short, HTTP 429 and 5xx) with exponential backoff and
jitter, waits as long as ``Retry-After`` says, stays off a host that is down
(`archipelago.survey.hosts`), and gives up when its time is spent. The body is read
piece by piece against a size cap; ``Content-Length`` is never taken as the truth.
What a body must be is for the caller to judge (`Check`). What was answered once can
be kept (`archipelago.survey.cache`), and is then not asked for again.
"""

from __future__ import annotations

import hashlib
import logging
import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.cookiejar import DefaultCookiePolicy
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3
from requests.utils import get_environ_proxies

from archipelago.base.errors import ArchipelagoError
from archipelago.survey.addresses import is_local, judge_redirection, require_web_url
from archipelago.survey.bans import note_ban, refuse_banned
from archipelago.survey.cache import Cache
from archipelago.survey.faults import (
    BadContentError,
    BannedError,
    RequestError,
    excerpt,
    from_exception,
    refusal,
    retry_after_s,
    wrong_content,
)
from archipelago.survey.hosts import Host, Hosts
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


@dataclass(frozen=True)
class Reply:
    """A complete answer.

    Parameters
    ----------
    url : address that answered, after redirections.
    status : HTTP status, 200 to 399.
    headers : the answer's headers; none if it was kept.
    body : the whole body, decoded.
    attempts : how often the request was sent until then; 0 if it was not.
    from_cache : whether the answer was kept from an earlier time.
    """

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes
    attempts: int
    from_cache: bool = False


#: Judges a body; raises `BadContentError` where the request is to be repeated. One
#: that has an attribute ``complete`` which is false afterwards keeps the body out of
#: the cache: an error that the server reports well, or a table that was cut.
Check = Callable[[bytes], None]


@dataclass(frozen=True)
class _Wanted:
    """A request and what its answer must be."""

    method: str
    url: str
    arguments: Mapping[str, Any]
    timeout_s: float
    deadline_s: float
    max_bytes: int
    check: Check | None
    banned_status: int | None


class _TryAgainError(Exception):
    """An attempt failed in a way that may pass."""

    def __init__(
        self, failure: RequestError, wait_s: float | None = None, *, is_content: bool = False
    ) -> None:
        self.failure = failure
        self.wait_s = wait_s
        self.is_content = is_content
        super().__init__(str(failure))


class HttpClient:
    """Sends requests politely; to be shared by the threads of a job.

    Parameters
    ----------
    contact : e-mail address or page for the User-Agent.
    connections : most requests under way at once to one host; `limit_host` lowers it.
    retries : repetitions beyond the first attempt.
    timeout_s : longest silence before a request counts as stalled [s].
    total_s : longest time for one request with all repetitions and waits, and longest
        outage of a host that is waited for [s].
    max_bytes : largest body read [bytes].
    cache : where answers are kept, for requests that name a group; closed with the client.
    sleep, clock, jitter : replaced in tests. ``sleep(seconds)``; ``clock()`` in
        seconds, monotonic; ``jitter()`` in [0, 1).
    """

    def __init__(
        self,
        *,
        contact: str = "",
        connections: int = 8,
        retries: int = 8,
        timeout_s: float = 60.0,
        total_s: float = 900.0,
        max_bytes: int = 200_000_000,
        cache: Cache | None = None,
        sleep: Callable[[float], object] | None = None,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.connections = connections
        self.retries = retries
        self.timeout_s = timeout_s
        self.total_s = total_s
        self.max_bytes = max_bytes
        self.cache = cache
        self.user_agent = f"{_PROJECT} ({contact})" if contact else _PROJECT
        self.sleep: Callable[[float], object] = sleep or self._interruptible_sleep
        self.clock = clock
        self._jitter = jitter
        self._local = threading.local()
        self._lock = threading.Lock()
        self._sessions: list[requests.Session] = []
        self._proxies: dict[str, dict[str, str]] = {}
        self._cancelled = threading.Event()
        # Looked up at each call, as tests replace them.
        self._hosts = Hosts(
            connections,
            total_s,
            sleep=lambda seconds: self.sleep(seconds),
            clock=lambda: self.clock(),
            jitter=lambda: self._jitter(),
            cancelled=self._cancelled,
        )

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
            cache=Cache.from_settings(services.cache),
        )

    def __enter__(self) -> HttpClient:
        """Give itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close all sessions."""
        self.close()

    def close(self) -> None:
        """Close all sessions and the cache; the client can be used again."""
        with self._lock:
            sessions, self._sessions = self._sessions, []
            self._local = threading.local()
        for session in sessions:
            session.close()
        if self.cache is not None:
            self.cache.close()

    def cancel(self) -> None:
        """Let every request, also a waiting one, end soon with a `RequestError`."""
        self._cancelled.set()
        self._hosts.wake()

    def limit_host(self, url: str, connections: int) -> None:
        """Allow at most ``connections`` requests at once to the host of ``url``."""
        self._hosts.limit(url, connections)

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
        keep: str | None = None,
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
        keep : group of the cache. An answer kept under the same request is returned
            if it passes ``check``, and nothing is sent; a new one is kept. A group
            without ``/`` is spread over folders by the request.

        Raises
        ------
        BannedError
            At once, if the server answers with ``banned_status``, or has done so of
            late in any job that shares the cache.
        RequestError
            If all attempts failed, the time is spent, the answer is too large,
            or the status is one that a repetition does not change (4xx).
        """
        require_web_url(url)
        key = ""
        if keep is not None and self.cache is not None:
            key = request_key(method, url, params, data, files)
            keep = spread(keep, key)
            body = self.cache.get(keep, key)
            if body is not None and _passes(check, body, url):
                return Reply(url, 200, {}, body, attempts=0, from_cache=True)
        timeout_s = self.timeout_s if timeout_s is None else timeout_s
        wanted = _Wanted(
            method,
            url,
            {"params": params, "data": data, "files": files, "allow_redirects": follow},
            timeout_s,
            # A server that may be silent for long must get the time for it once.
            self.clock() + max(self.total_s, timeout_s),
            self.max_bytes if max_bytes is None else max_bytes,
            check,
            banned_status,
        )
        reply = self._persist(wanted)
        complete = getattr(check, "complete", True)
        if keep is not None and self.cache is not None and complete:
            self.cache.put(keep, key, reply.body)
        return reply

    def _persist(self, wanted: _Wanted) -> Reply:
        """Send a request until it succeeds or fails for good."""
        host = self._hosts.of(wanted.url)
        bad_contents = attempt = 0
        while True:
            attempt += 1
            try:
                reply = self._attempt(host, wanted, attempt)
                self._judge(host, reply, wanted, attempt)
                return reply
            except _TryAgainError as again:
                failure = again.failure
                bad_contents += again.is_content
                if attempt > self.retries or bad_contents > CONTENT_RETRIES:
                    raise failure from again.__cause__
                if host.is_down:
                    continue  # its turn tells when to try
                wait_s = self._backoff_s(attempt) if again.wait_s is None else again.wait_s
            if self.clock() + wait_s >= wanted.deadline_s:
                raise self._too_late(failure, wait_s)
            _LOG.info("attempt %d: %s; again in %.1f s", attempt, failure, wait_s)
            self.sleep(wait_s)

    def _attempt(self, host: Host, wanted: _Wanted, attempt: int) -> Reply:
        """Send a request once, when the host's turn allows, and tell how that went."""
        if wanted.banned_status is not None and self.cache is not None:
            refuse_banned(self.cache.folder, wanted.url)
        with host.turn(wanted.url, wanted.deadline_s, attempt) as turn:
            try:
                reply = self._once(wanted, attempt)
            except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
                failure = from_exception(error, wanted.url, attempt)
                if failure.reason == "bad request":
                    raise failure from error
                if failure.reason == "no connection":
                    turn.failure = failure
                raise _TryAgainError(failure) from error
            # One that asks for a pause is at work.
            if reply.status >= 500 and retry_after_s(reply.headers) is None:
                turn.failure = refusal(reply.status, reply.body, wanted.url, attempt)
            else:
                turn.answered = True
            return reply

    def _judge(self, host: Host, reply: Reply, wanted: _Wanted, attempt: int) -> None:
        """Raise unless an answer is good."""
        if wanted.banned_status is not None and reply.status == wanted.banned_status:
            raise self._banned(reply, wanted, attempt)
        failure = refusal(reply.status, reply.body, wanted.url, attempt)
        if failure is not None:
            if not failure.may_pass:
                raise failure
            asked_s = retry_after_s(reply.headers)
            if asked_s is not None and reply.status in (429, 503):
                host.pause(asked_s)
            raise _TryAgainError(failure, asked_s)
        if wanted.check is not None:
            try:
                wanted.check(reply.body)
            except BadContentError as error:
                failure = wrong_content(error, reply.status, reply.body, wanted.url, attempt)
                raise _TryAgainError(failure, is_content=True) from error

    def _banned(self, reply: Reply, wanted: _Wanted, attempt: int) -> BannedError:
        words = excerpt(reply.body)
        if self.cache is not None:
            note_ban(self.cache.folder, wanted.url, words)
        return BannedError(
            f"the service has banned this client: {words}",
            url=wanted.url,
            reason=f"http {reply.status}",
            status=reply.status,
            attempts=attempt,
            body=reply.body,
            next_step="it does so after too many requests at once: wait some hours, "
            "lower services.connections and the number of jobs, then ask its help desk",
        )

    def _too_late(self, failure: RequestError, wait_s: float) -> RequestError:
        return RequestError(
            f"{failure.what}; the next attempt would be in {wait_s:.0f} s, "
            f"later than the {self.total_s:.0f} s allowed",
            url=failure.url,
            reason=failure.reason,
            status=failure.status,
            attempts=failure.attempts,
            body=failure.body,
            next_step="run again later, or raise services.total_s",
        )

    def _once(self, wanted: _Wanted, attempt: int) -> Reply:
        with self._open(wanted) as response:
            pieces: list[bytes] = []
            size = 0
            # read1 returns what has come, so that a server that drips cannot
            # hold the thread past the deadline.
            while piece := response.raw.read1(_PIECE_BYTES, decode_content=True):
                size += len(piece)
                if size > wanted.max_bytes:
                    raise RequestError(
                        f"the answer is larger than {wanted.max_bytes} bytes",
                        url=wanted.url,
                        reason="too large",
                        status=response.status_code,
                        attempts=attempt,
                        next_step="ask for less, or raise services.max_bytes",
                    )
                if self.clock() > wanted.deadline_s:
                    raise RequestError(
                        f"the answer was not complete after {self.total_s:.0f} s",
                        url=wanted.url,
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
    def _open(self, wanted: _Wanted) -> Iterator[Any]:
        response = self._session().request(
            wanted.method,
            wanted.url,
            stream=True,
            timeout=wanted.timeout_s,
            proxies=self._proxies_for(wanted.url),
            hooks={"response": judge_redirection},
            **wanted.arguments,
        )
        try:
            yield response
        finally:
            response.close()

    def _session(self) -> requests.Session:
        session = getattr(self._local, "session", None)
        if session is None:
            session = requests.Session()
            session.headers["User-Agent"] = self.user_agent
            session.max_redirects = _MAX_REDIRECTS
            session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
            # Without this, requests would send what ~/.netrc holds.
            session.auth = lambda prepared: prepared
            # requests would read the environment anew for each request, which costs a
            # seventh of the time of a small one.
            session.trust_env = False
            session.verify = (
                os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or True
            )
            self._local.session = session
            with self._lock:
                self._sessions.append(session)
        return session

    def _proxies_for(self, url: str) -> dict[str, str]:
        """Return the proxies that the environment names for the host of ``url``."""
        host = urlsplit(url).netloc
        if host not in self._proxies:
            # A site's proxy cannot reach this machine's own loopback addresses.
            local = is_local(urlsplit(url).hostname)
            self._proxies[host] = {} if local else get_environ_proxies(url)
        return self._proxies[host]

    def _interruptible_sleep(self, seconds: float) -> None:
        self._cancelled.wait(seconds)

    def _backoff_s(self, attempt: int) -> float:
        longest_s = min(FIRST_WAIT_S * 2 ** (attempt - 1), LONGEST_WAIT_S)
        return longest_s * (0.5 + 0.5 * self._jitter())


def request_key(
    method: str,
    url: str,
    params: Mapping[str, Any] | None = None,
    data: Mapping[str, Any] | None = None,
    files: Mapping[str, Any] | None = None,
) -> str:
    """Return a text that is the same for the same request, and for no other.

    Parameters
    ----------
    method, url, params, data, files : as of `HttpClient.request`; files as bytes, or
        as tuples of name, bytes and type.
    """
    digest = hashlib.sha256()
    for part in (method, url, *(sorted((given or {}).items()) for given in (params, data, files))):
        text = repr(part).encode()
        digest.update(b"%d:" % len(text) + text)
    return digest.hexdigest()


def spread(group: str, key: str) -> str:
    """Return one of 256 parts of a group; a group with parts of its own as it is.

    A job reads the index of the groups it asks for, so that none may grow with the
    number of all jobs.
    """
    return group if "/" in group else f"{group}/{key[:2]}"


def _passes(check: Check | None, body: bytes, url: str) -> bool:
    """Tell whether an answer that was kept is still what is asked for."""
    try:
        if check is not None:
            check(body)
    except (BadContentError, ArchipelagoError) as error:
        _LOG.warning("a kept answer is not used but asked for anew: %s: %s", url, error)
        return False
    return True
