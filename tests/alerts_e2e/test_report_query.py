"""A real Prometheus gives the figures of the local table from the counters of the same calls."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

import anthropic
import openai
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from typer.testing import CliRunner

from promptcache import PromptCacheInstrumentor, Settings
from promptcache.cli.commands import app
from promptcache_exporters.alerts.counter_figures import COUNTER_GROUPS, figures_of_counters
from promptcache_exporters.alerts.promql import prometheus_label_name, prometheus_series_name
from promptcache_exporters.database.dialect import PICODOLLARS_PER_USD
from promptcache_exporters.database.query import fetch_rows_by_name
from promptcache_exporters.database.source import find_calls_source
from promptcache_exporters.database.sqlite_exporter import SQLiteSpanExporter
from promptcache_exporters.report.call_field import GroupBy
from promptcache_exporters.report.figures import FIGURES
from promptcache_exporters.report.sql import figures_by_group_sql
from tests.alerts_e2e.local_services import free_port, get_json, running_program, wait_until
from tests.alerts_e2e.programs import find_program
from tests.support.call_shapes import HTTP
from tests.support.mock_calls import REPLY

START: Final = 1_790_000_000
DAY: Final = 86_400
LONG_TEXT: Final = "A rule that every clerk must know by heart. " * 300
CACHED: Final[dict[str, Any]] = {"prompt_tokens_details": {"cached_tokens": 3072}}
UNCACHED: Final[dict[str, Any]] = {"prompt_tokens_details": {"cached_tokens": 0}}


class Sample(NamedTuple):
    """One value of a counter."""

    series: str
    labels: Mapping[str, str]
    value: float


class Service:
    """A service whose calls reach the table only after `begin_window`; its counters know all."""

    def __init__(self, name: str, table: Path, emulator_url: str) -> None:
        self.name, self._table, self._emulator_url = name, table, emulator_url
        self._spans, self._reader = InMemorySpanExporter(), InMemoryMetricReader()
        resource = Resource({"service.name": name})
        self._tracers = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._tracers.add_span_processor(SimpleSpanProcessor(self._spans))
        self._meters = MeterProvider([self._reader], resource, shutdown_on_exit=False)

    def __enter__(self) -> Service:
        PromptCacheInstrumentor().instrument(
            tracer_provider=self._tracers, meter_provider=self._meters, settings=Settings()
        )
        return self

    def __exit__(self, *error: object) -> None:
        PromptCacheInstrumentor().uninstrument()

    def begin_window(self) -> list[Sample]:
        """Forget the spans, and return the counters."""
        self._spans.clear()
        return self.read_counters()

    def end_window(self) -> list[Sample]:
        """Write the spans into the table, and return the counters."""
        SQLiteSpanExporter(self._table).export(self._spans.get_finished_spans())
        return self.read_counters()

    def read_counters(self) -> list[Sample]:
        data: Any = self._reader.get_metrics_data()
        return [
            Sample(
                prometheus_series_name(metric.name.removeprefix("promptcache.")),
                {"job": self.name}
                | {
                    prometheus_label_name(key): json.dumps(value)
                    if value in (True, False)
                    else value
                    for key, value in point.attributes.items()
                },
                point.value,
            )
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name.startswith("promptcache.")
            for point in metric.data.data_points
            if hasattr(point, "value")
        ]

    def call(self, model: str, usage: dict[str, Any] | None, text: str = LONG_TEXT) -> None:
        """Make one call of OpenAI that reports `usage`; without usage it fails."""
        reply = {**REPLY, "model": model, "usage": {**REPLY["usage"], **(usage or {})}}
        status = 200
        if usage is None:
            reply, status = {"error": {"message": "no", "type": "invalid_request_error"}}, 400

        def handle_request(_: Any) -> Any:
            return HTTP.Response(status, json=reply)

        transport = HTTP.MockTransport(handle_request)
        client = openai.OpenAI(api_key="k", http_client=HTTP.Client(transport=transport))
        messages: Any = [{"role": "user", "content": text}]
        try:
            client.chat.completions.create(model=model, messages=messages)
        except openai.BadRequestError:
            assert usage is None

    def read_batch(self) -> None:
        """Read the results of a batch of Anthropic, whose prompt was not written before."""
        prompt = f"{self.name} {len(self._spans.get_finished_spans())} {LONG_TEXT}"
        client = anthropic.Anthropic(api_key="k", base_url=self._emulator_url)
        params: Any = {
            "model": "claude-sonnet-4-6",
            "max_tokens": 9,
            "system": [{"type": "text", "text": prompt, "cache_control": {"type": "ephemeral"}}],
            "messages": [{"role": "user", "content": "Hello"}],
        }
        requests: Any = [{"custom_id": f"c{number}", "params": params} for number in range(2)]
        batch = client.messages.batches.create(requests=requests)
        assert len([*client.messages.batches.results(batch.id)]) == 2

    def work(self) -> None:
        """Make hits, misses, unreported, failed, unpriced and batch calls."""
        for usage in (UNCACHED, CACHED, UNCACHED, CACHED):
            self.call("gpt-5.4", usage)
        self.call("gpt-5.4-mini", CACHED, "other " * 4000)
        self.call("gpt-5.4", {})
        self.call("gpt-5.4", None)
        self.call("model-of-the-house", CACHED)
        self.read_batch()


def render_openmetrics(times_and_samples: list[tuple[int, list[Sample]]]) -> str:
    lines: list[str] = []
    families: dict[str, list[str]] = {}
    for at, samples in times_and_samples:
        for series, labels, value in samples:
            text = ",".join(f"{key}={json.dumps(label)}" for key, label in labels.items())
            families.setdefault(series, []).append(f"{series}{{{text}}} {value!r} {at}")
    for series, rows in families.items():
        lines += [f"# TYPE {series.removesuffix('_total')} counter", *sorted(rows)]
    return "\n".join([*lines, "# EOF"]) + "\n"


@pytest.fixture(scope="module")
def table_and_prometheus(
    tmp_path_factory: pytest.TempPathFactory, served: str
) -> Iterator[tuple[Path, str]]:
    """The calls of one day in a table, and their counters in a Prometheus.

    `shop` worked before the day too, `desk` began and ended during the day.
    """
    folder = tmp_path_factory.mktemp("counters")
    table = folder / "calls.db"
    with Service("shop", table, served) as shop:
        shop.work()
        before = shop.begin_window()
        shop.call("gpt-5.4", CACHED)
        shop.work()
        after = shop.end_window()
    with Service("desk", table, served) as desk:
        desk.work()
        ended = desk.end_window()
    samples = [(START, before), (START + 7000, ended), (START + DAY, after)]
    (folder / "samples.txt").write_text(render_openmetrics(samples))
    fill = [find_program("promtool"), "tsdb", "create-blocks-from", "openmetrics"]
    subprocess.run(
        [*fill, "samples.txt", "data"], cwd=folder, check=True, capture_output=True, timeout=60
    )
    (folder / "prometheus.yml").write_text("{}")
    address = f"127.0.0.1:{free_port()}"
    flags = ["--config.file=prometheus.yml", "--storage.tsdb.path=data"]
    flags += ["--storage.tsdb.retention.time=100y", f"--web.listen-address={address}"]
    with running_program(folder / "log", find_program("prometheus"), *flags, folder=folder):
        url = f"http://{address}"
        wait_until(
            "Prometheus answers", lambda: bool(get_json(f"{url}/api/v1/status/buildinfo")), 20
        )
        yield table, url


def figures_of_table(path: Path, by: GroupBy) -> dict[str, dict[str, float]]:
    """Return the figures that counters have by group. A counter has 0 for "not reported"."""
    source = find_calls_source(path)
    with source.open() as connection:
        statement = figures_by_group_sql(by, source.dialect, FIGURES, "calls", "")
        rows = fetch_rows_by_name(connection, statement)
    return {
        row["group_key"] or "": {
            name: (
                (row[name.replace("_usd", "_picodollars")] or 0) / PICODOLLARS_PER_USD
                if name.endswith("_usd")
                else row[name] or 0
            )
            for name in figures_of_counters(by)
        }
        for row in rows
    }


def figures_of_prometheus(url: str, by: GroupBy) -> dict[str, dict[str, float]]:
    query = (
        CliRunner().invoke(app, ["engine", "prometheus", "--query", "report", "--by", by]).stdout
    )
    answer = get_json(f"{url}/api/v1/query?" + urlencode({"query": query, "time": START + DAY}))
    found: dict[str, dict[str, float]] = {}
    for sample in answer["data"]["result"]:
        labels = sample["metric"]
        group = found.setdefault(
            labels.get("group_key", ""), dict.fromkeys(figures_of_counters(by), 0)
        )
        group[labels["figure"]] = float(sample["value"][1])
    return found


@pytest.mark.parametrize("by", COUNTER_GROUPS)
def test_counters_give_the_figures_of_the_table(
    table_and_prometheus: tuple[Path, str], by: GroupBy
) -> None:
    table, url = table_and_prometheus
    expected, found = figures_of_table(table, by), figures_of_prometheus(url, by)
    if by is GroupBy.REASON:  # calls that missed nothing have no counter by reason
        expected.pop("")
    for key in {*expected, *found}:  # counters begin at 0, also for outcomes that did not occur
        for name in figures_of_counters(by):
            pair = [figures.get(key, {}).get(name, 0) for figures in (found, expected)]
            tolerance = 1e-9 if name.endswith("_usd") else 0
            assert abs(pair[0] - pair[1]) <= tolerance, (key, name, pair)


def test_the_day_has_something_to_add_up(table_and_prometheus: tuple[Path, str]) -> None:
    totals: dict[str, float] = dict.fromkeys(figures_of_counters(GroupBy.MODEL), 0)
    for figures in figures_of_table(table_and_prometheus[0], GroupBy.MODEL).values():
        for name, value in figures.items():
            totals[name] += value
    assert all(totals.values()), totals
