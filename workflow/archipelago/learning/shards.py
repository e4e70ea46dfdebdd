"""Images on their way to the network: all at hand, or streamed in shards from their file.

The order in which a network sees images depends on their number and the seed alone, so that
a streamed training gives the same weights as one with all images in memory.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from archipelago.base.arrays import forget_pages
from archipelago.learning.scaling import Faults, Scaling, clean_chunk

_LOG = logging.getLogger(__name__)

#: Images that are shuffled among each other, and at most as many wait in memory while as many
#: are trained on: 2 x 257 MB for five bands of 28 x 28 px. A set of no more is shuffled as a whole.
SHARD = 16_384
#: Neighbours in the file that are read together: 2 MB for five bands of 28 x 28 px, so that
#: a disk is read at its full rate. A shard has blocks from all over the file.
BLOCK = 128
#: Images that are cleaned and prepared at once.
_CHUNK = 1024


class CleanImages:
    """The usable images of a set, cleaned as they are read; they may lie in a mapped file.

    One pass over all of them finds those that can teach something, and says in the log
    what is wrong with the others.

    Parameters
    ----------
    images : (n, band, y, x) float32, counts.

    Attributes
    ----------
    shape : (usable images, band, y, x).
    """

    def __init__(self, images: NDArray[np.float32]) -> None:
        self._images = images
        faults = Faults()
        usable = np.zeros(len(images), dtype=bool)
        for start in range(0, len(images), _CHUNK):
            chunk = slice(start, start + _CHUNK)
            _, usable[chunk], found = clean_chunk(images[chunk])
            faults.add(found)
            forget_pages(images)
        faults.say()
        self._as_they_are = not faults.pixels
        self._rows = np.flatnonzero(usable)
        self.shape = (len(self._rows), *images.shape[1:])

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def size(self) -> int:
        """Number of pixels."""
        return int(np.prod(self.shape))

    @property
    def nbytes(self) -> int:
        """Memory that all would take [bytes]."""
        return 4 * self.size

    def __getitem__(self, chosen: slice | NDArray[np.int64]) -> NDArray[np.float32]:
        """Return a copy of the chosen images (m, band, y, x), without a pixel that is no number."""
        rows = self._rows[chosen]
        if len(rows) and rows[-1] - rows[0] == len(rows) - 1 and (np.diff(rows) == 1).all():
            images = np.array(self._images[rows[0] : rows[-1] + 1], dtype=np.float32)
        else:
            images = np.asarray(self._images[rows], dtype=np.float32)
        forget_pages(self._images)
        return images if self._as_they_are else clean_chunk(images)[0]


def shuffled(n: int, seed: int) -> list[torch.Tensor]:
    """Return the order of an epoch, in shards.

    Parameters
    ----------
    n : images.
    seed : of this epoch.

    Returns
    -------
    list of torch.Tensor
        (m,) int64 each; together 0 to n - 1. One shard, shuffled as a whole, of up to `SHARD`
        images; of more, each shard is a random choice of blocks of `BLOCK` neighbours,
        shuffled among each other.
    """
    generator = torch.Generator().manual_seed(seed)
    if n <= SHARD:
        return [torch.randperm(n, generator=generator)]
    blocks = torch.randperm(-(-n // BLOCK), generator=generator)
    shards = []
    for chosen in blocks.split(SHARD // BLOCK):
        rows = (chosen[:, None] * BLOCK + torch.arange(BLOCK)[None, :]).flatten()
        rows = rows[rows < n]
        shards.append(rows[torch.randperm(len(rows), generator=generator)])
    return shards


class Source(Protocol):
    """What gives the batches of an epoch."""

    def batches(
        self, shards: list[torch.Tensor], batch_size: int, first: int, part: slice
    ) -> Iterator[torch.Tensor]:
        """Yield the complete batches of an epoch from number ``first`` on.

        Parameters
        ----------
        shards : the order (see `shuffled`).
        batch_size : images per batch.
        first : number of the first batch, from 0.
        part : of each batch, for one process of several.

        Yields
        ------
        torch.Tensor
            (m, band, y, x), prepared, on the device.
        """


def prepare(
    images: CleanImages,
    rows: torch.Tensor,
    scaling: Scaling,
    device: torch.device,
) -> torch.Tensor:
    """Return images ready to be augmented, in the order of ``rows``, on the device.

    They are read in the order of the file, some at a time, and are copied to a GPU from
    pinned memory.
    """
    prepared = torch.empty((len(rows), *images.shape[1:]), device=device)
    for chunk in rows.argsort().split(_CHUNK):
        read = torch.from_numpy(images[rows[chunk].numpy()])
        if device.type == "cuda":
            read = read.pin_memory().to(device, non_blocking=True)
        prepared[chunk.to(device)] = scaling.prepare(read)
    return prepared


class Resident:
    """All images at hand on the device, prepared once."""

    def __init__(self, images: CleanImages, scaling: Scaling, device: torch.device) -> None:
        self._prepared = prepare(images, torch.arange(len(images)), scaling, device)

    def batches(
        self, shards: list[torch.Tensor], batch_size: int, first: int, part: slice
    ) -> Iterator[torch.Tensor]:
        """Yield the complete batches of an epoch (see `Source`)."""
        order = torch.cat(shards)
        for batch in range(first, len(order) // batch_size):
            chosen = order[batch * batch_size : (batch + 1) * batch_size][part]
            yield self._prepared[chosen.to(self._prepared.device)]


class Streamed:
    """Images read in shards from their file, while the shard before is trained on."""

    def __init__(self, images: CleanImages, scaling: Scaling, device: torch.device) -> None:
        self._images = images
        self._scaling = scaling
        self._device = device

    def batches(
        self, shards: list[torch.Tensor], batch_size: int, first: int, part: slice
    ) -> Iterator[torch.Tensor]:
        """Yield the complete batches of an epoch (see `Source`)."""
        # Read are as many whole batches as a shard holds: where shards do not end with a batch
        # a reading has the end of one and the beginning of the next.
        order = torch.cat(shards)
        n_batches = len(order) // batch_size
        per_read = max(1, SHARD // batch_size)
        reads = [
            [
                order[batch * batch_size : (batch + 1) * batch_size][part]
                for batch in range(start, min(start + per_read, n_batches))
            ]
            for start in range(first, n_batches, per_read)
        ]
        with ThreadPoolExecutor(1, thread_name_prefix="images") as reader:
            ahead = reader.submit(self._read, reads[0]) if reads else None
            for number, chosen in enumerate(reads):
                assert ahead is not None
                at_hand = ahead.result()
                if number + 1 < len(reads):
                    ahead = reader.submit(self._read, reads[number + 1])
                yield from at_hand.split(len(chosen[0]))

    def _read(self, chosen: list[torch.Tensor]) -> torch.Tensor:
        return prepare(self._images, torch.cat(chosen), self._scaling, self._device)


def make_source(
    images: CleanImages, scaling: Scaling, device: torch.device, memory_bytes: float | None
) -> Source:
    """Return all images at hand where ``memory_bytes`` hold them, else streamed ones.

    Parameters
    ----------
    images : the usable ones.
    scaling : prepares them.
    device : where they are wanted.
    memory_bytes : that they may take there; None: any.
    """
    fits = memory_bytes is None or images.nbytes <= memory_bytes
    _LOG.info(
        "the images (%.3g GB) are %s",
        images.nbytes / 1e9,
        "all in memory" if fits else f"streamed in shards of {SHARD}",
    )
    return (Resident if fits else Streamed)(images, scaling, device)
