from __future__ import annotations

import io
import os
import signal
import sys
import tarfile
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from helpers.configuration import shipped, shipped_config
from helpers.scripts import run_script

from archipelago.base.errors import ArchipelagoError, ConfigError, DataError, InputError
from archipelago.base.tables import read_about, read_table, write_table
from archipelago.passbands import DES_VHS_WISE, load_passbands
from archipelago.sed import lephare, lephare_check
from archipelago.sed.lephare import (
    ABOUT,
    LephareOptions,
    check_data,
    data_folder,
    fluxes_for_lephare,
    run_lephare,
)
from archipelago.sed.measure import published_catalogue
from archipelago.sed.side_by_side import OWN_COLUMNS, side_by_side, without_own

OPTIONS = LephareOptions.from_dict(shipped()["lephare"])


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


LIMITS = pd.DataFrame(
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


def test_limits_and_bands_that_cannot_be_used() -> None:
    flux, error = fluxes_for_lephare(LIMITS, ["g", "r", "i", "z"], "zero")
    np.testing.assert_allclose(flux[0], [0.0, -99, -99, -2e-29])
    np.testing.assert_allclose(error[0], [0.2e-29, -99, -99, 1e-29])


def test_limits_can_be_left_out() -> None:
    flux, error = fluxes_for_lephare(LIMITS, ["g", "z"], "left_out")
    np.testing.assert_allclose(flux[0], [-99, -2e-29])
    np.testing.assert_allclose(error[0], [-99, 1e-29])


def test_options_are_those_of_the_schema() -> None:
    section = shipped_config().lephare.plain()
    assert set(section) - {"data"} == {field.name for field in fields(LephareOptions)}
    assert LephareOptions.from_dict(section) == OPTIONS
    assert OPTIONS.galaxy_ebv == tuple(shipped()["lephare"]["galaxy_ebv"])


def test_faintest_magnitude_first_is_refused() -> None:
    with pytest.raises(ConfigError, match="qso_abs_mag must give the brightest magnitude first"):
        shipped_config(lephare={"qso_abs_mag": [-10.0, -30.0]})


def test_options_reach_lephare(tmp_path: Path) -> None:
    def config(options: LephareOptions) -> dict[str, str]:
        return lephare._config(["g", "r"], options, tmp_path)[0]

    ours = config(OPTIONS)
    assert (ours["MAG_ABS"], ours["MAG_ABS_QSO"], ours["TRANS_TYPE"]) == ("0,0", "0,0", "1")
    paper = config(lephare_check.paper_options())
    assert (paper["MAG_ABS"], paper["MAG_ABS_QSO"]) == ("-24.0,-5.0", "-30.0,-10.0")
    assert (paper["TRANS_TYPE"], paper["MAG_REF"], paper["ERR_SCALE"]) == ("0", "1", "0.0,0.0")


def test_stars_with_and_without_brown_dwarfs() -> None:
    templates = {"GAL": ["E.sed A"], "QSO": ["q.sed"], "STAR": ["BD/lte10.sed", "PICKLES/m6v.sed"]}
    values = dict.fromkeys(lephare._OUTPUT_KEYS, -99.0)
    values.update(CHI_BEST=9.0, MOD_BEST=1, CHI_QSO=5.0, MOD_QSO=1, CHI_STAR=2.0, MOD_STAR=1)
    result = np.array([[*values.values(), 7.0, 1.0], [*values.values(), 1e9, 1.0]])
    catalogue = pd.DataFrame({"id": [1, 2]})
    table = lephare._frame(catalogue, result, np.ones(2, bool), templates)
    assert table["best_class"].tolist() == ["star", "star"]
    assert table["model_star"].tolist() == ["lte10", "lte10"]
    assert table["best_class_no_brown_dwarfs"].tolist() == ["qso", "qso"]
    assert table["model_star_no_brown_dwarfs"].tolist() == ["m6v", ""]
    np.testing.assert_array_equal(table["chi2_star_no_brown_dwarfs"], [7.0, np.nan])


def _verdicts(ids: list[int]) -> pd.DataFrame:
    values = {name: np.arange(len(ids)) + 0.5 for name in OWN_COLUMNS}
    return pd.DataFrame({"id": ids, "chi2_star": 99.0, **values})


def test_lephare_stands_beside_our_verdict() -> None:
    ours = pd.DataFrame({"id": [3, 1], "chi2_star": [1.0, 2.0]})
    table = side_by_side(ours, _verdicts([1, 3]))
    assert list(table.columns) == ["id", "chi2_star", *OWN_COLUMNS]
    assert table["chi2_star"].tolist() == [1.0, 2.0]
    assert table["p_quasar"].tolist() == [1.5, 0.5]
    pd.testing.assert_frame_equal(without_own(table), ours)


def test_lephare_and_verdicts_of_other_objects() -> None:
    ours = pd.DataFrame({"id": [3, 1]})
    with pytest.raises(DataError, match="2 objects have either .*id 2"):
        side_by_side(ours, _verdicts([1, 2]))
    with pytest.raises(DataError, match="an id occurs twice .the verdicts"):
        side_by_side(ours, _verdicts([1, 3, 3]))
    with pytest.raises(InputError, match="lacks the columns? p_star"):
        side_by_side(ours, _verdicts([1, 3]).drop(columns="p_star"))


def test_empty_catalogue_and_objects_without_bands(data: Path, tmp_path: Path) -> None:
    band = SimpleNamespace(wavelength_aa=np.array([5e3, 6e3]), transmission=np.array([1.0, 1.0]))
    columns = ["id", "flux_ujy_g", "flux_err_ujy_g"]
    empty = run_lephare(pd.DataFrame(columns=columns), {"g": band}, data, tmp_path / "w", OPTIONS)
    assert list(empty.columns) == list(ABOUT)
    assert not len(empty)
    dark = pd.DataFrame([[7, np.nan, np.nan]], columns=columns)
    table = run_lephare(dark, {"g": band}, data, tmp_path / "w", OPTIONS)
    assert table.loc[0, ["id", "best_class", "n_bands", "status"]].tolist() == [
        7,
        "none",
        0,
        "no usable band",
    ]


def test_catalogue_without_a_band(data: Path, tmp_path: Path) -> None:
    band = SimpleNamespace(wavelength_aa=np.array([5e3, 6e3]), transmission=np.array([1.0, 1.0]))
    with pytest.raises(InputError, match="lacks the columns flux_ujy_g, flux_err_ujy_g"):
        run_lephare(pd.DataFrame({"id": [1]}), {"g": band}, data, tmp_path, OPTIONS)


def test_crash_is_reported(tmp_path: Path) -> None:
    crash = [sys.executable, "-c", f"import os; os.kill(os.getpid(), {int(signal.SIGSEGV)})"]
    with pytest.raises(ArchipelagoError, match="ended by SIGSEGV.*lephare.data is absent or empty"):
        lephare._run_worker(crash, tmp_path, tmp_path, 1)
    fail = [sys.executable, "-c", "raise SystemExit('no such template')"]
    with pytest.raises(ArchipelagoError, match="exit code 1; its last words: no such template"):
        lephare._run_worker(fail, tmp_path, tmp_path, 1)


def half_catalogue(shared_data: Path) -> pd.DataFrame:
    source = pd.read_csv(shared_data / "des_vhs_allwise_half.csv.gz")
    return published_catalogue(source).assign(**{"class": source["class"], "z": source["redshift"]})


@pytest.mark.slow
def test_real_objects(shared_data: Path, tmp_path: Path) -> None:
    before = dict(os.environ)
    catalogue = half_catalogue(shared_data)
    catalogue = catalogue[catalogue["class"].notna()].reset_index(drop=True)
    catalogue.loc[len(catalogue)] = {**catalogue.loc[0], "id": 1, "flux_err_ujy_z": np.nan}
    archive = shared_data / "lephare-data.tar.xz"
    table = run_lephare(
        catalogue, load_passbands(DES_VHS_WISE), archive, tmp_path / "work", OPTIONS
    )
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
    assert (table.loc[dwarf, "best_class_no_brown_dwarfs"] == "star").mean() < 0.5
    assert (table["chi2_star"] <= table["chi2_star_no_brown_dwarfs"]).all()


@pytest.mark.slow
def test_chi2_of_the_paper(shared_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--catalogue", str(shared_data / "des_vhs_allwise_half.csv.gz")]
    given += ["--data", str(shared_data / "lephare-data.tar.xz")]
    assert lephare_check.main([*given, "--filters", str(shared_data / "filters")]) == 0
    assert "of the published: 3 of 3 objects" in capsys.readouterr().out


def test_comparison_with_the_paper() -> None:
    table = lephare_check.PUBLISHED.drop(columns="name").iloc[[2, 0]]
    table = table.assign(chi2_gal=table["chi2_gal"] * 1.01)
    result = lephare_check.compare(table)
    assert result["name"].tolist() == ["J0109-5424", "J0122-4609"]
    np.testing.assert_allclose(result["difference_gal"], 0.01)
    np.testing.assert_allclose(result["difference_star"], 0.0)


def test_check_without_the_papers_objects_or_filters(tmp_path: Path) -> None:
    columns = "COADD_OBJECT_ID,ra_des,dec_des,r_mag,r_flux,r_fluxerr"
    path = tmp_path / "table.csv"
    path.write_text(f"{columns}\n1,10,-30,20,1,1\n")
    with pytest.raises(InputError, match="none of the paper's three objects"):
        lephare_check.main(["--catalogue", str(path), "--data", "x"])
    path.write_text(f"{columns}\n1143273115,10,-30,20,1,1\n")
    with pytest.raises(InputError, match="passbands are missing .*CTIO_DECam.g.dat"):
        lephare_check.main(["--catalogue", str(path), "--data", "x", "--filters", str(tmp_path)])


def test_every_column_is_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "outputs.md").read_text()
    section = page.split("\n## lephare.parquet\n")[1].split("\n## ")[0]
    absent = [name for name in (*ABOUT, *OWN_COLUMNS) if f"`{name}`" not in section]
    assert absent == []


def test_script_writes_one_table_with_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fit(catalogue: pd.DataFrame, *_: object, **__: object) -> pd.DataFrame:
        return pd.DataFrame({name: "x" for name in ABOUT} | {"id": catalogue["id"]})

    monkeypatch.setattr(lephare, "run_lephare", fit)
    write_table(pd.DataFrame({"id": [2, 1]}), tmp_path / "catalogue.parquet", {"id": "identifier"})
    about = {name: f"what {name} is" for name in ("id", "chi2_star", *OWN_COLUMNS)}
    write_table(_verdicts([1, 2]), tmp_path / "verdicts.parquet", about)
    given = {name: tmp_path / f"{name}.parquet" for name in ("catalogue", "verdicts")}
    table = tmp_path / "lephare.parquet"
    section = {key: value for key, value in shipped()["lephare"].items() if key != "data"}
    run_script(
        "lephare",
        {**given, "data": tmp_path},
        {"table": table},
        {"passbands": DES_VHS_WISE, "lephare": section},
    )
    written = read_table(table)
    assert list(written.columns) == [*ABOUT, *OWN_COLUMNS]
    assert written["id"].tolist() == [2, 1]
    assert written["p_lensed"].tolist() == [1.5, 0.5]
    described = read_about(table)
    assert described["p_lensed"] == "our own verdict: what p_lensed is"
    assert described["best_class_no_brown_dwarfs"] == ABOUT["best_class_no_brown_dwarfs"]
