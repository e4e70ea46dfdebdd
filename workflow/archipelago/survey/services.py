"""Where the services are and how politely to use them.

Nothing here changes a result: addresses, connections and waiting times. So the
rules do not carry it in their params; it comes through the environment.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from archipelago.base.errors import ConfigError

#: Name of the environment variable that holds the ``services`` section as JSON.
ENVIRONMENT_VARIABLE = "ARCHIPELAGO_SERVICES"

_MODES = ("sync", "async")


@dataclass(frozen=True)
class TapService:
    """One TAP service.

    Parameters
    ----------
    url : base address, without ``/sync``.
    mode : ``"sync"`` or ``"async"``.
    timeout_s : longest time that one query may take at the server [s].
    """

    url: str
    mode: str = "sync"
    timeout_s: float = 600.0


@dataclass(frozen=True)
class Services:
    """The section ``services`` of the configuration.

    Parameters
    ----------
    contact : e-mail address or page told to the servers in the User-Agent.
    tap : service of the survey's catalogue, or None.
    xmatch_url : address of the cross-match service, or ''.
    sia_url : address of the image service (SIA version 1), or ''.
    vizier_tap : service that holds the known quasars, or None.
    connections : most requests under way at once in one job.
    retries : repetitions of a failed request, beyond the first attempt.
    timeout_s : longest silence of a server before a request counts as stalled [s].
    total_s : longest time for one request with all its repetitions [s].
    max_bytes : largest answer read [bytes].
    """

    contact: str = ""
    tap: TapService | None = None
    xmatch_url: str = ""
    sia_url: str = ""
    vizier_tap: TapService | None = None
    connections: int = 8
    retries: int = 5
    timeout_s: float = 60.0
    total_s: float = 900.0
    max_bytes: int = 200_000_000
    source: str = field(default="services", compare=False)

    def require_tap(self) -> TapService:
        """Return the survey's TAP service; raise `ConfigError` if none is set."""
        return _present(self.tap, f"{self.source}.tap.url")

    def require_vizier_tap(self) -> TapService:
        """Return the TAP service of the known quasars; raise `ConfigError` if none is set."""
        return _present(self.vizier_tap, f"{self.source}.vizier_tap.url")

    def require_xmatch_url(self) -> str:
        """Return the cross-match address; raise `ConfigError` if none is set."""
        return _present(self.xmatch_url, f"{self.source}.xmatch.url")

    def require_sia_url(self) -> str:
        """Return the image service's address; raise `ConfigError` if none is set."""
        return _present(self.sia_url, f"{self.source}.sia.url")


def from_environment(environment: Mapping[str, str] | None = None) -> Services:
    """Read `Services` from the variable ``ARCHIPELAGO_SERVICES``.

    Raises
    ------
    ConfigError
        If the variable is absent, is no JSON, or holds a key or value that is
        not allowed; all faults are told at once.
    """
    text = (os.environ if environment is None else environment).get(ENVIRONMENT_VARIABLE)
    if not text:
        raise ConfigError(
            "the addresses of the services are not set",
            where=f"environment variable {ENVIRONMENT_VARIABLE}",
            next_step="run the script through Snakemake, or set it to the section "
            "`services` of the configuration as JSON",
        )
    try:
        section = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(
            f"not JSON: {error}",
            where=f"environment variable {ENVIRONMENT_VARIABLE}",
            next_step="set it to the section `services` of the configuration as JSON",
        ) from error
    return from_mapping(section)


def from_mapping(section: object) -> Services:
    """Build `Services` from the section ``services`` as plain dictionaries.

    Raises
    ------
    ConfigError
        With every key that is unknown and every value that is not allowed.
    """
    faults: list[str] = []
    if not isinstance(section, Mapping):
        raise ConfigError(
            f"the section must be a mapping, not {type(section).__name__}", where="services"
        )
    known = {
        *("contact", "tap", "xmatch", "sia", "vizier_tap"),
        *("connections", "retries", "timeout_s", "total_s", "max_bytes"),
    }
    faults += [f"services.{key}: unknown key" for key in sorted(map(str, set(section) - known))]
    values: dict[str, Any] = {}
    contact = section.get("contact") or ""
    if not isinstance(contact, str) or any(ord(letter) < 32 for letter in contact):
        faults.append("services.contact: must be one line of text")
    else:
        values["contact"] = contact
    for key, least, whole in (
        ("connections", 1, True),
        ("retries", 0, True),
        ("timeout_s", 0.001, False),
        ("total_s", 0.001, False),
        ("max_bytes", 1, True),
    ):
        if section.get(key) is not None:
            values[key] = _number(section[key], f"services.{key}", least, whole, faults)
    for key in ("tap", "vizier_tap"):
        values[key] = _tap(section.get(key), f"services.{key}", faults)
    for key in ("xmatch", "sia"):
        values[f"{key}_url"] = _only_url(section.get(key), f"services.{key}", faults)
    if faults:
        raise ConfigError(
            "; ".join(faults), where="services", next_step="correct these keys and run again"
        )
    return Services(**values)


def _present(value: Any, where: str) -> Any:
    if not value:
        raise ConfigError("no address is set", where=where, next_step="set it to a URL")
    return value


def _number(value: object, where: str, least: float, whole: bool, faults: list[str]) -> float:
    allowed = (int,) if whole else (int, float)
    # NaN fails the comparison, too.
    if isinstance(value, bool) or not isinstance(value, allowed) or not value >= least:
        kind = "a whole number" if whole else "a number"
        faults.append(f"{where}: {value!r} must be {kind} of at least {least}")
        return least
    return value


def _url(value: object, where: str, faults: list[str]) -> str:
    if value in (None, ""):
        return ""
    try:
        parts = urlsplit(value) if isinstance(value, str) else None
        good = parts is not None and parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        good = False
    if not good:
        faults.append(f"{where}: {value!r} must be an http or https URL")
        return ""
    return str(value).rstrip("/")


def _section(value: object, where: str, known: set[str], faults: list[str]) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        faults.append(f"{where}: must be a mapping with the key url")
        return {}
    faults += [f"{where}.{key}: unknown key" for key in sorted(map(str, set(value) - known))]
    return dict(value)


def _only_url(value: object, where: str, faults: list[str]) -> str:
    return _url(_section(value, where, {"url"}, faults).get("url"), f"{where}.url", faults)


def _tap(value: object, where: str, faults: list[str]) -> TapService | None:
    known = {field.name for field in dataclasses.fields(TapService)}
    section = _section(value, where, known, faults)
    url = _url(section.get("url"), f"{where}.url", faults)
    mode = section.get("mode") or "sync"
    if mode not in _MODES:
        faults.append(f"{where}.mode: {mode!r} must be sync or async")
    timeout_s = section.get("timeout_s")
    if timeout_s is None:
        timeout_s = TapService.timeout_s
    timeout_s = _number(timeout_s, f"{where}.timeout_s", 0.001, False, faults)
    return TapService(url=url, mode=str(mode), timeout_s=float(timeout_s)) if url else None
