"""Section on services: addresses and manners. Nothing here changes a result."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from archipelago.config.base import Section, key

Url = Annotated[
    str,
    Field(pattern=r"^https?://[^\s/]+(/\S*)?$"),
    AfterValidator(lambda url: url.rstrip("/")),  # paths are appended with a slash of their own
]


class Tap(Section):
    """A table access service (IVOA TAP)."""

    url: Url = key("base address of the service")
    mode: Literal["sync", "async"] = key("whether the answer is waited for in one request")
    timeout_s: float = key("longest time that one query may take", unit="s", gt=0, le=172_800)


class Endpoint(Section):
    """A service with an address alone."""

    url: Url = key("base address of the service")


class Services(Section):
    """Where the services are, and how politely they are asked."""

    contact: str = key(
        "e-mail address told to the services in the User-Agent; one line of ASCII",
        "",
        pattern=r"^[ -~]*$",
    )
    tap: Tap = key("the survey's catalogue")
    xmatch: Endpoint = key("CDS X-Match")
    sia: Endpoint = key("the survey's images (SIA version 1)")
    vizier_tap: Tap = key("TAPVizieR, for the known quasars")
    connections: int = key("requests at once to one service, in one job", ge=1, le=64)
    retries: int = key("further tries of a request that failed for a passing reason", ge=0, le=20)
    timeout_s: float = key("longest silence of a service", unit="s", gt=0, le=86_400)
    total_s: float = key(
        "longest time for one request, all tries together", unit="s", gt=0, le=172_800
    )
    max_bytes: int = key("largest answer that is read", unit="bytes", ge=10_000)
