"""Measure what the entry point adds to a start under `opentelemetry-instrument`.

    python benchmarks/startup.py [rounds]

Each program starts with and without promptcache, in turns. CPU seconds and peak memory come from
the kernel, for the finished process. The budget is 30 ms and 4 MiB.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import Final

LAUNCHER: Final = str(Path(sys.executable).parent / "opentelemetry-instrument")
NO_EXPORTERS: Final = {
    f"OTEL_{signal}_EXPORTER": "none" for signal in ("TRACES", "METRICS", "LOGS")
}
SIDES: Final = {
    "without": {"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "promptcache"},
    "with": dict[str, str](),
}
PROGRAMS: Final = {
    "no import": "pass",
    "import openai": "import openai",
    "a client": "import openai; openai.OpenAI(api_key='none').chat.completions",
}


def measure_start(program: str, side: str) -> tuple[float, float]:
    """Return CPU milliseconds and peak MiB of one process."""
    process = subprocess.Popen(
        [LAUNCHER, sys.executable, "-c", program], env=os.environ | NO_EXPORTERS | SIDES[side]
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{program!r} failed")
    return (usage.ru_utime + usage.ru_stime) * 1e3, usage.ru_maxrss / 1024


def result_rows(rounds: int) -> Iterable[str]:
    """Yield one line for each program: the medians of both sides and the difference."""
    for name, program in PROGRAMS.items():
        samples: dict[str, list[tuple[float, float]]] = {side: [] for side in SIDES}
        for number in range(rounds + 1):
            for side in SIDES:
                sample = measure_start(program, side)
                if number:  # the first round compiles to bytecode and fills the file cache
                    samples[side].append(sample)
        (cpu, memory), (cpu_with, memory_with) = (
            [median(sample[which] for sample in samples[side]) for which in (0, 1)]
            for side in SIDES
        )
        yield (
            f"| {name} | {cpu:.0f} | {cpu_with:.0f} | {cpu_with - cpu:+.1f} "
            f"| {memory:.1f} | {memory_with:.1f} | {memory_with - memory:+.2f} |"
        )


if __name__ == "__main__":
    print("| program | CPU ms without | with | added | MiB without | with | added |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    print(*result_rows(int(sys.argv[1]) if len(sys.argv) > 1 else 15), sep="\n")
