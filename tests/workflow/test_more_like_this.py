"""More like this, of a finished search: by Snakemake and by the command."""

from __future__ import annotations

import sys

import pandas as pd
import pytest
from workflow_checkout import Checkout, planned_rules

pytestmark = pytest.mark.slow


def test_the_objects_like_one_of_a_finished_search(finished: Checkout) -> None:
    candidates = pd.read_parquet(finished.result("candidates.parquet"))
    with_image = candidates[candidates["has_images"]]
    first, second = with_image.iloc[0], with_image.iloc[1]
    asked = {"target": int(first["id"])}
    done = finished.snakemake("similar", change=asked)
    assert done.returncode == 0, done.stdout + done.stderr
    folder = finished.result("similar") / str(first["id"])
    table = pd.read_parquet(folder / "similar.parquet")
    assert table["rank"].tolist() == list(range(1, 21))
    assert int(first["id"]) not in table["id"].tolist()
    joined = table.merge(candidates, on="id", suffixes=("", "_there"))
    assert len(joined) == 20
    for name in ("ra_deg", "dec_deg", "island", "best_class"):
        assert joined[name].tolist() == joined[f"{name}_there"].tolist(), name
    assert (folder / "similar.html").read_text().count("data:image/png") == 21
    # There is nothing more to do; for another object, nothing but to ask.
    assert planned_rules(finished.snakemake("similar", "-n", change=asked)) == {}
    position = f"{float(second['ra_deg'])!r},{float(second['dec_deg'])!r}"
    plan = planned_rules(finished.snakemake("similar", "-n", change={"target": position}))
    assert plan == {"similar": 1}
    # The command writes the same.
    written = {path.name: path.read_bytes() for path in folder.iterdir()}
    index = finished.result("learning/index.faiss").read_bytes()
    run = finished.run(
        sys.executable, "-m", "archipelago.similar", "results/small", str(first["id"]),
        environment={"PYTHONPATH": "workflow"},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == written
    assert finished.result("learning/index.faiss").read_bytes() == index
    assert planned_rules(finished.snakemake("-n")) == {}


def test_an_object_that_was_lost_and_none_at_all(finished: Checkout) -> None:
    lost = pd.read_csv(finished.result("losses.csv")).iloc[0]
    done = finished.snakemake("similar", change={"target": int(lost["id"])})
    assert done.returncode != 0
    assert f"the object was lost: stage {lost['stage']}, " in done.stdout + done.stderr
    done = finished.snakemake("similar", "-n")
    assert done.returncode != 0
    assert "no object is asked for: add --config target=<id>" in done.stdout + done.stderr
