"""What share of the spans like this one reach an exporter.

A figure taken from spans is only as good as the sampling behind it: kept at 0.1 %, a hit rate of 0.09 was estimated
anywhere from 0.06 to 0.25. So every row says how it was sampled. Three places tell, in this order: the span's
own trace state (`ot=th:...`, OpenTelemetry's consistent probability sampling), the sampler of the process's
tracer provider, and the variables that choose the sampler. What an earlier service decided without a trace state, and
samplers of a provider that is not the process's own, cannot be seen from here.
"""

from __future__ import annotations

import os
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from opentelemetry import trace

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

_THRESHOLD_PATTERN: Final = re.compile(r"(?:^|;)th:([0-9a-f]{1,14})(?:;|$)")
_RATIO_PATTERN: Final = re.compile(r"ratio\w*\{([^{}]*)\}", re.IGNORECASE)
_ALWAYS_ON_PATTERN: Final = re.compile(
    r"(?:ParentBased\{root:|parentbased_)?always_?on", re.IGNORECASE
)


def sample_ratio(span: ReadableSpan) -> float | None:
    """The share of spans like `span` that are recorded: 1.0 is all of them, None that nobody can tell."""
    state = span.context.trace_state.get("ot", "") if span.context else ""
    if found := _THRESHOLD_PATTERN.search(state or ""):
        return 1 - int(found[1].ljust(14, "0"), 16) / 16**14
    return configured_sample_ratio()


def configured_sample_ratio() -> float | None:
    """The share that this process's sampler keeps of the traces it begins."""
    sampler = getattr(trace.get_tracer_provider(), "sampler", None)
    return ratio_from_description(
        sampler.get_description() if sampler else _describe_environment_sampler()
    )


def _describe_environment_sampler() -> str:
    name = os.environ.get("OTEL_TRACES_SAMPLER", "").strip() or "parentbased_always_on"
    return f"{name}{{{os.environ.get('OTEL_TRACES_SAMPLER_ARG', '')}}}"


@lru_cache(maxsize=64)
def ratio_from_description(description: str) -> float | None:
    """The share named by a sampler's description, as the SDK's own samplers word it; None for foreign ones."""
    if ratios := _RATIO_PATTERN.findall(description):
        return min(map(_parse_ratio, ratios))
    return 1.0 if _ALWAYS_ON_PATTERN.match(description) else None


def _parse_ratio(text: str) -> float:
    # The SDK, too, takes everything where the argument is no number.
    try:
        return float(text)
    except ValueError:
        return 1.0
