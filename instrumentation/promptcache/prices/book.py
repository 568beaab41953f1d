"""The price book: find the prices of a call, and compute its cost."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import pairwise
from logging import getLogger
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from promptcache.common.bounded_dict import BoundedDict
from promptcache.model import Cost, Request, ResponseFacts, UnknownCostReason, Usage
from promptcache.prices import table
from promptcache.prices.algebra import compute_cost_at_rates, count_write_tokens_of_unknown_ttl
from promptcache.prices.billing import (
    billed_model_if_known,
    billed_tier,
    pricing_region,
    single_requested_ttl,
)
from promptcache.prices.model_names import candidate_model_names, price_lists_of_provider
from promptcache.prices.rates import Rates
from promptcache.prices.table import STANDARD_TIER, PricePeriod, PriceRow
from promptcache.prices.tool_fees import apply_request_to_tools, use_fees_of_seller
from promptcache.providers.bills import is_plain_cost
from promptcache.providers.registry import PROVIDERS_BY_NAME

if TYPE_CHECKING:
    from promptcache.prices.user_prices import UserPrices

log = getLogger(__name__)

MAX_REMEMBERED_PLANS: Final = 512
"""More price plans than an application uses models. The limit protects against made-up names."""

_DEFAULT_TTLS: Final = ("30m", "unknown")
"""The TTLs of a write that nobody asked for. A longer TTL has a price of its own."""

_ROUTER: Final = "model-router"
_ROUTER_DEPLOYMENT: Final = re.compile(r"model[-_ ]?router", re.IGNORECASE)
"""The default name of a deployment, and LiteLLM's name (`azure_ai/model_router/...`)."""

_AGREEMENT_TOLERANCE: Final = 1e-4
"""A list price agrees with the provider's bill if it differs by at most this share."""


class PricePlan(NamedTuple):
    """How a kind of call is priced: the periods of its tier, or why it has no price."""

    periods: tuple[PricePeriod, ...] = ()
    unknown_reason: UnknownCostReason | None = None
    tier: str = STANDARD_TIER
    row: PriceRow | None = None


class PriceBook:
    """The user's prices and the built-in price table. Safe to share between threads."""

    def __init__(self, user_prices: UserPrices | None = None) -> None:
        self._user_prices = user_prices
        self._plans: BoundedDict[tuple[Any, ...], PricePlan] = BoundedDict(MAX_REMEMBERED_PLANS)

    @classmethod
    def load_with_user_prices(cls, path: str | None = None) -> PriceBook:
        """Return a price book with the user's price file, if there is a path.

        Never raises. If the file has errors, one warning names all of them, and only the built-in
        prices are used.
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
        """Return the cost of a call. Never raises.

        `amount` is None, with the reason, if the cost is not certain. If the provider reported
        what it billed, that is the amount. The parts are given only if the list price agrees.
        """
        list_cost = self._compute_list_cost(request, facts, usage)
        billed = facts.billed_usd
        if billed is None or not _is_bill_of_provider(request, facts):
            return list_cost
        amount = list_cost.amount
        if amount is None or abs(amount - billed) > _AGREEMENT_TOLERANCE * abs(billed):
            return Cost(billed, source="provider", price_date=list_cost.price_date)
        return list_cost._replace(amount=billed, source="provider")

    def find_plan(self, request: Request, facts: ResponseFacts) -> PricePlan:
        """Return how a call is priced, without its usage: row, tier and periods, or the reason."""
        requested_tier: str | None = None
        for name in ("service_tier", "serviceTier"):
            # An object of the application's must not be asked whether it is true.
            if isinstance(tier := request.body.get(name), str) and tier:
                requested_tier = tier
                break
        key = (
            request.provider,
            request.model,
            facts.model,
            request.host,
            facts.service_tier,
            facts.speed,
            facts.inference_geo,
            facts.is_batch,
            requested_tier,
        )
        plan = self._plans.get(key)
        if plan is None:
            plan = self._plans[key] = self._resolve_plan(request, facts, requested_tier)
        return plan

    def compute_storage_cost(
        self, model: str, tokens: int, seconds: float, at: float, provider: str = "gcp.gemini"
    ) -> float | None:
        """Return the cost in USD of storing `tokens` for `seconds` from `at` (epoch seconds).

        Each second has the price of its own day. The result is None if a price is unknown.
        """
        row = self.find_price_row(provider, (model,))
        if row is None or seconds < 0:
            return None
        periods = row.periods_of_tier(STANDARD_TIER, 1.0)
        end = at + seconds
        changes = {period.since for period in periods if at < period.since < end}
        total = 0.0
        for start, stop in pairwise(sorted({at, end, *changes})):
            period = table.latest_period_in_force(periods, start)
            price = period and period.rates_by_band[0].storage_price
            if price is None:
                return None
            total += tokens * (stop - start) / 3600 * price
        return total

    def find_price_row(self, provider: str, models: Iterable[str]) -> PriceRow | None:
        """Return the row of the first of `models` that has one.

        The user's aliases and rows win over the price table.
        """
        for model in models:
            target_provider, target = provider, model
            if self._user_prices:
                target_provider, target = self._user_prices.resolve_alias(provider, model)
                if row := self._user_prices.find_price_row(target_provider, target):
                    return row
            for vendor in price_lists_of_provider(target_provider):
                if row := table.find_price_row(vendor, candidate_model_names(vendor, target)):
                    return row
        return None

    def _resolve_plan(
        self, request: Request, facts: ResponseFacts, requested_tier: str | None
    ) -> PricePlan:
        row = self.find_price_row(request.provider, self._models_to_price(request, facts))
        if row is None:
            return PricePlan(unknown_reason="model")
        tier = billed_tier(facts, requested_tier)
        region = pricing_region(request.provider, request.host, facts.inference_geo)
        factor = row.uplift.get(region, row.uplift.get("*")) if region else 1.0
        # The list of another vendor has the maker's price for the standard tier only.
        is_foreign_list = row.vendor and row.vendor != price_lists_of_provider(request.provider)[0]
        if tier is None or factor is None or (is_foreign_list and tier != STANDARD_TIER):
            return PricePlan(unknown_reason="tier", row=row)
        periods = row.periods_of_tier(tier, factor)
        return PricePlan(periods, None if periods else _reason_of_missing_price(tier), tier, row)

    def _models_to_price(self, request: Request, facts: ResponseFacts) -> Iterable[str]:
        """Return the names that the user's price file has, else the billed model."""
        if self._user_prices:
            names = [name for name in (request.model, facts.model) if name]
            names = [
                name for name in names if self._user_prices.has_alias_or_row(request.provider, name)
            ]
            if names:
                return names
        return billed_model_if_known(request, facts)

    def _compute_list_cost(
        self, request: Request, facts: ResponseFacts, usage: Usage | None
    ) -> Cost:
        if usage is not None and (usage.other_attempts or usage.credited_write_tokens):
            return self._compute_cost_of_attempts(request, facts, usage)
        plan = self.find_plan(request, facts)
        if plan.unknown_reason:
            return Cost(None, unknown_reason=plan.unknown_reason)
        period = table.latest_period_in_force(plan.periods, request.started_at)
        if period is None:
            return Cost(None, unknown_reason=_reason_of_missing_price(plan.tier))
        if usage is None:
            price_date = period.rates_by_band[0].date
            return Cost(None, unknown_reason="usage", price_date=price_date)
        rates = period.rates_for_input(usage.input_tokens)
        usage = apply_request_to_tools(request, usage)
        if usage.server_tool_calls:
            seller = price_lists_of_provider(request.provider)[0]
            rates = use_fees_of_seller(rates, plan.row, seller)
        if usage.cache_write_tokens and not rates.cache_write_prices:
            rates = _price_writes_as_input(rates, request, facts)
        ttl = None
        if count_write_tokens_of_unknown_ttl(usage):
            ttl = single_requested_ttl(request.body, next(iter(rates.cache_write_prices), None))
        found = compute_cost_at_rates(rates, usage, ttl)
        if not usage.is_billed:
            return _without_bill(found)
        return self._add_router_fee(found, request, facts, usage)

    def _add_router_fee(
        self, cost: Cost, request: Request, facts: ResponseFacts, usage: Usage
    ) -> Cost:
        """Add the fee of Azure's model router: a price per input token beside the model's own.

        Source: azure.microsoft.com, pricing of Foundry models. Only a deployment whose name says
        `model-router` is known to be one. A price in the user's file is final.
        """
        name = request.model or ""
        is_routed = (
            cost.amount is not None
            and request.provider.startswith("azure.")
            and _ROUTER_DEPLOYMENT.search(name)
            and not _ROUTER_DEPLOYMENT.search(facts.model or "")
        )
        row = table.find_price_row("azure", (_ROUTER,)) if is_routed else None
        users = self._user_prices
        if row is None or (users and users.has_alias_or_row(request.provider, name)):
            return cost
        periods = row.periods_of_tier(STANDARD_TIER, 1.0)
        period = table.latest_period_in_force(periods, request.started_at)
        price = period and period.rates_for_input(usage.input_tokens).input_price
        if price is None:
            return Cost(None, cost.parts, unknown_reason="tool_fee", price_date=cost.price_date)
        return _add_fee(cost, price * usage.input_tokens)

    def _compute_cost_of_attempts(
        self, request: Request, facts: ResponseFacts, usage: Usage
    ) -> Cost:
        """Return the cost of an answer to which several models contributed, each at its price."""
        own = usage._replace(other_attempts=(), credited_write_tokens=0)
        found = own_cost = self._compute_list_cost(request, facts, _with_credit(usage))
        attempts: list[tuple[str | None, Usage, Cost]] = []
        for model, attempt in usage.other_attempts:
            name = model or request.model
            other = self._compute_list_cost(
                request._replace(model=name), facts._replace(model=name), attempt
            )
            attempts.append((name, attempt, other))
            found = _add_costs(found, other)
        if attempts:
            attempts.append((facts.model or request.model, own, own_cost))
        return found._replace(attempts=tuple(attempts))


def _with_credit(usage: Usage) -> Usage:
    """Return the own usage as it is billed: credited writes count as reads."""
    usage = usage._replace(other_attempts=())
    rest = credited = usage.credited_write_tokens
    if not credited:
        return usage
    by_ttl: dict[str, int] = {}
    for ttl, tokens in usage.cache_write_by_ttl.items():
        taken = min(rest, tokens)
        rest -= taken
        by_ttl[ttl] = tokens - taken
    return usage._replace(
        cache_read_tokens=(usage.cache_read_tokens or 0) + credited,
        cache_write_tokens=(usage.cache_write_tokens or 0) - credited,
        cache_write_by_ttl=by_ttl,
        credited_write_tokens=0,
    )


def _add_fee(cost: Cost, fee: float) -> Cost:
    parts = {**cost.parts, "tools": cost.parts.get("tools", 0.0) + fee}
    return cost._replace(
        amount=(cost.amount or 0.0) + fee,
        parts=parts,
        without_cache=(cost.without_cache or 0.0) + fee,
    )


def _is_bill_of_provider(request: Request, facts: ResponseFacts) -> bool:
    """Return whether the reported cost is a bill: a bare number is one at known providers only."""
    row = PROVIDERS_BY_NAME.get(request.provider)
    return (row is not None and row.reports_bill) or not is_plain_cost(facts.usage_counters)


def _without_bill(cost: Cost) -> Cost:
    """Return the cost of a call that the provider does not bill; its prices stay."""
    parts = dict.fromkeys(cost.parts, 0.0)
    return cost._replace(amount=0.0, parts=parts, without_cache=0.0, unknown_reason=None)


def _add_costs(first: Cost, second: Cost) -> Cost:
    """Return the cost of both, with the prices of the first; unknown if one of them is."""
    if first.amount is None or second.amount is None:
        reason = first.unknown_reason or second.unknown_reason
        return Cost(None, unknown_reason=reason, price_date=first.price_date)
    names = dict.fromkeys((*first.parts, *second.parts))
    return first._replace(
        amount=first.amount + second.amount,
        parts={name: first.parts.get(name, 0.0) + second.parts.get(name, 0.0) for name in names},
        without_cache=(first.without_cache or 0.0) + (second.without_cache or 0.0),
    )


def _price_writes_as_input(rates: Rates, request: Request, facts: ResponseFacts) -> Rates:
    """Return the rates with the input price as the price of writes, where the vendor has none.

    Such a vendor bills written tokens of these models as plain input.
    """
    row = PROVIDERS_BY_NAME.get(request.provider)
    model = facts.model or request.model or ""
    if rates.input_price is None or row is None or not row.models_with_writes_at_input_price:
        return rates
    if not re.search(row.models_with_writes_at_input_price, model, re.IGNORECASE):
        return rates
    return rates._replace(cache_write_prices=dict.fromkeys(_DEFAULT_TTLS, rates.input_price))


def _reason_of_missing_price(tier: str) -> UnknownCostReason:
    return "price" if tier == STANDARD_TIER else "tier"
