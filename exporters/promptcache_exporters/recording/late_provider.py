"""A tracer provider that decides late: the application's own one, or else one of ours.

A program may set its tracer provider after recording began, or never. If we set the global one,
OpenTelemetry would refuse the program's own, so the choice is made anew when a call starts.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import trace

from promptcache.common.fork import register_after_fork_in_child

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor


class LateTracerProvider(trace.TracerProvider):
    """Start spans with the global tracer provider, or with a private one as long as there is none.

    `make_processor` returns our span processor, and `make_private_provider` a provider of the SDK.
    Each is called once at most, and not before a provider is needed. A provider without
    `add_span_processor` (the API's own, those of some vendors) counts as none, since nobody could
    record its spans. Thread-safe, and safe across forks.
    """

    def __init__(
        self,
        make_processor: Callable[[], SpanProcessor],
        make_private_provider: Callable[[], Any],
    ) -> None:
        self._make_processor: Final = make_processor
        self._make_private_provider: Final = make_private_provider
        self._private_provider: Any = None
        self._processors: list[SpanProcessor] = []
        self._attached: list[tuple[Any, SpanProcessor]] = []
        self._reset_lock()
        register_after_fork_in_child(self._reset_lock)

    def get_tracer(
        self,
        instrumenting_module_name: str,
        instrumenting_library_version: str | None = None,
        schema_url: str | None = None,
        attributes: Any = None,
    ) -> LateTracer:
        """Return a tracer whose every span asks for the provider anew."""
        version = instrumenting_library_version
        return LateTracer(self, (instrumenting_module_name, version, schema_url, attributes))

    @property
    def application_provider(self) -> Any:
        """The global tracer provider: only there can a span of another instrumentation start."""
        return trace.get_tracer_provider()

    def add_span_processor(self, span_processor: SpanProcessor) -> None:
        """Add a processor to the provider in use, and to each that is in use later."""
        with self._lock:
            self._load_processors()
            self._processors.append(span_processor)
        self.follow_application()

    def follow_application(self) -> None:
        """Attach to the application's provider if it has one by now."""
        provider: Any = trace.get_tracer_provider()
        if hasattr(provider, "add_span_processor"):
            self.attach_to(provider)

    def provider_in_use(self) -> Any:
        """Return the provider for a span that starts now. It has all processors."""
        provider: Any = trace.get_tracer_provider()
        if not hasattr(provider, "add_span_processor"):
            provider = self._private_provider or self._create_private_provider()
        self.attach_to(provider)
        return provider

    def attach_to(self, provider: Any) -> None:
        """Add all processors to `provider`, each once."""
        if self._processors and not self._missing_processors(provider):
            return
        with self._lock:
            self._load_processors()
            for processor in self._missing_processors(provider):
                self._attached.append((provider, processor))
                provider.add_span_processor(processor)

    def _missing_processors(self, provider: Any) -> list[SpanProcessor]:
        present = [processor for one, processor in self._attached if one is provider]
        return [processor for processor in self._processors if processor not in present]

    def _load_processors(self) -> None:
        if not self._processors:
            self._processors = [self._make_processor()]

    def _create_private_provider(self) -> Any:
        with self._lock:
            if self._private_provider is None:
                self._private_provider = self._make_private_provider()
            return self._private_provider

    def _reset_lock(self) -> None:
        self._lock = Lock()


class LateTracer(trace.Tracer):
    """A tracer of a `LateTracerProvider`."""

    def __init__(self, provider: LateTracerProvider, scope: tuple[Any, ...]) -> None:
        self._provider, self._scope = provider, scope
        self._chosen: tuple[Any, Any] | None = None

    def follow_application(self) -> None:
        """Attach to the application's provider if it has one by now."""
        self._provider.follow_application()

    def start_span(self, *args: Any, **kwargs: Any) -> trace.Span:
        """Start a span with the provider in use."""
        return self._tracer_in_use().start_span(*args, **kwargs)  # type: ignore[no-any-return]

    def start_as_current_span(self, *args: Any, **kwargs: Any) -> Any:
        """Start a span with the provider in use, and make it current."""
        return self._tracer_in_use().start_as_current_span(*args, **kwargs)

    def _tracer_in_use(self) -> Any:
        provider, chosen = self._provider.provider_in_use(), self._chosen
        if chosen is None or chosen[0] is not provider:
            self._chosen = chosen = (provider, provider.get_tracer(*self._scope))
        return chosen[1]
