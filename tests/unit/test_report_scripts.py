"""The scripts candidates, recall and report, one after the other, on files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers.scripts import run_script
from test_report_page import BANDS, CALIBRATION, SHAPES, sample

from archipelago.base.images import save_images
from archipelago.base.losses import write_losses
from archipelago.base.tables import read_table, write_table
from archipelago.sed.templates import ClassTemplates, Representatives, TemplateSet

SED = {"fit": {"aperture_offset_mag": {"bands": ["g"], "quasar": 0.3}}}


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Any]:
    """All inputs of the three rules, for 80 objects."""
    data = sample(80)
    table = data.candidates.sort_values("id", ignore_index=True)
    verdicts = table[["id", *(c for c in table if c.startswith(("p_", "chi2_", "bic_", "z_q")))]]
    for name in ("star", "galaxy", "quasar", "lensed_quasar", "lensed_galaxy"):
        verdicts = verdicts.assign(
            **{f"best_{name}_template": 0, f"best_{name}_amplitude": 20.0 / SHAPES["star"][5]}
        )
    islands = table.loc[
        table["has_images"],
        ["id", "island", "island_stability", "similarity_known", "similarity_rank", "map_x"],
    ]
    known = table.loc[table["is_known"], ["ra_deg", "dec_deg"]].assign(name="Q", redshift=6.0)
    truth = table[["id", "ra_deg", "dec_deg"]].assign(
        kind="quasar", is_quasar=True, is_lensed=False, known=False
    )
    one = Representatives(np.array([0]), np.array([0]))
    classes = {
        name: ClassTemplates(SHAPES[name][None, :].astype(float), {"redshift": np.array([6.0])})
        for name in ("star", "galaxy", "quasar")
    }
    pivots_aa = np.linspace(5e3, 4.6e4, 9)
    TemplateSet(tuple(BANDS), pivots_aa, classes, one, one, one).save(tmp_path / "templates.npz")
    assert data.images is not None and data.posteriors is not None and data.enrichment is not None
    assert data.retrieval is not None and data.stability is not None
    assert data.agreement is not None
    image = data.images
    save_images(tmp_path / "images.npz", image.images, image.ids, image.bands, 0.263, 30.0)
    for name, part in (
        ("catalogue", data.catalogue),
        ("verdicts", verdicts),
        ("islands", islands),
        ("known", known[["name", "ra_deg", "dec_deg", "redshift"]]),
        ("posteriors", data.posteriors),
    ):
        write_table(part, tmp_path / f"{name}.parquet")
    for name, part in (
        ("enrichment", data.enrichment),
        ("retrieval", data.retrieval),
        ("stability", data.stability),
        ("agreement", data.agreement),
        ("cutflow", data.cutflow),
        ("truth", truth),
    ):
        part.to_csv(tmp_path / f"{name}.csv", index=False)
    write_losses(data.losses, tmp_path / "losses.csv")
    for k, seed in enumerate(("seed 1", "seed 2")):
        folder = tmp_path / f"seed-{k + 1}"
        write_table(data.maps[seed], folder / "map.parquet")
        data.histories[seed].to_csv(folder / "history.csv", index=False)
    seeds = [tmp_path / "seed-1", tmp_path / "seed-2"]
    found: dict[str, Any] = {path.stem: str(path) for path in sorted(tmp_path.glob("*.*"))}
    found["maps"] = [str(seed / "map.parquet") for seed in seeds]
    found["histories"] = [str(seed / "history.csv") for seed in seeds]
    found["posteriors"] = [found["posteriors"]]
    found["calibration"] = str(CALIBRATION)
    return found


def test_from_evidence_to_report(files: dict[str, Any], tmp_path: Path) -> None:
    out = {kind: str(tmp_path / f"out.{kind}") for kind in ("parquet", "ecsv", "csv", "html")}
    params = {
        "candidates": {"quasar_rate_factor": 0.5},
        "match_radius_arcsec": 1.0,
        "listed_radius_arcsec": 1.0,
    }
    wanted = ("parquet", "ecsv", "csv")
    run_script("candidates", files, {kind: out[kind] for kind in wanted}, params)
    table = read_table(out["parquet"])
    assert len(table) == 80 and table["is_known"].any() and table["has_images"].sum() == 76
    files["candidates"] = out["parquet"]

    recall, text = str(tmp_path / "recall.csv"), tmp_path / "recall.txt"
    run_script("recall", files, {"table": recall, "text": text}, {"top": [10, 50]})
    assert "ordinary quasars, unknown" in text.read_text(encoding="utf-8")
    assert len(pd.read_csv(recall)) == 2 * 2 * 2 + 2

    curve = tmp_path / "z.dat"
    curve.write_text("8500 0\n9200 1\n9900 0\n", encoding="utf-8")
    benchmark = tmp_path / "benchmarks" / "sed.tsv"
    benchmark.parent.mkdir()
    benchmark.write_text("s\tmax_rss\tcpu_time\n10.2\t356.1\t8.8\n", encoding="utf-8")
    params = {
        "report": {"candidates": 3, "listed": 10},
        "run": "small",
        "bands": BANDS,
        "passbands": {"z": str(curve)},
        "left_out": {},
        "config": {"run": "small", "sed": SED},
    }
    run_script("report", files | {"recall": recall}, {"html": out["html"]}, params)
    page = Path(out["html"]).read_text(encoding="utf-8")
    assert "Recall against the truth" in page and '"label":"Map of the images, seed 1"' in page
    assert 'class="model c-lensed"' in page and "seed 2" in page
    # Of what lies beside the inputs, and of the parameters of the templates.
    assert "356 MB" in page and page.count('class="passband"') >= 3
    assert "Known quasars, found again" in page and "Adjusted Rand index" in page


def test_report_without_optional_parts(files: dict[str, Any], tmp_path: Path) -> None:
    bare = {name: files[name] for name in ("catalogue", "verdicts", "known", "calibration")}
    out = {kind: str(tmp_path / f"bare.{kind}") for kind in ("parquet", "ecsv", "csv")}
    params: dict[str, Any] = {
        "candidates": {},
        "match_radius_arcsec": 1.0,
        "listed_radius_arcsec": 1.0,
    }
    run_script("candidates", bare, out, params)
    for name in ("cutflow", "losses", "templates"):
        bare[name] = files[name]
    bare["posteriors"] = []
    params = {
        "report": {"candidates": 2, "listed": 2},
        "run": "bare",
        "bands": BANDS,
        "passbands": {},
        "left_out": {"images": "images.source is none"},
        "config": {"sed": SED},
    }
    html = tmp_path / "bare.html"
    run_script("report", bare | {"candidates": out["parquet"]}, {"html": html}, params)
    assert "the search went without images" in html.read_text(encoding="utf-8")
