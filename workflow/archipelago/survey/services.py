"""Where the services are and how politely to use them.

Nothing here changes a result: addresses, connections and waiting times. So the
rules do not carry it in their params; it comes through the environment, as JSON
of a section that `archipelago.config` has checked.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass

from archipelago.base.errors import ConfigError

#: Name of the environment variable that holds the ``services`` section as JSON.
ENVIRONMENT_VARIABLE = "ARCHIPELAGO_SERVICES"


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
class Endpoint:
    """A service with an address alone.

    Parameters
    ----------
    url : base address.
    """

    url: str


@dataclass(frozen=True)
class ImageService:
    """An image service (SIA version 1).

    Parameters
    ----------
    url : base address.
    max_image_mb : largest image that is read [MB].
    """

    url: str
    max_image_mb: float = 4.0


@dataclass(frozen=True)
class CacheSettings:
    """Where answers are kept.

    Parameters
    ----------
    folder : folder shared by all jobs; None keeps nothing.
    max_gb : most that it may hold [GB, 1e9 bytes].
    """

    folder: str | None = None
    max_gb: float = 50.0


@dataclass(frozen=True)
class Services:
    """The section ``services`` of the configuration.

    Parameters
    ----------
    contact : e-mail address or page told to the servers in the User-Agent, or ''.
    tap : service of the survey's catalogue.
    xmatch : cross-match service.
    sia : image service.
    vizier_tap : service that holds the known quasars.
    connections : most requests under way at once to one host, in one job.
    retries : repetitions of a failed request, beyond the first attempt.
    timeout_s : longest silence of a server before a request counts as stalled [s].
    total_s : longest time for one request with all its repetitions [s].
    max_bytes : largest answer read [bytes].
    cache : where answers are kept.
    login_node : for the rules alone; whether network jobs run beside Snakemake.
    """

    contact: str
    tap: TapService
    xmatch: Endpoint
    sia: ImageService
    vizier_tap: TapService
    connections: int
    retries: int
    timeout_s: float
    total_s: float
    max_bytes: int
    cache: CacheSettings = CacheSettings()
    login_node: bool = False


def from_environment(environment: Mapping[str, str] | None = None) -> Services:
    """Read `Services` from the variable ``ARCHIPELAGO_SERVICES``.

    Raises
    ------
    ConfigError
        If the variable is absent, is no JSON, lacks a key or holds an unknown one.
    """
    text = (os.environ if environment is None else environment).get(ENVIRONMENT_VARIABLE)
    where = f"environment variable {ENVIRONMENT_VARIABLE}"
    if not text:
        raise ConfigError(
            "the addresses of the services are not set",
            where=where,
            next_step="run the script through Snakemake, or set it to the section "
            "`services` of the configuration as JSON",
        )
    try:
        section = json.loads(text)
        kinds = {
            "tap": TapService,
            "xmatch": Endpoint,
            "sia": ImageService,
            "vizier_tap": TapService,
            "cache": CacheSettings,
        }
        # What is absent shows below, with the key's name; the cache alone may be.
        parts = {name: kind(**section[name]) for name, kind in kinds.items() if name in section}
        return Services(**(section | parts))
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"not the section `services` as JSON: {type(error).__name__}: {error}",
            where=where,
            next_step="run the script through Snakemake, which sets it",
        ) from error
