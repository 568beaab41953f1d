"""The rules as a PrometheusRule, and the Collector as a resource of the OpenTelemetry Operator.

Their contents are those of the backends `prometheus` and `collector`.
"""

from __future__ import annotations

from textwrap import indent

from promptcache_exporters.alerts import collector, prometheus
from promptcache_exporters.alerts.definition import AlertDefinition
from promptcache_exporters.alerts.template import render_yaml_template


def render_files_by_path(definition: AlertDefinition) -> dict[str, str]:
    """Return the resources, text by path."""
    command = definition.generating_command_line("kubernetes")
    rules = prometheus.render_files_by_path(definition)[prometheus.FILE_PATH]
    configuration = collector.render_files_by_path(definition)[collector.FILE_PATH]
    return {
        "kubernetes/prometheusrule.yaml": render_yaml_template(
            "kubernetes_rule",
            command=command,
            runbook_note="" if "://" in definition.runbooks else prometheus.RUNBOOK_PATH_NOTE,
            groups=_indent_from(rules, "groups:\n", "  "),
        ),
        "kubernetes/collector.yaml": render_yaml_template(
            "kubernetes_collector",
            command=command,
            config=_indent_from(configuration, "receivers:\n", "    "),
        ),
    }


def _indent_from(text: str, first_line: str, prefix: str) -> str:
    """Return the lines of `text` from `first_line` on, without the header, with a prefix."""
    return indent(text[text.index(f"\n{first_line}") + 1 :].rstrip("\n"), prefix)
