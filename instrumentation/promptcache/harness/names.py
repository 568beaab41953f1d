"""The words of the harness's interface: wires, layers, TTLs and content."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

Wire = Literal["anthropic", "chat", "responses", "gemini", "converse", "invoke_model", "litellm"]
"""The API that a chat speaks.

Anthropic's Messages, OpenAI's Chat Completions or Responses, Google's generateContent, Bedrock's
Converse or InvokeModel (with Anthropic's body), or LiteLLM's completion.

A model does not determine it. Azure, Vertex, Foundry and Groq clients speak one of them.
"""

Layer = Literal["static", "shared", "history"]
"""The parts of a prompt that may end with a breakpoint, in the order of the prompt.

`static` is the same for everybody (tools, system, examples), `shared` for a group of callers, and
`history` for one conversation.
"""
LAYERS: Final[tuple[Layer, ...]] = ("static", "shared", "history")

TTL = Literal["5m", "30m", "1h", "12h"]
"""How long a provider keeps a prefix after its last use."""

Content = str | Sequence[str | Mapping[str, Any]]
"""A text, or a list of texts and of the wire's own content blocks."""

Message = dict[str, Any]
"""A message or an input item in the wire's own form."""

Block = dict[str, Any]
"""A tool, a system block or a part of a message in the wire's own form."""
