"""Create or renew the named cache of a prompt on Gemini, where it pays.

Implicit caching costs nothing, so it comes first. A named cache is paid for by the hour: it pays
once the calls that missed within an hour would have saved more than its creation and storage cost.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, final

from promptcache.harness.chat import Chat
from promptcache.harness.list_prices import find_rates
from promptcache.harness.named_caches import NamedCache, NamedCaches
from promptcache.harness.recent_uses import RecentUses
from promptcache.harness.warmed import Warmed
from promptcache.harness.wires.gemini import GeminiLayout
from promptcache.prices.breakeven import min_requests_above, requests_until_storage_pays
from promptcache.prices.rates import Rates

_LIFETIME: Final = 3600.0
"""Seconds. A use does not prolong it."""
_TTL: Final = {"ttl": f"{_LIFETIME:.0f}s"}
_GONE: Final = (403, 404)
"""What the provider answers for a cache that it does not have."""


@final
@dataclass(slots=True)
class NamedCacheRequest:
    """The request that creates or renews the named cache of a chat's head.

    `params` are the frozen parameters of the prompt. `if_idle` does not matter: a use does not
    prolong the life of a named cache.
    """

    chat: Chat[Any]
    uses: RecentUses
    named_caches: NamedCaches
    params: Mapping[str, Any]

    def run(self, client: Any, if_idle: float) -> Warmed:
        """Send the request through google-genai's client."""
        found = self.named_caches.find(self.chat.prefix_key)
        if reason := self._claim_prefix(found):
            return Warmed(False, reason)
        with self._sending(found) as started_at:
            if self.named_caches.find(self.chat.prefix_key) != found:
                return Warmed(False, "another caller has warmed it")
            answer = self._send(client.caches, found)
            cache = NamedCache(answer.name, started_at + _LIFETIME, client.caches, is_async=False)
            return self._keep_cache(cache, answer, is_new=found is None)

    async def run_async(self, client: Any, if_idle: float) -> Warmed:
        """Send the request through google-genai's asynchronous client, `client.aio`."""
        found = self.named_caches.find(self.chat.prefix_key)
        if reason := self._claim_prefix(found):
            return Warmed(False, reason)
        with self._sending(found) as started_at:
            if self.named_caches.find(self.chat.prefix_key) != found:
                return Warmed(False, "another caller has warmed it")
            answer = await self._send(client.caches, found)
            cache = NamedCache(answer.name, started_at + _LIFETIME, client.caches, is_async=True)
            return self._keep_cache(cache, answer, is_new=found is None)

    def _claim_prefix(self, found: NamedCache | None) -> str | None:
        """Claim the prefix. Return None, or the reason why nothing is sent."""
        minimum = self.chat.style.minimum_tokens
        if self.chat.head_tokens < minimum:
            return f"too short: the model caches from {minimum} tokens"
        if found and found.seconds_left > _LIFETIME / 2:
            return f"its named cache lives for {found.seconds_left:.0f} s"
        if (needed := _calls_to_pay(self._rates(), is_new=found is None)) is None:
            return "no price of storage is known, so nothing says that a named cache pays"
        prefix = self.chat.prefix_key
        seen = self.uses.count_uses(prefix, _LIFETIME, only_misses=found is None)
        if seen < needed:
            calls = "calls" if found else "calls that miss the implicit cache"
            return f"a named cache pays from {needed} {calls} an hour on, and {seen} were seen"
        return self.uses.start_warming(prefix, if_idle=0.0)

    @contextmanager
    def _sending(self, found: NamedCache | None) -> Generator[float]:
        """Yield the time at which the request starts."""
        prefix = self.chat.prefix_key
        with self.uses.warming(prefix) as started_at:
            from google.genai.errors import ClientError

            try:
                yield started_at
            except ClientError as error:
                if found and error.code in _GONE:
                    self.named_caches.forget(prefix)
                raise

    def _send(self, caches: Any, found: NamedCache | None) -> Any:
        if found:
            return caches.update(name=found.name, config=_TTL)
        held = GeminiLayout.params_in_named_cache
        params = {name: self.params[name] for name in self.params if name in held}
        request = self.chat.lay_out_head("", params)
        config = {**request["config"], "display_name": self.chat.cache_key, **_TTL}
        if request["contents"]:
            config["contents"] = request["contents"]
        return caches.create(model=self.chat.model, config=config)

    def _keep_cache(self, cache: NamedCache, answer: Any, *, is_new: bool) -> Warmed:
        self.named_caches.keep(self.chat.prefix_key, cache)
        rates = self._rates()
        tokens = getattr(getattr(answer, "usage_metadata", None), "total_token_count", None)
        cost = None
        if rates and tokens is not None:
            created = (rates.input_price or 0.0) if is_new else 0.0
            cost = tokens * (created + (rates.storage_price or 0.0) * _LIFETIME / 3600)
        done = "was created" if is_new else "was renewed"
        return Warmed(True, f"a named cache {done}, for {_LIFETIME:.0f} s", cost)

    def _rates(self) -> Rates | None:
        return find_rates(self.chat.style.provider, self.chat.base_model)


def _calls_to_pay(rates: Rates | None, *, is_new: bool) -> int | None:
    """Return how many calls an hour must find the cache so that it pays. None if unknown."""
    if rates is None or not rates.input_price or rates.storage_price is None:
        return None
    read_price = rates.cache_read_price
    if read_price is None or read_price >= rates.input_price:
        return None
    if is_new:
        return requests_until_storage_pays(rates.input_price, read_price, rates.storage_price)
    return min_requests_above(rates.storage_price / (rates.input_price - read_price))
