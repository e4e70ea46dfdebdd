"""Where and how exactly the numbers are computed."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.utils.deterministic

_LOG = logging.getLogger(__name__)


def pick_device(turn: int = 0) -> torch.device:
    """Return a CUDA device, or the CPU where there is none.

    Of several devices that of number ``turn``, counted round: jobs beside each other take
    one each if they give numbers in a row, such as seeds.
    """
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", turn % torch.cuda.device_count())


def pick_precision(asked: str, device: torch.device) -> torch.dtype:
    """Return the number type of the training's products.

    ``auto`` is bfloat16 on GPUs that have it and on CPUs that multiply it (AMX, AVX-512
    BF16), float32 elsewhere. Weights, loss and features are float32 in any case.
    """
    if asked == "auto":
        if device.type == "cuda":
            fast = torch.cuda.is_bf16_supported(including_emulation=False)
        else:
            fast = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
        return torch.bfloat16 if fast else torch.float32
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[asked]


def _fill_switch() -> Any:
    """Return what holds torch's switch for filling fresh memory, which only costs time."""
    return torch.utils.deterministic


@contextmanager
def exact(threads: int) -> Iterator[None]:
    """Compute the same way every time, with ``threads`` CPU threads, for a while.

    Operations without a deterministic form only warn. The number of threads is part
    of what fixes the last digits, as it fixes the order of sums.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        _fill_switch().fill_uninitialized_memory,
        torch.backends.cudnn.benchmark,
        torch.get_num_threads(),
    )
    torch.use_deterministic_algorithms(True, warn_only=True)
    _fill_switch().fill_uninitialized_memory = False
    torch.backends.cudnn.benchmark = False
    torch.set_num_threads(max(1, threads))
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        _fill_switch().fill_uninitialized_memory = before[2]
        torch.backends.cudnn.benchmark = before[3]
        torch.set_num_threads(before[4])


def describe(device: torch.device, precision: torch.dtype) -> str:
    """Return what is computed on, for the log."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    threads = "" if device.type == "cuda" else f", {torch.get_num_threads()} threads"
    return f"{name}{threads}, {str(precision).removeprefix('torch.')}, torch {torch.__version__}"
