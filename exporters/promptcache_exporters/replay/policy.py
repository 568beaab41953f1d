"""What could have been done differently: TTLs, breakpoints, pings, another model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal, NamedTuple

from promptcache.providers.cache_rules import CacheRule
from promptcache_exporters.replay.traffic import TokenPrices

Marks = Literal["recorded", "tail", "static,tail", "reused"]
Caching = Literal["on", "off", "unlimited"]
LAYERS: Final = ("tools", "system", "messages")


@dataclass(frozen=True)
class Pings:
    """Keep the prefix of a conversation warm: read it `count` times, every `seconds`.

    The clock starts with the last request. Prefixes below `min_tokens` are left to expire.
    """

    seconds: float
    count: int
    min_tokens: int = 0


class TargetModel(NamedTuple):
    """Another model: the rule of its cache, its prices, its tokens as a factor of the recorded.

    `token_range` has the smallest and the largest factor that are likely.
    """

    rule: CacheRule
    prices: TokenPrices
    token_factor: float = 1.0
    token_range: tuple[float, float] = (1.0, 1.0)


@dataclass(frozen=True)
class Policy:
    """A way to use the cache. The defaults repeat what was recorded.

    `ttls` maps a layer (`tools`, `system`, `messages`) to the TTL of its breakpoints. `marks`
    says where breakpoints stand: as recorded, at the end of the prompt, there and at the end of the
    static part, or at the end of what another call shares, which only hindsight knows. `without`
    names a break that did not happen. `caching` is off for plain prices, and unlimited for a cache
    that forgets nothing and has no minimum.
    """

    name: str = "as recorded"
    ttls: Mapping[str, str] = field(default_factory=dict[str, str])
    marks: Marks = "recorded"
    pings: Pings | None = None
    target: TargetModel | None = None
    caching: Caching = "on"
    without: str = ""

    @property
    def is_record(self) -> bool:
        """Whether the policy changes nothing."""
        return replace(self, name="") == Policy(name="")
