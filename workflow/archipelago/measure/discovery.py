"""What learning finds on demo skies whose truth is known, beside the published network.

    python -m archipelago.measure.discovery --skies 301-305 --cache .demo/discovery

makes each sky's catalogue and cutouts in this process (as ``make demo`` makes them), trains the
networks of the configuration and the published one, and prints how well each way of ranking finds
the quasars that are not known. Truth is used to measure only. Definitions:

- known: the quasars that the sky's list of known quasars has; they are never counted as found.
- ordinary: unknown quasars with nothing in front; their rivals are all objects that are no quasar.
- lensed: lensed quasars, none of which is known; rivals as above.
- average precision: the area under precision against recall; blends of a quasar with a
  galaxy count neither for nor against, nor do ordinary quasars where lensed ones are counted, and
  the other way round.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from archipelago.base.errors import ArchipelagoError
from archipelago.base.images import ImageSet, load_images, save_images
from archipelago.candidates.terms import image_log_ratio
from archipelago.config.model import Config
from archipelago.demosky.sky import build_sky
from archipelago.islands.clusters import sed_coordinates, seed_islands
from archipelago.islands.enrichment import binomial_interval
from archipelago.islands.maps import has_content, make_map
from archipelago.islands.photometry_neighbours import photometry_similarity
from archipelago.islands.similarity import average_over_seeds, known_similarity, unit_rows
from archipelago.islands.summary import one_answer
from archipelago.learning.features import compute_features
from archipelago.learning.model import Model, load_model, save_model
from archipelago.learning.settings import LearningSettings
from archipelago.learning.training import train
from archipelago.measure.command import side_by_side, sky_parser
from archipelago.measure.sky_images import sky_images
from archipelago.measure.verdicts import (
    configuration,
    judge,
    objects_of,
    seeds_of,
    templates_of,
)
from archipelago.recognise.evidence import image_evidence
from archipelago.sed.templates import TemplateSet
from archipelago.simulate.objects import Known
from archipelago.simulate.tables import simulated_objects

_REPOSITORY = Path(__file__).resolve().parents[3]
_PRESETS = _REPOSITORY / "data" / "presets"
#: The published network: to the letter, and for the 88 epochs that the paper's training took. An
#: epoch of a demo sky has a fifth of its steps, so that the published early stop comes sooner.
_PUBLISHED: dict[str, dict[str, Any]] = {
    "paper": {},
    "paper_88_epochs": {"epochs_max": 88, "patience": 88},
}
#: Places at the top of a list that two sets of seeds are compared in.
N_TOP = 20
#: Share of the images' log ratio that is added to the SED's log-odds in the joint score of two
#: terms; the candidates' own ranking weighs more evidence (`archipelago.measure.ranking`).
JOINT_WEIGHT = 0.5

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclasses.dataclass(frozen=True)
class DemoSky:
    """A demo sky as a search sees it, and its truth.

    Attributes
    ----------
    seed : of the sky.
    images : of n objects, sorted by id.
    objects : (n) rows of `skies.demo_objects` in the same order, with the SED's verdicts.
    """

    seed: int
    images: ImageSet
    objects: pd.DataFrame

    @property
    def known(self) -> Bools:
        """Say which objects are known quasars."""
        return self.objects["true_known"].to_numpy(dtype=bool)

    def kind(self, name: str) -> Bools:
        """Say which objects are of a kind."""
        return (self.objects["true_kind"] == name).to_numpy()


def average_precision(score: Floats, wanted: Bools, rivals: Bools) -> float:
    """Return the average precision of ``wanted`` among ``wanted`` and ``rivals``, (n,) each.

    Mean over the wanted of the precision at the place of each; of objects with equal scores the
    wanted ones come last. NaN scores come last of all; NaN where nothing is wanted.
    """
    counted = wanted | rivals
    score = np.where(np.isfinite(score), score, -np.inf)[counted]
    true = wanted[counted]
    if not true.any():
        return float("nan")
    order = np.lexsort((true, -score))
    hits = np.cumsum(true[order])
    return float((hits / np.arange(1, len(hits) + 1))[true[order]].mean())


def precisions(sky: DemoSky, ordinary: Floats, lensed: Floats) -> tuple[float, float]:
    """Return average precisions of ordinary and of lensed quasars by one score each, (n,)."""
    rivals = ~sky.objects["true_is_quasar"].to_numpy(dtype=bool)
    plain = sky.kind("quasar") & ~sky.known
    return (
        average_precision(ordinary, plain, rivals),
        average_precision(lensed, sky.kind("lensed quasar"), rivals),
    )


# --- what is measured of one sky ---------------------------------------------------------------


def demo_sky(seed: int, config: Config, templates: TemplateSet, cache: Path) -> DemoSky:
    """Return a sky's images and objects with verdicts; images are kept in ``cache``."""
    objects = objects_of(seed, config, _REPOSITORY, 12_000, cache)
    path = cache / f"images-{seed}.npz"
    if not path.is_file():
        made = sky_images(build_sky(seed), objects)
        save_images(
            path,
            made.images,
            made.ids,
            made.bands,
            made.pixel_scale_arcsec,
            made.zero_point_ab,
        )
    images = load_images(path)
    with_images = objects[objects["id"].isin(images.ids)]
    judged = judge(with_images, templates, config.sed.fit.plain(), 1)
    return DemoSky(seed, images, judged.sort_values("id", ignore_index=True))


def trained(sky: DemoSky, settings: LearningSettings, seed: int, cache: Path) -> Model:
    """Return the network of one seed; kept in ``cache``, by its settings."""
    mark = hashlib.sha256(json.dumps(settings.to_dict(), sort_keys=True).encode()).hexdigest()[:12]
    path = cache / f"model-{sky.seed}-{seed}-{mark}.pt"
    if not path.is_file():
        with tempfile.TemporaryDirectory() as folder:
            model, _ = train(sky.images, settings, seed, folder, threads=1)
        save_model(model, path)
    return load_model(path)


def similarity(sky: DemoSky, features: Sequence[NDArray[np.float32]], config: Config) -> Floats:
    """Return similarity to the known quasars, mean over seeds, as the rule islands has it."""
    rows = np.flatnonzero(sky.known)
    each = [
        known_similarity(unit_rows(one, centre=config.islands.centre), rows).of_objects(
            config.islands.k_neighbours
        )
        for one in features
    ]
    return average_over_seeds(np.array(each))[0]


@dataclasses.dataclass(frozen=True)
class SimulatedSky:
    """Simulated objects of a sky's search: images, and the table of `simulated_objects`."""

    images: ImageSet
    table: pd.DataFrame


def simulated_sky(sky: DemoSky, templates: TemplateSet, config: Config) -> SimulatedSky:
    """Return what the rule simulate makes of a sky."""
    rows = np.flatnonzero(sky.known)
    pixels, table = simulated_objects(
        sky.images,
        templates,
        config.sed.fit.plain()["priors"],
        Known(rows, sky.objects["true_redshift"].to_numpy(dtype=float)[rows]),
        n=config.recognise.n_simulated,
        seed=config.recognise.seed,
        redshift_min=config.known_quasars.min_redshift,
    )
    images = ImageSet(
        pixels,
        table["id"].to_numpy(),
        sky.images.bands,
        sky.images.pixel_scale_arcsec,
        sky.images.zero_point_ab,
    )
    return SimulatedSky(images, table)


def evidence(
    sky: DemoSky, simulated: SimulatedSky, models: Sequence[Model], config: Config, seeds: list[int]
) -> tuple[Floats, Floats]:
    """Return what images say for an ordinary and for a lensed quasar, (n,) each [nats]."""
    table = image_evidence(
        sky.images,
        simulated.images,
        simulated.table,
        [(sky.images.ids, compute_features(model, sky.images)) for model in models],
        [(simulated.images.ids, compute_features(model, simulated.images)) for model in models],
        sky.images.ids[sky.known],
        config.recognise.plain(),
        seeds=seeds,
    )
    return (
        table["image_log_odds_quasar"].to_numpy(),
        table["image_log_odds_lensed"].to_numpy(),
    )


def main_island(
    sky: DemoSky, features: Sequence[NDArray[np.float32]], config: Config, weight_sed: float
) -> dict[str, float]:
    """Return what the island with the most known quasars holds: objects, quasars, ordinary ones.

    Purity: quasars of any kind among its objects. Completeness: the share of all ordinary
    quasars, known or not, that lie on it. With ``weight_sed`` 0 islands are those of images alone.
    """
    settings = config.islands.plain()
    place = make_map(sky.images.ids, features[0], {**settings["map"], "method": "pca"})
    xy = place[["x", "y"]].to_numpy()
    beside = sed_coordinates(sky.objects, sky.images.ids, weight_sed)
    each = np.array(
        [seed_islands(one, xy, settings["hdbscan"], has_content(one), beside) for one in features]
    )
    units = [unit_rows(one, centre=settings["centre"]) for one in features]
    label, _ = one_answer(units, each, xy, settings, beside)
    on = label[sky.known]
    if not (on >= 0).any():
        return {"n": 0, "quasars": 0, "ordinary": 0}
    members = label == np.bincount(on[on >= 0]).argmax()
    quasars = sky.objects["true_is_quasar"].to_numpy(dtype=bool)
    return {
        "n": int(members.sum()),
        "quasars": int((members & quasars).sum()),
        "ordinary": int((members & sky.kind("quasar")).sum()),
    }


def measure_sky(
    seed: int, config: Config, paper: Config, cache: Path, n_seeds: int
) -> dict[str, float]:
    """Return all figures of one sky; see the module."""
    templates = templates_of(config, _REPOSITORY, cache / "templates.npz")
    sky = demo_sky(seed, config, templates, cache)
    row: dict[str, float] = {
        "sky": seed,
        "n": len(sky.objects),
        "n_known": int(sky.known.sum()),
        "n_ordinary": int((sky.kind("quasar") & ~sky.known).sum()),
        "n_all_ordinary": int(sky.kind("quasar").sum()),
        "n_lensed": int(sky.kind("lensed quasar").sum()),
    }

    def note(name: str, ordinary: Floats, lensed: Floats) -> None:
        row[f"{name}_ordinary"], row[f"{name}_lensed"] = precisions(sky, ordinary, lensed)

    if n_seeds:
        for name, change in _PUBLISHED.items():
            settings = dataclasses.replace(_learning(paper), **change)
            published = [trained(sky, settings, s, cache) for s in paper.learning.seeds]
            row[f"epochs_{name}"] = float(np.mean([model.record["epochs"] for model in published]))
            features = [compute_features(model, sky.images) for model in published]
            score = similarity(sky, features, paper)
            note(name, score, score)
    simulated = simulated_sky(sky, templates, config)
    sets, tops = _sets(n_seeds), []
    for number, seeds in enumerate(sets):
        models = [trained(sky, _learning(config), s, cache) for s in seeds]
        plain, lensed = evidence(sky, simulated, models, config, seeds)
        tops.append(_tops(sky, plain, lensed, config))
        if number:
            continue
        features = [compute_features(model, sky.images) for model in models]
        score = similarity(sky, features, config)
        note("similarity", score, score)
        note("images", plain, lensed)
        _photometry(sky, plain, lensed, config, note)
        for name, weight in (("island", config.islands.weight_sed), ("island_images", 0.0)):
            found = main_island(sky, features, config, weight)
            row.update({f"{name}_{what}": number for what, number in found.items()})
    if len(tops) == 2:
        for name in tops[0]:
            row[f"same_{name}"] = len(np.intersect1d(tops[0][name], tops[1][name]))
    return row


def _sets(n_seeds: int) -> list[list[int]]:
    return [list(range(1, n_seeds + 1)), list(range(101, 101 + n_seeds))]


def _learning(config: Config) -> LearningSettings:
    return LearningSettings.from_mapping(config.learning.plain(without={"seeds"}))


def joint(sky: DemoSky, plain: Floats, lensed: Floats, weight: float) -> Floats:
    """Return the log-odds of photometry plus ``weight`` x those of images, (n,) [nats]."""
    return np.asarray(_sed_log_odds(sky) + weight * np.nan_to_num(image_log_ratio(plain, lensed)))


def _sed_log_odds(sky: DemoSky) -> Floats:
    return sky.objects["log_odds_quasar"].to_numpy(dtype=float)


def _tops(
    sky: DemoSky, plain: Floats, lensed: Floats, config: Config
) -> dict[str, NDArray[np.int64]]:
    """Return the first objects, not known, of each list."""
    scores = {
        "images": image_log_ratio(plain, lensed),
        "joint": joint(sky, plain, lensed, JOINT_WEIGHT),
    }
    return {
        name: sky.images.ids[
            np.argsort(np.where(sky.known | ~np.isfinite(score), np.inf, -score), kind="stable")
        ][:N_TOP]
        for name, score in scores.items()
    }


def _photometry(sky: DemoSky, plain: Floats, lensed: Floats, config: Config, note: Any) -> None:
    nearest = photometry_similarity(
        sky.objects, np.flatnonzero(sky.known), config.islands.k_neighbours, config.photometry.bands
    )
    note("flux_ratios", nearest, nearest)
    sed = _sed_log_odds(sky)
    note("sed", sed, sed)
    both = joint(sky, plain, lensed, JOINT_WEIGHT)
    note("joint", both, both)


# --- the report --------------------------------------------------------------------------------


def report(table: pd.DataFrame) -> str:
    """Return the figures of all skies as text: each sky, then mean and standard deviation."""
    lines = ["Average precision, ordinary and lensed, and objects in common of two sets of seeds:"]
    names = [str(name) for name in table]
    wanted = [name for name in names if name.endswith(("_ordinary", "_lensed"))]
    wanted = [name for name in wanted if not name.startswith(("n_", "island_"))]
    same = [name for name in names if name.startswith("same_")]
    shown = table.set_index("sky")[[*wanted, *same]].astype(float)
    summary = pd.DataFrame({"mean": shown.mean(), "sd": shown.std(ddof=1)}).T
    lines.append(pd.concat([shown, summary]).T.round(2).to_string())
    if "paper_ordinary" in table:
        for name in ("ordinary", "lensed"):
            ours, theirs = table[f"images_{name}"].mean(), table[f"paper_{name}"].mean()
            closed = (ours - theirs) / (1 - theirs)
            lines.append(
                f"{name}: {ours:.3f} by images alone, {theirs:.3f} by the published network: "
                f"{ours / theirs:.2f} times, {closed:.2f} of what it lacks"
            )
    for name in ("ordinary", "lensed"):
        gain = table[f"joint_{name}"] - table[f"sed_{name}"]
        over = table[f"joint_{name}"] - table[f"flux_ratios_{name}"]
        lines.append(
            f"{name}, joint over photometry alone: {gain.mean():+.3f} (sd {gain.std():.3f}) over "
            f"the SED, {over.mean():+.3f} (sd {over.std():.3f}) over flux ratios"
        )
    lines += [_islands(table, "island"), _islands(table, "island_images")]
    return "\n".join(lines)


def _islands(table: pd.DataFrame, name: str) -> str:
    n, quasars = int(table[f"{name}_n"].sum()), int(table[f"{name}_quasars"].sum())
    ordinary, every = int(table[f"{name}_ordinary"].sum()), int(table["n_all_ordinary"].sum())
    what = "images alone" if name.endswith("images") else "images and photometry"
    purity, complete = binomial_interval(quasars, n), binomial_interval(ordinary, every)
    return (
        f"main island of {what}, all skies: purity {quasars}/{n} = {quasars / max(n, 1):.2f} "
        f"({purity[0]:.2f}-{purity[1]:.2f}), completeness {ordinary}/{every} = "
        f"{ordinary / max(every, 1):.2f} ({complete[0]:.2f}-{complete[1]:.2f}), 95 %"
    )


def _parser() -> argparse.ArgumentParser:
    parser = sky_parser("discovery", __doc__, "301-305", "the figures of each sky")
    parser.add_argument("--seeds", type=int, default=5, help="networks per set; two sets")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    options = _parser().parse_args(arguments)
    base = [_REPOSITORY / "config.yaml", _PRESETS / "demo.yaml"]
    try:
        config = configuration(base, options.set)
        paper = configuration([*base, _PRESETS / "paper.yaml"], [])
        options.cache.mkdir(parents=True, exist_ok=True)
        templates_of(config, _REPOSITORY, options.cache / "templates.npz")
        jobs = [
            (seed, config, paper, options.cache, options.seeds) for seed in seeds_of(options.skies)
        ]
        rows = []
        for row in side_by_side(measure_sky, jobs, options.processes):
            rows.append(row)
            print(json.dumps(row), file=sys.stderr, flush=True)
    except ArchipelagoError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    table = pd.DataFrame(rows)
    if options.out is not None:
        table.to_csv(options.out, index=False)
    print(report(table))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
