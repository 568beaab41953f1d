"""Play the steps of a family in time: a cache looks up at the request, and stores at the answer."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final

from promptcache_emulator.clock import Clock
from promptcache_emulator.engine import Emulator
from promptcache_emulator.prompt_layout import PromptBlock
from promptcache_emulator.response import ProviderResponse
from tests.breaks.exam.driver import Driver, Observed
from tests.breaks.exam.scenario import Label, Step, Steps
from tests.breaks.exam.sent_request import SentRequest
from tests.breaks.exam.surfaces import Surface

START: Final = 1_795_000_000.0
"""The start of the clock: November 2026, when the emulator's rules of the caches hold."""


_BEGIN, _END = 0, 1
"""Events of an answer, in their order."""


@dataclass(frozen=True)
class Truth:
    """What the provider's cache really did.

    `read` and `total` are tokens of the call. `missed` are the tokens that it would have read
    without the break, None if the call has no label. `reusable` is the longest prefix that any
    earlier request has written.
    """

    read: int
    written: int
    total: int
    reusable: int
    missed: int | None = None


@dataclass(frozen=True)
class JudgedCall:
    """One call with its label, its truth and what promptcache said."""

    step: Step
    truth: Truth
    observed: Observed
    raced: bool


@dataclass
class _Running:
    """A request that has not ended."""

    step: Step
    call: Any
    sent: SentRequest
    response: ProviderResponse
    truth: Truth
    raced: bool
    begun: bool = False


@dataclass
class World:
    """A provider's cache with the application that calls it."""

    surface: Surface
    driver: Driver
    clock: Clock
    emulator: Emulator = field(init=False)
    last_sent_at: float = 0.0
    quiet_at: float = 0.0

    def __post_init__(self) -> None:
        self.emulator = Emulator(self.clock)
        self.last_sent_at = self.quiet_at = self.clock()
        self._running: dict[int, _Running] = {}
        self._stale: Emulator | None = None

    def play(self, steps: Steps) -> Iterator[JudgedCall]:
        """Yield the calls in the order in which they end."""
        events: list[tuple[float, int, int]] = []
        for number, step in enumerate(steps):
            base = self.last_sent_at if step.overlaps else self.quiet_at
            at = max(base + step.wait, self.clock())
            yield from self._run_until(events, at)
            self._send(number, step, at)
            begins = at + step.lasts * self.driver.first_byte
            heapq.heappush(events, (begins, _BEGIN, number))
            heapq.heappush(events, (at + step.lasts, _END, number))
        yield from self._run_until(events, math.inf)

    def _run_until(self, events: list[tuple[float, int, int]], at: float) -> Iterator[JudgedCall]:
        while events and events[0][0] <= at:
            now, event, number = heapq.heappop(events)
            self._advance(now)
            if event == _BEGIN:
                self._begin(self._running[number])
            else:
                yield self._end(self._running.pop(number))

    def _advance(self, at: float) -> None:
        self.clock.advance(max(0.0, at - self.clock()))

    def _send(self, number: int, step: Step, at: float) -> None:
        self._stale = self.emulator.copy() if step.wait > self.surface.ttl else None
        stale_read = self._read(self._stale, step) if self._stale and step.label else 0
        self._advance(at)
        self.last_sent_at, self.quiet_at = at, max(self.quiet_at, at + step.lasts)
        before = self.emulator.copy() if step.label else None
        answered = self._emulator_after_all_answers()
        call, sent = (None, self.driver.body(step)) if step.unseen else self.driver.send(step)
        response = self._ask(self.emulator, sent)
        truth = self._truth(step, response, before, stale_read)
        raced = (
            answered is not None
            and _usage_of(answered, self._ask(answered, sent)).read > truth.read
        )
        if step.fails:
            response = failed_response(step.fails)
        self._running[number] = _Running(step, call, sent, response, truth, raced)

    def _emulator_after_all_answers(self) -> Emulator | None:
        """Return the cache as it would be if all running requests had been answered."""
        waiting = [other for other in self._running.values() if not other.begun]
        if not waiting:
            return None
        answered = self.emulator.copy()
        for other in waiting:
            if other.step.fails is None:
                self._ask(answered, other.sent).commit()
        return answered

    def _begin(self, running: _Running) -> None:
        """Begin to answer: from now on the entries of the request can be read."""
        if running.response.status == 200:
            running.response.commit()
            running.begun = True
        if not running.step.unseen:
            self.driver.begin(running.call, running.response)

    def _end(self, running: _Running) -> JudgedCall:
        step, truth = running.step, running.truth
        if step.unseen:
            return JudgedCall(step, truth, Observed(), raced=False)
        observed = self.driver.end(running.call, running.response)
        return JudgedCall(step, truth, observed, running.raced)

    def _reads(self, emulator: Emulator, sent: SentRequest) -> int:
        """Return the tokens that this request reads from this cache."""
        return _usage_of(emulator, self._ask(emulator, sent)).read

    def _read(self, emulator: Emulator, step: Step) -> int:
        """Return what the twin of this step reads from this cache."""
        return self._reads(emulator, self.driver.body(_twin(step)))

    def _ask(self, emulator: Emulator, sent: SentRequest) -> ProviderResponse:
        if self.surface.answer is not None:
            return self.surface.answer(emulator, sent)
        return emulator.handle_request("POST", sent.path, sent.body, sent.headers, {})[0]

    def _truth(
        self,
        step: Step,
        response: ProviderResponse,
        before: Emulator | None,
        stale_read: int,
    ) -> Truth:
        truth = _usage_of(self.emulator, response)
        if before is None or step.label is None or response.status != 200:
            return truth
        plan_now = self.emulator.records[-1].plan
        if _is_race(step.label):
            before = self._emulator_after_all_answers() or before
        for better in step.better_past or ():
            self._ask(before, self.driver.body(replace(step, prompt=better))).commit()
        readable = max(stale_read, self._read(before, step))
        twin_plan = before.records[-1].plan
        gone = _gone_tokens(
            twin_plan.prompt.blocks, plan_now.prompt.blocks, readable, step.label.removes
        )
        readable = min(max(0, readable - gone), truth.total)
        if not self.surface.writes:
            readable = readable // self.surface.step * self.surface.step
        return replace(truth, missed=max(0, readable - truth.read))


def _twin(step: Step) -> Step:
    return replace(step, prompt=step.twin or step.prompt, key=step.twin_key or step.key)


def _is_race(label: Label) -> bool:
    return "concurrent_cold_race" in label.reasons


def _usage_of(emulator: Emulator, response: ProviderResponse) -> Truth:
    if response.status != 200:
        return Truth(0, 0, 0, 0)
    result = emulator.records[-1].result
    return Truth(
        result.cache_read_tokens,
        result.cache_write_tokens,
        result.input_tokens,
        result.reusable_tokens,
    )


def failed_response(status: int) -> ProviderResponse:
    error = {"type": "overloaded_error", "message": "Overloaded"}
    body = {"type": "error", "error": error, "message": "Overloaded"}
    return ProviderResponse(body, status=status)


def _gone_tokens(
    old: tuple[PromptBlock, ...], new: tuple[PromptBlock, ...], readable: int, removes: bool
) -> int:
    """Return the readable tokens of `old` that `new` does not contain any more.

    Content that was replaced by other content counts as contained, unless the break `removes` it.
    """
    end = lost = 0
    remaining, changed = list(new), list[PromptBlock]()
    for block in old:
        end += block.token_count
        if end > readable:
            break
        same = next((other for other in remaining if other.text == block.text), None)
        if same is None:
            changed.append(block)
        else:
            remaining.remove(same)
    brought = sum(block.token_count for block in remaining)
    for block in changed:
        kept = max((_common_tokens(block, other) for other in remaining), default=0)
        lost += block.token_count - kept
        brought -= kept
    return lost if removes else max(0, lost - max(0, brought))


def _common_tokens(old: PromptBlock, new: PromptBlock) -> int:
    """Return the tokens at both ends of a block that its edited version has too.

    A version has at least half of the text in common; anything else is another block.
    """
    limit = min(len(old.text), len(new.text))
    head = _common_length(old.text, new.text)
    tail = _common_length(old.text[::-1], new.text[::-1])
    common = min(limit, head + tail)
    if old.level != new.level or old.fixed_tokens is not None or common * 2 < limit:
        return 0
    return round(old.token_count * common / len(old.text))


def _common_length(first: str, second: str) -> int:
    pairs = zip(first, second, strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(first), len(second)))
