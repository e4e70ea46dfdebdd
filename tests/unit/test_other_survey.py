"""A survey of other bands, columns and units: every stage takes its preset as it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers.configuration import REPOSITORY, shipped, shipped_config
from helpers.templates import DWARFS, SMALL_MODELS

from archipelago.config.load import load_config, merged
from archipelago.config.model import Config
from archipelago.config.search import Search
from archipelago.passbands import load_passbands
from archipelago.photometry.measure import measure, read_bands
from archipelago.sed.templates import build_templates
from archipelago.sed.verdict import verdicts
from archipelago.survey.adql import TileQuery
from archipelago.survey.select import select_sources
from archipelago.tiles import Tile

BANDS = ["g", "r", "i", "z", "J", "K", "W1", "W2"]


@pytest.fixture(scope="module")
def config() -> Config:
    return shipped_config("legacy_surveys_dr10")


def test_nothing_of_the_other_survey_remains(config: Config) -> None:
    assert config.photometry.bands == BANDS
    assert set(config.survey.bands) == {"g", "r", "i", "z", "W1", "W2"}
    assert [partner.name for partner in config.match] == ["vhs"]
    for named in (config.photometry.depths, config.sed.passbands):
        assert set(named) == set(BANDS)
    fit = config.sed.fit
    assert all("Y" not in errors for errors in fit.model_error.values())
    assert set(fit.survey_error.groups) == {"vhs", "wise"}
    assert "des" not in str(config.survey.plain()).lower()


def test_its_query_asks_for_the_columns_that_are_read(config: Config) -> None:
    query = TileQuery.read(REPOSITORY / config.survey.query, config.survey.healpix_order)
    (adql,) = query.of(Tile(2, 5))
    assert f"nest4096 BETWEEN {5 * 4**10} AND {6 * 4**10 - 1}" in adql
    asked = adql[: adql.index("FROM")]
    columns = [config.survey.columns.id, "ra", "dec", config.survey.columns.ebv_sfd98]
    columns += [name for band in config.survey.bands.values() for name in (band.value, band.error)]
    assert all(f"{name}," in asked or f"{name}\n" in asked for name in columns)


def test_its_sky_lies_where_its_partner_has_looked(config: Config) -> None:
    tiles = Search.of(config, REPOSITORY).tiles
    assert 90 <= len(tiles) <= 130  # 109: 19,300 square degrees at 215 each, with the rim


def answer(config: Config, n: int = 4) -> pd.DataFrame:
    """An answer of the service: 10 nanomaggies in every band at 50 sigma, none in g."""
    table = pd.DataFrame({"ls_id": 10 + np.arange(n), "ra": 10.0, "dec": -30.0, "ebv": 0.02})
    for name, band in config.survey.bands.items():
        table[band.value] = 0.01 if name == "g" else 10.0
        table[band.error] = 0.2
    return table


def photometry(config: Config) -> pd.DataFrame:
    survey = config.survey
    bands = {name: band.plain() for name, band in survey.bands.items()}
    sources, losses = select_sources(
        [answer(config)], columns=survey.columns.plain(), bands=bands, tile="o2-00005"
    )
    assert len(losses) == 0
    for band in ("J", "K"):
        sources[f"value_{band}"], sources[f"error_{band}"] = 19.0, 0.05
    section = config.photometry.plain()
    table, _, losses = measure(
        sources,
        read_bands(BANDS, bands, *(partner.plain()["bands"] for partner in config.match)),
        section["depths"],
        section["detection_sigma"],
        section["cuts"],
        "o2-00005",
    )
    assert len(losses) == 0
    return table


def test_its_fluxes_are_nanomaggies(config: Config) -> None:
    table = photometry(config)
    # 1 nanomaggie is 10^(-0.4 * (22.5 - 23.9)) uJy.
    np.testing.assert_allclose(table[["flux_ujy_z", "flux_ujy_W1"]], 36.3078, rtol=1e-5)
    np.testing.assert_allclose(table["flux_err_ujy_z"], 0.2 * 3.63078, rtol=1e-5)
    np.testing.assert_allclose(table["mag_ab_z"], 20.0)
    assert not table["detected_g"].any()
    np.testing.assert_allclose(table["flux_ujy_J"], 10 ** (-0.4 * (19.0 + 0.916 - 23.9)))


def test_the_colour_cut_is_the_same_in_ab(config: Config) -> None:
    cut = config.photometry.plain()["cuts"][0]
    bands = shipped_config().match[0].bands
    shift = bands["W1"].vega_to_ab_mag - bands["W2"].vega_to_ab_mag
    assert (cut["system"], cut["min"]) == ("ab", pytest.approx(0.5 + shift))


def test_its_bands_are_fitted(config: Config) -> None:
    sed = config.sed
    small = merged(
        SMALL_MODELS,
        {
            "galaxy": {"redshift": [0.5], "av_mag": [0.0], "red_quasar": {"redshift": [1.0]}},
            "quasar": {"redshift": [5.6, 6.0, 6.4], "bal_depth": [0.0]},
        },
    )
    templates = build_templates(small, load_passbands(sed.passbands), DWARFS)
    assert set(templates.bands) == set(BANDS)
    fit = sed.fit.plain(without={"memory_mb", "device"})
    result = verdicts(photometry(config), templates, fit)
    names = ["p_star", "p_galaxy", "p_quasar", "p_lensed", "p_other"]
    np.testing.assert_allclose(result[names].sum(axis=1), 1.0)


@pytest.mark.parametrize("name", ["Y", "K"])
def test_null_takes_a_band_out(name: str) -> None:
    overlay: dict[str, Any] = {
        "survey": {"bands": {name: None}},
        "photometry": {"depths": {name: None}},
        "sed": {"passbands": {name: None}, "fit": {"model_error": {"star": {name: None}}}},
    }
    overlay["photometry"] |= {"bands": [b for b in "grizYJK" if b != name], "cuts": []}
    overlay["images"] = {"bands": [b for b in "grizY" if b != name]}
    config = load_config(merged(shipped(), overlay))
    for named in (
        *(config.survey.bands, config.photometry.depths, config.sed.passbands),
        config.sed.fit.model_error["star"],
    ):
        assert name not in named
