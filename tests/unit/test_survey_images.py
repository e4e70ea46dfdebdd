"""Images and lists of any SIA server: fast readers against astropy's, names, whole images."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from helpers.loopback import Answer, Loopback, Request, patient_client, votable
from hypothesis import given
from hypothesis import strategies as st
from test_survey_cutouts import BANDS, DEC, QUERY, RA, SCALE, fits_bytes, header, objects, pixels

from archipelago.base.errors import ConfigError
from archipelago.base.images import load_images
from archipelago.base.tables import read_table
from archipelago.survey.bands import band_in, names_band
from archipelago.survey.cache import Cache
from archipelago.survey.cutout_query import CutoutQuery
from archipelago.survey.cutouts import fetch_cutouts
from archipelago.survey.faults import BadContentError
from archipelago.survey.fits_image import read_fits, require_band
from archipelago.survey.frames import PlainHeader, TanFrame, WcsFrame, frame_of
from archipelago.survey.http import HttpClient
from archipelago.survey.services import CacheSettings
from archipelago.survey.sia import choose_images
from archipelago.survey.votable import read_reply
from archipelago.survey.votable_text import TextReply, read_list

# One image


@given(
    ra=st.floats(0, 360, exclude_max=True),
    dec=st.floats(-90, 89.9),
    turn=st.floats(-180, 180),
    x=st.floats(-3000, 3000),
    y=st.floats(-3000, 3000),
)
def test_gnomonic_frame_is_that_of_astropy(
    ra: float, dec: float, turn: float, x: float, y: float
) -> None:
    cos, sin = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    head = header(ra, dec, 10, 20)
    for key, value in (("1_1", -cos), ("1_2", sin), ("2_1", sin), ("2_2", cos)):
        head[f"CD{key}"] = value * SCALE / 3600
    fast, slow = frame_of(head), WcsFrame(head)
    assert isinstance(fast, TanFrame)
    np.testing.assert_allclose(fast.scales_arcsec, slow.scales_arcsec, rtol=1e-9)
    sky = slow.sky_of(x, y)
    np.testing.assert_allclose(fast.pixel_of(*sky), (x, y), atol=1e-6)
    np.testing.assert_allclose(fast.pixel_of(*fast.sky_of(x, y)), (x, y), atol=1e-6)
    assert abs(float(fast.sky_of(x, y)[1]) - float(sky[1])) < 1e-9


@pytest.mark.parametrize(
    "change",
    [
        {"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "A_ORDER": 2, "B_ORDER": 2},
        {"CTYPE1": "RA---ZEA", "CTYPE2": "DEC--ZEA"},
        {"LONPOLE": 170.0},
        {"PV2_1": 0.5},
        {"CUNIT1": "arcsec", "CUNIT2": "arcsec"},
        {"CTYPE1": "DEC--TAN", "CTYPE2": "RA---TAN"},
    ],
)
def test_unusual_projections_are_left_to_astropy(change: dict[str, Any]) -> None:
    head = header(**change)
    assert isinstance(frame_of(head), WcsFrame)
    # Also where the header was read here.
    _, plain, _ = read_fits(fits_bytes(pixels(), head))
    assert isinstance(plain, PlainHeader)
    found, wanted = frame_of(plain), WCS(head)
    np.testing.assert_allclose(found.sky_of(3, 4), wanted.all_pix2world(3, 4, 0), rtol=1e-9)


def test_steps_and_matrix_are_read_like_astropy() -> None:
    head = header()
    for key in ("CD1_1", "CD1_2", "CD2_1", "CD2_2"):
        del head[key]
    head["CDELT1"], head["CDELT2"] = -SCALE / 3600, SCALE / 3600
    head["PC1_2"], head["PC2_1"] = 0.02, -0.02
    assert isinstance(frame_of(head), TanFrame)
    np.testing.assert_allclose(
        frame_of(head).sky_of(30, 5), WCS(head).all_pix2world(30, 5, 0), rtol=1e-12
    )
    head["CROTA2"] = 1.0
    del head["PC1_2"], head["PC2_1"]
    assert isinstance(frame_of(head), WcsFrame)


@pytest.mark.parametrize("kind", ["u1", "i2", "i4", "i8", "f4", "f8"])
@pytest.mark.parametrize("extension", [False, True])
def test_plain_images_are_read_as_astropy_does(kind: str, extension: bool) -> None:
    data = (pixels() * 20 + 60).astype(kind)
    head = header(OBJECT="a 'quoted' name", EMPTY=None)
    out = io.BytesIO()
    hdu: Any = fits.ImageHDU(data, head) if extension else fits.PrimaryHDU(data, head)
    fits.HDUList([fits.PrimaryHDU(), hdu] if extension else [hdu]).writeto(out)
    found, read_header, corner = read_fits(out.getvalue())
    np.testing.assert_array_equal(found, data.astype(float))
    assert corner == (0, 0) and read_header["CRVAL1"] == RA


def test_scaled_images_are_left_to_astropy() -> None:
    hdu = fits.PrimaryHDU((pixels() * 100).astype("i2"), header())
    hdu.header["BSCALE"], hdu.header["BZERO"] = 0.5, 10.0
    out = io.BytesIO()
    hdu.writeto(out)
    found, head, _ = read_fits(out.getvalue())
    assert isinstance(head, fits.Header)
    np.testing.assert_allclose(found, fits.getdata(io.BytesIO(out.getvalue())))


def test_broken_headers_never_pass_for_images() -> None:
    body = fits_bytes(pixels(), header())
    for place in range(0, 2880, 37):
        broken = body[:place] + b"\xff'" + body[place + 2 :]
        try:
            data, _, _ = read_fits(broken)
        except BadContentError:
            continue
        assert data.ndim == 2


def test_bands_in_headers() -> None:
    for text in ("g", "SDSS g", "g DECam SDSS c0001 4720.0 1520.0", "g'", "DES G"):
        require_band({"FILTER": text}, "g")
    require_band({"FILTER": "N605"}, "g", "^N60")
    require_band({}, "g")
    for text in ("VR DECam c0007 6300.0 2600.0", "gr", "r"):
        with pytest.raises(BadContentError, match="wrong band"):
            require_band({"FILTER": text}, "g")


# Lists


@pytest.mark.parametrize(
    ("text", "band"),
    [
        ("g DECam SDSS c0001 4720.0 1520.0", "g"),
        ("SDSS g", "g"),
        ("g'", "g"),
        ("DES_g", "g"),
        ("G", "g"),
        ("Bessell I", "I"),
        ("riz", None),
        ("r+i", None),
        ("VR DECam c0007", None),
        ("", None),
    ],
)
def test_band_is_a_whole_word(text: str, band: str | None) -> None:
    assert band_in(text, ["g", "r", "i", "I"], {})[0] == band


def test_a_pattern_names_the_band() -> None:
    patterns = {"g": "^HSC-G2?$", "r": "^HSC-R2?$"}
    assert band_in("HSC-R2", ["g", "r"], patterns) == ("r", True)
    assert names_band("HSC-G", "g", patterns["g"]) and not names_band("HSC-G2x", "r", patterns["r"])


PLAIN_FIELDS = [
    ("Title", "char", "VOX:Image_Title"),
    ("RA", "double", "POS_EQ_RA_MAIN"),
    ("DEC", "double", "POS_EQ_DEC_MAIN"),
    ("Fmt", "char", "VOX:Image_Format"),
    ("Band", "char", "VOX:BandPass_ID"),
    ("Link", "char", "VOX:Image_AccessReference"),
]


def plain_rows(bands: str = "grizY", link: str = "/img/{0}.fits") -> list[Any]:
    return [(f"field {b}", RA, DEC, "application/fits", f"SDSS {b}", link.format(b)) for b in bands]


def choose(rows: list[Any], bands: tuple[str, ...] = BANDS, **options: Any) -> dict[str, list[str]]:
    chosen = choose_images(
        read_list(votable(PLAIN_FIELDS, rows)),
        bands,
        service_url="http://127.0.0.1:1/sia?x=1",
        ra_deg=RA,
        dec_deg=DEC,
        **options,
    )
    return {band: [one.url for one in found] for band, found in chosen.items()}


def test_columns_by_ucd_and_relative_addresses() -> None:
    assert choose(plain_rows())["g"] == ["http://127.0.0.1:1/img/g.fits"]
    assert all(len(found) == 1 for found in choose(plain_rows()).values())


def test_capitals_count_where_both_exist() -> None:
    rows = plain_rows("iI")
    assert choose(rows, ("i",))["i"] == ["http://127.0.0.1:1/img/i.fits"]
    assert choose(rows[1:], ("i",))["i"] == ["http://127.0.0.1:1/img/I.fits"]


def test_products_by_the_names_of_files() -> None:
    products = ("image", "invvar", "depth", "chi2", "model", "psfsize", "nexp")
    rows = [
        ("", RA, DEC, "image/fits", b, f"/c?siaRef=brick-1p2-{product}-{b}.fits.fz&extn=1")
        for b in "grz"
        for product in products
    ]
    found = choose(rows, ("g", "r", "z"), product=r"-image-[grz]\.fits")
    assert [len(urls) for urls in found.values()] == [1, 1, 1]
    assert all(f"-image-{band}.fits" in urls[0] for band, urls in found.items())
    named = choose_images(
        read_list(votable(PLAIN_FIELDS, [(*row[:4], "", row[5]) for row in rows])),
        ("g", "r", "z"),
        service_url="http://127.0.0.1:1/",
        ra_deg=RA,
        dec_deg=DEC,
        product="-image-",
    )
    assert {one.tile for found in named.values() for one in found} == {"brick-1p2-image"}


def test_fast_lists_say_what_slow_ones_do(shared_data: Path) -> None:
    import gzip

    recorded = shared_data / "datalab_sia_reply_nsc_dr2.xml.gz"
    if not recorded.is_file():
        pytest.skip(f"the recorded reply is not at {recorded}")
    body = gzip.decompress(recorded.read_bytes())
    fast, slow = read_list(body), read_reply(body)
    assert isinstance(fast, TextReply) and len(fast) == len(slow)
    assert (fast.names, fast.ucds) == (slow.names, slow.ucds)
    assert fast.column("access_url") == slow.column("access_url").tolist()
    options: dict[str, Any] = {
        **{"service_url": "https://datalab.noirlab.edu/sia/nsc_dr2", "extension": None},
        **{"ra_deg": 227.5251615214173, "dec_deg": -27.026013823449265},
    }
    assert choose_images(fast, BANDS, **options) == choose_images(slow, BANDS, **options)


def test_lists_that_are_not_plain_text_are_read_too() -> None:
    from astropy.io.votable import from_table
    from astropy.table import Table

    table = Table({"accref": ["http://127.0.0.1/g.fits"], "filter": ["g"]})
    out = io.BytesIO()
    from_table(table).to_xml(out, tabledata_format="binary2")
    reply = read_list(out.getvalue())
    assert not isinstance(reply, TextReply)
    chosen = choose_images(reply, ("g",), service_url="http://127.0.0.1/", ra_deg=1, dec_deg=2)
    assert chosen["g"][0].url == "http://127.0.0.1/g.fits"


@pytest.mark.parametrize(
    ("body", "match"),
    [
        (b"<VOTABLE><RESOURCE type='results'><TABLE>", "not a VOTable"),
        (b"<VOTABLE/>", "no table"),
        (b"<!DOCTYPE x><VOTABLE/>", "dangerous XML"),
        (b"{}", "not XML"),
    ],
)
def test_bad_lists(body: bytes, match: str) -> None:
    with pytest.raises(BadContentError, match=match):
        read_list(body)


# Whole images


def whole_image(band: str, packed: bool) -> bytes:
    data = pixels(400, 500, seed=ord(band))
    head = header(x=250.3, y=199.8, FILTER=f"SDSS {band}")
    if not packed:
        return fits_bytes(data, head)
    out = io.BytesIO()
    image = fits.CompImageHDU(data, head, compression_type="GZIP_2", quantize_level=0)
    fits.HDUList([fits.PrimaryHDU(), image]).writeto(out)
    return out.getvalue()


@pytest.mark.parametrize("packed", [False, True])
def test_whole_images_are_asked_for_once_and_cut_here(
    server: Loopback, tmp_path: Path, packed: bool
) -> None:
    bodies = {band: whole_image(band, packed) for band in BANDS}
    for band, body in bodies.items():
        server.at(f"/img/{band}.fits", Answer(body))

    def listed(request: Request) -> Answer:
        return Answer(votable(PLAIN_FIELDS, plain_rows()))

    url = server.at("/sia", listed)
    table = objects(6)
    table["ra_deg"] = RA + (table["id"] - 3) * 10 * SCALE / 3600
    query = CutoutQuery(**(QUERY.__dict__ | {"source_zero_point_ab": 27.5}))
    cache = Cache.from_settings(CacheSettings(folder=str(tmp_path / "cache"), max_gb=1))
    for turn in range(2):
        files = {
            "cutouts": tmp_path / f"c{turn}.npz",
            "manifest": tmp_path / f"m{turn}.parquet",
        }
        with patient_client(cache=cache) as (client, _):
            losses = fetch_cutouts(table, client, url, query, tile="t", **files)
        assert len(losses) == 0
        assert len(server.requests) == 6 + 5, "the second time nothing is asked for"
    cutouts = load_images(tmp_path / "c0.npz")
    assert (tmp_path / "c0.npz").read_bytes() == (tmp_path / "c1.npz").read_bytes()
    assert read_table(tmp_path / "m1.parquet")["attempts"].sum() == 0
    data = pixels(400, 500, seed=ord("g"))
    x, y = WCS(header(x=250.3, y=199.8)).all_world2pix(RA, DEC, 0)
    third = cutouts.images[2, 0]
    left, low = int(np.floor(x - 13)), int(np.floor(y - 13))
    np.testing.assert_allclose(third, 10 * data[low : low + 28, left : left + 28], rtol=1e-5)


def fetch_one(client: HttpClient, url: str, folder: Path) -> pd.DataFrame:
    return fetch_cutouts(
        objects(1),
        client,
        url,
        QUERY,
        tile="t",
        cutouts=folder / "c.npz",
        manifest=folder / "m.parquet",
    )


def test_what_no_image_shows_is_not_asked_for_again(server: Loopback, tmp_path: Path) -> None:
    for band in BANDS:
        server.at(f"/img/{band}.fits", Answer(fits_bytes(None)))
    url = server.at("/sia", Answer(votable(PLAIN_FIELDS, plain_rows())))
    cache = Cache.from_settings(CacheSettings(folder=str(tmp_path / "cache"), max_gb=1))
    found = []
    for turn in range(2):
        with patient_client(cache=cache) as (client, _):
            losses = fetch_one(client, url, tmp_path)
        found.append((losses["reason"].tolist(), len(server.requests)))
        assert turn < 2
    assert found == [(["no image"], 4), (["no image"], 4)]


def test_a_list_that_lacks_a_band_is_asked_for_again(server: Loopback, tmp_path: Path) -> None:
    for band in BANDS:
        server.at(f"/img/{band}.fits", Answer(whole_image(band, False)))
    short, whole = (votable(PLAIN_FIELDS, plain_rows(bands)) for bands in ("griz", "grizY"))
    url = server.at("/sia", Answer(short), Answer(whole))
    cache = Cache.from_settings(CacheSettings(folder=str(tmp_path / "cache"), max_gb=1))
    reasons = []
    for _ in range(2):
        with patient_client(cache=cache) as (client, _clock):
            losses = fetch_one(client, url, tmp_path)
        reasons.append(losses["reason"].tolist())
    assert reasons == [["missing band"], []]


def test_patterns_are_checked() -> None:
    with pytest.raises(ConfigError, match="is no regular expression"):
        CutoutQuery(("g",), 28, SCALE, 30.0, product="(")
