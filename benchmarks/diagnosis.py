"""What the diagnosis adds to a call: `python benchmarks/diagnosis.py`. Times in microseconds, best of several batches.

Goals: 25 us for an unbroken call of 20 messages, 100 us for a broken one, linear in new blocks; hashing at most 0.3 of
one `json.dumps` of a megabyte; less than 10 MB more after a million unique prompts once the memory has filled.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from promptcache import Settings
from promptcache.diagnosis.diagnosis import Diagnosis
from promptcache.diagnosis.memory import Memory
from promptcache.model import Block, Param, ParsedPrompt, Request, ResponseFacts, Usage
from promptcache.prefix.hashing import InProcessHasher

SENTENCE = "The customer asks whether the parcel may be left with a neighbour, and the carrier confirms it. "
PARAM_NAMES = ("prompt_cache_key", "service_tier", "tool_choice", "reasoning_effort")
FACTS = ResponseFacts()


def make_prompt(system: str, messages: int, last: str = "") -> ParsedPrompt:
    """A system prompt and messages of about 300 bytes, the last of them ending in `last`."""
    blocks = [Block("system", 0, "text", {"role": "system", "content": system})]
    for index in range(messages):
        role = "assistant" if index % 2 else "user"
        tail = last if index == messages - 1 else ""
        blocks.append(
            Block(
                "messages",
                index,
                "text",
                {"role": role, "content": f"{index} {SENTENCE * 3}{tail}"},
            )
        )
    return ParsedPrompt(tuple(blocks), tuple(Param(name, "auto", "tools") for name in PARAM_NAMES))


class CallDriver:
    """One application: calls in a row, a second apart."""

    def __init__(self, memory: Memory | None = None) -> None:
        self.diagnosis = Diagnosis(Settings(), memory=memory)
        self.now = 1e9

    def time_calls(
        self, prompts: Sequence[ParsedPrompt], tokens: int, cache_read_tokens: int
    ) -> float:
        """Microseconds a call."""
        usage = Usage(tokens, tokens - cache_read_tokens, cache_read_tokens, None)
        open_, close, now = self.diagnosis.start, self.diagnosis.finish, self.now
        start = time.perf_counter()
        for given in prompts:
            now += 1.0
            request = Request(
                "openai.chat", "openai", "chat", "gpt-4.1", "h", 443, False, {}, b"t", now
            )
            close(open_(request, given), facts=FACTS, usage=usage, cost=None, failed=False, at=now)
        spent = time.perf_counter() - start
        self.now = now
        return spent / len(prompts) * 1e6


def make_handbook(sentences: int) -> str:
    dice = random.Random(1)
    words = (
        "the",
        "agent",
        "checks",
        "an",
        "order",
        "before",
        "a",
        "refund",
        "and",
        "logs",
        "why",
        "politely",
    )
    return " ".join(
        " ".join(dice.choices(words, k=14)).capitalize() + "." for _ in range(sentences)
    )


BATCH_SIZE, BATCH_COUNT = 5, 100


def measure_unbroken_prefix(messages: int, new: int = 2) -> float:
    """Conversations that grew by `new` messages since the call before."""
    driver, best = CallDriver(), float("inf")
    for batch in range(BATCH_COUNT):
        systems = [f"{make_handbook(30)} {batch} {number}" for number in range(BATCH_SIZE)]
        driver.time_calls([make_prompt(system, messages - new) for system in systems], 3000, 0)
        best = min(
            best,
            driver.time_calls([make_prompt(system, messages) for system in systems], 3200, 2944),
        )
    return best


def measure_broken_prefix(messages: int, sentences: int = 30) -> float:
    """A time of day at the head of the system prompt of one conversation."""
    driver, body, best = CallDriver(), make_handbook(sentences), float("inf")
    for batch in range(BATCH_COUNT):
        stamps = [f"1{number}:{batch // 60:02d}:{batch % 60:02d}" for number in range(BATCH_SIZE)]
        prompts = [make_prompt(f"Now: {stamp}. {body}", messages, stamp) for stamp in stamps]
        best = min(best, driver.time_calls(prompts, 3200, 0))
    return best


def measure_megabyte_hashing() -> tuple[float, float]:
    """Hashing 200 messages of 5 KB, and one `json.dumps` of them."""
    given = make_prompt("x" * 5000, 0)
    blocks = [
        Block("messages", n, "text", {"role": "user", "content": f"{n}" + "word " * 1050})
        for n in range(200)
    ]
    given = ParsedPrompt((*given.blocks, *blocks))
    body = {"messages": [block.data for block in given.blocks]}
    hasher = InProcessHasher()

    return best_microseconds(lambda: hasher.hash_prompt(given)), best_microseconds(
        lambda: json.dumps(body)
    )


def best_microseconds(run: Callable[[], Any], rounds: int = 30) -> float:
    """Microseconds of the best of `rounds`."""
    found = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        run()
        found = min(found, time.perf_counter() - start)
    return found * 1e6


def resident_mb() -> float:
    """Resident memory in MB (Linux)."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 1e6


def measure_unique_prompts(count: int) -> tuple[float, float, float]:
    """RSS in MB that the filled memory takes, its growth over `count` unique prompts after that, and calls a second."""

    def batch(first: int) -> list[ParsedPrompt]:
        texts = (f"{number} {SENTENCE}" for number in range(first, first + 1000))
        return [
            ParsedPrompt((Block("messages", 0, "text", {"role": "user", "content": text}),))
            for text in texts
        ]

    driver, before = CallDriver(), resident_mb()
    for first in range(0, 70_000, 1000):
        driver.time_calls(batch(first), 40, 0)
    filled = resident_mb()
    spent = sum(
        driver.time_calls(batch(first), 40, 0) for first in range(70_000, 70_000 + count, 1000)
    )
    return filled - before, resident_mb() - filled, count / (spent * 1000 / 1e6)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--unique", type=int, default=1_000_000, help="unique prompts for the memory test"
    )
    chosen = parser.parse_args(arguments)
    write = sys.stdout.write
    write(f"unbroken, 20 messages, 2 new     {measure_unbroken_prefix(20):8.1f} us   goal 25\n")
    write(f"unbroken, 100 messages, 2 new    {measure_unbroken_prefix(100):8.1f} us\n")
    for new in (10, 50):
        write(
            f"unbroken, 100 messages, {new:2} new   {measure_unbroken_prefix(100, new):8.1f} us\n"
        )
    write(f"broken,   20 messages            {measure_broken_prefix(20):8.1f} us   goal 100\n")
    write(f"broken,   100 messages           {measure_broken_prefix(100):8.1f} us\n")
    hashing, dumping = measure_megabyte_hashing()
    write(
        f"1 MB in 200 messages: hashing {hashing:.0f} us, json.dumps {dumping:.0f} us, ratio {hashing / dumping:.2f}\n"
    )
    filled, growth, rate = measure_unique_prompts(chosen.unique)
    write(
        f"{chosen.unique} unique prompts: {filled:.1f} MB when filled, {growth:+.1f} MB after, {rate:.0f} calls/s\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
