"""Measure the verdicts on a catalogue whose nature is known in part.

``python -m archipelago.sed.measure --catalogue FILE [--templates FILE.npz]`` prints
ranks and redshifts of the quasars, how the dwarfs fare, and the timings. Labels
are used to measure only: no verdict ever sees one.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from archipelago.base.tables import read_any_table, require_columns
from archipelago.passbands import DES_VHS_WISE, load_passbands
from archipelago.sed.templates import build_templates, load_templates
from archipelago.sed.verdict import verdicts

_REPOSITORY = Path(__file__).resolve().parents[3]


def published_catalogue(table: pd.DataFrame) -> pd.DataFrame:
    """Return the published table's photometry under this project's column names, no labels.

    Parameters
    ----------
    table : COADD_OBJECT_ID and per band B: B_mag (99 = not detected), B_flux, B_fluxerr [uJy].
    """
    bands = [band for band in DES_VHS_WISE if f"{band}_flux" in table]
    require_columns(table, ["COADD_OBJECT_ID", "ra_des", "dec_des"], "the published catalogue")
    columns: dict[str, Any] = {"id": table["COADD_OBJECT_ID"].to_numpy(dtype=np.int64)}
    for name in ("ra", "dec"):
        columns[f"{name}_deg"] = table[f"{name}_des"].to_numpy(dtype=float)
    for band in bands:
        columns[f"flux_ujy_{band}"] = table[f"{band}_flux"].to_numpy(dtype=float)
        columns[f"flux_err_ujy_{band}"] = table[f"{band}_fluxerr"].to_numpy(dtype=float)
        columns[f"detected_{band}"] = (table[f"{band}_mag"] < 90).to_numpy()
    return pd.DataFrame(columns)


def report(result: pd.DataFrame, truth: pd.DataFrame) -> str:
    """Return the measurements as text.

    Parameters
    ----------
    result : verdicts.
    truth : id, class (quasar, dwarf or empty), redshift, spt (0 = M0, 10 = L0, 20 = T0).
    """
    table = result.merge(truth, on="id", how="left", validate="one_to_one")
    table["rank"] = table["log_odds_quasar"].rank(ascending=False, method="first").astype(int)
    lines = [f"objects: {len(table)}"]
    quasars = table[table["class"] == "quasar"].sort_values("rank")
    if len(quasars):
        error = (quasars["z_quasar"] - quasars["redshift"]).to_numpy()
        inside = (quasars["z_quasar_lo"] <= quasars["redshift"]) & (
            quasars["redshift"] <= quasars["z_quasar_hi"]
        )
        lines.append(
            f"quasars: {len(quasars)}; ranks by log_odds_quasar: "
            + " ".join(str(rank) for rank in quasars["rank"])
        )
        lines.append(
            f"photometric redshift: median |error| {np.median(np.abs(error)):.3f}, "
            f"worst {np.abs(error).max():.3f}, {int(inside.sum())} within their 68 % range"
        )
        shown = [
            *("id", "rank", "redshift", "z_quasar", "z_quasar_lo", "z_quasar_hi"),
            *("log_odds_quasar", "log_odds_lensed", "p_other"),
            *("chi2_star", "chi2_galaxy", "chi2_quasar", "chi2_lensed"),
        ]
        lines.append(quasars[shown].round(2).to_string(index=False))
    dwarfs = table[table["class"] == "dwarf"]
    if len(dwarfs):
        low = (dwarfs["p_quasar"] + dwarfs["p_lensed"]) < 0.5
        best = dwarfs[[f"p_{name}" for name in ("star", "galaxy", "quasar", "lensed", "other")]]
        is_star = best.idxmax(axis=1) == "p_star"
        late = dwarfs["spt"] >= 20
        lines.append(
            f"dwarfs: {len(dwarfs)}; p_quasar + p_lensed < 0.5 for {100 * low.mean():.1f} %; "
            f"best as star {100 * is_star.mean():.1f} %, "
            f"of {int(late.sum())} T dwarfs {100 * is_star[late].mean():.1f} %; "
            f"first one at rank {int(dwarfs['rank'].min())}"
        )
        offset = (dwarfs["type_code"] - dwarfs["spt"]).abs()
        lines.append(f"spectral type: median |error| {offset.median():.1f} subtypes")
    means = ", ".join(
        f"{name} {table[f'p_{name}'].sum():.1f}"
        for name in ("star", "galaxy", "quasar", "lensed", "other")
    )
    lines.append(f"expected numbers (sums of probabilities): {means}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--catalogue", required=True, help="the published catalogue (CSV, ...)")
    parser.add_argument("--templates", help="file of templates; made if it does not exist")
    parser.add_argument("--dwarf-colours", help="table of star colours, if not the configured one")
    parser.add_argument("--threads", type=int, default=2, help="chunks worked on at once")
    options = parser.parse_args(arguments)
    sed = yaml.safe_load((_REPOSITORY / "config.yaml").read_text(encoding="utf-8"))["sed"]
    dwarf_colours = options.dwarf_colours or _REPOSITORY / sed["dwarf_colours"]
    table = read_any_table(options.catalogue)
    start_s = time.perf_counter()
    if options.templates and Path(options.templates).is_file():
        templates = load_templates(options.templates)
    else:
        passbands = load_passbands(sed["passbands"])
        templates = build_templates(sed["models"], passbands, dwarf_colours)
        if options.templates:
            templates.save(options.templates)
    built_s = time.perf_counter()
    result = verdicts(published_catalogue(table), templates, sed["fit"], options.threads)
    done_s = time.perf_counter()
    truth = table.rename(columns={"COADD_OBJECT_ID": "id"})
    for name in ("class", "redshift", "spt"):
        if name not in truth:
            truth[name] = np.nan
    print(report(result, truth[["id", "class", "redshift", "spt"]]))
    print(f"templates {built_s - start_s:.1f} s, verdicts {done_s - built_s:.1f} s")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
