"""New Relic: NRQL alert conditions on the metrics, as NerdGraph variables."""

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
    "docs.newrelic.com/docs/apis/nerdgraph/examples/nerdgraph-api-nrql-condition-alerts/",
    "docs.newrelic.com/docs/alerts/create-alert/create-alert-condition/create-nrql-alert-conditions",
    "docs.newrelic.com/docs/opentelemetry/best-practices/opentelemetry-best-practices-metrics/",
)
MUTATION: Final = (
    "mutation ($accountId: Int!, $policyId: ID!, $condition: AlertsNrqlConditionStaticInput!) {"
    " alertsNrqlConditionStaticCreate(accountId: $accountId, policyId: $policyId, condition: $condition) { id name } }"
)


def _metric_sum(name: str) -> str:
    return f"sum(`{METRICS_BY_NAME[name].name}`)"


def hit_rate_query(definition: AlertDefinition) -> str:
    """The hit rate; 1 where there is too little traffic."""
    read, tokens = _metric_sum("read.tokens"), _metric_sum("input.tokens")
    out = ", ".join(f"'{outcome}'" for outcome in definition.excluded_outcomes)
    where = f"`{OUTCOME}` NOT IN ({out}) AND (`{BATCH}` IS NULL OR `{BATCH}` IS FALSE)"
    by = ", ".join(f"`{key}`" for key in definition.group_attributes)
    formula = f"if({tokens} >= {definition.min_tokens}, {read} / {tokens}, 1)"
    return f"FROM Metric SELECT {formula} WHERE {where} FACET {by}"


def _build_condition(
    name: str, query: str, text: str, window: int, term: dict[str, Any]
) -> dict[str, Any]:
    signal = {
        "aggregationWindow": window,
        "aggregationMethod": "EVENT_FLOW",
        "aggregationDelay": 120,
    }
    filled = {"priority": "CRITICAL", "thresholdOccurrences": "ALL", **term}
    return {
        "name": name,
        "enabled": True,
        "description": text,
        "nrql": {"query": query},
        "signal": signal,
        "terms": [filled],
    }


def build_conditions(definition: AlertDefinition) -> list[dict[str, Any]]:
    """The conditions: hit rate and waste."""
    window = min(21600, max(30, parse_duration(definition.window)))
    # A threshold lasts a whole number of windows.
    hold = max(1, -(-parse_duration(definition.hold) // window)) * window
    by = ", ".join(f"`{key}`" for key in definition.group_attributes)
    waste = f"FROM Metric SELECT {_metric_sum('wasted.usd')} FACET {by}"
    return [
        _build_condition(
            hit_rate_alert_name(definition),
            hit_rate_query(definition),
            hit_rate_alert_text(definition),
            window,
            {"operator": "BELOW", "threshold": definition.target, "thresholdDuration": hold},
        ),
        _build_condition(
            f"Prompt cache waste above {definition.budget:g} USD an hour",
            waste,
            f"Runbook: {definition.runbooks.rstrip('/')}/waste-above-budget.md",
            parse_duration(LONG_WINDOW),
            {
                "operator": "ABOVE",
                "threshold": definition.budget,
                "thresholdDuration": parse_duration(LONG_WINDOW),
            },
        ),
    ]


def files(definition: AlertDefinition) -> dict[str, str]:
    """The conditions, by the file's path."""
    more = ("Send delta temporality: OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE=delta.",)
    places = {"accountId": "<account>", "policyId": "<policy>"}
    requests = [
        {
            "method": "POST",
            "path": "/graphql",
            "body": {"query": MUTATION, "variables": {**places, "condition": one}},
        }
        for one in build_conditions(definition)
    ]
    return {
        "newrelic/conditions.json": render_requests(
            header_lines(definition, "newrelic", SOURCE_PAGES, *more), requests
        )
    }
