"""The embedded survey asked by other software, and other software's services asked by ours.

STILTS (Taylor 2006) and pyvo get from the embedded survey what our own clients get. And our
clients work against services that share no code with it: a TAP service that redirects to its
answers and sends them as BINARY2, and an SIA service with column names of its own that gives
whole images.
"""

from __future__ import annotations

import io
import json
import math
import re
import shutil
import subprocess
import threading
import warnings
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pandas as pd
import pytest
import pyvo
import requests
from astropy.io import fits, votable
from astropy.io.votable.tree import Info
from astropy.table import Table
from astropy.wcs import WCS
from helpers.scripts import run_script
from test_demosky_images import tiny_sky

from archipelago.base.errors import ServiceError
from archipelago.base.images import load_images
from archipelago.base.losses import read_losses
from archipelago.base.tables import read_table
from archipelago.demosky.images import Painter
from archipelago.demosky.server import DemoServer
from archipelago.survey.http import HttpClient
from archipelago.survey.services import TapService
from archipelago.survey.sia import choose_images, list_images
from archipelago.survey.tap import TapClient
from archipelago.survey.xmatch import CatalogueSpec, XMatchClient
from archipelago.tiles import tile_of

BANDS = ("g", "r", "i", "z", "Y")
RA, DEC = 30.1, -42.85
ALLWISE = CatalogueSpec(
    "allwise", "vizier:II/328/allwise", 60.0, "AllWISE", "RAJ2000", "DEJ2000", {}
)


@pytest.fixture(scope="module")
def survey() -> Iterator[DemoServer]:
    sky = tiny_sky()
    with DemoServer(sky, painter=Painter(sky, neighbours=False)) as server:
        yield server


@pytest.fixture
def client() -> Iterator[HttpClient]:
    with HttpClient(connections=2, retries=0) as made:
        yield made


# --- STILTS ---


def stilts(*arguments: str) -> str:
    """Run a task of STILTS and return what it prints; Java takes a second to start."""
    program = shutil.which("stilts")
    if program is None:
        pytest.skip("STILTS is not here: install Debian's package `stilts` to test with it")
    done = subprocess.run(
        [program, *arguments], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def rows_of(text: str) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(text))


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.parametrize(
    ("service", "query"),
    [
        ("tap", "SELECT coadd_object_id, ra, dec, mag_aper_4_z, tilename FROM des_dr2.mag"),
        ("vizier_tap", 'SELECT Name, RAJ2000, z FROM "VII/294/catalog" WHERE z > 3'),
    ],
)
def test_stilts_and_ours_get_the_same_table(
    survey: DemoServer, client: HttpClient, service: str, query: str, mode: str
) -> None:
    url = survey.services()[service]["url"]
    theirs = rows_of(
        stilts(
            *("tapquery", f"tapurl={url}", f"adql={query}", "ofmt=csv"),
            *(["sync=true"] if mode == "sync" else ["sync=false", "poll=200"]),
        )
    )
    ours = TapClient(TapService(url, mode), client).query(query, max_rows=100)
    assert len(ours) >= 3
    pd.testing.assert_frame_equal(ours, theirs, check_dtype=False)


@pytest.mark.slow
def test_stilts_and_ours_get_the_same_partners(
    survey: DemoServer, client: HttpClient, tmp_path: Path
) -> None:
    positions = pd.DataFrame(
        {"n": range(4), "ra": [30.0, 31.0, RA, 30.02], "dec": [-42.8, -42.8, DEC, -42.81]}
    )
    positions.to_csv(tmp_path / "mine.csv", index=False)
    url = survey.services()["xmatch"]["url"]
    theirs = rows_of(
        stilts(
            *("cdsskymatch", f"in={tmp_path / 'mine.csv'}", "ifmt=csv", "ra=ra", "dec=dec"),
            *("radius=60", "cdstable=II/328/allwise", "find=best", "usemoc=false"),
            *(f"serviceurl={url}", "ofmt=csv"),
        )
    )
    ours = XMatchClient(url, client).best_partners(
        positions["ra"].to_numpy(), positions["dec"].to_numpy(), ALLWISE
    )
    assert ours["row"].to_list() == theirs["n"].to_list() == [0, 2, 3]
    assert ours["id"].to_list() == theirs["AllWISE"].to_list()
    # STILTS sends positions in single precision.
    assert ours["separation_arcsec"].to_numpy() == pytest.approx(theirs["angDist"], abs=0.01)


@pytest.mark.slow
def test_stilts_and_ours_get_the_same_images(
    survey: DemoServer, client: HttpClient, tmp_path: Path
) -> None:
    position = tmp_path / "mine.csv"
    position.write_text(f"ra,dec\n{RA},{DEC}\n")
    url = survey.services()["sia"]["url"]
    theirs = rows_of(
        stilts(
            *("coneskymatch", f"in={position}", "ifmt=csv", "ra=ra", "dec=dec", "sr=0.001"),
            *("find=all", "servicetype=sia", f"serviceurl={url}", "ofmt=csv"),
        )
    )
    assert len(theirs) == 33
    assert images_of(theirs) == our_images(client, url)


def images_of(rows: pd.DataFrame) -> dict[str, str]:
    """File of each band's image, from rows of a list of images."""
    image = rows[(rows["prodtype"] == "image") & ~rows["access_url"].str.contains("_nobkg|_det")]
    band = image["obs_bandpass"].str.split().str[0]
    return dict(zip(band, image["access_url"].map(file_of), strict=True))


def file_of(url: str) -> str:
    found = re.search(r"siaRef=([^&]*)", url)
    assert found, url
    return found[1]


def our_images(client: HttpClient, url: str) -> dict[str, str]:
    reply = list_images(client, url, RA, DEC, 0.002)
    chosen = choose_images(reply, BANDS, service_url=url, ra_deg=RA, dec_deg=DEC)
    assert all(len(candidates) == 1 for candidates in chosen.values())
    return {band: file_of(candidates[0].url) for band, candidates in chosen.items()}


#: Parts of the standard that no TAP service needs: tables of observations, uploads, examples.
OPTIONAL = {"F-LOC-NOTP", "F-UPL-NOUP", "F-EXA-EXNO"}
#: Parts that taplint is to have looked at.
LOOKED_AT = {
    *("TMV", "TME", "TMS", "TMC", "CPV", "CAP", "AVV"),
    *("QGE", "QPO", "QAS", "UWS", "MDQ"),
}


@pytest.mark.slow
@pytest.mark.parametrize("service", ["tap", "vizier_tap"])
def test_taplint_finds_nothing_wrong(survey: DemoServer, service: str) -> None:
    told = stilts("taplint", f"tapurl={survey.services()[service]['url']}", "report=EWFS")
    found = re.findall(r"^[EWF]-\w+-\w+", told, re.MULTILINE)
    assert set(found) <= OPTIONAL, told
    assert "Errors: 0; Warnings: 0" in told
    assert set(re.findall(r"^Section (\w+):", told, re.MULTILINE)) >= LOOKED_AT


# --- pyvo ---


def test_pyvo_and_ours_get_the_same_images_and_pixels(
    survey: DemoServer, client: HttpClient
) -> None:
    url = survey.services()["sia"]["url"]
    with warnings.catch_warnings():
        # The reply has the real one's irregularities, such as a width of 1 for a column.
        warnings.simplefilter("ignore")
        found = pyvo.dal.SIAService(url).search(pos=(RA, DEC), size=0.002)
        rows = pd.DataFrame(
            {
                "prodtype": [str(row["prodtype"]) for row in found],
                "obs_bandpass": [str(row["obs_bandpass"]) for row in found],
                "access_url": [row.getdataurl() for row in found],
            }
        )
    assert images_of(rows) == our_images(client, url)
    reply = list_images(client, url, RA, DEC, 0.002)
    ours = choose_images(reply, BANDS, service_url=url, ra_deg=RA, dec_deg=DEC)["z"][0].url
    theirs = next(one for one in rows["access_url"] if file_of(one) == file_of(ours))
    pixels = [
        fits.getdata(io.BytesIO(requests.get(one, timeout=20).content)) for one in (ours, theirs)
    ]
    assert (pixels[0] == pixels[1]).all()


# --- services of another make ---


SCALE_DEG = 0.263 / 3600
TILE = str(tile_of(150.004, 2.0, 3)[0])
SIDE_PX = 300


class OtherSurvey:
    """A TAP and an SIA service, told by the standards alone.

    Two fields of 300 by 300 pixels overlap by 40 columns; the second is turned by 3 degrees and
    holds no sky beyond its frame. Images are whole, named by numbers, and say nothing of their
    band or zero point.
    """

    def __init__(self) -> None:
        self.catalogue = Table(
            {
                "OBJ": np.arange(7, dtype=np.int64) + 2**53 + 1,
                "RAdeg": 150.00031 + np.arange(7) * 0.002,
                "DEdeg": np.full(7, 2.0),
                "mag": np.linspace(18, 19, 7, dtype=np.float32),
                "class": ["star", "galaxy", "", *["qso"] * 4],
            }
        )
        self.images: dict[str, bytes] = {}
        self.pixels: dict[tuple[int, str], np.ndarray] = {}
        self.wcs = [self._field(150.004, 0.0), self._field(150.004 + 260 * SCALE_DEG, 3.0)]
        rng = np.random.default_rng(1)
        for field, wcs in enumerate(self.wcs):
            for number, band in enumerate(BANDS):
                data = rng.normal(0, 1, (SIDE_PX, SIDE_PX)).astype(np.float32)
                self.pixels[field, band] = data
                stream = io.BytesIO()
                fits.PrimaryHDU(data, wcs.to_header()).writeto(stream)
                self.images[f"/data/{field * 10 + number}"] = stream.getvalue()
        self.asked: list[str] = []
        self._results: dict[str, bytes] = {}

    @staticmethod
    def _field(ra_deg: float, turned_deg: float) -> WCS:
        wcs = WCS(naxis=2)
        wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
        wcs.wcs.crval = [ra_deg, 2.0]
        wcs.wcs.crpix = [SIDE_PX / 2, SIDE_PX / 2]
        cos, sin = math.cos(math.radians(turned_deg)), math.sin(math.radians(turned_deg))
        wcs.wcs.cd = SCALE_DEG * np.array([[-cos, sin], [sin, cos]])
        return wcs

    def answer(self, path: str, values: dict[str, str], url: str) -> tuple[int, str, bytes]:
        """Return status, media type (or Location) and body."""
        self.asked.append(path)
        if path == "/other/tap/sync":
            place = f"/other/tap/results/{len(self._results)}"
            self._results[place] = self._query(values)
            return 303, url + place, b""
        if path in self._results:
            return 200, "application/x-votable+xml;serialization=BINARY2", self._results[path]
        if path == "/other/siap":
            return 200, "text/xml;content=x-votable", self._list(values, url)
        if path in self.images:
            return 200, "image/fits", self.images[path]
        return 404, "text/plain", b"nothing here"

    def _query(self, values: dict[str, str]) -> bytes:
        assert values["REQUEST"] == "doQuery"
        assert values["LANG"].startswith("ADQL")
        limits = [float(n) for n in re.findall(r"(?:BETWEEN|AND) (-?[\d.]+)", values["QUERY"])]
        ra, dec = self.catalogue["RAdeg"], self.catalogue["DEdeg"]
        inside = (ra >= limits[0]) & (ra <= limits[1]) & (dec >= limits[2]) & (dec <= limits[3])
        # Columns in capitals, as the database has them, whatever the query says.
        rows = self.catalogue[inside]
        most = int(values["MAXREC"])
        document = votable.from_table(rows[:most])
        resource = document.resources[0]
        resource.type = "results"
        resource.infos.append(Info(name="QUERY_STATUS", value="OK"))
        stream = io.BytesIO()
        document.to_xml(stream, tabledata_format="binary2")
        body = stream.getvalue()
        if len(rows) > most:
            late = b'</TABLE>\n<INFO name="QUERY_STATUS" value="OVERFLOW"/>'
            body = body.replace(b"</TABLE>", late)
        return body

    def _list(self, values: dict[str, str], url: str) -> bytes:
        ra, dec = (float(value) for value in values["POS"].split(","))
        half = float(values["SIZE"].split(",")[0]) / 2 / SCALE_DEG
        rows = []
        for field, wcs in enumerate(self.wcs):
            x, y = wcs.all_world2pix([[ra, dec]], 0)[0]
            if max(abs(x - SIDE_PX / 2), abs(y - SIDE_PX / 2)) > SIDE_PX / 2 + half:
                continue
            for number, band in enumerate(BANDS):
                centre = wcs.wcs.crval
                rows.append((f"Field {field}", band, f"{url}/data/{field * 10 + number}", *centre))
        table = Table(rows=rows, names=["label", "filt", "link", "cra", "cdec"])
        table["mt"] = "image/fits"
        document = votable.from_table(table)
        resource = document.resources[0]
        resource.type = "results"
        resource.infos.append(Info(name="QUERY_STATUS", value="OK"))
        ucds = {
            "label": "VOX:Image_Title",
            "filt": "VOX:BandPass_ID",
            "link": "VOX:Image_AccessReference",
            "cra": "POS_EQ_RA_MAIN",
            "cdec": "POS_EQ_DEC_MAIN",
            "mt": "VOX:Image_Format",
        }
        for field in document.get_first_table().fields:
            field.ucd = ucds[field.name]
        stream = io.BytesIO()
        document.to_xml(stream, tabledata_format="binary")
        return stream.getvalue()


@pytest.fixture
def other() -> Iterator[tuple[OtherSurvey, str]]:
    survey = OtherSurvey()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            text = urlsplit(self.path).query
            if self.command == "POST":
                text = self.rfile.read(int(self.headers["Content-Length"])).decode()
            values = {name.upper(): value[0] for name, value in parse_qs(text).items()}
            url = f"http://{self.headers['Host']}"
            status, kind, body = survey.answer(urlsplit(self.path).path, values, url)
            self.send_response(status)
            self.send_header("Location" if status == 303 else "Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield survey, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def search(
    other: tuple[OtherSurvey, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> OtherSurvey:
    """The other survey, told to the scripts."""
    survey, url = other
    section = {
        "contact": "",
        "tap": {"url": f"{url}/other/tap"},
        "vizier_tap": {"url": f"{url}/none"},
        "xmatch": {"url": f"{url}/none"},
        # An address may have a query of its own.
        "sia": {"url": f"{url}/other/siap?collection=all", "max_image_mb": 4},
        "connections": 4,
        "retries": 0,
        "timeout_s": 20.0,
        "total_s": 60.0,
        "max_bytes": 10_000_000,
    }
    monkeypatch.setenv("ARCHIPELAGO_SERVICES", json.dumps(section))
    (tmp_path / "query.adql").write_text(
        "SELECT * FROM other WHERE radeg BETWEEN {ra_min} AND {ra_max}\n"
        "AND dedeg BETWEEN {dec_min} AND {dec_max}\n"
    )
    return survey


def select(folder: Path, max_rows: int) -> None:
    run_script(
        "select",
        {"query": folder / "query.adql"},
        {"sources": folder / "sources.parquet", "losses": folder / "lost_rows.csv"},
        {
            "columns": {"id": "obj", "ra_deg": "radeg", "dec_deg": "dedeg"},
            "bands": {"z": {"value": "mag", "error": "mag"}},
            "healpix_order": 5,
            "max_rows": max_rows,
        },
        tile=TILE,
    )


def test_our_tap_client_reads_another_service(search: OtherSurvey, tmp_path: Path) -> None:
    select(tmp_path, max_rows=7)
    sources = read_table(tmp_path / "sources.parquet")
    expected = search.catalogue
    # Beyond 2^53, where a detour through floating point would show.
    assert sources["id"].to_list() == list(expected["OBJ"])
    assert sources["ra_deg"].to_list() == list(expected["RAdeg"])
    assert sources["mag_ab_z"].to_numpy() == pytest.approx(np.array(expected["mag"]), abs=0)
    assert search.asked == ["/other/tap/sync", "/other/tap/results/0"]


def test_another_service_that_cuts_its_answer_is_an_error(
    search: OtherSurvey, tmp_path: Path
) -> None:
    with pytest.raises(ServiceError, match="more rows"):
        select(tmp_path, max_rows=3)
    assert not (tmp_path / "sources.parquet").exists()


def test_our_cutouts_come_from_whole_images_of_another_service(
    search: OtherSurvey, tmp_path: Path
) -> None:
    select(tmp_path, max_rows=7)
    run_script(
        "cutouts",
        {"photometry": tmp_path / "sources.parquet"},
        {
            "cutouts": tmp_path / "cutouts.npz",
            "manifest": tmp_path / "manifest.parquet",
            "losses": tmp_path / "lost_images.csv",
        },
        {
            "asked": {
                "bands": list(BANDS),
                "size_px": 28,
                "pixel_scale_arcsec": 0.263,
                "zero_point_ab": 30.0,
            }
        },
        tile=TILE,
    )
    cutouts = load_images(tmp_path / "cutouts.npz")
    assert len(read_losses(tmp_path / "lost_images.csv")) == 0
    assert cutouts.ids.tolist() == list(search.catalogue["OBJ"])
    manifest = read_table(tmp_path / "manifest.parquet")
    assert (manifest["status"] == "ok").all()
    assert len(manifest) == 7 * len(BANDS)
    for place, (ra, dec) in enumerate(search.catalogue["RAdeg", "DEdeg"]):
        number = int(manifest["url"][place * len(BANDS)].rpartition("/")[2]) // 10
        x, y = search.wcs[number].all_world2pix([[ra, dec]], 0)[0]
        left, low = (math.floor(value - 27 / 2 + 0.5) for value in (x, y))
        for row, band in enumerate(BANDS):
            whole = search.pixels[number, band]
            stamp = whole[low : low + 28, left : left + 28]
            assert (cutouts.images[place, row] == stamp).all(), (place, band)


def test_the_other_services_are_what_pyvo_takes_for_such(
    search: OtherSurvey, other: tuple[OtherSurvey, str]
) -> None:
    """The tests above mean something only if these services keep to the standard."""
    url = other[1]
    adql = "SELECT * FROM x WHERE r BETWEEN 149.9 AND 150.007 AND d BETWEEN 1 AND 3"
    query = pyvo.dal.TAPQuery(f"{url}/other/tap", adql, maxrec=9)
    assert len(query.execute()) == 4
    found = pyvo.dal.SIAService(f"{url}/other/siap?").search(pos=(150.004, 2.0), size=0.002)
    assert {row.bandpass_id for row in found} == set(BANDS)
    assert all(row.format == "image/fits" for row in found)
    assert found[0].getdataurl().startswith(f"{url}/data/")
