"""The definition in PromQL: names as Prometheus spells them, sums over a window, the hit rate.

Names follow OpenTelemetry's compatibility rules as the Python exporter and Prometheus' own OTLP receiver apply them:
dots become underscores, seconds are spelled out, counters end in `_total`. Both write booleans as `true` and `false`;
the rules take any case.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, final

from promptcache.semconv import BATCH, OUTCOME, SERVICE_NAME
from promptcache_exporters.alerts.definition import METRICS_BY_NAME, AlertDefinition

_UNIT_SUFFIXES: Final = {"s": "_seconds"}
NEW_SERIES_LOOKBACK: Final = "1h"
"""How long before a window a series must have been unseen to count as new in it."""


def label_name(attribute: str) -> str:
    """An attribute as a label: `gen_ai.request.model` is `gen_ai_request_model`."""
    return attribute.replace(".", "_")


def series_name(name: str) -> str:
    """The series of a metric of ours, by its name less our prefix; raises KeyError for a metric that does not exist.

    A histogram's is without `_bucket`, `_sum` or `_count`.
    """
    metric = METRICS_BY_NAME[name]
    return (
        label_name(metric.name)
        + _UNIT_SUFFIXES.get(metric.unit, "")
        + ("_total" if metric.bucket_boundaries is None else "")
    )


@final
@dataclass(frozen=True, slots=True)
class QueryBuilder:
    """Writes expressions for one definition; they differ by where the service's name stands.

    `service_matcher` is a matcher that the service's label has to fit (`=~"$service"` on a dashboard).
    """

    definition: AlertDefinition
    service_matcher: str = ""

    @property
    def service_label(self) -> str:
        """The label that names the service."""
        return "job" if self.definition.labels == "job" else label_name(SERVICE_NAME)

    @property
    def group_labels(self) -> tuple[str, ...]:
        """The labels that rates are told apart by."""
        return tuple(
            self.service_label if key == SERVICE_NAME else label_name(key)
            for key in self.definition.group_attributes
        )

    @property
    def rated_calls_selector(self) -> str:
        """Selects the calls that the hit rate counts."""
        out = self.definition.excluded_outcomes
        outcome = f'!="{out[0]}"' if len(out) == 1 else f'!~"{"|".join(out)}"'
        return f"{label_name(OUTCOME)}{outcome}, {self.non_batch_selector}"

    @property
    def non_batch_selector(self) -> str:
        """Selects what is no result of a batch."""
        return f'{label_name(BATCH)}!~"(?i:true)"'

    @property
    def _joins_target_info(self) -> bool:
        return self.definition.labels == "target_info"

    def sum_increase(
        self, name: str, window: str, where: str = "", by: tuple[str, ...] | None = None
    ) -> str:
        """How much a counter rose in a window, through its resets, summed to labels (those of `group_labels`)."""
        return self.sum_over_window(
            "increase", series_name(name), window, where, self.group_labels if by is None else by
        )

    def sum_increase_since_start(self, name: str, window: str, where: str = "") -> str:
        """How much a counter rose in a window, what its series already showed when first seen included.

        `sum_increase` takes the first sample of a series for where it began, and so never sees what a cause wasted before
        its first scrape, nor anything of a process that is seen once. A series is new that was not there in the hour
        before the window; after that long without a Prometheus all are, hence `up`, which says that it was watching.
        """
        counter = f"{series_name(name)}{where and f'{{{where}}}'}"
        first = f"min_over_time({counter}[{window}]) unless last_over_time({counter}[{NEW_SERIES_LOOKBACK}] offset {window})"
        vector = f"""
  increase({counter}[{window}])
  or
  label_replace({first}, "sample", "first", "", "")
  and on () count(up offset {window})
"""
        return self.sum_by(f"({vector})" if self._joins_target_info else vector, self.group_labels)

    def sum_over_window(
        self, function: str, name: str, window: str, where: str, by: tuple[str, ...]
    ) -> str:
        """`sum_increase` or `rate` of a series over a window, summed to labels."""
        service = (
            f"{self.service_label}{self.service_matcher}"
            if self.service_matcher and not self._joins_target_info
            else ""
        )
        chosen = ", ".join(filter(None, (where, service)))
        return self.sum_by(f"{function}({name}{chosen and f'{{{chosen}}}'}[{window}])", by)

    def sum_by(self, vector: str, by: tuple[str, ...], offset: str = "") -> str:
        """`vector` summed to labels, with the service's name joined to it where it is no label yet."""
        listed = ", ".join(by)
        return f"sum{listed and f' by ({listed})'} ({self.join_service_label(vector, offset)})"

    def join_service_label(self, vector: str, offset: str = "") -> str:
        """`vector` with the label that names the service."""
        if not self._joins_target_info:
            return vector
        # A restart changes target_info's instance id: without `max by` two of them would match for a moment.
        picked = f"{{{self.service_label}{self.service_matcher}}}" if self.service_matcher else ""
        info = f"max by (job, instance, {self.service_label}) (target_info{picked}{offset})"
        return f"{vector} * on (job, instance) group_left ({self.service_label}) {info}"
