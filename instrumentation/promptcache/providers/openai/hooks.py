"""The hooks of OpenAI's SDK, with Azure's clients in it, and of its WebSockets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from promptcache.patching.hook import Hook
from promptcache.patching.stainless import StainlessHooks, StainlessSDK
from promptcache.providers.openai import wire
from promptcache.providers.openai.websocket import BASE_CONNECTION_HOOKS, websocket_connection_hooks

AZURE_CLIENTS: Final = frozenset({"BaseAzureClient", "AzureOpenAI", "AsyncAzureOpenAI"})


def _provider_of_client(client: Any) -> str:
    class_names = {base.__name__ for base in type(client).__mro__}
    return "azure.ai.openai" if AZURE_CLIENTS & class_names else "openai"


HOOKS: Final[Mapping[str, tuple[Hook, ...]]] = {
    "openai._base_client": StainlessHooks(StainlessSDK(wire.ROUTES, _provider_of_client)).hooks,
    "openai._websocket_connection": BASE_CONNECTION_HOOKS,
    "openai.resources.responses.responses": websocket_connection_hooks(
        "ResponsesConnection", "AsyncResponsesConnection", is_optional=True
    ),
    "openai.resources.realtime.realtime": websocket_connection_hooks(
        "RealtimeConnection", "AsyncRealtimeConnection"
    ),
}
"""The hooks of each module of the SDK."""
