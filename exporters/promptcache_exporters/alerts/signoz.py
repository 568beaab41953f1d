"""SigNoz: alert rules on the metrics, as API bodies.

A formula has no data there where one of its sides has none, and it cannot say "if"; so the rules use the shortfall,
which needs no guard beside it.
"""

from __future__ import annotations

from typing import Any, Final

from promptcache.semconv import BATCH, OUTCOME
from promptcache_exporters.alerts.api_documents import (
    header_lines,
    hit_rate_alert_name,
    hit_rate_alert_text,
    render_requests,
)
from promptcache_exporters.alerts.definition import (
    LONG_WINDOW,
    METRICS_BY_NAME,
    AlertDefinition,
    parse_duration,
)

SOURCE_PAGES: Final = (
    "signoz.io/docs/alerts-management/metrics-based-alerts/",
    "github.com/SigNoz/signoz, frontend/src/types/api/alerts (rules of version v4)",
)
OP_ABOVE, MATCH_IN_TOTAL = "1", "4"


def _build_query(
    definition: AlertDefinition, name: str, metric: str, rated_only: bool = True
) -> dict[str, Any]:
    out = [
        {
            "key": {"key": OUTCOME, "type": "tag"},
            "op": "nin",
            "value": list(definition.excluded_outcomes),
        },
        {"key": {"key": BATCH, "type": "tag"}, "op": "nin", "value": ["true", "True"]},
    ]
    return {
        "queryName": name,
        "expression": name,
        "dataSource": "metrics",
        "disabled": rated_only,
        "stepInterval": 60,
        "aggregateAttribute": {
            "key": METRICS_BY_NAME[metric].name,
            "type": "Sum",
            "dataType": "float64",
        },
        "timeAggregation": "increase",
        "spaceAggregation": "sum",
        "filters": {"op": "AND", "items": out if rated_only else []},
        "groupBy": [
            {"key": key, "type": "tag", "dataType": "string"} for key in definition.group_attributes
        ],
    }


def _build_rule(
    name: str, text: str, severity: str, window: str, target: float, queries: list[dict[str, Any]]
) -> dict[str, Any]:
    composite = {
        "queryType": "builder",
        "panelType": "graph",
        "builderQueries": {query["queryName"]: query for query in queries},
    }
    return {
        "alert": name,
        "alertType": "METRIC_BASED_ALERT",
        "ruleType": "threshold_rule",
        "version": "v4",
        "evalWindow": f"{parse_duration(window) // 60}m0s",
        "frequency": "1m0s",
        "labels": {"severity": severity},
        "annotations": {"summary": name, "description": text},
        "condition": {
            "compositeQuery": composite,
            "op": OP_ABOVE,
            "target": target,
            "matchType": MATCH_IN_TOTAL,
            "selectedQueryName": queries[-1]["queryName"],
        },
    }


def build_rules(definition: AlertDefinition) -> list[dict[str, Any]]:
    """The rules: hit rate, as a shortfall summed over the window, and waste."""
    sides = [
        _build_query(definition, "A", "input.tokens"),
        _build_query(definition, "B", "read.tokens"),
    ]
    formula = {"queryName": "F1", "expression": f"{definition.target:g} * A - B", "disabled": False}
    guard = definition.target * definition.min_tokens
    text = f"More than {guard:g} tokens short of the target. {hit_rate_alert_text(definition)}"
    waste = f"Runbook: {definition.runbooks.rstrip('/')}/waste-above-budget.md"
    return [
        _build_rule(
            hit_rate_alert_name(definition),
            text,
            "critical",
            definition.window,
            guard,
            [*sides, formula],
        ),
        _build_rule(
            f"Prompt cache waste above {definition.budget:g} USD an hour",
            waste,
            "warning",
            LONG_WINDOW,
            definition.budget,
            [_build_query(definition, "A", "wasted.usd", rated_only=False)],
        ),
    ]


def files(definition: AlertDefinition) -> dict[str, str]:
    """The rules, by the file's path."""
    requests = [
        {"method": "POST", "path": "/api/v1/rules", "body": body}
        for body in build_rules(definition)
    ]
    return {
        "signoz/rules.json": render_requests(
            header_lines(definition, "signoz", SOURCE_PAGES), requests
        )
    }
