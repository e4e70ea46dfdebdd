"""How well shapes in images tell lensed quasars from single ones, on skies whose truth is known.

    python -m archipelago.measure.lens_evidence 301-305

makes each demo sky's quasars and the simulated objects of a search there, as the rules do, learns
`lens_log_odds` from the latter, and prints the area under the curve (AUC: the chance that a
lensed quasar has a higher value than a single one) of it and of each single measure. Truth is used
to measure only. Definitions:

- lensed: lensed quasars of the search with images further apart than ``--separation`` [arcsec].
- ordinary: quasars with nothing in front, known or not. Blends of a quasar with an unrelated
  galaxy are neither, and are counted apart.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from archipelago.base.errors import ArchipelagoError
from archipelago.base.images import ImageSet, load_images, save_images
from archipelago.config.model import Config
from archipelago.demosky.sky import build_sky
from archipelago.lensing.evidence import learn
from archipelago.measure.command import side_by_side, sky_parser
from archipelago.measure.discovery import DemoSky, simulated_sky
from archipelago.measure.sky_images import sky_images
from archipelago.measure.statistics import area_under_curve, calibration_error
from archipelago.measure.verdicts import configuration, objects_of, seeds_of, templates_of

_REPOSITORY = Path(__file__).resolve().parents[3]
_FILES = (_REPOSITORY / "config.yaml", _REPOSITORY / "data" / "presets" / "demo.yaml")
_SELECTED = 12_000
#: Separation beyond which the figure asked for holds [arcsec].
SEPARATION_ARCSEC = 0.8
_BOOTSTRAPS = 2000

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def quasars_of(seed: int, config: Config, cache: Path, n_taught: int) -> pd.DataFrame:
    """Return the quasars with images of one sky with their truth and lens evidence.

    Columns: sky, id, kind, known, separation_arcsec (NaN for those not lensed), n_images and those
    of `archipelago.lensing.evidence`, but for the true ones prefixed by ``true_``.
    """
    sky = _sky(seed, config, cache)
    simulated = simulated_sky(sky, templates_of(config, _REPOSITORY, _templates(cache)), config)
    judge = learn(
        sky.images, simulated.images, simulated.table, n_taught=n_taught, seed=config.lensing.seed
    )
    rows = np.flatnonzero(sky.objects["true_is_quasar"].to_numpy(dtype=bool))
    truth = sky.objects.iloc[rows].reset_index(drop=True)
    names = ["true_kind", "true_known", "true_image_separation_arcsec", "true_n_images"]
    found = judge.table(sky.images.images[rows])
    return pd.concat([truth[["id", *names]], found], axis=1).assign(sky=seed)


def _templates(cache: Path) -> Path:
    return cache / "templates.npz"


def _sky(seed: int, config: Config, cache: Path) -> DemoSky:
    """Return a sky's images and objects, without verdicts; both are kept in ``cache``."""
    objects = objects_of(seed, config, _REPOSITORY, _SELECTED, cache)
    path = cache / f"images-{seed}.npz"
    if not path.is_file():
        made = sky_images(build_sky(seed), objects)
        save_images(
            path, made.images, made.ids, made.bands, made.pixel_scale_arcsec, made.zero_point_ab
        )
    images: ImageSet = load_images(path)
    seen = objects[objects["id"].isin(images.ids)].sort_values("id", ignore_index=True)
    return DemoSky(seed, images, seen)


def chosen(table: pd.DataFrame, separation_arcsec: float) -> tuple[pd.DataFrame, Bools]:
    """Return the ordinary quasars and the lensed ones further apart, and which are lensed."""
    lensed = (table["true_kind"] == "lensed quasar").to_numpy()
    apart = table["true_image_separation_arcsec"].to_numpy(dtype=float)
    ordinary = (table["true_kind"] == "quasar").to_numpy()
    rows = ordinary | (lensed & (apart > separation_arcsec))
    return table[rows].reset_index(drop=True), lensed[rows]


def auc_interval(
    score: Floats, lensed: Bools, *, seed: int = 1, n: int = _BOOTSTRAPS
) -> tuple[float, float, float]:
    """Return the AUC and its 95 % interval.

    Percentiles over samples drawn with repetition, of both kinds apart [Efron & Tibshirani
    1993, An Introduction to the Bootstrap, chapter 13]. NaN scores count as the lowest; NaN where
    either kind is missing.
    """
    score = np.where(np.isfinite(score), score, -np.inf)
    yes, no = score[lensed], score[~lensed]
    if not len(yes) or not len(no):
        return float("nan"), float("nan"), float("nan")
    above = (yes[:, None] > no[None, :]) + 0.5 * (yes[:, None] == no[None, :])
    rng = np.random.default_rng(seed)
    draws = [
        above[rng.integers(len(yes), size=len(yes))][:, rng.integers(len(no), size=len(no))].mean()
        for _ in range(n)
    ]
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(above.mean()), float(low), float(high)


def report(table: pd.DataFrame, separation_arcsec: float = SEPARATION_ARCSEC) -> str:
    """Return the figures of all skies as text."""
    lines = [f"lens_log_odds, lensed quasars more than {separation_arcsec} arcsec apart:"]
    for seed, of_sky in table.groupby("sky"):
        lines.append(f"  sky {seed}: {_line(of_sky, separation_arcsec)}")
    lines.append(f"  all skies: {_line(table, separation_arcsec)}")
    lines.append(f"  of any separation: {_line(table, 0.0)}")
    blends = table.loc[table["true_kind"] == "quasar-galaxy blend", "lens_log_odds"]
    if len(blends):
        over = int((blends > 0).sum())
        lines.append(f"  blends with an unrelated galaxy: {over} of {len(blends)} above 0")
    rows, lensed = chosen(table, 0.0)
    # Rates as in the skies: the ratio says how much more often, not how many there are.
    if 0 < lensed.sum() < len(lensed):
        odds = rows["lens_log_odds"] + np.log(lensed.sum() / (~lensed).sum())
        p = 1 / (1 + np.exp(-np.nan_to_num(odds.to_numpy(dtype=float))))
        error = calibration_error(p, lensed)
        lines.append(f"  calibration error of the probability that follows: {error:.3f}")
    lines.append("single measures, all skies (AUC below 0.5: less in lensed ones):")
    rows, lensed = chosen(table, separation_arcsec)
    skipped = {"sky", "id", "lens_log_odds"}
    for name in map(str, rows.select_dtypes("number")):
        if name in skipped or name.startswith("true_"):
            continue
        values = rows[name].to_numpy(dtype=float)
        area = area_under_curve(np.where(np.isfinite(values), values, -1e9), lensed)
        lines.append(f"  {name}: {area:.3f}")
    return "\n".join(lines)


def _line(table: pd.DataFrame, separation_arcsec: float) -> str:
    rows, lensed = chosen(table, separation_arcsec)
    area, low, high = auc_interval(rows["lens_log_odds"].to_numpy(dtype=float), lensed)
    return (
        f"AUC {area:.3f} ({low:.3f}-{high:.3f}, 95 %), {int(lensed.sum())} lensed, "
        f"{int((~lensed).sum())} ordinary"
    )


def _parser() -> argparse.ArgumentParser:
    parser = sky_parser("lens_evidence", __doc__, "301-305", "the quasars and their measures")
    parser.add_argument("--separation", type=float, default=SEPARATION_ARCSEC, help="[arcsec]")
    parser.add_argument("--taught", type=int, help="simulated objects of each kind")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    options = _parser().parse_args(arguments)
    try:
        config = configuration(_FILES, options.set)
        options.cache.mkdir(parents=True, exist_ok=True)
        templates_of(config, _REPOSITORY, _templates(options.cache))
        n_taught = config.lensing.n_taught if options.taught is None else options.taught
        jobs = [(seed, config, options.cache, n_taught) for seed in seeds_of(options.skies)]
        parts = []
        for one in side_by_side(quasars_of, jobs, options.processes):
            parts.append(one)
            line = _line(one, options.separation)
            print(f"sky {one['sky'].iloc[0]}: {line}", file=sys.stderr, flush=True)
    except ArchipelagoError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    table = pd.concat(parts, ignore_index=True)
    if options.out is not None:
        table.to_csv(options.out, index=False)
    print(report(table, options.separation))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
