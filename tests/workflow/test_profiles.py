"""What `snakemake -n` lists: every job, for every profile, preset and target, offline."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from network_guard import NetworkGuard
from workflow_checkout import REPOSITORY, Checkout, copy_checkout, planned_rules

from archipelago.tiles import footprint_tiles

pytestmark = pytest.mark.slow

PRESETS = sorted(path.name for path in (REPOSITORY / "data" / "presets").glob("*.yaml"))


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A fresh checkout, with the files that presets ask a user for."""
    made = copy_checkout(tmp_path_factory.mktemp("profiles") / "checkout")
    for name in (".demo/truth.csv", "mine.csv", *(f"{band}.fits" for band in "grizY")):
        path = made.folder / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    return made


@pytest.fixture
def guard(tmp_path: Path) -> NetworkGuard:
    return NetworkGuard(tmp_path / "reached.txt")


def dry_run(
    checkout: Checkout, guard: NetworkGuard, *arguments: str
) -> subprocess.CompletedProcess[str]:
    """Run `snakemake -n` offline, as a user types it."""
    return checkout.run(
        sys.executable, "-m", "snakemake", "-n", *arguments, environment=guard.environment
    )


def expected_jobs(checkout: Checkout, overlay: str | None = None) -> dict[str, int]:
    """Jobs of a whole search in which everything comes from services."""
    config = yaml.safe_load((checkout.folder / "config.yaml").read_text())
    over = yaml.safe_load((checkout.folder / overlay).read_text()) if overlay else {}

    def value(section: str, key: str) -> object:
        return over.get(section, {}).get(key, config[section][key])

    order = value("survey", "tile_order")
    assert isinstance(order, int)
    tiles = footprint_tiles(checkout.folder / str(value("survey", "footprint")), order)
    seeds, shards = value("learning", "seeds"), value("posteriors", "shards")
    assert isinstance(seeds, list)
    assert isinstance(shards, int)
    jobs = dict.fromkeys(("select", "match", "photometry", "cutouts"), len(tiles))
    jobs |= dict.fromkeys(("train", "features", "simulated_features", "map"), len(seeds))
    once = ("known_quasars", "catalogue", "images", "losses", "islands", "templates", "sed")
    once += ("simulate", "recognise", "lens_evidence")
    once += ("candidates", "exports", "finding_charts")
    jobs |= dict.fromkeys((*once, "report", "all"), 1)
    return jobs | {"posteriors": shards}


def test_the_guard_refuses_and_tells(checkout: Checkout, guard: NetworkGuard) -> None:
    reach = "import urllib.request; urllib.request.urlopen('http://192.0.2.1/', timeout=1)"
    done = checkout.run(sys.executable, "-c", reach, environment=guard.environment)
    assert done.returncode != 0
    assert "only loopback is allowed" in done.stderr
    assert guard.reached == ["192.0.2.1"]


def test_a_full_search_is_listed_job_by_job_offline(
    checkout: Checkout, guard: NetworkGuard
) -> None:
    done = dry_run(checkout, guard)
    expected = expected_jobs(checkout)
    assert planned_rules(done) == expected
    listed = re.findall(r"^Job \d+: (.+)$", done.stdout + done.stderr, flags=re.MULTILINE)
    # Only the target has no message of its own.
    assert len(listed) == sum(expected.values()) - 1
    tiles = {tile.name for tile in footprint_tiles(REPOSITORY / "data/footprints/des_dr2.json", 2)}
    queries = [m[1] for text in listed if (m := re.search(r"Query the .* tile (\S+)", text))]
    assert sorted(queries) == sorted(tiles)
    assert guard.reached == []


@pytest.mark.parametrize("profile", ["slurm", "profiles/slurm"])
def test_a_cluster_s_plan_is_that_of_a_laptop(
    checkout: Checkout, guard: NetworkGuard, profile: str
) -> None:
    done = dry_run(checkout, guard, "--profile", profile)
    assert planned_rules(done) == expected_jobs(checkout)
    assert guard.reached == []


def test_the_demo_s_profile_lists_the_demo(checkout: Checkout, guard: NetworkGuard) -> None:
    done = dry_run(checkout, guard, "--profile", "profiles/demo")
    expected = expected_jobs(checkout, "data/presets/demo.yaml")
    assert planned_rules(done) == {**expected, "recall": 1}
    assert guard.reached == []


OWN_FIELDS = "images={fields: {g: g.fits, r: r.fits, i: i.fits, z: z.fits, Y: Y.fits}}"
#: What a preset asks of the command line.
GIVEN = {
    "own_images.yaml": [OWN_FIELDS],
    "published_catalogue.yaml": ["run=mine", "catalogue={file: mine.csv}"],
}


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_has_a_plan(checkout: Checkout, guard: NetworkGuard, preset: str) -> None:
    given = ["--config", *GIVEN[preset]] if preset in GIVEN else []
    done = dry_run(checkout, guard, "--configfile", f"data/presets/{preset}", *given)
    plan = planned_rules(done)
    assert {"catalogue", "losses", "sed", "candidates", "report"} <= set(plan)
    assert guard.reached == []


@pytest.mark.parametrize("preset", sorted(GIVEN))
def test_a_preset_without_its_files_says_which(
    checkout: Checkout, guard: NetworkGuard, preset: str
) -> None:
    done = dry_run(checkout, guard, "--configfile", f"data/presets/{preset}")
    assert done.returncode != 0
    wanted = {"own_images.yaml": "images.fields.g", "published_catalogue.yaml": "catalogue.file"}
    assert wanted[preset] in done.stdout + done.stderr


CATALOGUE = {"select", "match", "photometry", "catalogue"}
IMAGES = {*CATALOGUE, "cutouts", "images"}
LEARNING = {*IMAGES, "known_quasars", "train", "features"}
SED = {*CATALOGUE, "templates", "sed"}
# What photometry says stands beside the features where islands are sought.
ISLANDS = {*LEARNING, *SED, "map", "islands"}
RECOGNISE = {*LEARNING, "templates", "simulate", "simulated_features", "recognise"}
CANDIDATES = {*RECOGNISE, *ISLANDS, "lens_evidence", "candidates"}
TARGETS = {
    "catalogue": CATALOGUE,
    "images": IMAGES,
    "islands": ISLANDS,
    "similar_index": {*IMAGES, "train", "features", "similar_index"},
    "sed": SED,
    "recognise": RECOGNISE,
    "candidates": CANDIDATES,
    "exports": {*CANDIDATES, "exports"},
    "finding_charts": {*CANDIDATES, "finding_charts"},
    "report": {*CANDIDATES, "losses", "posteriors", "recall", "report"},
}


@pytest.mark.parametrize("target", TARGETS)
def test_each_stage_is_a_target(checkout: Checkout, guard: NetworkGuard, target: str) -> None:
    done = dry_run(checkout, guard, target, "--configfile", "data/presets/demo.yaml")
    assert set(planned_rules(done)) == TARGETS[target]
    assert guard.reached == []


def test_a_plan_leaves_nothing_behind(checkout: Checkout, guard: NetworkGuard) -> None:
    dry_run(checkout, guard, "--configfile", "data/presets/demo.yaml")
    assert not (checkout.folder / "results").exists()
