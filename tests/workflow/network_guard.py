"""A guard that lets a command, and all that it starts, reach nothing but loopback."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_GUARD = Path(__file__).resolve().parents[1] / "helpers" / "no_network"


@dataclass(frozen=True)
class NetworkGuard:
    """The guard, with the file in which it notes each attempt to reach further.

    With ``online``, jobs of SLURM reach nothing at all, but those in the partitions named.
    """

    notes: Path
    online: tuple[str, ...] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """What a command's environment needs."""
        given = {"PYTHONPATH": str(_GUARD), "ARCHIPELAGO_TEST_REACHED": str(self.notes)}
        if self.online is not None:
            given["ARCHIPELAGO_TEST_ONLINE"] = ",".join(self.online)
        return given

    @property
    def reached(self) -> list[str]:
        """Hosts that were to be reached."""
        return self.notes.read_text(encoding="utf-8").split() if self.notes.exists() else []
