"""The rules that keep the house clean (docs/decisions), checked on the source itself."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "instrumentation" / "promptcache"
EXPORTERS = ROOT / "exporters" / "promptcache_exporters"
SOURCES = sorted([*PACKAGE.rglob("*.py"), *EXPORTERS.rglob("*.py")])

LAYERS = (
    {"model", "version", "settings", "plain", "generations", "grain", "causes", "exits", "safety"},
    {"providers", "prefix", "rules", "memory", "prices", "storage"},
    {"diagnose", "attributes"},
    {"spans", "meters", "ambient"},
    {"observer"},
    {"observe"},
    {"results"},
    {"patch"},
    {"instrumentor"},
)
"""Imports run from a later layer to an earlier one, or stay inside."""
APART = {"emulator", "cli", "__init__"}
"""The emulator judges the rest and shares nothing with it; the command line and the front door may know all."""

LONGEST_FUNCTION = 40


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def module(path: Path) -> str:
    """The part of the package that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def layer(part: str) -> int:
    return next((number for number, parts in enumerate(LAYERS) if part in parts), len(LAYERS))


def imports(path: Path) -> Iterator[str]:
    """The parts of our package that a file imports, at any depth of its code."""
    inside = path.relative_to(PACKAGE).parts[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            above = inside[: len(inside) - node.level + 1]
            parts = [*above, *(node.module or "").split(".")] if node.module else [*above]
            yield from [parts[0]] if parts else [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("promptcache."):
            yield (node.module or "").split(".")[1]


@pytest.mark.parametrize(
    "path", [path for path in sorted(PACKAGE.rglob("*.py")) if module(path) not in APART], ids=named
)
def test_imports_run_one_way(path: Path) -> None:
    own = module(path)
    wrong = [
        part
        for part in imports(path)
        if part != own and layer(part) >= layer(own) and part not in LAYERS[0]
    ]
    assert not wrong, f"{named(path)} imports {wrong} from its own layer or a later one"


def test_emulator_shares_no_rule_with_what_it_judges() -> None:
    judged = {"rules", "prefix", "memory", "diagnose", "prices", "providers"}
    assert not [
        (named(path), part)
        for path in (PACKAGE / "emulator").glob("*.py")
        for part in imports(path)
        if part in judged
    ]


@pytest.mark.parametrize("path", SOURCES, ids=named)
def test_functions_are_short(path: Path) -> None:
    text = path.read_text()
    long = [
        f"{node.name}: {(node.end_lineno or 0) - node.lineno + 1} lines"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno + 1 > LONGEST_FUNCTION
    ]
    assert not long


@pytest.mark.parametrize("path", SOURCES, ids=named)
def test_attribute_names_live_in_one_file(path: Path) -> None:
    found = re.findall(r'"((?:gen_ai|promptcache)\.[a-z_.]+)"', path.read_text())
    assert path.name == "attributes.py" or not set(found) - {"promptcache.db"}


@pytest.mark.parametrize("path", SOURCES, ids=named)
def test_broad_excepts_live_in_one_place(path: Path) -> None:
    found = re.findall(r"except (?:Base)?Exception|except:", path.read_text())
    assert len(found) == (1 if path == PACKAGE / "safety.py" else 0)


def test_there_is_no_drawer_for_everything() -> None:
    assert not [named(path) for path in SOURCES if path.stem in {"utils", "helpers", "misc"}]
