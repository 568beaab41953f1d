"""New Relic: NRQL alert conditions on the metrics, as NerdGraph variables."""

from __future__ import annotations

import math
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
    "docs.newrelic.com/docs/apis/nerdgraph/examples/nerdgraph-api-nrql-condition-alerts/",
    (
        "docs.newrelic.com/docs/alerts/create-alert/create-alert-condition/"
        "create-nrql-alert-conditions"
    ),
    "docs.newrelic.com/docs/opentelemetry/best-practices/opentelemetry-best-practices-metrics/",
)
MUTATION: Final = (
    "mutation ($accountId: Int!, $policyId: ID!, $condition: AlertsNrqlConditionStaticInput!) {"
    " alertsNrqlConditionStaticCreate("
    "accountId: $accountId, policyId: $policyId, condition: $condition) { id name } }"
)


def _nrql_metric_sum(metric_name: str) -> str:
    return f"sum(`{METRICS_BY_NAME[metric_name].name}`)"


def _nrql_facet_attributes(definition: AlertDefinition) -> str:
    return ", ".join(f"`{attribute}`" for attribute in definition.group_by_attributes)


def hit_rate_query(definition: AlertDefinition) -> str:
    """Return the query for the hit rate. It is 1 if there is too little traffic."""
    read, tokens = _nrql_metric_sum("read.tokens"), _nrql_metric_sum("input.tokens")
    excluded = ", ".join(f"'{outcome}'" for outcome in definition.hit_rate_excluded_outcomes)
    where = f"`{OUTCOME}` NOT IN ({excluded}) AND (`{BATCH}` IS NULL OR `{BATCH}` IS FALSE)"
    formula = f"if({tokens} >= {definition.min_tokens}, {read} / {tokens}, 1)"
    return f"FROM Metric SELECT {formula} WHERE {where} FACET {_nrql_facet_attributes(definition)}"


def _build_nrql_alert_condition(
    name: str, query: str, description: str, window_seconds: int, term: dict[str, Any]
) -> dict[str, Any]:
    signal = {
        "aggregationWindow": window_seconds,
        "aggregationMethod": "EVENT_FLOW",
        "aggregationDelay": 120,
    }
    return {
        "name": name,
        "enabled": True,
        "description": description,
        "nrql": {"query": query},
        "signal": signal,
        "terms": [{"priority": "CRITICAL", "thresholdOccurrences": "ALL", **term}],
    }


def build_alert_conditions(definition: AlertDefinition) -> list[dict[str, Any]]:
    """Return the conditions: hit rate and waste."""
    window = min(21600, max(30, parse_duration_seconds(definition.window)))
    # The duration of a threshold is a whole number of windows.
    windows = max(1, math.ceil(parse_duration_seconds(definition.for_duration) / window))
    facet = _nrql_facet_attributes(definition)
    waste = f"FROM Metric SELECT {_nrql_metric_sum('wasted.usd')} FACET {facet}"
    return [
        _build_nrql_alert_condition(
            hit_rate_alert_name(definition),
            hit_rate_query(definition),
            hit_rate_alert_description(definition),
            window,
            {
                "operator": "BELOW",
                "threshold": definition.target,
                "thresholdDuration": windows * window,
            },
        ),
        _build_nrql_alert_condition(
            wasted_cost_alert_name(definition),
            waste,
            wasted_cost_alert_description(definition),
            parse_duration_seconds(LONG_WINDOW),
            {
                "operator": "ABOVE",
                "threshold": definition.budget,
                "thresholdDuration": parse_duration_seconds(LONG_WINDOW),
            },
        ),
    ]


def render_files_by_path(definition: AlertDefinition) -> dict[str, str]:
    """Return the conditions, text by path."""
    notes = ("Send delta temporality: OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE=delta.",)
    ids = {"accountId": "<account>", "policyId": "<policy>"}
    requests = [
        {
            "method": "POST",
            "path": "/graphql",
            "body": {"query": MUTATION, "variables": {**ids, "condition": condition}},
        }
        for condition in build_alert_conditions(definition)
    ]
    header = untested_file_header_lines(definition, "newrelic", SOURCE_PAGES, *notes)
    return {"newrelic/conditions.json": render_api_requests_json(header, requests)}
