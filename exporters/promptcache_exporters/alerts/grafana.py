"""A Grafana dashboard: hit rate, tokens, money, outcomes, time to the first chunk, the prefixes that miss most.

Made with the Grafana Foundation SDK (extra `alerts`), which types the model of Grafana 10.1; newer ones read it. Every
query is run against a real Prometheus by tests/alerts_e2e, save that of the prefixes, which asks Tempo.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, final

from promptcache.attributes import MISS_REASON, MISSED_TOKENS, OUTCOME, PREFIX_HASH, REQUEST_MODEL
from promptcache_exporters.alerts.definition import Definition
from promptcache_exporters.alerts.promql import Query, label, series

FILE: Final = "grafana/promptcache.json"
MODEL: Final = f'{label(REQUEST_MODEL)}=~"$model"'
WINDOW: Final = "$__rate_interval"
NOT_RUN: Final = (
    "Not run live by promptcache's tests. Needs Tempo 2.8 or newer with TraceQL metrics (written from"
    " grafana.com/docs/tempo/latest/metrics-from-traces/metrics-queries/functions); with Jaeger see docs/jaeger.md."
)


@final
@dataclass(frozen=True, slots=True)
class View:
    """One panel: `queries` are pairs of a legend and an expression."""

    title: str
    about: str
    unit: str
    queries: tuple[tuple[str, str], ...]
    stacked: bool = False


def views(definition: Definition) -> Iterator[View]:
    """The panels that ask Prometheus."""
    query = Query(definition, '=~"$service"')
    yield from _rates(query)
    yield from _money(query)
    yield _first_chunk(query)
    yield _blind(query)


def _rates(query: Query) -> Iterator[View]:
    judged = f"{query.judged}, {MODEL}"
    read, tokens = (query.increase(f"{name}.tokens", WINDOW, judged) for name in ("read", "input"))
    legend = ", ".join(f"{{{{{name}}}}}" for name in query.by)
    yield View(
        "Hit rate",
        "Input tokens read from the provider's cache, of all input tokens: a ratio of sums. Calls"
        f" with outcome {', '.join(query.definition.left_out)} and batch results are left out.",
        "percentunit",
        ((legend, f"({read} or 0 * {tokens}) / ({tokens} > 0)"),),
    )
    outcome = (label(OUTCOME),)
    yield View(
        "Calls by outcome",
        "What became of each call's prefix.",
        "short",
        ((f"{{{{{outcome[0]}}}}}", query.increase("calls", WINDOW, MODEL, outcome)),),
        stacked=True,
    )
    total, reads, writes = (
        query.increase(f"{name}.tokens", WINDOW, MODEL, ()) for name in ("input", "read", "write")
    )
    plain = f"clamp_min({total} - ({reads} or vector(0)) - ({writes} or vector(0)), 0)"
    yield View(
        "Input tokens by class",
        "Read from the cache, written to it, or neither: together all input tokens.",
        "short",
        (("read", reads), ("written", writes), ("uncached", plain)),
        stacked=True,
    )


def _money(query: Query) -> Iterator[View]:
    names = series("cost.usd"), series("cost_without_cache.usd")
    cost, without = (query.over("3600 * rate", name, WINDOW, MODEL, ()) for name in names)
    yield View(
        "Cost an hour",
        "What the priced calls cost, and what they would have cost without a cache.",
        "currencyUSD",
        (("with cache", cost), ("without cache", without)),
    )
    reason = label(MISS_REASON)
    wasted = query.over("3600 * rate", series("wasted.usd"), WINDOW, MODEL, (reason,))
    yield View(
        "Saved and wasted an hour",
        "Saved is what the cache took off the bill; wasted is what misses that could"
        " have been hits put on it, by their cause.",
        "currencyUSD",
        (("saved", f"{without} - {cost}"), (f"wasted: {{{{{reason}}}}}", wasted)),
    )


def _first_chunk(query: Query) -> View:
    labels = ("le", label(OUTCOME))
    where = f'{label(OUTCOME)}=~"hit|partial|miss|cold", {MODEL}'
    rates = query.over("rate", f"{series('time_to_first_chunk')}_bucket", WINDOW, where, labels)
    shares = ((0.5, "p50"), (0.95, "p95"))
    queries = (
        (f"{{{{{labels[1]}}}}} {name}", f"histogram_quantile({share}, {rates})")
        for share, name in shares
    )
    about = "What a hit is worth to those who wait: streamed calls by outcome."
    return View("Time to the first chunk", about, "s", tuple(queries))


def _blind(query: Query) -> View:
    unreported = f'{label(OUTCOME)}="unreported", {MODEL}'
    return View(
        "What these figures do not see",
        "Calls without cached counts are missing from the hit rate, unpriced ones from the cost.",
        "short",
        (
            ("unreported", query.increase("calls", WINDOW, unreported, ())),
            ("unpriced", query.increase("unpriced.calls", WINDOW, MODEL, ())),
        ),
    )


def prefixes() -> str:
    """The query for the prefixes that miss most, in TraceQL."""
    missing = f'{{ span.{OUTCOME} =~ "miss|cold|partial" }}'
    return f"{missing} | sum_over_time(span.{MISSED_TOKENS}) by (span.{PREFIX_HASH}) | topk(10)"


def files(definition: Definition) -> dict[str, str]:
    """The dashboard, by its path. Raises ModuleNotFoundError without the extra."""
    from grafana_foundation_sdk.cog.encoder import JSONEncoder

    board = json.loads(JSONEncoder().encode(_dashboard(definition)), object_hook=_said)
    return {FILE: json.dumps(board, indent=2, sort_keys=True) + "\n"}


def _said(found: dict[str, Any]) -> dict[str, Any]:
    """An object without the options that nobody set; the null of a first threshold, in turn, means something."""
    return {key: value for key, value in found.items() if not (key == "options" and value is None)}


def _dashboard(definition: Definition) -> Any:
    from grafana_foundation_sdk.builders import dashboard

    query = Query(definition)
    source = {
        "job": series("calls"),
        "service_name": series("calls"),
        "target_info": "target_info",
    }[definition.labels]
    board = (
        dashboard.Dashboard("Prompt cache")
        .uid("promptcache")
        .description(f"Made by: {definition.command('grafana')}")
        .tags(["llm", "promptcache"])
        .refresh("1m")
        .time("now-6h", "now")
        .with_variable(
            dashboard.DatasourceVariable("metrics").label("Prometheus").type("prometheus")
        )
        .with_variable(dashboard.DatasourceVariable("traces").label("Tempo").type("tempo"))
        .with_variable(_choice("service", f"label_values({source}, {query.service})"))
        .with_variable(_choice("model", f"label_values({series('calls')}, {label(REQUEST_MODEL)})"))
    )
    panels = [_panel(view, definition.target) for view in views(definition)]
    for number, panel in enumerate([*panels, _prefixes()], 1):
        board.with_panel(panel.id(number))
    return board.build()


def _choice(name: str, values: str) -> Any:
    from grafana_foundation_sdk.builders import dashboard
    from grafana_foundation_sdk.models.dashboard import (
        DataSourceRef,
        VariableOption,
        VariableRefresh,
    )

    everything = VariableOption(text="All", value="$__all", selected=True)
    return (
        dashboard.QueryVariable(name)
        .label(name.title())
        .query(values)
        .datasource(DataSourceRef("prometheus", "${metrics}"))
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(everything)
    )


def _panel(view: View, target: float) -> Any:
    from grafana_foundation_sdk.builders import common, dashboard, prometheus, timeseries
    from grafana_foundation_sdk.models import common as modes
    from grafana_foundation_sdk.models import dashboard as models

    panel = (
        timeseries.Panel()
        .title(view.title)
        .description(view.about)
        .unit(view.unit)
        .height(8)
        .span(12)
        .min(0)
    )
    panel.datasource(models.DataSourceRef("prometheus", "${metrics}"))
    for number, (legend, expr) in enumerate(view.queries):
        panel.with_target(
            prometheus.Dataquery().expr(expr).legend_format(legend).range().ref_id("ABCDEF"[number])
        )
    if view.stacked:
        panel.stacking(common.StackingConfig().mode(modes.StackingMode.NORMAL)).fill_opacity(40)
    if view.unit == "percentunit":
        steps = [models.Threshold(None, "red"), models.Threshold(target, "green")]
        panel.max(1).thresholds(
            dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps)
        )
        panel.thresholds_style(
            common.GraphThresholdsStyleConfig().mode(modes.GraphTresholdsStyleMode.DASHED)
        )
    return panel


def _prefixes() -> Any:
    from grafana_foundation_sdk.builders import table, tempo
    from grafana_foundation_sdk.models.dashboard import DataSourceRef

    asked = tempo.TempoQuery().query(prefixes()).query_type("traceql").ref_id("A")
    panel = (
        table.Panel()
        .title("Prefixes that miss most")
        .description(f"Missed tokens by prefix hash. {NOT_RUN}")
    )
    return (
        panel.datasource(DataSourceRef("tempo", "${traces}"))
        .unit("short")
        .height(8)
        .span(12)
        .with_target(asked)
    )
