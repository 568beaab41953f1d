"""The calls of one test as counts and hashes: what the report, the lock and other processes see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from promptcache.model import Verdict
from promptcache_testing.recorded_call import RecordedCall, hit_rate
from promptcache_testing.words import describe_place


@dataclass(slots=True)
class CallSummary:
    """One call. `turn` and `rule` are reasons of a miss, None where nothing was missed.

    `second_run_places` are the places at which the second run of `--promptcache-twice` differs.
    `wasted_usd` is what the missed tokens cost more than a cache read, at today's prices.
    """

    model: str | None
    provider: str
    file: str | None
    line: int | None
    is_answered: bool
    input_tokens: int
    read_tokens: int
    write_tokens: int
    volatile_bytes: int
    turn: str | None
    turn_place: str | None
    rule: str | None
    second_run_places: list[str] = field(default_factory=list[str])
    wasted_usd: float | None = None


@dataclass(slots=True)
class PromptSummary:
    """One static prefix: hashes as production exports them, tokens by section, breakpoints."""

    tools_hash: str | None
    system_hash: str | None
    tools_tokens: int
    system_tokens: int
    breakpoints: list[str]
    calls: int = 0


@dataclass(slots=True)
class TestSummary:
    """The calls of one test. `hit_rate` is None if no call repeats a prefix.

    `notes` are differences from the lock that this run does not judge.
    """

    __test__ = False

    nodeid: str
    uses_fixture: bool
    hit_rate: float | None
    volatile_bytes: int
    calls: list[CallSummary] = field(default_factory=list[CallSummary])
    prompts: list[PromptSummary] = field(default_factory=list[PromptSummary])
    notes: list[str] = field(default_factory=list[str])

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> TestSummary:
        calls = [CallSummary(**one) for one in data["calls"]]
        prompts = [PromptSummary(**one) for one in data["prompts"]]
        values: dict[str, Any] = {**data, "calls": calls, "prompts": prompts}
        return cls(**values)


def summarize_test(
    nodeid: str, calls: Sequence[RecordedCall], *, uses_fixture: bool
) -> TestSummary:
    """Return the summary of one test."""
    return TestSummary(
        nodeid,
        uses_fixture,
        hit_rate(list(calls)),
        sum(call.volatile_bytes for call in calls),
        [_summarize_call(call) for call in calls],
        _summarize_prompts(calls),
    )


def _summarize_call(call: RecordedCall) -> CallSummary:
    site = call.call_site
    return CallSummary(
        call.model,
        call.provider,
        site.file if site else None,
        site.line if site else None,
        call.is_answered,
        call.input_tokens,
        call.read_tokens,
        call.write_tokens,
        call.volatile_bytes,
        call.turn.reason,
        _place_or_none(call.turn, call.changed_key),
        call.rule.reason,
        list(call.second_run_places),
        call.rule.wasted_usd,
    )


def _place_or_none(verdict: Verdict, key: str | None) -> str | None:
    return None if verdict.section is None else describe_place(verdict, key)


def _summarize_prompts(calls: Sequence[RecordedCall]) -> list[PromptSummary]:
    """Return the distinct static prefixes in the order of their first call."""
    found: dict[tuple[str | None, str | None], PromptSummary] = {}
    for call in calls:
        if call.prefix is None:
            continue
        key = (call.prefix.tools_hash, call.prefix.system_hash)
        if key not in found:
            static = [one for one in call.prefix.breakpoints if not one.startswith("messages")]
            tokens = call.section_tokens
            found[key] = PromptSummary(
                *key, tokens.get("tools", 0), tokens.get("system", 0), static
            )
        found[key].calls += 1
    return list(found.values())
