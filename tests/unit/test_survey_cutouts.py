"""Lists of images, and cutouts from the list to the stamp."""

from __future__ import annotations

import gzip
import hashlib
import io
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from astropy.io import fits
from helpers.loopback import (
    Answer,
    Loopback,
    Request,
    error_votable,
    loopback_server,
    patient_client,
    votable,
)
from hypothesis import given
from hypothesis import strategies as st

import archipelago.survey.cutouts as module
from archipelago.base.errors import ArchipelagoError, DataError, ServiceError
from archipelago.base.images import ImageSet, load_images
from archipelago.base.losses import LOSS_COLUMNS
from archipelago.base.tables import read_table
from archipelago.survey.cutout_query import CutoutQuery
from archipelago.survey.cutouts import fetch_cutouts
from archipelago.survey.faults import BadContentError, RequestError
from archipelago.survey.fits_image import read_fits
from archipelago.survey.sia import choose_images
from archipelago.survey.stamps import CutoutReader, Stamp, stamp_of
from archipelago.survey.votable import read_reply

BANDS = ("g", "r", "i", "z", "Y")
SCALE = 0.263
RA, DEC = 45.0, -30.0


def header(
    ra_deg: float = RA,
    dec_deg: float = DEC,
    x: float = 16.5,
    y: float = 16.5,
    scale_arcsec: float = SCALE,
    **other: object,
) -> fits.Header:
    """A header in which the position lies at pixel (x, y), the first being 0."""
    made = fits.Header()
    made["CTYPE1"], made["CTYPE2"] = "RA---TAN", "DEC--TAN"
    made["CRVAL1"], made["CRVAL2"] = ra_deg, dec_deg
    made["CRPIX1"], made["CRPIX2"] = x + 1, y + 1
    made["CD1_1"], made["CD2_2"] = -scale_arcsec / 3600, scale_arcsec / 3600
    made["CD1_2"] = made["CD2_1"] = 0.0
    for key, value in other.items():
        made[key] = value
    return made


def pixels(height: int = 34, width: int = 34, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(height, width)).astype(np.float32)


def fits_bytes(data: np.ndarray | None, head: fits.Header | None = None) -> bytes:
    out = io.BytesIO()
    fits.PrimaryHDU(data, head).writeto(out)
    return out.getvalue()


# Lists of images


FIELDS = [
    ("location", "char", "VOX:Image_AccessReference"),
    ("obs_bandpass", "char", "VOX:BandPass_ID"),
    ("prodtype", "char"),
    ("access_format", "char", "VOX:Image_Format"),
    ("s_ra", "double", "POS_EQ_RA_MAIN"),
    ("s_dec", "double", "POS_EQ_DEC_MAIN"),
]


def rows_of(base: str, tile: str, *, ra: float = RA, bands: tuple[str, ...] = BANDS) -> list[Any]:
    """The 33 rows of one tile."""
    kinds = {1: "image", 2: "dqmask", 3: "wtmap"}
    rows: list[Any] = []
    for band in bands:
        for suffix in ("", "_nobkg"):
            name = f"{tile}_{band}{suffix}.fits.fz"
            for extn, kind in kinds.items():
                url = f"{base}?siaRef={name}&extn={extn}&POS={RA},{DEC}&SIZE=0.0025,0.0025"
                rows.append((url, band, kind, "image/fits", ra, DEC))
    for extn, kind in kinds.items():
        url = f"{base}?siaRef={tile}_det.fits.fz&extn={extn}&POS={RA},{DEC}"
        rows.append((url, "", kind, "image/fits", ra, DEC))
    return rows


def choose(rows: list[Any], fields: Any = FIELDS, **options: Any) -> dict[str, list[str]]:
    chosen = choose_images(
        read_reply(votable(fields, rows)),
        BANDS,
        service_url="http://127.0.0.1:1/sia",
        ra_deg=RA,
        dec_deg=DEC,
        **options,
    )
    return {band: [candidate.url for candidate in found] for band, found in chosen.items()}


BASE = "http://127.0.0.1:1/cut"


def test_one_of_33_rows_per_band() -> None:
    rows = rows_of(BASE, "DES0219+0001_r1p01")
    assert len(rows) == 33
    chosen = choose(rows[::-1])
    for band in BANDS:
        (url,) = chosen[band]
        assert f"siaRef=DES0219+0001_r1p01_{band}.fits.fz&extn=1&" in url


@pytest.mark.parametrize("blank", ["band", "kind", "both"])
def test_band_and_kind_from_the_file_name(blank: str) -> None:
    rows = [
        (u, "" if blank != "kind" else b, "" if blank != "band" else k, f, ra, dec)
        for u, b, k, f, ra, dec in rows_of(BASE, "DES1_r1")
    ]
    assert choose(rows) == choose(rows_of(BASE, "DES1_r1"))


def test_columns_by_name_where_there_is_no_ucd() -> None:
    fields = [("accref", "char"), *((f[0], f[1]) for f in FIELDS[1:])]
    rows = rows_of(BASE, "DES1_r1")
    assert choose(rows, fields) == choose(rows)
    only = [(row[0],) for row in rows]
    assert choose(only, [("access_url", "char")]) == choose(rows)
    with pytest.raises(RequestError, match="no column of addresses; it has where"):
        choose(only, [("where", "char")])


def test_complete_and_near_tiles_come_first() -> None:
    far, near = rows_of(BASE, "A", ra=RA + 0.5), rows_of(BASE, "C", ra=RA + 0.1)
    partial = rows_of(BASE, "B", ra=RA, bands=("g", "Y"))
    chosen = choose([*far, *partial, *near, *near])
    order = {b: [u.split("siaRef=")[1][0] for u in urls] for b, urls in chosen.items()}
    assert order["g"] == ["C", "A", "B"]
    assert order["r"] == ["C", "A"]


def test_unsafe_addresses_and_other_formats_are_no_candidates() -> None:
    good = rows_of(BASE, "A")
    evil = rows_of("file:///etc/passwd", "B") + rows_of("http://10.0.0.1/cut", "C")
    text = [(*row[:3], "text/html", *row[4:]) for row in rows_of(BASE, "D")]
    assert choose([*evil, *text, *good]) == choose(good)
    assert choose([]) == {band: [] for band in BANDS}


def test_recorded_reply(shared_data: Path) -> None:
    recorded = shared_data / "datalab_sia_reply_nsc_dr2.xml.gz"
    if not recorded.is_file():
        pytest.skip(f"the recorded reply is not at {recorded}")
    reply = read_reply(gzip.decompress(recorded.read_bytes()))
    assert (len(reply), reply.status) == (156, "OK")
    assert reply.name_of_ucd("VOX:Image_AccessReference") == "access_url"
    service = "https://datalab.noirlab.edu/sia/nsc_dr2"
    position = {"ra_deg": 227.5251615214173, "dec_deg": -27.026013823449265}
    chosen = choose_images(reply, BANDS, service_url=service, extension=None, **position)
    assert {band: len(found) for band, found in chosen.items()} == {
        "g": 3,
        "r": 2,
        "i": 2,
        "z": 3,
        "Y": 0,
    }
    for band, found in chosen.items():
        assert all(f"_ooi_{band}_v" in candidate.url for candidate in found)
        assert all(c.url.startswith("https://datalab.noirlab.edu/svc/cutout?") for c in found)
    # Its images lie in other extensions than those of DES coadds.
    assert not any(choose_images(reply, BANDS, service_url=service, **position).values())


# FITS files and stamps


def test_complete_files_are_read() -> None:
    data = pixels()
    np.testing.assert_array_equal(read_fits(fits_bytes(data, header()))[0], data)
    out = io.BytesIO()
    hdus = fits.HDUList(
        [
            fits.PrimaryHDU(),
            fits.CompImageHDU(data, header(), compression_type="GZIP_2", quantize_level=0),
        ]
    )
    hdus.writeto(out)
    unpacked, packed_header, _ = read_fits(out.getvalue())
    np.testing.assert_array_equal(unpacked, data)
    assert packed_header["CTYPE1"] == "RA---TAN"
    whole = fits_bytes(data, header())
    padding = len(whole) - (len(whole) - 34 * 34 * 4) // 2880 * 2880 - 34 * 34 * 4
    assert read_fits(whole[: len(whole) - padding])[0].shape == (34, 34)  # last block not filled up


@pytest.mark.parametrize(
    ("body", "match"),
    [
        (b"", "empty"),
        (b"Traceback (most recent call last):\n ...", "not a FITS file: Traceback"),
        (gzip.compress(fits_bytes(pixels())), "not a FITS file"),
        (fits_bytes(pixels(), header())[:5000], "truncated: 5000 bytes"),
        (fits_bytes(pixels(), header())[:1000], "not a FITS file"),
        (b"SIMPLE  = nonsense" * 200, "not a FITS file|no image"),
        (fits_bytes(None), "no image: a FITS file without an image"),
        (fits_bytes(np.zeros((2, 3, 4))), "no image: 3 axes"),
        (fits_bytes(np.zeros((1, 2049), dtype="u1")), "image too large: 2049 x 1"),
    ],
)
def test_bad_files(body: bytes, match: str) -> None:
    with pytest.raises(BadContentError, match=match):
        read_fits(body)


def stamp(data: np.ndarray, head: fits.Header, **changes: Any) -> Stamp:
    options: dict[str, Any] = {
        **{"ra_deg": RA, "dec_deg": DEC, "size_px": 28},
        **{"pixel_scale_arcsec": SCALE, "zero_point_ab": 30.0},
        **changes,
    }
    reader = CutoutReader("g", **options)
    reader(fits_bytes(data, head))
    assert reader.piece is not None
    return stamp_of(reader.piece, options["size_px"])


@given(
    x=st.floats(14, 25),
    y=st.floats(14, 25),
    ra=st.floats(0, 360, exclude_max=True),
    dec=st.floats(-90, 90),
    size=st.sampled_from([27, 28]),
)
def test_object_lies_within_half_a_pixel_of_the_centre(
    x: float, y: float, ra: float, dec: float, size: int
) -> None:
    data = np.arange(40 * 40, dtype=float).reshape(40, 40)
    made = stamp(data, header(ra, dec, x, y), ra_deg=ra, dec_deg=dec, size_px=size)
    low, left = divmod(int(made.image[0, 0]), 40)
    assert made.image.shape == (size, size) and made.image.dtype == np.float32
    assert abs(x - left - (size - 1) / 2) <= 0.5 + 1e-5
    assert abs(y - low - (size - 1) / 2) <= 0.5 + 1e-5


def with_bad(n: int, start: int = 0, value: float = np.nan) -> np.ndarray:
    data = pixels()
    data[3, 3 + start : 3 + start + n] = value
    return data


@pytest.mark.parametrize(
    ("data", "head", "reason"),
    [
        (pixels(34, 20), header(x=10), "edge"),
        (pixels(), header(x=13.4), None),
        (pixels(), header(x=12.9), "edge"),
        (pixels(), header(y=20.6), "edge"),
        (pixels(), header(x=40), "wrong position"),
        (pixels(), header(RA, DEC + 1.0), "wrong position"),
        (pixels(), header(RA + 180, -DEC), "wrong position"),
        (pixels(), fits.Header(), "no WCS"),
        (pixels(), header(CTYPE1="WAVE"), "no WCS"),
        (pixels(), header(scale_arcsec=0.4), "pixel scale"),
        (np.zeros((34, 34)), header(), "constant"),
        (np.full((34, 34), np.nan), header(), "no values"),
        (with_bad(15), header(), None),
        (with_bad(16), header(), "bad pixels"),
        (with_bad(3, value=np.inf), header(), None),
    ],
)
def test_judgement(data: np.ndarray, head: fits.Header, reason: str | None) -> None:
    if reason is None:
        assert np.isfinite(stamp(data, head).image).all()
    else:
        with pytest.raises(BadContentError) as caught:
            stamp(data, head)
        assert caught.value.reason == reason


def test_bad_pixels_get_the_median_unless_at_the_object() -> None:
    data = with_bad(4)
    made = stamp(data, header())
    assert made.n_filled_px == 4
    inside = data[3:31, 3:31]
    np.testing.assert_allclose(made.image[0, :4], np.median(inside[np.isfinite(inside)]))
    data = pixels()
    data[16, 17] = np.nan
    with pytest.raises(BadContentError, match="bad pixels: 1 of 784"):
        stamp(data, header())


def test_zero_point_of_the_file() -> None:
    data = pixels()
    plain = stamp(data, header()).image
    np.testing.assert_array_equal(stamp(data, header(MAGZERO=30)).image, plain)
    np.testing.assert_allclose(stamp(data, header(MAGZERO=27.5)).image, 10 * plain, rtol=1e-6)
    np.testing.assert_array_equal(stamp(data, header(MAGZERO="none")).image, plain)


# From objects to stamps


Cut = Callable[[str, str], Answer | None]


@dataclass
class Sky:
    """An image service with tiles; ``cut(tile, band)`` may put another answer."""

    server: Loopback
    tiles: Mapping[str, float] = field(default_factory=lambda: {"A": 0.0})
    bands: tuple[str, ...] = BANDS
    cut: Cut = lambda tile, band: None
    list_answer: Callable[[Request], Answer | None] = lambda request: None

    def __post_init__(self) -> None:
        self.url = self.server.at("/sia", self._list)
        self.server.at("/cut", self._cut)

    def _list(self, request: Request) -> Answer:
        other = self.list_answer(request)
        if other:
            return other
        position = request.query["POS"]
        rows = [
            (row[0].replace(f"POS={RA},{DEC}", f"POS={position}"), *row[1:])
            for tile, offset in self.tiles.items()
            for row in rows_of(self.server.url + "/cut", tile, ra=RA + offset, bands=self.bands)
        ]
        return Answer(votable(FIELDS, rows), headers={"Content-Type": "text/xml"})

    def _cut(self, request: Request) -> Answer:
        name = request.target.split("siaRef=")[1].split(".fits")[0]
        tile, _, band = name.rpartition("_")
        ra, dec = (float(v) for v in request.query["POS"].split(","))
        return self.cut(tile, band) or Answer(image(band, ra, dec))

    def asked(self) -> list[str]:
        return [r.target.split("siaRef=")[1].split(".fits")[0] for r in self.server.seen("/cut")]


def image(band: str, ra: float = RA, dec: float = DEC, **where: Any) -> bytes:
    where = {"BAND": band, "FILTER": f"{band} DECam SDSS c0001"} | where
    return fits_bytes(pixels(seed=ord(band)), header(ra, dec, **where))


EDGE = Answer(image("g", RA + 0.01, x=10.0, BAND="", FILTER=""))


def objects(n: int = 1) -> pd.DataFrame:
    ids = np.arange(n, dtype=np.int64)[::-1] + 1
    return pd.DataFrame({"id": ids, "ra_deg": RA + 0.01 * ids, "dec_deg": DEC})


QUERY = CutoutQuery(bands=BANDS, size_px=28, pixel_scale_arcsec=SCALE, zero_point_ab=30.0)


def fetch(
    sky: Sky, table: pd.DataFrame, query: CutoutQuery = QUERY, **settings: object
) -> tuple[ImageSet, pd.DataFrame, pd.DataFrame]:
    with (
        tempfile.TemporaryDirectory() as folder,
        patient_client(retries=1, **settings) as (client, _),
    ):
        cutouts, manifest = Path(folder) / "cutouts.npz", Path(folder) / "manifest.parquet"
        losses = fetch_cutouts(
            table, client, sky.url, query, tile="t1", cutouts=cutouts, manifest=manifest
        )
        assert len(list(Path(folder).iterdir())) == 2
        return load_images(cutouts), read_table(manifest), losses


def test_all_bands_of_all_objects_in_order(server: Loopback) -> None:
    sky = Sky(server)
    cutouts, manifest, losses = fetch(sky, objects(30))
    assert cutouts.images.shape == (30, 5, 28, 28) and cutouts.images.dtype == np.float32
    assert cutouts.ids.tolist() == list(range(1, 31))
    for place, band in enumerate(BANDS):
        expected = pixels(seed=ord(band))[3:31, 3:31]
        np.testing.assert_array_equal(cutouts.images[7, place], expected)
    assert len(losses) == 0 and list(losses.columns) == list(LOSS_COLUMNS)
    assert manifest[["id", "band"]].to_numpy().tolist() == [
        [i, band] for i in range(1, 31) for band in BANDS
    ]
    first = manifest.iloc[0]
    assert (first["status"], first["reason"], first["attempts"]) == ("ok", "", 1)
    body = image("g", RA + 0.01, DEC)
    assert (first["bytes"], first["sha256"]) == (len(body), hashlib.sha256(body).hexdigest())
    assert "siaRef=A_g.fits.fz&extn=1" in first["url"]
    # A true angle on both axes, wide enough for the stamp.
    size = sky.server.seen("/sia")[0].query["SIZE"].split(",")
    assert size[0] == size[1] and float(size[0]) * 3600 / SCALE >= 28 + 2


def test_result_does_not_depend_on_parallelism(server: Loopback) -> None:
    table = objects(12)
    one = fetch(Sky(server), table, connections=1)
    many = fetch(Sky(server), table.iloc[::-1], connections=8)
    np.testing.assert_array_equal(one[0].images, many[0].images)
    pd.testing.assert_frame_equal(one[1], many[1])


def test_next_tile_where_one_ends_and_the_other_bands_follow(server: Loopback) -> None:
    sky = Sky(
        server,
        tiles={"near": 0.0, "far": 0.3},
        cut=lambda tile, band: EDGE if tile == "near" else None,
    )
    cutouts, manifest, _ = fetch(sky, objects())
    assert cutouts.ids.tolist() == [1]
    assert sky.asked() == ["near_g", "far_g", "far_r", "far_i", "far_z", "far_Y"]
    assert manifest["attempts"].tolist() == [2, 1, 1, 1, 1]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (EDGE, "edge"),
        (Answer(b"Traceback (most recent call last)"), "not a FITS file"),
        (Answer(b""), "empty"),
        (Answer(image("z")[:4000]), "truncated"),
        (Answer(image("z"), length=10**5), "truncated"),
        (Answer(fits_bytes(np.zeros((34, 34)), header(RA + 0.01, BAND="i"))), "constant"),
        (Answer(image("i", RA + 1.0)), "wrong position"),
        (Answer(image("z", RA + 0.01, BAND="z")), "wrong band"),
        (Answer(image("z", RA + 0.01, FILTER="VR DECam c0007 6300.0 2600.0")), "wrong band"),
        (Answer(b"error", 500), "http 500"),
        (Answer(b"gone", 404), "http 404"),
        (Answer(b"x" * 5_000_000, length=-1), "too large"),
    ],
)
def test_one_bad_band_loses_the_object_with_its_reason(
    server: Loopback, answer: Answer, reason: str
) -> None:
    sky = Sky(server, cut=lambda tile, band: answer if band == "i" else None)
    lost_cutouts, manifest, losses = fetch(sky, objects())
    assert len(lost_cutouts.ids) == 0 and lost_cutouts.images.shape == (0, 5, 28, 28)
    assert losses[["id", "stage", "reason", "tile"]].to_numpy().tolist() == [
        [1, "images", reason, "t1"]
    ]
    assert losses["detail"][0].startswith("band i: ")
    assert ("services.sia.max_image_mb" in losses["detail"][0]) == (reason == "too large")
    assert manifest["status"].tolist() == ["ok", "ok", "lost", "lost", "lost"]
    assert manifest["reason"].tolist() == ["", "", reason, "not tried", "not tried"]
    assert manifest["url"].tolist()[3:] == ["", ""]


def test_passing_faults_leave_no_trace_but_attempts(server: Loopback) -> None:
    faults = {
        "g": [Answer(b"busy", 503)],
        "r": [Answer(b"Traceback")],
        "i": [Answer(b"", 429, headers={"Retry-After": "3"})],
        "z": [Answer(image("z")[:5000])],
        "Y": [],
    }
    sky = Sky(server, cut=lambda tile, band: faults[band].pop() if faults[band] else None)
    cutouts, manifest, losses = fetch(sky, objects())
    assert (len(cutouts.ids), len(losses)) == (1, 0)
    assert manifest["attempts"].tolist() == [2, 2, 2, 2, 1]


def test_missing_band_downloads_nothing(server: Loopback) -> None:
    sky = Sky(server, bands=("g", "r", "i", "z"))
    _, manifest, losses = fetch(sky, objects())
    assert sky.asked() == []
    assert losses["reason"].tolist() == ["missing band"]
    assert losses["detail"].tolist() == ["no image in Y"]
    assert manifest["reason"].tolist() == ["not tried"] * 4 + ["missing band"]


def test_position_without_images(server: Loopback) -> None:
    _, manifest, losses = fetch(Sky(server, tiles={}), objects())
    assert losses["reason"].tolist() == ["no image"]
    assert manifest["reason"].tolist() == ["no image"] * 5


def test_object_without_a_position(server: Loopback) -> None:
    table = objects(2)
    table.loc[0, "dec_deg"] = np.nan
    cutouts, manifest, losses = fetch(Sky(server), table)
    assert cutouts.ids.tolist() == [1]
    assert losses[["id", "reason"]].to_numpy().tolist() == [[2, "no position"]]
    assert len(manifest) == 10


def test_list_fails_for_one_object_only(server: Loopback) -> None:
    def bad(request: Request) -> Answer | None:
        return Answer(error_votable("boom")) if "45.02" in request.query["POS"] else None

    cutouts, manifest, losses = fetch(Sky(server, list_answer=bad), objects(3))
    assert cutouts.ids.tolist() == [1, 3]
    assert losses[["id", "reason"]].to_numpy().tolist() == [[2, "service error"]]
    assert "boom" in losses["detail"][0]
    assert set(manifest.loc[manifest["id"] == 2, "reason"]) == {"service error"}


@pytest.mark.parametrize(
    "answer",
    [Answer(b"down", 503), Answer(b"<html>maintenance</html>"), Answer(error_votable("no"))],
)
def test_outage_stops_the_run(
    server: Loopback, answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GIVE_UP_AFTER", 4)
    sky = Sky(server, list_answer=lambda request: answer)
    with pytest.raises(ServiceError, match="4 objects in a row failed by the service's fault"):
        fetch(sky, objects(200), connections=2)
    assert len({r.query["POS"] for r in server.seen("/sia")}) < 40
    sky.list_answer = lambda request: None
    sky.cut = lambda tile, band: Answer(b"down", 502)
    with pytest.raises(ServiceError, match="3 objects in a row"):
        fetch(sky, objects(3))


def test_unreachable_service_with_one_object() -> None:
    with loopback_server() as closed:
        sky = Sky(closed)
    with pytest.raises(ServiceError, match="cannot be reached"):
        fetch(sky, objects())


def test_no_objects(server: Loopback) -> None:
    cutouts, manifest, losses = fetch(Sky(server), objects(0))
    assert server.requests == []
    assert cutouts.images.shape == (0, 5, 28, 28)
    assert (len(manifest), len(losses)) == (0, 0)
    assert manifest["id"].dtype == "int64"
    assert list(manifest.columns) == list(module.MANIFEST_ABOUT)


def test_duplicate_objects(server: Loopback) -> None:
    table = pd.concat([objects(2), objects(1)])
    with pytest.raises(DataError, match="identifier 1 comes more than once"):
        fetch(Sky(server), table)


def test_full_disk_while_stamps_come(server: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.Spool, "put", full)
    with pytest.raises(ArchipelagoError, match="the disk is full"):
        fetch(Sky(server), objects(3))
