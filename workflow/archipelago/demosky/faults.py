"""Faults that the embedded services commit on demand, the same in every run.

A plan is a list of rules. A rule names an endpoint, what goes wrong, and which
requests it strikes: a share of them, chosen by a hash of the request, and of each only the
first few attempts, so that a retry may succeed; or a share of all attempts; or what comes in a
span of time. As YAML or JSON::

    seed: 1
    rules:
      - {endpoint: cutout, kind: status, status: 503, share: 0.1, attempts: 2}
      - {endpoint: "*", kind: latency, seconds: 0.2}
      - {endpoint: tap, kind: down, requests: 3}
      - {endpoint: cutout, kind: status, share: 0.3, anew: true}
      - {endpoint: "*", kind: down, after: 10, lasts: 60}
      - {endpoint: sia, kind: missing_band, bands: [Y], share: 0.05}

Keys of a rule:

================  ==========================================================================
``endpoint``      tap, tap_async, vizier_tap, xmatch, sia, cutout, or "*" for all
``kind``          one of `KINDS`
``share``         share of the different requests that are struck (default 1)
``anew``          true: the share is drawn anew for each attempt of a request, so that 0.3 lets
                  30 % of all attempts fail; by seed, request and number of the attempt
``attempts``      strike only the first so many attempts of a request (default: all)
``requests``      strike only the first so many requests of the endpoint (default: all)
``after``         leave the first so many requests of the endpoint alone (default 0)
``lasts``         strike only for so many seconds, from the first request of the endpoint (beyond
                  those of ``after``) on (default: for ever)
``seconds``       latency, stall: how long (default 1); rate_limit: Retry-After (default 1)
``status``        status: the HTTP status (default 503)
``bands``         missing_band: the bands (default Y); others: only cutouts of these bands
================  ==========================================================================
"""

from __future__ import annotations

import difflib
import hashlib
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from archipelago.base.errors import ConfigError

#: What can go wrong, and what the client sees.
KINDS: dict[str, str] = {
    "latency": "the answer comes late",
    "status": "an HTTP error status",
    "rate_limit": "429 with Retry-After",
    "stall": "half of the body, silence, then the rest",
    "reset": "half of the body, then the connection is reset",
    "down": "the connection is closed without an answer",
    "truncated": "200, but the body ends half-way",
    "empty": "200 with an empty body",
    "html": "200 with a web page that holds a traceback",
    "wrong_band": "200 with the image of another band (cutout only)",
    "missing_band": "the rows of a band are left out (sia only)",
}
ENDPOINTS = ("tap", "tap_async", "vizier_tap", "xmatch", "sia", "cutout")


@dataclass(frozen=True)
class FaultRule:
    """One rule of a plan; the module's documentation explains the keys."""

    endpoint: str
    kind: str
    share: float = 1.0
    attempts: int | None = None
    requests: int | None = None
    seconds: float = 1.0
    status: int = 503
    bands: tuple[str, ...] = ()
    anew: bool = False
    after: int = 0
    lasts: float | None = None

    def __post_init__(self) -> None:
        for key, allowed in (("endpoint", ("*", *ENDPOINTS)), ("kind", tuple(KINDS))):
            value = getattr(self, key)
            if value not in allowed:
                near = difflib.get_close_matches(str(value), allowed, n=1)
                raise ConfigError(
                    f"{key} {value!r} of a fault rule is none of {', '.join(allowed)}",
                    next_step=f"did you mean {near[0]!r}?" if near else None,
                )
        if not 0.0 <= self.share <= 1.0:
            raise ConfigError(f"share {self.share} of a fault rule is not in 0 to 1")
        if not 400 <= self.status <= 599:
            raise ConfigError(f"status {self.status} of a fault rule is not in 400 to 599")
        if self.seconds < 0:
            raise ConfigError(f"seconds {self.seconds} of a fault rule are negative")
        for key in ("attempts", "requests"):
            value = getattr(self, key)
            if value is not None and value < 1:
                raise ConfigError(f"{key} {value} of a fault rule is less than 1")
        if self.after < 0:
            raise ConfigError(f"after {self.after} of a fault rule is negative")
        if self.lasts is not None and not self.lasts > 0:
            raise ConfigError(f"lasts {self.lasts} of a fault rule is not more than 0")
        if not isinstance(self.anew, bool):
            raise ConfigError(f"anew {self.anew!r} of a fault rule is neither true nor false")


def _rule_from(entry: Mapping[str, Any], where: str) -> FaultRule:
    known = [one.name for one in fields(FaultRule)]
    if not isinstance(entry, Mapping):
        raise ConfigError(f"a fault rule is {entry!r}, no mapping", where=where)
    for key in entry:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            raise ConfigError(
                f"a fault rule has no key {key!r}",
                where=where,
                next_step=f"did you mean {near[0]!r}?" if near else f"keys: {', '.join(known)}",
            )
    for key in ("endpoint", "kind"):
        if key not in entry:
            raise ConfigError(f"a fault rule needs the key {key!r}", where=where)
    values = dict(entry)
    if "bands" in values:
        values["bands"] = tuple(str(band) for band in values["bands"])
    try:
        return FaultRule(**values)
    except TypeError as error:
        raise ConfigError(f"a fault rule is wrong: {error}", where=where) from error


@dataclass
class FaultPlan:
    """All rules, with the counts of requests that they need.

    Parameters
    ----------
    rules : applied in order; every rule that strikes counts.
    seed : changes which requests are struck.
    clock : gives the time that ``lasts`` is told by [s]; replaced in tests.
    """

    rules: tuple[FaultRule, ...] = ()
    seed: int = 0
    clock: Callable[[], float] = time.monotonic
    _by_request: dict[str, int] = field(default_factory=dict, repr=False)
    _by_endpoint: dict[str, int] = field(default_factory=dict, repr=False)
    _by_rule: dict[int, int] = field(default_factory=dict, repr=False)
    _since_s: dict[int, float] = field(default_factory=dict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @classmethod
    def from_mapping(
        cls,
        plan: Mapping[str, Any] | None,
        where: str = "faults",
        clock: Callable[[], float] = time.monotonic,
    ) -> FaultPlan:
        """Return the plan that a mapping (from YAML or JSON) describes; None is no fault.

        Parameters
        ----------
        plan : the mapping.
        where : its name in errors.
        clock : as of the class.

        Raises
        ------
        ConfigError
            If a key or a value is wrong; names it.
        """
        if plan is None:
            return cls()
        if not isinstance(plan, Mapping) or set(plan) - {"seed", "rules"}:
            raise ConfigError(
                "a plan of faults has the keys 'seed' and 'rules'",
                where=where,
                next_step="see `python -m archipelago.demosky serve --help`",
            )
        rules: Iterable[Any] = plan.get("rules") or ()
        return cls(
            rules=tuple(
                _rule_from(entry, f"{where}: rule {k}") for k, entry in enumerate(rules, 1)
            ),
            seed=int(plan.get("seed", 0)),
            clock=clock,
        )

    @classmethod
    def from_file(cls, path: Path) -> FaultPlan:
        """Read a plan from YAML or JSON; raises ConfigError if it cannot be read."""
        try:
            plan = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, yaml.YAMLError) as error:
            raise ConfigError(
                f"the plan of faults cannot be read: {error}", where=str(path)
            ) from error
        return cls.from_mapping(plan, where=str(path))

    def strike(self, endpoint: str, request: str, band: str | None = None) -> list[FaultRule]:
        """Count a request and return the rules that strike it.

        Parameters
        ----------
        endpoint : one of `ENDPOINTS`.
        request : what makes two requests the same, such as the URL without the host.
        band : band of the cutout asked for, if known.
        """
        with self._lock:
            attempt = self._by_request[request] = self._by_request.get(request, 0) + 1
            number = self._by_endpoint[endpoint] = self._by_endpoint.get(endpoint, 0) + 1
            in_time = {
                place
                for place, rule in enumerate(self.rules)
                if rule.endpoint in ("*", endpoint) and self._in_time(place, rule)
            }
        struck = []
        for place, rule in enumerate(self.rules):
            if place not in in_time:
                continue
            if rule.bands and rule.kind != "missing_band" and band not in rule.bands:
                continue
            if rule.attempts is not None and attempt > rule.attempts:
                continue
            if rule.requests is not None and number > rule.requests:
                continue
            if rule.share < 1.0:
                drawn = f"{request}\x1f{attempt}" if rule.anew else request
                if self._draw(place, drawn) >= rule.share:
                    continue
            struck.append(rule)
        return struck

    def _in_time(self, place: int, rule: FaultRule) -> bool:
        """Count a request that a rule regards; tell whether it comes when the rule holds."""
        number = self._by_rule[place] = self._by_rule.get(place, 0) + 1
        if number <= rule.after:
            return False
        since_s = self._since_s.setdefault(place, self.clock())
        return rule.lasts is None or self.clock() - since_s < rule.lasts

    def _draw(self, place: int, request: str) -> float:
        """Return a number in [0, 1) that depends on seed, rule and request alone."""
        text = f"{self.seed}\x1f{place}\x1f{request}"
        digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
        return int.from_bytes(digest) / 2.0**64
