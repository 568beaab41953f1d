"""The telemetry contract: every attribute and metric name, and how its value is read from a `Call`.

The only file with such names. A row is a name and a reader; one loop writes them all, and a reader that returns None
writes nothing, so "not reported" stays told from 0. Names of `gen_ai.*`, `server.*`, `error.*` and `code.*` have the
meaning that OpenTelemetry gives them (semantic-conventions-genai, November 2026, status Development); everything that
we invented begins with `promptcache.`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from promptcache.model import CHOICES, OUTCOMES, Call

Value = str | bool | int | float | Sequence[str]

# Standard names.
OPERATION: Final = "gen_ai.operation.name"
PROVIDER: Final = "gen_ai.provider.name"
REQUEST_MODEL: Final = "gen_ai.request.model"
REQUEST_STREAM: Final = "gen_ai.request.stream"
RESPONSE_MODEL: Final = "gen_ai.response.model"
RESPONSE_ID: Final = "gen_ai.response.id"
FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
TIME_TO_FIRST_CHUNK: Final = "gen_ai.response.time_to_first_chunk"
USAGE_INPUT: Final = "gen_ai.usage.input_tokens"
USAGE_OUTPUT: Final = "gen_ai.usage.output_tokens"
USAGE_READ: Final = "gen_ai.usage.cache_read.input_tokens"
USAGE_WRITE: Final = "gen_ai.usage.cache_write.input_tokens"
USAGE_WRITE_LEGACY: Final = "gen_ai.usage.cache_creation.input_tokens"
USAGE_REASONING: Final = "gen_ai.usage.reasoning.output_tokens"
CONVERSATION: Final = "gen_ai.conversation.id"
PROMPT_NAME: Final = "gen_ai.prompt.name"
PROMPT_VERSION: Final = "gen_ai.prompt.version"
AGENT_NAME: Final = "gen_ai.agent.name"
SERVICE_TIER: Final = "openai.response.service_tier"
RESENDS: Final = "http.request.resend_count"
SERVER_ADDRESS: Final = "server.address"
SERVER_PORT: Final = "server.port"
ERROR_TYPE: Final = "error.type"
CODE_FUNCTION: Final = "code.function.name"
CODE_FILE: Final = "code.file.path"
CODE_LINE: Final = "code.line.number"
SERVICE_NAME: Final = "service.name"

# Ours, on spans.
INPUT_TOKENS: Final = "promptcache.input_tokens"
READ_TOKENS: Final = "promptcache.read_tokens"
WRITE_TOKENS: Final = "promptcache.write_tokens"
UNCACHED_TOKENS: Final = "promptcache.uncached_tokens"
OUTPUT_TOKENS: Final = "promptcache.output_tokens"
OUTCOME: Final = "promptcache.outcome"
HIT_RATIO: Final = "promptcache.hit_ratio"
HIT_PERCENT: Final = "promptcache.hit_percent"
SHORTFALL_TOKENS: Final = "promptcache.shortfall_tokens"
PREFIX_HASH: Final = "promptcache.prefix.hash"
PREFIX_FAMILY: Final = "promptcache.prefix.family"
TOOLS_HASH: Final = "promptcache.prefix.tools_hash"
SYSTEM_HASH: Final = "promptcache.prefix.system_hash"
SCOPE_HASH: Final = "promptcache.prefix.scope_hash"
PREFIX_BLOCKS: Final = "promptcache.prefix.blocks"
PREFIX_BREAKPOINTS: Final = "promptcache.prefix.breakpoints"
PREFIX_COMPLETE: Final = "promptcache.prefix.complete"
PREFIX_CHAIN: Final = "promptcache.prefix.chain"
PREFIX_CHAIN_START: Final = "promptcache.prefix.chain_start"
MISS_REASON: Final = "promptcache.miss.reason"
MISS_SECTION: Final = "promptcache.miss.section"
MISS_HINT: Final = "promptcache.miss.hint"
MISS_INDEX: Final = "promptcache.miss.index"
MISS_OFFSET: Final = "promptcache.miss.offset"
MISS_CONFIDENCE: Final = "promptcache.miss.confidence"
MISS_SOURCE: Final = "promptcache.miss.source"
MISS_PROVIDER_REASON: Final = "promptcache.miss.provider_reason"
MISSED_TOKENS: Final = "promptcache.missed_tokens"
WASTED_USD: Final = "promptcache.wasted_usd"
COST_AMOUNT: Final = "promptcache.cost.amount"
COST_CURRENCY: Final = "promptcache.cost.currency"
COST_SOURCE: Final = "promptcache.cost.source"
COST_PRICE_DATE: Final = "promptcache.cost.price_date"
COST_INPUT: Final = "promptcache.cost.input"
COST_READ: Final = "promptcache.cost.cache_read"
COST_WRITE: Final = "promptcache.cost.cache_write"
COST_OUTPUT: Final = "promptcache.cost.output"
COST_WITHOUT_CACHE: Final = "promptcache.cost.without_cache"
COST_SAVED: Final = "promptcache.cost.saved"
COST_UNKNOWN: Final = "promptcache.cost.unknown"
BATCH: Final = "promptcache.batch"
BATCH_RESULTS: Final = "promptcache.batch.results"
INCONSISTENT: Final = "promptcache.usage.inconsistent"
STREAM_COMPLETED: Final = "promptcache.stream.completed"
TTL: Final = "promptcache.ttl"
CACHE_NAME: Final = "promptcache.cache.name"
CACHE_TOKENS: Final = "promptcache.cache.tokens"
CACHE_EXPIRES: Final = "promptcache.cache.expires"
CACHE_COMMITTED: Final = "promptcache.cache.committed_usd"
CACHE_STORED: Final = "promptcache.cache.stored_usd"
WRITE_TOKENS_BY_TTL: Final[Mapping[str, str]] = {
    ttl: f"promptcache.write_tokens.{ttl}" for ttl in ("5m", "30m", "1h", "12h")
}

OTHER: Final = "_OTHER"
"""The value that a metric attribute takes once it has had as many values as we allow."""


@dataclass(frozen=True, slots=True)
class Row:
    """One span attribute. `read` returns None where there is nothing to say."""

    name: str
    read: Callable[[Call], Value | None]


def _cost(part: str) -> Callable[[Call], Value | None]:
    return lambda call: (
        call.cost.parts.get(part) if call.cost and call.cost.amount is not None else None
    )


def _saved(call: Call) -> float | None:
    if call.cost is None or call.cost.amount is None or call.cost.without_cache is None:
        return None
    return call.cost.without_cache - call.cost.amount


def _written(ttl: str) -> Callable[[Call], Value | None]:
    return lambda call: call.usage.write_by_ttl.get(ttl) if call.usage else None


def hit_ratio(call: Call) -> float | None:
    """read / input in 0..1, None where either was not reported or the input is empty."""
    usage = call.usage
    return (
        None if usage is None or usage.read is None or not usage.input else usage.read / usage.input
    )


def _hit_percent(call: Call) -> int | None:
    usage = call.usage
    return (
        None
        if usage is None or usage.read is None or not usage.input
        else 100 * usage.read // usage.input
    )


STANDARD: Final[tuple[Row, ...]] = (
    Row(OPERATION, lambda call: call.request.operation),
    Row(PROVIDER, lambda call: call.request.provider),
    Row(REQUEST_MODEL, lambda call: call.request.model),
    Row(SERVER_ADDRESS, lambda call: call.request.host),
    Row(SERVER_PORT, lambda call: call.request.port),
    Row(REQUEST_STREAM, lambda call: call.request.stream or None),
    Row(RESPONSE_MODEL, lambda call: call.facts.model),
    Row(RESPONSE_ID, lambda call: call.facts.id),
    Row(FINISH_REASONS, lambda call: call.facts.finish[:CHOICES] or None),
    Row(TIME_TO_FIRST_CHUNK, lambda call: call.first_chunk),
    Row(USAGE_INPUT, lambda call: call.usage and call.usage.input),
    Row(USAGE_OUTPUT, lambda call: call.usage and call.usage.output),
    Row(USAGE_READ, lambda call: call.usage and call.usage.read),
    Row(USAGE_WRITE, lambda call: call.usage and call.usage.write),
    Row(USAGE_REASONING, lambda call: call.usage and call.usage.reasoning),
    Row(
        SERVICE_TIER,
        lambda call: call.facts.tier if call.request.wire.startswith("openai.") else None,
    ),
    Row(RESENDS, lambda call: call.retries or None),
    Row(ERROR_TYPE, lambda call: call.error),
    Row(CODE_FUNCTION, lambda call: call.site and call.site.function),
    Row(CODE_FILE, lambda call: call.site and call.site.file),
    Row(CODE_LINE, lambda call: call.site and call.site.line),
)

LEGACY: Final[tuple[Row, ...]] = (
    Row(USAGE_WRITE_LEGACY, lambda call: call.usage and call.usage.write),
)

RESULT: Final[tuple[str, ...]] = (
    RESPONSE_ID,
    RESPONSE_MODEL,
    OUTCOME,
    INPUT_TOKENS,
    READ_TOKENS,
    WRITE_TOKENS,
    UNCACHED_TOKENS,
    OUTPUT_TOKENS,
    *WRITE_TOKENS_BY_TTL.values(),
    COST_AMOUNT,
    COST_WITHOUT_CACHE,
    COST_INPUT,
    COST_READ,
    COST_WRITE,
    COST_OUTPUT,
    COST_UNKNOWN,
)
"""What an entry of `promptcache.batch.results` says of one result: a JSON list in this order, null for not known."""

AT_START: Final[tuple[Row, ...]] = STANDARD[:6]
"""What a sampler may decide on."""

OWN: Final[tuple[Row, ...]] = (
    Row(OUTCOME, lambda call: call.verdict.outcome),
    Row(INPUT_TOKENS, lambda call: call.usage and call.usage.input),
    Row(READ_TOKENS, lambda call: call.usage and call.usage.read),
    Row(WRITE_TOKENS, lambda call: call.usage and call.usage.write),
    Row(UNCACHED_TOKENS, lambda call: call.usage and call.usage.uncached),
    Row(OUTPUT_TOKENS, lambda call: call.usage and call.usage.output),
    *(Row(name, _written(ttl)) for ttl, name in WRITE_TOKENS_BY_TTL.items()),
    Row(HIT_RATIO, hit_ratio),
    Row(HIT_PERCENT, _hit_percent),
    Row(PREFIX_HASH, lambda call: call.prefix and call.prefix.hash),
    Row(PREFIX_FAMILY, lambda call: call.verdict.family),
    Row(TOOLS_HASH, lambda call: call.prefix and call.prefix.tools_hash),
    Row(SYSTEM_HASH, lambda call: call.prefix and call.prefix.system_hash),
    Row(SCOPE_HASH, lambda call: call.prefix and call.prefix.scope_hash),
    Row(PREFIX_BLOCKS, lambda call: call.prefix and call.prefix.blocks),
    Row(PREFIX_BREAKPOINTS, lambda call: call.prefix and call.prefix.breakpoints),
    Row(PREFIX_COMPLETE, lambda call: call.prefix and call.prefix.complete),
    Row(PREFIX_CHAIN, lambda call: (call.prefix and call.prefix.chain) or None),
    Row(PREFIX_CHAIN_START, lambda call: call.prefix and call.prefix.chain_start),
    Row(MISS_REASON, lambda call: call.verdict.reason),
    Row(MISS_SECTION, lambda call: call.verdict.section),
    Row(MISS_HINT, lambda call: call.verdict.hint),
    Row(MISS_INDEX, lambda call: call.verdict.index),
    Row(MISS_OFFSET, lambda call: call.verdict.offset),
    Row(MISS_CONFIDENCE, lambda call: call.verdict.confidence),
    Row(MISS_SOURCE, lambda call: call.verdict.source),
    Row(MISS_PROVIDER_REASON, lambda call: call.verdict.provider_reason),
    Row(MISSED_TOKENS, lambda call: call.verdict.tokens),
    Row(WASTED_USD, lambda call: call.verdict.waste),
    Row(COST_AMOUNT, lambda call: call.cost and call.cost.amount),
    Row(COST_CURRENCY, lambda call: "USD" if call.cost and call.cost.amount is not None else None),
    Row(
        COST_SOURCE,
        lambda call: call.cost.source if call.cost and call.cost.amount is not None else None,
    ),
    Row(COST_PRICE_DATE, lambda call: call.cost and call.cost.date),
    Row(COST_INPUT, _cost("input")),
    Row(COST_READ, _cost("cache_read")),
    Row(COST_WRITE, _cost("cache_write")),
    Row(COST_OUTPUT, _cost("output")),
    Row(COST_WITHOUT_CACHE, lambda call: call.cost and call.cost.without_cache),
    Row(COST_SAVED, _saved),
    Row(COST_UNKNOWN, lambda call: call.cost and call.cost.unknown),
    Row(BATCH, lambda call: call.facts.batch or None),
    Row(INCONSISTENT, lambda call: ",".join(call.usage.issues) or None if call.usage else None),
    Row(STREAM_COMPLETED, lambda call: call.facts.terminal if call.request.stream else None),
)


def read(rows: Iterable[Row], call: Call) -> dict[str, Value]:
    """The attributes that `rows` find in `call`, without those that say nothing."""
    return {row.name: value for row in rows if (value := row.read(call)) is not None}


def shortfall(call: Call, target: float) -> float | None:
    """How many tokens the call stayed below `target` (negative above it); sums over calls without bias."""
    usage = call.usage
    return None if usage is None or usage.read is None else target * usage.input - usage.read


Points = Iterable[tuple[float, Mapping[str, Any]]]
_NONE: Final[Mapping[str, Any]] = {}


@dataclass(frozen=True, slots=True)
class Metric:
    """One instrument. `points` yields what a finished call adds or records, with the attributes beyond the base."""

    name: str
    unit: str
    description: str
    points: Callable[[Call], Points]
    buckets: tuple[float, ...] | None = None


def _one(value: float | None, extra: Mapping[str, Any] = _NONE) -> Points:
    return () if value is None else ((value, extra),)


def _outcome(call: Call) -> dict[str, Any]:
    return {OUTCOME: call.verdict.outcome}


def _outcome_batch(call: Call) -> dict[str, Any]:
    return {OUTCOME: call.verdict.outcome, BATCH: call.facts.batch}


def _writes(call: Call) -> Points:
    if call.usage is None or call.usage.write is None:
        return ()
    split = call.usage.write_by_ttl or {"unknown": call.usage.write}
    return [(tokens, _outcome_batch(call) | {TTL: ttl}) for ttl, tokens in split.items()]


def _unpriced(value: Callable[[Call], float]) -> Callable[[Call], Points]:
    def points(call: Call) -> Points:
        if call.cost is None or call.cost.unknown is None:
            return ()
        return ((value(call), {COST_UNKNOWN: call.cost.unknown}),)

    return points


def _missed(value: Callable[[Call], float | None]) -> Callable[[Call], Points]:
    return lambda call: (
        _one(value(call), {MISS_REASON: call.verdict.reason or "unknown"}) if value(call) else ()
    )


SECONDS: Final = tuple(0.01 * 2**step for step in range(14))
"""The standard buckets of `gen_ai.client.operation.duration`: 0.01 s to 81.92 s."""

COST_USD: Final = "promptcache.cost.usd"
WASTED_COUNTER: Final = "promptcache.wasted.usd"
STORAGE_USD: Final = "promptcache.storage.usd"
"""Observable: what the named caches of this process have cost by now in rent."""

COUNTERS: Final[tuple[Metric, ...]] = (
    Metric(
        "promptcache.input.tokens",
        "{token}",
        "Input tokens, cached ones included.",
        lambda call: _one(call.usage and call.usage.input, _outcome_batch(call)),
    ),
    Metric(
        "promptcache.read.tokens",
        "{token}",
        "Input tokens read from the provider's cache.",
        lambda call: _one(call.usage and call.usage.read, _outcome_batch(call)),
    ),
    Metric(
        "promptcache.write.tokens",
        "{token}",
        "Input tokens written to the provider's cache.",
        _writes,
    ),
    Metric(
        "promptcache.output.tokens",
        "{token}",
        "Output tokens, reasoning included.",
        lambda call: _one(call.usage and call.usage.output, {BATCH: call.facts.batch}),
    ),
    Metric(
        "promptcache.calls", "{call}", "Finished calls.", lambda call: _one(1, _outcome_batch(call))
    ),
    Metric(
        "promptcache.missed.tokens",
        "{token}",
        "Reusable tokens that were not read from the cache.",
        _missed(lambda call: call.verdict.tokens),
    ),
    Metric(
        WASTED_COUNTER,
        "{USD}",
        "What missed tokens, and writes that nobody read, cost too much.",
        _missed(lambda call: call.verdict.waste),
    ),
    Metric(
        COST_USD,
        "{USD}",
        "Cost of the priced calls.",
        lambda call: _one(call.cost and call.cost.amount),
    ),
    Metric(
        "promptcache.cost_without_cache.usd",
        "{USD}",
        "What the priced calls would have cost without a cache.",
        lambda call: _one(call.cost and call.cost.without_cache),
    ),
    Metric(
        "promptcache.unpriced.calls",
        "{call}",
        "Calls whose cost is not known.",
        _unpriced(lambda call: 1),
    ),
    Metric(
        "promptcache.unpriced.tokens",
        "{token}",
        "Tokens of calls whose cost is not known.",
        _unpriced(lambda call: call.usage.input + (call.usage.output or 0) if call.usage else 0),
    ),
)

HISTOGRAMS: Final[tuple[Metric, ...]] = (
    Metric(
        "promptcache.call.duration",
        "s",
        "From the request to the end of the response.",
        lambda call: () if call.facts.batch else _one(call.duration, _outcome(call)),
        SECONDS,
    ),
    Metric(
        "promptcache.time_to_first_chunk",
        "s",
        "From the request to the first content of a stream.",
        lambda call: _one(call.first_chunk, _outcome(call)),
        SECONDS,
    ),
)

BORN_TOGETHER: Final[tuple[str, ...]] = (
    "promptcache.input.tokens",
    "promptcache.read.tokens",
    "promptcache.calls",
)
"""Counters whose series start at 0 for every outcome of a model at once: a ratio needs both its sides."""

BIRTH: Final[tuple[Mapping[str, Any], ...]] = tuple(
    {OUTCOME: outcome, BATCH: False} for outcome in OUTCOMES
)


def series(call: Call) -> dict[str, Any]:
    """The base attributes of every metric of a call."""
    values = (
        (OPERATION, call.request.operation),
        (PROVIDER, call.request.provider),
        (REQUEST_MODEL, call.request.model),
        (RESPONSE_MODEL, call.facts.model),
        (SERVER_ADDRESS, call.request.host),
    )
    return {name: value for name, value in values if value is not None}
