"""The benchmark's pure parts, and one step in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from archipelago.base.errors import ArchipelagoError, InputError
from archipelago.base.tables import read_table
from archipelago.sed import bench
from archipelago.sed.lephare import LephareOptions
from archipelago.sed.templates import ClassTemplates, Representatives, TemplateSet


@pytest.fixture
def real() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "id": [70, 50, 60],
            "flux_ujy_z": [10.0, 20.0, 0.0],
            "flux_err_ujy_z": [1.0, 2.0, 3.0],
            "detected_z": [True, True, False],
            "flux_ujy_J": [0.5, np.nan, 40.0],
            "flux_err_ujy_J": [1.0, 1.0, np.inf],
            "detected_J": [True, True, True],
        }
    )


@pytest.fixture
def templates() -> TemplateSet:
    bands = ("i", "z", "J", "W1")
    fluxes = {
        "star": [[1.0, 3.0, 9.0, 9.0], [1.0, 5.0, 20.0, 20.0]],
        "galaxy": [[2.0, 3.0, 4.0, 5.0]],
        "quasar": [[0.0, 5.0, 6.0, 7.0]],
    }
    none = Representatives(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))
    return TemplateSet(
        bands,
        np.array([7800.0, 9200.0, 12500.0, 34000.0]),
        {name: ClassTemplates(np.array(values), {}) for name, values in fluxes.items()},
        none,
        none,
        none,
    )


def test_a_repeated_catalogue_has_unique_ids_and_the_wanted_size(real: pd.DataFrame) -> None:
    table = bench.repeated_catalogue(real, 1000, seed=1)
    assert table["id"].tolist() == list(range(1, 1001))
    assert list(table.columns) == list(real.columns)


def test_repetition_is_seeded(real: pd.DataFrame) -> None:
    first, again, other = (bench.repeated_catalogue(real, 50, seed) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(first, again)
    assert not first["flux_ujy_z"].equals(other["flux_ujy_z"])


def test_every_object_comes_once_as_it_is_before_noise_is_added(real: pd.DataFrame) -> None:
    table = bench.repeated_catalogue(real, 3, seed=1)
    columns = [name for name in real.columns if name != "id"]
    order = ["flux_err_ujy_z"]
    pd.testing.assert_frame_equal(
        table[columns].sort_values(order).reset_index(drop=True),
        real[columns].sort_values(order).reset_index(drop=True),
    )
    assert len(bench.repeated_catalogue(real, 2, seed=1)["flux_ujy_z"].unique()) == 2


def test_noise_has_the_size_of_the_errors_and_limits_stay_limits(real: pd.DataFrame) -> None:
    table = bench.repeated_catalogue(real, 30_000, seed=3)
    for flux, error in ((10.0, 1.0), (20.0, 2.0)):
        pull = (table["flux_ujy_z"][table["flux_err_ujy_z"] == error].to_numpy()[1:] - flux) / error
        assert abs(pull.mean()) < 0.05
        assert pull.std() == pytest.approx(1.0, abs=0.03)
    limit = table[table["flux_err_ujy_z"] == 3.0]
    assert (limit["flux_ujy_z"] == 0).all()
    assert not limit["detected_z"].any()


def test_what_noise_carries_below_two_sigma_becomes_a_limit(real: pd.DataFrame) -> None:
    # J = 0.5 +- 1: only 7 % of the draws stay above 2 sigma.
    table = bench.repeated_catalogue(real, 3000, seed=1)
    faint = table[(table["flux_err_ujy_J"] == 1.0) & table["flux_ujy_J"].notna()].iloc[1:]
    assert 0.02 < faint["detected_J"].mean() < 0.15
    assert (faint["flux_ujy_J"][~faint["detected_J"]] == 0).all()
    assert (faint["flux_ujy_J"][faint["detected_J"]] >= 2).all()
    # Neither a missing flux nor one without an error is touched.
    assert table["flux_ujy_J"].isna().sum() == 1000
    assert (table["flux_ujy_J"][np.isinf(table["flux_err_ujy_J"])] == 40.0).all()


def test_an_empty_catalogue_cannot_be_repeated(real: pd.DataFrame) -> None:
    with pytest.raises(InputError, match="has no object"):
        bench.repeated_catalogue(real.iloc[:0], 5, seed=1)


def test_synthetic_objects_are_seeded_and_bright_enough(templates: TemplateSet) -> None:
    table = bench.synthetic_catalogue(templates, 3000, seed=1)
    pd.testing.assert_frame_equal(table, bench.synthetic_catalogue(templates, 3000, seed=1))
    assert table["id"].is_unique
    assert table["detected_z"].all()
    assert table["flux_ujy_z"].between(9, 320).all()
    # The quasars have no i flux: a third of the objects, and 2.3 % of those rise above 2 sigma.
    assert 0.3 < (~table["detected_i"]).mean() < 0.35
    assert (table["flux_ujy_i"][~table["detected_i"]] == 0).all()


@pytest.mark.parametrize("exponent", [0.5, 1.0, 1.7])
def test_a_power_law_is_found_again(exponent: float) -> None:
    sizes = np.array([7438, 30_000, 100_000])
    found = bench.power_law(sizes, 3e-3 * sizes**exponent)
    assert found == pytest.approx((3e-3, exponent), rel=1e-9)


def test_a_straight_line_is_found_again() -> None:
    sizes = [100, 1000, 5000]
    found = bench.straight_line(sizes, [250 + 0.002 * n for n in sizes])
    assert found == pytest.approx((250, 0.002), rel=1e-9)


@pytest.mark.parametrize(
    ("sizes", "values"), [([5, 5], [1.0, 2.0]), ([1, 2], [0.0, 1.0]), ([0, 2], [1.0, 1.0])]
)
def test_no_law_without_two_sizes_and_positive_values(
    sizes: list[int], values: list[float]
) -> None:
    with pytest.raises(InputError, match="no line through"):
        bench.power_law(sizes, values)
    with pytest.raises(InputError, match="no line through"):
        bench.straight_line(sizes, values)


def test_peak_memory_is_that_of_the_process_itself() -> None:
    """A child that allocates little says little, though its parent holds a lot."""
    code = (
        "import subprocess, sys; big = bytearray(600_000_000)\n"
        "big[::4096] = b'x' * len(big[::4096])\n"
        "child = 'from archipelago.sed.bench import peak_mb; print(peak_mb())'\n"
        "subprocess.run([sys.executable, '-c', child], check=True)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 20 < float(done.stdout) < 500
    before = bench.peak_mb()
    held = np.ones(int(before * 1e6 / 8) + 25_000_000)
    assert bench.peak_mb() >= before + 200
    assert held[-1] == 1


def test_steps_run_in_processes_of_their_own_and_a_failure_names_its_log(
    tmp_path: Path, real: pd.DataFrame
) -> None:
    real.to_csv(tmp_path / "real.csv", index=False)
    jobs = [
        {
            "step": "catalogue",
            "n": 7,
            "source": str(tmp_path / name),
            "catalogue": f"{name}.parquet",
        }
        for name in ("absent.csv", "real.csv")
    ]
    runner = bench.Bench(tmp_path, {"seed": 1})
    with pytest.raises(ArchipelagoError, match=r"catalogue ended with code 1: .*job001\.log"):
        runner.run(*jobs, threads=1)
    # The other one was waited for.
    assert len(read_table(tmp_path / "real.csv.parquet")) == 7
    assert json.loads((tmp_path / "job002.done").read_text())["peak_mb"] > 20


def test_lephare_and_bagpipes_are_missed_loudly(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], real: pd.DataFrame
) -> None:
    monkeypatch.delenv("ARCHIPELAGO_LEPHARE_DATA", raising=False)
    monkeypatch.setattr(bench, "read_table", lambda path: real)

    class Fake(bench.Bench):
        def catalogue(self, n: int, source: str | None) -> str:
            return "nowhere"

        def verdicts(self, catalogue: str, threads: int) -> dict[str, float]:
            return {"fit_seconds": 1.0, "fit_cpu_seconds": 1.5}

    options = bench._parser().parse_args(["--n-live", "0", "--compare", "500"])
    bench.compare(Fake(Path(), {}), options, {})
    said = capsys.readouterr().out
    assert "LePHARE: NOT MEASURED" in said
    assert "BAGPIPES: NOT MEASURED" in said
    assert "this search: 2.00 (3.00)" in said


def test_sizes_are_sorted_and_checked() -> None:
    options = bench._parser().parse_args(["--sizes", "30", "10", "30"])
    assert bench._checked(options).sizes == [10, 30]
    with pytest.raises(InputError, match="size below 1"):
        bench._checked(bench._parser().parse_args(["--sizes", "0"]))


def test_the_configuration_has_what_the_benchmark_reads() -> None:
    config = yaml.safe_load(Path(bench._parser().parse_args([]).config).read_text())
    sed = config["sed"]
    assert sed["fit"]["memory_mb"] > 0
    assert set(sed["passbands"]) == set(bench._ERROR_UJY)
    LephareOptions.from_dict(config["lephare"])
    assert (bench._REPOSITORY / sed["dwarf_colours"]).is_file()
