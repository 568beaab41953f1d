"""The view `promptcache_calls` over the table of spans of the Collector's ClickHouse exporter.

The exporter (opentelemetry-collector-contrib, clickhouseexporter) keeps all attributes of a span as
text in one map. The view gives them the names, types and ranges of the local table; an attribute
that is absent is NULL. A view needs no right to change the table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from promptcache.semconv import BATCH_RESULT_FIELDS, BATCH_RESULTS, OUTCOME
from promptcache_exporters.database import column as conversions
from promptcache_exporters.database.column import MAX_NUMBER, MAX_TEXT_LENGTH, TableColumn
from promptcache_exporters.database.columns import CALL_COLUMNS
from promptcache_exporters.database.dialect import MAX_AMOUNT_USD

VIEW_NAME: Final = "promptcache_calls"
DEFAULT_TABLE: Final = "otel_traces"

_NUMBER: Final = "toFloat64OrNull({0})"
_EXPRESSIONS: Final[Mapping[Callable[[Any], Any], str]] = {
    conversions.to_truncated_sql_text: (
        f"if(mapContains(attributes, {{1}}), substringUTF8({{0}}, 1, {MAX_TEXT_LENGTH}), NULL)"
    ),
    conversions.to_json_list_text: "if(mapContains(attributes, {1}), {0}, NULL)",
    conversions.to_json_counts_text: "if(mapContains(attributes, {1}), {0}, NULL)",
    conversions.to_sql_count: (
        f"if(toInt64OrNull({{0}}) BETWEEN 0 AND {MAX_NUMBER}, toInt64OrNull({{0}}), NULL)"
    ),
    conversions.to_sql_real: f"if(abs({_NUMBER}) <= {MAX_NUMBER}, {_NUMBER}, NULL)",
    conversions.to_sql_usd: (f"if({_NUMBER} BETWEEN 0 AND {MAX_AMOUNT_USD:.0f}, {_NUMBER}, NULL)"),
    conversions.to_sql_boolean: (
        "multiIf({0} = 'true', toInt64(1), {0} = 'false', toInt64(0), NULL)"
    ),
}
"""`{0}` is the text of the attribute, which is '' if it is absent, and `{1}` its name."""

_THRESHOLD: Final = "extract(extract(TraceState, '(?:^|,)ot=([^,]*)'), '(?:^|;)th:([0-9a-f]+)')"
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
}
"""The columns that hold no single attribute. 72057594037927936 is 16 ** 14."""


def clickhouse_view_statement(table: str = DEFAULT_TABLE) -> str:
    """Return the statement that makes the view, again and again with the same result.

    A span with the results of a batch becomes one row for each result.
    """
    columns = ["toInt64(0) AS id", *map(_select_column, CALL_COLUMNS)]
    selected = ",\n    ".join(columns)
    names = ", ".join(map(_quote, BATCH_RESULT_FIELDS))
    # The parts of a result that are null are absent.
    result = (
        f"mapFilter((name, value) -> value != 'null', mapFromArrays([{names}],"
        " arrayMap(value -> if(startsWith(value, '\"'), JSONExtractString(value), value),"
        f" arrayResize(JSONExtractArrayRaw(batch_result), {len(BATCH_RESULT_FIELDS)}, 'null'))))"
    )
    span = (
        "mapFilter((name, value) -> name NOT IN"
        f" ({_quote(BATCH_RESULTS)}, {names}), CAST(SpanAttributes, 'Map(String, String)'))"
    )
    return f"""CREATE OR REPLACE VIEW {VIEW_NAME} AS
SELECT
    {selected}
FROM (
    SELECT *, if(batch_result = '', CAST(SpanAttributes, 'Map(String, String)'),
        mapUpdate({span}, {result})) AS attributes
    FROM {table}
    ARRAY JOIN if(SpanAttributes[{_quote(BATCH_RESULTS)}] IN ('', '[]'), [''],
        JSONExtract(SpanAttributes[{_quote(BATCH_RESULTS)}], 'Array(String)')) AS batch_result
    WHERE mapContains(SpanAttributes, {_quote(OUTCOME)})
);
"""  # noqa: S608  # our own names


def _select_column(column: TableColumn) -> str:
    if column.attribute is None or column.convert is None:
        return f"{_OTHER_COLUMNS[column.name]} AS {column.name}"
    name = _quote(column.attribute)
    expression = _EXPRESSIONS[column.convert].format(f"attributes[{name}]", name)
    if "NOT NULL" in column.type:
        expression = f"ifNull({expression}, 0)"
    return f"{expression} AS {column.name}"


def _quote(text: str) -> str:
    return f"'{text}'"
