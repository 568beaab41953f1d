"""Eight workloads, as lists of calls that know nothing of any wire or layout."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

HANDBOOK: Final = " ".join(
    f"Rule {number}: read the order, look at the policy, and answer in plain words."
    for number in range(300)
)
PLAYBOOK: Final = " ".join(
    f"Advice {number}: be brief, and quote the rule." for number in range(250)
)


@dataclass(frozen=True, slots=True)
class Call:
    """One call. Calls of one conversation follow each other, and each adds a turn to it.

    `gap` is in seconds since the call before. `blocks` is how many parts question and answer have.
    """

    gap: float
    conversation: int
    question: str
    context: str = ""
    now: str = ""
    shared: str = ""
    blocks: int = 1
    model: int = 0


def _question(number: int) -> str:
    return f"Where is order {number}? It was sent last week, and nobody has seen it since."


def _chat() -> Iterator[Call]:
    for number in range(20):
        yield Call(30, 0, _question(number))


def _chat_with_clock() -> Iterator[Call]:
    for number in range(20):
        yield Call(30, 0, _question(number), now=f"It is {1000 + 30 * number}.")


def _one_shot_rag() -> Iterator[Call]:
    for number in range(40):
        documents = " ".join(f"Document {number}-{one} says a thing." for one in range(300))
        yield Call(20, number, _question(number), context=documents)


def _pauses() -> Iterator[Call]:
    for number in range(20):
        yield Call(2400 if number % 2 else 700, 0, _question(number))


def _agent() -> Iterator[Call]:
    for number in range(60):
        yield Call(8, 0, _question(number), blocks=12)


def _fan_out() -> Iterator[Call]:
    for number in range(20):
        yield Call(0.1, number, _question(number))


def _tenants() -> Iterator[Call]:
    for number in range(40):
        tenant = number % 4
        yield Call(15, number, _question(number), shared=f"Tenant {tenant}. {PLAYBOOK}")


def _model_switch() -> Iterator[Call]:
    for number in range(20):
        yield Call(30, 0, _question(number), model=number // 10)


WORKLOADS: Final[Mapping[str, Callable[[], Iterator[Call]]]] = {
    "chat": _chat,
    "chat with a clock": _chat_with_clock,
    "one-shot RAG": _one_shot_rag,
    "pauses of 700 and 2,400 s": _pauses,
    "agent, 24 blocks a turn": _agent,
    "fan-out of 20": _fan_out,
    "four tenants": _tenants,
    "model switch": _model_switch,
}


def answer_parts(call: Call) -> list[str]:
    """Return the parts of the answer to a call."""
    return [f"Answer part {one} to: {call.question}" for one in range(call.blocks)]


def question_parts(call: Call) -> list[str]:
    """Return the parts of the question, without context and clock."""
    if call.blocks == 1:
        return [call.question]
    return [f"{call.question} Part {one}." for one in range(call.blocks)]
