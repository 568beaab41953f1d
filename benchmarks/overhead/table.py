"""Format the measurements: a table with ratios, lines about the goals, JSON."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.overhead.interleaved_runs import Measurement, Measurements
from benchmarks.overhead.variants import (
    HASH_ALL,
    NATIVE,
    OURS,
    VARIANTS,
    baseline_of,
    installed_release,
)


@dataclass(frozen=True)
class ResultRow:
    """One variant in one scenario, in microseconds per call.

    `ratio` compares `added` with that of the cheapest peer. `spans` is per call.
    """

    sdk: str
    call: str
    variant: str
    cpu: float
    cpu_p99: float
    wall: float
    added: float | None
    ratio: float | None
    spans: float


def result_rows(sdk: str, measurements: Measurements) -> Iterator[ResultRow]:
    """Yield one row per scenario and variant."""
    for call, variants in measurements.items():
        added = {
            name: measurement.added_cpu(variants[baseline_of(sdk, name)])
            for name, measurement in variants.items()
            if name != baseline_of(sdk, name)
        }
        cheapest = _cheapest_peer(sdk, variants, added)
        for name, measurement in variants.items():
            cpu, cpu_p99 = measurement.median_and_p99(0)
            wall, _ = measurement.median_and_p99(1)
            own = added.get(name)
            # No ratio for the baseline row, and none for the native span, which is a baseline too.
            ratio = own / cheapest if own is not None and cheapest and name != NATIVE else None
            yield ResultRow(sdk, call, name, cpu, cpu_p99, wall, own, ratio, measurement.spans)


def _cheapest_peer(
    sdk: str, variants: Mapping[str, Measurement], added: Mapping[str, float]
) -> float | None:
    """Return the smallest CPU time that a peer adds.

    A peer that makes no span of its own did not see the call, and is left out.
    """
    native_spans = variants[NATIVE].spans if NATIVE in variants else 0.0
    peers = [
        added[name]
        for name in added
        if VARIANTS[sdk][name].peer and variants[name].spans > native_spans
    ]
    return min(peers, default=None)


def format_table(rows: Iterable[ResultRow]) -> Iterator[str]:
    """Yield the lines of a Markdown table."""
    yield (
        "| SDK | call | variant | CPU median | CPU p99 | wall median | added CPU "
        "| ratio to cheapest peer | spans |"
    )
    yield "|---|---|---|--:|--:|--:|--:|--:|--:|"
    for row in rows:
        added = "" if row.added is None else f"{row.added:,.0f}"
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        yield (
            f"| {row.sdk} | {row.call} | {row.variant} | {row.cpu:,.0f} | {row.cpu_p99:,.0f} "
            f"| {row.wall:,.0f} | {added} | {ratio} | {row.spans:g} |"
        )


def format_goals(sdk: str, measurements: Measurements) -> Iterator[str]:
    """Yield one line per goal: what was measured, and the goal."""
    if "1 MB" in measurements and sdk == "openai":
        variants = measurements["1 MB"]
        dumps = median(time for measurement in variants.values() for time in measurement.dumps)
        for name in (OURS, HASH_ALL):
            share = variants[name].added_cpu(variants[baseline_of(sdk, name)]) / dumps
            yield (
                f"1 MB: {name} adds {share:.2f} of one json.dumps of the body, "
                f"{dumps:,.0f} us (goal 0.3)"
            )
    goals = {"1 KB": "60 us", "500 chunks": "0.50 of the native span"}
    for call, goal in goals.items():
        if call in measurements and NATIVE in measurements[call]:
            variants = measurements[call]
            native = variants[NATIVE].added_cpu(variants["none"])
            ours = variants[OURS].added_cpu(variants[NATIVE])
            yield (
                f"{call}: the native span costs {native:,.0f} us; promptcache adds {ours:,.0f} us, "
                f"{ours / native:.2f} of it (goal: {goal})"
            )


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
