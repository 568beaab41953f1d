"""Verdicts on hand-made calls: each rule of docs/specs/diagnosis.md once, and what must never be blamed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptcache import Settings
from promptcache.diagnosis.diagnosis import Diagnosis
from promptcache.diagnosis.miss_reasons import (
    BY_PROVIDER_NAME,
    MISS_REASONS,
    REASON_OF_PARAM,
    format_advice,
)
from promptcache.diagnosis.missed_tokens import compute_wasted_usd
from promptcache.diagnosis.provider_diagnosis import merge_reasons, provider_reason
from promptcache.diagnosis.volatile_values import find_volatile_value
from promptcache.model import (
    Block,
    Cost,
    Param,
    ParsedPrompt,
    ResponseFacts,
    Usage,
    Verdict,
)
from promptcache.prefix.fingerprint import (
    block_text,
    changed_range,
    detailed_fingerprint,
    encode_utf8,
    fingerprint,
    first_difference,
    identifier_hashes,
    similarity,
)
from promptcache.providers.cache_rules import (
    DEFAULT_CACHE_RULE,
    cache_rule_for,
    load_cache_rules,
    safe_ttl_seconds,
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
    sighting = lab.start_call(None)
    assert sighting.prefix is None
    said = lab.diagnosis.finish(
        sighting, facts=ResponseFacts(), usage=usage, cost=None, failed=failed, at=lab.now
    )
    assert said == Verdict(outcome)  # type: ignore[arg-type]  # parametrised


def test_failed_calls_are_errors_and_teach_nothing() -> None:
    lab = claude_lab()
    for marks in ((0,), (0, 1, 2, 3, 4)):
        sighting = lab.start_call(build_prompt("a", "b", "c", "d", "e", breakpoints=marks))
        said = lab.diagnosis.finish(
            sighting, facts=ResponseFacts(), usage=None, cost=None, failed=True, at=lab.now
        )
        assert (said.outcome, said.reason) == (
            "error",
            "too_many_breakpoints" if len(marks) > 4 else None,
        )
    assert lab.diagnose_call(build_prompt("a"), 0, 700).reason == "cold_start"


def test_outcomes_by_precedence() -> None:
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


def test_what_was_cached_below_the_documented_minimum_lowers_it() -> None:
    lab = DiagnosisLab()
    assert lab.diagnose_call(build_prompt("a"), input=500).outcome == "below_minimum"
    assert lab.diagnose_call(build_prompt("a"), 384, input=500).outcome == "hit"
    assert (
        lab.diagnose_call(build_prompt("other", system="Another program. " * 60), input=500).outcome
        == "cold"
    )


def test_near_the_documented_minimum_only_a_second_call_shows_that_it_holds() -> None:
    lab = DiagnosisLab()
    assert lab.diagnose_call(build_prompt("a"), input=900).outcome == "cold"
    assert lab.diagnose_call(build_prompt("a", "b"), input=950).outcome == "below_minimum"
    assert lab.diagnose_call(build_prompt("a", "b", "c"), input=980, wait=3600).outcome == "cold"


def test_a_prompt_without_blocks_is_survived() -> None:
    assert DiagnosisLab().diagnose_call(ParsedPrompt(()), input=2000).outcome == "cold"


# What is no break


def test_a_growing_conversation_hits() -> None:
    lab = DiagnosisLab()
    lab.diagnose_call(build_prompt("one"), input=2000)
    said = lab.diagnose_call(build_prompt("one", "two", "three"), 1920, input=2300)
    assert (said.outcome, said.reason, said.missed_tokens) == ("hit", None, None)
    assert (
        said.prefix_family
        == lab.diagnose_call(
            build_prompt("one", "two", "three", "four"), 2176, input=2400
        ).prefix_family
    )


def test_rounding_is_no_miss() -> None:
    lab = DiagnosisLab()
    lab.diagnose_call(build_prompt("one"), input=2047)
    assert lab.diagnose_call(build_prompt("one", "two"), 1792, input=2300).outcome == "hit"


def test_auxiliary_calls_branches_and_shortening_are_no_breaks() -> None:
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


def test_a_read_that_was_not_expected_is_a_hit() -> None:
    assert DiagnosisLab().diagnose_call(build_prompt("one"), 2944, input=3000).outcome == "hit"


# Breaks


def broken(
    old: ParsedPrompt, new: ParsedPrompt, lab: DiagnosisLab | None = None, read: int = 0
) -> Verdict:
    lab = lab or DiagnosisLab()
    lab.diagnose_call(old, input=3000)
    return lab.diagnose_call(new, read, input=3100)


def test_a_time_in_the_system_prompt() -> None:
    said = broken(
        build_prompt("one", system=f"Now 10:31:07. {FILLER}"),
        build_prompt("one", "two", system=f"Now 10:32:59. {FILLER}"),
    )
    assert (said.outcome, said.reason, said.section, said.index) == (
        "miss",
        "volatile_token",
        "system",
        0,
    )
    assert (said.hint, said.offset, said.missed_tokens, said.source) == (
        "timestamp",
        4,
        2944,
        "local",
    )
    assert said.wasted_usd == pytest.approx(2944 * 9.0)


def test_a_partial_read_names_only_what_was_missed() -> None:
    said = broken(
        build_prompt("one", system=FILLER + "10:31"),
        build_prompt("one", "two", system=FILLER + "11:32"),
        read=2048,
    )
    assert (said.outcome, said.reason, said.missed_tokens) == (
        "partial",
        "volatile_token",
        2944 - 2048,
    )


A, B, C = tool_block(0, "alpha"), tool_block(1, "beta"), tool_block(2, "gamma")


TURNED = Block("tools", 1, "function", dict(reversed(B.data.items())))


def moved(*tools: Block) -> tuple[Block, ...]:
    return tuple(Block("tools", at, block.kind, block.data) for at, block in enumerate(tools))


@pytest.mark.parametrize(
    ("tools", "reason", "index", "hint"),
    [
        (moved(A, C, B), "tools_reordered", 1, "reordered"),
        (moved(A, B, C, tool_block(3, "delta")), "tools_changed", 3, "added"),
        (moved(A, C), "tools_changed", 1, "removed"),
        ((A, tool_block(1, "beta", strict=True), C), "tools_changed", 1, None),
        (
            (A, Block("tools", 1, "function", dict(reversed(B.data.items()))), C),
            "serialization_nondeterminism",
            1,
            "key_order",
        ),
    ],
)
def test_tools(tools: tuple[Block, ...], reason: str, index: int, hint: str | None) -> None:
    said = broken(build_prompt("one", tools=(A, B, C)), build_prompt("one", "two", tools=tools))
    assert (said.reason, said.section, said.index, said.hint) == (reason, "tools", index, hint)


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
def test_system(old: str, new: str, reason: str, hint: str | None) -> None:
    said = broken(build_prompt("one", system=old), build_prompt("one", "two", system=new))
    assert (said.reason, said.section, said.hint) == (reason, "system", hint)


def test_one_tool_in_another_order_of_keys_and_another_edited() -> None:
    turned = Block("tools", 1, "function", dict(reversed(B.data.items())))
    edited = tool_block(2, "gamma", strict=True)
    said = broken(
        build_prompt("one", tools=(A, B, C)), build_prompt("one", "two", tools=(A, turned, edited))
    )
    assert (said.reason, said.index, said.hint) == ("serialization_nondeterminism", 1, "key_order")


def test_a_system_block_that_comes_or_goes() -> None:
    more = ParsedPrompt(
        (
            text_block("system", 0, FILLER),
            text_block("system", 1, "Be brief."),
            text_block("messages", 0, "one"),
        )
    )
    assert broken(build_prompt("one"), more).hint == "added"
    assert broken(more, build_prompt("one")).hint == "removed"


def test_another_program_with_another_prompt_is_cold() -> None:
    said = broken(
        build_prompt("one", system=FILLER),
        build_prompt("one", system="Another agent writes poems about the sea. " * 70),
    )
    assert (said.outcome, said.reason) == ("cold", "cold_start")


def test_a_weak_change_is_named_when_it_keeps_happening() -> None:
    lab, said = DiagnosisLab(), list[str | None]()
    for name in ("Ann", "Bob", "Cid", "Dan", "Eve"):
        said.append(
            lab.diagnose_call(
                build_prompt(f"I am {name}", system=f"You serve {name} now. {FILLER}"), input=3000
            ).reason
        )
    assert said == ["cold_start", "cold_start", "cold_start", "volatile_token", "volatile_token"]


LONG = [f"Message number {n}: " + FILLER[n * 10 : n * 10 + 400] for n in range(12)]


@pytest.mark.parametrize(
    ("messages", "index", "hint"),
    [
        (LONG[3:], 0, "truncated"),
        (["In short: all is well.", *LONG[7:]], 0, "compacted"),
        ([*LONG[:4], "An aside.", *LONG[4:]], 4, "inserted"),
        ([*LONG[:4], "quite another thing", *LONG[5:]], 4, None),
    ],
)
def test_history(messages: list[str], index: int, hint: str | None) -> None:
    said = broken(build_prompt(*LONG), build_prompt(*messages, "next"), read=1024)
    assert (said.reason, said.section, said.index, said.hint) == (
        "history_rewritten",
        "messages",
        index,
        hint,
    )
    assert said.missed_tokens is not None
    assert 0 < said.missed_tokens <= 2944 - 1024


def test_a_message_that_is_rendered_anew() -> None:
    def stamped(at: str) -> str:
        return f"It is {at}. {FILLER[:900]}"

    said = broken(
        build_prompt(stamped("10:31:07"), system="x"),
        build_prompt(stamped("11:59:58"), "two", system="x"),
    )
    assert (said.reason, said.section, said.hint) == ("volatile_token", "messages", "timestamp")
    single = broken(
        build_prompt(stamped("10:31:07"), system="x"), build_prompt(stamped("11:59:58"), system="x")
    )
    assert single.reason == "volatile_token"
    longer = broken(
        build_prompt(FILLER[:900] + "end", system="x"),
        build_prompt(FILLER[:900] + "more of it", "two", system="x"),
    )
    assert longer.reason == "history_rewritten"


def pictured(*kinds: str) -> ParsedPrompt:
    said = [
        Block("messages", at, kind, {"type": kind, "text": FILLER[at * 9 : at * 9 + 300]})
        for at, kind in enumerate(kinds)
    ]
    return ParsedPrompt((text_block("system", 0, FILLER), *said))


def test_images_come_and_go() -> None:
    shown = Block("messages", 1, "image_url", {"url": "data:" + "A" * 900})
    other = Block("messages", 1, "image_url", {"url": "data:" + "B" * 900})
    first, rest = (
        pictured("text").blocks,
        tuple(text_block("messages", at, LONG[at]) for at in range(2, 6)),
    )
    with_image, without, replaced = (
        ParsedPrompt((*first, *one, *rest)) for one in ((shown,), (), (other,))
    )
    assert broken(with_image, without, read=1024).hint == "image_removed"
    assert broken(without, with_image, read=1024).hint == "image_added"
    assert broken(with_image, replaced, read=1024).hint == "image_replaced"


def test_a_word_in_common_is_no_common_history() -> None:
    said = broken(
        build_prompt("tell me of parcels", "ok", LONG[1]),
        build_prompt("tell me of refunds", "ok", LONG[2]),
        read=2560,
    )
    assert said.reason is None


def test_without_the_finer_fingerprints_less_is_known() -> None:
    lab = DiagnosisLab()
    lab.diagnose_call(build_prompt("one", system=FILLER), input=3000)
    lab.diagnosis.memory.detailed_fingerprints.clear()
    said = lab.diagnose_call(
        build_prompt("one", system=FILLER[:2900] + "10:31:07 " + FILLER[2900:]), input=3000
    )
    assert (said.reason, said.section) == ("volatile_token", "system")
    lab.diagnosis.memory.detailed_fingerprints.clear()
    assert (
        lab.diagnose_call(build_prompt("one", system="10:31:07 " + FILLER), input=3000).reason
        == "cold_start"
    )


def test_a_call_whose_blocks_were_forgotten_is_no_relative() -> None:
    lab = DiagnosisLab(diagnosis=Diagnosis(Settings(memory_nodes=32)))
    lab.diagnose_call(build_prompt(*LONG[:3]), input=3000)
    for turn in range(1, 40):
        lab.diagnose_call(
            build_prompt("other", *map(str, range(turn))), 2944, input=3000, model="gpt-4o"
        )
    assert lab.diagnose_call(build_prompt("new"), 0, input=3000).reason == "cold_start"


def test_a_block_that_outgrew_its_steps_is_still_placed() -> None:
    old, new = (
        FILLER[:2000],
        FILLER[:1000] + "and one more sentence that was not there before. " * 3 + FILLER[1000:2000],
    )
    said = broken(build_prompt("one", system=old), build_prompt("one", "two", system=new))
    assert said.reason == "system_changed"
    assert said.offset is not None
    assert abs(said.offset - 1000) <= 2200 / 16


# Scope and time


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
def test_parameters(name: str, level: Any, reason: str) -> None:
    old, new = (build_prompt("one", params=(Param(name, value, level),)) for value in ("a", "b"))
    said = broken(old, ParsedPrompt((*new.blocks, text_block("messages", 1, "two")), new.params))
    assert said.reason == reason
    assert said.section == (None if reason == "unknown" else "params")


def test_the_earlier_level_explains() -> None:
    old, new = (
        build_prompt(
            "one", "two" * 90, system=system, params=(Param("thinking", value, "messages"),)
        )
        for system, value in ((FILLER, 1), (FILLER + "Why.", 2))
    )
    assert broken(old, new).reason == "system_changed"


@pytest.mark.parametrize(
    ("wait", "model", "reason"), [(4e3, "gpt-4.1", "ttl_expired"), (5, "gpt-4o", "model_changed")]
)
def test_time_and_model_explain_before_structure(wait: float, model: str, reason: str) -> None:
    lab = DiagnosisLab()
    lab.diagnose_call(build_prompt(*LONG), input=3000)
    assert (
        lab.diagnose_call(
            build_prompt(*LONG[2:], "next"), 0, wait=wait, input=3000, model=model
        ).reason
        == reason
    )


def test_after_a_lapse_the_count_begins_anew() -> None:
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


def test_a_branch_that_read_less_than_estimated_is_a_hit() -> None:
    lab = DiagnosisLab()
    lab.diagnose_call(build_prompt(*LONG), input=3000)
    assert (
        lab.diagnose_call(build_prompt(*LONG[:11], "other words"), 1280, input=3000).outcome
        == "hit"
    )


def test_models() -> None:
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


def test_a_key_per_user_is_seen_at_the_third() -> None:
    lab, said = DiagnosisLab(), list[str | None]()
    for user in range(4):
        prompt = build_prompt(f"hello {user}", params=(Param("prompt_cache_key", user, "tools"),))
        said.append(lab.diagnose_call(prompt, input=3000).reason)
    assert said == ["cold_start", "cold_start", "per_user_key_or_prefix", "per_user_key_or_prefix"]


def test_another_wire_explains_nothing() -> None:
    """Chat Completions and Responses say the same text in other words: neither is a version of the other."""
    lab, tools = DiagnosisLab(), (tool_block(0, "a"), tool_block(1, "b"))
    lab.diagnose_call(build_prompt("one", tools=tools), input=4000, wire="openai.chat")
    string = Block("system", 0, "text", FILLER)
    responses = ParsedPrompt(
        (*tools, string, text_block("messages", 0, "one"), text_block("messages", 1, "two"))
    )
    said = lab.diagnose_call(responses, input=4100, wire="openai.responses")
    assert (said.outcome, said.reason, said.missed_tokens) == ("cold", "cold_start", None)
    again = lab.diagnose_call(
        build_prompt("one", "two", tools=tools), input=4100, wire="openai.chat"
    )
    assert (again.reason, again.missed_tokens) == ("unknown", 3968)


def test_the_same_words_over_another_wire_are_no_other_scope() -> None:
    lab = DiagnosisLab()
    lab.diagnose_call(build_prompt("one"), input=3000, wire="openai.chat")
    said = lab.diagnose_call(build_prompt("one", "two"), input=3100, wire="openai.responses")
    assert (said.reason, said.missed_tokens) == ("cold_start", None)


def test_another_credential() -> None:
    lab = DiagnosisLab()
    lab.diagnose_call(build_prompt("one"), input=3000)
    said = lab.diagnose_call(build_prompt("one", "two"), input=3100, key=b"two")
    assert (said.reason, said.section, said.missed_tokens) == ("scope_changed", "params", 2944)
    assert (
        lab.diagnose_call(build_prompt("one", "two"), input=3100, key=b"three", wait=1e6).reason
        == "cold_start"
    )
    assert (
        lab.diagnose_call(
            ParsedPrompt((text_block("system", 0, FILLER),)), input=3100, key=b"four"
        ).reason
        == "cold_start"
    )


def test_lapses_and_low_volume() -> None:
    lab, said = claude_lab(), list[str | None]()
    for turn in range(7):
        said.append(
            lab.diagnose_call(
                build_prompt(*LONG[: turn + 1], breakpoints=(-1, turn)),
                0,
                3000,
                wait=400,
                input=3100,
            ).reason
        )
    assert said == ["cold_start", *["ttl_expired"] * 4, "low_volume", "low_volume"]


def test_inside_the_lifetime_with_nothing_changed_it_is_unknown() -> None:
    assert broken(build_prompt("one"), build_prompt("one", "two")).reason == "unknown"
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


def test_a_read_behind_a_lapse_shows_that_it_was_none() -> None:
    lab = DiagnosisLab()
    lab.diagnose_call(build_prompt(*LONG), input=3000)
    said = lab.diagnose_call(
        build_prompt(*LONG[:4], "other", *LONG[5:]), 1024, input=3000, wait=4000
    )
    assert said.reason == "history_rewritten"


def test_held_state() -> None:
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


def test_the_trap_of_a_varying_tail() -> None:
    lab = gpt56_lab()
    said = [
        lab.diagnose_call(build_prompt(f"question {n}"), 0, 3000, input=3000, ttl="30m")
        for n in range(4)
    ]
    assert [v.reason for v in said] == ["cold_start", *["breakpoint_missing_on_static"] * 3]
    assert (said[1].section, said[1].index, said[1].confidence, said[3].confidence) == (
        "messages",
        0,
        0.7,
        0.95,
    )
    assert said[1].wasted_usd == pytest.approx((said[1].missed_tokens or 0) * 11.5)
    marked = gpt56_lab()
    marked.diagnose_call(build_prompt("one", breakpoints=(-1,)), 0, 3000, input=3000)
    assert (
        marked.diagnose_call(build_prompt("two", breakpoints=(-1,)), 0, 3000, input=3000).reason
        == "unknown"
    )


def test_reads_that_stay_pinned() -> None:
    lab = gpt56_lab()
    lab.diagnose_call(build_prompt(*LONG[:2]), 0, 3000, input=3000)
    said = [
        lab.diagnose_call(build_prompt(*LONG[: 2 + n]), 1500, 1500 + n, input=3000 + n).reason
        for n in (1, 2)
    ]
    assert said == ["unknown", "breakpoint_missing_on_static"]


def test_implicit_breakpoints_look_back_so_far() -> None:
    lab = gpt56_lab()
    lab.diagnose_call(build_prompt(*LONG[:2]), 0, 3000, input=3000)
    assert (
        lab.diagnose_call(build_prompt(*LONG[:2], *map(str, range(25))), 0, 3500, input=3500).reason
        == "lookback_exceeded"
    )


def test_explicit_breakpoints() -> None:
    def case(
        first: tuple[int, ...],
        second: tuple[int, ...],
        more: int = 1,
        lab: DiagnosisLab | None = None,
    ) -> str | None:
        lab = lab or claude_lab()
        lab.diagnose_call(
            build_prompt(*LONG[:4], breakpoints=first, caching_mode="explicit"), 0, 3000, input=3000
        )
        grown = (*LONG[:4], *map(str, range(more)))
        return lab.diagnose_call(
            build_prompt(*grown, breakpoints=second, caching_mode="explicit"), 0, 3200, input=3200
        ).reason

    assert case((3,), (4,)) == "unknown"
    assert case((3,), (0,)) == "breakpoint_missing_on_static"
    assert case((3,), (23,), 20) == "lookback_exceeded"
    assert case((3,), (22,), 20) == "unknown"
    assert case((3,), (0, 1, 2, 3, 4)) == "too_many_breakpoints"
    assert case((3,), (4,), lab=gpt56_lab()) == "breakpoint_missing_on_static"
    assert case((3,), (3, 4), lab=gpt56_lab()) == "unknown"


def test_a_first_image_takes_claude_s_messages_out() -> None:
    lab, images = claude_lab(), (Param("images", True, "messages"),)
    lab.diagnose_call(build_prompt("one", breakpoints=(0,)), 0, 3000, input=3000)
    shown = build_prompt("one", "two", breakpoints=(1,), params=images)
    said = lab.diagnose_call(shown, 1200, 1900, input=3100)
    assert (said.reason, said.hint, said.section, said.outcome) == (
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


def test_a_race_is_seen_by_those_that_came_second() -> None:
    lab = gpt56_lab()
    calls = [lab.start_call(build_prompt("one")) for _ in range(3)]
    said = [lab.finish_call(call, 0, 3000, input=3000).reason for call in calls]
    assert said == ["cold_start", "concurrent_cold_race", "concurrent_cold_race"]
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


def test_too_many_requests_a_minute() -> None:
    lab = DiagnosisLab(now=1e9 - 1e9 % 60)
    said = [
        lab.diagnose_call(build_prompt("same"), 2944 if n % 5 else 0, wait=1.0, input=3000).reason
        for n in range(22)
    ]
    assert said[5] == "unknown"
    assert said[20] == "routing_overflow"


# Money and the provider's own word


def test_waste_charges_each_token_once_and_never_more_than_the_input() -> None:
    usage = Usage(1000, 200, 0, 800, {"5m": 500, "30m": 300})
    assert compute_wasted_usd(usage, COST, 900) == pytest.approx(800 * 11.5 + 100 * 9)
    assert compute_wasted_usd(usage, COST, 10**9) == pytest.approx(200 * 10 + 800 * 12.5)
    assert compute_wasted_usd(usage, None, 5) is None
    assert compute_wasted_usd(usage, Cost(None), 5) is None
    assert compute_wasted_usd(usage, Cost(1.0, input_price=1.0, cache_read_price=2.0), 5) == 0.0


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**7))
def test_waste_stays_within_the_input_cost(
    uncached: int, read: int, write: int, missed: int
) -> None:
    usage = Usage(uncached + read + write, uncached, read, write, {"5m": write})
    found = compute_wasted_usd(usage, COST, missed)
    assert found is not None
    assert 0 <= found <= uncached * 10 + read + write * 12.5 + 1e-6


@pytest.mark.parametrize(
    ("verdict", "word"),
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
def test_the_provider_s_own_word(verdict: Any, word: str | None) -> None:
    assert provider_reason(verdict) == word


def test_the_provider_wins_and_ours_may_say_it_more_exactly() -> None:
    facts = ResponseFacts(provider_diagnostics={"type": "cache_miss", "reason": "input_changed"})
    lab = DiagnosisLab()
    lab.diagnose_call(build_prompt("one", system=f"Now 10:31. {FILLER}"), input=3000)
    said = lab.diagnose_call(
        build_prompt("one", system=f"Now 11:32. {FILLER}"), input=3000, facts=facts
    )
    assert (said.reason, said.provider_reason, said.source) == (
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
    assert merge_reasons("tools_changed", "system_changed") == "tools_changed"
    assert merge_reasons("tools_changed", None) == "tools_changed"


# Tables


def test_every_reason_has_advice_and_every_word_of_the_providers_a_reason() -> None:
    assert all(
        len(cause.advice) > 20 and cause.advice.endswith(".") for cause in MISS_REASONS.values()
    )
    assert {*REASON_OF_PARAM.values()} <= {*MISS_REASONS}
    assert all(set(cause.more_specific) <= {*MISS_REASONS} for cause in MISS_REASONS.values())
    openai = (
        "model_changed prompt_cache_key_changed service_tier_changed tools_changed text_format_changed "
        "reasoning_effort_changed verbosity_changed context_compacted input_changed"
    )
    anthropic = "model_changed system_changed tools_changed messages_changed"
    assert {*openai.split(), *anthropic.split()} == {*BY_PROVIDER_NAME}


def test_advice_names_the_place() -> None:
    assert "(system[0])" in format_advice("system_changed", "system", 0)
    assert "(tools)" in format_advice("tools_changed", "tools")
    assert "{" not in format_advice("tools_changed")
    assert format_advice("of a later version") == ""


@pytest.mark.parametrize(
    ("provider", "model", "minimum", "writes"),
    [
        ("anthropic", "claude-sonnet-4-5-20250929", 1024, True),
        ("anthropic", "claude-opus-5-5", 512, True),
        ("aws.bedrock", "us.anthropic.claude-opus-4-5-v1:0", 4096, True),
        ("openai", "gpt-5.6-mini", 1024, True),
        ("openai", "gpt-5.5", 1024, False),
        ("azure.ai.openai", "gpt-4o", 1024, False),
        ("nobody", None, 1024, False),
    ],
)
def test_rules(provider: str, model: str | None, minimum: int, writes: bool) -> None:
    found = cache_rule_for(provider, model)
    assert (found.minimum_tokens, found.bills_writes) == (minimum, writes)


def test_rules_are_dated_and_have_a_source() -> None:
    assert all(
        row.documented_on >= "2026" and row.source and 0 < row.expiry_confidence <= 1
        for row in load_cache_rules()
    )
    assert safe_ttl_seconds(DEFAULT_CACHE_RULE, "1h") == 3600
    assert (
        safe_ttl_seconds(DEFAULT_CACHE_RULE, "24h")
        == safe_ttl_seconds(DEFAULT_CACHE_RULE, None)
        == DEFAULT_CACHE_RULE.ttl_seconds
    )


# Inside a block


@pytest.mark.parametrize(
    ("words_", "kind", "at"),
    [
        ("id 3f2b8c1e-1111-4abc-9def-001122334455 ok", "uuid", 3),
        ("now 2026-11-20T10:31:07Z ok", "timestamp", 4),
        ("now 1795000000 ok", "timestamp", 4),
        ("at 10:31 PM ok", "timestamp", 3),
        ("on November 20, 2026 ok", "date", 3),
        ("on Friday ok", "date", 3),
        ("run 9f86d081884c7d65 ok", "hex_id", 4),
        ("run req_A1b2C3d4E5 ok", "hex_id", 4),
        ("case 1042 ok", "counter", 5),
        ("dear Ann Lee ok", "name_like", 5),
        ("nothing to see", None, 0),
    ],
)
def test_hints(words_: str, kind: str | None, at: int) -> None:
    assert find_volatile_value(words_, at, at + 3, ()) == (None if kind is None else (kind, at))
    assert find_volatile_value(words_, at, at + 3, set(identifier_hashes(words_))) is None


@pytest.mark.parametrize(("at", "kind"), [(0, "hex_id"), (11, "hex_id"), (12, None), (16, None)])
def test_a_random_value_that_began_alike_is_the_same(at: int, kind: str | None) -> None:
    found = find_volatile_value("req_0a1b2c3d4e5f60 and plain words", at, 34, ())
    assert (found[0] if found else None) == kind


@given(st.text(min_size=0, max_size=3000), st.integers(0, 3000), st.text(min_size=1, max_size=5))
def test_a_change_lies_in_the_box(before: str, at: int, put: str) -> None:
    at = min(at, len(before))
    after = before[:at] + put + before[at:]
    new, old = detailed_fingerprint(after, after), detailed_fingerprint(before, before)
    here, there = encode_utf8(after), encode_utf8(before)
    first = next(
        (n for n, (a, b) in enumerate(zip(here, there, strict=False)) if a != b), len(there)
    )
    size = fingerprint(after).size
    start, end = changed_range(new, old, size)
    assert start <= first <= max(end, first)
    low, high = first_difference(fingerprint(after), fingerprint(before))
    assert low <= first
    assert high - low <= max(64, size // 8 + 1)
    assert 0 <= similarity(new, old, size) <= 1


@pytest.mark.parametrize(
    ("data", "text_"),
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
def test_offsets_count_in_the_text_of_a_block(data: Any, text_: str) -> None:
    assert block_text(data) == text_
