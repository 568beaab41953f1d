"""A request to an emulated provider, before any HTTP library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from promptcache_emulator.bounds import MAX_WORDS, bounded_int
from promptcache_emulator.faults import InjectedFault
from promptcache_emulator.json_util import JSONObject


@dataclass(frozen=True, slots=True)
class ProviderRequest:
    """One request. Header names are lower case; `path` has no query.

    `cache_scope` is the credential: a cache entry belongs to it. `path_params` are the named groups
    of the route's pattern.
    """

    method: str
    path: str
    body: JSONObject
    headers: Mapping[str, str]
    query: Mapping[str, str]
    cache_scope: str
    fault: InjectedFault
    path_params: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def word_count(self) -> int:
        """The length of the reply, from the header `x-emulator-words`. Raise ValueError."""
        text = self.headers.get("x-emulator-words", "8")
        return bounded_int(text, "x-emulator-words", 1, MAX_WORDS)
