"""Honeycomb: triggers on spans, a calculated field and a board, as API bodies and as Terraform.

All queries read the span attributes `promptcache.*`, because other instrumentations write other
counts under the standard names. The spans must arrive unsampled, or with a sample rate that
Honeycomb knows.
"""

from __future__ import annotations

import math
from typing import Any, Final

from promptcache.semconv import (
    BATCH,
    COST_AMOUNT,
    COST_SAVED,
    INPUT_TOKENS,
    MISS_REASON,
    MISSED_TOKENS,
    OUTCOME,
    PREFIX_HASH,
    READ_TOKENS,
    SHORTFALL_TOKENS,
    WASTED_USD,
)
from promptcache_exporters.alerts.api_documents import (
    hit_rate_alert_description,
    hit_rate_alert_name,
    render_api_requests_json,
    untested_file_header_lines,
)
from promptcache_exporters.alerts.definition import AlertDefinition, parse_duration_seconds
from promptcache_exporters.alerts.terraform import render_terraform_json, resource_id_expression

SOURCE_PAGES: Final = (
    "api-docs.honeycomb.io/api/triggers",
    "docs.honeycomb.io/api/calculated-fields/create-a-calculated-field",
    "docs.honeycomb.io/notify/triggers/create",
    (
        "github.com/honeycombio/terraform-provider-honeycombio, docs/resources"
        " (formulas need 0.47.0 or newer)"
    ),
)
SHORTFALL_FIELD: Final = "promptcache_shortfall"
DATASET: Final = "__all__"
BOARD_SECONDS: Final = 86_400
"""The time range of the board's queries."""
MAX_EXCEEDED_LIMIT: Final = 5
"""Honeycomb's maximum for the evaluations in a row before a trigger fires."""
_TRIGGER_CHOICE_NOTE: Final = (
    (
        "One trigger is enough. By formula: hit rate and traffic as in the definition."
        " By calculated field: for plans without formulas."
    ),
    (
        "By the attribute promptcache.shortfall_tokens: also without formulas;"
        " its target is OTEL_PROMPTCACHE_TARGET."
    ),
)


def _hit_rate_call_filters(definition: AlertDefinition) -> list[dict[str, Any]]:
    """Return the filters of the hit rate. Only batch results have the batch attribute."""
    outcome = {
        "column": OUTCOME,
        "op": "not-in",
        "value": list(definition.hit_rate_excluded_outcomes),
    }
    return [outcome, {"column": BATCH, "op": "does-not-exist"}]


def hit_rate_query(definition: AlertDefinition) -> dict[str, Any]:
    """Return the query of the hit rate: a formula over named calculations with their own filters.

    Honeycomb does not allow filters of the whole query together with named calculations. The
    formula is 1 if there is too little traffic.
    """
    filters = _hit_rate_call_filters(definition)
    return {
        "breakdowns": list(definition.group_by_attributes),
        "time_range": _time_range_seconds(definition),
        "calculations": [
            {
                "op": "SUM",
                "column": column,
                "name": name,
                "filters": filters,
                "filter_combination": "AND",
            }
            for name, column in (("read", READ_TOKENS), ("input", INPUT_TOKENS))
        ],
        "formulas": [
            {
                "name": "hit_rate",
                "expression": f"IF(GTE($input, {definition.min_tokens}), DIV($read, $input), 1)",
            }
        ],
    }


def token_shortfall_query(definition: AlertDefinition, shortfall_column: str) -> dict[str, Any]:
    """Return the query with a single SUM: the tokens short of the target."""
    return {
        "breakdowns": list(definition.group_by_attributes),
        "time_range": _time_range_seconds(definition),
        "calculations": [{"op": "SUM", "column": shortfall_column}],
        "filters": _hit_rate_call_filters(definition),
        "filter_combination": "AND",
    }


def token_shortfall_calculated_field(definition: AlertDefinition) -> dict[str, str]:
    """Return the calculated field of the shortfall.

    It follows `--target`. The attribute of the shortfall follows OTEL_PROMPTCACHE_TARGET instead.
    """
    return {
        "alias": SHORTFALL_FIELD,
        "expression": f"SUB(MUL({definition.target:g}, ${INPUT_TOKENS}), ${READ_TOKENS})",
        "description": f"Tokens short of a hit rate of {definition.target:g}; negative above it."
        " Take sums of it, not averages.",
    }


def _evaluation_interval_seconds(definition: AlertDefinition) -> int:
    """Return the seconds between evaluations.

    Honeycomb demands whole minutes, and at least a quarter of the time range.
    """
    return max(60, math.ceil(parse_duration_seconds(definition.window) / 240) * 60)


def _time_range_seconds(definition: AlertDefinition) -> int:
    return max(60, parse_duration_seconds(definition.window))


def build_alternative_hit_rate_triggers(definition: AlertDefinition) -> dict[str, dict[str, Any]]:
    """Return three alternative triggers: by formula, by calculated field, by attribute."""
    frequency = _evaluation_interval_seconds(definition)
    evaluations = math.ceil(parse_duration_seconds(definition.for_duration) / frequency)
    exceeded_limit = min(MAX_EXCEEDED_LIMIT, max(1, evaluations))
    below_target = {"op": "<", "value": definition.target, "exceeded_limit": exceeded_limit}
    short_of_target = {
        "op": ">",
        "value": definition.token_shortfall_threshold,
        "exceeded_limit": exceeded_limit,
    }
    rows = {
        "hit_rate": (
            hit_rate_alert_name(definition),
            hit_rate_alert_description(definition),
            hit_rate_query(definition),
            below_target,
        ),
        "shortfall_field": (
            "Prompt cache short of its target (field)",
            _token_shortfall_description(definition),
            token_shortfall_query(definition, SHORTFALL_FIELD),
            short_of_target,
        ),
        "shortfall_attribute": (
            "Prompt cache short of its target",
            _token_shortfall_description(definition),
            token_shortfall_query(definition, SHORTFALL_TOKENS),
            short_of_target,
        ),
    }
    return {key: _build_trigger(*row, frequency) for key, row in rows.items()}


def _build_trigger(
    name: str, text: str, query: dict[str, Any], threshold: dict[str, Any], frequency_seconds: int
) -> dict[str, Any]:
    return {
        "name": name,
        "description": text,
        "query": query,
        "threshold": threshold,
        "frequency": frequency_seconds,
        "alert_type": "on_change",
    }


def _token_shortfall_description(definition: AlertDefinition) -> str:
    return (
        f"Fires if the sum over {definition.window} is above"
        f" {definition.token_shortfall_threshold:g}."
        " The sum is the number of tokens short of the target. If nothing is read, it takes"
        f" {definition.min_tokens:,} input tokens to get there."
        " With a hit rate closer to the target it takes more. Runbook: "
        f"{definition.runbook_link('hit-rate-low.md')}"
    )


def board_titles_and_queries(definition: AlertDefinition) -> dict[str, tuple[str, dict[str, Any]]]:
    """Return the queries of the board: a title and a query under an id."""
    groups = list(definition.group_by_attributes)
    sums: dict[str, tuple[str, list[str], list[str]]] = {
        "tokens": ("Tokens read, and all input", [INPUT_TOKENS, READ_TOKENS], groups),
        "outcomes": ("Calls by outcome", [], [OUTCOME]),
        "reasons": ("Waste by miss reason (USD)", [WASTED_USD], [MISS_REASON]),
        "prefixes": ("Prefixes with most misses", [MISSED_TOKENS, WASTED_USD], [PREFIX_HASH]),
        "money": ("Cost and savings (USD)", [COST_AMOUNT, COST_SAVED], groups),
    }
    queries = {"hit_rate": ("Hit rate", hit_rate_query(definition) | {"time_range": BOARD_SECONDS})}
    for key, (title, columns, breakdowns) in sums.items():
        calculations = [{"op": "SUM", "column": column} for column in columns] or [{"op": "COUNT"}]
        query = {
            "breakdowns": breakdowns,
            "time_range": BOARD_SECONDS,
            "calculations": calculations,
            "filters": [{"column": OUTCOME, "op": "exists"}],
        }
        queries[key] = (title, query)
    return queries


def _render_all_api_requests_json(definition: AlertDefinition) -> str:
    requests = [
        _build_post_request(
            f"/1/derived_columns/{DATASET}", token_shortfall_calculated_field(definition)
        )
    ]
    requests += [
        _build_post_request(f"/1/triggers/{DATASET}", trigger)
        for trigger in build_alternative_hit_rate_triggers(definition).values()
    ]
    panels: list[dict[str, Any]] = []
    for key, (title, query) in board_titles_and_queries(definition).items():
        query_id, annotation_id = f"<id of {key}>", f"<id of {key} note>"
        annotation = {"query_id": query_id, "name": title}
        requests.append(_build_post_request(f"/1/queries/{DATASET}", query, key))
        requests.append(
            _build_post_request(f"/1/query_annotations/{DATASET}", annotation, f"{key} note")
        )
        panel = {"query_id": query_id, "query_annotation_id": annotation_id}
        panels.append({"type": "query", "query_panel": panel})
    board = {"name": "Prompt cache", "type": "flexible", "panels": panels}
    requests.append(_build_post_request("/1/boards", board))
    return render_api_requests_json(_file_header_lines(definition), requests)


def _build_post_request(
    path: str, body: dict[str, Any], request_id: str | None = None
) -> dict[str, Any]:
    named = {} if request_id is None else {"id": request_id}
    return {"method": "POST", "path": path, **named, "body": body}


def _file_header_lines(definition: AlertDefinition) -> list[str]:
    return untested_file_header_lines(definition, "honeycomb", SOURCE_PAGES, *_TRIGGER_CHOICE_NOTE)


def _terraform_resources(definition: AlertDefinition) -> dict[str, dict[str, Any]]:
    """Return the resources by type and name."""
    triggers: dict[str, Any] = {}
    for key, trigger in build_alternative_hit_rate_triggers(definition).items():
        attributes = {name: value for name, value in trigger.items() if name != "query"}
        triggers[key] = {"dataset": DATASET, "query_json": trigger["query"], **attributes}
    queries: dict[str, Any] = {}
    annotations: dict[str, Any] = {}
    panels: list[dict[str, Any]] = []
    for key, (title, query) in board_titles_and_queries(definition).items():
        query_id = resource_id_expression("honeycombio_query", key)
        annotation_id = resource_id_expression("honeycombio_query_annotation", key)
        queries[key] = {"dataset": DATASET, "query_json": query}
        annotations[key] = {"dataset": DATASET, "query_id": query_id, "name": title}
        panel = {"query_id": query_id, "query_annotation_id": annotation_id}
        panels.append({"type": "query", "query_panel": panel})
    return {
        "honeycombio_derived_column": {
            SHORTFALL_FIELD: token_shortfall_calculated_field(definition)
        },
        "honeycombio_trigger": triggers,
        "honeycombio_query": queries,
        "honeycombio_query_annotation": annotations,
        "honeycombio_flexible_board": {"promptcache": {"name": "Prompt cache", "panel": panels}},
    }


def render_files_by_path(definition: AlertDefinition) -> dict[str, str]:
    """Return the API bodies and the Terraform module, text by path."""
    provider = {"honeycombio": {"source": "honeycombio/honeycombio", "version": ">= 0.47.0"}}
    resources = _terraform_resources(definition)
    return {
        "honeycomb/api.json": _render_all_api_requests_json(definition),
        "honeycomb/promptcache.tf.json": render_terraform_json(
            _file_header_lines(definition), provider, resources
        ),
    }
