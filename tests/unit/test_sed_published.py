"""The published fit: formulas by hand, amplitudes, recovery, bad input, and the paper's table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers.configuration import shipped_config
from scipy.optimize import nnls

from archipelago.base.errors import ConfigError, DataError, InputError
from archipelago.config.search import Search
from archipelago.passbands import DES_VHS_WISE, Passband, load_passbands
from archipelago.sed import published
from archipelago.sed.published import (
    ABOUT,
    MODELS,
    PublishedModels,
    PublishedOptions,
    best_pairs,
    bic,
    chosen_ids,
    comparison,
    ln_likelihood,
    main,
    published_fits,
    quasar_readings,
    read_published,
)
from archipelago.sed.published_quasar import (
    QuasarPhotometry,
    extinction,
    lyman_alpha_tau,
    rest_spectrum,
    transmission,
)

BANDS = list(DES_VHS_WISE)


@pytest.fixture(scope="module")
def passbands() -> dict[str, Passband]:
    return load_passbands(DES_VHS_WISE)


@pytest.fixture(scope="module")
def models(passbands: dict[str, Passband]) -> PublishedModels:
    return PublishedModels(passbands, starts=60, seed=3)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Searches that are short enough for a test."""
    monkeypatch.setattr(published, "_SEARCHES", 1)
    monkeypatch.setattr(published, "_GENERATIONS", 2)
    monkeypatch.setattr(published, "_POPULATION", 2)
    monkeypatch.setattr(published, "_MAX_STEPS", 6)


def catalogue(flux: Any, error: Any) -> pd.DataFrame:
    flux, error = np.atleast_2d(flux), np.atleast_2d(error)
    columns: dict[str, Any] = {"id": np.arange(1, len(flux) + 1)}
    for i, band in enumerate(BANDS):
        columns[f"flux_ujy_{band}"] = flux[:, i]
        columns[f"flux_err_ujy_{band}"] = error[:, i]
    return pd.DataFrame(columns)


def fits(table: pd.DataFrame, passbands: dict[str, Passband], **options: Any) -> pd.DataFrame:
    known = dict.fromkeys(table["id"].tolist(), 6.0)
    chosen = PublishedOptions(**{"starts": 30, **options})
    return published_fits(table, table["id"].tolist(), passbands, known, chosen)


def test_likelihood_and_bic_by_hand() -> None:
    # Two bands: residuals of 1 and 2 sigma, errors of 1 and 0.1 uJy, that is 1e-6 and 1e-7 Jy.
    expected = -0.5 * (1 + 4 + np.log(1e-12) + np.log(1e-14))
    got = ln_likelihood([3.0, 1.0], [1.0, 0.1], [2.0, 1.2])
    assert got == pytest.approx(expected, rel=1e-12)
    assert bic(2, 9, 20.0) == pytest.approx(2 * 2.1972245773 - 40.0)


def test_pairs_are_the_non_negative_least_squares() -> None:
    rng = np.random.default_rng(1)
    first, second = rng.normal(size=(30, 9)), rng.normal(size=(20, 9))
    data = rng.normal(size=9)
    chi2, a, b = best_pairs(first, second, data)
    assert ((a == 0) & (b > 0)).any() and ((b == 0) & (a > 0)).any() and ((a > 0) & (b > 0)).any()
    for i in range(30):
        for j in range(20):
            x, rest = nnls(np.column_stack([first[i], second[j]]), data)
            assert chi2[i, j] == pytest.approx(rest**2, rel=1e-9)
            assert (a[i, j], b[i, j]) == pytest.approx(tuple(x), abs=1e-9)


@pytest.mark.parametrize(
    ("x", "y", "expected"),
    [
        ([0.0, 0.0], [1.0, 0.0], (1.0, 0.0, 1.0)),  # no light in the first
        ([1.0, 1.0], [2.0, 2.0], (0.0, None, None)),  # proportional: shared out at will
        ([-1.0, -1.0], [-2.0, -1.0], (2.0, 0.0, 0.0)),  # both could only make it worse
    ],
)
def test_corner_cases_of_pairs(x: Any, y: Any, expected: tuple[float, Any, Any]) -> None:
    chi2, a, b = best_pairs(np.array([x]), np.array([y]), np.array([1.0, 1.0]))
    assert chi2[0, 0] == pytest.approx(expected[0], abs=1e-12)
    assert np.isfinite([a[0, 0], b[0, 0]]).all() and a[0, 0] >= 0 and b[0, 0] >= 0
    if expected[1] is not None:
        assert (a[0, 0], b[0, 0]) == pytest.approx(expected[1:])


def test_the_quasar_is_the_published_one() -> None:
    # Becker et al. 2013 at z = 3.5: 0.751 - 0.132.
    assert lyman_alpha_tau(3.5) == pytest.approx(0.619)
    assert lyman_alpha_tau(0.1) == 0.0
    # At 1100 A of z = 6 Lyman alpha alone; at 1000 A beta too; below the limit nothing.
    through = transmission([911.0, 1000.0, 1100.0, 1217.0], 6.0)
    tau = [lyman_alpha_tau(7 * wave / line - 1) for wave, line in ((1100, 1216), (1000, 1216))]
    beta = 0.16 * lyman_alpha_tau(7 * 1000 / 1026 - 1)
    np.testing.assert_allclose(through, [0, np.exp(-tau[1] - beta), np.exp(-tau[0]), 1])
    # Slope between lines, -0.349 in frequency but for the Balmer continuum.
    low, high = rest_spectrum([1450.0, 1700.0])
    assert np.log(high / low) / np.log(1700 / 1450) == pytest.approx(0.349, abs=0.08)
    assert extinction(5500.0) == pytest.approx(3.1)
    np.testing.assert_allclose(
        extinction([1000, 1500, 3000, 4400]), [16.7, 12.3, 6.2, 4.0], rtol=0.02
    )


def test_reddening_and_host_of_the_quasar(passbands: dict[str, Passband]) -> None:
    plain = QuasarPhotometry(passbands)
    blue, red = plain.fluxes(6.0, [0.0, 0.1])
    ratio = -2.5 * np.log10(red[3] / blue[3]) / 0.1  # z band: about 1300 A at rest
    assert ratio == pytest.approx(float(extinction(1300.0)), rel=0.02)
    hosted = QuasarPhotometry(passbands, host_fraction=0.5).fluxes(6.0, 0.0)
    assert 1.3 < hosted[7] / blue[7] < 1.7  # W1: about 4800 A at rest
    o_vi = QuasarPhotometry(passbands, o_vi_aa=9.8).fluxes(6.0, 0.0)
    assert o_vi[1] > 1.005 * blue[1] and o_vi[3] == pytest.approx(blue[3])
    steep = QuasarPhotometry(passbands, far_uv_steepening=1.0).fluxes(6.0, 0.0)
    assert steep[1] < 0.9 * blue[1] and steep[5] == pytest.approx(blue[5])


@pytest.mark.usefixtures("short")
def test_a_quasar_and_a_sum_are_recovered(models: PublishedModels) -> None:
    quasar = 3.0 * models.quasar.fluxes(6.1, 0.07)
    error = 0.02 * quasar + 0.05
    found = models.fit(quasar, error, 6.1)
    assert found["quasar"].chi2 == pytest.approx(0, abs=1e-3)
    assert found["quasar"].quasar == pytest.approx((6.1, 0.07), abs=1e-3)
    assert found["quasar"].quasar_amplitude == pytest.approx(3.0, rel=1e-3)
    assert found["both"].chi2 <= found["quasar"].chi2 < 0.01 * found["galaxy"].chi2
    # A galaxy of the starts on top: the sum is right, the quasar alone is not.
    light = models.galaxy_ujy[7] * quasar[3] / models.galaxy_ujy[7][3]
    both = models.fit(quasar + light, error, 6.1)
    assert both["both"].chi2 < 1.0 < 0.01 * both["quasar"].chi2
    assert both["both"].galaxy_amplitude > 0 and both["both"].quasar_amplitude > 0


@pytest.mark.usefixtures("short")
def test_a_free_redshift_is_found(models: PublishedModels, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published, "_REDSHIFT_GRID", np.arange(5.8, 6.41, 0.05))
    flux = models.quasar.fluxes(6.13, 0.05)
    found = models.fit(flux, 0.01 * flux + 0.01, np.nan)
    assert found["quasar"].quasar == pytest.approx((6.13, 0.05), abs=0.01)
    assert found["quasar"].chi2 < 0.5


@pytest.mark.usefixtures("short")
def test_rows_columns_and_bad_input(passbands: dict[str, Passband]) -> None:
    flux = QuasarPhotometry(passbands).fluxes(6.0, 0.05)
    error = 0.03 * flux + 0.05
    four = np.where(np.arange(9) < 5, np.nan, flux)
    table = catalogue(
        [flux, four, np.zeros(9), np.full(9, np.nan), flux, flux],
        [error, error, error, error, -error, np.where(np.arange(9) == 0, np.inf, error)],
    )
    result = fits(table, passbands)
    assert list(result.columns) == list(ABOUT)
    assert result["status"].tolist() == [
        *("ok", "few_bands", "nothing_detected", "no_usable_band", "no_usable_band", "ok"),
    ]
    assert result["n_bands"].tolist() == [9, 4, 9, 0, 0, 8]
    assert result["redshift_is"].tolist() == ["fixed", "fixed", "", "", "", "fixed"]
    assert (result.loc[0, "k_galaxy"], result.loc[0, "k_quasar"], result.loc[0, "k_both"]) == (
        6,
        2,
        8,
    )
    first = result.loc[0]
    ln_jacobian = -0.5 * (np.log((error * 1e-6) ** 2)).sum()
    for model, k in MODELS.items():
        ln_l = ln_jacobian - 0.5 * first[f"chi2_{model}"]
        assert first[f"ln_likelihood_{model}"] == pytest.approx(ln_l)
        assert first[f"bic_{model}"] == pytest.approx(k * np.log(9) - 2 * ln_l)
    # Four bands do for the quasar's two parameters only.
    assert np.isfinite(result.loc[1, "bic_quasar"]) and np.isnan(result.loc[1, "bic_galaxy"])
    assert result.loc[1, "ebv_quasar"] == pytest.approx(0.05, abs=0.01)
    assert result.loc[2:4, [f"chi2_{model}" for model in MODELS]].isna().all(axis=None)
    # The same again, to the last digit; free redshifts have one parameter more.
    pd.testing.assert_frame_equal(fits(table.iloc[:1], passbands), result.iloc[:1])
    free = fits(table.iloc[2:3], passbands, redshift="free")
    assert (free.loc[0, "k_quasar"], free.loc[0, "k_both"], free.loc[0, "k_galaxy"]) == (3, 9, 6)
    assert np.isnan(free.loc[0, "redshift"])


def test_wrong_requests(passbands: dict[str, Passband]) -> None:
    table = catalogue(np.ones(9), np.ones(9))
    with pytest.raises(DataError, match=r"not exactly once in the catalogue: \[5\]"):
        published_fits(table, [5], passbands, {}, PublishedOptions())
    with pytest.raises(InputError, match="lacks the columns flux_ujy_W2"):
        fits(table.drop(columns="flux_ujy_W2"), passbands)
    with pytest.raises(ConfigError, match=r"published_fit.redshift.*write known or free"):
        PublishedOptions.from_dict({"redshift": "guess"})
    with pytest.raises(ConfigError, match="starts are too few"):
        PublishedOptions.from_dict({"starts": 1})
    assert len(published_fits(table, [], passbands, {}, PublishedOptions())) == 0


def test_which_objects_are_fitted() -> None:
    candidates = pd.DataFrame({"id": [7, 5, 9], "rank": [2, 1, 3]})
    options = PublishedOptions(shortlist=2, ids=(9, 7))
    assert chosen_ids(candidates, options) == [5, 7, 9]
    assert chosen_ids(candidates, PublishedOptions()) == []


def test_the_configuration_asks_for_it_or_not() -> None:
    folder = Path(__file__).resolve().parents[2]
    plain = shipped_config()
    assert PublishedOptions.from_dict(plain.published_fit.plain()) == PublishedOptions(ids=[])
    assert "results/des_dr2/published_fit.parquet" not in Search(plain, folder, []).targets
    paper = Search(shipped_config("paper"), folder, [])
    assert "results/paper/published_fit.parquet" in paper.targets
    with pytest.raises(ConfigError, match="published_fit.redshift = 'guess'"):
        shipped_config(published_fit={"redshift": "guess"})


def paper_table(**changes: float) -> pd.DataFrame:
    """The paper's own BICs as if they were ours."""
    row: dict[str, Any] = {"id": 1599741416}
    for model, value in {"galaxy": 1469.0, "quasar": 33.0, "both": 41.0, **changes}.items():
        row[f"bic_{model}"] = value
        row[f"ln_likelihood_{model}"] = 0.5 * (MODELS[model] * np.log(9) - value)
        row[f"chi2_{model}"] = 1.0
    return pd.DataFrame([row])


def test_the_comparison_tells_what_differs() -> None:
    assert comparison(paper_table())[1]
    text, right = comparison(paper_table(quasar=-1.0))
    assert not right and "signs DIFFER" in text
    text, right = comparison(paper_table(both=32.0))
    assert not right and "order DIFFERS" in text and "signs as published" in text
    text, right = comparison(paper_table(galaxy=1470.0))
    assert not right and text.count("NO") == 1


def test_only_our_reading_of_the_quasar_lands_where_the_paper_did(
    shared_data: Path, passbands: dict[str, Passband]
) -> None:
    catalogue_, redshifts = read_published(str(shared_data / "des_vhs_allwise_half.csv.gz"))
    table = quasar_readings(catalogue_, redshifts, passbands)
    away = table.drop("paper") - table.loc["paper"]
    # As good as published, but not so much better that a sign of the BIC would change.
    assert (away.loc["ours"] < 0.5).all() and (away.loc["ours"] > -10).all()
    assert (away.drop("ours").abs().max(axis=1) > 15).all()


@pytest.mark.slow
def test_the_paper_s_table(shared_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--catalogue", str(shared_data / "des_vhs_allwise_half.csv.gz")]) == 0
    text = capsys.readouterr().out
    assert text.count("signs as published, order as published") == 3
    assert "all as published" in text
