"""Verdicts measured on demo skies: the catalogue, what is hidden from verdicts, the report."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.configuration import REPOSITORY

from archipelago.base.errors import ConfigError, InputError
from archipelago.config.model import Config
from archipelago.demosky.sky import BANDS, Sky, build_sky
from archipelago.measure import skies, verdicts

FILES = [REPOSITORY / "config.yaml", REPOSITORY / "data/presets/demo.yaml"]
QUERY = str(REPOSITORY / "data/queries/des_dr2.adql")


@pytest.fixture(scope="module")
def config() -> Config:
    return verdicts.configuration(FILES, [])


@pytest.fixture(scope="module")
def sky() -> Sky:
    return build_sky(3, n_selected=1000)


@pytest.fixture(scope="module")
def objects(config: Config, sky: Sky) -> pd.DataFrame:
    return skies.demo_objects(sky, verdicts.search_of(config), QUERY)


def test_the_catalogue_holds_what_truth_says_survives(sky: Sky, objects: pd.DataFrame) -> None:
    expected = sky.truth.loc[sky.truth["survives_allwise"], "id"]
    assert objects["id"].tolist() == sorted(expected)
    assert objects["true_survives_allwise"].all()


def test_fluxes_of_the_catalogue_are_those_of_the_surveys(sky: Sky, objects: pd.DataFrame) -> None:
    des = sky.des.set_index("coadd_object_id").loc[objects["id"]]
    flux = 10 ** ((23.9 - des["mag_aper_4_z"].to_numpy()) / 2.5)
    np.testing.assert_allclose(objects["flux_ujy_z"], flux, rtol=1e-6)
    for band in ("J", "K", "W1", "W2"):
        assert objects[f"detected_{band}"].all()


def test_verdicts_see_no_truth(objects: pd.DataFrame) -> None:
    shown = set(skies.catalogue_columns(objects))
    measured = {f"{start}_{band}" for start in ("flux_ujy", "flux_err_ujy") for band in BANDS}
    assert measured <= shown
    allowed = {"id", "ra_deg", "dec_deg", "tile", "ebv_sfd98"}
    starts = ("flux_", "mag_", "detected_", "separation_")
    assert {name for name in shown if not name.startswith(starts)} == allowed


def test_share_of_the_foreground(sky: Sky, objects: pd.DataFrame) -> None:
    shares = skies.foreground_shares(sky)
    both = sky.truth[sky.truth["kind"].isin(["lensed quasar", "quasar-galaxy blend"])]
    assert sorted(shares.index) == sorted(both["id"])
    one = both.iloc[0]
    parts = sky.components[sky.components["object_id"] == one["id"]]
    front = parts["role"].isin(["lens", "galaxy"])
    expected = parts.loc[front, "flux_ujy_J"].sum() / parts.loc[~front, "flux_ujy_J"].sum()
    assert shares.loc[one["id"], "J"] == pytest.approx(expected)
    known = objects["front_any"].notna()
    assert objects.loc[known, "true_kind"].isin(both["kind"]).all()
    assert (objects.loc[known, "front_any"] >= objects.loc[known, "front_seen"]).all()
    assert (objects.loc[known, "front_any"] >= objects.loc[known, "front_red"]).all()


def test_catalogues_are_kept_until_the_configuration_changes(
    config: Config,
    sky: Sky,
    objects: pd.DataFrame,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(verdicts, "build_sky", lambda seed, n_selected: sky)
    first = verdicts.objects_of(3, config, REPOSITORY, 1000, tmp_path)
    pd.testing.assert_frame_equal(first, objects, check_dtype=False)
    (kept,) = tmp_path.iterdir()
    first.head(5).to_parquet(kept)
    assert len(verdicts.objects_of(3, config, REPOSITORY, 1000, tmp_path)) == 5
    other = verdicts.configuration(FILES, ["photometry.detection_sigma=3.0"])
    assert len(verdicts.objects_of(3, other, REPOSITORY, 1000, tmp_path)) > 5
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
    ("text", "seeds"),
    [("3", [3]), ("1,2", [1, 2]), ("11-14", [11, 12, 13, 14]), ("5,1-2,5", [5, 1, 2]), ("1-", [1])],
)
def test_lists_of_seeds(text: str, seeds: list[int]) -> None:
    assert verdicts.seeds_of(text) == seeds


@pytest.mark.parametrize("text", ["", "a", "4-1", "1,,2"])
def test_what_is_no_list_of_seeds(text: str) -> None:
    with pytest.raises(ConfigError, match="names no seeds"):
        verdicts.seeds_of(text)


def test_values_are_changed_as_in_the_configuration() -> None:
    changed = verdicts.configuration(FILES, ["sed.fit.priors.quasar.density_scale=2.5"])
    before = verdicts.configuration(FILES, [])
    assert changed.sed.fit.priors.quasar.density_scale == 2.5
    assert changed.sed.models == before.sed.models
    assert before.run == "demo"


def test_wrong_changes_are_refused() -> None:
    with pytest.raises(ConfigError, match="is no change"):
        verdicts.configuration(FILES, ["sed.fit"])
    with pytest.raises(ConfigError, match="density_scales"):
        verdicts.configuration(FILES, ["sed.fit.priors.quasar.density_scales=2"])
    with pytest.raises(InputError, match="cannot be read"):
        verdicts.configuration([*FILES, "absent.yaml"], [])


def judged() -> pd.DataFrame:
    """Four ordinary quasars, two lensed ones, one blend and three stars, with verdicts."""
    kinds = ["quasar"] * 4 + ["lensed quasar"] * 2 + ["quasar-galaxy blend"] + ["M dwarf"] * 3
    p = np.array([0.95, 0.85, 0.75, 0.2, 0.92, 0.92, 0.6, 0.72, 0.0, 0.0])
    lensed = np.array([-5.0, -4.0, -3.0, 1.0, 3.0, -1.0, 2.0, 0.0, 0.0, 0.0])
    share = 1 / (1 + np.exp(-lensed))
    quasar = np.array(kinds) != "M dwarf"
    table = pd.DataFrame(
        {
            "seed": 1,
            "id": np.arange(10),
            "true_kind": kinds,
            "true_is_quasar": quasar,
            "true_is_lensed": np.array(kinds) == "lensed quasar",
            "true_redshift": np.where(quasar, 6.0, np.nan),
            "p_star": 1 - p,
            "p_galaxy": 0.0,
            "p_quasar": p * (1 - share),
            "p_lensed": p * share,
            "p_other": 0.0,
            "p": p,
            "best": np.where(p > 0.5, np.where(lensed > 0, "lensed", "quasar"), "star"),
            "log_odds_quasar": np.log((p + 1e-9) / (1 - p + 1e-9)),
            "log_odds_lensed": lensed,
            "z_quasar": 6.1,
            "z_quasar_lo": 5.9,
            "z_quasar_hi": 6.3,
        }
    )
    front = np.where(table["true_is_lensed"], [0.0] * 4 + [0.5, 0.1] + [0.0] * 4, np.nan)
    return table.assign(front_any=front, front_seen=front, front_red=front)


def test_the_report_says_what_the_table_holds() -> None:
    text = verdicts.report(judged())
    assert "10 objects of 1 skies, 7 of them quasars" in text
    assert "p in 0.7-0.9, all: 2 of 3 are quasars = 66.7 %" in text
    assert "Quasars with p <= 0.5: 1 of 7" in text
    assert "No quasars, but p > 0.5: 1 of 7" in text
    # Four ordinary quasars at 2 %: none may be above, so the highest of them is the threshold.
    assert "exceed: 1.00 (0 do)" in text
    assert "1/1 = 100 %" in text
    assert "median |dz| 0.100" in text


def test_the_brief_report_has_no_lists() -> None:
    assert "Quasars with p <= 0.5" not in verdicts.report(judged(), brief=True)


def test_a_report_on_kept_verdicts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    judged().to_parquet(tmp_path / "out.parquet")
    assert verdicts.main(["--again", str(tmp_path / "out.parquet"), "--brief"]) == 0
    assert capsys.readouterr().out.startswith("== 10 objects")


def test_errors_are_told_without_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert verdicts.main(["--seeds", "x"]) == 1
    assert "error: 'x' names no seeds" in capsys.readouterr().err
