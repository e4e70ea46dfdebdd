"""Runs made larger, and what is reckoned from measurements."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from archipelago.base.errors import InputError
from archipelago.measure.enlarge import DEC_STEP_DEG, ID_STEP, enlarge, repeat_rows
from archipelago.measure.plan import DES_DR2, RULES, SEARCHES, Growth, cost, growths, plan_text
from archipelago.measure.resources import TABLE, Measured, read_measured, write_measured


@pytest.fixture
def table() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "id": [5, 3],
            "dec_deg": [-40.0, -41.0],
            "rank": [1, 2],
            "is_known": [True, False],
            "rank_unknown": pd.array([None, 1], dtype="Int64"),
            "flux_ujy_z": [1.25, 7.5],
            "mag_ab_g": [99.0, 99.0],
        }
    )


def test_copies_have_ids_and_places_of_their_own(table: pd.DataFrame) -> None:
    larger = repeat_rows(table, 3)
    assert larger["id"].tolist() == [5 + k * ID_STEP if i == 0 else 3 + k * ID_STEP
                                     for k in range(3) for i in range(2)]  # fmt: skip
    assert larger["dec_deg"].iloc[4] == pytest.approx(-40.0 + 2 * DEC_STEP_DEG, abs=1e-4)
    assert larger["rank"].tolist() == [1, 2, 3, 4, 5, 6]
    assert larger["rank_unknown"].tolist() == [pd.NA, 1, pd.NA, 2, pd.NA, 3]


def test_numbers_of_copies_differ_a_little_but_not_those_all_rows_share(
    table: pd.DataFrame,
) -> None:
    larger = repeat_rows(table, 2)
    assert larger["flux_ujy_z"].tolist()[:2] == [1.25, 7.5]
    assert larger["flux_ujy_z"].nunique() == 4
    np.testing.assert_allclose(larger["flux_ujy_z"][2:], [1.25, 7.5], rtol=1e-6)
    assert (larger["mag_ab_g"] == 99.0).all()


def test_a_run_without_a_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the run has no such file"):
        enlarge(tmp_path / "catalogue.parquet", tmp_path / "out.parquet", 2)


def measured(rule: str, n: int, cpu_seconds: float, memory_mb: float = 100.0) -> Measured:
    return Measured(rule, n, 1, 1.0, 2.0, memory_mb, cpu_seconds, cpu_seconds, 1, "script")


def test_the_exponent_is_that_of_the_largest_sizes() -> None:
    rows = [measured("map", n, n**1.5) for n in (10, 100, 1000)]
    growth = growths(rows)["map"]
    assert growth.exponent == pytest.approx(1.5)
    assert growth.cpu_at(10_000) == pytest.approx(1e6)
    assert growth.cpu_at(5) == pytest.approx(10**1.5)


def test_what_seems_to_grow_slower_than_the_objects_is_not_trusted() -> None:
    growth = Growth((10.0, 100.0), (5.0, 6.0), (100.0, 109.0), (0.0, 0.0))
    assert growth.cpu_at(1000) == pytest.approx(60.0)
    assert growth.memory_at(1000) == pytest.approx(199.0)
    assert growth.memory_at(55) == pytest.approx(104.5)


def test_rules_without_objects_are_taken_as_they_are() -> None:
    growth = growths([measured("templates", 1, 8.0, 670.0)])["templates"]
    assert growth.cpu_at(1e6) == 8.0
    assert growth.memory_at(1e6) == 670.0


def test_network_rules_wait_for_each_request() -> None:
    growth = Growth((100.0, 200.0), (0.0, 0.0), (1.0, 1.0), (0.0, 0.0))
    found = cost("cutouts", DES_DR2, growth)
    assert found.requests == 6 * 7438
    assert found.core_h == pytest.approx(6 * 7438 * 2.8 / 8 / 3600)
    assert found.jobs == 52


def test_training_counts_seeds_and_epochs_and_the_published_gpu() -> None:
    growth = Growth((7018.0,), (4.0,), (1.0,), (1.0,))
    found = cost("train", DES_DR2, growth)
    assert found.core_h == pytest.approx(5 * 100 * 4.0 / 3600)
    assert found.gpu_h == pytest.approx(5 * 100 * 8.0 / 3600)


def test_a_rule_that_was_not_measured_is_named() -> None:
    with pytest.raises(InputError, match="not measured: .*sed"):
        plan_text([measured("map", 1, 1.0)])


def test_the_shipped_measurements_give_a_plan() -> None:
    text = plan_text(read_measured(TABLE))
    for search in SEARCHES:
        assert f"**{search.name}**" in text
    for rule in RULES:
        assert text.count(f"\n| {rule} |") == 1 + len(SEARCHES)


def test_measurements_are_read_as_they_were_written(tmp_path: Path) -> None:
    rows = [measured("map", 100, 1.5), measured("map", 10, 0.25)]
    write_measured(rows, tmp_path / "table.csv")
    assert read_measured(tmp_path / "table.csv") == rows[::-1]


def test_a_missing_table_says_how_it_is_made(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="make bench-resources"):
        read_measured(tmp_path / "none.csv")


def test_one_size_alone_goes_on_in_proportion() -> None:
    growth = growths([measured("cutouts", 250, 4.0, 190.0)])["cutouts"]
    assert growth.cpu_at(500) == pytest.approx(8.0)
    assert growth.output_at(500) == pytest.approx(4.0)
    assert growth.memory_at(500) == 190.0
