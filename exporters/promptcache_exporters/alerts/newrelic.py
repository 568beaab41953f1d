"""New Relic: NRQL alert conditions on the metrics, as NerdGraph variables."""

from __future__ import annotations

from typing import Any, Final

from promptcache.attributes import BATCH, OUTCOME
from promptcache_exporters.alerts.apicalls import document, head, rate_name, rate_text
from promptcache_exporters.alerts.definition import LONG, METRICS, Definition, seconds

PAGES: Final = (
    "docs.newrelic.com/docs/apis/nerdgraph/examples/nerdgraph-api-nrql-condition-alerts/",
    "docs.newrelic.com/docs/alerts/create-alert/create-alert-condition/create-nrql-alert-conditions",
    "docs.newrelic.com/docs/opentelemetry/best-practices/opentelemetry-best-practices-metrics/",
)
MUTATION: Final = (
    "mutation ($accountId: Int!, $policyId: ID!, $condition: AlertsNrqlConditionStaticInput!) {"
    " alertsNrqlConditionStaticCreate(accountId: $accountId, policyId: $policyId, condition: $condition) { id name } }"
)


def _sum(name: str) -> str:
    return f"sum(`{METRICS[name].name}`)"


def rate(definition: Definition) -> str:
    """The hit rate; 1 where there is too little traffic."""
    read, tokens = _sum("read.tokens"), _sum("input.tokens")
    out = ", ".join(f"'{outcome}'" for outcome in definition.left_out)
    where = f"`{OUTCOME}` NOT IN ({out}) AND (`{BATCH}` IS NULL OR `{BATCH}` IS FALSE)"
    by = ", ".join(f"`{key}`" for key in definition.keys)
    formula = f"if({tokens} >= {definition.min_tokens}, {read} / {tokens}, 1)"
    return f"FROM Metric SELECT {formula} WHERE {where} FACET {by}"


def _condition(
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


def conditions(definition: Definition) -> list[dict[str, Any]]:
    """The conditions: hit rate and waste."""
    window = min(21600, max(30, seconds(definition.window)))
    # A threshold lasts a whole number of windows.
    hold = max(1, -(-seconds(definition.hold) // window)) * window
    by = ", ".join(f"`{key}`" for key in definition.keys)
    waste = f"FROM Metric SELECT {_sum('wasted.usd')} FACET {by}"
    return [
        _condition(
            rate_name(definition),
            rate(definition),
            rate_text(definition),
            window,
            {"operator": "BELOW", "threshold": definition.target, "thresholdDuration": hold},
        ),
        _condition(
            f"Prompt cache waste above {definition.budget:g} USD an hour",
            waste,
            f"Runbook: {definition.runbooks.rstrip('/')}/waste-above-budget.md",
            seconds(LONG),
            {
                "operator": "ABOVE",
                "threshold": definition.budget,
                "thresholdDuration": seconds(LONG),
            },
        ),
    ]


def files(definition: Definition) -> dict[str, str]:
    """The conditions, by the file's path."""
    more = ("Send delta temporality: OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE=delta.",)
    places = {"accountId": "<account>", "policyId": "<policy>"}
    requests = [
        {
            "method": "POST",
            "path": "/graphql",
            "body": {"query": MUTATION, "variables": {**places, "condition": one}},
        }
        for one in conditions(definition)
    ]
    return {
        "newrelic/conditions.json": document(head(definition, "newrelic", PAGES, *more), requests)
    }
