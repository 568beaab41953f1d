"""Measure the time that the diagnosis adds to a call: `python benchmarks/diagnosis.py`.

Times are in microseconds, the best of several batches. The goals: 25 us for an unbroken call of 20
messages, 100 us for a broken one, and linear growth with the number of new blocks. Hashing a
megabyte takes at most 0.3 of the time of `json.dumps`. Once the memory has filled, a million unique
prompts add less than 10 MB.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from promptcache import Settings
from promptcache.diagnosis.diagnosis import Diagnosis
from promptcache.diagnosis.memory import PastCallMemory
from promptcache.model import Block, ParsedPrompt, Request, ResponseFacts, Usage
from promptcache.prefix.hashing import InProcessHasher
from promptcache.providers.openai.wire import CHAT

SENTENCE = (
    "The customer asks whether the parcel may be left with a neighbour, "
    "and the carrier confirms it. "
)
PARAM_NAMES = ("prompt_cache_key", "service_tier", "tool_choice", "reasoning_effort")
FACTS = ResponseFacts()


def make_prompt(system: str, messages: int, last: str = "") -> ParsedPrompt:
    """Return a system prompt and messages of about 300 bytes. The last one ends in `last`.

    As in an application, the earlier messages are the same `str` objects in each call.
    """
    sent = [{"role": "system", "content": system}]
    for index in range(messages):
        role = "assistant" if index % 2 else "user"
        tail = last if index == messages - 1 else ""
        sent.append({"role": role, "content": make_text(index) + tail})
    body = {"messages": sent, **dict.fromkeys(PARAM_NAMES, "auto")}
    prompt = CHAT.parse_prompt(make_request(body, 0.0))
    assert prompt is not None
    return prompt


@cache
def make_text(index: int) -> str:
    """Return the text of a message."""
    return f"{index} {SENTENCE * 3}"


def make_request(body: Mapping[str, Any], started_at: float) -> Request:
    """Return a request of Chat Completions."""
    return Request(
        "openai.chat", "openai", "chat", "gpt-4.1", "h", 443, False, body, b"t", started_at
    )


class CallDriver:
    """One application that makes one call after the other, a second apart."""

    def __init__(self, memory: PastCallMemory | None = None) -> None:
        self.diagnosis = Diagnosis(Settings(), memory=memory)
        self.now = 1e9

    def time_calls(
        self, prompts: Sequence[ParsedPrompt], tokens: int, cache_read_tokens: int
    ) -> float:
        """Return microseconds per call."""
        usage = Usage(tokens, tokens - cache_read_tokens, cache_read_tokens, None)
        start_call, finish_call = self.diagnosis.start, self.diagnosis.finish
        now = self.now
        start = time.perf_counter()
        for prompt in prompts:
            now += 1.0
            finish_call(
                start_call(make_request({}, now), prompt),
                facts=FACTS,
                usage=usage,
                cost=None,
                has_failed=False,
                ended_at=now,
            )
        elapsed = time.perf_counter() - start
        self.now = now
        return elapsed / len(prompts) * 1e6


def make_handbook(sentences: int) -> str:
    dice = random.Random(1)
    words = (
        *("the", "agent", "checks", "an", "order", "before"),
        *("a", "refund", "and", "logs", "why", "politely"),
    )
    return " ".join(
        " ".join(dice.choices(words, k=14)).capitalize() + "." for _ in range(sentences)
    )


BATCH_SIZE, BATCH_COUNT = 5, 100


def measure_unbroken_prefix(messages: int, new: int = 2) -> float:
    """Return microseconds per call of conversations that have grown by `new` messages."""
    driver, best = CallDriver(), float("inf")
    for batch in range(BATCH_COUNT):
        systems = [f"{make_handbook(30)} {batch} {number}" for number in range(BATCH_SIZE)]
        driver.time_calls([make_prompt(system, messages - new) for system in systems], 3000, 0)
        prompts = [make_prompt(system, messages) for system in systems]
        best = min(best, driver.time_calls(prompts, 3200, 2944))
    return best


def measure_broken_prefix(messages: int, sentences: int = 30) -> float:
    """Return microseconds per call if the system prompt begins with the time of day."""
    driver, body, best = CallDriver(), make_handbook(sentences), float("inf")
    for batch in range(BATCH_COUNT):
        times = [f"1{number}:{batch // 60:02d}:{batch % 60:02d}" for number in range(BATCH_SIZE)]
        prompts = [make_prompt(f"Now: {stamp}. {body}", messages, stamp) for stamp in times]
        best = min(best, driver.time_calls(prompts, 3200, 0))
    return best


def measure_megabyte_hashing() -> tuple[float, float]:
    """Return the microseconds for hashing 200 messages of 5 KB, and for `json.dumps` of them."""
    system = make_prompt("x" * 5000, 0)
    messages = [
        Block("messages", index, "text", {"role": "user", "content": f"{index}" + "word " * 1050})
        for index in range(200)
    ]
    prompt = ParsedPrompt((*system.blocks, *messages))
    body = {"messages": [block.data for block in prompt.blocks]}
    hasher = InProcessHasher()
    hashing = best_microseconds(lambda: hasher.digest_prompt_blocks(prompt))
    return hashing, best_microseconds(lambda: json.dumps(body))


def best_microseconds(function: Callable[[], Any], rounds: int = 30) -> float:
    """Return the shortest time of `rounds` runs, in microseconds."""
    best = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        function()
        best = min(best, time.perf_counter() - start)
    return best * 1e6


def resident_mb() -> float:
    """Return the resident memory of this process in MB (Linux)."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 1e6


def measure_unique_prompts(count: int) -> tuple[float, float, float]:
    """Return the MB of the filled memory, its growth over `count` more prompts, and calls/s."""

    def make_batch(first: int) -> list[ParsedPrompt]:
        texts = (f"{number} {SENTENCE}" for number in range(first, first + 1000))
        return [
            ParsedPrompt((Block("messages", 0, "text", {"role": "user", "content": text}),))
            for text in texts
        ]

    driver, before = CallDriver(), resident_mb()
    for first in range(0, 70_000, 1000):
        driver.time_calls(make_batch(first), 40, 0)
    filled = resident_mb()
    batches = range(70_000, 70_000 + count, 1000)
    microseconds = sum(driver.time_calls(make_batch(first), 40, 0) for first in batches)
    return filled - before, resident_mb() - filled, count / (microseconds * 1000 / 1e6)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--unique", type=int, default=1_000_000, help="unique prompts for the memory test"
    )
    options = parser.parse_args(arguments)
    print(f"unbroken, 20 messages, 2 new     {measure_unbroken_prefix(20):8.1f} us   goal 25")
    print(f"unbroken, 100 messages, 2 new    {measure_unbroken_prefix(100):8.1f} us")
    for new in (10, 50):
        print(f"unbroken, 100 messages, {new:2} new   {measure_unbroken_prefix(100, new):8.1f} us")
    print(f"broken,   20 messages            {measure_broken_prefix(20):8.1f} us   goal 100")
    print(f"broken,   100 messages           {measure_broken_prefix(100):8.1f} us")
    hashing, dumping = measure_megabyte_hashing()
    print(
        f"1 MB in 200 messages: hashing {hashing:.0f} us, json.dumps {dumping:.0f} us, "
        f"ratio {hashing / dumping:.2f}"
    )
    filled, growth, rate = measure_unique_prompts(options.unique)
    print(
        f"{options.unique} unique prompts: {filled:.1f} MB when filled, "
        f"growth {growth:+.1f} MB, {rate:.0f} calls/s"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
