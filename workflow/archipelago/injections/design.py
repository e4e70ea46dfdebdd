"""Which quasars are injected: a space-filling design over the axes, and their true fluxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import logsumexp
from scipy.stats import qmc

from archipelago.base.errors import InputError
from archipelago.sed.priors import LN_A_MIN, LN_A_STEP, quasar_prior
from archipelago.sed.templates import TemplateSet
from archipelago.simulate.lenses import find_images
from archipelago.simulate.objects import einstein_radius_arcsec

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: AB magnitude of 1 microjansky.
UJY_AB = 23.9
#: The two kinds, as in `archipelago.recognise.evidence.KINDS`.
KINDS = ("quasar", "lensed")
#: Axes of each kind, as columns of the tables.
AXES: dict[str, tuple[str, ...]] = {
    "quasar": ("quasar_mag", "redshift"),
    "lensed": (
        "quasar_mag",
        "redshift",
        "lens_mag",
        "lens_redshift",
        "separation_arcsec",
        "magnification",
    ),
}
#: Configurations of images from which those of the wanted magnification are taken.
_LIBRARY = 4_000
#: The nearest in ln magnification, of which one is drawn.
_NEAREST = 40
#: Share of deflectors that are elliptical or lenticular: 80 % and 10 % of the lenses of Bolton et
#: al. (2008, ApJ 682, 964), which were looked for around luminous red galaxies.
_EARLY_SHARE = 0.9
#: Least age of an early type's stars, in Gyr and in times of its star formation (assumed).
_EARLY_AGE_GYR, _EARLY_AGE_TAU = 2.0, 5.0
#: Scatter of a lensed image's flux (microlensing; assumed) [natural log].
_FLICKER = 0.1
#: Scatter of the separation at a lens's mass [dex]: 0.12 of twice the velocity dispersion's 0.06,
#: 0.1 of what templates leave uncertain of the mass, 0.05 of the images' places (assumed).
_SEPARATION_DEX = 0.17
#: Mass in living stars and remnants over the mass formed: 0.6 for old stars (Bruzual & Charlot
#: 2003, MNRAS 344, 1000; rounded) [dex].
_LIVING_DEX = -0.22


@dataclass(frozen=True)
class Truth:
    """What is injected: n objects without place, noise or Galactic dust.

    Attributes
    ----------
    table : columns id, kind and the axes of `AXES`, (n); NaN where an axis does not apply.
    quasar_ujy, lens_ujy : (n, band) total fluxes; the lens's 0 where there is none.
    x_arcsec, y_arcsec, share : (n, 4) images: place from the lens, share of the quasar's light.
    log_mass : (n,) log10 of the lens's mass in living stars and remnants [solar]; NaN without.
    shear_angle_rad : (n,) direction of the shear.
    """

    table: pd.DataFrame
    quasar_ujy: Floats
    lens_ujy: Floats
    x_arcsec: Floats
    y_arcsec: Floats
    share: Floats
    log_mass: Floats
    shear_angle_rad: Floats

    def __len__(self) -> int:
        return len(self.table)

    def take(self, rows: Ints) -> Truth:
        """Return some of the objects."""
        arrays = {
            name: getattr(self, name)[rows] for name in self.__dataclass_fields__ if name != "table"
        }
        return Truth(table=self.table.iloc[rows].reset_index(drop=True), **arrays)


def wanted(ranges: Mapping[str, Sequence[float]], kind: str, n: int, seed: int) -> pd.DataFrame:
    """Return a space-filling design: scrambled Sobol points over the axes of a kind.

    Sobol (1967); scrambled after Owen (1998), so that the points are even in every projection and
    each alone is uniform. The magnification is even in its logarithm, all else as it is.

    Parameters
    ----------
    ranges : per axis (names of `AXES`) its lowest and highest value.
    kind : of `KINDS`.
    n : number of points; 0 gives none.
    seed : of the scrambling.

    Returns
    -------
    (n) rows, a column per axis.
    """
    axes = AXES[kind]
    sampler = qmc.Sobol(len(axes), scramble=True, rng=np.random.default_rng([seed, len(axes)]))
    # Any power of two is balanced; of the next larger one the first n stay nearly so.
    unit = sampler.random_base2(max(int(np.ceil(np.log2(max(n, 1)))), 0))[:n]
    columns = {}
    for axis, values in zip(axes, unit.T, strict=True):
        low, high = (float(end) for end in ranges[axis])
        if axis == "magnification":
            columns[axis] = low * (high / low) ** values
        else:
            columns[axis] = low + (high - low) * values
    return pd.DataFrame(columns)


def draw(
    templates: TemplateSet,
    fit: Mapping[str, Any],
    bands: Sequence[str],
    band: str,
    design: pd.DataFrame,
    kind: str,
    rng: np.random.Generator,
) -> Truth:
    """Give the points of a design their spectra and, where lensed, their images and galaxies.

    Colours are as frequent at each redshift and brightness as the priors of the SED stage say,
    and scatter about the templates as its ``model_error`` and ``survey_error`` say. Redshifts
    become those of the nearest template. Images are those of isothermal spheres with shear
    (`archipelago.simulate.lenses`): of sources anywhere behind the lens one of the wanted
    magnification is taken, and enlarged to the wanted separation, which such lenses allow.

    Parameters
    ----------
    templates : of the SED stage.
    fit : section ``sed.fit``: priors, model_error, survey_error.
    bands : of the fluxes.
    band : the one that magnitudes are of.
    design : of `wanted`.
    kind : of `KINDS`.
    rng : source of all randomness.

    Returns
    -------
    Truth
        Objects that have light in ``band`` at their redshift; the axes are the true ones (the
        redshifts and the magnification differ slightly from the design's). ``id`` is the row of
        the design.

    Raises
    ------
    InputError
        If the templates lack a band.
    """
    missing = [name for name in (*bands, band) if name not in templates.bands]
    if missing:
        raise InputError(
            f"the templates lack the bands {', '.join(dict.fromkeys(missing))}",
            where="injections",
            next_step="add their passbands to sed.passbands",
        )
    columns = [templates.bands.index(name) for name in bands]
    reference = templates.bands.index(band)
    n = len(design)
    mag = design["quasar_mag"].to_numpy(dtype=float)
    row, ln_number = _quasar_rows(templates, fit["priors"], reference, design, rng)
    made = row >= 0
    quasars = templates.classes["quasar"]
    flux, redshift = np.zeros((n, len(bands))), np.full(n, np.nan)
    if made.any():
        chosen = row[made]
        flux[made] = _scattered(
            quasars.fluxes[chosen].astype(float), columns, reference, mag[made], "quasar", fit, rng,
            templates.bands,
        )  # fmt: skip
        redshift[made] = quasars.parameters["redshift"].astype(float)[chosen]
    table = pd.DataFrame({"id": np.arange(n, dtype=np.int64), "kind": kind})
    table["kind"] = table["kind"].astype("str")
    for axis in AXES["lensed"]:
        table[axis] = design[axis].to_numpy(dtype=float) if axis in design else np.nan
    table["redshift"] = redshift
    lens = np.zeros_like(flux)
    x = y = np.zeros((n, 4))
    share = np.tile([1.0, 0.0, 0.0, 0.0], (n, 1))
    log_mass, angle = np.full(n, np.nan), np.zeros(n)
    if kind == "lensed" and n:
        lens_row, lens_redshift, ln_lenses = _lens_rows(
            templates, fit["priors"], reference, design, redshift, rng
        )
        galaxies = templates.classes["galaxy"].fluxes[lens_row].astype(float)
        lens_mag = design["lens_mag"].to_numpy(dtype=float)
        lens = _scattered(
            galaxies, columns, reference, lens_mag, "galaxy", fit, rng, templates.bands
        )
        amplitude = 10 ** (0.4 * (UJY_AB - lens_mag)) / galaxies[:, reference]
        log_mass = 10.0 + np.log10(amplitude) + _LIVING_DEX
        table["lens_redshift"] = lens_redshift
        x, y, share, angle, table["magnification"] = _configurations(design, rng)
        made &= lens_redshift < np.nan_to_num(redshift)
        ln_number = ln_number + ln_lenses
    table["ln_weight"] = ln_number
    truth = Truth(table, flux, lens, x, y, share, log_mass, angle)
    return truth.take(np.flatnonzero(made))


def _quasar_rows(
    templates: TemplateSet,
    priors: Mapping[str, Any],
    reference: int,
    design: pd.DataFrame,
    rng: np.random.Generator,
) -> tuple[Ints, Floats]:
    """Return the template of each point and ln of the number expected there, (n,) each.

    -1 where none at its redshift has light. The number is per square degree, magnitude and
    redshift, in the same unit for all points, at the brightness without magnification.
    """
    quasars = templates.classes["quasar"]
    row, number = np.full(len(design), -1, dtype=np.int64), np.full(len(design), -np.inf)
    if not len(quasars.fluxes):
        return row, number
    prior = quasar_prior(quasars, priors["quasar"])
    z = quasars.parameters["redshift"].astype(float)
    unit = quasars.fluxes[:, reference].astype(float)
    grid = np.unique(z)
    nearest = grid[np.abs(grid[None, :] - design["redshift"].to_numpy()[:, None]).argmin(axis=1)]
    ln_flux = 0.4 * np.log(10) * (UJY_AB - design["quasar_mag"].to_numpy(dtype=float))
    unlensed = ln_flux
    if "magnification" in design:
        unlensed = ln_flux - np.log(design["magnification"].to_numpy(dtype=float))
    last = prior.table.shape[1] - 1

    def ln_prior(rows: Ints, ln_light: Floats) -> Floats:
        ln_a = ln_light[:, None] - np.log(unit[rows])[None, :]
        cell = np.clip(np.rint((ln_a - LN_A_MIN) / LN_A_STEP).astype(int), 0, last)
        return np.asarray(prior.log_weight[rows] + prior.table[prior.group[rows][None, :], cell])

    for value in np.unique(nearest):
        rows = np.flatnonzero((z == value) & (unit > 0))
        points = np.flatnonzero(nearest == value)
        if not len(rows):
            continue
        row[points] = rows[_chosen(ln_prior(rows, ln_flux[points]), rng)]
        number[points] = logsumexp(ln_prior(rows, unlensed[points]), axis=1)
    return row, number


def _lens_rows(
    templates: TemplateSet,
    priors: Mapping[str, Any],
    reference: int,
    design: pd.DataFrame,
    redshift: Floats,
    rng: np.random.Generator,
) -> tuple[Ints, Floats, Floats]:
    """Return the galaxy template of each point, its redshift, and ln of its number, (n,) each.

    Of the templates of the nearest redshift one is drawn in proportion to how many deflectors there
    are of its kind (early types: 0.9) and of the mass that it has at the wanted magnitude (the SED
    stage's prior of deflectors), with images so far apart as wanted: twice the Einstein radius
    of that mass, with 0.17 dex of scatter. The number is the
    sum over the templates, up to a constant; magnifications fall as mu^-3 (a point near a fold:
    Schneider, Ehlers & Falco 1992, Gravitational Lenses). The design is even in magnitude, hence
    in log mass, in the separation and in ln mu.
    """
    section = priors["lens"]
    galaxies = templates.classes["galaxy"]
    z = galaxies.parameters["redshift"].astype(float)
    unit = galaxies.fluxes[:, reference].astype(float)
    deflects = (templates.lensed_galaxies.cell >= 0) & (unit > 0)
    dust = galaxies.parameters["av_mag"].astype(float) / float(section["av_scale_mag"])
    early = _early(galaxies.parameters)
    grid = np.unique(z[deflects])
    row = np.full(len(design), -1, dtype=np.int64)
    number = np.full(len(design), -np.inf)
    if not len(grid):
        return row, np.full(len(design), np.nan), number
    wanted_z = design["lens_redshift"].to_numpy(dtype=float)
    nearest = grid[np.abs(grid[None, :] - wanted_z[:, None]).argmin(axis=1)]
    ln_light = 0.4 * np.log(10) * (UJY_AB - design["lens_mag"].to_numpy(dtype=float))
    separation = design["separation_arcsec"].to_numpy(dtype=float)
    for value in np.unique(nearest):
        rows, points = np.flatnonzero(deflects & (z == value)), np.flatnonzero(nearest == value)
        log_mass = 10.0 + (ln_light[points, None] - np.log(unit[rows])[None, :]) / np.log(10)
        source = np.repeat(np.nan_to_num(redshift[points])[:, None], len(rows), axis=1)
        radius = einstein_radius_arcsec(
            log_mass.ravel() + _LIVING_DEX, np.full(log_mass.size, value), source.ravel(), None
        ).reshape(log_mass.shape)
        dex = np.log10(separation[points, None] / 2 / np.maximum(radius, 1e-3))
        mass = (log_mass - float(section["log_mass_mean"])) / float(section["log_mass_sigma"])
        kind = _ln_kind(early[rows], -dust[rows])
        ln_weight = -0.5 * mass**2 - 0.5 * (dex / _SEPARATION_DEX) ** 2 + kind[None, :]
        row[points] = rows[_chosen(ln_weight, rng)]
        number[points] = logsumexp(ln_weight, axis=1)
    offset = (nearest - float(section["redshift_mean"])) / float(section["redshift_sigma"])
    ln_magnification = np.log(design["magnification"].to_numpy(dtype=float))
    number += -0.5 * offset**2 - np.log(separation) - 2 * ln_magnification
    return row, nearest, number


def _early(parameters: Mapping[str, NDArray[Any]]) -> NDArray[np.bool_]:
    """Say which galaxy templates are early types: old, and done with forming stars (assumed)."""
    age, tau = (parameters[name].astype(float) for name in ("age_gyr", "tau_gyr"))
    return np.asarray((age >= _EARLY_AGE_GYR) & (age >= _EARLY_AGE_TAU * tau))


def _ln_kind(early: NDArray[np.bool_], ln_share: Floats) -> Floats:
    """Return ln of the share of each template, early types together having theirs, (m,)."""
    if early.all() or not early.any():
        return np.asarray(ln_share - logsumexp(ln_share))
    result = np.empty(len(early))
    for one, share in ((early, _EARLY_SHARE), (~early, 1 - _EARLY_SHARE)):
        result[one] = np.log(share) + ln_share[one] - logsumexp(ln_share[one])
    return result


def _chosen(ln_weight: Floats, rng: np.random.Generator) -> Ints:
    """Draw a column of each row, in proportion to exp(ln_weight), (n, m)."""
    gumbel = rng.gumbel(size=ln_weight.shape)
    return np.asarray((ln_weight + gumbel).argmax(axis=1), dtype=np.int64)


def model_error(fit: Mapping[str, Any], name: str, bands: Sequence[str]) -> Floats:
    """Return what templates of a class may be wrong by, as a share of flux, (band,).

    That is ``sed.fit.model_error``.
    """
    table = fit["model_error"][name]
    return np.array([float(table.get(band, table["default"])) for band in bands])


def _scattered(
    unit: Floats,
    columns: list[int],
    reference: int,
    mag: Floats,
    name: str,
    fit: Mapping[str, Any],
    rng: np.random.Generator,
    names: Sequence[str],
) -> Floats:
    """Return fluxes [uJy] that scatter about templates, of the wanted magnitude.

    Quasars as the fits allow, until the known ones tell more; galaxies, whose templates are many,
    as the surveys differ.

    The magnitude stays exact: the scatter of its own band goes into all others.
    """
    ln_scatter = np.zeros(unit.shape)
    if name == "quasar":
        ln_scatter = rng.normal(0.0, 1.0, unit.shape) * model_error(fit, name, names)
    section = fit["survey_error"]
    for group in section["groups"].values():
        member = np.array([band in group for band in names], dtype=float)
        ln_scatter += rng.normal(0.0, float(section[name]), (len(unit), 1)) * member
    flux = unit * np.exp(ln_scatter)
    factor = 10 ** (0.4 * (UJY_AB - mag)) / flux[:, reference]
    return np.asarray(flux[:, columns] * factor[:, None])


@lru_cache(maxsize=1)
def _library() -> tuple[Floats, Floats, Floats, Floats, Floats]:
    """Return images of sources anywhere behind lenses of Einstein radius 1, of several images.

    Places and magnifications (m, 4), by rising total magnification; that and shear angles and
    largest separations (m,). Always the same.
    """
    rng = np.random.default_rng(6_054)
    radius, azimuth = 1.1 * np.sqrt(rng.random(_LIBRARY)), rng.uniform(0, 2 * np.pi, _LIBRARY)
    shear = np.clip(rng.rayleigh(0.09, _LIBRARY), 0.01, 0.3)
    angle = rng.uniform(0, np.pi, _LIBRARY)
    x, y, magnification = find_images(
        np.ones(_LIBRARY), shear, angle, radius * np.cos(azimuth), radius * np.sin(azimuth)
    )
    real = magnification > 0
    distance = np.hypot(x[:, :, None] - x[:, None, :], y[:, :, None] - y[:, None, :])
    distance[~(real[:, :, None] & real[:, None, :])] = 0.0
    several = np.flatnonzero(real[:, 1])
    several = several[np.argsort(magnification[several].sum(axis=1), kind="stable")]
    separation = distance.max(axis=(1, 2))
    return x[several], y[several], magnification[several], angle[several], separation[several]


def _configurations(
    design: pd.DataFrame, rng: np.random.Generator
) -> tuple[Floats, Floats, Floats, Floats, Floats]:
    """Return places [arcsec], shares, shear angles and magnifications of the images."""
    x, y, magnification, angle, separation = _library()
    total = magnification.sum(axis=1)
    place = np.searchsorted(total, design["magnification"].to_numpy(dtype=float))
    low = np.clip(place - _NEAREST // 2, 0, max(len(total) - _NEAREST, 0))
    chosen = np.minimum(low + rng.integers(_NEAREST, size=len(design)), len(total) - 1)
    scale = design["separation_arcsec"].to_numpy(dtype=float) / separation[chosen]
    # Turned as a whole: the library's lenses are few.
    turn = rng.uniform(0, 2 * np.pi, len(design))
    cosine, sine = (np.cos(turn) * scale)[:, None], (np.sin(turn) * scale)[:, None]
    share = magnification[chosen] * np.exp(rng.normal(0.0, _FLICKER, (len(design), 4)))
    share /= share.sum(axis=1, keepdims=True)
    return (
        x[chosen] * cosine - y[chosen] * sine,
        x[chosen] * sine + y[chosen] * cosine,
        share,
        angle[chosen] + turn,
        total[chosen],
    )
