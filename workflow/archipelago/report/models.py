"""Best models of the shortlisted candidates, as the catalogue would have measured them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from archipelago.sed.dust import galactic_correction
from archipelago.sed.templates import TemplateSet, best_model_fluxes


def model_fluxes(
    shortlist: pd.DataFrame,
    verdicts: pd.DataFrame,
    templates: TemplateSet,
    bands: Sequence[str],
    aperture_offset_mag: Mapping[str, Any] | None = None,
) -> dict[int, dict[str, NDArray[np.float64]]]:
    """Return, per id and class, the best model's band fluxes [uJy], (n_band,) each.

    Models are total fluxes without Galactic dust. Here the class's aperture offset
    and the dust are put back, so that they can be drawn over the catalogue's fluxes.

    Parameters
    ----------
    shortlist : objects: id, and ebv_sfd98 [mag] where there is.
    verdicts : of the SED stage; objects without one are left out.
    templates : that the verdicts were made with.
    bands : order of the result; NaN for those without a template.
    aperture_offset_mag : per class total minus aperture, as the SED stage takes it, with
        its ``bands``; None: the catalogue's fluxes are total.
    """
    joined = shortlist[["id"]].merge(verdicts, on="id", how="inner", validate="one_to_one")
    ebv = np.zeros(len(joined))
    if "ebv_sfd98" in shortlist.columns:
        ebv = shortlist.set_index("id")["ebv_sfd98"].reindex(joined["id"]).to_numpy(dtype=float)
    dust = 1.0 / galactic_correction(ebv, templates.bands)
    offsets = aperture_offset_mag or {"bands": ()}
    in_aperture = np.array([band in offsets["bands"] for band in templates.bands])
    place = [templates.bands.index(b) if b in templates.bands else -1 for b in bands]
    result: dict[int, dict[str, NDArray[np.float64]]] = {}
    for row, extinction in zip(joined.to_dict("records"), dust, strict=True):
        models = best_model_fluxes({str(k): v for k, v in row.items()}, templates)
        result[int(row["id"])] = {}
        for name, total in models.items():
            share = 10 ** (-0.4 * float(offsets.get(name, 0.0)))
            seen = total * extinction * np.where(in_aperture, share, 1.0)
            result[int(row["id"])][name] = np.append(seen, np.nan)[place]
    return result
