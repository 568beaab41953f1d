"""What the entry point adds to a start under `opentelemetry-instrument`: with and without, with and without an SDK.

    python benchmarks/startup.py [rounds]

Both sides take turns. CPU seconds and peak memory are the kernel's own account of the finished process. The budget is
30 ms and 4 MiB.
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
    "nothing else": "pass",
    "import openai": "import openai",
    "a client": "import openai; openai.OpenAI(api_key='none').chat.completions",
}


def measure_start(program: str, side: str) -> tuple[float, float]:
    """CPU milliseconds and peak MiB of one process."""
    process = subprocess.Popen(
        [LAUNCHER, sys.executable, "-c", program], env=os.environ | NO_EXPORTERS | SIDES[side]
    )
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{program!r} failed")
    return (used.ru_utime + used.ru_stime) * 1e3, used.ru_maxrss / 1024


def result_rows(rounds: int) -> Iterable[str]:
    """One line a program: medians of both sides and the difference."""
    for name, program in PROGRAMS.items():
        found: dict[str, list[tuple[float, float]]] = {side: [] for side in SIDES}
        for turn in range(rounds + 1):
            for side in SIDES:
                used = measure_start(program, side)
                if turn:  # the first round compiles and warms the file cache
                    found[side].append(used)
        (cpu, memory), (cpu_with, memory_with) = (
            [median(one[which] for one in found[side]) for which in (0, 1)] for side in SIDES
        )
        yield (
            f"| {name} | {cpu:.0f} | {cpu_with:.0f} | {cpu_with - cpu:+.1f} "
            f"| {memory:.1f} | {memory_with:.1f} | {memory_with - memory:+.2f} |"
        )


if __name__ == "__main__":
    print("| program | CPU ms without | with | added | MiB without | with | added |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    print(*result_rows(int(sys.argv[1]) if len(sys.argv) > 1 else 15), sep="\n")
