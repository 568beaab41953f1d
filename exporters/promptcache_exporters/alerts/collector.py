"""A configuration of the OpenTelemetry Collector: counters from spans, and the traces of misses.

The collector counts before tail sampling, and weights each span by its adjusted count, so that
sampling does not change the counters. Their names begin with `promptcache.spans.`, because
applications send the metrics `promptcache.*` themselves.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from promptcache.semconv import (
    BATCH,
    COST_AMOUNT,
    COST_WITHOUT_CACHE,
    GEN_AI_PROVIDER_NAME,
    INPUT_TOKENS,
    MISS_REASON,
    MISSED_TOKENS,
    OUTCOME,
    OUTPUT_TOKENS,
    READ_TOKENS,
    SERVICE_NAME,
    WASTED_USD,
    WRITE_TOKENS,
)
from promptcache_exporters.alerts.definition import AlertDefinition
from promptcache_exporters.alerts.template import render_yaml_template

FILE_PATH: Final = "collector/promptcache.yaml"


class SpanAttributeSumMetric(NamedTuple):
    """A counter of the collector: its name after the prefix, its unit, and the summed attribute."""

    name: str
    unit: str
    attribute: str
    has_miss_reason: bool = False


SPAN_COUNTERS: Final = (
    SpanAttributeSumMetric("input.tokens", "{token}", INPUT_TOKENS),
    SpanAttributeSumMetric("read.tokens", "{token}", READ_TOKENS),
    SpanAttributeSumMetric("write.tokens", "{token}", WRITE_TOKENS),
    SpanAttributeSumMetric("output.tokens", "{token}", OUTPUT_TOKENS),
    SpanAttributeSumMetric("missed.tokens", "{token}", MISSED_TOKENS, has_miss_reason=True),
    SpanAttributeSumMetric("wasted.usd", "{USD}", WASTED_USD, has_miss_reason=True),
    SpanAttributeSumMetric("cost.usd", "{USD}", COST_AMOUNT),
    SpanAttributeSumMetric("cost_without_cache.usd", "{USD}", COST_WITHOUT_CACHE),
)

KEPT_OUTCOMES: Final = ("miss", "cold")
"""The collector always keeps the traces of calls with these outcomes."""


def _render_call_count_metric_yaml(definition: AlertDefinition) -> str:
    return render_yaml_template(
        "collector_metric",
        name="calls",
        description="Calls, from spans.",
        unit="{call}",
        service=SERVICE_NAME,
        attributes=_render_metric_attributes_yaml(definition),
        condition=OUTCOME,
        value="AdjustedCount()",
    )


def _render_attribute_sum_metric_yaml(
    definition: AlertDefinition, counter: SpanAttributeSumMetric
) -> str:
    return render_yaml_template(
        "collector_metric",
        name=counter.name,
        description=f"Sum of {counter.attribute} over spans.",
        unit=counter.unit,
        service=SERVICE_NAME,
        attributes=_render_metric_attributes_yaml(
            definition, has_miss_reason=counter.has_miss_reason
        ),
        condition=counter.attribute,
        value=f'Double(span.attributes["{counter.attribute}"]) * AdjustedCount()',
    )


def _render_metric_attributes_yaml(
    definition: AlertDefinition, *, has_miss_reason: bool = False
) -> str:
    names = [*definition.group_by_attributes, GEN_AI_PROVIDER_NAME, OUTCOME]
    if has_miss_reason:
        names.append(MISS_REASON)
    rows = [
        f"          - {{key: {name}, optional: true}}"
        for name in dict.fromkeys(names)
        if name != SERVICE_NAME
    ]
    rows.append(f"          - {{key: {BATCH}, default_value: false}}")
    return "\n".join(rows)


def render_files_by_path(definition: AlertDefinition) -> dict[str, str]:
    """Return the configuration, and the addition for ClickHouse, text by path."""
    command = definition.generating_command_line("collector")
    counters = [_render_attribute_sum_metric_yaml(definition, counter) for counter in SPAN_COUNTERS]
    configuration = render_yaml_template(
        "collector",
        command=command,
        metrics=_render_call_count_metric_yaml(definition) + "".join(counters),
        outcome=OUTCOME,
        kept=", ".join(KEPT_OUTCOMES),
        wasted=WASTED_USD,
    )
    return {
        FILE_PATH: configuration,
        "collector/clickhouse.yaml": render_yaml_template("collector_clickhouse", command=command),
    }
