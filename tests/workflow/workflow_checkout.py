"""A copy of the checkout in which the workflow runs for real, and a small search."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from archipelago.demosky.server import DemoServer
from archipelago.demosky.sky import Sky, truth_table

REPOSITORY = Path(__file__).resolve().parents[2]
#: What a user's checkout holds that a run needs.
PARTS = ("Snakefile", "config.yaml", "data", "envs", "profiles", "slurm", "workflow")

#: The demo made small: the same rules, fewer and smaller models.
SMALL: dict[str, Any] = {
    "run": "small",
    "survey": {"tile_order": 4},
    "learning": {"seeds": [1, 2], "epochs_max": 2, "channels": [8, 16, 32], "feature_views": 1},
    "islands": {"map": {"method": "pca"}},
    "recognise": {"n_simulated": 200},
    "sed": {
        "models": {
            "galaxy": {
                "redshift": [0.3, 0.7, 1.0, 1.5],
                "constant": {"age_gyr": [1.0]},
                "delayed": {"age_gyr": [3.0], "tau_gyr": [0.3]},
                "metallicity": [1.0],
                "av_mag": [0.0, 1.0],
                "torus_fraction": [0.0, 1.0],
                "red_quasar": {"redshift": [1.0, 2.0], "ebv": [0.3]},
            },
            "quasar": {
                "redshift": {"min": 5.4, "max": 6.8, "step": 0.1},
                "uv_slope": [-0.6, 0.0],
                "line_scale": [1.0],
                "lya_scale": [0.5, 1.5],
                "ebv": [0.0],
                "igm_scale": [1.0],
            },
            "composite": {"quasars_per_redshift": 2, "galaxies": 10},
        }
    },
    "posteriors": {
        "shortlist": 2,
        "shards": 2,
        "classes": ["star", "quasar"],
        "n_live_templates": 50,
        "n_effective": 50,
    },
    "report": {"candidates": 10, "listed": 30},
    "truth": {"file": "truth.csv"},
}


@dataclass(frozen=True)
class Checkout:
    """A copy of the repository with the overlays of one search."""

    folder: Path
    overlays: tuple[str, ...]

    def snakemake(
        self,
        *arguments: str,
        change: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
        overlays: tuple[str, ...] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run snakemake here; ``change`` is one more overlay of the configuration."""
        files = list(self.overlays if overlays is None else overlays)
        if change is not None:
            (self.folder / "change.yaml").write_text(yaml.safe_dump(dict(change)))
            files.append("change.yaml")
        command = [sys.executable, "-m", "snakemake", *arguments, "--cores", "2"]
        if files:
            command += ["--configfile", *files]
        return self.run(*command, environment=environment)

    def run(
        self, *command: str, environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command here, in a user's environment and ``environment``."""
        return subprocess.run(
            command,
            cwd=self.folder,
            env={**users_environment(), **(environment or {})},
            capture_output=True,
            text=True,
            check=False,
        )

    def result(self, name: str, run: str = "small") -> Path:
        """Path of a result."""
        return self.folder / "results" / run / name


def users_environment() -> dict[str, str]:
    """Return the environment without what the tests put there for themselves."""
    return {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONWARNINGS")}


def planned_rules(done: subprocess.CompletedProcess[str]) -> dict[str, int]:
    """Return how often a dry run would run each rule."""
    assert done.returncode == 0, done.stdout + done.stderr
    text = done.stdout + done.stderr
    table = re.search(r"Job stats:\njob +count\n[- ]+\n((?:\S+ +\d+\n)+)", text)
    if table is None:
        assert "Nothing to be done" in text, text
        return {}
    counts = dict(line.split() for line in table[1].splitlines())
    counts.pop("total")
    return {name: int(count) for name, count in counts.items()}


def copy_checkout(folder: Path, *overlays: str) -> Checkout:
    """Copy what a search needs into ``folder``."""
    folder.mkdir(parents=True)
    for part in PARTS:
        source = REPOSITORY / part
        if source.is_dir() and not source.is_symlink():
            shutil.copytree(source, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, folder / part, follow_symlinks=False)
    return Checkout(folder, overlays)


def search_of(folder: Path, sky: Sky, server: DemoServer) -> Checkout:
    """Return a checkout that searches the small sky."""
    checkout = copy_checkout(folder, "data/presets/demo.yaml", "small.yaml")
    services = {name: {"url": entry["url"]} for name, entry in server.services().items()}
    (folder / "small.yaml").write_text(yaml.safe_dump({**SMALL, "services": services}))
    truth_table(sky).to_csv(folder / "truth.csv", index=False)
    return checkout
