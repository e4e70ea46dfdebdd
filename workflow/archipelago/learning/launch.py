"""One seed trained from files: in this process, or in one for each of several devices."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections import deque
from pathlib import Path
from typing import Any

from archipelago.base.errors import ArchipelagoError
from archipelago.base.images import load_images
from archipelago.base.tables import write_csv
from archipelago.learning.devices import pick_device
from archipelago.learning.model import save_model
from archipelago.learning.settings import LearningSettings
from archipelago.learning.training import TrainingInterruptedError, TrainingMemoryError, train

_LOG = logging.getLogger(__name__)

#: How a process says that its device has too little memory: EX_TEMPFAIL of sysexits.h, for
#: what may succeed later.
OUT_OF_MEMORY = 75
#: How a process says that it stopped because it was asked to.
STOPPED = 76
#: How often the processes are looked after [s].
_LOOK_S = 0.2


class TeamError(ArchipelagoError):
    """A process of a training on several devices failed."""


def train_files(
    images: str | Path,
    settings: LearningSettings,
    seed: int,
    checkpoints: str | Path,
    model: str | Path,
    history: str | Path,
    *,
    threads: int,
    memory_mb: float | None,
) -> None:
    """Train one seed on a file of cutouts; write its model and its history.

    Parameters
    ----------
    images : file of cutouts, read through a map.
    settings : ``devices_per_seed`` says in how many processes, each on a device of its own
        (GPUs, or threads of the CPU where there is none).
    seed, checkpoints : see `archipelago.learning.training.train`.
    model, history : files to write.
    threads : CPU threads of all processes.
    memory_mb : memory of all processes [MB of 2^20 bytes].

    Raises
    ------
    TeamError
        If one of several processes fails.
    TrainingInterruptedError, TrainingMemoryError
        And what else `train` raises, from one process.
    """
    size = settings.devices_per_seed
    if size == 1:
        trained, table = train(
            load_images(images, memory_map=True),
            settings,
            seed,
            checkpoints,
            threads=threads,
            device=pick_device(seed),
            memory_mb=memory_mb,
        )
        save_model(trained, model)
        write_csv(table, history, float_format="%.6g")
        return
    job = {
        "images": str(images),
        "settings": settings.to_dict(),
        "seed": seed,
        "checkpoints": str(checkpoints),
        "model": str(model),
        "history": str(history),
        "threads": max(1, threads // size),
        "memory_mb": None if memory_mb is None else memory_mb / size,
    }
    batch_size = settings.batch_size
    while True:
        code = run_team({**job, "batch_size": batch_size}, size)
        if code == 0:
            return
        if code == STOPPED:
            raise TrainingInterruptedError(
                "training was asked to stop",
                where=str(checkpoints),
                next_step="run again: it goes on from its checkpoint",
            )
        if batch_size <= 2 * size:
            raise TrainingMemoryError(
                f"out of memory with batches of {batch_size} on {size} devices",
                next_step="use devices with more memory, or smaller learning.channels",
            )
        _LOG.warning(
            "out of memory with batches of %d: training anew with %d", batch_size, batch_size // 2
        )
        batch_size //= 2


def run_team(job: dict[str, Any], size: int) -> int:
    """Run ``python -m archipelago.learning.team_member`` in ``size`` processes to their end.

    SIGTERM is passed on to them. Where one fails the others, which would wait for it for ever,
    are ended.

    Parameters
    ----------
    job : plain values, what `archipelago.learning.team_member` asks for.
    size : number of processes.

    Returns
    -------
    int
        0, `OUT_OF_MEMORY` or `STOPPED`.

    Raises
    ------
    TeamError
        If one ends in another way, with its last words.
    """
    with tempfile.TemporaryDirectory(prefix="archipelago-team-") as name:
        folder = Path(name)
        (folder / "job.json").write_text(json.dumps({**job, "size": size}))
        processes = [_start(folder, rank) for rank in range(size)]
        words = [_Words(process, rank) for rank, process in enumerate(processes)]
        try:
            with _passed_on(processes):
                codes = _wait(processes)
        finally:
            for process in processes:
                if process.poll() is None:
                    process.kill()
                process.wait()
            for heard in words:
                heard.join()
        failed = [(rank, code) for rank, code in enumerate(codes) if code not in (None, 0)]
        if not failed:
            return 0
        rank, code = failed[0]
        if code in (OUT_OF_MEMORY, STOPPED):
            return code
        raise TeamError(
            f"process {rank} of {size} ended with status {code}: {' '.join(words[rank].last)}",
            next_step="see the log; learning.devices_per_seed: 1 trains in one process",
        )


def _start(folder: Path, rank: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "archipelago.learning.team_member", str(folder), str(rank)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )


class _Words(threading.Thread):
    """Listens to a process: the first one's words go to the log, the last of each are kept."""

    def __init__(self, process: subprocess.Popen[str], rank: int) -> None:
        super().__init__(daemon=True)
        assert process.stderr is not None
        self._stream = process.stderr
        self._rank = rank
        self.last: deque[str] = deque(maxlen=3)
        self.start()

    def run(self) -> None:
        with self._stream:
            for line in self._stream:
                self.last.append(line.strip())
                if self._rank == 0:
                    _LOG.info("%s", line.rstrip())


class _passed_on:
    """While it lasts, SIGTERM goes to the processes too; in the main thread only."""

    def __init__(self, processes: list[subprocess.Popen[str]]) -> None:
        self._processes = processes
        self._before: Any = None

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._pass_on)

    def __exit__(self, *error: object) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._before)

    def _pass_on(self, number: int, frame: object) -> None:
        for process in self._processes:
            if process.poll() is None:
                process.terminate()


def _wait(processes: list[subprocess.Popen[str]]) -> list[int | None]:
    """Return how each ended, once all have or one has failed (None: it goes on)."""
    pause = threading.Event()
    while True:
        codes = [process.poll() for process in processes]
        if any(code not in (None, 0, STOPPED) for code in codes) or None not in codes:
            return codes
        pause.wait(_LOOK_S)
