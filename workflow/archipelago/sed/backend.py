"""What the fits of the grids compute on: numpy on the CPU, or torch on a GPU.

`archipelago.sed.grid` is written once, with the operations that numpy and torch share (``xp``)
and the few methods here for those that they do not. Numbers are 64 bits wide on both. On the
CPU numpy is the faster of the two, so torch is imported for a GPU alone.
"""

from __future__ import annotations

import ctypes
import logging
import os
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from archipelago.base.errors import ConfigError
from archipelago.sed.priors import LN_A_MIN, LN_A_N, LN_A_STEP, Prior

#: An array of either library.
Array = Any
_Result = TypeVar("_Result")

_LOG = logging.getLogger(__name__)

#: Name of the environment variable that holds ``sed.fit.device``, which changes no result.
ENVIRONMENT_VARIABLE = "ARCHIPELAGO_SED_DEVICE"
_WHERE = "sed.fit.device"
#: Share of a GPU's free memory that the arrays of a chunk are planned for.
_MEMORY_SHARE = 0.5
#: Libraries of NVIDIA's driver, on Linux and on Windows.
_DRIVERS = ("libcuda.so.1", "nvcuda.dll")


class Backend:
    """Arrays of numpy, in the processor's memory.

    Attributes
    ----------
    xp : the library of arrays.
    rows : objects worked on at once, at most.
    threaded : chunks of objects can be worked on side by side.
    out_of_memory : errors that smaller chunks may cure.
    """

    xp: Any = np
    # Few: the arrays of a step stay within the processor's cache.
    rows = 256
    threaded = True
    out_of_memory: tuple[type[BaseException], ...] = ()

    def array(self, values: NDArray[Any]) -> Array:
        """Return numpy's array as one to compute with."""
        return values

    def numpy(self, values: Array) -> NDArray[Any]:
        """Return an array as numpy's."""
        return np.asarray(values)

    def full(self, shape: int | tuple[int, ...], value: float) -> Array:
        """Return an array of one value: of integers for an int, of floats for a float."""
        return np.full(shape, value)

    def floor(self, values: Array, least: Array | float) -> Array:
        """Raise values to ``least`` where they are below, in place."""
        return np.maximum(values, least, out=values)

    def columns(self, values: Array, which: slice | Array) -> Array:
        """Return columns of an array, row by row in memory."""
        return values[:, which] if isinstance(which, slice) else values.take(which, axis=1)

    def prior(self, prior: Prior) -> Prior:
        """Return a prior whose arrays can be computed with."""
        return prior

    def ln_density(self, prior: Prior, ln_amplitude: Array) -> Array:
        """Return `Prior.ln_density` of a prior made by `prior`, (n_object, n_template)."""
        return prior.ln_density(ln_amplitude)

    def pairs(self, n_object: int) -> int:
        """Return how many pairs of templates are worked on at once, about."""
        return 24_576 // max(n_object, 1)

    def memory_mb(self, asked_mb: float) -> float:
        """Return the memory for the arrays of all chunks together [MB]."""
        return asked_mb

    def release(self) -> None:
        """Give memory back that is kept for later."""


class TorchBackend(Backend):
    """Arrays of torch on a device.

    Parameters
    ----------
    torch : the module.
    device : ``cuda``, or ``cpu`` (for tests; numpy is faster there).
    """

    # Many: the GPU is given few, large operations.
    rows = 16384
    threaded = False

    def __init__(self, torch: Any, device: str) -> None:
        self.xp = torch
        self.device = torch.device(device)
        self.out_of_memory = (torch.OutOfMemoryError,)

    def array(self, values: NDArray[Any]) -> Array:
        """Return numpy's array as a tensor on the device."""
        return self.xp.as_tensor(np.ascontiguousarray(values), device=self.device)

    def numpy(self, values: Array) -> NDArray[Any]:
        """Return a tensor as numpy's array."""
        return np.asarray(values.cpu().numpy())

    def full(self, shape: int | tuple[int, ...], value: float) -> Array:
        """Return a tensor of one value: of integers for an int, of floats for a float."""
        kind = self.xp.int64 if isinstance(value, int) else self.xp.float64
        size = (shape,) if isinstance(shape, int) else shape
        return self.xp.full(size, value, dtype=kind, device=self.device)

    def floor(self, values: Array, least: Array | float) -> Array:
        """Raise values to ``least`` where they are below, in place."""
        return values.clamp_(min=least)

    def columns(self, values: Array, which: slice | Array) -> Array:
        """Return columns of a tensor, row by row in memory."""
        return values[:, which].contiguous()

    def prior(self, prior: Prior) -> Prior:
        """Return a prior of tensors."""
        return Prior(*map(self.array, (prior.group, prior.log_weight, prior.table)))

    def ln_density(self, prior: Prior, ln_amplitude: Array) -> Array:
        """Return `Prior.ln_density` of a prior made by `prior`, (n_object, n_template)."""
        position = ln_amplitude * (1 / LN_A_STEP)
        position += 0.5 - LN_A_MIN / LN_A_STEP
        cell = position.clamp_(0, LN_A_N - 1).to(self.xp.int64)
        cell += prior.group[None, :] * LN_A_N
        density = self.xp.take(prior.table, cell)
        density += prior.log_weight[None, :]
        return density

    def pairs(self, n_object: int) -> int:
        """Return how many pairs of templates are worked on at once, about."""
        return 1024

    def memory_mb(self, asked_mb: float) -> float:
        """Return a share of the GPU's free memory [MB]."""
        if self.device.type != "cuda":
            return asked_mb
        free_bytes, _ = self.xp.cuda.mem_get_info(self.device)
        return float(free_bytes) * _MEMORY_SHARE / 1e6

    def release(self) -> None:
        """Give the GPU's memory back that torch keeps for later."""
        if self.device.type == "cuda":
            self.xp.cuda.empty_cache()


#: Arrays of numpy.
NUMPY = Backend()


def pick_backend(device: str | None = None) -> Backend:
    """Return what to compute on, and write it to the log.

    Parameters
    ----------
    device : ``cpu``; ``cuda``; ``auto`` takes a GPU if there is one that torch can use. None:
        what the environment variable ``ARCHIPELAGO_SED_DEVICE`` says, or else ``auto``.

    Raises
    ------
    ConfigError
        If the device is not known, or is ``cuda`` and there is no GPU, or no torch that can use it.
    """
    device = device or os.environ.get(ENVIRONMENT_VARIABLE) or "auto"
    if device not in ("auto", "cpu", "cuda"):
        raise ConfigError(
            f"there is no device {device!r}", where=_WHERE, next_step="give auto, cpu or cuda"
        )
    missing = "" if device == "cpu" else _missing()
    if device == "cpu" or (missing and device == "auto"):
        _LOG.info("fits on the CPU with numpy%s", missing and f": {missing}")
        return NUMPY
    if missing:
        raise ConfigError(
            f"the fits cannot run on a GPU: {missing}",
            where=_WHERE,
            next_step="set it to auto or cpu, or run where there is an NVIDIA GPU, with a torch "
            "built for CUDA: envs/sed.yaml has the line that conda needs",
        )
    torch = import_module("torch")
    _LOG.info("fits on %s with torch %s", torch.cuda.get_device_name(0), torch.__version__)
    return TorchBackend(torch, "cuda")


def _missing() -> str:
    """Return what is missing for a GPU, or ''; torch is imported only where there is a driver."""
    if not _has_driver():
        return "no driver of an NVIDIA GPU"
    try:
        torch = import_module("torch")
    except ImportError as error:
        return f"there is a GPU's driver, but torch cannot be imported ({error})"
    if not torch.cuda.is_available():
        return f"there is a GPU's driver, but torch {torch.__version__} finds no GPU it can use"
    return ""


def _has_driver() -> bool:
    for name in _DRIVERS:
        try:
            ctypes.CDLL(name)
        except OSError:
            continue
        return True
    return False


def in_chunks(
    work: Callable[[slice], _Result], n_object: int, rows: int, on: Backend
) -> Iterator[_Result]:
    """Yield the results of chunks of objects, with smaller chunks once memory runs out.

    Parameters
    ----------
    work : done on objects of a slice.
    n_object : all objects.
    rows : of them at once, to begin with; halved each time that memory runs out.
    on : says which errors those are.

    Raises
    ------
    ConfigError
        If the memory does not do for one object.
    """
    start = 0
    while start < n_object:
        part = slice(start, min(start + rows, n_object))
        try:
            result = work(part)
        except on.out_of_memory as error:
            failed = str(error).partition("\n")[0]
        else:
            start = part.stop
            yield result
            continue
        # The error held the failed attempt's arrays; it is gone by here.
        on.release()
        used = part.stop - part.start
        if used == 1:
            raise ConfigError(
                f"the GPU's memory does not do for one object: {failed}",
                where=_WHERE,
                next_step="set it to cpu, or end what else runs on the GPU",
            )
        rows = used // 2
        _LOG.warning("the GPU's memory ran out: on with %d objects at once", rows)
