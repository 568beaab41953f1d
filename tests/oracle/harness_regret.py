"""Compare what the harness costs with the optimum, on eight workloads and every reading.

    python -m tests.oracle.harness_regret

The harness sees the gaps of the first half of the calls only.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from promptcache import Prompt
from promptcache.harness.names import Wire
from tests.oracle.layout_optimum import MODELS, Meter, find_optimum
from tests.oracle.layout_workloads import (
    HANDBOOK,
    WORKLOADS,
    Call,
    answer_parts,
    question_parts,
)

VARIANTS: Final[tuple[tuple[Wire, str], ...]] = (
    ("anthropic", ""),
    ("responses", "implicit=latest"),
    ("responses", "implicit=developer"),
    ("responses", "implicit=pinned"),
    ("chat", ""),
)


def run_harness(wire: Wire, calls: Iterable[Call], rules: str = "") -> float:
    """Return what the calls cost when the harness lays them out, relative to plain input."""
    listed = list(calls)
    prompt = Prompt("regret", system=HANDBOOK)
    ttl = _plan_ttls(prompt, wire, listed[: len(listed) // 2])
    meter = Meter(wire, rules)
    start: Any = prompt.chat
    chats: dict[int, Any] = {}
    for call in listed:
        meter.clock.advance(call.gap)
        model = MODELS[wire][call.model]
        chat = chats.get(call.conversation)
        if chat is None or chat.model != model:
            options = {"shared": call.shared or None, "ttl": ttl}
            history = {"history": chat} if chat else {}
            chat = start(wire=wire, model=model, **options, **history)
            chats[call.conversation] = chat
        text = question_parts(call)
        meter.send(chat.ask(text, context=call.context or None, now=call.now or None))
        chat.add(_answer(wire, answer_parts(call)))
    return meter.relative_cost()


def _plan_ttls(prompt: Prompt, wire: Wire, seen: list[Call]) -> Any:
    gaps = [call.gap for call in seen[1:]]
    turns = gaps if len({call.conversation for call in seen}) == 1 else None
    plan = prompt.plan(
        model=MODELS[wire][0], wire=wire, calls_per_hour=1, gaps=gaps, turn_gaps=turns
    )
    return plan.ttls


def _answer(wire: Wire, parts: list[str]) -> dict[str, Any]:
    if wire == "anthropic":
        return {"type": "message", "content": [{"type": "text", "text": text} for text in parts]}
    if wire == "chat":
        content = [{"type": "text", "text": text} for text in parts]
        return {"choices": [{"message": {"role": "assistant", "content": content}}]}
    blocks = [{"type": "output_text", "text": text} for text in parts]
    return {"output": [{"role": "assistant", "content": blocks}]}


def main() -> None:
    """Print a table: the optimum, the harness, and the quotient."""
    worst, product, count = 0.0, 1.0, 0
    for wire, rules in VARIANTS:
        print(f"\n| {wire} {rules} | optimum | harness | quotient | optimal breakpoints |")
        print("|---|--:|--:|--:|---|")
        for name, workload in WORKLOADS.items():
            optimum, policy = find_optimum(wire, workload(), rules)
            cost = run_harness(wire, workload(), rules)
            quotient = cost / optimum
            worst, product, count = max(worst, quotient), product * quotient, count + 1
            places = " ".join(policy.places) or "-"
            where = f"{places} {policy.head_ttl}/{policy.tail_ttl}"
            print(f"| {name} | {optimum:.3f} | {cost:.3f} | {quotient:.3f} | {where} |", flush=True)
    print(f"\nMean quotient {product ** (1 / count):.4f}, worst {worst:.4f}")


if __name__ == "__main__":
    main()
