"""The definition in PromQL: names as Prometheus spells them, sums over a window, the hit rate.

Names follow OpenTelemetry's compatibility rules as the Python exporter and Prometheus' own OTLP receiver apply them:
dots become underscores, seconds are spelled out, counters end in `_total`. Both write booleans as `true` and `false`;
the rules take any case.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, final

from promptcache.attributes import BATCH, OUTCOME, SERVICE_NAME

from .definition import METRICS, Definition

_SUFFIX: Final = {"s": "_seconds"}


def label(attribute: str) -> str:
    """An attribute as a label: `gen_ai.request.model` is `gen_ai_request_model`."""
    return attribute.replace(".", "_")


def series(name: str) -> str:
    """The series of a metric of ours, by its name less our prefix; raises KeyError for a metric that does not exist.

    A histogram's is without `_bucket`, `_sum` or `_count`.
    """
    metric = METRICS[name]
    return label(metric.name) + _SUFFIX.get(metric.unit, "") + ("_total" if metric.buckets is None else "")


@final
@dataclass(frozen=True, slots=True)
class Query:
    """Writes expressions for one definition; they differ by where the service's name stands."""

    definition: Definition

    @property
    def service(self) -> str:
        """The label that names the service."""
        return "job" if self.definition.labels == "job" else label(SERVICE_NAME)

    @property
    def by(self) -> tuple[str, ...]:
        """The labels that rates are told apart by."""
        return tuple(self.service if key == SERVICE_NAME else label(key) for key in self.definition.keys)

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

    def increase(self, name: str, window: str, where: str = "") -> str:
        """How much a counter rose in a window, through its resets, summed to the labels of `by`."""
        return self.sum(f"increase({series(name)}{where and f'{{{where}}}'}[{window}])", self.by)

    def sum(self, vector: str, by: tuple[str, ...], offset: str = "") -> str:
        """`vector` summed by labels, with the service's name joined to it where it is no label yet."""
        return f"sum by ({', '.join(by)}) ({self.joined(vector, offset)})"

    def joined(self, vector: str, offset: str = "") -> str:
        """`vector` with the label that names the service."""
        if self.definition.labels != "target_info":
            return vector
        # A restart changes target_info's instance id: without `max by` two of them would match for a moment.
        info = f"max by (job, instance, {self.service}) (target_info{offset})"
        return f"{vector} * on (job, instance) group_left ({self.service}) {info}"
