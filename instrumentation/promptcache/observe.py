"""The life of one call: opened, fed with what the provider says, ended exactly once.

A `Record` is one call. Everything of ours that runs on the application's path runs inside `safely`, so that no failure
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

from promptcache import ambient, spans
from promptcache.attributes import AT_START, read
from promptcache.model import Call, Cost, Prompt, Request, Usage, Verdict
from promptcache.observer import Asked, Observer
from promptcache.providers.wire import JSON, NOTHING, merge
from promptcache.safety import safely

if TYPE_CHECKING:
    from promptcache.diagnose import Sighting


class Record:
    """One call, from `request` to its last event. Methods may raise: callers run them `safely`."""

    __slots__ = (
        "__weakref__",
        "_ambient",
        "_begun",
        "_first_chunk",
        "_once",
        "_process",
        "_repeats",
        "_settled",
        "_verdict",
        "asked",
        "claimed",
        "context",
        "conversation",
        "dull",
        "error",
        "facts",
        "heard",
        "held",
        "observer",
        "own",
        "prompt",
        "request",
        "retries",
        "sighting",
        "site",
        "span",
        "started",
        "written",
    )

    def __init__(self, observer: Observer, asked: Asked, elapsed: float = 0.0) -> None:
        """Opens the call; `elapsed` seconds of it have passed already. Opens its span, or claims the one around it."""
        if observer.dropped:
            observer.sweep()
        self.observer, self.asked = observer, asked
        self.started = observer.clock() - elapsed
        self._begun = time.perf_counter() - elapsed
        self._once = Lock()
        self._process = os.getpid()
        self._repeats = False
        self._first_chunk: float | None = None
        self._verdict: Verdict | None = None
        self.request: Request | None = None
        self.prompt: Prompt | None = None
        self.sighting: Sighting | None = None
        self.facts = NOTHING
        self.error: str | None = None
        self.retries: int | None = None
        self.conversation: bytes | None = None
        self.span: Span | None = None
        self.own = self.claimed = self.heard = self.held = False
        self.written: Mapping[str, Any] | None = None
        self._settled: tuple[object, tuple[Usage, Cost | None, Verdict]] | None = None
        self.dull: Callable[[JSON], bool] = lambda event: False  # until output was heard of
        self.context = otel.get_current()
        around = trace.get_current_span(self.context)
        self._ambient = ambient.inherited(
            self.context, around, (*observer.settings.baggage_keys, *observer.settings.metric_keys)
        )
        self.site = ambient.site() if observer.settings.callsite else None
        if not asked.fetch and not asked.defer:
            self.enter(self.context)

    def enter(self, context: Context) -> None:
        """Settles which span is the call's: an LLM span that others opened for it in `context`, else a new one there.

        A span that does not record, and was not there when the call began, is the SDK's own, which no sampler took.
        """
        around, before = trace.get_current_span(context), trace.get_current_span(self.context)
        self.context, asked = context, self.asked
        if taken := self.observer.claims.take(around, asked.model, stream=asked.stream):
            self.span, self.claimed, self.context = (
                taken,
                True,
                trace.set_span_in_context(taken, context),
            )
        elif around is not before and not around.is_recording():
            self.span = around
        else:
            self._open()

    def _open(self) -> None:
        start = read(AT_START, self._call(None, None, Verdict("cold")))
        name = " ".join(part for part in (self.asked.wire.operation, self.asked.model) if part)
        self.own = True
        self.span = self.observer.tracer.start_span(
            name, self.context, SpanKind.CLIENT, start, start_time=int(self.started * 1e9)
        )
        self.context = trace.set_span_in_context(self.span, self.context)

    def sent(self, request: Request, retries: int | None) -> None:
        """The body is known and the response begins: reads the prompt, looks it up, and settles the span."""
        self.request, self.retries = request, retries
        if self.asked.fetch:
            return
        if self.span is None:
            self.enter(otel.get_current())
        self.prompt = safely(self.asked.wire.prompt, request)
        self.sighting = safely(self.observer.diagnosis.open, request, self.prompt)

    @property
    def over(self) -> bool:
        """Whether the call has ended."""
        return self._once.locked()

    @property
    def began(self) -> bool:
        """Whether output has been seen."""
        return self._first_chunk is not None

    def begun(self) -> None:
        """The application will read a stream. A foreign span may end before the first event: it learns this much."""
        if self.claimed and self.written is None:
            self._publish(self._call(None, None, Verdict("unreported")))

    def hear(self, data: object) -> None:
        """The SDK parsed `data` and is about to build its model of it."""
        self.heard = True
        if isinstance(data, Mapping) and not self._once.locked():
            self.saw(cast("JSON", data))
            if self.began:
                self.dull = self.asked.wire.dull

    def saw(self, event: JSON) -> None:
        """One response, or one event of a stream."""
        if (self.began and self.asked.wire.dull(event)) or (
            facts := self.asked.wire.read(event)
        ) is None:
            return
        more = facts.counts or facts.failed or (facts.terminal and not self.facts.terminal)
        self.facts = merge(self.facts, facts)
        if facts.content and self._first_chunk is None:
            self._first_chunk = time.perf_counter() - self._begun
        if more and self.asked.stream:
            self.tell()

    def tell(self) -> None:
        """Writes what is known on a foreign span, which may end before the call does."""
        if self.claimed and not self._once.locked():
            self._publish(self._settle())

    def failed(self, error: BaseException) -> None:
        """The call raised `error`; only its type is kept."""
        self.error = type(error).__name__

    def broke(self, error: BaseException) -> None:
        """The stream broke with `error`; a foreign span is about to end."""
        self.failed(error)
        self.tell()

    def end(self) -> None:
        """Ends the call. The first time counts, every later one does nothing."""
        if os.getpid() != self._process or not self._once.acquire(blocking=False):
            return
        if self.asked.fetch and not self._fetched():
            return
        if self.span is None and not (self.asked.defer and self._failed):
            self.enter(self.context)
        try:
            call = self._settle(final=True)
            if self.conversation and self.facts.id:
                self.observer.conversations[self.conversation] = self.facts.id
            if self._late():
                self._open()
            safely(self.observer.meters.record, call, self.context)
            self._publish(call)
        finally:
            if self.own and self.span is not None:
                self.span.end()

    def drop(self) -> None:
        """The response was garbage-collected: runs in its `__del__`, by `safely`."""
        if not self._once.locked():
            self.leave(busy=ambient.telemetry_runs(sys._getframe()))  # pyright: ignore[reportPrivateUsage]  # a cheap stack walk

    def leave(self, *, busy: bool) -> None:
        """Ends the call, now if no lock of telemetry's can be held here; if `busy`, with the next call."""
        if busy:
            self.observer.dropped.append(self)
        else:
            self.end()

    def _late(self) -> bool:
        """Whether the SDK's span ended before anything could be written on it: a child of ours carries it all then."""
        return (
            self.claimed
            and self.written is None
            and self.span is not None
            and not self.span.is_recording()
        )

    def _fetched(self) -> bool:
        """Whether a fetched response says something that was not counted yet; takes up the call that asked for it."""
        facts = self.facts
        if not facts.counts or not facts.id:
            return False
        waiting = self.observer.unfinished.take(self.asked.provider, facts.id)
        if waiting is not None:
            self.request, self.prompt, self.sighting = waiting
        return self._count_once()

    def _first_time(self) -> bool:
        """Whether this response was not counted before: a fetch may have seen the end of a stream before the stream."""
        once = self.asked.fetch or not self.facts.id or not self.asked.wire.fetched
        return once or self._count_once()

    def _count_once(self) -> bool:
        return self.observer.diagnosis.memory.first_time((self.asked.provider, self.facts.id))

    def _settle(self, *, final: bool = False) -> Call:
        """The call as far as it is known now; the verdict is made once, with the first usage or finally without."""
        facts = self.facts
        said = facts._replace(content=False, terminal=False), self._failed
        if self._settled is not None and self._settled[0] == said:
            return self._call(*self._settled[1])
        usage = None if self._repeats else safely(self.asked.wire.usage, facts)
        if usage is not None and self._verdict is None and not self._first_time():
            usage, self._repeats = None, True
        if usage is None and not final:
            return self._call(None, None, self._plainly(None))
        cost = (
            safely(self.observer.book.cost, self._asked_for(), facts, usage)
            if usage or not self._failed
            else None
        )
        if self._verdict is None:
            self._verdict = self._judge(usage, cost)
        self._settled = None if usage is None else (said, (usage, cost, self._verdict))
        return self._call(usage, cost, self._verdict)

    def _judge(self, usage: Usage | None, cost: Cost | None) -> Verdict:
        facts, sighting = self.facts, self.sighting
        if sighting is None:
            return self._plainly(usage)
        if (
            usage is None
            and not self._failed
            and facts.id
            and self.asked.wire.fetched
            and self.request is not None
        ):
            self.observer.diagnosis.park(sighting)
            if not self._repeats:
                self.observer.unfinished.keep(
                    self.asked.provider, facts.id, (self.request, self.prompt, sighting)
                )
            return Verdict("unreported")
        verdict = safely(
            self.observer.diagnosis.close,
            sighting,
            facts=facts,
            usage=usage,
            cost=cost,
            failed=self._failed,
            at=self.observer.clock(),
        )
        return verdict or self._plainly(usage)

    def _plainly(self, usage: Usage | None) -> Verdict:
        """What the usage alone says, where the prompt could not be read."""
        if usage is None or usage.read is None:
            return Verdict("error" if usage is None and self._failed else "unreported")
        return Verdict("hit" if usage.read else "cold")

    @property
    def _failed(self) -> bool:
        return self.error is not None or self.facts.failed is not None

    def _asked_for(self) -> Request:
        """The request, as far as it got."""
        return self.request or self.asked.request({}, b"", self.started)

    def _call(self, usage: Usage | None, cost: Cost | None, verdict: Verdict) -> Call:
        return Call(
            request=self._asked_for(),
            facts=self.facts,
            verdict=verdict,
            prompt=self.prompt,
            prefix=self.sighting and self.sighting.prefix,
            usage=usage,
            cost=cost,
            site=self.site,
            error=self.error or self.facts.failed,
            retries=self.retries,
            first_chunk=self._first_chunk if self.asked.stream else None,
            duration=time.perf_counter() - self._begun,
            ambient=self._ambient,
        )

    def _publish(self, call: Call) -> None:
        if self.span is not None and self.span.is_recording():
            before = self.written or {}
            self.written = spans.publish(
                self.span, call, self.observer.settings, own=self.own, before=before
            )
