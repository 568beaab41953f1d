"""The rules that keep the house clean (docs/architecture.md), checked on the source itself."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from promptcache.patching.registry import HOOK_MODULES, load_hooks
from promptcache.providers.registry import SDKS

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "instrumentation" / "promptcache"
EMULATOR = ROOT / "instrumentation" / "promptcache_emulator"
EXPORTERS = ROOT / "exporters" / "promptcache_exporters"
SOURCES = sorted([*PACKAGE.rglob("*.py"), *EMULATOR.rglob("*.py"), *EXPORTERS.rglob("*.py")])

LAYERS = (
    {"model", "version"},
    {"common"},
    {"settings"},
    {"providers", "prefix"},
    {"prices"},
    {"diagnosis", "semconv"},
    {"telemetry"},
    {"patching"},
    {"instrumentor"},
    {"cli"},
)
"""Imports run from a later layer to an earlier one, or stay inside one package."""
HOOKS = {"hooks", "websocket"}
"""Modules in a provider's folder that count as the layer `patching`."""

MAX_FUNCTION_LINES = 40


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def package_of(path: Path) -> str:
    """The package below `promptcache` that a file belongs to; a provider's hooks belong to `patching`."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return "patching" if parts[0] == "providers" and parts[-1] in HOOKS else parts[0]


def layer_of(package: str) -> int:
    return next(number for number, packages in enumerate(LAYERS) if package in packages)


def imported_modules(path: Path) -> Iterator[str]:
    """The modules that a file imports, at any depth of its code."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def imported_packages(path: Path) -> Iterator[str]:
    """The packages below `promptcache` that a file imports."""
    for module in imported_modules(path):
        parts = module.split(".")
        if parts[0] == "promptcache" and len(parts) > 1 and (PACKAGE / parts[1]).exists():
            hooks = parts[1] == "providers" and HOOKS & set(parts)
            yield "patching" if hooks else parts[1]
        elif parts[0] == "promptcache" and (PACKAGE / f"{parts[1]}.py").exists():
            yield parts[1]


@pytest.mark.parametrize(
    "path",
    [
        path
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.name != "__init__.py" or path.parent != PACKAGE
    ],
    ids=named,
)
def test_imports_run_one_way(path: Path) -> None:
    own = package_of(path)
    wrong = {
        package
        for package in imported_packages(path)
        if package != own and layer_of(package) >= layer_of(own)
    }
    assert not wrong, f"{named(path)} imports {wrong} from its own layer or a later one"


def test_the_emulator_shares_nothing_with_the_code_that_it_judges() -> None:
    wrong = [
        (named(path), module)
        for path in EMULATOR.rglob("*.py")
        for module in imported_modules(path)
        if module.split(".")[0] in {"promptcache", "promptcache_exporters"}
    ]
    assert not wrong


def test_nothing_imports_the_command_line() -> None:
    wrong = [
        (named(path), module)
        for path in (*PACKAGE.rglob("*.py"), *EXPORTERS.rglob("*.py"), *EMULATOR.rglob("*.py"))
        if path.parent != PACKAGE / "cli"
        for module in imported_modules(path)
        if module.startswith("promptcache.cli")
    ]
    assert not wrong


def test_only_a_command_imports_what_compiles_the_price_table() -> None:
    build = PACKAGE / "prices" / "build"
    wrong = [
        (named(path), module)
        for path in (*PACKAGE.rglob("*.py"), *EXPORTERS.rglob("*.py"))
        if path.parent != build and path != PACKAGE / "cli" / "prices.py"
        for module in imported_modules(path)
        if module.startswith("promptcache.prices.build")
    ]
    assert not wrong


def test_production_imports_nothing_of_the_emulator() -> None:
    wrong = [
        named(path)
        for path in (*PACKAGE.rglob("*.py"), *EXPORTERS.rglob("*.py"))
        if path != PACKAGE / "cli" / "emulate.py"
        and any(module.split(".")[0] == "promptcache_emulator" for module in imported_modules(path))
    ]
    assert not wrong


def test_the_command_imports_the_emulator_inside_a_function() -> None:
    tree = ast.parse((PACKAGE / "cli" / "emulate.py").read_text())
    at_import = [ast.unparse(node) for node in tree.body if not isinstance(node, ast.FunctionDef)]
    assert not [text for text in at_import if "promptcache_emulator" in text and "import" in text]
    assert "promptcache_emulator" in ast.unparse(tree)


LIST_LOADED_PATCHING = """
import importlib, sys
for name in {modules!r}:
    importlib.import_module(name)
print(*[name for name in sys.modules if {patching!r} & set(name.split("."))])
"""


def test_providers_load_no_patching() -> None:
    modules = [
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
        for path in sorted((PACKAGE / "providers").rglob("*.py"))
        if path.stem not in HOOKS
    ]
    program = LIST_LOADED_PATCHING.format(modules=modules, patching={"patching", *HOOKS})
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert loaded.stdout.strip() == ""


def test_the_registry_names_every_hook_module() -> None:
    """A row of the registry names hooks by a string, so that a rename would lose them silently."""
    files = {path.parent.name for path in (PACKAGE / "providers").glob("*/hooks.py")}
    assert {f"{folder}.hooks" for folder in files} == {sdk.hooks for sdk in SDKS}
    for module, hooks in HOOK_MODULES.items():
        assert load_hooks(module), f"{hooks} has no hooks for {module}"


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
def test_attribute_names_live_in_one_file(path: Path) -> None:
    found = re.findall(r'"((?:gen_ai|promptcache)\.[a-z_.]+)"', path.read_text())
    assert path.name == "semconv.py" or not set(found) - {"promptcache.db"}


@pytest.mark.parametrize("path", SOURCES, ids=named)
def test_broad_excepts_live_in_one_place(path: Path) -> None:
    found = re.findall(r"except (?:Base)?Exception|except:", path.read_text())
    assert len(found) == (1 if path == PACKAGE / "common" / "safely.py" else 0)


def test_there_is_no_drawer_for_everything() -> None:
    assert not [named(path) for path in SOURCES if path.stem in {"utils", "helpers", "misc"}]
