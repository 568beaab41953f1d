"""OpenAI's SDK, and Azure's clients in it: the generator's choke point, and its WebSockets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from promptcache.patching.stainless import StainlessHooks, StainlessSDK
from promptcache.patching.wrapping import Hook
from promptcache.providers.openai import wire as openai
from promptcache.providers.openai.websocket import BASE_CONNECTION_HOOKS, connection_hooks

AZURE_CLIENTS: Final = frozenset({"BaseAzureClient", "AzureOpenAI", "AsyncAzureOpenAI"})


def _provider_of_client(client: Any) -> str:
    return (
        "azure.ai.openai"
        if AZURE_CLIENTS & {base.__name__ for base in type(client).__mro__}
        else "openai"
    )


HOOKS: Final[Mapping[str, tuple[Hook, ...]]] = {
    "openai._base_client": StainlessHooks(StainlessSDK(openai.ROUTES, _provider_of_client)).hooks,
    "openai._websocket_connection": BASE_CONNECTION_HOOKS,
    "openai.resources.responses.responses": connection_hooks(
        "ResponsesConnection", "AsyncResponsesConnection", is_optional=True
    ),
    "openai.resources.realtime.realtime": connection_hooks(
        "RealtimeConnection", "AsyncRealtimeConnection"
    ),
}
