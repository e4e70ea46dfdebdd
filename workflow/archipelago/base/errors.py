"""Errors that say what failed, where, and what to do next."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ArchipelagoError(Exception):
    """Base of all errors raised on purpose by this library.

    Parameters
    ----------
    what : what failed, in one sentence.
    where : the tile, object, URL, file or configuration key concerned.
    next_step : what the user can do about it.
    """

    def __init__(
        self, what: str, *, where: str | None = None, next_step: str | None = None
    ) -> None:
        self.what = what
        self.where = where
        self.next_step = next_step
        text = what
        if where:
            text += f" [{where}]"
        if next_step:
            text += f" -- {next_step}"
        super().__init__(text)


class ConfigError(ArchipelagoError):
    """The configuration is wrong."""


class InputError(ArchipelagoError):
    """A file given by the user, or by an earlier stage, cannot be used."""


class DataError(ArchipelagoError):
    """Data contradict what a stage relies on, such as rows that went missing."""


class ServiceError(ArchipelagoError):
    """A remote service failed, or answered what cannot be trusted.

    Parameters
    ----------
    url : the address asked; stored as ``where`` too.
    status : HTTP status of the last answer, or None where there was none.
    """

    def __init__(
        self,
        what: str,
        *,
        url: str,
        status: int | None = None,
        next_step: str | None = None,
    ) -> None:
        self.url = url
        self.status = status
        where = url if status is None else f"{url}, HTTP {status}"
        super().__init__(what, where=where, next_step=next_step)


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``" (did you mean X?)"`` with the known name nearest to ``name``, or ''."""
    names = [str(one) for one in known]
    lower = {one.lower(): one for one in reversed(names)}
    found = difflib.get_close_matches(str(name).lower(), list(lower), n=1)
    return f" (did you mean {lower[found[0]]}?)" if found else ""
