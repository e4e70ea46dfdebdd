"""Queries to TAP services, through pyvo and our own polite requests."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pandas as pd
import requests
from pyvo.dal.exceptions import DALServiceError
from pyvo.dal.tap import AsyncTAPJob, TAPQuery

from archipelago.base.errors import ServiceError
from archipelago.survey.http import (
    Check,
    HttpClient,
    RequestError,
    require_safe_link,
)
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

_ENDED = ("COMPLETED", "ERROR", "ABORTED", "ARCHIVED")


class TapClient:
    """Asks one TAP service.

    Parameters
    ----------
    service : where, and whether synchronously.
    client : sends the requests.
    """

    def __init__(self, service: TapService, client: HttpClient) -> None:
        self.service = service
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
        ServiceError
            If the service fails, reports an error (also with HTTP 200), sends
            what is no VOTable, or has more rows than ``max_rows``.
        """
        reader = Reader()
        try:
            if self.service.mode == "async":
                self._run_async(adql, max_rows + 1, reader)
            else:
                session = _PyvoSession(self._client, self.service.timeout_s, reader)
                TAPQuery(self.service.url, adql, maxrec=max_rows + 1, session=session).submit()
        except RequestError as error:
            raise _with_words(error, self.service) from error
        reply = require_ok(reader.reply, self.service.url)
        if reply.status == "OVERFLOW" or len(reply) > max_rows:
            raise ServiceError(
                f"the query has more rows than the service gives: {len(reply)} came, "
                f"{max_rows} are accepted",
                url=self.service.url,
                status=200,
                next_step="raise survey.max_rows, or use smaller tiles (survey.tile_order)",
            )
        return reply.frame()

    def _run_async(self, adql: str, maxrec: int, reader: Reader) -> None:
        """Submit a job, wait for its end, read its result, and delete it in any case."""
        session = _PyvoSession(self._client, self._client.timeout_s, check_xml)
        deadline_s = self._client.clock() + self.service.timeout_s
        with self._reading_jobs():
            submitted = TAPQuery(
                self.service.url, adql, mode="async", maxrec=maxrec, session=session
            ).submit()
            job = AsyncTAPJob(submitted.url, session=session)
        try:
            job.run()
            self._await_end(job, deadline_s)
            result = require_safe_link(job.result_uri or f"{job.url}/results/result", job.url)
            _PyvoSession(self._client, self._client.timeout_s, reader).get(result)
        finally:
            try:
                job.delete()
            except (ServiceError, DALServiceError, requests.RequestException) as error:
                _LOG.warning("the job could not be deleted at the service: %s", error)

    @contextmanager
    def _reading_jobs(self) -> Iterator[None]:
        """Turn whatever pyvo's reader of jobs raises into `ServiceError`."""
        try:
            with quiet_parsing():
                yield
        except ServiceError:
            raise
        except Exception as error:  # it raises many kinds
            raise ServiceError(
                f"the service answers with what is not a TAP job: {type(error).__name__}: {error}",
                url=self.service.url,
                next_step="set services.tap.mode to sync",
            ) from error

    def _await_end(self, job: AsyncTAPJob, deadline_s: float) -> None:
        wait_s = FIRST_POLL_S
        while True:
            with self._reading_jobs():
                phase = job.phase
            if phase in _ENDED:
                break
            if self._client.clock() + wait_s > deadline_s:
                raise ServiceError(
                    f"the query was still {phase} after {self.service.timeout_s:.0f} s",
                    url=job.url,
                    next_step="raise services.tap.timeout_s, or use smaller tiles",
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
