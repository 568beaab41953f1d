"""Judge the tallies of a run by the thresholds, and print them as a table or as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from tests.breaks.exam.scenario import FAMILIES
from tests.breaks.exam.score import THRESHOLDS, Tally, merge_all, share

PAIRS: Final = ("region", "cause", "hints", "offsets", "missed", "waste")


@dataclass(frozen=True)
class Figures:
    """The figures of a run through one path, `pure` or `sdk`, and what misses its threshold."""

    path: str
    families: Mapping[str, Tally]

    @property
    def total(self) -> Tally:
        return merge_all(self.families.values())

    def of_kind(self, *kinds: str) -> Tally:
        return merge_all(t for name, t in self.families.items() if FAMILIES[name].kind in kinds)

    def mean_share(self, pair: str, *, harder: bool = False) -> float:
        """Return the mean of the families' shares, so that no family counts more than another."""
        shares = [
            share(getattr(tally, pair))
            for name, tally in self.families.items()
            if FAMILIES[name].kind == "break"
            and getattr(tally, pair)[1]
            and not (harder and FAMILIES[name].simple)
        ]
        return sum(shares) / len(shares) if shares else 1.0

    def shares(self) -> dict[str, float]:
        """Return the figures that have thresholds."""
        breaks = self.of_kind("break")
        causes = [share(tally.cause) for tally in self.families.values()]
        return {
            "region": self.mean_share("region"),
            "cause": self.mean_share("cause"),
            "cause of the worst family": min(causes, default=1.0),
            "hints": self.mean_share("hints"),
            "offsets": share(breaks.offsets),
            "missed": share(breaks.missed),
            "waste": share(breaks.waste),
            "races": share(self.of_kind("race").cause),
        }

    def failures(self) -> Iterator[str]:
        """Yield the thresholds that are missed, each with its figure."""
        for name, value in self.shares().items():
            if value < THRESHOLDS[name]:
                yield f"{name} {value:.4f} < {THRESHOLDS[name]}"
        if self.total.blamed:
            yield f"false blame {self.total.blamed} > 0"

    def to_json(self) -> dict[str, Any]:
        return {
            "path": self.path,
            "calls": self.total.calls,
            "unbroken": self.total.unbroken,
            "broken": self.total.broken,
            "false_blame": self.total.blamed,
            "cause_outside_simple_families": round(self.mean_share("cause", harder=True), 4),
            "shares": {name: round(value, 4) for name, value in self.shares().items()},
            "failures": list(self.failures()),
            "families": {name: _tally_json(tally) for name, tally in self.families.items()},
        }


def _tally_json(tally: Tally) -> dict[str, Any]:
    counts = {name: getattr(tally, name) for name in ("calls", "unbroken", "broken", "silent")}
    pairs = {
        name: dict(zip(("right", "asked"), getattr(tally, name), strict=True)) for name in PAIRS
    }
    return {**counts, "false_blame": tally.blamed, **pairs, "said": tally.said}


def by_family(tallies: Mapping[tuple[str, str], Tally]) -> dict[str, Tally]:
    families: dict[str, Tally] = {}
    for (name, _), tally in tallies.items():
        families.setdefault(name, Tally()).merge(tally)
    return families


HEADER: Final = f"{'':44} {'calls':>6} {'broken':>6} {'blame':>5}" + "".join(
    f" {name:>7}" for name in PAIRS
)


def _cell(pair: list[int]) -> str:
    return f" {share(pair):7.3f}" if pair[1] else f" {'-':>7}"


def format_row(name: str, tally: Tally) -> str:
    cells = "".join(_cell(getattr(tally, pair)) for pair in PAIRS)
    said = ", ".join(
        f"{count} {text}" for text, count in sorted(tally.said.items(), key=lambda i: -i[1])[:2]
    )
    numbers = f"{tally.calls:6} {tally.broken:6} {tally.blamed:5}"
    return f"{name:44} {numbers}{cells}  {said}".rstrip()


def format_figures(figures: Figures) -> Iterator[str]:
    """Yield the lines of the table: a row a family, then sums, then missed thresholds."""
    yield f"{figures.path:44}{HEADER[44:]}"
    for name, tally in figures.families.items():
        yield format_row(name, tally)
    for kind in ("break", "race", "neutral"):
        yield format_row(f"[{kind} families]", figures.of_kind(kind))
    shares = figures.shares() | {
        "cause outside the simple families": figures.mean_share("cause", harder=True),
        "false blame": figures.total.blamed,
        "unbroken calls": figures.total.unbroken,
    }
    for name, value in shares.items():
        yield f"{name:44} {value:.4f}" if isinstance(value, float) else f"{name:44} {value}"
    for failure in figures.failures():
        yield f"below its threshold: {failure}"
