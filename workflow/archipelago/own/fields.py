"""A search that starts from the user's own images: detect, measure, cut out.

The images are sky-subtracted coadds of one pixel grid in all bands, such as
those of DES; cutouts are taken from them unchanged.
"""

from __future__ import annotations

import gzip
import hashlib
import logging
import warnings
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import sep
from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning
from astropy.wcs import WCS
from numpy.typing import NDArray

from archipelago.base.errors import ConfigError, DataError, InputError
from archipelago.base.images import ImageSet
from archipelago.base.losses import check_conservation, join_losses, losses_frame
from archipelago.photometry.cutflow import CutFlow
from archipelago.photometry.cuts import Cut
from archipelago.photometry.fluxes import BandSpec, Depth, flux_from_mag
from archipelago.photometry.measure import measure

_LOG = logging.getLogger(__name__)

#: What the columns are that only such a search has, for the metadata of the file.
ABOUT = {
    "field": "number of the field, from 0",
    "x_px": "first pixel axis, 0 at the centre of the first pixel",
    "y_px": "second pixel axis, 0 at the centre of the first pixel",
}

#: The same for the manifest.
MANIFEST_ABOUT = {
    "id": "identifier of the object",
    "band": "band of the image",
    "status": "ok or lost",
    "reason": "why it is lost; empty where it is not",
    "url": "empty: the image was cut from a file of the user's",
    "bytes": "size of the cutout",
    "sha256": "checksum of the cutout's pixels, float32 little-endian",
    "attempts": "requests sent: none",
}

#: Name of the one tile that such a search has.
TILE = "fields"

#: Identifiers are field * _IDS_PER_FIELD + number of the source in it.
_IDS_PER_FIELD = 10_000

#: Side of the meshes of the background [px]: several times a galaxy, as Bertin & Arnouts
#: (1996, A&AS 117, 393) advise.
_BACKGROUND_MESH_PX = 32

#: Fewer empty apertures than this give no noise; the pixels' then counts.
_MIN_EMPTY_APERTURES = 10

Image = NDArray[np.float32]


@dataclass(frozen=True)
class Fields:
    """Images of one or more fields of the sky.

    Attributes
    ----------
    data : (n_band, n_field, ny, nx) float32, counts.
    bands : names, in the order of the first axis.
    wcs : celestial coordinates, if there is one field and its header has them.
    """

    data: Image
    bands: tuple[str, ...]
    wcs: WCS | None = None


@dataclass(frozen=True)
class DetectSettings:
    """How sources are found and measured.

    Attributes
    ----------
    threshold_sigma : a source's pixels exceed the noise of the detection image by this.
    min_area_px : least number of such pixels.
    aperture_diameter_arcsec : of the photometry; 1.95 is the fourth aperture of DES.
    band : detect in this band alone; None: in the inverse-variance-weighted sum of all.
    """

    threshold_sigma: float = 3.0
    min_area_px: int = 5
    aperture_diameter_arcsec: float = 1.95
    band: str | None = None

    def __post_init__(self) -> None:
        for name in ("threshold_sigma", "min_area_px", "aperture_diameter_arcsec"):
            if not getattr(self, name) > 0:
                raise ConfigError(
                    f"{name} is {getattr(self, name)}",
                    where=f"images.detect.{name}",
                    next_step="give a number above 0",
                )


@dataclass(frozen=True)
class DetectedSources:
    """All tables and images that a search in fields starts from.

    Attributes
    ----------
    photometry, cutflow, losses : as of a survey's tile; ra_deg and dec_deg are NaN without
        a WCS; with columns field, x_px, y_px (from 0, the centre of the first pixel).
    cutouts : images of the objects that have all bands.
    manifest : one row per object and band.
    image_losses : objects of ``photometry`` without complete images.
    """

    photometry: pd.DataFrame
    cutflow: pd.DataFrame
    losses: pd.DataFrame
    cutouts: ImageSet
    manifest: pd.DataFrame
    image_losses: pd.DataFrame


def read_fields(paths: Sequence[str | Path], bands: Sequence[str]) -> Fields:
    """Read one FITS file per band: an image (ny, nx) or a cube (n_field, ny, nx).

    Raises
    ------
    ConfigError
        If there are not as many files as bands.
    InputError
        If a file cannot be read, is truncated, has no image, or another shape than the first.
    """
    if len(paths) != len(bands) or not bands:
        raise ConfigError(
            f"{len(paths)} files for the bands {', '.join(bands)}",
            where="images.fields",
            next_step="give one file per band of images.bands",
        )
    cubes: list[Image] = []
    wcs = None
    for path, band in zip(paths, bands, strict=True):
        cube, header = _read_cube(Path(path))
        if cubes and cube.shape != cubes[0].shape:
            raise InputError(
                f"band {band} has the shape {cube.shape}, band {bands[0]} {cubes[0].shape}",
                where=str(path),
                next_step="bring all bands to one pixel grid",
            )
        if not np.isfinite(cube).any():
            raise InputError(
                f"band {band} has no valid pixel", where=str(path), next_step="check the file"
            )
        if wcs is None and len(cube) == 1:
            wcs = _celestial(header)
        cubes.append(cube)
    return Fields(np.stack(cubes), tuple(bands), wcs)


def detect(
    fields: Fields,
    *,
    size_px: int,
    pixel_scale_arcsec: float,
    zero_point_ab: float,
    settings: DetectSettings | None = None,
    depths: Mapping[str, Mapping[str, Any] | Depth] | None = None,
    detection_sigma: float = 2.0,
    cuts: Iterable[Mapping[str, Any] | Cut] = (),
) -> DetectedSources:
    """Find the sources of all fields, measure them, and cut them out.

    Sources are found with SEP (Barbary 2016, JOSS 1, 58) on the sum of the bands,
    each weighted with the inverse of its noise variance. The error of an
    aperture's flux is the scatter of empty apertures of the same field and band.
    It knows the correlation of pixels, but not the source's own photon noise.

    Parameters
    ----------
    fields : images; NaN marks bad pixels.
    size_px : side of a cutout.
    pixel_scale_arcsec : side of a pixel.
    zero_point_ab : AB magnitude of one count.
    settings : how to detect; None for the defaults.
    depths : as in `archipelago.photometry.measure.measure`; for a band that has none the
        median error of the apertures counts as its depth at 1 sigma.
    detection_sigma, cuts : likewise.

    Returns
    -------
    sources : sorted by id; ids are field * 10000 + number of the source in it, by y then x.

    Raises
    ------
    ConfigError
        If a cut looks at a band that the images lack, or ``settings.band`` is one.
    DataError
        If a field has more sources than it has ids, detection fails, or a band has neither
        noise nor a depth.
    """
    settings = settings or DetectSettings()
    if settings.band is not None and settings.band not in fields.bands:
        raise ConfigError(
            f"no images in band {settings.band}",
            where="images.detect.band",
            next_step=f"use one of {', '.join(fields.bands)}",
        )
    radius_px = 0.5 * settings.aperture_diameter_arcsec / pixel_scale_arcsec
    n_field, ny, nx = fields.data.shape[1:]
    parts = [
        _measure_field(fields.data[:, number], number, fields.bands, settings, radius_px)
        for number in range(n_field)
    ]
    found = pd.concat(parts, ignore_index=True)
    found["ra_deg"], found["dec_deg"] = _positions(fields.wcs, found)
    to_ujy = float(flux_from_mag(zero_point_ab))
    specs = {}
    depths = dict(depths or {})
    for band in fields.bands:
        found[f"value_{band}"] *= to_ujy
        found[f"error_{band}"] *= to_ujy
        specs[band] = BandSpec(f"value_{band}", f"error_{band}", "flux_ujy")
        if band not in depths:
            depths[band] = _own_depth(found[f"error_{band}"], band)
    left = _lower_corner(found["x_px"], size_px)
    bottom = _lower_corner(found["y_px"], size_px)
    inside = (left >= 0) & (bottom >= 0) & (left + size_px <= nx) & (bottom + size_px <= ny)
    edge = losses_frame(
        found[~inside],
        tile=TILE,
        stage="detect",
        reason="edge",
        detail=f"the cutout of {size_px} px would leave the field",
    )
    flow = CutFlow(TILE)
    flow.add("detect", "sources detected", len(found), len(found))
    flow.add("detect", "cutout inside the field", len(found), int(inside.sum()))
    photometry, cutflow, cut_losses = measure(
        found[inside],
        specs,
        depths,
        detection_sigma,
        cuts,
        TILE,
        before=flow.table(),
        carry=["field", "x_px", "y_px"],
    )
    losses = join_losses([edge, cut_losses])
    check_conservation(len(found), len(photometry), len(losses), where="detection")
    _LOG.info("%d sources in %d fields, %d kept", len(found), n_field, len(photometry))
    images = _cut_out(fields, photometry, size_px)
    manifest, image_losses, complete = judge(images, photometry, fields.bands, TILE)
    cutouts = ImageSet(
        images[complete],
        photometry["id"].to_numpy(dtype=np.int64)[complete],
        fields.bands,
        pixel_scale_arcsec,
        zero_point_ab,
    )
    return DetectedSources(photometry, cutflow, losses, cutouts, manifest, image_losses)


def _read_cube(path: Path) -> tuple[Image, fits.Header]:
    again = "copy it again from where it came"
    try:
        # astropy takes a gzip file that breaks off for one with fewer images.
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        with warnings.catch_warnings(), fits.open(BytesIO(content), memmap=False) as hdus:
            # Astropy only warns of a file that is shorter than its header says.
            warnings.filterwarnings("error", ".*truncated.*", AstropyUserWarning)
            for hdu in hdus:
                if hdu.is_image and hdu.data is not None and hdu.data.ndim in (2, 3):
                    data = np.asarray(hdu.data, dtype=np.float32)
                    header = hdu.header.copy()
                    return (data[np.newaxis] if data.ndim == 2 else data), header
    except (OSError, EOFError, zlib.error, ValueError, TypeError, AstropyUserWarning) as error:
        raise InputError(
            f"cannot read the image: {type(error).__name__}: {error}",
            where=str(path),
            next_step=again,
        ) from error
    raise InputError(
        "the file has no image of two or three axes",
        where=str(path),
        next_step="give a FITS image (ny, nx) or cube (n_field, ny, nx)",
    )


def _celestial(header: fits.Header) -> WCS | None:
    if "CTYPE1" not in header:
        return None
    try:
        wcs = WCS(header).celestial
    except ValueError as error:  # WCSLIB's errors are of this kind
        _LOG.warning("the images' WCS cannot be used, positions stay empty: %s", error)
        return None
    return wcs if wcs.has_celestial else None


def _positions(wcs: WCS | None, found: pd.DataFrame) -> tuple[NDArray, NDArray]:
    if wcs is None or not len(found):
        empty = np.full(len(found), np.nan)
        return empty, empty.copy()
    sky = wcs.pixel_to_world(found["x_px"].to_numpy(), found["y_px"].to_numpy()).icrs
    return np.asarray(sky.ra.deg), np.asarray(sky.dec.deg)


def _measure_field(
    images: Image,
    field: int,
    bands: Sequence[str],
    settings: DetectSettings,
    radius_px: float,
) -> pd.DataFrame:
    """Return the sources of one field: id, field, x_px, y_px, value_B, error_B [counts].

    ``images`` has shape (n_band, ny, nx).
    """
    bad = ~np.isfinite(images)
    clean = np.where(bad, 0.0, images).astype(np.float32)
    rms = np.zeros(len(bands))
    for k in range(len(bands)):
        good = clean[k][~bad[k]]
        # A band without any signal has no weight; SEP would give it a noise of 1.
        if good.size and np.ptp(good) > 0:
            mesh = min(_BACKGROUND_MESH_PX, *clean[k].shape)
            background = sep.Background(clean[k], mask=bad[k], bw=mesh, bh=mesh)
            clean[k] -= background.back()
            clean[k][bad[k]] = 0.0
            rms[k] = background.globalrms
    used = [k for k, band in enumerate(bands) if settings.band in (None, band)]
    snr = _signal_to_noise(clean[used], bad[used], rms[used])
    sources, segments = _extract(snr, settings, field)
    if len(sources) > _IDS_PER_FIELD:
        raise DataError(
            f"{len(sources)} sources, but a field has {_IDS_PER_FIELD} identifiers",
            where=f"field {field}",
            next_step="raise images.detect.threshold_sigma, or split the field",
        )
    order = np.lexsort([sources["x"], sources["y"]])
    x, y = sources["x"][order].astype(float), sources["y"][order].astype(float)
    table = pd.DataFrame(
        {
            "id": field * _IDS_PER_FIELD + np.arange(len(x), dtype=np.int64),
            "field": np.full(len(x), field, dtype=np.int64),
            "x_px": x,
            "y_px": y,
        }
    )
    empty_x, empty_y = _empty_apertures(segments, radius_px)
    for k, band in enumerate(bands):
        flux = _aperture_sums(clean[k], bad[k], x, y, radius_px)
        noise = _noise(
            _aperture_sums(clean[k], bad[k], empty_x, empty_y, radius_px),
            rms[k] * np.sqrt(np.pi) * radius_px,
        )
        table[f"value_{band}"] = flux
        table[f"error_{band}"] = np.where(np.isfinite(flux), noise, np.nan)
    return table


def _signal_to_noise(images: Image, bad: NDArray[np.bool_], rms: NDArray) -> Image:
    """Return the inverse-variance-weighted sum over bands in units of its noise, (ny, nx)."""
    with np.errstate(divide="ignore"):
        weight = np.where(rms > 0, 1.0 / rms**2, 0.0)[:, np.newaxis, np.newaxis]
    weights = np.where(bad, 0.0, weight)
    total = weights.sum(axis=0)
    signal = (weights * images).sum(axis=0)
    return np.where(total > 0, signal / np.sqrt(np.where(total > 0, total, 1.0)), 0.0).astype(
        np.float32
    )


def _extract(snr: Image, settings: DetectSettings, field: int) -> tuple[NDArray, NDArray[np.int32]]:
    sep.set_extract_pixstack(max(300_000, snr.size))
    try:
        return sep.extract(
            np.ascontiguousarray(snr),
            settings.threshold_sigma,
            minarea=settings.min_area_px,
            segmentation_map=True,
        )
    except Exception as error:  # SEP raises plain Exception, with a text of its own
        raise DataError(
            f"the detection of sources failed: {error}",
            where=f"field {field}",
            next_step="raise images.detect.threshold_sigma, or split the field",
        ) from error


def _aperture_sums(
    image: Image, bad: NDArray[np.bool_], x: NDArray, y: NDArray, radius_px: float
) -> NDArray[np.float64]:
    """Return sums within circles, NaN where one leaves the image or holds a bad pixel."""
    if not len(x):
        return np.empty(0)
    # subpix=0: exact overlap of circle and pixels.
    sums, _, flags = sep.sum_circle(image, x, y, radius_px, subpix=0)
    n_bad, _, _ = sep.sum_circle(bad.astype(np.float32), x, y, radius_px, subpix=0)
    spoilt = ((flags & sep.APER_TRUNC) != 0) | (n_bad > 0)
    return np.where(spoilt, np.nan, sums)


def _empty_apertures(segments: NDArray[np.int32], radius_px: float) -> tuple[NDArray, NDArray]:
    """Return centres, on a grid, of circles that touch no source and lie in the image."""
    ny, nx = segments.shape
    step = max(1.0, radius_px)
    grid_x = np.arange(radius_px, nx - 1 - radius_px, step)
    grid_y = np.arange(radius_px, ny - 1 - radius_px, step)
    x, y = (one.ravel() for one in np.meshgrid(grid_x, grid_y))
    if not len(x):
        return x, y
    covered, _, _ = sep.sum_circle((segments > 0).astype(np.float32), x, y, radius_px, subpix=0)
    return x[covered == 0], y[covered == 0]


def _noise(sums: NDArray[np.float64], from_pixels: float) -> float:
    """Return the scatter of empty apertures; too few of them, that of uncorrelated pixels."""
    good = sums[np.isfinite(sums)]
    if len(good) < _MIN_EMPTY_APERTURES:
        return from_pixels
    # 1.4826: standard deviation of a Gaussian per median absolute deviation.
    return float(1.4826 * np.median(np.abs(good - np.median(good))))


def _own_depth(errors_ujy: pd.Series, band: str) -> Depth:
    good = errors_ujy[np.isfinite(errors_ujy) & (errors_ujy > 0)]
    if len(good):
        return Depth(1.0, flux_ujy=float(good.median()))
    if len(errors_ujy):
        raise DataError(
            f"the images in band {band} have no noise to take a depth from",
            where="images.fields",
            next_step=f"check them, or give photometry.depths.{band}",
        )
    return Depth(1.0, flux_ujy=1.0)  # no source, so no row that it could matter to


def _lower_corner(centre_px: pd.Series, size_px: int) -> NDArray[np.int64]:
    """Return the first pixel of the window of ``size_px`` whose middle is nearest."""
    middle = 0.5 * (size_px - 1)
    return np.floor(centre_px.to_numpy(dtype=float) - middle + 0.5).astype(np.int64)


def _cut_out(fields: Fields, objects: pd.DataFrame, size_px: int) -> Image:
    """Return the cutouts of objects, (n, n_band, size_px, size_px)."""
    images = np.empty((len(objects), len(fields.bands), size_px, size_px), dtype=np.float32)
    corners = zip(
        objects["field"].to_numpy(dtype=np.int64),
        _lower_corner(objects["y_px"], size_px),
        _lower_corner(objects["x_px"], size_px),
        strict=True,
    )
    for row, (field, y, x) in enumerate(corners):
        images[row] = fields.data[:, field, y : y + size_px, x : x + size_px]
    return images


def judge(
    images: Image, objects: pd.DataFrame, bands: Sequence[str], tile: str
) -> tuple[pd.DataFrame, pd.DataFrame, NDArray[np.bool_]]:
    """Return the manifest, the losses, and which objects have good images in all bands.

    Bad is a pixel that is no number, and a band that is constant.

    Parameters
    ----------
    images : (n, n_band, y, x).
    objects : (n,) rows with id, ra_deg, dec_deg.
    bands : names.
    tile : what the losses are counted with.
    """
    n_bad = (~np.isfinite(images)).sum(axis=(2, 3))
    blank = (images == images[:, :, :1, :1]).all(axis=(2, 3))
    reason = np.where(n_bad > 0, "bad pixels", np.where(blank, "blank image", ""))
    good = reason == ""
    n, n_band = reason.shape
    manifest = pd.DataFrame(
        {
            "id": np.repeat(objects["id"].to_numpy(dtype=np.int64), n_band),
            "band": pd.Series(list(bands) * n, dtype="str"),
            "status": pd.Series(np.where(good, "ok", "lost").ravel(), dtype="str"),
            "reason": pd.Series(reason.ravel(), dtype="str"),
            "url": pd.Series([""] * (n * n_band), dtype="str"),
            "bytes": np.full(n * n_band, images[:1, :1].nbytes, dtype=np.int64),
            "sha256": pd.Series(
                [
                    hashlib.sha256(np.ascontiguousarray(plane, dtype="<f4").tobytes()).hexdigest()
                    for planes in images
                    for plane in planes
                ],
                dtype="str",
            ),
            "attempts": np.zeros(n * n_band, dtype=np.int64),
        }
    )
    complete = good.all(axis=1)
    parts = []
    for row in np.flatnonzero(~complete).tolist():
        worst = next(k for k in range(n_band) if not good[row, k])
        detail = f"{int(n_bad[row, worst])} bad pixels" if n_bad[row, worst] else "no signal"
        parts.append(
            losses_frame(
                objects.iloc[[row]],
                tile=tile,
                stage="images",
                reason=str(reason[row, worst]),
                detail=f"band {bands[worst]}: {detail}",
            )
        )
    return manifest, join_losses(parts), complete
