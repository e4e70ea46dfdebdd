"""What all sections of the configuration share."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Section(BaseModel):
    """A group of keys: unknown ones are refused, values never change after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    def plain(self, *, without: Any = None) -> dict[str, Any]:
        """Return the section as dicts, lists, strings and numbers, for a rule's params.

        ``without`` names keys to leave out: a set, or a mapping for nested ones
        (``{"fit": {"memory_mb"}}``).
        """
        return self.model_dump(mode="json", exclude=without)


def key(description: str, default: Any = ..., *, unit: str = "", **limits: Any) -> Any:
    """Declare a key: what it means, its unit, its default and its limits (as in pydantic)."""
    text = f"{description} [{unit}]" if unit else description
    return Field(default, description=text, **limits)
