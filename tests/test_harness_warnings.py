"""The harness says once what breaks the cache, where, and what it costs."""

from __future__ import annotations

import logging
import uuid

import pytest

from promptcache import Prompt
from tests.support.harness_requests import text_answer
from tests.support.harness_world import CLAUDE, GPT, HANDBOOK, OLD_GPT


@pytest.fixture
def name() -> str:
    """A name of which no other test has a prompt."""
    return f"p{uuid.uuid4().hex[:12]}"


def start_with_clock(name: str, time: str, model: str = "claude-sonnet-4-6") -> None:
    system = f"SECRET {HANDBOOK} It is 2026-11-28 {time} now."
    Prompt(name, system=system).chat(wire="anthropic", model=model)


def test_a_clock_in_the_system_prompt_is_named_once(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    start_with_clock(name, "10:00:01")
    start_with_clock(name, "10:00:01")
    assert not caplog.records
    for second in range(2, 6):
        start_with_clock(name, f"10:00:0{second}")
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    message = record.getMessage()
    assert f"Prompt '{name}' has other system than an earlier Prompt" in message
    assert "looks like a timestamp" in message
    assert "USD" in message
    assert "ask(now=...)" in message
    assert "SECRET" not in message
    assert "10:00" not in message


def test_the_price_is_left_out_where_it_is_unknown(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    start_with_clock(name, "10:00:01", model="claude-of-tomorrow")
    start_with_clock(name, "10:00:02", model="claude-of-tomorrow")
    assert "processed anew. What" in caplog.text


def test_the_first_part_that_changed_is_named(name: str, caplog: pytest.LogCaptureFixture) -> None:
    for number in (1, 2):
        prompt = Prompt(name, system=f"{number}", tools=[{"name": f"tool{number}"}])
        prompt.chat(wire="chat", model=OLD_GPT)
    assert "has other tools than" in caplog.text


def test_prompts_of_other_names_are_not_compared(caplog: pytest.LogCaptureFixture) -> None:
    for number in range(2):
        name = f"p{uuid.uuid4().hex[:12]}"
        Prompt(name, system=f"{number}").chat(wire="chat", model=OLD_GPT)
    assert not caplog.records


def test_a_changed_parameter_is_named_once_with_the_section_it_breaks(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    prompt = Prompt(name, system=HANDBOOK, params={"tool_choice": {"type": "auto"}})
    chat = prompt.chat(wire="anthropic", model=CLAUDE)
    for choice in ("auto", "any", "auto", "any"):
        chat.ask("Hi", params={"tool_choice": {"type": choice}})
        chat.add(text_answer("anthropic", "Hello"))
    (record,) = caplog.records
    assert "the parameter tool_choice changed" in record.getMessage()
    assert "from its messages on" in record.getMessage()


def test_a_parameter_that_stays_the_same_or_does_not_matter_is_not_named(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    chat = Prompt(name, system=HANDBOOK).chat(wire="responses", model=GPT)
    for number in range(3):
        chat.ask("Hi", params={"reasoning": {"effort": "low"}, "temperature": number})
        chat.add(text_answer("responses", "Hello"))
    assert not caplog.records
    chat.ask("Hi", params={"reasoning": {"effort": "high"}})
    assert "reasoning.effort" in caplog.text
    assert "from its tools on" in caplog.text
