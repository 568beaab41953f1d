"""Honeycomb: triggers on spans, a calculated field and a board, as API bodies and as Terraform.

Everything reads the span attributes `promptcache.*` alone, since other instrumentations write other counts under the
standard names. Spans have to arrive unsampled, or with a sample rate that Honeycomb knows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from string import Template
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
    header_lines,
    hit_rate_alert_name,
    hit_rate_alert_text,
    render_requests,
)
from promptcache_exporters.alerts.definition import AlertDefinition, parse_duration

SOURCE_PAGES: Final = (
    "api-docs.honeycomb.io/api/triggers",
    "docs.honeycomb.io/api/calculated-fields/create-a-calculated-field",
    "docs.honeycomb.io/notify/triggers/create",
    "github.com/honeycombio/terraform-provider-honeycombio, docs/resources (formulas need 0.47.0 or newer)",
)
SHORTFALL_FIELD: Final = "promptcache_shortfall"
DATASET: Final = "__all__"


def _excluded_calls_filters(definition: AlertDefinition) -> list[dict[str, Any]]:
    """What the hit rate leaves out. The attribute of batches is written on their results only."""
    outcome = {"column": OUTCOME, "op": "not-in", "value": list(definition.excluded_outcomes)}
    return [outcome, {"column": BATCH, "op": "does-not-exist"}]


def hit_rate_query(definition: AlertDefinition) -> dict[str, Any]:
    """The query of the hit rate: one formula over named calculations, each with its own filters.

    Filters of the whole query are not allowed beside named calculations. Where traffic is low the formula says 1.
    """
    named = (("read", READ_TOKENS), ("input", INPUT_TOKENS))
    return {
        "breakdowns": list(definition.group_attributes),
        "time_range": _time_range_seconds(definition),
        "calculations": [
            {
                "op": "SUM",
                "column": column,
                "name": name,
                "filters": _excluded_calls_filters(definition),
                "filter_combination": "AND",
            }
            for name, column in named
        ],
        "formulas": [
            {
                "name": "hit_rate",
                "expression": f"IF(GTE($input, {definition.min_tokens}), DIV($read, $input), 1)",
            }
        ],
    }


def shortfall_query(definition: AlertDefinition, column: str) -> dict[str, Any]:
    """The query with a single SUM: tokens that are missing to the target."""
    return {
        "breakdowns": list(definition.group_attributes),
        "time_range": _time_range_seconds(definition),
        "calculations": [{"op": "SUM", "column": column}],
        "filters": _excluded_calls_filters(definition),
        "filter_combination": "AND",
    }


def shortfall_threshold(definition: AlertDefinition) -> float:
    """The shortfall at which a service of `min_tokens` that reads nothing is told; a better one needs more traffic."""
    return definition.target * definition.min_tokens


def shortfall_field(definition: AlertDefinition) -> dict[str, str]:
    """The calculated field, which follows `--target` where the attribute follows OTEL_PROMPTCACHE_TARGET."""
    return {
        "alias": SHORTFALL_FIELD,
        "expression": f"SUB(MUL({definition.target:g}, ${INPUT_TOKENS}), ${READ_TOKENS})",
        "description": f"Tokens missing to a hit rate of {definition.target:g}; negative above it; sums without bias.",
    }


def _frequency_seconds(definition: AlertDefinition) -> int:
    """Seconds between evaluations: whole minutes, at least a quarter of the window as Honeycomb demands."""
    return max(60, -(-parse_duration(definition.window) // 240) * 60)


def _time_range_seconds(definition: AlertDefinition) -> int:
    return max(60, parse_duration(definition.window))


def build_triggers(definition: AlertDefinition) -> dict[str, dict[str, Any]]:
    """The triggers by a name for each: by formula, by calculated field, by attribute. One of them suffices."""
    frequency = _frequency_seconds(definition)
    times = min(5, max(1, -(-parse_duration(definition.hold) // frequency)))
    rate = {"op": "<", "value": definition.target, "exceeded_limit": times}
    short = {"op": ">", "value": shortfall_threshold(definition), "exceeded_limit": times}
    text = (
        f"Fires where the sum over {definition.window} exceeds {shortfall_threshold(definition):g}: so many tokens fewer than the"
        f" target were read. With nothing read that is {definition.min_tokens:,} input tokens; the nearer the rate is"
        " to the target, the more traffic it takes. Runbook: "
        f"{definition.runbooks.rstrip('/')}/hit-rate-low.md"
    )
    rows = (
        (
            "hit_rate",
            hit_rate_alert_name(definition),
            hit_rate_alert_text(definition),
            hit_rate_query(definition),
            rate,
        ),
        (
            "shortfall_field",
            "Prompt cache short of its target (field)",
            text,
            shortfall_query(definition, SHORTFALL_FIELD),
            short,
        ),
        (
            "shortfall_attribute",
            "Prompt cache short of its target",
            text,
            shortfall_query(definition, SHORTFALL_TOKENS),
            short,
        ),
    )
    return {
        key: {
            "name": name,
            "description": about,
            "query": query,
            "threshold": threshold,
            "frequency": frequency,
            "alert_type": "on_change",
        }
        for key, name, about, query, threshold in rows
    }


def board_queries(definition: AlertDefinition) -> dict[str, tuple[str, dict[str, Any]]]:
    """The queries of the board, title and specification by a name for each."""
    sums: dict[str, tuple[str, list[str], list[str]]] = {
        "tokens": (
            "Tokens read, and all input",
            [INPUT_TOKENS, READ_TOKENS],
            list(definition.group_attributes),
        ),
        "outcomes": ("Calls by outcome", [], [OUTCOME]),
        "reasons": ("Waste by cause (USD)", [WASTED_USD], [MISS_REASON]),
        "prefixes": ("Prefixes that miss most", [MISSED_TOKENS, WASTED_USD], [PREFIX_HASH]),
        "money": (
            "Cost and savings (USD)",
            [COST_AMOUNT, COST_SAVED],
            list(definition.group_attributes),
        ),
    }
    made = {"hit_rate": ("Hit rate", hit_rate_query(definition) | {"time_range": 86400})}
    for key, (title, columns, by) in sums.items():
        calculations = [{"op": "SUM", "column": column} for column in columns] or [{"op": "COUNT"}]
        only = [{"column": OUTCOME, "op": "exists"}]
        made[key] = (
            title,
            {"breakdowns": by, "time_range": 86400, "calculations": calculations, "filters": only},
        )
    return made


def _render_api_requests(definition: AlertDefinition) -> str:
    requests: list[dict[str, Any]] = [
        {
            "method": "POST",
            "path": f"/1/derived_columns/{DATASET}",
            "body": shortfall_field(definition),
        }
    ]
    requests += [
        {"method": "POST", "path": f"/1/triggers/{DATASET}", "body": body}
        for body in build_triggers(definition).values()
    ]
    places: list[dict[str, Any]] = []
    for key, (title, query) in board_queries(definition).items():
        annotation = {"query_id": f"<id of {key}>", "name": title}
        requests.append(
            {"method": "POST", "path": f"/1/queries/{DATASET}", "id": key, "body": query}
        )
        requests.append(
            {
                "method": "POST",
                "path": f"/1/query_annotations/{DATASET}",
                "id": f"{key} note",
                "body": annotation,
            }
        )
        shown = {"query_id": f"<id of {key}>", "query_annotation_id": f"<id of {key} note>"}
        places.append({"type": "query", "query_panel": shown})
    board = {"name": "Prompt cache", "type": "flexible", "panels": places}
    requests.append({"method": "POST", "path": "/1/boards", "body": board})
    return render_requests(
        header_lines(definition, "honeycomb", SOURCE_PAGES, *_TRIGGER_CHOICE_NOTE), requests
    )


_TRIGGER_CHOICE_NOTE: Final = (
    "One trigger suffices: by formula (hit rate and traffic as the definition has them), by calculated field, or by",
    "the attribute promptcache.shortfall_tokens, whose target is OTEL_PROMPTCACHE_TARGET, for plans without formulas.",
)


_PROVIDER: Final = """\
terraform {
  required_providers {
    honeycombio = {
      source  = "honeycombio/honeycombio"
      version = ">= 0.47.0"
    }
  }
}"""

_PANEL: Final = Template("""
  panel {
    type = "query"
    query_panel {
      query_id            = honeycombio_query.$key.id
      query_annotation_id = honeycombio_query_annotation.$key.id
    }
  }
""")


def _render_terraform(definition: AlertDefinition) -> str:
    about = "\n".join(
        f"# {line}"
        for line in header_lines(definition, "honeycomb", SOURCE_PAGES, *_TRIGGER_CHOICE_NOTE)
    )
    parts = [
        about,
        _PROVIDER,
        _block("honeycombio_derived_column", SHORTFALL_FIELD, shortfall_field(definition)),
    ]
    for key, trigger in build_triggers(definition).items():
        plain = {name: trigger[name] for name in ("name", "description", "frequency", "alert_type")}
        plain |= {
            "dataset": DATASET,
            "query_json": trigger["query"],
            "threshold": trigger["threshold"],
        }
        parts.append(_block("honeycombio_trigger", key, plain))
    shown: list[str] = []
    for key, (title, query) in board_queries(definition).items():
        parts.append(_block("honeycombio_query", key, {"dataset": DATASET, "query_json": query}))
        note = {"dataset": DATASET, "query_id": f"honeycombio_query.{key}.id", "name": title}
        parts.append(_block("honeycombio_query_annotation", key, note))
        shown.append(_PANEL.substitute(key=key))
    parts.append(
        'resource "honeycombio_flexible_board" "promptcache" {\n  name = "Prompt cache"\n'
        + "".join(shown)
        + "}"
    )
    return "\n\n".join(parts) + "\n"


def _block(what: str, name: str, values: Mapping[str, Any]) -> str:
    """A resource as `terraform fmt` writes it: plain values first, then the query, then a block inside."""
    lines = [f'resource "{what}" "{name}" {{']
    lines += _aligned(
        "  ", {key: value for key, value in values.items() if not isinstance(value, dict)}
    )
    if query := values.get("query_json"):
        text = json.dumps(query, indent=2, separators=(",", " : ")).replace("\n", "\n  ")
        lines.append(f"  query_json = jsonencode({_escaped(text)})")
    if inside := values.get("threshold"):
        lines += ["  threshold {", *_aligned("    ", inside), "  }"]
    return "\n".join([*lines, "}"])


def _aligned(margin: str, values: Mapping[str, Any]) -> list[str]:
    width = max(map(len, values))
    shown = {
        key: value if key == "query_id" else json.dumps(value) for key, value in values.items()
    }
    return [f"{margin}{key:<{width}} = {value}" for key, value in shown.items()]


def _escaped(text: str) -> str:
    """JSON as an HCL expression: `"key" :` is valid there too, `${` would be a template."""
    return re.sub(r"\$\{", "$${", text)


def files(definition: AlertDefinition) -> dict[str, str]:
    """The API bodies and the Terraform module, by their paths."""
    return {
        "honeycomb/api.json": _render_api_requests(definition),
        "honeycomb/promptcache.tf": _render_terraform(definition),
    }
