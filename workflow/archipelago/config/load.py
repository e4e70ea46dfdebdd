"""Reading the configuration: every error at once, before any job."""

from __future__ import annotations

import copy
import difflib
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from archipelago.base.errors import ConfigError
from archipelago.config.model import Config
from archipelago.config.rules import check_across


@dataclass(frozen=True)
class Problem:
    """One thing wrong with the configuration.

    Parameters
    ----------
    path : key, such as ``learning.batch_size``.
    value : what stands there, as text; None where nothing does.
    allowed : what is allowed there, and the nearest known name where the key is unknown.
    """

    path: str
    value: str | None
    allowed: str

    def line(self) -> str:
        """Return the problem in one line."""
        given = "" if self.value is None else f" = {self.value}"
        return f"{self.path}{given}: {self.allowed}"


def load_config(raw: Mapping[str, Any], folder: str | Path | None = None) -> Config:
    """Return the configuration, checked.

    Parameters
    ----------
    raw : the merged configuration, as read from YAML.
    folder : folder that relative file names start from; with None, files are not looked for.

    Raises
    ------
    ConfigError
        If anything is wrong. The message has a line for each error: the key's
        path, the value, what is allowed, and the nearest known name.
    """
    problems: list[Problem] = []
    config: Config | None = None
    try:
        config = Config.model_validate(dict(raw))
    except ValidationError as error:
        problems += [_problem(item) for item in error.errors(include_url=False)]
    sections = _valid_sections(raw)
    base = None if folder is None else Path(folder)
    problems += [
        Problem(path, value, allowed) for path, value, allowed in check_across(sections, base)
    ]
    if problems:
        count = "1 error" if len(problems) == 1 else f"{len(problems)} errors"
        lines = "\n".join(f"  {problem.line()}" for problem in problems)
        raise ConfigError(
            f"the configuration has {count}:\n{lines}\n",
            next_step="config.yaml explains every key",
        )
    assert config is not None
    return config


def merged(base: Any, overlay: Any) -> Any:
    """Merge as Snakemake does with configuration files: mappings by key, all else replaced."""
    if isinstance(base, Mapping) and isinstance(overlay, Mapping):
        return {
            **base,
            **{k: merged(base[k], v) if k in base else v for k, v in overlay.items()},
        }
    return copy.deepcopy(overlay)


def known_keys() -> frozenset[tuple[str, ...]]:
    """Return the path of every key, with ``*`` for names and numbers that users choose."""
    return frozenset(_walk(Config, ()))


def _walk(kind: Any, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        for name, field in kind.model_fields.items():
            yield (*path, name)
            yield from _walk(field.annotation, (*path, name))
        return
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (list, dict):
        yield from _walk(arguments[-1], (*path, "*"))
    elif origin in (typing.Union, types.UnionType):
        for argument in arguments:
            yield from _walk(argument, path)
    elif origin is typing.Annotated:
        yield from _walk(arguments[0], path)


def _valid_sections(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Sections that are right in themselves, so that rules across them can be checked."""
    valid: dict[str, Any] = {}
    for name, field in Config.model_fields.items():
        if name not in raw:
            continue
        try:
            kind: Any = field.annotation
            valid[name] = TypeAdapter(kind).validate_python(raw[name])
        except ValidationError:
            continue  # reported with the whole
    return valid


def _problem(error: Mapping[str, Any]) -> Problem:
    path = _path_of(error["loc"])
    kind, value = error["type"], error["input"]
    if kind == "extra_forbidden":
        return Problem(".".join(path), _shown(value), f"unknown key{_nearest(path)}")
    if kind == "missing":
        return Problem(".".join(path), None, "is missing")
    message = str(error["msg"]).removeprefix("Value error, ")
    return Problem(".".join(path), _shown(value), message[0].lower() + message[1:])


def _path_of(location: tuple[int | str, ...]) -> tuple[str, ...]:
    """Path of a key, without the tags that mark a choice between kinds."""
    tags = {"colour", "mag_range", "present", "error_present", "detected"}
    return tuple(
        str(part)
        for i, part in enumerate(location)
        if not (part in tags and i and isinstance(location[i - 1], int))
    )


def _nearest(path: tuple[str, ...]) -> str:
    known = known_keys()
    parent: tuple[str, ...] = ()
    for part in path[:-1]:
        parent = (*parent, part) if (*parent, part) in known else (*parent, "*")
    siblings = sorted({key[-1] for key in known if key[:-1] == parent and key[-1] != "*"})
    close = difflib.get_close_matches(path[-1], siblings, n=1, cutoff=0.5)
    if close:
        return f"; did you mean {'.'.join((*path[:-1], close[0]))}?"
    elsewhere = sorted(".".join(key) for key in known if key[-1] == path[-1])
    if elsewhere:
        return f"; it belongs at {elsewhere[0]}"
    everywhere = sorted({key[-1] for key in known})
    close = difflib.get_close_matches(path[-1], everywhere, n=1, cutoff=0.6)
    if close:
        place = min(".".join(key) for key in known if key[-1] == close[0])
        return f"; did you mean {place}?"
    return f"; known here: {', '.join(siblings)}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
