"""Datadog: monitors on the metrics, as API bodies.

The hit rate and its traffic guard are two monitors, and a composite of both notifies: a metric monitor has one
threshold. A third one says both in one number, the shortfall.
"""

from __future__ import annotations

from typing import Any, Final

from promptcache.semconv import BATCH, OUTCOME, SERVICE_NAME
from promptcache_exporters.alerts.api_documents import (
    header_lines,
    hit_rate_alert_name,
    hit_rate_alert_text,
    render_requests,
)
from promptcache_exporters.alerts.definition import LONG_WINDOW, METRICS_BY_NAME, AlertDefinition

SOURCE_PAGES: Final = (
    "docs.datadoghq.com/api/latest/monitors/#create-a-monitor",
    "docs.datadoghq.com/monitors/guide/as-count-in-monitor-evaluations/",
    "docs.datadoghq.com/monitors/types/composite/",
    "docs.datadoghq.com/opentelemetry/schema_semantics/metrics_mapping/",
)


def _tag_name(key: str) -> str:
    return "service" if key == SERVICE_NAME else key


def counter_query(definition: AlertDefinition, name: str, rated_only: bool = True) -> str:
    """A counter summed by the definition's dimensions, as a count and 0 where there is none."""
    out = (
        [f"!{OUTCOME}:{outcome}" for outcome in definition.excluded_outcomes] if rated_only else []
    )
    scope = ",".join([*out, f"!{BATCH}:true"] if rated_only else ["*"])
    by = ",".join(map(_tag_name, definition.group_attributes))
    return f"default_zero(sum:{METRICS_BY_NAME[name].name}{{{scope}}} by {{{by}}}.as_count())"


def _build_monitor(
    name: str, query: str, message: str, threshold: float, kind: str = "query alert"
) -> dict[str, Any]:
    options = {"thresholds": {"critical": threshold}, "notify_no_data": False, "include_tags": True}
    return {
        "name": name,
        "type": kind,
        "query": query,
        "message": message,
        "tags": ["promptcache"],
        "options": options,
    }


def build_monitors(definition: AlertDefinition) -> dict[str, dict[str, Any]]:
    """The monitors by a name for each."""
    read, tokens = (counter_query(definition, name) for name in ("read.tokens", "input.tokens"))
    over, target = f"sum(last_{definition.window})", definition.target
    guard = target * definition.min_tokens
    name, text = hit_rate_alert_name(definition), hit_rate_alert_text(definition)
    wasted = counter_query(definition, "wasted.usd", rated_only=False)
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
            f"{over}:{target:g} * {tokens} - {read} > {guard:g}",
            f"More than {guard:g} tokens short of the target. {text} <@your-pager>",
            guard,
        ),
        "waste": _build_monitor(
            f"Prompt cache waste above {definition.budget:g} USD an hour",
            f"sum(last_{LONG_WINDOW}):{wasted} > {definition.budget:g}",
            f"Runbook: {definition.runbooks.rstrip('/')}/waste-above-budget.md <@your-pager>",
            definition.budget,
        ),
    }


def files(definition: AlertDefinition) -> dict[str, str]:
    """The monitors, by the file's path."""
    more = (
        "Send delta temporality (OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE=delta) or go through the agent.",
        "Composite or shortfall: one of the two suffices.",
    )
    requests = [
        {"method": "POST", "path": "/api/v1/monitor", "id": key, "body": body}
        for key, body in build_monitors(definition).items()
    ]
    return {
        "datadog/monitors.json": render_requests(
            header_lines(definition, "datadog", SOURCE_PAGES, *more), requests
        )
    }
