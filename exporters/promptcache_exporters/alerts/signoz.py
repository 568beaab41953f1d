"""SigNoz: alert rules on the metrics, as API bodies.

In SigNoz a formula has no data if one of its operands has none, and it has no conditions. The rules
therefore use the shortfall, which needs no check of the traffic.
"""

from __future__ import annotations

from typing import Any, Final

from promptcache.semconv import BATCH, OUTCOME
from promptcache_exporters.alerts.api_documents import (
    hit_rate_alert_description,
    hit_rate_alert_name,
    render_api_requests_json,
    untested_file_header_lines,
    wasted_cost_alert_description,
    wasted_cost_alert_name,
)
from promptcache_exporters.alerts.definition import (
    LONG_WINDOW,
    METRICS_BY_NAME,
    AlertDefinition,
    parse_duration_seconds,
)

SOURCE_PAGES: Final = (
    "signoz.io/docs/alerts-management/metrics-based-alerts/",
    "github.com/SigNoz/signoz, frontend/src/types/api/alerts (rules of version v4)",
)
OP_ABOVE, MATCH_IN_TOTAL = "1", "4"


def _build_metric_query(
    definition: AlertDefinition, query_name: str, metric_name: str, is_hit_rate_operand: bool = True
) -> dict[str, Any]:
    """Return one query of a rule.

    An operand of a formula (`is_hit_rate_operand`) is not shown itself.
    """
    exclusions = [
        {
            "key": {"key": OUTCOME, "type": "tag"},
            "op": "nin",
            "value": list(definition.hit_rate_excluded_outcomes),
        },
        {"key": {"key": BATCH, "type": "tag"}, "op": "nin", "value": ["true", "True"]},
    ]
    return {
        "queryName": query_name,
        "expression": query_name,
        "dataSource": "metrics",
        "disabled": is_hit_rate_operand,
        "stepInterval": 60,
        "aggregateAttribute": {
            "key": METRICS_BY_NAME[metric_name].name,
            "type": "Sum",
            "dataType": "float64",
        },
        "timeAggregation": "increase",
        "spaceAggregation": "sum",
        "filters": {"op": "AND", "items": exclusions if is_hit_rate_operand else []},
        "groupBy": [
            {"key": key, "type": "tag", "dataType": "string"}
            for key in definition.group_by_attributes
        ],
    }


def _build_threshold_rule(
    name: str,
    text: str,
    severity: str,
    window: str,
    threshold: float,
    queries: list[dict[str, Any]],
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
        "evalWindow": f"{parse_duration_seconds(window) // 60}m0s",
        "frequency": "1m0s",
        "labels": {"severity": severity},
        "annotations": {"summary": name, "description": text},
        "condition": {
            "compositeQuery": composite,
            "op": OP_ABOVE,
            "target": threshold,
            "matchType": MATCH_IN_TOTAL,
            "selectedQueryName": queries[-1]["queryName"],
        },
    }


def build_alert_rules(definition: AlertDefinition) -> list[dict[str, Any]]:
    """Return the rules: hit rate, as the sum of shortfalls over the window, and waste."""
    operands = [
        _build_metric_query(definition, "A", "input.tokens"),
        _build_metric_query(definition, "B", "read.tokens"),
    ]
    formula = {"queryName": "F1", "expression": f"{definition.target:g} * A - B", "disabled": False}
    threshold = definition.token_shortfall_threshold
    text = (
        f"More than {threshold:g} tokens short of the target."
        f" {hit_rate_alert_description(definition)}"
    )
    return [
        _build_threshold_rule(
            hit_rate_alert_name(definition),
            text,
            "critical",
            definition.window,
            threshold,
            [*operands, formula],
        ),
        _build_threshold_rule(
            wasted_cost_alert_name(definition),
            wasted_cost_alert_description(definition),
            "warning",
            LONG_WINDOW,
            definition.budget,
            [_build_metric_query(definition, "A", "wasted.usd", is_hit_rate_operand=False)],
        ),
    ]


def render_files_by_path(definition: AlertDefinition) -> dict[str, str]:
    """Return the rules, text by path."""
    requests = [
        {"method": "POST", "path": "/api/v1/rules", "body": body}
        for body in build_alert_rules(definition)
    ]
    header = untested_file_header_lines(definition, "signoz", SOURCE_PAGES)
    return {"signoz/rules.json": render_api_requests_json(header, requests)}
