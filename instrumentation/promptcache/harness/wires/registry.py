"""Find the layout of a wire."""

from __future__ import annotations

from importlib import import_module
from typing import Final, cast

from promptcache.harness.caching_style import CachingStyle
from promptcache.harness.names import Wire
from promptcache.harness.prompt_error import PromptError
from promptcache.harness.wires.wire_layout import WireLayout

_LAYOUTS: Final[dict[str, tuple[str, str]]] = {
    "anthropic": ("anthropic_messages", "AnthropicLayout"),
    "chat": ("chat_completions", "ChatCompletionsLayout"),
    "responses": ("responses", "ResponsesLayout"),
    "gemini": ("gemini", "GeminiLayout"),
    "converse": ("converse", "ConverseLayout"),
    "invoke_model": ("invoke_model", "InvokeModelLayout"),
    "litellm": ("litellm", "LiteLLMLayout"),
}


def load_layout(wire: Wire, style: CachingStyle) -> WireLayout:
    """Return the layout of a wire. Its module is imported on the first use of the wire."""
    module, name = _LAYOUTS[check_wire(wire)]
    layout = getattr(import_module(f"promptcache.harness.wires.{module}"), name)
    return cast("WireLayout", layout(style))


def check_wire(wire: str) -> Wire:
    """Return the wire. Raise PromptError for an unknown one."""
    if wire not in _LAYOUTS:
        raise PromptError("wire", f"is {wire!r}; known are {', '.join(_LAYOUTS)}")
    return cast("Wire", wire)
