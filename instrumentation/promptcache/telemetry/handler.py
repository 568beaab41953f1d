"""The state that all calls of one `instrument` share: settings, tracer, metrics, memory, prices."""

from __future__ import annotations

import atexit
import sys
import time
from collections.abc import Callable
from threading import Thread
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from weakref import WeakSet

from opentelemetry.trace import Tracer

from promptcache.common.bounded_dict import BoundedDict
from promptcache.common.generational_cache import GenerationalCache
from promptcache.common.safely import safely
from promptcache.model import ParsedPrompt, Request
from promptcache.prefix.hashing import ExportedPrefixHasher, InProcessHasher, derive_key
from promptcache.providers.hosts import provider_for_host
from promptcache.providers.registry import GATEWAY
from promptcache.settings import Settings
from promptcache.telemetry.cache_storage import NamedCacheStorageCosts
from promptcache.telemetry.counted_batch_results import CountedBatchResults
from promptcache.telemetry.finalizer import Finalizer
from promptcache.telemetry.foreign_spans import ForeignSpanClaims
from promptcache.telemetry.metrics import MetricsRecorder
from promptcache.telemetry.response_ids import ResponseIds, ResponseKey

if TYPE_CHECKING:
    from promptcache.diagnosis.diagnosis import Diagnosis, PendingCall
    from promptcache.diagnosis.recorded_links import LinkRecorder
    from promptcache.prices import PriceBook
    from promptcache.telemetry.invocation import Invocation

_MAX_PENDING_RETRIEVALS: Final = 64
_MAX_CONVERSATIONS: Final = 4096
_MAX_SECONDS_AT_EXIT: Final = 1.0

PendingRetrieval: TypeAlias = "tuple[Request, ParsedPrompt | None, PendingCall]"


class TelemetryHandler:
    """The tracer, the metrics, the memory and the prices that all calls share. Thread-safe.

    `pending_retrievals` holds the calls whose response will be retrieved later (background
    responses, resumed streams). Only there does a prompt outlive its call, hence the small limit.
    `track_span_starts` watches the tracer provider, which the application may set late;
    `flush_spans` flushes it.
    `open_calls` holds the calls that have not ended, weakly: a call whose response the application
    drops has to be collected. With a `recording_key` the local table gets links of prompts.
    """

    def __init__(
        self,
        settings: Settings,
        tracer: Tracer,
        metrics: MetricsRecorder,
        *,
        clock: Callable[[], float] = time.time,
        recording_key: bytes | None = None,
    ) -> None:
        self.settings, self.tracer, self.metrics, self.clock = settings, tracer, metrics, clock
        # In a recording, equal credentials have equal digests in all its processes.
        self.hasher = InProcessHasher(recording_key and derive_key(recording_key))
        self._recording_key = recording_key
        self.prefix_hasher = ExportedPrefixHasher(
            settings.hash_key, settings.hashes, max_remembered=64
        )
        self.pending_retrievals: BoundedDict[ResponseKey, PendingRetrieval] = BoundedDict(
            _MAX_PENDING_RETRIEVALS
        )
        self.counted_batch_results = CountedBatchResults()
        self.response_id_by_conversation: GenerationalCache[bytes, str] = GenerationalCache(
            _MAX_CONVERSATIONS
        )
        self._diagnosis: dict[None, Diagnosis] = {}
        self._price_book: PriceBook | None = None
        self.finalizer = Finalizer()
        self.open_calls: WeakSet[Invocation] = WeakSet()
        self._exit_process_id: int | None = None
        self.response_ids = ResponseIds()
        self.foreign_spans = ForeignSpanClaims()
        self.track_span_starts: Callable[[], None] = lambda: None
        self.flush_spans: Callable[[], None] = lambda: None
        self.cache_storage = NamedCacheStorageCosts(self._storage_cost, clock)
        metrics.before_collection = self.finalizer.drain
        metrics.register_storage_cost_observer(self.cache_storage.accrued_costs_by_model)

    @property
    def diagnosis(self) -> Diagnosis:
        """The memory and the diagnosis, loaded by the first call to keep the start cheap."""
        return self._diagnosis.get(None) or self._create_diagnosis()

    @property
    def price_book(self) -> PriceBook:
        """The prices, loaded by `load_price_file`, or by the first call that needs them."""
        if self._price_book is None:
            from promptcache.prices import PriceBook

            self._price_book = PriceBook.load_with_user_prices(self.settings.prices)
        return self._price_book

    def follow_tracer_provider(self) -> None:
        """Let a tracer that looks for the application's provider do so before a call starts.

        A call that claims a foreign span starts none of its own, so it would not look by itself.
        """
        follow = getattr(self.tracer, "follow_application", None)
        if follow is not None:
            follow()

    def end_calls_at_exit(self, process_id: int) -> None:
        """End the calls of the process `process_id` that are still open when it exits.

        Each call does this first; only the first one in a process has an effect. By then the
        application has its tracer provider, which shuts down in the same way: what registers last
        runs first. `multiprocessing` leaves a child without Python's own exit functions, so it is
        asked too.
        """
        if self._exit_process_id == process_id:
            return
        self._exit_process_id = process_id
        atexit.register(safely, self.end_open_calls)
        util: Any = sys.modules.get("multiprocessing.util")
        if util is not None and sys.modules["multiprocessing"].parent_process() is not None:
            util.Finalize(None, safely, (self._end_forked_child,), exitpriority=0)

    def _end_forked_child(self) -> None:
        """End every open call, and flush: no exit function of the tracer provider will run."""
        self.end_open_calls()
        # In a thread, since a backend that does not answer must not hold the child up.
        flush = Thread(target=safely, args=(self.flush_spans,), daemon=True)
        flush.start()
        flush.join(_MAX_SECONDS_AT_EXIT)

    def end_open_calls(self) -> None:
        """End every open call with what is known of it. Nothing is read, closed or imported."""
        deadline = time.monotonic() + _MAX_SECONDS_AT_EXIT
        for invocation in list(self.open_calls):
            if time.monotonic() > deadline:
                break
            safely(invocation.finish)
        self.metrics.prepare_collection()

    def load_prices(self) -> None:
        """Load the prices, unless this was done."""
        _ = self.price_book

    def load_price_file(self) -> None:
        """Read the user's price file if there is one: a large file takes seconds."""
        if self.settings.prices:
            self.load_prices()

    def provider_for_host(
        self,
        host: str | None,
        default: str,
        *,
        model: str | None = None,
        ignore_registered_hosts: bool = False,
    ) -> str:
        """Return the provider whose models `host` serves; `default` if the host is unknown.

        With `ignore_registered_hosts`, only the user's settings override `default`. Behind a
        gateway the `model` decides; where its name does not tell, the result is `gateway`. SDKs
        that speak only the API of their own provider give no model.
        """
        provider = provider_for_host(
            host, default, self.settings.providers, ignore_registered_hosts=ignore_registered_hosts
        )
        if provider != GATEWAY:
            return provider
        if not model:
            return default
        from promptcache.prices.gateway import provider_of_model

        return provider_of_model(model) or GATEWAY

    def _create_diagnosis(self) -> Diagnosis:
        from promptcache.diagnosis.diagnosis import Diagnosis

        # Two threads may make the first call at once. `setdefault` gives both the same object; a
        # lock could be held while the process forks.
        diagnosis = Diagnosis(
            self.settings,
            self.hasher,
            on_unread_write=self.metrics.record_unread_write,
            link_recorder=self._make_link_recorder(),
        )
        return self._diagnosis.setdefault(None, diagnosis)

    def _make_link_recorder(self) -> LinkRecorder | None:
        if self._recording_key is None or self.settings.hashes == "none":
            return None
        from promptcache.diagnosis.recorded_links import LinkRecorder
        from promptcache.prefix.links import LinkHasher

        return LinkRecorder(LinkHasher(self._recording_key))

    def _storage_cost(
        self, model: str, tokens: int, seconds: float, at: float, provider: str
    ) -> float | None:
        return self.price_book.compute_storage_cost(model, tokens, seconds, at, provider)
