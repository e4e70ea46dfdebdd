"""What each rule is given when its memory and time are measured.

A case names the files of a finished run that a rule reads, as the rules in ``workflow/rules``
do, so that the same case can be measured on the run enlarged (`archipelago.measure.enlarge`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from archipelago.base.errors import InputError
from archipelago.config.model import Config
from archipelago.needs import NEEDS

Paths = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """A rule with its files.

    Parameters
    ----------
    rule : its name.
    input, output : paths, or lists of paths, by name; output relative to a folder of its own.
    params : as the rule has them, without code and follows.
    n_objects : rows or objects that go through it, at the run's own size.
    work : what else its time is in proportion to: epochs, objects fitted one by one; else 1.
    threads : that it asks for.
    wildcards : tile, seed or shard.
    services : address of the survey's services, for rules that ask one.
    losses_times : copies of tables of losses for each of the rest: the real survey loses more
        rows per object than the demo's.
    """

    rule: str
    input: Paths
    output: Paths
    params: Mapping[str, Any]
    n_objects: int
    work: int = 1
    threads: int = 1
    wildcards: Mapping[str, str] = field(default_factory=dict)
    services: str = ""
    losses_times: int = 1

    def counted(self) -> list[Path]:
        """Return the files of the input whose size the request goes by."""
        found: list[Path] = []
        for name, value in self.input.items():
            if name not in NEEDS[self.rule].left_on_disk:
                found.extend(value if isinstance(value, list) else [value])
        return found


#: Rows that the query gave per object left after the cuts, in DES DR2 (218,241 of 7,438; Byrne et
#: al. 2024) over those of the demo's sky (some 8).
LOSSES_TIMES = 4
#: Tables of the rule islands that the report alone reads.
_ISLAND_TABLES = ("retrieval", "stability", "agreement")
#: Epochs of a measured training, and of one of the paper's network.
EPOCHS, PAPER_EPOCHS = 8, 2


class Run:
    """The files of a finished run.

    Parameters
    ----------
    folder : ``results/<run>``.
    config : the configuration that it was made with, or one like it.
    defaults, paper : those of config.yaml alone, and with the preset `paper`.
    repository : folder of queries and tables named in the configuration.
    truth : the table of truth, for the rule `recall`.
    """

    def __init__(
        self,
        folder: Path,
        config: Config,
        repository: Path,
        truth: Path,
        *,
        defaults: Config,
        paper: Config,
    ) -> None:
        self.folder, self.config, self.truth = folder, config, truth
        self.defaults, self.paper = defaults, paper
        self._repository = repository
        self.tiles = sorted(path.name for path in (folder / "tiles").glob("*") if path.is_dir())
        self.seeds = sorted(
            int(path.name.removeprefix("seed-")) for path in (folder / "learning").glob("seed-*")
        )
        if not self.tiles or not self.seeds:
            raise InputError(
                "no finished run with images", where=str(folder), next_step="make demo"
            )

    def file(self, name: str) -> Path:
        """Return a file of the run."""
        return self.folder / name

    def given(self, name: str) -> Path:
        """Return a file named in the configuration."""
        return self._repository / name

    def each_tile(self, name: str) -> list[Path]:
        """Return the same file of all tiles."""
        return [self.file(f"tiles/{tile}/{name}") for tile in self.tiles]

    def rows(self, name: str) -> int:
        """Return the number of rows of a Parquet file of the run."""
        return int(pq.read_metadata(self.file(name)).num_rows)

    @property
    def n_objects(self) -> int:
        """Objects of the catalogue."""
        return self.rows("catalogue.parquet")

    @property
    def n_queried(self) -> int:
        """Rows that the survey's catalogue gave."""
        return sum(self.rows(f"tiles/{tile}/sources.parquet") for tile in self.tiles)


def tile_case(run: Run, rule: str, tile: str) -> Case:
    """Return the case of a rule of one tile: select, match, photometry or cutouts."""
    here, config = f"tiles/{tile}", run.config
    n_rows = run.rows(f"{here}/sources.parquet")
    catalogues = [partner.plain() for partner in config.match]
    bands = {name: band.plain() for name, band in config.survey.bands.items()}
    if rule == "select":
        return Case(
            rule,
            {"query": run.given(config.survey.query)},
            {"sources": "sources.parquet", "losses": "losses_select.csv"},
            {
                "columns": config.survey.columns.plain(),
                "bands": bands,
                "healpix_order": config.survey.healpix_order,
                "max_rows": config.survey.max_rows,
            },
            n_rows,
            wildcards={"tile": tile},
        )
    if rule == "match":
        return Case(
            rule,
            {"sources": run.file(f"{here}/sources.parquet")},
            {"matched": "matched.parquet", "losses": "losses_match.csv"},
            {"catalogues": catalogues, "max_rows": config.survey.max_rows},
            n_rows,
            wildcards={"tile": tile},
        )
    if rule == "photometry":
        return Case(
            rule,
            {
                "sources": run.file(f"{here}/sources.parquet"),
                "matched": run.file(f"{here}/matched.parquet"),
                "select_losses": run.file(f"{here}/losses_select.csv"),
                "match_losses": run.file(f"{here}/losses_match.csv"),
            },
            {
                "photometry": "photometry.parquet",
                "cutflow": "cutflow.csv",
                "losses": "losses_photometry.csv",
            },
            {
                **config.photometry.plain(),
                "survey_bands": bands,
                "catalogues": catalogues,
            },
            n_rows,
            wildcards={"tile": tile},
        )
    return Case(
        "cutouts",
        {"photometry": run.file(f"{here}/photometry.parquet")},
        {
            "cutouts": "cutouts.npz",
            "manifest": "manifest.parquet",
            "losses": "losses_images.csv",
        },
        {"asked": config.images.asked_of_service()},
        run.rows(f"{here}/photometry.parquet"),
        wildcards={"tile": tile},
    )


def known_case(run: Run) -> Case:
    """Return the case of the rule known_quasars."""
    known = run.config.known_quasars
    return Case(
        "known_quasars",
        {"query": run.given(known.query)},
        {"table": "known_quasars.parquet"},
        {
            "source": known.source,
            "columns": known.columns.plain(),
            "max_rows": known.max_rows,
            "min_redshift": known.min_redshift,
        },
        run.rows("known_quasars.parquet"),
    )


def catalogue_case(run: Run) -> Case:
    """Return the case of the rule catalogue."""
    stages = ("select", "match", "photometry")
    return Case(
        "catalogue",
        {
            "photometry": run.each_tile("photometry.parquet"),
            "cutflows": run.each_tile("cutflow.csv"),
            "losses": [path for name in stages for path in run.each_tile(f"losses_{name}.csv")],
            "sources": run.each_tile("sources.parquet"),
        },
        {
            "catalogue": "catalogue.parquet",
            "cutflow": "cutflow_catalogue.csv",
            "losses": "losses_catalogue.csv",
        },
        {"tiles": run.tiles},
        run.n_queried,
    )


def losses_case(run: Run) -> Case:
    """Return the case of the rule losses."""
    return Case(
        "losses",
        {
            "catalogue": run.file("catalogue.parquet"),
            "catalogue_losses": run.file("losses_catalogue.csv"),
            "catalogue_cutflow": run.file("cutflow_catalogue.csv"),
            "image_losses": run.file("losses_images.csv"),
            "images": run.file("images.npz"),
        },
        {"losses": "losses.csv", "cutflow": "cutflow.csv"},
        {},
        run.n_queried,
    )


def images_case(run: Run) -> Case:
    """Return the case of the rule images."""
    return Case(
        "images",
        {
            "cutouts": run.each_tile("cutouts.npz"),
            "manifests": run.each_tile("manifest.parquet"),
            "losses": run.each_tile("losses_images.csv"),
            "catalogue": run.file("catalogue.parquet"),
        },
        {"images": "images.npz", "manifest": "manifest.parquet", "losses": "losses_images.csv"},
        # What was asked of the service is compared in no time, and not kept in larger files.
        {"tiles": run.tiles, "asked": None},
        run.n_objects,
    )


def own_cutouts_case(run: Run) -> Case:
    """Return the case of a user's own file of cutouts: the run's images."""
    each = {
        "cutouts": "cutouts.npz",
        "manifest": "manifest.parquet",
        "losses": "losses_images.csv",
    }
    images = run.config.images.plain()
    names = ("bands", "size_px", "pixel_scale_arcsec", "zero_point_ab")
    return Case(
        "own_cutouts",
        {
            "photometry": run.each_tile("photometry.parquet"),
            "images": run.file("images.npz"),
        },
        {name: [f"{tile}-{file}" for tile in run.tiles] for name, file in each.items()},
        {"expected": {name: images[name] for name in names}, "tiles": run.tiles},
        run.n_objects,
    )


def train_case(run: Run, config: Config | None = None) -> Case:
    """Return the case of a training of some epochs, of the run's network or another's."""
    learning = (config or run.config).learning.plain(without={"seeds"})
    epochs = EPOCHS if config is None else PAPER_EPOCHS
    return Case(
        "train",
        {"images": run.file("images.npz")},
        {"model": "model.pt", "history": "history.csv"},
        {
            "learning": learning | {"epochs_max": epochs, "patience": epochs},
            "seed": 1,
            "checkpoints": "{out}/checkpoints",
        },
        run.n_objects,
        work=epochs,
        wildcards={"seed": "1"},
    )


def features_case(run: Run) -> Case:
    """Return the case of the rule features."""
    return Case(
        "features",
        {
            "images": run.file("images.npz"),
            "model": run.file(f"learning/seed-{run.seeds[0]}/model.pt"),
        },
        {"features": "features.npz"},
        {},
        run.n_objects,
        wildcards={"seed": "1"},
    )


def map_case(run: Run) -> Case:
    """Return the case of the rule map."""
    return Case(
        "map",
        {"features": run.file(f"learning/seed-{run.seeds[0]}/features.npz")},
        {"map": "map.parquet"},
        {"map": run.config.islands.map.plain()},
        run.n_objects,
        wildcards={"seed": "1"},
    )


def islands_case(run: Run) -> Case:
    """Return the case of the rule islands, with five seeds as config.yaml has: some twice."""
    seeds = [run.seeds[number % len(run.seeds)] for number in range(5)]
    return Case(
        "islands",
        {
            "features": [run.file(f"learning/seed-{seed}/features.npz") for seed in seeds],
            "maps": [run.file(f"islands/seed-{seed}/map.parquet") for seed in seeds],
            "catalogue": run.file("catalogue.parquet"),
            "known": run.file("known_quasars.parquet"),
        },
        {
            "islands": "islands.parquet",
            **{name: f"{name}.csv" for name in ("enrichment", *_ISLAND_TABLES)},
        },
        {
            "islands": run.config.islands.plain(without={"map"}),
            "match_radius_arcsec": run.config.known_quasars.match_radius_arcsec,
            "seeds": list(range(1, 6)),
            "bands": run.config.photometry.bands,
        },
        run.n_objects,
        threads=8,
    )


def similar_index_case(run: Run) -> Case:
    """Return the case of the rule similar_index, with five seeds: some twice."""
    seeds = [run.seeds[number % len(run.seeds)] for number in range(5)]
    return Case(
        "similar_index",
        {
            "features": [run.file(f"learning/seed-{seed}/features.npz") for seed in seeds],
            "catalogue": run.file("catalogue.parquet"),
        },
        {"graph": "index.faiss", "objects": "index.npz"},
        {"seeds": list(range(1, 6)), "centre": run.config.islands.centre},
        run.n_objects,
    )


def templates_case(run: Run) -> Case:
    """Return the case of the rule templates; it has no objects."""
    sed = run.config.sed
    return Case(
        "templates",
        {"dwarf_colours": run.given(sed.dwarf_colours)},
        {"templates": "templates.npz"},
        {"passbands": sed.passbands, "sed": sed.models.plain()},
        1,
        threads=8,
    )


def sed_case(run: Run) -> Case:
    """Return the case of the rule sed."""
    return Case(
        "sed",
        {
            "catalogue": run.file("catalogue.parquet"),
            "templates": run.file("sed/templates.npz"),
        },
        {"verdicts": "verdicts.parquet"},
        {"sed": run.config.sed.fit.plain(without={"memory_mb", "device"})},
        run.n_objects,
        threads=8,
    )


def simulate_case(run: Run) -> Case:
    """Return the case of the rule simulate, with as many objects as config.yaml has."""
    config = run.defaults
    return Case(
        "simulate",
        {
            "images": run.file("images.npz"),
            "templates": run.file("sed/templates.npz"),
            "catalogue": run.file("catalogue.parquet"),
            "known": run.file("known_quasars.parquet"),
        },
        {"images": "simulated.npz", "table": "simulated.parquet"},
        {
            "priors": run.config.sed.fit.priors.plain(),
            "n_simulated": config.recognise.n_simulated,
            "seed": config.recognise.seed,
            "redshift_min": config.known_quasars.min_redshift,
            "match_radius_arcsec": config.known_quasars.match_radius_arcsec,
        },
        run.n_objects,
        work=config.recognise.n_simulated,
    )


def simulated_features_case(run: Run) -> Case:
    """Return the case of the features of the simulated objects, as many as the run has."""
    return Case(
        "simulated_features",
        {
            "images": run.file("recognise/simulated.npz"),
            "model": run.file(f"learning/seed-{run.seeds[0]}/model.pt"),
        },
        {"features": "simulated.npz"},
        {},
        run.rows("recognise/simulated.parquet"),
        wildcards={"seed": "1"},
    )


def recognise_case(run: Run) -> Case:
    """Return the case of the rule recognise, with five seeds: some twice."""
    seeds = [run.seeds[number % len(run.seeds)] for number in range(5)]
    return Case(
        "recognise",
        {
            "images": run.file("images.npz"),
            "simulated": run.file("recognise/simulated.npz"),
            "table": run.file("recognise/simulated.parquet"),
            "features": [run.file(f"learning/seed-{seed}/features.npz") for seed in seeds],
            "simulated_features": [
                run.file(f"learning/seed-{seed}/simulated.npz") for seed in seeds
            ],
            "catalogue": run.file("catalogue.parquet"),
            "known": run.file("known_quasars.parquet"),
        },
        {"evidence": "evidence.parquet"},
        {
            "n_components": run.config.recognise.n_components,
            "seeds": list(range(1, 6)),
            "match_radius_arcsec": run.config.known_quasars.match_radius_arcsec,
        },
        run.n_objects,
        work=len(seeds),
        threads=8,
    )


def lens_evidence_case(run: Run) -> Case:
    """Return the case of the rule lens_evidence, taught with a quarter of what config.yaml has."""
    taught = run.config.lensing.n_taught // 4
    return Case(
        "lens_evidence",
        {
            "images": run.file("images.npz"),
            "simulated": run.file("recognise/simulated.npz"),
            "table": run.file("recognise/simulated.parquet"),
        },
        {"evidence": "evidence.parquet"},
        {"n_taught": taught, "seed": run.config.lensing.seed},
        run.n_objects,
        work=2 * taught,
    )


def candidates_case(run: Run) -> Case:
    """Return the case of the rule candidates."""
    return Case(
        "candidates",
        _evidence(run) | {"calibration": run.given(run.config.candidates.calibration)},
        {
            "parquet": "candidates.parquet",
            "ecsv": "candidates.ecsv",
            "csv": "candidates.csv",
        },
        {
            "candidates": run.config.candidates.plain(without={"calibration"}),
            "match_radius_arcsec": run.config.known_quasars.match_radius_arcsec,
            "listed_radius_arcsec": run.config.known_objects.match_radius_arcsec,
        },
        run.n_objects,
    )


def exports_case(run: Run) -> Case:
    """Return the case of the rule exports."""
    return Case(
        "exports",
        {"candidates": run.file("candidates.parquet")},
        {
            "votable": "candidates.vot",
            "regions": "candidates.reg",
            "observing_csv": "observing_list.csv",
            "observing_text": "observing_list.txt",
        },
        {
            "run": run.config.run,
            "candidates": run.defaults.exports.candidates,
            "known": False,
            "bands": run.config.photometry.bands,
        },
        run.n_objects,
    )


def finding_charts_case(run: Run) -> Case:
    """Return the case of the rule finding_charts, with as many charts as config.yaml has."""
    return Case(
        "finding_charts",
        {"candidates": run.file("candidates.parquet"), "images": run.file("images.npz")},
        {"pdf": "finding_charts.pdf"},
        {
            "run": run.config.run,
            "candidates": run.defaults.exports.candidates,
            "known": False,
            "bands": run.config.photometry.bands,
            "chart_band": None,
            "oriented": True,
        },
        run.n_objects,
        work=run.defaults.exports.candidates,
    )


def _evidence(run: Run) -> Paths:
    return {
        "catalogue": run.file("catalogue.parquet"),
        "verdicts": run.file("sed/verdicts.parquet"),
        "known": run.file("known_quasars.parquet"),
        "islands": run.file("islands/islands.parquet"),
        "enrichment": run.file("islands/enrichment.csv"),
        "evidence": run.file("recognise/evidence.parquet"),
    }


def posteriors_case(run: Run) -> Case:
    """Return the case of the posteriors of one object, with as many live points as config.yaml."""
    config = run.config
    return Case(
        "posteriors",
        {
            "candidates": run.file("candidates.parquet"),
            "catalogue": run.file("catalogue.parquet"),
            "templates": run.file("sed/templates.npz"),
        },
        {"table": "shard-0.parquet", "samples": "shard-0.npz", "figures": "shard-0"},
        {
            "posteriors": run.defaults.posteriors.plain() | {"shortlist": 1, "shards": 1},
            "passbands": config.sed.passbands,
            "sed": config.sed.fit.plain(without={"memory_mb", "device"}),
            "partial": "{out}/partial",
        },
        run.n_objects,
        wildcards={"shard": "0"},
    )


def published_case(run: Run) -> Case:
    """Return the case of the published fits of one object."""
    config = run.config
    return Case(
        "published_fit",
        {
            "candidates": run.file("candidates.parquet"),
            "catalogue": run.file("catalogue.parquet"),
            "known": run.file("known_quasars.parquet"),
        },
        {"table": "published_fit.parquet"},
        {
            "passbands": config.sed.passbands,
            "published_fit": config.published_fit.plain() | {"shortlist": 1},
            "match_radius_arcsec": config.known_quasars.match_radius_arcsec,
        },
        run.n_objects,
    )


def lephare_case(run: Run, data: Path) -> Case:
    """Return the case of the rule lephare; ``data`` is a folder or archive of its data."""
    config = run.config
    return Case(
        "lephare",
        {
            "catalogue": run.file("catalogue.parquet"),
            "verdicts": run.file("sed/verdicts.parquet"),
            "data": data,
        },
        {"table": "lephare.parquet"},
        {
            "passbands": config.sed.passbands,
            "lephare": config.lephare.plain(without={"data"}),
        },
        run.n_objects,
    )


def recall_case(run: Run) -> Case:
    """Return the case of the rule recall."""
    return Case(
        "recall",
        {
            "candidates": run.file("candidates.parquet"),
            "catalogue": run.file("catalogue.parquet"),
            "losses": run.file("losses.csv"),
            "truth": run.truth,
        },
        {"table": "recall.csv", "text": "recall.txt"},
        {"top": run.config.truth.top},
        run.n_queried,
    )


def report_case(run: Run) -> Case:
    """Return the case of the rule report."""
    config = run.config
    shards = range(len(list(run.file("posteriors").glob("shard-*.parquet"))))
    return Case(
        "report",
        {
            **_evidence(run),
            "candidates": run.file("candidates.parquet"),
            "cutflow": run.file("cutflow.csv"),
            "losses": run.file("losses.csv"),
            "templates": run.file("sed/templates.npz"),
            "posteriors": [run.file(f"posteriors/shard-{k}.parquet") for k in shards],
            "figures": [run.file(f"posteriors/shard-{k}") for k in shards],
            "images": run.file("images.npz"),
            "maps": [run.file(f"islands/seed-{seed}/map.parquet") for seed in run.seeds],
            "histories": [run.file(f"learning/seed-{seed}/history.csv") for seed in run.seeds],
            **{name: run.file(f"islands/{name}.csv") for name in _ISLAND_TABLES},
        },
        {"html": "report.html"},
        {
            "report": config.report.plain(),
            "run": config.run,
            "config": config.plain(
                without={
                    **dict.fromkeys(("services", "similar", "target"), True),
                    "sed": {"fit": {"memory_mb", "device"}},
                }
            ),
            "bands": config.photometry.bands,
            "passbands": config.sed.passbands,
            "left_out": {},
        },
        run.n_objects,
        losses_times=LOSSES_TIMES,
    )


#: The cases that a run has one of.
ONCE: dict[str, Callable[[Run], Case]] = {
    "known_quasars": known_case,
    "catalogue": catalogue_case,
    "losses": losses_case,
    "own_cutouts": own_cutouts_case,
    "images": images_case,
    "train": train_case,
    "features": features_case,
    "map": map_case,
    "islands": islands_case,
    "similar_index": similar_index_case,
    "templates": templates_case,
    "sed": sed_case,
    "simulate": simulate_case,
    "simulated_features": simulated_features_case,
    "recognise": recognise_case,
    "lens_evidence": lens_evidence_case,
    "candidates": candidates_case,
    "exports": exports_case,
    "finding_charts": finding_charts_case,
    "posteriors": posteriors_case,
    "published_fit": published_case,
    "recall": recall_case,
    "report": report_case,
}
#: The rules that a run has one job of per tile.
PER_TILE = ("select", "match", "photometry", "cutouts")
