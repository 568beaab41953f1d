"""A request to an emulated provider, before any HTTP library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from promptcache_emulator.faults import Fault
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
    fault: Fault
    path_params: Mapping[str, str] = field(default_factory=dict[str, str])
