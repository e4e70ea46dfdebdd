"""One table, one rank: every object once, evidence kept, order that can be repeated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from astropy.table import Table

from archipelago.base.errors import DataError, InputError
from archipelago.base.tables import read_table
from archipelago.candidates.combine import Calibration, Model, Term
from archipelago.candidates.ranking import gather_evidence, rank_candidates, write_candidates


def _calibration() -> Calibration:
    def of(*names: str) -> Model:
        return Model(0.0, {name: Term(1.0, -3.0, 3.0) for name in names})

    return Calibration(
        {
            "sed": {"quasar": of("sed"), "lensed": of("sed")},
            "sed+features": {
                "quasar": of("sed", "similarity", "island"),
                "lensed": of("sed"),
            },
            "sed+image": {"quasar": of("sed", "image"), "lensed": of("sed", "image")},
            "sed+lens": {"quasar": of("sed"), "lensed": of("sed", "lens")},
        }
    )


def _ranked(*parts: pd.DataFrame | None, **more: pd.DataFrame) -> pd.DataFrame:
    return rank_candidates(gather_evidence(*parts, **more), _calibration())


def _catalogue(n: int = 6) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "id": np.arange(10, 10 + n, dtype=np.int64),
            "ra_deg": np.linspace(0, 1, n),
            "dec_deg": -50.0,
            "tile": "a",
            "flux_ujy_z": 10.0,
            "detected_z": True,
        }
    )


def _verdicts(p_quasar: list[float], first: int = 10) -> pd.DataFrame:
    p = np.array(p_quasar)
    return pd.DataFrame(
        {
            "id": np.arange(first, first + len(p), dtype=np.int64),
            "p_star": 1 - p,
            "p_galaxy": 0.0,
            "p_quasar": p,
            "p_lensed": 0.0,
            "p_other": 0.0,
            "chi2_star": 5.0,
            "z_quasar": 6.0,
        }
    )


def _known(ids: list[int]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "id": np.array(ids, dtype=np.int64),
            "known_name": pd.Series([f"Q{i}" for i in ids], dtype="str"),
            "known_redshift": np.full(len(ids), 6.0),
        }
    )


def _islands(n: int = 5) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "id": np.arange(10, 10 + n, dtype=np.int64),
            "island": [0, 0, 0, -1, -1][:n],
            "island_stability": 1.0,
            "similarity_known": [0.9, 0.8, 0.7, 0.2, 0.1][:n],
            "similarity_rank": [1.0, 1.0, 1.0, 2.0, 3.0][:n],
            "known_name": "from the islands",
            "map_x": 0.0,
            "map_y": 0.0,
        }
    )


def test_sorted_by_score_and_known_ones_marked_not_removed() -> None:
    table = _ranked(_catalogue(4), _verdicts([0.1, 0.9, 0.5, 0.7]), _known([11]))
    assert table["id"].tolist() == [11, 13, 12, 10]
    assert table["rank"].tolist() == [1, 2, 3, 4]
    assert table["rank_unknown"].tolist() == [pd.NA, 1, 2, 3]
    assert table["is_known"].tolist() == [True, False, False, False]
    assert table.loc[0, "known_name"] == "Q11"


def test_every_object_has_one_row_and_all_evidence() -> None:
    lephare = pd.DataFrame({"id": [10, 12], "chi2_qso": [3.0, 4.0], "best_class": ["qso", "star"]})
    enrichment = pd.DataFrame({"island": [-1, 0], "p_value_corrected": [1.0, 1e-5]})
    table = _ranked(
        _catalogue(), _verdicts([0.5] * 6), _known([10]), _islands(), enrichment, lephare
    )
    assert sorted(table["id"]) == list(range(10, 16))
    wanted = {
        "lephare_chi2_qso",
        "lephare_best_class",
        "chi2_star",
        "flux_ujy_z",
        "map_x",
        "similarity_known",
        "island_p_value",
        "reason",
    }
    assert wanted <= set(table.columns)
    by_id = table.set_index("id")
    assert by_id.loc[10, "known_name"] == "Q10"  # not what the islands say
    assert by_id.loc[11, "island_p_value"] == 1e-5 and np.isnan(by_id.loc[15, "island_p_value"])
    assert by_id.loc[10, "island_n_known"] == 0 and by_id.loc[11, "island_n_known"] == 1
    assert not table.columns.duplicated().any()


def test_object_without_images_has_no_learning_term() -> None:
    table = _ranked(_catalogue(), _verdicts([0.5] * 6), _known([10, 11]), _islands())
    row = table.set_index("id").loc[15]
    assert not row["has_images"] and row["learning_term"] == 0 and row["island"] == -1
    assert "no images" in row["reason"]


def test_images_move_an_object() -> None:
    table = _ranked(_catalogue(), _verdicts([0.5] * 6), _known([10, 11]), _islands())
    by_id = table.set_index("id")
    assert by_id.loc[12, "rank"] < by_id.loc[15, "rank"] < by_id.loc[14, "rank"]
    assert by_id.loc[12, "evidence_used"] == "sed+features"
    assert by_id.loc[15, "evidence_used"] == "sed"
    assert by_id.loc[12, "similarity_term"] == by_id.loc[12, "similarity_log_ratio"] > 0


def test_the_evidence_of_images_counts_and_saturates() -> None:
    evidence = pd.DataFrame(
        {
            "id": [10, 12, 13],
            "image_log_odds_quasar": [2.0, 30.0, np.nan],
            "image_log_odds_lensed": [2.0, -30.0, np.nan],
            "image_rank_quasar": [2.0, 1.0, np.nan],
        }
    )
    table = _ranked(_catalogue(), _verdicts([0.5] * 6), _known([]), evidence=evidence)
    table = table.set_index("id")
    # Photometry excludes lensed quasars: likeness to single ones counts (20 to 1, at most).
    assert table.loc[10, "image_term"] == table.loc[10, "learning_term"] == 2.0
    assert table.loc[12, "image_term"] == pytest.approx(3 + np.log(1 + 27 - np.log1p(np.exp(-3))))
    assert table.loc[12, "combined_class"] == "quasar"
    assert (table.loc[[11, 13], "image_term"] == 0).all()
    assert table.index[0] == 12 and table.loc[12, "image_rank_quasar"] == 1


def test_the_evidence_of_lensing_tells_lensed_quasars_from_single_ones() -> None:
    lensing = pd.DataFrame(
        {"id": [10, 11], "lens_log_odds": [2.5, -2.5], "centroid_shift_arcsec": 0.2}
    )
    verdicts = _verdicts([0.9] * 4).assign(p_quasar=0.45, p_lensed=0.45)
    table = _ranked(_catalogue(4), verdicts, _known([]), lensing=lensing).set_index("id")
    assert table.loc[10, "combined_class"] == "lensed"
    assert table.loc[11, "combined_class"] == "quasar"
    assert table.loc[10, "lensed_score"] == 2.5
    assert table.loc[10, "score"] == table.loc[11, "score"] == table.loc[12, "score"]
    assert table.loc[10, "centroid_shift_arcsec"] == 0.2


def test_no_verdict_comes_last_and_ties_go_by_id() -> None:
    table = _ranked(
        _catalogue().sample(frac=1, random_state=1), _verdicts([0.3, np.nan, 0.3, 0.3]), _known([])
    )
    assert table["id"].tolist() == [10, 12, 13, 11, 14, 15]
    assert table["has_sed"].tolist() == [True, True, True, False, False, False]


def test_order_of_the_inputs_does_not_matter() -> None:
    def ranked(seed: int) -> pd.DataFrame:
        parts = (_catalogue(), _verdicts([0.1, 0.9, 0.5, 0.7, 0.2, 0.6]), _known([10]), _islands())
        return _ranked(*(part.sample(frac=1, random_state=seed) for part in parts))

    pd.testing.assert_frame_equal(ranked(1), ranked(2))


@pytest.mark.parametrize("n", [0, 1])
def test_none_and_one(n: int, tmp_path: Path) -> None:
    table = _ranked(_catalogue(n), _verdicts([0.5] * n), _known([]), _islands(n))
    assert len(table) == n
    write_candidates(table, tmp_path / "c.parquet", tmp_path / "c.ecsv", tmp_path / "c.csv")
    assert len(Table.read(tmp_path / "c.ecsv")) == n
    assert len(pd.read_csv(tmp_path / "c.csv")) == n


def test_id_twice_is_an_error() -> None:
    with pytest.raises(DataError, match="catalogue: 1 ids occur twice, such as 10"):
        _ranked(pd.concat([_catalogue(2), _catalogue(1)]), _verdicts([0.5]), _known([]))


def test_verdict_of_a_stranger_is_an_error() -> None:
    with pytest.raises(DataError, match="SED verdicts: 1 ids are not in the catalogue"):
        _ranked(_catalogue(2), _verdicts([0.5], first=99), _known([]))


def test_missing_column_is_named() -> None:
    with pytest.raises(InputError, match="lacks the columns dec_deg"):
        _ranked(_catalogue(2).drop(columns="dec_deg"), _verdicts([0.5]), _known([]))


def test_islands_without_ranks_are_refused() -> None:
    islands = _islands().drop(columns="similarity_rank")
    with pytest.raises(InputError, match="lacks the columns similarity_rank"):
        _ranked(_catalogue(), _verdicts([0.5] * 6), _known([]), islands)


def test_written_with_units_and_read_back(tmp_path: Path) -> None:
    table = _ranked(_catalogue(), _verdicts([0.5] * 6), _known([11]), _islands())
    parquet, ecsv = tmp_path / "c.parquet", tmp_path / "c.ecsv"
    write_candidates(table, parquet, ecsv, tmp_path / "c.csv")
    pd.testing.assert_frame_equal(read_table(parquet), table)
    field = pq.read_schema(parquet).field("score")
    assert b"nats" in field.metadata[b"description"]
    read = Table.read(ecsv)
    assert str(read["ra_deg"].unit) == "deg" and str(read["flux_ujy_z"].unit) == "uJy"
    assert read["rank_unknown"].mask.sum() == 1
    assert "best" in read["rank"].description and "sum to 1" in read["combined_p_star"].description
    first = ecsv.read_bytes()
    write_candidates(table, parquet, ecsv, tmp_path / "c.csv")
    assert ecsv.read_bytes() == first
