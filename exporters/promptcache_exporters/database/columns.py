"""The columns of both local tables: calls, and operations on named caches.

The schema, the migration, the INSERT statement and the views of the report all come from these
rows. To add a column, add a row. The number of columns is the schema version, and an older file
gains the missing columns. NULL means "not reported", never 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from promptcache import semconv
from promptcache_exporters.database.column import (
    ColumnReader,
    TableColumn,
    get_span_attribute,
    span_attribute_column,
    to_json_counts_text,
    to_json_list_text,
    to_sql_boolean,
    to_sql_count,
    to_sql_real,
    to_sql_usd,
    to_truncated_sql_text,
)
from promptcache_exporters.database.dimensions import read_dimensions
from promptcache_exporters.database.recorded_span import LinkedSpan, RecordedSpan
from promptcache_exporters.database.sampling import span_sample_ratio

CALLS_TABLE_NAME: Final = "llm_calls"
STORAGE_COSTS_TABLE_NAME: Final = "cache_rents"
CACHE_OPERATIONS: Final = frozenset({"create_cache", "update_cache", "delete_cache"})
"""Values of `gen_ai.operation.name` whose spans are rows of the table of storage costs."""


def _start_time_seconds(span: RecordedSpan) -> float:
    return (span.start_time or 0) / 1e9


def _duration_seconds(span: RecordedSpan) -> float | None:
    return (
        None
        if span.end_time is None or span.start_time is None
        else (span.end_time - span.start_time) / 1e9
    )


def _service_name(span: RecordedSpan) -> str | None:
    return to_truncated_sql_text(span.resource.attributes.get(semconv.SERVICE_NAME))


def _prefix_family(span: RecordedSpan) -> str | None:
    family = get_span_attribute(span, semconv.PREFIX_FAMILY)
    is_own = family == get_span_attribute(span, semconv.PREFIX_HASH)
    return None if is_own else to_truncated_sql_text(family)


def _prefix_links(span: RecordedSpan) -> str | None:
    return span.prefix_links if isinstance(span, LinkedSpan) else None


def _hex_id_reader(digit_count: int, read_id: Callable[[RecordedSpan], int | None]) -> ColumnReader:
    def reader(span: RecordedSpan) -> str | None:
        number = read_id(span)
        return None if number is None else format(number, f"0{digit_count}x")

    return reader


CALL_COLUMNS: Final[tuple[TableColumn, ...]] = (
    # Columns that every report reads come first: SQLite decodes a row only up to the last column
    # that the query needs.
    TableColumn("time", "REAL", _start_time_seconds),  # start of the call, epoch seconds
    TableColumn("service", "TEXT", _service_name),
    span_attribute_column("provider", semconv.GEN_AI_PROVIDER_NAME, to_truncated_sql_text),
    span_attribute_column("operation", semconv.GEN_AI_OPERATION_NAME, to_truncated_sql_text),
    span_attribute_column("request_model", semconv.GEN_AI_REQUEST_MODEL, to_truncated_sql_text),
    span_attribute_column("response_model", semconv.GEN_AI_RESPONSE_MODEL, to_truncated_sql_text),
    span_attribute_column("outcome", semconv.OUTCOME, to_truncated_sql_text),
    TableColumn(
        "batch",
        "INTEGER NOT NULL DEFAULT 0",
        lambda span: to_sql_boolean(get_span_attribute(span, semconv.BATCH)) or 0,
        semconv.BATCH,
        to_sql_boolean,
    ),
    span_attribute_column("input_tokens", semconv.INPUT_TOKENS, to_sql_count),
    span_attribute_column("read_tokens", semconv.READ_TOKENS, to_sql_count),
    span_attribute_column("write_tokens", semconv.WRITE_TOKENS, to_sql_count),
    span_attribute_column("uncached_tokens", semconv.UNCACHED_TOKENS, to_sql_count),
    span_attribute_column("output_tokens", semconv.OUTPUT_TOKENS, to_sql_count),
    span_attribute_column(
        "cost_amount", semconv.COST_AMOUNT, to_sql_usd
    ),  # USD, like all costs below
    span_attribute_column("without_cache", semconv.COST_WITHOUT_CACHE, to_sql_usd),
    span_attribute_column("wasted_usd", semconv.WASTED_USD, to_sql_usd),
    span_attribute_column("cost_unknown", semconv.COST_UNKNOWN, to_truncated_sql_text),
    span_attribute_column("missed_tokens", semconv.MISSED_TOKENS, to_sql_count),
    span_attribute_column("miss_reason", semconv.MISS_REASON, to_truncated_sql_text),
    span_attribute_column("prefix_hash", semconv.PREFIX_HASH, to_truncated_sql_text),
    # NULL where it equals `prefix_hash`, as in most rows; the views have it in every row.
    TableColumn(
        "prefix_family",
        "TEXT",
        _prefix_family,
        semconv.PREFIX_FAMILY,
        to_truncated_sql_text,
        view_expression="coalesce(prefix_family, prefix_hash)",
    ),
    span_attribute_column("code_file", semconv.CODE_FILE_PATH, to_truncated_sql_text),
    span_attribute_column("code_line", semconv.CODE_LINE_NUMBER, to_sql_count),
    span_attribute_column("code_function", semconv.CODE_FUNCTION_NAME, to_truncated_sql_text),
    # Share of such calls that was recorded: 1.0 is all of them, NULL is unknown.
    TableColumn("sample_ratio", "REAL", span_sample_ratio),
    # The columns below are for `promptcache explain` and for queries of the user.
    *(
        span_attribute_column(f"write_{ttl}_tokens", name, to_sql_count)
        for ttl, name in semconv.WRITE_TOKENS_BY_TTL.items()
    ),
    span_attribute_column("cost_input", semconv.COST_INPUT, to_sql_usd),
    span_attribute_column("cost_read", semconv.COST_CACHE_READ, to_sql_usd),
    span_attribute_column("cost_write", semconv.COST_CACHE_WRITE, to_sql_usd),
    span_attribute_column("cost_output", semconv.COST_OUTPUT, to_sql_usd),
    span_attribute_column("cost_source", semconv.COST_SOURCE, to_truncated_sql_text),
    span_attribute_column("price_date", semconv.COST_PRICE_DATE, to_truncated_sql_text),
    span_attribute_column("miss_section", semconv.MISS_SECTION, to_truncated_sql_text),
    span_attribute_column("miss_index", semconv.MISS_INDEX, to_sql_count),
    span_attribute_column("miss_offset", semconv.MISS_OFFSET, to_sql_count),
    span_attribute_column("miss_hint", semconv.MISS_HINT, to_truncated_sql_text),
    span_attribute_column("miss_confidence", semconv.MISS_CONFIDENCE, to_sql_real),
    span_attribute_column("miss_source", semconv.MISS_SOURCE, to_truncated_sql_text),
    span_attribute_column(
        "miss_provider_reason", semconv.MISS_PROVIDER_REASON, to_truncated_sql_text
    ),
    span_attribute_column("tools_hash", semconv.PREFIX_TOOLS_HASH, to_truncated_sql_text),
    span_attribute_column("system_hash", semconv.PREFIX_SYSTEM_HASH, to_truncated_sql_text),
    span_attribute_column("scope_hash", semconv.PREFIX_SCOPE_HASH, to_truncated_sql_text),
    span_attribute_column("prefix_blocks", semconv.PREFIX_BLOCKS, to_sql_count),
    span_attribute_column("prefix_breakpoints", semconv.PREFIX_BREAKPOINTS, to_json_list_text),
    span_attribute_column("prefix_complete", semconv.PREFIX_COMPLETE, to_sql_boolean),
    span_attribute_column("prefix_chain", semconv.PREFIX_CHAIN, to_json_list_text),
    span_attribute_column("prefix_chain_start", semconv.PREFIX_CHAIN_START, to_sql_count),
    span_attribute_column("prefix_chain_sizes", semconv.PREFIX_CHAIN_SIZES, to_json_counts_text),
    span_attribute_column(
        "prefix_section_counts", semconv.PREFIX_SECTION_COUNTS, to_json_counts_text
    ),
    TableColumn("duration", "REAL", _duration_seconds),  # seconds
    span_attribute_column(
        "first_chunk", semconv.GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK, to_sql_real
    ),  # seconds
    span_attribute_column("stream", semconv.GEN_AI_REQUEST_STREAM, to_sql_boolean),
    span_attribute_column("stream_completed", semconv.STREAM_COMPLETED, to_sql_boolean),
    span_attribute_column(
        "finish_reasons", semconv.GEN_AI_RESPONSE_FINISH_REASONS, to_json_list_text
    ),
    span_attribute_column("error_type", semconv.ERROR_TYPE, to_truncated_sql_text),
    span_attribute_column("resends", semconv.HTTP_REQUEST_RESEND_COUNT, to_sql_count),
    span_attribute_column("server_address", semconv.SERVER_ADDRESS, to_truncated_sql_text),
    span_attribute_column("server_port", semconv.SERVER_PORT, to_sql_count),
    span_attribute_column(
        "service_tier", semconv.OPENAI_RESPONSE_SERVICE_TIER, to_truncated_sql_text
    ),
    span_attribute_column("response_id", semconv.GEN_AI_RESPONSE_ID, to_truncated_sql_text),
    span_attribute_column("conversation_id", semconv.GEN_AI_CONVERSATION_ID, to_truncated_sql_text),
    span_attribute_column("prompt_name", semconv.GEN_AI_PROMPT_NAME, to_truncated_sql_text),
    span_attribute_column("prompt_version", semconv.GEN_AI_PROMPT_VERSION, to_truncated_sql_text),
    span_attribute_column("agent_name", semconv.GEN_AI_AGENT_NAME, to_truncated_sql_text),
    span_attribute_column("usage_inconsistent", semconv.USAGE_INCONSISTENT, to_truncated_sql_text),
    TableColumn("dimensions", "TEXT", read_dimensions),  # a JSON object
    TableColumn(
        "trace_id",
        "TEXT",
        _hex_id_reader(32, lambda span: span.context.trace_id if span.context else None),
    ),
    TableColumn(
        "span_id",
        "TEXT",
        _hex_id_reader(16, lambda span: span.context.span_id if span.context else None),
    ),
    TableColumn(
        "parent_span_id",
        "TEXT",
        _hex_id_reader(16, lambda span: span.parent.span_id if span.parent else None),
    ),
    span_attribute_column("miss_parameter", semconv.MISS_PARAMETER, to_truncated_sql_text),
    span_attribute_column("miss_layer", semconv.MISS_LAYER, to_truncated_sql_text),
    TableColumn("prefix_links", "TEXT", _prefix_links),  # of recordings, docs/specs/prefix.md
)

NEVER_EXPORTED_COLUMNS: Final = frozenset({"prefix_links"})
"""They stay in the file: `promptcache export` leaves them out."""

CALL_INDEXES: Final = (
    # A span that is exported twice counts once. Its start and a part of its id tell it from others:
    # whole ids of traces and spans took an eighth of the file.
    (
        f"CREATE UNIQUE INDEX IF NOT EXISTS {CALLS_TABLE_NAME}_time_and_span"
        f" ON {CALLS_TABLE_NAME} (time, substr(span_id, -8))"
    ),
    f"DROP INDEX IF EXISTS {CALLS_TABLE_NAME}_span",  # of older releases
    f"DROP INDEX IF EXISTS {CALLS_TABLE_NAME}_time",
    # `explain` finds a trace by the end of its id, which is random in every system.
    (
        f"CREATE INDEX IF NOT EXISTS {CALLS_TABLE_NAME}_trace"
        f" ON {CALLS_TABLE_NAME} (substr(trace_id, -4))"
    ),
    # The next two hold exceptions only and stay almost empty, so that the report finds sampled and
    # unpriced calls without reading the table.
    (
        f"CREATE INDEX IF NOT EXISTS {CALLS_TABLE_NAME}_sampled"
        f" ON {CALLS_TABLE_NAME} (sample_ratio) WHERE coalesce(sample_ratio, 0) <> 1.0"
    ),
    (
        f"CREATE INDEX IF NOT EXISTS {CALLS_TABLE_NAME}_unpriced"
        f" ON {CALLS_TABLE_NAME} (cost_unknown) WHERE cost_amount IS NULL"
    ),
)

STORAGE_COST_COLUMNS: Final[tuple[TableColumn, ...]] = (
    *(
        column
        for column in CALL_COLUMNS
        if column.name in {"time", "service", "trace_id", "span_id"}
    ),
    span_attribute_column("provider", semconv.GEN_AI_PROVIDER_NAME, to_truncated_sql_text),
    span_attribute_column("operation", semconv.GEN_AI_OPERATION_NAME, to_truncated_sql_text),
    span_attribute_column("model", semconv.GEN_AI_REQUEST_MODEL, to_truncated_sql_text),
    span_attribute_column("name", semconv.CACHE_NAME, to_truncated_sql_text),
    span_attribute_column("tokens", semconv.CACHE_TOKENS, to_sql_count),
    span_attribute_column("expires", semconv.CACHE_EXPIRES, to_truncated_sql_text),  # RFC 3339
    # Storage cost from the creation to the expiry of the cache.
    span_attribute_column("committed_usd", semconv.CACHE_COMMITTED_USD, to_sql_usd),
    # Storage cost from the creation to the deletion of the cache.
    span_attribute_column("stored_usd", semconv.CACHE_STORED_USD, to_sql_usd),
    # Cost of filling the cache: its tokens at the input price.
    span_attribute_column("filled_usd", semconv.COST_AMOUNT, to_sql_usd),
)

STORAGE_COST_INDEXES: Final = (
    (
        f"CREATE UNIQUE INDEX IF NOT EXISTS {STORAGE_COSTS_TABLE_NAME}_span"
        f" ON {STORAGE_COSTS_TABLE_NAME} (trace_id, span_id)"
    ),
)


def is_llm_call_with_outcome(span: RecordedSpan) -> bool:
    """Return whether `span` is an LLM call with an outcome: our own span, or another library's."""
    return semconv.OUTCOME in (span.attributes or {})


def is_successful_named_cache_operation(span: RecordedSpan) -> bool:
    """Return whether `span` is the successful creation, renewal or deletion of a named cache."""
    attributes = span.attributes or {}
    return (
        semconv.CACHE_NAME in attributes
        and attributes.get(semconv.GEN_AI_OPERATION_NAME) in CACHE_OPERATIONS
        and semconv.ERROR_TYPE not in attributes
    )
