"""One list of versions rules the pip pins and the conda environments; each provides its imports."""

from __future__ import annotations

import ast
import re
import sys
from importlib import metadata
from pathlib import Path

import pytest
import yaml

from archipelago.provenance import imported_modules

REPOSITORY = Path(__file__).resolve().parents[2]
STAGES = ("survey", "learning", "sed", "report")
#: Names on conda-forge that differ from those on PyPI.
PYPI_NAME = {
    "pytorch-gpu": "torch",
    "snakemake-minimal": "snakemake",
    "astropy-healpix": "astropy_healpix",
    "pyyaml": "PyYAML",
}
#: Python and conda's own tools have no pin in requirements.txt.
NO_PIN = {"python", "pip"}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(path: str) -> dict[str, str]:
    lines = (REPOSITORY / path).read_text().splitlines()
    found = dict(line.split("==") for line in lines if line and line[0] not in "#-")
    return {canonical(name): version for name, version in found.items()}


def environment(stage: str) -> dict[str, str]:
    """Package on PyPI: version, of a conda file."""
    content = yaml.safe_load((REPOSITORY / "envs" / f"{stage}.yaml").read_text())
    found: dict[str, str] = {}
    for entry in content["dependencies"]:
        items = entry["pip"] if isinstance(entry, dict) else [entry]
        for item in items:
            name, _, version = item.replace("==", "=").partition("=")
            if name not in NO_PIN:
                found[canonical(PYPI_NAME.get(name, name))] = version
    return found


def scripts_of(stage: str) -> list[Path]:
    """Scripts of the rules that run in a stage's environment."""
    found = []
    for rules in (REPOSITORY / "workflow" / "rules").glob("*.smk"):
        for rule in re.split(r"\nrule ", rules.read_text())[1:]:
            if f"../../envs/{stage}.yaml" in rule:
                name = re.search(r'"\.\./scripts/(\w+\.py)"', rule)
                assert name, rule
                found.append(REPOSITORY / "workflow" / "scripts" / name[1])
    return sorted(set(found))


def foreign_modules(script: Path) -> set[str]:
    """Top-level modules that are neither Python's own nor ours, at any depth of our imports."""
    found: set[str] = set()
    for path in (script, *imported_modules(script).values()):
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [node.module]
            found |= {name.split(".")[0] for name in names}
    return found - set(sys.stdlib_module_names) - {"archipelago"}


def test_every_rule_has_an_environment_and_every_script_a_rule() -> None:
    used = {script for stage in STAGES for script in scripts_of(stage)}
    assert used == set((REPOSITORY / "workflow" / "scripts").glob("*.py"))


@pytest.mark.parametrize("stage", [*STAGES, "snakemake"])
def test_conda_pins_are_the_list_of_versions(stage: str) -> None:
    listed = pins("requirements.txt")
    for name, version in environment(stage).items():
        assert version == listed.get(name), f"{name} in envs/{stage}.yaml"


@pytest.mark.parametrize("stage", STAGES)
def test_an_environment_provides_what_its_stage_imports(stage: str) -> None:
    providers = metadata.packages_distributions()
    provided = set(environment(stage))
    for script in scripts_of(stage):
        for module in foreign_modules(script):
            names = {canonical(name) for name in providers.get(module, [module])}
            assert names & provided, f"{script.name} imports {module}: not in envs/{stage}.yaml"


@pytest.mark.parametrize("stage", STAGES)
def test_channels_of_stages_are_conda_forge_alone(stage: str) -> None:
    content = yaml.safe_load((REPOSITORY / "envs" / f"{stage}.yaml").read_text())
    assert content["channels"] == ["conda-forge", "nodefaults"]


def test_snakemake_itself_finds_what_the_configuration_needs() -> None:
    providers = metadata.packages_distributions()
    provided = set(environment("snakemake"))
    library = REPOSITORY / "workflow" / "archipelago"
    modules = foreign_modules(library / "config" / "search.py")
    modules |= foreign_modules(library / "config" / "load.py")
    for module in modules | foreign_modules(library / "provenance.py"):
        names = {canonical(name) for name in providers.get(module, [module])}
        assert names & provided, f"{module}: not in envs/snakemake.yaml"


def test_learning_has_torch_for_gpus() -> None:
    content = yaml.safe_load((REPOSITORY / "envs" / "learning.yaml").read_text())
    assert any(item.startswith("pytorch-gpu=") for item in content["dependencies"])


def test_what_is_installed_is_what_is_listed() -> None:
    for name, version in pins("requirements.txt").items():
        assert metadata.version(name).split("+")[0] == version, name


def test_the_library_knows_nothing_of_snakemake() -> None:
    for path in (REPOSITORY / "workflow" / "archipelago").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                assert all(not alias.name.startswith("snakemake") for alias in node.names), path
            elif isinstance(node, ast.ImportFrom):
                assert not (node.module or "").startswith("snakemake"), path


def test_the_floors_of_the_library_hold() -> None:
    """Rooms import what lies below them; no stage imports the embedded survey."""
    below = {
        "base": set(),
        "photometry": {"base"},
        "survey": {"base", "photometry", "tiles"},
        "own": {"base", "photometry", "tiles"},
        "learning": {"base"},
        "islands": {"base", "known", "learning"},
        "similar": {"base", "report"},
        "simulate": {"base", "cosmology", "sed"},
        "recognise": {"base", "simulate"},
        "lensing": {"base", "simulate"},
        "sed": {"base", "passbands", "cosmology"},
        "candidates": {"base", "known"},
        "injections": {
            *("base", "candidates", "known", "lensing", "photometry", "recognise", "sed"),
            "simulate",
        },
        "exports": {"base"},
        "report": {"base", "candidates", "passbands", "sed"},
        "demosky": {"base", "passbands", "cosmology", "tiles", "photometry"},
        "measure": {
            *("base", "config", "needs", "passbands", "photometry", "provenance"),
            *("sed", "survey", "demosky", "tiles", "own", "learning", "islands"),
            *("similar", "simulate", "recognise", "lensing", "candidates", "report"),
            "injections",
        },
    }
    library = REPOSITORY / "workflow" / "archipelago"
    for room, allowed in below.items():
        for path in (library / room).glob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(
                    "archipelago."
                ):
                    other = node.module.split(".")[1]
                    assert other in allowed | {room}, f"{path.name} imports {node.module}"


def test_scripts_read_params_and_never_the_configuration() -> None:
    for path in (REPOSITORY / "workflow" / "scripts").glob("*.py"):
        assert "snakemake.config" not in path.read_text(), path.name
