"""How good the SED verdicts are on demo skies, whose truth is known.

    python -m archipelago.measure.verdicts --seeds 11-14 --templates FILE.npz --cache FOLDER

makes the catalogues of the demo skies of these seeds in this process (as ``make demo`` makes
them, without its images), judges each as a search would, and prints: how far probabilities are
shares, what is lost and what is wrong, how lensed quasars are told from ordinary ones, and
redshifts. Truth is used to measure only: no verdict ever sees it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from archipelago.base.errors import ArchipelagoError, ConfigError, InputError
from archipelago.base.tables import read_table, write_table
from archipelago.config.load import load_config, merged
from archipelago.config.model import Config
from archipelago.demosky.sky import build_sky
from archipelago.measure import skies, statistics
from archipelago.passbands import load_passbands
from archipelago.provenance import code_hash
from archipelago.sed.templates import TemplateSet, build_templates, load_templates
from archipelago.sed.verdict import verdicts

_REPOSITORY = Path(__file__).resolve().parents[3]
_CLASSES = ("star", "galaxy", "quasar", "lensed", "other")
#: Share of ordinary quasars that may be called lensed.
FALSE_RATE = 0.02
#: A lens counts where it has more than this share of the quasar's flux.
LENS_SHARE = 0.2
#: What "in any band" may mean; columns of `skies.demo_objects`.
_FRONTS = {
    "any of the nine bands": "front_any",
    "any band with a detection": "front_seen",
    "any band from z to W2": "front_red",
}


def judge(
    objects: pd.DataFrame, templates: TemplateSet, fit: Mapping[str, Any], threads: int
) -> pd.DataFrame:
    """Return the objects of one sky with the columns of their verdicts.

    Parameters
    ----------
    objects : as `skies.demo_objects`; its truth is not shown to the verdict.
    fit : section ``sed.fit``.
    """
    found = verdicts(skies.catalogue_columns(objects), templates, fit, threads)
    table = objects.merge(found, on="id", how="left", validate="one_to_one")
    # The sum may exceed 1 by its last digit.
    table["p"] = (table["p_quasar"] + table["p_lensed"]).clip(upper=1.0)
    best = table[[f"p_{name}" for name in _CLASSES]].to_numpy().argmax(axis=1)
    table["best"] = np.array(_CLASSES)[best]
    return table


# --- the report ------------------------------------------------------------------------------


def report(table: pd.DataFrame, brief: bool = False) -> str:
    """Return all measurements as text.

    Parameters
    ----------
    table : what `judge` returns, of any number of skies.
    brief : leave out the lists of single objects.
    """
    parts = [_overview(table), _calibration(table), _lensed(table), _redshifts(table)]
    return "\n\n".join(parts if brief else [*parts, _mistakes(table)])


def _overview(table: pd.DataFrame) -> str:
    kinds = table.groupby("true_kind").agg(
        n=("id", "size"),
        n_above_half=("p", lambda p: int((p > 0.5).sum())),
        **{f"sum_{name}": (f"p_{name}", "sum") for name in _CLASSES},
    )
    best = pd.crosstab(table["true_kind"], table["best"]).reindex(columns=_CLASSES, fill_value=0)
    both = kinds.join(best.add_prefix("best_"))
    n_seeds = table["seed"].nunique()
    return (
        f"== {len(table)} objects of {n_seeds} skies, {int(table['true_is_quasar'].sum())} of them "
        "quasars (ordinary, lensed, and blended with a galaxy)\n"
        "By true kind: number, number with p > 0.5 (p = p_quasar + p_lensed), sums of the\n"
        "probabilities, and numbers by the most probable class\n" + both.round(1).to_string()
    )


def _calibration(table: pd.DataFrame) -> str:
    p, true = table["p"].to_numpy(), table["true_is_quasar"].to_numpy()
    lines = ["== Calibration of p = p_quasar + p_lensed; a blend of a quasar and a galaxy is one"]
    lines.append(statistics.reliability(p, true).round(3).to_string(index=False))
    pure = (table["true_kind"] != "quasar-galaxy blend").to_numpy()
    for name, keep in (("all", np.full(len(p), True)), ("without blends", pure)):
        row = statistics.reliability(p[keep], true[keep], (0.7, 0.9)).iloc[0]
        lines.append(
            f"p in 0.7-0.9, {name}: {row['n_true']:.0f} of {row['n']:.0f} are quasars"
            f" = {100 * row['share']:.1f} %"
            f" (95 %: {100 * row['share_low']:.0f}-{100 * row['share_high']:.0f} %),"
            f" mean p {row['mean_p']:.3f}"
        )
    likely = p > 0.01
    chance, limit = statistics.calibration_error_by_chance(p)
    lines.append(
        f"ECE, ten bins of equal width, all objects: {statistics.calibration_error(p, true):.4f}"
        f" (exact probabilities would give {chance:.4f}, 95 % below {limit:.4f})"
    )
    chance, limit = statistics.calibration_error_by_chance(p[likely])
    lines.append(
        f"  the same, the {int(likely.sum())} objects with p > 0.01: "
        f"{statistics.calibration_error(p[likely], true[likely]):.4f}"
        f" (exact: {chance:.4f}, 95 % below {limit:.4f})"
    )
    lines.append(
        "  ten bins of equal counts: all "
        f"{statistics.calibration_error_equal_counts(p, true):.4f}, p > 0.01 "
        f"{statistics.calibration_error_equal_counts(p[likely], true[likely]):.4f}"
    )
    per_seed = []
    for seed, one in table.groupby("seed"):
        error = statistics.calibration_error(one["p"], one["true_is_quasar"])
        row = statistics.reliability(one["p"], one["true_is_quasar"], (0.7, 0.9)).iloc[0]
        per_seed.append(f"{seed}: {error:.4f}, {row['n_true']:.0f}/{row['n']:.0f}")
    lines.append("  ECE and p in 0.7-0.9, by seed: " + "; ".join(per_seed))
    lines.append(
        f"Brier {statistics.brier(p, true):.5f}, ln loss {statistics.log_loss(p, true):.4f} nats, "
        f"area under the ROC {statistics.area_under_curve(table['log_odds_quasar'], true):.5f}"
    )
    return "\n".join(lines)


def _mistakes(table: pd.DataFrame) -> str:
    shown = {
        "seed": "seed",
        "id": "id",
        "true_kind": "kind",
        "true_redshift": "z",
        "true_lens_redshift": "z_lens",
        "true_spectral_type": "type",
        "front_red": "front",
        "p": "p",
        "best": "best",
        "log_odds_quasar": "ln_odds_q",
        "log_odds_lensed": "ln_odds_l",
        "z_quasar": "z_fit",
        "mag_ab_z": "mag_z",
        "mag_ab_J": "mag_J",
        "mag_ab_W1": "mag_W1",
        **{f"chi2_{name}": f"chi2_{name[0]}" for name in _CLASSES[:4]},
    }
    columns = [name for name in shown if name in table]

    def rows(which: pd.DataFrame) -> str:
        if not len(which):
            return "none"
        text = which.sort_values("log_odds_quasar")[columns].rename(columns=shown)
        return text.round(2).to_string(index=False)

    quasar, above = table["true_is_quasar"], table["p"] > 0.5
    missed, wrong = table[quasar & ~above], table[~quasar & above]
    return (
        f"== Quasars with p <= 0.5: {len(missed)} of {int(quasar.sum())}\n{rows(missed)}\n"
        f"== No quasars, but p > 0.5: {len(wrong)} of {int(above.sum())}\n{rows(wrong)}"
    )


def _lensed(table: pd.DataFrame) -> str:
    score = table["log_odds_lensed"]
    ordinary = score[table["true_kind"] == "quasar"]
    blends = score[table["true_kind"] == "quasar-galaxy blend"]
    lensed = table[table["true_kind"] == "lensed quasar"]
    threshold = statistics.threshold_at(ordinary, FALSE_RATE)
    strict = statistics.threshold_at(pd.concat([ordinary, blends]), FALSE_RATE)
    lines = [
        f"== Lensed or not, among quasars of the catalogue: {len(ordinary)} ordinary, "
        f"{len(lensed)} lensed, {len(blends)} blended with a galaxy by chance",
        f"log_odds_lensed that {100 * FALSE_RATE:g} % of the ordinary exceed: {threshold:.2f} "
        f"({int((ordinary > threshold).sum())} do); blends counted as ordinary: {strict:.2f}",
    ]
    cuts = {
        f"at {100 * FALSE_RATE:g} % false": threshold,
        "the same, blends ordinary": strict,
        "above 0": 0.0,
    }
    groups: dict[str, pd.DataFrame] = {
        f"lensed, lens > {100 * LENS_SHARE:g} % in {name}": lensed[lensed[column] > LENS_SHARE]
        for name, column in _FRONTS.items()
    }
    groups["all lensed"] = lensed
    groups["ordinary"] = table[table["true_kind"] == "quasar"]
    groups["blends"] = table[table["true_kind"] == "quasar-galaxy blend"]
    rows = []
    for name, group in groups.items():
        values = group["log_odds_lensed"]
        row: dict[str, Any] = {"which": name, "n": len(values)}
        for cut, level in cuts.items():
            row[cut] = _share(int((values > level).sum()), len(values))
        row["p > 0.5"] = _share(int((group["p"] > 0.5).sum()), len(group))
        row["best is lensed"] = _share(int((group["best"] == "lensed").sum()), len(group))
        row["median"] = f"{values.median():.1f}" if len(values) else "-"
        rows.append(row)
    lines.append("Called lensed (share, 95 % interval):")
    lines.append(pd.DataFrame(rows).to_string(index=False))
    pair = table["true_kind"].isin(["quasar", "lensed quasar"])
    area = statistics.area_under_curve(score[pair], table.loc[pair, "true_is_lensed"])
    lines.append(f"area under the ROC, lensed against ordinary: {area:.4f}")
    points = []
    for rate in (0.01, 0.02, 0.05, 0.1, 0.2):
        level = statistics.threshold_at(ordinary, rate)
        good = lensed.loc[lensed["front_any"] > LENS_SHARE, "log_odds_lensed"]
        points.append(f"{100 * rate:g} %: {100 * (good > level).mean():.0f} %")
    lines.append("found (lens above the share in any band) at a false rate of " + ", ".join(points))
    share = 1 / (1 + np.exp(-score[pair].clip(-500, 500)))
    lines.append("p_lensed / (p_quasar + p_lensed) of these quasars, and the share of lensed ones:")
    bins = statistics.reliability(share, table.loc[pair, "true_is_lensed"])
    lines.append(bins[bins["n"] > 0].round(3).to_string(index=False))
    return "\n".join(lines)


def _redshifts(table: pd.DataFrame) -> str:
    lines = ["== Redshifts of the quasars of the catalogue, z_quasar against the truth"]
    quasars = table[table["true_is_quasar"]]
    groups = [(str(kind), one) for kind, one in quasars.groupby("true_kind")]
    found = quasars[quasars["p"] > 0.5]
    for name, one in [*groups, ("all with p > 0.5", found), ("all", quasars)]:
        error = (one["z_quasar"] - one["true_redshift"]).to_numpy()
        if not len(error):
            continue
        inside = (one["z_quasar_lo"] <= one["true_redshift"]) & (
            one["true_redshift"] <= one["z_quasar_hi"]
        )
        lines.append(
            f"{name:22s} n {len(error):4d}  median |dz| {np.nanmedian(np.abs(error)):.3f}  "
            f"mean dz {np.nanmean(error):+.3f}  90 % of |dz| below "
            f"{np.nanquantile(np.abs(error), 0.9):.3f}  worst {np.nanmax(np.abs(error)):.2f}  "
            f"in their 68 % range {_share(int(inside.sum()), len(error))}"
        )
    return "\n".join(lines)


def _share(k: int, n: int) -> str:
    if not n:
        return "-"
    low, high = statistics.wilson_interval(k, n)
    return f"{k}/{n} = {100 * k / n:.0f} % ({100 * low:.0f}-{100 * high:.0f})"


# --- the command -----------------------------------------------------------------------------


def seeds_of(text: str) -> list[int]:
    """Return the seeds that a text such as ``1,3,11-14`` names, in its order.

    Raises
    ------
    ConfigError
        If it is no such list.
    """
    seeds: list[int] = []
    try:
        for part in text.split(","):
            first, _, last = part.partition("-")
            seeds += range(int(first), int(last or first) + 1)
    except ValueError:
        seeds = []
    if not seeds:
        raise ConfigError(
            f"{text!r} names no seeds", where="--seeds", next_step="give a list like 1,3,11-14"
        )
    return list(dict.fromkeys(seeds))


def configuration(files: Iterable[str | Path], changes: Iterable[str]) -> Config:
    """Return the configuration of ``files``, each over those before, with changes.

    Parameters
    ----------
    changes : ``key.of.the.value=VALUE``, the value as in YAML.

    Raises
    ------
    ConfigError
        If a change is no such text, or the result is no configuration.
    """
    raw: Any = {}
    for file in files:
        try:
            raw = merged(raw, yaml.safe_load(Path(file).read_text(encoding="utf-8")))
        except (OSError, yaml.YAMLError) as error:
            raise InputError(
                f"cannot be read: {error}", where=str(file), next_step="correct --configfile"
            ) from error
    for change in changes:
        path, equals, value = change.partition("=")
        if not equals or not path:
            raise ConfigError(
                f"{change!r} is no change", where="--set", next_step="give key.of.the.value=VALUE"
            )
        overlay: Any = yaml.safe_load(value)
        for name in reversed(path.split(".")):
            overlay = {name: overlay}
        raw = merged(raw, overlay)
    return load_config(raw, None)


def search_of(config: Config) -> dict[str, Any]:
    """Return the sections of the configuration that a sky's catalogue depends on."""
    plain = config.survey.plain(without={"name", "query", "footprint", "tile_order"})
    match = [partner.plain() for partner in config.match]
    return {"survey": plain, "match": match, "photometry": config.photometry.plain()}


def objects_of(
    seed: int, config: Config, folder: Path, n_selected: int, cache: Path | None
) -> pd.DataFrame:
    """Return `skies.demo_objects`, from ``cache`` where it was kept before.

    The file's name holds a hash of the configuration and the code that made it.
    """
    query, search = folder / config.survey.query, search_of(config)
    if cache is None:
        return skies.demo_objects(build_sky(seed, n_selected), search, str(query))
    code = code_hash(Path(skies.__file__))
    asked = json.dumps([search, query.read_text(encoding="utf-8"), code], sort_keys=True)
    mark = hashlib.sha256(asked.encode()).hexdigest()[:12]
    path = cache / f"sky-{seed}-{n_selected}-{mark}.parquet"
    if path.is_file():
        return read_table(path)
    table = skies.demo_objects(build_sky(seed, n_selected), search, str(query))
    cache.mkdir(parents=True, exist_ok=True)
    write_table(table, path, {})
    return table


def templates_of(config: Config, folder: Path, file: Path | None) -> TemplateSet:
    """Return the templates: read from ``file`` where it exists, else made, and kept there.

    Raises
    ------
    InputError
        If the file was made with other grids than ``sed.models`` asks for.
    """
    models = config.sed.models.plain()
    if file is not None and file.is_file():
        templates = load_templates(file)
        if templates.spec != json.loads(json.dumps(models)):
            raise InputError(
                "these templates were made with other grids than sed.models asks for",
                where=str(file),
                next_step="remove the file, or name another",
            )
        return templates
    passbands = load_passbands(config.sed.passbands)
    templates = build_templates(models, passbands, folder / config.sed.dwarf_colours)
    if file is not None:
        templates.save(file)
    return templates


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m archipelago.measure.verdicts",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seeds", default="1,2", help="seeds of the skies, such as 1,3,11-14")
    parser.add_argument(
        "--n-selected",
        type=int,
        default=12_000,
        help="objects of a sky before the partners' cuts; more make a denser sky of the same mix",
    )
    parser.add_argument(
        "--configfile",
        nargs="+",
        default=[_REPOSITORY / "config.yaml", _REPOSITORY / "data" / "presets" / "demo.yaml"],
        help="configuration, each file over those before (default: config.yaml, the demo's)",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change a value, as in sed.fit.priors.quasar.density_scale=2; repeatable",
    )
    parser.add_argument("--templates", type=Path, help="file of templates (npz); made if absent")
    parser.add_argument("--cache", type=Path, help="folder that keeps the skies' catalogues")
    parser.add_argument("--out", type=Path, help="Parquet file for objects, truth and verdicts")
    parser.add_argument(
        "--again", type=Path, metavar="FILE", help="report on a file of --out, judge nothing"
    )
    parser.add_argument("--brief", action="store_true", help="no lists of single objects")
    parser.add_argument("--threads", type=int, default=2, help="chunks fitted at once")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    options = _parser().parse_args(arguments)
    try:
        if options.again is not None:
            print(report(read_table(options.again, required=["p", "best"]), options.brief))
            return 0
        table, timings = _measured(options)
        if options.out is not None:
            write_table(table, options.out, {})
    except ArchipelagoError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{report(table, options.brief)}\n\n{timings}")
    return 0


def _measured(options: argparse.Namespace) -> tuple[pd.DataFrame, str]:
    """Return the judged objects of all seeds, and what took how long."""
    config = configuration(options.configfile, options.set)
    seeds = seeds_of(options.seeds)
    start_s = time.perf_counter()
    templates = templates_of(config, _REPOSITORY, options.templates)
    built_s = time.perf_counter() - start_s
    tables, sky_s, fit_s = [], 0.0, 0.0
    for seed in seeds:
        start_s = time.perf_counter()
        objects = objects_of(seed, config, _REPOSITORY, options.n_selected, options.cache)
        made_s = time.perf_counter()
        tables.append(judge(objects, templates, config.sed.fit.plain(), options.threads))
        sky_s += made_s - start_s
        fit_s += time.perf_counter() - made_s
    n = len(seeds)
    timings = (
        f"templates {built_s:.1f} s; per sky: catalogue {sky_s / n:.1f} s, "
        f"verdicts {fit_s / n:.1f} s"
    )
    return pd.concat(tables, ignore_index=True), timings


if __name__ == "__main__":
    raise SystemExit(main())
