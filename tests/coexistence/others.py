"""The other instrumentations, one row each: which SDK's calls they see, and how they are switched
on."""

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

Switch = Callable[[Telemetry], object]


class Other(NamedTuple):
    """One instrumentation of one SDK, of `package`.

    `native` is the SDK's own, which its client is asked for. `known` are calls (a pattern of their
    names) that have a second span, ours beside theirs, and why that cannot be helped.
    """

    sdk: str
    package: str
    on: Switch
    native: bool = False
    known: Mapping[str, str] = MappingProxyType({})

    @property
    def sdk_package(self) -> str:
        return "botocore" if self.sdk == "bedrock" else self.sdk


def _instrumentor(module: str, name: str) -> Switch:
    def on(telemetry: Telemetry) -> None:
        instrumentor: Any = getattr(import_module(module), name)()
        instrumentor.instrument(tracer_provider=telemetry.tracers, meter_provider=telemetry.meters)

    return on


def _logfire(sdk: str) -> Switch:
    def on(telemetry: Telemetry) -> None:
        logfire: Any = import_module("logfire")
        seen = SimpleSpanProcessor(telemetry.exporter)
        logfire.configure(
            send_to_logfire=False, console=False, metrics=False, additional_span_processors=[seen]
        )
        getattr(logfire, f"instrument_{sdk}")()

    return on


def _langfuse(telemetry: Telemetry) -> None:
    langfuse: Any = import_module("langfuse")
    nowhere = InMemorySpanExporter()
    langfuse.Langfuse(
        public_key="p",
        secret_key="s",
        host="http://127.0.0.1:9",
        tracer_provider=telemetry.tracers,
        span_exporter=nowhere,
    )
    import_module("langfuse.openai")


def _openlit(sdk: str, kind: str) -> Switch:
    """Its instrumentation of one SDK, as its own `init` makes it; it names older SDKs than these as
    what it can do."""

    def on(telemetry: Telemetry) -> None:
        import_module("openlit").OpenlitConfig.reset_to_defaults()
        set_tracer_provider(telemetry.tracers)
        set_meter_provider(telemetry.meters)
        getattr(import_module(f"openlit.instrumentation.{sdk}"), kind)().instrument(
            skip_dep_check=True,
            disable_metrics=True,
            environment="default",
            application_name="default",
        )

    return on


def _nothing(telemetry: Telemetry) -> None:
    """It is on already."""


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


LATER: Final = "it opens its span only once the response is there, too late for ours to be on it"
EARLY: Final = "it ends its span where the stream begins, before anything is known of the call"

OTHERS: Final[Mapping[str, Other]] = {
    "official-openai": _official("openai", "OpenAIInstrumentor"),
    "openllmetry-openai": _openllmetry("openai", "OpenAIInstrumentor", known={"^responses": LATER}),
    "openinference-openai": _openinference("openai", "OpenAIInstrumentor"),
    "logfire-openai": Other("openai", "logfire", _logfire("openai"), known={"stream": EARLY}),
    "langfuse-openai": Other("openai", "langfuse", _langfuse),
    "openlit-openai": Other("openai", "openlit", _openlit("openai", "OpenAIInstrumentor")),
    "native-anthropic": Other("anthropic", "anthropic", _nothing, native=True),
    "official-anthropic": _official("anthropic", "AnthropicInstrumentor"),
    "openllmetry-anthropic": _openllmetry("anthropic", "AnthropicInstrumentor"),
    "openinference-anthropic": _openinference("anthropic", "AnthropicInstrumentor"),
    "logfire-anthropic": Other(
        "anthropic", "logfire", _logfire("anthropic"), known={"stream|helper": EARLY}
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
