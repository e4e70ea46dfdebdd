"""Digests that tell whether a file was made for the objects at hand."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import pandas as pd


def objects_mark(ids: Sequence[int] | np.ndarray, positions: pd.DataFrame) -> str:
    """Return a digest of objects and their positions, whatever their order.

    Parameters
    ----------
    ids : identifiers of the objects.
    positions : ra_deg, dec_deg of these and perhaps others; the index holds identifiers.
    """
    ids = np.unique(np.asarray(ids, dtype="<i8"))
    places = positions.loc[ids, ["ra_deg", "dec_deg"]].to_numpy(dtype="<f8")
    return hashlib.sha256(ids.tobytes() + np.ascontiguousarray(places).tobytes()).hexdigest()[:16]
