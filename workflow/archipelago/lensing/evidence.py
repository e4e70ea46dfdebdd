"""The table of lens evidence of a search."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from archipelago.base.errors import DataError, InputError
from archipelago.base.images import ImageSet
from archipelago.lensing import measures as shapes
from archipelago.lensing.odds import LensOdds, calibration, learn_odds
from archipelago.lensing.psf import PointSpread, measure_psf
from archipelago.simulate.conditions import measure_conditions

_LOG = logging.getLogger(__name__)

Floats = NDArray[np.float64]

#: Images read and measured at once: bounds the memory.
_PART = 256
#: Sharpness where no image tells it [arcsec]: as `simulate` assumes.
_FALLBACK_FWHM_ARCSEC = 0.9


@dataclass(frozen=True)
class Judge:
    """All that the lens evidence of an image follows from, learnt in one search.

    Attributes
    ----------
    bands, pixel_scale_arcsec : of the images.
    psf : of the search's images, measured in them.
    odds : from measures to the log ratio; None where nothing could be learnt.
    held_out : (m,) log ratio of the simulated objects shown, each without itself.
    """

    bands: tuple[str, ...]
    pixel_scale_arcsec: float
    psf: PointSpread
    odds: LensOdds | None
    held_out: Floats

    def table(self, images: NDArray[np.floating], *, threads: int = 1) -> pd.DataFrame:
        """Return lens_log_odds [nats] and all measures of images (n, band, y, x) of the search.

        Of images in which something was painted too, as sharp as the search's.
        """
        found = _in_parts(images, self.pixel_scale_arcsec, self.psf, self.bands, threads)
        log_odds = np.full(len(found), np.nan) if self.odds is None else self.odds.log_odds(found)
        found.insert(0, "lens_log_odds", log_odds)
        return found


def about(bands: Sequence[str]) -> dict[str, str]:
    """Return what each column of the table is."""
    return {
        "id": "identifier of the object",
        "lens_log_odds": "ln of how much more often a lensed quasar's image has such shapes than a "
        "single quasar's [nats]; from simulated ones of this search",
        **shapes.about(bands),
    }


def learn(
    images: ImageSet,
    simulated: ImageSet,
    kinds: pd.DataFrame,
    *,
    n_taught: int,
    seed: int,
    threads: int = 1,
) -> Judge:
    """Measure simulated objects, and learn what shapes lensed quasars have.

    Simulated points are measured against the profile that they were drawn with, the search's
    objects against their own: what both leave is compared, not the profiles.

    Parameters
    ----------
    images : of the search.
    simulated : of `archipelago.simulate.tables.simulated_objects`, without anything of known
        quasars but their colours.
    kinds : columns id and kind (quasar or lensed) of them, in their order.
    n_taught : simulated objects of each kind that are measured, the first ones.
    seed : of everything random.
    threads : changes no result.

    Raises
    ------
    DataError
        If the simulated objects do not fit their table.
    InputError
        If the simulated images have other bands or pixels than the search's.
    """
    if not np.array_equal(kinds["id"].to_numpy(), simulated.ids):
        raise DataError(
            "the simulated images are not those of their table",
            where="lens_evidence",
            next_step="remove them and run the rule simulate",
        )
    same = images.bands == simulated.bands
    if not same or images.pixel_scale_arcsec != simulated.pixel_scale_arcsec:
        raise InputError(
            "the simulated images have other bands or pixels than the search's",
            where="lens_evidence",
            next_step="remove them and run the rule simulate",
        )
    scale = images.pixel_scale_arcsec
    conditions = measure_conditions(images.images, _FALLBACK_FWHM_ARCSEC / scale)
    kind = kinds["kind"].to_numpy(dtype=str)
    rows = np.concatenate(
        [np.flatnonzero(kind == name)[:n_taught] for name in ("quasar", "lensed")]
    )
    drawn_with = PointSpread.moffat(conditions.fwhm_px)
    shown = _in_parts(simulated.images, scale, drawn_with, images.bands, threads, rows)
    odds, held_out = learn_odds(shown, kind[rows] == "lensed", seed=seed, threads=threads)
    if odds is None:
        _LOG.warning("too few simulated quasars to learn lens_log_odds from: it is left empty")
    else:
        found = calibration(held_out, kind[rows] == "lensed")
        _LOG.info("simulated objects judged without themselves:\n%s", found.round(3).to_string())
    return Judge(images.bands, scale, measure_psf(images.images, conditions), odds, held_out)


def lens_evidence(images: ImageSet, judge: Judge, *, threads: int = 1) -> pd.DataFrame:
    """Return the table of the search's objects by id, columns of `about`."""
    order = np.argsort(images.ids, kind="stable")
    found = _in_parts(
        images.images, judge.pixel_scale_arcsec, judge.psf, judge.bands, threads, order
    )
    log_odds = np.full(len(found), np.nan) if judge.odds is None else judge.odds.log_odds(found)
    found.insert(0, "lens_log_odds", log_odds)
    found.insert(0, "id", images.ids[order])
    return found[list(about(images.bands))]


def _in_parts(
    images: NDArray[np.floating],
    scale: float,
    psf: PointSpread,
    bands: Sequence[str],
    threads: int,
    rows: NDArray[np.int64] | None = None,
) -> pd.DataFrame:
    """Return the measures of some rows of images, in their order."""
    rows = np.arange(len(images)) if rows is None else rows
    starts = range(0, max(len(rows), 1), _PART)

    def part(first: int) -> pd.DataFrame:
        return shapes.lens_measures(
            np.asarray(images[rows[first : first + _PART]]), scale, psf, bands
        )

    with ThreadPoolExecutor(max(1, threads)) as pool:
        return pd.concat(pool.map(part, starts), ignore_index=True)
