"""Statistics of probabilities against the truth: cases computed by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from archipelago.measure import statistics


def test_wilson_interval_of_a_known_case() -> None:
    # 8 of 10: (0.8 + z^2/20 -+ z sqrt(0.016 + z^2/400)) / (1 + z^2/10), z = 1.96.
    low, high = statistics.wilson_interval(8, 10)
    assert low == pytest.approx(0.4902, abs=2e-4)
    assert high == pytest.approx(0.9433, abs=2e-4)


def test_wilson_interval_at_the_ends() -> None:
    z2 = 1.959963984540054**2
    assert statistics.wilson_interval(0, 10) == (0.0, pytest.approx(z2 / (10 + z2)))
    assert statistics.wilson_interval(10, 10) == (pytest.approx(10 / (10 + z2)), 1.0)
    assert statistics.wilson_interval(0, 0) == (0.0, 1.0)


def test_reliability_counts_each_object_once() -> None:
    p = [0.0, 0.05, 0.1, 0.75, 0.8, 1.0]
    true = [False, True, False, True, False, True]
    table = statistics.reliability(p, true)
    assert table["n"].tolist() == [2, 1, 0, 0, 0, 0, 0, 1, 1, 1]
    assert table["n_true"].tolist() == [1, 0, 0, 0, 0, 0, 0, 1, 0, 1]
    assert table["mean_p"][0] == pytest.approx(0.025)
    assert table["share"][0] == 0.5
    assert math.isnan(table["share"][2])
    one = statistics.reliability(p, true, (0.7, 0.9)).iloc[0]
    assert (one["n"], one["n_true"], one["mean_p"]) == (2, 1, pytest.approx(0.775))


@pytest.mark.parametrize("edge", range(1, 10))
def test_a_bin_holds_its_lower_edge(edge: int) -> None:
    table = statistics.reliability([edge / 10], [True])
    assert table["n"].tolist() == [int(k == edge) for k in range(10)]


def test_calibration_error_by_hand() -> None:
    # Bin 0: n 3, mean p 0.04, share 1/3; bin 9: n 1, mean p 0.9, share 0.
    p, true = [0.02, 0.04, 0.06, 0.9], [True, False, False, False]
    expected = (3 * (1 / 3 - 0.04) + 1 * 0.9) / 4
    assert statistics.calibration_error(p, true) == pytest.approx(expected)
    assert math.isnan(statistics.calibration_error([], []))


def test_calibration_error_of_equal_counts_by_hand() -> None:
    # Two bins by order of p: (0.1, 0.3), share 1/2; (0.5, 0.9), share 1.
    p, true = [0.5, 0.1, 0.9, 0.3], [True, False, True, True]
    expected = (2 * abs(0.5 - 0.2) + 2 * abs(1.0 - 0.7)) / 4
    assert statistics.calibration_error_equal_counts(p, true, 2) == pytest.approx(expected)
    assert statistics.calibration_error_equal_counts([0.2], [False], 10) == pytest.approx(0.2)


def test_what_chance_alone_leaves() -> None:
    # One object of p = 1/2: off by 1/2, whatever it is. Sure ones are never off.
    assert statistics.calibration_error_by_chance([0.5], draws=20) == (0.5, 0.5)
    assert statistics.calibration_error_by_chance([0.0, 1.0], draws=20) == (0.0, 0.0)
    few = statistics.calibration_error_by_chance(np.full(40, 0.3))
    many = statistics.calibration_error_by_chance(np.full(4000, 0.3))
    # The mean of |share - p| is sqrt(2 p (1 - p) / (pi n)).
    assert many[0] == pytest.approx(math.sqrt(2 * 0.21 / math.pi / 4000), rel=0.1)
    assert few[0] > 5 * many[0]


def test_losses_by_hand() -> None:
    p, true = [0.8, 0.3], [True, False]
    assert statistics.brier(p, true) == pytest.approx((0.04 + 0.09) / 2)
    assert statistics.log_loss(p, true) == pytest.approx(-(math.log(0.8) + math.log(0.7)) / 2)
    assert math.isfinite(statistics.log_loss([0.0, 1.0], [True, False]))


def test_threshold_lets_no_more_than_the_rate_above() -> None:
    scores = np.arange(100.0)
    level = statistics.threshold_at(scores, 0.02)
    assert level == 97.0
    assert (scores > level).sum() == 2
    # Too few for one false: none is let above.
    assert statistics.threshold_at(scores[:49], 0.02) == 48.0
    assert statistics.threshold_at(scores[:50], 0.02) == 48.0
    # Ties are not let above either.
    assert (np.array([5.0, 5.0, 5.0, 1.0]) > statistics.threshold_at([5, 5, 5, 1], 0.5)).sum() == 0
    assert statistics.threshold_at([], 0.02) == -math.inf
    assert statistics.threshold_at([1.0, 2.0], 1.0) == -math.inf


def test_area_under_the_curve_by_hand() -> None:
    # Of the 2 x 2 pairs, the true one is higher in 2, equal in 1.
    scores, true = [3.0, 1.0, 1.0, 2.0], [True, True, False, False]
    assert statistics.area_under_curve(scores, true) == pytest.approx(2.5 / 4)
    assert math.isnan(statistics.area_under_curve([1.0], [True]))


def test_unlike_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="shapes"):
        statistics.brier([0.1, 0.2], [True])
