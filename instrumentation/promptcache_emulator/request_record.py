"""The true result of one request, to compare reports with."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

from promptcache_emulator.cache import CacheResult
from promptcache_emulator.cache_plan import CachePlan
from promptcache_emulator.json_util import JSONObject


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """What the cache did for one request. `timestamp` is in epoch seconds."""

    timestamp: float
    path: str
    model: str
    cache_scope: str
    result: CacheResult
    output_tokens: int
    plan: CachePlan

    def to_json(self) -> JSONObject:
        """Return the record without the prompt, and with a digest in place of the credential."""
        result = self.result
        return {
            "at": self.timestamp,
            "path": self.path,
            "model": self.model,
            "tenant": blake2b(self.cache_scope.encode(), digest_size=4).hexdigest(),
            "output": self.output_tokens,
            "input": result.input_tokens,
            "read": result.cache_read_tokens,
            "write": result.cache_write_tokens,
            "written": dict(result.cache_write_by_ttl),
            "uncached": result.uncached_tokens,
            "reusable": result.reusable_tokens,
        }
