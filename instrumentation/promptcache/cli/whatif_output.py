"""What `promptcache whatif` prints: text and JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from promptcache.cli.console import make_stdout_console, print_grid
from promptcache_exporters.replay.comparison import (
    ReplayCheck,
    Saving,
    compute_saving,
    months_in_window,
)
from promptcache_exporters.replay.early_eviction import MIN_RETURNS, EarlyEviction
from promptcache_exporters.replay.replay import Outcome
from promptcache_exporters.replay.table import LoadedCalls
from promptcache_exporters.replay.traffic import Traffic
from promptcache_exporters.replay.ttl_curve import CurvePoint

MIN_RECOMMENDED_SHARE: Final = 0.05
"""A policy that saves less of the cost is not recommended."""
_BAR_LENGTH: Final = 30


@dataclass(frozen=True)
class WhatifResult:
    """The record, the check of its replay, and the outcomes of all policies, the record first."""

    traffic: Traffic
    loaded: LoadedCalls
    check: ReplayCheck
    outcomes: Sequence[Outcome]
    curve: Sequence[CurvePoint]

    def saving_of(self, outcome: Outcome) -> Saving:
        """Return what a policy saves against the replayed record."""
        return compute_saving(self.outcomes[0], outcome)


def find_recommended(outcomes: Sequence[Outcome]) -> Outcome | None:
    """Return the policy that saves most, if that is surely more than nothing. The record is first.

    What only hindsight or no cache could do is no recommendation.
    """
    found = [
        (saving.usd, outcome)
        for outcome in outcomes[1:]
        if outcome.policy.caching == "on" and outcome.policy.marks != "reused"
        for saving in (compute_saving(outcomes[0], outcome),)
        if saving.lower > 0 and saving.usd >= MIN_RECOMMENDED_SHARE * outcomes[0].usd
    ]
    return max(found, key=lambda pair: pair[0])[1] if found else None


def to_json(result: WhatifResult) -> dict[str, Any]:
    """Return the result as plain data. Without a passed check it has no money."""
    has_passed = result.check.has_passed
    recommended = find_recommended(result.outcomes) if has_passed else None
    return {
        "calls": len(result.traffic),
        "skipped": dict(result.loaded.skipped),
        "window_seconds": result.traffic.seconds,
        "check": {
            "passed": has_passed,
            "exact_share": result.check.exact_share,
            "cost_error": result.check.cost_error,
            "recorded_usd": result.check.recorded_usd,
        },
        "early_eviction": {
            "fitted": result.traffic.early_eviction.is_known,
            "returns": result.traffic.early_eviction.returns,
            "evicted": result.traffic.early_eviction.evicted,
        },
        "policies": [
            {
                "name": outcome.policy.name,
                "hit_rate": outcome.hit_rate,
                "pings": outcome.pings,
                **(_usd_fields(result, outcome) if has_passed else {}),
            }
            for outcome in result.outcomes
        ],
        "recommended": None if recommended is None else recommended.policy.name,
        "curve": [point._asdict() for point in result.curve] if has_passed else [],
    }


def _usd_fields(result: WhatifResult, outcome: Outcome) -> dict[str, Any]:
    saving, months = result.saving_of(outcome), months_in_window(result.traffic)
    low, high = outcome.usd_range
    return {
        "usd": outcome.usd,
        "usd_range": [low, high],
        "saved_usd": saving.usd,
        "saved_usd_95": [saving.lower, saving.upper],
        "saved_usd_a_month": None if months is None else saving.usd * months,
    }


def print_text(result: WhatifResult) -> None:
    """Print the result for people."""
    console, check = make_stdout_console(), result.check
    conversations = len(result.traffic.conversations.values)
    console.print(
        f"Replayed {len(result.traffic):,} calls of {conversations:,} conversations. As they "
        f"were: {check.exact_share:.1%} of reads exact, cost within {abs(check.cost_error):.1%}.",
        soft_wrap=True,
    )
    for reason, count in result.loaded.skipped.items():
        console.print(f"Left out: {count:,} calls {reason}.")
    if result.loaded.key_count > 1:
        console.print(
            f"The calls were recorded under {result.loaded.key_count} keys, so not all that share a"
            " prefix are seen to (promptcache doctor)."
        )
    if any(kind.rule.bills_writes for kind in result.traffic.kinds):
        console.print(_describe_early_eviction(result.traffic.early_eviction), soft_wrap=True)
    if not check.has_passed:
        console.print(
            "The model does not reproduce the record, so no money is shown. Calls of other "
            "processes may be missing, or the provider evicts earlier than its rule says."
        )
        return
    print_grid(list_policy_rows(result))
    if result.curve:
        console.print()
        print_grid(_curve_rows(result.curve))
    console.print("Costs of other policies are modelled by the documented rules, not measured.")
    if (best := find_recommended(result.outcomes)) is not None:
        saving = result.saving_of(best)
        share = saving.usd / result.outcomes[0].usd
        console.print(
            f"Largest saving: {best.policy.name}, ${saving.usd:,.4f} ({share:.0%}).",
            soft_wrap=True,
        )


def _describe_early_eviction(found: EarlyEviction) -> str:
    counts = f"{found.evicted:,} of {found.returns:,} returns within the TTL found nothing"
    if not found.is_known:
        return f"Early eviction: not fitted ({counts}; {MIN_RETURNS} returns are needed)."
    return f"Early eviction: {counts}" + (", and so under each policy." if found.lifetimes else ".")


def list_policy_rows(result: WhatifResult) -> list[tuple[str, ...]]:
    """Return the heading and the cells of each policy, the record first."""
    months = months_in_window(result.traffic)
    head = ("policy", "cost", "hit rate", "saved", "95 %")
    rows: list[tuple[str, ...]] = [head if months is None else (*head, "a month")]
    for outcome in result.outcomes:
        saving, is_record = result.saving_of(outcome), outcome is result.outcomes[0]
        low, high = outcome.usd_range
        cells = [
            outcome.policy.name,
            f"${low:,.4f}" if low == high else f"${low:,.4f} to ${high:,.4f}",
            f"{outcome.hit_rate:.1%}",
            "" if is_record else f"${saving.usd:,.4f}",
            "" if is_record else f"${saving.lower:,.4f} to ${saving.upper:,.4f}",
        ]
        if months is not None:
            cells.append("" if is_record else f"${saving.usd * months:,.2f}")
        rows.append(tuple(cells))
    return rows


def _curve_rows(curve: Sequence[CurvePoint]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("if entries lived", "hit rate", "cost", "")]
    for point in curve:
        bar = "#" * round(point.hit_rate * _BAR_LENGTH)
        mark = " *" if point.is_offered else ""
        rows.append(
            (format_ttl(point.seconds) + mark, f"{point.hit_rate:.1%}", f"${point.usd:,.4f}", bar)
        )
    return rows


def format_ttl(seconds: int) -> str:
    """Return `5 min` or `1 h`."""
    return f"{seconds // 3600} h" if seconds >= 3600 else f"{seconds // 60} min"
