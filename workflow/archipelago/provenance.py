"""A hash of the code that a stage runs, so that a change of code re-runs it.

Snakemake tracks a script by its time of change only, and the modules that a
script imports not at all. The hash follows the imports of a script through the
library, and covers what the code does, not how it is written: comments,
docstrings and layout do not count.
"""

from __future__ import annotations

import ast
import hashlib
from functools import cache
from pathlib import Path

_LIBRARY = Path(__file__).resolve().parent
_PACKAGE = _LIBRARY.name

#: Rooms whose code cannot change a result: what is logged, and how a table of errors reads.
_NO_INFLUENCE = frozenset({f"{_PACKAGE}.base.logs", f"{_PACKAGE}.base.progress"})


def code_hash(script: str | Path) -> str:
    """Return a hash of ``script`` and of all library modules that it imports, at any depth.

    Imports inside functions count too. The result is 12 hexadecimal digits,
    the same on every machine.

    Raises
    ------
    FileNotFoundError
        If the script is not there.
    SyntaxError
        If it, or a module it imports, is not Python.
    """
    script = Path(script)
    modules = imported_modules(script)
    digest = hashlib.sha256(_meaning(script).encode())
    for name in sorted(set(modules) - _NO_INFLUENCE):
        digest.update(f"\n{name}\n{_meaning(modules[name])}".encode())
    return digest.hexdigest()[:12]


def imported_modules(script: str | Path) -> dict[str, Path]:
    """Return the library modules, by dotted name, that ``script`` imports at any depth."""
    found: dict[str, Path] = {}
    todo = list(_imports(Path(script)))
    while todo:
        name = todo.pop()
        path = _find(name)
        if name not in found and path is not None:
            found[name] = path
            todo.extend(_imports(path))
    return found


def _imports(path: Path) -> frozenset[str]:
    """Names, within the package, that a file imports: modules or names of modules."""
    return _read(path)[0]


def _meaning(path: Path) -> str:
    """Source without comments, docstrings and layout."""
    return _read(path)[1]


@cache
def _read(path: Path) -> tuple[frozenset[str], str]:
    """Imports and meaning of a file, in one pass: a dry run reads all of the library."""
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                node.body = node.body[1:] or [ast.Pass()]
    ours = {name for name in names if name.split(".")[0] == _PACKAGE}
    parents = {
        ".".join(name.split(".")[:depth])
        for name in ours
        for depth in range(1, name.count(".") + 1)
    }
    return frozenset(ours | parents), ast.dump(tree, annotate_fields=False)


def _find(name: str) -> Path | None:
    """File of a dotted module name, or None if it names no module of the library."""
    base = _LIBRARY.parent.joinpath(*name.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None


#: Files up to this size are told apart by their content, larger ones by size and time [bytes].
_READ_WHOLE_BYTES = 10_000_000


def file_mark(path: str | Path) -> str:
    """Return a text that changes when a file does: soon, also for files of gigabytes."""
    state = Path(path).stat()
    if state.st_size > _READ_WHOLE_BYTES:
        return f"{state.st_size} bytes of {state.st_mtime_ns} ns"
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
