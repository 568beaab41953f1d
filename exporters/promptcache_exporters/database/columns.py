"""The local table: one row for every LLM call, one declaration for every column.

A column is a name, an SQL type and a way to read it from a span; the schema, the migration, the insert and the report's
view are all made from these rows. A new column is one new row: the number of columns is the schema's version, and an
older file gains what it lacks. NULL means "not reported", never 0.

A span is hostile input: another library may have put anything under a standard name. Readers therefore check types
and ranges and answer None to what a column of theirs cannot hold.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from promptcache.semconv import (
    BATCH,
    CODE_FILE_PATH,
    CODE_FUNCTION_NAME,
    CODE_LINE_NUMBER,
    COST_AMOUNT,
    COST_CACHE_READ,
    COST_CACHE_WRITE,
    COST_INPUT,
    COST_OUTPUT,
    COST_PRICE_DATE,
    COST_SOURCE,
    COST_UNKNOWN,
    COST_WITHOUT_CACHE,
    ERROR_TYPE,
    GEN_AI_AGENT_NAME,
    GEN_AI_CONVERSATION_ID,
    GEN_AI_OPERATION_NAME,
    GEN_AI_PROMPT_NAME,
    GEN_AI_PROMPT_VERSION,
    GEN_AI_PROVIDER_NAME,
    GEN_AI_REQUEST_MODEL,
    GEN_AI_REQUEST_STREAM,
    GEN_AI_RESPONSE_FINISH_REASONS,
    GEN_AI_RESPONSE_ID,
    GEN_AI_RESPONSE_MODEL,
    GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK,
    HTTP_REQUEST_RESEND_COUNT,
    INPUT_TOKENS,
    MISS_CONFIDENCE,
    MISS_HINT,
    MISS_INDEX,
    MISS_OFFSET,
    MISS_PROVIDER_REASON,
    MISS_REASON,
    MISS_SECTION,
    MISS_SOURCE,
    MISSED_TOKENS,
    OPENAI_RESPONSE_SERVICE_TIER,
    OUTCOME,
    OUTPUT_TOKENS,
    PREFIX_BLOCKS,
    PREFIX_BREAKPOINTS,
    PREFIX_CHAIN,
    PREFIX_CHAIN_START,
    PREFIX_COMPLETE,
    PREFIX_FAMILY,
    PREFIX_HASH,
    PREFIX_SCOPE_HASH,
    PREFIX_SYSTEM_HASH,
    PREFIX_TOOLS_HASH,
    READ_TOKENS,
    SERVER_ADDRESS,
    SERVER_PORT,
    SERVICE_NAME,
    STREAM_COMPLETED,
    UNCACHED_TOKENS,
    USAGE_INCONSISTENT,
    WASTED_USD,
    WRITE_TOKENS,
    WRITE_TOKENS_BY_TTL,
)
from promptcache_exporters.database.sampling import sample_ratio

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

ColumnValue = str | int | float | None
ColumnReader = Callable[["ReadableSpan"], ColumnValue]

CALLS_TABLE_NAME: Final = "llm_calls"
MAX_TEXT_LENGTH: Final = 1024
"""Characters kept of one text. The names of models and functions are far shorter; a text that is not is no name."""
MAX_NUMBER: Final = 2**40
"""No count of tokens comes near; bounded so that sums over millions of rows stay within SQLite's 64 bits."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column. `read_from_span` answers None where the span does not say."""

    name: str
    type: str
    read_from_span: ColumnReader


def _get_attribute(span: ReadableSpan, name: str) -> Any:
    return (span.attributes or {}).get(name)


def to_sql_text(value: Any) -> str | None:
    """A text that SQLite can hold: no lone surrogates, no NUL, of bounded length; None for what is no text."""
    if not isinstance(value, str):
        return None
    return value[:MAX_TEXT_LENGTH].encode("utf-8", "replace").decode().replace("\0", "?")


def to_sql_count(value: Any) -> int | None:
    """A count: an integer from 0 up to `MAX_NUMBER`, and no truth value."""
    return value if type(value) is int and 0 <= value <= MAX_NUMBER else None


def to_sql_real(value: Any) -> float | None:
    """A number that can be added up."""
    return float(value) if type(value) in (int, float) and abs(value) <= MAX_NUMBER else None


def to_sql_boolean(value: Any) -> int | None:
    """A truth value as SQLite writes it."""
    return int(value) if isinstance(value, bool) else None


def to_sql_list(value: Any) -> str | None:
    """Texts as a JSON list, at most `MAX_TEXT_LENGTH` of them."""
    if not isinstance(value, (list, tuple)):
        return None
    return json.dumps([to_sql_text(item) for item in value[:MAX_TEXT_LENGTH]])  # pyright: ignore[reportUnknownVariableType]  # hostile


_SQL_TYPES: Final[Mapping[Callable[[Any], ColumnValue], str]] = {
    to_sql_text: "TEXT",
    to_sql_count: "INTEGER",
    to_sql_real: "REAL",
    to_sql_boolean: "INTEGER",
    to_sql_list: "TEXT",
}


def attribute_column(name: str, attribute: str, convert: Callable[[Any], ColumnValue]) -> Column:
    """A column that holds one attribute, as far as it passes `convert`."""
    return Column(name, _SQL_TYPES[convert], lambda span: convert(_get_attribute(span, attribute)))


def _start_seconds(span: ReadableSpan) -> float:
    return (span.start_time or 0) / 1e9


def _duration_seconds(span: ReadableSpan) -> float | None:
    return (
        None
        if span.end_time is None or span.start_time is None
        else (span.end_time - span.start_time) / 1e9
    )


def _hex_reader(length: int, read: Callable[[ReadableSpan], int | None]) -> ColumnReader:
    def reader(span: ReadableSpan) -> str | None:
        number = read(span)
        return None if number is None else format(number, f"0{length}x")

    return reader


CALL_COLUMNS: Final[tuple[Column, ...]] = (
    # What every report reads comes first: SQLite decodes a row only as far as it is asked to.
    Column("time", "REAL", _start_seconds),  # seconds since 1970 at the start of the call
    Column("service", "TEXT", lambda span: to_sql_text(span.resource.attributes.get(SERVICE_NAME))),
    attribute_column("provider", GEN_AI_PROVIDER_NAME, to_sql_text),
    attribute_column("operation", GEN_AI_OPERATION_NAME, to_sql_text),
    attribute_column("request_model", GEN_AI_REQUEST_MODEL, to_sql_text),
    attribute_column("response_model", GEN_AI_RESPONSE_MODEL, to_sql_text),
    attribute_column("outcome", OUTCOME, to_sql_text),
    Column(
        "batch",
        "INTEGER NOT NULL DEFAULT 0",
        lambda span: to_sql_boolean(_get_attribute(span, BATCH)) or 0,
    ),
    attribute_column("input_tokens", INPUT_TOKENS, to_sql_count),
    attribute_column("read_tokens", READ_TOKENS, to_sql_count),
    attribute_column("write_tokens", WRITE_TOKENS, to_sql_count),
    attribute_column("uncached_tokens", UNCACHED_TOKENS, to_sql_count),
    attribute_column("output_tokens", OUTPUT_TOKENS, to_sql_count),
    attribute_column("cost_amount", COST_AMOUNT, to_sql_real),  # USD, as all that follow
    attribute_column("without_cache", COST_WITHOUT_CACHE, to_sql_real),
    attribute_column("wasted_usd", WASTED_USD, to_sql_real),
    attribute_column("cost_unknown", COST_UNKNOWN, to_sql_text),
    attribute_column("missed_tokens", MISSED_TOKENS, to_sql_count),
    attribute_column("miss_reason", MISS_REASON, to_sql_text),
    attribute_column("prefix_hash", PREFIX_HASH, to_sql_text),
    attribute_column("prefix_family", PREFIX_FAMILY, to_sql_text),
    attribute_column("code_file", CODE_FILE_PATH, to_sql_text),
    attribute_column("code_line", CODE_LINE_NUMBER, to_sql_count),
    attribute_column("code_function", CODE_FUNCTION_NAME, to_sql_text),
    Column(
        "sample_ratio", "REAL", sample_ratio
    ),  # share of such calls that was recorded; 1.0 all, NULL not known
    # The rest is for `promptcache explain` and for questions of your own.
    *(
        attribute_column(f"write_{ttl}_tokens", name, to_sql_count)
        for ttl, name in WRITE_TOKENS_BY_TTL.items()
    ),
    attribute_column("cost_input", COST_INPUT, to_sql_real),
    attribute_column("cost_read", COST_CACHE_READ, to_sql_real),
    attribute_column("cost_write", COST_CACHE_WRITE, to_sql_real),
    attribute_column("cost_output", COST_OUTPUT, to_sql_real),
    attribute_column("cost_source", COST_SOURCE, to_sql_text),
    attribute_column("price_date", COST_PRICE_DATE, to_sql_text),
    attribute_column("miss_section", MISS_SECTION, to_sql_text),
    attribute_column("miss_index", MISS_INDEX, to_sql_count),
    attribute_column("miss_offset", MISS_OFFSET, to_sql_count),
    attribute_column("miss_hint", MISS_HINT, to_sql_text),
    attribute_column("miss_confidence", MISS_CONFIDENCE, to_sql_real),
    attribute_column("miss_source", MISS_SOURCE, to_sql_text),
    attribute_column("miss_provider_reason", MISS_PROVIDER_REASON, to_sql_text),
    attribute_column("tools_hash", PREFIX_TOOLS_HASH, to_sql_text),
    attribute_column("system_hash", PREFIX_SYSTEM_HASH, to_sql_text),
    attribute_column("scope_hash", PREFIX_SCOPE_HASH, to_sql_text),
    attribute_column("prefix_blocks", PREFIX_BLOCKS, to_sql_count),
    attribute_column("prefix_breakpoints", PREFIX_BREAKPOINTS, to_sql_list),
    attribute_column("prefix_complete", PREFIX_COMPLETE, to_sql_boolean),
    attribute_column("prefix_chain", PREFIX_CHAIN, to_sql_list),
    attribute_column("prefix_chain_start", PREFIX_CHAIN_START, to_sql_count),
    Column("duration", "REAL", _duration_seconds),  # seconds
    attribute_column("first_chunk", GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK, to_sql_real),  # seconds
    attribute_column("stream", GEN_AI_REQUEST_STREAM, to_sql_boolean),
    attribute_column("stream_completed", STREAM_COMPLETED, to_sql_boolean),
    attribute_column("finish_reasons", GEN_AI_RESPONSE_FINISH_REASONS, to_sql_list),
    attribute_column("error_type", ERROR_TYPE, to_sql_text),
    attribute_column("resends", HTTP_REQUEST_RESEND_COUNT, to_sql_count),
    attribute_column("server_address", SERVER_ADDRESS, to_sql_text),
    attribute_column("server_port", SERVER_PORT, to_sql_count),
    attribute_column("service_tier", OPENAI_RESPONSE_SERVICE_TIER, to_sql_text),
    attribute_column("response_id", GEN_AI_RESPONSE_ID, to_sql_text),
    attribute_column("conversation_id", GEN_AI_CONVERSATION_ID, to_sql_text),
    attribute_column("prompt_name", GEN_AI_PROMPT_NAME, to_sql_text),
    attribute_column("prompt_version", GEN_AI_PROMPT_VERSION, to_sql_text),
    attribute_column("agent_name", GEN_AI_AGENT_NAME, to_sql_text),
    attribute_column("usage_inconsistent", USAGE_INCONSISTENT, to_sql_text),
    Column(
        "trace_id",
        "TEXT",
        _hex_reader(32, lambda span: span.context.trace_id if span.context else None),
    ),
    Column(
        "span_id",
        "TEXT",
        _hex_reader(16, lambda span: span.context.span_id if span.context else None),
    ),
    Column(
        "parent_span_id",
        "TEXT",
        _hex_reader(16, lambda span: span.parent.span_id if span.parent else None),
    ),
)

CALL_INDEXES: Final = (
    # Spans are exported once; should one come again, it still counts once. Also finds a trace for `explain`.
    f"CREATE UNIQUE INDEX IF NOT EXISTS {CALLS_TABLE_NAME}_span ON {CALLS_TABLE_NAME} (trace_id, span_id)",
    f"CREATE INDEX IF NOT EXISTS {CALLS_TABLE_NAME}_time ON {CALLS_TABLE_NAME} (time)",
    # Both list exceptions and stay almost empty, so that the report need not read the table for them.
    f"CREATE INDEX IF NOT EXISTS {CALLS_TABLE_NAME}_sampled ON {CALLS_TABLE_NAME} (sample_ratio) WHERE coalesce(sample_ratio, 0) <> 1.0",
    f"CREATE INDEX IF NOT EXISTS {CALLS_TABLE_NAME}_unpriced ON {CALLS_TABLE_NAME} (cost_unknown) WHERE cost_amount IS NULL",
)


def is_llm_call(span: ReadableSpan) -> bool:
    """Whether `span` is an LLM call that promptcache has judged, its own span or a foreign one."""
    return OUTCOME in (span.attributes or {})
