"""A column of the local table, and the conversions from attribute values to SQL values.

A span is hostile input: another library may have set any value under a standard attribute name.
The conversions therefore check type and range, and return None for a value that does not fit.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from promptcache_exporters.database.dialect import MAX_AMOUNT_USD
from promptcache_exporters.database.recorded_span import RecordedSpan

ColumnValue = str | int | float | None
ColumnReader = Callable[[RecordedSpan], ColumnValue]

MAX_TEXT_LENGTH: Final = 1024
"""The table keeps this many characters of a text. Names of models are far shorter."""
MAX_NUMBER: Final = 2**40
"""Far above any token count. A sum over millions of rows still fits into 64 bits."""


@dataclass(frozen=True, slots=True)
class TableColumn:
    """One column: its name, its SQL type, and the function that reads its value from a span.

    `read_from_span` returns None if the span does not have the value. Of a column that holds one
    attribute, `attribute` is its name, and `convert` makes the value of it. Readers get the value
    of `view_expression`, by default that of the column.
    """

    name: str
    type: str
    read_from_span: ColumnReader
    attribute: str | None = None
    convert: Callable[[Any], ColumnValue] | None = None
    view_expression: str | None = None


def get_span_attribute(span: RecordedSpan, name: str) -> Any:
    """Return an attribute of the span, or None."""
    return (span.attributes or {}).get(name)


def to_truncated_sql_text(value: Any) -> str | None:
    """Return a text that SQLite can store: short, without lone surrogates and NUL."""
    if not isinstance(value, str):
        return None
    return value[:MAX_TEXT_LENGTH].encode("utf-8", "replace").decode().replace("\0", "?")


def to_sql_count(value: Any) -> int | None:
    """Return an integer from 0 to `MAX_NUMBER`; None for other values, booleans among them."""
    return value if type(value) is int and 0 <= value <= MAX_NUMBER else None


def to_sql_real(value: Any) -> float | None:
    """Return a finite number as float; None for other values."""
    return float(value) if type(value) in (int, float) and abs(value) <= MAX_NUMBER else None


def to_sql_usd(value: Any) -> float | None:
    """Return USD from 0 to `MAX_AMOUNT_USD` as float; None for other values."""
    amount = to_sql_real(value)
    return amount if amount is not None and 0 <= amount <= MAX_AMOUNT_USD else None


def to_sql_boolean(value: Any) -> int | None:
    """Return a boolean as 0 or 1; None for other values."""
    return int(value) if isinstance(value, bool) else None


def to_json_list_text(value: Any) -> str | None:
    """Return a sequence of texts as a JSON list of at most `MAX_TEXT_LENGTH` entries."""
    if not isinstance(value, (list, tuple)):
        return None
    items = cast(Sequence[Any], value)[:MAX_TEXT_LENGTH]
    return json.dumps([to_truncated_sql_text(item) for item in items])


def to_json_counts_text(value: Any) -> str | None:
    """Return a sequence of counts as a JSON list, None in place of what is no count."""
    if not isinstance(value, (list, tuple)):
        return None
    return json.dumps([to_sql_count(item) for item in cast(Sequence[Any], value)[:MAX_TEXT_LENGTH]])


_SQL_TYPES: Final[Mapping[Callable[[Any], ColumnValue], str]] = {
    to_truncated_sql_text: "TEXT",
    to_sql_count: "INTEGER",
    to_sql_real: "REAL",
    to_sql_usd: "REAL",
    to_sql_boolean: "INTEGER",
    to_json_list_text: "TEXT",
    to_json_counts_text: "TEXT",
}


def span_attribute_column(
    name: str, attribute: str, convert: Callable[[Any], ColumnValue]
) -> TableColumn:
    """Return a column that holds the span attribute `attribute`, converted by `convert`."""
    return TableColumn(
        name,
        _SQL_TYPES[convert],
        lambda span: convert(get_span_attribute(span, attribute)),
        attribute,
        convert,
    )
