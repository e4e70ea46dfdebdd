"""Contrastive training of the network (SimCLR), resumable at any batch."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pandas as pd
import torch

from archipelago.base.errors import ArchipelagoError, DataError, InputError
from archipelago.base.images import ImageSet
from archipelago.learning.augment import Augmentation, check_size, make_augmentation
from archipelago.learning.compat import NTXentLoss
from archipelago.learning.devices import describe, exact, pick_device, pick_precision
from archipelago.learning.measures import alignment, rank_me, uniformity
from archipelago.learning.model import (
    Model,
    fingerprint,
    library_versions,
    read_torch,
    write_torch,
)
from archipelago.learning.network import arrange, make_network
from archipelago.learning.scaling import Scaling, clean_images, measure_scaling
from archipelago.learning.settings import LearningSettings

_LOG = logging.getLogger(__name__)

#: Columns of the history: one row per epoch; projections are the head's output.
HISTORY_COLUMNS = (
    "epoch",
    "loss",
    "alignment",
    "uniformity",
    "rank_me",
    "learning_rate",
)
#: Features kept of an epoch for `rank_me`.
_RANK_SAMPLE = 2048
#: Part of a GPU's free memory that the images may take.
_RESIDENT_PART = 0.5
CHECKPOINT_NAME = "checkpoint.pt"


class TrainingInterruptedError(ArchipelagoError):
    """The training was asked to stop; what it had reached is in its checkpoint."""


def train(
    images: ImageSet,
    settings: LearningSettings,
    seed: int,
    checkpoints: str | Path,
    *,
    threads: int = 1,
    device: torch.device | None = None,
) -> tuple[Model, pd.DataFrame]:
    """Train one network, or go on with a training that was interrupted.

    The weights depend on images, settings and seed, on the kind of device and the
    number of threads (the last digits), and not on interruptions.

    Parameters
    ----------
    images : the training set, counts. Images without content are left out, with a
        line in the log. With fewer than two usable images nothing can be contrasted:
        the network keeps its initial weights, the log and the record say so.
    settings : see `LearningSettings`.
    seed : fixes initial weights, order and augmentations.
    checkpoints : folder for this training's checkpoint; made if absent. The
        checkpoint is written after each epoch and removed at the end.
    threads : CPU threads.
    device : None takes a GPU if there is one.

    Returns
    -------
    model : with its record.
    history : columns `HISTORY_COLUMNS`; loss and measures are means over the batches
        of an epoch.

    Raises
    ------
    InputError
        If the images are smaller than the crop or have no band.
    TrainingInterruptedError
        On SIGTERM, after the batch at hand; the checkpoint is kept.
    DataError
        If the loss is no longer a number.
    """
    height, width = images.images.shape[2:]
    check_size(height, width, settings.crop_px)
    if not images.bands:
        raise InputError("the images have no band", next_step="check images.bands")
    device = device or pick_device()
    pixels, usable = clean_images(images.images)
    pixels = pixels[usable] if not usable.all() else pixels
    scaling = measure_scaling(pixels, settings, images.pixel_scale_arcsec)
    training_set = fingerprint(images)
    batch_size = settings.batch_size
    with exact(threads):
        while True:
            run = _Run(
                settings=settings,
                seed=seed,
                scaling=scaling,
                device=device,
                bands=len(images.bands),
                augmentation=make_augmentation(settings, images.pixel_scale_arcsec),
                batch_size=min(batch_size, len(pixels)),
                path=Path(checkpoints) / CHECKPOINT_NAME,
                training_set=training_set,
            )
            try:
                ended = run.go(pixels)
                break
            except torch.OutOfMemoryError:
                if run.batch_size <= 2:
                    raise
                batch_size = run.batch_size // 2
                _LOG.warning(
                    "out of memory with batches of %d: training anew with %d",
                    run.batch_size,
                    batch_size,
                )
                del run
                torch.cuda.empty_cache()
    network = run.network.cpu().eval()
    arrange(network, torch.contiguous_format)
    record = {
        "bands": list(images.bands),
        "pixel_scale_arcsec": images.pixel_scale_arcsec,
        "zero_point_ab": images.zero_point_ab,
        "size_px": [int(height), int(width)],
        "settings": settings.to_dict(),
        "scaling": scaling.to_dict(),
        "seed": int(seed),
        "versions": library_versions(),
        "training_set": training_set,
        "n_images": len(images),
        "n_usable": len(pixels),
        "batch_size": run.batch_size,
        "epochs": run.progress.epoch,
        "device": device.type,
        "precision": str(run.precision).removeprefix("torch."),
        "ended": ended,
    }
    run.path.unlink(missing_ok=True)
    return Model(network, settings, scaling, record), run.history()


@dataclasses.dataclass
class _Progress:
    """How far a training is: all of it goes into the checkpoint."""

    epoch: int = 0  # epochs that are complete
    batch: int = 0  # batches done of the epoch at hand
    best: float = math.inf
    epochs_without_gain: int = 0
    rows: list[list[float]] = dataclasses.field(default_factory=list)
    sums: list[float] = dataclasses.field(default_factory=lambda: [0.0, 0.0, 0.0])
    generator: torch.Tensor | None = None  # state of the augmentations' generator
    sample: list[torch.Tensor] = dataclasses.field(default_factory=list)


class _Run:
    """One training with a fixed size of batch."""

    def __init__(
        self,
        *,
        settings: LearningSettings,
        seed: int,
        scaling: Scaling,
        device: torch.device,
        bands: int,
        augmentation: Augmentation,
        batch_size: int,
        path: Path,
        training_set: str,
    ) -> None:
        self.settings = settings
        self.seed = seed
        self.scaling = scaling
        self.device = device
        self.augmentation = augmentation
        self.batch_size = batch_size
        self.path = path
        self.precision = pick_precision(settings.precision, device)
        self.loss = NTXentLoss(temperature=settings.temperature)
        self.generator = torch.Generator(device)
        self.network = make_network(settings, bands, seed).to(device)
        arrange(self.network, torch.channels_last)
        self.optimiser = _make_optimiser(settings, self.network)
        self.progress = _Progress()
        self.key = _checkpoint_key(
            settings, seed, scaling, batch_size, self.precision, training_set
        )

    def go(self, pixels: np.ndarray) -> str:
        """Train to the end and return why it ended."""
        n = len(pixels)
        if n < 2:
            _LOG.warning(
                "%d usable images: at least 2 are needed to contrast; the network keeps its "
                "initial weights",
                n,
            )
            return "fewer than 2 usable images: initial weights"
        if n < self.settings.batch_size:
            _LOG.info(
                "%d images make one batch, less than the %d asked for", n, self.settings.batch_size
            )
        _LOG.info(
            "training on %d images, batches of %d, %s",
            n,
            self.batch_size,
            describe(self.device, self.precision),
        )
        self._resume()
        prepared = self.scaling.prepare(torch.from_numpy(pixels))
        if self.device.type == "cuda" and _fits(prepared, self.device):
            prepared = prepared.to(self.device)
        self.network.train()
        with _stop_on_sigterm() as stop:
            while True:
                reason = self._reason_to_end()
                if reason:
                    _LOG.info("training ended after %d epochs: %s", self.progress.epoch, reason)
                    return reason
                self._epoch(prepared, stop)
                self._save()

    def _reason_to_end(self) -> str:
        if self.progress.batch:
            return ""  # in the middle of an epoch
        if self.progress.epoch >= self.settings.epochs_max:
            return "all epochs done"
        if self.progress.epochs_without_gain >= self.settings.patience:
            return f"no gain of {self.settings.min_delta:g} in {self.settings.patience} epochs"
        return ""

    def _epoch(self, prepared: torch.Tensor, stop: threading.Event) -> None:
        progress = self.progress
        n_batches = len(prepared) // self.batch_size
        order_generator = torch.Generator().manual_seed(_mix(self.seed, progress.epoch, "order"))
        order = torch.randperm(len(prepared), generator=order_generator)
        if progress.generator is None:
            self.generator.manual_seed(_mix(self.seed, progress.epoch, "views"))
        else:
            self.generator.set_state(progress.generator)
            progress.generator = None
        start_s = time.perf_counter()
        first = progress.batch
        for batch in range(first, n_batches):
            rate = _learning_rate(self.settings, progress.epoch + batch / n_batches)
            chosen = order[batch * self.batch_size : (batch + 1) * self.batch_size]
            self._step(prepared[chosen.to(prepared.device)].to(self.device), rate)
            progress.batch = batch + 1
            if stop.is_set():
                progress.generator = self.generator.get_state()
                self._save()
                raise TrainingInterruptedError(
                    f"training was asked to stop in epoch {progress.epoch + 1}, after batch "
                    f"{batch + 1} of {n_batches}",
                    where=str(self.path),
                    next_step="run again: it goes on from its checkpoint",
                )
        seconds = time.perf_counter() - start_s
        self._close_epoch(n_batches)
        loss, align, uniform, rank = progress.rows[-1][1:5]
        _LOG.info(
            "epoch %d: loss %.4f, alignment %.3f, uniformity %.3f, rank %.1f, %.0f images/s",
            progress.epoch,
            loss,
            align,
            uniform,
            rank,
            (n_batches - first) * self.batch_size / max(seconds, 1e-9),
        )

    def _step(self, batch: torch.Tensor, rate: float) -> None:
        with torch.no_grad():
            views = torch.cat(
                [self.scaling.finish(self.augmentation(batch, self.generator)) for _ in range(2)]
            ).contiguous(memory_format=torch.channels_last)
        half = self.precision is not torch.float32
        with torch.autocast(self.device.type, torch.bfloat16, enabled=half):
            features, projections = self.network(views)
        one, other = projections.float().chunk(2)
        loss = self.loss(one, other)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise DataError(
                f"the loss is {value} in epoch {self.progress.epoch + 1}",
                next_step="lower learning.learning_rate and run again",
            )
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        sums = self.progress.sums
        sums[0] += value
        sums[1] += alignment(one.detach(), other.detach())
        sums[2] += uniformity(one.detach())
        kept = sum(map(len, self.progress.sample))
        if kept < _RANK_SAMPLE:
            half_batch = features.detach()[: len(batch)][: _RANK_SAMPLE - kept]
            self.progress.sample.append(half_batch.float().cpu())

    def _close_epoch(self, n_batches: int) -> None:
        progress = self.progress
        loss, align, uniform = (value / n_batches for value in progress.sums)
        rate = _learning_rate(self.settings, progress.epoch + (n_batches - 1) / n_batches)
        progress.epoch += 1
        progress.rows.append(
            [progress.epoch, loss, align, uniform, rank_me(torch.cat(progress.sample)), rate]
        )
        if loss < progress.best - self.settings.min_delta:
            progress.best = loss
            progress.epochs_without_gain = 0
        else:
            progress.epochs_without_gain += 1
        progress.batch = 0
        progress.sums = [0.0, 0.0, 0.0]
        progress.sample = []

    def _save(self) -> None:
        write_torch(
            {
                "key": self.key,
                "network": self.network.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "progress": vars(self.progress),
            },
            self.path,
        )

    def _resume(self) -> None:
        """Take up a checkpoint of this very training; say why another is not used."""
        if not self.path.exists():
            return
        try:
            content = read_torch(self.path)
            if content.get("key") != self.key:
                _LOG.warning(
                    "the checkpoint %s was made with other settings, images or versions: "
                    "training starts anew",
                    self.path,
                )
                return
            progress = _Progress(**content["progress"])
            self.network.load_state_dict(content["network"])
            self.optimiser.load_state_dict(content["optimiser"])
        except (InputError, KeyError, TypeError, ValueError, RuntimeError) as error:
            _LOG.warning("%s: the checkpoint is not used, training starts anew", error)
            fresh = make_network(self.settings, self._n_bands(), self.seed)
            self.network.load_state_dict(fresh.state_dict())
            self.optimiser = _make_optimiser(self.settings, self.network)
            return
        self.progress = progress
        _LOG.info(
            "going on from %s: %d epochs and %d batches are done",
            self.path,
            progress.epoch,
            progress.batch,
        )

    def _n_bands(self) -> int:
        return len(self.scaling.noise)

    def history(self) -> pd.DataFrame:
        """Return one row per complete epoch."""
        table = pd.DataFrame(self.progress.rows, columns=list(HISTORY_COLUMNS), dtype="float64")
        return table.astype({"epoch": "int64"})


def _checkpoint_key(
    settings: LearningSettings,
    seed: int,
    scaling: Scaling,
    batch_size: int,
    precision: torch.dtype,
    training_set: str,
) -> str:
    """Return what a checkpoint must have been made with to be taken up."""
    parts = [
        settings.to_dict(),
        seed,
        scaling.to_dict(),
        batch_size,
        str(precision),
        training_set,
        library_versions(),
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _mix(seed: int, epoch: int, purpose: str) -> int:
    """Return a 63-bit seed of its own for each epoch and purpose."""
    digest = hashlib.sha256(f"{seed}/{epoch}/{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def _make_optimiser(settings: LearningSettings, network: torch.nn.Module) -> torch.optim.Optimizer:
    if settings.optimiser == "sgd":
        return torch.optim.SGD(
            network.parameters(),
            lr=settings.learning_rate,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
        )
    return torch.optim.AdamW(
        network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )


def _learning_rate(settings: LearningSettings, epoch: float) -> float:
    """Return the learning rate at a time in epochs: linear warm-up, then cosine or constant."""
    warmup = settings.warmup_epochs
    if epoch < warmup:
        return settings.learning_rate * (epoch + 1.0) / (warmup + 1.0)
    if settings.schedule == "constant":
        return settings.learning_rate
    part = (epoch - warmup) / max(settings.epochs_max - warmup, 1)
    return settings.learning_rate * 0.5 * (1.0 + math.cos(math.pi * min(part, 1.0)))


def _fits(images: torch.Tensor, device: torch.device) -> bool:
    free_bytes, _ = torch.cuda.mem_get_info(device)
    fits = images.nbytes < _RESIDENT_PART * free_bytes
    _LOG.info(
        "the images (%.2f GB) %s",
        images.nbytes / 1e9,
        "stay on the GPU" if fits else "are sent to the GPU batch by batch",
    )
    return fits


@contextmanager
def _stop_on_sigterm() -> Iterator[threading.Event]:
    """Yield an event that SIGTERM sets; Python allows that in the main thread only."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def note(number: int, frame: FrameType | None) -> None:
        stop.set()

    before: Any = signal.signal(signal.SIGTERM, note)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGTERM, before)
