"""Templates, grid fits and verdicts, on a small set of templates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers.configuration import shipped_config
from scipy.optimize import nnls

from archipelago.base.errors import ConfigError, InputError
from archipelago.passbands import DES_VHS_WISE, load_passbands
from archipelago.sed import grid, measure, templates, verdict
from archipelago.sed.priors import galaxy_prior, quasar_prior, star_prior

DWARFS = Path(__file__).resolve().parents[2] / "data" / "templates" / "dwarf_colours.csv"
#: How objects are fitted, as shipped.
FIT: dict[str, Any] = shipped_config().sed.fit.plain(without={"memory_mb"})
SPEC: dict[str, Any] = {
    "star": {"giants": True, "wise_blend": [0.0, 1.0]},
    "galaxy": {
        "redshift": [0.3, 0.7, 1.1],
        "constant": {"age_gyr": [0.5]},
        "delayed": {"age_gyr": [3.0, 20.0], "tau_gyr": [0.5]},
        "metallicity": [1.0],
        "av_mag": [0.0, 1.0],
        "torus_fraction": [0.0, 1.0],
        "red_quasar": {"redshift": [1.0, 2.0], "ebv": [0.3]},
    },
    "quasar": {
        "redshift": {"min": 5.0, "max": 6.6, "step": 0.1},
        "uv_slope": [-0.6, -0.2],
        "line_scale": [1.0],
        "lya_scale": [0.3, 1.0],
        "ebv": [0.0, 0.1],
        "igm_scale": [1.0],
    },
    "composite": {
        "redshift_step": 0.1,
        "quasars_per_redshift": 4,
        "galaxies": 12,
        "galaxy_redshift_max": 2.0,
    },
}
BANDS = tuple(DES_VHS_WISE)


@pytest.fixture(scope="module")
def small() -> templates.TemplateSet:
    return templates.build_templates(SPEC, load_passbands(DES_VHS_WISE), DWARFS)


def _catalogue(models: np.ndarray, offset_mag: float = 0.27) -> pd.DataFrame:
    """Return a catalogue of noise-free objects with the errors of a deep survey."""
    factor = np.where(np.isin(BANDS, list("grizY")), 10 ** (-0.4 * offset_mag), 1.0)
    flux = models * factor
    error = np.array([0.05, 0.06, 0.1, 0.15, 0.5, 1.5, 2.5, 4.0, 7.0])
    table = pd.DataFrame({"id": np.arange(len(models)) + 10})
    for column, band in enumerate(BANDS):
        seen = flux[:, column] > 2 * error[column]
        table[f"flux_ujy_{band}"] = np.where(seen, flux[:, column], 0.0)
        table[f"flux_err_ujy_{band}"] = error[column]
        table[f"detected_{band}"] = seen
    return table


def _nearest(group: templates.ClassTemplates, **wanted: float) -> int:
    distance = np.zeros(len(group))
    for name, value in wanted.items():
        distance += np.abs(group.parameters[name].astype(float) - value)
    return int(np.argmin(distance))


@pytest.fixture(scope="module")
def judged(small: templates.TemplateSet) -> pd.DataFrame:
    quasars, stars, galaxies = (small.classes[name] for name in ("quasar", "star", "galaxy"))
    q = _nearest(quasars, redshift=6.0, uv_slope=-0.2, lya_scale=1.0, ebv=0.0)
    g = _nearest(galaxies, redshift=0.7, is_delayed=1, av_mag=0.0, torus_fraction=0)
    quasar = 3.0 * quasars.fluxes[q]
    star = 60.0 * stars.fluxes[_nearest(stars, type_code=12, wise_blend=0)]
    galaxy = 30.0 * galaxies.fluxes[_nearest(galaxies, redshift=1.1, is_delayed=1, av_mag=1.0)]
    lensed = quasar + 6.0 * galaxies.fluxes[g]
    junk = np.array([300.0, 0.5, 300.0, 15.0, 900.0, 20.0, 600.0, 30.0, 900.0])
    return verdict.verdicts(_catalogue(np.array([quasar, star, galaxy, lensed, junk])), small, FIT)


def test_each_kind_is_recognised(judged: pd.DataFrame) -> None:
    names = ["p_star", "p_galaxy", "p_quasar", "p_lensed", "p_other"]
    np.testing.assert_allclose(judged[names].sum(axis=1), 1, atol=1e-12)
    best = list(judged[names].idxmax(axis=1))
    assert best == ["p_quasar", "p_star", "p_galaxy", "p_lensed", "p_other"]
    assert judged["log_odds_quasar"][0] > 0 > judged["log_odds_lensed"][0]
    assert judged["log_odds_lensed"][3] > 5
    assert judged["z_quasar"][0] == pytest.approx(6.0, abs=0.1)
    assert judged["z_quasar_lo"][0] < judged["z_quasar"][0] < judged["z_quasar_hi"][0]
    assert judged["spectral_type"][1] == "L2"
    assert judged["z_lens_galaxy"][3] == pytest.approx(0.7, abs=0.4)
    fits = judged.filter(regex="^(chi2|bic|ln_|log_odds|p_)")
    assert np.isfinite(fits.to_numpy(dtype=float)).all()


def test_best_models_fit_what_was_put_in(
    judged: pd.DataFrame, small: templates.TemplateSet
) -> None:
    models = templates.best_model_fluxes(judged.iloc[0], small)
    wanted = 3.0 * small.classes["quasar"].fluxes[int(judged["best_quasar_template"][0])]
    np.testing.assert_allclose(models["quasar"], wanted, rtol=0.05)
    assert set(models) == {"star", "galaxy", "quasar", "lensed"}
    assert judged["chi2_quasar"][0] < 1
    assert np.all(judged["chi2_lensed"] <= judged["chi2_quasar"] + 1e-6)


def test_same_again_and_whatever_the_threads(small: templates.TemplateSet) -> None:
    rng = np.random.default_rng(1)
    table = _catalogue(
        small.classes["quasar"].fluxes[np.arange(300) % 100] * rng.uniform(1, 3, (300, 1))
    )
    one = verdict.verdicts(table, small, FIT, threads=1)
    two = verdict.verdicts(table.sample(frac=1, random_state=2), small, FIT, threads=2)
    pd.testing.assert_frame_equal(one, two, check_exact=False, rtol=1e-9)
    again = verdict.verdicts(table, small, FIT, threads=2)
    pd.testing.assert_frame_equal(one, again, check_exact=True)


def test_bad_input_gets_a_row_and_a_status(small: templates.TemplateSet) -> None:
    table = pd.concat([_catalogue(3.0 * small.classes["quasar"].fluxes[[85]])] * 8)
    table["id"] = range(8)
    table = table.reset_index(drop=True)
    fluxes = [f"flux_ujy_{band}" for band in BANDS]
    errors = [f"flux_err_ujy_{band}" for band in BANDS]
    table.loc[1, fluxes] = np.nan
    table.loc[2, errors] = 0.0
    table.loc[3, [f"detected_{band}" for band in BANDS]] = False
    table.loc[4, fluxes] = 1e9
    table.loc[5, fluxes[3]] = np.inf
    table.loc[6, fluxes[2:]] = np.nan
    table.loc[7, errors[0]] = -1.0
    result = verdict.verdicts(table, small, FIT)
    assert list(result["id"]) == list(range(8))
    assert list(result["sed_status"]) == [
        *("ok", "no_usable_band", "no_usable_band", "nothing_detected"),
        *("ok", "ok", "few_bands", "ok"),
    ]
    assert list(result["n_bands_sed"]) == [9, 0, 0, 9, 9, 8, 2, 8]
    names = ["p_star", "p_galaxy", "p_quasar", "p_lensed", "p_other"]
    np.testing.assert_allclose(result[names].sum(axis=1), 1, atol=1e-9)
    assert result["p_other"][1] == 1


def test_no_objects_and_five_bands(small: templates.TemplateSet) -> None:
    table = _catalogue(3.0 * small.classes["quasar"].fluxes[:3])
    empty = verdict.verdicts(table.iloc[:0], small, FIT)
    full = verdict.verdicts(table, small, FIT)
    assert list(empty.columns) == list(full.columns) and len(empty) == 0
    infrared = tuple(f"_{band}" for band in ("J", "K", "W1", "W2"))
    optical = table[[name for name in table if not name.endswith(infrared)]]
    result = verdict.verdicts(optical, small, FIT)
    assert (result["n_bands_sed"] == 5).all()
    with pytest.raises(InputError, match="no band that the templates have"):
        verdict.verdicts(table[["id"]], small, FIT)


def test_reddening_is_taken_out(small: templates.TemplateSet) -> None:
    table = _catalogue(3.0 * small.classes["quasar"].fluxes[[85]])
    plain = verdict.verdicts(table, small, FIT)
    table["ebv_sfd98"] = 0.2
    dimmed = verdict.verdicts(table, small, FIT)
    assert dimmed["m1450_quasar"][0] < plain["m1450_quasar"][0]


def test_templates_round_trip_to_the_byte(small: templates.TemplateSet, tmp_path: Path) -> None:
    small.save(tmp_path / "a.npz")
    again = templates.load_templates(tmp_path / "a.npz")
    again.save(tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert again.spec == small.spec
    (tmp_path / "c.npz").write_bytes(b"no")
    with pytest.raises(InputError, match="cannot read the templates"):
        templates.load_templates(tmp_path / "c.npz")


def test_galaxies_stay_younger_than_the_universe(small: templates.TemplateSet) -> None:
    galaxies = small.classes["galaxy"]
    assert galaxies.parameters["age_gyr"].max() <= 20.0 * 0.95
    assert not (galaxies.parameters["age_gyr"] > 13.7).any()
    assert np.all(galaxies.fluxes > 0)
    assert small.classes["star"].n_free == 3


def test_spectra_integrate_to_the_template_fluxes(small: templates.TemplateSet) -> None:
    bands = load_passbands(DES_VHS_WISE)
    galaxies = small.classes["galaxy"]
    torus = int(np.argmax(galaxies.parameters["torus_fraction"]))
    for name, index in (("quasar", 40), ("galaxy", torus), ("galaxy", len(galaxies) - 1)):
        wave, f_nu = templates.model_spectrum(small, name, index, bands)
        order = slice(None) if np.all(np.diff(wave) > 0) else np.argsort(wave)
        weights = templates.passband_weights(wave[order], bands)
        got = f_nu[order] @ weights
        wanted = small.classes[name].fluxes[index]
        np.testing.assert_allclose(got[2:], wanted[2:], rtol=0.02)
    wave, f_nu = templates.model_spectrum(small, "star", 3)
    np.testing.assert_allclose(f_nu, small.classes["star"].fluxes[3])
    with pytest.raises(ValueError, match="needs passbands"):
        templates.model_spectrum(small, "galaxy", 0)


@pytest.mark.parametrize("bad", [{}, {"x": []}, {"x": {"min": 1, "max": 0, "step": 1}}])
def test_bad_axes_are_refused(bad: dict) -> None:
    with pytest.raises(ConfigError, match="axis of the grid"):
        templates.axis(bad, "x", "sed.models")


def test_thin_covers_every_template() -> None:
    fluxes = np.random.default_rng(0).uniform(0.1, 1, (200, 5))
    group = np.repeat([0, 1, -1], [120, 60, 20])
    result = templates.thin(fluxes, group, 10)
    assert len(result.index) == 20
    assert np.all(result.cell[group < 0] == -1) and np.all(result.cell[group >= 0] >= 0)
    np.testing.assert_array_equal(result.cell[result.index], np.arange(20))


def test_pair_amplitudes_equal_nnls() -> None:
    rng = np.random.default_rng(5)
    for _ in range(50):
        quasar, galaxy = rng.uniform(0, 1, (2, 6))
        flux, weight = rng.normal(0.5, 1, 6), rng.uniform(0.5, 2, 6)
        sums = [
            np.array([[value]])
            for value in (
                (weight * flux * quasar).sum(),
                (weight * flux * galaxy).sum(),
                (weight * quasar**2).sum(),
                (weight * galaxy**2).sum(),
                (weight * quasar * galaxy).sum(),
            )
        ]
        a, b, chi2, _ = grid.solve_pair(np.array([(weight * flux**2).sum()]), *sums)
        root = np.sqrt(weight)
        wanted, norm = nnls(np.column_stack([quasar, galaxy]) * root[:, None], flux * root)
        np.testing.assert_allclose([a[0, 0], b[0, 0]], wanted, atol=1e-8)
        assert chi2[0, 0] == pytest.approx(norm**2, abs=1e-8)


def test_single_fit_evidence_against_quadrature(small: templates.TemplateSet) -> None:
    stars = small.classes["star"]
    prior = star_prior(stars, FIT["priors"]["star"])
    truth = 40.0 * stars.fluxes[[8]]
    data = grid.Photometry(truth, (0.1 * truth) ** 2, np.ones_like(truth, bool))
    fit = grid.fit_single(data, stars.fluxes, prior)
    ln_a = np.linspace(np.log(20), np.log(80), 4000)
    total = 0.0
    for index in range(len(stars)):
        model = np.exp(ln_a)[:, None] * stars.fluxes[index][None, :]
        chi2 = ((truth - model) ** 2 / data.variance).sum(axis=1)
        density = np.array(
            [prior.part(np.array([index])).ln_density(np.array([[x]]))[0, 0] for x in ln_a[::10]]
        )
        density = np.interp(ln_a, ln_a[::10], density)
        total += np.trapezoid(np.exp(-0.5 * (chi2 + data.ln_norm[0]) + density), ln_a)
    assert fit.ln_evidence[0] == pytest.approx(np.log(total), abs=0.1)
    assert fit.index[0] == 8 and fit.amplitude[0] == pytest.approx(40)


def test_priors_give_sensible_counts(small: templates.TemplateSet) -> None:
    sections = FIT["priors"]
    # Quasars with J < 20.5 or so, i.e. M1450 < -26.3: a few per 1000 deg^2 (Jiang et al. 2016).
    quasars = quasar_prior(small.classes["quasar"], sections["quasar"])
    z = np.unique(small.classes["quasar"].parameters["redshift"])
    bright = quasars.table[(z > 5.65) & (z < 6.55)][:, np.arange(641) * 0.05 - 14 > 0.3]
    per_deg2 = np.exp(bright).sum() * 0.05
    assert 1e-3 < per_deg2 < 3e-2
    galaxies = galaxy_prior(small.classes["galaxy"], sections["galaxy"])
    shares = np.bincount(galaxies.group, np.exp(galaxies.log_weight))
    np.testing.assert_allclose(shares, 1)


def test_measurement_text(judged: pd.DataFrame) -> None:
    truth = pd.DataFrame(
        {
            "id": judged["id"],
            "class": ["quasar", "dwarf", None, None, None],
            "redshift": [6.0, np.nan, np.nan, np.nan, np.nan],
            "spt": [np.nan, 12.0, np.nan, np.nan, np.nan],
        }
    )
    text = measure.report(judged, truth)
    assert "ranks by log_odds_quasar: " in text and "dwarfs: 1" in text


@pytest.mark.slow
def test_real_quasars_rank_high(shared_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert measure.main(["--catalogue", str(shared_data / "des_vhs_allwise_half.csv.gz")]) == 0
    text = capsys.readouterr().out
    ranks = [int(x) for x in text.split("log_odds_quasar:")[1].split("\n")[0].split()]
    assert len(ranks) == 7 and sorted(ranks)[5] <= 12 and max(ranks) <= 40
