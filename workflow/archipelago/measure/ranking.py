"""How good the candidates' ranking is on demo skies that took no part in building it.

    python -m archipelago.measure.ranking --skies 301-305 --networks 5

makes all evidence on these skies as a search would (`archipelago.measure.sky_evidence`), ranks the
objects with ``data/calibration.csv``, and prints how many of the unknown quasars stand among the
first 30, beside each single evidence, and how far the final probability is a share. Definitions:
`archipelago.measure.first_places`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from archipelago.base.errors import ArchipelagoError
from archipelago.candidates.combine import read_calibration
from archipelago.measure.command import sky_parser
from archipelago.measure.first_places import measure_skies, report
from archipelago.measure.sky_evidence import demo_configuration, sky_tables
from archipelago.measure.verdicts import seeds_of

_REPOSITORY = Path(__file__).resolve().parents[3]


def _parser() -> argparse.ArgumentParser:
    parser = sky_parser("ranking", __doc__, "301-305", "the figures of each sky")
    parser.add_argument("--networks", type=int, default=5, help="networks per sky")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    options = _parser().parse_args(arguments)
    try:
        config = demo_configuration(options.set)
        calibration = read_calibration(_REPOSITORY / config.candidates.calibration)
        skies = seeds_of(options.skies)
        table = sky_tables(skies, options.networks, config, options.cache, options.processes)
    except ArchipelagoError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if options.out is not None:
        measure_skies(table, calibration).to_csv(options.out, index=False)
    print(report(table, calibration))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
