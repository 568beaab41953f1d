"""The telemetry contract: every attribute and metric name, and how to read its value from a `Call`.

No other file holds such a name. A `SpanAttribute` pairs a name with a function that reads the value
from a call; one loop writes them all. A function that returns None writes nothing, so a value that
was not reported stays different from 0. Names of `gen_ai.*`, `server.*`, `error.*` and `code.*`
have the meaning that OpenTelemetry gives them (semantic-conventions-genai, November 2026, status
Development). Every name of our own begins with `promptcache.`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from promptcache.model import MAX_CHOICES, OUTCOMES, Call

AttributeValue = str | bool | int | float | Sequence[str]

SCOPE_NAME: Final = "promptcache"
"""The instrumentation scope of our tracer and our meter."""

# Span attributes of OpenTelemetry.
GEN_AI_OPERATION_NAME: Final = "gen_ai.operation.name"
GEN_AI_PROVIDER_NAME: Final = "gen_ai.provider.name"
GEN_AI_REQUEST_MODEL: Final = "gen_ai.request.model"
GEN_AI_REQUEST_STREAM: Final = "gen_ai.request.stream"
GEN_AI_RESPONSE_MODEL: Final = "gen_ai.response.model"
GEN_AI_RESPONSE_ID: Final = "gen_ai.response.id"
GEN_AI_RESPONSE_FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK: Final = "gen_ai.response.time_to_first_chunk"
GEN_AI_USAGE_INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
GEN_AI_USAGE_OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS: Final = "gen_ai.usage.cache_read.input_tokens"
GEN_AI_USAGE_CACHE_WRITE_INPUT_TOKENS: Final = "gen_ai.usage.cache_write.input_tokens"
GEN_AI_USAGE_CACHE_CREATION_INPUT_TOKENS: Final = "gen_ai.usage.cache_creation.input_tokens"
GEN_AI_USAGE_REASONING_OUTPUT_TOKENS: Final = "gen_ai.usage.reasoning.output_tokens"
GEN_AI_CONVERSATION_ID: Final = "gen_ai.conversation.id"
GEN_AI_PROMPT_NAME: Final = "gen_ai.prompt.name"
GEN_AI_PROMPT_VERSION: Final = "gen_ai.prompt.version"
GEN_AI_AGENT_NAME: Final = "gen_ai.agent.name"
OPENAI_RESPONSE_SERVICE_TIER: Final = "openai.response.service_tier"
HTTP_REQUEST_RESEND_COUNT: Final = "http.request.resend_count"
SERVER_ADDRESS: Final = "server.address"
SERVER_PORT: Final = "server.port"
ERROR_TYPE: Final = "error.type"
GEN_AI_TOKEN_TYPE: Final = "gen_ai.token.type"  # noqa: S105  # no password
CODE_FUNCTION_NAME: Final = "code.function.name"
CODE_FILE_PATH: Final = "code.file.path"
CODE_LINE_NUMBER: Final = "code.line.number"
SERVICE_NAME: Final = "service.name"

# Span attributes of our own.
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
PREFIX_TOOLS_HASH: Final = "promptcache.prefix.tools_hash"
PREFIX_SYSTEM_HASH: Final = "promptcache.prefix.system_hash"
PREFIX_SCOPE_HASH: Final = "promptcache.prefix.scope_hash"
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
COST_CACHE_READ: Final = "promptcache.cost.cache_read"
COST_CACHE_WRITE: Final = "promptcache.cost.cache_write"
COST_OUTPUT: Final = "promptcache.cost.output"
COST_WITHOUT_CACHE: Final = "promptcache.cost.without_cache"
COST_SAVED: Final = "promptcache.cost.saved"
COST_UNKNOWN: Final = "promptcache.cost.unknown"
BATCH: Final = "promptcache.batch"
BATCH_RESULTS: Final = "promptcache.batch.results"
USAGE_INCONSISTENT: Final = "promptcache.usage.inconsistent"
STREAM_COMPLETED: Final = "promptcache.stream.completed"
TTL: Final = "promptcache.ttl"
CACHE_NAME: Final = "promptcache.cache.name"
CACHE_TOKENS: Final = "promptcache.cache.tokens"
CACHE_EXPIRES: Final = "promptcache.cache.expires"
CACHE_COMMITTED_USD: Final = "promptcache.cache.committed_usd"
CACHE_STORED_USD: Final = "promptcache.cache.stored_usd"
WRITE_TOKENS_BY_TTL: Final[Mapping[str, str]] = {
    ttl: f"promptcache.write_tokens.{ttl}" for ttl in ("5m", "30m", "1h", "12h")
}

# Metrics.
METRIC_INPUT_TOKENS: Final = "promptcache.input.tokens"
METRIC_READ_TOKENS: Final = "promptcache.read.tokens"
METRIC_WRITE_TOKENS: Final = "promptcache.write.tokens"
METRIC_OUTPUT_TOKENS: Final = "promptcache.output.tokens"
METRIC_CALLS: Final = "promptcache.calls"
METRIC_MISSED_TOKENS: Final = "promptcache.missed.tokens"
METRIC_WASTED_USD: Final = "promptcache.wasted.usd"
METRIC_COST_USD: Final = "promptcache.cost.usd"
METRIC_COST_WITHOUT_CACHE_USD: Final = "promptcache.cost_without_cache.usd"
METRIC_UNPRICED_CALLS: Final = "promptcache.unpriced.calls"
METRIC_UNPRICED_TOKENS: Final = "promptcache.unpriced.tokens"
METRIC_STORAGE_USD: Final = "promptcache.storage.usd"
METRIC_CALL_DURATION: Final = "promptcache.call.duration"
METRIC_TIME_TO_FIRST_CHUNK: Final = "promptcache.time_to_first_chunk"

OTHER_VALUE: Final = "_OTHER"
"""The value of a metric attribute beyond its cardinality limit, as OpenTelemetry names it."""


@dataclass(frozen=True, slots=True)
class SpanAttribute:
    """One span attribute. `get_value` returns None if the call has no value for it."""

    name: str
    get_value: Callable[[Call], AttributeValue | None]


def _cost_part(part: str) -> Callable[[Call], AttributeValue | None]:
    return lambda call: call.cost.parts.get(part) if call.cost else None


def _saved_usd(call: Call) -> float | None:
    if call.cost is None or call.cost.amount is None or call.cost.without_cache is None:
        return None
    return call.cost.without_cache - call.cost.amount


def _write_tokens_of_ttl(ttl: str) -> Callable[[Call], AttributeValue | None]:
    return lambda call: call.usage.cache_write_by_ttl.get(ttl) if call.usage else None


def hit_ratio(call: Call) -> float | None:
    """Return cache_read_tokens / input_tokens, in 0..1.

    None if either was not reported, or if the input is empty.
    """
    usage = call.usage
    if usage is None or usage.cache_read_tokens is None or not usage.input_tokens:
        return None
    return usage.cache_read_tokens / usage.input_tokens


def _hit_percent(call: Call) -> int | None:
    usage = call.usage
    if usage is None or usage.cache_read_tokens is None or not usage.input_tokens:
        return None
    return 100 * usage.cache_read_tokens // usage.input_tokens


STANDARD_ATTRIBUTES: Final[tuple[SpanAttribute, ...]] = (
    SpanAttribute(GEN_AI_OPERATION_NAME, lambda call: call.request.operation),
    SpanAttribute(GEN_AI_PROVIDER_NAME, lambda call: call.request.provider),
    SpanAttribute(GEN_AI_REQUEST_MODEL, lambda call: call.request.model),
    SpanAttribute(SERVER_ADDRESS, lambda call: call.request.host),
    SpanAttribute(SERVER_PORT, lambda call: call.request.port),
    SpanAttribute(GEN_AI_REQUEST_STREAM, lambda call: call.request.stream or None),
    SpanAttribute(GEN_AI_RESPONSE_MODEL, lambda call: call.facts.model),
    SpanAttribute(GEN_AI_RESPONSE_ID, lambda call: call.facts.id),
    SpanAttribute(
        GEN_AI_RESPONSE_FINISH_REASONS, lambda call: call.facts.finish_reasons[:MAX_CHOICES] or None
    ),
    SpanAttribute(GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK, lambda call: call.time_to_first_chunk),
    SpanAttribute(GEN_AI_USAGE_INPUT_TOKENS, lambda call: call.usage and call.usage.input_tokens),
    SpanAttribute(GEN_AI_USAGE_OUTPUT_TOKENS, lambda call: call.usage and call.usage.output_tokens),
    SpanAttribute(
        GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS,
        lambda call: call.usage and call.usage.cache_read_tokens,
    ),
    SpanAttribute(
        GEN_AI_USAGE_CACHE_WRITE_INPUT_TOKENS,
        lambda call: call.usage and call.usage.cache_write_tokens,
    ),
    SpanAttribute(
        GEN_AI_USAGE_REASONING_OUTPUT_TOKENS,
        lambda call: call.usage and call.usage.reasoning_tokens,
    ),
    SpanAttribute(
        OPENAI_RESPONSE_SERVICE_TIER,
        lambda call: (
            call.facts.service_tier if call.request.wire_format_name.startswith("openai.") else None
        ),
    ),
    SpanAttribute(HTTP_REQUEST_RESEND_COUNT, lambda call: call.retries or None),
    SpanAttribute(ERROR_TYPE, lambda call: call.error_type),
    SpanAttribute(CODE_FUNCTION_NAME, lambda call: call.call_site and call.call_site.function),
    SpanAttribute(CODE_FILE_PATH, lambda call: call.call_site and call.call_site.file),
    SpanAttribute(CODE_LINE_NUMBER, lambda call: call.call_site and call.call_site.line),
)

LEGACY_ATTRIBUTES: Final[tuple[SpanAttribute, ...]] = (
    SpanAttribute(
        GEN_AI_USAGE_CACHE_CREATION_INPUT_TOKENS,
        lambda call: call.usage and call.usage.cache_write_tokens,
    ),
)

BATCH_RESULT_FIELDS: Final[tuple[str, ...]] = (
    GEN_AI_RESPONSE_ID,
    GEN_AI_RESPONSE_MODEL,
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
    COST_CACHE_READ,
    COST_CACHE_WRITE,
    COST_OUTPUT,
    COST_UNKNOWN,
)
"""The values of one entry of `promptcache.batch.results`, a JSON list in this order.

A value that is not known is null.
"""

SAMPLING_ATTRIBUTES: Final[tuple[SpanAttribute, ...]] = STANDARD_ATTRIBUTES[:6]
"""The attributes that a span has when a sampler decides on it."""

PROMPTCACHE_ATTRIBUTES: Final[tuple[SpanAttribute, ...]] = (
    SpanAttribute(OUTCOME, lambda call: call.verdict.outcome),
    SpanAttribute(INPUT_TOKENS, lambda call: call.usage and call.usage.input_tokens),
    SpanAttribute(READ_TOKENS, lambda call: call.usage and call.usage.cache_read_tokens),
    SpanAttribute(WRITE_TOKENS, lambda call: call.usage and call.usage.cache_write_tokens),
    SpanAttribute(UNCACHED_TOKENS, lambda call: call.usage and call.usage.uncached_tokens),
    SpanAttribute(OUTPUT_TOKENS, lambda call: call.usage and call.usage.output_tokens),
    *(SpanAttribute(name, _write_tokens_of_ttl(ttl)) for ttl, name in WRITE_TOKENS_BY_TTL.items()),
    SpanAttribute(HIT_RATIO, hit_ratio),
    SpanAttribute(HIT_PERCENT, _hit_percent),
    SpanAttribute(PREFIX_HASH, lambda call: call.prefix and call.prefix.hash),
    SpanAttribute(PREFIX_FAMILY, lambda call: call.verdict.prefix_family),
    SpanAttribute(PREFIX_TOOLS_HASH, lambda call: call.prefix and call.prefix.tools_hash),
    SpanAttribute(PREFIX_SYSTEM_HASH, lambda call: call.prefix and call.prefix.system_hash),
    SpanAttribute(PREFIX_SCOPE_HASH, lambda call: call.prefix and call.prefix.scope_hash),
    SpanAttribute(PREFIX_BLOCKS, lambda call: call.prefix and call.prefix.block_count),
    SpanAttribute(PREFIX_BREAKPOINTS, lambda call: call.prefix and call.prefix.breakpoints),
    SpanAttribute(PREFIX_COMPLETE, lambda call: call.prefix and call.prefix.is_complete),
    SpanAttribute(PREFIX_CHAIN, lambda call: (call.prefix and call.prefix.chain) or None),
    SpanAttribute(PREFIX_CHAIN_START, lambda call: call.prefix and call.prefix.chain_start),
    SpanAttribute(MISS_REASON, lambda call: call.verdict.reason),
    SpanAttribute(MISS_SECTION, lambda call: call.verdict.section),
    SpanAttribute(MISS_HINT, lambda call: call.verdict.hint),
    SpanAttribute(MISS_INDEX, lambda call: call.verdict.index),
    SpanAttribute(MISS_OFFSET, lambda call: call.verdict.offset),
    SpanAttribute(MISS_CONFIDENCE, lambda call: call.verdict.confidence),
    SpanAttribute(MISS_SOURCE, lambda call: call.verdict.source),
    SpanAttribute(MISS_PROVIDER_REASON, lambda call: call.verdict.provider_reason),
    SpanAttribute(MISSED_TOKENS, lambda call: call.verdict.missed_tokens),
    SpanAttribute(WASTED_USD, lambda call: call.verdict.wasted_usd),
    SpanAttribute(COST_AMOUNT, lambda call: call.cost and call.cost.amount),
    SpanAttribute(
        COST_CURRENCY, lambda call: "USD" if call.cost and call.cost.amount is not None else None
    ),
    SpanAttribute(
        COST_SOURCE,
        lambda call: call.cost.source if call.cost and call.cost.amount is not None else None,
    ),
    SpanAttribute(COST_PRICE_DATE, lambda call: call.cost and call.cost.price_date),
    SpanAttribute(COST_INPUT, _cost_part("input")),
    SpanAttribute(COST_CACHE_READ, _cost_part("cache_read")),
    SpanAttribute(COST_CACHE_WRITE, _cost_part("cache_write")),
    SpanAttribute(COST_OUTPUT, _cost_part("output")),
    SpanAttribute(COST_WITHOUT_CACHE, lambda call: call.cost and call.cost.without_cache),
    SpanAttribute(COST_SAVED, _saved_usd),
    SpanAttribute(COST_UNKNOWN, lambda call: call.cost and call.cost.unknown_reason),
    SpanAttribute(BATCH, lambda call: call.facts.is_batch or None),
    SpanAttribute(
        USAGE_INCONSISTENT,
        lambda call: ",".join(call.usage.inconsistencies) or None if call.usage else None,
    ),
    SpanAttribute(
        STREAM_COMPLETED, lambda call: call.facts.is_terminal if call.request.stream else None
    ),
)


def read_attributes(rows: Iterable[SpanAttribute], call: Call) -> dict[str, AttributeValue]:
    """Return the values that `rows` read from `call`, without those that are None."""
    return {row.name: value for row in rows if (value := row.get_value(call)) is not None}


def shortfall_tokens(call: Call, target: float) -> float | None:
    """Return `target` * input_tokens - cache_read_tokens; None if the reads were not reported.

    Positive if the call's hit ratio is below `target`, else negative. The sum over many calls is
    the shortfall of all of them.
    """
    usage = call.usage
    if usage is None or usage.cache_read_tokens is None:
        return None
    return target * usage.input_tokens - usage.cache_read_tokens


MetricPoints = Iterable[tuple[float, Mapping[str, Any]]]
_NO_ATTRIBUTES: Final[Mapping[str, Any]] = {}


@dataclass(frozen=True, slots=True)
class MetricDefinition:
    """One metric instrument.

    `points` returns the values that a finished call adds or records, each with its attributes
    beyond those of `metric_attributes`.
    """

    name: str
    unit: str
    description: str
    points: Callable[[Call], MetricPoints]
    bucket_boundaries: tuple[float, ...] | None = None


def _single_point(value: float | None, extra: Mapping[str, Any] = _NO_ATTRIBUTES) -> MetricPoints:
    return () if value is None else ((value, extra),)


def _outcome_attributes(call: Call) -> dict[str, Any]:
    return {OUTCOME: call.verdict.outcome}


def _outcome_and_batch_attributes(call: Call) -> dict[str, Any]:
    return {OUTCOME: call.verdict.outcome, BATCH: call.facts.is_batch}


def _cache_write_points(call: Call) -> MetricPoints:
    if call.usage is None or call.usage.cache_write_tokens is None:
        return ()
    split = call.usage.cache_write_by_ttl or {"unknown": call.usage.cache_write_tokens}
    return [
        (tokens, _outcome_and_batch_attributes(call) | {TTL: ttl}) for ttl, tokens in split.items()
    ]


def _unpriced_points(value: Callable[[Call], float]) -> Callable[[Call], MetricPoints]:
    def points(call: Call) -> MetricPoints:
        if call.cost is None or call.cost.unknown_reason is None:
            return ()
        return ((value(call), {COST_UNKNOWN: call.cost.unknown_reason}),)

    return points


def _missed_points(value: Callable[[Call], float | None]) -> Callable[[Call], MetricPoints]:
    return lambda call: (
        _single_point(value(call), {MISS_REASON: call.verdict.reason or "unknown"})
        if value(call)
        else ()
    )


DURATION_BUCKETS_SECONDS: Final = tuple(0.01 * 2**step for step in range(14))
"""The standard buckets of `gen_ai.client.operation.duration`: 0.01 s to 81.92 s."""

COUNTERS: Final[tuple[MetricDefinition, ...]] = (
    MetricDefinition(
        METRIC_INPUT_TOKENS,
        "{token}",
        "Input tokens, cached ones included.",
        lambda call: _single_point(
            call.usage and call.usage.input_tokens, _outcome_and_batch_attributes(call)
        ),
    ),
    MetricDefinition(
        METRIC_READ_TOKENS,
        "{token}",
        "Input tokens read from the provider's cache.",
        lambda call: _single_point(
            call.usage and call.usage.cache_read_tokens, _outcome_and_batch_attributes(call)
        ),
    ),
    MetricDefinition(
        METRIC_WRITE_TOKENS,
        "{token}",
        "Input tokens written to the provider's cache.",
        _cache_write_points,
    ),
    MetricDefinition(
        METRIC_OUTPUT_TOKENS,
        "{token}",
        "Output tokens, reasoning included.",
        lambda call: _single_point(
            call.usage and call.usage.output_tokens, {BATCH: call.facts.is_batch}
        ),
    ),
    MetricDefinition(
        METRIC_CALLS,
        "{call}",
        "Finished calls.",
        lambda call: _single_point(1, _outcome_and_batch_attributes(call)),
    ),
    MetricDefinition(
        METRIC_MISSED_TOKENS,
        "{token}",
        "Reusable tokens that were not read from the cache.",
        _missed_points(lambda call: call.verdict.missed_tokens),
    ),
    MetricDefinition(
        METRIC_WASTED_USD,
        "{USD}",
        "Avoidable cost of missed tokens and of cache writes that were never read.",
        _missed_points(lambda call: call.verdict.wasted_usd),
    ),
    MetricDefinition(
        METRIC_COST_USD,
        "{USD}",
        "Cost of the priced calls.",
        lambda call: _single_point(call.cost and call.cost.amount),
    ),
    MetricDefinition(
        METRIC_COST_WITHOUT_CACHE_USD,
        "{USD}",
        "Cost of the priced calls without a cache.",
        lambda call: _single_point(call.cost and call.cost.without_cache),
    ),
    MetricDefinition(
        METRIC_UNPRICED_CALLS,
        "{call}",
        "Calls whose cost is not known.",
        _unpriced_points(lambda call: 1),
    ),
    MetricDefinition(
        METRIC_UNPRICED_TOKENS,
        "{token}",
        "Tokens of calls whose cost is not known.",
        _unpriced_points(
            lambda call: (
                call.usage.input_tokens + (call.usage.output_tokens or 0) if call.usage else 0
            )
        ),
    ),
)

HISTOGRAMS: Final[tuple[MetricDefinition, ...]] = (
    MetricDefinition(
        METRIC_CALL_DURATION,
        "s",
        "From the request to the end of the response.",
        lambda call: (
            () if call.facts.is_batch else _single_point(call.duration, _outcome_attributes(call))
        ),
        DURATION_BUCKETS_SECONDS,
    ),
    MetricDefinition(
        METRIC_TIME_TO_FIRST_CHUNK,
        "s",
        "From the request to the first content of a stream.",
        lambda call: _single_point(call.time_to_first_chunk, _outcome_attributes(call)),
        DURATION_BUCKETS_SECONDS,
    ),
)

GENAI_TOKEN_BUCKETS: Final = tuple(4**step for step in range(14))
"""The standard buckets of `gen_ai.client.token.usage`: 1 to 67,108,864 tokens."""


def _genai_token_points(call: Call) -> MetricPoints:
    if call.usage is None or call.facts.is_batch:
        return ()
    counts = (("input", call.usage.input_tokens), ("output", call.usage.output_tokens))
    return [(count, {GEN_AI_TOKEN_TYPE: kind}) for kind, count in counts if count is not None]


def _genai_duration_points(call: Call) -> MetricPoints:
    if call.facts.is_batch:
        return ()
    return ((call.duration, {ERROR_TYPE: call.error_type} if call.error_type else {}),)


GENAI_HISTOGRAMS: Final[tuple[MetricDefinition, ...]] = (
    MetricDefinition(
        "gen_ai.client.token.usage",
        "{token}",
        "Input tokens and output tokens of a call, as OpenTelemetry defines them.",
        _genai_token_points,
        GENAI_TOKEN_BUCKETS,
    ),
    MetricDefinition(
        "gen_ai.client.operation.duration",
        "s",
        "Duration of a call, as OpenTelemetry defines it.",
        _genai_duration_points,
        DURATION_BUCKETS_SECONDS,
    ),
)
"""OpenTelemetry's own metrics, emitted only if the user asks for them.

Names of semantic conventions 1.37 and later, which dashboards read. The main branch of November
2026 renames them, without a release yet.
"""

ZERO_INITIALISED: Final[tuple[str, ...]] = (
    METRIC_INPUT_TOKENS,
    METRIC_READ_TOKENS,
    METRIC_CALLS,
)
"""Counters whose series start at 0 for all outcomes of a model at once.

A ratio of two counters needs the series of both.
"""

ZERO_POINTS: Final[tuple[Mapping[str, Any], ...]] = tuple(
    {OUTCOME: outcome, BATCH: False} for outcome in OUTCOMES
)


def metric_attributes(call: Call) -> dict[str, Any]:
    """Return the attributes that every metric of a call has."""
    values = (
        (GEN_AI_OPERATION_NAME, call.request.operation),
        (GEN_AI_PROVIDER_NAME, call.request.provider),
        (GEN_AI_REQUEST_MODEL, call.request.model),
        (GEN_AI_RESPONSE_MODEL, call.facts.model),
        (SERVER_ADDRESS, call.request.host),
    )
    return {name: value for name, value in values if value is not None}
