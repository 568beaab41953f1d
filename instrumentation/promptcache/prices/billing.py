"""What decides the price of a call beside its tokens: billed model, tier, region and TTL."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from promptcache.model import Request, ResponseFacts
from promptcache.prices.table import STANDARD_TIER

TIER_BY_PROVIDER_NAME: Final[Mapping[str, str]] = {
    "": STANDARD_TIER,
    "standard": STANDARD_TIER,
    "default": STANDARD_TIER,
    "on_demand": STANDARD_TIER,
    "on_demand_flex": "flex",
    "on_demand_priority": "priority",
    "flex": "flex",
    "priority": "priority",
    "fast": "priority",
    "batch": "batch",
}
"""The tier in the price table for each name of a service tier.

Provisioned capacity (`scale`, `reserved`, `provisioned_throughput`) has no price per token, so it
is not here.
"""

_TIERS_BILLED_AS_STANDARD: Final = frozenset(
    {"auto", "default", "standard", "standard_only", "on_demand", "unspecified"}
)
"""Requested tiers that are billed as standard if the response names no tier."""

_REGION_BY_HOST: Final = (
    ("openai", r"[a-z]{2}\.api\.openai\.com", "regional"),
    (
        "gcp.",
        r"[a-z0-9-]+-aiplatform\.googleapis\.com|aiplatform\.[a-z0-9-]+\.rep\.googleapis\.com",
        "regional",
    ),
    ("azure.", r".*\.azure\.us", "government"),
    ("aws.", r".*\.us-gov-[a-z0-9-]+\.(?:amazonaws\.com|api\.aws)", "government"),
    ("aws.", r".*\.(?!us-)[a-z]{2}-[a-z0-9-]+\.(?:amazonaws\.com|api\.aws)", "abroad"),
)
"""Start of the provider's name, pattern of the host, and the pricing region of these hosts.

Other hosts have the prices of the vendor's list.
"""
_GLOBAL_REGIONS: Final = frozenset({"", "global", "not_available"})
_CACHE_MARKER_KEYS: Final = frozenset(
    {"cache_control", "cachePoint", "prompt_cache_options", "prompt_cache_breakpoint"}
)


def pricing_region(provider: str, host: str | None, geo: str | None) -> str:
    """Return the region that decides the price, "" for the region of the vendor's list.

    It is the region that the response names (`geo`), else `regional`, `abroad` or `government`
    by the host.
    """
    if geo and geo.lower() not in _GLOBAL_REGIONS:
        return geo.lower()
    for start, pattern, region in _REGION_BY_HOST if host else ():
        if provider.startswith(start) and re.fullmatch(pattern, host or ""):
            return region
    return ""


def billed_tier(facts: ResponseFacts, requested_tier: str | None) -> str | None:
    """Return the tier that was billed, None if it is unknown.

    The response decides, never the request. A requested tier that the response does not confirm
    is unknown.
    """
    returned_tier = (facts.service_tier or "").lower()
    if (
        not returned_tier
        and requested_tier
        and requested_tier.lower() not in _TIERS_BILLED_AS_STANDARD
    ):
        return None
    tier = TIER_BY_PROVIDER_NAME.get(returned_tier)
    if facts.is_batch:
        tier = "batch" if tier in (STANDARD_TIER, "batch") else None
    if (facts.speed or "standard").lower() == "standard":
        return tier
    return "fast" if facts.speed == "fast" and tier == STANDARD_TIER else None


def single_requested_ttl(body: Mapping[str, Any], default_ttl: str | None) -> str | None:
    """Return the TTL that all cache markers of a request ask for, None if they ask for several.

    A marker without a TTL, and a request without a marker, mean the vendor's default.
    """
    ttls: set[str | None] = set()
    stack: list[Any] = [body]
    visited: set[int] = set()
    while stack:
        node = stack.pop()
        if id(node) in visited:
            continue
        visited.add(id(node))
        for key, value in _items_of_container(node):
            if key in _CACHE_MARKER_KEYS and isinstance(value, dict):
                ttl = dict(_items_of_container(value)).get("ttl")
                ttls.add(str(ttl) if ttl else default_ttl)
            else:
                stack.append(value)
    if not ttls:
        return default_ttl
    return ttls.pop() if len(ttls) == 1 else None


def _items_of_container(value: Any) -> Iterable[tuple[Any, Any]]:
    """Return the children of a container by key, by None in a list. A scalar has no children."""
    container: Any = value  # a type checker does not know the types in a narrowed container
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, dict):
        items = container.items()
    elif isinstance(value, (list, tuple)):
        items = ((None, child) for child in container)
    return items


def billed_model_if_known(request: Request, facts: ResponseFacts) -> tuple[str, ...]:
    """Return the model name that decides the price, nothing if it is unknown.

    It is the model of the response, else that of the request. On Bedrock the request decides,
    since it names the inference profile. On Azure only the response counts: the request names a
    deployment, which says nothing about the model.
    """
    if request.provider == "aws.bedrock":
        model = request.model or facts.model
    elif request.provider.startswith("azure."):
        model = facts.model
    else:
        model = facts.model or request.model
    return (model,) if model else ()
