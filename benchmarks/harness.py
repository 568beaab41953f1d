"""Measure what the harness adds to a call: a request of 20 blocks, and a chat of 200 turns.

python benchmarks/harness.py
"""

from __future__ import annotations

import time
from statistics import median
from typing import Any

from promptcache import Chat, Prompt
from promptcache.harness.names import Wire

HANDBOOK = " ".join(f"Rule {number}: look at the order, then answer." for number in range(400))
TOOLS = [
    {
        "name": f"tool_{number}",
        "description": "Track an order.",
        "schema": {"type": "object", "properties": {"order": {"type": "string"}}},
    }
    for number in range(8)
]
MODELS: dict[Wire, str] = {
    "anthropic": "claude-opus-5-5",
    "chat": "gpt-6-sol",
    "responses": "gpt-6-sol",
    "gemini": "gemini-2.5-flash",
    "converse": "us.anthropic.claude-opus-4-8-v1:0",
}
TURNS = 200


def answer_of(wire: Wire, text: str) -> dict[str, Any]:
    if wire == "chat":
        return {"choices": [{"message": {"role": "assistant", "content": text}}]}
    if wire == "responses":
        block = {"type": "output_text", "text": text}
        return {"output": [{"type": "message", "role": "assistant", "content": [block]}]}
    if wire == "gemini":
        return {"candidates": [{"content": {"role": "model", "parts": [{"text": text}]}}]}
    if wire == "converse":
        return {"output": {"message": {"role": "assistant", "content": [{"text": text}]}}}
    return {"type": "message", "content": [{"type": "text", "text": text}]}


def start_chat(wire: Wire) -> Chat[Any]:
    prompt = Prompt("support", system=HANDBOOK, tools=TOOLS, examples=[("May I?", "Yes.")])
    return prompt.chat(wire=wire, model=MODELS[wire])


def take_turns(chat: Chat[Any], count: int) -> list[float]:
    """Return the microseconds of each turn: `ask` and `add`."""
    seconds: list[float] = []
    for number in range(count):
        answer = answer_of(chat.wire, f"Order {number} is on its way.")
        started = time.perf_counter()
        chat.ask(f"Where is order {number}?", now=f"It is {number}.")
        chat.add(answer)
        seconds.append(time.perf_counter() - started)
    return [second * 1e6 for second in seconds]


def render_20_blocks(wire: Wire) -> float:
    """Return the median microseconds of `ask` with 20 blocks: 8 tools, system, 4 turns and more."""
    chat = start_chat(wire)
    take_turns(chat, 4)
    rounds: list[float] = []
    for _ in range(2000):
        started = time.perf_counter()
        chat.ask("Where is it?", now="It is late.")
        rounds.append(time.perf_counter() - started)
    return median(rounds) * 1e6


def main() -> None:
    """Print a table."""
    print("| wire | ask, 20 blocks | turns 1 to 20 | turns 181 to 200 |")
    print("|---|--:|--:|--:|")
    for wire in MODELS:
        turns = [take_turns(start_chat(wire), TURNS) for _ in range(5)]
        early = median(one for run in turns for one in run[:20])
        late = median(one for run in turns for one in run[-20:])
        print(f"| {wire} | {render_20_blocks(wire):.0f} us | {early:.0f} us | {late:.0f} us |")


if __name__ == "__main__":
    main()
