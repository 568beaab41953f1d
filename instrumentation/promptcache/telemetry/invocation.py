"""The life of one call: opened, fed with what the provider says, ended exactly once.

A `Invocation` is one call. Everything of ours that runs on the application's path runs inside `safely`, so that no failure
of ours becomes the application's.
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

from promptcache.common.coerce import JSONObject
from promptcache.common.safely import safely
from promptcache.model import Call, Cost, ParsedPrompt, Request, Usage, Verdict
from promptcache.providers.response_facts import NO_FACTS, merge_facts
from promptcache.semconv import SAMPLING_ATTRIBUTES, read_attributes
from promptcache.telemetry import context_attributes as ambient
from promptcache.telemetry import spans
from promptcache.telemetry.handler import RequestInfo, TelemetryHandler

if TYPE_CHECKING:
    from promptcache.diagnosis.diagnosis import PendingCall


class Invocation:
    """One call, from `request` to its last event. Methods may raise: callers run them `safely`."""

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
        """Opens the call; `elapsed` seconds of it have passed already. Opens its span, or claims the one around it."""
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
        self.has_own_span = self.has_foreign_span = self.sdk_parses_events = self.owns_response = (
            False
        )
        self.flushed_attributes: Mapping[str, Any] | None = None
        self._evaluated: tuple[object, tuple[Usage, Cost | None, Verdict]] | None = None
        self.is_irrelevant: Callable[[JSONObject], bool] = lambda event: (
            False
        )  # until output was heard of
        self.context = otel.get_current()
        around = trace.get_current_span(self.context)
        self._context_attributes = ambient.inherited_attributes(
            self.context, around, (*handler.settings.baggage_keys, *handler.settings.metric_keys)
        )
        self.call_site = ambient.find_call_site() if handler.settings.callsite else None
        if not request_info.is_retrieval and not request_info.has_sdk_span:
            self.resolve_span(self.context)

    def resolve_span(self, context: Context) -> None:
        """Settles which span is the call's: an LLM span that others opened for it in `context`, else a new one there.

        A span that does not record, and was not there when the call began, is the SDK's own, which no sampler took.
        """
        around, before = trace.get_current_span(context), trace.get_current_span(self.context)
        self.context, asked = context, self.request_info
        if taken := self.handler.foreign_spans.claim(around, asked.model, stream=asked.stream):
            self.span, self.has_foreign_span, self.context = (
                taken,
                True,
                trace.set_span_in_context(taken, context),
            )
        elif around is not before and not around.is_recording():
            self.span = around
        else:
            self._start_own_span()

    def _start_own_span(self) -> None:
        start = read_attributes(SAMPLING_ATTRIBUTES, self._build_call(None, None, Verdict("cold")))
        name = " ".join(
            part
            for part in (self.request_info.wire_format.operation, self.request_info.model)
            if part
        )
        self.has_own_span = True
        self.span = self.handler.tracer.start_span(
            name, self.context, SpanKind.CLIENT, start, start_time=int(self.started_at * 1e9)
        )
        self.context = trace.set_span_in_context(self.span, self.context)

    def on_request_sent(self, request: Request, retries: int | None) -> None:
        """The body is known and the response begins: reads the prompt, looks it up, and settles the span."""
        self.request, self.retries = request, retries
        if self.request_info.is_retrieval:
            return
        if self.span is None:
            self.resolve_span(otel.get_current())
        self.prompt = safely(self.request_info.wire_format.parse_prompt, request)
        self.pending_call = safely(self.handler.diagnosis.start, request, self.prompt)

    @property
    def is_finished(self) -> bool:
        """Whether the call has ended."""
        return self._finished_lock.locked()

    @property
    def has_output(self) -> bool:
        """Whether output has been seen."""
        return self._time_to_first_chunk is not None

    def on_stream_started(self) -> None:
        """The application will read a stream. A foreign span may end before the first event: it learns this much."""
        if self.has_foreign_span and self.flushed_attributes is None:
            self._set_attributes(self._build_call(None, None, Verdict("unreported")))

    def on_parsed_event(self, data: object) -> None:
        """The SDK parsed `data` and is about to build its model of it."""
        self.sdk_parses_events = True
        if isinstance(data, Mapping) and not self._finished_lock.locked():
            self.on_event(cast("JSONObject", data))
            if self.has_output:
                self.is_irrelevant = self.request_info.wire_format.can_skip

    def on_event(self, event: JSONObject) -> None:
        """One response, or one event of a stream."""
        if (self.has_output and self.request_info.wire_format.can_skip(event)) or (
            facts := self.request_info.wire_format.parse_event(event)
        ) is None:
            return
        more = (
            facts.usage_counters
            or facts.error_code
            or (facts.is_terminal and not self.facts.is_terminal)
        )
        self.facts = merge_facts(self.facts, facts)
        if facts.has_content and self._time_to_first_chunk is None:
            self._time_to_first_chunk = time.perf_counter() - self._started_monotonic
        if more and self.request_info.stream:
            self.flush_attributes()

    def flush_attributes(self) -> None:
        """Writes what is known on a foreign span, which may end before the call does."""
        if self.has_foreign_span and not self._finished_lock.locked():
            self._set_attributes(self._evaluate())

    def fail(self, error: BaseException) -> None:
        """The call raised `error_type`; only its type is kept."""
        self.error_type = type(error).__name__

    def on_stream_failed(self, error: BaseException) -> None:
        """The stream broke with `error_type`; a foreign span is about to end."""
        self.fail(error)
        self.flush_attributes()

    def finish(self) -> None:
        """Ends the call. The first time counts, every later one does nothing."""
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
        """The response was garbage-collected: runs in its `__del__`, by `safely`."""
        if not self._finished_lock.locked():
            self.finish_or_defer(must_defer=ambient.lock_may_be_held(sys._getframe()))  # pyright: ignore[reportPrivateUsage]  # a cheap stack walk

    def finish_or_defer(self, *, must_defer: bool) -> None:
        """Ends the call, now if no lock of telemetry's can be held here; if `must_defer`, with the next call."""
        if must_defer:
            self.handler.deferred.append(self)
        else:
            self.finish()

    def _foreign_span_ended_early(self) -> bool:
        """Whether the SDK's span ended before anything could be written on it: a child of ours carries it all then."""
        return (
            self.has_foreign_span
            and self.flushed_attributes is None
            and self.span is not None
            and not self.span.is_recording()
        )

    def _is_new_retrieval(self) -> bool:
        """Whether a fetched response says something that was not counted yet; takes up the call that asked for it."""
        facts = self.facts
        if not facts.usage_counters or not facts.id:
            return False
        waiting = self.handler.pending_retrievals.pop(self.request_info.provider, facts.id)
        if waiting is not None:
            self.request, self.prompt, self.pending_call = waiting
        return self._mark_counted()

    def _is_first_count(self) -> bool:
        """Whether this response was not counted before: a fetch may have seen the end of a stream before the stream."""
        once = (
            self.request_info.is_retrieval
            or not self.facts.id
            or not self.request_info.wire_format.is_retrievable
        )
        return once or self._mark_counted()

    def _mark_counted(self) -> bool:
        return self.handler.diagnosis.memory.is_first_time(
            (self.request_info.provider, self.facts.id)
        )

    def _evaluate(self, *, final: bool = False) -> Call:
        """The call as far as it is known now; the verdict is made once, with the first usage or finally without."""
        facts = self.facts
        said = facts._replace(has_content=False, is_terminal=False), self._has_failed
        if self._evaluated is not None and self._evaluated[0] == said:
            return self._build_call(*self._evaluated[1])
        usage = (
            None if self._is_duplicate else safely(self.request_info.wire_format.parse_usage, facts)
        )
        if usage is not None and self._verdict is None and not self._is_first_count():
            usage, self._is_duplicate = None, True
        if usage is None and not final:
            return self._build_call(None, None, self._verdict_from_usage(None))
        cost = (
            safely(self.handler.price_book.compute_cost, self._request_so_far(), facts, usage)
            if usage or not self._has_failed
            else None
        )
        if self._verdict is None:
            self._verdict = self._diagnose(usage, cost)
        self._evaluated = None if usage is None else (said, (usage, cost, self._verdict))
        return self._build_call(usage, cost, self._verdict)

    def _diagnose(self, usage: Usage | None, cost: Cost | None) -> Verdict:
        facts, sighting = self.facts, self.pending_call
        if sighting is None:
            return self._verdict_from_usage(usage)
        if (
            usage is None
            and not self._has_failed
            and facts.id
            and self.request_info.wire_format.is_retrievable
            and self.request is not None
        ):
            self.handler.diagnosis.suspend(sighting)
            if not self._is_duplicate:
                self.handler.pending_retrievals.add(
                    self.request_info.provider, facts.id, (self.request, self.prompt, sighting)
                )
            return Verdict("unreported")
        verdict = safely(
            self.handler.diagnosis.finish,
            sighting,
            facts=facts,
            usage=usage,
            cost=cost,
            failed=self._has_failed,
            at=self.handler.clock(),
        )
        return verdict or self._verdict_from_usage(usage)

    def _verdict_from_usage(self, usage: Usage | None) -> Verdict:
        """What the usage alone says, where the prompt could not be read."""
        if usage is None or usage.cache_read_tokens is None:
            return Verdict("error" if usage is None and self._has_failed else "unreported")
        return Verdict("hit" if usage.cache_read_tokens else "cold")

    @property
    def _has_failed(self) -> bool:
        return self.error_type is not None or self.facts.error_code is not None

    def _request_so_far(self) -> Request:
        """The request, as far as it got."""
        return self.request or self.request_info.to_request({}, b"", self.started_at)

    def _build_call(self, usage: Usage | None, cost: Cost | None, verdict: Verdict) -> Call:
        return Call(
            request=self._request_so_far(),
            facts=self.facts,
            verdict=verdict,
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
            before = self.flushed_attributes or {}
            self.flushed_attributes = spans.set_call_attributes(
                self.span,
                call,
                self.handler.settings,
                is_own_span=self.has_own_span,
                already_set=before,
            )
