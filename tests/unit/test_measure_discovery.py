"""How discovery on demo skies is counted."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score

from archipelago.base.images import ImageSet
from archipelago.learning.settings import LearningSettings
from archipelago.measure.ablation import VARIANTS
from archipelago.measure.discovery import (
    DemoSky,
    average_precision,
    joint,
    precisions,
    report,
)


def _sky(kinds: list[str], known: list[bool]) -> DemoSky:
    n = len(kinds)
    objects = pd.DataFrame(
        {
            "id": np.arange(n),
            "true_kind": kinds,
            "true_known": known,
            "true_is_quasar": [("quasar" in kind) for kind in kinds],
            "log_odds_quasar": np.linspace(2.0, -2.0, n),
        }
    )
    images = ImageSet(np.zeros((n, 1, 8, 8), dtype=np.float32), np.arange(n), ("z",), 0.263, 30.0)
    return DemoSky(1, images, objects)


def test_average_precision_is_that_of_the_library_where_no_scores_are_equal() -> None:
    rng = np.random.default_rng(1)
    wanted, score = rng.random(200) < 0.1, rng.normal(size=200)
    found = average_precision(score, wanted, ~wanted)
    assert found == pytest.approx(average_precision_score(wanted, score))


def test_equal_scores_count_against_what_is_wanted() -> None:
    wanted = np.array([True, False, False, False])
    assert average_precision(np.ones(4), wanted, ~wanted) == pytest.approx(1 / 4)


def test_what_has_no_score_comes_last() -> None:
    wanted = np.array([True, True, False])
    score = np.array([2.0, np.nan, 1.0])
    assert average_precision(score, wanted, ~wanted) == pytest.approx((1 + 2 / 3) / 2)


def test_nothing_wanted_has_no_precision() -> None:
    nothing = np.zeros(3, dtype=bool)
    assert np.isnan(average_precision(np.ones(3), nothing, ~nothing))


def test_known_ones_blends_and_the_other_kind_do_not_count() -> None:
    kinds = ["quasar", "quasar-galaxy blend", "lensed quasar", "quasar", "M dwarf"]
    sky = _sky(kinds, [True, False, False, False, False])
    score = np.array([5.0, 4.0, 3.0, 2.0, 1.0])
    assert precisions(sky, score, score) == (1.0, 1.0)
    assert precisions(sky, -score, -score) == (0.5, 0.5)


def test_the_joint_score_is_that_of_photometry_where_images_say_nothing() -> None:
    sky = _sky(["quasar", "M dwarf", "M dwarf"], [False] * 3)
    nothing = np.full(3, np.nan)
    np.testing.assert_allclose(joint(sky, nothing, nothing, 0.5), [2.0, 0.0, -2.0])
    same = np.full(3, 1.5)
    np.testing.assert_allclose(joint(sky, same, same, 0.5), [2.75, 0.75, -1.25])


def test_the_report_tells_gain_and_island() -> None:
    names = ("paper", "similarity", "images", "flux_ratios", "sed", "joint")
    values = {"paper": 0.4, "images": 0.8, "joint": 0.95, "sed": 0.9}
    rows = [
        {
            "sky": sky,
            **{
                f"{name}_{kind}": values.get(name, 0.5)
                for name in names
                for kind in ("ordinary", "lensed")
            },
            "same_images": 18,
            "n_all_ordinary": 10,
            "island_n": 9,
            "island_quasars": 9,
            "island_ordinary": 8,
            "island_images_n": 5,
            "island_images_quasars": 4,
            "island_images_ordinary": 4,
        }
        for sky in (1, 2)
    ]
    text = report(pd.DataFrame(rows))
    assert (
        "ordinary: 0.800 by images alone, 0.400 by the published network: 2.00 times, 0.67" in text
    )
    assert "lensed, joint over photometry alone: +0.050 (sd 0.000) over the SED" in text
    assert "images and photometry, all skies: purity 18/18 = 1.00 (0.81-1.00), " in text
    assert "completeness 16/20 = 0.80" in text
    assert "main island of images alone, all skies: purity 8/10 = 0.80" in text


@pytest.mark.parametrize("name", VARIANTS)
def test_each_variant_is_a_setting(name: str) -> None:
    changed = LearningSettings.from_mapping({**LearningSettings().to_dict(), **VARIANTS[name]})
    assert (changed == LearningSettings()) == (not VARIANTS[name])
