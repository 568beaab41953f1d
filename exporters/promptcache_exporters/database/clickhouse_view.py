"""The view `promptcache_calls` over the table of spans of the Collector's ClickHouse exporter.

The exporter (opentelemetry-collector-contrib, clickhouseexporter) keeps all attributes of a span as
text in one map, or with `json: true` in a column of type JSON. The view gives them the names, types
and ranges of the local table; an attribute that is absent is NULL. A view needs no right to change
the table. With that right, typed columns beside the map make reports faster.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, Final

from promptcache.semconv import BATCH_RESULT_FIELDS, BATCH_RESULTS, OUTCOME
from promptcache_exporters.database import column as conversions
from promptcache_exporters.database.column import MAX_NUMBER, MAX_TEXT_LENGTH, TableColumn
from promptcache_exporters.database.columns import CALL_COLUMNS
from promptcache_exporters.database.dialect import CLICKHOUSE, MAX_AMOUNT_USD

VIEW_NAME: Final = CLICKHOUSE.calls_view
DEFAULT_TABLE: Final = "otel_traces"
TYPED_PREFIX: Final = "promptcache_"
"""Of the names of the columns that promptcache adds to the table of spans."""


class AttributeStorage(StrEnum):
    """Where the view reads attributes: the exporter's map, typed columns beside it, or its JSON."""

    MAP = "map"
    TYPED = "typed"
    JSON = "json"


_Templates = Mapping[Callable[[Any], Any], str]
_NUMBER: Final = "toFloat64OrNull({value})"
_MAP_TEMPLATES: Final[_Templates] = {
    conversions.to_truncated_sql_text: (
        f"if({{is_present}}, substringUTF8({{value}}, 1, {MAX_TEXT_LENGTH}), NULL)"
    ),
    conversions.to_json_list_text: "if({is_present}, {value}, NULL)",
    conversions.to_json_counts_text: "if({is_present}, {value}, NULL)",
    conversions.to_sql_count: (
        f"if(toInt64OrNull({{value}}) BETWEEN 0 AND {MAX_NUMBER}, toInt64OrNull({{value}}), NULL)"
    ),
    conversions.to_sql_real: f"if(abs({_NUMBER}) <= {MAX_NUMBER}, {_NUMBER}, NULL)",
    conversions.to_sql_usd: (f"if({_NUMBER} BETWEEN 0 AND {MAX_AMOUNT_USD:.0f}, {_NUMBER}, NULL)"),
    conversions.to_sql_boolean: (
        "multiIf({value} = 'true', toInt64(1), {value} = 'false', toInt64(0), NULL)"
    ),
}
"""`value` is the text of the attribute, which is '' if it is absent."""

# A number without a fraction becomes an Int64. A text that looks like a date becomes a Date.
_JSON_NUMBER: Final = "coalesce({path}.:Float64, toFloat64({path}.:Int64))"
_JSON_TEXT: Final = (
    "if(dynamicType({path}) IN ('Int64', 'Float64', 'Bool') OR dynamicType({path}) LIKE 'Array%',"
    " NULL, CAST({path}, 'Nullable(String)'))"
)
_JSON_LIST: Final = "if(dynamicType({path}) LIKE 'Array%', toJSONString({path}), NULL)"
# toJSONString would quote whole numbers where the reader asks for it.
_JSON_COUNTS: Final = (
    "if(dynamicType({path}) LIKE 'Array%', '[' || arrayStringConcat("
    "arrayMap(value -> ifNull(toString(value), 'null'), {path}.:`Array(Nullable(Int64))`), ',')"
    " || ']', NULL)"
)
_JSON_TEMPLATES: Final[_Templates] = {
    conversions.to_truncated_sql_text: f"substringUTF8({_JSON_TEXT}, 1, {MAX_TEXT_LENGTH})",
    conversions.to_json_list_text: _JSON_LIST,
    conversions.to_json_counts_text: _JSON_COUNTS,
    conversions.to_sql_count: (
        f"if({{path}}.:Int64 BETWEEN 0 AND {MAX_NUMBER}, {{path}}.:Int64, NULL)"
    ),
    conversions.to_sql_real: f"if(abs({_JSON_NUMBER}) <= {MAX_NUMBER}, {_JSON_NUMBER}, NULL)",
    conversions.to_sql_usd: (
        f"if({_JSON_NUMBER} BETWEEN 0 AND {MAX_AMOUNT_USD:.0f}, {_JSON_NUMBER}, NULL)"
    ),
    conversions.to_sql_boolean: "CAST({path}.:Bool, 'Nullable(Int64)')",
}

_TYPES: Final[_Templates] = {
    conversions.to_truncated_sql_text: "LowCardinality(Nullable(String))",
    conversions.to_sql_count: "Nullable(Int64)",
    conversions.to_sql_real: "Nullable(Float64)",
    conversions.to_sql_usd: "Nullable(Float64)",
    conversions.to_sql_boolean: "Nullable(Int64)",
}
_THRESHOLD: Final = "extract(extract(TraceState, '(?:^|,)ot=([^,]*)'), '(?:^|;)th:([0-9a-f]+)')"
_SPAN_NUMBER: Final = "reinterpretAsUInt64(reverse(unhex(SpanId)))"
_OTHER_COLUMNS: Final = {
    "time": "toUnixTimestamp64Nano(Timestamp) / 1e9",
    "service": f"substringUTF8(ServiceName, 1, {MAX_TEXT_LENGTH})",
    "duration": "toInt64(Duration) / 1e9",
    "sample_ratio": (
        f"if(length({_THRESHOLD}) BETWEEN 1 AND 14, 1 - reinterpretAsUInt64(reverse(unhex("
        f"rightPad({_THRESHOLD}, 14, '0')))) / 72057594037927936, NULL)"
    ),
    "trace_id": "TraceId",
    "span_id": "SpanId",
    "parent_span_id": "nullIf(ParentSpanId, '')",
    # The settings of the recording process choose them.
    "dimensions": "CAST(NULL, 'Nullable(String)')",
    # It never leaves the computer that recorded the call.
    "prefix_links": "CAST(NULL, 'Nullable(String)')",
}
"""The columns that hold no single attribute. 72057594037927936 is 16 ** 14."""
_RESULT_COLUMNS: Final = {
    "span_id": (
        "if(batch_result = '', SpanId,"
        f" leftPad(lower(hex(toUInt64({_SPAN_NUMBER} + result_number))), 16, '0'))"
    ),
    "parent_span_id": "if(batch_result = '', nullIf(ParentSpanId, ''), SpanId)",
}
"""Each result of a batch is a child span, as in the local table."""

_REPORT_COLUMNS: Final = frozenset(
    name
    for names in (
        ("provider", "operation", "request_model", "response_model", "outcome", "batch"),
        ("input_tokens", "read_tokens", "write_tokens", "uncached_tokens", "output_tokens"),
        ("write_5m_tokens", "write_30m_tokens", "write_1h_tokens", "write_12h_tokens"),
        ("cost_amount", "without_cache", "wasted_usd", "cost_unknown", "cost_input", "cost_read"),
        ("cost_write", "missed_tokens", "miss_reason", "prefix_hash", "prefix_family"),
        ("tools_hash", "system_hash", "code_file", "code_line", "code_function", "sample_ratio"),
        ("conversation_id", "agent_name", "prompt_name"),
        ("stream", "stream_completed"),
    )
    for name in names
)
TYPED_COLUMNS: Final = tuple(column for column in CALL_COLUMNS if column.name in _REPORT_COLUMNS)
"""The columns that reports read. Only they are worth a typed column."""
_BATCH_FLAG: Final = f"{TYPED_PREFIX}has_batch_results"
TYPED_NAMES: Final = (*(f"{TYPED_PREFIX}{one.name}" for one in TYPED_COLUMNS), _BATCH_FLAG)


def clickhouse_statements(
    table: str = DEFAULT_TABLE,
    storage: AttributeStorage = AttributeStorage.MAP,
    *,
    is_deduplicated: bool = False,
) -> str:
    """Return the statements that make the view, again and again with the same result.

    A span with the results of a batch becomes one row for each result. `is_deduplicated` lets a
    span that was inserted twice count once, at the price of memory for all ids.
    """
    spans = table
    if is_deduplicated:
        columns = ", ".join(["*", *(TYPED_NAMES if storage is AttributeStorage.TYPED else ())])
        where = f"{_is_call(storage)} LIMIT 1 BY TraceId, SpanId"
        spans = f"(SELECT {columns} FROM {table} WHERE {where})"  # noqa: S608  # our own names
    statements = [f"CREATE OR REPLACE VIEW {VIEW_NAME} AS\n{_select_calls(spans, storage)};\n"]
    if storage is AttributeStorage.TYPED:
        statements.insert(0, _add_columns_statement(table))
    return "\n".join(statements)


def backfill_statement(table: str = DEFAULT_TABLE) -> str:
    """Return the statement that computes the typed columns of the parts that were there before."""
    return f"ALTER TABLE {table}\n    " + ",\n    ".join(
        f"MATERIALIZE COLUMN {name}" for name in TYPED_NAMES
    )


def backfill_size_query(table: str = DEFAULT_TABLE) -> str:
    """Return the query for the size of the parts whose typed columns are not computed yet.

    Its columns: `typed_columns` (how many of `TYPED_NAMES` the table has), `parts`, `all_rows`, and
    `all_bytes`, the compressed bytes of their maps. Of a small part only the size of all columns is
    known.
    """
    database, _, name = table.rpartition(".")
    where = (
        f"database = {_quote(database) if database else 'currentDatabase()'}"
        f" AND table = {_quote(name)}"
    )
    parts = f"FROM system.parts_columns\nWHERE {where} AND active AND column ="
    filled = f"SELECT name {parts} {_quote(_BATCH_FLAG)}"
    names = ", ".join(map(_quote, TYPED_NAMES))
    return f"""SELECT
    (SELECT count() FROM system.columns WHERE {where} AND name IN ({names})) AS typed_columns,
    count() AS parts, sum(rows) AS all_rows,
    sum(if(column_data_compressed_bytes = 0, bytes_on_disk, column_data_compressed_bytes))
        AS all_bytes
{parts} 'SpanAttributes' AND name NOT IN ({filled})"""  # noqa: S608  # our own names


def _add_columns_statement(table: str) -> str:
    added = [
        f"{TYPED_PREFIX}{one.name} {_TYPES[one.convert or conversions.to_sql_real]}"
        f" MATERIALIZED {_map_expression(one, 'SpanAttributes')}"
        for one in TYPED_COLUMNS
    ]
    added.append(f"{_BATCH_FLAG} Bool MATERIALIZED {_has_batch_results(AttributeStorage.MAP)}")
    columns = ",\n    ".join(f"ADD COLUMN IF NOT EXISTS {column}" for column in added)
    return f"ALTER TABLE {table}\n    {columns};\n"


def _select_calls(spans: str, storage: AttributeStorage) -> str:
    """Return the SELECT statement over `spans`, a table or a subquery.

    Only spans with the results of a batch need a map that differs from the span's own. Reading all
    spans once is cheaper for a map; typed and JSON columns are cheap to read twice.
    """
    results = _select_results(spans, storage)
    if storage is AttributeStorage.MAP:
        return results
    columns = _join_columns(lambda column: _direct_expression(column, storage), _OTHER_COLUMNS)
    return f"""SELECT
    {columns}
FROM {spans}
WHERE {_is_call(storage)} AND NOT {_has_batch_results(storage)}
UNION ALL
{results}"""  # noqa: S608  # our own names


def _select_results(spans: str, storage: AttributeStorage) -> str:
    """Return the SELECT statement with one row for each result; of a map also all other spans."""
    columns = _join_columns(
        lambda column: _map_expression(column, "attributes"), _OTHER_COLUMNS | _RESULT_COLUMNS
    )
    names = ", ".join(map(_quote, BATCH_RESULT_FIELDS))
    # The parts of a result that are null are absent.
    result = (
        f"mapFilter((name, value) -> value != 'null', mapFromArrays([{names}],"
        " arrayMap(value -> if(startsWith(value, '\"'), JSONExtractString(value), value),"
        f" arrayResize(JSONExtractArrayRaw(batch_result), {len(BATCH_RESULT_FIELDS)}, 'null'))))"
    )
    own = _attribute_map(storage)
    common = f"mapFilter((name, value) -> name NOT IN ({_quote(BATCH_RESULTS)}, {names}), {own})"
    where = [_is_call(storage)]
    if storage is not AttributeStorage.MAP:
        where.append(_has_batch_results(storage))
    # A result that cannot be read is no row.
    where.append(
        "(batch_result = '' OR arrayExists(value -> value != 'null',"
        " JSONExtractArrayRaw(batch_result)))"
    )
    results = _batch_results(storage)
    return f"""SELECT
    {columns}
FROM (
    SELECT *, batch_result, result_number,
        if(batch_result = '', {own}, mapUpdate({common}, {result})) AS attributes
    FROM {spans}
    ARRAY JOIN {results} AS batch_result, arrayEnumerate({results}) AS result_number
    WHERE {" AND ".join(where)}
)"""  # noqa: S608  # our own names


def _join_columns(
    expression: Callable[[TableColumn], str], other_columns: Mapping[str, str]
) -> str:
    def value_of(column: TableColumn) -> str:
        return other_columns.get(column.name) or expression(column)

    columns = [f"{_view_value(column, value_of)} AS {column.name}" for column in CALL_COLUMNS]
    return ",\n    ".join(["toInt64(0) AS id", *columns])


def _view_value(column: TableColumn, value_of: Callable[[TableColumn], str]) -> str:
    """Return what readers see of a column, with the values of the columns that it names."""
    if column.view_expression is None:
        return value_of(column)
    columns = {one.name: one for one in CALL_COLUMNS}
    return re.sub(
        r"\w+",
        lambda word: value_of(columns[word[0]]) if word[0] in columns else word[0],
        column.view_expression,
    )


def _map_expression(column: TableColumn, attributes: str) -> str:
    """Return the value of a column, from the map `attributes`."""
    if column.attribute is None or column.convert is None:
        return _OTHER_COLUMNS[column.name]
    name = _quote(column.attribute)
    return _not_null(
        column,
        _MAP_TEMPLATES[column.convert].format(
            value=f"{attributes}[{name}]", is_present=f"mapContains({attributes}, {name})"
        ),
    )


def _direct_expression(column: TableColumn, storage: AttributeStorage) -> str:
    """Return the value of a column, from its typed column or from the JSON."""
    if storage is AttributeStorage.TYPED and column in TYPED_COLUMNS:
        return _not_null(column, f"{TYPED_PREFIX}{column.name}")
    if storage is AttributeStorage.TYPED or column.attribute is None or column.convert is None:
        return _map_expression(column, "SpanAttributes")
    return _not_null(
        column, _JSON_TEMPLATES[column.convert].format(path=_json_path(column.attribute))
    )


def _not_null(column: TableColumn, expression: str) -> str:
    return f"ifNull({expression}, 0)" if "NOT NULL" in column.type else expression


def _attribute_map(storage: AttributeStorage) -> str:
    """Return the attributes of a span as a map of texts, as the exporter writes them."""
    if storage is not AttributeStorage.JSON:
        return "CAST(SpanAttributes, 'Map(String, String)')"
    pairs: list[str] = []
    for column in CALL_COLUMNS:
        if column.attribute is not None and column.convert is not None:
            template = _JSON_TEMPLATES[column.convert]
            if template not in (_JSON_LIST, _JSON_COUNTS):
                template = "CAST({path}, 'Nullable(String)')"
            path = _json_path(column.attribute)
            pairs.append(f"{_quote(column.attribute)}, {template.format(path=path)}")
    return (
        "CAST(mapFilter((name, value) -> value IS NOT NULL,"
        f" map({', '.join(pairs)})), 'Map(String, String)')"
    )


def _is_call(storage: AttributeStorage) -> str:
    return {
        AttributeStorage.MAP: f"mapContains(SpanAttributes, {_quote(OUTCOME)})",
        AttributeStorage.TYPED: f"{TYPED_PREFIX}outcome IS NOT NULL",
        AttributeStorage.JSON: f"{_json_path(OUTCOME)} IS NOT NULL",
    }[storage]


def _has_batch_results(storage: AttributeStorage) -> str:
    return {
        AttributeStorage.MAP: f"SpanAttributes[{_quote(BATCH_RESULTS)}] NOT IN ('', '[]')",
        AttributeStorage.TYPED: _BATCH_FLAG,
        AttributeStorage.JSON: f"notEmpty({_json_path(BATCH_RESULTS)}.:`Array(Nullable(String))`)",
    }[storage]


def _batch_results(storage: AttributeStorage) -> str:
    """Return the texts of the results of a batch; of another span one empty text."""
    if storage is AttributeStorage.JSON:
        texts = f"{_json_path(BATCH_RESULTS)}.:`Array(Nullable(String))`"
        return f"arrayMap(value -> ifNull(value, 'null'), {texts})"
    has_none = f"NOT ({_has_batch_results(AttributeStorage.MAP)})"
    texts = f"JSONExtract(SpanAttributes[{_quote(BATCH_RESULTS)}], 'Array(String)')"
    return f"if({has_none}, [''], {texts})"


def _json_path(attribute: str) -> str:
    return ".".join(["SpanAttributes", *(f"`{part}`" for part in attribute.split("."))])


def _quote(text: str) -> str:
    return f"'{text}'"
