"""The price book: finds the rates of a call by provider, model, tier, place and moment, and remembers them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import pairwise
from logging import getLogger
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from promptcache.model import Cost, Facts, Request, Unknown, Usage
from promptcache.prices import algebra, names, table
from promptcache.prices.table import STANDARD, Period, Row

if TYPE_CHECKING:
    from promptcache.prices.userfile import Own

log = getLogger(__name__)

LIMIT: Final = 512
"""How many resolved price plans are remembered: enough for every model of an application, bounded against abuse."""

TIERS: Final[Mapping[str, str]] = {
    "": STANDARD,
    "standard": STANDARD,
    "default": STANDARD,
    "on_demand": STANDARD,
    "on_demand_flex": "flex",
    "on_demand_priority": "priority",
    "flex": "flex",
    "priority": "priority",
    "fast": "priority",
    "batch": "batch",
}
"""What providers call a service tier -> ours. Bought capacity (`scale`, `reserved`, `provisioned_throughput`) has no
price per token and is not here."""

_UNDECIDED: Final = frozenset(
    {"auto", "default", "standard", "standard_only", "on_demand", "unspecified"}
)
"""Requested tiers that end in the standard tier where the response says nothing."""

_HOSTS: Final = (
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
_WORLDWIDE: Final = frozenset({"", "global", "not_available"})
_MARKERS: Final = frozenset(
    {"cache_control", "cachePoint", "prompt_cache_options", "prompt_cache_breakpoint"}
)
_AGREES: Final = 1e-4
"""A list price within this share of what the provider billed is the price that was billed."""


class Plan(NamedTuple):
    """How a kind of call is priced: the periods of its tier, or why there are none."""

    periods: tuple[Period, ...] = ()
    unknown: Unknown | None = None
    tier: str = STANDARD
    row: Row | None = None


def place(provider: str, host: str | None, geo: str | None) -> str:
    """`""` for the place that the list is of, `regional`, `abroad` or `government` by the host, else what was told."""
    if geo and geo.lower() not in _WORLDWIDE:
        return geo.lower()
    for start, pattern, found in _HOSTS if host else ():
        if provider.startswith(start) and re.fullmatch(pattern, host or ""):
            return found
    return ""


def tier(facts: Facts, asked: str | None) -> str | None:
    """The tier that was billed: as returned, never as asked for. None where it cannot be known."""
    word = (facts.tier or "").lower()
    if not word and asked and asked.lower() not in _UNDECIDED:
        return None
    found = TIERS.get(word)
    if facts.batch:
        found = "batch" if found in (STANDARD, "batch") else None
    if (facts.speed or "standard").lower() == "standard":
        return found
    return "fast" if facts.speed == "fast" and found == STANDARD else None


def items(node: Any) -> Iterable[tuple[Any, Any]]:
    """What a container holds, under its keys or under None; a scalar holds nothing."""
    held: Any = node  # narrowed types of containers are unknown to a type checker
    pairs: Iterable[tuple[Any, Any]] = ()
    if isinstance(node, dict):
        pairs = held.items()
    elif isinstance(node, (list, tuple)):
        pairs = ((None, one) for one in held)
    return pairs


def lifetime(body: Mapping[str, Any], default: str | None) -> str | None:
    """The one TTL that all cache markers of a request ask for; None where they ask for several."""
    asked: set[str | None] = set()
    stack: list[Any] = [body]
    seen: set[int] = set()
    while stack:
        here = stack.pop()
        if id(here) in seen:
            continue
        seen.add(id(here))
        for key, value in items(here):
            if key in _MARKERS and isinstance(value, dict):
                ttl = dict(items(value)).get("ttl")
                asked.add(str(ttl) if ttl else default)
            else:
                stack.append(value)
    return asked.pop() if len(asked) == 1 else None if asked else default


def billed_models(request: Request, facts: Facts) -> tuple[str, ...]:
    """The name by which the call was billed: the response's, but on Bedrock the profile that was called, which
    decides the price, and on Azure never the deployment, whose name says nothing."""
    if request.provider == "aws.bedrock":
        found = request.model or facts.model
    elif request.provider.startswith("azure."):
        found = facts.model
    else:
        found = facts.model or request.model
    return (found,) if found else ()


class Book:
    """Prices: the user's own first, then the compiled table. Safe to share between threads."""

    def __init__(self, own: Own | None = None) -> None:
        self._own = own
        self._plans: dict[tuple[Any, ...], Plan] = {}

    @classmethod
    def load(cls, path: str | None = None) -> Book:
        """The built-in prices, under those of the price file at `path`.

        Never raises: a file that cannot be used is said once in the log, and the built-in prices stay in force.
        """
        if not path:
            return cls()
        from promptcache.prices.userfile import (  # only who has a price file pays for the code that reads it
            PriceFileError,
            load,
        )

        try:
            return cls(load(path))
        except PriceFileError as error:
            log.warning("The price file is not used, built-in prices stay in force: %s", error)
            return cls()

    def cost(self, request: Request, facts: Facts, usage: Usage | None) -> Cost:
        """What the call cost. `amount` is None, with the reason, where that is not certain. Never raises."""
        local = self._computed(request, facts, usage)
        billed = facts.billed
        if billed is None:
            return local
        if local.amount is None or abs(local.amount - billed) > _AGREES * abs(billed):
            return Cost(billed, source="provider", date=local.date)
        return local._replace(amount=billed, source="provider")

    def plan(self, request: Request, facts: Facts) -> Plan:
        """How a call is priced, without its usage: row, tier and periods, or why it has no price."""
        given = (request.body.get(name) for name in ("service_tier", "serviceTier"))
        asked = next((tier for tier in given if isinstance(tier, str) and tier), None)
        key = (
            request.provider,
            request.model,
            facts.model,
            request.host,
            facts.tier,
            facts.speed,
            facts.geo,
            facts.batch,
            asked,
        )
        found = self._plans.get(key)
        if found is None:
            if len(self._plans) >= LIMIT:
                self._plans.clear()
            found = self._plans[key] = self._make(request, facts, key[-1])
        return found

    def storage(
        self, model: str, tokens: int, seconds: float, at: float, provider: str = "gcp.gemini"
    ) -> float | None:
        """USD for keeping `tokens` in a named cache for `seconds` from `at` on (epoch seconds); None where unknown.

        Prorated to the second, each second at the price of its own day.
        """
        row = self.find(provider, (model,))
        if row is None or seconds < 0:
            return None
        periods = row.periods(STANDARD, 1.0)
        edges = sorted(
            {at, at + seconds, *(p.since for p in periods if at < p.since < at + seconds)}
        )
        total = 0.0
        for start, end in pairwise(edges):
            held = table.in_force(periods, start)
            price = held and held.rates[0].storage
            if price is None:
                return None
            total += tokens * (end - start) / 3600 * price
        return total

    def find(self, provider: str, models: Iterable[str]) -> Row | None:
        """The row of the first of `models` that is known: the user's own rows and aliases, then the table."""
        for model in models:
            target = self._own.alias(provider, model) if self._own else (provider, model)
            own = self._own.row(*target) if self._own else None
            if own:
                return own
            for vendor in names.vendors(target[0]):
                row = table.find(vendor, names.candidates(vendor, target[1]))
                if row:
                    return row
        return None

    def _make(self, request: Request, facts: Facts, asked: str | None) -> Plan:
        words = [name for name in (request.model, facts.model) if name]
        named = [name for name in words if self._own and self._own.knows(request.provider, name)]
        row = self.find(request.provider, named or billed_models(request, facts))
        if row is None:
            return Plan(unknown="model")
        billed = tier(facts, asked)
        here = place(request.provider, request.host, facts.geo)
        factor = row.uplift.get(here, row.uplift.get("*")) if here else 1.0
        # Another seller's list speaks for the maker's standard price only.
        foreign = (
            row.vendor and row.vendor != names.vendors(request.provider)[0] and billed != STANDARD
        )
        if billed is None or factor is None or foreign:
            return Plan(unknown="tier", row=row)
        periods = row.periods(billed, factor)
        missing: Unknown = "price" if billed == STANDARD else "tier"
        return Plan(periods, None if periods else missing, billed, row)

    def _computed(self, request: Request, facts: Facts, usage: Usage | None) -> Cost:
        plan = self.plan(request, facts)
        if plan.unknown:
            return Cost(None, unknown=plan.unknown)
        found = table.in_force(plan.periods, request.started)
        if found is None:
            return Cost(None, unknown="price" if plan.tier == STANDARD else "tier")
        if usage is None:
            return Cost(None, unknown="usage", date=found.rates[0].date)
        rates = found.at(usage.input)
        asked = (
            lifetime(request.body, next(iter(rates.writes), None))
            if algebra.undated(usage)
            else None
        )
        return algebra.price(rates, usage, asked)
