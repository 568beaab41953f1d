"""Files for backends that are configured by API calls: what to send where, under a head that says what was tried."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from promptcache_exporters.alerts.definition import AlertDefinition


def header_lines(
    definition: AlertDefinition, backend: str, pages: Sequence[str], *more: str
) -> list[str]:
    """The lines at the top of a file that could not be run live: how it was made, and what from."""
    return [
        f"Made by: {definition.command_line(backend)}",
        "NOT RUN LIVE: promptcache's tests have no account there. Written from these pages, November 2026:",
        *(f"  {page}" for page in pages),
        *more,
    ]


def render_requests(about: Sequence[str], requests: Sequence[dict[str, Any]]) -> str:
    """A JSON file of API requests. `<...>` stands for what only the reader knows, or what an earlier answer said."""
    return json.dumps({"about": about, "requests": requests}, indent=2) + "\n"


def hit_rate_alert_name(definition: AlertDefinition) -> str:
    """What an alert on the hit rate is called."""
    return f"Prompt cache hit rate below {definition.target * 100:g}%"


def hit_rate_alert_text(definition: AlertDefinition) -> str:
    """What an alert on the hit rate means, in a sentence or two."""
    return (
        f"Over {definition.window}, fewer than {definition.target * 100:g}% of the input tokens came from the"
        f" provider's cache, with at least {definition.min_tokens:,} input tokens. Calls with outcome"
        f" {', '.join(definition.excluded_outcomes)} and batch results are left out."
        f" Runbook: {definition.runbooks.rstrip('/')}/hit-rate-low.md"
    )
