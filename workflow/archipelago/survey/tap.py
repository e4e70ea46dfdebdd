"""Queries to TAP services, through pyvo and our own polite requests."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

import pandas as pd
import requests
from pyvo.dal.exceptions import DALServiceError
from pyvo.dal.tap import AsyncTAPJob, TAPQuery
from pyvo.io.uws import parse_job

from archipelago.base.errors import ArchipelagoError, ServiceError
from archipelago.base.files import write_text
from archipelago.survey.addresses import require_safe_link
from archipelago.survey.faults import BadContentError, RequestError
from archipelago.survey.http import Check, HttpClient, spread
from archipelago.survey.services import TapService
from archipelago.survey.votable import (
    Reader,
    check_xml,
    quiet_parsing,
    require_ok,
    server_words,
)

_LOG = logging.getLogger(__name__)

#: Wait between the first two looks at an asynchronous query, its growth, its end [s].
FIRST_POLL_S = 1.0
POLL_GROWTH = 1.3
LONGEST_POLL_S = 30.0

#: Group of the answers in the cache.
CACHE_GROUP = "tap"
#: Folder beside the cache's groups where the addresses of unfinished jobs are noted.
JOBS_FOLDER = "tap_jobs"

_ENDED = ("COMPLETED", "ERROR", "ABORTED", "ARCHIVED")
_END = re.compile(r"(/+(a?sync)?)?/*$")
_MOST_MOVES = 3
# What a service answers about a job that it no longer has.
_GONE = (404, 410)


class TooManyRowsError(ServiceError):
    """The query has more rows than are accepted; ask for smaller parts of the sky."""


class TapClient:
    """Asks one TAP service.

    Answers are kept in the client's cache, where it has one; so is the address of an
    asynchronous job, so that a job of ours that was interrupted goes on waiting for
    the one at the service.

    Parameters
    ----------
    service : where, and whether synchronously. The address may end in ``/sync`` or
        ``/async``.
    client : sends the requests.
    """

    def __init__(self, service: TapService, client: HttpClient) -> None:
        self.service = replace(service, url=_END.sub("", service.url))
        self._client = client

    def query(self, adql: str, *, max_rows: int) -> pd.DataFrame:
        """Return the result of a query, with all its rows or not at all.

        Parameters
        ----------
        adql : the query, without TOP.
        max_rows : most rows that are accepted. One more is asked for (MAXREC),
            so that a full answer can be told from one that was cut.

        Returns
        -------
        Columns as the server names them; missing numbers are NaN.

        Raises
        ------
        TooManyRowsError
            If the query has more rows than ``max_rows``, or than the service gives.
        ServiceError
            If the service fails, reports an error (also with HTTP 200), or sends
            what is no VOTable.
        """
        query = _Query(self.service.url, adql, max_rows + 1)
        reader = _KeepingReader()
        if not self._recall(query, reader):
            try:
                if self.service.mode == "async":
                    self._run_async(query, reader)
                else:
                    self._run_sync(query, reader)
            except RequestError as error:
                raise _with_words(error, self.service) from error
        reply = require_ok(reader.reply, self.service.url)
        if reply.status == "OVERFLOW" or len(reply) > max_rows:
            raise TooManyRowsError(
                f"the query has more rows than the service gives: {len(reply)} came, "
                f"{max_rows} are accepted",
                url=self.service.url,
                status=200,
                next_step="raise survey.max_rows, or use smaller tiles (survey.tile_order)",
            )
        if reader.is_new and self._client.cache is not None:
            self._client.cache.put(query.group, query.key, reader.body)
        return reply.frame()

    def _recall(self, query: _Query, reader: _KeepingReader) -> bool:
        """Read the answer that was kept; False if there is none that is good."""
        body = self._client.cache.get(query.group, query.key) if self._client.cache else None
        if body is None:
            return False
        try:
            reader(body)
        except BadContentError as error:
            _LOG.warning("a kept answer is not used but asked for anew: %s", error)
            return False
        reader.is_new = False
        return reader.complete

    def _run_sync(self, query: _Query, reader: _KeepingReader) -> None:
        self._client.request(
            "POST",
            f"{query.url}/sync",
            data=query.form("sync"),
            check=reader,
            timeout_s=self.service.timeout_s,
        )

    def _run_async(self, query: _Query, reader: _KeepingReader) -> None:
        """Find or submit the job, wait for its end, and read its result."""
        deadline_s = self._client.clock() + self.service.timeout_s
        note = _JobNote(self._client, query)
        job = self._resume(note)
        if job is not None:
            try:
                return self._finish(job, note, deadline_s, reader)
            except RequestError as error:
                if error.status not in _GONE:
                    raise
                _LOG.info("the job of an earlier attempt has gone: %s", error)
            if self._recall(query, reader):  # another job of ours was faster
                return None
        return self._finish(self._submit(query, note), note, deadline_s, reader)

    def _finish(
        self, job: AsyncTAPJob, note: _JobNote, deadline_s: float, reader: _KeepingReader
    ) -> None:
        """Wait for a job and read its result; delete it unless it is of use later."""
        useful = False
        try:
            self._await_end(job, deadline_s)
            result = require_safe_link(job.result_uri or f"{job.url}/results/result", job.url)
            self._client.request("GET", result, check=reader)
        except (RequestError, _StillRunningError) as error:
            useful = note.is_kept and (not isinstance(error, RequestError) or error.may_pass)
            raise
        except (KeyboardInterrupt, SystemExit):
            useful = note.is_kept
            raise
        finally:
            if not useful:
                note.remove()
                self._delete(job)

    def _resume(self, note: _JobNote) -> AsyncTAPJob | None:
        """Return the job that an earlier attempt has submitted, if it can still be used."""
        url = note.read()
        if url is None:
            return None
        session = _PyvoSession(self._client, self._client.timeout_s, check_xml)
        try:
            with self._reading_jobs():
                job = AsyncTAPJob(require_safe_link(url, self.service.url), session=session)
                phase = job.phase
        except ServiceError as error:
            if isinstance(error, RequestError) and error.may_pass:
                raise
            _LOG.info("the job of an earlier attempt is gone, and submitted anew: %s", error)
            note.remove()
            return None
        if phase in ("ERROR", "ABORTED", "ARCHIVED"):
            _LOG.info("the job of an earlier attempt ended as %s: %s", phase, url)
            note.remove()
            self._delete(job)
            return None
        _LOG.info("the job of an earlier attempt is %s and is waited for: %s", phase, url)
        return job

    def _submit(self, query: _Query, note: _JobNote) -> AsyncTAPJob:
        """Create a job, and note its address before anything else is done."""
        url = self._create(query)
        note.write(url)
        session = _PyvoSession(self._client, self._client.timeout_s, check_xml)
        with self._reading_jobs():
            return AsyncTAPJob(url, session=session)

    def _create(self, query: _Query) -> str:
        """Submit a query and return the address of its job."""
        at = f"{query.url}/async"
        for _ in range(_MOST_MOVES):
            reply = self._client.request("POST", at, data=query.form("async"), follow=False)
            location = reply.headers.get("Location")
            if not location:
                break
            there = require_safe_link(location, reply.url)
            # The whole service may have moved, such as from http to https.
            if reply.status == 303 or urlsplit(there).path != urlsplit(at).path:
                return there
            at = there
        # The standard asks for a redirection; the job itself says its number, too.
        with self._reading_jobs(at):
            check_xml(reply.body)
            number = parse_job(io.BytesIO(reply.body).read).jobid
            if not number:
                raise ValueError("it has no identifier")
        return f"{at}/{number}"

    def _delete(self, job: AsyncTAPJob) -> None:
        try:
            job.delete()
        except (ServiceError, DALServiceError, requests.RequestException) as error:
            _LOG.warning("the job could not be deleted at the service: %s", error)

    @contextmanager
    def _reading_jobs(self, url: str | None = None) -> Iterator[None]:
        """Turn whatever pyvo's reader of jobs raises into `ServiceError`; ``url`` was asked."""
        try:
            with quiet_parsing():
                yield
        except ServiceError:
            raise
        except Exception as error:  # it raises many kinds
            raise ServiceError(
                f"the service answers with what is not a TAP job: {type(error).__name__}: {error}",
                url=url or self.service.url,
                next_step="set services.tap.mode to sync",
            ) from error

    def _await_end(self, job: AsyncTAPJob, deadline_s: float) -> None:
        """Start a job that waits for it, and wait until it is COMPLETED."""
        wait_s = FIRST_POLL_S
        started = False
        while True:
            with self._reading_jobs():
                phase = job.phase
            if phase in _ENDED:
                break
            if phase in ("PENDING", "HELD") and not started:
                job.run()
                started = True
                continue
            if self._client.clock() + wait_s > deadline_s:
                raise _StillRunningError(
                    f"the query was still {phase} after {self.service.timeout_s:.0f} s",
                    url=job.url,
                    next_step="raise services.tap.timeout_s, or use smaller tiles; "
                    "with a cache, the next attempt goes on waiting",
                )
            self._client.sleep(wait_s)
            wait_s = min(wait_s * POLL_GROWTH, LONGEST_POLL_S)
        if phase != "COMPLETED":
            summary = job.job.errorsummary
            words = summary.message.content if summary and summary.message else ""
            raise ServiceError(
                f"the query ended as {phase}: {words or 'the service does not say why'}",
                url=job.url,
                next_step="correct the query, or run again if the service was busy",
            )


class _StillRunningError(ServiceError):
    """A job at the service has not ended in time."""


@dataclass(frozen=True)
class _Query:
    """What is asked: the same for both modes."""

    url: str
    adql: str
    maxrec: int

    @property
    def key(self) -> str:
        text = json.dumps([self.url, self.adql, self.maxrec])
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def group(self) -> str:
        return spread(CACHE_GROUP, self.key)

    def form(self, mode: str) -> dict[str, Any]:
        return dict(TAPQuery(self.url, self.adql, mode=mode, maxrec=self.maxrec))


class _KeepingReader(Reader):
    """A reader that keeps the body, too."""

    def __init__(self) -> None:
        super().__init__()
        self.body = b""
        self.is_new = True

    def __call__(self, body: bytes) -> None:
        super().__call__(body)
        self.body = body
        self.is_new = True


class _JobNote:
    """The address of a job at the service, in a file beside the cache."""

    def __init__(self, client: HttpClient, query: _Query) -> None:
        folder = client.cache.folder if client.cache else None
        self._path = folder / JOBS_FOLDER / f"{query.key}.json" if folder else None
        self._query = query
        self.is_kept = False

    def read(self) -> str | None:
        """Return the address, or None where there is no note."""
        if self._path is None:
            return None
        try:
            url = str(json.loads(self._path.read_text(encoding="utf-8"))["url"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            _LOG.warning("the note of a job, %s, is passed over: %s", self._path, error)
            return None
        self.is_kept = True
        return url

    def write(self, url: str) -> None:
        """Write it down, completely or not at all."""
        if self._path is None:
            return
        note = {"url": url, "query": self._query.adql, "maxrec": self._query.maxrec}
        try:
            write_text(self._path, json.dumps(note, indent=1))
        except (OSError, ArchipelagoError) as error:
            _LOG.warning("the address of the job %s cannot be noted: %s", url, error)
        else:
            self.is_kept = True

    def remove(self) -> None:
        """Forget it."""
        if self._path is not None and self.is_kept:
            with suppress(OSError):
                self._path.unlink()
        self.is_kept = False


class _Raw(io.BytesIO):
    """A body as pyvo wants to read it."""

    def read(self, size: int | None = -1, decode_content: bool = True) -> bytes:
        del decode_content  # it is decoded already
        return super().read(size)


class _PyvoSession:
    """Gives pyvo what it needs of a `requests.Session`, on top of `HttpClient`.

    Bodies are complete and judged by ``check`` before pyvo sees them.
    """

    def __init__(self, client: HttpClient, timeout_s: float, check: Check) -> None:
        self._client = client
        self._timeout_s = timeout_s
        self._check = check

    def get(
        self, url: str, params: Mapping[str, Any] | None = None, **_: object
    ) -> requests.Response:
        return self._send("GET", url, check=self._check, params=params)

    def post(
        self,
        url: str,
        data: Mapping[str, Any] | None = None,
        files: Mapping[str, Any] | None = None,
        **_: object,
    ) -> requests.Response:
        # What comes back after a change of phase differs between servers and is not used.
        check = None if url.endswith("/phase") else self._check
        return self._send("POST", url, check=check, data=dict(data or {}), files=files or None)

    def delete(self, url: str, **_: object) -> requests.Response:
        return self._send("DELETE", url, check=None, follow=False)

    def _send(self, method: str, url: str, *, check: Check | None, **kw: Any) -> requests.Response:
        reply = self._client.request(method, url, timeout_s=self._timeout_s, check=check, **kw)
        response = requests.Response()
        response.status_code = reply.status
        response.url = reply.url
        response.headers.update(reply.headers)
        response.raw = _Raw(reply.body)
        response._content = reply.body
        return response


def _with_words(error: RequestError, service: TapService) -> ServiceError:
    """Return the failure with the server's own words, which may lie in a VOTable."""
    words = server_words(error) if error.body and error.reason.startswith("http") else ""
    next_step = error.next_step
    if service.mode == "async" and error.status == 400:
        next_step = "some servers refuse asynchronous queries: set services.tap.mode to sync"
    return ServiceError(
        f"the query failed: {words}" if words else f"the query failed: {error.what}",
        url=error.url,
        status=error.status,
        next_step=next_step,
    )
