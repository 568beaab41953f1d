"""Gemini's cached content: a span for each operation, its hash on calls, and its storage cost."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any, Final
from weakref import ref

import pytest
from google.genai import errors
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode

from promptcache import PromptCacheInstrumentor
from promptcache.model import CachedContentInfo, PrefixHashes
from promptcache.telemetry.cache_storage import NamedCacheStorageCosts
from tests.support.call_shapes import iterate, resolve
from tests.support.call_shapes_google import CLIENTS, GEMINI, LONG_SYSTEM, QUESTION
from tests.support.telemetry import Telemetry

STORAGE_METRIC: Final = "promptcache.storage.usd"
USD_PER_TOKEN_HOUR: Final = 1e-6
"""Gemini 2.5 Flash: 1 USD per million token-hours (ai.google.dev, pricing, 2026-09-23)."""
USD_PER_TOKEN: Final = 0.3e-6
HOUR: Final = 3600.0

pytestmark = pytest.mark.filterwarnings(
    "ignore:Inheritance class AiohttpClientSession:DeprecationWarning"
)


class Clock:
    """The clock of promptcache, apart from that of the provider."""

    now = 1_780_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def telemetry(clock: Clock, instrumented: Callable[..., Telemetry]) -> Telemetry:
    return instrumented(clock=clock)


@pytest.fixture(params=CLIENTS)
async def client(request: pytest.FixtureRequest, emulator_url: str) -> AsyncIterator[Any]:
    async with CLIENTS[request.param](emulator_url) as client:
        yield client


async def create_cache(client: Any, **more: Any) -> Any:
    config = {"system_instruction": LONG_SYSTEM, "contents": [QUESTION], "ttl": "3600s", **more}
    return await resolve(client.caches.create(model=GEMINI, config=config))


def span_of_operation(telemetry: Telemetry, operation: str) -> ReadableSpan:
    (span,) = (span for span in telemetry.spans if span.name.startswith(operation))
    return span


async def test_creating_cached_content_has_a_span_and_a_cost(
    client: Any, telemetry: Telemetry, clock: Clock
) -> None:
    cache = await create_cache(client)
    tokens = cache.usage_metadata.total_token_count
    span = telemetry.span
    attributes: Any = span.attributes
    assert (span.name, span.kind) == (f"create_cache {GEMINI}", SpanKind.CLIENT)
    assert attributes["gen_ai.operation.name"] == "create_cache"
    assert attributes["gen_ai.provider.name"] == "gcp.gemini"
    assert attributes["gen_ai.request.model"] == GEMINI
    assert attributes["server.address"] == "127.0.0.1"
    assert attributes["promptcache.cache.name"] == cache.name
    assert attributes["promptcache.cache.tokens"] == tokens
    assert attributes["promptcache.cache.expires"][:19] == cache.expire_time.isoformat()[:19]
    assert attributes["promptcache.cache.committed_usd"] == pytest.approx(
        tokens * USD_PER_TOKEN_HOUR, rel=1e-6
    )
    assert attributes["promptcache.cost.amount"] == pytest.approx(tokens * USD_PER_TOKEN)
    assert telemetry.metric("promptcache.cost.usd") == pytest.approx(tokens * USD_PER_TOKEN)
    assert "promptcache.outcome" not in attributes
    assert telemetry.metric("promptcache.calls") == 0


async def test_a_call_has_the_hash_of_its_cached_content(client: Any, telemetry: Telemetry) -> None:
    first, second = (
        await create_cache(client),
        await create_cache(client, contents=["Something else."]),
    )
    for cache in (first, second):
        await resolve(
            client.models.generate_content(
                model=GEMINI, contents=QUESTION, config={"cached_content": cache.name}
            )
        )
    created_first, created_second, first_call, second_call = telemetry.spans
    for created, call in ((created_first, first_call), (created_second, second_call)):
        assert created.attributes is not None
        assert call.attributes is not None
        assert (
            call.attributes["promptcache.prefix.hash"]
            == created.attributes["promptcache.prefix.hash"]
        )
        assert call.attributes["promptcache.prefix.complete"] is False
        assert call.attributes["promptcache.outcome"] == "hit"
    assert (
        len({str((span.attributes or {})["promptcache.prefix.hash"]) for span in telemetry.spans})
        == 2
    )


async def test_storage_cost_accrues_until_the_content_expires(
    client: Any, telemetry: Telemetry, clock: Clock
) -> None:
    full = (await create_cache(client)).usage_metadata.total_token_count * USD_PER_TOKEN_HOUR
    for hours, share in ((0.0, 0.0), (0.5, 0.5), (0.25, 0.75), (1.0, 1.0), (100.0, 1.0)):
        clock.now += hours * HOUR
        assert telemetry.metric(STORAGE_METRIC, gen_ai__request__model=GEMINI) == pytest.approx(
            share * full, rel=1e-6
        )


async def test_a_longer_ttl_costs_more(client: Any, telemetry: Telemetry, clock: Clock) -> None:
    cache = await create_cache(client)
    full = cache.usage_metadata.total_token_count * USD_PER_TOKEN_HOUR
    await resolve(client.caches.update(name=cache.name, config={"ttl": "7200s"}))
    attributes: Any = span_of_operation(telemetry, "update_cache").attributes
    assert attributes["promptcache.cache.committed_usd"] == pytest.approx(2 * full, rel=1e-3)
    assert attributes["promptcache.cache.name"] == cache.name
    clock.now += 9 * HOUR
    assert telemetry.metric(STORAGE_METRIC) == pytest.approx(2 * full, rel=1e-3)


async def test_deleting_cached_content_ends_its_storage_cost(
    client: Any, telemetry: Telemetry, clock: Clock
) -> None:
    cache = await create_cache(client)
    full = cache.usage_metadata.total_token_count * USD_PER_TOKEN_HOUR
    clock.now += 0.25 * HOUR
    await resolve(client.caches.delete(name=cache.name))
    attributes: Any = span_of_operation(telemetry, "delete_cache").attributes
    assert attributes["promptcache.cache.stored_usd"] == pytest.approx(full / 4, rel=1e-6)
    assert attributes["promptcache.cache.name"] == cache.name
    clock.now += 5 * HOUR
    assert telemetry.metric(STORAGE_METRIC) == pytest.approx(full / 4, rel=1e-6)


async def test_storage_cost_continues_after_reinstrumenting(
    client: Any, telemetry: Telemetry, clock: Clock
) -> None:
    """A meter provider keeps the first callback of a counter after uninstrumenting."""
    full = (await create_cache(client)).usage_metadata.total_token_count * USD_PER_TOKEN_HOUR
    clock.now += HOUR / 2
    assert telemetry.metric(STORAGE_METRIC) == pytest.approx(full / 2, rel=1e-6)
    PromptCacheInstrumentor().uninstrument()
    telemetry.instrument(clock=clock)
    assert telemetry.metric(STORAGE_METRIC) == pytest.approx(full / 2, rel=1e-6), (
        "the cost before uninstrumenting stays counted"
    )
    await create_cache(client)
    clock.now += HOUR
    assert telemetry.metric(STORAGE_METRIC) == pytest.approx(1.5 * full, rel=1e-6)


def test_uninstrumenting_releases_the_cache_storage(monkeypatch: pytest.MonkeyPatch) -> None:
    storages: list[ref[NamedCacheStorageCosts]] = []
    original_init = NamedCacheStorageCosts.__init__

    def init_and_record(self: NamedCacheStorageCosts, *args: Any) -> None:
        original_init(self, *args)
        storages.append(ref(self))

    monkeypatch.setattr(NamedCacheStorageCosts, "__init__", init_and_record)
    telemetry = Telemetry()
    for _ in range(3):
        telemetry.instrument()
        PromptCacheInstrumentor().uninstrument()
    gc.collect()
    assert [storage() for storage in storages] == [None] * 3


async def test_getting_and_listing_cached_content_costs_nothing(
    client: Any, telemetry: Telemetry
) -> None:
    cache = await create_cache(client)
    await resolve(client.caches.get(name=cache.name))
    assert [listed.name async for listed in iterate(await resolve(client.caches.list()))] == [
        cache.name
    ]
    assert [span.name.split()[0] for span in telemetry.spans] == [
        "create_cache",
        "get_cache",
        "list_caches",
    ]
    attributes: Any = span_of_operation(telemetry, "get_cache").attributes
    assert attributes["promptcache.cache.tokens"] == cache.usage_metadata.total_token_count
    assert "promptcache.cache.committed_usd" not in attributes


async def test_cached_content_of_others_has_no_hash_and_no_storage_cost(
    client: Any, clock: Clock, instrumented: Callable[..., Telemetry]
) -> None:
    cache = await create_cache(client)
    telemetry = instrumented(clock=clock)
    await resolve(
        client.models.generate_content(
            model=GEMINI, contents=QUESTION, config={"cached_content": cache.name}
        )
    )
    assert "promptcache.prefix.hash" not in telemetry.attributes
    assert telemetry.attributes["promptcache.outcome"] == "hit"
    await resolve(client.caches.delete(name=cache.name))
    assert "promptcache.cache.stored_usd" not in (
        span_of_operation(telemetry, "delete_cache").attributes or {}
    )
    assert telemetry.metric(STORAGE_METRIC) == 0


async def test_cached_content_that_was_only_read_accrues_no_storage_cost(
    client: Any, clock: Clock, instrumented: Callable[..., Telemetry]
) -> None:
    cache = await create_cache(client)
    clock.now = cache.create_time.timestamp() + HOUR / 2
    telemetry = instrumented(clock=clock)
    await resolve(client.caches.get(name=cache.name))
    assert telemetry.metric(STORAGE_METRIC) == 0
    await resolve(client.caches.delete(name=cache.name))
    full = cache.usage_metadata.total_token_count * USD_PER_TOKEN_HOUR
    stored = (span_of_operation(telemetry, "delete_cache").attributes or {})[
        "promptcache.cache.stored_usd"
    ]
    assert stored == pytest.approx(full / 2, rel=1e-6)
    assert telemetry.metric(STORAGE_METRIC) == 0


async def test_getting_missing_cached_content_is_an_error(
    client: Any, telemetry: Telemetry
) -> None:
    with pytest.raises(errors.ClientError):
        await resolve(client.caches.get(name="cachedContents/none"))
    assert telemetry.attributes["error.type"] == "ClientError"
    assert telemetry.span.status.status_code is StatusCode.ERROR
    assert telemetry.span.status.description is None


async def test_suppressed_operations_have_no_span(client: Any, telemetry: Telemetry) -> None:
    with suppress_instrumentation():
        await create_cache(client)
    assert not telemetry.spans


# The arithmetic

PREFIX: Final = PrefixHashes("p1:0", None, None, None, 1, (), True)


def storage_price(
    model: str, tokens: int, seconds: float, at: float, provider: str
) -> float | None:
    return None if model == "unknown" else tokens * seconds


def cached_content(
    name: str, life: float | None, tokens: int = 2, model: str = "m"
) -> CachedContentInfo:
    return CachedContentInfo(name, model, tokens, 500.0, None if life is None else 500.0 + life)


@given(life=st.floats(0, 100), steps=st.lists(st.floats(0, 60), max_size=6), delete=st.booleans())
def test_storage_cost_never_falls_and_stops_at_expiry(
    life: float, steps: list[float], delete: bool
) -> None:
    clock = SimpleNamespace(now=1000.0)
    storage = NamedCacheStorageCosts(storage_price, lambda: clock.now)
    storage.record_created_cache("p", cached_content("a/x", life), PREFIX)
    last = 0.0
    for step in steps:
        clock.now += step
        (total,) = (total for total, _ in storage.accrued_costs_by_model())
        assert last <= total
        assert total == pytest.approx(2 * min(life, clock.now - 1000.0))
        last = total
    if delete:
        assert storage.record_deleted_cache("x") == pytest.approx(last)
        clock.now += 1000
        assert [total for total, _ in storage.accrued_costs_by_model()] == [pytest.approx(last)]
        assert storage.prefix_hashes_of_cache("a/x") is PREFIX


def test_cached_contents_of_one_model_are_one_series() -> None:
    clock = SimpleNamespace(now=0.0)
    storage = NamedCacheStorageCosts(storage_price, lambda: clock.now)
    storage.record_created_cache("p", cached_content("a", 10.0), None)
    storage.record_created_cache("p", cached_content("b", 30.0), None)
    storage.record_created_cache("p", cached_content("c", 30.0, model="unknown"), None)
    clock.now = 20.0
    ((total, series),) = storage.accrued_costs_by_model()
    assert total == pytest.approx(2 * 10 + 2 * 20)
    assert series == ("p", "m")


@pytest.mark.parametrize(
    "cache",
    [
        CachedContentInfo(),
        CachedContentInfo("a"),
        CachedContentInfo("a", "m"),
        CachedContentInfo(None, "m", 3),
    ],
    ids=lambda cache: str(cache),
)
def test_incompletely_described_content_has_no_cost(cache: CachedContentInfo) -> None:
    storage = NamedCacheStorageCosts(storage_price, lambda: 0.0)
    storage.record_created_cache("p", cache, PREFIX)
    assert (
        storage.prefix_hashes_of_cache("a"),
        storage.storage_usd_until_expiry("a"),
        storage.record_deleted_cache("a"),
    ) == (
        None,
        None,
        None,
    )
    assert not list(storage.accrued_costs_by_model())


def test_content_without_an_expiry_has_no_commitment_but_accrues_cost() -> None:
    clock = SimpleNamespace(now=0.0)
    storage = NamedCacheStorageCosts(storage_price, lambda: clock.now)
    storage.record_created_cache("p", CachedContentInfo("a", "m", 2), None)
    clock.now = 9.0
    assert storage.storage_usd_until_expiry("a") is None
    assert storage.record_deleted_cache("a") == 18.0


def test_a_forked_child_accrues_no_storage_cost() -> None:
    storage = NamedCacheStorageCosts(storage_price, lambda: 9.0)
    storage.record_created_cache("p", cached_content("a", 10.0), PREFIX)
    storage.reset_after_fork()
    assert not list(storage.accrued_costs_by_model())
    assert storage.prefix_hashes_of_cache("a") is PREFIX
    assert storage.record_deleted_cache("a") is not None
