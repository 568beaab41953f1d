"""Find the cheapest way to place breakpoints by trying all, on the emulator.

Tries every subset of layer ends (static, shared, previous turn, latest turn), each TTL, and on GPT
the provider's own breakpoint. Imports nothing of the harness, so that it can judge it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final, NamedTuple

from promptcache_emulator.clock import Clock
from promptcache_emulator.engine import Emulator
from tests.oracle.layout_workloads import HANDBOOK, Call, answer_parts, question_parts

PLACES: Final = ("static", "shared", "previous", "latest")
START: Final = 1_795_000_000.0
READ: Final = 0.1
WRITE: Final[Mapping[str, float]] = {"5m": 1.25, "1h": 2.0, "30m": 1.25, "12h": 2.5}
MODELS: Final[Mapping[str, tuple[str, str]]] = {
    "anthropic": ("claude-opus-4-8", "claude-sonnet-4-6"),
    "responses": ("gpt-6-sol", "gpt-5.6"),
    "chat": ("gpt-4.1", "gpt-4.1-mini"),
}
PATHS: Final = {
    "anthropic": "/v1/messages",
    "responses": "/v1/responses",
    "chat": "/v1/chat/completions",
}


class Policy(NamedTuple):
    """Where breakpoints stand, with the TTL of the static layer and of all others."""

    places: tuple[str, ...]
    head_ttl: str
    tail_ttl: str
    is_implicit: bool = False


@dataclass
class Meter:
    """Sends requests to an emulator and sums what they cost, relative to plain input."""

    wire: str
    rules: str = ""

    def __post_init__(self) -> None:
        self.clock = Clock(START)
        self.emulator = Emulator(self.clock, self.rules)

    def send(self, body: Mapping[str, Any]) -> None:
        more = {"max_tokens": 50} if self.wire == "anthropic" else {}
        answer = self.emulator.post_json(PATHS[self.wire], {**body, **more})
        assert "error" not in answer or answer["error"] is None, answer["error"]

    def relative_cost(self) -> float:
        results = [record.result for record in self.emulator.records]
        cost = sum(
            result.uncached_tokens
            + READ * result.cache_read_tokens
            + sum(WRITE[ttl] * count for ttl, count in result.cache_write_by_ttl.items())
            for result in results
        )
        return cost / sum(result.input_tokens for result in results)


def policies(wire: str) -> Iterator[Policy]:
    """Yield every policy of a wire."""
    subsets = [chosen for size in range(5) for chosen in combinations(PLACES, size)]
    if wire == "anthropic":
        for chosen in subsets:
            for ttls in (("5m", "5m"), ("1h", "5m"), ("1h", "1h")):
                yield Policy(chosen, *ttls)
    elif wire == "responses":
        for chosen in subsets:
            for ttl in ("30m", "12h"):
                yield Policy(chosen, ttl, ttl)
        yield Policy((), "30m", "30m", is_implicit=True)
    else:
        yield Policy((), "", "", is_implicit=True)


def find_optimum(wire: str, calls: Iterable[Call], rules: str = "") -> tuple[float, Policy]:
    """Return the lowest relative cost, and the policy that reaches it."""
    listed = list(calls)
    return min((run_policy(wire, listed, policy, rules), policy) for policy in policies(wire))


def run_policy(wire: str, calls: Iterable[Call], policy: Policy, rules: str = "") -> float:
    """Return what the calls cost under a policy, relative to plain input."""
    meter = Meter(wire, rules)
    histories: dict[int, list[tuple[str, list[str]]]] = {}
    for call in calls:
        meter.clock.advance(call.gap)
        history = histories.setdefault(call.conversation, [])
        meter.send(_build_request(wire, call, history, policy))
        parts = [call.context] if call.context else []
        history.append(("user", [*parts, *question_parts(call)]))
        history.append(("assistant", answer_parts(call)))
    return meter.relative_cost()


def _build_request(
    wire: str, call: Call, history: list[tuple[str, list[str]]], policy: Policy
) -> dict[str, Any]:
    system = [_text(wire, "system", HANDBOOK, _ttl(policy, "static"))]
    if call.shared:
        system.append(_text(wire, "system", call.shared, _ttl(policy, "shared")))
    messages: list[dict[str, Any]] = [
        {"role": role, "content": _texts(wire, role, parts)} for role, parts in history
    ]
    if len(messages) > 1:
        _mark(wire, messages[-2]["content"], _ttl(policy, "previous"))
    parts = [call.context] if call.context else []
    turn = _texts(wire, "user", [*parts, *question_parts(call)])
    _mark(wire, turn, _ttl(policy, "latest"))
    if call.now:
        turn += _texts(wire, "user", [call.now])
    messages.append({"role": "user", "content": turn})
    body: dict[str, Any] = {"model": MODELS[wire][call.model]}
    if wire == "anthropic":
        return {**body, "system": system, "messages": messages}
    if wire == "chat":
        return {**body, "messages": [{"role": "system", "content": system}, *messages]}
    items = [{"role": "developer", "content": system}, *messages]
    mode = {} if policy.is_implicit else {"prompt_cache_options": {"mode": "explicit"}}
    return {**body, "input": items, **mode}


def _ttl(policy: Policy, place: str) -> str | None:
    if place not in policy.places:
        return None
    return policy.head_ttl if place in ("static", "shared") else policy.tail_ttl


def _text(wire: str, role: str, text: str, ttl: str | None = None) -> dict[str, Any]:
    kind = "text"
    if wire == "responses":
        kind = "output_text" if role == "assistant" else "input_text"
    block: dict[str, Any] = {"type": kind, "text": text}
    if ttl and wire == "anthropic":
        block["cache_control"] = {"type": "ephemeral", "ttl": ttl}
    elif ttl and wire == "responses":
        block["prompt_cache_breakpoint"] = {"mode": "explicit", "ttl": ttl}
    return block


def _texts(wire: str, role: str, texts: Iterable[str]) -> list[dict[str, Any]]:
    return [_text(wire, role, text) for text in texts]


def _mark(wire: str, blocks: list[dict[str, Any]], ttl: str | None) -> None:
    if ttl:
        blocks[-1] = _text(wire, "user", blocks[-1]["text"], ttl)
