"""Missed tokens come from reported counts first, and from estimates only without them."""

from __future__ import annotations

import pytest

from promptcache.diagnosis.cache_params import CacheParams
from promptcache.diagnosis.compare import PromptDifference
from promptcache.diagnosis.evidence import Evidence, RelatedCall
from promptcache.diagnosis.explanations import find_best_explanation
from promptcache.diagnosis.memory import PastCall, PrefixNode
from promptcache.model import Block, ParsedPrompt, Usage
from promptcache.prefix.fingerprint import BlockFingerprint
from promptcache.providers.cache_rules import cache_rule_for
from tests.support.diagnosis_lab import (
    FILLER,
    DiagnosisLab,
    build_prompt,
    claude_lab,
    gpt56_lab,
    text_block,
)

IMAGE = Block("messages", 1, "image", {"type": "image", "source": {"data": "9" * 5000}})
MESSAGE_BLOCKS = [
    text_block("messages", at, f"Message {at} about the parcel. " * 30, "" if at == 5 else None)
    for at in range(6)
]


def build_prompt_with_image(has_image: bool, *more: Block) -> ParsedPrompt:
    system = text_block("system", 0, FILLER, "")
    return ParsedPrompt(
        (system, MESSAGE_BLOCKS[0], *([IMAGE] if has_image else []), *MESSAGE_BLOCKS[1:], *more),
        caching_mode="explicit",
    )


@pytest.mark.parametrize("tokens", [258, 765, 1500, 4000])
def test_tokens_of_a_removed_image_follow_from_the_totals(tokens: int) -> None:
    lab, text_tokens = claude_lab(), 3000
    lab.diagnose_call(
        build_prompt_with_image(True), 0, text_tokens + tokens, input=text_tokens + tokens
    )
    verdict = lab.diagnose_call(
        build_prompt_with_image(False), 900, text_tokens - 900, input=text_tokens
    )
    assert (verdict.reason, verdict.hint, verdict.missed_tokens) == (
        "image_changed",
        "image_removed",
        text_tokens - 900,
    )


def test_added_text_is_subtracted_by_its_share_of_the_prompt() -> None:
    lab, text_tokens = claude_lab(), 3000
    lab.diagnose_call(
        build_prompt_with_image(True), 0, text_tokens + 1500, input=text_tokens + 1500
    )
    added_block = text_block("messages", 7, "And now something new. " * 13)
    prompt = build_prompt_with_image(False, added_block)
    share = len(str(added_block.data)) / sum(len(str(block.data)) for block in prompt.blocks)
    verdict = lab.diagnose_call(prompt, 900, 2200, input=3100)
    assert verdict.missed_tokens == pytest.approx(3100 * (1 - share) - 900, rel=0.01)


def missed_tokens_of_change(
    removed_tokens: int, added_share: float, *, model: str = "m", size: int = 3000
) -> int | None:
    """Return the missed tokens of a call of `size` tokens with 100 read.

    The earlier call wrote 4,000 tokens, each of a byte: 100 of them are common, then some are
    removed. `added_share` is the part of the tokens behind the common ones that is new.
    """
    sizes = (100, removed_tokens, 3900 - removed_tokens)
    nodes = [
        PrefixNode(
            at,
            0,
            at,
            "messages",
            at,
            "text",
            size,
            sum(sizes[: at + 1]),
            BlockFingerprint(size, at),
        )
        for at, size in enumerate(sizes)
    ]
    known, scope = cache_rule_for("anthropic", "claude-sonnet-4-6"), CacheParams("m", ())
    earlier = PastCall(
        1,
        scope,
        1,
        9,
        1,
        0.0,
        (),
        ttl_seconds=300.0,
        ended_at=1.0,
        input_tokens=4000,
        cache_write_tokens=4000,
    )
    now = PastCall(1, CacheParams(model, ()), 2, 9, 1, 5.0, ())
    related_call = RelatedCall(
        earlier,
        PromptDifference(
            "break", 1, "system", 0, "system_changed", removed=((2, 1.0),), kept_depth=3
        ),
        100,
        nodes,
        added_share,
    )
    prompt, usage = ParsedPrompt((), caching_mode="explicit"), Usage(size, 100, 100, size - 200, {})
    explanation = find_best_explanation(Evidence(now, prompt, known, usage, 1024, [related_call]))
    return explanation and explanation.missed_tokens


def test_the_smaller_of_the_old_and_the_new_prefix_is_missed() -> None:
    assert missed_tokens_of_change(2000, 0.1) == 3000 - 290 - 100
    assert missed_tokens_of_change(200, 0.1) == 3000 - 100
    assert missed_tokens_of_change(2000, 0.9) == 2000 - 100


def test_token_counts_of_another_model_are_not_compared() -> None:
    assert missed_tokens_of_change(2000, 0.1, model="other") == 2000 - 100


def test_a_prefix_below_the_minimum_is_not_missed() -> None:
    assert missed_tokens_of_change(3100, 0.9, size=4000) is None
    assert missed_tokens_of_change(2900, 0.9, size=4000) == 1000


def diagnose_prompt_at(lab: DiagnosisLab, minute: int, size: int) -> str | None:
    return lab.diagnose_call(
        build_prompt("Hello.", system=f"It is 09:{minute}. {FILLER}"), 0, input=size
    ).reason


def test_a_short_prompt_can_be_missed_after_a_read_of_a_short_prompt() -> None:
    lab = DiagnosisLab()
    assert [diagnose_prompt_at(lab, minute, 1400) for minute in (10, 11, 12)] == ["cold_start"] * 3
    assert (
        lab.diagnose_call(
            build_prompt("Hello.", "Hi.", system=f"It is 09:12. {FILLER}"), 1280, input=1410
        ).outcome
        == "hit"
    )
    assert diagnose_prompt_at(lab, 13, 1400) == "volatile_token"


def test_reads_that_do_not_grow_do_not_hide_a_volatile_token() -> None:
    lab, reasons = gpt56_lab(), list[str | None]()
    for name in ("Ann", "Bob", "Cid", "Dan", "Eve"):
        first, system = f"I am {name}", f"You serve {name} now. {FILLER}"
        reasons.append(
            lab.diagnose_call(
                build_prompt(first, system=system, caching_mode="implicit"), 0, 3000, input=3000
            ).reason
        )
        lab.diagnose_call(
            build_prompt(first, "b", system=system, caching_mode="implicit"), 2500, 600, input=3100
        )
        pinned = lab.diagnose_call(
            build_prompt(first, "b", "c", system=system, caching_mode="implicit"),
            2500,
            700,
            input=3200,
        )
        assert pinned.reason == "breakpoint_missing_on_static"
    assert reasons == ["cold_start", "cold_start", "cold_start", "volatile_token", "volatile_token"]


def test_a_long_prompt_can_be_missed_before_any_read() -> None:
    lab = DiagnosisLab()
    assert [diagnose_prompt_at(lab, minute, 1700) for minute in (10, 11)] == [
        "cold_start",
        "volatile_token",
    ]


def test_tokens_that_were_never_read_are_not_missed() -> None:
    lab = gpt56_lab()
    prompts = [
        build_prompt(*text_tokens, system=f"Now: 10:40. {FILLER}", caching_mode="implicit")
        for text_tokens in (["a"], ["a", "b"], ["a", "b", "c"])
    ]
    for prompt, read, write in zip(prompts, (0, 2000, 2000), (2400, 500, 600), strict=True):
        lab.diagnose_call(prompt, read, write, input=read + write)
    broken = lab.diagnose_call(
        build_prompt("a", "b", "c", "d", system=f"Now: 10:41. {FILLER}", caching_mode="implicit"),
        0,
        2700,
        input=2700,
    )
    assert (broken.reason, broken.missed_tokens) == ("volatile_token", 2000)


def test_a_tail_without_breakpoint_is_not_missed_in_a_race() -> None:
    lab, prompt = (
        claude_lab(),
        ParsedPrompt(
            (text_block("system", 0, FILLER, ""), MESSAGE_BLOCKS[0]), caching_mode="explicit"
        ),
    )
    first, second = lab.start_call(prompt), lab.start_call(prompt)
    lab.finish_call(first, 0, 2000, input=2007)
    verdict = lab.finish_call(second, 2000, 0, input=2007)
    assert (verdict.outcome, verdict.reason) == ("hit", None)
