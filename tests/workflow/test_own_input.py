"""A user's own catalogue and images: the documented commands, on the real data where they are."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from astropy.table import Table
from network_guard import NetworkGuard
from workflow_checkout import SMALL, Checkout, copy_checkout, planned_rules

from archipelago.base.images import load_images
from archipelago.demosky.server import DemoServer

pytestmark = pytest.mark.slow

BANDS = ("g", "r", "i", "z", "Y", "J", "K", "W1", "W2")
N_PUBLISHED, N_KNOWN = 3717, 7
#: No known quasar may stand further down than this.
LAST_RANK = 60
N_FIELDS = 46


@pytest.fixture(scope="module")
def beside_real_data(
    tmp_path_factory: pytest.TempPathFactory, shared_data: Path
) -> tuple[Checkout, NetworkGuard]:
    """A checkout with the real data in ../shared/data, that reaches no network."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "shared").mkdir()
    (folder / "shared" / "data").symlink_to(shared_data)
    return copy_checkout(folder / "checkout"), NetworkGuard(folder / "reached.txt")


def test_the_published_catalogue_is_ranked_by_the_documented_command(
    beside_real_data: tuple[Checkout, NetworkGuard],
) -> None:
    checkout, guard = beside_real_data
    done = checkout.run(
        *(sys.executable, "-m", "snakemake", "sed", "candidates", "--cores", "2"),
        *("--configfile", "data/presets/published_catalogue.yaml"),
        *("--config", "run=half"),
        "catalogue={file: ../shared/data/des_vhs_allwise_half.csv.gz}",
        environment=guard.environment,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert guard.reached == []
    table = pd.read_parquet(checkout.result("candidates.parquet", "half"))
    assert table["rank"].tolist() == list(range(1, N_PUBLISHED + 1))
    assert table["has_sed"].all()
    given = pd.read_csv(checkout.folder / "../shared/data/des_vhs_allwise_half.csv.gz")
    assert set(table["id"]) == set(given["COADD_OBJECT_ID"])
    known = table[table["is_known"]]
    assert set(known["id"]) == set(given.loc[given["redshift"] > 5.5, "COADD_OBJECT_ID"])
    assert len(known) == N_KNOWN
    assert known["rank"].max() <= LAST_RANK
    printed = checkout.run(
        *(sys.executable, "-m", "archipelago.candidates.ranks"), "results/half/candidates.parquet"
    )
    assert printed.returncode == 0, printed.stderr
    for name, redshift, rank in zip(
        known["known_name"], known["known_redshift"], known["rank"], strict=True
    ):
        assert re.search(rf"{re.escape(name)} +{redshift:.3f} .* {rank} ", printed.stdout)
    assert f"{N_KNOWN} known quasars among {N_PUBLISHED} objects" in printed.stdout


def test_real_fields_become_islands(
    beside_real_data: tuple[Checkout, NetworkGuard], shared_data: Path
) -> None:
    checkout, guard = beside_real_data
    few = {name: SMALL[name] for name in ("learning", "islands")}
    (checkout.folder / "few.yaml").write_text(yaml.safe_dump(few))
    fields = ", ".join(f"{b}: ../shared/data/des_fields/{b}.fits.gz" for b in "grizY")
    done = checkout.run(
        *(sys.executable, "-m", "snakemake", "islands", "losses", "--cores", "2"),
        *("--configfile", "data/presets/own_images.yaml", "few.yaml"),
        *("--config", f"images={{fields: {{{fields}}}}}"),
        environment=guard.environment,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert guard.reached == []

    def result(name: str) -> Path:
        return checkout.result(name, "own_images")

    catalogue = pd.read_parquet(result("catalogue.parquet"))
    assert set(catalogue["field"]) == set(range(N_FIELDS))
    images = load_images(result("images.npz"))
    losses = pd.read_csv(result("losses.csv"))
    flow = pd.read_csv(result("cutflow.csv"))
    assert flow["rows_in"].iloc[0] == len(catalogue) + (losses["stage"] != "images").sum()
    assert sorted([*images.ids, *losses.loc[losses["stage"] == "images", "id"]]) == sorted(
        catalogue["id"]
    )
    assert losses["reason"].ne("").all()
    islands = pd.read_parquet(result("islands/islands.parquet"))
    assert sorted(islands["id"]) == sorted(images.ids)
    for seed in SMALL["learning"]["seeds"]:
        with np.load(result(f"learning/seed-{seed}/features.npz")) as features:
            assert np.isfinite(features["features"]).all()


# ------------------------------------------------------------- formats, and images to a catalogue


def own_catalogue(run: str, file: str, **sections: Any) -> dict[str, Any]:
    """Configuration of a search that starts from a table with this project's column names."""
    bands = {
        band: {"value": f"flux_ujy_{band}", "error": f"flux_err_ujy_{band}", "system": "flux_ujy"}
        for band in BANDS
    }
    columns = {"id": "id", "ra_deg": "ra_deg", "dec_deg": "dec_deg"}
    return {
        "run": run,
        "catalogue": {"file": file, "columns": columns, "bands": bands},
        "photometry": {"cuts": []},
        "truth": {"file": None},
        **sections,
    }


@pytest.fixture(scope="module")
def with_tables(tmp_path_factory: pytest.TempPathFactory, finished: Checkout) -> Checkout:
    """A checkout with the small sky's catalogue in every format."""
    checkout = copy_checkout(tmp_path_factory.mktemp("formats") / "checkout", *finished.overlays)
    for name in ("small.yaml", "truth.csv"):
        shutil.copy2(finished.folder / name, checkout.folder)
    photometry = pd.read_parquet(finished.result("catalogue.parquet"))
    wanted = ["id", "ra_deg", "dec_deg"]
    wanted += [f"flux_{kind}ujy_{band}" for band in BANDS for kind in ("", "err_")]
    table = photometry[wanted].sample(frac=1, random_state=1, ignore_index=True)
    table.to_csv(checkout.folder / "mine.csv", index=False)
    table.to_csv(checkout.folder / "mine.csv.gz", index=False)
    table.to_parquet(checkout.folder / "mine.parquet")
    for name, fmt in (("mine.fits", "fits"), ("mine.vot", "votable"), ("mine.ecsv", "ascii.ecsv")):
        Table.from_pandas(table).write(checkout.folder / name, format=fmt)
    return checkout


def catalogue_from(checkout: Checkout, suffix: str) -> pd.DataFrame:
    """Return the catalogue that a run makes of the table in the format of ``suffix``."""
    run = suffix.replace(".", "-")
    change = own_catalogue(run, f"mine.{suffix}", known_quasars={"source": "none"})
    done = checkout.snakemake("catalogue", change=change)
    assert done.returncode == 0, done.stdout + done.stderr
    return pd.read_parquet(checkout.result("catalogue.parquet", run))


@pytest.fixture(scope="module")
def from_csv(with_tables: Checkout) -> pd.DataFrame:
    return catalogue_from(with_tables, "csv")


@pytest.mark.parametrize("suffix", ["csv.gz", "fits", "vot", "ecsv", "parquet"])
def test_every_format_gives_the_table_of_csv(
    with_tables: Checkout, from_csv: pd.DataFrame, suffix: str
) -> None:
    assert len(from_csv) > 0
    same = catalogue_from(with_tables, suffix)
    pd.testing.assert_frame_equal(same, from_csv, rtol=1e-14, atol=0)


def test_images_from_the_service_for_a_catalogue_of_one_s_own(
    with_tables: Checkout, finished: Checkout, survey: DemoServer
) -> None:
    """Islands of a user's objects: the images are those that the whole search fetched."""
    change = own_catalogue("mine", "mine.parquet", learning={"seeds": [1]})
    asked_before = survey.counters.get("tap", 0)
    done = with_tables.snakemake("islands", "losses", change=change)
    assert done.returncode == 0, done.stdout + done.stderr
    assert survey.counters.get("tap", 0) == asked_before
    mine, theirs = (
        load_images(path)
        for path in (with_tables.result("images.npz", "mine"), finished.result("images.npz"))
    )
    np.testing.assert_array_equal(mine.ids, theirs.ids)
    np.testing.assert_array_equal(mine.images, theirs.images)
    islands = pd.read_parquet(with_tables.result("islands/islands.parquet", "mine"))
    assert sorted(islands["id"]) == sorted(mine.ids)
    assert islands["known_redshift"].notna().any()
    losses = pd.read_csv(with_tables.result("losses.csv", "mine"))
    catalogue = pd.read_parquet(with_tables.result("catalogue.parquet", "mine"))
    assert sorted([*mine.ids, *losses["id"]]) == sorted(catalogue["id"])
    again = with_tables.snakemake("islands", "losses", "-n", change=change)
    assert planned_rules(again) == {}
