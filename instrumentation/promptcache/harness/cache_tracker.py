"""Count what the cache did in a series of responses."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, final

from promptcache.harness.plain_data import to_plain_data

if TYPE_CHECKING:
    from promptcache.harness.response_usage import ResponseUsage
    from promptcache.model import Usage
    from promptcache.prices.book import PriceBook


@final
class CacheTracker:
    """Hit rate and savings of the responses that were recorded, in tokens and USD.

    Works with the responses of every supported provider, and needs no instrumentation. What a
    provider does not report is not counted as 0: a response without a cached count changes neither
    `hit_rate` nor `misses`. Safe to share between threads.

    `provider` (such as `azure.ai.openai`) and `model` price the calls where a response cannot tell:
    by default the provider is the maker of the wire, and the model the one that the response names.
    """

    def __init__(self, *, provider: str | None = None, model: str | None = None) -> None:
        self._provider = provider
        self._model = model
        self._lock = threading.Lock()
        self._book: PriceBook | None = None
        self.calls = 0
        """Responses with a usage."""
        self.hits = 0
        """Responses that read something from the cache."""
        self.misses = 0
        """Responses that reported to have read nothing."""
        self.input_tokens = 0
        """Input of the responses that reported a cached count."""
        self.read_tokens = 0
        """Input that was read from the cache."""
        self.write_tokens = 0
        """Input that was written to the cache, where the provider reports it."""
        self.priced_calls = 0
        """Responses whose cost is known."""
        self.cost_usd = 0.0
        """Cost of the priced calls."""
        self._saved_usd = 0.0

    @property
    def hit_rate(self) -> float | None:
        """Tokens read from the cache, as a share of the input: 0 to 1. None if unreported."""
        return self.read_tokens / self.input_tokens if self.input_tokens else None

    @property
    def saved_usd(self) -> float | None:
        """What the cache saved against plain input in USD, negative where its writes cost more.

        None if no call had a price.
        """
        return self._saved_usd if self.priced_calls else None

    def record(self, answer: object) -> bool:
        """Count a response, the list of a stream's events, or a bare usage.

        Return whether it reported a usage. Raise PromptError for a live stream.
        """
        from promptcache.harness.response_usage import read_response_usage

        found = read_response_usage(to_plain_data(answer, "answer"))
        if found is None or found.usage is None:
            return False
        with self._lock:
            self._count(found.usage)
            self._add_cost(found, found.usage)
        return True

    def _count(self, usage: Usage) -> None:
        self.calls += 1
        self.write_tokens += usage.cache_write_tokens or 0
        if usage.cache_read_tokens is None:
            return
        self.input_tokens += usage.input_tokens
        self.read_tokens += usage.cache_read_tokens
        self.hits += usage.cache_read_tokens > 0
        self.misses += usage.cache_read_tokens == 0

    def _add_cost(self, found: ResponseUsage, usage: Usage) -> None:
        from promptcache.model import Request
        from promptcache.prices.book import PriceBook

        model = self._model or found.facts.model
        if model is None:
            return
        self._book = self._book or PriceBook()
        request = Request(
            wire_format_name=found.wire_format_name,
            provider=self._provider or found.provider,
            operation="chat",
            model=model,
            host=None,
            port=None,
            stream=False,
            body={},
            cache_scope=b"",
            started_at=time.time(),
        )
        cost = self._book.compute_cost(request, found.facts, usage)
        if cost.amount is not None and cost.without_cache is not None:
            self.priced_calls += 1
            self.cost_usd += cost.amount
            self._saved_usd += cost.without_cache - cost.amount
