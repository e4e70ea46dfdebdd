"""Cuts, cut flow and losses of a tile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archipelago.base.errors import ArchipelagoError, ConfigError, DataError, InputError
from archipelago.base.losses import losses_frame, no_losses
from archipelago.photometry.cutflow import (
    CutFlow,
    read_cutflow,
    sum_cutflows,
    survey_cutflow,
    write_cutflow,
)
from archipelago.photometry.cuts import CUT_KINDS, ColourCut, read_cuts
from archipelago.photometry.measure import describe, measure, read_bands, read_depths

DEPTHS = {
    "z": {"sigma": 10, "mag_ab": 23.1},
    "J": {"sigma": 5, "mag_ab": 20.8},
    "W1": {"sigma": 5, "flux_ujy": 54},
    "W2": {"sigma": 5, "flux_ujy": 71},
}
SURVEY = {"z": {"value": "mag_aper_4_z", "error": "magerr_aper_4_z", "system": "mag_ab"}}
ALLWISE = {
    "W1": {"value": "W1mag", "error": "e_W1mag", "system": "mag_vega", "vega_to_ab_mag": 2.699},
    "W2": {"value": "W2mag", "error": "e_W2mag", "system": "mag_vega", "vega_to_ab_mag": 3.339},
}
VHS = {"J": {"value": "Jap3", "error": "e_Jap3", "system": "mag_vega", "vega_to_ab_mag": 0.916}}
CUTS: list[dict[str, Any]] = [
    {
        "name": "W1 - W2 > 0.5 (Vega)",
        "kind": "colour",
        "bands": ["W1", "W2"],
        "system": "vega",
        "min": 0.5,
    },
    {"name": "W1 error", "kind": "error_present", "band": "W1"},
    {"name": "W2 error", "kind": "error_present", "band": "W2"},
    {"name": "J present", "kind": "present", "band": "J"},
    {"name": "J detected", "kind": "detected", "band": "J"},
    {"name": "z bright", "kind": "mag_range", "band": "z", "max": 21.0},
]


def table(rows: list[dict[str, float]]) -> pd.DataFrame:
    good = {
        "mag_ab_z": 20.0,
        "mag_err_z": 0.02,
        "value_J": 18.0,
        "error_J": 0.05,
        "value_W1": 16.0,
        "error_W1": 0.05,
        "value_W2": 15.0,
        "error_W2": 0.1,
    }
    full = [
        good | {"id": k + 1, "ra_deg": 10.0 + k, "dec_deg": -5.0} | r for k, r in enumerate(rows)
    ]
    frame = pd.DataFrame(full, columns=["id", "ra_deg", "dec_deg", *good])
    return frame.astype({"id": "int64"} | dict.fromkeys(good, "float64"))


def run(
    matched: pd.DataFrame, cuts: list[dict[str, Any]] = CUTS, **more: Any
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    bands = read_bands(["z", "J", "W1", "W2"], SURVEY, ALLWISE, VHS)
    return measure(matched, bands, DEPTHS, 2.0, cuts, "o3-00001", **more)


def test_each_cut_loses_its_own() -> None:
    nan = float("nan")
    matched = table(
        [
            {},
            {"value_W2": 15.6},
            {"value_W2": nan},
            {"error_W1": nan},
            {"error_W2": nan},
            {"value_J": nan},
            {"error_J": 0.6},
            {"mag_ab_z": 21.0},
            {"mag_ab_z": 99.0, "mag_err_z": 99.0},
        ]
    )
    photometry, flow, losses = run(matched)
    assert photometry["id"].tolist() == [1]
    assert flow["rows_in"].tolist() == [9, 7, 6, 5, 4, 3]
    assert flow["rows_out"].tolist() == [7, 6, 5, 4, 3, 1]
    assert flow["step"].tolist() == [1, 2, 3, 4, 5, 6]
    reasons = losses.set_index("id")["reason"].to_dict()
    names = [cut["name"] for cut in CUTS]
    assert reasons == dict(
        zip(range(2, 10), [names[0], names[0], *names[1:], names[-1]], strict=True)
    )
    details = losses.set_index("id")["detail"].to_dict()
    assert details[2] == "W1 - W2 = 0.4000 (vega)"
    assert details[3] == "no W1 - W2"
    assert details[8] == "z = 21.0000 (ab)"
    assert set(losses["stage"]) == {"photometry"}


def test_colour_is_judged_before_errors() -> None:
    # Without an error W1 is not detected, but its colour is there: AllWISE's upper limits.
    _, flow, losses = run(table([{"error_W1": float("nan")}]))
    assert flow["rows_out"].tolist()[:2] == [1, 0]
    assert losses["reason"].tolist() == ["W1 error"]


def test_unwise_fluxes_cut_as_vega_magnitudes() -> None:
    unwise = {
        "W1": {"value": "FW1", "error": "e_FW1", "system": "flux_nmgy_vega"},
        "W2": {"value": "FW2", "error": "e_FW2", "system": "flux_nmgy_vega"},
    }
    bands = read_bands(["W1", "W2"], unwise)
    # W1 - W2 = 2.5 log10(f2 / f1)
    f2 = 100.0 * 10 ** (np.array([0.51, 0.49]) / 2.5)
    matched = table([{}] * 4)
    matched["value_W1"] = [100.0, 100.0, -1.0, 100.0]
    matched["value_W2"] = [f2[0], f2[1], 50.0, 0.0]
    photometry, _, losses = measure(matched, bands, DEPTHS, 2.0, CUTS[:1], "t")
    assert photometry["id"].tolist() == [1]
    assert losses["detail"].tolist() == ["W1 - W2 = 0.4900 (vega)", "no W1 - W2", "no W1 - W2"]
    expected = 22.5 - 2.5 * np.log10(100.0) + 2.699
    assert photometry["mag_ab_W1"].iloc[0] == pytest.approx(expected)


def test_columns_and_metadata() -> None:
    matched = table([{}, {}]).iloc[::-1]
    matched["ebv_sfd98"] = 0.02
    matched["separation_arcsec_vhs"] = 0.3
    matched["field"] = 4
    photometry, _, _ = run(matched, carry=["field"])
    assert photometry.columns.tolist() == [
        *("id", "ra_deg", "dec_deg", "tile"),
        *(
            f"{kind}_{band}"
            for band in ("z", "J", "W1", "W2")
            for kind in ("flux_ujy", "flux_err_ujy", "mag_ab", "mag_err", "detected")
        ),
        *("ebv_sfd98", "field", "separation_arcsec_vhs"),
    ]
    assert photometry["id"].tolist() == [1, 2]
    assert photometry["id"].dtype == np.int64 and photometry["detected_J"].dtype == bool
    assert set(describe(photometry.columns)) == set(photometry.columns) - {"field"}


def test_empty_tile() -> None:
    photometry, flow, losses = run(table([]))
    assert len(photometry) == 0 and len(losses) == 0
    assert photometry["flux_ujy_z"].dtype == np.float64
    assert flow["rows_out"].tolist() == [0] * len(CUTS)


def test_survey_lines_come_first() -> None:
    lost = table([{}] * 5)
    match_losses = pd.concat(
        [
            losses_frame(lost[:3], tile="t", stage="match", reason="no partner in allwise"),
            losses_frame(lost[3:], tile="t", stage="match", reason="no partner in vhs"),
        ]
    )
    head = survey_cutflow("o3-00001", 7, 1, match_losses, ["allwise", "vhs"])
    assert head["rows_in"].tolist() == [8, 7, 4]
    assert head["rows_out"].tolist() == [7, 4, 2]
    assert head["cut"].tolist() == ["selection", "match allwise", "match vhs"]
    _, flow, _ = run(table([{}, {}]), before=head)
    assert flow["step"].tolist() == list(range(1, 10))
    with pytest.raises(DataError, match="leave 2 rows, but 1 came"):
        run(table([{}]), before=head)


def test_unattributed_match_losses_get_a_line() -> None:
    lost = losses_frame(table([{}]), tile="t", stage="match", reason="no partner in unwise")
    head = survey_cutflow("t", 1, 0, lost, ["wise"])
    assert head["cut"].tolist() == ["selection", "match wise", "no partner in unwise"]
    assert survey_cutflow("t", 0, 0, no_losses(), ["a"])["rows_out"].tolist() == [0, 0]


def test_duplicate_ids_are_refused() -> None:
    with pytest.raises(DataError, match="id 1 occurs twice"):
        run(table([{}, {"id": 1}]))


def test_missing_column_is_named() -> None:
    with pytest.raises(InputError, match="lacks the columns error_J"):
        run(table([{}]).drop(columns="error_J"))


@pytest.mark.parametrize(
    ("cut", "message"),
    [
        ({"name": "a", "kind": "color"}, r"unknown kind of cut 'color' \(did you mean colour\?\)"),
        ({"name": "a", "kind": "present", "bnad": "J"}, "no key 'bnad' .did you mean band"),
        ({"name": "a", "kind": "present"}, "incomplete.*band"),
        ({"kind": "present", "band": "J"}, "incomplete.*name"),
        ({"name": "a", "kind": "present", "band": "w1"}, r"band w1.*did you mean W1"),
        ({"name": "a", "kind": "colour", "bands": ["J"], "min": 1}, "a colour is of two bands"),
        ({"name": "a", "kind": "colour", "bands": ["J", "z"]}, "neither min nor max"),
        ({"name": "a", "kind": "colour", "bands": ["J", "z"], "min": 1, "max": 0}, "not below max"),
        ({"name": "a", "kind": "mag_range", "band": "z", "max": float("nan")}, "not a finite"),
        (
            {"name": "a", "kind": "mag_range", "band": "z", "max": 1, "system": "vga"},
            "did you mean vega",
        ),
        (
            {"name": "a", "kind": "mag_range", "band": "z", "max": 1, "system": "vega"},
            "no Vega magnitude in band z",
        ),
    ],
)
def test_wrong_cut(cut: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run(table([{}]), [cut])


def test_cut_names_must_differ() -> None:
    with pytest.raises(ConfigError, match="two cuts are called 'J present'"):
        read_cuts([CUTS[3], CUTS[3]])


def test_keys_that_a_schema_filled_with_none_are_ignored() -> None:
    (cut,) = read_cuts([CUTS[0] | {"band": None, "max": None}])
    assert cut == ColourCut(CUTS[0]["name"], ("W1", "W2"), "vega", 0.5, None)
    assert set(CUT_KINDS) == {"colour", "error_present", "present", "detected", "mag_range"}


def test_unknown_band_and_depth() -> None:
    with pytest.raises(ConfigError, match=r"no catalogue has band w1 \(did you mean W1"):
        read_bands(["w1"], ALLWISE)
    with pytest.raises(ConfigError, match="no depth is given for Y"):
        read_depths(["z", "Y"], DEPTHS)


def test_sum_of_cutflows() -> None:
    flows = [run(table([{}] * n + [{"value_J": np.nan}]))[1] for n in (0, 2)]
    total = sum_cutflows(flows)
    assert total["rows_in"].iloc[0] == 4 and total["rows_out"].iloc[-1] == 2
    assert set(total["tile"]) == {"all"}
    assert len(sum_cutflows([])) == 0


def test_sum_of_cutflows_with_a_line_that_one_tile_lacks() -> None:
    one, two = CutFlow("a"), CutFlow("b")
    one.add("select", "selection", 5, 5)
    one.add("match", "odd", 5, 4)
    one.add("photometry", "cut", 4, 1)
    two.add("select", "selection", 3, 3)
    two.add("photometry", "cut", 3, 2)
    total = sum_cutflows([two.table(), one.table()])
    assert total["cut"].tolist() == ["selection", "odd", "cut"]
    assert total["rows_out"].tolist() == [8, 7, 3]


def test_cutflow_must_chain(tmp_path: Path) -> None:
    flow = CutFlow("t")
    flow.add("a", "a", 5, 4)
    with pytest.raises(DataError, match="says 4 rows, then 5 in"):
        flow.add("b", "b", 5, 4)
    with pytest.raises(DataError, match="4 in and 6 out"):
        flow.add("b", "b", 4, 6)
    write_cutflow(flow.table(), tmp_path / "cutflow.csv")
    pd.testing.assert_frame_equal(read_cutflow(tmp_path / "cutflow.csv"), flow.table())
    (tmp_path / "cutflow.csv").write_text("tile,st")
    with pytest.raises(InputError, match="cannot read the cut flow"):
        read_cutflow(tmp_path / "cutflow.csv")


def test_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_csv", full)
    with pytest.raises(ArchipelagoError, match="disk is full"):
        write_cutflow(CutFlow("t").table(), tmp_path / "cutflow.csv")
    assert list(tmp_path.iterdir()) == []


codes = st.sampled_from([np.nan, np.inf, 99.0, -99.0, 0.0])
mags = st.one_of(codes, st.floats(12, 22))
errs = st.one_of(codes, st.floats(0.001, 1.5))
rows = st.lists(
    st.fixed_dictionaries(
        {f"value_{b}": mags for b in ("J", "W1", "W2")}
        | {f"error_{b}": errs for b in ("J", "W1", "W2")}
        | {"mag_ab_z": mags, "mag_err_z": errs}
    ),
    max_size=8,
)


@settings(max_examples=40, deadline=None)
@given(rows, st.permutations(CUTS))
def test_rows_are_conserved_and_order_decides_only_the_reason(
    content: list[dict[str, float]], shuffled: list[dict[str, Any]]
) -> None:
    matched = table(content)
    photometry, flow, losses = run(matched)
    assert flow["rows_in"].iloc[0] == len(matched) == len(photometry) + len(losses)
    assert flow["rows_out"].iloc[-1] == len(photometry)
    assert sorted([*photometry["id"], *losses["id"]]) == matched["id"].tolist()
    other, _, other_losses = run(matched.sample(frac=1, random_state=1), shuffled)
    pd.testing.assert_frame_equal(other, photometry)
    assert sorted(other_losses["id"]) == sorted(losses["id"])
    # Once more on what is left: nothing is lost any more.
    left = matched[matched["id"].isin(photometry["id"])].reset_index(drop=True)
    again, _, none = run(left)
    pd.testing.assert_frame_equal(again, photometry)
    assert len(none) == 0
