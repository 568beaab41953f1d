"""A plan: how a prompt should be cached, with the reason and the source of each decision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import final

from promptcache.harness.names import TTL, Layer, Wire


@final
@dataclass(frozen=True, slots=True)
class Option:
    """One way to cache a layer, and what it costs for each call.

    `relative_cost` is the cost of the layer's tokens as a share of plain input, in the worst of the
    documented rules. `best_cost` is the same under the most favourable of them. `hit_rate` is the
    expected share of calls that read the layer from the cache.
    """

    name: str
    ttl: TTL | None
    hit_rate: float
    relative_cost: float
    best_cost: float


@final
@dataclass(frozen=True, slots=True)
class LayerPlan:
    """The decision for one layer. `options` are all that were compared, the cheapest first.

    `ttl` is None if the layer gets no breakpoint. `tokens` is an upper estimate, 0 for a history.
    """

    layer: Layer
    tokens: int
    ttl: TTL | None
    hit_rate: float
    relative_cost: float
    reason: str
    source: str
    options: tuple[Option, ...] = ()


@final
@dataclass(frozen=True, slots=True)
class Plan:
    """What `Prompt.plan` recommends. Equal inputs give equal plans.

    `should_cache` is False where caching costs more than plain input, or is impossible.
    `usd_per_call` and `usd_per_call_without_cache` are for the input of the planned layers; None if
    the price is unknown. `key_shards` is how many shards of the cache key the traffic needs.
    `assumption` says where the probabilities come from, `price_source` where the prices do.
    `keep_warm` answers whether pings pay.
    """

    prompt: str
    version: str
    model: str
    wire: Wire
    should_cache: bool
    layers: tuple[LayerPlan, ...]
    cache_key: str | None
    key_shards: int
    hit_rate: float
    usd_per_call: float | None
    usd_per_call_without_cache: float | None
    keep_warm: str
    assumption: str
    price_source: str | None
    notes: tuple[str, ...] = field(default=())

    @property
    def ttls(self) -> Mapping[Layer, TTL | None]:
        """The TTLs for `Prompt.chat(ttl=...)`; None for a layer that gets no breakpoint."""
        return {one.layer: one.ttl for one in self.layers}

    def __str__(self) -> str:
        lines = [f"{self.prompt} on {self.model} ({self.wire}), {self.assumption}"]
        for one in self.layers:
            mark = f"breakpoint, {one.ttl}" if one.ttl else "no breakpoint"
            size = f" (at most {one.tokens} tokens)" if one.tokens else ""
            lines.append(f"  {one.layer}{size}: {mark}; {one.reason}")
            lines.append(f"    source: {one.source}")
        lines.append(f"  keep warm: {self.keep_warm}")
        lines += [f"  note: {note}" for note in self.notes]
        if self.usd_per_call is not None:
            lines.append(
                f"  {self.usd_per_call:.6f} USD a call instead of "
                f"{self.usd_per_call_without_cache:.6f}, {self.hit_rate:.0%} of it read"
            )
        return "\n".join(lines)
