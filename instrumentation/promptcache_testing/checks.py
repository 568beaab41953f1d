"""The checks of one test: turns and rules. Each raises CacheRegressionError with what to do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from promptcache.diagnosis.miss_reasons import format_advice
from promptcache_testing.errors import CacheRegressionError, InconclusiveError
from promptcache_testing.profile_date import PROFILE_DATE
from promptcache_testing.recorded_call import RecordedCall, hit_rate
from promptcache_testing.turns import BREAKS
from promptcache_testing.words import describe_break, describe_place

_MAX_LISTED: Final = 5


def check_turns(calls: Sequence[RecordedCall], min_calls: int) -> None:
    """Fail if a request of a conversation does not extend the earlier ones."""
    check_call_count(len(calls), min_calls)
    if unjudged := [str(call.number) for call in calls if not call.is_judged]:
        raise InconclusiveError(
            f"promptcache failed on call {', '.join(unjudged)}, so the check is inconclusive; "
            "the log names the place"
        )
    broken = [call for call in calls if call.turn.reason in BREAKS]
    if broken:
        lines = [describe_break(call) for call in broken[:_MAX_LISTED]]
        if len(broken) > _MAX_LISTED:
            lines.append(f"and {len(broken) - _MAX_LISTED} more")
        raise CacheRegressionError("the prompt cache breaks:\n" + "\n".join(lines))


def check_call_count(count: int, min_calls: int) -> None:
    """Fail if fewer than `min_calls` calls to a model were seen."""
    if count < min_calls:
        raise CacheRegressionError(
            f"promptcache checked nothing: {count} of at least {min_calls} calls to a model "
            "were seen; one call has no earlier call to extend"
        )


def check_bounds(
    calls: Sequence[RecordedCall], min_hit_rate: float | None, min_read_tokens: int | None
) -> None:
    """Fail if fewer tokens were read from the cache than the bounds ask for."""
    failures: list[str] = []
    rate = hit_rate(list(calls))
    if min_hit_rate is not None and (rate is None or rate < min_hit_rate):
        shown = "unknown (no call repeats a prefix)" if rate is None else f"{rate:.3f}"
        failures.append(f"the hit rate is {shown}, but {min_hit_rate:g} is required")
    read = sum(call.read_tokens for call in calls)
    if min_read_tokens is not None and read < min_read_tokens:
        failures.append(f"{read:,} tokens were read, but {min_read_tokens:,} are required")
    if failures:
        first = "; ".join(failures) + f" (rules of {PROFILE_DATE})"
        raise CacheRegressionError("\n".join([first, *_explain(calls)]))


def _explain(calls: Sequence[RecordedCall]) -> list[str]:
    """Return a line for each call that missed tokens, with the reason of production."""
    lines: list[str] = []
    for call in calls:
        verdict = call.rule
        if verdict.reason is None or call.is_first:
            continue
        place = f": {describe_place(verdict)}" if verdict.section else ""
        advice = format_advice(verdict.reason, verdict.section, verdict.index)
        lines.append(
            f"call {call.number} ({call.place}): read {call.read_tokens:,} of "
            f"{call.input_tokens:,} tokens: {verdict.reason}{place}\n  {advice}"
        )
    return lines[:_MAX_LISTED]
