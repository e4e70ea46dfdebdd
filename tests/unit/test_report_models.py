"""Best models as the catalogue would have measured them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from archipelago.report.models import model_fluxes
from archipelago.sed.dust import galactic_correction
from archipelago.sed.templates import ClassTemplates, Representatives, TemplateSet

BANDS = ("g", "z", "W1")


def _templates() -> TemplateSet:
    group = ClassTemplates(np.array([[1.0, 2.0, 4.0]]), {"redshift": np.array([6.0])})
    first = Representatives(np.array([0]), np.array([0]))
    classes = dict.fromkeys(("star", "galaxy", "quasar"), group)
    pivots_aa = np.array([4800.0, 9200.0, 33500.0])
    return TemplateSet(BANDS, pivots_aa, classes, first, first, first)


def _verdicts(ids: list[int]) -> pd.DataFrame:
    table = pd.DataFrame({"id": ids})
    for name in ("star", "galaxy", "quasar", "lensed_quasar", "lensed_galaxy"):
        table[f"best_{name}_template"] = -1 if name == "star" else 0
        table[f"best_{name}_amplitude"] = 3.0
    return table


def test_aperture_dust_and_order_of_bands() -> None:
    shortlist = pd.DataFrame({"id": [7, 8], "ebv_sfd98": [0.1, np.nan]})
    offsets = {"bands": ["g", "z"], "quasar": 0.25, "galaxy": 0.0, "star": 0.0, "lensed": 0.0}
    models = model_fluxes(shortlist, _verdicts([7]), _templates(), ["z", "g", "J"], offsets)
    assert list(models) == [7] and set(models[7]) == {"galaxy", "quasar", "lensed"}
    dust = galactic_correction(np.array([0.1]), BANDS)[0]
    want = 3 * np.array([2.0, 1.0]) / dust[[1, 0]]
    np.testing.assert_allclose(models[7]["galaxy"][:2], want)
    np.testing.assert_allclose(models[7]["quasar"][:2], want * 10 ** (-0.4 * 0.25))
    np.testing.assert_allclose(models[7]["lensed"][:2], 2 * want)
    assert np.isnan(models[7]["quasar"][2])


def test_without_offsets_or_reddening_models_are_total() -> None:
    models = model_fluxes(pd.DataFrame({"id": [7]}), _verdicts([7]), _templates(), BANDS)
    assert models[7]["quasar"] == pytest.approx([3, 6, 12])


def test_nobody_on_the_shortlist() -> None:
    empty = pd.DataFrame({"id": pd.Series(dtype="int64")})
    assert model_fluxes(empty, _verdicts([7]), _templates(), BANDS) == {}
