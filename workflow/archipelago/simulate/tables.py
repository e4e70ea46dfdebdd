"""The simulated objects of both kinds as one set of images with its table."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from archipelago.base.images import ImageSet
from archipelago.sed.templates import TemplateSet
from archipelago.simulate.objects import Known, Simulated, simulate

_LOG = logging.getLogger(__name__)

#: What each column is, for the table's metadata.
ABOUT = {
    "id": "number of the simulated object, 0, 1, ...",
    "kind": "quasar or lensed",
    "from_known": "whether it has the colours of a known quasar, and not a model's",
    "source_id": "identifier of that quasar; 0 where there is none",
    "redshift": "of the quasar",
    "separation_arcsec": "largest distance of two of its images; 0 where there is one",
    "lens_share": "the lens galaxy's share of the light in the band that shows the sample best",
}


def known_among(ids: NDArray[np.int64], matched: pd.DataFrame) -> Known:
    """Return the known quasars among objects with images.

    Parameters
    ----------
    ids : (n,) of the images, in their order.
    matched : columns id and known_redshift, as `archipelago.known.match_known` returns.
    """
    redshift_of = matched.set_index("id")["known_redshift"].astype(float)
    row = np.flatnonzero(np.isin(ids, redshift_of.index.to_numpy()))
    return Known(row, np.asarray(redshift_of.reindex(ids[row]), dtype=np.float64))


def simulated_objects(
    images: ImageSet,
    templates: TemplateSet,
    priors: Mapping[str, Any],
    known: Known,
    *,
    n: int,
    seed: int,
    redshift_min: float,
) -> tuple[NDArray[np.float32], pd.DataFrame]:
    """Return ``n`` simulated quasars, ``n`` lensed ones, and their table.

    Parameters
    ----------
    images, templates, priors, known, n, seed, redshift_min : see
        `archipelago.simulate.objects.simulate`.

    Returns
    -------
    images : (m, band, y, x) counts; m is less than 2 n where the sample lets hardly any in.
    table : (m) rows in their order, columns of `ABOUT`.
    """
    quasars, lensed = simulate(
        images, templates, priors, known, n=n, seed=seed, redshift_min=redshift_min
    )
    _LOG.info(
        "%d quasars, %d of them with the colours of %d known ones, and %d lensed quasars",
        len(quasars),
        int((quasars.source >= 0).sum()),
        len(known.row),
        len(lensed),
    )
    for kind, made in (("quasars", quasars), ("lensed quasars", lensed)):
        if len(made) < n:
            _LOG.warning("only %d of %d %s fit the sample's limits", len(made), n, kind)
    parts = [_rows(quasars, "quasar", images.ids), _rows(lensed, "lensed", images.ids)]
    table = pd.concat(parts, ignore_index=True)
    table.insert(0, "id", np.arange(len(table), dtype=np.int64))
    table["kind"] = table["kind"].astype("str")
    return np.concatenate([quasars.images, lensed.images]), table[list(ABOUT)]


def _rows(made: Simulated, kind: str, ids: NDArray[np.int64]) -> pd.DataFrame:
    source_id = np.zeros(len(made), dtype=np.int64)
    has = made.source >= 0
    source_id[has] = ids[made.source[has]]
    return pd.DataFrame(
        {
            "kind": [kind] * len(made),
            "from_known": has,
            "source_id": source_id,
            "redshift": made.redshift,
            "separation_arcsec": made.separation_arcsec,
            "lens_share": made.lens_share,
        }
    )
