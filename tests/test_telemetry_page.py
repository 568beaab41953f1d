"""docs/telemetry.md lists exactly the attributes, outcomes and metrics that the code emits."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from promptcache import semconv
from promptcache.diagnosis.miss_reasons import MISS_REASONS
from promptcache.model import OUTCOMES

PAGE: Final = (Path(__file__).parent.parent / "docs" / "telemetry.md").read_text()
ONLY_ON_METRICS: Final = {semconv.TTL, semconv.GEN_AI_TOKEN_TYPE}
FROM_THE_RESOURCE: Final = {semconv.SERVICE_NAME}


def table_after(heading: str) -> list[list[str]]:
    """Return the rows of the first table below a heading, each as a list of cells."""
    section = PAGE.partition(f"{heading}\n")[2]
    lines = re.search(r"(?:^\|.*\n)+", section, re.MULTILINE)
    assert lines, f"no table below {heading!r}"
    return [
        [cell.strip().strip("`") for cell in line.strip("|").split("|")]
        for line in lines[0].splitlines()[2:]
    ]


def attribute_names() -> set[str]:
    """Return every string constant of semconv.py that names a span attribute."""
    histograms = (*semconv.HISTOGRAMS, *semconv.GENAI_HISTOGRAMS)
    metrics = {row.name for row in (*semconv.COUNTERS, *histograms)}
    strings = {value for value in vars(semconv).values() if isinstance(value, str)}
    named = {value for value in strings if re.fullmatch(r"[a-z_]+(\.[a-z0-9_]+)+", value)}
    named -= {"promptcache.semconv", "promptcache.semconv.py", semconv.METRIC_STORAGE_USD}
    return (named | set(semconv.WRITE_TOKENS_BY_TTL.values())) - metrics


def test_the_page_lists_every_attribute_of_a_span() -> None:
    standard = [row[0] for row in table_after("### Attributes that OpenTelemetry defines")]
    ours = [row[0] for row in table_after("### Attributes that promptcache defines")]
    listed = [*standard, *ours]
    assert len(listed) == len(set(listed))
    assert set(listed) == attribute_names() - ONLY_ON_METRICS - FROM_THE_RESOURCE
    assert all(name.startswith("promptcache.") for name in ours)
    assert not any(name.startswith("promptcache.") for name in standard)


def test_the_page_lists_the_outcomes_in_their_order() -> None:
    assert tuple(row[0] for row in table_after("## Outcome")) == OUTCOMES


def test_the_page_lists_every_metric_with_its_unit() -> None:
    listed = {row[0]: (row[1], row[2]) for row in table_after("## Metrics")}
    counters = {row.name: ("counter", row.unit) for row in semconv.COUNTERS}
    histograms = {row.name: ("histogram", row.unit) for row in semconv.HISTOGRAMS}
    storage = {semconv.METRIC_STORAGE_USD: ("observable counter", "{USD}")}
    assert listed == {**counters, **storage, **histograms}
    standard = {row[0]: row[1] for row in table_after("### OpenTelemetry's own metrics")}
    assert standard == {row.name: row.unit for row in semconv.GENAI_HISTOGRAMS}


def test_the_page_lists_every_reason_of_a_miss() -> None:
    listed = [row[0] for row in table_after("### Reasons of a miss")]
    assert listed == list(MISS_REASONS)
