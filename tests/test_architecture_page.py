"""docs/architecture.md shows the packages, files and functions that really exist."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest

from tests.support.import_graph import package_imports

ROOT: Final = Path(__file__).parent.parent
PAGE: Final = (ROOT / "docs" / "architecture.md").read_text()
FILES_AND_SYMBOLS: Final = re.findall(
    r"\| `((?:instrumentation|exporters)/[\w/]+\.py)` \| (?:`([\w.]+)`)?", PAGE
)
PATHS: Final = re.findall(r"`((?:[a-z_]+/)+[a-z_]+\.(?:py|md))`", PAGE)


def reachable_packages(graph: Mapping[str, set[str]], package: str) -> set[str]:
    """Return every package that `package` imports, directly or through another package."""
    packages: set[str] = set()
    new = set(graph.get(package, ()))
    while new:
        packages |= new
        new = {imported for importer in new for imported in graph.get(importer, ())} - packages
    return packages


def test_the_diagram_equals_the_import_graph() -> None:
    drawn: dict[str, set[str]] = {}
    for importer, imported in re.findall(r"^    ([\w.]+) --> ([\w.]+)$", PAGE, re.MULTILINE):
        drawn.setdefault(importer, set()).add(imported)
    real = package_imports()
    assert {package: drawn.get(package, set()) - real.get(package, set()) for package in drawn} == {
        package: set[str]() for package in drawn
    }, "an arrow that is no import"
    hidden = {
        package: imports - reachable_packages(drawn, package) for package, imports in real.items()
    }
    assert not any(hidden.values()), "an import that no arrow reaches"


def test_every_package_has_a_paragraph() -> None:
    described = set(re.findall(r"^\*\*`([\w]+)`\*\*", PAGE, re.MULTILINE))
    real = package_imports()
    packages = {*real, *(imported for imports in real.values() for imported in imports)}
    assert described == {package.partition(".")[0] for package in packages}


@pytest.mark.parametrize(("path", "symbol"), FILES_AND_SYMBOLS)
def test_a_symbol_that_the_page_names_exists(path: str, symbol: str) -> None:
    scope: ast.Module | ast.ClassDef = ast.parse((ROOT / path).read_text())
    for name in symbol.split(".") if symbol else ():
        statements = [node for node in scope.body if name in names_bound_by(node)]
        assert statements, f"{path} has no {symbol}"
        if isinstance(statements[0], ast.ClassDef):
            scope = statements[0]


def names_bound_by(node: ast.stmt) -> set[str]:
    """Return the names that a statement defines in its scope."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    targets = node.targets if isinstance(node, ast.Assign) else []
    if isinstance(node, ast.AnnAssign):
        targets = [node.target]
    return {target.id for target in targets if isinstance(target, ast.Name)}


@pytest.mark.parametrize("path", sorted(set(PATHS)))
def test_a_file_that_the_page_names_exists(path: str) -> None:
    folders = (ROOT, ROOT / "instrumentation/promptcache", ROOT / "exporters/promptcache_exporters")
    assert any((folder / path).exists() for folder in folders)


def test_the_life_of_a_call_has_ten_steps() -> None:
    assert re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE) == [str(n) for n in range(1, 11)]


def test_a_name_of_the_glossary_exists() -> None:
    rows = re.findall(
        r"^\|[^|\n]+\|([^|\n]*)\|", (ROOT / "docs/glossary.md").read_text(), re.MULTILINE
    )
    names = {name for cell in rows for name in re.findall(r"`([\w./]+)`", cell)}
    folders = (ROOT / "instrumentation", ROOT / "exporters")
    code = "\n".join(path.read_text() for folder in folders for path in folder.rglob("*.py"))
    words = set(re.findall(r"\w+", code))
    files = {path.name for folder in folders for path in folder.rglob("*")}
    missing = {
        name
        for name in names
        if not {*name.strip("/").rsplit("/", 1)[-1].split(".")} <= words
        and name.strip("/").rsplit("/", 1)[-1] not in files
    }
    assert not missing
