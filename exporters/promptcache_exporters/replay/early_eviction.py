"""Entries that a provider evicts before their TTL is over: fitted from the record, then drawn."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from random import Random
from typing import Final, NamedTuple

MIN_RETURNS: Final = 200
"""Fewer tell too little."""
MAX_RETURNS: Final = 50_000
"""After so many the record says no more."""
MIN_EVICTED_SHARE: Final = 0.02
"""Below, the documented TTL is as good: blocks whose end is not known exactly look alike."""
MAX_EVICTED_SHARE: Final = 0.5
"""Above, the model is wrong about more than the lifetime of entries."""
DRAWS: Final = 1 << 14


class Return(NamedTuple):
    """A call that looked for an entry within its TTL.

    `age` is the time since the entry's last use as a share of its TTL, in 0..1.
    """

    age: float
    has_found: bool


@dataclass(frozen=True)
class EarlyEviction:
    """How often an entry was gone within its TTL, and how long entries live.

    `lifetimes` are `DRAWS` draws in 0..1, as shares of the TTL; empty if the documented TTL is to
    be used, since the record has too few returns, or nearly all of them found their entry.
    """

    returns: int
    evicted: int
    lifetimes: Sequence[float] = ()

    @property
    def is_known(self) -> bool:
        """Whether the record tells how long entries live."""
        return self.returns >= MIN_RETURNS and self.evicted <= MAX_EVICTED_SHARE * self.returns


def fit_early_eviction(returns: Iterable[Return]) -> EarlyEviction:
    """Return what the returns tell. The share that survives never rises with the age."""
    listed = sorted(returns)
    found = EarlyEviction(len(listed), sum(not one.has_found for one in listed))
    if not found.is_known or found.evicted < MIN_EVICTED_SHARE * found.returns:
        return found
    return EarlyEviction(found.returns, found.evicted, _draw_lifetimes(_fit_survival(listed)))


class _Step(NamedTuple):
    """A range of ages in which the same share of entries survives."""

    first_age: float
    last_age: float
    returns: int
    survivors: int

    @property
    def share(self) -> float:
        return self.survivors / self.returns


def _fit_survival(returns: Sequence[Return]) -> list[_Step]:
    """Return the isotonic regression of survival over age: neighbours that rise are pooled."""
    steps: list[_Step] = []
    for age, has_found in returns:
        step = _Step(age, age, 1, int(has_found))
        while steps and (steps[-1].share <= step.share or steps[-1].last_age == step.first_age):
            before = steps.pop()
            step = _Step(
                before.first_age,
                step.last_age,
                before.returns + step.returns,
                before.survivors + step.survivors,
            )
        steps.append(step)
    return steps


def _draw_lifetimes(steps: Sequence[_Step]) -> array[float]:
    """Return lifetimes whose distribution is the fitted one. Equal steps give equal draws."""
    falling = [-step.share for step in steps]
    # Between the last survivor and the first that was gone, half of the way is as good as any.
    ends = [(one.last_age + later.first_age) / 2 for one, later in pairwise(steps)]
    ends.append(1.0)
    lifetimes = array("d")
    for number in range(DRAWS):
        reached = bisect_right(falling, -(number + 0.5) / DRAWS)
        lifetimes.append(ends[reached - 1] if reached else steps[0].first_age / 2)
    shuffled = list(lifetimes)
    Random(0).shuffle(shuffled)  # noqa: S311  # samples, no secrets
    return array("d", shuffled)
