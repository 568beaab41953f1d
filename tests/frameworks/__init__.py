"""Frameworks over the SDKs that we stand at, each in an environment of its own: see `run`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

SYSTEM: Final = "You help campers find their tents again. " * 600
QUESTION: Final = "Where is my tent?"
KEY: Final = "secret-key"
MARKED: Final = {"type": "text", "text": SYSTEM, "cache_control": {"type": "ephemeral"}}
"""The system prompt as Anthropic wants it marked."""

Ask = Callable[[str], Any]
"""Asks the model at an address once, through the framework; what it returns is awaited where it can
be."""
