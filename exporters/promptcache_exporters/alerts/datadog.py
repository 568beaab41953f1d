"""Datadog: monitors on the metrics, as API bodies.

The hit rate and its traffic guard are two monitors, and a composite of both notifies: a metric monitor has one
threshold. A third one says both in one number, the shortfall.
"""

from __future__ import annotations

from typing import Any, Final

from promptcache.attributes import BATCH, OUTCOME, SERVICE_NAME
from promptcache_exporters.alerts.apicalls import document, head, rate_name, rate_text
from promptcache_exporters.alerts.definition import LONG, METRICS, Definition

PAGES: Final = (
    "docs.datadoghq.com/api/latest/monitors/#create-a-monitor",
    "docs.datadoghq.com/monitors/guide/as-count-in-monitor-evaluations/",
    "docs.datadoghq.com/monitors/types/composite/",
    "docs.datadoghq.com/opentelemetry/schema_semantics/metrics_mapping/",
)


def _tag(key: str) -> str:
    return "service" if key == SERVICE_NAME else key


def count(definition: Definition, name: str, judged: bool = True) -> str:
    """A counter summed by the definition's dimensions, as a count and 0 where there is none."""
    out = [f"!{OUTCOME}:{outcome}" for outcome in definition.left_out] if judged else []
    scope = ",".join([*out, f"!{BATCH}:true"] if judged else ["*"])
    by = ",".join(map(_tag, definition.keys))
    return f"default_zero(sum:{METRICS[name].name}{{{scope}}} by {{{by}}}.as_count())"


def _monitor(
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


def monitors(definition: Definition) -> dict[str, dict[str, Any]]:
    """The monitors by a name for each."""
    read, tokens = (count(definition, name) for name in ("read.tokens", "input.tokens"))
    over, target = f"sum(last_{definition.window})", definition.target
    guard = target * definition.min_tokens
    name, text = rate_name(definition), rate_text(definition)
    wasted = count(definition, "wasted.usd", judged=False)
    return {
        "ratio": _monitor(
            f"{name} (part)",
            f"{over}:{read} / {tokens} < {target:g}",
            "Part of a composite.",
            target,
        ),
        "traffic": _monitor(
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
        "shortfall": _monitor(
            f"{name}, by shortfall",
            f"{over}:{target:g} * {tokens} - {read} > {guard:g}",
            f"More than {guard:g} tokens short of the target. {text} <@your-pager>",
            guard,
        ),
        "waste": _monitor(
            f"Prompt cache waste above {definition.budget:g} USD an hour",
            f"sum(last_{LONG}):{wasted} > {definition.budget:g}",
            f"Runbook: {definition.runbooks.rstrip('/')}/waste-above-budget.md <@your-pager>",
            definition.budget,
        ),
    }


def files(definition: Definition) -> dict[str, str]:
    """The monitors, by the file's path."""
    more = (
        "Send delta temporality (OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE=delta) or go through the agent.",
        "Composite or shortfall: one of the two suffices.",
    )
    requests = [
        {"method": "POST", "path": "/api/v1/monitor", "id": key, "body": body}
        for key, body in monitors(definition).items()
    ]
    return {"datadog/monitors.json": document(head(definition, "datadog", PAGES, *more), requests)}
