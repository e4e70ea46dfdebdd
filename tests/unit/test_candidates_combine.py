"""The combination of evidence: sums that add up, terms that saturate, cases, and its file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from archipelago.base.errors import InputError
from archipelago.candidates.combine import (
    ABOUT,
    Calibration,
    Model,
    Term,
    combine,
    read_calibration,
    saturated,
    write_calibration,
)

REPOSITORY = Path(__file__).resolve().parents[2]
CHANCES = [f"combined_p_{name}" for name in ("star", "galaxy", "quasar", "lensed", "other")]


def _term(weight: float) -> Term:
    return Term(weight, -5.0, 5.0)


def _calibration() -> Calibration:
    alone = {
        "quasar": Model(-1.0, {"sed": _term(0.8)}),
        "lensed": Model(-0.5, {"sed": _term(0.6)}),
    }
    images = {
        "quasar": Model(-2.0, {"sed": _term(0.7), "image": _term(0.5)}),
        "lensed": Model(-0.7, {"sed": _term(0.5), "image": _term(0.4)}),
    }
    whole = {
        "quasar": Model(
            -3.0,
            {
                "sed": _term(0.6),
                "similarity": _term(0.2),
                "island": _term(0.1),
                "image": _term(0.5),
            },
        ),
        "lensed": Model(0.0, {"sed": _term(0.4), "image": _term(0.3), "lens": _term(0.9)}),
    }
    cases = {"sed": alone, "sed+image": images, "sed+features+image+lens": whole}
    return Calibration(cases, {"skies": "1,2"})


def _objects(n: int = 4) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "p_star": 0.3,
            "p_galaxy": 0.1,
            "p_quasar": 0.2,
            "p_lensed": 0.4,
            "p_other": 0.0,
            "log_odds_quasar": np.linspace(-9.0, 9.0, n),
            "log_odds_lensed": 0.7,
            "similarity_log_ratio": 1.0,
            "island_log_ratio": -0.5,
            "image_log_odds_quasar": 2.0,
            "image_log_odds_lensed": 3.0,
            "lens_log_odds": 4.0,
        },
        index=np.arange(n) + 7,
    )


def test_terms_add_up_to_the_scores_and_chances_to_one() -> None:
    found = combine(_objects(), _calibration())
    assert list(found.columns) == list(ABOUT) and (found.index == [7, 8, 9, 10]).all()
    np.testing.assert_allclose(
        found["score"], found["base_term"] + found["sed_term"] + found["learning_term"]
    )
    terms = found[["similarity_term", "island_term", "image_term"]].sum(axis=1)
    np.testing.assert_allclose(found["learning_term"], terms)
    lensed = found[[f"lensed_{name}_term" for name in ("base", "sed", "image", "lens")]]
    np.testing.assert_allclose(found["lensed_score"], lensed.sum(axis=1))
    np.testing.assert_allclose(found[CHANCES].sum(axis=1), 1.0)
    both = found["combined_p_quasar"] + found["combined_p_lensed"]
    np.testing.assert_allclose(np.log(both / (1 - both)), found["score"])
    ratio = found["combined_p_lensed"] / found["combined_p_quasar"]
    np.testing.assert_allclose(np.log(ratio), found["lensed_score"])
    assert (found["evidence_used"] == "sed+features+image+lens").all()


def test_the_weights_of_the_evidence_that_there_is() -> None:
    table = _objects(5)
    table["log_odds_quasar"] = 2.0
    table.loc[8, ["similarity_log_ratio", "lens_log_odds"]] = np.nan
    table.loc[9, ["image_log_odds_quasar", "image_log_odds_lensed"]] = np.nan
    table.loc[10, ["p_star", "p_quasar", "p_lensed", "log_odds_quasar"]] = np.nan
    table.loc[11, "image_log_odds_lensed"] = np.nan
    found = combine(table, _calibration())
    cases = ["sed+features+image+lens", "sed+image", "sed", "", "sed"]
    assert found["evidence_used"].tolist() == cases
    # One kind of image evidence alone is no case that was calibrated.
    assert found.loc[9, "score"] == found.loc[11, "score"] == pytest.approx(-1.0 + 0.8 * 2.0)
    assert found.loc[9, "image_term"] == 0 and found.loc[8, "similarity_term"] == 0
    share = 1 / (1 + np.exp(-0.7))  # of lensed quasars, by photometry
    image = np.log((1 - share) * np.exp(2.0) + share * np.exp(3.0))
    assert found.loc[8, "score"] == pytest.approx(-2.0 + 0.7 * 2.0 + 0.5 * image)
    assert found.loc[8, "lensed_score"] == pytest.approx(-0.7 + 0.5 * 0.7 + 0.4)
    assert found.loc[10, [*CHANCES, "score", "lensed_score"]].isna().all()


def test_columns_that_are_absent_are_evidence_that_is_absent() -> None:
    bare = _objects()[["p_star", "p_galaxy", "p_quasar", "p_lensed", "p_other"]]
    found = combine(bare, _calibration())
    assert (found["evidence_used"] == "sed").all()
    np.testing.assert_allclose(found["sed_term"], 0.8 * np.log(0.6 / 0.4))
    np.testing.assert_allclose(found["lensed_sed_term"], 0.6 * np.log(2.0))
    nothing = combine(pd.DataFrame({"id": [1, 2]}), _calibration())
    assert nothing[["score", *CHANCES]].isna().all(axis=None)
    assert len(combine(_objects(0), _calibration())) == 0


def test_rows_know_nothing_of_each_other() -> None:
    table = _objects(6)
    table.loc[9:, "lens_log_odds"] = np.nan
    whole = combine(table, _calibration())
    single = pd.concat([combine(table.loc[[row]], _calibration()) for row in table.index])
    pd.testing.assert_frame_equal(whole, single)


def test_star_galaxy_and_other_share_as_the_sed_does() -> None:
    table = _objects(2)
    table.loc[8, ["p_star", "p_galaxy", "p_other"]] = [0.0, 0.0, 0.0]
    found = combine(table, _calibration())
    assert found.loc[7, "combined_p_star"] == pytest.approx(3 * found.loc[7, "combined_p_galaxy"])
    assert found.loc[7, "combined_p_other"] == 0
    np.testing.assert_allclose(found.loc[8, CHANCES].sum(), 1.0)


@pytest.mark.parametrize("scale", [1.0, 10.0, 1e3, 1e6])
def test_saturation_keeps_the_order_and_bounds_the_growth(scale: float) -> None:
    x = np.sort(np.random.default_rng(1).normal(0, scale, 200))
    y = saturated(x, -3.0, 2.0)
    assert np.all(np.diff(y) >= 0) and np.all(np.diff(y) <= np.diff(x) * (1 + 1e-9))
    inside = (x >= -3) & (x <= 2)
    np.testing.assert_array_equal(y[inside], x[inside])
    assert y.min() > -3 - 16 and y.max() < 2 + 16


def test_other_rates_shift_the_odds() -> None:
    plain = combine(_objects(), _calibration())
    there = combine(_objects(), _calibration().at_rates(0.1, lensed_rate_factor=2.0))
    np.testing.assert_allclose(there["score"], plain["score"] + np.log(0.1))
    np.testing.assert_allclose(there["lensed_score"], plain["lensed_score"] + np.log(2.0))


def test_written_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / "calibration.csv"
    write_calibration(_calibration(), path)
    assert read_calibration(path) == _calibration()
    assert path.read_text().splitlines()[:2] == ["# version: 1", "# skies: 1,2"]


def test_the_calibration_of_the_repository_holds_every_case() -> None:
    calibration = read_calibration(REPOSITORY / "data" / "calibration.csv")
    assert {"sed", "sed+features", "sed+features+image"} <= set(calibration.cases)
    assert "skies" in calibration.provenance
    looks = {f"image_log_odds_{kind}": [-5.0, 5.0] for kind in ("quasar", "lensed")}
    sure = _objects(2).assign(log_odds_quasar=[-20.0, 20.0], **looks)
    chance = combine(sure, calibration)[["combined_p_quasar", "combined_p_lensed"]].sum(axis=1)
    assert chance.iloc[0] < 0.01 and chance.iloc[1] > 0.9


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("# version: 1", "# version: 9", "it has version 9, not 1"),
        ("# version: 1\n", "", "it has version none, not 1"),
        ("sed,quasar,sed,0.8000", "sed,quasar,sed,-0.8000", "weight -0.8, from -5.0 to 5.0"),
        ("sed,quasar,sed,0.8000,-5.000", "sed,quasar,sed,0.8000,6.000", "from 6.0 to 5.0"),
        ("sed,quasar,sed,0.8000", "sed,quasar,sed,nan", "weight nan"),
        ("sed,quasar,base,-1.0000", "sed,quasar,base,", "base nan"),
        ("sed,quasar,sed,", "sed,quasar,colour,", "terms base, colour, not base, sed"),
        ("sed+image,lensed,base", "sed+taste,lensed,base", "sed\\+image, lensed: terms sed, image"),
        ("sed,quasar,sed,", "sed,star,sed,", "sed, quasar: terms base, not base, sed"),
        ("evidence,model", "case,model", "lacks the columns evidence"),
    ],
)
def test_a_file_that_cannot_be_is_refused(tmp_path: Path, old: str, new: str, said: str) -> None:
    path = tmp_path / "calibration.csv"
    write_calibration(_calibration(), path)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(InputError, match=said):
        read_calibration(path)


def test_strange_evidence_double_rows_and_no_base_case_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "calibration.csv"
    write_calibration(_calibration(), path)
    text = path.read_text()
    path.write_text(text.replace("sed+image,", "image+sed,"))
    with pytest.raises(InputError, match=r"there is no evidence 'image\+sed'"):
        read_calibration(path)
    path.write_text(text + "sed,star,base,1.0,,\n")
    with pytest.raises(InputError, match="sed: rows that no model has"):
        read_calibration(path)
    kept = [line for line in text.splitlines() if not line.startswith("sed,")]
    path.write_text("\n".join(kept) + "\n")
    with pytest.raises(InputError, match="no rows for the evidence 'sed' alone"):
        read_calibration(path)
    with pytest.raises(InputError, match="cannot read the calibration"):
        read_calibration(tmp_path / "absent.csv")
