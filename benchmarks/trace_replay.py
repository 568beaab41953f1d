"""Replays a public trace of prefixes: `python benchmarks/trace_replay.py TRACE`, one JSON object a line.

A line holds `timestamp` (ms), `input_length`, `output_length` and `hash_ids`, blocks of 512 tokens (Mooncake's FAST'25
release traces, Apache-2.0). Each block becomes a message. Printed are the share of blocks that the memory knows
from an earlier request, beside that of an unbounded memory, at several bounds, and calls a second through `Diagnosis`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

from promptcache import Settings
from promptcache.diagnosis.diagnosis import Diagnosis
from promptcache.model import Block, ParsedPrompt, Request, ResponseFacts, Usage

TOKENS_PER_BLOCK = 512
MEMORY_BOUNDS = (1_024, 4_096, 16_384, 65_536, 262_144)


def read_trace(path: str) -> Iterator[tuple[float, int, list[int]]]:
    """Seconds, input tokens and block ids of each request."""
    with open(path) as file:
        for row in map(json.loads, file):
            yield row["timestamp"] / 1000, row["input_length"], row["hash_ids"]


def ideal_hit_share(trace: Sequence[tuple[float, int, list[int]]]) -> float:
    """The share of blocks that stood in the same prefix before, with nothing ever forgotten."""
    known: set[int] = set()
    hits = total = 0
    for _, _, ids in trace:
        prefix = 0
        fresh = False
        for block in ids:
            prefix = hash((prefix, block))
            fresh = fresh or prefix not in known
            hits += not fresh
            known.add(prefix)
        total += len(ids)
    return hits / total


def make_prompt(ids: Sequence[int]) -> ParsedPrompt:
    return ParsedPrompt(
        tuple(Block("messages", at, "text", f"block {number}") for at, number in enumerate(ids))
    )


def replay_trace(trace: Sequence[tuple[float, int, list[int]]], nodes: int) -> tuple[float, float]:
    """The share of blocks that the bounded memory predicts to be read, and calls per second of CPU."""
    diagnosis = Diagnosis(Settings(memory_nodes=nodes, memory_calls=max(64, nodes // 16)))
    hits = total = 0
    start = time.thread_time()
    for at, tokens, ids in trace:
        request = Request("trace", "vllm", "chat", "m", None, None, False, {}, b"", at)
        sighting = diagnosis.start(request, make_prompt(ids))
        known = len(ids) - len(sighting.new_nodes)
        read = min(known * TOKENS_PER_BLOCK, tokens)
        usage = Usage(tokens, tokens - read, read, None)
        facts: Any = ResponseFacts()
        diagnosis.finish(sighting, facts=facts, usage=usage, cost=None, failed=False, at=at)
        hits += known
        total += len(ids)
    return hits / total, len(trace) / (time.thread_time() - start)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("trace", help="path of the trace")
    trace = list(read_trace(parser.parse_args(arguments).trace))
    write = sys.stdout.write
    best = ideal_hit_share(trace)
    write(
        f"{len(trace)} requests, {sum(len(ids) for _, _, ids in trace)} blocks; ideal {best:.4f} of blocks\n"
    )
    for nodes in MEMORY_BOUNDS:
        share, rate = replay_trace(trace, nodes)
        write(
            f"memory of {nodes:7} nodes: {share:.4f} predicted, {share / best:6.1%} of the ideal, {rate:6.0f} calls/s\n"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
