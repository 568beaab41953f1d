"""Measure what instrumentation adds to a call of an SDK, for several instrumentations.

    make bench
    python -m benchmarks.overhead [--rounds 30] [--sdk anthropic] [--call "1 KB"] [--json]

Each variant runs in its own process, and the processes take turns in short blocks. The span
exporter drops all spans, and no reader collects the metrics. Variants whose package is not
installed are left out.
"""

from __future__ import annotations

import argparse
import json
import sys

from benchmarks.overhead.calls import SCENARIOS, SDKS
from benchmarks.overhead.interleaved_runs import measure
from benchmarks.overhead.table import (
    describe_machine,
    format_goals,
    format_table,
    result_rows,
    to_json,
)


def main(arguments: list[str]) -> None:
    """Measure, and print one table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overhead")
    parser.add_argument("--rounds", type=int, default=30, help="turns of each variant")
    parser.add_argument("--sdk", choices=[sdk.name for sdk in SDKS], help="measure this SDK only")
    parser.add_argument(
        "--call",
        choices=[scenario.name for scenario in SCENARIOS],
        help="measure this kind of call only",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    sdks = [sdk for sdk in SDKS if options.sdk in {None, sdk.name}]
    scenarios = [scenario for scenario in SCENARIOS if options.call in {None, scenario.name}]
    machine = list(describe_machine([sdk.name for sdk in sdks]))
    measurements = {sdk.name: measure(sdk, scenarios, options.rounds) for sdk in sdks}
    rows = [row for name, by_call in measurements.items() for row in result_rows(name, by_call)]
    if options.json:
        print(json.dumps(to_json(machine, rows), indent=2))
        return
    goals = [line for name, by_call in measurements.items() for line in format_goals(name, by_call)]
    print(*machine, "", *format_table(rows), "", *goals, sep="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
