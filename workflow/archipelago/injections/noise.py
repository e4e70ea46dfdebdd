"""What the run's catalogues have of errors, non-detections and missing values, drawn from anew."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from archipelago.photometry.fluxes import (
    AB_ZERO_POINT_UJY,
    NANOMAGGIE_ZERO_POINT,
    POGSON_MAG,
    BandPhotometry,
    BandSpec,
    flux_from_mag,
)

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

#: Objects of nearly the same brightness, of which one lends its error.
_NEAREST = 31
#: Share of the objects, the brightest, that tell how often a value is missing for no lack of light.
_BRIGHT_SHARE = 0.25
#: Fewer bright objects than this tell nothing about that.
_FEWEST = 40
_FAINTEST = 1e-9


@dataclass(frozen=True)
class BandNoise:
    """Errors of one band, as the run's objects have them.

    Attributes
    ----------
    flux_ujy, error_ujy : (m,) of the objects with both, by rising flux.
    faint_error_ujy : median error of the fainter half.
    limit_share, absent_share : of what is not detected: value without error, and nothing at all.
    no_value, no_error : how often even bright objects have none.
    """

    flux_ujy: Floats
    error_ujy: Floats
    faint_error_ujy: float
    limit_share: float
    absent_share: float
    no_value: float
    no_error: float

    @classmethod
    def learn(cls, measured: BandPhotometry, bright: Bools, depth_error_ujy: float) -> BandNoise:
        """Learn from the run's objects.

        Parameters
        ----------
        measured : of one band, (n,).
        bright : (n,) objects that should be seen in every band.
        depth_error_ujy : error where the run has no object in this band.
        """
        raw = flux_from_mag(measured.raw_mag_ab)
        detected = measured.detected
        flux, error = measured.flux_ujy[detected], measured.flux_err_ujy[detected]
        order = np.argsort(flux, kind="stable")
        flux, error = flux[order], error[order]
        if not len(flux):
            flux, error = np.ones(1), np.full(1, depth_error_ujy)
        unseen = ~detected
        n_unseen = max(int(unseen.sum()), 1)
        limit = unseen & measured.present & ~measured.error_present & np.isfinite(raw)
        absent = unseen & ~measured.present
        enough = bright.sum() >= _FEWEST
        return cls(
            flux,
            error,
            float(np.median(error[: max(len(error) // 2, 1)])),
            float(limit.sum() / n_unseen),
            float(absent.sum() / n_unseen) if unseen.any() else 1.0,
            float((bright & ~measured.present).sum() / bright.sum()) if enough else 0.0,
            float((bright & measured.present & ~measured.error_present).sum() / bright.sum())
            if enough
            else 0.0,
        )

    def error_of(self, flux_ujy: Floats, rng: np.random.Generator) -> Floats:
        """Return errors drawn from objects about as bright, (n,) [uJy].

        Beyond the brightest and faintest the error is theirs, in proportion to the flux for
        brighter ones.
        """
        place = np.searchsorted(self.flux_ujy, flux_ujy)
        m = len(self.flux_ujy)
        low = np.clip(place - _NEAREST // 2, 0, max(m - _NEAREST, 0))
        chosen = np.minimum(low + rng.integers(_NEAREST, size=len(flux_ujy)), m - 1)
        beyond = np.maximum(flux_ujy / np.maximum(self.flux_ujy[-1], _FAINTEST), 1.0)
        return np.asarray(self.error_ujy[chosen] * beyond)

    def own_error(self, error_ujy: Floats) -> Floats:
        """Return what of an error is beyond a faint object's, (n,): the object's own light's."""
        return np.sqrt(np.clip(error_ujy**2 - self.faint_error_ujy**2, 0.0, None))

    def listed(
        self,
        flux_ujy: Floats,
        error_ujy: Floats,
        spec: BandSpec,
        detection_sigma: float,
        rng: np.random.Generator,
    ) -> tuple[Floats, Floats]:
        """Return values and errors as the catalogue would list them, (n,) each, NaN where missing.

        In the catalogue's own system. What is not detected is listed as the run's undetected
        objects are: in full, without error (a limit), or not at all; and some of the detected lack
        what the brightest objects of the run lack too.
        """
        value, error = as_listed(flux_ujy, error_ujy, spec)
        seen = flux_ujy > detection_sigma * error_ujy
        way = rng.random(len(flux_ujy))
        absent = np.where(seen, way < self.no_value, way < self.absent_share)
        limit = np.where(
            seen,
            way < self.no_value + self.no_error,
            way < self.absent_share + self.limit_share,
        )
        return np.where(absent, np.nan, value), np.where(absent | limit, np.nan, error)


def as_listed(flux_ujy: Floats, error_ujy: Floats, spec: BandSpec) -> tuple[Floats, Floats]:
    """Return fluxes and errors [uJy] in the system of a catalogue: value and error, (n,) each.

    A magnitude of a flux that is not positive is NaN, as is its error.
    """
    offset = spec.vega_to_ab_mag or 0.0
    if spec.system == "flux_ujy":
        return flux_ujy, error_ujy
    if spec.system.startswith("flux_nmgy"):
        zero = NANOMAGGIE_ZERO_POINT + (offset if spec.system == "flux_nmgy_vega" else 0.0)
        unit = float(flux_from_mag(zero))
        return flux_ujy / unit, error_ujy / unit
    positive = flux_ujy > 0
    safe = np.where(positive, flux_ujy, 1.0)
    mag = AB_ZERO_POINT_UJY - 2.5 * np.log10(safe)
    if spec.system == "mag_vega":
        mag = mag - offset
    return (
        np.where(positive, mag, np.nan),
        np.where(positive, POGSON_MAG * error_ujy / safe, np.nan),
    )


def bright_objects(measured: Mapping[str, BandPhotometry], band: str) -> Bools:
    """Say which objects are the brightest quarter in a band, (n,)."""
    flux = measured[band].flux_ujy
    if not len(flux):
        return np.zeros(0, dtype=bool)
    return np.asarray(flux >= np.quantile(flux, 1 - _BRIGHT_SHARE))


@dataclass(frozen=True)
class Partner:
    """How a matched catalogue finds partners, as seen in the run.

    Attributes
    ----------
    name : of the catalogue.
    bands : that it gives.
    radius_arcsec : of the match.
    lost : share of bright sources without a partner.
    least_sigma : signal over noise, in its best band, that nearly all partners exceed.
    separation_arcsec : (m,) distances of the run's partners, to draw from.
    """

    name: str
    bands: tuple[str, ...]
    radius_arcsec: float
    lost: float
    least_sigma: float
    separation_arcsec: Floats

    @classmethod
    def learn(
        cls,
        name: str,
        bands: tuple[str, ...],
        radius_arcsec: float,
        sources: pd.DataFrame,
        partnered: NDArray[np.int64],
        measured: Mapping[str, BandPhotometry],
        separation_arcsec: Floats,
        band: str,
    ) -> Partner:
        """Learn from the run.

        Parameters
        ----------
        sources : id and mag_ab_<band> of the objects that were looked up.
        partnered : their ids that found one.
        measured : of the objects that found a partner in every catalogue.
        separation_arcsec : of the same objects.
        band : the one that tells bright sources.
        """
        mag = sources[f"mag_ab_{band}"].to_numpy(dtype=float)
        good = np.isfinite(mag) & (mag < 90)
        lost = 0.0
        if good.sum() * _BRIGHT_SHARE >= _FEWEST:
            bright = good & (mag <= np.quantile(mag[good], _BRIGHT_SHARE))
            lost = float(1 - np.isin(sources["id"].to_numpy()[bright], partnered).mean())
        sigma = np.zeros(len(separation_arcsec))
        for one in bands:
            if one in measured:
                seen = measured[one]
                ratio = np.where(seen.detected, seen.flux_ujy / seen.flux_err_ujy, 0.0)
                sigma = np.maximum(sigma, ratio)
        least = float(np.quantile(sigma[sigma > 0], 0.005)) if (sigma > 0).any() else 0.0
        finite = separation_arcsec[np.isfinite(separation_arcsec)]
        return cls(name, bands, radius_arcsec, lost, least, finite)
