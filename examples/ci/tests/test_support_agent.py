"""The prompt cache of the support agent."""

from __future__ import annotations

from support_agent import SupportAgent

from promptcache_testing import PromptCacheFixture, ToolCall


def test_support_keeps_its_cache(prompt_cache: PromptCacheFixture) -> None:
    prompt_cache.answers([ToolCall("find_order", {"number": "12345678"}), "It was sent.", "Yes."])
    agent = SupportAgent()
    agent.ask("Where is order 12345678?")
    prompt_cache.wait(minutes=3)  # the emulator's clock, not yours
    agent.ask("And will it come today?")
    prompt_cache.check(hit_rate=0.9)
