"""What the alerts mean, once for every backend.

The hit rate is read tokens / input tokens over a window: a ratio of sums, never a mean of ratios. It leaves out calls
whose cached tokens were not reported and results of batches, and it is judged only where there was traffic. Each
backend's file says this in its own language and adds nothing to it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, final

from promptcache.model import Outcome
from promptcache.semconv import (
    COUNTERS,
    GEN_AI_OPERATION_NAME,
    GEN_AI_PROVIDER_NAME,
    GEN_AI_REQUEST_MODEL,
    GEN_AI_RESPONSE_MODEL,
    HISTOGRAMS,
    SERVER_ADDRESS,
    SERVICE_NAME,
    MetricDefinition,
)

GROUP_ATTRIBUTES: Final[Mapping[str, str]] = {
    "service": SERVICE_NAME,
    "model": GEN_AI_REQUEST_MODEL,
    "response_model": GEN_AI_RESPONSE_MODEL,
    "provider": GEN_AI_PROVIDER_NAME,
    "operation": GEN_AI_OPERATION_NAME,
    "address": SERVER_ADDRESS,
}
"""What rates can be told apart by. Keys of `OTEL_PROMPTCACHE_METRIC_KEYS` are named `key:tenant`."""

SERVICE_LABELS: Final = ("job", "service_name", "target_info")
"""Where the service stands in Prometheus; none of the three is everywhere (docs/alerts.md)."""

LONG_WINDOW: Final = "1h"
"""The window of the slow rules: long enough for services with little traffic, and to compare with yesterday's."""

METRICS_BY_NAME: Final[Mapping[str, MetricDefinition]] = {
    row.name.partition(".")[2]: row for row in (*COUNTERS, *HISTOGRAMS)
}
"""The metrics of the contract by their names less our prefix."""

_SECONDS_PER_UNIT: Final[Mapping[str, int]] = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_duration(duration: str) -> int:
    """The seconds of `30s`, `5m`, `1h` or `2d`. Raises ValueError for anything else."""
    found = re.fullmatch(r"([1-9]\d{0,5})([smhd])", duration)
    if not found:
        raise ValueError("a duration such as 30s, 5m, 1h or 2d")
    return int(found[1]) * _SECONDS_PER_UNIT[found[2]]


def _is_share(value: float) -> bool:
    return 0 < value < 1


def _is_positive(value: float) -> bool:
    return 0 < value < math.inf


def _is_duration(value: str) -> bool:
    try:
        return parse_duration(value) > 0
    except ValueError:
        return False


def _are_dimensions(value: tuple[str, ...]) -> bool:
    known = all(
        name in GROUP_ATTRIBUTES or re.fullmatch(r"key:[A-Za-z][A-Za-z0-9._]*", name)
        for name in value
    )
    return bool(value) and known and len(set(value)) == len(value)


def _is_link(value: str) -> bool:
    return bool(re.fullmatch(r"[\w:/.~%@+=-]+", value))


FIELD_RULES: Final[Mapping[str, tuple[Callable[[Any], bool], str]]] = {
    "target": (_is_share, "a share above 0 and below 1 (0.5 is 50 %)"),
    "window": (_is_duration, "a duration such as 30s, 5m, 1h or 2d"),
    "hold": (_is_duration, "a duration such as 30s, 5m, 1h or 2d"),
    "min_tokens": (_is_positive, "a whole number above 0"),
    "labels": (SERVICE_LABELS.__contains__, f"one of {', '.join(SERVICE_LABELS)}"),
    "by": (
        _are_dimensions,
        f"{', '.join(GROUP_ATTRIBUTES)}, key:NAME for your own metric keys; each at most once, separated by commas",
    ),
    "budget": (_is_positive, "an amount in USD above 0"),
    "drop": (_is_share, "a share above 0 and below 1 (0.2 is 20 %)"),
    "runbooks": (_is_link, "a URL or a path without spaces"),
}


@final
@dataclass(frozen=True, slots=True)
class AlertDefinition:
    """The options that the alerts are made with. Raises ValueError naming the option and what it allows.

    `target` is the hit rate below which somebody is told, `window` what it is taken over, `hold` how long it must
    stay there, `min_tokens` the input tokens in a window below which nothing is said. `labels` says where the service
    stands in Prometheus, `by` what rates are told apart by. `actionable` also leaves out calls that could not have
    been read from a cache: prompts below the provider's minimum and prewarming. `budget` is the waste in USD per hour
    that is too much, `drop` how far (in shares of 1) a rate may fall below the same hour of yesterday. `runbooks` is
    what the links to the runbooks begin with; its default is no link but the path in this repository, since only who
    pages knows where the pages stand that the paged can read.
    """

    target: float = 0.5
    window: str = "5m"
    hold: str = "5m"
    min_tokens: int = 100_000
    labels: str = "job"
    by: tuple[str, ...] = ("service", "model")
    actionable: bool = False
    budget: float = 10.0
    drop: float = 0.2
    runbooks: str = "docs/runbooks"

    def __post_init__(self) -> None:
        for name, (fits, allowed) in FIELD_RULES.items():
            if not fits(value := getattr(self, name)):
                raise ValueError(f"{_format_option(name, value)}: allowed is {allowed}")

    @property
    def excluded_outcomes(self) -> tuple[Outcome, ...]:
        """The outcomes whose calls the hit rate does not count."""
        return ("unreported", "below_minimum", "prewarm") if self.actionable else ("unreported",)

    @property
    def group_attributes(self) -> tuple[str, ...]:
        """The attributes that rates are told apart by, in the order asked for."""
        return tuple(GROUP_ATTRIBUTES.get(name) or name.removeprefix("key:") for name in self.by)

    def command_line(self, backend: str) -> str:
        """The command line that makes the files again."""
        changed = ((field.name, getattr(self, field.name)) for field in fields(self))
        given = [
            _format_option(name, value)
            for name, value in changed
            if value != getattr(DEFAULT_DEFINITION, name)
        ]
        return " ".join(["promptcache", "alerts", backend, *given])


def option_name(name: str) -> str:
    """The option of the command line that sets a field."""
    return {"hold": "for"}.get(name, name.replace("_", "-"))


def _format_option(name: str, value: Any) -> str:
    if value is True:
        return f"--{option_name(name)}"
    return f"--{option_name(name)} {','.join(value) if name == 'by' else value}"


DEFAULT_DEFINITION: Final = AlertDefinition()
