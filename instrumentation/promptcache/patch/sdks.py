"""Which SDKs are instrumented: one row each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from ..providers import gemini, openai
from . import bedrock, google
from .drive import Target
from .socket import SENDING, receiving
from .stainless import SDK, Stainless

AZURE: Final = frozenset({"BaseAzureClient", "AzureOpenAI", "AsyncAzureOpenAI"})


def _openai(client: Any) -> str:
    return "azure.ai.openai" if AZURE & {base.__name__ for base in type(client).__mro__} else "openai"


@dataclass(frozen=True, slots=True)
class Row:
    """One module of one SDK, patched when the application has imported it."""

    module: str
    targets: tuple[Target, ...]


ROWS: Final = (
    Row("openai._base_client", Stainless(SDK(openai.ROUTES, _openai)).targets),
    Row("groq._base_client", Stainless(SDK(openai.ROUTES, lambda client: "groq")).targets),
    Row("openai._websocket_connection", SENDING),
    Row("openai.resources.responses.responses", receiving("ResponsesConnection", "AsyncResponsesConnection")),
    Row("openai.resources.realtime.realtime", receiving("RealtimeConnection", "AsyncRealtimeConnection")),
    Row("google.genai._api_client", google.CLIENT),
    Row("google.genai._gaos.basesdk", google.INTERACTIONS),
    Row("google.genai._interactions._base_client", Stainless(SDK(gemini.INTERACTION_ROUTES, google.provider)).targets),
    *(Row(module, targets) for module, targets in bedrock.TARGETS.items()),
)
