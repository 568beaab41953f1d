"""The state that all calls of one `instrument` share: settings, tracer, metrics, memory, prices."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from opentelemetry.trace import Tracer

from promptcache.common.bounded_dict import BoundedDict
from promptcache.common.generational_cache import GenerationalCache
from promptcache.model import ParsedPrompt, Request
from promptcache.prefix.hashing import InProcessHasher, PrefixHasher
from promptcache.providers.hosts import provider_for_host
from promptcache.providers.registry import GATEWAY
from promptcache.settings import Settings
from promptcache.telemetry.cache_storage import CacheStorage
from promptcache.telemetry.counted_batch_results import CountedBatchResults
from promptcache.telemetry.foreign_spans import ForeignSpans
from promptcache.telemetry.metrics import MetricsRecorder

if TYPE_CHECKING:
    from promptcache.diagnosis.diagnosis import Diagnosis, PendingCall
    from promptcache.prices import PriceBook

_MAX_PENDING_RETRIEVALS: Final = 64
_MAX_CONVERSATIONS: Final = 4096

PendingRetrieval: TypeAlias = "tuple[Request, ParsedPrompt | None, PendingCall]"


class Finishable(Protocol):
    """A call that a finalizer could not finish where it ran."""

    def finish(self) -> None: ...


class TelemetryHandler:
    """The tracer, the metrics, the memory and the prices that all calls share. Thread-safe.

    `pending_retrievals` holds the calls whose response will be retrieved later (background
    responses, resumed streams), by provider and response id. Only there does a prompt outlive its
    call, hence the small limit. `deferred` holds the calls that a finalizer could not finish.
    """

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
        self.prefix_hasher = PrefixHasher(settings.hash_key, settings.hashes, max_remembered=64)
        self.pending_retrievals: BoundedDict[tuple[str, str], PendingRetrieval] = BoundedDict(
            _MAX_PENDING_RETRIEVALS
        )
        self.counted_batch_results = CountedBatchResults()
        self.response_id_by_conversation: GenerationalCache[bytes, str] = GenerationalCache(
            _MAX_CONVERSATIONS
        )
        self._diagnosis: dict[None, Diagnosis] = {}
        self._price_book: PriceBook | None = None
        self.deferred: deque[Finishable] = deque()
        self.foreign_spans = ForeignSpans()
        self.cache_storage = CacheStorage(self._storage_cost, clock)
        metrics.observe_storage_cost(self.cache_storage.accrued_costs)

    @property
    def diagnosis(self) -> Diagnosis:
        """The memory and the diagnosis, loaded by the first call to keep the start cheap."""
        return self._diagnosis.get(None) or self._create_diagnosis()

    @property
    def price_book(self) -> PriceBook:
        """The prices, loaded by `load_price_file`, or by the first call that needs them."""
        if self._price_book is None:
            from promptcache.prices import PriceBook

            self._price_book = PriceBook.load(self.settings.prices)
        return self._price_book

    def load_price_file(self) -> None:
        """Read the user's price file if there is one: a large file takes seconds."""
        if self.settings.prices:
            _ = self.price_book

    def provider_for_host(
        self,
        host: str | None,
        default: str,
        *,
        model: str | None = None,
        client_decides: bool = False,
    ) -> str:
        """Return the provider whose models `host` serves; `default` if the host is unknown.

        With `client_decides`, only the user's settings override `default`. Behind a gateway the
        `model` decides; where its name does not tell, the result is `gateway`. SDKs that speak only
        the API of their own provider give no model.
        """
        provider = provider_for_host(
            host, default, self.settings.providers, client_decides=client_decides
        )
        if provider != GATEWAY:
            return provider
        if not model:
            return default
        from promptcache.prices.gateway import provider_of_model

        return provider_of_model(model) or GATEWAY

    def finish_deferred(self) -> None:
        """Finish the calls that a finalizer could not finish."""
        while self.deferred:
            self.deferred.popleft().finish()

    def _create_diagnosis(self) -> Diagnosis:
        from promptcache.diagnosis.diagnosis import Diagnosis

        # Two threads may make the first call at once. `setdefault` gives both the same object; a
        # lock could be held while the process forks.
        return self._diagnosis.setdefault(
            None,
            Diagnosis(self.settings, self.hasher, on_unread_write=self.metrics.record_unread_write),
        )

    def _storage_cost(
        self, model: str, tokens: int, seconds: float, at: float, provider: str
    ) -> float | None:
        return self.price_book.storage_cost(model, tokens, seconds, at, provider)
