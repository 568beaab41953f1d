"""Sends a mutated conversation to the emulator in-process and holds the verdict on every answer against the truth."""

from __future__ import annotations

import json
import random
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from promptcache import Settings
from promptcache.diagnosis.diagnosis import Diagnosis
from promptcache.model import Cost, Request, ResponseFacts, Usage, Verdict
from promptcache.prices import PriceBook
from promptcache_emulator.clock import Clock
from promptcache_emulator.engine import Emulator
from tests.breaks.apis import Api
from tests.breaks.conversations import Message
from tests.breaks.more_mutators import mutators
from tests.breaks.mutators import Label, Step

START = 1_795_000_000.0
"""The emulator's clock at the start: November 2026, when the rules and profiles of this repository were written."""


@dataclass(frozen=True)
class Judged:
    """One call: what was expected, what was said, and what the emulator knows.

    `missed` is None where nothing was missed. `coincides`: what could have been read ends where an earlier call
    reported its read and write to end. `excuse` is a reason that is true of this call though no mutation brought it.
    """

    mutator: str
    api: str
    label: Label | None
    said: Verdict
    usage: Usage
    missed: int | None
    waste: float | None
    coincides: bool
    size: int
    naive: str | None
    excuse: str | None


class World:
    """An application, its provider and its diagnosis. `rules` perturbs the emulator against what `rules.py` says."""

    def __init__(self, api: Api, rules: str = "") -> None:
        self.api = api
        self.clock = Clock(START)
        self.emulator = Emulator(self.clock, rules)
        self.diagnosis = Diagnosis(Settings())
        self.prices = PriceBook.load(None)
        self.better = Emulator(self.clock, rules)
        self.left: list[int] = []
        self.ended = 0
        self.last: tuple[Message, ...] = ()

    def request(self, step: Step) -> Request:
        body = self.api.body(step.state)
        model = self.api.models[step.state.model]
        return Request(
            self.api.wire.name,
            self.api.provider,
            self.api.wire.operation,
            model,
            "host",
            443,
            False,
            body,
            step.key.encode(),
            self.clock(),
        )

    def reply(self, step: Step, emulator: Emulator | None = None) -> tuple[Any, Callable[[], None]]:
        """The JSON of the answer, and what makes its cache entries."""
        raw = json.dumps(self.api.body(step.state)).encode()
        headers = {"authorization": f"Bearer {step.key}"}
        answer, _ = (emulator or self.emulator).handle(
            "POST", self.api.url(step.state), raw, headers, {}
        )
        assert answer.status == 200, answer.body
        return answer.body, answer.commit

    def usage(self, reply: Any) -> tuple[ResponseFacts, Usage]:
        facts = self.api.wire.parse_event(reply)
        assert facts is not None
        usage = self.api.wire.parse_usage(facts)
        assert usage is not None
        return facts, usage

    def truth(self, step: Step, usage: Usage, before: Emulator) -> tuple[int, bool]:
        """How many tokens the call could have read more, by the emulator's own counterfactual, and whether that ends at
        a boundary that an earlier call reported."""
        could, shrunk = self.left[-1] if self.left else 0, usage.input_tokens
        if step.label is not None and step.label.reason == "model_changed":
            could = before.records[-1].result.reusable_tokens if before.records else 0
        if step.instead is not None:
            better = Step(step.instead, key=step.key)
            reply, commit = self.reply(better, self.better)
            commit()
            could = self.usage(reply)[1].cache_read_tokens or 0
        if step.twin is not None:
            twin = self.usage(self.reply(Step(step.twin, key=step.key), before)[0])[1]
            could = twin.cache_read_tokens or 0
            # What is new in the twin would have been new here too: a prompt that shrank had less to read.
            ended = self.ended if could == self.whole(self.ended) else could
            shrunk = self.whole(usage.input_tokens - (twin.input_tokens - ended))
        # Without reported writes a boundary is known only from the call that this one goes on from.
        before_it, self.last = self.last, step.state.messages
        follows = step.state.messages[: len(before_it)] == before_it
        known = self.left if self.api.writes else self.left[-1:] if follows else []
        return min(could, shrunk, usage.input_tokens) - (
            usage.cache_read_tokens or 0
        ), could in known and could <= shrunk

    @property
    def minimum(self) -> int:
        return int(self.emulator.overrides.get("min_tokens") or self.api.minimum)

    def excuse(self, usage: Usage) -> str | None:
        """What is too short is below the minimum, also where only its marked beginning is; where only tails are
        written, static prefixes are lost."""
        if (
            not self.whole(usage.input_tokens)
            or usage.cache_read_tokens == usage.cache_write_tokens == 0
        ):
            return "below_minimum"
        tail = self.api.tail or self.emulator.overrides.get("implicit_mode") in ("latest", "pinned")
        return "breakpoint_missing_on_static" if tail else None

    def remember(self, usage: Usage) -> None:
        cached = (
            (usage.cache_read_tokens or 0) + (usage.cache_write_tokens or 0)
            if self.api.writes
            else self.whole(usage.input_tokens)
        )
        self.left.append(cached)
        self.ended = usage.input_tokens

    def whole(self, tokens: int) -> int:
        """As many as can be read where the provider reads multiples of a step."""
        whole = tokens if self.api.writes else tokens // self.api.step * self.api.step
        return whole if whole >= self.minimum else 0


def play(name: str, api: Api, seed: int, rules: str = "") -> Iterator[Judged]:
    """All calls of one mutated conversation."""
    dice = random.Random(zlib.crc32(f"{name} {api.name} {seed}".encode()))
    world, last = World(api, rules), None
    for group in _groups(mutators()[name](dice, api)):
        world.clock.advance(group[0].wait)
        before = world.emulator.copy()
        running = [(step, world.request(step)) for step in group]
        seen = [
            world.diagnosis.start(request, api.wire.parse_prompt(request)) for _, request in running
        ]
        replies = [world.reply(step) for step in group]
        world.clock.advance(2.0)
        for (step, request), sighting, (reply, commit) in zip(running, seen, replies, strict=True):
            commit()
            facts, usage = world.usage(reply)
            cost = world.prices.compute_cost(request, facts, usage)
            said = world.diagnosis.finish(
                sighting, facts=facts, usage=usage, cost=cost, failed=False, at=world.clock()
            )
            missed, coincides = world.truth(step, usage, before)
            world.remember(usage)
            shown = missed if step.label and missed > (0 if api.writes else api.step) else None
            yield Judged(
                name,
                api.name,
                step.label,
                said,
                usage,
                shown,
                paid(usage, cost, missed),
                coincides,
                len(step.state.system.encode()),
                naive(request, last, usage),
                world.excuse(usage),
            )
            last = request


def _groups(steps: Iterator[Step]) -> Iterator[list[Step]]:
    group: list[Step] = []
    for step in steps:
        if group and not step.together:
            yield group
            group = []
        group.append(step)
    if group:
        yield group


def paid(usage: Usage, cost: Cost, missed: int) -> float | None:
    """What `missed` tokens cost too much, from the prices alone."""
    if cost.input_price is None or cost.cache_read_price is None:
        return None
    again = min(missed, usage.cache_write_tokens or 0)
    price = (
        next(iter(cost.cache_write_prices.values()), cost.input_price)
        if again
        else cost.input_price
    )
    return again * (price - cost.cache_read_price) + (missed - again) * (
        cost.input_price - cost.cache_read_price
    )


def naive(request: Request, last: Request | None, usage: Usage) -> str | None:
    """The simple baseline: nothing read means a miss, explained by the first difference from the call before."""
    if usage.cache_read_tokens:
        return None
    if last is None:
        return "cold_start"
    new, old = request.body, last.body
    checks = (
        ("model_changed", request.model, last.model),
        ("tools_changed", _tools(new), _tools(old)),
        ("system_changed", _first(new), _first(old)),
        ("param_changed", _params(new), _params(old)),
    )
    for reason, here, there in checks:
        if here != there:
            return reason
    here, there = _history(new), _history(old)
    return "unknown" if here[: len(there)] == there else "history_rewritten"


_HISTORIES = ("messages", "input", "contents")
_SYSTEMS = ("instructions", "system", "systemInstruction")


def _history(body: Any) -> list[Any]:
    return next(list(body[name]) for name in _HISTORIES if name in body)


def _first(body: Any) -> Any:
    return (
        next((body[name] for name in _SYSTEMS if name in body), None)
        or (body.get("messages") or [None])[0]
    )


def _tools(body: Any) -> Any:
    return body.get("tools") or body.get("toolConfig", {}).get("tools")


def _params(body: Any) -> Any:
    return {key: body[key] for key in body if key not in (*_HISTORIES, *_SYSTEMS, "tools", "model")}
