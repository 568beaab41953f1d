"""The few spellings in which SQL engines differ: names of types, and whole numbers from amounts.

All other SQL of the report is common to all engines. Money is summed in whole picodollars, since a
sum of floating-point numbers depends on the order of the additions, which an engine with several
threads does not fix. An amount becomes `floor(usd * 1e12 + 0.5)`: each engine computes this with
the same bits, while `round` and casts treat ties in their own ways.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

PICODOLLARS_PER_USD: Final = 10**12
MAX_AMOUNT_USD: Final = 1e6
"""No call costs more. The picodollars of one call then fit into 64 bits."""


@dataclass(frozen=True, slots=True)
class SQLDialect:
    """One engine's spelling.

    text_type: the type to which numbers are cast before they are joined to text.
    picodollars_template: the whole picodollars of the column `{0}`, which holds USD from 0 to
    `MAX_AMOUNT_USD`. Its type must hold the sum over all rows.
    is_executed: whether our tests run the SQL on the engine; else they only parse it.
    floor_template: the whole part of the positive number `{0}`.
    contains_template: whether the text `{0}` contains `{1}`, whatever the case of ASCII letters.
    json_text_template: the text of the key `{1}` in the JSON object `{0}`; NULL if it has none.
    calls_view: the full name of the view of all calls, which a subquery `calls` cannot hide.
    has_calls_view: whether that view is named `calls`, so that it needs no such subquery.
    """

    name: str
    text_type: str
    picodollars_template: str
    is_executed: bool = True
    floor_template: str = "CAST(floor({0}) AS BIGINT)"
    contains_template: str = "instr(lower({0}), lower({1})) > 0"
    json_text_template: str = ""
    calls_view: str = "calls"
    has_calls_view: bool = True

    def to_picodollars(self, column: str) -> str:
        """Return the expression for the whole picodollars of a column of USD. NULL stays NULL."""
        return self.picodollars_template.format(column)

    def to_floor(self, expression: str) -> str:
        """Return the expression for the whole part of a positive number."""
        return self.floor_template.format(expression)

    def to_text(self, column: str) -> str:
        """Return the expression for a column of whole numbers as text. NULL stays NULL."""
        return f"CAST({column} AS {self.text_type})"


SQLITE: Final = SQLDialect(
    "sqlite",
    "VARCHAR",
    "CAST({0} * 1e12 + 0.5 AS INTEGER)",
    floor_template="CAST({0} AS INTEGER)",
    json_text_template="CASE WHEN json_valid({0}) THEN CASE json_type({0}, '$.\"{1}\"')"
    " WHEN 'true' THEN 'true' WHEN 'false' THEN 'false'"
    " ELSE CAST(json_extract({0}, '$.\"{1}\"') AS TEXT) END END",
    calls_view="temp.calls",
)
"""Its cast cuts the fraction off. Older builds have no floor()."""
DUCKDB: Final = SQLDialect(
    "duckdb",
    "VARCHAR",
    "CAST(floor({0} * 1e12 + 0.5) AS BIGINT)",
    json_text_template="CASE WHEN json_valid({0}) THEN json_extract_string({0}, '$.\"{1}\"') END",
    calls_view="temp.main.calls",
)
CLICKHOUSE: Final = SQLDialect(
    "clickhouse",
    "Nullable(String)",
    "toInt128(floor({0} * 1e12 + 0.5))",
    floor_template="toInt64(floor({0}))",
    contains_template="positionCaseInsensitive({0}, {1}) > 0",
    json_text_template="JSONExtract(ifNull({0}, ''), '{1}', 'Nullable(String)')",
    calls_view="promptcache_calls",
    has_calls_view=False,
)
"""A sum of its 64-bit numbers would wrap around without an error."""
_DECIMAL_TEMPLATE: Final = "CAST(CAST(floor({0} * 1e12 + 0.5) AS BIGINT) AS DECIMAL(38, 0))"
DIALECTS: Final = {
    dialect.name: dialect
    for dialect in (
        SQLITE,
        DUCKDB,
        CLICKHOUSE,
        # The sum of its 64-bit numbers is a numeric.
        SQLDialect("postgres", "VARCHAR", "CAST(floor({0} * 1e12 + 0.5) AS BIGINT)"),
        SQLDialect("spark", "STRING", _DECIMAL_TEMPLATE),
        SQLDialect("databricks", "STRING", _DECIMAL_TEMPLATE, is_executed=False),
        SQLDialect("trino", "VARCHAR", _DECIMAL_TEMPLATE, is_executed=False),
        SQLDialect("snowflake", "VARCHAR", _DECIMAL_TEMPLATE, is_executed=False),
        SQLDialect(
            "bigquery",
            "STRING",
            "CAST(CAST(floor({0} * 1e12 + 0.5) AS INT64) AS NUMERIC)",
            is_executed=False,
            floor_template="CAST(floor({0}) AS INT64)",
        ),
    )
}
"""The engines by name. Their sums of picodollars hold more than 64 bits."""
