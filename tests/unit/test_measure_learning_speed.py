"""The measuring of the training's speed: operations counted, lines fitted, the usual way runs."""

from __future__ import annotations

import dataclasses
import itertools
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.configuration import PAPER
from test_learning_training import SMALL, make_images
from torch.utils.flop_counter import FlopCounterMode

from archipelago.base.images import load_images
from archipelago.learning.network import make_network
from archipelago.learning.scaling import measure_scaling
from archipelago.learning.settings import LearningSettings
from archipelago.measure import learning_speed


@pytest.mark.parametrize("settings", [SMALL, LearningSettings(), PAPER])
def test_operations_are_those_that_torch_counts(settings: LearningSettings) -> None:
    network = make_network(settings, 5, 1)
    images = torch.zeros(2, 5, settings.crop_px, settings.crop_px)
    with FlopCounterMode(display=False) as counter:
        network(images)[1].sum().backward()
    assert 2 * learning_speed.training_flops(settings, 5) == counter.get_total_flops()


def test_operations_of_a_network_by_hand() -> None:
    settings = LearningSettings(crop_px=8, channels=(2,), kernels_px=(3,), head=(4,))
    convolution = 2 * (2 * 1 * 9 * 36) * 2  # forward and the weights' gradients
    assert learning_speed.training_flops(settings, 1, encoder_only=True) == convolution
    assert learning_speed.training_flops(settings, 1) == convolution + 3 * 2 * 18 * 4


def test_straight_line() -> None:
    assert learning_speed.straight_line([1, 2, 4], [5, 7, 11], 10) == pytest.approx(23.0)


def test_the_fastest_time_counts_but_not_the_first() -> None:
    times = iter([0.0, 1.0, 0.0, 4.0, 0.0, 2.0])
    calls: list[int] = []
    fastest = learning_speed.fastest_s(lambda: calls.append(1), 3, lambda: next(times))
    assert fastest == 1.0
    assert len(calls) == 4


def test_verdicts() -> None:
    assert learning_speed.verdict(0.7, 0.6) == "at least 0.6: met"
    assert learning_speed.verdict(0.5, 0.6) == "at least 0.6: NOT MET"
    assert learning_speed.verdict(0.2, 0.1, most=True) == "at most 0.1: NOT MET"


def test_presets_are_the_configuration() -> None:
    assert learning_speed.preset("paper").channels == (128, 256, 512)
    assert learning_speed.preset("default") == LearningSettings()


def test_stamps_are_repeated(tmp_path: Path) -> None:
    stamps = make_images(3)
    learning_speed.write_tiled(tmp_path / "many.npz", stamps, 8)
    many = load_images(tmp_path / "many.npz")
    assert np.array_equal(many.images, stamps.images[[0, 1, 2, 0, 1, 2, 0, 1]])


@pytest.mark.parametrize("augmentation", ["physics", "paper"])
def test_the_usual_way_trains(augmentation: str) -> None:
    settings = dataclasses.replace(SMALL, augmentation=augmentation)
    images = torch.from_numpy(make_images(16).images)
    scaling = measure_scaling(images.numpy(), settings, 0.263)
    usual = learning_speed.UsualWay(settings, images, scaling, 1.0, workers=0)
    before = usual._network.encoder[0].weight.detach().clone()
    assert len(list(itertools.islice(usual.steps(), 3))) == 3
    assert not torch.equal(before, usual._network.encoder[0].weight)


def test_speeds_and_sizes_are_measured(tmp_path: Path) -> None:
    images = make_images(20)
    speed = learning_speed.measure_speed(SMALL, images, 1, 0.01, time.process_time)
    assert 0 < speed.views_share < 1
    assert speed.ratio > 0
    assert speed.flops == pytest.approx(
        speed.images_per_s * 2 * learning_speed.training_flops(SMALL, 5)
    )
    learning_speed.write_tiled(tmp_path / "a.npz", images, 600)
    row = learning_speed.measure_size(
        tmp_path / "a.npz", streamed=True, n_steps=3, threads=1, clock=time.perf_counter
    )
    assert (row["n"], row["steps"]) == (600, 3)
    assert row["images_per_s"] > 0
