"""The alert definition in PromQL: names of series and labels, sums over a window, the hit rate.

Names follow OpenTelemetry's rules for Prometheus compatibility, as the Python exporter and
Prometheus' OTLP receiver apply them: dots become underscores, seconds are spelled out, counters end
in `_total`. Both write booleans as `true` and `false`. The rules accept upper and lower case.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, final

from promptcache.semconv import BATCH, OUTCOME, SERVICE_NAME
from promptcache_exporters.alerts.definition import METRICS_BY_NAME, AlertDefinition

_UNIT_SUFFIXES: Final = {"s": "_seconds"}
NEW_SERIES_LOOKBACK: Final = "1h"
"""A series counts as new in a window if it had no sample for this long before the window."""


def prometheus_label_name(attribute: str) -> str:
    """Return the label of an attribute: `gen_ai_request_model` for `gen_ai.request.model`."""
    return attribute.replace(".", "_")


def prometheus_series_name(metric_name: str) -> str:
    """Return the series of a metric, whose name is given without the prefix `promptcache.`.

    The series of a histogram is without `_bucket`, `_sum` or `_count`. Raises KeyError for an
    unknown metric.
    """
    metric = METRICS_BY_NAME[metric_name]
    return (
        prometheus_label_name(metric.name)
        + _UNIT_SUFFIXES.get(metric.unit, "")
        + ("_total" if metric.bucket_boundaries is None else "")
    )


@final
@dataclass(frozen=True, slots=True)
class PromQLQueryBuilder:
    """Builds the expressions for one definition.

    They depend on the label that has the service name. `service_matcher` restricts that label
    (`=~"$service"` on a dashboard).
    """

    definition: AlertDefinition
    service_matcher: str = ""

    @property
    def service_name_label(self) -> str:
        """The label with the service name."""
        return "job" if self.definition.labels == "job" else prometheus_label_name(SERVICE_NAME)

    @property
    def group_by_labels(self) -> tuple[str, ...]:
        """The labels that the hit rate is grouped by."""
        return tuple(
            self.service_name_label if key == SERVICE_NAME else prometheus_label_name(key)
            for key in self.definition.group_by_attributes
        )

    @property
    def hit_rate_calls_selector(self) -> str:
        """The selector of the calls that the hit rate counts."""
        excluded = self.definition.hit_rate_excluded_outcomes
        matcher = f'!="{excluded[0]}"' if len(excluded) == 1 else f'!~"{"|".join(excluded)}"'
        return f"{prometheus_label_name(OUTCOME)}{matcher}, {self.non_batch_selector}"

    @property
    def non_batch_selector(self) -> str:
        """The selector of calls that are not batch results."""
        return f'{prometheus_label_name(BATCH)}!~"(?i:true)"'

    @property
    def _joins_target_info(self) -> bool:
        return self.definition.labels == "target_info"

    def sum_increase(
        self, metric_name: str, window: str, selector: str = "", by: tuple[str, ...] | None = None
    ) -> str:
        """Return the increase of a counter over a window, by labels (default `group_by_labels`)."""
        return self.sum_range_function(
            "increase",
            prometheus_series_name(metric_name),
            window,
            selector,
            self.group_by_labels if by is None else by,
        )

    def sum_increase_including_new_series(
        self, metric_name: str, window: str, selector: str = ""
    ) -> str:
        """Return the increase of a counter over a window, including the first sample of new series.

        `increase` counts from the first sample of a series. It misses the waste of a new miss
        reason before its first scrape, and everything of a process that is scraped once. A series
        is new if it had no sample in the hour before the window. After an hour without a running
        Prometheus every series would be new, so `up` must show that Prometheus was running.
        """
        counter = f"{prometheus_series_name(metric_name)}{selector and f'{{{selector}}}'}"
        first = (
            f"min_over_time({counter}[{window}])"
            f" unless last_over_time({counter}[{NEW_SERIES_LOOKBACK}] offset {window})"
        )
        vector = f"""
  increase({counter}[{window}])
  or
  label_replace({first}, "sample", "first", "", "")
  and on () count(up offset {window})
"""
        return self.sum_by_labels(
            f"({vector})" if self._joins_target_info else vector, self.group_by_labels
        )

    def sum_range_function(
        self, range_function: str, series: str, window: str, selector: str, by: tuple[str, ...]
    ) -> str:
        """Return `increase` or `rate` of a series over a window, summed by labels."""
        service = (
            f"{self.service_name_label}{self.service_matcher}"
            if self.service_matcher and not self._joins_target_info
            else ""
        )
        matchers = ", ".join(filter(None, (selector, service)))
        return self.sum_by_labels(
            f"{range_function}({series}{matchers and f'{{{matchers}}}'}[{window}])", by
        )

    def sum_by_labels(self, vector: str, by: tuple[str, ...], offset: str = "") -> str:
        """Return `vector` summed by labels, with the label of the service name joined if needed."""
        labels = ", ".join(by)
        return f"sum{labels and f' by ({labels})'} ({self.join_service_name_label(vector, offset)})"

    def join_service_name_label(self, vector: str, offset: str = "") -> str:
        """Return `vector` with the label that has the service name."""
        if not self._joins_target_info:
            return vector
        # A restart changes the instance id of target_info. Without `max by` two series would match
        # for a moment, and the join would fail.
        matcher = (
            f"{{{self.service_name_label}{self.service_matcher}}}" if self.service_matcher else ""
        )
        info = f"max by (job, instance, {self.service_name_label}) (target_info{matcher}{offset})"
        return f"{vector} * on (job, instance) group_left ({self.service_name_label}) {info}"
