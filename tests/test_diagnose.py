"""Test each rule of docs/specs/diagnosis.md with hand-made calls, and calls without a fault."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptcache import Settings
from promptcache.diagnosis.diagnosis import Diagnosis
from promptcache.diagnosis.miss_reasons import (
    MISS_REASON_BY_PROVIDER_NAME,
    MISS_REASONS,
    REASON_OF_PARAM,
    format_advice,
)
from promptcache.diagnosis.missed_tokens import compute_wasted_usd
from promptcache.diagnosis.provider_diagnosis import (
    choose_more_specific_reason,
    parse_provider_miss_reason,
)
from promptcache.model import (
    Block,
    Cost,
    Param,
    ParsedPrompt,
    ResponseFacts,
    Usage,
    Verdict,
)
from promptcache.prefix.fingerprint import block_text_or_json
from promptcache.providers.cache_rules import (
    DEFAULT_CACHE_RULE,
    cache_rule_for,
    load_cache_rules,
    requested_or_default_ttl_seconds,
)
from tests.support.diagnosis_lab import (
    COST,
    FILLER,
    DiagnosisLab,
    build_prompt,
    claude_lab,
    gpt56_lab,
    text_block,
    tool_block,
)

# Outcomes


@pytest.mark.parametrize(
    ("usage", "failed", "outcome"),
    [
        (None, True, "error"),
        (None, False, "unreported"),
        (Usage(5, 5, None, None), False, "unreported"),
        (Usage(5, 2, 3, None), False, "hit"),
        (Usage(5, 5, 0, None), False, "cold"),
    ],
)
def test_a_call_without_a_readable_prompt_has_an_outcome(
    usage: Usage | None, failed: bool, outcome: str
) -> None:
    lab = DiagnosisLab()
    pending_call = lab.start_call(None)
    assert pending_call.prefix is None
    verdict = lab.diagnosis.finish(
        pending_call,
        facts=ResponseFacts(),
        usage=usage,
        cost=None,
        has_failed=failed,
        ended_at=lab.now,
    )
    assert verdict == Verdict(outcome)  # type: ignore[arg-type]  # parametrised


def test_failed_calls_are_errors_and_are_not_remembered() -> None:
    lab = claude_lab()
    for breakpoints in ((0,), (0, 1, 2, 3, 4)):
        pending_call = lab.start_call(
            build_prompt("a", "b", "c", "d", "e", breakpoints=breakpoints)
        )
        verdict = lab.diagnosis.finish(
            pending_call,
            facts=ResponseFacts(),
            usage=None,
            cost=None,
            has_failed=True,
            ended_at=lab.now,
        )
        assert (verdict.outcome, verdict.reason) == (
            "error",
            "too_many_breakpoints" if len(breakpoints) > 4 else None,
        )
    assert lab.diagnose_call(build_prompt("a"), 0, 700).reason == "cold_start"


def test_outcomes_of_prewarm_unreported_short_unrequested_and_cold_calls() -> None:
    lab = DiagnosisLab()
    assert lab.diagnose_call(build_prompt("a", is_prewarm=True)).outcome == "prewarm"
    assert lab.diagnose_call(build_prompt("b"), None).outcome == "unreported"
    assert lab.diagnose_call(build_prompt("short", system="x")).outcome == "below_minimum"
    assert (
        claude_lab().diagnose_call(build_prompt("c", caching_mode="none"), 0, 0).reason
        == "caching_not_requested"
    )
    assert (
        claude_lab()
        .diagnose_call(
            build_prompt("c", breakpoints=(0,), caching_mode="explicit"), 0, 0, input=1500
        )
        .outcome
        == "below_minimum"
    )
    assert DiagnosisLab().diagnose_call(build_prompt("d"), input=3000).outcome == "cold"


def test_a_read_below_the_documented_minimum_lowers_the_minimum() -> None:
    lab = DiagnosisLab()
    assert lab.diagnose_call(build_prompt("a"), input=500).outcome == "below_minimum"
    assert lab.diagnose_call(build_prompt("a"), 384, input=500).outcome == "hit"
    assert (
        lab.diagnose_call(build_prompt("other", system="Another program. " * 60), input=500).outcome
        == "cold"
    )


def test_a_call_near_the_minimum_is_below_it_only_after_a_second_call() -> None:
    lab = DiagnosisLab()
    assert lab.diagnose_call(build_prompt("a"), input=900).outcome == "cold"
    assert lab.diagnose_call(build_prompt("a", "b"), input=950).outcome == "below_minimum"
    assert lab.diagnose_call(build_prompt("a", "b", "c"), input=980, wait=3600).outcome == "cold"


def test_a_prompt_without_blocks_is_cold() -> None:
    assert DiagnosisLab().diagnose_call(ParsedPrompt(()), input=2000).outcome == "cold"


# Calls that break no prefix


def test_a_growing_conversation_hits() -> None:
    lab = DiagnosisLab()
    lab.diagnose_call(build_prompt("one"), input=2000)
    verdict = lab.diagnose_call(build_prompt("one", "two", "three"), 1920, input=2300)
    assert (verdict.outcome, verdict.reason, verdict.missed_tokens) == ("hit", None, None)
    assert (
        verdict.prefix_family
        == lab.diagnose_call(
            build_prompt("one", "two", "three", "four"), 2176, input=2400
        ).prefix_family
    )


def test_a_read_rounded_to_the_granularity_is_a_hit() -> None:
    lab = DiagnosisLab()
    lab.diagnose_call(build_prompt("one"), input=2047)
    assert lab.diagnose_call(build_prompt("one", "two"), 1792, input=2300).outcome == "hit"


def test_auxiliary_branched_and_shortened_calls_are_no_misses() -> None:
    lab = DiagnosisLab()
    lab.diagnose_call(build_prompt("one", "two" * 50, "three" * 50), input=3000)
    assert lab.diagnose_call(build_prompt("one", system="Give a title."), input=1100).reason in (
        "cold_start",
        "below_minimum",
    )
    assert lab.diagnose_call(build_prompt("one", "something else"), 2560, input=2900).reason is None
    assert lab.diagnose_call(build_prompt("one"), 2560, input=2700).reason is None
    assert (
        lab.diagnose_call(
            build_prompt("one", "two" * 50, "three" * 50, "four"), 2944, input=3100
        ).outcome
        == "hit"
    )


def test_another_model_on_a_new_conversation_is_cold() -> None:
    lab = DiagnosisLab()
    lab.diagnose_call(build_prompt("one"), input=3000)
    assert lab.diagnose_call(build_prompt("two"), model="gpt-4o", input=3000).outcome == "cold"


def test_an_unexpected_read_is_a_hit() -> None:
    assert DiagnosisLab().diagnose_call(build_prompt("one"), 2944, input=3000).outcome == "hit"


# Broken prefixes


def diagnose_change(
    old: ParsedPrompt, new: ParsedPrompt, lab: DiagnosisLab | None = None, read: int = 0
) -> Verdict:
    lab = lab or DiagnosisLab()
    lab.diagnose_call(old, input=3000)
    return lab.diagnose_call(new, read, input=3100)


def test_a_changed_time_in_the_system_prompt_is_a_volatile_token() -> None:
    verdict = diagnose_change(
        build_prompt("one", system=f"Now 10:31:07. {FILLER}"),
        build_prompt("one", "two", system=f"Now 10:32:59. {FILLER}"),
    )
    assert (verdict.outcome, verdict.reason, verdict.section, verdict.index) == (
        "miss",
        "volatile_token",
        "system",
        0,
    )
    assert (verdict.hint, verdict.offset, verdict.missed_tokens, verdict.source) == (
        "timestamp",
        4,
        2944,
        "local",
    )
    assert verdict.wasted_usd == pytest.approx(2944 * 9.0)


def test_a_partial_read_reports_only_the_missed_tokens() -> None:
    verdict = diagnose_change(
        build_prompt("one", system=FILLER + "10:31"),
        build_prompt("one", "two", system=FILLER + "11:32"),
        read=2048,
    )
    assert (verdict.outcome, verdict.reason, verdict.missed_tokens) == (
        "partial",
        "volatile_token",
        2944 - 2048,
    )


TOOL_A, TOOL_B, TOOL_C = tool_block(0, "alpha"), tool_block(1, "beta"), tool_block(2, "gamma")


TOOL_B_REORDERED_KEYS = Block("tools", 1, "function", dict(reversed(TOOL_B.data.items())))


def renumber_tools(*tools: Block) -> tuple[Block, ...]:
    return tuple(Block("tools", at, block.kind, block.data) for at, block in enumerate(tools))


@pytest.mark.parametrize(
    ("tools", "reason", "index", "hint"),
    [
        (renumber_tools(TOOL_A, TOOL_C, TOOL_B), "tools_reordered", 1, "reordered"),
        (
            renumber_tools(TOOL_A, TOOL_B, TOOL_C, tool_block(3, "delta")),
            "tools_changed",
            3,
            "added",
        ),
        (renumber_tools(TOOL_A, TOOL_C), "tools_changed", 1, "removed"),
        ((TOOL_A, tool_block(1, "beta", strict=True), TOOL_C), "tools_changed", 1, None),
        (
            (TOOL_A, Block("tools", 1, "function", dict(reversed(TOOL_B.data.items()))), TOOL_C),
            "serialization_nondeterminism",
            1,
            "key_order",
        ),
    ],
)
def test_a_changed_tool_gives_reason_index_and_hint(
    tools: tuple[Block, ...], reason: str, index: int, hint: str | None
) -> None:
    verdict = diagnose_change(
        build_prompt("one", tools=(TOOL_A, TOOL_B, TOOL_C)), build_prompt("one", "two", tools=tools)
    )
    assert (verdict.reason, verdict.section, verdict.index, verdict.hint) == (
        reason,
        "tools",
        index,
        hint,
    )


@pytest.mark.parametrize(
    ("old", "new", "reason", "hint"),
    [
        (FILLER, FILLER.replace(". ", ".  ", 1), "serialization_nondeterminism", "whitespace"),
        ("caf\u00e9 " + FILLER, "cafe\u0301 " + FILLER, "serialization_nondeterminism", "unicode"),
        (FILLER, FILLER.replace("the policy", "every single rule", 1), "system_changed", None),
        (FILLER + "Ask Ann.", FILLER + "Ask Bob.", "volatile_token", "name_like"),
        ("Call 1041 today. " + FILLER, "Call 1042 today. " + FILLER, "volatile_token", "counter"),
        (
            FILLER,
            FILLER + "Never mention 3 other shops by their Name or number, not even once. " * 9,
            "system_changed",
            None,
        ),
    ],
)
def test_a_changed_system_prompt_gives_reason_and_hint(
    old: str, new: str, reason: str, hint: str | None
) -> None:
    verdict = diagnose_change(
        build_prompt("one", system=old), build_prompt("one", "two", system=new)
    )
    assert (verdict.reason, verdict.section, verdict.hint) == (reason, "system", hint)


def test_the_first_of_two_changed_tools_gives_the_reason() -> None:
    turned = Block("tools", 1, "function", dict(reversed(TOOL_B.data.items())))
    edited = tool_block(2, "gamma", strict=True)
    verdict = diagnose_change(
        build_prompt("one", tools=(TOOL_A, TOOL_B, TOOL_C)),
        build_prompt("one", "two", tools=(TOOL_A, turned, edited)),
    )
    assert (verdict.reason, verdict.index, verdict.hint) == (
        "serialization_nondeterminism",
        1,
        "key_order",
    )


def test_an_added_or_removed_system_block_gives_a_hint() -> None:
    static = (text_block("system", 0, FILLER), text_block("system", 1, "Be brief."))
    begun = ParsedPrompt((*static, text_block("messages", 0, "one")))
    grown = ParsedPrompt((*begun.blocks, text_block("messages", 1, "two")))
    assert diagnose_change(build_prompt("one"), grown).hint == "added"
    assert diagnose_change(begun, build_prompt("one", "two")).hint == "removed"


def test_a_different_system_prompt_is_a_cold_start() -> None:
    verdict = diagnose_change(
        build_prompt("one", system=FILLER),
        build_prompt("one", system="Another agent writes poems about the sea. " * 70),
    )
    assert (verdict.outcome, verdict.reason) == ("cold", "cold_start")


def test_an_ambiguous_change_is_diagnosed_after_it_repeats() -> None:
    lab, reasons = DiagnosisLab(), list[str | None]()
    for name in ("Ann", "Bob", "Cid", "Dan", "Eve"):
        reasons.append(
            lab.diagnose_call(
                build_prompt(f"I am {name}", system=f"You serve {name} now. {FILLER}"), input=3000
            ).reason
        )
    assert reasons == ["cold_start", "cold_start", "cold_start", "volatile_token", "volatile_token"]


LONG_CONVERSATION = [f"Message number {n}: " + FILLER[n * 10 : n * 10 + 400] for n in range(12)]


@pytest.mark.parametrize(
    ("messages", "index", "hint"),
    [
        (LONG_CONVERSATION[3:], 0, "truncated"),
        (["In short: all is well.", *LONG_CONVERSATION[7:]], 0, "compacted"),
        ([*LONG_CONVERSATION[:4], "An aside.", *LONG_CONVERSATION[4:]], 4, "inserted"),
        ([*LONG_CONVERSATION[:4], "quite another thing", *LONG_CONVERSATION[5:]], 4, None),
    ],
)
def test_a_changed_history_gives_index_and_hint(
    messages: list[str], index: int, hint: str | None
) -> None:
    verdict = diagnose_change(
        build_prompt(*LONG_CONVERSATION), build_prompt(*messages, "next"), read=1024
    )
    assert (verdict.reason, verdict.section, verdict.index, verdict.hint) == (
        "history_rewritten",
        "messages",
        index,
        hint,
    )
    assert verdict.missed_tokens is not None
    assert 0 < verdict.missed_tokens <= 2944 - 1024


def test_a_changed_time_in_a_message_is_a_volatile_token() -> None:
    def render_message(at: str) -> str:
        return f"It is {at}. {FILLER[:900]}"

    verdict = diagnose_change(
        build_prompt(render_message("10:31:07"), system="x"),
        build_prompt(render_message("11:59:58"), "two", system="x"),
    )
    assert (verdict.reason, verdict.section, verdict.hint) == (
        "volatile_token",
        "messages",
        "timestamp",
    )
    single = diagnose_change(
        build_prompt(render_message("10:31:07"), system="x"),
        build_prompt(render_message("11:59:58"), system="x"),
    )
    assert single.reason == "volatile_token"
    longer = diagnose_change(
        build_prompt(FILLER[:900] + "end", system="x"),
        build_prompt(FILLER[:900] + "more of it", "two", system="x"),
    )
    assert longer.reason == "history_rewritten"


def build_prompt_of_kinds(*kinds: str) -> ParsedPrompt:
    blocks = [
        Block("messages", at, kind, {"type": kind, "text": FILLER[at * 9 : at * 9 + 300]})
        for at, kind in enumerate(kinds)
    ]
    return ParsedPrompt((text_block("system", 0, FILLER), *blocks))


def test_added_removed_and_replaced_images_give_a_hint() -> None:
    shown = Block("messages", 1, "image_url", {"url": "data:" + "A" * 900})
    other = Block("messages", 1, "image_url", {"url": "data:" + "B" * 900})
    first, rest = (
        build_prompt_of_kinds("text").blocks,
        tuple(text_block("messages", at, LONG_CONVERSATION[at]) for at in range(2, 6)),
    )
    with_image, without, replaced = (
        ParsedPrompt((*first, *one, *rest)) for one in ((shown,), (), (other,))
    )
    assert diagnose_change(with_image, without, read=1024).hint == "image_removed"
    assert diagnose_change(without, with_image, read=1024).hint == "image_added"
    assert diagnose_change(with_image, replaced, read=1024).hint == "image_replaced"


def test_a_short_common_message_is_no_common_history() -> None:
    verdict = diagnose_change(
        build_prompt("tell me of parcels", "ok", LONG_CONVERSATION[1]),
        build_prompt("tell me of refunds", "ok", LONG_CONVERSATION[2]),
        read=2560,
    )
    assert verdict.reason is None


def test_without_details_a_changed_system_prompt_is_another_one() -> None:
    lab = DiagnosisLab()
    lab.diagnose_call(build_prompt("one", system=FILLER), input=3000)
    lab.diagnosis.memory.block_details.clear()
    verdict = lab.diagnose_call(
        build_prompt("one", system=FILLER[:2900] + "10:31:07 " + FILLER[2900:]), input=3000
    )
    assert verdict.reason == "cold_start"


def test_a_call_whose_blocks_were_evicted_is_not_related() -> None:
    lab = DiagnosisLab(diagnosis=Diagnosis(Settings(memory_nodes=32)))
    lab.diagnose_call(build_prompt(*LONG_CONVERSATION[:3]), input=3000)
    for turn in range(1, 40):
        lab.diagnose_call(
            build_prompt("other", *map(str, range(turn))), 2944, input=3000, model="gpt-4o"
        )
    assert lab.diagnose_call(build_prompt("new"), 0, input=3000).reason == "cold_start"


def test_a_change_in_a_grown_block_is_located() -> None:
    old, new = (
        FILLER[:2000],
        FILLER[:1000] + "and one more sentence that was not there before. " * 3 + FILLER[1000:2000],
    )
    verdict = diagnose_change(
        build_prompt("one", system=old), build_prompt("one", "two", system=new)
    )
    assert verdict.reason == "system_changed"
    assert verdict.offset is not None
    assert abs(verdict.offset - 1000) <= 2200 / 16


# Parameters, scope and time


@pytest.mark.parametrize(
    ("name", "level", "reason"),
    [
        ("reasoning_effort", "tools", "param_changed"),
        ("prompt_cache_key", "tools", "cache_key_changed"),
        ("service_tier", "tools", "batch_or_tier"),
        ("context_management", "tools", "context_compacted"),
        ("tool_choice", "none", "unknown"),
    ],
)
def test_a_changed_parameter_gives_its_reason(name: str, level: Any, reason: str) -> None:
    old, new = (build_prompt("one", params=(Param(name, value, level),)) for value in ("a", "b"))
    verdict = diagnose_change(
        old, ParsedPrompt((*new.blocks, text_block("messages", 1, "two")), new.params)
    )
    assert verdict.reason == reason
    assert verdict.section == (None if reason == "unknown" else "params")


def test_a_change_at_the_earlier_level_gives_the_reason() -> None:
    old, new = (
        build_prompt(
            "one", "two" * 90, system=system, params=(Param("thinking", value, "messages"),)
        )
        for system, value in ((FILLER, 1), (FILLER + "Why.", 2))
    )
    assert diagnose_change(old, new).reason == "system_changed"


@pytest.mark.parametrize(
    ("wait", "model", "reason"), [(4e3, "gpt-4.1", "ttl_expired"), (5, "gpt-4o", "model_changed")]
)
def test_expiry_and_model_take_precedence_over_changed_content(
    wait: float, model: str, reason: str
) -> None:
    lab = DiagnosisLab()
    lab.diagnose_call(build_prompt(*LONG_CONVERSATION), input=3000)
    assert (
        lab.diagnose_call(
            build_prompt(*LONG_CONVERSATION[2:], "next"), 0, wait=wait, input=3000, model=model
        ).reason
        == reason
    )


def test_the_ttl_starts_again_after_an_expiry() -> None:
    lab = claude_lab()
    lab.diagnose_call(build_prompt("one", breakpoints=(0,)), 0, 3000, input=3100)
    assert (
        lab.diagnose_call(
            build_prompt("one", "two", breakpoints=(0, 1)), 0, 3050, wait=400, input=3150
        ).reason
        == "ttl_expired"
    )
    assert (
        lab.diagnose_call(
            build_prompt("one", "two", "three", breakpoints=(0, 2)), 3050, 100, input=3200
        ).outcome
        == "hit"
    )


def test_a_branch_with_a_smaller_read_than_estimated_is_a_hit() -> None:
    lab = DiagnosisLab()
    lab.diagnose_call(build_prompt(*LONG_CONVERSATION), input=3000)
    assert (
        lab.diagnose_call(
            build_prompt(*LONG_CONVERSATION[:11], "other words"), 1280, input=3000
        ).outcome
        == "hit"
    )


def test_a_changed_request_or_response_model_is_the_reason() -> None:
    lab = DiagnosisLab()
    lab.diagnose_call(build_prompt("one"), input=3000, served="gpt-4.1-2025")
    assert (
        lab.diagnose_call(build_prompt("one", "two"), input=3100, model="gpt-4o").reason
        == "model_changed"
    )
    assert (
        lab.diagnose_call(
            build_prompt("one", "two"), 2944, input=3100, served="gpt-4.1-2025"
        ).outcome
        == "hit"
    )
    assert (
        lab.diagnose_call(
            build_prompt("one", "two", "three"), input=3200, served="gpt-4.1-2026"
        ).reason
        == "model_changed"
    )


def test_a_cache_key_per_user_is_diagnosed_at_the_third_call() -> None:
    lab, reasons = DiagnosisLab(), list[str | None]()
    for user in range(4):
        prompt = build_prompt(f"hello {user}", params=(Param("prompt_cache_key", user, "tools"),))
        reasons.append(lab.diagnose_call(prompt, input=3000).reason)
    assert reasons == [
        "cold_start",
        "cold_start",
        "per_user_key_or_prefix",
        "per_user_key_or_prefix",
    ]


def test_another_wire_format_is_no_reason() -> None:
    """Chat Completions and Responses encode a text differently, so the blocks are not compared."""
    lab, tools = DiagnosisLab(), (tool_block(0, "a"), tool_block(1, "b"))
    lab.diagnose_call(build_prompt("one", tools=tools), input=4000, wire="openai.chat")
    string = Block("system", 0, "text", FILLER)
    responses = ParsedPrompt(
        (*tools, string, text_block("messages", 0, "one"), text_block("messages", 1, "two"))
    )
    verdict = lab.diagnose_call(responses, input=4100, wire="openai.responses")
    assert (verdict.outcome, verdict.reason, verdict.missed_tokens) == ("cold", "cold_start", None)
    again = lab.diagnose_call(
        build_prompt("one", "two", tools=tools), input=4100, wire="openai.chat"
    )
    assert (again.reason, again.missed_tokens) == ("unknown", 3968)


def test_the_same_text_in_another_wire_format_is_a_cold_start() -> None:
    lab = DiagnosisLab()
    lab.diagnose_call(build_prompt("one"), input=3000, wire="openai.chat")
    verdict = lab.diagnose_call(build_prompt("one", "two"), input=3100, wire="openai.responses")
    assert (verdict.reason, verdict.missed_tokens) == ("cold_start", None)


def test_another_credential_is_a_changed_scope() -> None:
    lab, begun = DiagnosisLab(), ("one", "two", "three")
    lab.diagnose_call(build_prompt(*begun), input=3000)
    verdict = lab.diagnose_call(build_prompt(*begun, "four", "five"), input=3100, key=b"two")
    assert (verdict.reason, verdict.section, verdict.missed_tokens) == (
        "scope_changed",
        "params",
        2944,
    )
    assert (
        lab.diagnose_call(build_prompt(*begun), input=3100, key=b"three", wait=1e6).reason
        == "cold_start"
    )
    assert (
        lab.diagnose_call(
            ParsedPrompt((text_block("system", 0, FILLER),)), input=3100, key=b"four"
        ).reason
        == "cold_start"
    )


def test_repeated_expiry_becomes_low_volume() -> None:
    lab, reasons = claude_lab(), list[str | None]()
    for turn in range(7):
        reasons.append(
            lab.diagnose_call(
                build_prompt(*LONG_CONVERSATION[: turn + 1], breakpoints=(-1, turn)),
                0,
                3000,
                wait=400,
                input=3100,
            ).reason
        )
    assert reasons == ["cold_start", *["ttl_expired"] * 4, "low_volume", "low_volume"]


def test_a_miss_within_the_ttl_without_a_change_is_unknown() -> None:
    assert diagnose_change(build_prompt("one"), build_prompt("one", "two")).reason == "unknown"
    lab = claude_lab()
    lab.diagnose_call(build_prompt("one", breakpoints=(0,)), 0, 3000, input=3100, ttl="1h")
    assert (
        lab.diagnose_call(
            build_prompt("one", "two", breakpoints=(0, 1)), 0, 3050, wait=3000, input=3150
        ).reason
        == "unknown"
    )
    assert (
        lab.diagnose_call(
            build_prompt("one", "two", "three", breakpoints=(0, 2)), 0, 3050, wait=4000, input=3150
        ).reason
        == "ttl_expired"
    )


def test_a_partial_read_after_the_ttl_rules_out_expiry() -> None:
    lab = DiagnosisLab()
    lab.diagnose_call(build_prompt(*LONG_CONVERSATION), input=3000)
    verdict = lab.diagnose_call(
        build_prompt(*LONG_CONVERSATION[:4], "other", *LONG_CONVERSATION[5:]),
        1024,
        input=3000,
        wait=4000,
    )
    assert verdict.reason == "history_rewritten"


def test_server_state_links_a_call_to_its_earlier_call() -> None:
    lab = DiagnosisLab()
    lab.diagnose_call(build_prompt("one"), input=3000, id="r1")
    known = build_prompt("two", is_complete=False, server_state_id="r1")
    assert lab.diagnose_call(known, 2944, input=3300, id="r2").outcome == "hit"
    assert lab.diagnose_call(known, 0, input=3300).reason == "unknown"
    assert (
        lab.diagnose_call(
            build_prompt("two", is_complete=False, server_state_id="elsewhere"), 0, input=3300
        ).outcome
        == "cold"
    )


# Breakpoints


def test_a_varying_last_message_without_breakpoint_is_diagnosed() -> None:
    lab = gpt56_lab()
    verdicts = [
        lab.diagnose_call(build_prompt(f"question {n}"), 0, 3000, input=3000, ttl="30m")
        for n in range(4)
    ]
    assert [verdict.reason for verdict in verdicts] == [
        "cold_start",
        *["breakpoint_missing_on_static"] * 3,
    ]
    assert (
        verdicts[1].section,
        verdicts[1].index,
        verdicts[1].confidence,
        verdicts[3].confidence,
    ) == (
        "messages",
        0,
        0.7,
        0.95,
    )
    assert verdicts[1].wasted_usd == pytest.approx((verdicts[1].missed_tokens or 0) * 11.5)
    marked = gpt56_lab()
    marked.diagnose_call(build_prompt("one", breakpoints=(-1,)), 0, 3000, input=3000)
    assert (
        marked.diagnose_call(build_prompt("two", breakpoints=(-1,)), 0, 3000, input=3000).reason
        == "unknown"
    )


def test_a_breakpoint_that_moved_before_the_end_of_the_static_prefix_is_named() -> None:
    """Each question is another one, so the calls share the static prefix only."""
    tools = tuple(tool_block(index, f"tool_{index}") for index in range(8))
    marked_tools = (*tools[:-1], replace(tools[-1], breakpoint_ttl=""))

    def diagnose_second_call(**second: Any) -> str | None:
        lab = claude_lab()
        first = build_prompt("one", tools=tools, breakpoints=(-1,), caching_mode="explicit")
        lab.diagnose_call(first, 0, 3000, input=3100)
        prompt = build_prompt("two", **second, caching_mode="explicit")
        return lab.diagnose_call(prompt, 0, 1200, input=3100).reason

    assert diagnose_second_call(tools=marked_tools) == "breakpoint_missing_on_static"
    assert diagnose_second_call(tools=tools, breakpoints=(-1,)) == "unknown"
    # A breakpoint behind the prefix looks back to its end.
    assert diagnose_second_call(tools=tools, breakpoints=(0,)) == "unknown"


def test_reads_that_do_not_grow_mean_a_missing_breakpoint() -> None:
    lab = gpt56_lab()
    lab.diagnose_call(build_prompt(*LONG_CONVERSATION[:2]), 0, 3000, input=3000)
    reasons = [
        lab.diagnose_call(
            build_prompt(*LONG_CONVERSATION[: 2 + n]), 1500, 1500 + n, input=3000 + n
        ).reason
        for n in (1, 2)
    ]
    assert reasons == ["unknown", "breakpoint_missing_on_static"]


def test_implicit_breakpoints_have_a_limited_lookback() -> None:
    lab = gpt56_lab()
    lab.diagnose_call(build_prompt(*LONG_CONVERSATION[:2]), 0, 3000, input=3000)
    assert (
        lab.diagnose_call(
            build_prompt(*LONG_CONVERSATION[:2], *map(str, range(25))), 0, 3500, input=3500
        ).reason
        == "lookback_exceeded"
    )


def test_explicit_breakpoints_give_missing_lookback_and_count_reasons() -> None:
    def diagnose_breakpoints(
        first: tuple[int, ...],
        second: tuple[int, ...],
        more: int = 1,
        lab: DiagnosisLab | None = None,
    ) -> str | None:
        lab = lab or claude_lab()
        lab.diagnose_call(
            build_prompt(*LONG_CONVERSATION[:4], breakpoints=first, caching_mode="explicit"),
            0,
            3000,
            input=3000,
        )
        grown = (*LONG_CONVERSATION[:4], *map(str, range(more)))
        return lab.diagnose_call(
            build_prompt(*grown, breakpoints=second, caching_mode="explicit"), 0, 3200, input=3200
        ).reason

    assert diagnose_breakpoints((3,), (4,)) == "unknown"
    assert diagnose_breakpoints((3,), (0,)) == "breakpoint_missing_on_static"
    assert diagnose_breakpoints((3,), (23,), 20) == "lookback_exceeded"
    assert diagnose_breakpoints((3,), (22,), 20) == "unknown"
    assert diagnose_breakpoints((3,), (0, 1, 2, 3, 4)) == "too_many_breakpoints"
    assert diagnose_breakpoints((3,), (4,), lab=gpt56_lab()) == "breakpoint_missing_on_static"
    assert diagnose_breakpoints((3,), (3, 4), lab=gpt56_lab()) == "unknown"


def test_a_first_image_invalidates_the_messages_of_claude() -> None:
    lab, images = claude_lab(), (Param("images", True, "messages"),)
    lab.diagnose_call(build_prompt("one", breakpoints=(0,)), 0, 3000, input=3000)
    shown = build_prompt("one", "two", breakpoints=(1,), params=images)
    verdict = lab.diagnose_call(shown, 1200, 1900, input=3100)
    assert (verdict.reason, verdict.hint, verdict.section, verdict.outcome) == (
        "image_changed",
        "image_added",
        "messages",
        "partial",
    )
    assert (
        lab.diagnose_call(
            build_prompt("one", "two", "three", breakpoints=(2,)), 1200, 1900, input=3100
        ).hint
        == "image_removed"
    )


def test_later_concurrent_calls_are_diagnosed_as_a_cold_race() -> None:
    lab = gpt56_lab()
    calls = [lab.start_call(build_prompt("one")) for _ in range(3)]
    reasons = [lab.finish_call(call, 0, 3000, input=3000).reason for call in calls]
    assert reasons == ["cold_start", "concurrent_cold_race", "concurrent_cold_race"]
    other = [lab.start_call(build_prompt(name, system=FILLER[::-1])) for name in ("a", "b")]
    assert [lab.finish_call(call, 0, 3000, input=3000).reason for call in other] == [
        "cold_start",
        "concurrent_cold_race",
    ]
    lab.start_call(build_prompt("elsewhere"), key=b"two")
    apart = [lab.start_call(build_prompt("x", system=name * 900)) for name in ("c", "d")]
    assert [lab.finish_call(call, 0, 3000, input=3000).reason for call in apart] == [
        "cold_start",
        "cold_start",
    ]


def test_many_requests_a_minute_mean_routing_overflow() -> None:
    lab = DiagnosisLab(now=1e9 - 1e9 % 60)
    reasons = [
        lab.diagnose_call(build_prompt("same"), 2944 if n % 5 else 0, wait=1.0, input=3000).reason
        for n in range(22)
    ]
    assert reasons[5] == "unknown"
    assert reasons[20] == "routing_overflow"


# Wasted cost and the diagnosis of the provider


def test_waste_counts_each_token_once_up_to_the_input() -> None:
    usage = Usage(1000, 200, 0, 800, {"5m": 500, "30m": 300})
    assert compute_wasted_usd(usage, COST, 900) == pytest.approx(800 * 11.5 + 100 * 9)
    assert compute_wasted_usd(usage, COST, 10**9) == pytest.approx(200 * 10 + 800 * 12.5)
    assert compute_wasted_usd(usage, None, 5) is None
    assert compute_wasted_usd(usage, Cost(None), 5) is None
    assert compute_wasted_usd(usage, Cost(1.0, input_price=1.0, cache_read_price=2.0), 5) == 0.0


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**7))
def test_waste_is_at_most_the_input_cost(uncached: int, read: int, write: int, missed: int) -> None:
    usage = Usage(uncached + read + write, uncached, read, write, {"5m": write})
    wasted_usd = compute_wasted_usd(usage, COST, missed)
    assert wasted_usd is not None
    assert 0 <= wasted_usd <= uncached * 10 + read + write * 12.5 + 1e-6


@pytest.mark.parametrize(
    ("diagnostics", "reason"),
    [
        (None, None),
        ({"type": "cache_miss", "reason": "tools_changed"}, "tools_changed"),
        (
            {"cache_miss_reason": {"type": "system_changed", "cache_missed_input_tokens": 5}},
            "system_changed",
        ),
        ({"cache_miss_reason": "model_changed"}, "model_changed"),
        ({"cache_miss_reason": None}, None),
        ({"type": "unavailable"}, None),
        ({"type": 5, "reason": ["tools_changed"]}, None),
    ],
)
def test_the_reason_of_the_provider_is_parsed(diagnostics: Any, reason: str | None) -> None:
    assert parse_provider_miss_reason(diagnostics) == reason


def test_a_local_reason_refines_the_reason_of_the_provider() -> None:
    facts = ResponseFacts(provider_diagnostics={"type": "cache_miss", "reason": "input_changed"})
    lab = DiagnosisLab()
    lab.diagnose_call(build_prompt("one", system=f"Now 10:31. {FILLER}"), input=3000)
    verdict = lab.diagnose_call(
        build_prompt("one", system=f"Now 11:32. {FILLER}"), input=3000, facts=facts
    )
    assert (verdict.reason, verdict.provider_reason, verdict.source) == (
        "volatile_token",
        "input_changed",
        "provider",
    )
    assert (
        lab.diagnose_call(
            build_prompt("one", system=f"Now 11:32. {FILLER}"), 2944, input=3000, facts=facts
        ).reason
        is None
    )
    assert choose_more_specific_reason("tools_changed", "system_changed") == "tools_changed"
    assert choose_more_specific_reason("tools_changed", None) == "tools_changed"


# Tables of reasons and rules


def test_every_reason_has_advice_and_every_provider_reason_is_mapped() -> None:
    assert all(
        len(cause.advice) > 20 and cause.advice.endswith(".") for cause in MISS_REASONS.values()
    )
    assert {*REASON_OF_PARAM.values()} <= {*MISS_REASONS}
    assert all(set(cause.more_specific) <= {*MISS_REASONS} for cause in MISS_REASONS.values())
    openai = (
        "model_changed prompt_cache_key_changed service_tier_changed tools_changed "
        "text_format_changed reasoning_effort_changed verbosity_changed context_compacted "
        "input_changed"
    )
    anthropic = "model_changed system_changed tools_changed messages_changed"
    assert {*openai.split(), *anthropic.split()} == {*MISS_REASON_BY_PROVIDER_NAME}


def test_advice_names_section_and_index() -> None:
    assert "(system[0])" in format_advice("system_changed", "system", 0)
    assert "(tools)" in format_advice("tools_changed", "tools")
    assert "{" not in format_advice("tools_changed")
    assert format_advice("of a later version") == ""


@pytest.mark.parametrize(
    ("provider", "model", "minimum", "writes"),
    [
        ("anthropic", "claude-sonnet-4-6-20260217", 1024, True),
        ("anthropic", "claude-opus-5-5", 512, True),
        ("aws.bedrock", "us.anthropic.claude-opus-4-5-v1:0", 4096, True),
        ("openai", "gpt-5.6-mini", 1024, True),
        ("openai", "gpt-5.5", 1024, False),
        ("azure.ai.openai", "gpt-4o", 1024, False),
        ("minimax", "MiniMax-M3", 512, False),
        ("z_ai", "glm-5.2", 1024, False),
        ("alibaba", "qwen3-max", 256, False),
        ("gcp.vertex_ai", "gemini-3-pro-preview", 4096, False),
        ("nobody", None, 1024, False),
    ],
)
def test_cache_rules_by_provider_and_model(
    provider: str, model: str | None, minimum: int, writes: bool
) -> None:
    rule = cache_rule_for(provider, model)
    assert (rule.minimum_tokens, rule.bills_writes) == (minimum, writes)


def test_cache_rules_have_a_date_and_a_source() -> None:
    assert all(
        row.documented_on >= "2026" and row.source and 0 < row.expiry_confidence <= 1
        for row in load_cache_rules()
    )
    assert requested_or_default_ttl_seconds(DEFAULT_CACHE_RULE, "1h") == 3600
    assert (
        requested_or_default_ttl_seconds(DEFAULT_CACHE_RULE, "24h")
        == requested_or_default_ttl_seconds(DEFAULT_CACHE_RULE, None)
        == DEFAULT_CACHE_RULE.ttl_seconds
    )


# Places inside a block


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("plain", "plain"),
        ({"role": "user", "content": "words"}, "words"),
        ({"role": "user", "content": {"type": "text", "text": "words"}}, "words"),
        ({"role": "user", "parts": {"text": "words"}}, "words"),
        ({"type": "text"}, '{"type":"text"}'),
        ({"name": "f", "parameters": {}}, '{"name":"f","parameters":{}}'),
        ([1, b"x"], '[1,{"bytes":"78"}]'),
    ],
)
def test_the_text_of_a_block_excludes_its_wrapping(data: Any, text: str) -> None:
    assert block_text_or_json(data) == text
