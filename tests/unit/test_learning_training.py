"""Training: the published network, exact resumption, refusals, small samples."""

from __future__ import annotations

import dataclasses
import logging
import math
import os
import signal
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.configuration import PAPER

from archipelago.base.errors import ConfigError, DataError, InputError
from archipelago.base.images import ImageSet
from archipelago.learning import compat, devices, measures, training
from archipelago.learning.features import compute_features
from archipelago.learning.model import Model, check_fits, load_model, save_model, write_torch
from archipelago.learning.network import Encoder, make_network
from archipelago.learning.settings import LearningSettings
from archipelago.learning.store import load_features, save_features

SMALL = LearningSettings(
    channels=(4, 8, 8),
    head=(8, 8),
    batch_size=8,
    epochs_max=4,
    warmup_epochs=1,
    patience=100,
    feature_views=1,
    precision="float32",
)
CPU = torch.device("cpu")


def make_images(n: int = 20, seed: int = 0) -> ImageSet:
    rng = np.random.default_rng(seed)
    images = rng.normal(size=(n, 5, 28, 28)) * 3.0
    images[:, :, 11:17, 11:17] += rng.uniform(20, 200, size=(n, 5, 1, 1))
    ids = np.arange(100, 100 + n, dtype=np.int64)
    return ImageSet(images.astype(np.float32), ids, tuple("grizY"), 0.263, 30.0)


def fit(
    images: ImageSet, folder: Path, settings: LearningSettings = SMALL, seed: int = 1
) -> tuple[Model, Any]:
    return training.train(images, settings, seed, folder, threads=1, device=CPU)


def weights(model: Model) -> list[torch.Tensor]:
    return list(model.network.state_dict().values())


def same(one: Model, other: Model) -> bool:
    return all(torch.equal(a, b) for a, b in zip(weights(one), weights(other), strict=True))


class Stop(Exception):
    """An interruption that nothing expects."""


def break_after(monkeypatch: pytest.MonkeyPatch, n_steps: int, act: Any) -> None:
    """Let ``act`` happen at the end of the n-th batch."""
    step = training._Run._step
    done = 0

    def counted(self: Any, batch: torch.Tensor, rate: float) -> None:
        nonlocal done
        step(self, batch, rate)
        done += 1
        if done == n_steps:
            act()

    monkeypatch.setattr(training._Run, "_step", counted)


def test_published_network() -> None:
    network = make_network(PAPER, n_bands=5, seed=1)
    shapes = [tuple(p.shape) for p in network.parameters()]
    assert shapes[::2] == [
        (128, 5, 5, 5),
        (256, 128, 3, 3),
        (512, 256, 3, 3),
        (256, 512),
        (128, 256),
        (128, 128),
    ]
    features, projections = network(torch.randn(3, 5, 24, 24))
    assert features.shape == (3, 512)
    assert projections.shape == (3, 128)


def test_maximum_before_elu_is_the_same_as_after() -> None:
    encoder = Encoder(5, 24, (4, 4), (5, 3))
    images = torch.randn(2, 5, 24, 24)
    slow = images
    for layer in encoder:
        if isinstance(layer, torch.nn.Conv2d):
            slow = torch.max_pool2d(torch.nn.functional.elu(layer(slow)), 2)
    assert torch.equal(encoder(images), slow.flatten(1))


def test_initial_weights_depend_on_the_seed_alone() -> None:
    torch.manual_seed(5)
    one = make_network(SMALL, 5, 1)
    torch.manual_seed(6)
    two, three = make_network(SMALL, 5, 1), make_network(SMALL, 5, 2)
    assert torch.equal(one.encoder[0].weight, two.encoder[0].weight)
    assert not torch.equal(one.encoder[0].weight, three.encoder[0].weight)


def test_kernels_that_leave_nothing_are_refused() -> None:
    with pytest.raises(ConfigError, match="too small for kernels"):
        Encoder(5, 24, (4, 4, 4, 4), (5, 5, 5, 5))


def test_lightly_loss_is_nt_xent() -> None:
    torch.manual_seed(0)
    one, other = torch.randn(2, 6, 4).double()
    both = torch.nn.functional.normalize(torch.cat([one, other]), dim=1)
    logits = both @ both.T / 0.1
    logits.fill_diagonal_(-torch.inf)
    target = (torch.arange(12) + 6) % 12
    expected = torch.nn.functional.cross_entropy(logits, target)
    assert float(compat.NTXentLoss(0.1)(one, other)) == pytest.approx(float(expected), rel=1e-12)
    assert torch.version.cuda is not None or compat.DECLARED is not None


def test_measures() -> None:
    one = torch.eye(4)
    assert measures.alignment(one, 3 * one) == pytest.approx(0.0)
    assert measures.alignment(one, -one) == pytest.approx(4.0)
    assert measures.uniformity(torch.ones(5, 4)) == pytest.approx(0.0, abs=1e-6)
    assert measures.uniformity(one) == pytest.approx(-4.0)
    assert measures.uniformity(one[:1]) == 0.0
    assert measures.rank_me(one) == pytest.approx(4.0, rel=1e-5)
    assert measures.rank_me(torch.ones(6, 4)) == pytest.approx(1.0, abs=1e-4)
    assert measures.rank_me(torch.zeros(6, 4)) == 0.0


def test_training_learns_and_is_the_same_twice(tmp_path: Path) -> None:
    images = make_images(24)
    settings = dataclasses.replace(SMALL, epochs_max=15, learning_rate=5e-3)
    model, history = fit(images, tmp_path / "a", settings)
    again, history_again = fit(images, tmp_path / "b", settings)
    assert same(model, again)
    assert history.equals(history_again)
    assert list(history) == list(training.HISTORY_COLUMNS)
    assert history["epoch"].tolist() == list(range(1, 16))
    assert history["loss"].iloc[-1] < history["loss"].iloc[0] - 0.05
    assert not list(tmp_path.rglob("*.pt"))
    other, _ = fit(images, tmp_path / "c", settings, seed=2)
    assert not same(model, other)
    assert model.record["n_usable"] == 24
    assert model.record["ended"] == "all epochs done"


@pytest.mark.parametrize("n_steps", [1, 3, 4, 6])
def test_killed_training_goes_on_to_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_steps: int
) -> None:
    images = make_images(20)  # 2 batches an epoch
    unbroken, history = fit(images, tmp_path / "a")

    def die() -> None:
        raise Stop

    with monkeypatch.context() as patch:
        break_after(patch, n_steps, die)
        with pytest.raises(Stop):
            fit(images, tmp_path / "b")
    assert (tmp_path / "b" / training.CHECKPOINT_NAME).exists() == (n_steps > 2)
    resumed, history_resumed = fit(images, tmp_path / "b")
    assert same(unbroken, resumed)
    assert history.equals(history_resumed)


@pytest.mark.parametrize("optimiser", ["adamw", "sgd"])
def test_sigterm_ends_after_the_batch_and_resumes_exactly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, optimiser: str
) -> None:
    images = make_images(20)
    settings = dataclasses.replace(SMALL, optimiser=optimiser)
    unbroken, history = fit(images, tmp_path / "a", settings)
    before = signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patch:
        break_after(patch, 3, lambda: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(
            training.TrainingInterruptedError, match="epoch 2, after batch 1 of 2.*goes on"
        ):
            fit(images, tmp_path / "b", settings)
    assert signal.getsignal(signal.SIGTERM) is before
    resumed, history_resumed = fit(images, tmp_path / "b", settings)
    assert same(unbroken, resumed)
    assert history.equals(history_resumed)


@pytest.mark.parametrize("what", ["settings", "images", "seed", "garbage", "foreign"])
def test_other_checkpoints_are_not_taken_up(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    what: str,
) -> None:
    images = make_images(20)
    unbroken, _ = fit(images, tmp_path / "a")
    path = tmp_path / "b" / training.CHECKPOINT_NAME
    path.parent.mkdir()
    if what == "garbage":
        path.write_bytes(b"not a checkpoint")
    elif what == "foreign":
        write_torch({"key": 3, "state": torch.zeros(3)}, path)
    else:

        def die() -> None:
            raise Stop

        with monkeypatch.context() as patch:
            break_after(patch, 3, die)
            with pytest.raises(Stop):
                fit(
                    make_images(20, seed=9) if what == "images" else images,
                    path.parent,
                    dataclasses.replace(SMALL, temperature=0.2) if what == "settings" else SMALL,
                    seed=7 if what == "seed" else 1,
                )
        assert path.exists()
    with caplog.at_level(logging.WARNING):
        model, _ = fit(images, path.parent)
    assert "training starts anew" in caplog.text
    assert same(unbroken, model)


def test_early_stop(tmp_path: Path) -> None:
    settings = dataclasses.replace(SMALL, min_delta=10.0, patience=3, epochs_max=50)
    model, history = fit(make_images(), tmp_path, settings)
    assert len(history) == 4  # the first always gains on nothing
    assert model.record["ended"] == "no gain of 10 in 3 epochs"


@pytest.mark.parametrize("n", [0, 1])
def test_too_few_to_contrast(tmp_path: Path, caplog: pytest.LogCaptureFixture, n: int) -> None:
    images = make_images(n)
    with caplog.at_level(logging.WARNING):
        model, history = fit(images, tmp_path)
    assert "at least 2 are needed" in caplog.text
    assert len(history) == 0
    assert list(history) == list(training.HISTORY_COLUMNS)
    assert "initial weights" in model.record["ended"]
    assert torch.equal(weights(model)[0], make_network(SMALL, 5, 1).encoder[0].weight)
    assert compute_features(model, images, device=CPU).shape == (n, 8)


@pytest.mark.parametrize("n", [2, 5])
def test_fewer_than_a_batch(tmp_path: Path, n: int) -> None:
    model, history = fit(make_images(n), tmp_path)
    assert model.record["batch_size"] == n
    assert len(history) == 4


def test_images_all_alike_and_without_content(tmp_path: Path) -> None:
    images = make_images(12)
    images.images[:10] = images.images[0]
    images.images[10] = np.nan
    images.images[11] = 4.0
    model, history = fit(images, tmp_path)
    assert np.isfinite(history.to_numpy()).all()
    assert model.record["n_images"] == 12
    assert model.record["n_usable"] == 10
    features = compute_features(model, images, device=CPU)
    assert np.ptp(features[:10], axis=0).max() < 1e-5
    assert (features[10:] == 0).all()
    np.testing.assert_allclose(np.linalg.norm(features[:10], axis=1), 1.0, rtol=1e-5)


def test_divergence_is_an_error(tmp_path: Path) -> None:
    settings = dataclasses.replace(
        SMALL,
        optimiser="sgd",
        learning_rate=10.0,
        warmup_epochs=0,
        temperature=0.001,
        momentum=0.99,
        epochs_max=200,
    )
    images = make_images()
    images.images[:] *= 1e18
    settings = dataclasses.replace(settings, normalisation="asinh_noise", scale="set")
    network_step = torch.optim.SGD.step

    def explode(self: torch.optim.SGD, closure: None = None) -> None:
        network_step(self, closure)
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.data.fill_(math.inf)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.SGD, "step", explode)
        with pytest.raises(DataError, match="the loss is nan in epoch 1.*lower"):
            fit(images, tmp_path, settings)


def test_out_of_memory_halves_the_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    step = training._Run._step

    def small_device(self: Any, batch: torch.Tensor, rate: float) -> None:
        if len(batch) > 4:
            raise torch.OutOfMemoryError("too much")
        step(self, batch, rate)

    monkeypatch.setattr(training._Run, "_step", small_device)
    with caplog.at_level(logging.WARNING):
        model, _ = fit(make_images(), tmp_path)
    assert model.record["batch_size"] == 4
    assert "out of memory with batches of 8: training anew with 4" in caplog.text


def lacking_memory(monkeypatch: pytest.MonkeyPatch, largest: int) -> list[int]:
    """Let batches of more than ``largest`` fail; return the sizes that were tried."""
    step = training._Run._step
    tried: list[int] = []

    def small_device(self: Any, batch: torch.Tensor, rate: float) -> None:
        tried.append(len(batch))
        if len(batch) > largest:
            raise torch.OutOfMemoryError("too much")
        step(self, batch, rate)

    monkeypatch.setattr(training._Run, "_step", small_device)
    return tried


def test_a_halved_training_is_that_of_the_smaller_batch_and_resumes_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    images = make_images()
    expected, history = fit(images, tmp_path / "a", dataclasses.replace(SMALL, batch_size=2))
    tried = lacking_memory(monkeypatch, 2)
    halved, history_halved = fit(images, tmp_path / "b")
    assert tried[:3] == [8, 4, 2]
    assert same(expected, halved)
    assert history.equals(history_halved)
    with monkeypatch.context() as patch:
        break_after(patch, 15, lambda: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(training.TrainingInterruptedError):
            fit(images, tmp_path / "c")
    tried.clear()
    caplog.clear()
    with caplog.at_level(logging.INFO):
        resumed, _ = fit(images, tmp_path / "c")
    assert set(tried) == {2}
    assert "going on from" in caplog.text
    assert same(expected, resumed)


def test_what_a_failed_batch_held_is_freed_before_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[weakref.ref[torch.Tensor]] = []
    alive: list[bool] = []
    step = training._Run._step

    def small_device(self: Any, batch: torch.Tensor, rate: float) -> None:
        if len(batch) > 4:
            held.append(weakref.ref(batch))
            raise torch.OutOfMemoryError("too much")
        alive.append(held[0]() is not None)
        step(self, batch, rate)

    monkeypatch.setattr(training._Run, "_step", small_device)
    fit(make_images(), tmp_path)
    assert alive
    assert not any(alive)


def test_no_memory_for_two_images_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lacking_memory(monkeypatch, 1)
    with pytest.raises(training.TrainingMemoryError, match="CPU.*out of memory with batches of 2"):
        fit(make_images(), tmp_path)


def test_precision_follows_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    for has, expected in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda has=has: has)
        assert devices.pick_precision("auto", CPU) is expected
    assert devices.pick_precision("float32", CPU) is torch.float32
    assert "bfloat16" in devices.describe(CPU, torch.bfloat16)


def test_bfloat16_is_the_same_twice(tmp_path: Path) -> None:
    settings = dataclasses.replace(SMALL, precision="bfloat16", epochs_max=2)
    one, _ = fit(make_images(), tmp_path / "a", settings)
    two, _ = fit(make_images(), tmp_path / "b", settings)
    assert same(one, two)
    assert one.record["precision"] == "bfloat16"


def test_small_images_are_refused(tmp_path: Path) -> None:
    images = make_images(4)
    small = dataclasses.replace(images, images=images.images[:, :, :20, :20])
    with pytest.raises(InputError, match="smaller than the crop"):
        fit(small, tmp_path)


def test_learning_rate_warms_up_and_falls() -> None:
    settings = LearningSettings(warmup_epochs=4, epochs_max=20, learning_rate=1.0)
    rates = [training._learning_rate(settings, epoch) for epoch in range(21)]
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert rates[20] == pytest.approx(0.0, abs=1e-12)
    assert all(a > b for a, b in zip(rates[4:], rates[5:], strict=False))
    assert training._learning_rate(PAPER, 500.0) == 3e-4


def test_model_file(tmp_path: Path) -> None:
    images = make_images()
    model, _ = fit(images, tmp_path)
    save_model(model, tmp_path / "one.pt")
    save_model(model, tmp_path / "two.pt")
    assert (tmp_path / "one.pt").read_bytes() == (tmp_path / "two.pt").read_bytes()
    loaded = load_model(tmp_path / "one.pt")
    assert same(model, loaded)
    assert loaded.record == model.record
    assert loaded.settings == SMALL
    first = compute_features(model, images, device=CPU)
    second = compute_features(loaded, images, device=CPU)
    np.testing.assert_allclose(first, second, atol=1e-5)
    assert first.dtype == np.float32


def test_damaged_or_foreign_models_are_refused(tmp_path: Path) -> None:
    model, _ = fit(make_images(4), tmp_path)
    path = tmp_path / "model.pt"
    save_model(model, path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="cannot read the file"):
        load_model(path)
    write_torch({"format": 99}, path)
    with pytest.raises(InputError, match="format 99 where 1 is read"):
        load_model(path)
    other = dataclasses.replace(model, record={**model.record, "bands": ["g", "r"]})
    save_model(other, path)
    with pytest.raises(InputError, match="do not fit together"):
        load_model(path)
    with pytest.raises(InputError, match="cannot read the file"):
        load_model(tmp_path / "absent.pt")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bands": tuple("Yzirg")}, "bands Y z i r g, not g r i z Y"),
        ({"pixel_scale_arcsec": 0.2}, "pixel_scale_arcsec 0.2, not 0.263"),
        ({"zero_point_ab": 22.5}, "zero_point_ab 22.5, not 30 mag"),
    ],
)
def test_images_of_another_kind_are_refused(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    images = make_images(2)
    model, _ = fit(images, tmp_path)
    check_fits(model, images, "x")
    with pytest.raises(InputError, match=message):
        compute_features(model, dataclasses.replace(images, **change), where="x")


def test_features_do_not_depend_on_the_rest_of_the_set(tmp_path: Path) -> None:
    images = make_images(300)
    model, _ = fit(make_images(8), tmp_path)
    settings = dataclasses.replace(SMALL, feature_views=8)
    model = dataclasses.replace(model, settings=settings)
    whole = compute_features(model, images, device=CPU)
    part = dataclasses.replace(images, images=images.images[250:], ids=images.ids[250:])
    np.testing.assert_allclose(compute_features(model, part, device=CPU), whole[250:], atol=1e-5)
    turned = dataclasses.replace(images, images=np.rot90(images.images, axes=(2, 3)).copy())
    np.testing.assert_allclose(compute_features(model, turned, device=CPU), whole, atol=1e-4)


def test_feature_files(tmp_path: Path) -> None:
    path = tmp_path / "features.npz"
    features = np.eye(3, dtype=np.float32)
    save_features(path, np.array([5, 6, 7]), features)
    ids, read = load_features(path)
    assert ids.tolist() == [5, 6, 7]
    np.testing.assert_array_equal(read, features)
    save_features(path, np.array([5, 5, 7]), features)
    with pytest.raises(DataError, match="2 different ids"):
        load_features(path)
    path.write_bytes(b"nothing")
    with pytest.raises(InputError, match="cannot read the features"):
        load_features(path)


def test_settings_from_a_mapping() -> None:
    settings = LearningSettings.from_mapping({"seeds": [1], "channels": [8, 8, 8]})
    assert settings.channels == (8, 8, 8)
    assert LearningSettings.from_mapping(settings.to_dict()) == settings


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"temprature": 0.1}, "unknown key learning.temprature.*did you mean temperature"),
        ({"channels": [8, 8]}, "2 channels and 3 kernels.*learning.kernels_px"),
    ],
)
def test_wrong_settings(section: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LearningSettings.from_mapping(section)


def test_precision_and_state_of_torch() -> None:
    assert devices.pick_precision("bfloat16", CPU) is torch.bfloat16
    assert devices.pick_precision("float32", CPU) is torch.float32
    assert devices.pick_precision("auto", CPU) in (torch.float32, torch.bfloat16)
    threads = torch.get_num_threads()
    with devices.exact(1):
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.get_num_threads() == 1
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.get_num_threads() == threads


def test_bfloat16_trains(tmp_path: Path) -> None:
    settings = dataclasses.replace(SMALL, precision="bfloat16", epochs_max=2)
    model, history = fit(make_images(), tmp_path, settings)
    assert model.record["precision"] == "bfloat16"
    assert weights(model)[0].dtype == torch.float32
    assert np.isfinite(history["loss"]).all()
