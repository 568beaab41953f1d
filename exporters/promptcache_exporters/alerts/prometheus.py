"""Rules for Prometheus (2.42 or newer), and for vmalert, Mimir and Thanos, which read its files.

They follow the conventions of monitoring mixins: names in CamelCase; a severity; a summary, a
description and a runbook_url; recorded series named `level:metric:operation`. No rule is a
multi-window burn rate: with a target of 50 % the burn rate is at most 2, so rules with the usual
factors (14.4 and 6) could never fire.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, final

from promptcache.semconv import OUTCOME
from promptcache_exporters.alerts.definition import LONG_WINDOW, AlertDefinition
from promptcache_exporters.alerts.promql import (
    PromQLQueryBuilder,
    prometheus_label_name,
    prometheus_series_name,
)
from promptcache_exporters.alerts.template import render_yaml_template

FILE_PATH: Final = "prometheus/promptcache.rules.yaml"
MIN_CALLS_FOR_UNREPORTED_ALERT: Final = 20
"""With fewer calls in an hour, missing token counts are no reason for an alert."""
MIN_READ_SHARE: Final = 0.1
"""If fewer than this share of the written tokens are read again, the writes count as unread."""
RUNBOOK_PATH_NOTE: Final = """\
# runbook_url is only a path here. `promptcache alerts runbooks --out DIR` writes the pages. Publish
# them, and run this command with `--runbooks https://...` to get links to them.
"""
LONG_FOR_DURATION: Final = "15m"
WRITE_TOKENS_RECORD: Final = f"promptcache_write_tokens:increase{LONG_WINDOW}"


@final
@dataclass(frozen=True, slots=True)
class AlertRule:
    """One alert rule. `summary` and `description` are Prometheus templates."""

    name: str
    severity: str
    for_duration: str
    expr: str
    summary: str
    description: str

    @property
    def runbook_file_name(self) -> str:
        """The file name of the runbook: `hit-rate-low.md` for `PromptCacheHitRateLow`."""
        words = re.findall("[A-Z][a-z]+", self.name.removeprefix("PromptCache"))
        return f"{'-'.join(words).lower()}.md"


def recording_rule_name(query_builder: PromQLQueryBuilder, metric_operation: str) -> str:
    """Return the name of a recorded series. Its level consists of the labels that it keeps."""
    level = "_".join(
        label.removeprefix("gen_ai_request_") for label in query_builder.group_by_labels
    )
    return f"{level}:{metric_operation}"


def recording_rules(query_builder: PromQLQueryBuilder) -> Iterator[tuple[str, str]]:
    """Yield the recording rules, name and expression, for the short and the long window."""
    for window in dict.fromkeys((query_builder.definition.window, LONG_WINDOW)):
        tokens = recording_rule_name(query_builder, f"promptcache_input_tokens:increase{window}")
        read = recording_rule_name(query_builder, f"promptcache_read_tokens:increase{window}")
        yield (
            tokens,
            query_builder.sum_increase_including_new_series(
                "input.tokens", window, query_builder.hit_rate_calls_selector
            ),
        )
        # If nothing was ever read, the series of read tokens may not exist. Without the `or` the
        # ratio would have no value, and the alert would not fire in the worst case.
        read_increase = query_builder.sum_increase_including_new_series(
            "read.tokens", window, query_builder.hit_rate_calls_selector
        )
        yield read, f"{read_increase}\nor\n0 * {tokens}"
        yield (
            recording_rule_name(query_builder, f"promptcache_hit:ratio_{window}"),
            f"{read} / ({tokens} > 0)",
        )
    yield (
        recording_rule_name(query_builder, WRITE_TOKENS_RECORD),
        query_builder.sum_increase_including_new_series(
            "write.tokens", LONG_WINDOW, query_builder.non_batch_selector
        ),
    )


def alert_rules(query_builder: PromQLQueryBuilder) -> Iterator[AlertRule]:
    """Yield the alert rules. The first one is for paging."""
    yield from _hit_rate_rules(query_builder)
    yield from _missing_telemetry_rules(query_builder)
    yield from _waste_and_unread_write_rules(query_builder)


def _hit_rate_rules(query_builder: PromQLQueryBuilder) -> Iterator[AlertRule]:
    definition = query_builder.definition
    yield _low_hit_rate_rule(
        query_builder,
        "PromptCacheHitRateLow",
        definition.window,
        definition.for_duration,
        "critical",
    )
    yield _low_hit_rate_rule(
        query_builder, "PromptCacheHitRateLowForLong", LONG_WINDOW, LONG_FOR_DURATION, "warning"
    )
    rate = recording_rule_name(query_builder, f"promptcache_hit:ratio_{LONG_WINDOW}")
    tokens = recording_rule_name(query_builder, f"promptcache_input_tokens:increase{LONG_WINDOW}")
    group = _group_labels_template(query_builder)
    yield AlertRule(
        "PromptCacheHitRateDropped",
        "warning",
        LONG_FOR_DURATION,
        f"{rate} offset 1d - {rate} > {definition.drop:g}\nand\n{tokens} >= {definition.min_tokens}"
        f"\nand\n{tokens} offset 1d >= {definition.min_tokens}",
        f"Prompt cache hit rate of {group} fell against yesterday",
        f"The hit rate of {group} over the last {LONG_WINDOW} lies"
        " {{ $value | humanizePercentage }} of all input tokens"
        " below that of the same hour of yesterday.",
    )


def _low_hit_rate_rule(
    query_builder: PromQLQueryBuilder, name: str, window: str, for_duration: str, severity: str
) -> AlertRule:
    definition = query_builder.definition
    rate = recording_rule_name(query_builder, f"promptcache_hit:ratio_{window}")
    tokens = recording_rule_name(query_builder, f"promptcache_input_tokens:increase{window}")
    group, target = _group_labels_template(query_builder), f"{definition.target * 100:g}%"
    return AlertRule(
        name,
        severity,
        for_duration,
        f"{rate} < {definition.target:g}\nand\n{tokens} >= {definition.min_tokens}",
        f"Prompt cache hit rate of {group} is below {target}",
        f"Over the last {window}, {{{{ $value | humanizePercentage }}}} of the input tokens of"
        f" {group} came from the provider's cache; the target is {target}."
        " Every missed token costs the full input price.",
    )


def _missing_telemetry_rules(query_builder: PromQLQueryBuilder) -> Iterator[AlertRule]:
    calls, labels = prometheus_series_name("calls"), (query_builder.service_name_label,)
    offset = f" offset {LONG_WINDOW}"
    service = f"{{{{ $labels.{query_builder.service_name_label} }}}}"
    yield AlertRule(
        "PromptCacheTelemetryMissing",
        "warning",
        "10m",
        f"{query_builder.sum_by_labels(calls + offset, labels, offset)}\nunless\n"
        f"{query_builder.sum_by_labels(calls, labels)}",
        f"{service} no longer reports its prompt cache",
        f"{service} reported calls an hour ago and reports none of its series now:"
        " no alert on its hit rate can fire.",
    )
    total = query_builder.sum_increase_including_new_series("calls", LONG_WINDOW)
    unreported = query_builder.sum_increase_including_new_series(
        "calls", LONG_WINDOW, f'{prometheus_label_name(OUTCOME)}="unreported"'
    )
    group = _group_labels_template(query_builder)
    yield AlertRule(
        "PromptCacheUsageUnreported",
        "warning",
        "15m",
        f"{unreported}\n/\n({total} >= {MIN_CALLS_FOR_UNREPORTED_ALERT}) > 0.5",
        f"Most calls of {group} report no cached tokens",
        f"{{{{ $value | humanizePercentage }}}} of the calls of {group} in the last {LONG_WINDOW}"
        " ended without cached token counts, so the hit rate does not see them.",
    )


def _waste_and_unread_write_rules(query_builder: PromQLQueryBuilder) -> Iterator[AlertRule]:
    definition, group = query_builder.definition, _group_labels_template(query_builder)
    wasted = query_builder.sum_increase_including_new_series("wasted.usd", LONG_WINDOW)
    yield AlertRule(
        "PromptCacheWasteAboveBudget",
        "warning",
        "5m",
        f"{wasted} > {definition.budget:g}",
        f"Prompt cache misses of {group} waste more than {definition.budget:g} USD an hour",
        f'In the last {LONG_WINDOW} {group} paid {{{{ $value | printf "%.2f" }}}} USD too much for'
        " tokens that the provider's cache could have served.",
    )
    written = recording_rule_name(query_builder, WRITE_TOKENS_RECORD)
    read = query_builder.sum_increase_including_new_series(
        "read.tokens", LONG_WINDOW, query_builder.non_batch_selector
    )
    yield AlertRule(
        "PromptCacheWritesNeverRead",
        "warning",
        "15m",
        f"{written} >= {definition.min_tokens}\nunless\n{read} >= {MIN_READ_SHARE:g} * {written}",
        f"What {group} writes to the prompt cache is hardly ever read",
        f"In the last {LONG_WINDOW} {group} wrote {{{{ $value | humanize }}}} tokens to the"
        f" provider's cache and read fewer than {MIN_READ_SHARE:.0%} as many."
        " Writing costs more than not caching at all.",
    )


def _group_labels_template(query_builder: PromQLQueryBuilder) -> str:
    """Return the values of the group labels, as a Prometheus template."""
    names = (name.removeprefix("key:") for name in query_builder.definition.by)
    return ", ".join(
        f"{name} {{{{ $labels.{label} }}}}"
        for name, label in zip(names, query_builder.group_by_labels, strict=True)
    )


def render_files_by_path(definition: AlertDefinition) -> dict[str, str]:
    """Return the rule file, text by path."""
    query = PromQLQueryBuilder(definition)
    records = [
        render_yaml_template("prometheus_record", name=name, expr=_indent_expression(expr))
        for name, expr in recording_rules(query)
    ]
    alerts = [_render_alert_rule_yaml(definition, alert) for alert in alert_rules(query)]
    text = render_yaml_template(
        "prometheus_rules",
        command=definition.generating_command_line("prometheus"),
        runbook_note="" if "://" in definition.runbooks else RUNBOOK_PATH_NOTE,
        rules="".join([*records, *alerts]).rstrip("\n"),
    )
    return {FILE_PATH: text}


def _render_alert_rule_yaml(definition: AlertDefinition, alert: AlertRule) -> str:
    return render_yaml_template(
        "prometheus_alert",
        name=alert.name,
        expr=_indent_expression(alert.expr),
        for_duration=alert.for_duration,
        severity=alert.severity,
        # A JSON string is a YAML string.
        summary=json.dumps(alert.summary),
        description=json.dumps(alert.description),
        runbook_url=json.dumps(definition.runbook_link(alert.runbook_file_name)),
    )


def _indent_expression(expression: str) -> str:
    return textwrap.indent(expression, " " * 10)
