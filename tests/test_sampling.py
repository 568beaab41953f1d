"""The local table records the sample ratio of each call."""

from __future__ import annotations

from pathlib import Path

import pytest
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased, Sampler, TraceIdRatioBased
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    TraceFlags,
    TraceState,
    set_span_in_context,
)

from promptcache_exporters.database import sampling
from promptcache_exporters.database.sqlite_exporter import SQLiteSpanExporter
from tests.support.span_builders import HIT, make_tracer_provider, read_rows, record_calls


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "calls.db"


def describe_sampler(sampler: Sampler) -> str:
    return sampler.get_description()


@pytest.mark.parametrize(
    ("description", "ratio"),
    [
        ("AlwaysOnSampler", 1.0),
        (describe_sampler(ParentBased(ALWAYS_ON)), 1.0),
        (describe_sampler(TraceIdRatioBased(0.25)), 0.25),
        (describe_sampler(ParentBased(TraceIdRatioBased(0.5))), 0.5),
        (
            "ParentBased{root:TraceIdRatioBased{0.5},remoteParentSampled:TraceIdRatioBased{0.1}}",
            0.1,
        ),
        ("traceidratio{0.1}", 0.1),
        ("parentbased_traceidratio{nonsense}", 1.0),
        ("parentbased_always_on{}", 1.0),
        ("parentbased_always_off{}", None),
        ("jaeger_remote{}", None),
        ("ParentBased{root:Mine,remoteParentSampled:AlwaysOnSampler}", None),
    ],
)
def test_the_sample_ratio_follows_from_the_sampler_description(
    description: str, ratio: float | None
) -> None:
    assert sampling.sample_ratio_from_sampler_description(description) == ratio


def test_the_sample_ratio_of_the_environment_is_recorded(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.1")
    record_calls(path, {})
    assert [row["sample_ratio"] for row in read_rows(path)] == [0.1]


@pytest.mark.parametrize(
    ("state", "ratio"), [("th:c", 0.25), ("rv:1;th:8", 0.5), ("th:0", 1.0), ("th:zz", 1.0)]
)
def test_the_trace_state_overrides_the_ratio_of_the_sampler(
    path: Path, state: str, ratio: float
) -> None:
    parent = SpanContext(1, 2, True, TraceFlags(TraceFlags.SAMPLED), TraceState([("ot", state)]))
    exporter = SQLiteSpanExporter(path)
    provider = make_tracer_provider(exporter, sampler=ParentBased(ALWAYS_ON))
    tracer = provider.get_tracer("test")
    tracer.start_span(
        "chat", set_span_in_context(NonRecordingSpan(parent)), attributes=dict(HIT)
    ).end()
    provider.shutdown()
    (row,) = read_rows(path)
    assert (row["sample_ratio"], row["parent_span_id"]) == (ratio, "0" * 15 + "2")
