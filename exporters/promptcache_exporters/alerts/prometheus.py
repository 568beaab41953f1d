"""Recording and alert rules for Prometheus (2.42 or newer), and for what reads its rule files: vmalert, Mimir, Thanos.

After the conventions of monitoring mixins: CamelCase names, severities, summary, description, runbook_url; recorded
series read `level:metric:operation`. Nothing here is a multi-window burn rate: at a target of 50 % no burn can
exceed 2, and the customary factors (14.4, 6) would make rules that cannot fire.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, final

from promptcache.semconv import OUTCOME
from promptcache_exporters.alerts.definition import LONG_WINDOW, AlertDefinition
from promptcache_exporters.alerts.promql import QueryBuilder, label_name, series_name

FILE_PATH: Final = "prometheus/promptcache.rules.yaml"
MIN_CALLS_FOR_UNREPORTED_ALERT: Final = 20
"""Calls in an hour from which on half of them without cached counts is worth a word."""
MIN_READ_SHARE: Final = 0.1
"""The share of written tokens of which fewer were read again: then nobody reads what is written."""
RUNBOOK_PATH_NOTE: Final = (
    "# runbook_url is a path here: `promptcache alerts runbooks --out DIR` writes the pages, to be put where the paged",
    "# can read them; then `--runbooks https://...` makes links to there.",
)
WRITE_TOKENS_RECORD: Final = f"promptcache_write_tokens:increase{LONG_WINDOW}"


@final
@dataclass(frozen=True, slots=True)
class AlertRule:
    """One alert rule. `about` is its runbook's file name; `summary` and `description` are Prometheus templates."""

    name: str
    severity: str
    for_duration: str
    expr: str
    summary: str
    description: str

    @property
    def runbook(self) -> str:
        """The file name of its runbook: `PromptCacheHitRateLow` is `hit-rate-low.md`."""
        words = re.findall("[A-Z][a-z]+", self.name.removeprefix("PromptCache"))
        return f"{'-'.join(words).lower()}.md"


def record_name(query: QueryBuilder, metric_operation: str) -> str:
    """The name of a recorded series, its level being the labels that it keeps."""
    return f"{'_'.join(name.removeprefix('gen_ai_request_') for name in query.group_labels)}:{metric_operation}"


def recording_rules(query: QueryBuilder) -> Iterator[tuple[str, str]]:
    """The recording rules, name and expression, for the short and the long window."""
    for window in dict.fromkeys((query.definition.window, LONG_WINDOW)):
        tokens = record_name(query, f"promptcache_input_tokens:increase{window}")
        read = record_name(query, f"promptcache_read_tokens:increase{window}")
        yield (
            tokens,
            query.sum_increase_since_start("input.tokens", window, query.rated_calls_selector),
        )
        # Where nothing was ever read there may be no such series, and a ratio without its left side is no ratio: the
        # alert would stay silent in exactly the worst case.
        yield (
            read,
            f"{query.sum_increase_since_start('read.tokens', window, query.rated_calls_selector)}\nor\n0 * {tokens}",
        )
        yield record_name(query, f"promptcache_hit:ratio_{window}"), f"{read} / ({tokens} > 0)"
    yield (
        record_name(query, WRITE_TOKENS_RECORD),
        query.sum_increase_since_start("write.tokens", LONG_WINDOW, query.non_batch_selector),
    )


def alert_rules(query: QueryBuilder) -> Iterator[AlertRule]:
    """The alert rules, the page first."""
    yield from _hit_rate_rules(query)
    yield from _telemetry_rules(query)
    yield from _spending_rules(query)


def _hit_rate_rules(query: QueryBuilder) -> Iterator[AlertRule]:
    it = query.definition
    where, target = _group_template(query), f"{it.target * 100:g}%"
    for window, hold, severity in (
        (it.window, it.hold, "critical"),
        (LONG_WINDOW, "15m", "warning"),
    ):
        tokens = record_name(query, f"promptcache_input_tokens:increase{window}")
        yield AlertRule(
            "PromptCacheHitRateLow" if severity == "critical" else "PromptCacheHitRateLowForLong",
            severity,
            hold,
            f"{record_name(query, f'promptcache_hit:ratio_{window}')} < {it.target:g}\nand\n{tokens} >= {it.min_tokens}",
            f"Prompt cache hit rate of {where} is below {target}",
            f"Over the last {window}, {{{{ $value | humanizePercentage }}}} of the input tokens of {where} came from"
            f" the provider's cache; the target is {target}. Every missed token costs the full input price.",
        )
    now, before = (
        record_name(query, f"promptcache_hit:ratio_{LONG_WINDOW}") + offset
        for offset in ("", " offset 1d")
    )
    tokens = record_name(query, f"promptcache_input_tokens:increase{LONG_WINDOW}")
    yield AlertRule(
        "PromptCacheHitRateDropped",
        "warning",
        "15m",
        f"{before} - {now} > {it.drop:g}\nand\n{tokens} >= {it.min_tokens}\nand\n{tokens} offset 1d >= {it.min_tokens}",
        f"Prompt cache hit rate of {where} fell against yesterday",
        f"The hit rate of {where} over the last {LONG_WINDOW} lies {{{{ $value | humanizePercentage }}}} of all input tokens"
        " below that of the same hour of yesterday.",
    )


def _telemetry_rules(query: QueryBuilder) -> Iterator[AlertRule]:
    calls, service = series_name("calls"), (query.service_label,)
    named = f"{{{{ $labels.{query.service_label} }}}}"
    then, now = (
        query.sum_by(f"{calls} offset {LONG_WINDOW}", service, f" offset {LONG_WINDOW}"),
        query.sum_by(calls, service),
    )
    yield AlertRule(
        "PromptCacheTelemetryMissing",
        "warning",
        "10m",
        f"{then}\nunless\n{now}",
        f"{named} no longer reports its prompt cache",
        f"{named} reported calls an hour ago and reports none of its series now: no alert on its hit rate can fire.",
    )
    unreported, total = (
        query.sum_increase_since_start("calls", LONG_WINDOW, sel)
        for sel in (f'{label_name(OUTCOME)}="unreported"', "")
    )
    where = _group_template(query)
    yield AlertRule(
        "PromptCacheUsageUnreported",
        "warning",
        "15m",
        f"{unreported}\n/\n({total} >= {MIN_CALLS_FOR_UNREPORTED_ALERT}) > 0.5",
        f"Most calls of {where} report no cached tokens",
        f"{{{{ $value | humanizePercentage }}}} of the calls of {where} in the last {LONG_WINDOW} ended without cached token"
        " counts, so the hit rate does not see them.",
    )


def _spending_rules(query: QueryBuilder) -> Iterator[AlertRule]:
    it, where = query.definition, _group_template(query)
    yield AlertRule(
        "PromptCacheWasteAboveBudget",
        "warning",
        "5m",
        f"{query.sum_increase_since_start('wasted.usd', LONG_WINDOW)} > {it.budget:g}",
        f"Prompt cache misses of {where} waste more than {it.budget:g} USD an hour",
        f'In the last {LONG_WINDOW} {where} paid {{{{ $value | printf "%.2f" }}}} USD too much for tokens that the'
        " provider's cache could have served.",
    )
    written, read = (
        record_name(query, WRITE_TOKENS_RECORD),
        query.sum_increase_since_start("read.tokens", LONG_WINDOW, query.non_batch_selector),
    )
    yield AlertRule(
        "PromptCacheWritesNeverRead",
        "warning",
        "15m",
        f"{written} >= {it.min_tokens}\nunless\n{read} >= {MIN_READ_SHARE:g} * {written}",
        f"What {where} writes to the prompt cache is hardly ever read",
        f"In the last {LONG_WINDOW} {where} wrote {{{{ $value | humanize }}}} tokens to the provider's cache and read fewer"
        f" than {MIN_READ_SHARE:.0%} as many. Writing costs more than not caching at all.",
    )


def _group_template(query: QueryBuilder) -> str:
    names = (name.removeprefix("key:") for name in query.definition.by)
    return ", ".join(
        f"{name} {{{{ $labels.{label} }}}}"
        for name, label in zip(names, query.group_labels, strict=True)
    )


def files(definition: AlertDefinition) -> dict[str, str]:
    """The rule file, by its path."""
    query = QueryBuilder(definition)
    lines = [
        "# Made by: " + definition.command_line("prometheus"),
        "# Change the options and make it again instead of editing it. Shown to work: tests/alerts_e2e (promtool,",
        "# Prometheus 2.42 and Alertmanager 0.25 end to end, vmalert -dryRun).",
        *(RUNBOOK_PATH_NOTE if "://" not in definition.runbooks else ()),
        "groups:",
        "  - name: promptcache",
        "    rules:",
    ]
    for name, expr in recording_rules(query):
        lines += [f"      - record: {name}", *_block("expr", expr)]
    for alert in alert_rules(query):
        lines += [
            f"      - alert: {alert.name}",
            *_block("expr", alert.expr),
            f"        for: {alert.for_duration}",
        ]
        lines += [
            "        labels:",
            f"          severity: {alert.severity}",
            "        annotations:",
        ]
        notes = {"summary": alert.summary, "description": alert.description}
        notes["runbook_url"] = f"{definition.runbooks.rstrip('/')}/{alert.runbook}"
        lines += [f"          {key}: {json.dumps(text)}" for key, text in notes.items()]
    return {FILE_PATH: "\n".join(lines) + "\n"}


def _block(key: str, text: str) -> list[str]:
    return [f"        {key}: |-", *(f"          {line}" for line in text.splitlines())]
