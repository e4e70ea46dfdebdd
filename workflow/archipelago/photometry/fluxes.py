"""Magnitudes and fluxes of one band: systems, missing values, detection, limits.

All formulas and numbers follow Byrne et al. (2024, arXiv:2403.17903), section 2:
AB magnitudes, fluxes in microjansky, non-detections as m = 99 and zero flux.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from archipelago.base.errors import ConfigError, InputError, nearest

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

#: Magnitude error per relative flux error, 2.5 / ln 10. Byrne et al. print it as 1.0857;
#: their published table was made with the unrounded number.
POGSON_MAG = 2.5 / np.log(10.0)

#: AB magnitude of 1 uJy (Oke & Gunn 1983, ApJ 266, 713), as rounded by Byrne et al.
AB_ZERO_POINT_UJY = 23.9

#: Magnitude of one nanomaggie, in whatever system the nanomaggie is of.
NANOMAGGIE_ZERO_POINT = 22.5

#: Magnitude, and error, that mean "not detected" in every table of this project.
NOT_DETECTED_MAG = 99.0

#: Magnitudes outside these bounds are codes for "missing": 99, 999, -99, 0.
#: Nothing fainter than 90 is measurable, nothing but the Sun is brighter than 0 in a survey.
_FAINTEST_MAG, _BRIGHTEST_MAG = 90.0, 0.0

#: Flux of magnitude 0 [uJy].
_BRIGHTEST_UJY = 10 ** (AB_ZERO_POINT_UJY / 2.5)

#: m_AB - m_Vega of each band, added to Vega magnitudes (Byrne et al. 2024, section 2.1).
VEGA_TO_AB_MAG = {"J": 0.916, "K": 1.827, "W1": 2.699, "W2": 3.339}

#: What a catalogue's numbers can be.
SYSTEMS = ("mag_ab", "mag_vega", "flux_ujy", "flux_nmgy_ab", "flux_nmgy_vega")

_NO_VALUE_TEXT = frozenset({"", "--", "na", "n/a", "nan", "null", "none", "inf", "-inf"})


def flux_from_mag(mag_ab: ArrayLike) -> Floats:
    """Return the flux [uJy] of AB magnitudes: 10^((23.9 - m) / 2.5)."""
    return np.asarray(10.0 ** ((AB_ZERO_POINT_UJY - np.asarray(mag_ab, dtype=float)) / 2.5))


def mag_from_flux(flux_ujy: ArrayLike) -> Floats:
    """Return the AB magnitude of fluxes [uJy]; NaN where the flux is not positive."""
    flux = np.asarray(flux_ujy, dtype=float)
    positive = np.isfinite(flux) & (flux > 0)
    mag = np.full(flux.shape, np.nan)
    mag[positive] = AB_ZERO_POINT_UJY - 2.5 * np.log10(flux[positive])
    return mag


def flux_err_from_mag_err(mag_err: ArrayLike, flux_ujy: ArrayLike) -> Floats:
    """Return the flux error [uJy]: magnitude error x flux / 1.0857."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(np.asarray(mag_err, dtype=float) * np.asarray(flux_ujy) / POGSON_MAG)


def mag_err_from_flux_err(flux_err_ujy: ArrayLike, flux_ujy: ArrayLike) -> Floats:
    """Return the error [mag]: 1.0857 x flux error / flux, both in uJy; the flux must be > 0."""
    return np.asarray(POGSON_MAG * np.asarray(flux_err_ujy, dtype=float) / np.asarray(flux_ujy))


def is_magnitude(mag: ArrayLike) -> Bools:
    """Tell measured magnitudes from missing ones: NaN, inf, 99 and the like, 0 and negative."""
    array = np.asarray(mag, dtype=float)
    return np.asarray(
        np.isfinite(array) & (array > _BRIGHTEST_MAG) & (array < _FAINTEST_MAG), dtype=bool
    )


@dataclass(frozen=True)
class BandSpec:
    """Where a band's numbers come from and what they are.

    Attributes
    ----------
    value, error : names of the columns in the source catalogue.
    system : one of `SYSTEMS`. Magnitudes and their errors are in mag; ``flux_ujy`` in
        microjansky; nanomaggies follow m = 22.5 - 2.5 log10 f, in AB or Vega magnitudes.
    vega_to_ab_mag : m_AB - m_Vega; needed by the Vega systems.
    """

    value: str
    error: str
    system: str = "mag_ab"
    vega_to_ab_mag: float | None = None

    def __post_init__(self) -> None:
        if self.system not in SYSTEMS:
            raise ConfigError(
                f"unknown magnitude system {self.system!r}{nearest(self.system, SYSTEMS)}",
                where=f"column {self.value}",
                next_step=f"use one of {', '.join(SYSTEMS)}",
            )
        if self.vega_to_ab_mag is None and self.system in ("mag_vega", "flux_nmgy_vega"):
            raise ConfigError(
                f"the system {self.system} needs vega_to_ab_mag",
                where=f"column {self.value}",
                next_step="give m_AB - m_Vega of the band, such as 2.699 for W1",
            )

    @classmethod
    def from_config(cls, band: str, section: Mapping[str, Any] | BandSpec) -> BandSpec:
        """Return the specification of ``band`` from its section of the configuration.

        Where the section has no ``vega_to_ab_mag``, that of `VEGA_TO_AB_MAG` is taken.

        Raises
        ------
        ConfigError
            If ``value`` or ``error`` is absent, a key is unknown, or the system is.
        """
        if isinstance(section, BandSpec):
            return section
        known = ("value", "error", "system", "vega_to_ab_mag")
        missing = [key for key in known[:2] if section.get(key) is None]
        unknown = [key for key in section if key not in known]
        if missing or unknown:
            said = [f"lacks {key}" for key in missing]
            said += [f"has the unknown key {key}{nearest(key, known)}" for key in unknown]
            raise ConfigError(
                f"the section of band {band} " + ", ".join(said),
                where=f"band {band}",
                next_step="give value, error, system and, for Vega systems, vega_to_ab_mag",
            )
        offset = section.get("vega_to_ab_mag")
        if offset is None:
            offset = VEGA_TO_AB_MAG.get(band)
        system = section.get("system") or "mag_ab"
        return cls(section["value"], section["error"], system, offset)


@dataclass(frozen=True)
class Depth:
    """Depth of a survey in a band: the flux that is ``sigma`` times the noise.

    Attributes
    ----------
    sigma : number of standard deviations at which the depth is quoted.
    mag_ab : AB magnitude at the depth; or
    flux_ujy : flux there [uJy]. Exactly one of the two.
    """

    sigma: float
    mag_ab: float | None = None
    flux_ujy: float | None = None

    def __post_init__(self) -> None:
        one_given = (self.mag_ab is None) != (self.flux_ujy is None)
        flux = self.flux_ujy if self.flux_ujy is not None else 1.0
        if not one_given or not self.sigma > 0 or not flux > 0:
            raise ConfigError(
                f"not a depth: sigma {self.sigma}, mag_ab {self.mag_ab}, flux_ujy {self.flux_ujy}",
                next_step="give sigma > 0 and one of mag_ab and flux_ujy, such as "
                "{sigma: 5, mag_ab: 20.8}",
            )

    @classmethod
    def from_config(cls, band: str, section: Mapping[str, Any] | Depth) -> Depth:
        """Return the depth of ``band`` from its section; raises `ConfigError`."""
        if isinstance(section, Depth):
            return section
        unknown = [key for key in section if key not in ("sigma", "mag_ab", "flux_ujy")]
        if unknown or section.get("sigma") is None:
            raise ConfigError(
                f"the depth has the keys {', '.join(section)}",
                where=f"depth of band {band}",
                next_step="give sigma and one of mag_ab and flux_ujy",
            )
        return cls(section["sigma"], section.get("mag_ab"), section.get("flux_ujy"))

    @property
    def flux_err_ujy(self) -> float:
        """Error of an undetected object [uJy]: a third of the flux at 3 sigma.

        A flux of n sigma is n times the noise, so that is flux(depth) / sigma.
        """
        if self.flux_ujy is not None:
            flux = self.flux_ujy
        else:
            assert self.mag_ab is not None  # one of the two is given: see __post_init__
            flux = float(flux_from_mag(self.mag_ab))
        three_sigma_ujy = flux * 3.0 / self.sigma
        return three_sigma_ujy / 3.0


@dataclass(frozen=True)
class BandPhotometry:
    """One band of n objects; every array has shape (n,).

    Attributes
    ----------
    flux_ujy, flux_err_ujy : flux [uJy]; not detected: 0 and the depth's error.
    mag_ab, mag_err : AB magnitude; not detected: 99 and 99.
    detected : above the threshold.
    present : a value was given, detected or not.
    error_present : an error was given.
    raw_mag_ab : AB magnitude before any limit; NaN without a value or a positive flux.
    raw_mag_vega : the same in Vega; None where the band's offset is not known.
    """

    flux_ujy: Floats
    flux_err_ujy: Floats
    mag_ab: Floats
    mag_err: Floats
    detected: Bools
    present: Bools
    error_present: Bools
    raw_mag_ab: Floats
    raw_mag_vega: Floats | None


def measure_band(
    value: ArrayLike | pd.Series,
    error: ArrayLike | pd.Series,
    spec: BandSpec,
    depth: Depth,
    detection_sigma: float = 2.0,
) -> BandPhotometry:
    """Bring one band of a catalogue to AB magnitudes and microjansky.

    Detected is what has a value, an error, and a flux of more than
    ``detection_sigma`` times the error. A magnitude without an error is present
    but not detected: AllWISE marks upper limits so. All else gets m = 99, flux 0
    and a third of the survey's 3-sigma depth as flux error (Byrne et al. 2024).

    Parameters
    ----------
    value, error : (n,) numbers in ``spec.system``. Missing are NaN, inf and masked ones;
        magnitudes of 90 and more (99) or of 0 and less (-99); errors of 0 and less.
    spec : the system and the band's Vega offset.
    depth : the survey's depth in the band.
    detection_sigma : threshold.

    Raises
    ------
    InputError
        If a column holds text that is not a number.
    """
    values, errors = as_floats(value, spec.value), as_floats(error, spec.error)
    is_mag = spec.system.startswith("mag")
    raw_mag_ab, raw_mag_vega, flux = _to_ab(values, spec)
    if is_mag:
        present = is_magnitude(values)
        error_present = np.isfinite(errors) & (errors > 0) & (errors < _FAINTEST_MAG)
        mag_err, flux_err = errors, flux_err_from_mag_err(errors, flux)
    else:
        # A flux may be zero or negative and is still a measurement; one of thousands of
        # jansky, or such an error, is a code such as 1e20.
        present = np.isfinite(flux) & (flux < _BRIGHTEST_UJY)
        with np.errstate(over="ignore", invalid="ignore"):
            flux_err = errors * _ujy_per_unit(spec)
        error_present = np.isfinite(flux_err) & (flux_err > 0) & (flux_err < _BRIGHTEST_UJY)
        positive = present & error_present & is_magnitude(raw_mag_ab)
        mag_err = np.full(values.shape, np.nan)
        mag_err[positive] = mag_err_from_flux_err(flux_err[positive], flux[positive])
    usable = present & error_present & is_magnitude(raw_mag_ab) & (mag_err > 0) & (flux_err > 0)
    detected = usable & (mag_err < POGSON_MAG / detection_sigma)
    return BandPhotometry(
        flux_ujy=np.where(detected, flux, 0.0),
        flux_err_ujy=np.where(detected, flux_err, depth.flux_err_ujy),
        mag_ab=np.where(detected, raw_mag_ab, NOT_DETECTED_MAG),
        mag_err=np.where(detected, mag_err, NOT_DETECTED_MAG),
        detected=detected,
        present=present,
        error_present=error_present,
        raw_mag_ab=raw_mag_ab,
        raw_mag_vega=raw_mag_vega,
    )


def _ujy_per_unit(spec: BandSpec) -> float:
    """Return the flux [uJy] of one unit of a flux system."""
    if spec.system == "flux_ujy":
        return 1.0
    offset = (spec.vega_to_ab_mag or 0.0) if spec.system == "flux_nmgy_vega" else 0.0
    return float(flux_from_mag(NANOMAGGIE_ZERO_POINT + offset))


def _to_ab(values: Floats, spec: BandSpec) -> tuple[Floats, Floats | None, Floats]:
    """Return AB and Vega magnitudes (NaN where there is none) and flux [uJy]."""
    offset = spec.vega_to_ab_mag
    if spec.system.startswith("mag"):
        given = np.where(is_magnitude(values), values, np.nan)
        # Vega magnitudes stay as given, so that a colour cut sees the catalogue's own digits.
        if spec.system == "mag_vega":
            assert offset is not None  # BandSpec saw to it
            return given + offset, given, flux_from_mag(given + offset)
        return given, None if offset is None else given - offset, flux_from_mag(given)
    if spec.system == "flux_ujy":
        mag_ab = mag_from_flux(values)
    else:
        # 22.5 - 2.5 log10 f is the magnitude in the nanomaggie's own system.
        mag_own = mag_from_flux(values) - AB_ZERO_POINT_UJY + NANOMAGGIE_ZERO_POINT
        if spec.system == "flux_nmgy_vega":
            assert offset is not None
            mag_ab = mag_own + offset
        else:
            mag_ab = mag_own
    with np.errstate(over="ignore"):
        flux = values * _ujy_per_unit(spec)
    return mag_ab, None if offset is None else mag_ab - offset, flux


def as_floats(column: ArrayLike | pd.Series, name: str = "column") -> Floats:
    """Return a column as float64 (n,) with NaN where it is masked, null or empty.

    Raises
    ------
    InputError
        If it holds text that is not a number.
    """
    if isinstance(column, np.ma.MaskedArray):
        column = np.ma.filled(column.astype(float), np.nan)
    series = column if isinstance(column, pd.Series) else pd.Series(np.asarray(column).ravel())
    if pd.api.types.is_numeric_dtype(series) and not pd.api.types.is_bool_dtype(series):
        return series.to_numpy(dtype=float, na_value=np.nan)
    numbers = pd.to_numeric(series, errors="coerce").to_numpy(dtype=float, na_value=np.nan)
    doubtful = series[np.isnan(numbers) & series.notna().to_numpy()]
    text = doubtful.astype(str).str.strip()
    wrong = text[~text.str.lower().isin(_NO_VALUE_TEXT)]
    if len(wrong):
        raise InputError(
            f"{len(wrong)} entries are not numbers, such as {wrong.iloc[0]!r}",
            where=name,
            next_step="correct the file, or map another column",
        )
    return numbers
