"""What a plan is made from, and the function that makes it."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Final, NamedTuple, final

from promptcache.harness.arrivals import Arrivals
from promptcache.harness.caching_style import CachingStyle, caching_style_of
from promptcache.harness.list_prices import find_rates
from promptcache.harness.names import TTL, Wire
from promptcache.harness.plan import LayerPlan, Plan
from promptcache.harness.planning import RelativePrices, judge_pings, plan_layer
from promptcache.harness.prompt_error import PromptError
from promptcache.model import TTL_SECONDS
from promptcache.prices.rates import Rates

TURN_GROWTH: Final = 0.05
"""A turn adds this share of the history so far: 20 turns of equal length, on average."""
_PLANNED_TOKENS_PER_ESTIMATED: Final = 0.75
"""The estimate of tokens is an upper one (three bytes for each); English has four."""
_WIRES: Final[tuple[tuple[str, Wire], ...]] = (
    (r"(us|eu|apac|global)\.|anthropic\.|amazon\.|arn:", "converse"),
    (r".*/", "litellm"),
    (r".*claude", "anthropic"),
    (r".*gemini", "gemini"),
    (r"(ft:)?(gpt-|o\d|chatgpt-|codex-)", "responses"),
)
"""The usual wire of a model's name, for a plan only: a chat is told its wire."""
_AN_HOUR: Final = 3600.0


@final
class PlanRequest(NamedTuple):
    """What is known of a prompt and its traffic.

    Tokens are upper estimates of the layers. `calls_per_hour` counts all calls with the static
    layer, `shared_calls_per_hour` those of one group. `gaps` and `turn_gaps` are recorded seconds
    between two calls, and between two turns of a conversation. `at` is in epoch seconds.
    """

    name: str
    version: str
    cache_key: str
    model: str
    wire: Wire
    static_tokens: int
    calls_per_hour: float | None
    shared_tokens: int = 0
    shared_calls_per_hour: float | None = None
    gaps: Sequence[float] | None = None
    turn_gaps: Sequence[float] | None = None
    at: float | None = None
    notes: tuple[str, ...] = ()

    def with_recorded_traffic(
        self, db: str | os.PathLike[str] | None, since: float | None
    ) -> PlanRequest:
        """Return the request with the gaps of the local table. What was given stays.

        Raise PromptError if the table tells nothing of this prompt.
        """
        if db is None:
            return self
        from promptcache.harness.recorded_traffic import RecordedTraffic

        ttls = caching_style_of(self.wire, self.model).ttls
        recorded = RecordedTraffic.read(
            db,
            prompt_name=self.name,
            model=self.model,
            since=-math.inf if since is None else since,
            longest_ttl=max((TTL_SECONDS[ttl] for ttl in ttls), default=_AN_HOUR),
        )
        return self._replace(
            calls_per_hour=(
                recorded.calls_per_hour if self.calls_per_hour is None else self.calls_per_hour
            ),
            gaps=recorded.gaps if self.gaps is None else self.gaps,
            turn_gaps=recorded.turn_gaps if self.turn_gaps is None else self.turn_gaps,
            notes=recorded.notes,
        )


def usual_wire(model: str) -> Wire:
    """Return the wire that a model's name suggests; Chat Completions for an unknown one."""
    for pattern, wire in _WIRES:
        if re.match(pattern, model):
            return wire
    return "chat"


def make_plan(request: PlanRequest) -> Plan:
    """Return the plan. Raise PromptError for numbers that are no traffic."""
    style = caching_style_of(request.wire, request.model)
    rates = find_rates(style.provider, request.model, request.at)
    prices = RelativePrices.find(rates, style)
    if request.calls_per_hour is None:
        raise PromptError("calls_per_hour", "is needed, or `db` with recorded calls")
    arrivals = Arrivals(request.calls_per_hour, request.gaps)
    layers = _plan_layers(request, style, prices, arrivals)
    usd, plain_usd = _costs(layers, rates)
    static = layers[0]
    known = [one for one in layers if one.layer != "history"]
    total = sum(one.tokens for one in known)
    shards = _count_shards(style, request.calls_per_hour)
    return Plan(
        prompt=request.name,
        version=request.version,
        model=request.model,
        wire=request.wire,
        should_cache=any(one.ttl for one in layers) or style.breakpoints == "automatic",
        layers=layers,
        cache_key=request.cache_key if style.takes_key else None,
        key_shards=shards,
        hit_rate=sum(one.tokens * one.hit_rate for one in known) / total if total else 0.0,
        usd_per_call=usd,
        usd_per_call_without_cache=plain_usd,
        keep_warm=_judge_keep_warm(static, style, prices, arrivals),
        assumption=arrivals.assumption,
        price_source=f"{rates.source} ({rates.date})" if rates else None,
        notes=tuple(_notes(request, rates, prices, shards)),
    )


def _plan_layers(
    request: PlanRequest,
    style: CachingStyle,
    prices: RelativePrices | None,
    arrivals: Arrivals,
) -> tuple[LayerPlan, ...]:
    default = style.ttls[0] if style.ttls else None
    layers = [plan_layer("static", request.static_tokens, style, prices, arrivals, default)]
    if request.shared_tokens:
        rate = request.shared_calls_per_hour
        group = arrivals if rate is None else Arrivals(rate)
        tokens = request.static_tokens + request.shared_tokens
        shared = plan_layer("shared", tokens, style, prices, group, default)
        layers.append(replace(shared, tokens=request.shared_tokens))
    if request.turn_gaps is not None:
        turns = Arrivals(0.0, request.turn_gaps)
        # A history of any length beyond the minimum; its length is not known.
        history = plan_layer(
            "history", style.minimum_tokens, style, prices, turns, default, TURN_GROWTH
        )
        layers.append(replace(history, tokens=0))
    return tuple(_with_ordered_ttls(layers))


def _with_ordered_ttls(layers: list[LayerPlan]) -> list[LayerPlan]:
    """Return layers in which none has a longer TTL than one before it, as providers demand."""
    longest: TTL | None = None
    ordered: list[LayerPlan] = []
    for one in reversed(layers):
        if one.ttl and longest and TTL_SECONDS[one.ttl] < TTL_SECONDS[longest]:
            option = next((option for option in one.options if option.ttl == longest), None)
            reason = f"{longest}, since a later layer needs it and may not outlive this one"
            one = replace(one, ttl=longest, reason=reason)
            if option:
                cost = option.relative_cost
                one = replace(one, hit_rate=option.hit_rate, relative_cost=cost)
        longest = one.ttl or longest
        ordered.insert(0, one)
    return ordered


def _costs(layers: Sequence[LayerPlan], rates: Rates | None) -> tuple[float | None, float | None]:
    if rates is None or rates.input_price is None:
        return None, None
    tokens_by_layer = [
        (one, one.tokens * _PLANNED_TOKENS_PER_ESTIMATED)
        for one in layers
        if one.layer != "history"
    ]
    plain = sum(tokens for _, tokens in tokens_by_layer)
    cached = sum(one.relative_cost * tokens for one, tokens in tokens_by_layer)
    return cached * rates.input_price, plain * rates.input_price


def _count_shards(style: CachingStyle, calls_per_hour: float) -> int:
    if style.requests_per_minute is None:
        return 1
    return max(1, math.ceil(calls_per_hour / 60 / style.requests_per_minute))


def _judge_keep_warm(
    static: LayerPlan,
    style: CachingStyle,
    prices: RelativePrices | None,
    arrivals: Arrivals,
) -> str:
    if static.tokens < style.minimum_tokens:
        return "no: there is nothing to keep, the layer is too short"
    return judge_pings(style, prices, arrivals)


def _notes(
    request: PlanRequest, rates: Rates | None, prices: RelativePrices | None, shards: int
) -> list[str]:
    notes = [*request.notes]
    if rates is None and prices is not None:
        notes.append(
            "no list price is known: the options are compared by the documented multipliers, and "
            "no cost is given"
        )
    if request.turn_gaps is None:
        notes.append(
            "nothing is known of the gaps within a conversation, so a chat's history has the "
            "provider's default TTL"
        )
    if shards > 1:
        notes.append(
            f"give each conversation one of {shards} shards: chat(shard=number % {shards})"
        )
    if rates is not None and rates.storage_price is not None and rates.input_price:
        from promptcache.prices.breakeven import requests_until_storage_pays

        needed = requests_until_storage_pays(
            rates.input_price, rates.cache_read_price or 0.0, rates.storage_price
        )
        notes.append(
            f"a named cache pays from {needed} calls an hour; try the implicit cache first, which "
            "costs nothing"
        )
    return notes
