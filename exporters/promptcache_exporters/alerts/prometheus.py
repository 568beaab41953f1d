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

from promptcache.attributes import OUTCOME
from promptcache_exporters.alerts.definition import LONG, Definition
from promptcache_exporters.alerts.promql import Query, label, series

FILE: Final = "prometheus/promptcache.rules.yaml"
UNREPORTED_CALLS: Final = 20
"""Calls in an hour from which on half of them without cached counts is worth a word."""
READ_SHARE: Final = 0.1
"""The share of written tokens of which fewer were read again: then nobody reads what is written."""
PATHS: Final = (
    "# runbook_url is a path here: `promptcache alerts runbooks --out DIR` writes the pages, to be put where the paged",
    "# can read them; then `--runbooks https://...` makes links to there.",
)
WRITTEN: Final = f"promptcache_write_tokens:increase{LONG}"


@final
@dataclass(frozen=True, slots=True)
class Alert:
    """One alert rule. `about` is its runbook's file name; `summary` and `description` are Prometheus templates."""

    name: str
    severity: str
    hold: str
    expr: str
    summary: str
    description: str

    @property
    def runbook(self) -> str:
        """The file name of its runbook: `PromptCacheHitRateLow` is `hit-rate-low.md`."""
        words = re.findall("[A-Z][a-z]+", self.name.removeprefix("PromptCache"))
        return f"{'-'.join(words).lower()}.md"


def recorded(query: Query, what: str) -> str:
    """The name of a recorded series, its level being the labels that it keeps."""
    return f"{'_'.join(name.removeprefix('gen_ai_request_') for name in query.by)}:{what}"


def records(query: Query) -> Iterator[tuple[str, str]]:
    """The recording rules, name and expression, for the short and the long window."""
    for window in dict.fromkeys((query.definition.window, LONG)):
        tokens = recorded(query, f"promptcache_input_tokens:increase{window}")
        read = recorded(query, f"promptcache_read_tokens:increase{window}")
        yield tokens, query.rise("input.tokens", window, query.judged)
        # Where nothing was ever read there may be no such series, and a ratio without its left side is no ratio: the
        # alert would stay silent in exactly the worst case.
        yield read, f"{query.rise('read.tokens', window, query.judged)}\nor\n0 * {tokens}"
        yield recorded(query, f"promptcache_hit:ratio_{window}"), f"{read} / ({tokens} > 0)"
    yield recorded(query, WRITTEN), query.rise("write.tokens", LONG, query.regular)


def alerts(query: Query) -> Iterator[Alert]:
    """The alert rules, the page first."""
    yield from _low(query)
    yield from _telemetry(query)
    yield from _money(query)


def _low(query: Query) -> Iterator[Alert]:
    it = query.definition
    where, target = _where(query), f"{it.target * 100:g}%"
    for window, hold, severity in ((it.window, it.hold, "critical"), (LONG, "15m", "warning")):
        tokens = recorded(query, f"promptcache_input_tokens:increase{window}")
        yield Alert(
            "PromptCacheHitRateLow" if severity == "critical" else "PromptCacheHitRateLowForLong",
            severity,
            hold,
            f"{recorded(query, f'promptcache_hit:ratio_{window}')} < {it.target:g}\nand\n{tokens} >= {it.min_tokens}",
            f"Prompt cache hit rate of {where} is below {target}",
            f"Over the last {window}, {{{{ $value | humanizePercentage }}}} of the input tokens of {where} came from"
            f" the provider's cache; the target is {target}. Every missed token costs the full input price.",
        )
    now, before = (
        recorded(query, f"promptcache_hit:ratio_{LONG}") + offset for offset in ("", " offset 1d")
    )
    tokens = recorded(query, f"promptcache_input_tokens:increase{LONG}")
    yield Alert(
        "PromptCacheHitRateDropped",
        "warning",
        "15m",
        f"{before} - {now} > {it.drop:g}\nand\n{tokens} >= {it.min_tokens}\nand\n{tokens} offset 1d >= {it.min_tokens}",
        f"Prompt cache hit rate of {where} fell against yesterday",
        f"The hit rate of {where} over the last {LONG} lies {{{{ $value | humanizePercentage }}}} of all input tokens"
        " below that of the same hour of yesterday.",
    )


def _telemetry(query: Query) -> Iterator[Alert]:
    calls, service = series("calls"), (query.service,)
    named = f"{{{{ $labels.{query.service} }}}}"
    then, now = (
        query.sum(f"{calls} offset {LONG}", service, f" offset {LONG}"),
        query.sum(calls, service),
    )
    yield Alert(
        "PromptCacheTelemetryMissing",
        "warning",
        "10m",
        f"{then}\nunless\n{now}",
        f"{named} no longer reports its prompt cache",
        f"{named} reported calls an hour ago and reports none of its series now: no alert on its hit rate can fire.",
    )
    unreported, total = (
        query.rise("calls", LONG, sel) for sel in (f'{label(OUTCOME)}="unreported"', "")
    )
    where = _where(query)
    yield Alert(
        "PromptCacheUsageUnreported",
        "warning",
        "15m",
        f"{unreported}\n/\n({total} >= {UNREPORTED_CALLS}) > 0.5",
        f"Most calls of {where} report no cached tokens",
        f"{{{{ $value | humanizePercentage }}}} of the calls of {where} in the last {LONG} ended without cached token"
        " counts, so the hit rate does not see them.",
    )


def _money(query: Query) -> Iterator[Alert]:
    it, where = query.definition, _where(query)
    yield Alert(
        "PromptCacheWasteAboveBudget",
        "warning",
        "5m",
        f"{query.rise('wasted.usd', LONG)} > {it.budget:g}",
        f"Prompt cache misses of {where} waste more than {it.budget:g} USD an hour",
        f'In the last {LONG} {where} paid {{{{ $value | printf "%.2f" }}}} USD too much for tokens that the'
        " provider's cache could have served.",
    )
    written, read = recorded(query, WRITTEN), query.rise("read.tokens", LONG, query.regular)
    yield Alert(
        "PromptCacheWritesNeverRead",
        "warning",
        "15m",
        f"{written} >= {it.min_tokens}\nunless\n{read} >= {READ_SHARE:g} * {written}",
        f"What {where} writes to the prompt cache is hardly ever read",
        f"In the last {LONG} {where} wrote {{{{ $value | humanize }}}} tokens to the provider's cache and read fewer"
        f" than {READ_SHARE:.0%} as many. Writing costs more than not caching at all.",
    )


def _where(query: Query) -> str:
    names = (name.removeprefix("key:") for name in query.definition.by)
    return ", ".join(
        f"{name} {{{{ $labels.{label} }}}}" for name, label in zip(names, query.by, strict=True)
    )


def files(definition: Definition) -> dict[str, str]:
    """The rule file, by its path."""
    query = Query(definition)
    lines = [
        "# Made by: " + definition.command("prometheus"),
        "# Change the options and make it again instead of editing it. Shown to work: tests/alerts_e2e (promtool,",
        "# Prometheus 2.42 and Alertmanager 0.25 end to end, vmalert -dryRun).",
        *(PATHS if "://" not in definition.runbooks else ()),
        "groups:",
        "  - name: promptcache",
        "    rules:",
    ]
    for name, expr in records(query):
        lines += [f"      - record: {name}", *_block("expr", expr)]
    for alert in alerts(query):
        lines += [
            f"      - alert: {alert.name}",
            *_block("expr", alert.expr),
            f"        for: {alert.hold}",
        ]
        lines += [
            "        labels:",
            f"          severity: {alert.severity}",
            "        annotations:",
        ]
        notes = {"summary": alert.summary, "description": alert.description}
        notes["runbook_url"] = f"{definition.runbooks.rstrip('/')}/{alert.runbook}"
        lines += [f"          {key}: {json.dumps(text)}" for key, text in notes.items()]
    return {FILE: "\n".join(lines) + "\n"}


def _block(key: str, text: str) -> list[str]:
    return [f"        {key}: |-", *(f"          {line}" for line in text.splitlines())]
