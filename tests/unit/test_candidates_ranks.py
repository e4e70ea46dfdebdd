"""The command that prints where the known quasars stand."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from archipelago.base.tables import write_table
from archipelago.candidates.ranks import SHOWN, known_ranks, main, ranks_text


def candidates() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "rank": [1, 2, 3],
            "id": [30, 10, 20],
            "is_known": [False, True, True],
            "known_name": [None, "J0002+0002", "J0001+0001"],
            "known_redshift": [float("nan"), 6.0, 5.912],
            "z_quasar": [5.9, 6.013, float("nan")],
            "p_star": [0.0, 0.25, 0.1],
            "p_galaxy": 0.0,
            "p_quasar": [1.0, 0.5, 0.4],
            "p_lensed": [0.0, 0.25, 0.5],
            "p_other": 0.0,
            "log_odds_lensed": [-9.0, -0.693, 0.223],
        }
    )


def test_known_quasars_alone_best_first() -> None:
    shuffled = candidates().sample(frac=1, random_state=1)
    known = known_ranks(shuffled)
    assert tuple(known.columns) == SHOWN
    assert known["rank"].tolist() == [2, 3]
    assert known["known_name"].tolist() == ["J0002+0002", "J0001+0001"]


def test_the_text_has_a_line_for_each_and_the_numbers() -> None:
    lines = ranks_text(candidates()).splitlines()
    assert lines[0].split() == list(SHOWN)
    assert lines[1].split() == (
        ["J0002+0002", "6.000", "6.01", "2", "0.2500", "0.0000", "0.5000", "0.2500", "0.0000"]
        + ["-0.69"]
    )
    assert lines[2].split()[2] == "-"
    assert lines[3] == "2 known quasars among 3 objects, ranks 2 to 3"


def test_no_known_quasar() -> None:
    none = candidates().query("not is_known")
    assert ranks_text(none) == "0 known quasars among 1 objects\n"
    assert ranks_text(none[:0]) == "0 known quasars among 0 objects\n"


def test_one_known_quasar() -> None:
    assert ranks_text(candidates()[:2]).endswith("1 known quasar among 2 objects, ranks 2 to 2\n")


def test_the_command_prints_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "candidates.parquet"
    write_table(candidates(), path)
    assert main([str(path)]) == 0
    assert capsys.readouterr().out == ranks_text(candidates())


def test_a_missing_file_is_a_clear_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "candidates.parquet"
    assert main([str(path)]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "no such table of candidates" in said.err
    assert str(path) in said.err
    assert "snakemake candidates" in said.err


def test_another_table_is_a_clear_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "catalogue.parquet"
    write_table(candidates()[["id", "rank"]], path)
    assert main([str(path)]) == 1
    assert "lacks the columns is_known, known_name" in capsys.readouterr().err


def test_a_damaged_file_is_a_clear_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "candidates.parquet"
    path.write_text("no table")
    assert main([str(path)]) == 1
    assert "cannot read the table: ArrowInvalid" in capsys.readouterr().err
