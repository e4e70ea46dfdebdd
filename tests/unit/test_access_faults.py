"""What goes wrong at the services, and that a tile's objects outlive it.

A tile of a few objects goes through the scripts of `select`, `match` and `cutouts`, with the
client that a search has, against the embedded survey and its faults. After each fault: nothing
lost, or lost with the reason that is true; nothing asked twice that was not struck; and every
object in the manifest with its end. Waiting takes no time here, as the client's clock is a
virtual one; only latency and stalls are real.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers.loopback import Clock
from helpers.scripts import REPOSITORY, run_script
from test_demosky_images import tiny_sky

from archipelago.base.errors import ArchipelagoError, ServiceError
from archipelago.base.images import load_images
from archipelago.base.losses import read_losses
from archipelago.base.tables import read_table
from archipelago.demosky.faults import FaultPlan
from archipelago.demosky.images import Painter
from archipelago.demosky.server import DemoServer
from archipelago.survey.http import HttpClient
from archipelago.tiles import tile_of

BANDS = ("g", "r", "i", "z", "Y")
#: Inside a survey tile, far from its edge.
POSITIONS = [(30.1, -42.85), (30.12, -42.86), (30.14, -42.84), (30.16, -42.87)]
IDS = [1000, 1001, 1002, 1003]
TILE = str(tile_of(*POSITIONS[0], 3)[0])
QUERY = (
    "SELECT coadd_object_id, ra, dec, mag_aper_4_z FROM des_dr2.mag\n"
    "WHERE ra BETWEEN {ra_min} AND {ra_max} AND dec BETWEEN {dec_min} AND {dec_max}\n"
)
CATALOGUE = {
    "name": "allwise",
    "vizier_id": "vizier:II/328/allwise",
    "radius_arcsec": 1.0,
    "columns": {"id": "AllWISE", "ra_deg": "RAJ2000", "dec_deg": "DEJ2000"},
    "bands": {"W1": {"value": "W1mag", "error": "W1mag", "system": "mag_vega"}},
}
#: Requests of a tile without any fault: one list and five cutouts per object.
WITHOUT_FAULT = {"tap": 1, "xmatch": 1, "sia": len(IDS), "cutout": 5 * len(IDS)}


@pytest.fixture(scope="module")
def served() -> Iterator[DemoServer]:
    sky = tiny_sky(POSITIONS)
    with DemoServer(sky, painter=Painter(sky, neighbours=False)) as server:
        yield server


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The time of every client that a script makes."""
    clock = Clock()
    make = HttpClient.from_services

    def made(*arguments: Any, **more: Any) -> HttpClient:
        client = make(*arguments, **more)
        client.sleep, client.clock = clock.sleep, clock
        return client

    monkeypatch.setattr(HttpClient, "from_services", made)
    return clock


class Tile:
    """One tile of a search: its files, and the requests that it took."""

    def __init__(self, server: DemoServer, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self._before = server.counters

    def run(self) -> Tile:
        """Select, match, and fetch cutouts, as the rules do."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._before = self.server.counters
        run_tile(self.folder)
        return self

    @property
    def requests(self) -> dict[str, int]:
        """Requests of this run per endpoint; ``faults``: those that were struck."""
        now = self.server.counters
        taken = {name: now[name] - self._before.get(name, 0) for name in now}
        return {name: count for name, count in taken.items() if count}

    @property
    def ids(self) -> list[int]:
        return load_images(self.folder / "cutouts.npz").ids.tolist()

    @property
    def images(self) -> np.ndarray:
        return load_images(self.folder / "cutouts.npz").images

    @property
    def manifest(self) -> pd.DataFrame:
        return read_table(self.folder / "manifest.parquet")

    @property
    def losses(self) -> dict[int, str]:
        losses = read_losses(self.folder / "lost_images.csv")
        return dict(zip(losses["id"], losses["reason"], strict=True))

    def check_ends(self) -> None:
        """Every object has one end, and every band of it a row with its own."""
        manifest = self.manifest
        assert sorted(self.ids + list(self.losses)) == IDS
        assert manifest["id"].to_list() == [identifier for identifier in IDS for _ in BANDS]
        assert manifest["band"].to_list() == list(BANDS) * len(IDS)
        good = manifest["status"] == "ok"
        assert manifest.loc[good, "sha256"].str.len().eq(64).all()
        assert manifest.loc[good, "reason"].eq("").all()
        assert manifest.loc[~good, "reason"].ne("").all()
        whole = manifest[good].groupby("id").size()
        assert whole[whole == len(BANDS)].index.to_list() == self.ids


def run_tile(folder: Path) -> None:
    query = folder / "query.adql"
    query.write_text(QUERY)
    run_script(
        "select",
        {"query": query},
        {"sources": folder / "sources.parquet", "losses": folder / "lost_rows.csv"},
        {
            "columns": {"id": "coadd_object_id", "ra_deg": "ra", "dec_deg": "dec"},
            "bands": {"z": {"value": "mag_aper_4_z", "error": "mag_aper_4_z"}},
            "healpix_order": 5,
            "max_rows": 100,
        },
        tile=TILE,
    )
    run_script(
        "match",
        {"sources": folder / "sources.parquet"},
        {"matched": folder / "matched.parquet", "losses": folder / "lost_matches.csv"},
        {"catalogues": [CATALOGUE], "max_rows": 100},
        tile=TILE,
    )
    run_script(
        "cutouts",
        {"photometry": folder / "matched.parquet"},
        {
            "cutouts": folder / "cutouts.npz",
            "manifest": folder / "manifest.parquet",
            "losses": folder / "lost_images.csv",
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


def services(server: DemoServer, **more: Any) -> dict[str, Any]:
    section: dict[str, Any] = {
        **server.services(),
        "contact": "tests@example.org",
        "connections": 4,
        "retries": 8,
        "timeout_s": 20.0,
        "total_s": 900.0,
        "max_bytes": 10_000_000,
    }
    return section | more


@pytest.fixture
def tile(
    served: DemoServer, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Tile]:
    monkeypatch.setenv("ARCHIPELAGO_SERVICES", json.dumps(services(served)))
    yield Tile(served, tmp_path / "tile")
    served.set_faults(None)


@pytest.fixture(scope="module")
def right(served: DemoServer, tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """The images that a tile has without any fault."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARCHIPELAGO_SERVICES", json.dumps(services(served)))
        tile = Tile(served, tmp_path_factory.mktemp("right")).run()
    assert tile.requests == WITHOUT_FAULT
    assert tile.losses == {}
    tile.check_ends()
    return tile.images


def one_for_each_fault(tile: Tile) -> dict[str, int]:
    """Requests if each fault costs one more, and nothing else is asked twice."""
    requests = tile.requests
    extra = requests.pop("faults", 0)
    assert sum(requests.values()) == sum(WITHOUT_FAULT.values()) + extra
    return requests


def test_a_slow_service_costs_time_alone(tile: Tile, right: np.ndarray) -> None:
    tile.server.set_faults({"rules": [{"endpoint": "*", "kind": "latency", "seconds": 0.1}]})
    tile.run().check_ends()
    assert (tile.images == right).all()
    assert {**tile.requests, "faults": 0} == {**WITHOUT_FAULT, "faults": 0}


@pytest.mark.slow
def test_a_very_slow_service_costs_time_alone(tile: Tile, right: np.ndarray) -> None:
    tile.server.set_faults({"rules": [{"endpoint": "*", "kind": "latency", "seconds": 2}]})
    tile.run().check_ends()
    assert (tile.images == right).all()
    assert {**tile.requests, "faults": 0} == {**WITHOUT_FAULT, "faults": 0}


@pytest.mark.parametrize("seed", [1, 2])
def test_30_percent_of_all_requests_fail(tile: Tile, right: np.ndarray, seed: int) -> None:
    rule = {"endpoint": "*", "kind": "status", "status": 503, "share": 0.3, "anew": True}
    tile.server.set_faults({"seed": seed, "rules": [rule]})
    tile.run().check_ends()
    assert (tile.images == right).all()
    assert tile.requests["faults"] >= 5
    one_for_each_fault(tile)
    retried = tile.manifest["attempts"].sum() - len(tile.manifest)
    assert retried == tile.requests["cutout"] - WITHOUT_FAULT["cutout"]


def test_a_rate_limit_is_obeyed(tile: Tile, right: np.ndarray, clock: Clock) -> None:
    rule = {"endpoint": "*", "kind": "rate_limit", "seconds": 7, "attempts": 1, "share": 0.5}
    tile.server.set_faults({"rules": [rule]})
    tile.run().check_ends()
    assert (tile.images == right).all()
    one_for_each_fault(tile)
    # Not one wait of the client's own; a thread may find that a part of the pause is over.
    assert max(clock.slept_s) == 7.0


def test_a_stall_is_cut_off_and_asked_again(
    tile: Tile, right: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARCHIPELAGO_SERVICES", json.dumps(services(tile.server, timeout_s=0.5)))
    rule = {"endpoint": "*", "kind": "stall", "seconds": 30, "attempts": 1, "share": 0.3}
    tile.server.set_faults({"seed": 2, "rules": [rule]})
    tile.run().check_ends()
    assert tile.requests["faults"] >= 3
    assert (tile.images == right).all()
    # A busy machine may stall without being told to.
    assert sum(tile.requests.values()) < 2 * sum(WITHOUT_FAULT.values())


@pytest.mark.parametrize("kind", ["reset", "down", "truncated", "empty", "html"])
def test_a_body_that_breaks_off_or_is_no_answer_is_asked_again(
    tile: Tile, right: np.ndarray, kind: str
) -> None:
    tile.server.set_faults({"rules": [{"endpoint": "*", "kind": kind, "attempts": 1}]})
    tile.run().check_ends()
    assert tile.losses == {}
    assert (tile.images == right).all()
    assert tile.requests["faults"] == sum(WITHOUT_FAULT.values())
    one_for_each_fault(tile)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("truncated", "truncated"),
        ("empty", "empty"),
        ("html", "not a FITS file"),
        ("wrong_band", "wrong band"),
    ],
)
def test_what_never_is_an_image_is_lost_by_its_name(
    tile: Tile, right: np.ndarray, kind: str, reason: str
) -> None:
    rule = {"endpoint": "cutout", "kind": kind, "bands": ["z"], "share": 0.5}
    tile.server.set_faults({"seed": 3, "rules": [rule]})
    tile.run().check_ends()
    assert 0 < len(tile.losses) < len(IDS)
    assert set(tile.losses.values()) == {reason}
    kept = [IDS.index(identifier) for identifier in tile.ids]
    assert (tile.images == right[kept]).all()
    lost = tile.manifest[tile.manifest["status"] != "ok"]
    assert lost.loc[lost["band"] == "z", "reason"].eq(reason).all()


def test_the_image_of_another_band_is_asked_again(tile: Tile, right: np.ndarray) -> None:
    rule = {"endpoint": "cutout", "kind": "wrong_band", "attempts": 1}
    tile.server.set_faults({"rules": [rule]})
    tile.run().check_ends()
    assert tile.losses == {}
    assert (tile.images == right).all()
    assert one_for_each_fault(tile)["cutout"] == 2 * WITHOUT_FAULT["cutout"]


def test_a_band_that_is_not_there_is_named(tile: Tile, right: np.ndarray) -> None:
    rule = {"endpoint": "sia", "kind": "missing_band", "bands": ["Y"], "share": 0.5}
    tile.server.set_faults({"seed": 5, "rules": [rule]})
    tile.run().check_ends()
    assert 0 < len(tile.losses) < len(IDS)
    assert set(tile.losses.values()) == {"missing band"}
    assert (tile.images == right[[IDS.index(identifier) for identifier in tile.ids]]).all()
    # Without all bands an object is of no use: its other bands are not asked for.
    assert tile.requests["cutout"] == 5 * len(tile.ids)


@pytest.mark.parametrize("after", [0, 10])
@pytest.mark.parametrize("kind", ["down", "status"])
def test_a_service_that_is_down_for_a_minute_is_waited_for(
    tile: Tile, right: np.ndarray, clock: Clock, kind: str, after: int
) -> None:
    rule = {"endpoint": "*", "kind": kind, "after": after, "lasts": 60}
    tile.server.set_faults(FaultPlan.from_mapping({"rules": [rule]}, clock=clock))
    tile.run().check_ends()
    assert clock.now_s >= 60
    assert (tile.images == right).all()
    assert tile.requests["faults"] <= 4 * 7  # seven attempts of each of four threads
    one_for_each_fault(tile)


def test_a_service_that_stays_down_is_an_error_without_half_files(tile: Tile) -> None:
    tile.server.set_faults({"rules": [{"endpoint": "cutout", "kind": "down"}]})
    with pytest.raises(ServiceError, match="run again later"):
        tile.run()
    names = {path.name for path in tile.folder.iterdir()}
    assert not names & {"cutouts.npz", "manifest.parquet", "lost_images.csv"}
    assert not [name for name in names if "tmp" in name or name.startswith(".")]


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A resolver that knows survey.test after as many lookups as the list holds words."""
    failing: list[str] = []
    resolve = socket.getaddrinfo

    def getaddrinfo(host: str, port: int, *more: Any, **named: Any) -> Any:
        if host != "survey.test":
            return resolve(host, port, *more, **named)
        if failing:
            failing.pop()
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return resolve("127.0.0.1", port, *more, **named)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setenv("NO_PROXY", "*")
    return failing


def by_name(tile: Tile, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the services be asked under a name instead of a number."""
    section = json.dumps(services(tile.server)).replace("127.0.0.1", "survey.test")
    monkeypatch.setenv("ARCHIPELAGO_SERVICES", section)


def test_a_name_that_does_not_resolve_for_a_while_costs_time_alone(
    tile: Tile, right: np.ndarray, resolver: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    by_name(tile, monkeypatch)
    resolver += ["fail"] * 4
    tile.run().check_ends()
    assert resolver == []
    assert (tile.images == right).all()
    assert tile.requests == WITHOUT_FAULT


def test_a_name_that_never_resolves_is_an_error_that_names_it(
    tile: Tile, resolver: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    by_name(tile, monkeypatch)
    resolver += ["fail"] * 1000
    with pytest.raises(ServiceError, match=r"name resolution|resolve 'survey\.test'"):
        tile.run()
    assert tile.requests == {}
    assert [path.name for path in tile.folder.iterdir()] == ["query.adql"]


# --- the cache ---


@pytest.fixture
def cached(tile: Tile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let the tile's clients keep what they get; the folder of the cache."""
    folder = tmp_path / "cache"
    section = services(tile.server, cache={"folder": str(folder), "max_gb": 1.0})
    monkeypatch.setenv("ARCHIPELAGO_SERVICES", json.dumps(section))
    return folder


def packs(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_a_second_run_asks_nothing(tile: Tile, cached: Path, right: np.ndarray) -> None:
    tile.run()
    assert tile.requests == WITHOUT_FAULT
    first = tile.manifest
    again = Tile(tile.server, tile.folder.with_name("again")).run()
    again.check_ends()
    assert again.requests == {}
    assert (again.images == right).all()
    # What was asked for says so, and nothing else has changed.
    assert again.manifest.drop(columns="attempts").equals(first.drop(columns="attempts"))


def test_what_failed_goes_on_from_what_was_kept(
    tile: Tile, cached: Path, right: np.ndarray
) -> None:
    """A run that stopped for a service's fault begins where it stopped."""
    rule = {"endpoint": "cutout", "kind": "down", "bands": ["Y"]}
    tile.server.set_faults({"rules": [rule]})
    with pytest.raises(ServiceError):
        tile.run()
    kept = tile.requests
    tile.server.set_faults(None)
    again = Tile(tile.server, tile.folder).run()
    again.check_ends()
    assert (again.images == right).all()
    assert "tap" not in again.requests
    assert "xmatch" not in again.requests
    fetched = kept["cutout"] - kept["faults"]
    assert again.requests["cutout"] == WITHOUT_FAULT["cutout"] - fetched


def test_a_corrupted_entry_is_asked_again(tile: Tile, cached: Path, right: np.ndarray) -> None:
    tile.run()
    largest = max(packs(cached), key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    # One byte within the pixels of a cutout; then the end of another pack, as of a killed job.
    content[len(content) // 2] ^= 0xFF
    largest.write_bytes(content)
    again = Tile(tile.server, tile.folder.with_name("again")).run()
    again.check_ends()
    assert (again.images == right).all()
    assert sum(again.requests.values()) == 1
    third = Tile(tile.server, tile.folder.with_name("third")).run()
    assert third.requests == {}
    assert (third.images == right).all()


def test_a_cache_that_breaks_off_is_filled_up(tile: Tile, cached: Path, right: np.ndarray) -> None:
    tile.run()
    for path in packs(cached):
        content = path.read_bytes()
        path.write_bytes(content[: len(content) - 10])
    again = Tile(tile.server, tile.folder.with_name("again")).run()
    again.check_ends()
    assert (again.images == right).all()
    assert 0 < sum(again.requests.values()) <= sum(WITHOUT_FAULT.values())
    third = Tile(tile.server, tile.folder.with_name("third")).run()
    assert third.requests == {}
    assert (third.images == right).all()


def no_space(*_: object) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("why", ["full disk", "no folder"])
def test_a_cache_that_cannot_be_written_stops_nothing(
    tile: Tile,
    cached: Path,
    right: np.ndarray,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    why: str,
) -> None:
    if why == "full disk":
        monkeypatch.setattr(os, "writev", no_space)
    else:
        # A file where the folder should be: no account, not even root, can write below it.
        cached.write_text("in the way")
    tile.run().check_ends()
    assert (tile.images == right).all()
    assert tile.requests == WITHOUT_FAULT
    assert "cache" in caplog.text


#: What a tile's scripts write.
WRITTEN = {
    *("lost_rows.csv", "sources.parquet", "lost_matches.csv", "matched.parquet"),
    *("lost_images.csv", "manifest.parquet", "cutouts.npz"),
}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
@pytest.mark.parametrize("room_for", range(len(WRITTEN)))
def test_a_full_disk_leaves_no_half_files(
    tile: Tile, right: np.ndarray, monkeypatch: pytest.MonkeyPatch, room_for: int
) -> None:
    make = tempfile.mkstemp
    made: list[str] = []

    def mkstemp(**named: Any) -> tuple[int, str]:
        handle, name = make(**named)
        made.append(name)
        if len(made) > room_for:
            # Every write to this device ends as on a full disk.
            Path(name).unlink()
            Path(name).symlink_to("/dev/full")
        return handle, name

    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "mkstemp", mkstemp)
        with pytest.raises(ArchipelagoError, match=r"the disk is full.*make room"):
            tile.run()
    left = {path.name: path.read_bytes() for path in tile.folder.iterdir()}
    assert len(left) - 1 <= room_for
    assert set(left) < {"query.adql", *WRITTEN}
    tile.run().check_ends()
    assert (tile.images == right).all()
    # What was left is complete.
    assert all((tile.folder / name).read_bytes() == content for name, content in left.items())


PROCESS = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[2:]
from test_access_faults import run_tile
run_tile(Path(sys.argv[1]))
"""


@pytest.mark.slow
def test_two_runs_share_one_cache_at_once(tile: Tile, cached: Path, right: np.ndarray) -> None:
    """Two processes write to one cache at the same time; a third run needs no request."""
    paths = [str(REPOSITORY / part) for part in ("workflow", "tests", "tests/unit")]
    folders = [tile.folder.with_name(name) for name in ("one", "two")]
    latency = {"endpoint": "*", "kind": "latency", "seconds": 0.2}
    tile.server.set_faults({"rules": [latency]})
    running = []
    for folder in folders:
        folder.mkdir()
        command = [sys.executable, "-c", PROCESS, str(folder), *paths]
        running.append(subprocess.Popen(command, stderr=subprocess.PIPE, text=True))
    for process in running:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    both = [Tile(tile.server, folder) for folder in folders]
    for one in both:
        one.check_ends()
        assert (one.images == right).all()
    assert (
        both[0].manifest.drop(columns="attempts").equals(both[1].manifest.drop(columns="attempts"))
    )
    third = tile.run()
    third.check_ends()
    assert third.requests == {}
    assert (third.images == right).all()
