"""The configuration that is shipped, with overlays or changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from archipelago.config.load import load_config, merged
from archipelago.config.model import Config
from archipelago.learning.settings import LearningSettings

REPOSITORY = Path(__file__).resolve().parents[2]


def shipped() -> dict[str, Any]:
    """Return ``config.yaml`` as it is read from YAML."""
    return _read(REPOSITORY / "config.yaml")


def shipped_config(*presets: str, **changes: dict[str, Any]) -> Config:
    """Return ``config.yaml``, overlaid with presets, then with changes by section."""
    whole = shipped()
    for preset in presets:
        whole = merged(whole, _read(REPOSITORY / "data" / "presets" / f"{preset}.yaml"))
    return load_config(merged(whole, changes), REPOSITORY)


def _read(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


#: The learning of Byrne et al. (2024, arXiv:2403.17903, Table B2).
PAPER = LearningSettings.from_mapping(shipped_config("paper").learning.plain())
