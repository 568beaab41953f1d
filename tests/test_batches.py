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
from promptcache_exporters.database.batch_spans import expand_batch_span
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


async def batch(client: Any, *params_list: Any) -> str:
    """The id of a finished batch of these requests."""
    requests = [
        {"custom_id": f"c{number}", "params": params} for number, params in enumerate(params_list)
    ]
    made = await resolve(client.messages.batches.create(requests=requests))
    assert isinstance(made.id, str)
    return made.id


async def read(client: Any, name: str) -> list[str]:
    return [
        line.result.type
        async for line in iterate(await resolve(client.messages.batches.results(name)))
    ]


async def test_results_count_once_at_the_batch_price(
    client: Any, emulator: Emulator, telemetry: Telemetry
) -> None:
    name = await batch(client, REQUEST, REQUEST, INVALID_REQUEST)
    assert not telemetry.calls, "a batch is no call before its results are read"
    assert await read(client, name) == ["succeeded", "succeeded", "errored"]
    await read(client, name)
    (span,) = telemetry.calls
    attributes: Any = span.attributes
    truths = [record.result for record in emulator.records]
    assert attributes["promptcache.batch"] is True
    assert attributes["promptcache.input_tokens"] == sum(truth.input_tokens for truth in truths)
    assert (
        attributes["promptcache.read_tokens"]
        == sum(truth.cache_read_tokens for truth in truths)
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


async def test_a_row_a_result(client: Any, telemetry: Telemetry, tmp_path: Path) -> None:
    telemetry.tracers.add_span_processor(
        SimpleSpanProcessor(SQLiteSpanExporter(tmp_path / "calls.db"))
    )
    await read(client, await batch(client, REQUEST, REQUEST))
    found = read_rows(tmp_path / "calls.db")
    (span,) = telemetry.calls
    attributes: Any = span.attributes
    assert [row["batch"] for row in found] == [1, 1]
    assert sum(row["input_tokens"] for row in found) == attributes["promptcache.input_tokens"]
    assert sum(row["cost_amount"] for row in found) == pytest.approx(
        attributes["promptcache.cost.amount"]
    )
    assert {row["response_model"] for row in found} == {REQUEST["model"]}
    assert len({row["span_id"] for row in found}) == len({row["response_id"] for row in found}) == 2


async def test_too_many_results_stand_in_one_row(
    client: Any, telemetry: Telemetry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "MAX_ENTRIES", 1)
    telemetry.tracers.add_span_processor(
        SimpleSpanProcessor(SQLiteSpanExporter(tmp_path / "calls.db"))
    )
    await read(client, await batch(client, *[REQUEST] * 4))
    found = read_rows(tmp_path / "calls.db")
    assert len(found) == 2
    assert found[1]["input_tokens"] == 3 * found[0]["input_tokens"]


async def test_raw_results(client: Any, telemetry: Telemetry) -> None:
    name = await batch(client, REQUEST)
    await resolve(client.messages.batches.with_raw_response.results(name))
    assert telemetry.metric("promptcache.calls") in {0, 1}, "as far as the SDK read them"


async def test_what_is_not_read_does_not_count(client: Any, telemetry: Telemetry) -> None:
    decoder = await resolve(client.messages.batches.results(await batch(client, REQUEST)))
    await resolve(decoder.close())
    assert not telemetry.calls


def test_untraced_too(emulator_url: str, telemetry: Telemetry) -> None:
    with anthropic.Anthropic(base_url=emulator_url, api_key="k", open_telemetry=False) as client:
        made = client.messages.batches.create(requests=[{"custom_id": "a", "params": REQUEST}])  # type: ignore[typeddict-item]  # plain
        assert [line.custom_id for line in client.messages.batches.results(made.id)] == ["a"]
    assert len(telemetry.spans) == 1


@pytest.mark.parametrize("entry", ["", "{}", "[", "[]", 5])
def test_entries_of_others_make_no_rows(entry: Any) -> None:
    (span,) = build_spans({BATCH_RESULTS: (entry,)})
    context = SpanContext(1, 2, is_remote=False)
    theirs = ReadableSpan("chat", context, attributes=span.attributes, start_time=1, end_time=2)
    assert list(expand_batch_span(theirs)) == []
    assert list(expand_batch_span(span)) == [span], "a span without a context can have no children"


def test_the_largest_batch_counts_once_and_what_was_counted_is_bounded() -> None:
    batches = CountedBatchResults()

    def new(address: str, count: int) -> int:
        return sum(
            batches.mark_counted("anthropic", address, f"msg_{number}") for number in range(count)
        )

    assert [new("a", 100_000), new("a", 100_000), new("b", 1)] == [100_000, 0, 1]
    assert new("c", CountedBatchResults.MAX_RESULTS) == CountedBatchResults.MAX_RESULTS
    assert new("a", 100_000) == 100_000, "forgotten"
