"""A real collector writes to the engine of ClickHouse, and its tables contain spans and counters.

Run by `make clickhouse`, or by hand:

    python -m tests.backends.clickhouse_tables .collector/otelcol-promptcache .venv-chdb/bin/python

The support agent runs under `opentelemetry-instrument` and sends spans and metrics to the
collector, which has the configuration that `promptcache alerts collector` makes and creates the
tables. See clickhouse_server.py for the engine.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path
from tempfile import TemporaryDirectory

from promptcache_emulator.server import running_server
from promptcache_exporters.alerts import collector
from promptcache_exporters.alerts.definition import DEFAULT_DEFINITION
from promptcache_exporters.database.clickhouse_view import AttributeStorage
from promptcache_exporters.database.source import open_calls_source
from promptcache_exporters.report.query import collect_report
from tests.alerts_e2e.local_services import BIN, free_port, running_program, wait_until
from tests.backends.clickhouse_spans import create_view

AGENT = Path(__file__).parents[2] / "examples" / "support_agent.py"
SERVER = Path(__file__).with_name("clickhouse_server.py")
CALLS = 20
SPANS = """
    SELECT count(), sum(toUInt64OrZero(SpanAttributes['promptcache.read_tokens'])),
        sum(toUInt64OrZero(SpanAttributes['promptcache.input_tokens']))
    FROM otel.otel_traces WHERE ServiceName = 'support-agent'
"""
COUNTER = """
    SELECT sum(latest) FROM (
        SELECT max(Value) AS latest FROM otel.otel_metrics_sum
        WHERE MetricName = '{}' GROUP BY Attributes)
"""


def query_row(url: str, sql: str) -> list[float]:
    """Run a query and return its only row."""
    with urllib.request.urlopen(url, sql.encode(), timeout=30) as response:
        (row,) = json.load(response)["data"]
    return [float(value or 0) for value in row]


def run_agent(otlp: int) -> None:
    """Run the support agent once against the emulator."""
    with running_server() as model:
        variables = {"OPENAI_BASE_URL": f"{model}/v1", "OPENAI_API_KEY": "no-key-needed"}
        options = [
            "--service_name",
            "support-agent",
            "--logs_exporter",
            "none",
            "--exporter_otlp_protocol",
        ]
        options += ["http/protobuf", "--exporter_otlp_endpoint", f"http://127.0.0.1:{otlp}"]
        command: list[str | Path] = [
            BIN / "opentelemetry-instrument",
            *options,
            sys.executable,
            AGENT,
        ]
        subprocess.run(command, env=os.environ | variables, check=True)


def write_configuration(folder: Path, otlp: int, clickhouse: int) -> dict[str, str]:
    """Write the configuration, and return the environment variables of the collector."""
    for name, text in collector.render_files_by_path(DEFAULT_DEFINITION).items():
        (folder / Path(name).name).write_text(text)
    quiet = {"service": {"telemetry": {"metrics": {"level": "none"}}}}
    (folder / "quiet.yaml").write_text(json.dumps(quiet))  # JSON is YAML
    ports = {"HTTP": otlp, "PROMETHEUS": free_port(), "GRPC": free_port()}
    return {f"PROMPTCACHE_{name}_PORT": str(port) for name, port in ports.items()} | {
        "PROMPTCACHE_KEEP_PERCENT": "100",
        "PROMPTCACHE_WAIT": "1s",
        "CLICKHOUSE_ENDPOINT": f"http://127.0.0.1:{clickhouse}?compress=none",
    }


def compare_tables(url: str) -> None:
    """Compare the table of spans with the counters made from spans and those of the application."""
    wait_until("all spans are there", lambda: query_row(url, SPANS)[0] == CALLS, 60)
    _, read, total = query_row(url, SPANS)
    print(
        f"otel.otel_traces: {CALLS} spans,"
        f" {read:,.0f} of {total:,.0f} input tokens read from the cache"
    )
    counters = "promptcache.spans.read.tokens", "promptcache.read.tokens"
    wait_until(
        "both counters are there",
        lambda: all(query_row(url, COUNTER.format(name))[0] for name in counters),
        60,
    )
    for name in counters:
        (counted,) = query_row(url, COUNTER.format(name))
        print(f"otel.otel_metrics_sum: {name} is {counted:,.0f}")
        if counted != read:
            sys.exit("The tables do not agree.")


def compare_reports(clickhouse: int) -> None:
    """Make each view over the tables that the collector created, and compare the reports."""
    url = f"http://127.0.0.1:{clickhouse}/"
    calls, read, total = query_row(url, SPANS)
    for storage in (AttributeStorage.MAP, AttributeStorage.TYPED):
        create_view(url, "otel_traces", storage)
        with open_calls_source(f"clickhouse://127.0.0.1:{clickhouse}/otel") as source:
            totals = collect_report(source).totals
        print(f"promptcache report, {storage.value}: {totals.read_tokens:,} tokens read")
        if (totals.calls, totals.read_tokens, totals.input_tokens) != (calls, read, total):
            sys.exit("The report differs from the table.")


def main(program: str, python: str) -> None:
    """Run everything with the collector `program` and a Python that has chDB."""
    otlp, clickhouse = free_port(), free_port()
    url = f"http://127.0.0.1:{clickhouse}/"
    with TemporaryDirectory() as name:
        folder = Path(name)
        configs = [
            f"--config={folder / part}.yaml" for part in ("promptcache", "clickhouse", "quiet")
        ]
        with running_program(folder / "server.log", python, SERVER, str(clickhouse), folder):
            wait_until("ClickHouse answers", lambda: query_row(url, "SELECT 1") == [1], 60)
            with running_program(
                folder / "log", program, *configs, env=write_configuration(folder, otlp, clickhouse)
            ):
                wait_until(
                    "the tables are there",
                    lambda: query_row(url, "SELECT count() FROM otel.otel_traces") == [0],
                    60,
                )
                run_agent(otlp)
                compare_tables(url)
                compare_reports(clickhouse)
                run_agent(otlp)  # the collector also inserts into a table with typed columns
                wait_until(
                    "the new spans are there", lambda: query_row(url, SPANS)[0] == 2 * CALLS, 60
                )
                compare_reports(clickhouse)


if __name__ == "__main__":
    main(*sys.argv[1:])
