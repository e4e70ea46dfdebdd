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


class Images(Endpoint):
    """An image service."""

    max_image_mb: float = key(
        "largest image that is read; a service without cutouts sends whole images",
        4.0,
        unit="MB",
        gt=0,
        le=2000,
    )


class Cache(Section):
    """Where answers of the services are kept, beyond a run."""

    folder: str | None = key("folder, shared by all jobs; null: nothing is kept", None)
    max_gb: float = key("most that it may hold; the longest unused go", 50.0, unit="GB", gt=0)


class Services(Section):
    """Where the services are, and how politely they are asked."""

    contact: str = key(
        "e-mail address told to the services in the User-Agent; one line of ASCII",
        "",
        pattern=r"^[ -~]*$",
    )
    tap: Tap = key("the survey's catalogue")
    xmatch: Endpoint = key("CDS X-Match")
    sia: Images = key("the survey's images (SIA version 1)")
    vizier_tap: Tap = key("TAPVizieR, for the known quasars")
    connections: int = key("requests at once to one host, in one job", ge=1, le=64)
    retries: int = key("further tries of a request that failed for a passing reason", ge=0, le=20)
    timeout_s: float = key("longest silence of a service", unit="s", gt=0, le=86_400)
    total_s: float = key(
        "longest time for one request, all tries together", unit="s", gt=0, le=172_800
    )
    max_bytes: int = key("largest answer that is read", unit="bytes", ge=10_000)
    cache: Cache = key("what was answered before is not asked for again", Cache())
    login_node: bool = key(
        "whether jobs that need the network run where Snakemake does, not on the cluster's nodes",
        False,
    )
