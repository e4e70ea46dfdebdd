"""On PYTHONPATH: nothing in this process, and in those it starts, reaches beyond loopback.

Each attempt raises, and is noted in the file that ``ARCHIPELAGO_TEST_REACHED`` names, so that
it is seen even where the error is caught.
"""

from __future__ import annotations

import ipaddress
import os
import socket
from pathlib import Path
from typing import Any


def _refuse_beyond_loopback(address: Any) -> None:
    if not isinstance(address, tuple):
        return  # a Unix socket
    host = str(address[0])
    try:
        local = host in ("localhost", "") or ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = False
    if not local:
        with Path(os.environ["ARCHIPELAGO_TEST_REACHED"]).open("a", encoding="utf-8") as notes:
            notes.write(f"{host}\n")
        raise OSError(f"tried to reach {host}: only loopback is allowed")


class _Guarded(socket.socket):
    def connect(self, address: Any) -> None:
        _refuse_beyond_loopback(address)
        super().connect(address)

    def connect_ex(self, address: Any) -> int:
        _refuse_beyond_loopback(address)
        return super().connect_ex(address)

    def sendto(self, data: Any, *arguments: Any) -> int:
        _refuse_beyond_loopback(arguments[-1])
        return super().sendto(data, *arguments)


_look_up = socket.getaddrinfo


def _guarded_look_up(host: Any, *arguments: Any, **options: Any) -> Any:
    name = host.decode() if isinstance(host, bytes) else host
    if name is not None and name != socket.gethostname():
        _refuse_beyond_loopback((name,))
    return _look_up(host, *arguments, **options)


socket.socket = _Guarded  # type: ignore[misc]
socket.getaddrinfo = _guarded_look_up
