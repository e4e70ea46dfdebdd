"""On PYTHONPATH: nothing in this process, and in those it starts, reaches beyond loopback.

Each attempt raises, and is noted in the file that ``ARCHIPELAGO_TEST_REACHED`` names, so that
it is seen even where the error is caught. Where ``ARCHIPELAGO_TEST_ONLINE`` is set, loopback
counts as network for the jobs of SLURM, but for those in the partitions that it names.
"""

from __future__ import annotations

import ipaddress
import os
import socket
from pathlib import Path
from typing import Any

_offline = (
    "ARCHIPELAGO_TEST_ONLINE" in os.environ
    and "SLURM_JOB_ID" in os.environ
    and os.environ.get("SLURM_JOB_PARTITION")
    not in os.environ["ARCHIPELAGO_TEST_ONLINE"].split(",")
)


def _refuse_beyond_loopback(address: Any) -> None:
    if not isinstance(address, tuple):
        return  # a Unix socket
    host = str(address[0])
    try:
        local = host in ("localhost", "") or ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = False
    if not local or _offline:
        with Path(os.environ["ARCHIPELAGO_TEST_REACHED"]).open("a", encoding="utf-8") as notes:
            notes.write(f"{host}\n")
        allowed = "this node has no network" if _offline else "only loopback is allowed"
        raise OSError(f"tried to reach {host}: {allowed}")


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
