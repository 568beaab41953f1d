"""Map the modules of the SDKs to our hooks, from the rows of the registry of providers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, cast

from promptcache.patching.hook import Hook
from promptcache.providers.registry import SDKS, import_provider_module

HOOK_MODULES: Final[Mapping[str, str]] = {
    module: sdk.hooks for sdk in SDKS for module in sdk.hooked_modules
}
"""Module of an SDK -> our module (`openai.hooks`) whose `HOOKS` name the functions to wrap."""

REQUIRED_MODULES: Final[Mapping[str, str]] = {
    sdk.trigger_modules[0]: sdk.required_module for sdk in SDKS if sdk.required_module
}
"""Module of an SDK -> the module that it always imports. If the latter is missing, the SDK's
release is newer than ours."""


def import_hooks(sdk_module: str) -> tuple[Hook, ...]:
    """Return the hooks of `sdk_module`.

    This imports the provider's `hooks.py`, so it must not run before the SDK is imported: most
    processes use one SDK and should not pay for the others.
    """
    module = import_provider_module(HOOK_MODULES[sdk_module])
    return cast("Mapping[str, tuple[Hook, ...]]", module.HOOKS)[sdk_module]
