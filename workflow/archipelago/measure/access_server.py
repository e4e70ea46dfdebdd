"""Cheap image services in a process of their own, so that a client can be measured against them.

Two kinds. `serve_stored` has the lists and cutouts of some objects of the demo sky painted before
it begins, and gives them after a set latency: what takes time then is the client. `serve_any`
answers at any position of the sky, with one image of noise whose header says the right place.
"""

from __future__ import annotations

import asyncio
import html
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from urllib.parse import parse_qs

import numpy as np
import pandas as pd
from aiohttp import web

from archipelago.base.errors import ArchipelagoError
from archipelago.demosky.images import Painter
from archipelago.demosky.server import DemoServer, ImageService, fits_file
from archipelago.demosky.sky import build_sky

BANDS = ("g", "r", "i", "z", "Y")
#: Scale of the pixels [arcsec], and pixels along a side of what is served: a stamp of 28 pixels
#: and the margin that the client asks for.
PIXEL_SCALE_ARCSEC = 0.263
SIDE_PX = 36
#: Longest wait for a server to have painted what it serves [s].
START_S = 120.0
#: Digits by which positions of requests are told apart: 0.04 arcsec.
_DIGITS = 5

#: Gives the body and media type of a request, told by its path and query; None is 404.
Answer = Callable[[str], tuple[bytes, str] | None]


@dataclass(frozen=True)
class Started:
    """A server that runs.

    Parameters
    ----------
    url : its address, without a slash at the end.
    objects : id, ra_deg, dec_deg of what it has cutouts of; empty where of everything.
    """

    url: str
    objects: pd.DataFrame


@contextmanager
def in_own_process(serve: Callable[..., None], *arguments: object) -> Iterator[Started]:
    """Run one of this module's servers in a process of its own.

    Raises
    ------
    ArchipelagoError
        If it ends, or is not ready after `START_S`.
    """
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs, *arguments), daemon=True)
    process.start()
    theirs.close()
    try:
        if not ours.poll(START_S):
            raise ArchipelagoError("the server of the bench does not start")
        yield ours.recv()
    except EOFError as error:
        raise ArchipelagoError("the server of the bench has ended") from error
    finally:
        process.terminate()
        process.join()
        ours.close()


def serve_demo(channel: Connection, seed: int) -> None:
    """Serve the whole embedded survey until the process is ended."""
    with DemoServer(build_sky(seed)) as server:
        channel.send(Started(server.url, pd.DataFrame()))
        channel.close()
        while True:
            _wait()


def serve_stored(channel: Connection, seed: int, n_objects: int, latency_s: float) -> None:
    """Serve lists and cutouts of objects of the demo sky, painted before, until ended.

    Parameters
    ----------
    channel : gets a `Started` when it begins.
    seed : of the sky.
    n_objects : so many objects, each inside one survey tile alone.
    latency_s : time before each answer [s].
    """
    listener = _listener()
    url = _url(listener)
    sky = build_sky(seed)
    painter = Painter(sky)
    service = ImageService(painter)
    positions = sky.des[["coadd_object_id", "ra", "dec"]].sample(frac=1, random_state=seed)
    size = f"{SIDE_PX * PIXEL_SCALE_ARCSEC / 3600:.8f}"
    lists: dict[tuple[float, float], bytes] = {}
    cutouts: dict[str, bytes] = {}
    chosen: list[tuple[int, float, float]] = []
    for identifier, ra, dec in positions.itertuples(index=False, name=None):
        if len(chosen) == n_objects:
            break
        if len(painter.tiles.with_box_around(ra, dec)) != 1:
            continue
        place = {"POS": f"{ra:.8f},{dec:.8f}", "SIZE": f"{size},{size}"}
        body = service.sia(place, url).body
        found = re.findall(r"<TD>([^<]*/svc/cutout[^<]*)</TD>", body.decode())
        urls = [html.unescape(address) for address in found]
        images = [
            address.removeprefix(url)
            for address in urls
            if re.search(r"_[grizY]\.fits\.fz&extn=1&", address) and "preview" not in address
        ]
        replies = {path: service.cutout(path.partition("?")[2]).body for path in images}
        # One plain image per band, or the object lies beyond its tile's pixels.
        if len(replies) == len(BANDS) and all(len(body) > 5760 for body in replies.values()):
            lists[_rounded(ra, dec)] = body
            cutouts |= replies
            chosen.append((identifier, ra, dec))

    def answer(path: str) -> tuple[bytes, str] | None:
        if path.startswith("/sia"):
            body = lists.get(_rounded(*_position(path)))
            return None if body is None else (body, "text/xml")
        if path in cutouts:
            return cutouts[path], "image/fits"
        return service.cutout(path.partition("?")[2]).body, "image/fits"

    channel.send(Started(url, pd.DataFrame(chosen, columns=["id", "ra_deg", "dec_deg"])))
    channel.close()
    _serve(listener, answer, latency_s)


def serve_any(channel: Connection) -> None:
    """Serve images at any position until ended; each has the same pixels."""
    listener = _listener()
    url = _url(listener)
    rng = np.random.default_rng(1)
    pixels = rng.normal(0.0, 5.0, (SIDE_PX, SIDE_PX)).astype(np.float32)

    def answer(path: str) -> tuple[bytes, str] | None:
        ra, dec = _position(path)
        if path.startswith("/sia"):
            return _short_list(url, ra, dec), "text/xml"
        band = parse_qs(path.partition("?")[2])["band"][0]
        return fits_file(pixels, _header(band, ra, dec)), "image/fits"

    channel.send(Started(url, pd.DataFrame()))
    channel.close()
    _serve(listener, answer, 0.0)


def _header(band: str, ra_deg: float, dec_deg: float) -> dict[str, object]:
    """Return the header of an image whose middle is a position."""
    degrees = PIXEL_SCALE_ARCSEC / 3600
    return {
        "CTYPE1": "RA---TAN",
        "CTYPE2": "DEC--TAN",
        "CRVAL1": ra_deg,
        "CRVAL2": dec_deg,
        "CRPIX1": (SIDE_PX + 1) / 2,
        "CRPIX2": (SIDE_PX + 1) / 2,
        "CD1_1": -degrees,
        "CD1_2": 0.0,
        "CD2_1": 0.0,
        "CD2_2": degrees,
        "BAND": band,
        "MAGZERO": 30.0,
    }


def _short_list(url: str, ra_deg: float, dec_deg: float) -> bytes:
    """Return the list of images of a position: one survey tile, five bands."""
    fields = (
        ("access_url", "char", "VOX:Image_AccessReference"),
        ("access_format", "char", "VOX:Image_Format"),
        ("band", "char", "VOX:BandPass_ID"),
        ("ra", "double", "POS_EQ_RA_MAIN"),
        ("dec", "double", "POS_EQ_DEC_MAIN"),
    )
    head = "".join(
        f'<FIELD name="{name}" datatype="{kind}" ucd="{ucd}"'
        + (' arraysize="*"/>' if kind == "char" else "/>")
        for name, kind, ucd in fields
    )
    place = f"POS={ra_deg!r},{dec_deg!r}"
    rows = "".join(
        f"<TR><TD>{url}/image?siaRef=tile_{band}.fits&amp;band={band}&amp;{place}</TD>"
        f"<TD>image/fits</TD><TD>{band}</TD><TD>{ra_deg!r}</TD><TD>{dec_deg!r}</TD></TR>"
        for band in BANDS
    )
    return (
        '<?xml version="1.0"?><VOTABLE version="1.3"><RESOURCE type="results">'
        f'<INFO name="QUERY_STATUS" value="OK"/><TABLE>{head}<DATA><TABLEDATA>{rows}'
        "</TABLEDATA></DATA></TABLE></RESOURCE></VOTABLE>"
    ).encode()


def _position(path: str) -> tuple[float, float]:
    ra, dec = parse_qs(path.partition("?")[2])["POS"][0].split(",")
    return float(ra), float(dec)


def _rounded(ra_deg: float, dec_deg: float) -> tuple[float, float]:
    return round(ra_deg, _DIGITS), round(dec_deg, _DIGITS)


def _listener() -> socket.socket:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(512)
    return listener


def _url(listener: socket.socket) -> str:
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


def _wait() -> None:
    """Wait until the process is ended."""
    asyncio.run(asyncio.sleep(3600.0))


def _serve(listener: socket.socket, answer: Answer, latency_s: float) -> None:
    """Answer requests until the process is ended; ``/count`` says how many there were."""
    count = 0

    async def handle(request: web.BaseRequest) -> web.Response:
        nonlocal count
        if request.path == "/count":
            return web.Response(text=str(count))
        count += 1
        if latency_s:
            await asyncio.sleep(latency_s)
        found = answer(request.raw_path)
        if found is None:
            return web.Response(status=404, text="Not found\n")
        return web.Response(body=found[0], content_type=found[1])

    async def run() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(web.Server(handle), sock=listener)
        await server.serve_forever()

    asyncio.run(run())
