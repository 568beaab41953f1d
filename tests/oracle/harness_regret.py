"""Compare what the harness costs with the optimum, on eight workloads and every documented rule.

    python -m tests.oracle.harness_regret [variants|readings|profiles]

The harness sees the gaps of the first half of the calls only.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, cast

from promptcache import Plan, Prompt
from promptcache.harness.names import Wire
from tests.oracle.api_variants import READINGS, VARIANTS, Variant, profile_variants
from tests.oracle.layout_optimum import Meter, find_optimum
from tests.oracle.layout_workloads import (
    HANDBOOK,
    WORKLOADS,
    Call,
    answer_parts,
    question_parts,
)

SETS: Final[Mapping[str, Sequence[Variant]]] = {
    "variants": VARIANTS,
    "readings": READINGS,
    "profiles": tuple(profile_variants()),
}


def run_harness(variant: Variant, calls: Iterable[Call]) -> float:
    """Return what the calls cost when the harness lays them out, relative to plain input."""
    listed = list(calls)
    wire = cast("Wire", variant.wire)
    params = {"max_tokens": 50} if wire == "invoke_model" else None
    prompt = Prompt("regret", system=HANDBOOK, params=params)
    ttl: Any = plan_prompt(prompt, variant, listed[: len(listed) // 2], variant.models[0]).ttls
    meter = Meter(variant)
    start: Any = prompt.chat
    chats: dict[int, Any] = {}
    for call in listed:
        meter.clock.advance(call.gap)
        model = variant.models[call.model]
        chat = chats.get(call.conversation)
        if chat is None or chat.model != model:
            options = {"shared": call.shared or None, "ttl": ttl}
            history = {"history": chat} if chat else {}
            chat = start(wire=wire, model=model, **options, **history)
            chats[call.conversation] = chat
        text = question_parts(call)
        arguments = chat.ask(text, context=call.context or None, now=call.now or None)
        meter.send(model, _body_of(wire, arguments))
        chat.add(_answer(wire, answer_parts(call)))
    return meter.relative_cost()


def plan_prompt(prompt: Prompt, variant: Variant, seen: list[Call], model: str) -> Plan:
    """Return the plan for the gaps of the calls that were seen."""
    gaps = [call.gap for call in seen[1:]]
    turns = gaps if len({call.conversation for call in seen}) == 1 else None
    wire = cast("Wire", variant.wire)
    return prompt.plan(model=model, wire=wire, calls_per_hour=1, gaps=gaps, turn_gaps=turns)


def _body_of(wire: Wire, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body that the SDK makes of its keyword arguments."""
    body = dict(arguments)
    if wire == "anthropic":
        return {**body, "max_tokens": 50}
    if wire == "invoke_model":
        decoded: dict[str, Any] = json.loads(body["body"])
        return decoded
    if wire == "gemini":
        return {"contents": body["contents"], **body["config"]}
    body.pop("modelId", None)
    return body


def _answer(wire: Wire, parts: list[str]) -> dict[str, Any]:
    if wire in ("anthropic", "invoke_model"):
        return {"type": "message", "content": [{"type": "text", "text": text} for text in parts]}
    if wire == "chat":
        content = [{"type": "text", "text": text} for text in parts]
        return {"choices": [{"message": {"role": "assistant", "content": content}}]}
    if wire == "gemini":
        texts = [{"text": text} for text in parts]
        return {"candidates": [{"content": {"role": "model", "parts": texts}}]}
    if wire == "converse":
        texts = [{"text": text} for text in parts]
        return {"output": {"message": {"role": "assistant", "content": texts}}}
    blocks = [{"type": "output_text", "text": text} for text in parts]
    return {"output": [{"role": "assistant", "content": blocks}]}


def compare(variant: Variant) -> Iterator[float]:
    """Print a table of one variant, and yield the quotients of harness and optimum."""
    print(f"\n| {variant.name} | optimum | harness | quotient | optimal breakpoints |")
    print("|---|--:|--:|--:|---|")
    for name, workload in WORKLOADS.items():
        optimum, policy = find_optimum(variant, workload())
        cost = run_harness(variant, workload())
        where = f"{' '.join(policy.places) or '-'} {policy.head_ttl}/{policy.tail_ttl}"
        row = f"| {name} | {optimum:.3f} | {cost:.3f} | {cost / optimum:.3f} | {where} |"
        print(row, flush=True)
        yield cost / optimum


def main(names: Sequence[str]) -> int:
    """Compare all variants of the sets, and return 1 where the harness costs over 5 % more."""
    quotients = [
        quotient
        for name in names or SETS
        for variant in SETS[name]
        for quotient in compare(variant)
    ]
    mean = math.exp(math.fsum(map(math.log, quotients)) / len(quotients))
    print(f"\n{len(quotients)} cases: mean quotient {mean:.4f}, worst {max(quotients):.4f}")
    return 1 if mean > 1.02 or max(quotients) > 1.05 else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
