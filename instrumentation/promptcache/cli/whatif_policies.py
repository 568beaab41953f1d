"""The policies of `promptcache whatif`: from its options, from a file, or the usual ones."""

from __future__ import annotations

import time
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast, get_args

import typer

from promptcache.model import TTL_SECONDS
from promptcache.prices import PriceBook
from promptcache.providers.cache_rules import cache_rule_for
from promptcache_exporters.replay.placed_marks import PolicyError
from promptcache_exporters.replay.policy import (
    LAYERS,
    Caching,
    Marks,
    Pings,
    Policy,
    TargetModel,
)
from promptcache_exporters.replay.rows_to_traffic import find_token_prices
from promptcache_exporters.replay.traffic import Traffic
from promptcache_exporters.replay.ttl_curve import list_offered_ttls
from promptcache_exporters.replay.without_break import list_breaks

TOKEN_RANGE: Final = (0.93, 1.04)
"""By how much another provider's tokenizer differs, as a factor of the recorded tokens."""
_MAX_BREAKS: Final = 3
_FILE_KEYS: Final = frozenset(
    {"name", "ttl", "marks", "ping", "ping_from", "model", "provider", "without", "caching"}
)


@dataclass(frozen=True)
class PolicyOptions:
    """The options that make one policy, as the user wrote them."""

    ttls: Mapping[str, str] = field(default_factory=dict[str, str])
    marks: Marks = "recorded"
    ping: str | None = None
    ping_from: int = 0
    model: str | None = None
    provider: str | None = None
    without: str = ""
    caching: Caching = "on"
    name: str = ""

    def describe(self) -> str:
        """Return the name of the policy: its own, or its options; empty for the record."""
        parts = [
            *(f"{layer} {value}" for layer, value in self.ttls.items()),
            *([f"marks {self.marks}"] if self.marks != "recorded" else []),
            *([f"pings {self.ping}"] if self.ping else []),
            *([f"without {self.without}"] if self.without else []),
            *([self.model] if self.model else []),
            *([f"caching {self.caching}"] if self.caching != "on" else []),
        ]
        return self.name or ", ".join(parts)


def build_policies(traffic: Traffic, options: PolicyOptions, book: PriceBook) -> list[Policy]:
    """Return the record and the policy of the options, or the record and the usual policies.

    Raises PolicyError and typer.BadParameter.
    """
    if options.describe():
        return [Policy(), build_policy(traffic, options, book)]
    return [
        Policy(),
        *list_usual_policies(traffic),
        Policy("a cache without limits", caching="unlimited"),
        Policy("no cache", caching="off"),
    ]


def read_policy_file(traffic: Traffic, path: Path, book: PriceBook) -> list[Policy]:
    """Return the record and the policies of a TOML file with one `[[policy]]` table for each.

    Raises PolicyError and typer.BadParameter.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8")).get("policy", [])
        options = [_options_of_table(table) for table in tables]
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise typer.BadParameter(f"{path}: {error}", param_hint="--policy") from None
    if not options:
        raise typer.BadParameter(f"{path} has no [[policy]]", param_hint="--policy")
    return [Policy(), *(build_policy(traffic, one, book) for one in options)]


def _options_of_table(table: Mapping[str, Any]) -> PolicyOptions:
    if unknown := table.keys() - _FILE_KEYS:
        raise ValueError(f"{', '.join(sorted(unknown))}: known are {', '.join(sorted(_FILE_KEYS))}")
    marks, caching = table.get("marks", "recorded"), table.get("caching", "on")
    if marks not in get_args(Marks) or caching not in get_args(Caching):
        raise ValueError(f"marks: {get_args(Marks)}; caching: {get_args(Caching)}")
    ttls = parse_ttls([f"{layer}={ttl}" for layer, ttl in table.get("ttl", {}).items()])
    more = {name: table[name] for name in table.keys() - {"ttl"}}
    return PolicyOptions(**cast("dict[str, Any]", {**more, "ttls": ttls}))


def build_policy(traffic: Traffic, options: PolicyOptions, book: PriceBook) -> Policy:
    """Return the policy of `options`. Raises PolicyError for one that changes nothing."""
    policy = Policy(
        name=options.describe(),
        ttls=options.ttls,
        marks=options.marks,
        pings=None if options.ping is None else _parse_pings(options.ping, options.ping_from),
        target=None if options.model is None else _find_target(traffic, options, book),
        without=options.without,
        caching=options.caching,
    )
    rules = [kind.rule for kind in traffic.kinds] if policy.target is None else [policy.target.rule]
    if (policy.ttls or policy.marks != "recorded") and not any(one.bills_writes for one in rules):
        raise PolicyError("TTLs and marks change nothing: this cache takes no breakpoints")
    return policy


def list_usual_policies(traffic: Traffic) -> list[Policy]:
    """Return what is worth a look in most traffic: longer TTLs, fixed marks, mended breaks."""
    billed = [kind for kind in traffic.kinds if kind.rule.bills_writes and kind.marks]
    recorded = {mark.ttl for kind in billed for mark in kind.marks}
    policies: list[Policy] = []
    for ttl in list_offered_ttls(billed):
        static = {"tools": ttl, "system": ttl}
        if recorded != {ttl}:
            policies.append(Policy(f"{ttl} everywhere", dict.fromkeys(LAYERS, ttl)))
            if any(TTL_SECONDS.get(other, 0) < TTL_SECONDS[ttl] for other in recorded):
                policies.append(Policy(f"{ttl} on tools and system", static))
    if billed:
        policies.append(Policy("marks static,tail", marks="static,tail"))
    breaks = {one.place: one for one in reversed(list_breaks(traffic))}
    for one in sorted(breaks.values(), key=lambda one: -one.missed_tokens)[:_MAX_BREAKS]:
        where = f" ({one.reason}, {one.call_site})" if one.call_site else f" ({one.reason})"
        policies.append(Policy(f"without the break at {one.place}{where}", without=one.place))
    return policies


def parse_ttls(texts: list[str]) -> dict[str, str]:
    """Return the TTLs by layer. `1h` alone is for all layers. Raises typer.BadParameter."""
    ttls: dict[str, str] = {}
    for text in texts:
        layers, equals, ttl = text.rpartition("=")
        chosen = layers.split("+") if equals else LAYERS
        if ttl not in TTL_SECONDS or not set(chosen) <= set(LAYERS):
            raise typer.BadParameter(
                f"{text!r}: give layer=ttl, such as system=1h (layers: {', '.join(LAYERS)}; "
                f"TTLs: {', '.join(TTL_SECONDS)})",
                param_hint="--ttl",
            )
        ttls |= dict.fromkeys(chosen, ttl)
    return ttls


def _parse_pings(text: str, min_tokens: int) -> Pings:
    seconds, _, count = text.partition("x")
    if not (seconds.isdecimal() and count.isdecimal() and int(seconds) and int(count)):
        raise typer.BadParameter(
            f"{text!r}: give seconds x number, such as 280x2", param_hint="--ping"
        )
    return Pings(float(seconds), int(count), min_tokens)


def _find_target(traffic: Traffic, options: PolicyOptions, book: PriceBook) -> TargetModel:
    recorded, model = traffic.kinds[0].provider, options.model or ""
    name = options.provider or recorded
    prices = find_token_prices(book, name, model, time.time(), traffic.input_tokens[0])
    if prices is None:
        raise typer.BadParameter(
            f"no price of {model!r} at {name!r}; see promptcache prices show", param_hint="--model"
        )
    target = TargetModel(cache_rule_for(name, model), prices)
    return target if name == recorded else target._replace(token_range=TOKEN_RANGE)
