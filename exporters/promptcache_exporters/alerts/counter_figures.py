"""The figures of a report from the counters in Prometheus, as one PromQL query.

A figure is the last value of each series less its last value before the window, summed by group.
`increase` would extrapolate to the borders of the window, and miss the first value of a new series.
The figures are those of `report/figures.py` that counters have. Amounts are in USD: a counter adds
floating-point numbers up, so their last digits differ from the picodollars of the table.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from promptcache.semconv import (
    BATCH,
    GEN_AI_OPERATION_NAME,
    GEN_AI_PROVIDER_NAME,
    GEN_AI_REQUEST_MODEL,
    GEN_AI_RESPONSE_MODEL,
    MISS_REASON,
    OUTCOME,
)
from promptcache_exporters.alerts.promql import prometheus_label_name, prometheus_series_name
from promptcache_exporters.report.call_field import GroupBy


class CounterFigure(NamedTuple):
    """A figure: the counter without the prefix `promptcache.`, and the series that it adds up."""

    metric: str
    selector: str = ""


_LABELS: Final = {
    name: prometheus_label_name(name)
    for name in (BATCH, GEN_AI_OPERATION_NAME, GEN_AI_PROVIDER_NAME, MISS_REASON, OUTCOME)
}
_IS_RATED: Final = f'{_LABELS[OUTCOME]}!="unreported", {_LABELS[BATCH]}!~"(?i:true)"'
# Filling a named cache costs too, but is no call; its series has no operation.
_OF_CALLS: Final = f'{_LABELS[GEN_AI_OPERATION_NAME]}!=""'
# The report shows writes that nobody read apart.
_OF_MISSES: Final = f'{_LABELS[MISS_REASON]}!="write_never_read"'
COUNTER_FIGURES: Final = {
    "total_calls": CounterFigure("calls"),
    "total_input_tokens": CounterFigure("input.tokens"),
    "total_read_tokens": CounterFigure("read.tokens"),
    "total_write_tokens": CounterFigure("write.tokens"),
    "total_output_tokens": CounterFigure("output.tokens"),
    "total_missed_tokens": CounterFigure("missed.tokens"),
    "rated_input_tokens": CounterFigure("input.tokens", _IS_RATED),
    "rated_read_tokens": CounterFigure("read.tokens", _IS_RATED),
    "cost_usd": CounterFigure("cost.usd", _OF_CALLS),
    "without_cache_usd": CounterFigure("cost_without_cache.usd", _OF_CALLS),
    "wasted_usd": CounterFigure("wasted.usd", _OF_MISSES),
    "unpriced_calls": CounterFigure("unpriced.calls"),
    "failed_calls": CounterFigure("calls", f'{_LABELS[OUTCOME]}="error"'),
    "unreported_calls": CounterFigure("calls", f'{_LABELS[OUTCOME]}="unreported"'),
}
_WITH_OUTCOME: Final = frozenset({"calls", "input.tokens", "read.tokens", "write.tokens"})
_WITH_REASON: Final = frozenset({"missed.tokens", "wasted.usd"})
COUNTER_GROUPS: Final = (
    GroupBy.SERVICE,
    GroupBy.MODEL,
    GroupBy.PROVIDER,
    GroupBy.OUTCOME,
    GroupBy.REASON,
)
"""What counters can be grouped by. A prefix or a line of code would be too many series."""


def figures_of_counters(by: GroupBy) -> dict[str, CounterFigure]:
    """Return the figures whose counters have the labels of the grouping."""
    allowed = {GroupBy.OUTCOME: _WITH_OUTCOME, GroupBy.REASON: _WITH_REASON}.get(by)
    return {
        name: figure
        for name, figure in COUNTER_FIGURES.items()
        if allowed is None or figure.metric in allowed
    }


def report_promql(by: GroupBy, window: str, service_label: str = "job") -> str:
    """Return the query for all figures, whose labels are `figure` and `group_key`.

    `window` is a duration such as `1d`, before the time of the query. Raises ValueError for a
    grouping that counters do not have.
    """
    if by not in COUNTER_GROUPS:
        allowed = ", ".join(COUNTER_GROUPS)
        raise ValueError(f"counters are grouped by {allowed}, not by {by.value}")
    parts = [
        f'label_replace({_sum_by_group(figure, by, window, service_label)},\n  "figure", "{name}",'
        ' "", "")'
        for name, figure in figures_of_counters(by).items()
    ]
    return "\nor\n".join(parts)


def _sum_by_group(figure: CounterFigure, by: GroupBy, window: str, service_label: str) -> str:
    selector = f"{{{figure.selector}}}" if figure.selector else ""
    series = f"{prometheus_series_name(figure.metric)}{selector}[{window}]"
    last = f"last_over_time({series})"
    before = f"(last_over_time({series} offset {window}) or 0 * {last})"
    return f"sum by (group_key) ({_with_group_key(f'{last} - {before}', by, service_label)})"


def _with_group_key(vector: str, by: GroupBy, service_label: str) -> str:
    """Return `vector` with the label `group_key`. An empty label of Prometheus is an absent one."""
    labels = {
        GroupBy.SERVICE: (service_label,),
        GroupBy.MODEL: (
            prometheus_label_name(GEN_AI_RESPONSE_MODEL),
            prometheus_label_name(GEN_AI_REQUEST_MODEL),
        ),
        GroupBy.PROVIDER: (_LABELS[GEN_AI_PROVIDER_NAME],),
        GroupBy.OUTCOME: (_LABELS[OUTCOME],),
        GroupBy.REASON: (_LABELS[MISS_REASON],),
    }[by]
    for label in labels:
        vector = f'label_replace({vector}, "group_key", "$1", "{label}", "(.+)")'
    return vector
