"""Read from a usage what the provider charged. A field named `cost` is not always the bill."""

from __future__ import annotations

from typing import Final

from promptcache.common.coerce import JSONObject, as_mapping, as_number, as_str

TICKS_PER_USD: Final = 10**10
"""xAI reports the billed amount in ticks of 1e-10 USD (docs.x.ai, 2026)."""


def billed_usd(usage: JSONObject) -> float | None:
    """Return what the provider charged, None if it does not say so without doubt."""
    cost = usage.get("cost")
    if cost is not None:
        details = as_mapping(cost)
        return _total_of_cost_object(details) if details else _bill_of_cost_field(usage)
    ticks = usage.get("cost_in_usd_ticks")
    if isinstance(ticks, bool) or not isinstance(ticks, int | float):
        return None
    return ticks / TICKS_PER_USD if 0 <= ticks < TICKS_PER_USD**2 else None


def _total_of_cost_object(cost: JSONObject) -> float | None:
    """Read a cost object (Perplexity: docs.perplexity.ai, Sonar API, `usage.cost`)."""
    currency = as_str(cost.get("currency")) or "USD"
    return as_number(cost.get("total_cost")) if currency.upper() == "USD" else None


def _bill_of_cost_field(usage: JSONObject) -> float | None:
    """Read OpenRouter's `cost` (openrouter.ai/docs, usage accounting and bring your own key).

    With the user's own key at the vendor, `cost` is only OpenRouter's fee, and
    `upstream_inference_cost` is what the vendor charges. Without one, both are the same money.
    """
    cost = as_number(usage.get("cost"))
    upstream = as_number(as_mapping(usage.get("cost_details")).get("upstream_inference_cost"))
    has_own_key = usage.get("is_byok")
    if cost is None or (has_own_key is True and upstream is None):
        return None
    if has_own_key is True and upstream is not None:
        return cost + upstream
    # Responses of before `is_byok`: a cost that is not the vendor's may be a fee or a discount.
    is_doubtful = has_own_key is not False and upstream and cost != upstream
    return None if is_doubtful else cost


def is_plain_cost(counters: JSONObject) -> bool:
    """Return whether the bill is a bare number, without the fields that OpenRouter adds.

    Servers write credits, estimates or what is left of a plan into such a field. `counters` are the
    dotted names of a usage.
    """
    return "cost" in counters and not any(
        name == "is_byok" or name.startswith("cost_details.") for name in counters
    )
