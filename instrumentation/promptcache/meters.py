"""The instruments of the contract, and the bounds that keep their series few."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import count
from typing import TYPE_CHECKING, Any, ClassVar, Final
from weakref import WeakMethod

from opentelemetry.context import Context
from opentelemetry.metrics import CallbackOptions, Meter, Observation

from promptcache.attributes import (
    BIRTH,
    BORN_TOGETHER,
    COST_USD,
    COUNTERS,
    HISTOGRAMS,
    MISS_REASON,
    OTHER,
    PROVIDER,
    REQUEST_MODEL,
    STORAGE_USD,
    WASTED_COUNTER,
    series,
)
from promptcache.model import Call

if TYPE_CHECKING:
    from promptcache.diagnose.writes import Unread

DISTINCT_VALUES: Final = 100
DISTINCT_CHOSEN_VALUES: Final = 50


class Bounded:
    """Lets the first `limit` distinct values through, turns every later one into `_OTHER`.

    Without a lock, hence safe in a forked child: each step is one operation on a dict; a race wastes a rank at
    worst.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._ranks: dict[Any, int] = {}
        self._next = count()

    def __call__(self, value: Any) -> Any:
        rank = self._ranks.get(value)
        if rank is None:
            if len(self._ranks) >= self._limit:
                return OTHER
            rank = self._ranks.setdefault(value, next(self._next))
        return value if rank < self._limit else OTHER


Rents = Iterable[tuple[float, tuple[str, str]]]
"""USD by provider and model."""


class Rent:
    """What one meter says of rent: never falls, whoever is watched.

    The SDK keeps the first callback of a name for as long as its provider lives, through every `uninstrument` and
    `instrument`: so this asks who is `watched` now, and keeps nobody alive.
    """

    watched: ClassVar[WeakMethod[Callable[[], Rents]] | None] = None

    def __init__(self) -> None:
        self._bound = Bounded(DISTINCT_VALUES)
        self._asked: WeakMethod[Callable[[], Rents]] | None = None
        self._before: Mapping[tuple[str, str], float] = {}
        self._now: dict[tuple[str, str], float] = {}

    def __call__(self, options: CallbackOptions) -> Iterator[Observation]:
        if self._asked is not Rent.watched:
            self._asked, self._before = Rent.watched, self._now
        accrued = None if self._asked is None else self._asked()
        if accrued is not None:
            self._now = dict(self._before)
            for total, (provider, model) in accrued():
                series = provider, self._bound(model)
                self._now[series] = self._now.get(series, 0.0) + total
        for (provider, model), total in self._now.items():
            yield Observation(total, {PROVIDER: provider, REQUEST_MODEL: model})


class Meters:
    """Records finished calls; `chosen` are the keys of the user's that metrics carry."""

    def __init__(self, meter: Meter, chosen: tuple[str, ...] = ()) -> None:
        self._meter = meter
        self._counters = [
            (row, meter.create_counter(row.name, unit=row.unit, description=row.description))
            for row in COUNTERS
        ]
        self._histograms = [
            (
                row,
                meter.create_histogram(
                    row.name,
                    unit=row.unit,
                    description=row.description,
                    explicit_bucket_boundaries_advisory=row.buckets,
                ),
            )
            for row in HISTOGRAMS
        ]
        self._bounds = {name: Bounded(DISTINCT_CHOSEN_VALUES) for name in chosen}
        self._zeros: set[tuple[Any, ...]] = set()
        self._born: dict[tuple[Any, ...], Mapping[str, Any]] = {}

    def rent(self, accrued: Callable[[], Rents]) -> None:
        """Watches what named caches cost in rent, by provider and model, as the method `accrued` says."""
        Rent.watched = WeakMethod(accrued)
        self._meter.create_observable_counter(
            STORAGE_USD, [Rent()], unit="{USD}", description="Rent of named caches, by token-hours."
        )

    def pay(self, usd: float, provider: str, model: str, context: Context) -> None:
        """Adds what filling a named cache cost, which is no call."""
        counter = next(counter for row, counter in self._counters if row.name == COST_USD)
        counter.add(
            usd, {PROVIDER: provider, REQUEST_MODEL: self._bound(REQUEST_MODEL)(model)}, context
        )

    def unread(self, unread: Unread) -> None:
        """Adds what a write cost too much that expired unread: known after its call, hence without a context."""
        counter = next(counter for row, counter in self._counters if row.name == WASTED_COUNTER)
        base = {
            PROVIDER: unread.provider,
            REQUEST_MODEL: self._bound(REQUEST_MODEL)(unread.model or ""),
        }
        counter.add(unread.usd, {**base, MISS_REASON: "write_never_read"}, Context())

    def record(self, call: Call, context: Context) -> None:
        """Adds one finished call, in its own context so that exemplars find its span."""
        base = self._base(call, context)
        for row, counter in self._counters:
            for value, extra in row.points(call):
                if value or self._new(row.name, base, extra):
                    counter.add(value, {**base, **extra}, context)
        for row, histogram in self._histograms:
            for value, extra in row.points(call):
                histogram.record(value, {**base, **extra}, context)

    def _new(self, name: str, base: Mapping[str, Any], extra: Mapping[str, Any]) -> bool:
        """Whether a 0 begins a series; a later one adds nothing, and takes the SDK as long as any number."""
        key = (name, *base.values(), *extra.values())
        if key in self._zeros:
            return False
        self._zeros.add(key)
        return True

    def _base(self, call: Call, context: Context) -> Mapping[str, Any]:
        wanted = series(call)
        for name in (name for name in self._bounds if name in call.ambient):
            wanted[name] = call.ambient[name]
        key = tuple(wanted.items())
        known = self._born.get(key)
        if known is not None:
            return known
        base = {name: self._bound(name)(value) for name, value in wanted.items()}
        bounded = tuple(base.items())
        if bounded not in self._born:
            self._bear(base, context)
        if OTHER not in base.values():
            self._born[key] = base
        return self._born.setdefault(bounded, base)

    def _bound(self, name: str) -> Bounded:
        return self._bounds.setdefault(name, Bounded(DISTINCT_VALUES))

    def _bear(self, base: Mapping[str, Any], context: Context) -> None:
        for row, counter in self._counters:
            if row.name in BORN_TOGETHER:
                for extra in BIRTH:
                    counter.add(0, {**base, **extra}, context)
