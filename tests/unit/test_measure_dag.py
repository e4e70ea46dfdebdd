"""Footprints of so many tiles, and what is read of a dry run."""

from __future__ import annotations

from pathlib import Path

import pytest

from archipelago.base.errors import InputError
from archipelago.measure import dag
from archipelago.tiles import FINEST_TILES, footprint_tiles


@pytest.mark.parametrize("tiles", [1, 110, 1_500, 10_000, 12_288])
def test_a_footprint_has_so_many_tiles(tmp_path: Path, tiles: int) -> None:
    path = tmp_path / "moc.fits"
    dag.write_footprint(path, tiles)
    assert len(footprint_tiles(path, FINEST_TILES)) == tiles


@pytest.mark.parametrize("tiles", [0, 12_289])
def test_more_tiles_than_there_are(tmp_path: Path, tiles: int) -> None:
    with pytest.raises(ValueError, match="not in 1 to 12288"):
        dag.write_footprint(tmp_path / "moc.fits", tiles)


def test_a_plan_counts_its_jobs() -> None:
    plan = dag.Plan({"select": 3, "match": 3, "sed": 1}, 1.0, 0.5)
    assert (plan.n_jobs, plan.tile_jobs) == (7, 6)


def fake_plans(monkeypatch: pytest.MonkeyPatch, wall_s: float, tile_jobs: int) -> None:
    plan = dag.Plan({"select": tile_jobs}, wall_s, wall_s)
    monkeypatch.setattr(dag, "dry_run", lambda folder, tiles=None: plan)


@pytest.mark.parametrize(
    ("wall_s", "tile_jobs", "status"), [(4.9, 300, 0), (5.0, 300, 1), (4.9, 301, 1)]
)
def test_a_missed_figure_is_a_failure(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    wall_s: float,
    tile_jobs: int,
    status: int,
) -> None:
    fake_plans(monkeypatch, wall_s, tile_jobs)
    assert dag.main(["--tiles", "110"]) == status
    shown = capsys.readouterr().out
    assert "110 tiles" in shown and "< 5 s" in shown
    assert f"asked at most 300, measured {tile_jobs}" in shown


def test_a_failed_dry_run_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(folder: Path, tiles: int | None = None) -> dag.Plan:
        raise InputError("the dry run failed: no such rule")

    monkeypatch.setattr(dag, "dry_run", fail)
    assert dag.main(["--tiles", "110"]) == 1
    assert "no such rule" in capsys.readouterr().err


@pytest.mark.slow
def test_a_search_of_many_tiles_is_planned(tmp_path: Path) -> None:
    assert dag.dry_run(tmp_path, 1_500).tile_jobs == 4 * 1_500
