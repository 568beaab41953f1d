"""The rules that keep the house clean (docs/architecture.md), checked on the source itself."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from promptcache.patching.registry import HOOK_MODULES, import_hooks
from promptcache.providers.registry import SDKS
from tests.support.import_graph import (
    EMULATOR,
    EXPORTERS,
    HOOK_STEMS,
    PROMPTCACHE,
    ROOT,
    TESTING,
    imported_modules,
    package_of_file,
    package_of_module,
)

SOURCES = sorted(
    path for root in (PROMPTCACHE, EMULATOR, TESTING, EXPORTERS) for path in root.rglob("*.py")
)

LAYERS = (
    {"model", "version"},
    {"common"},
    {"settings"},
    {"providers", "prefix"},
    {"prices"},
    {"diagnosis", "semconv"},
    {"telemetry", "harness"},
    {"patching"},
    {"instrumentor"},
    {"cli"},
)
"""Imports run from a later layer to an earlier one, or stay inside one package."""
ALL_LAYERED = set[str]().union(*LAYERS)
TABLE_READER = PROMPTCACHE / "harness" / "recorded_traffic.py"
"""Loaded only by a plan that is given a table."""

MAX_FUNCTION_LINES = 40


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def layer_of(package: str | None) -> int:
    return next(number for number, packages in enumerate(LAYERS) if package in packages)


@pytest.mark.parametrize("path", sorted(PROMPTCACHE.rglob("*.py")), ids=named)
def test_imports_run_one_way(path: Path) -> None:
    package = package_of_file(path)
    if package in (None, "__init__"):  # the front door may import everything
        return
    imports = {package_of_module(module) for module in imported_modules(path)} - {None, package}
    if package == "cli" or path == TABLE_READER:
        imports = {imported for imported in imports if imported in ALL_LAYERED}
    wrong = {one for one in imports if one not in ALL_LAYERED or layer_of(one) >= layer_of(package)}
    assert not wrong, f"{named(path)} imports {wrong} from its own layer or a later one"


def test_the_emulator_imports_nothing_of_promptcache() -> None:
    wrong = [
        (named(path), module)
        for path in EMULATOR.rglob("*.py")
        for module in imported_modules(path)
        if module.split(".")[0] in {"promptcache", "promptcache_testing", "promptcache_exporters"}
    ]
    assert not wrong


def test_nothing_imports_the_command_line() -> None:
    wrong = [
        (named(path), module)
        for path in (*PROMPTCACHE.rglob("*.py"), *EXPORTERS.rglob("*.py"), *EMULATOR.rglob("*.py"))
        if path.parent != PROMPTCACHE / "cli"
        for module in imported_modules(path)
        if module.startswith("promptcache.cli")
    ]
    assert not wrong


def test_only_a_command_imports_what_compiles_the_price_table() -> None:
    build = PROMPTCACHE / "prices" / "build"
    wrong = [
        (named(path), module)
        for path in (*PROMPTCACHE.rglob("*.py"), *EXPORTERS.rglob("*.py"))
        if path.parent != build and path != PROMPTCACHE / "cli" / "prices.py"
        for module in imported_modules(path)
        if module.startswith("promptcache.prices.build")
    ]
    assert not wrong


def test_production_imports_nothing_of_the_emulator() -> None:
    wrong = [
        named(path)
        for path in (*PROMPTCACHE.rglob("*.py"), *EXPORTERS.rglob("*.py"))
        if path != PROMPTCACHE / "cli" / "emulate.py"
        and any(module.split(".")[0] == "promptcache_emulator" for module in imported_modules(path))
    ]
    assert not wrong


def test_the_command_imports_the_emulator_inside_a_function() -> None:
    tree = ast.parse((PROMPTCACHE / "cli" / "emulate.py").read_text())
    at_import = [ast.unparse(node) for node in tree.body if not isinstance(node, ast.FunctionDef)]
    assert not [text for text in at_import if "promptcache_emulator" in text and "import" in text]
    assert "promptcache_emulator" in ast.unparse(tree)


def test_only_a_command_imports_the_pytest_plugin() -> None:
    commands = (PROMPTCACHE / "cli" / "check.py", PROMPTCACHE / "cli" / "check_runs.py")
    wrong = [
        named(path)
        for path in SOURCES
        if TESTING not in path.parents
        and path not in commands
        and any(module.split(".")[0] == "promptcache_testing" for module in imported_modules(path))
    ]
    assert not wrong


LIST_LOADED_PATCHING = """
import importlib, sys
for name in {modules!r}:
    importlib.import_module(name)
print(*[name for name in sys.modules if {patching!r} & set(name.split("."))])
"""


def test_providers_load_no_patching() -> None:
    modules = [
        ".".join(path.relative_to(PROMPTCACHE.parent).with_suffix("").parts).removesuffix(
            ".__init__"
        )
        for path in sorted((PROMPTCACHE / "providers").rglob("*.py"))
        if path.stem not in HOOK_STEMS
    ]
    program = LIST_LOADED_PATCHING.format(modules=modules, patching={"patching", *HOOK_STEMS})
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert loaded.stdout.strip() == ""


def test_the_registry_names_every_hook_module() -> None:
    """A row of the registry names hooks by a string, so that a rename would lose them silently."""
    files = {path.parent.name for path in (PROMPTCACHE / "providers").glob("*/hooks.py")}
    assert {f"{folder}.hooks" for folder in files} == {sdk.hooks for sdk in SDKS}
    for module, hooks in HOOK_MODULES.items():
        assert import_hooks(module), f"{hooks} has no hooks for {module}"


@pytest.mark.parametrize("path", SOURCES, ids=named)
def test_functions_are_short(path: Path) -> None:
    text = path.read_text()
    long = [
        f"{node.name}: {(node.end_lineno or 0) - node.lineno + 1} lines"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno + 1 > MAX_FUNCTION_LINES
    ]
    assert not long


@pytest.mark.parametrize("path", SOURCES, ids=named)
def test_attribute_names_are_defined_in_one_file(path: Path) -> None:
    matches = re.findall(r'"((?:gen_ai|promptcache)\.[a-z_.]+)"', path.read_text())
    assert path.name == "semconv.py" or not set(matches) - {"promptcache.db"}


@pytest.mark.parametrize("path", SOURCES, ids=named)
def test_only_one_module_catches_every_exception(path: Path) -> None:
    matches = re.findall(r"except (?:Base)?Exception|except:", path.read_text())
    assert len(matches) == (1 if path == PROMPTCACHE / "common" / "safely.py" else 0)


def test_no_module_is_named_utils_helpers_or_misc() -> None:
    assert not [named(path) for path in SOURCES if path.stem in {"utils", "helpers", "misc"}]


def test_no_page_or_comment_cites_a_document_outside_the_repository() -> None:
    cited = re.compile(r"\bDESIGN(?:\.md)? section|\bMISSION\b|\bshared/reference\b")
    folders = ("instrumentation", "exporters", "docs", "examples", "benchmarks", "deploy")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()]
    texts = [path for path in files if path.suffix in {".py", ".md", ".yaml"}]
    assert not [named(path) for path in texts if cited.search(path.read_text())]
