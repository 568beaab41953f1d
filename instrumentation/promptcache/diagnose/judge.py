"""Usage x structure x rules -> what was missed and why. Evidence first: without missing tokens there is no reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, final

from promptcache.causes import PARAMS
from promptcache.diagnose.compare import FORM, ORDER, Difference
from promptcache.memory import Scope, Trace
from promptcache.model import Cost, Usage
from promptcache.rules import Rule

_SLACK: Final = 0.25
"""How far an estimate of tokens may be off before it is believed to show a miss."""
_DOUBT: Final = 1.3
"""How many times the minimum an estimate must reach before the prefix is believed to be long enough."""
_OFTEN: Final = 3
"""After so many breaks in a row at one place, a change that proves nothing by itself does."""
_RARE: Final = 5
"""After so many lapses in a row the prefix is simply used too rarely."""
LAPSED: Final = ("ttl", 0)
"""The place of a break in time."""
_LEVELS: Final[Mapping[str, int]] = {**ORDER, "none": len(ORDER)}


@final
@dataclass(slots=True)
class Relative:
    """An earlier call beside the present one.

    By bytes: `shared` is the size of the common prefix and `lost` what the earlier call has and the present one does
    not, both in tokens as estimated; `fresh` is the share of the present one that stands behind the break and is not in
    the earlier one. `keys` counts the different cache keys seen at the end of the common prefix.
    """

    trace: Trace
    difference: Difference
    shared: int
    lost: int
    fresh: float = 0.0
    keys: int = 1


@final
@dataclass(slots=True)
class Case:
    """The present call and all that is known about it.

    `implicit` says that the provider sets breakpoints by itself; `least` is the number of tokens from which on a prompt
    is believed to be cached; `rivals` are calls with the same beginning that had
    not answered when this one was sent; `busy` counts the requests of the minute, `messages` the new message blocks.
    """

    trace: Trace
    rule: Rule
    usage: Usage
    implicit: bool
    least: int
    relatives: Sequence[Relative] = ()
    rivals: Sequence[Relative] = ()
    busy: int = 0
    messages: int = 0


@final
@dataclass(slots=True)
class Finding:
    """Why tokens were missed. `missed` is their number, `difference` gives the place where there is one."""

    reason: str
    missed: int
    confidence: float
    relative: Relative | None = None
    place: Difference | None = None


def find(case: Case) -> Finding | None:
    """The best explanation of what was not read; None where nothing was missed."""
    best: Finding | None = None
    for relative in case.relatives:
        missed = _missed(case, relative)
        if missed > _tolerance(case, relative) and (best is None or missed > best.missed):
            best = _explain(case, relative, missed) or best
    return best or _race(case)


def left(trace: Trace, rule: Rule, least: int, lost: int = 0) -> int:
    """The tokens that a call left in the provider's cache, less `lost`: as reported, or its input rounded down."""
    if rule.writes or trace.write:
        return trace.read + (trace.write or 0) - lost
    return max(trace.read - lost, _whole(trace.input - lost, rule, least))


def _whole(tokens: int, rule: Rule, least: int) -> int:
    """How many of the first `tokens` of a prompt can stand in the cache."""
    whole = tokens - tokens % rule.step
    return whole if whole >= least else 0


def _missed(case: Case, relative: Relative) -> int:
    trace, difference = relative.trace, relative.difference
    if difference.kind in ("branch", "shortened"):
        reusable = min(relative.shared, left(trace, case.rule, case.least) or relative.shared)
    else:
        reusable = left(trace, case.rule, case.least, _lost(case, relative)[0])
        pinned = [one.trace.read for one in case.relatives if one.trace.pinned]
        if pinned and (
            difference.kind == "break" or not trace.pinned or _other_scope(case, relative)
        ):
            reusable = min(
                reusable, max(pinned)
            )  # what was written beyond, nobody was ever seen to read
    return _whole(min(reusable, case.usage.input), case.rule, case.least) - (case.usage.read or 0)


def _lost(case: Case, relative: Relative) -> tuple[int, int]:
    """The earlier call's tokens that the present one does not have, and how many tokens of that are an estimate.

    Both calls' totals are known, so only the smaller of what went and what came need be estimated by its bytes: an
    image, for one, has tokens that its bytes do not tell.
    """
    trace, fresh = relative.trace, round(relative.fresh * case.usage.input)
    if relative.lost <= fresh or trace.scope.model != case.trace.scope.model:
        return relative.lost, relative.lost
    return max(0, trace.input - case.usage.input + fresh), fresh


def _tolerance(case: Case, relative: Relative) -> float:
    """How many tokens may be missing without a meaning: rounding, and the error of an estimate."""
    rounding = case.rule.step if case.rule.step > 1 else 0
    if relative.difference.kind == "extends":
        return rounding
    if relative.difference.kind == "break":
        return rounding + _SLACK * _lost(case, relative)[1]
    whole = relative.difference.shared == case.trace.depth
    least = case.rule.minimum * (1.0 if whole else _DOUBT) - (case.usage.read or 0) - 1
    return rounding + max(0.0 if whole else _SLACK * relative.shared, least)


def _explain(case: Case, relative: Relative, missed: int) -> Finding | None:
    difference = relative.difference
    explained = _lapsed(case, relative, missed) or _scope(case, relative, missed)
    if difference.kind == "break":
        return _sure(case, relative, missed, explained)
    if explained or difference.kind == "shortened":
        return explained
    if _other_scope(case, relative):
        return None
    return _breakpoints(case, relative, missed) or _rest(case, relative, missed)


def _sure(case: Case, relative: Relative, missed: int, explained: Finding | None) -> Finding | None:
    """A structural break, unless something before it explains more or another program explains it as well."""
    difference = relative.difference
    if explained is not None and (
        explained.reason not in ("ttl_expired", "low_volume") or not case.usage.read
    ):
        return explained
    often = (
        relative.trace.streak
        if relative.trace.place == (difference.section, difference.index)
        else 0
    )
    if difference.weak and not difference.continues and often + 1 < _OFTEN:
        return None
    if difference.hint == FORM and not _ends_there(case, relative):
        return Finding("unknown", missed, 0.3, relative)
    confidence = 0.9 if often else 0.7 if difference.cause == "volatile_token" else 0.95
    return Finding(difference.cause or "unknown", missed, confidence, relative, difference)


def _ends_there(case: Case, relative: Relative) -> bool:
    """Whether the read shows that the provider told the two forms apart: it goes as far as the change, no further."""
    read = case.usage.read or 0
    return 0 < read <= relative.shared + case.rule.step + _SLACK * relative.shared


def _lapsed(case: Case, relative: Relative, missed: int) -> Finding | None:
    idle = case.trace.started - relative.trace.started
    if idle <= relative.trace.ttl or _other_scope(case, relative):
        return None
    rare = relative.trace.place == LAPSED and relative.trace.streak + 1 >= _RARE
    return Finding("low_volume" if rare else "ttl_expired", missed, case.rule.lapse, relative)


def changes(new: Scope, old: Scope) -> list[tuple[str, str]]:
    """The parameters that differ between two scopes, each with the level that it invalidates; the strongest first."""
    found: list[tuple[str, str]] = [("model", "tools")] if new.model != old.model else []
    here, there = ({param[0]: param for param in scope.params} for scope in (new, old))
    names = [name for name in {**there, **here} if here.get(name) != there.get(name)]
    found += [(name, (here.get(name) or there[name])[2]) for name in names]
    return sorted((item for item in found if item[1] != "none"), key=lambda item: _LEVELS[item[1]])


def _other_scope(case: Case, relative: Relative) -> bool:
    return bool(changes(case.trace.scope, relative.trace.scope))


def _scope(case: Case, relative: Relative, missed: int) -> Finding | None:
    """The parameter that took the prefix out of the cache, if it did so before the structure could."""
    found = changes(case.trace.scope, relative.trace.scope)
    difference = relative.difference
    if not found:
        here, there = case.trace.served, relative.trace.served
        if difference.kind == "extends" and here and there and here != there:
            return Finding("model_changed", missed, 0.7, relative, _at(difference, "model"))
        return None
    name, level = found[0]
    reason = "model_changed" if name == "model" else PARAMS.get(name, "param_changed")
    if difference.kind == "branch":
        shared_by_users = (
            reason == "cache_key_changed" and len(found) == 1 and relative.keys >= _OFTEN
        )
        return (
            Finding("per_user_key_or_prefix", missed, 0.85, relative, _at(difference, "params"))
            if shared_by_users
            else None
        )
    if difference.kind == "break" and (
        ORDER[difference.section or "messages"] < _LEVELS[level] or difference.cause == reason
    ):
        return None
    if reason == "image_changed":
        hint = (
            "image_added"
            if any(param[0] == name for param in case.trace.scope.params)
            else "image_removed"
        )
        return Finding(reason, missed, 0.9, relative, _at(difference, "messages").but(hint=hint))
    return Finding(
        reason,
        missed,
        0.95 if name == "model" else 0.9,
        relative,
        _at(difference, "model" if name == "model" else "params"),
    )


def _at(difference: Difference, section: str) -> Difference:
    return Difference(difference.kind, difference.shared, section=section)


def _breakpoints(case: Case, relative: Relative, missed: int) -> Finding | None:
    """Nothing changed: did the request ask for what was there?"""
    rule, usage, trace = case.rule, case.usage, relative.trace
    difference = relative.difference
    if not rule.writes or usage.write is None:
        return None
    if len(case.trace.marks) > rule.marks:
        return Finding("too_many_breakpoints", missed, 0.9, relative)
    if difference.kind == "branch":
        return _static_unmarked(case, relative, missed)
    written = trace.depth if case.implicit or not trace.marks else trace.marks[-1]
    place = Difference("extends", difference.shared, section="messages")
    if case.implicit and not case.trace.marks:
        if case.messages >= (rule.lookback or rule.endings + 1):
            return Finding("lookback_exceeded", missed, 0.8, relative, place)
        pinned = usage.read and usage.read == trace.read
        return (
            Finding("breakpoint_missing_on_static", missed, 0.7, relative, place)
            if pinned
            else None
        )
    looking = (*case.trace.marks, case.trace.depth) if case.implicit else case.trace.marks
    reach = [mark - written for mark in looking if mark >= written]
    if not reach or (rule.lookback is None and min(reach)):
        return Finding("breakpoint_missing_on_static", missed, 0.9, relative, place)
    if rule.lookback is not None and min(reach) >= rule.lookback:
        return Finding("lookback_exceeded", missed, 0.95, relative, place)
    return None


def _static_unmarked(case: Case, relative: Relative, missed: int) -> Finding | None:
    """The trap: a static prefix without a breakpoint, so that a varying tail writes everything and reads nothing."""
    shared = relative.difference.shared
    ended = [
        m
        for m in (*case.trace.marks, *relative.trace.marks)
        if m <= shared and m >= case.trace.static
    ]
    if ended or not case.usage.write or (case.usage.read or 0) * 2 > relative.shared:
        return None
    confidence = 0.95 if relative.trace.read == 0 and relative.trace.streak else 0.7
    return Finding(
        "breakpoint_missing_on_static", missed, confidence, relative, relative.difference
    )


def _rest(case: Case, relative: Relative, missed: int) -> Finding | None:
    if case.usage.read and relative.difference.kind == "branch":
        return None
    if case.rule.busy is not None and case.busy > case.rule.busy:
        return Finding("routing_overflow", missed, 0.6, relative)
    return _race(case) or Finding("unknown", missed, 0.3, relative)


def _race(case: Case) -> Finding | None:
    """Calls with the same prefix that had not answered when this one was sent; what they left counts, once known."""
    best: Finding | None = None
    for rival in case.rivals:
        there = (
            min(rival.shared, left(rival.trace, case.rule, case.least))
            if rival.trace.input
            else rival.shared
        )
        missed = there // case.rule.step * case.rule.step - max(
            case.usage.read or 0, rival.trace.read
        )
        if (
            rival.trace.scope is case.trace.scope
            and missed > _tolerance(case, rival)
            and (not best or missed > best.missed)
        ):
            best = Finding("concurrent_cold_race", missed, 0.9, rival)
    return best


# Money


def waste(usage: Usage, cost: Cost | None, missed: int) -> float | None:
    """What the missed tokens cost too much: what was written again at its price, the rest at the plain one.

    Never more than the call's input cost; None where a price is not known.
    """
    if cost is None or cost.p_in is None or cost.p_read is None:
        return None
    rest, total, spent = missed, 0.0, usage.uncached * cost.p_in + (usage.read or 0) * cost.p_read
    for ttl, count in usage.write_by_ttl.items():
        price = cost.p_write.get(ttl, cost.p_in)
        again = min(rest, count)
        total += again * (price - cost.p_read)
        spent += count * price
        rest -= again
    return max(0.0, min(total + rest * (cost.p_in - cost.p_read), spent))
