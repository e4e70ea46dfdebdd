"""Bad input: a clear error and nothing half-written, or a row in losses.csv with the reason."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from workflow_checkout import (
    SMALL,
    Checkout,
    copy_checkout,
    planned_rules,
    search_of,
    users_environment,
)

from archipelago.base.images import load_images
from archipelago.demosky.server import DemoServer
from archipelago.demosky.sky import Sky
from archipelago.tiles import tile_of

pytestmark = pytest.mark.slow

#: A tile of the small sky with few objects.
TILE = "o4-01024"
#: An address at which nobody listens: the port of `discard`, closed everywhere.
NOWHERE = "http://127.0.0.1:9"
BANDS = ("g", "r", "i", "z", "Y", "J", "K", "W1", "W2")


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory, small_sky: Sky, survey: DemoServer) -> Checkout:
    """A checkout without results, whose jobs and requests are tried again once or not at all."""
    checkout = search_of(tmp_path_factory.mktemp("bare") / "checkout", small_sky, survey)
    return impatient(checkout)


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory, finished: Checkout) -> Checkout:
    """A copy of the search that is done, impatient as well."""
    folder = tmp_path_factory.mktemp("searched") / "checkout"
    shutil.copytree(finished.folder, folder, symlinks=True)
    return impatient(Checkout(folder, finished.overlays))


def impatient(checkout: Checkout) -> Checkout:
    """Spare the tests the repetitions: what they show is the end."""
    for rules in (checkout.folder / "workflow" / "rules").glob("*.smk"):
        rules.write_text(re.sub(r"retries: \d", "retries: 0", rules.read_text()))
    overlay = checkout.folder / "impatient.yaml"
    overlay.write_text(yaml.safe_dump({"services": {"retries": 1}}))
    return Checkout(checkout.folder, (*checkout.overlays, overlay.name))


def refused(done: subprocess.CompletedProcess[str], *words: str) -> str:
    """Check that a run failed and said ``words``; return all that it said."""
    said = done.stdout + done.stderr
    assert done.returncode != 0, said
    for word in words:
        assert word in said, f"{word!r} not in:\n{said}"
    return said


def logged(checkout: Checkout, log: str, *words: str, run: str = "small") -> None:
    """Check that a rule's log ends in a traceback that holds ``words``."""
    text = checkout.result(f"logs/{log}.log", run).read_text()
    assert "Traceback (most recent call last)" in text
    last = text.strip().splitlines()[-1]
    for word in words:
        assert word in last


def files_of(folder: Path) -> list[str]:
    """Return all files below ``folder`` but logs and benchmarks."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(str(path) for path in found if path.parts[0] not in ("logs", "benchmarks"))


# ------------------------------------------------------------------------- wrong configuration


def test_every_error_of_the_configuration_is_listed_at_once(bare: Checkout) -> None:
    wrong = {
        "run": "wrong",
        "survey": {"footprint": "nowhere.json"},
        "photometry": {"bands": [*BANDS, "W3"], "detection_sigma": -2},
        "learning": {"batch_sise": 4, "epochs_max": "many", "optimiser": "adam"},
        "services": {"tap": {"url": "ftp://somewhere"}},
    }
    said = refused(bare.snakemake(change=wrong))
    for line in (
        r"learning.batch_sise = 4: unknown key; did you mean learning.batch_size\?",
        r"learning.epochs_max = 'many': input should be a valid integer",
        r"learning.optimiser = 'adam': input should be 'adamw' or 'sgd'",
        r"photometry.detection_sigma = -2: input should be greater than",
        r"services.tap.url = 'ftp://somewhere': ",
        r"survey.footprint = 'nowhere.json': no such file",
    ):
        assert re.search(rf"^  {line}", said, flags=re.MULTILINE), f"{line}\n{said}"
    assert "config.yaml explains every key" in said
    assert "Traceback" not in said
    assert not (bare.folder / "results").exists()


def test_errors_across_sections_are_listed_with_the_others(bare: Checkout) -> None:
    wrong = {"run": "wrong", "photometry": {"bands": [*BANDS, "W3"]}, "report": {"candidate": 1}}
    said = refused(bare.snakemake(change=wrong))
    for line in (
        "report.candidate = 1: unknown key; did you mean report.candidates?",
        "photometry.bands = 'W3': no catalogue gives this band",
        "photometry.depths.W3: is missing",
        "sed.passbands.W3: is missing",
    ):
        assert f"\n  {line}" in said
    assert not (bare.folder / "results").exists()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("moc.fits", b"SIMPLE  =                    T", "cannot read the footprint as a MOC"),
        ("list.json", b"[[0, 0], [1, 0]]", "the footprint needs 'polygons_deg'"),
    ],
)
def test_a_wrong_footprint_stops_before_any_job(
    bare: Checkout, name: str, content: bytes, words: str
) -> None:
    (bare.folder / name).write_bytes(content)
    done = bare.snakemake(change={"run": "wrong", "survey": {"footprint": name}})
    refused(done, words, name)
    assert not bare.result("", "wrong").exists()


# ------------------------------------------------------------------ services down, or lying


def test_services_at_which_nobody_listens(bare: Checkout) -> None:
    down = {name: {"url": f"{NOWHERE}/{name}"} for name in ("tap", "vizier_tap")}
    tables = (f"results/down/tiles/{TILE}/sources.parquet", "results/down/known_quasars.parquet")
    done = bare.snakemake(*tables, change={"run": "down", "services": down})
    refused(done, "cannot be reached", f"[{NOWHERE}/tap/sync]", f"[{NOWHERE}/vizier_tap/")
    assert files_of(bare.result("", "down")) == []
    for log in (f"select/{TILE}", "known_quasars"):
        logged(bare, log, "ServiceError", NOWHERE, "run again", run="down")


@pytest.mark.parametrize(
    ("service", "rule", "output"),
    [("xmatch", "match", "matched.parquet"), ("sia", "cutouts", "cutouts.npz")],
)
def test_services_of_later_stages_at_which_nobody_listens(
    searched: Checkout, finished: Checkout, service: str, rule: str, output: str
) -> None:
    name = f"tiles/{TILE}/{output}"
    change = {"services": {service: {"url": f"{NOWHERE}/{service}"}}}
    done = searched.snakemake(f"results/small/{name}", "--forcerun", rule, change=change)
    refused(done, "cannot be reached", f"{NOWHERE}/{service}")
    assert not searched.result(name).exists()
    logged(searched, f"{rule}/{TILE}", "cannot be reached", NOWHERE, "run again")
    restore(searched, finished)


def restore(searched: Checkout, finished: Checkout) -> None:
    """Bring the results, and Snakemake's memory of them, back to those of the search."""
    for part in ("results", ".snakemake"):
        shutil.rmtree(searched.folder / part)
        shutil.copytree(finished.folder / part, searched.folder / part, symlinks=True)


def test_a_web_page_in_place_of_a_table(
    bare: Checkout, faults: Callable[..., None], survey: DemoServer
) -> None:
    faults({"endpoint": "*", "kind": "html"})
    tables = (f"results/lies/tiles/{TILE}/sources.parquet", "results/lies/known_quasars.parquet")
    done = bare.snakemake(*tables, change={"run": "lies"})
    refused(done, "wrong content", f"{survey.url}/tap/sync", f"{survey.url}/tapvizier/tap/")
    assert files_of(bare.result("", "lies")) == []
    logged(bare, f"select/{TILE}", "ServiceError", "HTTP 200", run="lies")


def test_an_error_in_a_table_with_status_200(bare: Checkout, survey: DemoServer) -> None:
    query = (bare.folder / "data" / "queries" / "des_dr2.adql").read_text()
    (bare.folder / "wrong.adql").write_text(query.replace("coadd_object_id", "coad_object_id"))
    name = f"results/query/tiles/{TILE}/sources.parquet"
    done = bare.snakemake(name, change={"run": "query", "survey": {"query": "wrong.adql"}})
    refused(done, "coad_object_id", f"{survey.url}/tap")
    assert files_of(bare.result("", "query")) == []
    logged(bare, f"select/{TILE}", "ServiceError", "coad_object_id", run="query")


def test_more_rows_than_were_asked_for(bare: Checkout, survey: DemoServer) -> None:
    name = f"results/overflow/tiles/{TILE}/sources.parquet"
    done = bare.snakemake(name, change={"run": "overflow", "survey": {"max_rows": 20}})
    refused(done, "the query has more rows", "raise survey.max_rows", f"{survey.url}/tap")
    assert files_of(bare.result("", "overflow")) == []


# -------------------------------------------------------------------- faults of the image service


def test_faults_that_pass_leave_the_same_images(
    searched: Checkout, finished: Checkout, faults: Callable[..., None], survey: DemoServer
) -> None:
    faults(
        {"endpoint": "cutout", "kind": "status", "status": 503, "share": 0.3, "attempts": 1},
        {"endpoint": "cutout", "kind": "truncated", "share": 0.1, "attempts": 2},
        {"endpoint": "cutout", "kind": "html", "share": 0.1, "attempts": 2},
        {"endpoint": "cutout", "kind": "rate_limit", "seconds": 1, "share": 0.01, "attempts": 1},
        {"endpoint": "sia", "kind": "status", "status": 503, "share": 0.3, "attempts": 1},
    )
    struck_before = survey.counters["faults"]
    done = searched.snakemake(
        f"results/small/tiles/{TILE}/cutouts.npz",
        *("--forcerun", "cutouts"),
        change={"services": {"retries": 5}},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert survey.counters["faults"] > struck_before + 30
    for name in ("cutouts.npz", "losses_images.csv"):
        path = f"tiles/{TILE}/{name}"
        assert searched.result(path).read_bytes() == finished.result(path).read_bytes()
    table, before = (
        pd.read_parquet(one.result(f"tiles/{TILE}/manifest.parquet"))
        for one in (searched, finished)
    )
    assert table["attempts"].sum() > before["attempts"].sum()
    pd.testing.assert_frame_equal(table.drop(columns="attempts"), before.drop(columns="attempts"))
    restore(searched, finished)


def test_faults_that_stay_are_losses_with_their_reason(
    searched: Checkout, finished: Checkout, faults: Callable[..., None]
) -> None:
    faults(
        {"endpoint": "cutout", "kind": "html", "bands": ["Y"], "share": 0.3},
        {"endpoint": "cutout", "kind": "truncated", "bands": ["r"], "share": 0.2},
        {"endpoint": "cutout", "kind": "empty", "bands": ["i"], "share": 0.2},
        {"endpoint": "cutout", "kind": "wrong_band", "bands": ["z"], "share": 0.2},
        {"endpoint": "sia", "kind": "missing_band", "bands": ["g"], "share": 0.1},
    )
    done = searched.snakemake(
        "losses", "--forcerun", "cutouts", change={"services": {"retries": 0}}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    losses = pd.read_csv(searched.result("losses.csv"))
    lost = losses[losses["stage"] == "images"]
    reasons = {"not a FITS file", "truncated", "empty", "wrong band", "missing band"}
    assert reasons <= set(lost["reason"])
    assert lost.loc[lost["reason"] == "not a FITS file", "detail"].str.contains("band Y").all()
    catalogue = pd.read_parquet(searched.result("catalogue.parquet"))
    images = load_images(searched.result("images.npz"))
    assert sorted([*images.ids, *lost["id"]]) == sorted(catalogue["id"])
    manifest = pd.read_parquet(searched.result("manifest.parquet"))
    assert len(manifest) == 5 * len(catalogue)
    # What came from the same files is what it was; the others came from the tile beside.
    before, manifest_before = (
        load_images(finished.result("images.npz")),
        pd.read_parquet(finished.result("manifest.parquet")),
    )
    assert set(images.ids) <= set(before.ids)
    moved = manifest.loc[manifest["url"].ne(manifest_before["url"]), "id"]
    unmoved = np.setdiff1d(images.ids, moved)
    assert len(unmoved) > 0.8 * len(images)
    np.testing.assert_array_equal(
        images.images[np.isin(images.ids, unmoved)], before.images[np.isin(before.ids, unmoved)]
    )
    restore(searched, finished)


# ------------------------------------------------------------------------------ nothing there


class Tags(HTMLParser):
    """Collects the names of the elements of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.seen.add(tag)


@pytest.fixture(scope="module")
def nothing(bare: Checkout) -> Checkout:
    """The run `nothing`, done: a whole search of an empty part of the sky."""
    polygon = [[100.0, 20.0], [101.0, 20.0], [101.0, 21.0], [100.0, 21.0]]
    (bare.folder / "nothing.json").write_text(json.dumps({"polygons_deg": [polygon]}))
    change = {
        "run": "nothing",
        "survey": {"footprint": "nothing.json"},
        "truth": {"file": None},
        "learning": {"seeds": [1]},
    }
    done = bare.snakemake(change=change)
    assert done.returncode == 0, done.stdout + done.stderr
    return bare


def test_a_search_where_there_is_nothing_ends_in_a_report(nothing: Checkout) -> None:
    def rows(name: str) -> int:
        return len(pd.read_parquet(nothing.result(name, "nothing")))

    for name in (
        "catalogue.parquet", "manifest.parquet", "islands/islands.parquet",
        "sed/verdicts.parquet", "candidates.parquet",
    ):  # fmt: skip
        assert rows(name) == 0, name
    full = pd.read_parquet(nothing.result("known_quasars.parquet", "nothing"))
    assert len(full) > 0
    images = load_images(nothing.result("images.npz", "nothing"))
    assert images.images.shape == (0, 5, 28, 28)
    assert len(pd.read_csv(nothing.result("losses.csv", "nothing"))) == 0
    assert len(pd.read_csv(nothing.result("candidates.csv", "nothing"))) == 0
    flow = pd.read_csv(nothing.result("cutflow.csv", "nothing"))
    assert (flow[["rows_in", "rows_out"]] == 0).all(axis=None)
    page = nothing.result("report.html", "nothing").read_text(encoding="utf-8")
    tags = Tags()
    tags.feed(page)
    tags.close()
    assert {"html", "body", "h1", "table"} <= tags.seen
    text = re.sub(r"<(script|style)\b.*?</\1>", " ", page, flags=re.DOTALL)
    assert "nan" not in re.sub(r"<[^>]*>", " ", text).lower().split()


def test_an_empty_table_has_the_columns_of_a_full_one(
    nothing: Checkout, finished: Checkout
) -> None:
    for name in ("catalogue.parquet", "manifest.parquet", "sed/verdicts.parquet"):
        empty = pd.read_parquet(nothing.result(name, "nothing"))
        full = pd.read_parquet(finished.result(name))
        assert list(empty.columns) == list(full.columns), name
        assert empty.dtypes.astype(str).to_dict() == full.dtypes.astype(str).to_dict(), name


# ------------------------------------------------------------------------ a catalogue of one's own


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A checkout that starts from a user's catalogue."""
    checkout = copy_checkout(
        tmp_path_factory.mktemp("own") / "checkout",
        *("data/presets/published_catalogue.yaml", "mine.yaml"),
    )
    bands = {
        band: {"value": f"flux_{band}", "error": f"err_{band}", "system": "flux_ujy"}
        for band in BANDS
    }
    columns = {"id": "id", "ra_deg": "ra", "dec_deg": "dec"}
    mine = {
        "catalogue": {"columns": columns, "bands": bands},
        "known_quasars": {"source": "none"},
        "sed": SMALL["sed"],
    }
    (checkout.folder / "mine.yaml").write_text(yaml.safe_dump(mine))
    return checkout


def good_rows(n: int) -> pd.DataFrame:
    """Return ``n`` objects like red stars, all over the sky."""
    table = pd.DataFrame({"id": np.arange(1, n + 1), "ra": np.linspace(5, 355, n), "dec": -40.0})
    for k, band in enumerate(BANDS):
        table[f"flux_{band}"] = 10.0 * (k + 1)
        table[f"err_{band}"] = 0.5
    return table


def test_a_messy_catalogue_is_ranked_and_every_lost_row_told(own: Checkout) -> None:
    table = good_rows(24).astype({"id": object})
    poles = {0: (0.0, 90.0), 1: (123.0, -90.0), 2: (0.0, 0.0), 3: (360.0, 0.0), 4: (-0.001, 5.0)}
    for row, position in poles.items():
        table.loc[row, ["ra", "dec"]] = position
    # Values that are none, in one band and in all.
    for row, value in ((5, np.nan), (6, np.inf), (7, -np.inf), (8, 99.0), (9, -99.0)):
        table.loc[row, [f"flux_{band}" for band in BANDS]] = value
    for row, value in ((10, np.nan), (11, np.inf), (12, 99.0), (13, 0.0), (14, -1.0)):
        table.loc[row, [f"err_{band}" for band in BANDS]] = value
    table.loc[15, ["flux_z", "err_z"]] = np.nan
    # Rows that cannot be used: an object in two tiles, one twice, and bad positions.
    table.loc[16, "id"] = 3
    table.loc[16, "ra"] = 200.0
    table.loc[18] = table.loc[19]
    table.loc[20, "ra"] = np.nan
    table.loc[21, "dec"] = np.inf
    table.loc[22, "dec"] = 91.0
    table.loc[23, "id"] = np.nan
    tiles = tile_of(table.loc[[2, 16], "ra"], table.loc[[2, 16], "dec"], 0)
    assert tiles[0] != tiles[1]
    table.to_csv(own.folder / "messy.csv", index=False)
    change = {"run": "messy", "catalogue": {"file": "messy.csv"}}
    done = own.snakemake("candidates", "losses", change=change)
    assert done.returncode == 0, done.stdout + done.stderr
    losses = pd.read_csv(own.result("losses.csv", "messy"))
    told = sorted(zip(losses["detail"].str.extract(r"row (\d+)")[0].astype(int), losses["reason"],
                      strict=True))  # fmt: skip
    assert told == [
        (17, "duplicate id"), (20, "duplicate id"), (21, "position not finite"),
        (22, "position not finite"), (23, "position out of range"), (24, "no identifier"),
    ]  # fmt: skip
    candidates = pd.read_parquet(own.result("candidates.parquet", "messy"))
    assert len(candidates) + len(losses) == len(table)
    assert candidates["rank"].tolist() == list(range(1, 19))
    assert candidates["ra_deg"].between(0, 360, inclusive="left").all()
    assert np.isfinite(candidates["score"]).all()
    classes = [f"p_{name}" for name in ("star", "galaxy", "quasar", "lensed", "other")]
    fitted = candidates[candidates["has_sed"]]
    np.testing.assert_allclose(fitted[classes].sum(axis=1), 1.0, atol=1e-9)
    for band in BANDS:
        assert np.isfinite(candidates[f"flux_err_ujy_{band}"]).all()
        assert np.isfinite(candidates.loc[candidates[f"detected_{band}"], f"mag_ab_{band}"]).all()


def unreadable(folder: Path) -> dict[str, tuple[str, ...]]:
    """Write files that are no catalogue; return what is to be said of each."""
    good = good_rows(50)
    text = good.to_csv(index=False).encode()
    (folder / "short.csv.gz").write_bytes(gzip.compress(text)[:-200])
    (folder / "broken.fits").write_bytes(b"SIMPLE  =                    T" + bytes(500))
    (folder / "page.parquet").write_text("<html>Not found</html>")
    (folder / "text.csv").write_text(good.to_csv(index=False).replace("10.0", "ten"))
    good.drop(columns="err_J").rename(columns={"flux_K": "fluxK"}).to_csv(
        folder / "lacking.csv", index=False
    )
    return {
        "short.csv.gz": ("cannot read the table", "truncated or damaged"),
        "broken.fits": ("cannot read the table",),
        "page.parquet": ("cannot read the table",),
        "text.csv": ("flux_g", "ten"),
        "lacking.csv": ("lacks the columns", "err_J", "flux_K", "fluxK"),
    }


@pytest.mark.parametrize(
    "file", ["short.csv.gz", "broken.fits", "page.parquet", "text.csv", "lacking.csv"]
)
def test_a_catalogue_that_cannot_be_used(own: Checkout, file: str) -> None:
    words = unreadable(own.folder)[file]
    run = file.partition(".")[0]
    done = own.snakemake("catalogue", change={"run": run, "catalogue": {"file": file}})
    refused(done, *words)
    logged(own, "ingest", "InputError", run=run)
    assert files_of(own.result("", run)) == []


# ------------------------------------------------------------------------ full disk, interruption


@pytest.fixture
def little_disk(bare: Checkout) -> Iterator[Path]:
    """A file system with 64 kB of room for the results of the run `full`; as root only."""
    folder = bare.result("", "full")
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if shutil.which("mount") is None or os.geteuid() != 0:
        pytest.skip("a full disk needs root, to mount a small one")
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"a full disk needs a small one, which cannot be mounted: {mounted.stderr}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_told_and_room_lets_it_go_on(bare: Checkout, little_disk: Path) -> None:
    name = f"results/full/tiles/{TILE}/cutouts.npz"
    # Tables of few columns: the first stages fit, the images do not.
    refused(bare.snakemake(name, change={"run": "full"}), "the disk is full", "make room")
    assert not (bare.folder / name).exists()
    left = files_of(little_disk)
    assert left
    assert not [one for one in left if Path(one).name.startswith(".")]
    complete = {one for one in left if one.endswith(".parquet")}
    assert all(len(pd.read_parquet(little_disk / one)) for one in complete)
    subprocess.run(["mount", "-o", "remount,size=64m", str(little_disk)], check=True)
    done = bare.snakemake(name, change={"run": "full"})
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(load_images(bare.folder / name)) > 0


def test_an_interrupted_run_goes_on_with_the_rest(searched: Checkout, finished: Checkout) -> None:
    """SIGTERM in the middle of training: images are kept, training goes on from its epoch."""
    change = {"learning": {"seeds": [1], "epochs_max": 200, "patience": 200}}
    (searched.folder / "long.yaml").write_text(yaml.safe_dump(change))
    command = [sys.executable, "-m", "snakemake", "islands", "--cores", "2", "--configfile"]
    checkpoint = searched.result("learning/checkpoints/seed-1/checkpoint.pt")
    with (searched.folder / "said.txt").open("w") as said:
        running = subprocess.Popen(
            [*command, *searched.overlays, "long.yaml"],
            cwd=searched.folder,
            env=users_environment(),
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            wait_for(checkpoint.exists, running)
            # As a cluster or a closing terminal ends all that belongs to a run.
            os.killpg(running.pid, signal.SIGTERM)
            assert running.wait(60) != 0
        finally:
            if running.poll() is None:
                os.killpg(running.pid, signal.SIGKILL)
    assert checkpoint.exists()
    assert not searched.result("learning/seed-1/model.pt").exists()
    plan = planned_rules(searched.snakemake("islands", "-n", change=change))
    assert set(plan) == {"train", "features", "map", "islands"}
    done = searched.snakemake("results/small/learning/seed-1/model.pt", change=change)
    assert done.returncode == 0, done.stdout + done.stderr
    log = searched.result("logs/train/seed-1.log").read_text()
    done_before = re.search(r"going on from .*: (\d+) epochs", log)
    assert done_before, log
    assert int(done_before[1]) >= 1
    history = pd.read_csv(searched.result("learning/seed-1/history.csv"))
    assert history["epoch"].tolist() == list(range(1, 201))
    restore(searched, finished)


def wait_for(happened: Callable[[], bool], running: subprocess.Popen[bytes]) -> None:
    """Wait until something happens while a process runs."""
    deadline_s = time.monotonic() + 60
    while not happened():
        assert running.poll() is None, "it ended before"
        assert time.monotonic() < deadline_s
        time.sleep(0.05)
