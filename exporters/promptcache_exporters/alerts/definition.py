"""The meaning of the alerts, defined once for all backends.

The hit rate is read tokens / input tokens over a window: a ratio of sums, never a mean of ratios.
It leaves out batch results and calls whose cached tokens were not reported, and it counts only with
enough traffic. The file of each backend expresses this in the backend's language and adds nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, NamedTuple, final

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
"""The values of `--by`, and the attribute that each groups by.

A key of `OTEL_PROMPTCACHE_METRIC_KEYS` has the form `key:tenant`.
"""

SERVICE_LABELS: Final = ("job", "service_name", "target_info")
"""Where Prometheus has the service name. It depends on the set-up (docs/alerts.md)."""

LONG_WINDOW: Final = "1h"
"""The window of the slow rules: for services with little traffic, and to compare with yesterday."""

METRICS_BY_NAME: Final[Mapping[str, MetricDefinition]] = {
    row.name.partition(".")[2]: row for row in (*COUNTERS, *HISTOGRAMS)
}
"""The metrics of promptcache, by their names without the prefix `promptcache.`."""

_SECONDS_PER_UNIT: Final[Mapping[str, int]] = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_duration_seconds(duration: str) -> int:
    """Return the seconds of `30s`, `5m`, `1h` or `2d`. Raise ValueError for other texts."""
    match = re.fullmatch(r"([1-9]\d{0,5})([smhd])", duration)
    if not match:
        raise ValueError(f"{duration!r} is not a duration")
    return int(match[1]) * _SECONDS_PER_UNIT[match[2]]


def _is_fraction_between_0_and_1(number: float) -> bool:
    return 0 < number < 1


def _is_positive_finite_number(number: float) -> bool:
    return 0 < number < math.inf


def _is_duration(text: str) -> bool:
    try:
        return parse_duration_seconds(text) > 0
    except ValueError:
        return False


def _are_unique_group_by_names(names: tuple[str, ...]) -> bool:
    known = all(
        name in GROUP_ATTRIBUTES or re.fullmatch(r"key:[A-Za-z][A-Za-z0-9._]*", name)
        for name in names
    )
    return bool(names) and known and len(set(names)) == len(names)


def _is_url_or_path(text: str) -> bool:
    return bool(re.fullmatch(r"[\w:/.~%@+=-]+", text))


class FieldValidationRule(NamedTuple):
    """The check of a field, and the allowed values in words."""

    is_valid: Callable[[Any], bool]
    allowed: str


_DURATIONS: Final = "a duration such as 30s, 5m, 1h or 2d"
FIELD_RULES: Final[Mapping[str, FieldValidationRule]] = {
    "target": FieldValidationRule(
        _is_fraction_between_0_and_1, "a share above 0 and below 1 (0.5 is 50 %)"
    ),
    "window": FieldValidationRule(_is_duration, _DURATIONS),
    "for_duration": FieldValidationRule(_is_duration, _DURATIONS),
    "min_tokens": FieldValidationRule(_is_positive_finite_number, "a whole number above 0"),
    "labels": FieldValidationRule(
        SERVICE_LABELS.__contains__, f"one of {', '.join(SERVICE_LABELS)}"
    ),
    "by": FieldValidationRule(
        _are_unique_group_by_names,
        f"{', '.join(GROUP_ATTRIBUTES)}, key:NAME for your own metric keys;"
        " each at most once, separated by commas",
    ),
    "budget": FieldValidationRule(_is_positive_finite_number, "an amount in USD above 0"),
    "drop": FieldValidationRule(
        _is_fraction_between_0_and_1, "a share above 0 and below 1 (0.2 is 20 %)"
    ),
    "runbooks": FieldValidationRule(_is_url_or_path, "a URL or a path without spaces"),
}


@final
@dataclass(frozen=True, slots=True)
class AlertDefinition:
    """The options of the alerts. An invalid value raises ValueError with the allowed values.

    target: the hit rate below which an alert fires, in 0..1.
    window: the time range of the hit rate.
    for_duration: how long the hit rate must stay below the target.
    min_tokens: with fewer input tokens in a window, no alert fires.
    labels: where Prometheus has the service name.
    by: what the hit rate is grouped by.
    actionable: leave out calls that could not read from a cache as well: prompts below the
        provider's minimum, and prewarming.
    budget: the waste in USD per hour above which an alert fires.
    drop: the decrease of the hit rate against the same hour of yesterday, in 0..1, above which an
        alert fires.
    runbooks: the base of the links to the runbooks. The default is their path in this repository,
        because only the user knows the URL of the published pages.
    """

    target: float = 0.5
    window: str = "5m"
    for_duration: str = "5m"
    min_tokens: int = 100_000
    labels: str = "job"
    by: tuple[str, ...] = ("service", "model")
    actionable: bool = False
    budget: float = 10.0
    drop: float = 0.2
    runbooks: str = "docs/runbooks"

    def __post_init__(self) -> None:
        for name, rule in FIELD_RULES.items():
            if not rule.is_valid(value := getattr(self, name)):
                raise ValueError(f"{_format_cli_option(name, value)}: allowed is {rule.allowed}")

    @property
    def hit_rate_excluded_outcomes(self) -> tuple[Outcome, ...]:
        """The outcomes whose calls the hit rate leaves out."""
        return ("unreported", "below_minimum", "prewarm") if self.actionable else ("unreported",)

    @property
    def group_by_attributes(self) -> tuple[str, ...]:
        """The attributes that the hit rate is grouped by, in the order of `by`."""
        return tuple(GROUP_ATTRIBUTES.get(name) or name.removeprefix("key:") for name in self.by)

    @property
    def token_shortfall_threshold(self) -> float:
        """The tokens short of the target at which an alert on a sum fires.

        A service that reads nothing reaches it with `min_tokens`. With a better hit rate it takes
        more traffic.
        """
        return self.target * self.min_tokens

    def runbook_link(self, page_file_name: str) -> str:
        """Return the link to a page of the runbooks."""
        return f"{self.runbooks.rstrip('/')}/{page_file_name}"

    def generating_command_line(self, backend: str) -> str:
        """Return the command line that generates the same files."""
        changed = ((field.name, getattr(self, field.name)) for field in fields(self))
        given = [
            _format_cli_option(name, value)
            for name, value in changed
            if value != getattr(DEFAULT_DEFINITION, name)
        ]
        return " ".join(["promptcache", "alerts", backend, *given])


def cli_option_name(field_name: str) -> str:
    """Return the command-line option that sets a field, without its dashes."""
    return {"for_duration": "for"}.get(field_name, field_name.replace("_", "-"))


def _format_cli_option(field_name: str, value: Any) -> str:
    if value is True:
        return f"--{cli_option_name(field_name)}"
    return f"--{cli_option_name(field_name)} {','.join(value) if field_name == 'by' else value}"


DEFAULT_DEFINITION: Final = AlertDefinition()
