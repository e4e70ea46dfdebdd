"""Training of the network without labels, resumable at any batch."""

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
from typing import Any, cast

import pandas as pd
import torch

from archipelago.base.errors import ArchipelagoError, ConfigError, DataError, InputError
from archipelago.base.images import ImageSet
from archipelago.base.progress import Progress
from archipelago.learning.augment import Augmentation, check_size, make_augmentation
from archipelago.learning.devices import describe, exact, pick_device, pick_precision
from archipelago.learning.measures import alignment, consistency, rank_me, uniformity
from archipelago.learning.model import (
    Model,
    fingerprint,
    library_versions,
    read_torch,
    write_torch,
)
from archipelago.learning.network import arrange, make_network
from archipelago.learning.objectives import Objective, make_objective
from archipelago.learning.scaling import Scaling, measure_scaling
from archipelago.learning.settings import LearningSettings
from archipelago.learning.shards import CleanImages, Source, make_source, shuffled
from archipelago.learning.team import Team

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
#: Most images, and images per pass, of which the consistency is measured.
_CONSISTENCY_SAMPLE, _CONSISTENCY_BATCH = 2048, 256
#: Images of a batch that alignment and uniformity, which looks at all pairs, are measured on.
_MEASURED = 512
#: Part of a GPU's free memory, or of a job's memory, that the images may take.
_RESIDENT_PART = 0.5
CHECKPOINT_NAME = "checkpoint.pt"


class TrainingInterruptedError(ArchipelagoError):
    """The training was asked to stop; what it had reached is in its checkpoint."""


class TrainingMemoryError(ArchipelagoError):
    """The device has too little memory for the smallest batch."""


def train(
    images: ImageSet,
    settings: LearningSettings,
    seed: int,
    checkpoints: str | Path,
    *,
    threads: int = 1,
    device: torch.device | None = None,
    memory_mb: float | None = None,
    team: Team | None = None,
    batch_size: int | None = None,
) -> tuple[Model, pd.DataFrame]:
    """Train one network, or go on with a training that was interrupted.

    The weights depend on images, settings and seed, on the kind of device and the
    number of threads (the last digits), and not on interruptions, nor on whether the
    images are in memory or streamed. Where the device has too little memory for a batch,
    training begins anew with half of it, so that its outcome is that of the size of
    batch that the record tells.

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
    memory_mb : what the process may take on the CPU [MB of 2^20 bytes]; images that take
        more than half of it are streamed. None: they are all kept in memory.
    team : the processes that share this training; None: this one alone.
    batch_size : images per step of all processes, instead of the settings' number.

    Returns
    -------
    model : with its record.
    history : columns `HISTORY_COLUMNS`; loss and measures are means over the batches
        of an epoch.

    Raises
    ------
    InputError
        If the images are smaller than the crop, have no band, or are fewer than two
        for each process.
    TrainingInterruptedError
        On SIGTERM, after the batch at hand; the checkpoint is kept.
    DataError
        If the loss is no longer a number.
    TrainingMemoryError
        If a batch of two images is too large for the device.
    """
    height, width = images.images.shape[2:]
    check_size(height, width, settings.crop_px)
    if not images.bands:
        raise InputError("the images have no band", next_step="check images.bands")
    device = device or pick_device(seed)
    team = team or Team()
    pixels = CleanImages(images.images)
    if team.size > 1 and len(pixels) < 2 * team.size:
        raise InputError(
            f"{len(pixels)} usable images are too few for {team.size} devices",
            next_step="set learning.devices_per_seed to 1",
        )
    if team.size > 1 and settings.method == "moco":
        raise ConfigError(
            "the queue of moco belongs to one process",
            where="learning.method and learning.devices_per_seed",
            next_step="use nt_xent or vicreg, or set learning.devices_per_seed to 1",
        )
    # It looks at slices of them alone, which are arrays.
    scaling = measure_scaling(cast(Any, pixels), settings, images.pixel_scale_arcsec)
    training_set = fingerprint(images)
    size = min(batch_size or settings.batch_size, len(pixels))
    with exact(threads):
        ended = None
        while ended is None:
            run = _Run(
                settings=settings,
                seed=seed,
                scaling=scaling,
                device=device,
                bands=len(images.bands),
                augmentation=make_augmentation(settings, images.pixel_scale_arcsec),
                batch_size=team.whole(size) if team.size > 1 else size,
                n_images=len(pixels),
                path=Path(checkpoints) / CHECKPOINT_NAME,
                training_set=training_set,
                memory_mb=memory_mb,
                team=team,
            )
            smaller = run.batch_of_checkpoint()
            if smaller is not None:
                size = smaller
                continue
            ended = run.go_if_it_fits(pixels)
            if ended is None:
                size = run.batch_size // 2
                _LOG.warning(
                    "out of memory with batches of %d: training anew with %d",
                    run.batch_size,
                    size,
                )
                del run  # what it holds on the device goes with it
                torch.cuda.empty_cache()
        consistent = run.measure_consistency(pixels)
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
        "devices": team.size,
        "precision": str(run.precision).removeprefix("torch."),
        "ended": ended,
        "consistency": consistent,
    }
    if team.rank == 0:
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
        n_images: int,
        path: Path,
        training_set: str,
        memory_mb: float | None = None,
        team: Team | None = None,
    ) -> None:
        self.settings = settings
        self.seed = seed
        self.scaling = scaling
        self.device = device
        self.augmentation = augmentation
        self.batch_size = batch_size
        self.n_images = n_images
        self.path = path
        self.precision = pick_precision(settings.precision, device)
        self.generator = torch.Generator(device)
        self.network = make_network(settings, bands, seed).to(device)
        arrange(self.network, torch.channels_last)
        self.objective = self._make_objective()
        self.optimiser = _make_optimiser(settings, self.network)
        self.progress = _Progress()
        self.memory_mb = memory_mb
        self.team = team or Team()
        self.training_set = training_set
        self.key = self._key(batch_size)

    def _key(self, batch_size: int) -> str:
        return _checkpoint_key(
            self.settings,
            self.seed,
            self.scaling,
            batch_size,
            self.precision,
            self.training_set,
            self.team.size,
        )

    def batch_of_checkpoint(self) -> int | None:
        """Return the size of batch that memory left to this very training before it stopped.

        None where it did not stop, or had the size that is tried now. Without this, a
        training that goes on would try the large batch again, and begin anew.
        """
        if not self.path.exists():
            return None
        try:
            content = read_torch(self.path)
        except InputError:
            return None  # `_resume` says so
        size = content.get("batch_size")
        if not isinstance(size, int) or not 2 <= size < self.batch_size:
            return None
        return size if content.get("key") == self._key(size) else None

    def go_if_it_fits(self, pixels: CleanImages) -> str | None:
        """Do what `go` does; None where the device has too little memory for the batch.

        Raises
        ------
        TrainingMemoryError
            If it has too little for a batch of two.
        """
        # Left by a return: while the error is handled, it holds what was on the device.
        try:
            return self.go(pixels)
        except torch.OutOfMemoryError as error:
            if self.team.size > 1:
                raise  # all processes have to begin anew
            if self.batch_size <= 2:
                raise TrainingMemoryError(
                    f"{describe(self.device, self.precision)}: out of memory with batches of "
                    f"{self.batch_size}",
                    next_step="use a device with more memory, or smaller learning.channels",
                ) from error
            return None

    def go(self, pixels: CleanImages) -> str:
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
            "training on %d images, batches of %d, %s%s",
            n,
            self.batch_size,
            describe(self.device, self.precision),
            f", {self.team.size} processes" if self.team.size > 1 else "",
        )
        self._resume()
        source = make_source(pixels, self.scaling, self.device, self._memory_bytes())
        self.network.train()
        with _stop_on_sigterm() as stop, Progress(self.settings.epochs_max, "epochs") as bar:
            bar.step(self.progress.epoch)
            while True:
                reason = self._reason_to_end()
                if reason:
                    _LOG.info("training ended after %d epochs: %s", self.progress.epoch, reason)
                    return reason
                self._epoch(source, n, stop)
                self._save()
                bar.step()

    def _memory_bytes(self) -> float | None:
        """Return how much memory the images may take where they are wanted, None: any."""
        if self.device.type == "cuda":
            free_bytes, _ = torch.cuda.mem_get_info(self.device)
            return _RESIDENT_PART * free_bytes
        return None if self.memory_mb is None else _RESIDENT_PART * self.memory_mb * 2**20

    @torch.inference_mode()
    def measure_consistency(self, pixels: CleanImages) -> float | None:
        """Return how often features know an image in a second view (see `consistency`).

        Of the encoder, in float32, for at most 2,048 images (n, band, y, x) drawn by
        the seed; None for fewer than 2.
        """
        n = len(pixels)
        if n < 2:
            return None
        choice = torch.Generator().manual_seed(_mix(self.seed, 0, "consistency sample"))
        sample = torch.randperm(n, generator=choice)[:_CONSISTENCY_SAMPLE].sort().values
        self.generator.manual_seed(_mix(self.seed, 0, "consistency views"))
        features: tuple[list[torch.Tensor], list[torch.Tensor]] = ([], [])
        self.network.eval()
        for chosen in sample.split(min(self.batch_size, _CONSISTENCY_BATCH)):
            prepared = self.scaling.prepare(torch.from_numpy(pixels[chosen.numpy()]))
            for views in features:
                view = self.augmentation(prepared.to(self.device), self.generator)
                views.append(self.network.encoder(self.scaling.finish(view)).float().cpu())
        return consistency(*map(torch.cat, features))

    def _reason_to_end(self) -> str:
        if self.progress.batch:
            return ""  # in the middle of an epoch
        if self.progress.epoch >= self.settings.epochs_max:
            return "all epochs done"
        if self.progress.epochs_without_gain >= self.settings.patience:
            return f"no gain of {self.settings.min_delta:g} in {self.settings.patience} epochs"
        return ""

    def _epoch(self, source: Source, n: int, stop: threading.Event) -> None:
        progress = self.progress
        n_batches = n // self.batch_size
        order = shuffled(n, _mix(self.seed, progress.epoch, "order"))
        if progress.generator is None:
            views = f"views/{self.team.rank}" if self.team.rank else "views"
            self.generator.manual_seed(_mix(self.seed, progress.epoch, views))
        else:
            states = progress.generator.view(self.team.size, -1)
            self.generator.set_state(states[self.team.rank].clone())
            progress.generator = None
        start_s = time.perf_counter()
        first = progress.batch
        batches = source.batches(order, self.batch_size, first, self.team.part(self.batch_size))
        for batch, images in enumerate(batches, first):
            rate = _learning_rate(self.settings, progress.epoch + batch / n_batches)
            self._step(images, rate)
            progress.batch = batch + 1
            if self.team.any(stop.is_set(), self.device):
                states = self.team.gather(self.generator.get_state(), self.device)
                progress.generator = states if self.team.size > 1 else states[0]
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

    @torch.no_grad()
    def _views(self, batch: torch.Tensor) -> torch.Tensor:
        """Return two random views of each image, first all first ones, then all second ones."""
        views = [self.scaling.finish(self.augmentation(batch, self.generator)) for _ in range(2)]
        return torch.cat(views).contiguous(memory_format=torch.channels_last)

    def _step(self, batch: torch.Tensor, rate: float) -> None:
        views = self._views(batch)
        half = self.precision is not torch.float32
        with torch.autocast(self.device.type, torch.bfloat16, enabled=half):
            outcome = self.objective(self.network, views)
        value = float(outcome.loss.detach())
        if not math.isfinite(value):
            raise DataError(
                f"the loss is {value} in epoch {self.progress.epoch + 1}",
                next_step="lower learning.learning_rate and run again",
            )
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad(set_to_none=True)
        outcome.loss.backward()
        self.team.average_gradients(self.network.parameters())
        self.optimiser.step()
        self.objective.after_step(self.network)
        one, other = outcome.one.detach()[:_MEASURED], outcome.other.detach()[:_MEASURED]
        measured = [value, alignment(one, other), uniformity(one)]
        for number, mean in enumerate(self.team.mean(measured, self.device)):
            self.progress.sums[number] += mean
        kept = sum(map(len, self.progress.sample))
        if kept < _RANK_SAMPLE:
            half_batch = outcome.features.detach()[: len(batch)][: _RANK_SAMPLE - kept]
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
        if self.team.rank:
            return  # the first process writes for all
        write_torch(
            {
                "key": self.key,
                "batch_size": self.batch_size,
                "network": self.network.state_dict(),
                "objective": self.objective.state_dict(),
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
            self.objective.load_state_dict(content["objective"])
            self.optimiser.load_state_dict(content["optimiser"])
        except (InputError, KeyError, TypeError, ValueError, RuntimeError) as error:
            _LOG.warning("%s: the checkpoint is not used, training starts anew", error)
            fresh = make_network(self.settings, self._n_bands(), self.seed)
            self.network.load_state_dict(fresh.state_dict())
            self.objective = self._make_objective()
            self.optimiser = _make_optimiser(self.settings, self.network)
            return
        self.progress = progress
        _LOG.info(
            "going on from %s: %d epochs and %d batches are done",
            self.path,
            progress.epoch,
            progress.batch,
        )

    def _make_objective(self) -> Objective:
        return make_objective(
            self.settings,
            self.network,
            self.device,
            n_images=self.n_images,
            batch_size=self.batch_size,
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
    n_processes: int = 1,
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
        n_processes,
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
        network.parameters(),
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
        fused=True,  # one pass over the weights, on CPUs and GPUs
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
