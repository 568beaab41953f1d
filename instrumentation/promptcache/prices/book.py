"""The price book: finds the rates of a call by provider, model, tier, place and moment, and remembers them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import pairwise
from logging import getLogger
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from promptcache.common.bounded_dict import BoundedDict
from promptcache.model import Cost, Request, ResponseFacts, UnknownCostReason, Usage
from promptcache.prices import algebra, table
from promptcache.prices import model_names as names
from promptcache.prices.table import STANDARD_TIER, PricePeriod, PriceRow

if TYPE_CHECKING:
    from promptcache.prices.user_prices import UserPrices

log = getLogger(__name__)

MAX_REMEMBERED_PLANS: Final = 512
"""How many resolved price plans are remembered: enough for every model of an application, bounded against abuse."""

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
"""What providers call a service tier -> ours. Bought capacity (`scale`, `reserved`, `provisioned_throughput`) has no
price per token and is not here."""

_TIERS_BILLED_AS_STANDARD: Final = frozenset(
    {"auto", "default", "standard", "standard_only", "on_demand", "unspecified"}
)
"""Requested tiers that end in the standard tier where the response says nothing."""

_REGION_BY_HOST: Final = (
    ("openai", r"[a-z]{2}\.api\.openai\.com", "regional"),
    (
        "gcp.",
        r"[a-z0-9-]+-aiplatform\.googleapis\.com|aiplatform\.[a-z0-9-]+\.rep\.googleapis\.com",
        "regional",
    ),
    ("aws.", r".*\.us-gov-[a-z0-9-]+\.amazonaws\.com", "government"),
    ("aws.", r".*\.(?!us-)[a-z]{2}-[a-z0-9-]+\.amazonaws\.com", "abroad"),
)
"""Provider, pattern of its host -> the place, where it is not the one that the vendor's list is of."""
_GLOBAL_REGIONS: Final = frozenset({"", "global", "not_available"})
_CACHE_MARKER_KEYS: Final = frozenset(
    {"cache_control", "cachePoint", "prompt_cache_options", "prompt_cache_breakpoint"}
)
_AGREEMENT_TOLERANCE: Final = 1e-4
"""A list price within this share of what the provider billed is the price that was billed."""


class PricePlan(NamedTuple):
    """How a kind of call is priced: the periods of its tier, or why there are none."""

    periods: tuple[PricePeriod, ...] = ()
    unknown: UnknownCostReason | None = None
    tier: str = STANDARD_TIER
    row: PriceRow | None = None


def pricing_region(provider: str, host: str | None, geo: str | None) -> str:
    """`""` for the place that the list is of, `regional`, `abroad` or `government` by the host, else what was told."""
    if geo and geo.lower() not in _GLOBAL_REGIONS:
        return geo.lower()
    for start, pattern, found in _REGION_BY_HOST if host else ():
        if provider.startswith(start) and re.fullmatch(pattern, host or ""):
            return found
    return ""


def billed_tier(facts: ResponseFacts, requested_tier: str | None) -> str | None:
    """The tier that was billed: as returned, never as asked for. None where it cannot be known."""
    word = (facts.service_tier or "").lower()
    if not word and requested_tier and requested_tier.lower() not in _TIERS_BILLED_AS_STANDARD:
        return None
    found = TIER_BY_PROVIDER_NAME.get(word)
    if facts.is_batch:
        found = "batch" if found in (STANDARD_TIER, "batch") else None
    if (facts.speed or "standard").lower() == "standard":
        return found
    return "fast" if facts.speed == "fast" and found == STANDARD_TIER else None


def child_items(container: Any) -> Iterable[tuple[Any, Any]]:
    """What a container holds, under its keys or under None; a scalar holds nothing."""
    held: Any = container  # narrowed types of containers are unknown to a type checker
    pairs: Iterable[tuple[Any, Any]] = ()
    if isinstance(container, dict):
        pairs = held.items()
    elif isinstance(container, (list, tuple)):
        pairs = ((None, one) for one in held)
    return pairs


def requested_ttl(body: Mapping[str, Any], default_ttl: str | None) -> str | None:
    """The one TTL that all cache markers of a request ask for; None where they ask for several."""
    asked: set[str | None] = set()
    stack: list[Any] = [body]
    seen: set[int] = set()
    while stack:
        here = stack.pop()
        if id(here) in seen:
            continue
        seen.add(id(here))
        for key, value in child_items(here):
            if key in _CACHE_MARKER_KEYS and isinstance(value, dict):
                ttl = dict(child_items(value)).get("ttl")
                asked.add(str(ttl) if ttl else default_ttl)
            else:
                stack.append(value)
    return asked.pop() if len(asked) == 1 else None if asked else default_ttl


def billed_models(request: Request, facts: ResponseFacts) -> tuple[str, ...]:
    """The name by which the call was billed: the response's, but on Bedrock the profile that was called, which
    decides the price, and on Azure never the deployment, whose name says nothing."""
    if request.provider == "aws.bedrock":
        found = request.model or facts.model
    elif request.provider.startswith("azure."):
        found = facts.model
    else:
        found = facts.model or request.model
    return (found,) if found else ()


class PriceBook:
    """Prices: the user's own first, then the compiled table. Safe to share between threads."""

    def __init__(self, user_prices: UserPrices | None = None) -> None:
        self._user_prices = user_prices
        self._plans: BoundedDict[tuple[Any, ...], PricePlan] = BoundedDict(MAX_REMEMBERED_PLANS)

    @classmethod
    def load(cls, path: str | None = None) -> PriceBook:
        """The built-in prices, under those of the price file at `path`.

        Never raises: a file that cannot be used is said once in the log, and the built-in prices stay in force.
        """
        if not path:
            return cls()
        from promptcache.prices.user_prices import PriceFileError, load_user_prices

        try:
            return cls(load_user_prices(path))
        except PriceFileError as error:
            log.warning("The price file is not used, built-in prices stay in force: %s", error)
            return cls()

    def compute_cost(self, request: Request, facts: ResponseFacts, usage: Usage | None) -> Cost:
        """What the call cost. `amount` is None, with the reason, where that is not certain. Never raises."""
        local = self._compute_list_cost(request, facts, usage)
        billed = facts.billed_usd
        if billed is None:
            return local
        if local.amount is None or abs(local.amount - billed) > _AGREEMENT_TOLERANCE * abs(billed):
            return Cost(billed, source="provider", price_date=local.price_date)
        return local._replace(amount=billed, source="provider")

    def find_plan(self, request: Request, facts: ResponseFacts) -> PricePlan:
        """How a call is priced, without its usage: row, tier and periods, or why it has no price."""
        given = (request.body.get(name) for name in ("service_tier", "serviceTier"))
        asked = next((tier for tier in given if isinstance(tier, str) and tier), None)
        key = (
            request.provider,
            request.model,
            facts.model,
            request.host,
            facts.service_tier,
            facts.speed,
            facts.inference_geo,
            facts.is_batch,
            asked,
        )
        found = self._plans.get(key)
        if found is None:
            found = self._plans[key] = self._resolve_plan(request, facts, key[-1])
        return found

    def storage_cost(
        self, model: str, tokens: int, seconds: float, at: float, provider: str = "gcp.gemini"
    ) -> float | None:
        """USD for keeping `tokens` in a named cache for `seconds` from `at` on (epoch seconds); None where unknown.

        Prorated to the second, each second at the price of its own day.
        """
        row = self.find_row(provider, (model,))
        if row is None or seconds < 0:
            return None
        periods = row.periods_of_tier(STANDARD_TIER, 1.0)
        edges = sorted(
            {at, at + seconds, *(p.since for p in periods if at < p.since < at + seconds)}
        )
        total = 0.0
        for start, end in pairwise(edges):
            held = table.period_in_force(periods, start)
            price = held and held.rates_by_band[0].storage_price
            if price is None:
                return None
            total += tokens * (end - start) / 3600 * price
        return total

    def find_row(self, provider: str, models: Iterable[str]) -> PriceRow | None:
        """The row of the first of `models` that is known: the user's own rows and aliases, then the table."""
        for model in models:
            target = (
                self._user_prices.resolve_alias(provider, model)
                if self._user_prices
                else (provider, model)
            )
            own = self._user_prices.find_row(*target) if self._user_prices else None
            if own:
                return own
            for vendor in names.vendors_of_provider(target[0]):
                row = table.find_row(vendor, names.candidate_names(vendor, target[1]))
                if row:
                    return row
        return None

    def _resolve_plan(
        self, request: Request, facts: ResponseFacts, requested_tier: str | None
    ) -> PricePlan:
        words = [name for name in (request.model, facts.model) if name]
        named = [
            name
            for name in words
            if self._user_prices and self._user_prices.mentions(request.provider, name)
        ]
        row = self.find_row(request.provider, named or billed_models(request, facts))
        if row is None:
            return PricePlan(unknown="model")
        billed = billed_tier(facts, requested_tier)
        here = pricing_region(request.provider, request.host, facts.inference_geo)
        factor = row.uplift.get(here, row.uplift.get("*")) if here else 1.0
        # Another seller's list speaks for the maker's standard price only.
        foreign = (
            row.vendor
            and row.vendor != names.vendors_of_provider(request.provider)[0]
            and billed != STANDARD_TIER
        )
        if billed is None or factor is None or foreign:
            return PricePlan(unknown="tier", row=row)
        periods = row.periods_of_tier(billed, factor)
        missing: UnknownCostReason = "price" if billed == STANDARD_TIER else "tier"
        return PricePlan(periods, None if periods else missing, billed, row)

    def _compute_list_cost(
        self, request: Request, facts: ResponseFacts, usage: Usage | None
    ) -> Cost:
        plan = self.find_plan(request, facts)
        if plan.unknown:
            return Cost(None, unknown_reason=plan.unknown)
        found = table.period_in_force(plan.periods, request.started_at)
        if found is None:
            return Cost(None, unknown_reason="price" if plan.tier == STANDARD_TIER else "tier")
        if usage is None:
            return Cost(None, unknown_reason="usage", price_date=found.rates_by_band[0].date)
        rates = found.rates_for_input(usage.input_tokens)
        asked = (
            requested_ttl(request.body, next(iter(rates.cache_write_prices), None))
            if algebra.count_writes_of_unknown_ttl(usage)
            else None
        )
        return algebra.price_usage(rates, usage, asked)
