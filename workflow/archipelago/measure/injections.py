"""Whether the completeness that injections predict is the one that a demo sky shows.

    python -m archipelago.measure.injections --skies 302,303 --cache .demo/discovery

makes each sky's search in this process (`archipelago.measure.sky_evidence`), injects quasars as
the rules do, and compares, along every axis, what the smooth model of the injected objects
predicts for the sky's own quasars with how many of them are found. Two comparisons, since a demo
sky keeps fixed numbers of quasars of each fate:

- cuts: of quasars as nature draws them on that sky (`archipelago.demosky.sky.quasar_trials`), how
  many pass the query, the matches and the cuts;
- ranking: of the sky's unknown quasars that pass these, how many stand among the first of the
  list; the model is fitted to the injected objects that pass the cuts.

Each sky is compared by itself, with as many trial quasars as one sky has, and all together.
Predicted numbers have 90 % intervals: of the model, and of the few quasars that each is about.
Truth is used to compare only.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from archipelago.base.errors import ArchipelagoError
from archipelago.candidates.combine import read_calibration
from archipelago.candidates.ranking import rank_candidates
from archipelago.config.model import Config
from archipelago.demosky.sky import build_sky, quasar_trials
from archipelago.injections import completeness, evidence
from archipelago.injections.design import AXES
from archipelago.injections.inject import Run, inject, stages
from archipelago.injections.ranking import rank_injected
from archipelago.learning.features import compute_features
from archipelago.lensing.evidence import learn
from archipelago.measure.command import sky_parser
from archipelago.measure.skies import catalogue_columns, sky_matches
from archipelago.measure.sky_evidence import SkyEvidence, demo_configuration
from archipelago.measure.verdicts import search_of, seeds_of, templates_of
from archipelago.photometry.measure import read_bands
from archipelago.sed.verdict import verdicts

_REPOSITORY = Path(__file__).resolve().parents[3]
_N_SELECTED = 12_000
#: Draws of trial quasars per sky: as many as one sky has.
_TRIALS = 1
_N_BINS = 4
_UJY_AB = 23.9
#: Kinds of a demo sky, by ours.
_KIND_OF = {"quasar": "quasar", "lensed quasar": "lensed"}

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def run_of(evidence_of: SkyEvidence, config: Config) -> Run:
    """Return what the injection takes from a sky's search."""
    search = search_of(config)
    query = _REPOSITORY / config.survey.query
    sources, matched, losses = sky_matches(
        build_sky(evidence_of.seed, _N_SELECTED), search, str(query)
    )
    survey, partners = search["survey"]["bands"], search["match"]
    bands = config.photometry.bands
    judged = evidence_of.judged()
    known = judged[judged["true_known"].to_numpy(dtype=bool)]
    return Run(
        catalogue=catalogue_columns(judged),
        known=known[["id"]].assign(known_redshift=known["true_redshift"].astype(float)),
        templates=evidence_of.templates,
        images=evidence_of.sky().images,
        sources=sources,
        matched=matched,
        losses=losses,
        specs=read_bands(bands, survey, *(one["bands"] for one in partners)),
        photometry=search["photometry"],
        fit=config.sed.fit.plain(),
        partners=partners,
        query=query.read_text(encoding="utf-8"),
        query_columns={
            section[what]: (band, what)
            for band, section in survey.items()
            for what in ("value", "error")
        },
    )


def injected_of(
    of_sky: SkyEvidence, config: Config, settings: dict[str, Any], *, lensing: bool = True
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, float]]:
    """Inject quasars into a sky's search.

    Returns
    -------
    injected : as of the rule `completeness`.
    candidates : of the sky.
    seconds : per stage.
    """
    seconds: dict[str, float] = {}
    clock = time.perf_counter()

    def lap(name: str) -> None:
        nonlocal clock
        now = time.perf_counter()
        seconds[name], clock = now - clock, now

    calibration = read_calibration(_REPOSITORY / config.candidates.calibration)
    candidates = rank_candidates(of_sky.table(with_lensing=lensing), calibration)
    run = run_of(of_sky, config)
    lap("the search itself")
    made = inject(run, settings, 0, 1)
    lap("inject")
    judged = of_sky.judged()
    fits = verdicts(
        made.photometry, run.templates, run.fit, among=(catalogue_columns(judged), judged)
    )
    lap("sed")
    assert made.images is not None  # demo skies have images
    models, sky, simulated = of_sky.models(), of_sky.sky(), of_sky.simulated()
    features = [(made.images.ids, compute_features(model, made.images)) for model in models]
    lap("features")
    run_features = of_sky.features()
    of_simulated = [
        (simulated.images.ids, compute_features(model, simulated.images)) for model in models
    ]
    known = sky.images.ids[sky.known]
    tables = [
        evidence.like_the_known(
            made.images.ids, features, run_features, candidates, config.islands.plain()
        ),
        evidence.likeness(
            made.images,
            sky.images,
            simulated.images,
            simulated.table,
            features,
            run_features,
            of_simulated,
            known,
            config.recognise.n_components,
            seeds=of_sky.networks,
        ),
    ]
    if lensing:
        judge = learn(
            sky.images,
            simulated.images,
            simulated.table[["id", "kind"]],
            **config.lensing.plain(),
        )
        tables.append(evidence.lens_odds(made.images, judge))
    ranked = rank_injected(fits, tables, candidates, calibration)
    lap("rank")
    table = completeness.with_stages(made.table, stages(run), ranked, settings)
    lap("completeness")
    return table, candidates, seconds


def injected_to_the_cuts(
    of_sky: SkyEvidence, config: Config, settings: dict[str, Any]
) -> tuple[pd.DataFrame, dict[str, float]]:
    """Inject quasars into a sky's search, as far as the cuts; table and seconds."""
    run = run_of(of_sky, config)
    start = time.perf_counter()
    made = inject(run, settings, 0, 1)
    return made.table, {"inject": time.perf_counter() - start}


def compare(
    injected: pd.DataFrame, passed: Bools, truth: pd.DataFrame, found: Bools, kind: str
) -> pd.DataFrame:
    """Compare predicted and true numbers of found quasars along every axis.

    Parameters
    ----------
    injected : those of a kind that the model is fitted to, with the axes.
    passed : (n) which of them passed.
    truth : (m) true quasars of the kind, with the axes.
    found : (m) which of them passed.
    kind : of `archipelago.injections.design.KINDS`.

    Returns
    -------
    Per axis and bin (of equal numbers of true quasars): axis, bin_lo, bin_hi, n, found, predicted,
    lo, hi (90 %), inside (found within lo to hi). True quasars outside what was injected are left
    out.
    """
    axes = AXES[kind]
    model = completeness.fit_smooth(injected, passed, kind)
    values = truth[list(axes)].to_numpy(dtype=float)
    inside = ((values >= model.low) & (values <= model.high)).all(axis=1)
    values, found = values[inside], found[inside]
    rows: list[dict[str, Any]] = []
    if not len(values):
        return pd.DataFrame(rows)
    chances = model.chances(values)
    drawn = np.random.default_rng(5).random(chances.shape) < chances
    for name, column in [("all", None), *((axis, k) for k, axis in enumerate(axes))]:
        if column is None:
            parts = [np.arange(len(values))]
        else:
            order = np.argsort(values[:, column], kind="stable")
            parts = np.array_split(order, min(_N_BINS, max(len(values) // 5, 1)))
        for part in parts:
            low, high = np.quantile(drawn[part].sum(axis=0), [0.05, 0.95])
            k = int(found[part].sum())
            within = values[part, column] if column is not None else np.array([np.nan])
            rows.append(
                {
                    "axis": name,
                    "bin_lo": float(within.min()),
                    "bin_hi": float(within.max()),
                    "n": len(part),
                    "found": k,
                    "predicted": float(chances[part].mean(axis=1).sum()),
                    "lo": float(low),
                    "hi": float(high),
                    "inside": bool(low <= k <= high),
                }
            )
    return pd.DataFrame(rows)


def trials(seed: int) -> pd.DataFrame:
    """Return quasars as nature draws them on a sky, with our axes and kinds, and their fate."""
    table = pd.concat([quasar_trials(seed, draw) for draw in range(_TRIALS)], ignore_index=True)
    return _with_axes(table, table["quasar_ujy_z"], table["front_ujy_z"])


def survivors(of_sky: SkyEvidence, candidates: pd.DataFrame) -> pd.DataFrame:
    """Return the sky's unknown quasars that reached its list, with axes and places."""
    objects = of_sky.judged()
    parts = build_sky(of_sky.seed, _N_SELECTED).components
    front = parts["role"].isin(["lens", "galaxy"])
    light = [
        parts[chosen].groupby("object_id")["flux_ujy_z"].sum().reindex(objects["id"]).to_numpy()
        for chosen in (~front, front)
    ]
    objects = objects.rename(
        columns={
            f"true_{name}": name for name in ("kind", "redshift", "lens_redshift", "magnification")
        }
        | {"true_image_separation_arcsec": "image_separation_arcsec"}
    )
    table = _with_axes(objects, pd.Series(light[0]), pd.Series(light[1]).fillna(0.0))
    columns = ["id", "rank_unknown", "combined_p_quasar", "combined_p_lensed"]
    table = table.merge(candidates[columns], on="id", how="left")
    return table[~table["true_known"].to_numpy(dtype=bool)].reset_index(drop=True)


def _with_axes(table: pd.DataFrame, quasar: pd.Series, front: pd.Series) -> pd.DataFrame:
    kind = table["kind"].map(_KIND_OF)
    keep = kind.notna().to_numpy()
    with np.errstate(divide="ignore"):
        result = table.assign(
            kind=kind,
            quasar_mag=_UJY_AB - 2.5 * np.log10(quasar.to_numpy(dtype=float)),
            lens_mag=_UJY_AB - 2.5 * np.log10(front.to_numpy(dtype=float)),
            separation_arcsec=table["image_separation_arcsec"],
        )
    return result[keep].reset_index(drop=True)


def measure_skies(
    tables: Sequence[pd.DataFrame],
    truths: Sequence[pd.DataFrame],
    lists: Sequence[pd.DataFrame],
    settings: dict[str, Any],
) -> pd.DataFrame:
    """Return the comparisons of several skies together, one row per kind, stage, axis and bin.

    Parameters
    ----------
    tables : injected objects per sky.
    truths : `trials` per sky.
    lists : `survivors` per sky; none: the cuts alone are compared.
    settings : section ``injections``.
    """
    injected, drawn = (pd.concat(each, ignore_index=True) for each in (tables, truths))
    parts = []
    for kind in AXES:
        mine, true = injected[injected["kind"] == kind], drawn[drawn["kind"] == kind]
        survived = (mine["lost_at"] == "").to_numpy()
        alive = (true["removed_by"] == "").to_numpy()
        parts.append(compare(mine, survived, true, alive, kind).assign(kind=kind, stage="cuts"))
        if lists:
            parts += _compare_lists(mine, pd.concat(lists, ignore_index=True), kind, settings)
    return pd.concat(parts, ignore_index=True)


def _compare_lists(
    injected: pd.DataFrame, listed: pd.DataFrame, kind: str, settings: dict[str, Any]
) -> list[pd.DataFrame]:
    """Compare how many of those that pass the cuts stand among the first, per stage."""
    p = listed["combined_p_quasar"] + listed["combined_p_lensed"]
    level = float(settings["probability"])
    after = {
        f"first {n}": (listed["rank_unknown"].fillna(np.inf) <= n).to_numpy(dtype=bool)
        for n in settings["first"]
    } | {f"combined probability above {level:g}": (p > level).to_numpy()}
    survived = injected[(injected["lost_at"] == "").to_numpy()]
    here = (listed["kind"] == kind).to_numpy()
    parts = []
    for stage, found in after.items():
        passed = survived[f"{completeness.PASSES}{stage}"].to_numpy(dtype=bool)
        compared = compare(survived, passed, listed[here], found[here], kind)
        parts.append(compared.assign(kind=kind, stage=stage))
    return parts


def report(tables: Sequence[pd.DataFrame], seconds: dict[str, float], n: int) -> str:
    """Return the comparisons as text: every bin of all skies together, and how many agree.

    Parameters
    ----------
    tables : of `measure_skies` with a column ``sky``, that of all skies together first.
    seconds : per stage.
    n : number of injected objects.
    """
    lines = []
    for (kind, stage), rows in tables[0].groupby(["kind", "stage"], sort=False):
        lines.append(f"{kind}, {stage}: {_agreement(rows)}")
        columns = rows.drop(columns=["kind", "stage", "sky"])
        lines.append(columns.round(2).to_string(index=False))
    for table in tables:
        lines.append(f"sky {table['sky'].iloc[0]}: {_agreement(table)}")
        for (kind, stage), rows in table.groupby(["kind", "stage"], sort=False):
            whole = rows[rows["axis"] == "all"].iloc[0]
            lines.append(
                f"  {kind}, {stage}: {_agreement(rows)}; all of them: {whole['found']} found, "
                f"{whole['predicted']:.1f} ({whole['lo']:.0f} to {whole['hi']:.0f}) predicted"
            )
    ours = {name: value for name, value in seconds.items() if name != "the search itself"}
    lines.append(
        "seconds per injected object: "
        + ", ".join(f"{name} {value / n:.4f}" for name, value in ours.items())
        + f"; together {sum(ours.values()) / n:.4f}"
    )
    return "\n".join(lines)


def _agreement(rows: pd.DataFrame) -> str:
    bins = rows[rows["axis"] != "all"]
    return f"{int(bins['inside'].sum())} of {len(bins)} bins within the 90 % interval"


def _parser() -> argparse.ArgumentParser:
    parser = sky_parser("injections", __doc__, "302,303,305", "the comparison", processes=None)
    parser.add_argument("--networks", type=int, default=1, help="networks per sky")
    parser.add_argument(
        "--number", type=int, help="injected of each kind and sky; left out: as injections says"
    )
    parser.add_argument("--without-lensing", action="store_true", help="no lens evidence")
    parser.add_argument("--only-cuts", action="store_true", help="neither evidence nor ranking")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    options = _parser().parse_args(arguments)
    try:
        config = demo_configuration(options.set)
        options.cache.mkdir(parents=True, exist_ok=True)
        templates = templates_of(config, _REPOSITORY, options.cache / "templates.npz")
        settings = config.injections.plain()
        if options.number is not None:
            settings |= {"n_quasars": options.number, "n_lensed": options.number}
        networks = range(1, options.networks + 1)
        tables, truths, lists = [], [], []
        seconds: dict[str, float] = {}
        for seed in seeds_of(options.skies):
            of_sky = SkyEvidence(seed, networks, config, templates, options.cache)
            own = {**settings, "seed": seed}
            if options.only_cuts:
                table, took = injected_to_the_cuts(of_sky, config, own)
            else:
                table, candidates, took = injected_of(
                    of_sky, config, own, lensing=not options.without_lensing
                )
                lists.append(survivors(of_sky, candidates))
            seconds = {name: seconds.get(name, 0.0) + value for name, value in took.items()}
            tables.append(table)
            truths.append(trials(seed))
            print(f"sky {seed}: {len(table)} injected", file=sys.stderr, flush=True)
        compared = [measure_skies(tables, truths, lists, settings).assign(sky="all")]
        if len(tables) > 1:
            for k, seed in enumerate(seeds_of(options.skies)):
                one = slice(k, k + 1)
                parts = measure_skies(tables[one], truths[one], lists[one], settings)
                compared.append(parts.assign(sky=str(seed)))
    except ArchipelagoError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if options.out is not None:
        pd.concat(compared, ignore_index=True).to_csv(options.out, index=False)
    print(report(compared, seconds, sum(len(table) for table in tables)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
