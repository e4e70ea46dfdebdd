"""The scripts of the survey's stages, run as Snakemake runs them, against loopback."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from helpers.loopback import Answer, Loopback, votable
from helpers.scripts import run_script
from test_survey_cutouts import BANDS, DEC, RA, SCALE, Sky
from test_survey_xmatch import ALLWISE, shifted

from archipelago.base.errors import ServiceError
from archipelago.base.images import load_images
from archipelago.base.losses import read_losses
from archipelago.base.tables import read_table
from archipelago.survey.known import COLUMNS

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def survey(server: Loopback, monkeypatch: pytest.MonkeyPatch) -> Loopback:
    """The server, told to the scripts as all of the survey's services."""
    section = {
        "contact": "",
        "tap": {"url": server.url + "/tap"},
        "vizier_tap": {"url": server.url + "/vizier"},
        "xmatch": {"url": server.url + "/sync"},
        "sia": {"url": server.url + "/sia"},
        "connections": 8,
        "retries": 0,
        "timeout_s": 60.0,
        "total_s": 900.0,
        "max_bytes": 10_000_000,
    }
    monkeypatch.setenv("ARCHIPELAGO_SERVICES", json.dumps(section))
    return server


def run(name: str, folder: Path, given: dict[str, Any], outputs: str, **params: Any) -> None:
    output = {part.partition(".")[0]: folder / part for part in outputs.split()}
    run_script(name, given, output, params, tile="o3-00004")


def known_from_service(folder: Path) -> None:
    query = {"query": ROOT / "data/queries/milliquas.adql"}
    params = {"source": "service", "min_redshift": 5.5, "max_rows": 9}
    run("known_quasars", folder, query, "table.parquet", **params)


def test_a_tile_from_query_to_cutouts(survey: Loopback, tmp_path: Path) -> None:
    names = ["coadd_object_id", "ra", "dec", "ebv_sfd98", "mag_aper_4_g", "magerr_aper_4_g"]
    fields = [(name, "long" if name == names[0] else "double") for name in names]
    rows = [(i, RA + 0.01 * i, DEC, 0.02, 21.0, 0.1) for i in (3, 1, 2, 2)]
    survey.at("/tap/sync", Answer(votable(fields, rows)))
    survey.at("/sync", lambda request: shifted(request, 0.4, skip=[2]))
    sky = Sky(survey)
    columns = {"id": names[0], "ra_deg": "ra", "dec_deg": "dec", "ebv_sfd98": "ebv_sfd98"}
    run(
        "select",
        tmp_path,
        {"query": ROOT / "data/queries/des_dr2.adql"},
        "sources.parquet losses.csv",
        columns=columns,
        bands={"g": {"value": "mag_aper_4_g", "error": "magerr_aper_4_g", "system": "mag_ab"}},
        healpix_order=5,
        max_rows=100,
    )
    assert "BETWEEN 64 AND 79" in survey.seen("/tap/sync")[0].form["QUERY"]
    assert read_losses(tmp_path / "losses.csv")["reason"].to_list() == ["duplicate identifier"]
    run(
        "match",
        tmp_path,
        {"sources": tmp_path / "sources.parquet"},
        "matched.parquet losses.csv",
        catalogues=[ALLWISE],
        max_rows=100,
    )
    assert read_table(tmp_path / "matched.parquet")["id"].to_list() == [1, 2]
    assert read_losses(tmp_path / "losses.csv")["id"].to_list() == [3]
    sky.cut = lambda tile, band: None
    run(
        "cutouts",
        tmp_path,
        {"photometry": tmp_path / "matched.parquet"},
        "cutouts.npz manifest.parquet losses.csv",
        asked={
            "bands": list(BANDS),
            "size_px": 28,
            "pixel_scale_arcsec": SCALE,
            "zero_point_ab": 30.0,
        },
    )
    assert load_images(tmp_path / "cutouts.npz").ids.tolist() == [1, 2]
    assert len(read_table(tmp_path / "manifest.parquet")) == 10
    assert len(read_losses(tmp_path / "losses.csv")) == 0


def test_known_quasars_from_service_and_file(survey: Loopback, tmp_path: Path) -> None:
    fields = [("RAJ2000", "double"), ("DEJ2000", "double"), ("Name", "char"), ("z", "double")]
    survey.at("/vizier/sync", Answer(votable(fields, [(1.0, 2.0, "q", 6.1)])))
    known_from_service(tmp_path)
    assert read_table(tmp_path / "table.parquet")["name"].to_list() == ["q"]
    file = tmp_path / "mine.csv"
    pd.DataFrame({"name": ["a"], "ra": [1], "dec_deg": [2], "redshift": [6]}).to_csv(file)
    inputs = {"file": file}
    columns = {"name": "name", "ra_deg": "ra", "dec_deg": "dec_deg", "redshift": "redshift"}
    from_file = {"source": "file", "min_redshift": 5.5, "max_rows": 9, "columns": columns}
    run("known_quasars", tmp_path, inputs, "table.parquet", **from_file)
    assert read_table(tmp_path / "table.parquet")["source"].to_list() == ["mine.csv"]
    run("known_quasars", tmp_path, {}, "table.parquet", source="none", min_redshift=5.5)
    assert len(read_table(tmp_path / "table.parquet", required=COLUMNS)) == 0


def test_failure_leaves_no_output(survey: Loopback, tmp_path: Path) -> None:
    survey.at("/vizier/sync", Answer(b"gone", 404))
    with pytest.raises(ServiceError, match="gone"):
        known_from_service(tmp_path)
    assert list(tmp_path.iterdir()) == []
