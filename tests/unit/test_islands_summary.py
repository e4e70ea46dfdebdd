"""Islands, consensus, enrichment and similarity on made-up features."""

from __future__ import annotations

import itertools
import logging
from math import comb
from typing import Any

import numpy as np
import pandas as pd
import pytest

from archipelago.base.errors import ConfigError, DataError, InputError
from archipelago.base.tables import read_table, write_table
from archipelago.islands import clusters, enrichment, maps, similarity
from archipelago.islands.retrieval import leave_one_out_ranks
from archipelago.islands.summary import describe_columns, find_islands

HDBSCAN = {"min_cluster_size": 5, "min_samples": 3, "space": "features", "selection": "eom"}
SETTINGS: dict[str, Any] = {
    "hdbscan": HDBSCAN,
    "consensus": "co_association",
    "consensus_threshold": 0.5,
    "k_neighbours": 3,
    "centre": True,
    "weight_sed": 1.0,
}
PCA = {"method": "pca", "random_state": 1}


def groups(sizes: tuple[int, ...], seed: int = 1, width: float = 0.02, d: int = 16) -> np.ndarray:
    """Unit vectors (n, d) in as many directions as there are sizes."""
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(rng.normal(size=(d, d)))[0][: len(sizes)]
    rows = np.repeat(axes, sizes, axis=0) + width * rng.normal(size=(sum(sizes), d))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def catalogue(n: int) -> pd.DataFrame:
    return pd.DataFrame(
        {"id": np.arange(n), "ra_deg": 10.0 + np.arange(n) * 0.01, "dec_deg": -30.0}
    )


def known(rows: list[int], n: int) -> pd.DataFrame:
    table = catalogue(n).iloc[rows].drop(columns="id")
    table.insert(0, "name", [f"Q{row}" for row in rows])
    table["redshift"] = 6.0
    table["source"] = "test"
    return table


def run(
    vectors: list[np.ndarray], rows_known: list[int], **changes: Any
) -> tuple[pd.DataFrame, pd.DataFrame]:
    n = len(vectors[0])
    ids = np.arange(n)
    return find_islands(
        [(ids, values) for values in vectors],
        [maps.make_map(ids, values, PCA) for values in vectors],
        catalogue(n + 3),
        known(rows_known, n + 3),
        {**SETTINGS, **changes},
        seeds=list(range(1, len(vectors) + 1)),
        match_radius_arcsec=1.5,
    )


def test_islands_of_known_quasars_are_found() -> None:
    sizes = (30, 20, 10)
    table, tested = run([groups(sizes, seed) for seed in (1, 2, 3)], [50, 52, 54, 56, 3])
    assert table["island"].tolist() == [0] * 30 + [1] * 20 + [2] * 10
    assert (table["island_stability"] == 1.0).all()
    assert tested["n"].tolist() == [30, 20, 10]
    assert tested["n_known"].tolist() == [1, 0, 4]
    assert tested["p_value"][2] == pytest.approx(
        (comb(10, 4) * 50 + comb(10, 5)) / comb(60, 5), rel=1e-10
    )
    assert tested["p_value_corrected"][2] == pytest.approx(3 * tested["p_value"][2])
    assert tested["expected"].tolist() == pytest.approx([2.5, 5 / 3, 5 / 6])
    # The quasars' own island is the most similar; their ranks are as if they were not known.
    unknown = table.drop(index=[50, 52, 54, 56, 3])
    assert set(unknown.nsmallest(6, "similarity_rank")["id"]) == {51, 53, 55, 57, 58, 59}
    assert table.loc[[50, 52, 54, 56], "similarity_rank"].max() <= 7
    assert table.loc[3, "similarity_rank"] > 7
    assert table.loc[50, "known_name"] == "Q50"
    assert table.loc[51, "known_name"] == ""


def test_columns_and_file(tmp_path: Any) -> None:
    table, tested = run([groups((20, 10))] * 2, [0])
    write_table(table, tmp_path / "islands.parquet", about=describe_columns(table))
    back = read_table(tmp_path / "islands.parquet")
    pd.testing.assert_frame_equal(back, table)
    assert {"island_seed_1", "island_seed_2", "map_x", "map_y", "outlier_score"} <= set(table)
    assert list(tested) == list(enrichment.ABOUT)
    again, _ = run([groups((20, 10))] * 2, [0])
    pd.testing.assert_frame_equal(again, table)


def test_no_known_quasar(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        table, tested = run([groups((20, 10))], [])
    assert "no known quasar" in caplog.text
    assert table["similarity_known"].isna().all()
    assert table["similarity_rank"].isna().all()
    assert (tested["p_value"] == 1.0).all()
    assert (tested["p_value_corrected"] == 1.0).all()


def test_one_known_quasar_has_none_to_be_like() -> None:
    table, _ = run([groups((20, 10))], [25])
    assert np.isnan(table.loc[25, "similarity_known"])
    assert np.isnan(table.loc[25, "similarity_rank"])
    assert table.drop(index=25)["similarity_rank"].notna().all()


@pytest.mark.parametrize("n", [0, 1, 2, 5])
def test_few_objects(n: int) -> None:
    table, tested = run([groups((n,)), groups((n,), 2)], [0] if n else [])
    assert len(table) == n
    assert set(table["island"]) <= {-1, 0}
    assert len(tested) <= 1


def test_all_the_same_are_one_island() -> None:
    same = np.repeat(groups((1,)), 12, axis=0)
    table, tested = run([same, same], [0, 1])
    assert (table["island"] == 0).all()
    assert tested["p_value"].tolist() == [1.0]
    assert np.isfinite(table[["map_x", "map_y", "outlier_score"]].to_numpy()).all()


def test_images_without_content_are_on_no_island() -> None:
    vectors = groups((20, 10))
    vectors[5:12] = 0.0
    table, _ = run([vectors], [5, 25, 26])
    assert (table.loc[5:11, "island"] == -1).all()
    assert (
        table.loc[5:11, ["similarity_known", "similarity_rank", "map_x", "outlier_score"]]
        .isna()
        .all(axis=None)
    )
    assert table.drop(index=range(5, 12))["similarity_known"].notna().all()


def test_contradicting_input_is_refused() -> None:
    vectors = groups((10,))
    ids = np.arange(10)
    place = maps.make_map(ids, vectors, PCA)

    def call(features: Any, the_maps: Any, seeds: list[int], sky: pd.DataFrame) -> None:
        find_islands(
            features, the_maps, sky, known([], 10), SETTINGS, seeds=seeds, match_radius_arcsec=1.0
        )

    with pytest.raises(InputError, match="1 sets of features and 1 maps for 2 seeds"):
        call([(ids, vectors)], [place], [1, 2], catalogue(10))
    with pytest.raises(InputError, match="features of seed 2 are of other objects"):
        call([(ids, vectors), (ids + 1, vectors)], [place] * 2, [1, 2], catalogue(10))
    with pytest.raises(InputError, match="map of seed 1 is of other objects"):
        call([(ids, vectors)], [place.assign(id=ids + 1)], [1], catalogue(10))
    with pytest.raises(DataError, match="has 9 of the 10 objects"):
        call([(ids, vectors)], [place], [1], catalogue(9))
    twice = pd.concat([catalogue(10), catalogue(1)])
    with pytest.raises(DataError, match="in 11 rows"):
        call([(ids, vectors)], [place], [1], twice)
    with pytest.raises(ConfigError, match="unknown space 'sky'"):
        clusters.seed_islands(vectors, np.zeros((10, 2)), {**HDBSCAN, "space": "sky"})


@pytest.mark.parametrize("space", ["features", "pca", "map"])
def test_spaces(space: str) -> None:
    vectors = groups((30, 20, 10))
    place = maps.make_map(np.arange(60), vectors, PCA)[["x", "y"]].to_numpy()
    found = clusters.seed_islands(
        vectors,
        place,
        {**HDBSCAN, "min_cluster_size": 10, "min_samples": 10, "space": space, "n_components": 5},
    )
    assert len(set(found[:30])) == len(set(found[30:50])) == len(set(found[50:])) == 1
    assert len(set(found)) == 3


def test_photometry_beside_features_parts_what_looks_alike() -> None:
    alike = groups((60,))
    ids = np.arange(60)
    sure = pd.DataFrame(
        {
            "id": ids,
            "p_star": np.where(ids < 30, 0.999, 0.0),
            "p_galaxy": 0.0005,
            "p_quasar": np.where(ids < 30, 0.0, 0.999),
            "p_lensed": 0.0005,
        }
    )
    settings = {**HDBSCAN, "min_cluster_size": 10, "min_samples": 5}
    beside = clusters.sed_coordinates(sure, ids, 0.3)
    parted = clusters.seed_islands(alike, np.zeros((60, 2)), settings, None, beside)
    assert set(parted[:30]).isdisjoint(parted[30:]) and parted.max() == 1
    alone = clusters.seed_islands(alike, np.zeros((60, 2)), settings)
    assert not set(alone[:30]).isdisjoint(alone[30:])
    joined, _ = clusters.joined_islands(
        [alike.astype(float)] * 2, np.array([alone] * 2), np.zeros((60, 2)), settings, beside
    )
    assert set(joined[:30]).isdisjoint(joined[30:]) and joined.max() == 1


def test_coordinates_of_verdicts_are_bounded_and_those_without_stand_in_the_middle() -> None:
    verdicts = pd.DataFrame(
        {
            "id": [5, 6],
            "p_star": [1.0, np.nan],
            "p_galaxy": [0.0, np.nan],
            "p_quasar": [0.0, np.nan],
            "p_lensed": [0.0, np.nan],
        }
    )
    places = clusters.sed_coordinates(verdicts, np.array([7, 6, 5]), 0.5)
    assert places is not None
    np.testing.assert_allclose(places[:2], 0.5 * np.log(0.25))
    np.testing.assert_allclose(places[2], [0.0, *[0.5 * np.log(1e-3)] * 3])
    assert clusters.sed_coordinates(verdicts, np.array([5]), 0.0) is None


def test_selection_of_leaves() -> None:
    vectors = groups((60, 60), width=0.1)
    coarse, fine = (
        clusters.seed_islands(vectors, np.zeros((120, 2)), {**HDBSCAN, "selection": selection})
        for selection in ("eom", "leaf")
    )
    assert coarse.max() == 1 and fine.max() > 1


def test_joined_seeds_outvote_one_of_them() -> None:
    vectors = [groups((30, 20, 10), seed) for seed in (1, 2, 3, 4)]
    noise = np.random.default_rng(1).normal(size=(60, 16))  # a seed that learnt nothing
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    vectors.append(noise.astype(np.float32))
    for values in vectors:
        values[5] = 0.0
    table, _ = run(vectors, [50], consensus="joined")
    expected = [0] * 30 + [1] * 20 + [2] * 10
    expected[5] = -1
    assert table["island"].tolist() == expected
    on = table["island"] >= 0
    assert table.loc[on, "island_stability"].between(0.79, 0.99).all()
    assert table.loc[5, "island_stability"] == 1.0
    one, _ = run(vectors[:1], [50], consensus="joined")
    assert (one["island_stability"] == 1.0).all()
    assert one["island"].tolist() == expected
    with pytest.raises(ConfigError, match="unknown consensus 'vote'"):
        run(vectors[:1], [50], consensus="vote")


@pytest.mark.parametrize("consensus", ["joined", "co_association"])
def test_objects_all_alike_are_one_island_and_empty_images_on_none(consensus: str) -> None:
    vectors = [np.tile(groups((1,), seed), (25, 1)) for seed in (1, 2)]
    for values in vectors:
        values[7] = 0.0
    table, _ = run(vectors, [3], consensus=consensus)
    assert table["island"].tolist() == [-1 if row == 7 else 0 for row in range(25)]


def test_consensus_outvotes_a_seed() -> None:
    base = np.repeat([0, 1], 10)
    other = 1 - base  # the same islands under other numbers
    odd = base.copy()
    odd[:3] = 1
    islands, stability = clusters.consensus_islands(
        np.array([base, other, odd]), threshold=0.5, smallest=3
    )
    assert islands.tolist() == base.tolist()
    assert (stability[:3] < 1.0).all()
    assert stability[0] == pytest.approx((2 * 9 + 2) / 27)
    assert (stability[3:10] < 1.0).all()
    assert (stability[10:] == 1.0).all()


def test_consensus_of_noise_and_of_disagreement() -> None:
    none = np.full(8, -1)
    islands, stability = clusters.consensus_islands(
        np.array([none, none]), threshold=0.5, smallest=2
    )
    assert (islands == -1).all()
    assert (stability == 1.0).all()
    # Every seed joins other pairs: none is together in half of the seeds.
    per_seed = np.array([[0, 0, 1, 1], [0, 1, 0, 1], [0, 1, 1, 0]])
    islands, _ = clusters.consensus_islands(per_seed, threshold=0.5, smallest=2)
    assert (islands == -1).all()


def test_consensus_is_average_linkage_of_the_objects() -> None:
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    rng = np.random.default_rng(3)
    alike = rng.random((40, 40))  # without ties, where the tree is unique
    alike = np.maximum(alike, alike.T)
    weight = rng.integers(1, 4, 40)
    of = np.repeat(np.arange(40), weight)
    objects_alike = alike[of][:, of]
    objects_alike[of[:, None] == of[None, :]] = 1.0
    tree = linkage(squareform(1.0 - objects_alike, checks=False), "average")
    for threshold in (0.9, 0.75, 0.7):
        expected = fcluster(tree, 1.0 - threshold, "distance")
        label = clusters._average_linkage(alike.astype(np.float64), weight.astype(float), threshold)
        assert clusters.agreement_of_seeds([label[of], expected]) == 1.0
        assert 1 < len(set(label)) < 40


def test_consensus_keeps_its_memory_small(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    truth = np.repeat(np.arange(5), 200)
    per_seed = np.array(
        [np.where(rng.random(1000) < 0.1, rng.integers(-1, 5, 1000), truth) for _ in range(5)]
    )
    whole, _ = clusters.consensus_islands(per_seed, threshold=0.5, smallest=10)
    monkeypatch.setattr(clusters, "LARGEST_CONSENSUS", 40)
    bounded, _ = clusters.consensus_islands(per_seed, threshold=0.5, smallest=10)
    assert clusters.agreement_of_seeds([whole, bounded]) > 0.98
    assert clusters.agreement_of_seeds([whole, truth]) > 0.98


def test_tail_probability_by_enumeration() -> None:
    n_all, n_known, n = 9, 4, 5
    drawn = [sum(i < n_known for i in chosen) for chosen in itertools.combinations(range(n_all), n)]
    for found in range(n_known + 1):
        expected = sum(count >= found for count in drawn) / len(drawn)
        assert enrichment.tail_probability(n_all, n_known, n, found) == pytest.approx(expected)


def test_holm() -> None:
    corrected = enrichment.holm(np.array([0.01, 0.04, 0.03, 0.005]))
    assert corrected.tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert enrichment.holm(np.array([])).size == 0
    assert enrichment.holm(np.array([0.9, 0.8])).max() == 1.0


def test_retrieval_ranks_by_hand() -> None:
    angles = np.radians([0.0, 10.0, 4.0, 25.0, 90.0, 7.0])
    units = np.column_stack([np.cos(angles), np.sin(angles)])
    one = similarity.known_similarity(units, np.array([0, 1]))
    assert one.of_objects(1)[0] == pytest.approx(np.cos(np.radians(10.0)))
    assert one.of_objects(9)[2] == pytest.approx(
        (np.cos(np.radians(4.0)) + np.cos(np.radians(6.0))) / 2
    )
    ranks = leave_one_out_ranks([one, one], 6, k=1)
    # Unknown: 3 (7 deg, 3 from a known one), 4 (4 deg), 25, 90. Known 0 is 10 deg from known 1,
    # which 7 deg (3) and 4 deg (6) are nearer to; 25 deg is 15 away.
    assert ranks.tolist() == [3.0, 3.0, 2.0, 3.0, 4.0, 1.0]


def test_similarity_over_seeds() -> None:
    mean, spread = similarity.average_over_seeds(np.array([[0.2, np.nan], [0.4, 0.1]]))
    assert mean[0] == pytest.approx(0.3)
    assert spread[0] == pytest.approx(0.1)
    assert np.isnan(mean[1])


def test_outliers_are_the_lonely_ones() -> None:
    vectors = np.vstack([groups((40,)), -groups((1,))])
    scores = similarity.outlier_scores(similarity.unit_rows(vectors, centre=False), 5)
    assert scores[-1] == 1.0
    assert scores.argmax() == 40
    assert scores.min() == 0.0


def test_map_of_few_or_equal_objects() -> None:
    how = {
        "method": "umap",
        "n_neighbors": 15,
        "min_dist": 0.1,
        "metric": "cosine",
        "random_state": 1,
        "perplexity": 10,
    }
    for n in (0, 1, 2, 5):
        table = maps.make_map(np.arange(n)[::-1], groups((n,)), how)
        assert table["id"].tolist() == list(range(n))
        assert np.isfinite(table.to_numpy()).all()
    same = maps.make_map(np.arange(30), np.repeat(groups((1,)), 30, axis=0), how)
    assert np.allclose(same[["x", "y"]], 0.0, atol=1e-6)
    with pytest.raises(ConfigError, match="unknown method 'lle'"):
        maps.make_map(np.arange(3), groups((3,)), {**how, "method": "lle"})


def test_tsne_map_parts_groups_and_repeats() -> None:
    how = {"method": "tsne", "perplexity": 10, "metric": "euclidean", "random_state": 1}
    vectors = groups((20, 20))
    vectors[7] = 0.0
    table = maps.make_map(np.arange(40), vectors, how)
    assert np.isnan(table.loc[7, "x"])
    pd.testing.assert_frame_equal(table, maps.make_map(np.arange(40), vectors, how))
    place = table[["x", "y"]].to_numpy()
    one, two = np.nanmean(place[:20], axis=0), np.nanmean(place[20:], axis=0)
    radius = np.nanmax(np.linalg.norm(place[:20] - one, axis=1))
    assert np.linalg.norm(one - two) > radius
    small = maps.make_map(np.arange(18), groups((18,)), how)  # perplexity is lowered
    assert np.isfinite(small.to_numpy()).all()


@pytest.mark.slow
def test_umap_map_parts_groups_and_repeats() -> None:
    how = {
        "method": "umap",
        "n_neighbors": 10,
        "min_dist": 0.1,
        "metric": "euclidean",
        "random_state": 1,
    }
    vectors = groups((40, 40))
    table = maps.make_map(np.arange(80), vectors, how)
    pd.testing.assert_frame_equal(table, maps.make_map(np.arange(80), vectors, how))
    place = table[["x", "y"]].to_numpy()
    gap = np.linalg.norm(place[:40].mean(0) - place[40:].mean(0))
    assert gap > np.linalg.norm(place[:40] - place[:40].mean(0), axis=1).max()
    five = clusters.seed_islands(
        vectors, place, {**HDBSCAN, "space": "umap5", "n_neighbors": 10, "random_state": 1}
    )
    assert len(set(five[:40])) == len(set(five[40:])) == 1
    duplicates = np.repeat(vectors[::4], 4, axis=0)
    assert np.isfinite(maps.make_map(np.arange(80), duplicates, how).to_numpy()).all()
