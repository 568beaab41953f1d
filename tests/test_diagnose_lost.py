"""How much of an earlier prompt is gone, and whether it was cached at all: what is reported goes before a guess."""

from __future__ import annotations

import pytest

from promptcache.diagnosis.cache_params import CacheParams
from promptcache.diagnosis.compare import Difference
from promptcache.diagnosis.evidence import Evidence, RelatedCall
from promptcache.diagnosis.explanations import explain
from promptcache.diagnosis.memory import PastCall
from promptcache.model import Block, ParsedPrompt, Usage
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
SAID = [
    text_block("messages", at, f"Message {at} about the parcel. " * 30, "" if at == 5 else None)
    for at in range(6)
]


def pictured(shown: bool, *more: Block) -> ParsedPrompt:
    system = text_block("system", 0, FILLER, "")
    return ParsedPrompt(
        (system, SAID[0], *([IMAGE] if shown else []), *SAID[1:], *more), caching_mode="explicit"
    )


@pytest.mark.parametrize("tokens", [258, 765, 1500, 4000])
def test_whatever_an_image_weighs_its_tokens_are_known_from_the_totals(tokens: int) -> None:
    lab, words = claude_lab(), 3000
    lab.diagnose_call(pictured(True), 0, words + tokens, input=words + tokens)
    said = lab.diagnose_call(pictured(False), 900, words - 900, input=words)
    assert (said.reason, said.hint, said.missed_tokens) == (
        "image_changed",
        "image_removed",
        words - 900,
    )


def test_what_came_is_taken_off_by_its_share_of_the_prompt() -> None:
    lab, words = claude_lab(), 3000
    lab.diagnose_call(pictured(True), 0, words + 1500, input=words + 1500)
    fresh = text_block("messages", 7, "And now something new. " * 13)
    prompt = pictured(False, fresh)
    share = len(str(fresh.data)) / sum(len(str(block.data)) for block in prompt.blocks)
    said = lab.diagnose_call(prompt, 900, 2200, input=3100)
    assert said.missed_tokens == pytest.approx(3100 * (1 - share) - 900, rel=0.01)


def missed(lost: int, fresh: float, *, model: str = "m", size: int = 3000) -> int | None:
    """Of an earlier call that left 4,000 tokens, for one of `size` tokens that reads 100."""
    known, scope = cache_rule_for("anthropic", "claude-sonnet-4-5"), CacheParams("m", ())
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
    relative = RelatedCall(
        earlier, Difference("break", 1, "system", 0, "system_changed"), 100, lost, fresh
    )
    prompt, usage = ParsedPrompt((), caching_mode="explicit"), Usage(size, 100, 100, size - 200, {})
    found = explain(Evidence(now, prompt, known, usage, 1024, [relative]))
    return found and found.missed_tokens


def test_the_smaller_of_what_went_and_what_came_is_estimated() -> None:
    assert missed(2000, 0.1) == 3000 - 300 - 100
    assert missed(200, 0.1) == 3000 - 100
    assert missed(2000, 0.9) == 2000 - 100


def test_another_model_counts_otherwise() -> None:
    assert missed(2000, 0.1, model="other") == 2000 - 100


def test_less_than_the_minimum_was_never_to_be_had() -> None:
    assert missed(3100, 0.9, size=4000) is None
    assert missed(2900, 0.9, size=4000) == 1000


def stamped(lab: DiagnosisLab, minute: int, size: int) -> str | None:
    return lab.diagnose_call(
        build_prompt("Hello.", system=f"It is 09:{minute}. {FILLER}"), 0, input=size
    ).reason


def test_a_short_prompt_is_believed_to_be_cached_once_one_was_seen_to_be() -> None:
    lab = DiagnosisLab()
    assert [stamped(lab, minute, 1400) for minute in (10, 11, 12)] == ["cold_start"] * 3
    assert (
        lab.diagnose_call(
            build_prompt("Hello.", "Hi.", system=f"It is 09:12. {FILLER}"), 1280, input=1410
        ).outcome
        == "hit"
    )
    assert stamped(lab, 13, 1400) == "volatile_token"


def test_reads_that_stay_pinned_do_not_hide_what_keeps_changing() -> None:
    lab, said = gpt56_lab(), list[str | None]()
    for name in ("Ann", "Bob", "Cid", "Dan", "Eve"):
        first, system = f"I am {name}", f"You serve {name} now. {FILLER}"
        said.append(
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
    assert said == ["cold_start", "cold_start", "cold_start", "volatile_token", "volatile_token"]


def test_a_long_prompt_is_believed_to_be_cached_unseen() -> None:
    lab = DiagnosisLab()
    assert [stamped(lab, minute, 1700) for minute in (10, 11)] == ["cold_start", "volatile_token"]


def test_what_was_never_seen_to_be_read_is_not_missed() -> None:
    lab = gpt56_lab()
    said = [
        build_prompt(*words, caching_mode="implicit")
        for words in (["a"], ["a", "b"], ["a", "b", "c"])
    ]
    for prompt, read, write in zip(said, (0, 2000, 2000), (2400, 500, 600), strict=True):
        lab.diagnose_call(prompt, read, write, input=read + write)
    broken = lab.diagnose_call(
        build_prompt("a", "b", "c", "d", system=f"Now: 10:41. {FILLER}", caching_mode="implicit"),
        0,
        2700,
        input=2700,
    )
    assert (broken.reason, broken.missed_tokens) == ("volatile_token", 2000)


def test_a_tail_that_nobody_asked_to_cache_is_lost_in_no_race() -> None:
    lab, prompt = (
        claude_lab(),
        ParsedPrompt((text_block("system", 0, FILLER, ""), SAID[0]), caching_mode="explicit"),
    )
    first, second = lab.start_call(prompt), lab.start_call(prompt)
    lab.finish_call(first, 0, 2000, input=2007)
    said = lab.finish_call(second, 2000, 0, input=2007)
    assert (said.outcome, said.reason) == ("hit", None)
