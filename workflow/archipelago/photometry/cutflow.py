"""Tables of the cut flow: how many rows each step of the search leaves."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from archipelago.base.errors import DataError
from archipelago.base.files import reading
from archipelago.base.tables import write_csv

#: Columns of every cut flow.
CUTFLOW_COLUMNS = ("tile", "step", "stage", "cut", "rows_in", "rows_out")

_COUNTS = ("step", "rows_in", "rows_out")


class CutFlow:
    """A cut flow under construction; each line begins where the one before ends."""

    def __init__(self, tile: str) -> None:
        self.tile = tile
        self._lines: list[tuple[str, int, str, str, int, int]] = []

    def add(self, stage: str, cut: str, rows_in: int, rows_out: int) -> None:
        """Add a line.

        Raises
        ------
        DataError
            If it does not begin where the line before ended, or rows appear from nowhere.
        """
        before = self._lines[-1][-1] if self._lines else rows_in
        if rows_in != before or not 0 <= rows_out <= rows_in:
            raise DataError(
                f"the cut flow says {before} rows, then {rows_in} in and {rows_out} out",
                where=f"tile {self.tile}, {stage}: {cut}",
                next_step="the files of this tile do not belong together: delete them and "
                "run its rules again",
            )
        self._lines.append((self.tile, len(self._lines) + 1, stage, cut, rows_in, rows_out))

    def extend(self, table: pd.DataFrame) -> None:
        """Add the lines of a table made earlier."""
        columns = (table[name].tolist() for name in ("stage", "cut", "rows_in", "rows_out"))
        for stage, cut, rows_in, rows_out in zip(*columns, strict=True):
            self.add(stage, cut, rows_in, rows_out)

    @property
    def rows(self) -> int:
        """Rows left after the last line; 0 without lines."""
        return self._lines[-1][-1] if self._lines else 0

    def table(self) -> pd.DataFrame:
        """Return the lines so far, with the columns `CUTFLOW_COLUMNS`."""
        frame = pd.DataFrame(self._lines, columns=list(CUTFLOW_COLUMNS))
        types = dict.fromkeys(_COUNTS, "int64") | dict.fromkeys(("tile", "stage", "cut"), "str")
        return frame.astype(types)


def survey_cutflow(
    tile: str,
    n_sources: int,
    n_select_losses: int,
    match_losses: pd.DataFrame,
    catalogues: Sequence[str],
) -> pd.DataFrame:
    """Return the lines of the selection and of each match.

    Parameters
    ----------
    tile : name of the tile.
    n_sources : rows of the selection that go on to the matches.
    n_select_losses : rows of the query's answer that the selection set aside.
    match_losses : losses of the matches; a row counts for the catalogue whose name is a
        word of its reason. Reasons without such a name get a line each, after the matches.
    catalogues : names of the matched catalogues, in order.
    """
    flow = CutFlow(tile)
    flow.add("select", "selection", n_sources + n_select_losses, n_sources)
    left = match_losses["reason"].astype(str)
    for name in catalogues:
        mine = left.str.contains(rf"(?<!\w){re.escape(name)}(?!\w)", regex=True)
        flow.add("match", f"match {name}", flow.rows, flow.rows - int(mine.sum()))
        left = left[~mine.to_numpy(dtype=bool)]
    for reason, count in left.value_counts(sort=False).sort_index().items():
        flow.add("match", str(reason), flow.rows, flow.rows - int(count))
    return flow.table()


def sum_cutflows(flows: Iterable[pd.DataFrame], tile: str = "all") -> pd.DataFrame:
    """Add the cut flows of tiles line by line; ``tile`` names the sum.

    Lines are those of all flows in the order in which they first occur: a line
    that a tile lacks passes the tile's rows through.

    Raises
    ------
    DataError
        If the lines of a flow do not follow each other.
    """
    chains: list[pd.DataFrame] = []
    for flow in flows:
        checked = CutFlow(str(flow["tile"].iloc[0]) if len(flow) else tile)
        checked.extend(flow)
        chains.append(checked.table())
    steps = _merge_steps([_steps(chain) for chain in chains])
    totals = dict.fromkeys(steps, (0, 0))
    for chain in chains:
        rows = int(chain["rows_in"].iloc[0]) if len(chain) else 0
        counts = dict(zip(_steps(chain), chain["rows_out"].tolist(), strict=True))
        for step in steps:
            after = counts.get(step, rows)
            totals[step] = (totals[step][0] + rows, totals[step][1] + after)
            rows = after
    summed = CutFlow(tile)
    for (stage, cut), (rows_in, rows_out) in totals.items():
        summed.add(stage, cut, rows_in, rows_out)
    return summed.table()


def _steps(chain: pd.DataFrame) -> list[tuple[str, str]]:
    return list(zip(chain["stage"].tolist(), chain["cut"].tolist(), strict=True))


def _merge_steps(chains: list[list[tuple[str, str]]]) -> list[tuple[str, str]]:
    """Return the steps of all chains, each once, in an order that suits them all."""
    merged: list[tuple[str, str]] = []
    for chain in chains:
        position = 0
        for step in chain:
            if step in merged:
                position = merged.index(step) + 1
            else:
                merged.insert(position, step)
                position += 1
    return merged


def write_cutflow(flow: pd.DataFrame, path: str | Path) -> None:
    """Write a cut flow as CSV, completely or not at all."""
    write_csv(flow, path, CUTFLOW_COLUMNS)


def read_cutflow(path: str | Path) -> pd.DataFrame:
    """Read a table written by `write_cutflow`.

    Raises
    ------
    InputError
        If the file cannot be read or lacks a column.
    """
    with reading("the cut flow", path):
        table = pd.read_csv(
            path,
            keep_default_na=False,
            dtype=dict.fromkeys(_COUNTS, "int64") | dict.fromkeys(("tile", "stage", "cut"), "str"),
        )
        return table[list(CUTFLOW_COLUMNS)]
