"""Run the exam: `python -m tests.breaks.exam`.

It prints a row for each family, and the thresholds that are missed. The exit code is 1 if one is
missed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from tests.breaks.exam.pending import count_pending
from tests.breaks.exam.report import Figures, by_family, format_figures
from tests.breaks.exam.run import choose_families, score_pure, score_sdk, score_unbroken

HELD_OUT_SEED = 70_000
"""The first seed. Develop with others, so that these stay unseen."""


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.breaks.exam", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1, help="seeds a family and surface")
    parser.add_argument("--from", type=int, default=HELD_OUT_SEED, dest="first", help="first seed")
    parser.add_argument("--only", help="the families whose name contains this text")
    parser.add_argument(
        "--unbroken", type=int, default=2000, metavar="CALLS", help="unbroken calls for false blame"
    )
    parser.add_argument(
        "--path", choices=("pure", "sdk"), help="only through the pure functions, or the SDKs"
    )
    parser.add_argument(
        "--pending",
        type=int,
        default=600,
        metavar="CALLS",
        help="calls that fail, are cancelled or abandoned; none may stay pending",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser


def run_pure(options: argparse.Namespace) -> Figures:
    seeds = range(options.first, options.first + options.seeds)
    broken = score_pure(choose_families(options.only, ("break", "race")), seeds)
    neutral = choose_families(options.only, ("neutral",))
    unbroken = score_unbroken(neutral, options.first, options.unbroken)
    return Figures("pure functions", by_family(broken | unbroken))


def run_sdk(options: argparse.Namespace) -> Figures:
    seeds = range(options.first, options.first + options.seeds)
    infos = choose_families(options.only, ("break", "race", "neutral"))
    return Figures("SDKs", by_family(score_sdk(infos, seeds)))


_PATHS = {"pure": run_pure, "sdk": run_sdk}


def main(arguments: Sequence[str] | None = None) -> int:
    options = make_parser().parse_args(arguments)
    runs = [run(options) for name, run in _PATHS.items() if options.path in {name, None}]
    pending = count_pending(options.pending) if options.pending else 0
    if options.json:
        figures = {"pending": pending, "paths": [run.to_json() for run in runs]}
        sys.stdout.write(json.dumps(figures, indent=2) + "\n")
    else:
        sys.stdout.writelines(f"{line}\n" for run in runs for line in format_figures(run))
        sys.stdout.write(f"pending after {options.pending} calls: {pending}\n")
    return int(pending > 0 or any(list(run.failures()) for run in runs))


if __name__ == "__main__":
    sys.exit(main())
