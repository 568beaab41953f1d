"""The other instrumentations: the SDK of each, and how to instrument it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from opentelemetry.metrics import set_meter_provider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import set_tracer_provider

from tests.support.telemetry import Telemetry

Instrument = Callable[[Telemetry], object]


class Other(NamedTuple):
    """One instrumentation of one SDK, of `package`.

    `is_native` marks the tracing of the SDK itself, which its client enables. `has_own_provider`
    marks one that sets a tracer provider of its own, the global one. `known_second_spans`
    maps a pattern of call names to the reason why such a call has our span beside theirs.
    """

    sdk: str
    package: str
    instrument: Instrument
    is_native: bool = False
    has_own_provider: bool = False
    known_second_spans: Mapping[str, str] = MappingProxyType({})

    @property
    def sdk_package(self) -> str:
        return "botocore" if self.sdk == "bedrock" else self.sdk


def _instrumentor(module: str, name: str) -> Instrument:
    def instrument(telemetry: Telemetry) -> None:
        instrumentor: Any = getattr(import_module(module), name)()
        instrumentor.instrument(tracer_provider=telemetry.tracers, meter_provider=telemetry.meters)

    return instrument


def _logfire(sdk: str) -> Instrument:
    def instrument(telemetry: Telemetry) -> None:
        logfire: Any = import_module("logfire")
        processor = SimpleSpanProcessor(telemetry.exporter)
        logfire.configure(
            send_to_logfire=False,
            console=False,
            metrics=False,
            additional_span_processors=[processor],
        )
        getattr(logfire, f"instrument_{sdk}")()

    return instrument


def _langfuse(telemetry: Telemetry) -> None:
    langfuse: Any = import_module("langfuse")
    unused_exporter = InMemorySpanExporter()
    langfuse.Langfuse(
        public_key="p",
        secret_key="s",
        host="http://127.0.0.1:9",
        tracer_provider=telemetry.tracers,
        span_exporter=unused_exporter,
    )
    import_module("langfuse.openai")


def _openlit(sdk: str, kind: str) -> Instrument:
    """Instrument one SDK as `openlit.init` does, without its check for older SDK releases."""

    def instrument(telemetry: Telemetry) -> None:
        import_module("openlit").OpenlitConfig.reset_to_defaults()
        set_tracer_provider(telemetry.tracers)
        set_meter_provider(telemetry.meters)
        getattr(import_module(f"openlit.instrumentation.{sdk}"), kind)().instrument(
            skip_dep_check=True,
            disable_metrics=True,
            environment="default",
            application_name="default",
        )

    return instrument


def _do_nothing(telemetry: Telemetry) -> None:
    """Do nothing, because the client of the SDK enables its own tracing."""


def _official(sdk: str, kind: str, **more: Any) -> Other:
    package = f"opentelemetry-instrumentation-genai-{sdk}"
    return Other(
        sdk, package, _instrumentor(f"opentelemetry.instrumentation.genai.{sdk}", kind), **more
    )


def _openllmetry(sdk: str, kind: str, **more: Any) -> Other:
    package = f"opentelemetry-instrumentation-{sdk}"
    return Other(sdk, package, _instrumentor(f"opentelemetry.instrumentation.{sdk}", kind), **more)


def _openinference(sdk: str, kind: str) -> Other:
    package = f"openinference-instrumentation-{sdk}"
    return Other(sdk, package, _instrumentor(f"openinference.instrumentation.{sdk}", kind))


SPAN_STARTS_LATE: Final = "it opens its span after the response, too late for our attributes"
SPAN_ENDS_EARLY: Final = "it ends its span when the stream begins, before the usage is known"

OTHERS: Final[Mapping[str, Other]] = {
    "official-openai": _official("openai", "OpenAIInstrumentor"),
    "openllmetry-openai": _openllmetry(
        "openai", "OpenAIInstrumentor", known_second_spans={"^responses": SPAN_STARTS_LATE}
    ),
    "openinference-openai": _openinference("openai", "OpenAIInstrumentor"),
    "logfire-openai": Other(
        "openai",
        "logfire",
        _logfire("openai"),
        has_own_provider=True,
        known_second_spans={"stream": SPAN_ENDS_EARLY},
    ),
    "langfuse-openai": Other("openai", "langfuse", _langfuse),
    "openlit-openai": Other("openai", "openlit", _openlit("openai", "OpenAIInstrumentor")),
    "native-anthropic": Other("anthropic", "anthropic", _do_nothing, is_native=True),
    "official-anthropic": _official("anthropic", "AnthropicInstrumentor"),
    "openllmetry-anthropic": _openllmetry("anthropic", "AnthropicInstrumentor"),
    "openinference-anthropic": _openinference("anthropic", "AnthropicInstrumentor"),
    "logfire-anthropic": Other(
        "anthropic",
        "logfire",
        _logfire("anthropic"),
        has_own_provider=True,
        known_second_spans={"stream|helper": SPAN_ENDS_EARLY},
    ),
    "openlit-anthropic": Other(
        "anthropic", "openlit", _openlit("anthropic", "AnthropicInstrumentor")
    ),
    "botocore": Other(
        "bedrock",
        "opentelemetry-instrumentation-botocore",
        _instrumentor("opentelemetry.instrumentation.botocore", "BotocoreInstrumentor"),
    ),
    "official-bedrock": _official("bedrock", "BedrockInstrumentor"),
    "openllmetry-bedrock": _openllmetry("bedrock", "BedrockInstrumentor"),
    "openinference-bedrock": _openinference("bedrock", "BedrockInstrumentor"),
}
