"""Count the tokens that a call could have read from the cache but did not, and what they cost.

docs/specs/diagnosis.md specifies the formulas ("Missed tokens").
"""

from __future__ import annotations

from typing import Final

from promptcache.diagnosis.evidence import CacheMiss, Evidence, RelatedCall
from promptcache.diagnosis.memory import PastCall
from promptcache.model import Cost, Usage
from promptcache.providers.cache_rules import CacheRule

ESTIMATE_TOLERANCE: Final = 0.25
"""A count estimated from bytes may be wrong by this share of it."""

_MINIMUM_SAFETY_FACTOR: Final = 1.3
"""An estimated prefix counts as long enough to be cached from this multiple of the minimum on."""


def find_misses(evidence: Evidence) -> list[CacheMiss]:
    """Return the related calls of which the present call missed tokens, beyond the tolerance."""
    return [
        CacheMiss(related, missed)
        for related in evidence.related_calls
        if (missed := count_missed_tokens(evidence, related))
        > missed_tokens_tolerance(evidence, related)
    ]


def count_missed_tokens(evidence: Evidence, related: RelatedCall) -> int:
    """Return how many tokens the call could have read after `related`, less those that it read."""
    past_call, difference = related.past_call, related.difference
    rule, minimum = evidence.rule, evidence.minimum_tokens
    if difference.kind in ("branch", "shortened"):
        cached = estimate_tokens_left_in_cache(past_call, rule, minimum)
        reusable = min(related.shared_tokens, cached or related.shared_tokens)
    else:
        removed = _removed_and_estimated_tokens(evidence, related)[0]
        reusable = estimate_tokens_left_in_cache(past_call, rule, minimum, removed)
        # Reads stuck at one count show that the provider reads nothing of what was written beyond.
        stuck = [
            one.past_call.cache_read_tokens
            for one in evidence.related_calls
            if one.past_call.is_read_stuck
        ]
        if stuck and (
            difference.kind == "break"
            or not past_call.is_read_stuck
            or evidence.has_changed_params(related)
        ):
            reusable = min(reusable, max(stuck))
    reusable = _cacheable_tokens(min(reusable, evidence.usage.input_tokens), rule, minimum)
    return reusable - evidence.cache_read_tokens


def estimate_tokens_left_in_cache(
    past_call: PastCall, rule: CacheRule, minimum_tokens: int, removed_tokens: int = 0
) -> int:
    """Return how many tokens a call left in the provider's cache, less `removed_tokens`.

    They are reported where the provider bills writes. Elsewhere they are the call's input tokens,
    rounded down to the granularity.
    """
    if rule.bills_writes or past_call.cache_write_tokens:
        written = past_call.cache_write_tokens or 0
        return past_call.cache_read_tokens + written - removed_tokens
    return max(
        past_call.cache_read_tokens - removed_tokens,
        _cacheable_tokens(past_call.input_tokens - removed_tokens, rule, minimum_tokens),
    )


def missed_tokens_tolerance(evidence: Evidence, related: RelatedCall) -> float:
    """Return how many tokens may be missing by rounding and by the error of an estimate."""
    rule, difference = evidence.rule, related.difference
    rounding = rule.granularity if rule.granularity > 1 else 0
    if difference.kind == "extends":
        return rounding
    if difference.kind == "break":
        estimated = _removed_and_estimated_tokens(evidence, related)[1]
        return rounding + ESTIMATE_TOLERANCE * estimated
    is_exact = difference.shared_blocks == evidence.call.depth
    minimum = rule.minimum_tokens * (1.0 if is_exact else _MINIMUM_SAFETY_FACTOR)
    below_minimum = minimum - evidence.cache_read_tokens - 1
    error = 0.0 if is_exact else ESTIMATE_TOLERANCE * related.shared_tokens
    return rounding + max(error, below_minimum)


def _cacheable_tokens(tokens: int, rule: CacheRule, minimum_tokens: int) -> int:
    """Return how many of the first `tokens` of a prompt the provider can cache."""
    rounded = tokens - tokens % rule.granularity
    return rounded if rounded >= minimum_tokens else 0


def _removed_and_estimated_tokens(evidence: Evidence, related: RelatedCall) -> tuple[int, int]:
    """Return how many tokens of the related call are not in this one, and how many are estimated.

    Both calls report their input tokens, so only the smaller of the removed and the added content
    is estimated from bytes. This matters for images: their tokens do not depend on their bytes.
    """
    past_call, usage = related.past_call, evidence.usage
    added = round(related.added_share * usage.input_tokens)
    if (
        related.removed_tokens <= added
        or past_call.cache_params.model != evidence.call.cache_params.model
    ):
        return related.removed_tokens, related.removed_tokens
    return max(0, past_call.input_tokens - usage.input_tokens + added), added


def price_of_write(usage: Usage, cost: Cost, ttl: str, input_price: float) -> float:
    """Return what a written token of this TTL costs, in USD.

    The response of a gateway may not name the TTL: then the call's cost knows the requested one.
    """
    if (price := cost.cache_write_prices.get(ttl)) is not None:
        return price
    if cost.parts and usage.cache_write_tokens:
        return cost.parts.get("cache_write", 0.0) / usage.cache_write_tokens or input_price
    return input_price


def compute_wasted_usd(usage: Usage, cost: Cost | None, missed_tokens: int) -> float | None:
    """Return what the missed tokens cost more than a cache read, in USD.

    Missed tokens that were written count at the write price, the others at the input price. The
    result is at most the call's input cost, and None where a price is unknown.
    """
    if cost is None or cost.input_price is None or cost.cache_read_price is None:
        return None
    read_price = cost.cache_read_price
    unwritten, wasted = missed_tokens, 0.0
    input_cost = (
        usage.uncached_tokens * cost.input_price + (usage.cache_read_tokens or 0) * read_price
    )
    for ttl, tokens in usage.cache_write_by_ttl.items():
        price = price_of_write(usage, cost, ttl, cost.input_price)
        rewritten = min(unwritten, tokens)
        wasted += rewritten * (price - read_price)
        input_cost += tokens * price
        unwritten -= rewritten
    return max(0.0, min(wasted + unwritten * (cost.input_price - read_price), input_cost))
