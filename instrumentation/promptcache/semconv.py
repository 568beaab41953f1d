"""The telemetry contract: every attribute and metric name, and how to read its value from a `Call`.

No other file holds such a name. A `SpanAttributeDefinition` pairs a name with a function that reads
the value from a call; one loop writes them all. A function that returns None writes nothing, so a
value that was not reported stays different from 0. Names of `gen_ai.*`, `server.*`, `error.*` and
`code.*` have the meaning that OpenTelemetry gives them (semantic-conventions-genai, November 2026,
status Development). Every name of our own begins with `promptcache.`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from promptcache.model import MAX_CHOICES, OUTCOMES, Call, Cost, Usage

AttributeValue = str | bool | int | float | Sequence[str] | Sequence[int]

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
PREFIX_OVERSIZED: Final = "promptcache.prefix.oversized"
PREFIX_CHAIN: Final = "promptcache.prefix.chain"
PREFIX_CHAIN_START: Final = "promptcache.prefix.chain_start"
PREFIX_CHAIN_SIZES: Final = "promptcache.prefix.chain_sizes"
PREFIX_SECTION_COUNTS: Final = "promptcache.prefix.section_counts"
MISS_REASON: Final = "promptcache.miss.reason"
MISS_SECTION: Final = "promptcache.miss.section"
MISS_HINT: Final = "promptcache.miss.hint"
MISS_INDEX: Final = "promptcache.miss.index"
MISS_OFFSET: Final = "promptcache.miss.offset"
MISS_CONFIDENCE: Final = "promptcache.miss.confidence"
MISS_SOURCE: Final = "promptcache.miss.source"
MISS_PROVIDER_REASON: Final = "promptcache.miss.provider_reason"
MISS_PARAMETER: Final = "promptcache.miss.parameter"
MISS_LAYER: Final = "promptcache.miss.layer"
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
COST_ATTEMPTS: Final = "promptcache.cost.attempts"
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
class SpanAttributeDefinition:
    """One span attribute, and the part of a call from which its value is read.

    `source` is the path of a field, such as `usage.input_tokens`, or a function of the call. The
    call has no value for the attribute if the field, a part of the path, or the result is None.
    """

    name: str
    source: str | Callable[[Call], AttributeValue | None]


def _cost_part_getter(part: str) -> Callable[[Call], AttributeValue | None]:
    return lambda call: call.cost.parts.get(part) if call.cost else None


ATTEMPT_FIELDS: Final[tuple[str, ...]] = (
    GEN_AI_RESPONSE_MODEL,
    INPUT_TOKENS,
    READ_TOKENS,
    WRITE_TOKENS,
    UNCACHED_TOKENS,
    OUTPUT_TOKENS,
    COST_AMOUNT,
    COST_INPUT,
    COST_CACHE_READ,
    COST_CACHE_WRITE,
    COST_OUTPUT,
    COST_UNKNOWN,
)
"""The values of one entry of `promptcache.cost.attempts`, a JSON list in this order.

A value that is not known is null.
"""


def _attempts_as_json_lists(call: Call) -> list[str] | None:
    attempts = call.cost.attempts[:MAX_CHOICES] if call.cost else ()
    entries = [
        (
            model,
            usage.input_tokens,
            usage.cache_read_tokens,
            usage.cache_write_tokens,
            usage.uncached_tokens,
            usage.output_tokens,
            cost.amount,
            *(cost.parts.get(part) for part in ("input", "cache_read", "cache_write", "output")),
            cost.unknown_reason,
        )
        for model, usage, cost in attempts
    ]
    return [json.dumps(entry, separators=(",", ":")) for entry in entries] or None


def _saved_usd(call: Call) -> float | None:
    if call.cost is None or call.cost.amount is None or call.cost.without_cache is None:
        return None
    return call.cost.without_cache - call.cost.amount


def _write_tokens_of_ttl_getter(ttl: str) -> Callable[[Call], AttributeValue | None]:
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


STANDARD_ATTRIBUTES: Final[tuple[SpanAttributeDefinition, ...]] = (
    SpanAttributeDefinition(GEN_AI_OPERATION_NAME, "request.operation"),
    SpanAttributeDefinition(GEN_AI_PROVIDER_NAME, "request.provider"),
    SpanAttributeDefinition(GEN_AI_REQUEST_MODEL, "request.model"),
    SpanAttributeDefinition(SERVER_ADDRESS, "request.host"),
    SpanAttributeDefinition(SERVER_PORT, "request.port"),
    SpanAttributeDefinition(GEN_AI_REQUEST_STREAM, lambda call: call.request.stream or None),
    SpanAttributeDefinition(GEN_AI_RESPONSE_MODEL, "facts.model"),
    SpanAttributeDefinition(GEN_AI_RESPONSE_ID, "facts.id"),
    SpanAttributeDefinition(
        GEN_AI_RESPONSE_FINISH_REASONS, lambda call: call.facts.finish_reasons[:MAX_CHOICES] or None
    ),
    SpanAttributeDefinition(
        GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK, lambda call: call.time_to_first_chunk
    ),
    SpanAttributeDefinition(GEN_AI_USAGE_INPUT_TOKENS, "usage.input_tokens"),
    SpanAttributeDefinition(GEN_AI_USAGE_OUTPUT_TOKENS, "usage.output_tokens"),
    SpanAttributeDefinition(
        GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS,
        "usage.cache_read_tokens",
    ),
    SpanAttributeDefinition(
        GEN_AI_USAGE_CACHE_WRITE_INPUT_TOKENS,
        "usage.cache_write_tokens",
    ),
    SpanAttributeDefinition(
        GEN_AI_USAGE_REASONING_OUTPUT_TOKENS,
        "usage.reasoning_tokens",
    ),
    SpanAttributeDefinition(
        OPENAI_RESPONSE_SERVICE_TIER,
        lambda call: (
            call.facts.service_tier if call.request.wire_format_name.startswith("openai.") else None
        ),
    ),
    SpanAttributeDefinition(HTTP_REQUEST_RESEND_COUNT, lambda call: call.retries or None),
    SpanAttributeDefinition(ERROR_TYPE, lambda call: call.error_type),
    SpanAttributeDefinition(CODE_FUNCTION_NAME, "call_site.function"),
    SpanAttributeDefinition(CODE_FILE_PATH, "call_site.file"),
    SpanAttributeDefinition(CODE_LINE_NUMBER, "call_site.line"),
)

LEGACY_ATTRIBUTES: Final[tuple[SpanAttributeDefinition, ...]] = (
    SpanAttributeDefinition(
        GEN_AI_USAGE_CACHE_CREATION_INPUT_TOKENS,
        "usage.cache_write_tokens",
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

PROMPTCACHE_ATTRIBUTES: Final[tuple[SpanAttributeDefinition, ...]] = (
    SpanAttributeDefinition(OUTCOME, "verdict.outcome"),
    SpanAttributeDefinition(INPUT_TOKENS, "usage.input_tokens"),
    SpanAttributeDefinition(READ_TOKENS, "usage.cache_read_tokens"),
    SpanAttributeDefinition(WRITE_TOKENS, "usage.cache_write_tokens"),
    SpanAttributeDefinition(UNCACHED_TOKENS, "usage.uncached_tokens"),
    SpanAttributeDefinition(OUTPUT_TOKENS, "usage.output_tokens"),
    *(
        SpanAttributeDefinition(name, _write_tokens_of_ttl_getter(ttl))
        for ttl, name in WRITE_TOKENS_BY_TTL.items()
    ),
    SpanAttributeDefinition(HIT_RATIO, hit_ratio),
    SpanAttributeDefinition(HIT_PERCENT, _hit_percent),
    SpanAttributeDefinition(PREFIX_HASH, "prefix.hash"),
    SpanAttributeDefinition(PREFIX_FAMILY, "verdict.prefix_family"),
    SpanAttributeDefinition(PREFIX_TOOLS_HASH, "prefix.tools_hash"),
    SpanAttributeDefinition(PREFIX_SYSTEM_HASH, "prefix.system_hash"),
    SpanAttributeDefinition(PREFIX_SCOPE_HASH, "prefix.scope_hash"),
    SpanAttributeDefinition(PREFIX_BLOCKS, "prefix.block_count"),
    SpanAttributeDefinition(PREFIX_BREAKPOINTS, "prefix.breakpoints"),
    SpanAttributeDefinition(PREFIX_COMPLETE, "prefix.is_complete"),
    SpanAttributeDefinition(PREFIX_OVERSIZED, "prefix.is_oversized"),
    SpanAttributeDefinition(PREFIX_CHAIN, lambda call: (call.prefix and call.prefix.chain) or None),
    SpanAttributeDefinition(PREFIX_CHAIN_START, "prefix.chain_start"),
    SpanAttributeDefinition(
        PREFIX_CHAIN_SIZES, lambda call: (call.prefix and call.prefix.chain_sizes) or None
    ),
    SpanAttributeDefinition(
        PREFIX_SECTION_COUNTS, lambda call: (call.prefix and call.prefix.section_counts) or None
    ),
    SpanAttributeDefinition(MISS_REASON, "verdict.reason"),
    SpanAttributeDefinition(MISS_SECTION, "verdict.section"),
    SpanAttributeDefinition(MISS_HINT, "verdict.hint"),
    SpanAttributeDefinition(MISS_INDEX, "verdict.index"),
    SpanAttributeDefinition(MISS_OFFSET, "verdict.offset"),
    SpanAttributeDefinition(MISS_CONFIDENCE, "verdict.confidence"),
    SpanAttributeDefinition(MISS_SOURCE, "verdict.source"),
    SpanAttributeDefinition(MISS_PROVIDER_REASON, "verdict.provider_reason"),
    SpanAttributeDefinition(MISS_PARAMETER, "verdict.parameter"),
    SpanAttributeDefinition(MISS_LAYER, "verdict.layer"),
    SpanAttributeDefinition(MISSED_TOKENS, "verdict.missed_tokens"),
    SpanAttributeDefinition(WASTED_USD, "verdict.wasted_usd"),
    SpanAttributeDefinition(COST_AMOUNT, "cost.amount"),
    SpanAttributeDefinition(
        COST_CURRENCY, lambda call: "USD" if call.cost and call.cost.amount is not None else None
    ),
    SpanAttributeDefinition(
        COST_SOURCE,
        lambda call: call.cost.source if call.cost and call.cost.amount is not None else None,
    ),
    SpanAttributeDefinition(COST_PRICE_DATE, "cost.price_date"),
    SpanAttributeDefinition(COST_INPUT, _cost_part_getter("input")),
    SpanAttributeDefinition(COST_CACHE_READ, _cost_part_getter("cache_read")),
    SpanAttributeDefinition(COST_CACHE_WRITE, _cost_part_getter("cache_write")),
    SpanAttributeDefinition(COST_OUTPUT, _cost_part_getter("output")),
    SpanAttributeDefinition(COST_WITHOUT_CACHE, "cost.without_cache"),
    SpanAttributeDefinition(COST_SAVED, _saved_usd),
    SpanAttributeDefinition(COST_UNKNOWN, "cost.unknown_reason"),
    SpanAttributeDefinition(COST_ATTEMPTS, _attempts_as_json_lists),
    SpanAttributeDefinition(BATCH, lambda call: call.facts.is_batch or None),
    SpanAttributeDefinition(BATCH_RESULTS, lambda call: call.batch_results or None),
    SpanAttributeDefinition(
        USAGE_INCONSISTENT,
        lambda call: ",".join(call.usage.inconsistencies) or None if call.usage else None,
    ),
    SpanAttributeDefinition(
        STREAM_COMPLETED, lambda call: call.facts.is_terminal if call.request.stream else None
    ),
)


_COUNTS: Final = frozenset(
    {
        GEN_AI_RESPONSE_MODEL,
        GEN_AI_RESPONSE_ID,
        GEN_AI_USAGE_INPUT_TOKENS,
        GEN_AI_USAGE_OUTPUT_TOKENS,
        GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS,
        GEN_AI_USAGE_CACHE_WRITE_INPUT_TOKENS,
        GEN_AI_USAGE_REASONING_OUTPUT_TOKENS,
        INPUT_TOKENS,
        READ_TOKENS,
        WRITE_TOKENS,
        UNCACHED_TOKENS,
        OUTPUT_TOKENS,
        *WRITE_TOKENS_BY_TTL.values(),
    }
)
COUNT_ATTRIBUTES: Final[tuple[SpanAttributeDefinition, ...]] = tuple(
    row for row in (*STANDARD_ATTRIBUTES, *PROMPTCACHE_ATTRIBUTES) if row.name in _COUNTS
)
"""The attributes of a call that still runs: counts, and nothing that judges them."""


def sampling_attributes(
    operation: str,
    provider: str,
    model: str | None,
    host: str | None,
    port: int | None,
    *,
    stream: bool,
) -> dict[str, AttributeValue]:
    """Return the attributes that a span has when a sampler decides on it."""
    values = {
        GEN_AI_OPERATION_NAME: operation,
        GEN_AI_PROVIDER_NAME: provider,
        GEN_AI_REQUEST_MODEL: model,
        SERVER_ADDRESS: host,
        SERVER_PORT: port,
        GEN_AI_REQUEST_STREAM: stream or None,
    }
    return {name: value for name, value in values.items() if value is not None}


AttributeReader = Callable[[Call], dict[str, AttributeValue]]
"""Return those of some attributes that have a value, by name."""


def make_attribute_reader(definitions: Iterable[SpanAttributeDefinition]) -> AttributeReader:
    """Return a function that reads these attributes of a call, in their order.

    Its code is written here, as `dataclasses` writes its methods: one line for each attribute. A
    loop over the definitions takes three times as long, and each call reads seventy attributes.
    """
    parts: dict[str, str] = {}
    functions: dict[str, Callable[[Call], AttributeValue | None]] = {}
    lines: list[str] = []
    for row in definitions:
        if isinstance(row.source, str):
            part, _, field = row.source.partition(".")
            parts[part] = f" {part} = call.{part}"
            lines.append(f" if {part} is not None and (value := {part}.{field}) is not None:")
        else:
            function = f"function_{len(functions)}"
            functions[function] = row.source
            lines.append(f" if (value := {function}(call)) is not None:")
        lines.append(f"  values[{row.name!r}] = value")
    head = ("def read_attributes(call):", " values = {}", *parts.values())
    namespace: dict[str, Any] = dict(functions)
    exec("\n".join((*head, *lines, " return values")), namespace)  # noqa: S102  # our own text
    reader: AttributeReader = namespace["read_attributes"]
    return reader


def shortfall_tokens(call: Call, target_hit_ratio: float) -> float | None:
    """Return `target_hit_ratio` * input_tokens - cache_read_tokens; None if the reads were not
    reported.

    Positive if the call's hit ratio is below `target_hit_ratio`, else negative. The sum over many
    calls is the shortfall of all of them.
    """
    usage = call.usage
    if usage is None or usage.cache_read_tokens is None:
        return None
    return target_hit_ratio * usage.input_tokens - usage.cache_read_tokens


@dataclass(frozen=True, slots=True)
class MetricDefinition:
    """One metric instrument. `counter_points` and `histogram_points` say what a call adds to it."""

    name: str
    unit: str
    description: str
    bucket_boundaries: tuple[float, ...] | None = None


MetricPoint = tuple[str, float, Mapping[str, Any]]
"""Name of a metric, what a call adds or records, and the attributes of this metric alone."""


def counter_points(call: Call) -> list[MetricPoint]:
    """Return what a finished call adds to our counters.

    Each point has the attributes of `common_metric_attributes` besides its own.
    """
    verdict, batch = call.verdict, {BATCH: call.facts.is_batch}
    outcome_and_batch = {OUTCOME: verdict.outcome, **batch}
    points: list[MetricPoint] = [(METRIC_CALLS, 1, outcome_and_batch)]
    if call.usage is not None:
        _append_usage_points(points, call.usage, outcome_and_batch, batch)
    if verdict.missed_tokens:
        reason = {MISS_REASON: verdict.reason or "unknown"}
        points.append((METRIC_MISSED_TOKENS, verdict.missed_tokens, reason))
    if verdict.wasted_usd:
        reason = {MISS_REASON: verdict.reason or "unknown"}
        points.append((METRIC_WASTED_USD, verdict.wasted_usd, reason))
    if call.cost is not None:
        _append_cost_points(points, call.cost, call.usage)
    return points


def _append_usage_points(
    points: list[MetricPoint],
    usage: Usage,
    outcome_and_batch: Mapping[str, Any],
    batch: Mapping[str, Any],
) -> None:
    points.append((METRIC_INPUT_TOKENS, usage.input_tokens, outcome_and_batch))
    if usage.cache_read_tokens is not None:
        points.append((METRIC_READ_TOKENS, usage.cache_read_tokens, outcome_and_batch))
    if usage.cache_write_tokens is not None:
        split = usage.cache_write_by_ttl or {"unknown": usage.cache_write_tokens}
        for ttl, tokens in split.items():
            points.append((METRIC_WRITE_TOKENS, tokens, {**outcome_and_batch, TTL: ttl}))
    if usage.output_tokens is not None:
        points.append((METRIC_OUTPUT_TOKENS, usage.output_tokens, batch))


def _append_cost_points(points: list[MetricPoint], cost: Cost, usage: Usage | None) -> None:
    if cost.amount is not None:
        points.append((METRIC_COST_USD, cost.amount, _NO_ATTRIBUTES))
    if cost.without_cache is not None:
        points.append((METRIC_COST_WITHOUT_CACHE_USD, cost.without_cache, _NO_ATTRIBUTES))
    if cost.unknown_reason is not None:
        reason = {COST_UNKNOWN: cost.unknown_reason}
        tokens = usage.input_tokens + (usage.output_tokens or 0) if usage else 0
        points += (METRIC_UNPRICED_CALLS, 1, reason), (METRIC_UNPRICED_TOKENS, tokens, reason)


def histogram_points(call: Call) -> list[MetricPoint]:
    """Return what a finished call records in our histograms, as `counter_points` does."""
    outcome, points = {OUTCOME: call.verdict.outcome}, list[MetricPoint]()
    if call.time_to_first_chunk is not None:
        points.append((METRIC_TIME_TO_FIRST_CHUNK, call.time_to_first_chunk, outcome))
    if not call.facts.is_batch:
        points.append((METRIC_CALL_DURATION, call.duration, outcome))
    return points


_NO_ATTRIBUTES: Final[Mapping[str, Any]] = {}

DURATION_BUCKETS_SECONDS: Final = tuple(0.01 * 2**step for step in range(14))
"""The standard buckets of `gen_ai.client.operation.duration`: 0.01 s to 81.92 s."""

COUNTERS: Final[tuple[MetricDefinition, ...]] = (
    MetricDefinition(METRIC_INPUT_TOKENS, "{token}", "Input tokens, cached ones included."),
    MetricDefinition(METRIC_READ_TOKENS, "{token}", "Input tokens read from the provider's cache."),
    MetricDefinition(
        METRIC_WRITE_TOKENS, "{token}", "Input tokens written to the provider's cache."
    ),
    MetricDefinition(METRIC_OUTPUT_TOKENS, "{token}", "Output tokens, reasoning included."),
    MetricDefinition(METRIC_CALLS, "{call}", "Finished calls."),
    MetricDefinition(
        METRIC_MISSED_TOKENS, "{token}", "Reusable tokens that were not read from the cache."
    ),
    MetricDefinition(
        METRIC_WASTED_USD,
        "{USD}",
        "Avoidable cost of missed tokens and of cache writes that were never read.",
    ),
    MetricDefinition(METRIC_COST_USD, "{USD}", "Cost of the priced calls."),
    MetricDefinition(
        METRIC_COST_WITHOUT_CACHE_USD, "{USD}", "Cost of the priced calls without a cache."
    ),
    MetricDefinition(METRIC_UNPRICED_CALLS, "{call}", "Calls whose cost is not known."),
    MetricDefinition(METRIC_UNPRICED_TOKENS, "{token}", "Tokens of calls whose cost is not known."),
)

HISTOGRAMS: Final[tuple[MetricDefinition, ...]] = (
    MetricDefinition(
        METRIC_CALL_DURATION,
        "s",
        "From the request to the end of the response.",
        DURATION_BUCKETS_SECONDS,
    ),
    MetricDefinition(
        METRIC_TIME_TO_FIRST_CHUNK,
        "s",
        "From the request to the first content of a stream.",
        DURATION_BUCKETS_SECONDS,
    ),
)

GENAI_TOKEN_BUCKETS: Final = tuple(4**step for step in range(14))
"""The standard buckets of `gen_ai.client.token.usage`: 1 to 67,108,864 tokens."""


METRIC_GENAI_TOKENS: Final = "gen_ai.client.token.usage"
METRIC_GENAI_DURATION: Final = "gen_ai.client.operation.duration"


def genai_points(call: Call) -> list[MetricPoint]:
    """Return what a finished call records in OpenTelemetry's own histograms."""
    if call.facts.is_batch:
        return []
    error = {ERROR_TYPE: call.error_type} if call.error_type else _NO_ATTRIBUTES
    usage = call.usage
    counts = usage and (("input", usage.input_tokens), ("output", usage.output_tokens))
    return [
        (METRIC_GENAI_DURATION, call.duration, error),
        *(
            (METRIC_GENAI_TOKENS, count, {GEN_AI_TOKEN_TYPE: kind})
            for kind, count in counts or ()
            if count is not None
        ),
    ]


GENAI_HISTOGRAMS: Final[tuple[MetricDefinition, ...]] = (
    MetricDefinition(
        METRIC_GENAI_TOKENS,
        "{token}",
        "Input tokens and output tokens of a call, as OpenTelemetry defines them.",
        GENAI_TOKEN_BUCKETS,
    ),
    MetricDefinition(
        METRIC_GENAI_DURATION,
        "s",
        "Duration of a call, as OpenTelemetry defines it.",
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


def common_metric_attributes(call: Call) -> dict[str, Any]:
    """Return the attributes that every metric of a call has."""
    values = (
        (GEN_AI_OPERATION_NAME, call.request.operation),
        (GEN_AI_PROVIDER_NAME, call.request.provider),
        (GEN_AI_REQUEST_MODEL, call.request.model),
        (GEN_AI_RESPONSE_MODEL, call.facts.model),
        (SERVER_ADDRESS, call.request.host),
    )
    return {name: value for name, value in values if value is not None}
