"""Record finished calls on the metric instruments of the telemetry contract."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final
from weakref import WeakMethod

from opentelemetry.context import Context
from opentelemetry.metrics import CallbackOptions, Counter, Histogram, Meter, Observation
from opentelemetry.trace import get_current_span

from promptcache import semconv
from promptcache.common.safely import safely
from promptcache.model import Call
from promptcache.settings import MetricKeys
from promptcache.telemetry.cardinality import CardinalityLimiter, ValueAllowList
from promptcache.telemetry.other_emitters import warn_of_other_emitters
from promptcache.telemetry.pending_measurements import PendingMeasurements, is_collected_by_sdk

if TYPE_CHECKING:
    from promptcache.diagnosis.unread_writes import UnreadWrite

MAX_DISTINCT_VALUES: Final = 100
MAX_DISTINCT_USER_VALUES: Final = 50

StorageCosts = Iterable[tuple[float, tuple[str, str]]]
"""Pairs of USD and (provider, model)."""


class StorageCostCallback:
    """Observable callback for the cache storage cost. Monotonic across uninstrument/instrument.

    The SDK never drops a callback, and keeps the first one of a name. So this one looks up the
    `current_source` of costs at each collection, through a weak reference that keeps no handler
    alive. The SDK runs it before it collects the counters, so it also lets the current recorder
    tell its counters what they were not told yet.
    """

    current_source: ClassVar[WeakMethod[Callable[[], StorageCosts]] | None] = None
    prepare_current: ClassVar[WeakMethod[Callable[[], None]] | None] = None

    def __init__(self) -> None:
        self._model_limiter = CardinalityLimiter(MAX_DISTINCT_VALUES)
        self._source: WeakMethod[Callable[[], StorageCosts]] | None = None
        self._previous_totals: Mapping[tuple[str, str], float] = {}
        self._totals: dict[tuple[str, str], float] = {}

    def __call__(self, options: CallbackOptions) -> Iterator[Observation]:
        prepare = StorageCostCallback.prepare_current and StorageCostCallback.prepare_current()
        if prepare is not None:
            safely(prepare)
        if self._source is not StorageCostCallback.current_source:
            self._source = StorageCostCallback.current_source
            self._previous_totals = self._totals
        accrued_costs = None if self._source is None else self._source()
        if accrued_costs is not None:
            self._totals = dict(self._previous_totals)
            for usd, (provider, model) in accrued_costs():
                key = provider, self._model_limiter(model)
                self._totals[key] = self._totals.get(key, 0.0) + usd
        for (provider, model), usd in self._totals.items():
            yield Observation(usd, _provider_and_model_attributes(provider, model))


class MetricsRecorder:
    """Record finished calls. Metrics carry the context attributes that `user_keys` lists."""

    def __init__(
        self, meter: Meter, user_keys: MetricKeys = (), *, with_genai_metrics: bool = False
    ) -> None:
        self._meter = meter
        self._counters = {
            definition.name: meter.create_counter(
                definition.name, unit=definition.unit, description=definition.description
            )
            for definition in semconv.COUNTERS
        }
        genai_histograms = semconv.GENAI_HISTOGRAMS if with_genai_metrics else ()
        self._histograms = {
            definition.name: _create_histogram(meter, definition)
            for definition in (*semconv.HISTOGRAMS, *genai_histograms)
        }
        self._with_genai_metrics = self._has_to_check_emitters = with_genai_metrics
        self._limiters = dict(_limiters_of_user_keys(user_keys))
        self._pending = PendingMeasurements()
        self._is_sdk: bool | None = None
        self._has_callback = False
        self.before_collection: Callable[[], object] | None = None
        """Runs before the instruments are told what happened since the last collection."""
        self._initialised: dict[tuple[Any, ...], Mapping[str, Any]] = {}

    def register_storage_cost_observer(self, accrued_costs: Callable[[], StorageCosts]) -> None:
        """Observe the storage cost of named caches that the method `accrued_costs` returns."""
        StorageCostCallback.current_source = WeakMethod(accrued_costs)
        StorageCostCallback.prepare_current = WeakMethod(self.prepare_collection)
        self._has_callback = True
        self._meter.create_observable_counter(
            semconv.METRIC_STORAGE_USD,
            [StorageCostCallback()],
            unit="{USD}",
            description="Storage cost of named caches, by token-hours.",
        )

    def record_cache_creation_cost(
        self, usd: float, provider: str, model: str, context: Context
    ) -> None:
        """Add the cost of filling a named cache, which is no call."""
        limited = self._limiter_of_attribute(semconv.GEN_AI_REQUEST_MODEL)(model)
        counter = self._counters[semconv.METRIC_COST_USD]
        self._add(counter, _provider_and_model_attributes(provider, limited), {}, usd, context)

    def record_unread_write(self, write: UnreadWrite) -> None:
        """Add the extra cost of a cache write that expired before any call read it.

        This is known only after the call, so it is recorded outside the call's context.
        """
        limited = self._limiter_of_attribute(semconv.GEN_AI_REQUEST_MODEL)(write.model or "")
        attributes = _provider_and_model_attributes(write.provider, limited)
        counter = self._counters[semconv.METRIC_WASTED_USD]
        reason = {semconv.MISS_REASON: "write_never_read"}
        self._add(counter, attributes, reason, write.wasted_usd, Context())

    def record_call(self, call: Call, context: Context) -> None:
        """Add one finished call, in its own `context` so that exemplars refer to its span."""
        if self._has_to_check_emitters:
            self._has_to_check_emitters = False
            warn_of_other_emitters()
        base = self._common_attributes_within_limits(call)
        span_context = get_current_span(context).get_span_context()
        sums = semconv.counter_points(call)
        values = semconv.histogram_points(call)
        if self._with_genai_metrics:
            values += semconv.genai_points(call)
        counters, histograms = self._counters, self._histograms
        self._pending.add(
            base, [(counters[name], amount, extra) for name, amount, extra in sums], span_context
        )
        self._pending.record(
            base, [(histograms[name], value, extra) for name, value, extra in values], span_context
        )
        if not self._is_told_at_collection():
            self._pending.record_pending()

    def prepare_collection(self) -> None:
        """Tell the instruments what they were not told yet."""
        if self.before_collection is not None:
            safely(self.before_collection)
        self._pending.record_pending()

    def _is_told_at_collection(self) -> bool:
        """Return whether the SDK calls back before it collects. Other SDKs may not."""
        if self._is_sdk is None:
            self._is_sdk = is_collected_by_sdk(self._counters[semconv.METRIC_CALLS])
        return self._has_callback and self._is_sdk is True

    def close(self) -> None:
        """Tell everything, now and from now on: another recorder takes the callback over."""
        self._has_callback = False
        self.prepare_collection()

    def _add(
        self,
        counter: Counter,
        attributes: Mapping[str, Any],
        extra: Mapping[str, Any],
        amount: float,
        context: Context,
    ) -> None:
        """Add to a series that does not belong to a call."""
        key = tuple(attributes.items())
        base = self._initialised.setdefault(key, attributes)
        span_context = get_current_span(context).get_span_context()
        self._pending.add(base, [(counter, amount, extra)], span_context)
        if not self._is_told_at_collection():
            self._pending.record_pending()

    def _common_attributes_within_limits(self, call: Call) -> Mapping[str, Any]:
        """Return the attributes of all metrics of `call`, within the cardinality limits."""
        wanted = semconv.common_metric_attributes(call)
        for name in (name for name in self._limiters if name in call.context_attributes):
            wanted[name] = call.context_attributes[name]
        key = tuple(wanted.items())
        known = self._initialised.get(key)
        if known is not None:
            return known
        base = {name: self._limiter_of_attribute(name)(value) for name, value in wanted.items()}
        limited_key = tuple(base.items())
        if limited_key not in self._initialised:
            self._initialise_counters_at_zero(base)
        if semconv.OTHER_VALUE not in base.values():
            self._initialised[key] = base
        return self._initialised.setdefault(limited_key, base)

    def _initialise_counters_at_zero(self, base: Mapping[str, Any]) -> None:
        counters = [self._counters[name] for name in semconv.ZERO_INITIALISED]
        zeros = [(counter, 0, extra) for counter in counters for extra in semconv.ZERO_POINTS]
        self._pending.add(base, zeros, None)

    def _limiter_of_attribute(self, name: str) -> Callable[[Any], Any]:
        return self._limiters.setdefault(name, CardinalityLimiter(MAX_DISTINCT_VALUES))


def _limiters_of_user_keys(user_keys: MetricKeys) -> Iterator[tuple[str, Callable[[Any], Any]]]:
    """Yield each key with the limit on its values: a list of them, or their number."""
    for key in user_keys:
        allowed = user_keys[key] if isinstance(user_keys, Mapping) else ()
        yield (
            key,
            ValueAllowList(allowed) if allowed else CardinalityLimiter(MAX_DISTINCT_USER_VALUES),
        )


def _create_histogram(meter: Meter, definition: semconv.MetricDefinition) -> Histogram:
    return meter.create_histogram(
        definition.name,
        unit=definition.unit,
        description=definition.description,
        explicit_bucket_boundaries_advisory=definition.bucket_boundaries,
    )


def _provider_and_model_attributes(provider: str, model: str) -> dict[str, str]:
    return {semconv.GEN_AI_PROVIDER_NAME: provider, semconv.GEN_AI_REQUEST_MODEL: model}
