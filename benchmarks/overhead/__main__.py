"""Measure what instrumentation adds to a call of an SDK, for several instrumentations.

    make bench
    python -m benchmarks.overhead [--rounds 30] [--sdk anthropic] [--call "1 KB"] [--json]
                                  [--variant promptcache]

Each variant runs in its own process, and the processes take turns. Of each two calls of a process
one runs with the instrumentation swapped out; the table has the median of the differences. The span
exporter drops all spans, and no reader collects the metrics. Variants whose package is not
installed are left out. The program fails if a span of promptcache lacks one of the attributes in
`attributes.json`, so that no speed is bought with them.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from benchmarks.overhead.calls import SCENARIOS, SDKS
from benchmarks.overhead.paired_runs import Measurements, measure
from benchmarks.overhead.table import (
    describe_machine,
    format_goals,
    format_table,
    result_rows,
    to_json,
)
from benchmarks.overhead.variants import OURS, VARIANTS


def main(arguments: list[str]) -> None:
    """Measure, and print one table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overhead")
    parser.add_argument("--rounds", type=int, default=30, help="turns of each variant")
    parser.add_argument("--sdk", choices=[sdk.name for sdk in SDKS], help="measure this SDK only")
    parser.add_argument("--call", action="append", help="measure this kind of call only")
    parser.add_argument("--variant", action="append", help="measure this variant only")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    sdks = [sdk for sdk in SDKS if options.sdk in {None, sdk.name}]
    scenarios = [it for it in SCENARIOS if it.name in (options.call or [it.name])]
    machine = list(describe_machine([sdk.name for sdk in sdks]))
    measurements: dict[str, Measurements] = {}
    for sdk in sdks:
        variants = [it for it in VARIANTS[sdk.name] if it in (options.variant or [it])]
        measurements[sdk.name] = measure(sdk, scenarios, variants, options.rounds)
    rows = [row for name, by_call in measurements.items() for row in result_rows(name, by_call)]
    if options.json:
        print(json.dumps(to_json(machine, rows), indent=2))
    else:
        goals = [it for name, by_call in measurements.items() for it in format_goals(name, by_call)]
        print(*machine, "", *format_table(rows), "", *goals, sep="\n")
    if missing := find_missing_attributes(measurements):
        sys.exit(f"attributes are missing: {missing}")


def find_missing_attributes(measurements: dict[str, Measurements]) -> dict[str, list[str]]:
    """Return the expected attributes that a span of promptcache did not have, by SDK and call."""
    expected = json.loads((Path(__file__).parent / "attributes.json").read_text())
    missing = {
        f"{sdk}, {call}": sorted(set(expected[sdk]) - variants[OURS].attributes)
        for sdk, by_call in measurements.items()
        for call, variants in by_call.items()
        if OURS in variants
    }
    return {name: attributes for name, attributes in missing.items() if attributes}


if __name__ == "__main__":
    main(sys.argv[1:])
