"""Which addresses may be opened, when a server or a user gives them."""

from __future__ import annotations

import ipaddress
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests

from archipelago.survey.faults import RequestError


def require_web_url(url: str) -> None:
    """Raise `RequestError` unless ``url`` is http or https, with a host and no password."""
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname)
        good = good and parts.username is None and parts.password is None
    except ValueError:
        good = False
    if not good:
        raise RequestError(
            "not an address that this program opens: only http and https, without a password",
            url=url[:200],
            reason="bad address",
        )


def require_safe_link(url: str, service_url: str) -> str:
    """Return ``url``, told by the server at ``service_url``, if it may be opened.

    A relative one is completed. It must be http or https, and must not point to
    this machine or to a private address unless the service itself is there.

    Raises
    ------
    RequestError
        With the reason ``"bad address"``.
    """
    try:
        url = urljoin(service_url, url.strip())
    except ValueError:
        url = url.strip()
    require_web_url(url)
    host = urlsplit(url).hostname
    if _is_private(host) and host != urlsplit(service_url).hostname:
        raise RequestError(
            f"the service at {service_url} gives an address inside a private network",
            url=url[:200],
            reason="bad address",
        )
    return url


def judge_redirection(response: requests.Response, **_: Any) -> None:
    """Judge a redirection before it is followed; a hook for requests.

    One to where a server must not send us is refused. One that moves a POST to the
    same path elsewhere (http to https, an old host to a new one) takes what was sent
    along; requests would ask there with an empty GET.
    """
    if not response.is_redirect:
        return
    target = require_safe_link(response.headers["Location"], response.url)
    moved = urlsplit(target)._replace(scheme="", netloc="")
    own = urlsplit(response.url)._replace(scheme="", netloc="")
    if response.request.method == "POST" and response.status_code in (301, 302) and moved == own:
        response.status_code = 308


def is_local(host: str | None) -> bool:
    """Tell whether a host is this machine's own loopback."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


def _is_private(host: str | None) -> bool:
    if is_local(host):
        return True
    try:
        return not ipaddress.ip_address(host or "").is_global
    except ValueError:
        return False
