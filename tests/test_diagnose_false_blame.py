"""Calls without a fault of the application: the diagnosis blames nothing."""

from __future__ import annotations

import pytest

from promptcache.diagnosis.missed_tokens import price_of_write
from promptcache.model import Cost, Param, Request, Usage
from promptcache.providers.anthropic.wire import MESSAGES
from tests.support.diagnosis_lab import (
    FILLER,
    DiagnosisLab,
    build_prompt,
    claude_lab,
    gpt56_lab,
    tool_block,
)

TOOLS = tuple(tool_block(index, name) for index, name in enumerate(("find", "list", "update")))


def test_two_tenants_whose_users_begin_alike_have_two_conversations() -> None:
    lab, greeting = DiagnosisLab(), ("Hello", "Hello! How can I help?")
    for key in (b"one", b"two"):
        for messages in (greeting[:1], (*greeting, f"a question under key {key!r}")):
            verdict = lab.diagnose_call(build_prompt(*messages), input=3000, key=key)
            assert verdict.reason != "scope_changed", (key, messages)


def test_an_ensemble_asks_further_models_without_waste() -> None:
    lab = DiagnosisLab()
    for question in ("one", "two"):
        for model in ("gpt-4.1", "gpt-4.1-mini", "gpt-4o"):
            prompt = build_prompt(f"{question}?", system=FILLER + question)
            verdict = lab.diagnose_call(prompt, input=3000, model=model)
            assert verdict.reason == "cold_start", (question, model)


def test_a_read_rules_out_a_change_of_model() -> None:
    lab = DiagnosisLab()
    lab.diagnose_call(build_prompt("one", "two", "three"), input=3000)
    grown = build_prompt("one", "two", "three", "four", "five")
    verdict = lab.diagnose_call(grown, 1024, input=3200, model="gpt-4.1-mini")
    assert (verdict.outcome, verdict.reason) == ("hit", None)
    asked = DiagnosisLab()
    asked.diagnose_call(build_prompt("one", "two", "three"), input=3000)
    changed = asked.diagnose_call(grown, 0, input=3200, model="gpt-4.1-mini")
    assert changed.reason == "model_changed"


def test_a_served_model_that_read_its_own_cache_did_not_change() -> None:
    lab = DiagnosisLab()
    lab.diagnose_call(build_prompt("one"), input=3000, served="gpt-4.1-a")
    grown = build_prompt("one", "two", "three")
    verdict = lab.diagnose_call(grown, 1024, input=3200, served="gpt-4.1-b")
    assert verdict.reason != "model_changed"


def test_programs_that_share_their_tools_miss_no_breakpoint() -> None:
    lab = gpt56_lab()
    other = "This program is another one. It has nothing to say about orders. " * 60
    lab.diagnose_call(build_prompt("one", tools=TOOLS), 0, 3000, input=3000)
    verdict = lab.diagnose_call(build_prompt("two", tools=TOOLS, system=other), 0, 3000, input=3000)
    assert verdict.reason == "cold_start"


def test_concurrent_calls_that_share_a_known_prefix_do_not_race() -> None:
    lab = gpt56_lab()
    lab.diagnose_call(build_prompt("zero"), 0, 3000, input=3000)
    rival = lab.start_call(build_prompt("one " * 900))
    verdict = lab.diagnose_call(build_prompt("two " * 900), 2900, 1100, input=4000)
    assert (verdict.outcome, verdict.reason) == ("hit", None)
    lab.finish_call(rival, 2900, 1100, input=4000)


def test_a_cache_that_writes_only_the_end_of_a_prompt_has_no_race_over_its_beginning() -> None:
    lab = claude_lab()
    rival = lab.start_call(build_prompt("one", caching_mode="implicit"))
    verdict = lab.diagnose_call(build_prompt("two", caching_mode="implicit"), 0, 3000, input=3000)
    assert verdict.reason == "cold_start"
    lab.finish_call(rival, 0, 3000, input=3000)


@pytest.mark.parametrize(
    ("provider", "model", "mode", "expected"),
    [
        ("deepseek", "deepseek-chat", "none", "cold_start"),
        ("moonshot_ai", "kimi-k2", "none", "cold_start"),
        ("anthropic", "claude-sonnet-4-6", "none", "caching_not_requested"),
        ("openrouter", "anthropic/claude-sonnet-4.6", "automatic", "caching_not_requested"),
    ],
)
def test_what_a_cache_does_belongs_to_provider_and_model(
    provider: str, model: str, mode: str, expected: str
) -> None:
    lab = DiagnosisLab(provider, model)
    verdict = lab.diagnose_call(build_prompt("one", caching_mode=mode), 0, 0, input=9000)
    assert verdict.reason == expected


def test_an_idle_conversation_with_claude_behind_a_gateway_expires() -> None:
    lab = DiagnosisLab("openrouter", "anthropic/claude-sonnet-4.6")
    lab.diagnose_call(build_prompt("one", breakpoints=(-1, 0)), 0, 3000, input=3000)
    grown = build_prompt("one", "two", "three", breakpoints=(-1, 2))
    verdict = lab.diagnose_call(grown, 0, 3200, wait=400, input=3200)
    assert verdict.reason == "ttl_expired"


def test_a_write_of_unnamed_ttl_costs_what_the_call_paid() -> None:
    usage = Usage(1000, 0, 0, 1000, {"unknown": 1000})
    cost = Cost(0.00375, {"cache_write": 0.00375}, cache_write_prices={"5m": 3.75e-6, "1h": 6e-6})
    assert price_of_write(usage, cost, "unknown", 3e-6) == pytest.approx(3.75e-6)
    assert price_of_write(usage, cost, "1h", 3e-6) == 6e-6


def test_a_call_that_missed_almost_nothing_is_a_hit_and_its_waste_counts() -> None:
    lab = gpt56_lab()
    lab.diagnose_call(build_prompt("one"), 0, 3000, input=3000)
    verdict = lab.diagnose_call(build_prompt("one", "two", "three"), 2963, 237, input=3200)
    assert (verdict.outcome, verdict.reason, verdict.missed_tokens) == ("hit", None, 37)
    assert verdict.wasted_usd == pytest.approx(37 * 11.5)
    lab.diagnose_call(build_prompt("one", "two", "three", "four"), 3200, 100, input=3300)
    more = build_prompt("one", "two", "three", "four", "five")
    assert lab.diagnose_call(more, 3200, 300, input=3500).outcome == "partial"


def test_a_changed_parameter_is_named() -> None:
    lab = DiagnosisLab()
    old, new = ((Param("reasoning_effort", effort, "tools"),) for effort in ("low", "high"))
    lab.diagnose_call(build_prompt("one", params=old), input=3000)
    verdict = lab.diagnose_call(build_prompt("one", "two", params=new), input=3100)
    assert (verdict.reason, verdict.section) == ("param_changed", "params")
    assert verdict.parameter == "reasoning_effort"


def test_another_beta_explains_a_miss() -> None:
    lab = claude_lab()
    texts = ({"role": "user", "content": FILLER}, {"role": "assistant", "content": "Yes."})
    for betas, messages, expected in (
        ([], texts[:1], "cold_start"),
        (["context-management-2025-06-27"], [*texts, texts[0]], "param_changed"),
    ):
        body = {"system": FILLER, "messages": [*messages], "cache_control": {"type": "ephemeral"}}
        body |= {"anthropic_beta": betas} if betas else {}
        request = Request("w", "anthropic", "chat", lab.model, "h", 443, False, body, b"", 0.0)
        prompt = MESSAGES.parse_prompt(request)
        verdict = lab.diagnose_call(prompt, 0, 3000, input=3000)
        assert (verdict.reason, verdict.parameter) == (
            expected,
            "anthropic_beta" if betas else None,
        )


def test_a_clock_is_blamed_where_an_older_conversation_has_expired_besides() -> None:
    lab = DiagnosisLab()
    reasons: list[str | None] = []
    for conversation in range(3):
        lab.now += 1100  # beyond the TTL
        history: list[str] = []
        for turn in range(2):
            history += [f"Question {turn} of conversation {conversation}: {FILLER[:200]}", "Yes."]
            prompt = build_prompt(*history[:-1], system=f"Now: {int(lab.now)}\n{FILLER * 3}")
            reasons.append(lab.diagnose_call(prompt, wait=30).reason)
    assert reasons[1::2] == ["volatile_token"] * 3
