"""VOTable bodies from servers: refused where dangerous, read without surprises.

A VOTable is XML from a stranger. Before any parser sees it, it must begin as
XML in a plain encoding, hold no document type or entity (which can be made to
grow without bound or to read local files), and no stream that lies elsewhere
(which astropy would fetch).
"""

from __future__ import annotations

import io
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from astropy.io import votable

from archipelago.base.errors import ServiceError
from archipelago.survey.faults import BadContentError, RequestError, excerpt

_PARSING = threading.RLock()

_ENCODING = re.compile(rb"^<\?xml[^>]*?encoding\s*=\s*[\"']([A-Za-z0-9._-]*)[\"']")
_PLAIN_ENCODINGS = {b"utf-8", b"utf8", b"us-ascii", b"ascii", b"iso-8859-1"}
_REMOTE_STREAM = re.compile(rb"<\s*(?:\w+:)?STREAM\b[^>]*\bhref", re.IGNORECASE)


@contextmanager
def quiet_parsing() -> Iterator[None]:
    """Silence the warnings of astropy's readers while a stranger's file is read.

    What such a file contains is judged by its content, not by warnings. Their
    filters belong to the whole process, so that only one thread at a time may
    change them; reading holds the interpreter anyway.
    """
    with _PARSING, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def parsing(reason: str, body: bytes = b"") -> Iterator[None]:
    """Read what a server sent, in silence; whatever goes wrong is `BadContentError`.

    A broken file can break its reader anywhere, so that every exception counts.

    Parameters
    ----------
    reason : what the content is not, in a few words, such as ``"not a FITS file"``.
    body : shown from its beginning in the error; empty: not shown.
    """
    try:
        with quiet_parsing():
            yield
    except BadContentError:
        raise
    except Exception as error:
        begins = f"; it begins: {excerpt(body, 100)}" if body else ""
        raise BadContentError(reason, f"{type(error).__name__}: {error}{begins}") from error


def check_xml(body: bytes) -> None:
    """Raise `BadContentError` unless ``body`` can be given to an XML parser.

    Raises
    ------
    BadContentError
        Reason ``"empty"``, ``"not XML"`` or ``"dangerous XML"``.
    """
    start = body[:1000].removeprefix(b"\xef\xbb\xbf").lstrip()
    if not body:
        raise BadContentError("empty")
    if not start.startswith(b"<") or start[:5].lower() == b"<html" or b"\x00" in start:
        raise BadContentError("not XML", excerpt(body))
    encoding = _ENCODING.match(start)
    if encoding and encoding[1].lower() not in _PLAIN_ENCODINGS:
        raise BadContentError("dangerous XML", f"encoding {encoding[1].decode()}")
    if b"<!DOCTYPE HTML" in body[:1000].upper():
        raise BadContentError("not XML", excerpt(body))
    for mark in (b"<!DOCTYPE", b"<!ENTITY"):
        if mark in body:
            raise BadContentError("dangerous XML", f"it holds {mark.decode()}")
    if _REMOTE_STREAM.search(body):
        raise BadContentError("dangerous XML", "it holds a stream that lies elsewhere")


@dataclass(frozen=True)
class ReplyHead:
    """What a VOTable answer of a service says besides its rows.

    Parameters
    ----------
    status : value of QUERY_STATUS in capitals, ``"OK"`` where there is none.
    message : the text that comes with the status.
    names : names of the columns.
    ucds : UCD of each column, '' where there is none.
    """

    status: str
    message: str
    names: tuple[str, ...]
    ucds: tuple[str, ...]

    def name_of_ucd(self, ucd: str) -> str | None:
        """Return the first column with that UCD (capitals do not matter), or None."""
        for name, own in zip(self.names, self.ucds, strict=True):
            if own.lower() == ucd.lower():
                return name
        return None


@dataclass(frozen=True)
class Reply(ReplyHead):
    """A VOTable answer of a service."""

    _cells: Any = None
    _ids: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Return the number of rows."""
        return 0 if self._cells is None else len(self._cells)

    def column(self, name: str) -> pd.Series:
        """Return a column: floats with NaN, int64 (Int64 where masked) or text with ''."""
        place = self.names.index(name)
        cells = np.ma.asarray(self._cells[self._ids[place]])
        mask = np.ma.getmaskarray(cells)
        values = np.asarray(cells.data)
        if values.ndim > 1:
            return pd.Series(list(values), dtype=object)
        if values.dtype.kind == "f":
            return pd.Series(np.where(mask, np.nan, values.astype("float64")))
        if values.dtype.kind in "iu":
            whole = pd.Series(values.astype("int64"))
            return whole.astype("Int64").mask(mask) if mask.any() else whole
        return pd.Series(
            ["" if m else _text(v) for m, v in zip(mask, values, strict=True)], dtype="str"
        )

    def frame(self) -> pd.DataFrame:
        """Return all columns that hold one value per row."""
        columns = {name: self.column(name) for name in self.names}
        return pd.DataFrame({name: c for name, c in columns.items() if c.dtype != object})


def read_reply(body: bytes) -> Reply:
    """Read a VOTable answer, whatever its status.

    Raises
    ------
    BadContentError
        If the body is dangerous, no VOTable, incomplete, or has no table
        although its status is OK.
    """
    check_xml(body)
    with parsing("not a VOTable", body):
        return _read_document(votable.parse(io.BytesIO(body), verify="ignore"))


class Reader:
    """Judges bodies as a `Check` and keeps the last good one, read only once."""

    def __init__(self) -> None:
        self._reply: Reply | None = None

    def __call__(self, body: bytes) -> None:
        """Raise `BadContentError` unless ``body`` is a readable VOTable answer."""
        self._reply = None
        self._reply = read_reply(body)

    @property
    def complete(self) -> bool:
        """Whether the last answer is good and whole, so that it may be kept."""
        return self._reply is not None and self._reply.status == "OK"

    @property
    def reply(self) -> Reply:
        """The last answer; raises `ValueError` where none was read."""
        if self._reply is None:
            raise ValueError("no answer has been read yet")
        return self._reply


def server_words(error: RequestError) -> str:
    """Return what the server itself said about a failed request, as far as it did."""
    try:
        return read_reply(error.body).message or excerpt(error.body)
    except BadContentError:
        return excerpt(error.body)


def require_ok(reply: Reply, url: str, status: int | None = 200) -> Reply:
    """Return ``reply``, or raise `ServiceError` with the server's words if it is an error.

    An overflow is no error here, as only the caller knows what it asked for.
    """
    if reply.status in ("OK", "OVERFLOW"):
        return reply
    raise ServiceError(
        f"the service could not answer the query: {reply.status}: {reply.message}",
        url=url,
        status=status,
        next_step="correct the query, or run again if the service was busy",
    )


def _read_document(document: Any) -> Reply:
    resources = list(_resources(document.resources))
    results = [resource for resource in resources if resource.type == "results"] or resources
    infos = list(document.infos)
    for resource in results[:1]:
        infos += resource.infos
        for table in resource.tables:
            infos += table.infos
    # The last counts: a server may find an overflow only after it sent the rows.
    status, message = "OK", ""
    for info in infos:
        if (info.name or "").upper() == "QUERY_STATUS":
            status, message = (info.value or "").strip().upper(), (info.content or "").strip()
    tables = results[0].tables if results else []
    if not tables:
        if status == "OK":
            raise BadContentError("no table", "the VOTable says OK but holds no table")
        return Reply(status, message, (), ())
    fields = tables[0].fields
    return Reply(
        status,
        message,
        tuple(field.name or field.ID for field in fields),
        tuple(field.ucd or "" for field in fields),
        tables[0].array,
        tuple(field.ID for field in fields),
    )


def _resources(resources: Any) -> Iterator[Any]:
    for resource in resources:
        yield resource
        yield from _resources(resource.resources)


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
