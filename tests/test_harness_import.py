"""The harness needs no OpenTelemetry, and importing it loads next to nothing."""

from __future__ import annotations

import subprocess
import sys

import promptcache

PROGRAM = """
import sys
before = set(sys.modules)
{statement}
loaded = sorted(set(sys.modules) - before)
print(*[name for name in loaded if name.partition(".")[0] in {packages!r}])
"""


def modules_loaded_by(statement: str, *packages: str) -> list[str]:
    """Return the modules of `packages` that a statement loads in a fresh interpreter."""
    program = PROGRAM.format(statement=statement, packages=packages)
    arguments = [sys.executable, "-c", program]
    return subprocess.run(arguments, capture_output=True, text=True, check=True).stdout.split()


def test_the_harness_loads_no_opentelemetry() -> None:
    statement = "from promptcache import CacheTracker, Prompt, Tool"
    assert modules_loaded_by(statement, "opentelemetry", "wrapt", "openai", "anthropic") == []


def test_a_whole_conversation_loads_no_opentelemetry() -> None:
    statement = (
        "from promptcache import Prompt\n"
        "chat = Prompt('p', system='text').chat(wire='anthropic', model='claude-opus-4-8')\n"
        "chat.ask('Hello')\n"
        "chat.add({'role': 'assistant', 'type': 'message', 'content': [], 'usage': {}})"
    )
    assert modules_loaded_by(statement, "opentelemetry", "wrapt") == []


def test_the_import_loads_neither_wires_nor_prices_nor_providers() -> None:
    loaded = modules_loaded_by("from promptcache import CacheTracker, Prompt", "promptcache")
    parts = {part for name in loaded for part in name.split(".")}
    assert parts.isdisjoint({"providers", "prices", "model", "diagnosis", "chat", "telemetry"})


def test_the_package_still_offers_each_name() -> None:
    for name in promptcache.__all__:
        assert getattr(promptcache, name), name
    assert set(promptcache.__all__) <= set(dir(promptcache))


def test_an_unknown_name_is_an_attribute_error() -> None:
    assert not hasattr(promptcache, "no_such_name")
