"""Compare what promptcache said with the truth, and add it up by family."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from tests.breaks.exam.scenario import FamilyInfo, Label
from tests.breaks.exam.simulate import JudgedCall
from tests.breaks.exam.surfaces import Surface

WITHOUT_BLAME: Final = frozenset({None, "cold_start", "unknown"})
"""Reasons that blame no change of the application."""

_COUNTED_ALWAYS: Final = frozenset(
    {"too_many_breakpoints", "below_minimum", "caching_not_requested"}
)
"""Reasons that are true without missed tokens."""

WASTE_TOLERANCE: Final = 0.10

THRESHOLDS: Final = {
    "region": 0.98,
    "cause": 0.95,
    "cause of the worst family": 0.85,
    "hints": 0.90,
    "offsets": 0.99,
    "missed": 0.95,
    "waste": 0.95,
    "races": 0.95,
}
"""Shares that must be reached. False blame must be 0. From the project's issue 17."""


@dataclass
class Tally:
    """Counts over judged calls. Each pair is (right, asked)."""

    calls: int = 0
    unbroken: int = 0
    broken: int = 0
    blamed: int = 0
    wrong: int = 0
    silent: int = 0
    region: list[int] = field(default_factory=lambda: [0, 0])
    cause: list[int] = field(default_factory=lambda: [0, 0])
    hints: list[int] = field(default_factory=lambda: [0, 0])
    offsets: list[int] = field(default_factory=lambda: [0, 0])
    missed: list[int] = field(default_factory=lambda: [0, 0])
    waste: list[int] = field(default_factory=lambda: [0, 0])
    said: dict[str, int] = field(default_factory=dict[str, int])

    def add(self, info: FamilyInfo, surface: Surface, call: JudgedCall) -> None:
        if call.step.unseen:
            return
        self.calls += 1
        truth = call.step.label
        if truth is None or not _is_broken(surface, truth, call):
            self.unbroken += 1
            right = true_reasons(info, surface, call).union(truth.reasons if truth else ())
            blames = call.observed.reason not in WITHOUT_BLAME | right
            self.blamed += blames
            if blames:
                self._say(f"blamed {call.observed.reason}")
            return
        self.broken += 1
        self._add_verdict(surface, truth, call)

    def _add_verdict(self, surface: Surface, truth: Label, call: JudgedCall) -> None:
        observed = call.observed
        is_right = observed.reason in truth.reasons
        _count(self.cause, is_right)
        if not is_right:
            self.wrong += observed.reason not in WITHOUT_BLAME
            self.silent += observed.reason in WITHOUT_BLAME
            self._say(f"{observed.outcome}/{observed.reason} {observed.hint or ''}".strip())
        if truth.section is not None:
            at_place = not truth.indexes or observed.index in truth.indexes
            _count(self.region, observed.section == truth.section and at_place)
        if truth.offset is not None and is_right:
            _count(self.offsets, _is_near(truth, observed.offset))
        if truth.hints:
            _count(self.hints, observed.hint in truth.hints)
        if is_right and call.truth.missed and not truth.reasons & _COUNTED_ALWAYS:
            _count(self.missed, _is_close(surface, call.truth.missed, observed.missed_tokens))
            self._add_waste(surface, call)

    def _add_waste(self, surface: Surface, call: JudgedCall) -> None:
        prices, missed = call.observed.prices, call.truth.missed or 0
        if prices is None:
            return
        rewritten = min(missed, call.truth.written)
        unit = prices.plain - prices.read
        right = rewritten * (prices.write - prices.read) + (missed - rewritten) * unit
        said = call.observed.wasted_usd
        tolerance = max(WASTE_TOLERANCE * right, _step(surface) * unit)
        _count(self.waste, said is not None and abs(said - right) <= tolerance)

    def _say(self, text: str) -> None:
        self.said[text] = self.said.get(text, 0) + 1

    def merge(self, other: Tally) -> None:
        for name in ("calls", "unbroken", "broken", "blamed", "wrong", "silent"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("region", "cause", "hints", "offsets", "missed", "waste"):
            mine, others = getattr(self, name), getattr(other, name)
            mine[0] += others[0]
            mine[1] += others[1]
        for text, count in other.said.items():
            self.said[text] = self.said.get(text, 0) + count


def _count(pair: list[int], is_right: bool) -> None:
    pair[0] += is_right
    pair[1] += 1


def _step(surface: Surface) -> int:
    """Return the smallest number of tokens that the surface can report."""
    return 1 if surface.writes else surface.step


def _is_broken(surface: Surface, truth: Label, call: JudgedCall) -> bool:
    """Return whether the break cost more than one step and 2 % of what was reusable."""
    if truth.reasons & _COUNTED_ALWAYS:
        return True
    missed = call.truth.missed or 0
    return missed > max(_step(surface), 0.02 * (missed + call.truth.read))


def true_reasons(info: FamilyInfo, surface: Surface, call: JudgedCall) -> frozenset[str | None]:
    """Return the reasons that are true of a call without a break, by the provider's documents."""
    truth, reasons = call.truth, set[str | None](info.excuses)
    if not truth.read and (truth.total < surface.minimum or (surface.writes and not truth.written)):
        reasons.add("below_minimum")
    if surface.tail:
        reasons.add("breakpoint_missing_on_static")
    if surface.lookback and truth.reusable > truth.read:
        reasons.add("lookback_exceeded")
    if call.raced:
        reasons.add("concurrent_cold_race")
    if call.step.wait > surface.ttl:
        reasons |= {"ttl_expired", "low_volume"}
    return frozenset(reasons)


def _is_near(truth: Label, offset: int | None) -> bool:
    """Return whether an offset is at most one step away: 64 bytes or a sixteenth of the block.

    In a message, the JSON around the text may count as well.
    """
    if offset is None or truth.offset is None:
        return False
    wrapping = 64 if truth.section == "messages" else 0
    return abs(offset - truth.offset) <= max(64.0, truth.size / 16) + wrapping


def _is_close(surface: Surface, right: int, said: int | None) -> bool:
    tolerance = max(WASTE_TOLERANCE * right, _step(surface))
    return said is not None and abs(said - right) <= tolerance


def share(pair: list[int]) -> float:
    return pair[0] / pair[1] if pair[1] else 1.0


def merge_all(tallies: Iterable[Tally]) -> Tally:
    total = Tally()
    for tally in tallies:
        total.merge(tally)
    return total
