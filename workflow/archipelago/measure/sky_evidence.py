"""All evidence that a search has on the objects of a demo sky, made in this process, and the truth.

The functions of the rules that make it, without Snakemake. Each part is kept in a folder by a
hash of what it depends on, its code included: after a change only what it touches is made again.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from archipelago.base.images import load_images, save_images
from archipelago.base.tables import read_table, write_table
from archipelago.candidates.ranking import gather_evidence
from archipelago.config.model import Config
from archipelago.demosky.sky import build_sky
from archipelago.islands import summary
from archipelago.islands.maps import make_map
from archipelago.learning.features import compute_features
from archipelago.learning.settings import LearningSettings
from archipelago.lensing import evidence as lens_evidence
from archipelago.measure.command import side_by_side
from archipelago.measure.discovery import DemoSky, simulated_sky, trained
from archipelago.measure.sky_images import sky_images
from archipelago.measure.verdicts import configuration, judge, objects_of, templates_of
from archipelago.provenance import code_hash
from archipelago.recognise import evidence as recognise_evidence
from archipelago.sed import verdict
from archipelago.sed.templates import TemplateSet
from archipelago.simulate import tables as simulate_tables

_REPOSITORY = Path(__file__).resolve().parents[3]
#: Objects of a sky before the partners' cuts, as in `make demo`.
_N_SELECTED = 12_000
#: What is true of an object, beside its evidence.
TRUTH = ("true_kind", "true_is_quasar", "true_is_lensed", "true_known")
#: Columns of a verdict that the evidence holds, and those of the objects themselves.
_VERDICT = (
    *(f"p_{name}" for name in ("star", "galaxy", "quasar", "lensed", "other")),
    *("log_odds_quasar", "log_odds_lensed", "sed_status"),
)

_Features = list[tuple[np.ndarray, np.ndarray]]


class SkyEvidence:
    """Makes the evidence on one demo sky, from what is kept where it can.

    Parameters
    ----------
    seed : of the sky.
    networks : seeds of the networks.
    config : of the search.
    templates : of the SED stage.
    cache : folder that all is kept in.
    """

    def __init__(
        self,
        seed: int,
        networks: Sequence[int],
        config: Config,
        templates: TemplateSet,
        cache: Path,
    ) -> None:
        self.seed, self.networks, self.config = seed, list(networks), config
        self.templates, self._cache = templates, cache
        self._made: dict[str, Any] = {}

    def table(self, with_images: bool = True, with_lensing: bool = True) -> pd.DataFrame:
        """Return what `gather_evidence` makes of the sky, and the columns of `TRUTH`.

        Parameters
        ----------
        with_images : False: as of a search without images.
        with_lensing : False: as of a search without lens evidence.
        """
        objects = self.judged()
        known = pd.DataFrame(
            {
                "id": objects["id"],
                "known_name": objects["id"].astype("str"),
                "known_redshift": objects["true_redshift"],
            }
        )[objects["true_known"].to_numpy(dtype=bool)]
        parts = {}
        if with_images:
            parts = {"islands": self.islands(), "evidence": self.recognised()}
            if with_lensing:
                parts["lensing"] = self.lensed()
        names = [name for name in _VERDICT if name in objects]
        table = gather_evidence(
            objects[["id", "ra_deg", "dec_deg"]], objects[["id", *names]], known, **parts
        )
        truth = objects[["id", *TRUTH]].assign(seed=self.seed)
        return table.merge(truth, on="id", how="left", validate="one_to_one")

    def judged(self) -> pd.DataFrame:
        """Return all objects of the sky's catalogue with their truth and SED verdicts."""
        fit = self.config.sed.fit.plain()

        def make() -> pd.DataFrame:
            objects = objects_of(self.seed, self.config, _REPOSITORY, _N_SELECTED, self._cache)
            return judge(objects, self.templates, fit, 1).sort_values("id", ignore_index=True)

        asked = [fit, self.templates.spec, code_hash(str(verdict.__file__))]
        return self._kept("verdicts", asked, make)

    def islands(self) -> pd.DataFrame:
        """Return the table of islands and similarity."""
        settings = self.config.islands.plain()
        settings["map"] = {**settings["map"], "method": "pca"}  # to look at; nothing depends on it

        def make() -> pd.DataFrame:
            sky = self.sky()
            known = sky.objects[sky.known]
            features = self.features()
            return summary.find_islands(
                features,
                [make_map(ids, values, settings["map"]) for ids, values in features],
                sky.objects,
                pd.DataFrame(
                    {
                        "name": known["id"].astype("str"),
                        "ra_deg": known["ra_deg"],
                        "dec_deg": known["dec_deg"],
                        "redshift": known["true_redshift"],
                    }
                ),
                settings,
                seeds=self.networks,
                match_radius_arcsec=self.config.known_quasars.match_radius_arcsec,
                verdicts=sky.objects,
            )[0]

        asked = [settings, *self._learnt(), code_hash(str(summary.__file__))]
        return self._kept("islands", asked, make)

    def recognised(self) -> pd.DataFrame:
        """Return the table of the rule recognise."""
        settings = self.config.recognise.plain()

        def make() -> pd.DataFrame:
            sky, simulated = self.sky(), self.simulated()
            models = self.models()
            return recognise_evidence.image_evidence(
                sky.images,
                simulated.images,
                simulated.table,
                self.features(),
                [(simulated.images.ids, compute_features(m, simulated.images)) for m in models],
                sky.images.ids[sky.known],
                settings,
                seeds=self.networks,
            )

        codes = [code_hash(str(one.__file__)) for one in (recognise_evidence, simulate_tables)]
        return self._kept("recognised", [settings, *self._learnt(), *codes], make)

    def lensed(self) -> pd.DataFrame:
        """Return the table of the rule lens_evidence."""
        settings = self.config.lensing.plain()

        def make() -> pd.DataFrame:
            images, simulated = self.sky().images, self.simulated()
            judge = lens_evidence.learn(
                images, simulated.images, simulated.table[["id", "kind"]], **settings
            )
            return lens_evidence.lens_evidence(images, judge)

        asked = [settings, self.config.recognise.plain()]
        codes = [code_hash(str(one.__file__)) for one in (lens_evidence, simulate_tables)]
        return self._kept("lensed", [*asked, *codes], make)

    def sky(self) -> DemoSky:
        """Return the sky's images, and their objects with verdicts."""
        if "sky" not in self._made:
            objects = self.judged()
            path = self._cache / f"images-{self.seed}.npz"
            if not path.is_file():
                made = sky_images(build_sky(self.seed), objects)
                save_images(
                    path,
                    made.images,
                    made.ids,
                    made.bands,
                    made.pixel_scale_arcsec,
                    made.zero_point_ab,
                )
            images = load_images(path)
            chosen = objects[objects["id"].isin(images.ids)].reset_index(drop=True)
            self._made["sky"] = DemoSky(self.seed, images, chosen)
        return self._made["sky"]

    def simulated(self) -> Any:
        """Return the simulated objects of the sky's search."""
        if "simulated" not in self._made:
            self._made["simulated"] = simulated_sky(self.sky(), self.templates, self.config)
        return self._made["simulated"]

    def models(self) -> list[Any]:
        """Return the networks."""
        if "models" not in self._made:
            settings = LearningSettings.from_mapping(self.config.learning.plain(without={"seeds"}))
            self._made["models"] = [
                trained(self.sky(), settings, network, self._cache) for network in self.networks
            ]
        return self._made["models"]

    def features(self) -> _Features:
        """Return ids and features of the sky's images, per network."""
        if "features" not in self._made:
            images = self.sky().images
            self._made["features"] = [
                (images.ids, compute_features(model, images)) for model in self.models()
            ]
        return self._made["features"]

    def _learnt(self) -> list[Any]:
        """Return what the features depend on."""
        return [self.networks, self.config.learning.plain(without={"seeds"})]

    def _kept(self, what: str, asked: Sequence[Any], make: Callable[[], pd.DataFrame]) -> Any:
        mark = hashlib.sha256(json.dumps([*asked], sort_keys=True).encode()).hexdigest()[:12]
        path = self._cache / f"{what}-{self.seed}-{mark}.parquet"
        if not path.is_file():
            write_table(make(), path, {})
        return read_table(path)


def sky_table(seed: int, networks: int, config: Config, cache: Path) -> pd.DataFrame:
    """Return the evidence and the truth of one sky; see `SkyEvidence.table`."""
    templates = templates_of(config, _REPOSITORY, cache / "templates.npz")
    return SkyEvidence(seed, range(1, networks + 1), config, templates, cache).table()


def sky_tables(
    seeds: Sequence[int], networks: int, config: Config, cache: Path, processes: int
) -> pd.DataFrame:
    """Return the tables of several skies under each other, made side by side."""
    cache.mkdir(parents=True, exist_ok=True)
    templates_of(config, _REPOSITORY, cache / "templates.npz")
    jobs = [(seed, networks, config, cache) for seed in seeds]
    tables = []
    for seed, table in zip(seeds, side_by_side(sky_table, jobs, processes), strict=True):
        tables.append(table)
        print(f"sky {seed}: {len(table)} objects", file=sys.stderr, flush=True)
    return pd.concat(tables, ignore_index=True)


def demo_configuration(changes: Sequence[str]) -> Config:
    """Return the configuration of the demo with changes ``key=value``."""
    return configuration(
        [_REPOSITORY / "config.yaml", _REPOSITORY / "data" / "presets" / "demo.yaml"], changes
    )
