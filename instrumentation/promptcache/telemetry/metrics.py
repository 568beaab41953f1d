"""The instruments of the contract, and the bounds that keep their series few."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import count
from typing import TYPE_CHECKING, Any, ClassVar, Final
from weakref import WeakMethod

from opentelemetry.context import Context
from opentelemetry.metrics import CallbackOptions, Meter, Observation

from promptcache.model import Call
from promptcache.semconv import (
    COUNTERS,
    GEN_AI_PROVIDER_NAME,
    GEN_AI_REQUEST_MODEL,
    HISTOGRAMS,
    METRIC_COST_USD,
    METRIC_STORAGE_USD,
    METRIC_WASTED_USD,
    MISS_REASON,
    OTHER_VALUE,
    ZERO_INITIALISED,
    ZERO_POINTS,
    metric_attributes,
)

if TYPE_CHECKING:
    from promptcache.diagnosis.unread_writes import UnreadWrite

MAX_DISTINCT_VALUES: Final = 100
MAX_DISTINCT_USER_VALUES: Final = 50


class CardinalityLimiter:
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
                return OTHER_VALUE
            rank = self._ranks.setdefault(value, next(self._next))
        return value if rank < self._limit else OTHER_VALUE


StorageCosts = Iterable[tuple[float, tuple[str, str]]]
"""USD by provider and model."""


class StorageCostCallback:
    """What one meter says of rent: never falls, whoever is watched.

    The SDK keeps the first callback of a name for as long as its provider lives, through every `uninstrument` and
    `instrument`: so this asks who is `current_source` now, and keeps nobody alive.
    """

    current_source: ClassVar[WeakMethod[Callable[[], StorageCosts]] | None] = None

    def __init__(self) -> None:
        self._model_limiter = CardinalityLimiter(MAX_DISTINCT_VALUES)
        self._source: WeakMethod[Callable[[], StorageCosts]] | None = None
        self._previous_totals: Mapping[tuple[str, str], float] = {}
        self._totals: dict[tuple[str, str], float] = {}

    def __call__(self, options: CallbackOptions) -> Iterator[Observation]:
        if self._source is not StorageCostCallback.current_source:
            self._source, self._previous_totals = StorageCostCallback.current_source, self._totals
        accrued = None if self._source is None else self._source()
        if accrued is not None:
            self._totals = dict(self._previous_totals)
            for total, (provider, model) in accrued():
                series = provider, self._model_limiter(model)
                self._totals[series] = self._totals.get(series, 0.0) + total
        for (provider, model), total in self._totals.items():
            yield Observation(total, {GEN_AI_PROVIDER_NAME: provider, GEN_AI_REQUEST_MODEL: model})


class MetricsRecorder:
    """Records finished calls; `user_keys` are the keys of the user's that metrics carry."""

    def __init__(self, meter: Meter, user_keys: tuple[str, ...] = ()) -> None:
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
                    explicit_bucket_boundaries_advisory=row.bucket_boundaries,
                ),
            )
            for row in HISTOGRAMS
        ]
        self._limiters = {name: CardinalityLimiter(MAX_DISTINCT_USER_VALUES) for name in user_keys}
        self._zero_series: set[tuple[Any, ...]] = set()
        self._initialised: dict[tuple[Any, ...], Mapping[str, Any]] = {}

    def observe_storage_cost(self, accrued: Callable[[], StorageCosts]) -> None:
        """Watches what named caches cost in rent, by provider and model, as the method `accrued` says."""
        StorageCostCallback.current_source = WeakMethod(accrued)
        self._meter.create_observable_counter(
            METRIC_STORAGE_USD,
            [StorageCostCallback()],
            unit="{USD}",
            description="Rent of named caches, by token-hours.",
        )

    def record_cache_fill(self, usd: float, provider: str, model: str, context: Context) -> None:
        """Adds what filling a named cache cost, which is no call."""
        counter = next(counter for row, counter in self._counters if row.name == METRIC_COST_USD)
        counter.add(
            usd,
            {
                GEN_AI_PROVIDER_NAME: provider,
                GEN_AI_REQUEST_MODEL: self._limiter(GEN_AI_REQUEST_MODEL)(model),
            },
            context,
        )

    def record_unread_write(self, unread: UnreadWrite) -> None:
        """Adds what a write cost too much that expired unread: known after its call, hence without a context."""
        counter = next(counter for row, counter in self._counters if row.name == METRIC_WASTED_USD)
        base = {
            GEN_AI_PROVIDER_NAME: unread.provider,
            GEN_AI_REQUEST_MODEL: self._limiter(GEN_AI_REQUEST_MODEL)(unread.model or ""),
        }
        counter.add(unread.wasted_usd, {**base, MISS_REASON: "write_never_read"}, Context())

    def record_call(self, call: Call, context: Context) -> None:
        """Adds one finished call, in its own context so that exemplars find its span."""
        base = self._base_attributes(call, context)
        for row, counter in self._counters:
            for value, extra in row.points(call):
                if value or self._is_new_series(row.name, base, extra):
                    counter.add(value, {**base, **extra}, context)
        for row, histogram in self._histograms:
            for value, extra in row.points(call):
                histogram.record(value, {**base, **extra}, context)

    def _is_new_series(self, name: str, base: Mapping[str, Any], extra: Mapping[str, Any]) -> bool:
        """Whether a 0 begins a series; a later one adds nothing, and takes the SDK as long as any number."""
        key = (name, *base.values(), *extra.values())
        if key in self._zero_series:
            return False
        self._zero_series.add(key)
        return True

    def _base_attributes(self, call: Call, context: Context) -> Mapping[str, Any]:
        wanted = metric_attributes(call)
        for name in (name for name in self._limiters if name in call.context_attributes):
            wanted[name] = call.context_attributes[name]
        key = tuple(wanted.items())
        known = self._initialised.get(key)
        if known is not None:
            return known
        base = {name: self._limiter(name)(value) for name, value in wanted.items()}
        bounded = tuple(base.items())
        if bounded not in self._initialised:
            self._initialise_series(base, context)
        if OTHER_VALUE not in base.values():
            self._initialised[key] = base
        return self._initialised.setdefault(bounded, base)

    def _limiter(self, name: str) -> CardinalityLimiter:
        return self._limiters.setdefault(name, CardinalityLimiter(MAX_DISTINCT_VALUES))

    def _initialise_series(self, base: Mapping[str, Any], context: Context) -> None:
        for row, counter in self._counters:
            if row.name in ZERO_INITIALISED:
                for extra in ZERO_POINTS:
                    counter.add(0, {**base, **extra}, context)
