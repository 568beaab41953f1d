"""`python -m tests.breaks.score`: how often the diagnosis says where and why; the exit code judges it by the goals."""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tests.breaks.apis import APIS
from tests.breaks.more_mutators import mutators
from tests.breaks.run import Judged, play

HONEST = frozenset({None, "cold_start", "unknown"})
"""What may be said of any call without blaming anyone."""
PERTURBED = (
    "",
    "minimum=1536",
    "stretch=0.5",
    "stretch=3",
    "endings=8,lookback=8",
    "implicit=latest",
    "implicit=pinned",
)
DEVELOPED, HELD_OUT = 100, 5000
"""Where the seeds begin: those the diagnosis was developed on, and those it was not."""


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

    def add(self, call: Judged) -> None:
        self.calls += 1
        label, said = call.label, call.said
        if (
            label is None
            or label.reason == "none"
            or (call.missed is None and label.reason != "below_minimum")
        ):
            # Where the provider never reads the history, a break in it costs nothing more, but is still one.
            true = {call.excuse, label.reason if label and call.excuse else None}
            self.blamed += said.reason not in HONEST | true
            self.naive_blamed += call.naive not in HONEST
            return
        self.broken += 1
        right = said.reason == label.reason
        self.cause += right
        self.blamed += not right and said.reason not in HONEST | {call.excuse}
        self.overlooked += said.reason in HONEST
        self.naive_cause += call.naive == label.reason
        self.naive_blamed += call.naive not in {*HONEST, label.reason}
        if label.section is not None:
            self.placed += 1
            self.region += said.section == label.section and label.index in (None, said.index)
        if label.offset is not None and right:
            self.located += 1
            self.near += said.offset is not None and abs(said.offset - label.offset) <= max(
                64, call.size / 16
            )
        if label.hint is not None:
            self.hints += 1
            self.hinted += said.hint == label.hint
        if right and call.waste and said.wasted_usd is not None:
            (self.exact if call.coincides else self.estimated).append(
                abs(said.wasted_usd - call.waste) / call.waste
            )

    def merge(self, other: Tally) -> None:
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)


def share(part: int, whole: int) -> float:
    return part / whole if whole else 1.0


def middle(errors: Sequence[float]) -> float:
    return statistics.median(errors) if errors else 0.0


def within(errors: Sequence[float], limit: float) -> float:
    return share(sum(error <= limit for error in errors), len(errors))


def tallies(
    seeds: Iterable[int], rules: str = "", only: str | None = None
) -> dict[tuple[str, str], Tally]:
    found: dict[tuple[str, str], Tally] = {}
    for api in APIS:
        if rules.startswith("implicit") and (not api.writes or api.explicit):
            continue
        for name in mutators():
            if only and only != name:
                continue
            for seed in seeds:
                for call in play(name, api, seed, rules):
                    found.setdefault((name, api.name), Tally()).add(call)
    return found


def total(found: dict[tuple[str, str], Tally]) -> Tally:
    whole = Tally()
    for tally in found.values():
        whole.merge(tally)
    return whole


def line(name: str, t: Tally) -> str:
    return (
        f"{name:44} {t.calls:6} {t.broken:6}  {share(t.region, t.placed):6.3f} {share(t.cause, t.broken):6.3f} "
        f"{t.blamed:5} {t.overlooked:5}  {share(t.near, t.located):6.3f} {share(t.hinted, t.hints):6.3f}  "
        f"{within(t.exact, 0.01):6.3f} {middle(t.estimated):6.3f} | "
        f"{share(t.naive_cause, t.broken):6.3f} {t.naive_blamed:5}"
    )


HEAD = (
    f"{'':44} {'calls':>6} {'broken':>6}  {'region':>6} {'cause':>6} {'blame':>5} {'none':>5}  "
    f"{'offset':>6} {'hint':>6}  "
    f"{'exact':>6} {'median':>6} | {'naive':>6} {'blame':>5}"
)


def good(t: Tally) -> bool:
    """The goals."""
    return (
        share(t.region, t.placed) >= 0.98
        and share(t.cause, t.broken) >= 0.95
        and t.blamed == 0
        and share(t.near, t.located) == 1.0
        and within(t.exact, 0.01) == 1.0
        and middle(t.estimated) <= 0.10
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="conversations a mutator and API")
    parser.add_argument("--from", type=int, default=HELD_OUT, dest="first", help="the first seed")
    parser.add_argument("--only", help="one mutator")
    parser.add_argument("--rules", help="one perturbation of the emulator instead of all")
    chosen = parser.parse_args(arguments)
    seeds = range(chosen.first, chosen.first + chosen.seeds)
    write = sys.stdout.write
    write(HEAD + "\n")
    whole, plain = Tally(), Tally()
    for rules in PERTURBED if chosen.rules is None else (chosen.rules,):
        found = tallies(seeds if not rules else seeds[:1], rules, chosen.only)
        if not rules:
            plain = total(found)
            for (name, api), tally in sorted(found.items()):
                write(line(f"{name} | {api}", tally) + "\n")
        write(line(f"[{rules or 'as documented'}]", total(found)) + "\n")
        whole.merge(total(found))
    plain = plain if plain.calls else whole
    write(
        f"region {share(plain.region, plain.placed):.4f}  cause {share(plain.cause, plain.broken):.4f}  "
        f"false blame {whole.blamed}  median waste error {middle(plain.estimated):.4f}\n"
    )
    return 0 if good(plain) and whole.blamed == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
