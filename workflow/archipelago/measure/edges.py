"""How many objects at the edges of survey tiles keep their images, and how good these are.

Objects of a demo sky are asked for through the code of the search, with the embedded survey
asked directly instead of over HTTP. Two layouts of tiles:

own : the demo's tiles as they are; neighbours overlap by 1 arcmin, some end at the survey's end.
split : two tiles meet at each object chosen, within its stamp, with tangent points 0.6 deg
    apart, so that no tile holds the stamp, but both together do.

``python -m archipelago.measure.edges 1 2 3`` prints the figures of some seeds.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import numpy as np

from archipelago.demosky.images import NOISE_COUNTS, SEEING_ARCSEC, Painter, survey_of
from archipelago.demosky.server import ImageService
from archipelago.demosky.sky import IMAGE_BANDS, Sky, build_sky
from archipelago.demosky.survey_tiles import (
    PIXEL_SCALE_ARCSEC,
    TILE_SIZE_PX,
    SurveyTile,
    SurveyTiles,
)
from archipelago.survey.cutout_query import CutoutQuery
from archipelago.survey.downloads import Downloads
from archipelago.survey.faults import BadContentError, RequestError
from archipelago.survey.http import HttpClient, Reply
from archipelago.survey.one_object import Fetched, ObjectFetcher

#: Side of a stamp [pixels], as in the configuration's default.
SIZE_PX = 28
#: Distance of the tangent points of split tiles from their object [deg].
_SHIFT_DEG = 0.3
#: What a split tile holds beyond the object, away from the split, and along it [pixels].
_DEPTH_PX = 150
_BASE = "http://127.0.0.1"
_QUERY = CutoutQuery(
    bands=tuple(IMAGE_BANDS),
    size_px=SIZE_PX,
    pixel_scale_arcsec=PIXEL_SCALE_ARCSEC,
    zero_point_ab=30.0,
)


@dataclass(frozen=True)
class EdgeFigures:
    """What became of objects at edges.

    Parameters
    ----------
    n_edge : objects on a tile that ends within their stamp.
    n_exist : those of them whose pixels exist in the tiles together.
    n_rescued : those of these that got their images in all bands.
    n_assembled : those of these whose images are of several tiles.
    requests_per_object : lists and images asked for, per object of ``n_edge``.
    error_sigma : root mean square of what the pixels taken from another tile differ from what
        the tile of the grid would show there, without noise [noise of a pixel]; it
        holds the tiles' difference in seeing. NaN where nothing was assembled.
    error_median_sigma : the median of its absolute value [noise of a pixel].
    error_share : the same over the root mean square of that tile's pixels.
    flux_error : median over stamps and bands of |sum of them - sum of what the tile would show|
        over the latter, where the object's light is more than 20 times the noise.
    """

    n_edge: int
    n_exist: int
    n_rescued: int
    n_assembled: int
    requests_per_object: float
    error_sigma: float
    error_median_sigma: float
    error_share: float
    flux_error: float


class DirectClient(HttpClient):
    """Asks the embedded image service without a network.

    Parameters
    ----------
    service : answers.
    """

    def __init__(self, service: ImageService) -> None:
        super().__init__(connections=1)
        self._service = service
        self.n_requests = 0

    def request(self, method: str, url: str, **options: Any) -> Reply:
        """Return the service's answer; raises `RequestError` where it is not what was asked."""
        self.n_requests += 1
        parts = urlsplit(url)
        if parts.path.startswith("/sia"):
            answer = self._service.sia(dict(parse_qsl(parts.query)), _BASE)
        else:
            answer = self._service.cutout(parts.query)
        if answer.status >= 400:
            reason = f"http {answer.status}"
            raise RequestError("refused", url=url, reason=reason, status=answer.status, attempts=1)
        try:
            if options.get("check"):
                options["check"](answer.body)
        except BadContentError as error:
            raise RequestError(
                str(error), url=url, reason=error.reason, status=200, attempts=1
            ) from error
        return Reply(url, 200, {}, answer.body, attempts=1)


class EvenPainter(Painter):
    """Paints all tiles with the same seeing and noise, so that only resampling differs."""

    def _tile_settings(
        self, tile: SurveyTile, band: str
    ) -> tuple[float, float, np.ndarray[Any, np.dtype[np.uint64]]]:
        return SEEING_ARCSEC[band], NOISE_COUNTS[band], super()._tile_settings(tile, band)[2]


def rescued_edges(
    seed: int, n_split: int = 60, *, same_seeing: bool = False
) -> dict[str, EdgeFigures]:
    """Return what becomes of the edge objects of a demo sky, for both layouts of tiles.

    Parameters
    ----------
    seed : of the sky.
    n_split : objects at which tiles are split.
    same_seeing : leave out the tiles' differences in seeing.
    """
    sky = build_sky(seed)
    wanted = sky.truth[sky.truth["survives_allwise"].to_numpy(bool)]
    ra, dec = (wanted[name].to_numpy(np.float64) for name in ("ra_deg", "dec_deg"))
    own = survey_of(sky)
    at_edge = np.array([_at_edge(own, a, d) for a, d in zip(ra, dec, strict=True)], dtype=bool)
    rng = np.random.default_rng(seed)
    chosen, split = _split_tiles(ra, dec, rng, n_split)
    return {
        "own": _figures(sky, own, ra[at_edge], dec[at_edge], same_seeing),
        "split": _figures(sky, split, ra[chosen], dec[chosen], same_seeing),
    }


def _figures(
    sky: Sky, tiles: SurveyTiles, ra: np.ndarray, dec: np.ndarray, same_seeing: bool
) -> EdgeFigures:
    painter = (EvenPainter if same_seeing else Painter)(sky, tiles, noise=False)
    client = DirectClient(ImageService(painter))
    fetcher = ObjectFetcher(Downloads(client, _QUERY), f"{_BASE}/sia/des_dr2", _QUERY)
    n_exist = n_rescued = n_assembled = 0
    errors: list[np.ndarray] = []
    truths: list[np.ndarray] = []
    fluxes: list[float] = []
    for one_ra, one_dec in zip(ra.tolist(), dec.tolist(), strict=True):
        fetched = fetcher(one_ra, one_dec)
        exists = _pixels_exist(tiles, one_ra, one_dec)
        n_exist += exists
        n_rescued += exists and not fetched.reason
        if fetched.reason or not any(band.n_other_px for band in fetched.bands):
            continue
        n_assembled += exists
        for error, truth, flux in _against_truth(painter, fetched, one_ra, one_dec):
            errors.append(error)
            truths.append(truth)
            fluxes += [flux] if math.isfinite(flux) else []
    error = np.concatenate(errors) if errors else np.array([np.nan])
    truth = np.concatenate(truths) if truths else np.array([np.nan])
    rms = float(np.sqrt(np.mean(error**2)))
    return EdgeFigures(
        n_edge=len(ra),
        n_exist=int(n_exist),
        n_rescued=int(n_rescued),
        n_assembled=int(n_assembled),
        requests_per_object=client.n_requests / max(len(ra), 1),
        error_sigma=rms,
        error_median_sigma=float(np.median(np.abs(error))),
        error_share=rms / float(np.sqrt(np.mean(truth**2))),
        flux_error=float(np.median(fluxes)) if fluxes else math.nan,
    )


def _against_truth(
    painter: Painter, fetched: Fetched, ra_deg: float, dec_deg: float
) -> Iterable[tuple[np.ndarray, np.ndarray, float]]:
    """Yield error and truth of the pixels of another tile [sigma], and the error of the flux."""
    for band in fetched.bands:
        name = re.search(r"siaRef=(\S+?)_r\d+p01_", band.url)
        if not band.n_other_px or band.stamp is None or name is None:
            continue
        tile = painter.tiles.by_name[name[1]]
        whole = replace(
            tile, x_range=(-100, TILE_SIZE_PX + 100), y_range=(-100, TILE_SIZE_PX + 100)
        )
        left, low = _corner(tile, ra_deg, dec_deg)
        truth = painter.cutout(whole, band.band, left, low, SIZE_PX, SIZE_PX).astype(np.float64)
        sigma = painter.noise_counts(tile, band.band)
        taken = ~_inside(tile, left, low)
        difference = band.stamp - truth
        total = float(truth.sum())
        bright = total > 20 * sigma * SIZE_PX
        flux = abs(float(difference.sum())) / total if bright else math.nan
        yield difference[taken] / sigma, truth[taken] / sigma, flux


def _corner(tile: SurveyTile, ra_deg: float, dec_deg: float) -> tuple[int, int]:
    x, y = (float(value) for value in tile.pixel_of(ra_deg, dec_deg))
    half = (SIZE_PX - 1) / 2 - 0.5
    return math.floor(x - half), math.floor(y - half)


def _inside(tile: SurveyTile, left: int, low: int) -> np.ndarray:
    """Say which pixels of a stamp lie on a tile, (y, x)."""
    x, y = np.arange(left, left + SIZE_PX), np.arange(low, low + SIZE_PX)
    columns = (x >= tile.x_range[0]) & (x < tile.x_range[1])
    rows = (y >= tile.y_range[0]) & (y < tile.y_range[1])
    return np.asarray(rows[:, None] & columns[None, :])


def _at_edge(tiles: SurveyTiles, ra_deg: float, dec_deg: float) -> bool:
    """Say whether a tile that shows the object ends within its stamp."""
    holding = tiles.holding(ra_deg, dec_deg)
    return any(not _inside(tile, *_corner(tile, ra_deg, dec_deg)).all() for tile in holding)


def _pixels_exist(tiles: SurveyTiles, ra_deg: float, dec_deg: float) -> bool:
    """Say whether some tile's grid around the object is covered by the tiles together."""
    near = [
        tile
        for tile in tiles.tiles
        if abs(tile.dec_deg - dec_deg) < 1.5
        and abs((tile.ra_deg - ra_deg + 180) % 360 - 180) * math.cos(math.radians(dec_deg)) < 1.5
    ]
    for tile in tiles.holding(ra_deg, dec_deg):
        left, low = _corner(tile, ra_deg, dec_deg)
        y, x = np.mgrid[low : low + SIZE_PX, left : left + SIZE_PX]
        places = tile.sky_of(x, y)
        covered = _inside(tile, left, low)
        for other in near:
            covered |= other.holds(*places)
        if covered.all():
            return True
    return False


def _split_tiles(
    ra: np.ndarray, dec: np.ndarray, rng: np.random.Generator, n_wanted: int
) -> tuple[list[int], SurveyTiles]:
    """Return places of objects, and two tiles for each that meet within its stamp."""
    chosen: list[int] = []
    tiles: dict[str, SurveyTile] = {}
    for place in rng.permutation(len(ra)).tolist():
        along_x = bool(rng.integers(2))
        edge_px = int(rng.integers(-12, 13))
        overlap_px = int(rng.integers(1, 9))
        pair = [
            _half(ra[place], dec[place], place, side, along_x, edge_px, overlap_px)
            for side in (-1, 1)
        ]
        far = all(
            abs(dec[place] - dec[one]) > 0.1 or abs(ra[place] - ra[one]) > 0.2 for one in chosen
        )
        if not far or any(tile.name in tiles for tile in pair) or pair[0].name == pair[1].name:
            continue
        tiles |= {tile.name: tile for tile in pair}
        chosen.append(place)
        if len(chosen) == n_wanted:
            break
    return chosen, SurveyTiles(tiles.values())


def _half(
    ra_deg: float,
    dec_deg: float,
    number: int,
    side: int,
    along_x: bool,
    edge_px: int,
    overlap_px: int,
) -> SurveyTile:
    """Return the tile on one side of a split ``edge_px`` from an object."""
    centre = SurveyTile(
        row=number,
        column=side,
        ra_deg=float(ra_deg + side * _SHIFT_DEG / math.cos(math.radians(dec_deg))) % 360,
        dec_deg=float(dec_deg) + 0.1 * side,
    )
    x, y = (float(value) for value in centre.pixel_of(ra_deg, dec_deg))
    split, other = (x, y) if along_x else (y, x)
    ranges = [0, 0], [math.floor(other) - _DEPTH_PX, math.floor(other) + _DEPTH_PX]
    if side < 0:
        ranges[0][:] = math.floor(split) - _DEPTH_PX, math.floor(split + edge_px) + 1
    else:
        ranges[0][:] = math.floor(split + edge_px) + 1 - overlap_px, math.floor(split) + _DEPTH_PX
    first, second = (tuple(one) for one in (ranges if along_x else ranges[::-1]))
    return replace(centre, x_range=(first[0], first[1]), y_range=(second[0], second[1]))


def main(arguments: list[str]) -> int:
    """Print the figures of the seeds named on the command line."""
    for seed in map(int, arguments or ["1"]):
        for layout, figures in rescued_edges(seed).items():
            print(f"seed {seed}, {layout}: {asdict(figures)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
