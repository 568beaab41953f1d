"""The other instrumentations, one row each: which SDK's calls they see, and how they are switched on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, Final, NamedTuple

from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.conftest import Telemetry

Switch = Callable[[Telemetry], object]


class Other(NamedTuple):
    """One instrumentation of one SDK; `native` is the SDK's own, which its client is asked for."""

    sdk: str
    on: Switch
    native: bool = False


def _instrumentor(module: str, name: str) -> Switch:
    def on(telemetry: Telemetry) -> None:
        instrumentor: Any = getattr(import_module(module), name)()
        instrumentor.instrument(tracer_provider=telemetry.tracers, meter_provider=telemetry.meters)

    return on


def _logfire(sdk: str) -> Switch:
    def on(telemetry: Telemetry) -> None:
        logfire: Any = import_module("logfire")
        seen = SimpleSpanProcessor(telemetry.exporter)
        logfire.configure(send_to_logfire=False, console=False, metrics=False, additional_span_processors=[seen])
        getattr(logfire, f"instrument_{sdk}")()

    return on


def _langfuse(telemetry: Telemetry) -> None:
    langfuse: Any = import_module("langfuse")
    nowhere = InMemorySpanExporter()
    langfuse.Langfuse(
        public_key="p", secret_key="s", host="http://127.0.0.1:9",
        tracer_provider=telemetry.tracers, span_exporter=nowhere,
    )  # fmt: skip
    import_module("langfuse.openai")


def _openlit(telemetry: Telemetry) -> None:
    openlit: Any = import_module("openlit")
    tracer = telemetry.tracers.get_tracer("openlit")
    openlit.init(tracer=tracer, meter=telemetry.meters.get_meter("openlit"), disable_metrics=True)


def _nothing(telemetry: Telemetry) -> None:
    """It is on already."""


_OTEL: Final = "opentelemetry.instrumentation"
OTHERS: Final[Mapping[str, Other]] = {
    "official-openai": Other("openai", _instrumentor(f"{_OTEL}.genai.openai", "OpenAIInstrumentor")),
    "openllmetry-openai": Other("openai", _instrumentor(f"{_OTEL}.openai", "OpenAIInstrumentor")),
    "openinference-openai": Other(
        "openai", _instrumentor("openinference.instrumentation.openai", "OpenAIInstrumentor")
    ),
    "logfire-openai": Other("openai", _logfire("openai")),
    "langfuse-openai": Other("openai", _langfuse),
    "openlit-openai": Other("openai", _openlit),
    "native-anthropic": Other("anthropic", _nothing, native=True),
    "official-anthropic": Other("anthropic", _instrumentor(f"{_OTEL}.genai.anthropic", "AnthropicInstrumentor")),
    "openllmetry-anthropic": Other("anthropic", _instrumentor(f"{_OTEL}.anthropic", "AnthropicInstrumentor")),
    "openinference-anthropic": Other(
        "anthropic", _instrumentor("openinference.instrumentation.anthropic", "AnthropicInstrumentor")
    ),
    "logfire-anthropic": Other("anthropic", _logfire("anthropic")),
    "openlit-anthropic": Other("anthropic", _openlit),
    "botocore": Other("bedrock", _instrumentor(f"{_OTEL}.botocore", "BotocoreInstrumentor")),
    "official-bedrock": Other("bedrock", _instrumentor(f"{_OTEL}.genai.bedrock", "BedrockInstrumentor")),
    "openllmetry-bedrock": Other("bedrock", _instrumentor(f"{_OTEL}.bedrock", "BedrockInstrumentor")),
    "openinference-bedrock": Other(
        "bedrock", _instrumentor("openinference.instrumentation.bedrock", "BedrockInstrumentor")
    ),
}
