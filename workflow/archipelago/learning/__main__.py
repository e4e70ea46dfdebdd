"""Print what networks were trained on, and how: ``python -m archipelago.learning MODEL.pt``."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from archipelago.base.errors import ArchipelagoError
from archipelago.learning.model import describe_record, load_model


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the records of the models named; return 1 where one cannot be read."""
    parser = argparse.ArgumentParser(prog="python -m archipelago.learning", description=__doc__)
    parser.add_argument("models", type=Path, nargs="+", metavar="MODEL.pt")
    failed = 0
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    for path in parser.parse_args(arguments).models:
        try:
            text = describe_record(load_model(path))
        except ArchipelagoError as error:
            print(f"error: {error}", file=sys.stderr)
            failed = 1
        else:
            print(f"{path}\n{text}")
    return failed


if __name__ == "__main__":
    sys.exit(main())
