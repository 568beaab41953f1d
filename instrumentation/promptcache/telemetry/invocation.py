"""The life of one call: started, fed with the provider's events, finished exactly once.

All code of ours on the application's path runs inside `safely`, so a failure of ours never reaches
the application.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from threading import Lock
from typing import TYPE_CHECKING, Any, cast

from opentelemetry import context as otel
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind

from promptcache import semconv
from promptcache.common.coerce import JSONObject
from promptcache.common.safely import safely
from promptcache.model import Call, Cost, ParsedPrompt, Request, ResponseFacts, Usage, Verdict
from promptcache.providers.reported_usage import reported_usage
from promptcache.providers.response_facts import NO_FACTS, merge_facts
from promptcache.telemetry import finalizer
from promptcache.telemetry.call_site import find_call_site
from promptcache.telemetry.handler import TelemetryHandler
from promptcache.telemetry.inherited_attributes import inherited_attributes
from promptcache.telemetry.outcome import fit_outcome
from promptcache.telemetry.request_info import RequestInfo
from promptcache.telemetry.span_attributes import set_call_attributes

if TYPE_CHECKING:
    from promptcache.diagnosis.diagnosis import PendingCall


def _is_never_irrelevant(event: JSONObject) -> bool:
    return False


class Invocation:
    """One call, from the request to the last event of its response.

    Its methods may raise: callers run them inside `safely`. A call that retrieves an earlier
    response, or that the SDK traces itself, resolves its span later than its start.

    `sdk_parses_events` is True once the SDK has passed a parsed event to `on_parsed_event`: nobody
    else needs to parse the bytes then. `is_irrelevant` tells which events need no parsing, True for
    none before the first output. `owns_response` is True if the end of the response finishes the
    call. `flushed_attributes` are the attributes set on the span up to now, None before the first.
    """

    __slots__ = (
        "__weakref__",
        "_context_attributes",
        "_evaluated",
        "_finished_lock",
        "_is_duplicate",
        "_process_id",
        "_started_monotonic",
        "_time_to_first_chunk",
        "_verdict",
        "call_site",
        "context",
        "conversation_key",
        "error_type",
        "facts",
        "flushed_attributes",
        "handler",
        "has_foreign_span",
        "has_own_span",
        "is_irrelevant",
        "owns_response",
        "pending_call",
        "prompt",
        "request",
        "request_info",
        "retries",
        "sdk_parses_events",
        "span",
        "started_at",
    )

    def __init__(
        self, handler: TelemetryHandler, request_info: RequestInfo, elapsed: float = 0.0
    ) -> None:
        """Start the call, `elapsed` seconds ago, and resolve its span unless that must wait."""
        if handler.deferred:
            handler.finish_deferred()
        self.handler, self.request_info = handler, request_info
        self.started_at = handler.clock() - elapsed
        self._started_monotonic = time.perf_counter() - elapsed
        self._finished_lock = Lock()
        self._process_id = os.getpid()
        self._is_duplicate = False
        self._time_to_first_chunk: float | None = None
        self._verdict: Verdict | None = None
        self.request: Request | None = None
        self.prompt: ParsedPrompt | None = None
        self.pending_call: PendingCall | None = None
        self.facts = NO_FACTS
        self.error_type: str | None = None
        self.retries: int | None = None
        self.conversation_key: bytes | None = None
        self.span: Span | None = None
        self.has_own_span = self.has_foreign_span = False
        self.sdk_parses_events = self.owns_response = False
        self.flushed_attributes: Mapping[str, Any] | None = None
        self._evaluated: tuple[object, tuple[Usage, Cost | None, Verdict]] | None = None
        self.is_irrelevant: Callable[[JSONObject], bool] = _is_never_irrelevant
        self.context = otel.get_current()
        self._context_attributes = inherited_attributes(
            self.context,
            trace.get_current_span(self.context),
            (*handler.settings.baggage_keys, *handler.settings.metric_keys),
        )
        self.call_site = find_call_site() if handler.settings.callsite else None
        if not request_info.is_retrieval and not request_info.has_sdk_span:
            self.resolve_span(self.context)

    def resolve_span(self, context: Context) -> None:
        """Claim the foreign LLM span of this call in `context`, or else start a span there.

        A current span that does not record, and was not current when the call started, is the
        SDK's own span, which the sampler has dropped: then the call gets no span.
        """
        current = trace.get_current_span(context)
        current_at_start = trace.get_current_span(self.context)
        self.context = context
        claimed = self.handler.foreign_spans.claim(
            current, self.request_info.model, stream=self.request_info.stream
        )
        if claimed:
            self.span, self.has_foreign_span = claimed, True
            self.context = trace.set_span_in_context(claimed, context)
        elif current is not current_at_start and not current.is_recording():
            self.span = current
        else:
            self._start_own_span()

    def _start_own_span(self) -> None:
        call = self._build_call(None, None, Verdict("cold"))
        attributes = semconv.read_attributes(semconv.SAMPLING_ATTRIBUTES, call)
        words = (self.request_info.wire_format.operation, self.request_info.model)
        self.has_own_span = True
        self.span = self.handler.tracer.start_span(
            " ".join(word for word in words if word),
            self.context,
            SpanKind.CLIENT,
            attributes,
            start_time=int(self.started_at * 1e9),
        )
        self.context = trace.set_span_in_context(self.span, self.context)

    def on_request_known(self, request: Request, retries: int | None) -> None:
        """Parse the prompt of `request`, start its diagnosis, and resolve the span.

        Called once the body is known, before the response is read.
        """
        self.request, self.retries = request, retries
        if self.request_info.is_retrieval:
            return
        if self.span is None:
            self.resolve_span(otel.get_current())
        self.prompt = safely(self.request_info.wire_format.parse_prompt, request)
        self.pending_call = safely(self.handler.diagnosis.start, request, self.prompt)

    @property
    def is_finished(self) -> bool:
        """Whether the call is finished."""
        return self._finished_lock.locked()

    @property
    def has_output(self) -> bool:
        """Whether an event with output has arrived."""
        return self._time_to_first_chunk is not None

    def on_stream_started(self) -> None:
        """Set the first attributes on a foreign span, which may end before the first event.

        Called when the application is about to read a stream.
        """
        if self.has_foreign_span and self.flushed_attributes is None:
            self._set_attributes(self._build_call(None, None, Verdict("unreported")))

    def on_parsed_event(self, data: object) -> None:
        """Process `data`, which the SDK has parsed and not yet turned into its own model."""
        self.sdk_parses_events = True
        if isinstance(data, Mapping) and not self._finished_lock.locked():
            self.on_event(cast("JSONObject", data))
            if self.has_output:
                self.is_irrelevant = self.request_info.wire_format.can_skip

    def on_event(self, event: JSONObject) -> None:
        """Process one response, or one event of a stream."""
        wire_format = self.request_info.wire_format
        if self.has_output and wire_format.can_skip(event):
            return
        facts = wire_format.parse_event(event)
        if facts is None:
            return
        is_news = (
            facts.usage_counters
            or facts.error_code
            or (facts.is_terminal and not self.facts.is_terminal)
        )
        self.facts = merge_facts(self.facts, facts)
        if facts.has_content and self._time_to_first_chunk is None:
            self._time_to_first_chunk = time.perf_counter() - self._started_monotonic
        if is_news and self.request_info.stream:
            self.flush_attributes()

    def flush_attributes(self) -> None:
        """Set what is known on a foreign span, which may end before the call does."""
        if self.has_foreign_span and not self._finished_lock.locked():
            self._set_attributes(self._evaluate())

    def fail(self, error: BaseException) -> None:
        """Record that the call raised `error`. Only the type is kept: a message may hold text."""
        self.error_type = type(error).__name__

    def on_stream_failed(self, error: BaseException) -> None:
        """Record that the stream raised `error`, before a foreign span ends."""
        self.fail(error)
        self.flush_attributes()

    def finish(self) -> None:
        """Finish the call: evaluate it, record its metrics, set its attributes, end its own span.

        Only the first time has an effect, and none in a forked child.
        """
        if os.getpid() != self._process_id or not self._finished_lock.acquire(blocking=False):
            return
        if self.request_info.is_retrieval and not self._is_new_retrieval():
            return
        if self.span is None and not (self.request_info.has_sdk_span and self._has_failed):
            self.resolve_span(self.context)
        try:
            call = self._evaluate(final=True)
            if self.conversation_key and self.facts.id:
                self.handler.response_id_by_conversation[self.conversation_key] = self.facts.id
            if self._foreign_span_ended_early():
                self._start_own_span()
            safely(self.handler.metrics.record_call, call, self.context)
            self._set_attributes(call)
        finally:
            if self.has_own_span and self.span is not None:
                self.span.end()

    def finalize(self) -> None:
        """Finish the call from the `__del__` of its response."""
        if not self._finished_lock.locked():
            self.finish_or_defer(must_defer=finalizer.lock_may_be_held(sys._getframe()))  # pyright: ignore[reportPrivateUsage]  # a cheap stack walk

    def finish_or_defer(self, *, must_defer: bool) -> None:
        """Finish the call now, or with the next call if `must_defer` (a lock may be held here)."""
        if must_defer:
            self.handler.deferred.append(self)
        else:
            self.finish()

    def _foreign_span_ended_early(self) -> bool:
        """Return whether the foreign span ended before any attribute could be set on it.

        A child span of our own then carries all attributes.
        """
        return (
            self.has_foreign_span
            and self.flushed_attributes is None
            and self.span is not None
            and not self.span.is_recording()
        )

    def _is_new_retrieval(self) -> bool:
        """Return whether a retrieved response has usage that was not counted yet.

        Takes over the request of the call that created the response.
        """
        facts = self.facts
        if not facts.usage_counters or not facts.id:
            return False
        key = (self.request_info.provider, facts.id)
        retrieval = self.handler.pending_retrievals.pop(key, None)
        if retrieval is not None:
            self.request, self.prompt, self.pending_call = retrieval
        return self._mark_counted()

    def _is_first_count(self) -> bool:
        """Return whether this response was not counted before.

        A retrieval may have counted the end of a stream before the stream itself ends.
        """
        if self.request_info.is_retrieval or not self.facts.id:
            return True
        return not self.request_info.wire_format.is_retrievable or self._mark_counted()

    def _mark_counted(self) -> bool:
        return self.handler.diagnosis.memory.is_first_time(
            (self.request_info.provider, self.facts.id)
        )

    def _evaluate(self, *, final: bool = False) -> Call:
        """Return the call as far as it is known now.

        The verdict is made once: with the first usage, or without usage if `final`.
        """
        facts = self.facts
        state = facts._replace(has_content=False, is_terminal=False), self._has_failed
        if self._evaluated is not None and self._evaluated[0] == state:
            return self._build_call(*self._evaluated[1])
        usage = self._parse_usage()
        if usage is None and not final:
            return self._build_call(None, None, self._verdict_from_usage(None))
        cost = self._compute_cost(facts, usage) if usage or not self._has_failed else None
        if self._verdict is None:
            self._verdict = self._diagnose(usage, cost)
        self._evaluated = None if usage is None else (state, (usage, cost, self._verdict))
        return self._build_call(usage, cost, self._verdict)

    def _parse_usage(self) -> Usage | None:
        """Return the usage; None if it is not known, or was counted with another call."""
        if self._is_duplicate:
            return None
        usage = safely(
            reported_usage, self.request_info.wire_format, self.request_info.host, self.facts
        )
        if usage is not None and self._verdict is None and not self._is_first_count():
            self._is_duplicate = True
            return None
        return usage

    def _compute_cost(self, facts: ResponseFacts, usage: Usage | None) -> Cost | None:
        return safely(self.handler.price_book.compute_cost, self._request_so_far(), facts, usage)

    def _diagnose(self, usage: Usage | None, cost: Cost | None) -> Verdict:
        if self.pending_call is None:
            return self._verdict_from_usage(usage)
        if usage is None and self._can_be_retrieved():
            self._suspend(self.pending_call)
            return Verdict("unreported")
        verdict = safely(
            self.handler.diagnosis.finish,
            self.pending_call,
            facts=self.facts,
            usage=usage,
            cost=cost,
            failed=self._has_failed,
            at=self.handler.clock(),
        )
        return verdict or self._verdict_from_usage(usage)

    def _can_be_retrieved(self) -> bool:
        is_retrievable = self.request_info.wire_format.is_retrievable
        return bool(self.facts.id and is_retrievable and not self._has_failed)

    def _suspend(self, pending_call: PendingCall) -> None:
        """Keep the request for the call that will retrieve the response, with its usage."""
        self.handler.diagnosis.suspend(pending_call)
        if not self._is_duplicate and self.request is not None and self.facts.id:
            key = (self.request_info.provider, self.facts.id)
            self.handler.pending_retrievals[key] = (self.request, self.prompt, pending_call)

    def _verdict_from_usage(self, usage: Usage | None) -> Verdict:
        """Return the outcome that follows from the usage alone, without the prompt."""
        if usage is None or usage.cache_read_tokens is None:
            return Verdict("error" if usage is None and self._has_failed else "unreported")
        return Verdict("hit" if usage.cache_read_tokens else "cold")

    @property
    def _has_failed(self) -> bool:
        return self.error_type is not None or self.facts.error_code is not None

    def _request_so_far(self) -> Request:
        """Return the request; one without body if the body is not known."""
        return self.request or self.request_info.to_request({}, b"", self.started_at)

    def _build_call(self, usage: Usage | None, cost: Cost | None, verdict: Verdict) -> Call:
        return Call(
            request=self._request_so_far(),
            facts=self.facts,
            verdict=fit_outcome(verdict, usage),
            prompt=self.prompt,
            prefix=self.pending_call and self.pending_call.prefix,
            usage=usage,
            cost=cost,
            call_site=self.call_site,
            error_type=self.error_type or self.facts.error_code,
            retries=self.retries,
            time_to_first_chunk=self._time_to_first_chunk if self.request_info.stream else None,
            duration=time.perf_counter() - self._started_monotonic,
            context_attributes=self._context_attributes,
        )

    def _set_attributes(self, call: Call) -> None:
        if self.span is not None and self.span.is_recording():
            self.flushed_attributes = set_call_attributes(
                self.span,
                call,
                self.handler.settings,
                is_own_span=self.has_own_span,
                already_set=self.flushed_attributes or {},
            )
