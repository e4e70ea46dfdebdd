"""What a configuration asks for: origin of the objects, tiles, stages and targets."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from archipelago.base.targets import parse_target
from archipelago.config.model import Config
from archipelago.config.rules import find_file, model_file
from archipelago.tiles import Tile, footprint_tiles

#: The one tile of objects that were detected in a user's own images.
FIELDS_TILE = "fields"
#: Results of the injections, within their folder.
INJECTION_RESULTS = ("injected.parquet", "completeness.csv", "lensed_fraction.csv")


@dataclass(frozen=True)
class Search:
    """A search as the configuration wants it.

    Parameters
    ----------
    config : the checked configuration.
    folder : folder that relative file names start from.
    tiles : names of the sky tiles, sorted.
    """

    config: Config
    folder: Path
    tiles: list[str]

    @classmethod
    def of(cls, config: Config, folder: Path) -> Search:
        """Return the search of ``config``; raises InputError if the footprint is unreadable."""
        if config.images.source == "fields":
            return cls(config, folder, [FIELDS_TILE])
        tiles = footprint_tiles(
            find_file(config.survey.footprint, folder), config.survey.tile_order
        )
        return cls(config, folder, [tile.name for tile in tiles])

    @property
    def origin(self) -> str:
        """Where the objects come from; the name of the file with those rules."""
        if self.config.images.source == "fields":
            return "own_images"
        return "survey" if self.config.catalogue.file is None else "own_catalogue"

    @property
    def photometry_rule(self) -> str:
        """The rule that makes the photometry of a tile."""
        return {"survey": "photometry", "own_catalogue": "ingest", "own_images": "detect"}[
            self.origin
        ]

    @property
    def cutouts_rule(self) -> str:
        """The rule that makes the cutouts of a tile; the file with it is named alike."""
        return {"service": "cutouts", "file": "own_cutouts"}.get(
            self.config.images.source, "detect"
        )

    @property
    def evidence_rules(self) -> list[str]:
        """The rules that make the evidence on the candidates."""
        rules = ["sed", "known_quasars"]
        rules += ["islands"] if self.has_images else []
        rules += ["recognise"] if self.recognises else []
        rules += ["lens_evidence"] if self.has_lensing else []
        return [*rules, "lephare"] if self.has_lephare else rules

    @property
    def has_images(self) -> bool:
        """Whether there are images, hence features and islands."""
        return self.config.images.source != "none"

    @property
    def recognises(self) -> bool:
        """Whether images are compared with those of simulated quasars."""
        return self.has_images and self.config.recognise.n_simulated > 0

    @property
    def has_lensing(self) -> bool:
        """Whether shapes in the images are measured and compared with those of lensed quasars."""
        return self.recognises and self.config.lensing.n_taught > 0

    @property
    def cutouts_from_service(self) -> bool:
        """Whether cutouts are asked for from the image service."""
        return self.config.images.source == "service"

    @property
    def trains(self) -> bool:
        """Whether networks are trained; else there are some already."""
        return self.has_images and self.config.learning.model is None

    def model(self, seed: int | str) -> str:
        """Path of the network of one seed: trained by this search, or before it."""
        given = self.config.learning.model
        if given is None:
            return self.path(f"learning/seed-{seed}/model.pt")
        return str(self.resolve(model_file(given, seed)))

    @property
    def given_models(self) -> list[str]:
        """Paths of the networks trained before this search; none where it trains its own."""
        if not self.has_images or self.trains:
            return []
        return list(dict.fromkeys(self.model(seed) for seed in self.config.learning.seeds))

    @property
    def has_lephare(self) -> bool:
        """Whether LePHARE runs."""
        return self.config.lephare.data is not None

    @property
    def has_injections(self) -> bool:
        """Whether quasars are injected."""
        return self.config.injections.enabled

    @property
    def has_published_fit(self) -> bool:
        """Whether some objects get the published fit."""
        return bool(self.config.published_fit.shortlist or self.config.published_fit.ids)

    @property
    def has_truth(self) -> bool:
        """Whether the ranking is measured against a table of the truth."""
        return self.config.truth.file is not None

    @property
    def left_out(self) -> dict[str, str]:
        """Stages that do not run, with the reason."""
        left: dict[str, str] = {}
        if not self.has_images:
            left["images, features and islands"] = "images.source is none"
        elif not self.trains:
            left["training"] = "learning.model is set"
        if self.has_images and not self.recognises:
            left["simulated quasars"] = "recognise.n_simulated is 0"
            left["lens evidence"] = "recognise.n_simulated is 0"
        elif self.recognises and not self.has_lensing:
            left["lens evidence"] = "lensing.n_taught is 0"
        if not self.has_lephare:
            left["LePHARE"] = "lephare.data is not set"
        if not self.has_injections:
            left["injections"] = "injections.enabled is false"
        return left

    def resolve(self, path: str) -> Path:
        """Return a file named in the configuration.

        It is looked for from the working directory first, then from the
        workflow's own folder; where it is in both, the working directory counts.
        """
        return find_file(path, self.folder)

    def table_range(self, tile: str) -> tuple[int, int]:
        """First and last index of a tile in the survey's table, both inclusive."""
        return Tile.from_name(tile).index_range(self.config.survey.healpix_order)

    def path(self, name: str) -> str:
        """Path of a result of this run."""
        return f"results/{self.config.run}/{name}"

    def each_tile(self, name: str) -> list[str]:
        """Path of the same result in every tile."""
        return [self.path(f"tiles/{tile}/{name}") for tile in self.tiles]

    def each_seed(self, name: str) -> list[str]:
        """Path of the same result of every seed; ``name`` holds ``{seed}``."""
        return [self.path(name.format(seed=seed)) for seed in self.config.learning.seeds]

    @cached_property
    def targets(self) -> list[str]:
        """Results of a whole search."""
        targets = [
            self.path("report.html"),
            *(self.path(f"exports/{name}") for name in ("candidates.vot", "finding_charts.pdf")),
        ]
        if self.has_injections:
            targets += [self.path(f"injections/{name}") for name in INJECTION_RESULTS]
        if self.has_published_fit:
            targets.append(self.path("published_fit.parquet"))
        return [*targets, self.path("recall.txt")] if self.has_truth else targets

    @property
    def catalogue_input(self) -> dict[str, list[str]]:
        """Input of the rule `catalogue`."""
        wanted = {
            "photometry": self.each_tile("photometry.parquet"),
            "cutflows": self.each_tile("cutflow.csv"),
            "losses": self.each_tile("losses_photometry.csv"),
        }
        if self.origin == "survey":
            wanted["sources"] = self.each_tile("sources.parquet")
            wanted["losses"] = [
                path
                for stage in ("select", "match", "photometry")
                for path in self.each_tile(f"losses_{stage}.csv")
            ]
        return wanted

    @property
    def losses_input(self) -> dict[str, str]:
        """Input of the rule `losses`."""
        wanted = {
            "catalogue": self.path("catalogue.parquet"),
            "catalogue_losses": self.path("losses_catalogue.csv"),
            "catalogue_cutflow": self.path("cutflow_catalogue.csv"),
        }
        if self.has_images:
            wanted["image_losses"] = self.path("losses_images.csv")
            wanted["images"] = self.path("images.npz")
        return wanted

    @property
    def known_quasars_input(self) -> dict[str, str]:
        """Input of the rule `known_quasars`: a file, the query that asks a service, or none."""
        known = self.config.known_quasars
        files = {
            "service": ("query", known.query),
            "file": ("file", known.file),
            "catalogue": ("file", self.config.catalogue.file),
            "none": ("", None),
        }
        role, path = files[known.source]
        return {} if path is None else {role: str(self.resolve(path))}

    @property
    def candidates_input(self) -> dict[str, str]:
        """Input of the rule `candidates`: all evidence there is."""
        wanted = {
            "catalogue": self.path("catalogue.parquet"),
            "verdicts": self.path("sed/verdicts.parquet"),
            "known": self.path("known_quasars.parquet"),
        }
        if self.has_images:
            wanted["islands"] = self.path("islands/islands.parquet")
            wanted["enrichment"] = self.path("islands/enrichment.csv")
        if self.recognises:
            wanted["evidence"] = self.path("recognise/evidence.parquet")
        if self.has_lensing:
            wanted["lensing"] = self.path("lensing/evidence.parquet")
        if self.has_lephare:
            wanted["lephare"] = self.path("sed/lephare.parquet")
        return wanted

    @property
    def finding_charts_input(self) -> dict[str, str]:
        """Input of the rule `finding_charts`: the candidates, and cutouts where there are any."""
        wanted = {"candidates": self.path("candidates.parquet")}
        return wanted | ({"images": self.path("images.npz")} if self.has_images else {})

    @property
    def inject_input(self) -> dict[str, str | list[str]]:
        """Input of the rule `inject`: what injected objects are painted into and measured like."""
        wanted: dict[str, str | list[str]] = {
            "catalogue": self.path("catalogue.parquet"),
            "templates": self.path("sed/templates.npz"),
            "known": self.path("known_quasars.parquet"),
        }
        if self.origin == "survey":
            wanted["query"] = str(self.resolve(self.config.survey.query))
            for name in ("sources.parquet", "matched.parquet", "losses_match.csv"):
                wanted[name.partition(".")[0]] = self.each_tile(name)
        if self.has_images:
            wanted["images"] = self.path("images.npz")
        return wanted

    @property
    def injected_rank_input(self) -> dict[str, str | list[str]]:
        """Input of the rule `injected_rank`; ``{shard}`` stays a wildcard."""
        shard = "injections/shard-{shard}"
        wanted: dict[str, str | list[str]] = {
            "verdicts": self.path(f"{shard}/verdicts.parquet"),
            "candidates": self.path("candidates.parquet"),
            "calibration": str(self.resolve(self.config.candidates.calibration)),
        }
        if self.has_images:
            wanted["injected"] = self.path(f"{shard}/images.npz")
            wanted["injected_features"] = self.each_seed_of(f"{shard}/seed-{{seed}}.npz")
            wanted["features"] = self.each_seed("learning/seed-{seed}/features.npz")
        if self.recognises:
            wanted["images"] = self.path("images.npz")
            wanted["simulated"] = self.path("recognise/simulated.npz")
            wanted["kinds"] = self.path("recognise/simulated.parquet")
            wanted["simulated_features"] = self.each_seed("learning/seed-{seed}/simulated.npz")
        return wanted

    def each_seed_of(self, name: str) -> list[str]:
        """Path of the same result of every seed; of the wildcards only ``{seed}`` is filled in."""
        return [self.path(name.replace("{seed}", str(k))) for k in self.config.learning.seeds]

    @property
    def islands_input(self) -> dict[str, str]:
        """Input of the rule `islands` besides images: verdicts that stand beside features."""
        if not self.config.islands.weight_sed:
            return {}
        return {"verdicts": self.path("sed/verdicts.parquet")}

    @property
    def similar_folder(self) -> str:
        """Folder, within the run, of the objects like the one asked for."""
        target = self.config.target
        return "similar/" + ("none" if target is None else parse_target(target).name)

    @property
    def evidence_so_far(self) -> list[str]:
        """The fullest table there is by now of what is known of the objects; none before that."""
        names = ("candidates.parquet", "islands/islands.parquet")
        return [path for path in map(self.path, names) if Path(path).is_file()][:1]

    @property
    def report_input(self) -> dict[str, str | list[str]]:
        """Input of the rule `report`: all there is to show."""
        shards = range(self.config.posteriors.shards)
        wanted: dict[str, str | list[str]] = {
            **self.candidates_input,
            "candidates": self.path("candidates.parquet"),
            "cutflow": self.path("cutflow.csv"),
            "losses": self.path("losses.csv"),
            "templates": self.path("sed/templates.npz"),
            "posteriors": [self.path(f"posteriors/shard-{k}.parquet") for k in shards],
            "figures": [self.path(f"posteriors/shard-{k}") for k in shards],
        }
        if self.has_images:
            wanted["images"] = self.path("images.npz")
            for name in ("retrieval", "stability", "agreement"):
                wanted[name] = self.path(f"islands/{name}.csv")
            wanted["maps"] = self.each_seed("islands/seed-{seed}/map.parquet")
        if self.trains:
            wanted["histories"] = self.each_seed("learning/seed-{seed}/history.csv")
        if self.has_injections:
            for name in ("completeness", "lensed_fraction"):
                wanted[name] = self.path(f"injections/{name}.csv")
        if self.has_truth:
            wanted["recall"] = self.path("recall.csv")
        return wanted
