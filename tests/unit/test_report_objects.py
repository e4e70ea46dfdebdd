"""Objects, cutouts and scripts inside the page: compact, bounded, safe."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from archipelago.base.errors import DataError
from archipelago.base.images import ImageSet
from archipelago.report import scripts
from archipelago.report.objects import MAX_KNOWN, chosen, embed, to_json
from archipelago.report.sprite import colours, make_sprite
from archipelago.report.stamps import colour_stamp

TYPES = {"f4": "<f4", "f8": "<f8", "i4": "<i4", "b1": "u1"}


def _table(n: int, **columns: Any) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    table = pd.DataFrame(
        {
            "id": 2**60 + np.arange(n, dtype=np.int64),
            "rank": np.arange(1, n + 1),
            "ra_deg": rng.uniform(0, 30, n),
            "dec_deg": rng.uniform(-50, -40, n),
            "score": -np.arange(n, dtype=float),
            "is_known": np.arange(n) % 50 == 3,
        }
    )
    return table.assign(**columns)


def _values(data: dict[str, Any], name: str) -> Any:
    column = next(column for column in data["columns"] if column["name"] == name)
    if column["type"] in TYPES:
        return np.frombuffer(base64.b64decode(column["data"]), TYPES[column["type"]])
    return column["data"]


def test_columns_come_back_as_they_were() -> None:
    table = _table(
        5,
        mag_ab_z=[20.123456, 99.0, np.nan, 21.0, 19.0],
        island=pd.array([1, None, -1, 2, 3], dtype="Int64"),
        n_bands=[9, 8, 7, 6, 5],
        seen=pd.array([True, None, False, True, True], dtype="boolean"),
        date_mjd=[58000.123456789, np.nan, 1e6 + 0.123456789, 0.0, np.inf],
        huge=np.array([2**55, 1, 2, 3, 4]),
        tile=["a", None, "<b>", "d" * 1000, "e"],
    )
    data, sprite = embed(table, ["z"], run="x", carded=[table["id"][2]], n_listed=3)
    assert sprite == ""
    assert _values(data, "id") == [str(i) for i in table["id"]]
    np.testing.assert_array_equal(_values(data, "ra_deg"), table["ra_deg"])
    np.testing.assert_allclose(
        _values(data, "mag_ab_z"), [20.123456, np.nan, np.nan, 21, 19], rtol=1e-6
    )
    np.testing.assert_array_equal(_values(data, "island"), [1, np.nan, -1, 2, 3])
    np.testing.assert_array_equal(_values(data, "n_bands"), table["n_bands"])
    np.testing.assert_array_equal(_values(data, "seen"), [1, 2, 0, 1, 1])
    np.testing.assert_array_equal(_values(data, "date_mjd"), table["date_mjd"])
    assert _values(data, "huge")[0] == str(2**55)
    assert _values(data, "tile") == ["a", "", "<b>", "d" * 400, "e"]
    assert list(base64.b64decode(data["card"])) == [0, 0, 1, 0, 0]
    assert list(base64.b64decode(data["listed"])) == [1, 1, 1, 0, 0]
    units = {column["name"]: (column["unit"], column["ucd"]) for column in data["columns"]}
    assert units["ra_deg"] == ("deg", "pos.eq.ra;meta.main")
    assert units["mag_ab_z"][0] == "mag" and units["mag_ab_z"][1].startswith("phot.mag")


def test_json_cannot_leave_its_element() -> None:
    evil = "</script><!--<script>\u2028\ud800&"
    text = to_json({"evil": evil})
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text)["evil"] == evil.replace("\ud800", "?")


def test_right_ascensions_around_zero_stand_together() -> None:
    table = _table(3, ra_deg=[359.0, 1.0, 358.0])
    data, _ = embed(table, [], run="x")
    x = np.frombuffer(base64.b64decode(data["views"][0]["x"]), "<f4")
    np.testing.assert_allclose(np.ptp(x), 3.0)


def test_a_large_search_is_thinned_where_it_is_dense() -> None:
    n = 60_000
    rng = np.random.default_rng(1)
    x = np.where(np.arange(n) % 100 == 0, rng.uniform(5, 10, n), rng.normal(0, 0.2, n))
    view = {"x": x, "y": rng.normal(0, 0.2, n)}
    table = _table(n)
    always = np.arange(n) < 500
    keep = chosen(table, always, [view], 5000)
    assert keep.sum() <= 5000 and keep.sum() > 4500
    assert keep[:500].all()
    assert keep[table["is_known"].to_numpy()].sum() >= min(MAX_KNOWN, n // 50)
    alone = x > 5
    assert keep[alone].mean() > 3 * keep[~alone & ~always].mean()
    np.testing.assert_array_equal(keep, chosen(table, always, [view], 5000))


@pytest.mark.parametrize("places", [[], [{"x": np.full(100, np.nan), "y": np.zeros(100)}]])
def test_thinning_without_places(places: list[dict[str, Any]]) -> None:
    keep = chosen(_table(100), np.zeros(100, dtype=bool), places, 10)
    assert 2 <= keep.sum() <= 10


def test_columns_that_do_not_fit_are_named() -> None:
    table = _table(1000, **{f"extra_{k}": np.arange(1000.0) for k in range(20)})
    data, _ = embed(table, [], run="x", max_bytes=60_000)
    names = [column["name"] for column in data["columns"]]
    assert names[:6] == list(table.columns[:6])
    assert data["left_out"] and set(names) | set(data["left_out"]) == set(table.columns)
    assert len(to_json(data)) < 150_000


def _cutouts(n: int, n_bands: int = 5, side: int = 28) -> ImageSet:
    rng = np.random.default_rng(2)
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    light = 400 * np.exp(-(x**2 + (y - 4) ** 2) / 8)
    share = np.linspace(0.1, 1, n_bands)[:, None, None]
    planes = rng.normal(0, 2.5, (n, n_bands, side, side)) + light * share
    return ImageSet(np.float32(planes), 100 + np.arange(n), tuple("grizY"[:n_bands]), 0.263, 30.0)


def _pixels(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))).convert("RGB"))


def test_the_sprite_holds_each_cutout_in_its_place() -> None:
    images = _cutouts(70)
    images.images[3] = np.nan
    images.images[7, 3] = np.nan
    ids = np.array([500, *images.ids[::-1]])
    sprite = make_sprite(images, ids)
    assert sprite.step_px == 32 and sprite.side_px == 28 and sprite.per_row == 64
    assert sprite.place[0] == -1 and sprite.place[1 + 66] == -1
    assert sorted(sprite.place[sprite.place >= 0]) == list(range(69))
    picture = _pixels(sprite.uri)
    place = int(sprite.place[5])
    y, x = divmod(place, sprite.per_row)
    tile = picture[y * 32 : y * 32 + 28, x * 32 : x * 32 + 28]
    # North is up: the light lies above the middle.
    top = np.unravel_index(tile.sum(axis=2).argmax(), (28, 28))
    assert top[0] < 13
    alone = _pixels(str(colour_stamp(images.images[65], images.bands)))
    # What JPEG takes of the noise.
    assert np.abs(tile.astype(int) - alone).mean() < 9


def test_colours_are_those_of_the_cards() -> None:
    images = _cutouts(4)
    planes = [images.bands.index(band) for band in ("z", "i", "r")]
    made = colours(images.images[:, planes])
    for k in range(4):
        card = _pixels(str(colour_stamp(images.images[k], images.bands)))
        assert np.abs(made[k].astype(int) - card).max() <= 1


@pytest.mark.parametrize(("n_bands", "side"), [(1, 28), (2, 17), (3, 90)])
def test_cutouts_of_any_bands_and_size(n_bands: int, side: int) -> None:
    sprite = make_sprite(_cutouts(3, n_bands, side), np.arange(100, 103))
    assert sprite.side_px <= 40 and sprite.step_px % 8 == 0
    assert _pixels(sprite.uri).max() > 150


def test_no_cutouts() -> None:
    assert make_sprite(None, np.arange(3)).uri == ""
    assert make_sprite(_cutouts(2), np.arange(3)).uri == ""
    images = _cutouts(2)
    images.images[:] = np.nan
    assert make_sprite(images, images.ids).uri == ""
    limited = make_sprite(_cutouts(5), np.arange(100, 105), limit=2)
    assert limited.place.tolist() == [0, 1, -1, -1, -1]


def test_bokeh_needs_no_more_than_its_bundles() -> None:
    texts = scripts.bokeh_scripts()
    assert len(texts) == 2 and all("sourceMappingURL=" not in text[-200:] for text in texts)
    assert sum(map(len, texts)) < 2_000_000


def test_a_bundle_that_would_end_its_element_is_refused(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "js").mkdir()
    for name in scripts.BUNDLES:
        (tmp_path / "js" / name).write_text("const a = '</SCRIPT>';")
    monkeypatch.setattr(scripts, "bokehjs_path", lambda: tmp_path)
    scripts.bokeh_scripts.cache_clear()
    try:
        with pytest.raises(DataError, match="cannot stand inside a page"):
            scripts.bokeh_scripts()
    finally:
        scripts.bokeh_scripts.cache_clear()


def test_our_script_never_makes_markup_or_code_of_text() -> None:
    text = scripts.own_script()
    for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write"):
        assert word not in text
    assert "eval(" not in text and "CustomJS" not in text
    assert "Function(" not in text and 'setTimeout("' not in text
    assert "fetch(" not in text and "XMLHttpRequest" not in text
    assert "</script" not in text.lower() and "<!--" not in text
