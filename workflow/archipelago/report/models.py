"""Best models of the shortlisted candidates, as the catalogue would have measured them.

Band fluxes are those of the templates that were fitted. The spectra of quasars are computed
anew, for the drawing, from the parameters of the template. Those of galaxies would take BAGPIPES
and most of the report's time and memory: galaxies are drawn from band to band.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from archipelago.passbands import Passband
from archipelago.sed.dust import galactic_correction
from archipelago.sed.quasar import quasar_f_nu
from archipelago.sed.templates import TemplateSet, best_model_fluxes

Floats = NDArray[np.float64]

#: Points of a spectrum that is drawn: two pixels each.
N_SPECTRUM = 240


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


def model_spectra(
    shortlist: pd.DataFrame,
    verdicts: pd.DataFrame,
    templates: TemplateSet,
    passbands: Mapping[str, Passband],
    models: Mapping[int, Mapping[str, Floats]],
    bands: Sequence[str],
) -> dict[int, dict[str, tuple[Floats, Floats]]]:
    """Return, per id and class, the best model's spectrum: wavelength [um] and flux [uJy].

    A spectrum is drawn through the band fluxes of `model_fluxes`: what dust and the aperture
    take of it in a band is what they take of the band's flux, and between bands interpolated
    in ln wavelength. Stars and galaxies have none. To the quasar of a lensed one its galaxy is
    added as its band fluxes, interpolated likewise.

    Parameters
    ----------
    shortlist, verdicts, templates, bands : as in `model_fluxes`.
    passbands : per band its curve; they set the range of wavelengths.
    models : what `model_fluxes` returned.
    """
    if not passbands:
        return {}
    low = min(float(band.wavelength_aa[0]) for band in passbands.values()) * 0.97
    high = max(float(band.wavelength_aa[-1]) for band in passbands.values()) * 1.03
    edges = np.geomspace(low, high, N_SPECTRUM + 1)
    wave_um = np.sqrt(edges[1:] * edges[:-1]) / 1e4
    made: dict[int, Floats] = {}
    joined = shortlist[["id"]].merge(verdicts, on="id", how="inner", validate="one_to_one")
    result: dict[int, dict[str, tuple[Floats, Floats]]] = {}
    for raw in joined.to_dict("records"):
        row = {str(key): value for key, value in raw.items()}
        totals = best_model_fluxes(row, templates)
        result[int(row["id"])] = {}
        for name, seen in models.get(int(row["id"]), {}).items():
            part = {"quasar": "quasar", "lensed": "lensed_quasar"}.get(name)
            if part is None or name not in totals:
                continue
            index = int(row[f"best_{part}_template"])
            if index not in made:
                made[index] = _quasar(templates, index, edges)
            f_nu = float(row[f"best_{part}_amplitude"]) * made[index]
            if name == "lensed":
                f_nu = f_nu + _galaxy_of(row, templates, wave_um)
            share = _share_seen(totals[name], seen, templates, bands)
            if len(share[0]):
                f_nu = f_nu * np.interp(np.log(wave_um), *share)
            result[int(row["id"])][name] = (wave_um, f_nu)
    return result


def _quasar(templates: TemplateSet, index: int, edges_aa: Floats) -> Floats:
    """Return the spectrum [uJy] of a quasar template of amplitude 1, in bins."""
    group = templates.classes["quasar"].parameters
    values = {key: float(column[index]) for key, column in group.items()}
    # Ten points a bin keep what lines hold.
    wave = np.geomspace(edges_aa[0], edges_aa[-1], 10 * N_SPECTRUM + 1)
    return binned(wave, quasar_f_nu(wave, values.pop("redshift"), **values), edges_aa)


def _galaxy_of(row: Mapping[str, Any], templates: TemplateSet, wave_um: Floats) -> Floats:
    """Return the flux [uJy] of the galaxy of a lensed quasar, from band to band."""
    fluxes = templates.classes["galaxy"].fluxes[int(row["best_lensed_galaxy_template"])]
    order = np.argsort(templates.pivot_aa)
    pivots = np.log(templates.pivot_aa[order] / 1e4)
    return float(row["best_lensed_galaxy_amplitude"]) * np.interp(
        np.log(wave_um), pivots, fluxes[order]
    )


def _share_seen(
    total: Floats, drawn: Floats, templates: TemplateSet, bands: Sequence[str]
) -> tuple[Floats, Floats]:
    """Return ln wavelength [um] and the share of the model's flux that is seen, band by band."""
    place = {band: k for k, band in enumerate(bands)}
    points = sorted(
        (float(np.log(pivot / 1e4)), float(drawn[place[band]] / flux))
        for band, pivot, flux in zip(templates.bands, templates.pivot_aa, total, strict=True)
        if band in place and flux > 0 and np.isfinite(drawn[place[band]])
    )
    return np.array([p[0] for p in points]), np.array([p[1] for p in points])


def binned(wavelength_aa: Floats, f_nu: Floats, edges_aa: Floats) -> Floats:
    """Return the mean of a spectrum in each bin of wavelength, its light kept.

    Parameters
    ----------
    wavelength_aa : increasing [Angstrom], (n,).
    f_nu : (n,) in any unit; beyond its ends it is as there.
    edges_aa : increasing edges of the bins [Angstrom], (n_bin + 1,).

    Returns
    -------
    (n_bin,) int f_nu dlambda over each bin, by its width.
    """
    inside = wavelength_aa[(wavelength_aa > edges_aa[0]) & (wavelength_aa < edges_aa[-1])]
    grid = np.union1d(edges_aa, inside)
    values = np.interp(grid, wavelength_aa, f_nu)
    area = np.concatenate([[0.0], np.cumsum(np.diff(grid) * (values[1:] + values[:-1]) / 2)])
    return np.diff(np.interp(edges_aa, grid, area)) / np.diff(edges_aa)
