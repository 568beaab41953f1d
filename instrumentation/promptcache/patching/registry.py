"""Which modules of which SDKs we stand at, and which of ours knows how: one row each."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Final, cast

from promptcache.patching.wrapping import Hook

HOOK_MODULES: Final[Mapping[str, str]] = {
    "openai._base_client": "openai",
    "openai._websocket_connection": "openai",
    "openai.resources.responses.responses": "openai",
    "openai.resources.realtime.realtime": "openai",
    "anthropic._base_client": "anthropic",
    "groq._base_client": "groq",
    "google.genai._api_client": "google",
    "google.genai._gaos.basesdk": "google",
    "google.genai._interactions._base_client": "google",
    "botocore.client": "bedrock",
    "botocore.eventstream": "bedrock",
    "botocore.response": "bedrock",
    "aiobotocore.client": "bedrock",
    "aiobotocore.eventstream": "bedrock",
    "aiobotocore.response": "bedrock",
    "litellm.llms.custom_httpx.http_handler": "litellm",
}
"""Module of an SDK -> module beside this one, whose `TARGETS` name the functions there."""

REQUIRED_MODULES: Final[Mapping[str, str]] = {
    "openai": "openai._base_client",
    "anthropic": "anthropic._base_client",
    "groq": "groq._base_client",
    "google.genai": "google.genai._api_client",
}
"""What each SDK has imported once it is imported itself: where it has not, that module is gone."""


def load_hooks(sdk_module: str) -> tuple[Hook, ...]:
    """Where to stand in `sdk_module`: only now is our side of its SDK loaded, for most processes use one of them."""
    ours = import_module(f"promptcache.providers.{HOOK_MODULES[sdk_module]}.hooks")
    return cast("Mapping[str, tuple[Hook, ...]]", ours.HOOKS)[sdk_module]
