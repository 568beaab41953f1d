"""Send a mutated conversation to the emulator and compare each verdict with the truth."""

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
"""The start of the clock: November 2026, when the cache rules were written."""


@dataclass(frozen=True)
class JudgedCall:
    """One call with its label, its verdict and the emulator's truth.

    `missed` is None if the call missed no tokens. `coincides` is true if the readable prefix ends
    at a boundary that an earlier call reported. `excuse` is a true reason that no mutation caused.
    """

    mutator: str
    api: str
    label: Label | None
    verdict: Verdict
    usage: Usage
    missed: int | None
    waste: float | None
    coincides: bool
    size: int
    naive_reason: str | None
    excuse: str | None


class Simulation:
    """An application with its provider and diagnosis.

    `rules` makes the emulator differ from the documented cache rules.
    """

    def __init__(self, api: Api, rules: str = "") -> None:
        self.api = api
        self.clock = Clock(START)
        self.emulator = Emulator(self.clock, rules)
        self.diagnosis = Diagnosis(Settings())
        self.prices = PriceBook.load_with_user_prices(None)
        self.counterfactual = Emulator(self.clock, rules)
        self.cached_sizes: list[int] = []
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
        """Return the JSON of the response and the function that writes its cache entries."""
        raw = json.dumps(self.api.body(step.state)).encode()
        headers = {"authorization": f"Bearer {step.key}"}
        response, _ = (emulator or self.emulator).handle_request(
            "POST", self.api.url(step.state), raw, headers, {}
        )
        assert response.status == 200, response.body
        return response.body, response.commit

    def usage(self, reply: Any) -> tuple[ResponseFacts, Usage]:
        facts = self.api.wire.parse_event(reply)
        assert facts is not None
        usage = self.api.wire.parse_usage(facts)
        assert usage is not None
        return facts, usage

    def truth(self, step: Step, usage: Usage, before: Emulator) -> tuple[int, bool]:
        """Return the tokens that the call could have read in addition, by a counterfactual call.

        The second value tells whether they end at a boundary that an earlier call reported.
        """
        readable_tokens, readable_limit = (
            self.cached_sizes[-1] if self.cached_sizes else 0,
            usage.input_tokens,
        )
        if step.label is not None and step.label.reason == "model_changed":
            readable_tokens = before.records[-1].result.reusable_tokens if before.records else 0
        if step.instead is not None:
            better_step = Step(step.instead, key=step.key)
            reply, commit = self.reply(better_step, self.counterfactual)
            commit()
            readable_tokens = self.usage(reply)[1].cache_read_tokens or 0
        if step.twin is not None:
            twin = self.usage(self.reply(Step(step.twin, key=step.key), before)[0])[1]
            readable_tokens = twin.cache_read_tokens or 0
            # New text in the twin is new here too, so a shorter prompt had less to read.
            ended = self.ended if readable_tokens == self.whole(self.ended) else readable_tokens
            readable_limit = self.whole(usage.input_tokens - (twin.input_tokens - ended))
        # Without reported writes only the call that this one continues gives a boundary.
        before_it, self.last = self.last, step.state.messages
        follows = step.state.messages[: len(before_it)] == before_it
        known = self.cached_sizes if self.api.writes else self.cached_sizes[-1:] if follows else []
        return min(readable_tokens, readable_limit, usage.input_tokens) - (
            usage.cache_read_tokens or 0
        ), readable_tokens in known and readable_tokens <= readable_limit

    @property
    def minimum(self) -> int:
        return int(self.emulator.overrides.get("min_tokens") or self.api.minimum)

    def excuse(self, usage: Usage) -> str | None:
        """Return a reason that holds without a mutation.

        A short prompt, or a short marked prefix, is below the minimum. If only the end of a request
        is written, static prefixes are missed.
        """
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
        self.cached_sizes.append(cached)
        self.ended = usage.input_tokens

    def whole(self, tokens: int) -> int:
        """Round down to the provider's granularity. Return 0 below the minimum."""
        whole = tokens if self.api.writes else tokens // self.api.step * self.api.step
        return whole if whole >= self.minimum else 0


def play_conversation(name: str, api: Api, seed: int, rules: str = "") -> Iterator[JudgedCall]:
    """All calls of one mutated conversation."""
    rng = random.Random(zlib.crc32(f"{name} {api.name} {seed}".encode()))
    world, last = Simulation(api, rules), None
    for group in _groups(mutators()[name](rng, api)):
        world.clock.advance(group[0].wait)
        before = world.emulator.copy()
        running = [(step, world.request(step)) for step in group]
        pending_calls = [
            world.diagnosis.start(request, api.wire.parse_prompt(request)) for _, request in running
        ]
        replies = [world.reply(step) for step in group]
        world.clock.advance(2.0)
        for (step, request), pending_call, (reply, commit) in zip(
            running, pending_calls, replies, strict=True
        ):
            commit()
            facts, usage = world.usage(reply)
            cost = world.prices.compute_cost(request, facts, usage)
            verdict = world.diagnosis.finish(
                pending_call,
                facts=facts,
                usage=usage,
                cost=cost,
                has_failed=False,
                ended_at=world.clock(),
            )
            missed, coincides = world.truth(step, usage, before)
            world.remember(usage)
            reported_miss = (
                missed if step.label and missed > (0 if api.writes else api.step) else None
            )
            yield JudgedCall(
                name,
                api.name,
                step.label,
                verdict,
                usage,
                reported_miss,
                compute_waste(usage, cost, missed),
                coincides,
                len(step.state.system.encode()),
                naive_reason(request, last, usage),
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


def compute_waste(usage: Usage, cost: Cost, missed: int) -> float | None:
    """Return what `missed` tokens cost more than cache reads, in USD."""
    if cost.input_price is None or cost.cache_read_price is None:
        return None
    rewritten_tokens = min(missed, usage.cache_write_tokens or 0)
    price = (
        next(iter(cost.cache_write_prices.values()), cost.input_price)
        if rewritten_tokens
        else cost.input_price
    )
    return rewritten_tokens * (price - cost.cache_read_price) + (missed - rewritten_tokens) * (
        cost.input_price - cost.cache_read_price
    )


def naive_reason(request: Request, last: Request | None, usage: Usage) -> str | None:
    """Return the reason of a simple baseline: the first difference from the call before."""
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
    for reason, new_value, old_value in checks:
        if new_value != old_value:
            return reason
    new_history, old_history = _history(new), _history(old)
    return "unknown" if new_history[: len(old_history)] == old_history else "history_rewritten"


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
