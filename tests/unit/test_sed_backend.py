"""The fits of the grids on numpy and on torch, and what happens where a GPU is missing or full."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.configuration import shipped_config
from helpers.templates import DWARFS, SMALL_MODELS
from numpy.typing import NDArray

from archipelago.base.errors import ConfigError
from archipelago.config.load import merged
from archipelago.passbands import DES_VHS_WISE, load_passbands
from archipelago.sed import backend, grid
from archipelago.sed.backend import NUMPY, Backend, TorchBackend, in_chunks, pick_backend
from archipelago.sed.priors import LN_A_N, Prior
from archipelago.sed.templates import TemplateSet, build_templates
from archipelago.sed.verdict import verdicts

FIT: dict[str, Any] = shipped_config().sed.fit.plain()
#: From below the farthest galaxies: not every pair is allowed.
SPEC = merged(
    SMALL_MODELS,
    {
        "galaxy": {"redshift": [0.3, 0.7, 1.1, 4.0]},
        "quasar": {"redshift": {"min": 3.4, "max": 6.6, "step": 0.2}},
        "composite": {
            "redshift_step": 0.2,
            "quasars_per_redshift": 4,
            "galaxy_redshift_max": 4.0,
        },
    },
)
BANDS = tuple(DES_VHS_WISE)


@pytest.fixture(scope="module")
def templates() -> TemplateSet:
    return build_templates(SPEC, load_passbands(DES_VHS_WISE), DWARFS)


@pytest.fixture(scope="module")
def catalogue(templates: TemplateSet) -> pd.DataFrame:
    """Noisy objects of all classes and sums of two, some bands missing or not detected."""
    rng = np.random.default_rng(5)
    names, n = ("star", "galaxy", "quasar"), 90
    flux = np.zeros((n, len(BANDS)))
    for row in range(n):
        for name in {names[row % 3], names[row % 2]}:
            models = templates.classes[name].fluxes
            model = models[rng.integers(len(models))]
            flux[row] += model / model[5] * rng.uniform(5.0, 100.0)
    error = np.array([0.05, 0.06, 0.1, 0.15, 0.5, 1.5, 2.5, 4.0, 7.0])
    flux += rng.normal(0, 1, flux.shape) * error
    table = pd.DataFrame({"id": np.arange(n)})
    for column, band in enumerate(BANDS):
        table[f"flux_ujy_{band}"] = flux[:, column]
        table[f"flux_err_ujy_{band}"] = np.where(rng.random(n) < 0.05, np.nan, error[column])
        table[f"detected_{band}"] = flux[:, column] > 2 * error[column]
    table.loc[0, [f"flux_ujy_{band}" for band in BANDS]] = np.nan
    table.loc[1, [f"detected_{band}" for band in BANDS]] = False
    return table


def on_torch(rows: int = 16384) -> TorchBackend:
    chosen = TorchBackend(torch, "cpu")
    chosen.rows = rows
    return chosen


def assert_same(found: pd.DataFrame, wanted: pd.DataFrame, tolerance: float = 1e-9) -> None:
    """Equal columns; a best template may be another only where its chi2 is the same."""
    assert list(found) == list(wanted)
    for name in wanted:
        if name.endswith("_template"):
            kind = "lensed" if "_lensed_" in name else name.split("_")[1]
            tied = np.abs(found[f"chi2_{kind}"] - wanted[f"chi2_{kind}"]) < tolerance
            assert ((found[name] == wanted[name]) | tied).all(), name
            assert (found[name] == wanted[name]).mean() > 0.95, name
        elif wanted[name].dtype.kind in "fi":
            np.testing.assert_allclose(
                found[name], wanted[name], rtol=tolerance, atol=tolerance, err_msg=name
            )
        else:
            assert list(found[name]) == list(wanted[name]), name


@pytest.fixture(scope="module")
def on_numpy(templates: TemplateSet, catalogue: pd.DataFrame) -> pd.DataFrame:
    return verdicts(catalogue, templates, FIT)


@pytest.mark.parametrize(("rows", "pairs"), [(16384, 1024), (32, 1), (32, 30)])
def test_torch_gives_the_verdicts_of_numpy(
    templates: TemplateSet,
    catalogue: pd.DataFrame,
    on_numpy: pd.DataFrame,
    monkeypatch: pytest.MonkeyPatch,
    rows: int,
    pairs: int,
) -> None:
    chosen = on_torch(rows)
    monkeypatch.setattr(chosen, "pairs", lambda n_object: pairs)
    found = verdicts(catalogue, templates, FIT, on=chosen)
    assert_same(found, on_numpy)
    assert {"z_lensed_quasar_lo", "m1450_lensed_hi", "p_other"} < set(found)


def test_numbers_of_torch_are_64_bits_wide() -> None:
    chosen = on_torch()
    assert chosen.full(3, 0.5).dtype == torch.float64
    assert chosen.full((2, 3), -1).dtype == torch.int64
    assert chosen.array(np.ones(2)).dtype == torch.float64
    part = chosen.columns(chosen.array(np.arange(12.0).reshape(3, 4)), torch.tensor([2, 0]))
    np.testing.assert_array_equal(chosen.numpy(part), [[2, 0], [6, 4], [10, 8]])


@pytest.mark.parametrize("chosen", [Backend(), on_torch()], ids=["numpy", "torch"])
def test_pairs_in_blocks_of_any_size_are_the_same(chosen: Backend) -> None:
    """Also where some quasars have no galaxy, and some have only some."""
    rng = np.random.default_rng(2)
    n, n_q, n_g = 7, 11, 5
    flux = rng.uniform(-1, 5, (n, 4))
    data = grid.Photometry(flux, rng.uniform(0.1, 0.4, (n, 4)) ** 2, np.ones((n, 4), bool))
    quasars, galaxies = rng.uniform(0, 1, (n_q, 4)), rng.uniform(0, 1, (n_g, 4))
    allowed = rng.random((n_q, n_g)) < 0.6
    allowed[3], allowed[6:8] = False, True
    table = np.linspace(2, -3, LN_A_N)[None]
    priors = [
        Prior(np.zeros(size, dtype=np.int64), rng.uniform(-2, 0, size), table)
        for size in (n_q, n_g)
    ]
    arguments = data, quasars, galaxies, allowed, *priors
    fits = []
    for size in (1, 12, 1000):
        chosen.pairs = lambda n_object, size=size: size  # type: ignore[method-assign, misc]
        fits.append(grid.fit_pairs(*arguments, chosen))
    for fit in fits:
        for name in vars(fit):
            wanted = np.array(getattr(fits[0], name))
            np.testing.assert_allclose(np.array(getattr(fit, name)), wanted, atol=1e-10)
        assert (fit.levels_quasar[:, 3] == 0).all()
        np.testing.assert_allclose(fit.levels_quasar.sum(axis=1), 1)
        np.testing.assert_allclose(fit.levels_galaxy.sum(axis=1), 1)
        assert allowed[fit.index_quasar, fit.index_galaxy].all()
    # Each quasar's share: what is left of the evidence with its pairs alone.
    alone = np.zeros_like(allowed)
    alone[6] = allowed[6]
    part = grid.fit_pairs(data, quasars, galaxies, alone, *priors)
    share = np.exp(part.ln_evidence - fits[0].ln_evidence)
    np.testing.assert_allclose(fits[2].levels_quasar[:, 6], share, atol=1e-10)


def test_every_array_stays_on_the_device(templates: TemplateSet, catalogue: pd.DataFrame) -> None:
    """On torch's device without numbers: an array of another device would be an error."""

    class Shapes(TorchBackend):
        def numpy(self, values: Any) -> NDArray[Any]:
            assert values.device.type == "meta"
            integers = values.dtype == torch.int64
            return np.ones(tuple(values.shape), dtype=np.int64 if integers else np.float64)

    found = verdicts(catalogue, templates, FIT, on=Shapes(torch, "meta"))
    assert len(found) == len(catalogue)


# ------------------------------------------------------------------------- memory


def working_up_to(most: int, seen: list[int]) -> Callable[[slice], NDArray[np.int64]]:
    """Return work that runs out of the GPU's memory on more than ``most`` objects."""

    def work(part: slice) -> NDArray[np.int64]:
        seen.append(part.stop - part.start)
        if seen[-1] > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3 GiB\nand more")
        return np.arange(part.start, part.stop)

    return work


def test_chunks_are_halved_where_memory_runs_out(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[int] = []
    with caplog.at_level(logging.WARNING):
        done = list(in_chunks(working_up_to(5, seen), 23, 16, on_torch()))
    np.testing.assert_array_equal(np.concatenate(done), np.arange(23))
    assert seen == [16, 8, 4, 4, 4, 4, 4, 3]
    assert [record.getMessage() for record in caplog.records] == [
        "the GPU's memory ran out: on with 8 objects at once",
        "the GPU's memory ran out: on with 4 objects at once",
    ]


def test_memory_that_does_not_do_for_one_object_is_said() -> None:
    with pytest.raises(ConfigError, match=r"one object: CUDA out.*3 GiB \[sed.fit.device\].*cpu"):
        list(in_chunks(working_up_to(0, []), 4, 4, on_torch()))
    with pytest.raises(torch.OutOfMemoryError):  # numpy's arrays have no such cure
        list(in_chunks(working_up_to(0, []), 4, 4, NUMPY))


def test_verdicts_survive_a_full_gpu(
    templates: TemplateSet,
    catalogue: pd.DataFrame,
    on_numpy: pd.DataFrame,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    chosen = on_torch()
    array = chosen.array

    def bounded(values: NDArray[Any]) -> Any:
        if len(values) == len(catalogue) and values.ndim == 2:
            raise torch.OutOfMemoryError
        return array(values)

    monkeypatch.setattr(chosen, "array", bounded)
    with caplog.at_level(logging.WARNING):
        assert_same(verdicts(catalogue, templates, FIT, on=chosen), on_numpy)
    assert "on with 45 objects at once" in caplog.text


# ------------------------------------------------------------------------- choice


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A machine with or without a driver, and a torch that finds a GPU or does not."""

    def make(driver: bool, finds: bool = False, has_torch: bool = True) -> None:
        monkeypatch.setattr(backend, "_has_driver", lambda: driver)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: finds)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a GPU")
        if not has_torch:
            monkeypatch.setitem(sys.modules, "torch", None)

    monkeypatch.delenv(backend.ENVIRONMENT_VARIABLE, raising=False)
    return make


@pytest.mark.parametrize(
    ("here", "why"),
    [
        ({"driver": False}, "no driver of an NVIDIA GPU"),
        ({"driver": True}, "torch 2.* finds no GPU it can use"),
        ({"driver": True, "has_torch": False}, "torch cannot be imported"),
    ],
)
def test_no_gpu_is_the_cpu_unless_one_was_asked_for(
    machine: Callable[..., None],
    here: dict[str, bool],
    why: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    machine(**here)
    with caplog.at_level(logging.INFO):
        assert pick_backend("auto") is NUMPY
    assert caplog.records[-1].getMessage().startswith("fits on the CPU with numpy: ")
    with pytest.raises(ConfigError, match=f"{why}.*\\[sed.fit.device\\] -- set it to auto or cpu"):
        pick_backend("cuda")


def test_a_gpu_is_taken_if_there_is_one(
    machine: Callable[..., None], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(driver=True, finds=True)
    caplog.set_level(logging.INFO)
    for device in ("auto", "cuda", None):
        chosen = pick_backend(device)
        assert isinstance(chosen, TorchBackend)
        assert chosen.device.type == "cuda"
    assert caplog.records[-1].getMessage().startswith("fits on a GPU with torch 2.")
    assert pick_backend("cpu") is NUMPY
    assert caplog.records[-1].getMessage() == "fits on the CPU with numpy"
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (8_000_000_000, 9e9))
    assert chosen.memory_mb(100.0) == 4000
    assert on_torch().memory_mb(100.0) == NUMPY.memory_mb(100.0) == 100.0


def test_the_environment_says_the_device(
    machine: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(driver=True, finds=True)
    monkeypatch.setenv("ARCHIPELAGO_SED_DEVICE", "cpu")
    assert pick_backend() is NUMPY
    monkeypatch.setenv("ARCHIPELAGO_SED_DEVICE", "gpu")
    with pytest.raises(ConfigError, match="no device 'gpu'.*auto, cpu or cuda"):
        pick_backend()


def test_the_cpu_works_without_torch() -> None:
    """Nothing imports torch where there is no driver of a GPU; numpy alone does the fits."""
    code = """
import sys
sys.modules["torch"] = None  # any import of it fails
import archipelago.sed.verdict, archipelago.sed.backend as backend
assert backend.pick_backend("cpu") is backend.NUMPY
backend._has_driver = lambda: False
assert backend.pick_backend("auto") is backend.NUMPY
import numpy as np
from archipelago.sed import grid
from archipelago.sed.priors import LN_A_N, Prior
data = grid.Photometry(np.ones((2, 3)), np.ones((2, 3)), np.ones((2, 3), bool))
prior = Prior(np.zeros(1, dtype=np.int64), np.zeros(1), np.zeros((1, LN_A_N)))
levels = grid.Levels.of({"x": np.zeros(1)}, ["x"])
assert (grid.fit_single(data, np.ones((1, 3)), prior, levels).index == 0).all()
assert sys.modules["torch"] is None
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
