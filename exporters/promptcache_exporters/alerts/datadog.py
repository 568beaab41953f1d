"""Datadog: monitors on the metrics, as API bodies.

A metric monitor has one threshold. The hit rate and its minimum traffic are therefore two monitors,
and a composite of both notifies. An alternative monitor expresses both in one number, the
shortfall.
"""

from __future__ import annotations

from typing import Any, Final

from promptcache.semconv import BATCH, OUTCOME, SERVICE_NAME
from promptcache_exporters.alerts.api_documents import (
    hit_rate_alert_description,
    hit_rate_alert_name,
    render_api_requests_json,
    untested_file_header_lines,
    wasted_cost_alert_description,
    wasted_cost_alert_name,
)
from promptcache_exporters.alerts.definition import LONG_WINDOW, METRICS_BY_NAME, AlertDefinition

SOURCE_PAGES: Final = (
    "docs.datadoghq.com/api/latest/monitors/#create-a-monitor",
    "docs.datadoghq.com/monitors/guide/as-count-in-monitor-evaluations/",
    "docs.datadoghq.com/monitors/types/composite/",
    "docs.datadoghq.com/opentelemetry/schema_semantics/metrics_mapping/",
)


def _datadog_tag_for_attribute(attribute: str) -> str:
    return "service" if attribute == SERVICE_NAME else attribute


def counter_increase_query(
    definition: AlertDefinition, metric_name: str, hit_rate_calls_only: bool = True
) -> str:
    """Return the query for the increase of a counter, by the groups of the definition.

    It is 0 if the counter has no data. `hit_rate_calls_only` leaves out calls that the hit rate
    leaves out.
    """
    scope = "*"
    if hit_rate_calls_only:
        excluded = [f"!{OUTCOME}:{outcome}" for outcome in definition.hit_rate_excluded_outcomes]
        scope = ",".join([*excluded, f"!{BATCH}:true"])
    tags = ",".join(map(_datadog_tag_for_attribute, definition.group_by_attributes))
    return (
        f"default_zero(sum:{METRICS_BY_NAME[metric_name].name}{{{scope}}} by {{{tags}}}.as_count())"
    )


def _build_monitor(
    name: str, query: str, message: str, threshold: float, monitor_type: str = "query alert"
) -> dict[str, Any]:
    options = {"thresholds": {"critical": threshold}, "notify_no_data": False, "include_tags": True}
    return {
        "name": name,
        "type": monitor_type,
        "query": query,
        "message": message,
        "tags": ["promptcache"],
        "options": options,
    }


def _build_waste_monitor(definition: AlertDefinition) -> dict[str, Any]:
    wasted = counter_increase_query(definition, "wasted.usd", hit_rate_calls_only=False)
    return _build_monitor(
        wasted_cost_alert_name(definition),
        f"sum(last_{LONG_WINDOW}):{wasted} > {definition.budget:g}",
        f"{wasted_cost_alert_description(definition)} <@your-pager>",
        definition.budget,
    )


def build_monitors_by_id(definition: AlertDefinition) -> dict[str, dict[str, Any]]:
    """Return the monitors, each under an id."""
    read = counter_increase_query(definition, "read.tokens")
    tokens = counter_increase_query(definition, "input.tokens")
    over, target = f"sum(last_{definition.window})", definition.target
    threshold = definition.token_shortfall_threshold
    name, text = hit_rate_alert_name(definition), hit_rate_alert_description(definition)
    return {
        "ratio": _build_monitor(
            f"{name} (part)",
            f"{over}:{read} / {tokens} < {target:g}",
            "Part of a composite.",
            target,
        ),
        "traffic": _build_monitor(
            "Prompt cache traffic (part)",
            f"{over}:{tokens} >= {definition.min_tokens}",
            "Part of a composite.",
            definition.min_tokens,
        ),
        "composite": {
            "name": name,
            "type": "composite",
            "query": "<id of ratio> && <id of traffic>",
            "message": f"{text} <@your-pager>",
            "tags": ["promptcache"],
        },
        "shortfall": _build_monitor(
            f"{name}, by shortfall",
            f"{over}:{target:g} * {tokens} - {read} > {threshold:g}",
            f"More than {threshold:g} tokens short of the target. {text} <@your-pager>",
            threshold,
        ),
        "waste": _build_waste_monitor(definition),
    }


def render_files_by_path(definition: AlertDefinition) -> dict[str, str]:
    """Return the monitors, text by path."""
    notes = (
        (
            "Send delta temporality (OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE=delta)"
            " or go through the agent."
        ),
        "Use the composite or the shortfall. You do not need both.",
    )
    requests = [
        {"method": "POST", "path": "/api/v1/monitor", "id": key, "body": body}
        for key, body in build_monitors_by_id(definition).items()
    ]
    header = untested_file_header_lines(definition, "datadog", SOURCE_PAGES, *notes)
    return {"datadog/monitors.json": render_api_requests_json(header, requests)}
