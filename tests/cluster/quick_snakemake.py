"""Snakemake, with one thing changed for tests: it looks at SLURM's queue every two seconds.

The executor for SLURM waits ten seconds longer after each look that finds no job ended: right
for jobs of hours, and minutes of waiting for a search whose jobs take seconds.
"""

from __future__ import annotations

import sys

from snakemake.cli import main
from snakemake_executor_plugin_slurm import Executor

Executor.next_seconds_between_status_checks = property(  # type: ignore[assignment]
    lambda self: 2, lambda self, value: None
)

if __name__ == "__main__":
    sys.argv[0] = "snakemake"
    main()
