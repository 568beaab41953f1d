"""One day of calls of several services, the same for a seed: what each engine must sum equally."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any, Final

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext, TraceFlags, TraceState

from promptcache import semconv
from promptcache.model import OUTCOMES

START: Final = 1_790_000_000
NOON: Final = "2026-09-22T02:13:20+00:00"
"""Half a day later."""
_DAY_NANOSECONDS: Final = 86_400 * 10**9
_MODELS: Final = ("gpt-6", "claude-opus-5-5", 'odd "name"\\', "", None)
_SERVICES: Final = ("shop", "desk", "it's", "büro")


def seeded_day(calls: int, seed: int = 23) -> Iterator[ReadableSpan]:
    """Yield spans with unreported, batch, failed, unpriced, sampled and plain calls.

    One span in fifty carries the results of a batch. Before `NOON`, a sampler kept only every
    second one of some traces.
    """
    chance = random.Random(seed)
    resources = [Resource({"service.name": name}) for name in _SERVICES]
    for number in range(calls):
        start = START * 10**9 + number * (_DAY_NANOSECONDS // calls) + chance.randrange(1000)
        attributes = make_attributes(chance)
        if chance.random() < 0.02:
            results = [make_attributes(chance) for _ in range(3)]
            attributes = {semconv.OUTCOME: "hit", semconv.BATCH: True} | {
                semconv.BATCH_RESULTS: tuple(map(_encode_result, results))
            }
        # th:0 says that all such spans were kept, th:8 that half of them were.
        has_dropped = chance.random() < 0.2 and number < calls // 2
        state = TraceState([("ot", "th:8" if has_dropped else "th:0")])
        ids = chance.getrandbits(128) or 1, chance.getrandbits(64) or 1
        context = SpanContext(*ids, False, TraceFlags(1), state)
        yield ReadableSpan(
            "chat",
            context,
            resource=chance.choice(resources),
            attributes=attributes,
            start_time=start,
            end_time=start + chance.randrange(10**10),
        )


def make_attributes(chance: random.Random) -> dict[str, Any]:
    """Return the attributes of one call. What is not reported is absent."""
    outcome = chance.choice(OUTCOMES)
    read, write = chance.randrange(50_000), chance.randrange(9_000)
    uncached = chance.randrange(20_000)
    cost = (uncached * 3 + read * 0.3 + write * 3.75) / 1e6 * chance.choice((1, 0.5, 1 / 3))
    attributes: dict[str, Any] = {
        semconv.OUTCOME: outcome,
        semconv.GEN_AI_PROVIDER_NAME: chance.choice(("openai", "anthropic", None)),
        semconv.GEN_AI_REQUEST_MODEL: chance.choice(_MODELS),
        semconv.GEN_AI_RESPONSE_MODEL: chance.choice(_MODELS),
        semconv.GEN_AI_OPERATION_NAME: "chat",
        semconv.BATCH: chance.choice((True, False, None, None)),
        semconv.INPUT_TOKENS: read + write + uncached,
        semconv.READ_TOKENS: None if outcome == "unreported" else read,
        semconv.WRITE_TOKENS: chance.choice((write, None)),
        semconv.UNCACHED_TOKENS: uncached,
        semconv.OUTPUT_TOKENS: chance.randrange(2_000),
        semconv.COST_AMOUNT: cost,
        semconv.COST_WITHOUT_CACHE: cost * chance.uniform(0.9, 4),
        semconv.MISS_REASON: chance.choice(("expired", "prefix_changed", None)),
        semconv.MISSED_TOKENS: chance.choice((read, None)),
        semconv.WASTED_USD: chance.choice((cost * chance.random(), None)),
        semconv.MISS_SECTION: chance.choice(("system", "messages", None)),
        semconv.MISS_INDEX: chance.choice((0, 3, None)),
        semconv.PREFIX_HASH: f"p1:{chance.randrange(5)}",
        semconv.PREFIX_FAMILY: chance.choice(("p1:a", "p1:b", None)),
        **_chain_attributes(chance),
        semconv.CODE_FILE_PATH: chance.choice(("app.py", None)),
        semconv.CODE_LINE_NUMBER: chance.choice((3, None)),
        semconv.CODE_FUNCTION_NAME: chance.choice(("ask", None)),
    }
    if outcome == "error":
        lost = (semconv.INPUT_TOKENS, semconv.READ_TOKENS, semconv.COST_AMOUNT)
        attributes |= dict.fromkeys((*lost, semconv.COST_WITHOUT_CACHE))
    elif chance.random() < 0.1:
        amounts = (semconv.COST_AMOUNT, semconv.COST_WITHOUT_CACHE, semconv.WASTED_USD)
        attributes |= dict.fromkeys(amounts) | {semconv.COST_UNKNOWN: "model"}
    return {name: value for name, value in attributes.items() if value is not None}


def _chain_attributes(chance: random.Random) -> dict[str, Any]:
    """Return the links of a prompt's blocks, of which the first ones are those of other calls."""
    blocks = chance.randrange(2, 7)
    root = chance.randrange(4)
    links = [f"k1:{root}" if at == 0 else f"k1:{root}.{at}" for at in range(blocks)]
    return {
        semconv.PREFIX_BLOCKS: blocks,
        semconv.PREFIX_CHAIN: tuple(links),
        semconv.PREFIX_CHAIN_START: 0,
        semconv.PREFIX_CHAIN_SIZES: tuple(100 * (at + 1) for at in range(blocks)),
        semconv.PREFIX_SECTION_COUNTS: (0, 1, blocks - 1),
        semconv.PREFIX_BREAKPOINTS: ("system[0] 1h",) if chance.random() < 0.5 else (),
        semconv.PREFIX_COMPLETE: True,
        semconv.GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK: chance.random(),
    }


def _encode_result(attributes: dict[str, Any]) -> str:
    return json.dumps([attributes.get(name) for name in semconv.BATCH_RESULT_FIELDS])
