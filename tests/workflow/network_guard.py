"""A guard that lets a command, and all that it starts, reach nothing but loopback."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_GUARD = Path(__file__).resolve().parents[1] / "helpers" / "no_network"


@dataclass(frozen=True)
class NetworkGuard:
    """The guard, with the file in which it notes each attempt to reach further."""

    notes: Path

    @property
    def environment(self) -> dict[str, str]:
        """What a command's environment needs."""
        return {"PYTHONPATH": str(_GUARD), "ARCHIPELAGO_TEST_REACHED": str(self.notes)}

    @property
    def reached(self) -> list[str]:
        """Hosts that were to be reached."""
        return self.notes.read_text(encoding="utf-8").split() if self.notes.exists() else []
