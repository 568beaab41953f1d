"""Read from the source which package of this project imports which."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
PROMPTCACHE: Final = ROOT / "instrumentation" / "promptcache"
EMULATOR: Final = ROOT / "instrumentation" / "promptcache_emulator"
TESTING: Final = ROOT / "instrumentation" / "promptcache_testing"
EXPORTERS: Final = ROOT / "exporters" / "promptcache_exporters"
HOOK_STEMS: Final = {"hooks", "websocket"}
"""Modules in a provider's folder that belong to the layer `patching`."""


def imported_modules(path: Path) -> Iterator[str]:
    """Yield the modules, and names in modules, that a file imports at any depth."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def package_of_module(module: str) -> str | None:
    """Return the package of a dotted name, or None if it is not of this project."""
    top, *rest = module.split(".")
    if top in ("promptcache_emulator", "promptcache_testing"):
        return top
    if top == "promptcache_exporters" and rest and (EXPORTERS / rest[0]).is_dir():
        return f"{top}.{rest[0]}"
    if top != "promptcache" or not rest or rest[0] == "version":
        return None
    if rest[0] == "providers" and HOOK_STEMS & set(rest):
        return "patching"
    exists = (PROMPTCACHE / rest[0]).is_dir() or (PROMPTCACHE / f"{rest[0]}.py").exists()
    return rest[0] if exists else None


def package_of_file(path: Path) -> str | None:
    """Return the package of a file, or None for the root module of an import package."""
    source_root = ROOT / path.relative_to(ROOT).parts[0]
    return package_of_module(".".join(path.relative_to(source_root).with_suffix("").parts))


def package_imports() -> dict[str, set[str]]:
    """Map each package of this project to the packages of this project that it imports."""
    graph: dict[str, set[str]] = {}
    for root in (PROMPTCACHE, EMULATOR, TESTING, EXPORTERS):
        for path in root.rglob("*.py"):
            package = package_of_file(path)
            if package is None or package == "__init__":
                continue
            imports = {package_of_module(module) for module in imported_modules(path)}
            graph.setdefault(package, set()).update(
                imported for imported in imports if imported not in (None, package)
            )
    return graph
