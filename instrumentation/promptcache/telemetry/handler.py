"""What all calls share: settings, tracer, instruments, memory, prices."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, TypeAlias

from opentelemetry.trace import Tracer

from promptcache.common.coerce import JSONObject
from promptcache.common.generational_cache import GenerationalCache
from promptcache.model import ParsedPrompt, Request
from promptcache.prefix.hashing import InProcessHasher, PrefixHasher
from promptcache.providers.hosts import provider_for_host
from promptcache.providers.wire_format import WireFormat
from promptcache.settings import Settings
from promptcache.telemetry.cache_storage import CacheStorage
from promptcache.telemetry.metrics import MetricsRecorder
from promptcache.telemetry.spans import ForeignSpans

if TYPE_CHECKING:
    from promptcache.diagnosis.diagnosis import Diagnosis, PendingCall
    from promptcache.prices import PriceBook


class Finishable(Protocol):
    """A call whose end had to wait."""

    def finish(self) -> None: ...


class RequestInfo(NamedTuple):
    """A call as it is known before its body is: enough for a sampler to decide on.

    `is_retrieval` marks a call that returns an earlier response again, `batch_results_url` is the address of a batch's results where it
    returns those; `has_sdk_span` says that the SDK is about to open a span of its own for the call.
    """

    wire_format: WireFormat
    provider: str
    model: str | None
    host: str | None
    port: int | None
    stream: bool
    is_retrieval: bool = False
    batch_results_url: str | None = None
    has_sdk_span: bool = False

    def to_request(self, body: JSONObject, cache_scope: bytes, started_at: float) -> Request:
        """The request of this call, once its body and the digest of its credential are known."""
        return Request(
            self.wire_format.name,
            self.provider,
            self.wire_format.operation,
            self.model,
            self.host,
            self.port,
            self.stream,
            body,
            cache_scope,
            started_at,
        )


class TelemetryHandler:
    """What all calls share: tracer, instruments, memory, prices. Thread-safe; holds no text of any prompt."""

    def __init__(
        self,
        settings: Settings,
        tracer: Tracer,
        metrics: MetricsRecorder,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.settings, self.tracer, self.metrics, self.clock = settings, tracer, metrics, clock
        self.hasher = InProcessHasher()
        self.pending_retrievals = PendingRetrievals()
        self.counted_batch_results = CountedBatchResults()
        self.response_id_by_conversation: GenerationalCache[bytes, str] = GenerationalCache(4096)
        self.deferred: deque[Finishable] = deque()
        self.foreign_spans = ForeignSpans()
        self._diagnosis: dict[None, Diagnosis] = {}
        self._price_book: PriceBook | None = None
        self.prefix_hasher = PrefixHasher(settings.hash_key, settings.hashes, max_remembered=64)
        self.cache_storage = CacheStorage(self._storage_cost, clock)
        metrics.observe_storage_cost(self.cache_storage.accrued_costs)

    @property
    def diagnosis(self) -> Diagnosis:
        """Memory and judgement, loaded with the first call: a start costs next to nothing."""
        return self._diagnosis.get(None) or self._create_diagnosis()

    def _create_diagnosis(self) -> Diagnosis:
        from promptcache.diagnosis.diagnosis import Diagnosis

        # Two first calls may be here at once and get the same one; a lock could be held where the process forks.
        return self._diagnosis.setdefault(
            None,
            Diagnosis(self.settings, self.hasher, on_unread_write=self.metrics.record_unread_write),
        )

    @property
    def price_book(self) -> PriceBook:
        """The prices, loaded when the first call needs them."""
        if self._price_book is None:
            from promptcache.prices import PriceBook

            self._price_book = PriceBook.load(self.settings.prices)
        return self._price_book

    def _storage_cost(
        self, model: str, tokens: int, seconds: float, at: float, provider: str
    ) -> float | None:
        return self.price_book.storage_cost(model, tokens, seconds, at, provider)

    def finish_deferred(self) -> None:
        """Ends the calls whose streams were garbage-collected where nothing could be ended."""
        while self.deferred:
            self.deferred.popleft().finish()

    def provider_for_host(
        self, host: str | None, default: str, *, client_decides: bool = False
    ) -> str:
        """Whose models `host` serves; `default` is the client's word, which only the user overrides if `client_decides`."""
        return provider_for_host(
            host, default, self.settings.providers, client_decides=client_decides
        )


PendingRetrieval: TypeAlias = "tuple[Request, ParsedPrompt | None, PendingCall]"


class PendingRetrievals:
    """Calls whose response will be fetched later (background, resumed streams), by provider and response id.

    The only place that holds a prompt longer than its call, hence few.
    """

    MAX_CALLS: Final = 64

    def __init__(self) -> None:
        self._calls: dict[tuple[str, str], PendingRetrieval] = {}

    def add(self, provider: str, response_id: str, call: PendingRetrieval) -> None:
        while len(self._calls) >= self.MAX_CALLS:
            self._calls.pop(next(iter(self._calls), ("", "")), None)
        self._calls[provider, response_id] = call

    def pop(self, provider: str, response_id: str) -> PendingRetrieval | None:
        return self._calls.pop((provider, response_id), None)


class CountedBatchResults:
    """Which results of batches were counted, as hashes, for there are many.

    Without a lock: whoever reads one file in two threads at once may count a result twice.
    """

    MAX_RESULTS: Final = 1 << 18
    """The last half at least are held, more than Anthropic's largest batch has (100,000); 21 MB when full."""

    def __init__(self) -> None:
        self._counted: GenerationalCache[int, bool] = GenerationalCache(self.MAX_RESULTS)

    def mark_counted(self, provider: str, results_url: str, result_id: str) -> bool:
        key = hash((provider, results_url, result_id))
        new = key not in self._counted
        self._counted[key] = True
        return new
