"""Fit how the candidates' evidence is weighed, on demo skies, into ``data/calibration.csv``.

    python -m archipelago.measure.calibration --skies 201-206

makes all evidence on these skies as a search would (`archipelago.measure.sky_evidence`), and fits
the two logistic models of `archipelago.candidates.combine` to the objects that are no known
quasars, once for every set of evidence that an object may have. Known quasars of a run are never
used, nor is the truth of any sky but these. The command prints what the ranking would be on each
sky by a calibration without that sky.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from archipelago.base.errors import ArchipelagoError
from archipelago.candidates.combine import Calibration, write_calibration
from archipelago.config.model import Config
from archipelago.measure.command import sky_parser
from archipelago.measure.sky_evidence import demo_configuration, sky_tables
from archipelago.measure.verdicts import seeds_of
from archipelago.measure.weighing import fit_calibration, report

_REPOSITORY = Path(__file__).resolve().parents[3]


def _provenance(table: pd.DataFrame, networks: int, config: Config) -> dict[str, str]:
    asked = config.model_dump(mode="json", include={"learning", "islands", "recognise", "sed"})
    mark = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:12]
    unknown = table[~table["true_known"].to_numpy(dtype=bool)]
    return {
        "made by": "python -m archipelago.measure.calibration",
        "skies": ",".join(str(seed) for seed in table["seed"].unique()),
        "networks per sky": str(networks),
        "objects": f"{len(unknown)} that are no known quasars, "
        f"{int(unknown['true_is_quasar'].sum())} of them quasars, "
        f"{int(unknown['true_is_lensed'].sum())} of these lensed",
        "configuration of the evidence": mark,
        "weights": "no unit; low, high and base in nats; see docs/candidates.md",
    }


def _parser() -> argparse.ArgumentParser:
    parser = sky_parser("calibration", __doc__, "201-206", "the calibration")
    parser.set_defaults(out=_REPOSITORY / "data" / "calibration.csv")
    parser.add_argument("--networks", type=int, default=1, help="networks per sky")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    options = _parser().parse_args(arguments)
    try:
        config = demo_configuration(options.set)
        table = sky_tables(
            seeds_of(options.skies), options.networks, config, options.cache, options.processes
        )
        calibration = Calibration(
            fit_calibration(table), _provenance(table, options.networks, config)
        )
        write_calibration(calibration, options.out)
    except ArchipelagoError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(report(table))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
