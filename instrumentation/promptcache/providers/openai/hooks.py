"""The hooks of OpenAI's SDK, with its clients for Azure and Bedrock, and of its WebSockets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from promptcache.patching.hook import Hook
from promptcache.patching.stainless import StainlessHooks, StainlessSDK
from promptcache.providers.hosts import provider_of_client
from promptcache.providers.openai import wire
from promptcache.providers.openai.websocket import BASE_CONNECTION_HOOKS, websocket_connection_hooks

_SDK: Final = StainlessSDK(wire.ROUTES, lambda client: provider_of_client(client) or "openai")
HOOKS: Final[Mapping[str, tuple[Hook, ...]]] = {
    "openai._base_client": StainlessHooks(_SDK).hooks,
    "openai._websocket_connection": BASE_CONNECTION_HOOKS,
    "openai.resources.responses.responses": websocket_connection_hooks(
        "ResponsesConnection", "AsyncResponsesConnection", is_optional=True
    ),
    "openai.resources.realtime.realtime": websocket_connection_hooks(
        "RealtimeConnection", "AsyncRealtimeConnection"
    ),
}
"""The hooks of each module of the SDK."""
