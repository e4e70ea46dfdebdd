"""Snakemake's own report of a finished search."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from workflow_checkout import REPOSITORY, Checkout, planned_rules

#: Marked results of the small search, with the caption of each.
SHOWN = {
    "report.html": "report",
    "candidates.parquet": "candidates",
    "cutflow.csv": "cutflow",
    "map.parquet": "map",
    "enrichment.csv": "islands",
    "history.csv": "history",
    "recall.csv": "recall",
}


@pytest.mark.slow
def test_the_report_of_snakemake_has_files_captions_and_categories(finished: Checkout) -> None:
    done = finished.snakemake("--report", "snakemake_report.html")
    assert done.returncode == 0, done.stdout + done.stderr
    page = (finished.folder / "snakemake_report.html").read_text(encoding="utf-8")
    for name, caption in SHOWN.items():
        assert name in page, name
        text = (REPOSITORY / "workflow" / "report" / f"{caption}.rst").read_text(encoding="utf-8")
        first = re.split(r"[\n`{:]", text)[0].strip()
        assert first in page, caption
    for category in ("Report", "Candidates", "Search", "Learning", "What is missed"):
        assert category in page, category
    assert "A search for quasars at z ~ 6" in page and "small" in page
    assert "seed 2 made" in page
    # To look at a search changes nothing in it.
    assert planned_rules(finished.snakemake("-n")) == {}


def test_every_mark_has_its_caption_and_a_category() -> None:
    """As written in the rules, without a run; every caption is used."""
    used = {"search.rst"}
    for path in sorted((REPOSITORY / "workflow" / "rules").glob("*.smk")):
        text = path.read_text(encoding="utf-8")
        marks = re.findall(r"\breport\(\n(.*?)\n\s+\),\n", text, re.DOTALL)
        for mark in marks:
            caption = re.search(r'caption="\.\./report/(\w+\.rst)"', mark)
            assert caption is not None and 'category="' in mark and "labels=" in mark, path.name
            used.add(caption[1])
        assert len(marks) == text.count(" report(") + text.count("=report("), path.name
    captions = {path.name for path in Path(REPOSITORY / "workflow" / "report").iterdir()}
    assert captions == used
    snakefile = (REPOSITORY / "Snakefile").read_text(encoding="utf-8")
    assert 'report: "workflow/report/search.rst"' in snakefile
