from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy.stats import multivariate_normal

from archipelago.base.errors import ConfigError, DataError, InputError
from archipelago.base.tables import read_table
from archipelago.cosmology import age_gyr
from archipelago.passbands import Passband, make_passband
from archipelago.sed import posteriors
from archipelago.sed.nested import SamplerOptions, _resample, sample
from archipelago.sed.posterior_models import (
    CLASSES,
    LENS_NAMES,
    PARAMETERS,
    BagpipesModel,
    LensedModel,
    Measured,
    QuasarModel,
    StarModel,
    as_class,
    read_objects,
)
from archipelago.sed.posteriors import (
    Models,
    PosteriorOptions,
    fingerprint,
    fit_object,
    parameter_names,
    posterior_table,
    run_shard,
    seed_of,
    shard_ids,
    write_shard,
)
from archipelago.sed.quasar import quasar_f_nu
from archipelago.sed.templates import ClassTemplates, Representatives, TemplateSet

BANDS = ("g", "i", "z", "Y", "J", "W1")
FIT: dict[str, Any] = {
    "model_error": {name: {"default": 0.05, "g": 0.1} for name in CLASSES},
    "floor_fraction": 0.01,
    "aperture_offset_mag": {
        "bands": ["g", "i", "z", "Y"],
        **{"star": 0.27, "quasar": 0.27, "galaxy": 0.0, "lensed": 0.2},
    },
}
FAST = PosteriorOptions(
    classes=("star",),
    n_live_templates=40,
    n_effective=50,
    n_networks=0,
    draws=40,
    max_likelihoods=4000,
)


@pytest.fixture(scope="module")
def passbands() -> dict[str, Passband]:
    """Top hats at about the real bands."""
    edges = {
        "g": (4000, 5500),
        "i": (7000, 8500),
        "z": (8500, 10000),
        "Y": (9500, 10500),
        "J": (11700, 13400),
        "W1": (28000, 38000),
    }
    return {
        band: make_passband(band, np.linspace(*limits, 60), np.ones(60))
        for band, limits in edges.items()
    }


@pytest.fixture(scope="module")
def templates() -> TemplateSet:
    """Stars whose flux falls bluewards, ever faster with type, and a blend and a giant beside."""
    colour = np.array([3.0, 1.0, 0.5, 0.3, 0.0, 0.2])
    codes = np.array([0.0, 10.0, 20.0, 29.0, 0.0, 37.0])
    stars = ClassTemplates(
        10 ** (-0.4 * colour * (1 + 0.1 * codes[:, None])),
        {"type_code": codes, "wise_blend": np.array([0.0, 0, 0, 0, 0.5, 0])},
    )
    none = Representatives(np.empty(0, np.int64), np.empty(0, np.int64))
    return TemplateSet(BANDS, np.ones(6), {"star": stars}, none, none)


def dwarf(templates: TemplateSet, object_id: int = 5) -> Measured:
    """An L0 of J = 100 uJy, as the catalogue measures it."""
    data = as_class(Measured(1, np.ones(6), np.ones(6), np.ones(6, bool)), "star", BANDS, FIT)
    flux = 100 * templates.classes["star"].fluxes[1] * data.aperture
    return Measured(object_id, flux, np.full(6, 0.3), np.ones(6, bool))


# ---------------------------------------------------------------- the sampler


def test_evidence_of_a_gaussian_and_its_seed() -> None:
    mean, sigma = np.array([0.3, 0.6]), 0.05

    def ln_likelihood(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(multivariate_normal(mean, sigma**2).logpdf(x))

    options = SamplerOptions(n_live=100, n_effective=400, n_networks=0, draws=300)
    first = sample(lambda u: u, ln_likelihood, 2, 3, options)
    assert first.ln_evidence == pytest.approx(0.0, abs=4 * first.ln_evidence_err + 0.05)
    np.testing.assert_allclose(first.samples.mean(axis=0), mean, atol=0.02)
    np.testing.assert_allclose(first.samples.std(axis=0), sigma, rtol=0.2)
    np.testing.assert_allclose(first.best, mean, atol=0.03)
    assert first.converged
    second = sample(lambda u: u, ln_likelihood, 2, 3, options)
    np.testing.assert_array_equal(first.samples, second.samples)
    assert first.ln_evidence == second.ln_evidence
    other = sample(lambda u: u, ln_likelihood, 2, 4, options)
    assert not np.array_equal(first.samples, other.samples)


def test_sampler_ends_and_says_so() -> None:
    options = SamplerOptions(n_live=50, n_effective=10_000, n_networks=0, max_likelihoods=600)
    result = sample(lambda u: u, lambda x: np.where(x[:, 0] > 0.5, np.nan, 0.0), 2, 1, options)
    assert not result.converged
    assert result.n_like <= 700
    assert (result.samples[:, 0] <= 0.5).all()
    with pytest.raises(ValueError, match="at least two"):
        sample(lambda u: u, lambda x: x[:, 0], 1, 1, options)


def test_resampling_keeps_shares() -> None:
    chosen = _resample(np.array([0.0, 3.0, 1.0, 0.0]), 400, np.random.default_rng(1))
    assert np.bincount(chosen, minlength=4).tolist() == [0, 300, 100, 0]


# ---------------------------------------------------------------- data


def test_objects_are_read_as_the_grid_fit_reads_them() -> None:
    catalogue = pd.DataFrame(
        {
            "id": [3, 4],
            "flux_ujy_g": [5.0, 1.0],
            "flux_err_ujy_g": [0.5, 1.0],
            "detected_g": [False, True],
            "flux_ujy_z": [8.0, np.nan],
            "flux_err_ujy_z": [0.0, 1.0],
            "ebv_sfd98": [0.1, 0.0],
        }
    )
    second, first = read_objects(catalogue, [4, 3], ["g", "z"])
    assert (second.id, first.id) == (4, 3)
    np.testing.assert_allclose(first.flux_ujy, 0.0)
    assert first.error_ujy[0] == pytest.approx(0.5 * 10 ** (0.4 * 0.1 * 3.186))
    assert first.used.tolist() == [True, False]
    assert second.used.tolist() == [True, False]
    assert read_objects(catalogue, [], ["g"]) == []
    with pytest.raises(DataError, match=r"not exactly once in the catalogue: \[9\]"):
        read_objects(catalogue, [9], ["g"])
    with pytest.raises(InputError, match="lacks the columns flux_ujy_Y"):
        read_objects(catalogue, [3], ["Y"])


def test_errors_and_apertures_are_those_of_the_grid_fit() -> None:
    from archipelago.sed.verdict import _Judge

    flux, error = np.array([0.0, 4, 9, 10, 20, 30]), np.full(6, 0.5)
    used = np.array([True] * 5 + [False])
    data = as_class(Measured(1, flux, error, used), "lensed", BANDS, FIT)
    judge = SimpleNamespace(params=FIT, bands=BANDS)
    grid = _Judge.photometry(judge, "lensed", flux[None], error[None], used[None])  # type: ignore[arg-type]
    np.testing.assert_allclose((data.error_ujy * data.aperture)[used] ** 2, grid.variance[0, used])
    np.testing.assert_allclose(data.aperture[[0, 4]], [10 ** (-0.08), 1.0])
    # A density in measured fluxes, whatever the aperture.
    model = np.array([0.1, 5, 9, 9, 21, 30])
    direct = -0.5 * ((flux - model * data.aperture) ** 2 / grid.variance[0])[used].sum()
    direct -= 0.5 * grid.ln_norm[0]
    assert float(data.ln_likelihood(model)) == pytest.approx(direct)


# ---------------------------------------------------------------- models


def test_quasar_grid_follows_the_spectrum(passbands: dict[str, Passband]) -> None:
    from archipelago.passbands import band_fluxes

    model = QuasarModel(passbands, (5.8, 6.2))
    parameters = np.array([[6.013, -27.0, -0.4, 0.03, 0.8, 1.3, 1.1]])
    wave = np.geomspace(2500, 60_000, 20_000)
    truth = band_fluxes(
        wave,
        quasar_f_nu(
            wave,
            6.013,
            m1450=-27.0,
            uv_slope=-0.4,
            ebv=0.03,
            line_scale=0.8,
            lya_scale=1.3,
            igm_scale=1.1,
        ),
        passbands,
    )
    found = model.band_fluxes(parameters)[0]
    np.testing.assert_allclose(found[1:], truth[1:], rtol=0.03)
    assert found[0] < 1e-3 * found[2]


def test_priors_stay_inside_and_order(passbands: dict[str, Passband]) -> None:
    model = QuasarModel(passbands, (5.8, 6.2), step=0.2)
    cube = np.linspace(0, 1, 11)[:, None] * np.ones(7)
    parameters = model.prior(cube)
    assert (np.diff(parameters, axis=0) > 0).all()
    assert np.isfinite(model.band_fluxes(parameters)).all()
    assert np.median(model.prior(np.random.default_rng(1).random((4000, 7)))[:, 2]) == (
        pytest.approx(-0.25, abs=0.02)
    )


def test_star_model_uses_single_dwarfs_only(templates: TemplateSet) -> None:
    model = StarModel.from_templates(templates, ["i", "J"])
    low, high = model.prior(np.array([[0.0, 0.0], [1.0, 1.0]]))
    np.testing.assert_allclose([low[0], high[0]], [0.0, 29.0])
    fluxes = model.band_fluxes(np.array([[10.0, 2.0], [15.0, 0.0]]))
    np.testing.assert_allclose(fluxes[0], [100 * 10 ** (-0.8), 100.0])
    np.testing.assert_allclose(fluxes[1], [10 ** (-0.4 * 2.5), 1.0])


def test_lens_adds_to_the_quasar(passbands: dict[str, Passband]) -> None:
    class Grey:
        def fluxes(self, redshift: float, **_: float) -> NDArray[np.float64]:
            return np.full(6, 2.0 / redshift**2)

    quasar = QuasarModel(passbands, (5.8, 6.2), step=0.2)
    model = LensedModel(quasar, Grey(), 6)  # type: ignore[arg-type]
    assert model.names[-4:] == LENS_NAMES
    parameters = model.prior(np.full((2, 11), 0.5))
    parameters[:, 7:9] = [0.5, 11.0]
    lens = model.lens_fluxes(parameters)
    np.testing.assert_allclose(lens, 10 * 2 / 0.25, rtol=1e-6)
    both = model.band_fluxes(parameters)
    np.testing.assert_allclose(both - lens, quasar.band_fluxes(parameters[:, :7]))


# ---------------------------------------------------------------- shards


def test_shards_share_the_shortlist_in_turn() -> None:
    candidates = pd.DataFrame({"id": [50, 10, 40, 20, 30], "rank": [5, 1, 4, 2, 3]})
    parts = [shard_ids(candidates, 4, 3, k) for k in range(3)]
    assert parts == [[10, 40], [20], [30]]
    assert shard_ids(candidates, 0, 3, 0) == []
    with pytest.raises(ConfigError, match="no shard 3 of 3"):
        shard_ids(candidates, 4, 3, 3)


def test_options_are_checked() -> None:
    options = PosteriorOptions.from_dict({"classes": ["star"], "quasar_redshift": [5, 7]})
    assert options.quasar_redshift == (5, 7)
    for wrong, match in (
        ({"shard": 3}, "unknown options shard"),
        ({"classes": ["planet"]}, "planet"),
        ({"classes": []}, "classes"),
        ({"galaxy_redshift": [3, 1]}, "range 3 to 1"),
        ({"galaxy_history": "burst"}, "burst"),
    ):
        with pytest.raises(ConfigError, match=match):
            PosteriorOptions.from_dict(wrong)


def test_seeds_depend_on_object_and_class() -> None:
    seeds = {seed_of(1, i, name) for i in (1, 2, 2**40) for name in CLASSES}
    assert len(seeds) == 12
    assert seed_of(1, 1, "star") != seed_of(2, 1, "star")


def test_a_shard_from_data_to_files(
    templates: TemplateSet, passbands: dict[str, Passband], tmp_path: Path
) -> None:
    models = Models(passbands, templates, FAST)
    dark = Measured(6, np.zeros(6), np.ones(6), np.ones(6, bool))
    table, arrays = run_shard([dwarf(templates), dark], BANDS, FIT, models, FAST, tmp_path / "p")
    assert table["id"].tolist() == [5, 6]
    assert table["status"].tolist() == ["ok", "no band is detected"]
    first = table.iloc[0]
    assert first["lo_type_code"] < 10 < first["hi_type_code"]
    assert first["median_log_flux_j_ujy"] == pytest.approx(2.0, abs=0.05)
    assert first["chi2_best"] < 1
    assert np.isnan(table["ln_evidence"][1])
    write_shard(table, arrays, tmp_path / "t.parquet", tmp_path / "s.npz")
    pd.testing.assert_frame_equal(read_table(tmp_path / "t.parquet"), table, check_dtype=False)
    with np.load(tmp_path / "s.npz") as stored:
        assert stored["ids"].tolist() == [5, 6]
        assert stored["5/star/samples"].shape == (40, 2)
        spread = stored["5/star/fluxes_ujy"].mean(axis=0) / stored["5/flux_ujy"]
        np.testing.assert_allclose(spread, 1.0, atol=0.1)
        assert stored["6/star/fluxes_ujy"].shape == (0, 6)


def test_a_shard_without_objects_is_valid(
    templates: TemplateSet, passbands: dict[str, Passband], tmp_path: Path
) -> None:
    options = PosteriorOptions()
    table, arrays = run_shard([], BANDS, FIT, Models(passbands, templates, options), options)
    write_shard(table, arrays, tmp_path / "t.parquet", tmp_path / "s.npz")
    again = read_table(tmp_path / "t.parquet", ["id", "class", "median_lens_redshift"])
    assert len(again) == 0
    assert str(again["id"].dtype) == "int64"
    assert str(again["ln_evidence"].dtype) == "float64"
    assert set(parameter_names(CLASSES, "delayed")) == set(PARAMETERS)


def test_finished_objects_are_taken_up_again(
    templates: TemplateSet,
    passbands: dict[str, Passband],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = []

    def counted(*arguments: Any) -> posteriors.Posterior:
        calls.append(arguments[0].id)
        return fit_object(*arguments)

    monkeypatch.setattr(posteriors, "fit_object", counted)
    models = Models(passbands, templates, FAST)
    objects = [dwarf(templates, 5)]
    first = run_shard(objects, BANDS, FIT, models, FAST, tmp_path, code="a")
    second = run_shard(objects, BANDS, FIT, models, FAST, tmp_path, code="a")
    assert calls == [5]
    pd.testing.assert_frame_equal(first[0], second[0])
    for key, value in first[1].items():
        np.testing.assert_array_equal(value, second[1][key])
    run_shard(objects, BANDS, FIT, models, FAST, tmp_path, code="b")  # other code
    other = dataclasses.replace(FAST, seed=2)
    run_shard(objects, BANDS, FIT, models, other, tmp_path, code="b")
    next(tmp_path.glob("5-star.npz")).write_bytes(b"broken")
    run_shard(objects, BANDS, FIT, models, other, tmp_path, code="b")
    assert calls == [5] * 4


def test_fingerprints_ignore_who_else_is_fitted(
    templates: TemplateSet, passbands: dict[str, Passband]
) -> None:
    models = Models(passbands, templates, FAST)
    data = as_class(dwarf(templates), "star", BANDS, FIT)
    mark = fingerprint(data, "star", FAST, models, "a")
    wider = dataclasses.replace(FAST, shortlist=99, shards=7)
    assert fingerprint(data, "star", wider, models, "a") == mark
    finer = dataclasses.replace(FAST, n_live_templates=41)
    assert fingerprint(data, "star", finer, models, "a") != mark
    moved = dataclasses.replace(data, flux_ujy=data.flux_ujy * 1.01)
    assert fingerprint(moved, "star", FAST, models, "a") != mark


def test_table_keeps_unfitted_rows() -> None:
    row = {"id": 1, "class": "star", "status": "x", "n_bands": 0, "n_like": 0}
    table = posterior_table([row], ["star"], "delayed")
    assert np.isnan(table["median_type_code"][0])


# ---------------------------------------------------------------- BAGPIPES


@pytest.mark.slow
@pytest.mark.parametrize("history", ["delayed", "constant"])
def test_bagpipes_likelihood_is_ours(passbands: dict[str, Passband], history: str) -> None:
    here, listing = Path.cwd(), sorted(Path.cwd().iterdir())
    flux = np.array([1.0, 6, 9, 10, 16, 30])
    measured = Measured(9, flux, 0.1 * flux, np.array([True, True, True, False, True, True]))
    data = as_class(measured, "lensed", BANDS, FIT)
    model = BagpipesModel(data, passbands, history, (0.05, 4.0))
    assert set(model.names) <= set(PARAMETERS)
    parameters = model.prior(np.random.default_rng(3).random((5, len(model.names))))
    ages = parameters[:, model.names.index("age_gyr")]
    assert (ages < age_gyr(parameters[:, model.names.index("redshift")])).all()
    fluxes = model.band_fluxes(parameters)
    assert np.isnan(fluxes[:, 3]).all()
    np.testing.assert_allclose(
        model.ln_likelihood(parameters), data.ln_likelihood(fluxes), rtol=1e-8
    )
    assert Path.cwd() == here
    assert sorted(Path.cwd().iterdir()) == listing


@pytest.mark.slow
def test_galaxy_posterior_finds_the_galaxy(
    templates: TemplateSet, passbands: dict[str, Passband]
) -> None:
    options = dataclasses.replace(FAST, n_live=50, n_effective=100, n_networks=1)
    models = Models(passbands, templates, options)
    blank = Measured(3, np.ones(6), np.ones(6), np.ones(6, bool))
    truth = models.of("galaxy", as_class(blank, "galaxy", BANDS, FIT))
    point = truth.prior(np.full((1, len(truth.names)), 0.4))
    flux = truth.band_fluxes(point)[0]
    data = as_class(Measured(3, flux, 0.02 * flux, np.ones(6, bool)), "galaxy", BANDS, FIT)
    posterior = fit_object(data, "galaxy", models, options)
    assert posterior.chi2_best < 6
    assert posterior.nested is not None
    z = posterior.nested.samples[:, posterior.names.index("redshift")]
    assert z.min() < point[0, truth.names.index("redshift")] < z.max()
