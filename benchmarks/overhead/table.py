"""What was measured, as one table with ratios, as lines about the goals, and as JSON."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.overhead.turns import Measurements
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
    """One variant in one scenario, in microseconds a call. `ratio` is to what the lightest other adds."""

    sdk: str
    call: str
    variant: str
    cpu: float
    cpu_p99: float
    wall: float
    added: float | None
    ratio: float | None
    spans: float


def result_rows(sdk: str, found: Measurements) -> Iterator[ResultRow]:
    """A peer that made no span did not see the call, and is nobody's measure."""
    for call, variants in found.items():
        added = {
            name: one.added_cpu(variants[baseline_of(sdk, name)])
            for name, one in variants.items()
            if name != baseline_of(sdk, name)
        }
        others = [
            added[name]
            for name in added
            if VARIANTS[sdk][name].peer
            and variants[name].spans > _native_span_count(sdk, found, call)
        ]
        lightest = min(others, default=None)
        for name, one in variants.items():
            (cpu, cpu99), (wall, _) = one.median_and_p99(0), one.median_and_p99(1)
            more = added.get(name)
            measured = None not in {more, lightest} and name != NATIVE
            ratio = more / lightest if measured and more is not None and lightest else None
            yield ResultRow(sdk, call, name, cpu, cpu99, wall, more, ratio, one.spans)


def _native_span_count(sdk: str, found: Measurements, call: str) -> float:
    return found[call][NATIVE].spans if NATIVE in found[call] else 0.0


def format_table(measured: Iterable[ResultRow]) -> Iterator[str]:
    """Markdown, with a line a row."""
    yield "| SDK | call | variant | CPU median | CPU p99 | wall median | added CPU | of the lightest other | spans |"
    yield "|---|---|---|--:|--:|--:|--:|--:|--:|"
    for row in measured:
        added = "" if row.added is None else f"{row.added:,.0f}"
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        yield (
            f"| {row.sdk} | {row.call} | {row.variant} | {row.cpu:,.0f} | {row.cpu_p99:,.0f} | {row.wall:,.0f} "
            f"| {added} | {ratio} | {row.spans:g} |"
        )


def format_goals(sdk: str, found: Measurements) -> Iterator[str]:
    """How far they are."""
    if "1 MB" in found and sdk == "openai":
        dumped = median(time for one in found["1 MB"].values() for time in one.dumps)
        for name in (OURS, HASH_ALL):
            share = found["1 MB"][name].added_cpu(found["1 MB"][baseline_of(sdk, name)]) / dumped
            yield f"1 MB: {name} adds {share:.2f} of one json.dumps of the body, {dumped:,.0f} us (goal 0.3)"
    for call, most in (("1 KB", "60 us"), ("500 chunks", "0.50 of the native span's own cost")):
        if call in found and NATIVE in found[call]:
            native = found[call][NATIVE].added_cpu(found[call]["none"])
            ours = found[call][OURS].added_cpu(found[call][NATIVE])
            yield (
                f"{call}: on top of the native span, which costs {native:,.0f} us, we add {ours:,.0f} us, "
                f"{ours / native:.2f} of it (goal: {most})"
            )


def describe_machine(sdks: Sequence[str]) -> Iterator[str]:
    """What it was measured on, and with."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    yield (
        f"{os.cpu_count()} cores, {next(named, platform.machine())}, {platform.system()}, "
        f"Python {platform.python_version()}{load}"
    )
    peers = {one.peer for sdk in sdks for one in VARIANTS[sdk].values() if one.peer}
    yield ", ".join(
        f"{name} {installed_release(name)}" for name in [*sdks, "opentelemetry-sdk", *sorted(peers)]
    )


def to_json(about: Iterable[str], measured: Iterable[ResultRow]) -> dict[str, Any]:
    """The same, for programs."""
    return {"machine": list(about), "rows": [asdict(row) for row in measured]}
