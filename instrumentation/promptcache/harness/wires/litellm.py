"""LiteLLM's completion: Chat Completions for every provider.

Source: LiteLLM's documentation of prompt caching, and litellm 1.110: Anthropic's `cache_control`
stands on the parts of messages and on tools.
"""

from __future__ import annotations

from typing import Any

from promptcache.harness.caching_style import CachingStyle
from promptcache.harness.names import TTL, Block
from promptcache.harness.wires.anthropic_messages import anthropic_marker, ttl_of_anthropic_marker
from promptcache.harness.wires.chat_completions import ChatCompletionsLayout
from promptcache.harness.wires.head import Head
from promptcache.harness.wires.layers import FrozenLayers


class LiteLLMLayout(ChatCompletionsLayout):
    """The Chat Completions layout, with Anthropic's breakpoints where Claude is behind it."""

    wire = "litellm"

    def __init__(self, style: CachingStyle) -> None:
        super().__init__(style)
        self._is_claude = style.breakpoints == "looked_back"
        self.marker_key = "cache_control" if self._is_claude else "prompt_cache_breakpoint"

    def marker(self, ttl: TTL) -> Any:
        return anthropic_marker(ttl) if self._is_claude else super().marker(ttl)

    def ttl_of_marker(self, marker: Any) -> TTL:
        if self._is_claude:
            return ttl_of_anthropic_marker(marker)
        return super().ttl_of_marker(marker)

    def can_carry_marker(self, block: Block) -> bool:
        is_tool = "function" in block
        return (self._is_claude and is_tool) or super().can_carry_marker(block)

    def build_head(self, layers: FrozenLayers) -> Head:
        head = super().build_head(layers)
        if self._is_claude and head.static_end is None:
            tokens = self.estimate_all(head.tools)
            head.static_end = self.last_spot("tools", head.tools, tokens)
        return head
