"""One training on several devices: a process each, which share every batch.

Each process takes its part of a batch; the loss gathers the projections of all, so that every
image is told from all others of the whole batch; gradients are averaged. The weights are those
of one process that sees the whole batch, up to rounding and to the random views, which each
process draws for itself: they depend on the number of processes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import distributed


@dataclass(frozen=True)
class Team:
    """The processes of a training, and which of them this one is.

    Attributes
    ----------
    rank : of this process, from 0, which alone writes.
    size : number of processes; with 1 nothing is exchanged.
    """

    rank: int = 0
    size: int = 1

    def part(self, batch_size: int) -> slice:
        """Return which images of a batch are this process's."""
        share = batch_size // self.size
        return slice(self.rank * share, (self.rank + 1) * share)

    def whole(self, batch_size: int) -> int:
        """Return the largest batch, of no more images, of which all have equally many.

        As few as one image each, or two where there is one process.
        """
        return max(batch_size // self.size * self.size, self.size)

    def mean(self, values: Sequence[float], device: torch.device) -> list[float]:
        """Return the means over the processes, the same in each."""
        if self.size == 1:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64, device=device)
        distributed.all_reduce(total)
        return (total / self.size).tolist()

    def any(self, value: bool, device: torch.device) -> bool:
        """Return whether it is true in one process at least."""
        return value if self.size == 1 else self.mean([float(value)], device)[0] > 0

    def gather(self, values: torch.Tensor, device: torch.device) -> torch.Tensor:
        """Return the bytes (m,) of each process, (size, m), on the CPU."""
        if self.size == 1:
            return values[None].cpu()
        rows = [torch.empty_like(values, device=device) for _ in range(self.size)]
        distributed.all_gather(rows, values.to(device))
        return torch.stack(rows).cpu()

    def average_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Replace gradients by their means over the processes, in one exchange."""
        if self.size == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        distributed.all_reduce(flat)
        flat /= self.size
        parts = flat.split([gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))
