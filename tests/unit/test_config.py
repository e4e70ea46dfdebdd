"""The configuration: every error at once, with path, value, what is allowed, the nearest name."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.configuration import REPOSITORY, merged, shipped

from archipelago.base.errors import ConfigError
from archipelago.config.load import known_keys, load_config
from archipelago.config.model import Config
from archipelago.config.schema import schema_text
from archipelago.config.search import Search
from archipelago.measure.dag import MOST_TILE_JOBS, TILE_RULES

PRESETS = sorted((REPOSITORY / "data" / "presets").glob("*.yaml"))


@pytest.fixture
def raw() -> dict[str, Any]:
    return shipped()


def errors_of(raw: Mapping[str, Any], folder: Path | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_config(raw, folder)
    return [line.strip() for line in str(caught.value).splitlines()[1:-1]]


def test_the_configuration_is_right(raw: dict[str, Any]) -> None:
    config = load_config(raw, REPOSITORY)
    assert config.run == "des_dr2"


@pytest.mark.parametrize("preset", PRESETS, ids=lambda path: path.stem)
def test_the_presets_are_right(raw: dict[str, Any], preset: Path) -> None:
    whole = merged(raw, yaml.safe_load(preset.read_text()))
    if preset.stem == "own_images":
        whole["images"]["fields"] = {band: f"{band}.fits" for band in "grizY"}
    if preset.stem == "published_catalogue":
        whole["catalogue"]["file"] = "mine.csv"
    assert load_config(whole).run


def test_the_seed_is_unwise_and_the_paper_allwise(raw: dict[str, Any]) -> None:
    presets = {path.stem: yaml.safe_load(path.read_text()) for path in PRESETS}
    seed = load_config(merged(raw, presets["seed"]))
    paper = load_config(merged(raw, presets["paper"]))
    assert [partner.name for partner in seed.match] == ["unwise", "vhs"]
    assert [partner.name for partner in paper.match] == ["allwise", "vhs"]
    learning = paper.learning
    assert (learning.learning_rate, learning.momentum, learning.batch_size) == (3e-4, 1e-5, 128)
    assert (learning.channels, learning.head) == ([128, 256, 512], [256, 128, 128])
    assert (learning.patience, learning.min_delta, learning.temperature) == (5, 0.01, 0.1)
    assert (paper.islands.map.method, paper.islands.map.perplexity) == ("tsne", 10)


def test_every_key_stands_in_the_file(raw: dict[str, Any]) -> None:
    """What is optional within names that users choose may be left out; all else is there."""

    def paths(value: Any, known: tuple[str, ...]) -> set[tuple[str, ...]]:
        found: set[tuple[str, ...]] = set()
        if isinstance(value, Mapping):
            for name, child in value.items():
                path = (*known, name) if (*known, name) in known_keys() else (*known, "*")
                found |= {path} | paths(child, path)
        elif isinstance(value, list):
            for child in value:
                found |= paths(child, (*known, "*"))
        return found

    there = paths(raw, ())
    missing = {
        key
        for key in known_keys()
        if key not in there and "*" not in key and key[:2] != ("catalogue", "columns")
    }
    # Axes are given as a list or as min, max and step.
    assert {key for key in missing if key[-1] not in ("min", "max", "step")} == set()


def test_every_line_of_the_file_is_explained() -> None:
    """A key with a value has a comment beside it, or above its block."""
    explained = False
    bare = []
    for number, line in enumerate((REPOSITORY / "config.yaml").read_text().splitlines(), 1):
        if not line.strip():
            explained = False
        elif "#" in line:
            explained = True
        elif re.match(r"\s*[\w-]+:", line) and not explained:
            bare.append(f"{number}: {line}")
    assert bare == []


def test_all_errors_come_at_once(raw: dict[str, Any]) -> None:
    raw["learning"]["batchsize"] = 64
    raw["learning"]["temperature"] = -1
    raw["islands"]["k_neighbours"] = 0
    raw["photometry"]["bands"].append("H")
    raw["imagse"] = {}
    del raw["report"]["listed"]
    lines = errors_of(raw)
    expected = [
        r"learning\.batchsize = 64: unknown key; did you mean learning\.batch_size\?",
        r"learning\.temperature = -1: input should be greater than or equal to 0\.001",
        r"islands\.k_neighbours = 0: input should be greater than or equal to 1",
        r"imagse = \{\}: unknown key; did you mean images\?",
        r"report\.listed: is missing",
        r"photometry\.bands = 'H': no catalogue gives this band",
        r"photometry\.depths\.H: is missing",
        r"sed\.passbands\.H: is missing",
    ]
    for pattern in expected:
        assert any(re.search(pattern, line) for line in lines), (pattern, lines)
    assert len(lines) == len(expected)


def test_a_key_in_the_wrong_place_is_shown_its_own(raw: dict[str, Any]) -> None:
    raw["islands"]["temperature"] = 0.1
    assert errors_of(raw) == [
        "islands.temperature = 0.1: unknown key; it belongs at learning.temperature"
    ]


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("run", "../elsewhere", r"run = '../elsewhere': string should match pattern"),
        ("survey.bands.g.system", "mag", r"g\.system = 'mag': input should be 'mag_ab'"),
        ("services.tap.url", "file:///etc/passwd", r"services\.tap\.url = .*should match pattern"),
        ("images.size_px", 28.5, r"images\.size_px = 28\.5: input should be a valid integer"),
        ("learning.seeds", [1, 1], r"learning = .*the seeds must differ"),
        ("learning.kernels_px", [3], r"learning = .*one entry each per convolution"),
        ("posteriors.shards", 500, r"posteriors\.shards = 500: at most the length"),
        ("sed.fit.priors.lensed_fraction", 1.0, r"fraction = 1\.0: input should be less than 1"),
        ("known_quasars.source", "file", r"known_quasars = .*no file is named"),
        ("known_quasars.source", "catalogue", r"source = 'catalogue': needs catalogue\.file"),
        ("photometry.depths.g", {"sigma": 5}, r"depths\.g = .*either mag_ab or flux_ujy"),
        ("photometry.detection_sigma", float("nan"), r"sigma = nan: input should be a finite"),
        ("report", {"candidates": 9, "listed": 3}, r"report = .*listed must be at least"),
        ("survey.bands.g.vega_to_ab_mag", 1.0, r"survey\.bands\.g = .*only for mag_vega"),
        ("images.bands", ["g", "g"], r"images\.bands = \['g', 'g'\]: a band may be listed once"),
    ],
)
def test_wrong_values_are_explained(
    raw: dict[str, Any], path: str, value: Any, message: str
) -> None:
    *parents, last = path.split(".")
    section = raw
    for name in parents:
        section = section[name]
    section[last] = value
    lines = errors_of(raw)
    assert any(re.search(message, line) for line in lines), lines


def test_a_cut_on_a_band_that_is_not_searched(raw: dict[str, Any]) -> None:
    raw["photometry"]["cuts"].append({"name": "H there", "kind": "present", "band": "H"})
    raw["photometry"]["cuts"].append({"name": "odd", "kind": "shape", "band": "J"})
    lines = errors_of(raw)
    assert any("photometry.cuts.10" in line and "'shape'" in line for line in lines)
    raw["photometry"]["cuts"].pop()
    assert errors_of(raw) == [
        "photometry.cuts.9 = 'H': not in photometry.bands (g, r, i, z, Y, J, K, W1, W2)"
    ]


def test_two_partners_may_not_give_one_band(raw: dict[str, Any]) -> None:
    raw["match"].append({**copy.deepcopy(raw["match"][0]), "name": "unwise"})
    lines = errors_of(raw)
    assert "match.unwise.bands = 'W1': allwise gives this band too; a band has one source" in lines
    raw["match"][-1]["name"] = "vhs"
    assert any("two catalogues have this name" in line for line in errors_of(raw))


def test_absent_files_are_named(raw: dict[str, Any]) -> None:
    raw["survey"]["query"] = "data/queries/none.adql"
    raw["truth"]["file"] = "truth.csv"
    lines = errors_of(raw, REPOSITORY)
    assert [line.split(" = ")[0] for line in lines] == ["survey.query", "truth.file"]
    assert all("no such file" in line for line in lines)


def test_a_query_without_its_tile_is_refused(raw: dict[str, Any], tmp_path: Path) -> None:
    query = tmp_path / "all.adql"
    query.write_text("SELECT * FROM t WHERE hpix_32 >= {hpix_min}")
    raw["survey"]["query"] = str(query)
    assert errors_of(raw, REPOSITORY) == [
        f"survey.query = {str(query)!r}: the query lacks the placeholders hpix_max"
    ]


def test_a_query_by_boxes_is_taken(raw: dict[str, Any], tmp_path: Path) -> None:
    query = tmp_path / "box.adql"
    text = "SELECT * FROM t WHERE ra BETWEEN {ra_min} AND {ra_max} AND dec > {dec_min}"
    raw["survey"]["query"] = str(query)
    query.write_text(f"{text} AND dec < {{dec_max}}")
    load_config(raw, REPOSITORY)
    query.write_text(f"{text} AND dec < {{dec_max}} AND hpix_32 < {{hpix_max}}")
    assert "says in two ways where the tile is" in errors_of(raw, REPOSITORY)[0]


def test_an_index_coarser_than_the_tiles_is_refused(raw: dict[str, Any]) -> None:
    raw["survey"] |= {"healpix_order": 1, "tile_order": 2}
    assert "healpix_order must not be below tile_order" in errors_of(raw)[0]


def test_a_value_never_changes(raw: dict[str, Any]) -> None:
    config = load_config(raw)
    with pytest.raises(ValueError, match="frozen"):
        config.run = "other"  # type: ignore[misc]


def test_the_schema_file_is_up_to_date() -> None:
    """If this fails: make schema."""
    path = REPOSITORY / "workflow" / "schemas" / "config.schema.json"
    assert path.read_text() == schema_text()


def test_every_key_has_a_description() -> None:
    def check(model: Any, where: str) -> None:
        for name, field in model.model_fields.items():
            if name != "kind":
                assert field.description, f"{where}.{name}"

    seen = [Config]
    while seen:
        model = seen.pop()
        check(model, model.__name__)
        for field in model.model_fields.values():
            kind = field.annotation
            if isinstance(kind, type) and hasattr(kind, "model_fields"):
                seen.append(kind)


def search_of(raw: Mapping[str, Any]) -> Search:
    return Search.of(load_config(raw), REPOSITORY)


def test_a_survey_search(raw: dict[str, Any]) -> None:
    search = search_of(raw)
    assert search.origin == "survey"
    exports = ("candidates.vot", "finding_charts.pdf")
    assert search.targets == [
        "results/des_dr2/report.html",
        *(f"results/des_dr2/exports/{name}" for name in exports),
    ]
    assert search.left_out == {
        "LePHARE": "lephare.data is not set",
        "injections": "injections.enabled is false",
    }
    assert len(search.catalogue_input["losses"]) == 3 * len(search.tiles)
    assert len(search.report_input["posteriors"]) == 10
    assert search.report_input["figures"][3] == "results/des_dr2/posteriors/shard-3"
    assert search.table_range("o3-00001") == (16, 31)


def test_a_cluster_gets_few_jobs_for_the_tiles_of_des(raw: dict[str, Any]) -> None:
    assert len(TILE_RULES) * len(search_of(raw).tiles) <= MOST_TILE_JOBS


def test_a_search_of_ones_own_catalogue(raw: dict[str, Any]) -> None:
    preset = yaml.safe_load((REPOSITORY / "data/presets/published_catalogue.yaml").read_text())
    whole = merged(raw, preset)
    whole["catalogue"]["file"] = "mine.csv"
    search = search_of(whole)
    assert search.origin == "own_catalogue"
    assert len(search.tiles) == 12
    assert "sources" not in search.catalogue_input
    assert "islands" not in search.candidates_input
    assert "images, features and islands" in search.left_out
    assert search.known_quasars_input["file"].endswith("mine.csv")


def test_a_search_of_ones_own_images(raw: dict[str, Any]) -> None:
    preset = yaml.safe_load((REPOSITORY / "data/presets/own_images.yaml").read_text())
    whole = merged(raw, preset)
    whole["images"]["fields"] = {band: f"{band}.fits" for band in "grizY"}
    search = search_of(whole)
    assert (search.origin, search.tiles) == ("own_images", ["fields"])
    assert search.has_images
    assert not search.cutouts_from_service
    assert search.known_quasars_input == {}


def test_files_are_sought_here_first(
    raw: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = search_of(raw)
    monkeypatch.chdir(tmp_path)
    assert search.resolve("config.yaml") == REPOSITORY / "config.yaml"
    (tmp_path / "config.yaml").touch()
    assert search.resolve("config.yaml") == Path("config.yaml")
