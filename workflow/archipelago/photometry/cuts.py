"""Cuts on photometry, each a line of the cut flow and a reason of loss.

A cut looks at the catalogue's values before any limit is put in (`raw_mag_*`),
and at each object alone: the order of the cuts decides which of them a lost
object is counted under, never which objects are kept.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Self

import numpy as np

from archipelago.base.errors import ConfigError, nearest
from archipelago.photometry.fluxes import BandPhotometry, Bools, Floats

Bands = Mapping[str, BandPhotometry]

_MAGNITUDES = ("ab", "vega")


@dataclass(frozen=True)
class Cut(ABC):
    """One cut.

    Attributes
    ----------
    name : what the cut flow and the losses call it.
    """

    kind: ClassVar[str]

    name: str

    @property
    @abstractmethod
    def used_bands(self) -> tuple[str, ...]:
        """Bands that the cut looks at."""

    @abstractmethod
    def passes(self, bands: Bands) -> Bools:
        """Return which objects the cut keeps, shape (n,)."""

    def details(self, bands: Bands, lost: Bools) -> list[str]:
        """Return for each object in ``lost`` what it failed by."""
        return [""] * int(lost.sum())

    @classmethod
    def from_config(cls, section: Mapping[str, Any]) -> Self:
        """Return the cut that a section of the configuration describes."""
        known = {one.name for one in fields(cls)}
        given = {key: value for key, value in section.items() if key != "kind"}
        # Optional keys of other kinds arrive as None where a schema filled them in.
        given = {key: value for key, value in given.items() if value is not None or key in known}
        where = f"cut {section.get('name', '?')!r}"
        unknown = sorted(set(given) - known)
        if unknown:
            raise ConfigError(
                f"a cut of kind {cls.kind} has no key {unknown[0]!r}{nearest(unknown[0], known)}",
                where=where,
                next_step=f"its keys are kind, {', '.join(one.name for one in fields(cls))}",
            )
        if isinstance(given.get("bands"), list):
            given["bands"] = tuple(given["bands"])
        try:
            return cls(**given)
        except TypeError as error:
            raise ConfigError(
                f"the cut of kind {cls.kind} is incomplete: {error}",
                where=where,
                next_step=f"its keys are kind, {', '.join(one.name for one in fields(cls))}",
            ) from error


@dataclass(frozen=True)
class _OneBandCut(Cut):
    band: str

    @property
    def used_bands(self) -> tuple[str, ...]:
        """Bands that the cut looks at."""
        return (self.band,)


@dataclass(frozen=True)
class PresentCut(_OneBandCut):
    """Keep objects with a value in ``band``, with or without an error."""

    kind: ClassVar[str] = "present"

    def passes(self, bands: Bands) -> Bools:
        """Return which objects the cut keeps, shape (n,)."""
        return bands[self.band].present


@dataclass(frozen=True)
class ErrorPresentCut(_OneBandCut):
    """Keep objects with an error in ``band``."""

    kind: ClassVar[str] = "error_present"

    def passes(self, bands: Bands) -> Bools:
        """Return which objects the cut keeps, shape (n,)."""
        return bands[self.band].error_present


@dataclass(frozen=True)
class DetectedCut(_OneBandCut):
    """Keep objects detected in ``band``."""

    kind: ClassVar[str] = "detected"

    def passes(self, bands: Bands) -> Bools:
        """Return which objects the cut keeps, shape (n,)."""
        return bands[self.band].detected


@dataclass(frozen=True)
class ColourCut(Cut):
    """Keep objects whose colour, first band minus second, lies between two bounds.

    Without a colour (a value missing, a flux not positive) an object is lost.

    Attributes
    ----------
    bands : the two bands.
    system : ``ab`` or ``vega``.
    min, max : bounds [mag], not part of what is kept; None for no bound.
    """

    kind: ClassVar[str] = "colour"

    bands: tuple[str, str]
    system: str = "ab"
    min: float | None = None
    max: float | None = None

    def __post_init__(self) -> None:
        if isinstance(self.bands, str) or len(self.bands) != 2:
            raise ConfigError(
                f"a colour is of two bands, not {self.bands!r}",
                where=f"cut {self.name!r}",
                next_step="give bands: [first, second]",
            )
        _check_bounds(self.name, self.system, self.min, self.max)

    @property
    def used_bands(self) -> tuple[str, ...]:
        """Bands that the cut looks at."""
        return tuple(self.bands)

    def _colour(self, bands: Bands) -> Floats:
        first, second = (_magnitudes(bands, one, self.system, self.name) for one in self.bands)
        return first - second

    def passes(self, bands: Bands) -> Bools:
        """Return which objects the cut keeps, shape (n,)."""
        return _between(self._colour(bands), self.min, self.max)

    def details(self, bands: Bands, lost: Bools) -> list[str]:
        """Return for each object in ``lost`` its colour."""
        label = f"{self.bands[0]} - {self.bands[1]}"
        return _spell(label, self._colour(bands)[lost], self.system)


@dataclass(frozen=True)
class MagRangeCut(_OneBandCut):
    """Keep objects whose magnitude in ``band`` lies between two bounds.

    Without a magnitude an object is lost.

    Attributes
    ----------
    system : ``ab`` or ``vega``.
    min, max : bounds [mag], not part of what is kept; None for no bound.
    """

    kind: ClassVar[str] = "mag_range"

    system: str = "ab"
    min: float | None = None
    max: float | None = None

    def __post_init__(self) -> None:
        _check_bounds(self.name, self.system, self.min, self.max)

    def passes(self, bands: Bands) -> Bools:
        """Return which objects the cut keeps, shape (n,)."""
        mag = _magnitudes(bands, self.band, self.system, self.name)
        return _between(mag, self.min, self.max)

    def details(self, bands: Bands, lost: Bools) -> list[str]:
        """Return for each object in ``lost`` its magnitude."""
        mag = _magnitudes(bands, self.band, self.system, self.name)
        return _spell(self.band, mag[lost], self.system)


#: Kinds of cut by the name that the configuration uses.
CUT_KINDS: dict[str, type[Cut]] = {
    kind.kind: kind for kind in (ColourCut, ErrorPresentCut, PresentCut, DetectedCut, MagRangeCut)
}


def read_cuts(sections: Iterable[Mapping[str, Any] | Cut]) -> tuple[Cut, ...]:
    """Return the cuts of a configuration, in its order.

    Raises
    ------
    ConfigError
        If a kind or key is unknown, a key is absent, bounds contradict each other, or two
        cuts have one name.
    """
    cuts: list[Cut] = []
    for section in sections:
        if isinstance(section, Cut):
            cuts.append(section)
            continue
        kind = section.get("kind")
        where = f"cut {section.get('name', '?')!r}"
        if kind not in CUT_KINDS:
            raise ConfigError(
                f"unknown kind of cut {kind!r}{nearest(str(kind), CUT_KINDS)}",
                where=where,
                next_step=f"use one of {', '.join(CUT_KINDS)}",
            )
        cuts.append(CUT_KINDS[kind].from_config(section))
    names = [cut.name for cut in cuts]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(
            f"two cuts are called {twice[0]!r}",
            where="photometry.cuts",
            next_step="give each cut a name of its own: losses are told apart by it",
        )
    return tuple(cuts)


def check_bands(cuts: Sequence[Cut], bands: Iterable[str]) -> None:
    """Raise `ConfigError` if a cut looks at a band that is not measured."""
    known = tuple(bands)
    for cut in cuts:
        for band in cut.used_bands:
            if band not in known:
                raise ConfigError(
                    f"the cut looks at band {band}, which is not measured{nearest(band, known)}",
                    where=f"cut {cut.name!r}",
                    next_step=f"use bands among {', '.join(known)}, or drop the cut",
                )


def _check_bounds(name: str, system: str, low: float | None, high: float | None) -> None:
    problem = ""
    if system not in _MAGNITUDES:
        problem = f"unknown system {system!r}{nearest(system, _MAGNITUDES)}"
    elif low is None and high is None:
        problem = "neither min nor max is given"
    elif any(bound is not None and not np.isfinite(bound) for bound in (low, high)):
        problem = "a bound is not a finite number"
    elif low is not None and high is not None and not low < high:
        problem = f"min {low} is not below max {high}"
    if problem:
        raise ConfigError(
            problem, where=f"cut {name!r}", next_step="give system: ab or vega, and min < max [mag]"
        )


def _magnitudes(bands: Bands, band: str, system: str, name: str) -> Floats:
    if system == "ab":
        return bands[band].raw_mag_ab
    vega = bands[band].raw_mag_vega
    if vega is None:
        raise ConfigError(
            f"no Vega magnitude in band {band}: its vega_to_ab_mag is not known",
            where=f"cut {name!r}",
            next_step="give the band's vega_to_ab_mag, or use system: ab",
        )
    return vega


def _between(values: Floats, low: float | None, high: float | None) -> Bools:
    # NaN compares as False: an object without the value is lost.
    inside = np.isfinite(values)
    if low is not None:
        inside &= values > low
    if high is not None:
        inside &= values < high
    return inside


def _spell(label: str, values: Floats, system: str) -> list[str]:
    return [
        f"{label} = {value:.4f} ({system})" if np.isfinite(value) else f"no {label}"
        for value in values
    ]
