"""What instrumentation adds to a call of an SDK: none, ours, and what else there is, side by side.

    make bench
    python -m benchmarks.overhead [--rounds 30] [--sdk anthropic] [--call "1 KB"] [--json]

Each variant lives in its own process, and the processes take turns in short blocks. Spans go to an exporter that drops
them, metrics to a reader that nobody reads. Who is not installed is left out.
"""

from __future__ import annotations

import argparse
import json
import sys

from benchmarks.overhead.calls import SCENARIOS, SDKS
from benchmarks.overhead.table import (
    describe_machine,
    format_goals,
    format_table,
    result_rows,
    to_json,
)
from benchmarks.overhead.turns import measure


def main(arguments: list[str]) -> None:
    """Measures, and prints one table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overhead")
    parser.add_argument("--rounds", type=int, default=30, help="turns of each variant")
    parser.add_argument("--sdk", choices=[sdk.name for sdk in SDKS], help="one SDK alone")
    parser.add_argument(
        "--call", choices=[one.name for one in SCENARIOS], help="one kind of call alone"
    )
    parser.add_argument("--json", action="store_true", help="for programs")
    asked = parser.parse_args(arguments)
    sdks = [sdk for sdk in SDKS if asked.sdk in {None, sdk.name}]
    scenarios = [one for one in SCENARIOS if asked.call in {None, one.name}]
    before = list(describe_machine([sdk.name for sdk in sdks]))
    found = {sdk.name: measure(sdk, scenarios, asked.rounds) for sdk in sdks}
    measured = [row for name, one in found.items() for row in result_rows(name, one)]
    if asked.json:
        print(json.dumps(to_json(before, measured), indent=2))
        return
    print(
        *before,
        "",
        *format_table(measured),
        "",
        *(line for name, one in found.items() for line in format_goals(name, one)),
        sep="\n",
    )


if __name__ == "__main__":
    main(sys.argv[1:])
