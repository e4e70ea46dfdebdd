"""What the rules of injections are given when they are measured, each the outputs of those before.

A run has injections only where its user switched them on: here they are made of any finished run.
"""

from __future__ import annotations

from pathlib import Path

from archipelago.measure.cases import Case, Run

#: Objects injected in all, and copies of the demo's sky that they are injected into. The first is a
#: quarter of the second; the largest are as many as config.yaml has, in one shard.
SIZES = ((300, 1), (1200, 1), (1200, 5), (6000, 1))
#: Share of them with nothing in front, as config.yaml has.
_ORDINARY = 1 / 3
#: Rules in their order.
RULES = ("inject", "injected_features", "injected_sed", "injected_rank", "completeness")


def injection_cases(run: Run, n: int, folder: Path) -> list[Case]:
    """Return the cases of `RULES` for ``n`` objects in one shard, in their order.

    Parameters
    ----------
    run : the run that they are injected into.
    n : objects injected, lost ones included.
    folder : that holds the outputs of each case, by their names, before the next is measured.
    """
    return [
        _inject(run, n),
        _features(run, n, folder),
        _sed(run, n, folder),
        _rank(run, n, folder),
        _completeness(run, n, folder),
    ]


def _settings(run: Run, n: int) -> dict[str, object]:
    plain = run.defaults.injections.plain(without={"enabled"})
    ordinary = round(n * _ORDINARY)
    return plain | {"n_quasars": ordinary, "n_lensed": n - ordinary, "shards": 1}


def _survey(run: Run) -> dict[str, object]:
    return {
        "photometry": run.config.photometry.plain(),
        "survey_bands": {name: band.plain() for name, band in run.config.survey.bands.items()},
        "catalogues": [partner.plain() for partner in run.config.match],
    }


def _inject(run: Run, n: int) -> Case:
    config = run.config
    return Case(
        "inject",
        {
            "catalogue": run.file("catalogue.parquet"),
            "templates": run.file("sed/templates.npz"),
            "known": run.file("known_quasars.parquet"),
            "query": run.given(config.survey.query),
            "sources": run.each_tile("sources.parquet"),
            "matched": run.each_tile("matched.parquet"),
            "losses_match": run.each_tile("losses_match.csv"),
            "images": run.file("images.npz"),
        },
        {
            "injected": "images.npz",
            "table": "injected.parquet",
            "photometry": "photometry.parquet",
        },
        {
            "injections": _settings(run, n),
            **_survey(run),
            "own_bands": {name: band.plain() for name, band in config.catalogue.bands.items()},
            "fit": config.sed.fit.plain(without={"memory_mb", "device"}),
            "match_radius_arcsec": config.known_quasars.match_radius_arcsec,
        },
        n,
        work=n,
        wildcards={"shard": "0"},
    )


def _features(run: Run, n: int, folder: Path) -> Case:
    return Case(
        "injected_features",
        {
            "images": folder / "images.npz",
            "model": run.file(f"learning/seed-{run.seeds[0]}/model.pt"),
        },
        {"features": "features.npz"},
        {},
        n,
        wildcards={"shard": "0", "seed": "1"},
    )


def _sed(run: Run, n: int, folder: Path) -> Case:
    return Case(
        "injected_sed",
        {
            "photometry": folder / "photometry.parquet",
            "templates": run.file("sed/templates.npz"),
            "catalogue": run.file("catalogue.parquet"),
            "verdicts": run.file("sed/verdicts.parquet"),
        },
        {"verdicts": "verdicts.parquet"},
        {"sed": run.config.sed.fit.plain(without={"memory_mb", "device"})},
        n,
        threads=8,
        wildcards={"shard": "0"},
    )


def _rank(run: Run, n: int, folder: Path) -> Case:
    config, seeds = run.config, run.seeds
    islands = config.islands.plain(without={"map", "hdbscan", "consensus", "consensus_threshold"})
    return Case(
        "injected_rank",
        {
            "verdicts": folder / "verdicts.parquet",
            "candidates": run.file("candidates.parquet"),
            "calibration": run.given(config.candidates.calibration),
            "injected": folder / "images.npz",
            # Of one network: those of others are as large.
            "injected_features": [folder / "features.npz" for _ in seeds],
            "features": [run.file(f"learning/seed-{seed}/features.npz") for seed in seeds],
            "images": run.file("images.npz"),
            "simulated": run.file("recognise/simulated.npz"),
            "kinds": run.file("recognise/simulated.parquet"),
            "simulated_features": [
                run.file(f"learning/seed-{seed}/simulated.npz") for seed in seeds
            ],
        },
        {"table": "ranked.parquet"},
        {
            "candidates": config.candidates.plain(without={"calibration"}),
            "islands": islands,
            "n_components": config.recognise.n_components,
            "lensing": config.lensing.plain(),
            "seeds": seeds,
        },
        n,
        work=len(seeds),
        threads=4,
        wildcards={"shard": "0"},
    )


def _completeness(run: Run, n: int, folder: Path) -> Case:
    return Case(
        "completeness",
        {
            "tables": [folder / "injected.parquet"],
            "ranked": [folder / "ranked.parquet"],
            "candidates": run.file("candidates.parquet"),
            "query": run.given(run.config.survey.query),
        },
        {
            "table": "all_injected.parquet",
            "completeness": "completeness.csv",
            "fraction": "lensed_fraction.csv",
        },
        {
            "injections": _settings(run, n),
            **_survey(run),
            "expected_fraction": run.config.sed.fit.priors.lensed_fraction,
        },
        n,
    )
