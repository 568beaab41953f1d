"""Compare the outcomes of policies with the record: the check of the replay, and the saving."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from random import Random
from statistics import quantiles
from typing import Final

from promptcache_exporters.replay.policy import Policy
from promptcache_exporters.replay.replay import Outcome, replay
from promptcache_exporters.replay.traffic import CallKind, Traffic

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
    recorded = math.fsum(traffic.recorded_usd)
    error = (as_recorded.usd - recorded) / recorded if recorded else 0.0
    return ReplayCheck(as_recorded.exact_share, error, recorded)


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
    savings = [0.0] * min(_GROUPS, len(as_recorded.usd_by_conversation))
    pairs = zip(as_recorded.usd_by_conversation, other.usd_by_conversation, strict=True)
    for conversation, (before, after) in enumerate(pairs):
        savings[conversation % _GROUPS] += before - after
    random, count = Random(0), len(savings)  # noqa: S311  # samples, no secrets
    totals = [sum(random.choices(savings, k=count)) for _ in range(_RESAMPLES)] if count else [0.0]
    cuts = quantiles(totals, n=40) if len(totals) > 1 else [0.0, 0.0]
    return Saving(as_recorded.usd - other.usd, cuts[0], cuts[-1])


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
    if all(kind.rule.bills_writes for kind in traffic.kinds):
        return traffic
    best, best_share = traffic, replay(traffic, Policy()).exact_share
    for seconds in RETENTIONS_SECONDS:
        other = traffic.with_kinds(partial(_with_retention, seconds=seconds))
        share = replay(other, Policy()).exact_share
        if share > best_share:
            best, best_share = other, share
    return best


def _with_retention(kind: CallKind, seconds: float) -> CallKind:
    if kind.rule.bills_writes:
        return kind
    return kind._replace(rule=kind.rule._replace(ttl_seconds=seconds))
