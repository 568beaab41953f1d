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

from promptcache.attributes import (
    COUNTERS,
    HISTOGRAMS,
    OPERATION,
    PROVIDER,
    REQUEST_MODEL,
    RESPONSE_MODEL,
    SERVER_ADDRESS,
    SERVICE_NAME,
    Metric,
)
from promptcache.model import Outcome

BY: Final[Mapping[str, str]] = {
    "service": SERVICE_NAME,
    "model": REQUEST_MODEL,
    "response_model": RESPONSE_MODEL,
    "provider": PROVIDER,
    "operation": OPERATION,
    "address": SERVER_ADDRESS,
}
"""What rates can be told apart by. Keys of `OTEL_PROMPTCACHE_METRIC_KEYS` are named `key:tenant`."""

LABELS: Final = ("job", "service_name", "target_info")
"""Where the service stands in Prometheus; none of the three is everywhere (docs/alerts.md)."""

LONG: Final = "1h"
"""The window of the slow rules: long enough for services with little traffic, and to compare with yesterday's."""

METRICS: Final[Mapping[str, Metric]] = {
    row.name.partition(".")[2]: row for row in (*COUNTERS, *HISTOGRAMS)
}
"""The metrics of the contract by their names less our prefix."""

_UNITS: Final[Mapping[str, int]] = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds(duration: str) -> int:
    """The seconds of `30s`, `5m`, `1h` or `2d`. Raises ValueError for anything else."""
    found = re.fullmatch(r"([1-9]\d{0,5})([smhd])", duration)
    if not found:
        raise ValueError("a duration such as 30s, 5m, 1h or 2d")
    return int(found[1]) * _UNITS[found[2]]


def _share(value: float) -> bool:
    return 0 < value < 1


def _positive(value: float) -> bool:
    return 0 < value < math.inf


def _duration(value: str) -> bool:
    try:
        return seconds(value) > 0
    except ValueError:
        return False


def _dimensions(value: tuple[str, ...]) -> bool:
    known = all(name in BY or re.fullmatch(r"key:[A-Za-z][A-Za-z0-9._]*", name) for name in value)
    return bool(value) and known and len(set(value)) == len(value)


def _link(value: str) -> bool:
    return bool(re.fullmatch(r"[\w:/.~%@+=-]+", value))


ALLOWED: Final[Mapping[str, tuple[Callable[[Any], bool], str]]] = {
    "target": (_share, "a share above 0 and below 1 (0.5 is 50 %)"),
    "window": (_duration, "a duration such as 30s, 5m, 1h or 2d"),
    "hold": (_duration, "a duration such as 30s, 5m, 1h or 2d"),
    "min_tokens": (_positive, "a whole number above 0"),
    "labels": (LABELS.__contains__, f"one of {', '.join(LABELS)}"),
    "by": (
        _dimensions,
        f"{', '.join(BY)}, key:NAME for your own metric keys; each at most once, separated by commas",
    ),
    "budget": (_positive, "an amount in USD above 0"),
    "drop": (_share, "a share above 0 and below 1 (0.2 is 20 %)"),
    "runbooks": (_link, "a URL or a path without spaces"),
}


@final
@dataclass(frozen=True, slots=True)
class Definition:
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
        for name, (fits, allowed) in ALLOWED.items():
            if not fits(value := getattr(self, name)):
                raise ValueError(f"{_given(name, value)}: allowed is {allowed}")

    @property
    def left_out(self) -> tuple[Outcome, ...]:
        """The outcomes whose calls the hit rate does not count."""
        return ("unreported", "below_minimum", "prewarm") if self.actionable else ("unreported",)

    @property
    def keys(self) -> tuple[str, ...]:
        """The attributes that rates are told apart by, in the order asked for."""
        return tuple(BY.get(name) or name.removeprefix("key:") for name in self.by)

    def command(self, backend: str) -> str:
        """The command line that makes the files again."""
        changed = ((field.name, getattr(self, field.name)) for field in fields(self))
        given = [_given(name, value) for name, value in changed if value != getattr(DEFAULT, name)]
        return " ".join(["promptcache", "alerts", backend, *given])


def flag(name: str) -> str:
    """The option of the command line that sets a field."""
    return {"hold": "for"}.get(name, name.replace("_", "-"))


def _given(name: str, value: Any) -> str:
    if value is True:
        return f"--{flag(name)}"
    return f"--{flag(name)} {','.join(value) if name == 'by' else value}"


DEFAULT: Final = Definition()
