"""Objectives: each against its formula written out, the teacher, resumption, refusals."""

from __future__ import annotations

import dataclasses
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.configuration import PAPER, shipped_config

from archipelago.base.errors import ConfigError, InputError
from archipelago.base.images import ImageSet
from archipelago.learning import training
from archipelago.learning.model import Model
from archipelago.learning.network import Network, make_network
from archipelago.learning.objectives import (
    METHODS,
    MomentumTeacher,
    Objective,
    Outcome,
    make_objective,
    queue_length,
)
from archipelago.learning.settings import LearningSettings

CPU = torch.device("cpu")
SMALL = LearningSettings(
    crop_px=24,
    channels=(4, 8, 8),
    head=(8, 6),
    batch_size=8,
    epochs_max=3,
    warmup_epochs=1,
    patience=100,
    feature_views=1,
    precision="float32",
    queue_size=20,
)
BANDS = 2


def build(method: str, n_images: int = 1000, **changes: Any) -> tuple[Network, Objective]:
    settings = dataclasses.replace(SMALL, method=method, **changes)
    network = make_network(settings, BANDS, seed=1)
    objective = make_objective(settings, network, CPU, n_images=n_images, batch_size=8)
    return network, objective


def views(n: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2 * n, BANDS, 24, 24, generator=generator)


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def projections(network: Network, batch: torch.Tensor) -> np.ndarray:
    with torch.no_grad():
        return network(batch)[1].double().numpy()


def own_against_all(queries: np.ndarray, keys: np.ndarray, temperature: float) -> float:
    """Mean of -log of the softmax share of row i's key i."""
    weights = np.exp(unit(queries) @ keys.T / temperature)
    own = weights[np.arange(len(queries)), np.arange(len(queries))]
    return float(-np.log(own / weights.sum(axis=1)).mean())


def nt_xent(both: np.ndarray, temperature: float) -> float:
    """Chen et al. (2020, arXiv:2002.05709), eq. 1 and algorithm 1."""
    n = len(both) // 2
    weights = np.exp(unit(both) @ unit(both).T / temperature)
    np.fill_diagonal(weights, 0.0)
    partner = (np.arange(2 * n) + n) % (2 * n)
    return float(-np.log(weights[np.arange(2 * n), partner] / weights.sum(axis=1)).mean())


def vicreg(both: np.ndarray) -> float:
    """Bardes et al. (2022, arXiv:2105.04906), algorithm 1: variances of both halves averaged."""
    one, other = np.split(both, 2)
    d = both.shape[1]
    variance, covariance = 0.0, 0.0
    for z in (one, other):
        variance += np.maximum(0.0, 1.0 - np.sqrt(z.var(axis=0, ddof=1) + 1e-4)).mean() / 2
        matrix = np.cov(z.T)
        covariance += (np.square(matrix).sum() - np.square(np.diag(matrix)).sum()) / d
    return float(25 * np.square(one - other).mean() + 25 * variance + covariance)


class Given(torch.nn.Module):
    """A network whose features and projections are the pixels themselves."""

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return images.flatten(1), images.flatten(1)


@pytest.mark.parametrize("n", [2, 7])
@pytest.mark.parametrize(
    ("method", "formula"), [("nt_xent", lambda z: nt_xent(z, 0.1)), ("vicreg", vicreg)]
)
def test_losses_of_two_views(method: str, formula: Callable[[np.ndarray], float], n: int) -> None:
    _, objective = build(method)
    generator = torch.Generator().manual_seed(0)
    # Some coordinates vary little, and they go together: no term of VICReg is 0.
    mixing = torch.randn(6, 6, generator=generator) * torch.linspace(0.1, 1.5, 6)
    pixels = (torch.randn(2 * n, 6, generator=generator) @ mixing).reshape(2 * n, 1, 2, 3)
    outcome = objective(Given(), pixels)  # type: ignore[arg-type]
    assert torch.equal(torch.cat([outcome.one, outcome.other]), pixels.flatten(1))
    expected = formula(pixels.flatten(1).double().numpy())
    assert float(outcome.loss) == pytest.approx(expected, rel=1e-5)


def test_momentum_teacher_tells_from_the_other_keys_and_the_queue() -> None:
    network, objective = build("moco", teacher_momentum=0.5)
    expected_queue = np.zeros((0, 6))
    for step in range(3):
        batch = views(5, seed=step)
        assert isinstance(objective, MomentumTeacher)
        keys = unit(projections(objective.teacher, batch))
        own = projections(network, batch)
        expected = 0.5 * (
            own_against_all(own[:5], np.concatenate([keys[5:], expected_queue]), 0.1)
            + own_against_all(own[5:], np.concatenate([keys[:5], expected_queue]), 0.1)
        )
        outcome = objective(network, batch)
        assert float(outcome.loss.detach()) == pytest.approx(expected, rel=1e-4)
        expected_queue = np.concatenate([expected_queue, keys])[-20:]
        np.testing.assert_allclose(objective.queue.numpy(), expected_queue, atol=1e-6)
        step_along(network, outcome)
        objective.after_step(network)
    assert len(objective.queue) == 20


def test_no_queue_holds_nothing() -> None:
    network, objective = build("moco", queue_size=0)
    assert isinstance(objective, MomentumTeacher)
    for seed in range(2):
        batch = views(3, seed)
        keys, own = unit(projections(objective.teacher, batch)), projections(network, batch)
        parts = [own_against_all(own[:3], keys[3:], 0.1), own_against_all(own[3:], keys[:3], 0.1)]
        assert float(objective(network, batch).loss.detach()) == pytest.approx(
            np.mean(parts), rel=1e-4
        )
        assert objective.queue.shape == (0, 6)


def step_along(network: Network, outcome: Outcome) -> None:
    """One plain step of gradient descent."""
    network.zero_grad()
    outcome.loss.backward()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter -= 0.1 * parameter.grad


def test_teacher_moves_as_an_average() -> None:
    network, objective = build("moco", teacher_momentum=0.9)
    assert isinstance(objective, MomentumTeacher)
    expected = [parameter.detach().clone() for parameter in network.parameters()]
    for step in range(3):
        step_along(network, objective(network, views(4, seed=step)))
        before = [parameter.detach().clone() for parameter in network.parameters()]
        objective.after_step(network)
        pairs = zip(expected, network.parameters(), strict=True)
        expected = [0.9 * old + 0.1 * new.detach() for old, new in pairs]
        for own, taught, wanted in zip(
            network.parameters(), objective.teacher.parameters(), expected, strict=True
        ):
            torch.testing.assert_close(taught, wanted, rtol=1e-5, atol=1e-7)
            assert not taught.requires_grad
            assert taught.grad is None
            assert not torch.equal(own, taught)
        for own, old in zip(network.parameters(), before, strict=True):
            assert torch.equal(own, old)


@pytest.mark.parametrize("n", [2, 8])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("method", METHODS)
def test_outcome_has_finite_gradients(method: str, precision: torch.dtype, n: int) -> None:
    network, objective = build(method)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision is torch.bfloat16):
        objective(network, views(n, seed=1))  # puts something into a queue
        outcome = objective(network, views(n))
    assert outcome.loss.shape == ()
    assert outcome.features.shape == (2 * n, 8)
    assert outcome.features.dtype == precision
    assert outcome.one.shape == outcome.other.shape == (n, 6)
    assert outcome.loss.dtype == outcome.one.dtype == outcome.other.dtype == torch.float32
    outcome.loss.backward()
    gradients = [parameter.grad for parameter in network.parameters()]
    assert all(g is not None and torch.isfinite(g).all() for g in gradients)
    assert max(float(g.abs().max()) for g in gradients if g is not None) > 0


@pytest.mark.parametrize("method", ["nt_xent", "vicreg"])
def test_losses_are_taken_in_full_precision(method: str) -> None:
    network, objective = build(method)
    with torch.autocast("cpu", torch.bfloat16):
        outcome = objective(network, views(8))
    both = torch.cat([outcome.one, outcome.other]).reshape(16, 1, 2, 3)
    assert torch.equal(objective(Given(), both).loss, outcome.loss)  # type: ignore[arg-type]


@pytest.mark.parametrize("method", METHODS)
def test_images_all_alike_have_a_finite_loss(method: str) -> None:
    network, objective = build(method)
    batch = views(1)[:1].expand(8, -1, -1, -1)
    objective(network, batch)
    outcome = objective(network, batch)
    outcome.loss.backward()
    assert torch.isfinite(outcome.loss)
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)


@pytest.mark.parametrize("method", METHODS)
def test_state_taken_up_gives_the_same_loss(method: str) -> None:
    network, objective = build(method)
    for step in range(2):
        step_along(network, objective(network, views(4, seed=step)))
        objective.after_step(network)
    _, fresh = build(method)
    fresh.load_state_dict(objective.state_dict())
    batch = views(4, seed=9)
    loss = objective(network, batch).loss
    assert torch.equal(fresh(network, batch).loss, loss)
    if method == "moco":
        _, untaught = build(method)
        assert not torch.equal(untaught(network, batch).loss, loss)


def test_state_of_another_objective_is_refused() -> None:
    _, moco = build("moco")
    for method in ("nt_xent", "vicreg"):
        _, other = build(method)
        with pytest.raises(InputError, match=r"state has \['queue', 'teacher'\], not \[\].*delete"):
            other.load_state_dict(moco.state_dict())
    with pytest.raises(InputError, match=r"state has \[\], not \['queue', 'teacher'\]"):
        moco.load_state_dict({})


def test_queue_is_a_quarter_of_an_epoch_at_most() -> None:
    assert queue_length(2048, n_images=100_000, batch_size=256) == 2048
    assert queue_length(2048, n_images=1256, batch_size=256) == 500
    assert queue_length(2048, n_images=200, batch_size=200) == 0
    assert queue_length(2048, n_images=0, batch_size=0) == 0


def test_wrong_method_is_refused() -> None:
    with pytest.raises(
        ConfigError,
        match=r"no objective 'vicregl' \(did you mean vicreg\?\) \[learning\.method\].*moco",
    ):
        build("vicregl")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "byol"}, r"learning\.method = 'byol': .*'nt_xent', 'vicreg' or 'moco'"),
        ({"teacher_momentum": 1.5}, r"learning\.teacher_momentum = 1\.5: .*less than or equal"),
        ({"queue_size": -1}, r"learning\.queue_size = -1: .*greater than or equal to 0"),
    ],
)
def test_wrong_configuration_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        shipped_config(learning=changes)


def test_the_paper_s_method() -> None:
    assert (PAPER.method, PAPER.temperature) == ("nt_xent", 0.1)


def make_images(n: int) -> ImageSet:
    rng = np.random.default_rng(0)
    images = rng.normal(size=(n, 5, 28, 28)) * 3.0
    images[:, :, 11:17, 11:17] += rng.uniform(20, 200, size=(n, 5, 1, 1))
    return ImageSet(images.astype(np.float32), np.arange(n), tuple("grizY"), 0.263, 30.0)


def fit(images: ImageSet, folder: Path, method: str) -> tuple[Model, Any]:
    settings = dataclasses.replace(SMALL, method=method)
    return training.train(images, settings, 1, folder, threads=1, device=CPU)


@pytest.mark.parametrize("method", ["vicreg", "moco"])
def test_interrupted_training_goes_on_to_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    images = make_images(32)  # 4 batches an epoch, a queue of 12
    unbroken, history = fit(images, tmp_path / "a", method)
    after_step = MomentumTeacher.after_step
    done = 0

    def stop(self: Any, network: Network) -> None:
        nonlocal done
        if method == "moco":
            after_step(self, network)
        done += 1
        if done == 6:
            os.kill(os.getpid(), signal.SIGTERM)

    target = "MomentumTeacher" if method == "moco" else "ViewLoss"
    with monkeypatch.context() as patch:
        patch.setattr(f"archipelago.learning.objectives.{target}.after_step", stop)
        with pytest.raises(training.TrainingInterruptedError, match="epoch 2, after batch 2 of 4"):
            fit(images, tmp_path / "b", method)
    resumed, history_resumed = fit(images, tmp_path / "b", method)
    for one, other in zip(
        unbroken.network.state_dict().values(), resumed.network.state_dict().values(), strict=True
    ):
        assert torch.equal(one, other)
    assert history.equals(history_resumed)
    assert unbroken.record["consistency"] == resumed.record["consistency"]
    assert unbroken.record["settings"]["method"] == method


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n", [1, 2, 3])
def test_training_of_a_few_images(tmp_path: Path, method: str, n: int) -> None:
    model, history = fit(make_images(n), tmp_path, method)
    assert len(history) == (3 if n > 1 else 0)
    assert np.isfinite(history.to_numpy()).all()
    if n == 1:
        assert model.record["consistency"] is None
    else:
        assert model.record["consistency"] * n in range(n + 1)
