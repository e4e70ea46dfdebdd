from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from helpers.scripts import run_script
from numpy.typing import NDArray
from scipy.stats import multivariate_normal

from archipelago.base.errors import ConfigError, DataError, InputError
from archipelago.base.tables import read_table
from archipelago.config.analysis import Posteriors
from archipelago.cosmology import age_gyr
from archipelago.passbands import Passband, make_passband, write_ascii
from archipelago.sed import nested, posteriors
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
from archipelago.sed.priors import quasar_prior
from archipelago.sed.quasar import quasar_f_nu
from archipelago.sed.templates import ClassTemplates, Representatives, TemplateSet

BANDS = ("g", "i", "z", "Y", "J", "W1")
FIT: dict[str, Any] = {
    "model_error": {name: {"default": 0.05, "g": 0.1} for name in CLASSES},
    "floor_fraction": dict.fromkeys(CLASSES, 0.01),
    "aperture_offset_mag": {
        "bands": ["g", "i", "z", "Y"],
        **{"star": 0.27, "quasar": 0.27, "galaxy": 0.0, "lensed": 0.2},
    },
    "survey_error": {"groups": {"near": ["J"], "mid": ["W1"]}, **dict.fromkeys(CLASSES, 0.0)},
}
CONFIG = yaml.safe_load((Path(__file__).parents[2] / "config.yaml").read_text(encoding="utf-8"))
SECTION = Posteriors.model_validate(CONFIG["posteriors"]).plain()
SHIPPED = PosteriorOptions.from_mapping(SECTION)
PRIORS = CONFIG["sed"]["fit"]["priors"]["quasar"]
FAST = dataclasses.replace(
    SHIPPED,
    classes=("star",),
    n_live=40,
    n_live_templates=60,
    n_effective=40,
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
    return TemplateSet(
        BANDS,
        np.ones(6),
        {"star": stars},
        lensed_quasars=none,
        lensed_galaxies=none,
        coarse_quasars=none,
    )


def dwarf(templates: TemplateSet, object_id: int = 5) -> Measured:
    """An L0 of J = 100 uJy, as the catalogue measures it."""
    data = as_class(Measured(1, np.ones(6), np.ones(6), np.ones(6, bool)), "star", BANDS, FIT)
    flux = 100 * templates.classes["star"].fluxes[1] * data.aperture
    return Measured(object_id, flux, np.full(6, 0.3), np.ones(6, bool))


# ---------------------------------------------------------------- the sampler


GAUSSIAN = SamplerOptions(
    n_live=50,
    n_effective=400,
    n_networks=0,
    n_update_factor=2,
    max_likelihoods=100_000,
    draws=300,
)


def gaussian(mean: NDArray[np.float64], sigma: float) -> Any:
    """ln L with an evidence of 1 on the unit cube."""
    return multivariate_normal(mean, sigma**2).logpdf


def test_evidence_of_a_gaussian_and_its_seed() -> None:
    mean, sigma = np.array([0.3, 0.6]), 0.05
    ln_likelihood, options = gaussian(mean, sigma), GAUSSIAN
    first = sample(lambda u: u, ln_likelihood, 2, 3, options)
    assert first.ln_evidence == pytest.approx(0.0, abs=4 * first.ln_evidence_err)
    assert first.ln_evidence_err == pytest.approx(1 / np.sqrt(400), rel=0.1)
    np.testing.assert_allclose(first.samples.mean(axis=0), mean, atol=0.02)
    np.testing.assert_allclose(first.samples.std(axis=0), sigma, rtol=0.2)
    np.testing.assert_allclose(first.best, mean, atol=0.03)
    assert first.converged
    second = sample(lambda u: u, ln_likelihood, 2, 3, options)
    np.testing.assert_array_equal(first.samples, second.samples)
    assert first.ln_evidence == second.ln_evidence
    short = dataclasses.replace(options, max_likelihoods=200)
    third, fourth = (sample(lambda u: u, ln_likelihood, 2, seed, short) for seed in (3, 4))
    assert not np.array_equal(third.samples, fourth.samples)


@pytest.mark.slow
def test_few_live_points_do_not_bias_the_evidence() -> None:
    """Points of the exploration would: by -0.3 here, three times the error of the mean of all."""
    options = dataclasses.replace(GAUSSIAN, n_live=30, n_effective=100, n_update_factor=2)
    found = [
        sample(lambda u: u, gaussian(np.full(5, 0.5), 0.02), 5, seed, options) for seed in range(6)
    ]
    mean = np.mean([result.ln_evidence for result in found])
    error = np.mean([result.ln_evidence_err for result in found]) / np.sqrt(len(found))
    assert mean == pytest.approx(0.0, abs=3 * error)


class Killed(Exception):
    """Stands for the end of a job in the middle of a fit."""


@pytest.mark.slow  # the shard that is killed, below, is as quick as this can be
@pytest.mark.parametrize("n_networks", [0, 1])
@pytest.mark.parametrize("stop", [600, 1100, 1900])
def test_an_interrupted_run_goes_on_as_if_unbroken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_networks: int, stop: int
) -> None:
    monkeypatch.setattr(nested, "CHECKPOINT_CALLS", 300)
    options = dataclasses.replace(GAUSSIAN, n_networks=n_networks)
    ln_likelihood = gaussian(np.array([0.3, 0.6, 0.5]), 0.05)
    calls = {"all": 0, "again": 0}

    def dies(x: NDArray[np.float64]) -> NDArray[np.float64]:
        calls["all"] += len(x)
        if calls["all"] > stop:
            raise Killed
        return np.asarray(ln_likelihood(x))

    def counted(x: NDArray[np.float64]) -> NDArray[np.float64]:
        calls["again"] += len(x)
        return np.asarray(ln_likelihood(x))

    unbroken = sample(lambda u: u, ln_likelihood, 3, 3, options)
    assert unbroken.n_like > stop + 300
    path = tmp_path / "state.h5"
    with pytest.raises(Killed):
        sample(lambda u: u, dies, 3, 3, options, path)
    resumed = sample(lambda u: u, counted, 3, 3, options, path)
    assert calls["again"] <= unbroken.n_like - stop + 400
    for field in dataclasses.fields(unbroken):
        np.testing.assert_array_equal(
            getattr(resumed, field.name), getattr(unbroken, field.name), err_msg=field.name
        )


def test_a_broken_checkpoint_is_not_taken_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "state.h5"
    path.write_bytes(b"no HDF5")
    ln_likelihood = gaussian(np.array([0.3, 0.6]), 0.05)
    short = dataclasses.replace(GAUSSIAN, max_likelihoods=300)
    with caplog.at_level("WARNING"):
        result = sample(lambda u: u, ln_likelihood, 2, 3, short, path)
    assert "sampled from the start" in caplog.text
    assert result.ln_evidence == sample(lambda u: u, ln_likelihood, 2, 3, short).ln_evidence


def test_sampler_ends_and_says_so() -> None:
    options = dataclasses.replace(GAUSSIAN, n_live=50, n_effective=10_000, max_likelihoods=600)
    result = sample(lambda u: u, lambda x: np.where(x[:, 0] > 0.5, np.nan, 0.0), 2, 1, options)
    assert not result.converged
    assert result.n_like <= 700
    assert (result.samples[:, 0] <= 0.5).all()
    with pytest.raises(ValueError, match="at least two"):
        sample(lambda u: u, lambda x: x[:, 0], 1, 1, options)


def test_a_run_may_end_at_any_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Right after the exploration there are no other points yet."""
    monkeypatch.setattr(nested, "CHECKPOINT_CALLS", 100)

    def bowl(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(-((x - 0.5) ** 2).sum(axis=1))

    short = dataclasses.replace(GAUSSIAN, n_live=20, n_effective=60)
    unbroken = sample(lambda u: u, bowl, 2, 1, short)
    assert unbroken.converged
    for calls in range(unbroken.n_like - 300, unbroken.n_like, 100):
        cut = dataclasses.replace(short, max_likelihoods=calls)
        result = sample(lambda u: u, bowl, 2, 1, cut)
        assert not result.converged
        assert np.isfinite([result.ln_evidence, result.best_ln_likelihood]).all()


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
    fit = {**FIT, "survey_error": {"groups": {"a": ["i", "z"], "b": ["Y", "W1"]}, "lensed": 0.3}}
    data = as_class(Measured(1, flux, error, used), "lensed", BANDS, fit)
    judge = SimpleNamespace(params=fit, bands=BANDS)
    grid = _Judge.photometry(judge, "lensed", flux[None], error[None], used[None])  # type: ignore[arg-type]
    np.testing.assert_allclose((data.error_ujy * data.aperture)[used] ** 2, grid.variance[0, used])
    np.testing.assert_allclose(data.aperture[[0, 4]], [10 ** (-0.08), 1.0])
    # A density in measured fluxes, whatever the aperture, with the errors that bands share.
    model = np.array([0.1, 5, 9, 9, 21, 30])
    assert grid.shared is not None
    shared = grid.shared[:, 0]
    covariance = np.diag(grid.variance[0]) + shared.T @ shared
    covariance = covariance[np.ix_(used, used)]
    direct = multivariate_normal((model * data.aperture)[used], covariance).logpdf(flux[used])
    assert float(data.ln_likelihood(model)) == pytest.approx(direct)
    np.testing.assert_allclose(
        (data.total_error_ujy * data.aperture)[used] ** 2, np.diag(covariance)
    )


# ---------------------------------------------------------------- models


def test_quasar_grid_follows_the_spectrum(passbands: dict[str, Passband]) -> None:
    from archipelago.passbands import band_fluxes

    model = QuasarModel(passbands, (5.8, 6.2), PRIORS)
    parameters = np.array([[6.013, -27.0, -0.4, 0.03, 0.8, 1.3, 1.1, 0.5]])
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
            bal_depth=0.5,
        ),
        passbands,
    )
    found = model.band_fluxes(parameters)[0]
    np.testing.assert_allclose(found[1:], truth[1:], rtol=0.03)
    assert found[0] < 1e-3 * found[2]


def test_priors_stay_inside_and_order(passbands: dict[str, Passband]) -> None:
    model = QuasarModel(passbands, (5.8, 6.2), PRIORS, step=0.2)
    parameters = model.prior(np.linspace(0, 1, 11)[:, None] * np.ones(8))
    assert (np.diff(parameters[:, :-1], axis=0) > 0).all()
    # 0.3 of quasars have broad absorption.
    np.testing.assert_allclose(parameters[[7, 8, 10], -1], [0, 0.8 / 3, 0.8], atol=1e-12)
    assert np.isfinite(model.band_fluxes(parameters)).all()
    assert np.isfinite(model.prior(np.array([[0.0] * 8, [0.5] * 8, [1.0] * 8]))).all()


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_shares_of_broad_absorption_may_be_none_or_all(
    passbands: dict[str, Passband], share: float
) -> None:
    model = QuasarModel(passbands, (5.8, 6.2), {**PRIORS, "bal_share": share}, step=0.4)
    depth = model.prior(np.linspace(0, 1, 5)[:, None] * np.ones(8))[:, -1]
    np.testing.assert_allclose(depth, share * 0.8 * np.linspace(0, 1, 5))


def test_broad_absorption_takes_light_bluewards_of_its_lines(
    passbands: dict[str, Passband],
) -> None:
    model = QuasarModel(passbands, (5.8, 6.2), PRIORS, step=0.2)
    bare, deep = model.band_fluxes(
        np.array([[6.0, -27.0, -0.3, 0.0, 1, 1, 1, depth] for depth in (0.0, 0.8)])
    )
    # Y sees C IV's trough at redshift 6, J and W1 nothing of any.
    assert deep[3] < 0.8 * bare[3]
    np.testing.assert_allclose(deep[4:], bare[4:], rtol=0.01)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("uv_slope", (-0.9, -0.5, -0.1)),
        ("ebv", (-0.03, 0.02, 0.07)),
        ("line_scale", (0.6, 1.0, 1.0 / 0.6)),
        ("lya_scale", (0.25, 1.0, 4.0)),
        ("igm_scale", (0.9, 1.0, 1.0 / 0.9)),
        ("bal_depth", (0.0, 0.4)),
    ],
)
def test_priors_are_those_of_the_grid_fit(
    passbands: dict[str, Passband], name: str, values: tuple[float, ...]
) -> None:
    """Values evenly spaced in what the prior is a density in stand for as much each."""
    n = len(values)
    middle = {"uv_slope": -0.3, "ebv": 0.0, "bal_depth": 0.0}
    columns = {key: np.full(n, middle.get(key, 1.0)) for key in QuasarModel.names}
    columns |= {"redshift": np.full(n, 6.0), name: np.array(values)}
    grid = quasar_prior(ClassTemplates(np.ones((n, 6)), columns), {**PRIORS, "density_scale": 1.0})
    model = QuasarModel(passbands, (5.8, 6.2), PRIORS, step=0.4)
    cube = np.full((200_001, 8), 0.5)
    place = QuasarModel.names.index(name)
    cube[:, place] = np.linspace(0, 1, len(cube))
    drawn = model.prior(cube)[:, place]
    if name == "bal_depth":
        share = float((drawn > 0).mean())
        expected = np.log([1 - share, share])
    else:
        scaled, at = (np.log(drawn), np.log(values)) if "scale" in name else (drawn, values)
        below = np.searchsorted(scaled, np.array([np.array(at) - 0.002, np.array(at) + 0.002]))
        expected = np.log(np.diff(below, axis=0)[0])
    np.testing.assert_allclose(np.diff(grid.log_weight), np.diff(expected), atol=0.03)


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

    quasar = QuasarModel(passbands, (5.8, 6.2), PRIORS, step=0.2)
    model = LensedModel(quasar, Grey(), 6)  # type: ignore[arg-type]
    assert model.names[-4:] == LENS_NAMES
    parameters = model.prior(np.full((2, 12), 0.5))
    parameters[:, 8:10] = [0.5, 11.0]
    lens = model.lens_fluxes(parameters)
    np.testing.assert_allclose(lens, 10 * 2 / 0.25, rtol=1e-6)
    both = model.band_fluxes(parameters)
    np.testing.assert_allclose(both - lens, quasar.band_fluxes(parameters[:, :8]))


# ---------------------------------------------------------------- shards


def test_shards_share_the_shortlist_in_turn() -> None:
    candidates = pd.DataFrame({"id": [50, 10, 40, 20, 30], "rank": [5, 1, 4, 2, 3]})
    parts = [shard_ids(candidates, 4, 3, k) for k in range(3)]
    assert parts == [[10, 40], [20], [30]]
    assert shard_ids(candidates, 0, 3, 0) == []
    with pytest.raises(ConfigError, match="no shard 3 of 3"):
        shard_ids(candidates, 4, 3, 3)


def test_options_are_those_of_the_configuration() -> None:
    section = SECTION
    assert SHIPPED.classes == tuple(section["classes"])
    assert SHIPPED.sampler("galaxy").n_live == section["n_live"]
    assert SHIPPED.sampler("star").n_live == section["n_live_templates"]
    assert SHIPPED.quasar_redshift == tuple(section["quasar_redshift"])
    # The schema alone says what may be given (tests/unit/test_config.py); nothing has a default.
    with pytest.raises(TypeError, match="shortlist"):
        PosteriorOptions.from_mapping({key: section[key] for key in section if key != "shortlist"})


def test_seeds_depend_on_object_and_class() -> None:
    seeds = {seed_of(1, i, name) for i in (1, 2, 2**40) for name in CLASSES}
    assert len(seeds) == 12
    assert seed_of(1, 1, "star") != seed_of(2, 1, "star")


def test_a_shard_from_data_to_files(
    templates: TemplateSet, passbands: dict[str, Passband], tmp_path: Path
) -> None:
    models = Models(passbands, templates, FAST, PRIORS)
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
    options = SHIPPED
    table, arrays = run_shard(
        [], BANDS, FIT, Models(passbands, templates, options, PRIORS), options
    )
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
    calls: list[int] = []
    fitted: list[posteriors.Posterior] = []

    def counted(*arguments: Any) -> posteriors.Posterior:
        calls.append(arguments[0].id)
        if not fitted:
            fitted.append(fit_object(*arguments))
        return fitted[0]

    monkeypatch.setattr(posteriors, "fit_object", counted)
    models = Models(passbands, templates, FAST, PRIORS)
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
    (tmp_path / "5-star.npz").write_bytes(b"broken")
    run_shard(objects, BANDS, FIT, models, other, tmp_path, code="b")
    assert calls == [5] * 4
    assert [path.name for path in tmp_path.iterdir()] == ["5-star.npz"]


def test_a_shard_killed_in_the_middle_of_a_fit_goes_on(
    templates: TemplateSet,
    passbands: dict[str, Passband],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(nested, "CHECKPOINT_CALLS", 300)
    models = Models(passbands, templates, FAST, PRIORS)
    objects = [dwarf(templates, 5)]
    unbroken, _ = run_shard(objects, BANDS, FIT, models, FAST)
    whole = StarModel.band_fluxes
    calls = {"n": 0, "stop": 700}

    def dies(self: StarModel, parameters: NDArray[np.float64]) -> NDArray[np.float64]:
        calls["n"] += len(parameters)
        if calls["n"] > calls["stop"]:
            raise Killed
        return whole(self, parameters)

    monkeypatch.setattr(StarModel, "band_fluxes", dies)
    (tmp_path / "5-star-0123456789abcdef.h5").write_bytes(b"of other data")
    with pytest.raises(Killed):
        run_shard(objects, BANDS, FIT, models, FAST, tmp_path)
    assert [path.suffix for path in tmp_path.iterdir()] == [".h5"]
    calls.update(n=0, stop=10**9)
    again, _ = run_shard(objects, BANDS, FIT, models, FAST, tmp_path)
    pd.testing.assert_frame_equal(again, unbroken)
    assert calls["n"] < unbroken["n_like"][0]
    assert [path.name for path in tmp_path.iterdir()] == ["5-star.npz"]


def test_a_fit_that_fails_stops_no_other(
    templates: TemplateSet,
    passbands: dict[str, Passband],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails_once(data: Any, *rest: Any) -> posteriors.Posterior:
        if data.id == 4:
            raise FloatingPointError("overflow")
        short = dataclasses.replace(FAST, n_live_templates=20, n_effective=20)
        return fit_object(data, rest[0], rest[1], short)

    monkeypatch.setattr(posteriors, "fit_object", fails_once)
    models = Models(passbands, templates, FAST, PRIORS)
    objects = [dwarf(templates, 4), dwarf(templates, 5)]
    table, arrays = run_shard(objects, BANDS, FIT, models, FAST, tmp_path)
    assert table["status"].tolist() == ["failed: FloatingPointError: overflow", "ok"]
    assert arrays["4/star/fluxes_ujy"].shape == (0, 6)
    # It is tried again.
    assert [path.name for path in tmp_path.iterdir()] == ["5-star.npz"]


def bad_catalogue(templates: TemplateSet) -> pd.DataFrame:
    """One good dwarf and what may be wrong with others; and a band that has no passband."""
    good = dwarf(templates).flux_ujy
    cases: dict[int, tuple[Any, Any, list[bool]]] = {
        1: (good, np.full(6, 0.3), [True] * 6),
        2: (good, np.full(6, 0.3), [False] * 6),
        3: (np.full(6, np.nan), np.full(6, np.nan), [True] * 6),
        4: ([np.nan, np.inf, 5, 5, 100, 5], [1, 1, 0, -1, 3, np.nan], [True] * 6),
        5: (good * 1e9, np.full(6, 0.3), [True] * 6),
        6: (-good, np.full(6, 0.3), [True] * 6),
    }
    rows = []
    for object_id, (flux, error, detected) in cases.items():
        row: dict[str, Any] = {"id": object_id, "flux_ujy_Q": 3.0, "flux_err_ujy_Q": 1.0}
        for band, *values in zip(BANDS, flux, error, detected, strict=True):
            names = (f"flux_ujy_{band}", f"flux_err_ujy_{band}", f"detected_{band}")
            row |= dict(zip(names, values, strict=True))
        rows.append(row)
    return pd.DataFrame(rows)


def test_bad_objects_get_rows_and_stop_no_other(
    templates: TemplateSet,
    passbands: dict[str, Passband],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A file of templates holds all classes; these are stars alone.
    monkeypatch.setattr("archipelago.sed.templates.load_templates", lambda _: templates)
    catalogue = bad_catalogue(templates)
    catalogue.to_parquet(tmp_path / "catalogue.parquet")
    candidates = pd.DataFrame({"id": catalogue["id"], "rank": range(len(catalogue))})
    candidates.to_parquet(tmp_path / "candidates.parquet")
    given = {name: tmp_path / f"{name}.parquet" for name in ("catalogue", "candidates")}
    out = {"table": tmp_path / "t.parquet", "samples": tmp_path / "s.npz"}
    options = dataclasses.asdict(FAST)
    options |= {"shards": 1, "n_live_templates": 20, "n_effective": 20}
    run_script(
        "posteriors",
        given | {"templates": tmp_path / "templates.npz"},
        out | {"figures": tmp_path / "figures"},
        {
            "posteriors": options,
            "passbands": {b: str(p) for b, p in write_ascii(passbands, tmp_path).items()},
            "sed": {**FIT, "priors": {"quasar": PRIORS}},
            "partial": str(tmp_path / "partial"),
        },
        shard="0",
    )
    table = read_table(out["table"])
    assert table["id"].tolist() == list(range(1, 7))
    few, nothing = "fewer bands than parameters: priors decide", "no band is detected"
    assert table["status"].tolist() == ["ok", nothing, nothing, few, "ok", "ok"]
    assert table["n_bands"].tolist() == [6, 6, 0, 1, 6, 6]
    sampled = table["n_like"] > 0
    assert np.isfinite(table.loc[sampled, "ln_evidence"]).all()
    assert table.loc[~sampled, "ln_evidence"].isna().all()
    drawn = {str(path.relative_to(tmp_path / "figures")) for path in tmp_path.glob("figures/*/*")}
    assert drawn == {f"{i}/{name}.svg" for i in (1, 4, 5, 6) for name in ("sed", "corner_star")}


def test_fingerprints_ignore_who_else_is_fitted(
    templates: TemplateSet, passbands: dict[str, Passband]
) -> None:
    models = Models(passbands, templates, FAST, PRIORS)
    data = as_class(dwarf(templates), "star", BANDS, FIT)
    mark = fingerprint(data, "star", FAST, models, "a")
    wider = dataclasses.replace(FAST, shortlist=99, shards=7)
    assert fingerprint(data, "star", wider, models, "a") == mark
    finer = dataclasses.replace(FAST, n_live_templates=41)
    assert fingerprint(data, "star", finer, models, "a") != mark
    moved = dataclasses.replace(data, flux_ujy=data.flux_ujy * 1.01)
    assert fingerprint(moved, "star", FAST, models, "a") != mark
    dusty = Models(passbands, templates, FAST, {**PRIORS, "ebv_scale_mag": 0.2})
    assert fingerprint(data, "star", FAST, dusty, "a") == mark
    for name in ("quasar", "lensed"):
        mark = fingerprint(data, name, FAST, models, "a")
        assert fingerprint(data, name, FAST, dusty, "a") != mark


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
    measured = Measured(9, flux, 0.1 * flux, np.ones(6, bool))
    data = as_class(measured, "lensed", BANDS, FIT)
    model = BagpipesModel(data, passbands, history, (0.05, 4.0))
    assert set(model.names) <= set(PARAMETERS)
    parameters = model.prior(np.random.default_rng(3).random((5, len(model.names))))
    ages = parameters[:, model.names.index("age_gyr")]
    assert (ages < age_gyr(parameters[:, model.names.index("redshift")])).all()
    fluxes = model.band_fluxes(parameters)
    own = [model._fitted.lnlike(row) + data.ln_jacobian for row in parameters]
    np.testing.assert_allclose(own, data.ln_likelihood(fluxes), rtol=1e-8)
    assert Path.cwd() == here
    assert sorted(Path.cwd().iterdir()) == listing


@pytest.mark.slow
def test_galaxy_posterior_finds_the_galaxy(
    templates: TemplateSet, passbands: dict[str, Passband]
) -> None:
    options = dataclasses.replace(FAST, n_live=50, n_effective=100, n_networks=1)
    models = Models(passbands, templates, options, PRIORS)
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


@pytest.mark.slow
@pytest.mark.parametrize("redshift", [(0.01, 10.0), (6.0, 10.0)])
def test_galaxies_up_to_redshift_ten(
    passbands: dict[str, Passband], redshift: tuple[float, float]
) -> None:
    measured = Measured(9, np.ones(6), np.ones(6), np.ones(6, bool))
    data = as_class(measured, "galaxy", BANDS, FIT)
    model = BagpipesModel(data, passbands, "delayed", redshift)
    n = len(model.names)
    z = model.names.index("redshift")
    cube = np.full((5, n), 0.5)
    cube[:, z] = np.linspace(0.0, 1.0, 5)
    parameters = model.prior(cube)
    assert parameters[[0, -1], z] == pytest.approx(redshift)
    fluxes = model.band_fluxes(parameters)
    assert np.isfinite(data.ln_likelihood(fluxes)).all()
    # Beyond redshift 7 no light is left in g; J sees the stars all the way.
    assert (fluxes[parameters[:, z] > 7, 0] < 1e-4 * fluxes[parameters[:, z] > 7, 4]).all()
    assert (np.diff(fluxes[:, 4]) < 0).all()


@pytest.mark.slow
def test_one_band_is_enough_for_bagpipes(
    templates: TemplateSet, passbands: dict[str, Passband]
) -> None:
    options = dataclasses.replace(FAST, n_live=30, max_likelihoods=1000)
    used = np.array([False] * 4 + [True, False])
    data = as_class(Measured(9, np.full(6, 5.0), np.ones(6), used), "galaxy", BANDS, FIT)
    posterior = fit_object(data, "galaxy", Models(passbands, templates, options, PRIORS), options)
    assert posterior.nested is not None
    assert posterior.status in (
        "stopped at max_likelihoods",
        "fewer bands than parameters: priors decide",
    )
    assert np.isfinite(posterior.fluxes_ujy).all()
    np.testing.assert_allclose(np.median(posterior.fluxes_ujy[:, 4]), 5.0, rtol=0.2)
