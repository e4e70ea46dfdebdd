"""The official LePHARE on a whole catalogue, in a process of its own.

LePHARE (Arnouts et al. 1999, MNRAS 310, 540; Ilbert et al. 2006, A&A 457, 841;
package ``lephare`` 1.0) takes its folders from the environment when it is
imported, keeps state between calls and ends in a segmentation fault when a
file of its data is absent. So every file that it will read is checked first,
and the package itself runs in a child process and in a folder of its own.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from archipelago.base.errors import ArchipelagoError, InputError
from archipelago.base.tables import require_columns

_LOG = logging.getLogger(__name__)

#: The classes, in the order of ``chi2_*`` columns.
CLASSES = ("gal", "qso", "star")

#: What each column of the table of `run_lephare` is.
ABOUT = {
    "id": "identifier of the object",
    "chi2_gal": "least chi2 of the galaxy templates; NaN where no fit was possible",
    "chi2_qso": "least chi2 of the quasar templates",
    "chi2_star": "least chi2 of the star templates, brown dwarfs included",
    "chi2_star_no_brown_dwarfs": "the same without the star templates below BD/",
    "z_gal": "redshift of the best galaxy template",
    "z_gal_lo": "lower end of its 68 % range",
    "z_gal_hi": "upper end of its 68 % range",
    "z_qso": "redshift of the best quasar template",
    "z_qso_lo": "lower end of its 68 % range",
    "z_qso_hi": "upper end of its 68 % range",
    "ebv_gal": "E(B-V) of the best galaxy template",
    "model_gal": "file name of the best galaxy template",
    "model_qso": "file name of the best quasar template",
    "model_star": "file name of the best star template, brown dwarfs included",
    "model_star_no_brown_dwarfs": "the same without the star templates below BD/",
    "best_class": "gal, qso or star: the class of least chi2; none where no fit was possible",
    "best_class_no_brown_dwarfs": "the same without the star templates below BD/",
    "n_bands": "bands used, limits included",
    "status": "ok, or why there is no fit",
}

#: Files that LePHARE opens whatever is configured, below its data folder.
FIXED_FILES = (
    "alloutputkeys.txt",
    "opa/OPACITY.dat",
    "vega/VegaLCB.sed",
    "vega/SunLCB.sed",
    "vega/BD+17o4708.sed",
    "ext/MW_seaton.dat",
    "ext/calzetti.dat",
)
#: Largest size of an archive's content [byte]; the complete official data have about 2 GB.
_MAX_UNPACKED_BYTES = 8_000_000_000
#: chi2 that stands for "no model allowed" (HIGH_CHI2 of LePHARE).
_NO_CHI2 = 0.9e9
_OUTPUT_KEYS = (
    "IDENT",
    "Z_BEST",
    "Z_BEST68_LOW",
    "Z_BEST68_HIGH",
    "CHI_BEST",
    "MOD_BEST",
    "EBV_BEST",
    "ZQ_BEST",
    "ZQ_BEST68_LOW",
    "ZQ_BEST68_HIGH",
    "CHI_QSO",
    "MOD_QSO",
    "CHI_STAR",
    "MOD_STAR",
    "NBAND_USED",
)
_NO_BD = "_no_brown_dwarfs"
#: Columns of the second fit of stars, without brown dwarfs.
_PLAIN_KEYS = ("CHI_STAR", "MOD_STAR")
_N_COLUMNS = len(_OUTPUT_KEYS) + len(_PLAIN_KEYS)
#: Objects that are held in memory at once.
_CHUNK = 20_000
_UJY_IN_CGS = 1e-29  # erg / s / cm2 / Hz


class PassbandLike(Protocol):
    """A photon-counting response: wavelengths [Angstrom] and transmission."""

    @property
    def wavelength_aa(self) -> NDArray[np.float64]:
        """Wavelengths, ascending, shape (n,) [Angstrom]."""

    @property
    def transmission(self) -> NDArray[np.float64]:
        """Transmission, shape (n,)."""


@dataclass(frozen=True)
class LephareOptions:
    """The grid of models and the errors; values and ranges are the configuration's.

    Parameters
    ----------
    redshift_max : largest redshift of galaxies and quasars.
    redshift_step : step of the redshift grid.
    galaxy_list, qso_list, star_list : lists of templates, below ``sed/`` of the data.
    galaxy_ebv, qso_ebv : E(B-V) values tried [mag].
    galaxy_law, qso_law : extinction curves, below ``ext/`` of the data.
    galaxy_abs_mag, qso_abs_mag : brightest and faintest absolute magnitude allowed, in
        the first band [AB mag]; any if None. LePHARE's default is -24 to -5 for
        galaxies and -30 to -10 for quasars.
    limits : ``zero``: an undetected band is flux 0 with its error; ``left_out``: it is
        not fitted.
    weighting : whether a passband counts ``photon`` or ``energy`` (TRANS_TYPE 1 or 0).
    error_floor_mag : added in quadrature to the errors of detected bands [mag].
    error_factor : factor on all errors after that.
    """

    redshift_max: float
    redshift_step: float
    galaxy_list: str
    qso_list: str
    star_list: str
    galaxy_ebv: tuple[float, ...]
    qso_ebv: tuple[float, ...]
    galaxy_law: str
    qso_law: str
    galaxy_abs_mag: tuple[float, float] | None
    qso_abs_mag: tuple[float, float] | None
    limits: Literal["zero", "left_out"]
    weighting: Literal["photon", "energy"]
    error_floor_mag: float
    error_factor: float

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> LephareOptions:
        """Return options from the section ``lephare``; its key ``data`` is left aside.

        The schema of the configuration has checked names and values.
        """
        given: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in values.items()
            if key != "data"
        }
        return cls(**given)


def run_lephare(
    catalogue: pd.DataFrame,
    passbands: Mapping[str, PassbandLike],
    data: str | Path,
    work_folder: str | Path,
    options: LephareOptions,
    threads: int = 1,
) -> pd.DataFrame:
    """Fit galaxies, quasars and stars of the official templates to each object.

    A band that is not detected is a Gaussian limit, flux 0 with its error, or left
    out, as ``options.limits`` says: the hard limits that LePHARE offers (negative
    errors) count as left out in 1.0. Stars are fitted a second time without the
    templates below ``BD/``.
    A band whose flux or error is not finite, or whose error is not positive,
    is left out; an object without any band gets a row that says so.

    Parameters
    ----------
    catalogue : one row per object: id, and per band B ``flux_ujy_B``,
        ``flux_err_ujy_B`` [uJy] and, where there, ``detected_B``.
    passbands : response of each band, in the order of wavelength.
    data : folder with ``sed``, ``ext``, ``opa`` and ``vega`` of ``lephare-data``,
        or a ``.tar.xz`` (``.tar.gz``, ``.tar``) of it.
    work_folder : folder for libraries and logs; made if absent, best a temporary one.
    options : grid of models and how errors are taken.
    threads : threads of LePHARE.

    Returns
    -------
    DataFrame with one row per row of ``catalogue``, in its order; columns as in `ABOUT`.

    Raises
    ------
    InputError
        If a file of the data or a column of the catalogue is absent.
    ArchipelagoError
        If LePHARE fails or crashes; names its log.
    """
    bands = list(passbands)
    columns = [name for band in bands for name in (f"flux_ujy_{band}", f"flux_err_ujy_{band}")]
    require_columns(catalogue, ["id", *columns], "catalogue for LePHARE")
    work = Path(work_folder)
    work.mkdir(parents=True, exist_ok=True)
    work = work.resolve()
    source = data_folder(data, work)
    templates = check_data(source, options)
    if not len(catalogue):
        return _frame(catalogue, np.empty((0, _N_COLUMNS)), np.zeros(0, bool), templates)
    root = _stage_data(source, templates, work / "data")
    _write_passbands(passbands, work / "passbands")
    flux, error = fluxes_for_lephare(catalogue, bands, options.limits)
    usable = np.asarray((error > 0).any(axis=1))
    np.savez(work / "fluxes.npz", flux=flux[usable], error=error[usable])
    config = _config(bands, options, work)
    job = {"config": config[0], "types": config[1], "chunk": _CHUNK, "work": str(work)}
    job["plain_stars"] = str(work / "data" / "lists" / "PLAIN.list") if _plain(templates) else ""
    (work / "job.json").write_text(json.dumps(job), encoding="utf-8")
    result = np.full((len(catalogue), _N_COLUMNS), np.nan)
    if usable.any():
        _run_worker([sys.executable, "-m", __spec__.name], root, work, threads)
        result[usable] = np.load(work / "result.npy")
    return _frame(catalogue, result, usable, templates)


def fluxes_for_lephare(
    catalogue: pd.DataFrame, bands: Sequence[str], limits: Literal["zero", "left_out"]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return fluxes and errors, each (object, band) [erg/s/cm2/Hz], as LePHARE takes them.

    Bands that are not detected have flux 0 and their error (``limits`` is ``zero``) or
    count as bands that cannot be used, which have -99 in both.
    """
    flux = catalogue[[f"flux_ujy_{band}" for band in bands]].to_numpy(dtype=float, copy=True)
    error = catalogue[[f"flux_err_ujy_{band}" for band in bands]].to_numpy(dtype=float, copy=True)
    for column, band in enumerate(bands):
        if f"detected_{band}" in catalogue:
            limit = ~catalogue[f"detected_{band}"].to_numpy(dtype=bool)
            flux[limit, column] = 0.0 if limits == "zero" else np.nan
    good = np.isfinite(flux) & np.isfinite(error) & (error > 0)
    flux = np.where(good, flux * _UJY_IN_CGS, -99.0)
    error = np.where(good, error * _UJY_IN_CGS, -99.0)
    return flux, error


def data_folder(data: str | Path, work: Path) -> Path:
    """Return the folder that holds ``sed`` and the rest, unpacking an archive below ``work``.

    Raises
    ------
    InputError
        If there is neither, or the archive is broken, too large, or holds
        names that would leave the folder.
    """
    path = Path(data).expanduser()
    if path.is_file():
        target = work / "unpacked"
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        try:
            with tarfile.open(path) as archive:
                members = archive.getmembers()
                if sum(member.size for member in members) > _MAX_UNPACKED_BYTES:
                    raise InputError(
                        f"the archive holds more than {_MAX_UNPACKED_BYTES} bytes",
                        where=str(path),
                        next_step="unpack it by hand and give the folder as lephare.data",
                    )
                archive.extractall(target, members=members, filter="data")
        except (tarfile.TarError, OSError, EOFError) as error:
            raise InputError(
                f"cannot unpack the LePHARE data: {type(error).__name__}: {error}",
                where=str(path),
                next_step="download the archive again, or give an unpacked folder as lephare.data",
            ) from error
        path = target
    if not path.is_dir():
        raise InputError(
            "the LePHARE data are not there",
            where=str(path),
            next_step="set lephare.data to a folder or archive of lephare-data, or to null",
        )
    inner = [entry for entry in sorted(path.iterdir()) if (entry / "sed").is_dir()]
    if (path / "sed").is_dir():
        return path.resolve()
    if len(inner) == 1:
        return inner[0].resolve()
    raise InputError(
        "no folder with sed/, ext/, opa/ and vega/ in it",
        where=str(path),
        next_step="set lephare.data to the folder that holds them",
    )


def check_data(source: Path, options: LephareOptions) -> dict[str, list[str]]:
    """Check that every file that LePHARE will open is there.

    Returns
    -------
    For each of GAL, QSO and STAR the lines of its list of templates.

    Raises
    ------
    InputError
        If files are absent (all are named, up to ten), or a list is empty.
    """
    needed = [source / name for name in FIXED_FILES]
    needed += [source / "ext" / law for law in (options.galaxy_law, options.qso_law)]
    lists = {
        "GAL": source / "sed" / options.galaxy_list,
        "QSO": source / "sed" / options.qso_list,
        "STAR": source / "sed" / options.star_list,
    }
    templates: dict[str, list[str]] = {}
    for kind, path in lists.items():
        needed.append(path)
        lines = template_lines(path)
        needed += [source / "sed" / kind / line.split()[0] for line in lines]
        templates[kind] = lines
    needed += [
        source / "opa" / line.split()[-1] for line in template_lines(source / "opa" / "OPACITY.dat")
    ]
    missing = [str(path.relative_to(source)) for path in needed if not path.is_file()]
    if missing:
        more = f" and {len(missing) - 10} more" if len(missing) > 10 else ""
        raise InputError(
            f"{len(missing)} files of the LePHARE data are missing: "
            f"{', '.join(missing[:10])}{more}",
            where=str(source),
            next_step="complete the data from lephare-photoz/lephare-data, or name other lists",
        )
    empty = [str(lists[kind]) for kind, lines in templates.items() if not lines]
    if empty:
        raise InputError(
            "lists of templates without a template",
            where=", ".join(empty),
            next_step="name other lists in the section lephare",
        )
    return templates


def _plain(templates: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the star templates that are no brown dwarfs."""
    return [line for line in templates["STAR"] if not line.startswith("BD/")]


def template_lines(path: Path) -> list[str]:
    """Return the lines of a list that are neither empty nor comments; none without a file."""
    if not path.is_file():
        return []
    text = path.read_text(encoding="utf-8", errors="replace")
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def _stage_data(source: Path, templates: Mapping[str, Sequence[str]], root: Path) -> Path:
    """Link the data into ``root`` and add what LePHARE wants besides: the data stay as they are."""
    shutil.rmtree(root, ignore_errors=True)
    (root / "sed" / "GAL").mkdir(parents=True)
    for name in ("ext", "opa", "vega", "alloutputkeys.txt"):
        (root / name).symlink_to(source / name)
    for kind in ("QSO", "STAR"):
        (root / "sed" / kind).symlink_to(source / "sed" / kind)
    for entry in sorted((source / "sed" / "GAL").iterdir()):
        (root / "sed" / "GAL" / entry.name).symlink_to(entry)
    # A list of dust emission templates is read in any case; one flat SED satisfies it.
    dust = root / "sed" / "GAL" / "BETHERMIN12"
    if not (dust / "BETHERMIN12_MOD.list").is_file():
        dust.unlink(missing_ok=True)
        dust.mkdir()
        flat = np.column_stack([np.geomspace(1e4, 1e7, 50), np.ones(50)])
        np.savetxt(dust / "flat.sed", flat)
        (dust / "BETHERMIN12_MOD.list").write_text("BETHERMIN12/flat.sed\n", encoding="utf-8")
    (root / "lists").mkdir()
    for kind, lines in {**templates, "PLAIN": _plain(templates)}.items():
        (root / "lists" / f"{kind}.list").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root


def _write_passbands(passbands: Mapping[str, PassbandLike], folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for band, passband in passbands.items():
        curve = np.column_stack([passband.wavelength_aa, passband.transmission])
        np.savetxt(folder / f"{band}.dat", curve, fmt="%.6e", header=band)


def _config(
    bands: Sequence[str], options: LephareOptions, work: Path
) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
    """Return what to change in LePHARE's COSMOS defaults, in general and per type of object."""
    n = len(bands)
    out_keys = work / "output.para"
    out_keys.write_text("\n".join(_OUTPUT_KEYS) + "\n", encoding="utf-8")
    lists = work / "data" / "lists"
    config = {
        "FILTER_REP": str(work / "passbands"),
        "FILTER_LIST": ",".join(f"{band}.dat" for band in bands),
        "FILTER_CALIB": ",".join(["0"] * n),
        "FILTER_FILE": "passbands",
        "TRANS_TYPE": {"energy": "0", "photon": "1"}[options.weighting],
        "ERR_SCALE": ",".join([str(options.error_floor_mag)] * n),
        "ERR_FACTOR": str(options.error_factor),
        "Z_STEP": f"{options.redshift_step},0.,{options.redshift_max}",
        "Z_INTERP": "NO",
        "MAG_REF": "1",
        "MAG_ABS": _range(options.galaxy_abs_mag),
        "MAG_ABS_QSO": _range(options.qso_abs_mag),
        "MABS_METHOD": "0",
        "MABS_CONTEXT": "-1",
        "MABS_REF": "1",
        "MABS_FILT": "1",
        "MABS_ZBIN": "0,99",
        "RF_COLORS": "1,1,1,1",
        "LIMITS_MAPP_REF": "1",
        "LIMITS_MAPP_SEL": "1",
        "ADAPT_BAND": "1",
        "AUTO_ADAPT": "NO",
        "RM_DISCREPANT_BD": "1e9",  # never leave a band out because it fits badly
        "EM_LINES": "NO",
        "ADD_EMLINES": "0,0",
        "CAT_TYPE": "LONG",
        "INP_TYPE": "F",
        "CAT_IN": "none",
        "CAT_OUT": str(work / "unused.out"),
        "PARA_OUT": str(out_keys),
        "PDZ_OUT": "NONE",
        "ZPHOTLIB": "MAG_GAL,MAG_QSO,MAG_STAR",
    }
    for kind in ("GAL", "QSO", "STAR"):
        config[f"{kind}_SED"] = str(lists / f"{kind}.list")
        config[f"{kind}_LIB"] = config[f"{kind}_LIB_IN"] = f"SED_{kind}"
        config[f"{kind}_LIB_OUT"] = f"MAG_{kind}"

    # `prepare` writes each type's values into the common ones, so each type sets all of them.
    def reddening(ebv: Sequence[float], law: str, n_templates: int) -> dict[str, str]:
        return {
            "EB_V": ",".join(str(value) for value in ebv),
            "EXTINC_LAW": law,
            "MOD_EXTINC": f"0,{n_templates}",
        }

    types = {
        "STAR": reddening([0.0], options.galaxy_law, 0),
        "GAL": reddening(options.galaxy_ebv, options.galaxy_law, 9999),
        "QSO": reddening(options.qso_ebv, options.qso_law, 9999),
    }
    return config, types


def _range(limits: tuple[float, float] | None) -> str:
    """Return LePHARE's text of a range of absolute magnitudes; 0,0 stands for any."""
    return "0,0" if limits is None else ",".join(str(value) for value in limits)


def _run_worker(command: Sequence[str], root: Path, work: Path, threads: int) -> None:
    """Run ``command job.json`` with LePHARE's folders set, and report how it ended."""
    library = str(Path(__file__).resolve().parents[2])
    environment = dict(os.environ)
    environment.update(
        LEPHAREDIR=str(root),
        LEPHAREWORK=str(work / "lephare"),
        OMP_NUM_THREADS=str(max(1, threads)),
        PYTHONPATH=os.pathsep.join(filter(None, [library, os.environ.get("PYTHONPATH")])),
        PYTHONWARNINGS="ignore",
    )
    (work / "lephare").mkdir(exist_ok=True)
    log = work / "lephare.log"
    with log.open("wb") as stream:
        done = subprocess.run(
            [*command, str(work / "job.json")],
            cwd=work,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if done.returncode == 0:
        return
    text = log.read_text(encoding="utf-8", errors="replace")
    tail = " | ".join(line for line in text.splitlines()[-5:] if line.strip())
    _LOG.error("the last lines of LePHARE:\n%s", text[-4000:])
    if done.returncode < 0:
        try:
            name = signal.Signals(-done.returncode).name
        except ValueError:
            name = f"signal {-done.returncode}"
        raise ArchipelagoError(
            f"LePHARE was ended by {name}; its last words: {tail}",
            where=str(root),
            next_step="SIGSEGV: a file of lephare.data is absent or empty, compare them with the "
            "official lephare-data; SIGKILL: give the job more memory",
        )
    raise ArchipelagoError(
        f"LePHARE ended with exit code {done.returncode}; its last words: {tail}",
        where=str(root),
        next_step="check the lists of templates and the passbands of the section lephare",
    )


def _work(job_path: Path) -> None:
    """Run LePHARE on the job of ``job_path``; in the child process only."""
    import lephare
    from astropy.table import Table

    job = json.loads(job_path.read_text(encoding="utf-8"))
    work = Path(job["work"])
    config = dict(lephare.default_cosmos_config)
    config.update(job["config"])
    types = job["types"]
    lephare.prepare(
        config, star_config=types["STAR"], gal_config=types["GAL"], qso_config=types["QSO"]
    )
    with np.load(work / "fluxes.npz") as stored:
        flux, error = stored["flux"], stored["error"]

    def fitted(keys: Sequence[str]) -> NDArray[np.float64]:
        bands = [name.removesuffix(".dat") for name in job["config"]["FILTER_LIST"].split(",")]
        parts = []
        for start in range(0, len(flux), job["chunk"]):
            rows = slice(start, start + job["chunk"])
            table = Table()
            table["id"] = np.arange(len(flux))[rows]
            for column, band in enumerate(bands):
                table[band] = flux[rows, column]
                table[f"{band}_error"] = error[rows, column]
            table["context"] = 0
            table["zspec"] = -99.0
            table["string_input"] = ""
            out, _ = lephare.process(config, table)
            parts.append(np.column_stack([np.asarray(out[key], dtype=float) for key in keys]))
        result = np.concatenate(parts)
        if not np.array_equal(result[:, 0], np.arange(len(flux))):
            raise RuntimeError("LePHARE returned other objects than it was given")
        return result

    result = fitted(_OUTPUT_KEYS)
    plain = np.full((len(flux), len(_PLAIN_KEYS)), np.nan)
    if job["plain_stars"]:
        config = dict(lephare.default_cosmos_config)
        config.update(job["config"])
        config.update(
            STAR_SED=job["plain_stars"],
            STAR_LIB="SED_PLAIN",
            STAR_LIB_IN="SED_PLAIN",
            STAR_LIB_OUT="MAG_PLAIN",
            ZPHOTLIB="MAG_PLAIN",
        )
        lephare.prepare(config, star_config=types["STAR"], gal_config=None, qso_config=None)
        plain = fitted(("IDENT", *_PLAIN_KEYS))[:, 1:]
    np.save(work / "result.npy", np.hstack([result, plain]))


def _frame(
    catalogue: pd.DataFrame,
    result: NDArray[np.float64],
    usable: NDArray[np.bool_],
    templates: Mapping[str, Sequence[str]],
) -> pd.DataFrame:
    """Return the table of `run_lephare` from LePHARE's own columns, (object, `_N_COLUMNS`)."""
    names = [*_OUTPUT_KEYS, *(f"{key} without brown dwarfs" for key in _PLAIN_KEYS)]
    column = {name: result[:, index] for index, name in enumerate(names)}
    frame = pd.DataFrame({"id": catalogue["id"].to_numpy()})
    # chi2, redshift and number of the template, and the templates that are numbered.
    keys = {
        "gal": ("CHI_BEST", "Z_BEST", "MOD_BEST", templates["GAL"]),
        "qso": ("CHI_QSO", "ZQ_BEST", "MOD_QSO", templates["QSO"]),
        "star": ("CHI_STAR", None, "MOD_STAR", templates["STAR"]),
        f"star{_NO_BD}": (names[-2], None, names[-1], _plain(templates)),
    }
    for name, (chi2_key, z_key, model_key, lines) in keys.items():
        chi2 = column[chi2_key]
        good = (chi2 >= 0) & (chi2 < _NO_CHI2)
        frame[f"chi2_{name}"] = np.where(good, chi2, np.nan)
        models = [Path(line.split()[0]).name.split(".sed")[0] for line in lines]
        frame[f"model_{name}"] = [
            # LePHARE counts templates from 1 in the order of its list.
            models[int(number) - 1] if fits and 1 <= number <= len(models) else ""
            for number, fits in zip(column[model_key], good, strict=True)
        ]
        if z_key is not None:
            for suffix, key in (("", z_key), ("_lo", f"{z_key}68_LOW"), ("_hi", f"{z_key}68_HIGH")):
                known = good & (column[key] >= 0)
                frame[f"z_{name}{suffix}"] = np.where(known, column[key], np.nan)
    frame["ebv_gal"] = np.where(frame["chi2_gal"].notna(), column["EBV_BEST"], np.nan)
    frame["best_class"] = _best_class(frame, "chi2_star")
    frame[f"best_class{_NO_BD}"] = _best_class(frame, f"chi2_star{_NO_BD}")
    frame["n_bands"] = np.nan_to_num(column["NBAND_USED"]).astype(np.int64)
    no_fit = (frame["best_class"] == "none").to_numpy()
    frame["status"] = np.select([~usable, no_fit], ["no usable band", "no template fits"], "ok")
    return frame[list(ABOUT)]


def _best_class(frame: pd.DataFrame, star: str) -> NDArray[np.str_]:
    """Return the class of least chi2, stars by the column ``star``; none without any chi2."""
    chi2 = frame[["chi2_gal", "chi2_qso", star]].to_numpy()
    fitted = np.isfinite(chi2)
    best = np.argmin(np.where(fitted, chi2, np.inf), axis=1) if len(chi2) else np.zeros(0, int)
    return np.where(fitted.any(axis=1), np.array(CLASSES)[best], "none")


if __name__ == "__main__":
    _work(Path(sys.argv[1]))
