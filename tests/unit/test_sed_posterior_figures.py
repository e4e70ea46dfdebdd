from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from archipelago.passbands import Passband, band_fluxes, make_passband
from archipelago.sed.galaxy import GalaxyModel
from archipelago.sed.posterior_figures import (
    _LABEL,
    _log_ticks,
    _written,
    corner_figure,
    draw_shard,
    save_figure,
    sed_figure,
)
from archipelago.sed.posterior_models import (
    CLASSES,
    PARAMETERS,
    BagpipesModel,
    LensedModel,
    Measured,
    QuasarModel,
    as_class,
)
from archipelago.sed.posterior_spectra import bin_means, spectra, wavelength_bins

BANDS = ("i", "z", "Y", "J", "W1")
FIT: dict[str, Any] = {
    "model_error": {name: {"default": 0.05} for name in CLASSES},
    "floor_fraction": dict.fromkeys(CLASSES, 0.01),
    "survey_error": {"groups": {"a": ["i", "z"]}, **dict.fromkeys(CLASSES, 0.1)},
    "aperture_offset_mag": {"bands": ["i", "z", "Y"], **dict.fromkeys(CLASSES, 0.2)},
}
EDGES = {
    "i": (7000, 8500),
    "z": (8500, 10000),
    "Y": (9500, 10500),
    "J": (11700, 13400),
    "W1": (28000, 38000),
}


@pytest.fixture(scope="module")
def passbands() -> dict[str, Passband]:
    """Top hats at about the real bands."""
    return {
        band: make_passband(band, np.linspace(*limits, 60), np.ones(60))
        for band, limits in EDGES.items()
    }


class Grey:
    """A galaxy of the same f_nu everywhere, with a line far narrower than any bin."""

    def spectrum(
        self, redshift: float, **parameters: Any
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        wave = np.array([1e3, 1.2e4, 1.2001e4, 1.2002e4, 1e5])
        level = 10 ** (parameters["log_mass"] - 10) / redshift
        return wave, level * np.array([1, 1, 101, 1, 1.0])


LENSED = (*QuasarModel.names, "lens_redshift", "lens_log_mass", "lens_log_age_gyr", "lens_av_mag")
QUASAR = np.array(
    [[6.0, -27.0, -0.4, 0.03, 0.8, 1.3, 1.1, 0.0], [6.1, -26.0, -0.2, 0.0, 1.2, 0.5, 0.9, 0.5]]
)
PRIORS = {
    **{"uv_slope_mean": -0.3, "uv_slope_sigma": 0.35, "ebv_scale_mag": 0.05},
    **{"igm_ln_sigma": 0.1, "bal_share": 0.3},
}


# ---------------------------------------------------------------- spectra


def test_bins_keep_the_light_of_narrow_lines() -> None:
    wave, f_nu = Grey().spectrum(1.0, log_mass=10.0)
    edges = np.geomspace(5e3, 2e4, 31)
    means = bin_means(wave, f_nu, edges)
    # The line: a triangle of height 100 and base 2.
    assert (means * np.diff(edges)).sum() == pytest.approx(1.5e4 + 100)
    assert means.max() == pytest.approx(1 + 100 / np.diff(edges)[means.argmax()])
    np.testing.assert_allclose(np.delete(means, means.argmax()), 1.0)


def test_spectra_of_quasars_carry_the_sampled_band_fluxes(passbands: dict[str, Passband]) -> None:
    edges = wavelength_bins(passbands, 2000)
    made = spectra("quasar", QuasarModel.names, QUASAR, edges, Grey(), "delayed")  # type: ignore[arg-type]
    assert list(made) == ["quasar"]
    found = band_fluxes((edges[1:] + edges[:-1]) / 2, made["quasar"], passbands)
    expected = QuasarModel(passbands, (5.9, 6.2), PRIORS).band_fluxes(QUASAR)
    np.testing.assert_allclose(found[:, 1:], expected[:, 1:], rtol=0.03)


def test_spectra_of_lensed_quasars_are_the_sum_of_two(passbands: dict[str, Passband]) -> None:
    edges = wavelength_bins(passbands)
    draws = np.column_stack([QUASAR, [[0.5, 11.0, 0.3, 0.1], [1.0, 10.0, 0.0, 0.5]]])
    made = spectra("lensed", LENSED, draws, edges, Grey(), "delayed")  # type: ignore[arg-type]
    np.testing.assert_allclose(made["lensed"], made["quasar"] + made["galaxy"])
    np.testing.assert_allclose(made["galaxy"][:, 0], [20.0, 1.0])
    assert spectra("star", ("a", "b"), draws[:, :2], edges, Grey(), "delayed") == {}  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("history", ["delayed", "constant"])
def test_spectra_of_galaxies_carry_the_sampled_band_fluxes(
    passbands: dict[str, Passband], history: str
) -> None:
    data = as_class(Measured(9, np.ones(5), np.ones(5), np.ones(5, bool)), "galaxy", BANDS, FIT)
    model = BagpipesModel(data, passbands, history, (0.05, 4.0))
    draws = model.prior(np.random.default_rng(3).random((5, len(model.names))))
    edges = wavelength_bins(passbands, 3000)
    made = spectra("galaxy", model.names, draws, edges, GalaxyModel(passbands), history)
    found = band_fluxes((edges[1:] + edges[:-1]) / 2, made["galaxy"], passbands)
    np.testing.assert_allclose(found, model.band_fluxes(draws), rtol=0.02)


@pytest.mark.slow
def test_spectra_of_lenses_carry_the_sampled_band_fluxes(passbands: dict[str, Passband]) -> None:
    galaxies = GalaxyModel(passbands)
    model = LensedModel(
        QuasarModel(passbands, (5.9, 6.2), PRIORS, step=0.1), galaxies, len(passbands)
    )
    draws = np.column_stack([QUASAR, [[0.5, 11.0, 0.4, 0.5], [2.9, 10.0, 1.0, 1.0]]])
    edges = wavelength_bins(passbands, 3000)
    lens = spectra("lensed", LENSED, draws, edges, galaxies, "delayed")["galaxy"]
    found = band_fluxes((edges[1:] + edges[:-1]) / 2, lens, passbands)
    # The grid has the ages' limit at its nodes, the spectrum at its own redshift.
    np.testing.assert_allclose(found, model.lens_fluxes(draws), rtol=0.06)


# ---------------------------------------------------------------- figures


def shard() -> tuple[list[Measured], pd.DataFrame, dict[str, NDArray[Any]]]:
    """A quasar sampled as star and quasar, and an object that nothing was sampled of."""
    rng = np.random.default_rng(1)
    flux = np.array([0.0, 30, 40, 50, 80])
    measured = Measured(7, flux, np.full(5, 2.0), np.ones(5, bool))
    dark = Measured(8, np.zeros(5), np.ones(5), np.ones(5, bool))
    arrays: dict[str, NDArray[Any]] = {}
    rows = []
    for name, names in (("star", ("type_code", "log_flux_j_ujy")), ("quasar", QuasarModel.names)):
        middle = QUASAR[0] if name == "quasar" else np.array([12.0, 2.0])
        arrays[f"7/{name}/parameters"] = np.array(names)
        arrays[f"7/{name}/samples"] = middle + 0.05 * rng.normal(size=(60, len(names)))
        arrays[f"7/{name}/fluxes_ujy"] = flux * rng.normal(1, 0.1, (60, 5)) + 1
        arrays[f"8/{name}/fluxes_ujy"] = np.empty((0, 5))
        row = {"class": name, "ln_evidence_err": 0.02, "chi2_best": 3.0, "n_bands": 5}
        rows += [{"id": 7, "ln_evidence": -9.8765, **row}, {"id": 8, "ln_evidence": np.nan, **row}]
    return [measured, dark], pd.DataFrame(rows), arrays


def test_figures_of_a_shard_and_their_bytes(passbands: dict[str, Passband], tmp_path: Path) -> None:
    for folder in ("a", "b"):
        draw_shard(tmp_path / folder, *shard(), passbands, FIT, "delayed")
        matplotlib.rcParams["font.size"] = 20  # as a user's file might
    matplotlib.rcdefaults()
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*.svg"))
    assert [str(path) for path in files] == [
        "7/corner_quasar.svg",
        "7/corner_star.svg",
        "7/sed.svg",
    ]
    for path in files:
        content = (tmp_path / "a" / path).read_bytes()
        assert content == (tmp_path / "b" / path).read_bytes()
        assert b"<dc:date>" not in content
    text = (tmp_path / "a" / "7" / "sed.svg").read_text(encoding="utf-8")
    for word in ("AB magnitude", "2 σ limit", "ln Z = -9.88 ± 0.02", "data - draws", ">W1<"):
        assert word in text, word


def test_a_shard_without_objects_has_an_empty_folder(
    passbands: dict[str, Passband], tmp_path: Path
) -> None:
    draw_shard(tmp_path / "f", [], shard()[1].iloc[:0], {}, passbands, FIT, "delayed")
    assert list((tmp_path / "f").iterdir()) == []


def test_residuals_and_axes_of_an_sed() -> None:
    flux, error = np.array([2.0, 0, 40, 50, 80]), np.full(5, 2.0)
    used = np.array([True] * 4 + [False])
    data = as_class(Measured(7, flux, error, used), "quasar", BANDS, FIT)
    fluxes = np.tile(data.flux_ujy - 3 * data.total_error_ujy, (20, 1))
    pivots = np.array([0.78, 0.92, 1.0, 1.25, 3.3])
    edges = np.geomspace(0.6, 4, 51)
    made = {"quasar": np.full((20, 50), 10.0)}
    figure = sed_figure("x", [("quasar", "t", data, fluxes, made)], pivots, edges, BANDS)
    upper, lower, magnitudes = figure.axes
    bottom, top = upper.get_ylim()
    assert magnitudes.get_ylim() == pytest.approx(
        (23.9 - 2.5 * np.log10(bottom), 23.9 - 2.5 * np.log10(top))
    )
    middle = lower.containers[0][0]
    np.testing.assert_allclose(np.asarray(middle.get_xdata()), pivots[used])
    np.testing.assert_allclose(np.asarray(middle.get_ydata()), 3.0)
    assert lower.get_ylim()[1] > 3
    limit = next(line for line in upper.lines if line.get_marker() == "v")
    np.testing.assert_allclose(np.asarray(limit.get_ydata()), 2 * data.total_error_ujy[1])


def test_corners_of_odd_draws(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    draws = np.column_stack([np.full(50, 3.0), rng.normal(size=50), np.repeat([0.0, 1.0], 25)])
    figure = corner_figure(draws, ["a", "b", "c"], "odd", "#000000")
    save_figure(figure, tmp_path / "corner.svg")
    assert "odd" in (tmp_path / "corner.svg").read_text(encoding="utf-8")
    two = corner_figure(rng.normal(size=(500, 2)), ["a", "b"], "two", "#000000")
    regions = next(part for part in two.axes[0].collections if len(part.get_paths()) == 2)
    # The regions of 95 and 68 % lie in the cell of their pair, and one in the other.
    outer, inner = (path.get_extents() for path in regions.get_paths())
    assert 0 < outer.x0 < inner.x0 < inner.x1 < outer.x1 < 1
    assert 1 < outer.y0 < inner.y0 < inner.y1 < outer.y1 < 2
    one = corner_figure(np.array([[1.0, 2.0]]), ["a", "b"], "one draw", "#000000")
    save_figure(one, tmp_path / "one.svg")


def test_correlated_draws_lie_along_the_rising_diagonal() -> None:
    x = np.random.default_rng(1).normal(size=2000)
    figure = corner_figure(np.column_stack([x, x]), ["a", "b"], "line", "#000000")
    regions = next(part for part in figure.axes[0].collections if len(part.get_paths()) == 2)
    at = np.asarray(regions.get_paths()[0].vertices)
    # Rows are counted downwards.
    assert np.corrcoef(at.T)[0, 1] < -0.8


def test_coordinates_are_rounded_and_texts_are_not(tmp_path: Path) -> None:
    draws = np.random.default_rng(1).normal(size=(60, 2))
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        figure = corner_figure(draws, ["a", "b"], "1.23456", "k")
        save_figure(figure, tmp_path / "corner.svg")
    text = (tmp_path / "corner.svg").read_text(encoding="utf-8")
    assert "1.23456</text>" in text
    paths = re.findall(r' d="([^"]*)"', text)
    assert any(len(path) > 200 for path in paths)
    for path in paths:
        decimals = 2 if "C" in path or "Q" in path else 1
        assert max(map(len, re.findall(r"\.(\d+)", path)), default=0) <= decimals, path
    assert not re.search(r"(Infinity|NaN)", "".join(paths), re.IGNORECASE)


@pytest.mark.parametrize(
    ("limits", "ticks"),
    [((0.5, 3000), [1, 10, 100, 1000]), ((30, 110), [50, 100]), ((3, 4), [])],
)
def test_ticks_of_the_flux_axis(limits: tuple[float, float], ticks: list[float]) -> None:
    np.testing.assert_allclose(_log_ticks(*limits), ticks)


def test_numbers_have_two_digits_of_their_range() -> None:
    assert _written(6.0213, 0.08) == "6.021"
    assert _written(-26.72, 0.24) == "-26.72"
    assert _written(1234.5, 900.0) == "1234"
    assert _written(3.0, 0.0) == "3.000"


def test_every_parameter_has_a_label() -> None:
    assert set(_LABEL) == set(PARAMETERS)
