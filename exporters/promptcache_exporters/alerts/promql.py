"""The definition in PromQL: names as Prometheus spells them, sums over a window, the hit rate.

Names follow OpenTelemetry's compatibility rules as the Python exporter and Prometheus' own OTLP receiver apply them:
dots become underscores, seconds are spelled out, counters end in `_total`. Both write booleans as `true` and `false`;
the rules take any case.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, final

from promptcache.attributes import BATCH, OUTCOME, SERVICE_NAME
from promptcache_exporters.alerts.definition import METRICS, Definition

_SUFFIX: Final = {"s": "_seconds"}
SEEN: Final = "1h"
"""How long before a window a series must have been unseen to count as new in it."""


def label(attribute: str) -> str:
    """An attribute as a label: `gen_ai.request.model` is `gen_ai_request_model`."""
    return attribute.replace(".", "_")


def series(name: str) -> str:
    """The series of a metric of ours, by its name less our prefix; raises KeyError for a metric that does not exist.

    A histogram's is without `_bucket`, `_sum` or `_count`.
    """
    metric = METRICS[name]
    return (
        label(metric.name)
        + _SUFFIX.get(metric.unit, "")
        + ("_total" if metric.buckets is None else "")
    )


@final
@dataclass(frozen=True, slots=True)
class Query:
    """Writes expressions for one definition; they differ by where the service's name stands.

    `picked` is a matcher that the service's label has to fit (`=~"$service"` on a dashboard).
    """

    definition: Definition
    picked: str = ""

    @property
    def service(self) -> str:
        """The label that names the service."""
        return "job" if self.definition.labels == "job" else label(SERVICE_NAME)

    @property
    def by(self) -> tuple[str, ...]:
        """The labels that rates are told apart by."""
        return tuple(
            self.service if key == SERVICE_NAME else label(key) for key in self.definition.keys
        )

    @property
    def judged(self) -> str:
        """Selects the calls that the hit rate counts."""
        out = self.definition.left_out
        outcome = f'!="{out[0]}"' if len(out) == 1 else f'!~"{"|".join(out)}"'
        return f"{label(OUTCOME)}{outcome}, {self.regular}"

    @property
    def regular(self) -> str:
        """Selects what is no result of a batch."""
        return f'{label(BATCH)}!~"(?i:true)"'

    @property
    def _joins(self) -> bool:
        return self.definition.labels == "target_info"

    def increase(
        self, name: str, window: str, where: str = "", by: tuple[str, ...] | None = None
    ) -> str:
        """How much a counter rose in a window, through its resets, summed to labels (those of `by`)."""
        return self.over("increase", series(name), window, where, self.by if by is None else by)

    def rise(self, name: str, window: str, where: str = "") -> str:
        """How much a counter rose in a window, what its series already showed when first seen included.

        `increase` takes the first sample of a series for where it began, and so never sees what a cause wasted before
        its first scrape, nor anything of a process that is seen once. A series is new that was not there in the hour
        before the window; after that long without a Prometheus all are, hence `up`, which says that it was watching.
        """
        counter = f"{series(name)}{where and f'{{{where}}}'}"
        first = f"min_over_time({counter}[{window}]) unless last_over_time({counter}[{SEEN}] offset {window})"
        vector = f"""
  increase({counter}[{window}])
  or
  label_replace({first}, "sample", "first", "", "")
  and on () count(up offset {window})
"""
        return self.sum(f"({vector})" if self._joins else vector, self.by)

    def over(self, function: str, name: str, window: str, where: str, by: tuple[str, ...]) -> str:
        """`increase` or `rate` of a series over a window, summed to labels."""
        service = f"{self.service}{self.picked}" if self.picked and not self._joins else ""
        chosen = ", ".join(filter(None, (where, service)))
        return self.sum(f"{function}({name}{chosen and f'{{{chosen}}}'}[{window}])", by)

    def sum(self, vector: str, by: tuple[str, ...], offset: str = "") -> str:
        """`vector` summed to labels, with the service's name joined to it where it is no label yet."""
        listed = ", ".join(by)
        return f"sum{listed and f' by ({listed})'} ({self.joined(vector, offset)})"

    def joined(self, vector: str, offset: str = "") -> str:
        """`vector` with the label that names the service."""
        if not self._joins:
            return vector
        # A restart changes target_info's instance id: without `max by` two of them would match for a moment.
        picked = f"{{{self.service}{self.picked}}}" if self.picked else ""
        info = f"max by (job, instance, {self.service}) (target_info{picked}{offset})"
        return f"{vector} * on (job, instance) group_left ({self.service}) {info}"
