"""Count the tokens that a call could have read from the cache but did not, and what they cost.

docs/specs/diagnosis.md specifies the formulas ("Missed tokens").
"""

from __future__ import annotations

from typing import Final

from promptcache.diagnosis.caching import places_of_entries
from promptcache.diagnosis.evidence import CacheMiss, Evidence, RelatedCall
from promptcache.diagnosis.memory import PastCall
from promptcache.diagnosis.prefix_tokens import (
    estimate_removed_tokens,
    estimate_token_ends,
)
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
        if difference.kind == "break":
            reusable = _reusable_and_uncertain_tokens(evidence, related)[0]
        else:
            reusable = estimate_tokens_left_in_cache(past_call, rule, minimum)
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


def estimate_tokens_left_in_cache(past_call: PastCall, rule: CacheRule, minimum_tokens: int) -> int:
    """Return how many tokens a call left in the provider's cache.

    They are reported where the provider bills writes. Elsewhere they are the call's input tokens,
    rounded down to the granularity.
    """
    written = past_call.cache_write_tokens
    if written or (rule.bills_writes and written is not None):
        return past_call.cache_read_tokens + written
    return max(
        past_call.cache_read_tokens, _cacheable_tokens(past_call.input_tokens, rule, minimum_tokens)
    )


def missed_tokens_tolerance(evidence: Evidence, related: RelatedCall) -> float:
    """Return how many tokens may be missing by rounding and by the error of an estimate."""
    rule, difference = evidence.rule, related.difference
    rounding = rule.granularity if rule.granularity > 1 else 0
    if difference.kind == "extends":
        return rounding
    if difference.kind == "break":
        uncertain = _reusable_and_uncertain_tokens(evidence, related)[1]
        return rounding + ESTIMATE_TOLERANCE * uncertain
    is_exact = difference.shared_blocks == evidence.call.depth
    minimum = rule.minimum_tokens * (1.0 if is_exact else _MINIMUM_SAFETY_FACTOR)
    below_minimum = minimum - evidence.cache_read_tokens - 1
    error = 0.0 if is_exact else ESTIMATE_TOLERANCE * related.shared_tokens
    return rounding + max(error, below_minimum)


def _cacheable_tokens(tokens: int, rule: CacheRule, minimum_tokens: int) -> int:
    """Return how many of the first `tokens` of a prompt the provider can cache."""
    rounded = tokens - tokens % rule.granularity
    return rounded if rounded >= minimum_tokens else 0


def _reusable_and_uncertain_tokens(evidence: Evidence, related: RelatedCall) -> tuple[int, int]:
    """Return `_compute_reusable_tokens`, computed once for each related call."""
    if (known := related.reusable_and_uncertain_tokens) is None:
        known = related.reusable_and_uncertain_tokens = _compute_reusable_tokens(evidence, related)
    return known


def _compute_reusable_tokens(evidence: Evidence, related: RelatedCall) -> tuple[int, int]:
    """Return the tokens that could be read without the break, and how many of them are uncertain.

    They end with the last entry of the past call before content that is gone. Both calls report
    their input tokens, so either the removed or the added content has to be estimated from bytes.
    This matters for images: their tokens do not depend on their bytes.
    """
    past_call, difference, usage = related.past_call, related.difference, evidence.usage
    ends = estimate_token_ends(
        related.nodes, past_call.input_tokens, _known_ends(evidence, related)
    )
    depth = _last_useful_entry(past_call, difference.kept_depth, evidence.rule)
    removed, uncertain = estimate_removed_tokens(ends, difference.removed, depth)
    shared_tokens = ends.tokens[difference.shared_blocks]
    added = related.added_share * max(0.0, usage.input_tokens - shared_tokens)
    if added < uncertain and past_call.cache_params.model == evidence.call.cache_params.model:
        trailing = past_call.input_tokens - ends.tokens[difference.kept_depth]
        removed = max(0.0, past_call.input_tokens - usage.input_tokens + added - trailing)
        uncertain = added
    cached = ends.tokens[depth]
    if evidence.rule.bills_writes and past_call.cache_write_tokens is not None:
        cached = min(cached, past_call.cache_read_tokens + past_call.cache_write_tokens)
    cached -= cached % evidence.rule.granularity
    return round(cached - removed), round(uncertain)


def _known_ends(evidence: Evidence, related: RelatedCall) -> dict[int, int]:
    """Return depths of the past call at which the usage of both calls tells the tokens.

    A read ends at the break, if an entry is there. A call's reads and writes end at its last entry.
    """
    past_call, rule, read = related.past_call, evidence.rule, evidence.cache_read_tokens
    known: dict[int, int] = {}
    shared, estimate = related.difference.shared_blocks, related.shared_tokens
    entries = places_of_entries(past_call, rule) if rule.bills_writes else [shared]
    error = max(rule.granularity, ESTIMATE_TOLERANCE * estimate)
    if read and shared in entries and abs(read - estimate) <= error:
        known[shared] = read
    if rule.bills_writes and entries and past_call.cache_write_tokens:
        known[max(entries)] = past_call.cache_read_tokens + past_call.cache_write_tokens
    return known


def _last_useful_entry(past_call: PastCall, kept_depth: int, rule: CacheRule) -> int:
    """Return the depth of the last entry of a call up to `kept_depth`."""
    entries = places_of_entries(past_call, rule) if rule.bills_writes else []
    if not entries:
        return kept_depth
    return max((depth for depth in entries if depth <= kept_depth), default=0)


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
