"""The panels of the Grafana dashboard that read Prometheus, and what they show."""

from __future__ import annotations

import json
from typing import Any

from promptcache_exporters.alerts import grafana
from promptcache_exporters.alerts.definition import AlertDefinition
from tests.alerts_e2e.recorded_prometheus import query_at


def prometheus_panels(labels: str) -> list[dict[str, Any]]:
    (text,) = grafana.render_files_by_path(AlertDefinition(labels=labels)).values()
    panels: list[dict[str, Any]] = json.loads(text)["panels"]
    return [panel for panel in panels if panel["datasource"]["type"] == "prometheus"]


def query_panel(
    url: str, panel: dict[str, Any], service: str, at: float, window: str
) -> dict[str, float]:
    """Fill in the variables of Grafana, and return the values of a panel by their legends."""
    variables = {"$__rate_interval": window, "$service": service, "$model": ".*"}
    values: dict[str, float] = {}
    for target in panel["targets"]:
        expression = target["expr"]
        for variable, text in variables.items():
            expression = expression.replace(variable, text)
        for labels, value in query_at(url, expression, at):
            values[render_legend(target["legendFormat"], labels)] = value
    return values


def render_legend(template: str, labels: dict[str, str]) -> str:
    for name, value in labels.items():
        template = template.replace(f"{{{{{name}}}}}", value)
    return template
