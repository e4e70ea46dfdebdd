"""Where the known quasars stand in a ranked list: ``python -m archipelago.candidates.ranks``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from archipelago.base.errors import ArchipelagoError, InputError
from archipelago.base.tables import read_table

#: Columns that are printed, in this order.
SHOWN = (
    "known_name", "known_redshift", "z_quasar", "rank",
    "p_star", "p_galaxy", "p_quasar", "p_lensed", "p_other", "log_odds_lensed",
)  # fmt: skip

_ABOUT = """\
Print the known quasars of a finished search with their ranks: name, redshift, the redshift
that photometry gives (z_quasar), rank among all objects, the probability of each class by
photometry, and the ln odds of a lensed quasar against a quasar alone (log_odds_lensed).
"""


def known_ranks(candidates: pd.DataFrame) -> pd.DataFrame:
    """Return the known quasars of a ranked table, best first, with the columns of `SHOWN`."""
    known = candidates.loc[candidates["is_known"].eq(True), list(SHOWN)]
    return known.sort_values("rank", ignore_index=True)


def ranks_text(candidates: pd.DataFrame) -> str:
    """Return the ranks of the known quasars as a table in plain text."""
    known = known_ranks(candidates)
    count = "1 known quasar" if len(known) == 1 else f"{len(known)} known quasars"
    head = f"{count} among {len(candidates)} objects"
    if not len(known):
        return f"{head}\n"
    formats = {name: "{:.4f}".format for name in SHOWN if name.startswith("p_")}
    formats |= {name: "{:.2f}".format for name in ("z_quasar", "log_odds_lensed")}
    formats["known_redshift"] = "{:.3f}".format
    table = known.to_string(index=False, formatters=formats, na_rep="-")
    first, last = int(known["rank"].min()), int(known["rank"].max())
    return f"{table}\n{head}, ranks {first} to {last}\n"


def read_candidates(path: Path) -> pd.DataFrame:
    """Read the table of candidates; raises InputError if it is absent, damaged or another."""
    if not path.is_file():
        raise InputError(
            "there is no such table of candidates",
            where=str(path),
            next_step="give results/<run>/candidates.parquet of a search that is done; "
            "`snakemake candidates` makes it",
        )
    return read_table(path, required=("is_known", *SHOWN))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m archipelago.candidates.ranks", description=_ABOUT
    )
    parser.add_argument("candidates", type=Path, help="results/<run>/candidates.parquet")
    options = parser.parse_args(arguments)
    try:
        sys.stdout.write(ranks_text(read_candidates(options.candidates)))
    except ArchipelagoError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
