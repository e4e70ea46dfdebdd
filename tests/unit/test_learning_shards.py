"""Streaming: every image once an epoch, the same weights as from memory, little memory."""

from __future__ import annotations

import dataclasses
import logging
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_learning_training import CPU, SMALL, break_after, make_images, same

from archipelago.base.images import ImageSet, load_images, save_images
from archipelago.learning import shards, training
from archipelago.learning.scaling import clean_images, measure_scaling


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD", 16)
    monkeypatch.setattr(shards, "BLOCK", 4)
    monkeypatch.setattr(shards, "_CHUNK", 8)


def faulty(n: int = 50) -> ImageSet:
    images = make_images(n)
    images.images[3] = 7.0
    images.images[20, 2, 5, 5] = np.nan
    images.images[41] = np.inf
    return images


def mapped(images: ImageSet, folder: Path) -> ImageSet:
    path = folder / "images.npz"
    save_images(path, images.images, images.ids, images.bands, 0.263, 30.0)
    return load_images(path, memory_map=True)


@pytest.mark.parametrize("n", [0, 1, 5, 16, 17, 50, 64, 67])
def test_every_image_comes_once(small_shards: None, n: int) -> None:
    order = torch.cat(shards.shuffled(n, 3))
    assert sorted(order.tolist()) == list(range(n))
    assert torch.equal(order, torch.cat(shards.shuffled(n, 3)))
    if n > 4:
        assert not torch.equal(order, torch.cat(shards.shuffled(n, 4)))


def test_a_small_set_is_shuffled_as_a_whole() -> None:
    generator = torch.Generator().manual_seed(8)
    assert torch.equal(shards.shuffled(1000, 8)[0], torch.randperm(1000, generator=generator))


def test_a_shard_has_whole_blocks_from_all_over(small_shards: None) -> None:
    first = shards.shuffled(400, 1)[0]
    blocks, counts = np.unique(first.numpy() // 4, return_counts=True)
    assert (counts == 4).all()
    assert np.ptp(blocks) > 20
    assert not torch.equal(first, first.sort().values)


def test_clean_images_are_those_of_the_whole_set(
    small_shards: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    images = faulty()
    cleaned, usable = clean_images(images.images)
    expected = cleaned[usable]
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        given = shards.CleanImages(mapped(images, tmp_path).images)
    assert "3921 pixels in 2 images are not finite" in caplog.text
    assert "2 images have no other plane" in caplog.text
    assert len(caplog.records) == 2
    assert given.shape == expected.shape
    assert given.nbytes == expected.nbytes
    assert np.array_equal(given[0:48], expected)
    some = np.array([40, 3, 17])
    assert np.array_equal(given[some], expected[some])
    one = measure_scaling(expected, dataclasses.replace(SMALL, scale="set"), 0.263)
    assert measure_scaling(given, dataclasses.replace(SMALL, scale="set"), 0.263) == one  # type: ignore[arg-type]


@pytest.mark.parametrize("batch_size", [3, 8, 30])
@pytest.mark.parametrize("first", [0, 2])
def test_streamed_batches_are_those_from_memory(
    small_shards: None, tmp_path: Path, batch_size: int, first: int
) -> None:
    images = shards.CleanImages(mapped(make_images(67), tmp_path).images)
    scaling = measure_scaling(images[0:67], SMALL, 0.263)
    order = shards.shuffled(67, 5)
    part = slice(1, 3)
    at_hand = list(shards.Resident(images, scaling, CPU).batches(order, batch_size, first, part))
    streamed = list(shards.Streamed(images, scaling, CPU).batches(order, batch_size, first, part))
    assert len(at_hand) == max(67 // batch_size - first, 0)
    assert len(at_hand) == len(streamed)
    for one, other in zip(at_hand, streamed, strict=True):
        assert torch.equal(one, other)
        assert one.shape == (2, 5, 28, 28)


def fit(images: ImageSet, folder: Path, memory_mb: float | None) -> tuple[Any, Any]:
    return training.train(images, SMALL, 1, folder, threads=1, device=CPU, memory_mb=memory_mb)


def test_streaming_gives_the_same_weights_and_resumes(
    small_shards: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    images = faulty()
    with caplog.at_level(logging.INFO):
        unbroken, history = fit(images, tmp_path / "a", None)
    assert "all in memory" in caplog.text
    from_file = mapped(images, tmp_path)
    caplog.clear()
    with caplog.at_level(logging.INFO):
        streamed, history_streamed = fit(from_file, tmp_path / "b", 1.0)
    assert "streamed in shards of 16" in caplog.text
    assert same(unbroken, streamed)
    assert history.equals(history_streamed)
    assert streamed.record == unbroken.record
    with monkeypatch.context() as patch:
        break_after(patch, 9, lambda: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(training.TrainingInterruptedError, match="epoch 2, after batch 3"):
            fit(from_file, tmp_path / "c", 1.0)
    resumed, history_resumed = fit(from_file, tmp_path / "c", 1.0)
    assert same(unbroken, resumed)
    assert history.equals(history_resumed)


def test_an_error_of_the_reading_thread_ends_the_training(
    small_shards: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any) -> None:
        raise OSError("the disk is gone")

    monkeypatch.setattr(shards, "prepare", fail)
    with pytest.raises(OSError, match="the disk is gone"):
        fit(mapped(make_images(), tmp_path), tmp_path, 0.1)
