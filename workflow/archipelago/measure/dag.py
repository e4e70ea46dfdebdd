"""How long Snakemake plans a search of many tiles, and how many jobs it has.

``python -m archipelago.measure.dag`` dry-runs the whole search, as ``snakemake -n`` does, on
footprints of 110, 1,500 and 10,000 tiles and on the configured one, and prints the figures
beside those asked for. Nothing is fetched and nothing is run.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from mocpy import MOC

from archipelago.base.errors import ArchipelagoError, InputError
from archipelago.tiles import FINEST_TILES

_REPOSITORY = Path(__file__).resolve().parents[3]

#: Longest that a dry run of so many tiles may take [s].
ASKED_S: Mapping[int, float] = {110: 5.0, 1_500: 20.0, 10_000: 120.0}

#: Rules that have a job in every tile, and the most jobs that they may have together in the
#: configured search.
TILE_RULES = ("select", "match", "photometry", "cutouts")
MOST_TILE_JOBS = 300

_JOB_STATS = re.compile(r"^job +count\n[- ]+\n((?:\S+ +\d+\n)+)", re.MULTILINE)


@dataclass(frozen=True)
class Plan:
    """A dry run.

    Parameters
    ----------
    jobs : number of jobs of each rule.
    wall_s : time from the start of Snakemake to its end [s].
    cpu_s : time that its processes computed [s].
    """

    jobs: Mapping[str, int]
    wall_s: float
    cpu_s: float

    @property
    def n_jobs(self) -> int:
        """Number of all jobs."""
        return sum(self.jobs.values())

    @property
    def tile_jobs(self) -> int:
        """Number of jobs of the tiles' chains."""
        return sum(self.jobs.get(rule, 0) for rule in TILE_RULES)


def write_footprint(path: Path, tiles: int) -> None:
    """Write a MOC of so many HEALPix pixels of order `FINEST_TILES`, spread over the sky.

    Raises
    ------
    ValueError
        If there are not so many pixels (12,288).
    """
    pixels = 12 * 4**FINEST_TILES
    if not 1 <= tiles <= pixels:
        raise ValueError(f"{tiles} tiles are not in 1 to {pixels}")
    cells = np.linspace(0, pixels, tiles, endpoint=False).astype(np.uint64)
    depth = np.full(tiles, FINEST_TILES, dtype=np.uint8)
    MOC.from_healpix_cells(cells, depth, max_depth=FINEST_TILES).save(path, format="fits")


def dry_run(folder: Path, tiles: int | None = None, overlays: Sequence[Path] = ()) -> Plan:
    """Plan a whole search in an empty folder.

    Parameters
    ----------
    folder : where Snakemake runs.
    tiles : number of tiles of its footprint; None: the configured footprint.
    overlays : further files of configuration.

    Raises
    ------
    InputError
        If Snakemake fails.
    """
    files = [str(_REPOSITORY / "config.yaml"), *map(str, overlays)]
    if tiles is not None:
        footprint, overlay = folder / f"tiles-{tiles}.fits", folder / f"tiles-{tiles}.yaml"
        write_footprint(footprint, tiles)
        survey = {"footprint": str(footprint), "tile_order": FINEST_TILES}
        overlay.write_text(yaml.safe_dump({"survey": survey}), encoding="utf-8")
        files.append(str(overlay))
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--quiet", "rules"]
    command += ["--snakefile", str(_REPOSITORY / "Snakefile"), "--directory", str(folder)]
    start_s, used = time.perf_counter(), os.times()
    done = subprocess.run(
        [*command, "--configfile", *files], cwd=folder, capture_output=True, text=True, check=False
    )
    wall_s, now = time.perf_counter() - start_s, os.times()
    text = done.stdout + done.stderr
    table = _JOB_STATS.search(text)
    if done.returncode or table is None:
        raise InputError(
            f"the dry run failed: {text[-2000:]}", where="snakemake -n", next_step="see above"
        )
    jobs = {name: int(count) for name, count in map(str.split, table[1].splitlines())}
    jobs.pop("total", None)
    cpu_s = now.children_user + now.children_system - used.children_user - used.children_system
    return Plan(jobs, wall_s, cpu_s)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print each figure beside the one asked for; return 1 if one is missed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tiles", type=int, nargs="*", default=list(ASKED_S), help="sizes")
    wanted = parser.parse_args(arguments).tiles
    missed = 0
    print(f"{'dry run':<24}{'jobs':>8}{'asked':>12}{'measured':>12}{'CPU':>10}")
    with tempfile.TemporaryDirectory() as name:
        try:
            for tiles in wanted:
                plan = dry_run(Path(name), tiles)
                asked_s = ASKED_S.get(tiles)
                missed += asked_s is not None and plan.wall_s >= asked_s
                asked = "" if asked_s is None else f"< {asked_s:.0f} s"
                print(
                    f"{tiles:>6,d} tiles{plan.n_jobs:>20,d}{asked:>12}{plan.wall_s:>10.1f} s"
                    f"{plan.cpu_s:>8.1f} s",
                    flush=True,
                )
            plan = dry_run(Path(name))
        except ArchipelagoError as error:
            print(error, file=sys.stderr)
            return 1
    missed += plan.tile_jobs > MOST_TILE_JOBS
    print(f"\nthe configured search: {plan.n_jobs} jobs, planned in {plan.wall_s:.1f} s")
    print(f"jobs of its tiles' chains: asked at most {MOST_TILE_JOBS}, measured {plan.tile_jobs}")
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
