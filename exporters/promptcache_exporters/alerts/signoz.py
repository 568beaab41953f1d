"""SigNoz: alert rules on the metrics, as API bodies.

A formula has no data there where one of its sides has none, and it cannot say "if"; so the rules use the shortfall,
which needs no guard beside it.
"""

from __future__ import annotations

from typing import Any, Final

from promptcache.attributes import BATCH, OUTCOME
from promptcache_exporters.alerts.apicalls import document, head, rate_name, rate_text
from promptcache_exporters.alerts.definition import LONG, METRICS, Definition, seconds

PAGES: Final = (
    "signoz.io/docs/alerts-management/metrics-based-alerts/",
    "github.com/SigNoz/signoz, frontend/src/types/api/alerts (rules of version v4)",
)
ABOVE, IN_TOTAL = "1", "4"


def _side(definition: Definition, name: str, metric: str, judged: bool = True) -> dict[str, Any]:
    out = [
        {"key": {"key": OUTCOME, "type": "tag"}, "op": "nin", "value": list(definition.left_out)},
        {"key": {"key": BATCH, "type": "tag"}, "op": "nin", "value": ["true", "True"]},
    ]
    return {
        "queryName": name,
        "expression": name,
        "dataSource": "metrics",
        "disabled": judged,
        "stepInterval": 60,
        "aggregateAttribute": {"key": METRICS[metric].name, "type": "Sum", "dataType": "float64"},
        "timeAggregation": "increase",
        "spaceAggregation": "sum",
        "filters": {"op": "AND", "items": out if judged else []},
        "groupBy": [{"key": key, "type": "tag", "dataType": "string"} for key in definition.keys],
    }


def _rule(
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
        "evalWindow": f"{seconds(window) // 60}m0s",
        "frequency": "1m0s",
        "labels": {"severity": severity},
        "annotations": {"summary": name, "description": text},
        "condition": {
            "compositeQuery": composite,
            "op": ABOVE,
            "target": target,
            "matchType": IN_TOTAL,
            "selectedQueryName": queries[-1]["queryName"],
        },
    }


def rules(definition: Definition) -> list[dict[str, Any]]:
    """The rules: hit rate, as a shortfall summed over the window, and waste."""
    sides = [_side(definition, "A", "input.tokens"), _side(definition, "B", "read.tokens")]
    formula = {"queryName": "F1", "expression": f"{definition.target:g} * A - B", "disabled": False}
    guard = definition.target * definition.min_tokens
    text = f"More than {guard:g} tokens short of the target. {rate_text(definition)}"
    waste = f"Runbook: {definition.runbooks.rstrip('/')}/waste-above-budget.md"
    return [
        _rule(rate_name(definition), text, "critical", definition.window, guard, [*sides, formula]),
        _rule(
            f"Prompt cache waste above {definition.budget:g} USD an hour",
            waste,
            "warning",
            LONG,
            definition.budget,
            [_side(definition, "A", "wasted.usd", judged=False)],
        ),
    ]


def files(definition: Definition) -> dict[str, str]:
    """The rules, by the file's path."""
    requests = [
        {"method": "POST", "path": "/api/v1/rules", "body": body} for body in rules(definition)
    ]
    return {"signoz/rules.json": document(head(definition, "signoz", PAGES), requests)}
