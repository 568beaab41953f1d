"""OpenAI's SDK, and Azure's clients in it: the generator's choke point, and its WebSockets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from promptcache.patch.drive import Target
from promptcache.patch.socket import SENDING, receiving
from promptcache.patch.stainless import SDK, Stainless
from promptcache.providers import openai

AZURE: Final = frozenset({"BaseAzureClient", "AzureOpenAI", "AsyncAzureOpenAI"})


def _provider(client: Any) -> str:
    return (
        "azure.ai.openai" if AZURE & {base.__name__ for base in type(client).__mro__} else "openai"
    )


TARGETS: Final[Mapping[str, tuple[Target, ...]]] = {
    "openai._base_client": Stainless(SDK(openai.ROUTES, _provider)).targets,
    "openai._websocket_connection": SENDING,
    "openai.resources.responses.responses": receiving(
        "ResponsesConnection", "AsyncResponsesConnection", optional=True
    ),
    "openai.resources.realtime.realtime": receiving(
        "RealtimeConnection", "AsyncRealtimeConnection"
    ),
}
