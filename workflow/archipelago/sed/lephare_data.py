"""LePHARE's official data, downloaded as far as a configuration needs them.

``python -m archipelago.sed.lephare_data --out FOLDER`` fetches the lists of templates of
the section ``lephare`` of the configuration, their SEDs, the extinction laws, the opacities
and Vega, by ``lephare.data_retrieval``; what is there already is not fetched again. Then
set ``lephare.data`` to FOLDER.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from archipelago.base.errors import ArchipelagoError, InputError, ServiceError
from archipelago.sed.lephare import FIXED_FILES, LephareOptions, check_data, template_lines

_REPOSITORY = Path(__file__).resolve().parents[3]
#: Where the official data are (`lephare.data_retrieval.DEFAULT_BASE_DATA_URL` of 1.0.0).
OFFICIAL_URL = "https://raw.githubusercontent.com/lephare-photoz/lephare-data/main/"

#: Fetches files, named from the top of the data, into the folder it was made for.
Fetch = Callable[[Sequence[str]], None]


def download(out: str | Path, options: LephareOptions, fetch: Fetch) -> list[str]:
    """Fetch every file that LePHARE opens for these options.

    Parameters
    ----------
    out : folder for the data, made if absent.
    options : names lists of templates and extinction laws.
    fetch : called with names that are not in ``out`` yet; puts them there.

    Returns
    -------
    Names of all files that are needed, from the top of the data.

    Raises
    ------
    InputError
        If files are absent after fetching; names them.
    ServiceError
        From ``fetch``, if nothing could be fetched.
    """
    folder = Path(out).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    lists = {
        "GAL": f"sed/{options.galaxy_list}",
        "QSO": f"sed/{options.qso_list}",
        "STAR": f"sed/{options.star_list}",
    }
    laws = [f"ext/{law}" for law in (options.galaxy_law, options.qso_law)]
    first = list(dict.fromkeys([*FIXED_FILES, *laws, *lists.values()]))
    _fetch_absent(folder, first, fetch)
    second = [
        f"sed/{kind}/{line.split()[0]}"
        for kind, name in lists.items()
        for line in template_lines(folder / name)
    ]
    second += [f"opa/{line.split()[-1]}" for line in template_lines(folder / "opa" / "OPACITY.dat")]
    second = list(dict.fromkeys(second))
    _fetch_absent(folder, second, fetch)
    check_data(folder, options)
    return [*first, *second]


def _fetch_absent(folder: Path, names: Sequence[str], fetch: Fetch) -> None:
    absent = [name for name in names if not _is_there(folder / name)]
    if absent:
        fetch(absent)
    failed = [name for name in absent if not _is_there(folder / name)]
    if failed:
        more = f" and {len(failed) - 10} more" if len(failed) > 10 else ""
        raise InputError(
            f"{len(failed)} of {len(absent)} files could not be fetched: "
            f"{', '.join(failed[:10])}{more}",
            where=str(folder),
            next_step="run again for what is absent; where a name is wrong, correct the lists in "
            "the section lephare",
        )


def _is_there(path: Path) -> bool:
    """Return whether there is a file with content."""
    return path.is_file() and path.stat().st_size > 0


def official_fetch(out: str | Path, base_url: str = OFFICIAL_URL) -> Fetch:
    """Return a function that fetches by ``lephare.data_retrieval``, checksums included.

    Parameters
    ----------
    out : folder for the data.
    base_url : where ``data_registry.txt`` and the files are; ends with a slash.

    Raises
    ------
    ServiceError
        On the first call, if the registry of files and checksums cannot be fetched;
        and on any, if the service has none of the files.
    """
    folder = Path(out).expanduser().resolve()
    # LePHARE makes folders in the user's home where these are not set before its import.
    os.environ.setdefault("LEPHAREDIR", str(folder))
    os.environ.setdefault("LEPHAREWORK", str(folder))
    with contextlib.redirect_stdout(io.StringIO()):
        from lephare import data_retrieval

    def fetch(names: Sequence[str]) -> None:
        said = io.StringIO()
        with tempfile.TemporaryDirectory(prefix="archipelago-lephare-") as work:
            registry = str(Path(work) / "data_registry.txt")
            try:
                with contextlib.redirect_stdout(said):
                    data_retrieval.download_registry_from_github(
                        url=f"{base_url}data_registry.txt", outfile=registry
                    )
                    retriever = data_retrieval.make_retriever(
                        base_url=base_url, registry_file=registry, data_path=str(folder)
                    )
            # Whatever the client raises: it has no errors of its own.
            except (OSError, ValueError) as error:
                raise ServiceError(
                    f"the list of LePHARE's files cannot be fetched: "
                    f"{type(error).__name__}: {error}",
                    url=f"{base_url}data_registry.txt",
                    next_step="check the connection, or fetch lephare-photoz/lephare-data by hand "
                    "and set lephare.data to its folder",
                ) from error
            # Failures of single files are printed and not raised; `download` looks for them.
            with contextlib.redirect_stdout(said):
                data_retrieval.download_all_files(retriever, list(names), retry=1)
        if not any(_is_there(folder / name) for name in names):
            reasons = [line for line in said.getvalue().splitlines() if "exception" in line]
            raise ServiceError(
                f"none of {len(names)} files could be fetched: {' | '.join(reasons[:3])}",
                url=base_url,
                next_step=f"check the connection to {urlsplit(base_url).hostname}, then run again",
            )

    return fetch


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", required=True, help="folder for the data")
    parser.add_argument("--config", default=str(_REPOSITORY / "config.yaml"))
    parser.add_argument("--preset", help="file of data/presets/ whose lists are wanted")
    parser.add_argument("--url", default=OFFICIAL_URL, help="another address of the data")
    given = parser.parse_args(arguments)
    section = _section(given.config)
    if given.preset:
        section |= _section(given.preset)
    options = LephareOptions.from_dict(section)
    url = given.url if given.url.endswith("/") else f"{given.url}/"
    names = download(given.out, options, official_fetch(given.out, url))
    print(f"{len(names)} files are in {given.out}: set lephare.data to it")
    return 0


def _section(path: str) -> dict[str, Any]:
    """Return the section ``lephare`` of a configuration file; empty where it has none."""
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(
            f"cannot read the configuration: {error}", where=path, next_step="check the path"
        ) from error
    section = content.get("lephare", {}) if isinstance(content, Mapping) else {}
    return dict(section)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ArchipelagoError as error:
        sys.exit(str(error))
