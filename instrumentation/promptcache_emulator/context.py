"""What the route handlers of a provider can use of the emulator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from promptcache_emulator.cache import CacheResult, CommitWrites
from promptcache_emulator.cache_plan import CachePlan
from promptcache_emulator.profiles import CacheProfile
from promptcache_emulator.request import ProviderRequest


class EmulatorContext(Protocol):
    """The clock, the cache profiles, the cache, and a store for responses and resources."""

    resources: dict[str, Any]
    """Cached contents and batches by name. They stay until they are deleted."""

    def store_resource(self, name: str, value: Any) -> None:
        """Store a cached content or a batch. Raise ProviderError if there are too many."""
        ...

    @property
    def clock(self) -> Callable[[], float]: ...

    def store_value(self, name: str, value: Any) -> None:
        """Store a value, such as a response under its id. The oldest values are dropped."""
        ...

    def stored_value(self, name: str) -> Any:
        """Return the value stored under this name, or None."""
        ...

    def profile_for(
        self, profiles: tuple[CacheProfile, ...], model: str, request: ProviderRequest
    ) -> CacheProfile:
        """Return the profile in force for this request."""
        ...

    def run_cache_plan(
        self, request: ProviderRequest, model: str, plan: CachePlan, output_tokens: int
    ) -> tuple[CacheResult, CommitWrites]:
        """Run the plan against the cache and record the request.

        Return the tokens read and written, and the function that stores the entries.
        """
        ...

    def record_request(
        self,
        request: ProviderRequest,
        model: str,
        plan: CachePlan,
        output_tokens: int,
        result: CacheResult,
    ) -> None:
        """Record a request whose cache result is known without a look-up."""
        ...
