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

from promptcache.attributes import (
    AGENT_NAME,
    BATCH,
    CODE_FILE,
    CODE_FUNCTION,
    CODE_LINE,
    CONVERSATION,
    COST_AMOUNT,
    COST_INPUT,
    COST_OUTPUT,
    COST_PRICE_DATE,
    COST_READ,
    COST_SOURCE,
    COST_UNKNOWN,
    COST_WITHOUT_CACHE,
    COST_WRITE,
    ERROR_TYPE,
    FINISH_REASONS,
    INCONSISTENT,
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
    OPERATION,
    OUTCOME,
    OUTPUT_TOKENS,
    PREFIX_BLOCKS,
    PREFIX_BREAKPOINTS,
    PREFIX_CHAIN,
    PREFIX_CHAIN_START,
    PREFIX_COMPLETE,
    PREFIX_FAMILY,
    PREFIX_HASH,
    PROMPT_NAME,
    PROMPT_VERSION,
    PROVIDER,
    READ_TOKENS,
    REQUEST_MODEL,
    REQUEST_STREAM,
    RESENDS,
    RESPONSE_ID,
    RESPONSE_MODEL,
    SCOPE_HASH,
    SERVER_ADDRESS,
    SERVER_PORT,
    SERVICE_NAME,
    SERVICE_TIER,
    STREAM_COMPLETED,
    SYSTEM_HASH,
    TIME_TO_FIRST_CHUNK,
    TOOLS_HASH,
    UNCACHED_TOKENS,
    WASTED_USD,
    WRITE_TOKENS,
    WRITE_TOKENS_BY_TTL,
)
from promptcache_exporters.sampling import kept

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

Value = str | int | float | None
Reader = Callable[["ReadableSpan"], Value]

NAME: Final = "llm_calls"
LONGEST: Final = 1024
"""Characters kept of one text. The names of models and functions are far shorter; a text that is not is no name."""
LARGEST: Final = 2**40
"""No count of tokens comes near; bounded so that sums over millions of rows stay within SQLite's 64 bits."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column. `read` answers None where the span does not say."""

    name: str
    type: str
    read: Reader


def _attribute(span: ReadableSpan, name: str) -> Any:
    return (span.attributes or {}).get(name)


def clean(value: Any) -> str | None:
    """A text that SQLite can hold: no lone surrogates, no NUL, of bounded length; None for what is no text."""
    if not isinstance(value, str):
        return None
    return value[:LONGEST].encode("utf-8", "replace").decode().replace("\0", "?")


def whole(value: Any) -> int | None:
    """A count: an integer from 0 up to `LARGEST`, and no truth value."""
    return value if type(value) is int and 0 <= value <= LARGEST else None


def finite(value: Any) -> float | None:
    """A number that can be added up."""
    return float(value) if type(value) in (int, float) and abs(value) <= LARGEST else None


def flag(value: Any) -> int | None:
    """A truth value as SQLite writes it."""
    return int(value) if isinstance(value, bool) else None


def listed(value: Any) -> str | None:
    """Texts as a JSON list, at most `LONGEST` of them."""
    if not isinstance(value, (list, tuple)):
        return None
    return json.dumps([clean(item) for item in value[:LONGEST]])  # pyright: ignore[reportUnknownVariableType]  # hostile


_TYPES: Final[Mapping[Callable[[Any], Value], str]] = {
    clean: "TEXT",
    whole: "INTEGER",
    finite: "REAL",
    flag: "INTEGER",
    listed: "TEXT",
}


def column(name: str, attribute: str, check: Callable[[Any], Value]) -> Column:
    """A column that holds one attribute, as far as it passes `check`."""
    return Column(name, _TYPES[check], lambda span: check(_attribute(span, attribute)))


def _started(span: ReadableSpan) -> float:
    return (span.start_time or 0) / 1e9


def _lasted(span: ReadableSpan) -> float | None:
    return (
        None
        if span.end_time is None or span.start_time is None
        else (span.end_time - span.start_time) / 1e9
    )


def _hex(length: int, read: Callable[[ReadableSpan], int | None]) -> Reader:
    def reader(span: ReadableSpan) -> str | None:
        number = read(span)
        return None if number is None else format(number, f"0{length}x")

    return reader


COLUMNS: Final[tuple[Column, ...]] = (
    # What every report reads comes first: SQLite decodes a row only as far as it is asked to.
    Column("time", "REAL", _started),  # seconds since 1970 at the start of the call
    Column("service", "TEXT", lambda span: clean(span.resource.attributes.get(SERVICE_NAME))),
    column("provider", PROVIDER, clean),
    column("operation", OPERATION, clean),
    column("request_model", REQUEST_MODEL, clean),
    column("response_model", RESPONSE_MODEL, clean),
    column("outcome", OUTCOME, clean),
    Column("batch", "INTEGER NOT NULL DEFAULT 0", lambda span: flag(_attribute(span, BATCH)) or 0),
    column("input_tokens", INPUT_TOKENS, whole),
    column("read_tokens", READ_TOKENS, whole),
    column("write_tokens", WRITE_TOKENS, whole),
    column("uncached_tokens", UNCACHED_TOKENS, whole),
    column("output_tokens", OUTPUT_TOKENS, whole),
    column("cost_amount", COST_AMOUNT, finite),  # USD, as all that follow
    column("without_cache", COST_WITHOUT_CACHE, finite),
    column("wasted_usd", WASTED_USD, finite),
    column("cost_unknown", COST_UNKNOWN, clean),
    column("missed_tokens", MISSED_TOKENS, whole),
    column("miss_reason", MISS_REASON, clean),
    column("prefix_hash", PREFIX_HASH, clean),
    column("prefix_family", PREFIX_FAMILY, clean),
    column("code_file", CODE_FILE, clean),
    column("code_line", CODE_LINE, whole),
    column("code_function", CODE_FUNCTION, clean),
    Column(
        "sample_ratio", "REAL", kept
    ),  # share of such calls that was recorded; 1.0 all, NULL not known
    # The rest is for `promptcache explain` and for questions of your own.
    *(column(f"write_{ttl}_tokens", name, whole) for ttl, name in WRITE_TOKENS_BY_TTL.items()),
    column("cost_input", COST_INPUT, finite),
    column("cost_read", COST_READ, finite),
    column("cost_write", COST_WRITE, finite),
    column("cost_output", COST_OUTPUT, finite),
    column("cost_source", COST_SOURCE, clean),
    column("price_date", COST_PRICE_DATE, clean),
    column("miss_section", MISS_SECTION, clean),
    column("miss_index", MISS_INDEX, whole),
    column("miss_offset", MISS_OFFSET, whole),
    column("miss_hint", MISS_HINT, clean),
    column("miss_confidence", MISS_CONFIDENCE, finite),
    column("miss_source", MISS_SOURCE, clean),
    column("miss_provider_reason", MISS_PROVIDER_REASON, clean),
    column("tools_hash", TOOLS_HASH, clean),
    column("system_hash", SYSTEM_HASH, clean),
    column("scope_hash", SCOPE_HASH, clean),
    column("prefix_blocks", PREFIX_BLOCKS, whole),
    column("prefix_breakpoints", PREFIX_BREAKPOINTS, listed),
    column("prefix_complete", PREFIX_COMPLETE, flag),
    column("prefix_chain", PREFIX_CHAIN, listed),
    column("prefix_chain_start", PREFIX_CHAIN_START, whole),
    Column("duration", "REAL", _lasted),  # seconds
    column("first_chunk", TIME_TO_FIRST_CHUNK, finite),  # seconds
    column("stream", REQUEST_STREAM, flag),
    column("stream_completed", STREAM_COMPLETED, flag),
    column("finish_reasons", FINISH_REASONS, listed),
    column("error_type", ERROR_TYPE, clean),
    column("resends", RESENDS, whole),
    column("server_address", SERVER_ADDRESS, clean),
    column("server_port", SERVER_PORT, whole),
    column("service_tier", SERVICE_TIER, clean),
    column("response_id", RESPONSE_ID, clean),
    column("conversation_id", CONVERSATION, clean),
    column("prompt_name", PROMPT_NAME, clean),
    column("prompt_version", PROMPT_VERSION, clean),
    column("agent_name", AGENT_NAME, clean),
    column("usage_inconsistent", INCONSISTENT, clean),
    Column(
        "trace_id", "TEXT", _hex(32, lambda span: span.context.trace_id if span.context else None)
    ),
    Column(
        "span_id", "TEXT", _hex(16, lambda span: span.context.span_id if span.context else None)
    ),
    Column(
        "parent_span_id",
        "TEXT",
        _hex(16, lambda span: span.parent.span_id if span.parent else None),
    ),
)

INDEXES: Final = (
    # Spans are exported once; should one come again, it still counts once. Also finds a trace for `explain`.
    f"CREATE UNIQUE INDEX IF NOT EXISTS {NAME}_span ON {NAME} (trace_id, span_id)",
    f"CREATE INDEX IF NOT EXISTS {NAME}_time ON {NAME} (time)",
    # Both list exceptions and stay almost empty, so that the report need not read the table for them.
    f"CREATE INDEX IF NOT EXISTS {NAME}_sampled ON {NAME} (sample_ratio) WHERE coalesce(sample_ratio, 0) <> 1.0",
    f"CREATE INDEX IF NOT EXISTS {NAME}_unpriced ON {NAME} (cost_unknown) WHERE cost_amount IS NULL",
)


def wanted(span: ReadableSpan) -> bool:
    """Whether `span` is an LLM call that promptcache has judged, its own span or a foreign one."""
    return OUTCOME in (span.attributes or {})
