"""Documents for backends that are configured by API calls: which body to send to which path."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from promptcache_exporters.alerts.definition import AlertDefinition


def untested_file_header_lines(
    definition: AlertDefinition, backend: str, source_pages: Sequence[str], *notes: str
) -> list[str]:
    """Return the header of a file that was never tried on the real backend.

    It has the command that makes the file, and the pages that the file was written from.
    """
    return [
        f"Made by: {definition.generating_command_line(backend)}",
        (
            "NOT RUN LIVE: promptcache's tests have no account there."
            " Written from these pages, November 2026:"
        ),
        *(f"  {page}" for page in source_pages),
        *notes,
    ]


def render_api_requests_json(header: Sequence[str], requests: Sequence[dict[str, Any]]) -> str:
    """Return a JSON file of API requests.

    `<...>` is a placeholder for a value of the user, or for an id from an earlier response.
    """
    return json.dumps({"about": header, "requests": requests}, indent=2) + "\n"


def hit_rate_alert_name(definition: AlertDefinition) -> str:
    """Return the name of an alert on the hit rate."""
    return f"Prompt cache hit rate below {definition.target * 100:g}%"


def hit_rate_alert_description(definition: AlertDefinition) -> str:
    """Return the description of an alert on the hit rate."""
    excluded_outcomes = ", ".join(definition.hit_rate_excluded_outcomes)
    return (
        f"Over {definition.window}, fewer than {definition.target * 100:g}% of the input tokens"
        f" came from the provider's cache, with at least {definition.min_tokens:,} input tokens."
        f" Calls with outcome {excluded_outcomes} and batch results are left"
        f" out. Runbook: {definition.runbook_link('hit-rate-low.md')}"
    )


def wasted_cost_alert_name(definition: AlertDefinition) -> str:
    """Return the name of an alert on waste."""
    return f"Prompt cache waste above {definition.budget:g} USD an hour"


def wasted_cost_alert_description(definition: AlertDefinition) -> str:
    """Return the description of an alert on waste."""
    return f"Runbook: {definition.runbook_link('waste-above-budget.md')}"
