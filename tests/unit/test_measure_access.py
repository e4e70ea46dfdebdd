"""The bench of the access to a survey: its servers, and the table that it prints."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import requests

from archipelago.measure import access, access_server
from archipelago.survey.cutout_query import CutoutQuery
from archipelago.survey.cutouts import fetch_cutouts
from archipelago.survey.http import HttpClient

QUERY = CutoutQuery(
    bands=access_server.BANDS, size_px=28, pixel_scale_arcsec=0.263, zero_point_ab=30.0
)


def fetch(objects: pd.DataFrame, url: str, folder: Path) -> pd.DataFrame:
    """Fetch the cutouts of objects; return the losses."""
    with HttpClient(connections=4, retries=0) as client:
        return fetch_cutouts(
            objects,
            client,
            f"{url}/sia",
            QUERY,
            tile="t1",
            cutouts=folder / "cutouts.npz",
            manifest=folder / "manifest.parquet",
            max_image_bytes=1_000_000,
        )


def test_the_table_says_what_is_missed() -> None:
    figures = [
        access.Figure("requests", "0", "0", True),
        access.Figure("growth", "<= 10 %", "12 %", False),
        access.Figure("objects", "", "5"),
    ]
    lines = access.table(figures).splitlines()
    assert lines[0].split() == ["what", "asked", "measured"]
    assert lines[1].endswith("ok")
    assert lines[2].endswith("MISSED")
    assert lines[3].endswith("5")


@pytest.mark.slow
def test_the_bench_serves_images_anywhere(tmp_path: Path) -> None:
    objects = pd.DataFrame({"id": [1, 2], "ra_deg": [30.0, 210.0], "dec_deg": [-42.0, 60.0]})
    with access_server.in_own_process(access_server.serve_any) as server:
        assert len(fetch(objects, server.url, tmp_path)) == 0
        count = int(requests.get(f"{server.url}/count", timeout=20).text)
        assert count == 2 * (1 + len(access_server.BANDS))


@pytest.mark.slow
def test_the_speed_is_measured_on_the_same_files(tmp_path: Path, capsys) -> None:
    out = tmp_path / "access.csv"
    arguments = ["speed", "--objects", "60", "--wget", "5", "--out", str(out)]
    assert access.main(arguments) == 0
    assert "300 in" in capsys.readouterr().out
    table = pd.read_csv(out).set_index("what")
    told = table.loc["files (cutouts and their lists), times faster than wget", "measured"]
    ratio = float(told.split("cutouts alone")[1])
    parts = [
        float(table.loc[name, "measured"])
        for name in ("cutouts per second", "files per second, a wget process per file")
    ]
    assert ratio == pytest.approx(parts[0] / parts[1], rel=0.05)


def test_a_part_that_is_not_there_is_named(capsys) -> None:
    assert access.main(["sped"]) == 2
    assert "'sped'" in capsys.readouterr().err
