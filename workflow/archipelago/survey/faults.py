"""What can go wrong with a request, and whether it may pass."""

from __future__ import annotations

import email.utils
from collections.abc import Mapping
from datetime import UTC, datetime

import requests
import urllib3

from archipelago.base.errors import ServiceError

#: Bytes of a refusing answer that are kept for the server's own words.
_WORDS_BYTES = 65_536
#: Kinds of failure that say nothing about what was asked for.
_PASSING = frozenset(
    ("no connection", "stalled", "truncated", "broken answer", "told to wait", "cancelled")
)


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

    @property
    def may_pass(self) -> bool:
        """Whether the same request may well succeed later."""
        if self.reason.startswith("http "):
            return self.status is not None and status_may_pass(self.status)
        return self.reason in _PASSING


class BannedError(RequestError):
    """The service refuses this client; asking again would make it worse."""


def excerpt(body: bytes, length: int = 200) -> str:
    """Return the beginning of ``body`` as one printable line."""
    text = body[: 4 * length].decode("utf-8", errors="replace")
    text = "".join(letter if letter.isprintable() else " " for letter in text)
    text = " ".join(text.split())
    return text if len(text) <= length else text[:length] + "..."


def status_may_pass(status: int) -> bool:
    """Tell whether an HTTP status may be another one if the request is repeated."""
    return status in (408, 425, 429) or status >= 500


def refusal(status: int, body: bytes, url: str, attempt: int) -> RequestError | None:
    """Return the failure that an HTTP status means; None for 200 to 399."""
    if 200 <= status < 400:
        return None
    words = excerpt(body)
    return RequestError(
        f"the server refused the request: {words}" if words else "the server refused the request",
        url=url,
        reason=f"http {status}",
        status=status,
        attempts=attempt,
        body=body[:_WORDS_BYTES],
        next_step="run again later" if status_may_pass(status) else "check the address",
    )


def wrong_content(
    error: BadContentError, status: int, body: bytes, url: str, attempt: int
) -> RequestError:
    """Return the failure of an answer that came well but is not what was asked for."""
    return RequestError(
        f"the server answered well but with wrong content: {error}",
        url=url,
        reason=error.reason,
        status=status,
        attempts=attempt,
        body=body[:_WORDS_BYTES],
        next_step="open the address by hand; if it persists, tell the service",
    )


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Return the wait that ``Retry-After`` asks for [s]: seconds, or an HTTP date."""
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


def from_exception(error: Exception, url: str, attempt: int) -> RequestError:
    """Return the failure behind an exception of requests or urllib3."""
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
    if isinstance(error, requests.exceptions.ConnectTimeout):
        reason, what = "no connection", "the server cannot be reached"
    elif isinstance(error, timeouts) or "timed out" in text.lower():
        reason, what = "stalled", "the server did not answer in time"
    elif isinstance(error, unfit):
        reason, what = "bad request", "the request cannot be sent"
    elif isinstance(error, cut):
        reason, what = "truncated", "the answer was cut short"
    elif isinstance(error, requests.ConnectionError):
        # A name that is not resolved is one of these, too.
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
