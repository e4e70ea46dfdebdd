"""What a change of the configuration, or of the code, runs again."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from workflow_checkout import SMALL, Checkout, planned_rules

pytestmark = pytest.mark.slow

REPORT = {"report", "all"}
# The report tells what was exported.
EXPORTS = {"exports", "finding_charts", *REPORT}
RANK = {"candidates", "posteriors", "recall", *EXPORTS}
ISLANDS = {"islands", *RANK}
# What photometry says stands beside the features where islands are sought.
SED = {"sed", *ISLANDS}
RECOGNISE = {"recognise", *RANK}
SIMULATE = {"simulate", "simulated_features", "lens_evidence", *RECOGNISE}
LEARNING = {"train", "features", "map", "simulated_features", *RECOGNISE, *ISLANDS}
IMAGES = {"images", "losses", *SIMULATE, *LEARNING}
PHOTOMETRY = {"photometry", "catalogue", "cutouts", "sed", *IMAGES}


def nested(path: str, value: Any) -> dict[str, Any]:
    """Return {a: {b: value}} for ``a.b``."""
    for part in reversed(path.split(".")):
        value = {part: value}
    return value


CHANGES: dict[str, tuple[Any, set[str]]] = {
    "survey.max_rows": (1_999_999, {"select", "match", *PHOTOMETRY}),
    "photometry.detection_sigma": (2.5, PHOTOMETRY),
    "photometry.cuts": ([], PHOTOMETRY),
    "images.size_px": (27, {"cutouts", *IMAGES}),
    "known_quasars.min_redshift": (5.6, {"known_quasars", *ISLANDS, *SIMULATE}),
    "known_quasars.match_radius_arcsec": (1.4, {*ISLANDS, *SIMULATE}),
    "learning.temperature": (0.2, LEARNING),
    "islands.map.random_state": (2, {"map", *ISLANDS}),
    "islands.k_neighbours": (2, ISLANDS),
    "islands.hdbscan.min_cluster_size": (9, ISLANDS),
    "islands.weight_sed": (0.2, ISLANDS),
    "recognise.seed": (2, SIMULATE),
    "recognise.n_components": (20, RECOGNISE),
    "sed.models.galaxy.av_mag": ([0.0, 1.1], {"templates", *SED, *SIMULATE}),
    "sed.passbands.g": ("sdss_g0", {"templates", *SED, *SIMULATE}),
    "sed.fit.priors.lens.redshift_mean": (0.9, {*SED, *SIMULATE}),
    "sed.fit.floor_fraction.star": (0.004, SED),
    "candidates.quasar_rate_factor": (0.4, RANK),
    "posteriors.draws": (400, {"posteriors", *REPORT}),
    "report.candidates": (9, REPORT),
    "known_objects.match_radius_arcsec": (1.5, RANK),
    "exports.candidates": (9, EXPORTS),
    "exports.chart_band": ("i", {"finding_charts", *REPORT}),
    "truth.top": ([10, 20], {"recall", *REPORT}),
    "similar.n": (9, set()),
    "target": ("10.5,-3", set()),
    "services.connections": (3, set()),
    "services.tap.url": ("http://127.0.0.1:1/elsewhere", set()),
    "services.retries": (1, set()),
    "sed.fit.memory_mb": (1500, set()),
    "sed.fit.device": ("cpu", set()),
}


@pytest.mark.parametrize("path", CHANGES)
def test_a_change_re_runs_its_users_alone(finished: Checkout, path: str) -> None:
    value, expected = CHANGES[path]
    assert set(planned_rules(finished.snakemake("-n", change=nested(path, value)))) == expected


def test_setting_it_back_re_runs_nothing(finished: Checkout) -> None:
    change = nested("candidates.quasar_rate_factor", 0.4)
    assert planned_rules(finished.snakemake("-n", change=change))
    assert planned_rules(finished.snakemake("-n")) == {}


def test_a_match_radius_re_runs_the_match(finished: Checkout) -> None:
    import yaml

    full = yaml.safe_load((finished.folder / "config.yaml").read_text())
    full["match"][0]["radius_arcsec"] = 0.9
    change = {"match": full["match"]}
    assert set(planned_rules(finished.snakemake("-n", change=change))) == {"match", *PHOTOMETRY}


def test_another_seed_trains_that_seed_alone(finished: Checkout) -> None:
    plan = planned_rules(finished.snakemake("-n", change=nested("learning.seeds", [1, 2, 3])))
    assert plan["train"] == plan["features"] == plan["map"] == 1
    assert plan["simulated_features"] == 1
    assert set(plan) == LEARNING


def test_one_more_shard_re_runs_posteriors_alone(finished: Checkout) -> None:
    shards = SMALL["posteriors"]["shards"]
    change = {"posteriors": {"shards": shards + 1, "shortlist": 3}}
    plan = planned_rules(finished.snakemake("-n", change=change))
    assert plan["posteriors"] == shards + 1
    assert set(plan) == {"posteriors", *REPORT}


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("workflow/archipelago/islands/similarity.py", ISLANDS),
        ("workflow/archipelago/learning/augment.py", {"train", "features", *LEARNING}),
        ("workflow/archipelago/recognise/judges.py", RECOGNISE),
        ("workflow/archipelago/simulate/draw.py", SIMULATE),
        ("workflow/archipelago/candidates/terms.py", RANK),
        ("workflow/archipelago/report/charts.py", REPORT),
        ("workflow/archipelago/report/templates/style.css", REPORT),
        ("workflow/archipelago/demosky/sky.py", set()),
    ],
)
def test_a_change_of_code_re_runs_its_users(
    finished: Checkout, file: str, expected: set[str]
) -> None:
    path = finished.folder / file
    before = path.read_text()
    try:
        path.write_text(before + ("\nX = 1\n" if file.endswith(".py") else "\n/* more */\n"))
        plan = set(planned_rules(finished.snakemake("-n")))
    finally:
        path.write_text(before)
    # The network's own modules are used by `features` too, so it may or may not be listed.
    assert plan == expected


def test_a_change_of_a_query_re_runs_the_query(finished: Checkout) -> None:
    path = finished.folder / "data" / "queries" / "des_dr2.adql"
    before = path.read_text()
    try:
        path.write_text(before.replace("21.0", "20.9"))
        plan = set(planned_rules(finished.snakemake("-n")))
    finally:
        path.write_text(before)
    assert {"select", "match"} <= plan


@pytest.mark.parametrize(
    ("made", "path", "value", "expected"),
    [
        ("tiles/*/photometry.parquet", "photometry.detection_sigma", 2.5, PHOTOMETRY),
        ("learning/*/model.pt", "learning.temperature", 0.2, LEARNING),
        ("candidates.parquet", "candidates.quasar_rate_factor", 0.4, RANK),
    ],
)
def test_a_change_is_not_forgotten_when_its_first_rule_failed(
    finished: Checkout, tmp_path: Path, made: str, path: str, value: Any, expected: set[str]
) -> None:
    """Snakemake removes and forgets what a failed job had made; what follows is old still."""
    failed = copy_without(finished, tmp_path / "checkout", made)
    plan = set(planned_rules(failed.snakemake("-n", change=nested(path, value))))
    assert plan == expected


def test_a_change_of_a_query_is_not_forgotten_when_it_failed(
    finished: Checkout, tmp_path: Path
) -> None:
    failed = copy_without(finished, tmp_path / "checkout", "tiles/*/sources.parquet")
    query = failed.folder / "data" / "queries" / "des_dr2.adql"
    query.write_text(query.read_text().replace("21.0", "20.9"))
    assert set(planned_rules(failed.snakemake("-n"))) == {"select", "match", *PHOTOMETRY}


def copy_without(finished: Checkout, folder: Path, made: str) -> Checkout:
    """Return a copy of a search as it is after the jobs that make some files failed."""
    failed = Checkout(folder, finished.overlays)
    shutil.copytree(finished.folder, folder, symlinks=True)
    files = sorted(failed.result("").glob(made))
    assert files
    names = [str(file.relative_to(folder)) for file in files]
    assert failed.snakemake("--cleanup-metadata", *names).returncode == 0
    for file in files:
        file.unlink()
    return failed
