"""Results that come in any order, kept on disk until they are wanted in theirs."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Spool:
    """Arrays of one shape, and small records, of numbered items; memory holds places only.

    The temporary files have no name and go with the process, however it ends.

    Parameters
    ----------
    folder : on the file system that may be filled; made if need be.
    n_items : number of items.
    shape : of the array of an item, float32.
    """

    def __init__(self, folder: str | Path, n_items: int, shape: tuple[int, ...]) -> None:
        Path(folder).mkdir(parents=True, exist_ok=True)
        self._arrays = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 closed on exit
        self._records = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 closed on exit
        self._shape = shape
        self._n_bytes = 4 * int(np.prod(shape))
        self._place = np.full(n_items, -1, dtype=np.int64)
        self._has_array = np.zeros(n_items, dtype=bool)

    def __enter__(self) -> Spool:
        """Give itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the disk space back."""
        self._arrays.close()
        self._records.close()

    def put(self, item: int, record: Any, array: NDArray[np.float32] | None = None) -> None:
        """Keep the record of an item (anything that JSON can hold), and its array if it has one."""
        line = json.dumps(record, separators=(",", ":")).encode() + b"\n"
        self._place[item] = self._records.tell()
        self._records.write(line)
        if array is not None:
            self._arrays.seek(item * self._n_bytes)
            self._arrays.write(np.ascontiguousarray(array, dtype="<f4").tobytes())
            self._has_array[item] = True

    @property
    def with_array(self) -> NDArray[np.int64]:
        """Numbers of the items that have an array, in order."""
        return np.flatnonzero(self._has_array)

    def records(self, first: int, end: int) -> list[Any]:
        """Return the records of items ``first`` to ``end - 1``; only when all have been put."""
        found = []
        for place in self._place[first:end].tolist():
            self._records.seek(place)
            found.append(json.loads(self._records.readline()))
        return found

    def arrays(self, items: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the arrays of some items, one after the other."""
        found = np.empty((len(items), *self._shape), dtype=np.float32)
        for number, item in enumerate(items.tolist()):
            self._arrays.seek(item * self._n_bytes)
            data = self._arrays.read(self._n_bytes)
            found[number] = np.frombuffer(data, "<f4").reshape(self._shape)
        return found
