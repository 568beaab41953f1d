"""What a process pays that never calls a model: the entry point waits for an SDK with next to nothing loaded."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

START = """
import sys
from importlib.metadata import entry_points
(found,) = [entry for entry in entry_points(group="opentelemetry_instrumentor") if entry.name == "promptcache"]
instrumentor = found.load()()
instrumentor.instrument()
"""
SDKS = ("openai", "anthropic", "google.genai", "botocore")
OTHERS = (
    "opentelemetry.sdk",
    "opentelemetry.exporter",
    "typer",
    "rich",
    "starlette",
    "genai_prices",
)
OURS = (
    "promptcache.model",
    "promptcache.semconv",
    "promptcache.telemetry.invocation",
    "promptcache.diagnosis",
    "promptcache.patching.registry",
    "promptcache_emulator",
)

UNUSED = (
    "promptcache.diagnosis",
    "promptcache.prices",
    "promptcache.providers.cache_rules",
    "promptcache.providers.anthropic.hooks",
    "promptcache.providers.google.hooks",
    "promptcache.providers.bedrock.hooks",
    "promptcache_emulator",
)


def run(program: str) -> str:
    """What a fresh process prints."""
    environ = {
        name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "COV_"))
    }
    done = subprocess.run(
        [sys.executable, "-c", START + program], capture_output=True, text=True, env=environ
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


@pytest.mark.parametrize("name", sorted({*OURS, *UNUSED}))
def test_the_modules_that_must_not_be_loaded_exist(name: str) -> None:
    assert find_spec(name), "a module was renamed, so that the tests below assert nothing about it"


def test_the_entry_point_loads_no_sdk_and_little_of_ours() -> None:
    assert (
        run(f"print(*[name for name in {(*SDKS, *OTHERS, *OURS)!r} if name in sys.modules])") == ""
    )


def test_the_first_sdk_loads_its_side_of_us() -> None:
    stands = "print(hasattr(openai._base_client.SyncAPIClient.request, '__wrapped__'))"
    assert run(f"import openai; {stands}") == "True"


def test_an_sdk_loads_nothing_for_the_others_and_nothing_that_only_a_call_needs() -> None:
    assert (
        run(
            f"import openai; print(*[name for name in {(*OTHERS, *UNUSED)!r} if name in sys.modules])"
        )
        == ""
    )


def test_an_sdk_imported_while_we_were_off_is_found_when_we_are_on_again() -> None:
    stands = "print(hasattr(openai._base_client.SyncAPIClient.request, '__wrapped__'))"
    assert run(
        f"instrumentor.uninstrument(); import openai; {stands}; instrumentor.instrument(); {stands}"
    ) == ("False\nTrue")
