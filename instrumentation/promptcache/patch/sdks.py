"""Which SDKs are instrumented: one row each."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from ..providers import anthropic, gemini, openai
from . import bedrock, google
from .drive import Target
from .socket import SENDING, receiving
from .stainless import SDK, Stainless

AZURE: Final = frozenset({"BaseAzureClient", "AzureOpenAI", "AsyncAzureOpenAI"})


def _openai(client: Any) -> str:
    return "azure.ai.openai" if AZURE & {base.__name__ for base in type(client).__mro__} else "openai"


PLATFORMS: Final = (
    ("Bedrock", "aws.bedrock"),
    ("Vertex", "gcp.vertex_ai"),
    ("Foundry", "anthropic"),
    ("AWS", "anthropic"),
    ("GoogleCloud", "anthropic"),
)
"""What the names of anthropic's other client classes hold, and whose models they call, as its own spans say."""


def _platform(client: Any) -> str | None:
    names = " ".join(base.__name__ for base in type(client).__mro__)
    return next((provider for word, provider in PLATFORMS if word in names), None)


def _anthropic(client: Any) -> str:
    return _platform(client) or "anthropic"


def _traces_itself(client: Any, options: Any) -> bool:
    """Whether anthropic (1.14 and later) opens a span for this call: `client.post` names none."""
    return getattr(client, "_tracer", None) is not None and bool(getattr(options, "span_name", None))


_OPENAI: Final = SDK(openai.ROUTES, _openai)
_GROQ: Final = SDK(openai.ROUTES, lambda client: "groq")
_ANTHROPIC: Final = SDK(
    anthropic.ROUTES,
    _anthropic,
    sure=lambda client: _platform(client) is not None,
    defer=_traces_itself,
    headers={"anthropic-beta": anthropic.BETAS},
)


class Row(NamedTuple):
    """One module of one SDK, patched when the application has imported it."""

    module: str
    targets: tuple[Target, ...]


ROWS: Final = (
    Row("openai._base_client", Stainless(_OPENAI).targets),
    Row("anthropic._base_client", Stainless(_ANTHROPIC).targets),
    Row("groq._base_client", Stainless(_GROQ).targets),
    Row("openai._websocket_connection", SENDING),
    Row("openai.resources.responses.responses", receiving("ResponsesConnection", "AsyncResponsesConnection")),
    Row("openai.resources.realtime.realtime", receiving("RealtimeConnection", "AsyncRealtimeConnection")),
    Row("google.genai._api_client", google.CLIENT),
    Row("google.genai._gaos.basesdk", google.INTERACTIONS),
    Row("google.genai._interactions._base_client", Stainless(SDK(gemini.INTERACTION_ROUTES, google.provider)).targets),
    *(Row(module, targets) for module, targets in bedrock.TARGETS.items()),
)
