"""One process of a training on several devices: started by `archipelago.learning.launch`."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

import torch
from torch import distributed

from archipelago.base.errors import InputError
from archipelago.base.images import load_images
from archipelago.base.tables import write_csv
from archipelago.learning.launch import OUT_OF_MEMORY, STOPPED
from archipelago.learning.model import save_model
from archipelago.learning.settings import LearningSettings
from archipelago.learning.team import Team
from archipelago.learning.training import TrainingInterruptedError, train


def main(folder: Path, rank: int) -> int:
    """Train as process ``rank`` of the job that lies in ``folder``; return the exit status."""
    job = json.loads((folder / "job.json").read_text())
    # The launcher logs what the first process says; of the others it reads the last words.
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    cuda = torch.cuda.is_available()
    if cuda and torch.cuda.device_count() < job["size"]:
        raise InputError(
            f"{job['size']} GPUs asked for, {torch.cuda.device_count()} there",
            where="learning.devices_per_seed",
            next_step="give the job as many GPUs, or set it to 1",
        )
    device = torch.device("cuda", rank) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    distributed.init_process_group(
        "nccl" if cuda else "gloo",
        init_method=f"file://{folder / 'meeting'}",
        rank=rank,
        world_size=job["size"],
    )
    try:
        model, history = train(
            load_images(job["images"], memory_map=True),
            LearningSettings.from_mapping(job["settings"]),
            job["seed"],
            job["checkpoints"],
            threads=job["threads"],
            device=device,
            memory_mb=job["memory_mb"],
            team=Team(rank, job["size"]),
            batch_size=job["batch_size"],
        )
    except torch.OutOfMemoryError:
        return OUT_OF_MEMORY
    except TrainingInterruptedError:
        return STOPPED
    if rank == 0:
        save_model(model, job["model"])
        write_csv(history, job["history"], float_format="%.6g")
    distributed.barrier()
    distributed.destroy_process_group()
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
