"""Known quasars found again by images and by photometry, and islands from seed to seed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers.scripts import run_script
from test_islands_summary import SETTINGS, catalogue, groups, known, run
from test_report_page import BANDS, SHAPES

from archipelago.base.errors import InputError
from archipelago.base.tables import read_table, write_table
from archipelago.islands import enrichment, retrieval, stability
from archipelago.islands.maps import make_map
from archipelago.islands.photometry_neighbours import (
    SCATTER_OF_FLUX,
    SCATTER_OF_SUM,
    photometry_neighbours,
    photometry_ranks,
    photometry_similarity,
    ranks_beside_images,
)
from archipelago.islands.similarity import (
    KnownSimilarity,
    known_similarity,
    unit_rows,
)
from archipelago.learning.store import save_features


def random_seeds(n: int, n_known: int, n_seeds: int) -> list[KnownSimilarity]:
    """Similarities of random features; some images have no content, some are the same."""
    rng = np.random.default_rng(n + n_known)
    rows = np.sort(rng.permutation(n)[:n_known])
    found = []
    for _ in range(n_seeds):
        features = rng.normal(size=(n, 6))
        features[n // 2 : n // 2 + 3] = features[n // 2]
        features[[row for row in range(2, n, 17) if row not in rows]] = 0.0
        found.append(known_similarity(unit_rows(features, centre=True), rows))
    return found


def retrieval_ranks(seeds: list[KnownSimilarity], n: int, k: int) -> np.ndarray:
    """Places one by one, as defined: slow, for comparison."""
    known = seeds[0].known
    unknown = np.setdiff1d(np.arange(n), known)
    ranks = np.full(n, np.nan)
    for row in range(n):
        place = np.flatnonzero(known == row)
        without = int(place[0]) if len(place) else None
        similarity = np.mean([seed.of_objects(k, without) for seed in seeds], axis=0)
        if np.isfinite(similarity[row]):
            ranks[row] = 1 + np.sum(similarity[unknown] > similarity[row])
    return ranks


@pytest.mark.parametrize("n_known", [0, 1, 2, 3, 4, 25])
@pytest.mark.parametrize("k", [1, 3, 30])
def test_fast_ranks_are_the_slow_ones(n_known: int, k: int) -> None:
    seeds = random_seeds(90, n_known, 3)
    expected = retrieval_ranks(seeds, 90, k)
    np.testing.assert_array_equal(retrieval.leave_one_out_ranks(seeds, 90, k), expected)


def test_spread_of_ranks_over_seeds() -> None:
    seeds = random_seeds(60, 10, 4)
    per_seed = np.array([retrieval_ranks([seed], 60, 2) for seed in seeds])
    std, lo, hi = retrieval.rank_spread(seeds, 60, 2)
    np.testing.assert_allclose(std, per_seed.std(axis=0))
    np.testing.assert_allclose(lo, np.percentile(per_seed, 16, axis=0))
    np.testing.assert_allclose(hi, np.percentile(per_seed, 84, axis=0))
    table, _ = run([groups((20, 10), seed) for seed in (1, 2, 3)], [20, 22, 24])
    assert table.loc[20, "similarity_rank_std"] < 3 < table["similarity_rank_std"].max()
    assert (table["similarity_rank_lo"] <= table["similarity_rank_hi"]).all()
    single, _ = run([groups((20, 10))], [20, 22])
    assert (single["similarity_rank_std"] == 0.0).all()


# --- photometry ------------------------------------------------------------------------------


def photometry(kinds: list[str], seed: int = 1) -> pd.DataFrame:
    """A catalogue of objects of these kinds, of any brightness, with noise and non-detections."""
    rng = np.random.default_rng(seed)
    depth = np.array([0.1, 0.13, 0.2, 0.35, 1.2, 3.5, 7, 10, 14])
    shape = np.array([SHAPES[kind] for kind in kinds]).reshape(len(kinds), 9)
    flux = shape * rng.lognormal(0.5, 0.5, (len(kinds), 1))
    error = np.hypot(depth, 0.02 * flux)
    flux = flux + error * rng.normal(size=flux.shape)
    flux = np.where(flux > 2 * error, flux, 0.0)
    table = catalogue(len(kinds))
    for number, band in enumerate(BANDS):
        table[f"flux_ujy_{band}"] = flux[:, number]
        table[f"flux_err_ujy_{band}"] = error[:, number]
    return table


def test_photometry_finds_quasars_by_their_colours() -> None:
    kinds = ["star"] * 200 + ["galaxy"] * 60 + ["quasar"] * 20
    table = photometry(kinds)
    rows = np.arange(260, 270)
    ranks = photometry_ranks(table, rows, 3, BANDS)
    # The ten others are first, and the known ones left out among them: but for faint ones.
    assert sorted(ranks[270:]) == list(range(1, 11))
    assert (ranks[260:270] <= 12).sum() >= 8 and ranks[260:270].max() <= 100
    similarity = photometry_similarity(table, rows, 3)
    assert similarity[270:].min() > similarity[:260].max()
    assert (table["flux_ujy_g"] == 0).mean() > 0.3  # undetected bands took part


def test_distance_by_hand() -> None:
    table = pd.DataFrame(
        {
            "id": [1, 2, 3, 4],
            "flux_ujy_r": [2.0, 10.0, np.nan, 0.0],
            "flux_err_ujy_r": [0.2, 1.0, 1.0, 0.5],
            "flux_ujy_z": [6.0, 30.0, 3.0, 4.0],
            "flux_err_ujy_z": [0.2, 1.0, 0.1, 0.2],
            "flux_ujy_J": [2.0, 10.0, 1.0, 4.0],
            "flux_err_ujy_J": [0.2, 1.0, 0.1, 0.0],
        }
    )
    found = photometry_neighbours(table, np.array([0]), ["r", "z", "J"]).cosines[:, 0]
    assert np.isnan(found[0])
    assert found[1] == pytest.approx(0.0, abs=1e-12)  # the same at another brightness
    assert found[2] == pytest.approx(0.0, abs=1e-12)  # r was not observed; z and J are 3 to 1
    # Of the fourth r (not detected) and z count: 0 and 1 against 2/8 and 6/8 of the light.
    floor = SCATTER_OF_SUM**2
    in_r = 0.25**2 / ((0.2 / 8) ** 2 + (0.5 / 4) ** 2 + (SCATTER_OF_FLUX * 0.25) ** 2 + floor)
    in_z = 0.25**2 / ((0.2 / 8) ** 2 + (0.2 / 4) ** 2 + SCATTER_OF_FLUX**2 + floor)
    assert found[3] == pytest.approx(-(in_r + in_z) / 2)


def test_noise_hides_a_difference_of_colours() -> None:
    table = photometry(["quasar", "star"])
    sharp = photometry_neighbours(table, np.array([0])).cosines[1, 0]
    errors = [f"flux_err_ujy_{band}" for band in BANDS]
    table[errors] = 100.0
    assert photometry_neighbours(table, np.array([0])).cosines[1, 0] > 0.05 * sharp


def test_photometry_that_cannot_be_compared() -> None:
    table = photometry(["quasar"] * 5)
    table.loc[1, [f"flux_ujy_{band}" for band in BANDS]] = 0.0
    table.loc[2, [f"flux_ujy_{band}" for band in BANDS[1:]]] = np.nan
    similarity = photometry_similarity(table, np.array([0]), 3)
    assert np.isnan(similarity[:3]).all() and np.isfinite(similarity[3:]).all()
    assert np.isnan(photometry_similarity(table, np.array([], dtype=int), 3)).all()
    assert photometry_similarity(table.iloc[:0], np.array([], dtype=int), 3).shape == (0,)
    with pytest.raises(InputError, match="lacks the columns flux_ujy_H, flux_err_ujy_H"):
        photometry_similarity(table, np.array([0]), 3, ["z", "H"])


# --- tables ----------------------------------------------------------------------------------


def test_table_of_retrieval() -> None:
    kinds = ["star"] * 30 + ["galaxy"] * 20 + ["quasar"] * 10
    vectors = [groups((30, 20, 10), seed) for seed in (1, 2)]
    for values in vectors:
        values[4] = 0.0  # no content: competes for no place
    islands, _ = run(vectors, [4, 50, 52, 54, 3])
    sky = photometry(kinds).sample(frac=1, random_state=1)
    ranks = ranks_beside_images(islands, sky, 3, BANDS)
    assert np.isnan(ranks[4])
    table = retrieval.retrieval_table(islands, ranks)
    assert list(table) == list(retrieval.ABOUT)
    assert table["known_name"].tolist()[-1] == "Q4"
    assert sorted(table["known_name"][:3]) == ["Q50", "Q52", "Q54"]
    assert table["rank_images"][:3].max() <= 8 < table["rank_images"][3]
    assert table["rank_photometry"][:3].max() <= 8 < table["rank_photometry"][3]
    assert table["rank_images"].isna().tolist() == [False] * 4 + [True]
    assert set(table["n_objects"]) == {55} and set(table["n_seeds"]) == {2}
    none, _ = run(vectors, [])
    assert len(retrieval.retrieval_table(none, np.full(60, np.nan))) == 0


def test_stability_of_islands() -> None:
    table = pd.DataFrame(
        {
            "island": [0] * 6 + [1] * 3 + [-1],
            "island_stability": [0.9] * 6 + [0.5] * 3 + [1.0],
            "island_seed_1": [4] * 6 + [0] * 3 + [-1],  # the same under other numbers
            "island_seed_7": [0] * 5 + [-1] * 4 + [0],  # 5 of 6 and one more; the second is none
        }
    )
    found = stability.stability_table(table)
    assert list(found) == list(stability.ABOUT)
    assert found["n"].tolist() == [6, 3]
    assert found["mean_stability"].tolist() == pytest.approx([0.9, 0.5])
    assert found["share_of_seeds"].tolist() == [1.0, 0.5]
    assert found["mean_jaccard"].tolist() == pytest.approx([(1 + 5 / 7) / 2, 0.5])
    assert found["n_min"].tolist() == [6, 0]
    assert found["n_max"].tolist() == [6, 3]
    split = table.assign(island_seed_7=[0, 0, 0, 1, 1, 1, -1, -1, -1, -1])
    assert stability.stability_table(split)["share_of_seeds"][0] == 0.5  # a half is no match
    nothing = stability.stability_table(table.assign(island=-1))
    assert len(nothing) == 0 and list(nothing) == list(stability.ABOUT)


def test_agreement_of_seeds() -> None:
    table = pd.DataFrame(
        {
            "island_seed_1": [0, 0, 0, 1, 1, 1, -1, -1],
            "island_seed_2": [1, 1, 1, 0, 0, 0, -1, -1],
            "island_seed_5": [0, 1, 0, 1, 0, 1, 0, 1],
        }
    )
    found = stability.agreement_table(table)
    assert list(found) == list(stability.ABOUT_AGREEMENT)
    assert found[["seed_a", "seed_b"]].to_numpy().tolist() == [[1, 2], [1, 5], [2, 5]]
    assert found["adjusted_rand"][0] == 1.0 and found["adjusted_rand"].abs()[1:].max() < 0.3
    assert len(stability.agreement_table(table[["island_seed_1"]])) == 0


def test_exact_interval_of_a_share() -> None:
    # Clopper & Pearson's interval of 0 of n ends where (1 - p)^n is 2.5 %.
    assert enrichment.binomial_interval(0, 10) == (0.0, pytest.approx(1 - 0.025**0.1))
    assert enrichment.binomial_interval(10, 10) == (pytest.approx(0.025**0.1), 1.0)
    assert enrichment.binomial_interval(0, 0) == (0.0, 1.0)
    low, high = enrichment.binomial_interval(4, 10)
    assert sum_of_binomial(10, low, range(4, 11)) == pytest.approx(0.025)
    assert sum_of_binomial(10, high, range(5)) == pytest.approx(0.025)


def sum_of_binomial(n: int, p: float, numbers: range) -> float:
    from math import comb

    return sum(comb(n, k) * p**k * (1 - p) ** (n - k) for k in numbers)


def test_default_islands_are_not_sought_on_the_2d_map() -> None:
    import yaml

    config = yaml.safe_load(Path(__file__).parents[2].joinpath("config.yaml").read_text())
    section = config["islands"]["hdbscan"]
    assert section["space"] in ("features", "pca", "umap5")
    assert section["space"] != "pca" or section["n_components"] >= 5


def test_script_writes_all_tables(tmp_path: Path) -> None:
    kinds = ["star"] * 30 + ["galaxy"] * 20 + ["quasar"] * 10
    given: dict[str, Any] = {"features": [], "maps": []}
    for seed in (1, 2):
        vectors = groups((30, 20, 10), seed)
        given["features"].append(tmp_path / f"features-{seed}.npz")
        given["maps"].append(tmp_path / f"map-{seed}.parquet")
        save_features(given["features"][-1], np.arange(60), vectors)
        how = {"method": "pca", "random_state": 1}
        write_table(make_map(np.arange(60), vectors, how), given["maps"][-1])
    for name, table in (("catalogue", photometry(kinds)), ("known", known([51, 53, 55], 60))):
        given[name] = tmp_path / f"{name}.parquet"
        write_table(table, given[name])
    names = ("enrichment", "retrieval", "stability", "agreement")
    output = {name: tmp_path / f"{name}.csv" for name in names}
    run_script(
        "islands",
        given,
        output | {"islands": tmp_path / "islands.parquet"},
        {"islands": SETTINGS, "match_radius_arcsec": 1.0, "seeds": [1, 2], "bands": BANDS},
    )
    tables = {name: pd.read_csv(path) for name, path in output.items()}
    assert [len(tables[name]) for name in names] == [3, 3, 3, 1]
    assert list(tables["retrieval"]) == list(retrieval.ABOUT)
    assert tables["retrieval"]["rank_photometry"].max() <= 8
    assert tables["enrichment"]["known_share_lo"][2] == pytest.approx(0.0667, abs=1e-3)
    assert "similarity_rank_std" in read_table(tmp_path / "islands.parquet")


@pytest.mark.parametrize("n", [0, 1, 12])
def test_script_on_few_objects_and_no_known_quasar(n: int, tmp_path: Path) -> None:
    ids, vectors = np.arange(n), groups((n,))
    given: dict[str, Any] = {
        "features": [tmp_path / "features.npz"],
        "maps": [tmp_path / "map.parquet"],
        "catalogue": tmp_path / "catalogue.parquet",
        "known": tmp_path / "known.parquet",
    }
    save_features(given["features"][0], ids, vectors)
    write_table(make_map(ids, vectors, {"method": "pca", "random_state": 1}), given["maps"][0])
    write_table(photometry(["star"] * n), given["catalogue"])
    write_table(known([], 1), given["known"])
    names = ("enrichment", "retrieval", "stability", "agreement")
    output = {name: tmp_path / f"{name}.csv" for name in names}
    for consensus in ("joined", "co_association"):
        run_script(
            "islands",
            given,
            output | {"islands": tmp_path / "islands.parquet"},
            {
                "islands": SETTINGS | {"consensus": consensus},
                "match_radius_arcsec": 1.0,
                "seeds": [1],
                "bands": BANDS,
            },
        )
        assert len(read_table(tmp_path / "islands.parquet")) == n
        assert len(pd.read_csv(output["retrieval"])) == len(pd.read_csv(output["agreement"])) == 0
        assert len(pd.read_csv(output["stability"])) <= 1
