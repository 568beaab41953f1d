"""Results of Anthropic's batches count once, at the batch price.

One reading of results makes one span. Each result makes one row of the local table.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anthropic
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import SpanContext

from promptcache.semconv import BATCH_RESULTS
from promptcache.telemetry import batch_results as reading
from promptcache.telemetry.counted_batch_results import CountedBatchResults
from promptcache_emulator.engine import Emulator
from promptcache_exporters.database.batch_spans import expand_batch_result_spans
from promptcache_exporters.database.sqlite_exporter import SQLiteSpanExporter
from tests.support.call_shapes import iterate, resolve
from tests.support.call_shapes_anthropic import CLIENTS, REQUEST
from tests.support.span_builders import build_spans, read_rows
from tests.support.telemetry import Telemetry

CLIENT_NAMES = [name for name in CLIENTS if "un" not in name]
INVALID_REQUEST: dict[str, Any] = {**REQUEST, "messages": []}


@pytest.fixture(params=CLIENT_NAMES)
async def client(request: pytest.FixtureRequest, emulator_url: str) -> AsyncIterator[Any]:
    async with CLIENTS[request.param](emulator_url) as client_instance:
        yield client_instance


async def create_batch(client: Any, *params_list: Any) -> str:
    """Create a batch of requests with these parameters and return its id."""
    requests = [
        {"custom_id": f"c{number}", "params": params} for number, params in enumerate(params_list)
    ]
    batch = await resolve(client.messages.batches.create(requests=requests))
    assert isinstance(batch.id, str)
    return batch.id


async def read_results(client: Any, name: str) -> list[str]:
    return [
        line.result.type
        async for line in iterate(await resolve(client.messages.batches.results(name)))
    ]


async def test_results_count_once_at_the_batch_price(
    client: Any, emulator: Emulator, telemetry: Telemetry
) -> None:
    name = await create_batch(client, REQUEST, REQUEST, INVALID_REQUEST)
    assert not telemetry.calls, "a batch is no call before its results are read"
    assert await read_results(client, name) == ["succeeded", "succeeded", "errored"]
    await read_results(client, name)
    (span,) = telemetry.calls
    attributes: Any = span.attributes
    emulated_results = [record.result for record in emulator.records]
    assert attributes["promptcache.batch"] is True
    assert attributes["promptcache.input_tokens"] == sum(
        result.input_tokens for result in emulated_results
    )
    assert (
        attributes["promptcache.read_tokens"]
        == sum(result.cache_read_tokens for result in emulated_results)
        > 0
    )
    assert attributes["gen_ai.response.model"] == REQUEST["model"]
    assert (
        telemetry.metric("promptcache.calls", promptcache__batch=True)
        == telemetry.metric("promptcache.calls")
        == 2
    )
    assert telemetry.metric("promptcache.call.duration") == 0
    await resolve(
        client.messages.create(
            **{**REQUEST, "messages": [{"role": "user", "content": "Where is my tent?"}]}
        )
    )
    single: Any = telemetry.calls[-1].attributes
    halves = (
        telemetry.metric("promptcache.cost_without_cache.usd")
        - single["promptcache.cost.without_cache"]
    )
    assert halves == pytest.approx(single["promptcache.cost.without_cache"])


async def test_each_batch_result_makes_one_row(
    client: Any, telemetry: Telemetry, tmp_path: Path
) -> None:
    telemetry.tracers.add_span_processor(
        SimpleSpanProcessor(SQLiteSpanExporter(tmp_path / "calls.db"))
    )
    await read_results(client, await create_batch(client, REQUEST, REQUEST))
    table_rows = read_rows(tmp_path / "calls.db")
    (span,) = telemetry.calls
    attributes: Any = span.attributes
    assert [row["batch"] for row in table_rows] == [1, 1]
    assert sum(row["input_tokens"] for row in table_rows) == attributes["promptcache.input_tokens"]
    assert sum(row["cost_amount"] for row in table_rows) == pytest.approx(
        attributes["promptcache.cost.amount"]
    )
    assert {row["response_model"] for row in table_rows} == {REQUEST["model"]}
    assert (
        len({row["span_id"] for row in table_rows})
        == len({row["response_id"] for row in table_rows})
        == 2
    )


async def test_results_over_the_limit_share_one_row(
    client: Any, telemetry: Telemetry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "MAX_ENTRIES", 1)
    telemetry.tracers.add_span_processor(
        SimpleSpanProcessor(SQLiteSpanExporter(tmp_path / "calls.db"))
    )
    await read_results(client, await create_batch(client, *[REQUEST] * 4))
    table_rows = read_rows(tmp_path / "calls.db")
    assert len(table_rows) == 2
    assert table_rows[1]["input_tokens"] == 3 * table_rows[0]["input_tokens"]


async def test_raw_results_count_at_most_once(client: Any, telemetry: Telemetry) -> None:
    name = await create_batch(client, REQUEST)
    await resolve(client.messages.batches.with_raw_response.results(name))
    assert telemetry.metric("promptcache.calls") in {0, 1}, (
        "the SDK may or may not have read the results"
    )


async def test_unread_results_make_no_call(client: Any, telemetry: Telemetry) -> None:
    decoder = await resolve(client.messages.batches.results(await create_batch(client, REQUEST)))
    await resolve(decoder.close())
    assert not telemetry.calls


def test_batch_results_of_a_client_without_own_tracing_make_one_span(
    emulator_url: str, telemetry: Telemetry
) -> None:
    with anthropic.Anthropic(base_url=emulator_url, api_key="k", open_telemetry=False) as client:
        batch = client.messages.batches.create(requests=[{"custom_id": "a", "params": REQUEST}])  # type: ignore[typeddict-item]  # plain
        assert [line.custom_id for line in client.messages.batches.results(batch.id)] == ["a"]
    assert len(telemetry.spans) == 1


@pytest.mark.parametrize("entry", ["", "{}", "[", "[]", 5])
def test_malformed_entries_make_no_rows(entry: Any) -> None:
    (span,) = build_spans({BATCH_RESULTS: (entry,)})
    context = SpanContext(1, 2, is_remote=False)
    span_with_context = ReadableSpan(
        "chat", context, attributes=span.attributes, start_time=1, end_time=2
    )
    assert list(expand_batch_result_spans(span_with_context)) == []
    assert list(expand_batch_result_spans(span)) == [span], (
        "a span without a context can have no children"
    )


def test_a_large_batch_counts_once_and_old_batches_are_forgotten() -> None:
    batches = CountedBatchResults()

    def count_new_results(address: str, count: int) -> int:
        return sum(
            batches.mark_counted_if_new("anthropic", address, f"msg_{number}")
            for number in range(count)
        )

    assert [
        count_new_results("a", 100_000),
        count_new_results("a", 100_000),
        count_new_results("b", 1),
    ] == [100_000, 0, 1]
    assert (
        count_new_results("c", CountedBatchResults.MAX_RESULTS) == CountedBatchResults.MAX_RESULTS
    )
    assert count_new_results("a", 100_000) == 100_000, "the first batch was not forgotten"
