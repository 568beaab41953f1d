"""Format the measurements: a table with ratios, lines about the goals, JSON."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from benchmarks.overhead.paired_runs import Measurement, Measurements, median_of
from benchmarks.overhead.variants import CONTROL, OURS, VARIANTS, installed_release

OPENINFERENCE: Final = "OpenInference"
JSON_DUMPS: Final = "json.dumps"


class Goal(NamedTuple):
    """At most `ratio` of what `peer` adds; of one `json.dumps` of the body if it is no variant."""

    sdk: str
    call: str
    peer: str
    ratio: float


GOALS: Final = (
    *(
        Goal(sdk, call, f"genai-{sdk}", ratio)
        for sdk in ("openai", "anthropic")
        for call, ratio in (("1 KB", 1.0), ("8 KB, 20 turns", 1.3), ("1 MB, seen before", 1.0))
    ),
    *(Goal(sdk, "1 MB, fresh strings", JSON_DUMPS, 0.15) for sdk in ("openai", "anthropic")),
    Goal("openai", "500 chunks", OPENINFERENCE, 0.15),
    Goal("anthropic", "500 chunks", OPENINFERENCE, 0.4),
)


@dataclass(frozen=True)
class ResultRow:
    """One variant in one scenario, in microseconds of CPU time per call.

    `added` is the median of the pairs, between its quartiles. `of_official` and `of_dumps` are
    `added` as a ratio to what the official instrumentation adds, and to one `json.dumps` of the
    request body. `spans` is per call.
    """

    sdk: str
    call: str
    variant: str
    without: float
    lower_quartile: float
    added: float
    upper_quartile: float
    standard_error: float
    of_official: float | None
    of_dumps: float
    spans: float


def result_rows(sdk: str, measurements: Measurements) -> Iterator[ResultRow]:
    """Yield one row per scenario and variant."""
    for call, variants in measurements.items():
        dumps = median_of(variants, "dumps")
        official = variants.get(f"genai-{sdk}")
        for name, measurement in variants.items():
            lower, added, upper = measurement.quartiles()
            yield ResultRow(
                sdk,
                call,
                name,
                median_of({name: measurement}, "without"),
                lower,
                added,
                upper,
                measurement.standard_error(),
                added / official.quartiles()[1] if official and name != CONTROL else None,
                added / dumps,
                measurement.spans,
            )


def format_table(rows: Iterable[ResultRow]) -> Iterator[str]:
    """Yield the lines of a Markdown table."""
    yield (
        "| SDK | call | variant | SDK alone | added CPU | quartiles | error | of official "
        "| of json.dumps | spans |"
    )
    yield "|---|---|---|--:|--:|--:|--:|--:|--:|--:|"
    for row in rows:
        ratio = "" if row.of_official is None else f"{row.of_official:.2f}"
        yield (
            f"| {row.sdk} | {row.call} | {row.variant} | {row.without:,.0f} | {row.added:,.0f} "
            f"| {row.lower_quartile:,.0f} to {row.upper_quartile:,.0f} "
            f"| {row.standard_error:,.0f} | {ratio} | {row.of_dumps:.2f} | {row.spans:g} |"
        )


def format_goals(sdk: str, measurements: Measurements) -> Iterator[str]:
    """Yield one line per goal: what was measured, and the goal."""
    for goal in GOALS:
        variants: Mapping[str, Measurement] = measurements.get(goal.call, {})
        peer = variants.get(goal.peer)
        is_measured = goal.peer == JSON_DUMPS or peer is not None
        if goal.sdk != sdk or OURS not in variants or not is_measured:
            continue
        base = median_of(variants, "dumps") if peer is None else peer.quartiles()[1]
        ratio, limit = variants[OURS].quartiles()[1] / base, goal.ratio * base
        noise = abs(variants[CONTROL].quartiles()[1]) if CONTROL in variants else 0.0
        met = "met" if ratio <= goal.ratio else "missed"
        counts = "" if noise < limit / 10 else f" (control {noise:,.0f} us: too noisy to count)"
        yield f"{sdk} {goal.call}: {ratio:.2f} of {goal.peer}, goal {goal.ratio}: {met}{counts}"


def describe_machine(sdks: Sequence[str]) -> Iterator[str]:
    """Yield a line about the machine and a line about the installed releases."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    yield (
        f"{os.cpu_count()} cores, {next(models, platform.machine())}, {platform.system()}, "
        f"Python {platform.python_version()}{load}"
    )
    peers = {variant.peer for sdk in sdks for variant in VARIANTS[sdk].values() if variant.peer}
    names = [*sdks, "opentelemetry-sdk", *sorted(peers)]
    yield ", ".join(f"{name} {installed_release(name)}" for name in names)


def to_json(machine: Iterable[str], rows: Iterable[ResultRow]) -> dict[str, Any]:
    """Return the rows and the description of the machine."""
    return {"machine": list(machine), "rows": [asdict(row) for row in rows]}
