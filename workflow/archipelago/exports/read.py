"""Reading the ranked list: only the columns that are needed, or all of it part by part."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from archipelago.base.files import reading
from archipelago.base.tables import read_table

#: Columns without which nothing can be exported.
REQUIRED = ("id", "ra_deg", "dec_deg", "rank", "is_known")
#: Columns that are shown where the table has them.
_SHOWN = (
    *("known_name", "known_redshift", "listed_name", "listed_type", "listed_in", "z_quasar"),
    *("best_class", "combined_class", "p_quasar", "p_lensed"),
    *("combined_p_quasar", "combined_p_lensed"),
)
_PER_BAND = ("mag_ab", "mag_err", "flux_err_ujy")
#: Rows that are read at once.
_PART = 20_000


def read_candidates(path: str | Path, bands: Sequence[str]) -> pd.DataFrame:
    """Read what the exports show of all candidates.

    Parameters
    ----------
    path : ``candidates.parquet``.
    bands : whose magnitudes are wanted.

    Raises
    ------
    InputError
        If the file cannot be read, or lacks an indispensable column.
    """
    with reading("the candidates", path, pa.ArrowException):
        there = set(pq.read_schema(path).names)
    wanted = [*REQUIRED, *_SHOWN, *(f"{name}_{band}" for band in bands for name in _PER_BAND)]
    return read_table(path, REQUIRED, columns=[name for name in wanted if name in there])


def table_parts(path: str | Path) -> Iterator[pd.DataFrame]:
    """Yield a Parquet table in parts of all columns, at least one, which may have no rows.

    Raises
    ------
    InputError
        If the file cannot be read.
    """
    with reading("the candidates", path, pa.ArrowException), pq.ParquetFile(path) as file:
        n_parts = 0
        for batch in file.iter_batches(batch_size=_PART):
            n_parts += 1
            # With the types that the file's own record of pandas tells, such as nullable integers.
            whole = pa.Table.from_batches([batch])
            yield whole.replace_schema_metadata(file.schema_arrow.metadata).to_pandas()
        if not n_parts:
            yield file.schema_arrow.empty_table().to_pandas()
