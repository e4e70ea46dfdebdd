"""Images of the synthetic sky: painted on demand, the same pixel always the same.

A cutout is the sum of the catalogued components of a `Sky`, of faint neighbours that a
survey would see around them, of what spoils images, and of correlated noise. Every part is
a function of the seed, the survey tile, the band and the pixel, never of the request: two
cutouts that share pixels agree in them. Overlapping survey tiles have noise and
seeing of their own. (Real neighbours share exposures, so their noise is alike in part; here
it is not.)

Pixel values are counts with a zero point of 30 mag (AB), as in DES coadds.

``python -m archipelago.demosky.images calibrate`` compares noise and sources with real fields;
the outcome and the sources of the numbers are in docs/demo_sky_images.md.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation
from scipy.optimize import fsolve, nnls
from scipy.spatial import cKDTree
from scipy.special import gamma, gammaincinv

from archipelago.base.errors import ArchipelagoError, InputError
from archipelago.demosky.sky import IMAGE_BANDS, Sky, build_sky
from archipelago.demosky.survey_tiles import (
    PIXEL_SCALE_ARCSEC,
    SurveyTile,
    SurveyTiles,
)

Floats = NDArray[np.float64]
Plane = Literal["image", "mask", "weight"]

#: AB magnitude of one count.
ZERO_POINT_AB = 30.0
#: Counts of one microjansky: 23.9 is the AB magnitude of 1 uJy.
COUNTS_PER_UJY = 10.0 ** ((ZERO_POINT_AB - 23.9) / 2.5)

#: Median FWHM of the PSF (arcsec), DES DR2 [Abbott et al. 2021, ApJS 255, 20, abstract].
SEEING_ARCSEC = {"g": 1.11, "r": 0.95, "i": 0.88, "z": 0.83, "Y": 0.90}
#: Scatter of ln FWHM from tile to tile.
SEEING_SCATTER = 0.07
#: Exponent of the Moffat profile: the middle of those fitted to stars of the real fields.
MOFFAT_BETA = 3.0

#: Noise per pixel (counts) of the real fields, median, and scatter of its logarithm.
NOISE_COUNTS = {"g": 2.6, "r": 3.8, "i": 6.1, "z": 11.3, "Y": 38.0}
NOISE_SCATTER = {"g": 0.13, "r": 0.10, "i": 0.15, "z": 0.17, "Y": 0.18}
#: Correlation of the noise at 1, 2 and 3 px along an axis, measured in the real fields. Signs
#: alternate as they do after the resampling of coadds with a Lanczos kernel.
NOISE_CORRELATION = {
    "g": (0.125, -0.067, 0.034),
    "r": (0.125, -0.060, 0.034),
    "i": (0.120, -0.060, 0.040),
    "z": (0.128, -0.070, 0.040),
    "Y": (0.104, -0.062, 0.031),
}
#: Electrons per count of the whole stack: such that a dark sky (assumed: 22.0, 21.1,
#: 20.0, 19.0 and 17.9 mag per square arcsec) gives the noise above. Adds the sources' own noise.
ELECTRONS_PER_COUNT = {"g": 18.0, "r": 18.0, "i": 18.0, "z": 18.0, "Y": 3.5}
#: Counts per pixel where a detector is full: a little above the brightest pixels of the real
#: fields (11,000 to 21,000, Y 46,000); stars of about 16 mag reach it.
SATURATION_COUNTS = {"g": 2e4, "r": 2e4, "i": 2e4, "z": 2e4, "Y": 6e4}

#: Bits of the mask plane, numbered as in DES [Morganson et al. 2018, PASP 130, 074501].
MASK_BAD_COLUMN, MASK_SATURATED, MASK_BLEED, MASK_STREAK = 1, 2, 64, 1024

#: Faint neighbours: galaxies per square arcmin and mag at i = 22, and slope of log10 counts.
GALAXIES_AT_I22 = 7.4
COUNTS_SLOPE = 0.28
#: Stars per square arcmin and mag.
STARS_PER_MAG = 0.6
NEIGHBOUR_I_RANGE = (18.0, 25.5)
#: No neighbour lies so near (arcsec) to a catalogued component: it would be part of its entry.
NEIGHBOUR_KEPT_OFF_ARCSEC = 1.5

_ARCMIN_PER_CELL = 1.0
_NOISE_BLOCK_PX = 32
_STREAK_HALF_LENGTH_PX = 120
_BLEED_MAX_PX = 150
_HALO_RADIUS_PX = 250
_HALO_SHARE = 0.03
#: A profile is drawn out to where it falls below this share of the noise.
_DRAWN_TO_NOISE = 0.02
_WIDEST_SEEING_ARCSEC = 1.5
_NARROW_REACH_PX = 30.0
_NEIGHBOUR_REACH_PX = 40.0
#: The corner of a square lies so much further than its side, and a little for rounding.
_CORNER = 1.45

# The Moffat profile of beta = 3 as three Gaussians (sigma in FWHM, weight): 0.7 % at worst in
# the core. A galaxy is blurred with these, as Gaussians convolve exactly; points
# are drawn with the Moffat profile itself.
_MOFFAT_SIGMAS = (0.3343, 0.5498, 1.0807)
_MOFFAT_WEIGHTS = (0.2347, 0.5676, 0.1977)


def _key(*parts: object) -> NDArray[np.uint64]:
    """Return a 128-bit key that depends on all parts, the same on every machine."""
    text = "\x1f".join(str(part) for part in parts)
    digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
    return np.frombuffer(digest, dtype="<u8").astype(np.uint64)


def _generator(key: NDArray[np.uint64], *place: int) -> np.random.Generator:
    """Return a counter-based generator [Salmon et al. 2011] for one place in the plane."""
    counter = np.zeros(4, dtype=np.uint64)
    for k, value in enumerate(place):
        counter[k + 1] = np.uint64(value)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))


@lru_cache(maxsize=64)
def _noise_kernel(band: str) -> tuple[float, ...]:
    """Return 7 symmetric taps of unit power whose autocorrelation is `NOISE_CORRELATION`."""
    target = np.array(NOISE_CORRELATION[band])

    def miss(p: Floats) -> Floats:
        taps = np.array([p[2], p[1], p[0], 1.0, p[0], p[1], p[2]])
        full = np.correlate(taps, taps, "full")[6:]
        return np.asarray(full[1:4] / full[0] - target)

    a, b, c = fsolve(miss, [target[0] / 2, target[1] / 2, target[2] / 2])
    taps = np.array([c, b, a, 1.0, a, b, c])
    return tuple((taps / math.sqrt(float(np.sum(taps**2)))).tolist())


@lru_cache(maxsize=64)
def _sersic_gaussians(n_quarters: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return sigmas (half-light radii) and weights of Gaussians that add to a Sersic profile.

    After Hogg & Lang (2013, PASP 125, 719); ``n_quarters`` is four times the Sersic index.
    The fit is weighted by the light in rings; the weights add to 1.
    """
    n = n_quarters / 4.0
    b = float(gammaincinv(2 * n, 0.5))
    radius = np.geomspace(0.02, 8.0, 300)
    ring = 2 * np.pi * radius**2
    light = np.exp(-b * radius ** (1 / n)) * b ** (2 * n) / (2 * np.pi * n * gamma(2 * n)) * ring
    sigmas = np.geomspace(0.08, 3.5 if n > 1.5 else 1.6, 7)
    design = np.exp(-0.5 * (radius[:, None] / sigmas) ** 2) / (2 * np.pi * sigmas**2)
    weights, _ = nnls(design * ring[:, None], light)
    used = weights > 0.01 * weights.sum()
    weights = weights[used] / weights[used].sum()
    return tuple(sigmas[used].tolist()), tuple(weights.tolist())


def _moffat_alpha_px(fwhm_arcsec: float) -> float:
    return fwhm_arcsec / PIXEL_SCALE_ARCSEC / (2.0 * math.sqrt(2.0 ** (1.0 / MOFFAT_BETA) - 1.0))


def _reach_px(counts: Floats, fwhm_arcsec: float, floor_counts: float) -> Floats:
    """Return the radius (px) at which a point of ``counts`` falls to ``floor_counts`` per px."""
    alpha = _moffat_alpha_px(fwhm_arcsec)
    peak = np.maximum(counts, 0.0) * (MOFFAT_BETA - 1.0) / (np.pi * alpha**2)
    ratio = np.maximum(peak / floor_counts, 1.0) ** (1.0 / MOFFAT_BETA)
    return np.asarray(np.maximum(alpha * np.sqrt(ratio - 1.0), 4.0))


@dataclass(frozen=True)
class _Sources:
    """What is painted: arrays of one length n; ``counts`` is (n, 5), bands as IMAGE_BANDS."""

    ra_deg: Floats
    dec_deg: Floats
    counts: Floats
    is_point: NDArray[np.bool_]
    r_eff_px: Floats
    sersic_n: Floats
    axis_ratio: Floats
    position_angle_deg: Floats

    def __len__(self) -> int:
        return len(self.ra_deg)

    def extent_px(self) -> Floats:
        """Return how far galaxies stretch beyond a point's profile (px)."""
        stretch = np.where(self.sersic_n > 2.0, 5.0, 3.0) * self.r_eff_px
        return np.where(self.is_point, 0.0, stretch)


def _catalogued_sources(components: pd.DataFrame) -> _Sources:
    point = (components["profile"] == "point").to_numpy(bool)

    def column(name: str, for_points: float) -> Floats:
        values = components[name].to_numpy(np.float64)
        return np.where(point, for_points, values)

    fluxes = components[[f"flux_ujy_{band}" for band in IMAGE_BANDS]].to_numpy(np.float64)
    return _Sources(
        ra_deg=components["ra_deg"].to_numpy(np.float64),
        dec_deg=components["dec_deg"].to_numpy(np.float64),
        counts=fluxes * COUNTS_PER_UJY,
        is_point=point,
        r_eff_px=column("r_eff_arcsec", 0.0) / PIXEL_SCALE_ARCSEC,
        sersic_n=column("sersic_n", 1.0),
        axis_ratio=np.maximum(column("axis_ratio", 1.0), 0.05),
        position_angle_deg=column("position_angle_deg", 0.0),
    )


def _unit_vectors(ra_deg: Floats, dec_deg: Floats) -> Floats:
    ra, dec = np.radians(ra_deg), np.radians(dec_deg)
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=-1)


def _chord(px: float) -> float:
    return 2.0 * math.sin(math.radians(px * PIXEL_SCALE_ARCSEC / 3600.0) / 2.0)


@dataclass(frozen=True)
class _Window:
    """The pixels asked for: first x and y, width and height (px), within a tile."""

    x0: int
    y0: int
    width: int
    height: int


class Painter:
    """Paints cutouts of a sky.

    Parameters
    ----------
    sky : the sky.
    tiles : the survey's tiles; those of the sky's objects if not given.
    neighbours : paint faint neighbours too.
    noise : add noise.
    """

    def __init__(
        self,
        sky: Sky,
        tiles: SurveyTiles | None = None,
        *,
        neighbours: bool = True,
        noise: bool = True,
    ) -> None:
        self.seed = sky.seed
        self.tiles = survey_of(sky) if tiles is None else tiles
        self._with_neighbours = neighbours
        self._with_noise = noise
        self._sources = _catalogued_sources(sky.components)
        self._tree = _tree(self._sources.ra_deg, self._sources.dec_deg)
        reach = self._sources.extent_px() + np.max(
            [
                _reach_px(
                    self._sources.counts[:, k],
                    _WIDEST_SEEING_ARCSEC,
                    _DRAWN_TO_NOISE * NOISE_COUNTS[band],
                )
                for k, band in enumerate(IMAGE_BANDS)
            ],
            axis=0,
            initial=0.0,
        )
        # Few sources are bright: looking for the faint ones in a small circle saves time.
        self._wide = np.flatnonzero(reach > _NARROW_REACH_PX)
        self._wide_tree = _tree(self._sources.ra_deg[self._wide], self._sources.dec_deg[self._wide])
        self._widest = float(reach.max(initial=0.0))
        self._artefacts = sky.artefacts.reset_index(drop=True)
        self._artefact_tree = _tree(
            self._artefacts["ra_deg"].to_numpy(np.float64),
            self._artefacts["dec_deg"].to_numpy(np.float64),
        )
        self._cells: dict[tuple[int, int], _Sources] = {}
        self._neighbour_key = _key(self.seed, "neighbours")
        self._settings: dict[tuple[str, str], tuple[float, float, NDArray[np.uint64]]] = {}

    def seeing_arcsec(self, tile: SurveyTile, band: str) -> float:
        """Return the FWHM of the PSF (arcsec) of a tile in a band."""
        return self._tile_settings(tile, band)[0]

    def noise_counts(self, tile: SurveyTile, band: str) -> float:
        """Return the standard deviation of the empty sky (counts per px) of a tile in a band."""
        return self._tile_settings(tile, band)[1]

    def cutout(
        self,
        tile: SurveyTile,
        band: str,
        x0: int,
        y0: int,
        width: int,
        height: int,
        *,
        plane: Plane = "image",
        sky_left_in: bool = False,
    ) -> NDArray[np.float32] | NDArray[np.int32]:
        """Return the pixels (y, x) of a rectangle of a tile.

        Parameters
        ----------
        tile, band : which image; band is one of g r i z Y, or "det" for the detection image, the
            mean of r, i and z weighted by their noise.
        x0, y0, width, height : the rectangle (px from 0); may reach beyond the tile.
        plane : the image (counts, float32), its mask (bits, int32) or its weight (1/variance of
            the empty sky, float32).
        sky_left_in : the variant whose background was not subtracted ("_nobkg").

        Raises
        ------
        InputError
            If no pixel of the rectangle lies within the tile.
        """
        first_x, last_x = max(x0, tile.x_range[0]), min(x0 + width, tile.x_range[1])
        first_y, last_y = max(y0, tile.y_range[0]), min(y0 + height, tile.y_range[1])
        if first_x >= last_x or first_y >= last_y:
            raise InputError(
                "the cutout lies beyond the tile",
                where=f"{tile.name} x {x0}+{width} y {y0}+{height}",
                next_step="ask for a tile that holds the position",
            )
        window = _Window(first_x, first_y, last_x - first_x, last_y - first_y)
        if plane == "mask":
            return self._mask(tile, band, window)
        if plane == "weight":
            value = self._weight(tile, band)
            return np.full((window.height, window.width), value, dtype=np.float32)
        if band == "det":
            weights = [self._weight(tile, part) for part in "riz"]
            parts = [
                weight * self._image(tile, part, window)
                for weight, part in zip(weights, "riz", strict=True)
            ]
            return ((parts[0] + parts[1] + parts[2]) / sum(weights)).astype(np.float32)
        image = self._image(tile, band, window)
        if sky_left_in:
            image = image + self._background(tile, band, window)
        return image.astype(np.float32)

    def _weight(self, tile: SurveyTile, band: str) -> float:
        if band == "det":
            return sum(self._weight(tile, part) for part in "riz")
        return 1.0 / self.noise_counts(tile, band) ** 2

    def _tile_settings(
        self, tile: SurveyTile, band: str
    ) -> tuple[float, float, NDArray[np.uint64]]:
        place = (tile.name, band)
        if place not in self._settings:
            key = _key(self.seed, "tile", tile.name, band)
            a, b = np.clip(_generator(key, 1).standard_normal(2), -2.5, 2.5).tolist()
            self._settings[place] = (
                SEEING_ARCSEC[band] * math.exp(SEEING_SCATTER * a),
                NOISE_COUNTS[band] * math.exp(NOISE_SCATTER[band] * b),
                key,
            )
        return self._settings[place]

    def _image(self, tile: SurveyTile, band: str, window: _Window) -> Floats:
        fwhm, sigma, key = self._tile_settings(tile, band)
        floor = _DRAWN_TO_NOISE * NOISE_COUNTS[band]
        image = np.zeros((window.height, window.width))
        for sources, chosen in self._near(tile, window):
            limit = np.inf if sources is self._sources else _NEIGHBOUR_REACH_PX
            _paint(image, window, tile, band, sources, chosen, fwhm, floor, limit)
        artefacts = self._artefacts_near(tile, window, band)
        for artefact in artefacts:
            artefact.add_light(image, window, fwhm)
        if self._with_noise:
            variance = sigma**2 + np.maximum(image, 0.0) / ELECTRONS_PER_COUNT[band]
            image = image + np.sqrt(variance) * _noise(key, band, window)
        for artefact in artefacts:
            artefact.damage(image, window)
        return image

    def _mask(self, tile: SurveyTile, band: str, window: _Window) -> NDArray[np.int32]:
        mask = np.zeros((window.height, window.width), dtype=np.int32)
        for part in "riz" if band == "det" else (band,):
            image = np.zeros(mask.shape)
            fwhm = self.seeing_arcsec(tile, part)
            for artefact in self._artefacts_near(tile, window, part):
                artefact.add_light(image, window, fwhm)
                artefact.flag(mask, window)
            mask[image >= SATURATION_COUNTS[part]] |= MASK_SATURATED
        return mask

    def _background(self, tile: SurveyTile, band: str, window: _Window) -> Floats:
        """Return what the background subtraction had removed: a slow wave, a few sigma high."""
        _, sigma, key = self._tile_settings(tile, band)
        phase_x, phase_y = (_generator(key, 2).random(2) * 2.0 * np.pi).tolist()
        x = np.arange(window.x0, window.x0 + window.width)
        y = np.arange(window.y0, window.y0 + window.height)
        wave = np.sin(x / 1500.0 + phase_x)[None, :] * np.cos(y / 1500.0 + phase_y)[:, None]
        return np.asarray(sigma * (3.0 + wave))

    def _near(self, tile: SurveyTile, window: _Window) -> list[tuple[_Sources, NDArray[np.int64]]]:
        """Return the sources that may reach into a window: tables, and rows of each, in order."""
        centre_x = window.x0 + (window.width - 1) / 2.0
        centre_y = window.y0 + (window.height - 1) / 2.0
        ra, dec = tile.sky_of(centre_x, centre_y)
        centre = _unit_vectors(ra, dec)
        half = math.hypot(window.width, window.height) / 2.0
        rows = self._tree.query_ball_point(centre, _chord(half + _NARROW_REACH_PX * _CORNER))
        wide = self._wide_tree.query_ball_point(centre, _chord(half + self._widest * _CORNER))
        chosen = np.union1d(np.asarray(rows, np.int64), self._wide[np.asarray(wide, np.int64)])
        found = [(self._sources, chosen)]
        if self._with_neighbours:
            for cell in _cells_around(float(ra), float(dec), half + _NEIGHBOUR_REACH_PX * _CORNER):
                sources = self._neighbours(cell)
                found.append((sources, np.arange(len(sources))))
        return found

    def _neighbours(self, cell: tuple[int, int]) -> _Sources:
        """Return the faint neighbours of a cell of the sky; kept once drawn."""
        sources = self._cells.get(cell)
        if sources is None:
            sources = _draw_neighbours(_generator(self._neighbour_key, *cell), cell, self._tree)
            if len(self._cells) > 20_000:
                self._cells.clear()
            self._cells[cell] = sources
        return sources

    def _artefacts_near(
        self, tile: SurveyTile, window: _Window, band: str
    ) -> list[_PaintedArtefact]:
        if self._artefacts.empty:
            return []
        ra, dec = tile.sky_of(
            window.x0 + (window.width - 1) / 2.0, window.y0 + (window.height - 1) / 2.0
        )
        half = math.hypot(window.width, window.height) / 2.0
        rows = self._artefact_tree.query_ball_point(
            _unit_vectors(ra, dec), _chord(half + _HALO_RADIUS_PX)
        )
        painted = []
        for row in sorted(rows):
            record = self._artefacts.iloc[row]
            if band in record["bands"]:
                x, y = tile.pixel_of(record["ra_deg"], record["dec_deg"])
                painted.append(_PaintedArtefact.of(record, band, float(x), float(y)))
        return painted


def survey_of(sky: Sky) -> SurveyTiles:
    """Return the survey tiles of a sky: those of its objects, some cut short at its end."""
    return SurveyTiles.of_positions(
        sky.truth["ra_deg"].to_numpy(np.float64),
        sky.truth["dec_deg"].to_numpy(np.float64),
        wanted=sky.truth["survives_allwise"].to_numpy(bool),
    )


def _tree(ra_deg: Floats, dec_deg: Floats) -> cKDTree:
    return cKDTree(_unit_vectors(np.asarray(ra_deg), np.asarray(dec_deg)).reshape(-1, 3))


# --- painting -----------------------------------------------------------------------------


def _paint(
    image: Floats,
    window: _Window,
    tile: SurveyTile,
    band: str,
    sources: _Sources,
    chosen: NDArray[np.int64],
    fwhm_arcsec: float,
    floor_counts: float,
    reach_limit_px: float,
) -> None:
    """Add the chosen sources to an image (y, x), each on its own square of pixels."""
    if chosen.size == 0:
        return
    counts = sources.counts[chosen, IMAGE_BANDS.index(band)]
    x, y = tile.pixel_of(sources.ra_deg[chosen], sources.dec_deg[chosen])
    reach = _reach_px(counts, fwhm_arcsec, floor_counts) + sources.extent_px()[chosen]
    reach = np.minimum(reach, reach_limit_px)
    # The square is fixed by the source alone, so that no pixel depends on the window.
    left = np.maximum(np.floor(x - reach).astype(np.int64) - window.x0, 0)
    right = np.minimum(np.ceil(x + reach).astype(np.int64) + 1 - window.x0, window.width)
    low = np.maximum(np.floor(y - reach).astype(np.int64) - window.y0, 0)
    high = np.minimum(np.ceil(y + reach).astype(np.int64) + 1 - window.y0, window.height)
    alpha = _moffat_alpha_px(fwhm_arcsec)
    seen = (left < right) & (low < high) & (counts > 0)
    for k in np.flatnonzero(seen):
        dx = np.arange(window.x0 + left[k], window.x0 + right[k]) - x[k]
        dy = np.arange(window.y0 + low[k], window.y0 + high[k]) - y[k]
        row = chosen[k]
        if sources.is_point[row]:
            stamp: NDArray[np.floating] = _moffat(dx, dy, float(counts[k]), alpha)
        else:
            stamp = _sersic(dx, dy, float(counts[k]), fwhm_arcsec, sources, int(row))
        image[low[k] : high[k], left[k] : right[k]] += stamp


def _moffat(
    dx: NDArray[np.floating], dy: NDArray[np.floating], counts: float, alpha_px: float
) -> Floats:
    """Return a Moffat profile of beta = 3 (y, x), of ``counts`` in all."""
    base = (1.0 + (dx / alpha_px) ** 2)[None, :] + ((dy / alpha_px) ** 2)[:, None]
    peak = counts * (MOFFAT_BETA - 1.0) / (np.pi * alpha_px**2)
    return np.asarray(peak / (base * base * base))


def _sersic(
    dx: Floats, dy: Floats, counts: float, fwhm_arcsec: float, sources: _Sources, row: int
) -> NDArray[np.float32]:
    """Return a Sersic profile blurred by the PSF (y, x), of ``counts`` in all."""
    quarters = int(np.clip(round(4.0 * float(sources.sersic_n[row])), 2, 24))
    sigmas, weights = _sersic_gaussians(quarters)
    radius = float(sources.r_eff_px[row])
    angle = math.radians(float(sources.position_angle_deg[row]))
    # North is +y and east is -x.
    ux, uy = -math.sin(angle), math.cos(angle)
    q2 = float(sources.axis_ratio[row]) ** 2
    major = np.repeat((np.array(sigmas) * radius) ** 2, len(_MOFFAT_SIGMAS))
    psf = np.tile((np.array(_MOFFAT_SIGMAS) * fwhm_arcsec / PIXEL_SCALE_ARCSEC) ** 2, len(sigmas))
    xx = major * (ux * ux + q2 * uy * uy) + psf
    yy = major * (uy * uy + q2 * ux * ux) + psf
    xy = major * (1.0 - q2) * ux * uy
    determinant = xx * yy - xy * xy
    height = (
        counts * np.outer(weights, _MOFFAT_WEIGHTS).ravel() / (2.0 * np.pi * np.sqrt(determinant))
    )
    a = (-0.5 * yy / determinant).astype(np.float32)[:, None, None]
    b = (xy / determinant).astype(np.float32)[:, None, None]
    c = (-0.5 * xx / determinant).astype(np.float32)[:, None, None]
    east, north = dx.astype(np.float32)[None, None, :], dy.astype(np.float32)[None, :, None]
    power = a * (east * east) + (b * east) * north
    power += c * (north * north)
    np.exp(power, out=power)
    power *= height.astype(np.float32)[:, None, None]
    return np.asarray(power.sum(axis=0))


def _noise(key: NDArray[np.uint64], band: str, window: _Window) -> Floats:
    """Return correlated noise (y, x) of unit variance.

    White noise is drawn in blocks of the tile, each from a counter of its own, and smoothed
    along both axes.
    """
    taps = _noise_kernel(band)
    margin = len(taps) // 2
    offset = _NOISE_BLOCK_PX  # keeps block numbers positive at the tile's edge
    x0, y0 = window.x0 - margin + offset, window.y0 - margin + offset
    width, height = window.width + 2 * margin, window.height + 2 * margin
    columns = range(x0 // _NOISE_BLOCK_PX, (x0 + width - 1) // _NOISE_BLOCK_PX + 1)
    rows = range(y0 // _NOISE_BLOCK_PX, (y0 + height - 1) // _NOISE_BLOCK_PX + 1)
    size = (_NOISE_BLOCK_PX, _NOISE_BLOCK_PX)
    white = np.block(
        [
            [
                _generator(key, 3, row, column).standard_normal(size, dtype=np.float32)
                for column in columns
            ]
            for row in rows
        ]
    )
    left, low = x0 - columns[0] * _NOISE_BLOCK_PX, y0 - rows[0] * _NOISE_BLOCK_PX
    white = white[low : low + height, left : left + width].astype(np.float64)
    along_x = np.zeros((height, window.width))
    for k, tap in enumerate(taps):
        along_x += tap * white[:, k : k + window.width]
    smooth = np.zeros((window.height, window.width))
    for k, tap in enumerate(taps):
        smooth += tap * along_x[k : k + window.height]
    return smooth


# --- what spoils images -------------------------------------------------------------------


@dataclass(frozen=True)
class _PaintedArtefact:
    """An artefact at its place on a tile, in counts."""

    kind: str
    x: float
    y: float
    level: float
    width_px: float
    offset_px: float
    angle_deg: float
    saturation: float

    @classmethod
    def of(cls, record: pd.Series, band: str, x: float, y: float) -> _PaintedArtefact:
        def number(name: str) -> float:
            value = float(record[name])
            return value if math.isfinite(value) else 0.0

        return cls(
            kind=str(record["kind"]),
            x=x,
            y=y,
            level=number("level_ujy") * COUNTS_PER_UJY,
            width_px=max(number("width_px"), 1.0),
            offset_px=number("offset_px"),
            angle_deg=number("angle_deg"),
            saturation=SATURATION_COUNTS[band],
        )

    def _axes(self, window: _Window) -> tuple[Floats, Floats]:
        """Return distance across and along the line (px) of each pixel (y, x)."""
        dx = np.arange(window.x0, window.x0 + window.width)[None, :] - self.x
        dy = np.arange(window.y0, window.y0 + window.height)[:, None] - self.y
        angle = math.radians(self.angle_deg)
        ux, uy = -math.sin(angle), math.cos(angle)
        return dx * uy - dy * ux - self.offset_px, dx * ux + dy * uy

    def add_light(self, image: Floats, window: _Window, fwhm_arcsec: float) -> None:
        """Add light that fell on the detector: a star with its halo, or a satellite's trail."""
        if self.kind == "saturated":
            dx = np.arange(window.x0, window.x0 + window.width) - self.x
            dy = np.arange(window.y0, window.y0 + window.height) - self.y
            image += _moffat(
                dx, dy, self.level * (1.0 - _HALO_SHARE), _moffat_alpha_px(fwhm_arcsec)
            )
            r2 = dx[None, :] ** 2 + dy[:, None] ** 2
            # Aureole falling as r^-2 [King 1971, PASP 83, 199], ended at a fixed radius.
            halo = self.level * _HALO_SHARE / (np.pi * math.log1p(_HALO_RADIUS_PX**2 / 25.0))
            image += np.where(r2 < _HALO_RADIUS_PX**2, halo / (25.0 + r2), 0.0)
        elif self.kind == "trail":
            across, along = self._axes(window)
            profile = np.exp(-0.5 * (across / (self.width_px / 2.355)) ** 2)
            image += np.where(np.abs(along) < _STREAK_HALF_LENGTH_PX, self.level * profile, 0.0)

    def damage(self, image: Floats, window: _Window) -> None:
        """Do what the detector does: full wells, charge bled along columns, bad columns."""
        if self.kind == "saturated":
            image[self._bleeds(window)] = self.saturation
            np.minimum(image, self.saturation, out=image)
        elif self.kind == "bad column":
            image[self._on_line(window)] += self.level

    def flag(self, mask: NDArray[np.int32], window: _Window) -> None:
        """Set the bits of the mask plane."""
        if self.kind == "saturated":
            mask[self._bleeds(window)] |= MASK_BLEED
        elif self.kind == "bad column":
            mask[self._on_line(window)] |= MASK_BAD_COLUMN
        elif self.kind == "trail":
            across, along = self._axes(window)
            near = (np.abs(across) < self.width_px) & (np.abs(along) < _STREAK_HALF_LENGTH_PX)
            mask[near] |= MASK_STREAK

    def _on_line(self, window: _Window) -> NDArray[np.bool_]:
        across, along = self._axes(window)
        return (np.abs(across) <= self.width_px / 2.0) & (np.abs(along) < _STREAK_HALF_LENGTH_PX)

    def _bleeds(self, window: _Window) -> NDArray[np.bool_]:
        # The charge of the star beyond one full well per pixel of the column, half each way.
        length = min(_BLEED_MAX_PX, 0.5 * self.level / (self.saturation * self.width_px))
        across, along = self._axes(window)
        return (np.abs(across) <= self.width_px / 2.0) & (np.abs(along) < length)


# --- faint neighbours ---------------------------------------------------------------------


def _cell_row(dec_deg: float) -> int:
    return math.floor((dec_deg + 90.0) * 60.0 / _ARCMIN_PER_CELL)


def _cells_in_row(row: int) -> int:
    middle = math.radians((row + 0.5) * _ARCMIN_PER_CELL / 60.0 - 90.0)
    return max(1, math.floor(360.0 * 60.0 / _ARCMIN_PER_CELL * math.cos(middle)))


def _cells_around(ra_deg: float, dec_deg: float, radius_px: float) -> list[tuple[int, int]]:
    """Return the cells (row in Dec, column in RA), about 1 arcmin wide, around a position."""
    radius = radius_px * PIXEL_SCALE_ARCSEC / 3600.0
    cells: list[tuple[int, int]] = []
    last_row = round(180.0 * 60.0 / _ARCMIN_PER_CELL) - 1
    first = max(_cell_row(dec_deg - radius), 0)
    for row in range(first, min(_cell_row(dec_deg + radius), last_row) + 1):
        count = _cells_in_row(row)
        edge = min(abs(dec_deg) + radius, 89.99)
        half = min(radius / math.cos(math.radians(edge)), 180.0)
        low = math.floor((ra_deg - half) * count / 360.0)
        high = math.floor((ra_deg + half) * count / 360.0)
        cells.extend((row, column) for column in sorted({k % count for k in range(low, high + 1)}))
    return cells


def _draw_neighbours(
    rng: np.random.Generator, cell: tuple[int, int], catalogued: cKDTree
) -> _Sources:
    """Draw the unrelated galaxies and stars of a cell.

    Their number counts, colours and sizes are set to those of the real fields (see
    docs/demo_sky_images.md).
    """
    row, column = cell
    south = row * _ARCMIN_PER_CELL / 60.0 - 90.0
    north = south + _ARCMIN_PER_CELL / 60.0
    width = 360.0 / _cells_in_row(row)
    sin_south, sin_north = math.sin(math.radians(south)), math.sin(math.radians(north))
    area_arcmin2 = width * math.degrees(sin_north - sin_south) * 3600.0
    low, high = NEIGHBOUR_I_RANGE
    slope = COUNTS_SLOPE * math.log(10.0)
    rise_low, rise_high = math.exp(slope * (low - 22.0)), math.exp(slope * (high - 22.0))
    n_galaxies = rng.poisson(area_arcmin2 * GALAXIES_AT_I22 * (rise_high - rise_low) / slope)
    n_stars = rng.poisson(area_arcmin2 * STARS_PER_MAG * (high - low))
    n = n_galaxies + n_stars
    is_point = np.arange(n) >= n_galaxies
    draw = rng.random((6, n))
    normal = rng.standard_normal((6, n))
    mag_i = np.where(
        is_point,
        low + draw[0] * (high - low),
        22.0 + np.log(rise_low + draw[0] * (rise_high - rise_low)) / slope,
    )
    # One number per object makes it red or blue in all colours; each colour scatters besides.
    tint = normal[0] - 0.15 * (mag_i - 22.0)
    g_r = np.where(is_point, 0.95 + 0.4 * normal[0], 1.05 + 0.3 * tint + 0.15 * normal[1])
    r_i = np.where(is_point, 0.55 + 0.4 * normal[0], 0.48 + 0.2 * tint + 0.10 * normal[2])
    i_z = np.where(is_point, 0.28 + 0.18 * normal[0], 0.24 + 0.1 * tint + 0.08 * normal[3])
    z_y = np.where(is_point, 0.08 + 0.05 * normal[0], 0.08 + 0.05 * tint + 0.06 * normal[4])
    mags = np.stack([mag_i + r_i + g_r, mag_i + r_i, mag_i, mag_i - i_z, mag_i - i_z - z_y], axis=1)
    radius = 0.33 * 10.0 ** (-0.09 * (mag_i - 22.0) + 0.18 * normal[5])
    ra = (column + draw[1]) * width
    dec = np.degrees(np.arcsin(sin_south + draw[2] * (sin_north - sin_south)))
    sources = _Sources(
        ra_deg=ra,
        dec_deg=dec,
        counts=10.0 ** (0.4 * (ZERO_POINT_AB - mags)),
        is_point=is_point,
        r_eff_px=np.where(is_point, 0.0, np.clip(radius, 0.08, 2.5) / PIXEL_SCALE_ARCSEC),
        sersic_n=np.where(draw[3] < 0.8, 1.0, 3.0),
        axis_ratio=0.3 + 0.7 * draw[4],
        position_angle_deg=180.0 * draw[5],
    )
    if catalogued.n == 0 or n == 0:
        return sources
    limit = _chord(NEIGHBOUR_KEPT_OFF_ARCSEC / PIXEL_SCALE_ARCSEC)
    distance, _ = catalogued.query(_unit_vectors(ra, dec), distance_upper_bound=limit)
    return _Sources(
        **{name: getattr(sources, name)[distance > limit] for name in _Sources.__dataclass_fields__}
    )


# --- calibration --------------------------------------------------------------------------


def read_fields(folder: Path) -> dict[str, NDArray[np.float32]]:
    """Read the cubes ``<band>.fits.gz`` (field, y, x) of a folder, zero point 30.

    Raises
    ------
    InputError
        If a cube is missing, or the cubes differ in shape.
    """
    from astropy.io import fits

    cubes = {}
    for band in IMAGE_BANDS:
        path = folder / f"{band}.fits.gz"
        try:
            cubes[band] = np.asarray(fits.getdata(path), dtype=np.float32)
        except OSError as error:
            raise InputError(
                f"the fields of band {band} cannot be read: {error}",
                where=str(path),
                next_step="give --fields a folder with g, r, i, z and Y .fits.gz",
            ) from error
    shapes = {cube.shape for cube in cubes.values()}
    if len(shapes) != 1 or len(next(iter(shapes))) != 3:
        raise InputError(
            f"the fields' cubes have shapes {sorted(shapes)}",
            where=str(folder),
            next_step="give cubes of the same fields, (field, y, x), in every band",
        )
    return cubes


def paint_fields(
    painter: Painter, ra_deg: Sequence[float], dec_deg: Sequence[float], size_px: int
) -> dict[str, NDArray[np.float32]]:
    """Paint square fields around positions (deg); one cube (field, y, x) per band.

    Positions whose field no tile holds whole are left out.
    """
    cubes: dict[str, list[NDArray[np.float32]]] = {band: [] for band in IMAGE_BANDS}
    for ra, dec in zip(ra_deg, dec_deg, strict=True):
        for tile in painter.tiles.holding(ra, dec):
            x, y = tile.pixel_of(ra, dec)
            x0, y0 = round(float(x)) - size_px // 2, round(float(y)) - size_px // 2
            if (
                x0 >= tile.x_range[0]
                and x0 + size_px <= tile.x_range[1]
                and y0 >= tile.y_range[0]
                and y0 + size_px <= tile.y_range[1]
            ):
                for band in IMAGE_BANDS:
                    image = painter.cutout(tile, band, x0, y0, size_px, size_px)
                    cubes[band].append(image.astype(np.float32))
                break
    return {band: np.array(images, dtype=np.float32) for band, images in cubes.items()}


def measure_noise(cubes: dict[str, NDArray[np.float32]]) -> pd.DataFrame:
    """Measure the noise of fields where no source is seen, per band.

    Sources are found in the sum of g, r, i and z over their noise, down to 1.2 sigma in five
    neighbouring pixels, and masked with a margin of 4 px.

    Returns
    -------
    One row per band: ``noise`` (counts per px, median over fields; 1.4826 MAD), ``noise_16`` and
    ``noise_84`` (percentiles over fields), ``x1 x2 x3 y1`` (correlation of pixels 1, 2, 3 px
    apart along x, and 1 px along y), ``diagonal`` (one px along both).
    """
    import sep

    kept: dict[str, list[list[float]]] = {band: [] for band in cubes}
    for field in range(len(cubes["g"])):
        parts = []
        for band in "griz":
            image = cubes[band][field]
            middle = np.median(image)
            parts.append((image - middle) / (1.4826 * np.median(np.abs(image - middle))))
        stack = np.ascontiguousarray(np.sum(parts, axis=0) / 2.0, dtype=np.float32)
        _, segments = sep.extract(stack, 1.2, err=1.0, minarea=5, segmentation_map=True)
        empty = ~binary_dilation(segments > 0, iterations=4)
        if np.count_nonzero(empty) < empty.size // 6:
            continue
        for band, cube in cubes.items():
            kept[band].append(_noise_of(cube[field].astype(np.float64), empty))
    rows = []
    for band, values in kept.items():
        table = np.array(values)
        rows.append(
            {
                "band": band,
                "fields": len(values),
                "noise": np.median(table[:, 0]),
                "noise_16": np.percentile(table[:, 0], 16),
                "noise_84": np.percentile(table[:, 0], 84),
                **{
                    name: np.median(table[:, k])
                    for k, name in enumerate(("x1", "x2", "x3", "y1", "diagonal"), start=1)
                },
            }
        )
    return pd.DataFrame(rows)


def _noise_of(image: Floats, empty: NDArray[np.bool_]) -> list[float]:
    """Return sigma (counts) and correlations x1, x2, x3, y1, diagonal of the empty pixels."""
    middle = np.median(image[empty])
    sigma = 1.4826 * float(np.median(np.abs(image[empty] - middle)))
    used = empty & (np.abs(image - middle) < 4.0 * sigma)
    residual = np.where(used, image - image[used].mean(), np.nan)
    variance = np.nanmean(residual**2)

    def correlation(dy: int, dx: int) -> float:
        height, width = residual.shape
        shifted = residual[dy:, dx:] * residual[: height - dy, : width - dx]
        return float(np.nanmean(shifted) / variance)

    return [sigma, *(correlation(*lag) for lag in ((0, 1), (0, 2), (0, 3), (1, 0), (1, 1)))]


def measure_sources(cubes: dict[str, NDArray[np.float32]], band: str) -> dict[str, float]:
    """Measure the sources of fields in a band, but for the central object of each.

    Detected at 1.5 sigma in five pixels, 2.5 arcsec and more from the centre, measured in an
    aperture of 3 arcsec.

    Returns
    -------
    Numbers per square arcmin brighter than 21, 22, 23 and 24 mag (``n21`` ...), the
    median half-light radius (``r50_arcsec``) of those of 20 to 23 mag.
    """
    import sep

    mags, radii = [], []
    fields, height, width = cubes[band].shape
    for cube in cubes[band]:
        image = np.ascontiguousarray(cube - np.median(cube))
        sigma = 1.4826 * float(np.median(np.abs(image)))
        found = sep.extract(image, 1.5, err=sigma, minarea=5)
        away = np.hypot(found["x"] - (width - 1) / 2, found["y"] - (height - 1) / 2)
        found = found[away * PIXEL_SCALE_ARCSEC > 2.5]
        aperture = 1.5 / PIXEL_SCALE_ARCSEC
        counts, _, _ = sep.sum_circle(image, found["x"], found["y"], aperture)
        good = counts > 0
        radius, _ = sep.flux_radius(
            image,
            found["x"][good],
            found["y"][good],
            np.full(good.sum(), 10.0),
            0.5,
            normflux=counts[good],
        )
        mags.append(ZERO_POINT_AB - 2.5 * np.log10(counts[good]))
        radii.append(radius * PIXEL_SCALE_ARCSEC)
    mag, radius = np.concatenate(mags), np.concatenate(radii)
    area_arcmin2 = fields * height * width * (PIXEL_SCALE_ARCSEC / 60.0) ** 2
    result = {f"n{limit}": float(np.sum(mag < limit) / area_arcmin2) for limit in (21, 22, 23, 24)}
    result["r50_arcsec"] = float(np.median(radius[(mag > 20) & (mag < 23)]))
    return result


def calibrate(
    fields: Path, seed: int, *, sky: Callable[[int], Sky] = build_sky
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Compare painted fields with real ones.

    Parameters
    ----------
    fields : folder of the real fields, see `read_fields`.
    seed : of the sky to paint; as many fields as there are real ones, around its objects that
        survive all cuts.
    sky : builds the sky of a seed.

    Returns
    -------
    The tables of `measure_noise` and `measure_sources`, with a column ``fields_of``: "real" or
    "demo".
    """
    real = read_fields(fields)
    built = sky(seed)
    painter = Painter(built)
    count, size = real["g"].shape[0], real["g"].shape[1]
    chosen = built.truth[built.truth["survives_allwise"]]
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(chosen))[: 2 * count]
    demo = paint_fields(
        painter,
        chosen["ra_deg"].to_numpy(float)[order].tolist(),
        chosen["dec_deg"].to_numpy(float)[order].tolist(),
        size,
    )
    demo = {band: cube[:count] for band, cube in demo.items()}
    noise = pd.concat(
        [
            measure_noise(cubes).assign(fields_of=name)
            for name, cubes in (("real", real), ("demo", demo))
        ]
    )
    sources = pd.DataFrame(
        [
            {"band": band, "fields_of": name, **measure_sources(cubes, band)}
            for band in IMAGE_BANDS
            for name, cubes in (("real", real), ("demo", demo))
        ]
    )
    return noise, sources


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m archipelago.demosky.images", description=(__doc__ or "").split("\n\n")[0]
    )
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser(
        "calibrate", help="print noise and sources per band: real fields beside painted ones"
    )
    command.add_argument(
        "--fields", type=Path, required=True, help="folder with g, r, i, z and Y .fits.gz"
    )
    command.add_argument("--seed", type=int, default=1, help="seed of the sky (default 1)")
    options = parser.parse_args(arguments)
    try:
        noise, sources = calibrate(options.fields, options.seed)
    except ArchipelagoError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    order = {band: k for k, band in enumerate(IMAGE_BANDS)}
    for title, table in (
        ("Noise (counts per px, zero point 30) and its correlation", noise),
        ("Sources per square arcmin brighter than a magnitude, and half-light radius", sources),
    ):
        table = table.sort_values(
            ["band", "fields_of"],
            key=lambda c: c.map(order) if c.name == "band" else c,
            ascending=[True, False],
        )
        columns = ["band", "fields_of"]
        columns += [name for name in table.columns if name not in columns]
        print(f"{title}\n{table[columns].to_string(index=False, float_format='%.3f')}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
