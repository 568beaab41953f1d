"""The sample ratio of a span: the share of spans like it that reach an exporter.

Figures from sampled spans are estimates. With 0.1 % of the spans, a hit rate of 0.09 was estimated
as anything from 0.06 to 0.25. Every row therefore has its sample ratio. There are three sources, in
this order: the trace state of the span (`ot=th:...`, OpenTelemetry's consistent probability
sampling), the sampler of the global tracer provider, and the environment variables that choose the
sampler. Two cases are not visible here: an earlier service that sampled without a trace state, and
the sampler of a tracer provider that is not the global one.
"""

from __future__ import annotations

import os
import re
from functools import lru_cache
from typing import Final

from opentelemetry import trace

from promptcache_exporters.database.recorded_span import PlainSpan, RecordedSpan

_THRESHOLD_PATTERN: Final = re.compile(r"(?:^|;)th:([0-9a-f]{1,14})(?:;|$)")
_RATIO_PATTERN: Final = re.compile(r"ratio\w*\{([^{}]*)\}", re.IGNORECASE)
_ALWAYS_ON_PATTERN: Final = re.compile(
    r"(?:ParentBased\{root:|parentbased_)?always_?on", re.IGNORECASE
)


def span_sample_ratio(span: RecordedSpan) -> float | None:
    """Return the share of spans like `span` that are recorded: 1.0 is all, None is unknown."""
    state = span.context.trace_state.get("ot", "") if span.context else ""
    if match := _THRESHOLD_PATTERN.search(state or ""):
        return 1 - int(match[1].ljust(14, "0"), 16) / 16**14
    return default_sample_ratio(span)


def default_sample_ratio(span: RecordedSpan) -> float | None:
    """Return the sample ratio of a span whose trace state has none."""
    if isinstance(span, PlainSpan):  # perhaps of another process, whose sampler is not known here
        return span.default_sample_ratio
    return configured_sample_ratio()


def configured_sample_ratio() -> float | None:
    """Return the share of new traces that the sampler of this process keeps."""
    sampler = getattr(trace.get_tracer_provider(), "sampler", None)
    return sample_ratio_from_sampler_description(
        sampler.get_description() if sampler else _sampler_description_from_environment()
    )


def _sampler_description_from_environment() -> str:
    name = os.environ.get("OTEL_TRACES_SAMPLER", "").strip() or "parentbased_always_on"
    return f"{name}{{{os.environ.get('OTEL_TRACES_SAMPLER_ARG', '')}}}"


@lru_cache(maxsize=64)
def sample_ratio_from_sampler_description(description: str) -> float | None:
    """Return the ratio in the description of one of the SDK's samplers; None for other samplers."""
    if ratios := _RATIO_PATTERN.findall(description):
        return min(map(_parse_ratio_or_default_to_1, ratios))
    return 1.0 if _ALWAYS_ON_PATTERN.match(description) else None


def _parse_ratio_or_default_to_1(text: str) -> float:
    # The SDK also samples everything if the argument is not a number.
    try:
        return float(text)
    except ValueError:
        return 1.0
