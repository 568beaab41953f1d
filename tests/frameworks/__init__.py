"""Frameworks on top of instrumented SDKs. `run` tests each in its own virtual environment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

SYSTEM: Final = "You help campers find their tents again. " * 600
QUESTION: Final = "Where is my tent?"
KEY: Final = "secret-key"
CACHED_SYSTEM_BLOCK: Final = {
    "type": "text",
    "text": SYSTEM,
    "cache_control": {"type": "ephemeral"},
}
"""The system prompt with the cache breakpoint of Anthropic."""

MakeCall = Callable[[str], Any]
"""Makes one call through the framework to the given URL. An awaitable result is awaited."""
