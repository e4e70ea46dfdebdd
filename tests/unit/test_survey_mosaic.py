"""Stamps from several images, and the edges of a demo sky."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.loopback import Answer, Loopback, votable
from test_survey_cutouts import (
    BANDS,
    DEC,
    FIELDS,
    QUERY,
    RA,
    SCALE,
    Sky,
    fetch,
    fits_bytes,
    header,
    objects,
    pixels,
    rows_of,
)

from archipelago.measure.edges import rescued_edges
from archipelago.survey.faults import BadContentError
from archipelago.survey.frames import TanFrame
from archipelago.survey.mosaic import background_step, fill_from, grid_of
from archipelago.survey.stamps import CutoutReader, Piece, filled

SIGMA_PX = 2.0


def light(frame: TanFrame, height: int, width: int, level: float = 0.0) -> np.ndarray:
    """A round source at the position, as a tile with this frame shows it."""
    y, x = np.mgrid[0:height, 0:width].astype(float)
    x0, y0 = frame.pixel_of(RA, DEC)
    return level + 100 * np.exp(-((x - x0) ** 2 + (y - y0) ** 2) / (2 * SIGMA_PX**2))


def frame(x: float, y: float, turn_deg: float = 0.0, scale: float = SCALE) -> TanFrame:
    cos, sin = np.cos(np.radians(turn_deg)), np.sin(np.radians(turn_deg))
    step = scale / 3600
    return TanFrame(RA, DEC, x, y, (-step * cos, step * sin, step * sin, step * cos))


def piece(where: TanFrame, height: int = 40, width: int = 40, level: float = 0.0) -> Piece:
    x, y = (float(v) for v in where.pixel_of(RA, DEC))
    return Piece(light(where, height, width, level), where, x, y)


@pytest.mark.parametrize("turn_deg", [0.0, 1.5, -88.0, 180.0])
def test_missing_pixels_come_from_the_turned_other(turn_deg: float) -> None:
    base = piece(frame(20.2, 19.7), width=25)
    whole = piece(frame(20.2, 19.7)).square(28)
    other = piece(frame(20.6, 20.1, turn_deg))
    square = base.square(28)
    assert np.isnan(square).sum() == 28 * 10
    made, n = fill_from(square, grid_of(base, 28), other, base)
    assert n == 28 * 10
    has = ~np.isnan(square)
    np.testing.assert_array_equal(made[has], square[has])
    np.testing.assert_allclose(made, whole, atol=0.05)


def test_flux_of_other_pixels_follows_their_area() -> None:
    base, other = piece(frame(20, 20), width=25), piece(frame(20, 20, scale=SCALE * 1.01))
    flat = Piece(np.full((40, 40), 7.0), other.frame, other.x, other.y)
    made, _ = fill_from(np.full((28, 28), np.nan), grid_of(base, 28), flat, base)
    np.testing.assert_allclose(made, 7.0 / 1.01**2, rtol=1e-6)


def test_background_is_matched_only_where_it_differs() -> None:
    rng = np.random.default_rng(1)
    base, other = rng.normal(0, 1, (28, 28)), rng.normal(0, 1, (28, 28))
    assert background_step(base, other) == 0.0
    assert background_step(base, other - 3.0) == pytest.approx(3.0, abs=0.2)
    few = np.full((28, 28), np.nan)
    few[0, :20] = 0.0
    assert background_step(few, other - 3.0) == 0.0


def test_gaps_of_the_other_are_not_spread() -> None:
    base, other = piece(frame(20, 20), width=25), piece(frame(20.5, 20))
    other.values[10:12, 28] = np.nan
    made, _ = fill_from(base.square(28), grid_of(base, 28), other, base)
    assert 2 <= np.isnan(made).sum() <= 8
    assert np.nanmax(np.abs(made)) < 101
    assert filled(made).n_filled_px == np.isnan(made).sum()


# Through the service


def half(west: bool, band: str, short_px: int = 5, **other: object) -> bytes:
    """A tile's cutout that ends ``short_px`` beyond the object, on one side."""
    whole = light(frame(20, 20), 40, 40) + pixels(40, 40, seed=ord(band)) * 0.01
    if west:
        return fits_bytes(
            whole[:, : 21 + short_px].astype(np.float32), header(RA, DEC, 20, 20, **other)
        )
    cut = 20 - short_px
    return fits_bytes(whole[:, cut:].astype(np.float32), header(RA, DEC, 20 - cut, 20, **other))


def one_object() -> object:
    table = objects(1)
    table["ra_deg"] = RA
    return table


def test_an_object_between_two_tiles_is_put_together(server: Loopback) -> None:
    sky = Sky(
        server,
        tiles={"A": 0.0, "B": 0.1},
        cut=lambda tile, band: Answer(half(tile == "A", band, 7 if tile == "A" else 5)),
    )
    cutouts, manifest, losses = fetch(sky, one_object())
    assert len(losses) == 0 and cutouts.ids.tolist() == [1]
    assert manifest["status"].tolist() == ["ok"] * 5
    assert manifest["n_other_px"].tolist() == [28 * 7] * 5
    assert all("siaRef=A_" in url for url in manifest["url"])
    assert all("siaRef=B_" in url for url in manifest["other_url"])
    # Each image is asked for once.
    assert sorted(sky.asked()) == sorted(f"{tile}_{band}" for tile in "AB" for band in BANDS)
    expected = piece(frame(20, 20)).square(28)
    np.testing.assert_allclose(cutouts.images[0, 0], expected, atol=0.1)
    again = fetch(sky, one_object(), connections=1)
    np.testing.assert_array_equal(again[0].images, cutouts.images)


def test_zero_points_of_two_tiles_are_brought_together(server: Loopback) -> None:
    def cut(tile: str, band: str) -> Answer:
        whole = light(frame(20, 20), 40, 40)
        if tile == "A":
            return Answer(fits_bytes(whole[:, :26].astype("f4"), header(RA, DEC, 20, 20)))
        faint = (whole[:, 15:] / 10).astype("f4")
        return Answer(fits_bytes(faint, header(RA, DEC, 5, 20, MAGZERO=27.5)))

    cutouts, manifest, _ = fetch(Sky(server, tiles={"A": 0.0, "B": 0.1}, cut=cut), one_object())
    assert (manifest["n_other_px"] > 0).all()
    np.testing.assert_allclose(cutouts.images[0, 0], piece(frame(20, 20)).square(28), atol=0.05)


def test_pixels_that_no_tile_has_lose_the_object_as_an_edge(server: Loopback) -> None:
    sky = Sky(server, tiles={"A": 0.0, "B": 0.1}, cut=lambda tile, band: Answer(half(True, band)))
    _, manifest, losses = fetch(sky, one_object())
    assert losses["reason"].tolist() == ["edge"]
    assert "no image has 252 of its pixels" in losses["detail"][0]
    assert manifest["reason"].tolist() == ["edge", *["not tried"] * 4]
    assert sorted(sky.asked()) == ["A_g", "B_g"]


def test_gaps_along_an_edge_count_as_missing(server: Loopback) -> None:
    def cut(tile: str, band: str) -> Answer:
        data = light(frame(20, 20), 40, 40).astype(np.float32)
        if tile == "A":
            data[:10, :] = np.nan
        return Answer(fits_bytes(data, header(RA, DEC, 20, 20)))

    cutouts, manifest, _ = fetch(Sky(server, tiles={"A": 0.0, "B": 0.1}, cut=cut), one_object())
    assert cutouts.ids.tolist() == [1]
    # B holds all of it, so that nothing is put together.
    assert all("siaRef=B_" in url for url in manifest["url"])
    assert manifest["n_other_px"].sum() == manifest["n_filled_px"].sum() == 0


def test_a_band_that_one_tile_lacks_is_put_on_its_grid(server: Loopback) -> None:
    def cut(tile: str, band: str) -> Answer:
        if (tile, band) in (("A", "z"), ("B", "r")):
            return Answer(b"gone", 404)
        x = 20.0 if tile == "A" else 20.5
        data = light(frame(x, 20), 40, 40).astype(np.float32)
        return Answer(fits_bytes(data, header(RA, DEC, x, 20)))

    cutouts, manifest, _ = fetch(Sky(server, tiles={"A": 0.0, "B": 0.1}, cut=cut), one_object())
    assert cutouts.ids.tolist() == [1]
    assert manifest["n_other_px"].tolist() == [0, 0, 0, 784, 0]
    np.testing.assert_allclose(cutouts.images[0, 3], cutouts.images[0, 0], atol=0.1)


def test_tiles_that_the_list_leaves_out_are_asked_for(server: Loopback) -> None:
    """As services do that list only what holds the position itself."""
    sky = Sky(server, cut=lambda tile, band: Answer(half(tile == "A", band)))

    def listed(request: object) -> Answer:
        ra = float(request.query["POS"].split(",")[0])  # type: ignore[attr-defined]
        tile = "A" if abs(ra - RA) < 1e-6 else "B"
        return Answer(votable(FIELDS, rows_of(server.url + "/cut", tile)))

    sky.list_answer = listed
    cutouts, manifest, _ = fetch(sky, one_object())
    assert cutouts.ids.tolist() == [1] and len(server.seen("/sia")) == 2
    assert set(manifest["n_other_px"]) == {224}


def test_an_image_far_from_the_object_is_of_another_place() -> None:
    body = fits_bytes(pixels(), header(x=60))
    options = {"size_px": 28, "pixel_scale_arcsec": SCALE, "zero_point_ab": 30.0}
    with pytest.raises(BadContentError, match="wrong position: the object is at pixel .60.0, 16.5"):
        CutoutReader("g", RA, DEC, **options)(body)
    near = CutoutReader("g", RA, DEC, **options)
    near(fits_bytes(pixels(), header(x=40)))
    assert near.piece is not None and not near.piece.holds_object
    assert QUERY.size_px == 28


@pytest.mark.slow
def test_edge_objects_of_demo_skies_are_rescued() -> None:
    figures = rescued_edges(3, n_split=20)
    for one in figures.values():
        assert one.n_exist > 0 and one.n_rescued >= 0.9 * one.n_exist
    split = figures["split"]
    assert split.n_assembled >= 10
    assert split.flux_error < 0.01 and split.error_median_sigma < 0.3
