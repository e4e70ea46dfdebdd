"""One seed in several processes: the loss and the gradients of one, and a whole training."""

from __future__ import annotations

import dataclasses
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from test_learning_training import SMALL, make_images, same

from archipelago.base.errors import ConfigError, InputError
from archipelago.base.images import save_images
from archipelago.learning import launch, training
from archipelago.learning.model import load_model
from archipelago.learning.network import make_network
from archipelago.learning.objectives import make_objective
from archipelago.learning.team import Team

CPU = torch.device("cpu")

#: Run as: script, folder, rank. Writes the loss and the averaged gradients of its part.
MEMBER = """
import sys
import torch
from torch import distributed
from archipelago.learning.network import make_network
from archipelago.learning.objectives import make_objective
from archipelago.learning.settings import LearningSettings
from archipelago.learning.team import Team

folder, rank, method = sys.argv[1], int(sys.argv[2]), sys.argv[3]
torch.set_num_threads(1)
distributed.init_process_group(
    "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2
)
team = Team(rank, 2)
settings = LearningSettings(channels=(4, 8, 8), head=(8, 8), method=method)
network = make_network(settings, 5, 1)
one, other = torch.load(f"{folder}/views.pt")
part = team.part(len(one))
objective = make_objective(settings, network, torch.device("cpu"), n_images=8, batch_size=4)
outcome = objective(network, torch.cat([one[part], other[part]]))
outcome.loss.backward()
team.average_gradients(network.parameters())
loss = team.mean([float(outcome.loss.detach())], torch.device("cpu"))
asked = team.any(rank == 1, torch.device("cpu"))
state = team.gather(torch.tensor([rank, 7], dtype=torch.uint8), torch.device("cpu"))
gradients = [parameter.grad for parameter in network.parameters()]
torch.save([torch.tensor(loss), torch.tensor(asked), state, *gradients], f"{folder}/{rank}.pt")
distributed.destroy_process_group()
"""


def test_one_process_exchanges_nothing() -> None:
    team = Team()
    assert team.part(7) == slice(0, 7)
    assert team.mean([1.0, 2.0], CPU) == [1.0, 2.0]
    assert team.any(True, CPU) and not team.any(False, CPU)
    assert team.gather(torch.tensor([1, 2]), CPU).tolist() == [[1, 2]]


def test_parts_of_a_batch() -> None:
    assert [Team(rank, 3).part(9) for rank in range(3)] == [slice(0, 3), slice(3, 6), slice(6, 9)]
    assert Team(0, 3).whole(11) == 9
    assert Team(0, 3).whole(2) == 3


@pytest.mark.slow
@pytest.mark.parametrize("method", ["nt_xent", "vicreg"])
def test_two_processes_have_the_loss_and_gradients_of_one(tmp_path: Path, method: str) -> None:
    torch.manual_seed(0)
    one, other = torch.randn(2, 8, 5, 24, 24)
    torch.save([one, other], tmp_path / "views.pt")
    script = tmp_path / "member.py"
    script.write_text(MEMBER)
    members = [
        subprocess.Popen([sys.executable, str(script), str(tmp_path), str(rank), method])
        for rank in range(2)
    ]
    assert [member.wait(timeout=120) for member in members] == [0, 0]
    settings = dataclasses.replace(SMALL, method=method)
    network = make_network(settings, 5, 1)
    objective = make_objective(settings, network, CPU, n_images=8, batch_size=8)
    outcome = objective(network, torch.cat([one, other]))
    outcome.loss.backward()
    for rank in range(2):
        loss, asked, state, *gradients = torch.load(tmp_path / f"{rank}.pt")
        assert float(loss) == pytest.approx(float(outcome.loss.detach()), rel=1e-5)
        assert bool(asked)
        assert state.tolist() == [[0, 7], [1, 7]]
        for parameter, gradient in zip(network.parameters(), gradients, strict=True):
            assert parameter.grad is not None
            torch.testing.assert_close(gradient, parameter.grad, rtol=1e-4, atol=1e-6)


def train_files(folder: Path, settings: Any) -> tuple[Any, pd.DataFrame]:
    folder.mkdir(exist_ok=True)
    images = make_images(40)
    save_images(folder / "images.npz", images.images, images.ids, images.bands, 0.263, 30.0)
    launch.train_files(
        folder / "images.npz",
        settings,
        1,
        folder / "checkpoints",
        folder / "model.pt",
        folder / "history.csv",
        threads=settings.devices_per_seed,
        memory_mb=None,
    )
    return load_model(folder / "model.pt"), pd.read_csv(folder / "history.csv")


def test_one_device_trains_here(tmp_path: Path) -> None:
    model, history = train_files(tmp_path, SMALL)
    assert model.record["devices"] == 1
    assert len(history) == SMALL.epochs_max


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="would use the GPUs")
def test_a_training_in_two_processes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = dataclasses.replace(SMALL, devices_per_seed=2, epochs_max=3, learning_rate=5e-3)
    with caplog.at_level(logging.INFO):
        model, history = train_files(tmp_path / "a", settings)
    assert "2 processes" in caplog.text
    assert model.record["devices"] == 2
    assert model.record["batch_size"] == 8
    assert history["loss"].iloc[-1] < history["loss"].iloc[0]
    again, history_again = train_files(tmp_path / "b", settings)
    assert same(model, again)
    assert history.equals(history_again)


@pytest.mark.slow
def test_what_a_process_fails_of_is_told(tmp_path: Path) -> None:
    images = make_images(3)
    save_images(tmp_path / "images.npz", images.images, images.ids, images.bands, 0.263, 30.0)
    settings = dataclasses.replace(SMALL, devices_per_seed=2)
    with pytest.raises(launch.TeamError, match="3 usable images are too few for 2 devices"):
        launch.train_files(
            tmp_path / "images.npz",
            settings,
            1,
            tmp_path,
            tmp_path / "model.pt",
            tmp_path / "history.csv",
            threads=2,
            memory_mb=None,
        )


def test_a_team_out_of_memory_begins_anew_with_half(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tried = []

    def run_team(job: dict[str, Any], size: int) -> int:
        tried.append(job["batch_size"])
        return 0 if job["batch_size"] <= fits else launch.OUT_OF_MEMORY

    monkeypatch.setattr(launch, "run_team", run_team)
    names = (tmp_path / "images", SMALL, 1, tmp_path, tmp_path / "model", tmp_path / "history")
    settings = dataclasses.replace(SMALL, devices_per_seed=2, batch_size=32)
    fits = 8
    launch.train_files(names[0], settings, *names[2:], threads=2, memory_mb=None)
    assert tried == [32, 16, 8]
    assert "out of memory with batches of 16: training anew with 8" in caplog.text
    fits = 0
    with pytest.raises(training.TrainingMemoryError, match="batches of 4 on 2 devices"):
        launch.train_files(names[0], settings, *names[2:], threads=2, memory_mb=None)


def test_a_team_that_was_stopped_says_that_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "run_team", lambda job, size: launch.STOPPED)
    settings = dataclasses.replace(SMALL, devices_per_seed=2)
    with pytest.raises(training.TrainingInterruptedError, match="goes on from its checkpoint"):
        launch.train_files(
            "images", settings, 1, tmp_path, "model", "history", threads=2, memory_mb=None
        )


def test_teams_are_refused_what_they_cannot(tmp_path: Path) -> None:
    team = Team(0, 2)
    with pytest.raises(InputError, match="3 usable images are too few for 2 devices"):
        training.train(make_images(3), SMALL, 1, tmp_path, device=CPU, team=team)
    moco = dataclasses.replace(SMALL, method="moco")
    with pytest.raises(ConfigError, match="queue of moco"):
        training.train(make_images(9), moco, 1, tmp_path, device=CPU, team=team)


def test_gradients_are_left_alone_by_one() -> None:
    parameter = torch.nn.Parameter(torch.ones(3))
    parameter.grad = torch.full((3,), 2.0)
    Team().average_gradients([parameter])
    assert np.array_equal(parameter.grad.numpy(), [2.0, 2.0, 2.0])
