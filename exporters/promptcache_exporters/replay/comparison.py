"""Compare the outcomes of policies with the record: the check of the replay, and the saving."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from random import Random
from statistics import quantiles
from typing import Final
from zlib import crc32

from promptcache_exporters.replay.policy import Policy
from promptcache_exporters.replay.replay import Outcome, replay
from promptcache_exporters.replay.traffic import RecordedCall, Traffic

MIN_EXACT_SHARE: Final = 0.95
MAX_COST_ERROR: Final = 0.02
SECONDS_OF_A_MONTH: Final = 30 * 86_400.0
_MIN_WINDOW_SECONDS: Final = 86_400.0
_GROUPS: Final = 400
_RESAMPLES: Final = 1000


@dataclass(frozen=True)
class ReplayCheck:
    """How well the replay of the traffic as it was reproduces the record.

    `exact_share` is the share of calls that read the recorded tokens within one step, and
    `cost_error` the difference of the cost as a share of the recorded cost; both in 0..1.
    """

    exact_share: float
    cost_error: float
    recorded_usd: float

    @property
    def has_passed(self) -> bool:
        """Whether the model is good enough to print money."""
        return self.exact_share >= MIN_EXACT_SHARE and abs(self.cost_error) <= MAX_COST_ERROR


def check_replay(traffic: Traffic, as_recorded: Outcome) -> ReplayCheck:
    """Compare the replay of the unchanged policy with what the provider reported."""
    recorded = sum(map(recorded_usd, traffic.calls))
    error = (as_recorded.usd - recorded) / recorded if recorded else 0.0
    return ReplayCheck(as_recorded.exact_share, error, recorded)


def recorded_usd(call: RecordedCall) -> float:
    """Return the cost of the recorded usage, in USD."""
    prices, written = call.prices, sum(call.write_tokens.values())
    plain = call.input_tokens - call.read_tokens - written
    return (
        plain * prices.input
        + call.read_tokens * prices.read
        + sum(prices.writes.get(ttl, 0.0) * tokens for ttl, tokens in call.write_tokens.items())
        + call.output_tokens * prices.output
    )


@dataclass(frozen=True)
class Saving:
    """What a policy saves in the window, in USD, with a 95 % interval over conversations.

    A negative value is a loss.
    """

    usd: float
    lower: float
    upper: float


def compute_saving(as_recorded: Outcome, other: Outcome) -> Saving:
    """Return what `other` saves. The interval comes from resampling groups of conversations.

    Equal inputs have an equal interval: the groups and the samples follow from fixed seeds.
    """
    before = _usd_by_group(as_recorded.usd_by_conversation)
    after = _usd_by_group(other.usd_by_conversation)
    savings = [before[group] - after.get(group, 0.0) for group in sorted(before)]
    random, count = Random(0), len(savings)  # noqa: S311  # samples, no secrets
    totals = [sum(random.choices(savings, k=count)) for _ in range(_RESAMPLES)] if count else [0.0]
    cuts = quantiles(totals, n=40) if len(totals) > 1 else [0.0, 0.0]
    return Saving(as_recorded.usd - other.usd, cuts[0], cuts[-1])


def _usd_by_group(usd_by_conversation: Mapping[Hashable, float]) -> dict[int, float]:
    groups: dict[int, float] = {}
    for conversation, usd in usd_by_conversation.items():
        group = crc32(repr(conversation).encode()) % _GROUPS
        groups[group] = groups.get(group, 0.0) + usd
    return groups


def months_in_window(traffic: Traffic) -> float | None:
    """Return by what a month of 30 days is longer than the window; None for less than a day."""
    if traffic.seconds < _MIN_WINDOW_SECONDS:
        return None
    return SECONDS_OF_A_MONTH / traffic.seconds


RETENTIONS_SECONDS: Final = (300.0, 600.0, 1800.0, 3600.0, 86_400.0)


def fit_retention(traffic: Traffic) -> Traffic:
    """Return the traffic with the retention that explains the recorded reads best.

    Providers whose writes are free promise a few minutes and keep a prefix for longer. So their
    rule's time is replaced by the one of `RETENTIONS_SECONDS` under which most calls read what was
    recorded; the documented one stays where no other is better.
    """
    if all(call.rule.bills_writes for call in traffic.calls):
        return traffic
    best, best_share = traffic, replay(traffic, Policy()).exact_share
    for seconds in RETENTIONS_SECONDS:
        other = Traffic(_with_retention(call, seconds) for call in traffic.calls)
        share = replay(other, Policy()).exact_share
        if share > best_share:
            best, best_share = other, share
    return best


def _with_retention(call: RecordedCall, seconds: float) -> RecordedCall:
    if call.rule.bills_writes:
        return call
    return replace(call, rule=call.rule._replace(ttl_seconds=seconds))
