"""Measures of features that need no label, against their formulas written out."""

from __future__ import annotations

import dataclasses
import math
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch

from archipelago.base.images import ImageSet
from archipelago.learning import measures, training
from archipelago.learning.settings import LearningSettings


def draw(n: int, d: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def directions(rows: torch.Tensor) -> np.ndarray:
    values = rows.double().numpy()
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def test_alignment_is_the_mean_squared_distance_of_directions() -> None:
    one, other = draw(9, 5), draw(9, 5, seed=1)
    expected = np.square(directions(one) - directions(other)).sum(axis=1).mean()
    assert measures.alignment(one, other) == pytest.approx(expected, rel=1e-5)
    assert measures.alignment(7.0 * one, other) == pytest.approx(expected, rel=1e-5)


def test_uniformity_is_the_mean_potential_of_all_pairs() -> None:
    rows = draw(9, 5)
    unit = directions(rows)
    pairs = combinations(range(9), 2)
    potential = [math.exp(-2.0 * np.square(unit[i] - unit[j]).sum()) for i, j in pairs]
    assert measures.uniformity(rows) == pytest.approx(math.log(np.mean(potential)), rel=1e-5)
    assert measures.uniformity(draw(400, 64)) < measures.uniformity(draw(400, 64) + 2.0)


def test_rank_me_is_the_exponential_of_the_entropy_of_singular_values() -> None:
    values = np.array([4.0, 2.0, 1.0, 1.0])
    left, _ = np.linalg.qr(draw(9, 4).double().numpy())
    right, _ = np.linalg.qr(draw(4, 4, seed=1).double().numpy())
    share = values / values.sum()
    expected = math.exp(-(share * np.log(share)).sum())
    features = torch.from_numpy(left * values @ right)
    assert measures.rank_me(features) == pytest.approx(expected, rel=1e-5)
    assert measures.rank_me(100.0 * features) == pytest.approx(expected, rel=1e-5)


def test_consistency_is_the_share_that_finds_its_own_view() -> None:
    one = draw(40, 6)
    other = one + 0.8 * draw(40, 6, seed=1)
    distance = np.linalg.norm(directions(one)[:, None] - directions(other)[None], axis=2)
    expected = (distance.argmin(axis=1) == np.arange(40)).mean()
    assert 0.1 < expected < 0.9
    assert measures.consistency(one, other) == pytest.approx(expected)
    assert measures.consistency(3.0 * one, other) == pytest.approx(expected)


def test_consistency_at_its_limits() -> None:
    one = draw(10, 6)
    assert measures.consistency(one, one) == 1.0
    assert measures.consistency(one, one.roll(1, dims=0)) == 0.0
    assert measures.consistency(torch.ones(10, 6), torch.ones(10, 6)) == 0.0  # collapsed
    assert measures.consistency(torch.zeros(10, 6), torch.zeros(10, 6)) == 0.0
    twice = torch.cat([one, one])  # each image is there twice: neither is told apart
    assert measures.consistency(twice, twice) == 0.0
    assert measures.consistency(one[:1], one[1:2]) == 1.0


SETTINGS = LearningSettings(
    channels=(4, 8, 8),
    head=(8, 8),
    batch_size=8,
    epochs_max=0,
    aperture_arcsec=0.0,
    noise_max_sigma=0.0,
    blur_fwhm_max_arcsec=0.0,
    shift_max_px=0.0,
    precision="float32",
)


def make_images(n: int) -> ImageSet:
    rng = np.random.default_rng(0)
    images = rng.normal(size=(n, 5, 28, 28)) * 3.0
    images[:, :, 11:17, 11:17] += rng.uniform(20, 400, size=(n, 5, 1, 1))
    return ImageSet(images.astype(np.float32), np.arange(n), tuple("grizY"), 0.263, 30.0)


def consistency_of(images: ImageSet, folder: Path, seed: int = 1, batch_size: int = 8) -> float:
    settings = dataclasses.replace(SETTINGS, batch_size=batch_size)
    model, _ = training.train(images, settings, seed, folder, threads=1, device=torch.device("cpu"))
    return model.record["consistency"]


def test_the_record_tells_the_consistency(tmp_path: Path) -> None:
    images = make_images(60)
    value = consistency_of(images, tmp_path)
    assert value == consistency_of(images, tmp_path)
    assert 2 / 60 < value <= 1.0  # above chance: the images differ and views keep the colours
    same = dataclasses.replace(images, images=np.repeat(images.images[:1], 60, axis=0))
    assert consistency_of(same, tmp_path) < 0.2


def test_the_consistency_is_of_a_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    measure = measures.consistency

    def note(one: torch.Tensor, other: torch.Tensor) -> float:
        sizes.append((one.shape, other.shape))
        assert not torch.equal(one, other)
        return measure(one, other)

    monkeypatch.setattr(training, "consistency", note)
    monkeypatch.setattr(training, "_CONSISTENCY_SAMPLE", 13)
    consistency_of(make_images(30), tmp_path)
    assert sizes == [((13, 8), (13, 8))]
