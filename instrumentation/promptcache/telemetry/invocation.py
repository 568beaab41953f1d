"""The life of one call: started, sent, fed with the events of its response, finished once.

All code of ours on the application's path runs inside `safely`, so a failure of ours never reaches
the application.
"""

from __future__ import annotations

import os
import time
from dataclasses import replace
from enum import Enum
from threading import Lock
from typing import TYPE_CHECKING, Final

from opentelemetry import context as otel
from opentelemetry import trace
from opentelemetry.context import Context

from promptcache import semconv
from promptcache.common.coerce import JSONObject
from promptcache.common.safely import safely
from promptcache.model import Call, Cost, ParsedPrompt, Request, Usage, Verdict
from promptcache.prefix.known_prompts import KnownPrompt, find_known_prompt
from promptcache.providers.reported_usage import reported_usage
from promptcache.providers.response_facts import NO_FACTS, merge_facts
from promptcache.telemetry.call_site import find_call_site
from promptcache.telemetry.call_span import CallSpan, OwnSpan, open_call_span
from promptcache.telemetry.handler import TelemetryHandler
from promptcache.telemetry.inherited_attributes import inherited_attributes
from promptcache.telemetry.outcome import fit_outcome
from promptcache.telemetry.request_info import RequestInfo, SpanPolicy
from promptcache.telemetry.response_ids import ResponseKey
from promptcache.telemetry.waiting_lines import find_waiting_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from promptcache.diagnosis.diagnosis import PendingCall

_OWN_FRAMES: Final = 3
"""The frames of ours below which the caller of `Invocation` begins: `find_call_site`, `safely` and
`__init__`."""


class Phase(Enum):
    """How far a call has come."""

    STARTED = "started"
    """The body of the request is not known yet."""
    BUILT = "built"
    """The request is known. It is sent next, and the response may arrive."""
    RESPONDING = "responding"
    """The end of the response will finish the call."""
    FINISHED = "finished"


class Invocation:
    """One call, from the request to the last event of its response.

    Its methods may raise: callers run them inside `safely`. `facts` holds what the provider has
    reported so far. `span` is None until the call's `SpanPolicy` opens it.
    """

    __slots__ = (
        "__weakref__",
        "_finish_lock",
        "_inherited_attributes",
        "_process_id",
        "_response_key",
        "_started_monotonic",
        "_time_to_first_chunk",
        "call_site",
        "context",
        "conversation_key",
        "error_type",
        "facts",
        "handler",
        "known_prompt",
        "pending_call",
        "phase",
        "prompt",
        "request",
        "request_info",
        "retries",
        "span",
        "started_at",
    )

    def __init__(
        self, handler: TelemetryHandler, request_info: RequestInfo, elapsed: float = 0.0
    ) -> None:
        """Start the call, `elapsed` seconds ago."""
        handler.finalizer.drain()
        self._process_id = os.getpid()
        handler.end_calls_at_exit(self._process_id)
        handler.track_span_starts()
        self.handler, self.request_info = handler, request_info
        self.phase = Phase.STARTED
        self.started_at = handler.clock() - elapsed
        self._started_monotonic = time.perf_counter() - elapsed
        self._finish_lock = Lock()
        self._response_key: ResponseKey | None = None
        self._time_to_first_chunk: float | None = None
        self.request: Request | None = None
        self.prompt: ParsedPrompt | None = None
        self.known_prompt: KnownPrompt | None = None
        self.pending_call: PendingCall | None = None
        self.facts = NO_FACTS
        self.error_type: str | None = None
        self.retries: int | None = None
        self.conversation_key: bytes | None = None
        self.context = otel.get_current()
        self._inherited_attributes = inherited_attributes(
            self.context,
            handler.foreign_spans.started_spans.lineage(trace.get_current_span(self.context)),
            (*handler.settings.baggage_keys, *handler.settings.metric_keys),
        )
        self.call_site = safely(find_call_site, _OWN_FRAMES) if handler.settings.callsite else None
        self.span: CallSpan | None = None
        self.ensure_span(SpanPolicy.AT_START, self.context)
        handler.open_calls.add(self)

    def ensure_span(self, moment: SpanPolicy, context: Context) -> None:
        """Open the span in `context`, if the call has none and gets it at this moment."""
        if self.span is None and self.request_info.span_policy is moment:
            self.span = open_call_span(
                self.handler, self.request_info, context, self.context, self.started_at
            )
            self.context = self.span.context

    def _ensure_call_site(self) -> None:
        """Find the line that waits for this call, if no line of the application made it.

        A caller in another thread begins to wait a moment after the call has started.
        """
        if self.call_site is None and self.handler.settings.callsite:
            self.call_site = safely(find_waiting_line)

    @property
    def own_context(self) -> Context | None:
        """The context in which the call's own span is current; None without an own span."""
        return self.context if isinstance(self.span, OwnSpan) else None

    @property
    def is_finished(self) -> bool:
        """Whether the call is finished."""
        return self.phase is Phase.FINISHED

    @property
    def has_output(self) -> bool:
        """Whether an event with output has arrived."""
        return self._time_to_first_chunk is not None

    @property
    def has_failed(self) -> bool:
        """Whether the call raised, or the provider reported an error."""
        return self.error_type is not None or self.facts.error_code is not None

    def on_request_built(self, request: Request) -> None:
        """Parse the prompt of `request` and start its diagnosis, before the response arrives.

        An attempt after the first changes nothing.
        """
        if self.phase is not Phase.STARTED:
            return
        self.phase, self.request = Phase.BUILT, request
        self.ensure_span(SpanPolicy.WITH_SDK_SPAN, otel.get_current())
        if not self.request_info.is_retrieval:
            self.prompt = safely(self.request_info.wire_format.parse_prompt, request)
            safely(self._recognize_prompt)
            self.pending_call = safely(self.handler.diagnosis.start, request, self.prompt)
            # A call that ends while the interpreter shuts down must not import them.
            safely(self.handler.load_prices)

    def _recognize_prompt(self) -> None:
        """Note name and version of a prompt of the harness, unless the application gave a name."""
        self.known_prompt = None if self.prompt is None else find_known_prompt(self.prompt)
        if self.known_prompt and semconv.GEN_AI_PROMPT_NAME not in self._inherited_attributes:
            self._inherited_attributes[semconv.GEN_AI_PROMPT_NAME] = self.known_prompt.name
            if self.handler.settings.hashes != "none":
                version = self.known_prompt.version
                self._inherited_attributes[semconv.GEN_AI_PROMPT_VERSION] = version

    def on_event(self, event: JSONObject) -> None:
        """Process one response, or one event of a stream."""
        wire_format = self.request_info.wire_format
        facts = wire_format.parse_event(event) or NO_FACTS
        if self.is_finished:
            return
        self.facts = merge_facts(self.facts, facts)
        if facts.has_content and self._time_to_first_chunk is None:
            self._time_to_first_chunk = time.perf_counter() - self._started_monotonic
            if not self.request_info.stream and self.phase is not Phase.RESPONDING:
                self._ensure_call_site()
        if facts.id and self._response_key is None and wire_format.is_retrievable:
            self._on_response_id(facts.id)
        if self.request_info.stream and wire_format.is_last_event(event):
            # Some readers stop here and never request the end of the bytes.
            self.finish()
        elif facts.usage_counters and self.request_info.stream and self.span is not None:
            self.span.update(self.build_call(self.parse_usage(), None, Verdict("unreported")))

    def _on_response_id(self, response_id: str) -> None:
        info = self.request_info
        self._response_key = info.provider, info.host, info.port, response_id
        if not info.is_retrieval:
            self.handler.response_ids.open(self._response_key)

    def on_last_byte(self) -> None:
        """Note that the whole body of the response was read."""

    def on_response(self, retries: int | None) -> None:
        """Leave the end of the call to the response, which took `retries` attempts more."""
        self.retries = retries
        self._ensure_call_site()
        if not self.is_finished:
            self.phase = Phase.RESPONDING

    def fail(self, error: BaseException) -> None:
        """Record that the call raised `error`. Only the type is kept: a message may hold text."""
        self.error_type = type(error).__name__

    def finish(self) -> None:
        """Finish the call: evaluate it, record its metrics, write its span.

        Only the first time has an effect, and none in a forked child.
        """
        self._finish(None)

    def finalize(self, before_finish: Callable[[], None] | None = None) -> None:
        """Run `before_finish` and finish the call, from a `__del__`.

        A `__del__` may interrupt telemetry code that holds a lock. Then both happen later, with the
        present end time.
        """
        if self.is_finished:
            return
        ended = time.perf_counter()

        def finish() -> None:
            if before_finish is not None:
                safely(before_finish)
            self._finish(ended)

        self.handler.finalizer.finalize(finish)

    def _finish(self, ended: float | None) -> None:
        """Finish the call, which ended at `ended` (`time.perf_counter`), None for now."""
        if not self.claim_end():
            return
        call: Call | None = None
        try:
            if not self.has_to_be_recorded():
                return
            if not self._is_span_of_sdk_over():
                self.ensure_span(self.request_info.span_policy, self.context)
            call = self.evaluate(ended)
            self.record_metrics(call)
        finally:
            if self.span is not None:
                self.span.finish(call, self._end_time(ended))

    def claim_end(self) -> bool:
        """Return True to the one caller that ends the call, and False to all others.

        False in a forked child too: the parent ends the call.
        """
        if os.getpid() != self._process_id or not self._finish_lock.acquire(blocking=False):
            return False
        self.phase = Phase.FINISHED
        self.handler.open_calls.discard(self)
        return True

    def _is_span_of_sdk_over(self) -> bool:
        """Return whether the SDK's own span ended with the failure, before we saw it."""
        waits_for_sdk_span = self.request_info.span_policy is SpanPolicy.WITH_SDK_SPAN
        return waits_for_sdk_span and self.span is None and self.has_failed

    def _end_time(self, ended: float | None) -> int | None:
        if ended is None:
            return None
        return int((self.started_at + ended - self._started_monotonic) * 1e9)

    def has_to_be_recorded(self) -> bool:
        """Return whether the call has to be recorded.

        A retrieval has to be if its response has usage that was not counted yet. It then takes over
        the request of the call that created the response.
        """
        if not self.request_info.is_retrieval:
            return True
        key = self._response_key
        if key is None or not self.facts.usage_counters:
            return False
        if not self.handler.response_ids.count_retrieval(key):
            return False
        created = self.handler.pending_retrievals.pop(key, None)
        if created is not None:
            self.request, self.prompt, self.pending_call = created
        return True

    def record_metrics(self, call: Call) -> None:
        """Record the finished call."""
        safely(self.handler.metrics.record_call, call, self.context)

    def evaluate(self, ended: float | None) -> Call:
        """Return the call with its usage, cost and verdict. Nothing is final before."""
        usage, cost = self.parse_usage(), None
        if usage is not None or not self.has_failed:
            cost = self.compute_cost(usage)
        if self._response_key is not None and not self.request_info.is_retrieval:
            self.handler.response_ids.close(self._response_key, has_usage=usage is not None)
        if self.conversation_key and self.facts.id:
            self.handler.response_id_by_conversation[self.conversation_key] = self.facts.id
        return self.build_call(usage, cost, self._diagnose(usage, cost), ended)

    def parse_usage(self) -> Usage | None:
        """Return the usage that the facts so far report."""
        info = self.request_info
        return safely(reported_usage, info.wire_format, info.host, self.facts, info.model)

    def compute_cost(self, usage: Usage | None) -> Cost | None:
        """Return the cost of `usage`, or the reason why it is not known."""
        return safely(
            self.handler.price_book.compute_cost, self._request_so_far(), self.facts, usage
        )

    def _diagnose(self, usage: Usage | None, cost: Cost | None) -> Verdict:
        if self.pending_call is None:
            return self.verdict_from_usage(usage)
        if usage is None and self._response_key is not None and not self.has_failed:
            self._suspend(self._response_key, self.pending_call)
            return Verdict("unreported")
        verdict = safely(
            self.handler.diagnosis.finish,
            self.pending_call,
            facts=self.facts,
            usage=usage,
            cost=cost,
            has_failed=self.has_failed,
            ended_at=self.handler.clock(),
        )
        if verdict is not None and self.known_prompt and self.prompt:
            layer = self.known_prompt.layer_of(self.prompt, verdict.section, verdict.index)
            return replace(verdict, layer=layer)
        return verdict or self.verdict_from_usage(usage)

    def _suspend(self, key: ResponseKey, pending_call: PendingCall) -> None:
        """Keep the request for the call that will retrieve the response, with its usage."""
        self.handler.diagnosis.unregister_running_call(pending_call)
        if self.request is not None:
            self.handler.pending_retrievals[key] = (self.request, self.prompt, pending_call)

    def verdict_from_usage(self, usage: Usage | None) -> Verdict:
        """Return the outcome that follows from the usage alone, without the prompt."""
        if usage is None or usage.cache_read_tokens is None:
            return Verdict("error" if usage is None and self.has_failed else "unreported")
        return Verdict("hit" if usage.cache_read_tokens else "cold")

    def _request_so_far(self) -> Request:
        """Return the request; one without body if the body is not known."""
        return self.request or self.request_info.to_request({}, b"", self.started_at)

    def build_call(
        self,
        usage: Usage | None,
        cost: Cost | None,
        verdict: Verdict,
        ended: float | None = None,
    ) -> Call:
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
            duration=(ended or time.perf_counter()) - self._started_monotonic,
            context_attributes=self._inherited_attributes,
            links=self.pending_call and self.pending_call.links,
        )
