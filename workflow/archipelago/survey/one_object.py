"""All bands of one object: from one tile where one holds the stamp, else from several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from archipelago.base.errors import ServiceError
from archipelago.survey.cutout_query import CutoutQuery
from archipelago.survey.downloads import Downloads, Image, ImageFailedError, Place
from archipelago.survey.faults import BadContentError, RequestError
from archipelago.survey.http import HttpClient
from archipelago.survey.mosaic import covers, fill_from, grid_of
from archipelago.survey.sia import Candidate
from archipelago.survey.stamps import Piece, Stamp, ends_within, filled, stamp_of

#: Candidates tried per band; overlapping tiles give up to four.
MAX_CANDIDATES = 6


@dataclass
class FetchedBand:
    """What happened to one band of one object; a row of the manifest."""

    band: str
    status: str = "lost"
    reason: str = ""
    url: str = ""
    bytes: int = 0
    sha256: str = ""
    attempts: int = 0
    n_filled_px: int = 0
    n_other_px: int = 0
    other_url: str = ""
    stamp: NDArray[np.float32] | None = None


@dataclass
class Fetched:
    """What happened to one object: why it is lost, and the fault of the service behind it."""

    bands: list[FetchedBand]
    reason: str = ""
    detail: str = ""
    outage: ServiceError | None = None


@dataclass(frozen=True)
class ObjectFetcher:
    """Fetches one object; called from several threads.

    Parameters
    ----------
    downloads : gives lists and images.
    sia_url : the service that lists images.
    query : what is wanted of an object.
    """

    downloads: Downloads
    sia_url: str
    query: CutoutQuery

    @property
    def client(self) -> HttpClient:
        """The client that sends the requests."""
        return self.downloads.client

    def __call__(self, ra_deg: float, dec_deg: float) -> Fetched:
        """Return the stamps of the object at a position [deg], or why there are none."""
        result = Fetched([FetchedBand(band) for band in self.query.bands])
        if not (np.isfinite(ra_deg) and np.isfinite(dec_deg) and abs(dec_deg) <= 90):
            return _give_up(result, "no position", "")
        place = Place.of(ra_deg, dec_deg)
        try:
            choices = self.downloads.choices(place, self.sia_url)
        except ServiceError as error:
            if isinstance(error, RequestError) and error.reason == "cancelled":
                raise
            reason = error.reason if isinstance(error, RequestError) else "service error"
            # Without a list nothing is known of any object, whatever came instead.
            result.outage = error
            return _give_up(result, reason, f"no list of images: {error.what}")
        missing = [band for band in self.query.bands if not choices[band]]
        if len(missing) == len(self.query.bands):
            return _give_up(result, "no image", "the service has no image of this position")
        if missing:
            for band in result.bands:
                if band.band in missing:
                    band.reason = "missing band"
            return _give_up(result, "missing band", f"no image in {', '.join(missing)}")
        work = _Work(self.downloads, self.query, self.sia_url, place, result, choices)
        if work.from_one_tile() or work.from_several():
            return result
        if not work.look_beyond() or not work.from_several():
            work.lose()
        return result


@dataclass
class _Work:
    """One object under way. Every image is asked for at most once."""

    downloads: Downloads
    query: CutoutQuery
    sia_url: str
    place: Place
    result: Fetched
    choices: Mapping[str, Sequence[Candidate]]
    failed: FetchedBand | None = None
    missing_deg: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None
    images: dict[str, Image | None] = field(default_factory=dict)
    failures: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    outages: dict[str, ServiceError] = field(default_factory=dict)
    footprints: dict[str, Piece] = field(default_factory=dict)

    def from_one_tile(self) -> bool:
        """Take all bands from the first tile that holds the whole stamp in each."""
        first, *others = self.result.bands
        for candidate in self.choices[first.band][:MAX_CANDIDATES]:
            rest = [self._of_tile(band, candidate.tile) for band in others]
            if None in rest:
                continue
            taken: list[tuple[FetchedBand, Image, Stamp]] = []
            for band, one in zip(self.result.bands, [candidate, *rest], strict=True):
                image = self._image(band, one) if one is not None else None
                stamp = self._whole(band, image) if image else None
                if image is None or stamp is None:
                    break
                if stamp.n_filled_px and self._ends_here(image.piece) and self._has_other(band):
                    break
                taken.append((band, image, stamp))
            else:
                for band, image, stamp in taken:
                    _accept(band, [image], stamp)
                return True
        return False

    def from_several(self) -> bool:
        """Put each band together, on the pixels of one tile where tiles have all bands."""
        bands = self.result.bands
        shared = any(
            all(self._of_tile(band, one.tile) for band in bands)
            for one in self.choices[bands[0].band][:MAX_CANDIDATES]
        )
        base_tile: str | None = None
        grid = None
        for band in bands:
            images = self._ordered(band, base_tile)
            if grid is None or not shared:
                base = self._best_base(band, images)
                if base is not None:
                    base_tile = base.tile
                    grid = grid_of(self.footprints[base.tile], self.query.size_px)
                    images = self._ordered(band, base_tile)
            if base_tile is None or grid is None or not self._assemble(band, images, grid):
                self.failed = band
                return False
        return True

    def look_beyond(self) -> bool:
        """Ask what lies where pixels are missing; tell whether there are further images.

        Some services list only the images that hold the position itself.
        """
        if self.missing_deg is None:
            return False
        ra, dec = self.missing_deg
        east = (ra - self.place.ra_deg + 180) % 360 - 180
        there = Place(
            (self.place.ra_deg + float(east.mean())) % 360, float(dec.mean()), self.place.group
        )
        try:
            choices = self.downloads.choices(there, self.sia_url)
        except ServiceError as error:
            if isinstance(error, RequestError) and error.reason == "cancelled":
                raise
            return False
        known = {one.tile for candidates in self.choices.values() for one in candidates}
        further = {
            band: [one for one in candidates if one.tile not in known]
            for band, candidates in choices.items()
        }
        self.choices = {
            band: [*self.choices[band][: MAX_CANDIDATES - 1], *further.get(band, [])]
            for band in self.choices
        }
        return any(further.values())

    def _assemble(
        self,
        band: FetchedBand,
        candidates: Sequence[Candidate],
        grid: tuple[NDArray[np.float64], NDArray[np.float64]],
    ) -> bool:
        """Make a band's stamp from the first candidate's image and what the others add."""
        size_px = self.query.size_px
        square = np.full((size_px, size_px), np.nan)
        used: list[Image] = []
        base: Piece | None = None
        n_other_px = 0
        for number, candidate in enumerate(candidates):
            missing = np.isnan(square)
            if not missing.any():
                break
            known = self.footprints.get(candidate.tile)
            if number and known is not None and not covers(known, grid, missing):
                continue
            image = self._image(band, candidate)
            if image is None:
                continue
            if number == 0:
                base = image.piece
                square = base.square(size_px)
                used.append(image)
            else:
                square, n_gained = fill_from(square, grid, image.piece, base)
                n_other_px += n_gained
                used += [image] if n_gained else []
        try:
            beyond = np.isnan(square) & (base is not None and ~base.within(size_px))
            if beyond.any():
                self.missing_deg = grid[0][beyond], grid[1][beyond]
                raise BadContentError("edge", f"no image has {int(beyond.sum())} of its pixels")
            stamp = filled(square)
        except BadContentError as error:
            known_failures = self.failures.setdefault(band.band, [])
            if used or not known_failures:
                known_failures.append((error.reason, error.detail))
            return False
        _accept(band, used, stamp, n_other_px, is_base=base is not None)
        return True

    def _best_base(self, band: FetchedBand, candidates: Sequence[Candidate]) -> Candidate | None:
        """Return the candidate whose image holds the object and the most of its stamp."""
        best, most = None, 0
        for candidate in candidates:
            image = self._image(band, candidate)
            if image is None or not image.piece.holds_object:
                continue
            square = image.piece.square(self.query.size_px)
            n_px = int((~np.isnan(square)).sum())
            if n_px > most:
                best, most = candidate, n_px
            if n_px == square.size:
                break
        return best

    def _ordered(self, band: FetchedBand, tile: str | None) -> list[Candidate]:
        candidates = self.choices[band.band][:MAX_CANDIDATES]
        if tile is None:
            return list(candidates)
        chosen = self._of_tile(band, tile)
        # A tile without this band has a place that no image fills.
        first = chosen or Candidate("", tile)
        return [first, *(one for one in candidates if one.tile != tile)]

    def _of_tile(self, band: FetchedBand, tile: str) -> Candidate | None:
        return next((one for one in self.choices[band.band] if one.tile == tile), None)

    def _has_other(self, band: FetchedBand) -> bool:
        return len(self.choices[band.band]) > 1

    def _ends_here(self, piece: Piece) -> bool:
        return ends_within(piece.square(self.query.size_px))

    def _image(self, band: FetchedBand, candidate: Candidate) -> Image | None:
        """Return an image, asked for unless it was before; None where it cannot be had."""
        if not candidate.url:
            return None
        key = f"{band.band} {candidate.url}"
        if key in self.images:
            return self.images[key]
        band.url = candidate.url
        try:
            image = self.downloads.image(self.place, band.band, candidate.url)
        except ImageFailedError as failure:
            band.attempts += failure.attempts
            if failure.outage is not None:
                self.outages[band.band] = failure.outage
            self.failures.setdefault(band.band, []).append((failure.reason, failure.detail))
            self.images[key] = None
            return None
        band.attempts += image.attempts
        self.images[key] = image
        self.footprints.setdefault(candidate.tile, image.piece)
        return image

    def _whole(self, band: FetchedBand, image: Image) -> Stamp | None:
        try:
            return stamp_of(image.piece, self.query.size_px)
        except BadContentError as error:
            self.failures.setdefault(band.band, []).append((error.reason, error.detail))
            return None

    def lose(self) -> None:
        """Note why the object is lost: a fault that may pass, an edge, or what came first."""
        band = self.failed or self.result.bands[0]
        failures = self.failures.get(band.band) or [("edge", "no image holds the object")]
        reasons = [reason for reason, _ in failures]
        band.reason = reasons[0]
        self.result.outage = self.outages.get(band.band)
        if isinstance(self.result.outage, RequestError):
            # It may pass, so that another run may find the object.
            band.reason = self.result.outage.reason
        elif "edge" in reasons:
            band.reason = "edge"
        said = dict.fromkeys(f"{r}: {d}" if d else r for r, d in failures)
        _give_up(self.result, band.reason, f"band {band.band}: {'; '.join(said)}")


def _accept(
    band: FetchedBand,
    images: Sequence[Image],
    stamp: Stamp,
    n_other_px: int = 0,
    *,
    is_base: bool = True,
) -> None:
    """Note a stamp and the images it was made of; the first gives the grid if ``is_base``."""
    band.status, band.reason = "ok", ""
    band.url, band.bytes, band.sha256 = images[0].url, images[0].n_bytes, images[0].sha256
    band.stamp, band.n_filled_px, band.n_other_px = stamp.image, stamp.n_filled_px, n_other_px
    others = images[1:] if is_base else images
    band.other_url = " ".join(image.url for image in others)


def _give_up(result: Fetched, reason: str, detail: str) -> Fetched:
    """Mark the object as lost and every band without a fate as not tried."""
    result.reason, result.detail = reason, detail
    listed = any(band.reason or band.status == "ok" for band in result.bands)
    for band in result.bands:
        if band.status != "ok" and not band.reason:
            band.reason = "not tried" if listed else reason
        band.stamp = None
    return result
