"""The hash of a stage's code: what changes it, and what does not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from archipelago import provenance


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small library beside a script: script -> a -> b; c is nobody's."""
    package = tmp_path / "archipelago"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "a.py").write_text("from archipelago.b import x\n\ndef f():\n    return x\n")
    (package / "b.py").write_text("x = 1\n")
    (package / "c.py").write_text("y = 1\n")
    (tmp_path / "script.py").write_text("from archipelago.a import f\nf()\n")
    monkeypatch.setattr(provenance, "_LIBRARY", package)
    return tmp_path


def hash_now(folder: Path) -> str:
    provenance._read.cache_clear()
    return provenance.code_hash(folder / "script.py")


@pytest.mark.parametrize(
    ("file", "text", "changes"),
    [
        ("archipelago/b.py", "x = 2\n", True),
        ("archipelago/a.py", "def f():\n    return 1\n", True),
        ("script.py", "from archipelago.a import f\nf(); f()\n", True),
        ("archipelago/__init__.py", "z = 1\n", True),
        ("archipelago/c.py", "y = 2\n", False),
        ("archipelago/b.py", '"""What it is."""\n# why\nx   =   1\n', False),
        (
            "archipelago/a.py",
            'from archipelago.b import x\n\ndef f():\n    """Say."""\n    return x\n',
            False,
        ),
    ],
)
def test_what_counts(library: Path, file: str, text: str, changes: bool) -> None:
    before = hash_now(library)
    (library / file).write_text(text)
    assert (hash_now(library) != before) == changes


def test_imports_within_functions_count(library: Path) -> None:
    (library / "script.py").write_text("def g():\n    import archipelago.c\n")
    before = hash_now(library)
    (library / "archipelago" / "c.py").write_text("y = 3\n")
    assert hash_now(library) != before


def test_every_script_can_be_hashed_and_its_imports_exist() -> None:
    scripts = sorted((Path(__file__).parents[2] / "workflow" / "scripts").glob("*.py"))
    assert scripts
    for script in scripts:
        assert len(provenance.code_hash(script)) == 12
        assert provenance.imported_modules(script), f"{script.name} uses nothing of the library"


def test_a_file_s_mark_follows_its_content_or_where_large_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "query.adql"
    path.write_text("SELECT 1")
    before = provenance.file_mark(path)
    os.utime(path, (1, 1))
    assert provenance.file_mark(path) == before
    path.write_text("SELECT 2")
    assert provenance.file_mark(path) != before
    monkeypatch.setattr(provenance, "_READ_WHOLE_BYTES", 3)
    large = provenance.file_mark(path)
    os.utime(path, (1, 1))
    assert provenance.file_mark(path) != large
