from __future__ import annotations

import io
import os
import signal
import sys
import tarfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from archipelago.base.errors import ArchipelagoError, ConfigError, InputError
from archipelago.passbands import DES_VHS_WISE, load_passbands
from archipelago.sed import lephare
from archipelago.sed.lephare import (
    ABOUT,
    LephareOptions,
    check_data,
    data_folder,
    fluxes_for_lephare,
    run_lephare,
)

OPTIONS = LephareOptions()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder with every file that LePHARE asks for, all of them empty of meaning."""
    root = tmp_path / "lephare-data"
    lists = {
        "sed/GAL/CWW_KINNEY/CWW_MOD.list": "CWW_KINNEY/E.sed A\n",
        "sed/QSO/QSO_MOD.list": "# a comment\nqso.sed\n\n",
        "sed/STAR/STAR_MOD_ALL.list": "PICKLES/o5v.sed.ext\tA\nBD/lte10.sed A\n",
        "opa/OPACITY.dat": "0.0 tau00.out\n0.1 tau01.out\n",
    }
    others = {
        "sed/GAL/CWW_KINNEY": ["E.sed"],
        "sed/QSO": ["qso.sed"],
        "sed/STAR": ["PICKLES/o5v.sed.ext", "BD/lte10.sed"],
        "opa": ["tau00.out", "tau01.out"],
        "vega": ["VegaLCB.sed", "SunLCB.sed", "BD+17o4708.sed"],
        "ext": ["MW_seaton.dat", "calzetti.dat", "SB_calzetti.dat", "SMC_prevot.dat"],
        ".": ["alloutputkeys.txt"],
    }
    for name, text in lists.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for path in (root / folder / name for folder, names in others.items() for name in names):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("1 1\n")
    return root


def test_complete_data_pass(data: Path) -> None:
    templates = check_data(data, OPTIONS)
    assert templates["QSO"] == ["qso.sed"]
    assert len(templates["STAR"]) == 2


def test_brown_dwarfs_can_be_left_out(data: Path) -> None:
    templates = check_data(data, LephareOptions(brown_dwarfs=False))
    assert templates["STAR"] == ["PICKLES/o5v.sed.ext\tA"]


@pytest.mark.parametrize(
    "name",
    [
        "opa/tau01.out",
        "opa/OPACITY.dat",
        "sed/QSO/qso.sed",
        "vega/VegaLCB.sed",
        "ext/SMC_prevot.dat",
    ],
)
def test_missing_file_is_named_before_lephare_is_called(data: Path, name: str) -> None:
    (data / name).unlink()
    with pytest.raises(InputError, match="1 files of the LePHARE data are missing: " + name):
        check_data(data, OPTIONS)


def test_list_without_templates(data: Path) -> None:
    (data / "sed/QSO/QSO_MOD.list").write_text("# nothing\n")
    with pytest.raises(InputError, match="without a template"):
        check_data(data, OPTIONS)


def test_data_folder_accepts_both_levels_and_archives(data: Path, tmp_path: Path) -> None:
    assert data_folder(data, tmp_path / "w") == data.resolve()
    assert data_folder(data.parent, tmp_path / "w") == data.resolve()
    archive = tmp_path / "data.tar.xz"
    with tarfile.open(archive, "w:xz") as stream:
        stream.add(data, "lephare-data")
    found = data_folder(archive, tmp_path / "w")
    assert found == (tmp_path / "w/unpacked/lephare-data").resolve()
    check_data(found, OPTIONS)


def test_archive_that_would_leave_its_folder_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "bad.tar"
    with tarfile.open(archive, "w") as stream:
        entry = tarfile.TarInfo("../outside.txt")
        entry.size = 4
        stream.addfile(entry, io.BytesIO(b"oops"))
    with pytest.raises(InputError, match="cannot unpack the LePHARE data: OutsideDestination"):
        data_folder(archive, tmp_path / "w")
    assert not (tmp_path / "outside.txt").exists()


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda path: None, "are not there"),
        (lambda path: path.write_bytes(b"not an archive"), "cannot unpack"),
        (lambda path: path.mkdir(), "no folder with sed/"),
    ],
)
def test_data_that_are_none(tmp_path: Path, make: object, match: str) -> None:
    path = tmp_path / "data"
    make(path)  # type: ignore[operator]
    with pytest.raises(InputError, match=match):
        data_folder(path, tmp_path / "w")


def test_limits_and_bands_that_cannot_be_used() -> None:
    catalogue = pd.DataFrame(
        {
            "id": [1],
            "flux_ujy_g": [0.7],
            "flux_err_ujy_g": [0.2],
            "detected_g": [False],
            "flux_ujy_r": [3.0],
            "flux_err_ujy_r": [0.0],
            "flux_ujy_i": [np.inf],
            "flux_err_ujy_i": [1.0],
            "flux_ujy_z": [-2.0],
            "flux_err_ujy_z": [1.0],
        }
    )
    flux, error = fluxes_for_lephare(catalogue, ["g", "r", "i", "z"])
    np.testing.assert_allclose(flux[0], [0.0, -99, -99, -2e-29])
    np.testing.assert_allclose(error[0], [0.2e-29, -99, -99, 1e-29])


def test_options_refuse_unknown_keys() -> None:
    assert LephareOptions.from_dict({"data": "x", "qso_ebv": [0, 0.1]}).qso_ebv == (0.0, 0.1)
    with pytest.raises(ConfigError, match="unknown options redshift_stp"):
        LephareOptions.from_dict({"redshift_stp": 0.1})


def test_empty_catalogue_and_objects_without_bands(data: Path, tmp_path: Path) -> None:
    band = SimpleNamespace(wavelength_aa=np.array([5e3, 6e3]), transmission=np.array([1.0, 1.0]))
    columns = ["id", "flux_ujy_g", "flux_err_ujy_g"]
    empty = run_lephare(pd.DataFrame(columns=columns), {"g": band}, data, tmp_path / "w")
    assert list(empty.columns) == list(ABOUT)
    assert not len(empty)
    dark = pd.DataFrame([[7, np.nan, np.nan]], columns=columns)
    table = run_lephare(dark, {"g": band}, data, tmp_path / "w")
    assert table.loc[0, ["id", "best_class", "n_bands", "status"]].tolist() == [
        7,
        "none",
        0,
        "no usable band",
    ]


def test_catalogue_without_a_band(data: Path, tmp_path: Path) -> None:
    band = SimpleNamespace(wavelength_aa=np.array([5e3, 6e3]), transmission=np.array([1.0, 1.0]))
    with pytest.raises(InputError, match="lacks the columns flux_ujy_g, flux_err_ujy_g"):
        run_lephare(pd.DataFrame({"id": [1]}), {"g": band}, data, tmp_path)


def test_crash_is_reported(tmp_path: Path) -> None:
    crash = [sys.executable, "-c", f"import os; os.kill(os.getpid(), {int(signal.SIGSEGV)})"]
    with pytest.raises(ArchipelagoError, match="ended by SIGSEGV.*lephare.data is absent or empty"):
        lephare._run_worker(crash, tmp_path, tmp_path, 1)
    fail = [sys.executable, "-c", "raise SystemExit('no such template')"]
    with pytest.raises(ArchipelagoError, match="exit code 1; its last words: no such template"):
        lephare._run_worker(fail, tmp_path, tmp_path, 1)


def half_catalogue(shared_data: Path) -> pd.DataFrame:
    source = pd.read_csv(shared_data / "des_vhs_allwise_half.csv.gz")
    columns = {"id": source["COADD_OBJECT_ID"], "class": source["class"], "z": source["redshift"]}
    for band in DES_VHS_WISE:
        columns[f"flux_ujy_{band}"] = source[f"{band}_flux"]
        columns[f"flux_err_ujy_{band}"] = source[f"{band}_fluxerr"]
        columns[f"detected_{band}"] = source[f"{band}_mag"] < 90
    return pd.DataFrame(columns)


@pytest.mark.slow
def test_real_objects(shared_data: Path, tmp_path: Path) -> None:
    before = dict(os.environ)
    catalogue = half_catalogue(shared_data)
    catalogue = catalogue[catalogue["class"].notna()].reset_index(drop=True)
    catalogue.loc[len(catalogue)] = {**catalogue.loc[0], "id": 1, "flux_err_ujy_z": np.nan}
    archive = shared_data / "lephare-data.tar.xz"
    table = run_lephare(catalogue, load_passbands(DES_VHS_WISE), archive, tmp_path / "work")
    assert dict(os.environ) == before
    assert table["id"].tolist() == catalogue["id"].tolist()
    assert (table["status"] == "ok").all()
    assert table["n_bands"].tolist() == [9] * (len(table) - 1) + [8]
    quasar = (catalogue["class"] == "quasar").to_numpy(copy=True)
    quasar[-1] = False
    assert (table.loc[quasar, "best_class"] == "qso").all()
    offset = (table["z_qso"] - catalogue["z"])[quasar].abs()
    assert offset.median() < 0.1
    dwarf = (catalogue["class"] == "dwarf").to_numpy(copy=True)
    dwarf[-1] = False
    assert (table.loc[dwarf, "best_class"] == "star").mean() > 0.85


@pytest.mark.slow
def test_brown_dwarf_templates_matter(shared_data: Path, tmp_path: Path) -> None:
    catalogue = half_catalogue(shared_data)
    catalogue = catalogue[catalogue["class"] == "dwarf"].reset_index(drop=True)
    options = LephareOptions(brown_dwarfs=False, galaxy_ebv=(0.0,), qso_ebv=(0.0,))
    archive = shared_data / "lephare-data.tar.xz"
    passbands = load_passbands(DES_VHS_WISE)
    table = run_lephare(catalogue, passbands, archive, tmp_path / "work", options)
    assert (table["best_class"] == "star").mean() < 0.5
