"""The official LePHARE in the set-up of Byrne et al. (2024) against its published chi2.

``python -m archipelago.sed.lephare_check --catalogue FILE --data FOLDER [--filters FOLDER]``
fits the paper's three quasars with the options of ``data/presets/paper.yaml`` and prints
chi2 of galaxies, quasars and stars beside those published. ``--filters`` is a folder with
the passbands that the published search used; without it the packaged ones are taken.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import yaml

from archipelago.base.errors import ArchipelagoError, InputError
from archipelago.base.tables import read_any_table
from archipelago.passbands import DES_VHS_WISE, load_passbands
from archipelago.sed.lephare import LephareOptions, run_lephare
from archipelago.sed.measure import published_catalogue

_REPOSITORY = Path(__file__).resolve().parents[3]

#: Names of the published search's passband files (SVO Filter Profile Service), by band.
FILTER_FILES = {
    "g": "CTIO_DECam.g.dat",
    "r": "CTIO_DECam.r.dat",
    "i": "CTIO_DECam.i.dat",
    "z": "CTIO_DECam.z.dat",
    "Y": "CTIO_DECam.Y.dat",
    "J": "Paranal_VISTA.J.dat",
    "K": "Paranal_VISTA.Ks.dat",
    "W1": "WISE_WISE.W1.dat",
    "W2": "WISE_WISE.W2.dat",
}

#: Least chi2 of galaxies, quasars and stars by object (Byrne et al. 2024, arXiv:2403.17903).
PUBLISHED = pd.DataFrame(
    [
        (1143273115, "J0109-5424", 3913.7, 484.5, 3208.8),
        (1599741416, "J0603-3923", 1887.7, 20.1, 687.1),
        (1695974542, "J0122-4609", 3933.3, 51.2, 1693.9),
    ],
    columns=["id", "name", "chi2_gal", "chi2_qso", "chi2_star"],
)

#: Largest relative difference of the galaxy chi2 that the check lets pass.
TOLERANCE = 1e-3


def paper_options() -> LephareOptions:
    """Return LePHARE's options of ``config.yaml`` as the preset ``paper`` changes them."""
    section: dict[str, object] = {}
    for name in ("config.yaml", "data/presets/paper.yaml"):
        text = (_REPOSITORY / name).read_text(encoding="utf-8")
        section.update(yaml.safe_load(text)["lephare"])
    return LephareOptions.from_dict(section)


def compare(table: pd.DataFrame) -> pd.DataFrame:
    """Return ours, published and relative difference of each chi2 of the paper's objects.

    Parameters
    ----------
    table : rows of `run_lephare`.

    Returns
    -------
    One row per object of `PUBLISHED` that is in ``table``: name, r_detected where
    ``table`` has it, and per class chi2_<class>, published_<class>, difference_<class>.
    """
    kept = [name for name in ("r_detected",) if name in table]
    classes = ("gal", "qso", "star")
    ours = table[["id", *kept, *(f"chi2_{name}" for name in classes)]]
    both = PUBLISHED.rename(columns={f"chi2_{name}": f"published_{name}" for name in classes})
    both = both.merge(ours, on="id", how="inner", validate="one_to_one")
    for name in classes:
        both[f"difference_{name}"] = both[f"chi2_{name}"] / both[f"published_{name}"] - 1
    return both


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return 0 where the galaxy chi2 agree, 1 where they do not.

    Raises
    ------
    InputError
        If the catalogue holds none of the paper's objects, or a file is absent.
    """
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--catalogue", required=True, help="the published catalogue")
    parser.add_argument("--data", required=True, help="folder or archive of lephare-data")
    parser.add_argument("--filters", help=f"folder with {FILTER_FILES['g']} and so on")
    options = parser.parse_args(arguments)
    source = published_catalogue(read_any_table(options.catalogue))
    source = source[source["id"].isin(PUBLISHED["id"])].reset_index(drop=True)
    if not len(source):
        raise InputError(
            "none of the paper's three objects is in the catalogue",
            where=options.catalogue,
            next_step="give the catalogue of Byrne et al. (2024)",
        )
    names: dict[str, str | Path] = dict(DES_VHS_WISE)
    if options.filters:
        names = {band: Path(options.filters) / file for band, file in FILTER_FILES.items()}
        absent = [str(path) for path in names.values() if not Path(path).is_file()]
        if absent:
            raise InputError(
                "passbands are missing", where=", ".join(absent), next_step="check --filters"
            )
    with tempfile.TemporaryDirectory(prefix="archipelago-lephare-") as work:
        table = run_lephare(source, load_passbands(names), options.data, work, paper_options())
    result = compare(table.assign(r_detected=source["detected_r"]))
    for row in result.to_dict("records"):
        parts = [
            f"{name} {row[f'chi2_{key}']:.1f} (published {row[f'published_{key}']:.1f}, "
            f"{100 * row[f'difference_{key}']:+.3f} %)"
            for name, key in (("galaxy", "gal"), ("quasar", "qso"), ("star", "star"))
        ]
        print(f"{row['name']}: {'; '.join(parts)}")
    judged = result[result["r_detected"]]
    agree = judged["difference_gal"].abs() <= TOLERANCE
    print(
        f"galaxy chi2 within {100 * TOLERANCE:g} % of the published: "
        f"{int(agree.sum())} of {len(judged)} objects detected in r"
    )
    return 0 if len(judged) and agree.all() else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ArchipelagoError as error:
        sys.exit(str(error))
