"""Likeness to simulated quasars: numbers of images, judges, and the table of both."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from archipelago.base.errors import DataError, InputError
from archipelago.base.images import ImageSet
from archipelago.recognise import judges
from archipelago.recognise.evidence import ABOUT, image_evidence, ranks
from archipelago.recognise.judges import N_FOLDS, folds_of, log_ratios
from archipelago.recognise.measured import measure

BANDS = ("g", "i", "z")
NOISE = np.array([1.0, 2.0, 3.0])
SCALE = 0.263


@pytest.fixture(autouse=True)
def _few_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small forests and short trainings, which tell what is so far apart as here."""
    monkeypatch.setattr(judges, "_N_TREES", 25)
    monkeypatch.setattr(judges, "_N_BOOSTS", 25)
    monkeypatch.setattr(judges, "_N_NETWORKS", 1)
    monkeypatch.setattr(judges, "_N_STEPS", 150)


def _blobs(n: int, width_px: float, seed: int, flux: float = 800.0) -> np.ndarray:
    """Round objects of a width, off the middle, with noise: (n, 3, 28, 28)."""
    rng = np.random.default_rng(seed)
    axis = np.arange(28) - 13.5
    dx, dy = rng.uniform(-0.5, 0.5, (2, n))
    r2 = (axis[None, None, :] - dx[:, None, None]) ** 2 + (
        axis[None, :, None] - dy[:, None, None]
    ) ** 2
    one = flux * np.exp(-0.5 * r2 / width_px**2) / (2 * np.pi * width_px**2)
    light = one[:, None] * np.array([0.1, 0.5, 1.0])[None, :, None, None]
    noise = rng.normal(size=(n, 3, 28, 28)) * NOISE[None, :, None, None]
    return (light + noise).astype(np.float32)


# ---------------------------------------------------------------------------- measured


def test_numbers_of_images_have_a_row_each_and_are_finite() -> None:
    images = _blobs(5, 1.6, 1)
    numbers = measure(images, NOISE, SCALE)
    n_bands, n_pairs, n_widths = 3, 3, 4
    expected = n_bands * n_widths * 2 + n_pairs * n_widths + 4 * n_bands + n_pairs * 3
    assert numbers.shape == (5, expected + 3 * n_bands)
    assert numbers.dtype == np.float32 and np.isfinite(numbers).all()
    np.testing.assert_array_equal(measure(images[2:3], NOISE, SCALE)[0], numbers[2])


def test_no_image_has_as_many_numbers_as_one() -> None:
    assert measure(_blobs(0, 1.6, 1), NOISE, SCALE).shape[0] == 0
    blank = measure(np.zeros((1, 3, 28, 28), dtype=np.float32), NOISE, SCALE)
    assert blank.shape[1] == measure(_blobs(0, 1.6, 1), NOISE, SCALE).shape[1]
    assert np.isfinite(blank).all()


@pytest.mark.parametrize("turn", ["flip_x", "flip_y", "half", "quarter"])
def test_numbers_do_not_know_how_an_image_lies(turn: str) -> None:
    images = _blobs(4, 1.6, 2)
    # The strips that the sky is taken from are those of the top and bottom: keep them dark.
    images[:, :, :4] = images[:, :, -4:] = images[:, :, :, :4] = images[:, :, :, -4:] = 0.0
    turned = {
        "flip_x": images[..., ::-1],
        "flip_y": images[..., ::-1, :],
        "half": images[..., ::-1, ::-1],
        "quarter": np.rot90(images, axes=(2, 3)),
    }[turn]
    one, other = measure(images, NOISE, SCALE), measure(turned, NOISE, SCALE)
    np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-3)


def test_a_wider_object_is_less_concentrated() -> None:
    n_bands, n_widths, n_pairs = 3, 4, 3
    start = n_bands * n_widths + n_pairs * n_widths
    narrow, wide = (
        measure(_blobs(30, width, 3, flux=8000.0), NOISE, SCALE)[:, start : start + 12].mean(axis=0)
        for width in (1.3, 2.6)
    )
    # In the narrowest aperture of the reddest band.
    assert narrow[2 * n_widths] > 1.3 * wide[2 * n_widths]


# ------------------------------------------------------------------------------- judges


def _judged(n: int, k: int, apart: float, **changes: Any) -> np.ndarray:
    rng = np.random.default_rng(5)
    sample = rng.normal(size=(n, 3))
    sample[: n // 10, 0] += apart  # some of the sample are what is sought
    simulated = rng.normal(size=(k, 3)) + [apart, 0.0, 0.0]
    given: dict[str, Any] = {
        "known": np.zeros(n, dtype=bool),
        "source": np.full(k, -1, dtype=np.int64),
        "seed": 1,
        "network_share": 0.5,
    }
    return log_ratios(sample, simulated, **given | changes)


def test_what_is_like_the_simulated_ones_is_found() -> None:
    values = _judged(200, 100, 6.0)
    assert values[:20].min() > values[20:].max()
    assert np.median(values[20:]) < -1 < 1 < np.median(values[:20])


def test_networks_count_as_much_as_they_are_given() -> None:
    by_trees, half, by_networks = (_judged(120, 60, 5.0, network_share=q) for q in (0.0, 0.5, 1.0))
    np.testing.assert_allclose(half, (by_trees + by_networks) / 2)
    assert not np.allclose(by_trees, by_networks)
    assert np.median(by_networks[:12]) > 1 > -1 > np.median(by_networks[12:])


def test_judging_does_not_depend_on_the_threads_and_repeats() -> None:
    one = _judged(120, 60, 1.0)
    np.testing.assert_array_equal(one, _judged(120, 60, 1.0, threads=2))
    assert not np.array_equal(one, _judged(120, 60, 1.0, seed=2))


def test_a_known_quasar_is_not_judged_by_objects_with_its_colours() -> None:
    """A lone known quasar far from all: only simulated objects made from it are like it."""
    rng = np.random.default_rng(7)
    sample, simulated = rng.normal(size=(100, 2)), rng.normal(size=(60, 2)) + [20.0, 0.0]
    sample[4] = [-15.0, 15.0]
    simulated[:30] = sample[4] + 0.1 * rng.normal(size=(30, 2))
    known = np.arange(100) == 4
    source = np.where(np.arange(60) < 30, 4, -1)
    given: dict[str, Any] = {"known": known, "seed": 1, "network_share": 0.0}
    with_own = log_ratios(sample, simulated, source=np.full(60, -1), **given)
    without = log_ratios(sample, simulated, source=source, **given)
    assert with_own[4] > 2 > without[4]


@pytest.mark.parametrize(("n", "k"), [(0, 20), (1, 20), (9, 20), (40, 0), (40, 4)])
def test_too_few_to_judge(n: int, k: int) -> None:
    values = _judged(n, k, 3.0)
    assert values.shape == (n,) and np.isnan(values).all()


def test_known_quasars_do_not_stand_for_the_sample() -> None:
    known = np.arange(14) >= 9
    assert np.isnan(_judged(14, 20, 3.0, known=known)).all()
    assert np.isfinite(_judged(15, 20, 3.0, known=np.arange(15) >= 10)).all()


def test_folds_are_even_and_fixed() -> None:
    fold = folds_of(23, 3)
    assert np.ptp(np.bincount(fold, minlength=N_FOLDS)) <= 1
    np.testing.assert_array_equal(fold, folds_of(23, 3))


# ----------------------------------------------------------------------------- evidence


def _sets(n: int = 60, k: int = 40) -> tuple[ImageSet, ImageSet, pd.DataFrame]:
    """A sample of wide objects, the first ten narrow as the simulated ones."""
    images = np.concatenate([_blobs(min(n, 10), 1.4, 1), _blobs(max(n - 10, 0), 3.0, 2)])
    ids = np.arange(500, 500 + n)[::-1].copy()
    simulated = _blobs(2 * k, 1.4, 3)
    about = pd.DataFrame(
        {
            "id": np.arange(2 * k),
            "kind": ["quasar"] * k + ["lensed"] * k,
            "from_known": np.arange(2 * k) % 4 == 0,
            "source_id": np.where(np.arange(2 * k) % 4 == 0, ids[0] if n else 0, 0),
        }
    )
    return (
        ImageSet(images, ids, BANDS, SCALE, 30.0),
        ImageSet(simulated, np.arange(2 * k), BANDS, SCALE, 30.0),
        about,
    )


def _features(images: ImageSet, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(len(images), 6)).astype(np.float32)
    return images.ids, values / np.linalg.norm(values, axis=1, keepdims=True)


def _evidence(
    images: ImageSet, simulated: ImageSet, about: pd.DataFrame, **changes: Any
) -> pd.DataFrame:
    given: dict[str, Any] = {
        "features": [_features(images, seed) for seed in (1, 2)],
        "simulated_features": [_features(simulated, seed) for seed in (1, 2)],
        "known": images.ids[:1],
        "settings": {"n_components": 24},
    }
    return image_evidence(images, simulated, about, seeds=[1, 2], **given | changes)


def test_what_looks_like_the_simulated_ones_comes_first() -> None:
    images, simulated, about = _sets()
    table = _evidence(images, simulated, about)
    assert list(table.columns) == list(ABOUT)
    assert table["id"].tolist() == sorted(images.ids)
    narrow = table["id"].isin(images.ids[:10])
    for kind in ("quasar", "lensed"):
        odds = table[f"image_log_odds_{kind}"]
        assert odds[narrow].min() > odds[~narrow].max()
        assert odds[narrow].median() > 0 > odds[~narrow].median()
        # The known one may share the place of the unknown one behind it.
        assert table[f"image_rank_{kind}"][narrow].max() <= 10
        assert (table[f"image_log_odds_{kind}_std"] >= 0).all()


def test_the_order_of_the_images_changes_no_result() -> None:
    images, simulated, about = _sets()
    features = [_features(images, seed) for seed in (1, 2)]
    mixed = np.random.default_rng(1).permutation(len(images))
    other = ImageSet(images.images[mixed], images.ids[mixed], BANDS, SCALE, 30.0)
    one = _evidence(images, simulated, about, features=features)
    two = _evidence(other, simulated, about, features=features, known=images.ids[:1])
    pd.testing.assert_frame_equal(one, two)


def test_an_object_without_content_is_not_judged() -> None:
    images, simulated, about = _sets()
    features = [(ids, values.copy()) for ids, values in (_features(images, s) for s in (1, 2))]
    for _, values in features:
        values[20] = 0.0
    images.images[20] = np.nan
    table = _evidence(images, simulated, about, features=features).set_index("id")
    row = table.loc[images.ids[20]]
    assert row.isna().all()
    assert table.drop(images.ids[20]).notna().all(axis=None)


@pytest.mark.parametrize(("n", "k"), [(0, 0), (0, 20), (1, 20), (2, 0), (60, 0), (60, 2)])
def test_small_sets_give_a_table_without_a_verdict(n: int, k: int) -> None:
    images, simulated, about = _sets(n, k)
    table = _evidence(images, simulated, about)
    assert len(table) == n and list(table.columns) == list(ABOUT)
    assert table.drop(columns="id").isna().all(axis=None)


def test_features_of_other_objects_are_refused() -> None:
    images, simulated, about = _sets()
    wrong = [(ids + 1, values) for ids, values in (_features(images, s) for s in (1, 2))]
    with pytest.raises(InputError, match="features of seed 1 are of other objects"):
        _evidence(images, simulated, about, features=wrong)
    with pytest.raises(InputError, match="features of seed 1 are of other objects"):
        _evidence(images, simulated, about, simulated_features=[_features(images, 1)] * 2)


def test_simulated_images_of_another_table_are_refused() -> None:
    images, simulated, about = _sets()
    with pytest.raises(DataError, match="simulated images are not those of their table"):
        _evidence(images, simulated, about.iloc[1:])


def test_places_among_the_unknown() -> None:
    score = np.array([3.0, 1.0, np.nan, 2.0, 2.0, 2.5])
    known = np.array([False, False, False, False, False, True])
    # The known one would be second: its place is one that it shares with nobody unknown.
    np.testing.assert_array_equal(ranks(score, known), [1, 4, np.nan, 2, 2, 2])
    assert len(ranks(np.empty(0), np.empty(0, dtype=bool))) == 0
