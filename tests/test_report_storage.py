"""The storage cost of cached content, from calls of the SDK to the report, and in older files."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from promptcache.semconv import (
    CACHE_COMMITTED_USD,
    CACHE_EXPIRES,
    CACHE_NAME,
    CACHE_STORED_USD,
    CACHE_TOKENS,
    COST_AMOUNT,
    ERROR_TYPE,
    GEN_AI_OPERATION_NAME,
    OUTCOME,
)
from promptcache_exporters.database import schema
from promptcache_exporters.database.sqlite_exporter import SQLiteSpanExporter
from promptcache_exporters.report.json import render_report_json
from promptcache_exporters.report.lines import summary_lines
from promptcache_exporters.report.query import collect_report
from promptcache_exporters.report.storage_costs import (
    NamedCacheOperation,
    StorageCosts,
    sum_storage_costs,
)
from tests.support.call_shapes import resolve
from tests.support.call_shapes_google import CLIENTS, GEMINI, LONG_SYSTEM, QUESTION
from tests.support.span_builders import (
    START,
    end_span,
    make_tracer_provider,
    read_rows,
    record_calls,
)
from tests.support.telemetry import Telemetry

pytestmark = pytest.mark.filterwarnings(
    "ignore:Inheritance class AiohttpClientSession:DeprecationWarning"
)

FUTURE, PAST = (datetime.fromtimestamp(time.time() + by, UTC).isoformat() for by in (3600, -3600))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "calls.db"


def record_operations(path: Path, *events: dict[str, Any]) -> None:
    exporter = SQLiteSpanExporter(path)
    provider = make_tracer_provider(exporter)
    for number, event in enumerate(events):
        end_span(
            provider,
            {GEN_AI_OPERATION_NAME: "create_cache", CACHE_NAME: "cachedContents/a", **event},
            START + number,
        )
    provider.shutdown()
    record_calls(path, {})


def test_cached_content_operations_of_the_sdk_reach_the_report(
    path: Path, emulator_url: str, instrumented: Callable[..., Telemetry]
) -> None:
    now = [time.time()]
    telemetry = instrumented(clock=lambda: now[0])
    telemetry.tracers.add_span_processor(SimpleSpanProcessor(SQLiteSpanExporter(path)))
    tokens = asyncio.run(use_two_caches(emulator_url, now))
    report = collect_report(path)
    assert report.storage_costs is not None
    assert (report.totals.calls, report.storage_costs.caches, report.storage_costs.unpriced) == (
        1,
        2,
        0,
    )
    assert report.storage_costs.paid_usd == pytest.approx(tokens * 1e-6 / 4, rel=1e-3)
    assert report.storage_costs.committed_usd == pytest.approx(2 * tokens * 1e-6, rel=1e-3)
    assert report.storage_costs.filled_usd == pytest.approx(2 * tokens * 0.3e-6)
    assert json.loads(render_report_json(report))["rent"]["caches"] == 2


async def use_two_caches(url: str, now: list[float]) -> int:
    """Delete one cache after a quarter of an hour, extend another, and return its tokens."""
    config = {"system_instruction": LONG_SYSTEM, "contents": [QUESTION], "ttl": "3600s"}
    async with CLIENTS[next(iter(CLIENTS))](url) as client:
        first, second = [
            await resolve(client.caches.create(model=GEMINI, config=config)) for _ in range(2)
        ]
        await resolve(
            client.models.generate_content(
                model=GEMINI, contents=QUESTION, config={"cached_content": first.name}
            )
        )
        await resolve(client.caches.get(name=first.name))
        await resolve(client.caches.update(name=second.name, config={"ttl": "7200s"}))
        now[0] += 900
        await resolve(client.caches.delete(name=first.name.rpartition("/")[2]))
    return int(first.usage_metadata.total_token_count)


def test_cost_is_committed_until_expiry_and_then_paid(path: Path) -> None:
    record_operations(
        path,
        {CACHE_EXPIRES: FUTURE, CACHE_COMMITTED_USD: 0.5, COST_AMOUNT: 0.25, CACHE_TOKENS: 9000},
        {CACHE_NAME: "cachedContents/b", CACHE_EXPIRES: PAST, CACHE_COMMITTED_USD: 0.125},
    )
    assert collect_report(path).storage_costs == StorageCosts(2, 0.125, 0.5, 0.25, 0)
    text = "$0.1250 paid, $0.5000 committed for 2 named caches; filling them cost $0.2500"
    assert dict(summary_lines(collect_report(path)))["Storage cost"] == text


def test_a_deletion_by_short_name_ends_the_storage_cost(path: Path) -> None:
    deletion = {GEN_AI_OPERATION_NAME: "delete_cache", CACHE_NAME: "a", CACHE_STORED_USD: 0.1}
    name = "projects/p/locations/l/cachedContents/a"
    record_operations(
        path, {CACHE_NAME: name, CACHE_EXPIRES: FUTURE, CACHE_COMMITTED_USD: 0.5}, deletion
    )
    assert collect_report(path).storage_costs == StorageCosts(1, 0.1, 0, 0, 0)


def test_storage_without_a_price_is_counted_as_unpriced(path: Path) -> None:
    record_operations(
        path, {CACHE_EXPIRES: FUTURE}, {GEN_AI_OPERATION_NAME: "delete_cache", CACHE_NAME: "b"}
    )
    assert collect_report(path).storage_costs == StorageCosts(2, 0, 0, 0, 2)
    assert (
        dict(summary_lines(collect_report(path)))["Storage cost"]
        == "$0.00 paid, $0.00 committed for 2 named caches, 2 without a price"
    )


@pytest.mark.parametrize(
    "event",
    [
        {GEN_AI_OPERATION_NAME: "get_cache"},
        {ERROR_TYPE: "ClientError"},
        {CACHE_NAME: None},
        {GEN_AI_OPERATION_NAME: "chat"},
    ],
)
def test_an_operation_that_changes_no_cache_adds_no_row(path: Path, event: dict[str, Any]) -> None:
    record_operations(path, event)
    assert collect_report(path).storage_costs is None


def test_since_excludes_earlier_storage_costs(path: Path) -> None:
    record_operations(path, {CACHE_EXPIRES: PAST, CACHE_COMMITTED_USD: 0.5})
    assert collect_report(path, since=START - 1).storage_costs is not None
    assert collect_report(path, since=START + 0.5).storage_costs is None


def test_a_file_of_an_older_version_gains_the_storage_cost_table(path: Path) -> None:
    record_calls(path, {})
    connection = sqlite3.connect(path)
    connection.execute(f"DROP TABLE {schema.STORAGE_COSTS_TABLE.name}")
    connection.execute(f"PRAGMA user_version = {len(schema.CALLS_TABLE.columns)}")
    connection.commit()
    connection.close()
    assert collect_report(path).storage_costs is None
    record_operations(path, {CACHE_EXPIRES: PAST, CACHE_COMMITTED_USD: 0.5})
    assert collect_report(path).storage_costs == StorageCosts(1, 0.5, 0, 0, 0)
    assert [row["outcome"] for row in read_rows(path)] == ["hit", "hit"]


def test_a_span_that_is_exported_twice_counts_once(path: Path) -> None:
    exporter = SQLiteSpanExporter(path)
    attributes = {
        GEN_AI_OPERATION_NAME: "create_cache",
        CACHE_NAME: "a",
        CACHE_EXPIRES: PAST,
        CACHE_COMMITTED_USD: 0.5,
        OUTCOME: "hit",
    }
    telemetry = Telemetry()
    end_span(telemetry.tracers, attributes)
    for _ in range(2):
        exporter.export(telemetry.spans)
    exporter.shutdown()
    assert collect_report(path).storage_costs == StorageCosts(1, 0.5, 0, 0, 0)


@pytest.mark.parametrize("stamp", ["soon", None])
def test_an_unreadable_expiry_counts_as_committed(stamp: str | None) -> None:
    assert sum_storage_costs(
        [NamedCacheOperation("a", "create_cache", stamp, 0.5, None, None)], time.time()
    ) == StorageCosts(1, 0, 0.5, 0, 0)
