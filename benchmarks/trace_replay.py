"""Replay a public trace of prefixes: `python benchmarks/trace_replay.py TRACE`.

The trace has one JSON object a line with `timestamp` (ms), `input_length`, `output_length` and
`hash_ids`, blocks of 512 tokens (Mooncake's FAST'25 release traces, Apache-2.0). Each block becomes
a message. For several bounds of the memory, print the share of blocks that it knows from an earlier
request, this share relative to an unbounded memory, and calls per second through `Diagnosis`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from promptcache import Settings
from promptcache.diagnosis.diagnosis import Diagnosis
from promptcache.model import Block, ParsedPrompt, Request, ResponseFacts, Usage

TOKENS_PER_BLOCK = 512
MEMORY_BOUNDS = (1_024, 4_096, 16_384, 65_536, 262_144)


@dataclass(frozen=True)
class TracedRequest:
    """One request of the trace. `started_at` is in seconds."""

    started_at: float
    input_tokens: int
    block_ids: list[int]


def read_trace(path: str) -> Iterator[TracedRequest]:
    with open(path) as file:
        for row in map(json.loads, file):
            yield TracedRequest(row["timestamp"] / 1000, row["input_length"], row["hash_ids"])


def ideal_hit_share(trace: Sequence[TracedRequest]) -> float:
    """Return the share of blocks that an unbounded memory knows from an equal prefix."""
    known: set[int] = set()
    hits = total = 0
    for request in trace:
        prefix = 0
        is_new = False
        for block in request.block_ids:
            prefix = hash((prefix, block))
            is_new = is_new or prefix not in known
            hits += not is_new
            known.add(prefix)
        total += len(request.block_ids)
    return hits / total


def make_prompt(block_ids: Sequence[int]) -> ParsedPrompt:
    return ParsedPrompt(
        tuple(
            Block("messages", index, "text", f"block {block_id}")
            for index, block_id in enumerate(block_ids)
        )
    )


def replay_trace(trace: Sequence[TracedRequest], max_nodes: int) -> tuple[float, float]:
    """Return the share of blocks that the bounded memory predicts as read, and calls/s of CPU."""
    settings = Settings(memory_nodes=max_nodes, memory_calls=max(64, max_nodes // 16))
    diagnosis = Diagnosis(settings)
    hits = total = 0
    start = time.thread_time()
    for traced in trace:
        now, tokens, block_ids = traced.started_at, traced.input_tokens, traced.block_ids
        request = Request("trace", "vllm", "chat", "m", None, None, False, {}, b"", now)
        pending = diagnosis.start(request, make_prompt(block_ids))
        assert pending.tracked is not None
        known = len(block_ids) - len(pending.tracked.new_nodes)
        read = min(known * TOKENS_PER_BLOCK, tokens)
        usage = Usage(tokens, tokens - read, read, None)
        diagnosis.finish(
            pending, facts=ResponseFacts(), usage=usage, cost=None, has_failed=False, ended_at=now
        )
        hits += known
        total += len(block_ids)
    return hits / total, len(trace) / (time.thread_time() - start)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("trace", help="path of the trace")
    trace = list(read_trace(parser.parse_args(arguments).trace))
    ideal = ideal_hit_share(trace)
    blocks = sum(len(request.block_ids) for request in trace)
    print(f"{len(trace)} requests, {blocks} blocks; unbounded memory: {ideal:.4f} of blocks known")
    for max_nodes in MEMORY_BOUNDS:
        share, rate = replay_trace(trace, max_nodes)
        print(
            f"memory of {max_nodes:7} nodes: {share:.4f} of blocks known, "
            f"{share / ideal:6.1%} of the unbounded memory, {rate:6.0f} calls/s"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
