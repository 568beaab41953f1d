"""The registry of providers is complete, free of contradictions and light to import."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from itertools import chain
from pathlib import Path

import pytest

import promptcache.providers
import promptcache_exporters
from promptcache.patching.registry import HOOK_MODULES, REQUIRED_MODULES, import_hooks
from promptcache.providers.cache_rules import CacheRule, cache_rule_for, load_cache_rules
from promptcache.providers.hosts import provider_for_host
from promptcache.providers.registry import (
    PROVIDERS,
    SDK,
    SDKS,
    Provider,
    import_provider_module,
    iter_routes_of_all_providers,
)
from promptcache.providers.wire_format import Route

FOLDER = Path(promptcache.providers.__path__[0])
EXPORTERS = Path(promptcache_exporters.__path__[0])


def modules_in_folders(stem: str) -> set[str]:
    """Return the modules of one kind in the folders of all providers."""
    return {f"{path.parent.name}.{stem}" for path in FOLDER.glob(f"*/{stem}.py")}


def test_every_name_belongs_to_one_row() -> None:
    names = [name for row in PROVIDERS for name in {row.name, *row.aliases, *row.litellm_names}]
    assert len(names) == len(set(names))


def test_no_host_belongs_to_two_rows() -> None:
    rows = [(host, row.name) for row in PROVIDERS for host in row.hosts]
    overlapping = [
        (host, other)
        for host, _ in rows
        for other, _ in rows
        if host != other and host.endswith(f".{other}")
    ]
    assert len({host for host, _ in rows}) == len(rows)
    assert not overlapping
    assert {name for host, name in rows if provider_for_host(host, "", {}) != name} == set()


@pytest.mark.parametrize("row", PROVIDERS, ids=lambda row: row.name)
def test_wire_formats_and_rules_of_a_row_exist(row: Provider) -> None:
    if row.wire:
        routes: tuple[Route, ...] = import_provider_module(row.wire).ROUTES
        assert routes
        assert set(routes) <= set(iter_routes_of_all_providers())
    if row.rules:
        rules: tuple[CacheRule, ...] = import_provider_module(row.rules).CACHE_RULES
        assert set(rules) <= set(load_cache_rules())
        assert [rule for rule in rules if re.fullmatch(rule.provider_pattern, row.name)] or (
            row.name.startswith("azure.") and row.rules.endswith("openai.rules")
        )


def test_rules_of_a_model_family_win_over_rules_of_a_provider() -> None:
    assert cache_rule_for("azure.ai.foundry", "claude-opus-4-5").lookback == 20
    assert cache_rule_for("azure.ai.foundry", "gpt-4o").lookback is None


@pytest.mark.parametrize("sdk", SDKS, ids=lambda sdk: sdk.trigger_modules[0])
def test_hooks_of_an_sdk_exist_and_cover_its_modules(sdk: SDK) -> None:
    assert set(import_provider_module(sdk.hooks).HOOKS) == set(sdk.hooked_modules)
    assert all(import_hooks(module) for module in sdk.hooked_modules)
    assert sdk.required_module in {"", *sdk.hooked_modules}


def test_no_two_sdks_share_a_module() -> None:
    modules = list(chain.from_iterable(sdk.hooked_modules for sdk in SDKS))
    assert len(set(modules)) == len(modules) == len(HOOK_MODULES)
    assert set(REQUIRED_MODULES) <= set(chain.from_iterable(sdk.trigger_modules for sdk in SDKS))


def test_every_module_of_a_provider_folder_is_in_the_registry() -> None:
    assert modules_in_folders("wire") == {row.wire for row in PROVIDERS if row.wire}
    assert modules_in_folders("rules") == {row.rules for row in PROVIDERS if row.rules}
    assert modules_in_folders("hooks") == {sdk.hooks for sdk in SDKS}


IMPORT_PROGRAM = """
import sys
import promptcache.instrumentor
before = set(sys.modules)
import promptcache.providers.registry
print(*sys.modules)
print(*set(sys.modules) - before)
"""
CALL_MODULES = re.compile(r"promptcache\.(providers\.\w+\.|patching|diagnosis|prefix|prices|cli)")


def test_the_registry_loads_no_hooks_and_no_patching() -> None:
    command = [sys.executable, "-c", IMPORT_PROGRAM]
    process = subprocess.run(command, capture_output=True, text=True, check=True)
    loaded, added = (set(line.split()) for line in process.stdout.splitlines())
    assert [name for name in loaded if CALL_MODULES.match(name)] == []
    assert added <= {"promptcache.providers", "promptcache.providers.registry"}


def strings_in(path: Path) -> set[str]:
    nodes = ast.walk(ast.parse(path.read_text()))
    return {
        node.value
        for node in nodes
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


def test_providers_without_code_are_named_in_the_registry_only() -> None:
    """A second table of providers would be a second place to edit. Price lists use other names."""
    names = {row.name for row in PROVIDERS if not row.sdk and row.name not in row.price_vendors}
    names -= {row.name for row in PROVIDERS if not row.price_vendors}
    assert {"x_ai", "azure.ai.openai", "gcp.vertex_ai"} <= names
    elsewhere = {
        str(path): named
        for path in (*FOLDER.parent.rglob("*.py"), *EXPORTERS.rglob("*.py"))
        if path.parent.parent != FOLDER
        and path.name != "registry.py"
        and (named := names & strings_in(path))
    }
    assert elsewhere == {}
