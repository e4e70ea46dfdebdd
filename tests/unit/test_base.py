"""Files, tables, losses, logs and progress."""

from __future__ import annotations

import errno
import logging
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from astropy.table import Table

from archipelago.base.arrays import open_arrays, save_arrays
from archipelago.base.errors import ArchipelagoError, DataError, InputError, ServiceError, nearest
from archipelago.base.files import atomic_path, read_optional, reading, write_text
from archipelago.base.losses import (
    check_conservation,
    join_losses,
    losses_frame,
    no_losses,
    read_losses,
    write_losses,
)
from archipelago.base.progress import Progress
from archipelago.base.tables import (
    cell_number,
    read_any_table,
    read_table,
    require_columns,
    unit_of,
    write_table,
)


def test_an_error_says_what_where_and_next() -> None:
    error = ServiceError("no answer", url="http://127.0.0.1/tap", status=503, next_step="wait")
    assert str(error) == "no answer [http://127.0.0.1/tap, HTTP 503] -- wait"


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    write_text(path, "old")
    with pytest.raises(RuntimeError, match="half way"), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError("half way")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["table.csv"]


def test_a_full_disk_is_explained(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    full = pytest.raises(ArchipelagoError, match=r"disk is full.*table\.csv.*make room")
    with full, atomic_path(path):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert not list(tmp_path.iterdir())


def test_results_can_be_read_by_colleagues(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    write_text(path, "x")
    assert path.stat().st_mode & 0o444 == 0o444


@pytest.mark.parametrize(
    ("column", "unit"),
    [
        ("flux_ujy_z", "uJy"),
        ("flux_err_ujy_W1", "uJy"),
        ("mag_ab_g", "mag"),
        ("ra_deg", "deg"),
        ("separation_arcsec_vhs", "arcsec"),
        ("ra_deg_vhs", "deg"),
        ("id", ""),
        ("x_px", "pix"),
    ],
)
def test_a_name_tells_the_unit(column: str, unit: str) -> None:
    assert unit_of(column) == unit


def test_a_table_keeps_units_and_words(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    write_table(pd.DataFrame({"id": [1], "ra_deg": [2.0]}), path, {"ra_deg": "ICRS"})
    field = pq.read_schema(path).field("ra_deg")
    assert field.metadata == {b"unit": b"deg", b"description": b"ICRS"}
    assert read_table(path, required=["id"])["ra_deg"].tolist() == [2.0]


def test_a_table_is_the_same_bytes_twice(tmp_path: Path) -> None:
    table = pd.DataFrame({"id": [1, 2], "ra_deg": [2.0, 3.0]})
    for name in ("a", "b"):
        write_table(table, tmp_path / f"{name}.parquet")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_missing_columns_are_all_named() -> None:
    with pytest.raises(InputError, match=r"lacks the columns b, c; it has a.*\[here\]"):
        require_columns(pd.DataFrame({"a": []}), ["a", "b", "c"], "here")


def test_a_broken_table_is_named(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    path.write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"cannot read the table.*t\.parquet"):
        read_table(path)


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".fits", ".vot", ".ecsv", ".parquet"])
def test_users_tables_are_read(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"mine{suffix}"
    table = pd.DataFrame({"id": [1, 2], "ra": [0.5, 1.5]})
    if suffix.startswith(".csv"):
        table.to_csv(path, index=False)
    elif suffix == ".parquet":
        table.to_parquet(path)
    else:
        formats = {".fits": "fits", ".vot": "votable", ".ecsv": "ascii.ecsv"}
        Table.from_pandas(table).write(path, format=formats[suffix])
    read = read_any_table(path)
    assert read["id"].tolist() == [1, 2]
    assert read["ra"].tolist() == [0.5, 1.5]


@pytest.mark.parametrize("suffix", [".csv.gz", ".fits", ".vot", ".ecsv", ".parquet"])
def test_unreadable_tables_are_named(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"mine{suffix}"
    path.write_bytes(b"\x00\x01 rubbish")
    with pytest.raises(InputError, match=rf"cannot read the table.*mine\{suffix}"):
        read_any_table(path)


def test_an_unknown_kind_of_table(tmp_path: Path) -> None:
    path = tmp_path / "mine.doc"
    path.write_text("")
    with pytest.raises(InputError, match="unknown kind of table"):
        read_any_table(path)


def test_losses_are_written_and_read(tmp_path: Path) -> None:
    objects = pd.DataFrame({"id": [5], "ra_deg": [1.0], "dec_deg": [2.0]})
    lost = losses_frame(objects, tile="o3-00001", stage="match", reason="no partner")
    path = tmp_path / "losses.csv"
    write_losses(join_losses([no_losses(), lost]), path)
    pd.testing.assert_frame_equal(read_losses(path), lost, check_dtype=False)
    write_losses(no_losses(), path)
    assert list(read_losses(path).columns) == list(lost.columns)


def test_rows_that_vanish_are_an_error() -> None:
    check_conservation(5, 3, 2, where="here")
    with pytest.raises(DataError, match=r"5 rows in, but 3 out and 1 lost: 1 unaccounted.*here"):
        check_conservation(5, 3, 1, where="here")


def test_progress_speaks_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    now = iter([0.0, 10.0, 65.0, 65.0, 70.0, 80.0])
    with (
        caplog.at_level(logging.INFO),
        Progress(4, "cutouts", clock=lambda: next(now)) as progress,
    ):
        progress.step()
        progress.step(failed=1)
        progress.step()
    assert [r.message for r in caplog.records] == [
        "cutouts: 2 of 4 done, 1 failed, 0.0/s, 65 s left",
        "cutouts: 3 of 4 done, 1 failed, 0.0/s, 27 s left",
    ]


def test_a_traceback_ends_in_the_log(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "rule.log"
    code = (
        "from archipelago.base.logs import log_to\n"
        f"log_to({str(log)!r})\n"
        "raise ValueError('tile o3-00001')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(Path(__file__).parents[2] / "workflow")},
        check=False,
    )
    assert done.returncode == 1
    assert "ValueError: tile o3-00001" in done.stderr
    assert "Traceback (most recent call last)" in log.read_text()
    assert "ValueError: tile o3-00001" in log.read_text()


def test_a_second_log_closes_the_first(tmp_path: Path) -> None:
    code = (
        "import logging\n"
        "from archipelago.base.logs import log_to\n"
        "for name in ('one', 'two'):\n"
        f"    log_to(r'{tmp_path}/' + name)\n"
        "    logging.warning(name)\n"
    )
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(Path(__file__).parents[2] / "workflow")},
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "one" in (tmp_path / "one").read_text()
    second = (tmp_path / "two").read_text()
    assert "two" in second and "ResourceWarning" not in second


def test_nearest() -> None:
    assert nearest("g_flx", ["r_flux", "g_flux"]) == " (did you mean g_flux?)"
    assert nearest("zzz", ["flux"]) == ""


def test_reading_names_the_file_and_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "made.npz"
    save_arrays({"ids": np.arange(3)}, path)
    with open_arrays("the numbers", path) as stored:
        assert stored["ids"].tolist() == [0, 1, 2]
    with (
        pytest.raises(InputError, match="cannot read the numbers: KeyError.*made.npz.*run the"),
        open_arrays("the numbers", path) as stored,
    ):
        stored["flux"]
    path.write_bytes(path.read_bytes()[:60])  # numpy raises BadZipFile, which is no OSError
    with (
        pytest.raises(InputError, match="cannot read the numbers: BadZipFile"),
        open_arrays("the numbers", path),
    ):
        pass
    with pytest.raises(ZeroDivisionError), reading("the numbers", path):
        raise ZeroDivisionError


def test_optional_input() -> None:
    assert read_optional(None, len) is None
    assert read_optional("abc", len) == 3


def test_numbers_in_cells() -> None:
    assert [cell_number(cell, -1.0) for cell in (2, "3.5", None, pd.NA, math.nan, "x")] == [
        *(2.0, 3.5, -1.0, -1.0, -1.0, -1.0)
    ]
    assert cell_number(math.inf) == math.inf
