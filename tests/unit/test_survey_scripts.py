"""The scripts of the survey's stages, run as Snakemake runs them, against loopback."""

from __future__ import annotations

import json
import runpy
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from test_survey_cutouts import BANDS, DEC, RA, SCALE, Sky
from test_survey_server import Answer, Loopback, loopback_server, votable
from test_survey_xmatch import ALLWISE, shifted

import archipelago.base.logs
from archipelago.base.errors import ServiceError
from archipelago.base.images import load_images
from archipelago.base.losses import read_losses
from archipelago.base.tables import read_table
from archipelago.survey.known import COLUMNS

ROOT = Path(__file__).resolve().parents[2]


class Named(dict[str, Any]):
    """Values by name, as Snakemake gives them."""

    def __getattr__(self, name: str) -> Any:
        return self[name]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Loopback]:
    with loopback_server() as running:
        section = {
            "tap": {"url": running.url + "/tap"},
            "vizier_tap": {"url": running.url + "/vizier"},
            "xmatch": {"url": running.url + "/sync"},
            "sia": {"url": running.url + "/sia"},
            "retries": 0,
        }
        monkeypatch.setenv("ARCHIPELAGO_SERVICES", json.dumps(section))
        monkeypatch.setattr(archipelago.base.logs, "log_to", lambda path: None)
        yield running


def run(name: str, folder: Path, inputs: dict[str, Any], outputs: str, **params: Any) -> None:
    snakemake = SimpleNamespace(
        input=Named(inputs),
        output=Named({part.partition(".")[0]: str(folder / part) for part in outputs.split()}),
        params=Named(params),
        wildcards=Named(tile="t1"),
        log=[str(folder / "log")],
    )
    runpy.run_path(str(ROOT / f"workflow/scripts/{name}.py"), {"snakemake": snakemake})


def test_a_tile_from_query_to_cutouts(server: Loopback, tmp_path: Path) -> None:
    names = ["coadd_object_id", "ra", "dec", "ebv_sfd98", "mag_aper_4_g", "magerr_aper_4_g"]
    fields = [(name, "long" if name == names[0] else "double") for name in names]
    rows = [(i, RA + 0.01 * i, DEC, 0.02, 21.0, 0.1) for i in (3, 1, 2, 2)]
    server.at("/tap/sync", Answer(votable(fields, rows)))
    server.at("/sync", lambda request: shifted(request, 0.4, skip=[2]))
    sky = Sky(server)
    columns = {"id": names[0], "ra_deg": "ra", "dec_deg": "dec", "ebv_sfd98": "ebv_sfd98"}
    run(
        "select",
        tmp_path,
        {"query": str(ROOT / "data/queries/des_dr2.adql")},
        "sources.parquet losses.csv",
        columns=columns,
        bands={"g": {"value": "mag_aper_4_g", "error": "magerr_aper_4_g", "system": "mag_ab"}},
        hpix_min=64,
        hpix_max=79,
        max_rows=100,
    )
    assert "BETWEEN 64 AND 79" in server.seen("/tap/sync")[0].form["QUERY"]
    assert read_losses(tmp_path / "losses.csv")["reason"].to_list() == ["duplicate identifier"]
    run(
        "match",
        tmp_path,
        {"sources": str(tmp_path / "sources.parquet")},
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
        {"photometry": str(tmp_path / "matched.parquet")},
        "cutouts.npz manifest.parquet losses.csv",
        bands=list(BANDS),
        size_px=28,
        pixel_scale_arcsec=SCALE,
        zero_point_ab=30.0,
    )
    assert load_images(tmp_path / "cutouts.npz").ids.tolist() == [1, 2]
    assert len(read_table(tmp_path / "manifest.parquet")) == 10
    assert len(read_losses(tmp_path / "losses.csv")) == 0


def test_known_quasars_from_service_and_file(server: Loopback, tmp_path: Path) -> None:
    fields = [("RAJ2000", "double"), ("DEJ2000", "double"), ("Name", "char"), ("z", "double")]
    server.at("/vizier/sync", Answer(votable(fields, [(1.0, 2.0, "q", 6.1)])))
    query = {"query": str(ROOT / "data/queries/milliquas.adql")}
    run(
        "known_quasars",
        tmp_path,
        query,
        "table.parquet",
        source="service",
        min_redshift=5.5,
        max_rows=9,
    )
    assert read_table(tmp_path / "table.parquet")["name"].to_list() == ["q"]
    file = tmp_path / "mine.csv"
    pd.DataFrame({"name": ["a"], "ra": [1], "dec_deg": [2], "redshift": [6]}).to_csv(file)
    inputs = {"file": str(file)}
    columns = {"name": "name", "ra_deg": "ra", "dec_deg": "dec_deg", "redshift": "redshift"}
    from_file = {"source": "file", "min_redshift": 5.5, "max_rows": 9, "columns": columns}
    run("known_quasars", tmp_path, inputs, "table.parquet", **from_file)
    assert read_table(tmp_path / "table.parquet")["source"].to_list() == ["mine.csv"]
    run("known_quasars", tmp_path, {}, "table.parquet", source="none", min_redshift=5.5)
    assert len(read_table(tmp_path / "table.parquet", required=COLUMNS)) == 0


def test_failure_leaves_no_output(server: Loopback, tmp_path: Path) -> None:
    server.at("/vizier/sync", Answer(b"gone", 404))
    with pytest.raises(ServiceError, match="gone"):
        query = {"query": str(ROOT / "data/queries/milliquas.adql")}
        run(
            "known_quasars",
            tmp_path,
            query,
            "table.parquet",
            source="service",
            min_redshift=5.5,
            max_rows=9,
        )
    assert list(tmp_path.iterdir()) == []
