"""The figures of a report over some calls: their one definition, in SQL that all engines take.

Every figure is a count or a sum of whole numbers, so that it does not depend on the order of the
rows; rates follow from two figures when they are printed. NULL is "not reported". No figure has the
name of a column: an engine could take the alias for the column. A condition stands in CASE, since
several engines lack FILTER.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from promptcache_exporters.database.dialect import MAX_AMOUNT_USD, SQLDialect
from promptcache_exporters.report.call_field import CallField, Dimension, GroupBy

# The hit rate leaves out calls whose cached tokens were not reported, and batch results.
_IS_RATED: Final = "coalesce(outcome, '') <> 'unreported' AND batch = 0"
# Calls that cannot have missed anything. Their waste is 0, although no column says so.
_CANNOT_WASTE: Final = "outcome IN ('hit', 'cold', 'prewarm')"
# Calls without usage. They do not count as calls with unknown waste.
_WITHOUT_USAGE: Final = "outcome IN ('error', 'unreported') AND coalesce(input_tokens, 0) = 0"
_IS_SAMPLED: Final = "coalesce(sample_ratio, 0) <> 1.0"
# A call that failed without usage has neither a cost nor a reason for a missing cost.
IS_UNPRICED: Final = "cost_amount IS NULL AND (cost_unknown IS NOT NULL OR input_tokens > 0)"
_USD_COLUMNS: Final = ("cost_amount", "without_cache", "wasted_usd")
_TOKEN_COLUMNS: Final = (
    "input_tokens",
    "read_tokens",
    "write_tokens",
    "uncached_tokens",
    "output_tokens",
)


def _count(condition: str) -> str:
    return f"count(CASE WHEN {condition} THEN 1 END)"


def _sum(column: str, condition: str) -> str:
    return f"sum(CASE WHEN {condition} THEN {column} END)"


_EXPRESSIONS: Final = {
    "total_calls": "count(*)",
    "total_input_tokens": "sum(input_tokens)",
    "total_read_tokens": "sum(read_tokens)",
    "total_write_tokens": "sum(write_tokens)",
    "total_uncached_tokens": "sum(uncached_tokens)",
    "total_output_tokens": "sum(output_tokens)",
    "total_missed_tokens": "sum(missed_tokens)",
    "rated_input_tokens": _sum("input_tokens", _IS_RATED),
    "rated_read_tokens": _sum("read_tokens", _IS_RATED),
    "cost_picodollars": "sum({cost_amount})",
    "without_cache_picodollars": _sum("{without_cache}", "cost_amount IS NOT NULL"),
    "saved_picodollars": "sum({without_cache} - {cost_amount})",
    "wasted_picodollars": "sum({wasted_usd})",
    "unpriced_calls": _count(IS_UNPRICED),
    "known_waste_calls": _count(
        f"wasted_usd IS NOT NULL OR ({_CANNOT_WASTE} AND cost_amount IS NOT NULL)"
    ),
    "calls_without_usage": _count(f"wasted_usd IS NULL AND {_WITHOUT_USAGE}"),
    "failed_calls": _count("outcome = 'error'"),
    "unreported_calls": _count("outcome = 'unreported'"),
    "sampled_calls": _count(_IS_SAMPLED),
    # sum() ignores text, so count it: in SQLite every text is greater than every number.
    "invalid_amounts": _count(
        " OR ".join(
            (
                *(f"{column} > {MAX_AMOUNT_USD:.0f} OR {column} < 0" for column in _USD_COLUMNS),
                *(f"{column} < 0" for column in _TOKEN_COLUMNS),
            )
        )
    ),
}
"""The figures by name. Braces stand for the whole picodollars of a column."""

FIGURES: Final = tuple(_EXPRESSIONS)


def figure_expression(name: str, dialect: SQLDialect) -> str:
    """Return the SQL of one of `FIGURES`, over the columns of the view `calls`."""
    amounts = {column: dialect.to_picodollars(column) for column in _USD_COLUMNS}
    return _EXPRESSIONS[name].format_map(amounts)


class CallSums(NamedTuple):
    """The figures of which a report consists. None is unknown; no calls is the default."""

    total_calls: int = 0
    total_input_tokens: int | None = None
    total_read_tokens: int | None = None
    total_write_tokens: int | None = None
    total_uncached_tokens: int | None = None
    total_output_tokens: int | None = None
    rated_input_tokens: int | None = None
    rated_read_tokens: int | None = None
    cost_picodollars: int | None = None
    without_cache_picodollars: int | None = None
    saved_picodollars: int | None = None
    wasted_picodollars: int | None = None
    unpriced_calls: int = 0
    known_waste_calls: int = 0
    calls_without_usage: int = 0
    failed_calls: int = 0
    unreported_calls: int = 0
    invalid_amounts: int = 0

    @property
    def unknown_waste_calls(self) -> int:
        """The calls that may have wasted an amount that nobody knows."""
        return self.total_calls - self.known_waste_calls - self.calls_without_usage


_KEY_COLUMNS: Final = {
    GroupBy.SERVICE: "service",
    GroupBy.MODEL: "coalesce(request_model, response_model)",
    GroupBy.PREFIX: "prefix_hash",
    GroupBy.FAMILY: "prefix_family",
    GroupBy.CALLSITE: "code_file || coalesce(':' || {code_line}, '')"
    " || coalesce(' ' || code_function, '')",
    GroupBy.OUTCOME: "outcome",
    GroupBy.REASON: "miss_reason",
    GroupBy.PROVIDER: "provider",
    GroupBy.CONVERSATION: "conversation_id",
    GroupBy.AGENT: "agent_name",
    GroupBy.PROMPT: "prompt_name",
}


def group_key_expression(by: CallField, dialect: SQLDialect) -> str:
    """Return the SQL of the key of a call's group, over the columns of the view `calls`."""
    if isinstance(by, Dimension):
        return dialect.json_text_template.format("dimensions", by.name)
    return _KEY_COLUMNS[by].format(code_line=dialect.to_text("code_line"))
