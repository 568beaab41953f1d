"""A Grafana dashboard: hit rate, tokens, costs, outcomes, time to the first chunk, call sites.

The Grafana Foundation SDK (extra `alerts`) builds it. The SDK has the types of Grafana 10.1, and
newer versions of Grafana read the result. Counters know no call sites and no prefixes; those tables
read the view `promptcache_calls` in ClickHouse. tests/alerts_e2e runs every other query on a real
Prometheus, and `make engines` the SQL on ClickHouse's engine.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, final

from promptcache.semconv import (
    GEN_AI_REQUEST_MODEL,
    MISS_REASON,
    OUTCOME,
)
from promptcache_exporters.alerts.definition import AlertDefinition
from promptcache_exporters.alerts.promql import (
    PromQLQueryBuilder,
    prometheus_label_name,
    prometheus_series_name,
)
from promptcache_exporters.database.clickhouse_view import VIEW_NAME
from promptcache_exporters.database.dialect import CLICKHOUSE, PICODOLLARS_PER_USD
from promptcache_exporters.report.call_field import GroupBy
from promptcache_exporters.report.figures import (
    FIGURES,
    figure_expression,
    group_key_expression,
)

FILE_PATH: Final = "grafana/promptcache.json"
MODEL_MATCHER: Final = f'{prometheus_label_name(GEN_AI_REQUEST_MODEL)}=~"$model"'
RATE_WINDOW: Final = "$__rate_interval"
CLICKHOUSE_PLUGIN: Final = "grafana-clickhouse-datasource"
_ROWS_OF_TABLE: Final = 20


@final
@dataclass(frozen=True, slots=True)
class PanelSpec:
    """One panel: `queries` are pairs of a legend and an expression."""

    title: str
    description: str
    unit: str
    queries: tuple[tuple[str, str], ...]
    is_stacked: bool = False


def prometheus_panel_specs(definition: AlertDefinition) -> Iterator[PanelSpec]:
    """Yield the panels with queries for Prometheus."""
    query = PromQLQueryBuilder(definition, '=~"$service"')
    yield from _hit_rate_and_token_panels(query)
    yield from _cost_panels(query)
    yield _time_to_first_chunk_panel(query)
    yield _unreported_and_unpriced_calls_panel(query)


def _hit_rate_and_token_panels(query_builder: PromQLQueryBuilder) -> Iterator[PanelSpec]:
    rated_calls = f"{query_builder.hit_rate_calls_selector}, {MODEL_MATCHER}"
    read, tokens = (
        query_builder.sum_increase(f"{name}.tokens", RATE_WINDOW, rated_calls)
        for name in ("read", "input")
    )
    legend = ", ".join(f"{{{{{name}}}}}" for name in query_builder.group_by_labels)
    excluded_outcomes = ", ".join(query_builder.definition.hit_rate_excluded_outcomes)
    yield PanelSpec(
        "Hit rate",
        "Input tokens read from the provider's cache, of all input tokens: a ratio of sums. Calls"
        f" with outcome {excluded_outcomes} and batch results are left out.",
        "percentunit",
        ((legend, f"({read} or 0 * {tokens}) / ({tokens} > 0)"),),
    )
    outcome = (prometheus_label_name(OUTCOME),)
    yield PanelSpec(
        "Calls by outcome",
        "Calls by the outcome of their prefix: read from the cache or not.",
        "short",
        (
            (
                f"{{{{{outcome[0]}}}}}",
                query_builder.sum_increase("calls", RATE_WINDOW, MODEL_MATCHER, outcome),
            ),
        ),
        is_stacked=True,
    )
    total, reads, writes = (
        query_builder.sum_increase(f"{name}.tokens", RATE_WINDOW, MODEL_MATCHER, ())
        for name in ("input", "read", "write")
    )
    plain = f"clamp_min({total} - ({reads} or vector(0)) - ({writes} or vector(0)), 0)"
    yield PanelSpec(
        "Input tokens by class",
        "Read from the cache, written to it, or neither: together all input tokens.",
        "short",
        (("read", reads), ("written", writes), ("uncached", plain)),
        is_stacked=True,
    )


def _cost_panels(query_builder: PromQLQueryBuilder) -> Iterator[PanelSpec]:
    names = prometheus_series_name("cost.usd"), prometheus_series_name("cost_without_cache.usd")
    cost, without = (
        query_builder.sum_range_function("3600 * rate", name, RATE_WINDOW, MODEL_MATCHER, ())
        for name in names
    )
    yield PanelSpec(
        "Cost an hour",
        "What the priced calls cost, and what they would have cost without a cache.",
        "currencyUSD",
        (("with cache", cost), ("without cache", without)),
    )
    reason = prometheus_label_name(MISS_REASON)
    wasted = query_builder.sum_range_function(
        "3600 * rate", prometheus_series_name("wasted.usd"), RATE_WINDOW, MODEL_MATCHER, (reason,)
    )
    total_wasted = query_builder.sum_range_function(
        "3600 * rate", prometheus_series_name("wasted.usd"), RATE_WINDOW, MODEL_MATCHER, ()
    )
    yield PanelSpec(
        "Saved and wasted an hour",
        "Saved: how much less the calls cost than without a cache. Wasted: how much more they cost"
        " because of avoidable misses.",
        "currencyUSD",
        (("saved", f"{without} - {cost}"), ("wasted", total_wasted)),
    )
    yield PanelSpec(
        "Waste by cause, an hour",
        "What avoidable misses cost, by miss reason.",
        "currencyUSD",
        ((f"{{{{{reason}}}}}", wasted),),
        is_stacked=True,
    )


def _time_to_first_chunk_panel(query_builder: PromQLQueryBuilder) -> PanelSpec:
    labels = ("le", prometheus_label_name(OUTCOME))
    where = f'{prometheus_label_name(OUTCOME)}=~"hit|partial|miss|cold", {MODEL_MATCHER}'
    rates = query_builder.sum_range_function(
        "rate",
        f"{prometheus_series_name('time_to_first_chunk')}_bucket",
        RATE_WINDOW,
        where,
        labels,
    )
    shares = ((0.5, "p50"), (0.95, "p95"))
    queries = (
        (f"{{{{{labels[1]}}}}} {name}", f"histogram_quantile({share}, {rates})")
        for share, name in shares
    )
    description = "How long users wait for the start of a streamed answer, by outcome of the call."
    return PanelSpec("Time to the first chunk", description, "s", tuple(queries))


def _unreported_and_unpriced_calls_panel(query_builder: PromQLQueryBuilder) -> PanelSpec:
    unreported = f'{prometheus_label_name(OUTCOME)}="unreported", {MODEL_MATCHER}'
    return PanelSpec(
        "Calls that the figures leave out",
        "The hit rate leaves out calls without cached token counts. The cost leaves out calls"
        " without a price.",
        "short",
        (
            ("unreported", query_builder.sum_increase("calls", RATE_WINDOW, unreported, ())),
            (
                "unpriced",
                query_builder.sum_increase("unpriced.calls", RATE_WINDOW, MODEL_MATCHER, ()),
            ),
        ),
    )


def clickhouse_table_queries() -> dict[str, tuple[str, str]]:
    """Return the description and the SQL of each table, by its title.

    Grafana replaces `$__from` and `$__to` (milliseconds) and the variables of the dashboard.
    """
    return {
        "Call sites": (
            "The lines of code whose calls wasted most, from ClickHouse.",
            _table_sql(GroupBy.CALLSITE, "call_site", "wasted_usd"),
        ),
        "Prefixes with most missed tokens": (
            "The hashes of prefixes whose calls missed most tokens, from ClickHouse.",
            _table_sql(GroupBy.PREFIX, "prefix", "missed_tokens"),
        ),
    }


def _table_sql(by: GroupBy, key_name: str, order: str) -> str:
    figure = {name: figure_expression(name, CLICKHOUSE) for name in FIGURES}
    columns = {
        key_name: group_key_expression(by, CLICKHOUSE),
        "calls": figure["total_calls"],
        "hit_rate": f"{figure['rated_read_tokens']} / {figure['rated_input_tokens']}",
        "missed_tokens": figure["total_missed_tokens"],
        "saved_usd": f"{figure['saved_picodollars']} / {PICODOLLARS_PER_USD}",
        "wasted_usd": f"{figure['wasted_picodollars']} / {PICODOLLARS_PER_USD}",
    }
    # An alias that is a column would be read for the column, so they are named outside.
    inner = ",\n    ".join(f"{sql} AS shown_{name}" for name, sql in columns.items())
    outer = ", ".join(f"shown_{name} AS {name}" for name in columns)
    model = group_key_expression(GroupBy.MODEL, CLICKHOUSE)
    return f"""SELECT {outer} FROM (
SELECT
    {inner}
FROM {VIEW_NAME}
WHERE time >= $__from / 1000 AND time < $__to / 1000
    AND match(coalesce(service, ''), '^(?:${{service:pipe}})$')
    AND match(coalesce({model}, ''), '^(?:${{model:pipe}})$')
GROUP BY 1
) ORDER BY shown_{order} DESC NULLS LAST, shown_{key_name} LIMIT {_ROWS_OF_TABLE}"""  # noqa: S608  # our own names


def render_files_by_path(definition: AlertDefinition) -> dict[str, str]:
    """Return the dashboard, text by path. Raises ModuleNotFoundError without the extra."""
    from grafana_foundation_sdk.cog.encoder import JSONEncoder

    board = json.loads(
        JSONEncoder().encode(_build_dashboard(definition)), object_hook=_drop_null_options
    )
    for panel in board["panels"]:
        if panel["datasource"]["type"] == CLICKHOUSE_PLUGIN:  # the SDK does not know this plugin
            _, sql = clickhouse_table_queries()[panel["title"]]
            panel["targets"] = [
                {
                    "datasource": panel["datasource"],
                    "editorType": "sql",
                    "format": 1,
                    "queryType": "table",
                    "rawSql": sql,
                    "refId": "A",
                }
            ]
    return {FILE_PATH: json.dumps(board, indent=2, sort_keys=True) + "\n"}


def _drop_null_options(json_object: dict[str, Any]) -> dict[str, Any]:
    """Drop `options` that are null. Other nulls have a meaning, as in the first threshold."""
    return {
        key: value for key, value in json_object.items() if not (key == "options" and value is None)
    }


def _build_dashboard(definition: AlertDefinition) -> Any:
    board = _build_empty_dashboard(definition)
    panels = [
        _build_timeseries_panel(spec, definition.target)
        for spec in prometheus_panel_specs(definition)
    ]
    tables = [
        _build_table_panel(title, description)
        for title, (description, _) in clickhouse_table_queries().items()
    ]
    for number, panel in enumerate([*panels, *tables], 1):
        board.with_panel(panel.id(number))
    return board.build()


def _build_empty_dashboard(definition: AlertDefinition) -> Any:
    from grafana_foundation_sdk.builders import dashboard

    query = PromQLQueryBuilder(definition)
    source = {
        "job": prometheus_series_name("calls"),
        "service_name": prometheus_series_name("calls"),
        "target_info": "target_info",
    }[definition.labels]
    return (
        dashboard.Dashboard("Prompt cache")
        .uid("promptcache")
        .description(f"Made by: {definition.generating_command_line('grafana')}")
        .tags(["llm", "promptcache"])
        .refresh("1m")
        .time("now-6h", "now")
        .with_variable(
            dashboard.DatasourceVariable("metrics").label("Prometheus").type("prometheus")
        )
        .with_variable(
            dashboard.DatasourceVariable("calls").label("ClickHouse").type(CLICKHOUSE_PLUGIN)
        )
        .with_variable(
            _build_prometheus_variable(
                "service", f"label_values({source}, {query.service_name_label})"
            )
        )
        .with_variable(
            _build_prometheus_variable(
                "model",
                f"label_values({prometheus_series_name('calls')},"
                f" {prometheus_label_name(GEN_AI_REQUEST_MODEL)})",
            )
        )
    )


def _build_prometheus_variable(name: str, label_values_query: str) -> Any:
    from grafana_foundation_sdk.builders import dashboard
    from grafana_foundation_sdk.models.dashboard import (
        DataSourceRef,
        VariableOption,
        VariableRefresh,
    )

    all_values = VariableOption(text="All", value="$__all", selected=True)
    return (
        dashboard.QueryVariable(name)
        .label(name.title())
        .query(label_values_query)
        .datasource(DataSourceRef("prometheus", "${metrics}"))
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(all_values)
    )


def _build_timeseries_panel(spec: PanelSpec, hit_rate_target: float) -> Any:
    from grafana_foundation_sdk.builders import common, dashboard, prometheus, timeseries
    from grafana_foundation_sdk.models import common as modes
    from grafana_foundation_sdk.models import dashboard as models

    panel = (
        timeseries.Panel()
        .title(spec.title)
        .description(spec.description)
        .unit(spec.unit)
        .height(8)
        .span(12)
        .min(0)
    )
    panel.datasource(models.DataSourceRef("prometheus", "${metrics}"))
    for number, (legend, expr) in enumerate(spec.queries):
        panel.with_target(
            prometheus.Dataquery().expr(expr).legend_format(legend).range().ref_id("ABCDEF"[number])
        )
    if spec.is_stacked:
        panel.stacking(common.StackingConfig().mode(modes.StackingMode.NORMAL)).fill_opacity(40)
    if spec.unit == "percentunit":
        steps = [models.Threshold(None, "red"), models.Threshold(hit_rate_target, "green")]
        panel.max(1).thresholds(
            dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps)
        )
        panel.thresholds_style(
            common.GraphThresholdsStyleConfig().mode(modes.GraphTresholdsStyleMode.DASHED)
        )
    return panel


def _build_table_panel(title: str, description: str) -> Any:
    from grafana_foundation_sdk.builders import table
    from grafana_foundation_sdk.models.dashboard import DataSourceRef

    panel = table.Panel().title(title).description(description).unit("short").height(8).span(12)
    return panel.datasource(DataSourceRef(CLICKHOUSE_PLUGIN, "${calls}"))
