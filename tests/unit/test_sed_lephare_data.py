from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from helpers.configuration import shipped
from helpers.loopback import Answer, loopback_server

from archipelago.base.errors import InputError
from archipelago.sed.lephare import LephareOptions, check_data
from archipelago.sed.lephare_data import download, main

REPOSITORY = Path(__file__).resolve().parents[2]
OPTIONS = LephareOptions.from_dict(shipped()["lephare"])
FILES = {
    "alloutputkeys.txt": "IDENT\n",
    "opa/OPACITY.dat": "0.0 tau00.out\n",
    "opa/tau00.out": "1 1\n",
    "vega/VegaLCB.sed": "1 1\n",
    "vega/SunLCB.sed": "1 1\n",
    "vega/BD+17o4708.sed": "1 1\n",
    "ext/MW_seaton.dat": "1 1\n",
    "ext/calzetti.dat": "1 1\n",
    "ext/SB_calzetti.dat": "1 1\n",
    "ext/SMC_prevot.dat": "1 1\n",
    "sed/GAL/CWW_KINNEY/CWW_MOD.list": "CWW_KINNEY/E.sed A\n",
    "sed/GAL/CWW_KINNEY/E.sed": "1 1\n",
    "sed/QSO/QSO_MOD.list": "# a comment\nqso.sed\n",
    "sed/QSO/qso.sed": "1 1\n",
    "sed/STAR/STAR_MOD_ALL.list": "PICKLES/o5v.sed.ext A\n",
    "sed/STAR/PICKLES/o5v.sed.ext": "1 1\n",
}


class Source:
    """Stands in for the service: puts files where they are asked for, but for some."""

    def __init__(self, folder: Path, without: Sequence[str] = ()) -> None:
        self.folder = folder
        self.without = set(without)
        self.asked: list[list[str]] = []

    def __call__(self, names: Sequence[str]) -> None:
        self.asked.append(list(names))
        for name in set(names) - self.without:
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(FILES[name])


def test_lists_first_then_what_they_name(tmp_path: Path) -> None:
    out = tmp_path / "new" / "data"
    source = Source(out)
    assert sorted(download(out, OPTIONS, source)) == sorted(FILES)
    assert "sed/QSO/QSO_MOD.list" in source.asked[0]
    assert sorted(source.asked[1]) == [
        "opa/tau00.out",
        "sed/GAL/CWW_KINNEY/E.sed",
        "sed/QSO/qso.sed",
        "sed/STAR/PICKLES/o5v.sed.ext",
    ]
    check_data(out, OPTIONS)


def test_only_what_is_absent_is_fetched(tmp_path: Path) -> None:
    download(tmp_path, OPTIONS, Source(tmp_path))
    again = Source(tmp_path)
    download(tmp_path, OPTIONS, again)
    assert again.asked == []
    (tmp_path / "sed/QSO/qso.sed").write_text("")  # cut off
    download(tmp_path, OPTIONS, again)
    assert again.asked == [["sed/QSO/qso.sed"]]


@pytest.mark.parametrize("name", ["sed/QSO/QSO_MOD.list", "opa/tau00.out"])
def test_files_that_do_not_come_are_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=f"1 of [0-9]+ files could not be fetched: {name}"):
        download(tmp_path, OPTIONS, Source(tmp_path, without=[name]))


def test_configuration_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read the configuration: .*absent\.yaml"):
        main(["--out", str(tmp_path), "--config", str(tmp_path / "absent.yaml")])


def run(out: Path, url: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own: LePHARE keeps the folders of its import."""
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("LEPHARE")},
        "PYTHONPATH": str(REPOSITORY / "workflow"),
        "PYTHONWARNINGS": "ignore",
        "NO_PROXY": "127.0.0.1",
    }
    command = [sys.executable, "-m", "archipelago.sed.lephare_data"]
    return subprocess.run(
        [*command, "--out", str(out), "--url", url],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_official_client_fetches_and_says_what_failed(tmp_path: Path) -> None:
    sums = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in FILES.items()}
    registry = "".join(f"{name} {value}\n" for name, value in sums.items())
    with loopback_server() as server:
        nothing = run(tmp_path / "a", f"{server.url}/main")
        assert nothing.returncode == 1
        assert "the list of LePHARE's files cannot be fetched: HTTPError: 404" in nothing.stderr
        assert "fetch lephare-photoz/lephare-data by hand" in nothing.stderr
        server.at("/main/data_registry.txt", Answer(registry.encode()))
        none_there = run(tmp_path / "a", f"{server.url}/main")
        assert none_there.returncode == 1
        assert "files could be fetched" in none_there.stderr
        for name, text in FILES.items():
            server.at(f"/main/{name}", Answer(text.encode()))
        server.at("/main/sed/QSO/qso.sed", Answer(b"other than its checksum\n"))
        broken = run(tmp_path / "a", f"{server.url}/main")
        assert broken.returncode == 1
        assert "1 of 4 files could not be fetched: sed/QSO/qso.sed" in broken.stderr
        server.at("/main/sed/QSO/qso.sed", Answer(FILES["sed/QSO/qso.sed"].encode()))
        done = run(tmp_path / "a", f"{server.url}/main/")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(f"16 files are in {tmp_path / 'a'}: set lephare.data to it\n")
    check_data(tmp_path / "a", OPTIONS)
