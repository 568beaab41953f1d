"""What a call used, in tokens, and what it cost, in USD."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple, final

TTL = Literal["5m", "30m", "1h", "12h", "unknown"]
TTL_SECONDS: Final[Mapping[str, int]] = MappingProxyType(
    {"5m": 300, "30m": 1800, "1h": 3600, "12h": 43200}
)
"""Every TTL with which providers bill cache writes, in seconds."""

UnknownCostReason = Literal["model", "price", "usage", "tier", "tool_fee"]
"""Why a call has no cost: the piece of knowledge that is missing."""

_EMPTY: Final[Mapping[str, Any]] = MappingProxyType({})


@final
class Usage(NamedTuple):
    """Tokens in disjoint classes, all of them >= 0.

    `uncached_tokens + (cache_read_tokens or 0) + (cache_write_tokens or 0) == input_tokens`.
    `cache_read_tokens` and `cache_write_tokens` are None where the provider did not report them,
    which is not the same as 0. `cache_write_by_ttl` sums to `cache_write_tokens`. `output_tokens`
    include `reasoning_tokens`. `modality_tokens` splits a class further where prices differ, by
    names such as `audio.input`, `audio.read`, `audio.output` and `image.input`.
    `server_tool_calls` counts the calls of each server tool. `inconsistencies` names the reported
    numbers that contradict each other. `other_attempts` are the attempts of other models that are
    billed beside this usage, each with its model. `credited_write_tokens` are writes that are
    billed as reads. `is_billed` is False for a refusal before any output.
    """

    input_tokens: int
    uncached_tokens: int
    cache_read_tokens: int | None
    cache_write_tokens: int | None
    cache_write_by_ttl: Mapping[str, int] = _EMPTY
    output_tokens: int | None = None
    reasoning_tokens: int | None = None
    modality_tokens: Mapping[str, int] = _EMPTY
    server_tool_calls: Mapping[str, int] = _EMPTY
    inconsistencies: tuple[str, ...] = ()
    other_attempts: tuple[tuple[str | None, Usage], ...] = ()
    credited_write_tokens: int = 0
    is_billed: bool = True


@final
class Cost(NamedTuple):
    """The cost of a call in USD. `amount` is None if it is unknown, for `unknown_reason`.

    With the reason `tool_fee` only the fee of a server tool is unknown, and `parts` holds the rest.

    `parts` holds `input`, `cache_read`, `cache_write`, `output` and, where billed, `tools`. They
    sum to `amount`, unless the provider itself reported the amount. `without_cache` is the cost of
    the same tokens at the plain input price. `input_price`, `cache_read_price` and
    `cache_write_prices` (by TTL) are marginal prices in USD per token. `price_date` is the date
    of the price list, as `YYYY-MM-DD`. `attempts` are the billed attempts of an answer to which
    several models contributed, in their order, each with its model, usage and cost.
    """

    amount: float | None
    parts: Mapping[str, float] = _EMPTY
    without_cache: float | None = None
    input_price: float | None = None
    cache_read_price: float | None = None
    cache_write_prices: Mapping[str, float] = _EMPTY
    source: Literal["provider", "local"] = "local"
    price_date: str | None = None
    unknown_reason: UnknownCostReason | None = None
    attempts: tuple[tuple[str | None, Usage, Cost], ...] = ()
