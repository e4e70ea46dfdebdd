"""What all sections of the configuration share."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

#: A name that users choose, such as that of a band.
Identifier = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9]*$")]


def _without_nulls(value: Any) -> Any:
    """Leave out names set to null: Snakemake merges mappings, so an overlay cannot drop one."""
    if isinstance(value, dict):
        return {name: entry for name, entry in value.items() if entry is not None}
    return value


_Value = TypeVar("_Value")

#: A mapping of names that users choose. In an overlay, null takes a name out.
ByName = Annotated[dict[Identifier, _Value], BeforeValidator(_without_nulls)]


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
