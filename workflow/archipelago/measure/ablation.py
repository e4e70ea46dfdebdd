"""What each choice of the learning stage is worth, on demo skies that only choose.

    python -m archipelago.measure.ablation --skies 201,202

trains one network per sky and variant: the default with one thing changed at a time. Printed are
label-free measures (loss apart, as losses differ): alignment and uniformity (Wang & Isola
2020), RankMe (Garrido et al. 2023), augmentation consistency, all of the last epoch; and how well
the unknown quasars of the sky are found by similarity to the known ones, and by what images say
(`archipelago.measure.discovery`). The skies that a choice was made on must not be
reported on.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from archipelago.base.errors import ArchipelagoError
from archipelago.config.model import Config
from archipelago.learning.features import compute_features
from archipelago.learning.settings import LearningSettings
from archipelago.learning.training import train
from archipelago.measure.command import side_by_side, sky_parser
from archipelago.measure.discovery import demo_sky, evidence, precisions, similarity, simulated_sky
from archipelago.measure.verdicts import configuration, seeds_of, templates_of

_REPOSITORY = Path(__file__).resolve().parents[3]
_PRESETS = _REPOSITORY / "data" / "presets"

#: Variants: changes of the section ``learning``.
VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "one scale for the set": {"scale": "set"},
    "softening 3 sigma": {"softening_sigma": 3.0},
    "no aperture": {"aperture_arcsec": 0.0},
    "no added noise": {"noise_max_sigma": 0.0},
    "no blur": {"blur_fwhm_max_arcsec": 0.0},
    "no sky offsets, no masks": {"sky_offset_max_sigma": 0.0, "mask_radius_min_arcsec": 0.0},
    "VICReg": {"method": "vicreg", "head": [512, 512], "learning_rate": 0.003},
    "momentum teacher": {"method": "moco"},
    "temperature 0.2": {"temperature": 0.2},
    "batches of 512": {"batch_size": 512},
    "64, 128, 256 channels": {"channels": [64, 128, 256]},
    "published augmentations": {"augmentation": "paper"},
}


def measure_variant(
    name: str, change: dict[str, Any], seed: int, config: Config, cache: Path
) -> dict[str, Any]:
    """Train one network on one sky and return its figures."""
    templates = templates_of(config, _REPOSITORY, cache / "templates.npz")
    sky = demo_sky(seed, config, templates, cache)
    simulated = simulated_sky(sky, templates, config)
    section = config.learning.plain(without={"seeds"})
    settings = LearningSettings.from_mapping({**section, **change})
    with tempfile.TemporaryDirectory() as folder:
        model, history = train(sky.images, settings, 1, folder, threads=1)
    features = [compute_features(model, sky.images)]
    score = similarity(sky, features, config)
    by_similarity = precisions(sky, score, score)
    by_images = precisions(sky, *evidence(sky, simulated, [model], config, [1]))
    last = history.iloc[-1]
    return {
        "variant": name,
        "sky": seed,
        "alignment": last["alignment"],
        "uniformity": last["uniformity"],
        "rank_me": last["rank_me"],
        "consistency": model.record["consistency"],
        "similarity_ordinary": by_similarity[0],
        "similarity_lensed": by_similarity[1],
        "images_ordinary": by_images[0],
        "images_lensed": by_images[1],
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = sky_parser("ablation", __doc__, "201,202", "the figures of each network")
    options = parser.parse_args(arguments)
    try:
        config = configuration([_REPOSITORY / "config.yaml", _PRESETS / "demo.yaml"], options.set)
        options.cache.mkdir(parents=True, exist_ok=True)
        templates_of(config, _REPOSITORY, options.cache / "templates.npz")
        jobs = [
            (name, change, seed, config, options.cache)
            for name, change in VARIANTS.items()
            for seed in seeds_of(options.skies)
        ]
        rows = []
        for row in side_by_side(measure_variant, jobs, options.processes):
            rows.append(row)
            print(row, file=sys.stderr, flush=True)
    except ArchipelagoError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    table = pd.DataFrame(rows)
    if options.out is not None:
        table.to_csv(options.out, index=False)
    means = table.drop(columns="sky").groupby("variant", sort=False).mean()
    print(means.round(3).to_string())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
