"""Simulated quasars and lensed quasars in the survey's own noise and sharpness.

A search knows a handful of quasars, and as a rule no lensed one. What more of them would look like
follows from what is known of quasars, of galaxies, of lenses and of the survey: colours and
numbers from the SED stage's models and priors and from the known quasars of the search, images from
`lenses` and `light`, sharpness and noise from the images of the search itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archipelago.base.errors import InputError
from archipelago.base.images import ImageSet
from archipelago.cosmology import lens_distance_ratio, luminosity_distance_mpc
from archipelago.sed.templates import TemplateSet
from archipelago.simulate.conditions import (
    Conditions,
    draw_noise,
    measurable,
    measure_conditions,
)
from archipelago.simulate.draw import draw_lens_galaxies, draw_quasars
from archipelago.simulate.lenses import find_images
from archipelago.simulate.light import Components, galaxies, points, render
from archipelago.simulate.neighbours import Neighbours, draw_neighbours, measure_neighbours

Floats = NDArray[np.float64]
Images = NDArray[np.float32]

#: AB magnitude of 1 microjansky.
_UJY_AB = 23.9
_ARCSEC_PER_RAD = 206264.8
_LIGHT_KM_S = 299792.458
#: Radius in which an image's light is taken [arcsec]: that of DES's fourth aperture, rounded.
_APERTURE_ARCSEC = 1.0
#: Radius that holds nearly all of an object's light [arcsec].
_TOTAL_ARCSEC = 1.6
#: log10 of a lens's light over its quasar's, in the band that shows the sample best.
_LOG_LENS_RATIO = (-1.7, 0.6)
#: log10 of the mass formed of lenses [solar], and how far from it they are drawn.
_LOG_MASS, _LOG_MASS_RANGE = 11.1, 1.3
#: A lens adds light: its quasar may be so much fainter than the faintest object of the sample.
_FAINTER = 0.3
#: Light that a quasar may lack of the faintest object's, as noise adds to some.
_AS_FAINT = 0.8
#: Share of the simulated quasars with the colours of a known one, and scatter of these.
_KNOWN_SHARE, _KNOWN_SCATTER = 0.5, 0.05
#: How much redder than its total light an object may look in the aperture [natural log].
_COLOUR_MARGIN = 0.3
#: Magnification from which on a configuration is drawn each time (assumed).
_OFTEN_MAGNIFIED = 5.0
#: Scatter of a lensed image's flux (microlensing; assumed) [natural log].
_FLICKER = 0.1
#: Relative scatter of the sharpness between images (assumed).
_FWHM_SCATTER = 0.07
#: Objects drawn at once.
_BATCH = 4000
_MOST_BATCHES = 40
#: Least trials of which one in a thousand must come out, or no more are made.
_ENOUGH_TRIALS = 20_000
#: Images with content that tell the sample's limits; of fewer nothing is simulated.
_FEWEST_IMAGES = 10


@dataclass(frozen=True)
class Simulated:
    """Simulated objects of one kind.

    Attributes
    ----------
    images : (n, band, y, x) counts, noise included.
    redshift : (n,) of the quasar.
    separation_arcsec : (n,) largest distance of two images; 0 where there is one.
    source : (n,) row of the known quasar whose colours it has; -1: a model's.
    lens_share : (n,) the lens galaxy's share of the light in the band that shows the sample best.
    """

    images: Images
    redshift: Floats
    source: NDArray[np.int64]
    separation_arcsec: Floats
    lens_share: Floats

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class Known:
    """Known quasars among the images: their rows and redshifts, (n_known,)."""

    row: NDArray[np.int64]
    redshift: Floats


@dataclass(frozen=True)
class _Limits:
    """What an object must look like to be in the sample: light in an aperture."""

    reference: int
    flux_min: float
    flux_max: float
    bluer: int
    colour_min: float
    softening: float

    def keep(self, images: Images, scale_arcsec: float) -> NDArray[np.bool_]:
        light = aperture_counts(images, _APERTURE_ARCSEC, scale_arcsec)
        flux = light[:, self.reference]
        keep = (flux >= self.flux_min) & (flux <= self.flux_max)
        colour = self._colour(light)
        return np.asarray(keep & (colour >= self.colour_min))

    def possible(self, total: Floats) -> NDArray[np.bool_]:
        """Say which total lights (n, band) could be in the sample: saves the drawing of others."""
        flux = total[:, self.reference]
        near = (flux >= self.flux_min) & (flux <= 2 * self.flux_max)
        return np.asarray(near & (self._colour(total) >= self.colour_min - _COLOUR_MARGIN))

    def _colour(self, light: Floats) -> Floats:
        return np.arcsinh(light[:, self.reference] / self.softening) - np.arcsinh(
            light[:, self.bluer] / self.softening
        )


def simulate(
    images: ImageSet,
    templates: TemplateSet,
    priors: Mapping[str, Any],
    known: Known,
    *,
    n: int,
    seed: int,
    redshift_min: float,
    fallback_fwhm_arcsec: float = 0.9,
) -> tuple[Simulated, Simulated]:
    """Return ``n`` quasars and ``n`` lensed quasars as the survey would show them.

    Only such are kept as the search could have in its sample: as bright in the band in which
    the sample is best seen, and as red against the band before it, as the sample's objects are
    (all but its outermost half per cent). That stands for the cuts of the search.

    Parameters
    ----------
    images : of the search.
    templates : of the SED stage.
    priors : section ``sed.fit.priors``.
    known : quasars among the images that are known; half of the simulated ones have their
        colours, as measured in the images.
    n : how many of each; fewer come back where the sample's limits let hardly any in.
    seed : fixes them all.
    redshift_min : least redshift of the quasars.
    fallback_fwhm_arcsec : sharpness assumed where it cannot be measured.

    Raises
    ------
    InputError
        If the templates lack a band of the images.
    """
    missing = [band for band in images.bands if band not in templates.bands]
    if missing:
        raise InputError(
            f"the templates lack the bands {', '.join(missing)}",
            where="simulate",
            next_step="add their passbands to sed.passbands",
        )
    shown = _with_content(images.images)
    if len(shown) < _FEWEST_IMAGES:
        return _none(images), _none(images)
    scale = images.pixel_scale_arcsec
    conditions = measure_conditions(images.images, fallback_fwhm_arcsec / scale)
    limits = _limits(shown, conditions, scale)
    if not limits.flux_max > limits.flux_min:  # as if all images were the same
        return _none(images), _none(images)
    beside = measure_neighbours(shown, conditions, scale)
    search = _Search(images, templates, priors, known, redshift_min, conditions, limits, beside)
    rng = np.random.default_rng([seed, 20_231])
    return _until(n, _quasars, search, rng), _until(n, _lensed, search, rng)


@dataclass(frozen=True)
class _Search:
    """What the simulated objects of a search depend on."""

    images: ImageSet
    templates: TemplateSet
    priors: Mapping[str, Any]
    known: Known
    redshift_min: float
    conditions: Conditions
    limits: _Limits
    neighbours: Neighbours

    @property
    def counts_per_ujy(self) -> float:
        """Return the counts of 1 microjansky."""
        return float(10 ** (0.4 * (self.images.zero_point_ab - _UJY_AB)))


def _until(
    n: int,
    make: Callable[[_Search, int, np.random.Generator], Simulated],
    search: _Search,
    rng: np.random.Generator,
) -> Simulated:
    """Return ``n`` objects, or what so many batches of trials gave."""
    parts, have = [], 0
    for number in range(1, _MOST_BATCHES + 1):
        part = make(search, _BATCH, rng)
        parts.append(part)
        have += len(part)
        trials = number * _BATCH
        if have >= n or (trials >= _ENOUGH_TRIALS and 1000 * have < trials):
            break
    joined = {
        name: np.concatenate([getattr(part, name) for part in parts])[:n]
        for name in Simulated.__dataclass_fields__
    }
    return Simulated(**joined)


def _with_content(images: Images) -> Images:
    """Return the images of which some band is not constant, of those that can be measured."""
    finite = measurable(images)
    return np.asarray(finite[(finite.max(axis=(2, 3)) > finite.min(axis=(2, 3))).any(axis=1)])


def _none(images: ImageSet) -> Simulated:
    empty = np.empty(0)
    return Simulated(
        np.empty((0, *images.images.shape[1:]), dtype=np.float32),
        empty,
        np.empty(0, dtype=np.int64),
        empty,
        empty,
    )


def aperture_counts(images: Images, radius_arcsec: float, scale_arcsec: float) -> Floats:
    """Return the light within a circle about the middle, (n, band)."""
    height, width = images.shape[-2:]
    y = (np.arange(height) - (height - 1) / 2)[:, None]
    x = (np.arange(width) - (width - 1) / 2)[None, :]
    circle = np.hypot(x, y) * scale_arcsec < radius_arcsec
    return np.asarray(images[:, :, circle].sum(axis=-1), dtype=float)


def _limits(images: Images, conditions: Conditions, scale_arcsec: float) -> _Limits:
    light = aperture_counts(images, _APERTURE_ARCSEC, scale_arcsec)
    per_noise = np.median(light, axis=0) / np.median(conditions.noise, axis=0)
    reference = int(np.argmax(per_noise))
    bluer = max(reference - 1, 0)
    noise = float(np.median(conditions.noise[:, bluer]))
    softening = 2 * noise * np.sqrt(np.pi) * _APERTURE_ARCSEC / scale_arcsec
    low, high = np.quantile(light[:, reference], [0.005, 1.0])
    # What is sought has light: where the sample's faintest have none, that of one sigma.
    if low <= 0:
        low = softening / 2 * np.median(conditions.noise[:, reference]) / noise
    limits = _Limits(reference, float(low), float(high), bluer, -np.inf, softening)
    colour_min = float(np.quantile(limits._colour(light), 0.005))
    return _Limits(reference, float(low), float(high), bluer, colour_min, softening)


def _drawn(
    search: _Search, n: int, rng: np.random.Generator, fainter: float
) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Return fluxes [counts] (n, band), redshifts and sources of quasars bright as the sample."""
    limits, per_ujy = search.limits, search.counts_per_ujy
    quasars = draw_quasars(
        search.templates,
        search.priors,
        search.images.bands,
        n,
        rng,
        band=search.images.bands[limits.reference],
        flux_min_ujy=fainter * limits.flux_min / per_ujy,
        flux_max_ujy=2.0 * limits.flux_max / per_ujy,
        redshift_min=search.redshift_min,
    )
    flux, redshift = quasars.flux_ujy * per_ujy, quasars.redshift
    source = np.full(len(flux), -1, dtype=np.int64)
    row = search.known.row
    if not len(row) or not len(flux):
        return flux, redshift, source
    seen = aperture_counts(
        search.images.images[row], _TOTAL_ARCSEC, search.images.pixel_scale_arcsec
    )
    chosen = rng.integers(len(row), size=n)
    usable = (rng.random(n) < _KNOWN_SHARE) & (seen[chosen, limits.reference] > 0)
    chosen = chosen[usable]
    like = seen[chosen] * np.exp(rng.normal(0.0, _KNOWN_SCATTER, (len(chosen), seen.shape[1])))
    # The brightness that was drawn, with the known quasar's colours.
    factor = flux[usable, limits.reference] / like[:, limits.reference]
    flux[usable] = like * factor[:, None]
    measured = search.known.redshift[chosen]
    redshift[usable] = np.where(np.isfinite(measured), measured, redshift[usable])
    source[usable] = row[chosen]
    return flux, redshift, source


def _centres(n: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Return where objects lie within the middle pixel, and how well a survey knows it [px]."""
    x, y = rng.uniform(-0.5, 0.5, (2, n)) + rng.normal(0.0, 0.1, (2, n))
    return x, y


def _expose(parts: list[Components], search: _Search, rng: np.random.Generator) -> Images:
    """Return what the survey shows of sources: their light, that beside them, and its noise."""
    size = search.images.images.shape[-1]
    beside = draw_neighbours(
        search.neighbours,
        search.conditions,
        len(parts[0].flux),
        size,
        search.images.pixel_scale_arcsec,
        rng,
    )
    clean = render([*parts, *beside], size)
    noise, sigma = draw_noise(search.conditions, len(clean), clean.shape[-1], rng)
    return np.asarray(clean + sigma[:, :, None, None] * noise, dtype=np.float32)


def _fwhm(conditions: Conditions, n: int, rng: np.random.Generator) -> Floats:
    scatter = rng.normal(0.0, _FWHM_SCATTER, (n, len(conditions.fwhm_px)))
    return np.asarray(conditions.fwhm_px * np.exp(scatter))


def _quasars(search: _Search, n: int, rng: np.random.Generator) -> Simulated:
    limits, conditions, scale = search.limits, search.conditions, search.images.pixel_scale_arcsec
    flux, redshift, source = _drawn(search, n, rng, _AS_FAINT)
    possible = limits.possible(flux / _AS_FAINT)
    flux, redshift, source = flux[possible], redshift[possible], source[possible]
    n = len(flux)
    x, y = _centres(n, rng)
    shown = _expose([points(x, y, flux, _fwhm(conditions, n, rng))], search, rng)
    keep = limits.keep(shown, scale)
    none = np.zeros(int(keep.sum()))
    return Simulated(shown[keep], redshift[keep], source[keep], none, none)


@dataclass(frozen=True)
class _Systems:
    """Quasars with galaxies before them, of (n,) each; light in counts, (n, band)."""

    flux: Floats
    light: Floats
    redshift: Floats
    source: NDArray[np.int64]
    lens_redshift: Floats
    log_mass: Floats

    def __len__(self) -> int:
        return len(self.flux)

    def take(self, rows: NDArray[np.bool_]) -> _Systems:
        """Return the chosen ones."""
        return _Systems(**{name: getattr(self, name)[rows] for name in self.__dataclass_fields__})


@dataclass(frozen=True)
class _Lensing:
    """Images of quasars about their lenses: places [arcsec] and shares of the light, (n, 4).

    ``angle`` is the direction of the shear [rad], ``several`` says which are kept: those with
    several images, the more magnified the more likely. (n,) each.
    """

    x_arcsec: Floats
    y_arcsec: Floats
    share: Floats
    angle: Floats
    separation_arcsec: Floats
    several: NDArray[np.bool_]


def _systems(search: _Search, n: int, rng: np.random.Generator) -> _Systems:
    """Draw quasars and galaxies that together could be in the sample.

    Colours as often as expected, but brightness and the lens's share of the light evenly: what is
    wanted is every kind of lensed quasar, and the frequent ones would hide the others.
    """
    limits, per_ujy, reference = search.limits, search.counts_per_ujy, search.limits.reference
    flux, redshift, source = _drawn(search, n, rng, _FAINTER)
    n = len(flux)
    bright = np.exp(rng.uniform(np.log(_FAINTER * limits.flux_min), np.log(limits.flux_max), n))
    flux *= (bright / flux[:, reference])[:, None]
    lens = draw_lens_galaxies(search.templates, search.priors, search.images.bands, n, rng)
    ratio = 10 ** rng.uniform(*_LOG_LENS_RATIO, n)
    factor = ratio * flux[:, reference] / (lens.flux_ujy[:, reference] * per_ujy)
    light = lens.flux_ujy * (per_ujy * factor)[:, None]
    log_mass = lens.log_mass + np.log10(factor)
    possible = limits.possible(flux + light) & (np.abs(log_mass - _LOG_MASS) < _LOG_MASS_RANGE)
    return _Systems(flux, light, redshift, source, lens.redshift, log_mass).take(possible)


def _lens_each(systems: _Systems, rng: np.random.Generator) -> _Lensing:
    """Put each quasar somewhere behind its galaxy and return its images."""
    n = len(systems)
    einstein = einstein_radius_arcsec(
        systems.log_mass, systems.lens_redshift, systems.redshift, rng
    )
    angle = rng.uniform(0, np.pi, n)
    # Ellipticity of the mass, as a shear along the light, and that of the surroundings.
    shear = np.clip(rng.rayleigh(0.09, n), 0.01, 0.3)
    radius = 1.1 * einstein * np.sqrt(rng.random(n))
    azimuth = rng.uniform(0, 2 * np.pi, n)
    x, y, magnification = find_images(
        einstein, shear, angle, radius * np.cos(azimuth), radius * np.sin(azimuth)
    )
    real = magnification > 0
    total = magnification.sum(axis=1)
    # A flux-limited sample holds the more of a configuration, the more it magnifies.
    several = real[:, 1] & (rng.random(n) < np.clip(total / _OFTEN_MAGNIFIED, 0, 1))
    share = magnification / np.where(total > 0, total, 1.0)[:, None]
    share = share * np.exp(rng.normal(0.0, _FLICKER, share.shape))
    distance = np.hypot(x[:, :, None] - x[:, None, :], y[:, :, None] - y[:, None, :])
    distance[~(real[:, :, None] & real[:, None, :])] = 0.0
    return _Lensing(x, y, share, angle, distance.max(axis=(1, 2)), several)


def _centre_of_light(
    search: _Search, systems: _Systems, lensing: _Lensing, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Return where the survey lists the systems, from their lenses [px], (n,) each.

    That is the centre of all light in the bands next to the reference.
    """
    reference, scale = search.limits.reference, search.images.pixel_scale_arcsec
    near = slice(max(reference - 2, 0), reference + 1)
    quasar = np.clip(systems.flux[:, near], 0, None).sum(axis=1)
    both = quasar * lensing.share.sum(axis=1) + systems.light[:, near].sum(axis=1)
    jitter = _centres(len(systems), rng)
    return (
        (lensing.share * lensing.x_arcsec).sum(axis=1) * quasar / both / scale - jitter[0],
        (lensing.share * lensing.y_arcsec).sum(axis=1) * quasar / both / scale - jitter[1],
    )


def _lensed(search: _Search, n: int, rng: np.random.Generator) -> Simulated:
    scale, reference = search.images.pixel_scale_arcsec, search.limits.reference
    systems = _systems(search, n, rng)
    n = len(systems)
    lensing = _lens_each(systems, rng)
    centre_x, centre_y = _centre_of_light(search, systems, lensing, rng)
    fwhm = _fwhm(search.conditions, n, rng)
    parts = [
        points(
            lensing.x_arcsec[:, k] / scale - centre_x,
            lensing.y_arcsec[:, k] / scale - centre_y,
            systems.flux * lensing.share[:, k : k + 1],
            fwhm,
        )
        for k in range(lensing.share.shape[1])
    ]
    radius = half_light_radius_arcsec(systems.log_mass, systems.lens_redshift, rng)
    parts.append(
        galaxies(
            -centre_x,
            -centre_y,
            systems.light,
            fwhm,
            r_eff_px=radius / scale,
            axis_ratio=np.clip(rng.normal(0.75, 0.15, n), 0.35, 1.0),
            angle_rad=lensing.angle + np.pi / 2 + rng.normal(0, 0.2, n),
            index=4.0,
        )
    )
    kept = lensing.several
    shown = _expose([_rows(part, kept) for part in parts], search, rng)
    systems = systems.take(kept)
    keep = search.limits.keep(shown, scale)
    share = (systems.light / (systems.light + systems.flux))[:, reference]
    return Simulated(
        shown[keep],
        systems.redshift[keep],
        systems.source[keep],
        lensing.separation_arcsec[kept][keep],
        share[keep],
    )


def _rows(part: Components, rows: NDArray[np.bool_]) -> Components:
    return Components(
        part.x_px[rows],
        part.y_px[rows],
        part.xx_px2[rows],
        part.yy_px2[rows],
        part.xy_px2[rows],
        part.flux[rows],
    )


def einstein_radius_arcsec(
    log_mass: Floats,
    lens_redshift: Floats,
    redshift: Floats,
    rng: np.random.Generator | None,
) -> Floats:
    """Return Einstein radii of isothermal lenses: 4 pi (sigma / c)^2 D_ls / D_s.

    Turner, Ostriker & Gott (1984, ApJ 284, 1). The velocity dispersion follows from the stellar
    mass: sigma = 215 km/s (M / 10^11)^0.25 with 0.06 dex of scatter (assumed; about what
    early-type lenses show); none without ``rng``.
    """
    scatter = 0.0 if rng is None else rng.normal(0, 0.06, len(log_mass))
    dispersion = 215.0 * 10 ** (0.25 * (log_mass - 11.0) + scatter)
    ratio = np.where(lens_redshift < redshift, lens_distance_ratio(lens_redshift, redshift), 0.0)
    return np.asarray(4 * np.pi * (dispersion / _LIGHT_KM_S) ** 2 * ratio * _ARCSEC_PER_RAD)


def half_light_radius_arcsec(
    log_mass: Floats, redshift: Floats, rng: np.random.Generator
) -> Floats:
    """Return half-light radii of early-type galaxies.

    5.5 kpc (M / 10^11)^0.75 (1 + z)^-1.0 with 0.13 dex of scatter: rounded after van der Wel
    et al. (2014, ApJ 788, 28), who find slopes of 0.75 and about -1.5 from z = 0 to 3 (assumed).
    """
    kpc = (
        5.5 * 10 ** (0.75 * (log_mass - 11.0) + rng.normal(0, 0.13, len(log_mass))) / (1 + redshift)
    )
    kpc_per_arcsec = luminosity_distance_mpc(redshift) / (1 + redshift) ** 2 * 1e3 / _ARCSEC_PER_RAD
    return np.asarray(np.clip(kpc / kpc_per_arcsec, 0.05, 3.0))
