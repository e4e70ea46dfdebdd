"""Best parameters and their ranges."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from archipelago.sed import parameters
from archipelago.sed.grid import PairFit, SingleFit
from archipelago.sed.parameters import GRID_COLUMNS, about, amplitude_columns, quantiles
from archipelago.sed.templates import ClassTemplates, Representatives, TemplateSet

Floats = NDArray[np.float64]


def _one(values: list[float], shares: list[float]) -> tuple[float, float, float]:
    low, middle, high = quantiles(np.array(values), np.array([shares]))
    return float(low[0]), float(middle[0]), float(high[0])


def test_quantiles_by_hand() -> None:
    # A single value has no range.
    assert _one([3.0], [0.2]) == (3.0, 3.0, 3.0)
    # Two cells of equal size: a flat distribution.
    assert _one([0.0, 1.0], [0.5, 0.5]) == pytest.approx((0.16, 0.5, 0.84))
    # Cells 0 to 1, 1 to 3 and 3 to 4, of which the middle one has half.
    assert _one([0.0, 2.0, 4.0], [1.0, 2.0, 1.0]) == pytest.approx((0.64, 2.0, 3.36))
    # All in one cell: evenly filled, the outermost ends at its value.
    assert _one([0.0, 2.0, 6.0], [0.0, 9.0, 0.0]) == pytest.approx((1.48, 2.5, 3.52))
    assert _one([0.0, 2.0, 6.0], [0.0, 0.0, 1.0]) == pytest.approx((4.32, 5.0, 5.68))
    assert _one([0.0, 2.0, 6.0], [1.0, 0.0, 0.0]) == pytest.approx((0.16, 0.5, 0.84))
    # Two ends: the median is where the lower one's cell ends.
    assert _one([0.0, 1.0, 2.0, 3.0], [1.0, 0.0, 0.0, 1.0]) == pytest.approx((0.16, 0.5, 2.84))


_CELLS = st.lists(
    st.tuples(st.floats(1e-3, 10.0), st.one_of(st.just(0.0), st.floats(1e-12, 1e3))),
    min_size=1,
    max_size=12,
)


@given(cells=_CELLS, start=st.floats(-50, 50))
def test_quantiles_are_in_order_and_on_the_axis(
    cells: list[tuple[float, float]], start: float
) -> None:
    steps, shares = np.array(cells).T
    values = start + np.cumsum(steps)
    low, middle, high = quantiles(values, np.array([shares, 7 * shares]))
    assert values[0] <= low[0] <= middle[0] <= high[0] <= values[-1]
    np.testing.assert_allclose(low[0], low[1], rtol=1e-9, atol=1e-9)
    if len(values) > 1 and shares.sum() > 0:
        edges = np.concatenate([values[:1], (values[1:] + values[:-1]) / 2, values[-1:]])
        cumulative = np.concatenate([[0], np.cumsum(shares)]) / shares.sum()
        for at, level in ((low, 0.16), (middle, 0.5), (high, 0.84)):
            assert np.interp(at[0], edges, cumulative) == pytest.approx(level, abs=1e-6)


def test_magnitudes_run_backwards_and_masses_do_not() -> None:
    amplitude = np.array([10.0, 1.0, 0.0, 5.0])
    ln = (np.log([10.0, 1.0, 1.0, 5.0]), np.array([0.1, 0.0, 1.0, 0.2]))
    found = np.array([True, True, True, False])
    for name, best, step in (
        ("star", [21.4, 23.9], 0.1085736),
        ("galaxy", [11.0, 10.0], 0.0434294),
        ("quasar", [-28.5, -26.0], 0.1085736),
    ):
        columns = amplitude_columns(name, "x", amplitude, ln, found)
        np.testing.assert_allclose(columns["x"][:2], best)
        np.testing.assert_allclose(columns["x_lo"][:2], [best[0] - step, best[1]], atol=1e-6)
        np.testing.assert_allclose(columns["x_hi"][:2], [best[0] + step, best[1]], atol=1e-6)
        # No light: no best value. No fit: nothing.
        assert np.isnan(columns["x"][2]) and np.isfinite(columns["x_lo"][2])
        assert all(np.isnan(column[3]) for column in columns.values())


# --------------------------------------------------------------------------- whole columns


def _templates() -> TemplateSet:
    """Return four templates per class, whose parameters count up."""
    classes = {}
    for name, columns in GRID_COLUMNS.items():
        values = {key: np.array([0.0, 1.0, 2.0, 3.0]) + row for row, key in enumerate(columns)}
        classes[name] = ClassTemplates(np.ones((4, 2)), values)
    classes["star"].parameters["spectral_type"] = np.array(["M0", "M1", "M2", "M3"])
    one = Representatives(np.array([0]), np.zeros(4, dtype=np.int64))
    return TemplateSet(("a", "b"), np.array([1.0, 2.0]), classes, one, one, one)


def _single(n_level: int, index: list[int]) -> SingleFit:
    n = len(index)
    shares = np.tile(np.tile([0.1, 0.4, 0.4, 0.1], n_level // 4), (n, 1))
    chi2, amplitude = np.ones(n), np.where(np.array(index) < 0, 0.0, 2.0)
    return SingleFit(
        chi2, np.array(index), amplitude, chi2, shares, np.log(np.full(n, 2.0)), 0.1 * chi2
    )


def _pair(index: list[int], amplitude_galaxy: float = 1.0) -> PairFit:
    n = len(index)
    ones, shares = np.ones(n), np.tile([0.0, 0.5, 0.5, 0.0], (n, 1))
    where, spread = np.array(index), (np.zeros(n), np.full(n, 0.1))
    return PairFit(
        *(ones, where, where, ones, amplitude_galaxy * ones, ones, shares, shares, spread, spread)
    )


def test_every_column_is_described_and_no_other() -> None:
    templates = _templates()
    columns: dict[str, NDArray[np.generic]] = {}
    for name in GRID_COLUMNS:
        levels = parameters.levels_of(templates.classes[name], name)
        fit = _single(levels.member.shape[1], [2, -1])
        columns |= parameters.columns_of_class(name, fit, templates.classes[name], levels)
    columns |= parameters.columns_of_pair(_pair([1, -1]), templates)
    assert set(columns) == set(about())
    assert all(text and "  " not in text for text in about().values())
    for name, values in columns.items():
        if name == "spectral_type":
            assert list(values) == ["M2", ""]
            continue
        assert np.isfinite(values[0].astype(float)) and np.isnan(values[1].astype(float)), name
        if f"{name}_lo" in columns:
            assert columns[f"{name}_lo"][0] < columns[f"{name}_hi"][0], name
    # The third template, whose second parameter is one more.
    assert (columns["z_galaxy"][0], columns["age_galaxy"][0]) == (2.0, 3.0)
    # Cells 0 to 0.5, ... : 16 % lies in the second, 84 % in the third.
    assert columns["z_galaxy_lo"][0] == pytest.approx(0.5 + 0.06 / 0.4)
    assert columns["z_galaxy_hi"][0] == pytest.approx(2.5 - 0.06 / 0.4)


def test_a_part_without_light_has_no_parameters() -> None:
    columns = parameters.columns_of_pair(_pair([1], amplitude_galaxy=0.0), _templates())
    assert columns["z_lensed_quasar"][0] == 1
    assert np.isnan(columns["z_lens_galaxy"][0]) and np.isnan(columns["z_lens_galaxy_lo"][0])
    assert np.isnan(columns["log_mass_lens_galaxy"][0])


@pytest.mark.parametrize(("ahead", "wanted"), [(40.0, 3.0), (-40.0, 2.0), (0.0, 2.5)])
def test_redshift_follows_the_likelier_of_quasar_and_lensed_quasar(
    ahead: float, wanted: float
) -> None:
    group = _templates().classes["quasar"]
    group.parameters["redshift"] = np.array([1.0, 2.0, 3.0, 4.0])
    levels = parameters.levels_of(group, "quasar")
    alone = np.zeros((1, levels.member.shape[1]))
    alone[0, 2] = 1  # cell 2.5 to 3.5
    quasar = replace(
        _single(alone.shape[1], [0]), levels=alone, ln_evidence=np.array([ahead - 900.0])
    )
    pair = replace(
        _pair([0]),
        levels_quasar=np.array([[0.0, 1.0, 0.0, 0.0]]),  # cell 1.5 to 2.5
        ln_evidence=np.array([-900.0]),
    )
    columns = parameters.quasar_redshift(quasar, pair, levels)
    assert columns["z_quasar"][0] == pytest.approx(wanted)
    assert columns["z_quasar_lo"][0] < columns["z_quasar"][0] < columns["z_quasar_hi"][0]


def test_shares_are_summed_by_value() -> None:
    shares = np.array([[0.1, 0.2, 0.3, 0.4]])
    got = parameters.by_value(np.array([5.0, 6.0, 7.0]), np.array([7.0, 5.0, 7.0, 5.0]), shares)
    np.testing.assert_allclose(got, [[0.6, 0.0, 0.4]])
