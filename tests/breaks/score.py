"""Score the diagnosis: `python -m tests.breaks.score`.

The table counts how often the diagnosis gives the right place and reason. The exit code is 1 if a
goal is missed.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tests.breaks.apis import APIS
from tests.breaks.more_mutators import mutators
from tests.breaks.run import JudgedCall, play_conversation

REASONS_WITHOUT_BLAME = frozenset({None, "cold_start", "unknown"})
"""Reasons that blame no change of the application."""
EMULATOR_RULES = (
    "",
    "minimum=1536",
    "stretch=0.5",
    "stretch=3",
    "endings=8,lookback=8",
    "implicit=latest",
    "implicit=pinned",
)
DEVELOPMENT_SEED, HELD_OUT_SEED = 100, 5000
"""The first seed that the diagnosis was developed with, and the first seed of the test set."""


@dataclass
class Tally:
    """Counts over judged calls."""

    calls: int = 0
    broken: int = 0
    placed: int = 0
    region: int = 0
    cause: int = 0
    blamed: int = 0
    overlooked: int = 0
    located: int = 0
    near: int = 0
    hinted: int = 0
    hints: int = 0
    naive_cause: int = 0
    naive_blamed: int = 0
    exact: list[float] = field(default_factory=list[float])
    estimated: list[float] = field(default_factory=list[float])

    def add(self, call: JudgedCall) -> None:
        self.calls += 1
        label, verdict = call.label, call.verdict
        if (
            label is None
            or label.reason == "none"
            or (call.missed is None and label.reason != "below_minimum")
        ):
            # If the provider never reads the history, a break in it costs nothing.
            true_reasons = {call.excuse, label.reason if label and call.excuse else None}
            self.blamed += verdict.reason not in REASONS_WITHOUT_BLAME | true_reasons
            self.naive_blamed += call.naive_reason not in REASONS_WITHOUT_BLAME
            return
        self.broken += 1
        is_right = verdict.reason == label.reason
        self.cause += is_right
        self.blamed += not is_right and verdict.reason not in REASONS_WITHOUT_BLAME | {call.excuse}
        self.overlooked += verdict.reason in REASONS_WITHOUT_BLAME
        self.naive_cause += call.naive_reason == label.reason
        self.naive_blamed += call.naive_reason not in {*REASONS_WITHOUT_BLAME, label.reason}
        if label.section is not None:
            self.placed += 1
            self.region += verdict.section == label.section and label.index in (None, verdict.index)
        if label.offset is not None and is_right:
            self.located += 1
            self.near += verdict.offset is not None and abs(verdict.offset - label.offset) <= max(
                64, call.size / 16
            )
        if label.hint is not None:
            self.hints += 1
            self.hinted += verdict.hint == label.hint
        if is_right and call.waste and verdict.wasted_usd is not None:
            (self.exact if call.coincides else self.estimated).append(
                abs(verdict.wasted_usd - call.waste) / call.waste
            )

    def merge(self, other: Tally) -> None:
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)


def share(part: int, whole: int) -> float:
    return part / whole if whole else 1.0


def median_error(errors: Sequence[float]) -> float:
    return statistics.median(errors) if errors else 0.0


def share_within(errors: Sequence[float], limit: float) -> float:
    return share(sum(error <= limit for error in errors), len(errors))


def tally_mutators(
    seeds: Iterable[int], rules: str = "", only: str | None = None
) -> dict[tuple[str, str], Tally]:
    tallies: dict[tuple[str, str], Tally] = {}
    for api in APIS:
        if rules.startswith("implicit") and (not api.writes or api.explicit):
            continue
        for name in mutators():
            if only and only != name:
                continue
            for seed in seeds:
                for call in play_conversation(name, api, seed, rules):
                    tallies.setdefault((name, api.name), Tally()).add(call)
    return tallies


def sum_tallies(tallies: dict[tuple[str, str], Tally]) -> Tally:
    all_tallies = Tally()
    for tally in tallies.values():
        all_tallies.merge(tally)
    return all_tallies


def format_tally(name: str, tally: Tally) -> str:
    return (
        f"{name:44} {tally.calls:6} {tally.broken:6}  "
        f"{share(tally.region, tally.placed):6.3f} {share(tally.cause, tally.broken):6.3f} "
        f"{tally.blamed:5} {tally.overlooked:5}  "
        f"{share(tally.near, tally.located):6.3f} {share(tally.hinted, tally.hints):6.3f}  "
        f"{share_within(tally.exact, 0.01):6.3f} {median_error(tally.estimated):6.3f} | "
        f"{share(tally.naive_cause, tally.broken):6.3f} {tally.naive_blamed:5}"
    )


TABLE_HEADER = (
    f"{'':44} {'calls':>6} {'broken':>6}  {'region':>6} {'cause':>6} {'blame':>5} {'none':>5}  "
    f"{'offset':>6} {'hint':>6}  "
    f"{'exact':>6} {'median':>6} | {'naive':>6} {'blame':>5}"
)


def meets_goals(tally: Tally) -> bool:
    """Return whether a tally meets all goals."""
    return (
        share(tally.region, tally.placed) >= 0.98
        and share(tally.cause, tally.broken) >= 0.95
        and tally.blamed == 0
        and share(tally.near, tally.located) == 1.0
        and share_within(tally.exact, 0.01) == 1.0
        and median_error(tally.estimated) <= 0.10
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="conversations a mutator and API")
    parser.add_argument(
        "--from", type=int, default=HELD_OUT_SEED, dest="first", help="the first seed"
    )
    parser.add_argument("--only", help="one mutator")
    parser.add_argument("--rules", help="one perturbation of the emulator instead of all")
    options = parser.parse_args(arguments)
    seeds = range(options.first, options.first + options.seeds)
    write = sys.stdout.write
    write(TABLE_HEADER + "\n")
    all_tallies, scored = Tally(), Tally()
    for rules in EMULATOR_RULES if options.rules is None else (options.rules,):
        tallies = tally_mutators(seeds if not rules else seeds[:1], rules, options.only)
        if not rules:
            scored = sum_tallies(tallies)
            for (name, api), tally in sorted(tallies.items()):
                write(format_tally(f"{name} | {api}", tally) + "\n")
        write(format_tally(f"[{rules or 'as documented'}]", sum_tallies(tallies)) + "\n")
        all_tallies.merge(sum_tallies(tallies))
    scored = scored if scored.calls else all_tallies
    write(
        f"region {share(scored.region, scored.placed):.4f}  "
        f"cause {share(scored.cause, scored.broken):.4f}  "
        f"false blame {all_tallies.blamed}  "
        f"median waste error {median_error(scored.estimated):.4f}\n"
    )
    return 0 if meets_goals(scored) and all_tallies.blamed == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
