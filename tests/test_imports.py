"""A process that never calls a model pays little: the entry point loads next to nothing."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from tests.support.fresh_process import run_after_instrumenting

SDKS = ("openai", "anthropic", "google.genai", "botocore")
UNNEEDED_PACKAGES = (
    "opentelemetry.sdk",
    "opentelemetry.exporter",
    "typer",
    "rich",
    "starlette",
    "genai_prices",
)
UNNEEDED_AT_START = (
    "promptcache.model",
    "promptcache.semconv",
    "promptcache.telemetry.invocation",
    "promptcache.diagnosis",
    "promptcache.patching.registry",
    "promptcache_emulator",
)

UNNEEDED_FOR_OPENAI = (
    "promptcache.diagnosis",
    "promptcache.prices",
    "promptcache.providers.cache_rules",
    "promptcache.providers.anthropic.hooks",
    "promptcache.providers.google.hooks",
    "promptcache.providers.bedrock.hooks",
    "promptcache_emulator",
)


@pytest.mark.parametrize("name", sorted({*UNNEEDED_AT_START, *UNNEEDED_FOR_OPENAI}))
def test_the_modules_that_must_not_be_loaded_exist(name: str) -> None:
    assert find_spec(name), "a module was renamed, so that the tests below assert nothing about it"


IS_PATCHED = "hasattr(openai._base_client.SyncAPIClient.request, '__wrapped__')"


def print_loaded(names: tuple[str, ...]) -> str:
    """Return a statement that prints which modules of `names` are loaded."""
    return f"print(*[name for name in {names!r} if name in sys.modules])"


def test_the_entry_point_loads_no_sdk_and_few_of_our_modules() -> None:
    program = print_loaded((*SDKS, *UNNEEDED_PACKAGES, *UNNEEDED_AT_START))
    assert run_after_instrumenting(program) == ""


def test_importing_the_first_sdk_patches_it() -> None:
    assert run_after_instrumenting(f"import openai; print({IS_PATCHED})") == "True"


def test_importing_one_sdk_loads_nothing_for_other_sdks_or_for_calls() -> None:
    program = f"import openai; {print_loaded((*UNNEEDED_PACKAGES, *UNNEEDED_FOR_OPENAI))}"
    assert run_after_instrumenting(program) == ""


def test_an_sdk_imported_while_uninstrumented_is_patched_later() -> None:
    program = f"""
instrumentor.uninstrument()
import openai
print({IS_PATCHED})
instrumentor.instrument()
print({IS_PATCHED})
"""
    assert run_after_instrumenting(program) == "False\nTrue"
