"""Recall against a truth: what is counted, in which list, and where the rest went."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from archipelago.base.errors import InputError
from archipelago.base.losses import no_losses
from archipelago.candidates.recall import RECALL_COLUMNS, measure_recall, recall_text


def _sky() -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Ten ranked: 1, 3 known, 2, 6 ordinary, 5 lensed; 20, 21 were lost, 22 never seen."""
    ids = np.arange(1, 11)
    known = np.isin(ids, [1, 3])
    unknown_rank = pd.Series(np.cumsum(~known), dtype="Int64").mask(known)
    candidates = pd.DataFrame(
        {"id": ids, "rank": ids, "rank_unknown": unknown_rank, "is_known": known}
    )
    catalogue = pd.DataFrame({"id": ids, "ra_deg": 10.0 + ids, "dec_deg": -30.0})
    truth_ids = np.array([1, 2, 3, 5, 6, 7, 20, 21, 22])
    truth = pd.DataFrame(
        {
            "id": truth_ids,
            "ra_deg": 10.0 + truth_ids,
            "dec_deg": -30.0,
            "kind": [
                "quasar",
                "quasar",
                "quasar",
                "lensed quasar",
                "quasar",
                "L dwarf",
                "quasar",
                "lensed quasar",
                "lensed quasar",
            ],
            "is_quasar": truth_ids != 7,
            "is_lensed": np.isin(truth_ids, [5, 21, 22]),
            "known": np.isin(truth_ids, [1, 3]),
        }
    )
    losses = pd.DataFrame(
        {
            "id": [20, 21, 6],
            "ra_deg": [30.0, 31.0, 16.0],
            "dec_deg": -30.0,
            "tile": "t",
            "stage": ["match", "photometry", "images"],
            "reason": "r",
            "detail": "",
        }
    )
    return candidates, truth, losses, catalogue


def _line(table: pd.DataFrame, group: str, kind: str, top: int) -> pd.Series:
    lines = table[(table["group"] == group) & (table["list"] == kind) & (table["top"] == top)]
    assert len(lines) == 1
    return lines.iloc[0]


def test_counts_with_and_without_known_quasars() -> None:
    table = measure_recall(*_sky(), top=(1, 3, 10))
    assert list(table.columns) == list(RECALL_COLUMNS)
    # Object 2 is second in the whole list, first among the unknown.
    assert _line(table, "ordinary", "unknown", 1)["n_found"] == 1
    assert _line(table, "ordinary", "all", 1)["n_found"] == 0
    lensed = _line(table, "lensed", "unknown", 3)
    assert lensed["n_found"] == 1 and lensed["n_catalogue"] == 1 and lensed["n_sky"] == 3
    assert lensed["recall_catalogue"] == 1 and lensed["recall_sky"] == pytest.approx(1 / 3)
    assert _line(table, "known", "all", 3)["n_found"] == 2
    assert _line(table, "ordinary", "unknown", 10)["mean_rank"] == pytest.approx((1 + 4) / 2)
    assert _line(table, "ordinary", "unknown", 10)["n_listed"] == 8


def test_lost_ones_are_told_by_stage() -> None:
    table = measure_recall(*_sky())
    # An object that only lost its image was still ranked.
    assert _line(table, "ordinary", "unknown", 10)["lost"] == "match: 1"
    words = "not selected by the query: 1; photometry: 1"
    assert _line(table, "lensed", "unknown", 10)["lost"] == words


def test_matched_by_position_where_truth_has_no_id() -> None:
    candidates, truth, losses, catalogue = _sky()
    moved = truth.drop(columns="id").assign(dec_deg=truth["dec_deg"] + 0.3 / 3600)
    by_id = measure_recall(candidates, truth, losses, catalogue)
    pd.testing.assert_frame_equal(measure_recall(candidates, moved, losses, catalogue), by_id)
    far = truth.drop(columns="id").assign(dec_deg=truth["dec_deg"] + 5 / 3600)
    assert measure_recall(candidates, far, losses, catalogue)["n_found"].sum() == 0


def test_blends_are_a_group_of_their_own() -> None:
    candidates, truth, losses, catalogue = _sky()
    truth.loc[truth["id"] == 6, "kind"] = "quasar-galaxy blend"
    table = measure_recall(candidates, truth, losses, catalogue)
    assert _line(table, "blend", "unknown", 10)["n_found"] == 1
    assert _line(table, "ordinary", "unknown", 10)["n_found"] == 1


def test_text_says_numbers_and_losses() -> None:
    text = recall_text(measure_recall(*_sky()), headline=50)
    assert "the first 50 candidates hold (known quasars skipped)" in text
    assert "2 of 2 that reached the ranking (100 %), mean rank 2.5; 3 in the sky" in text
    assert "lost before the ranking: not selected by the query: 1; photometry: 1" in text


def test_nothing_ranked_and_nothing_true() -> None:
    candidates, truth, _, catalogue = _sky()
    table = measure_recall(candidates.iloc[:0], truth, no_losses(), catalogue.iloc[:0])
    assert (table["n_found"] == 0).all() and table["recall_catalogue"].isna().all()
    assert "0 of 0 that reached the ranking" in recall_text(table)
    empty = measure_recall(candidates, truth.iloc[:0], no_losses(), catalogue)
    assert "none in this sky" in recall_text(empty)
    assert "nothing to recall" in recall_text(empty.iloc[:0])


def test_flags_may_be_words_and_wrong_words_are_named() -> None:
    candidates, truth, losses, catalogue = _sky()
    words = truth.assign(known=truth["known"].map({True: "True", False: "false"}))
    plain = measure_recall(candidates, truth, losses, catalogue)
    pd.testing.assert_frame_equal(measure_recall(candidates, words, losses, catalogue), plain)
    with pytest.raises(InputError, match="column known holds 'perhaps'"):
        measure_recall(candidates, truth.assign(known="perhaps"), losses, catalogue)
    with pytest.raises(InputError, match="lacks the columns is_lensed"):
        measure_recall(candidates, truth.drop(columns="is_lensed"), losses, catalogue)
